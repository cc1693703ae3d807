/* Delivery status notifications: a golden message, what each input changes, and what no input can break. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/base/rng.h"
#include "common/mail/dsn.h"
#include "tests/unit/mail/exact.h"

#define BYTES(s)                                                                                                       \
    {                                                                                                                  \
        (s), sizeof(s) - 1                                                                                             \
    }

/* A DSN about one recipient, to be varied. */
struct sample {
    struct mail_rcpt rcpt;
    const struct mail_rcpt *rcpts[1];
    struct mail_envelope envelope;
    struct mail_dsn dsn;
};

static void sample_init(struct sample *s)
{
    *s = (struct sample){
        .rcpt = {.address = BYTES("user@example.net"),
                 .orcpt = BYTES("rfc822;Old@example.org"),
                 .status = MAIL_RCPT_FAILED,
                 .code = 550,
                 .enhanced = BYTES("5.1.1"),
                 .diagnostic = BYTES("5.1.1 No such user here"),
                 .remote = BYTES("mx.example.net [192.0.2.1]")},
        .envelope = {.sender = BYTES("sender@ours.test"), .envid = BYTES("QQ314159"), .ret = MAIL_RET_HDRS, .arrival = {1795246100000}},
        .dsn = {.kind = MAIL_DSN_FAILURE,
                .reporting_mta = BYTES("mx.ours.test"),
                .queue_id = BYTES("0A1B2C"),
                .message_id = BYTES("dsn.0A1B2C"),
                .n_rcpts = 1,
                .now = {1795246200000},
                .last_attempt = {1795246190000},
                .will_retry_until = {1795646190000},
                .header = BYTES("From: a@b\r\nSubject: hello\r\n\r\n"),
                .content = BYTES("From: a@b\r\nSubject: hello\r\n\r\nbody\r\n"),
                .content_complete = true},
    };
    s->rcpts[0] = &s->rcpt;
    s->dsn.rcpts = s->rcpts;
    s->dsn.original = &s->envelope;
}

static bool has(const struct pr_buf *b, const char *text)
{
    return pr_slice_find_slice(pr_buf_slice(b), pr_slice_str(text)) != SIZE_MAX;
}

#define assert_has(b, text)                                                                                            \
    do {                                                                                                               \
        if (!has(b, text))                                                                                             \
            fail_msg("%s is not in\n%s", text, pr_buf_cstr(b));                                                        \
    } while (0)

/* The value of the boundary parameter. */
static struct pr_slice boundary_of(const struct pr_buf *b)
{
    struct pr_slice all = pr_buf_slice(b), rest;
    size_t at = pr_slice_find_slice(all, PR_SLICE_LIT("\r\n\tboundary=\""));
    assert_true(at != SIZE_MAX);
    return pr_slice_cut(pr_slice_from(all, at + 13), '"', &rest);
}

enum { PARTS_MAX = 8 };

/* Splits at the delimiters as a MIME reader does; returns the number of parts. [0] is header and preamble. */
static size_t split(const struct pr_buf *b, struct pr_slice parts[PARTS_MAX])
{
    struct pr_buf delimiter = {0};
    struct pr_slice left = pr_buf_slice(b);
    size_t n = 0;
    bool closed = false;
    pr_buf_str(&delimiter, "\r\n--");
    pr_buf_add(&delimiter, boundary_of(b));
    while (!closed) {
        size_t at = pr_slice_find_slice(left, pr_buf_slice(&delimiter));
        assert_true(at != SIZE_MAX && n < PARTS_MAX);
        parts[n++] = pr_slice_head(left, at);
        left = pr_slice_from(left, at + delimiter.len);
        closed = pr_slice_starts(left, PR_SLICE_LIT("--"));
        assert_true(pr_slice_starts(left, closed ? PR_SLICE_LIT("--\r\n") : PR_SLICE_LIT("\r\n")));
    }
    assert_int_equal(left.len, 4);
    pr_buf_fini(&delimiter);
    return n - 1;
}

static void golden(void **state)
{
    (void)state;
    struct sample s;
    struct pr_buf b = {0}, expected = {0};
    sample_init(&s);
    mail_dsn_format(&s.dsn, &b);
    struct pr_slice mark = boundary_of(&b);
    static const char *const pieces[] = {
        "From: Mail Delivery System <MAILER-DAEMON@mx.ours.test>\r\n"
        "To: <sender@ours.test>\r\n"
        "Subject: Undelivered mail returned to sender\r\n"
        "Date: Sat, 21 Nov 2026 07:30:00 +0000\r\n"
        "Message-ID: <dsn.0A1B2C@mx.ours.test>\r\n"
        "Auto-Submitted: auto-replied\r\n"
        "MIME-Version: 1.0\r\n"
        "Content-Type: multipart/report; report-type=delivery-status;\r\n"
        "\tboundary=\"",
        "\"\r\n\r\nThis is a MIME-encapsulated message.\r\n\r\n--",
        "\r\nContent-Description: Notification\r\n"
        "Content-Type: text/plain; charset=us-ascii\r\n\r\n"
        "This is the mail system at host mx.ours.test.\r\n\r\n"
        "Your message could not be delivered to the recipients listed below.\r\n"
        "No further attempt will be made for them.\r\n\r\n"
        "Queue id: 0A1B2C\r\n"
        "Received: Sat, 21 Nov 2026 07:28:20 +0000\r\n\r\n"
        "<user@example.net>:\r\n"
        "    host mx.example.net [192.0.2.1] said: 550 5.1.1 No such user here\r\n\r\n--",
        "\r\nContent-Description: Delivery report\r\n"
        "Content-Type: message/delivery-status\r\n\r\n"
        "Reporting-MTA: dns; mx.ours.test\r\n"
        "Original-Envelope-Id: QQ314159\r\n"
        "Arrival-Date: Sat, 21 Nov 2026 07:28:20 +0000\r\n"
        "X-Postrider-Queue-Id: 0A1B2C\r\n\r\n"
        "Original-Recipient: rfc822;Old@example.org\r\n"
        "Final-Recipient: rfc822; user@example.net\r\n"
        "Action: failed\r\n"
        "Status: 5.1.1\r\n"
        "Remote-MTA: dns; mx.example.net\r\n"
        "Diagnostic-Code: smtp; 550 5.1.1 No such user here\r\n"
        "Last-Attempt-Date: Sat, 21 Nov 2026 07:29:50 +0000\r\n\r\n--",
        "\r\nContent-Description: Header of the message\r\n"
        "Content-Type: text/rfc822-headers\r\n\r\n"
        "From: a@b\r\nSubject: hello\r\n\r\n--",
        "--\r\n",
    };
    for (size_t i = 0; i < PR_ARRAY_LEN(pieces); i++) {
        if (i > 0)
            pr_buf_add(&expected, mark);
        pr_buf_str(&expected, pieces[i]);
    }
    assert_slice(pr_buf_slice(&b), pr_buf_slice(&expected));
    pr_buf_fini(&b);
    pr_buf_fini(&expected);
}

static void same_bytes_again(void **state)
{
    (void)state;
    struct sample s, t;
    struct pr_buf a = {0}, b = {0};
    sample_init(&s);
    sample_init(&t);
    mail_dsn_format(&s.dsn, &a);
    mail_dsn_format(&t.dsn, &b);
    assert_slice(pr_buf_slice(&a), pr_buf_slice(&b));
    pr_buf_clear(&b);
    t.dsn.message_id = PR_SLICE_LIT("dsn.other");
    mail_dsn_format(&t.dsn, &b);
    assert_false(pr_slice_eq(boundary_of(&a), boundary_of(&b)));
    pr_buf_fini(&a);
    pr_buf_fini(&b);
}

static void delay(void **state)
{
    (void)state;
    struct sample s;
    struct pr_buf b = {0};
    sample_init(&s);
    s.dsn.kind = MAIL_DSN_DELAY;
    s.rcpt.status = MAIL_RCPT_PENDING;
    s.rcpt.code = 451;
    s.rcpt.enhanced = PR_SLICE_LIT("4.7.1");
    s.rcpt.diagnostic = PR_SLICE_LIT("451-4.7.1 greylisted");
    s.envelope.ret = MAIL_RET_FULL;
    mail_dsn_format(&s.dsn, &b);
    assert_has(&b, "\r\nSubject: Delayed mail");
    assert_has(&b, "Attempts end on Wed, 25 Nov 2026 22:36:30 +0000.");
    assert_has(&b, "\r\nAction: delayed\r\nStatus: 4.7.1\r\n");
    assert_has(&b, "\r\nWill-Retry-Until: Wed, 25 Nov 2026 22:36:30 +0000\r\n");
    /* The code is not said twice. */
    assert_has(&b, "Diagnostic-Code: smtp; 451-4.7.1 greylisted\r\n");
    /* RET=FULL is about failures. */
    assert_has(&b, "text/rfc822-headers");
    assert_false(has(&b, "\r\nbody\r\n"));
    pr_buf_fini(&b);
}

static void statuses(void **state)
{
    (void)state;
    static const struct {
        enum mail_dsn_kind kind;
        enum mail_rcpt_status status;
        const char *enhanced, *line;
    } rows[] = {
        {MAIL_DSN_FAILURE, MAIL_RCPT_FAILED, "5.7.1", "\r\nStatus: 5.7.1\r\n"},
        {MAIL_DSN_FAILURE, MAIL_RCPT_FAILED, "", "\r\nStatus: 5.0.0\r\n"},
        {MAIL_DSN_FAILURE, MAIL_RCPT_FAILED, "4.7.1", "\r\nStatus: 5.0.0\r\n"},
        {MAIL_DSN_FAILURE, MAIL_RCPT_FAILED, "5.7.1 x", "\r\nStatus: 5.0.0\r\n"},
        {MAIL_DSN_FAILURE, MAIL_RCPT_FAILED, "5.7.1\r\nX: y", "\r\nStatus: 5.0.0\r\n"},
        {MAIL_DSN_FAILURE, MAIL_RCPT_EXPIRED, "4.4.1", "\r\nStatus: 5.4.7\r\n"},
        {MAIL_DSN_DELAY, MAIL_RCPT_PENDING, "4.4.1", "\r\nStatus: 4.4.1\r\n"},
        {MAIL_DSN_DELAY, MAIL_RCPT_PENDING, "5.4.1", "\r\nStatus: 4.0.0\r\n"},
        {MAIL_DSN_DELAY, MAIL_RCPT_PENDING, "", "\r\nStatus: 4.0.0\r\n"},
    };
    for (size_t i = 0; i < PR_ARRAY_LEN(rows); i++) {
        struct sample s;
        struct pr_buf b = {0};
        sample_init(&s);
        s.dsn.kind = rows[i].kind;
        s.rcpt.status = rows[i].status;
        s.rcpt.enhanced = pr_slice_str(rows[i].enhanced);
        mail_dsn_format(&s.dsn, &b);
        assert_has(&b, rows[i].line);
        pr_buf_fini(&b);
    }
}

/* Facts that are not known leave no field behind. */
static void little_known(void **state)
{
    (void)state;
    static const char *const absent[] = {
        "Original-Recipient:", "Original-Envelope-Id:", "Remote-MTA:",   "Diagnostic-Code:",
        "Last-Attempt-Date:",  "Will-Retry-Until:",     "Arrival-Date:", "Content-Type: text/rfc822-headers",
    };
    struct sample s;
    struct pr_buf b = {0};
    struct pr_slice parts[PARTS_MAX];
    sample_init(&s);
    s.rcpt = (struct mail_rcpt){.address = PR_SLICE_LIT("a@b"), .status = MAIL_RCPT_EXPIRED};
    s.envelope = (struct mail_envelope){.sender = PR_SLICE_LIT("s@t")};
    s.dsn.kind = MAIL_DSN_DELAY;
    s.dsn.last_attempt = s.dsn.will_retry_until = (pr_wall){0};
    s.dsn.header = pr_slice(NULL, 0);
    mail_dsn_format(&s.dsn, &b);
    for (size_t i = 0; i < PR_ARRAY_LEN(absent); i++)
        if (has(&b, absent[i]))
            fail_msg("%s", absent[i]);
    assert_int_equal(split(&b, parts), 2);
    pr_buf_fini(&b);
}

static void returned_content(void **state)
{
    (void)state;
    static char big[MAIL_DSN_CONTENT_MAX + 1];
    static const struct {
        enum mail_ret ret;
        enum mail_body_type body;
        size_t size;      /* of a content of short lines; 0: as the sample has it */
        size_t long_line; /* length of one line in it */
        bool complete, full;
    } rows[] = {
        {MAIL_RET_FULL, MAIL_BODY_7BIT, 0, 0, true, true},
        {MAIL_RET_FULL, MAIL_BODY_8BITMIME, 0, 0, true, true},
        {MAIL_RET_FULL, MAIL_BODY_7BIT, MAIL_DSN_CONTENT_MAX, 0, true, true},
        {MAIL_RET_FULL, MAIL_BODY_7BIT, 5000, 998, true, true},
        {MAIL_RET_HDRS, MAIL_BODY_7BIT, 0, 0, true, false},
        {MAIL_RET_DEFAULT, MAIL_BODY_7BIT, 0, 0, true, true},
        {MAIL_RET_FULL, MAIL_BODY_7BIT, 0, 0, false, false},
        {MAIL_RET_FULL, MAIL_BODY_BINARYMIME, 0, 0, true, false},
        {MAIL_RET_FULL, MAIL_BODY_7BIT, MAIL_DSN_CONTENT_MAX + 1, 0, true, false},
        {MAIL_RET_FULL, MAIL_BODY_7BIT, 5000, 999, true, false},
    };
    for (size_t i = 0; i < PR_ARRAY_LEN(rows); i++) {
        struct sample s;
        struct pr_buf b = {0};
        struct pr_slice parts[PARTS_MAX];
        sample_init(&s);
        s.envelope.ret = rows[i].ret;
        s.envelope.body = rows[i].body;
        s.dsn.content_complete = rows[i].complete;
        for (size_t k = 0; k < rows[i].size; k += 2)
            memcpy(big + k, "\r\n", k + 1 < rows[i].size ? 2 : 1);
        memset(big + 2, 'x', rows[i].long_line);
        if (rows[i].long_line % 2 != 0)
            big[2 + rows[i].long_line] = '\r';
        if (rows[i].size > 0)
            s.dsn.content = pr_slice(big, rows[i].size);
        mail_dsn_format(&s.dsn, &b);
        assert_int_equal(split(&b, parts), 3);
        if (has(&b, "\r\nContent-Type: message/rfc822\r\n") != rows[i].full)
            fail_msg("row %zu", i);
        assert_int_equal(has(&b, "\r\nContent-Type: text/rfc822-headers\r\n"), !rows[i].full);
        pr_buf_fini(&b);
    }
}

/* The original ends where it ended, whatever it ends with. */
static void content_is_whole(void **state)
{
    (void)state;
    static const struct {
        struct pr_slice content;
        const char *returned;
    } rows[] = {
        {BYTES("A: b\r\n\r\nbody\r\n"), "A: b\r\n\r\nbody\r\n"},
        {BYTES("A: b\r\n\r\nbody"), "A: b\r\n\r\nbody\r\n"},
        {BYTES("A: b\r\n\r\n.\r\n"), "A: b\r\n\r\n.\r\n"},
        {BYTES("A: b\r\n\r\na\nb\rc\0d\r\n"), "A: b\r\n\r\na\r\nb\r\ncd\r\n"},
        {BYTES("A: b\r\n\r\n\r\n\r\n"), "A: b\r\n\r\n\r\n\r\n"},
    };
    for (size_t i = 0; i < PR_ARRAY_LEN(rows); i++) {
        struct sample s;
        struct pr_buf b = {0};
        struct pr_slice parts[PARTS_MAX];
        sample_init(&s);
        s.envelope.ret = MAIL_RET_FULL;
        s.dsn.content = rows[i].content;
        mail_dsn_format(&s.dsn, &b);
        assert_int_equal(split(&b, parts), 3);
        size_t at = pr_slice_find_slice(parts[3], PR_SLICE_LIT("\r\n\r\n"));
        assert_slice_str(pr_slice_from(parts[3], at + 4), rows[i].returned);
        pr_buf_fini(&b);
    }
}

static void header_lines(void **state)
{
    (void)state;
    struct sample s;
    struct pr_buf b = {0}, header = {0};
    sample_init(&s);
    /* Without its end, with a bare LF, and with one line of 3,000 octets. */
    pr_buf_str(&header, "A: b\nX: ");
    for (size_t i = 0; i < 3000; i++)
        pr_buf_char(&header, 'x');
    pr_buf_str(&header, "\r\nC: d");
    s.dsn.header = pr_buf_slice(&header);
    mail_dsn_format(&s.dsn, &b);
    assert_has(&b, "\r\n\r\nA: b\r\nX: xxx");
    assert_has(&b, "x\r\nC: d\r\n\r\n--=_");
    size_t start = 0, xs = 0;
    for (size_t i = 0; i < b.len; i++) {
        xs += b.ptr[i] == 'x';
        if (b.ptr[i] == '\n') {
            assert_true(i + 1 - start <= 1000);
            start = i + 1;
        }
    }
    assert_true(xs > 3000);
    /* What follows the empty line is not header. */
    pr_buf_clear(&b);
    s.dsn.header = PR_SLICE_LIT("A: b\r\n\r\nsecret\r\n");
    mail_dsn_format(&s.dsn, &b);
    assert_false(has(&b, "secret"));
    pr_buf_fini(&b);
    pr_buf_fini(&header);
}

static void utf8(void **state)
{
    (void)state;
    struct sample s;
    struct pr_buf b = {0};
    sample_init(&s);
    assert_false(mail_dsn_needs_utf8(&s.dsn));
    s.rcpt.address = PR_SLICE_LIT("\xc3\xbcser@b\xc3\xbc"
                                  "cher.example");
    s.rcpt.orcpt = PR_SLICE_LIT("utf-8;\xc3\xb6@x");
    s.rcpt.diagnostic = PR_SLICE_LIT("niemand hei\xc3\x9ft so \xff");
    mail_dsn_format(&s.dsn, &b);
    assert_has(&b, "Content-Type: message/global-delivery-status\r\nContent-Transfer-Encoding: 8bit\r\n");
    assert_has(&b, "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n");
    assert_has(&b, "\"\r\nContent-Transfer-Encoding: 8bit\r\n\r\n");
    assert_has(&b, "Final-Recipient: utf-8; \xc3\xbcser@b\xc3\xbc"
                   "cher.example\r\n");
    assert_has(&b, "Original-Recipient: utf-8;\xc3\xb6@x\r\n");
    assert_has(&b, "hei\xc3\x9ft so ?\r\n");
    assert_has(&b, "text/rfc822-headers");
    /* Only the sender stands in the header of the DSN. */
    assert_false(mail_dsn_needs_utf8(&s.dsn));
    pr_buf_clear(&b);
    s.envelope.sender = PR_SLICE_LIT("s\xc3\xa9nder@ours.test");
    s.envelope.smtputf8 = true;
    s.dsn.header = PR_SLICE_LIT("Subject: \xc3\xbc\r\n\r\n");
    s.dsn.content = PR_SLICE_LIT("Subject: \xc3\xbc\r\n\r\nbody\r\n");
    mail_dsn_format(&s.dsn, &b);
    assert_true(mail_dsn_needs_utf8(&s.dsn));
    assert_has(&b, "\r\nTo: <s\xc3\xa9nder@ours.test>\r\n");
    assert_has(&b, "Content-Type: message/global-headers\r\nContent-Transfer-Encoding: 8bit\r\n");
    pr_buf_clear(&b);
    s.envelope.ret = MAIL_RET_FULL;
    mail_dsn_format(&s.dsn, &b);
    assert_has(&b, "Content-Type: message/global\r\nContent-Transfer-Encoding: 8bit\r\n");
    pr_buf_clear(&b);
    /* ASCII addresses: foreign words do not make the report UTF-8. */
    sample_init(&s);
    s.rcpt.diagnostic = PR_SLICE_LIT("hei\xc3\x9ft");
    mail_dsn_format(&s.dsn, &b);
    assert_has(&b, "smtp; 550 hei?\?t\r\n");
    assert_true(pr_is_ascii(pr_buf_slice(&b)));
    pr_buf_fini(&b);
}

static void wanted(void **state)
{
    (void)state;
    static const struct {
        unsigned notify;
        bool failure, delayed;
    } rows[] = {
        {0, true, true},
        {MAIL_NOTIFY_NEVER, false, false},
        {MAIL_NOTIFY_SUCCESS, false, false},
        {MAIL_NOTIFY_FAILURE, true, false},
        {MAIL_NOTIFY_DELAY, false, true},
        {MAIL_NOTIFY_FAILURE | MAIL_NOTIFY_DELAY, true, true},
        {MAIL_NOTIFY_SUCCESS | MAIL_NOTIFY_DELAY, false, true},
    };
    for (size_t i = 0; i < PR_ARRAY_LEN(rows); i++) {
        struct mail_rcpt r = {.notify = rows[i].notify};
        assert_int_equal(mail_dsn_wanted(&r, MAIL_DSN_FAILURE), rows[i].failure);
        assert_int_equal(mail_dsn_wanted(&r, MAIL_DSN_DELAY), rows[i].delayed);
    }
}

/* No bare CR or LF, no NUL, lines within bounds. */
static void check_wire(const struct pr_buf *b)
{
    size_t start = 0;
    for (size_t i = 0; i < b->len; i++) {
        assert_true(b->ptr[i] != '\0');
        assert_true(b->ptr[i] != '\r' || (i + 1 < b->len && b->ptr[i + 1] == '\n'));
        assert_true(b->ptr[i] != '\n' || b->ptr[i - 1] == '\r');
        if (b->ptr[i] == '\n') {
            assert_true(i + 1 - start <= 1000);
            start = i + 1;
        }
    }
    assert_int_equal(start, b->len);
}

/* Every line of the machine-readable part is a field we write, its continuation, or empty. */
static void check_fields(struct pr_slice part, size_t n_rcpts)
{
    static const char *const names[] = {
        "Content-Description: ",
        "Content-Type: ",
        "Content-Transfer-Encoding: ",
        "Reporting-MTA: ",
        "Original-Envelope-Id: ",
        "Arrival-Date: ",
        "X-Postrider-Queue-Id: ",
        "Original-Recipient: ",
        "Final-Recipient: ",
        "Action: ",
        "Status: ",
        "Remote-MTA: ",
        "Diagnostic-Code: ",
        "Last-Attempt-Date: ",
        "Will-Retry-Until: ",
        "    ",
    };
    size_t finals = 0, empty = 0;
    for (size_t n; part.len > 0; part = pr_slice_from(part, n)) {
        n = pr_slice_find(part, '\n');
        n = n == SIZE_MAX ? part.len : n + 1;
        struct pr_slice line = pr_slice_head(part, n);
        bool known = pr_slice_eq_str(line, "\r\n");
        empty += known;
        for (size_t i = 0; i < PR_ARRAY_LEN(names); i++)
            known |= pr_slice_starts(line, pr_slice_str(names[i]));
        if (!known)
            fail_msg("%.*s", PR_SLICE_ARG(line));
        finals += pr_slice_starts(line, PR_SLICE_LIT("Final-Recipient: "));
    }
    assert_int_equal(finals, n_rcpts);
    /* Delimiter line, end of the part's header, one before each recipient. */
    assert_int_equal(empty, 2 + n_rcpts);
}

/* Text that tries to leave its place. */
static struct pr_slice hostile(struct pr_rng *rng, struct pr_buf *b)
{
    static const struct pr_slice pieces[] = {
        BYTES("\r\n"),
        BYTES("\n"),
        BYTES("\r"),
        BYTES("\0"),
        BYTES("\r\n\r\n"),
        BYTES("\r\n."),
        BYTES("\r\n.\r\n"),
        BYTES("\r\nFinal-Recipient: rfc822; x@y\r\n"),
        BYTES("\r\nBcc: x@y"),
        BYTES("\r\n--=_postrider_"),
        BYTES("--"),
        BYTES("\"\r\n\t"),
        BYTES("\xc3\xbc"),
        BYTES("\xff\xfe"),
        BYTES("\xe2\x80\xa8"),
        BYTES("word"),
        BYTES(" "),
        BYTES("averylongwordaverylongwordaverylongwordaverylongwordaverylongwordaverylongwordaverylongword"),
        BYTES("user@example.net"),
        BYTES(">"),
        BYTES(";"),
        BYTES("550 5.1.1 "),
        BYTES("=?utf-8?q?x?="),
        BYTES("\x1b[2J"),
    };
    pr_buf_clear(b);
    for (uint64_t n = pr_rng_below(rng, pr_rng_below(rng, 4) == 0 ? 200 : 6); n > 0; n--)
        pr_buf_add(b, pieces[pr_rng_below(rng, PR_ARRAY_LEN(pieces))]);
    return pr_buf_slice(b);
}

enum { FIELDS = 12 };

static void injection(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 1500; seed++) {
        struct pr_rng rng;
        struct sample s;
        struct pr_buf text[FIELDS] = {{0}}, out = {0};
        struct pr_slice parts[PARTS_MAX];
        sample_init(&s);
        pr_rng_init(&rng, seed);
        struct pr_slice *fields[FIELDS] = {
            &s.rcpt.address, &s.rcpt.orcpt,      &s.rcpt.enhanced,  &s.rcpt.diagnostic,
            &s.rcpt.remote,  &s.envelope.sender, &s.envelope.envid, &s.dsn.reporting_mta,
            &s.dsn.queue_id, &s.dsn.message_id,  &s.dsn.header,     &s.dsn.content,
        };
        for (size_t i = 0; i < FIELDS; i++)
            if (pr_rng_below(&rng, 3) == 0)
                *fields[i] = hostile(&rng, &text[i]);
        s.dsn.kind = pr_rng_below(&rng, 4) == 0 ? MAIL_DSN_DELAY : MAIL_DSN_FAILURE;
        s.envelope.ret = pr_rng_below(&rng, 2) == 0 ? MAIL_RET_FULL : MAIL_RET_HDRS;
        s.envelope.smtputf8 = pr_rng_below(&rng, 2) == 0;
        s.rcpt.code = (uint16_t)(pr_rng_below(&rng, 2) * 550);
        mail_dsn_format(&s.dsn, &out);
        check_wire(&out);
        size_t n = split(&out, parts);
        if (n != 3 && n != 2)
            fail_msg("seed %llu: %zu parts", (unsigned long long)seed, n);
        check_fields(parts[2], 1);
        /* The header is ours alone: eight or nine fields, one of them folded. */
        size_t lines = 0, end = pr_slice_find_slice(parts[0], PR_SLICE_LIT("\r\n\r\n"));
        for (size_t i = 0; i < end; i++)
            lines += parts[0].ptr[i] == '\n';
        if (lines != 8 && lines != 9)
            fail_msg("seed %llu: %zu header lines", (unsigned long long)seed, lines + 1);
        for (size_t i = 0; i < FIELDS; i++)
            pr_buf_fini(&text[i]);
        pr_buf_fini(&out);
    }
}

/* The original holds a whole earlier DSN, delimiters and all. */
static void nested(void **state)
{
    (void)state;
    struct sample s;
    struct pr_buf before = {0}, b = {0};
    sample_init(&s);
    s.envelope.ret = MAIL_RET_FULL;
    for (size_t depth = 0; depth < 5; depth++) {
        struct pr_slice parts[PARTS_MAX];
        pr_buf_clear(&b);
        mail_dsn_format(&s.dsn, &b);
        assert_int_equal(split(&b, parts), 3);
        pr_buf_clear(&before);
        pr_buf_add(&before, pr_buf_slice(&b));
        s.dsn.content = pr_buf_slice(&before);
    }
    pr_buf_fini(&before);
    pr_buf_fini(&b);
}

/* One report about a thousand recipients stays a report. */
static void thousand(void **state)
{
    (void)state;
    enum { N = 1000 };
    struct sample s;
    struct pr_buf b = {0};
    struct pr_slice parts[PARTS_MAX];
    const struct mail_rcpt *rcpts[N];
    sample_init(&s);
    for (size_t i = 0; i < N; i++)
        rcpts[i] = &s.rcpt;
    s.dsn.rcpts = rcpts;
    s.dsn.n_rcpts = N;
    mail_dsn_format(&s.dsn, &b);
    assert_int_equal(split(&b, parts), 3);
    check_fields(parts[2], N);
    assert_true(b.len < N * 1000);
    pr_buf_fini(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden),           cmocka_unit_test(same_bytes_again), cmocka_unit_test(delay),
        cmocka_unit_test(statuses),         cmocka_unit_test(little_known),     cmocka_unit_test(returned_content),
        cmocka_unit_test(content_is_whole), cmocka_unit_test(header_lines),     cmocka_unit_test(utf8),
        cmocka_unit_test(wanted),           cmocka_unit_test(injection),        cmocka_unit_test(nested),
        cmocka_unit_test(thousand),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
