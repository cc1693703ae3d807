/* The decoder of log entries: any bytes; what is accepted encodes to the same bytes again, and applies. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "common/base/alloc.h"
#include "common/cluster/fsm.h"
#include "common/store/kv_mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Everything is within the limits of the encoder, so encoding cannot fail. */
static void encode_again(struct cmd_batch *b, const struct cmd *c)
{
    if (cmd_batch_add(b, c) != 0)
        abort();
}

static bool decode(struct pr_slice entry, struct cmd_batch *again)
{
    struct cmd_reader r;
    struct pr_arena arena = {0};
    int err = cmd_reader_init(&r, entry);
    for (bool more = true; err == 0 && more;) {
        struct cmd c;
        err = cmd_reader_next(&r, &arena, &c, &more);
        if (err == 0 && more && entry.len + 16 < CMD_ENTRY_HARD_MAX)
            encode_again(again, &c);
    }
    pr_arena_fini(&arena);
    return err == 0;
}

static void apply(struct pr_slice entry)
{
    struct kv *kv = kv_mem_new();
    struct fsm *fsm = NULL;
    struct pr_buf text = {0};
    struct fsm_effects effects = {0};
    if (fsm_open(kv, &fsm, &text) != 0)
        abort();
    for (uint64_t index = 1; index <= 2; index++) /* the second time on what the first left */
        if (fsm_apply(fsm, index, 1, entry, &effects) != 0)
            abort();
    if (fsm_spill(fsm) != 0 || kv_mem_violations(kv) != 0)
        abort();
    fsm_effects_fini(&effects);
    fsm_free(fsm);
    kv_close(kv);
    pr_buf_fini(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct cmd_batch again = {0};
    struct pr_slice entry = pr_slice(data, size);
    if (decode(entry, &again)) {
        if (again.count > 0) {
            size_t body = again.buf.len;
            (void)cmd_batch_finish(&again, (pr_wall){0});
            /* Behind the header (24 bytes) nothing may differ but padding, which may be longer or shorter. */
            if (body > size || memcmp(again.buf.ptr + 24, data + 24, body - 24) != 0)
                abort();
        }
        apply(entry);
    }
    pr_buf_fini(&again.buf);
    return 0;
}
