/* A turn of the loop: sockets and bus are read (connection.c, spool.c), then, before the loop sleeps, memory that became
 * free is offered to those that wait for it, what was gathered for the queue goes out, and the timer is set to the next
 * deadline.
 *
 * Listening begins when a shard leader is known for the first time: before that no message could be taken.
 *
 * Drain: doors close, sessions hear SHUTDOWN and end by themselves; what is left at the deadline is cut. Stop: everything
 * is cut, then the spool closes, then the handles; the loop ends when none is left. */
#include "ingress/shell/worker.h"

#include <stdio.h>

#include "common/base/alloc.h"
#include "common/net/clock.h"
#include "ingress/shell/worker_internal.h"

enum { TICK_MS = 100 };

enum post_kind { POST_POLICY, POST_DRAIN };
struct post {
    enum post_kind kind;
    struct policy *policy;
    uint64_t deadline_ms;
};

/* ---- the turn ---- */

static void arm_timer(struct worker *w);

static void on_timer(uv_timer_t *t)
{
    struct worker *w = t->data;
    w->timer_due = UINT64_MAX;
    connections_expire(w);
}

static void arm_timer(struct worker *w)
{
    uint64_t due = pr_timerq_next(&w->timers);
    if (due == w->timer_due)
        return;
    w->timer_due = due;
    if (due == UINT64_MAX) {
        uv_timer_stop(&w->timer);
        return;
    }
    uint64_t now = pr_clock_now().mono.ms;
    uv_update_time(w->loop);
    uv_timer_start(&w->timer, on_timer, due > now ? due - now : 0, 0);
}

static void on_prepare(uv_prepare_t *p)
{
    struct worker *w = p->data;
    connections_feed(w);
    spool_flush(w->spool);
    arm_timer(w);
}

static void publish(struct worker *w)
{
    atomic_store_explicit(&w->state.pending, spool_pending(w->spool), memory_order_relaxed);
    atomic_store_explicit(&w->state.oldest_us, spool_oldest_us(w->spool), memory_order_relaxed);
    atomic_store_explicit(&w->state.connections, w->n_connections, memory_order_relaxed);
}

static void on_tick(uv_timer_t *t)
{
    struct worker *w = t->data;
    spool_tick(w->spool);
    publish(w);
    if (w->draining && !w->stopping && pr_clock_now().mono.ms >= w->drain_until.ms)
        connections_cut(w);
}

static void on_intake(void *data, enum ing_intake intake)
{
    struct worker *w = data;
    atomic_store(&w->state.intake, (int)intake);
    if (intake == ING_INTAKE_NO_LEADER || w->may_listen)
        return;
    w->may_listen = true;
    if (!w->draining)
        doors_update(w);
}

/* ---- posts ---- */

static void set_policy(struct worker *w, struct policy *p)
{
    policy_unref(w->policy);
    w->policy = p;
    if (w->may_listen && !w->draining)
        doors_update(w);
}

static void drain(struct worker *w, uint64_t deadline_ms)
{
    w->draining = true;
    w->drain_until = (pr_mono){deadline_ms};
    doors_close(w);
    connections_shutdown(w);
    worker_maybe_stopped(w);
}

static void on_post(struct pr_worker *thread, void *item, void *data)
{
    struct worker *w = data;
    struct post *p = item;
    (void)thread;
    if (p->kind == POST_POLICY)
        set_policy(w, p->policy);
    else
        drain(w, p->deadline_ms);
    pr_free(p);
}

static void post(struct worker *w, struct post p)
{
    struct post *item = pr_memdup(&p, sizeof p);
    if (pr_worker_post(w->thread, item) == 0)
        return;
    policy_unref(item->policy);
    pr_free(item);
}

/* ---- life ---- */

static void on_spool_closed(void *data)
{
    struct worker *w = data;
    w->spool = NULL;
    worker_maybe_stopped(w);
}

static void close_handles(struct worker *w)
{
    if (uv_is_closing((uv_handle_t *)&w->timer))
        return;
    uv_close((uv_handle_t *)&w->timer, NULL);
    uv_close((uv_handle_t *)&w->tick, NULL);
    uv_close((uv_handle_t *)&w->prepare, NULL);
}

void worker_maybe_stopped(struct worker *w)
{
    if (!w->draining || w->n_connections > 0 || w->n_doors > 0)
        return;
    if (!atomic_exchange(&w->state.drained, true))
        w->shared->on_drained(w->shared->data);
    if (!w->stopping)
        return;
    if (!w->spool_closing) {
        w->spool_closing = true;
        uv_prepare_stop(&w->prepare);
        uv_timer_stop(&w->tick);
        uv_timer_stop(&w->timer);
        spool_close(w->spool, on_spool_closed, w);
    } else if (w->spool == NULL) {
        close_handles(w);
    }
}

static void on_stop(struct pr_worker *thread, void *data)
{
    struct worker *w = data;
    (void)thread;
    w->stopping = true;
    w->draining = true;
    doors_close(w);
    connections_cut(w);
    worker_maybe_stopped(w);
}

static int open_spool(struct worker *w)
{
    const struct shared *sh = w->shared;
    struct spool_options o = {
        .ctx = sh->bus,
        .address = w->policy->config->bus.address,
        .bulk_address = w->policy->config->bus.bulk_address,
        .node_id = sh->node_id,
        .boot_id = sh->boot_id,
        .lane = w->index,
        .budget = (struct budget *)(uintptr_t)&sh->budget,
        .metrics = sh->metrics,
        .log = sh->log,
        .owner = &connection_spool_owner,
        .on_intake = on_intake,
        .data = w,
    };
    return spool_new(w->loop, &o, &w->spool);
}

static int on_start(struct pr_worker *thread, uv_loop_t *loop, void *data)
{
    struct worker *w = data;
    (void)thread;
    w->loop = loop;
    pr_timerq_init(&w->timers, pr_clock_now().mono.ms);
    uv_timer_init(loop, &w->timer);
    uv_timer_init(loop, &w->tick);
    uv_prepare_init(loop, &w->prepare);
    w->timer.data = w->tick.data = w->prepare.data = w;
    w->timer_due = UINT64_MAX;
    /* Started before the bus is, so it runs after it: answers that come in this turn are part of the flush. */
    uv_prepare_start(&w->prepare, on_prepare);
    uv_timer_start(&w->tick, on_tick, 0, TICK_MS);
    int rc = open_spool(w);
    if (rc != 0)
        close_handles(w);
    return rc;
}

int worker_start(const struct shared *shared, struct policy *policy, uint32_t index, struct worker **ret)
{
    static const struct pr_worker_ops ops = {.start = on_start, .post = on_post, .stop = on_stop};
    struct worker *w = pr_new(struct worker);
    char name[16];
    w->shared = shared;
    w->index = index;
    w->policy = policy_ref(policy);
    atomic_init(&w->state.intake, ING_INTAKE_NO_LEADER);
    pr_list_init(&w->listeners);
    pr_list_init(&w->connections);
    pr_list_init(&w->starved);
    (void)snprintf(name, sizeof name, "ingress-%u", index);
    int rc = pr_worker_start(&ops, w, name, &w->thread);
    if (rc != 0) {
        policy_unref(w->policy);
        pr_free(w);
        return rc;
    }
    *ret = w;
    return 0;
}

void worker_set_policy(struct worker *w, struct policy *policy)
{
    post(w, (struct post){.kind = POST_POLICY, .policy = policy_ref(policy)});
}

void worker_drain(struct worker *w, uint64_t deadline_ms)
{
    post(w, (struct post){.kind = POST_DRAIN, .deadline_ms = deadline_ms});
}

void worker_stop(struct worker *w)
{
    pr_worker_stop(w->thread);
}

void worker_join(struct worker *w)
{
    pr_worker_join(w->thread);
    policy_unref(w->policy);
    pr_free(w);
}

const struct worker_state *worker_state(const struct worker *w)
{
    return &w->state;
}

bool worker_alive(const struct worker *w, uint64_t max_age_ms)
{
    return pr_worker_alive(w->thread, max_age_ms);
}
