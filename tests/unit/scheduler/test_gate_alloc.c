/* Shares of a path: max-min fair, whole, few holders, and never more than the limit, whatever arrives in what order. */
#include "scheduler/core/gate_internal.h"

#include "common/base/alloc.h"
#include "common/base/rng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { HOLDERS = 5 };
struct lease {
    uint64_t seq;
    uint32_t slots;
    uint64_t rate;
};
struct fixture {
    struct gate *gate;
    struct gate_limit limit;
    struct lease given[HOLDERS]; /* last granted */
    struct lease used[HOLDERS];  /* what the lane goes by */
    uint32_t open[HOLDERS];
    struct pr_now now;
    uint64_t t_seq;
};

static void on_limit(void *data, struct pr_slice destination, struct pr_slice pool, struct gate_limit *ret)
{
    const struct fixture *f = data;
    (void)destination;
    (void)pool;
    *ret = f->limit;
}

static void on_grant(void *data, uint64_t holder, uint64_t t_seq, const struct gate_slot *items, size_t n)
{
    struct fixture *f = data;
    (void)t_seq;
    for (size_t i = 0; i < n; i++) {
        assert_true(items[i].seq >= f->given[holder - 1].seq);
        f->given[holder - 1] = (struct lease){items[i].seq, items[i].slots, items[i].rate_count};
        if (f->limit.rate_count != 0 && items[i].slots > 0)
            assert_true(items[i].rate_count > 0); /* 0 would mean no limit */
    }
}

static struct fixture *fixture_new(uint32_t connections, uint64_t rate, unsigned holder_slots)
{
    static const struct gate_actions actions = {.limit = on_limit, .grant = on_grant};
    struct fixture *f = pr_new(struct fixture);
    struct gate_config c;
    gate_config_default(&c);
    c.holder_slots = holder_slots;
    f->limit = (struct gate_limit){connections, 100, 100, rate, 1000};
    f->now = (struct pr_now){{1000}, {1700000000000}};
    f->gate = gate_new(&c, &actions, f, f->now, 3, NULL, 0, true);
    return f;
}

static void fixture_free(struct fixture *f)
{
    gate_free(f->gate);
    pr_free(f);
}

static void ask(struct fixture *f, uint64_t holder, uint32_t wants)
{
    struct lease *used = &f->used[holder - 1];
    struct gate_want w = {.destination = PR_SLICE_LIT("a"), .pool = PR_SLICE_LIT("p"), .open = f->open[holder - 1],
                          .wants = wants, .acked_seq = f->open[holder - 1] <= used->slots ? used->seq : 0};
    gate_request(f->gate, f->now, holder, 1, 3, ++f->t_seq, true, &w, 1);
    gate_check_invariants(f->gate);
}

/* All lanes take what they were given and say so, until nothing changes. */
static void settle(struct fixture *f, const uint32_t *wants, size_t n)
{
    for (int round = 0; round < 6; round++) {
        for (uint64_t h = 1; h <= n; h++) {
            f->used[h - 1] = f->given[h - 1];
            f->open[h - 1] = wants[h - 1] < f->used[h - 1].slots ? wants[h - 1] : f->used[h - 1].slots;
            ask(f, h, wants[h - 1]);
        }
    }
}

static void test_shares(void **state)
{
    static const struct {
        uint32_t limit;
        unsigned holder_slots;
        uint32_t wants[HOLDERS];
        uint32_t slots[HOLDERS]; /* sorted by size */
    } cases[] = {
        {10, 1, {1000}, {10}},
        {10, 1, {1000, 1000}, {5, 5}},
        {10, 1, {1000, 1000, 1000}, {4, 3, 3}},
        {10, 1, {1000, 2, 1000}, {4, 4, 2}},
        {3, 1, {1000, 1000, 1000, 1000, 1000}, {1, 1, 1}},
        {1, 1, {1000, 1000}, {1}},
        {2, 4, {1000, 1000, 1000}, {2}},     /* few holders: the whole path to one */
        {8, 4, {1000, 1000, 1000}, {4, 4}},
        {8, 4, {3, 1, 1000}, {5, 3}},
        {100, 50, {40, 40, 40, 40, 40}, {33, 33, 33}}, /* a third holder where two want less */
        {4, 4, {0, 0, 1000}, {4}},
    };
    (void)state;
    for (size_t i = 0; i < PR_ARRAY_LEN(cases); i++) {
        struct fixture *f = fixture_new(cases[i].limit, 0, cases[i].holder_slots);
        uint32_t got[HOLDERS];
        settle(f, cases[i].wants, HOLDERS);
        for (size_t h = 0; h < HOLDERS; h++) {
            size_t at = h;
            for (; at > 0 && got[at - 1] < f->given[h].slots; at--)
                got[at] = got[at - 1];
            got[at] = f->given[h].slots;
        }
        for (size_t h = 0; h < HOLDERS; h++)
            if (got[h] != cases[i].slots[h])
                fail_msg("case %zu: share %zu is %u, not %u", i, h, got[h], cases[i].slots[h]);
        fixture_free(f);
    }
}

/* Lanes take grants late and in any order, open what they may, and the sum never exceeds the limit. */
static void test_never_exceeds(void **state)
{
    int used_up = 0;
    (void)state;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        struct pr_rng rng;
        pr_rng_init(&rng, seed);
        uint32_t limit = 1 + (uint32_t)pr_rng_below(&rng, 12);
        uint64_t rate = pr_rng_below(&rng, 2) * (1 + pr_rng_below(&rng, 6));
        struct fixture *f = fixture_new(limit, rate, 1 + (unsigned)pr_rng_below(&rng, 4));
        uint32_t most = 0;
        for (int step = 0; step < 3000; step++) {
            size_t h = pr_rng_below(&rng, HOLDERS);
            uint32_t open = 0;
            uint64_t rates = 0;
            switch (pr_rng_below(&rng, 4)) {
            case 0: /* a grant arrives */
                f->used[h] = f->given[h];
                break;
            case 1:
                if (f->open[h] < f->used[h].slots)
                    f->open[h]++;
                break;
            case 2:
                if (f->open[h] > 0)
                    f->open[h]--;
                break;
            default:
                f->now.mono.ms += pr_rng_below(&rng, 50);
                ask(f, h + 1, f->open[h] + (uint32_t)pr_rng_below(&rng, 400));
                break;
            }
            for (size_t k = 0; k < HOLDERS; k++) {
                open += f->open[k];
                rates += f->used[k].rate;
            }
            assert_true(open <= limit);
            assert_true(rate == 0 || rates <= rate);
            most = open > most ? open : most;
        }
        used_up += most == limit;
        fixture_free(f);
    }
    assert_true(used_up >= 30);
}

static void test_connections_for(void **state)
{
    static const struct {
        uint32_t limit;
        uint64_t jobs;
        uint32_t connections;
    } cases[] = {{20, 0, 0},  {20, 1, 1},  {20, 2, 1},   {20, 10, 5},    {20, 32, 11},   {20, 100, 18}, {20, 131, 20},
                 {20, 1u << 30, 20}, {1, 1, 1}, {1, 5, 1}, {1000, 3, 3}, {1000, 32, 32}, {1000, 100, 100}, {1000, 1000, 1000}};
    (void)state;
    for (size_t i = 0; i < PR_ARRAY_LEN(cases); i++)
        assert_int_equal(connections_for(cases[i].limit, cases[i].jobs), cases[i].connections);
}

/* A want that comes and goes does not move slots that nobody misses. */
static void test_sticky(void **state)
{
    struct fixture *f = fixture_new(10, 0, 4);
    (void)state;
    settle(f, (const uint32_t[]){1000}, 1);
    uint64_t seq = f->given[0].seq;
    settle(f, (const uint32_t[]){3}, 1);
    assert_int_equal(f->given[0].slots, 10);
    assert_int_equal(f->given[0].seq, seq);
    settle(f, (const uint32_t[]){0}, 1);
    assert_int_equal(f->given[0].slots, 0);
    fixture_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shares),
        cmocka_unit_test(test_never_exceeds),
        cmocka_unit_test(test_connections_for),
        cmocka_unit_test(test_sticky),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
