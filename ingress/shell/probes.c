/* /livez, /readyz, /metrics. They read what the workers publish and take no lock that a message could wait for. */
#include "common/base/alloc.h"
#include "common/net/logfd.h"
#include "ingress/shell/node_internal.h"

enum { ALIVE_MS = 10000 };

static bool threads_alive(const struct node *n)
{
    for (unsigned i = 0; i < n->n_workers; i++)
        if (!worker_alive(n->workers[i], ALIVE_MS))
            return false;
    return true;
}

static bool intake_open(const struct node *n)
{
    for (unsigned i = 0; i < n->n_workers; i++)
        if (atomic_load(&worker_state(n->workers[i])->intake) != ING_INTAKE_OPEN)
            return false;
    return true;
}

static bool listening(const struct node *n)
{
    for (unsigned i = 0; i < n->n_workers; i++)
        if (!atomic_load(&worker_state(n->workers[i])->listening))
            return false;
    return true;
}

static bool not_stopping(const struct node *n)
{
    return !atomic_load(&n->stopping);
}

static bool memory_left(const struct node *n)
{
    return !budget_full(&n->shared.budget);
}

static const struct check {
    const char *name, *reason;
    bool (*ok)(const struct node *n);
} checks[] = {
    {"threads-alive", "stuck", threads_alive},
    {"not-stopping", "stopping", not_stopping},
    {"queue-reachable", "no_leader", intake_open},
    {"listening", "not_listening", listening},
    {"memory", "memory", memory_left},
};

static void on_livez(void *data, const struct pr_http_request *req, struct pr_http_response *out)
{
    (void)req;
    if (!threads_alive(data)) {
        pr_http_error(out, 503, "stuck", "a loop thread has not turned for %d s", ALIVE_MS / 1000);
        return;
    }
    out->content_type = "text/plain; charset=utf-8";
    pr_buf_str(&out->body, "ok\n");
}

static void verbose(const struct node *n, struct pr_http_response *out)
{
    out->content_type = "text/plain; charset=utf-8";
    for (size_t i = 0; i < PR_ARRAY_LEN(checks); i++) {
        bool ok = checks[i].ok(n);
        pr_buf_printf(&out->body, "[%c]%s %s\n", ok ? '+' : '-', checks[i].name, ok ? "ok" : checks[i].reason);
    }
}

static void on_readyz(void *data, const struct pr_http_request *req, struct pr_http_response *out)
{
    const struct node *n = data;
    const char *reason = NULL;
    for (size_t i = 0; i < PR_ARRAY_LEN(checks) && reason == NULL; i++)
        if (!checks[i].ok(n))
            reason = checks[i].reason;
    out->status = reason == NULL ? 200 : 503;
    if (pr_http_query(req, "verbose") != NULL) {
        verbose(n, out);
    } else if (reason == NULL) {
        out->content_type = "text/plain; charset=utf-8";
        pr_buf_str(&out->body, "ok\n");
    } else {
        pr_buf_printf(&out->body, "{\"ready\":false,\"reason\":\"%s\"}\n", reason);
    }
}

static void on_metrics(void *data, const struct pr_http_request *req, struct pr_http_response *out)
{
    const struct node *n = data;
    struct pr_metrics *m = n->shared.metrics;
    uint64_t levels[PR_LOG_LEVEL_NR], dropped;
    (void)req;
    pr_logfd_counts(n->shared.log, levels, &dropped);
    for (unsigned i = 0; i < PR_LOG_LEVEL_NR; i++)
        pr_metric_set(m, IM_LOG_MESSAGES, i, 0, 0, (int64_t)levels[i]);
    pr_metric_set(m, IM_LOG_DROPPED, 0, 0, 0, (int64_t)dropped);
    pr_metric_set(m, IM_MEMORY, 0, 0, 0, (int64_t)budget_used(&n->shared.budget));
    pr_metric_set(m, IM_CONFIG_RELOADS, 1, 0, 0, (int64_t)pr_daemon_reload_failures(n->daemon) + atomic_load(&n->policy_failures));
    out->content_type = "text/plain; version=0.0.4; charset=utf-8";
    pr_metrics_render(m, &out->body);
}

const struct pr_http_route node_routes[] = {
    {"GET", "/livez", on_livez},
    {"GET", "/readyz", on_readyz},
    {"GET", "/metrics", on_metrics},
};
const size_t node_n_routes = PR_ARRAY_LEN(node_routes);
