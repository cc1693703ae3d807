/* seglog.c - the log directory: which files, in which order, and do they fit together. The files' content:
 * seglog_scan.c.
 *
 *   1. list: snapshots (their index only), closed segments by first index, open ones by counter;
 *   2. closed segments must follow on each other without a gap, and reach back to the snapshot;
 *   3. open segments follow; only the last one with data may be torn, since a write starts when the one before is done;
 *   4. the term file must not be older than the entries, the database not ahead of them. */
#include "common/cluster/seglog.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/alloc.h"

struct segment {
    char name[64];
    bool open;
    uint64_t first, last; /* closed */
    uint64_t counter;     /* open */
};

struct listing {
    struct segment *segments;
    size_t n, cap;
    uint64_t snapshot; /* highest index, 0 for none */
    bool has_metadata;
    uint64_t term;
};

struct checker {
    const char *dir;
    struct seglog_crc crc;
    struct listing list;
    struct seglog_report *report;
    struct pr_buf *error;
    struct pr_buf file;
    uint64_t next; /* index of the next entry */
    const char *torn_in; /* name of the segment that ends torn, and where */
    size_t torn_at;
};

void seglog_report_fini(struct seglog_report *r)
{
    pr_buf_fini(&r->text);
}

/* --------------------------------------------------------------------------------------------------------- listing */

/* "A-B" with A and B decimal; false otherwise. */
static bool parse_pair(struct pr_slice name, uint64_t *a, uint64_t *b)
{
    struct pr_slice rest;
    struct pr_slice left = pr_slice_cut(name, '-', &rest);
    return pr_parse_u64(left, UINT64_MAX, a) == 0 && pr_parse_u64(rest, UINT64_MAX, b) == 0;
}

static void add_segment(struct listing *l, const struct segment *s)
{
    if (l->n == l->cap) {
        l->cap = l->cap == 0 ? 16 : l->cap * 2;
        l->segments = pr_realloc(l->segments, l->cap * sizeof *l->segments);
    }
    l->segments[l->n++] = *s;
}

/* snapshot-TERM-INDEX-TIME.meta */
static bool parse_snapshot(struct pr_slice name, uint64_t *ret_index)
{
    struct pr_slice prefix = PR_SLICE_LIT("snapshot-"), suffix = PR_SLICE_LIT(".meta"), rest;
    if (!pr_slice_starts(name, prefix) || !pr_slice_iends(name, suffix))
        return false;
    name = pr_slice_from(pr_slice_head(name, name.len - suffix.len), prefix.len);
    uint64_t term, time;
    struct pr_slice first = pr_slice_cut(name, '-', &rest);
    struct pr_slice second = pr_slice_cut(rest, '-', &rest);
    return pr_parse_u64(first, UINT64_MAX, &term) == 0 && pr_parse_u64(second, UINT64_MAX, ret_index) == 0 &&
           pr_parse_u64(rest, UINT64_MAX, &time) == 0;
}

static void list_name(struct listing *l, const char *text)
{
    struct pr_slice name = pr_slice_str(text), prefix = PR_SLICE_LIT("open-");
    struct segment s = {0};
    uint64_t snapshot;
    if (name.len >= sizeof s.name)
        return;
    memcpy(s.name, name.ptr, name.len);
    if (parse_snapshot(name, &snapshot)) {
        l->snapshot = PR_MAX(l->snapshot, snapshot);
    } else if (pr_slice_starts(name, prefix)) {
        s.open = true;
        if (pr_parse_u64(pr_slice_from(name, prefix.len), UINT64_MAX, &s.counter) == 0)
            add_segment(l, &s);
    } else if (parse_pair(name, &s.first, &s.last)) {
        add_segment(l, &s);
    }
}

static int compare(const void *pa, const void *pb)
{
    const struct segment *a = pa, *b = pb;
    if (a->open != b->open)
        return a->open ? 1 : -1;
    uint64_t ka = a->open ? a->counter : a->first, kb = b->open ? b->counter : b->first;
    return (ka > kb) - (ka < kb);
}

static int read_file(const char *dir, const char *name, struct pr_buf *out)
{
    struct pr_buf path = {0};
    pr_buf_printf(&path, "%s/%s", dir, name);
    int fd = open(pr_buf_cstr(&path), O_RDONLY | O_CLOEXEC);
    int missing = fd < 0 && errno == ENOENT;
    pr_buf_fini(&path);
    pr_buf_clear(out);
    if (fd < 0)
        return missing ? PR_ENOTFOUND : PR_EIO;
    enum { STEP = 1024 * 1024, FILE_MAX = 256 * 1024 * 1024 };
    ssize_t n = 0;
    while (out->len < FILE_MAX && (n = read(fd, pr_buf_reserve(out, STEP), STEP)) > 0)
        out->len += (size_t)n;
    close(fd);
    return n < 0 ? PR_EIO : out->len >= FILE_MAX ? PR_ETOOBIG : 0;
}

/* metadata1 and metadata2: format, version, term, vote. The higher version counts. */
static int read_terms(struct checker *c)
{
    enum { LEN = 32 };
    const char *const names[] = {"metadata1", "metadata2"};
    uint64_t newest = 0;
    for (size_t i = 0; i < 2; i++) {
        int err = read_file(c->dir, names[i], &c->file);
        if (err == PR_ENOTFOUND)
            continue;
        if (err != 0)
            return err;
        struct pr_slice in = pr_buf_slice(&c->file);
        uint64_t format, version, term;
        if (in.len != LEN || pr_get_le64(&in, &format) != 0 || pr_get_le64(&in, &version) != 0 ||
            pr_get_le64(&in, &term) != 0 || format != 1)
            continue; /* being written when the process died: the other one counts */
        c->list.has_metadata = true;
        if (version > newest) {
            newest = version;
            c->list.term = term;
        }
    }
    return 0;
}

static int list_directory(struct checker *c)
{
    DIR *d = opendir(c->dir);
    if (d == NULL)
        return errno == ENOENT ? 0 : PR_EIO;
    for (struct dirent *e; (e = readdir(d)) != NULL;)
        list_name(&c->list, e->d_name);
    closedir(d);
    if (c->list.n > 0)
        qsort(c->list.segments, c->list.n, sizeof *c->list.segments, compare);
    return read_terms(c);
}

/* ----------------------------------------------------------------------------------------------------------- check */

static const char *const advice =
    "nothing was changed. Restore the log and the queue database of this shard from the same backup, or, with other "
    "replicas, remove both directories and let the node join again";

static int refuse(struct checker *c, const char *name, size_t offset, const char *reason)
{
    pr_buf_printf(c->error, "the log is damaged: %s/%s at offset %zu: %s; last good index %llu. Not started, %s",
                  c->dir, name, offset, reason, (unsigned long long)(c->next - 1), advice);
    return PR_ECORRUPT;
}

static int scan_segment(struct checker *c, const struct segment *s, struct seglog_scan *scan)
{
    int err = read_file(c->dir, s->name, &c->file);
    if (err != 0) {
        pr_buf_printf(c->error, "cannot read %s/%s: %s", c->dir, s->name, pr_strerror(err));
        return err;
    }
    seglog_scan(&c->crc, pr_buf_slice(&c->file), s->open, c->next, c->report->last_term, scan);
    return 0;
}

static void take(struct checker *c, const struct seglog_scan *scan)
{
    c->next += scan->n_entries;
    if (scan->n_entries > 0)
        c->report->last_term = scan->last_term;
}

static int check_closed(struct checker *c, const struct segment *s)
{
    if (s->first != c->next || s->last < s->first)
        return refuse(c, s->name, 0, "entries are missing between this file and the one before");
    struct seglog_scan scan;
    int err = scan_segment(c, s, &scan);
    if (err != 0)
        return err;
    take(c, &scan);
    if (scan.end != SEGLOG_CLEAN)
        return refuse(c, s->name, scan.bad_at, scan.reason);
    if (c->next != s->last + 1)
        return refuse(c, s->name, scan.good_bytes, "the file holds another number of entries than its name says");
    return 0;
}

static int check_open(struct checker *c, const struct segment *s, bool *blank_seen)
{
    struct seglog_scan scan;
    int err = scan_segment(c, s, &scan);
    if (err != 0)
        return err;
    if (scan.blank) {
        *blank_seen = true;
        return 0;
    }
    /* One write at a time: nothing can follow on an incomplete one, or on a file never used. */
    if (c->torn_in != NULL)
        return refuse(c, c->torn_in, c->torn_at, "entries of a later file follow on an incomplete write");
    if (*blank_seen)
        return refuse(c, s->name, 0, "the file before it has lost its content");
    take(c, &scan);
    if (scan.end == SEGLOG_DAMAGED)
        return refuse(c, s->name, scan.bad_at, scan.reason);
    if (scan.end == SEGLOG_TORN) {
        c->torn_in = s->name;
        c->torn_at = scan.bad_at;
        c->report->torn = true;
        pr_buf_printf(
            &c->report->text,
            "the log ends in an incomplete write, which was never acknowledged and is cut off: %s/%s at offset "
            "%zu: %s; last good index %llu",
            c->dir, s->name, scan.bad_at, scan.reason, (unsigned long long)(c->next - 1));
    }
    return 0;
}

/* Where the log begins: at the first closed file, which must reach back to the snapshot; else behind the snapshot. */
static int find_start(struct checker *c)
{
    const struct listing *l = &c->list;
    c->next = l->snapshot + 1;
    if (l->n == 0 || l->segments[0].open)
        return 0;
    if (l->segments[0].first == 0 || l->segments[0].first > l->snapshot + 1)
        return refuse(c, l->segments[0].name, 0, "entries are missing before this file");
    c->next = l->segments[0].first;
    return 0;
}

/* A bootstrap that was cut short leaves term files, and perhaps half of the first segment, and nothing else. */
static bool unborn(struct checker *c, uint64_t applied)
{
    const struct listing *l = &c->list;
    if (applied > 0 || l->snapshot > 0 || l->term > 1)
        return false;
    if (l->n == 0)
        return true;
    struct seglog_scan scan;
    if (l->n != 1 || l->segments[0].open || l->segments[0].first != 1 || l->segments[0].last != 1)
        return false;
    c->next = 1;
    if (scan_segment(c, &l->segments[0], &scan) != 0)
        return false;
    return scan.n_entries == 0;
}

/* Open segments are numbered from 1 in each run, and each run is a term of its own: one that does not begin at 1 means
 * that its predecessors were filled and closed, so entries of the present term must be there. */
static bool lacks_open_segment(const struct checker *c)
{
    uint64_t lowest = UINT64_MAX;
    for (size_t i = 0; i < c->list.n; i++)
        if (c->list.segments[i].open)
            lowest = PR_MIN(lowest, c->list.segments[i].counter);
    return lowest != UINT64_MAX && lowest > 1 && c->report->last_term < c->list.term;
}

static int check_ends(struct checker *c, uint64_t applied)
{
    uint64_t last = c->next - 1;
    if (!c->list.has_metadata || c->list.term < c->report->last_term) {
        pr_buf_printf(
            c->error,
            "the log is damaged: the files metadata1 and metadata2 in %s are missing or older than the entries "
            "(term %llu, entries of term %llu). Not started, %s",
            c->dir, (unsigned long long)c->list.term, (unsigned long long)c->report->last_term, advice);
        return PR_ECORRUPT;
    }
    if (lacks_open_segment(c)) {
        pr_buf_printf(c->error,
                      "the log is damaged: the segment open-1 in %s is missing, and with it what followed index %llu. "
                      "Not started, %s",
                      c->dir, (unsigned long long)last, advice);
        return PR_ECORRUPT;
    }
    if (last < c->list.snapshot || last < applied) {
        pr_buf_printf(
            c->error,
            "the log is damaged: %s ends at index %llu, but index %llu is in the queue database or a snapshot: "
            "the end of the log is lost. Not started, %s",
            c->dir, (unsigned long long)last, (unsigned long long)PR_MAX(applied, c->list.snapshot), advice);
        return PR_ECORRUPT;
    }
    return 0;
}

static int check_all(struct checker *c, uint64_t applied)
{
    int err = list_directory(c);
    if (err != 0) {
        pr_buf_printf(c->error, "cannot read the log directory %s: %s", c->dir, pr_strerror(err));
        return err;
    }
    if (unborn(c, applied)) {
        c->report->empty = true;
        return 0;
    }
    bool blank_seen = false;
    err = find_start(c);
    c->report->first_index = c->next;
    for (size_t i = 0; err == 0 && i < c->list.n; i++) {
        const struct segment *s = &c->list.segments[i];
        err = s->open ? check_open(c, s, &blank_seen) : check_closed(c, s);
    }
    if (err == 0)
        err = check_ends(c, applied);
    c->report->last_index = c->next - 1;
    return err;
}

int seglog_check(const char *dir, uint64_t applied, struct seglog_report *ret, struct pr_buf *reterr)
{
    memset(ret, 0, sizeof *ret);
    struct checker *c = pr_new(struct checker);
    c->dir = dir;
    c->report = ret;
    c->error = reterr;
    seglog_crc_init(&c->crc);
    int err = check_all(c, applied);
    pr_free(c->list.segments);
    pr_buf_fini(&c->file);
    pr_free(c);
    if (err != 0)
        seglog_report_fini(ret);
    return err;
}

int seglog_clear(const char *dir)
{
    const char *const names[] = {"metadata1", "metadata2", "0000000000000001-0000000000000001"};
    int err = 0;
    for (size_t i = 0; i < PR_ARRAY_LEN(names); i++) {
        struct pr_buf path = {0};
        pr_buf_printf(&path, "%s/%s", dir, names[i]);
        if (unlink(pr_buf_cstr(&path)) != 0 && errno != ENOENT)
            err = PR_EIO;
        pr_buf_fini(&path);
    }
    return err;
}
