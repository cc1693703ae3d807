/* cmd_sink.c - sink run, list, cat: the catch-all of `postrider dev`. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/http/http.h"
#include "deploy/cli/address.h"
#include "deploy/cli/api.h"
#include "deploy/cli/commands.h"
#include "deploy/cli/duration.h"
#include "deploy/cli/net.h"
#include "deploy/cli/sink.h"
#include "deploy/cli/table.h"

static void answer_list(void *data, const struct pr_http_request *req, struct pr_http_response *out)
{
    uint64_t limit = 0;
    const char *text = pr_http_query(req, "limit");
    if (text != NULL && pr_parse_u64(pr_slice_str(text), UINT64_MAX, &limit) != PR_OK) {
        pr_http_error(out, 400, "bad_request", "limit is a number");
        return;
    }
    json_t *list = mailbox_list(data, limit, pr_http_query(req, "message_id"));
    api_dump(list, true, &out->body);
    json_decref(list);
}

static void answer_content(void *data, const struct pr_http_request *req, struct pr_http_response *out)
{
    uint64_t n = 0;
    if (pr_parse_u64(pr_http_tail(req), UINT64_MAX, &n) != PR_OK || !mailbox_content(data, n, &out->body)) {
        pr_http_error(out, 404, "not_found", "no such message in the sink");
        return;
    }
    out->content_type = "message/rfc822";
}

static const struct pr_http_route routes[] = {
    {"GET", "/api/v1/inbox", answer_list},
    {"GET", "/api/v1/inbox/*", answer_content},
};

/* Readable when somebody wants us to stop. */
static int stop_signals(void)
{
    sigset_t mask;
    (void)sigemptyset(&mask);
    (void)sigaddset(&mask, SIGTERM);
    (void)sigaddset(&mask, SIGINT);
    (void)sigprocmask(SIG_BLOCK, &mask, NULL);
    return signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
}

static int serve(const struct pr_hostport *at, const char *http_path)
{
    struct pr_http *http = NULL;
    char *why = NULL;
    int stop_fd = stop_signals(), listen_fd = cli_listen(at);
    if (listen_fd < 0) {
        (void)close(stop_fd);
        return cli_fail(CLI_FAILED, "cannot listen on %s:%u: %s", at->host, (unsigned)at->port, strerrordesc_np(errno));
    }
    struct mailbox *mailbox = mailbox_new();
    struct sink *sink = sink_new(listen_fd, mailbox);
    struct pr_http_options o = {.unix_path = http_path, .threads = 1};
    int code = CLI_OK;
    if (http_path != NULL && pr_http_start(&o, routes, PR_ARRAY_LEN(routes), mailbox, &http, &why) != PR_OK)
        code = cli_fail(CLI_FAILED, "cannot serve %s: %s", http_path, why == NULL ? "" : why);
    else
        sink_serve(sink, stop_fd);
    pr_http_stop(http);
    sink_free(sink);
    mailbox_free(mailbox);
    (void)close(stop_fd);
    pr_free(why);
    return code;
}

int cmd_sink_run(struct cli *c)
{
    struct pr_arena arena = {0};
    struct pr_hostport at;
    const char *text = cli_has(c, CLI_LISTEN) ? c->values[CLI_LISTEN] : "127.0.0.1:2500";
    int code = cli_parse_address(text, &arena, &at);
    if (code == CLI_OK)
        code = serve(&at, c->values[CLI_HTTP]);
    pr_arena_fini(&arena);
    return code;
}

/* The socket of --http, or the one beside that of the scheduler. */
static int sink_request(const struct cli *c, const char *path, struct http_response *ret)
{
    struct api a;
    struct pr_buf socket_path = {0};
    int code = api_init(&a, c);
    if (code != CLI_OK)
        return code;
    pr_buf_printf(&socket_path, "%s/sink.http", a.config->runtime_dir);
    char *unix_path = pr_strdup(cli_has(c, CLI_HTTP) ? c->values[CLI_HTTP] : pr_buf_cstr(&socket_path));
    struct pr_hostport to = {NULL, 0, unix_path};
    const char *text = "";
    int rc = http_request(&to, "GET", path, (struct pr_slice){NULL, 0}, cli_now_ms() + a.timeout_ms, ret, &text);
    if (rc != PR_OK)
        code = cli_fail(rc == PR_ETIMEOUT ? CLI_TIMEOUT : CLI_UNAVAILABLE, "no sink at %s: only `postrider dev` has one",
                        unix_path);
    else if (ret->status != 200)
        code = cli_fail(api_exit_code(ret->status), "no such message in the sink");
    if (code != CLI_OK && rc == PR_OK)
        pr_buf_fini(&ret->body);
    pr_free(unix_path);
    pr_buf_fini(&socket_path);
    api_fini(&a);
    return code;
}

static void list_rows(const json_t *messages, struct cli_table *t)
{
    size_t i;
    json_t *m;
    json_array_foreach(messages, i, m) {
        struct pr_buf when = {0}, size = {0};
        const json_t *to = json_object_get(m, "recipients");
        const char *first = json_string_value(json_array_get(to, 0));
        cli_format_time(api_num(m, "received_ms"), &when);
        cli_format_size(api_num(m, "size"), &size);
        cli_table_row(t);
        cli_table_cell(t, "%llu", (unsigned long long)api_num(m, "n"));
        cli_table_cell(t, "%s", pr_buf_cstr(&when));
        cli_table_cell(t, "%s", pr_buf_cstr(&size));
        cli_table_cell(t, "<%s>", api_str(m, "sender"));
        cli_table_cell(t, "%s%s", first == NULL ? "" : first, json_array_size(to) > 1 ? " ..." : "");
        cli_table_cell(t, "%s", api_str(m, "subject"));
        pr_buf_fini(&when);
        pr_buf_fini(&size);
    }
}

int cmd_sink_list(struct cli *c)
{
    static const char *const headers[] = {"N", "RECEIVED (UTC)", ">SIZE", "SENDER", "RECIPIENT", "SUBJECT", NULL};
    struct pr_buf path = {0}, out = {0};
    struct http_response r = {0};
    pr_buf_printf(&path, "/api/v1/inbox?limit=%llu", (unsigned long long)c->limit);
    int code = sink_request(c, pr_buf_cstr(&path), &r);
    if (code == CLI_OK) {
        json_t *o = json_loadb(r.body.ptr, r.body.len, 0, NULL);
        struct cli_table t = {0};
        cli_table_init(&t, headers, !cli_has(c, CLI_NO_HEADERS));
        list_rows(json_object_get(o, "messages"), &t);
        if (c->output == CLI_TABLE)
            cli_table_print(&t, &out);
        else
            api_dump(o, c->output == CLI_JSONL, &out);
        code = cli_print(&out);
        cli_table_fini(&t);
        json_decref(o);
        pr_buf_fini(&r.body);
    }
    pr_buf_fini(&path);
    pr_buf_fini(&out);
    return code;
}

int cmd_sink_cat(struct cli *c)
{
    struct pr_buf path = {0};
    struct http_response r = {0};
    pr_buf_str(&path, "/api/v1/inbox/");
    http_escape(pr_slice_str(c->args[0]), &path);
    int code = sink_request(c, pr_buf_cstr(&path), &r);
    if (code == CLI_OK) {
        code = cli_print(&r.body);
        pr_buf_fini(&r.body);
    }
    pr_buf_fini(&path);
    return code;
}
