/* fsm_enqueue.c - mail comes in: ENQUEUE (also nested in a RESULT or REPORT), PART, BODY_REAP.
 *
 * A body is inline (one chunk, its id is the message's) or was brought by parts under an id of its own. An upload's
 * record in meta says how many parts there are; each part is stored once ever, resends are recognised by its number. An
 * upload that no ENQUEUE takes is dropped through its expq row. */
#include "common/base/alloc.h"
#include "common/base/assert.h"
#include "common/cluster/fsm_internal.h"

static bool has_token(const struct cmd_token *t)
{
    static const struct cmd_token none;
    return memcmp(t, &none, sizeof none) != 0;
}

static int load_upload(struct fsm *f, uint64_t body_id, struct rec_upload *ret)
{
    struct key k = key_upload(body_id);
    struct pr_slice row;
    int err = stage_get(f->stage, KV_META, key_slice(&k), &row);
    return err == 0 ? rec_upload_decode(row, ret) : err;
}

/* The upload's record and index row; the chunks stay. */
static void close_upload(struct fsm *f, uint64_t body_id, const struct rec_upload *u)
{
    struct key k = key_upload(body_id);
    stage_remove(f->stage, KV_META, key_slice(&k));
    k = key_expq(u->reap_minute, EXPQ_BODY, body_id);
    stage_remove(f->stage, KV_EXPQ, key_slice(&k));
    f->counters.shown.uploads--;
    f->counters.shown.upload_bytes -= u->bytes;
}

/* Refusals in the mail itself; *upload is filled if there is one to take. */
static int check_enqueue(struct fsm *f, const struct cmd_enqueue *e, struct rec_upload *upload, enum fsm_status *ret)
{
    *ret = FSM_OK;
    if (e->n_groups == 0 || e->msg_id <= f->counters.last_id || (e->body_id != 0 && e->body.len > 0)) {
        *ret = FSM_INVALID;
        return 0;
    }
    if (e->body_id == 0)
        return 0;
    int err = load_upload(f, e->body_id, upload);
    if (err == PR_ENOTFOUND)
        *ret = FSM_GONE;
    else if (err == 0 && upload->n_parts != e->n_chunks)
        *ret = FSM_INVALID;
    return err == PR_ENOTFOUND ? 0 : err;
}

static void issue_at_once(struct fsm *f, const struct cmd_enqueue *e, const struct cmd_group *from,
                          const struct fsm_msg *m, const struct fsm_group *g)
{
    struct rec_lease lease = {
        .attempt_id = from->attempt_id,
        .attempt = 1,
        .node_id = e->issue_node,
        .boot_id = e->issue_boot_id,
        .lane = e->issue_lane,
        .issued_ms = f->now.ms,
    };
    fsm_put_lease(f, m->id, g->index, &lease);
    struct fsm_effect *x = fsm_emit(f, FSM_ISSUED, FSM_OK);
    x->attempt.ref = (struct cmd_attempt_ref){m->id, g->index, from->attempt_id};
    x->attempt.row = fsm_row_of(m, g);
}

static void add_group(struct fsm *f, const struct cmd_enqueue *e, const struct fsm_msg *m, uint16_t index)
{
    const struct cmd_group *from = &e->groups[index];
    struct fsm_group g = {.msg_id = m->id, .index = index};
    g.rec.flow_id = fsm_flow_id(f, e->class_, e->tenant, e->pool, from->domain);
    g.rec.due_ms = from->due_ms == 0 ? f->now.ms : from->due_ms;
    g.rec.n_rcpts = g.rec.n_pending = (uint16_t)from->n_rcpts;
    g.rec.domain = from->domain;
    g.rec.encoded = from->encoded;
    struct key k = key_rcpt(m->id, index);
    rec_group_encode(&g.rec, &f->record);
    stage_insert(f->stage, KV_RCPT, key_slice(&k), pr_buf_slice(&f->record));
    fsm_put_sched(f, m, &g);
    f->counters.shown.groups_waiting++;
    if (from->attempt_id == 0)
        fsm_emit(f, FSM_ROW_FILED, FSM_OK)->row = fsm_row_of(m, &g);
    else
        issue_at_once(f, e, from, m, &g);
}

static struct fsm_msg new_message(const struct cmd_enqueue *e)
{
    struct fsm_msg m = {.id = e->msg_id};
    m.rec = (struct rec_msg){
        .class_ = e->class_,
        .received_ms = e->received_ms,
        .expiry_ms = e->expiry_ms,
        .check_ms = e->check_ms,
        .check_minute = key_minute(e->check_ms),
        .size_bytes = e->size_bytes,
        .body_id = e->body_id != 0 ? e->body_id : e->msg_id,
        .n_chunks = e->body_id != 0 ? e->n_chunks : e->body.len > 0,
        .n_groups = (uint16_t)e->n_groups,
        .groups_left = (uint16_t)e->n_groups,
        .tenant = e->tenant,
        .pool = e->pool,
        .envelope = e->envelope,
    };
    return m;
}

static void store_message(struct fsm *f, const struct cmd_enqueue *e, const struct fsm_msg *m)
{
    struct key k = key_msg(m->id);
    rec_msg_encode(&m->rec, &f->record);
    stage_insert(f->stage, KV_MSG, key_slice(&k), pr_buf_slice(&f->record));
    k = key_expq(m->rec.check_minute, EXPQ_CHECK, m->id);
    stage_insert(f->stage, KV_EXPQ, key_slice(&k), PR_SLICE_LIT(""));
    if (e->body.len > 0) {
        k = key_body(m->id, 0);
        stage_insert(f->stage, KV_BODY, key_slice(&k), e->body);
    }
}

static void remember_token(struct fsm *f, const struct cmd_enqueue *e)
{
    dedup_add(&f->dedup, &(struct dedup_entry){e->token, e->msg_id, f->counters.dedup_ms, f->index});
    pr_buf_append(&f->dedup_row, e->token.bytes, sizeof e->token.bytes);
    pr_buf_le64(&f->dedup_row, e->msg_id);
}

static struct fsm_effect *emit_stored(struct fsm *f, const struct cmd_enqueue *e, bool nested, enum fsm_status status)
{
    struct fsm_effect *x = fsm_emit(f, FSM_MSG_STORED, status);
    x->msg.token = e->token;
    x->msg.msg_id = e->msg_id;
    x->msg.nested = nested;
    x->msg.n_groups = e->n_groups;
    x->msg.size_bytes = e->size_bytes;
    x->msg.expiry_ms = e->expiry_ms;
    x->msg.check_ms = e->check_ms;
    return x;
}

int fsm_do_enqueue(struct fsm *f, const struct cmd_enqueue *e, bool nested, enum fsm_status *ret_status)
{
    bool token = has_token(&e->token);
    uint64_t first = token ? dedup_find(&f->dedup, &e->token) : 0;
    if (first != 0) {
        *ret_status = FSM_DUPLICATE;
        f->counters.shown.duplicates++;
        emit_stored(f, e, nested, FSM_DUPLICATE)->msg.msg_id = first;
        return 0;
    }
    struct rec_upload upload = {0};
    int err = check_enqueue(f, e, &upload, ret_status);
    if (err != 0)
        return err;
    emit_stored(f, e, nested, *ret_status);
    if (*ret_status != FSM_OK)
        return 0;
    f->counters.last_id = e->msg_id;
    struct fsm_msg m = new_message(e);
    for (uint32_t i = 0; i < e->n_groups; i++)
        add_group(f, e, &m, (uint16_t)i);
    store_message(f, e, &m);
    if (e->body_id != 0)
        close_upload(f, e->body_id, &upload);
    if (token)
        remember_token(f, e);
    f->counters.shown.messages++;
    f->counters.shown.bytes += e->size_bytes;
    f->counters.shown.enqueued++;
    return 0;
}

/* --------------------------------------------------------------------------------------------------------- uploads */

static void open_upload(struct fsm *f, const struct cmd_part *p, struct rec_upload *u)
{
    *u = (struct rec_upload){.reap_ms = p->reap_ms, .reap_minute = key_minute(p->reap_ms)};
    struct key k = key_expq(u->reap_minute, EXPQ_BODY, p->body_id);
    stage_insert(f->stage, KV_EXPQ, key_slice(&k), PR_SLICE_LIT(""));
    f->counters.last_id = p->body_id;
    f->counters.shown.uploads++;
}

/* A slow client's upload lives as long as parts come. */
static void prolong_upload(struct fsm *f, const struct cmd_part *p, struct rec_upload *u)
{
    if (p->reap_ms <= u->reap_ms)
        return;
    u->reap_ms = p->reap_ms;
    uint32_t minute = key_minute(p->reap_ms);
    if (minute <= u->reap_minute)
        return;
    struct key k = key_expq(u->reap_minute, EXPQ_BODY, p->body_id);
    stage_remove(f->stage, KV_EXPQ, key_slice(&k));
    u->reap_minute = minute;
    k = key_expq(minute, EXPQ_BODY, p->body_id);
    stage_insert(f->stage, KV_EXPQ, key_slice(&k), PR_SLICE_LIT(""));
}

static void store_part(struct fsm *f, const struct cmd_part *p, struct rec_upload *u)
{
    prolong_upload(f, p, u);
    struct key k = key_body(p->body_id, p->seq);
    stage_insert(f->stage, KV_BODY, key_slice(&k), p->bytes);
    u->n_parts++;
    u->bytes += p->bytes.len;
    f->counters.shown.upload_bytes += p->bytes.len;
    k = key_upload(p->body_id);
    rec_upload_encode(u, &f->record);
    stage_put(f->stage, KV_META, key_slice(&k), pr_buf_slice(&f->record));
}

int fsm_apply_part(struct fsm *f, const struct cmd_part *p)
{
    struct rec_upload u;
    enum fsm_status status = FSM_OK;
    int err = load_upload(f, p->body_id, &u);
    if (err == PR_ENOTFOUND) {
        if (p->seq != 0 || p->body_id <= f->counters.last_id)
            status = FSM_GONE;
        else
            open_upload(f, p, &u);
    } else if (err != 0) {
        return err;
    } else if (p->seq != u.n_parts) {
        status = p->seq < u.n_parts ? FSM_DUPLICATE : FSM_INVALID;
    }
    if (status == FSM_OK)
        store_part(f, p, &u);
    struct fsm_effect *x = fsm_emit(f, FSM_PART_STORED, status);
    x->part.body_id = p->body_id;
    x->part.seq = p->seq;
    return 0;
}

int fsm_apply_body_reap(struct fsm *f, uint64_t body_id)
{
    struct rec_upload u;
    enum fsm_status status = FSM_OK;
    int err = load_upload(f, body_id, &u);
    if (err == PR_ENOTFOUND)
        status = FSM_GONE;
    else if (err != 0)
        return err;
    else if (u.reap_ms > f->now.ms)
        status = FSM_CONFLICT; /* a part came in between */
    if (status == FSM_OK) {
        for (uint32_t i = 0; i < u.n_parts; i++) {
            struct key k = key_body(body_id, i);
            stage_remove(f->stage, KV_BODY, key_slice(&k));
        }
        close_upload(f, body_id, &u);
    }
    struct fsm_effect *x = fsm_emit(f, FSM_ADMIN_DONE, status);
    x->admin.type = CMD_BODY_REAP;
    x->admin.id = body_id;
    x->admin.count = status == FSM_OK;
    return 0;
}
