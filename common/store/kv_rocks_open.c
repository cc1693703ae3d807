/* kv_rocks_open.c - options per column family, and which directory is the live database.
 *
 * Opening: 1. read DIR/current, or make it (db-000001); 2. open that database with all families; 3. remove other db-*
 * directories, which a crash during a switch of databases may have left. */
#include "common/store/kv_rocks_internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/alloc.h"

#define MB (1024ULL * 1024)

void kv_rocks_settings_default(struct kv_rocks_settings *s)
{
    *s = (struct kv_rocks_settings){
        .write_buffer_bytes = 64 * MB,
        .cache_bytes = 32 * MB,
        .blob_file_bytes = 128 * MB,
        .min_blob_bytes = 4096,
        .rate_limit_bytes_per_s = 0,
        .max_background_jobs = 2,
        .max_open_files = -1,
    };
}

static rocksdb_options_t *base_options(const struct kv_rocks_settings *s, const struct kv_rocks *r)
{
    rocksdb_options_t *o = rocksdb_options_create();
    rocksdb_options_set_create_if_missing(o, 1);
    rocksdb_options_set_create_missing_column_families(o, 1);
    rocksdb_options_set_atomic_flush(o, 1);
    rocksdb_options_set_db_write_buffer_size(o, s->write_buffer_bytes);
    rocksdb_options_set_max_background_jobs(o, s->max_background_jobs);
    rocksdb_options_set_max_open_files(o, s->max_open_files);
    rocksdb_options_set_stats_dump_period_sec(o, 0);
    rocksdb_options_set_info_log_level(o, 2 /* warnings */);
    rocksdb_options_set_max_log_file_size(o, 4 * MB);
    rocksdb_options_set_keep_log_file_num(o, 2);
    rocksdb_options_set_skip_stats_update_on_db_open(o, 1);
    rocksdb_options_set_bytes_per_sync(o, MB);
    if (r->limiter != NULL)
        rocksdb_options_set_ratelimiter(o, r->limiter);
    return o;
}

static void table_options(rocksdb_options_t *o, const struct kv_rocks *r)
{
    rocksdb_block_based_table_options_t *t = rocksdb_block_based_options_create();
    rocksdb_block_based_options_set_block_cache(t, r->cache);
    rocksdb_block_based_options_set_filter_policy(t, rocksdb_filterpolicy_create_bloom_full(10));
    rocksdb_block_based_options_set_cache_index_and_filter_blocks(t, 1);
    rocksdb_block_based_options_set_pin_l0_filter_and_index_blocks_in_cache(t, 1);
    rocksdb_options_set_block_based_table_factory(o, t);
    rocksdb_block_based_options_destroy(t);
}

/* Bodies do not reclaim themselves: BlobDB's collector has to be told to look at every file whose pointers are
 * compacted, and small pointer tables never trigger a compaction by size (compact_bodies does). */
static void body_options(rocksdb_options_t *o, const struct kv_rocks_settings *s)
{
    rocksdb_options_set_enable_blob_files(o, 1);
    rocksdb_options_set_min_blob_size(o, s->min_blob_bytes);
    rocksdb_options_set_blob_file_size(o, s->blob_file_bytes);
    rocksdb_options_set_blob_compression_type(o, rocksdb_no_compression);
    rocksdb_options_set_enable_blob_gc(o, 1);
    rocksdb_options_set_blob_gc_age_cutoff(o, 1.0);
    rocksdb_options_set_blob_gc_force_threshold(o, 0.5);
    rocksdb_options_set_level0_file_num_compaction_trigger(o, 2);
}

static rocksdb_options_t *cf_options(enum kv_cf cf, const struct kv_rocks_settings *s, const struct kv_rocks *r)
{
    rocksdb_options_t *o = base_options(s, r);
    bool big = cf == KV_BODY || cf == KV_MSG || cf == KV_RCPT;
    size_t buffer = (size_t)(s->write_buffer_bytes / (cf == KV_BODY ? 2 : 8));
    size_t block = big ? 512 * 1024 : 32 * 1024; /* each family's first row costs one */
    rocksdb_options_set_write_buffer_size(o, buffer);
    rocksdb_options_set_arena_block_size(o, PR_MIN(block, buffer / 16));
    rocksdb_options_set_max_write_buffer_number(o, 4);
    rocksdb_options_set_level0_slowdown_writes_trigger(o, 12);
    rocksdb_options_set_level0_stop_writes_trigger(o, 24);
    rocksdb_options_set_soft_pending_compaction_bytes_limit(o, 8192 * MB);
    rocksdb_options_set_hard_pending_compaction_bytes_limit(o, 32768 * MB);
    rocksdb_options_set_target_file_size_base(o, 16 * MB);
    bool text = cf == KV_MSG || cf == KV_RCPT;
    rocksdb_options_set_compression(o, text ? rocksdb_lz4_compression : rocksdb_no_compression);
    table_options(o, r);
    if (cf == KV_BODY)
        body_options(o, s);
    return o;
}

static int sync_directory(const char *dir)
{
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return PR_EIO;
    int err = fsync(fd) == 0 ? 0 : PR_EIO;
    close(fd);
    return err;
}

static int write_all_synced(const char *path, struct pr_slice text)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return PR_EIO;
    bool ok = write(fd, text.ptr, text.len) == (ssize_t)text.len && fsync(fd) == 0;
    return close(fd) == 0 && ok ? 0 : PR_EIO;
}

/* Write aside, sync, rename, sync the directory: at no time is there no pointer, or half of one. */
static int write_current(const char *dir, const char *name)
{
    struct pr_buf from = {0}, to = {0}, text = {0};
    pr_buf_printf(&from, "%s/current.new", dir);
    pr_buf_printf(&to, "%s/current", dir);
    pr_buf_printf(&text, "%s\n", name);
    int err = write_all_synced(pr_buf_cstr(&from), pr_buf_slice(&text));
    if (err == 0 && rename(pr_buf_cstr(&from), pr_buf_cstr(&to)) != 0)
        err = PR_EIO;
    if (err == 0)
        err = sync_directory(dir);
    pr_buf_fini(&from);
    pr_buf_fini(&to);
    pr_buf_fini(&text);
    return err;
}

enum { NAME_LEN = 9 }; /* db-NNNNNN */

static bool is_db_name(const char *name)
{
    if (strlen(name) != NAME_LEN || strncmp(name, "db-", 3) != 0)
        return false;
    for (size_t i = 3; i < NAME_LEN; i++)
        if (!pr_is_digit(name[i]))
            return false;
    return true;
}

static int read_current(const char *dir, char name[NAME_LEN + 1])
{
    struct pr_buf path = {0};
    pr_buf_printf(&path, "%s/current", dir);
    int fd = open(pr_buf_cstr(&path), O_RDONLY | O_CLOEXEC);
    int missing = fd < 0 ? errno : 0;
    pr_buf_fini(&path);
    if (fd < 0)
        return missing == ENOENT ? PR_ENOTFOUND : PR_EIO;
    char text[NAME_LEN + 2] = {0};
    ssize_t n = read(fd, text, NAME_LEN + 1);
    close(fd);
    if (n != NAME_LEN + 1 || text[NAME_LEN] != '\n')
        return PR_ECORRUPT;
    text[NAME_LEN] = '\0';
    if (!is_db_name(text))
        return PR_ECORRUPT;
    memcpy(name, text, NAME_LEN + 1);
    return 0;
}

static bool has_databases(const char *dir)
{
    DIR *d = opendir(dir);
    bool found = false;
    for (struct dirent *e; d != NULL && !found && (e = readdir(d)) != NULL;)
        found = is_db_name(e->d_name);
    if (d != NULL)
        closedir(d);
    return found;
}

static int find_database(const char *dir, char name[NAME_LEN + 1], struct pr_buf *text)
{
    if (mkdir(dir, 0700) != 0 && errno != EEXIST) {
        pr_buf_printf(text, "cannot make directory %s: %s", dir, strerror(errno));
        return PR_EIO;
    }
    int err = read_current(dir, name);
    if (err == PR_ENOTFOUND && has_databases(dir)) {
        pr_buf_printf(text, "%s holds a database but no file 'current' that names it; restore the file", dir);
        return PR_ECORRUPT;
    }
    if (err == PR_ENOTFOUND) {
        memcpy(name, "db-000001", NAME_LEN + 1);
        err = write_current(dir, name);
        if (err != 0)
            pr_buf_printf(text, "cannot write %s/current: %s", dir, strerror(errno));
        return err;
    }
    if (err != 0)
        pr_buf_printf(text, "%s/current is damaged: it must hold the name of the database directory", dir);
    return err;
}

static void remove_others(const char *dir, const char *name)
{
    DIR *d = opendir(dir);
    for (struct dirent *e; d != NULL && (e = readdir(d)) != NULL;) {
        if (!is_db_name(e->d_name) || strcmp(e->d_name, name) == 0)
            continue;
        struct pr_buf path = {0};
        pr_buf_printf(&path, "%s/%s", dir, e->d_name);
        /* What cannot be removed now is tried again at the next start. */
        (void)!kv_remove_directory(pr_buf_cstr(&path));
        pr_buf_fini(&path);
    }
    if (d != NULL)
        closedir(d);
}

static int open_database(struct kv_rocks *r, const char *path, const struct kv_rocks_settings *s)
{
    const char *names[KV_CF_NR + 1];
    const rocksdb_options_t *options[KV_CF_NR + 1];
    rocksdb_options_t *owned[KV_CF_NR + 1];
    rocksdb_column_family_handle_t *handles[KV_CF_NR + 1] = {0};
    for (enum kv_cf cf = 0; cf < KV_CF_NR; cf++) {
        names[cf] = kv_cf_names[cf];
        options[cf] = owned[cf] = cf_options(cf, s, r);
    }
    names[KV_CF_NR] = "default";
    options[KV_CF_NR] = owned[KV_CF_NR] = cf_options(KV_META, s, r);
    rocksdb_options_t *db_options = base_options(s, r);
    char *text = NULL;
    r->db = rocksdb_open_column_families(db_options, path, KV_CF_NR + 1, names, options, handles, &text);
    for (size_t i = 0; i <= KV_CF_NR; i++)
        rocksdb_options_destroy(owned[i]);
    rocksdb_options_destroy(db_options);
    if (text != NULL) {
        r->db = NULL;
        return kv_rocks_take_error(r, text);
    }
    memcpy(r->cfs, handles, sizeof r->cfs);
    r->default_cf = handles[KV_CF_NR];
    return 0;
}

void kv_rocks_release(struct kv_rocks *r)
{
    if (r->db != NULL) {
        /* Handles before the database: it aborts on the contrary. */
        for (size_t i = 0; i < KV_CF_NR; i++)
            rocksdb_column_family_handle_destroy(r->cfs[i]);
        rocksdb_column_family_handle_destroy(r->default_cf);
        rocksdb_close(r->db);
    }
    rocksdb_readoptions_destroy(r->read);
    rocksdb_readoptions_destroy(r->read_durable);
    rocksdb_writeoptions_destroy(r->write);
    rocksdb_cache_destroy(r->cache);
    if (r->limiter != NULL)
        rocksdb_ratelimiter_destroy(r->limiter);
    pthread_mutex_destroy(&r->error_lock);
    pr_free(r);
}

static struct kv_rocks *rocks_new(const struct kv_rocks_settings *s)
{
    enum { PERSISTED_TIER = 2 };
    struct kv_rocks *r = pr_new(struct kv_rocks);
    r->base.ops = &kv_rocks_ops;
    pthread_mutex_init(&r->error_lock, NULL);
    r->read = rocksdb_readoptions_create();
    r->read_durable = rocksdb_readoptions_create();
    rocksdb_readoptions_set_read_tier(r->read_durable, PERSISTED_TIER);
    r->write = rocksdb_writeoptions_create();
    rocksdb_writeoptions_disable_WAL(r->write, 1);
    r->cache = rocksdb_cache_create_lru((size_t)s->cache_bytes);
    if (s->rate_limit_bytes_per_s > 0)
        r->limiter = rocksdb_ratelimiter_create((int64_t)s->rate_limit_bytes_per_s, 100 * 1000, 10);
    return r;
}

int kv_rocks_open(const char *dir, const struct kv_rocks_settings *settings, struct kv **ret_kv,
                  struct pr_buf *reterr_text)
{
    char name[NAME_LEN + 1];
    int err = find_database(dir, name, reterr_text);
    if (err != 0)
        return err;
    struct pr_buf path = {0};
    pr_buf_printf(&path, "%s/%s", dir, name);
    struct kv_rocks *r = rocks_new(settings);
    err = open_database(r, pr_buf_cstr(&path), settings);
    if (err != 0) {
        pr_buf_printf(reterr_text, "cannot open the queue database %s: %s", pr_buf_cstr(&path), r->error);
        kv_rocks_release(r);
    } else {
        remove_others(dir, name);
        *ret_kv = &r->base;
    }
    pr_buf_fini(&path);
    return err;
}
