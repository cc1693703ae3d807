/* Queue ids as people see them: 80 bits (shard 16, message 64) in 16 digits of Crockford's base32. Parsing takes either
 * case and reads I, L as 1 and O as 0, as Crockford asks. */
#include "common/base/alloc.h"
#include "common/wire/messages.h"

static const char digits[] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";

void wire_queue_id_format(uint32_t shard, uint64_t msg_id, char out[WIRE_QUEUE_ID_LEN + 1])
{
    __uint128_t v = (__uint128_t)(shard & UINT16_MAX) << 64 | msg_id;
    for (int i = WIRE_QUEUE_ID_LEN - 1; i >= 0; i--) {
        out[i] = digits[(unsigned)(v & 31)];
        v >>= 5;
    }
    out[WIRE_QUEUE_ID_LEN] = '\0';
}

static int digit_value(char c)
{
    c = pr_upper(c);
    if (c == 'I' || c == 'L')
        c = '1';
    if (c == 'O')
        c = '0';
    for (int i = 0; i < 32; i++)
        if (digits[i] == c)
            return i;
    return -1;
}

int wire_queue_id_parse(struct pr_slice text, uint32_t *ret_shard, uint64_t *ret_msg_id)
{
    __uint128_t v = 0;
    if (text.len != WIRE_QUEUE_ID_LEN)
        return PR_EPARSE;
    for (size_t i = 0; i < text.len; i++) {
        int d = digit_value(text.ptr[i]);
        if (d < 0)
            return PR_EPARSE;
        v = v << 5 | (unsigned)d;
    }
    if ((uint64_t)v == 0)
        return PR_EPARSE;
    *ret_shard = (uint32_t)(v >> 64);
    *ret_msg_id = (uint64_t)v;
    return 0;
}
