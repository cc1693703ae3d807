/* EHLO and HELO (RFC 5321 4.1.1.1): the name is checked and only ever quoted; a transaction under way is dropped. What is
 * offered depends on the listener, and on whether TLS is up (RFC 3207 4.2). */
#include "ingress/core/session_internal.h"

static bool greet(struct ing_session *s, struct pr_slice args, bool extended)
{
    /* RFC 2920 3.1: both end a group, so nothing may have come behind them. */
    if (s->o->refuse_early_talkers && s->cur.len > 0) {
        ing_refuse_and_close(s, ING_AT_HELO, ING_R_EARLY_EHLO, ING_CLOSE_REFUSED);
        return false;
    }
    if (!mail_helo_valid(args)) {
        ing_refuse(s, ING_AT_HELO, ING_R_BAD_HELO, args);
        return false;
    }
    /* From the second time on it moves no mail. */
    if (s->helo.len > 0 && !ing_harmless(s))
        return false;
    ing_tx_drop(s);
    ing_set_text(&s->helo, args);
    s->extended = extended;
    ing_move(s, ING_READY, extended ? "ehlo" : "helo");
    return true;
}

static void add_keyword(struct ing_session *s, const char *text)
{
    pr_buf_str(&s->out, "\r\n250-");
    pr_buf_str(&s->out, text);
}

void ing_cmd_ehlo(struct ing_session *s, struct pr_slice args)
{
    const struct ing_options *o = s->o;
    if (!greet(s, args, true))
        return;
    pr_buf_str(&s->out, "250-");
    pr_buf_add(&s->out, o->hostname);
    if (o->pipelining)
        add_keyword(s, "PIPELINING");
    if ((o->ext & MAIL_EXT_SIZE) != 0) {
        add_keyword(s, "SIZE ");
        pr_buf_u64(&s->out, o->message_size_max);
    }
    if ((o->ext & MAIL_EXT_8BITMIME) != 0)
        add_keyword(s, "8BITMIME");
    if ((o->ext & MAIL_EXT_SMTPUTF8) != 0)
        add_keyword(s, "SMTPUTF8");
    if ((o->ext & MAIL_EXT_CHUNKING) != 0)
        add_keyword(s, "CHUNKING");
    if ((o->ext & MAIL_EXT_BINARYMIME) != 0)
        add_keyword(s, "BINARYMIME");
    if ((o->ext & MAIL_EXT_DSN) != 0)
        add_keyword(s, "DSN");
    if (o->starttls && !s->tls_active)
        add_keyword(s, "STARTTLS");
    add_keyword(s, "ENHANCEDSTATUSCODES");
    pr_buf_str(&s->out, "\r\n250 HELP\r\n");
    ing_note_command(s, 250);
}

void ing_cmd_helo(struct ing_session *s, struct pr_slice args)
{
    if (!greet(s, args, false))
        return;
    pr_buf_str(&s->out, "250 ");
    pr_buf_add(&s->out, s->o->hostname);
    pr_buf_str(&s->out, "\r\n");
    ing_note_command(s, 250);
}
