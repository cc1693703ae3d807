/* lane.h - a model of a deliverer's lane and of the sinks it talks to. It keeps the rules that gate.h and sched.h state,
 * and breaks one where the mutation says so. */
#ifndef SIM_SCHEDULER_LANE_H
#define SIM_SCHEDULER_LANE_H

#include "node.h"

static uint32_t lane_open(const struct lane *l, unsigned d)
{
    uint32_t n = 0;
    for (size_t i = 0; i < CONNS; i++)
        n += l->conns[i].phase != CONN_FREE && l->conns[i].dest == d;
    return n;
}

static uint32_t in_hand(const struct lane *l, unsigned d)
{
    uint32_t n = 0;
    for (size_t i = 0; i < LANE_JOBS; i++)
        n += l->jobs[i].used && l->jobs[i].dest == d && l->jobs[i].phase != JOB_DONE;
    return n;
}

static bool fresh(const struct world *w, const struct lane_dest *d)
{
    return w->ms + MARGIN_MS < d->deadline;
}

/* ---- sinks ---- */

static void sink_open(struct world *w, struct conn *c)
{
    struct dest *d = &w->dests[c->dest];
    c->counted = true;
    d->open++;
    if (d->open > d->allowed)
        broken(w, "more connections than the limit", d->open, d->allowed);
}

static void sink_close(struct world *w, struct conn *c)
{
    if (c->counted)
        w->dests[c->dest].open--;
    *c = (struct conn){.phase = CONN_FREE};
}

static void sink_take(struct world *w, struct conn *c, const struct lane_job *j)
{
    struct msg *m = msg_of(w, j->ref.msg_id);
    trace(w, j->ref.msg_id, "taken by the sink", 0, j->ref.attempt_id);
    c->took = true;
    m->delivered++;
    w->dests[c->dest].delivered++;
    w->n_delivered++;
    w->last_taken = w->ms;
    if (m->delivered > 1)
        w->n_duplicates++;
    if (m->delivered > 1 + m->doubts)
        broken(w, "delivered twice", j->ref.msg_id, j->ref.attempt_id);
}

/* ---- jobs ---- */

static struct lane_job *job_at(struct lane *l, const struct sched_ref *ref)
{
    for (size_t i = 0; i < LANE_JOBS; i++)
        if (l->jobs[i].used && l->jobs[i].ref.msg_id == ref->msg_id && l->jobs[i].ref.attempt_id == ref->attempt_id)
            return &l->jobs[i];
    return NULL;
}

static void send_result(struct world *w, struct lane *l, struct lane_job *j)
{
    if (!l->welcomed)
        return;
    struct net_msg *m = net_send(w, NET_RESULT, true, l->index);
    m->ref = j->ref;
    m->flag = j->delivered;
    m->site = j->site;
    m->aborted = j->aborted;
    j->sent_at = w->ms;
}

static void job_done(struct world *w, struct lane *l, struct lane_job *j, bool delivered, bool site)
{
    struct lane_dest *d = &l->dests[j->dest];
    trace(w, j->ref.msg_id, "done, delivered", delivered, j->ref.attempt_id);
    j->phase = JOB_DONE;
    j->delivered = delivered;
    j->site = site;
    if (site) {
        d->failures++;
        w->dests[j->dest].attempts_failed++;
        l->news = true;
    } else {
        d->ok++;
    }
    send_result(w, l, j);
}

static struct lane_job *next_job(struct lane *l, unsigned d)
{
    struct lane_job *best = NULL;
    for (size_t i = 0; i < LANE_JOBS; i++) {
        struct lane_job *j = &l->jobs[i];
        if (j->used && j->phase == JOB_QUEUED && j->dest == d && (best == NULL || j->queued_at < best->queued_at))
            best = j;
    }
    return best;
}

static void start(struct world *w, struct lane *l, struct conn *c, struct lane_job *j)
{
    const struct msg *m = msg_of(w, j->ref.msg_id);
    const struct dest *d = &w->dests[c->dest];
    uint64_t wall = WALL0 + w->ms;
    /* A flush may start what was filed before it. */
    if (wall < j->row.key.due_ms && m->filed_ms > WALL0 + d->flushed_at)
        broken(w, "started before it was due: message, due", j->ref.msg_id, j->row.key.due_ms - WALL0);
    trace(w, j->ref.msg_id, "started by lane", l->index, j->ref.attempt_id);
    j->phase = JOB_RUNNING;
    c->phase = CONN_BUSY;
    c->job = (size_t)(j - l->jobs);
    c->took = false;
    c->until = w->ms + (d->kind == KIND_SLOW ? between(w, 500, 1500) : between(w, 5, 40));
}

static void conn_failed(struct world *w, struct lane *l, struct conn *c)
{
    struct lane_job *j = next_job(l, c->dest);
    unsigned d = c->dest;
    sink_close(w, c);
    if (j != NULL)
        job_done(w, l, j, false, true);
    else
        l->dests[d].failures++;
    l->news = true;
}

static bool reachable(struct world *w, const struct conn *c)
{
    const struct dest *d = &w->dests[c->dest];
    if (d->kind == KIND_FLAPPING)
        return d->up;
    return d->kind != KIND_REFUSING && d->kind != KIND_TIMEOUT;
}

static void conn_advance(struct world *w, struct lane *l, struct conn *c)
{
    struct lane_job *j = c->phase == CONN_BUSY || c->phase == CONN_DOT ? &l->jobs[c->job] : NULL;
    switch (c->phase) {
    case CONN_FREE:
        break;
    case CONN_OPENING:
        if (reachable(w, c))
            c->phase = CONN_IDLE, c->until = w->ms + CONN_IDLE_MS;
        else
            conn_failed(w, l, c);
        break;
    case CONN_IDLE:
        sink_close(w, c);
        l->news = true;
        break;
    case CONN_BUSY:
        if (w->dests[c->dest].kind == KIND_GREYLIST && j->row.attempt == 0) {
            job_done(w, l, j, false, false); /* 4xx to the recipient */
            c->phase = CONN_IDLE, c->until = w->ms + CONN_IDLE_MS;
            break;
        }
        j->phase = JOB_DOT;
        c->phase = CONN_DOT;
        c->until = w->ms + between(w, 2, 30);
        sink_take(w, c, j);
        break;
    case CONN_DOT:
        job_done(w, l, j, true, false);
        c->phase = CONN_IDLE;
        c->until = w->ms + CONN_IDLE_MS;
        break;
    }
}

/* ---- the gate's client ---- */

static void apply_grant(struct world *w, struct lane *l, const struct net_msg *m)
{
    const struct gate_slot *slots = m->items;
    if (m->epoch != l->epoch || m->value + 64 <= l->t_seq || m->value > l->t_seq)
        return;
    uint64_t until = l->asked[m->value % 64] + LEASE_MS;
    for (size_t i = 0; i < m->n; i++) {
        struct lane_dest *d = &l->dests[dest_of(w, slots[i].destination)];
        if (d->told_seq != 0 && m->value >= d->told_seq) {
            d->ok -= d->told_ok;
            d->failures -= d->told_failures;
            d->told_ok = d->told_failures = 0;
            d->told_seq = 0;
        }
        if (slots[i].seq < d->seq)
            continue;
        d->seq = slots[i].seq;
        if (slots[i].slots < d->slots)
            l->news = true;
        d->slots = slots[i].slots;
        d->rate = slots[i].slots == 0 ? 0 : slots[i].rate_count;
        if (until > d->deadline)
            d->deadline = until;
    }
}

static void gate_ask(struct world *w, struct lane *l)
{
    struct gate_want wants[DESTS];
    if (!l->welcomed || (w->ms - l->asked_at < REQUEST_MS && !(l->news && w->ms - l->asked_at >= REQUEST_GAP_MS)))
        return;
    l->t_seq++;
    l->asked_at = l->asked[l->t_seq % 64] = w->ms;
    l->news = false;
    for (unsigned i = 0; i < DESTS; i++) {
        struct lane_dest *d = &l->dests[i];
        uint32_t open = lane_open(l, i);
        if (open <= d->slots || w->mutation == MUT_ACK_EARLY)
            d->acked_seq = d->seq;
        wants[i] = (struct gate_want){.destination = dest_name(w, i), .pool = PR_SLICE_LIT("p"),
                                      .open = w->mutation == MUT_ACK_EARLY && open > d->slots ? d->slots : open,
                                      .wants = d->backlog + in_hand(l, i) + open, .acked_seq = d->acked_seq};
        if (d->told_seq == 0 && (d->ok > 0 || d->failures > 0)) {
            d->told_seq = l->t_seq;
            wants[i].ok = d->told_ok = d->ok;
            wants[i].site_failures = d->told_failures = d->failures;
        } else if (d->told_seq != 0 && l->t_seq - d->told_seq > 40) {
            d->told_seq = 0; /* that request was lost */
        }
    }
    struct net_msg *m = net_send(w, NET_GATE_REQ, true, l->index);
    m->boot = l->boot;
    m->epoch = l->epoch;
    m->value = l->t_seq;
    m->flag = true;
    m->items = pr_memdup(wants, sizeof wants);
    m->n = DESTS;
}

/* ---- credit ---- */

static void give_credit(struct world *w, struct lane *l, unsigned i)
{
    struct lane_dest *d = &l->dests[i];
    uint32_t capacity = fresh(w, d) ? 2 * d->slots : 0, held = in_hand(l, i);
    uint64_t allowed = d->received + (capacity > held ? capacity - held : 0);
    if (!l->welcomed || allowed == d->allowed)
        return;
    d->allowed = allowed;
    struct net_msg *m = net_send(w, NET_CREDIT, true, l->index);
    m->dest = i;
    m->value = allowed;
    if (w->faults && chance(w, 50000)) {
        /* A lost frame: the next one makes it good. */
        m->kind = NET_HELLO_OK;
        d->allowed = UINT64_MAX;
    }
}

static void give_back(struct world *w, struct lane *l, unsigned i)
{
    struct lane_dest *d = &l->dests[i];
    if (d->slots > 0 && fresh(w, d))
        d->no_slot_since = w->ms;
    if (w->ms - d->no_slot_since < 100 || lane_open(l, i) > 0)
        return;
    for (size_t k = 0; k < LANE_JOBS; k++) {
        struct lane_job *j = &l->jobs[k];
        if (!j->used || j->dest != i || j->phase != JOB_QUEUED)
            continue;
        if (l->welcomed)
            net_send(w, NET_RETURN, true, l->index)->ref = j->ref;
        trace(w, j->ref.msg_id, "given back by lane", l->index, j->ref.attempt_id);
        j->used = false;
    }
}

/* ---- messages ---- */

static void receive_job(struct world *w, struct lane *l, const struct net_msg *m)
{
    trace(w, m->ref.msg_id, "job at lane, its term", m->term, m->ref.attempt_id);
    if (m->term < l->term && w->mutation != MUT_OLD_TERMS)
        return;
    if (m->term == l->term)
        l->dests[m->dest].received++;
    if (job_at(l, &m->ref) != NULL)
        return;
    for (size_t i = 0; i < LANE_JOBS; i++) {
        if (l->jobs[i].used)
            continue;
        l->jobs[i] = (struct lane_job){.used = true, .ref = m->ref, .row = m->row, .term = m->term, .dest = m->dest,
                                       .queued_at = w->ms};
        return;
    }
    broken(w, "more jobs than the lane said it holds", l->index, LANE_JOBS);
}

static void welcome(struct world *w, struct lane *l, const struct net_msg *m)
{
    if (m->term == 0)
        return; /* a lost frame in disguise */
    l->welcomed = true;
    trace(w, 0, "lane sends its inventory, term", l->index, m->term);
    if (m->term > l->term)
        l->term = m->term; /* the fence goes up before the inventory */
    if (m->epoch > l->epoch)
        l->epoch = m->epoch;
    l->news = true;
    struct sched_inventory_item *items = pr_calloc(LANE_JOBS, sizeof *items);
    size_t n = 0;
    for (unsigned d = 0; d < DESTS; d++) {
        l->dests[d].received = 0;
        l->dests[d].allowed = UINT64_MAX;
        l->dests[d].backlog = 0;
    }
    for (size_t i = 0; i < LANE_JOBS; i++) {
        if (!l->jobs[i].used)
            continue;
        if (l->jobs[i].phase == JOB_DONE)
            send_result(w, l, &l->jobs[i]);
        if (w->mutation != MUT_NO_INVENTORY)
            items[n++] = (struct sched_inventory_item){l->jobs[i].ref, l->jobs[i].phase == JOB_DONE};
    }
    struct net_msg *inv = net_send(w, NET_INVENTORY, true, l->index);
    inv->items = items;
    inv->n = n;
    inv->flag = true;
}

static void lane_receive(struct world *w, struct lane *l, const struct net_msg *m)
{
    struct lane_job *j;
    l->contact = w->ms;
    switch (m->kind) {
    case NET_HELLO_OK:
        welcome(w, l, m);
        break;
    case NET_JOB:
        receive_job(w, l, m);
        break;
    case NET_RESULT_ACK:
        if ((j = job_at(l, &m->ref)) != NULL && j->phase == JOB_DONE)
            j->used = false;
        break;
    case NET_CANCEL:
        if ((j = job_at(l, &m->ref)) != NULL && j->phase == JOB_QUEUED)
            j->used = false;
        break;
    case NET_DEMAND:
        l->dests[m->dest].backlog = (uint32_t)m->value;
        l->news = true;
        break;
    case NET_GATE_GRANT:
        apply_grant(w, l, m);
        break;
    case NET_HELLO:
    case NET_CREDIT:
    case NET_RETURN:
    case NET_RESULT:
    case NET_INVENTORY:
    case NET_GATE_REQ:
        break;
    }
}

/* ---- life ---- */

static void conns_step(struct world *w, struct lane *l)
{
    for (size_t i = 0; i < CONNS; i++) {
        struct conn *c = &l->conns[i];
        if (c->phase == CONN_FREE)
            continue;
        struct lane_dest *d = &l->dests[c->dest];
        bool surplus = lane_open(l, c->dest) > d->slots || w->ms >= d->deadline;
        struct lane_job *j;
        if (w->ms >= c->until && c->phase != CONN_IDLE) {
            conn_advance(w, l, c);
        } else if (c->phase == CONN_OPENING && surplus) {
            sink_close(w, c);
        } else if (c->phase == CONN_IDLE && surplus) {
            sink_close(w, c);
            l->news = true;
        } else if (c->phase == CONN_IDLE && fresh(w, d) && w->ms - l->contact < SELF_MS &&
                   (j = next_job(l, c->dest)) != NULL) {
            start(w, l, c, j);
        } else if (w->ms >= c->until) {
            conn_advance(w, l, c);
        }
    }
}

static void open_more(struct world *w, struct lane *l, unsigned i)
{
    struct lane_dest *d = &l->dests[i];
    uint32_t open = lane_open(l, i), queued = 0;
    for (size_t k = 0; k < LANE_JOBS; k++)
        queued += l->jobs[k].used && l->jobs[k].phase == JOB_QUEUED && l->jobs[k].dest == i;
    for (size_t k = 0; k < CONNS && open < d->slots && queued > 0 && fresh(w, d) && w->ms - l->contact < SELF_MS; k++) {
        struct conn *c = &l->conns[k];
        if (c->phase != CONN_FREE)
            continue;
        *c = (struct conn){.phase = CONN_OPENING, .dest = i};
        c->until = w->ms + (w->dests[i].kind == KIND_TIMEOUT ? 1000 : between(w, 1, 20));
        sink_open(w, c);
        open++;
        queued--;
    }
}

static void lane_connect(struct world *w, struct lane *l)
{
    if (l->connected || w->ms < l->wake_at || w->ms < l->cut_until || !w->node_up)
        return;
    l->connected = true;
    l->connection = ++w->next_connection;
    l->contact = w->ms;
    net_send(w, NET_HELLO, true, l->index)->boot = l->boot;
}

/* Its journal says what became of each job; without one (the machine is gone) nobody knows. */
static void lane_crash(struct world *w, struct lane *l)
{
    bool journal = chance(w, 700000);
    w->n_crashes++;
    trace(w, 0, journal ? "crash, journal kept, lane" : "crash, journal lost, lane", l->index, l->boot);
    lane_lost(w, l, false);
    for (size_t i = 0; i < CONNS; i++)
        if (l->conns[i].phase != CONN_FREE)
            sink_close(w, &l->conns[i]);
    for (size_t i = 0; i < LANE_JOBS; i++) {
        struct lane_job *j = &l->jobs[i];
        if (!j->used)
            continue;
        if (j->phase == JOB_DOT || (j->phase == JOB_DONE && j->delivered && !journal))
            msg_of(w, j->ref.msg_id)->doubts++;
        trace(w, j->ref.msg_id, "in the crash, phase", j->phase, j->ref.attempt_id);
        if (!journal || j->phase == JOB_QUEUED) {
            j->used = false;
            continue;
        }
        j->aborted = j->phase == JOB_RUNNING;
        j->unknown = j->phase == JOB_DOT;
        j->delivered = j->phase == JOB_DONE && j->delivered;
        j->phase = JOB_DONE;
        j->site = false;
    }
    memset(l->dests, 0, sizeof l->dests);
    l->alive = false;
    l->boot++;
    l->term = 0;
    l->epoch = 0;
    l->wake_at = w->ms + between(w, 200, 4000);
}

static void lane_step(struct world *w, struct lane *l)
{
    if (!l->alive) {
        if (w->ms < l->wake_at)
            return;
        l->alive = true;
    }
    lane_connect(w, l);
    conns_step(w, l);
    for (unsigned i = 0; i < DESTS; i++) {
        open_more(w, l, i);
        give_back(w, l, i);
        give_credit(w, l, i);
    }
    for (size_t i = 0; i < LANE_JOBS; i++)
        if (l->jobs[i].used && l->jobs[i].phase == JOB_DONE && w->ms - l->jobs[i].sent_at >= RESULT_AGAIN_MS)
            send_result(w, l, &l->jobs[i]);
    gate_ask(w, l);
}

static void deliver(struct world *w)
{
    for (unsigned k = 0; k < LANES; k++) {
        struct net_queue *queues[] = {&w->net[k][0], &w->net[k][1], &w->late[k]};
        for (size_t q = 0; q < PR_ARRAY_LEN(queues); q++) {
            while (queues[q]->first != NULL && queues[q]->first->at <= w->ms) {
                struct net_msg *m = net_pop(queues[q]);
                if (q == 1 && w->node_up)
                    node_receive(w, m);
                else if (q != 1 && w->lanes[k].alive)
                    lane_receive(w, &w->lanes[k], m);
                net_free(m);
            }
        }
    }
}

#endif
