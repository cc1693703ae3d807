/* Group commit: commands are appended to the open entry; at the end of each loop turn entries are proposed while few are
 * in flight, so an entry is "all that came while the last ones were being written". Effects of a committed entry are fed
 * to the core in their order, and each command's waiter is answered by the effect that names it. A result is reported as
 * done after the rows it filed, as the core asks. */
#include "common/base/alloc.h"
#include "common/base/assert.h"
#include "scheduler/shell/shard_internal.h"

static struct entry *entry_new(struct shard *s)
{
    struct entry *e = pr_new(struct entry);
    e->shard = s;
    pr_list_init(&e->link);
    return e;
}

static void waiter_fini(struct waiter *w)
{
    pr_free(w->reserved);
    if (w->admin != NULL)
        admin_request_unref(w->admin);
}

static void entry_free(struct entry *e)
{
    for (size_t i = 0; i < e->batch.count; i++)
        waiter_fini(&e->waiters[i]);
    pr_free(e->waiters);
    pr_buf_fini(&e->batch.buf);
    pr_free(e);
}

static struct entry *open_entry(struct shard *s)
{
    struct entry *e = pr_list_empty(&s->gathering) ? NULL : pr_list_entry(s->gathering.prev, struct entry, link);
    if (e == NULL || cmd_batch_size(&e->batch) >= CMD_ENTRY_SOFT_MAX) {
        e = entry_new(s);
        pr_list_push_back(&s->gathering, &e->link);
    }
    return e;
}

int shard_propose(struct shard *s, const struct cmd *c, const struct waiter *w)
{
    struct entry *e = open_entry(s);
    size_t before = cmd_batch_size(&e->batch);
    int rc = cmd_batch_add(&e->batch, c);
    if (rc == PR_ETOOBIG && e->batch.count > 0) {
        e = entry_new(s);
        pr_list_push_back(&s->gathering, &e->link);
        before = 0;
        rc = cmd_batch_add(&e->batch, c);
    }
    if (rc != 0)
        return rc;
    s->gathered_bytes += cmd_batch_size(&e->batch) - before;
    if (e->batch.count > e->cap) {
        e->cap = e->cap == 0 ? 64 : e->cap * 2;
        e->waiters = pr_realloc(e->waiters, e->cap * sizeof *e->waiters);
    }
    e->waiters[cmd_batch_last(&e->batch)] = *w;
    return 0;
}

/* The command will never be applied, or nobody knows. */
static void waiter_fail(struct shard *s, struct waiter *w, int status)
{
    enum wire_ack_status ack = status == PR_ENOSPC       ? WIRE_ACK_FULL
                               : status == PR_ENOTLEADER ? WIRE_ACK_NOT_LEADER
                               : status == PR_EUNKNOWN   ? WIRE_ACK_UNKNOWN
                                                         : WIRE_ACK_BUSY;
    switch (w->kind) {
    case WAIT_NONE:
        break;
    case WAIT_ENQUEUE:
        shard_enqueue_done(s, w, ack, 0);
        break;
    case WAIT_PART:
        shard_part_done(s, w, ack);
        break;
    case WAIT_ISSUE:
        if (s->leading)
            sched_issue_done(s->sched, pr_clock_now(), &w->ref, false);
        break;
    case WAIT_RESULT:
        shard_result_failed(s, w);
        break;
    case WAIT_CHECK:
        shard_check_done(s, w, FSM_CONFLICT);
        break;
    case WAIT_ADMIN:
        shard_admin_finish(w->admin, status);
        break;
    case WAIT_MEMBER:
        shard_member_done(s, w, false);
        break;
    }
}

static void entry_fail(struct shard *s, struct entry *e, int status)
{
    for (size_t i = 0; i < e->batch.count; i++)
        if (!e->waiters[i].answered)
            waiter_fail(s, &e->waiters[i], status);
}

static const enum wire_ack_status ack_of[FSM_STATUS_NR] = {
    [FSM_OK] = WIRE_ACK_OK,       [FSM_DUPLICATE] = WIRE_ACK_OK,    [FSM_GONE] = WIRE_ACK_BUSY,
    [FSM_STALE] = WIRE_ACK_BUSY,  [FSM_HELD] = WIRE_ACK_BUSY,       [FSM_LEASED] = WIRE_ACK_BUSY,
    [FSM_CONFLICT] = WIRE_ACK_BUSY, [FSM_INVALID] = WIRE_ACK_INVALID,
};

static void on_stored(struct shard *s, struct waiter *w, const struct fsm_effect *f)
{
    if (f->msg.nested) {
        pr_metric_inc1(s->o.metrics, SM_ENQUEUED, 2);
        return;
    }
    if (f->status == FSM_OK)
        pr_metric_inc1(s->o.metrics, SM_ENQUEUED, 0);
    if (w->kind != WAIT_ENQUEUE)
        return;
    w->answered = true;
    if (f->status != FSM_OK)
        for (size_t i = 0; i < w->n_reserved; i++)
            sched_propose_abort(s->sched, pr_clock_now(), &w->reserved[i]);
    w->n_reserved = 0;
    shard_enqueue_done(s, w, ack_of[f->status], f->msg.msg_id);
}

/* The rest of a RESULT: told to the core after the rows that it filed. */
static void result_settled(struct shard *s, struct entry *e, uint32_t *open_result)
{
    if (*open_result == UINT32_MAX)
        return;
    struct waiter *w = &e->waiters[*open_result];
    *open_result = UINT32_MAX;
    w->answered = true;
    shard_result_committed(s, w);
}

static void on_result_done(struct shard *s, const struct fsm_effect *f, struct pr_now now)
{
    struct sched_row row = shard_row(&f->result.row);
    /* A late DELIVERED of an older attempt may end a group too. */
    if (f->status == FSM_OK || f->result.group_done)
        sched_row_gone(s->sched, now, row.flow, &row.key);
}

static void count_end(struct shard *s, const struct waiter *w)
{
    static const enum sm_end ends[] = {
        [WAIT_RESULT] = SM_END_DELIVERED, [WAIT_CHECK] = SM_END_BOUNCED, [WAIT_ADMIN] = SM_END_DELETED};
    if (w->kind != WAIT_RESULT && w->kind != WAIT_CHECK && w->kind != WAIT_ADMIN)
        return;
    pr_metric_inc1(s->o.metrics, SM_DEQUEUED, w->expired ? SM_END_EXPIRED : w->failed ? SM_END_BOUNCED : ends[w->kind]);
}

static void attempt_of(const struct cmd_attempt_ref *in, struct sched_ref *out)
{
    *out = (struct sched_ref){in->msg_id, in->group, in->attempt_id};
}

static void apply_effect(struct shard *s, struct entry *e, const struct fsm_effect *f, uint32_t *open_result)
{
    struct pr_now now = pr_clock_now();
    struct waiter *w = &e->waiters[f->command];
    struct sched_row row;
    struct sched_ref ref;
    switch (f->type) {
    case FSM_FLOW_ADDED:
        shard_flow_added(s, &f->flow, false);
        break;
    case FSM_FLOW_DROPPED:
        shard_flow_dropped(s, &f->flow);
        break;
    case FSM_MSG_STORED:
        on_stored(s, w, f);
        break;
    case FSM_PART_STORED:
        w->answered = true;
        shard_part_done(s, w, ack_of[f->status]);
        break;
    case FSM_ROW_FILED:
        row = shard_row(&f->row);
        sched_row_filed(s->sched, now, &row);
        break;
    case FSM_ROW_GONE:
        row = shard_row(&f->row);
        sched_row_gone(s->sched, now, row.flow, &row.key);
        break;
    case FSM_ISSUED:
        w->answered = w->answered || w->kind == WAIT_ISSUE;
        if (w->kind == WAIT_ENQUEUE) {
            row = shard_row(&f->attempt.row);
            sched_row_filed(s->sched, now, &row);
        }
        attempt_of(&f->attempt.ref, &ref);
        sched_issue_done(s->sched, now, &ref, f->status == FSM_OK);
        break;
    case FSM_RESULT_DONE:
        on_result_done(s, f, now);
        *open_result = f->command;
        if (w->bounce && !f->result.bounce_dropped)
            pr_metric_inc1(s->o.metrics, SM_DSN, 0);
        break;
    case FSM_CANCEL:
        if (f->status == FSM_OK)
            break; /* the result that ended the group has told the core */
        row = shard_row(&f->attempt.row);
        sched_row_gone(s->sched, now, row.flow, &row.key);
        break;
    case FSM_NEEDS_REPORT:
        shard_needs_report(s, f->gone.msg_id);
        break;
    case FSM_REPORT_DONE:
        w->answered = true;
        shard_check_done(s, w, f->status);
        break;
    case FSM_ADMIN_DONE:
        w->answered = true;
        if (w->kind == WAIT_ADMIN)
            shard_admin_done(s, w, f->status == FSM_OK);
        else if (w->kind == WAIT_CHECK)
            shard_check_done(s, w, f->status);
        else if (w->kind == WAIT_MEMBER)
            shard_member_done(s, w, true);
        break;
    case FSM_MSG_GONE:
        count_end(s, w);
        break;
    case FSM_LEASE_FREED:
    case FSM_EFFECT_TYPE_NR:
        break;
    }
}

static void on_committed(void *data, int status, uint64_t index, const struct fsm_effects *effects)
{
    struct entry *e = data;
    struct shard *s = e->shard;
    uint32_t open_result = UINT32_MAX;
    (void)index;
    if (status != 0 || !s->leading) {
        entry_fail(s, e, status != 0 ? status : PR_EUNKNOWN);
        entry_free(e);
        return;
    }
    pr_metric_observe(s->o.metrics, SM_RAFT_COMMIT_DURATION, 0, 0, 0, uv_hrtime() / 1000 - e->proposed_us);
    for (size_t i = 0; i < effects->n; i++) {
        if (effects->items[i].command != open_result)
            result_settled(s, e, &open_result);
        apply_effect(s, e, &effects->items[i], &open_result);
    }
    result_settled(s, e, &open_result);
    entry_fail(s, e, PR_EUNKNOWN); /* those no effect has named */
    entry_free(e);
}

static void propose_entry(struct shard *s, struct entry *e)
{
    s->gathered_bytes -= PR_MIN(s->gathered_bytes, cmd_batch_size(&e->batch));
    e->proposed_us = uv_hrtime() / 1000;
    pr_metric_observe(s->o.metrics, SM_RAFT_ENTRY_COMMANDS, 0, 0, 0, e->batch.count);
    struct pr_slice bytes = cmd_batch_finish(&e->batch, pr_clock_now().wall);
    int rc = raft_host_propose(s->raft, bytes, on_committed, e);
    if (rc == 0) {
        pr_buf_fini(&e->batch.buf);
        return;
    }
    entry_fail(s, e, rc);
    entry_free(e);
}

void shard_batch_flush(struct shard *s)
{
    while (!pr_list_empty(&s->gathering) && s->raft != NULL &&
           raft_host_inflight(s->raft) < s->config->queue.commit_in_flight) {
        struct entry *e = pr_list_entry(pr_list_pop_front(&s->gathering), struct entry, link);
        propose_entry(s, e);
    }
}

void shard_batch_drop_all(struct shard *s, int status)
{
    struct pr_list *n;
    while ((n = pr_list_pop_front(&s->gathering)) != NULL) {
        struct entry *e = pr_list_entry(n, struct entry, link);
        entry_fail(s, e, status);
        entry_free(e);
    }
    s->gathered_bytes = 0;
}
