/* DEMAND, CREDIT, JOB, RETURN, RESULT_ACK, CANCEL, BODY_GET, BODY_CHUNK. */
#include "common/base/alloc.h"
#include "common/wire/codec.h"

enum { DESTINATION_MAX = 512 };

static void demand_encode(struct wire_encoder *e, const struct wire_msg *m, Postrider__Frame *frame)
{
    Postrider__Demand *p = pr_arena_alloc(e->arena, sizeof *p);
    postrider__demand__init(p);
    p->shard = m->demand.shard;
    p->term = m->demand.term;
    p->n_items = m->demand.n;
    p->items = PB_ARRAY(e->arena, Postrider__DemandItem, postrider__demand_item__init, m->demand.n);
    for (size_t i = 0; i < m->demand.n; i++) {
        const struct wire_demand_item *it = &m->demand.items[i];
        p->items[i]->destination = pb_from(it->destination);
        p->items[i]->pool = pb_from(it->pool);
        p->items[i]->backlog = it->backlog;
        p->items[i]->weight = it->weight;
    }
    frame->demand = p;
}

static int demand_decode(struct wire_decoder *d, const Postrider__Frame *frame, struct wire_msg *m)
{
    const Postrider__Demand *p = frame->demand;
    WIRE_CHECK(p->n_items <= WIRE_BATCH_MAX, PR_ETOOBIG);
    struct wire_demand_item *items = pr_arena_alloc(d->arena, p->n_items * sizeof *items);
    for (size_t i = 0; i < p->n_items; i++) {
        const Postrider__DemandItem *it = p->items[i];
        WIRE_CHECK(it->destination.len >= 1 && it->destination.len <= DESTINATION_MAX, PR_EPARSE);
        items[i] = (struct wire_demand_item){pb_slice(it->destination), pb_slice(it->pool), it->backlog, it->weight};
    }
    m->demand = (struct wire_demand){p->shard, p->term, items, p->n_items};
    return 0;
}

static void credit_encode(struct wire_encoder *e, const struct wire_msg *m, Postrider__Frame *frame)
{
    Postrider__Credit *p = pr_arena_alloc(e->arena, sizeof *p);
    postrider__credit__init(p);
    p->shard = m->credit.shard;
    p->term = m->credit.term;
    p->n_items = m->credit.n;
    p->items = PB_ARRAY(e->arena, Postrider__CreditItem, postrider__credit_item__init, m->credit.n);
    for (size_t i = 0; i < m->credit.n; i++) {
        p->items[i]->destination = pb_from(m->credit.items[i].destination);
        p->items[i]->pool = pb_from(m->credit.items[i].pool);
        p->items[i]->jobs_allowed = m->credit.items[i].jobs_allowed;
    }
    frame->credit = p;
}

static int credit_decode(struct wire_decoder *d, const Postrider__Frame *frame, struct wire_msg *m)
{
    const Postrider__Credit *p = frame->credit;
    WIRE_CHECK(p->n_items <= WIRE_BATCH_MAX, PR_ETOOBIG);
    struct wire_credit_item *items = pr_arena_alloc(d->arena, p->n_items * sizeof *items);
    for (size_t i = 0; i < p->n_items; i++) {
        const Postrider__CreditItem *it = p->items[i];
        WIRE_CHECK(it->destination.len >= 1 && it->destination.len <= DESTINATION_MAX, PR_EPARSE);
        items[i] = (struct wire_credit_item){pb_slice(it->destination), pb_slice(it->pool), it->jobs_allowed};
    }
    m->credit = (struct wire_credit){p->shard, p->term, items, p->n_items};
    return 0;
}

static void put_job(struct wire_encoder *e, const struct wire_job *j, Postrider__Job *p)
{
    p->msg_id = j->msg_id;
    p->group = j->group;
    p->attempt_id = j->attempt_id;
    p->attempt = j->attempt;
    p->destination = pb_from(j->destination);
    p->pool = pb_from(j->pool);
    p->envelope = pb_from(j->envelope);
    p->recipients = pb_from(j->recipients);
    p->size_bytes = j->size_bytes;
    p->body_id = j->body_id;
    p->n_chunks = j->n_chunks;
    p->body = wire_put_payload(e, j->body);
}

static void jobs_encode(struct wire_encoder *e, const struct wire_msg *m, Postrider__Frame *frame)
{
    Postrider__Jobs *p = pr_arena_alloc(e->arena, sizeof *p);
    postrider__jobs__init(p);
    p->shard = m->jobs.shard;
    p->term = m->jobs.term;
    p->n_items = m->jobs.n;
    p->items = PB_ARRAY(e->arena, Postrider__Job, postrider__job__init, m->jobs.n);
    for (size_t i = 0; i < m->jobs.n; i++)
        put_job(e, &m->jobs.items[i], p->items[i]);
    frame->jobs = p;
}

static int get_job(struct wire_decoder *d, const Postrider__Job *p, struct wire_job *j)
{
    WIRE_CHECK(p->msg_id != 0 && p->attempt_id != 0 && p->group <= UINT16_MAX, PR_EPARSE);
    WIRE_CHECK(p->destination.len >= 1 && p->destination.len <= DESTINATION_MAX, PR_EPARSE);
    *j = (struct wire_job){
        .msg_id = p->msg_id,
        .group = p->group,
        .attempt_id = p->attempt_id,
        .attempt = p->attempt,
        .destination = pb_slice(p->destination),
        .pool = pb_slice(p->pool),
        .envelope = pb_slice(p->envelope),
        .recipients = pb_slice(p->recipients),
        .size_bytes = p->size_bytes,
        .body_id = p->body_id,
        .n_chunks = p->n_chunks,
    };
    WIRE_TRY(wire_get_payload(d, p->body, &j->body));
    WIRE_CHECK(j->body.len == 0 || j->body.len == j->size_bytes, PR_EPARSE);
    return 0;
}

static int jobs_decode(struct wire_decoder *d, const Postrider__Frame *frame, struct wire_msg *m)
{
    const Postrider__Jobs *p = frame->jobs;
    WIRE_CHECK(p->n_items <= WIRE_BATCH_MAX, PR_ETOOBIG);
    struct wire_job *items = pr_arena_alloc(d->arena, p->n_items * sizeof *items);
    for (size_t i = 0; i < p->n_items; i++)
        WIRE_TRY(get_job(d, p->items[i], &items[i]));
    m->jobs = (struct wire_jobs){p->shard, p->term, items, p->n_items};
    return 0;
}

static void return_encode(struct wire_encoder *e, const struct wire_msg *m, Postrider__Frame *frame)
{
    Postrider__Return *p = pr_arena_alloc(e->arena, sizeof *p);
    postrider__return__init(p);
    p->shard = m->return_.shard;
    p->term = m->return_.term;
    p->reason = m->return_.reason;
    p->n_items = m->return_.n;
    p->items = wire_put_refs(e->arena, m->return_.items, m->return_.n);
    frame->return_jobs = p;
}

static int return_decode(struct wire_decoder *d, const Postrider__Frame *frame, struct wire_msg *m)
{
    const Postrider__Return *p = frame->return_jobs;
    WIRE_CHECK(p->reason < WIRE_RETURN_NR, PR_EPARSE);
    m->return_ = (struct wire_return){
        .shard = p->shard, .term = p->term, .reason = (enum wire_return_reason)p->reason, .n = p->n_items};
    return wire_get_refs(d->arena, p->items, p->n_items, &m->return_.items);
}

static Postrider__Refs *put_refs(struct wire_encoder *e, const struct wire_refs *r)
{
    Postrider__Refs *p = pr_arena_alloc(e->arena, sizeof *p);
    postrider__refs__init(p);
    p->shard = r->shard;
    p->term = r->term;
    p->n_items = r->n;
    p->items = wire_put_refs(e->arena, r->items, r->n);
    return p;
}

static int get_refs(struct wire_decoder *d, const Postrider__Refs *p, struct wire_refs *ret)
{
    *ret = (struct wire_refs){.shard = p->shard, .term = p->term, .n = p->n_items};
    return wire_get_refs(d->arena, p->items, p->n_items, &ret->items);
}

static void result_ack_encode(struct wire_encoder *e, const struct wire_msg *m, Postrider__Frame *frame)
{
    frame->result_ack = put_refs(e, &m->refs);
}

static int result_ack_decode(struct wire_decoder *d, const Postrider__Frame *frame, struct wire_msg *m)
{
    return get_refs(d, frame->result_ack, &m->refs);
}

static void cancel_encode(struct wire_encoder *e, const struct wire_msg *m, Postrider__Frame *frame)
{
    frame->cancel = put_refs(e, &m->refs);
}

static int cancel_decode(struct wire_decoder *d, const Postrider__Frame *frame, struct wire_msg *m)
{
    return get_refs(d, frame->cancel, &m->refs);
}

static void body_get_encode(struct wire_encoder *e, const struct wire_msg *m, Postrider__Frame *frame)
{
    Postrider__BodyGet *p = pr_arena_alloc(e->arena, sizeof *p);
    postrider__body_get__init(p);
    p->shard = m->body_get.shard;
    p->msg_id = m->body_get.msg_id;
    p->body_id = m->body_get.body_id;
    p->seq = m->body_get.seq;
    frame->body_get = p;
}

static int body_get_decode(struct wire_decoder *d, const Postrider__Frame *frame, struct wire_msg *m)
{
    const Postrider__BodyGet *p = frame->body_get;
    (void)d;
    m->body_get = (struct wire_body_get){p->shard, p->msg_id, p->body_id, p->seq};
    return 0;
}

static void body_chunk_encode(struct wire_encoder *e, const struct wire_msg *m, Postrider__Frame *frame)
{
    Postrider__BodyChunk *p = pr_arena_alloc(e->arena, sizeof *p);
    postrider__body_chunk__init(p);
    p->shard = m->body_chunk.shard;
    p->msg_id = m->body_chunk.msg_id;
    p->body_id = m->body_chunk.body_id;
    p->seq = m->body_chunk.seq;
    p->found = m->body_chunk.found;
    (void)wire_put_payload(e, m->body_chunk.bytes);
    frame->body_chunk = p;
}

static int body_chunk_decode(struct wire_decoder *d, const Postrider__Frame *frame, struct wire_msg *m)
{
    const Postrider__BodyChunk *p = frame->body_chunk;
    WIRE_CHECK(d->payload.len <= WIRE_CHUNK_MAX, PR_ETOOBIG);
    m->body_chunk = (struct wire_body_chunk){p->shard, p->msg_id, p->body_id, p->seq, p->found, d->payload};
    return 0;
}

const struct wire_codec wire_codecs_job[8] = {
    {WIRE_DEMAND, POSTRIDER__FRAME__BODY_DEMAND, demand_encode, demand_decode},
    {WIRE_CREDIT, POSTRIDER__FRAME__BODY_CREDIT, credit_encode, credit_decode},
    {WIRE_JOB, POSTRIDER__FRAME__BODY_JOBS, jobs_encode, jobs_decode},
    {WIRE_RETURN, POSTRIDER__FRAME__BODY_RETURN_JOBS, return_encode, return_decode},
    {WIRE_RESULT_ACK, POSTRIDER__FRAME__BODY_RESULT_ACK, result_ack_encode, result_ack_decode},
    {WIRE_CANCEL, POSTRIDER__FRAME__BODY_CANCEL, cancel_encode, cancel_decode},
    {WIRE_BODY_GET, POSTRIDER__FRAME__BODY_BODY_GET, body_get_encode, body_get_decode},
    {WIRE_BODY_CHUNK, POSTRIDER__FRAME__BODY_BODY_CHUNK, body_chunk_encode, body_chunk_decode},
};
