/* gcra.h - rate limiting by the generic cell rate algorithm: one theoretical arrival time, no timer.
 *
 * A new or changed rate starts with an empty bucket, so that re-granting a share never allows a burst.
 * A zeroed struct is "unlimited". */
#ifndef DLV_GCRA_H
#define DLV_GCRA_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/clock.h"

struct dlv_gcra {
    uint64_t count, per_ms; /* count 0: unlimited */
    uint64_t interval_us;   /* between two */
    uint64_t tolerance_us;  /* how far one may run ahead: makes up for late timers, bounds the burst */
    uint64_t tat_us;        /* theoretical arrival time of the next */
};

enum { DLV_GCRA_BURST_US = 20000 };

/* No change of rate, no effect. */
void dlv_gcra_set(struct dlv_gcra *g, uint64_t count, uint64_t per_ms, pr_mono now);
/* True and counted when one may go now. */
bool dlv_gcra_take(struct dlv_gcra *g, pr_mono now);
/* The earliest time one may go; now or earlier: at once. */
pr_mono dlv_gcra_next(const struct dlv_gcra *g);
/* How many may go within the next span_ms, at least 0; SIZE-less rates give UINT32_MAX. */
uint32_t dlv_gcra_within(const struct dlv_gcra *g, pr_mono now, uint64_t span_ms);

#endif
