/* kv_rocks.h - the RocksDB twin. WAL off, atomic flush on, bodies in blob files.
 *
 * The database lives in DIR/db-NNNNNN; the file DIR/current names the live one (written by rename, so that a crash
 * never leaves none). Never calls rocksdb_flush or rocksdb_flush_cf: they flush one column family and break the
 * atomicity. Never fork after opening. */
#ifndef PR_STORE_KV_ROCKS_H
#define PR_STORE_KV_ROCKS_H

#include "common/store/kv.h"

struct kv_rocks_settings {
    uint64_t write_buffer_bytes; /* all memtables of this shard together */
    uint64_t cache_bytes;        /* block cache of this shard */
    uint64_t blob_file_bytes;
    uint64_t min_blob_bytes;     /* smaller bodies stay in the tables */
    uint64_t rate_limit_bytes_per_s; /* flush and compaction; 0: none */
    int max_background_jobs;
    int max_open_files; /* -1: all */
};
void kv_rocks_settings_default(struct kv_rocks_settings *s);

/* Creates the directory's content when there is none. *reterr_text gets a text on failure. */
PR_MUST_USE int kv_rocks_open(const char *dir, const struct kv_rocks_settings *settings, struct kv **ret_kv,
                              struct pr_buf *reterr_text);

#endif
