#include "common/store/table.h"

#include "common/base/alloc.h"
#include "common/base/assert.h"

void table_init(struct table *t)
{
    memset(t, 0, sizeof *t);
}

static void node_free(struct table_node *n, char *inline_value)
{
    if (n->value != inline_value)
        pr_free(n->value);
    pr_free(n);
}

static char *node_key(const struct table_node *n)
{
    return (char *)(uintptr_t)(const void *)(n->next + n->levels);
}

static char *node_room(const struct table_node *n)
{
    return node_key(n) + n->key_len;
}

void table_fini(struct table *t)
{
    struct table_node *n = t->head[0];
    while (n != NULL) {
        struct table_node *next = n->next[0];
        node_free(n, node_room(n));
        n = next;
    }
    table_init(t);
}

struct pr_slice table_key(const struct table_node *n)
{
    return pr_slice(node_key(n), n->key_len);
}

static uint64_t prefix_of(struct pr_slice key)
{
    unsigned char b[8] = {0};
    if (key.len > 0)
        memcpy(b, key.ptr, key.len < 8 ? key.len : 8);
    uint64_t v = 0;
    for (int i = 0; i < 8; i++)
        v = v << 8 | b[i];
    return v;
}

/* Node's key < key? The prefix pads short keys with zeros, so equal prefixes need the whole comparison. */
static bool node_below(const struct table_node *n, uint64_t prefix, struct pr_slice key)
{
    if (n->prefix != prefix)
        return n->prefix < prefix;
    return pr_slice_cmp(table_key(n), key) < 0;
}

/* Fills update[] with the links that lead to the first node >= key. */
static struct table_node *locate(const struct table *t, struct pr_slice key, struct table_node **update[TABLE_LEVELS])
{
    uint64_t prefix = prefix_of(key);
    struct table_node *const *links = t->head;
    for (int level = TABLE_LEVELS - 1; level >= 0; level--) {
        while (links[level] != NULL && node_below(links[level], prefix, key))
            links = links[level]->next;
        if (update != NULL)
            update[level] = (struct table_node **)(uintptr_t)(const void *)&links[level];
    }
    return links[0];
}

struct table_node *table_seek(const struct table *t, struct pr_slice key)
{
    return locate(t, key, NULL);
}

struct table_node *table_find(const struct table *t, struct pr_slice key)
{
    struct table_node *n = locate(t, key, NULL);
    return n != NULL && pr_slice_eq(table_key(n), key) ? n : NULL;
}

struct table_node *table_first(const struct table *t)
{
    return t->head[0];
}

struct table_node *table_next(const struct table_node *n)
{
    return n->next[0];
}

static uint8_t level_of(struct pr_slice key)
{
    uint64_t h = pr_hash(key, 0x7461626c65ULL);
    uint8_t level = 1;
    while (level < TABLE_LEVELS && (h & 3) == 0) {
        level++;
        h >>= 2;
    }
    return level;
}

static size_t node_size(const struct table_node *n)
{
    return sizeof *n + n->levels * sizeof n->next[0] + n->key_len + n->value_room;
}

static struct table_node *node_new(struct pr_slice key, size_t value_len)
{
    uint8_t levels = level_of(key);
    size_t size = sizeof(struct table_node) + levels * sizeof(struct table_node *) + key.len + value_len;
    struct table_node *n = pr_malloc(size);
    memset(n, 0, sizeof *n);
    n->prefix = prefix_of(key);
    n->key_len = (uint16_t)key.len;
    n->levels = levels;
    n->value_room = (uint32_t)value_len;
    n->value_len = (uint32_t)value_len;
    if (key.len > 0)
        memcpy(node_key(n), key.ptr, key.len);
    n->value = node_room(n);
    return n;
}

static void grow_value(struct table *t, struct table_node *n, size_t value_len)
{
    if (value_len > n->value_room) {
        if (n->value != node_room(n))
            pr_free(n->value);
        n->value = pr_malloc(value_len);
        t->bytes += value_len - n->value_room;
        n->value_room = (uint32_t)value_len;
    }
    n->value_len = (uint32_t)value_len;
}

struct table_node *table_put(struct table *t, struct pr_slice key, size_t value_len, bool *ret_existed)
{
    pr_assert(key.len <= UINT16_MAX && value_len <= UINT32_MAX / 2);
    struct table_node **update[TABLE_LEVELS];
    struct table_node *n = locate(t, key, update);
    if (n != NULL && pr_slice_eq(table_key(n), key)) {
        grow_value(t, n, value_len);
        *ret_existed = true;
        return n;
    }
    n = node_new(key, value_len);
    for (uint8_t i = 0; i < n->levels; i++) {
        n->next[i] = *update[i];
        *update[i] = n;
    }
    t->count++;
    t->bytes += node_size(n);
    *ret_existed = false;
    return n;
}

bool table_erase(struct table *t, struct pr_slice key)
{
    struct table_node **update[TABLE_LEVELS];
    struct table_node *n = locate(t, key, update);
    if (n == NULL || !pr_slice_eq(table_key(n), key))
        return false;
    for (uint8_t i = 0; i < n->levels; i++)
        *update[i] = n->next[i];
    t->count--;
    t->bytes -= node_size(n);
    node_free(n, node_room(n));
    return true;
}

void table_drop_value(struct table *t, struct table_node *n)
{
    if (n->value != node_room(n)) {
        pr_free(n->value);
        n->value = node_room(n);
        t->bytes -= n->value_room;
        n->value_room = 0;
    }
    n->value_len = 0;
}
