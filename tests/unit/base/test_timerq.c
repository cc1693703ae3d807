/* The timer wheel against a plain array: nothing fires early, nothing is forgotten, whatever the spans and jumps. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/base/alloc.h"
#include "common/base/rng.h"
#include "common/base/timerq.h"

enum { TIMERS = 120, STEPS = 6000 };

struct model {
    struct pr_timerq q;
    struct pr_timer timers[TIMERS];
    bool armed[TIMERS];
    uint64_t now;
    struct pr_rng rng;
};

/* Spans of every level of the wheel, and beyond its reach. */
static uint64_t span(struct pr_rng *rng)
{
    uint64_t bits = pr_rng_below(rng, 54);
    return pr_rng_next(rng) & ((1ULL << bits) - 1);
}

static uint64_t first_due(const struct model *m)
{
    uint64_t due = UINT64_MAX;
    for (int i = 0; i < TIMERS; i++)
        if (m->armed[i] && m->timers[i].due_ms < due)
            due = m->timers[i].due_ms;
    return due;
}

static void pop_all(struct model *m)
{
    struct pr_timer *t;
    while ((t = pr_timerq_pop(&m->q, m->now)) != NULL) {
        size_t i = (size_t)(t - m->timers);
        assert_true(m->armed[i]);
        assert_true(t->due_ms <= m->now);
        assert_false(pr_timer_armed(t));
        m->armed[i] = false;
    }
    assert_true(first_due(m) > m->now);
}

static void check(struct model *m)
{
    size_t n = 0;
    for (int i = 0; i < TIMERS; i++) {
        assert_int_equal(pr_timer_armed(&m->timers[i]), m->armed[i]);
        n += m->armed[i];
    }
    assert_int_equal(m->q.count, n);
    if (n == 0)
        assert_true(pr_timerq_next(&m->q) == UINT64_MAX);
    else
        assert_true(pr_timerq_next(&m->q) <= PR_MAX(first_due(m), m->now));
}

static void step(struct model *m)
{
    int i = (int)pr_rng_below(&m->rng, TIMERS);
    switch (pr_rng_below(&m->rng, 8)) {
    case 0:
    case 1:
    case 2:
        pr_timerq_set(&m->q, &m->timers[i], m->now + span(&m->rng));
        m->armed[i] = true;
        break;
    case 3: { /* due in the past */
        uint64_t back = span(&m->rng);
        pr_timerq_set(&m->q, &m->timers[i], back > m->now ? 0 : m->now - back);
        m->armed[i] = true;
        break;
    }
    case 4:
        pr_timerq_cancel(&m->q, &m->timers[i]);
        m->armed[i] = false;
        break;
    case 5: /* as a loop does: sleep until next, which must come to a timer in the end */
        if (m->q.count > 0 && pr_timerq_next(&m->q) > m->now)
            m->now = pr_timerq_next(&m->q);
        pop_all(m);
        break;
    case 6:
        m->now += span(&m->rng) >> 8;
        pop_all(m);
        break;
    default:
        m->now += pr_rng_below(&m->rng, 200);
        pop_all(m);
        break;
    }
    check(m);
}

static void model(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 30; seed++) {
        print_message("seed %u\n", (unsigned)seed);
        struct model *m = pr_new(struct model);
        pr_rng_init(&m->rng, seed);
        m->now = seed % 3 == 0 ? 0 : pr_rng_next(&m->rng) >> 20;
        pr_timerq_init(&m->q, m->now);
        for (int i = 0; i < TIMERS; i++)
            pr_timer_init(&m->timers[i]);
        for (int i = 0; i < STEPS; i++)
            step(m);
        /* Following next alone reaches every timer, and oversleeps none. */
        while (m->q.count > 0) {
            uint64_t before = m->now;
            if (pr_timerq_next(&m->q) > m->now)
                m->now = pr_timerq_next(&m->q);
            assert_true(m->now <= PR_MAX(first_due(m), before));
            pop_all(m);
        }
        pr_free(m);
    }
}

static void same_due_is_fifo(void **state)
{
    (void)state;
    struct pr_timerq q;
    struct pr_timer t[50];
    pr_timerq_init(&q, 1000);
    for (int i = 0; i < 50; i++) {
        pr_timer_init(&t[i]);
        pr_timerq_set(&q, &t[i], 500000);
    }
    assert_null(pr_timerq_pop(&q, 499999));
    for (int i = 0; i < 50; i++)
        assert_ptr_equal(pr_timerq_pop(&q, 500000), &t[i]);
    assert_null(pr_timerq_pop(&q, 500000));
}

static void backwards_is_ignored(void **state)
{
    (void)state;
    struct pr_timerq q;
    struct pr_timer t;
    pr_timerq_init(&q, 5000);
    pr_timer_init(&t);
    assert_null(pr_timerq_pop(&q, 4000));
    pr_timerq_set(&q, &t, 5100);
    assert_null(pr_timerq_pop(&q, 10));
    assert_null(pr_timerq_pop(&q, 5099));
    assert_ptr_equal(pr_timerq_pop(&q, 5100), &t);
    pr_timerq_cancel(&q, &t);
    pr_timerq_cancel(&q, &t);
    assert_int_equal(q.count, 0);
}

static void beyond_the_reach(void **state)
{
    (void)state;
    struct pr_timerq q;
    struct pr_timer t;
    const uint64_t due = 5ULL << 50;
    pr_timerq_init(&q, 0);
    pr_timer_init(&t);
    pr_timerq_set(&q, &t, due);
    assert_null(pr_timerq_pop(&q, due - 1));
    assert_ptr_equal(pr_timerq_pop(&q, due), &t);
    pr_timerq_set(&q, &t, UINT64_MAX);
    assert_null(pr_timerq_pop(&q, due + 1));
    assert_true(pr_timer_armed(&t));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(model),
        cmocka_unit_test(same_due_is_fifo),
        cmocka_unit_test(backwards_is_ignored),
        cmocka_unit_test(beyond_the_reach),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
