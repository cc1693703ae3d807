/* The seeded generator: replay, ranges, jitter; and civil time, which has no other home. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>
#include <cmocka.h>

#include "common/base/clock.h"
#include "common/base/err.h"
#include "common/base/rng.h"
#include "common/base/slice.h"

static void replays(void **state)
{
    (void)state;
    struct pr_rng a, b, c;
    pr_rng_init(&a, 42);
    pr_rng_init(&b, 42);
    pr_rng_init(&c, 43);
    int differ = 0;
    for (int i = 0; i < 1000; i++) {
        uint64_t v = pr_rng_next(&a);
        assert_true(v == pr_rng_next(&b));
        differ += v != pr_rng_next(&c);
    }
    assert_int_equal(differ, 1000);
    /* xoshiro256** from splitmix64(0): the published first output. */
    pr_rng_init(&a, 0);
    assert_true(pr_rng_next(&a) == 0x99ec5f36cb75f2b4ULL);
}

static void ranges(void **state)
{
    (void)state;
    struct pr_rng r;
    unsigned hits[10] = {0};
    pr_rng_init(&r, 1);
    for (int i = 0; i < 100000; i++)
        hits[pr_rng_below(&r, 10)]++;
    for (int i = 0; i < 10; i++)
        assert_in_range(hits[i], 9400, 10600);
    for (int i = 0; i < 100; i++)
        assert_int_equal(pr_rng_below(&r, 1), 0);
}

static void jitter(void **state)
{
    (void)state;
    struct pr_rng r;
    uint64_t low = UINT64_MAX, high = 0;
    pr_rng_init(&r, 2);
    for (int i = 0; i < 20000; i++) {
        uint64_t v = pr_rng_jitter(&r, 1000, 25);
        low = v < low ? v : low;
        high = v > high ? v : high;
    }
    assert_in_range(low, 750, 752);
    assert_in_range(high, 1248, 1250);
    assert_int_equal(pr_rng_jitter(&r, 1000, 0), 1000);
    assert_int_equal(pr_rng_jitter(&r, 0, 25), 0);
    assert_int_equal(pr_rng_jitter(&r, 3, 25), 3);
}

static void fill(void **state)
{
    (void)state;
    struct pr_rng r;
    unsigned char b[21] = {0};
    pr_rng_init(&r, 3);
    pr_rng_fill(&r, b, 19);
    assert_int_equal(b[19], 0);
    assert_int_equal(b[20], 0);
    int zero = 0;
    for (int i = 0; i < 19; i++)
        zero += b[i] == 0;
    assert_true(zero < 4);
}

static void civil_time(void **state)
{
    (void)state;
    struct pr_rng r;
    pr_rng_init(&r, 4);
    for (int i = 0; i < 100000; i++) {
        uint64_t ms = pr_rng_below(&r, 7258118400000ULL); /* to 2200 */
        if (i == 0)
            ms = 951782399999ULL; /* 2000-02-28 23:59:59.999 */
        time_t t = (time_t)(ms / 1000);
        struct tm want;
        assert_non_null(gmtime_r(&t, &want));
        struct pr_civil c = pr_civil_utc((pr_wall){ms});
        assert_int_equal(c.year, want.tm_year + 1900);
        assert_int_equal(c.month, want.tm_mon + 1);
        assert_int_equal(c.day, want.tm_mday);
        assert_int_equal(c.hour, want.tm_hour);
        assert_int_equal(c.minute, want.tm_min);
        assert_int_equal(c.second, want.tm_sec);
        assert_int_equal(c.weekday, want.tm_wday);
        assert_int_equal(c.ms, ms % 1000);
    }
}

static void error_names(void **state)
{
    (void)state;
    assert_string_equal(pr_errname(PR_OK), "PR_OK");
    assert_string_equal(pr_errname(PR_EPARSE), "PR_EPARSE");
    assert_string_equal(pr_strerror(PR_ENOSPC), "no space left");
    assert_string_equal(pr_errname(-999), "PR_E?");
    assert_string_equal(pr_strerror(12), "unknown error");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(replays), cmocka_unit_test(ranges),     cmocka_unit_test(jitter),
        cmocka_unit_test(fill),    cmocka_unit_test(civil_time), cmocka_unit_test(error_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
