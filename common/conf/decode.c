#include "common/conf/decode.h"

#include "common/base/assert.h"
#include "common/base/suggest.h"
#include "common/conf/value.h"

static void *field_of(void *base, size_t offset) { return (char *)base + offset; }

struct origin_key {
    const void *item, *element;
};

static struct pr_slice key_slice(const struct origin_key *k) { return pr_slice(k, sizeof *k); }

static void add_origin(struct conf_decoder *d, const struct conf_item *item, const void *element, struct conf_mark mark,
                       const struct conf_mark *member_marks)
{
    struct conf_origin *o = pr_arena_zalloc(d->arena, sizeof *o);
    *o = (struct conf_origin){mark, member_marks};
    (void)pr_map_put_str(d->origins, key_slice(&(struct origin_key){item, element}), o);
}

const struct conf_origin *conf_origin_find(const struct pr_map *origins, const struct conf_item *item,
                                           const void *element)
{
    return pr_map_get_str(origins, key_slice(&(struct origin_key){item, element}));
}

static const char *kind_name(enum conf_node_kind kind)
{
    switch (kind) {
    case CONF_NODE_SCALAR: return "a single value";
    case CONF_NODE_LIST: return "a list";
    case CONF_NODE_MAP: return "a group of keys";
    }
    pr_unreachable();
}

/* A key without a value, or ~ or null. */
static bool is_null(const struct conf_node *n)
{
    return n->kind == CONF_NODE_SCALAR && n->plain && !n->substituted &&
           (n->text.len == 0 || pr_slice_eq_str(n->text, "~") || pr_slice_ieq_str(n->text, "null"));
}

static void parse_default(struct conf_decoder *d, const struct conf_item *item, struct pr_slice text, void *field)
{
    struct conf_fault f = {0};
    struct conf_input in = {.text = text, .plain = true, .substituted = true};
    int rc = conf_value_parse(item, &in, d->arena, field, &f);
    pr_assert(rc == PR_OK);
    conf_fault_fini(&f);
}

static void default_list(struct conf_decoder *d, const struct conf_item *item, void *base)
{
    size_t n = item->def[0] == '\0' ? 0 : 1;
    for (const char *p = item->def; *p != '\0'; p++)
        n += *p == ',';
    char *array = pr_arena_zalloc(d->arena, n * item->size);
    struct pr_slice rest = pr_slice_str(item->def);
    for (size_t i = 0; i < n; i++)
        parse_default(d, item, pr_slice_trim(pr_slice_cut(rest, ',', &rest)), array + i * item->size);
    *(void **)field_of(base, item->offset) = array;
    *(size_t *)field_of(base, item->offset_n) = n;
}

void conf_set_defaults(struct conf_decoder *d, const struct conf_item *parent, void *base)
{
    for (size_t i = 0; i < d->schema->n; i++) {
        const struct conf_item *item = &d->schema->items[i];
        if (!conf_item_is_child(item, parent))
            continue;
        if (item->type == CONF_SECTION)
            conf_set_defaults(d, item, base);
        else if (item->def != NULL && (item->flags & CONF_F_LIST))
            default_list(d, item, base);
        else if (item->def != NULL)
            parse_default(d, item, pr_slice_str(item->def), field_of(base, item->offset));
    }
}

/* True when stored. */
static bool decode_scalar(struct conf_decoder *d, const struct conf_item *item, const struct conf_node *n, void *field)
{
    if (n->failed)
        return false;
    if (n->kind != CONF_NODE_SCALAR) {
        conf_error(d->report, n->mark, conf_types[item->type].example, "%s is %s, not %s", conf_item_key(item),
                   kind_name(CONF_NODE_SCALAR), kind_name(n->kind));
        return false;
    }
    if (is_null(n)) {
        conf_error(d->report, n->key.len > 0 ? n->key_mark : n->mark, "remove the key to get the default",
                   "%s has no value", conf_item_key(item));
        return false;
    }
    struct conf_fault f = {0};
    struct conf_input in = {n->text, n->plain, n->substituted, d->dir};
    int rc = conf_value_parse(item, &in, d->arena, field, &f);
    if (rc != PR_OK)
        conf_error(d->report, n->mark, f.hint.len > 0 ? pr_buf_cstr(&f.hint) : NULL, "%s", pr_buf_cstr(&f.message));
    conf_fault_fini(&f);
    return rc == PR_OK;
}

/* The node as a list, or a report. */
static bool expect_list(struct conf_decoder *d, const struct conf_item *item, const struct conf_node *n)
{
    if (n->kind == CONF_NODE_LIST)
        return true;
    if (!n->failed)
        conf_error(d->report, n->key_mark, "write [a, b], or one \"- item\" per line; [] for none", "%s is a list, not %s",
                   conf_item_key(item), is_null(n) ? "empty" : kind_name(n->kind));
    return false;
}

static void decode_list(struct conf_decoder *d, const struct conf_item *item, const struct conf_node *n, void *base,
                        const void *element)
{
    if (!expect_list(d, item, n))
        return;
    char *array = pr_arena_zalloc(d->arena, n->n * item->size);
    struct conf_mark *marks = pr_arena_zalloc(d->arena, n->n * sizeof *marks);
    size_t count = 0;
    for (const struct conf_node *child = n->first; child != NULL; child = child->next) {
        marks[count] = child->mark;
        if (decode_scalar(d, item, child, array + count * item->size))
            count++;
    }
    *(void **)field_of(base, item->offset) = array;
    *(size_t *)field_of(base, item->offset_n) = count;
    add_origin(d, item, element, n->key_mark, marks);
}

static void unknown_key(struct conf_decoder *d, const struct conf_item *parent, const struct conf_node *n)
{
    struct pr_suggest near, far;
    pr_suggest_init(&near, n->key);
    pr_suggest_init(&far, n->key);
    const struct conf_item *elsewhere = NULL;
    for (size_t i = 0; i < d->schema->n; i++) {
        const struct conf_item *item = &d->schema->items[i];
        if (conf_item_is_child(item, parent))
            pr_suggest_try(&near, conf_item_key(item));
        else if (elsewhere == NULL && pr_slice_eq_str(n->key, conf_item_key(item)))
            elsewhere = item;
    }
    struct pr_buf hint = {0};
    if (near.best != NULL && near.best_distance <= 2)
        pr_buf_printf(&hint, "did you mean %s?", near.best);
    else if (elsewhere != NULL)
        pr_buf_printf(&hint, "there is %s", elsewhere->path);
    else if (near.best != NULL)
        pr_buf_printf(&hint, "did you mean %s?", near.best);
    if (hint.len == 0) {
        pr_buf_str(&hint, "known here: ");
        bool first = true;
        for (size_t i = 0; i < d->schema->n; i++)
            if (conf_item_is_child(&d->schema->items[i], parent)) {
                pr_buf_printf(&hint, "%s%s", first ? "" : ", ", conf_item_key(&d->schema->items[i]));
                first = false;
            }
    }
    conf_error(d->report, n->key_mark, pr_buf_cstr(&hint), "unknown key \"%.*s\"%s%s", PR_SLICE_ARG(n->key),
               parent == NULL ? "" : " in ", parent == NULL ? "" : parent->path);
    pr_buf_fini(&hint);
}

static void decode_map(struct conf_decoder *d, const struct conf_item *parent, const struct conf_node *n, void *base,
                       const void *element);

static void require_keys(struct conf_decoder *d, const struct conf_item *list, const struct conf_node *n)
{
    for (size_t i = 0; i < d->schema->n; i++) {
        const struct conf_item *item = &d->schema->items[i];
        if (!conf_item_is_child(item, list) || !(item->flags & (CONF_F_KEY | CONF_F_REQUIRED)))
            continue;
        bool given = false;
        for (const struct conf_node *child = n->first; child != NULL; child = child->next)
            given = given || pr_slice_eq_str(child->key, conf_item_key(item));
        if (!given)
            conf_error(d->report, n->mark, conf_types[item->type].example, "this entry of %s has no %s", list->path,
                       conf_item_key(item));
    }
}

/* The text that names the element, or an empty slice. */
static struct pr_slice element_key(const struct conf_decoder *d, const struct conf_item *list, const void *element)
{
    for (size_t i = 0; i < d->schema->n; i++) {
        const struct conf_item *item = &d->schema->items[i];
        if ((item->flags & CONF_F_KEY) && conf_item_is_child(item, list)) {
            const char *text = *(char *const *)field_of((void *)(uintptr_t)element, item->offset);
            return pr_slice_str(text);
        }
    }
    return (struct pr_slice){NULL, 0};
}

static void decode_entries(struct conf_decoder *d, const struct conf_item *item, const struct conf_node *n, void *base)
{
    if (!expect_list(d, item, n))
        return;
    if (n->n < item->min || (item->max != 0 && n->n > item->max)) {
        conf_error(d->report, n->key_mark, n->n == 0 ? "remove the key to get the default" : NULL,
                   "%s has %zu entries; it takes %llu to %llu", item->path, n->n, (unsigned long long)item->min,
                   (unsigned long long)item->max);
        return;
    }
    char *array = pr_arena_zalloc(d->arena, n->n * item->size);
    struct pr_map seen;
    pr_map_init(&seen, 0);
    size_t count = 0;
    for (const struct conf_node *child = n->first; child != NULL; child = child->next) {
        void *element = array + count++ * item->size;
        conf_set_defaults(d, item, element);
        if (child->kind != CONF_NODE_MAP) {
            if (!child->failed)
                conf_error(d->report, child->mark, NULL, "an entry of %s is %s, not %s", item->path,
                           kind_name(CONF_NODE_MAP), kind_name(child->kind));
            continue;
        }
        decode_map(d, item, child, element, element);
        require_keys(d, item, child);
        struct pr_slice key = element_key(d, item, element);
        const struct conf_node *first = key.len == 0 ? NULL : pr_map_get_str(&seen, key);
        if (first != NULL)
            conf_error(d->report, child->mark, "each only once", "%s already has an entry \"%.*s\" in line %u", item->path,
                       PR_SLICE_ARG(key), first->mark.line);
        else if (key.len > 0)
            pr_map_put_str(&seen, key, (void *)(uintptr_t)child);
        add_origin(d, item, element, child->mark, NULL);
    }
    pr_map_fini(&seen);
    *(void **)field_of(base, item->offset) = array;
    *(size_t *)field_of(base, item->offset_n) = count;
    add_origin(d, item, NULL, n->key_mark, NULL);
}

static void decode_item(struct conf_decoder *d, const struct conf_item *item, const struct conf_node *n, void *base,
                        const void *element)
{
    if (item->type == CONF_SECTION && is_null(n))
        return; /* everything in it is commented out */
    if (item->type == CONF_SECTION && n->kind != CONF_NODE_MAP) {
        conf_error(d->report, n->key_mark, NULL, "%s is %s, not %s", item->path, kind_name(CONF_NODE_MAP),
                   kind_name(n->kind));
    } else if (item->type == CONF_SECTION) {
        decode_map(d, item, n, base, element);
    } else if (item->type == CONF_ENTRIES) {
        decode_entries(d, item, n, base);
    } else if (item->flags & CONF_F_LIST) {
        decode_list(d, item, n, base, element);
    } else if (decode_scalar(d, item, n, field_of(base, item->offset))) {
        add_origin(d, item, element, n->mark, NULL);
    }
}

static void decode_map(struct conf_decoder *d, const struct conf_item *parent, const struct conf_node *n, void *base,
                       const void *element)
{
    for (const struct conf_node *child = n->first; child != NULL; child = child->next) {
        const struct conf_item *item = conf_schema_child(d->schema, parent, child->key);
        if (item == NULL)
            unknown_key(d, parent, child);
        else
            decode_item(d, item, child, base, element);
    }
}

void conf_decode(struct conf_decoder *d, const struct conf_node *root, void *dest)
{
    conf_set_defaults(d, NULL, dest);
    if (root == NULL || is_null(root))
        return;
    if (root->kind != CONF_NODE_MAP) {
        conf_error(d->report, root->mark, "like hostname: mail.example.com", "the file is %s, not %s",
                   kind_name(root->kind), kind_name(CONF_NODE_MAP));
        return;
    }
    decode_map(d, NULL, root, dest, NULL);
}
