/* stage.c - each row of a stage table is one of
 *
 *   live, dirty   put since the last spill            spill: put
 *   dead, dirty   removed, and the store has it       spill: delete
 *   live, clean   same as in the store                spill: nothing (dropped unless the family is resident)
 *
 * `base` says whether the store has (or may have) a value under the key. A live row without base that is removed leaves
 * the table for good: that is the whole point. */
#include "common/store/stage.h"

#include <pthread.h>

#include "common/base/alloc.h"
#include "common/base/assert.h"
#include "common/store/table.h"

enum { LIVE = 1, DIRTY = 2, BASE = 4 };

struct range {
    enum kv_cf cf;
    struct pr_buf from, to;
    struct range *next;
};

struct stage {
    struct kv *kv;
    struct kv_batch *batch;
    pthread_mutex_t lock;
    struct table tables[KV_CF_NR];
    struct range *ranges; /* removed from the store at the next spill, hidden until then */
    struct pr_buf scratch;
};

struct stage_iter {
    struct stage *stage;
    enum kv_cf cf;
    struct pr_buf upper;
    struct table_node *node; /* next staged row, or NULL */
    struct kv_iter *base;    /* NULL for resident families */
    bool on_node;            /* present row is the staged one */
    bool valid;
};

static bool is_resident(enum kv_cf cf)
{
    return cf == KV_META || cf == KV_FLOW || cf == KV_LEASE || cf == KV_GATE;
}

static bool is_cached(enum kv_cf cf)
{
    return cf == KV_MSG || cf == KV_RCPT;
}

static void set(struct table_node *n, unsigned flags)
{
    n->tag[0] = (uint8_t)flags;
}

static bool has(const struct table_node *n, unsigned flags)
{
    return (n->tag[0] & flags) == flags;
}

static void store_value(struct table_node *n, struct pr_slice value)
{
    if (value.len > 0)
        memcpy(n->value, value.ptr, value.len);
}

static int load_resident(struct stage *s, enum kv_cf cf)
{
    const struct kv_ops *ops = s->kv->ops;
    struct kv_iter *it = ops->iter_new(s->kv, cf, PR_SLICE_LIT(""), PR_SLICE_LIT(""));
    for (; ops->iter_valid(it); ops->iter_next(it)) {
        bool existed;
        struct pr_slice value = ops->iter_value(it);
        struct table_node *n = table_put(&s->tables[cf], ops->iter_key(it), value.len, &existed);
        store_value(n, value);
        set(n, LIVE | BASE);
    }
    int err = ops->iter_error(it);
    ops->iter_free(it);
    return err;
}

int stage_open(struct kv *kv, struct stage **ret_stage)
{
    struct stage *s = pr_new(struct stage);
    s->kv = kv;
    s->batch = kv->ops->batch_new(kv);
    pthread_mutex_init(&s->lock, NULL);
    for (enum kv_cf cf = 0; cf < KV_CF_NR; cf++) {
        int err = is_resident(cf) ? load_resident(s, cf) : 0;
        if (err != 0) {
            stage_free(s);
            return err;
        }
    }
    *ret_stage = s;
    return 0;
}

static void drop_ranges(struct stage *s)
{
    while (s->ranges != NULL) {
        struct range *r = s->ranges;
        s->ranges = r->next;
        pr_buf_fini(&r->from);
        pr_buf_fini(&r->to);
        pr_free(r);
    }
}

void stage_free(struct stage *s)
{
    if (s == NULL)
        return;
    for (size_t cf = 0; cf < KV_CF_NR; cf++)
        table_fini(&s->tables[cf]);
    drop_ranges(s);
    s->kv->ops->batch_free(s->batch);
    pr_buf_fini(&s->scratch);
    pthread_mutex_destroy(&s->lock);
    pr_free(s);
}

struct kv *stage_kv(struct stage *s)
{
    return s->kv;
}

void stage_lock(struct stage *s)
{
    pthread_mutex_lock(&s->lock);
}

void stage_unlock(struct stage *s)
{
    pthread_mutex_unlock(&s->lock);
}

char *stage_insert_space(struct stage *s, enum kv_cf cf, struct pr_slice key, size_t value_len)
{
    bool existed;
    struct table_node *n = table_put(&s->tables[cf], key, value_len, &existed);
    pr_assert(!existed || (!has(n, LIVE) && !kv_cf_single(cf)));
    set(n, LIVE | DIRTY | (existed ? BASE : 0));
    return n->value;
}

void stage_insert(struct stage *s, enum kv_cf cf, struct pr_slice key, struct pr_slice value)
{
    char *p = stage_insert_space(s, cf, key, value.len);
    if (value.len > 0)
        memcpy(p, value.ptr, value.len);
}

void stage_put(struct stage *s, enum kv_cf cf, struct pr_slice key, struct pr_slice value)
{
    pr_assert(!kv_cf_single(cf));
    bool existed;
    struct table_node *n = table_put(&s->tables[cf], key, value.len, &existed);
    store_value(n, value);
    bool base = existed ? has(n, BASE) : !is_resident(cf);
    set(n, LIVE | DIRTY | (base ? BASE : 0));
}

void stage_remove(struct stage *s, enum kv_cf cf, struct pr_slice key)
{
    bool existed;
    struct table_node *n = table_find(&s->tables[cf], key);
    if (n == NULL) {
        pr_assert(!is_resident(cf));
        n = table_put(&s->tables[cf], key, 0, &existed);
    } else {
        pr_assert(has(n, LIVE));
        if (!has(n, BASE)) {
            table_erase(&s->tables[cf], key);
            return;
        }
        table_drop_value(&s->tables[cf], n);
    }
    set(n, DIRTY | BASE);
}

void stage_remove_range(struct stage *s, enum kv_cf cf, struct pr_slice from, struct pr_slice to)
{
    for (struct table_node *n; (n = table_seek(&s->tables[cf], from)) != NULL;) {
        if (pr_slice_cmp(table_key(n), to) >= 0)
            break;
        table_erase(&s->tables[cf], table_key(n));
    }
    struct range *r = pr_new(struct range);
    r->cf = cf;
    pr_buf_add(&r->from, from);
    pr_buf_add(&r->to, to);
    r->next = s->ranges;
    s->ranges = r;
}

static bool hidden(const struct stage *s, enum kv_cf cf, struct pr_slice key)
{
    for (const struct range *r = s->ranges; r != NULL; r = r->next)
        if (r->cf == cf && pr_slice_cmp(key, pr_buf_slice(&r->from)) >= 0 &&
            pr_slice_cmp(key, pr_buf_slice(&r->to)) < 0)
            return true;
    return false;
}

static int get(struct stage *s, enum kv_cf cf, struct pr_slice key, bool keep, struct pr_slice *ret_value)
{
    struct table_node *n = table_find(&s->tables[cf], key);
    if (n != NULL) {
        *ret_value = table_value(n);
        return has(n, LIVE) ? 0 : PR_ENOTFOUND;
    }
    if (is_resident(cf) || hidden(s, cf, key))
        return PR_ENOTFOUND;
    pr_buf_clear(&s->scratch);
    int err = kv_get(s->kv, cf, key, &s->scratch);
    if (err != 0)
        return err;
    *ret_value = pr_buf_slice(&s->scratch);
    if (keep && is_cached(cf)) {
        bool existed;
        n = table_put(&s->tables[cf], key, ret_value->len, &existed);
        store_value(n, *ret_value);
        set(n, LIVE | BASE);
        *ret_value = table_value(n);
    }
    return 0;
}

int stage_get(struct stage *s, enum kv_cf cf, struct pr_slice key, struct pr_slice *ret_value)
{
    return get(s, cf, key, true, ret_value);
}

int stage_peek(struct stage *s, enum kv_cf cf, struct pr_slice key, struct pr_slice *ret_value)
{
    return get(s, cf, key, false, ret_value);
}

/* ------------------------------------------------------------------------------------------------ merged iteration */

static bool below_upper(const struct stage_iter *it, struct pr_slice key)
{
    return it->upper.len == 0 || pr_slice_cmp(key, pr_buf_slice(&it->upper)) < 0;
}

static bool base_valid(const struct stage_iter *it)
{
    return it->base != NULL && it->stage->kv->ops->iter_valid(it->base);
}

/* Chooses the present row; skips removed ones. The staged row wins over the store's. */
static void iter_settle(struct stage_iter *it)
{
    const struct kv_ops *ops = it->stage->kv->ops;
    for (;;) {
        if (it->node != NULL && !below_upper(it, table_key(it->node)))
            it->node = NULL;
        bool base = base_valid(it);
        it->valid = it->node != NULL || base;
        if (!it->valid)
            return;
        int c = !base ? -1 : it->node == NULL ? 1 : pr_slice_cmp(table_key(it->node), ops->iter_key(it->base));
        it->on_node = c <= 0;
        if (c == 0) {
            ops->iter_next(it->base);
        } else if (c > 0) {
            if (!hidden(it->stage, it->cf, ops->iter_key(it->base)))
                return;
            ops->iter_next(it->base);
            continue;
        }
        if (has(it->node, LIVE))
            return;
        it->node = table_next(it->node);
    }
}

struct stage_iter *stage_iter_new(struct stage *s, enum kv_cf cf, struct pr_slice lower, struct pr_slice upper)
{
    struct stage_iter *it = pr_new(struct stage_iter);
    it->stage = s;
    it->cf = cf;
    pr_buf_add(&it->upper, upper);
    it->node = table_seek(&s->tables[cf], lower);
    if (!is_resident(cf))
        it->base = s->kv->ops->iter_new(s->kv, cf, lower, upper);
    iter_settle(it);
    return it;
}

void stage_iter_free(struct stage_iter *it)
{
    if (it == NULL)
        return;
    if (it->base != NULL)
        it->stage->kv->ops->iter_free(it->base);
    pr_buf_fini(&it->upper);
    pr_free(it);
}

bool stage_iter_valid(const struct stage_iter *it)
{
    return it->valid;
}

void stage_iter_next(struct stage_iter *it)
{
    if (it->on_node)
        it->node = table_next(it->node);
    else
        it->stage->kv->ops->iter_next(it->base);
    iter_settle(it);
}

struct pr_slice stage_iter_key(const struct stage_iter *it)
{
    return it->on_node ? table_key(it->node) : it->stage->kv->ops->iter_key(it->base);
}

struct pr_slice stage_iter_value(const struct stage_iter *it)
{
    return it->on_node ? table_value(it->node) : it->stage->kv->ops->iter_value(it->base);
}

int stage_iter_error(const struct stage_iter *it)
{
    return it->base == NULL ? 0 : it->stage->kv->ops->iter_error(it->base);
}

/* ----------------------------------------------------------------------------------------------------------- spill */

static void batch_row(struct stage *s, enum kv_cf cf, const struct table_node *n)
{
    const struct kv_ops *ops = s->kv->ops;
    if (has(n, LIVE))
        ops->batch_put(s->batch, cf, table_key(n), table_value(n));
    else if (kv_cf_single(cf))
        ops->batch_single_delete(s->batch, cf, table_key(n));
    else
        ops->batch_del(s->batch, cf, table_key(n));
}

/* After the write: resident families stay, clean; the others are emptied. */
static void settle_table(struct stage *s, enum kv_cf cf)
{
    struct table *t = &s->tables[cf];
    if (!is_resident(cf)) {
        table_fini(t);
        return;
    }
    struct table_node *n = table_first(t);
    while (n != NULL) {
        struct table_node *next = table_next(n);
        if (!has(n, LIVE))
            table_erase(t, table_key(n));
        else if (has(n, DIRTY))
            set(n, LIVE | BASE);
        n = next;
    }
}

int stage_spill(struct stage *s)
{
    const struct kv_ops *ops = s->kv->ops;
    for (const struct range *r = s->ranges; r != NULL; r = r->next)
        ops->batch_delete_range(s->batch, r->cf, pr_buf_slice(&r->from), pr_buf_slice(&r->to));
    for (enum kv_cf cf = 0; cf < KV_CF_NR; cf++)
        for (const struct table_node *n = table_first(&s->tables[cf]); n != NULL; n = table_next(n))
            if (has(n, DIRTY))
                batch_row(s, cf, n);
    int err = ops->write(s->kv, s->batch);
    ops->batch_clear(s->batch);
    if (err != 0)
        return err;
    for (enum kv_cf cf = 0; cf < KV_CF_NR; cf++)
        settle_table(s, cf);
    drop_ranges(s);
    return 0;
}

size_t stage_bytes(const struct stage *s)
{
    size_t n = 0;
    for (enum kv_cf cf = 0; cf < KV_CF_NR; cf++)
        n += is_resident(cf) ? 0 : s->tables[cf].bytes;
    return n;
}

size_t stage_rows(const struct stage *s)
{
    size_t n = 0;
    for (enum kv_cf cf = 0; cf < KV_CF_NR; cf++)
        n += is_resident(cf) ? 0 : s->tables[cf].count;
    return n;
}

int stage_hash(struct stage *s, uint64_t *ret_hash)
{
    uint64_t h = 0x9e3779b97f4a7c15ULL;
    for (enum kv_cf cf = 0; cf < KV_CF_NR; cf++) {
        struct stage_iter *it = stage_iter_new(s, cf, PR_SLICE_LIT(""), PR_SLICE_LIT(""));
        for (; stage_iter_valid(it); stage_iter_next(it)) {
            h = pr_hash(stage_iter_key(it), h + cf);
            h = pr_hash(stage_iter_value(it), h);
        }
        int err = stage_iter_error(it);
        stage_iter_free(it);
        if (err != 0)
            return err;
    }
    *ret_hash = h;
    return 0;
}
