/* gate.h - limits of destinations that hold for the whole cluster: connections and rates are leased to lanes (a lane is a
 * loop thread of a deliverer), so that what all of them hold together never exceeds the limit, also through crashes and
 * partitions. A path is destination x pool. The rules in words: scheduler/DESIGN.md.
 *
 * What a lane does (the other half of the contract):
 *   - it opens a connection iff open < slots and now < (time it sent the last request that was answered for this path) +
 *     ttl - margin; past that it starts no transaction, and all but those waiting for the reply to a final dot end within
 *     hold_ms;
 *   - it states `open` and acknowledges a grant (acked_seq) only when open <= the grant's slots, and never opens more;
 *     acked_seq is 0 as long as its process was never granted anything for the path;
 *   - a grant of an epoch below the highest seen is ignored; one with a lower seq for a path than the last is ignored
 *     (within an epoch and from epoch to epoch they only grow);
 *   - when it sees a new epoch it sends its whole table, in one or more requests, the last of them or any later one marked
 *     full if it holds everything;
 *   - wants counts the jobs it could run at once: what it holds and what the shards told it of; the gate makes connections
 *     of that;
 *   - it sends a request every second or so, and soon (some 100 ms) when it has news: another want, an acknowledgement of
 *     fewer slots, failures.
 *
 * Soft state: the gate writes nothing. One gate per process today; paths are independent of each other, so they can be
 * spread over gates by hash of the destination.
 *
 * Owns: everything it allocates. Borrows: slices until the call returns. Thread: one. Reentrancy: actions are called from
 * within an event and must not call back. */
#ifndef SCHEDULER_CORE_GATE_H
#define SCHEDULER_CORE_GATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/clock.h"
#include "common/base/err.h"
#include "common/base/slice.h"

enum { GATE_GRANT_BATCH = 64, GATE_ERROR_MAX = 200 };

/* NORMAL -> THROTTLED -> SUSPENDED -> PROBE -> SLOW -> NORMAL; see DESIGN.md. */
enum gate_state { GATE_NORMAL, GATE_THROTTLED, GATE_SUSPENDED, GATE_PROBE, GATE_SLOW, GATE_STATE_NR };
extern const char *const gate_state_names[GATE_STATE_NR];

struct gate_config {
    uint64_t lease_ms; /* L: ttl of a grant, from the time the lane sent its request */
    uint64_t hold_ms;  /* H: a lane's connections are gone so long after its deadline */
    unsigned holder_slots; /* a path is spread over at most ceil(limit / holder_slots) lanes */
    uint64_t throttle_hold_ms, throttle_step_ms;
    uint64_t suspend_first_ms, suspend_last_ms; /* doubled in between, each x U(0.75, 1.25) */
    uint64_t forget_ms; /* a path nobody asks for */
    uint64_t seed;
};
void gate_config_default(struct gate_config *c);

struct gate_limit {
    uint32_t connections; /* >= 1 */
    uint32_t messages_per_connection;
    uint32_t recipients_per_message;
    uint64_t rate_count, rate_per_ms; /* rate_count 0: unlimited */
};

/* What a lane may use of a path from now on. */
struct gate_slot {
    struct pr_slice destination, pool;
    uint64_t seq;
    uint32_t slots;
    uint32_t messages_per_connection, recipients_per_message;
    uint64_t rate_count, rate_per_ms; /* share of this lane; 0: unlimited */
};

struct gate_actions {
    void (*limit)(void *data, struct pr_slice destination, struct pr_slice pool, struct gate_limit *ret);
    /* Send a grant: an answer (to request t_seq), or unasked, then t_seq is that of the lane's last request, whose lease it
     * does not prolong. n may be 0 in an answer. Several in a row for one lane where n would exceed GATE_GRANT_BATCH. */
    void (*grant)(void *data, uint64_t holder, uint64_t t_seq, const struct gate_slot *items, size_t n);
    /* For the log; may be NULL. until {0}: no end time. */
    void (*moved)(void *data, struct pr_slice destination, struct pr_slice pool, enum gate_state from, enum gate_state to,
                  const char *reason, uint64_t for_ms);
};

struct gate;
/* epoch: higher than that of any gate before it (a term, or the wall clock in seconds). Starts in learning: nobody gets
 * more than it holds until all members have sent their whole table and acknowledged what the gate made of it, at most
 * lease + hold + 1 s. members: holders that may
 * hold slots of an earlier epoch (registered deliverers); members_known false: nobody knows, so wait the whole time. */
struct gate *gate_new(const struct gate_config *config, const struct gate_actions *actions, void *data, struct pr_now now,
                      uint32_t epoch, const uint64_t *members, size_t n_members, bool members_known);
void gate_free(struct gate *g);
uint32_t gate_epoch(const struct gate *g);
bool gate_learning(const struct gate *g);

/* HELLO of a lane. Another boot id than before: the old process and its sockets are gone, its slots are free at once. */
void gate_lane_up(struct gate *g, struct pr_now now, uint64_t holder, uint64_t boot_id);
/* Unregistered by the operator, its process known to be gone: as if its lease had expired. (A lost connection is no event.) */
void gate_lane_gone(struct gate *g, struct pr_now now, uint64_t holder);

struct gate_want {
    struct pr_slice destination, pool;
    uint32_t open, wants;
    uint64_t acked_seq;
    uint32_t ok, site_failures;
    struct pr_slice last_error;
};
/* GATE_REQ. Answered by a grant that lists (and so renews) what it lists; ignored if its epoch or boot is not current. */
void gate_request(struct gate *g, struct pr_now now, uint64_t holder, uint64_t boot_id, uint32_t epoch_seen, uint64_t t_seq,
                  bool full, const struct gate_want *items, size_t n);

/* The limits may have changed (reload). */
void gate_limits_changed(struct gate *g, struct pr_now now);
/* Operator or flush: a suspended or throttled path (destination empty: all) is tried now. Returns how many. */
size_t gate_flush(struct gate *g, struct pr_now now, struct pr_slice destination);
/* Operator: no connections for so long (0: until gate_flush). */
void gate_suspend(struct gate *g, struct pr_now now, struct pr_slice destination, struct pr_slice pool, uint64_t for_ms);

pr_mono gate_deadline(const struct gate *g);
void gate_tick(struct gate *g, struct pr_now now);

struct gate_path_info {
    struct pr_slice destination, pool;
    enum gate_state state;
    uint32_t limit;   /* configured connections */
    uint32_t window;  /* allowed by the state */
    uint32_t granted; /* counted as held, by the rules */
    uint32_t open;    /* last stated */
    uint32_t wants;
    uint64_t left_ms; /* suspension or hold still lasts, 0: no end */
    struct pr_slice last_error; /* borrowed until the next event */
};
/* As sched_dest_list. */
size_t gate_path_list(const struct gate *g, struct pr_now now, uint32_t *cursor, struct gate_path_info *out, size_t cap);
PR_MUST_USE int gate_path_get(const struct gate *g, struct pr_now now, struct pr_slice destination, struct pr_slice pool,
                              struct gate_path_info *ret);
void gate_check_invariants(const struct gate *g);

#endif
