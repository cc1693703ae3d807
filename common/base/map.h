/* map.h - hash map, open addressing, from u64 or byte strings to pointers.
 *
 * Owns: its table and copies of byte-string keys; never the values. Thread: one at a time.
 * Iteration order is unspecified but the same for the same history and seed, so simulations replay. */
#ifndef PR_BASE_MAP_H
#define PR_BASE_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/slice.h"

struct pr_map_slot;
struct pr_map {
    struct pr_map_slot *slots;
    size_t count; /* live entries */
    size_t used;  /* live entries and tombstones */
    size_t cap;   /* power of two or 0 */
    uint64_t seed;
};

void pr_map_init(struct pr_map *m, uint64_t seed);
/* Frees table and key copies; values are the caller's. */
void pr_map_fini(struct pr_map *m);
static inline size_t pr_map_count(const struct pr_map *m) { return m->count; }

/* value must not be NULL. Returns the value that was there before, or NULL. */
void *pr_map_put(struct pr_map *m, uint64_t key, void *value);
void *pr_map_get(const struct pr_map *m, uint64_t key);
void *pr_map_del(struct pr_map *m, uint64_t key);

void *pr_map_put_str(struct pr_map *m, struct pr_slice key, void *value);
void *pr_map_get_str(const struct pr_map *m, struct pr_slice key);
void *pr_map_del_str(struct pr_map *m, struct pr_slice key);

/* Iterates: *it starts at 0; returns the next value or NULL at the end. Deleting the returned entry during iteration is
 * allowed, insertion is not. ret_key may be NULL. */
void *pr_map_next(const struct pr_map *m, size_t *it, uint64_t *ret_key);

#endif
