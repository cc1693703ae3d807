/* "Did you mean" hits what people mistype and stays silent about anything else. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "common/base/alloc.h"
#include "common/base/suggest.h"

static const char *const names[] = {"lifetime", "bounce_lifetime", "retry", "shards", "level", "list"};

static void test_suggest(void **state)
{
    (void)state;
    static const struct {
        const char *wanted, *best;
    } rows[] = {
        {"lifetme", "lifetime"}, {"lifetiem", "lifetime"}, {"LIFETIME", "lifetime"}, {"rety", "retry"}, {"shard", "shards"},
        {"log_level", "level"},  {"lsit", "list"},         {"xyz", NULL},            {"a", NULL},          {"", NULL},
        {"lifetimelifetimelifetimelifetimelifetimelifetime!", NULL},
    };
    for (size_t i = 0; i < PR_ARRAY_LEN(rows); i++) {
        struct pr_suggest s;
        pr_suggest_init(&s, pr_slice_str(rows[i].wanted));
        for (size_t j = 0; j < PR_ARRAY_LEN(names); j++)
            pr_suggest_try(&s, names[j]);
        if (rows[i].best == NULL)
            assert_null(s.best);
        else
            assert_string_equal(s.best, rows[i].best);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_suggest)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
