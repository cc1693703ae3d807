/* world.h - the simulated world around the scheduler and gate cores: time, messages, network, mail and destinations.
 * One seed, one history. Included once, by sim_scheduler.c. */
#ifndef SIM_SCHEDULER_WORLD_H
#define SIM_SCHEDULER_WORLD_H

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/alloc.h"
#include "common/base/assert.h"
#include "common/base/rng.h"
#include "scheduler/core/gate.h"
#include "scheduler/core/sched.h"

enum {
    STEP_MS = 10, DESTS = 6, LANES = 3, MSGS = 3000, CONNS = 24, LANE_JOBS = 160, CMDS = 4096,
    LEASE_MS = 3000, DRAIN_MS = 3000, MARGIN_MS = 400, SELF_MS = 2000, HOLD_MS = 25000,
    REQUEST_MS = 400, REQUEST_GAP_MS = 40, RESULT_AGAIN_MS = 300, CONN_IDLE_MS = 150,
};
static const uint64_t WALL0 = 1700000000000;

enum mutation {
    MUT_NONE,
    MUT_ACK_EARLY,     /* a lane acknowledges fewer slots while it still has more open */
    MUT_NO_DRAIN,      /* the gate's leases end when the lane's do */
    MUT_NO_LEARNING,   /* a new gate believes that nobody holds anything */
    MUT_SEND_EARLY,    /* the job leaves before its ISSUE is committed */
    MUT_OLD_TERMS,     /* lanes accept jobs of deposed leaders */
    MUT_NO_INVENTORY,  /* lanes forget to list what they hold */
    MUT_LOSE_FILED,    /* one in 10 deferrals is not told to the core */
    MUT_CLOCK,         /* the core is told a time that has not come yet */
    MUT_NR,
};
static const char *const mutation_names[MUT_NR] = {
    [MUT_NONE] = "none", [MUT_ACK_EARLY] = "ack-early", [MUT_NO_DRAIN] = "no-drain",
    [MUT_NO_LEARNING] = "no-learning", [MUT_SEND_EARLY] = "send-early", [MUT_OLD_TERMS] = "old-terms",
    [MUT_NO_INVENTORY] = "no-inventory", [MUT_LOSE_FILED] = "lose-filed", [MUT_CLOCK] = "clock",
};

/* ---- destinations: a sink each ---- */

enum kind { KIND_FAST, KIND_SLOW, KIND_REFUSING, KIND_TIMEOUT, KIND_FLAPPING, KIND_GREYLIST };
struct dest {
    char name[16];
    enum kind kind;
    uint32_t limit;         /* as the gate knows it */
    uint32_t allowed;       /* limit, or a higher earlier one that may still be in use */
    uint64_t allowed_until;
    uint64_t rate;          /* per second, 0: none */
    uint32_t open;          /* connections at the sink */
    uint32_t delivered;
    uint32_t attempts_failed; /* site failures */
    uint64_t flushed_at;
    bool up;
};

/* ---- mail: the replicated store, as applied ---- */

enum msg_state { MSG_NONE, MSG_PROPOSED, MSG_PENDING, MSG_DONE, MSG_DELETED };
struct msg {
    enum msg_state state;
    struct sched_row row;
    uint64_t filed_ms;     /* wall: when it was decided that it waits */
    uint64_t attempt_id;   /* lease; 0: none */
    uint64_t holder, boot;
    unsigned delivered;    /* copies at the sink */
    unsigned doubts;       /* copies that a crash between dot and reply excuses */
};

enum cmd_kind { CMD_ENQUEUE, CMD_ISSUE, CMD_FREE, CMD_RESULT, CMD_DELETE };
struct cmd {
    enum cmd_kind kind;
    uint64_t commit_at;
    struct sched_ref ref;
    struct sched_row row;
    struct sched_issue issue; /* ISSUE, and ENQUEUE when issued */
    bool issued;
    bool delivered;           /* RESULT */
    uint64_t next_due, decided; /* wall */
    unsigned lane;
};

/* ---- network ---- */

enum net_kind {
    NET_HELLO, NET_HELLO_OK, NET_CREDIT, NET_JOB, NET_RETURN, NET_RESULT, NET_RESULT_ACK, NET_CANCEL, NET_DEMAND,
    NET_INVENTORY, NET_GATE_REQ, NET_GATE_GRANT,
};
struct net_msg {
    struct net_msg *next;
    enum net_kind kind;
    unsigned lane;
    uint64_t at;
    uint64_t term, boot;
    struct sched_ref ref;
    struct sched_row row;
    unsigned dest;
    uint64_t value;      /* credit, backlog, t_seq */
    uint32_t epoch;
    bool flag;           /* last, full, delivered */
    bool site, aborted, unknown;
    void *items;         /* owned: sched_inventory_item, gate_want or gate_slot */
    size_t n;
};
struct net_queue {
    struct net_msg *first, **last;
};

/* ---- lanes ---- */

enum job_phase { JOB_QUEUED, JOB_RUNNING, JOB_DOT, JOB_DONE };
struct lane_job {
    bool used;
    enum job_phase phase;
    struct sched_ref ref;
    struct sched_row row;
    uint64_t term;
    unsigned dest;
    uint64_t queued_at, sent_at;
    bool delivered, site, aborted, unknown; /* result */
};
enum conn_phase { CONN_FREE, CONN_OPENING, CONN_IDLE, CONN_BUSY, CONN_DOT };
struct conn {
    enum conn_phase phase;
    unsigned dest;
    uint64_t until;
    size_t job;
    bool counted; /* at the sink */
    bool took;    /* the sink has the copy */
};
struct lane_dest {
    uint64_t seq, acked_seq;
    uint32_t slots, open;
    uint64_t deadline;
    uint64_t rate;
    uint32_t backlog;
    uint32_t ok, failures, told_ok, told_failures;
    uint64_t told_seq;
    uint64_t received, allowed;
    uint64_t no_slot_since;
};
struct lane {
    unsigned index;
    uint64_t holder, boot;
    bool alive, connected, welcomed; /* welcomed: HELLO_OK of this connection has come */
    uint32_t connection;
    uint64_t wake_at;   /* next try to connect, or to start again */
    uint64_t cut_until; /* partition */
    uint64_t term, contact;
    uint32_t epoch;
    uint64_t t_seq, asked_at;
    uint64_t asked[64]; /* when request t_seq % 64 was sent */
    bool news;
    struct lane_job jobs[LANE_JOBS];
    struct conn conns[CONNS];
    struct lane_dest dests[DESTS];
};

struct world {
    uint64_t seed;
    enum mutation mutation;
    struct pr_rng rng;
    uint64_t ms; /* monotonic; wall = WALL0 + ms */
    uint64_t fault_end, end;
    bool faults;

    struct sched_config sched_cfg;
    struct gate_config gate_cfg;
    struct sched *sched;
    struct gate *gate;
    bool node_up;
    uint64_t node_wake;
    uint64_t term;
    uint32_t epoch, next_connection;
    bool check_pending;

    struct dest dests[DESTS];
    struct msg msgs[MSGS];
    size_t n_msgs, mails_max;
    uint64_t next_mail;
    uint64_t mail_gap;
    struct cmd cmds[CMDS]; /* the log, not applied yet */
    size_t n_cmds;
    uint64_t last_commit;

    struct net_queue net[LANES][2]; /* to the lane, to the node */
    struct net_queue late[LANES];   /* jobs from the buffers of old leaders */
    struct lane lanes[LANES];

    /* what happened, for the summary */
    uint64_t last_taken, traced; /* traced: message whose history is printed */
    uint64_t n_delivered, n_duplicates, n_restarts, n_crashes, n_cuts, n_released;
};

static void broken(const struct world *w, const char *what, uint64_t a, uint64_t b)
{
    fprintf(stderr, "seed %" PRIu64 " at %" PRIu64 " ms: %s (%" PRIu64 ", %" PRIu64 ")\n", w->seed, w->ms, what, a, b);
    exit(1);
}

/* One line of the history of a message (0: of all). */
static void trace(const struct world *w, uint64_t msg, const char *what, uint64_t a, uint64_t b)
{
    if (w->traced != 0 && (msg == 0 || msg == w->traced))
        printf("%8" PRIu64 " %s (%" PRIu64 ", %" PRIx64 ")\n", w->ms, what, a, b);
}

static bool chance(struct world *w, uint64_t per_million)
{
    return pr_rng_below(&w->rng, 1000000) < per_million;
}

static uint64_t between(struct world *w, uint64_t low, uint64_t high)
{
    return low + pr_rng_below(&w->rng, high - low + 1);
}

static struct pr_now now_of(const struct world *w)
{
    return (struct pr_now){{w->ms}, {WALL0 + w->ms}};
}

static struct pr_slice dest_name(const struct world *w, unsigned d)
{
    return pr_slice_str(w->dests[d].name);
}

static unsigned dest_of(const struct world *w, struct pr_slice name)
{
    for (unsigned d = 0; d < DESTS; d++)
        if (pr_slice_eq(name, dest_name(w, d)))
            return d;
    broken(w, "action for an unknown destination", 0, 0);
    return 0;
}

/* ---- the network: per lane and direction in order, with delays; a connection's messages die with it ---- */

static void net_push(struct net_queue *q, struct net_msg *m)
{
    m->next = NULL;
    *q->last = m;
    q->last = &m->next;
}

static struct net_msg *net_pop(struct net_queue *q)
{
    struct net_msg *m = q->first;
    q->first = m->next;
    if (q->first == NULL)
        q->last = &q->first;
    return m;
}

static void net_free(struct net_msg *m)
{
    pr_free(m->items);
    pr_free(m);
}

static struct net_msg *net_send(struct world *w, enum net_kind kind, bool to_node, unsigned lane)
{
    struct net_queue *q = &w->net[lane][to_node];
    struct net_msg *m = pr_new(struct net_msg);
    struct net_msg *before = q->first == NULL ? NULL : pr_container_of(q->last, struct net_msg, next);
    m->kind = kind;
    m->lane = lane;
    m->at = w->ms + between(w, 1, 25);
    if (before != NULL && before->at > m->at)
        m->at = before->at;
    net_push(q, m);
    return m;
}

/* The connection is lost, and with it what was on its way; when a leader is deposed, its jobs may come through late. */
static void net_cut(struct world *w, unsigned lane, bool deposed)
{
    for (int to_node = 0; to_node < 2; to_node++) {
        struct net_queue *q = &w->net[lane][to_node];
        while (q->first != NULL) {
            struct net_msg *m = net_pop(q);
            if (m->kind == NET_JOB && deposed && chance(w, 500000)) {
                m->at += between(w, 0, 2500);
                net_push(&w->late[lane], m);
            } else {
                net_free(m);
            }
        }
    }
}

#endif
