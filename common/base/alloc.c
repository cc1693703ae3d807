#include "common/base/alloc.h"

#include <stdlib.h>
#include <string.h>

void *pr_malloc(size_t n)
{
    void *p = malloc(n == 0 ? 1 : n);
    if (p == NULL)
        abort();
    return p;
}

void *pr_calloc(size_t n, size_t size)
{
    void *p = calloc(n == 0 ? 1 : n, size == 0 ? 1 : size);
    if (p == NULL)
        abort();
    return p;
}

void *pr_realloc(void *old, size_t n)
{
    void *p = realloc(old, n == 0 ? 1 : n);
    if (p == NULL)
        abort();
    return p;
}

char *pr_strndup(const char *s, size_t n)
{
    char *p = pr_malloc(n + 1);
    if (n > 0)
        memcpy(p, s, n);
    p[n] = '\0';
    return p;
}

char *pr_strdup(const char *s)
{
    return pr_strndup(s, strlen(s));
}

void *pr_memdup(const void *src, size_t n)
{
    void *p = pr_malloc(n);
    if (n > 0)
        memcpy(p, src, n);
    return p;
}

void pr_free(void *p)
{
    free(p);
}
