/* Rate limiting: never more than rate x time + burst, an empty bucket to begin with, and no time lost either. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/base/alloc.h"
#include "common/base/rng.h"
#include "deliverer/core/gcra.h"

static void test_unlimited(void **state)
{
    struct dlv_gcra g = {0};
    (void)state;
    for (int i = 0; i < 1000; i++)
        assert_true(dlv_gcra_take(&g, (pr_mono){5}));
    assert_int_equal(dlv_gcra_next(&g).ms, 0);
    assert_int_equal(dlv_gcra_within(&g, (pr_mono){5}, 1), UINT32_MAX);
}

static void test_slow_rate_is_spaced(void **state)
{
    struct dlv_gcra g = {0};
    (void)state;
    dlv_gcra_set(&g, 6, 60000, (pr_mono){1000});
    assert_true(dlv_gcra_take(&g, (pr_mono){1000}));
    assert_false(dlv_gcra_take(&g, (pr_mono){1000}));
    assert_int_equal(dlv_gcra_next(&g).ms, 11000);
    assert_false(dlv_gcra_take(&g, (pr_mono){10999}));
    assert_true(dlv_gcra_take(&g, (pr_mono){11000}));
    /* Time that nobody used is gone. */
    assert_true(dlv_gcra_take(&g, (pr_mono){1000000}));
    assert_false(dlv_gcra_take(&g, (pr_mono){1000000}));
}

static void test_same_rate_changes_nothing(void **state)
{
    struct dlv_gcra g = {0};
    (void)state;
    dlv_gcra_set(&g, 1, 1000, (pr_mono){0});
    assert_true(dlv_gcra_take(&g, (pr_mono){0}));
    dlv_gcra_set(&g, 1, 1000, (pr_mono){1});
    assert_false(dlv_gcra_take(&g, (pr_mono){1}));
    assert_int_equal(dlv_gcra_next(&g).ms, 1000);
}

/* A share that is lowered and raised again must not open a burst. */
static void test_new_grant_has_an_empty_bucket(void **state)
{
    struct dlv_gcra g = {0};
    (void)state;
    for (uint64_t round = 0; round < 10; round++) {
        unsigned n = 0;
        dlv_gcra_set(&g, 100 + round % 2, 1000, (pr_mono){10000 * round});
        while (dlv_gcra_take(&g, (pr_mono){10000 * round}))
            n++;
        assert_int_equal(n, 1);
    }
}

static void test_within(void **state)
{
    struct dlv_gcra g = {0};
    (void)state;
    dlv_gcra_set(&g, 1, 1000, (pr_mono){0});
    assert_int_equal(dlv_gcra_within(&g, (pr_mono){0}, 0), 1);
    assert_int_equal(dlv_gcra_within(&g, (pr_mono){0}, 3000), 4);
    assert_true(dlv_gcra_take(&g, (pr_mono){0}));
    assert_int_equal(dlv_gcra_within(&g, (pr_mono){0}, 999), 0);
    assert_int_equal(dlv_gcra_within(&g, (pr_mono){0}, 1000), 1);
}

static void test_never_more_than_the_rate(void **state)
{
    static const struct {
        uint64_t count, per_ms;
    } rates[] = {{1, 1000}, {3, 1000}, {7, 60000}, {200, 1000}, {999, 1000}, {5000, 1000}};
    (void)state;
    for (size_t k = 0; k < PR_ARRAY_LEN(rates); k++) {
        struct dlv_gcra g = {0};
        struct pr_rng rng;
        uint64_t taken = 0, start = 12345, now = start;
        pr_rng_init(&rng, k);
        dlv_gcra_set(&g, rates[k].count, rates[k].per_ms, (pr_mono){now});
        for (int i = 0; i < 20000; i++) {
            now += pr_rng_below(&rng, 4);
            taken += dlv_gcra_take(&g, (pr_mono){now});
            uint64_t fair = (now - start) * rates[k].count / rates[k].per_ms;
            uint64_t burst = (uint64_t)DLV_GCRA_BURST_US * rates[k].count / rates[k].per_ms / 1000;
            assert_true(taken <= fair + burst + 1);
        }
        /* Asked for often enough, nearly all of it is used (one question takes 1.5 ms on average). */
        uint64_t fair = (now - start) * rates[k].count / rates[k].per_ms;
        if (rates[k].count * 3 < rates[k].per_ms)
            assert_true(taken * 100 >= fair * 98);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_unlimited),
        cmocka_unit_test(test_slow_rate_is_spaced),
        cmocka_unit_test(test_same_rate_changes_nothing),
        cmocka_unit_test(test_new_grant_has_an_empty_bucket),
        cmocka_unit_test(test_within),
        cmocka_unit_test(test_never_more_than_the_rate),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
