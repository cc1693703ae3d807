#include "common/conf/node.h"

#include <yaml.h>

#include "common/base/alloc.h"
#include "common/base/assert.h"
#include "common/base/map.h"

struct builder {
    struct pr_arena *arena;
    struct conf_report *report;
    struct conf_node *root;
    struct conf_node *stack[CONF_DEPTH_MAX];
    struct pr_map keys[CONF_DEPTH_MAX]; /* of the map at that depth: key -> its first value */
    size_t depth;
    size_t n_nodes;
    bool have_key; /* the next node is the value of this key */
    struct pr_slice key;
    struct conf_mark key_mark;
    unsigned n_documents;
};

static struct conf_mark mark_of(yaml_mark_t m)
{
    return (struct conf_mark){(unsigned)m.line + 1, (unsigned)m.column + 1};
}

/* Files the finished node under its parent. A duplicate key is reported and its value left out. */
static void attach(struct builder *b, struct conf_node *node)
{
    if (b->depth == 0) {
        b->root = node;
        return;
    }
    struct conf_node *parent = b->stack[b->depth - 1];
    if (parent->kind == CONF_NODE_MAP) {
        node->key = b->key;
        node->key_mark = b->key_mark;
        b->have_key = false;
        struct conf_node *first = pr_map_get_str(&b->keys[b->depth - 1], node->key);
        if (first != NULL) {
            conf_error(b->report, node->key_mark, "keep one of the two", "the key \"%.*s\" is already given in line %u",
                       PR_SLICE_ARG(node->key), first->key_mark.line);
            return;
        }
        pr_map_put_str(&b->keys[b->depth - 1], node->key, node);
    }
    if (parent->last == NULL)
        parent->first = node;
    else
        parent->last->next = node;
    parent->last = node;
    parent->n++;
}

static struct conf_node *new_node(struct builder *b, enum conf_node_kind kind, const yaml_event_t *ev)
{
    struct conf_node *n = pr_arena_zalloc(b->arena, sizeof *n);
    n->kind = kind;
    n->mark = mark_of(ev->start_mark);
    return n;
}

/* In a map, is it a key that comes next? */
static bool at_key(const struct builder *b)
{
    return b->depth > 0 && b->stack[b->depth - 1]->kind == CONF_NODE_MAP && !b->have_key;
}

static bool refuse_extras(struct builder *b, const yaml_event_t *ev, const void *anchor, const void *tag)
{
    if (anchor != NULL) {
        conf_error(b->report, mark_of(ev->start_mark), "write the value out", "YAML anchors are not accepted here");
        return true;
    }
    if (tag != NULL) {
        conf_error(b->report, mark_of(ev->start_mark), "remove the tag", "YAML tags (!...) are not accepted here");
        return true;
    }
    return false;
}

static bool take_key(struct builder *b, const yaml_event_t *ev)
{
    struct pr_slice text = pr_slice(ev->data.scalar.value, ev->data.scalar.length);
    struct conf_mark mark = mark_of(ev->start_mark);
    if (ev->data.scalar.style == YAML_PLAIN_SCALAR_STYLE && pr_slice_eq_str(text, "<<")) {
        conf_error(b->report, mark, "write the keys out", "YAML merge keys (<<) are not accepted here");
        return false;
    }
    if (text.len == 0) {
        conf_error(b->report, mark, NULL, "a key is missing before the colon");
        return false;
    }
    b->have_key = true;
    b->key = pr_arena_dup(b->arena, text);
    b->key_mark = mark;
    return true;
}

static bool on_scalar(struct builder *b, const yaml_event_t *ev)
{
    if (refuse_extras(b, ev, ev->data.scalar.anchor, ev->data.scalar.tag))
        return false;
    if (at_key(b))
        return take_key(b, ev);
    struct conf_node *n = new_node(b, CONF_NODE_SCALAR, ev);
    n->text = pr_slice(pr_arena_cstr(b->arena, pr_slice(ev->data.scalar.value, ev->data.scalar.length)),
                       ev->data.scalar.length);
    n->plain = ev->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    attach(b, n);
    return true;
}

static bool on_start(struct builder *b, enum conf_node_kind kind, const yaml_event_t *ev)
{
    struct conf_mark mark = mark_of(ev->start_mark);
    if (at_key(b)) {
        conf_error(b->report, mark, "a value that begins with { or [ needs quotes", "a key must be plain text");
        return false;
    }
    if (b->depth == CONF_DEPTH_MAX) {
        conf_error(b->report, mark, NULL, "nested deeper than %d levels", CONF_DEPTH_MAX);
        return false;
    }
    struct conf_node *n = new_node(b, kind, ev);
    /* The place of a block list or map is its first entry; the key before it says more. */
    attach(b, n);
    pr_map_init(&b->keys[b->depth], 0);
    b->stack[b->depth++] = n;
    return true;
}

static void on_end(struct builder *b)
{
    pr_assert(b->depth > 0);
    pr_map_fini(&b->keys[--b->depth]);
    b->have_key = false;
}

/* One event; false stops. */
static bool on_event(struct builder *b, const yaml_event_t *ev)
{
    if (++b->n_nodes > 2 * (size_t)CONF_NODES_MAX) {
        conf_error(b->report, mark_of(ev->start_mark), NULL, "more than %d values", CONF_NODES_MAX);
        return false;
    }
    switch (ev->type) {
    case YAML_SCALAR_EVENT:
        return on_scalar(b, ev);
    case YAML_SEQUENCE_START_EVENT:
        return !refuse_extras(b, ev, ev->data.sequence_start.anchor, ev->data.sequence_start.tag) &&
               on_start(b, CONF_NODE_LIST, ev);
    case YAML_MAPPING_START_EVENT:
        return !refuse_extras(b, ev, ev->data.mapping_start.anchor, ev->data.mapping_start.tag) &&
               on_start(b, CONF_NODE_MAP, ev);
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT:
        on_end(b);
        return true;
    case YAML_ALIAS_EVENT:
        conf_error(b->report, mark_of(ev->start_mark), "write the value out; text that begins with * needs quotes",
                   "YAML aliases (*name) are not accepted here");
        return false;
    case YAML_DOCUMENT_START_EVENT:
        if (b->n_documents++ == 1) {
            conf_error(b->report, mark_of(ev->start_mark), "one document per file", "a second YAML document begins here");
            return false;
        }
        return true;
    case YAML_NO_EVENT:
    case YAML_STREAM_START_EVENT:
    case YAML_STREAM_END_EVENT:
    case YAML_DOCUMENT_END_EVENT:
        return true;
    }
    return true;
}

static void report_syntax(const yaml_parser_t *p, struct conf_report *report)
{
    const char *problem = p->problem == NULL ? "not YAML" : p->problem;
    struct conf_mark mark = mark_of(p->problem_mark);
    const char *hint = NULL;
    if (strstr(problem, "cannot start any token") != NULL)
        hint = "indent with blanks, not tabs; text with special characters needs quotes";
    else if (strstr(problem, "mapping values are not allowed") != NULL)
        hint = "text with \": \" in it needs quotes; check the indentation";
    else if (strstr(problem, "could not find expected ':'") != NULL)
        hint = "a key is followed by a colon and a blank";
    else if (strstr(problem, "expected node content") != NULL)
        hint = "inside [ ] and { }, text with : , [ ] { } needs quotes, as an IPv6 address does";
    else if (strstr(problem, "alias") != NULL || strstr(problem, "alphabetic") != NULL)
        hint = "text that begins with * or & needs quotes";
    if (p->context != NULL)
        conf_error(report, mark, hint, "%s (%s)", problem, p->context);
    else
        conf_error(report, mark, hint, "%s", problem);
}

static bool check_text(struct pr_slice text, struct conf_report *report)
{
    struct conf_mark none = {0, 0};
    if (text.len > CONF_FILE_MAX) {
        conf_error(report, none, NULL, "larger than %d bytes", CONF_FILE_MAX);
        return false;
    }
    if (!pr_utf8_valid(text)) {
        conf_error(report, none, "save the file as UTF-8", "not UTF-8 text");
        return false;
    }
    return true;
}

struct conf_node *conf_node_parse(struct pr_slice text, struct pr_arena *arena, struct conf_report *report)
{
    if (!check_text(text, report))
        return NULL;
    yaml_parser_t parser;
    if (!yaml_parser_initialize(&parser)) {
        conf_error(report, ((struct conf_mark){0, 0}), NULL, "out of memory");
        return NULL;
    }
    yaml_parser_set_encoding(&parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&parser, (const unsigned char *)(text.ptr == NULL ? "" : text.ptr), text.len);
    struct builder b = {.arena = arena, .report = report};
    bool ok = true;
    for (bool more = true; ok && more;) {
        yaml_event_t ev;
        if (!yaml_parser_parse(&parser, &ev)) {
            report_syntax(&parser, report);
            ok = false;
            break;
        }
        more = ev.type != YAML_STREAM_END_EVENT;
        ok = on_event(&b, &ev);
        yaml_event_delete(&ev);
    }
    while (b.depth > 0)
        pr_map_fini(&b.keys[--b.depth]);
    yaml_parser_delete(&parser);
    return ok ? b.root : NULL;
}
