#include "deploy/cli/smtp_client.h"

#include "common/base/alloc.h"
#include "common/mail/dot.h"
#include "common/mail/reply.h"
#include "deploy/cli/net.h"

struct dialogue {
    const struct smtp_job *job;
    struct smtp_result *result;
    struct cli_conn conn;
    struct pr_buf in; /* received, not yet parsed */
};

static void say_lines(const struct dialogue *d, bool ours, struct pr_slice text)
{
    while (d->job->line != NULL && text.len > 0) {
        struct pr_slice line = pr_slice_cut(text, '\n', &text);
        if (line.len > 0 && line.ptr[line.len - 1] == '\r')
            line.len--;
        d->job->line(d->job->data, ours, line);
    }
}

static void note_reply(struct dialogue *d, const struct mail_reply_parser *p)
{
    struct smtp_result *r = d->result;
    struct pr_slice text = pr_buf_slice(&p->text);
    r->code = p->code;
    pr_buf_clear(&r->reply);
    while (text.ptr != NULL) {
        struct pr_slice line = pr_slice_cut(text, '\n', &text);
        struct pr_buf shown = {0};
        pr_buf_printf(&shown, "%u%c%.*s", (unsigned)p->code, text.ptr != NULL ? '-' : ' ', PR_SLICE_ARG(line));
        say_lines(d, false, pr_buf_slice(&shown));
        if (text.ptr == NULL)
            pr_buf_add(&r->reply, pr_buf_slice(&shown));
        pr_buf_fini(&shown);
    }
    if (r->reply.len == 0)
        pr_buf_printf(&r->reply, "%u", (unsigned)p->code);
}

static int read_reply(struct dialogue *d)
{
    struct mail_reply_parser p;
    mail_reply_parser_init(&p);
    int rc = PR_OK;
    while (rc == PR_OK) {
        size_t used = 0;
        rc = mail_reply_parse(&p, pr_buf_slice(&d->in), &used);
        pr_buf_consume(&d->in, used);
        if (rc != PR_OK || p.done)
            break;
        rc = cli_receive(&d->conn, &d->in);
    }
    if (rc == PR_OK)
        note_reply(d, &p);
    mail_reply_parser_fini(&p);
    return rc;
}

/* Sends a line and reads its reply. True when the reply is of the class wanted. */
static int command(struct dialogue *d, const char *stage, unsigned want_class, const char *fmt, ...) PR_PRINTF(4, 5);
static int command(struct dialogue *d, const char *stage, unsigned want_class, const char *fmt, ...)
{
    struct pr_buf line = {0};
    va_list ap;
    va_start(ap, fmt);
    pr_buf_vprintf(&line, fmt, ap);
    va_end(ap);
    d->result->stage = stage;
    say_lines(d, true, pr_buf_slice(&line));
    pr_buf_str(&line, "\r\n");
    int rc = cli_send(&d->conn, pr_buf_slice(&line));
    if (rc == PR_OK)
        rc = read_reply(d);
    pr_buf_fini(&line);
    if (rc == PR_OK && d->result->code / 100 != want_class)
        rc = PR_EDENIED;
    return rc;
}

static int send_content(struct dialogue *d)
{
    struct mail_dot_encoder e;
    struct pr_buf wire = {0};
    mail_dot_encoder_init(&e);
    mail_dot_encode(&e, d->job->content, &wire);
    mail_dot_finish(&e, &wire);
    d->result->stage = "end of data";
    int rc = cli_send(&d->conn, pr_buf_slice(&wire));
    pr_buf_fini(&wire);
    return rc == PR_OK ? read_reply(d) : rc;
}

static int talk(struct dialogue *d)
{
    const struct smtp_job *job = d->job;
    d->result->stage = "greeting";
    int rc = read_reply(d);
    if (rc == PR_OK && d->result->code / 100 != 2)
        rc = PR_EDENIED;
    if (rc == PR_OK)
        rc = command(d, "EHLO", 2, "EHLO %s", job->helo);
    if (rc == PR_OK)
        rc = command(d, "MAIL", 2, "MAIL FROM:<%s>", job->sender);
    if (rc == PR_OK)
        rc = command(d, "RCPT", 2, "RCPT TO:<%s>", job->recipient);
    if (rc == PR_OK)
        rc = command(d, "DATA", 3, "DATA");
    if (rc == PR_OK)
        rc = send_content(d);
    d->result->accepted = rc == PR_OK && d->result->code / 100 == 2;
    /* Good manners; the answer changes nothing. */
    if (rc == PR_OK || rc == PR_EDENIED)
        (void)!cli_send(&d->conn, PR_SLICE_LIT("QUIT\r\n"));
    return rc == PR_EDENIED ? PR_OK : rc;
}

int smtp_send(const struct smtp_job *job, struct smtp_result *ret)
{
    *ret = (struct smtp_result){.stage = "connect", .why = ""};
    struct dialogue d = {.job = job, .result = ret};
    int rc = cli_connect(job->to, job->deadline_ms, &d.conn, &ret->why);
    if (rc != PR_OK)
        return rc;
    rc = talk(&d);
    if (rc != PR_OK)
        ret->why = rc == PR_ECLOSED ? "the server hung up" : pr_strerror(rc);
    cli_close(&d.conn);
    pr_buf_fini(&d.in);
    return rc;
}

struct pr_slice smtp_queue_id(struct pr_slice reply)
{
    static const char words[] = "queued as ";
    size_t at = pr_slice_find_slice(reply, pr_slice_str(words));
    if (at == SIZE_MAX)
        return (struct pr_slice){NULL, 0};
    struct pr_slice id = pr_slice_from(reply, at + sizeof words - 1);
    size_t n = 0;
    while (n < id.len && (pr_is_alnum(id.ptr[n]) || id.ptr[n] == '-' || id.ptr[n] == '_'))
        n++;
    return pr_slice_head(id, n);
}
