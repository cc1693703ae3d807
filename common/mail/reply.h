/* reply.h - SMTP replies: what we answer as a server, and the strict parser for what a server answers us.
 *
 * Both directions: no CR, LF, NUL or other control byte passes from text into a line (RFC 5321 4.2). */
#ifndef PR_MAIL_REPLY_H
#define PR_MAIL_REPLY_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/buf.h"
#include "common/base/err.h"
#include "common/base/slice.h"

/* A reply as a value. enhanced is "" for greeting, EHLO and 354 (RFC 2034 section 3). */
struct mail_reply {
    uint16_t code;
    const char *enhanced; /* "5.1.1", static */
    const char *text;     /* static, or owned by whoever says so; lines separated by \n make a multi-line reply */
};

/* Appends the reply in wire form, at most 512 octets a line. */
void mail_reply_format(const struct mail_reply *r, struct pr_buf *out);
/* As above with formatted text; control bytes of the text (but \n) become '?'. */
void mail_reply_printf(struct pr_buf *out, uint16_t code, const char *enhanced, const char *fmt, ...) PR_PRINTF(4, 5);

/* Parser of a peer's replies, restartable at any byte. */
enum { MAIL_REPLY_LINE_MAX = 2048, MAIL_REPLY_TEXT_MAX = 16384, MAIL_REPLY_LINES_MAX = 256 };

struct mail_reply_parser {
    struct pr_buf text; /* lines joined by \n, code and separator removed, control bytes replaced by '?' */
    struct pr_buf line; /* unfinished line */
    uint16_t code;      /* of the first line */
    unsigned lines;
    bool done;
    bool truncated; /* text was longer than we keep */
};

void mail_reply_parser_init(struct mail_reply_parser *p);
void mail_reply_parser_fini(struct mail_reply_parser *p);
void mail_reply_parser_clear(struct mail_reply_parser *p);
/* Takes bytes up to the end of one reply: *ret_used says how many. Returns 0 and p->done when a reply is complete, 0
 * and !done when more is needed, PR_EPARSE for garbage (bad code, code changes between lines, bare CR; a bare LF line
 * end is tolerated because it cannot do harm here), PR_ETOOBIG over the limits. After an error the connection is
 * useless. */
PR_MUST_USE int mail_reply_parse(struct mail_reply_parser *p, struct pr_slice in, size_t *ret_used);
/* Enhanced status code at the front of a reply text ("5.1.1 no such user"): length of it, or 0. Class must match code.
 */
size_t mail_enhanced_status(uint16_t code, struct pr_slice text);

#endif
