/* MAIL FROM (RFC 5321 4.1.1.2) with SIZE, BODY, SMTPUTF8, RET, ENVID. What can be refused is refused here, before the
 * content travels: size over the limit, no memory, no queue. */
#include "ingress/core/session_internal.h"

/* Parameters belong to extensions, and extensions to EHLO. */
static unsigned known_ext(const struct ing_session *s)
{
    return s->extended ? s->o->ext : 0;
}

static bool check(struct ing_session *s, const struct mail_from *from)
{
    struct pr_slice who = from->path.text;
    /* RFC 1870 6.1 */
    if (from->has_size && from->size_bytes > s->o->message_size_max) {
        ing_refuse(s, ING_AT_MAIL, ING_R_SIZE, who);
        return false;
    }
    if (s->ops->check_sender != NULL) {
        const struct mail_reply *r = s->ops->check_sender(s->data, from);
        if (r != NULL) {
            ing_refuse_reply(s, ING_AT_MAIL, ING_WHY_POLICY, r, who);
            return false;
        }
    }
    enum ing_spool_status status = s->ops->spool_check(s->data, from->has_size ? from->size_bytes : 0);
    if (status != ING_SPOOL_OK) {
        ing_refuse(s, ING_AT_MAIL, ing_refusal_of_spool(status), who);
        return false;
    }
    return true;
}

void ing_cmd_mail(struct ing_session *s, struct pr_slice args)
{
    struct mail_from from;
    struct mail_reply refusal;
    if (s->o->messages_max > 0 && s->accepted >= s->o->messages_max) {
        ing_refuse_and_close(s, ING_AT_MAIL, ING_R_TOO_MANY_MESSAGES, ING_CLOSE_REFUSED);
        return;
    }
    if (mail_command_from(args, known_ext(s), &from, &refusal) != 0) {
        ing_refuse_reply(s, ING_AT_MAIL, refusal.code == 553 ? ING_WHY_ADDRESS : ING_WHY_SYNTAX, &refusal, args);
        return;
    }
    if (!check(s, &from))
        return;
    ing_tx_begin(s, &from);
    if (!ing_tx_reserve(s, 0)) {
        ing_refuse(s, ING_AT_MAIL, ING_R_MEMORY, from.path.text);
        ing_tx_drop(s);
        return;
    }
    ing_move(s, ING_MAIL, "mail");
    ing_reply(s, 250, "2.1.0", "Ok");
}
