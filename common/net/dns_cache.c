#include "common/net/dns_cache.h"

#include <string.h>

#include "common/base/alloc.h"

struct entry {
    struct pr_list lru;
    struct dns_record *record;
    size_t key_len;
    char key[DNS_KEY_MAX];
};

static struct pr_dns_mx *copy_mx(const struct pr_dns_mx *mx, size_t n)
{
    size_t bytes = 0;
    for (size_t i = 0; i < n; i++)
        bytes += strlen(mx[i].host) + 1;
    struct pr_dns_mx *copy = pr_malloc(n * sizeof *copy + bytes);
    char *names = (char *)(copy + n);
    for (size_t i = 0; i < n; i++) {
        size_t len = strlen(mx[i].host) + 1;
        memcpy(names, mx[i].host, len);
        copy[i] = (struct pr_dns_mx){.preference = mx[i].preference, .host = names};
        names += len;
    }
    return copy;
}

struct dns_record *dns_record_new(const struct pr_dns_reply *reply, enum pr_dns_type type, uint64_t expires_ms)
{
    struct dns_record *r = pr_new(struct dns_record);
    r->refs = 1;
    r->status = reply->status;
    r->error = reply->error;
    r->expires_ms = expires_ms;
    r->n = reply->n;
    if (reply->n > 0 && type == PR_DNS_MX)
        r->mx = copy_mx(reply->mx, reply->n);
    else if (reply->n > 0)
        r->addrs = pr_memdup(reply->addrs, reply->n * sizeof *reply->addrs);
    return r;
}

struct dns_record *dns_record_ref(struct dns_record *r)
{
    r->refs++;
    return r;
}

void dns_record_unref(struct dns_record *r)
{
    if (r == NULL || --r->refs > 0)
        return;
    pr_free(r->mx);
    pr_free(r->addrs);
    pr_free(r);
}

static void remove_entry(struct dns_cache *c, struct entry *e)
{
    (void)pr_map_del_str(&c->entries, pr_slice(e->key, e->key_len));
    pr_list_remove(&e->lru);
    dns_record_unref(e->record);
    pr_free(e);
}

void dns_cache_init(struct dns_cache *c, size_t max, uint64_t seed)
{
    pr_map_init(&c->entries, seed);
    pr_list_init(&c->lru);
    c->max = max;
}

void dns_cache_fini(struct dns_cache *c)
{
    for (struct pr_list *n; (n = pr_list_first(&c->lru)) != NULL;)
        remove_entry(c, pr_list_entry(n, struct entry, lru));
    pr_map_fini(&c->entries);
}

struct dns_record *dns_cache_get(struct dns_cache *c, struct pr_slice key, uint64_t now_ms)
{
    struct entry *e = pr_map_get_str(&c->entries, key);
    if (e == NULL)
        return NULL;
    if (e->record->expires_ms <= now_ms) {
        remove_entry(c, e);
        return NULL;
    }
    pr_list_remove(&e->lru);
    pr_list_push_front(&c->lru, &e->lru);
    return e->record;
}

void dns_cache_put(struct dns_cache *c, struct pr_slice key, struct dns_record *r)
{
    struct entry *e = pr_map_get_str(&c->entries, key);
    if (e != NULL)
        remove_entry(c, e);
    while (pr_map_count(&c->entries) >= c->max)
        remove_entry(c, pr_list_entry(c->lru.prev, struct entry, lru));
    e = pr_new(struct entry);
    e->record = dns_record_ref(r);
    e->key_len = key.len;
    memcpy(e->key, key.ptr, key.len);
    pr_list_push_front(&c->lru, &e->lru);
    (void)pr_map_put_str(&c->entries, key, e);
}
