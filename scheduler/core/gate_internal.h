/* gate_internal.h - the nouns of the gate, shared by its files only.
 *
 * Invariants (gate_check_invariants asserts them):
 *   - charged(entry) >= max(slots, what an unacknowledged grant may still allow);
 *   - growth never makes the sum of charged exceed what the path allows; likewise for rates;
 *   - a holder of a path with a rate has a share of at least one. */
#ifndef SCHEDULER_CORE_GATE_INTERNAL_H
#define SCHEDULER_CORE_GATE_INTERNAL_H

#include "common/base/alloc.h"
#include "common/base/assert.h"
#include "common/base/list.h"
#include "common/base/map.h"
#include "common/base/rng.h"
#include "common/base/timerq.h"
#include "scheduler/core/gate.h"

enum {
    GATE_NAME_MAX = 512,
    GATE_WANTS_MAX = 65535,
    GATE_LEARN_EXTRA_MS = 1000,
    GATE_DEAD_FAILURES = 10,   /* at least so many without a success, and ... */
    GATE_DEAD_COHORT = 30,     /* ... one per allowed connection, at most this, or ... */
    GATE_DEAD_MS = 60 * 1000,  /* ... for so long */
    GATE_HIT_WINDOW_MS = 5000, /* failures are weighed against successes over this span */
    GATE_HIT_PERCENT = 5,
};

struct path {
    struct pr_slice destination, pool;
    char *key;
    uint32_t id;
    struct gate_limit limit;
    enum gate_state state;
    bool linear;              /* SLOW after a hit: +1 per cohort */
    bool flagged;             /* to be allocated at the end of the step */
    uint32_t window;          /* connections the state allows, <= limit */
    unsigned step;            /* of the suspension */
    struct pr_list entries;
    uint32_t n_entries;
    struct pr_list flag_link;
    struct pr_timer timer;    /* end of suspension or hold; else: to be forgotten */
    pr_mono used;
    uint32_t streak;          /* site failures without a success */
    pr_mono streak_since;
    uint32_t cohort_ok;
    uint32_t span_ok, span_failed;
    pr_mono span_since, throttled_at;
    uint16_t error_len;
    char error[GATE_ERROR_MAX];
};

/* What one lane holds of one path. */
struct entry {
    struct path *path;
    struct glane *lane;
    struct pr_list of_path, of_lane, out; /* out: to be granted */
    uint64_t seq;
    uint32_t slots, charged;
    uint32_t open, wants;
    uint64_t rate, rate_charged; /* share, in messages per the path's rate_per_ms */
    bool acked;
    uint32_t target; /* scratch of the allocation */
};

struct glane {
    struct pr_list link;
    uint64_t holder, boot_id;
    bool leased;    /* expires is running */
    bool full_seen; /* in this epoch */
    bool answer;
    uint64_t t_seq;
    pr_mono expires;
    struct pr_list entries, out;
};

struct gate {
    struct gate_config cfg;
    const struct gate_actions *act;
    void *data;
    struct pr_now now;
    uint32_t epoch;
    bool learning, in_step;
    pr_mono learn_until;
    uint64_t seq;
    struct pr_rng rng;
    struct pr_map paths, lanes, entries, members; /* members: still to be heard while learning */
    bool members_known;
    struct pr_list all_lanes, flagged;
    struct path **by_id;
    size_t n_ids, cap_ids, live_ids;
    uint32_t *free_ids;
    struct pr_timerq timers;
    struct entry **scratch;
    size_t cap_scratch;
};

/* gate_path.c */
struct path *path_find(const struct gate *g, struct pr_slice destination, struct pr_slice pool);
struct path *path_get(struct gate *g, struct pr_slice destination, struct pr_slice pool);
void path_destroy(struct gate *g, struct path *p);
void path_flag(struct gate *g, struct path *p);
void path_limit(struct gate *g, struct path *p);
uint32_t path_open(const struct path *p);
/* Connections allowed now, all lanes together. */
uint32_t path_allows(const struct path *p);

/* gate_state.c */
void path_move(struct gate *g, struct path *p, enum gate_state to, const char *reason, uint64_t for_ms);
void path_feedback(struct gate *g, struct path *p, uint32_t ok, uint32_t failures, struct pr_slice error);
void path_suspend(struct gate *g, struct path *p, const char *reason);
void path_timer(struct gate *g, struct path *p);
/* True if it was held back. */
bool path_flush(struct gate *g, struct path *p);

/* gate_alloc.c */
void path_allocate(struct gate *g, struct path *p);
void entry_push(struct entry *e);
/* Grants something else than before. */
void entry_set(struct gate *g, struct entry *e, uint32_t slots, uint64_t rate);
/* Connections that are worth their while for n jobs: limit x (1 - e^(-0.023 n)), rounded up, never more than n. */
uint32_t connections_for(uint32_t limit, uint64_t n);

#endif
