#include "deliverer/shell/journal_file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/base/assert.h"
#include "common/base/buf.h"
#include "deliverer/shell/events.h"

enum { FILE_MAX = 64 * 1024 * 1024 };

static char *join(const char *dir, const char *name)
{
    struct pr_buf b = {0};
    pr_buf_printf(&b, "%s/%s", dir, name);
    return pr_buf_steal(&b, NULL);
}

static int make_dir(const char *path)
{
    return mkdir(path, 0700) == 0 || errno == EEXIST ? 0 : PR_EIO;
}

static int failed(struct pr_log *log, const char *path, const char *what)
{
    pr_error(log, EV_FAILED, PR_S("path", path), PR_S("error", what), PR_S("reason", strerror(errno)));
    return PR_EIO;
}

static int take_lock(struct dlv_journal_dir *d, struct pr_log *log)
{
    char *path = join(d->path, "lock");
    int rc = 0;
    d->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (d->lock_fd < 0) {
        rc = failed(log, path, "cannot be opened");
    } else if (flock(d->lock_fd, LOCK_EX | LOCK_NB) != 0) {
        (void)failed(log, path, "is held by another deliverer");
        (void)close(d->lock_fd);
        d->lock_fd = -1;
        rc = PR_ECONFLICT;
    }
    pr_free(path);
    return rc;
}

static void read_record(struct dlv_journal_dir *d, const uint8_t *at, size_t *damaged)
{
    struct dlv_journal_record r;
    int rc = dlv_journal_decode(at, &r);
    /* Torn: the process died while writing it, before the end of content went out. */
    *damaged += rc == PR_ECORRUPT;
    if (rc != 0)
        return;
    d->records = pr_realloc(d->records, (d->n + 1) * sizeof *d->records);
    d->records[d->n++] = r;
}

static void read_file(struct dlv_journal_dir *d, const char *name, struct pr_log *log)
{
    char *path = join(d->path, name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat st;
    size_t damaged = 0;
    if (fd < 0 || fstat(fd, &st) != 0 || st.st_size > FILE_MAX) {
        (void)failed(log, path, "cannot be read");
    } else {
        uint8_t record[DLV_JOURNAL_RECORD];
        for (off_t at = 0; pread(fd, record, sizeof record, at) == (ssize_t)sizeof record; at += (off_t)sizeof record)
            read_record(d, record, &damaged);
    }
    if (fd >= 0)
        (void)close(fd);
    if (damaged > 0)
        pr_error(log, EV_JOURNAL_DAMAGED, PR_S("path", path), PR_U("records", damaged));
    d->files = pr_realloc(d->files, (d->n_files + 1) * sizeof *d->files);
    d->files[d->n_files++] = path;
}

static int read_all(struct dlv_journal_dir *d, struct pr_log *log)
{
    DIR *dir = opendir(d->path);
    if (dir == NULL)
        return failed(log, d->path, "cannot be read");
    for (struct dirent *e; (e = readdir(dir)) != NULL;)
        if (pr_slice_starts(pr_slice_str(e->d_name), PR_SLICE_LIT("journal.")))
            read_file(d, e->d_name, log);
    (void)closedir(dir);
    if (d->n > 0)
        pr_warn(log, EV_JOURNAL_RECOVERED, PR_U("records", d->n));
    return 0;
}

int dlv_journal_dir_open(const char *data_dir, struct pr_log *log, struct dlv_journal_dir *ret)
{
    *ret = (struct dlv_journal_dir){.lock_fd = -1, .path = join(data_dir, "deliverer")};
    int rc = make_dir(data_dir) == 0 && make_dir(ret->path) == 0 ? 0 : failed(log, ret->path, "cannot be made");
    if (rc == 0)
        rc = take_lock(ret, log);
    if (rc == 0)
        rc = read_all(ret, log);
    if (rc != 0)
        dlv_journal_dir_close(ret);
    return rc;
}

void dlv_journal_dir_forget(struct dlv_journal_dir *d)
{
    for (size_t i = 0; i < d->n_files; i++) {
        (void)unlink(d->files[i]);
        pr_free(d->files[i]);
    }
    pr_free(d->files);
    pr_free(d->records);
    d->files = NULL;
    d->records = NULL;
    d->n = d->n_files = 0;
}

void dlv_journal_dir_close(struct dlv_journal_dir *d)
{
    for (size_t i = 0; i < d->n_files; i++)
        pr_free(d->files[i]);
    pr_free(d->files);
    pr_free(d->records);
    pr_free(d->path);
    if (d->lock_fd >= 0)
        (void)close(d->lock_fd);
    *d = (struct dlv_journal_dir){.lock_fd = -1};
}

static int map_file(struct dlv_journal_file *f)
{
    size_t size = (size_t)f->slots * DLV_JOURNAL_RECORD;
    int fd = open(f->path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return PR_EIO;
    /* Allocated, not sparse: a store must never fail for want of space. */
    int rc = posix_fallocate(fd, 0, (off_t)size) == 0 ? 0 : PR_ENOSPC;
    void *map = rc == 0 ? mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) : MAP_FAILED;
    (void)close(fd);
    if (map == MAP_FAILED) {
        (void)unlink(f->path);
        return rc == 0 ? PR_EIO : rc;
    }
    f->map = map;
    return 0;
}

int dlv_journal_file_open(const struct dlv_journal_dir *d, uint64_t boot_id, unsigned lane, uint32_t slots,
                          struct dlv_journal_file *ret)
{
    struct pr_buf path = {0};
    pr_buf_printf(&path, "%s/journal.%016" PRIx64 ".%u", d->path, boot_id, lane);
    *ret = (struct dlv_journal_file){.slots = slots, .path = pr_buf_steal(&path, NULL)};
    int rc = map_file(ret);
    if (rc != 0) {
        pr_free(ret->path);
        ret->path = NULL;
        return rc;
    }
    ret->free_slots = pr_calloc(slots, sizeof *ret->free_slots);
    for (uint32_t i = 0; i < slots; i++)
        ret->free_slots[i] = slots - 1 - i;
    ret->n_free = slots;
    return 0;
}

void dlv_journal_put(struct dlv_journal_file *f, uint32_t *slot, const struct dlv_journal_record *r)
{
    uint8_t record[DLV_JOURNAL_RECORD];
    if (*slot == DLV_JOURNAL_NO_SLOT) {
        pr_assert(f->n_free > 0); /* there are as many as jobs */
        *slot = f->free_slots[--f->n_free];
    }
    dlv_journal_encode(r, record);
    memcpy(f->map + (size_t)*slot * DLV_JOURNAL_RECORD, record, sizeof record);
    /* The record is in place before anything that is done after it. */
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
}

void dlv_journal_drop(struct dlv_journal_file *f, uint32_t *slot)
{
    if (*slot == DLV_JOURNAL_NO_SLOT)
        return;
    memset(f->map + (size_t)*slot * DLV_JOURNAL_RECORD, 0, DLV_JOURNAL_RECORD);
    f->free_slots[f->n_free++] = *slot;
    *slot = DLV_JOURNAL_NO_SLOT;
}

void dlv_journal_file_close(struct dlv_journal_file *f)
{
    if (f->map == NULL)
        return;
    (void)munmap(f->map, (size_t)f->slots * DLV_JOURNAL_RECORD);
    if (f->n_free == f->slots)
        (void)unlink(f->path);
    pr_free(f->free_slots);
    pr_free(f->path);
    *f = (struct dlv_journal_file){.map = NULL};
}
