/* dsn.h - delivery status notifications (RFC 3461, 3462/6522, 3464): failure and delay (success and relayed later).
 *
 * Pure: the same input gives the same bytes, so that every replica could make it. All remote text is made safe: folded,
 * control bytes replaced, length bounded. The result is a complete message with CRLF line ends. */
#ifndef PR_MAIL_DSN_H
#define PR_MAIL_DSN_H

#include "common/base/buf.h"
#include "common/mail/envelope.h"

enum mail_dsn_kind { MAIL_DSN_FAILURE, MAIL_DSN_DELAY };
enum { MAIL_DSN_CONTENT_MAX = 50000 };

struct mail_dsn {
    enum mail_dsn_kind kind;
    struct pr_slice reporting_mta; /* our host name */
    struct pr_slice queue_id;      /* of the original, shown in text and X-Postrider-Queue-Id */
    struct pr_slice message_id;    /* left part of our Message-ID, unique */
    const struct mail_envelope *original; /* sender, envid, arrival, ret */
    const struct mail_rcpt *const *rcpts; /* those to report */
    size_t n_rcpts;
    pr_wall now;
    pr_wall last_attempt;     /* 0 if none */
    pr_wall will_retry_until; /* delay only */
    struct pr_slice header;   /* original header block, CRLF */
    struct pr_slice content;  /* original from its first octet; unless RET=HDRS, if complete and <= MAIL_DSN_CONTENT_MAX */
    bool content_complete;
};

/* Who gets it: the reverse-path. False when none may be sent: null sender, or NOTIFY forbids this kind for all rcpts
 * (rcpts are filtered by mail_dsn_wanted per recipient by the caller). */
bool mail_dsn_wanted(const struct mail_rcpt *r, enum mail_dsn_kind kind);
/* Appends the message; the envelope of the DSN is from <> to original->sender, NOTIFY=NEVER, SMTPUTF8 when
 * mail_dsn_needs_utf8, BODY=8BITMIME when the message is not ASCII. */
void mail_dsn_format(const struct mail_dsn *d, struct pr_buf *out);
/* The DSN's own header holds UTF-8, because its recipient does. */
bool mail_dsn_needs_utf8(const struct mail_dsn *d);

#endif
