#include "ingress/shell/limits.h"

#include <pthread.h>

#include "common/base/alloc.h"
#include "common/base/assert.h"
#include "common/base/map.h"

struct limits {
    pthread_mutex_t lock;
    struct pr_map counts; /* listener name, or listener name NUL address -> connections */
};

struct key {
    char bytes[64 + 1 + sizeof(struct in6_addr)];
    size_t len;
};

struct limits *limits_new(uint64_t seed)
{
    struct limits *l = pr_new(struct limits);
    pthread_mutex_init(&l->lock, NULL);
    pr_map_init(&l->counts, seed);
    return l;
}

void limits_free(struct limits *l)
{
    if (l == NULL)
        return;
    pr_map_fini(&l->counts);
    pthread_mutex_destroy(&l->lock);
    pr_free(l);
}

static struct key make_key(const char *listener, const struct in6_addr *addr)
{
    struct key k = {.len = strlen(listener)};
    pr_assert(k.len <= 64);
    memcpy(k.bytes, listener, k.len);
    if (addr == NULL)
        return k;
    k.bytes[k.len++] = '\0';
    memcpy(k.bytes + k.len, addr, sizeof *addr);
    k.len += sizeof *addr;
    return k;
}

/* Adds delta (1 or -1) and returns the new count. */
static uintptr_t change(struct limits *l, const struct key *k, int delta)
{
    struct pr_slice key = pr_slice(k->bytes, k->len);
    uintptr_t n = (uintptr_t)pr_map_get_str(&l->counts, key);
    pr_assert(delta > 0 || n > 0);
    n = delta > 0 ? n + 1 : n - 1;
    if (n == 0)
        (void)pr_map_del_str(&l->counts, key);
    else
        (void)pr_map_put_str(&l->counts, key, (void *)n);
    return n;
}

bool limits_enter(struct limits *l, const struct pr_conf_listener *at, const struct in6_addr *addr)
{
    unsigned per_client = at->max_connections_per_client > 0 ? at->max_connections_per_client : (at->max_connections + 1) / 2;
    struct key all = make_key(at->name, NULL);
    pthread_mutex_lock(&l->lock);
    bool fits = change(l, &all, 1) <= at->max_connections;
    if (addr != NULL) {
        struct key one = make_key(at->name, addr);
        fits &= change(l, &one, 1) <= per_client;
    }
    pthread_mutex_unlock(&l->lock);
    return fits;
}

void limits_leave(struct limits *l, const char *listener, const struct in6_addr *addr)
{
    struct key all = make_key(listener, NULL);
    pthread_mutex_lock(&l->lock);
    (void)change(l, &all, -1);
    if (addr != NULL) {
        struct key one = make_key(listener, addr);
        (void)change(l, &one, -1);
    }
    pthread_mutex_unlock(&l->lock);
}
