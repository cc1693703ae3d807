/* Shares over the long run: classes, tenants, flows. */
#include "scheduler/core/internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "sched_shell.h"

static size_t issued_of(const struct shell *sh, uint32_t flow)
{
    size_t n = 0;
    for (size_t i = 0; i < sh->n_issues; i++)
        n += sh->issues[i].row.flow == flow;
    return n;
}

static void file_many(struct shell *sh, uint32_t flow, size_t n, uint64_t size)
{
    for (size_t i = 0; i < n; i++)
        shell_file(sh, flow, (uint64_t)flow << 32 | i, sh->now.wall.ms, size);
}

static struct shell *prepared(unsigned reserve_percent)
{
    struct sched_config c;
    sched_config_default(&c);
    c.reserve_percent = reserve_percent;
    struct shell *sh = shell_new(&c);
    shell_lane(sh, 1, 100000);
    return sh;
}

static void test_classes(void **state)
{
    struct shell *sh = prepared(0);
    (void)state;
    shell_flow(sh, 1, MAIL_CLASS_TRANSACTIONAL, "t", "a");
    shell_flow(sh, 2, MAIL_CLASS_NORMAL, "t", "a");
    shell_flow(sh, 3, MAIL_CLASS_BULK, "t", "a");
    for (uint32_t f = 1; f <= 3; f++)
        file_many(sh, f, 2000, 1000);
    shell_credit(sh, 1, "a", 2100);
    assert_int_equal(sh->n_issues, 2100);
    assert_in_range(issued_of(sh, 1), 1590, 1610);
    assert_in_range(issued_of(sh, 2), 395, 405);
    assert_in_range(issued_of(sh, 3), 95, 105); /* never starved */
    sched_check_invariants(sh->sched);
    shell_free(sh);
}

/* A tenant with ten times as much mail, in ten domains, gets no more than another. */
static void test_tenants(void **state)
{
    struct shell *sh = prepared(0);
    size_t loud = 0;
    (void)state;
    for (uint32_t f = 1; f <= 10; f++)
        shell_flow(sh, f, MAIL_CLASS_NORMAL, "loud", "smarthost");
    shell_flow(sh, 11, MAIL_CLASS_NORMAL, "quiet", "smarthost");
    for (uint32_t f = 1; f <= 11; f++)
        file_many(sh, f, 300, 1000);
    shell_credit(sh, 1, "smarthost", 400);
    for (uint32_t f = 1; f <= 10; f++)
        loud += issued_of(sh, f);
    assert_in_range(issued_of(sh, 11), 190, 210);
    assert_int_equal(loud + issued_of(sh, 11), 400);
    shell_free(sh);
}

/* By cost: one tenant's big messages weigh as much as another's small ones. */
static void test_sizes(void **state)
{
    struct shell *sh = prepared(0);
    (void)state;
    shell_flow(sh, 1, MAIL_CLASS_NORMAL, "big", "a");
    shell_flow(sh, 2, MAIL_CLASS_NORMAL, "small", "a");
    file_many(sh, 1, 400, 7 * 64 * 1024); /* costs 8 */
    file_many(sh, 2, 400, 1000);          /* costs 1 */
    shell_credit(sh, 1, "a", 270);
    assert_in_range(issued_of(sh, 1), 25, 35);
    assert_in_range(issued_of(sh, 2), 235, 245);
    shell_free(sh);
}

/* Within a tenant the oldest goes first, whatever its flow. */
static void test_due_order(void **state)
{
    struct shell *sh = prepared(0);
    (void)state;
    for (uint32_t f = 1; f <= 5; f++)
        shell_flow(sh, f, MAIL_CLASS_NORMAL, "t", "smarthost");
    for (uint32_t f = 1; f <= 5; f++)
        for (uint64_t i = 0; i < 20; i++)
            shell_file(sh, f, f * 1000 + i, sh->now.wall.ms - 1000 + i * 5 + f - 1, 1000);
    shell_credit(sh, 1, "smarthost", 100);
    assert_int_equal(sh->n_issues, 100);
    for (size_t i = 1; i < sh->n_issues; i++)
        assert_true(sh->issues[i].row.key.due_ms > sh->issues[i - 1].row.key.due_ms);
    shell_free(sh);
}

static void test_reserve(void **state)
{
    struct shell *sh = prepared(10);
    (void)state;
    shell_flow(sh, 1, MAIL_CLASS_BULK, "t", "a");
    shell_flow(sh, 2, MAIL_CLASS_TRANSACTIONAL, "t", "a");
    file_many(sh, 1, 500, 1000);
    shell_credit(sh, 1, "a", 60);
    assert_int_equal(sh->n_issues, 54);
    /* The last tenth is there when it is needed. */
    file_many(sh, 2, 10, 1000);
    assert_int_equal(issued_of(sh, 2), 6);
    assert_int_equal(sh->n_issues, 60);
    shell_free(sh);
}

/* Credit of several lanes is used in turn, and none beyond what the lane holds. */
static void test_lanes(void **state)
{
    struct shell *sh = prepared(0);
    size_t on_lane[4] = {0};
    (void)state;
    shell_lane(sh, 2, 5);
    shell_lane(sh, 3, 100);
    shell_flow(sh, 1, MAIL_CLASS_NORMAL, "t", "a");
    for (uint32_t l = 1; l <= 3; l++)
        shell_credit(sh, l, "a", 30);
    file_many(sh, 1, 200, 1000);
    for (size_t i = 0; i < sh->n_issues; i++)
        on_lane[sh->issues[i].lane]++;
    assert_int_equal(on_lane[1], 30);
    assert_int_equal(on_lane[2], 5);
    assert_int_equal(on_lane[3], 30);
    assert_true(sh->issues[0].lane != sh->issues[1].lane);
    /* One of the full lane's ends: the next goes there, though nobody sent credit anew. */
    struct sched_issue *on2 = sh->issues;
    while (on2->lane != 2)
        on2++;
    struct sched_result r = {.ref = on2->ref, .lane = 2};
    struct sched_decision d;
    sched_issue_done(sh->sched, sh->now, &on2->ref, true);
    assert_int_equal(sched_result(sh->sched, sh->now, &r, &d), 0);
    assert_int_equal(sh->n_issues, 66);
    assert_int_equal(sh->issues[65].lane, 2);
    sched_check_invariants(sh->sched);
    shell_free(sh);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_classes),   cmocka_unit_test(test_tenants), cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_due_order), cmocka_unit_test(test_reserve), cmocka_unit_test(test_lanes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
