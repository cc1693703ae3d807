/* arena.h - memory that is freed all at once: one per transaction, job or decoded message.
 * A zeroed struct is a valid empty arena. Thread: one at a time. */
#ifndef PR_BASE_ARENA_H
#define PR_BASE_ARENA_H

#include <stddef.h>

#include "common/base/slice.h"

struct pr_arena_block;
struct pr_arena {
    struct pr_arena_block *head;
    size_t left;       /* bytes free in head */
    size_t size_bytes; /* given out in all, for budgets */
};

void pr_arena_init(struct pr_arena *a);
void pr_arena_fini(struct pr_arena *a);
/* 16-byte aligned, uninitialised. */
void *pr_arena_alloc(struct pr_arena *a, size_t n);
void *pr_arena_zalloc(struct pr_arena *a, size_t n);
struct pr_slice pr_arena_dup(struct pr_arena *a, struct pr_slice s);
char *pr_arena_cstr(struct pr_arena *a, struct pr_slice s);

#endif
