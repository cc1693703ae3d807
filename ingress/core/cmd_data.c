/* DATA (RFC 5321 4.1.1.4). After 354 the octets are content up to CRLF.CRLF, whatever they look like (body.c). */
#include "ingress/core/session_internal.h"

void ing_cmd_data(struct ing_session *s, struct pr_slice args)
{
    struct pr_slice nothing = pr_slice("", 0);
    if (args.len > 0) {
        ing_refuse(s, ING_AT_DATA, ING_R_NO_ARGUMENT, args);
        return;
    }
    if (s->tx->n_rcpts == 0) {
        /* RFC 2920 3.1: a pipelining client may send DATA though all recipients were refused. */
        ing_refuse(s, ING_AT_DATA, s->tx->rcpt_refused ? ING_R_NO_VALID_RCPT : ING_R_NEED_RCPT, nothing);
        return;
    }
    /* RFC 3030 section 3 */
    if (s->tx->body == MAIL_BODY_BINARYMIME) {
        ing_refuse(s, ING_AT_DATA, ING_R_BINARY_NEEDS_BDAT, nothing);
        return;
    }
    enum ing_refusal_id refusal = ing_body_open(s);
    if (refusal != ING_R_NONE) {
        ing_refuse(s, ING_AT_DATA, refusal, nothing);
        ing_tx_drop(s);
        if (!s->closing)
            ing_move(s, ING_READY, "no spool");
        return;
    }
    mail_dot_decoder_init(&s->tx->dot, s->o->line_policy);
    ing_pace_start(s);
    ing_move(s, ING_DATA, "data");
    ing_reply(s, 354, "", "End data with <CR><LF>.<CR><LF>");
}
