/* The stored envelope and recipient groups. Decoding checks enums and sizes: a record that does not parse is damage. */
#include "common/base/alloc.h"
#include "common/wire/messages.h"
#include "queue.pb-c.h"

static ProtobufCBinaryData bytes_of(struct pr_slice s)
{
    return (ProtobufCBinaryData){s.len, (uint8_t *)(uintptr_t)s.ptr};
}

static struct pr_slice slice_of(ProtobufCBinaryData b)
{
    return pr_slice(b.data, b.len);
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

void wire_envelope_encode(const struct mail_envelope *e, struct pr_buf *out)
{
    Postrider__Envelope p = POSTRIDER__ENVELOPE__INIT;
    p.sender = bytes_of(e->sender);
    p.envid = bytes_of(e->envid);
    p.ret = e->ret;
    p.body = e->body;
    p.smtputf8 = e->smtputf8;
    p.tenant = bytes_of(e->tenant);
    p.mail_class = e->class_;
    p.pool = bytes_of(e->pool);
    p.client_name = bytes_of(e->client_name);
    p.client_address = bytes_of(e->client_address);
    p.helo = bytes_of(e->helo);
    p.protocol = bytes_of(e->protocol);
    p.arrival_ms = e->arrival.ms;
    p.size_bytes = e->size_bytes;
    size_t size = postrider__envelope__get_packed_size(&p);
    (void)postrider__envelope__pack(&p, (uint8_t *)pr_buf_reserve(out, size));
    out->len += size;
}

int wire_envelope_decode(struct pr_slice in, struct pr_arena *arena, struct mail_envelope *ret)
{
    ProtobufCAllocator allocator = {arena_alloc, arena_free, arena};
    const Postrider__Envelope *p = postrider__envelope__unpack(&allocator, in.len, (const uint8_t *)in.ptr);
    if (p == NULL || p->ret > MAIL_RET_HDRS || p->body > MAIL_BODY_BINARYMIME || p->mail_class >= MAIL_CLASS_NR)
        return PR_EPARSE;
    *ret = (struct mail_envelope){
        .sender = slice_of(p->sender),
        .envid = slice_of(p->envid),
        .ret = (enum mail_ret)p->ret,
        .body = (enum mail_body_type)p->body,
        .smtputf8 = p->smtputf8,
        .tenant = slice_of(p->tenant),
        .class_ = (enum mail_class)p->mail_class,
        .pool = slice_of(p->pool),
        .client_name = slice_of(p->client_name),
        .client_address = slice_of(p->client_address),
        .helo = slice_of(p->helo),
        .protocol = slice_of(p->protocol),
        .arrival = {p->arrival_ms},
        .size_bytes = p->size_bytes,
    };
    return 0;
}

static void put_rcpt(const struct mail_rcpt *r, Postrider__Recipient *p)
{
    p->address = bytes_of(r->address);
    p->orcpt = bytes_of(r->orcpt);
    p->notify = r->notify;
    p->status = r->status;
    p->reported = r->reported;
    p->code = r->code;
    p->enhanced = bytes_of(r->enhanced);
    p->diagnostic = bytes_of(r->diagnostic);
    p->remote = bytes_of(r->remote);
}

void wire_group_encode(const struct mail_group *g, struct pr_buf *out)
{
    Postrider__Recipient *rcpts = pr_malloc(g->n_rcpts * sizeof *rcpts);
    Postrider__Recipient **pointers = pr_malloc(g->n_rcpts * sizeof *pointers);
    Postrider__Group p = POSTRIDER__GROUP__INIT;
    for (size_t i = 0; i < g->n_rcpts; i++) {
        postrider__recipient__init(&rcpts[i]);
        put_rcpt(&g->rcpts[i], &rcpts[i]);
        pointers[i] = &rcpts[i];
    }
    p.domain = bytes_of(g->domain);
    p.n_rcpts = g->n_rcpts;
    p.rcpts = pointers;
    size_t size = postrider__group__get_packed_size(&p);
    (void)postrider__group__pack(&p, (uint8_t *)pr_buf_reserve(out, size));
    out->len += size;
    pr_free(pointers);
    pr_free(rcpts);
}

static int get_rcpt(const Postrider__Recipient *p, struct mail_rcpt *r)
{
    const unsigned notify_bits = MAIL_NOTIFY_NEVER | MAIL_NOTIFY_SUCCESS | MAIL_NOTIFY_FAILURE | MAIL_NOTIFY_DELAY;
    if (p->address.len == 0 || p->status >= MAIL_RCPT_STATUS_NR || p->code > 999 || (p->notify & ~notify_bits) != 0)
        return PR_EPARSE;
    *r = (struct mail_rcpt){
        .address = slice_of(p->address),
        .orcpt = slice_of(p->orcpt),
        .notify = p->notify,
        .status = (enum mail_rcpt_status)p->status,
        .reported = p->reported,
        .code = (uint16_t)p->code,
        .enhanced = slice_of(p->enhanced),
        .diagnostic = slice_of(p->diagnostic),
        .remote = slice_of(p->remote),
    };
    return 0;
}

int wire_group_decode(struct pr_slice in, struct pr_arena *arena, struct mail_group *ret)
{
    ProtobufCAllocator allocator = {arena_alloc, arena_free, arena};
    const Postrider__Group *p = postrider__group__unpack(&allocator, in.len, (const uint8_t *)in.ptr);
    if (p == NULL || p->domain.len == 0 || p->n_rcpts == 0 || p->n_rcpts > MAIL_GROUP_RCPTS_MAX)
        return PR_EPARSE;
    struct mail_rcpt *rcpts = pr_arena_alloc(arena, p->n_rcpts * sizeof *rcpts);
    for (size_t i = 0; i < p->n_rcpts; i++) {
        int rc = get_rcpt(p->rcpts[i], &rcpts[i]);
        if (rc != 0)
            return rc;
    }
    *ret = (struct mail_group){slice_of(p->domain), rcpts, p->n_rcpts};
    return 0;
}
