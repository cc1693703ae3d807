/* STARTTLS (RFC 3207). What was read before the handshake is never used after it: the input is dropped here and by the
 * host; what was learned before it (EHLO, the transaction) is forgotten. */
#include "ingress/core/session_internal.h"

void ing_cmd_starttls(struct ing_session *s, struct pr_slice args)
{
    struct pr_slice nothing = pr_slice("", 0);
    if (s->tls_active) {
        ing_refuse(s, ing_stage_of(s), ING_R_TLS_ACTIVE, nothing);
        return;
    }
    if (!s->o->starttls) {
        ing_refuse(s, ing_stage_of(s), ING_R_NO_STARTTLS, nothing);
        return;
    }
    if (args.len > 0) {
        ing_refuse(s, ing_stage_of(s), ING_R_NO_ARGUMENT, args);
        return;
    }
    ing_tx_drop(s);
    ing_set_text(&s->helo, nothing);
    ing_input_drop(s);
    ing_reply(s, 220, "2.0.0", "Ready to start TLS");
    s->until = pr_mono_add(s->now.mono, s->o->tls_timeout_ms);
    s->tls_wanted = true;
    ing_move(s, ING_TLS, "starttls");
}
