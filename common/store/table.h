/* table.h - an ordered map of byte strings in memory (skip list): what the stage and the memory twin are made of.
 *
 * Invariants: nodes ascend by key, no key twice; a node's level follows from its key alone, so equal histories give
 * equal tables. Node pointers stay valid until that node is erased. Owns: keys and values. Thread: one at a time. */
#ifndef PR_STORE_TABLE_H
#define PR_STORE_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/slice.h"

enum { TABLE_LEVELS = 12 };

struct table_node {
    uint64_t prefix;    /* first eight key bytes, big-endian: most comparisons end here */
    char *value;        /* inside the node, or allocated when it was replaced by a longer one */
    uint32_t value_len;
    uint32_t value_room;
    uint16_t key_len;
    uint8_t levels;
    uint8_t tag[2];     /* the user's */
    struct table_node *next[]; /* `levels` of them, then the key, then the first value */
};

struct table {
    struct table_node *head[TABLE_LEVELS];
    size_t count;
    size_t bytes; /* of nodes and values */
};

void table_init(struct table *t);
void table_fini(struct table *t);

struct pr_slice table_key(const struct table_node *n);
static inline struct pr_slice table_value(const struct table_node *n) { return pr_slice(n->value, n->value_len); }

/* Node of the key, or NULL. */
struct table_node *table_find(const struct table *t, struct pr_slice key);
/* First node with a key >= key, or NULL. */
struct table_node *table_seek(const struct table *t, struct pr_slice key);
struct table_node *table_first(const struct table *t);
struct table_node *table_next(const struct table_node *n);

/* Adds a node with room for value_len bytes (uninitialised; tags 0), or sets the value's length of the existing one. */
struct table_node *table_put(struct table *t, struct pr_slice key, size_t value_len, bool *ret_existed);
/* True if there was one. */
bool table_erase(struct table *t, struct pr_slice key);
/* Gives the value's memory back where it was allocated apart, and empties it. */
void table_drop_value(struct table *t, struct table_node *n);

#endif
