/* refusals.h - every standing refusal of the SMTP server as one row: reason, code, enhanced status, text.
 * Owns: nothing. Thread: any. */
#ifndef INGRESS_CORE_REFUSALS_H
#define INGRESS_CORE_REFUSALS_H

#include "common/mail/reply.h"
#include "ingress/core/session.h"

enum ing_refusal_id {
    ING_R_NONE,
    /* the line */
    ING_R_LINE_TOO_LONG,
    ING_R_FLOOD,
    ING_R_BAD_BYTES,
    ING_R_UNKNOWN_VERB,
    ING_R_FOREIGN,
    ING_R_EARLY_GREETING,
    ING_R_EARLY_EHLO,
    /* the sequence */
    ING_R_NEED_HELO,
    ING_R_NEED_EHLO,
    ING_R_NEED_MAIL,
    ING_R_NEED_RCPT,
    ING_R_NO_VALID_RCPT,
    ING_R_NESTED_MAIL,
    ING_R_IN_BDAT,
    ING_R_TLS_ACTIVE,
    ING_R_BINARY_NEEDS_BDAT,
    /* verbs that are not there */
    ING_R_NOT_LMTP,
    ING_R_NO_AUTH,
    ING_R_NO_EXPN,
    ING_R_NO_VRFY,
    ING_R_NO_STARTTLS,
    ING_R_NO_CHUNKING,
    /* arguments */
    ING_R_NO_ARGUMENT,
    ING_R_NEED_ARGUMENT,
    ING_R_BAD_HELO,
    ING_R_BAD_BDAT,
    ING_R_BAD_BDAT_SIZE,
    /* policy and limits */
    ING_R_RELAY,
    ING_R_TOO_MANY_RCPTS,
    ING_R_SIZE,
    ING_R_TOO_MANY_ERRORS,
    ING_R_TOO_MANY_HARMLESS,
    ING_R_TOO_MANY_MESSAGES,
    ING_R_CONNECTIONS,
    ING_R_TIMEOUT,
    ING_R_SHUTDOWN,
    /* the content */
    ING_R_BARE_NEWLINE,
    ING_R_NUL,
    ING_R_TEXT_LINE,
    ING_R_HEADER_FIELD,
    ING_R_LOOP,
    /* the spool */
    ING_R_MEMORY,
    ING_R_DISK_FULL,
    ING_R_UNAVAILABLE,
    ING_R_UNKNOWN_OUTCOME,
    ING_R_INVALID,
    ING_REFUSAL_NR,
};

struct ing_refusal {
    enum ing_reason reason;
    struct mail_reply reply;
};
extern const struct ing_refusal ing_refusals[ING_REFUSAL_NR];

/* status must not be OK. */
enum ing_refusal_id ing_refusal_of_spool(enum ing_spool_status status);

#endif
