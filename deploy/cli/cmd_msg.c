/* cmd_msg.c - msg get, cat, retry, hold, release, delete. */
#include <stdio.h>
#include <string.h>

#include "common/base/alloc.h"
#include "deploy/cli/api.h"
#include "deploy/cli/commands.h"
#include "deploy/cli/duration.h"
#include "deploy/cli/select.h"
#include "deploy/cli/table.h"

static void message_path(const char *id, const char *tail, struct pr_buf *out)
{
    pr_buf_str(out, "/api/v1/messages/");
    http_escape(pr_slice_str(id), out);
    pr_buf_str(out, tail);
}

static void time_line(const char *label, uint64_t wall_ms, struct pr_buf *out)
{
    if (wall_ms == 0)
        return;
    pr_buf_printf(out, "%-12s", label);
    cli_format_time(wall_ms, out);
    uint64_t now = cli_wall_ms();
    pr_buf_str(out, now > wall_ms ? " UTC, " : " UTC, in ");
    cli_format_duration(now > wall_ms ? now - wall_ms : wall_ms - now, out);
    pr_buf_str(out, now > wall_ms ? " ago\n" : "\n");
}

static void text_line(const char *label, const char *text, struct pr_buf *out)
{
    if (text[0] == '\0')
        return;
    pr_buf_printf(out, "%-12s", label);
    cli_clean(pr_slice_str(text), out);
    pr_buf_char(out, '\n');
}

static void recipient_lines(const json_t *m, struct pr_buf *out)
{
    static const char *const headers[] = {"RECIPIENT", "STATUS", ">CODE", "ENHANCED", "REMOTE", "LAST REPLY", NULL};
    struct cli_table t;
    size_t i;
    json_t *r;
    cli_table_init(&t, headers, true);
    json_array_foreach(json_object_get(m, "recipients"), i, r) {
        cli_table_row(&t);
        cli_table_cell(&t, "%s", api_str(r, "address"));
        cli_table_cell(&t, "%s", api_str(r, "status"));
        if (api_num(r, "code") != 0)
            cli_table_cell(&t, "%llu", (unsigned long long)api_num(r, "code"));
        else
            cli_table_cell(&t, "%s", "");
        cli_table_cell(&t, "%s", api_str(r, "enhanced"));
        cli_table_cell(&t, "%s", api_str(r, "remote"));
        cli_table_cell(&t, "%s", api_str(r, "diagnostic"));
    }
    pr_buf_char(out, '\n');
    cli_table_print(&t, out);
    cli_table_fini(&t);
}

static void print_message(const json_t *m, struct pr_buf *out)
{
    struct pr_buf sender = {0}, size = {0};
    pr_buf_printf(&sender, "<%s>", api_str(m, "sender"));
    cli_format_size(api_num(m, "size"), &size);
    text_line("id", api_str(m, "id"), out);
    text_line("state", api_str(m, "state"), out);
    text_line("sender", pr_buf_cstr(&sender), out);
    text_line("size", pr_buf_cstr(&size), out);
    text_line("class", api_str(m, "class"), out);
    text_line("tenant", api_str(m, "tenant"), out);
    text_line("client", api_str(m, "client_address"), out);
    text_line("protocol", api_str(m, "protocol"), out);
    time_line("arrived", api_num(m, "arrival_ms"), out);
    time_line("next try", strcmp(api_str(m, "state"), "scheduled") == 0 ? api_num(m, "due_ms") : 0, out);
    time_line("expires", api_num(m, "expiry_ms"), out);
    pr_buf_printf(out, "%-12s%llu\n", "attempts", (unsigned long long)api_num(m, "attempts"));
    recipient_lines(m, out);
    pr_buf_fini(&sender);
    pr_buf_fini(&size);
}

int cmd_msg_get(struct cli *c)
{
    struct api a = {0};
    struct pr_buf path = {0}, out = {0};
    json_t *m = NULL;
    message_path(c->args[0], "", &path);
    int code = api_init(&a, c);
    if (code == CLI_OK)
        code = api_call(&a, "GET", pr_buf_cstr(&path), NULL, &m);
    if (code == CLI_OK) {
        if (c->output == CLI_TABLE)
            print_message(m, &out);
        else if (c->output == CLI_NAME)
            pr_buf_printf(&out, "%s\n", api_str(m, "id"));
        else
            api_dump(m, c->output == CLI_JSONL, &out);
        code = cli_print(&out);
    }
    json_decref(m);
    api_fini(&a);
    pr_buf_fini(&path);
    pr_buf_fini(&out);
    return code;
}

int cmd_msg_cat(struct cli *c)
{
    struct api a = {0};
    struct pr_buf path = {0}, body = {0};
    message_path(c->args[0], "/content", &path);
    int code = api_init(&a, c);
    if (code == CLI_OK)
        code = api_fetch(&a, pr_buf_cstr(&path), &body);
    if (code == CLI_OK)
        code = cli_print(&body);
    api_fini(&a);
    pr_buf_fini(&path);
    pr_buf_fini(&body);
    return code;
}

/* {"ids"}, {"filter"} or {"all"} from the command line. */
static int selector(const struct cli *c, json_t *body)
{
    json_t *filter = NULL;
    int code = select_filter(c, &filter);
    if (code != CLI_OK)
        return code;
    int ways = (c->n_args > 0) + (json_object_size(filter) > 0) + cli_has(c, CLI_ALL);
    if (ways != 1)
        code = cli_fail(CLI_USAGE, "%s", ways == 0 ? "which messages? Ids, a filter like --domain, or --all"
                                                   : "ids, a filter and --all exclude each other");
    if (code == CLI_OK && c->n_args > 0) {
        json_t *ids = json_array();
        for (unsigned i = 0; code == CLI_OK && i < c->n_args; i++)
            if (json_array_append_new(ids, json_string(c->args[i])) != 0)
                code = cli_fail(CLI_USAGE, "an id is not UTF-8");
        (void)json_object_set_new(body, "ids", ids);
    } else if (code == CLI_OK && cli_has(c, CLI_ALL)) {
        (void)json_object_set_new(body, "all", json_true());
    } else if (code == CLI_OK) {
        (void)json_object_set(body, "filter", filter);
    }
    json_decref(filter);
    return code;
}

static int act(const struct api *a, json_t *body, bool dry_run, json_t **ret)
{
    (void)json_object_set_new(body, "dry_run", json_boolean(dry_run));
    return api_call(a, "POST", "/api/v1/actions", body, ret);
}

/* More than single messages: somebody has to want it. */
static int confirm(const struct cli *c, const struct api *a, json_t *body, const char *verb)
{
    if (c->n_args > 0 || cli_has(c, CLI_YES) || cli_has(c, CLI_DRY_RUN))
        return CLI_OK;
    if (!cli_interactive())
        return cli_fail(CLI_USAGE, "add --yes to %s many messages at once (or --dry-run to see how many)", verb);
    json_t *o = NULL;
    int code = act(a, body, true, &o);
    struct pr_buf question = {0};
    pr_buf_printf(&question, "%s %llu messages?", verb, (unsigned long long)api_num(o, "matched"));
    if (code == CLI_OK && api_num(o, "matched") > 0 && !cli_confirm(pr_buf_cstr(&question)))
        code = cli_fail(CLI_REFUSED, "nothing was changed");
    json_decref(o);
    pr_buf_fini(&question);
    return code;
}

static int report(const struct cli *c, const json_t *o, const char *done)
{
    struct pr_buf out = {0};
    uint64_t matched = api_num(o, "matched"), changed = api_num(o, "changed");
    size_t i;
    json_t *id;
    if (c->output == CLI_JSON || c->output == CLI_JSONL) {
        api_dump(o, c->output == CLI_JSONL, &out);
    } else if (c->output == CLI_TABLE) {
        if (cli_has(c, CLI_DRY_RUN))
            pr_buf_printf(&out, "%llu messages match, nothing was changed\n", (unsigned long long)matched);
        else
            pr_buf_printf(&out, "%llu of %llu messages %s\n", (unsigned long long)changed, (unsigned long long)matched, done);
    }
    if (c->output == CLI_NAME || (c->output == CLI_TABLE && cli_has(c, CLI_DRY_RUN)))
        json_array_foreach(json_object_get(o, "sample"), i, id)
            pr_buf_printf(&out, "%s%s\n", c->output == CLI_TABLE ? "  " : "", json_string_value(id));
    int code = cli_print(&out);
    pr_buf_fini(&out);
    if (code != CLI_OK)
        return code;
    if (matched == 0)
        return cli_fail(CLI_NOTHING, "no message matched");
    if (!cli_has(c, CLI_DRY_RUN) && (changed < matched || matched < c->n_args))
        return CLI_PARTIAL;
    return CLI_OK;
}

static int change(struct cli *c, const char *verb, const char *done)
{
    struct api a = {0};
    json_t *body = json_object(), *o = NULL;
    (void)json_object_set_new(body, "action", json_string(verb));
    int code = selector(c, body);
    if (code == CLI_OK)
        code = api_init(&a, c);
    if (code == CLI_OK)
        code = confirm(c, &a, body, verb);
    if (code == CLI_OK)
        code = act(&a, body, cli_has(c, CLI_DRY_RUN), &o);
    if (code == CLI_OK)
        code = report(c, o, done);
    json_decref(o);
    json_decref(body);
    api_fini(&a);
    return code;
}

int cmd_msg_retry(struct cli *c) { return change(c, "retry", "will be tried now"); }
int cmd_msg_hold(struct cli *c) { return change(c, "hold", "held"); }
int cmd_msg_release(struct cli *c) { return change(c, "release", "released"); }
int cmd_msg_delete(struct cli *c) { return change(c, "delete", "deleted"); }
