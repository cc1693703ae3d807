/* Where a reply leads, by the command it answers.
 *
 * 421 ends the connection wherever it comes (RFC 5321 3.8). A reply of a class that has no place where it stands means
 * that we are out of step with the peer: the connection ends too, for the next reply could be taken for another's. */
#include "common/base/assert.h"
#include "deliverer/core/client_internal.h"

struct reply {
    uint16_t code;
    struct pr_slice text;
};

static bool positive(const struct reply *r) { return r->code >= 200 && r->code <= 299; }
static bool negative(const struct reply *r) { return r->code >= 400; }

static enum mail_stage cmd_stage(const struct dlv_client *c, const struct cmd *cmd)
{
    switch ((enum cmd_kind)cmd->kind) {
    case CMD_GREETING:
        return MAIL_STAGE_GREETING;
    case CMD_EHLO:
    case CMD_HELO:
        return MAIL_STAGE_EHLO;
    case CMD_STARTTLS:
        return MAIL_STAGE_STARTTLS;
    case CMD_RSET:
    case CMD_MAIL:
    case CMD_QUIT:
        return MAIL_STAGE_MAIL;
    case CMD_RCPT:
        return MAIL_STAGE_RCPT;
    case CMD_DATA:
        return MAIL_STAGE_DATA;
    case CMD_BODY:
    case CMD_BDAT:
    case CMD_BDAT_LAST:
        /* Before its end nothing can have been delivered. */
        return c->txns[cmd->txn].doubted ? MAIL_STAGE_BODY : MAIL_STAGE_DATA;
    case CMD_NR:
        break;
    }
    pr_unreachable();
}

enum mail_stage client_stage(struct dlv_client *c)
{
    if (pipeline_outstanding(&c->p) > 0)
        return cmd_stage(c, pipeline_head(&c->p));
    unsigned state = pr_sm_state(&c->sm);
    return state == ST_CONNECTING ? MAIL_STAGE_CONNECT : state == ST_TLS ? MAIL_STAGE_STARTTLS : MAIL_STAGE_MAIL;
}

static void fail(struct dlv_client *c, enum dlv_close_reason reason, enum mail_stage stage, const struct reply *r)
{
    struct dlv_verdict v = dlv_verdict_make(stage, r->code, r->text);
    client_fail(c, reason, &v);
}

static void out_of_step(struct dlv_client *c, enum mail_stage stage, const struct reply *r)
{
    fail(c, DLV_CLOSE_PROTOCOL, stage, r);
}

static void ready(struct dlv_client *c)
{
    pr_sm_move(&c->sm, ST_READY, "handshake over");
    c->was_ready = true;
    client_act(c, DLV_DO_READY, NULL);
}

static void no_tls(struct dlv_client *c)
{
    struct dlv_verdict v = dlv_verdict_own(MAIL_OUTCOME_TEMP, MAIL_SCOPE_SITE, MAIL_STAGE_STARTTLS, "4.7.4",
                                           "TLS is required, and the remote host does not offer STARTTLS");
    client_fail(c, DLV_CLOSE_TLS, &v);
}

static void on_greeting(struct dlv_client *c, const struct reply *r)
{
    if (r->code == 220) {
        pr_sm_move(&c->sm, ST_HELLO, "greeted");
        pipeline_push(c, CMD_EHLO, NULL, 0);
    } else {
        fail(c, negative(r) ? DLV_CLOSE_REFUSED : DLV_CLOSE_PROTOCOL, MAIL_STAGE_GREETING, r);
    }
}

static void on_ehlo(struct dlv_client *c, const struct reply *r)
{
    if (r->code >= 500 && !c->o.lmtp) {
        /* RFC 5321 3.2: a server that does not know EHLO. */
        pipeline_push(c, CMD_HELO, NULL, 0);
        return;
    }
    if (r->code != 250) {
        fail(c, negative(r) ? DLV_CLOSE_REFUSED : DLV_CLOSE_PROTOCOL, MAIL_STAGE_EHLO, r);
        return;
    }
    dlv_caps_parse(r->text, &c->caps);
    if (!c->tls_up && c->o.tls != DLV_TLS_NEVER && cap(c, DLV_CAP_STARTTLS)) {
        pr_sm_move(&c->sm, ST_STARTTLS, "offered");
        pipeline_push(c, CMD_STARTTLS, NULL, 0);
    } else if (!c->tls_up && c->o.tls == DLV_TLS_REQUIRED) {
        no_tls(c);
    } else {
        ready(c);
    }
}

static void on_helo(struct dlv_client *c, const struct reply *r)
{
    if (r->code != 250)
        fail(c, negative(r) ? DLV_CLOSE_REFUSED : DLV_CLOSE_PROTOCOL, MAIL_STAGE_EHLO, r);
    else if (!c->tls_up && c->o.tls == DLV_TLS_REQUIRED)
        no_tls(c);
    else
        ready(c);
}

static void on_starttls(struct dlv_client *c, const struct reply *r)
{
    if (r->code == 220)
        pr_sm_move(&c->sm, ST_TLS, "go");
    else
        fail(c, DLV_CLOSE_TLS, MAIL_STAGE_STARTTLS, r);
}

static void on_mail(struct dlv_client *c, struct txn *t, const struct reply *r)
{
    if (positive(r)) {
        t->replied = t->opened = true;
        return;
    }
    if (!negative(r) || r->code == 503) {
        /* 503: the peer thinks that something else is going on; never a reason to bounce. */
        struct dlv_verdict v = dlv_verdict_make(MAIL_STAGE_MAIL, r->code, r->text);
        v.outcome = MAIL_OUTCOME_TEMP;
        v.scope = MAIL_SCOPE_SITE;
        if (v.enhanced.len > 0 && v.enhanced.ptr[0] != '4')
            v.enhanced = PR_SLICE_LIT("4.5.0");
        client_fail(c, DLV_CLOSE_PROTOCOL, &v);
        return;
    }
    struct dlv_verdict v = dlv_verdict_make(MAIL_STAGE_MAIL, r->code, r->text);
    t->replied = t->refused = true;
    txn_decide(t, &v);
    dlv_mail_decide_rest(t->mail, &v);
}

/* RFC 5321 4.5.3.1.10: too many recipients is no refusal of this one; the rest goes in another transaction. */
static bool too_many(const struct txn *t, const struct reply *r)
{
    if (t->accepted == 0 || (r->code != 452 && r->code != 552))
        return false;
    size_t n = mail_enhanced_status(r->code, r->text);
    return n == 0 || (n == 5 && memcmp(r->text.ptr + 1, ".5.3", 4) == 0);
}

static void on_rcpt(struct dlv_client *c, struct txn *t, size_t slot, const struct reply *r)
{
    if (!positive(r) && !negative(r)) {
        out_of_step(c, MAIL_STAGE_RCPT, r);
        return;
    }
    t->replied = true;
    t->answered++;
    if (t->rcpt_states[slot] == RCPT_DONE)
        return;
    if (positive(r)) {
        t->rcpt_states[slot] = RCPT_ACCEPTED;
        t->accepted++;
        return;
    }
    t->rcpt_states[slot] = RCPT_DONE;
    if (too_many(t, r)) {
        t->mail->results[t->rcpts[slot]].in_doubt = false;
        return;
    }
    struct dlv_verdict v = dlv_verdict_make(MAIL_STAGE_RCPT, r->code, r->text);
    dlv_mail_decide(t->mail, t->rcpts[slot], &v, dlv_verdict_diagnostic(&v, t->mail->arena));
}

static void on_data(struct dlv_client *c, struct txn *t, const struct reply *r)
{
    bool wanted = !t->refused && t->accepted > 0;
    if (r->code == 354) {
        if (wanted) {
            txn_content(c, t);
        } else if (c->o.lmtp) {
            /* RFC 2033 4.2: it had to refuse; how many replies would follow is anybody's guess. */
            out_of_step(c, MAIL_STAGE_DATA, r);
        } else {
            txn_hollow(c, t);
        }
        return;
    }
    if (!negative(r)) {
        out_of_step(c, MAIL_STAGE_DATA, r);
        return;
    }
    struct dlv_verdict v = dlv_verdict_make(MAIL_STAGE_DATA, r->code, r->text);
    t->refused = true;
    if (wanted)
        txn_decide(t, &v);
}

/* The peer gave up in the middle of the content. Positive: it lies, nothing was complete. */
static void on_early_end(struct dlv_client *c, struct txn *t, const struct reply *r)
{
    if (negative(r)) {
        struct dlv_verdict v = dlv_verdict_make(MAIL_STAGE_BODY, r->code, r->text);
        txn_decide(t, &v);
    }
    out_of_step(c, MAIL_STAGE_DATA, r);
}

static void decide_next_lmtp(struct txn *t, const struct dlv_verdict *v)
{
    while (t->rcpt_states[t->lmtp_next] != RCPT_ACCEPTED)
        t->lmtp_next++;
    t->rcpt_states[t->lmtp_next] = RCPT_DONE;
    dlv_mail_decide(t->mail, t->rcpts[t->lmtp_next], v, dlv_verdict_diagnostic(v, t->mail->arena));
    t->accepted--;
}

/* To the final dot or BDAT LAST. True: the transaction is over. */
static bool on_end(struct dlv_client *c, struct txn *t, const struct reply *r)
{
    if (t->hollow)
        return true;
    struct dlv_verdict v = dlv_verdict_make(MAIL_STAGE_BODY, r->code, r->text);
    if (!positive(r) && !negative(r)) {
        client_fail(c, DLV_CLOSE_PROTOCOL, &v);
        return false;
    }
    /* RFC 2033 4.2: one reply for each recipient that was accepted, in order. */
    if (c->o.lmtp && t->accepted > 0) {
        decide_next_lmtp(t, &v);
        return t->accepted == 0;
    }
    txn_decide(t, &v);
    return true;
}

static void on_chunk(struct dlv_client *c, struct txn *t, const struct reply *r)
{
    if (positive(r)) {
        txn_want_chunk(c, t);
        return;
    }
    if (!negative(r)) {
        out_of_step(c, MAIL_STAGE_DATA, r);
        return;
    }
    /* RFC 3030 section 2: the transaction has failed, no more chunks. */
    struct dlv_verdict v = dlv_verdict_make(MAIL_STAGE_BODY, r->code, r->text);
    if (!t->refused)
        txn_decide(t, &v);
    t->refused = true;
    t->accepted = 0;
    if (t->state == TXN_CONTENT)
        t->state = TXN_ENVELOPE; /* nothing more to say: ends when all is answered */
}

/* LMTP's end has several replies: true when the command is still waiting. */
static bool end_of_content(struct dlv_client *c, struct txn *t, const struct reply *r)
{
    if (!t->doubted && !t->hollow) {
        on_early_end(c, t, r);
        return false;
    }
    if (r->code == 421 && !t->hollow) {
        struct dlv_verdict v = dlv_verdict_make(MAIL_STAGE_BODY, r->code, r->text);
        if (c->o.lmtp)
            decide_next_lmtp(t, &v);
        else
            txn_decide(t, &v);
        client_fail(c, DLV_CLOSE_SHUTDOWN, &v);
        return false;
    }
    bool over = on_end(c, t, r);
    if (closed(c))
        return false;
    if (!over) {
        client_touch(c);
        return true;
    }
    enum cmd_kind kind = (enum cmd_kind)pipeline_head(&c->p)->kind;
    pipeline_answered(c);
    /* RFC 5321 4.1.1.4: the end of data ends the transaction, however it is answered. A refused BDAT leaves it open. */
    txn_finish(c, t, kind == CMD_BODY || positive(r));
    return true;
}

static void on_transaction_reply(struct dlv_client *c, const struct cmd *cmd, const struct reply *r)
{
    struct txn *t = &c->txns[cmd->txn];
    switch ((enum cmd_kind)cmd->kind) {
    case CMD_MAIL:
        on_mail(c, t, r);
        break;
    case CMD_RCPT:
        on_rcpt(c, t, cmd->slot, r);
        break;
    case CMD_DATA:
        on_data(c, t, r);
        break;
    case CMD_BDAT:
        on_chunk(c, t, r);
        break;
    case CMD_GREETING:
    case CMD_EHLO:
    case CMD_HELO:
    case CMD_STARTTLS:
    case CMD_RSET:
    case CMD_BODY:
    case CMD_BDAT_LAST:
    case CMD_QUIT:
    case CMD_NR:
        pr_unreachable();
    }
}

static void on_rset(struct dlv_client *c, const struct reply *r)
{
    if (!positive(r))
        out_of_step(c, MAIL_STAGE_MAIL, r);
}

static void on_quit(struct dlv_client *c)
{
    struct dlv_verdict v = dlv_verdict_own(MAIL_OUTCOME_TEMP, MAIL_SCOPE_SITE, MAIL_STAGE_MAIL, "4.4.2", "closed");
    client_fail(c, DLV_CLOSE_QUIT, &v);
}

void on_reply(struct dlv_client *c, uint16_t code, struct pr_slice text)
{
    struct reply r = {code, text};
    c->last_reply = c->now;
    if (pipeline_outstanding(&c->p) == 0) {
        fail(c, code == 421 ? DLV_CLOSE_SHUTDOWN : DLV_CLOSE_PROTOCOL, client_stage(c), &r);
        return;
    }
    struct cmd cmd = *pipeline_head(&c->p);
    if (cmd.kind == CMD_BODY || cmd.kind == CMD_BDAT_LAST) {
        (void)end_of_content(c, &c->txns[cmd.txn], &r);
        return;
    }
    if (cmd.kind == CMD_QUIT) {
        on_quit(c);
        return;
    }
    if (code == 421) {
        if (cmd.kind == CMD_MAIL || cmd.kind == CMD_RCPT || cmd.kind == CMD_BDAT)
            txn_undoubt(&c->txns[cmd.txn]);
        fail(c, DLV_CLOSE_SHUTDOWN, cmd_stage(c, &cmd), &r);
        return;
    }
    pipeline_answered(c);
    switch ((enum cmd_kind)cmd.kind) {
    case CMD_GREETING:
        on_greeting(c, &r);
        break;
    case CMD_EHLO:
        on_ehlo(c, &r);
        break;
    case CMD_HELO:
        on_helo(c, &r);
        break;
    case CMD_STARTTLS:
        on_starttls(c, &r);
        break;
    case CMD_RSET:
        on_rset(c, &r);
        break;
    case CMD_MAIL:
    case CMD_RCPT:
    case CMD_DATA:
    case CMD_BDAT:
        on_transaction_reply(c, &cmd, &r);
        break;
    case CMD_BODY:
    case CMD_BDAT_LAST:
    case CMD_QUIT:
    case CMD_NR:
        pr_unreachable();
    }
}
