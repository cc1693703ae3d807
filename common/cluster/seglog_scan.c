/* seglog_scan.c - the pure part: one segment file in memory. */
#include "common/base/alloc.h"
#include "common/cluster/command.h"
#include "common/cluster/seglog.h"

enum {
    FORMAT_LEN = 8,
    SUMS_LEN = 8,
    COUNT_LEN = 8,
    ENTRY_HEADER_LEN = 16,
    SECTOR = 512,
    ALLOCATION = 1024 * 1024, /* open segments are made in multiples of this (raft_host_settings) */
    ENTRIES_MAX = 4096,       /* of one batch: far more than can be in flight */
    TYPE_COMMAND = 1,
    TYPE_CHANGE = 3,
};

void seglog_crc_init(struct seglog_crc *c)
{
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t v = i << 24;
        for (int bit = 0; bit < 8; bit++)
            v = (v << 1) ^ ((v & 0x80000000U) != 0 ? 0x04c11db7U : 0);
        c->table[0][i] = v;
    }
    for (uint32_t i = 0; i < 256; i++)
        for (int k = 1; k < 8; k++) {
            uint32_t v = c->table[k - 1][i];
            c->table[k][i] = (v << 8) ^ c->table[0][v >> 24];
        }
}

uint32_t seglog_crc32(const struct seglog_crc *c, struct pr_slice s, uint32_t crc)
{
    const unsigned char *p = (const unsigned char *)s.ptr;
    size_t n = s.len;
    for (; n >= 8; n -= 8, p += 8)
        crc = c->table[7][(crc >> 24) ^ p[0]] ^ c->table[6][((crc >> 16) & 255) ^ p[1]] ^
              c->table[5][((crc >> 8) & 255) ^ p[2]] ^ c->table[4][(crc & 255) ^ p[3]] ^ c->table[3][p[4]] ^
              c->table[2][p[5]] ^ c->table[1][p[6]] ^ c->table[0][p[7]];
    for (; n > 0; n--, p++)
        crc = (crc << 8) ^ c->table[0][((crc >> 24) ^ *p) & 255];
    return crc;
}

/* ----------------------------------------------------------------------------------------------------------- batch */

enum fault { FAULT_NONE, FAULT_HEADER, FAULT_DATA, FAULT_CONTENT };

struct batch {
    enum fault fault;
    uint64_t n;
    size_t header_end, end; /* offsets; end only when the header is good */
    uint64_t last_term, max_acked, first_term;
    bool out_of_order; /* an entry's acknowledged mark is not below its index */
};

static uint64_t le(const char *p, unsigned n)
{
    uint64_t v = 0;
    for (unsigned i = 0; i < n; i++)
        v |= (uint64_t)(unsigned char)p[i] << (8 * i);
    return v;
}

static bool header_valid(const char *p, uint64_t min_term)
{
    uint64_t term = le(p, 8), type = le(p + 8, 4), len = le(p + 12, 4);
    return term > 0 && term >= min_term && type >= TYPE_COMMAND && type <= TYPE_CHANGE && len > 0 && len % 8 == 0 &&
           len <= CMD_ENTRY_HARD_MAX;
}

/* The headers of the entries; false when one cannot be ours. */
static bool read_headers(const char *p, struct batch *b)
{
    size_t data = 0;
    b->last_term = 0;
    b->first_term = le(p, 8);
    for (uint64_t i = 0; i < b->n; i++, p += ENTRY_HEADER_LEN) {
        if (!header_valid(p, b->last_term))
            return false;
        b->last_term = le(p, 8);
        data += (size_t)le(p + 12, 4);
    }
    b->end = b->header_end + data;
    return true;
}

/* index 0: unknown, marks are only collected. */
static void read_marks(struct pr_slice file, size_t at, struct batch *b, uint64_t index)
{
    const char *header = file.ptr + at + SUMS_LEN + COUNT_LEN;
    size_t data = b->header_end;
    for (uint64_t i = 0; i < b->n; i++, header += ENTRY_HEADER_LEN) {
        size_t len = (size_t)le(header + 12, 4);
        if (le(header + 8, 4) == TYPE_COMMAND) {
            uint64_t acked = cmd_entry_acked(pr_slice(file.ptr + data, len));
            b->max_acked = PR_MAX(b->max_acked, acked);
            b->out_of_order = b->out_of_order || (index != 0 && acked >= index + i);
        }
        data += len;
    }
}

static void read_batch(const struct seglog_crc *crc, struct pr_slice file, size_t at, uint64_t index, struct batch *b)
{
    memset(b, 0, sizeof *b);
    b->fault = FAULT_HEADER;
    b->header_end = at + SUMS_LEN + COUNT_LEN;
    if (file.len - at < SUMS_LEN + COUNT_LEN)
        return;
    const char *p = file.ptr + at;
    b->n = le(p + SUMS_LEN, COUNT_LEN);
    if (b->n == 0 || b->n > ENTRIES_MAX)
        return;
    b->header_end += (size_t)b->n * ENTRY_HEADER_LEN;
    if (b->header_end > file.len)
        return;
    size_t header_len = b->header_end - at - SUMS_LEN;
    if (seglog_crc32(crc, pr_slice(p + SUMS_LEN, header_len), 0) != le(p, 4))
        return;
    b->fault = FAULT_CONTENT;
    if (!read_headers(p + SUMS_LEN + COUNT_LEN, b))
        return;
    b->fault = FAULT_DATA;
    if (b->end > file.len)
        return;
    if (seglog_crc32(crc, pr_slice(file.ptr + b->header_end, b->end - b->header_end), 0) != le(p + 4, 4))
        return;
    b->fault = FAULT_NONE;
    read_marks(file, at, b, index);
}

/* ------------------------------------------------------------------------------------------------ what went wrong? */

/* Offset behind the last byte that is not zero, at least `from`. Most of a file is zeros: by blocks first. */
static size_t last_used(struct pr_slice file, size_t from)
{
    static const char zeros[4096];
    size_t n = file.len;
    while (n >= from + sizeof zeros && memcmp(file.ptr + n - sizeof zeros, zeros, sizeof zeros) == 0)
        n -= sizeof zeros;
    while (n > from && file.ptr[n - 1] == 0)
        n--;
    return n;
}

/* A sector of [from, to) that holds only zeros from `from` on: it was never written. A few zero bytes at the end are
 * padding and prove nothing. */
static bool sector_missing(struct pr_slice file, size_t from, size_t to)
{
    enum { PADDING = 8 };
    for (size_t at = from; at < to;) {
        size_t end = PR_MIN((at / SECTOR + 1) * SECTOR, to);
        size_t i = at;
        while (i < end && file.ptr[i] == 0)
            i++;
        if (i == end && end - at > PADDING)
            return true;
        at = end;
    }
    return false;
}

/* The entry headers in the first sector look like ours: what stands there as their number can be believed. */
static bool plausible_start(struct pr_slice file, size_t at, size_t header_end)
{
    size_t end = PR_MIN((at / SECTOR + 1) * SECTOR, header_end);
    for (size_t p = at + SUMS_LEN + COUNT_LEN; p + ENTRY_HEADER_LEN <= end; p += ENTRY_HEADER_LEN)
        if (!header_valid(file.ptr + p, 0))
            return false;
    return true;
}

/* Does the checksum fail because a sector is missing? */
static bool looks_torn(struct pr_slice file, size_t at, const struct batch *b)
{
    switch (b->fault) {
    case FAULT_DATA:
        return b->end <= file.len && sector_missing(file, b->header_end, b->end);
    case FAULT_HEADER:
        /* The start is missing; or it is there, and says how long the header is, of which a part is missing. */
        return sector_missing(file, at, PR_MIN((at / SECTOR + 1) * SECTOR, file.len)) ||
               (b->n > 0 && b->n <= ENTRIES_MAX && b->header_end <= file.len &&
                plausible_start(file, at, b->header_end) && sector_missing(file, at, b->header_end));
    case FAULT_CONTENT:
    case FAULT_NONE:
        break;
    }
    return false;
}

/* Valid batches behind the bad one belong to the same write, unless their marks say that the bad one was
 * acknowledged. */
static bool acknowledged_later(const struct seglog_crc *crc, struct pr_slice file, size_t from, uint64_t bad_index)
{
    size_t end = last_used(file, from);
    for (size_t at = (from + 7) / 8 * 8; at + SUMS_LEN + COUNT_LEN < end;) {
        struct batch b;
        uint64_t n = le(file.ptr + at + SUMS_LEN, COUNT_LEN);
        if (n == 0 || n > ENTRIES_MAX) {
            at += 8;
            continue;
        }
        read_batch(crc, file, at, 0, &b);
        if (b.fault == FAULT_NONE && b.max_acked >= bad_index)
            return true;
        at = b.fault == FAULT_NONE ? b.end : at + 8;
    }
    return false;
}

static void judge(const struct seglog_crc *crc, struct pr_slice file, bool open, size_t at, const struct batch *b,
                  uint64_t index, struct seglog_scan *ret)
{
    ret->bad_at = at;
    ret->end = SEGLOG_DAMAGED;
    if (b->fault == FAULT_NONE) {
        ret->reason = "entries are missing before this one";
    } else if (b->fault == FAULT_CONTENT) {
        ret->reason = "an entry header is not valid";
    } else if (open ? file.len % ALLOCATION != 0 : b->header_end > file.len || b->end > file.len) {
        ret->reason = "the file is cut off";
    } else if (!looks_torn(file, at, b)) {
        ret->reason =
            b->fault == FAULT_DATA ? "the checksum of the data is wrong" : "the checksum of the header is wrong";
    } else if (acknowledged_later(crc, file, b->fault == FAULT_DATA ? b->end : at + 8, index)) {
        ret->reason = "a hole in front of entries that follow on acknowledged ones";
    } else {
        ret->end = SEGLOG_TORN;
        ret->reason = "the last write was not completed";
    }
}

/* --------------------------------------------------------------------------------------------------------- segment */

static void damaged(struct seglog_scan *ret, size_t at, const char *reason)
{
    ret->end = SEGLOG_DAMAGED;
    ret->bad_at = at;
    ret->reason = reason;
}

/* Format word. True when batches follow. */
static bool scan_start(struct pr_slice file, bool open, struct seglog_scan *ret)
{
    if (last_used(file, 0) == 0 && open) {
        ret->blank = true;
        return false;
    }
    if (file.len < FORMAT_LEN) {
        damaged(ret, 0, "the file is cut off");
        return false;
    }
    if (le(file.ptr, FORMAT_LEN) != 1) {
        /* The first write of a segment may be torn like any other. */
        bool torn = open && file.len % ALLOCATION == 0 && sector_missing(file, 0, SECTOR);
        damaged(ret, 0, torn ? "the first write was not completed" : "the format version is not 1");
        if (torn)
            ret->end = SEGLOG_TORN;
        return false;
    }
    ret->good_bytes = FORMAT_LEN;
    return true;
}

void seglog_scan(const struct seglog_crc *crc, struct pr_slice file, bool open, uint64_t first_index, uint64_t min_term,
                 struct seglog_scan *ret)
{
    memset(ret, 0, sizeof *ret);
    if (!scan_start(file, open, ret))
        return;
    ret->last_term = min_term;
    size_t used = last_used(file, FORMAT_LEN);
    while (ret->good_bytes < file.len) {
        size_t at = ret->good_bytes;
        if (open && at >= used) {
            if (file.len % ALLOCATION != 0)
                damaged(ret, at, "the file is cut off");
            break;
        }
        struct batch b;
        uint64_t index = first_index + ret->n_entries;
        read_batch(crc, file, at, index, &b);
        if (b.fault == FAULT_NONE && b.first_term < ret->last_term)
            b.fault = FAULT_CONTENT;
        if (b.fault != FAULT_NONE || b.out_of_order) {
            judge(crc, file, open, at, &b, index, ret);
            break;
        }
        ret->n_entries += b.n;
        ret->last_term = b.last_term;
        ret->good_bytes = b.end;
    }
    if (ret->n_entries == 0)
        ret->last_term = 0;
    if (!open && ret->end == SEGLOG_TORN) { /* a closed file was complete once */
        ret->end = SEGLOG_DAMAGED;
        ret->reason = "a part of the file is zeros";
    }
    if (!open && ret->end == SEGLOG_CLEAN && ret->n_entries == 0)
        damaged(ret, ret->good_bytes, "the file holds no entries");
}
