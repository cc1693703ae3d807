/* fsm_dedup.c - the window of enqueue tokens.
 *
 * Open addressing with linear probing over positions of a ring; tokens are random, so their first bytes are the hash.
 * Removal shifts later entries of the probe sequence back, so there are no tombstones. */
#include "common/base/alloc.h"
#include "common/base/assert.h"
#include "common/cluster/fsm_internal.h"

void dedup_fini(struct dedup *d)
{
    pr_free(d->ring);
    pr_free(d->slots);
    memset(d, 0, sizeof *d);
}

static struct dedup_entry *at(const struct dedup *d, uint64_t position)
{
    return &d->ring[position & (d->cap - 1)];
}

static uint32_t slot_mask(const struct dedup *d)
{
    return d->cap * 2 - 1;
}

static uint32_t home(const struct dedup *d, const struct cmd_token *token)
{
    uint64_t h;
    memcpy(&h, token->bytes, sizeof h);
    return (uint32_t)pr_hash_u64(h) & slot_mask(d);
}

static struct dedup_entry *entry_of(const struct dedup *d, uint32_t slot)
{
    return &d->ring[d->slots[slot] - 1];
}

static bool same(const struct cmd_token *a, const struct cmd_token *b)
{
    return memcmp(a->bytes, b->bytes, sizeof a->bytes) == 0;
}

/* Slot of the token, or the empty one where it belongs. */
static uint32_t probe(const struct dedup *d, const struct cmd_token *token)
{
    uint32_t i = home(d, token);
    while (d->slots[i] != 0 && !same(&entry_of(d, i)->token, token))
        i = (i + 1) & slot_mask(d);
    return i;
}

uint64_t dedup_find(const struct dedup *d, const struct cmd_token *token)
{
    if (d->cap == 0)
        return 0;
    uint32_t i = probe(d, token);
    return d->slots[i] == 0 ? 0 : entry_of(d, i)->msg_id;
}

static void index_entry(struct dedup *d, uint64_t position)
{
    uint32_t i = probe(d, &at(d, position)->token);
    pr_assert(d->slots[i] == 0);
    d->slots[i] = (uint32_t)(position & (d->cap - 1)) + 1;
}

static void unindex(struct dedup *d, const struct cmd_token *token)
{
    uint32_t hole = probe(d, token);
    pr_assert(d->slots[hole] != 0);
    uint32_t mask = slot_mask(d);
    for (uint32_t i = (hole + 1) & mask; d->slots[i] != 0; i = (i + 1) & mask) {
        uint32_t want = home(d, &entry_of(d, i)->token);
        /* Move i into the hole unless its home lies cyclically in (hole, i]. */
        if (((i - want) & mask) >= ((i - hole) & mask)) {
            d->slots[hole] = d->slots[i];
            hole = i;
        }
    }
    d->slots[hole] = 0;
}

static void grow(struct dedup *d)
{
    struct dedup old = *d;
    d->cap = old.cap == 0 ? 256 : old.cap * 2;
    d->ring = pr_calloc(d->cap, sizeof *d->ring);
    d->slots = pr_calloc((size_t)d->cap * 2, sizeof *d->slots);
    for (uint64_t p = old.first; p < old.end; p++) {
        *at(d, p) = *at(&old, p);
        index_entry(d, p);
    }
    pr_free(old.ring);
    pr_free(old.slots);
}

static void drop_first(struct dedup *d)
{
    unindex(d, &at(d, d->first)->token);
    d->first++;
}

void dedup_add(struct dedup *d, const struct dedup_entry *e)
{
    if (d->end - d->first == FSM_DEDUP_MAX)
        drop_first(d);
    if (d->end - d->first == d->cap)
        grow(d);
    *at(d, d->end) = *e;
    index_entry(d, d->end);
    d->end++;
}

void dedup_expire(struct dedup *d, uint64_t ms)
{
    while (d->first < d->end && at(d, d->first)->ms + FSM_DEDUP_MS < ms)
        drop_first(d);
}

uint64_t dedup_oldest(const struct dedup *d, uint64_t none)
{
    return d->first < d->end ? at(d, d->first)->index : none;
}
