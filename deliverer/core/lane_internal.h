/* lane_internal.h - the inside of the lane, shared by its files:
 *   lane.c (life, ticks, what to do next), shard.c (terms, index, results), job.c (phases), dest.c (connections of a
 *   destination), credit.c (shares of the shards), gate.c (slots). */
#ifndef DLV_LANE_INTERNAL_H
#define DLV_LANE_INTERNAL_H

#include "common/base/buf.h"
#include "common/base/map.h"
#include "common/base/timerq.h"
#include "deliverer/core/lane.h"

enum {
    DLV_SHARDS_MAX = 64,
    DLV_TICK_MS = 1000,
    FAILURES_IN_A_ROW = 3, /* then nothing is opened before the gate has heard of it */
    GATE_GAP_MS = 3,      /* between two requests, when something changed */
    GATE_PERIOD_MS = 1000,
    GATE_FEEDBACK_MS = 100, /* successes of a destination that wants more slots */
    GATE_SENT_MAX = 256,  /* requests whose time of sending is remembered */
    GATE_REPORT_MS = 3000, /* feedback unacknowledged for so long is sent again */
    DEMAND_STICKY_MS = 5000, /* a shard keeps its share so long after its last demand or job */
    SELF_ABORT_MS = 180000,  /* beyond T_self: what has not reached its end is cut, long before the lease is given away */
    RESULT_RETRY_MAX_MS = 8000,
    RATE_AHEAD_MS = 1000,    /* jobs held for a rate */
    ERROR_TEXT_MAX = 256,
};

struct dlv_shard {
    uint32_t number;
    uint64_t term; /* highest seen */
    bool led;      /* its leader spoke to us in this term */
    bool silent;   /* not for self_ms */
    pr_mono contact;
    uint64_t retry_ms;
    struct pr_map past; /* jobs received in this term for destinations dropped since: hash -> count + 1 */
    struct pr_list jobs;   /* of_shard, any phase */
    struct pr_list unsent; /* results */
    struct pr_list sent;   /* results, oldest first */
};

/* A shard's credit for a destination. Counters are of the present term; in_hand is of all. */
struct dlv_account {
    struct dlv_dest *dest;
    struct dlv_shard *shard;
    uint64_t term;
    uint64_t received, allowed /* last sent */;
    uint32_t in_hand;
    uint32_t backlog, weight;
    uint32_t share;
    bool force; /* tell it in any case: the shard may have set our credit aside */
    uint64_t served; /* virtual time: jobs x 1000 / weight */
    pr_mono asked;   /* last demand or job */
    struct pr_list of_dest;
    struct pr_list changed; /* in lane->credits */
    uint64_t next_allowed;
};

struct dlv_dest {
    struct pr_buf key; /* name, NUL, pool */
    size_t name_len;
    struct pr_list ready; /* jobs */
    struct pr_list conns;
    uint32_t n_ready, n_running /* jobs */;
    uint32_t opening, idle, busy, closing;
    uint32_t draining; /* busy ones that will close */
    struct pr_list accounts;
    /* gate */
    uint32_t slots; /* lent, as long as the lane's lease lasts */
    uint64_t seq, acked_seq;
    unsigned mails_max, rcpts_max;
    struct dlv_gcra rate;
    uint32_t told_wants, told_open;
    uint64_t told_ack;
    uint32_t streak;                 /* site failures since the last success */
    uint32_t ok, failures;           /* not acknowledged */
    uint32_t told_ok, told_failures; /* in the request told_seq */
    uint64_t told_seq;               /* 0: nothing is out */
    pr_mono told_at;
    struct pr_buf last_error;
    /* lane */
    struct pr_timer timer; /* rate */
    struct pr_list all, dirty, news;
};

struct dlv_lane {
    struct dlv_lane_options o;
    struct dlv_shard *shards[DLV_SHARDS_MAX];
    struct pr_map index; /* jobs by hash of shard and ref, chained */
    struct pr_map dests; /* by key */
    struct pr_list all, dirty; /* destinations */
    struct pr_list credits;    /* accounts */
    struct pr_list returns;    /* jobs */
    struct pr_timerq timers;
    pr_mono next_tick;
    bool drained;
    bool crowded; /* somebody waits for a connection of the lane's own limit */
    size_t n_jobs, n_ready, n_running, n_done, n_dests;
    uint32_t open; /* connections, closing ones included */
    /* gate */
    uint32_t epoch;
    uint64_t t_seq; /* last sent */
    uint64_t gate_answered;
    pr_mono gate_sent;
    pr_mono gate_waiting; /* sending of the oldest request without an answer */
    pr_mono gate_period;  /* when a request goes out at the latest */
    pr_mono lease;        /* until then the slots are ours */
    struct {
        uint64_t t_seq;
        pr_mono at;
    } gate_times[GATE_SENT_MAX];
    bool gate_heard; /* its epoch, on this connection: before that there is nobody to ask */
    bool gate_soon, gate_full; /* a request is due; it is the whole table */
    struct pr_list gate_news;  /* destinations the gate should hear of */
    unsigned result_turn;        /* shard to look at next */
};

static inline uint32_t dest_open(const struct dlv_dest *d) { return d->opening + d->idle + d->busy + d->closing; }
/* Those that stay if nothing changes. */
static inline uint32_t dest_staying(const struct dlv_dest *d) { return d->opening + d->idle + d->busy - d->draining; }
/* Transactions may start. */
static inline bool dest_fresh(const struct dlv_lane *l, const struct dlv_dest *d, pr_mono now)
{
    return d->slots > 0 && now.ms < l->lease.ms;
}

/* shard.c */
struct dlv_shard *shard_get(struct dlv_lane *l, uint32_t number); /* NULL: out of range */
void index_put(struct dlv_lane *l, struct dlv_job *job);
void index_del(struct dlv_lane *l, struct dlv_job *job);
void shard_result(struct dlv_lane *l, struct dlv_job *job);
void shards_tick(struct dlv_lane *l, pr_mono now);

/* job.c */
void job_return(struct dlv_lane *l, struct dlv_job *job, enum dlv_return_reason reason);
/* Gives back all that has not started. */
void dest_return_ready(struct dlv_lane *l, struct dlv_dest *d, enum dlv_return_reason reason);

/* dest.c */
struct dlv_dest *dest_find(const struct dlv_lane *l, struct pr_slice name, struct pr_slice pool);
struct dlv_dest *dest_get(struct dlv_lane *l, struct pr_slice name, struct pr_slice pool);
void dest_touch(struct dlv_lane *l, struct dlv_dest *d);
bool dest_plan(struct dlv_lane *l, struct dlv_dest *d, struct dlv_lane_action *ret, pr_mono now);
/* Nothing is left of it and nobody asks for it. */
bool dest_unused(const struct dlv_lane *l, const struct dlv_dest *d, pr_mono now);
void dest_free(struct dlv_lane *l, struct dlv_dest *d);
/* All are looked at again. */
void dests_touch(struct dlv_lane *l);
void conn_move(struct dlv_dest *d, struct dlv_conn *conn, enum dlv_conn_state state, pr_mono now);

/* credit.c */
struct dlv_account *account_get(struct dlv_dest *d, struct dlv_shard *s);
void account_free(struct dlv_account *a);
/* Shares of d among the shards that ask, and credits where they moved enough. */
void credit_settle(struct dlv_lane *l, struct dlv_dest *d, pr_mono now);
/* The counters of a shard begin anew: a new term, or a new connection. */
void credit_begin(struct dlv_lane *l, struct dlv_shard *s);

/* gate.c */
/* When a request is due. */
pr_mono gate_next(const struct dlv_lane *l);
uint32_t gate_wants(const struct dlv_lane *l, const struct dlv_dest *d);
void gate_settle(struct dlv_lane *l, struct dlv_dest *d, pr_mono now);

#endif
