/* RSET (RFC 5321 4.1.1.5): the message under way is dropped, chunks already received included (RFC 3030 section 2). */
#include "ingress/core/session_internal.h"

void ing_cmd_rset(struct ing_session *s, struct pr_slice args)
{
    if (args.len > 0) {
        ing_refuse(s, ing_stage_of(s), ING_R_NO_ARGUMENT, args);
        return;
    }
    if (!ing_harmless(s))
        return;
    ing_tx_drop(s);
    if (ing_state(s) != ING_START)
        ing_move(s, ING_READY, "rset");
    ing_reply(s, 250, "2.0.0", "Ok");
}
