/* timerq.h - hierarchical timer wheel over intrusive nodes; add, move and cancel are O(1).
 *
 * Owns: nothing. Thread: one at a time. Granularity 1 ms; a timer never fires early.
 * Told the time; works for monotonic and for wall milliseconds (pick one per queue). Time going backwards is ignored. */
#ifndef PR_BASE_TIMERQ_H
#define PR_BASE_TIMERQ_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/list.h"

struct pr_timer {
    struct pr_list link;
    uint64_t due_ms;
};

enum { PR_TIMERQ_LEVELS = 8, PR_TIMERQ_SLOTS = 64 };

struct pr_timerq {
    uint64_t now_ms;
    size_t count;
    uint64_t occupied[PR_TIMERQ_LEVELS]; /* bit per slot: may hold timers */
    struct pr_list slots[PR_TIMERQ_LEVELS][PR_TIMERQ_SLOTS];
    struct pr_list expired;
};

void pr_timerq_init(struct pr_timerq *q, uint64_t now_ms);
void pr_timer_init(struct pr_timer *t);
bool pr_timer_armed(const struct pr_timer *t);
/* Arms t, moving it if it is armed already. A due time in the past fires at the next pop. */
void pr_timerq_set(struct pr_timerq *q, struct pr_timer *t, uint64_t due_ms);
/* Idempotent. */
void pr_timerq_cancel(struct pr_timerq *q, struct pr_timer *t);
/* Next expired timer at now_ms (disarmed), or NULL. Call until NULL. */
struct pr_timer *pr_timerq_pop(struct pr_timerq *q, uint64_t now_ms);
/* A time by which pop should be called: never later than the first due time, possibly earlier; UINT64_MAX when empty. */
uint64_t pr_timerq_next(const struct pr_timerq *q);

#endif
