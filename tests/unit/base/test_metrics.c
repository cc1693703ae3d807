/* Metrics: every combination exists as 0 from the start; the text is what Prometheus reads. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/base/alloc.h"
#include "common/base/metrics.h"

static const char *const listeners[] = {"main", "sub\"mission", NULL};
static const char *const results[] = {"accepted", "limit", NULL};
static const double seconds[] = {0.0005, 0.1, 2.5};
static const double bytes[] = {1024, 1048576, 67108864};

enum { CONNECTIONS, OPEN, DURATION, SIZE, UPTIME, METRIC_NR };
static const struct pr_metric_def defs[METRIC_NR] = {
    [CONNECTIONS] = {"t_connections_total", "Connections.", PR_METRIC_COUNTER,
                     {{"listener", listeners}, {"result", results}}, NULL, 0, 0},
    [OPEN] = {"t_open", "Open now.", PR_METRIC_GAUGE, {{NULL, NULL}}, NULL, 0, 0},
    [DURATION] = {"t_duration_seconds", "Time.", PR_METRIC_HISTOGRAM, {{"result", results}}, seconds,
                  PR_ARRAY_LEN(seconds), 1e-6},
    [SIZE] = {"t_size_bytes", "Size.", PR_METRIC_HISTOGRAM, {{NULL, NULL}}, bytes, PR_ARRAY_LEN(bytes), 0},
    [UPTIME] = {"t_start_time_seconds", "Start.", PR_METRIC_GAUGE, {{NULL, NULL}}, NULL, 0, 1e-3},
};

static void starts_complete(void **state)
{
    (void)state;
    struct pr_metrics *m = pr_metrics_new(defs, METRIC_NR);
    struct pr_buf b = {0};
    pr_metrics_render(m, &b);
    assert_string_equal(pr_buf_cstr(&b), "# HELP t_connections_total Connections.\n"
                                         "# TYPE t_connections_total counter\n"
                                         "t_connections_total{listener=\"main\",result=\"accepted\"} 0\n"
                                         "t_connections_total{listener=\"main\",result=\"limit\"} 0\n"
                                         "t_connections_total{listener=\"sub\\\"mission\",result=\"accepted\"} 0\n"
                                         "t_connections_total{listener=\"sub\\\"mission\",result=\"limit\"} 0\n"
                                         "# HELP t_open Open now.\n"
                                         "# TYPE t_open gauge\n"
                                         "t_open 0\n"
                                         "# HELP t_duration_seconds Time.\n"
                                         "# TYPE t_duration_seconds histogram\n"
                                         "t_duration_seconds_bucket{result=\"accepted\",le=\"0.0005\"} 0\n"
                                         "t_duration_seconds_bucket{result=\"accepted\",le=\"0.1\"} 0\n"
                                         "t_duration_seconds_bucket{result=\"accepted\",le=\"2.5\"} 0\n"
                                         "t_duration_seconds_bucket{result=\"accepted\",le=\"+Inf\"} 0\n"
                                         "t_duration_seconds_sum{result=\"accepted\"} 0\n"
                                         "t_duration_seconds_count{result=\"accepted\"} 0\n"
                                         "t_duration_seconds_bucket{result=\"limit\",le=\"0.0005\"} 0\n"
                                         "t_duration_seconds_bucket{result=\"limit\",le=\"0.1\"} 0\n"
                                         "t_duration_seconds_bucket{result=\"limit\",le=\"2.5\"} 0\n"
                                         "t_duration_seconds_bucket{result=\"limit\",le=\"+Inf\"} 0\n"
                                         "t_duration_seconds_sum{result=\"limit\"} 0\n"
                                         "t_duration_seconds_count{result=\"limit\"} 0\n"
                                         "# HELP t_size_bytes Size.\n"
                                         "# TYPE t_size_bytes histogram\n"
                                         "t_size_bytes_bucket{le=\"1024\"} 0\n"
                                         "t_size_bytes_bucket{le=\"1048576\"} 0\n"
                                         "t_size_bytes_bucket{le=\"67108864\"} 0\n"
                                         "t_size_bytes_bucket{le=\"+Inf\"} 0\n"
                                         "t_size_bytes_sum 0\n"
                                         "t_size_bytes_count 0\n"
                                         "# HELP t_start_time_seconds Start.\n"
                                         "# TYPE t_start_time_seconds gauge\n"
                                         "t_start_time_seconds 0\n");
    pr_buf_fini(&b);
    pr_metrics_free(m);
    pr_metrics_free(NULL);
}

static void has(struct pr_metrics *m, const char *line)
{
    struct pr_buf b = {0};
    pr_metrics_render(m, &b);
    if (pr_slice_find_slice(pr_buf_slice(&b), pr_slice_str(line)) == SIZE_MAX)
        fail_msg("no '%s' in\n%s", line, pr_buf_cstr(&b));
    pr_buf_fini(&b);
}

static void values(void **state)
{
    (void)state;
    struct pr_metrics *m = pr_metrics_new(defs, METRIC_NR);
    pr_metric_inc2(m, CONNECTIONS, 1, 0);
    pr_metric_add(m, CONNECTIONS, 1, 0, 0, 41);
    assert_int_equal(pr_metric_get(m, CONNECTIONS, 1, 0, 0), 42);
    assert_int_equal(pr_metric_get(m, CONNECTIONS, 0, 1, 0), 0);
    has(m, "t_connections_total{listener=\"sub\\\"mission\",result=\"accepted\"} 42\n");
    pr_metric_set(m, OPEN, 0, 0, 0, -3);
    has(m, "\nt_open -3\n");
    pr_metric_set(m, UPTIME, 0, 0, 0, 1795000000123);
    has(m, "\nt_start_time_seconds 1795000000.123\n");

    /* 500 us and 100 ms lie on a bound, which belongs to its bucket. */
    static const uint64_t us[] = {0, 500, 501, 100000, 2500000, 2500001, 90000000};
    for (size_t i = 0; i < PR_ARRAY_LEN(us); i++)
        pr_metric_observe(m, DURATION, 1, 0, 0, us[i]);
    has(m, "t_duration_seconds_bucket{result=\"limit\",le=\"0.0005\"} 2\n"
           "t_duration_seconds_bucket{result=\"limit\",le=\"0.1\"} 4\n"
           "t_duration_seconds_bucket{result=\"limit\",le=\"2.5\"} 5\n"
           "t_duration_seconds_bucket{result=\"limit\",le=\"+Inf\"} 7\n"
           "t_duration_seconds_sum{result=\"limit\"} 95.101002\n"
           "t_duration_seconds_count{result=\"limit\"} 7\n");
    has(m, "t_duration_seconds_count{result=\"accepted\"} 0\n");
    pr_metrics_free(m);
}

static void *hammer(void *metrics)
{
    for (int i = 0; i < 100000; i++) {
        pr_metric_inc2(metrics, CONNECTIONS, 0, 1);
        pr_metric_observe(metrics, SIZE, 0, 0, 0, 2000);
    }
    return NULL;
}

static void threads_lose_nothing(void **state)
{
    (void)state;
    struct pr_metrics *m = pr_metrics_new(defs, METRIC_NR);
    pthread_t t[4];
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&t[i], NULL, hammer, m), 0);
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_join(t[i], NULL), 0);
    assert_int_equal(pr_metric_get(m, CONNECTIONS, 0, 1, 0), 400000);
    has(m, "t_size_bytes_bucket{le=\"1024\"} 0\nt_size_bytes_bucket{le=\"1048576\"} 400000\n");
    has(m, "t_size_bytes_sum 800000000\nt_size_bytes_count 400000\n");
    pr_metrics_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(starts_complete),
        cmocka_unit_test(values),
        cmocka_unit_test(threads_lose_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
