/* A daemon as a process of its own: command line, configuration errors, reload, orderly and forced stop, sd_notify.
 * The test program runs itself: with DAEMON as its first argument it is the daemon. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/net/clock.h"
#include "common/net/daemon.h"

enum { WAIT_MS = 20000, ARGS_MAX = 10 };

/* --- the daemon --- */

struct app {
    struct pr_worker *worker;
    uv_async_t ended; /* the worker's thread is done */
};

static int on_worker_start(struct pr_worker *w, uv_loop_t *loop, void *data)
{
    (void)w;
    (void)loop;
    (void)data;
    return 0;
}

static void on_worker_post(struct pr_worker *w, void *item, void *data)
{
    (void)w;
    (void)item;
    (void)data;
}

static void on_worker_stop(struct pr_worker *w, void *data)
{
    (void)w;
    uv_async_send(&((struct app *)data)->ended);
}

static const struct pr_worker_ops worker_ops = {on_worker_start, on_worker_post, on_worker_stop};

static void on_ended(uv_async_t *a)
{
    struct pr_daemon *d = a->data;
    uv_close((uv_handle_t *)a, NULL);
    pr_daemon_stopped(d, 7);
}

static int on_start(struct pr_daemon *d, void *data)
{
    struct app *a = data;
    struct rlimit r;
    mode_t mask = umask(0);
    umask(mask);
    if (getenv("TEST_FAIL_START") != NULL) {
        pr_error(pr_daemon_log(d), "start_failed");
        return -1;
    }
    (void)getrlimit(RLIMIT_NOFILE, &r);
    uv_async_init(pr_daemon_loop(d), &a->ended, on_ended);
    a->ended.data = d;
    pr_info(pr_daemon_log(d), "test_started", PR_S("hostname", pr_daemon_config(d)->hostname), PR_U("umask", mask),
            PR_U("all_descriptors", r.rlim_cur == r.rlim_max), PR_S("pool", getenv("UV_THREADPOOL_SIZE")));
    return pr_worker_start(&worker_ops, a, "worker", &a->worker);
}

static void on_reload(struct pr_daemon *d, struct pr_config *config, void *data)
{
    (void)data;
    pr_info(pr_daemon_log(d), "test_reloaded", PR_S("hostname", config->hostname));
    pr_debug(pr_daemon_log(d), "test_debug_line");
}

static void on_stop(struct pr_daemon *d, void *data)
{
    struct app *a = data;
    (void)d;
    if (getenv("TEST_NEVER_STOPS") == NULL)
        pr_worker_stop(a->worker);
}

static int run_daemon(int argc, char **argv)
{
    static const struct pr_daemon_ops ops = {.start = on_start, .reload = on_reload, .stop = on_stop};
    struct app a = {0};
    int code = pr_daemon_main(argc, argv, "postrider-test", &ops, &a);
    if (a.worker != NULL)
        pr_worker_join(a.worker);
    return code;
}

/* --- the tests --- */

struct fixture {
    char dir[32], config[64], notify[64];
    int notify_fd;
    pid_t pid;
    int out; /* its stdout and stderr */
    struct pr_buf got;
};

static void write_config(struct fixture *f, const char *more)
{
    FILE *c = fopen(f->config, "w");
    assert_non_null(c);
    assert_true(fprintf(c, "data_dir: %s/data\nruntime_dir: %s/run/deep\n%s", f->dir, f->dir, more) > 0);
    assert_int_equal(fclose(c), 0);
}

static int setup(void **state)
{
    struct fixture *f = pr_new(struct fixture);
    memcpy(f->dir, "/tmp/pr-daemon-XXXXXX", 22);
    assert_non_null(mkdtemp(f->dir));
    (void)snprintf(f->config, sizeof f->config, "%s/c.yaml", f->dir);
    (void)snprintf(f->notify, sizeof f->notify, "%s/notify", f->dir);
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    memcpy(a.sun_path, f->notify, strlen(f->notify));
    f->notify_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(f->notify_fd, (struct sockaddr *)&a, sizeof a), 0);
    f->out = -1;
    *state = f;
    return 0;
}

static void remove_under(struct fixture *f, const char *name)
{
    char path[96];
    (void)snprintf(path, sizeof path, "%s/%s", f->dir, name);
    (void)remove(path);
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    if (f->pid > 0) {
        (void)kill(f->pid, SIGKILL);
        (void)waitpid(f->pid, NULL, 0);
    }
    if (f->out >= 0)
        close(f->out);
    close(f->notify_fd);
    remove_under(f, "notify");
    remove_under(f, "c.yaml");
    remove_under(f, "run/deep");
    remove_under(f, "run");
    remove_under(f, "data");
    (void)rmdir(f->dir);
    pr_buf_fini(&f->got);
    pr_free(f);
    return 0;
}

/* NULL-terminated arguments; env: one more variable. */
static void spawn(struct fixture *f, const char *const *args, const char *env)
{
    char self[] = "/proc/self/exe", mark[] = "DAEMON", *argv[ARGS_MAX] = {self, mark};
    int fds[2];
    size_t n = 2;
    for (size_t i = 0; args[i] != NULL && n + 1 < ARGS_MAX; i++)
        argv[n++] = pr_strdup(args[i]);
    assert_int_equal(pipe(fds), 0);
    if (f->out >= 0)
        close(f->out);
    pr_buf_clear(&f->got);
    f->out = fds[0];
    f->pid = fork();
    assert_true(f->pid >= 0);
    if (f->pid == 0) {
        (void)dup2(fds[1], 1);
        (void)dup2(fds[1], 2);
        (void)setenv("NOTIFY_SOCKET", f->notify, 1);
        if (env != NULL)
            (void)setenv(env, "1", 1);
        (void)execv(self, argv);
        _exit(99);
    }
    close(fds[1]);
    for (size_t i = 2; i < n; i++)
        pr_free(argv[i]);
}

/* Reads until the text is there; NULL: to the end. */
static void expect(struct fixture *f, const char *text)
{
    uint64_t end = pr_clock_now().mono.ms + WAIT_MS;
    char block[4096];
    while (text == NULL || strstr(pr_buf_cstr(&f->got), text) == NULL) {
        struct pollfd p = {.fd = f->out, .events = POLLIN};
        if (pr_clock_now().mono.ms >= end || poll(&p, 1, WAIT_MS) <= 0)
            fail_msg("no '%s' in:\n%s", text == NULL ? "end" : text, pr_buf_cstr(&f->got));
        ssize_t n = read(f->out, block, sizeof block);
        if (n <= 0 && text == NULL)
            return;
        if (n <= 0)
            fail_msg("ended without '%s':\n%s", text, pr_buf_cstr(&f->got));
        pr_buf_append(&f->got, block, (size_t)n);
    }
}

static int exit_code(struct fixture *f)
{
    int status;
    expect(f, NULL);
    assert_int_equal(waitpid(f->pid, &status, 0), f->pid);
    f->pid = 0;
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void assert_notified(struct fixture *f, const char *start)
{
    char text[256] = "";
    struct pollfd p = {.fd = f->notify_fd, .events = POLLIN};
    assert_int_equal(poll(&p, 1, WAIT_MS), 1);
    assert_true(recv(f->notify_fd, text, sizeof text - 1, 0) > 0);
    assert_memory_equal(text, start, strlen(start));
}

#define ARGS(...) ((const char *const[]){__VA_ARGS__, NULL})

static void test_life(void **state)
{
    struct fixture *f = *state;
    struct stat st;
    char run[64];
    write_config(f, "hostname: one.example\n");
    spawn(f, ARGS("--config", f->config, "--allow-root"), NULL);
    expect(f, "test_started hostname=one.example umask=23 all_descriptors=1 pool=8\n");
    expect(f, "info postrider-test started\n");
    assert_notified(f, "READY=1");
    (void)snprintf(run, sizeof run, "%s/run/deep", f->dir);
    assert_int_equal(stat(run, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0750);

    write_config(f, "hostname: two.example\nlog:\n  level: debug\n");
    assert_int_equal(kill(f->pid, SIGHUP), 0);
    assert_notified(f, "RELOADING=1\nMONOTONIC_USEC=");
    expect(f, "test_reloaded hostname=two.example\n");
    expect(f, "debug postrider-test test_debug_line\n");
    assert_notified(f, "READY=1");

    /* A bad file changes nothing, and every error is told. */
    write_config(f, "hostnam: three.example\nlog:\n  level: loud\n");
    assert_int_equal(kill(f->pid, SIGHUP), 0);
    assert_notified(f, "RELOADING=1\n");
    expect(f, "config_reload_failed");
    assert_notified(f, "READY=1");
    assert_non_null(strstr(pr_buf_cstr(&f->got), "line=3"));
    assert_non_null(strstr(pr_buf_cstr(&f->got), "line=5"));
    assert_null(strstr(pr_buf_cstr(&f->got), "three.example\n"));

    assert_int_equal(kill(f->pid, SIGTERM), 0);
    assert_notified(f, "STOPPING=1");
    assert_int_equal(exit_code(f), 7);
    expect(f, "stopped exit_code=7\n");
}

static void test_second_signal_is_immediate(void **state)
{
    struct fixture *f = *state;
    write_config(f, "");
    spawn(f, ARGS("-c", f->config, "--allow-root"), "TEST_NEVER_STOPS");
    expect(f, "info postrider-test started\n");
    assert_int_equal(kill(f->pid, SIGINT), 0);
    expect(f, "stopping signal=2\n");
    assert_int_equal(kill(f->pid, SIGTERM), 0);
    assert_int_equal(exit_code(f), 128 + SIGTERM);
    assert_non_null(strstr(pr_buf_cstr(&f->got), "stop_forced signal=15\n"));
}

static void test_start_fails(void **state)
{
    struct fixture *f = *state;
    write_config(f, "");
    spawn(f, ARGS("-c", f->config, "--allow-root"), "TEST_FAIL_START");
    assert_int_equal(exit_code(f), 1);
    assert_non_null(strstr(pr_buf_cstr(&f->got), "start_failed"));
}

static void test_command_line(void **state)
{
    struct fixture *f = *state;
    spawn(f, ARGS("--version"), NULL);
    assert_int_equal(exit_code(f), 0);
    assert_memory_equal(pr_buf_cstr(&f->got), "postrider-test ", 15);
    spawn(f, ARGS("--help"), NULL);
    assert_int_equal(exit_code(f), 0);
    assert_non_null(strstr(pr_buf_cstr(&f->got), "--config FILE"));
    spawn(f, ARGS("--nonsense"), NULL);
    assert_int_equal(exit_code(f), 2);
    spawn(f, ARGS("left", "over"), NULL);
    assert_int_equal(exit_code(f), 2);
    assert_non_null(strstr(pr_buf_cstr(&f->got), "unexpected argument 'left'"));
    if (geteuid() == 0) {
        spawn(f, ARGS("-c", f->config), NULL);
        assert_int_equal(exit_code(f), 1);
        assert_non_null(strstr(pr_buf_cstr(&f->got), "refusing to run as root"));
    }
}

static void test_check(void **state)
{
    struct fixture *f = *state;
    write_config(f, "hostname: one.example\n");
    spawn(f, ARGS("-c", f->config, "--check"), NULL);
    assert_int_equal(exit_code(f), 0);
    assert_non_null(strstr(pr_buf_cstr(&f->got), "configuration OK\n"));
    write_config(f, "hostnam: one.example\nlog:\n  level: loud\n");
    spawn(f, ARGS("-c", f->config, "--check"), NULL);
    assert_int_equal(exit_code(f), 1);
    assert_non_null(strstr(pr_buf_cstr(&f->got), "c.yaml:3:"));
    assert_non_null(strstr(pr_buf_cstr(&f->got), "c.yaml:5:"));
    spawn(f, ARGS("-c", "/nonexistent.yaml", "--check"), NULL);
    assert_int_equal(exit_code(f), 1);
    assert_non_null(strstr(pr_buf_cstr(&f->got), "/nonexistent.yaml"));
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "DAEMON") == 0) {
        argv[1] = argv[0];
        return run_daemon(argc - 1, argv + 1);
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_life, setup, teardown),
        cmocka_unit_test_setup_teardown(test_second_signal_is_immediate, setup, teardown),
        cmocka_unit_test_setup_teardown(test_start_fails, setup, teardown),
        cmocka_unit_test_setup_teardown(test_command_line, setup, teardown),
        cmocka_unit_test_setup_teardown(test_check, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
