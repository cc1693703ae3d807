/* The growable buffer: growth, integers both ways, JSON strings. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/base/alloc.h"
#include "common/base/buf.h"
#include "common/base/rng.h"

#define L(s) PR_SLICE_LIT(s)

static void appending(void **state)
{
    (void)state;
    struct pr_buf b = {0};
    pr_buf_append(&b, NULL, 0);
    pr_buf_str(&b, "");
    assert_int_equal(b.len, 0);
    pr_buf_str(&b, "ab");
    pr_buf_char(&b, 'c');
    pr_buf_add(&b, L("de"));
    pr_buf_u64(&b, 0);
    pr_buf_u64(&b, UINT64_MAX);
    pr_buf_printf(&b, "-%s-%d", "x", -5);
    assert_string_equal(pr_buf_cstr(&b), "abcde018446744073709551615-x--5");
    assert_int_equal(b.len, 31);
    pr_buf_consume(&b, 5);
    assert_true(pr_slice_eq(pr_slice_head(pr_buf_slice(&b), 3), L("018")));
    pr_buf_consume(&b, b.len);
    assert_int_equal(b.len, 0);
    pr_buf_str(&b, "again");
    size_t n;
    char *p = pr_buf_steal(&b, &n);
    assert_int_equal(n, 5);
    assert_string_equal(p, "again");
    assert_null(b.ptr);
    pr_free(p);
    p = pr_buf_steal(&b, NULL);
    assert_string_equal(p, "");
    pr_free(p);
    pr_buf_fini(&b);
}

static void growth_keeps_content(void **state)
{
    (void)state;
    struct pr_rng rng;
    pr_rng_init(&rng, 7);
    struct pr_buf b = {0};
    static unsigned char model[200000];
    size_t front = 0, end = 0;
    while (end < sizeof model - 3000) {
        size_t n = (size_t)pr_rng_below(&rng, 3000);
        pr_rng_fill(&rng, model + end, n);
        pr_buf_append(&b, model + end, n);
        end += n;
        size_t eat = (size_t)pr_rng_below(&rng, b.len + 1) / 4;
        pr_buf_consume(&b, eat);
        front += eat;
        assert_int_equal(b.len, end - front);
        assert_memory_equal(b.len == 0 ? "" : b.ptr, model + front, b.len);
    }
    pr_buf_printf(&b, "%*s", 5000, "x");
    assert_int_equal(b.len, end - front + 5000);
    pr_buf_fini(&b);
}

static void integers(void **state)
{
    (void)state;
    struct pr_buf b = {0};
    pr_buf_be16(&b, 0x0102);
    pr_buf_be32(&b, 0x03040506);
    pr_buf_be64(&b, 0x0708090a0b0c0d0e);
    pr_buf_le16(&b, 0x0201);
    pr_buf_le32(&b, 0x06050403);
    pr_buf_le64(&b, 0x0e0d0c0b0a090807);
    static const unsigned char want[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14,
                                         1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14};
    assert_int_equal(b.len, sizeof want);
    assert_memory_equal(b.ptr, want, sizeof want);

    struct pr_slice s = pr_buf_slice(&b), bytes;
    uint16_t v16;
    uint32_t v32;
    uint64_t v64;
    uint8_t v8;
    assert_int_equal(pr_get_be16(&s, &v16), 0);
    assert_int_equal(v16, 0x0102);
    assert_int_equal(pr_get_be32(&s, &v32), 0);
    assert_int_equal(v32, 0x03040506);
    assert_int_equal(pr_get_be64(&s, &v64), 0);
    assert_true(v64 == 0x0708090a0b0c0d0e);
    assert_int_equal(pr_get_le16(&s, &v16), 0);
    assert_int_equal(v16, 0x0201);
    assert_int_equal(pr_get_le32(&s, &v32), 0);
    assert_int_equal(v32, 0x06050403);
    assert_int_equal(pr_get_u8(&s, &v8), 0);
    assert_int_equal(v8, 7);
    /* Too short: nothing is taken. */
    assert_int_equal(pr_get_le64(&s, &v64), PR_EPARSE);
    assert_int_equal(s.len, 7);
    assert_int_equal(pr_get_bytes(&s, 8, &bytes), PR_EPARSE);
    assert_int_equal(pr_get_bytes(&s, 7, &bytes), 0);
    assert_int_equal(bytes.len, 7);
    assert_int_equal(bytes.ptr[0], 8);
    assert_int_equal(pr_get_u8(&s, &v8), PR_EPARSE);
    struct pr_slice empty = {NULL, 0};
    assert_int_equal(pr_get_bytes(&empty, 0, &bytes), 0);
    assert_int_equal(bytes.len, 0);
    pr_buf_fini(&b);
}

/* Byte order of the big-endian form is the order of the numbers. */
static void key_order(void **state)
{
    (void)state;
    struct pr_rng rng;
    pr_rng_init(&rng, 99);
    struct pr_buf a = {0}, b = {0};
    for (int i = 0; i < 10000; i++) {
        uint64_t x = pr_rng_next(&rng) >> pr_rng_below(&rng, 64), y = pr_rng_next(&rng) >> pr_rng_below(&rng, 64);
        pr_buf_clear(&a);
        pr_buf_clear(&b);
        pr_buf_be64(&a, x);
        pr_buf_be64(&b, y);
        int c = pr_slice_cmp(pr_buf_slice(&a), pr_buf_slice(&b));
        assert_int_equal((c > 0) - (c < 0), (x > y) - (x < y));
    }
    pr_buf_fini(&a);
    pr_buf_fini(&b);
}

static void json(void **state)
{
    (void)state;
    static const struct {
        struct pr_slice in;
        const char *want;
    } table[] = {
        {{NULL, 0}, "\"\""},
        {L("plain"), "\"plain\""},
        {L("a\"b\\c"), "\"a\\\"b\\\\c\""},
        {L("\r\n\t\0\x1f\x7f"), "\"\\u000d\\u000a\\u0009\\u0000\\u001f\\u007f\""},
        {L("\xc3\xa4"), "\"\xc3\xa4\""},
        {L("\xc3"), "\"\\ufffd\""},
        {L("\xff""a\xed\xa0\x80"), "\"\\ufffda\\ufffd\\ufffd\\ufffd\""},
    };
    struct pr_buf b = {0};
    for (size_t i = 0; i < PR_ARRAY_LEN(table); i++) {
        pr_buf_clear(&b);
        pr_buf_json(&b, table[i].in);
        assert_string_equal(pr_buf_cstr(&b), table[i].want);
    }
    /* No byte string whatever makes ill-formed output. */
    struct pr_rng rng;
    pr_rng_init(&rng, 5);
    for (int round = 0; round < 5000; round++) {
        char raw[16];
        size_t n = (size_t)pr_rng_below(&rng, sizeof raw + 1);
        pr_rng_fill(&rng, raw, n);
        pr_buf_clear(&b);
        pr_buf_json(&b, pr_slice(raw, n));
        assert_true(pr_utf8_valid(pr_buf_slice(&b)));
        for (size_t i = 0; i < b.len; i++)
            assert_false(pr_is_ctl(b.ptr[i]));
    }
    pr_buf_fini(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(appending), cmocka_unit_test(growth_keeps_content), cmocka_unit_test(integers),
        cmocka_unit_test(key_order), cmocka_unit_test(json),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
