/* The lane's two sockets to the scheduler node: control and bulk.
 *
 * 1. HELLO until HELLO_OK. 2. HELLO_OK comes every second: terms, leaders, the gate's epoch. A leader that speaks for the
 * first time gets the results that wait and then the inventory. 3. At the end of each turn: jobs given back, results,
 * inventories, credits, a request to the gate. 4. A heartbeat every second.
 * A message that could not be sent, a silence of the node or of ourselves means that both sides may know different things:
 * a new session begins, on new sockets with a new identity, and counts from zero. A node that was restarted needs only a
 * new HELLO. */
#include <inttypes.h>
#include <stdio.h>

#include "common/base/alloc.h"
#include "deliverer/shell/worker_internal.h"

enum { HELLO_MS = 100, HEARTBEAT_MS = 1000, SILENCE_MS = 4000, BATCH = 256, NODE_IN_IDENTITY = 20, GATE_ITEMS = WIRE_BATCH_MAX };

static void on_message(void *data, struct pr_bus *bus, struct pr_bus_msg *msg);

static bool try_send(struct dlv_worker *w, bool bulk, const struct wire_msg *m)
{
    struct pr_bus *bus = bulk ? w->bulk : w->control;
    pr_buf_clear(&w->header);
    wire_encode(m, &w->header, NULL);
    if (bus == NULL || pr_bus_send(bus, (struct pr_slice){NULL, 0}, pr_buf_slice(&w->header), NULL) != 0) {
        pr_metric_inc1(w->node->metrics, DM_BUS_DROPPED, DM_DROP_NOT_CONNECTED);
        /* What is repeated anyway does not matter, and bulk carries nothing else: it may connect later than control. */
        if (w->registered && !bulk && m->type != WIRE_RESULT)
            w->link_broken = true;
        return false;
    }
    pr_metric_inc2(w->node->metrics, DM_BUS_MESSAGES, 1, m->type);
    return true;
}

void link_send(struct dlv_worker *w, bool bulk, const struct wire_msg *m)
{
    (void)try_send(w, bulk, m);
}

/* --- sessions --- */

static void on_bus_closed(void *data)
{
    struct dlv_worker *w = data;
    w->buses--;
}

static void close_buses(struct dlv_worker *w)
{
    if (w->control != NULL)
        pr_bus_close(w->control, on_bus_closed, w);
    if (w->bulk != NULL)
        pr_bus_close(w->bulk, on_bus_closed, w);
    w->control = w->bulk = NULL;
}

static int connect_one(struct dlv_worker *w, const char *address, bool bulk, struct pr_bus **ret)
{
    struct pr_buf id = {0};
    char *text = NULL;
    /* Routing ids are short: the tail of a long node name is left out, the boot id makes it unique. */
    pr_buf_printf(&id, "d:%.*s:%016" PRIx64 ":%u:%u%s", NODE_IN_IDENTITY, w->node->node_id, w->node->boot_id, w->index,
                  w->session, bulk ? ":bulk" : "");
    int rc = pr_bus_connect(w->node->bus, w->loop, address, pr_buf_slice(&id), on_message, w, ret, &text);
    if (rc != 0)
        pr_error(w->node->log, EV_FAILED, PR_S("address", address), PR_S("error", text == NULL ? pr_strerror(rc) : text));
    else
        w->buses++;
    pr_free(text);
    pr_buf_fini(&id);
    return rc;
}

int link_open(struct dlv_worker *w)
{
    const struct pr_config *c = w->node->config;
    w->session++;
    int rc = connect_one(w, c->bus.address, false, &w->control);
    if (rc == 0)
        rc = connect_one(w, c->bus.bulk_address, true, &w->bulk);
    return rc;
}

void link_close(struct dlv_worker *w)
{
    close_buses(w);
}

static void set_registered(struct dlv_worker *w, bool on)
{
    w->registered = on;
    __atomic_store_n(&w->is_registered, on, __ATOMIC_RELEASE);
}

static void begin_anew(struct dlv_worker *w, pr_mono now)
{
    set_registered(w, false);
    w->link_broken = false;
    w->owed = 0;
    w->next_hello = now;
    dlv_lane_reconnected(w->lane, now);
}

static void new_session(struct dlv_worker *w, pr_mono now)
{
    pr_warn(w->node->log, EV_LANE_LOST, PR_U("lane", w->index));
    close_buses(w);
    begin_anew(w, now);
    w->heard = w->last_beat = now;
    if (link_open(w) != 0)
        w->link_broken = true; /* once more at the next tick */
}

static bool say_hello(struct dlv_worker *w, bool bulk)
{
    const struct wire_msg m = {.type = WIRE_HELLO,
                               .hello = {.role = WIRE_ROLE_DELIVERER,
                                         .node_id = pr_slice_str(w->node->node_id),
                                         .boot_id = w->node->boot_id,
                                         .lane = w->index,
                                         .bulk = bulk,
                                         .max_jobs = w->set->lane.jobs_max}};
    return try_send(w, bulk, &m);
}

void link_tick(struct dlv_worker *w, pr_mono now)
{
    static const struct wire_msg beat = {.type = WIRE_HEARTBEAT};
    if (w->closing)
        return;
    bool silent = w->registered && pr_mono_since(now, w->heard) > SILENCE_MS;
    bool slept = w->registered && pr_mono_since(now, w->last_beat) > SILENCE_MS;
    if (w->link_broken || silent || slept)
        new_session(w, now);
    if (!w->registered && now.ms >= w->next_hello.ms) {
        w->next_hello = pr_mono_add(now, HELLO_MS);
        (void)say_hello(w, false);
    }
    if (now.ms >= w->next_heartbeat.ms) {
        w->next_heartbeat = pr_mono_add(now, HEARTBEAT_MS);
        w->last_beat = now;
        if (w->registered)
            link_send(w, false, &beat);
    }
    /* The bulk socket counts once its lane is known, and may connect later: its heartbeat is HELLO. */
    if (w->registered && now.ms >= w->next_bulk_hello.ms)
        w->next_bulk_hello = pr_mono_add(now, say_hello(w, true) ? HEARTBEAT_MS : HELLO_MS);
}

/* --- what comes in --- */

static void on_hello_ok(struct dlv_worker *w, const struct wire_hello_ok *h, pr_mono now)
{
    if (w->registered && h->boot_id != w->node_boot) {
        /* Restarted: it knows nothing of us. */
        begin_anew(w, now);
        return;
    }
    if (!w->registered) {
        w->node_boot = h->boot_id;
        w->last_beat = w->next_heartbeat = w->next_bulk_hello = now;
        set_registered(w, true);
        pr_info(w->node->log, EV_LANE_UP, PR_U("lane", w->index), PR_U("session", w->session));
    }
    w->heard = now;
    dlv_lane_gate_epoch(w->lane, h->gate_epoch, now);
    for (size_t i = 0; i < h->n_shards; i++) {
        const struct wire_shard_state *s = &h->shards[i];
        if (dlv_lane_shard(w->lane, s->shard, s->term, s->leader, now))
            w->owed |= 1ULL << s->shard;
    }
}

static void on_demand(struct dlv_worker *w, const struct wire_demand *d, pr_mono now)
{
    dlv_lane_contact(w->lane, d->shard, d->term, now);
    for (size_t i = 0; i < d->n; i++)
        dlv_lane_demand(w->lane, d->shard, d->term, d->items[i].destination, d->items[i].pool, d->items[i].backlog,
                        d->items[i].weight, now);
}

static void on_grant(struct dlv_worker *w, const struct wire_gate_grant *g, pr_mono now)
{
    struct dlv_grant items[64];
    size_t at = 0;
    do {
        size_t n = PR_MIN(g->n - at, PR_ARRAY_LEN(items));
        for (size_t i = 0; i < n; i++) {
            const struct wire_gate_slot *s = &g->items[at + i];
            items[i] = (struct dlv_grant){
                .destination = s->destination,
                .pool = s->pool,
                .seq = s->seq,
                .slots = s->slots,
                .mails_per_connection = s->messages_per_connection,
                .rcpts_per_mail = s->recipients_per_message,
                .rate_count = s->rate_count,
                .rate_per_ms = s->rate_per_ms,
            };
        }
        (void)dlv_lane_gate_grant(w->lane, g->gate_epoch, g->t_seq, g->ttl_ms, items, n, now);
        at += n;
    } while (at < g->n);
}

static void unexpected(struct dlv_worker *w)
{
    pr_metric_inc1(w->node->metrics, DM_BUS_DROPPED, DM_DROP_UNEXPECTED);
}

static void dispatch_control(struct dlv_worker *w, const struct wire_msg *m, pr_mono now)
{
    switch (m->type) {
    case WIRE_DEMAND:
        on_demand(w, &m->demand, now);
        break;
    case WIRE_RESULT_ACK:
        dlv_lane_contact(w->lane, m->refs.shard, m->refs.term, now);
        jobs_acknowledged(w, &m->refs);
        break;
    case WIRE_CANCEL:
        jobs_cancelled(w, &m->refs);
        break;
    case WIRE_GATE_GRANT:
        on_grant(w, &m->gate_grant, now);
        break;
    case WIRE_NONE:
    case WIRE_HELLO:
    case WIRE_HELLO_OK:
    case WIRE_HEARTBEAT:
    case WIRE_ENQUEUE:
    case WIRE_ENQUEUE_ACK:
    case WIRE_PART:
    case WIRE_PART_ACK:
    case WIRE_CREDIT:
    case WIRE_JOB:
    case WIRE_RETURN:
    case WIRE_RESULT:
    case WIRE_INVENTORY:
    case WIRE_BODY_GET:
    case WIRE_BODY_CHUNK:
    case WIRE_GATE_REQ:
    case WIRE_TYPE_NR:
        unexpected(w);
        break;
    }
}

static void on_message(void *data, struct pr_bus *bus, struct pr_bus_msg *msg)
{
    struct dlv_worker *w = data;
    struct pr_arena arena;
    struct wire_msg m;
    pr_mono now = pr_clock_now().mono;
    if (w->closing || (bus != w->control && bus != w->bulk)) {
        pr_bus_msg_free(msg);
        return;
    }
    pr_arena_init(&arena);
    if (wire_decode(pr_bus_msg_header(msg), pr_bus_msg_payload(msg), &arena, &m) != 0) {
        pr_metric_inc1(w->node->metrics, DM_BUS_DROPPED, DM_DROP_DECODE);
        pr_bus_msg_free(msg);
        pr_arena_fini(&arena);
        return;
    }
    pr_metric_inc2(w->node->metrics, DM_BUS_MESSAGES, 0, m.type);
    if (m.type == WIRE_BODY_CHUNK && bus == w->bulk) {
        fetch_arrived(w, msg, &m.body_chunk);
    } else if (m.type == WIRE_JOB && bus == w->control) {
        jobs_received(w, msg, &m.jobs);
    } else {
        if (m.type == WIRE_HELLO_OK && bus == w->control)
            on_hello_ok(w, &m.hello_ok, now);
        else if (m.type != WIRE_HELLO_OK)
            dispatch_control(w, &m, now);
        pr_bus_msg_free(msg);
    }
    pr_arena_fini(&arena);
    worker_touch(w);
}

/* --- what goes out --- */

static struct wire_attempt_ref ref_of(const struct dlv_job *job)
{
    return (struct wire_attempt_ref){job->ref.msg_id, job->ref.group, job->ref.attempt_id};
}

static void flush_returns(struct dlv_worker *w)
{
    static const enum wire_return_reason reasons[] = {
        [DLV_RETURN_NO_SLOT] = WIRE_RETURN_NO_SLOT,
        [DLV_RETURN_DRAINING] = WIRE_RETURN_DRAINING,
        [DLV_RETURN_STALE_TERM] = WIRE_RETURN_STALE_TERM,
    };
    struct wire_attempt_ref refs[BATCH];
    struct wire_msg m = {.type = WIRE_RETURN, .return_ = {.items = refs}};
    struct wire_return *r = &m.return_;
    struct dlv_job *job;
    while ((job = dlv_lane_next_return(w->lane)) != NULL) {
        bool tell = job->reason != DLV_RETURN_CANCELLED;
        enum wire_return_reason reason = tell ? reasons[job->reason] : WIRE_RETURN_NO_SLOT;
        bool same = r->shard == job->shard && r->term == job->term && r->reason == reason;
        if (r->n > 0 && tell && (!same || r->n == BATCH)) {
            link_send(w, false, &m);
            r->n = 0;
        }
        if (tell) {
            r->shard = job->shard;
            r->term = job->term;
            r->reason = reason;
            refs[r->n++] = ref_of(job);
        }
        job_free(w, job_of(job));
    }
    if (r->n > 0)
        link_send(w, false, &m);
}

static void put_result(struct pr_arena *arena, const struct job *job, struct wire_result *out)
{
    size_t n = 0;
    struct wire_rcpt_result *rcpts = pr_arena_alloc(arena, job->group.n_rcpts * sizeof *rcpts);
    for (size_t i = 0; i < job->group.n_rcpts; i++) {
        const struct dlv_result *r = &job->mail.results[i];
        if (!r->decided)
            continue;
        /* What a host said on taking the mail is of interest only for a report of success. */
        bool text = r->outcome != MAIL_OUTCOME_DELIVERED || (job->group.rcpts[i].notify & MAIL_NOTIFY_SUCCESS) != 0;
        rcpts[n++] = (struct wire_rcpt_result){
            .index = (uint32_t)i,
            .outcome = r->outcome,
            .code = r->code,
            .enhanced = r->enhanced,
            .diagnostic = text ? r->diagnostic : (struct pr_slice){NULL, 0},
        };
    }
    *out = (struct wire_result){
        .ref = ref_of(&job->core),
        .rcpts = rcpts,
        .n_rcpts = n,
        .scope = job->mail.scope,
        .stage = job->mail.stage,
        .remote = job->remote,
        .tls = job->tls,
        .duration_ms = job->duration_ms,
    };
}

static void flush_results(struct dlv_worker *w, pr_mono now)
{
    struct wire_result items[BATCH];
    struct wire_msg m = {.type = WIRE_RESULT, .results = {.items = items}};
    struct wire_results *r = &m.results;
    struct pr_arena arena;
    struct dlv_job *job;
    pr_arena_init(&arena);
    while ((job = dlv_lane_next_result(w->lane, now)) != NULL) {
        if (r->n > 0 && (r->shard != job->shard || r->term != job->term || r->n == BATCH)) {
            link_send(w, false, &m);
            r->n = 0;
        }
        r->shard = job->shard;
        r->term = job->term;
        put_result(&arena, job_of(job), &items[r->n++]);
    }
    if (r->n > 0)
        link_send(w, false, &m);
    pr_arena_fini(&arena);
}

static void send_inventory(struct dlv_worker *w, uint32_t shard)
{
    static const enum wire_phase phases[] = {
        [DLV_PHASE_READY] = WIRE_PHASE_QUEUED,
        [DLV_PHASE_STARTED] = WIRE_PHASE_STARTED,
        [DLV_PHASE_DOT] = WIRE_PHASE_DOT,
        [DLV_PHASE_DONE] = WIRE_PHASE_DONE,
    };
    struct wire_inventory_item items[BATCH];
    struct wire_msg m = {.type = WIRE_INVENTORY,
                         .inventory = {.shard = shard,
                                       .term = dlv_lane_term(w->lane, shard),
                                       .boot_id = w->node->boot_id,
                                       .items = items}};
    struct dlv_job *job = NULL;
    while ((job = dlv_lane_shard_next(w->lane, shard, job)) != NULL) {
        if (m.inventory.n == BATCH) {
            link_send(w, false, &m);
            m.inventory.n = 0;
        }
        items[m.inventory.n++] = (struct wire_inventory_item){ref_of(job), phases[job->phase]};
    }
    m.inventory.last = true;
    link_send(w, false, &m);
}

static void flush_inventories(struct dlv_worker *w)
{
    for (uint32_t shard = 0; w->owed != 0; shard++) {
        if ((w->owed & 1) != 0)
            send_inventory(w, shard);
        w->owed >>= 1;
    }
}

static void flush_credits(struct dlv_worker *w)
{
    struct wire_credit_item items[BATCH];
    struct wire_msg m = {.type = WIRE_CREDIT, .credit = {.items = items}};
    struct dlv_credit c;
    while (dlv_lane_next_credit(w->lane, &c)) {
        if (m.credit.n > 0 && (m.credit.shard != c.shard || m.credit.n == BATCH)) {
            link_send(w, false, &m);
            m.credit.n = 0;
        }
        m.credit.shard = c.shard;
        m.credit.term = c.term;
        items[m.credit.n++] = (struct wire_credit_item){c.destination, c.pool, c.jobs_allowed};
    }
    if (m.credit.n > 0)
        link_send(w, false, &m);
}

static void flush_gate(struct dlv_worker *w, pr_mono now)
{
    if (!dlv_lane_gate_due(w->lane, now))
        return;
    struct dlv_want *wants = pr_calloc(GATE_ITEMS, sizeof *wants);
    struct wire_gate_want *items = pr_calloc(GATE_ITEMS, sizeof *items);
    struct wire_msg m = {.type = WIRE_GATE_REQ, .gate_req = {.items = items}};
    struct wire_gate_req *r = &m.gate_req;
    r->n = dlv_lane_gate_request(w->lane, wants, GATE_ITEMS, &r->gate_epoch, &r->t_seq, &r->full, now);
    for (size_t i = 0; i < r->n; i++)
        items[i] = (struct wire_gate_want){
            .destination = wants[i].destination,
            .pool = wants[i].pool,
            .open = wants[i].open,
            .wants = wants[i].wants,
            .acked_seq = wants[i].acked_seq,
            .ok = wants[i].ok,
            .site_failures = wants[i].site_failures,
            .last_error = wants[i].last_error,
        };
    link_send(w, false, &m);
    pr_free(items);
    pr_free(wants);
}

void link_flush(struct dlv_worker *w, pr_mono now)
{
    if (!w->registered || w->control == NULL)
        return;
    flush_returns(w);
    flush_results(w, now);
    flush_inventories(w);
    flush_credits(w);
    flush_gate(w, now);
}
