/* Mail from ingress: ENQUEUE items become commands (ids are made here, capacity is reserved with the core so that the
 * ISSUE rides in the same entry), PARTs of large bodies likewise; acknowledgements leave after commit, one message per
 * lane and turn. Refusals are answered at once, before anything is stored. */
#include "common/base/alloc.h"
#include "common/base/assert.h"
#include "scheduler/shell/shard_internal.h"

/* Gathered and not yet proposed: beyond this the disk does not keep up and ingress must wait. */
static const size_t GATHERED_MAX = 64u * 1024 * 1024;
static const uint64_t UPLOAD_LIFETIME_MS = 60 * 60 * 1000;

static bool peer_eq(const struct peer *a, const struct peer *b)
{
    return a->bulk == b->bulk && a->routing_len == b->routing_len && memcmp(a->routing, b->routing, a->routing_len) == 0;
}

static struct ack_list *acks_of(struct shard *s, const struct peer *to)
{
    for (size_t i = 0; i < s->n_acks; i++)
        if (peer_eq(&s->acks[i].peer, to))
            return &s->acks[i];
    if (s->n_acks == s->cap_acks) {
        s->cap_acks = s->cap_acks == 0 ? 4 : s->cap_acks * 2;
        s->acks = pr_realloc(s->acks, s->cap_acks * sizeof *s->acks);
    }
    s->acks[s->n_acks] = (struct ack_list){.peer = *to};
    return &s->acks[s->n_acks++];
}

static void acknowledge(struct shard *s, const struct peer *to, const struct wire_token *token,
                        enum wire_ack_status status, uint64_t msg_id, uint64_t bytes)
{
    struct ack_list *a = acks_of(s, to);
    if (a->n == a->cap) {
        a->cap = a->cap == 0 ? 64 : a->cap * 2;
        a->items = pr_realloc(a->items, a->cap * sizeof *a->items);
    }
    a->items[a->n++] = (struct wire_enqueue_ack_item){*token, status, msg_id};
    a->bytes += bytes;
}

void shard_flush_acks(struct shard *s)
{
    for (size_t i = 0; i < s->n_acks; i++) {
        struct ack_list *a = &s->acks[i];
        s->enqueue_bytes += a->bytes;
        for (size_t at = 0; at < a->n; at += WIRE_BATCH_MAX) {
            struct wire_msg m = {.type = WIRE_ENQUEUE_ACK,
                                 .enqueue_ack = {s->o.id, s->enqueue_bytes, a->items + at,
                                                 PR_MIN(a->n - at, (size_t)WIRE_BATCH_MAX)}};
            bus_post_add(shard_out(s), &a->peer, &m);
        }
        pr_free(a->items);
    }
    s->n_acks = 0;
}

void shard_enqueue_done(struct shard *s, struct waiter *w, enum wire_ack_status status, uint64_t msg_id)
{
    if (s->leading)
        for (size_t i = 0; i < w->n_reserved; i++)
            sched_propose_abort(s->sched, pr_clock_now(), &w->reserved[i]);
    w->n_reserved = 0;
    acknowledge(s, &w->peer, &w->token, status, msg_id, w->size_bytes);
}

static enum wire_ack_status refusal(const struct shard *s, const struct wire_enqueue_item *it)
{
    unsigned level = atomic_load_explicit(&s->admission, memory_order_relaxed);
    if (!s->leading)
        return WIRE_ACK_NOT_LEADER;
    if (level >= 4)
        return WIRE_ACK_FULL;
    if (level >= 3 || (level >= 2 && it->class_ == MAIL_CLASS_BULK) || s->gathered_bytes > GATHERED_MAX)
        return WIRE_ACK_BUSY;
    if (it->body.len > CMD_BODY_CHUNK_MAX || it->n_groups > CMD_GROUPS_MAX || it->envelope.len > CMD_ENVELOPE_MAX)
        return WIRE_ACK_INVALID;
    return WIRE_ACK_OK;
}

/* Reserves what can go at once. All groups issued in one command go to one lane (the command names one holder). */
static void reserve(struct shard *s, const struct wire_enqueue_item *it, struct cmd_enqueue *c, struct waiter *w,
                    struct pr_now now)
{
    struct sched_ref refs[ISSUE_REFS_MAX];
    struct lane_facts *holder = NULL;
    size_t n = 0;
    for (uint32_t g = 0; g < c->n_groups && n < ISSUE_REFS_MAX; g++) {
        struct flow_entry *f = shard_flow_find(s, it->class_, it->tenant, it->pool, it->groups[g].domain);
        struct sched_issue issue;
        struct sched_row row = {.key = {.due_ms = c->groups[g].due_ms, .msg_id = c->msg_id, .group = g},
                                .n_rcpts = c->groups[g].n_rcpts,
                                .size_bytes = c->size_bytes};
        if (f == NULL)
            continue;
        row.flow = f->flow_id;
        if (sched_propose(s->sched, now, &row, holder == NULL ? 0 : holder->lane_id, &issue) != 0)
            continue;
        holder = pr_map_get(&s->lanes, issue.lane);
        pr_assert(holder != NULL);
        c->groups[g].attempt_id = issue.ref.attempt_id;
        refs[n++] = issue.ref;
    }
    if (n == 0)
        return;
    c->issue_node = pr_slice(holder->node, holder->node_len);
    c->issue_boot_id = holder->boot_id;
    c->issue_lane = holder->lane;
    w->reserved = pr_memdup(refs, n * sizeof refs[0]);
    w->n_reserved = n;
}

static uint64_t check_time(const struct shard *s, uint64_t now_ms, uint64_t expiry_ms)
{
    uint64_t warning = s->config->queue.delay_warning_ms;
    return warning == 0 ? expiry_ms : PR_MIN(now_ms + warning, expiry_ms);
}

static void enqueue_item(struct shard *s, const struct peer *from, const struct wire_enqueue_item *it)
{
    struct pr_now now = pr_clock_now();
    struct cmd_group *groups = pr_arena_zalloc(&s->turn, it->n_groups * sizeof *groups);
    struct waiter w = {.kind = WAIT_ENQUEUE, .peer = *from, .token = it->token, .size_bytes = it->size_bytes};
    for (size_t g = 0; g < it->n_groups; g++)
        groups[g] = (struct cmd_group){.domain = it->groups[g].domain,
                                       .encoded = it->groups[g].encoded,
                                       .n_rcpts = it->groups[g].n_rcpts,
                                       .due_ms = now.wall.ms};
    uint64_t expiry = now.wall.ms + (it->lifetime_ms > 0 ? it->lifetime_ms : s->config->queue.lifetime_ms);
    struct cmd c = {.type = CMD_ENQUEUE,
                    .enqueue = {.msg_id = shard_next_id(s, now.wall),
                                .received_ms = now.wall.ms,
                                .expiry_ms = expiry,
                                .check_ms = check_time(s, now.wall.ms, expiry),
                                .class_ = it->class_,
                                .tenant = it->tenant,
                                .pool = it->pool,
                                .envelope = it->envelope,
                                .size_bytes = it->size_bytes,
                                .body = it->body,
                                .body_id = it->body_id,
                                .n_chunks = it->n_chunks,
                                .groups = groups,
                                .n_groups = (uint32_t)it->n_groups}};
    memcpy(c.enqueue.token.bytes, it->token.bytes, sizeof c.enqueue.token.bytes);
    reserve(s, it, &c.enqueue, &w, now);
    if (shard_propose(s, &c, &w) != 0) {
        shard_enqueue_done(s, &w, WIRE_ACK_INVALID, 0);
        pr_free(w.reserved);
    }
}

void shard_on_enqueue(struct shard *s, const struct peer *from, const struct wire_enqueue *m)
{
    for (size_t i = 0; i < m->n; i++) {
        enum wire_ack_status no = refusal(s, &m->items[i]);
        if (no == WIRE_ACK_OK)
            enqueue_item(s, from, &m->items[i]);
        else
            acknowledge(s, from, &m->items[i].token, no, 0, m->items[i].size_bytes);
    }
}

void shard_part_done(struct shard *s, const struct waiter *w, enum wire_ack_status status)
{
    struct wire_msg m = {.type = WIRE_PART_ACK,
                         .part_ack = {.shard = s->o.id, .token = w->token, .body_id = w->body_id, .seq = w->seq,
                                      .status = status}};
    bus_post_add(shard_out(s), &w->peer, &m);
}

void shard_on_part(struct shard *s, const struct peer *from, const struct wire_part *m)
{
    struct pr_now now = pr_clock_now();
    struct waiter w = {.kind = WAIT_PART, .peer = *from, .token = m->token, .body_id = m->body_id, .seq = m->seq};
    struct wire_enqueue_item probe = {.class_ = MAIL_CLASS_NORMAL};
    enum wire_ack_status no = refusal(s, &probe);
    if (no != WIRE_ACK_OK) {
        shard_part_done(s, &w, no);
        return;
    }
    if (w.body_id == 0)
        w.body_id = shard_next_id(s, now.wall);
    struct cmd c = {.type = CMD_PART,
                    .part = {.body_id = w.body_id,
                             .seq = m->seq,
                             .reap_ms = now.wall.ms + UPLOAD_LIFETIME_MS,
                             .bytes = m->bytes}};
    if (shard_propose(s, &c, &w) != 0)
        shard_part_done(s, &w, WIRE_ACK_INVALID);
}
