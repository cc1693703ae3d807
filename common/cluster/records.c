#include "common/cluster/records.h"

enum { REC_VERSION = 1 };

#define TRY(call)                \
    do {                         \
        if ((call) != 0)         \
            return PR_ECORRUPT;  \
    } while (0)

static void put_u8(struct pr_buf *b, unsigned v)
{
    pr_buf_char(b, (char)(unsigned char)v);
}

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

static int get_str(struct pr_slice *in, struct pr_slice *ret)
{
    uint16_t n;
    TRY(pr_get_le16(in, &n));
    return pr_get_bytes(in, n, ret);
}

static int get_blob(struct pr_slice *in, struct pr_slice *ret)
{
    uint32_t n;
    TRY(pr_get_le32(in, &n));
    return pr_get_bytes(in, n, ret);
}

static void begin(struct pr_buf *out)
{
    pr_buf_clear(out);
    put_u8(out, REC_VERSION);
}

static int get_version(struct pr_slice *in)
{
    uint8_t v;
    TRY(pr_get_u8(in, &v));
    return v == REC_VERSION ? 0 : PR_ECORRUPT;
}

static int get_class(struct pr_slice *in, enum mail_class *ret)
{
    uint8_t v;
    TRY(pr_get_u8(in, &v));
    if (v >= MAIL_CLASS_NR)
        return PR_ECORRUPT;
    *ret = (enum mail_class)v;
    return 0;
}

static int end(struct pr_slice in)
{
    return in.len == 0 ? 0 : PR_ECORRUPT;
}

/* --------------------------------------------------------------------------------------------------------- message */

enum { MSG_HELD = 1, MSG_WARNED = 2 };

void rec_msg_encode(const struct rec_msg *m, struct pr_buf *out)
{
    begin(out);
    put_u8(out, (m->held ? MSG_HELD : 0U) | (m->delay_warned ? MSG_WARNED : 0U));
    put_u8(out, (unsigned)m->class_);
    pr_buf_le64(out, m->received_ms);
    pr_buf_le64(out, m->expiry_ms);
    pr_buf_le64(out, m->check_ms);
    pr_buf_le64(out, m->size_bytes);
    pr_buf_le64(out, m->body_id);
    pr_buf_le32(out, m->n_chunks);
    pr_buf_le16(out, m->n_groups);
    pr_buf_le16(out, m->groups_left);
    pr_buf_le16(out, m->groups_unreported);
    pr_buf_le32(out, m->check_minute);
    pr_buf_le32(out, m->report_minute);
    put_str(out, m->tenant);
    put_str(out, m->pool);
    put_blob(out, m->envelope);
}

int rec_msg_decode(struct pr_slice in, struct rec_msg *m)
{
    uint8_t flags;
    TRY(get_version(&in));
    TRY(pr_get_u8(&in, &flags));
    if ((flags & ~(MSG_HELD | MSG_WARNED)) != 0)
        return PR_ECORRUPT;
    m->held = (flags & MSG_HELD) != 0;
    m->delay_warned = (flags & MSG_WARNED) != 0;
    TRY(get_class(&in, &m->class_));
    TRY(pr_get_le64(&in, &m->received_ms));
    TRY(pr_get_le64(&in, &m->expiry_ms));
    TRY(pr_get_le64(&in, &m->check_ms));
    TRY(pr_get_le64(&in, &m->size_bytes));
    TRY(pr_get_le64(&in, &m->body_id));
    TRY(pr_get_le32(&in, &m->n_chunks));
    TRY(pr_get_le16(&in, &m->n_groups));
    TRY(pr_get_le16(&in, &m->groups_left));
    TRY(pr_get_le16(&in, &m->groups_unreported));
    TRY(pr_get_le32(&in, &m->check_minute));
    TRY(pr_get_le32(&in, &m->report_minute));
    TRY(get_str(&in, &m->tenant));
    TRY(get_str(&in, &m->pool));
    TRY(get_blob(&in, &m->envelope));
    return end(in);
}

/* ----------------------------------------------------------------------------------------------------------- group */

enum { GROUP_PARKED = 1 };
/* A recipient's first byte: status, and two flags. SAME_TEXT: code and texts are those of the recipient before, which
 * is the rule when a whole group fails on its connection. */
enum { RCPT_STATUS = 0x0f, RCPT_REPORTED = 0x40, RCPT_SAME_TEXT = 0x80 };

static bool same_text(const struct qread_rcpt *a, const struct qread_rcpt *b)
{
    return a->code == b->code && pr_slice_eq(a->enhanced, b->enhanced) && pr_slice_eq(a->diagnostic, b->diagnostic) &&
           pr_slice_eq(a->remote, b->remote);
}

static void put_rcpts(struct pr_buf *out, const struct qread_rcpt *rcpts, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        const struct qread_rcpt *r = &rcpts[i];
        bool same = i > 0 && same_text(r, r - 1);
        put_u8(out, (unsigned)r->status | (r->reported ? RCPT_REPORTED : 0U) | (same ? RCPT_SAME_TEXT : 0U));
        if (same)
            continue;
        pr_buf_le16(out, r->code);
        put_str(out, r->enhanced);
        put_str(out, r->diagnostic);
        put_str(out, r->remote);
    }
}

void rec_group_encode(const struct rec_group *g, struct pr_buf *out)
{
    begin(out);
    put_u8(out, g->parked ? GROUP_PARKED : 0U);
    pr_buf_le32(out, g->flow_id);
    pr_buf_le64(out, g->due_ms);
    pr_buf_le32(out, g->seq);
    pr_buf_le32(out, g->attempt);
    pr_buf_le16(out, g->n_rcpts);
    pr_buf_le16(out, g->n_pending);
    pr_buf_le16(out, g->n_unreported);
    put_str(out, g->domain);
    put_blob(out, g->encoded);
    if (g->rcpts != NULL)
        put_rcpts(out, g->rcpts, g->n_rcpts);
}

static int get_rcpts(struct pr_slice *in, struct pr_arena *arena, struct rec_group *g)
{
    g->rcpts = pr_arena_zalloc(arena, g->n_rcpts * sizeof *g->rcpts);
    for (uint32_t i = 0; i < g->n_rcpts; i++) {
        struct qread_rcpt *r = &g->rcpts[i];
        uint8_t first;
        TRY(pr_get_u8(in, &first));
        unsigned status = first & RCPT_STATUS;
        if (status >= MAIL_RCPT_STATUS_NR || (first & ~(RCPT_STATUS | RCPT_REPORTED | RCPT_SAME_TEXT)) != 0)
            return PR_ECORRUPT;
        if ((first & RCPT_SAME_TEXT) != 0) {
            if (i == 0)
                return PR_ECORRUPT;
            *r = r[-1];
        } else {
            TRY(pr_get_le16(in, &r->code));
            TRY(get_str(in, &r->enhanced));
            TRY(get_str(in, &r->diagnostic));
            TRY(get_str(in, &r->remote));
        }
        r->status = (enum mail_rcpt_status)status;
        r->reported = (first & RCPT_REPORTED) != 0;
    }
    return 0;
}

int rec_group_decode(struct pr_slice in, struct pr_arena *arena, struct rec_group *g)
{
    uint8_t flags;
    TRY(get_version(&in));
    TRY(pr_get_u8(&in, &flags));
    if ((flags & ~GROUP_PARKED) != 0)
        return PR_ECORRUPT;
    g->parked = (flags & GROUP_PARKED) != 0;
    TRY(pr_get_le32(&in, &g->flow_id));
    TRY(pr_get_le64(&in, &g->due_ms));
    TRY(pr_get_le32(&in, &g->seq));
    TRY(pr_get_le32(&in, &g->attempt));
    TRY(pr_get_le16(&in, &g->n_rcpts));
    TRY(pr_get_le16(&in, &g->n_pending));
    TRY(pr_get_le16(&in, &g->n_unreported));
    TRY(get_str(&in, &g->domain));
    TRY(get_blob(&in, &g->encoded));
    g->rcpts = NULL;
    if (in.len == 0 || arena == NULL)
        return 0;
    TRY(get_rcpts(&in, arena, g));
    return end(in);
}

/* --------------------------------------------------------------------------------------------------- small records */

void rec_lease_encode(const struct rec_lease *l, struct pr_buf *out)
{
    begin(out);
    pr_buf_le64(out, l->attempt_id);
    pr_buf_le32(out, l->attempt);
    put_str(out, l->node_id);
    pr_buf_le64(out, l->boot_id);
    pr_buf_le32(out, l->lane);
    pr_buf_le64(out, l->issued_ms);
}

int rec_lease_decode(struct pr_slice in, struct rec_lease *l)
{
    TRY(get_version(&in));
    TRY(pr_get_le64(&in, &l->attempt_id));
    TRY(pr_get_le32(&in, &l->attempt));
    TRY(get_str(&in, &l->node_id));
    TRY(pr_get_le64(&in, &l->boot_id));
    TRY(pr_get_le32(&in, &l->lane));
    TRY(pr_get_le64(&in, &l->issued_ms));
    return end(in);
}

void rec_sched_encode(const struct rec_sched *s, struct pr_buf *out)
{
    begin(out);
    pr_buf_le64(out, s->size_bytes);
    pr_buf_le32(out, s->n_rcpts);
    pr_buf_le32(out, s->attempt);
}

int rec_sched_decode(struct pr_slice in, struct rec_sched *s)
{
    TRY(get_version(&in));
    TRY(pr_get_le64(&in, &s->size_bytes));
    TRY(pr_get_le32(&in, &s->n_rcpts));
    TRY(pr_get_le32(&in, &s->attempt));
    return end(in);
}

void rec_upload_encode(const struct rec_upload *u, struct pr_buf *out)
{
    begin(out);
    pr_buf_le32(out, u->n_parts);
    pr_buf_le64(out, u->bytes);
    pr_buf_le64(out, u->reap_ms);
    pr_buf_le32(out, u->reap_minute);
}

int rec_upload_decode(struct pr_slice in, struct rec_upload *u)
{
    TRY(get_version(&in));
    TRY(pr_get_le32(&in, &u->n_parts));
    TRY(pr_get_le64(&in, &u->bytes));
    TRY(pr_get_le64(&in, &u->reap_ms));
    TRY(pr_get_le32(&in, &u->reap_minute));
    return end(in);
}

void rec_flow_encode(const struct fsm_flow *f, struct pr_buf *out)
{
    begin(out);
    put_u8(out, (unsigned)f->class_);
    put_str(out, f->tenant);
    put_str(out, f->pool);
    put_str(out, f->domain);
}

int rec_flow_decode(struct pr_slice in, struct fsm_flow *f)
{
    TRY(get_version(&in));
    TRY(get_class(&in, &f->class_));
    TRY(get_str(&in, &f->tenant));
    TRY(get_str(&in, &f->pool));
    TRY(get_str(&in, &f->domain));
    return end(in);
}

/* The counters as one list, so that encoder and decoder cannot disagree on the order. */
enum { N_SHOWN = sizeof(struct fsm_counters) / sizeof(uint64_t) };

void rec_counters_encode(const struct rec_counters *c, struct pr_buf *out)
{
    uint64_t shown[N_SHOWN];
    memcpy(shown, &c->shown, sizeof shown);
    begin(out);
    put_u8(out, N_SHOWN);
    for (size_t i = 0; i < N_SHOWN; i++)
        pr_buf_le64(out, shown[i]);
    pr_buf_le64(out, c->last_id);
    pr_buf_le64(out, c->dedup_ms);
    pr_buf_le64(out, c->dedup_first);
    pr_buf_le32(out, c->flow_next);
}

int rec_counters_decode(struct pr_slice in, struct rec_counters *c)
{
    uint64_t shown[N_SHOWN];
    uint8_t n;
    TRY(get_version(&in));
    TRY(pr_get_u8(&in, &n));
    if (n != N_SHOWN)
        return PR_ECORRUPT;
    for (size_t i = 0; i < N_SHOWN; i++)
        TRY(pr_get_le64(&in, &shown[i]));
    memcpy(&c->shown, shown, sizeof shown);
    TRY(pr_get_le64(&in, &c->last_id));
    TRY(pr_get_le64(&in, &c->dedup_ms));
    TRY(pr_get_le64(&in, &c->dedup_first));
    TRY(pr_get_le32(&in, &c->flow_next));
    return end(in);
}

void rec_applied_encode(uint64_t index, uint64_t term, struct pr_buf *out)
{
    begin(out);
    pr_buf_le64(out, index);
    pr_buf_le64(out, term);
}

int rec_applied_decode(struct pr_slice in, uint64_t *ret_index, uint64_t *ret_term)
{
    TRY(get_version(&in));
    TRY(pr_get_le64(&in, ret_index));
    TRY(pr_get_le64(&in, ret_term));
    return end(in);
}
