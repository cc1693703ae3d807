/* The step function of a shard's scheduler: lifecycle, effects of applied entries, time. What the events do is in the file
 * of their noun: flow.c (rows in memory and on disk), dest.c (destinations, demand, brake), pick.c (what goes next),
 * issue.c, lane.c (credit, takeover, inventory), result.c (retry), flush.c, look.c. */
#include <string.h>

#include "scheduler/core/internal.h"

void sched_config_default(struct sched_config *c)
{
    static const unsigned minutes[] = {5, 10, 20, 40, 60, 60, 120, 240};
    *c = (struct sched_config){
        .n_retry = PR_ARRAY_LEN(minutes),
        .retry_jitter_percent = 25,
        .hold_time_ms = 15 * 60 * 1000,
        .flush_time_ms = 60 * 60 * 1000,
        .jobs_max = 256 * 1024,
        .inflight_max = 64 * 1024,
        .window_min = 16,
        .window_max = SCHED_SCAN_MAX,
        .class_weight = {[MAIL_CLASS_TRANSACTIONAL] = 16, [MAIL_CLASS_NORMAL] = 4, [MAIL_CLASS_BULK] = 1},
        .reserve_percent = 10,
        .reserve_from = 12,
        .poison_limit = 3,
        .seed = 1,
    };
    for (size_t i = 0; i < PR_ARRAY_LEN(minutes); i++)
        c->retry_ms[i] = minutes[i] * 60ULL * 1000;
}

void sched_configure(struct sched *s, const struct sched_config *config)
{
    pr_assert(config->n_retry >= 1 && config->n_retry <= SCHED_RETRY_MAX && config->retry_jitter_percent <= 100);
    pr_assert(config->window_min >= 1 && config->window_min <= config->window_max &&
              config->window_max <= SCHED_SCAN_MAX);
    for (int c = 0; c < MAIL_CLASS_NR; c++)
        pr_assert(config->class_weight[c] >= 1);
    s->cfg = *config;
    s->jobs.max = config->jobs_max;
}

static void state_init(struct sched *s)
{
    jobs_init(&s->jobs, s->cfg.jobs_max);
    pr_map_init(&s->flows, 0);
    pr_map_init(&s->queues, 0);
    pr_map_init(&s->tenants, s->cfg.seed);
    pr_map_init(&s->dest_names, s->cfg.seed);
    pr_map_init(&s->lanes_by_id, 0);
    pr_map_init(&s->lanes_by_holder, 0);
    pr_map_init(&s->credits, 0);
    pr_list_init(&s->lanes);
    pr_list_init(&s->dirty);
    pr_list_init(&s->quiet);
    pr_list_init(&s->idle);
    pr_list_init(&s->waiting);
    pr_list_init(&s->again);
    pr_list_init(&s->blocked);
    pr_list_init(&s->refused);
    pr_list_init(&s->quarantined);
    pr_list_init(&s->uncounted);
    s->count_from = (struct sched_key){0};
    memset(s->count, 0, sizeof s->count);
    s->active = s->n_cold = 0;
    s->rows = 0;
    s->n_issued = s->n_returned = s->n_released = s->n_evicted = s->n_unknown = 0;
    s->started = s->dispatching = s->freed = s->checking = false;
}

struct sched *sched_new(const struct sched_config *config, const struct sched_actions *actions, void *data)
{
    struct sched *s = pr_new(struct sched);
    s->act = actions;
    s->data = data;
    sched_configure(s, config);
    state_init(s);
    return s;
}

static void free_values(struct pr_map *m)
{
    size_t it = 0;
    void *v;
    while ((v = pr_map_next(m, &it, NULL)) != NULL)
        pr_free(v);
    pr_map_fini(m);
}

static void state_fini(struct sched *s)
{
    size_t it = 0;
    struct flow *f;
    while ((f = pr_map_next(&s->flows, &it, NULL)) != NULL) {
        flush_end(f);
        pr_free(f);
    }
    pr_map_fini(&s->flows);
    free_values(&s->queues);
    free_values(&s->credits);
    free_values(&s->lanes_by_holder);
    pr_map_fini(&s->lanes_by_id);
    pr_map_fini(&s->tenants);
    pr_map_fini(&s->dest_names);
    for (size_t i = 0; i < s->n_dests; i++) {
        if (s->dests[i] != NULL)
            pr_free(s->dests[i]->key);
        pr_free(s->dests[i]);
    }
    pr_free(s->dests);
    pr_free(s->free_ids);
    s->dests = NULL;
    s->free_ids = NULL;
    s->n_dests = s->cap_dests = s->live_dests = 0;
    jobs_fini(&s->jobs);
}

void sched_free(struct sched *s)
{
    if (s == NULL)
        return;
    state_fini(s);
    pr_free(s);
}

void sched_start(struct sched *s, struct pr_now now, uint64_t term)
{
    pr_assert(!s->started && term > s->term);
    s->started = true;
    s->now = now;
    s->term = term;
    s->attempt_seq = 0;
    pr_timerq_init(&s->due, now.wall.ms);
    pr_timerq_init(&s->mono, now.mono.ms);
    s->check_at = s->count_at = now.mono;
}

void sched_stop(struct sched *s)
{
    pr_assert(!s->in_step);
    state_fini(s);
    state_init(s);
}

void step_begin(struct sched *s, struct pr_now now)
{
    pr_assert(!s->in_step && s->started);
    s->in_step = true;
    s->now = now;
}

/* Each of those that wait now gets one turn; who still cannot go waits behind the mark. */
static void dispatch_waiting(struct sched *s, struct pr_list *list, int max)
{
    struct pr_list mark, *n;
    if (pr_list_empty(list))
        return;
    pr_list_push_back(list, &mark);
    for (int i = 0; i < max && list->next != &mark; i++) {
        n = pr_list_pop_front(list);
        dispatch(s, pr_list_entry(n, struct dest, waiting));
    }
    pr_list_remove(&mark);
}

void step_end(struct sched *s)
{
    if (s->freed)
        dispatch_waiting(s, &s->waiting, SCHED_STEP_WAITING);
    s->freed = false;
    demand_flush(s);
    s->in_step = false;
}

void sched_leases_done(struct sched *s, struct pr_now now)
{
    step_begin(s, now);
    s->dispatching = true;
    step_end(s);
}

void sched_flow_added(struct sched *s, struct pr_now now, const struct sched_flow_spec *spec)
{
    step_begin(s, now);
    struct flow *f = flow_new(s, spec);
    struct dest *d = dest_get(s, spec->destination, spec->pool);
    flow_attach(s, f, queue_get(s, d, spec->class_, spec->tenant, spec->weight));
    step_end(s);
}

void sched_flow_moved(struct sched *s, struct pr_now now, uint32_t flow, struct pr_slice tenant,
                      struct pr_slice destination)
{
    step_begin(s, now);
    struct flow *f = flow_find(s, flow);
    if (f != NULL && !pr_slice_eq(f->queue->dest->ref.destination, destination)) {
        struct dest *d = dest_get(s, destination, f->queue->dest->ref.pool);
        uint32_t weight = f->queue->weight;
        flow_detach(s, f);
        flow_attach(s, f, queue_get(s, d, (enum mail_class)f->class_, tenant, weight));
        dispatch(s, d);
    }
    step_end(s);
}

void sched_flow_gone(struct sched *s, struct pr_now now, uint32_t flow)
{
    step_begin(s, now);
    struct flow *f = pr_map_del(&s->flows, flow);
    if (f != NULL) {
        pr_assert(f->jobs == 0); /* a flow ends without rows */
        flow_detach(s, f);
        flow_free(s, f);
    }
    step_end(s);
}

static void file(struct sched *s, struct flow *f, const struct sched_row *row)
{
    struct job *j = flow_admits(s, f, &row->key) ? job_new(s, f, row, false) : NULL;
    if (j == NULL) {
        flow_unread(f, &row->key);
        if (f->cold && s->dispatching)
            flow_read_cold(s, f); /* new mail does not wait until all flows have been read after a takeover */
        return;
    }
    flow_passed(f, &row->key);
    job_move(s, j, SCHED_READY, NULL);
}

void sched_row_filed(struct sched *s, struct pr_now now, const struct sched_row *row)
{
    step_begin(s, now);
    struct flow *f = flow_find(s, row->flow);
    pr_assert(f != NULL);
    struct job *j = job_find(s, row->key.msg_id, row->key.group);
    count_row(s, f, &row->key, 1);
    if (j != NULL && (j->flow != f || key_cmp(&j->key, &row->key) != 0)) {
        job_drop(s, j); /* there is one row per group: the old one is gone */
        j = NULL;
    }
    if (j == NULL) {
        file(s, f, row);
    } else if (j->state == SCHED_PROPOSED) {
        flow_passed(f, &row->key);
        job_move(s, j, SCHED_ISSUING, j->lane);
    }
    flow_update(s, f);
    dispatch(s, f->queue->dest);
    step_end(s);
}

void sched_row_gone(struct sched *s, struct pr_now now, uint32_t flow, const struct sched_key *key)
{
    step_begin(s, now);
    struct flow *f = flow_find(s, flow);
    struct job *j = job_find(s, key->msg_id, key->group);
    if (f != NULL)
        count_row(s, f, key, -1);
    if (j != NULL && j->flow == f && key_cmp(&j->key, key) == 0)
        job_drop(s, j);
    step_end(s);
}

static void check(struct sched *s)
{
    if (!s->checking && s->now.mono.ms >= s->check_at.ms) {
        s->checking = true;
        s->act->check(s->data, s->now.wall);
    }
}

void sched_checks_done(struct sched *s, struct pr_now now, bool more)
{
    step_begin(s, now);
    s->checking = false;
    s->check_at = pr_mono_add(now.mono, more ? 1 : SCHED_CHECK_MS);
    step_end(s);
}

void sched_tick(struct sched *s, struct pr_now now)
{
    struct pr_timer *t;
    step_begin(s, now);
    if (s->dispatching) {
        for (int i = 0; i < SCHED_TICK_FLOWS && (t = pr_timerq_pop(&s->due, now.wall.ms)) != NULL; i++)
            flow_fire(s, pr_container_of(t, struct flow, timer));
        while ((t = pr_timerq_pop(&s->mono, now.mono.ms)) != NULL)
            dispatch(s, pr_container_of(t, struct dest, brake));
        lanes_expire(s);
        credits_unblock(s);
        refused_wake(s);
        dispatch_waiting(s, &s->again, SCHED_TICK_WAITING);
        dispatch_waiting(s, &s->waiting, SCHED_TICK_WAITING);
        demand_quiet(s);
        count_step(s);
        check(s);
    }
    step_end(s);
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

pr_mono sched_deadline(const struct sched *s)
{
    uint64_t now = s->now.mono.ms, wall = s->now.wall.ms, t = now + SCHED_TICK_MS;
    if (!s->started)
        return PR_MONO_NEVER;
    if (!s->dispatching)
        return (pr_mono){t};
    if (!pr_list_empty(&s->dirty) || !pr_list_empty(&s->again))
        return (pr_mono){now};
    uint64_t due = pr_timerq_next(&s->due);
    if (due != UINT64_MAX)
        t = earlier(t, due > wall ? now + (due - wall) : now);
    t = earlier(t, pr_timerq_next(&s->mono));
    struct pr_list *it, *tmp;
    pr_list_foreach(it, tmp, &s->lanes) {
        const struct lane *l = pr_list_entry(it, struct lane, link);
        if (!pr_list_empty(&l->held))
            t = earlier(t, l->hold_until.ms);
    }
    if (!pr_list_empty(&s->blocked))
        t = earlier(t, pr_list_entry(s->blocked.next, struct credit, blocked_link)->blocked_until.ms);
    if (!pr_list_empty(&s->refused))
        t = earlier(t, pr_list_entry(s->refused.next, struct job, link)->wake_ms);
    if (!pr_list_empty(&s->quiet))
        t = earlier(t, pr_list_entry(s->quiet.next, struct dest, quiet)->quiet_since.ms + SCHED_QUIET_MS);
    if (!s->checking)
        t = earlier(t, s->check_at.ms);
    if (!pr_list_empty(&s->uncounted))
        t = earlier(t, s->count_at.ms);
    return (pr_mono){t};
}
