/* fsm.h - the state machine of one shard: applies log entries to the queue and says what changed.
 *
 * Deterministic: the same entries give the same rows on every replica. Effects tell a leader's scheduler everything it
 * needs to follow without reading the store; followers pass NULL.
 *
 * Owns: the stage, the flow table, the dedup window, the counters. Borrows: the kv for its lifetime.
 * Thread: one (the shard's loop); counters and store reads from others only through queue_read.h.
 * Errors: fsm_apply never fails for a reason in the mail: a command that cannot be done is refused in its effect. An
 * error (PR_EPARSE, PR_EVERSION: entry of a newer program; PR_EIO, PR_ECORRUPT: store) means the process must stop. */
#ifndef PR_CLUSTER_FSM_H
#define PR_CLUSTER_FSM_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/arena.h"
#include "common/cluster/command.h"
#include "common/store/stage.h"

enum {
    /* Tokens are remembered for ten minutes, at most half a million of them: far longer than an ingress resends (30 s).
     * Part of the state machine: changing them needs a new command version. */
    FSM_DEDUP_MS = 10 * 60 * 1000,
    FSM_DEDUP_MAX = 512 * 1024,
};

enum fsm_status {
    FSM_OK,
    FSM_DUPLICATE, /* ENQUEUE: token known; PART: already stored */
    FSM_GONE,      /* message, group, attempt, upload or row is not there (any more) */
    FSM_STALE,     /* RESULT: another attempt is current (deliveries still count); ISSUE: the row has changed */
    FSM_HELD,      /* ISSUE: message is held */
    FSM_LEASED,    /* ISSUE, REPORT: another attempt holds the group */
    FSM_CONFLICT,  /* REPORT: an item is in another state; FLOW_DROP: in use; HOLD of held, UNHOLD of not held */
    FSM_INVALID,   /* ENQUEUE, PART: id not new, chunks missing, no groups */
    FSM_STATUS_NR,
};
extern const char *const fsm_status_names[FSM_STATUS_NR];

enum fsm_effect_type {
    FSM_FLOW_ADDED,
    FSM_FLOW_DROPPED,
    FSM_MSG_STORED,   /* answer to an ENQUEUE, also of a nested one (nested = true) */
    FSM_PART_STORED,  /* answer to a PART */
    FSM_ROW_FILED,    /* a group is waiting in its flow (new, or its old row replaced) */
    FSM_ROW_GONE,     /* a waiting row was taken away without an attempt: held, deleted, expired, retried */
    FSM_ISSUED,       /* answer to an ISSUE, and for each group issued by an ENQUEUE */
    FSM_LEASE_FREED,  /* answer to a RELEASE_LEASE; when OK the row is ready again as it was */
    FSM_RESULT_DONE,  /* answer to a RESULT */
    FSM_CANCEL,       /* a running attempt has lost its object: message deleted, or delivered by an older attempt */
    FSM_NEEDS_REPORT, /* nothing is left to deliver and failures are unreported: the leader proposes a REPORT */
    FSM_MSG_GONE,     /* message ended */
    FSM_REPORT_DONE,  /* answer to a REPORT */
    FSM_ADMIN_DONE,   /* answer to HOLD, UNHOLD, DELETE, RETRY, GATE_*, EPOCH, BODY_REAP, FLOW_DROP */
    FSM_EFFECT_TYPE_NR,
};

struct fsm_flow {
    uint32_t flow_id;
    enum mail_class class_;
    struct pr_slice tenant, pool, domain;
};

/* A row of the schedule: one group that waits for its due time. */
struct fsm_row {
    uint32_t flow_id;
    uint64_t due_ms;
    uint64_t msg_id;
    uint16_t group;
    uint32_t attempt; /* attempts made so far */
    uint64_t size_bytes;
    uint32_t n_rcpts; /* pending */
};

struct fsm_effect {
    enum fsm_effect_type type;
    enum fsm_status status;
    uint32_t command; /* position in the entry */
    union {
        struct fsm_flow flow; /* FLOW_ADDED, FLOW_DROPPED: borrowed from the fsm, until the flow is dropped */
        struct {
            struct cmd_token token;
            uint64_t msg_id; /* of the first copy when DUPLICATE */
            bool nested;
            uint32_t n_groups;
            uint64_t size_bytes, expiry_ms, check_ms;
        } msg;
        struct {
            uint64_t body_id;
            uint32_t seq;
        } part;
        struct fsm_row row; /* ROW_FILED, ROW_GONE */
        struct {
            struct cmd_attempt_ref ref;
            struct fsm_row row;
        } attempt; /* ISSUED, LEASE_FREED, CANCEL */
        struct {
            struct cmd_attempt_ref ref;
            struct fsm_row row;   /* the row that was under way (due and attempt before the result) */
            bool group_done;      /* nothing pending in the group any more; else a ROW_FILED follows (unless held) */
            bool held;            /* pending, but the message is held: no row */
            bool bounce_dropped;  /* the nested DSN was not taken */
            uint32_t n_delivered, n_failed, n_pending; /* delivered and failed by this command */
        } result;
        struct {
            uint64_t msg_id;
        } gone; /* MSG_GONE, NEEDS_REPORT */
        struct {
            uint64_t msg_id;
            uint64_t next_check_ms; /* 0: no further check, message ended */
            uint32_t n_expired;
        } report;
        struct {
            enum cmd_type type;
            uint64_t id;    /* message, body or flow */
            uint32_t count; /* groups concerned */
        } admin;
    };
};

/* Filled by fsm_apply; reusable. Slices in it live until the next fsm_apply. */
struct fsm_effects {
    struct fsm_effect *items;
    size_t n, cap;
};
void fsm_effects_fini(struct fsm_effects *e);

struct fsm_counters {
    uint64_t messages, bytes; /* content bytes */
    uint64_t held;            /* messages */
    uint64_t groups_waiting;  /* groups with pending recipients: scheduled, leased or held */
    uint64_t leases;
    uint64_t reports_owed;    /* messages that only wait for a report */
    uint64_t uploads, upload_bytes;
    /* Since the shard was made. */
    uint64_t enqueued, duplicates, delivered, failed, expired, deferred; /* recipients from delivered on */
};

struct fsm;

/* Opens on what the store holds: reads flows, dedup window, counters (not the queue itself). *reterr gets a text. */
PR_MUST_USE int fsm_open(struct kv *kv, struct fsm **ret_fsm, struct pr_buf *reterr);
/* Without spilling; NULL is a no-op. */
void fsm_free(struct fsm *f);

/* Applies one entry. Entries at or below fsm_applied are skipped (0, no effects). effects may be NULL. */
PR_MUST_USE int fsm_apply(struct fsm *f, uint64_t index, uint64_t term, struct pr_slice entry,
                          struct fsm_effects *effects);
/* An entry that is no command of ours (barrier, membership): only moves the index. */
void fsm_skip(struct fsm *f, uint64_t index, uint64_t term);
/* Brings the store to the state after the last applied entry. Called by itself when the stage has grown. */
PR_MUST_USE int fsm_spill(struct fsm *f);
/* Stage limits: spill when it holds more than this. */
void fsm_set_spill(struct fsm *f, size_t bytes, size_t rows);

uint64_t fsm_applied(const struct fsm *f);
uint64_t fsm_applied_term(const struct fsm *f);
/* Applied index that a crash would leave in the store. */
PR_MUST_USE int fsm_durable(struct fsm *f, uint64_t *ret_index);
/* Highest message or body id ever used. */
uint64_t fsm_last_id(const struct fsm *f);
const struct fsm_counters *fsm_counters(const struct fsm *f);
struct stage *fsm_stage(struct fsm *f);
/* By id, or NULL. */
const struct fsm_flow *fsm_flow(const struct fsm *f, uint32_t flow_id);
/* Iterates: *it starts at 0. */
const struct fsm_flow *fsm_flow_next(const struct fsm *f, size_t *it);
/* Hash of the whole logical state, equal on replicas with the same applied index. */
PR_MUST_USE int fsm_hash(struct fsm *f, uint64_t *ret_hash);
/* Text for the last error of fsm_apply or fsm_spill. */
const char *fsm_error(struct fsm *f);

#endif
