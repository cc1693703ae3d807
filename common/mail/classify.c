/* What a reply means, as one table read from the top: the first row that fits decides.
 *
 * The order of the argument: 421 speaks about the host wherever it stands (RFC 5321 3.8). No reply before the final dot
 * is a failed attempt, after it a doubt (RFC 5321 4.5.3.2.6 and 6.1: deferred, never bounced). Then the stage says whom
 * a refusal is about. */
#include "common/mail/classify.h"

#include "common/mail/reply.h"

const char *const mail_outcome_names[MAIL_OUTCOME_NR] = {
    [MAIL_OUTCOME_DELIVERED] = "delivered", [MAIL_OUTCOME_TEMP] = "temp",       [MAIL_OUTCOME_PERM] = "perm",
    [MAIL_OUTCOME_ABORTED] = "aborted",     [MAIL_OUTCOME_UNKNOWN] = "unknown",
};

const char *const mail_stage_names[MAIL_STAGE_NR] = {
    [MAIL_STAGE_DNS] = "dns",   [MAIL_STAGE_CONNECT] = "connect",   [MAIL_STAGE_GREETING] = "greeting",
    [MAIL_STAGE_EHLO] = "ehlo", [MAIL_STAGE_STARTTLS] = "starttls", [MAIL_STAGE_MAIL] = "mail",
    [MAIL_STAGE_RCPT] = "rcpt", [MAIL_STAGE_DATA] = "data",         [MAIL_STAGE_BODY] = "body",
};

#define AT(stage) (1u << (stage))

enum {
    BEFORE_BODY = AT(MAIL_STAGE_BODY) - 1,
    ANYWHERE = AT(MAIL_STAGE_NR) - 1,
    /* Nothing has been said about a message yet. */
    OPENING = AT(MAIL_STAGE_GREETING) | AT(MAIL_STAGE_EHLO) | AT(MAIL_STAGE_STARTTLS),
};

struct row {
    unsigned stages; /* AT() bits */
    uint16_t low, high;
    struct mail_verdict verdict;
};

static const struct row rows[] = {
    /* No reply. */
    {AT(MAIL_STAGE_BODY), 0, 0, {MAIL_OUTCOME_UNKNOWN, MAIL_SCOPE_SITE, "4.4.2"}},
    {AT(MAIL_STAGE_DNS), 0, 0, {MAIL_OUTCOME_TEMP, MAIL_SCOPE_SITE, "4.4.3"}},
    {AT(MAIL_STAGE_CONNECT), 0, 0, {MAIL_OUTCOME_TEMP, MAIL_SCOPE_SITE, "4.4.1"}},
    {AT(MAIL_STAGE_STARTTLS), 0, 0, {MAIL_OUTCOME_TEMP, MAIL_SCOPE_SITE, "4.7.5"}},
    {BEFORE_BODY, 0, 0, {MAIL_OUTCOME_TEMP, MAIL_SCOPE_SITE, "4.4.2"}},
    /* The host is going away or wants us to. */
    {ANYWHERE, 421, 421, {MAIL_OUTCOME_TEMP, MAIL_SCOPE_SITE, "4.3.2"}},
    /* The end of data: the only place where a positive reply means delivery. Neither yes nor no is a doubt. */
    {AT(MAIL_STAGE_BODY), 200, 299, {MAIL_OUTCOME_DELIVERED, MAIL_SCOPE_MESSAGE, "2.0.0"}},
    {AT(MAIL_STAGE_BODY), 400, 499, {MAIL_OUTCOME_TEMP, MAIL_SCOPE_MESSAGE, "4.0.0"}},
    {AT(MAIL_STAGE_BODY), 500, 599, {MAIL_OUTCOME_PERM, MAIL_SCOPE_MESSAGE, "5.0.0"}},
    {AT(MAIL_STAGE_BODY), 0, UINT16_MAX, {MAIL_OUTCOME_UNKNOWN, MAIL_SCOPE_SITE, "4.5.0"}},
    /* A host that takes no mail (RFC 7504), one that does not want us; another exchange may. */
    {OPENING, 521, 521, {MAIL_OUTCOME_PERM, MAIL_SCOPE_SITE, "5.3.2"}},
    {OPENING, 556, 556, {MAIL_OUTCOME_PERM, MAIL_SCOPE_SITE, "5.1.10"}},
    /* TLS refused is never the message's fault: what it costs is the caller's policy (RFC 3207 4.1). */
    {AT(MAIL_STAGE_STARTTLS), 400, 599, {MAIL_OUTCOME_TEMP, MAIL_SCOPE_SITE, "4.7.4"}},
    {OPENING, 400, 499, {MAIL_OUTCOME_TEMP, MAIL_SCOPE_SITE, "4.3.2"}},
    {OPENING, 500, 599, {MAIL_OUTCOME_PERM, MAIL_SCOPE_SITE, "5.3.2"}},
    /* RFC 5321 4.5.3.1.10: 552 to RCPT is an old spelling of 452, too many recipients. */
    {AT(MAIL_STAGE_RCPT), 552, 552, {MAIL_OUTCOME_TEMP, MAIL_SCOPE_RCPT, "4.5.3"}},
    {AT(MAIL_STAGE_RCPT), 452, 452, {MAIL_OUTCOME_TEMP, MAIL_SCOPE_RCPT, "4.5.3"}},
    {AT(MAIL_STAGE_RCPT), 550, 550, {MAIL_OUTCOME_PERM, MAIL_SCOPE_RCPT, "5.1.1"}},
    {AT(MAIL_STAGE_RCPT), 551, 551, {MAIL_OUTCOME_PERM, MAIL_SCOPE_RCPT, "5.1.6"}},
    {AT(MAIL_STAGE_RCPT), 553, 553, {MAIL_OUTCOME_PERM, MAIL_SCOPE_RCPT, "5.1.3"}},
    {AT(MAIL_STAGE_RCPT), 556, 556, {MAIL_OUTCOME_PERM, MAIL_SCOPE_RCPT, "5.1.10"}},
    {AT(MAIL_STAGE_RCPT), 400, 499, {MAIL_OUTCOME_TEMP, MAIL_SCOPE_RCPT, "4.0.0"}},
    {AT(MAIL_STAGE_RCPT), 500, 599, {MAIL_OUTCOME_PERM, MAIL_SCOPE_RCPT, "5.0.0"}},
    {AT(MAIL_STAGE_MAIL), 552, 552, {MAIL_OUTCOME_PERM, MAIL_SCOPE_MESSAGE, "5.3.4"}},
    {AT(MAIL_STAGE_MAIL), 452, 452, {MAIL_OUTCOME_TEMP, MAIL_SCOPE_MESSAGE, "4.3.1"}},
    {AT(MAIL_STAGE_MAIL) | AT(MAIL_STAGE_DATA), 400, 499, {MAIL_OUTCOME_TEMP, MAIL_SCOPE_MESSAGE, "4.0.0"}},
    {AT(MAIL_STAGE_MAIL) | AT(MAIL_STAGE_DATA), 500, 599, {MAIL_OUTCOME_PERM, MAIL_SCOPE_MESSAGE, "5.0.0"}},
    /* A positive reply where none belongs, or no reply code at all: a broken peer. */
    {ANYWHERE, 0, UINT16_MAX, {MAIL_OUTCOME_TEMP, MAIL_SCOPE_SITE, "4.5.0"}},
};

/* Enhanced codes that speak about the host whatever the stage: not accepting, mail system full, congested. */
static const char *const site_statuses[] = {"4.3.2", "4.3.1", "4.4.5"};

static bool about_site(uint16_t code, struct pr_slice text)
{
    struct pr_slice status = pr_slice_head(text, mail_enhanced_status(code, text));
    for (size_t i = 0; i < sizeof site_statuses / sizeof site_statuses[0]; i++)
        if (pr_slice_eq_str(status, site_statuses[i]))
            return true;
    return false;
}

struct mail_verdict mail_classify(enum mail_stage stage, uint16_t code, struct pr_slice text)
{
    const struct row *r = rows;
    while ((r->stages & AT(stage)) == 0 || code < r->low || code > r->high)
        r++;
    struct mail_verdict verdict = r->verdict;
    if (verdict.outcome == MAIL_OUTCOME_TEMP && about_site(code, text))
        verdict.scope = MAIL_SCOPE_SITE;
    return verdict;
}
