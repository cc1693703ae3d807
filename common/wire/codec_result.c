/* RESULT, INVENTORY. */
#include "common/base/alloc.h"
#include "common/wire/codec.h"

enum { TEXT_MAX = 16384 };

static void put_result(struct wire_encoder *e, const struct wire_result *r, Postrider__Result *p)
{
    p->ref = wire_put_ref(e->arena, &r->ref);
    p->n_rcpts = r->n_rcpts;
    p->rcpts = PB_ARRAY(e->arena, Postrider__RcptResult, postrider__rcpt_result__init, r->n_rcpts);
    for (size_t i = 0; i < r->n_rcpts; i++) {
        const struct wire_rcpt_result *x = &r->rcpts[i];
        p->rcpts[i]->index = x->index;
        p->rcpts[i]->outcome = x->outcome;
        p->rcpts[i]->code = x->code;
        p->rcpts[i]->enhanced = pb_from(x->enhanced);
        p->rcpts[i]->diagnostic = pb_from(x->diagnostic);
    }
    p->scope = r->scope;
    p->stage = r->stage;
    p->remote = pb_from(r->remote);
    p->tls = pb_from(r->tls);
    p->duration_ms = r->duration_ms;
}

static void results_encode(struct wire_encoder *e, const struct wire_msg *m, Postrider__Frame *frame)
{
    Postrider__Results *p = pr_arena_alloc(e->arena, sizeof *p);
    postrider__results__init(p);
    p->shard = m->results.shard;
    p->term = m->results.term;
    p->n_items = m->results.n;
    p->items = PB_ARRAY(e->arena, Postrider__Result, postrider__result__init, m->results.n);
    for (size_t i = 0; i < m->results.n; i++)
        put_result(e, &m->results.items[i], p->items[i]);
    frame->results = p;
}

static int get_rcpts(struct wire_decoder *d, const Postrider__Result *p, struct wire_result *r)
{
    WIRE_CHECK(p->n_rcpts >= 1 && p->n_rcpts <= MAIL_GROUP_RCPTS_MAX, PR_EPARSE);
    r->n_rcpts = p->n_rcpts;
    r->rcpts = pr_arena_alloc(d->arena, p->n_rcpts * sizeof *r->rcpts);
    for (size_t i = 0; i < p->n_rcpts; i++) {
        const Postrider__RcptResult *x = p->rcpts[i];
        WIRE_CHECK(x->index < MAIL_GROUP_RCPTS_MAX && x->outcome < MAIL_OUTCOME_NR && x->code <= 999, PR_EPARSE);
        WIRE_CHECK(x->enhanced.len <= 16 && x->diagnostic.len <= TEXT_MAX, PR_ETOOBIG);
        r->rcpts[i] = (struct wire_rcpt_result){
            .index = x->index,
            .outcome = (enum mail_outcome)x->outcome,
            .code = (uint16_t)x->code,
            .enhanced = pb_slice(x->enhanced),
            .diagnostic = pb_slice(x->diagnostic),
        };
    }
    return 0;
}

static int get_result(struct wire_decoder *d, const Postrider__Result *p, struct wire_result *r)
{
    WIRE_TRY(wire_get_ref(p->ref, &r->ref));
    WIRE_TRY(get_rcpts(d, p, r));
    WIRE_CHECK(p->scope <= MAIL_SCOPE_SITE && p->stage < MAIL_STAGE_NR, PR_EPARSE);
    WIRE_CHECK(p->remote.len <= 1024 && p->tls.len <= 64, PR_ETOOBIG);
    r->scope = (enum mail_scope)p->scope;
    r->stage = (enum mail_stage)p->stage;
    r->remote = pb_slice(p->remote);
    r->tls = pb_slice(p->tls);
    r->duration_ms = p->duration_ms;
    return 0;
}

static int results_decode(struct wire_decoder *d, const Postrider__Frame *frame, struct wire_msg *m)
{
    const Postrider__Results *p = frame->results;
    WIRE_CHECK(p->n_items <= WIRE_BATCH_MAX, PR_ETOOBIG);
    struct wire_result *items = pr_arena_zalloc(d->arena, p->n_items * sizeof *items);
    for (size_t i = 0; i < p->n_items; i++)
        WIRE_TRY(get_result(d, p->items[i], &items[i]));
    m->results = (struct wire_results){p->shard, p->term, items, p->n_items};
    return 0;
}

static void inventory_encode(struct wire_encoder *e, const struct wire_msg *m, Postrider__Frame *frame)
{
    const struct wire_inventory *v = &m->inventory;
    Postrider__Inventory *p = pr_arena_alloc(e->arena, sizeof *p);
    postrider__inventory__init(p);
    p->shard = v->shard;
    p->term = v->term;
    p->boot_id = v->boot_id;
    p->last = v->last;
    p->n_items = v->n;
    p->items = PB_ARRAY(e->arena, Postrider__InventoryItem, postrider__inventory_item__init, v->n);
    for (size_t i = 0; i < v->n; i++) {
        p->items[i]->ref = wire_put_ref(e->arena, &v->items[i].ref);
        p->items[i]->phase = v->items[i].phase;
    }
    frame->inventory = p;
}

static int inventory_decode(struct wire_decoder *d, const Postrider__Frame *frame, struct wire_msg *m)
{
    const Postrider__Inventory *p = frame->inventory;
    WIRE_CHECK(p->n_items <= WIRE_BATCH_MAX, PR_ETOOBIG);
    struct wire_inventory_item *items = pr_arena_alloc(d->arena, p->n_items * sizeof *items);
    for (size_t i = 0; i < p->n_items; i++) {
        WIRE_CHECK(p->items[i]->phase < WIRE_PHASE_NR, PR_EPARSE);
        items[i].phase = (enum wire_phase)p->items[i]->phase;
        WIRE_TRY(wire_get_ref(p->items[i]->ref, &items[i].ref));
    }
    m->inventory = (struct wire_inventory){p->shard, p->term, p->boot_id, p->last, items, p->n_items};
    return 0;
}

const struct wire_codec wire_codecs_result[2] = {
    {WIRE_RESULT, POSTRIDER__FRAME__BODY_RESULTS, results_encode, results_decode},
    {WIRE_INVENTORY, POSTRIDER__FRAME__BODY_INVENTORY, inventory_encode, inventory_decode},
};
