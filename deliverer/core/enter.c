/* What we say on entering each command. */
#include "common/base/assert.h"
#include "common/mail/address.h"
#include "deliverer/core/client_internal.h"

static void say_hello(struct dlv_client *c, const char *verb, struct pr_buf *out)
{
    pr_buf_str(out, verb);
    pr_buf_char(out, ' ');
    pr_buf_add(out, c->o.name);
    pr_buf_append(out, "\r\n", 2);
}

/* RFC 3461 4.3 and 4.4. */
static void say_dsn_from(const struct mail_envelope *e, struct pr_buf *out)
{
    if (e->ret != MAIL_RET_DEFAULT)
        pr_buf_str(out, e->ret == MAIL_RET_FULL ? " RET=FULL" : " RET=HDRS");
    if (e->envid.len > 0) {
        pr_buf_str(out, " ENVID=");
        mail_xtext_encode(e->envid, out);
    }
}

static void say_mail(struct dlv_client *c, const struct txn *t, struct pr_buf *out)
{
    const struct mail_envelope *e = t->mail->envelope;
    pr_buf_str(out, "MAIL FROM:<");
    pr_buf_add(out, e->sender);
    pr_buf_char(out, '>');
    if (cap(c, DLV_CAP_SIZE) && t->mail->size_bytes > 0) {
        pr_buf_str(out, " SIZE=");
        pr_buf_u64(out, t->mail->size_bytes);
    }
    if (t->plan.body == MAIL_BODY_8BITMIME)
        pr_buf_str(out, " BODY=8BITMIME");
    else if (t->plan.body == MAIL_BODY_BINARYMIME)
        pr_buf_str(out, " BODY=BINARYMIME");
    if (t->plan.smtputf8)
        pr_buf_str(out, " SMTPUTF8");
    if (cap(c, DLV_CAP_DSN))
        say_dsn_from(e, out);
    pr_buf_append(out, "\r\n", 2);
}

static void say_notify(unsigned notify, struct pr_buf *out)
{
    static const struct {
        unsigned bit;
        const char *name;
    } names[] = {{MAIL_NOTIFY_SUCCESS, "SUCCESS"}, {MAIL_NOTIFY_FAILURE, "FAILURE"}, {MAIL_NOTIFY_DELAY, "DELAY"}};
    pr_buf_str(out, " NOTIFY=");
    if ((notify & MAIL_NOTIFY_NEVER) != 0) {
        pr_buf_str(out, "NEVER");
        return;
    }
    const char *comma = "";
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if ((notify & names[i].bit) == 0)
            continue;
        pr_buf_str(out, comma);
        pr_buf_str(out, names[i].name);
        comma = ",";
    }
}

/* RFC 3461 4.1 and 4.2: the address type is an atom, what follows it is xtext. */
static void say_dsn_to(const struct mail_rcpt *r, struct pr_buf *out)
{
    if (r->notify != 0)
        say_notify(r->notify, out);
    if (r->orcpt.len > 0) {
        struct pr_slice address, type = pr_slice_cut(r->orcpt, ';', &address);
        pr_buf_str(out, " ORCPT=");
        pr_buf_add(out, type);
        pr_buf_char(out, ';');
        mail_xtext_encode(address, out);
    }
}

static void say_rcpt(struct dlv_client *c, const struct txn *t, size_t slot, struct pr_buf *out)
{
    const struct mail_rcpt *r = &t->mail->group->rcpts[t->rcpts[slot]];
    pr_buf_str(out, "RCPT TO:<");
    pr_buf_add(out, r->address);
    pr_buf_char(out, '>');
    if (cap(c, DLV_CAP_DSN))
        say_dsn_to(r, out);
    pr_buf_append(out, "\r\n", 2);
}

void enter(struct dlv_client *c, const struct cmd *cmd)
{
    struct pr_buf *out = c->out->send;
    struct txn *t = &c->txns[cmd->txn];
    switch ((enum cmd_kind)cmd->kind) {
    case CMD_EHLO:
        say_hello(c, c->o.lmtp ? "LHLO" : "EHLO", out);
        break;
    case CMD_HELO:
        say_hello(c, "HELO", out);
        break;
    case CMD_STARTTLS:
        pr_buf_str(out, "STARTTLS\r\n");
        break;
    case CMD_RSET:
        pr_buf_str(out, "RSET\r\n");
        break;
    case CMD_MAIL:
        say_mail(c, t, out);
        break;
    case CMD_RCPT:
        say_rcpt(c, t, cmd->slot, out);
        break;
    case CMD_DATA:
        pr_buf_str(out, "DATA\r\n");
        break;
    case CMD_BDAT_LAST: /* with the envelope */
        txn_doubt(c, t);
        content_append(t, t->mail->content, true, out);
        break;
    case CMD_QUIT:
        pr_buf_str(out, "QUIT\r\n");
        break;
    case CMD_GREETING:
    case CMD_BODY:
    case CMD_BDAT:
    case CMD_NR:
        pr_unreachable();
    }
}
