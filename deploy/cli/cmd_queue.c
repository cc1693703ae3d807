/* cmd_queue.c - queue list, shape, flush; dest list. */
#include <stdio.h>
#include <string.h>

#include "common/base/alloc.h"
#include "deploy/cli/api.h"
#include "deploy/cli/commands.h"
#include "deploy/cli/duration.h"
#include "deploy/cli/select.h"
#include "deploy/cli/table.h"

enum { PAGE = 500, SHAPE_TOP = 20 };

static void age_cell(struct cli_table *t, uint64_t since_wall_ms)
{
    struct pr_buf age = {0};
    uint64_t now = cli_wall_ms();
    cli_format_duration(now > since_wall_ms ? now - since_wall_ms : 0, &age);
    cli_table_cell(t, "%s", pr_buf_cstr(&age));
    pr_buf_fini(&age);
}

/* "in 4m10s", "now", "" */
static void due_cell(struct cli_table *t, const json_t *m)
{
    struct pr_buf due = {0};
    uint64_t at = api_num(m, "due_ms"), now = cli_wall_ms();
    if (strcmp(api_str(m, "state"), "scheduled") == 0 && at > now) {
        pr_buf_str(&due, "in ");
        cli_format_duration(at - now, &due);
    }
    cli_table_cell(t, "%s", pr_buf_cstr(&due));
    pr_buf_fini(&due);
}

static void message_row(const json_t *m, struct cli_table *t)
{
    const json_t *recipients = json_object_get(m, "recipients"), *r = json_array_get(recipients, 0);
    size_t n = json_array_size(recipients);
    struct pr_buf size = {0};
    cli_format_size(api_num(m, "size"), &size);
    cli_table_row(t);
    cli_table_cell(t, "%s", api_str(m, "id"));
    cli_table_cell(t, "%s", api_str(m, "state"));
    age_cell(t, api_num(m, "arrival_ms"));
    cli_table_cell(t, "%s", pr_buf_cstr(&size));
    cli_table_cell(t, "%llu", (unsigned long long)api_num(m, "attempts"));
    due_cell(t, m);
    cli_table_cell(t, "<%s>", api_str(m, "sender"));
    if (n > 1)
        cli_table_cell(t, "%s (+%zu)", api_str(r, "address"), n - 1);
    else
        cli_table_cell(t, "%s", api_str(r, "address"));
    cli_table_cell(t, "%s", api_str(r, "diagnostic"));
    pr_buf_fini(&size);
}

/* One page; next is the cursor in and out. */
static int fetch_page(const struct api *a, const char *query, uint64_t want, struct pr_buf *next, json_t **ret)
{
    struct pr_buf path = {0};
    pr_buf_printf(&path, "/api/v1/messages?limit=%llu%s", (unsigned long long)want, query);
    if (next->len > 0) {
        pr_buf_str(&path, "&cursor=");
        http_escape(pr_buf_slice(next), &path);
    }
    int code = api_call(a, "GET", pr_buf_cstr(&path), NULL, ret);
    pr_buf_fini(&path);
    pr_buf_clear(next);
    if (code == CLI_OK)
        pr_buf_str(next, api_str(*ret, "next"));
    return code;
}

static void emit_page(const struct cli *c, const json_t *messages, struct cli_table *t, json_t *all, struct pr_buf *out)
{
    size_t i;
    json_t *m;
    json_array_foreach(messages, i, m) {
        if (c->output == CLI_TABLE)
            message_row(m, t);
        else if (c->output == CLI_JSON)
            (void)json_array_append(all, m);
        else if (c->output == CLI_JSONL)
            api_dump(m, true, out);
        else
            pr_buf_printf(out, "%s\n", api_str(m, "id"));
    }
}

/* Pages up to the limit. Lines for programs are written page by page: a queue may hold millions. */
static int list_messages(const struct cli *c, const struct api *a, const char *query)
{
    static const char *const headers[] = {"ID",   "STATE",  ">AGE",      ">SIZE",      ">TRIES",
                                          "NEXT", "SENDER", "RECIPIENT", "LAST REPLY", NULL};
    struct cli_table t;
    struct pr_buf next = {0}, out = {0};
    json_t *all = json_array();
    uint64_t shown = 0, total = 0;
    int code = CLI_OK;
    cli_table_init(&t, headers, !cli_has(c, CLI_NO_HEADERS));
    do {
        json_t *page = NULL;
        uint64_t want = c->limit == 0 ? PAGE : PR_MIN(c->limit - shown, (uint64_t)PAGE);
        code = fetch_page(a, query, want, &next, &page);
        const json_t *messages = json_object_get(page, "messages");
        emit_page(c, messages, &t, all, &out);
        shown += json_array_size(messages);
        total = api_num(page, "total");
        json_decref(page);
        if (code == CLI_OK && c->output != CLI_TABLE)
            code = cli_print(&out);
    } while (code == CLI_OK && next.len > 0 && (c->limit == 0 || shown < c->limit));
    if (code == CLI_OK && c->output == CLI_JSON) {
        json_t *o = json_pack("{s:O, s:I}", "messages", all, "total", (json_int_t)total);
        api_dump(o, false, &out);
        json_decref(o);
    } else if (code == CLI_OK && c->output == CLI_TABLE && shown > 0) {
        cli_table_print(&t, &out);
    }
    if (code == CLI_OK)
        code = cli_print(&out);
    if (code == CLI_OK && shown == 0)
        (void)fprintf(stderr, "no messages\n");
    else if (code == CLI_OK && next.len > 0 && query[0] != '\0')
        (void)fprintf(stderr, "%llu messages shown, there are more (--limit)\n", (unsigned long long)shown);
    else if (code == CLI_OK && total > shown && query[0] == '\0')
        (void)fprintf(stderr, "%llu of %llu messages shown, %llu more (--limit)\n", (unsigned long long)shown,
                      (unsigned long long)total, (unsigned long long)(total - shown));
    cli_table_fini(&t);
    json_decref(all);
    pr_buf_fini(&next);
    pr_buf_fini(&out);
    return code;
}

int cmd_queue_list(struct cli *c)
{
    struct api a = {0};
    struct pr_buf query = {0};
    int code = select_query(c, &query);
    if (code == CLI_OK)
        code = api_init(&a, c);
    if (code == CLI_OK)
        code = list_messages(c, &a, pr_buf_cstr(&query));
    api_fini(&a);
    pr_buf_fini(&query);
    return code;
}

/* Column heads come with the answer: the upper bound of each age. */
static void shape_heads(const json_t *ages, char heads[CLI_COLUMNS_MAX][24], const char *headers[CLI_COLUMNS_MAX + 1])
{
    size_t n = PR_MIN(json_array_size(ages), (size_t)CLI_COLUMNS_MAX - 2);
    uint64_t last = 0;
    headers[0] = "DESTINATION";
    headers[1] = ">TOTAL";
    for (size_t i = 0; i < n; i++) {
        const json_t *b = json_array_get(ages, i);
        uint64_t le = api_num(b, "le_min");
        if (le == 0)
            (void)snprintf(heads[i], sizeof heads[i], ">%llu+", (unsigned long long)last);
        else
            (void)snprintf(heads[i], sizeof heads[i], ">%llu", (unsigned long long)le);
        last = le;
        headers[i + 2] = heads[i];
    }
    headers[n + 2] = NULL;
}

static void shape_row(const json_t *d, struct cli_table *t)
{
    size_t i;
    json_t *bucket;
    cli_table_row(t);
    cli_table_cell(t, "%s", api_str(d, "destination"));
    cli_table_cell(t, "%llu", (unsigned long long)api_num(d, "total"));
    json_array_foreach(json_object_get(d, "ages"), i, bucket)
        if (i + 2 < t->n_columns)
            cli_table_cell(t, "%llu", (unsigned long long)api_num(bucket, "count"));
}

static void print_shape(const json_t *o, bool with_headers, struct pr_buf *out)
{
    const json_t *list = json_object_get(o, "destinations"), *all = json_object_get(o, "all");
    char heads[CLI_COLUMNS_MAX][24];
    const char *headers[CLI_COLUMNS_MAX + 1];
    struct cli_table t;
    size_t i;
    json_t *d;
    shape_heads(json_object_get(json_array_get(list, 0), "ages"), heads, headers);
    cli_table_init(&t, headers, with_headers);
    if (all != NULL)
        shape_row(all, &t);
    json_array_foreach(list, i, d)
        shape_row(d, &t);
    cli_table_row(&t);
    pr_buf_str(out, with_headers ? "messages by age in minutes\n" : "");
    cli_table_print(&t, out);
    cli_table_fini(&t);
}

/* A list of destinations, for programs; all: the answer that it is in. */
static void dump_list(const struct cli *c, const json_t *all, const json_t *list, struct pr_buf *out)
{
    size_t i;
    json_t *item;
    if (c->output == CLI_JSON) {
        api_dump(all, false, out);
        return;
    }
    json_array_foreach(list, i, item) {
        if (c->output == CLI_JSONL)
            api_dump(item, true, out);
        else
            pr_buf_printf(out, "%s\n", api_str(item, "destination"));
    }
}

int cmd_queue_shape(struct cli *c)
{
    struct api a = {0};
    struct pr_buf path = {0}, out = {0};
    json_t *o = NULL;
    uint64_t top = SHAPE_TOP;
    if (cli_has(c, CLI_TOP) && pr_parse_u64(pr_slice_str(c->values[CLI_TOP]), 100000, &top) != PR_OK)
        return cli_fail(CLI_USAGE, "--top is a number, not \"%s\"", c->values[CLI_TOP]);
    pr_buf_printf(&path, "/api/v1/shape?top=%llu", (unsigned long long)top);
    int code = api_init(&a, c);
    if (code == CLI_OK)
        code = api_call(&a, "GET", pr_buf_cstr(&path), NULL, &o);
    if (code == CLI_OK) {
        const json_t *list = json_object_get(o, "destinations");
        if (c->output != CLI_TABLE)
            dump_list(c, o, list, &out);
        else if (json_array_size(list) == 0)
            (void)fprintf(stderr, "no messages\n");
        else
            print_shape(o, !cli_has(c, CLI_NO_HEADERS), &out);
        code = cli_print(&out);
    }
    json_decref(o);
    api_fini(&a);
    pr_buf_fini(&path);
    pr_buf_fini(&out);
    return code;
}

int cmd_queue_flush(struct cli *c)
{
    struct api a = {0};
    json_t *o = NULL, *body = json_object();
    (void)json_object_set_new(body, "destination", c->n_args > 0 ? json_string(c->args[0]) : json_null());
    int code = api_init(&a, c);
    if (code == CLI_OK)
        code = api_call(&a, "POST", "/api/v1/flush", body, &o);
    if (code == CLI_OK) {
        struct pr_buf out = {0};
        uint64_t n = api_num(o, "destinations");
        if (c->output == CLI_TABLE)
            pr_buf_printf(&out, "%llu destination%s flushed\n", (unsigned long long)n, n == 1 ? "" : "s");
        else
            api_dump(o, c->output == CLI_JSONL, &out);
        code = cli_print(&out);
        if (code == CLI_OK && n == 0 && c->n_args > 0)
            code = cli_fail(CLI_NOTHING, "nothing waits for %s", c->args[0]);
        pr_buf_fini(&out);
    }
    json_decref(o);
    json_decref(body);
    api_fini(&a);
    return code;
}

static void dest_row(const json_t *d, struct cli_table *t)
{
    struct pr_buf state = {0};
    uint64_t until = api_num(d, "suspended_until_ms"), now = cli_wall_ms();
    pr_buf_str(&state, api_str(d, "state"));
    if (until > now) {
        pr_buf_str(&state, " for ");
        cli_format_duration(until - now, &state);
    }
    cli_table_row(t);
    cli_table_cell(t, "%s", api_str(d, "destination"));
    cli_table_cell(t, "%llu", (unsigned long long)api_num(d, "ready"));
    cli_table_cell(t, "%llu", (unsigned long long)api_num(d, "scheduled"));
    cli_table_cell(t, "%llu", (unsigned long long)api_num(d, "inflight"));
    cli_table_cell(t, "%llu/%llu", (unsigned long long)api_num(d, "connections"), (unsigned long long)api_num(d, "limit"));
    cli_table_cell(t, "%s", pr_buf_cstr(&state));
    cli_table_cell(t, "%s", api_str(d, "last_error"));
    pr_buf_fini(&state);
}

int cmd_dest_list(struct cli *c)
{
    static const char *const headers[] = {"DESTINATION", ">READY", ">SCHEDULED", ">INFLIGHT",
                                          ">CONNS",      "STATE",  "LAST ERROR", NULL};
    struct api a = {0};
    json_t *o = NULL;
    struct pr_buf out = {0};
    int code = api_init(&a, c);
    if (code == CLI_OK)
        code = api_call(&a, "GET", "/api/v1/destinations", NULL, &o);
    if (code == CLI_OK && c->output != CLI_TABLE) {
        dump_list(c, o, o, &out);
        code = cli_print(&out);
    } else if (code == CLI_OK) {
        size_t n = json_array_size(o), shown = c->limit == 0 ? n : PR_MIN(n, (size_t)c->limit);
        struct cli_table t;
        cli_table_init(&t, headers, !cli_has(c, CLI_NO_HEADERS));
        for (size_t i = 0; i < shown; i++)
            dest_row(json_array_get(o, i), &t);
        cli_table_print(&t, &out);
        cli_table_fini(&t);
        code = cli_print(&out);
        if (n > shown)
            (void)fprintf(stderr, "%zu of %zu destinations shown (--limit)\n", shown, n);
    }
    json_decref(o);
    api_fini(&a);
    pr_buf_fini(&out);
    return code;
}
