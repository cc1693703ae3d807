/* The header scan whole and in pieces, the Received field, dates. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/mail/header.h"
#include "tests/unit/mail/exact.h"

#define BYTES(s)                                                                                                       \
    {                                                                                                                  \
        (s), sizeof(s) - 1                                                                                             \
    }

static struct mail_header_scan scan(struct pr_slice in, size_t step)
{
    struct mail_header_scan s;
    mail_header_scan_init(&s);
    for (size_t at = 0; at < in.len;) {
        struct pr_slice piece = exact(pr_slice_head(pr_slice_from(in, at), step));
        mail_header_scan(&s, piece);
        at += piece.len;
        exact_free(piece);
    }
    return s;
}

static void scanning(void **state)
{
    (void)state;
    enum { D = MAIL_HEADER_DATE, M = MAIL_HEADER_MESSAGE_ID, F = MAIL_HEADER_FROM, S = MAIL_HEADER_SUBJECT };
    static const struct {
        struct pr_slice in;
        unsigned received, seen;
        size_t header_bytes, longest;
        bool done;
    } rows[] = {
        {BYTES(""), 0, 0, 0, 0, false},
        {BYTES("\r\nbody"), 0, 0, 2, 0, true},
        {BYTES("\nbody"), 0, 0, 1, 0, true},
        {BYTES("From: a\r\n\r\nReceived: x\r\n"), 0, F, 11, 9, true},
        {BYTES("Received: a\r\nRECEIVED: b\r\nreceived: c\r\n\r\n"), 3, 0, 41, 13, true},
        {BYTES("Received : a\r\nReceived\t: b\r\n\r\n"), 2, 0, 30, 14, true},
        {BYTES("Date: x\r\nMessage-ID: y\r\nSubject: z\r\nFrom: q\r\n\r\n"), 0, D | M | F | S, 47, 15, true},
        /* Continuations are no fields. */
        {BYTES("Subject: a\r\n Received: b\r\n\tDate: c\r\n\r\n"), 0, S, 38, 36, true},
        {BYTES(" Received: a\r\nFrom: b\r\n\r\n"), 0, F, 25, 14, true},
        /* Nearly. */
        {BYTES("Received-SPF: a\r\nX-Received: b\r\nReceivedd: c\r\nReceive: d\r\n\r\n"), 0, 0, 60, 17, true},
        {BYTES("Received\r\n: a\r\n\r\n"), 0, 0, 17, 10, true},
        {BYTES("Received a: b\r\n\r\n"), 0, 0, 17, 15, true},
        {BYTES(": Received: a\r\n\r\n"), 0, 0, 17, 15, true},
        {BYTES("Rece\0ived: a\r\n\r\n"), 0, 0, 16, 14, true},
        {BYTES("__proto__: a\r\nconstructor: b\r\n\r\n"), 0, 0, 32, 16, true},
        {BYTES("Aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-Received: a\r\n\r\n"), 0, 0, 66, 64, true},
        {BYTES("Aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa: a\r\nReceived: b\r\n\r\n"), 1, 0, 70, 55, true},
        /* Line ends that are none, or are only LF. */
        {BYTES("Received: a\nReceived: b\n\nbody"), 2, 0, 25, 12, true},
        {BYTES("From: a\r\n\rReceived: b\r\n\r\n"), 0, F, 25, 23, true},
        {BYTES("From: a\rReceived: b\r\n\r\n"), 0, F, 23, 21, true},
        {BYTES("From: a\r\n\r\r\nDate: b\r\n\r\n"), 0, F | D, 23, 12, true},
        /* No end. */
        {BYTES("From: a\r\n"), 0, F, 9, 9, false},
        {BYTES("From: a\r\n\r"), 0, F, 10, 9, false},
        {BYTES("From"), 0, 0, 4, 4, false},
        {BYTES("no header at all\r\njust text\r\n"), 0, 0, 29, 18, false},
    };
    for (size_t i = 0; i < PR_ARRAY_LEN(rows); i++) {
        for (size_t step = 1; step < 100; step *= 3) {
            struct mail_header_scan s = scan(rows[i].in, step);
            if (s.received != rows[i].received || s.seen != rows[i].seen || s.header_bytes != rows[i].header_bytes ||
                s.longest_field != rows[i].longest || s.done != rows[i].done)
                fail_msg("row %zu by %zu: received %u seen %u bytes %zu longest %zu done %d", i, step, s.received,
                         s.seen, s.header_bytes, s.longest_field, s.done);
        }
    }
}

/* Cost does not depend on the shape: a single line of 8 MB and 4 million empty-named fields both just pass by. */
static void worst_shapes(void **state)
{
    (void)state;
    enum { BIG = 8 << 20 };
    char *p = pr_malloc(BIG);
    memset(p, 'x', BIG);
    struct mail_header_scan s = scan(pr_slice(p, BIG), BIG);
    assert_false(s.done);
    assert_int_equal(s.longest_field, BIG);
    for (size_t i = 0; i < BIG; i++)
        p[i] = i % 2 == 0 ? ':' : '\n';
    s = scan(pr_slice(p, BIG), 4096);
    assert_false(s.done);
    assert_int_equal(s.longest_field, 2);
    pr_free(p);
}

static void received(void **state)
{
    (void)state;
    const pr_wall date = {1795246200000}; /* 2026-11-21 07:30:00 */
    static const struct {
        struct mail_received r;
        const char *text; /* without date and the end before it */
    } rows[] = {
        {{.helo = BYTES("client.example"),
          .client_name = BYTES("host.example"),
          .client_address = BYTES("192.0.2.1"),
          .by = BYTES("mx.test"),
          .with = BYTES("ESMTP"),
          .id = BYTES("abc123")},
         "Received: from client.example\r\n\t(host.example [192.0.2.1])\r\n\tby mx.test with ESMTP\r\n\tid abc123"},
        {{.helo = BYTES("[192.0.2.1]"),
          .client_address = BYTES("2001:db8::1"),
          .by = BYTES("mx.test"),
          .with = BYTES("ESMTPS"),
          .tls = BYTES("TLSv1.3 with cipher TLS_AES_256_GCM_SHA384"),
          .id = BYTES("x"),
          .for_ = BYTES("\"a b\"@c.test")},
         "Received: from [192.0.2.1]\r\n\t(unknown [IPv6:2001:db8::1])\r\n\tby mx.test with ESMTPS\r\n"
         "\t(TLSv1.3 with cipher TLS_AES_256_GCM_SHA384)\r\n\tid x\r\n\tfor <\"a b\"@c.test>"},
        /* What a peer, DNS or a certificate could try. */
        {{.helo = BYTES("a(b\r\nX: y"),
          .client_name = BYTES("evil\r\nX-Spam: no"),
          .client_address = BYTES("1.2.3.4]) by x"),
          .by = BYTES("mx"),
          .with = BYTES("SMTP;\r\n"),
          .tls = BYTES("a) b\\(c\0\n"),
          .id = BYTES("i d"),
          .for_ = BYTES("a\r\nb@c")},
         "Received: from a?b??X:?y\r\n\t(evil??X-Spam:?no [1.2.3.4???by?x])\r\n\tby mx with SMTP???\r\n\t(a? "
         "b??c?\?)\r\n"
         "\tid i?d\r\n\tfor <a??b@c>"},
        {{.helo = BYTES("[a]b]"),
          .client_name = BYTES("\xc3\xbc"),
          .client_address = BYTES("1.2.3.4"),
          .by = BYTES("mx"),
          .with = BYTES("SMTP"),
          .id = BYTES("1"),
          .for_ = BYTES("\xc3\xbc@b")},
         "Received: from [a?b]\r\n\t(\?\? [1.2.3.4])\r\n\tby mx with SMTP\r\n\tid 1\r\n\tfor <\xc3\xbc@b>"},
        {{.helo = BYTES("["),
          .client_address = BYTES("1.2.3.4"),
          .by = BYTES("mx"),
          .with = BYTES("SMTP"),
          .id = BYTES("1")},
         "Received: from ?\r\n\t(unknown [1.2.3.4])\r\n\tby mx with SMTP\r\n\tid 1"},
    };
    for (size_t i = 0; i < PR_ARRAY_LEN(rows); i++) {
        struct mail_received r = rows[i].r;
        struct pr_buf b = {0}, expected = {0};
        r.date = date;
        pr_buf_str(&expected, rows[i].text);
        pr_buf_str(&expected, ";\r\n\tSat, 21 Nov 2026 07:30:00 +0000\r\n");
        mail_received_format(&r, &b);
        assert_slice(pr_buf_slice(&b), pr_buf_slice(&expected));
        /* It is one field, and the scan counts one. */
        pr_buf_str(&b, "\r\n");
        struct mail_header_scan s = scan(pr_buf_slice(&b), 7);
        assert_true(s.done && s.received == 1 && s.longest_field == expected.len);
        pr_buf_fini(&b);
        pr_buf_fini(&expected);
    }
}

/* Values of any length stay within a line. */
static void received_long(void **state)
{
    (void)state;
    struct pr_buf big = {0}, b = {0};
    for (size_t i = 0; i < 5000; i++)
        pr_buf_char(&big, 'x');
    struct pr_slice x = pr_buf_slice(&big);
    struct mail_received r = {.helo = x,
                              .client_name = x,
                              .client_address = x,
                              .by = x,
                              .with = x,
                              .tls = x,
                              .id = x,
                              .for_ = x,
                              .date = {0}};
    mail_received_format(&r, &b);
    size_t start = 0;
    for (size_t i = 0; i < b.len; i++) {
        assert_true(i - start <= 998);
        if (b.ptr[i] == '\n')
            start = i + 1;
    }
    pr_buf_fini(&big);
    pr_buf_fini(&b);
}

static void dates(void **state)
{
    (void)state;
    static const struct {
        uint64_t ms;
        const char *text;
    } rows[] = {
        {0, "Thu, 01 Jan 1970 00:00:00 +0000"},
        {951782400000, "Tue, 29 Feb 2000 00:00:00 +0000"},
        {1795246200999, "Sat, 21 Nov 2026 07:30:00 +0000"},
        {1798761599000, "Thu, 31 Dec 2026 23:59:59 +0000"},
        {4102444800000, "Fri, 01 Jan 2100 00:00:00 +0000"},
        {4107542400000, "Mon, 01 Mar 2100 00:00:00 +0000"},
    };
    for (size_t i = 0; i < PR_ARRAY_LEN(rows); i++) {
        struct pr_buf b = {0};
        mail_date_format((pr_wall){rows[i].ms}, &b);
        assert_slice_str(pr_buf_slice(&b), rows[i].text);
        pr_buf_fini(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scanning),      cmocka_unit_test(worst_shapes), cmocka_unit_test(received),
        cmocka_unit_test(received_long), cmocka_unit_test(dates),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
