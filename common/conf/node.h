/* node.h - a YAML document as a tree of nodes with source marks; inside common/conf only.
 *
 * The accepted subset: one document of maps, lists and scalars. Refused, each with a hint: anchors, aliases, merge keys,
 * tags, keys that are not plain text, duplicate keys, control bytes, more than one document.
 *
 * Owns: nothing; nodes live in the arena given. Errors: all go to the report. */
#ifndef PR_CONF_NODE_H
#define PR_CONF_NODE_H

#include <stdbool.h>
#include <stddef.h>

#include "common/base/arena.h"
#include "common/conf/errors.h"

enum { CONF_FILE_MAX = 4 << 20, CONF_DEPTH_MAX = 32, CONF_NODES_MAX = 100000 };

enum conf_node_kind { CONF_NODE_SCALAR, CONF_NODE_LIST, CONF_NODE_MAP };

struct conf_node {
    enum conf_node_kind kind;
    struct conf_mark mark;
    struct pr_slice text; /* of a scalar, NUL-terminated behind its end */
    bool plain;           /* written without quotes */
    bool substituted;     /* holds the result of ${...} */
    bool failed;          /* was reported already: decoding passes over it */
    struct pr_slice key;  /* in a map */
    struct conf_mark key_mark;
    struct conf_node *first, *last, *next;
    size_t n; /* children */
};

/* The root, or NULL for an empty document or after an error. */
struct conf_node *conf_node_parse(struct pr_slice text, struct pr_arena *arena, struct conf_report *report);

/* Replaces ${env:NAME}, ${env:NAME:-default}, ${file:PATH} and $${ in all scalar values below the node. Relative paths
 * start in dir. */
void conf_node_substitute(struct conf_node *root, const char *dir, struct pr_arena *arena, struct conf_report *report);

/* Reads a small text file (a secret, a substituted value) without its last line break into out. Regular files only. */
enum { CONF_VALUE_FILE_MAX = 64 << 10 };
PR_MUST_USE int conf_read_value_file(const char *dir, struct pr_slice path, struct pr_buf *out);

#endif
