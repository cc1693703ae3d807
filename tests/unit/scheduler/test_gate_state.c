/* States of a path: what moves them, and how long they last. */
#include "scheduler/core/gate_internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

struct fixture {
    struct gate *gate;
    struct pr_now now;
    uint64_t t_seq, seq, suspended_ms;
    uint32_t slots;
};

static void on_limit(void *data, struct pr_slice destination, struct pr_slice pool, struct gate_limit *ret)
{
    (void)data;
    (void)destination;
    (void)pool;
    *ret = (struct gate_limit){.connections = 20};
}

static void on_grant(void *data, uint64_t holder, uint64_t t_seq, const struct gate_slot *items, size_t n)
{
    struct fixture *f = data;
    (void)holder;
    (void)t_seq;
    if (n > 0) {
        f->slots = items[n - 1].slots;
        f->seq = items[n - 1].seq;
    }
}

static void on_moved(void *data, struct pr_slice destination, struct pr_slice pool, enum gate_state from,
                     enum gate_state to, const char *reason, uint64_t for_ms)
{
    struct fixture *f = data;
    (void)destination;
    (void)pool;
    (void)from;
    assert_non_null(reason);
    if (to == GATE_SUSPENDED)
        f->suspended_ms = for_ms;
}

static void fixture_init(struct fixture *f, uint64_t seed)
{
    static const struct gate_actions actions = {on_limit, on_grant, on_moved};
    struct gate_config c;
    gate_config_default(&c);
    c.seed = seed;
    *f = (struct fixture){.now = {{1000}, {1700000000000}}};
    f->gate = gate_new(&c, &actions, f, f->now, 1, NULL, 0, true);
}

/* The lane uses all it has, and reports. */
static struct gate_path_info report(struct fixture *f, uint32_t ok, uint32_t failures)
{
    struct gate_path_info info;
    struct gate_want w = {.destination = PR_SLICE_LIT("a"), .pool = PR_SLICE_LIT("p"), .open = f->slots, .wants = 1000,
                          .acked_seq = f->seq, .ok = ok, .site_failures = failures,
                          .last_error = failures > 0 ? PR_SLICE_LIT("connection refused") : PR_SLICE_LIT("")};
    gate_request(f->gate, f->now, 1, 1, 1, ++f->t_seq, true, &w, 1);
    gate_check_invariants(f->gate);
    assert_int_equal(gate_path_get(f->gate, f->now, PR_SLICE_LIT("a"), PR_SLICE_LIT("p"), &info), 0);
    return info;
}

static void pass(struct fixture *f, uint64_t ms)
{
    for (uint64_t end = f->now.mono.ms + ms; f->now.mono.ms < end;) {
        uint64_t step = end - f->now.mono.ms < 20000 ? end - f->now.mono.ms : 20000;
        f->now.mono.ms += step;
        f->now.wall.ms += step;
        gate_tick(f->gate, f->now);
        (void)report(f, 0, 0); /* the lane lives */
    }
}

/* 5, 10, 20 ... 120 minutes, a quarter more or less; probed in between; back to the start after a recovery. */
static void test_suspensions(void **state)
{
    static const uint64_t minutes[] = {5, 10, 20, 40, 80, 120, 120};
    struct fixture f;
    (void)state;
    fixture_init(&f, 3);
    (void)report(&f, 0, 0);
    assert_int_equal(report(&f, 0, 30).state, GATE_SUSPENDED);
    for (size_t i = 0; i < PR_ARRAY_LEN(minutes); i++) {
        uint64_t base = minutes[i] * 60000;
        assert_in_range(f.suspended_ms, base * 3 / 4, base * 5 / 4);
        assert_int_equal(report(&f, 0, 0).state, GATE_SUSPENDED);
        assert_int_equal(f.slots, 0);
        pass(&f, f.suspended_ms);
        assert_int_equal(report(&f, 0, 0).state, GATE_PROBE);
        assert_int_equal(f.slots, 1);
        assert_int_equal(report(&f, 0, 1).state, GATE_SUSPENDED);
    }
    struct gate_path_info info = report(&f, 0, 0);
    assert_true(pr_slice_eq_str(info.last_error, "connection refused"));
    pass(&f, f.suspended_ms);
    assert_int_equal(report(&f, 1, 0).state, GATE_SLOW);
    assert_int_equal(report(&f, 1000, 0).state, GATE_NORMAL);
    assert_int_equal(report(&f, 0, 30).state, GATE_SUSPENDED);
    assert_in_range(f.suspended_ms, 225000, 375000);
    gate_free(f.gate);
}

/* A refusing site is given up after a few dozen attempts; failures among successes never kill. */
static void test_dead(void **state)
{
    struct fixture f;
    uint32_t tries = 0;
    (void)state;
    fixture_init(&f, 1);
    (void)report(&f, 0, 0);
    for (enum gate_state s = GATE_NORMAL; s != GATE_SUSPENDED; tries += 4) {
        s = report(&f, 0, 4).state;
        f.now.mono.ms += 100;
    }
    assert_in_range(tries, 10, 40);
    gate_free(f.gate);

    fixture_init(&f, 1);
    (void)report(&f, 0, 0);
    for (int i = 0; i < 300; i++) {
        assert_int_not_equal(report(&f, 1, 9).state, GATE_SUSPENDED);
        f.now.mono.ms += 1000;
    }
    gate_free(f.gate);
}

/* Few failures, but nothing else for a minute: dead too. */
static void test_slow_death(void **state)
{
    struct fixture f;
    (void)state;
    fixture_init(&f, 1);
    (void)report(&f, 0, 0);
    for (int i = 0; i < 12; i++) {
        enum gate_state s = report(&f, 0, 1).state;
        assert_true(s == GATE_NORMAL || s == GATE_THROTTLED);
        f.now.mono.ms += 5000;
    }
    f.now.mono.ms += 5000;
    assert_int_equal(report(&f, 0, 1).state, GATE_SUSPENDED);
    gate_free(f.gate);
}

/* Half at each hit, at most once per 5 s, never below one; held 10 minutes, then one more per cohort if it is used. */
static void test_throttle(void **state)
{
    struct fixture f;
    uint32_t window;
    (void)state;
    fixture_init(&f, 1);
    (void)report(&f, 0, 0);
    (void)report(&f, 100, 0);
    assert_int_equal(report(&f, 50, 2).state, GATE_NORMAL); /* one in 75 is nothing */
    struct gate_path_info info = report(&f, 10, 9);
    assert_int_equal(info.state, GATE_THROTTLED);
    assert_int_equal(info.window, 10);
    assert_int_equal(report(&f, 1, 9).window, 10);
    for (uint32_t half = 5; half >= 1; half /= 2) {
        f.now.mono.ms += 5000;
        assert_int_equal(report(&f, 1, 9).window, half);
    }
    f.now.mono.ms += 5000;
    window = report(&f, 1, 9).window;
    assert_int_equal(window, 1);
    assert_int_equal(report(&f, 100, 0).window, 1);
    pass(&f, 10 * 60000);
    assert_int_equal(report(&f, 1, 0).window, 2);
    assert_int_equal(report(&f, 2, 0).window, 3);
    assert_int_equal(report(&f, 2, 0).window, 3);
    assert_int_equal(report(&f, 1, 0).window, 4);
    assert_int_equal(report(&f, 10000, 0).state, GATE_NORMAL);
    gate_free(f.gate);
}

/* Two gates do not end their suspensions together. */
static void test_jitter(void **state)
{
    struct fixture a, b;
    (void)state;
    fixture_init(&a, 1);
    fixture_init(&b, 2);
    (void)report(&a, 0, 0);
    (void)report(&b, 0, 0);
    (void)report(&a, 0, 30);
    (void)report(&b, 0, 30);
    assert_int_not_equal(a.suspended_ms, b.suspended_ms);
    gate_free(a.gate);
    gate_free(b.gate);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_suspensions), cmocka_unit_test(test_dead),   cmocka_unit_test(test_slow_death),
        cmocka_unit_test(test_throttle),    cmocka_unit_test(test_jitter),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
