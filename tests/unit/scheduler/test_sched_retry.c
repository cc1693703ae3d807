#include "scheduler/core/internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "sched_shell.h"

/* 200,000 messages refused in the same minute do not fall due together. */
static void test_spreads_a_herd(void **state)
{
    enum { HERD = 200000, HOUR_MINUTES = 90 };
    struct shell *sh = shell_new(NULL);
    uint32_t *minutes = pr_calloc(HOUR_MINUTES, sizeof *minutes), worst = 0;
    (void)state;
    for (uint64_t i = 0; i < HERD; i++) {
        /* The fifth attempt: an hour. Ids as the leader makes them. */
        uint64_t at = i * 60000 / HERD, delay = retry_delay(sh->sched, (at << 22) + i % 1000, 0, 5);
        assert_true(delay >= 45 * 60000 && delay <= 75 * 60000);
        minutes[(at + delay) / 60000]++;
    }
    for (size_t m = 0; m < HOUR_MINUTES; m++)
        worst = minutes[m] > worst ? minutes[m] : worst;
    assert_true(worst <= HERD / 20);
    pr_free(minutes);
    shell_free(sh);
}

static void test_steps(void **state)
{
    static const uint64_t minutes[] = {5, 10, 20, 40, 60, 60, 120, 240, 240, 240};
    struct sched_config c;
    (void)state;
    sched_config_default(&c);
    c.retry_jitter_percent = 0;
    struct shell *sh = shell_new(&c);
    for (uint32_t i = 0; i < PR_ARRAY_LEN(minutes); i++)
        assert_int_equal(retry_delay(sh->sched, 99, 0, i + 1), minutes[i] * 60000);
    shell_free(sh);
}

/* What a flush needs: the time of filing can be told from the row. */
static void test_filing_time(void **state)
{
    struct shell *sh = shell_new(NULL);
    (void)state;
    shell_flow(sh, 1, MAIL_CLASS_NORMAL, "t", "a.example");
    struct flow *f = flow_find(sh->sched, 1);
    f->flush = pr_new(struct flush);
    f->flush->start_ms = 5000000;
    for (uint64_t id = 1; id < 2000; id++) {
        struct sched_row row = {.flow = 1, .key = {0, id << 22, (uint32_t)(id % 3)}, .attempt = (uint32_t)(id % 9)};
        uint64_t delay = row.attempt == 0 ? 0 : retry_delay(sh->sched, row.key.msg_id, row.key.group, row.attempt);
        row.key.due_ms = 4999999 + delay;
        assert_true(flush_includes(sh->sched, f, &row));
        row.key.due_ms = 5000000 + delay;
        assert_false(flush_includes(sh->sched, f, &row));
    }
    shell_free(sh);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_spreads_a_herd), cmocka_unit_test(test_steps),
                                       cmocka_unit_test(test_filing_time)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
