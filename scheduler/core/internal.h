/* internal.h - the nouns of the scheduler core, shared by its files only.
 *
 * Invariants (sched_check_invariants asserts them):
 *   - a row is on disk only, or it has exactly one job; a job is in exactly one list, named by its state;
 *   - rows of a flow before its cursor all have a job; rows from the cursor on may have one;
 *   - head_due is a lower bound of the due times of the rows of a flow that have no job; if it lies in the future the
 *     flow's timer is armed for it, else the flow is in the heap of its queue;
 *   - a flow is in the heap iff it has ready jobs, unread due rows or an unfinished flush pass;
 *   - a queue is in the ring of its class iff its heap is not empty;
 *   - sums (available credit, active jobs, backlog) equal what the lists say. */
#ifndef SCHEDULER_CORE_INTERNAL_H
#define SCHEDULER_CORE_INTERNAL_H

#include "common/base/alloc.h"
#include "common/base/assert.h"
#include "common/base/list.h"
#include "common/base/map.h"
#include "common/base/timerq.h"
#include "scheduler/core/sched.h"

enum {
    SCHED_TENANT_QUANTUM = 8,      /* deficit per turn and weight */
    SCHED_COST_MAX = 64,           /* a job costs 1 + size / 64 KiB, at most this */
    SCHED_REFUSED_MS = 1000,       /* pause of a row whose ISSUE was refused */
    SCHED_BLOCKED_MS = 5000,       /* a lane that returned a job for want of a slot is left alone at most so long */
    SCHED_CHECK_MS = 10000,        /* expiry index */
    SCHED_QUIET_MS = 100,          /* a falling backlog is announced only then */
    SCHED_TICK_MS = 1000,          /* the wall clock may jump: look at least so often */
    SCHED_BRAKE_AFTER = 8,         /* site failures in a row */
    SCHED_BRAKE_FIRST_MS = 1000, SCHED_BRAKE_LAST_MS = 16000,
    SCHED_ABORTED_MS = 1000,       /* an attempt that never came to the point of doubt is made again after this */
    SCHED_TICK_FLOWS = 128, SCHED_TICK_WAITING = 256, SCHED_STEP_WAITING = 32, SCHED_STEP_DESTS = 1024,
    SCHED_LOAD_SCANS = 8,
    SCHED_COUNT_SCANS = 4, SCHED_COUNT_MS = 5, /* background counting: so many scans, then so long a pause */
    SCHED_NAME_MAX = 512,
};

struct flow;
struct dest;
struct lane;

/* A job: a row that is in memory. 128 bytes, from a pool. */
struct job {
    struct pr_list link;    /* by state: ring of its flow, jobs or held of its lane, refused, quarantined */
    struct job *chain;      /* bucket of the table, or the free list */
    struct flow *flow;
    struct sched_key key;
    uint64_t size_bytes;
    uint64_t attempt_id;    /* of the last issue; 0: none */
    union {
        uint64_t boot_id;   /* of the process it was issued to */
        uint64_t wake_ms;   /* in the list of refused ones: monotonic end of the pause */
    };
    struct lane *lane;      /* it was issued to; NULL in the ring */
    struct dest *dest;      /* whose capacity it uses, while active or held */
    struct credit *credit;  /* to give back, until the job is sent */
    uint32_t n_rcpts;
    uint32_t attempt;
    uint32_t connection;    /* lane id at issue */
    uint8_t state;          /* enum sched_where */
    uint8_t losses;
    bool forced;            /* by a flush: its due time may lie ahead */
};

struct flush {
    uint64_t start_ms; /* wall; rows filed later are not in the pass */
    pr_mono until;
    struct sched_key cursor;
};

struct flow {
    uint32_t id;
    uint8_t class_;
    bool in_heap, cold;
    bool counted;         /* rows is exact; until then rows that will be counted are left out */
    bool more;            /* the last scan stopped amid rows that are due */
    uint16_t window;
    uint16_t ring_n;
    uint32_t jobs;        /* in memory, any state */
    uint64_t rows;
    struct queue *queue;
    struct pr_list ring;  /* ready jobs in key order */
    struct sched_key cursor;
    uint64_t head_due;
    struct pr_timer timer; /* wall, at head_due */
    struct flow *child, *next, *prev; /* pairing heap */
    uint64_t heap_due;
    struct pr_list of_dest;
    struct pr_list count_link; /* until counted */
    struct pr_list loaded; /* of its destination, while ring_n > 0 */
    struct flush *flush;
    uint32_t backlog;     /* counted in the destination */
    uint32_t drained;     /* issued since drain_start */
    pr_mono drain_start;
};

/* All flows of one tenant and class toward one destination. */
struct queue {
    struct pr_list link; /* ring of the class */
    struct dest *dest;
    struct flow *root;   /* heap by due */
    uint64_t map_key;
    int64_t deficit;
    uint32_t weight;
    uint32_t n_flows;
    uint8_t class_;
};

struct dest_class {
    struct pr_list queues; /* with work; the first is served */
    uint64_t pass;
};

struct dest {
    struct sched_dest_ref ref;
    char *key; /* pool NUL destination */
    struct dest_class classes[MAIL_CLASS_NR];
    uint64_t vtime;
    struct pr_list credits;  /* with something available */
    uint64_t avail;
    uint32_t active;         /* proposed, issuing, in flight */
    uint32_t held;
    uint32_t n_flows, n_credits;
    uint32_t ready;          /* jobs in rings */
    uint64_t backlog;
    uint32_t weight;         /* of the flows in heaps */
    uint32_t reported;       /* backlog as the lanes know it */
    pr_mono quiet_since;     /* falling */
    struct pr_list dirty, quiet, idle, waiting; /* waiting: for capacity or its next turn */
    struct pr_list loaded;   /* flows with ready jobs */
    struct pr_list flows;
    uint64_t rows;
    uint32_t site_failures;
    unsigned brake_level;
    pr_mono brake_until;
    struct pr_timer brake;   /* monotonic */
};

struct credit {
    struct lane *lane;
    struct dest *dest;
    uint64_t allowed, issued;
    uint64_t counted;       /* in dest->avail */
    struct pr_list of_lane, of_dest, blocked_link;
    pr_mono blocked_until;
    bool blocked;
};

/* A loop thread of a deliverer, across its connections. */
struct lane {
    struct pr_list link;
    uint64_t holder, boot_id;
    uint32_t connection; /* 0: none */
    uint32_t jobs_max;
    uint32_t active;
    bool draining;
    bool inventoried;    /* in this connection */
    struct pr_list jobs; /* proposed, issuing, in flight, committing */
    struct pr_list held;
    pr_mono hold_until;  /* of the held ones */
    struct pr_list credits;
};

struct job_table {
    struct job **buckets;
    size_t n_buckets; /* power of two */
    size_t count, max;
    struct job *free_jobs;
    struct job_block *blocks;
};

struct sched {
    struct sched_config cfg;
    const struct sched_actions *act;
    void *data;
    struct pr_now now;
    uint64_t term, attempt_seq;
    bool started, dispatching, in_step;
    bool freed; /* capacity, in this step */

    struct job_table jobs;
    size_t count[SCHED_WHERE_NR];
    size_t active; /* proposed, issuing, in flight */
    struct pr_map flows;  /* id -> flow */
    struct pr_map queues; /* destination, class, tenant -> queue */
    struct pr_map tenants; /* name -> small number */
    struct pr_map dest_names;
    struct dest **dests;  /* by id; NULL: free */
    uint32_t *free_ids;   /* n_dests - live_dests of them */
    size_t n_dests, cap_dests, live_dests;
    struct pr_map lanes_by_id, lanes_by_holder, credits;
    struct pr_list lanes;

    struct pr_timerq due;  /* wall: flows by head_due */
    struct pr_timerq mono; /* brakes */
    struct pr_list dirty, quiet, idle, waiting, again, blocked, refused, quarantined;
    pr_mono check_at;
    bool checking;
    uint64_t rows;
    size_t n_cold;
    struct pr_list uncounted;    /* the first is being counted */
    struct sched_key count_from; /* rows of the first before this are counted */
    pr_mono count_at;
    struct sched_row scan_rows[SCHED_SCAN_MAX];
    uint64_t n_issued, n_returned, n_released, n_evicted, n_unknown;
};

/* keys */
static inline int key_cmp(const struct sched_key *a, const struct sched_key *b)
{
    if (a->due_ms != b->due_ms)
        return a->due_ms < b->due_ms ? -1 : 1;
    if (a->msg_id != b->msg_id)
        return a->msg_id < b->msg_id ? -1 : 1;
    return a->group == b->group ? 0 : a->group < b->group ? -1 : 1;
}
/* The first key after k. */
static inline struct sched_key key_after(struct sched_key k)
{
    k.group++;
    return k;
}

/* job.c */
void jobs_init(struct job_table *t, size_t max);
void jobs_fini(struct job_table *t);
struct job *job_find(const struct sched *s, uint64_t msg_id, uint32_t group);
/* NULL when the pool is used up, unless `must`. State SCHED_ON_DISK: the caller moves it on. */
struct job *job_new(struct sched *s, struct flow *f, const struct sched_row *row, bool must);
/* The only way from state to state: keeps lists and counters. lane: for states that have one, else NULL. */
void job_move(struct sched *s, struct job *j, enum sched_where to, struct lane *lane);
/* Out of memory; the row is gone, or the caller has set the flow's cursor back. */
void job_free(struct sched *s, struct job *j);
/* Its row is gone: gives credit back, cancels what is under way. */
void job_drop(struct sched *s, struct job *j);
void job_to_row(const struct job *j, struct sched_row *ret);
void job_to_issue(const struct sched *s, const struct job *j, struct sched_issue *ret);
static inline bool job_active(enum sched_where state)
{
    return state == SCHED_PROPOSED || state == SCHED_ISSUING || state == SCHED_INFLIGHT;
}

/* heap.c: pairing heap of flows by heap_due */
void heap_insert(struct queue *q, struct flow *f, uint64_t due);
void heap_remove(struct queue *q, struct flow *f);

/* flow.c */
struct flow *flow_find(const struct sched *s, uint32_t id);
/* Puts timer, heap, backlog and lists right after any change of the flow. */
void flow_update(struct sched *s, struct flow *f);
/* Reads rows until something is ready or nothing is due. False: stopped early (pool used up, or enough for this turn).
 * May make room by eviction. flow_update must follow. */
bool flow_load(struct sched *s, struct flow *f);
/* The row at key has no job: it must be read (again). */
void flow_unread(struct flow *f, const struct sched_key *key);
struct flow *flow_new(struct sched *s, const struct sched_flow_spec *spec);
/* Takes it out of its queue and destination, or puts it into those of another. */
void flow_detach(struct sched *s, struct flow *f);
void flow_attach(struct sched *s, struct flow *f, struct queue *q);
/* May a row filed now go straight into the ring? */
bool flow_admits(const struct sched *s, const struct flow *f, const struct sched_key *key);
void flow_passed(struct flow *f, const struct sched_key *key);
/* Its timer has fired. */
void flow_fire(struct sched *s, struct flow *f);
/* First look after a takeover. flow_update must follow. */
void flow_read_cold(struct sched *s, struct flow *f);
void flow_drained(struct sched *s, struct flow *f);
void flow_free(struct sched *s, struct flow *f);
/* Drops the ready jobs of a destination without credit. False: there is none. */
bool flows_evict(struct sched *s);
/* Forgets a job that has no lane; the row is read again. */
void job_forget(struct sched *s, struct job *j);

/* dest.c */
struct dest *dest_find(const struct sched *s, struct pr_slice destination, struct pr_slice pool);
struct dest *dest_get(struct sched *s, struct pr_slice destination, struct pr_slice pool);
/* It is freed at the end of the step if nothing refers to it any more. */
void dest_release(struct sched *s, struct dest *d);
void dest_destroy(struct sched *s, struct dest *d);
struct queue *queue_get(struct sched *s, struct dest *d, enum mail_class class_, struct pr_slice tenant, uint32_t weight);
void queue_release(struct sched *s, struct queue *q);
void dest_touch(struct sched *s, struct dest *d);
void dest_idle(struct sched *s, struct dest *d);
void demand_flush(struct sched *s);
void demand_quiet(struct sched *s);
/* All lanes must hear everything again. */
void demand_again(struct sched *s);
void dest_wait(struct dest *d, struct pr_list *list);
void dest_result(struct sched *s, struct dest *d, bool site_failure);
void dest_brake_off(struct sched *s, struct dest *d);
/* Only one job at a time, and not before brake_until. */
bool dest_braked(const struct sched *s, const struct dest *d);

/* pick.c */
void dispatch(struct sched *s, struct dest *d);
/* Credit of the destination whose lane can take a job now; connection 0: any lane. */
struct credit *pick_credit(struct dest *d, uint32_t connection);
/* May a job of this class use the destination's credit, the reserve considered? */
bool class_may_go(const struct sched *s, const struct dest *d, enum mail_class class_);

/* issue.c */
void issue_prepare(struct sched *s, struct job *j, struct credit *c, enum sched_where state);
void credit_give_back(struct sched *s, struct job *j);
/* Back to the flow, ready. */
void job_release(struct sched *s, struct job *j, bool lost);

/* lane.c */
struct lane *lane_get(struct sched *s, uint64_t holder);
void lane_disconnect(struct sched *s, struct lane *l);
void lane_destroy(struct sched *s, struct lane *l);
/* Releases what was held long enough; forgets lanes without connection and jobs. */
void lanes_expire(struct sched *s);
void refused_wake(struct sched *s);
void credit_update(struct sched *s, struct credit *c);
void credit_block(struct sched *s, struct lane *l, struct dest *d);
void credits_unblock(struct sched *s);

/* count.c */
/* A row came (by 1) or went (by -1). */
void count_row(struct sched *s, struct flow *f, const struct sched_key *key, int by);
void count_step(struct sched *s);

/* flush.c */
/* 0 when the row is not in the pass: filed after its start. */
bool flush_includes(const struct sched *s, const struct flow *f, const struct sched_row *row);
void flush_end(struct flow *f);

/* result.c */
uint64_t retry_delay(const struct sched *s, uint64_t msg_id, uint32_t group, uint32_t attempts_made);

/* sched.c */
void step_begin(struct sched *s, struct pr_now now);
void step_end(struct sched *s);

#endif
