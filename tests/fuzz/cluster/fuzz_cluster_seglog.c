/* The reader of segment files: any bytes, as an open and as a closed segment. The first byte of the input chooses how
 * many zeros follow, so that short inputs can be whole segments. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "common/base/alloc.h"
#include "common/cluster/seglog.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const struct seglog_crc *crc, struct pr_slice file, bool open)
{
    struct seglog_scan s;
    seglog_scan(crc, file, open, 1, 0, &s);
    if (s.good_bytes > file.len || s.bad_at > file.len)
        abort();
    if (s.end != SEGLOG_CLEAN && s.reason == NULL)
        abort();
    if (!open && s.end == SEGLOG_TORN)
        abort();
    /* What was called good stays good when the rest is cut off. */
    if (s.n_entries > 0) {
        struct seglog_scan again;
        seglog_scan(crc, pr_slice_head(file, s.good_bytes), false, 1, 0, &again);
        if (again.end != SEGLOG_CLEAN || again.n_entries != s.n_entries || again.last_term != s.last_term)
            abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    enum { UNIT = 1024 * 1024 };
    if (size == 0 || size > UNIT)
        return 0;
    struct seglog_crc *crc = pr_new(struct seglog_crc);
    seglog_crc_init(crc);
    size_t len = data[0] % 2 == 0 ? size - 1 : UNIT;
    char *file = pr_calloc(1, len == 0 ? 1 : len);
    memcpy(file, data + 1, size - 1 < len ? size - 1 : len);
    check(crc, pr_slice(file, len), true);
    check(crc, pr_slice(file, len), false);
    pr_free(file);
    pr_free(crc);
    return 0;
}
