/* messages.h - the messages of the bus as domain structs. Generated protobuf types never leave common/wire.
 *
 * A frame on the bus is a header (protobuf `Frame`, proto/bus.proto) and an optional payload of raw bytes; slices named
 * *payload* below are parts of that payload. Decoded messages borrow from the received frames and from the arena given
 * to wire_decode; they live as long as both.
 *
 * Directions: I ingress, N scheduler node, D deliverer. A "lane" is one loop thread of an ingress or deliverer: it has its
 * own connection, identity, credit and slots, so threads share nothing.
 *
 * Nothing here is trusted: wire_decode checks version, ranges, counts and that payload parts lie inside the payload. */
#ifndef PR_WIRE_MESSAGES_H
#define PR_WIRE_MESSAGES_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/arena.h"
#include "common/base/buf.h"
#include "common/base/slice.h"
#include "common/mail/classify.h"
#include "common/mail/envelope.h"

enum { WIRE_VERSION = 1, WIRE_BATCH_MAX = 1024, WIRE_INLINE_BODY_MAX = 64 * 1024, WIRE_CHUNK_MAX = 256 * 1024,
       WIRE_HEADER_MAX = 2 * 1024 * 1024 };

enum wire_type {
    WIRE_NONE,
    WIRE_HELLO,      /* I,D -> N */
    WIRE_HELLO_OK,   /* N -> I,D: also sent unasked whenever a shard's leadership or admission changes, and as heartbeat */
    WIRE_HEARTBEAT,  /* I,D -> N every second */
    WIRE_ENQUEUE,    /* I -> N, batch */
    WIRE_ENQUEUE_ACK,/* N -> I, batch; only after commit and apply */
    WIRE_PART,       /* I -> N: one chunk of a large body, ahead of its envelope (bulk socket) */
    WIRE_PART_ACK,   /* N -> I */
    WIRE_DEMAND,     /* N -> D, batch: destinations with jobs that could go now */
    WIRE_CREDIT,     /* D -> N, batch: absolute counters */
    WIRE_JOB,        /* N -> D, batch; only after the issue record is committed */
    WIRE_RETURN,     /* D -> N, batch: jobs given back unstarted */
    WIRE_RESULT,     /* D -> N, batch; repeated until acknowledged */
    WIRE_RESULT_ACK, /* N -> D, batch; only after commit */
    WIRE_CANCEL,     /* N -> D */
    WIRE_INVENTORY,  /* D -> N: what this lane holds of a shard, after HELLO_OK with a new term */
    WIRE_BODY_GET,   /* D -> N (bulk socket) */
    WIRE_BODY_CHUNK, /* N -> D (bulk socket) */
    WIRE_GATE_REQ,   /* D -> N: wants and use of slots */
    WIRE_GATE_GRANT, /* N -> D */
    WIRE_TYPE_NR,
};
extern const char *const wire_type_names[WIRE_TYPE_NR];

enum wire_role { WIRE_ROLE_INGRESS, WIRE_ROLE_DELIVERER, WIRE_ROLE_NR };

struct wire_hello {
    enum wire_role role;
    struct pr_slice node_id; /* stable name of the process: host name plus role */
    uint64_t boot_id;        /* random, one per process start */
    uint32_t lane;           /* loop thread, 0.. */
    uint32_t max_jobs;       /* D: jobs it will hold at most */
    bool bulk;               /* this is the bulk socket of the same lane */
};

struct wire_shard_state {
    uint32_t shard;
    uint64_t term;      /* 0: no leader known */
    bool leader;        /* the sender leads it and is ready to work */
    uint8_t admission;  /* 0 accept, 1 slow down, 2 no bulk, 3 refuse (451), 4 disk full (452) */
    uint64_t queued;    /* messages: for choosing the less loaded of two */
    uint64_t window_bytes; /* I: at most so many unacknowledged enqueue bytes toward this shard */
};
struct wire_hello_ok {
    struct pr_slice node_id;
    uint64_t boot_id;
    uint32_t gate_epoch; /* changes when the gate lost its memory: deliverers send their whole table */
    struct wire_shard_state *shards;
    size_t n_shards;
};

struct wire_token {
    uint8_t bytes[16];
};

struct wire_enqueue_group {
    struct pr_slice domain;  /* routing domain, normalised */
    struct pr_slice encoded; /* by wire_group_encode; stored as it is */
    uint32_t n_rcpts;
};
struct wire_enqueue_item {
    struct wire_token token;       /* random, made before the first attempt: makes a resend idempotent */
    struct pr_slice tenant, pool;  /* as in the envelope: with class and domain they make the flow */
    enum mail_class class_;
    struct pr_slice envelope;      /* encoded by wire_envelope_encode (without groups); stored as it is */
    struct wire_enqueue_group *groups;
    size_t n_groups;
    struct pr_slice body;          /* payload part: the whole content if inline, else empty */
    uint64_t body_id;              /* parts already committed under this id, 0 for inline */
    uint32_t n_chunks;             /* of body_id */
    uint64_t size_bytes;           /* content */
    uint64_t lifetime_ms;          /* 0: the queue's default for the class */
};
struct wire_enqueue {
    uint32_t shard;
    struct wire_enqueue_item *items;
    size_t n;
};

enum wire_ack_status {
    WIRE_ACK_OK,
    WIRE_ACK_NOT_LEADER, /* not stored here: try the leader with the same token */
    WIRE_ACK_BUSY,       /* not stored: 451 */
    WIRE_ACK_FULL,       /* not stored: 452 4.3.1 */
    WIRE_ACK_UNKNOWN,    /* leadership lost in between: may be stored; resend with the same token or answer 451 */
    WIRE_ACK_INVALID,    /* refused for ever: 554 */
    WIRE_ACK_NR,
};
struct wire_enqueue_ack_item {
    struct wire_token token;
    enum wire_ack_status status;
    uint64_t msg_id; /* OK */
};
struct wire_enqueue_ack {
    uint32_t shard;
    uint64_t acked_bytes; /* running total for the window */
    struct wire_enqueue_ack_item *items;
    size_t n;
};

struct wire_part {
    uint32_t shard;
    struct wire_token token; /* of the message; identifies the upload in the ack */
    uint64_t body_id;        /* 0 for the first part: the leader makes one */
    uint32_t seq;            /* 0.. */
    struct pr_slice bytes;   /* payload, <= WIRE_CHUNK_MAX */
};
struct wire_part_ack {
    uint32_t shard;
    struct wire_token token;
    uint64_t body_id;
    uint32_t seq;
    enum wire_ack_status status;
};

/* A destination is the key of limits and connections: the routing domain, or the next hop as written in `routes`. */
struct wire_demand_item {
    struct pr_slice destination;
    struct pr_slice pool;
    uint32_t backlog; /* jobs ready now, capped */
    uint32_t weight;  /* share of this shard in the deliverer's credit */
};
struct wire_demand {
    uint32_t shard;
    uint64_t term;
    struct wire_demand_item *items;
    size_t n;
};

struct wire_credit_item {
    struct pr_slice destination;
    struct pr_slice pool;
    uint64_t jobs_allowed; /* absolute since this lane's HELLO to this shard and term: idempotent */
};
struct wire_credit {
    uint32_t shard;
    uint64_t term;
    struct wire_credit_item *items;
    size_t n;
};

struct wire_job {
    uint64_t msg_id;
    uint32_t group;
    uint64_t attempt_id;
    uint32_t attempt;           /* number of this attempt, 1.. */
    struct pr_slice destination;
    struct pr_slice pool;
    struct pr_slice envelope;   /* encoded by wire_envelope_encode */
    struct pr_slice recipients; /* encoded by wire_group_encode: this group, pending recipients only matter */
    uint64_t size_bytes;
    uint64_t body_id;
    uint32_t n_chunks;
    struct pr_slice body; /* payload part: whole content when <= WIRE_INLINE_BODY_MAX, else empty: BODY_GET */
};
struct wire_jobs {
    uint32_t shard;
    uint64_t term;
    struct wire_job *items;
    size_t n;
};

struct wire_attempt_ref {
    uint64_t msg_id;
    uint32_t group;
    uint64_t attempt_id;
};
enum wire_return_reason { WIRE_RETURN_NO_SLOT, WIRE_RETURN_DRAINING, WIRE_RETURN_STALE_TERM, WIRE_RETURN_NR };
struct wire_return {
    uint32_t shard;
    uint64_t term;
    enum wire_return_reason reason;
    struct wire_attempt_ref *items;
    size_t n;
};

struct wire_rcpt_result {
    uint32_t index; /* in the group */
    enum mail_outcome outcome;
    uint16_t code;
    struct pr_slice enhanced;
    struct pr_slice diagnostic;
};
struct wire_result {
    struct wire_attempt_ref ref;
    struct wire_rcpt_result *rcpts;
    size_t n_rcpts;
    enum mail_scope scope;  /* SITE: counts against the destination */
    enum mail_stage stage;
    struct pr_slice remote; /* "mx.example [192.0.2.1]" */
    struct pr_slice tls;    /* "TLSv1.3", empty for none */
    uint32_t duration_ms;
};
struct wire_results {
    uint32_t shard;
    uint64_t term; /* under which the job was received */
    struct wire_result *items;
    size_t n;
};
struct wire_refs { /* RESULT_ACK, CANCEL */
    uint32_t shard;
    uint64_t term;
    struct wire_attempt_ref *items;
    size_t n;
};

enum wire_phase { WIRE_PHASE_QUEUED, WIRE_PHASE_STARTED, WIRE_PHASE_DOT, WIRE_PHASE_DONE, WIRE_PHASE_NR };
struct wire_inventory_item {
    struct wire_attempt_ref ref;
    enum wire_phase phase; /* DONE: finished, its RESULT follows or is under way */
};
/* The whole holding of this lane for the shard, in one or more messages; `last` ends it. The lane has raised its highest
 * term for the shard before it sends this: jobs of older terms are refused from then on. */
struct wire_inventory {
    uint32_t shard;
    uint64_t term;
    uint64_t boot_id;
    bool last;
    struct wire_inventory_item *items;
    size_t n;
};

struct wire_body_get {
    uint32_t shard;
    uint64_t msg_id, body_id;
    uint32_t seq; /* chunk */
};
struct wire_body_chunk {
    uint32_t shard;
    uint64_t msg_id, body_id;
    uint32_t seq;
    bool found;           /* false: the message is gone (deleted): abort the attempt */
    struct pr_slice bytes; /* payload */
};

/* Slots are leased: a deliverer may open a connection while open < slots and its grant is fresh (it counts the deadline
 * from the time it sent the request). */
struct wire_gate_want {
    struct pr_slice destination;
    struct pr_slice pool;
    uint32_t open;      /* connections now open (in use) */
    uint32_t wants;     /* connections it could use */
    uint64_t acked_seq; /* last grant applied: open <= its slots from then on */
    uint32_t ok, site_failures; /* since the last acknowledged request: feedback */
    struct pr_slice last_error; /* text of the last site failure */
};
struct wire_gate_req {
    uint32_t gate_epoch; /* last seen */
    uint64_t t_seq;      /* echoed in the grant */
    bool full;           /* the whole table: what is not listed is not held */
    struct wire_gate_want *items;
    size_t n;
};
struct wire_gate_slot {
    struct pr_slice destination;
    struct pr_slice pool;
    uint64_t seq;
    uint32_t slots;
    uint32_t messages_per_connection;
    uint32_t recipients_per_message;
    uint64_t rate_count, rate_per_ms; /* this lane's share; 0: unlimited */
};
struct wire_gate_grant {
    uint32_t gate_epoch;
    uint64_t t_seq;
    uint32_t ttl_ms;
    struct wire_gate_slot *items;
    size_t n;
};

struct wire_msg {
    enum wire_type type;
    union {
        struct wire_hello hello;
        struct wire_hello_ok hello_ok;
        struct wire_enqueue enqueue;
        struct wire_enqueue_ack enqueue_ack;
        struct wire_part part;
        struct wire_part_ack part_ack;
        struct wire_demand demand;
        struct wire_credit credit;
        struct wire_jobs jobs;
        struct wire_return return_;
        struct wire_results results;
        struct wire_refs refs; /* RESULT_ACK, CANCEL */
        struct wire_inventory inventory;
        struct wire_body_get body_get;
        struct wire_body_chunk body_chunk;
        struct wire_gate_req gate_req;
        struct wire_gate_grant gate_grant;
    };
};

/* Encodes m: the header is appended to *header, payload parts (bodies) are appended to *payload (may be NULL for types
 * without one); parts that already lie inside *payload are only referred to. */
void wire_encode(const struct wire_msg *m, struct pr_buf *header, struct pr_buf *payload);
/* Decodes and checks. PR_EPARSE, PR_EVERSION, PR_ETOOBIG. */
PR_MUST_USE int wire_decode(struct pr_slice header, struct pr_slice payload, struct pr_arena *arena, struct wire_msg *ret);

/* The envelope (without its groups) and one group as stored in the queue (proto/queue.proto); stable on disk. */
void wire_envelope_encode(const struct mail_envelope *e, struct pr_buf *out);
PR_MUST_USE int wire_envelope_decode(struct pr_slice in, struct pr_arena *arena, struct mail_envelope *ret);
void wire_group_encode(const struct mail_group *g, struct pr_buf *out);
PR_MUST_USE int wire_group_decode(struct pr_slice in, struct pr_arena *arena, struct mail_group *ret);

/* Text form of a queue id: 16 characters of Crockford's base32 (shard 16 bits, msg id 64 bits). Case-insensitive. */
enum { WIRE_QUEUE_ID_LEN = 16 };
void wire_queue_id_format(uint32_t shard, uint64_t msg_id, char out[WIRE_QUEUE_ID_LEN + 1]);
PR_MUST_USE int wire_queue_id_parse(struct pr_slice text, uint32_t *ret_shard, uint64_t *ret_msg_id);

#endif
