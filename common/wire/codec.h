/* codec.h - private to common/wire: one pair of functions per message between domain struct and generated type. */
#ifndef PR_WIRE_CODEC_H
#define PR_WIRE_CODEC_H

#include "bus.pb-c.h"
#include "common/wire/messages.h"

typedef ProtobufCBinaryData pb_bytes;

/* Encoding: fills the generated struct from `arena`; strings are borrowed. payload may be NULL. */
struct wire_encoder {
    struct pr_arena *arena;
    struct pr_buf *payload;
};
/* Decoding: everything comes from `arena`; payload parts are checked against `payload`. */
struct wire_decoder {
    struct pr_arena *arena;
    struct pr_slice payload;
};

struct wire_codec {
    enum wire_type type;
    Postrider__Frame__BodyCase body_case;
    void (*encode)(struct wire_encoder *e, const struct wire_msg *m, Postrider__Frame *frame);
    PR_MUST_USE int (*decode)(struct wire_decoder *d, const Postrider__Frame *frame, struct wire_msg *m);
};

extern const struct wire_codec wire_codecs_session[3], wire_codecs_enqueue[4], wire_codecs_job[8], wire_codecs_result[2],
    wire_codecs_gate[2];

static inline pb_bytes pb_from(struct pr_slice s)
{
    return (pb_bytes){s.len, (uint8_t *)(uintptr_t)s.ptr};
}
static inline struct pr_slice pb_slice(pb_bytes b)
{
    return pr_slice(b.data, b.len);
}

/* Array of n pointers to n initialised generated structs. */
#define PB_ARRAY(arena, type, init_fn, n) ((type **)wire_pb_array((arena), sizeof(type), (void (*)(void *))(init_fn), (n)))
void **wire_pb_array(struct pr_arena *arena, size_t size, void (*init)(void *), size_t n);

/* Appends bytes to the payload and returns where; NULL for no bytes. */
Postrider__Payload *wire_put_payload(struct wire_encoder *e, struct pr_slice bytes);
PR_MUST_USE int wire_get_payload(const struct wire_decoder *d, const Postrider__Payload *p, struct pr_slice *ret);
PR_MUST_USE int wire_get_token(pb_bytes b, struct wire_token *ret);
pb_bytes wire_put_token(const struct wire_token *t);

Postrider__AttemptRef *wire_put_ref(struct pr_arena *arena, const struct wire_attempt_ref *r);
PR_MUST_USE int wire_get_ref(const Postrider__AttemptRef *p, struct wire_attempt_ref *ret);
Postrider__AttemptRef **wire_put_refs(struct pr_arena *arena, const struct wire_attempt_ref *refs, size_t n);
PR_MUST_USE int wire_get_refs(struct pr_arena *arena, Postrider__AttemptRef *const *in, size_t n,
                              struct wire_attempt_ref **ret);

#define WIRE_CHECK(cond, code)  \
    do {                        \
        if (!(cond))            \
            return (code);      \
    } while (0)
#define WIRE_TRY(expr)          \
    do {                        \
        int rc_ = (expr);       \
        if (rc_ != 0)           \
            return rc_;         \
    } while (0)

#endif
