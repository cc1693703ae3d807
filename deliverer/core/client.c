/* Events in, actions out, deadlines.
 *
 * 1. CONNECTED: wait for the greeting. 2. BYTES: the parser cuts them into replies, reply.c leads on. 3. After every event
 * pipeline_advance says what can be said now. 4. One deadline: that of the oldest unanswered command, counted from the last
 * progress (a whole reply, never single bytes: a peer that drips gains nothing). */
#include "common/base/alloc.h"
#include "common/base/assert.h"
#include "deliverer/core/client_internal.h"

static const char *const lost_texts[MAIL_STAGE_NR] = {
    [MAIL_STAGE_DNS] = "connection lost",
    [MAIL_STAGE_CONNECT] = "connection failed",
    [MAIL_STAGE_GREETING] = "connection lost before the greeting",
    [MAIL_STAGE_EHLO] = "connection lost while waiting for the reply to EHLO",
    [MAIL_STAGE_STARTTLS] = "connection lost during STARTTLS",
    [MAIL_STAGE_MAIL] = "connection lost while waiting for the reply to MAIL",
    [MAIL_STAGE_RCPT] = "connection lost while waiting for the reply to RCPT",
    [MAIL_STAGE_DATA] = "connection lost before the end of the content",
    [MAIL_STAGE_BODY] = "connection lost while waiting for the reply to the end of the content",
};
static const char *const timeout_texts[MAIL_STAGE_NR] = {
    [MAIL_STAGE_DNS] = "timed out",
    [MAIL_STAGE_CONNECT] = "timed out while connecting",
    [MAIL_STAGE_GREETING] = "timed out while waiting for the greeting",
    [MAIL_STAGE_EHLO] = "timed out while waiting for the reply to EHLO",
    [MAIL_STAGE_STARTTLS] = "timed out during STARTTLS",
    [MAIL_STAGE_MAIL] = "timed out while waiting for the reply to MAIL",
    [MAIL_STAGE_RCPT] = "timed out while waiting for the reply to RCPT",
    [MAIL_STAGE_DATA] = "timed out before the end of the content",
    [MAIL_STAGE_BODY] = "timed out while waiting for the reply to the end of the content",
};

void client_act(struct dlv_client *c, enum dlv_client_action_type type, struct dlv_mail *mail)
{
    struct dlv_client_out *out = c->out;
    /* A peer that answers ahead of us can make several ends of content of one mail in one step: one record is enough. */
    if (type == DLV_DO_DOT)
        for (size_t i = 0; i < out->n; i++)
            if (out->actions[i].type == DLV_DO_DOT && out->actions[i].mail == mail)
                return;
    pr_assert(out->n < DLV_CLIENT_ACTIONS_MAX);
    out->actions[out->n++] = (struct dlv_client_action){.type = type, .mail = mail};
    if (type == DLV_DO_WANT_CHUNK)
        out->actions[out->n - 1].seq = front_txn(c)->seq;
}

static void keep_verdict(struct dlv_client *c, const struct dlv_verdict *v)
{
    struct dlv_verdict kept = *v;
    pr_buf_clear(&c->text);
    pr_buf_add(&c->text, v->enhanced);
    pr_buf_add(&c->text, v->text);
    kept.enhanced = pr_slice_head(pr_buf_slice(&c->text), v->enhanced.len);
    kept.text = pr_slice_from(pr_buf_slice(&c->text), v->enhanced.len);
    /* The verdict on the site is about mails that are not in doubt. */
    if (kept.outcome == MAIL_OUTCOME_UNKNOWN || kept.outcome == MAIL_OUTCOME_DELIVERED)
        kept.outcome = MAIL_OUTCOME_TEMP;
    if (kept.outcome == MAIL_OUTCOME_TEMP && kept.enhanced.len > 0 && kept.enhanced.ptr[0] != '4')
        kept.enhanced = PR_SLICE_LIT("4.5.0");
    c->verdict = kept;
}

/* A connection that ends around STARTTLS, in whatever way, is a failure of TLS: in clear it may go better. */
static bool around_tls(const struct dlv_client *c)
{
    unsigned state = pr_sm_state(&c->sm);
    return state == ST_STARTTLS || state == ST_TLS;
}

void client_fail(struct dlv_client *c, enum dlv_close_reason reason, const struct dlv_verdict *v)
{
    if (around_tls(c) && reason != DLV_CLOSE_ABORTED)
        reason = DLV_CLOSE_TLS;
    c->reason = reason;
    keep_verdict(c, v);
    pr_sm_move(&c->sm, ST_CLOSED, dlv_close_reason_names[reason]);
    struct txn *front = front_txn(c), *back = back_txn(c);
    txn_lost(c, front, &c->verdict);
    txn_lost(c, back, &c->verdict);
    client_act(c, DLV_DO_CLOSE, NULL);
}

static void fail_silent(struct dlv_client *c, enum dlv_close_reason reason, const char *const texts[MAIL_STAGE_NR])
{
    enum mail_stage stage = client_stage(c);
    struct dlv_verdict v = dlv_verdict_make(stage, 0, pr_slice_str(texts[stage]));
    client_fail(c, reason, &v);
}

static void on_connected(struct dlv_client *c)
{
    pr_sm_move(&c->sm, ST_GREETING, "connected");
    pipeline_push_sent(c, CMD_GREETING, NULL);
}

static void attacked(struct dlv_client *c)
{
    /* RFC 3207 section 6: what came in clear behind the 220 is not the peer's. */
    struct dlv_verdict v = dlv_verdict_own(MAIL_OUTCOME_TEMP, MAIL_SCOPE_SITE, MAIL_STAGE_STARTTLS, "4.7.5",
                                           "data in clear behind the reply to STARTTLS");
    client_fail(c, DLV_CLOSE_TLS, &v);
}

static void on_bytes(struct dlv_client *c, struct pr_slice in)
{
    while (in.len > 0 && !closed(c)) {
        size_t used;
        if (pr_sm_state(&c->sm) == ST_TLS || pr_sm_state(&c->sm) == ST_CONNECTING) {
            attacked(c);
            return;
        }
        if (mail_reply_parse(&c->parser, in, &used) != 0) {
            struct dlv_verdict v = dlv_verdict_make(client_stage(c), 0, PR_SLICE_LIT("the remote host does not speak SMTP"));
            client_fail(c, DLV_CLOSE_PROTOCOL, &v);
            return;
        }
        in = pr_slice_from(in, used);
        if (!c->parser.done)
            continue;
        on_reply(c, c->parser.code, pr_buf_slice(&c->parser.text));
        mail_reply_parser_clear(&c->parser);
        pipeline_advance(c);
    }
    if (pr_sm_state(&c->sm) == ST_TLS) {
        client_touch(c);
        client_act(c, DLV_DO_START_TLS, NULL);
    }
}

static void on_tls_up(struct dlv_client *c)
{
    /* RFC 3207 4.2: what was learned before the handshake is forgotten. */
    c->tls_up = true;
    c->caps = (struct dlv_caps){.bits = 0};
    mail_reply_parser_clear(&c->parser);
    pr_sm_move(&c->sm, ST_HELLO, "handshake done");
    pipeline_push(c, CMD_EHLO, NULL, 0);
}

static void on_gone(struct dlv_client *c, const struct dlv_client_event *ev)
{
    unsigned state = pr_sm_state(&c->sm);
    if (ev->type == DLV_EV_TLS_FAILED || (ev->bytes.len > 0 && state == ST_CONNECTING)) {
        struct dlv_verdict v = dlv_verdict_make(client_stage(c), 0, ev->bytes);
        client_fail(c, ev->type == DLV_EV_TLS_FAILED ? DLV_CLOSE_TLS : DLV_CLOSE_LOST, &v);
        return;
    }
    fail_silent(c, state == ST_QUIT ? DLV_CLOSE_QUIT : DLV_CLOSE_LOST, lost_texts);
}

static void on_abort(struct dlv_client *c)
{
    struct dlv_verdict v = dlv_verdict_own(MAIL_OUTCOME_ABORTED, MAIL_SCOPE_MESSAGE, MAIL_STAGE_MAIL, "4.3.2",
                                           "the attempt was called off");
    client_fail(c, DLV_CLOSE_ABORTED, &v);
}

static void on_quit_wanted(struct dlv_client *c)
{
    unsigned state = pr_sm_state(&c->sm);
    c->quitting = true;
    if (state < ST_READY)
        on_abort(c);
}

static void on_chunk_event(struct dlv_client *c, const struct dlv_client_event *ev)
{
    struct txn *t = front_txn(c);
    /* Late for a transaction that has ended meanwhile. */
    if (t->state != TXN_CONTENT || !t->asked || t->mail != ev->mail)
        return;
    if (ev->type == DLV_EV_CHUNK)
        txn_chunk(c, t, ev->bytes, ev->last);
    else
        txn_chunk_gone(c, t);
}

static uint64_t cmd_timeout(const struct dlv_client *c, const struct cmd *cmd)
{
    switch ((enum cmd_kind)cmd->kind) {
    case CMD_GREETING:
        return c->o.greeting_ms;
    case CMD_EHLO:
    case CMD_HELO:
    case CMD_STARTTLS:
    case CMD_RSET:
    case CMD_MAIL:
    case CMD_RCPT:
        return c->o.command_ms;
    case CMD_DATA:
        return c->o.data_ms;
    case CMD_BODY:
    case CMD_BDAT:
    case CMD_BDAT_LAST:
        return c->txns[cmd->txn].doubted || c->txns[cmd->txn].hollow ? c->o.dot_ms : c->o.block_ms;
    case CMD_QUIT:
        return c->o.quit_ms;
    case CMD_NR:
        break;
    }
    pr_unreachable();
}

static pr_mono deadline(struct dlv_client *c)
{
    unsigned state = pr_sm_state(&c->sm);
    if (state == ST_CLOSED || state == ST_CONNECTING)
        return PR_MONO_NEVER;
    if (state == ST_TLS)
        return pr_mono_add(c->since, c->o.tls_ms);
    if (pipeline_outstanding(&c->p) > 0)
        return pr_mono_add(c->since, cmd_timeout(c, pipeline_head(&c->p)));
    if (front_txn(c)->state == TXN_CONTENT)
        return pr_mono_add(c->since, c->o.block_ms);
    return PR_MONO_NEVER;
}

static void on_time(struct dlv_client *c)
{
    if (c->now.ms < c->deadline.ms)
        return;
    unsigned state = pr_sm_state(&c->sm);
    fail_silent(c, state == ST_QUIT ? DLV_CLOSE_QUIT : DLV_CLOSE_TIMEOUT, timeout_texts);
}

static void dispatch(struct dlv_client *c, const struct dlv_client_event *ev)
{
    switch (ev->type) {
    case DLV_EV_CONNECTED:
        on_connected(c);
        break;
    case DLV_EV_BYTES:
        on_bytes(c, ev->bytes);
        break;
    case DLV_EV_TLS_UP:
        on_tls_up(c);
        break;
    case DLV_EV_TLS_FAILED:
    case DLV_EV_EOF:
    case DLV_EV_ERROR:
        on_gone(c, ev);
        break;
    case DLV_EV_MAIL:
        pr_assert(dlv_client_can_take(c));
        txn_start(c, ev->mail);
        break;
    case DLV_EV_CHUNK:
    case DLV_EV_CHUNK_GONE:
        on_chunk_event(c, ev);
        break;
    case DLV_EV_QUIT:
        on_quit_wanted(c);
        break;
    case DLV_EV_ABORT:
        on_abort(c);
        break;
    case DLV_EV_TIME:
        on_time(c);
        break;
    }
}

void dlv_client_step(struct dlv_client *c, const struct dlv_client_event *ev, struct dlv_client_out *out)
{
    pr_assert(c->out == NULL);
    out->n = 0;
    c->out = out;
    c->now = ev->now;
    if (!closed(c)) {
        dispatch(c, ev);
        pipeline_advance(c);
    }
    c->deadline = deadline(c);
    c->out = NULL;
}

struct dlv_client *dlv_client_new(const struct dlv_client_options *o)
{
    struct dlv_client *c = pr_new(struct dlv_client);
    c->o = *o;
    pr_sm_init(&c->sm, dlv_client_states, ST_NR, ST_CONNECTING, 0);
    mail_reply_parser_init(&c->parser);
    pr_buf_init(&c->text);
    c->deadline = PR_MONO_NEVER;
    return c;
}

void dlv_client_free(struct dlv_client *c)
{
    if (c == NULL)
        return;
    mail_reply_parser_fini(&c->parser);
    pr_buf_fini(&c->text);
    pr_free(c);
}

pr_mono dlv_client_deadline(const struct dlv_client *c)
{
    return c->deadline;
}

/* Behind a final dot whose transaction is the mail's last, with recipients known to be accepted. */
static bool room_behind(const struct dlv_client *c, const struct txn *front)
{
    return cap(c, DLV_CAP_PIPELINING) && front->doubted && !front->refused && front->answered == front->n &&
           front->accepted > 0 && front->pending == 1 && dlv_mail_open_count(front->mail) == front->accepted;
}

bool dlv_client_can_take(const struct dlv_client *c)
{
    const struct txn *front = &c->txns[c->front], *back = &c->txns[c->front ^ 1];
    unsigned under_way = (front->state != TXN_FREE ? 1u : 0u) + (back->state != TXN_FREE ? 1u : 0u);
    if (pr_sm_state(&c->sm) != ST_READY || c->quitting)
        return false;
    if (c->o.mails_max > 0 && c->mails + under_way >= c->o.mails_max)
        return false;
    if (c->caps.mail_max > 0 && c->mails + under_way >= c->caps.mail_max)
        return false;
    return under_way == 0 || (under_way == 1 && room_behind(c, front));
}

bool dlv_client_idle(const struct dlv_client *c)
{
    return pr_sm_state(&c->sm) == ST_READY && c->txns[c->front].state == TXN_FREE;
}

bool dlv_client_in_doubt(const struct dlv_client *c)
{
    const struct txn *front = &c->txns[c->front];
    return front->state != TXN_FREE && front->doubted;
}

bool dlv_client_closed(const struct dlv_client *c)
{
    return closed(c);
}

bool dlv_client_was_ready(const struct dlv_client *c)
{
    return c->was_ready;
}

unsigned dlv_client_mails(const struct dlv_client *c)
{
    return c->mails;
}

const struct dlv_caps *dlv_client_caps(const struct dlv_client *c)
{
    return &c->caps;
}

enum dlv_close_reason dlv_client_close_reason(const struct dlv_client *c)
{
    return c->reason;
}

const struct dlv_verdict *dlv_client_verdict(const struct dlv_client *c)
{
    return &c->verdict;
}

const char *dlv_client_state_name(const struct dlv_client *c)
{
    return pr_sm_name(&c->sm);
}
