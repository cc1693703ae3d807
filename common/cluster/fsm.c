/* fsm.c - opening, and the frame around each entry:
 *
 *   1. entries the store has already are skipped;
 *   2. under the stage's lock, each command in order: one function per command, changes go to the stage;
 *   3. tokens of the entry are filed, old ones forgotten;
 *   4. when the stage has grown, everything goes to the store as one batch, with the applied index in it.
 *
 * A store error or an entry that cannot be read leaves the stage half changed; the caller stops the process, and the
 * log is applied again from the store's index at the next start. */
#include "common/cluster/fsm.h"

#include "common/base/alloc.h"
#include "common/base/assert.h"
#include "common/cluster/fsm_internal.h"

const char *const fsm_status_names[FSM_STATUS_NR] = {
    [FSM_OK] = "ok",
    [FSM_DUPLICATE] = "duplicate",
    [FSM_GONE] = "gone",
    [FSM_STALE] = "stale",
    [FSM_HELD] = "held",
    [FSM_LEASED] = "leased",
    [FSM_CONFLICT] = "conflict",
    [FSM_INVALID] = "invalid",
};

enum { SPILL_BYTES = 16 * 1024 * 1024, SPILL_ROWS = 16 * 1024 };

void fsm_effects_fini(struct fsm_effects *e)
{
    pr_free(e->items);
    *e = (struct fsm_effects){NULL, 0, 0};
}

struct fsm_effect *fsm_emit(struct fsm *f, enum fsm_effect_type type, enum fsm_status status)
{
    struct fsm_effect *x = &f->sink;
    struct fsm_effects *e = f->effects;
    if (e != NULL) {
        if (e->n == e->cap) {
            e->cap = e->cap == 0 ? 64 : e->cap * 2;
            e->items = pr_realloc(e->items, e->cap * sizeof *e->items);
        }
        x = &e->items[e->n++];
    }
    memset(x, 0, sizeof *x);
    x->type = type;
    x->status = status;
    x->command = f->command;
    return x;
}

void fsm_set_error(struct fsm *f, const char *fmt, ...)
{
    va_list ap;
    pr_buf_clear(&f->error);
    va_start(ap, fmt);
    pr_buf_vprintf(&f->error, fmt, ap);
    va_end(ap);
}

const char *fsm_error(struct fsm *f)
{
    return pr_buf_cstr(&f->error);
}

/* --------------------------------------------------------------------------------------------------------- opening */

static int load_row(struct fsm *f, struct key k, struct pr_slice *ret)
{
    return stage_get(f->stage, KV_META, key_slice(&k), ret);
}

static int load_meta(struct fsm *f)
{
    struct pr_slice row;
    int err = load_row(f, key_applied(), &row);
    if (err == PR_ENOTFOUND) {
        f->counters.flow_next = 1;
        return 0;
    }
    if (err == 0)
        err = rec_applied_decode(row, &f->applied, &f->applied_term);
    if (err == 0)
        err = load_row(f, key_counters(), &row);
    if (err == 0)
        err = rec_counters_decode(row, &f->counters);
    return err == PR_ENOTFOUND ? PR_ECORRUPT : err;
}

static int load_tokens(struct fsm *f, uint64_t index, struct pr_slice row)
{
    uint64_t ms;
    if (pr_get_le64(&row, &ms) != 0)
        return PR_ECORRUPT;
    dedup_expire(&f->dedup, ms); /* as it was then: a token may have come again after its time */
    while (row.len > 0) {
        struct cmd_token token;
        struct pr_slice bytes;
        uint64_t msg_id;
        if (pr_get_bytes(&row, sizeof token.bytes, &bytes) != 0 || pr_get_le64(&row, &msg_id) != 0)
            return PR_ECORRUPT;
        memcpy(token.bytes, bytes.ptr, sizeof token.bytes);
        if (dedup_find(&f->dedup, &token) != 0)
            return PR_ECORRUPT;
        dedup_add(&f->dedup, &(struct dedup_entry){token, msg_id, ms, index});
    }
    return 0;
}

static int load_dedup(struct fsm *f)
{
    struct key from = key_dedup(f->counters.dedup_first);
    struct stage_iter *it = stage_iter_new(f->stage, KV_DEDUP, key_slice(&from), PR_SLICE_LIT(""));
    int err = 0;
    for (; err == 0 && stage_iter_valid(it); stage_iter_next(it)) {
        uint64_t index;
        err = key_dedup_parse(stage_iter_key(it), &index);
        if (err == 0)
            err = load_tokens(f, index, stage_iter_value(it));
    }
    if (err == 0)
        err = stage_iter_error(it);
    stage_iter_free(it);
    if (err == 0)
        dedup_expire(&f->dedup, f->counters.dedup_ms);
    return err;
}

int fsm_open(struct kv *kv, struct fsm **ret_fsm, struct pr_buf *reterr)
{
    struct fsm *f = pr_new(struct fsm);
    f->kv = kv;
    f->spill_bytes = SPILL_BYTES;
    f->spill_rows = SPILL_ROWS;
    pr_map_init(&f->flows, 0);
    pr_map_init(&f->flow_names, 0);
    int err = stage_open(kv, &f->stage);
    if (err == 0)
        err = load_meta(f);
    if (err == 0)
        err = fsm_flows_load(f);
    if (err == 0)
        err = load_dedup(f);
    if (err != 0) {
        pr_buf_printf(reterr, "cannot read the queue: %s %s", pr_strerror(err), kv_error(kv));
        fsm_free(f);
        return err;
    }
    *ret_fsm = f;
    return 0;
}

void fsm_free(struct fsm *f)
{
    if (f == NULL)
        return;
    fsm_flows_fini(f);
    dedup_fini(&f->dedup);
    stage_free(f->stage);
    pr_arena_fini(&f->arena);
    pr_buf_fini(&f->dedup_row);
    pr_buf_fini(&f->record);
    pr_buf_fini(&f->name);
    pr_buf_fini(&f->error);
    pr_free(f);
}

/* ----------------------------------------------------------------------------------------------------------- apply */

static int apply_command(struct fsm *f, const struct cmd *c)
{
    enum fsm_status status;
    switch (c->type) {
    case CMD_ENQUEUE:
        return fsm_do_enqueue(f, &c->enqueue, false, &status);
    case CMD_PART:
        return fsm_apply_part(f, &c->part);
    case CMD_ISSUE:
        return fsm_apply_issue(f, &c->issue);
    case CMD_RELEASE_LEASE:
        return fsm_apply_release(f, &c->release);
    case CMD_RESULT:
        return fsm_apply_result(f, &c->result);
    case CMD_REPORT:
        return fsm_apply_report(f, &c->report);
    case CMD_HOLD:
        return fsm_apply_hold(f, c->admin.msg_id);
    case CMD_UNHOLD:
        return fsm_apply_unhold(f, &c->admin);
    case CMD_DELETE:
        return fsm_apply_delete(f, c->admin.msg_id);
    case CMD_RETRY:
        return fsm_apply_retry(f, &c->admin);
    case CMD_GATE_PUT:
    case CMD_GATE_DEL:
        return fsm_apply_gate(f, c->type, &c->gate);
    case CMD_EPOCH:
        fsm_apply_epoch(f, &c->epoch);
        return 0;
    case CMD_BODY_REAP:
        return fsm_apply_body_reap(f, c->body_id);
    case CMD_FLOW_DROP:
        return fsm_apply_flow_drop(f, c->flow_id);
    case CMD_NONE:
    case CMD_TYPE_NR:
        break;
    }
    pr_unreachable();
}

/* The window only moves forward, also under a leader whose clock is behind. */
static void begin_dedup(struct fsm *f)
{
    struct rec_counters *c = &f->counters;
    pr_buf_clear(&f->dedup_row);
    if (f->now.ms <= c->dedup_ms)
        return;
    c->dedup_ms = f->now.ms;
    dedup_expire(&f->dedup, c->dedup_ms);
}

/* Rows whose tokens have all left the window, many at a time: each range costs every later scan a little. */
static void drop_dedup_rows(struct fsm *f)
{
    enum { MANY = 4096 };
    struct rec_counters *c = &f->counters;
    uint64_t oldest = dedup_oldest(&f->dedup, f->index);
    if (oldest - c->dedup_first < MANY)
        return;
    struct key from = key_dedup(c->dedup_first), to = key_dedup(oldest);
    stage_remove_range(f->stage, KV_DEDUP, key_slice(&from), key_slice(&to));
    c->dedup_first = oldest;
}

static void end_dedup(struct fsm *f)
{
    drop_dedup_rows(f);
    if (f->dedup_row.len == 0)
        return;
    struct key k = key_dedup(f->index);
    pr_buf_clear(&f->record);
    pr_buf_le64(&f->record, f->counters.dedup_ms);
    pr_buf_add(&f->record, pr_buf_slice(&f->dedup_row));
    stage_insert(f->stage, KV_DEDUP, key_slice(&k), pr_buf_slice(&f->record));
}

static int apply_entry(struct fsm *f, uint64_t index, struct pr_slice entry)
{
    struct cmd_reader reader;
    int err = cmd_reader_init(&reader, entry);
    if (err != 0)
        return err;
    f->now = reader.now;
    f->index = index;
    f->command = 0;
    begin_dedup(f);
    for (bool more = true; more; f->command++) {
        struct cmd c;
        err = cmd_reader_next(&reader, &f->arena, &c, &more);
        if (err == 0 && more)
            err = apply_command(f, &c);
        if (err != 0)
            return err;
    }
    end_dedup(f);
    return 0;
}

int fsm_apply(struct fsm *f, uint64_t index, uint64_t term, struct pr_slice entry, struct fsm_effects *effects)
{
    if (effects != NULL)
        effects->n = 0;
    if (index <= f->applied)
        return 0;
    f->effects = effects;
    fsm_flows_forget_dropped(f);
    stage_lock(f->stage);
    int err = apply_entry(f, index, entry);
    bool spill = stage_bytes(f->stage) > f->spill_bytes || stage_rows(f->stage) > f->spill_rows;
    stage_unlock(f->stage);
    pr_arena_fini(&f->arena);
    f->effects = NULL;
    if (err != 0) {
        fsm_set_error(f, "log entry %llu, command %u: %s %s", (unsigned long long)index, f->command, pr_strerror(err),
                      kv_error(f->kv));
        return err;
    }
    f->applied = index;
    f->applied_term = term;
    return spill ? fsm_spill(f) : 0;
}

void fsm_skip(struct fsm *f, uint64_t index, uint64_t term)
{
    if (index <= f->applied)
        return;
    f->applied = index;
    f->applied_term = term;
}

/* ----------------------------------------------------------------------------------------------------------- spill */

static void stamp(struct fsm *f)
{
    struct key k = key_applied();
    rec_applied_encode(f->applied, f->applied_term, &f->record);
    stage_put(f->stage, KV_META, key_slice(&k), pr_buf_slice(&f->record));
    k = key_counters();
    rec_counters_encode(&f->counters, &f->record);
    stage_put(f->stage, KV_META, key_slice(&k), pr_buf_slice(&f->record));
}

int fsm_spill(struct fsm *f)
{
    if (f->applied == 0)
        return 0;
    stage_lock(f->stage);
    stamp(f);
    int err = stage_spill(f->stage);
    stage_unlock(f->stage);
    if (err != 0)
        fsm_set_error(f, "cannot write the queue after log entry %llu: %s %s", (unsigned long long)f->applied,
                      pr_strerror(err), kv_error(f->kv));
    return err;
}

void fsm_set_spill(struct fsm *f, size_t bytes, size_t rows)
{
    f->spill_bytes = bytes;
    f->spill_rows = rows;
}

uint64_t fsm_applied(const struct fsm *f) { return f->applied; }
uint64_t fsm_applied_term(const struct fsm *f) { return f->applied_term; }
uint64_t fsm_last_id(const struct fsm *f) { return f->counters.last_id; }
const struct fsm_counters *fsm_counters(const struct fsm *f) { return &f->counters.shown; }
struct stage *fsm_stage(struct fsm *f) { return f->stage; }

int fsm_durable(struct fsm *f, uint64_t *ret_index)
{
    struct key k = key_applied();
    struct pr_buf row = {0};
    uint64_t term;
    *ret_index = 0;
    int err = f->kv->ops->durable_get(f->kv, KV_META, key_slice(&k), &row);
    if (err == 0)
        err = rec_applied_decode(pr_buf_slice(&row), ret_index, &term);
    pr_buf_fini(&row);
    return err == PR_ENOTFOUND ? 0 : err;
}

int fsm_hash(struct fsm *f, uint64_t *ret_hash)
{
    stage_lock(f->stage);
    stamp(f);
    int err = stage_hash(f->stage, ret_hash);
    stage_unlock(f->stage);
    return err;
}
