/* node.h - the scheduler node: a model of its shell (log, apply, leases) around the real cores. */
#ifndef SIM_SCHEDULER_NODE_H
#define SIM_SCHEDULER_NODE_H

#include "world.h"

static struct msg *msg_of(struct world *w, uint64_t msg_id)
{
    if (msg_id == 0 || msg_id > w->n_msgs)
        broken(w, "action for an unknown message", msg_id, 0);
    return &w->msgs[msg_id - 1];
}

static bool stored(const struct msg *m)
{
    return m->state == MSG_PENDING;
}

/* What the core is told. */
static struct pr_now core_now(const struct world *w)
{
    struct pr_now now = now_of(w);
    if (w->mutation == MUT_CLOCK)
        now.wall.ms += 2000;
    return now;
}

/* ---- actions of the scheduler core ---- */

static struct cmd *log_add(struct world *w, enum cmd_kind kind)
{
    if (w->n_cmds == CMDS)
        broken(w, "log too long", CMDS, 0);
    struct cmd *c = &w->cmds[w->n_cmds++];
    memset(c, 0, sizeof *c);
    c->kind = kind;
    c->commit_at = w->ms + between(w, 5, 20);
    if (c->commit_at < w->last_commit)
        c->commit_at = w->last_commit;
    w->last_commit = c->commit_at;
    return c;
}

static int by_key(const void *a, const void *b)
{
    const struct sched_key *x = &((const struct sched_row *)a)->key, *y = &((const struct sched_row *)b)->key;
    if (x->due_ms != y->due_ms)
        return x->due_ms < y->due_ms ? -1 : 1;
    if (x->msg_id != y->msg_id)
        return x->msg_id < y->msg_id ? -1 : 1;
    return x->group < y->group ? -1 : x->group > y->group;
}

static void on_scan(void *data, const struct sched_scan *scan, struct sched_row *rows, struct sched_scan_end *ret)
{
    struct world *w = data;
    static const uint64_t none = UINT64_MAX;
    struct sched_row *all = pr_calloc(w->n_msgs + 1, sizeof *all), from = {.key = scan->from};
    size_t n = 0;
    for (size_t i = 0; i < w->n_msgs; i++)
        if (stored(&w->msgs[i]) && w->msgs[i].row.flow == scan->flow && by_key(&w->msgs[i].row, &from) >= 0)
            all[n++] = w->msgs[i].row;
    qsort(all, n, sizeof *all, by_key);
    *ret = (struct sched_scan_end){0, none};
    for (size_t i = 0; i < n; i++) {
        if (ret->n == scan->limit || all[i].key.due_ms > scan->until_due_ms) {
            ret->next_due_ms = all[i].key.due_ms;
            break;
        }
        rows[ret->n++] = all[i];
    }
    pr_free(all);
}

static void send_job(struct world *w, const struct sched_issue *i)
{
    for (unsigned k = 0; k < LANES; k++) {
        if (!w->lanes[k].connected || w->lanes[k].connection != i->lane)
            continue;
        trace(w, i->ref.msg_id, "job sent to lane", k, i->ref.attempt_id);
        struct net_msg *m = net_send(w, NET_JOB, false, k);
        m->term = w->term;
        m->ref = i->ref;
        m->row = i->row;
        m->dest = (i->row.flow - 1) % DESTS;
    }
}

static void on_issue(void *data, const struct sched_issue *issue)
{
    struct world *w = data;
    struct cmd *c = log_add(w, CMD_ISSUE);
    c->ref = issue->ref;
    c->issue = *issue;
    trace(w, issue->ref.msg_id, "issue to lane holder, attempt", issue->holder, issue->ref.attempt_id);
    if (w->mutation == MUT_SEND_EARLY)
        send_job(w, issue);
}

static void on_send(void *data, const struct sched_issue *issue)
{
    struct world *w = data;
    if (msg_of(w, issue->ref.msg_id)->attempt_id != issue->ref.attempt_id)
        broken(w, "job sent without a lease", issue->ref.msg_id, issue->ref.attempt_id);
    if (w->mutation != MUT_SEND_EARLY)
        send_job(w, issue);
}

static void on_cancel(void *data, uint32_t connection, const struct sched_ref *ref)
{
    struct world *w = data;
    for (unsigned k = 0; k < LANES; k++)
        if (w->lanes[k].connected && w->lanes[k].connection == connection)
            net_send(w, NET_CANCEL, false, k)->ref = *ref;
}

static void on_free(void *data, const struct sched_ref *ref)
{
    struct world *w = data;
    log_add(w, CMD_FREE)->ref = *ref;
    trace(w, ref->msg_id, "free lease", 0, ref->attempt_id);
    w->n_released++;
}

static void on_demand(void *data, const struct sched_dest_ref *d, uint32_t backlog, uint32_t weight)
{
    struct world *w = data;
    (void)weight;
    for (unsigned k = 0; k < LANES; k++) {
        if (!w->lanes[k].connected)
            continue;
        struct net_msg *m = net_send(w, NET_DEMAND, false, k);
        m->dest = dest_of(w, d->destination);
        m->value = backlog;
    }
}

static void on_check(void *data, pr_wall until)
{
    struct world *w = data;
    (void)until;
    w->check_pending = true;
}

static void on_quarantine(void *data, const struct sched_row *row, uint32_t losses)
{
    struct world *w = data;
    /* The operator looks at it and lets it go on: the row is taken away and filed anew. */
    (void)losses;
    log_add(w, CMD_DELETE)->ref = (struct sched_ref){row->key.msg_id, 0, 1};
}

/* ---- actions of the gate core ---- */

static void on_limit(void *data, struct pr_slice destination, struct pr_slice pool, struct gate_limit *ret)
{
    const struct world *w = data;
    unsigned d = dest_of(w, destination);
    (void)pool;
    *ret = (struct gate_limit){w->dests[d].limit, 10, 100, w->dests[d].rate, 1000};
}

static void on_grant(void *data, uint64_t holder, uint64_t t_seq, const struct gate_slot *items, size_t n)
{
    struct world *w = data;
    struct lane *l = &w->lanes[holder - 1];
    if (!l->connected)
        return;
    struct net_msg *m = net_send(w, NET_GATE_GRANT, false, l->index);
    m->epoch = w->epoch;
    m->value = t_seq;
    m->items = n == 0 ? NULL : pr_memdup(items, n * sizeof *items);
    m->n = n;
    /* Names in the message outlive the path. */
    for (size_t i = 0; i < n; i++)
        ((struct gate_slot *)m->items)[i].destination = dest_name(w, dest_of(w, items[i].destination));
}

/* ---- apply: the state machine's rules for leases and rows ---- */

static void apply_enqueue(struct world *w, const struct cmd *c, bool leading)
{
    struct msg *m = msg_of(w, c->row.key.msg_id);
    m->state = MSG_PENDING;
    m->row = c->row;
    m->filed_ms = c->row.key.due_ms;
    if (c->issued) {
        m->attempt_id = c->issue.ref.attempt_id;
        m->holder = c->issue.holder;
        m->boot = c->issue.boot_id;
    }
    if (!leading)
        return;
    sched_row_filed(w->sched, core_now(w), &c->row);
    if (c->issued)
        sched_issue_done(w->sched, core_now(w), &c->issue.ref, true);
}

static void apply_issue(struct world *w, const struct cmd *c, bool leading)
{
    struct msg *m = msg_of(w, c->ref.msg_id);
    bool ok = stored(m) && m->row.key.due_ms == c->issue.row.key.due_ms && m->attempt_id == 0;
    if (ok) {
        m->attempt_id = c->ref.attempt_id;
        m->holder = c->issue.holder;
        m->boot = c->issue.boot_id;
    }
    trace(w, c->ref.msg_id, ok ? "issued" : "issue refused", leading, c->ref.attempt_id);
    if (leading)
        sched_issue_done(w->sched, core_now(w), &c->ref, ok);
}

static void tell_filed(struct world *w, const struct msg *m)
{
    if (w->mutation != MUT_LOSE_FILED || !chance(w, 100000))
        sched_row_filed(w->sched, core_now(w), &m->row);
}

static void apply_result(struct world *w, const struct cmd *c, bool leading)
{
    struct msg *m = msg_of(w, c->ref.msg_id);
    bool current = stored(m) && m->attempt_id == c->ref.attempt_id;
    struct sched_key old = m->row.key;
    trace(w, c->ref.msg_id, c->delivered ? "result delivered, current" : "result deferred, current", current,
          c->ref.attempt_id);
    if (stored(m) && (c->delivered || current)) {
        m->attempt_id = 0;
        m->state = c->delivered ? MSG_DONE : MSG_PENDING;
        if (leading)
            sched_row_gone(w->sched, core_now(w), m->row.flow, &old);
        if (!c->delivered) {
            m->row.key.due_ms = c->next_due;
            m->row.attempt++;
            m->filed_ms = c->decided;
            if (leading)
                tell_filed(w, m);
        }
    }
    if (!leading)
        return;
    sched_result_done(w->sched, core_now(w), &c->ref, true);
    if (w->lanes[c->lane].connected)
        net_send(w, NET_RESULT_ACK, false, c->lane)->ref = c->ref;
}

/* An operator's delete; attempt_id 1: taken away and filed anew. */
static void apply_delete(struct world *w, const struct cmd *c, bool leading)
{
    struct msg *m = msg_of(w, c->ref.msg_id);
    if (!stored(m))
        return;
    if (leading)
        sched_row_gone(w->sched, core_now(w), m->row.flow, &m->row.key);
    m->attempt_id = 0;
    if (c->ref.attempt_id != 1) {
        m->state = MSG_DELETED;
        return;
    }
    m->row.key.due_ms = WALL0 + w->ms;
    m->filed_ms = m->row.key.due_ms;
    if (leading)
        sched_row_filed(w->sched, core_now(w), &m->row);
}

static void apply(struct world *w, const struct cmd *c, bool leading)
{
    switch (c->kind) {
    case CMD_ENQUEUE:
        apply_enqueue(w, c, leading);
        break;
    case CMD_ISSUE:
        apply_issue(w, c, leading);
        break;
    case CMD_FREE:
        if (msg_of(w, c->ref.msg_id)->attempt_id == c->ref.attempt_id)
            msg_of(w, c->ref.msg_id)->attempt_id = 0;
        break;
    case CMD_RESULT:
        apply_result(w, c, leading);
        break;
    case CMD_DELETE:
        apply_delete(w, c, leading);
        break;
    }
}

static void log_apply_first(struct world *w, bool leading)
{
    struct cmd c = w->cmds[0];
    memmove(&w->cmds[0], &w->cmds[1], --w->n_cmds * sizeof *w->cmds);
    apply(w, &c, leading);
}

/* ---- life of the node ---- */

static void take_over(struct world *w)
{
    static const struct sched_actions actions = {.scan = on_scan, .issue = on_issue, .send_job = on_send,
                                                 .cancel = on_cancel, .free_lease = on_free, .demand = on_demand,
                                                 .check = on_check, .quarantine = on_quarantine};
    if (w->sched == NULL)
        w->sched = sched_new(&w->sched_cfg, &actions, w);
    sched_start(w->sched, core_now(w), ++w->term);
    for (uint32_t flow = 1; flow <= 2 * DESTS; flow++) {
        static const enum mail_class classes[] = {MAIL_CLASS_NORMAL, MAIL_CLASS_TRANSACTIONAL, MAIL_CLASS_BULK};
        unsigned d = (flow - 1) % DESTS;
        struct sched_flow_spec spec = {.flow = flow, .tenant = PR_SLICE_LIT("t"), .class_ = classes[flow % 3],
                                       .pool = PR_SLICE_LIT("p"), .destination = dest_name(w, d), .cold = true};
        sched_flow_added(w->sched, core_now(w), &spec);
    }
    for (size_t i = 0; i < w->n_msgs; i++) {
        const struct msg *m = &w->msgs[i];
        struct sched_lease lease = {.row = m->row, .attempt_id = m->attempt_id, .holder = m->holder, .boot_id = m->boot};
        if (stored(m) && m->attempt_id != 0)
            sched_lease_found(w->sched, core_now(w), &lease);
    }
    sched_leases_done(w->sched, core_now(w));
    trace(w, 0, "leader, term", w->term, 0);
}

static void new_gate(struct world *w)
{
    static const struct gate_actions actions = {.limit = on_limit, .grant = on_grant};
    uint64_t members[LANES];
    bool known = w->epoch == 0 || chance(w, 700000);
    size_t n = w->epoch == 0 || w->mutation == MUT_NO_LEARNING ? 0 : LANES;
    for (unsigned i = 0; i < LANES; i++)
        members[i] = w->lanes[i].holder;
    w->gate = gate_new(&w->gate_cfg, &actions, w, now_of(w), ++w->epoch, members, n,
                       known || w->mutation == MUT_NO_LEARNING);
}

static void lane_lost(struct world *w, struct lane *l, bool deposed)
{
    trace(w, 0, "connection lost, lane", l->index, 0);
    net_cut(w, l->index, deposed);
    if (!l->connected)
        return;
    l->connected = l->welcomed = false;
    if (w->node_up)
        sched_lane_down(w->sched, core_now(w), l->connection);
}

static void node_start(struct world *w)
{
    w->node_up = true;
    w->check_pending = false;
    take_over(w);
    new_gate(w);
    for (unsigned i = 0; i < LANES; i++)
        w->lanes[i].wake_at = w->ms + between(w, 10, 400);
}

/* The leader dies: a part of what it had proposed is committed all the same. */
static void node_crash(struct world *w)
{
    w->node_up = false;
    trace(w, 0, "leader dies, term", w->term, 0);
    w->n_restarts++;
    w->node_wake = w->ms + between(w, 100, 1500);
    for (unsigned i = 0; i < LANES; i++)
        lane_lost(w, &w->lanes[i], true);
    size_t survive = w->n_cmds == 0 ? 0 : pr_rng_below(&w->rng, w->n_cmds + 1);
    while (survive-- > 0)
        log_apply_first(w, false);
    w->n_cmds = 0;
    w->last_commit = 0;
    sched_stop(w->sched);
    gate_free(w->gate);
    w->gate = NULL;
}

static void new_mail(struct world *w, uint32_t flow)
{
    struct msg *m = &w->msgs[w->n_msgs++];
    struct cmd *c;
    *m = (struct msg){.state = MSG_PROPOSED};
    m->row = (struct sched_row){.flow = flow,
                                .key = {WALL0 + w->ms, w->n_msgs, 0}, .n_rcpts = 1,
                                .size_bytes = between(w, 500, 200000)};
    struct sched_issue issue;
    bool issued = sched_propose(w->sched, core_now(w), &m->row, 0, &issue) == 0;
    trace(w, w->n_msgs, "new, issued", issued, issued ? issue.ref.attempt_id : 0);
    c = log_add(w, CMD_ENQUEUE);
    c->row = m->row;
    c->issued = issued;
    if (issued)
        c->issue = issue;
}

static void node_result(struct world *w, const struct net_msg *m)
{
    struct sched_result r = {.ref = m->ref, .lane = w->lanes[m->lane].connection, .pending_left = !m->flag,
                             .aborted = m->aborted, .site_failure = m->site};
    struct sched_decision d;
    int rc = sched_result(w->sched, core_now(w), &r, &d);
    if (rc == PR_ECLOSED)
        net_send(w, NET_RESULT_ACK, false, m->lane)->ref = m->ref;
    if (rc != 0)
        return;
    struct cmd *c = log_add(w, CMD_RESULT);
    c->ref = m->ref;
    c->delivered = m->flag;
    c->next_due = d.next_due_ms;
    c->decided = WALL0 + w->ms;
    c->lane = m->lane;
}

static void node_hello(struct world *w, const struct net_msg *m)
{
    struct lane *l = &w->lanes[m->lane];
    sched_lane_up(w->sched, core_now(w), l->connection, l->holder, m->boot, LANE_JOBS - 10);
    gate_lane_up(w->gate, now_of(w), l->holder, m->boot);
    struct net_msg *reply = net_send(w, NET_HELLO_OK, false, m->lane);
    reply->term = w->term;
    reply->epoch = w->epoch;
}

static void node_receive(struct world *w, const struct net_msg *m)
{
    struct lane *l = &w->lanes[m->lane];
    switch (m->kind) {
    case NET_HELLO:
        node_hello(w, m);
        break;
    case NET_CREDIT:
        sched_credit(w->sched, core_now(w), l->connection, dest_name(w, m->dest), PR_SLICE_LIT("p"), m->value);
        break;
    case NET_RETURN:
        sched_returned(w->sched, core_now(w), l->connection, &m->ref, 1, SCHED_RETURN_NO_SLOT);
        break;
    case NET_RESULT:
        node_result(w, m);
        break;
    case NET_INVENTORY:
        sched_inventory(w->sched, core_now(w), l->connection, m->items, m->n, m->flag);
        break;
    case NET_GATE_REQ:
        gate_request(w->gate, now_of(w), l->holder, m->boot, m->epoch, m->value, m->flag, m->items, m->n);
        break;
    case NET_HELLO_OK:
    case NET_JOB:
    case NET_RESULT_ACK:
    case NET_CANCEL:
    case NET_DEMAND:
    case NET_GATE_GRANT:
        break;
    }
}

static void node_step(struct world *w)
{
    if (!w->node_up) {
        if (w->ms >= w->node_wake)
            node_start(w);
        return;
    }
    while (w->n_cmds > 0 && w->cmds[0].commit_at <= w->ms)
        log_apply_first(w, true);
    for (int i = 0; i < 20 && sched_deadline(w->sched).ms <= w->ms; i++)
        sched_tick(w->sched, core_now(w));
    if (gate_deadline(w->gate).ms <= w->ms)
        gate_tick(w->gate, now_of(w));
    if (w->check_pending) {
        w->check_pending = false;
        sched_checks_done(w->sched, core_now(w), false);
    }
    for (; w->ms >= w->next_mail && w->n_msgs < w->mails_max; w->next_mail += w->mail_gap)
        new_mail(w, 1 + (uint32_t)pr_rng_below(&w->rng, 2 * DESTS));
}

#endif
