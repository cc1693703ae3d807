/* diff.c - what a reload changes. Both configurations become flat lists of (path, text); entries of a list of maps are
 * told apart by the text that names them, so that reordering is no change. */
#include "common/base/alloc.h"
#include "common/base/map.h"
#include "common/conf/impl.h"
#include "common/conf/load.h"
#include "common/conf/schema.h"
#include "common/conf/value.h"

struct leaf {
    char *path, *text;
    const struct conf_item *item;
    bool matched;
};

struct leaves {
    struct leaf *items;
    size_t n, cap;
};

static const void *field_of(const void *base, size_t offset) { return (const char *)base + offset; }

static void leaves_fini(struct leaves *l)
{
    for (size_t i = 0; i < l->n; i++) {
        pr_free(l->items[i].path);
        pr_free(l->items[i].text);
    }
    pr_free(l->items);
}

static void add_leaf(struct leaves *l, const struct conf_item *item, const char *path, const char *text)
{
    if (l->n == l->cap) {
        l->cap = l->cap == 0 ? 128 : l->cap * 2;
        l->items = pr_realloc(l->items, l->cap * sizeof *l->items);
    }
    l->items[l->n++] = (struct leaf){pr_strdup(path), pr_strdup(text), item, false};
}

static void flatten_value(struct leaves *l, const struct conf_item *item, const char *path, const void *base)
{
    struct pr_buf text = {0};
    bool any = true;
    if (item->flags & CONF_F_LIST) {
        pr_buf_char(&text, '[');
        conf_list_text(item, base, &text);
        pr_buf_char(&text, ']');
    } else if (item->type == CONF_SECRET) {
        /* Compared as it is, shown redacted. */
        const char *secret = *(char *const *)field_of(base, item->offset);
        any = secret != NULL;
        pr_buf_str(&text, any ? secret : "");
    } else {
        any = conf_value_text(item, field_of(base, item->offset), &text);
    }
    if (any)
        add_leaf(l, item, path, pr_buf_cstr(&text));
    pr_buf_fini(&text);
}

static void flatten(struct leaves *l, const struct conf_item *parent, const char *prefix, const void *base);

static void flatten_entries(struct leaves *l, const struct conf_item *item, const void *base)
{
    const char *array = *(char *const *)field_of(base, item->offset);
    size_t n = *(const size_t *)field_of(base, item->offset_n);
    for (size_t i = 0; i < n; i++) {
        const void *element = array + i * item->size;
        struct pr_buf prefix = {0};
        pr_buf_printf(&prefix, "%s[", item->path);
        for (size_t j = 0; j < conf_schema.n; j++) {
            const struct conf_item *key = &conf_schema.items[j];
            if ((key->flags & CONF_F_KEY) && conf_item_is_child(key, item))
                (void)conf_value_text(key, field_of(element, key->offset), &prefix);
        }
        pr_buf_str(&prefix, "].");
        flatten(l, item, pr_buf_cstr(&prefix), element);
        pr_buf_fini(&prefix);
    }
}

static void flatten(struct leaves *l, const struct conf_item *parent, const char *prefix, const void *base)
{
    for (size_t i = 0; i < conf_schema.n; i++) {
        const struct conf_item *item = &conf_schema.items[i];
        /* The text that names an entry is in the path already. */
        if (!conf_item_is_child(item, parent) || (item->flags & CONF_F_KEY))
            continue;
        struct pr_buf path = {0};
        pr_buf_printf(&path, "%s%s", prefix, conf_item_key(item));
        if (item->type == CONF_SECTION) {
            pr_buf_char(&path, '.');
            flatten(l, item, pr_buf_cstr(&path), base);
        } else if (item->type == CONF_ENTRIES) {
            flatten_entries(l, item, base);
        } else {
            flatten_value(l, item, pr_buf_cstr(&path), base);
        }
        pr_buf_fini(&path);
    }
}

static char *shown(const struct leaf *l)
{
    if (l == NULL)
        return NULL;
    return pr_strdup(l->item->type == CONF_SECRET ? "(redacted)" : l->text);
}

static void add_change(struct pr_conf_diff *d, const struct leaf *old, const struct leaf *new)
{
    const struct leaf *any = old != NULL ? old : new;
    d->items[d->n++] = (struct pr_conf_change){pr_strdup(any->path), shown(old), shown(new), any->item->reload};
    if (any->item->reload == PR_CONF_RESTART)
        d->n_restart++;
}

struct pr_conf_diff *pr_config_diff(const struct pr_config *a, const struct pr_config *b)
{
    struct leaves old = {0}, new = {0};
    flatten(&old, NULL, "", a);
    flatten(&new, NULL, "", b);
    struct pr_conf_diff *d = pr_new(struct pr_conf_diff);
    d->items = pr_calloc(old.n + new.n + 1, sizeof *d->items);
    struct pr_map by_path;
    pr_map_init(&by_path, 0);
    for (size_t i = 0; i < new.n; i++)
        pr_map_put_str(&by_path, pr_slice_str(new.items[i].path), &new.items[i]);
    for (size_t i = 0; i < old.n; i++) {
        struct leaf *match = pr_map_get_str(&by_path, pr_slice_str(old.items[i].path));
        if (match == NULL || strcmp(match->text, old.items[i].text) != 0)
            add_change(d, &old.items[i], match);
        if (match != NULL)
            match->matched = true;
    }
    for (size_t i = 0; i < new.n; i++)
        if (!new.items[i].matched)
            add_change(d, NULL, &new.items[i]);
    pr_map_fini(&by_path);
    leaves_fini(&old);
    leaves_fini(&new);
    return d;
}

void pr_conf_diff_free(struct pr_conf_diff *d)
{
    if (d == NULL)
        return;
    for (size_t i = 0; i < d->n; i++) {
        pr_free(d->items[i].path);
        pr_free(d->items[i].old_value);
        pr_free(d->items[i].new_value);
    }
    pr_free(d->items);
    pr_free(d);
}
