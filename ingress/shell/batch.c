/* Hand-overs: what a loop turn gathered for a shard goes out as few ENQUEUE messages; the answers end the uploads.
 *
 * An upload is handed over again, always with its token, when the answer is NOT_LEADER or UNKNOWN, when the link was reset,
 * or when no answer came for long. Once it may have been stored only the same shard can recognise it, so it waits for that
 * shard; before that any shard will do. It ends when its owner stops waiting. */
#include "common/base/alloc.h"
#include "common/base/assert.h"
#include "common/net/clock.h"
#include "ingress/shell/spool_internal.h"

static struct spool_shard *shard_of(struct upload *u)
{
    return &u->spool->shards[u->shard];
}

/* What the window counts. Bodies that came as parts are stored already, but the shard gives their size back. */
static uint64_t weight(const struct upload *u)
{
    return u->size_bytes;
}

static bool is_bound(const struct upload *u)
{
    return u->maybe_stored || u->body_id != 0;
}

static void queue(struct upload *u)
{
    struct spool *sp = u->spool;
    u->state = UPLOAD_QUEUED;
    if (u->shard == SPOOL_NO_SHARD)
        u->shard = spool_pick(sp, weight(u));
    if (u->shard == SPOOL_NO_SHARD) {
        pr_list_push_back(&sp->homeless, &u->link);
        return;
    }
    pr_list_push_back(&shard_of(u)->queue, &u->link);
    shard_of(u)->queue_bytes += weight(u);
    sp->dirty = true;
}

void batch_add(struct upload *u)
{
    queue(u);
}

void batch_remove(struct upload *u)
{
    if (!pr_list_linked(&u->link))
        return;
    pr_list_remove(&u->link);
    if (u->shard == SPOOL_NO_SHARD)
        return;
    if (u->state == UPLOAD_SENT)
        shard_of(u)->sent_bytes -= weight(u);
    else
        shard_of(u)->queue_bytes -= weight(u);
}

static void again(struct upload *u)
{
    batch_remove(u);
    if (!is_bound(u))
        u->shard = SPOOL_NO_SHARD;
    pr_metric_inc(u->spool->o.metrics, IM_RESENT);
    queue(u);
}

void batch_rehome(struct spool *sp)
{
    struct pr_list *it, *tmp;
    if (sp->intake != ING_INTAKE_OPEN)
        return;
    for (size_t i = 0; i < sp->n_shards; i++) {
        if (sp->shards[i].view.leader)
            continue;
        pr_list_foreach(it, tmp, &sp->shards[i].queue) {
            struct upload *u = pr_list_entry(it, struct upload, link);
            if (is_bound(u))
                continue;
            batch_remove(u);
            u->shard = SPOOL_NO_SHARD;
            queue(u);
        }
    }
    pr_list_foreach(it, tmp, &sp->homeless) {
        struct upload *u = pr_list_entry(it, struct upload, link);
        u->shard = spool_pick(sp, weight(u));
        if (u->shard == SPOOL_NO_SHARD)
            return;
        pr_list_remove(&u->link);
        queue(u);
    }
}

void batch_link_reset(struct spool *sp)
{
    struct pr_list *it, *tmp;
    for (size_t i = 0; i < sp->n_shards; i++)
        pr_list_foreach(it, tmp, &sp->shards[i].sent) {
            struct upload *u = pr_list_entry(it, struct upload, link);
            u->maybe_stored = true;
            again(u);
        }
}

void batch_resend_silent(struct spool *sp, pr_mono now)
{
    struct pr_list *it, *tmp;
    for (size_t i = 0; i < sp->n_shards; i++)
        pr_list_foreach(it, tmp, &sp->shards[i].sent) {
            struct upload *u = pr_list_entry(it, struct upload, link);
            if (pr_mono_since(now, u->sent_at) < SPOOL_RESEND_MS)
                break; /* in the order of sending */
            u->maybe_stored = true;
            again(u);
        }
}

/* ---- sending ---- */

static void fill_item(struct upload *u, struct pr_arena *arena, struct wire_enqueue_item *it)
{
    const char *meta = u->meta.ptr;
    *it = (struct wire_enqueue_item){
        .token = u->token,
        .tenant = pr_slice(meta + u->tenant_at, u->tenant_len),
        .pool = pr_slice(meta + u->pool_at, u->pool_len),
        .class_ = u->class_,
        .envelope = pr_slice(meta, u->envelope_len),
        .groups = pr_arena_alloc(arena, u->n_groups * sizeof *it->groups),
        .n_groups = u->n_groups,
        .body = pr_buf_slice(&u->body),
        .body_id = u->body_id,
        .n_chunks = u->body_id == 0 ? 0 : u->next_seq,
        .size_bytes = u->size_bytes,
    };
    for (size_t i = 0; i < u->n_groups; i++) {
        const struct upload_group *g = &u->groups[i];
        it->groups[i] = (struct wire_enqueue_group){.domain = pr_slice(meta + g->domain_at, g->domain_len),
                                                    .encoded = pr_slice(meta + g->encoded_at, g->encoded_len),
                                                    .n_rcpts = g->n_rcpts};
    }
}

static bool fits_window(const struct spool_shard *s, const struct upload *u)
{
    return s->sent_bytes == 0 || s->sent_bytes + weight(u) <= s->view.window_left;
}

static void mark_sent(struct spool_shard *s, struct upload *u, pr_mono now)
{
    batch_remove(u);
    u->state = UPLOAD_SENT;
    u->sent_at = now;
    pr_list_push_back(&s->sent, &u->link);
    s->sent_bytes += weight(u);
}

/* One message with as many items as fit; returns how many. */
static size_t gather(struct spool_shard *s, struct pr_arena *arena, struct wire_enqueue_item *items, size_t *ret_bytes)
{
    size_t n = 0, bytes = 0;
    pr_mono now = pr_clock_now().mono;
    while (n < SPOOL_BATCH_ITEMS) {
        struct pr_list *first = pr_list_first(&s->queue);
        if (first == NULL)
            break;
        struct upload *u = pr_list_entry(first, struct upload, link);
        size_t size = u->body.len + u->meta.len;
        if (!fits_window(s, u) || (n > 0 && bytes + size > SPOOL_BATCH_BYTES))
            break;
        fill_item(u, arena, &items[n++]);
        bytes += size;
        mark_sent(s, u, now);
    }
    *ret_bytes = bytes;
    return n;
}

static void take_back(struct spool_shard *s, size_t n)
{
    for (; n > 0; n--) {
        struct upload *u = pr_list_entry(s->sent.prev, struct upload, link);
        batch_remove(u);
        u->state = UPLOAD_QUEUED;
        pr_list_push_front(&s->queue, &u->link);
        s->queue_bytes += weight(u);
    }
}

/* False: the link is gone. */
static bool flush_shard(struct spool *sp, uint32_t index)
{
    struct spool_shard *s = &sp->shards[index];
    bool ok = true;
    size_t n = 1;
    while (ok && n > 0 && !pr_list_empty(&s->queue)) {
        struct pr_arena arena = {NULL, 0, 0};
        struct pr_buf payload = {NULL, 0, 0};
        struct wire_enqueue_item *items = pr_arena_alloc(&arena, SPOOL_BATCH_ITEMS * sizeof *items);
        size_t bytes;
        n = gather(s, &arena, items, &bytes);
        if (n > 0) {
            struct wire_msg m = {.type = WIRE_ENQUEUE, .enqueue = {.shard = index, .items = items, .n = n}};
            (void)pr_buf_reserve(&payload, bytes);
            ok = spool_send(sp, false, &m, &payload);
            if (!ok)
                take_back(s, n);
        }
        pr_arena_fini(&arena);
    }
    return ok;
}

void batch_flush(struct spool *sp)
{
    sp->dirty = false;
    for (uint32_t i = 0; i < sp->n_shards; i++)
        if (!pr_list_empty(&sp->shards[i].queue) && sp->shards[i].view.leader && !flush_shard(sp, i)) {
            spool_link_down(sp, "disconnected");
            return;
        }
}

/* ---- answers ---- */

static void on_busy(struct upload *u)
{
    /* Not stored by this hand-over; another shard may have room. */
    shard_of(u)->view.admission = PR_MAX(shard_of(u)->view.admission, (unsigned)ING_ADMISSION_REFUSE);
    if (is_bound(u) || ++u->busy >= SPOOL_TRIES || spool_pick(u->spool, weight(u)) == SPOOL_NO_SHARD)
        upload_finish(u, ING_SPOOL_UNAVAILABLE, 0);
    else
        again(u);
}

static void on_ack(struct upload *u, const struct wire_enqueue_ack_item *a)
{
    switch (a->status) {
    case WIRE_ACK_OK:
        upload_finish(u, ING_SPOOL_OK, a->msg_id);
        break;
    case WIRE_ACK_NOT_LEADER:
        shard_of(u)->view.leader = false; /* until it says otherwise */
        again(u);
        break;
    case WIRE_ACK_UNKNOWN:
        shard_of(u)->view.leader = false;
        u->maybe_stored = true;
        again(u);
        break;
    case WIRE_ACK_BUSY:
        on_busy(u);
        break;
    case WIRE_ACK_FULL:
        upload_finish(u, u->maybe_stored ? ING_SPOOL_UNKNOWN : ING_SPOOL_DISK_FULL, 0);
        break;
    case WIRE_ACK_INVALID:
        upload_finish(u, u->maybe_stored ? ING_SPOOL_UNKNOWN : ING_SPOOL_INVALID, 0);
        break;
    case WIRE_ACK_NR:
        pr_unreachable();
    }
}

void batch_on_ack(struct spool *sp, const struct wire_enqueue_ack *ack)
{
    for (size_t i = 0; i < ack->n; i++) {
        struct upload *u = spool_find(sp, &ack->items[i].token);
        if (u == NULL)
            continue;
        /* An OK counts whenever it comes; a refusal only of what is waiting for one. */
        bool here = u->shard == ack->shard && (u->state == UPLOAD_SENT || u->state == UPLOAD_QUEUED);
        if (here && (u->state == UPLOAD_SENT || ack->items[i].status == WIRE_ACK_OK))
            on_ack(u, &ack->items[i]);
    }
    sp->dirty = true;
}
