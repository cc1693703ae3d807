/* VRFY (RFC 5321 3.5.3): nobody is looked up, so the answer tells nothing about who exists, not even by its time. */
#include "ingress/core/session_internal.h"

void ing_cmd_vrfy(struct ing_session *s, struct pr_slice args)
{
    if (!s->o->vrfy) {
        ing_refuse(s, ing_stage_of(s), ING_R_NO_VRFY, pr_slice("", 0));
        return;
    }
    if (args.len == 0) {
        ing_refuse(s, ing_stage_of(s), ING_R_NEED_ARGUMENT, args);
        return;
    }
    if (ing_harmless(s))
        ing_reply(s, 252, "2.5.0", "Cannot verify the user, but will take mail for it and try to deliver");
}
