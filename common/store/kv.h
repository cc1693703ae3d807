/* kv.h - the ordered store under one shard replica, as a vtable with two twins: RocksDB (kv_rocks.h) and memory
 * (kv_mem.h). Both pass tests/unit/store/test_kv_conformance.c.
 *
 * The store has no log of its own: the Raft log is the write-ahead log. A batch is atomic, in memory and (because all
 * column families are flushed together) on disk; what a crash would leave is asked with durable_get, never assumed.
 *
 * Owns: its database and directory. Borrows: keys and values until return.
 * Thread: write from one thread; get, iterators, property and checkpoint from any.
 * Errors: PR_EIO, PR_ECORRUPT, PR_ENOSPC from write and checkpoint are fatal for the caller (fail-stop): the state in
 * memory and on disk may differ from then on. Text of the last error: kv_error. */
#ifndef PR_STORE_KV_H
#define PR_STORE_KV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/buf.h"
#include "common/base/slice.h"

/* name, column family name on disk */
#define KV_CF_LIST(X)     \
    X(KV_META, "meta")    \
    X(KV_FLOW, "flow")    \
    X(KV_MSG, "msg")      \
    X(KV_RCPT, "rcpt")    \
    X(KV_SCHED, "sched")  \
    X(KV_LEASE, "lease")  \
    X(KV_EXPQ, "expq")    \
    X(KV_BODY, "body")    \
    X(KV_DEDUP, "dedup")  \
    X(KV_GATE, "gate")

enum kv_cf {
#define X(name, text) name,
    KV_CF_LIST(X)
#undef X
    KV_CF_NR,
};
extern const char *const kv_cf_names[KV_CF_NR];

/* sched, expq and body: every key is put once ever and removed by single_delete, so that a pair that meets in a
 * memtable leaves nothing behind. The other families use del. Never both on one key. */
static inline bool kv_cf_single(enum kv_cf cf) { return cf == KV_SCHED || cf == KV_EXPQ || cf == KV_BODY; }

struct kv;
struct kv_iter;
struct kv_batch;

enum kv_property {
    KV_PROP_DISK_BYTES,       /* table and blob files */
    KV_PROP_MEMORY_BYTES,     /* memtables */
    KV_PROP_WRITE_STOPPED,    /* 0 or 1 */
    KV_PROP_WRITE_DELAYED,    /* delayed write rate, 0 when not delayed */
    KV_PROP_COMPACTION_DEBT,  /* estimated pending compaction bytes */
    KV_PROP_BACKGROUND_ERRORS,
    KV_PROP_NR,
};

struct kv_ops {
    const char *name;
    void (*close)(struct kv *kv);
    /* Appends the value to out. PR_ENOTFOUND. */
    int (*get)(struct kv *kv, enum kv_cf cf, struct pr_slice key, struct pr_buf *out);
    /* As get, but only what a crash would leave. */
    int (*durable_get)(struct kv *kv, enum kv_cf cf, struct pr_slice key, struct pr_buf *out);
    struct kv_batch *(*batch_new)(struct kv *kv);
    void (*batch_free)(struct kv_batch *b);
    void (*batch_clear)(struct kv_batch *b);
    void (*batch_put)(struct kv_batch *b, enum kv_cf cf, struct pr_slice key, struct pr_slice value);
    void (*batch_del)(struct kv_batch *b, enum kv_cf cf, struct pr_slice key);
    void (*batch_single_delete)(struct kv_batch *b, enum kv_cf cf, struct pr_slice key);
    /* [from, to) */
    void (*batch_delete_range)(struct kv_batch *b, enum kv_cf cf, struct pr_slice from, struct pr_slice to);
    int (*write)(struct kv *kv, struct kv_batch *b);
    /* Keys in [lower, upper), ascending; positioned on the first. An empty upper means no bound. Writes made later may
     * or may not be seen. */
    struct kv_iter *(*iter_new)(struct kv *kv, enum kv_cf cf, struct pr_slice lower, struct pr_slice upper);
    void (*iter_free)(struct kv_iter *it);
    bool (*iter_valid)(const struct kv_iter *it);
    void (*iter_next)(struct kv_iter *it);
    void (*iter_seek)(struct kv_iter *it, struct pr_slice key);
    /* Valid until the iterator moves. */
    struct pr_slice (*iter_key)(const struct kv_iter *it);
    struct pr_slice (*iter_value)(const struct kv_iter *it);
    /* 0 or the error that ended the iteration. */
    int (*iter_error)(const struct kv_iter *it);
    /* A consistent copy in the directory `path`, which must not exist; everything written before the call becomes
     * durable in the store itself too. The only way to force a flush. */
    int (*checkpoint)(struct kv *kv, const char *path);
    /* Forces dead bodies off the disk (RocksDB does not notice by itself). May take minutes: call it off the loop. */
    int (*compact_bodies)(struct kv *kv);
    /* Makes a compact_bodies on another thread return soon, and later ones at once. For closing. */
    void (*cancel_compaction)(struct kv *kv);
    uint64_t (*property)(struct kv *kv, enum kv_property p);
    /* Text of the last error, "" for none. */
    const char *(*error)(struct kv *kv);
};

/* Each twin's struct starts with this. */
struct kv {
    const struct kv_ops *ops;
};

static inline void kv_close(struct kv *kv)
{
    if (kv != NULL)
        kv->ops->close(kv);
}
PR_MUST_USE static inline int kv_get(struct kv *kv, enum kv_cf cf, struct pr_slice key, struct pr_buf *out)
{
    return kv->ops->get(kv, cf, key, out);
}
static inline const char *kv_error(struct kv *kv) { return kv->ops->error(kv); }

/* Removes a checkpoint, or a half-made one: a directory with plain files. */
PR_MUST_USE int kv_remove_directory(const char *path);

#endif
