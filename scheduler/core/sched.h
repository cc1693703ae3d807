/* sched.h - the scheduler core of one shard: what may be sent now, by which lane, and when to try again. It lives on the
 * shard's leader only and is rebuilt from the store by a new one. The algorithms in words: scheduler/DESIGN.md.
 *
 * A row is one entry of the store's schedule: (flow, due, message, group). At any time there is at most one row per
 * (message, group), and it stays until the result of its attempt is applied. The core keeps flows and a small window of rows in memory; the rest stays on disk.
 *
 * Owns: everything it allocates. Borrows: slices and arrays of an event until the call returns; `actions` and its data
 * for life. Thread: one. Reentrancy: actions are called synchronously, in order, from within an event; none of them may
 * call back into the core. Errors: bad input from a peer (unknown destination, lane, attempt) is ignored or answered with
 * a value; a contradiction from our own shell is an assertion. */
#ifndef SCHEDULER_CORE_SCHED_H
#define SCHEDULER_CORE_SCHED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/clock.h"
#include "common/base/err.h"
#include "common/base/slice.h"
#include "common/mail/envelope.h"

enum { SCHED_RETRY_MAX = 64, SCHED_SCAN_MAX = 512, SCHED_BACKLOG_MAX = 65535 };

struct sched_config {
    uint64_t retry_ms[SCHED_RETRY_MAX]; /* delay after the 1st, 2nd ... attempt; the last one repeats */
    size_t n_retry;
    unsigned retry_jitter_percent;
    uint64_t hold_time_ms;    /* leases of a silent lane */
    uint64_t flush_time_ms;   /* a flush pass that has not ended by then is dropped */
    size_t jobs_max;          /* rows in memory: ready, in flight, held */
    size_t inflight_max;      /* issued and unfinished */
    unsigned window_min, window_max;            /* rows a flow reads ahead; window_max <= SCHED_SCAN_MAX */
    unsigned class_weight[MAIL_CLASS_NR];       /* stride: 16 : 4 : 1 */
    unsigned reserve_percent; /* of a destination's credit, for transactional mail ... */
    unsigned reserve_from;    /* ... where it has at least so much: 4 slots with prefetch 2 */
    unsigned poison_limit;    /* a job lost with its lane so often is quarantined */
    uint64_t seed;
};
/* Everything from the design's defaults. */
void sched_config_default(struct sched_config *c);

/* ---- rows and attempts ---- */

/* Position in a flow; ordered by due, msg_id, group, like the keys of the store. */
struct sched_key {
    uint64_t due_ms; /* wall */
    uint64_t msg_id;
    uint32_t group;
};
struct sched_row {
    uint32_t flow;
    struct sched_key key;
    uint32_t attempt; /* attempts made so far */
    uint32_t n_rcpts;
    uint64_t size_bytes;
};
struct sched_ref {
    uint64_t msg_id;
    uint32_t group;
    uint64_t attempt_id; /* unique in the shard for ever: term << 40 | counter */
};
/* One ISSUE record and the job that follows it. holder names the lane across connections and restarts: a hash of node id
 * and lane number, made by the shell. */
struct sched_issue {
    struct sched_ref ref;
    struct sched_row row;
    uint32_t lane; /* connection */
    uint64_t holder, boot_id;
    pr_wall issued;
};

/* ---- actions ---- */

struct sched_scan {
    uint32_t flow;
    struct sched_key from; /* inclusive; a lower bound for the seek, never 0 without need (tombstones) */
    uint64_t until_due_ms; /* inclusive */
    size_t limit;          /* <= SCHED_SCAN_MAX */
};
struct sched_scan_end {
    size_t n;             /* rows given */
    uint64_t next_due_ms; /* due of the first row of the flow after those given (also beyond until_due_ms); UINT64_MAX: none */
};

/* A destination as limits and the bus know it; id is dense and stable while the destination is known. */
struct sched_dest_ref {
    uint32_t id;
    struct pr_slice destination, pool; /* borrowed until the destination is forgotten */
};

struct sched_actions {
    /* Fills rows[limit] with the rows of a flow in key order, from the applied state (leased rows included). */
    void (*scan)(void *data, const struct sched_scan *scan, struct sched_row *rows, struct sched_scan_end *ret);
    /* Commit an ISSUE record, then sched_issue_done. Gather them: they should ride in the next entry. */
    void (*issue)(void *data, const struct sched_issue *issue);
    /* The ISSUE is committed: send the job. */
    void (*send_job)(void *data, const struct sched_issue *issue);
    /* The lane need not finish this attempt. */
    void (*cancel)(void *data, uint32_t lane, const struct sched_ref *ref);
    /* The lease of this attempt is void: release it (if it still is that attempt's). In the log this comes before any
     * issue that was asked for later. */
    void (*free_lease)(void *data, const struct sched_ref *ref);
    /* Tell all lanes; only on changes that matter, coalesced. backlog 0: nothing waits. */
    void (*demand)(void *data, const struct sched_dest_ref *dest, uint32_t backlog, uint32_t weight);
    /* Look through the expiry and delay index up to this time and commit what is due; then sched_checks_done. */
    void (*check)(void *data, pr_wall until);
    /* This row was lost with its lane poison_limit times. It stays in memory, held; log it and commit a hold. */
    void (*quarantine)(void *data, const struct sched_row *row, uint32_t losses);
};

/* ---- lifecycle ---- */

struct sched;
struct sched *sched_new(const struct sched_config *config, const struct sched_actions *actions, void *data);
void sched_free(struct sched *s);
/* Reload: retry list, limits. */
void sched_configure(struct sched *s, const struct sched_config *config);

/* Takeover, after the barrier of the term was committed:
 *   sched_start, sched_flow_added for each flow of the store (cold = true), sched_lease_found for each lease,
 *   sched_leases_done. From then on it dispatches, flow by flow, cold flows being read in the background.
 * Entries applied after the scans were begun are fed as usual, in their order. */
void sched_start(struct sched *s, struct pr_now now, uint64_t term);
/* Leadership is gone: forgets everything, emits nothing. Also before a new sched_start. */
void sched_stop(struct sched *s);

/* ---- effects of applied entries ---- */

struct sched_flow_spec {
    uint32_t flow;
    struct pr_slice tenant;
    enum mail_class class_;
    struct pr_slice pool;
    struct pr_slice destination; /* from the routes: the routing domain or the next hop's text */
    uint32_t weight;             /* of the tenant, 0 for 1 */
    bool cold;                   /* rows may exist already: they are looked at and counted in the background */
};
/* Once per flow id. */
void sched_flow_added(struct sched *s, struct pr_now now, const struct sched_flow_spec *spec);
/* The route changed: same flow, other destination. */
void sched_flow_moved(struct sched *s, struct pr_now now, uint32_t flow, struct pr_slice tenant,
                      struct pr_slice destination);
/* The store deleted the flow (no rows for long). */
void sched_flow_gone(struct sched *s, struct pr_now now, uint32_t flow);

/* A row was put: a new message, a deferral, a release. What can be issued is issued within this call. */
void sched_row_filed(struct sched *s, struct pr_now now, const struct sched_row *row);
/* A row was deleted: its result was applied (if deferred, the new row is filed next), or it was held, deleted, expired, or
 * moved by a retry. If an attempt is under way it is cancelled. */
void sched_row_gone(struct sched *s, struct pr_now now, uint32_t flow, const struct sched_key *key);

/* ---- issue ---- */

/* A committed (ok) or refused ISSUE, in the order of the log. A refused one returns to its flow. */
void sched_issue_done(struct sched *s, struct pr_now now, const struct sched_ref *ref, bool ok);

/* Reserve at proposal: may the job of this row, which is about to be proposed, be issued at once? 0: yes, *ret_issue goes
 * into the same entry, behind the row; capacity is reserved. Then one of
 *   - applied: sched_row_filed(row), then sched_issue_done(ref, ok);
 *   - not applied: sched_propose_abort(ref).
 * PR_EAGAIN: no (no credit, others wait, flow unknown, not dispatching): propose the row alone. lane: only this one (for
 * the further groups of a message, which share a lane in one ENQUEUE), 0: any. */
PR_MUST_USE int sched_propose(struct sched *s, struct pr_now now, const struct sched_row *row, uint32_t lane,
                              struct sched_issue *ret_issue);
void sched_propose_abort(struct sched *s, struct pr_now now, const struct sched_ref *ref);

/* ---- lanes ---- */

/* A deliverer's loop thread connected (HELLO). lane: id of this connection, not 0, never used before in this term. An older
 * connection of the same holder counts as down. Its INVENTORY must follow (after the results of its crash journal). */
void sched_lane_up(struct sched *s, struct pr_now now, uint32_t lane, uint64_t holder, uint64_t boot_id, uint32_t jobs_max);
/* Connection lost or silent. Its jobs are held until the holder's inventory, at most hold_time. */
void sched_lane_down(struct sched *s, struct pr_now now, uint32_t lane);
/* Absolute since sched_lane_up; the latest counts, it may be lower than the one before. */
void sched_credit(struct sched *s, struct pr_now now, uint32_t lane, struct pr_slice destination, struct pr_slice pool,
                  uint64_t jobs_allowed);
enum sched_return { SCHED_RETURN_NO_SLOT, SCHED_RETURN_DRAINING, SCHED_RETURN_STALE_TERM, SCHED_RETURN_NR };
void sched_returned(struct sched *s, struct pr_now now, uint32_t lane, const struct sched_ref *refs, size_t n,
                    enum sched_return reason);

struct sched_lease {
    struct sched_row row; /* of the leased group */
    uint64_t attempt_id;
    uint64_t holder, boot_id;
};
/* Takeover only: a lease row of the store. Held until its holder's inventory. */
void sched_lease_found(struct sched *s, struct pr_now now, const struct sched_lease *lease);
void sched_leases_done(struct sched *s, struct pr_now now);

struct sched_inventory_item {
    struct sched_ref ref;
    bool done; /* finished, its result follows or is under way */
};
/* What the lane holds, in one or more calls; last ends it: listed attempts are adopted, held ones of the same holder that
 * were not listed are ready at once, listed ones that are nobody's any more are cancelled. */
void sched_inventory(struct sched *s, struct pr_now now, uint32_t lane, const struct sched_inventory_item *items, size_t n,
                     bool last);

/* ---- results ---- */

struct sched_result {
    struct sched_ref ref;
    uint32_t lane;
    bool pending_left;   /* some recipient is neither delivered nor failed */
    bool aborted;        /* ... and all of those are ABORTED: never reached the point of doubt */
    bool site_failure;   /* scope SITE: says something about the destination */
    pr_wall expiry;      /* of the message, {0}: unknown */
};
struct sched_decision {
    bool current;        /* the attempt is the one we know; else only DELIVERED will count, by the rules of apply */
    bool expire;         /* pending recipients have come to their end: bounce instead of deferring */
    uint64_t next_due_ms; /* for the new row, if any recipient stays pending: jitter is in it */
};
/* 0: propose the result with *ret_decision; afterwards sched_result_done (and the effects: row_gone, row_filed).
 * PR_EEXIST: a result of this attempt is being committed already: drop this copy, the acknowledgement is on its way.
 * PR_ECLOSED: the process that had the job died before it began to send (so says the journal of its successor): the job
 * counts as lost once and is ready again, or in quarantine; nothing is to be committed, acknowledge. */
PR_MUST_USE int sched_result(struct sched *s, struct pr_now now, const struct sched_result *result,
                             struct sched_decision *ret_decision);
/* After the effects: where apply took the attempt as current, sched_row_gone for the row that was under way and
 * sched_row_filed for what was deferred. ok false: not committed; the lane will repeat its result. */
void sched_result_done(struct sched *s, struct pr_now now, const struct sched_ref *ref, bool ok);

/* ---- operator ---- */

/* Try again now (destination empty: everything): one pass over the rows that were filed before now, whatever their due
 * times. Writes nothing; limits and credit hold. (Tell the gate too: gate_flush.) Returns the number of flows. */
size_t sched_flush(struct sched *s, struct pr_now now, struct pr_slice destination);
/* The same for one row, read from the store. */
void sched_retry_row(struct sched *s, struct pr_now now, const struct sched_row *row);

/* ---- time ---- */

/* Call sched_tick at or soon after this time. Events may move it: ask after each batch. */
pr_mono sched_deadline(const struct sched *s);
void sched_tick(struct sched *s, struct pr_now now);
/* more: rows are left below the `until` of the check. */
void sched_checks_done(struct sched *s, struct pr_now now, bool more);

/* ---- looking in ---- */

struct sched_stats {
    uint64_t rows;  /* all of the shard, as far as counted */
    size_t flows, destinations, lanes;
    size_t ready;   /* in memory, could go now */
    size_t issuing, inflight, held, committing, quarantined;
    size_t cold, uncounted; /* flows not read yet, not counted yet since takeover */
    uint64_t issued, returned, released, evicted, unknown_results; /* since sched_start */
};
void sched_stats(const struct sched *s, struct sched_stats *ret);

struct sched_dest_info {
    struct sched_dest_ref ref;
    uint64_t rows;         /* all */
    uint64_t backlog;      /* due now (estimate where it is on disk) */
    size_t inflight, held;
    uint64_t next_due_ms;  /* earliest due of what waits, UINT64_MAX: nothing waits */
    uint64_t credit;       /* jobs the lanes would take now */
    unsigned site_failures; /* in a row */
    bool braked;           /* too many of them: one job at a time, with pauses */
};
/* Fills up to cap entries from *cursor (0 at first) on; *cursor is where to go on, 0 at the end. */
size_t sched_dest_list(const struct sched *s, uint32_t *cursor, struct sched_dest_info *out, size_t cap);
/* PR_ENOTFOUND. */
PR_MUST_USE int sched_dest_get(const struct sched *s, struct pr_slice destination, struct pr_slice pool,
                               struct sched_dest_info *ret);

/* Where a row is, for `msg get` and for tests. */
enum sched_where {
    SCHED_ON_DISK, SCHED_READY, SCHED_PROPOSED, SCHED_ISSUING, SCHED_INFLIGHT, SCHED_HELD, SCHED_COMMITTING,
    SCHED_QUARANTINED, SCHED_WHERE_NR,
};
extern const char *const sched_where_names[SCHED_WHERE_NR];
enum sched_where sched_where(const struct sched *s, uint64_t msg_id, uint32_t group);

/* Counts everything again and compares (tests): asserts on any contradiction. */
void sched_check_invariants(const struct sched *s);

#endif
