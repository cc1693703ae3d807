/* lane.h - the book of one lane: which jobs it holds for which shard and term, which connections each destination may
 * have, how much credit each shard gets, and which results are still unacknowledged. Pure.
 *
 *   job:  READY -> STARTED -> DOT -> DONE -> (acknowledged) gone
 *         READY -> returned, gone; STARTED -> READY (another connection)
 *   conn: OPENING -> IDLE <-> BUSY -> CLOSING -> gone
 *
 * Rules it keeps, whatever arrives:
 *   - a job of a term below the highest seen for its shard never starts;
 *   - without a word from a shard's leader for self_ms nothing of that shard starts, unstarted jobs are given back;
 *   - a connection opens only while open < slots and the grant is fresh, counted from when the request was sent; a lower
 *     grant is acknowledged only once open <= slots; after its end nothing starts, after the hold everything is cut but
 *     connections that wait for the reply to a final dot;
 *   - credit outstanding for a destination follows slots x (1 + prefetch), shared among the shards that asked, by weight;
 *   - results are repeated until acknowledged.
 *
 * Owns: shards, destinations, accounts. Borrows: jobs and connections, which the caller embeds and frees when they are
 * given back (each call says so). Thread: one at a time. Reentrancy: plain calls, no callbacks. Errors: see each. */
#ifndef DLV_LANE_H
#define DLV_LANE_H

#include "common/base/clock.h"
#include "common/base/list.h"
#include "deliverer/core/gcra.h"
#include "deliverer/core/journal.h"
#include "deliverer/core/route.h"

struct dlv_lane_options {
    uint64_t seed;
    unsigned jobs_max;        /* held at once */
    unsigned connections_max; /* open at once */
    unsigned prefetch;        /* jobs beyond the running one, per slot; <= 2 */
    uint64_t idle_ms;         /* an unused connection is closed after this */
    uint64_t self_ms;         /* T_self */
    uint64_t result_retry_ms;
    uint64_t grant_margin_ms, grant_hold_ms;
};
extern const struct dlv_lane_options dlv_lane_defaults;

enum dlv_phase { DLV_PHASE_READY, DLV_PHASE_STARTED, DLV_PHASE_DOT, DLV_PHASE_DONE };
enum dlv_return_reason {
    DLV_RETURN_NO_SLOT,
    DLV_RETURN_DRAINING,
    DLV_RETURN_STALE_TERM,
    DLV_RETURN_CANCELLED, /* nobody waits for it */
};

struct dlv_lane;
struct dlv_dest;
struct dlv_account;

struct dlv_job {
    /* Set by the caller before dlv_lane_add. */
    struct dlv_ref ref;
    uint32_t shard;
    uint64_t term;
    /* The lane's; others only read. */
    enum dlv_phase phase;
    enum dlv_return_reason reason;
    unsigned sessions; /* connections it has been given to */
    struct dlv_dest *dest;
    struct dlv_account *account;
    struct dlv_conn *conn; /* while STARTED or DOT */
    pr_mono received;
    pr_mono sent;           /* result last sent */
    struct pr_list link;    /* ready, or results to send, or results sent, or returns */
    struct pr_list of_shard;
    struct dlv_job *chain;  /* same key in the index */
};

enum dlv_conn_state { DLV_CONN_OPENING, DLV_CONN_IDLE, DLV_CONN_BUSY, DLV_CONN_CLOSING };
struct dlv_conn {
    struct dlv_dest *dest;
    enum dlv_conn_state state;
    bool draining;  /* to be closed when its present jobs are done */
    bool aborted;   /* ABORT was asked for */
    bool dot;       /* a reply to a final dot is awaited: never cut */
    unsigned jobs;  /* on it now */
    pr_mono since;  /* of the state */
    struct pr_list link;
};

struct dlv_lane *dlv_lane_new(const struct dlv_lane_options *o, pr_mono now);
/* Jobs and connections must be gone. */
void dlv_lane_free(struct dlv_lane *l);
/* New options for what starts from now on. */
void dlv_lane_configure(struct dlv_lane *l, const struct dlv_lane_options *o);
/* No new work: unstarted jobs go to the returns, wants fall to zero. */
void dlv_lane_drain(struct dlv_lane *l, pr_mono now);

/* A new connection to the node, with a HELLO of its own: credit counts from zero, inventories are owed again. */
void dlv_lane_reconnected(struct dlv_lane *l, pr_mono now);

/* --- shards --- */
/* What a node says about a shard. True: its leader speaks to us for the first time in this term or on this connection:
 * the results that wait go out first, then the inventory, which is owed now. */
bool dlv_lane_shard(struct dlv_lane *l, uint32_t shard, uint64_t term, bool leader, pr_mono now);
/* Any other message from the leader of the shard's present term. */
void dlv_lane_contact(struct dlv_lane *l, uint32_t shard, uint64_t term, pr_mono now);
uint64_t dlv_lane_term(const struct dlv_lane *l, uint32_t shard);
/* Jobs of a shard, any phase, for the inventory: NULL starts, NULL ends. */
struct dlv_job *dlv_lane_shard_next(struct dlv_lane *l, uint32_t shard, const struct dlv_job *after);

/* --- jobs --- */
enum dlv_admit {
    DLV_ADMIT_OK,
    DLV_ADMIT_STALE,     /* old term: return it; the lane has not taken it */
    DLV_ADMIT_DUPLICATE, /* held already: forget it; not taken */
    DLV_ADMIT_REFUSED,   /* draining or full: return it; not taken */
};
enum dlv_admit dlv_lane_add(struct dlv_lane *l, struct dlv_job *job, struct pr_slice destination, struct pr_slice pool,
                            pr_mono now);
/* A result left over by an earlier process: reported until acknowledged. */
void dlv_lane_add_done(struct dlv_lane *l, struct dlv_job *job);
struct dlv_job *dlv_lane_find(const struct dlv_lane *l, uint32_t shard, const struct dlv_ref *ref);
/* The leader wants it no more. READY: it goes to the returns. STARTED: true, the caller aborts its connection's mail. */
bool dlv_lane_cancel(struct dlv_lane *l, struct dlv_job *job);
/* The next job for a connection that can take one, or NULL; it is STARTED then. */
struct dlv_job *dlv_lane_take(struct dlv_lane *l, struct dlv_conn *conn, pr_mono now);
/* The end of its content is about to be written. */
void dlv_lane_dot(struct dlv_lane *l, struct dlv_job *job);
/* Decided. What it says of the destination is told to the gate; error: the text of a failure. */
enum dlv_site { DLV_SITE_OK, DLV_SITE_FAILED, DLV_SITE_UNTOUCHED };
void dlv_lane_done(struct dlv_lane *l, struct dlv_job *job, enum dlv_site site, struct pr_slice error);
/* Undecided, not in doubt: back to the front of the queue. free: this session does not count. False: it has had its
 * sessions, decide it. */
bool dlv_lane_requeue(struct dlv_lane *l, struct dlv_job *job, bool free, pr_mono now);
/* Acknowledged: the caller frees it. NULL: unknown or not finished. */
struct dlv_job *dlv_lane_ack(struct dlv_lane *l, uint32_t shard, const struct dlv_ref *ref);

/* --- connections --- */
/* Starts to count against the slots of dest. */
void dlv_lane_open(struct dlv_lane *l, struct dlv_conn *conn, struct dlv_dest *dest, pr_mono now);
void dlv_lane_ready(struct dlv_lane *l, struct dlv_conn *conn, pr_mono now);
/* No job on it, more could come. */
void dlv_lane_idle(struct dlv_lane *l, struct dlv_conn *conn, pr_mono now);
/* Could not be opened: the job that pays for it (STARTED then, the caller decides it), or NULL if none is waiting. Follow
 * with dlv_lane_closed. */
struct dlv_job *dlv_lane_failed(struct dlv_lane *l, struct dlv_conn *conn, pr_mono now);
void dlv_lane_closing(struct dlv_lane *l, struct dlv_conn *conn);
/* Gone; the caller frees it. */
void dlv_lane_closed(struct dlv_lane *l, struct dlv_conn *conn, pr_mono now);

/* --- destinations --- */
struct pr_slice dlv_dest_name(const struct dlv_dest *d);
struct pr_slice dlv_dest_pool(const struct dlv_dest *d);
unsigned dlv_dest_mails_max(const struct dlv_dest *d); /* per connection; 0: no limit */
unsigned dlv_dest_rcpts_max(const struct dlv_dest *d); /* per transaction; 0: no limit */
/* The job that would go next, for choosing the route; NULL if none. */
struct dlv_job *dlv_dest_peek(const struct dlv_dest *d);

void dlv_lane_demand(struct dlv_lane *l, uint32_t shard, uint64_t term, struct pr_slice destination, struct pr_slice pool,
                     uint32_t backlog, uint32_t weight, pr_mono now);

/* --- gate --- */
struct dlv_want {
    struct pr_slice destination, pool, last_error;
    uint32_t open, wants, ok, site_failures;
    uint64_t acked_seq;
};
struct dlv_grant {
    struct pr_slice destination, pool;
    uint64_t seq;
    uint32_t slots, mails_per_connection, rcpts_per_mail;
    uint64_t rate_count, rate_per_ms;
};
/* A request should go out now: something changed, or the period is over. */
bool dlv_lane_gate_due(const struct dlv_lane *l, pr_mono now);
/* Fills one request (slices live until the next call into the lane). full: it is the whole table. */
size_t dlv_lane_gate_request(struct dlv_lane *l, struct dlv_want *items, size_t max, uint32_t *ret_epoch,
                             uint64_t *ret_t_seq, bool *ret_full, pr_mono now);
/* The answer to t_seq. False: of an older epoch or too late to know when it was asked; ignored. */
bool dlv_lane_gate_grant(struct dlv_lane *l, uint32_t epoch, uint64_t t_seq, uint32_t ttl_ms,
                         const struct dlv_grant *items, size_t n, pr_mono now);
/* The node's gate, as each HELLO_OK names it. A new epoch: it lost its memory, the whole table goes out next. */
void dlv_lane_gate_epoch(struct dlv_lane *l, uint32_t epoch, pr_mono now);
/* The next request is the whole table. */
void dlv_lane_gate_again(struct dlv_lane *l);

/* --- what to do and to send; call until empty at the end of each turn --- */
enum dlv_lane_action_type {
    DLV_LANE_OPEN,  /* dest: open a connection (dlv_lane_open) */
    DLV_LANE_GIVE,  /* conn, job: a job for an idle connection; it is STARTED and the connection BUSY */
    DLV_LANE_QUIT,  /* conn: say goodbye when its jobs are done */
    DLV_LANE_ABORT, /* conn: cut it now */
};
struct dlv_lane_action {
    enum dlv_lane_action_type type;
    struct dlv_dest *dest;
    struct dlv_conn *conn;
    struct dlv_job *job;
};
bool dlv_lane_next(struct dlv_lane *l, struct dlv_lane_action *ret, pr_mono now);
/* A job to give back, with its reason; the caller sends and frees it. */
struct dlv_job *dlv_lane_next_return(struct dlv_lane *l);
/* A result to send (again); the job stays in the book. */
struct dlv_job *dlv_lane_next_result(struct dlv_lane *l, pr_mono now);
struct dlv_credit {
    uint32_t shard;
    uint64_t term;
    struct pr_slice destination, pool;
    uint64_t jobs_allowed;
};
bool dlv_lane_next_credit(struct dlv_lane *l, struct dlv_credit *ret);

/* To be called at dlv_lane_deadline: idle connections, silent shards, ended grants, rates, results to repeat; a request to
 * the gate may be due then as well. */
void dlv_lane_tick(struct dlv_lane *l, pr_mono now);
pr_mono dlv_lane_deadline(const struct dlv_lane *l);

struct dlv_lane_counts {
    size_t jobs, ready, started, done; /* done: unacknowledged results */
    size_t connections, opening, idle, busy;
    size_t destinations, slots;
};
void dlv_lane_count(const struct dlv_lane *l, struct dlv_lane_counts *ret);
/* No jobs, results or connections left. */
bool dlv_lane_empty(const struct dlv_lane *l);

#endif
