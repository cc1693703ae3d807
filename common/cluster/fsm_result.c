/* fsm_result.c - RESULT: what an attempt brought, recipient by recipient, as a lattice.
 *
 * DELIVERED counts from any attempt, because the mail is there whoever brought it. Everything else counts from the
 * attempt that holds the lease only: an older one speaks of a past that a newer attempt has overtaken. A recipient
 * that failed but was not reported yet can still become delivered; a reported one stays failed. */
#include "common/base/alloc.h"
#include "common/cluster/fsm_internal.h"

struct outcome {
    struct fsm_msg m;
    struct fsm_group g;
    struct rec_lease lease;
    bool leased;  /* the group has a lease */
    bool current; /* and it is this attempt's */
    bool counts;  /* the attempt reached the remote, or tried to: not all ABORTED */
    bool all_perm_fresh; /* every PERM here turned a pending recipient into a failed one */
    uint32_t n_delivered, n_failed;
};

static int load(struct fsm *f, const struct cmd_result *r, struct outcome *o, enum fsm_status *ret_status)
{
    *ret_status = FSM_OK;
    int err = fsm_load_msg(f, r->ref.msg_id, &o->m);
    if (err == 0)
        err = fsm_load_group(f, r->ref.msg_id, r->ref.group, &o->g);
    if (err == PR_ENOTFOUND) {
        *ret_status = FSM_GONE;
        return 0;
    }
    if (err == 0)
        err = fsm_load_lease(f, r->ref.msg_id, r->ref.group, &o->lease);
    o->leased = err == 0;
    o->current = o->leased && o->lease.attempt_id == r->ref.attempt_id;
    return err == PR_ENOTFOUND ? 0 : err;
}

static void set_text(struct qread_rcpt *to, const struct cmd_rcpt_result *x, struct pr_slice remote)
{
    to->code = x->code;
    to->enhanced = x->enhanced;
    to->diagnostic = x->diagnostic;
    to->remote = remote;
}

static void take_delivered(struct outcome *o, struct qread_rcpt *to)
{
    bool late = to->status == MAIL_RCPT_FAILED && !to->reported;
    if (to->status != MAIL_RCPT_PENDING && !late)
        return;
    to->status = MAIL_RCPT_DELIVERED;
    o->n_delivered++;
}

static void take_perm(struct outcome *o, struct qread_rcpt *to, bool no_report)
{
    if (to->status != MAIL_RCPT_PENDING) {
        o->all_perm_fresh = false;
        return;
    }
    to->status = MAIL_RCPT_FAILED;
    to->reported = no_report;
    o->n_failed++;
}

static void take_rcpt(struct outcome *o, const struct cmd_result *r, const struct cmd_rcpt_result *x)
{
    struct qread_rcpt *to = &o->g.rec.rcpts[x->index];
    bool was_pending = to->status == MAIL_RCPT_PENDING;
    switch (x->outcome) {
    case MAIL_OUTCOME_DELIVERED:
        o->counts = true;
        take_delivered(o, to);
        break;
    case MAIL_OUTCOME_PERM:
        o->counts = true;
        if (o->current)
            take_perm(o, to, x->no_report);
        break;
    case MAIL_OUTCOME_TEMP:
    case MAIL_OUTCOME_UNKNOWN:
        o->counts = true;
        break;
    case MAIL_OUTCOME_ABORTED:
    case MAIL_OUTCOME_NR:
        break;
    }
    if (was_pending && (o->current || to->status == MAIL_RCPT_DELIVERED))
        set_text(to, x, r->remote);
}

static void take_all(struct fsm *f, struct outcome *o, const struct cmd_result *r)
{
    fsm_need_statuses(f, &o->g);
    o->all_perm_fresh = true;
    for (uint32_t i = 0; i < r->n_rcpts; i++)
        if (r->rcpts[i].index < o->g.rec.n_rcpts)
            take_rcpt(o, r, &r->rcpts[i]);
}

/* The ready-made DSN covers exactly this command's failures; it is taken only if they all are fresh, so that it says
 * nothing that is not so. Otherwise the failures stay unreported and the leader makes another one. */
static int take_bounce(struct fsm *f, struct outcome *o, const struct cmd_result *r, bool *ret_dropped)
{
    *ret_dropped = false;
    if (r->bounce == NULL)
        return 0;
    *ret_dropped = true;
    if (!o->current || !o->all_perm_fresh || o->n_failed == 0)
        return 0;
    enum fsm_status status;
    int err = fsm_do_enqueue(f, r->bounce, true, &status);
    if (err != 0 || status != FSM_OK)
        return err;
    *ret_dropped = false;
    for (uint32_t i = 0; i < r->n_rcpts; i++)
        if (r->rcpts[i].outcome == MAIL_OUTCOME_PERM && r->rcpts[i].index < o->g.rec.n_rcpts)
            o->g.rec.rcpts[r->rcpts[i].index].reported = true;
    return 0;
}

static uint32_t count_pending(const struct fsm_group *g)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < g->rec.n_rcpts; i++)
        n += g->rec.rcpts[i].status == MAIL_RCPT_PENDING;
    return n;
}

/* Files the group again for what is still pending. */
static void file_again(struct fsm *f, struct outcome *o, const struct cmd_result *r, uint32_t n_pending, bool *ret_held)
{
    struct fsm_group *g = &o->g;
    if (!g->rec.parked)
        fsm_drop_sched(f, g);
    fsm_drop_lease(f, g->msg_id, g->index);
    if (o->counts) {
        g->rec.attempt++;
        f->counters.shown.deferred += n_pending;
    }
    g->rec.n_pending = (uint16_t)n_pending;
    g->rec.seq++;
    g->rec.due_ms = r->next_due_ms == 0 ? f->now.ms : r->next_due_ms;
    g->rec.parked = o->m.rec.held;
    *ret_held = o->m.rec.held;
    if (g->rec.parked)
        return;
    fsm_put_sched(f, &o->m, g);
    fsm_emit(f, FSM_ROW_FILED, FSM_OK)->row = fsm_row_of(&o->m, g);
}

/* Nothing is pending any more: no row, no lease; another attempt that still runs has lost its object. */
static void finish_group(struct fsm *f, struct outcome *o)
{
    struct fsm_group *g = &o->g;
    if (!g->had_pending)
        return;
    if (!g->rec.parked)
        fsm_drop_sched(f, g);
    if (!o->leased)
        return;
    fsm_drop_lease(f, g->msg_id, g->index);
    if (!o->current) {
        struct fsm_effect *x = fsm_emit(f, FSM_CANCEL, FSM_OK);
        x->attempt.ref = (struct cmd_attempt_ref){g->msg_id, g->index, o->lease.attempt_id};
        x->attempt.row = fsm_row_of(&o->m, g);
    }
}

/* The answer comes before the effects it causes; effects move when the array grows, so it is found by position. */
static struct fsm_effect *answer_at(struct fsm *f, size_t position)
{
    return f->effects == NULL ? &f->sink : &f->effects->items[position];
}

int fsm_apply_result(struct fsm *f, const struct cmd_result *r)
{
    struct outcome o = {0};
    enum fsm_status status;
    int err = load(f, r, &o, &status);
    if (err != 0)
        return err;
    size_t position = f->effects == NULL ? 0 : f->effects->n;
    struct fsm_effect *x = fsm_emit(f, FSM_RESULT_DONE, status);
    x->result.ref = r->ref;
    x->result.bounce_dropped = r->bounce != NULL;
    if (status == FSM_GONE)
        return 0;
    x->result.row = fsm_row_of(&o.m, &o.g);
    take_all(f, &o, r);
    bool dropped = false, held = false;
    if (!o.current && o.n_delivered == 0) {
        x->status = FSM_STALE;
        x->result.n_pending = o.g.rec.n_pending;
        return 0;
    }
    err = take_bounce(f, &o, r, &dropped);
    if (err != 0)
        return err;
    f->counters.shown.delivered += o.n_delivered;
    f->counters.shown.failed += o.n_failed;
    uint32_t n_pending = count_pending(&o.g);
    if (n_pending == 0)
        finish_group(f, &o);
    else if (o.current)
        file_again(f, &o, r, n_pending, &held);
    x = answer_at(f, position);
    x->status = o.current ? FSM_OK : FSM_STALE;
    x->result.group_done = n_pending == 0;
    x->result.held = held;
    x->result.bounce_dropped = dropped;
    x->result.n_delivered = o.n_delivered;
    x->result.n_failed = o.n_failed;
    x->result.n_pending = n_pending;
    fsm_store_group(f, &o.m, &o.g);
    fsm_store_msg(f, &o.m);
    return 0;
}
