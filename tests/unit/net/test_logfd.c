/* The log sink: both formats, levels, forged lines, a reader that is slow or gone. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/net/clock.h"
#include "common/net/logfd.h"

struct fixture {
    struct pr_log *log;
    int in, out; /* of a pipe */
    struct pr_buf got;
};

static void start(struct fixture *f, bool json)
{
    int fds[2];
    assert_int_equal(pipe(fds), 0);
    *f = (struct fixture){.in = fds[0], .out = fds[1]};
    f->log = pr_logfd_new(&(struct pr_logfd_options){
        .fd = f->out, .program = "postrider-test", .level = PR_LOG_INFO, .json = json});
}

/* Frees the log, which writes out everything, then reads it. */
static const char *finish(struct fixture *f)
{
    pr_logfd_free(f->log);
    close(f->out);
    char block[4096];
    for (ssize_t n; (n = read(f->in, block, sizeof block)) > 0;)
        pr_buf_append(&f->got, block, (size_t)n);
    close(f->in);
    return pr_buf_cstr(&f->got);
}

/* After "2026-11-21T07:30:00.123Z " */
static const char *after_time(const char *line)
{
    static const char shape[] = "dddd-dd-ddTdd:dd:dd.dddZ ";
    for (size_t i = 0; i + 1 < sizeof shape; i++)
        assert_true(shape[i] == 'd' ? pr_is_digit(line[i]) : line[i] == shape[i]);
    return line + sizeof shape - 1;
}

static void test_text(void **state)
{
    (void)state;
    struct fixture f;
    start(&f, false);
    pr_debug(f.log, "not_shown");
    pr_info(f.log, "message_accepted", PR_S("id", "abc"), PR_U("size", 10240), PR_I("delta", -3));
    /* A peer's text cannot make a line of its own. */
    pr_warn(f.log, "reply", PR_S("text", "250 ok\n2026-11-21T00:00:00.000Z error x forged=1"));
    const char *text = finish(&f);
    const char *second = strchr(text, '\n') + 1;
    assert_memory_equal(after_time(text), "info postrider-test message_accepted id=abc size=10240 delta=-3\n", 64);
    assert_string_equal(after_time(second), "warn postrider-test reply text=\"250 ok\\u000a2026-11-21T00:00:00.000Z error "
                                            "x forged=1\"\n");
    pr_buf_fini(&f.got);
}

static void test_json(void **state)
{
    (void)state;
    struct fixture f;
    start(&f, true);
    pr_info(f.log, "reply", PR_SL("text", PR_SLICE_LIT("a\"b\\\xff\r\n")), PR_U("code", 250), PR_I("delta", -3));
    const char *text = finish(&f);
    assert_memory_equal(text, "{\"time\":\"", 9);
    assert_string_equal(text + 33, "\",\"level\":\"info\",\"program\":\"postrider-test\",\"event\":\"reply\",\"text\":"
                                   "\"a\\\"b\\\\\\ufffd\\u000d\\u000a\",\"code\":250,\"delta\":-3}\n");
    pr_buf_fini(&f.got);
}

static void test_configure(void **state)
{
    (void)state;
    struct fixture f;
    uint64_t by_level[PR_LOG_LEVEL_NR], dropped;
    start(&f, false);
    pr_logfd_configure(f.log, PR_LOG_DEBUG, true);
    pr_debug(f.log, "shown");
    pr_logfd_configure(f.log, PR_LOG_ERROR, false);
    pr_warn(f.log, "not_shown");
    pr_error(f.log, "bad");
    pr_logfd_counts(f.log, by_level, &dropped);
    assert_int_equal(by_level[PR_LOG_DEBUG], 1);
    assert_int_equal(by_level[PR_LOG_WARN], 0);
    assert_int_equal(by_level[PR_LOG_ERROR], 1);
    assert_int_equal(dropped, 0);
    const char *text = finish(&f);
    assert_int_equal(text[0], '{');
    assert_string_equal(after_time(strchr(text, '\n') + 1), "error postrider-test bad\n");
    pr_buf_fini(&f.got);
}

static void test_error_is_written_at_once(void **state)
{
    (void)state;
    struct fixture f;
    char line[256];
    start(&f, false);
    assert_int_equal(fcntl(f.in, F_SETFL, O_NONBLOCK), 0);
    pr_info(f.log, "before");
    pr_error(f.log, "bad");
    /* It is there when the call returns. */
    ssize_t n = read(f.in, line, sizeof line - 1);
    assert_true(n > 0);
    line[n] = '\0';
    assert_non_null(strstr(line, "before\n"));
    assert_non_null(strstr(line, "error postrider-test bad\n"));
    (void)finish(&f);
    pr_buf_fini(&f.got);
}

static void *run_reader(void *arg)
{
    struct fixture *f = arg;
    char block[65536];
    for (ssize_t n; (n = read(f->in, block, sizeof block)) > 0;)
        pr_buf_append(&f->got, block, (size_t)n);
    return NULL;
}

static void test_full(void **state)
{
    (void)state;
    struct fixture f;
    uint64_t by_level[PR_LOG_LEVEL_NR], dropped = 0;
    char big[1001];
    memset(big, 'x', sizeof big - 1);
    big[sizeof big - 1] = '\0';
    start(&f, false);
    /* Nobody reads: the ring fills, then info is dropped while warn still has room, and no call hangs. */
    for (unsigned i = 0; i < 5000; i++)
        pr_info(f.log, "line", PR_S("text", big));
    pr_logfd_counts(f.log, by_level, &dropped);
    assert_true(dropped > 500 && dropped < 1500);
    uint64_t before = dropped, began = pr_clock_now().mono.ms;
    pr_warn(f.log, "kept");
    for (unsigned i = 0; i < 100; i++)
        pr_error(f.log, "kept_too");
    assert_true(pr_clock_now().mono.ms - began < 5000);
    pr_logfd_counts(f.log, by_level, &dropped);
    assert_int_equal(dropped, before);
    assert_int_equal(by_level[PR_LOG_WARN], 1);
    /* Even warnings have an end. */
    for (unsigned i = 0; i < 3000; i++)
        pr_warn(f.log, "line", PR_S("text", big));
    pr_logfd_counts(f.log, by_level, &dropped);
    assert_true(dropped > before + 1000);
    pthread_t reader;
    assert_int_equal(pthread_create(&reader, NULL, run_reader, &f), 0);
    pr_logfd_free(f.log);
    close(f.out);
    pthread_join(reader, NULL);
    close(f.in);
    const char *text = pr_buf_cstr(&f.got);
    char report[64];
    (void)snprintf(report, sizeof report, "log_dropped lines=%llu\n", (unsigned long long)dropped);
    assert_non_null(strstr(text, "warn postrider-test kept\n"));
    assert_non_null(strstr(text, report));
    pr_buf_fini(&f.got);
}

static void test_reader_gone(void **state)
{
    (void)state;
    struct fixture f;
    (void)signal(SIGPIPE, SIG_IGN);
    start(&f, false);
    close(f.in);
    for (unsigned i = 0; i < 1000; i++)
        pr_info(f.log, "line");
    pr_error(f.log, "line");
    pr_logfd_free(f.log);
    close(f.out);
    /* A reader that stalls for ever does not keep us from stopping. */
    start(&f, false);
    for (unsigned i = 0; i < 5000; i++)
        pr_info(f.log, "a line of some length to fill the pipe");
    pr_logfd_free(f.log);
    close(f.out);
    close(f.in);
}

static void *run_writer(void *arg)
{
    for (unsigned i = 0; i < 2000; i++)
        pr_info((struct pr_log *)arg, "line", PR_U("i", i));
    return NULL;
}

static void test_threads(void **state)
{
    (void)state;
    struct fixture f;
    pthread_t writers[4], reader;
    uint64_t by_level[PR_LOG_LEVEL_NR], dropped;
    start(&f, false);
    assert_int_equal(pthread_create(&reader, NULL, run_reader, &f), 0);
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&writers[i], NULL, run_writer, f.log), 0);
    for (unsigned i = 0; i < 100; i++)
        pr_logfd_configure(f.log, PR_LOG_INFO, false);
    for (size_t i = 0; i < 4; i++)
        pthread_join(writers[i], NULL);
    pr_logfd_counts(f.log, by_level, &dropped);
    assert_int_equal(by_level[PR_LOG_INFO], 8000);
    pr_logfd_free(f.log);
    close(f.out);
    pthread_join(reader, NULL);
    close(f.in);
    size_t lines = 0;
    for (size_t i = 0; i < f.got.len; i++)
        lines += f.got.ptr[i] == '\n';
    assert_int_equal(lines, 8000);
    pr_buf_fini(&f.got);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text),
        cmocka_unit_test(test_json),
        cmocka_unit_test(test_configure),
        cmocka_unit_test(test_error_is_written_at_once),
        cmocka_unit_test(test_full),
        cmocka_unit_test(test_reader_gone),
        cmocka_unit_test(test_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
