/* session_internal.h - what the files of the session share; nothing else includes it.
 *
 * Who does what: session.c events and deadlines, input.c bytes to commands and content, state.c the tables, reply.c what we
 * say and how errors add up, transaction.c envelope and memory, body.c content on its way to the spool, cmd_VERB.c one verb
 * each. */
#ifndef INGRESS_CORE_SESSION_INTERNAL_H
#define INGRESS_CORE_SESSION_INTERNAL_H

#include "common/base/arena.h"
#include "common/base/sm.h"
#include "common/mail/header.h"
#include "ingress/core/refusals.h"
#include "ingress/core/session.h"

/*
 *                     connected
 *  [implicit TLS]--> TLS --> GREETING --> START --EHLO/HELO--> READY --MAIL--> MAIL --RCPT--> RCPT
 *                     ^                     ^                  ^ ^ |            ^              |
 *                     |  STARTTLS           |                  | | |            |   DATA       | BDAT
 *                     +---- any of START..BDAT                 | | |                 v         v
 *                                                              | | |               DATA      CHUNK <--> BDAT
 *                          refused chunk of known size: SKIP --+ | |                 |         | LAST
 *                                                                | |                 v         v
 *                                                                +-+----------------- COMMIT <-+
 *  every state --> CLOSED
 */
enum ing_state {
    ING_GREETING, /* nobody has spoken; ends by the greet delay; what the peer says now is early */
    ING_START,    /* greeted (or fresh TLS): waits for EHLO or HELO; command timeout */
    ING_READY,    /* between transactions; command timeout */
    ING_MAIL,     /* sender known; command timeout */
    ING_RCPT,     /* one recipient at least; command timeout */
    ING_DATA,     /* content up to CRLF.CRLF; data timeout and rate */
    ING_BDAT,     /* between chunks; command timeout */
    ING_CHUNK,    /* octets of an accepted chunk; data timeout and rate */
    ING_SKIP,     /* octets of a chunk that was refused; data timeout and rate */
    ING_COMMIT,   /* the spool has it all; waits for COMMITTED; commit timeout */
    ING_TLS,      /* handshake; TLS timeout */
    ING_CLOSED,
    ING_STATE_NR,
};
extern const struct pr_sm_state ing_states[ING_STATE_NR];

/* Why input is not looked at though the state would take it. */
enum ing_block {
    ING_BLOCK_DELAY = 1, /* an error reply is held back */
    ING_BLOCK_SPACE = 2, /* waiting for ING_EV_SPACE */
};

typedef void (*ing_handler)(struct ing_session *s, struct pr_slice args);
/* What a verb means in a state: a handler, or a standing refusal. */
struct ing_cell {
    ing_handler handler;
    const char *name; /* of the handler */
    enum ing_refusal_id refusal;
};
/* State must be one that takes commands. */
const struct ing_cell *ing_cell(enum ing_state state, enum mail_verb verb);
bool ing_state_takes_commands(unsigned state);

/* A message under way: from MAIL to the reply to its end. */
struct ing_tx {
    struct pr_arena arena; /* envelope strings */
    pr_mono started;
    struct pr_slice sender, envid;
    enum mail_ret ret;
    enum mail_body_type body;
    bool smtputf8;
    uint64_t size_hint; /* SIZE=, 0 if absent */
    struct mail_rcpt *rcpts;
    size_t n_rcpts, cap_rcpts;
    bool rcpt_refused;

    bool open;              /* spool_open succeeded; neither abort nor the answer to commit came */
    bool spool_full;        /* spool_append said: no more for now */
    bool begun;             /* the first octet of content has come */
    bool discard;           /* refused at its end: read and forgotten */
    enum ing_refusal_id lost; /* the spool's share of the reasons for that */
    struct pr_buf chunk;    /* on its way to the spool; scratch when discarding */
    uint64_t wire_bytes;    /* octets as they came */
    uint64_t content_bytes; /* of the message: what SIZE speaks about */
    uint64_t total_bytes;   /* our trace field included */
    struct mail_dot_decoder dot;
    struct mail_crlf_encoder crlf;
    struct mail_line_check lines; /* BDAT; DATA has its own in dot */
    struct mail_header_scan header;
    bool last; /* the chunk being read is the last */
};

struct ing_session {
    const struct ing_options *o;
    const struct ing_ops *ops;
    void *data;
    struct pr_sm sm;
    struct pr_now now; /* of the step */
    bool in_step;

    struct pr_slice address, name, helo, tls; /* owned */
    bool trusted, implicit_tls, over_limit;
    bool extended;   /* EHLO */
    bool tls_active;
    bool eof, shutdown, paused;
    bool tls_wanted; /* start_tls is due when the step's replies are out */
    bool closing;
    enum ing_close_reason close_reason;
    unsigned block; /* enum ing_block */

    struct pr_buf in;     /* kept between steps: an unfinished line, or what came while we were not looking */
    struct pr_slice cur;  /* input of this step not yet consumed: the event's bytes, or those of `in` */
    bool cur_is_in;
    size_t searched;      /* of cur: no CRLF begins before it */
    bool overlong;        /* dropping a line up to its CRLF */
    uint64_t line_octets; /* dropped of it so far */
    struct pr_buf out;

    enum mail_verb verb; /* of the command being answered */
    unsigned errors, harmless, accepted;

    uint64_t chunk_left;        /* octets of a chunk still to come */
    enum ing_state skip_return; /* where a refused chunk leads */
    uint64_t swallowed; /* octets of refused chunks in this session */

    pr_mono until;       /* deadline of the state */
    pr_mono block_until; /* of block */
    bool starved;        /* waiting for space since: */
    pr_mono starved_at;
    pr_mono rate_start, rate_last;
    uint64_t rate_bytes;

    size_t reserved;
    struct ing_tx *tx;
};

/* session.c */
void ing_move(struct ing_session *s, enum ing_state to, const char *reason);
static inline unsigned ing_state(const struct ing_session *s) { return pr_sm_state(&s->sm); }
/* Ends the session after this step; a message under way is dropped. */
void ing_close(struct ing_session *s, enum ing_close_reason reason);
void ing_set_text(struct pr_slice *field, struct pr_slice value);

/* input.c */
/* Consumes what the state allows of the bytes and of what was kept; keeps the rest. */
void ing_input_run(struct ing_session *s, struct pr_slice bytes);
void ing_input_drop(struct ing_session *s);

/* reply.c */
void ing_reply(struct ing_session *s, uint16_t code, const char *enhanced, const char *text);
void ing_note_command(struct ing_session *s, uint16_t code);
/* Says no, counts the error, notes it. subject: what was refused, or empty. */
void ing_refuse(struct ing_session *s, enum ing_stage stage, enum ing_refusal_id id, struct pr_slice subject);
void ing_refuse_reply(struct ing_session *s, enum ing_stage stage, enum ing_reason reason, const struct mail_reply *r,
                      struct pr_slice subject);
void ing_refuse_and_close(struct ing_session *s, enum ing_stage stage, enum ing_refusal_id id,
                          enum ing_close_reason reason);
/* Counts a command that moves no mail; false: that was one too many, the session is closing. */
bool ing_harmless(struct ing_session *s);
/* The stage at which a command in the present state is refused. */
enum ing_stage ing_stage_of(const struct ing_session *s);

/* transaction.c */
void ing_tx_begin(struct ing_session *s, const struct mail_from *from);
/* False: no memory. */
bool ing_tx_add_rcpt(struct ing_session *s, const struct mail_to *to);
/* Drops the message under way, if any. The state is the caller's. */
void ing_tx_drop(struct ing_session *s);
/* Memory for `body` octets of content beside the envelope. */
bool ing_tx_reserve(struct ing_session *s, size_t body);
void ing_tx_commit(struct ing_session *s);
void ing_tx_committed(struct ing_session *s, const struct ing_event *ev);
struct pr_slice ing_protocol(const struct ing_session *s);

/* body.c */
/* Opens the spool and writes the trace field; a refusal, or ING_R_NONE. */
enum ing_refusal_id ing_body_open(struct ing_session *s);
void ing_body_data(struct ing_session *s);
void ing_body_chunk(struct ing_session *s);
void ing_body_skip(struct ing_session *s);
/* The spool has lost the message, or has no room for too long: read on to its end and refuse it there. */
void ing_body_lost(struct ing_session *s, enum ing_refusal_id why);
void ing_pace_start(struct ing_session *s);
pr_mono ing_pace_deadline(const struct ing_session *s);

/* cmd_*.c */
void ing_cmd_ehlo(struct ing_session *s, struct pr_slice args);
void ing_cmd_helo(struct ing_session *s, struct pr_slice args);
void ing_cmd_mail(struct ing_session *s, struct pr_slice args);
void ing_cmd_rcpt(struct ing_session *s, struct pr_slice args);
void ing_cmd_data(struct ing_session *s, struct pr_slice args);
void ing_cmd_bdat(struct ing_session *s, struct pr_slice args);
void ing_cmd_bdat_early(struct ing_session *s, struct pr_slice args);
void ing_cmd_rset(struct ing_session *s, struct pr_slice args);
void ing_cmd_noop(struct ing_session *s, struct pr_slice args);
void ing_cmd_quit(struct ing_session *s, struct pr_slice args);
void ing_cmd_vrfy(struct ing_session *s, struct pr_slice args);
void ing_cmd_help(struct ing_session *s, struct pr_slice args);
void ing_cmd_starttls(struct ing_session *s, struct pr_slice args);

#endif
