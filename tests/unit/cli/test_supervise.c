/* The supervisor with real children: started, started again, stopped in order, killed when they do not stop. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "deploy/cli/cli.h"
#include "deploy/cli/supervise.h"

enum { PATIENCE_MS = 20000 };

struct fixture {
    char path[32]; /* what the children write */
    struct supervisor *s;
};

static int setup(void **state)
{
    struct fixture *f = pr_new(struct fixture);
    (void)snprintf(f->path, sizeof f->path, "/tmp/pr_sup_XXXXXX");
    int fd = mkstemp(f->path);
    if (fd < 0)
        return -1;
    (void)close(fd);
    struct supervisor_options o = {.log_fd = -1, .quiet = true};
    if (supervisor_new(&o, &f->s) != PR_OK)
        return -1;
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    supervisor_free(f->s);
    (void)unlink(f->path);
    pr_free(f);
    return 0;
}

static void read_lines(const struct fixture *f, struct pr_buf *out)
{
    FILE *file = fopen(f->path, "r");
    assert_non_null(file);
    pr_buf_clear(out);
    for (size_t n; (n = fread(pr_buf_reserve(out, 4096), 1, 4096, file)) > 0;)
        out->len += n;
    (void)fclose(file);
}

/* Steps until the children have written the text. */
static void wait_for(struct fixture *f, const char *text)
{
    uint64_t deadline = cli_now_ms() + PATIENCE_MS;
    struct pr_buf b = {0};
    for (;;) {
        supervisor_step(f->s, 10);
        read_lines(f, &b);
        if (pr_slice_find_slice(pr_buf_slice(&b), pr_slice_str(text)) != SIZE_MAX)
            break;
        if (cli_now_ms() > deadline)
            fail_msg("no \"%s\" in \"%s\"", text, pr_buf_cstr(&b));
    }
    pr_buf_fini(&b);
}

static void wait_stopped(struct fixture *f)
{
    uint64_t deadline = cli_now_ms() + PATIENCE_MS;
    while (!supervisor_stopped(f->s) && cli_now_ms() < deadline)
        supervisor_step(f->s, 10);
    assert_true(supervisor_stopped(f->s));
}

static void add(struct fixture *f, const char *name, const char *script, uint64_t stop_ms)
{
    const char *const argv[] = {"/bin/sh", "-c", script, name, f->path, NULL};
    supervisor_add(f->s, name, argv, stop_ms);
}

static const char obedient[] = "trap 'echo $0-hup >>$1' HUP; trap 'echo $0-end >>$1; exit 0' TERM; echo $0-up >>$1;"
                               "while :; do sleep 0.02; done";

static void test_stops_in_order(void **state)
{
    struct fixture *f = *state;
    add(f, "first", obedient, 10000);
    add(f, "second", obedient, 10000);
    wait_for(f, "first-up");
    wait_for(f, "second-up");
    (void)raise(SIGTERM);
    wait_stopped(f);
    struct pr_buf b = {0};
    read_lines(f, &b);
    size_t first = pr_slice_find_slice(pr_buf_slice(&b), PR_SLICE_LIT("first-end"));
    size_t second = pr_slice_find_slice(pr_buf_slice(&b), PR_SLICE_LIT("second-end"));
    assert_true(first != SIZE_MAX && second != SIZE_MAX && first < second);
    assert_int_equal(supervisor_failures(f->s), 0);
    pr_buf_fini(&b);
}

static void test_starts_again(void **state)
{
    struct fixture *f = *state;
    add(f, "flaky", "[ -s $1 ] && { echo again >>$1; while :; do sleep 0.02; done; }; echo once >>$1; exit 3", 10000);
    wait_for(f, "again");
    assert_int_equal(supervisor_failures(f->s), 1);
    supervisor_stop(f->s);
    wait_stopped(f);
}

static void test_passes_reload_on(void **state)
{
    struct fixture *f = *state;
    add(f, "a", obedient, 10000);
    add(f, "b", obedient, 10000);
    wait_for(f, "a-up");
    wait_for(f, "b-up");
    (void)raise(SIGHUP);
    wait_for(f, "a-hup");
    wait_for(f, "b-hup");
    assert_false(supervisor_stopping(f->s));
    supervisor_stop(f->s);
    wait_stopped(f);
}

static void test_kills_the_stubborn(void **state)
{
    struct fixture *f = *state;
    add(f, "deaf", "trap '' TERM; echo up >>$1; while :; do sleep 0.02; done", 100);
    wait_for(f, "up");
    uint64_t began = cli_now_ms();
    supervisor_stop(f->s);
    wait_stopped(f);
    assert_true(cli_now_ms() - began >= 100);
}

static void test_second_signal_kills_at_once(void **state)
{
    struct fixture *f = *state;
    add(f, "deaf", "trap '' TERM; echo one >>$1; while :; do sleep 0.02; done", 3600000);
    add(f, "deaf too", "trap '' TERM; echo two >>$1; while :; do sleep 0.02; done", 3600000);
    wait_for(f, "one");
    wait_for(f, "two");
    (void)raise(SIGINT);
    supervisor_step(f->s, 10);
    (void)raise(SIGINT);
    wait_stopped(f);
}

static void test_program_that_is_not_there(void **state)
{
    struct fixture *f = *state;
    const char *const argv[] = {"/nonexistent/daemon", NULL};
    supervisor_add(f->s, "ghost", argv, 1000);
    uint64_t deadline = cli_now_ms() + PATIENCE_MS;
    while (supervisor_failures(f->s) == 0 && cli_now_ms() < deadline)
        supervisor_step(f->s, 10);
    assert_int_not_equal(supervisor_failures(f->s), 0);
    supervisor_stop(f->s);
    wait_stopped(f);
}

static void test_backoff(void **state)
{
    (void)state;
    uint64_t pause = 0, sum = 0;
    for (unsigned i = 0; i < 12; i++) {
        uint64_t next = supervisor_backoff(pause, 10);
        assert_true(next >= pause && next <= 30000);
        pause = next;
        sum += next;
    }
    assert_int_equal(pause, 30000);
    assert_true(sum > 60000); /* a daemon that never starts costs little */
    assert_int_equal(supervisor_backoff(pause, 10000), 200);
    assert_int_equal(supervisor_backoff(0, 0), 200);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_stops_in_order, setup, teardown),
        cmocka_unit_test_setup_teardown(test_starts_again, setup, teardown),
        cmocka_unit_test_setup_teardown(test_passes_reload_on, setup, teardown),
        cmocka_unit_test_setup_teardown(test_kills_the_stubborn, setup, teardown),
        cmocka_unit_test_setup_teardown(test_second_signal_kills_at_once, setup, teardown),
        cmocka_unit_test_setup_teardown(test_program_that_is_not_there, setup, teardown),
        cmocka_unit_test(test_backoff),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
