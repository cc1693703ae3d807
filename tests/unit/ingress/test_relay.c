/* Who may send where. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/base/alloc.h"
#include "ingress/core/relay.h"

static const struct {
    const char *rcpt;
    enum ing_relay_kind other, trusted;
} cases[] = {
    {"<postmaster>", ING_RELAY_OWN, ING_RELAY_OWN},
    {"<PostMaster>", ING_RELAY_OWN, ING_RELAY_OWN},
    {"<u@ours.test>", ING_RELAY_OWN, ING_RELAY_TRUSTED},
    {"<u@OURS.Test>", ING_RELAY_OWN, ING_RELAY_TRUSTED},
    {"<u@sub.ours.test>", ING_RELAY_REFUSED, ING_RELAY_TRUSTED},
    {"<u@xours.test>", ING_RELAY_REFUSED, ING_RELAY_TRUSTED},
    {"<u@ours.test.evil>", ING_RELAY_REFUSED, ING_RELAY_TRUSTED},
    {"<u@tree.test>", ING_RELAY_REFUSED, ING_RELAY_TRUSTED},
    {"<u@a.tree.test>", ING_RELAY_PARTNER, ING_RELAY_TRUSTED},
    {"<u@a.b.tree.test>", ING_RELAY_PARTNER, ING_RELAY_TRUSTED},
    {"<u@a.star.test>", ING_RELAY_OWN, ING_RELAY_TRUSTED},
    {"<u@star.test>", ING_RELAY_REFUSED, ING_RELAY_TRUSTED},
    {"<u@both.test>", ING_RELAY_OWN, ING_RELAY_TRUSTED},
    {"<\"u@ours.test\"@evil.test>", ING_RELAY_REFUSED, ING_RELAY_TRUSTED},
    {"<\"a@evil x\"@ours.test>", ING_RELAY_OWN, ING_RELAY_TRUSTED},
    {"<u%evil.test@ours.test>", ING_RELAY_OWN, ING_RELAY_TRUSTED},
    {"<ours.test!u@evil.test>", ING_RELAY_REFUSED, ING_RELAY_TRUSTED},
    {"<@ours.test:u@evil.test>", ING_RELAY_REFUSED, ING_RELAY_TRUSTED},
    {"<@evil.test:u@ours.test>", ING_RELAY_OWN, ING_RELAY_TRUSTED},
    {"<u@[192.0.2.1]>", ING_RELAY_OWN, ING_RELAY_TRUSTED},
    {"<u@[192.0.2.2]>", ING_RELAY_REFUSED, ING_RELAY_TRUSTED},
    {"<u@[IPv6:2001:DB8::1]>", ING_RELAY_OWN, ING_RELAY_TRUSTED},
    {"<u@[IPv6:2001:db8::2]>", ING_RELAY_REFUSED, ING_RELAY_TRUSTED},
};

static void table(void **state)
{
    (void)state;
    struct ing_relay *r = ing_relay_new(7);
    ing_relay_add(r, PR_SLICE_LIT("Ours.test."), ING_RELAY_OWN);
    ing_relay_add(r, PR_SLICE_LIT("both.test"), ING_RELAY_OWN);
    ing_relay_add(r, PR_SLICE_LIT("both.test"), ING_RELAY_PARTNER);
    ing_relay_add(r, PR_SLICE_LIT(".tree.test"), ING_RELAY_PARTNER);
    ing_relay_add(r, PR_SLICE_LIT("*.star.test"), ING_RELAY_OWN);
    ing_relay_add_literal(r, PR_SLICE_LIT("[192.0.2.1]"));
    ing_relay_add_literal(r, PR_SLICE_LIT("[IPv6:2001:db8::1]"));
    for (size_t i = 0; i < PR_ARRAY_LEN(cases); i++) {
        struct mail_address a;
        struct pr_slice rest;
        assert_int_equal(mail_address_parse(pr_slice_str(cases[i].rcpt), 0, &a, &rest), 0);
        if (ing_relay_decide(r, false, &a) != cases[i].other || ing_relay_decide(r, true, &a) != cases[i].trusted)
            fail_msg("%s", cases[i].rcpt);
    }
    ing_relay_free(r);
    ing_relay_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(table)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
