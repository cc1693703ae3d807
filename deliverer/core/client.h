/* client.h - the SMTP or LMTP client of one connection, pure: told events and the time, answers with bytes and actions
 * (RFC 5321, 2033, 1870, 2920, 3030, 3207, 3461, 6152, 6531, 9422).
 *
 * Life: new -> CONNECTED -> (greeting, EHLO, STARTTLS, EHLO) -> ready -> mails one after the other -> QUIT or failure ->
 * the CLOSE action, after which it ignores everything. One message at most is ever in doubt on a connection; the envelope
 * of the next may be pipelined behind the final dot of the one before.
 *
 * Owns: its buffers. Borrows: each mail from MAIL until REPORT or REQUEUE. Thread: one at a time.
 * Reentrancy: never step from inside an action. Errors: none; whatever goes wrong is in verdicts. */
#ifndef DLV_CLIENT_H
#define DLV_CLIENT_H

#include "common/base/buf.h"
#include "common/base/clock.h"
#include "deliverer/core/mail.h"

enum dlv_tls_mode {
    DLV_TLS_NEVER,
    DLV_TLS_OPPORTUNISTIC, /* used when offered; a failure says so in CLOSE and the caller tries again with NEVER */
    DLV_TLS_REQUIRED,      /* no TLS, no mail */
};

struct dlv_client_options {
    struct pr_slice name; /* for EHLO; borrowed for the client's life */
    bool lmtp;
    enum dlv_tls_mode tls;
    unsigned mails_max; /* on this connection; 0: no limit of ours */
    unsigned rcpts_max; /* in one transaction; 0: no limit of ours */
    uint64_t greeting_ms, command_ms, tls_ms, data_ms, block_ms, dot_ms, quit_ms; /* RFC 5321 4.5.3.2 */
};

/* Extensions the peer offered. */
enum dlv_cap {
    DLV_CAP_PIPELINING = 1,
    DLV_CAP_SIZE = 2,
    DLV_CAP_8BITMIME = 4,
    DLV_CAP_SMTPUTF8 = 8,
    DLV_CAP_DSN = 16,
    DLV_CAP_CHUNKING = 32,
    DLV_CAP_BINARYMIME = 64,
    DLV_CAP_STARTTLS = 128,
    DLV_CAP_ENHANCED = 256,
};
struct dlv_caps {
    unsigned bits;
    uint64_t size_max;   /* 0: none stated */
    uint32_t rcpt_max;   /* RFC 9422; 0: none stated */
    uint32_t mail_max;
};
/* Reads the reply to EHLO (lines joined by \n). Keywords that are ill-formed are as good as absent. */
void dlv_caps_parse(struct pr_slice text, struct dlv_caps *ret);

enum dlv_client_event_type {
    DLV_EV_CONNECTED,
    DLV_EV_BYTES,
    DLV_EV_TLS_UP,
    DLV_EV_TLS_FAILED, /* text */
    DLV_EV_EOF,
    DLV_EV_ERROR, /* text */
    DLV_EV_MAIL,  /* the next one; legal when dlv_client_can_take */
    DLV_EV_CHUNK, /* answer to WANT_CHUNK: bytes, last */
    DLV_EV_CHUNK_GONE, /* the content cannot be had: the attempt is off */
    DLV_EV_QUIT,  /* no more mails: say goodbye as soon as the present ones are done */
    DLV_EV_ABORT, /* close at once; a mail that is in doubt becomes UNKNOWN, others ABORTED */
    DLV_EV_TIME,  /* the deadline may have passed */
};
struct dlv_client_event {
    enum dlv_client_event_type type;
    pr_mono now;
    struct pr_slice bytes; /* BYTES, CHUNK, text of failures; borrowed until return */
    bool last;             /* CHUNK */
    struct dlv_mail *mail; /* MAIL */
};

enum dlv_client_action_type {
    DLV_DO_DOT,        /* before the bytes of this step are written: the end of this mail's content is among them */
    DLV_DO_START_TLS,  /* after the bytes */
    DLV_DO_WANT_CHUNK, /* mail, seq: answer by CHUNK when there is room in the output */
    DLV_DO_REPORT,     /* all recipients of mail are decided; the client has let go of it */
    DLV_DO_REQUEUE,    /* nothing was decided and nothing is in doubt: mail wants another connection (see dlv_client_verdict) */
    DLV_DO_READY,      /* the handshake is over: mails can be taken */
    DLV_DO_CLOSE,      /* close the connection after the bytes; the last action ever */
};
enum dlv_close_reason {
    DLV_CLOSE_QUIT,     /* orderly */
    DLV_CLOSE_REFUSED,  /* greeting or EHLO said no */
    DLV_CLOSE_TLS,      /* STARTTLS missing though required, refused, attacked or failed */
    DLV_CLOSE_PROTOCOL, /* garbage, replies nobody asked for, wrong class */
    DLV_CLOSE_TIMEOUT,
    DLV_CLOSE_LOST,     /* EOF or error */
    DLV_CLOSE_SHUTDOWN, /* 421 */
    DLV_CLOSE_ABORTED,  /* by us */
    DLV_CLOSE_NR,
};
extern const char *const dlv_close_reason_names[DLV_CLOSE_NR];

struct dlv_client_action {
    enum dlv_client_action_type type;
    struct dlv_mail *mail;
    uint32_t seq; /* WANT_CHUNK */
    bool free;    /* REQUEUE: the connection had worked and went away without a word about this mail: no fault of the site */
};

enum { DLV_CLIENT_ACTIONS_MAX = 16 };
struct dlv_client_out {
    struct pr_buf *send; /* bytes to write are appended */
    struct dlv_client_action actions[DLV_CLIENT_ACTIONS_MAX];
    size_t n;
};

struct dlv_client;
struct dlv_client *dlv_client_new(const struct dlv_client_options *o);
void dlv_client_free(struct dlv_client *c);
/* out->n is set to 0 first; bytes are appended to out->send. */
void dlv_client_step(struct dlv_client *c, const struct dlv_client_event *ev, struct dlv_client_out *out);
/* When to come with DLV_EV_TIME at the latest; may move later without notice, never earlier but in a step. */
pr_mono dlv_client_deadline(const struct dlv_client *c);

/* A MAIL event is welcome now. */
bool dlv_client_can_take(const struct dlv_client *c);
/* Nothing is under way. */
bool dlv_client_idle(const struct dlv_client *c);
/* A reply to a final dot is awaited: must not be cut. */
bool dlv_client_in_doubt(const struct dlv_client *c);
bool dlv_client_closed(const struct dlv_client *c);
/* Handshake done at least once. */
bool dlv_client_was_ready(const struct dlv_client *c);
unsigned dlv_client_mails(const struct dlv_client *c); /* reported so far */
const struct dlv_caps *dlv_client_caps(const struct dlv_client *c);
/* After CLOSE: why, and the verdict on the site (for a mail that never got a connection). Text is the client's. */
enum dlv_close_reason dlv_client_close_reason(const struct dlv_client *c);
const struct dlv_verdict *dlv_client_verdict(const struct dlv_client *c);
const char *dlv_client_state_name(const struct dlv_client *c);

#endif
