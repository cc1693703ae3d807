/* budget.h - the process's one budget of memory held for clients' messages. New messages may fill three quarters of it; the
 * rest lets those under way end, so that they cannot block each other for ever.
 *
 * Thread: any (atomics). Errors: false when it is spent. */
#ifndef PR_INGRESS_SHELL_BUDGET_H
#define PR_INGRESS_SHELL_BUDGET_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct budget {
    _Atomic uint64_t used, limit;
};

static inline uint64_t budget_used(const struct budget *b)
{
    return atomic_load_explicit(&b->used, memory_order_relaxed);
}

static inline void budget_set_limit(struct budget *b, uint64_t limit)
{
    atomic_store_explicit(&b->limit, limit, memory_order_relaxed);
}

/* What a new message, or one under way, may use in all. */
static inline uint64_t budget_ceiling(const struct budget *b, bool under_way)
{
    uint64_t limit = atomic_load_explicit(&b->limit, memory_order_relaxed);
    return under_way ? limit : limit / 4 * 3;
}

static inline bool budget_full(const struct budget *b)
{
    return budget_used(b) >= budget_ceiling(b, false);
}

static inline bool budget_take(struct budget *b, size_t bytes, bool under_way)
{
    uint64_t used = atomic_fetch_add_explicit(&b->used, bytes, memory_order_relaxed) + bytes;
    if (used <= budget_ceiling(b, under_way))
        return true;
    atomic_fetch_sub_explicit(&b->used, bytes, memory_order_relaxed);
    return false;
}

/* For memory that exists already and only changes hands. */
static inline void budget_force(struct budget *b, size_t bytes)
{
    atomic_fetch_add_explicit(&b->used, bytes, memory_order_relaxed);
}

static inline void budget_give(struct budget *b, size_t bytes)
{
    atomic_fetch_sub_explicit(&b->used, bytes, memory_order_relaxed);
}

#endif
