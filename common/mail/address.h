/* address.h - mailboxes of the envelope (RFC 5321 4.1.2, RFC 6531), parsed strictly.
 *
 * Owns: nothing; results borrow from the input until it goes. Thread: any.
 * Errors: PR_EPARSE (syntax), PR_ETOOBIG (a limit of RFC 5321 4.5.3.1), PR_EVERSION (UTF-8 where it is not allowed). */
#ifndef PR_MAIL_ADDRESS_H
#define PR_MAIL_ADDRESS_H

#include <stdbool.h>

#include "common/base/buf.h"
#include "common/base/err.h"
#include "common/base/slice.h"

enum { MAIL_LOCAL_MAX = 64, MAIL_DOMAIN_MAX = 255, MAIL_PATH_MAX = 256, MAIL_LABEL_MAX = 63 };

enum mail_address_kind {
    MAIL_ADDRESS_NULL,    /* <>: the null sender */
    MAIL_ADDRESS_LOCAL,   /* <postmaster> only: no domain */
    MAIL_ADDRESS_DOMAIN,  /* local@domain */
    MAIL_ADDRESS_LITERAL, /* local@[192.0.2.1], local@[IPv6:2001:db8::1] */
};

struct mail_address {
    enum mail_address_kind kind;
    struct pr_slice text;   /* local@domain as it was written, without <> and source route; empty for the null sender */
    struct pr_slice local;  /* as written, quotes included; case kept */
    struct pr_slice domain; /* as written; for literals with the brackets; without a trailing dot */
    bool utf8;              /* holds non-ASCII: needs SMTPUTF8 */
};

enum mail_address_flags {
    MAIL_ADDRESS_ALLOW_NULL = 1, /* reverse-path */
    MAIL_ADDRESS_ALLOW_UTF8 = 2, /* SMTPUTF8 was given */
    MAIL_ADDRESS_BARE = 4,       /* no angle brackets: configuration, command line */
};

/* Parses one path at the front of `in`: `<...>` (or a bare mailbox with MAIL_ADDRESS_BARE, which takes all of `in`).
 * A source route (`<@a,@b:u@c>`, RFC 5321 4.1.2) is accepted and dropped, never followed. Sets *ret_rest to what
 * follows. */
PR_MUST_USE int mail_address_parse(struct pr_slice in, unsigned flags, struct mail_address *ret,
                                   struct pr_slice *ret_rest);

/* RFC 5321 Domain (letters, digits, hyphens, dots; U-labels with utf8). No literal, no trailing dot. */
bool mail_domain_valid(struct pr_slice domain, bool utf8);
/* `[1.2.3.4]` or `[IPv6:...]`. */
bool mail_literal_valid(struct pr_slice literal);
/* EHLO argument: domain (underscore tolerated) or literal, graphic ASCII, <= 255. */
bool mail_helo_valid(struct pr_slice name);

/* Appends the domain in the form used for routing and comparison: lower case, no trailing dot. UTF-8 labels stay as
 * they are here (A-labels are made where libidn2 is linked). */
void mail_domain_normalize(struct pr_slice domain, struct pr_buf *out);
/* Domain comparison ignores case and one trailing dot. */
bool mail_domain_eq(struct pr_slice a, struct pr_slice b);
/* True when domain equals pattern, or pattern is ".x" / "*.x" and domain is below x. */
bool mail_domain_match(struct pr_slice domain, struct pr_slice pattern);

/* xtext (RFC 3461 4): decoding refuses control bytes and ill-formed hex. */
PR_MUST_USE int mail_xtext_decode(struct pr_slice in, struct pr_buf *out);
void mail_xtext_encode(struct pr_slice in, struct pr_buf *out);

#endif
