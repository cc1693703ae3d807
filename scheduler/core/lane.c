/* Lanes and their credit.
 *
 * A lane is known by its holder id across connections. While connected it has credit per destination, counted absolutely
 * since its HELLO: available = allowed - issued. When the connection is lost, what it has in flight is held:
 *   - its next inventory lists the attempt: adopted, in flight again;
 *   - the inventory ends without it: ready at once (same boot: the job never arrived, and jobs of older terms are refused
 *     from then on; another boot: the process is gone, and what it knew was in its journal, whose results came first);
 *   - no inventory within the hold time: ready then.
 * Leases found at takeover are held in the same way. */
#include "scheduler/core/internal.h"

struct lane *lane_get(struct sched *s, uint64_t holder)
{
    struct lane *l = pr_map_get(&s->lanes_by_holder, holder);
    if (l != NULL)
        return l;
    l = pr_new(struct lane);
    l->holder = holder;
    l->hold_until = pr_mono_add(s->now.mono, s->cfg.hold_time_ms);
    pr_list_init(&l->jobs);
    pr_list_init(&l->held);
    pr_list_init(&l->credits);
    pr_list_push_back(&s->lanes, &l->link);
    (void)pr_map_put(&s->lanes_by_holder, holder, l);
    return l;
}

static uint64_t credit_key(const struct lane *l, const struct dest *d)
{
    return (uint64_t)l->connection << 32 | d->ref.id;
}

void credit_update(struct sched *s, struct credit *c)
{
    struct dest *d = c->dest;
    bool usable = !c->blocked && !c->lane->draining;
    uint64_t avail = usable && c->allowed > c->issued ? c->allowed - c->issued : 0;
    if (avail > SCHED_BACKLOG_MAX)
        avail = SCHED_BACKLOG_MAX;
    d->avail = d->avail - c->counted + avail;
    c->counted = avail;
    if (avail == 0)
        pr_list_remove(&c->of_dest);
    else if (!pr_list_linked(&c->of_dest))
        pr_list_push_back(&d->credits, &c->of_dest);
    dest_idle(s, d);
}

static void credit_free(struct sched *s, struct credit *c)
{
    struct dest *d = c->dest;
    c->allowed = 0;
    c->issued = 0;
    credit_update(s, c);
    pr_list_remove(&c->of_lane);
    pr_list_remove(&c->blocked_link);
    (void)pr_map_del(&s->credits, credit_key(c->lane, d));
    pr_free(c);
    d->n_credits--;
    dest_release(s, d);
}

static struct credit *credit_get(struct sched *s, struct lane *l, struct dest *d)
{
    struct credit *c = pr_map_get(&s->credits, credit_key(l, d));
    if (c != NULL)
        return c;
    c = pr_new(struct credit);
    c->lane = l;
    c->dest = d;
    pr_list_init(&c->of_dest);
    pr_list_init(&c->blocked_link);
    pr_list_push_back(&l->credits, &c->of_lane);
    d->n_credits++;
    (void)pr_map_put(&s->credits, credit_key(l, d), c);
    return c;
}

void credit_block(struct sched *s, struct lane *l, struct dest *d)
{
    struct credit *c = pr_map_get(&s->credits, credit_key(l, d));
    if (c == NULL)
        return;
    c->blocked = true;
    c->blocked_until = pr_mono_add(s->now.mono, SCHED_BLOCKED_MS);
    pr_list_remove(&c->blocked_link);
    pr_list_push_back(&s->blocked, &c->blocked_link);
    credit_update(s, c);
}

static void credit_unblock(struct sched *s, struct credit *c)
{
    c->blocked = false;
    pr_list_remove(&c->blocked_link);
    credit_update(s, c);
}

void credits_unblock(struct sched *s)
{
    struct pr_list *n;
    while ((n = pr_list_first(&s->blocked)) != NULL) {
        struct credit *c = pr_list_entry(n, struct credit, blocked_link);
        if (c->blocked_until.ms > s->now.mono.ms)
            return;
        credit_unblock(s, c);
        dispatch(s, c->dest);
    }
}

void sched_credit(struct sched *s, struct pr_now now, uint32_t lane, struct pr_slice destination, struct pr_slice pool,
                  uint64_t jobs_allowed)
{
    step_begin(s, now);
    struct lane *l = pr_map_get(&s->lanes_by_id, lane);
    struct dest *d = dest_find(s, destination, pool);
    if (l != NULL && d != NULL) {
        struct credit *c = credit_get(s, l, d);
        c->allowed = jobs_allowed;
        credit_unblock(s, c);
        dispatch(s, d);
    }
    step_end(s);
}

void lane_disconnect(struct sched *s, struct lane *l)
{
    struct pr_list *it, *tmp;
    pr_list_foreach(it, tmp, &l->jobs) {
        struct job *j = pr_list_entry(it, struct job, link);
        j->credit = NULL;
        if (j->state == SCHED_INFLIGHT)
            job_move(s, j, SCHED_HELD, l);
    }
    pr_list_foreach(it, tmp, &l->credits)
        credit_free(s, pr_list_entry(it, struct credit, of_lane));
    (void)pr_map_del(&s->lanes_by_id, l->connection);
    l->connection = 0;
    l->hold_until = pr_mono_add(s->now.mono, s->cfg.hold_time_ms);
}

void sched_lane_up(struct sched *s, struct pr_now now, uint32_t lane, uint64_t holder, uint64_t boot_id, uint32_t jobs_max)
{
    step_begin(s, now);
    pr_assert(lane != 0 && pr_map_get(&s->lanes_by_id, lane) == NULL);
    struct lane *l = lane_get(s, holder);
    if (l->connection != 0)
        lane_disconnect(s, l);
    l->connection = lane;
    l->boot_id = boot_id;
    l->jobs_max = jobs_max;
    l->draining = false;
    l->inventoried = false;
    (void)pr_map_put(&s->lanes_by_id, lane, l);
    demand_again(s);
    step_end(s);
}

void sched_lane_down(struct sched *s, struct pr_now now, uint32_t lane)
{
    step_begin(s, now);
    struct lane *l = pr_map_get(&s->lanes_by_id, lane);
    if (l != NULL)
        lane_disconnect(s, l);
    step_end(s);
}

static void inventory_item(struct sched *s, struct lane *l, const struct sched_inventory_item *item)
{
    struct job *j = job_find(s, item->ref.msg_id, item->ref.group);
    bool known = j != NULL && j->attempt_id == item->ref.attempt_id && j->lane == l;
    if (known && j->state == SCHED_HELD) {
        j->connection = l->connection;
        job_move(s, j, SCHED_INFLIGHT, l);
    } else if (!known && !item->done) {
        s->act->cancel(s->data, l->connection, &item->ref);
    }
}

void sched_inventory(struct sched *s, struct pr_now now, uint32_t lane, const struct sched_inventory_item *items, size_t n,
                     bool last)
{
    step_begin(s, now);
    struct lane *l = pr_map_get(&s->lanes_by_id, lane);
    for (size_t i = 0; l != NULL && i < n; i++)
        inventory_item(s, l, &items[i]);
    if (l != NULL && last) {
        struct pr_list *it;
        l->inventoried = true;
        while ((it = pr_list_first(&l->held)) != NULL) {
            struct job *j = pr_list_entry(it, struct job, link);
            job_release(s, j, j->boot_id != l->boot_id);
        }
    }
    step_end(s);
}

void sched_lease_found(struct sched *s, struct pr_now now, const struct sched_lease *lease)
{
    step_begin(s, now);
    struct flow *f = flow_find(s, lease->row.flow);
    pr_assert(!s->dispatching && f != NULL);
    if (job_find(s, lease->row.key.msg_id, lease->row.key.group) == NULL) {
        struct lane *l = lane_get(s, lease->holder);
        struct job *j = job_new(s, f, &lease->row, true);
        job_move(s, j, SCHED_HELD, l);
        j->attempt_id = lease->attempt_id;
        j->boot_id = lease->boot_id;
        flow_update(s, f);
    }
    step_end(s);
}

void lane_destroy(struct sched *s, struct lane *l)
{
    pr_list_remove(&l->link);
    (void)pr_map_del(&s->lanes_by_holder, l->holder);
    pr_free(l);
}

void lanes_expire(struct sched *s)
{
    struct pr_list *it, *tmp, *n;
    pr_list_foreach(it, tmp, &s->lanes) {
        struct lane *l = pr_list_entry(it, struct lane, link);
        if (s->now.mono.ms >= l->hold_until.ms)
            while ((n = pr_list_first(&l->held)) != NULL)
                job_release(s, pr_list_entry(n, struct job, link), true);
        if (l->connection == 0 && pr_list_empty(&l->held) && pr_list_empty(&l->jobs))
            lane_destroy(s, l);
    }
}

void refused_wake(struct sched *s)
{
    struct pr_list *n;
    while ((n = pr_list_first(&s->refused)) != NULL) {
        struct job *j = pr_list_entry(n, struct job, link);
        struct flow *f = j->flow;
        if (j->wake_ms > s->now.mono.ms)
            return;
        job_forget(s, j);
        flow_update(s, f);
        dispatch(s, f->queue->dest);
    }
}
