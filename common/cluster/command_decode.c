/* command_decode.c - strict decoding of log entries: every field within its limit, every byte accounted for.
 *
 * The bytes were written by a leader of our own, but they come back from disks and from peers, and a replica that
 * misreads one entry differs from the others for ever. */
#include "common/cluster/command.h"

#define TRY(call)          \
    do {                   \
        int err_ = (call); \
        if (err_ != 0)     \
            return err_;   \
    } while (0)

static int get_str(struct pr_slice *in, size_t max, struct pr_slice *ret)
{
    uint16_t n;
    TRY(pr_get_le16(in, &n));
    return n > max ? PR_ETOOBIG : pr_get_bytes(in, n, ret);
}

static int get_blob(struct pr_slice *in, size_t max, struct pr_slice *ret)
{
    uint32_t n;
    TRY(pr_get_le32(in, &n));
    return n > max ? PR_ETOOBIG : pr_get_bytes(in, n, ret);
}

static int get_bool(struct pr_slice *in, bool *ret)
{
    uint8_t v;
    TRY(pr_get_u8(in, &v));
    if (v > 1)
        return PR_EPARSE;
    *ret = v == 1;
    return 0;
}

static int get_groups(struct pr_slice *in, struct pr_arena *arena, struct cmd_enqueue *e)
{
    enum { GROUP_MIN = 2 + 4 + 4 + 8 + 8 };
    uint16_t n;
    TRY(pr_get_le16(in, &n));
    if (n > CMD_GROUPS_MAX)
        return PR_ETOOBIG;
    if ((size_t)n * GROUP_MIN > in->len)
        return PR_EPARSE;
    e->n_groups = n;
    e->groups = pr_arena_zalloc(arena, (size_t)n * sizeof *e->groups);
    for (uint32_t i = 0; i < n; i++) {
        struct cmd_group *g = &e->groups[i];
        TRY(get_str(in, CMD_NAME_MAX, &g->domain));
        TRY(get_blob(in, CMD_GROUP_BYTES_MAX, &g->encoded));
        TRY(pr_get_le32(in, &g->n_rcpts));
        if (g->n_rcpts == 0 || g->n_rcpts > CMD_RCPTS_MAX)
            return PR_EPARSE;
        TRY(pr_get_le64(in, &g->due_ms));
        TRY(pr_get_le64(in, &g->attempt_id));
    }
    return 0;
}

static int get_enqueue(struct pr_slice *in, struct pr_arena *arena, struct cmd_enqueue *e)
{
    struct pr_slice token;
    uint8_t class_;
    TRY(pr_get_le64(in, &e->msg_id));
    TRY(pr_get_bytes(in, sizeof e->token.bytes, &token));
    memcpy(e->token.bytes, token.ptr, sizeof e->token.bytes);
    TRY(pr_get_le64(in, &e->received_ms));
    TRY(pr_get_le64(in, &e->expiry_ms));
    TRY(pr_get_le64(in, &e->check_ms));
    TRY(pr_get_u8(in, &class_));
    if (class_ >= MAIL_CLASS_NR)
        return PR_EPARSE;
    e->class_ = (enum mail_class)class_;
    TRY(get_str(in, CMD_NAME_MAX, &e->tenant));
    TRY(get_str(in, CMD_NAME_MAX, &e->pool));
    TRY(get_blob(in, CMD_ENVELOPE_MAX, &e->envelope));
    TRY(pr_get_le64(in, &e->size_bytes));
    TRY(pr_get_le64(in, &e->body_id));
    TRY(pr_get_le32(in, &e->n_chunks));
    if (e->n_chunks > CMD_CHUNKS_MAX)
        return PR_ETOOBIG;
    TRY(get_str(in, CMD_NAME_MAX, &e->issue_node));
    TRY(pr_get_le64(in, &e->issue_boot_id));
    TRY(pr_get_le32(in, &e->issue_lane));
    TRY(get_groups(in, arena, e));
    return get_blob(in, CMD_BODY_CHUNK_MAX, &e->body);
}

static int get_optional_enqueue(struct pr_slice *in, struct pr_arena *arena, const struct cmd_enqueue **ret)
{
    bool present;
    TRY(get_bool(in, &present));
    *ret = NULL;
    if (!present)
        return 0;
    struct cmd_enqueue *e = pr_arena_zalloc(arena, sizeof *e);
    *ret = e;
    return get_enqueue(in, arena, e);
}

static int get_part(struct pr_slice *in, struct cmd_part *p)
{
    TRY(pr_get_le64(in, &p->body_id));
    TRY(pr_get_le32(in, &p->seq));
    if (p->seq >= CMD_CHUNKS_MAX)
        return PR_ETOOBIG;
    TRY(pr_get_le64(in, &p->reap_ms));
    TRY(get_blob(in, CMD_BODY_CHUNK_MAX, &p->bytes));
    return p->bytes.len == 0 ? PR_EPARSE : 0;
}

static int get_issue(struct pr_slice *in, struct cmd_issue *i)
{
    TRY(pr_get_le64(in, &i->msg_id));
    TRY(pr_get_le16(in, &i->group));
    TRY(pr_get_le64(in, &i->due_ms));
    TRY(pr_get_le32(in, &i->attempt));
    TRY(pr_get_le64(in, &i->attempt_id));
    TRY(get_str(in, CMD_NAME_MAX, &i->node_id));
    TRY(pr_get_le64(in, &i->boot_id));
    TRY(pr_get_le32(in, &i->lane));
    return pr_get_le64(in, &i->issued_ms);
}

static int get_ref(struct pr_slice *in, struct cmd_attempt_ref *r)
{
    TRY(pr_get_le64(in, &r->msg_id));
    TRY(pr_get_le16(in, &r->group));
    return pr_get_le64(in, &r->attempt_id);
}

static int get_rcpt_result(struct pr_slice *in, struct cmd_rcpt_result *x)
{
    uint16_t index;
    uint8_t outcome;
    TRY(pr_get_le16(in, &index));
    TRY(pr_get_u8(in, &outcome));
    x->index = index;
    x->no_report = (outcome & 0x80) != 0;
    outcome &= 0x7f;
    if (outcome >= MAIL_OUTCOME_NR)
        return PR_EPARSE;
    x->outcome = (enum mail_outcome)outcome;
    TRY(pr_get_le16(in, &x->code));
    TRY(get_str(in, CMD_TEXT_MAX, &x->enhanced));
    return get_str(in, CMD_TEXT_MAX, &x->diagnostic);
}

static int get_result(struct pr_slice *in, struct pr_arena *arena, struct cmd_result *r)
{
    enum { RCPT_MIN = 2 + 1 + 2 + 2 + 2 };
    uint16_t n;
    TRY(get_ref(in, &r->ref));
    TRY(pr_get_le64(in, &r->next_due_ms));
    TRY(get_str(in, CMD_TEXT_MAX, &r->remote));
    TRY(pr_get_le16(in, &n));
    if (n > CMD_RCPTS_MAX)
        return PR_ETOOBIG;
    if ((size_t)n * RCPT_MIN > in->len)
        return PR_EPARSE;
    r->n_rcpts = n;
    r->rcpts = pr_arena_zalloc(arena, (size_t)n * sizeof *r->rcpts);
    for (uint32_t i = 0; i < n; i++)
        TRY(get_rcpt_result(in, &r->rcpts[i]));
    return get_optional_enqueue(in, arena, &r->bounce);
}

static int get_report(struct pr_slice *in, struct pr_arena *arena, struct cmd_report *r)
{
    enum { ITEM_LEN = 4 };
    uint16_t n, index;
    uint8_t kind;
    TRY(pr_get_le64(in, &r->msg_id));
    TRY(pr_get_u8(in, &kind));
    if (kind >= CMD_REPORT_KIND_NR)
        return PR_EPARSE;
    r->kind = (enum cmd_report_kind)kind;
    TRY(pr_get_le64(in, &r->next_check_ms));
    TRY(pr_get_le16(in, &n));
    if ((size_t)n * ITEM_LEN > in->len)
        return PR_EPARSE;
    r->n_items = n;
    r->items = pr_arena_zalloc(arena, (size_t)n * sizeof *r->items);
    for (uint32_t i = 0; i < n; i++) {
        TRY(pr_get_le16(in, &r->items[i].group));
        TRY(pr_get_le16(in, &index));
        r->items[i].index = index;
    }
    return get_optional_enqueue(in, arena, &r->dsn);
}

static int get_gate(struct pr_slice *in, enum cmd_type type, struct cmd_gate *g)
{
    TRY(get_str(in, CMD_GATE_KEY_MAX, &g->key));
    if (g->key.len == 0)
        return PR_EPARSE;
    return type == CMD_GATE_PUT ? get_blob(in, CMD_GATE_VALUE_MAX, &g->value) : 0;
}

static int get_payload(struct pr_slice *in, struct pr_arena *arena, struct cmd *c)
{
    switch (c->type) {
    case CMD_ENQUEUE:
        return get_enqueue(in, arena, &c->enqueue);
    case CMD_PART:
        return get_part(in, &c->part);
    case CMD_ISSUE:
        return get_issue(in, &c->issue);
    case CMD_RELEASE_LEASE:
        return get_ref(in, &c->release);
    case CMD_RESULT:
        return get_result(in, arena, &c->result);
    case CMD_REPORT:
        return get_report(in, arena, &c->report);
    case CMD_HOLD:
    case CMD_UNHOLD:
    case CMD_DELETE:
    case CMD_RETRY:
        TRY(pr_get_le64(in, &c->admin.msg_id));
        return pr_get_le64(in, &c->admin.due_ms);
    case CMD_GATE_PUT:
    case CMD_GATE_DEL:
        return get_gate(in, c->type, &c->gate);
    case CMD_EPOCH:
        TRY(pr_get_le64(in, &c->epoch.term));
        return pr_get_le64(in, &c->epoch.node);
    case CMD_BODY_REAP:
        return pr_get_le64(in, &c->body_id);
    case CMD_FLOW_DROP:
        return pr_get_le32(in, &c->flow_id);
    case CMD_NONE:
    case CMD_TYPE_NR:
        break;
    }
    return PR_EVERSION;
}

int cmd_reader_init(struct cmd_reader *r, struct pr_slice entry)
{
    uint8_t version, flags;
    uint16_t count;
    uint32_t zero;
    uint64_t now_ms, acked;
    if (entry.len > CMD_ENTRY_HARD_MAX)
        return PR_ETOOBIG;
    TRY(pr_get_u8(&entry, &version));
    if (version != CMD_VERSION)
        return PR_EVERSION;
    TRY(pr_get_u8(&entry, &flags));
    if (flags != 0)
        return PR_EVERSION;
    TRY(pr_get_le16(&entry, &count));
    TRY(pr_get_le32(&entry, &zero));
    TRY(pr_get_le64(&entry, &now_ms));
    TRY(pr_get_le64(&entry, &acked));
    if (zero != 0)
        return PR_EVERSION;
    if (count == 0 || count > CMD_COUNT_MAX)
        return PR_EPARSE;
    *r = (struct cmd_reader){.rest = entry, .left = count, .now = {now_ms}};
    return 0;
}

static int check_padding(struct pr_slice rest)
{
    if (rest.len > 7)
        return PR_EPARSE;
    for (size_t i = 0; i < rest.len; i++)
        if (rest.ptr[i] != 0)
            return PR_EPARSE;
    return 0;
}

int cmd_reader_next(struct cmd_reader *r, struct pr_arena *arena, struct cmd *ret, bool *ret_more)
{
    *ret_more = r->left > 0;
    if (r->left == 0)
        return check_padding(r->rest);
    uint8_t type;
    struct pr_slice payload;
    memset(ret, 0, sizeof *ret);
    TRY(pr_get_u8(&r->rest, &type));
    if (type == CMD_NONE || type >= CMD_TYPE_NR)
        return PR_EVERSION;
    ret->type = (enum cmd_type)type;
    TRY(get_blob(&r->rest, CMD_ENTRY_HARD_MAX, &payload));
    TRY(get_payload(&payload, arena, ret));
    if (payload.len != 0)
        return PR_EPARSE;
    r->left--;
    return 0;
}
