/* Record, little-endian: msg_id 8, attempt_id 8, term 8, group 4, shard 4, delivered 13, doubt 13, n_rcpts 1, version 1,
 * check 4. */
#include "deliverer/core/journal.h"

#include "common/base/buf.h"

enum { VERSION = 1, CHECK_AT = DLV_JOURNAL_RECORD - 4 };

void dlv_journal_mark(uint8_t bits[DLV_JOURNAL_BITS], size_t i, bool on)
{
    uint8_t bit = (uint8_t)(1u << (i % 8));
    if (on)
        bits[i / 8] |= bit;
    else
        bits[i / 8] &= (uint8_t)~bit;
}

bool dlv_journal_marked(const uint8_t bits[DLV_JOURNAL_BITS], size_t i)
{
    return (bits[i / 8] >> (i % 8) & 1) != 0;
}

static void put(uint8_t *out, uint64_t v, size_t n)
{
    for (size_t i = 0; i < n; i++)
        out[i] = (uint8_t)(v >> (8 * i));
}

static uint64_t get(const uint8_t *in, size_t n)
{
    uint64_t v = 0;
    for (size_t i = 0; i < n; i++)
        v |= (uint64_t)in[i] << (8 * i);
    return v;
}

static uint32_t check(const uint8_t *record)
{
    return (uint32_t)pr_hash(pr_slice(record, CHECK_AT), VERSION);
}

void dlv_journal_encode(const struct dlv_journal_record *r, uint8_t out[DLV_JOURNAL_RECORD])
{
    put(out, r->ref.msg_id, 8);
    put(out + 8, r->ref.attempt_id, 8);
    put(out + 16, r->term, 8);
    put(out + 24, r->ref.group, 4);
    put(out + 28, r->shard, 4);
    memcpy(out + 32, r->delivered, DLV_JOURNAL_BITS);
    memcpy(out + 45, r->doubt, DLV_JOURNAL_BITS);
    out[58] = r->n_rcpts;
    out[59] = VERSION;
    put(out + CHECK_AT, check(out), 4);
}

int dlv_journal_decode(const uint8_t in[DLV_JOURNAL_RECORD], struct dlv_journal_record *ret)
{
    static const uint8_t empty[DLV_JOURNAL_RECORD];
    if (memcmp(in, empty, sizeof empty) == 0)
        return PR_ENOTFOUND;
    if (in[59] != VERSION || in[58] > DLV_RCPTS_MAX || get(in + CHECK_AT, 4) != check(in))
        return PR_ECORRUPT;
    *ret = (struct dlv_journal_record){
        .ref = {.msg_id = get(in, 8), .attempt_id = get(in + 8, 8), .group = (uint32_t)get(in + 24, 4)},
        .term = get(in + 16, 8),
        .shard = (uint32_t)get(in + 28, 4),
        .n_rcpts = in[58],
    };
    memcpy(ret->delivered, in + 32, DLV_JOURNAL_BITS);
    memcpy(ret->doubt, in + 45, DLV_JOURNAL_BITS);
    return 0;
}

enum mail_outcome dlv_journal_outcome(const struct dlv_journal_record *r, size_t i)
{
    if (dlv_journal_marked(r->delivered, i))
        return MAIL_OUTCOME_DELIVERED;
    return dlv_journal_marked(r->doubt, i) ? MAIL_OUTCOME_UNKNOWN : MAIL_OUTCOME_ABORTED;
}
