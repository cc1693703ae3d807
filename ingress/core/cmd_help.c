/* HELP (RFC 5321 4.1.1.8). */
#include "ingress/core/session_internal.h"

void ing_cmd_help(struct ing_session *s, struct pr_slice args)
{
    (void)args;
    if (ing_harmless(s))
        ing_reply(s, 214, "2.0.0", "Commands: EHLO HELO MAIL RCPT DATA BDAT RSET NOOP QUIT VRFY HELP STARTTLS\n"
                                   "RFC 5321 says what they mean");
}
