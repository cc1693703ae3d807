/* State machines: legal moves are traced, illegal ones end the program. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "common/base/buf.h"
#include "common/base/sm.h"

enum { IDLE, BUSY, DONE, STATE_NR };
static const struct pr_sm_state states[STATE_NR] = {
    [IDLE] = {"idle", PR_SM_TO(BUSY), PR_SM_INITIAL},
    [BUSY] = {"busy", PR_SM_TO(IDLE) | PR_SM_TO(DONE), 0},
    [DONE] = {"done", 0, PR_SM_FINAL},
};

static void trace(void *data, uint64_t object_id, const char *from, const char *to, const char *reason)
{
    pr_buf_printf(data, "%llu %s->%s %s;", (unsigned long long)object_id, from, to, reason);
}

static void legal_moves(void **state)
{
    (void)state;
    struct pr_buf log = {0};
    struct pr_sm m;
    pr_sm_init(&m, states, STATE_NR, IDLE, 77);
    pr_sm_move(&m, BUSY, "untraced");
    m.trace = trace;
    m.trace_data = &log;
    pr_sm_move(&m, IDLE, "paused");
    pr_sm_move(&m, BUSY, "again");
    assert_string_equal(pr_sm_name(&m), "busy");
    assert_false(pr_sm_is_final(&m));
    pr_sm_move(&m, DONE, "finished");
    assert_int_equal(pr_sm_state(&m), DONE);
    assert_true(pr_sm_is_final(&m));
    assert_string_equal(pr_buf_cstr(&log), "77 busy->idle paused;77 idle->busy again;77 busy->done finished;");
    pr_buf_fini(&log);
}

/* Runs the move in a child; true if an assertion ended it. */
static bool aborts(unsigned from, unsigned to, unsigned n)
{
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        const struct rlimit none = {0, 0};
        (void)setrlimit(RLIMIT_CORE, &none);
        (void)signal(SIGABRT, SIG_DFL);
        (void)close(STDERR_FILENO);
        struct pr_sm m;
        pr_sm_init(&m, states, n, IDLE, 1);
        m.state = from;
        pr_sm_move(&m, to, "child");
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
}

static void illegal_moves(void **state)
{
    (void)state;
    for (unsigned from = 0; from < STATE_NR; from++)
        for (unsigned to = 0; to < STATE_NR; to++)
            assert_int_equal(aborts(from, to, STATE_NR), (states[from].next & PR_SM_TO(to)) == 0);
    assert_true(aborts(IDLE, STATE_NR, STATE_NR));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(legal_moves), cmocka_unit_test(illegal_moves)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
