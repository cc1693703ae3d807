/* cmd_status.c - status: the roles and the queue on one screen. */
#include "common/base/alloc.h"
#include "deploy/cli/api.h"
#include "deploy/cli/commands.h"
#include "deploy/cli/duration.h"
#include "deploy/cli/table.h"

static void role_rows(const json_t *o, struct cli_table *t)
{
    cli_table_row(t);
    cli_table_cell(t, "%s", api_str(o, "role"));
    cli_table_cell(t, "%s", api_str(o, "node"));
    cli_table_cell(t, "%s", api_bool(o, "ready") ? "ready" : "NOT READY");
    cli_table_cell(t, "version %s", api_str(o, "version"));
    size_t i;
    json_t *p;
    json_array_foreach(json_object_get(o, "peers"), i, p) {
        struct pr_buf seen = {0};
        cli_format_duration(api_num(p, "last_seen_ms"), &seen);
        cli_table_row(t);
        cli_table_cell(t, "%s", api_str(p, "role"));
        cli_table_cell(t, "%s", api_str(p, "node"));
        cli_table_cell(t, "connected");
        cli_table_cell(t, "seen %s ago", pr_buf_cstr(&seen));
        pr_buf_fini(&seen);
    }
}

static void shard_rows(const json_t *o, struct cli_table *t)
{
    size_t i;
    json_t *s;
    json_array_foreach(json_object_get(o, "shards"), i, s) {
        struct pr_buf size = {0};
        cli_format_size(api_num(s, "bytes"), &size);
        cli_table_row(t);
        cli_table_cell(t, "%llu", (unsigned long long)api_num(s, "shard"));
        cli_table_cell(t, "%s", api_bool(s, "leader") ? "leader" : "NO LEADER");
        cli_table_cell(t, "%llu", (unsigned long long)api_num(s, "term"));
        cli_table_cell(t, "%llu", (unsigned long long)api_num(s, "applied"));
        cli_table_cell(t, "%llu", (unsigned long long)api_num(s, "messages"));
        cli_table_cell(t, "%s", pr_buf_cstr(&size));
        pr_buf_fini(&size);
    }
}

static void print_status(const json_t *o, bool headers, struct pr_buf *out)
{
    static const char *const roles[] = {"ROLE", "NODE", "STATE", "DETAIL", NULL};
    static const char *const shards[] = {">SHARD", "LEADER", ">TERM", ">APPLIED", ">MESSAGES", ">SIZE", NULL};
    struct cli_table t;
    cli_table_init(&t, roles, headers);
    role_rows(o, &t);
    cli_table_row(&t);
    cli_table_print(&t, out);
    cli_table_fini(&t);
    pr_buf_char(out, '\n');
    cli_table_init(&t, shards, headers);
    shard_rows(o, &t);
    cli_table_print(&t, out);
    cli_table_fini(&t);
    const json_t *q = json_object_get(o, "queue");
    struct pr_buf size = {0};
    cli_format_size(api_num(q, "bytes"), &size);
    pr_buf_printf(out, "\nqueue: %llu messages, %s: %llu ready, %llu scheduled, %llu in flight, %llu held\n",
                  (unsigned long long)api_num(q, "messages"), pr_buf_cstr(&size), (unsigned long long)api_num(q, "ready"),
                  (unsigned long long)api_num(q, "scheduled"), (unsigned long long)api_num(q, "inflight"),
                  (unsigned long long)api_num(q, "held"));
    pr_buf_fini(&size);
}

int cmd_status(struct cli *c)
{
    struct api a;
    json_t *o = NULL;
    struct pr_buf out = {0};
    int code = api_init(&a, c);
    if (code == CLI_OK)
        code = api_call(&a, "GET", "/api/v1/status", NULL, &o);
    if (code == CLI_OK) {
        if (c->output == CLI_TABLE)
            print_status(o, !cli_has(c, CLI_NO_HEADERS), &out);
        else
            api_dump(o, c->output == CLI_JSONL, &out);
        code = cli_print(&out);
        if (code == CLI_OK && !api_bool(o, "ready"))
            code = cli_fail(CLI_UNAVAILABLE, "not ready");
    }
    json_decref(o);
    api_fini(&a);
    pr_buf_fini(&out);
    return code;
}
