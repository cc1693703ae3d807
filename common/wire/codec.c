/* Encoding: domain struct -> generated struct (in a scratch arena, strings borrowed) -> bytes. Decoding: bytes ->
 * generated struct, allocated from the caller's arena and never freed singly -> checks -> domain struct. */
#include "common/wire/codec.h"

#include "common/base/alloc.h"
#include "common/base/assert.h"

const char *const wire_type_names[WIRE_TYPE_NR] = {
    [WIRE_NONE] = "none",
    [WIRE_HELLO] = "hello",
    [WIRE_HELLO_OK] = "hello_ok",
    [WIRE_HEARTBEAT] = "heartbeat",
    [WIRE_ENQUEUE] = "enqueue",
    [WIRE_ENQUEUE_ACK] = "enqueue_ack",
    [WIRE_PART] = "part",
    [WIRE_PART_ACK] = "part_ack",
    [WIRE_DEMAND] = "demand",
    [WIRE_CREDIT] = "credit",
    [WIRE_JOB] = "job",
    [WIRE_RETURN] = "return",
    [WIRE_RESULT] = "result",
    [WIRE_RESULT_ACK] = "result_ack",
    [WIRE_CANCEL] = "cancel",
    [WIRE_INVENTORY] = "inventory",
    [WIRE_BODY_GET] = "body_get",
    [WIRE_BODY_CHUNK] = "body_chunk",
    [WIRE_GATE_REQ] = "gate_req",
    [WIRE_GATE_GRANT] = "gate_grant",
};

static const struct {
    const struct wire_codec *codecs;
    size_t n;
} families[] = {
    {wire_codecs_session, PR_ARRAY_LEN(wire_codecs_session)}, {wire_codecs_enqueue, PR_ARRAY_LEN(wire_codecs_enqueue)},
    {wire_codecs_job, PR_ARRAY_LEN(wire_codecs_job)},         {wire_codecs_result, PR_ARRAY_LEN(wire_codecs_result)},
    {wire_codecs_gate, PR_ARRAY_LEN(wire_codecs_gate)},
};

static const struct wire_codec *by_type(enum wire_type type)
{
    for (size_t f = 0; f < PR_ARRAY_LEN(families); f++)
        for (size_t i = 0; i < families[f].n; i++)
            if (families[f].codecs[i].type == type)
                return &families[f].codecs[i];
    return NULL;
}

static const struct wire_codec *by_case(Postrider__Frame__BodyCase body_case)
{
    for (size_t f = 0; f < PR_ARRAY_LEN(families); f++)
        for (size_t i = 0; i < families[f].n; i++)
            if (families[f].codecs[i].body_case == body_case)
                return &families[f].codecs[i];
    return NULL;
}

void **wire_pb_array(struct pr_arena *arena, size_t size, void (*init)(void *), size_t n)
{
    void **pointers = pr_arena_alloc(arena, n * sizeof *pointers);
    char *structs = pr_arena_alloc(arena, n * size);
    for (size_t i = 0; i < n; i++) {
        pointers[i] = structs + i * size;
        init(pointers[i]);
    }
    return pointers;
}

Postrider__Payload *wire_put_payload(struct wire_encoder *e, struct pr_slice bytes)
{
    if (bytes.len == 0)
        return NULL;
    pr_assert(e->payload != NULL);
    Postrider__Payload *p = pr_arena_alloc(e->arena, sizeof *p);
    postrider__payload__init(p);
    p->length = bytes.len;
    /* Bytes that were built in place are not copied. */
    if (e->payload->len > 0 && bytes.ptr >= e->payload->ptr && bytes.ptr < e->payload->ptr + e->payload->len) {
        pr_assert(bytes.len <= (size_t)(e->payload->ptr + e->payload->len - bytes.ptr));
        p->offset = (uint64_t)(bytes.ptr - e->payload->ptr);
        return p;
    }
    p->offset = e->payload->len;
    pr_buf_add(e->payload, bytes);
    return p;
}

int wire_get_payload(const struct wire_decoder *d, const Postrider__Payload *p, struct pr_slice *ret)
{
    *ret = pr_slice(NULL, 0);
    if (p == NULL)
        return 0;
    WIRE_CHECK(p->offset <= d->payload.len && p->length <= d->payload.len - p->offset, PR_EPARSE);
    *ret = pr_slice(d->payload.ptr + p->offset, p->length);
    return 0;
}

int wire_get_token(pb_bytes b, struct wire_token *ret)
{
    WIRE_CHECK(b.len == sizeof ret->bytes, PR_EPARSE);
    memcpy(ret->bytes, b.data, sizeof ret->bytes);
    return 0;
}

pb_bytes wire_put_token(const struct wire_token *t)
{
    return pb_from(pr_slice(t->bytes, sizeof t->bytes));
}

Postrider__AttemptRef *wire_put_ref(struct pr_arena *arena, const struct wire_attempt_ref *r)
{
    Postrider__AttemptRef *p = pr_arena_alloc(arena, sizeof *p);
    postrider__attempt_ref__init(p);
    p->msg_id = r->msg_id;
    p->group = r->group;
    p->attempt_id = r->attempt_id;
    return p;
}

int wire_get_ref(const Postrider__AttemptRef *p, struct wire_attempt_ref *ret)
{
    WIRE_CHECK(p != NULL && p->msg_id != 0 && p->attempt_id != 0 && p->group <= UINT16_MAX, PR_EPARSE);
    *ret = (struct wire_attempt_ref){.msg_id = p->msg_id, .group = p->group, .attempt_id = p->attempt_id};
    return 0;
}

Postrider__AttemptRef **wire_put_refs(struct pr_arena *arena, const struct wire_attempt_ref *refs, size_t n)
{
    Postrider__AttemptRef **out = pr_arena_alloc(arena, n * sizeof *out);
    for (size_t i = 0; i < n; i++)
        out[i] = wire_put_ref(arena, &refs[i]);
    return out;
}

int wire_get_refs(struct pr_arena *arena, Postrider__AttemptRef *const *in, size_t n, struct wire_attempt_ref **ret)
{
    WIRE_CHECK(n <= WIRE_BATCH_MAX, PR_ETOOBIG);
    struct wire_attempt_ref *refs = pr_arena_alloc(arena, n * sizeof *refs);
    for (size_t i = 0; i < n; i++)
        WIRE_TRY(wire_get_ref(in[i], &refs[i]));
    *ret = refs;
    return 0;
}

static void *arena_alloc(void *arena, size_t size)
{
    return pr_arena_alloc(arena, size);
}

static void arena_free(void *arena, void *p)
{
    (void)arena;
    (void)p;
}

void wire_encode(const struct wire_msg *m, struct pr_buf *header, struct pr_buf *payload)
{
    const struct wire_codec *codec = by_type(m->type);
    struct pr_arena arena;
    pr_assert(codec != NULL);
    pr_arena_init(&arena);
    struct wire_encoder e = {&arena, payload};
    Postrider__Frame frame = POSTRIDER__FRAME__INIT;
    frame.version = WIRE_VERSION;
    frame.body_case = codec->body_case;
    codec->encode(&e, m, &frame);
    size_t size = postrider__frame__get_packed_size(&frame);
    (void)postrider__frame__pack(&frame, (uint8_t *)pr_buf_reserve(header, size));
    header->len += size;
    pr_arena_fini(&arena);
}

int wire_decode(struct pr_slice header, struct pr_slice payload, struct pr_arena *arena, struct wire_msg *ret)
{
    ProtobufCAllocator allocator = {arena_alloc, arena_free, arena};
    WIRE_CHECK(header.len <= WIRE_HEADER_MAX, PR_ETOOBIG);
    const Postrider__Frame *frame = postrider__frame__unpack(&allocator, header.len, (const uint8_t *)header.ptr);
    WIRE_CHECK(frame != NULL, PR_EPARSE);
    WIRE_CHECK(frame->version == WIRE_VERSION, PR_EVERSION);
    const struct wire_codec *codec = by_case(frame->body_case);
    WIRE_CHECK(codec != NULL, PR_EPARSE);
    struct wire_decoder d = {arena, payload};
    struct wire_msg m = {.type = codec->type};
    int rc = codec->decode(&d, frame, &m);
    if (rc == 0)
        *ret = m;
    return rc;
}
