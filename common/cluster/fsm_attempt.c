/* fsm_attempt.c - ISSUE and RELEASE_LEASE: who may try a group, decided before anyone does. */
#include "common/cluster/fsm_internal.h"

/* Loads what the command speaks of; *ret_status is GONE when it is not there. */
static int load(struct fsm *f, uint64_t msg_id, uint16_t group, struct fsm_msg *m, struct fsm_group *g,
                enum fsm_status *ret_status)
{
    int err = fsm_load_msg(f, msg_id, m);
    if (err == 0)
        err = fsm_load_group(f, msg_id, group, g);
    *ret_status = err == PR_ENOTFOUND || (err == 0 && g->rec.n_pending == 0) ? FSM_GONE : FSM_OK;
    return err == PR_ENOTFOUND ? 0 : err;
}

static int check_issue(struct fsm *f, const struct cmd_issue *i, struct fsm_msg *m, struct fsm_group *g,
                       enum fsm_status *ret_status)
{
    int err = load(f, i->msg_id, i->group, m, g, ret_status);
    if (err != 0 || *ret_status != FSM_OK)
        return err;
    struct rec_lease lease;
    err = fsm_load_lease(f, i->msg_id, i->group, &lease);
    if (err != 0 && err != PR_ENOTFOUND)
        return err;
    if (err == 0)
        *ret_status = FSM_LEASED;
    else if (m->rec.held || g->rec.parked)
        *ret_status = FSM_HELD;
    else if (g->rec.due_ms != i->due_ms || g->rec.attempt + 1 != i->attempt || i->attempt_id == 0)
        *ret_status = FSM_STALE;
    return 0;
}

int fsm_apply_issue(struct fsm *f, const struct cmd_issue *i)
{
    struct fsm_msg m;
    struct fsm_group g;
    enum fsm_status status;
    int err = check_issue(f, i, &m, &g, &status);
    if (err != 0)
        return err;
    if (status == FSM_OK) {
        struct rec_lease lease = {
            .attempt_id = i->attempt_id,
            .attempt = i->attempt,
            .node_id = i->node_id,
            .boot_id = i->boot_id,
            .lane = i->lane,
            .issued_ms = i->issued_ms,
        };
        fsm_put_lease(f, i->msg_id, i->group, &lease);
    }
    struct fsm_effect *x = fsm_emit(f, FSM_ISSUED, status);
    x->attempt.ref = (struct cmd_attempt_ref){i->msg_id, i->group, i->attempt_id};
    if (status == FSM_OK)
        x->attempt.row = fsm_row_of(&m, &g);
    return 0;
}

/* A lease given back in a held message leaves the group parked, as if it had been waiting when the hold came. */
static void park_released(struct fsm *f, struct fsm_msg *m, struct fsm_group *g)
{
    fsm_drop_sched(f, g);
    g->rec.parked = true;
    fsm_emit(f, FSM_ROW_GONE, FSM_HELD)->row = fsm_row_of(m, g);
    fsm_store_group(f, m, g);
}

int fsm_apply_release(struct fsm *f, const struct cmd_attempt_ref *r)
{
    struct fsm_msg m;
    struct fsm_group g;
    struct rec_lease lease;
    enum fsm_status status;
    int err = load(f, r->msg_id, r->group, &m, &g, &status);
    if (err == 0 && status == FSM_OK) {
        err = fsm_load_lease(f, r->msg_id, r->group, &lease);
        if (err == PR_ENOTFOUND || (err == 0 && lease.attempt_id != r->attempt_id))
            status = FSM_STALE;
        err = err == PR_ENOTFOUND ? 0 : err;
    }
    if (err != 0)
        return err;
    struct fsm_effect *x = fsm_emit(f, FSM_LEASE_FREED, status);
    x->attempt.ref = *r;
    if (status != FSM_OK)
        return 0;
    x->attempt.row = fsm_row_of(&m, &g);
    fsm_drop_lease(f, r->msg_id, r->group);
    if (m.rec.held)
        park_released(f, &m, &g);
    return 0;
}
