/* alloc.h - the allocator. Small fixed-size allocations abort on exhaustion: nothing is acknowledged before commit, so a
 * crash loses no accepted mail. Whatever a peer can size is refused by a budget before it is allocated.
 *
 * Thread: any. Errors: none (abort). */
#ifndef PR_BASE_ALLOC_H
#define PR_BASE_ALLOC_H

#include <stddef.h>

void *pr_malloc(size_t n);
void *pr_calloc(size_t n, size_t size);
void *pr_realloc(void *p, size_t n);
char *pr_strdup(const char *s);
/* Copy of n bytes with a NUL added. */
char *pr_strndup(const char *s, size_t n);
void *pr_memdup(const void *p, size_t n);
/* free(NULL) is a no-op. */
void pr_free(void *p);

#define pr_new(type) ((type *)pr_calloc(1, sizeof(type)))
#define pr_container_of(ptr, type, member) ((type *)(void *)((char *)(ptr) - offsetof(type, member)))
#define PR_ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))
#define PR_MIN(a, b) ((a) < (b) ? (a) : (b))
#define PR_MAX(a, b) ((a) > (b) ? (a) : (b))

#endif
