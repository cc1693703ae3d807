/* check.c - checks that need more than one item, or knowledge of the world. */
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/base/map.h"
#include "common/conf/impl.h"
#include "common/conf/schema.h"
#include "common/conf/value.h"

struct check {
    const struct pr_config *c;
    struct conf_report *report;
};

/* Where the file gives the item, or no place when it is the default. */
static struct conf_mark place(const struct check *k, const char *path, const void *element)
{
    const struct conf_origin *o =
        conf_origin_find(&conf_impl(k->c)->origins, conf_schema_find(&conf_schema, path), element);
    return o == NULL ? (struct conf_mark){0, 0} : o->mark;
}

static struct conf_mark member_place(const struct check *k, const char *path, size_t i)
{
    const struct conf_origin *o =
        conf_origin_find(&conf_impl(k->c)->origins, conf_schema_find(&conf_schema, path), NULL);
    return o == NULL || o->member_marks == NULL ? (struct conf_mark){0, 0} : o->member_marks[i];
}

#define error_at(k, mark, hint, ...) conf_error((k)->report, mark, hint, __VA_ARGS__)
#define warn_at(k, mark, hint, ...) conf_warning((k)->report, mark, hint, __VA_ARGS__)

static void check_hostname(const struct check *k)
{
    struct conf_mark at = place(k, "hostname", NULL);
    /* Among errors the name may be a stand-in for one of them. */
    if (strchr(k->c->hostname, '.') == NULL && (at.line != 0 || k->report->errors->n_errors == 0))
        warn_at(k, at, "hostname: mail.example.com",
                "the host name \"%s\" is not fully qualified: other servers may refuse our mail", k->c->hostname);
}

static void check_readable(const struct check *k, const char *item, const void *element, const char *path)
{
    if (path != NULL && access(path, R_OK) != 0)
        warn_at(k, place(k, item, element), NULL, "%s cannot be read", path);
}

static void check_listener(const struct check *k, const struct pr_conf_listener *l)
{
    struct in6_addr a;
    struct conf_mark at = place(k, "ingress.listeners[].address", l);
    if (l->address.unix_path != NULL ||
        (l->address.host != NULL && !conf_parse_address(pr_slice_str(l->address.host), &a)))
        error_at(k, at, "an IP address and port: 127.0.0.1:2525, 0.0.0.0:2525, [::]:2525",
                 "a listener needs an IP address");
    if (l->tls_certificate != NULL && l->tls_key == NULL)
        error_at(k, place(k, "ingress.listeners[].tls.certificate", l), "add key: under tls", "a certificate without its key");
    if (l->tls_key != NULL && l->tls_certificate == NULL)
        error_at(k, place(k, "ingress.listeners[].tls.key", l), "add certificate: under tls", "a key without its certificate");
    if (l->implicit_tls && l->tls_certificate == NULL)
        error_at(k, place(k, "ingress.listeners[].implicit_tls", l), "add tls: {certificate: ..., key: ...}",
                 "implicit TLS needs a certificate");
    if (l->max_connections_per_client > l->max_connections)
        warn_at(k, place(k, "ingress.listeners[].max_connections_per_client", l), NULL,
                "more connections per client than max_connections (%u)", l->max_connections);
    check_readable(k, "ingress.listeners[].tls.certificate", l, l->tls_certificate);
    check_readable(k, "ingress.listeners[].tls.key", l, l->tls_key);
}

static bool same_hostport(const struct pr_hostport *a, const struct pr_hostport *b)
{
    struct in6_addr x, y;
    if (a->host == NULL || b->host == NULL || a->port != b->port)
        return false;
    return conf_parse_address(pr_slice_str(a->host), &x) && conf_parse_address(pr_slice_str(b->host), &y) &&
           memcmp(&x, &y, sizeof x) == 0;
}

static void check_listeners(const struct check *k)
{
    const struct pr_conf_listener *l = k->c->ingress.listeners;
    for (size_t i = 0; i < k->c->ingress.n_listeners; i++) {
        check_listener(k, &l[i]);
        for (size_t j = 0; j < i; j++)
            if (same_hostport(&l[i].address, &l[j].address))
                error_at(k, place(k, "ingress.listeners[].address", &l[i]), "one listener per address and port",
                         "the listener %s has this address already", l[j].name == NULL ? "above" : l[j].name);
    }
}

struct network {
    uint8_t bytes[16];
    unsigned prefix;
};

#define V4(a, b, c, d) {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d}
/* Never a stranger's address: RFC 1918, loopback, link-local, RFC 6598, unique local. */
static const struct network private_networks[] = {
    {V4(10, 0, 0, 0), 104},    {V4(172, 16, 0, 0), 108}, {V4(192, 168, 0, 0), 112},
    {V4(127, 0, 0, 0), 104},   {V4(169, 254, 0, 0), 112}, {V4(100, 64, 0, 0), 106},
    {{0xfc}, 7},               {{0xfe, 0x80}, 10},        {{[15] = 1}, 128},
};

static bool is_private(const struct pr_cidr *c)
{
    for (size_t i = 0; i < PR_ARRAY_LEN(private_networks); i++) {
        struct pr_cidr p = {.prefix = private_networks[i].prefix};
        memcpy(&p.net, private_networks[i].bytes, sizeof p.net);
        if (c->prefix >= p.prefix && pr_cidr_contains(&p, &c->net))
            return true;
    }
    return false;
}

static const char trusted_hint[] = "list the hosts that send through us, like 192.0.2.10 or 10.1.2.0/24";

/* A relay open to the Internet is found and abused within hours. */
static void check_trusted(const struct check *k)
{
    for (size_t i = 0; i < k->c->ingress.n_trusted_networks; i++) {
        const struct pr_cidr *c = &k->c->ingress.trusted_networks[i];
        struct conf_mark at = member_place(k, "ingress.trusted_networks", i);
        bool v4 = IN6_IS_ADDR_V4MAPPED(&c->net);
        unsigned prefix = v4 ? c->prefix - 96 : c->prefix;
        struct pr_buf text = {0};
        conf_cidr_text(c, &text);
        if (prefix == 0)
            warn_at(k, at, trusted_hint, "open relay: %s lets everybody send to any domain", pr_buf_cstr(&text));
        else if (prefix < (v4 ? 8U : 16U) && !is_private(c))
            warn_at(k, at, trusted_hint, "open relay: %s is a large part of the Internet", pr_buf_cstr(&text));
        else if (prefix < (v4 ? 24U : 48U) && !is_private(c))
            warn_at(k, at, trusted_hint, "%s holds addresses of strangers, who may then send to any domain",
                    pr_buf_cstr(&text));
        pr_buf_fini(&text);
    }
}

static void check_ingress(const struct check *k)
{
    const struct pr_config *c = k->c;
    if (c->ingress.errors_soft >= c->ingress.errors_hard)
        warn_at(k, place(k, "ingress.limits.soft_errors", NULL), NULL, "soft_errors is not below hard_errors (%u)",
                c->ingress.errors_hard);
    struct pr_slice banner = pr_slice_str(c->ingress.banner);
    if (banner.len > 0 && !pr_slice_istarts(banner, pr_slice_str(c->hostname)))
        warn_at(k, place(k, "ingress.banner", NULL), "RFC 5321 4.2", "the banner does not begin with our name, %s",
                c->hostname);
}

static void check_retry(const struct check *k)
{
    const struct pr_config *c = k->c;
    if (c->queue.n_retry == 0)
        error_at(k, place(k, "queue.retry", NULL), "like [5m, 10m, 20m, 40m, 1h, 1h, 2h, 4h]", "no pause between attempts");
    for (size_t i = 1; i < c->queue.n_retry; i++)
        if (c->queue.retry_ms[i] < c->queue.retry_ms[i - 1])
            warn_at(k, member_place(k, "queue.retry", i), "pauses usually grow", "this pause is shorter than the one before");
    if (c->queue.n_retry > 0 && c->queue.retry_ms[0] >= c->queue.lifetime_ms)
        warn_at(k, place(k, "queue.retry", NULL), NULL, "the first pause is not shorter than lifetime: one attempt only");
}

static void check_queue(const struct check *k)
{
    const struct pr_config *c = k->c;
    check_retry(k);
    if (c->queue.delay_warning_ms >= c->queue.lifetime_ms && c->queue.delay_warning_ms != 0)
        warn_at(k, place(k, "queue.delay_warning", NULL), "0 turns it off", "no warning is sent: lifetime ends earlier");
    if (c->queue.free_space_floor >= c->queue.free_space_low)
        error_at(k, place(k, "queue.free_space.floor", NULL), "mail is refused below low, we stop below floor",
                 "floor is not below low");
    if (c->queue.trailing_bytes > c->queue.snapshot_bytes)
        warn_at(k, place(k, "queue.trailing", NULL), "half of snapshot is usual",
                "more log is kept behind a cut than lies between two cuts");
    if (c->queue.hold_time_ms < c->delivery.dot_timeout_ms)
        warn_at(k, place(k, "queue.hold_time", NULL), "longer than delivery.timeouts.dot",
                "hold_time is shorter than a transaction may take: mail may be sent twice");
}

static void check_unix_length(const struct check *k, const char *item, const char *path)
{
    enum { SUN_PATH_MAX = 107 };
    if (path != NULL && strlen(path) > SUN_PATH_MAX)
        error_at(k, place(k, item, NULL), "choose a shorter runtime_dir",
                 "the path of a unix socket has at most %d bytes: %s", SUN_PATH_MAX, path);
}

static void check_endpoint(const struct check *k, const char *item, const char *endpoint)
{
    if (strncmp(endpoint, "ipc://", 6) == 0)
        check_unix_length(k, item, endpoint + 6);
}

static void check_sockets(const struct check *k)
{
    const struct pr_config *c = k->c;
    check_endpoint(k, "bus.address", c->bus.address);
    check_endpoint(k, "bus.bulk_address", c->bus.bulk_address);
    check_unix_length(k, "admin.scheduler", c->admin.scheduler.unix_path);
    check_unix_length(k, "admin.ingress", c->admin.ingress.unix_path);
    check_unix_length(k, "admin.deliverer", c->admin.deliverer.unix_path);
    if (strcmp(c->bus.address, c->bus.bulk_address) == 0)
        error_at(k, place(k, "bus.bulk_address", NULL), NULL, "address and bulk_address are the same");
}

static void check_delivery(const struct check *k)
{
    const struct pr_config *c = k->c;
    if (!c->delivery.ipv4 && !c->delivery.ipv6)
        error_at(k, place(k, "delivery.ipv6", NULL), NULL, "neither IPv4 nor IPv6: nothing can be delivered");
    if (c->delivery.dns_ttl_min_ms > c->delivery.dns_ttl_max_ms)
        error_at(k, place(k, "delivery.dns.ttl_min", NULL), NULL, "ttl_min is above ttl_max");
    check_readable(k, "delivery.tls_ca_file", NULL, c->delivery.tls_ca_file);
}

/* Also fills texts with the next hops. */
static void check_routes(const struct check *k, struct pr_map *texts)
{
    const struct pr_config *c = k->c;
    for (size_t i = 0; i < c->n_routes; i++) {
        const struct pr_conf_route *r = &c->routes[i];
        if (r->text == NULL)
            continue;
        pr_map_put_str(texts, pr_slice_str(r->text), (void *)(uintptr_t)r);
        for (size_t j = 0; r->kind == PR_ROUTE_HOST && j < c->ingress.n_listeners; j++)
            if (same_hostport(&r->next_hop, &c->ingress.listeners[j].address))
                warn_at(k, place(k, "routes[].via", r), NULL, "mail loop: this is our own listener %s",
                        c->ingress.listeners[j].name == NULL ? "" : c->ingress.listeners[j].name);
    }
}

static void check_limits(const struct check *k, const struct pr_map *texts)
{
    for (size_t i = 0; i < k->c->n_limits; i++) {
        const char *d = k->c->limits[i].destination;
        bool hop = d != NULL && (strpbrk(d, "[:/") != NULL);
        if (hop && pr_map_get_str(texts, pr_slice_str(d)) == NULL)
            warn_at(k, place(k, "limits[].destination", &k->c->limits[i]), "write it exactly as in routes",
                    "no route has the next hop %s", d);
    }
}

void conf_check(const struct pr_config *c, struct conf_report *report)
{
    struct check k = {c, report};
    struct pr_map texts;
    pr_map_init(&texts, 0);
    check_hostname(&k);
    check_sockets(&k);
    check_listeners(&k);
    check_trusted(&k);
    check_ingress(&k);
    check_queue(&k);
    check_delivery(&k);
    check_routes(&k, &texts);
    check_limits(&k, &texts);
    pr_map_fini(&texts);
}
