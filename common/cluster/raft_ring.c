/* raft_ring.c - sizes and terms of the entries libraft holds: it tells neither. */
#include "common/base/alloc.h"
#include "common/base/assert.h"
#include "common/cluster/raft_internal.h"

void log_ring_fini(struct log_ring *r)
{
    pr_free(r->slots);
    *r = (struct log_ring){0};
}

static struct log_slot *slot(const struct log_ring *r, uint64_t index)
{
    return &r->slots[index & (r->cap - 1)];
}

void log_ring_reset(struct log_ring *r, uint64_t next)
{
    r->first = r->next = next;
    r->bytes = 0;
}

static void grow(struct log_ring *r)
{
    struct log_ring old = *r;
    r->cap = old.cap == 0 ? 1024 : old.cap * 2;
    r->slots = pr_calloc(r->cap, sizeof *r->slots);
    for (uint64_t i = r->first; i < r->next; i++)
        *slot(r, i) = *slot(&old, i);
    pr_free(old.slots);
}

void log_ring_push(struct log_ring *r, uint32_t bytes, uint64_t term)
{
    if (r->next - r->first == r->cap)
        grow(r);
    *slot(r, r->next) = (struct log_slot){.bytes = bytes, .term = term};
    r->next++;
    r->bytes += bytes;
}

void log_ring_truncate(struct log_ring *r, uint64_t index)
{
    if (index < r->first)
        log_ring_reset(r, index);
    while (r->next > index)
        r->bytes -= slot(r, --r->next)->bytes;
}

void log_ring_trim(struct log_ring *r, uint64_t index)
{
    while (r->first < index && r->first < r->next)
        r->bytes -= slot(r, r->first++)->bytes;
}

uint64_t log_ring_term(const struct log_ring *r, uint64_t index)
{
    return index >= r->first && index < r->next ? slot(r, index)->term : 0;
}

uint64_t log_ring_worth(const struct log_ring *r, uint64_t bytes)
{
    uint64_t n = 0, sum = 0;
    for (uint64_t i = r->next; i > r->first; i--) {
        sum += slot(r, i - 1)->bytes;
        if (sum > bytes)
            break;
        n++;
    }
    return n == 0 ? 1 : n;
}
