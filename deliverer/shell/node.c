/* The process. Start: journals (the lock proves that an earlier process is gone), workers, HTTP. A worker that has its old
 * results acknowledged, or that has ended, rings the main loop: old journals are removed when all have; the process ends
 * when all have. */
#include "deliverer/shell/node.h"

#include <stdio.h>

#include "common/base/alloc.h"
#include "common/http/http.h"
#include "common/net/clock.h"
#include "common/net/logfd.h"
#include "deliverer/shell/events.h"
#include "deliverer/shell/metrics.h"
#include "deliverer/shell/worker.h"

enum { LANES_MAX = 64, ALIVE_MS = 10000, BUS_IO_THREADS = 1 };

struct process {
    struct dlv_node node; /* first */
    struct pr_daemon *daemon;
    struct dlv_worker *workers[LANES_MAX];
    unsigned n;
    struct pr_http *http;
    uv_async_t async;
    bool stopping; /* atomic: probes read it */
};

/* --- HTTP --- */

static void on_metrics(void *data, const struct pr_http_request *req, struct pr_http_response *out)
{
    struct process *p = data;
    uint64_t lines[PR_LOG_LEVEL_NR], dropped;
    (void)req;
    pr_logfd_counts(p->node.log, lines, &dropped);
    for (unsigned i = 0; i < PR_LOG_LEVEL_NR; i++)
        pr_metric_set(p->node.metrics, DM_LOG_MESSAGES, i, 0, 0, (int64_t)lines[i]);
    pr_metric_set(p->node.metrics, DM_CONFIG_RELOADS, 1, 0, 0, (int64_t)pr_daemon_reload_failures(p->daemon));
    out->content_type = "text/plain; version=0.0.4; charset=utf-8";
    pr_metrics_render(p->node.metrics, &out->body);
}

static void on_livez(void *data, const struct pr_http_request *req, struct pr_http_response *out)
{
    const struct process *p = data;
    (void)req;
    for (unsigned i = 0; i < p->n; i++)
        if (!dlv_worker_alive(p->workers[i], ALIVE_MS)) {
            pr_http_error(out, 503, "stuck", "loop thread %u does not turn", i);
            return;
        }
    pr_buf_str(&out->body, "{\"status\":\"ok\"}\n");
}

static void on_readyz(void *data, const struct pr_http_request *req, struct pr_http_response *out)
{
    const struct process *p = data;
    unsigned registered = 0;
    for (unsigned i = 0; i < p->n; i++)
        registered += dlv_worker_registered(p->workers[i]);
    bool stopping = __atomic_load_n(&p->stopping, __ATOMIC_RELAXED);
    bool ready = registered == p->n && !stopping;
    if (pr_http_query(req, "verbose") != NULL) {
        out->status = ready ? 200 : 503;
        out->content_type = "text/plain; charset=utf-8";
        pr_buf_printf(&out->body, "[%s]registered %u of %u lanes\n[%s]not-stopping\n", registered == p->n ? "+" : "-",
                      registered, p->n, stopping ? "-" : "+");
    } else if (ready) {
        pr_buf_str(&out->body, "{\"status\":\"ready\"}\n");
    } else {
        out->status = 503;
        pr_buf_printf(&out->body, "{\"status\":\"unready\",\"reason\":\"%s\"}\n",
                      stopping ? "stopping" : "not registered with a scheduler");
    }
}

static const struct pr_http_route routes[] = {
    {"GET", "/metrics", on_metrics},
    {"GET", "/livez", on_livez},
    {"GET", "/readyz", on_readyz},
};

static int start_http(struct process *p)
{
    const struct pr_hostport *at = &p->node.config->admin.deliverer;
    struct pr_http_options o = {.unix_path = at->unix_path, .host = at->host, .port = at->port};
    char *text = NULL;
    int rc = pr_http_start(&o, routes, PR_ARRAY_LEN(routes), p, &p->http, &text);
    if (rc != 0)
        pr_error(p->node.log, EV_FAILED, PR_S("error", "the HTTP server cannot be started"),
                 PR_S("reason", text == NULL ? pr_strerror(rc) : text));
    pr_free(text);
    return rc;
}

/* --- life --- */

static unsigned lanes_wanted(const struct pr_config *c)
{
    unsigned cores = uv_available_parallelism();
    if (c->delivery.threads > 0)
        return PR_MIN(c->delivery.threads, (unsigned)LANES_MAX);
    return cores <= 2 ? 1 : PR_MIN(cores / 2, 4u);
}

/* Frees what is there; also after half a start. */
static void clear(struct process *p)
{
    pr_http_stop(p->http);
    p->http = NULL;
    for (unsigned i = 0; i < p->n; i++)
        dlv_worker_join(p->workers[i]);
    p->n = 0;
    pr_bus_ctx_free(p->node.bus);
    dlv_journal_dir_close(&p->node.journals);
    pr_metrics_free(p->node.metrics);
    pr_config_unref(p->node.config);
    pr_free(p->node.node_id);
}

static void on_event(uv_async_t *a)
{
    struct process *p = a->data;
    unsigned settled = 0, ended = 0;
    for (unsigned i = 0; i < p->n; i++) {
        settled += dlv_worker_settled(p->workers[i]);
        ended += dlv_worker_ended(p->workers[i]);
    }
    if (settled == p->n && p->n > 0)
        dlv_journal_dir_forget(&p->node.journals);
    if (!p->stopping || ended < p->n || uv_is_closing((uv_handle_t *)a))
        return;
    uv_close((uv_handle_t *)a, NULL);
    clear(p);
    pr_daemon_stopped(p->daemon, 0);
}

static void on_worker_event(struct dlv_node *node)
{
    struct process *p = pr_container_of(node, struct process, node);
    if (!uv_is_closing((uv_handle_t *)&p->async))
        (void)uv_async_send(&p->async);
}

static int start_workers(struct process *p)
{
    unsigned lanes = lanes_wanted(p->node.config);
    for (unsigned i = 0; i < lanes; i++) {
        int rc = dlv_worker_start(&p->node, i, lanes, &p->workers[i]);
        if (rc != 0) {
            pr_error(p->node.log, EV_FAILED, PR_S("error", "a lane cannot be started"), PR_S("reason", pr_strerror(rc)));
            return rc;
        }
        p->n++;
    }
    return 0;
}

static void note_config(struct process *p)
{
    pr_metric_set(p->node.metrics, DM_CONFIG_TIME, 0, 0, 0, (int64_t)(pr_clock_now().wall.ms / 1000));
}

static int on_start(struct pr_daemon *d, void *data)
{
    struct process *p = data;
    p->daemon = d;
    p->node.log = pr_daemon_log(d);
    p->node.config = pr_config_ref(pr_daemon_config(d));
    p->node.node_id = pr_strdup(p->node.config->hostname);
    p->node.metrics = dm_metrics_new();
    note_config(p);
    p->node.on_worker_event = on_worker_event;
    p->node.journals.lock_fd = -1;
    pr_random_bytes(&p->node.boot_id, sizeof p->node.boot_id);
    p->node.boot_id |= 1; /* never 0 */
    if (dlv_journal_dir_open(p->node.config->data_dir, p->node.log, &p->node.journals) != 0)
        return 1;
    p->node.bus = pr_bus_ctx_new(BUS_IO_THREADS);
    (void)uv_async_init(pr_daemon_loop(d), &p->async, on_event);
    p->async.data = p;
    if (start_workers(p) != 0 || start_http(p) != 0) {
        for (unsigned i = 0; i < p->n; i++)
            dlv_worker_stop(p->workers[i]);
        uv_close((uv_handle_t *)&p->async, NULL);
        clear(p);
        return 1;
    }
    (void)uv_async_send(&p->async); /* nothing may have been left over */
    pr_info(p->node.log, EV_READY, PR_U("lanes", p->n), PR_S("bus", p->node.config->bus.address),
            PR_U("connections_max", p->node.config->delivery.connections_max));
    return 0;
}

static void on_reload(struct pr_daemon *d, struct pr_config *config, void *data)
{
    struct process *p = data;
    (void)d;
    for (unsigned i = 0; i < p->n; i++)
        dlv_worker_reload(p->workers[i], config);
    pr_metric_inc1(p->node.metrics, DM_CONFIG_RELOADS, 0);
    note_config(p);
}

static void on_stop(struct pr_daemon *d, void *data)
{
    struct process *p = data;
    (void)d;
    pr_info(p->node.log, EV_STOPPING, PR_U("lanes", p->n));
    __atomic_store_n(&p->stopping, true, __ATOMIC_RELAXED);
    for (unsigned i = 0; i < p->n; i++)
        dlv_worker_stop(p->workers[i]);
    (void)uv_async_send(&p->async);
}

int dlv_node_run(int argc, char **argv)
{
    static const struct pr_daemon_ops ops = {.start = on_start, .reload = on_reload, .stop = on_stop};
    struct process p = {.n = 0};
    return pr_daemon_main(argc, argv, "postrider-deliverer", &ops, &p);
}
