/* RCPT TO (RFC 5321 4.1.1.3): syntax, then who may send there, then how many. Relaying is decided on the parsed mailbox
 * and on nothing else; see relay.h. */
#include "ingress/core/session_internal.h"

static bool check(struct ing_session *s, const struct mail_to *to)
{
    struct pr_slice who = to->path.text;
    if (s->o->relay != NULL && ing_relay_decide(s->o->relay, s->trusted, &to->path) == ING_RELAY_REFUSED) {
        ing_refuse(s, ING_AT_RCPT, ING_R_RELAY, who);
        return false;
    }
    if (s->ops->check_recipient != NULL) {
        const struct mail_reply *r = s->ops->check_recipient(s->data, to);
        if (r != NULL) {
            ing_refuse_reply(s, ING_AT_RCPT, ING_WHY_POLICY, r, who);
            return false;
        }
    }
    /* RFC 5321 4.5.3.1.10: the excess waits, the rest proceeds. */
    if (s->tx->n_rcpts >= s->o->recipients_max) {
        ing_refuse(s, ING_AT_RCPT, ING_R_TOO_MANY_RCPTS, who);
        return false;
    }
    if (!ing_tx_add_rcpt(s, to)) {
        ing_refuse(s, ING_AT_RCPT, ING_R_MEMORY, who);
        return false;
    }
    return true;
}

void ing_cmd_rcpt(struct ing_session *s, struct pr_slice args)
{
    struct mail_to to;
    struct mail_reply refusal;
    unsigned ext = s->extended ? s->o->ext : 0;
    bool taken = false;
    if (mail_command_to(args, ext, s->tx->smtputf8, &to, &refusal) != 0)
        ing_refuse_reply(s, ING_AT_RCPT, refusal.code == 553 ? ING_WHY_ADDRESS : ING_WHY_SYNTAX, &refusal, args);
    else
        taken = check(s, &to);
    if (s->closing)
        return;
    if (!taken) {
        s->tx->rcpt_refused = true;
        return;
    }
    if (ing_state(s) == ING_MAIL)
        ing_move(s, ING_RCPT, "rcpt");
    ing_reply(s, 250, "2.1.5", "Ok");
}
