/* fsm_admin.c - what operators and the shell ask for: HOLD, UNHOLD, DELETE, RETRY, the gate's records, EPOCH. */
#include "common/cluster/fsm_internal.h"

static void answer(struct fsm *f, enum cmd_type type, uint64_t id, enum fsm_status status, uint32_t count)
{
    struct fsm_effect *x = fsm_emit(f, FSM_ADMIN_DONE, status);
    x->admin.type = type;
    x->admin.id = id;
    x->admin.count = count;
}

/* One group of a message under an administrator's hand; returns through *counted whether it was concerned. */
typedef void (*group_fn)(struct fsm *f, struct fsm_msg *m, struct fsm_group *g, const struct rec_lease *lease,
                         uint64_t due_ms, bool *counted);

static int each_group(struct fsm *f, struct fsm_msg *m, uint64_t due_ms, group_fn fn, uint32_t *ret_count)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < m->rec.n_groups; i++) {
        struct fsm_group g;
        struct rec_lease lease;
        int err = fsm_load_group(f, m->id, (uint16_t)i, &g);
        if (err == PR_ENOTFOUND)
            continue; /* ended */
        if (err != 0)
            return err;
        err = fsm_load_lease(f, m->id, (uint16_t)i, &lease);
        if (err != 0 && err != PR_ENOTFOUND)
            return err;
        bool counted = false;
        fn(f, m, &g, err == 0 ? &lease : NULL, due_ms, &counted);
        count += counted;
    }
    *ret_count = count;
    return 0;
}

/* GONE as a value. */
static int load(struct fsm *f, uint64_t msg_id, struct fsm_msg *m, enum fsm_status *ret_status)
{
    int err = fsm_load_msg(f, msg_id, m);
    *ret_status = err == PR_ENOTFOUND ? FSM_GONE : FSM_OK;
    return err == PR_ENOTFOUND ? 0 : err;
}

/* Under a running attempt the row stays; the attempt's end parks the group. */
static void hold_group(struct fsm *f, struct fsm_msg *m, struct fsm_group *g, const struct rec_lease *lease,
                       uint64_t due_ms, bool *counted)
{
    (void)due_ms;
    if (!g->had_pending || g->rec.parked)
        return;
    *counted = true;
    if (lease != NULL)
        return;
    fsm_drop_sched(f, g);
    g->rec.parked = true;
    fsm_emit(f, FSM_ROW_GONE, FSM_HELD)->row = fsm_row_of(m, g);
    fsm_store_group(f, m, g);
}

int fsm_apply_hold(struct fsm *f, uint64_t msg_id)
{
    struct fsm_msg m;
    enum fsm_status status;
    uint32_t count = 0;
    int err = load(f, msg_id, &m, &status);
    if (err == 0 && status == FSM_OK && m.rec.held)
        status = FSM_CONFLICT;
    if (err == 0 && status == FSM_OK) {
        m.rec.held = true;
        f->counters.shown.held++;
        err = each_group(f, &m, 0, hold_group, &count);
        if (err == 0)
            fsm_store_msg(f, &m);
    }
    if (err == 0)
        answer(f, CMD_HOLD, msg_id, status, count);
    return err;
}

/* A new key each time: seq counts the filings of the group. */
static void refile(struct fsm *f, const struct fsm_msg *m, struct fsm_group *g, uint64_t due_ms)
{
    g->rec.seq++;
    g->rec.due_ms = due_ms == 0 ? f->now.ms : due_ms;
    fsm_put_sched(f, m, g);
    fsm_emit(f, FSM_ROW_FILED, FSM_OK)->row = fsm_row_of(m, g);
}

static void unhold_group(struct fsm *f, struct fsm_msg *m, struct fsm_group *g, const struct rec_lease *lease,
                         uint64_t due_ms, bool *counted)
{
    (void)lease;
    if (!g->rec.parked || !g->had_pending)
        return;
    *counted = true;
    g->rec.parked = false;
    /* The flow may have been dropped while no row of it was left. */
    g->rec.flow_id = fsm_flow_id(f, m->rec.class_, m->rec.tenant, m->rec.pool, g->rec.domain);
    refile(f, m, g, due_ms);
    fsm_store_group(f, m, g);
}

int fsm_apply_unhold(struct fsm *f, const struct cmd_admin *a)
{
    struct fsm_msg m;
    enum fsm_status status;
    uint32_t count = 0;
    int err = load(f, a->msg_id, &m, &status);
    if (err == 0 && status == FSM_OK && !m.rec.held)
        status = FSM_CONFLICT;
    if (err == 0 && status == FSM_OK) {
        m.rec.held = false;
        f->counters.shown.held--;
        err = each_group(f, &m, a->due_ms, unhold_group, &count);
        if (err == 0)
            fsm_store_msg(f, &m);
    }
    if (err == 0)
        answer(f, CMD_UNHOLD, a->msg_id, status, count);
    return err;
}

static void retry_group(struct fsm *f, struct fsm_msg *m, struct fsm_group *g, const struct rec_lease *lease,
                        uint64_t due_ms, bool *counted)
{
    uint64_t due = due_ms == 0 ? f->now.ms : due_ms;
    if (!g->had_pending || g->rec.parked || lease != NULL || g->rec.due_ms <= due)
        return;
    *counted = true;
    fsm_drop_sched(f, g);
    fsm_emit(f, FSM_ROW_GONE, FSM_OK)->row = fsm_row_of(m, g);
    refile(f, m, g, due);
    fsm_store_group(f, m, g);
}

int fsm_apply_retry(struct fsm *f, const struct cmd_admin *a)
{
    struct fsm_msg m;
    enum fsm_status status;
    uint32_t count = 0;
    int err = load(f, a->msg_id, &m, &status);
    if (err == 0 && status == FSM_OK && m.rec.held)
        status = FSM_HELD;
    if (err == 0 && status == FSM_OK) /* the message's own record does not change */
        err = each_group(f, &m, a->due_ms, retry_group, &count);
    if (err == 0)
        answer(f, CMD_RETRY, a->msg_id, status, count);
    return err;
}

static void delete_group(struct fsm *f, struct fsm_msg *m, struct fsm_group *g, const struct rec_lease *lease,
                         uint64_t due_ms, bool *counted)
{
    (void)due_ms;
    if (g->had_pending) {
        *counted = true;
        if (!g->rec.parked)
            fsm_drop_sched(f, g);
        f->counters.shown.groups_waiting--;
    }
    if (lease != NULL) {
        struct fsm_effect *x = fsm_emit(f, FSM_CANCEL, FSM_GONE);
        x->attempt.ref = (struct cmd_attempt_ref){m->id, g->index, lease->attempt_id};
        x->attempt.row = fsm_row_of(m, g);
        fsm_drop_lease(f, m->id, g->index);
    } else if (g->had_pending && !g->rec.parked) {
        fsm_emit(f, FSM_ROW_GONE, FSM_GONE)->row = fsm_row_of(m, g);
    }
    struct key k = key_rcpt(m->id, g->index);
    stage_remove(f->stage, KV_RCPT, key_slice(&k));
}

int fsm_apply_delete(struct fsm *f, uint64_t msg_id)
{
    struct fsm_msg m;
    enum fsm_status status;
    uint32_t count = 0;
    int err = load(f, msg_id, &m, &status);
    if (err == 0 && status == FSM_OK) {
        err = each_group(f, &m, 0, delete_group, &count);
        if (err == 0)
            fsm_end_msg(f, &m);
    }
    if (err == 0)
        answer(f, CMD_DELETE, msg_id, status, count);
    return err;
}

int fsm_apply_gate(struct fsm *f, enum cmd_type type, const struct cmd_gate *g)
{
    struct pr_slice old;
    int err = stage_get(f->stage, KV_GATE, g->key, &old);
    if (err != 0 && err != PR_ENOTFOUND)
        return err;
    enum fsm_status status = FSM_OK;
    if (type == CMD_GATE_PUT)
        stage_put(f->stage, KV_GATE, g->key, g->value);
    else if (err == 0)
        stage_remove(f->stage, KV_GATE, g->key);
    else
        status = FSM_GONE;
    answer(f, type, 0, status, status == FSM_OK);
    return 0;
}

void fsm_apply_epoch(struct fsm *f, const struct cmd_epoch *e)
{
    struct key k = key_epoch();
    pr_buf_clear(&f->record);
    pr_buf_le64(&f->record, e->term);
    pr_buf_le64(&f->record, e->node);
    stage_put(f->stage, KV_META, key_slice(&k), pr_buf_slice(&f->record));
    answer(f, CMD_EPOCH, e->term, FSM_OK, 1);
}
