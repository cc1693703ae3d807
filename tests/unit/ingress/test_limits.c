/* Connection limits and the memory budget. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "ingress/shell/budget.h"
#include "ingress/shell/limits.h"

static struct in6_addr address(unsigned char last)
{
    return (struct in6_addr){.s6_addr = {[10] = 0xff, [11] = 0xff, [12] = 192, [14] = 2, [15] = last}};
}

static void per_client_and_in_all(void **state)
{
    (void)state;
    char main_name[] = "main", other_name[] = "other";
    struct pr_conf_listener l = {.name = main_name, .max_connections = 4};
    struct pr_conf_listener o = {.name = other_name, .max_connections = 4, .max_connections_per_client = 1};
    struct in6_addr a = address(1), b = address(2), c = address(3);
    struct limits *x = limits_new(1);
    /* Half of the listener's for one client. */
    assert_true(limits_enter(x, &l, &a));
    assert_true(limits_enter(x, &l, &a));
    assert_false(limits_enter(x, &l, &a));
    limits_leave(x, main_name, &a);
    assert_true(limits_enter(x, &l, &b));
    assert_true(limits_enter(x, &l, &b));
    assert_false(limits_enter(x, &l, &c)); /* four are open */
    limits_leave(x, main_name, &c);
    /* Another listener counts for itself. */
    assert_true(limits_enter(x, &o, &a));
    assert_false(limits_enter(x, &o, &a));
    limits_leave(x, other_name, &a);
    limits_leave(x, other_name, &a);
    /* A place is free again, also for one without an address. */
    limits_leave(x, main_name, &a);
    assert_true(limits_enter(x, &l, NULL));
    assert_false(limits_enter(x, &l, NULL));
    limits_free(x);
    limits_free(NULL);
}

static void budget_keeps_a_reserve(void **state)
{
    (void)state;
    struct budget b = {0};
    budget_set_limit(&b, 4000);
    assert_true(budget_take(&b, 3000, false));
    assert_true(!budget_take(&b, 1, false));
    assert_true(budget_full(&b));
    assert_true(budget_take(&b, 1000, true));
    assert_false(budget_take(&b, 1, true));
    budget_force(&b, 50);
    assert_int_equal(budget_used(&b), 4050);
    budget_give(&b, 1100);
    assert_int_equal(budget_used(&b), 2950);
    assert_false(budget_full(&b));
    assert_true(budget_take(&b, 50, false));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(per_client_and_in_all),
        cmocka_unit_test(budget_keeps_a_reserve),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
