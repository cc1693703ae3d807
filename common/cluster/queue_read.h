/* queue_read.h - the read side of a shard's queue: job building on the loop, listings from any thread.
 *
 * All functions take the stage's lock briefly and copy what they return; scans work in bounded steps and hand out rows
 * with no lock held, so a long listing holds nobody up. A scan is not a snapshot: mail that ends or appears meanwhile
 * may or may not be in it, nothing else is missed or doubled.
 *
 * Owns: nothing. Thread: any. Errors: PR_ENOTFOUND; PR_EIO, PR_ECORRUPT from the store. */
#ifndef PR_CLUSTER_QUEUE_READ_H
#define PR_CLUSTER_QUEUE_READ_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/arena.h"
#include "common/base/buf.h"
#include "common/cluster/fsm.h"
#include "common/mail/envelope.h"
#include "common/store/keyspace.h"

struct qread_msg {
    uint64_t msg_id;
    bool held;
    bool delay_warned;
    enum mail_class class_;
    struct pr_slice tenant, pool;
    struct pr_slice envelope; /* for wire_envelope_decode */
    uint64_t received_ms, expiry_ms, check_ms, size_bytes;
    uint64_t body_id;
    uint32_t n_chunks;
    uint32_t n_groups, groups_left; /* at enqueue; with pending recipients */
    uint32_t groups_unreported;     /* with failures that await a report */
};

struct qread_rcpt {
    enum mail_rcpt_status status;
    bool reported;
    uint16_t code;
    struct pr_slice enhanced, diagnostic, remote;
};

struct qread_group {
    uint64_t msg_id;
    uint16_t group;
    uint32_t flow_id;
    bool parked;      /* message held: not in the schedule */
    bool leased;
    uint64_t due_ms;
    uint32_t attempt; /* made so far */
    uint32_t n_rcpts, n_pending, n_unreported;
    struct pr_slice domain;
    struct pr_slice encoded;   /* wire_group_encode as enqueued: statuses are in: */
    struct qread_rcpt *rcpts;  /* n_rcpts, or NULL when all are pending and untried */
};

struct qread_lease {
    uint64_t msg_id;
    uint16_t group;
    uint64_t attempt_id;
    uint32_t attempt; /* its number, 1.. */
    struct pr_slice node_id;
    uint64_t boot_id;
    uint32_t lane;
    uint64_t issued_ms;
};

/* Strings and arrays of the results live in `arena`. */
PR_MUST_USE int qread_message(struct stage *s, uint64_t msg_id, struct pr_arena *arena, struct qread_msg *ret);
PR_MUST_USE int qread_group(struct stage *s, uint64_t msg_id, uint16_t group, struct pr_arena *arena,
                            struct qread_group *ret);
PR_MUST_USE int qread_lease(struct stage *s, uint64_t msg_id, uint16_t group, struct pr_arena *arena,
                            struct qread_lease *ret);
/* The group as mail_group, its recipients with their present status. */
PR_MUST_USE int qread_group_decode(const struct qread_group *g, struct pr_arena *arena, struct mail_group *ret);
/* For a job: the group encoded with the present status. Appends to out; no decoding for untried groups. */
PR_MUST_USE int qread_group_encode(const struct qread_group *g, struct pr_arena *arena, struct pr_buf *out);
/* Appends one chunk. */
PR_MUST_USE int qread_body(struct stage *s, uint64_t body_id, uint32_t chunk, struct pr_buf *out);
PR_MUST_USE int qread_gate(struct stage *s, struct pr_slice key, struct pr_buf *out);

/* Everything a job needs in one go under one lock: message, group, lease-free. body may be NULL; else the body is
 * appended when the message has exactly one chunk of at most body_max bytes (*ret_inlined). */
struct qread_job {
    struct qread_msg msg;
    struct qread_group group;
    bool inlined;
};
PR_MUST_USE int qread_job(struct stage *s, uint64_t msg_id, uint16_t group, size_t body_max, struct pr_arena *arena,
                          struct pr_buf *body, struct qread_job *ret);

/* Scans: call `on_row` for each row until it returns false, `max_rows` were handed out or the range ends. *cursor says
 * where to go on (start with the documented value); *ret_more whether there may be more. */
typedef bool (*qread_msg_fn)(void *data, const struct qread_msg *m);
/* Ascending by id. *cursor: last id seen, 0 to start. */
PR_MUST_USE int qread_messages(struct stage *s, uint64_t *cursor, uint32_t max_rows, qread_msg_fn on_row, void *data,
                               bool *ret_more);
/* All groups of a message that still have a record. */
typedef bool (*qread_group_fn)(void *data, const struct qread_group *g);
PR_MUST_USE int qread_groups(struct stage *s, uint64_t msg_id, qread_group_fn on_row, void *data);

/* Rows of one flow in due order, leased ones included (a row stays until its result). Refill: keep the cursor as
 * low-bound hint; reset it to {0} or to something lower when a row is filed below it. */
struct qread_sched_cursor {
    uint64_t due_ms;
    uint64_t msg_id;
    uint16_t group;
    uint32_t seq;
};
typedef bool (*qread_row_fn)(void *data, const struct fsm_row *row);
/* Rows at or after *cursor with due <= until_ms. On return the cursor is just after the last row handed out.
 * *ret_next_due: due time of the first row not handed out, UINT64_MAX if there is none. */
PR_MUST_USE int qread_sched(struct stage *s, uint32_t flow_id, struct qread_sched_cursor *cursor, uint64_t until_ms,
                            uint32_t max_rows, qread_row_fn on_row, void *data, uint64_t *ret_next_due);
/* *cursor: {0} to start. */
struct qread_lease_cursor {
    uint64_t msg_id;
    uint32_t group; /* next */
};
typedef bool (*qread_lease_fn)(void *data, const struct qread_lease *l);
PR_MUST_USE int qread_leases(struct stage *s, struct qread_lease_cursor *cursor, uint32_t max_rows,
                             qread_lease_fn on_row, void *data, bool *ret_more);
/* expq rows up to and including `minute`, oldest first. */
typedef bool (*qread_expq_fn)(void *data, const struct key_expq *row);
PR_MUST_USE int qread_expq(struct stage *s, uint32_t minute, uint32_t max_rows, qread_expq_fn on_row, void *data,
                           uint32_t *ret_next_minute);
/* Flows on disk (any thread; the loop uses fsm_flow_next). *cursor: last id seen, 0 to start. */
typedef bool (*qread_flow_fn)(void *data, const struct fsm_flow *flow);
PR_MUST_USE int qread_flows(struct stage *s, uint32_t *cursor, uint32_t max_rows, qread_flow_fn on_row, void *data,
                            bool *ret_more);

/* Age shape: rows of a flow by age of the message. Bounded by max_rows per call; go on with the same struct. */
enum { QREAD_SHAPE_BUCKETS = 10 }; /* < 5, 10, 20, 40, 80, 160, 320, 640, 1280 minutes, older */
struct qread_shape {
    uint32_t flow_id;
    uint64_t count[QREAD_SHAPE_BUCKETS];
    uint64_t total, bytes;
    uint64_t oldest_ms; /* id time of the oldest message; UINT64_MAX for none */
    struct qread_sched_cursor cursor;
    bool done;
};
PR_MUST_USE int qread_shape(struct stage *s, pr_wall now, uint32_t max_rows, struct qread_shape *shape);

#endif
