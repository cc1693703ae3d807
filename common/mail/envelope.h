/* envelope.h - the envelope as ingress, queue and deliverer share it (RFC 5321, RFC 3461).
 *
 * Owns: nothing by itself; strings and arrays live in the arena of whoever built it (say so where it is handed over).
 * The wire form is common/wire/codec_envelope.h. */
#ifndef PR_MAIL_ENVELOPE_H
#define PR_MAIL_ENVELOPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/clock.h"
#include "common/base/slice.h"

enum mail_body_type { MAIL_BODY_7BIT, MAIL_BODY_8BITMIME, MAIL_BODY_BINARYMIME };
enum mail_ret { MAIL_RET_DEFAULT, MAIL_RET_FULL, MAIL_RET_HDRS };
/* NOTIFY (RFC 3461 4.1) as bits; 0 = parameter absent, which means FAILURE and DELAY by our choice. */
enum mail_notify { MAIL_NOTIFY_NEVER = 1, MAIL_NOTIFY_SUCCESS = 2, MAIL_NOTIFY_FAILURE = 4, MAIL_NOTIFY_DELAY = 8 };

enum mail_class { MAIL_CLASS_TRANSACTIONAL, MAIL_CLASS_NORMAL, MAIL_CLASS_BULK, MAIL_CLASS_NR };

enum mail_rcpt_status {
    MAIL_RCPT_PENDING,
    MAIL_RCPT_DELIVERED,
    MAIL_RCPT_FAILED,  /* permanent; a DSN is owed unless `reported` */
    MAIL_RCPT_EXPIRED, /* gave up; a DSN is owed unless `reported` */
    MAIL_RCPT_STATUS_NR,
};

struct mail_rcpt {
    struct pr_slice address; /* local@domain as given */
    struct pr_slice orcpt;   /* "rfc822;user@example" decoded, empty if none */
    unsigned notify;         /* enum mail_notify bits */
    enum mail_rcpt_status status;
    bool reported; /* a failure DSN for it has been queued */
    /* Of the last attempt; empty before the first. */
    uint16_t code;              /* SMTP code, 0 for none */
    struct pr_slice enhanced;   /* "5.1.1" */
    struct pr_slice diagnostic; /* remote's reply, or our own words */
    struct pr_slice remote;     /* "mx.example [192.0.2.1]" or empty */
};

/* Recipients of one routing domain that may share one transaction. The unit of scheduling. */
struct mail_group {
    struct pr_slice domain; /* routing domain, normalised */
    struct mail_rcpt *rcpts;
    size_t n_rcpts;
};

struct mail_envelope {
    struct pr_slice sender; /* reverse-path without <>, empty = null sender */
    struct pr_slice envid;  /* decoded xtext, empty if none */
    enum mail_ret ret;
    enum mail_body_type body;
    bool smtputf8;
    struct pr_slice tenant; /* "default" today */
    enum mail_class class_;
    struct pr_slice pool; /* egress pool, "default" today */
    /* Facts of reception, for DSN and logs. */
    struct pr_slice client_name, client_address, helo, protocol /* "ESMTPS" ... RFC 3848 */;
    pr_wall arrival;
    uint64_t size_bytes; /* of the content, headers added by us included */
    struct mail_group *groups;
    size_t n_groups;
};

enum { MAIL_GROUP_RCPTS_MAX = 100 };

/* Sorts flat recipients into groups by normalised domain, at most MAIL_GROUP_RCPTS_MAX each, order kept within a
 * domain. Groups, array and normalised domains are allocated in `arena`; rcpts' strings are borrowed. Duplicates (same
 * address, same ORCPT) are merged. default_domain is used for <postmaster>. */
struct pr_arena;
void mail_envelope_group(struct mail_envelope *e, const struct mail_rcpt *rcpts, size_t n,
                         struct pr_slice default_domain, struct pr_arena *arena);

extern const char *const mail_class_names[MAIL_CLASS_NR];

#endif
