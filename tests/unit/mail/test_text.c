/* Cleaning and folding of foreign text, and xtext. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/base/rng.h"
#include "common/mail/address.h"
#include "common/mail/text.h"
#include "tests/unit/mail/exact.h"

#define BYTES(s)                                                                                                       \
    {                                                                                                                  \
        (s), sizeof(s) - 1                                                                                             \
    }

static void clean(void **state)
{
    (void)state;
    static const struct {
        struct pr_slice in;
        const char *utf8, *ascii;
    } rows[] = {
        {BYTES(""), "", ""},
        {BYTES("plain text"), "plain text", "plain text"},
        {BYTES("a\r\nX: b"), "a??X: b", "a??X: b"},
        {BYTES("a\0b\x1b[31m\x7f"), "a?b?[31m?", "a?b?[31m?"},
        {BYTES("a\tb"), "a b", "a b"},
        {BYTES("\xc3\xbc."), "\xc3\xbc.", "??."},
        {BYTES("\xe4\xbd\xa0"), "\xe4\xbd\xa0", "???"},
        {BYTES("\xc3"), "?", "?"},
        {BYTES("\xc3\xc3\xbc"), "?\xc3\xbc", "???"},
        {BYTES("\xc0\x8d\xc0\x8a"), "????", "????"},
        {BYTES("\xc2\x85\xe2\x80\xa8\xe2\x80\xa9"), "????????", "????????"},
        {BYTES("\xed\xa0\x80\xff"), "????", "????"},
        {BYTES("\xf0\x9f\x93"), "???", "???"},
    };
    for (size_t i = 0; i < PR_ARRAY_LEN(rows); i++) {
        struct pr_slice in = exact(rows[i].in);
        struct pr_buf b = {0};
        mail_text_clean(in, true, &b);
        assert_slice_str(pr_buf_slice(&b), rows[i].utf8);
        assert_true(mail_text_valid(pr_buf_slice(&b)));
        /* Valid is what cleaning leaves alone. */
        assert_int_equal(mail_text_valid(in), pr_slice_eq_str(in, rows[i].utf8));
        pr_buf_clear(&b);
        mail_text_clean(in, false, &b);
        assert_slice_str(pr_buf_slice(&b), rows[i].ascii);
        pr_buf_fini(&b);
        exact_free(in);
    }
}

static void fold(void **state)
{
    (void)state;
    struct pr_buf b = {0};
    mail_text_fold(PR_SLICE_LIT("  one\r\n two\n\n\tthree  "), true, 0, " ", &b);
    assert_slice_str(pr_buf_slice(&b), "one two three");
    pr_buf_clear(&b);
    mail_text_fold(PR_SLICE_LIT("aaaa bbbb cccc"), true, 70, "  ", &b);
    assert_slice_str(pr_buf_slice(&b), "aaaa\r\n  bbbb cccc");
    pr_buf_clear(&b);
    mail_text_fold(PR_SLICE_LIT(" \r\n\t"), true, 4, "    ", &b);
    mail_text_fold(pr_slice(NULL, 0), true, 4, "    ", &b);
    assert_int_equal(b.len, 0);
    pr_buf_fini(&b);
}

/* Whatever goes in: no line is longer than the limit, none is blank, no control byte but in CRLF + indent, and the
 * words that fit a line come out whole and in order. */
static void fold_property(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 400; seed++) {
        struct pr_rng rng;
        struct pr_buf in = {0}, out = {0};
        static const char *const pieces[] = {"word", " ",  "\n",   "\xc3\xbc", "\xff", "longer-word-here",
                                             "\r\n", "\t", "\x01", "x"};
        pr_rng_init(&rng, seed);
        for (uint64_t n = pr_rng_below(&rng, 300); n > 0; n--)
            pr_buf_str(&in, pieces[pr_rng_below(&rng, seed % 2 == 0 ? 10 : 4)]);
        mail_text_fold(pr_buf_slice(&in), true, 20, "   ", &out);
        struct pr_slice left = pr_buf_slice(&out);
        size_t column = 20;
        while (left.len > 0) {
            size_t n = pr_slice_find(left, '\r');
            struct pr_slice line = pr_slice_head(left, n);
            if (column + line.len > MAIL_TEXT_COLUMNS || !mail_text_valid(line))
                fail_msg("seed %llu", (unsigned long long)seed);
            left = n == SIZE_MAX ? pr_slice(NULL, 0) : pr_slice_from(left, n);
            if (left.len > 0) {
                assert_true(pr_slice_starts(left, PR_SLICE_LIT("\r\n   ")));
                assert_true(left.len > 5 && left.ptr[5] != ' ' && left.ptr[5] != '\r');
                left = pr_slice_from(left, 2);
                column = 0;
            }
        }
        pr_buf_fini(&in);
        pr_buf_fini(&out);
    }
}

static void xtext(void **state)
{
    (void)state;
    static const struct {
        struct pr_slice in;
        const char *decoded; /* NULL: refused */
    } rows[] = {
        {BYTES(""), ""},
        {BYTES("QQ314159"), "QQ314159"},
        {BYTES("a+2Bb+3Dc"), "a+b=c"},
        {BYTES("rfc822;a@b"), "rfc822;a@b"},
        {BYTES("+20"), " "},
        {BYTES("+C3+BC"), "\xc3\xbc"},
        {BYTES("\xc3\xbc"), "\xc3\xbc"},
        {BYTES("a=b"), NULL},
        {BYTES("a b"), NULL},
        {BYTES("a\tb"), NULL},
        {BYTES("a\0b"), NULL},
        {BYTES("a\x7f"), NULL},
        {BYTES("+"), NULL},
        {BYTES("+2"), NULL},
        {BYTES("a+2"), NULL},
        {BYTES("+2b"), NULL},
        {BYTES("+GG"), NULL},
        {BYTES("++2B"), NULL},
        {BYTES("+ 2"), NULL},
        {BYTES("+0D+0A"), NULL},
        {BYTES("+00"), NULL},
        {BYTES("+1F"), NULL},
        {BYTES("+7F"), NULL},
        {BYTES("+09"), NULL},
        {BYTES("+C3"), NULL},
        {BYTES("+FF"), NULL},
        {BYTES("+C0+8D"), NULL},
        {BYTES("+C2+85"), NULL},
        {BYTES("\xc2+85"), NULL},
    };
    for (size_t i = 0; i < PR_ARRAY_LEN(rows); i++) {
        struct pr_slice in = exact(rows[i].in);
        struct pr_buf b = {0};
        pr_buf_str(&b, "x");
        int rc = mail_xtext_decode(in, &b);
        if ((rc == 0) != (rows[i].decoded != NULL))
            fail_msg("row %zu: %s", i, pr_errname(rc));
        /* Nothing is left behind by a refused value. */
        assert_slice_str(pr_slice_from(pr_buf_slice(&b), 1), rc == 0 ? rows[i].decoded : "");
        pr_buf_fini(&b);
        exact_free(in);
    }
}

static void xtext_round_trip(void **state)
{
    (void)state;
    for (unsigned c = 0; c < 0x800; c++) {
        char text[3] = "a";
        size_t n = 1;
        struct pr_buf coded = {0}, back = {0};
        if (c < 0x80) {
            text[n++] = (char)c;
        } else {
            text[n++] = (char)(0xc0 | c >> 6);
            text[n++] = (char)(0x80 | (c & 0x3f));
        }
        mail_xtext_encode(pr_slice(text, n), &coded);
        assert_true(pr_is_ascii(pr_buf_slice(&coded)));
        for (size_t i = 0; i < coded.len; i++)
            assert_true(coded.ptr[i] > 32 && coded.ptr[i] < 127 && coded.ptr[i] != '=');
        int rc = mail_xtext_decode(pr_buf_slice(&coded), &back);
        bool control = c < 32 || (c >= 127 && c < 160);
        assert_int_equal(rc, control ? PR_EPARSE : 0);
        if (!control)
            assert_slice(pr_buf_slice(&back), pr_slice(text, n));
        pr_buf_fini(&coded);
        pr_buf_fini(&back);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(clean),
        cmocka_unit_test(fold),
        cmocka_unit_test(fold_property),
        cmocka_unit_test(xtext),
        cmocka_unit_test(xtext_round_trip),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
