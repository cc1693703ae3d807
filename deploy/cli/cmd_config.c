/* cmd_config.c - config check, show, schema, reference. */
#include <stdio.h>

#include "common/base/alloc.h"
#include "common/conf/load.h"
#include "deploy/cli/commands.h"

/* The file may be named as an argument too: `config check f.yaml`. */
static const char *file_of(const struct cli *c, struct pr_buf *scratch)
{
    return c->n_args > 0 ? c->args[0] : cli_config_path(c, true, scratch);
}

static void message_json(const struct pr_conf_message *m, struct pr_buf *out)
{
    pr_buf_str(out, "{\"severity\": ");
    pr_buf_str(out, m->severity == PR_CONF_ERROR ? "\"error\"" : "\"warning\"");
    pr_buf_str(out, ", \"file\": ");
    if (m->file == NULL)
        pr_buf_str(out, "null");
    else
        pr_buf_json(out, pr_slice_str(m->file));
    pr_buf_printf(out, ", \"line\": %u, \"column\": %u, \"message\": ", m->line, m->col);
    pr_buf_json(out, pr_slice_str(m->message));
    pr_buf_str(out, ", \"hint\": ");
    if (m->hint == NULL)
        pr_buf_str(out, "null");
    else
        pr_buf_json(out, pr_slice_str(m->hint));
    pr_buf_char(out, '}');
}

static void messages_json(const struct pr_conf_errors *e, bool lines, struct pr_buf *out)
{
    if (!lines)
        pr_buf_printf(out, "{\"errors\": %zu, \"warnings\": %zu, \"messages\": [", e->n_errors, e->n_warnings);
    for (size_t i = 0; i < e->n; i++) {
        if (!lines)
            pr_buf_str(out, i == 0 ? "\n" : ",\n");
        message_json(&e->items[i], out);
        if (lines)
            pr_buf_char(out, '\n');
    }
    if (!lines)
        pr_buf_str(out, "]}\n");
}

int cmd_config_check(struct cli *c)
{
    struct pr_buf path = {0}, out = {0};
    struct pr_config *config = NULL;
    struct pr_conf_errors *e = NULL;
    const char *file = file_of(c, &path);
    int rc = pr_config_load(file, &config, &e);
    bool bad = rc != PR_OK || (cli_has(c, CLI_STRICT) && e->n_warnings > 0);
    if (c->output == CLI_JSON || c->output == CLI_JSONL) {
        messages_json(e, c->output == CLI_JSONL, &out);
    } else {
        pr_conf_errors_render(e, &out);
        pr_buf_printf(&out, "%s: ", file == NULL ? "(defaults)" : file);
        if (e->n_errors + e->n_warnings == 0)
            pr_buf_str(&out, "no errors, no warnings\n");
        else
            pr_buf_printf(&out, "%zu error%s, %zu warning%s\n", e->n_errors, e->n_errors == 1 ? "" : "s", e->n_warnings,
                          e->n_warnings == 1 ? "" : "s");
    }
    int code = cli_print(&out);
    pr_conf_errors_free(e);
    pr_config_unref(config);
    pr_buf_fini(&path);
    pr_buf_fini(&out);
    return bad ? CLI_FAILED : code;
}

int cmd_config_show(struct cli *c)
{
    struct pr_buf path = {0}, out = {0};
    struct pr_config *config = NULL;
    struct pr_conf_errors *e = NULL;
    int code = CLI_FAILED;
    if (pr_config_load(file_of(c, &path), &config, &e) == PR_OK) {
        unsigned flags = cli_has(c, CLI_NON_DEFAULT) ? PR_CONF_SHOW_NON_DEFAULT : 0;
        if (c->output == CLI_JSON || c->output == CLI_JSONL)
            flags |= PR_CONF_SHOW_JSON;
        pr_config_show(config, flags, &out);
        code = cli_print(&out);
    } else {
        pr_conf_errors_render(e, &out);
        (void)fputs(pr_buf_cstr(&out), stderr);
    }
    pr_conf_errors_free(e);
    pr_config_unref(config);
    pr_buf_fini(&path);
    pr_buf_fini(&out);
    return code;
}

static int print_made(void (*make)(struct pr_buf *out))
{
    struct pr_buf out = {0};
    make(&out);
    int code = cli_print(&out);
    pr_buf_fini(&out);
    return code;
}

int cmd_config_schema(struct cli *c)
{
    (void)c;
    return print_made(pr_conf_json_schema);
}

int cmd_config_reference(struct cli *c)
{
    (void)c;
    return print_made(pr_conf_reference);
}
