/* command.h - what a Raft log entry says: one batch of commands, applied in order as one unit.
 *
 * Entry: version u8, flags u8 (0), count u16, four zero bytes, now_ms u64 (the leader's wall clock at proposal), acked
 * u64 (highest index the leader had acknowledged at proposal), then `count` times {type u8, length u32, payload}, then
 * zero bytes up to a multiple of 8. All integers little-endian. Apply is a pure function of (state, entry): time,
 * jitter, ids and generated mail come in here. `acked` is no part of the state: it lets the check of a damaged log tell
 * an entry that was lost from one that was never acknowledged (seglog.h).
 *
 * Versions: an unknown version or type, or a byte too many or too few, is an error of the whole entry; the host stops.
 * Nothing is ever skipped.
 *
 * Ids (message and body ids share one space) are made by the leader, each greater than all before it, in the order in
 * which the commands are added: max(fsm_last_id() + 1, now_ms << 22).
 *
 * Borrows: encoding copies; decoded commands borrow from the entry and from the arena.
 * Thread: any. Errors: PR_EPARSE, PR_EVERSION, PR_ETOOBIG. */
#ifndef PR_CLUSTER_COMMAND_H
#define PR_CLUSTER_COMMAND_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/arena.h"
#include "common/base/buf.h"
#include "common/base/slice.h"
#include "common/mail/classify.h"
#include "common/mail/envelope.h"

enum {
    CMD_VERSION = 1,
    CMD_ENTRY_SOFT_MAX = 256 * 1024,   /* stop gathering here */
    CMD_ENTRY_HARD_MAX = 1024 * 1024,  /* never above */
    CMD_BODY_CHUNK_MAX = 256 * 1024,   /* a part, or an inline body */
    CMD_CHUNKS_MAX = 65536,
    CMD_GROUPS_MAX = 4096,
    CMD_RCPTS_MAX = 1000,              /* of one group */
    CMD_ENVELOPE_MAX = 64 * 1024,
    CMD_GROUP_BYTES_MAX = 512 * 1024,
    CMD_NAME_MAX = 255,                /* tenant, pool, domain, node id */
    CMD_TEXT_MAX = 1024,               /* a diagnostic; longer ones are cut by the encoder */
    CMD_GATE_KEY_MAX = 512,
    CMD_GATE_VALUE_MAX = 64 * 1024,
    CMD_COUNT_MAX = 8192,              /* commands of one entry */
};

enum cmd_type {
    CMD_NONE,
    CMD_ENQUEUE,
    CMD_PART,
    CMD_ISSUE,
    CMD_RELEASE_LEASE,
    CMD_RESULT,
    CMD_REPORT,
    CMD_HOLD,
    CMD_UNHOLD,
    CMD_DELETE,
    CMD_RETRY,
    CMD_GATE_PUT,
    CMD_GATE_DEL,
    CMD_EPOCH,
    CMD_BODY_REAP,
    CMD_FLOW_DROP,
    CMD_TYPE_NR,
};
extern const char *const cmd_type_names[CMD_TYPE_NR];

struct cmd_token {
    uint8_t bytes[16];
};

/* A group of an ENQUEUE. With attempt_id != 0 it is issued in the same breath: it gets its lease at once. */
struct cmd_group {
    struct pr_slice domain;  /* routing domain, normalised */
    struct pr_slice encoded; /* wire_group_encode; stored as it is */
    uint32_t n_rcpts;
    uint64_t due_ms;
    uint64_t attempt_id; /* 0: not issued */
};

struct cmd_enqueue {
    uint64_t msg_id;
    struct cmd_token token; /* all zero: no dedup (mail made by the queue itself) */
    uint64_t received_ms, expiry_ms;
    uint64_t check_ms; /* when the leader must look at it next: delay warning or expiry */
    enum mail_class class_;
    struct pr_slice tenant, pool;
    struct pr_slice envelope; /* wire_envelope_encode */
    uint64_t size_bytes;      /* content */
    struct pr_slice body;     /* inline content, or empty with: */
    uint64_t body_id;         /* committed parts, 0 for inline */
    uint32_t n_chunks;
    struct cmd_group *groups;
    uint32_t n_groups;
    /* For groups with attempt_id: who holds them. */
    struct pr_slice issue_node;
    uint64_t issue_boot_id;
    uint32_t issue_lane;
};

struct cmd_part {
    uint64_t body_id;
    uint32_t seq; /* 0, 1, 2 ... without gaps */
    uint64_t reap_ms; /* the upload is dropped after this if no ENQUEUE took it; later parts may move it on */
    struct pr_slice bytes;
};

struct cmd_issue {
    uint64_t msg_id;
    uint16_t group;
    uint64_t due_ms;  /* of the row the leader saw: refused when the row has changed meanwhile */
    uint32_t attempt; /* number of this attempt, 1.. */
    uint64_t attempt_id;
    struct pr_slice node_id;
    uint64_t boot_id;
    uint32_t lane;
    uint64_t issued_ms;
};

struct cmd_attempt_ref {
    uint64_t msg_id;
    uint16_t group;
    uint64_t attempt_id;
};

/* Outcome UNKNOWN: the leader applies its policy first (retry: TEMP, assume delivered: DELIVERED); here it means
 * TEMP. */
struct cmd_rcpt_result {
    uint32_t index; /* in the group */
    enum mail_outcome outcome;
    bool no_report; /* PERM: nobody wants a DSN (NOTIFY, null sender), so none is owed */
    uint16_t code;
    struct pr_slice enhanced;
    struct pr_slice diagnostic;
};
struct cmd_result {
    struct cmd_attempt_ref ref;
    struct cmd_rcpt_result *rcpts;
    uint32_t n_rcpts;
    struct pr_slice remote; /* "mx.example [192.0.2.1]" */
    uint64_t next_due_ms;   /* for recipients still pending afterwards; 0: now */
    /* A ready-made DSN for the recipients that are PERM here. It is queued, and they count as reported, if every one of
     * them goes from pending to failed by this command; else nothing of it happens and the report stays owed. */
    const struct cmd_enqueue *bounce;
};

enum cmd_report_kind {
    CMD_REPORT_NONE,    /* no items: only moves the check time */
    CMD_REPORT_FAILURE, /* items are failed and unreported: become reported */
    CMD_REPORT_DELAY,   /* items are pending and stay so */
    CMD_REPORT_EXPIRE,  /* items are pending (become expired, reported) or failed (become reported) */
    CMD_REPORT_KIND_NR,
};
struct cmd_report_item {
    uint16_t group;
    uint32_t index;
};
/* All or nothing: if an item is not in the state its kind names, or its group is leased (EXPIRE), the command is
 * refused and the leader looks again. */
struct cmd_report {
    uint64_t msg_id;
    enum cmd_report_kind kind;
    struct cmd_report_item *items;
    uint32_t n_items;
    const struct cmd_enqueue *dsn; /* may be NULL: nobody wants one */
    uint64_t next_check_ms;        /* 0: unchanged */
};

/* HOLD, UNHOLD, DELETE, RETRY */
struct cmd_admin {
    uint64_t msg_id;
    uint64_t due_ms; /* UNHOLD, RETRY: when the groups are due; DELETE, HOLD: unused */
};

struct cmd_gate {
    struct pr_slice key, value; /* DEL: value unused */
};

struct cmd_epoch {
    uint64_t term;
    uint64_t node;
};

struct cmd {
    enum cmd_type type;
    union {
        struct cmd_enqueue enqueue;
        struct cmd_part part;
        struct cmd_issue issue;
        struct cmd_attempt_ref release;
        struct cmd_result result;
        struct cmd_report report;
        struct cmd_admin admin; /* HOLD, UNHOLD, DELETE, RETRY */
        struct cmd_gate gate;   /* GATE_PUT, GATE_DEL */
        struct cmd_epoch epoch;
        uint64_t body_id; /* BODY_REAP */
        uint32_t flow_id; /* FLOW_DROP */
    };
};

/* An entry being gathered. A zeroed struct is empty; pr_buf_fini(&b->buf) frees it. */
struct cmd_batch {
    struct pr_buf buf;
    uint32_t count;
};

/* Appends a command. PR_ETOOBIG (nothing appended) if the entry would exceed CMD_ENTRY_HARD_MAX, CMD_COUNT_MAX or a
 * field its limit. Diagnostics are cut to CMD_TEXT_MAX. */
PR_MUST_USE int cmd_batch_add(struct cmd_batch *b, const struct cmd *c);
/* Position of the command added last: the `command` of its effects. */
static inline uint32_t cmd_batch_last(const struct cmd_batch *b) { return b->count - 1; }
static inline size_t cmd_batch_size(const struct cmd_batch *b) { return b->buf.len; }
/* Completes the header and pads; the entry is b's until cmd_batch_clear. count > 0. */
struct pr_slice cmd_batch_finish(struct cmd_batch *b, pr_wall now);
void cmd_batch_clear(struct cmd_batch *b);

/* In a finished entry. */
void cmd_entry_set_acked(char *entry, size_t len, uint64_t acked);
/* 0 if it is no entry of ours. */
uint64_t cmd_entry_acked(struct pr_slice entry);

struct cmd_reader {
    struct pr_slice rest;
    uint32_t left;
    pr_wall now;
};
/* Checks the header. */
PR_MUST_USE int cmd_reader_init(struct cmd_reader *r, struct pr_slice entry);
/* Next command; *ret_more false (and the padding checked) at the end. */
PR_MUST_USE int cmd_reader_next(struct cmd_reader *r, struct pr_arena *arena, struct cmd *ret, bool *ret_more);

#endif
