/* session.h - one SMTP server session as a pure step function: told events and the time, it answers with actions.
 *
 * Owns: its state and the envelope under construction. Borrows: options and ops until ing_session_free; slices of events
 * until the step returns. Thread: one at a time.
 * Reentrancy: actions are called from inside ing_session_step and must not step the session; what they cause comes back as
 * a later event.
 * Errors: none; what a peer does wrong is answered with a reply, what we cannot do with a 4xx (never a 250 on doubt).
 *
 * The host (connection code of ingress/shell, the trial sink, tests) does three things: it passes events on, performs the
 * actions, and steps with ING_EV_DEADLINE when the time of ing_session_deadline has come. */
#ifndef INGRESS_CORE_SESSION_H
#define INGRESS_CORE_SESSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/buf.h"
#include "common/base/clock.h"
#include "common/base/slice.h"
#include "common/mail/address.h"
#include "common/mail/command.h"
#include "common/mail/dot.h"
#include "common/mail/envelope.h"
#include "common/mail/reply.h"
#include "ingress/core/relay.h"

/* Where in the dialogue something was refused: label of metrics and logs. */
enum ing_stage { ING_AT_CONNECT, ING_AT_HELO, ING_AT_MAIL, ING_AT_RCPT, ING_AT_DATA, ING_AT_EOD, ING_STAGE_NR };
extern const char *const ing_stage_names[ING_STAGE_NR];

/* Why. At most 24: label of metrics. */
enum ing_reason {
    ING_WHY_SYNTAX,       /* command or argument does not parse */
    ING_WHY_SEQUENCE,     /* bad sequence of commands */
    ING_WHY_UNSUPPORTED,  /* verb or parameter we do not offer */
    ING_WHY_LINE_LENGTH,  /* command line over its limit, or no CRLF within the flood limit */
    ING_WHY_EARLY_TALKER, /* spoke before the greeting or before the EHLO reply */
    ING_WHY_PROTOCOL,     /* HTTP, TLS ... on an SMTP port */
    ING_WHY_ADDRESS,      /* malformed mailbox */
    ING_WHY_RELAY,        /* not our domain, client not trusted */
    ING_WHY_SIZE,         /* message over the limit */
    ING_WHY_RECIPIENTS,   /* too many, or none */
    ING_WHY_BARE_NEWLINE, /* bare CR, bare LF or NUL in the message */
    ING_WHY_TEXT_LINE,    /* text line over 998 octets */
    ING_WHY_HEADER,       /* one header field over its limit */
    ING_WHY_LOOP,         /* too many Received */
    ING_WHY_ERRORS,       /* too many errors in the session */
    ING_WHY_HARMLESS,     /* too many NOOP, RSET, VRFY ... */
    ING_WHY_MESSAGES,     /* messages per connection */
    ING_WHY_TIMEOUT,      /* command, data or rate */
    ING_WHY_CONNECTIONS,  /* connection limits of the listener */
    ING_WHY_MEMORY,       /* our byte budget */
    ING_WHY_UNAVAILABLE,  /* no queue to be had, or its answer unknown */
    ING_WHY_DISK,         /* the queue's disk is full */
    ING_WHY_POLICY,       /* the host's own check */
    ING_WHY_SHUTDOWN,
    ING_REASON_NR,
};
extern const char *const ing_reason_names[ING_REASON_NR];

struct ing_options {
    struct pr_slice hostname; /* our name: greeting, EHLO, Received */
    struct pr_slice postmaster_domain; /* where mail for <postmaster> goes; empty: hostname */
    struct pr_slice banner;   /* text behind "220 "; empty: "<hostname> ESMTP Postrider" */
    unsigned ext;             /* enum mail_ext bits offered; BINARYMIME needs CHUNKING */
    bool pipelining;          /* advertised */
    bool starttls;
    bool vrfy;                /* 252; false: 502 */
    bool refuse_early_talkers;
    enum mail_dot_policy line_policy;
    const struct ing_relay *relay; /* who may send where; NULL: every recipient is taken */
    uint64_t message_size_max;
    uint64_t swallow_max; /* octets of refused message data read before we hang up */
    uint64_t header_max;  /* one header field */
    unsigned recipients_max, hops_max;
    unsigned command_line_max; /* with CRLF */
    unsigned flood_max;        /* octets without CRLF before we hang up */
    unsigned errors_soft, errors_hard, harmless_max;
    unsigned messages_max;  /* per connection, 0: unlimited */
    unsigned chunk_max;     /* octets handed to the spool at once; >= 4096 */
    uint64_t error_delay_ms; /* before each error reply above errors_soft */
    uint64_t greet_delay_ms; /* time in which an early talker gives itself away; 0: greet at once */
    uint64_t command_timeout_ms, data_timeout_ms, tls_timeout_ms, commit_timeout_ms;
    uint64_t space_timeout_ms; /* longest wait for memory or the spool in the middle of a body */
    uint64_t min_rate_bytes_per_s;
};
/* The defaults of the reference (limits, timeouts, every extension but STARTTLS); hostname is left empty. */
void ing_options_init(struct ing_options *o);

/* Facts about the client, copied. */
struct ing_peer {
    struct pr_slice address; /* text, without brackets; empty for a unix socket */
    struct pr_slice name;    /* PTR, empty if unknown */
    bool trusted;            /* may relay anywhere */
    bool implicit_tls;       /* handshake before the greeting */
    bool over_limit;         /* is one connection too many: 421 and close */
};

enum ing_spool_status {
    ING_SPOOL_OK,
    ING_SPOOL_MEMORY,      /* over our budget: 452 4.3.1 */
    ING_SPOOL_DISK_FULL,   /* 452 4.3.1 */
    ING_SPOOL_UNAVAILABLE, /* no leader, refused, lost: 451 4.3.0 */
    ING_SPOOL_UNKNOWN,     /* may have been stored: 451 4.3.0 */
    ING_SPOOL_INVALID,     /* the queue will never take it: 554 5.3.0 */
    ING_SPOOL_STATUS_NR,
};

enum ing_event_kind {
    ING_EV_CONNECTED, /* first event, once */
    ING_EV_BYTES,
    ING_EV_EOF,         /* orderly end of input; an error is ing_session_free instead */
    ING_EV_TLS_UP,
    ING_EV_TLS_FAILED,
    ING_EV_SPACE,       /* ask again for what was refused: memory (ops.reserve) or spool_append */
    ING_EV_SPOOL_LOST,  /* what was appended so far is lost: refuse the message at its end */
    ING_EV_COMMITTED,   /* answer to spool_commit */
    ING_EV_DEADLINE,
    ING_EV_SHUTDOWN,    /* 421 unless a message is under way, then after it */
};
struct ing_event {
    enum ing_event_kind kind;
    struct pr_now now;
    struct pr_slice bytes;  /* BYTES */
    struct pr_slice tls;    /* TLS_UP: "TLSv1.3 with cipher X", copied */
    enum ing_spool_status status; /* SPOOL_LOST (not OK), COMMITTED */
    struct pr_slice id;           /* COMMITTED and OK: queue id */
    const struct mail_reply *reply; /* COMMITTED: a refusal (4yz, 5yz) instead of the standard one, or NULL */
};

/* Observations for metrics and logs; slices are borrowed until return. */
enum ing_note_kind {
    ING_NOTE_COMMAND,  /* verb, reply */
    ING_NOTE_REJECTED, /* stage, reason, reply, subject; sender and number of recipients so far */
    ING_NOTE_ACCEPTED, /* id, sender, rcpts, size_bytes, duration_ms */
};
struct ing_note {
    enum ing_note_kind kind;
    enum mail_verb verb;
    uint16_t code;
    enum ing_stage stage;
    enum ing_reason reason;
    const char *enhanced, *text;
    struct pr_slice subject; /* the mailbox or argument refused, as the peer wrote it; may be empty */
    struct pr_slice sender;
    bool has_sender;
    struct pr_slice id;
    const struct mail_rcpt *rcpts; /* as given, duplicates included */
    size_t n_rcpts;
    uint64_t size_bytes;  /* of the content, our trace field included */
    uint64_t duration_ms; /* since MAIL */
};

enum ing_close_reason {
    ING_CLOSE_QUIT,
    ING_CLOSE_PEER,    /* it ended its input */
    ING_CLOSE_REFUSED, /* we hung up on it */
    ING_CLOSE_TIMEOUT,
    ING_CLOSE_SHUTDOWN,
    ING_CLOSE_TLS, /* no handshake */
    ING_CLOSE_NR,
};
extern const char *const ing_close_names[ING_CLOSE_NR];

struct ing_ops {
    /* Once per step, with all replies of that step; twice when a delayed error reply is due in it. */
    void (*send)(void *data, struct pr_slice bytes);
    /* Bytes received in clear and not yet given to the session are dropped; answer: TLS_UP or TLS_FAILED. */
    void (*start_tls)(void *data);
    /* Idempotent. While paused the host gives no BYTES but at most what it has read already. */
    void (*pause)(void *data);
    void (*resume)(void *data);
    /* What was sent goes out first. The last action; the host frees the session when it likes. */
    void (*close)(void *data, enum ing_close_reason reason);

    /* The session holds `bytes` of memory for its peer from now on. False: over the budget, the reservation stays as it was
     * (less than before is always granted). The host steps with ING_EV_SPACE when there is room again. */
    bool (*reserve)(void *data, size_t bytes);
    /* Could a message of this size (0: unknown) be taken now? Asked at MAIL, where a refusal costs least. */
    enum ing_spool_status (*spool_check)(void *data, uint64_t size_bytes);
    /* A body begins. *ret_id: what the Received header names it, borrowed until return. */
    enum ing_spool_status (*spool_open)(void *data, uint64_t size_bytes, struct pr_slice *ret_id);
    /* A full chunk of the body; takes the bytes (the buffer is empty afterwards). False: taken, but no more before
     * ING_EV_SPACE. */
    bool (*spool_append)(void *data, struct pr_buf *chunk);
    /* The last chunk (perhaps the only one, perhaps empty) and the envelope; takes the bytes, borrows the envelope until
     * return. Answer: COMMITTED. */
    void (*spool_commit)(void *data, const struct mail_envelope *envelope, struct pr_buf *last);
    /* Forget the body; after spool_commit: nobody waits for the answer any more, and none must come. */
    void (*spool_abort)(void *data);

    /* May be NULL. A refusal (static text), or NULL to accept. */
    const struct mail_reply *(*check_sender)(void *data, const struct mail_from *from);
    const struct mail_reply *(*check_recipient)(void *data, const struct mail_to *to);
    /* May be NULL. */
    void (*note)(void *data, const struct ing_note *note);
};

struct ing_session;
struct ing_session *ing_session_new(const struct ing_options *options, const struct ing_ops *ops, void *data,
                                    const struct ing_peer *peer);
/* At any time but inside a step; calls ops.spool_abort and gives memory back when a message is under way. NULL is a no-op. */
void ing_session_free(struct ing_session *s);
void ing_session_step(struct ing_session *s, const struct ing_event *ev);
/* When to step with ING_EV_DEADLINE; PR_MONO_NEVER if not at all. */
pr_mono ing_session_deadline(const struct ing_session *s);
bool ing_session_closed(const struct ing_session *s);
/* No message under way: between transactions. */
bool ing_session_idle(const struct ing_session *s);
const char *ing_session_state_name(const struct ing_session *s);
struct pr_slice ing_session_helo(const struct ing_session *s);
unsigned ing_session_accepted(const struct ing_session *s);

/* The state x verb table as text, for the golden file. */
void ing_state_verb_print(struct pr_buf *out);

#endif
