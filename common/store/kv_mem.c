/* kv_mem.c - a table per column family, plus the copy that the last checkpoint saw.
 *
 * Single-delete families also remember every key ever put, because putting one twice is a bug that RocksDB would only
 * show much later, as a row that comes back after a crash. */
#include "common/store/kv_mem.h"

#include <pthread.h>

#include "common/base/alloc.h"
#include "common/base/assert.h"
#include "common/store/table.h"

struct image {
    struct table live[KV_CF_NR];
    struct table ever[KV_CF_NR];
};

struct kv_mem {
    struct kv base;
    pthread_mutex_t lock;
    struct image now;
    struct image durable;
    uint64_t violations;
};

enum op_kind { OP_PUT, OP_DEL, OP_SINGLE, OP_RANGE };

struct kv_batch {
    struct pr_buf ops; /* kind u8, cf u8, key, value; each with a u32 length */
};

struct kv_iter {
    struct kv_mem *kv;
    enum kv_cf cf;
    bool valid;
    struct pr_buf key, value, upper;
};

static struct kv_mem *of(struct kv *kv)
{
    return (struct kv_mem *)kv;
}

static void image_fini(struct image *im)
{
    for (size_t i = 0; i < KV_CF_NR; i++) {
        table_fini(&im->live[i]);
        table_fini(&im->ever[i]);
    }
}

static void copy_table(struct table *to, const struct table *from)
{
    for (const struct table_node *n = table_first(from); n != NULL; n = table_next(n)) {
        bool existed;
        struct table_node *c = table_put(to, table_key(n), n->value_len, &existed);
        if (n->value_len > 0)
            memcpy(c->value, n->value, n->value_len);
    }
}

static void image_copy(struct image *to, const struct image *from)
{
    image_fini(to);
    for (size_t i = 0; i < KV_CF_NR; i++) {
        copy_table(&to->live[i], &from->live[i]);
        copy_table(&to->ever[i], &from->ever[i]);
    }
}

static void mem_close(struct kv *kv)
{
    struct kv_mem *m = of(kv);
    image_fini(&m->now);
    image_fini(&m->durable);
    pthread_mutex_destroy(&m->lock);
    pr_free(m);
}

static int get_from(struct kv_mem *m, const struct image *im, enum kv_cf cf, struct pr_slice key, struct pr_buf *out)
{
    pthread_mutex_lock(&m->lock);
    const struct table_node *n = table_find(&im->live[cf], key);
    if (n != NULL)
        pr_buf_add(out, table_value(n));
    pthread_mutex_unlock(&m->lock);
    return n == NULL ? PR_ENOTFOUND : 0;
}

static int mem_get(struct kv *kv, enum kv_cf cf, struct pr_slice key, struct pr_buf *out)
{
    return get_from(of(kv), &of(kv)->now, cf, key, out);
}

static int mem_durable_get(struct kv *kv, enum kv_cf cf, struct pr_slice key, struct pr_buf *out)
{
    return get_from(of(kv), &of(kv)->durable, cf, key, out);
}

static struct kv_batch *mem_batch_new(struct kv *kv)
{
    (void)kv;
    return pr_new(struct kv_batch);
}

static void mem_batch_free(struct kv_batch *b)
{
    if (b == NULL)
        return;
    pr_buf_fini(&b->ops);
    pr_free(b);
}

static void mem_batch_clear(struct kv_batch *b)
{
    pr_buf_clear(&b->ops);
}

static void add_op(struct kv_batch *b, enum op_kind kind, enum kv_cf cf, struct pr_slice key, struct pr_slice value)
{
    pr_buf_char(&b->ops, (char)kind);
    pr_buf_char(&b->ops, (char)cf);
    pr_buf_le32(&b->ops, (uint32_t)key.len);
    pr_buf_add(&b->ops, key);
    pr_buf_le32(&b->ops, (uint32_t)value.len);
    pr_buf_add(&b->ops, value);
}

static void mem_batch_put(struct kv_batch *b, enum kv_cf cf, struct pr_slice key, struct pr_slice value)
{
    add_op(b, OP_PUT, cf, key, value);
}

static void mem_batch_del(struct kv_batch *b, enum kv_cf cf, struct pr_slice key)
{
    add_op(b, OP_DEL, cf, key, PR_SLICE_LIT(""));
}

static void mem_batch_single_delete(struct kv_batch *b, enum kv_cf cf, struct pr_slice key)
{
    add_op(b, OP_SINGLE, cf, key, PR_SLICE_LIT(""));
}

static void mem_batch_delete_range(struct kv_batch *b, enum kv_cf cf, struct pr_slice from, struct pr_slice to)
{
    add_op(b, OP_RANGE, cf, from, to);
}

static void put(struct kv_mem *m, enum kv_cf cf, struct pr_slice key, struct pr_slice value)
{
    bool existed;
    struct table_node *n = table_put(&m->now.live[cf], key, value.len, &existed);
    if (value.len > 0)
        memcpy(n->value, value.ptr, value.len);
    if (kv_cf_single(cf)) {
        table_put(&m->now.ever[cf], key, 0, &existed);
        m->violations += existed;
    }
}

static void delete_range(struct kv_mem *m, enum kv_cf cf, struct pr_slice from, struct pr_slice to)
{
    for (;;) {
        const struct table_node *n = table_seek(&m->now.live[cf], from);
        if (n == NULL || pr_slice_cmp(table_key(n), to) >= 0)
            return;
        table_erase(&m->now.live[cf], table_key(n));
    }
}

static void run_op(struct kv_mem *m, enum op_kind kind, enum kv_cf cf, struct pr_slice key, struct pr_slice value)
{
    switch (kind) {
    case OP_PUT:
        put(m, cf, key, value);
        break;
    case OP_DEL:
        m->violations += kv_cf_single(cf);
        table_erase(&m->now.live[cf], key);
        break;
    case OP_SINGLE:
        m->violations += !kv_cf_single(cf) || !table_erase(&m->now.live[cf], key);
        break;
    case OP_RANGE:
        delete_range(m, cf, key, value);
        break;
    }
}

static int mem_write(struct kv *kv, struct kv_batch *b)
{
    struct kv_mem *m = of(kv);
    struct pr_slice ops = pr_buf_slice(&b->ops);
    pthread_mutex_lock(&m->lock);
    while (ops.len > 0) {
        uint8_t kind = 0, cf = 0;
        uint32_t n = 0;
        struct pr_slice key = {0}, value = {0};
        bool ok = pr_get_u8(&ops, &kind) == 0 && pr_get_u8(&ops, &cf) == 0 && pr_get_le32(&ops, &n) == 0 &&
                  pr_get_bytes(&ops, n, &key) == 0 && pr_get_le32(&ops, &n) == 0 && pr_get_bytes(&ops, n, &value) == 0;
        pr_assert(ok);
        run_op(m, (enum op_kind)kind, (enum kv_cf)cf, key, value);
    }
    pthread_mutex_unlock(&m->lock);
    return 0;
}

static void settle(struct kv_iter *it, const struct table_node *n)
{
    struct pr_slice upper = pr_buf_slice(&it->upper);
    it->valid = n != NULL && (upper.len == 0 || pr_slice_cmp(table_key(n), upper) < 0);
    if (!it->valid)
        return;
    pr_buf_clear(&it->key);
    pr_buf_add(&it->key, table_key(n));
    pr_buf_clear(&it->value);
    pr_buf_add(&it->value, table_value(n));
}

static void mem_iter_seek(struct kv_iter *it, struct pr_slice key)
{
    pthread_mutex_lock(&it->kv->lock);
    settle(it, table_seek(&it->kv->now.live[it->cf], key));
    pthread_mutex_unlock(&it->kv->lock);
}

static struct kv_iter *mem_iter_new(struct kv *kv, enum kv_cf cf, struct pr_slice lower, struct pr_slice upper)
{
    struct kv_iter *it = pr_new(struct kv_iter);
    it->kv = of(kv);
    it->cf = cf;
    pr_buf_add(&it->upper, upper);
    mem_iter_seek(it, lower);
    return it;
}

static void mem_iter_free(struct kv_iter *it)
{
    if (it == NULL)
        return;
    pr_buf_fini(&it->key);
    pr_buf_fini(&it->value);
    pr_buf_fini(&it->upper);
    pr_free(it);
}

static bool mem_iter_valid(const struct kv_iter *it)
{
    return it->valid;
}

static void mem_iter_next(struct kv_iter *it)
{
    pr_buf_char(&it->key, '\0'); /* the least key above the present one */
    pthread_mutex_lock(&it->kv->lock);
    settle(it, table_seek(&it->kv->now.live[it->cf], pr_buf_slice(&it->key)));
    pthread_mutex_unlock(&it->kv->lock);
}

static struct pr_slice mem_iter_key(const struct kv_iter *it)
{
    return pr_buf_slice(&it->key);
}

static struct pr_slice mem_iter_value(const struct kv_iter *it)
{
    return pr_buf_slice(&it->value);
}

static int mem_iter_error(const struct kv_iter *it)
{
    (void)it;
    return 0;
}

static int mem_checkpoint(struct kv *kv, const char *path)
{
    (void)path;
    struct kv_mem *m = of(kv);
    pthread_mutex_lock(&m->lock);
    image_copy(&m->durable, &m->now);
    pthread_mutex_unlock(&m->lock);
    return 0;
}

static int mem_compact_bodies(struct kv *kv)
{
    (void)kv;
    return 0;
}

static void mem_cancel_compaction(struct kv *kv)
{
    (void)kv;
}

static uint64_t mem_property(struct kv *kv, enum kv_property p)
{
    if (p != KV_PROP_MEMORY_BYTES)
        return 0;
    uint64_t n = 0;
    pthread_mutex_lock(&of(kv)->lock);
    for (size_t i = 0; i < KV_CF_NR; i++)
        n += of(kv)->now.live[i].bytes;
    pthread_mutex_unlock(&of(kv)->lock);
    return n;
}

static const char *mem_error(struct kv *kv)
{
    (void)kv;
    return "";
}

static const struct kv_ops mem_ops = {
    .name = "memory",
    .close = mem_close,
    .get = mem_get,
    .durable_get = mem_durable_get,
    .batch_new = mem_batch_new,
    .batch_free = mem_batch_free,
    .batch_clear = mem_batch_clear,
    .batch_put = mem_batch_put,
    .batch_del = mem_batch_del,
    .batch_single_delete = mem_batch_single_delete,
    .batch_delete_range = mem_batch_delete_range,
    .write = mem_write,
    .iter_new = mem_iter_new,
    .iter_free = mem_iter_free,
    .iter_valid = mem_iter_valid,
    .iter_next = mem_iter_next,
    .iter_seek = mem_iter_seek,
    .iter_key = mem_iter_key,
    .iter_value = mem_iter_value,
    .iter_error = mem_iter_error,
    .checkpoint = mem_checkpoint,
    .compact_bodies = mem_compact_bodies,
    .cancel_compaction = mem_cancel_compaction,
    .property = mem_property,
    .error = mem_error,
};

struct kv *kv_mem_new(void)
{
    struct kv_mem *m = pr_new(struct kv_mem);
    m->base.ops = &mem_ops;
    pthread_mutex_init(&m->lock, NULL);
    return &m->base;
}

void kv_mem_crash(struct kv *kv)
{
    struct kv_mem *m = of(kv);
    pthread_mutex_lock(&m->lock);
    image_copy(&m->now, &m->durable);
    pthread_mutex_unlock(&m->lock);
}

uint64_t kv_mem_violations(const struct kv *kv)
{
    return ((const struct kv_mem *)kv)->violations;
}
