/* The state x verb table against its golden file, so that a change of what the protocol permits is read as text. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "common/base/alloc.h"
#include "ingress/core/session_internal.h"

static void read_file(const char *path, struct pr_buf *out)
{
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    size_t n;
    do {
        n = fread(pr_buf_reserve(out, 4096), 1, 4096, f);
        out->len += n;
    } while (n > 0);
    (void)fclose(f);
}

static void matrix_is_the_golden_one(void **state)
{
    (void)state;
    struct pr_buf golden = {NULL, 0, 0}, got = {NULL, 0, 0};
    read_file(TEST_SOURCE_DIR "/unit/ingress/state_verb.golden", &golden);
    ing_state_verb_print(&got);
    assert_string_equal(pr_buf_cstr(&got), pr_buf_cstr(&golden));
    pr_buf_fini(&golden);
    pr_buf_fini(&got);
}

/* A cell without a handler must hold a refusal that was meant for it. */
static void no_cell_is_empty(void **state)
{
    static const enum ing_state rows[] = {ING_START, ING_READY, ING_MAIL, ING_RCPT, ING_BDAT};
    (void)state;
    for (size_t row = 0; row < PR_ARRAY_LEN(rows); row++)
        for (unsigned verb = 0; verb < MAIL_VERB_NR; verb++) {
            const struct ing_cell *c = ing_cell(rows[row], (enum mail_verb)verb);
            assert_true((c->handler != NULL) != (c->refusal != ING_R_NONE));
        }
}

/* RFC 2034 section 4: class of the enhanced code is that of the reply. */
static void refusals_are_consistent(void **state)
{
    (void)state;
    for (unsigned id = 0; id < ING_REFUSAL_NR; id++) {
        const struct mail_reply *r = &ing_refusals[id].reply;
        assert_true(r->code >= 400 && r->code <= 599);
        assert_int_equal(r->enhanced[0] - '0', r->code / 100);
        assert_true(strlen(r->text) > 0);
    }
}

static void names_are_complete(void **state)
{
    (void)state;
    assert_true(ING_REASON_NR <= 24);
    for (unsigned i = 0; i < ING_REASON_NR; i++)
        assert_non_null(ing_reason_names[i]);
    for (unsigned i = 0; i < ING_STAGE_NR; i++)
        assert_non_null(ing_stage_names[i]);
    for (unsigned i = 0; i < ING_CLOSE_NR; i++)
        assert_non_null(ing_close_names[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(matrix_is_the_golden_one),
        cmocka_unit_test(no_cell_is_empty),
        cmocka_unit_test(refusals_are_consistent),
        cmocka_unit_test(names_are_complete),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
