/* How the latest messages ended: the worst of several groups, forgotten by age, and nobody's fault when it is not there. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "scheduler/shell/recent.h"

static void expect(struct recent *r, uint32_t shard, uint64_t id, enum recent_how how, const char *text)
{
    struct pr_buf b = {0};
    enum recent_how found;
    assert_true(recent_find(r, shard, id, &found, &b));
    assert_int_equal(found, how);
    assert_string_equal(pr_buf_cstr(&b), text);
    pr_buf_fini(&b);
}

static void test_recent(void **state)
{
    (void)state;
    struct recent *r = recent_new();
    struct pr_buf b = {0};
    enum recent_how how;
    assert_false(recent_find(r, 0, 1, &how, &b));
    recent_add(r, 0, 1, RECENT_DELIVERED, 250, PR_SLICE_LIT("2.0.0"), PR_SLICE_LIT("mx.example"));
    expect(r, 0, 1, RECENT_DELIVERED, "250 2.0.0 (mx.example)");
    assert_false(recent_find(r, 1, 1, &how, &b)); /* ids are of a shard */
    recent_add(r, 0, 2, RECENT_BOUNCED, 550, PR_SLICE_LIT("550 5.1.1 nobody"), PR_SLICE_LIT(""));
    expect(r, 0, 2, RECENT_BOUNCED, "550 5.1.1 nobody");
    recent_add(r, 0, 3, RECENT_DELIVERED, 250, PR_SLICE_LIT(""), PR_SLICE_LIT(""));
    expect(r, 0, 3, RECENT_DELIVERED, "250");
    recent_add(r, 0, 1, RECENT_BOUNCED, 0, PR_SLICE_LIT("no such host"), PR_SLICE_LIT(""));
    expect(r, 0, 1, RECENT_BOUNCED, "no such host");
    recent_add(r, 0, 1, RECENT_DELIVERED, 250, PR_SLICE_LIT("2.0.0 Ok"), PR_SLICE_LIT(""));
    expect(r, 0, 1, RECENT_BOUNCED, "no such host");
    for (uint64_t i = 0; i < RECENT_MAX; i++)
        recent_add(r, 0, 100 + i, RECENT_DELIVERED, 250, PR_SLICE_LIT("Ok"), PR_SLICE_LIT(""));
    assert_false(recent_find(r, 0, 1, &how, &b));
    expect(r, 0, 100, RECENT_DELIVERED, "250 Ok");
    expect(r, 0, 100 + RECENT_MAX - 1, RECENT_DELIVERED, "250 Ok");
    pr_buf_fini(&b);
    recent_free(r);
}

static void test_long_texts_are_cut(void **state)
{
    (void)state;
    char letters[2 * RECENT_TEXT_MAX + 1];
    memset(letters, 'x', sizeof letters - 1);
    letters[sizeof letters - 1] = '\0';
    struct recent *r = recent_new();
    struct pr_buf b = {0};
    enum recent_how how;
    recent_add(r, 7, 1, RECENT_EXPIRED, 450, pr_slice_str(letters), pr_slice_str(letters));
    assert_true(recent_find(r, 7, 1, &how, &b));
    assert_int_equal(b.len, 4 + RECENT_TEXT_MAX + 2 + RECENT_REMOTE_MAX + 1);
    pr_buf_fini(&b);
    recent_free(r);
}

static void test_none(void **state)
{
    (void)state;
    enum recent_how how;
    struct pr_buf b = {0};
    recent_add(NULL, 0, 1, RECENT_DELIVERED, 250, PR_SLICE_LIT(""), PR_SLICE_LIT(""));
    assert_false(recent_find(NULL, 0, 1, &how, &b));
    recent_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_recent),
        cmocka_unit_test(test_long_texts_are_cut),
        cmocka_unit_test(test_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
