/* Becoming leader, in order: the core is started with the term; every flow is announced (cold: its rows are read in the
 * background, while others are dispatched); leases are handed over, to be held until their holders' inventories; then the
 * lanes that are connected. Entries committed afterwards are fed as effects. */
#include "common/base/alloc.h"
#include "common/base/assert.h"
#include "scheduler/shell/shard_internal.h"

enum { LEASE_SCAN_ROWS = 1024 };

uint64_t shard_holder(struct pr_slice node, uint32_t lane)
{
    uint64_t h = pr_hash(node, 0x706f737472696465ULL) ^ pr_hash_u64(lane + 1);
    return h == 0 ? 1 : h;
}

void shard_sched_config(const struct pr_config *c, uint64_t seed, struct sched_config *ret)
{
    sched_config_default(ret);
    ret->n_retry = PR_MIN(c->queue.n_retry, (size_t)SCHED_RETRY_MAX);
    for (size_t i = 0; i < ret->n_retry; i++)
        ret->retry_ms[i] = c->queue.retry_ms[i];
    ret->retry_jitter_percent = c->queue.retry_jitter_percent;
    ret->hold_time_ms = c->queue.hold_time_ms;
    ret->seed = seed;
}

struct sched_row shard_row(const struct fsm_row *row)
{
    return (struct sched_row){
        .flow = row->flow_id,
        .key = {.due_ms = row->due_ms, .msg_id = row->msg_id, .group = row->group},
        .attempt = row->attempt,
        .n_rcpts = row->n_rcpts,
        .size_bytes = row->size_bytes,
    };
}

static void flow_key(struct pr_buf *b, enum mail_class class_, struct pr_slice tenant, struct pr_slice pool,
                     struct pr_slice domain)
{
    pr_buf_char(b, (char)class_);
    pr_buf_add(b, tenant);
    pr_buf_char(b, '\0');
    pr_buf_add(b, pool);
    pr_buf_char(b, '\0');
    pr_buf_add(b, domain);
}

struct flow_entry *shard_flow_find(struct shard *s, enum mail_class class_, struct pr_slice tenant, struct pr_slice pool,
                                   struct pr_slice domain)
{
    struct pr_buf key = {0};
    flow_key(&key, class_, tenant, pool, domain);
    struct flow_entry *f = pr_map_get_str(&s->flows, pr_buf_slice(&key));
    pr_buf_fini(&key);
    return f;
}

void shard_flow_added(struct shard *s, const struct fsm_flow *flow, bool cold)
{
    struct pr_buf key = {0};
    struct flow_entry *f = pr_new(struct flow_entry);
    struct pr_slice destination = pr_config_destination(s->config, flow->domain);
    f->flow_id = flow->flow_id;
    f->domain = flow->domain;
    f->pool = flow->pool;
    f->tenant = flow->tenant;
    f->destination = pr_strndup(destination.ptr, destination.len);
    flow_key(&key, flow->class_, flow->tenant, flow->pool, flow->domain);
    pr_assert(pr_map_put_str(&s->flows, pr_buf_slice(&key), f) == NULL);
    pr_assert(pr_map_put(&s->flow_ids, f->flow_id, f) == NULL);
    pr_buf_fini(&key);
    struct sched_flow_spec spec = {
        .flow = flow->flow_id,
        .tenant = flow->tenant,
        .class_ = flow->class_,
        .pool = flow->pool,
        .destination = pr_slice_str(f->destination),
        .cold = cold,
    };
    sched_flow_added(s->sched, pr_clock_now(), &spec);
}

static void flow_forget(struct shard *s, const struct fsm_flow *flow)
{
    struct pr_buf key = {0};
    flow_key(&key, flow->class_, flow->tenant, flow->pool, flow->domain);
    struct flow_entry *f = pr_map_del_str(&s->flows, pr_buf_slice(&key));
    pr_buf_fini(&key);
    if (f == NULL)
        return;
    pr_map_del(&s->flow_ids, f->flow_id);
    pr_free(f->destination);
    pr_free(f);
}

void shard_flow_dropped(struct shard *s, const struct fsm_flow *flow)
{
    sched_flow_gone(s->sched, pr_clock_now(), flow->flow_id);
    flow_forget(s, flow);
}

void shard_flows_configure(struct shard *s)
{
    size_t it = 0;
    for (struct flow_entry *f; (f = pr_map_next(&s->flow_ids, &it, NULL)) != NULL;) {
        struct pr_slice destination = pr_config_destination(s->config, f->domain);
        if (pr_slice_eq_str(destination, f->destination))
            continue;
        pr_free(f->destination);
        f->destination = pr_strndup(destination.ptr, destination.len);
        sched_flow_moved(s->sched, pr_clock_now(), f->flow_id, f->tenant, pr_slice_str(f->destination));
    }
}

static bool on_lease(void *data, const struct qread_lease *l)
{
    struct shard *s = data;
    struct qread_group g;
    if (qread_group(s->stage, l->msg_id, l->group, &s->turn, &g) != 0)
        return true;
    struct sched_lease lease = {
        .row = {.flow = g.flow_id,
                .key = {.due_ms = g.due_ms, .msg_id = l->msg_id, .group = l->group},
                .attempt = g.attempt,
                .n_rcpts = g.n_pending},
        .attempt_id = l->attempt_id,
        .holder = shard_holder(l->node_id, l->lane),
        .boot_id = l->boot_id,
    };
    sched_lease_found(s->sched, pr_clock_now(), &lease);
    return true;
}

static void find_leases(struct shard *s)
{
    struct qread_lease_cursor cursor = {0};
    for (bool more = true; more;)
        if (qread_leases(s->stage, &cursor, LEASE_SCAN_ROWS, on_lease, s, &more) != 0) {
            shard_fatal(s, kv_error(s->kv));
            return;
        }
}

static void deliverer_up(struct shard *s, const struct lane_facts *l)
{
    sched_lane_up(s->sched, pr_clock_now(), l->lane_id, shard_holder(pr_slice(l->node, l->node_len), l->lane), l->boot_id,
                  l->max_jobs);
    if (s->o.id == 0)
        shard_member_up(s, l);
}

void shard_on_leader(void *data, uint64_t term)
{
    struct shard *s = data;
    struct pr_now now = pr_clock_now();
    size_t it = 0;
    s->leading = true;
    s->term = term;
    s->last_id = fsm_last_id(s->fsm);
    sched_start(s->sched, now, term);
    for (const struct fsm_flow *f; (f = fsm_flow_next(s->fsm, &it)) != NULL;)
        shard_flow_added(s, f, true);
    find_leases(s);
    sched_leases_done(s->sched, now);
    it = 0;
    for (struct lane_facts *l; (l = pr_map_next(&s->lanes, &it, NULL)) != NULL;)
        if (l->role == WIRE_ROLE_DELIVERER)
            deliverer_up(s, l);
    pr_metric_set(s->o.metrics, SM_RAFT_IS_LEADER, s->o.id, 0, 0, 1);
    pr_metric_set(s->o.metrics, SM_RAFT_HAS_LEADER, s->o.id, 0, 0, 1);
    pr_metric_inc1(s->o.metrics, SM_RAFT_LEADER_CHANGES, s->o.id);
    pr_info(s->o.log, "shard_leading", PR_U("shard", s->o.id), PR_U("term", term),
            PR_U("messages", fsm_counters(s->fsm)->messages), PR_U("leases", fsm_counters(s->fsm)->leases));
    shard_tell_bus_state(s);
}

void shard_on_follower(void *data)
{
    struct shard *s = data;
    size_t it = 0;
    if (!s->leading)
        return;
    s->leading = false;
    shard_batch_drop_all(s, PR_ENOTLEADER);
    sched_stop(s->sched);
    shard_forget_late(s);
    s->n_jobs = s->n_demands = 0;
    for (struct flow_entry *f; (f = pr_map_next(&s->flow_ids, &it, NULL)) != NULL;) {
        pr_free(f->destination);
        pr_free(f);
    }
    pr_map_fini(&s->flows);
    pr_map_fini(&s->flow_ids);
    pr_metric_set(s->o.metrics, SM_RAFT_IS_LEADER, s->o.id, 0, 0, 0);
    pr_metric_set(s->o.metrics, SM_RAFT_HAS_LEADER, s->o.id, 0, 0, 0);
    pr_warn(s->o.log, "shard_following", PR_U("shard", s->o.id), PR_U("term", s->term));
    shard_tell_bus_state(s);
}

void shard_lane_up(struct shard *s, const struct lane_facts *lane)
{
    struct lane_facts *old = pr_map_put(&s->lanes, lane->lane_id, pr_memdup(lane, sizeof *lane));
    pr_assert(old == NULL);
    if (s->leading && lane->role == WIRE_ROLE_DELIVERER)
        deliverer_up(s, lane);
}

void shard_lane_down(struct shard *s, const struct lane_facts *lane)
{
    pr_free(pr_map_del(&s->lanes, lane->lane_id));
    if (s->leading && lane->role == WIRE_ROLE_DELIVERER)
        sched_lane_down(s->sched, pr_clock_now(), lane->lane_id);
}
