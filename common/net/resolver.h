/* resolver.h - asynchronous DNS (c-ares) with a cache of its own: positive answers by their TTL within [min, max],
 * negative ones (NXDOMAIN, NODATA) by the SOA minimum up to a maximum, failures for a few seconds. Equal questions in
 * flight are merged. Bounded: entries (LRU), records per answer, questions in flight.
 *
 * Owns: channel, cache. Thread: that of its loop. Callbacks come later, never from inside the call. */
#ifndef PR_NET_RESOLVER_H
#define PR_NET_RESOLVER_H

#include <netinet/in.h>
#include <uv.h>

#include "common/base/err.h"
#include "common/base/slice.h"

enum pr_dns_status {
    PR_DNS_OK,
    PR_DNS_NODATA,    /* the name exists, no such records */
    PR_DNS_NXDOMAIN,
    PR_DNS_TEMP,      /* SERVFAIL, REFUSED, timeout, malformed: try later */
    PR_DNS_STATUS_NR,
};
extern const char *const pr_dns_status_names[PR_DNS_STATUS_NR];

struct pr_dns_mx {
    uint16_t preference;
    const char *host; /* lower case, no trailing dot; "" for the root (null MX, RFC 7505) */
};

enum { PR_DNS_RECORDS_MAX = 64 };

struct pr_dns_answer {
    enum pr_dns_status status;
    const char *error; /* static text, for TEMP */
    size_t n;
    const struct pr_dns_mx *mx;      /* for MX questions */
    const struct in6_addr *addrs;    /* for address questions, IPv4 v4-mapped */
    uint32_t ttl_s;
    bool cached;
};
/* The answer is borrowed until return. */
typedef void (*pr_dns_fn)(void *data, uint64_t query_id, const struct pr_dns_answer *answer);

struct pr_resolver_options {
    const char *const *servers; /* borrowed until return; "127.0.0.1:5353", "[::1]:53"; none: the system's */
    size_t n_servers;
    uint64_t ttl_min_ms, ttl_max_ms /* 0: a day */, negative_ttl_max_ms;
    unsigned timeout_ms /* 0: 2000 */, tries /* 0: 3 */;
    size_t cache_entries; /* 0: 65536 */
    void (*on_query)(void *data, const char *type, enum pr_dns_status status, uint64_t duration_us); /* metrics, or NULL */
    void *on_query_data;
};

struct pr_resolver;
PR_MUST_USE int pr_resolver_new(uv_loop_t *loop, const struct pr_resolver_options *o, struct pr_resolver **ret, char **reterr_text);
/* Returns a query id for pr_resolver_cancel. Names are given without trailing dot; non-ASCII is refused as NXDOMAIN
 * (callers convert to A-labels). CNAMEs are followed by the server; chains in the answer are accepted up to 10. */
uint64_t pr_resolver_mx(struct pr_resolver *r, struct pr_slice name, pr_dns_fn fn, void *data);
/* want: AF_INET, AF_INET6 or AF_UNSPEC (both, IPv6 first). */
uint64_t pr_resolver_addr(struct pr_resolver *r, struct pr_slice name, int want, pr_dns_fn fn, void *data);
/* The callback will not come. Unknown ids are fine. */
void pr_resolver_cancel(struct pr_resolver *r, uint64_t query_id);
/* Pending callbacks are dropped; on_closed when all handles are gone. */
void pr_resolver_close(struct pr_resolver *r, void (*on_closed)(void *data), void *data);

#endif
