#include "common/base/map.h"

#include "common/base/alloc.h"
#include "common/base/assert.h"

/* value NULL: never used when hash is 0, a tombstone when hash is 1. Live slots have a value. */
struct pr_map_slot {
    uint64_t hash;
    uint64_t key;     /* the key itself, or the length of str */
    const char *str;  /* NULL for integer keys */
    void *value;
};

enum { EMPTY = 0, TOMBSTONE = 1, FIRST_HASH = 2 };

void pr_map_init(struct pr_map *m, uint64_t seed)
{
    *m = (struct pr_map){NULL, 0, 0, 0, seed};
}

void pr_map_fini(struct pr_map *m)
{
    for (size_t i = 0; i < m->cap; i++)
        if (m->slots[i].value != NULL)
            pr_free((void *)(uintptr_t)m->slots[i].str);
    pr_free(m->slots);
    pr_map_init(m, m->seed);
}

static uint64_t usable(uint64_t hash)
{
    return hash < FIRST_HASH ? hash + FIRST_HASH : hash;
}

static bool same_key(const struct pr_map_slot *s, uint64_t key, const char *str)
{
    if (s->key != key || (s->str == NULL) != (str == NULL))
        return false;
    return str == NULL || key == 0 || memcmp(s->str, str, (size_t)key) == 0;
}

/* Slot of the key, or the slot where it would go (first tombstone or empty one). */
static struct pr_map_slot *locate(const struct pr_map *m, uint64_t hash, uint64_t key, const char *str)
{
    struct pr_map_slot *free_slot = NULL;
    for (size_t i = hash & (m->cap - 1);; i = (i + 1) & (m->cap - 1)) {
        struct pr_map_slot *s = &m->slots[i];
        if (s->value == NULL) {
            if (free_slot == NULL)
                free_slot = s;
            if (s->hash == EMPTY)
                return free_slot;
        } else if (s->hash == hash && same_key(s, key, str)) {
            return s;
        }
    }
}

static void resize(struct pr_map *m)
{
    struct pr_map old = *m;
    m->cap = old.count * 2 < 8 ? 16 : old.cap;
    while (m->cap < old.count * 3)
        m->cap *= 2;
    m->slots = pr_calloc(m->cap, sizeof *m->slots);
    m->used = m->count;
    for (size_t i = 0; i < old.cap; i++) {
        const struct pr_map_slot *s = &old.slots[i];
        if (s->value != NULL)
            *locate(m, s->hash, s->key, s->str) = *s;
    }
    pr_free(old.slots);
}

static void *put(struct pr_map *m, uint64_t hash, uint64_t key, const char *str, void *value)
{
    pr_assert(value != NULL);
    if (m->cap == 0 || (m->used + 1) * 4 > m->cap * 3)
        resize(m);
    struct pr_map_slot *s = locate(m, hash, key, str);
    void *old = s->value;
    if (old == NULL) {
        if (s->hash == EMPTY)
            m->used++;
        m->count++;
        s->hash = hash;
        s->key = key;
        s->str = str == NULL ? NULL : pr_memdup(str, (size_t)key);
    }
    s->value = value;
    return old;
}

static void *get(const struct pr_map *m, uint64_t hash, uint64_t key, const char *str)
{
    return m->cap == 0 ? NULL : locate(m, hash, key, str)->value;
}

static void *del(struct pr_map *m, uint64_t hash, uint64_t key, const char *str)
{
    if (m->cap == 0)
        return NULL;
    struct pr_map_slot *s = locate(m, hash, key, str);
    void *old = s->value;
    if (old == NULL)
        return NULL;
    pr_free((void *)(uintptr_t)s->str);
    size_t next = ((size_t)(s - m->slots) + 1) & (m->cap - 1);
    bool at_end = m->slots[next].value == NULL && m->slots[next].hash == EMPTY;
    *s = (struct pr_map_slot){at_end ? EMPTY : TOMBSTONE, 0, NULL, NULL};
    if (at_end)
        m->used--;
    m->count--;
    return old;
}

static uint64_t hash_int(uint64_t key)
{
    return usable(pr_hash_u64(key));
}

static uint64_t hash_str(const struct pr_map *m, struct pr_slice key)
{
    return usable(pr_hash(key, m->seed));
}

static const char *str_of(struct pr_slice key)
{
    return key.ptr == NULL ? "" : key.ptr;
}

void *pr_map_put(struct pr_map *m, uint64_t key, void *value) { return put(m, hash_int(key), key, NULL, value); }
void *pr_map_get(const struct pr_map *m, uint64_t key) { return get(m, hash_int(key), key, NULL); }
void *pr_map_del(struct pr_map *m, uint64_t key) { return del(m, hash_int(key), key, NULL); }

void *pr_map_put_str(struct pr_map *m, struct pr_slice key, void *value)
{
    return put(m, hash_str(m, key), key.len, str_of(key), value);
}

void *pr_map_get_str(const struct pr_map *m, struct pr_slice key)
{
    return get(m, hash_str(m, key), key.len, str_of(key));
}

void *pr_map_del_str(struct pr_map *m, struct pr_slice key)
{
    return del(m, hash_str(m, key), key.len, str_of(key));
}

void *pr_map_next(const struct pr_map *m, size_t *it, uint64_t *ret_key)
{
    while (*it < m->cap) {
        const struct pr_map_slot *s = &m->slots[(*it)++];
        if (s->value != NULL) {
            if (ret_key != NULL)
                *ret_key = s->key;
            return s->value;
        }
    }
    return NULL;
}
