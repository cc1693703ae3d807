/* fsm_internal.h - shared by the fsm_*.c files: one file per group of commands, helpers on messages and groups here.
 *
 * Inside apply, PR_ENOTFOUND from a read is a fact about the queue and becomes a status; every other error is the
 * store's and ends in fsm_apply's return value. */
#ifndef PR_CLUSTER_FSM_INTERNAL_H
#define PR_CLUSTER_FSM_INTERNAL_H

#include "common/base/map.h"
#include "common/cluster/records.h"
#include "common/store/keyspace.h"

/* The window of remembered tokens: a ring in order of arrival and an index into it by token. */
struct dedup_entry {
    struct cmd_token token;
    uint64_t msg_id;
    uint64_t ms;
    uint64_t index; /* of the log entry that brought it */
};
struct dedup {
    struct dedup_entry *ring; /* cap of them, a power of two */
    uint64_t first, end;      /* positions ever used; [first, end) are alive, at position % cap */
    uint32_t cap;
    uint32_t *slots;          /* 2 * cap of them: place in the ring + 1, 0 for empty */
};
void dedup_fini(struct dedup *d);
/* The message of the token, or 0. */
uint64_t dedup_find(const struct dedup *d, const struct cmd_token *token);
/* The token must be new. Forgets the oldest beyond FSM_DEDUP_MAX. */
void dedup_add(struct dedup *d, const struct dedup_entry *e);
/* Forgets what is older than FSM_DEDUP_MS at `ms`. */
void dedup_expire(struct dedup *d, uint64_t ms);
/* Index of the oldest one's log entry, or `none`. */
uint64_t dedup_oldest(const struct dedup *d, uint64_t none);

struct flow {
    struct fsm_flow pub;
    struct flow *next; /* in the list of those dropped by the present entry */
    char text[];
};

struct fsm {
    struct kv *kv;
    struct stage *stage;
    uint64_t applied, applied_term;
    struct rec_counters counters;
    struct dedup dedup;
    struct pr_buf dedup_row;  /* tokens of the present entry */
    struct pr_map flows;      /* by id */
    struct pr_map flow_names; /* by class, tenant, pool, domain */
    struct flow *dropped;     /* effects borrow from them until the next entry */
    size_t spill_bytes, spill_rows;

    /* The entry being applied. */
    struct pr_arena arena;
    struct pr_buf record, name; /* scratch for encoding */
    pr_wall now;
    uint64_t index;
    uint32_t command;
    struct fsm_effects *effects;
    struct fsm_effect sink; /* takes effects nobody wants */

    struct pr_buf error;
};

/* A message and what the command does to it. */
struct fsm_msg {
    uint64_t id;
    struct rec_msg rec;
};
/* A group of it, with its counts before the command. */
struct fsm_group {
    uint64_t msg_id;
    uint16_t index;
    struct rec_group rec;
    bool had_pending, had_unreported;
};

/* Adds an effect of the present command; never NULL. */
struct fsm_effect *fsm_emit(struct fsm *f, enum fsm_effect_type type, enum fsm_status status);
void fsm_set_error(struct fsm *f, const char *fmt, ...) PR_PRINTF(2, 3);

/* Reads. PR_ENOTFOUND or a store error. */
PR_MUST_USE int fsm_load_msg(struct fsm *f, uint64_t id, struct fsm_msg *ret);
PR_MUST_USE int fsm_load_group(struct fsm *f, uint64_t msg_id, uint16_t index, struct fsm_group *ret);
PR_MUST_USE int fsm_load_lease(struct fsm *f, uint64_t msg_id, uint16_t group, struct rec_lease *ret);

void fsm_put_lease(struct fsm *f, uint64_t msg_id, uint16_t group, const struct rec_lease *lease);
void fsm_drop_lease(struct fsm *f, uint64_t msg_id, uint16_t group);

/* The group's schedule row under its present (flow, due, seq). */
void fsm_put_sched(struct fsm *f, const struct fsm_msg *m, const struct fsm_group *g);
void fsm_drop_sched(struct fsm *f, const struct fsm_group *g);
struct fsm_row fsm_row_of(const struct fsm_msg *m, const struct fsm_group *g);

/* Makes sure that the vector of statuses exists. */
void fsm_need_statuses(struct fsm *f, struct fsm_group *g);
/* Counts pending and unreported again, stores or removes the record, and takes the change over into the message. */
void fsm_store_group(struct fsm *f, struct fsm_msg *m, struct fsm_group *g);
/* After the groups: ends the message, or marks it as waiting for its report, or stores it. */
void fsm_store_msg(struct fsm *f, struct fsm_msg *m);
/* Removes the message, its body and its index rows (the groups' records are gone already). */
void fsm_end_msg(struct fsm *f, const struct fsm_msg *m);
/* Moves the check to a later time. */
void fsm_move_check(struct fsm *f, struct fsm_msg *m, uint64_t check_ms);

/* Flows: fsm_flow.c */
PR_MUST_USE int fsm_flows_load(struct fsm *f);
void fsm_flows_fini(struct fsm *f);
uint32_t fsm_flow_id(struct fsm *f, enum mail_class class_, struct pr_slice tenant, struct pr_slice pool,
                     struct pr_slice domain);
void fsm_flows_forget_dropped(struct fsm *f);
PR_MUST_USE int fsm_apply_flow_drop(struct fsm *f, uint32_t flow_id);

/* fsm_enqueue.c. *ret_status says what became of it. */
PR_MUST_USE int fsm_do_enqueue(struct fsm *f, const struct cmd_enqueue *e, bool nested, enum fsm_status *ret_status);
PR_MUST_USE int fsm_apply_part(struct fsm *f, const struct cmd_part *p);
PR_MUST_USE int fsm_apply_body_reap(struct fsm *f, uint64_t body_id);

/* fsm_attempt.c, fsm_result.c, fsm_report.c, fsm_admin.c */
PR_MUST_USE int fsm_apply_issue(struct fsm *f, const struct cmd_issue *i);
PR_MUST_USE int fsm_apply_release(struct fsm *f, const struct cmd_attempt_ref *r);
PR_MUST_USE int fsm_apply_result(struct fsm *f, const struct cmd_result *r);
PR_MUST_USE int fsm_apply_report(struct fsm *f, const struct cmd_report *r);
PR_MUST_USE int fsm_apply_hold(struct fsm *f, uint64_t msg_id);
PR_MUST_USE int fsm_apply_unhold(struct fsm *f, const struct cmd_admin *a);
PR_MUST_USE int fsm_apply_delete(struct fsm *f, uint64_t msg_id);
PR_MUST_USE int fsm_apply_retry(struct fsm *f, const struct cmd_admin *a);
PR_MUST_USE int fsm_apply_gate(struct fsm *f, enum cmd_type type, const struct cmd_gate *g);
void fsm_apply_epoch(struct fsm *f, const struct cmd_epoch *e);

#endif
