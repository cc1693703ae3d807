/* config.h - the configuration of a node as typed values: one immutable snapshot per load, shared by reference count.
 *
 * Owns: everything it points to. Thread: reading any; pr_config_ref/unref any (atomic).
 * Every field comes from one line of the schema table (schema.c), which also holds default, range, unit, reload class and
 * help, and from which parser, JSON schema, `config show` and the reference page are made. */
#ifndef PR_CONF_CONFIG_H
#define PR_CONF_CONFIG_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/buf.h"
#include "common/base/err.h"
#include "common/base/slice.h"

/* IPv4 networks are kept v4-mapped (::ffff:0:0/96 + n). */
struct pr_cidr {
    struct in6_addr net;
    unsigned prefix; /* 0-128, in the mapped form */
};
bool pr_cidr_contains(const struct pr_cidr *c, const struct in6_addr *addr);

struct pr_rate {
    uint64_t count;  /* 0: unlimited */
    uint64_t per_ms;
};

/* host:port, [v6]:port, unix:/path. */
struct pr_hostport {
    char *host;     /* name or address without brackets; NULL for unix */
    uint16_t port;
    char *unix_path;
};

struct pr_conf_listener {
    char *name; /* label in metrics: at most 16 listeners */
    struct pr_hostport address;
    bool implicit_tls;
    char *tls_certificate, *tls_key; /* PEM files, NULL: STARTTLS is not offered */
    unsigned max_connections;
    unsigned max_connections_per_client; /* 0: half of max_connections */
    bool normalize_line_endings;         /* false: refuse bare CR, LF, NUL */
    bool chunking, smtputf8, dsn, pipelining;
};

enum pr_route_kind { PR_ROUTE_MX, PR_ROUTE_HOST /* [host]:port or name:port without MX */, PR_ROUTE_LMTP };
enum pr_tls_mode { PR_TLS_NONE, PR_TLS_OPPORTUNISTIC, PR_TLS_REQUIRED, PR_TLS_VERIFIED };

struct pr_conf_route {
    char *domain; /* exact, ".example.com" (below), or "*" (the default route) */
    enum pr_route_kind kind;
    struct pr_hostport next_hop; /* HOST and LMTP */
    bool mx_of_host;             /* a smarthost given without brackets: look up its MX */
    char *text;                  /* as written: names the destination in limits, metrics, listings */
};

/* Limits of one destination (a routing domain, or a next hop as written in `routes`). All numbers are cluster-wide. */
struct pr_conf_limit {
    char *destination; /* exact, ".example.com", or "*" for the default */
    unsigned connections;
    unsigned messages_per_connection;
    unsigned recipients_per_message; /* RCPTs in one transaction, <= 100 */
    struct pr_rate rate;             /* messages */
};

struct pr_config {
    char *hostname; /* our name in banner, EHLO, Received, DSN; default: the machine's name */
    char *data_dir;
    char *runtime_dir; /* sockets; default <data_dir>/run */

    struct {
        char *level;  /* error warn info debug */
        char *format; /* text json */
    } log;

    struct {
        char *address; /* ipc://... or tcp://127.0.0.1:port; default ipc://<runtime_dir>/bus */
        char *bulk_address;
    } bus;

    struct {
        struct pr_hostport scheduler, ingress, deliverer; /* admin and metrics; default unix:<runtime_dir>/ROLE.http */
    } admin;

    struct {
        unsigned threads; /* 0: as many as useful */
        struct pr_conf_listener *listeners;
        size_t n_listeners;
        struct pr_cidr *trusted_networks;
        size_t n_trusted_networks;
        char **own_domains;
        size_t n_own_domains;
        char **relay_domains;
        size_t n_relay_domains;
        char *banner; /* NULL: "<hostname> ESMTP Postrider" */
        bool vrfy;    /* true: 252; false: 502 */
        uint64_t message_size_max, memory_bytes;
        unsigned recipients_max, command_line_max, hops_max, errors_soft, errors_hard, harmless_max;
        unsigned messages_per_connection_max; /* 0: unlimited */
        uint64_t header_max;                  /* one header field */
        uint64_t command_timeout_ms, data_timeout_ms, tls_timeout_ms, min_rate_bytes_per_s, commit_timeout_ms;
    } ingress;

    struct {
        unsigned shards; /* fixed at the first start */
        uint64_t lifetime_ms, bounce_lifetime_ms, delay_warning_ms /* 0: none */;
        uint64_t *retry_ms;
        size_t n_retry;
        unsigned retry_jitter_percent;
        uint64_t hold_time_ms; /* leases of a silent deliverer */
        uint64_t free_space_low, free_space_floor; /* below low: refuse mail (452); below floor: stop cleanly */
        uint64_t memtable_bytes, cache_bytes; /* of the node, divided among its shards */
        uint64_t snapshot_bytes, trailing_bytes; /* per shard */
        unsigned commit_in_flight;
    } queue;

    struct {
        unsigned threads; /* 0: as many as useful */
        char *ehlo;       /* NULL: hostname */
        char **dns_servers; /* "127.0.0.1:5353"; none: /etc/resolv.conf */
        size_t n_dns_servers;
        uint16_t smtp_port; /* for MX delivery; 25 */
        bool ipv4, ipv6;
        enum pr_tls_mode tls;
        char *tls_ca_file; /* NULL: system store */
        unsigned connections_max; /* of this deliverer */
        uint64_t connect_timeout_ms, greeting_timeout_ms, command_timeout_ms, data_timeout_ms /* 354 */, block_timeout_ms,
            dot_timeout_ms, idle_timeout_ms, quit_timeout_ms;
        struct pr_cidr *refused_networks; /* never connect there by MX: loopback, link-local, ... ; routes may */
        size_t n_refused_networks;
        uint64_t dns_negative_ttl_max_ms, dns_ttl_max_ms, dns_ttl_min_ms;
    } delivery;

    struct pr_conf_route *routes;
    size_t n_routes;
    struct pr_conf_limit *limits;
    size_t n_limits;

    /* private */
    void *impl;
};

struct pr_conf_errors; /* list of {file, line, col, message, hint}, see load.h */

/* Reads, substitutes, validates. On failure PR_EPARSE or PR_EIO and every error at once in *reterr_errors. path NULL gives
 * the defaults. Warnings (an open relay in the making ...) are in the list with PR_OK too. */
PR_MUST_USE int pr_config_load(const char *path, struct pr_config **ret, struct pr_conf_errors **reterr_errors);
struct pr_config *pr_config_ref(struct pr_config *c);
void pr_config_unref(struct pr_config *c);

/* Most specific match for a routing domain (normalised): exact, then longest suffix, then "*"; never NULL (built-in
 * defaults: MX route; 20 connections, 100 messages per connection, no rate). */
const struct pr_conf_route *pr_config_route(const struct pr_config *c, struct pr_slice domain);
const struct pr_conf_limit *pr_config_limit(const struct pr_config *c, struct pr_slice destination);
/* Destination key of a routing domain: the domain itself for MX routes, else the route's text. Borrowed from c or domain. */
struct pr_slice pr_config_destination(const struct pr_config *c, struct pr_slice domain);
bool pr_config_trusted(const struct pr_config *c, const struct in6_addr *addr);

#endif
