/* QUIT (RFC 5321 4.1.1.10). */
#include "ingress/core/session_internal.h"

void ing_cmd_quit(struct ing_session *s, struct pr_slice args)
{
    if (args.len > 0) {
        ing_refuse(s, ing_stage_of(s), ING_R_NO_ARGUMENT, args);
        return;
    }
    ing_reply(s, 221, "2.0.0", "Bye");
    ing_close(s, ING_CLOSE_QUIT);
}
