/* Life of the lane, its ticks, and what to do next.
 *
 * Events only mark destinations as touched; dlv_lane_next works through the touched ones at the end of a turn, so a
 * hundred events of one turn cost one look at each destination. */
#include "common/base/assert.h"
#include "deliverer/core/lane_internal.h"

const struct dlv_lane_options dlv_lane_defaults = {
    .seed = 1,
    .jobs_max = 4096,
    .connections_max = 1000,
    .prefetch = 2,
    .idle_ms = 5000,
    .self_ms = 30000,
    .result_retry_ms = 1000,
    .grant_margin_ms = 5000,
    .grant_hold_ms = 60000,
};

struct dlv_lane *dlv_lane_new(const struct dlv_lane_options *o, pr_mono now)
{
    struct dlv_lane *l = pr_new(struct dlv_lane);
    l->o = *o;
    pr_map_init(&l->index, o->seed);
    pr_map_init(&l->dests, o->seed);
    pr_list_init(&l->all);
    pr_list_init(&l->dirty);
    pr_list_init(&l->credits);
    pr_list_init(&l->returns);
    pr_list_init(&l->gate_news);
    pr_timerq_init(&l->timers, now.ms);
    l->next_tick = pr_mono_add(now, DLV_TICK_MS);
    return l;
}

void dlv_lane_free(struct dlv_lane *l)
{
    struct pr_list *node;
    if (l == NULL)
        return;
    pr_assert(l->n_jobs == 0 && l->open == 0 && pr_list_empty(&l->returns));
    while ((node = pr_list_first(&l->all)) != NULL)
        dest_free(l, pr_list_entry(node, struct dlv_dest, all));
    for (unsigned i = 0; i < DLV_SHARDS_MAX; i++) {
        if (l->shards[i] != NULL)
            pr_map_fini(&l->shards[i]->past);
        pr_free(l->shards[i]);
    }
    pr_map_fini(&l->index);
    pr_map_fini(&l->dests);
    pr_free(l);
}

void dlv_lane_configure(struct dlv_lane *l, const struct dlv_lane_options *o)
{
    uint64_t seed = l->o.seed;
    l->o = *o;
    l->o.seed = seed;
    dests_touch(l);
}

void dlv_lane_drain(struct dlv_lane *l, pr_mono now)
{
    struct pr_list *it, *tmp;
    (void)now;
    l->drained = true;
    pr_list_foreach(it, tmp, &l->all)
    {
        struct dlv_dest *d = pr_list_entry(it, struct dlv_dest, all);
        dest_return_ready(l, d, DLV_RETURN_DRAINING);
        dest_touch(l, d);
    }
}

void dlv_lane_reconnected(struct dlv_lane *l, pr_mono now)
{
    (void)now;
    for (unsigned i = 0; i < DLV_SHARDS_MAX; i++) {
        if (l->shards[i] == NULL)
            continue;
        l->shards[i]->led = false;
        credit_begin(l, l->shards[i]);
    }
    l->gate_heard = false;
    dlv_lane_gate_again(l);
}

bool dlv_lane_next(struct dlv_lane *l, struct dlv_lane_action *ret, pr_mono now)
{
    struct pr_list *node;
    while ((node = pr_list_first(&l->dirty)) != NULL) {
        struct dlv_dest *d = pr_list_entry(node, struct dlv_dest, dirty);
        if (dest_plan(l, d, ret, now))
            return true;
        credit_settle(l, d, now);
        gate_settle(l, d, now);
        pr_list_remove(&d->dirty);
    }
    return false;
}

void dlv_lane_tick(struct dlv_lane *l, pr_mono now)
{
    struct pr_timer *t;
    while ((t = pr_timerq_pop(&l->timers, now.ms)) != NULL)
        dest_touch(l, pr_container_of(t, struct dlv_dest, timer));
    if (now.ms < l->next_tick.ms)
        return;
    l->next_tick = pr_mono_add(now, DLV_TICK_MS);
    shards_tick(l, now);
    struct pr_list *it, *tmp;
    pr_list_foreach(it, tmp, &l->all)
    {
        struct dlv_dest *d = pr_list_entry(it, struct dlv_dest, all);
        if (dest_unused(l, d, now))
            dest_free(l, d);
        else
            dest_touch(l, d);
    }
}

pr_mono dlv_lane_deadline(const struct dlv_lane *l)
{
    uint64_t due = PR_MIN(pr_timerq_next(&l->timers), l->next_tick.ms);
    return (pr_mono){PR_MIN(due, gate_next(l).ms)};
}

void dlv_lane_count(const struct dlv_lane *l, struct dlv_lane_counts *ret)
{
    *ret = (struct dlv_lane_counts){
        .jobs = l->n_jobs,
        .ready = l->n_ready,
        .started = l->n_running,
        .done = l->n_done,
        .connections = l->open,
        .destinations = l->n_dests,
    };
    const struct pr_list *it;
    for (it = l->all.next; it != &l->all; it = it->next) {
        const struct dlv_dest *d = pr_list_entry(it, const struct dlv_dest, all);
        ret->opening += d->opening;
        ret->idle += d->idle;
        ret->busy += d->busy;
        ret->slots += d->slots;
    }
}

bool dlv_lane_empty(const struct dlv_lane *l)
{
    return l->n_jobs == 0 && l->open == 0 && pr_list_empty(&l->returns);
}
