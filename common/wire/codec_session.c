/* HELLO, HELLO_OK, HEARTBEAT. */
#include "common/base/alloc.h"
#include "common/wire/codec.h"

enum { SHARDS_MAX = 64, LANES_MAX = 64, ADMISSION_MAX = 4 };

static void hello_encode(struct wire_encoder *e, const struct wire_msg *m, Postrider__Frame *frame)
{
    const struct wire_hello *h = &m->hello;
    Postrider__Hello *p = pr_arena_alloc(e->arena, sizeof *p);
    postrider__hello__init(p);
    p->role = h->role;
    p->node_id = pr_arena_cstr(e->arena, h->node_id);
    p->boot_id = h->boot_id;
    p->lane = h->lane;
    p->max_jobs = h->max_jobs;
    p->bulk = h->bulk;
    frame->hello = p;
}

static int hello_decode(struct wire_decoder *d, const Postrider__Frame *frame, struct wire_msg *m)
{
    const Postrider__Hello *p = frame->hello;
    (void)d;
    WIRE_CHECK(p->role < WIRE_ROLE_NR && p->lane < LANES_MAX && p->boot_id != 0, PR_EPARSE);
    struct pr_slice node = pr_slice_str(p->node_id);
    WIRE_CHECK(node.len > 0 && node.len <= 255, PR_EPARSE);
    m->hello = (struct wire_hello){
        .role = (enum wire_role)p->role,
        .node_id = node,
        .boot_id = p->boot_id,
        .lane = p->lane,
        .max_jobs = p->max_jobs,
        .bulk = p->bulk,
    };
    return 0;
}

static void hello_ok_encode(struct wire_encoder *e, const struct wire_msg *m, Postrider__Frame *frame)
{
    const struct wire_hello_ok *h = &m->hello_ok;
    Postrider__HelloOk *p = pr_arena_alloc(e->arena, sizeof *p);
    postrider__hello_ok__init(p);
    p->node_id = pr_arena_cstr(e->arena, h->node_id);
    p->boot_id = h->boot_id;
    p->gate_epoch = h->gate_epoch;
    p->n_shards = h->n_shards;
    p->shards = PB_ARRAY(e->arena, Postrider__ShardState, postrider__shard_state__init, h->n_shards);
    for (size_t i = 0; i < h->n_shards; i++) {
        const struct wire_shard_state *s = &h->shards[i];
        p->shards[i]->shard = s->shard;
        p->shards[i]->term = s->term;
        p->shards[i]->leader = s->leader;
        p->shards[i]->admission = s->admission;
        p->shards[i]->queued = s->queued;
        p->shards[i]->window_bytes = s->window_bytes;
    }
    frame->hello_ok = p;
}

static int hello_ok_decode(struct wire_decoder *d, const Postrider__Frame *frame, struct wire_msg *m)
{
    const Postrider__HelloOk *p = frame->hello_ok;
    WIRE_CHECK(p->n_shards <= SHARDS_MAX && p->boot_id != 0, PR_EPARSE);
    struct wire_shard_state *shards = pr_arena_alloc(d->arena, p->n_shards * sizeof *shards);
    for (size_t i = 0; i < p->n_shards; i++) {
        const Postrider__ShardState *s = p->shards[i];
        WIRE_CHECK(s->shard < SHARDS_MAX && s->admission <= ADMISSION_MAX, PR_EPARSE);
        shards[i] = (struct wire_shard_state){
            .shard = s->shard,
            .term = s->term,
            .leader = s->leader,
            .admission = (uint8_t)s->admission,
            .queued = s->queued,
            .window_bytes = s->window_bytes,
        };
    }
    m->hello_ok = (struct wire_hello_ok){
        .node_id = pr_slice_str(p->node_id),
        .boot_id = p->boot_id,
        .gate_epoch = p->gate_epoch,
        .shards = shards,
        .n_shards = p->n_shards,
    };
    return 0;
}

static void heartbeat_encode(struct wire_encoder *e, const struct wire_msg *m, Postrider__Frame *frame)
{
    (void)m;
    frame->heartbeat = pr_arena_alloc(e->arena, sizeof *frame->heartbeat);
    postrider__heartbeat__init(frame->heartbeat);
}

static int heartbeat_decode(struct wire_decoder *d, const Postrider__Frame *frame, struct wire_msg *m)
{
    (void)d;
    (void)frame;
    (void)m;
    return 0;
}

const struct wire_codec wire_codecs_session[3] = {
    {WIRE_HELLO, POSTRIDER__FRAME__BODY_HELLO, hello_encode, hello_decode},
    {WIRE_HELLO_OK, POSTRIDER__FRAME__BODY_HELLO_OK, hello_ok_encode, hello_ok_decode},
    {WIRE_HEARTBEAT, POSTRIDER__FRAME__BODY_HEARTBEAT, heartbeat_encode, heartbeat_decode},
};
