/* What we say, and how a peer's errors add up: slower above the soft limit, 421 above the hard one, 421 also for a long
 * string of commands that move no mail. An accepted message clears both counts. */
#include "ingress/core/session_internal.h"

static void note(struct ing_session *s, struct ing_note *n)
{
    if (s->ops->note == NULL)
        return;
    n->verb = s->verb;
    if (s->tx != NULL) {
        n->sender = s->tx->sender;
        n->has_sender = true;
        n->n_rcpts = s->tx->n_rcpts;
    }
    s->ops->note(s->data, n);
}

void ing_note_command(struct ing_session *s, uint16_t code)
{
    struct ing_note n = {.kind = ING_NOTE_COMMAND, .code = code};
    note(s, &n);
}

void ing_reply(struct ing_session *s, uint16_t code, const char *enhanced, const char *text)
{
    struct mail_reply r = {code, enhanced, text};
    mail_reply_format(&r, &s->out);
    ing_note_command(s, code);
}

static void note_refusal(struct ing_session *s, enum ing_stage stage, enum ing_reason reason, const struct mail_reply *r,
                         struct pr_slice subject)
{
    struct ing_note n = {.kind = ING_NOTE_REJECTED, .stage = stage, .reason = reason, .code = r->code,
                         .enhanced = r->enhanced, .text = r->text, .subject = subject};
    note(s, &n);
}

/* Permanent refusals are the peer's errors; 4yz replies speak about us or ask it to come again. */
static bool count_error(struct ing_session *s, const struct mail_reply *r)
{
    if (r->code < 500)
        return true;
    s->errors++;
    if (s->errors > s->o->errors_hard) {
        ing_refuse_and_close(s, ing_stage_of(s), ING_R_TOO_MANY_ERRORS, ING_CLOSE_REFUSED);
        return false;
    }
    if (s->errors > s->o->errors_soft && s->o->error_delay_ms > 0) {
        s->block |= ING_BLOCK_DELAY;
        s->block_until = pr_mono_add(s->now.mono, s->o->error_delay_ms);
    }
    return true;
}

void ing_refuse_reply(struct ing_session *s, enum ing_stage stage, enum ing_reason reason, const struct mail_reply *r,
                      struct pr_slice subject)
{
    note_refusal(s, stage, reason, r, subject);
    if (!count_error(s, r))
        return;
    ing_reply(s, r->code, r->enhanced, r->text);
    if (r->code == 421)
        ing_close(s, ING_CLOSE_REFUSED); /* RFC 5321 3.8: 421 announces that we close */
}

void ing_refuse(struct ing_session *s, enum ing_stage stage, enum ing_refusal_id id, struct pr_slice subject)
{
    ing_refuse_reply(s, stage, ing_refusals[id].reason, &ing_refusals[id].reply, subject);
}

void ing_refuse_and_close(struct ing_session *s, enum ing_stage stage, enum ing_refusal_id id,
                          enum ing_close_reason reason)
{
    const struct ing_refusal *r = &ing_refusals[id];
    note_refusal(s, stage, r->reason, &r->reply, pr_slice("", 0));
    ing_reply(s, r->reply.code, r->reply.enhanced, r->reply.text);
    ing_close(s, reason);
}

bool ing_harmless(struct ing_session *s)
{
    if (++s->harmless <= s->o->harmless_max)
        return true;
    ing_refuse_and_close(s, ing_stage_of(s), ING_R_TOO_MANY_HARMLESS, ING_CLOSE_REFUSED);
    return false;
}

enum ing_stage ing_stage_of(const struct ing_session *s)
{
    switch ((enum ing_state)ing_state(s)) {
    case ING_GREETING:
    case ING_TLS:
        return ING_AT_CONNECT;
    case ING_START:
        return ING_AT_HELO;
    case ING_READY:
        return ING_AT_MAIL;
    case ING_MAIL:
    case ING_RCPT:
        return ING_AT_RCPT;
    case ING_DATA:
    case ING_BDAT:
    case ING_CHUNK:
    case ING_SKIP:
        return ING_AT_DATA;
    case ING_COMMIT:
    case ING_CLOSED:
    case ING_STATE_NR:
        break;
    }
    return ING_AT_EOD;
}
