/* seglog_fixture.h - writes segment files in libraft's format, for the tests of the log check. */
#ifndef TESTS_CLUSTER_SEGLOG_FIXTURE_H
#define TESTS_CLUSTER_SEGLOG_FIXTURE_H

#include <stdlib.h>

#include "common/base/alloc.h"
#include "common/base/rng.h"
#include "common/cluster/command.h"
#include "common/cluster/seglog.h"

enum { SEGMENT_BYTES = 1024 * 1024 };

struct segment_writer {
    struct seglog_crc crc;
    struct pr_buf file;
    struct pr_rng rng;
};

static inline void segment_begin(struct segment_writer *w)
{
    seglog_crc_init(&w->crc);
    pr_rng_init(&w->rng, 42);
    pr_buf_clear(&w->file);
    pr_buf_le64(&w->file, 1);
}

static inline void write_le32(char *p, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        p[i] = (char)(unsigned char)(v >> (8 * i));
}

/* An entry of ours with about `bytes` of incompressible payload without zero bytes. */
static inline void make_entry(struct segment_writer *w, size_t bytes, uint64_t acked, struct pr_buf *out)
{
    struct cmd_batch b = {0};
    char *body = pr_malloc(bytes);
    for (size_t i = 0; i < bytes; i++)
        body[i] = (char)(1 + pr_rng_below(&w->rng, 255));
    struct cmd c = {.type = CMD_PART, .part = {.body_id = 1, .bytes = pr_slice(body, bytes)}};
    if (cmd_batch_add(&b, &c) != 0)
        abort();
    struct pr_slice entry = cmd_batch_finish(&b, (pr_wall){1});
    cmd_entry_set_acked(b.buf.ptr, entry.len, acked);
    pr_buf_add(out, entry);
    pr_buf_fini(&b.buf);
    pr_free(body);
}

/* One batch of n entries. type 1: commands. */
static inline void segment_batch(struct segment_writer *w, uint64_t term, uint64_t n, uint32_t type, size_t bytes,
                                 uint64_t acked)
{
    struct pr_buf data = {0}, header = {0};
    pr_buf_le64(&header, n);
    for (uint64_t i = 0; i < n; i++) {
        size_t before = data.len;
        if (type == 1)
            make_entry(w, bytes, acked, &data);
        else
            pr_buf_le64(&data, 0x1122334455667788);
        pr_buf_le64(&header, term);
        pr_buf_le32(&header, type);
        pr_buf_le32(&header, (uint32_t)(data.len - before));
    }
    pr_buf_le32(&w->file, seglog_crc32(&w->crc, pr_buf_slice(&header), 0));
    pr_buf_le32(&w->file, seglog_crc32(&w->crc, pr_buf_slice(&data), 0));
    pr_buf_add(&w->file, pr_buf_slice(&header));
    pr_buf_add(&w->file, pr_buf_slice(&data));
    pr_buf_fini(&data);
    pr_buf_fini(&header);
}

/* Zeros up to the size an open segment has. */
static inline void segment_fill(struct segment_writer *w)
{
    size_t n = SEGMENT_BYTES - w->file.len;
    memset(pr_buf_reserve(&w->file, n), 0, n);
    w->file.len += n;
}

#endif
