/* Bus frames: the first two bytes give the header's length, the rest is header and payload. What decodes must encode
 * again and decode to the same bytes. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "common/wire/messages.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    size_t n = (size_t)(data[0] | data[1] << 8);
    if (n > size - 2)
        n = size - 2;
    struct pr_slice header = pr_slice(data + 2, n), payload = pr_slice(data + 2 + n, size - 2 - n);
    struct pr_arena arena = {0};
    struct wire_msg m, again;
    if (wire_decode(header, payload, &arena, &m) == 0) {
        struct pr_buf h1 = {0}, p1 = {0}, h2 = {0}, p2 = {0};
        wire_encode(&m, &h1, &p1);
        if (wire_decode(pr_buf_slice(&h1), pr_buf_slice(&p1), &arena, &again) != 0)
            abort();
        wire_encode(&again, &h2, &p2);
        if (!pr_slice_eq(pr_buf_slice(&h1), pr_buf_slice(&h2)) || !pr_slice_eq(pr_buf_slice(&p1), pr_buf_slice(&p2)))
            abort();
        pr_buf_fini(&h1);
        pr_buf_fini(&p1);
        pr_buf_fini(&h2);
        pr_buf_fini(&p2);
    }
    pr_arena_fini(&arena);
    return 0;
}
