/* show.c - the effective configuration as YAML or JSON. */
#include "common/base/alloc.h"
#include "common/conf/impl.h"
#include "common/conf/load.h"
#include "common/conf/schema.h"
#include "common/conf/value.h"

struct show {
    const struct pr_map *origins;
    bool non_default, json;
};

static const void *field_of(const void *base, size_t offset) { return (const char *)base + offset; }

static void indent(struct pr_buf *out, unsigned depth)
{
    for (unsigned i = 0; i < depth; i++)
        pr_buf_str(out, "  ");
}

/* Text that every YAML reader takes for the same text without quotes. */
static bool plain_is_safe(struct pr_slice s)
{
    static const char *const words[] = {"yes", "no", "on", "off", "true", "false", "null", "y", "n"};
    if (s.len == 0 || !(pr_is_alpha(s.ptr[0]) || s.ptr[0] == '/'))
        return false;
    for (size_t i = 0; i < s.len; i++)
        if (!pr_is_alnum(s.ptr[i]) && strchr("._/-:%@+", s.ptr[i]) == NULL)
            return false;
    for (size_t i = 0; i < PR_ARRAY_LEN(words); i++)
        if (pr_slice_ieq_str(s, words[i]))
            return false;
    return s.ptr[s.len - 1] != ':';
}

/* A JSON string is a YAML string too; ${ would be taken for a substitution. */
static void quoted(struct pr_slice s, bool escape_dollar, struct pr_buf *out)
{
    struct pr_buf b = {0};
    for (size_t i = 0; i < s.len; i++) {
        if (escape_dollar && s.ptr[i] == '$' && i + 1 < s.len && s.ptr[i + 1] == '{')
            pr_buf_char(&b, '$');
        pr_buf_char(&b, s.ptr[i]);
    }
    pr_buf_json(out, pr_buf_slice(&b));
    pr_buf_fini(&b);
}

/* Types whose text is never taken for anything else by a YAML reader, though it begins with a digit. */
static bool is_bare(enum conf_type type)
{
    return type == CONF_BOOL || type == CONF_UINT || type == CONF_DURATION || type == CONF_SIZE ||
           type == CONF_BYTE_RATE || type == CONF_RATE || type == CONF_PERCENT;
}

static void show_text(const struct show *s, const struct conf_item *item, struct pr_slice text, struct pr_buf *out)
{
    bool number = item->type == CONF_BOOL || item->type == CONF_UINT;
    if (s->json && number)
        pr_buf_add(out, text);
    else if (s->json)
        quoted(text, false, out);
    else if (is_bare(item->type) || plain_is_safe(text))
        pr_buf_add(out, text);
    else
        quoted(text, true, out);
}

/* False when there is no value. */
static bool show_scalar(const struct show *s, const struct conf_item *item, const void *field, struct pr_buf *out)
{
    struct pr_buf text = {0};
    bool any = conf_value_text(item, field, &text);
    if (any)
        show_text(s, item, pr_buf_slice(&text), out);
    pr_buf_fini(&text);
    return any;
}

void conf_list_text(const struct conf_item *item, const void *base, struct pr_buf *out)
{
    const char *array = *(char *const *)field_of(base, item->offset);
    size_t n = *(const size_t *)field_of(base, item->offset_n);
    for (size_t i = 0; i < n; i++) {
        if (i > 0)
            pr_buf_str(out, ", ");
        (void)conf_value_text(item, array + i * item->size, out);
    }
}

static bool is_default(const struct conf_item *item, const void *base)
{
    struct pr_buf text = {0};
    if (item->flags & CONF_F_LIST)
        conf_list_text(item, base, &text);
    else if (!conf_value_text(item, field_of(base, item->offset), &text))
        return true;
    bool same = item->def != NULL && pr_slice_eq_str(pr_buf_slice(&text), item->def);
    pr_buf_fini(&text);
    return same;
}

/* Values of a list in one line: they are short. */
static void show_list(const struct show *s, const struct conf_item *item, const void *base, struct pr_buf *out)
{
    const char *array = *(char *const *)field_of(base, item->offset);
    size_t n = *(const size_t *)field_of(base, item->offset_n);
    pr_buf_char(out, '[');
    for (size_t i = 0; i < n; i++) {
        if (i > 0)
            pr_buf_str(out, ", ");
        struct pr_buf text = {0};
        (void)conf_value_text(item, array + i * item->size, &text);
        /* Inside [ ] more characters have a meaning. */
        if (!s->json && !is_bare(item->type))
            quoted(pr_buf_slice(&text), true, out);
        else
            show_text(s, item, pr_buf_slice(&text), out);
        pr_buf_fini(&text);
    }
    pr_buf_char(out, ']');
}

static void show_group(const struct show *s, const struct conf_item *parent, const void *base, const void *element,
                       unsigned depth, struct pr_buf *out);

static void show_entries(const struct show *s, const struct conf_item *item, const void *base, unsigned depth,
                         struct pr_buf *out)
{
    const char *array = *(char *const *)field_of(base, item->offset);
    size_t n = *(const size_t *)field_of(base, item->offset_n);
    if (n == 0 || s->json)
        pr_buf_char(out, '[');
    for (size_t i = 0; i < n; i++) {
        const void *element = array + i * item->size;
        struct pr_buf entry = {0};
        show_group(s, item, element, element, depth + 2, &entry);
        if (s->json) {
            pr_buf_str(out, i == 0 ? "\n" : ",\n");
            indent(out, depth + 1);
            pr_buf_str(out, "{\n");
            pr_buf_add(out, pr_buf_slice(&entry));
            pr_buf_char(out, '\n');
            indent(out, depth + 1);
            pr_buf_char(out, '}');
        } else {
            pr_buf_char(out, '\n');
            indent(out, depth + 1);
            pr_buf_str(out, "- ");
            pr_buf_add(out, pr_slice_from(pr_buf_slice(&entry), 2 * (size_t)(depth + 2)));
        }
        pr_buf_fini(&entry);
    }
    if (n > 0 && s->json) {
        pr_buf_char(out, '\n');
        indent(out, depth);
    }
    if (n == 0 || s->json)
        pr_buf_char(out, ']');
}

/* The value behind the key; empty when there is nothing to show. */
static void show_value(const struct show *s, const struct conf_item *item, const void *base, const void *element,
                       unsigned depth, struct pr_buf *out)
{
    if (item->type == CONF_SECTION) {
        struct pr_buf inner = {0};
        show_group(s, item, base, element, depth + 1, &inner);
        if (inner.len > 0) {
            pr_buf_str(out, s->json ? "{\n" : "\n");
            pr_buf_add(out, pr_buf_slice(&inner));
        }
        if (inner.len > 0 && s->json) {
            pr_buf_char(out, '\n');
            indent(out, depth);
            pr_buf_char(out, '}');
        }
        pr_buf_fini(&inner);
        return;
    }
    if (s->non_default && !(item->flags & CONF_F_KEY) &&
        (conf_origin_find(s->origins, item, element) == NULL || (item->type != CONF_ENTRIES && is_default(item, base))))
        return;
    if (item->type == CONF_ENTRIES)
        show_entries(s, item, base, depth, out);
    else if (item->flags & CONF_F_LIST)
        show_list(s, item, base, out);
    else
        (void)show_scalar(s, item, field_of(base, item->offset), out);
}

/* Lines of the group without a final line break. */
static void show_group(const struct show *s, const struct conf_item *parent, const void *base, const void *element,
                       unsigned depth, struct pr_buf *out)
{
    bool first = true;
    for (size_t i = 0; i < conf_schema.n; i++) {
        const struct conf_item *item = &conf_schema.items[i];
        if (!conf_item_is_child(item, parent))
            continue;
        struct pr_buf value = {0};
        show_value(s, item, base, element, depth, &value);
        if (value.len > 0) {
            pr_buf_str(out, first ? "" : s->json ? ",\n" : "\n");
            indent(out, depth);
            pr_buf_printf(out, s->json ? "\"%s\":" : "%s:", conf_item_key(item));
            if (value.ptr[0] != '\n')
                pr_buf_char(out, ' ');
            pr_buf_add(out, pr_buf_slice(&value));
            first = false;
        }
        pr_buf_fini(&value);
    }
}

void pr_config_show(const struct pr_config *c, unsigned flags, struct pr_buf *out)
{
    struct show s = {&conf_impl(c)->origins, (flags & PR_CONF_SHOW_NON_DEFAULT) != 0, (flags & PR_CONF_SHOW_JSON) != 0};
    struct pr_buf all = {0};
    show_group(&s, NULL, c, NULL, s.json ? 1 : 0, &all);
    if (s.json)
        pr_buf_str(out, all.len > 0 ? "{\n" : "{");
    pr_buf_add(out, pr_buf_slice(&all));
    if (s.json)
        pr_buf_str(out, all.len > 0 ? "\n}\n" : "}\n");
    else if (all.len > 0)
        pr_buf_char(out, '\n');
    pr_buf_fini(&all);
}
