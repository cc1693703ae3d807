/* GATE_REQ, GATE_GRANT. */
#include "common/base/alloc.h"
#include "common/wire/codec.h"

enum { DESTINATION_MAX = 512, ERROR_MAX = 1024 };

static void req_encode(struct wire_encoder *e, const struct wire_msg *m, Postrider__Frame *frame)
{
    const struct wire_gate_req *r = &m->gate_req;
    Postrider__GateReq *p = pr_arena_alloc(e->arena, sizeof *p);
    postrider__gate_req__init(p);
    p->gate_epoch = r->gate_epoch;
    p->t_seq = r->t_seq;
    p->full = r->full;
    p->n_items = r->n;
    p->items = PB_ARRAY(e->arena, Postrider__GateWant, postrider__gate_want__init, r->n);
    for (size_t i = 0; i < r->n; i++) {
        const struct wire_gate_want *w = &r->items[i];
        p->items[i]->destination = pb_from(w->destination);
        p->items[i]->pool = pb_from(w->pool);
        p->items[i]->open = w->open;
        p->items[i]->wants = w->wants;
        p->items[i]->acked_seq = w->acked_seq;
        p->items[i]->ok = w->ok;
        p->items[i]->site_failures = w->site_failures;
        p->items[i]->last_error = pb_from(pr_slice_head(w->last_error, ERROR_MAX));
    }
    frame->gate_req = p;
}

static int req_decode(struct wire_decoder *d, const Postrider__Frame *frame, struct wire_msg *m)
{
    const Postrider__GateReq *p = frame->gate_req;
    WIRE_CHECK(p->n_items <= WIRE_BATCH_MAX, PR_ETOOBIG);
    struct wire_gate_want *items = pr_arena_alloc(d->arena, p->n_items * sizeof *items);
    for (size_t i = 0; i < p->n_items; i++) {
        const Postrider__GateWant *w = p->items[i];
        WIRE_CHECK(w->destination.len >= 1 && w->destination.len <= DESTINATION_MAX && w->last_error.len <= ERROR_MAX,
                   PR_EPARSE);
        items[i] = (struct wire_gate_want){
            .destination = pb_slice(w->destination),
            .pool = pb_slice(w->pool),
            .open = w->open,
            .wants = w->wants,
            .acked_seq = w->acked_seq,
            .ok = w->ok,
            .site_failures = w->site_failures,
            .last_error = pb_slice(w->last_error),
        };
    }
    m->gate_req = (struct wire_gate_req){p->gate_epoch, p->t_seq, p->full, items, p->n_items};
    return 0;
}

static void grant_encode(struct wire_encoder *e, const struct wire_msg *m, Postrider__Frame *frame)
{
    const struct wire_gate_grant *g = &m->gate_grant;
    Postrider__GateGrant *p = pr_arena_alloc(e->arena, sizeof *p);
    postrider__gate_grant__init(p);
    p->gate_epoch = g->gate_epoch;
    p->t_seq = g->t_seq;
    p->ttl_ms = g->ttl_ms;
    p->n_items = g->n;
    p->items = PB_ARRAY(e->arena, Postrider__GateSlot, postrider__gate_slot__init, g->n);
    for (size_t i = 0; i < g->n; i++) {
        const struct wire_gate_slot *s = &g->items[i];
        p->items[i]->destination = pb_from(s->destination);
        p->items[i]->pool = pb_from(s->pool);
        p->items[i]->seq = s->seq;
        p->items[i]->slots = s->slots;
        p->items[i]->messages_per_connection = s->messages_per_connection;
        p->items[i]->recipients_per_message = s->recipients_per_message;
        p->items[i]->rate_count = s->rate_count;
        p->items[i]->rate_per_ms = s->rate_per_ms;
    }
    frame->gate_grant = p;
}

static int grant_decode(struct wire_decoder *d, const Postrider__Frame *frame, struct wire_msg *m)
{
    const Postrider__GateGrant *p = frame->gate_grant;
    WIRE_CHECK(p->n_items <= WIRE_BATCH_MAX, PR_ETOOBIG);
    struct wire_gate_slot *items = pr_arena_alloc(d->arena, p->n_items * sizeof *items);
    for (size_t i = 0; i < p->n_items; i++) {
        const Postrider__GateSlot *s = p->items[i];
        WIRE_CHECK(s->destination.len >= 1 && s->destination.len <= DESTINATION_MAX, PR_EPARSE);
        items[i] = (struct wire_gate_slot){
            .destination = pb_slice(s->destination),
            .pool = pb_slice(s->pool),
            .seq = s->seq,
            .slots = s->slots,
            .messages_per_connection = s->messages_per_connection,
            .recipients_per_message = s->recipients_per_message,
            .rate_count = s->rate_count,
            .rate_per_ms = s->rate_per_ms,
        };
    }
    m->gate_grant = (struct wire_gate_grant){p->gate_epoch, p->t_seq, p->ttl_ms, items, p->n_items};
    return 0;
}

const struct wire_codec wire_codecs_gate[2] = {
    {WIRE_GATE_REQ, POSTRIDER__FRAME__BODY_GATE_REQ, req_encode, req_decode},
    {WIRE_GATE_GRANT, POSTRIDER__FRAME__BODY_GATE_GRANT, grant_encode, grant_decode},
};
