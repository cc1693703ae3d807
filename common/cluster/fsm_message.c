/* fsm_message.c - what all commands share: loading and storing messages, groups, schedule rows and leases.
 *
 * The life of a group's rows:
 *
 *   enqueue -> sched row --issue--> sched row + lease --result: pending--> next sched row (seq + 1), lease gone
 *                 ^                        |
 *                 +------ release ---------+--result: nothing pending--> rows gone; record stays while unreported
 *
 *   held: no sched row ("parked"), the record keeps due and seq. */
#include "common/base/alloc.h"
#include "common/base/assert.h"
#include "common/cluster/fsm_internal.h"

int fsm_load_msg(struct fsm *f, uint64_t id, struct fsm_msg *ret)
{
    struct key k = key_msg(id);
    struct pr_slice row;
    int err = stage_get(f->stage, KV_MSG, key_slice(&k), &row);
    if (err == 0)
        err = rec_msg_decode(row, &ret->rec);
    ret->id = id;
    return err;
}

int fsm_load_group(struct fsm *f, uint64_t msg_id, uint16_t index, struct fsm_group *ret)
{
    struct key k = key_rcpt(msg_id, index);
    struct pr_slice row;
    int err = stage_get(f->stage, KV_RCPT, key_slice(&k), &row);
    if (err == 0)
        err = rec_group_decode(row, &f->arena, &ret->rec);
    if (err != 0)
        return err;
    ret->msg_id = msg_id;
    ret->index = index;
    ret->had_pending = ret->rec.n_pending > 0;
    ret->had_unreported = ret->rec.n_unreported > 0;
    return 0;
}

int fsm_load_lease(struct fsm *f, uint64_t msg_id, uint16_t group, struct rec_lease *ret)
{
    struct key k = key_lease(msg_id, group);
    struct pr_slice row;
    int err = stage_get(f->stage, KV_LEASE, key_slice(&k), &row);
    return err == 0 ? rec_lease_decode(row, ret) : err;
}

void fsm_put_lease(struct fsm *f, uint64_t msg_id, uint16_t group, const struct rec_lease *lease)
{
    struct key k = key_lease(msg_id, group);
    rec_lease_encode(lease, &f->record);
    stage_insert(f->stage, KV_LEASE, key_slice(&k), pr_buf_slice(&f->record));
    f->counters.shown.leases++;
}

void fsm_drop_lease(struct fsm *f, uint64_t msg_id, uint16_t group)
{
    struct key k = key_lease(msg_id, group);
    stage_remove(f->stage, KV_LEASE, key_slice(&k));
    f->counters.shown.leases--;
}

static struct key sched_key(const struct fsm_group *g)
{
    return key_sched(&(struct key_sched){
        .flow = g->rec.flow_id, .due_ms = g->rec.due_ms, .msg_id = g->msg_id, .group = g->index, .seq = g->rec.seq});
}

void fsm_put_sched(struct fsm *f, const struct fsm_msg *m, const struct fsm_group *g)
{
    struct key k = sched_key(g);
    rec_sched_encode(
        &(struct rec_sched){.size_bytes = m->rec.size_bytes, .n_rcpts = g->rec.n_pending, .attempt = g->rec.attempt},
        &f->record);
    stage_insert(f->stage, KV_SCHED, key_slice(&k), pr_buf_slice(&f->record));
}

void fsm_drop_sched(struct fsm *f, const struct fsm_group *g)
{
    struct key k = sched_key(g);
    stage_remove(f->stage, KV_SCHED, key_slice(&k));
}

struct fsm_row fsm_row_of(const struct fsm_msg *m, const struct fsm_group *g)
{
    return (struct fsm_row){
        .flow_id = g->rec.flow_id,
        .due_ms = g->rec.due_ms,
        .msg_id = g->msg_id,
        .group = g->index,
        .attempt = g->rec.attempt,
        .size_bytes = m->rec.size_bytes,
        .n_rcpts = g->rec.n_pending,
    };
}

void fsm_need_statuses(struct fsm *f, struct fsm_group *g)
{
    if (g->rec.rcpts == NULL)
        g->rec.rcpts = pr_arena_zalloc(&f->arena, g->rec.n_rcpts * sizeof *g->rec.rcpts);
}

static void recount(struct rec_group *g)
{
    if (g->rcpts == NULL)
        return;
    g->n_pending = g->n_unreported = 0;
    for (uint32_t i = 0; i < g->n_rcpts; i++) {
        const struct qread_rcpt *r = &g->rcpts[i];
        if (r->status == MAIL_RCPT_PENDING)
            g->n_pending++;
        else if (r->status != MAIL_RCPT_DELIVERED && !r->reported)
            g->n_unreported++;
    }
}

void fsm_store_group(struct fsm *f, struct fsm_msg *m, struct fsm_group *g)
{
    recount(&g->rec);
    bool pending = g->rec.n_pending > 0, unreported = g->rec.n_unreported > 0;
    if (g->had_pending && !pending) {
        m->rec.groups_left--;
        f->counters.shown.groups_waiting--;
    }
    m->rec.groups_unreported = (uint16_t)(m->rec.groups_unreported + unreported - g->had_unreported);
    struct key k = key_rcpt(g->msg_id, g->index);
    if (pending || unreported) {
        rec_group_encode(&g->rec, &f->record);
        stage_put(f->stage, KV_RCPT, key_slice(&k), pr_buf_slice(&f->record));
    } else {
        stage_remove(f->stage, KV_RCPT, key_slice(&k));
    }
    g->had_pending = pending;
    g->had_unreported = unreported;
}

static void put_msg(struct fsm *f, const struct fsm_msg *m)
{
    struct key k = key_msg(m->id);
    rec_msg_encode(&m->rec, &f->record);
    stage_put(f->stage, KV_MSG, key_slice(&k), pr_buf_slice(&f->record));
}

/* Its check may be hours away; a new leader that must find it soon reads the index of this minute. */
static void await_report(struct fsm *f, struct fsm_msg *m)
{
    m->rec.report_minute = key_minute(f->now.ms);
    if (m->rec.report_minute == 0)
        m->rec.report_minute = 1; /* 0 says there is none */
    struct key k = key_expq(m->rec.report_minute, EXPQ_REPORT, m->id);
    stage_insert(f->stage, KV_EXPQ, key_slice(&k), PR_SLICE_LIT(""));
    f->counters.shown.reports_owed++;
    fsm_emit(f, FSM_NEEDS_REPORT, FSM_OK)->gone.msg_id = m->id;
}

void fsm_end_msg(struct fsm *f, const struct fsm_msg *m)
{
    struct key k = key_msg(m->id);
    stage_remove(f->stage, KV_MSG, key_slice(&k));
    for (uint32_t i = 0; i < m->rec.n_chunks; i++) {
        k = key_body(m->rec.body_id, i);
        stage_remove(f->stage, KV_BODY, key_slice(&k));
    }
    k = key_expq(m->rec.check_minute, EXPQ_CHECK, m->id);
    stage_remove(f->stage, KV_EXPQ, key_slice(&k));
    if (m->rec.report_minute != 0) {
        k = key_expq(m->rec.report_minute, EXPQ_REPORT, m->id);
        stage_remove(f->stage, KV_EXPQ, key_slice(&k));
        f->counters.shown.reports_owed--;
    }
    f->counters.shown.messages--;
    f->counters.shown.bytes -= m->rec.size_bytes;
    f->counters.shown.held -= m->rec.held;
    fsm_emit(f, FSM_MSG_GONE, FSM_OK)->gone.msg_id = m->id;
}

void fsm_store_msg(struct fsm *f, struct fsm_msg *m)
{
    if (m->rec.groups_left == 0 && m->rec.groups_unreported == 0) {
        fsm_end_msg(f, m);
        return;
    }
    if (m->rec.groups_left == 0 && m->rec.report_minute == 0)
        await_report(f, m);
    put_msg(f, m);
}

void fsm_move_check(struct fsm *f, struct fsm_msg *m, uint64_t check_ms)
{
    struct key old = key_expq(m->rec.check_minute, EXPQ_CHECK, m->id);
    stage_remove(f->stage, KV_EXPQ, key_slice(&old));
    uint32_t minute = key_minute(check_ms);
    m->rec.check_ms = check_ms;
    /* Strictly forward: the key was never there before. */
    m->rec.check_minute = PR_MAX(minute, m->rec.check_minute + 1);
    struct key k = key_expq(m->rec.check_minute, EXPQ_CHECK, m->id);
    stage_insert(f->stage, KV_EXPQ, key_slice(&k), PR_SLICE_LIT(""));
}
