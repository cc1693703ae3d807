/* What a peer offers, and what a verdict says. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/base/alloc.h"
#include "deliverer/core/client.h"

static void test_capabilities(void **state)
{
    static const struct {
        const char *text;
        struct dlv_caps want;
    } table[] = {
        {"mx.example", {0}},
        {"mx.example PIPELINING", {0}}, /* the first line is a greeting */
        {"mx\nPIPELINING", {.bits = DLV_CAP_PIPELINING}},
        {"mx\npipelining\nStartTLS", {.bits = DLV_CAP_PIPELINING | DLV_CAP_STARTTLS}},
        {"mx\nPIPELINING-X\nXPIPELINING", {0}},
        {"mx\nSIZE", {.bits = DLV_CAP_SIZE}},
        {"mx\nSIZE 0", {.bits = DLV_CAP_SIZE}},
        {"mx\nSIZE 35882577", {.bits = DLV_CAP_SIZE, .size_max = 35882577}},
        {"mx\nSIZE 18446744073709551615", {.bits = DLV_CAP_SIZE, .size_max = UINT64_MAX}},
        {"mx\nSIZE 18446744073709551616", {.bits = DLV_CAP_SIZE}},
        {"mx\nSIZE -1\nSIZE 0x10\nSIZE 1 2", {.bits = DLV_CAP_SIZE}},
        {"mx\n SIZE  77 ", {.bits = DLV_CAP_SIZE, .size_max = 77}},
        {"mx\n8BITMIME\nSMTPUTF8", {.bits = DLV_CAP_8BITMIME | DLV_CAP_SMTPUTF8}},
        {"mx\nSMTPUTF8", {0}},
        {"mx\nBINARYMIME", {0}},
        {"mx\nBINARYMIME\nCHUNKING", {.bits = DLV_CAP_BINARYMIME | DLV_CAP_CHUNKING}},
        {"mx\nLIMITS RCPTMAX=10 MAILMAX=5 X=Y", {.rcpt_max = 10, .mail_max = 5}},
        {"mx\nLIMITS RCPTMAX=0 MAILMAX=x =3 MAILMAX", {0}},
        {"mx\nLIMITS", {0}},
        {"mx\n\n\nDSN\n", {.bits = DLV_CAP_DSN}},
        {"", {0}},
    };
    (void)state;
    for (size_t i = 0; i < PR_ARRAY_LEN(table); i++) {
        struct dlv_caps got;
        dlv_caps_parse(pr_slice_str(table[i].text), &got);
        const struct dlv_caps *want = &table[i].want;
        if (got.bits != want->bits || got.size_max != want->size_max || got.rcpt_max != want->rcpt_max ||
            got.mail_max != want->mail_max)
            fail_msg("%s: bits %u size %lu rcpt %u mail %u", table[i].text, got.bits, (unsigned long)got.size_max, got.rcpt_max,
                     got.mail_max);
    }
}

static void test_diagnostic(void **state)
{
    struct pr_arena arena = {0};
    char text[3000];
    (void)state;
    struct dlv_verdict v = dlv_verdict_make(MAIL_STAGE_RCPT, 550, PR_SLICE_LIT("5.1.1 no\nsuch user"));
    assert_true(pr_slice_eq_str(v.enhanced, "5.1.1"));
    assert_true(pr_slice_eq_str(dlv_verdict_diagnostic(&v, &arena), "550 5.1.1 no such user"));
    v = dlv_verdict_make(MAIL_STAGE_RCPT, 550, PR_SLICE_LIT("4.1.1 class differs"));
    assert_true(pr_slice_eq_str(v.enhanced, "5.1.1")); /* ours for 550 */
    v = dlv_verdict_make(MAIL_STAGE_MAIL, 0, PR_SLICE_LIT("4.4.2 looks like a status"));
    assert_true(pr_slice_eq_str(dlv_verdict_diagnostic(&v, &arena), "4.4.2 looks like a status"));
    /* Bounded, cut between characters. */
    for (size_t shift = 0; shift < 2; shift++) {
        memset(text, 'x', sizeof text);
        for (size_t i = shift; i + 1 < sizeof text; i += 2)
            memcpy(text + i, "\xc3\xa9", 2);
        v = dlv_verdict_make(MAIL_STAGE_MAIL, 451, pr_slice(text, sizeof text));
        struct pr_slice d = dlv_verdict_diagnostic(&v, &arena);
        assert_int_equal(d.len, 4 + DLV_TEXT_MAX - shift);
        assert_true(pr_utf8_valid(d));
    }
    pr_arena_fini(&arena);
}

static void test_decisions(void **state)
{
    struct pr_arena arena = {0};
    struct mail_rcpt rcpts[3] = {{.address = PR_SLICE_LIT("a@x")}, {.address = PR_SLICE_LIT("b@x")}, {.address = PR_SLICE_LIT("c@x")}};
    struct mail_group group = {.rcpts = rcpts, .n_rcpts = 3};
    struct mail_envelope envelope = {.size_bytes = 7};
    struct dlv_mail m;
    (void)state;
    rcpts[1].status = MAIL_RCPT_DELIVERED;
    dlv_mail_init(&m, &envelope, &group, &arena);
    assert_int_equal(dlv_mail_open_count(&m), 2);
    struct dlv_verdict first = dlv_verdict_make(MAIL_STAGE_RCPT, 550, PR_SLICE_LIT("no"));
    struct dlv_verdict later = dlv_verdict_make(MAIL_STAGE_MAIL, 421, PR_SLICE_LIT("bye"));
    dlv_mail_decide(&m, 0, &first, PR_SLICE_LIT("550 no"));
    dlv_mail_decide(&m, 1, &first, PR_SLICE_LIT("550 no")); /* has its mail already */
    assert_int_equal(m.scope, MAIL_SCOPE_RCPT);
    dlv_mail_decide_rest(&m, &later);
    assert_int_equal(dlv_mail_open_count(&m), 0);
    assert_int_equal(m.results[0].outcome, MAIL_OUTCOME_PERM); /* the first word counts */
    assert_false(m.results[1].decided);
    assert_int_equal(m.results[2].outcome, MAIL_OUTCOME_TEMP);
    assert_true(pr_slice_eq_str(m.results[2].enhanced, "4.3.2"));
    assert_int_equal(m.scope, MAIL_SCOPE_SITE);
    assert_int_equal(m.stage, MAIL_STAGE_MAIL);
    pr_arena_fini(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_capabilities),
        cmocka_unit_test(test_diagnostic),
        cmocka_unit_test(test_decisions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
