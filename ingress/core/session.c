/* Events and deadlines of a session.
 *
 *   1. An event changes what it is about: the greeting is due, TLS is up, the spool has answered.
 *   2. The input is run as far as the state allows (input.c).
 *   3. The replies of the step go out in one piece; then TLS is started, reading paused or resumed, the session closed.
 *
 * Who waits for what is the state; every state that waits for a peer has a deadline, and so has the wait for the spool. */
#include "ingress/core/session.h"

#include "common/base/alloc.h"
#include "common/base/assert.h"
#include "ingress/core/session_internal.h"

enum { KEEP_OUT = 1024, KEEP_IN = 4096 };

void ing_options_init(struct ing_options *o)
{
    *o = (struct ing_options){
        .ext = MAIL_EXT_SIZE | MAIL_EXT_8BITMIME | MAIL_EXT_SMTPUTF8 | MAIL_EXT_DSN | MAIL_EXT_CHUNKING |
               MAIL_EXT_BINARYMIME,
        .pipelining = true,
        .vrfy = true,
        .refuse_early_talkers = true,
        .line_policy = MAIL_DOT_REJECT,
        .message_size_max = 25 << 20,
        .swallow_max = 50 << 20,
        .header_max = 102400,
        .recipients_max = 1000,
        .hops_max = 100,
        .command_line_max = 4096,
        .flood_max = 64 << 10,
        .errors_soft = 10,
        .errors_hard = 20,
        .harmless_max = 100,
        .chunk_max = 256 << 10,
        .error_delay_ms = 1000,
        .command_timeout_ms = 300000,
        .data_timeout_ms = 180000,
        .tls_timeout_ms = 30000,
        .commit_timeout_ms = 30000,
        .space_timeout_ms = 30000,
        .min_rate_bytes_per_s = 500,
    };
}

void ing_set_text(struct pr_slice *field, struct pr_slice value)
{
    const char *old = field->ptr;
    *field = value.len == 0 ? pr_slice(NULL, 0) : pr_slice(pr_strndup(value.ptr, value.len), value.len);
    pr_free((void *)(uintptr_t)old);
}

struct ing_session *ing_session_new(const struct ing_options *options, const struct ing_ops *ops, void *data,
                                    const struct ing_peer *peer)
{
    struct ing_session *s = pr_new(struct ing_session);
    s->o = options;
    s->ops = ops;
    s->data = data;
    s->trusted = peer->trusted;
    s->implicit_tls = peer->implicit_tls;
    s->over_limit = peer->over_limit;
    s->until = PR_MONO_NEVER;
    ing_set_text(&s->address, peer->address);
    ing_set_text(&s->name, peer->name);
    pr_sm_init(&s->sm, ing_states, ING_STATE_NR, ING_GREETING, 0);
    return s;
}

void ing_session_free(struct ing_session *s)
{
    if (s == NULL)
        return;
    pr_assert(!s->in_step);
    ing_tx_drop(s);
    ing_set_text(&s->address, pr_slice(NULL, 0));
    ing_set_text(&s->name, pr_slice(NULL, 0));
    ing_set_text(&s->helo, pr_slice(NULL, 0));
    ing_set_text(&s->tls, pr_slice(NULL, 0));
    pr_buf_fini(&s->in);
    pr_buf_fini(&s->out);
    pr_free(s);
}

void ing_move(struct ing_session *s, enum ing_state to, const char *reason)
{
    pr_sm_move(&s->sm, to, reason);
    if (ing_state_takes_commands(to))
        s->until = pr_mono_add(s->now.mono, s->o->command_timeout_ms);
}

void ing_close(struct ing_session *s, enum ing_close_reason reason)
{
    if (s->closing)
        return;
    s->closing = true;
    s->close_reason = reason;
    ing_tx_drop(s);
    ing_move(s, ING_CLOSED, ing_close_names[reason]);
}

/* ---- events ---- */

static void flush(struct ing_session *s)
{
    if (s->out.len == 0 || ((s->block & ING_BLOCK_DELAY) != 0 && !s->closing))
        return;
    s->ops->send(s->data, pr_buf_slice(&s->out));
    pr_buf_clear(&s->out);
    if (s->out.cap > KEEP_OUT)
        pr_buf_fini(&s->out);
}

static void greet(struct ing_session *s)
{
    const struct ing_options *o = s->o;
    pr_buf_str(&s->out, "220 ");
    if (o->banner.len > 0) {
        pr_buf_add(&s->out, o->banner);
    } else {
        pr_buf_add(&s->out, o->hostname);
        pr_buf_str(&s->out, " ESMTP Postrider");
    }
    pr_buf_str(&s->out, "\r\n");
    ing_move(s, ING_START, "greeted");
}

static void want_tls(struct ing_session *s)
{
    s->until = pr_mono_add(s->now.mono, s->o->tls_timeout_ms);
    s->tls_wanted = true;
    ing_move(s, ING_TLS, "implicit");
}

static void on_connected(struct ing_session *s)
{
    if (s->over_limit && s->implicit_tls)
        ing_close(s, ING_CLOSE_REFUSED); /* nothing said in clear would be understood */
    else if (s->over_limit)
        ing_refuse_and_close(s, ING_AT_CONNECT, ING_R_CONNECTIONS, ING_CLOSE_REFUSED);
    else if (s->implicit_tls)
        want_tls(s);
    else if (s->o->greet_delay_ms == 0)
        greet(s);
    else
        s->until = pr_mono_add(s->now.mono, s->o->greet_delay_ms);
}

static void on_tls_up(struct ing_session *s, struct pr_slice info)
{
    if (ing_state(s) != ING_TLS)
        return;
    s->tls_active = true;
    ing_set_text(&s->tls, info);
    if (s->implicit_tls) {
        ing_move(s, ING_GREETING, "tls up");
        greet(s);
    } else {
        ing_move(s, ING_START, "tls up");
    }
}

static void on_shutdown(struct ing_session *s)
{
    s->shutdown = true;
    if (ing_state(s) == ING_TLS)
        ing_close(s, ING_CLOSE_SHUTDOWN);
    else if (ing_state(s) == ING_GREETING)
        ing_refuse_and_close(s, ING_AT_CONNECT, ING_R_SHUTDOWN, ING_CLOSE_SHUTDOWN);
}

static void commit_timed_out(struct ing_session *s)
{
    /* It may be stored or not: the client must ask again (RFC 5321 4.2.5). Dropping the message tells the spool that nobody
     * waits any more. */
    ing_refuse(s, ING_AT_EOD, ING_R_UNKNOWN_OUTCOME, pr_slice("", 0));
    ing_tx_drop(s);
    if (!s->closing)
        ing_move(s, ING_READY, "commit timeout");
}

static void state_timed_out(struct ing_session *s)
{
    switch ((enum ing_state)ing_state(s)) {
    case ING_GREETING:
        greet(s);
        break;
    case ING_TLS:
        ing_close(s, ING_CLOSE_TLS);
        break;
    case ING_COMMIT:
        commit_timed_out(s);
        break;
    case ING_START:
    case ING_READY:
    case ING_MAIL:
    case ING_RCPT:
    case ING_DATA:
    case ING_BDAT:
    case ING_CHUNK:
    case ING_SKIP:
        ing_refuse_and_close(s, ing_stage_of(s), ING_R_TIMEOUT, ING_CLOSE_TIMEOUT);
        break;
    case ING_CLOSED:
    case ING_STATE_NR:
        break;
    }
}

/* Said before the next command is looked at, which may be an error again. */
static void end_delay(struct ing_session *s)
{
    s->block &= ~(unsigned)ING_BLOCK_DELAY;
    flush(s);
}

static void on_deadline(struct ing_session *s)
{
    if (s->now.mono.ms < ing_session_deadline(s).ms)
        return;
    if ((s->block & ING_BLOCK_SPACE) != 0)
        ing_body_lost(s, s->tx->spool_full ? ING_R_UNAVAILABLE : ING_R_MEMORY);
    else if ((s->block & ING_BLOCK_DELAY) != 0)
        end_delay(s);
    else
        state_timed_out(s);
}

static void on_space(struct ing_session *s)
{
    s->block &= ~(unsigned)ING_BLOCK_SPACE;
    if (s->tx != NULL)
        s->tx->spool_full = false;
}

static void handle(struct ing_session *s, const struct ing_event *ev)
{
    switch (ev->kind) {
    case ING_EV_CONNECTED:
        on_connected(s);
        break;
    case ING_EV_BYTES:
        break;
    case ING_EV_EOF:
        s->eof = true;
        break;
    case ING_EV_TLS_UP:
        on_tls_up(s, ev->tls);
        break;
    case ING_EV_TLS_FAILED:
        ing_close(s, ING_CLOSE_TLS);
        break;
    case ING_EV_SPACE:
        on_space(s);
        break;
    case ING_EV_SPOOL_LOST:
        if (ing_state(s) != ING_COMMIT)
            ing_body_lost(s, ing_refusal_of_spool(ev->status));
        break;
    case ING_EV_COMMITTED:
        if (ing_state(s) == ING_COMMIT)
            ing_tx_committed(s, ev);
        break;
    case ING_EV_DEADLINE:
        on_deadline(s);
        break;
    case ING_EV_SHUTDOWN:
        on_shutdown(s);
        break;
    }
}

/* ---- end of a step ---- */

static bool looks_at_input(const struct ing_session *s)
{
    return s->block == 0 && ing_state(s) != ING_COMMIT && ing_state(s) != ING_TLS;
}

/* Reading goes on while we wait, so that a peer that goes away is noticed, but only up to a little. */
static void set_pause(struct ing_session *s)
{
    bool pause = !looks_at_input(s) && ((s->block & ING_BLOCK_SPACE) != 0 || s->in.len > KEEP_IN);
    if (pause == s->paused)
        return;
    s->paused = pause;
    if (pause)
        s->ops->pause(s->data);
    else
        s->ops->resume(s->data);
}

static void end_step(struct ing_session *s)
{
    /* All that came before the end of input has been looked at; what is left is an unfinished line or message. */
    if (s->eof && !s->closing && (looks_at_input(s) || ing_state(s) == ING_TLS))
        ing_close(s, ING_CLOSE_PEER);
    flush(s);
    if (s->closing) {
        s->ops->close(s->data, s->close_reason);
        return;
    }
    if (s->tls_wanted) {
        s->tls_wanted = false;
        s->ops->start_tls(s->data);
    }
    set_pause(s);
}

void ing_session_step(struct ing_session *s, const struct ing_event *ev)
{
    pr_assert(!s->in_step);
    if (s->closing)
        return;
    s->in_step = true;
    s->now = ev->now;
    handle(s, ev);
    ing_input_run(s, ev->kind == ING_EV_BYTES ? ev->bytes : pr_slice("", 0));
    end_step(s);
    s->in_step = false;
}

pr_mono ing_session_deadline(const struct ing_session *s)
{
    if (s->closing)
        return PR_MONO_NEVER;
    if (s->block != 0)
        return s->block_until;
    unsigned state = ing_state(s);
    return state == ING_DATA || state == ING_CHUNK || state == ING_SKIP ? ing_pace_deadline(s) : s->until;
}

bool ing_session_closed(const struct ing_session *s)
{
    return s->closing;
}

bool ing_session_idle(const struct ing_session *s)
{
    return s->tx == NULL;
}

const char *ing_session_state_name(const struct ing_session *s)
{
    return pr_sm_name(&s->sm);
}

struct pr_slice ing_session_helo(const struct ing_session *s)
{
    return s->helo;
}

unsigned ing_session_accepted(const struct ing_session *s)
{
    return s->accepted;
}
