/* The process: starts the workers, gives them each new configuration, watches and ends them.
 *
 * Stop: /readyz says 503, the workers drain (at most DRAIN_MS), then they are stopped and joined, then the rest goes. */
#include "ingress/shell/node.h"

#include <unistd.h>

#include "common/base/alloc.h"
#include "common/net/clock.h"
#include "common/net/logfd.h"
#include "ingress/shell/node_internal.h"

enum { DRAIN_MS = 30000, SECOND_MS = 1000, WORKERS_DEFAULT_MAX = 4, SLOW_COMMIT_US = 1000000 };

/* ---- watching ---- */

static void set_pressure(struct node *n, enum im_pressure reason, bool on)
{
    pr_metric_set(n->shared.metrics, IM_BACKPRESSURE, reason, 0, 0, on);
}

static void watch_pressure(struct node *n)
{
    bool no_leader = false, refused = false, disk = false, slow = false;
    int64_t pending = 0;
    for (unsigned i = 0; i < n->n_workers; i++) {
        const struct worker_state *s = worker_state(n->workers[i]);
        int intake = atomic_load(&s->intake);
        no_leader |= intake == ING_INTAKE_NO_LEADER;
        refused |= intake == ING_INTAKE_REFUSED;
        disk |= intake == ING_INTAKE_DISK_FULL;
        slow |= atomic_load_explicit(&s->oldest_us, memory_order_relaxed) > SLOW_COMMIT_US;
        pending += (int64_t)atomic_load_explicit(&s->pending, memory_order_relaxed);
    }
    set_pressure(n, IM_PRESSURE_NO_LEADER, no_leader);
    set_pressure(n, IM_PRESSURE_QUEUE_LIMIT, refused);
    set_pressure(n, IM_PRESSURE_DISK, disk);
    set_pressure(n, IM_PRESSURE_SLOW, slow);
    set_pressure(n, IM_PRESSURE_MEMORY, budget_full(&n->shared.budget));
    pr_metric_set(n->shared.metrics, IM_PENDING, 0, 0, 0, pending);
}

static void on_second(uv_timer_t *t)
{
    watch_pressure(t->data);
}

/* ---- stop ---- */

static void join_workers(struct node *n)
{
    for (unsigned i = 0; i < n->n_workers; i++)
        worker_stop(n->workers[i]);
    for (unsigned i = 0; i < n->n_workers; i++)
        worker_join(n->workers[i]);
    n->n_workers = 0;
}

static void release(struct node *n)
{
    pr_http_stop(n->http);
    join_workers(n);
    policy_unref(n->policy);
    pr_bus_ctx_free(n->shared.bus);
    limits_free(n->shared.limits);
    im_table_free(n->shared.table);
    pr_free(n->node_id);
}

static void end(struct node *n)
{
    n->ended = true;
    uv_close((uv_handle_t *)&n->wake, NULL);
    uv_close((uv_handle_t *)&n->timer, NULL);
    release(n);
    pr_info(n->shared.log, "stopped");
    pr_daemon_stopped(n->daemon, atomic_load(&n->failed) ? 1 : 0);
}

static bool all_drained(const struct node *n)
{
    for (unsigned i = 0; i < n->n_workers; i++)
        if (!atomic_load(&worker_state(n->workers[i])->drained))
            return false;
    return true;
}

static void begin_stop(struct node *n)
{
    uint64_t until = pr_clock_now().mono.ms + DRAIN_MS;
    if (atomic_exchange(&n->stopping, true))
        return;
    for (unsigned i = 0; i < n->n_workers; i++)
        worker_drain(n->workers[i], until);
}

static void on_wake(uv_async_t *a)
{
    struct node *n = a->data;
    if (n->ended)
        return;
    if (atomic_load(&n->failed))
        begin_stop(n);
    if (atomic_load(&n->stopping) && all_drained(n))
        end(n);
}

/* From a worker. */
static void on_failed(void *data)
{
    struct node *n = data;
    atomic_store(&n->failed, true);
    (void)uv_async_send(&n->wake);
}

static void on_drained(void *data)
{
    struct node *n = data;
    (void)uv_async_send(&n->wake);
}

/* ---- start ---- */

static unsigned count_workers(const struct pr_config *c)
{
    if (c->ingress.threads > 0)
        return c->ingress.threads;
    /* Two cores are shared with the queue and the deliverer. */
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    long n = cores / 2;
    return (unsigned)(n < 1 ? 1 : n > WORKERS_DEFAULT_MAX ? WORKERS_DEFAULT_MAX : n);
}

static int start_http(struct node *n)
{
    const struct pr_hostport *at = &n->policy->config->admin.ingress;
    struct pr_http_options o = {.unix_path = at->unix_path, .host = at->host, .port = at->port, .threads = 2};
    char *text = NULL;
    int rc = pr_http_start(&o, node_routes, node_n_routes, n, &n->http, &text);
    if (rc != 0)
        pr_error(n->shared.log, "http_failed", PR_S("error", text == NULL ? pr_strerror(rc) : text));
    pr_free(text);
    return rc;
}

static int start_workers(struct node *n)
{
    unsigned count = PR_MIN(count_workers(n->policy->config), (unsigned)NODE_WORKERS_MAX);
    for (unsigned i = 0; i < count; i++) {
        int rc = worker_start(&n->shared, n->policy, i, &n->workers[i]);
        if (rc != 0)
            return rc;
        n->n_workers++;
    }
    return 0;
}

static void config_loaded(struct node *n)
{
    pr_metric_set(n->shared.metrics, IM_CONFIG_TIME, 0, 0, 0, (int64_t)(pr_clock_now().wall.ms / 1000));
    budget_set_limit(&n->shared.budget, n->policy->config->ingress.memory_bytes);
}

static void make_shared(struct node *n, struct pr_config *config)
{
    struct pr_buf id = {NULL, 0, 0};
    pr_buf_printf(&id, "%s/ingress", config->hostname);
    n->node_id = pr_buf_steal(&id, NULL);
    n->shared = (struct shared){
        .log = pr_daemon_log(n->daemon),
        .table = im_table_new(config),
        .bus = pr_bus_ctx_new(1),
        .limits = limits_new(pr_random_seed()),
        .node_id = pr_slice_str(n->node_id),
        .boot_id = pr_random_seed() | 1,
        .on_failed = on_failed,
        .on_drained = on_drained,
        .data = n,
    };
    n->shared.metrics = im_metrics(n->shared.table);
}

static int start(struct pr_daemon *d, void *data)
{
    struct node *n = data;
    struct pr_config *config = pr_daemon_config(d);
    n->daemon = d;
    make_shared(n, config);
    (void)uv_async_init(pr_daemon_loop(d), &n->wake, on_wake);
    (void)uv_timer_init(pr_daemon_loop(d), &n->timer);
    n->wake.data = n->timer.data = n;
    int rc = policy_new(config, NULL, n->shared.table, n->shared.log, &n->policy);
    if (rc == 0) {
        config_loaded(n);
        rc = start_workers(n);
    }
    if (rc == 0)
        rc = start_http(n);
    if (rc != 0) {
        uv_close((uv_handle_t *)&n->wake, NULL);
        uv_close((uv_handle_t *)&n->timer, NULL);
        release(n);
        return rc;
    }
    (void)uv_timer_start(&n->timer, on_second, SECOND_MS, SECOND_MS);
    pr_info(n->shared.log, "started", PR_U("threads", n->n_workers), PR_S("bus", config->bus.address));
    return 0;
}

static void reload(struct pr_daemon *d, struct pr_config *config, void *data)
{
    struct node *n = data;
    struct policy *p;
    (void)d;
    if (policy_new(config, n->policy, n->shared.table, n->shared.log, &p) != 0) {
        atomic_fetch_add(&n->policy_failures, 1);
        return;
    }
    policy_unref(n->policy);
    n->policy = p;
    config_loaded(n);
    for (unsigned i = 0; i < n->n_workers; i++)
        worker_set_policy(n->workers[i], p);
    pr_metric_inc1(n->shared.metrics, IM_CONFIG_RELOADS, 0);
}

static void stop(struct pr_daemon *d, void *data)
{
    (void)d;
    begin_stop(data);
}

int ingress_run(int argc, char **argv)
{
    static const struct pr_daemon_ops ops = {.start = start, .reload = reload, .stop = stop};
    struct node node = {.http = NULL};
    return pr_daemon_main(argc, argv, "postrider-ingress", &ops, &node);
}
