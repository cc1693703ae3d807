/* The core's actions. ISSUE records join the open entry; once committed, jobs are gathered and, at the end of the turn,
 * built from the store and sent, one message per lane: bodies are read straight into the payload. */
#include "common/base/alloc.h"
#include "common/base/assert.h"
#include "scheduler/shell/shard_internal.h"

enum { JOBS_PER_MESSAGE = 64, PAYLOAD_SOFT_MAX = 1024 * 1024 };

struct scan_rows {
    struct sched_row *rows;
    size_t n;
};

static bool on_scan_row(void *data, const struct fsm_row *row)
{
    struct scan_rows *out = data;
    out->rows[out->n++] = shard_row(row);
    return true;
}

static void do_scan(void *data, const struct sched_scan *scan, struct sched_row *rows, struct sched_scan_end *ret)
{
    struct shard *s = data;
    struct scan_rows out = {rows, 0};
    struct qread_sched_cursor cursor = {
        .due_ms = scan->from.due_ms, .msg_id = scan->from.msg_id, .group = (uint16_t)scan->from.group};
    uint64_t next_due = UINT64_MAX;
    if (qread_sched(s->stage, scan->flow, &cursor, scan->until_due_ms, (uint32_t)scan->limit, on_scan_row, &out,
                    &next_due) != 0)
        shard_fatal(s, kv_error(s->kv));
    *ret = (struct sched_scan_end){out.n, next_due};
}

static void do_issue(void *data, const struct sched_issue *issue)
{
    struct shard *s = data;
    struct lane_facts *lane = pr_map_get(&s->lanes, issue->lane);
    pr_assert(lane != NULL);
    struct waiter w = {.kind = WAIT_ISSUE, .ref = issue->ref};
    struct cmd c = {.type = CMD_ISSUE,
                    .issue = {.msg_id = issue->ref.msg_id,
                              .group = (uint16_t)issue->ref.group,
                              .due_ms = issue->row.key.due_ms,
                              .attempt = issue->row.attempt + 1,
                              .attempt_id = issue->ref.attempt_id,
                              .node_id = pr_slice(lane->node, lane->node_len),
                              .boot_id = issue->boot_id,
                              .lane = lane->lane,
                              .issued_ms = issue->issued.ms}};
    if (shard_propose(s, &c, &w) != 0)
        pr_unreachable();
}

static void do_send_job(void *data, const struct sched_issue *issue)
{
    struct shard *s = data;
    uint64_t now = pr_clock_now().wall.ms;
    if (s->n_jobs == s->cap_jobs) {
        s->cap_jobs = s->cap_jobs == 0 ? 64 : s->cap_jobs * 2;
        s->jobs = pr_realloc(s->jobs, s->cap_jobs * sizeof *s->jobs);
    }
    s->jobs[s->n_jobs++] = *issue;
    pr_metric_inc1(s->o.metrics, SM_DISPATCHES, SM_DISPATCH_OK);
    pr_metric_observe(s->o.metrics, SM_LATENESS, 0, 0, 0,
                      now > issue->row.key.due_ms ? (now - issue->row.key.due_ms) * 1000 : 0);
}

static void do_cancel(void *data, uint32_t lane_id, const struct sched_ref *ref)
{
    struct shard *s = data;
    struct lane_facts *lane = pr_map_get(&s->lanes, lane_id);
    struct wire_attempt_ref item = {ref->msg_id, ref->group, ref->attempt_id};
    struct wire_msg m = {.type = WIRE_CANCEL, .refs = {s->o.id, s->term, &item, 1}};
    if (lane != NULL)
        bus_post_add(shard_out(s), &lane->control, &m);
}

static void do_free_lease(void *data, const struct sched_ref *ref)
{
    struct shard *s = data;
    struct waiter w = {.kind = WAIT_NONE};
    struct cmd c = {.type = CMD_RELEASE_LEASE, .release = {ref->msg_id, (uint16_t)ref->group, ref->attempt_id}};
    if (shard_propose(s, &c, &w) != 0)
        pr_unreachable();
}

static void do_demand(void *data, const struct sched_dest_ref *dest, uint32_t backlog, uint32_t weight)
{
    struct shard *s = data;
    if (s->n_demands == s->cap_demands) {
        s->cap_demands = s->cap_demands == 0 ? 16 : s->cap_demands * 2;
        s->demands = pr_realloc(s->demands, s->cap_demands * sizeof *s->demands);
    }
    s->demands[s->n_demands++] = (struct wire_demand_item){
        .destination = pr_arena_dup(&s->demand_arena, dest->destination),
        .pool = pr_arena_dup(&s->demand_arena, dest->pool),
        .backlog = backlog,
        .weight = weight,
    };
}

static void do_check(void *data, pr_wall until)
{
    struct shard *s = data;
    s->check_wanted = true;
    s->check_until = until;
}

static void do_quarantine(void *data, const struct sched_row *row, uint32_t losses)
{
    struct shard *s = data;
    char id[WIRE_QUEUE_ID_LEN + 1];
    struct waiter w = {.kind = WAIT_NONE};
    struct cmd c = {.type = CMD_HOLD, .admin = {.msg_id = row->key.msg_id}};
    wire_queue_id_format(s->o.id, row->key.msg_id, id);
    pr_error(s->o.log, "message_quarantined", PR_S("id", id), PR_U("losses", losses),
             PR_S("hint", "its deliverer died at each attempt; look at it with msg get and release or delete it"));
    if (shard_propose(s, &c, &w) != 0)
        pr_unreachable();
}

const struct sched_actions shard_sched_actions = {
    .scan = do_scan,
    .issue = do_issue,
    .send_job = do_send_job,
    .cancel = do_cancel,
    .free_lease = do_free_lease,
    .demand = do_demand,
    .check = do_check,
    .quarantine = do_quarantine,
};

static void flush_demands(struct shard *s)
{
    size_t it = 0;
    if (s->n_demands == 0)
        return;
    for (struct lane_facts *l; (l = pr_map_next(&s->lanes, &it, NULL)) != NULL;) {
        if (l->role != WIRE_ROLE_DELIVERER)
            continue;
        for (size_t at = 0; at < s->n_demands; at += WIRE_BATCH_MAX) {
            struct wire_msg m = {.type = WIRE_DEMAND,
                                 .demand = {s->o.id, s->term, s->demands + at,
                                            PR_MIN(s->n_demands - at, (size_t)WIRE_BATCH_MAX)}};
            bus_post_add(shard_out(s), &l->control, &m);
        }
    }
    s->n_demands = 0;
    pr_arena_fini(&s->demand_arena);
}

/* Fills *job; its body lies in `payload` (offset in *ret_at until the buffer stands still). */
static int build_job(struct shard *s, const struct sched_issue *issue, struct pr_buf *payload, struct wire_job *job,
                     size_t *ret_at)
{
    struct qread_job q;
    struct pr_buf recipients = {0};
    size_t at = payload->len;
    int rc = qread_job(s->stage, issue->ref.msg_id, (uint16_t)issue->ref.group, WIRE_INLINE_BODY_MAX, &s->turn, payload, &q);
    if (rc == 0)
        rc = qread_group_encode(&q.group, &s->turn, &recipients);
    if (rc != 0) {
        payload->len = at;
        pr_buf_fini(&recipients);
        return rc;
    }
    const struct flow_entry *f = pr_map_get(&s->flow_ids, q.group.flow_id);
    *job = (struct wire_job){
        .msg_id = issue->ref.msg_id,
        .group = issue->ref.group,
        .attempt_id = issue->ref.attempt_id,
        .attempt = issue->row.attempt + 1,
        .destination = f == NULL ? q.group.domain : pr_slice_str(f->destination),
        .pool = f == NULL ? q.msg.pool : f->pool,
        .envelope = q.msg.envelope,
        .recipients = pr_arena_dup(&s->turn, pr_buf_slice(&recipients)),
        .size_bytes = q.msg.size_bytes,
        .body_id = q.inlined ? 0 : q.msg.body_id,
        .n_chunks = q.inlined ? 0 : q.msg.n_chunks,
        .body = {NULL, payload->len - at},
    };
    *ret_at = at;
    pr_buf_fini(&recipients);
    return 0;
}

static void send_jobs(struct shard *s, const struct lane_facts *lane, struct wire_job *jobs, const size_t *at, size_t n,
                      struct pr_buf *payload)
{
    struct bus_out *o = pr_new(struct bus_out);
    for (size_t i = 0; i < n; i++)
        if (jobs[i].body.len > 0)
            jobs[i].body.ptr = payload->ptr + at[i];
    struct wire_msg m = {.type = WIRE_JOB, .jobs = {s->o.id, s->term, jobs, n}};
    o->to = lane->control;
    o->payload = *payload;
    pr_buf_init(payload);
    wire_encode(&m, &o->header, &o->payload);
    pr_list_push_back(&shard_out(s)->out, &o->link);
}

/* Sends the jobs of one lane and marks them done (lane 0). */
static void flush_lane(struct shard *s, uint32_t lane_id, size_t first)
{
    const struct lane_facts *lane = pr_map_get(&s->lanes, lane_id);
    struct wire_job jobs[JOBS_PER_MESSAGE];
    size_t at[JOBS_PER_MESSAGE], n = 0;
    struct pr_buf payload = {0};
    for (size_t i = first; i < s->n_jobs; i++) {
        if (s->jobs[i].lane != lane_id)
            continue;
        /* A lane that has gone, or a message that was deleted since: the core knows, or will learn by the inventory. */
        if (lane != NULL && build_job(s, &s->jobs[i], &payload, &jobs[n], &at[n]) == 0)
            n++;
        s->jobs[i].lane = 0;
        if (n == JOBS_PER_MESSAGE || payload.len > PAYLOAD_SOFT_MAX) {
            send_jobs(s, lane, jobs, at, n, &payload);
            n = 0;
        }
    }
    if (n > 0)
        send_jobs(s, lane, jobs, at, n, &payload);
    pr_buf_fini(&payload);
}

void shard_flush_jobs(struct shard *s)
{
    flush_demands(s);
    for (size_t i = 0; i < s->n_jobs; i++)
        if (s->jobs[i].lane != 0)
            flush_lane(s, s->jobs[i].lane, i);
    s->n_jobs = 0;
}

void shard_on_body_get(struct shard *s, const struct peer *from, const struct wire_body_get *m)
{
    struct bus_out *o = pr_new(struct bus_out);
    int rc = qread_body(s->stage, m->body_id, m->seq, &o->payload);
    struct wire_msg reply = {.type = WIRE_BODY_CHUNK,
                             .body_chunk = {.shard = s->o.id,
                                            .msg_id = m->msg_id,
                                            .body_id = m->body_id,
                                            .seq = m->seq,
                                            .found = rc == 0,
                                            .bytes = pr_buf_slice(&o->payload)}};
    o->to = *from;
    wire_encode(&reply, &o->header, &o->payload);
    pr_list_push_back(&shard_out(s)->out, &o->link);
}
