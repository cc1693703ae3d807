/* ENQUEUE, ENQUEUE_ACK, PART, PART_ACK. */
#include "common/base/alloc.h"
#include "common/wire/codec.h"

enum { GROUPS_MAX = 10000, NAME_MAX_LEN = 255 };

static void put_item(struct wire_encoder *e, const struct wire_enqueue_item *it, Postrider__EnqueueItem *p)
{
    p->token = wire_put_token(&it->token);
    p->tenant = pb_from(it->tenant);
    p->pool = pb_from(it->pool);
    p->mail_class = it->class_;
    p->envelope = pb_from(it->envelope);
    p->n_groups = it->n_groups;
    p->groups = PB_ARRAY(e->arena, Postrider__EnqueueGroup, postrider__enqueue_group__init, it->n_groups);
    for (size_t i = 0; i < it->n_groups; i++) {
        p->groups[i]->domain = pb_from(it->groups[i].domain);
        p->groups[i]->encoded = pb_from(it->groups[i].encoded);
        p->groups[i]->n_rcpts = it->groups[i].n_rcpts;
    }
    p->body = wire_put_payload(e, it->body);
    p->body_id = it->body_id;
    p->n_chunks = it->n_chunks;
    p->size_bytes = it->size_bytes;
    p->lifetime_ms = it->lifetime_ms;
}

static void enqueue_encode(struct wire_encoder *e, const struct wire_msg *m, Postrider__Frame *frame)
{
    Postrider__Enqueue *p = pr_arena_alloc(e->arena, sizeof *p);
    postrider__enqueue__init(p);
    p->shard = m->enqueue.shard;
    p->n_items = m->enqueue.n;
    p->items = PB_ARRAY(e->arena, Postrider__EnqueueItem, postrider__enqueue_item__init, m->enqueue.n);
    for (size_t i = 0; i < m->enqueue.n; i++)
        put_item(e, &m->enqueue.items[i], p->items[i]);
    frame->enqueue = p;
}

static int get_groups(struct wire_decoder *d, const Postrider__EnqueueItem *p, struct wire_enqueue_item *it)
{
    WIRE_CHECK(p->n_groups >= 1 && p->n_groups <= GROUPS_MAX, PR_EPARSE);
    it->n_groups = p->n_groups;
    it->groups = pr_arena_alloc(d->arena, p->n_groups * sizeof *it->groups);
    for (size_t i = 0; i < p->n_groups; i++) {
        const Postrider__EnqueueGroup *g = p->groups[i];
        WIRE_CHECK(g->domain.len >= 1 && g->domain.len <= NAME_MAX_LEN + 2 && g->n_rcpts >= 1 &&
                       g->n_rcpts <= MAIL_GROUP_RCPTS_MAX,
                   PR_EPARSE);
        it->groups[i] = (struct wire_enqueue_group){pb_slice(g->domain), pb_slice(g->encoded), g->n_rcpts};
    }
    return 0;
}

static int get_item(struct wire_decoder *d, const Postrider__EnqueueItem *p, struct wire_enqueue_item *it)
{
    WIRE_TRY(wire_get_token(p->token, &it->token));
    WIRE_TRY(wire_get_payload(d, p->body, &it->body));
    WIRE_TRY(get_groups(d, p, it));
    WIRE_CHECK(p->mail_class < MAIL_CLASS_NR && p->tenant.len <= NAME_MAX_LEN && p->pool.len <= NAME_MAX_LEN, PR_EPARSE);
    /* Exactly one of inline body and parts; an empty message is inline with size 0. */
    WIRE_CHECK((p->body_id == 0) == (p->n_chunks == 0), PR_EPARSE);
    WIRE_CHECK(p->body_id == 0 ? it->body.len == p->size_bytes : it->body.len == 0, PR_EPARSE);
    it->tenant = pb_slice(p->tenant);
    it->pool = pb_slice(p->pool);
    it->class_ = (enum mail_class)p->mail_class;
    it->envelope = pb_slice(p->envelope);
    it->body_id = p->body_id;
    it->n_chunks = p->n_chunks;
    it->size_bytes = p->size_bytes;
    it->lifetime_ms = p->lifetime_ms;
    return 0;
}

static int enqueue_decode(struct wire_decoder *d, const Postrider__Frame *frame, struct wire_msg *m)
{
    const Postrider__Enqueue *p = frame->enqueue;
    WIRE_CHECK(p->n_items <= WIRE_BATCH_MAX, PR_ETOOBIG);
    struct wire_enqueue_item *items = pr_arena_zalloc(d->arena, p->n_items * sizeof *items);
    for (size_t i = 0; i < p->n_items; i++)
        WIRE_TRY(get_item(d, p->items[i], &items[i]));
    m->enqueue = (struct wire_enqueue){p->shard, items, p->n_items};
    return 0;
}

static void ack_encode(struct wire_encoder *e, const struct wire_msg *m, Postrider__Frame *frame)
{
    const struct wire_enqueue_ack *a = &m->enqueue_ack;
    Postrider__EnqueueAck *p = pr_arena_alloc(e->arena, sizeof *p);
    postrider__enqueue_ack__init(p);
    p->shard = a->shard;
    p->acked_bytes = a->acked_bytes;
    p->n_items = a->n;
    p->items = PB_ARRAY(e->arena, Postrider__EnqueueAckItem, postrider__enqueue_ack_item__init, a->n);
    for (size_t i = 0; i < a->n; i++) {
        p->items[i]->token = wire_put_token(&a->items[i].token);
        p->items[i]->status = a->items[i].status;
        p->items[i]->msg_id = a->items[i].msg_id;
    }
    frame->enqueue_ack = p;
}

static int ack_decode(struct wire_decoder *d, const Postrider__Frame *frame, struct wire_msg *m)
{
    const Postrider__EnqueueAck *p = frame->enqueue_ack;
    WIRE_CHECK(p->n_items <= WIRE_BATCH_MAX, PR_ETOOBIG);
    struct wire_enqueue_ack_item *items = pr_arena_alloc(d->arena, p->n_items * sizeof *items);
    for (size_t i = 0; i < p->n_items; i++) {
        WIRE_CHECK(p->items[i]->status < WIRE_ACK_NR, PR_EPARSE);
        items[i].status = (enum wire_ack_status)p->items[i]->status;
        items[i].msg_id = p->items[i]->msg_id;
        WIRE_TRY(wire_get_token(p->items[i]->token, &items[i].token));
    }
    m->enqueue_ack = (struct wire_enqueue_ack){p->shard, p->acked_bytes, items, p->n_items};
    return 0;
}

static void part_encode(struct wire_encoder *e, const struct wire_msg *m, Postrider__Frame *frame)
{
    Postrider__Part *p = pr_arena_alloc(e->arena, sizeof *p);
    postrider__part__init(p);
    p->shard = m->part.shard;
    p->token = wire_put_token(&m->part.token);
    p->body_id = m->part.body_id;
    p->seq = m->part.seq;
    (void)wire_put_payload(e, m->part.bytes);
    frame->part = p;
}

static int part_decode(struct wire_decoder *d, const Postrider__Frame *frame, struct wire_msg *m)
{
    const Postrider__Part *p = frame->part;
    WIRE_CHECK(d->payload.len >= 1 && d->payload.len <= WIRE_CHUNK_MAX, PR_EPARSE);
    WIRE_CHECK(p->body_id != 0 || p->seq == 0, PR_EPARSE);
    m->part = (struct wire_part){.shard = p->shard, .body_id = p->body_id, .seq = p->seq, .bytes = d->payload};
    return wire_get_token(p->token, &m->part.token);
}

static void part_ack_encode(struct wire_encoder *e, const struct wire_msg *m, Postrider__Frame *frame)
{
    Postrider__PartAck *p = pr_arena_alloc(e->arena, sizeof *p);
    postrider__part_ack__init(p);
    p->shard = m->part_ack.shard;
    p->token = wire_put_token(&m->part_ack.token);
    p->body_id = m->part_ack.body_id;
    p->seq = m->part_ack.seq;
    p->status = m->part_ack.status;
    frame->part_ack = p;
}

static int part_ack_decode(struct wire_decoder *d, const Postrider__Frame *frame, struct wire_msg *m)
{
    const Postrider__PartAck *p = frame->part_ack;
    (void)d;
    WIRE_CHECK(p->status < WIRE_ACK_NR, PR_EPARSE);
    m->part_ack = (struct wire_part_ack){
        .shard = p->shard, .body_id = p->body_id, .seq = p->seq, .status = (enum wire_ack_status)p->status};
    return wire_get_token(p->token, &m->part_ack.token);
}

const struct wire_codec wire_codecs_enqueue[4] = {
    {WIRE_ENQUEUE, POSTRIDER__FRAME__BODY_ENQUEUE, enqueue_encode, enqueue_decode},
    {WIRE_ENQUEUE_ACK, POSTRIDER__FRAME__BODY_ENQUEUE_ACK, ack_encode, ack_decode},
    {WIRE_PART, POSTRIDER__FRAME__BODY_PART, part_encode, part_decode},
    {WIRE_PART_ACK, POSTRIDER__FRAME__BODY_PART_ACK, part_ack_encode, part_ack_decode},
};
