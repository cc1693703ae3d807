#include "ingress/core/pick.h"

static bool admits(const struct ing_shard_view *v)
{
    return v->leader && v->admission < ING_ADMISSION_REFUSE;
}

static bool has_window(const struct ing_shard_view *v, uint64_t bytes)
{
    return admits(v) && v->waiting < v->window_left && v->window_left - v->waiting >= bytes;
}

/* The nth candidate. */
static size_t nth(const struct ing_shard_view *v, size_t n, uint64_t bytes, bool windowed, uint64_t which)
{
    size_t i = 0;
    for (; i < n; i++)
        if ((windowed ? has_window(&v[i], bytes) : admits(&v[i])) && which-- == 0)
            break;
    return i;
}

static bool better(const struct ing_shard_view *a, const struct ing_shard_view *b)
{
    if (a->admission != b->admission)
        return a->admission < b->admission;
    if (a->queued != b->queued)
        return a->queued < b->queued;
    return a->waiting < b->waiting;
}

size_t ing_pick_shard(const struct ing_shard_view *v, size_t n, uint64_t bytes, struct pr_rng *rng)
{
    uint64_t windowed = 0, open = 0;
    for (size_t i = 0; i < n; i++) {
        open += admits(&v[i]);
        windowed += has_window(&v[i], bytes);
    }
    uint64_t candidates = windowed > 0 ? windowed : open;
    if (candidates == 0)
        return SIZE_MAX;
    uint64_t first = pr_rng_below(rng, candidates);
    size_t a = nth(v, n, bytes, windowed > 0, first);
    if (candidates == 1)
        return a;
    /* Another one, each with the same chance. */
    uint64_t second = (first + 1 + pr_rng_below(rng, candidates - 1)) % candidates;
    size_t b = nth(v, n, bytes, windowed > 0, second);
    return better(&v[b], &v[a]) ? b : a;
}

enum ing_intake ing_intake(const struct ing_shard_view *v, size_t n)
{
    bool leader = false, refuses = false;
    for (size_t i = 0; i < n; i++) {
        if (admits(&v[i]))
            return ING_INTAKE_OPEN;
        leader |= v[i].leader;
        refuses |= v[i].leader && v[i].admission < ING_ADMISSION_DISK_FULL;
    }
    if (!leader)
        return ING_INTAKE_NO_LEADER;
    return refuses ? ING_INTAKE_REFUSED : ING_INTAKE_DISK_FULL;
}
