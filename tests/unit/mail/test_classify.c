/* What a reply means, row by row, and the rules that hold for every code at every stage. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/mail/classify.h"
#include "common/mail/reply.h"
#include "tests/unit/mail/exact.h"

static void rows_of_the_table(void **state)
{
    (void)state;
    static const struct {
        enum mail_stage stage;
        uint16_t code;
        const char *text;
        enum mail_outcome outcome;
        enum mail_scope scope;
        const char *enhanced;
    } rows[] = {
        {MAIL_STAGE_DNS, 0, "", MAIL_OUTCOME_TEMP, MAIL_SCOPE_SITE, "4.4.3"},
        {MAIL_STAGE_CONNECT, 0, "", MAIL_OUTCOME_TEMP, MAIL_SCOPE_SITE, "4.4.1"},
        {MAIL_STAGE_GREETING, 0, "", MAIL_OUTCOME_TEMP, MAIL_SCOPE_SITE, "4.4.2"},
        {MAIL_STAGE_GREETING, 421, "busy", MAIL_OUTCOME_TEMP, MAIL_SCOPE_SITE, "4.3.2"},
        {MAIL_STAGE_GREETING, 450, "", MAIL_OUTCOME_TEMP, MAIL_SCOPE_SITE, "4.3.2"},
        {MAIL_STAGE_GREETING, 521, "no mail", MAIL_OUTCOME_PERM, MAIL_SCOPE_SITE, "5.3.2"},
        {MAIL_STAGE_GREETING, 554, "no", MAIL_OUTCOME_PERM, MAIL_SCOPE_SITE, "5.3.2"},
        {MAIL_STAGE_EHLO, 550, "no", MAIL_OUTCOME_PERM, MAIL_SCOPE_SITE, "5.3.2"},
        {MAIL_STAGE_STARTTLS, 0, "", MAIL_OUTCOME_TEMP, MAIL_SCOPE_SITE, "4.7.5"},
        {MAIL_STAGE_STARTTLS, 454, "", MAIL_OUTCOME_TEMP, MAIL_SCOPE_SITE, "4.7.4"},
        {MAIL_STAGE_STARTTLS, 502, "", MAIL_OUTCOME_TEMP, MAIL_SCOPE_SITE, "4.7.4"},
        {MAIL_STAGE_MAIL, 451, "later", MAIL_OUTCOME_TEMP, MAIL_SCOPE_MESSAGE, "4.0.0"},
        {MAIL_STAGE_MAIL, 451, "4.3.2 closed", MAIL_OUTCOME_TEMP, MAIL_SCOPE_SITE, "4.0.0"},
        {MAIL_STAGE_MAIL, 452, "full", MAIL_OUTCOME_TEMP, MAIL_SCOPE_MESSAGE, "4.3.1"},
        {MAIL_STAGE_MAIL, 550, "no", MAIL_OUTCOME_PERM, MAIL_SCOPE_MESSAGE, "5.0.0"},
        {MAIL_STAGE_MAIL, 552, "too big", MAIL_OUTCOME_PERM, MAIL_SCOPE_MESSAGE, "5.3.4"},
        {MAIL_STAGE_MAIL, 0, "", MAIL_OUTCOME_TEMP, MAIL_SCOPE_SITE, "4.4.2"},
        {MAIL_STAGE_RCPT, 421, "4.7.0 bye", MAIL_OUTCOME_TEMP, MAIL_SCOPE_SITE, "4.3.2"},
        {MAIL_STAGE_RCPT, 450, "4.7.1 greylisted", MAIL_OUTCOME_TEMP, MAIL_SCOPE_RCPT, "4.0.0"},
        {MAIL_STAGE_RCPT, 451, "4.3.2 not now", MAIL_OUTCOME_TEMP, MAIL_SCOPE_SITE, "4.0.0"},
        {MAIL_STAGE_RCPT, 451, "5.3.2 wrong class", MAIL_OUTCOME_TEMP, MAIL_SCOPE_RCPT, "4.0.0"},
        {MAIL_STAGE_RCPT, 452, "too many", MAIL_OUTCOME_TEMP, MAIL_SCOPE_RCPT, "4.5.3"},
        {MAIL_STAGE_RCPT, 552, "too many", MAIL_OUTCOME_TEMP, MAIL_SCOPE_RCPT, "4.5.3"},
        {MAIL_STAGE_RCPT, 550, "5.1.1 no", MAIL_OUTCOME_PERM, MAIL_SCOPE_RCPT, "5.1.1"},
        {MAIL_STAGE_RCPT, 554, "no", MAIL_OUTCOME_PERM, MAIL_SCOPE_RCPT, "5.0.0"},
        {MAIL_STAGE_DATA, 451, "", MAIL_OUTCOME_TEMP, MAIL_SCOPE_MESSAGE, "4.0.0"},
        {MAIL_STAGE_DATA, 554, "no valid recipients", MAIL_OUTCOME_PERM, MAIL_SCOPE_MESSAGE, "5.0.0"},
        {MAIL_STAGE_DATA, 0, "", MAIL_OUTCOME_TEMP, MAIL_SCOPE_SITE, "4.4.2"},
        {MAIL_STAGE_DATA, 250, "what?", MAIL_OUTCOME_TEMP, MAIL_SCOPE_SITE, "4.5.0"},
        {MAIL_STAGE_BODY, 250, "2.0.0 ok", MAIL_OUTCOME_DELIVERED, MAIL_SCOPE_MESSAGE, "2.0.0"},
        {MAIL_STAGE_BODY, 0, "", MAIL_OUTCOME_UNKNOWN, MAIL_SCOPE_SITE, "4.4.2"},
        {MAIL_STAGE_BODY, 354, "what?", MAIL_OUTCOME_UNKNOWN, MAIL_SCOPE_SITE, "4.5.0"},
        {MAIL_STAGE_BODY, 421, "bye", MAIL_OUTCOME_TEMP, MAIL_SCOPE_SITE, "4.3.2"},
        {MAIL_STAGE_BODY, 451, "", MAIL_OUTCOME_TEMP, MAIL_SCOPE_MESSAGE, "4.0.0"},
        {MAIL_STAGE_BODY, 554, "spam", MAIL_OUTCOME_PERM, MAIL_SCOPE_MESSAGE, "5.0.0"},
    };
    for (size_t i = 0; i < PR_ARRAY_LEN(rows); i++) {
        struct mail_verdict v = mail_classify(rows[i].stage, rows[i].code, pr_slice_str(rows[i].text));
        if (v.outcome != rows[i].outcome || v.scope != rows[i].scope || strcmp(v.enhanced, rows[i].enhanced) != 0)
            fail_msg("%s %u %s: %s scope %d %s", mail_stage_names[rows[i].stage], rows[i].code, rows[i].text,
                     mail_outcome_names[v.outcome], (int)v.scope, v.enhanced);
    }
}

/* Delivered only by a 2xx to the final dot; bounced only by a 5xx; the enhanced code has the class of the outcome. */
static void rules(void **state)
{
    (void)state;
    static const char class_of[MAIL_OUTCOME_NR] = {
        [MAIL_OUTCOME_DELIVERED] = '2', [MAIL_OUTCOME_TEMP] = '4',    [MAIL_OUTCOME_PERM] = '5',
        [MAIL_OUTCOME_ABORTED] = '-',   [MAIL_OUTCOME_UNKNOWN] = '4',
    };
    for (unsigned stage = 0; stage < MAIL_STAGE_NR; stage++) {
        for (uint16_t code = 0; code < 1000; code++) {
            struct mail_verdict v = mail_classify((enum mail_stage)stage, code, pr_slice(NULL, 0));
            bool body = stage == MAIL_STAGE_BODY, positive = code >= 200 && code < 300;
            assert_int_equal(v.outcome == MAIL_OUTCOME_DELIVERED, body && positive);
            if (v.outcome == MAIL_OUTCOME_PERM)
                assert_in_range(code, 500, 599);
            assert_true(v.outcome != MAIL_OUTCOME_UNKNOWN || body);
            assert_int_equal(v.enhanced[0], class_of[v.outcome]);
            assert_int_equal(mail_enhanced_status((uint16_t)((v.enhanced[0] - '0') * 100), pr_slice_str(v.enhanced)),
                             strlen(v.enhanced));
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(rows_of_the_table), cmocka_unit_test(rules)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
