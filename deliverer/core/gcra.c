#include "deliverer/core/gcra.h"

static uint64_t now_us(pr_mono now)
{
    return now.ms * 1000;
}

void dlv_gcra_set(struct dlv_gcra *g, uint64_t count, uint64_t per_ms, pr_mono now)
{
    if (g->count == count && g->per_ms == per_ms)
        return;
    *g = (struct dlv_gcra){.count = count, .per_ms = per_ms};
    if (count == 0)
        return;
    /* Rounded up: never faster than granted. */
    g->interval_us = per_ms > UINT64_MAX / 1000 ? UINT64_MAX / 2 : (per_ms * 1000 + count - 1) / count;
    if (g->interval_us == 0)
        g->interval_us = 1;
    g->tolerance_us = g->interval_us < DLV_GCRA_BURST_US ? DLV_GCRA_BURST_US : 0;
    g->tat_us = now_us(now) + g->tolerance_us;
}

bool dlv_gcra_take(struct dlv_gcra *g, pr_mono now)
{
    if (g->count == 0)
        return true;
    uint64_t t = now_us(now);
    if (g->tat_us > t + g->tolerance_us)
        return false;
    g->tat_us = (g->tat_us > t ? g->tat_us : t) + g->interval_us;
    return true;
}

pr_mono dlv_gcra_next(const struct dlv_gcra *g)
{
    if (g->count == 0 || g->tat_us <= g->tolerance_us)
        return (pr_mono){0};
    return (pr_mono){(g->tat_us - g->tolerance_us + 999) / 1000};
}

uint32_t dlv_gcra_within(const struct dlv_gcra *g, pr_mono now, uint64_t span_ms)
{
    if (g->count == 0)
        return UINT32_MAX;
    uint64_t end = now_us(now) + span_ms * 1000 + g->tolerance_us;
    uint64_t from = g->tat_us > now_us(now) ? g->tat_us : now_us(now);
    if (from > end)
        return 0;
    uint64_t n = (end - from) / g->interval_us + 1;
    return n > UINT32_MAX ? UINT32_MAX : (uint32_t)n;
}
