/* Replies: the wire form of ours, and the strict reading of a peer's, whole and byte by byte. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/mail/reply.h"
#include "tests/unit/mail/exact.h"

#define BYTES(s)                                                                                                       \
    {                                                                                                                  \
        (s), sizeof(s) - 1                                                                                             \
    }

static void format(void **state)
{
    (void)state;
    static const struct {
        struct mail_reply reply;
        const char *wire;
    } rows[] = {
        {{250, "2.0.0", "OK"}, "250 2.0.0 OK\r\n"},
        {{220, "", "mx.example ESMTP"}, "220 mx.example ESMTP\r\n"},
        {{354, NULL, "Go"}, "354 Go\r\n"},
        {{250, "", "mx.example\nSIZE 1\nHELP"}, "250-mx.example\r\n250-SIZE 1\r\n250 HELP\r\n"},
        {{550, "5.7.1", "a\nb"}, "550-5.7.1 a\r\n550 5.7.1 b\r\n"},
        {{550, "5.7.1", "a\r\n250 ok"}, "550-5.7.1 a?\r\n550 5.7.1 250 ok\r\n"},
        {{550, "5.7.1", "a\x1b\x7f\xc3\xbc"}, "550 5.7.1 a????\r\n"},
        {{250, "2.0.0", ""}, "250 2.0.0 \r\n"},
        {{250, "", "a\n"}, "250-a\r\n250 \r\n"},
    };
    for (size_t i = 0; i < PR_ARRAY_LEN(rows); i++) {
        struct pr_buf b = {0};
        mail_reply_format(&rows[i].reply, &b);
        assert_slice_str(pr_buf_slice(&b), rows[i].wire);
        pr_buf_fini(&b);
    }
}

/* Any length of text keeps every line within 512 octets and loses nothing. */
static void format_long(void **state)
{
    (void)state;
    for (size_t len = 0; len < 2000; len += 1 + len / 40) {
        struct pr_buf text = {0}, wire = {0}, joined = {0};
        for (size_t i = 0; i < len; i++)
            pr_buf_char(&text, (char)('a' + i % 26));
        mail_reply_printf(&wire, 451, "4.3.0", "%s", pr_buf_cstr(&text));
        struct pr_slice left = pr_buf_slice(&wire);
        while (left.len > 0) {
            size_t n = pr_slice_find(left, '\n') + 1;
            assert_true(n <= 512);
            struct pr_slice line = pr_slice_head(left, n);
            assert_true(pr_slice_starts(line, n == left.len ? PR_SLICE_LIT("451 4.3.0 ") : PR_SLICE_LIT("451-4.3.0 ")));
            assert_true(pr_slice_eq_str(pr_slice_from(line, n - 2), "\r\n"));
            pr_buf_append(&joined, line.ptr + 10, n - 12);
            left = pr_slice_from(left, n);
        }
        assert_slice(pr_buf_slice(&joined), pr_buf_slice(&text));
        pr_buf_fini(&text);
        pr_buf_fini(&wire);
        pr_buf_fini(&joined);
    }
}

static void format_printf(void **state)
{
    (void)state;
    struct pr_buf b = {0};
    mail_reply_printf(&b, 250, "2.1.0", "<%.*s> %d", 5, "a\r\nbc", 7);
    assert_slice_str(pr_buf_slice(&b), "250-2.1.0 <a?\r\n250 2.1.0 bc> 7\r\n");
    pr_buf_fini(&b);
}

struct row {
    struct pr_slice in;
    int rc;
    uint16_t code; /* rc 0; code 0: incomplete */
    const char *text;
    size_t used; /* complete replies */
};

static const struct row rows[] = {
    {BYTES("250 ok\r\n"), 0, 250, "ok", 8},
    {BYTES("250\r\n"), 0, 250, "", 5},
    {BYTES("250 \r\n"), 0, 250, "", 6},
    {BYTES("250 ok\n"), 0, 250, "ok", 7},
    {BYTES("250-a\r\n250-b\r\n250 c\r\n"), 0, 250, "a\nb\nc", 21},
    {BYTES("250-\r\n250\r\n"), 0, 250, "\n", 11},
    {BYTES("250-a\n250 b\r\n"), 0, 250, "a\nb", 13},
    {BYTES("571 odd but seen\r\n"), 0, 571, "odd but seen", 18},
    {BYTES("220 go\r\n250 injected\r\n"), 0, 220, "go", 8},
    {BYTES("550 a\tb\x01\x7f\r\n"), 0, 550, "a b??", 11},
    {BYTES("550 a\0b\r\n"), 0, 550, "a?b", 9},
    {BYTES("550 \xc3\xbc \xff\r\n"), 0, 550, "\xc3\xbc ?", 10},
    {BYTES("550 5.1.1 no\r\n"), 0, 550, "5.1.1 no", 14},
    /* Incomplete. */
    {BYTES(""), 0, 0, NULL, 0},
    {BYTES("2"), 0, 0, NULL, 0},
    {BYTES("250 ok\r"), 0, 0, NULL, 0},
    {BYTES("250-ok\r\n"), 0, 0, NULL, 0},
    {BYTES("250-ok\r\n250"), 0, 0, NULL, 0},
    {BYTES("garbage without end"), 0, 0, NULL, 0},
    /* Garbage. */
    {BYTES("\r\n"), PR_EPARSE, 0, NULL, 0},
    {BYTES("\n"), PR_EPARSE, 0, NULL, 0},
    {BYTES("25\r\n"), PR_EPARSE, 0, NULL, 0},
    {BYTES("2500 ok\r\n"), PR_EPARSE, 0, NULL, 0},
    {BYTES("250ok\r\n"), PR_EPARSE, 0, NULL, 0},
    {BYTES("250\tok\r\n"), PR_EPARSE, 0, NULL, 0},
    {BYTES("250_ok\r\n"), PR_EPARSE, 0, NULL, 0},
    {BYTES(" 250 ok\r\n"), PR_EPARSE, 0, NULL, 0},
    {BYTES("100 ok\r\n"), PR_EPARSE, 0, NULL, 0},
    {BYTES("600 ok\r\n"), PR_EPARSE, 0, NULL, 0},
    {BYTES("000 ok\r\n"), PR_EPARSE, 0, NULL, 0},
    {BYTES("2x0 ok\r\n"), PR_EPARSE, 0, NULL, 0},
    {BYTES("-50 ok\r\n"), PR_EPARSE, 0, NULL, 0},
    {BYTES("+250 ok\r\n"), PR_EPARSE, 0, NULL, 0},
    {BYTES("250-a\r\n550 b\r\n"), PR_EPARSE, 0, NULL, 0},
    {BYTES("250-a\r\nb\r\n"), PR_EPARSE, 0, NULL, 0},
    {BYTES("250-a\r\n\r\n"), PR_EPARSE, 0, NULL, 0},
    {BYTES("250 a\rb\r\n"), PR_EPARSE, 0, NULL, 0},
    {BYTES("250 a\r\r\n"), PR_EPARSE, 0, NULL, 0},
    {BYTES("250-a\r250 b\r\n"), PR_EPARSE, 0, NULL, 0},
    {BYTES("HTTP/1.1 400 Bad Request\r\n"), PR_EPARSE, 0, NULL, 0},
    {BYTES("\x15\x03\x01\x00\x02\x02\x0a"), PR_EPARSE, 0, NULL, 0},
    {BYTES("\0\0\0\n"), PR_EPARSE, 0, NULL, 0},
};

/* Feeds in pieces of `step` bytes and compares with the row. */
static void check(const struct row *row, size_t step)
{
    struct mail_reply_parser p;
    size_t at = 0;
    int rc = 0;
    mail_reply_parser_init(&p);
    while (rc == 0 && !p.done && at < row->in.len) {
        struct pr_slice piece = exact(pr_slice_head(pr_slice_from(row->in, at), step));
        size_t used;
        rc = mail_reply_parse(&p, piece, &used);
        assert_true(used <= piece.len);
        assert_true(rc != 0 || p.done || used == piece.len);
        at += used;
        exact_free(piece);
    }
    if (rc != row->rc || p.done != (row->code != 0))
        fail_msg("%.*s by %zu: %s", PR_SLICE_ARG(row->in), step, pr_errname(rc));
    if (p.done) {
        assert_int_equal(p.code, row->code);
        assert_slice_str(pr_buf_slice(&p.text), row->text);
        assert_int_equal(at, row->used);
        assert_false(p.truncated);
    }
    mail_reply_parser_fini(&p);
}

static void parse(void **state)
{
    (void)state;
    for (size_t i = 0; i < PR_ARRAY_LEN(rows); i++) {
        check(&rows[i], SIZE_MAX);
        for (size_t step = 1; step <= 4; step++)
            check(&rows[i], step);
    }
}

/* One parser for a whole dialogue: cleared between replies, each stops at its own end. */
static void sequence(void **state)
{
    (void)state;
    struct pr_slice in = PR_SLICE_LIT("220 a\r\n250-b\r\n250 c\r\n354 d\r\n");
    static const char *const texts[] = {"a", "b\nc", "d"};
    struct mail_reply_parser p;
    mail_reply_parser_init(&p);
    for (size_t i = 0; i < 3; i++) {
        size_t used;
        assert_int_equal(mail_reply_parse(&p, in, &used), 0);
        assert_true(p.done);
        assert_slice_str(pr_buf_slice(&p.text), texts[i]);
        in = pr_slice_from(in, used);
        /* A finished parser takes nothing. */
        assert_int_equal(mail_reply_parse(&p, PR_SLICE_LIT("250 x\r\n"), &used), 0);
        assert_int_equal(used, 0);
        mail_reply_parser_clear(&p);
    }
    assert_int_equal(in.len, 0);
    mail_reply_parser_fini(&p);
    mail_reply_parser_fini(&p);
}

static int feed(struct mail_reply_parser *p, const struct pr_buf *in, size_t step)
{
    int rc = 0;
    for (size_t at = 0; rc == 0 && !p->done && at < in->len;) {
        size_t used;
        rc = mail_reply_parse(p, pr_slice_head(pr_slice_from(pr_buf_slice(in), at), step), &used);
        at += used;
    }
    return rc;
}

static void add_lines(struct pr_buf *b, size_t lines, size_t width)
{
    for (size_t i = 0; i < lines; i++) {
        pr_buf_str(b, i + 1 == lines ? "250 " : "250-");
        for (size_t k = 0; k < width; k++)
            pr_buf_char(b, 'x');
        pr_buf_str(b, "\r\n");
    }
}

static void limits(void **state)
{
    (void)state;
    static const struct {
        size_t lines, width;
        int rc;
        bool truncated;
    } limit_rows[] = {
        {1, MAIL_REPLY_LINE_MAX - 5, 0, false},
        {1, MAIL_REPLY_LINE_MAX - 4, PR_ETOOBIG, false}, /* the CR counts */
        {1, 100000, PR_ETOOBIG, false},
        {MAIL_REPLY_LINES_MAX, 10, 0, false},
        {MAIL_REPLY_LINES_MAX + 1, 10, PR_ETOOBIG, false},
        {MAIL_REPLY_LINES_MAX, 63, 0, false}, /* 256 x 63 + 255 = 16383 */
        {MAIL_REPLY_LINES_MAX, 64, 0, true},
        {MAIL_REPLY_LINES_MAX, 2000, 0, true},
    };
    for (size_t i = 0; i < PR_ARRAY_LEN(limit_rows); i++) {
        for (size_t step = 1; step < 6000; step = step * 7 + 1) {
            struct pr_buf in = {0};
            struct mail_reply_parser p;
            mail_reply_parser_init(&p);
            add_lines(&in, limit_rows[i].lines, limit_rows[i].width);
            assert_int_equal(feed(&p, &in, step), limit_rows[i].rc);
            assert_int_equal(p.truncated, limit_rows[i].truncated);
            assert_int_equal(p.done, limit_rows[i].rc == 0);
            assert_true(p.text.len <= MAIL_REPLY_TEXT_MAX);
            assert_true(p.text.cap <= 2 * MAIL_REPLY_TEXT_MAX && p.line.cap <= 2 * MAIL_REPLY_LINE_MAX);
            mail_reply_parser_fini(&p);
            pr_buf_fini(&in);
        }
    }
}

/* Truncation never leaves half a character. */
static void truncated_text(void **state)
{
    (void)state;
    for (size_t shift = 0; shift < 4; shift++) {
        struct pr_buf in = {0};
        struct mail_reply_parser p;
        mail_reply_parser_init(&p);
        add_lines(&in, 9, 1900 + shift);
        in.len -= 1900 + shift + 6;
        pr_buf_str(&in, "250 ");
        for (size_t i = 0; i < 500; i++)
            pr_buf_str(&in, "\xf0\x9f\x93\xac");
        pr_buf_str(&in, "\r\n");
        assert_int_equal(feed(&p, &in, SIZE_MAX), 0);
        assert_true(p.done && p.truncated && p.text.len > MAIL_REPLY_TEXT_MAX - 4);
        assert_true(pr_utf8_valid(pr_buf_slice(&p.text)));
        assert_int_equal(pr_slice_find(pr_buf_slice(&p.text), '?'), SIZE_MAX);
        mail_reply_parser_fini(&p);
        pr_buf_fini(&in);
    }
}

static void enhanced(void **state)
{
    (void)state;
    static const struct {
        uint16_t code;
        const char *text;
        size_t len;
    } enhanced_rows[] = {
        {550, "5.1.1 no such user", 5},
        {550, "5.1.1", 5},
        {550, "5.1.1\nmore", 5},
        {451, "4.7.650 limited", 7},
        {250, "2.0.0 ok", 5},
        {550, "5.100.999 x", 9},
        {550, "5.0.0 x", 5},
        {550, "4.1.1 no", 0},
        {450, "5.1.1 no", 0},
        {550, "5.1.1x", 0},
        {550, "5.1.1.1 x", 0},
        {550, "5.1 x", 0},
        {550, "5.1. x", 0},
        {550, "5..1 x", 0},
        {550, "5.01.1 x", 0},
        {550, "5.1.00 x", 0},
        {550, "5.1000.1 x", 0},
        {550, "5.1.1000 x", 0},
        {550, "5,1,1 x", 0},
        {550, " 5.1.1 x", 0},
        {550, "#5.1.1 x", 0},
        {550, "", 0},
        {550, "5", 0},
        {550, "5.1.", 0},
    };
    for (size_t i = 0; i < PR_ARRAY_LEN(enhanced_rows); i++) {
        struct pr_slice text = exact(pr_slice_str(enhanced_rows[i].text));
        if (mail_enhanced_status(enhanced_rows[i].code, text) != enhanced_rows[i].len)
            fail_msg("%u %s", enhanced_rows[i].code, enhanced_rows[i].text);
        exact_free(text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(format),         cmocka_unit_test(format_long), cmocka_unit_test(format_printf),
        cmocka_unit_test(parse),          cmocka_unit_test(sequence),    cmocka_unit_test(limits),
        cmocka_unit_test(truncated_text), cmocka_unit_test(enhanced),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
