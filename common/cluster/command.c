/* command.c - encoding of log entries. The decoder is command_decode.c. */
#include "common/cluster/command.h"

#include "common/base/assert.h"

const char *const cmd_type_names[CMD_TYPE_NR] = {
    [CMD_NONE] = "none",
    [CMD_ENQUEUE] = "enqueue",
    [CMD_PART] = "part",
    [CMD_ISSUE] = "issue",
    [CMD_RELEASE_LEASE] = "release_lease",
    [CMD_RESULT] = "result",
    [CMD_REPORT] = "report",
    [CMD_HOLD] = "hold",
    [CMD_UNHOLD] = "unhold",
    [CMD_DELETE] = "delete",
    [CMD_RETRY] = "retry",
    [CMD_GATE_PUT] = "gate_put",
    [CMD_GATE_DEL] = "gate_del",
    [CMD_EPOCH] = "epoch",
    [CMD_BODY_REAP] = "body_reap",
    [CMD_FLOW_DROP] = "flow_drop",
};

enum { HEADER_LEN = 24, NOW_AT = 8, ACKED_AT = 16, PAD = 8 };

static void put_u8(struct pr_buf *b, unsigned v)
{
    pr_buf_char(b, (char)(unsigned char)v);
}

/* Strings of up to 64 KB, with their length in two bytes. */
static void put_str(struct pr_buf *b, struct pr_slice s)
{
    pr_buf_le16(b, (uint16_t)s.len);
    pr_buf_add(b, s);
}

static void put_blob(struct pr_buf *b, struct pr_slice s)
{
    pr_buf_le32(b, (uint32_t)s.len);
    pr_buf_add(b, s);
}

static bool name_ok(struct pr_slice s)
{
    return s.len <= CMD_NAME_MAX;
}

static int put_groups(struct pr_buf *b, const struct cmd_enqueue *e)
{
    pr_buf_le16(b, (uint16_t)e->n_groups);
    for (uint32_t i = 0; i < e->n_groups; i++) {
        const struct cmd_group *g = &e->groups[i];
        if (!name_ok(g->domain) || g->encoded.len > CMD_GROUP_BYTES_MAX || g->n_rcpts == 0 ||
            g->n_rcpts > CMD_RCPTS_MAX)
            return PR_ETOOBIG;
        put_str(b, g->domain);
        put_blob(b, g->encoded);
        pr_buf_le32(b, g->n_rcpts);
        pr_buf_le64(b, g->due_ms);
        pr_buf_le64(b, g->attempt_id);
    }
    return 0;
}

static int put_enqueue(struct pr_buf *b, const struct cmd_enqueue *e)
{
    if (!name_ok(e->tenant) || !name_ok(e->pool) || !name_ok(e->issue_node) || e->envelope.len > CMD_ENVELOPE_MAX ||
        e->body.len > CMD_BODY_CHUNK_MAX || e->n_chunks > CMD_CHUNKS_MAX || e->n_groups > CMD_GROUPS_MAX)
        return PR_ETOOBIG;
    pr_buf_le64(b, e->msg_id);
    pr_buf_append(b, e->token.bytes, sizeof e->token.bytes);
    pr_buf_le64(b, e->received_ms);
    pr_buf_le64(b, e->expiry_ms);
    pr_buf_le64(b, e->check_ms);
    put_u8(b, (unsigned)e->class_);
    put_str(b, e->tenant);
    put_str(b, e->pool);
    put_blob(b, e->envelope);
    pr_buf_le64(b, e->size_bytes);
    pr_buf_le64(b, e->body_id);
    pr_buf_le32(b, e->n_chunks);
    put_str(b, e->issue_node);
    pr_buf_le64(b, e->issue_boot_id);
    pr_buf_le32(b, e->issue_lane);
    int err = put_groups(b, e);
    if (err != 0)
        return err;
    put_blob(b, e->body);
    return 0;
}

static int put_optional_enqueue(struct pr_buf *b, const struct cmd_enqueue *e)
{
    put_u8(b, e != NULL);
    return e == NULL ? 0 : put_enqueue(b, e);
}

static int put_part(struct pr_buf *b, const struct cmd_part *p)
{
    if (p->bytes.len == 0 || p->bytes.len > CMD_BODY_CHUNK_MAX || p->seq >= CMD_CHUNKS_MAX)
        return PR_ETOOBIG;
    pr_buf_le64(b, p->body_id);
    pr_buf_le32(b, p->seq);
    pr_buf_le64(b, p->reap_ms);
    put_blob(b, p->bytes);
    return 0;
}

static int put_issue(struct pr_buf *b, const struct cmd_issue *i)
{
    if (!name_ok(i->node_id))
        return PR_ETOOBIG;
    pr_buf_le64(b, i->msg_id);
    pr_buf_le16(b, i->group);
    pr_buf_le64(b, i->due_ms);
    pr_buf_le32(b, i->attempt);
    pr_buf_le64(b, i->attempt_id);
    put_str(b, i->node_id);
    pr_buf_le64(b, i->boot_id);
    pr_buf_le32(b, i->lane);
    pr_buf_le64(b, i->issued_ms);
    return 0;
}

static void put_ref(struct pr_buf *b, const struct cmd_attempt_ref *r)
{
    pr_buf_le64(b, r->msg_id);
    pr_buf_le16(b, r->group);
    pr_buf_le64(b, r->attempt_id);
}

static int put_result(struct pr_buf *b, const struct cmd_result *r)
{
    if (r->n_rcpts > CMD_RCPTS_MAX)
        return PR_ETOOBIG;
    put_ref(b, &r->ref);
    pr_buf_le64(b, r->next_due_ms);
    put_str(b, pr_slice_head(r->remote, CMD_TEXT_MAX));
    pr_buf_le16(b, (uint16_t)r->n_rcpts);
    for (uint32_t i = 0; i < r->n_rcpts; i++) {
        const struct cmd_rcpt_result *x = &r->rcpts[i];
        pr_buf_le16(b, (uint16_t)x->index);
        put_u8(b, (unsigned)x->outcome | (x->no_report ? 0x80U : 0));
        pr_buf_le16(b, x->code);
        put_str(b, pr_slice_head(x->enhanced, CMD_TEXT_MAX));
        put_str(b, pr_slice_head(x->diagnostic, CMD_TEXT_MAX));
    }
    return put_optional_enqueue(b, r->bounce);
}

static int put_report(struct pr_buf *b, const struct cmd_report *r)
{
    enum { ITEMS_MAX = 65535 };
    if (r->n_items > ITEMS_MAX)
        return PR_ETOOBIG;
    pr_buf_le64(b, r->msg_id);
    put_u8(b, (unsigned)r->kind);
    pr_buf_le64(b, r->next_check_ms);
    pr_buf_le16(b, (uint16_t)r->n_items);
    for (uint32_t i = 0; i < r->n_items; i++) {
        pr_buf_le16(b, r->items[i].group);
        pr_buf_le16(b, (uint16_t)r->items[i].index);
    }
    return put_optional_enqueue(b, r->dsn);
}

static int put_gate(struct pr_buf *b, enum cmd_type type, const struct cmd_gate *g)
{
    if (g->key.len == 0 || g->key.len > CMD_GATE_KEY_MAX || g->value.len > CMD_GATE_VALUE_MAX)
        return PR_ETOOBIG;
    put_str(b, g->key);
    if (type == CMD_GATE_PUT)
        put_blob(b, g->value);
    return 0;
}

static int put_payload(struct pr_buf *b, const struct cmd *c)
{
    switch (c->type) {
    case CMD_ENQUEUE:
        return put_enqueue(b, &c->enqueue);
    case CMD_PART:
        return put_part(b, &c->part);
    case CMD_ISSUE:
        return put_issue(b, &c->issue);
    case CMD_RELEASE_LEASE:
        put_ref(b, &c->release);
        return 0;
    case CMD_RESULT:
        return put_result(b, &c->result);
    case CMD_REPORT:
        return put_report(b, &c->report);
    case CMD_HOLD:
    case CMD_UNHOLD:
    case CMD_DELETE:
    case CMD_RETRY:
        pr_buf_le64(b, c->admin.msg_id);
        pr_buf_le64(b, c->admin.due_ms);
        return 0;
    case CMD_GATE_PUT:
    case CMD_GATE_DEL:
        return put_gate(b, c->type, &c->gate);
    case CMD_EPOCH:
        pr_buf_le64(b, c->epoch.term);
        pr_buf_le64(b, c->epoch.node);
        return 0;
    case CMD_BODY_REAP:
        pr_buf_le64(b, c->body_id);
        return 0;
    case CMD_FLOW_DROP:
        pr_buf_le32(b, c->flow_id);
        return 0;
    case CMD_NONE:
    case CMD_TYPE_NR:
        break;
    }
    return PR_EINVAL;
}

/* Header and lengths are written as zeros first and patched when known. */
static void write_le(char *p, uint64_t v, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        p[i] = (char)(unsigned char)(v >> (8 * i));
}

static void patch_le(struct pr_buf *b, size_t at, uint64_t v, unsigned n)
{
    write_le(b->ptr + at, v, n);
}

static void put_zeros(struct pr_buf *b, size_t n)
{
    memset(pr_buf_reserve(b, n), 0, n);
    b->len += n;
}

int cmd_batch_add(struct cmd_batch *b, const struct cmd *c)
{
    if (b->count >= CMD_COUNT_MAX)
        return PR_ETOOBIG;
    size_t before = b->buf.len;
    if (before == 0)
        put_zeros(&b->buf, HEADER_LEN);
    put_u8(&b->buf, (unsigned)c->type);
    size_t at = b->buf.len;
    put_zeros(&b->buf, 4);
    int err = put_payload(&b->buf, c);
    if (err == 0 && b->buf.len + PAD > CMD_ENTRY_HARD_MAX)
        err = PR_ETOOBIG;
    if (err != 0) {
        b->buf.len = before;
        return err;
    }
    patch_le(&b->buf, at, b->buf.len - at - 4, 4);
    b->count++;
    return 0;
}

struct pr_slice cmd_batch_finish(struct cmd_batch *b, pr_wall now)
{
    pr_assert(b->count > 0);
    patch_le(&b->buf, 0, CMD_VERSION, 1);
    patch_le(&b->buf, 2, b->count, 2);
    patch_le(&b->buf, NOW_AT, now.ms, 8);
    put_zeros(&b->buf, (PAD - b->buf.len % PAD) % PAD);
    return pr_buf_slice(&b->buf);
}

void cmd_batch_clear(struct cmd_batch *b)
{
    pr_buf_clear(&b->buf);
    b->count = 0;
}

void cmd_entry_set_acked(char *entry, size_t len, uint64_t acked)
{
    pr_assert(len >= HEADER_LEN);
    write_le(entry + ACKED_AT, acked, 8);
}

uint64_t cmd_entry_acked(struct pr_slice entry)
{
    uint64_t acked;
    if (entry.len < HEADER_LEN || entry.ptr[0] != CMD_VERSION)
        return 0;
    entry = pr_slice_from(entry, ACKED_AT);
    return pr_get_le64(&entry, &acked) == 0 ? acked : 0;
}
