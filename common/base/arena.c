#include "common/base/arena.h"

#include <stdalign.h>

#include "common/base/alloc.h"
#include "common/base/assert.h"

enum { BLOCK = 2048, ALIGN = 16 };

struct pr_arena_block {
    struct pr_arena_block *next;
    size_t size;
    alignas(ALIGN) char data[];
};

void pr_arena_init(struct pr_arena *a)
{
    *a = (struct pr_arena){NULL, 0, 0};
}

void pr_arena_fini(struct pr_arena *a)
{
    struct pr_arena_block *b = a->head;
    while (b != NULL) {
        struct pr_arena_block *next = b->next;
        pr_free(b);
        b = next;
    }
    pr_arena_init(a);
}

void *pr_arena_alloc(struct pr_arena *a, size_t n)
{
    pr_assert(n < SIZE_MAX / 2);
    n = n == 0 ? ALIGN : (n + ALIGN - 1) & ~(size_t)(ALIGN - 1);
    if (n > a->left) {
        size_t size = n > BLOCK / 4 ? n : BLOCK;
        struct pr_arena_block *b = pr_malloc(sizeof *b + size);
        b->size = size;
        if (size == n && a->head != NULL) {
            /* A big one goes behind the head, whose free space stays in use. */
            b->next = a->head->next;
            a->head->next = b;
            a->size_bytes += n;
            return b->data;
        }
        b->next = a->head;
        a->head = b;
        a->left = size;
    }
    void *p = a->head->data + (a->head->size - a->left);
    a->left -= n;
    a->size_bytes += n;
    return p;
}

void *pr_arena_zalloc(struct pr_arena *a, size_t n)
{
    return memset(pr_arena_alloc(a, n), 0, n);
}

struct pr_slice pr_arena_dup(struct pr_arena *a, struct pr_slice s)
{
    if (s.len == 0)
        return pr_slice("", 0);
    return pr_slice(memcpy(pr_arena_alloc(a, s.len), s.ptr, s.len), s.len);
}

char *pr_arena_cstr(struct pr_arena *a, struct pr_slice s)
{
    char *p = pr_arena_alloc(a, s.len + 1);
    if (s.len > 0)
        memcpy(p, s.ptr, s.len);
    p[s.len] = '\0';
    return p;
}
