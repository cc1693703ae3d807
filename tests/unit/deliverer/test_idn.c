/* Names for DNS. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/base/alloc.h"
#include "deliverer/shell/idn.h"

static void test_names(void **state)
{
    static const struct {
        const char *in, *out; /* NULL: refused */
    } table[] = {
        {"mx.example", "mx.example"},
        {"under_score.example", "under_score.example"},
        {"b\xc3\xbc" "cher.example", "xn--bcher-kva.example"},
        {"B\xc3\x9c" "CHER.example", "xn--bcher-kva.example"},
        {"bu\xcc\x88" "cher.example", "xn--bcher-kva.example"}, /* decomposed */
        {"stra\xc3\x9f" "e.example", "xn--strae-oqa.example"},
        {"\xe4\xbe\x8b\xe5\xad\x90.example", "xn--fsqu00a.example"},
        {"\xc3.example", NULL},
        {"a\xe2\x80\x8b" "-\xe2\x86\x92.example", NULL},
    };
    (void)state;
    for (size_t i = 0; i < PR_ARRAY_LEN(table); i++) {
        struct pr_buf out = {0};
        int rc = dlv_domain_to_ascii(pr_slice_str(table[i].in), &out);
        if (table[i].out == NULL ? rc == 0 : rc != 0 || !pr_slice_eq_str(pr_buf_slice(&out), table[i].out))
            fail_msg("%s: %d %.*s", table[i].in, rc, PR_SLICE_ARG(pr_buf_slice(&out)));
        pr_buf_fini(&out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_names)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
