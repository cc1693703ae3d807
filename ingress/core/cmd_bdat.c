/* BDAT (RFC 3030 section 2). The one rule above all: the octets of a chunk whose size is known are consumed exactly, also
 * when the chunk is refused, so that content is never read as commands. A size that is not known ends the session. */
#include "ingress/core/session_internal.h"

static enum ing_state state_after(const struct ing_session *s)
{
    if (s->tx != NULL)
        return ING_MAIL;
    return s->helo.len > 0 ? ING_READY : ING_START;
}

/* Refuses, then swallows the chunk. */
static void refuse_chunk(struct ing_session *s, uint64_t size, enum ing_refusal_id id)
{
    s->skip_return = state_after(s);
    s->chunk_left = size;
    if (size > s->o->swallow_max || s->swallowed > s->o->swallow_max - size) {
        ing_refuse_and_close(s, ING_AT_DATA, id, ING_CLOSE_REFUSED);
        return;
    }
    ing_refuse(s, ING_AT_DATA, id, pr_slice("", 0));
    if (s->closing)
        return;
    ing_pace_start(s);
    ing_move(s, ING_SKIP, "refused chunk");
}

/* The same, and drops the message under way: its later chunks get 503. */
static void refuse_message(struct ing_session *s, uint64_t size, enum ing_refusal_id id)
{
    ing_tx_drop(s);
    refuse_chunk(s, size, id);
}

static bool parse(struct ing_session *s, struct pr_slice args, uint64_t *ret_size, bool *ret_last)
{
    int rc = mail_command_bdat(args, ret_size, ret_last);
    if (rc == 0)
        return true;
    if (rc == PR_EINVAL)
        refuse_message(s, *ret_size, ING_R_BAD_BDAT);
    else
        ing_refuse_and_close(s, ING_AT_DATA, ING_R_BAD_BDAT_SIZE, ING_CLOSE_REFUSED);
    return false;
}

static enum ing_refusal_id why_not(const struct ing_session *s, uint64_t size)
{
    const struct ing_tx *tx = s->tx;
    if ((s->o->ext & MAIL_EXT_CHUNKING) == 0)
        return ING_R_NO_CHUNKING;
    if (size > s->o->message_size_max || tx->content_bytes > s->o->message_size_max - size)
        return ING_R_SIZE;
    return ING_R_NONE;
}

void ing_cmd_bdat(struct ing_session *s, struct pr_slice args)
{
    uint64_t size;
    bool last;
    if (!parse(s, args, &size, &last))
        return;
    enum ing_refusal_id refusal = why_not(s, size);
    if (refusal == ING_R_NONE && ing_state(s) == ING_RCPT)
        refusal = ing_body_open(s);
    if (refusal != ING_R_NONE) {
        refuse_message(s, size, refusal);
        return;
    }
    if (ing_state(s) == ING_RCPT) {
        mail_crlf_encoder_init(&s->tx->crlf);
        mail_line_check_init(&s->tx->lines);
    }
    s->chunk_left = size;
    s->tx->last = last;
    ing_pace_start(s);
    ing_move(s, ING_CHUNK, "bdat");
}

/* Where no chunk is expected: there is no sender or no recipient. A sender stays, as with DATA. */
void ing_cmd_bdat_early(struct ing_session *s, struct pr_slice args)
{
    uint64_t size;
    bool last;
    enum ing_refusal_id id = ING_R_NEED_MAIL;
    if (!parse(s, args, &size, &last))
        return;
    if ((s->o->ext & MAIL_EXT_CHUNKING) == 0)
        id = ING_R_NO_CHUNKING;
    else if (s->tx != NULL)
        id = s->tx->rcpt_refused ? ING_R_NO_VALID_RCPT : ING_R_NEED_RCPT;
    else if (ing_state(s) == ING_START)
        id = ING_R_NEED_HELO;
    refuse_chunk(s, size, id);
}
