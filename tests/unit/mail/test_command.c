/* Command lines: verbs, MAIL and RCPT with their parameters, BDAT; what is refused, and with which reply. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#include "common/mail/command.h"
#include "tests/unit/mail/exact.h"

#define BYTES(s)                                                                                                       \
    {                                                                                                                  \
        (s), sizeof(s) - 1                                                                                             \
    }
#define A50 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define A100 A50 A50
/* With "rfc822;" and 450 more: 500, the limit of ORCPT. */
#define A43 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

enum {
    ALL = MAIL_EXT_SIZE | MAIL_EXT_8BITMIME | MAIL_EXT_SMTPUTF8 | MAIL_EXT_DSN | MAIL_EXT_CHUNKING |
          MAIL_EXT_BINARYMIME | MAIL_EXT_AUTH,
};

static void verbs(void **state)
{
    (void)state;
    static const struct {
        struct pr_slice line;
        enum mail_verb verb;
        const char *args;
    } rows[] = {
        {BYTES("EHLO a.b"), MAIL_VERB_EHLO, "a.b"},
        {BYTES("ehlo a.b "), MAIL_VERB_EHLO, "a.b"},
        {BYTES("HeLo x"), MAIL_VERB_HELO, "x"},
        {BYTES("LHLO x"), MAIL_VERB_LHLO, "x"},
        {BYTES("MAIL FROM:<>  "), MAIL_VERB_MAIL, "FROM:<>"},
        {BYTES("RCPT TO:<a@b> \t "), MAIL_VERB_RCPT, "TO:<a@b>"},
        {BYTES("DATA"), MAIL_VERB_DATA, ""},
        {BYTES("DATA "), MAIL_VERB_DATA, ""},
        {BYTES("DATA\t"), MAIL_VERB_DATA, ""},
        {BYTES("DATA x"), MAIL_VERB_DATA, "x"},
        {BYTES("BDAT 0 LAST"), MAIL_VERB_BDAT, "0 LAST"},
        {BYTES("BDAT  0"), MAIL_VERB_BDAT, " 0"},
        {BYTES("RSET"), MAIL_VERB_RSET, ""},
        {BYTES("NOOP a b c"), MAIL_VERB_NOOP, "a b c"},
        {BYTES("quit"), MAIL_VERB_QUIT, ""},
        {BYTES("VRFY x"), MAIL_VERB_VRFY, "x"},
        {BYTES("EXPN x"), MAIL_VERB_EXPN, "x"},
        {BYTES("HELP"), MAIL_VERB_HELP, ""},
        {BYTES("STARTTLS"), MAIL_VERB_STARTTLS, ""},
        {BYTES("AUTH PLAIN x"), MAIL_VERB_AUTH, "PLAIN x"},
        {BYTES(""), MAIL_VERB_UNKNOWN, ""},
        {BYTES(" "), MAIL_VERB_UNKNOWN, ""},
        {BYTES(" DATA"), MAIL_VERB_UNKNOWN, "DATA"},
        {BYTES("DATA\0"), MAIL_VERB_UNKNOWN, ""},
        {BYTES("DATA\tx"), MAIL_VERB_UNKNOWN, ""},
        {BYTES("DATAX"), MAIL_VERB_UNKNOWN, ""},
        {BYTES("DAT"), MAIL_VERB_UNKNOWN, ""},
        {BYTES("NOOP\nDATA"), MAIL_VERB_UNKNOWN, ""},
        {BYTES("NOOP\r"), MAIL_VERB_UNKNOWN, ""},
        {BYTES("UNKNOWN"), MAIL_VERB_UNKNOWN, ""},
        {BYTES("XCLIENT NAME=x"), MAIL_VERB_UNKNOWN, "NAME=x"},
        {BYTES("MAIL\xc3\xbc"), MAIL_VERB_UNKNOWN, ""},
    };
    for (size_t i = 0; i < PR_ARRAY_LEN(rows); i++) {
        struct pr_slice args, line = exact(rows[i].line);
        enum mail_verb verb = mail_command_verb(line, &args);
        if (verb != rows[i].verb)
            fail_msg("%.*s: %s", PR_SLICE_ARG(line), mail_verb_names[verb]);
        assert_slice_str(args, rows[i].args);
        exact_free(line);
    }
    for (size_t v = 0; v < MAIL_VERB_NR; v++)
        assert_non_null(mail_verb_names[v]);
}

static void foreign(void **state)
{
    (void)state;
    static const struct pr_slice yes[] = {
        BYTES("GET / HTTP/1.1"),    BYTES("POST /x HTTP/1.0"),
        BYTES("get / http/1.1"),    BYTES("CONNECT a:25 HTTP/1.1"),
        BYTES("PRI * HTTP/2.0"),    BYTES("OPTIONS sip:x SIP/2.0"),
        BYTES("Host: x"),           BYTES("Content-Type: x"),
        BYTES("SSH-2.0-OpenSSH_9"), BYTES("\x16\x03\x01\x02\x00\x01\x00"),
        BYTES("\x16\x03"),          BYTES("\x80\x2e\x01\x03\x01"),
    };
    static const struct pr_slice no[] = {
        BYTES(""),         BYTES("EHLO GET"), BYTES("NOOP GET / HTTP/1.1"),
        BYTES("GETX"),     BYTES("\x16"),     BYTES("\x16\x02"),
        BYTES("QUIT"),     BYTES("HELP"),     BYTES("MAIL FROM:<get@x>"),
        BYTES("\xc3\xbc"),
    };
    for (size_t i = 0; i < PR_ARRAY_LEN(yes); i++) {
        struct pr_slice line = exact(yes[i]);
        if (!mail_command_foreign(line))
            fail_msg("%.*s", PR_SLICE_ARG(line));
        exact_free(line);
    }
    for (size_t i = 0; i < PR_ARRAY_LEN(no); i++) {
        struct pr_slice line = exact(no[i]);
        if (mail_command_foreign(line))
            fail_msg("%.*s", PR_SLICE_ARG(line));
        exact_free(line);
    }
}

static void from_accepted(void **state)
{
    (void)state;
    static const struct {
        const char *args;
        struct mail_from expected; /* without path */
        const char *sender, *envid;
    } rows[] = {
        {"FROM:<>", {.has_size = false}, "", ""},
        {"from:<A@b>", {.has_size = false}, "A@b", ""},
        {"FROM:<a@b> SIZE=0", {.has_size = true}, "a@b", ""},
        {"FROM:<a@b> size=12345", {.has_size = true, .size_bytes = 12345}, "a@b", ""},
        {"FROM:<a@b> SIZE=00000000000000000012", {.has_size = true, .size_bytes = 12}, "a@b", ""},
        {"FROM:<a@b> SIZE=18446744073709551615", {.has_size = true, .size_bytes = UINT64_MAX}, "a@b", ""},
        {"FROM:<a@b> BODY=7BIT", {.body = MAIL_BODY_7BIT}, "a@b", ""},
        {"FROM:<a@b> BODY=8bitmime", {.body = MAIL_BODY_8BITMIME}, "a@b", ""},
        {"FROM:<a@b> BODY=BINARYMIME", {.body = MAIL_BODY_BINARYMIME}, "a@b", ""},
        {"FROM:<a@b> SMTPUTF8", {.smtputf8 = true}, "a@b", ""},
        {"FROM:<\xc3\xbc@b> BODY=8BITMIME SMTPUTF8", {.smtputf8 = true, .body = MAIL_BODY_8BITMIME}, "\xc3\xbc@b", ""},
        {"FROM:<a@b> RET=FULL ENVID=QQ+2B1", {.ret = MAIL_RET_FULL}, "a@b", "QQ+2B1"},
        {"FROM:<a@b> RET=hdrs", {.ret = MAIL_RET_HDRS}, "a@b", ""},
        {"FROM:<a@b> ENVID=" A100, {.has_size = false}, "a@b", A100},
        {"FROM:<a@b> AUTH=<>", {.has_size = false}, "a@b", ""},
        {"FROM:<a@b> AUTH=e+3Dmc2@example.com", {.has_size = false}, "a@b", ""},
        {"FROM:<a@b>  SIZE=1   RET=FULL", {.has_size = true, .size_bytes = 1, .ret = MAIL_RET_FULL}, "a@b", ""},
        {"FROM:<@x,@y:u@z> SIZE=1", {.has_size = true, .size_bytes = 1}, "u@z", ""},
    };
    for (size_t i = 0; i < PR_ARRAY_LEN(rows); i++) {
        struct mail_from f;
        struct mail_reply reply = {0, NULL, NULL};
        struct pr_slice args = exact(pr_slice_str(rows[i].args));
        if (mail_command_from(args, ALL, &f, &reply) != 0)
            fail_msg("%s: %u %s", rows[i].args, reply.code, reply.text);
        assert_slice_str(f.path.text, rows[i].sender);
        assert_slice_str(f.envid_xtext, rows[i].envid);
        assert_int_equal(f.has_size, rows[i].expected.has_size);
        assert_true(f.size_bytes == rows[i].expected.size_bytes);
        assert_int_equal(f.body, rows[i].expected.body);
        assert_int_equal(f.ret, rows[i].expected.ret);
        assert_int_equal(f.smtputf8, rows[i].expected.smtputf8);
        exact_free(args);
    }
}

/* Replies as "code enhanced". */
struct refusal {
    struct pr_slice args;
    unsigned ext;
    const char *reply;
};

static void check_reply(const struct refusal *row, int rc, const struct mail_reply *reply)
{
    char got[32];
    (void)snprintf(got, sizeof got, "%u %s", reply->code, reply->enhanced == NULL ? "" : reply->enhanced);
    if (rc != PR_EPARSE || strcmp(got, row->reply) != 0)
        fail_msg("%.*s: %s %s instead of %s", PR_SLICE_ARG(row->args), pr_errname(rc), got, row->reply);
    assert_non_null(reply->text);
}

static void from_refused(void **state)
{
    (void)state;
    static const struct refusal rows[] = {
        /* Shape. */
        {BYTES(""), ALL, "501 5.5.4"},
        {BYTES("FROM"), ALL, "501 5.5.4"},
        {BYTES("FROM:"), ALL, "501 5.5.4"},
        {BYTES("TO:<a@b>"), ALL, "501 5.5.4"},
        {BYTES("FROM:a@b"), ALL, "501 5.5.4"},
        {BYTES("FROM: <a@b>"), ALL, "501 5.5.4"},
        {BYTES("FROM <a@b>"), ALL, "501 5.5.4"},
        {BYTES(" FROM:<a@b>"), ALL, "501 5.5.4"},
        {BYTES("FROM :<a@b>"), ALL, "501 5.5.4"},
        {BYTES("<a@b>"), ALL, "501 5.5.4"},
        {BYTES("FROM:<a@b>SIZE=1"), ALL, "501 5.5.4"},
        {BYTES("FROM:<a@b>\tSIZE=1"), ALL, "501 5.5.4"},
        {BYTES("FROM:<a@b>> SIZE=1"), ALL, "501 5.5.4"},
        {BYTES("FROM:<a@b>,<c@d>"), ALL, "501 5.5.4"},
        /* Address. */
        {BYTES("FROM:<a@b"), ALL, "553 5.1.7"},
        {BYTES("FROM:<a>"), ALL, "553 5.1.7"},
        {BYTES("FROM:<postmaster>"), ALL, "553 5.1.7"},
        {BYTES("FROM:<a@b\0>"), ALL, "553 5.1.7"},
        {BYTES("FROM:<a@b\r\n>"), ALL, "553 5.1.7"},
        {BYTES("FROM:<" A50 A50 "@b>"), ALL, "553 5.1.7"},
        {BYTES("FROM:<\xc3\xbc@b>"), ALL, "553 5.6.7"},
        {BYTES("FROM:<a@\xc3\xbc.b> BODY=8BITMIME"), ALL, "553 5.6.7"},
        {BYTES("FROM:<\xc3\xbc@b> SMTPUTF8"), ALL & ~(unsigned)MAIL_EXT_SMTPUTF8, "555 5.5.4"},
        {BYTES("FROM:<\xc3@b> SMTPUTF8"), ALL, "553 5.1.7"},
        /* Unknown here. */
        {BYTES("FROM:<a@b> X=1"), ALL, "555 5.5.4"},
        {BYTES("FROM:<a@b> XYZZY"), ALL, "555 5.5.4"},
        {BYTES("FROM:<a@b> SIZ=1"), ALL, "555 5.5.4"},
        {BYTES("FROM:<a@b> SIZEX=1"), ALL, "555 5.5.4"},
        {BYTES("FROM:<a@b> NOTIFY=NEVER"), ALL, "555 5.5.4"},
        {BYTES("FROM:<a@b> ORCPT=rfc822;x"), ALL, "555 5.5.4"},
        {BYTES("FROM:<a@b> HOLDFOR=1"), ALL, "555 5.5.4"},
        {BYTES("FROM:<a@b> REQUIRETLS"), ALL, "555 5.5.4"},
        {BYTES("FROM:<a@b> SIZE=1"), 0, "555 5.5.4"},
        {BYTES("FROM:<a@b> BODY=8BITMIME"), MAIL_EXT_SIZE, "555 5.5.4"},
        {BYTES("FROM:<a@b> RET=FULL"), ALL & ~(unsigned)MAIL_EXT_DSN, "555 5.5.4"},
        {BYTES("FROM:<a@b> ENVID=x"), ALL & ~(unsigned)MAIL_EXT_DSN, "555 5.5.4"},
        {BYTES("FROM:<a@b> AUTH=<>"), ALL & ~(unsigned)MAIL_EXT_AUTH, "555 5.5.4"},
        /* Malformed. */
        {BYTES("FROM:<a@b> ="), ALL, "501 5.5.4"},
        {BYTES("FROM:<a@b> =1"), ALL, "501 5.5.4"},
        {BYTES("FROM:<a@b> -X=1"), ALL, "501 5.5.4"},
        {BYTES("FROM:<a@b> S_ZE=1"), ALL, "501 5.5.4"},
        {BYTES("FROM:<a@b> SIZE=1\tRET=FULL"), ALL, "501 5.5.4"},
        {BYTES("FROM:<a@b> SIZE=1\0"), ALL, "501 5.5.4"},
        {BYTES("FROM:<a@b> SIZE\0=1"), ALL, "501 5.5.4"},
        {BYTES("FROM:<a@b> SIZE=1\n"), ALL, "501 5.5.4"},
        {BYTES("FROM:<a@b> ENVID=a\x7f"), ALL, "501 5.5.4"},
        {BYTES("FROM:<a@b> X=a=b"), ALL, "501 5.5.4"},
        /* SIZE. */
        {BYTES("FROM:<a@b> SIZE"), ALL, "501 5.5.4"},
        {BYTES("FROM:<a@b> SIZE="), ALL, "501 5.5.4"},
        {BYTES("FROM:<a@b> SIZE=-1"), ALL, "501 5.5.4"},
        {BYTES("FROM:<a@b> SIZE=+1"), ALL, "501 5.5.4"},
        {BYTES("FROM:<a@b> SIZE=0x10"), ALL, "501 5.5.4"},
        {BYTES("FROM:<a@b> SIZE=1k"), ALL, "501 5.5.4"},
        {BYTES("FROM:<a@b> SIZE=1.5"), ALL, "501 5.5.4"},
        {BYTES("FROM:<a@b> SIZE=18446744073709551616"), ALL, "552 5.3.4"},
        {BYTES("FROM:<a@b> SIZE=99999999999999999999"), ALL, "552 5.3.4"},
        {BYTES("FROM:<a@b> SIZE=000000000000000000001"), ALL, "501 5.5.4"},
        {BYTES("FROM:<a@b> SIZE=100000000000000000000"), ALL, "501 5.5.4"},
        {BYTES("FROM:<a@b> SIZE=1 SIZE=2"), ALL, "501 5.5.4"},
        {BYTES("FROM:<a@b> SIZE=1 size=1"), ALL, "501 5.5.4"},
        /* BODY. */
        {BYTES("FROM:<a@b> BODY"), ALL, "501 5.5.4"},
        {BYTES("FROM:<a@b> BODY="), ALL, "501 5.5.4"},
        {BYTES("FROM:<a@b> BODY=9BIT"), ALL, "501 5.5.4"},
        {BYTES("FROM:<a@b> BODY=8BITMIMEX"), ALL, "501 5.5.4"},
        {BYTES("FROM:<a@b> BODY=BINARYMIME"), ALL & ~(unsigned)MAIL_EXT_BINARYMIME, "501 5.5.4"},
        {BYTES("FROM:<a@b> BODY=7BIT BODY=8BITMIME"), ALL, "501 5.5.4"},
        /* SMTPUTF8. */
        {BYTES("FROM:<a@b> SMTPUTF8=1"), ALL, "501 5.5.4"},
        {BYTES("FROM:<a@b> SMTPUTF8="), ALL, "501 5.5.4"},
        {BYTES("FROM:<a@b> SMTPUTF8 SMTPUTF8"), ALL, "501 5.5.4"},
        /* RET, ENVID. */
        {BYTES("FROM:<a@b> RET"), ALL, "501 5.5.4"},
        {BYTES("FROM:<a@b> RET=BODY"), ALL, "501 5.5.4"},
        {BYTES("FROM:<a@b> RET=FULL,HDRS"), ALL, "501 5.5.4"},
        {BYTES("FROM:<a@b> RET=FULL RET=FULL"), ALL, "501 5.5.4"},
        {BYTES("FROM:<a@b> ENVID"), ALL, "501 5.5.4"},
        {BYTES("FROM:<a@b> ENVID="), ALL, "501 5.5.4"},
        {BYTES("FROM:<a@b> ENVID=a+0D+0AX:"), ALL, "501 5.5.4"},
        {BYTES("FROM:<a@b> ENVID=a+00"), ALL, "501 5.5.4"},
        {BYTES("FROM:<a@b> ENVID=a+4"), ALL, "501 5.5.4"},
        {BYTES("FROM:<a@b> ENVID=a+zz"), ALL, "501 5.5.4"},
        {BYTES("FROM:<a@b> ENVID=" A100 "a"), ALL, "501 5.5.4"},
        {BYTES("FROM:<a@b> ENVID=a+C3+BC"), ALL, "501 5.5.4"},
        {BYTES("FROM:<a@b> ENVID=a+FC"), ALL, "501 5.5.4"},
        {BYTES("FROM:<a@b> ENVID=\xc3\xbc"), ALL, "501 5.5.4"},
        {BYTES("FROM:<a@b> ENVID=\xc3\xbc SMTPUTF8"), ALL, "501 5.5.4"},
        {BYTES("FROM:<a@b> ENVID=a ENVID=b"), ALL, "501 5.5.4"},
        /* AUTH. */
        {BYTES("FROM:<a@b> AUTH"), ALL, "501 5.5.4"},
        {BYTES("FROM:<a@b> AUTH=a+0A"), ALL, "501 5.5.4"},
        {BYTES("FROM:<a@b> AUTH=<> AUTH=<>"), ALL, "501 5.5.4"},
        {BYTES("FROM:<a@b> AUTH=\xc3\xbc"), ALL, "501 5.5.4"},
    };
    for (size_t i = 0; i < PR_ARRAY_LEN(rows); i++) {
        struct mail_from f = {.size_bytes = 77};
        struct mail_reply reply = {0, NULL, NULL};
        struct refusal row = {exact(rows[i].args), rows[i].ext, rows[i].reply};
        check_reply(&row, mail_command_from(row.args, row.ext, &f, &reply), &reply);
        assert_int_equal(f.size_bytes, 77);
        exact_free(row.args);
    }
}

static void to_accepted(void **state)
{
    (void)state;
    static const struct {
        const char *args;
        bool smtputf8;
        const char *address;
        unsigned notify;
        const char *orcpt;
    } rows[] = {
        {"TO:<a@b>", false, "a@b", 0, ""},
        {"to:<Postmaster>", false, "Postmaster", 0, ""},
        {"TO:<@x:a@b>", false, "a@b", 0, ""},
        {"TO:<a@b> NOTIFY=NEVER", false, "a@b", MAIL_NOTIFY_NEVER, ""},
        {"TO:<a@b> notify=success,Failure,DELAY", false, "a@b",
         MAIL_NOTIFY_SUCCESS | MAIL_NOTIFY_FAILURE | MAIL_NOTIFY_DELAY, ""},
        {"TO:<a@b> NOTIFY=DELAY ORCPT=rfc822;Bob@Ivory.EDU", false, "a@b", MAIL_NOTIFY_DELAY, "rfc822;Bob@Ivory.EDU"},
        {"TO:<a@b> ORCPT=rfc822;George+2BX@b", false, "a@b", 0, "rfc822;George+2BX@b"},
        {"TO:<a@b> ORCPT=x-other;a;b", false, "a@b", 0, "x-other;a;b"},
        {"TO:<a@b> ORCPT=utf-8;\xc3\xbc@b", true, "a@b", 0, "utf-8;\xc3\xbc@b"},
        {"TO:<a@b> ORCPT=utf-8;\\x{FC}@b", false, "a@b", 0, "utf-8;\\x{FC}@b"},
        {"TO:<\xc3\xbc@b>", true, "\xc3\xbc@b", 0, ""},
        {"TO:<a@b> ORCPT=rfc822;" A100 A100 A100 A100 A50 A43, false, "a@b", 0, "rfc822;" A100 A100 A100 A100 A50 A43},
    };
    for (size_t i = 0; i < PR_ARRAY_LEN(rows); i++) {
        struct mail_to t;
        struct mail_reply reply = {0, NULL, NULL};
        struct pr_slice args = exact(pr_slice_str(rows[i].args));
        if (mail_command_to(args, ALL, rows[i].smtputf8, &t, &reply) != 0)
            fail_msg("%s: %u %s", rows[i].args, reply.code, reply.text);
        assert_slice_str(t.path.text, rows[i].address);
        assert_int_equal(t.notify, rows[i].notify);
        assert_slice_str(t.orcpt_xtext, rows[i].orcpt);
        exact_free(args);
    }
}

static void to_refused(void **state)
{
    (void)state;
    static const struct refusal rows[] = {
        {BYTES(""), ALL, "501 5.5.4"},
        {BYTES("TO:"), ALL, "501 5.5.4"},
        {BYTES("TO:a@b"), ALL, "501 5.5.4"},
        {BYTES("TO: <a@b>"), ALL, "501 5.5.4"},
        {BYTES("FROM:<a@b>"), ALL, "501 5.5.4"},
        {BYTES("TO:<>"), ALL, "553 5.1.3"},
        {BYTES("TO:<a>"), ALL, "553 5.1.3"},
        {BYTES("TO:<a@b"), ALL, "553 5.1.3"},
        {BYTES("TO:<a b@c>"), ALL, "553 5.1.3"},
        {BYTES("TO:<\"a\r\n b\"@x>"), ALL, "553 5.1.3"},
        {BYTES("TO:<" A50 A50 "@b>"), ALL, "553 5.1.3"},
        {BYTES("TO:<\xc3\xbc@b>"), ALL, "553 5.6.7"},
        {BYTES("TO:<\xc0\xae@b>"), ALL, "553 5.1.3"},
        {BYTES("TO:<a@b>x"), ALL, "501 5.5.4"},
        {BYTES("TO:<a@b> SIZE=1"), ALL, "555 5.5.4"},
        {BYTES("TO:<a@b> NOTIFY=NEVER"), ALL & ~(unsigned)MAIL_EXT_DSN, "555 5.5.4"},
        {BYTES("TO:<a@b> RRVS=x"), ALL, "555 5.5.4"},
        {BYTES("TO:<a@b> NOTIFY"), ALL, "501 5.5.4"},
        {BYTES("TO:<a@b> NOTIFY="), ALL, "501 5.5.4"},
        {BYTES("TO:<a@b> NOTIFY=NEVER,SUCCESS"), ALL, "501 5.5.4"},
        {BYTES("TO:<a@b> NOTIFY=DELAY,NEVER"), ALL, "501 5.5.4"},
        {BYTES("TO:<a@b> NOTIFY=NEVER,NEVER"), ALL, "501 5.5.4"},
        {BYTES("TO:<a@b> NOTIFY=SUCCESS,SUCCESS"), ALL, "501 5.5.4"},
        {BYTES("TO:<a@b> NOTIFY=,SUCCESS"), ALL, "501 5.5.4"},
        {BYTES("TO:<a@b> NOTIFY=SUCCESS,"), ALL, "501 5.5.4"},
        {BYTES("TO:<a@b> NOTIFY=,"), ALL, "501 5.5.4"},
        {BYTES("TO:<a@b> NOTIFY=SUCCESS, DELAY"), ALL, "501 5.5.4"},
        {BYTES("TO:<a@b> NOTIFY=ALWAYS"), ALL, "501 5.5.4"},
        {BYTES("TO:<a@b> NOTIFY=NEVER NOTIFY=NEVER"), ALL, "501 5.5.4"},
        {BYTES("TO:<a@b> ORCPT"), ALL, "501 5.5.4"},
        {BYTES("TO:<a@b> ORCPT="), ALL, "501 5.5.4"},
        {BYTES("TO:<a@b> ORCPT=a@b"), ALL, "501 5.5.4"},
        {BYTES("TO:<a@b> ORCPT=;a@b"), ALL, "501 5.5.4"},
        {BYTES("TO:<a@b> ORCPT=rfc822;"), ALL, "501 5.5.4"},
        {BYTES("TO:<a@b> ORCPT=rfc822"), ALL, "501 5.5.4"},
        {BYTES("TO:<a@b> ORCPT=rfc+2B;a"), ALL, "501 5.5.4"},
        {BYTES("TO:<a@b> ORCPT=rfc822;a+0D+0AX-Evil:+20y"), ALL, "501 5.5.4"},
        {BYTES("TO:<a@b> ORCPT=rfc822;a+00"), ALL, "501 5.5.4"},
        {BYTES("TO:<a@b> ORCPT=rfc822;a+"), ALL, "501 5.5.4"},
        {BYTES("TO:<a@b> ORCPT=rfc822;a+ff"), ALL, "501 5.5.4"},
        {BYTES("TO:<a@b> ORCPT=rfc822;a+FF"), ALL, "501 5.5.4"},
        {BYTES("TO:<a@b> ORCPT=utf-8;\xc3\xbc@b"), ALL, "501 5.5.4"},
        {BYTES("TO:<a@b> ORCPT=utf-8;\xc3@b"), ALL, "501 5.5.4"},
        {BYTES("TO:<a@b> ORCPT=rfc822;a ORCPT=rfc822;a"), ALL, "501 5.5.4"},
        {BYTES("TO:<a@b> ORCPT=rfc822;" A100 A100 A100 A100 A50 A43 "a"), ALL, "501 5.5.4"},
    };
    for (size_t i = 0; i < PR_ARRAY_LEN(rows); i++) {
        struct mail_to t = {.notify = 77};
        struct mail_reply reply = {0, NULL, NULL};
        struct refusal row = {exact(rows[i].args), rows[i].ext, rows[i].reply};
        check_reply(&row, mail_command_to(row.args, row.ext, false, &t, &reply), &reply);
        assert_int_equal(t.notify, 77);
        exact_free(row.args);
    }
}

static void bdat(void **state)
{
    (void)state;
    static const struct {
        struct pr_slice args;
        int rc;
        uint64_t size;
        bool last;
    } rows[] = {
        {BYTES("0"), 0, 0, false},
        {BYTES("0 LAST"), 0, 0, true},
        {BYTES("86400 last"), 0, 86400, true},
        {BYTES("007"), 0, 7, false},
        {BYTES("18446744073709551615"), 0, UINT64_MAX, false},
        {BYTES("18446744073709551616"), PR_ERANGE, 0, false},
        {BYTES("18446744073709551616 LAST"), PR_ERANGE, 0, false},
        {BYTES("99999999999999999999999999999999"), PR_ERANGE, 0, false},
        {BYTES(""), PR_EPARSE, 0, false},
        {BYTES("LAST"), PR_EPARSE, 0, false},
        {BYTES(" 1"), PR_EPARSE, 0, false},
        {BYTES("-1"), PR_EPARSE, 0, false},
        {BYTES("+1"), PR_EPARSE, 0, false},
        {BYTES("0x10"), PR_EPARSE, 0, false},
        {BYTES("1e3"), PR_EPARSE, 0, false},
        {BYTES("1,000"), PR_EPARSE, 0, false},
        {BYTES("1\0"), PR_EPARSE, 0, false},
        {BYTES("1\tLAST"), PR_EPARSE, 0, false},
        {BYTES("1\r"), PR_EPARSE, 0, false},
        {BYTES("5 LASTX"), PR_EINVAL, 5, false},
        {BYTES("5 LAST X"), PR_EINVAL, 5, false},
        {BYTES("5  LAST"), PR_EINVAL, 5, false},
        {BYTES("5 6"), PR_EINVAL, 5, false},
        {BYTES("5 LAST\0"), PR_EINVAL, 5, false},
    };
    for (size_t i = 0; i < PR_ARRAY_LEN(rows); i++) {
        uint64_t size = 0;
        bool last = false;
        struct pr_slice args = exact(rows[i].args);
        int rc = mail_command_bdat(args, &size, &last);
        if (rc != rows[i].rc || size != rows[i].size || last != rows[i].last)
            fail_msg("%.*s: %s", PR_SLICE_ARG(args), pr_errname(rc));
        exact_free(args);
    }
}

static void clean(void **state)
{
    (void)state;
    assert_true(mail_command_clean(PR_SLICE_LIT("NOOP any text"), false));
    assert_true(mail_command_clean(PR_SLICE_LIT("VRFY \xc3\xbc"), true));
    assert_false(mail_command_clean(PR_SLICE_LIT("VRFY \xc3\xbc"), false));
    assert_false(mail_command_clean(PR_SLICE_LIT("VRFY \xc3"), true));
    assert_false(mail_command_clean(PR_SLICE_LIT("NOOP\0"), false));
    assert_false(mail_command_clean(PR_SLICE_LIT("NOOP a\nb"), false));
    assert_false(mail_command_clean(PR_SLICE_LIT("NOOP\r"), true));
    assert_false(mail_command_clean(PR_SLICE_LIT("NOOP \x7f"), false));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(verbs),        cmocka_unit_test(foreign),     cmocka_unit_test(from_accepted),
        cmocka_unit_test(from_refused), cmocka_unit_test(to_accepted), cmocka_unit_test(to_refused),
        cmocka_unit_test(bdat),         cmocka_unit_test(clean),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
