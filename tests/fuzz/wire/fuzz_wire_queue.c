/* Stored envelopes, recipient groups and queue ids. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "common/wire/messages.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct pr_arena arena = {0};
    struct pr_slice in = pr_slice(data, size);
    struct mail_envelope e;
    struct mail_group g;
    struct pr_buf b = {0};
    if (wire_envelope_decode(in, &arena, &e) == 0) {
        wire_envelope_encode(&e, &b);
        if (wire_envelope_decode(pr_buf_slice(&b), &arena, &e) != 0)
            abort();
    }
    pr_buf_clear(&b);
    if (wire_group_decode(in, &arena, &g) == 0) {
        wire_group_encode(&g, &b);
        if (wire_group_decode(pr_buf_slice(&b), &arena, &g) != 0)
            abort();
    }
    uint32_t shard;
    uint64_t id;
    char text[WIRE_QUEUE_ID_LEN + 1];
    if (wire_queue_id_parse(in, &shard, &id) == 0)
        wire_queue_id_format(shard, id, text);
    pr_buf_fini(&b);
    pr_arena_fini(&arena);
    return 0;
}
