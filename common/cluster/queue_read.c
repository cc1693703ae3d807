/* queue_read.c - points and scans over the merged view of stage and store.
 *
 * Scans copy a step of rows into an arena under the lock, release it, and hand the rows out; the next step seeks behind
 * the last key seen. */
#include "common/cluster/queue_read.h"

#include "common/base/alloc.h"
#include "common/cluster/records.h"
#include "common/wire/messages.h"

enum { STEP_ROWS = 64 };

/* ---------------------------------------------------------------------------------------------------------- points */

/* Copy of a row in the arena; the lock is held. */
static int fetch(struct stage *s, enum kv_cf cf, struct key k, struct pr_arena *arena, struct pr_slice *ret)
{
    struct pr_slice row;
    int err = stage_peek(s, cf, key_slice(&k), &row);
    if (err == 0)
        *ret = pr_arena_dup(arena, row);
    return err;
}

static int to_msg(uint64_t msg_id, struct pr_slice row, struct qread_msg *ret)
{
    struct rec_msg m;
    int err = rec_msg_decode(row, &m);
    if (err != 0)
        return err;
    *ret = (struct qread_msg){
        .msg_id = msg_id,
        .held = m.held,
        .delay_warned = m.delay_warned,
        .class_ = m.class_,
        .tenant = m.tenant,
        .pool = m.pool,
        .envelope = m.envelope,
        .received_ms = m.received_ms,
        .expiry_ms = m.expiry_ms,
        .check_ms = m.check_ms,
        .size_bytes = m.size_bytes,
        .body_id = m.body_id,
        .n_chunks = m.n_chunks,
        .n_groups = m.n_groups,
        .groups_left = m.groups_left,
        .groups_unreported = m.groups_unreported,
    };
    return 0;
}

static int to_group(uint64_t msg_id, uint16_t group, bool leased, struct pr_slice row, struct pr_arena *arena,
                    struct qread_group *ret)
{
    struct rec_group g;
    int err = rec_group_decode(row, arena, &g);
    if (err != 0)
        return err;
    *ret = (struct qread_group){
        .msg_id = msg_id,
        .group = group,
        .flow_id = g.flow_id,
        .parked = g.parked,
        .leased = leased,
        .due_ms = g.due_ms,
        .attempt = g.attempt,
        .n_rcpts = g.n_rcpts,
        .n_pending = g.n_pending,
        .n_unreported = g.n_unreported,
        .domain = g.domain,
        .encoded = g.encoded,
        .rcpts = g.rcpts,
    };
    return 0;
}

/* The lock is held. */
static int fetch_group(struct stage *s, uint64_t msg_id, uint16_t group, struct pr_arena *arena,
                       struct qread_group *ret)
{
    struct pr_slice row, lease;
    struct key k = key_lease(msg_id, group);
    int leased = stage_peek(s, KV_LEASE, key_slice(&k), &lease);
    if (leased != 0 && leased != PR_ENOTFOUND)
        return leased;
    int err = fetch(s, KV_RCPT, key_rcpt(msg_id, group), arena, &row);
    return err == 0 ? to_group(msg_id, group, leased == 0, row, arena, ret) : err;
}

static int fetch_msg(struct stage *s, uint64_t msg_id, struct pr_arena *arena, struct qread_msg *ret)
{
    struct pr_slice row;
    int err = fetch(s, KV_MSG, key_msg(msg_id), arena, &row);
    return err == 0 ? to_msg(msg_id, row, ret) : err;
}

int qread_message(struct stage *s, uint64_t msg_id, struct pr_arena *arena, struct qread_msg *ret)
{
    stage_lock(s);
    int err = fetch_msg(s, msg_id, arena, ret);
    stage_unlock(s);
    return err;
}

int qread_group(struct stage *s, uint64_t msg_id, uint16_t group, struct pr_arena *arena, struct qread_group *ret)
{
    stage_lock(s);
    int err = fetch_group(s, msg_id, group, arena, ret);
    stage_unlock(s);
    return err;
}

static int to_lease(uint64_t msg_id, uint16_t group, struct pr_slice row, struct qread_lease *ret)
{
    struct rec_lease l;
    int err = rec_lease_decode(row, &l);
    if (err != 0)
        return err;
    *ret = (struct qread_lease){
        .msg_id = msg_id,
        .group = group,
        .attempt_id = l.attempt_id,
        .attempt = l.attempt,
        .node_id = l.node_id,
        .boot_id = l.boot_id,
        .lane = l.lane,
        .issued_ms = l.issued_ms,
    };
    return 0;
}

int qread_lease(struct stage *s, uint64_t msg_id, uint16_t group, struct pr_arena *arena, struct qread_lease *ret)
{
    struct pr_slice row;
    stage_lock(s);
    int err = fetch(s, KV_LEASE, key_lease(msg_id, group), arena, &row);
    stage_unlock(s);
    return err == 0 ? to_lease(msg_id, group, row, ret) : err;
}

static int read_into(struct stage *s, enum kv_cf cf, struct pr_slice key, struct pr_buf *out)
{
    struct pr_slice row;
    stage_lock(s);
    int err = stage_peek(s, cf, key, &row);
    if (err == 0)
        pr_buf_add(out, row);
    stage_unlock(s);
    return err;
}

int qread_body(struct stage *s, uint64_t body_id, uint32_t chunk, struct pr_buf *out)
{
    struct key k = key_body(body_id, chunk);
    return read_into(s, KV_BODY, key_slice(&k), out);
}

int qread_gate(struct stage *s, struct pr_slice key, struct pr_buf *out)
{
    return read_into(s, KV_GATE, key, out);
}

static int fetch_job(struct stage *s, uint64_t msg_id, uint16_t group, size_t body_max, struct pr_arena *arena,
                     struct pr_buf *body, struct qread_job *ret)
{
    int err = fetch_msg(s, msg_id, arena, &ret->msg);
    if (err == 0)
        err = fetch_group(s, msg_id, group, arena, &ret->group);
    if (err != 0 || body == NULL || ret->msg.n_chunks != 1 || ret->msg.size_bytes > body_max)
        return err;
    struct pr_slice row;
    struct key k = key_body(ret->msg.body_id, 0);
    err = stage_peek(s, KV_BODY, key_slice(&k), &row);
    if (err == 0 && row.len <= body_max) {
        pr_buf_add(body, row);
        ret->inlined = true;
    }
    return err;
}

int qread_job(struct stage *s, uint64_t msg_id, uint16_t group, size_t body_max, struct pr_arena *arena,
              struct pr_buf *body, struct qread_job *ret)
{
    ret->inlined = false;
    stage_lock(s);
    int err = fetch_job(s, msg_id, group, body_max, arena, body, ret);
    stage_unlock(s);
    return err;
}

/* ------------------------------------------------------------------------------------------------- status of rcpts */

int qread_group_decode(const struct qread_group *g, struct pr_arena *arena, struct mail_group *ret)
{
    int err = wire_group_decode(g->encoded, arena, ret);
    if (err != 0 || g->rcpts == NULL)
        return err;
    if (ret->n_rcpts != g->n_rcpts)
        return PR_ECORRUPT;
    for (uint32_t i = 0; i < g->n_rcpts; i++) {
        struct mail_rcpt *to = &ret->rcpts[i];
        const struct qread_rcpt *from = &g->rcpts[i];
        to->status = from->status;
        to->reported = from->reported;
        to->code = from->code;
        to->enhanced = from->enhanced;
        to->diagnostic = from->diagnostic;
        to->remote = from->remote;
    }
    return 0;
}

int qread_group_encode(const struct qread_group *g, struct pr_arena *arena, struct pr_buf *out)
{
    if (g->rcpts == NULL) {
        pr_buf_add(out, g->encoded);
        return 0;
    }
    struct mail_group decoded;
    int err = qread_group_decode(g, arena, &decoded);
    if (err == 0)
        wire_group_encode(&decoded, out);
    return err;
}

/* ----------------------------------------------------------------------------------------------------------- scans */

struct row {
    struct pr_slice key, value;
};

/* Up to max rows of [from, upper), copied. Fewer than max: the end was reached. */
static int copy_rows(struct stage *s, enum kv_cf cf, struct pr_slice from, struct pr_slice upper, size_t max,
                     struct pr_arena *arena, struct row *rows, size_t *ret_n)
{
    size_t n = 0;
    stage_lock(s);
    struct stage_iter *it = stage_iter_new(s, cf, from, upper);
    for (; n < max && stage_iter_valid(it); stage_iter_next(it), n++) {
        rows[n].key = pr_arena_dup(arena, stage_iter_key(it));
        rows[n].value = pr_arena_dup(arena, stage_iter_value(it));
    }
    int err = stage_iter_error(it);
    stage_iter_free(it);
    stage_unlock(s);
    *ret_n = n;
    return err;
}

/* The least key above k. */
static struct key after(struct pr_slice k)
{
    struct key next = {0};
    size_t n = PR_MIN(k.len, (size_t)KEY_MAX - 1);
    memcpy(next.bytes, k.ptr, n);
    next.len = (uint8_t)(n + 1);
    return next;
}

enum verdict { GO_ON, STOP };
typedef int (*row_fn)(void *ctx, const struct row *row, struct pr_arena *arena, enum verdict *ret);

/* Calls fn for rows of [*from, upper) until it says stop or max were seen. *from: behind the last row seen. *ret_more:
 * stopped before the end. */
static int scan(struct stage *s, enum kv_cf cf, struct key *from, struct pr_slice upper, uint32_t max, row_fn fn,
                void *ctx, bool *ret_more)
{
    uint32_t seen = 0;
    *ret_more = true;
    while (seen < max) {
        struct row rows[STEP_ROWS];
        struct pr_arena arena = {0};
        size_t want = PR_MIN((size_t)STEP_ROWS, (size_t)(max - seen)), n;
        int err = copy_rows(s, cf, key_slice(from), upper, want, &arena, rows, &n);
        enum verdict verdict = GO_ON;
        for (size_t i = 0; err == 0 && verdict == GO_ON && i < n; i++, seen++) {
            *from = after(rows[i].key);
            err = fn(ctx, &rows[i], &arena, &verdict);
        }
        pr_arena_fini(&arena);
        if (err != 0 || verdict == STOP)
            return err;
        if (n < want) {
            *ret_more = false;
            return 0;
        }
    }
    return 0;
}

struct messages_ctx {
    qread_msg_fn fn;
    void *data;
    uint64_t last;
};

static int on_message(void *ctx, const struct row *row, struct pr_arena *arena, enum verdict *ret)
{
    (void)arena;
    struct messages_ctx *c = ctx;
    struct qread_msg m;
    int err = key_msg_parse(row->key, &c->last);
    if (err == 0)
        err = to_msg(c->last, row->value, &m);
    if (err == 0 && !c->fn(c->data, &m))
        *ret = STOP;
    return err;
}

int qread_messages(struct stage *s, uint64_t *cursor, uint32_t max_rows, qread_msg_fn on_row, void *data,
                   bool *ret_more)
{
    *ret_more = false;
    if (*cursor == UINT64_MAX)
        return 0;
    struct messages_ctx ctx = {.fn = on_row, .data = data, .last = *cursor};
    struct key from = key_msg(*cursor + 1);
    int err = scan(s, KV_MSG, &from, PR_SLICE_LIT(""), max_rows, on_message, &ctx, ret_more);
    *cursor = ctx.last;
    return err;
}

struct groups_ctx {
    struct stage *stage;
    qread_group_fn fn;
    void *data;
};

static int on_group(void *ctx, const struct row *row, struct pr_arena *arena, enum verdict *ret)
{
    struct groups_ctx *c = ctx;
    uint64_t msg_id;
    uint16_t group;
    struct qread_group g;
    int err = key_group_parse(row->key, &msg_id, &group);
    if (err != 0)
        return err;
    struct key k = key_lease(msg_id, group);
    struct pr_slice lease;
    stage_lock(c->stage);
    int leased = stage_peek(c->stage, KV_LEASE, key_slice(&k), &lease);
    stage_unlock(c->stage);
    if (leased != 0 && leased != PR_ENOTFOUND)
        return leased;
    err = to_group(msg_id, group, leased == 0, row->value, arena, &g);
    if (err == 0 && !c->fn(c->data, &g))
        *ret = STOP;
    return err;
}

int qread_groups(struct stage *s, uint64_t msg_id, qread_group_fn on_row, void *data)
{
    struct groups_ctx ctx = {.stage = s, .fn = on_row, .data = data};
    struct key from = key_rcpt(msg_id, 0), upper = key_msg(msg_id + 1);
    bool more;
    return scan(s, KV_RCPT, &from, msg_id == UINT64_MAX ? PR_SLICE_LIT("") : key_slice(&upper), CMD_GROUPS_MAX,
                on_group, &ctx, &more);
}

/* -------------------------------------------------------------------------------------------------------- schedule */

struct sched_ctx {
    qread_row_fn fn;
    void *data;
    uint64_t until_ms, next_due;
    uint32_t handed, max;
    bool past; /* a row was seen that was not handed out */
    struct qread_sched_cursor cursor;
};

static int on_sched(void *ctx, const struct row *row, struct pr_arena *arena, enum verdict *ret)
{
    (void)arena;
    struct sched_ctx *c = ctx;
    struct key_sched k;
    struct rec_sched v;
    int err = key_sched_parse(row->key, &k);
    if (err == 0)
        err = rec_sched_decode(row->value, &v);
    if (err != 0)
        return err;
    if (k.due_ms > c->until_ms || c->handed == c->max) {
        c->next_due = k.due_ms;
        c->past = true;
        *ret = STOP;
        return 0;
    }
    c->cursor = (struct qread_sched_cursor){k.due_ms, k.msg_id, k.group, k.seq + 1};
    c->handed++;
    struct fsm_row r = {
        .flow_id = k.flow,
        .due_ms = k.due_ms,
        .msg_id = k.msg_id,
        .group = k.group,
        .attempt = v.attempt,
        .size_bytes = v.size_bytes,
        .n_rcpts = v.n_rcpts,
    };
    if (!c->fn(c->data, &r))
        c->max = c->handed; /* one more row tells the next due time */
    return 0;
}

int qread_sched(struct stage *s, uint32_t flow_id, struct qread_sched_cursor *cursor, uint64_t until_ms,
                uint32_t max_rows, qread_row_fn on_row, void *data, uint64_t *ret_next_due)
{
    struct sched_ctx ctx = {
        .fn = on_row, .data = data, .until_ms = until_ms, .next_due = UINT64_MAX, .max = max_rows, .cursor = *cursor};
    struct key from =
        key_sched(&(struct key_sched){flow_id, cursor->due_ms, cursor->msg_id, cursor->group, cursor->seq});
    struct key upper = key_flow(flow_id + 1);
    bool more;
    int err = scan(s, KV_SCHED, &from, flow_id == UINT32_MAX ? PR_SLICE_LIT("") : key_slice(&upper),
                   max_rows == UINT32_MAX ? max_rows : max_rows + 1, on_sched, &ctx, &more);
    *cursor = ctx.cursor;
    *ret_next_due = ctx.next_due;
    return err;
}

/* --------------------------------------------------------------------------------------------- leases, expq, flows */

struct leases_ctx {
    qread_lease_fn fn;
    void *data;
    struct qread_lease_cursor cursor;
};

static int on_lease(void *ctx, const struct row *row, struct pr_arena *arena, enum verdict *ret)
{
    (void)arena;
    struct leases_ctx *c = ctx;
    uint64_t msg_id;
    uint16_t group;
    struct qread_lease l;
    int err = key_group_parse(row->key, &msg_id, &group);
    if (err == 0)
        err = to_lease(msg_id, group, row->value, &l);
    if (err != 0)
        return err;
    c->cursor = (struct qread_lease_cursor){msg_id, (uint32_t)group + 1};
    if (!c->fn(c->data, &l))
        *ret = STOP;
    return 0;
}

int qread_leases(struct stage *s, struct qread_lease_cursor *cursor, uint32_t max_rows, qread_lease_fn on_row,
                 void *data, bool *ret_more)
{
    struct leases_ctx ctx = {.fn = on_row, .data = data, .cursor = *cursor};
    struct key from = cursor->group > UINT16_MAX ? key_msg(cursor->msg_id + 1)
                                                 : key_lease(cursor->msg_id, (uint16_t)cursor->group);
    int err = scan(s, KV_LEASE, &from, PR_SLICE_LIT(""), max_rows, on_lease, &ctx, ret_more);
    *cursor = ctx.cursor;
    return err;
}

struct expq_ctx {
    qread_expq_fn fn;
    void *data;
    uint32_t minute, next_minute, handed, max;
};

static int on_expq(void *ctx, const struct row *row, struct pr_arena *arena, enum verdict *ret)
{
    (void)arena;
    struct expq_ctx *c = ctx;
    struct key_expq k;
    int err = key_expq_parse(row->key, &k);
    if (err != 0)
        return err;
    if (k.minute > c->minute || c->handed == c->max) {
        c->next_minute = k.minute;
        *ret = STOP;
        return 0;
    }
    c->handed++;
    if (!c->fn(c->data, &k))
        c->max = c->handed;
    return 0;
}

int qread_expq(struct stage *s, uint32_t minute, uint32_t max_rows, qread_expq_fn on_row, void *data,
               uint32_t *ret_next_minute)
{
    struct expq_ctx ctx = {.fn = on_row, .data = data, .minute = minute, .next_minute = UINT32_MAX, .max = max_rows};
    struct key from = key_expq_from(0);
    bool more;
    int err = scan(s, KV_EXPQ, &from, PR_SLICE_LIT(""), max_rows == UINT32_MAX ? max_rows : max_rows + 1, on_expq, &ctx,
                   &more);
    *ret_next_minute = ctx.next_minute;
    return err;
}

struct flows_ctx {
    qread_flow_fn fn;
    void *data;
    uint32_t last;
};

static int on_flow(void *ctx, const struct row *row, struct pr_arena *arena, enum verdict *ret)
{
    (void)arena;
    struct flows_ctx *c = ctx;
    struct fsm_flow f;
    int err = key_flow_parse(row->key, &f.flow_id);
    if (err == 0)
        err = rec_flow_decode(row->value, &f);
    if (err != 0)
        return err;
    c->last = f.flow_id;
    if (!c->fn(c->data, &f))
        *ret = STOP;
    return 0;
}

int qread_flows(struct stage *s, uint32_t *cursor, uint32_t max_rows, qread_flow_fn on_row, void *data, bool *ret_more)
{
    *ret_more = false;
    if (*cursor == UINT32_MAX)
        return 0;
    struct flows_ctx ctx = {.fn = on_row, .data = data, .last = *cursor};
    struct key from = key_flow(*cursor + 1);
    int err = scan(s, KV_FLOW, &from, PR_SLICE_LIT(""), max_rows, on_flow, &ctx, ret_more);
    *cursor = ctx.last;
    return err;
}

/* ----------------------------------------------------------------------------------------------------------- shape */

struct shape_ctx {
    struct qread_shape *shape;
    uint64_t now_ms;
    uint32_t rows;
};

static bool on_shape_row(void *data, const struct fsm_row *row)
{
    struct shape_ctx *c = data;
    uint64_t born = row->msg_id >> 22; /* ids are made of the time (command.h) */
    uint64_t minutes = c->now_ms > born ? (c->now_ms - born) / 60000 : 0;
    unsigned bucket = 0;
    for (uint64_t limit = 5; bucket < QREAD_SHAPE_BUCKETS - 1 && minutes >= limit; limit *= 2)
        bucket++;
    c->shape->count[bucket]++;
    c->shape->total++;
    c->shape->bytes += row->size_bytes;
    c->shape->oldest_ms = PR_MIN(c->shape->oldest_ms, born);
    c->rows++;
    return true;
}

int qread_shape(struct stage *s, pr_wall now, uint32_t max_rows, struct qread_shape *shape)
{
    if (shape->total == 0)
        shape->oldest_ms = UINT64_MAX;
    struct shape_ctx ctx = {.shape = shape, .now_ms = now.ms};
    uint64_t next_due;
    int err = qread_sched(s, shape->flow_id, &shape->cursor, UINT64_MAX, max_rows, on_shape_row, &ctx, &next_due);
    shape->done = next_due == UINT64_MAX;
    return err;
}
