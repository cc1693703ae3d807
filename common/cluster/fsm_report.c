/* fsm_report.c - REPORT: senders are told (or need not be), pending recipients expire, the next check is set.
 *
 * Two passes over the items, so that the command happens as a whole or not at all: 1. every item must be in the state
 * its kind names; 2. the DSN is queued, then the items are marked. Items of one group stand together. */
#include "common/base/alloc.h"
#include "common/cluster/fsm_internal.h"

struct span {
    const struct cmd_report_item *items;
    uint32_t n;
};

/* The items of the group that starts at *at. */
static struct span next_span(const struct cmd_report *r, uint32_t *at)
{
    struct span s = {&r->items[*at], 0};
    while (*at < r->n_items && r->items[*at].group == s.items[0].group) {
        s.n++;
        (*at)++;
    }
    return s;
}

static enum fsm_status check_item(const struct cmd_report *r, const struct qread_rcpt *x, bool leased)
{
    bool pending = x->status == MAIL_RCPT_PENDING;
    bool owed = (x->status == MAIL_RCPT_FAILED || x->status == MAIL_RCPT_EXPIRED) && !x->reported;
    switch (r->kind) {
    case CMD_REPORT_FAILURE:
        return owed ? FSM_OK : FSM_CONFLICT;
    case CMD_REPORT_DELAY:
        return pending ? FSM_OK : FSM_CONFLICT;
    case CMD_REPORT_EXPIRE:
        /* A running attempt is never cut short: its result decides. */
        return pending && leased ? FSM_LEASED : pending || owed ? FSM_OK : FSM_CONFLICT;
    case CMD_REPORT_NONE:
    case CMD_REPORT_KIND_NR:
        break;
    }
    return FSM_CONFLICT;
}

static int check_span(struct fsm *f, const struct cmd_report *r, struct span s, enum fsm_status *ret)
{
    struct fsm_group g;
    struct rec_lease lease;
    int err = fsm_load_group(f, r->msg_id, s.items[0].group, &g);
    if (err != 0) {
        *ret = FSM_CONFLICT;
        return err == PR_ENOTFOUND ? 0 : err;
    }
    err = fsm_load_lease(f, r->msg_id, g.index, &lease);
    if (err != 0 && err != PR_ENOTFOUND)
        return err;
    bool leased = err == 0;
    fsm_need_statuses(f, &g);
    *ret = FSM_OK;
    for (uint32_t i = 0; i < s.n && *ret == FSM_OK; i++)
        *ret = s.items[i].index < g.rec.n_rcpts ? check_item(r, &g.rec.rcpts[s.items[i].index], leased) : FSM_CONFLICT;
    return 0;
}

static int check_items(struct fsm *f, const struct cmd_report *r, enum fsm_status *ret)
{
    *ret = FSM_OK;
    for (uint32_t at = 0; at < r->n_items && *ret == FSM_OK;) {
        int err = check_span(f, r, next_span(r, &at), ret);
        if (err != 0)
            return err;
    }
    return 0;
}

static uint32_t mark(const struct cmd_report *r, struct span s, struct fsm_group *g)
{
    uint32_t n_expired = 0;
    for (uint32_t i = 0; i < s.n; i++) {
        struct qread_rcpt *x = &g->rec.rcpts[s.items[i].index];
        if (x->status == MAIL_RCPT_PENDING && r->kind == CMD_REPORT_EXPIRE) {
            x->status = MAIL_RCPT_EXPIRED;
            n_expired++;
        }
        x->reported = x->status != MAIL_RCPT_PENDING;
    }
    return n_expired;
}

static bool any_pending(const struct fsm_group *g)
{
    for (uint32_t i = 0; i < g->rec.n_rcpts; i++)
        if (g->rec.rcpts[i].status == MAIL_RCPT_PENDING)
            return true;
    return false;
}

static int apply_span(struct fsm *f, const struct cmd_report *r, struct span s, struct fsm_msg *m, uint32_t *n_expired)
{
    struct fsm_group g;
    int err = fsm_load_group(f, r->msg_id, s.items[0].group, &g);
    if (err != 0)
        return err;
    fsm_need_statuses(f, &g);
    *n_expired += mark(r, s, &g);
    if (g.had_pending && !any_pending(&g) && !g.rec.parked) {
        fsm_emit(f, FSM_ROW_GONE, FSM_OK)->row = fsm_row_of(m, &g);
        fsm_drop_sched(f, &g);
    }
    fsm_store_group(f, m, &g);
    return 0;
}

static int carry_out(struct fsm *f, const struct cmd_report *r, struct fsm_msg *m, uint32_t *ret_expired)
{
    *ret_expired = 0;
    for (uint32_t at = 0; r->kind != CMD_REPORT_DELAY && at < r->n_items;) {
        int err = apply_span(f, r, next_span(r, &at), m, ret_expired);
        if (err != 0)
            return err;
    }
    if (r->kind == CMD_REPORT_DELAY)
        m->rec.delay_warned = true;
    if (r->next_check_ms != 0)
        fsm_move_check(f, m, r->next_check_ms);
    f->counters.shown.expired += *ret_expired;
    return 0;
}

int fsm_apply_report(struct fsm *f, const struct cmd_report *r)
{
    struct fsm_msg m;
    enum fsm_status status = FSM_OK;
    uint32_t n_expired = 0;
    int err = fsm_load_msg(f, r->msg_id, &m);
    if (err == PR_ENOTFOUND) {
        status = FSM_GONE;
        err = 0;
    } else if (err == 0) {
        err = check_items(f, r, &status);
    }
    if (err == 0 && status == FSM_OK && r->dsn != NULL)
        err = fsm_do_enqueue(f, r->dsn, true, &status);
    if (err == 0 && status == FSM_OK)
        err = carry_out(f, r, &m, &n_expired);
    if (err != 0)
        return err;
    struct fsm_effect *x = fsm_emit(f, FSM_REPORT_DONE, status);
    x->report.msg_id = r->msg_id;
    x->report.n_expired = n_expired;
    if (status != FSM_OK)
        return 0;
    bool ends = m.rec.groups_left == 0 && m.rec.groups_unreported == 0;
    x->report.next_check_ms = ends ? 0 : m.rec.check_ms;
    fsm_store_msg(f, &m);
    return 0;
}
