/* json_schema.c - JSON Schema (draft 2020-12) of the file, for editors and pipelines.
 *
 * It is as strict as a pattern can be; `postrider config check` knows more. Every value may be a ${...} substitution. */
#include "common/base/alloc.h"
#include "common/conf/load.h"
#include "common/conf/schema.h"

static void json_str(struct pr_buf *out, const char *s) { pr_buf_json(out, pr_slice_str(s)); }

static void member(struct pr_buf *out, const char *name, const char *value)
{
    pr_buf_printf(out, "\"%s\": ", name);
    json_str(out, value);
    pr_buf_str(out, ", ");
}

/* Zero stands for "none" in durations, sizes and rates, where the range has it. */
static bool takes_zero(const struct conf_item *item)
{
    switch (item->type) {
    case CONF_DURATION:
    case CONF_SIZE:
    case CONF_BYTE_RATE:
    case CONF_RATE: return item->min == 0;
    case CONF_SECTION:
    case CONF_ENTRIES:
    case CONF_BOOL:
    case CONF_UINT:
    case CONF_PERCENT:
    case CONF_CIDR:
    case CONF_HOSTPORT:
    case CONF_SERVER:
    case CONF_ENDPOINT:
    case CONF_FQDN:
    case CONF_DOMAIN:
    case CONF_PATTERN:
    case CONF_DEST:
    case CONF_ROUTE:
    case CONF_STRING:
    case CONF_PATH:
    case CONF_REGEX:
    case CONF_SECRET:
    case CONF_ENUM:
    case CONF_CHOICE:
    case CONF_TYPE_NR: break;
    }
    return false;
}

/* The alternatives of one value, comma separated, for anyOf. */
static void scalar_forms(const struct conf_item *item, struct pr_buf *out)
{
    const struct conf_type_info *info = &conf_types[item->type];
    if (item->type == CONF_BOOL) {
        pr_buf_str(out, "{\"type\": \"boolean\"}, {\"enum\": [\"yes\", \"no\", \"on\", \"off\"]}");
    } else if (item->type == CONF_UINT) {
        pr_buf_printf(out, "{\"type\": \"integer\", \"minimum\": %llu", (unsigned long long)item->min);
        if (item->max != 0)
            pr_buf_printf(out, ", \"maximum\": %llu", (unsigned long long)item->max);
        pr_buf_char(out, '}');
    } else if (item->choices != NULL) {
        pr_buf_str(out, "{\"enum\": [");
        for (size_t i = 0; conf_choice_at(item->choices, i).len > 0; i++) {
            pr_buf_str(out, i == 0 ? "" : ", ");
            pr_buf_json(out, conf_choice_at(item->choices, i));
        }
        pr_buf_str(out, "]}");
    } else {
        pr_buf_str(out, "{\"type\": \"string\"");
        if (info->pattern != NULL) {
            pr_buf_str(out, ", \"pattern\": ");
            json_str(out, info->pattern);
        }
        if (item->type == CONF_STRING && item->max != 0)
            pr_buf_printf(out, ", \"maxLength\": %llu", (unsigned long long)item->max);
        pr_buf_char(out, '}');
    }
    if (takes_zero(item))
        pr_buf_str(out, ", {\"const\": 0}");
    pr_buf_str(out, ", {\"$ref\": \"#/$defs/substitution\"}");
}

/* The default as it would be written in JSON. */
static void scalar_default(const struct conf_item *item, struct pr_slice text, struct pr_buf *out)
{
    if (item->type == CONF_BOOL || item->type == CONF_UINT || (takes_zero(item) && pr_slice_eq_str(text, "0")))
        pr_buf_add(out, text);
    else
        pr_buf_json(out, text);
}

static void default_member(const struct conf_item *item, struct pr_buf *out)
{
    if (item->def == NULL)
        return;
    pr_buf_str(out, "\"default\": ");
    if (item->flags & CONF_F_LIST) {
        pr_buf_char(out, '[');
        struct pr_slice rest = pr_slice_str(item->def);
        for (bool first = true; rest.len > 0; first = false) {
            pr_buf_str(out, first ? "" : ", ");
            scalar_default(item, pr_slice_trim(pr_slice_cut(rest, ',', &rest)), out);
        }
        pr_buf_char(out, ']');
    } else {
        scalar_default(item, pr_slice_str(item->def), out);
    }
    pr_buf_str(out, ", ");
}

static void describe(const struct conf_item *item, struct pr_buf *out)
{
    struct pr_buf text = {0};
    pr_buf_str(&text, item->help);
    if (conf_types[item->type].example != NULL && item->choices == NULL && item->type != CONF_ENTRIES)
        pr_buf_printf(&text, " (%s)", conf_types[item->type].example);
    if (item->def_help != NULL)
        pr_buf_printf(&text, " Default: %s.", item->def_help);
    if (item->reload == PR_CONF_RESTART)
        pr_buf_str(&text, " Takes effect at the next start.");
    member(out, "description", pr_buf_cstr(&text));
    pr_buf_fini(&text);
}

static void group_body(const struct conf_item *parent, struct pr_buf *out);

static void item_schema(const struct conf_item *item, struct pr_buf *out)
{
    pr_buf_char(out, '{');
    describe(item, out);
    default_member(item, out);
    if (item->type == CONF_SECTION) {
        pr_buf_str(out, "\"type\": [\"object\", \"null\"], ");
        group_body(item, out);
    } else if (item->type == CONF_ENTRIES) {
        pr_buf_printf(out, "\"type\": \"array\", \"minItems\": %llu, \"maxItems\": %llu, \"items\": {\"type\": \"object\", ",
                      (unsigned long long)item->min, (unsigned long long)item->max);
        group_body(item, out);
        pr_buf_char(out, '}');
    } else if (item->flags & CONF_F_LIST) {
        pr_buf_str(out, "\"type\": \"array\", \"items\": {\"anyOf\": [");
        scalar_forms(item, out);
        pr_buf_str(out, "]}");
    } else {
        pr_buf_str(out, "\"anyOf\": [");
        scalar_forms(item, out);
        pr_buf_char(out, ']');
    }
    pr_buf_char(out, '}');
}

static void group_body(const struct conf_item *parent, struct pr_buf *out)
{
    pr_buf_str(out, "\"additionalProperties\": false, \"properties\": {");
    bool first = true;
    for (size_t i = 0; i < conf_schema.n; i++) {
        const struct conf_item *item = &conf_schema.items[i];
        if (!conf_item_is_child(item, parent))
            continue;
        pr_buf_str(out, first ? "\n" : ",\n");
        first = false;
        json_str(out, conf_item_key(item));
        pr_buf_str(out, ": ");
        item_schema(item, out);
    }
    pr_buf_str(out, "}, \"required\": [");
    first = true;
    for (size_t i = 0; i < conf_schema.n; i++) {
        const struct conf_item *item = &conf_schema.items[i];
        if (!conf_item_is_child(item, parent) || !(item->flags & (CONF_F_KEY | CONF_F_REQUIRED)))
            continue;
        pr_buf_str(out, first ? "" : ", ");
        first = false;
        json_str(out, conf_item_key(item));
    }
    pr_buf_char(out, ']');
}

void pr_conf_json_schema(struct pr_buf *out)
{
    pr_buf_str(out, "{\"$schema\": \"https://json-schema.org/draft/2020-12/schema\",\n"
                    "\"title\": \"Postrider configuration\",\n"
                    "\"$defs\": {\"substitution\": {\"type\": \"string\", \"pattern\": \"\\\\$\\\\{(env|file):[^}]+\\\\}\"}},\n"
                    "\"type\": [\"object\", \"null\"], ");
    group_body(NULL, out);
    pr_buf_str(out, "}\n");
}
