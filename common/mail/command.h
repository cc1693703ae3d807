/* command.h - SMTP command lines as a server reads them (RFC 5321 4.1.1, 3030, 3207, 3461, 1870, 6152, 6531, 4954).
 *
 * Owns: nothing, slices borrow from the line until it goes. Thread: any. No state: splitting a byte stream into lines
 * is the session's work. */
#ifndef PR_MAIL_COMMAND_H
#define PR_MAIL_COMMAND_H

#include "common/mail/address.h"
#include "common/mail/envelope.h"
#include "common/mail/reply.h"

enum mail_verb {
    MAIL_VERB_UNKNOWN,
    MAIL_VERB_EHLO,
    MAIL_VERB_HELO,
    MAIL_VERB_LHLO,
    MAIL_VERB_MAIL,
    MAIL_VERB_RCPT,
    MAIL_VERB_DATA,
    MAIL_VERB_BDAT,
    MAIL_VERB_RSET,
    MAIL_VERB_NOOP,
    MAIL_VERB_QUIT,
    MAIL_VERB_VRFY,
    MAIL_VERB_EXPN,
    MAIL_VERB_HELP,
    MAIL_VERB_STARTTLS,
    MAIL_VERB_AUTH,
    MAIL_VERB_NR,
};
extern const char *const mail_verb_names[MAIL_VERB_NR];

/* line: without CRLF. Sets *ret_args to what follows the verb and one space (trailing spaces removed). Verbs are
 * case-insensitive. */
enum mail_verb mail_command_verb(struct pr_slice line, struct pr_slice *ret_args);
/* True for a request line of another protocol (GET, POST, CONNECT, a TLS ClientHello ...): hang up with 521. The first
 * bytes of a line are enough for a ClientHello, which need not hold a CRLF. */
bool mail_command_foreign(struct pr_slice line);
/* False for a line with control bytes, or with bytes that are not UTF-8 (utf8) or not ASCII (!utf8): what NOOP, HELP or
 * VRFY must neither echo nor ignore. Trailing white space is the caller's to strip. MAIL and RCPT check their arguments
 * themselves. */
bool mail_command_clean(struct pr_slice line, bool utf8);

struct mail_from {
    struct mail_address path;
    bool has_size;
    uint64_t size_bytes;
    enum mail_body_type body;
    enum mail_ret ret;
    struct pr_slice envid_xtext; /* still encoded, checked to decode */
    bool smtputf8;
};
struct mail_to {
    struct mail_address path;
    unsigned notify;             /* enum mail_notify bits, 0 if absent */
    struct pr_slice orcpt_xtext; /* "rfc822;..." still encoded, checked to decode */
};

/* What extensions the session offers, hence which parameters are known. */
enum mail_ext {
    MAIL_EXT_SIZE = 1,
    MAIL_EXT_8BITMIME = 2,
    MAIL_EXT_SMTPUTF8 = 4,
    MAIL_EXT_DSN = 8,
    MAIL_EXT_CHUNKING = 16,
    MAIL_EXT_BINARYMIME = 32,
    MAIL_EXT_AUTH = 64,
};

/* Arguments of MAIL ("FROM:<...> SIZE=..") and RCPT ("TO:<...> NOTIFY=.."). Duplicate, unknown or ill-valued parameters
 * are refused, never ignored. On refusal: PR_EPARSE with *reterr_reply set (501, 553, 555, ... with enhanced code,
 * static). */
PR_MUST_USE int mail_command_from(struct pr_slice args, unsigned ext, struct mail_from *ret,
                                  struct mail_reply *reterr_reply);
PR_MUST_USE int mail_command_to(struct pr_slice args, unsigned ext, bool smtputf8, struct mail_to *ret,
                                struct mail_reply *reterr_reply);
/* BDAT size [LAST]: size is 1*DIGIT within uint64, nothing else (RFC 3030). PR_EPARSE and PR_ERANGE: the size cannot be
 * known, so what follows cannot be told from commands: close. PR_EINVAL: the size is known and set, the word after it
 * is not LAST: swallow the chunk and refuse. */
PR_MUST_USE int mail_command_bdat(struct pr_slice args, uint64_t *ret_size, bool *ret_last);

#endif
