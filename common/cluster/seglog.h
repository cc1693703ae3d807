/* seglog.h - a strict reader of libraft's log directory, run before libraft sees it.
 *
 * libraft cuts an open segment at the first batch it cannot read and goes on: right after a crash, silent loss of
 * acknowledged mail after damage. This reader tells the two apart:
 *
 *   clean     batches end, the rest of the file is zeros as it was preallocated
 *   torn      the last batch has whole 512-byte sectors that were never written (zeros): power went before the write
 * was done, so nobody was answered; libraft may cut it off, we report it damaged   anything else: a checksum that fails
 * with all sectors present, a hole with acknowledged entries behind it, a cut file, a gap between files. Starting would
 * lose mail: refused, with file, offset and last good index.
 *
 * What was acknowledged is known from the entries themselves: each carries the highest index acknowledged when it was
 * proposed (command.h). A valid entry behind a bad batch that has an acknowledged index at or above it proves damage,
 * and an entry whose mark is not below its own index proves that entries are missing before it.
 *
 * Format (libraft 0.22, src/uv_segment.c): 8 bytes format version 1; then batches: crc32 of header, crc32 of data,
 * header {n u64, n x {term u64, type u8, 3 zero bytes, length u32}}, data; all little-endian. Thread: any. Errors:
 * PR_ECORRUPT with a text; PR_EIO. */
#ifndef PR_CLUSTER_SEGLOG_H
#define PR_CLUSTER_SEGLOG_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/buf.h"

/* CRC-32, polynomial 0x04c11db7, most significant bit first, start 0, no final inversion; eight bytes at a time. */
struct seglog_crc {
    uint32_t table[8][256];
};
void seglog_crc_init(struct seglog_crc *c);
uint32_t seglog_crc32(const struct seglog_crc *c, struct pr_slice s, uint32_t crc);

enum seglog_end { SEGLOG_CLEAN, SEGLOG_TORN, SEGLOG_DAMAGED };

struct seglog_scan {
    enum seglog_end end;
    bool blank;         /* no byte of it was ever used */
    uint64_t n_entries; /* good ones */
    uint64_t last_term; /* of the last good one, 0 for none */
    size_t good_bytes;  /* offset behind the last good batch */
    size_t bad_at;      /* TORN, DAMAGED: offset of what is wrong */
    const char *reason; /* DAMAGED, TORN: in words */
};
/* Pure. `open`: an open segment, which may end early; else every byte must be a batch. first_index: of its first entry;
 * min_term: entries must not be of older terms. */
void seglog_scan(const struct seglog_crc *crc, struct pr_slice file, bool open, uint64_t first_index, uint64_t min_term,
                 struct seglog_scan *ret);

struct seglog_report {
    bool empty;  /* nothing was ever written (or only half of a bootstrap): seglog_clear, then bootstrap */
    bool torn;   /* text says where */
    uint64_t first_index, last_index, last_term;
    struct pr_buf text;
};
/* Checks the whole directory. applied: index the queue database has; a log that ends before it is refused. */
PR_MUST_USE int seglog_check(const char *dir, uint64_t applied, struct seglog_report *ret, struct pr_buf *reterr);
void seglog_report_fini(struct seglog_report *r);
/* Removes the remains of a bootstrap that was cut short. Only when the report says empty. */
PR_MUST_USE int seglog_clear(const char *dir);

#endif
