/* kv_rocks_internal.h - shared by kv_rocks.c (verbs) and kv_rocks_open.c (options, directories). */
#ifndef PR_STORE_KV_ROCKS_INTERNAL_H
#define PR_STORE_KV_ROCKS_INTERNAL_H

#include <pthread.h>
#include <rocksdb/c.h>

#include "common/store/kv_rocks.h"

struct kv_rocks {
    struct kv base;
    rocksdb_t *db;
    rocksdb_column_family_handle_t *cfs[KV_CF_NR];
    rocksdb_column_family_handle_t *default_cf; /* RocksDB insists on it; unused */
    rocksdb_readoptions_t *read, *read_durable;
    rocksdb_writeoptions_t *write;
    rocksdb_cache_t *cache;
    rocksdb_ratelimiter_t *limiter;
    pthread_mutex_t error_lock;
    char error[512]; /* first error, never changed afterwards */
};

extern const struct kv_ops kv_rocks_ops;

/* Frees text. 0 if it is NULL. */
int kv_rocks_take_error(struct kv_rocks *r, char *text);
/* Also for half-opened ones. */
void kv_rocks_release(struct kv_rocks *r);

#endif
