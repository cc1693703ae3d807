/* keyspace.h - keys of the column families. Big-endian, so that byte order is the order of the tuple. No key is built
 * or taken apart anywhere else.
 *
 *   meta   name                                   -> applied index and term, counters, open uploads
 *   flow   flow u32                               -> tenant, class, pool, domain
 *   msg    msg u64                                -> message record
 *   rcpt   msg u64, group u16                     -> group record: recipients and their status
 *   sched  flow u32, due_ms u64, msg u64, group u16, seq u32 -> enough to schedule
 *   lease  msg u64, group u16                     -> issue record
 *   expq   minute u32, kind u8, id u64            -> nothing
 *   body   body u64, chunk u32                    -> bytes
 *   dedup  log index u64                          -> time, (token, msg)* of one entry
 *   gate   name                                   -> the gate's own bytes
 *
 * sched ends in a sequence number of the group (not the attempt): every filing of a row, also by an operator's retry or
 * release, gets a key that was never there before, as single deletes require.
 * dedup has one row per log entry, not per token, and rows go when their tokens leave the window (a range at a time):
 * the window itself is in memory, rows only rebuild it. */
#ifndef PR_STORE_KEYSPACE_H
#define PR_STORE_KEYSPACE_H

#include <stdint.h>

#include "common/store/kv.h"

enum { KEY_MAX = 32 };

/* A key by value; slice it with key_slice while it lives. */
struct key {
    uint8_t len;
    char bytes[KEY_MAX];
};
static inline struct pr_slice key_slice(const struct key *k) { return pr_slice(k->bytes, k->len); }

enum expq_kind {
    EXPQ_CHECK = 1,  /* message: delay warning or expiry */
    EXPQ_BODY = 2,   /* open upload: reap */
    EXPQ_REPORT = 3, /* message that only waits for its failure report */
};

struct key_sched {
    uint32_t flow;
    uint64_t due_ms;
    uint64_t msg_id;
    uint16_t group;
    uint32_t seq;
};
struct key_expq {
    uint32_t minute;
    enum expq_kind kind;
    uint64_t id;
};

static inline uint32_t key_minute(uint64_t ms) { return (uint32_t)(ms / 60000); }

struct key key_applied(void);
struct key key_counters(void);
struct key key_epoch(void);
struct key key_upload(uint64_t body_id);
struct key key_flow(uint32_t flow);
struct key key_msg(uint64_t msg_id);
struct key key_rcpt(uint64_t msg_id, uint16_t group);
struct key key_lease(uint64_t msg_id, uint16_t group);
struct key key_sched(const struct key_sched *s);
/* Lower bound of a flow's rows due at or after due_ms. */
struct key key_sched_from(uint32_t flow, uint64_t due_ms);
struct key key_expq(uint32_t minute, enum expq_kind kind, uint64_t id);
struct key key_expq_from(uint32_t minute);
struct key key_body(uint64_t body_id, uint32_t chunk);
struct key key_dedup(uint64_t index);

/* PR_ECORRUPT when the key does not have the family's form. */
PR_MUST_USE int key_sched_parse(struct pr_slice key, struct key_sched *ret);
PR_MUST_USE int key_expq_parse(struct pr_slice key, struct key_expq *ret);
PR_MUST_USE int key_msg_parse(struct pr_slice key, uint64_t *ret_msg_id);
PR_MUST_USE int key_group_parse(struct pr_slice key, uint64_t *ret_msg_id, uint16_t *ret_group);
PR_MUST_USE int key_flow_parse(struct pr_slice key, uint32_t *ret_flow);
PR_MUST_USE int key_dedup_parse(struct pr_slice key, uint64_t *ret_index);

#endif
