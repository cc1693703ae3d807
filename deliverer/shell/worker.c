/* A lane's thread.
 *
 * Every callback leaves its traces in the lane and touches the worker; at the end of the turn (the prepare handle, before
 * the loop sleeps) the lane says what to do, what is owed to the scheduler goes out in batches, and the one timer is set.
 *
 * Stopping: 1. drained: unstarted jobs go back at once, nothing new starts. 2. Running transactions end, at most
 * STOP_RUNNING_MS. 3. Acknowledgements of their results, at most STOP_ACKS_MS. 4. What is left is cut; sockets, resolver
 * and handles close; the loop ends by itself. */
#include "common/base/alloc.h"
#include "common/base/assert.h"
#include "deliverer/shell/worker_internal.h"

enum { SECOND_MS = 1000, DNS_TIMEOUT_MS = 5000, DNS_TRIES = 2, DNS_CACHE = 20000 };

static void on_idle(uv_idle_t *h)
{
    (void)h; /* the turn does it */
}

static void on_timer(uv_timer_t *t)
{
    (void)t; /* the turn does it */
}

void worker_touch(struct dlv_worker *w)
{
    /* While an idle handle is active the loop does not sleep: the turn comes round to the prepare handle. */
    if (!w->closing)
        (void)uv_idle_start(&w->idle, on_idle);
}

static void perform(struct dlv_worker *w, const struct dlv_lane_action *a)
{
    struct conn *c = a->conn == NULL ? NULL : pr_container_of(a->conn, struct conn, core);
    switch (a->type) {
    case DLV_LANE_OPEN:
        conn_open(w, a->dest);
        break;
    case DLV_LANE_GIVE:
        conn_give(c, job_of(a->job));
        break;
    case DLV_LANE_QUIT:
        conn_quit(c);
        break;
    case DLV_LANE_ABORT:
        conn_abort(c);
        break;
    }
}

static void run_timers(struct dlv_worker *w, pr_mono now)
{
    struct pr_timer *t;
    while ((t = pr_timerq_pop(&w->timers, now.ms)) != NULL)
        conn_timer(pr_container_of(t, struct conn, timer), now);
    if (now.ms >= dlv_lane_deadline(w->lane).ms)
        dlv_lane_tick(w->lane, now);
    link_tick(w, now);
    if (now.ms < w->next_second.ms)
        return;
    w->next_second = pr_mono_add(now, SECOND_MS);
    fetch_tick(w, now);
    report_gauges(w);
}

static void set_timer(struct dlv_worker *w, pr_mono now)
{
    uint64_t due = PR_MIN(pr_timerq_next(&w->timers), dlv_lane_deadline(w->lane).ms);
    due = PR_MIN(due, PR_MIN(w->next_heartbeat.ms, w->next_second.ms));
    due = PR_MIN(due, w->registered ? w->next_bulk_hello.ms : w->next_hello.ms);
    if (uv_is_active((uv_handle_t *)&w->timer) && w->timer_due.ms <= due && w->timer_due.ms > now.ms)
        return;
    w->timer_due.ms = due;
    (void)uv_timer_start(&w->timer, on_timer, due > now.ms ? due - now.ms : 1, 0);
}

/* --- stopping --- */

static void drop_jobs(struct dlv_worker *w)
{
    struct dlv_job *job;
    while ((job = dlv_lane_next_return(w->lane)) != NULL)
        job_free(w, job_of(job));
    for (uint32_t shard = 0; shard < 64; shard++)
        while ((job = dlv_lane_shard_next(w->lane, shard, NULL)) != NULL) {
            struct dlv_job *same = dlv_lane_ack(w->lane, shard, &job->ref);
            pr_assert(same == job);
            /* An unacknowledged outcome stays in the journal for the next process. */
            job_of(job)->journal_slot = DLV_JOURNAL_NO_SLOT;
            job_free(w, job_of(job));
        }
}

static void on_handle_closed(uv_handle_t *h)
{
    struct dlv_worker *w = h->data;
    w->handles--;
}

static void on_resolver_closed(void *data)
{
    struct dlv_worker *w = data;
    w->resolver_open = false;
}

static void cut_all(struct dlv_worker *w)
{
    struct pr_list *it, *tmp;
    pr_list_foreach(it, tmp, &w->conns) conn_abort(pr_list_entry(it, struct conn, link));
}

static void close_all(struct dlv_worker *w)
{
    cut_all(w);
    link_flush(w, pr_clock_now().mono);
    w->closing = true;
    link_close(w);
    pr_resolver_close(w->resolver, on_resolver_closed, w);
    uv_close((uv_handle_t *)&w->idle, on_handle_closed);
    uv_close((uv_handle_t *)&w->timer, on_handle_closed);
    /* The prepare handle goes last: it buries the connections. */
}

static void on_end(uv_handle_t *h)
{
    struct dlv_worker *w = h->data;
    w->handles--;
    __atomic_store_n(&w->has_ended, true, __ATOMIC_RELEASE);
    w->node->on_worker_event(w->node);
}

static void finish_closing(struct dlv_worker *w)
{
    conns_bury(w);
    if (pr_list_empty(&w->conns) && w->buses == 0 && !w->resolver_open && w->handles == 1 &&
        !uv_is_closing((uv_handle_t *)&w->prepare))
        uv_close((uv_handle_t *)&w->prepare, on_end);
}

static void maybe_stopped(struct dlv_worker *w, pr_mono now)
{
    struct dlv_lane_counts c;
    if (!w->stopping || w->closing)
        return;
    dlv_lane_count(w->lane, &c);
    bool running = c.started > 0 && now.ms < w->stop_deadline.ms;
    if (running)
        return;
    if (w->drained_at.ms == 0)
        w->drained_at = now;
    bool acks = c.done > 0 && w->registered && pr_mono_since(now, w->drained_at) < STOP_ACKS_MS;
    bool goodbyes = c.connections > 0 && pr_mono_since(now, w->drained_at) < SECOND_MS;
    if (!acks && !goodbyes)
        close_all(w);
}

static void on_turn(uv_prepare_t *p)
{
    struct dlv_worker *w = p->data;
    struct dlv_lane_action a;
    pr_mono now = pr_clock_now().mono;
    if (w->closing) {
        finish_closing(w);
        return;
    }
    (void)uv_idle_stop(&w->idle);
    run_timers(w, now);
    conns_bury(w);
    while (dlv_lane_next(w->lane, &a, now))
        perform(w, &a);
    link_flush(w, now);
    maybe_stopped(w, now);
    if (!w->closing)
        set_timer(w, now);
}

/* --- life --- */

static void on_query(void *data, const char *type, enum pr_dns_status status, uint64_t duration_us)
{
    struct dlv_worker *w = data;
    unsigned t = type[0] == 'M' || type[0] == 'm' ? 2 : strlen(type) > 1 ? 1 : 0;
    pr_metric_inc2(w->node->metrics, DM_DNS_QUERIES, t, (unsigned)status);
    pr_metric_observe(w->node->metrics, DM_DNS_DURATION, t, 0, 0, duration_us);
}

static int open_resolver(struct dlv_worker *w)
{
    const struct pr_config *c = w->set->config;
    char *text = NULL;
    struct pr_resolver_options o = {
        .servers = (const char *const *)c->delivery.dns_servers,
        .n_servers = c->delivery.n_dns_servers,
        .ttl_min_ms = c->delivery.dns_ttl_min_ms,
        .ttl_max_ms = c->delivery.dns_ttl_max_ms,
        .negative_ttl_max_ms = c->delivery.dns_negative_ttl_max_ms,
        .timeout_ms = DNS_TIMEOUT_MS,
        .tries = DNS_TRIES,
        .cache_entries = DNS_CACHE,
        .on_query = on_query,
        .on_query_data = w,
    };
    int rc = pr_resolver_new(w->loop, &o, &w->resolver, &text);
    if (rc != 0)
        pr_error(w->node->log, EV_FAILED, PR_S("error", "the resolver cannot be set up"),
                 PR_S("reason", text == NULL ? pr_strerror(rc) : text));
    w->resolver_open = rc == 0;
    pr_free(text);
    return rc;
}

static void init_handles(struct dlv_worker *w)
{
    (void)uv_prepare_init(w->loop, &w->prepare);
    (void)uv_idle_init(w->loop, &w->idle);
    (void)uv_timer_init(w->loop, &w->timer);
    w->prepare.data = w->idle.data = w->timer.data = w;
    w->handles = 3;
    (void)uv_prepare_start(&w->prepare, on_turn);
}

static void close_early(struct dlv_worker *w)
{
    w->closing = true;
    link_close(w);
    if (w->resolver_open)
        pr_resolver_close(w->resolver, on_resolver_closed, w);
    uv_close((uv_handle_t *)&w->prepare, on_handle_closed);
    uv_close((uv_handle_t *)&w->idle, on_handle_closed);
    uv_close((uv_handle_t *)&w->timer, on_handle_closed);
}

static int on_start(struct pr_worker *thread, uv_loop_t *loop, void *data)
{
    struct dlv_worker *w = data;
    (void)thread;
    w->loop = loop;
    pr_mono now = pr_clock_now().mono;
    init_handles(w);
    int rc = open_resolver(w);
    if (rc == 0)
        rc = link_open(w);
    if (rc != 0) {
        close_early(w);
        return rc;
    }
    pr_timerq_init(&w->timers, now.ms);
    w->lane = dlv_lane_new(&w->set->lane, now);
    jobs_left_over(w);
    pr_metric_add(w->node->metrics, DM_CAPACITY, 0, 0, 0, w->set->lane.connections_max);
    worker_touch(w);
    return 0;
}

static void on_post(struct pr_worker *thread, void *item, void *data)
{
    struct dlv_worker *w = data;
    struct pr_config *config = item;
    struct settings *set;
    (void)thread;
    if (settings_new(config, w->lanes, w->node->log, &set) == 0) {
        pr_metric_add(w->node->metrics, DM_CAPACITY, 0, 0, 0,
                      (int64_t)set->lane.connections_max - (int64_t)w->set->lane.connections_max);
        settings_unref(w->set);
        w->set = set;
        dlv_lane_configure(w->lane, &set->lane);
    }
    pr_config_unref(config);
    worker_touch(w);
}

static void on_stop(struct pr_worker *thread, void *data)
{
    struct dlv_worker *w = data;
    (void)thread;
    if (w->stopping)
        return;
    w->stopping = true;
    w->stop_deadline = pr_mono_add(pr_clock_now().mono, STOP_RUNNING_MS);
    dlv_lane_drain(w->lane, pr_clock_now().mono);
    worker_touch(w);
}

int dlv_worker_start(struct dlv_node *node, unsigned index, unsigned lanes, struct dlv_worker **ret)
{
    static const struct pr_worker_ops ops = {.start = on_start, .post = on_post, .stop = on_stop};
    struct dlv_worker *w = pr_new(struct dlv_worker);
    char name[16] = "lane 0";
    name[5] = (char)('0' + index % 10);
    w->node = node;
    w->index = index;
    w->lanes = lanes;
    pr_list_init(&w->conns);
    pr_list_init(&w->graves);
    pr_list_init(&w->fetches);
    pr_rng_init(&w->rng, pr_random_seed());
    dlv_dead_init(&w->dead);
    int rc = settings_new(node->config, lanes, node->log, &w->set);
    if (rc == 0)
        rc = dlv_journal_file_open(&node->journals, node->boot_id, index, w->set->lane.jobs_max, &w->journal);
    if (rc == 0)
        rc = pr_worker_start(&ops, w, name, &w->thread);
    if (rc != 0) {
        dlv_journal_file_close(&w->journal);
        settings_unref(w->set);
        pr_free(w);
        return rc;
    }
    *ret = w;
    return 0;
}

void dlv_worker_reload(struct dlv_worker *w, struct pr_config *config)
{
    if (pr_worker_post(w->thread, pr_config_ref(config)) != 0)
        pr_config_unref(config);
}

void dlv_worker_stop(struct dlv_worker *w)
{
    pr_worker_stop(w->thread);
}

void dlv_worker_join(struct dlv_worker *w)
{
    pr_worker_join(w->thread);
    drop_jobs(w);
    dlv_lane_free(w->lane);
    dlv_journal_file_close(&w->journal);
    settings_unref(w->set);
    pr_buf_fini(&w->send);
    pr_buf_fini(&w->header);
    pr_free(w);
}

bool dlv_worker_alive(const struct dlv_worker *w, uint64_t max_age_ms)
{
    return pr_worker_alive(w->thread, max_age_ms);
}

bool dlv_worker_registered(const struct dlv_worker *w)
{
    return __atomic_load_n(&w->is_registered, __ATOMIC_ACQUIRE);
}

bool dlv_worker_settled(const struct dlv_worker *w)
{
    return __atomic_load_n(&w->is_settled, __ATOMIC_ACQUIRE);
}

bool dlv_worker_ended(const struct dlv_worker *w)
{
    return __atomic_load_n(&w->has_ended, __ATOMIC_ACQUIRE);
}
