/* kv_rocks.c - the verbs over the RocksDB C API. Opening, options and directories: kv_rocks_open.c.
 *
 * Foreign convention: RocksDB reports errors as allocated strings; take_error turns one into a code and keeps the first
 * text, since the first failure is the cause and later ones are its echo. */
#include "common/store/kv_rocks_internal.h"

#include <stdio.h>
#include <string.h>

#include "common/base/alloc.h"

struct kv_batch {
    struct kv_rocks *kv;
    rocksdb_writebatch_t *wb;
};

struct kv_iter {
    struct kv_rocks *kv;
    rocksdb_iterator_t *it;
    rocksdb_readoptions_t *options;
    struct pr_buf lower, upper; /* RocksDB borrows the bounds */
};

static struct kv_rocks *of(struct kv *kv)
{
    return (struct kv_rocks *)kv;
}

static bool contains(const char *text, const char *word)
{
    return strstr(text, word) != NULL;
}

int kv_rocks_take_error(struct kv_rocks *r, char *text)
{
    if (text == NULL)
        return 0;
    int code = contains(text, "No space left") ? PR_ENOSPC : contains(text, "Corruption") ? PR_ECORRUPT : PR_EIO;
    pthread_mutex_lock(&r->error_lock);
    if (r->error[0] == '\0')
        (void)snprintf(r->error, sizeof r->error, "%s", text);
    pthread_mutex_unlock(&r->error_lock);
    rocksdb_free(text);
    return code;
}

static void rocks_close(struct kv *kv)
{
    kv_rocks_release(of(kv));
}

static int get_with(struct kv_rocks *r, const rocksdb_readoptions_t *options, enum kv_cf cf, struct pr_slice key,
                    struct pr_buf *out)
{
    char *text = NULL;
    rocksdb_pinnableslice_t *p = rocksdb_get_pinned_cf(r->db, options, r->cfs[cf], key.ptr, key.len, &text);
    if (text != NULL)
        return kv_rocks_take_error(r, text);
    if (p == NULL)
        return PR_ENOTFOUND;
    size_t n;
    const char *value = rocksdb_pinnableslice_value(p, &n);
    pr_buf_append(out, value, n);
    rocksdb_pinnableslice_destroy(p);
    return 0;
}

static int rocks_get(struct kv *kv, enum kv_cf cf, struct pr_slice key, struct pr_buf *out)
{
    return get_with(of(kv), of(kv)->read, cf, key, out);
}

static int rocks_durable_get(struct kv *kv, enum kv_cf cf, struct pr_slice key, struct pr_buf *out)
{
    return get_with(of(kv), of(kv)->read_durable, cf, key, out);
}

static struct kv_batch *rocks_batch_new(struct kv *kv)
{
    struct kv_batch *b = pr_new(struct kv_batch);
    b->kv = of(kv);
    b->wb = rocksdb_writebatch_create();
    return b;
}

static void rocks_batch_free(struct kv_batch *b)
{
    if (b == NULL)
        return;
    rocksdb_writebatch_destroy(b->wb);
    pr_free(b);
}

static void rocks_batch_clear(struct kv_batch *b)
{
    enum { KEEP_BYTES = 256 * 1024 };
    size_t n = 0;
    (void)rocksdb_writebatch_data(b->wb, &n);
    if (n <= KEEP_BYTES) {
        rocksdb_writebatch_clear(b->wb);
        return;
    }
    /* clear keeps the memory of the largest batch ever */
    rocksdb_writebatch_destroy(b->wb);
    b->wb = rocksdb_writebatch_create();
}

static void rocks_batch_put(struct kv_batch *b, enum kv_cf cf, struct pr_slice key, struct pr_slice value)
{
    rocksdb_writebatch_put_cf(b->wb, b->kv->cfs[cf], key.ptr, key.len, value.ptr, value.len);
}

static void rocks_batch_del(struct kv_batch *b, enum kv_cf cf, struct pr_slice key)
{
    rocksdb_writebatch_delete_cf(b->wb, b->kv->cfs[cf], key.ptr, key.len);
}

static void rocks_batch_single_delete(struct kv_batch *b, enum kv_cf cf, struct pr_slice key)
{
    rocksdb_writebatch_singledelete_cf(b->wb, b->kv->cfs[cf], key.ptr, key.len);
}

static void rocks_batch_delete_range(struct kv_batch *b, enum kv_cf cf, struct pr_slice from, struct pr_slice to)
{
    rocksdb_writebatch_delete_range_cf(b->wb, b->kv->cfs[cf], from.ptr, from.len, to.ptr, to.len);
}

static int rocks_write(struct kv *kv, struct kv_batch *b)
{
    struct kv_rocks *r = of(kv);
    if (rocksdb_writebatch_count(b->wb) == 0)
        return 0;
    char *text = NULL;
    rocksdb_write(r->db, r->write, b->wb, &text);
    return kv_rocks_take_error(r, text);
}

static void rocks_iter_seek(struct kv_iter *it, struct pr_slice key)
{
    if (key.len == 0)
        rocksdb_iter_seek_to_first(it->it);
    else
        rocksdb_iter_seek(it->it, key.ptr, key.len);
}

static struct kv_iter *rocks_iter_new(struct kv *kv, enum kv_cf cf, struct pr_slice lower, struct pr_slice upper)
{
    struct kv_rocks *r = of(kv);
    struct kv_iter *it = pr_new(struct kv_iter);
    it->kv = r;
    pr_buf_add(&it->lower, lower);
    pr_buf_add(&it->upper, upper);
    it->options = rocksdb_readoptions_create();
    /* The bounds also keep the scan out of foreign tombstones. */
    if (lower.len > 0)
        rocksdb_readoptions_set_iterate_lower_bound(it->options, it->lower.ptr, it->lower.len);
    if (upper.len > 0)
        rocksdb_readoptions_set_iterate_upper_bound(it->options, it->upper.ptr, it->upper.len);
    it->it = rocksdb_create_iterator_cf(r->db, it->options, r->cfs[cf]);
    rocks_iter_seek(it, lower);
    return it;
}

static void rocks_iter_free(struct kv_iter *it)
{
    if (it == NULL)
        return;
    rocksdb_iter_destroy(it->it);
    rocksdb_readoptions_destroy(it->options);
    pr_buf_fini(&it->lower);
    pr_buf_fini(&it->upper);
    pr_free(it);
}

static bool rocks_iter_valid(const struct kv_iter *it)
{
    return rocksdb_iter_valid(it->it) != 0;
}

static void rocks_iter_next(struct kv_iter *it)
{
    rocksdb_iter_next(it->it);
}

static struct pr_slice rocks_iter_key(const struct kv_iter *it)
{
    size_t n;
    const char *p = rocksdb_iter_key(it->it, &n);
    return pr_slice(p, n);
}

static struct pr_slice rocks_iter_value(const struct kv_iter *it)
{
    size_t n;
    const char *p = rocksdb_iter_value(it->it, &n);
    return pr_slice(p, n);
}

static int rocks_iter_error(const struct kv_iter *it)
{
    char *text = NULL;
    rocksdb_iter_get_error(it->it, &text);
    return kv_rocks_take_error(it->kv, text);
}

static int rocks_checkpoint(struct kv *kv, const char *path)
{
    struct kv_rocks *r = of(kv);
    char *text = NULL;
    rocksdb_checkpoint_t *cp = rocksdb_checkpoint_object_create(r->db, &text);
    if (text == NULL) {
        rocksdb_checkpoint_create(cp, path, 0, &text); /* log size 0: flush all families, as one */
        rocksdb_checkpoint_object_destroy(cp);
    }
    return kv_rocks_take_error(r, text);
}

static int rocks_compact_bodies(struct kv *kv)
{
    struct kv_rocks *r = of(kv);
    enum { BOTTOMMOST_FORCE = 2 }; /* without it the pointers of dead bodies stay, and with them the blobs */
    rocksdb_compactoptions_t *o = rocksdb_compactoptions_create();
    rocksdb_compactoptions_set_bottommost_level_compaction(o, BOTTOMMOST_FORCE);
    rocksdb_compactoptions_set_exclusive_manual_compaction(o, 0);
    rocksdb_compact_range_cf_opt(r->db, r->cfs[KV_BODY], o, NULL, 0, NULL, 0);
    rocksdb_compactoptions_destroy(o);
    return 0;
}

static void rocks_cancel_compaction(struct kv *kv)
{
    rocksdb_disable_manual_compaction(of(kv)->db);
}

static uint64_t sum(struct kv_rocks *r, const char *name)
{
    uint64_t total = 0;
    for (enum kv_cf cf = 0; cf < KV_CF_NR; cf++) {
        uint64_t v = 0;
        if (rocksdb_property_int_cf(r->db, r->cfs[cf], name, &v) == 0)
            total += v;
    }
    return total;
}

static uint64_t whole(struct kv_rocks *r, const char *name)
{
    uint64_t v = 0;
    (void)rocksdb_property_int(r->db, name, &v);
    return v;
}

static uint64_t rocks_property(struct kv *kv, enum kv_property p)
{
    struct kv_rocks *r = of(kv);
    switch (p) {
    case KV_PROP_DISK_BYTES:
        return sum(r, "rocksdb.total-sst-files-size") + sum(r, "rocksdb.total-blob-file-size");
    case KV_PROP_MEMORY_BYTES:
        return sum(r, "rocksdb.cur-size-all-mem-tables");
    case KV_PROP_WRITE_STOPPED:
        return whole(r, "rocksdb.is-write-stopped");
    case KV_PROP_WRITE_DELAYED:
        return whole(r, "rocksdb.actual-delayed-write-rate");
    case KV_PROP_COMPACTION_DEBT:
        return sum(r, "rocksdb.estimate-pending-compaction-bytes");
    case KV_PROP_BACKGROUND_ERRORS:
        return whole(r, "rocksdb.background-errors");
    case KV_PROP_NR:
        break;
    }
    return 0;
}

static const char *rocks_error(struct kv *kv)
{
    return of(kv)->error;
}

const struct kv_ops kv_rocks_ops = {
    .name = "rocksdb",
    .close = rocks_close,
    .get = rocks_get,
    .durable_get = rocks_durable_get,
    .batch_new = rocks_batch_new,
    .batch_free = rocks_batch_free,
    .batch_clear = rocks_batch_clear,
    .batch_put = rocks_batch_put,
    .batch_del = rocks_batch_del,
    .batch_single_delete = rocks_batch_single_delete,
    .batch_delete_range = rocks_batch_delete_range,
    .write = rocks_write,
    .iter_new = rocks_iter_new,
    .iter_free = rocks_iter_free,
    .iter_valid = rocks_iter_valid,
    .iter_next = rocks_iter_next,
    .iter_seek = rocks_iter_seek,
    .iter_key = rocks_iter_key,
    .iter_value = rocks_iter_value,
    .iter_error = rocks_iter_error,
    .checkpoint = rocks_checkpoint,
    .compact_bodies = rocks_compact_bodies,
    .cancel_compaction = rocks_cancel_compaction,
    .property = rocks_property,
    .error = rocks_error,
};
