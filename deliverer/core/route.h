/* route.h - from DNS answers to the ordered list of addresses to try (RFC 5321 5.1, RFC 7505), pure.
 *
 * 1. dlv_route_begin: a literal or a next hop that is an address is done at once; otherwise the hosts come from an MX
 *    answer (dlv_route_mx) or are the one host given.
 * 2. dlv_route_addr for each host; then dlv_route_finish orders the targets or says why there are none.
 *
 * Owns: everything in struct dlv_route (names are copied). Thread: any. Errors: verdicts. */
#ifndef DLV_ROUTE_H
#define DLV_ROUTE_H

#include <netinet/in.h>

#include "common/base/clock.h"
#include "common/base/rng.h"
#include "deliverer/core/mail.h"

enum { DLV_HOSTS_MAX = 5, DLV_TARGETS_MAX = 10, DLV_ADDRS_MAX = 16, DLV_SESSIONS_MAX = 2 };

enum dlv_dns { DLV_DNS_OK, DLV_DNS_NODATA, DLV_DNS_NXDOMAIN, DLV_DNS_TEMP };

struct dlv_mx {
    uint16_t preference;
    const char *host; /* lower case, no trailing dot; "" for the root */
};

struct dlv_net { /* IPv4 is v4-mapped */
    struct in6_addr net;
    unsigned prefix;
};
struct dlv_endpoint {
    struct in6_addr addr;
    uint16_t port;
};

struct dlv_route_options {
    struct pr_slice hostname; /* our own name: an MX of that name is us */
    const struct dlv_endpoint *own; /* our own listeners: a target among them is us */
    size_t n_own;
    const struct dlv_net *refused; /* never by MX */
    size_t n_refused;
    bool ipv4, ipv6;
    uint16_t port;
};

struct dlv_host {
    char name[256];
    uint16_t preference;
    bool answered;
    enum dlv_dns status;
    struct in6_addr addrs[DLV_ADDRS_MAX];
    size_t n_addrs;
};
struct dlv_target {
    struct in6_addr addr;
    uint16_t port;
    uint8_t host; /* index into hosts */
};

struct dlv_route {
    bool by_mx; /* the peer's DNS chose the hosts: refused networks and the loop check apply */
    bool implicit; /* the domain has no MX and is its own host */
    uint16_t port;
    struct dlv_host hosts[DLV_HOSTS_MAX];
    size_t n_hosts;
    struct dlv_target targets[DLV_TARGETS_MAX];
    size_t n_targets;
    bool failed;
    struct dlv_verdict verdict; /* if failed; static text */
};

/* What to ask next. */
enum dlv_route_need { DLV_NEED_MX, DLV_NEED_ADDRS, DLV_NEED_NOTHING };

/* domain: a routing domain, an address literal ("[192.0.2.1]", "[IPv6:2001:db8::1]"), a host name or a bare address.
 * mx: look up its MX first; otherwise its addresses. port 0: that of the options. */
enum dlv_route_need dlv_route_begin(struct dlv_route *r, struct pr_slice domain, bool mx, uint16_t port,
                                    const struct dlv_route_options *o);
/* The MX answer: hosts by preference, equal ones in random order, cut at our own rank, at most DLV_HOSTS_MAX. domain is
 * the one asked for: with no MX it is its own host (implicit MX). */
enum dlv_route_need dlv_route_mx(struct dlv_route *r, struct pr_slice domain, enum dlv_dns status, const struct dlv_mx *mx,
                                 size_t n, struct pr_rng *rng, const struct dlv_route_options *o);
void dlv_route_addr(struct dlv_route *r, size_t host, enum dlv_dns status, const struct in6_addr *addrs, size_t n);
bool dlv_route_addrs_done(const struct dlv_route *r);
/* Orders: preference, then families in turn, duplicates dropped, dead ones last. Sets targets, or failed and verdict. */
struct dlv_deadlist;
void dlv_route_finish(struct dlv_route *r, const struct dlv_route_options *o, const struct dlv_deadlist *dead, pr_mono now);

/* Parses "192.0.2.1", "2001:db8::1", "[192.0.2.1]", "[IPv6:2001:db8::1]". */
PR_MUST_USE int dlv_addr_parse(struct pr_slice text, struct in6_addr *ret);
bool dlv_addr_is_v4(const struct in6_addr *a);
bool dlv_net_contains(const struct dlv_net *net, const struct in6_addr *addr);

/* Addresses that failed lately: tried last, not never. A small ring, oldest forgotten first. */
enum { DLV_DEAD_MAX = 256 };
struct dlv_deadlist {
    struct dlv_dead {
        struct dlv_endpoint at;
        pr_mono until;
    } items[DLV_DEAD_MAX];
    size_t next;
};
void dlv_dead_init(struct dlv_deadlist *d);
void dlv_dead_mark(struct dlv_deadlist *d, const struct in6_addr *addr, uint16_t port, pr_mono until);
void dlv_dead_clear(struct dlv_deadlist *d, const struct in6_addr *addr, uint16_t port);
bool dlv_dead_has(const struct dlv_deadlist *d, const struct in6_addr *addr, uint16_t port, pr_mono now);

#endif
