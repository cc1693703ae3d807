/* mail.h - one recipient group of one message on its way out, and what became of each recipient.
 *
 * Owns: nothing; envelope, group and content are borrowed from the job that holds the mail, texts of results live in
 * `arena`. Thread: that of its lane. */
#ifndef DLV_MAIL_H
#define DLV_MAIL_H

#include <stdbool.h>

#include "common/base/arena.h"
#include "common/mail/classify.h"
#include "common/mail/envelope.h"

enum { DLV_RCPTS_MAX = MAIL_GROUP_RCPTS_MAX, DLV_TEXT_MAX = 1024 };

struct dlv_result {
    bool decided;
    bool in_doubt; /* the end of content went out for it, no reply yet */
    enum mail_outcome outcome;
    uint16_t code;
    struct pr_slice enhanced;   /* "5.1.1" */
    struct pr_slice diagnostic; /* remote's reply ("550 5.1.1 no such user"), or our own words */
};

struct dlv_mail {
    const struct mail_envelope *envelope;
    const struct mail_group *group; /* n_rcpts <= DLV_RCPTS_MAX */
    bool complete;                  /* content holds the whole message; otherwise it is asked for chunk by chunk */
    struct pr_slice content;
    uint64_t size_bytes;
    struct pr_arena *arena;
    struct dlv_result *results; /* [n_rcpts], by index in the group; recipients that are not pending stay undecided */
    /* Of the reply that decided last with the widest scope. */
    enum mail_scope scope;
    enum mail_stage stage;
};

/* Borrows e, g and arena, from which the results are allocated. */
void dlv_mail_init(struct dlv_mail *m, const struct mail_envelope *e, const struct mail_group *g, struct pr_arena *arena);
/* Pending in the queue and not decided in this attempt. */
static inline bool dlv_mail_open(const struct dlv_mail *m, size_t i)
{
    return m->group->rcpts[i].status == MAIL_RCPT_PENDING && !m->results[i].decided;
}
size_t dlv_mail_open_count(const struct dlv_mail *m);

/* What a reply (or its absence, code 0) says. */
struct dlv_verdict {
    enum mail_outcome outcome;
    enum mail_scope scope;
    enum mail_stage stage;
    uint16_t code;
    struct pr_slice enhanced, text;
};
/* Classifies; text is the reply's text without the code, or our own words for code 0. Borrows text. */
struct dlv_verdict dlv_verdict_make(enum mail_stage stage, uint16_t code, struct pr_slice text);
/* Says it in our own words with our own status: no reply stands behind it. text and enhanced are static. */
struct dlv_verdict dlv_verdict_own(enum mail_outcome outcome, enum mail_scope scope, enum mail_stage stage,
                                   const char *enhanced, const char *text);
/* The verdict's text as a diagnostic, kept in the mail's arena (bounded, one line). */
struct pr_slice dlv_verdict_diagnostic(const struct dlv_verdict *v, struct pr_arena *arena);
/* Decides recipient i, if it is open. diagnostic was made for the same verdict. */
void dlv_mail_decide(struct dlv_mail *m, size_t i, const struct dlv_verdict *v, struct pr_slice diagnostic);
/* Decides all that are open. */
void dlv_mail_decide_rest(struct dlv_mail *m, const struct dlv_verdict *v);

#endif
