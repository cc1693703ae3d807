/* Slices and the strict ASCII helpers, by tables. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/base/alloc.h"
#include "common/base/rng.h"
#include "common/base/slice.h"

#define L(s) PR_SLICE_LIT(s)
static const struct pr_slice none = {NULL, 0};

static void comparisons(void **state)
{
    (void)state;
    assert_true(pr_slice_eq(none, L("")));
    assert_true(pr_slice_eq(none, pr_slice_str(NULL)));
    assert_false(pr_slice_eq(L("a"), L("A")));
    assert_false(pr_slice_eq(L("a"), L("ab")));
    assert_true(pr_slice_ieq(L("EHLO"), L("ehlo")));
    assert_false(pr_slice_ieq(L("EHLO"), L("EHLOx")));
    /* Only ASCII letters fold: '[' and '{' differ by the same bit as 'A' and 'a'. */
    assert_false(pr_slice_ieq(L("["), L("{")));
    assert_false(pr_slice_ieq(L("\xc4"), L("\xe4")));
    assert_true(pr_slice_starts(L("abc"), L("ab")));
    assert_true(pr_slice_starts(L("abc"), none));
    assert_false(pr_slice_starts(L("ab"), L("abc")));
    assert_true(pr_slice_istarts(L("From: x"), L("FROM:")));
    assert_true(pr_slice_iends(L("mail.Example.COM"), L(".example.com")));
    assert_true(pr_slice_iends(none, none));
    assert_false(pr_slice_iends(L("com"), L(".com")));
    assert_true(pr_slice_cmp(L("a"), L("b")) < 0);
    assert_true(pr_slice_cmp(L("ab"), L("a")) > 0);
    assert_true(pr_slice_cmp(L("\xff"), L("a")) > 0);
    assert_int_equal(pr_slice_cmp(none, L("")), 0);
    assert_true(pr_slice_eq_secret(L("token"), L("token")));
    assert_false(pr_slice_eq_secret(L("token"), L("tokeN")));
    assert_false(pr_slice_eq_secret(L("token"), L("toke")));
}

static void search_and_cut(void **state)
{
    (void)state;
    assert_int_equal(pr_slice_find(L("a@b@c"), '@'), 1);
    assert_int_equal(pr_slice_rfind(L("a@b@c"), '@'), 3);
    assert_true(pr_slice_find(none, 'x') == SIZE_MAX);
    assert_true(pr_slice_rfind(none, 'x') == SIZE_MAX);
    assert_int_equal(pr_slice_find_slice(L("a\r\r\n.\r\n"), L("\r\n")), 2);
    assert_int_equal(pr_slice_find_slice(L("aaab"), L("aab")), 1);
    assert_true(pr_slice_find_slice(L("aaa"), L("aaaa")) == SIZE_MAX);
    assert_int_equal(pr_slice_find_slice(L("abc"), none), 0);
    assert_true(pr_slice_eq(pr_slice_trim(L(" \t a b\t ")), L("a b")));
    assert_true(pr_slice_eq(pr_slice_trim(L(" \t ")), none));
    assert_true(pr_slice_eq(pr_slice_trim(L("\r\na")), L("\r\na")));

    struct pr_slice rest;
    assert_true(pr_slice_eq(pr_slice_cut(L("k=v=w"), '=', &rest), L("k")));
    assert_true(pr_slice_eq(rest, L("v=w")));
    assert_true(pr_slice_eq(pr_slice_cut(L("k="), '=', &rest), L("k")));
    assert_true(rest.ptr != NULL && rest.len == 0);
    assert_true(pr_slice_eq(pr_slice_cut(L("k"), '=', &rest), L("k")));
    assert_true(rest.ptr == NULL && rest.len == 0);
    assert_int_equal(pr_slice_from(none, 0).len, 0);
}

/* The byte-string search against the naive one. */
static void search_property(void **state)
{
    (void)state;
    struct pr_rng rng;
    pr_rng_init(&rng, 20261121);
    for (int round = 0; round < 20000; round++) {
        char hay[24], needle[4];
        size_t n = (size_t)pr_rng_below(&rng, sizeof hay + 1), k = 1 + (size_t)pr_rng_below(&rng, sizeof needle);
        for (size_t i = 0; i < n; i++)
            hay[i] = (char)('a' + pr_rng_below(&rng, 2));
        for (size_t i = 0; i < k; i++)
            needle[i] = (char)('a' + pr_rng_below(&rng, 2));
        size_t want = SIZE_MAX;
        for (size_t i = 0; want == SIZE_MAX && i + k <= n; i++)
            if (memcmp(hay + i, needle, k) == 0)
                want = i;
        assert_true(pr_slice_find_slice(pr_slice(hay, n), pr_slice(needle, k)) == want);
    }
}

static void numbers(void **state)
{
    (void)state;
    static const struct {
        struct pr_slice in;
        uint64_t max;
        int rc;
        uint64_t value;
    } table[] = {
        {L("0"), UINT64_MAX, 0, 0},
        {L("00042"), UINT64_MAX, 0, 42},
        {L("18446744073709551615"), UINT64_MAX, 0, UINT64_MAX},
        {L("18446744073709551616"), UINT64_MAX, PR_ERANGE, 0},
        {L("99999999999999999999999"), UINT64_MAX, PR_ERANGE, 0},
        {L("101"), 100, PR_ERANGE, 0},
        {L("100"), 100, 0, 100},
        {L(""), 100, PR_EPARSE, 0},
        {L("-1"), 100, PR_EPARSE, 0},
        {L("+1"), 100, PR_EPARSE, 0},
        {L(" 1"), 100, PR_EPARSE, 0},
        {L("1 "), 100, PR_EPARSE, 0},
        {L("0x10"), 100, PR_EPARSE, 0},
        {L("1e3"), 100, PR_EPARSE, 0},
        /* Not a number is not "too big", however long. */
        {L("99999999999999999999999x"), UINT64_MAX, PR_EPARSE, 0},
    };
    for (size_t i = 0; i < PR_ARRAY_LEN(table); i++) {
        uint64_t v = 7;
        assert_int_equal(pr_parse_u64(table[i].in, table[i].max, &v), table[i].rc);
        assert_true(v == (table[i].rc == 0 ? table[i].value : 7));
    }
    uint32_t v32 = 7;
    assert_int_equal(pr_parse_u32(L("4294967295"), UINT32_MAX, &v32), 0);
    assert_int_equal(v32, UINT32_MAX);
    assert_int_equal(pr_parse_u32(L("4294967296"), UINT32_MAX, &v32), PR_ERANGE);

    uint64_t hex = 7;
    assert_int_equal(pr_parse_hex64(L("fFfFfFfFfFfFfFfF"), &hex), 0);
    assert_true(hex == UINT64_MAX);
    assert_int_equal(pr_parse_hex64(L("0FFFFFFFFFFFFFFFF"), &hex), PR_ERANGE);
    assert_int_equal(pr_parse_hex64(L(""), &hex), PR_EPARSE);
    assert_int_equal(pr_parse_hex64(L("0g"), &hex), PR_EPARSE);
    assert_int_equal(pr_parse_hex64(L("1a"), &hex), 0);
    assert_true(hex == 0x1a);
}

static void utf8(void **state)
{
    (void)state;
    static const struct {
        struct pr_slice in;
        bool valid;
    } table[] = {
        {L(""), true},
        {L("abc\x7f"), true},
        {L("\xc3\xa4\xe2\x82\xac\xf0\x9f\x93\xa8"), true},
        {L("\xc2\x80"), true},
        {L("\xc1\xbf"), false},         /* overlong */
        {L("\xe0\x9f\xbf"), false},     /* overlong */
        {L("\xe0\xa0\x80"), true},
        {L("\xed\x9f\xbf"), true},
        {L("\xed\xa0\x80"), false},     /* surrogate */
        {L("\xf0\x8f\xbf\xbf"), false}, /* overlong */
        {L("\xf4\x8f\xbf\xbf"), true},
        {L("\xf4\x90\x80\x80"), false}, /* above U+10FFFF */
        {L("\xf5\x80\x80\x80"), false},
        {L("\x80"), false},
        {L("\xc3"), false},
        {L("\xe2\x82"), false},
        {L("\xc3z"), false},
    };
    for (size_t i = 0; i < PR_ARRAY_LEN(table); i++)
        assert_int_equal(pr_utf8_valid(table[i].in), table[i].valid);
    assert_true(pr_is_ascii(L("a\x7f")));
    assert_false(pr_is_ascii(L("a\x80")));
}

/* Every length and every single bit counts, and the seed does too. */
static void hashing(void **state)
{
    (void)state;
    char text[40] = {0};
    for (size_t n = 1; n <= sizeof text; n++) {
        uint64_t h = pr_hash(pr_slice(text, n), 1);
        assert_true(h == pr_hash(pr_slice(text, n), 1));
        assert_true(h != pr_hash(pr_slice(text, n - 1), 1));
        assert_true(h != pr_hash(pr_slice(text, n), 2));
        for (size_t bit = 0; bit < n * 8; bit++) {
            text[bit / 8] = (char)(1 << (bit % 8));
            assert_true(h != pr_hash(pr_slice(text, n), 1));
            text[bit / 8] = 0;
        }
    }
    assert_true(pr_hash_u64(1) != pr_hash_u64(2));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(comparisons), cmocka_unit_test(search_and_cut), cmocka_unit_test(search_property),
        cmocka_unit_test(numbers),     cmocka_unit_test(utf8),           cmocka_unit_test(hashing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
