/* client_internal.h - the inside of the client, shared by its files:
 *   client.c (events, deadlines), state.c (table), pipeline.c (two cursors), enter.c (what we say), reply.c (where a reply
 *   leads), transaction.c (one mail's way over the connection), content.c (what goes between DATA and its end). */
#ifndef DLV_CLIENT_INTERNAL_H
#define DLV_CLIENT_INTERNAL_H

#include "common/base/sm.h"
#include "common/mail/dot.h"
#include "common/mail/reply.h"
#include "deliverer/core/client.h"

/*   CONNECTING -> GREETING -> HELLO -> READY -> QUIT -> CLOSED
 *                               |  ^
 *                               v  | (after the handshake)
 *                          STARTTLS -> TLS
 * CONNECTING waits for the caller (whose connect timeout it is). GREETING, HELLO, STARTTLS wait for one reply, each with
 * its deadline. TLS waits for the handshake. READY: mails, see the transaction states. QUIT waits for 221 or the end.
 * CLOSED: final; any state may fall into it. */
enum client_state { ST_CONNECTING, ST_GREETING, ST_HELLO, ST_STARTTLS, ST_TLS, ST_READY, ST_QUIT, ST_CLOSED, ST_NR };
extern const struct pr_sm_state dlv_client_states[ST_NR];

enum cmd_kind {
    CMD_GREETING, /* said by connecting */
    CMD_EHLO,     /* or LHLO */
    CMD_HELO,
    CMD_STARTTLS,
    CMD_RSET,
    CMD_MAIL,
    CMD_RCPT,
    CMD_DATA,
    CMD_BODY, /* the content and its final dot */
    CMD_BDAT, /* a chunk that is not the last */
    CMD_BDAT_LAST,
    CMD_QUIT,
    CMD_NR,
};

struct cmd {
    uint8_t kind; /* enum cmd_kind */
    uint8_t txn;  /* index into txns, for MAIL to BDAT_LAST */
    uint8_t slot; /* RCPT: index into the transaction's recipients */
};

/* One list, cursors that only move forward: answered <= sent <= queued. */
enum { PIPELINE_MAX = 256, CHUNKS_IN_FLIGHT = 8 };
struct pipeline {
    struct cmd list[PIPELINE_MAX];
    unsigned queued, sent, answered;
};

/* FREE.
 * ENVELOPE: MAIL and RCPTs (and DATA) are queued, sent or being answered. Ended by 354, by the last RCPT reply (BDAT), or
 *   by a refusal.
 * CONTENT: the peer takes content; waits for chunks from the caller.
 * DOT: the end of content is sent; waits for the reply (LMTP: one per accepted recipient). */
enum txn_state { TXN_FREE, TXN_ENVELOPE, TXN_CONTENT, TXN_DOT };

enum rcpt_state { RCPT_WAITING, RCPT_ACCEPTED, RCPT_DONE /* decided, or left for the next transaction */ };

/* How the content can travel to this peer. */
struct content_plan {
    bool bdat;
    bool raw; /* BINARYMIME: as it is */
    enum mail_body_type body;
    bool smtputf8;
};

struct txn {
    enum txn_state state;
    struct dlv_mail *mail;
    struct content_plan plan;
    uint8_t rcpts[DLV_RCPTS_MAX]; /* indexes in the group */
    uint8_t rcpt_states[DLV_RCPTS_MAX];
    unsigned n, answered, accepted;
    unsigned pending; /* its commands queued and not answered */
    bool replied;  /* the peer said something about this mail */
    bool opened;   /* MAIL was accepted: the peer has a transaction open */
    bool refused;  /* MAIL, DATA or a chunk was: later replies decide nothing */
    bool hollow;   /* nobody left to deliver to: the content is cut short to get in step again */
    bool asked;    /* WANT_CHUNK is out */
    bool doubted;  /* the end of content is sent */
    uint32_t seq;  /* of the chunk to ask for next */
    unsigned lmtp_next; /* slot whose reply comes next */
    struct mail_dot_encoder dot;
    struct mail_crlf_encoder crlf;
    struct mail_line_check lines;
};

struct dlv_client {
    struct dlv_client_options o;
    struct pr_sm sm;
    struct pipeline p;
    struct txn txns[2];
    unsigned front; /* index of the one whose replies come first */
    struct dlv_caps caps;
    struct mail_reply_parser parser;
    bool tls_up, was_ready;
    bool quitting;   /* no more mails */
    bool needs_rset; /* a transaction was left open at the peer */
    unsigned mails;
    pr_mono now;        /* of the event */
    pr_mono since;      /* last progress: what deadlines count from */
    pr_mono last_reply;
    pr_mono deadline;
    enum dlv_close_reason reason;
    struct dlv_verdict verdict;
    struct pr_buf text; /* of the verdict */
    struct dlv_client_out *out; /* during a step */
};

static inline struct txn *front_txn(struct dlv_client *c) { return &c->txns[c->front]; }
static inline struct txn *back_txn(struct dlv_client *c) { return &c->txns[c->front ^ 1]; }
static inline uint8_t txn_index(const struct dlv_client *c, const struct txn *t) { return (uint8_t)(t - c->txns); }
static inline bool cap(const struct dlv_client *c, enum dlv_cap bit) { return (c->caps.bits & bit) != 0; }
static inline bool closed(const struct dlv_client *c) { return pr_sm_state(&c->sm) == ST_CLOSED; }

/* client.c */
void client_act(struct dlv_client *c, enum dlv_client_action_type type, struct dlv_mail *mail);
/* The connection is over: mails under way are lost or given back, CLOSE is the last action. */
void client_fail(struct dlv_client *c, enum dlv_close_reason reason, const struct dlv_verdict *v);
static inline void client_touch(struct dlv_client *c) { c->since = c->now; }

/* pipeline.c */
void pipeline_push(struct dlv_client *c, enum cmd_kind kind, const struct txn *t, size_t slot);
static inline unsigned pipeline_outstanding(const struct pipeline *p) { return p->sent - p->answered; }
static inline struct cmd *pipeline_head(struct pipeline *p) { return &p->list[p->answered % PIPELINE_MAX]; }
void pipeline_answered(struct dlv_client *c);
/* A command whose bytes the caller has appended or appends now; nothing unsent may be queued before it. */
void pipeline_push_sent(struct dlv_client *c, enum cmd_kind kind, const struct txn *t);
/* Sends and moves on whatever can be now. */
void pipeline_advance(struct dlv_client *c);

/* enter.c */
void enter(struct dlv_client *c, const struct cmd *cmd);

/* reply.c */
void on_reply(struct dlv_client *c, uint16_t code, struct pr_slice text);
/* Stage of what we wait for, for the verdict on silence. */
enum mail_stage client_stage(struct dlv_client *c);

/* transaction.c */
void txn_start(struct dlv_client *c, struct dlv_mail *mail);
/* All replies for it are in: report, or the next round for recipients still open. clean: the peer has ended it too. */
void txn_finish(struct dlv_client *c, struct txn *t, bool clean);
/* Decides the recipients of this transaction that are not done. */
void txn_decide(struct txn *t, const struct dlv_verdict *v);
void txn_lost(struct dlv_client *c, struct txn *t, const struct dlv_verdict *v);
/* The envelope is answered, content may go. */
void txn_content(struct dlv_client *c, struct txn *t);
void txn_chunk(struct dlv_client *c, struct txn *t, struct pr_slice bytes, bool last);
void txn_chunk_gone(struct dlv_client *c, struct txn *t);
void txn_want_chunk(struct dlv_client *c, struct txn *t);
/* Nobody is left: a lone dot gets us in step again (RFC 2920 3.1). */
void txn_hollow(struct dlv_client *c, struct txn *t);
/* Marks recipients as in doubt and tells the caller, before the end of content is written. */
void txn_doubt(struct dlv_client *c, struct txn *t);
/* The peer left before it came to the content. */
void txn_undoubt(struct txn *t);

/* content.c */
/* False: it cannot go to this peer, *ret_verdict says why (static text). */
bool content_plan(const struct dlv_client *c, const struct dlv_mail *m, struct content_plan *ret, struct dlv_verdict *ret_verdict);
void content_init(struct txn *t);
/* Appends one part in the form of the plan: for DATA with dots doubled (and the final dot if last), for BDAT with the
 * command in front. */
void content_append(struct txn *t, struct pr_slice bytes, bool last, struct pr_buf *out);
enum { CONTENT_EARLY_MAX = 128 * 1024 };

#endif
