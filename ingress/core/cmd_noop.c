/* NOOP (RFC 5321 4.1.1.9): an argument is ignored, not echoed. */
#include "ingress/core/session_internal.h"

void ing_cmd_noop(struct ing_session *s, struct pr_slice args)
{
    (void)args;
    if (ing_harmless(s))
        ing_reply(s, 250, "2.0.0", "Ok");
}
