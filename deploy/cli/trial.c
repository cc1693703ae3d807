#include "deploy/cli/trial.h"

#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "common/base/alloc.h"
#include "common/mail/header.h"
#include "deploy/cli/api.h"
#include "deploy/cli/smtp_client.h"
#include "deploy/cli/table.h"

void trial_step(struct trial *t, uint64_t at_ms, const char *step, const char *fmt, ...)
{
    struct pr_buf raw = {0}, text = {0};
    va_list ap;
    va_start(ap, fmt);
    pr_buf_vprintf(&raw, fmt, ap);
    va_end(ap);
    cli_clean(pr_buf_slice(&raw), &text);
    if (t->steps == NULL)
        t->steps = json_array();
    json_t *o = json_object();
    (void)json_object_set_new(o, "at_ms", json_integer((json_int_t)at_ms));
    (void)json_object_set_new(o, "step", json_string(step));
    json_t *value = json_string(pr_buf_cstr(&text));
    (void)json_object_set_new(o, "text", value != NULL ? value : json_string("(not UTF-8)"));
    (void)json_array_append_new(t->steps, o);
    if (!t->quiet) {
        (void)printf("  %6llu ms  %-10s %s\n", (unsigned long long)at_ms, step, pr_buf_cstr(&text));
        (void)fflush(stdout);
    }
    pr_buf_fini(&raw);
    pr_buf_fini(&text);
}

static uint64_t elapsed(const struct trial *t) { return cli_now_ms() - t->start_ms; }

static void make_content(struct trial *t, struct pr_buf *out)
{
    uint64_t random = 0;
    if (getrandom(&random, sizeof random, 0) != (ssize_t)sizeof random)
        random = cli_now_ms();
    pr_buf_clear(&t->message_id);
    pr_buf_printf(&t->message_id, "<%llx.%016llx@%s>", (unsigned long long)cli_wall_ms(), (unsigned long long)random, t->helo);
    pr_buf_printf(out, "From: <%s>\r\nTo: <%s>\r\nSubject: %s\r\nMessage-ID: %s\r\nDate: ", t->sender, t->recipient,
                  t->subject, pr_buf_cstr(&t->message_id));
    mail_date_format((pr_wall){cli_wall_ms()}, out);
    pr_buf_str(out, "\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n"
                    "A test message of Postrider: accepted by the ingress, stored in the queue, sent by the deliverer.\r\n");
}

static void on_line(void *data, bool ours, struct pr_slice text)
{
    const struct trial *t = data;
    struct pr_buf b = {0};
    cli_clean(text, &b);
    if (t->transcript && !t->quiet)
        (void)printf("             %s %s\n", ours ? "C:" : "S:", pr_buf_cstr(&b));
    pr_buf_fini(&b);
}

static int refused(const struct smtp_result *r, int rc)
{
    if (rc == PR_ETIMEOUT)
        return cli_fail(CLI_TIMEOUT, "no answer from the ingress in time (%s)", r->stage);
    if (rc != PR_OK)
        return cli_fail(CLI_UNAVAILABLE, "the ingress cannot be reached (%s): %s", r->stage, r->why);
    struct pr_slice reply = pr_buf_slice(&r->reply);
    return cli_fail(r->code / 100 == 4 ? CLI_UNAVAILABLE : CLI_REFUSED, "refused at %s: %.*s", r->stage, PR_SLICE_ARG(reply));
}

int trial_send(struct trial *t, bool patience)
{
    struct pr_buf content = {0};
    make_content(t, &content);
    int code = CLI_FAILED;
    for (bool again = true; again;) {
        struct smtp_result r;
        t->start_ms = cli_now_ms();
        t->start_wall_ms = cli_wall_ms();
        struct smtp_job job = {t->smtp, t->helo, t->sender, t->recipient, pr_buf_slice(&content), t->deadline_ms, on_line, t};
        int rc = smtp_send(&job, &r);
        struct pr_slice id = smtp_queue_id(pr_buf_slice(&r.reply));
        bool temporary = rc == PR_EUNAVAIL || rc == PR_ECLOSED || (rc == PR_OK && r.code / 100 == 4);
        again = false;
        if (r.accepted) {
            pr_buf_add(&t->id, id);
            uint64_t at = elapsed(t);
            trial_step(t, at, "accepted", "%s", pr_buf_cstr(&r.reply));
            if (id.len > 0)
                trial_step(t, at, "queued", "as %s", pr_buf_cstr(&t->id));
            code = CLI_OK;
        } else if (patience && temporary && cli_now_ms() < t->deadline_ms && t->idle(t->data, 50)) {
            again = true;
        } else {
            code = refused(&r, rc);
        }
        pr_buf_fini(&r.reply);
    }
    pr_buf_fini(&content);
    return code;
}

/* A GET whose failure only means: look again later. NULL, or the object; *ret_status 0 without an answer. */
static json_t *peek(const struct pr_hostport *to, const char *path, unsigned *ret_status)
{
    struct http_response r = {0};
    const char *why;
    *ret_status = 0;
    if (http_request(to, "GET", path, (struct pr_slice){NULL, 0}, cli_now_ms() + 5000, &r, &why) != PR_OK)
        return NULL;
    *ret_status = r.status;
    json_t *o = json_loadb(r.body.ptr == NULL ? "" : r.body.ptr, r.body.len, 0, NULL);
    pr_buf_fini(&r.body);
    return o;
}

/* Wall time of this machine as time since the start; the sink's clock is the same one. */
static uint64_t since_start(const struct trial *t, uint64_t wall_ms)
{
    return wall_ms > t->start_wall_ms ? wall_ms - t->start_wall_ms : 0;
}

static void look_into_sink(struct trial *t)
{
    struct pr_buf path = {0};
    unsigned status;
    pr_buf_str(&path, "/api/v1/inbox?message_id=");
    http_escape(pr_buf_slice(&t->message_id), &path);
    json_t *o = peek(t->sink, pr_buf_cstr(&path), &status);
    const json_t *m = json_array_get(json_object_get(o, "messages"), 0);
    if (m != NULL) {
        trial_step(t, since_start(t, api_num(m, "mail_ms")), "attempt", "%s says %s to the sink, on a connection made at %llu ms",
                   api_str(m, "client"), api_str(m, "helo"),
                   (unsigned long long)since_start(t, api_num(m, "connected_ms")));
        trial_step(t, since_start(t, api_num(m, "received_ms")), "reply", "%s", api_str(m, "reply"));
        trial_step(t, elapsed(t), "in sink", "message %llu, %llu bytes, Message-ID %s", (unsigned long long)api_num(m, "n"),
                   (unsigned long long)api_num(m, "size"), api_str(m, "message_id"));
        t->in_sink = true;
    }
    json_decref(o);
    pr_buf_fini(&path);
}

/* The scheduler remembers how the latest messages ended. */
static void note_end(struct trial *t, const json_t *error)
{
    static const char *const ends[] = {"delivered", "bounced", "expired"};
    /* The sink had it before the queue let go of it: the steps come in that order. */
    if (t->sink != NULL && !t->in_sink)
        look_into_sink(t);
    const char *how = api_str(error, "code"), *text = api_str(error, "message");
    size_t i = 0;
    while (i < PR_ARRAY_LEN(ends) && strcmp(how, ends[i]) != 0)
        i++;
    /* The step's name says it already. */
    const char *reply = i < PR_ARRAY_LEN(ends) ? strstr(text, ends[i]) : NULL;
    if (reply != NULL)
        reply += strlen(ends[i]) + (reply[strlen(ends[i])] == ':' ? 2 : 0);
    if (i < PR_ARRAY_LEN(ends))
        trial_step(t, elapsed(t), ends[i], "%s", reply == NULL ? text : reply);
    else
        trial_step(t, elapsed(t), "done", "the message has left the queue");
    t->gone = true;
    t->failed = i == 1 || i == 2;
}

static void look_into_queue(struct trial *t)
{
    struct pr_buf path = {0};
    unsigned status;
    pr_buf_str(&path, "/api/v1/messages/");
    http_escape(pr_buf_slice(&t->id), &path);
    json_t *o = peek(t->scheduler, pr_buf_cstr(&path), &status);
    const json_t *r = json_array_get(json_object_get(o, "recipients"), 0);
    uint64_t attempts = api_num(o, "attempts");
    t->unreachable = status == 0;
    if (status == 404) {
        note_end(t, json_object_get(o, "error"));
    } else if (strcmp(api_str(o, "state"), "scheduled") == 0 && attempts > t->attempts_seen &&
               api_str(r, "diagnostic")[0] != '\0') {
        trial_step(t, elapsed(t), "deferred", "attempt %llu: %llu %s", (unsigned long long)attempts,
                   (unsigned long long)api_num(r, "code"), api_str(r, "diagnostic"));
        t->attempts_seen = (unsigned)attempts;
        t->deferred = true;
    }
    json_decref(o);
    pr_buf_fini(&path);
}

int trial_follow(struct trial *t)
{
    uint64_t pause = 5;
    for (;;) {
        if (t->sink != NULL && !t->in_sink)
            look_into_sink(t);
        if (t->id.len > 0 && !t->gone)
            look_into_queue(t);
        if (t->failed)
            return cli_fail(CLI_FAILED, "the message was not delivered");
        bool arrived = t->sink == NULL || t->in_sink;
        if (arrived && (t->gone || t->id.len == 0))
            return CLI_OK;
        if (t->sink == NULL && t->deferred)
            return CLI_PARTIAL;
        if (t->sink == NULL && t->unreachable)
            return cli_fail(CLI_UNAVAILABLE, "the scheduler does not answer: whether the message is delivered is unknown");
        if (cli_now_ms() >= t->deadline_ms)
            return CLI_TIMEOUT;
        if (!t->idle(t->data, pause))
            return CLI_FAILED;
        pause = PR_MIN(pause * 2, (uint64_t)200);
    }
}

void trial_fini(struct trial *t)
{
    json_decref(t->steps);
    t->steps = NULL;
    pr_buf_fini(&t->id);
    pr_buf_fini(&t->message_id);
}
