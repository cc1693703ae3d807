/* records.h - the values of the column families: little-endian, versioned, strictly decoded. Stable on disk.
 *
 * Borrows: decoded records point into the row they were decoded from, vectors into the arena.
 * Thread: any. Errors: PR_ECORRUPT (also for an unknown version: the store is only opened by programs that know it). */
#ifndef PR_CLUSTER_RECORDS_H
#define PR_CLUSTER_RECORDS_H

#include "common/cluster/fsm.h"
#include "common/cluster/queue_read.h"

struct rec_msg {
    bool held, delay_warned;
    enum mail_class class_;
    uint64_t received_ms, expiry_ms, check_ms, size_bytes, body_id;
    uint32_t n_chunks;
    uint16_t n_groups, groups_left, groups_unreported;
    uint32_t check_minute;  /* of its EXPQ_CHECK row; only ever moves forward */
    uint32_t report_minute; /* of its EXPQ_REPORT row, 0 for none; put at most once */
    struct pr_slice tenant, pool, envelope;
};

struct rec_group {
    bool parked; /* held: no row in sched */
    uint32_t flow_id;
    uint64_t due_ms;
    uint32_t seq; /* of the present sched row; the next one gets seq + 1 */
    uint32_t attempt;
    uint16_t n_rcpts, n_pending, n_unreported;
    struct pr_slice domain, encoded;
    struct qread_rcpt *rcpts; /* n_rcpts, or NULL: all pending and untried */
};

struct rec_lease {
    uint64_t attempt_id;
    uint32_t attempt;
    struct pr_slice node_id;
    uint64_t boot_id;
    uint32_t lane;
    uint64_t issued_ms;
};

struct rec_sched {
    uint64_t size_bytes;
    uint32_t n_rcpts, attempt;
};

struct rec_upload {
    uint32_t n_parts;
    uint64_t bytes, reap_ms;
    uint32_t reap_minute; /* of its EXPQ_BODY row; only ever moves forward */
};

/* What the state machine knows besides rows; written whenever the stage is spilled. */
struct rec_counters {
    struct fsm_counters shown;
    uint64_t last_id;
    uint64_t dedup_ms;   /* latest time of the dedup window */
    uint64_t dedup_first; /* rows of entries before this one are removed */
    uint32_t flow_next;
};

/* All clear `out` first. */
void rec_msg_encode(const struct rec_msg *m, struct pr_buf *out);
PR_MUST_USE int rec_msg_decode(struct pr_slice in, struct rec_msg *ret);
void rec_group_encode(const struct rec_group *g, struct pr_buf *out);
/* Decodes the status vector into the arena; arena NULL: without it (rcpts NULL). */
PR_MUST_USE int rec_group_decode(struct pr_slice in, struct pr_arena *arena, struct rec_group *ret);
void rec_lease_encode(const struct rec_lease *l, struct pr_buf *out);
PR_MUST_USE int rec_lease_decode(struct pr_slice in, struct rec_lease *ret);
void rec_sched_encode(const struct rec_sched *s, struct pr_buf *out);
PR_MUST_USE int rec_sched_decode(struct pr_slice in, struct rec_sched *ret);
void rec_upload_encode(const struct rec_upload *u, struct pr_buf *out);
PR_MUST_USE int rec_upload_decode(struct pr_slice in, struct rec_upload *ret);
void rec_flow_encode(const struct fsm_flow *f, struct pr_buf *out);
PR_MUST_USE int rec_flow_decode(struct pr_slice in, struct fsm_flow *ret);
void rec_counters_encode(const struct rec_counters *c, struct pr_buf *out);
PR_MUST_USE int rec_counters_decode(struct pr_slice in, struct rec_counters *ret);
void rec_applied_encode(uint64_t index, uint64_t term, struct pr_buf *out);
PR_MUST_USE int rec_applied_decode(struct pr_slice in, uint64_t *ret_index, uint64_t *ret_term);

#endif
