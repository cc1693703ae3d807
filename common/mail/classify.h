/* classify.h - what a remote's reply (or its absence) means for recipients and for the site. */
#ifndef PR_MAIL_CLASSIFY_H
#define PR_MAIL_CLASSIFY_H

#include <stdint.h>

#include "common/base/slice.h"

/* Outcome of an attempt for one recipient. */
enum mail_outcome {
    MAIL_OUTCOME_DELIVERED,
    MAIL_OUTCOME_TEMP,    /* try again later */
    MAIL_OUTCOME_PERM,    /* bounce */
    MAIL_OUTCOME_ABORTED, /* never reached the point of doubt: retry at once without penalty */
    MAIL_OUTCOME_UNKNOWN, /* lost between final dot and reply */
    MAIL_OUTCOME_NR,
};
extern const char *const mail_outcome_names[MAIL_OUTCOME_NR];

/* Where in the dialogue the reply came. */
enum mail_stage {
    MAIL_STAGE_DNS, MAIL_STAGE_CONNECT, MAIL_STAGE_GREETING, MAIL_STAGE_EHLO, MAIL_STAGE_STARTTLS, MAIL_STAGE_MAIL,
    MAIL_STAGE_RCPT, MAIL_STAGE_DATA, MAIL_STAGE_BODY /* reply to the final dot or BDAT LAST */, MAIL_STAGE_NR,
};
extern const char *const mail_stage_names[MAIL_STAGE_NR];

/* Whom it speaks about: decides what counts against the site (dead-site back-off) and whether another MX is tried. */
enum mail_scope {
    MAIL_SCOPE_RCPT,
    MAIL_SCOPE_MESSAGE,
    MAIL_SCOPE_SITE, /* connect, greeting, handshake, stream errors; 421 anywhere */
};

struct mail_verdict {
    enum mail_outcome outcome;
    enum mail_scope scope;
    const char *enhanced; /* ours, when the reply had none; static */
};

/* code 0: no reply (connection lost or timed out at that stage). */
struct mail_verdict mail_classify(enum mail_stage stage, uint16_t code, struct pr_slice text);

#endif
