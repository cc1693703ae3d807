/* Who gets how many connections of a path.
 *
 *   0. The goal is what is worth its while for the jobs there are (few jobs do not open a connection each), within what
 *      the state of the path allows.
 *   1. Holders: those who hold most come first (sticky); as few as ceil(allowed / holder_slots), more only if these want
 *      less than there is. A path with a rate has no more holders than messages in its rate, so that each share is whole.
 *   2. Among the holders max-min fair, in whole connections.
 *   3. Lower what is too much, but only if somebody needs it (or nobody is allowed it, or the lane wants nothing): slots
 *      that nobody misses stay. What was lowered counts as held until the lane has acknowledged the lower grant.
 *   4. Raise the others as far as the sum of what counts as held stays within what is allowed; the rest follows when
 *      acknowledgements come in or leases end. While learning nothing is raised. */
#include <string.h>

#include "scheduler/core/gate_internal.h"

void entry_push(struct entry *e)
{
    if (!pr_list_linked(&e->out))
        pr_list_push_back(&e->lane->out, &e->out);
}

void entry_set(struct gate *g, struct entry *e, uint32_t slots, uint64_t rate)
{
    if (slots == e->slots && rate == e->rate)
        return;
    e->slots = slots;
    e->rate = rate;
    e->seq = (uint64_t)g->epoch << 32 | ++g->seq;
    e->acked = false;
    if (e->charged < slots)
        e->charged = slots;
    if (e->rate_charged < rate)
        e->rate_charged = rate;
    entry_push(e);
}

uint32_t connections_for(uint32_t limit, uint64_t n)
{
    /* e^-0.023 in 32 bits of fraction, to the power of n by squaring. */
    uint64_t base = 4197310407, left = 1ULL << 32;
    if (n > 1000)
        return limit;
    for (uint64_t k = n; k > 0; k >>= 1) {
        if (k & 1)
            left = left * base >> 32;
        base = base * base >> 32;
    }
    uint64_t wanted = limit - (limit * left >> 32);
    wanted = wanted < n ? wanted : n;
    return (uint32_t)(wanted == 0 && n > 0 ? 1 : wanted);
}

/* Holding entries first, the largest first; then by holder id, so that the order is the same for the same state. */
static bool before(const struct entry *a, const struct entry *b)
{
    if (a->slots != b->slots)
        return a->slots > b->slots;
    if (a->charged != b->charged)
        return a->charged > b->charged;
    return a->lane->holder < b->lane->holder;
}

static size_t collect(struct gate *g, struct path *p)
{
    struct pr_list *it, *tmp;
    size_t n = 0;
    if (g->cap_scratch < p->n_entries) {
        g->cap_scratch = (size_t)p->n_entries * 2;
        g->scratch = pr_realloc(g->scratch, g->cap_scratch * sizeof *g->scratch);
    }
    pr_list_foreach(it, tmp, &p->entries) {
        struct entry *e = pr_list_entry(it, struct entry, of_path);
        size_t i = n++;
        e->target = 0;
        for (; i > 0 && before(e, g->scratch[i - 1]); i--)
            g->scratch[i] = g->scratch[i - 1];
        g->scratch[i] = e;
    }
    return n;
}

static uint32_t goal_of(const struct gate *g, const struct path *p, size_t n)
{
    uint32_t allowed = path_allows(p);
    uint64_t jobs = 0;
    for (size_t i = 0; i < n; i++)
        jobs += g->scratch[i]->wants;
    uint32_t wanted = connections_for(p->limit.connections, jobs);
    return wanted < allowed ? wanted : allowed;
}

/* Chooses holders among the n entries in scratch and moves them to the front; returns how many. */
static size_t choose(struct gate *g, const struct path *p, size_t n, uint32_t goal)
{
    size_t few = (goal + g->cfg.holder_slots - 1) / g->cfg.holder_slots, chosen = 0;
    uint64_t most = p->limit.rate_count != 0 && p->limit.rate_count < goal ? p->limit.rate_count : goal;
    uint64_t wanted = 0;
    for (size_t i = 0; i < n && chosen < most; i++) {
        struct entry *e = g->scratch[i];
        if (e->wants == 0 || (chosen >= few && wanted >= goal))
            continue;
        memmove(&g->scratch[chosen + 1], &g->scratch[chosen], (i - chosen) * sizeof *g->scratch);
        g->scratch[chosen++] = e;
        wanted += e->wants;
    }
    return chosen;
}

/* Fills up equally, one level at a time, until nothing is left or all have what they want. */
static void share(struct gate *g, size_t holders, uint32_t goal)
{
    size_t hungry = holders;
    while (goal > 0 && hungry > 0) {
        uint32_t each = goal / (uint32_t)hungry;
        if (each == 0)
            each = 1;
        hungry = 0;
        for (size_t i = 0; i < holders && goal > 0; i++) {
            struct entry *e = g->scratch[i];
            uint32_t give = e->wants - e->target;
            give = give < each ? give : each;
            give = give < goal ? give : goal;
            e->target += give;
            goal -= give;
            hungry += e->target < e->wants;
        }
    }
}

static uint64_t rate_share(const struct path *p, size_t holders, size_t i)
{
    if (p->limit.rate_count == 0)
        return 0;
    return p->limit.rate_count / holders + (i < p->limit.rate_count % holders);
}

static void lower(struct gate *g, const struct path *p, size_t n, size_t holders)
{
    uint64_t needed = 0; /* if nobody gave up what he has */
    for (size_t i = 0; i < n; i++)
        if (g->scratch[i]->wants > 0)
            needed += g->scratch[i]->slots > g->scratch[i]->target ? g->scratch[i]->slots : g->scratch[i]->target;
    bool scarce = needed > path_allows(p);
    for (size_t i = 0; i < n; i++) {
        struct entry *e = g->scratch[i];
        bool holder = i < holders;
        uint64_t rate = holder ? rate_share(p, holders, i) : 0;
        uint32_t slots = e->slots;
        if (slots > e->target && (scarce || e->wants == 0 || (!holder && p->limit.rate_count != 0)))
            slots = e->target;
        /* A rate of 0 is no limit, more than any share. */
        if (slots == 0)
            entry_set(g, e, 0, 0);
        else
            entry_set(g, e, slots, e->rate == 0 || rate < e->rate ? rate : e->rate);
    }
}

/* How far the value of e may go: its target, or what the charges of all leave. */
static uint64_t room(uint64_t target, uint64_t charged, uint64_t sum, uint64_t limit)
{
    uint64_t others = sum - charged, left = limit > others ? limit - others : 0;
    uint64_t may = left > charged ? left : charged;
    return target < may ? target : may;
}

static void raise(struct gate *g, const struct path *p, size_t n, size_t holders)
{
    uint32_t allowed = path_allows(p);
    uint64_t charged = 0, rates = 0;
    for (size_t i = 0; i < n; i++) {
        charged += g->scratch[i]->charged;
        rates += g->scratch[i]->rate_charged;
    }
    for (size_t i = 0; i < holders; i++) {
        struct entry *e = g->scratch[i];
        uint32_t slots = e->slots;
        uint64_t rate = e->rate;
        if (slots < e->target) {
            uint32_t may = (uint32_t)room(e->target, e->charged, charged, allowed);
            slots = may > slots ? may : slots;
        }
        if (p->limit.rate_count != 0) {
            uint64_t may = room(rate_share(p, holders, i), e->rate_charged, rates, p->limit.rate_count);
            rate = may > rate ? may : rate;
            if (rate == 0)
                slots = 0; /* 0 would mean no limit: wait for a share */
        }
        charged -= e->charged;
        rates -= e->rate_charged;
        entry_set(g, e, slots, slots == 0 ? 0 : rate);
        charged += e->charged;
        rates += e->rate_charged;
    }
}

void path_allocate(struct gate *g, struct path *p)
{
    size_t n = collect(g, p);
    uint32_t goal = goal_of(g, p, n);
    size_t holders = choose(g, p, n, goal);
    share(g, holders, goal);
    lower(g, p, n, holders);
    if (!g->learning)
        raise(g, p, n, holders);
}
