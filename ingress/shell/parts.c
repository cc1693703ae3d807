/* Large bodies travel ahead of their envelope as parts, in order, on the bulk lane, SPOOL_PARTS_MAX of an upload at a time.
 *
 *   1. Part 0 goes alone: its answer names the body. The others follow.
 *   2. An answer OK frees the part. The shard keeps order, so parts behind a refused one are refused as well: after a
 *      refusal nothing more is sent until all that was sent is answered, then it goes on from the first part kept.
 *   3. A link reset or silence is treated like a refusal of all. A part that was stored is recognised by its number.
 *   4. What does not get better within SPOOL_PARTS_TROUBLE_MS is lost: the client hears 451. The parts are reaped by the
 *      queue. */
#include "common/base/alloc.h"
#include "common/base/assert.h"
#include "common/net/clock.h"
#include "ingress/shell/spool_internal.h"

static unsigned in_flight(const struct upload *u)
{
    unsigned n = 0;
    for (unsigned i = 0; i < u->n_parts; i++)
        n += u->parts[i].sent;
    return n;
}

static void in_trouble(struct upload *u, pr_mono now)
{
    if (!u->trouble)
        u->retry_at = pr_mono_add(now, SPOOL_PART_RETRY_MS);
    u->trouble = true;
    if (u->trouble_since.ms == 0)
        u->trouble_since = now;
}

static bool send_part(struct upload *u, struct part *p)
{
    struct pr_buf payload = {NULL, 0, 0};
    struct wire_msg m = {.type = WIRE_PART,
                         .part = {.shard = u->shard,
                                  .token = u->token,
                                  .body_id = u->body_id,
                                  .seq = p->seq,
                                  .bytes = pr_buf_slice(&p->bytes)}};
    (void)pr_buf_reserve(&payload, p->bytes.len);
    return spool_send(u->spool, true, &m, &payload);
}

static void send_parts(struct upload *u)
{
    struct spool *sp = u->spool;
    pr_mono now = pr_clock_now().mono;
    if (u->shard == SPOOL_NO_SHARD)
        u->shard = spool_pick(sp, PR_MAX(u->size_hint, (uint64_t)WIRE_CHUNK_MAX));
    if (u->trouble)
        return;
    if (u->shard == SPOOL_NO_SHARD || !sp->up) {
        in_trouble(u, now);
        return;
    }
    for (unsigned i = 0; i < u->n_parts; i++) {
        struct part *p = &u->parts[i];
        if (p->sent)
            continue;
        if (u->body_id == 0 && p->seq > 0)
            return;
        if (!send_part(u, p)) {
            in_trouble(u, now);
            return;
        }
        p->sent = true;
        u->part_sign = now;
    }
}

void parts_add(struct upload *u, struct pr_buf *bytes)
{
    pr_assert(u->n_parts < PR_ARRAY_LEN(u->parts));
    u->parts[u->n_parts++] = (struct part){.bytes = *bytes, .seq = u->next_seq++};
    budget_force(u->spool->o.budget, bytes->cap);
    u->held += bytes->cap;
    pr_buf_init(bytes);
    if (!pr_list_linked(&u->parts_link))
        pr_list_push_back(&u->spool->with_parts, &u->parts_link);
    send_parts(u);
}

static void drop_first(struct upload *u)
{
    struct part *p = &u->parts[0];
    budget_give(u->spool->o.budget, p->bytes.cap);
    u->held -= p->bytes.cap;
    pr_buf_fini(&p->bytes);
    u->n_parts--;
    memmove(u->parts, u->parts + 1, u->n_parts * sizeof *p);
    if (u->n_parts == 0)
        pr_list_remove(&u->parts_link);
}

void parts_free(struct upload *u)
{
    while (u->n_parts > 0)
        drop_first(u);
}

/* The owner aborts an open upload; a committed one ends here. */
static void lose(struct upload *u, enum ing_spool_status status)
{
    if (u->state == UPLOAD_OPEN)
        u->spool->o.owner->lost(u->owner, status);
    else
        upload_finish(u, status, 0);
}

static void part_stored(struct upload *u)
{
    drop_first(u);
    u->trouble_since.ms = 0;
    send_parts(u);
    if (u->state == UPLOAD_PARTS && u->n_parts == 0) {
        batch_add(u);
    } else if (u->wants_space && u->n_parts < SPOOL_PARTS_MAX) {
        u->wants_space = false;
        u->spool->o.owner->space(u->owner);
    }
}

static void part_refused(struct upload *u, struct part *p, enum wire_ack_status status)
{
    bool first = p == &u->parts[0];
    p->sent = false;
    if (status == WIRE_ACK_FULL) {
        lose(u, ING_SPOOL_DISK_FULL);
    } else if (status == WIRE_ACK_INVALID && first && !u->trouble) {
        lose(u, ING_SPOOL_INVALID);
    } else {
        if (status == WIRE_ACK_NOT_LEADER && u->body_id == 0)
            u->shard = SPOOL_NO_SHARD; /* nothing is stored: another one will do */
        in_trouble(u, pr_clock_now().mono);
    }
}

void parts_on_ack(struct spool *sp, const struct wire_part_ack *ack)
{
    struct upload *u = spool_find(sp, &ack->token);
    unsigned i = 0;
    if (u == NULL)
        return;
    u->part_sign = pr_clock_now().mono;
    while (i < u->n_parts && u->parts[i].seq != ack->seq)
        i++;
    if (i == u->n_parts || (u->body_id != 0 && ack->body_id != u->body_id && ack->status == WIRE_ACK_OK))
        return; /* an answer to a part that was sent twice */
    if (ack->status != WIRE_ACK_OK) {
        part_refused(u, &u->parts[i], ack->status);
    } else if (i == 0) {
        u->body_id = ack->body_id;
        part_stored(u);
    }
}

static void tick_one(struct upload *u, pr_mono now)
{
    if (in_flight(u) > 0 && pr_mono_since(now, u->part_sign) > SPOOL_PART_SILENT_MS) {
        for (unsigned i = 0; i < u->n_parts; i++)
            u->parts[i].sent = false;
        in_trouble(u, now);
    }
    if (!u->trouble || in_flight(u) > 0 || now.ms < u->retry_at.ms)
        return;
    if (pr_mono_since(now, u->trouble_since) > SPOOL_PARTS_TROUBLE_MS) {
        lose(u, ING_SPOOL_UNAVAILABLE);
        return;
    }
    u->trouble = false;
    send_parts(u);
}

void parts_tick(struct spool *sp, pr_mono now)
{
    struct pr_list *it, *tmp;
    pr_list_foreach(it, tmp, &sp->with_parts)
        tick_one(pr_list_entry(it, struct upload, parts_link), now);
}

void parts_link_reset(struct spool *sp)
{
    struct pr_list *it, *tmp;
    pr_mono now = pr_clock_now().mono;
    pr_list_foreach(it, tmp, &sp->with_parts) {
        struct upload *u = pr_list_entry(it, struct upload, parts_link);
        for (unsigned i = 0; i < u->n_parts; i++)
            u->parts[i].sent = false;
        in_trouble(u, now);
    }
}
