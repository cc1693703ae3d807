/* Arenas: alignment, no overlap, accounting. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/base/alloc.h"
#include "common/base/arena.h"
#include "common/base/rng.h"

enum { PIECES = 400 };

static void pieces_do_not_overlap(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct pr_rng rng;
        struct pr_arena a = {0};
        unsigned char *at[PIECES];
        size_t size[PIECES], total = 0;
        pr_rng_init(&rng, seed);
        for (size_t i = 0; i < PIECES; i++) {
            size[i] = (size_t)pr_rng_below(&rng, pr_rng_below(&rng, 5) == 0 ? 5000 : 60);
            at[i] = pr_arena_alloc(&a, size[i]);
            assert_int_equal((uintptr_t)at[i] % 16, 0);
            memset(at[i], (int)(i & 0xff), size[i]);
            total += size[i];
        }
        for (size_t i = 0; i < PIECES; i++)
            for (size_t k = 0; k < size[i]; k++)
                assert_int_equal(at[i][k], i & 0xff);
        assert_true(a.size_bytes >= total && a.size_bytes <= total + (size_t)PIECES * 16);
        pr_arena_fini(&a);
        assert_int_equal(a.size_bytes, 0);
    }
}

static void strings(void **state)
{
    (void)state;
    struct pr_arena a;
    pr_arena_init(&a);
    /* The very first request may be for nothing. */
    assert_non_null(pr_arena_alloc(&a, 0));
    assert_non_null(pr_arena_zalloc(&a, 0));
    char raw[] = "abc";
    struct pr_slice copy = pr_arena_dup(&a, pr_slice(raw, 3));
    const char *text = pr_arena_cstr(&a, pr_slice(raw, 2));
    raw[0] = 'x';
    assert_true(pr_slice_eq_str(copy, "abc"));
    assert_string_equal(text, "ab");
    assert_string_equal(pr_arena_cstr(&a, pr_slice(NULL, 0)), "");
    assert_int_equal(pr_arena_dup(&a, pr_slice(NULL, 0)).len, 0);
    const char *zero = pr_arena_zalloc(&a, 3000);
    for (int i = 0; i < 3000; i++)
        assert_int_equal(zero[i], 0);
    pr_arena_fini(&a);
    pr_arena_fini(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(pieces_do_not_overlap), cmocka_unit_test(strings)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
