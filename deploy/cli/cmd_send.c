/* cmd_send.c - send test: a message to the ingress, followed to its end. */
#include <string.h>

#include "common/base/alloc.h"
#include "common/mail/address.h"
#include "deploy/cli/address.h"
#include "deploy/cli/api.h"
#include "deploy/cli/commands.h"
#include "deploy/cli/trial.h"

enum { DEFAULT_TIMEOUT_MS = 30000 };

static bool sleep_idle(void *data, uint64_t ms)
{
    (void)data;
    cli_sleep_ms(ms);
    return true;
}

static bool address_ok(const char *text, unsigned flags)
{
    struct mail_address a;
    struct pr_slice rest;
    if (text[0] == '\0')
        return (flags & MAIL_ADDRESS_ALLOW_NULL) != 0;
    return mail_address_parse(pr_slice_str(text), MAIL_ADDRESS_BARE, &a, &rest) == PR_OK;
}

/* A subject is one line of printable ASCII: it goes into a header as it is. */
static bool subject_ok(const char *s)
{
    for (; *s != '\0'; s++)
        if (pr_is_ctl(*s) || (unsigned char)*s >= 0x80)
            return false;
    return true;
}

static int result_json(const struct trial *t, int code)
{
    struct pr_buf out = {0};
    json_t *o = json_object();
    (void)json_object_set_new(o, "id", json_stringn(t->id.ptr == NULL ? "" : t->id.ptr, t->id.len));
    (void)json_object_set_new(o, "left_queue", json_boolean(t->gone));
    (void)json_object_set_new(o, "deferred", json_boolean(t->deferred));
    (void)json_object_set(o, "steps", t->steps);
    api_dump(o, false, &out);
    json_decref(o);
    int printed = cli_print(&out);
    pr_buf_fini(&out);
    return code != CLI_OK ? code : printed;
}

/* The sink of `postrider dev`, when it is there. */
static bool find_sink(const struct pr_config *config, struct pr_buf *path, struct pr_hostport *ret)
{
    struct http_response r = {0};
    const char *why;
    pr_buf_printf(path, "%s/sink.http", config->runtime_dir);
    (void)pr_buf_cstr(path);
    *ret = (struct pr_hostport){NULL, 0, path->ptr};
    bool there = http_request(ret, "GET", "/api/v1/inbox?limit=1", (struct pr_slice){NULL, 0}, cli_now_ms() + 2000, &r,
                              &why) == PR_OK;
    pr_buf_fini(&r.body);
    return there;
}

static int send_test(struct cli *c, const struct api *a, const struct pr_hostport *smtp)
{
    struct pr_buf from = {0}, sink_path = {0};
    struct pr_hostport sink;
    if (cli_has(c, CLI_FROM))
        pr_buf_str(&from, c->values[CLI_FROM]);
    else
        pr_buf_printf(&from, "postmaster@%s", a->config->hostname);
    struct trial t = {
        .smtp = smtp,
        .scheduler = &a->config->admin.scheduler,
        .helo = a->config->hostname,
        .sender = pr_buf_cstr(&from),
        .recipient = c->values[CLI_TO],
        .subject = cli_has(c, CLI_SUBJECT) ? c->values[CLI_SUBJECT] : "Postrider test",
        .deadline_ms = cli_now_ms() + (c->timeout_ms != 0 ? c->timeout_ms : DEFAULT_TIMEOUT_MS),
        .quiet = c->output != CLI_TABLE,
        .transcript = true,
        .idle = sleep_idle,
    };
    if (find_sink(a->config, &sink_path, &sink))
        t.sink = &sink;
    int code = trial_send(&t, false);
    if (code == CLI_OK && !cli_has(c, CLI_NO_WAIT)) {
        code = trial_follow(&t);
        if (code == CLI_TIMEOUT)
            code = cli_fail(CLI_TIMEOUT, "still in the queue: see postrider msg get %s", pr_buf_cstr(&t.id));
    }
    if (c->output == CLI_NAME && t.id.len > 0) {
        pr_buf_char(&t.id, '\n');
        (void)cli_print(&t.id);
    } else if (c->output != CLI_TABLE) {
        code = result_json(&t, code);
    }
    trial_fini(&t);
    pr_buf_fini(&from);
    pr_buf_fini(&sink_path);
    return code;
}

int cmd_send_test(struct cli *c)
{
    if (!cli_has(c, CLI_TO) || !address_ok(c->values[CLI_TO], 0))
        return cli_fail(CLI_USAGE, "--to names the recipient: --to you@example.com");
    if (cli_has(c, CLI_FROM) && !address_ok(c->values[CLI_FROM], MAIL_ADDRESS_ALLOW_NULL))
        return cli_fail(CLI_USAGE, "\"%s\" is not an address", c->values[CLI_FROM]);
    if (cli_has(c, CLI_SUBJECT) && !subject_ok(c->values[CLI_SUBJECT]))
        return cli_fail(CLI_USAGE, "the subject is one line of ASCII");
    struct api a;
    struct pr_arena arena = {0};
    struct pr_hostport smtp = {0};
    int code = api_init(&a, c);
    if (code == CLI_OK && cli_has(c, CLI_LISTEN))
        code = cli_parse_address(c->values[CLI_LISTEN], &arena, &smtp);
    else if (code == CLI_OK)
        smtp = a.config->ingress.listeners[0].address;
    if (code == CLI_OK)
        code = send_test(c, &a, &smtp);
    api_fini(&a);
    pr_arena_fini(&arena);
    return code;
}
