/* One mail's way over the connection, in one or more transactions.
 *
 * Happy path: 1. the plan (can it travel?), 2. MAIL, RCPTs and DATA are queued, 3. 354 or the last RCPT reply opens the
 * content, 4. the end of content puts its recipients in doubt, 5. the reply decides them, 6. recipients left over (limit
 * of recipients, 452) start the next transaction, else the mail is reported.
 * Failure: a refusal decides; a lost connection makes doubted recipients UNKNOWN and gives back a mail of which nothing
 * is decided. */
#include "common/base/alloc.h"
#include "common/base/assert.h"
#include "deliverer/core/client_internal.h"

/* On a connection that has been silent longer the peer may be gone: content waits for the envelope's replies, so that
 * nothing is in doubt for nothing. */
enum { LIVELY_MS = 1000 };

/* What was accepted was parsed strictly; this guards the dialogue itself. */
static bool address_fits(struct pr_slice a)
{
    for (size_t i = 0; i < a.len; i++)
        if (pr_is_ctl(a.ptr[i]))
            return false;
    return a.len <= 1024;
}

static void decide_one(struct dlv_mail *m, size_t i, const struct dlv_verdict *v)
{
    dlv_mail_decide(m, i, v, dlv_verdict_diagnostic(v, m->arena));
}

static void choose_recipients(struct dlv_client *c, struct txn *t)
{
    const struct dlv_verdict utf8 =
        dlv_verdict_own(MAIL_OUTCOME_PERM, MAIL_SCOPE_RCPT, MAIL_STAGE_RCPT, "5.6.7",
                        "internationalized address, and the remote host does not offer SMTPUTF8");
    const struct dlv_verdict bad =
        dlv_verdict_own(MAIL_OUTCOME_PERM, MAIL_SCOPE_RCPT, MAIL_STAGE_RCPT, "5.1.3", "malformed recipient address");
    struct dlv_mail *m = t->mail;
    size_t max = DLV_RCPTS_MAX;
    if (c->o.rcpts_max > 0)
        max = PR_MIN(max, c->o.rcpts_max);
    if (c->caps.rcpt_max > 0)
        max = PR_MIN(max, c->caps.rcpt_max);
    t->n = 0;
    for (size_t i = 0; i < m->group->n_rcpts && t->n < max; i++) {
        struct pr_slice address = m->group->rcpts[i].address;
        if (!dlv_mail_open(m, i))
            continue;
        if (!address_fits(address)) {
            decide_one(m, i, &bad);
            continue;
        }
        if (!pr_is_ascii(address) && !t->plan.smtputf8) {
            if (!cap(c, DLV_CAP_SMTPUTF8)) {
                decide_one(m, i, &utf8);
                continue;
            }
            t->plan.smtputf8 = true;
        }
        t->rcpts[t->n] = (uint8_t)i;
        t->rcpt_states[t->n++] = RCPT_WAITING;
    }
}

static void queue_commands(struct dlv_client *c, struct txn *t)
{
    if (c->needs_rset)
        pipeline_push(c, CMD_RSET, NULL, 0);
    c->needs_rset = false;
    pipeline_push(c, CMD_MAIL, t, 0);
    for (size_t i = 0; i < t->n; i++)
        pipeline_push(c, CMD_RCPT, t, i);
    bool early = t->plan.bdat && t->mail->complete && t->mail->content.len <= CONTENT_EARLY_MAX &&
                 cap(c, DLV_CAP_PIPELINING) && t == front_txn(c) && pr_mono_since(c->now, c->last_reply) < LIVELY_MS;
    if (early)
        pipeline_push(c, CMD_BDAT_LAST, t, 0);
    else if (!t->plan.bdat)
        pipeline_push(c, CMD_DATA, t, 0);
}

static void release(struct dlv_client *c, struct txn *t)
{
    pr_assert(t->pending == 0 || closed(c));
    t->state = TXN_FREE;
    t->mail = NULL;
    if (t == front_txn(c) && back_txn(c)->state != TXN_FREE)
        c->front ^= 1;
}

static void report(struct dlv_client *c, struct txn *t)
{
    struct dlv_mail *m = t->mail;
    release(c, t);
    c->mails++;
    client_act(c, DLV_DO_REPORT, m);
}

void txn_start(struct dlv_client *c, struct dlv_mail *mail)
{
    struct txn *t = front_txn(c)->state == TXN_FREE ? front_txn(c) : back_txn(c);
    struct dlv_verdict v;
    struct content_plan plan;
    pr_assert(t->state == TXN_FREE && t->pending == 0);
    bool fits = content_plan(c, mail, &plan, &v);
    if (fits && !address_fits(mail->envelope->sender)) {
        v = dlv_verdict_own(MAIL_OUTCOME_PERM, MAIL_SCOPE_MESSAGE, MAIL_STAGE_MAIL, "5.1.7", "malformed sender address");
        fits = false;
    }
    t->mail = mail;
    t->plan = plan;
    t->n = t->answered = t->accepted = t->lmtp_next = 0;
    t->replied = t->opened = t->refused = t->hollow = t->asked = t->doubted = false;
    t->seq = 0;
    t->state = TXN_ENVELOPE;
    content_init(t);
    if (fits)
        choose_recipients(c, t);
    else
        dlv_mail_decide_rest(mail, &v);
    if (t->n == 0)
        report(c, t);
    else
        queue_commands(c, t);
}

void txn_finish(struct dlv_client *c, struct txn *t, bool clean)
{
    struct dlv_mail *m = t->mail;
    if (!clean && t->opened)
        c->needs_rset = true;
    if (dlv_mail_open_count(m) == 0) {
        report(c, t);
        return;
    }
    /* The rest of its recipients. A round without progress would never end: each decides at least one. */
    pr_assert(back_txn(c)->state == TXN_FREE);
    release(c, t);
    txn_start(c, m);
}

void txn_decide(struct txn *t, const struct dlv_verdict *v)
{
    struct pr_slice diagnostic = dlv_verdict_diagnostic(v, t->mail->arena);
    for (size_t i = 0; i < t->n; i++) {
        if (t->rcpt_states[i] == RCPT_DONE)
            continue;
        dlv_mail_decide(t->mail, t->rcpts[i], v, diagnostic);
        t->rcpt_states[i] = RCPT_DONE;
    }
}

void txn_doubt(struct dlv_client *c, struct txn *t)
{
    for (size_t i = 0; i < t->n; i++)
        if (t->rcpt_states[i] != RCPT_DONE)
            t->mail->results[t->rcpts[i]].in_doubt = true;
    t->doubted = true;
    client_act(c, DLV_DO_DOT, t->mail);
}

void txn_undoubt(struct txn *t)
{
    for (size_t i = 0; i < t->n; i++)
        t->mail->results[t->rcpts[i]].in_doubt = false;
    t->doubted = false;
}

void txn_want_chunk(struct dlv_client *c, struct txn *t)
{
    if (t->state != TXN_CONTENT || t->asked || t->refused)
        return;
    if (t->plan.bdat && pipeline_outstanding(&c->p) >= (cap(c, DLV_CAP_PIPELINING) ? CHUNKS_IN_FLIGHT : 1))
        return;
    t->asked = true;
    client_act(c, DLV_DO_WANT_CHUNK, t->mail);
}

static void send_part(struct dlv_client *c, struct txn *t, struct pr_slice bytes, bool last)
{
    if (last) {
        t->state = TXN_DOT;
        txn_doubt(c, t);
    }
    if (t->plan.bdat)
        pipeline_push_sent(c, last ? CMD_BDAT_LAST : CMD_BDAT, t);
    content_append(t, bytes, last, c->out->send);
    client_touch(c);
}

void txn_content(struct dlv_client *c, struct txn *t)
{
    t->state = TXN_CONTENT;
    if (!t->plan.bdat)
        pipeline_push_sent(c, CMD_BODY, t);
    if (t->mail->complete)
        send_part(c, t, t->mail->content, true);
    else
        txn_want_chunk(c, t);
}

void txn_chunk(struct dlv_client *c, struct txn *t, struct pr_slice bytes, bool last)
{
    t->asked = false;
    t->seq++;
    if (!t->plan.raw) {
        mail_line_check(&t->lines, bytes);
        if (t->lines.longest_line > 998) {
            /* Nothing but the end of the connection takes back what was sent. */
            struct dlv_verdict v = dlv_verdict_own(MAIL_OUTCOME_PERM, MAIL_SCOPE_MESSAGE, MAIL_STAGE_DATA, "5.6.0",
                                                   "a line of the message is longer than 998 octets");
            dlv_mail_decide_rest(t->mail, &v);
            client_fail(c, DLV_CLOSE_ABORTED, &v);
            return;
        }
    }
    send_part(c, t, bytes, last);
    txn_want_chunk(c, t);
}

void txn_chunk_gone(struct dlv_client *c, struct txn *t)
{
    t->asked = false;
    struct dlv_verdict v = dlv_verdict_own(MAIL_OUTCOME_ABORTED, MAIL_SCOPE_MESSAGE, MAIL_STAGE_DATA, "4.3.0",
                                           "the content could not be read from the queue");
    dlv_mail_decide_rest(t->mail, &v);
    client_fail(c, DLV_CLOSE_ABORTED, &v);
}

void txn_hollow(struct dlv_client *c, struct txn *t)
{
    t->hollow = true;
    t->state = TXN_DOT;
    pipeline_push_sent(c, CMD_BODY, t);
    pr_buf_str(c->out->send, ".\r\n");
}

static bool nothing_decided(const struct dlv_mail *m)
{
    for (size_t i = 0; i < m->group->n_rcpts; i++)
        if (m->results[i].decided)
            return false;
    return true;
}

static void requeue(struct dlv_client *c, struct txn *t)
{
    struct dlv_mail *m = t->mail;
    bool replied = t->replied;
    release(c, t);
    client_act(c, DLV_DO_REQUEUE, m);
    c->out->actions[c->out->n - 1].free = !replied && c->mails > 0;
}

static void decide_doubted(struct txn *t, const struct dlv_verdict *v)
{
    /* RFC 5321 4.5.3.2.6: no reply after the final dot, the message may have been taken. */
    struct dlv_verdict unknown = dlv_verdict_make(MAIL_STAGE_BODY, 0, v->text);
    struct pr_slice diagnostic = dlv_verdict_diagnostic(&unknown, t->mail->arena);
    for (size_t i = 0; i < t->n; i++)
        if (t->mail->results[t->rcpts[i]].in_doubt)
            dlv_mail_decide(t->mail, t->rcpts[i], &unknown, diagnostic);
}

void txn_lost(struct dlv_client *c, struct txn *t, const struct dlv_verdict *v)
{
    if (t->state == TXN_FREE)
        return;
    t->pending = 0;
    if (t->doubted)
        decide_doubted(t, v);
    else if (v->outcome == MAIL_OUTCOME_TEMP && t->state == TXN_ENVELOPE && nothing_decided(t->mail)) {
        requeue(c, t);
        return;
    }
    dlv_mail_decide_rest(t->mail, v);
    report(c, t);
}
