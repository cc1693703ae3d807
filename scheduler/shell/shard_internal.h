/* shard_internal.h - private to shard_*.c: one shard's parts, and what each file does for the others.
 *
 *   shard.c           thread, loop, mailbox, end of turn, admission, views
 *   shard_batch.c     commands gathered into log entries, entries in flight, effects back to whoever waits
 *   shard_takeover.c  becoming leader: flows and leases into the core; leadership lost
 *   shard_enqueue.c   ENQUEUE and PART of ingress, acknowledgements
 *   shard_jobs.c      the core's actions towards deliverers: issue, job, demand, cancel; bodies
 *   shard_results.c   RESULT, RETURN, CREDIT, INVENTORY of deliverers
 *   shard_reports.c   expiry, delay warnings, failure reports: DSNs
 *   shard_admin.c     acts of operators
 *   shard_members.c   the deliverers that may hold slots (shard 0) */
#ifndef PR_SCHEDULER_SHELL_SHARD_INTERNAL_H
#define PR_SCHEDULER_SHELL_SHARD_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>
#include <uv.h>

#include "common/base/map.h"
#include "common/base/rng.h"
#include "common/cluster/raft_host.h"
#include "common/net/clock.h"
#include "common/net/daemon.h"
#include "scheduler/shell/metrics.h"
#include "scheduler/shell/shard.h"

enum { ISSUE_REFS_MAX = 16 };

/* Who waits for a command, and what to do then. */
enum waiter_kind { WAIT_NONE, WAIT_ENQUEUE, WAIT_PART, WAIT_ISSUE, WAIT_RESULT, WAIT_CHECK, WAIT_ADMIN, WAIT_MEMBER };
struct waiter {
    enum waiter_kind kind;
    struct peer peer;        /* ENQUEUE, PART, RESULT: whom to answer */
    struct wire_token token; /* ENQUEUE, PART */
    uint64_t size_bytes;     /* ENQUEUE: for the window */
    uint64_t body_id;        /* PART */
    uint32_t seq;
    struct sched_ref ref;    /* ISSUE, RESULT */
    struct sched_ref *reserved; /* ENQUEUE: attempts reserved by sched_propose; owned */
    size_t n_reserved;
    uint64_t msg_id;         /* CHECK; RESULT: check this message after it, 0 for none */
    struct admin_request *admin; /* ADMIN: a reference */
    uint32_t lane_id;        /* MEMBER */
    bool bounce;             /* RESULT, CHECK: a DSN rides along */
    bool counted;            /* CHECK: one of s->checks_open */
    bool failed, expired;    /* RESULT, CHECK: what ends, if this ends the message */
    bool answered;           /* an effect has settled it */
};

/* Commands of one log entry, gathered or in flight. */
struct entry {
    struct pr_list link;
    struct shard *shard;
    struct cmd_batch batch;
    struct waiter *waiters; /* one per command */
    size_t cap;
    uint64_t proposed_us;
};

/* Messages to one lane that leave together at the end of the turn. */
struct ack_list {
    struct peer peer;
    struct wire_enqueue_ack_item *items;
    size_t n, cap;
    uint64_t bytes;
};
struct ref_list {
    struct peer peer;
    struct wire_attempt_ref *items;
    size_t n, cap;
};

struct flow_entry {
    uint32_t flow_id;
    struct pr_slice domain, tenant, pool; /* borrowed from the fsm */
    char *destination;            /* as told to the core */
};

struct shard {
    struct shard_options o;
    struct pr_config *config;
    struct pr_worker *worker;
    uv_loop_t *loop;
    uv_timer_t timer, second;
    uv_prepare_t prepare;
    uv_check_t check;
    struct kv *kv;
    struct fsm *fsm;
    struct stage *stage; /* the fsm's, for readers on other threads */
    struct raft_host *raft;
    struct sched *sched;
    struct pr_rng rng;
    struct pr_arena turn; /* scratch, freed at the end of the turn */
    char *log_dir, *flush_dir;

    bool leading, stopping, failed, in_turn_end;
    pr_mono started;
    uint64_t term;
    uint64_t last_id;
    _Atomic unsigned admission;
    unsigned told_admission;
    struct pr_map lanes;    /* lane_id -> struct lane_facts */
    struct pr_map flows;    /* "class\0tenant\0pool\0domain" -> struct flow_entry */
    struct pr_map flow_ids; /* flow id -> struct flow_entry */

    struct pr_list gathering; /* entries, the last one open */
    size_t gathered_bytes;
    uint64_t enqueue_bytes; /* acked so far, for windows */

    struct bus_post *out; /* leaves at the end of the turn; NULL when empty */
    struct ack_list *acks;
    size_t n_acks, cap_acks;
    struct ref_list *result_acks;
    size_t n_result_acks, cap_result_acks;
    struct sched_issue *jobs;
    size_t n_jobs, cap_jobs;
    struct wire_demand_item *demands; /* names in demand_arena */
    size_t n_demands, cap_demands;
    struct pr_arena demand_arena;

    bool check_wanted;
    pr_wall check_until;
    size_t checks_open;
    struct pr_list late; /* struct late_report, oldest first */
    bool checks_more;

    pthread_mutex_t lock; /* view */
    struct shard_view view;
    bool closed; /* handles are being closed */
};

/* shard.c */
void shard_fatal(struct shard *s, const char *text);
uint64_t shard_next_id(struct shard *s, pr_wall now);
void shard_tell_bus_state(struct shard *s);
struct bus_post *shard_out(struct shard *s);

/* shard_batch.c */
/* Adds a command to the next entry. PR_ETOOBIG: it fits no entry. The waiter is copied and owned then. */
PR_MUST_USE int shard_propose(struct shard *s, const struct cmd *c, const struct waiter *w);
void shard_batch_flush(struct shard *s);
void shard_batch_drop_all(struct shard *s, int status);

/* shard_takeover.c */
void shard_on_leader(void *data, uint64_t term);
void shard_on_follower(void *data);
void shard_flow_added(struct shard *s, const struct fsm_flow *flow, bool cold);
void shard_flow_dropped(struct shard *s, const struct fsm_flow *flow);
void shard_flows_configure(struct shard *s);
struct flow_entry *shard_flow_find(struct shard *s, enum mail_class class_, struct pr_slice tenant, struct pr_slice pool,
                                   struct pr_slice domain);
void shard_lane_up(struct shard *s, const struct lane_facts *lane);
void shard_lane_down(struct shard *s, const struct lane_facts *lane);
void shard_sched_config(const struct pr_config *c, uint64_t seed, struct sched_config *ret);
struct sched_row shard_row(const struct fsm_row *row);

/* shard_enqueue.c */
void shard_on_enqueue(struct shard *s, const struct peer *from, const struct wire_enqueue *m);
void shard_on_part(struct shard *s, const struct peer *from, const struct wire_part *m);
void shard_enqueue_done(struct shard *s, struct waiter *w, enum wire_ack_status status, uint64_t msg_id);
void shard_part_done(struct shard *s, const struct waiter *w, enum wire_ack_status status);
void shard_flush_acks(struct shard *s);

/* shard_jobs.c */
extern const struct sched_actions shard_sched_actions;
void shard_flush_jobs(struct shard *s);
void shard_on_body_get(struct shard *s, const struct peer *from, const struct wire_body_get *m);

/* shard_results.c */
void shard_on_results(struct shard *s, const struct peer *from, const struct wire_results *m);
void shard_on_return(struct shard *s, const struct peer *from, const struct wire_return *m);
void shard_on_credit(struct shard *s, const struct peer *from, const struct wire_credit *m);
void shard_on_inventory(struct shard *s, const struct peer *from, const struct wire_inventory *m);
void shard_flush_result_acks(struct shard *s);
void shard_result_committed(struct shard *s, const struct waiter *w);
void shard_result_failed(struct shard *s, const struct waiter *w);

/* shard_reports.c */
void shard_run_checks(struct shard *s);
void shard_check_done(struct shard *s, const struct waiter *w, enum fsm_status status);
void shard_needs_report(struct shard *s, uint64_t msg_id);
void shard_check_now(struct shard *s, uint64_t msg_id);
void shard_report_later(struct shard *s, uint64_t msg_id);
void shard_report_late(struct shard *s);
void shard_forget_late(struct shard *s);
/* A DSN for these recipients as a command; everything it points to lives in s->turn. NULL when nobody wants one. */
const struct cmd_enqueue *shard_make_dsn(struct shard *s, const struct qread_msg *msg, const struct mail_rcpt *const *rcpts,
                                         size_t n, bool delay);

/* shard_members.c */
void shard_member_up(struct shard *s, const struct lane_facts *lane);
void shard_member_done(struct shard *s, const struct waiter *w, bool committed);

/* shard_admin.c */
void shard_on_admin(struct shard *s, struct admin_request *r);
void shard_admin_done(struct shard *s, const struct waiter *w, bool changed);
void shard_admin_finish(struct admin_request *r, int status);

#endif
