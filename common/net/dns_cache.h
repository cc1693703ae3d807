/* dns_cache.h - what the resolver remembers: immutable records by type and name, bounded, least recently used out first.
 * Told the time. Internal to common/net.
 *
 * Owns: its entries and a reference to each record. Thread: one at a time. */
#ifndef PR_NET_DNS_CACHE_H
#define PR_NET_DNS_CACHE_H

#include "common/base/list.h"
#include "common/base/map.h"
#include "common/net/dns_packet.h"

/* Counted by reference: the cache and waiting queries share them. */
struct dns_record {
    unsigned refs;
    enum pr_dns_status status;
    const char *error;
    uint64_t expires_ms; /* monotonic */
    size_t n;
    struct pr_dns_mx *mx; /* one block with the names */
    struct in6_addr *addrs;
};

struct dns_record *dns_record_new(const struct pr_dns_reply *reply, enum pr_dns_type type, uint64_t expires_ms);
struct dns_record *dns_record_ref(struct dns_record *r);
void dns_record_unref(struct dns_record *r);

/* Type and name, lower case. */
enum { DNS_KEY_MAX = 1 + PR_DNS_NAME_MAX };

struct dns_cache {
    struct pr_map entries;
    struct pr_list lru; /* most recent first */
    size_t max;
};

void dns_cache_init(struct dns_cache *c, size_t max, uint64_t seed);
void dns_cache_fini(struct dns_cache *c);
/* Borrowed until the next call; NULL when there is none or it has expired. */
struct dns_record *dns_cache_get(struct dns_cache *c, struct pr_slice key, uint64_t now_ms);
/* Takes a reference of its own. */
void dns_cache_put(struct dns_cache *c, struct pr_slice key, struct dns_record *r);

#endif
