/* reference.c - the reference page of the configuration, from the schema table. */
#include "common/base/alloc.h"
#include "common/conf/load.h"
#include "common/conf/schema.h"
#include "common/conf/value.h"

static void range_text(const struct conf_item *item, uint64_t v, struct pr_buf *out)
{
    if (item->type == CONF_DURATION)
        conf_duration_text(v * item->scale, out);
    else if (item->type == CONF_SIZE || item->type == CONF_BYTE_RATE)
        conf_size_text(v, out);
    else
        pr_buf_u64(out, v);
}

static bool has_range(const struct conf_item *item)
{
    return item->max != 0 && (item->type == CONF_UINT || item->type == CONF_DURATION || item->type == CONF_SIZE ||
                              item->type == CONF_BYTE_RATE || item->type == CONF_PERCENT);
}

/* Text in a table cell: | would end it. */
static void cell(struct pr_buf *out, const char *text)
{
    for (; *text != '\0'; text++) {
        if (*text == '|')
            pr_buf_char(out, '\\');
        if (*text == '<')
            pr_buf_str(out, "&lt;");
        else
            pr_buf_char(out, *text);
    }
}

static void type_cell(const struct conf_item *item, struct pr_buf *out)
{
    if (item->flags & CONF_F_LIST)
        pr_buf_str(out, "list of ");
    if (item->choices != NULL) {
        for (size_t i = 0; conf_choice_at(item->choices, i).len > 0; i++)
            pr_buf_printf(out, "%s`%.*s`", i == 0 ? "" : ", ", PR_SLICE_ARG(conf_choice_at(item->choices, i)));
    } else {
        pr_buf_str(out, conf_types[item->type].name);
    }
    if (has_range(item)) {
        pr_buf_str(out, ", ");
        range_text(item, item->min, out);
        pr_buf_str(out, " to ");
        range_text(item, item->max, out);
    }
}

static void default_cell(const struct conf_item *item, struct pr_buf *out)
{
    if (item->def_help != NULL) {
        cell(out, item->def_help);
    } else if (item->flags & (CONF_F_KEY | CONF_F_REQUIRED)) {
        pr_buf_str(out, "required");
    } else if (item->def == NULL || item->def[0] == '\0') {
        pr_buf_str(out, "none");
    } else {
        pr_buf_char(out, '`');
        cell(out, item->def);
        pr_buf_char(out, '`');
    }
}

static void group(const struct conf_item *parent, struct pr_buf *out)
{
    bool head = false;
    for (size_t i = 0; i < conf_schema.n; i++) {
        const struct conf_item *item = &conf_schema.items[i];
        if (!conf_item_is_child(item, parent) || item->type == CONF_SECTION || item->type == CONF_ENTRIES)
            continue;
        if (!head)
            pr_buf_str(out, "\n| key | type | default | meaning |\n|---|---|---|---|\n");
        head = true;
        pr_buf_printf(out, "| `%s` | ", conf_item_key(item));
        type_cell(item, out);
        pr_buf_str(out, " | ");
        default_cell(item, out);
        pr_buf_str(out, " | ");
        cell(out, item->help);
        pr_buf_str(out, item->reload == PR_CONF_RESTART ? " *Restart.* |\n" : " |\n");
    }
    for (size_t i = 0; i < conf_schema.n; i++) {
        const struct conf_item *item = &conf_schema.items[i];
        if (!conf_item_is_child(item, parent) || (item->type != CONF_SECTION && item->type != CONF_ENTRIES))
            continue;
        pr_buf_printf(out, "\n## %s\n\n", item->path);
        cell(out, item->help);
        pr_buf_char(out, '\n');
        group(item, out);
    }
}

void pr_conf_reference(struct pr_buf *out)
{
    pr_buf_str(out, "# Configuration reference\n\n"
                    "One YAML file, read by all daemons. Made by `postrider config reference`; do not edit.\n"
                    "Changes take effect on reload (SIGHUP), those marked *Restart* at the next start.\n\n"
                    "| value | write |\n|---|---|\n");
    for (unsigned t = 0; t < CONF_TYPE_NR; t++) {
        if (conf_types[t].example == NULL || t == CONF_CHOICE || t == CONF_ENTRIES)
            continue;
        pr_buf_printf(out, "| %s | ", conf_types[t].name);
        cell(out, conf_types[t].example);
        pr_buf_str(out, " |\n");
    }
    pr_buf_str(out, "\nEvery value may contain `${env:NAME}`, `${env:NAME:-default}` and `${file:PATH}`; `$${` is a literal "
                    "`${`.\n");
    group(NULL, out);
}
