/* Rows in memory and on disk: windows, pool, backlog, counting. */
#include "scheduler/core/internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "sched_shell.h"

static struct sched_stats stats_of(const struct shell *sh)
{
    struct sched_stats st;
    sched_stats(sh->sched, &st);
    return st;
}

/* A hundred thousand messages to a destination without credit: a window of them is in memory. */
static void test_bounded(void **state)
{
    struct shell *sh = shell_new(NULL);
    struct sched_dest_info d;
    (void)state;
    shell_flow(sh, 1, MAIL_CLASS_NORMAL, "t", "dead");
    for (uint64_t i = 0; i < 100000; i++)
        shell_file(sh, 1, i, sh->now.wall.ms, 1000);
    assert_int_equal(stats_of(sh).ready, 16);
    assert_int_equal(stats_of(sh).rows, 100000);
    assert_int_equal(sched_dest_get(sh->sched, PR_SLICE_LIT("dead"), PR_SLICE_LIT("p"), &d), 0);
    assert_int_equal(d.rows, 100000);
    assert_true(d.backlog >= SCHED_SCAN_MAX);
    assert_int_equal(sh->n_scans, 0);
    assert_true(sh->n_demands < 20);
    sched_check_invariants(sh->sched);
    shell_free(sh);
}

/* The window follows the rate: after a second of a thousand jobs, far fewer scans than jobs. */
static void test_window_grows(void **state)
{
    struct shell *sh = shell_new(NULL);
    (void)state;
    shell_lane(sh, 1, 1000000);
    shell_flow(sh, 1, MAIL_CLASS_NORMAL, "t", "a");
    for (uint64_t i = 0; i < 20000; i++)
        shell_file(sh, 1, i, sh->now.wall.ms, 1000);
    for (uint64_t allowed = 1; allowed <= 10000; allowed++) {
        shell_credit(sh, 1, "a", allowed);
        shell_pass(sh, 1);
        if (allowed == 5000)
            sh->n_scans = sh->n_scanned = 0;
    }
    assert_int_equal(flow_find(sh->sched, 1)->window, SCHED_SCAN_MAX);
    assert_true(sh->n_scans <= 15);
    assert_true(sh->n_scanned <= 15 * SCHED_SCAN_MAX);
    shell_free(sh);
}

/* The pool is used up by destinations without credit: they make room. */
static void test_eviction(void **state)
{
    struct sched_config c;
    (void)state;
    sched_config_default(&c);
    c.jobs_max = 100;
    struct shell *sh = shell_new(&c);
    shell_lane(sh, 1, 1000);
    for (uint32_t f = 1; f <= 20; f++) {
        char name[16];
        snprintf(name, sizeof name, "dead%u", f);
        shell_flow(sh, f, MAIL_CLASS_NORMAL, "t", name);
        for (uint64_t i = 0; i < 20; i++)
            shell_file(sh, f, f * 1000 + i, sh->now.wall.ms, 1000);
    }
    assert_int_equal(stats_of(sh).ready, 100);
    shell_flow(sh, 50, MAIL_CLASS_NORMAL, "t", "alive");
    for (uint64_t i = 0; i < 50; i++)
        shell_file(sh, 50, 50000 + i, sh->now.wall.ms, 1000);
    assert_int_equal(sched_where(sh->sched, 50000, 0), SCHED_ON_DISK);
    shell_credit(sh, 1, "alive", 40);
    assert_int_equal(sh->n_issues, 36); /* a tenth is reserved */
    assert_true(stats_of(sh).evicted > 0);
    assert_true(sh->sched->jobs.count <= 100);
    sched_check_invariants(sh->sched);
    /* What was dropped is read again when its turn comes. */
    shell_credit(sh, 1, "dead1", 10);
    assert_int_equal(sh->n_issues, 46);
    sched_check_invariants(sh->sched);
    shell_free(sh);
}

/* Counting beside a takeover is exact, whatever comes and goes meanwhile. */
static void test_counting(void **state)
{
    struct shell *sh = shell_new(NULL);
    struct sched_flow_spec spec = {.flow = 1, .tenant = PR_SLICE_LIT("t"), .class_ = MAIL_CLASS_NORMAL,
                                   .pool = PR_SLICE_LIT("p"), .destination = PR_SLICE_LIT("a"), .cold = true};
    uint64_t due = sh->now.wall.ms + 1000000;
    (void)state;
    sh->cap_rows = 20000;
    sh->rows = pr_calloc(sh->cap_rows, sizeof *sh->rows);
    for (uint64_t i = 0; i < 10000; i++)
        sh->rows[sh->n_rows++] = (struct sched_row){.flow = 1, .key = {due, i * 10, 0}};
    sched_flow_added(sh->sched, sh->now, &spec);
    size_t rounds = 0;
    for (uint64_t step = 0; stats_of(sh).uncounted > 0; step++, rounds++) {
        sched_tick(sh->sched, sh->now);
        shell_pass(sh, SCHED_COUNT_MS);
        /* One goes near the front, one near the back; one comes at the end. */
        for (size_t k = 0; k < 2; k++) {
            size_t gone = k == 0 ? step % 50 : sh->n_rows - 1 - step % 30;
            struct sched_key key = sh->rows[gone].key;
            memmove(&sh->rows[gone], &sh->rows[gone + 1], (--sh->n_rows - gone) * sizeof *sh->rows);
            sched_row_gone(sh->sched, sh->now, 1, &key);
        }
        shell_file(sh, 1, 1000000 + step, due, 1000);
    }
    assert_true(rounds > 3);
    assert_int_equal(stats_of(sh).rows, sh->n_rows);
    sched_check_invariants(sh->sched);
    shell_free(sh);
}

/* A row stamped earlier than what was read already (another leader's clock) is found. */
static void test_late_row(void **state)
{
    struct sched_config c;
    (void)state;
    sched_config_default(&c);
    c.window_min = 2;
    struct shell *sh = shell_new(&c);
    shell_lane(sh, 1, 1000);
    shell_flow(sh, 1, MAIL_CLASS_NORMAL, "t", "a");
    for (uint64_t i = 10; i < 16; i++)
        shell_file(sh, 1, i, sh->now.wall.ms, 1000);
    shell_credit(sh, 1, "a", 3);
    assert_int_equal(sh->n_issues, 3);
    /* The ring is full again with 13: these two lie before it, on disk. */
    for (uint64_t i = 1; i < 3; i++) {
        struct sched_row row = {.flow = 1, .key = {sh->now.wall.ms - 5, i, 0}, .n_rcpts = 1};
        memmove(&sh->rows[i], &sh->rows[i - 1], (sh->n_rows - (i - 1)) * sizeof *sh->rows);
        sh->rows[i - 1] = row;
        sh->n_rows++;
        sched_row_filed(sh->sched, sh->now, &row);
    }
    sched_check_invariants(sh->sched);
    shell_credit(sh, 1, "a", 8);
    assert_int_equal(sh->n_issues, 8);
    bool seen[16] = {false};
    for (size_t i = 0; i < 8; i++) {
        assert_false(seen[sh->issues[i].ref.msg_id]);
        seen[sh->issues[i].ref.msg_id] = true;
    }
    assert_true(seen[1] && seen[2]);
    shell_free(sh);
}

/* A million flows are a few hundred bytes each. */
static void test_compact(void **state)
{
    (void)state;
    assert_true(sizeof(struct flow) <= 256);
    assert_true(sizeof(struct job) <= 128);
    assert_true(sizeof(struct dest) <= 384);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bounded),  cmocka_unit_test(test_window_grows), cmocka_unit_test(test_eviction),
        cmocka_unit_test(test_counting), cmocka_unit_test(test_late_row),     cmocka_unit_test(test_compact),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
