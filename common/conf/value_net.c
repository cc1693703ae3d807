/* value_net.c - addresses, networks, host names, next hops. */
#include <arpa/inet.h>

#include "common/base/alloc.h"
#include "common/conf/value.h"

enum { SUN_PATH_MAX = 107 };

bool conf_parse_address(struct pr_slice s, struct in6_addr *ret)
{
    char text[INET6_ADDRSTRLEN];
    struct in_addr v4;
    if (s.len == 0 || s.len >= sizeof text || pr_slice_find(s, '\0') != SIZE_MAX)
        return false;
    memcpy(text, s.ptr, s.len);
    text[s.len] = '\0';
    if (inet_pton(AF_INET6, text, ret) == 1)
        return true;
    if (inet_pton(AF_INET, text, &v4) != 1)
        return false;
    memset(ret, 0, sizeof *ret);
    ret->s6_addr[10] = ret->s6_addr[11] = 0xff;
    memcpy(&ret->s6_addr[12], &v4, 4);
    return true;
}

bool conf_host_valid(struct pr_slice s)
{
    if (s.len == 0 || s.len > 253)
        return false;
    bool numeric = true;
    struct pr_slice rest = s;
    while (rest.ptr != NULL) {
        struct pr_slice label = pr_slice_cut(rest, '.', &rest);
        if (label.len == 0 || label.len > 63 || label.ptr[0] == '-' || label.ptr[label.len - 1] == '-')
            return false;
        numeric = true;
        for (size_t i = 0; i < label.len; i++) {
            if (!pr_is_alnum(label.ptr[i]) && label.ptr[i] != '-')
                return false;
            numeric = numeric && pr_is_digit(label.ptr[i]);
        }
    }
    /* RFC 1123 2.1: the last label is alphabetic, so a name never looks like an address. */
    return !numeric;
}

static bool is_v4(const struct in6_addr *a) { return IN6_IS_ADDR_V4MAPPED(a); }

static void address_text(const struct in6_addr *a, struct pr_buf *out)
{
    char text[INET6_ADDRSTRLEN];
    if (is_v4(a))
        (void)inet_ntop(AF_INET, &a->s6_addr[12], text, sizeof text);
    else
        (void)inet_ntop(AF_INET6, a, text, sizeof text);
    pr_buf_str(out, text);
}

bool pr_cidr_contains(const struct pr_cidr *c, const struct in6_addr *addr)
{
    unsigned whole = c->prefix / 8, rest = c->prefix % 8;
    if (memcmp(c->net.s6_addr, addr->s6_addr, whole) != 0)
        return false;
    if (rest == 0)
        return true;
    unsigned mask = (0xff00U >> rest) & 0xff;
    return (c->net.s6_addr[whole] & mask) == (addr->s6_addr[whole] & mask);
}

void conf_cidr_text(const struct pr_cidr *c, struct pr_buf *out)
{
    address_text(&c->net, out);
    /* ::ffff:0:0 with a prefix below 96 cannot come from the parser. */
    pr_buf_printf(out, "/%u", is_v4(&c->net) ? c->prefix - 96 : c->prefix);
}

static void clear_host_bits(struct pr_cidr *c)
{
    for (unsigned bit = c->prefix; bit < 128; bit++)
        c->net.s6_addr[bit / 8] &= (uint8_t) ~(0x80U >> (bit % 8));
}

int conf_parse_cidr(struct pr_slice s, struct pr_cidr *ret, struct conf_fault *f)
{
    struct pr_slice bits;
    struct pr_slice address = pr_slice_cut(s, '/', &bits);
    struct pr_cidr c;
    if (!conf_parse_address(address, &c.net))
        return conf_fail(f, "like 192.0.2.0/24, 2001:db8::/32, or a single address", "\"%.*s\" is not a network",
                         PR_SLICE_ARG(s));
    bool mapped = is_v4(&c.net);
    bool v4 = mapped && pr_slice_find(address, ':') == SIZE_MAX;
    if (mapped && !v4)
        return conf_fail(f, "write IPv4 networks as 192.0.2.0/24", "\"%.*s\" is a v4-mapped network", PR_SLICE_ARG(s));
    uint32_t prefix = v4 ? 32 : 128;
    if (bits.ptr != NULL && pr_parse_u32(bits, prefix, &prefix) != PR_OK)
        return conf_fail(f, v4 ? "0 to 32 behind the slash" : "0 to 128 behind the slash",
                         "\"%.*s\" has a bad prefix length", PR_SLICE_ARG(s));
    if (bits.len > 1 && bits.ptr[0] == '0')
        return conf_fail(f, NULL, "\"%.*s\" has a prefix length with a leading zero", PR_SLICE_ARG(s));
    c.prefix = v4 ? prefix + 96 : prefix;
    struct in6_addr given = c.net;
    clear_host_bits(&c);
    if (memcmp(&given, &c.net, sizeof given) != 0) {
        struct pr_buf hint = {0};
        pr_buf_str(&hint, "the network is ");
        conf_cidr_text(&c, &hint);
        pr_buf_str(&hint, ", the single address ");
        address_text(&given, &hint);
        pr_buf_str(&hint, v4 ? "/32" : "/128");
        int rc = conf_fail(f, pr_buf_cstr(&hint), "\"%.*s\" has bits set behind its prefix", PR_SLICE_ARG(s));
        pr_buf_fini(&hint);
        return rc;
    }
    *ret = c;
    return PR_OK;
}

static char *lower_dup(struct pr_arena *arena, struct pr_slice s)
{
    char *text = pr_arena_cstr(arena, s);
    for (char *p = text; *p != '\0'; p++)
        *p = pr_lower(*p);
    return text;
}

static const char hostport_hint[] = "like 127.0.0.1:2525, [::1]:2525, host.example:25, unix:/run/file";

static int bad_hostport(struct pr_slice s, struct conf_fault *f)
{
    struct in6_addr a;
    struct pr_buf hint = {0};
    if (conf_parse_address(s, &a) && pr_slice_find(s, ':') != SIZE_MAX)
        pr_buf_printf(&hint, "an IPv6 address needs brackets and a port: [%.*s]:25", PR_SLICE_ARG(s));
    else if (conf_parse_address(s, &a) || conf_host_valid(s))
        pr_buf_printf(&hint, "a port is missing: %.*s:25", PR_SLICE_ARG(s));
    else if (s.len > 0 && (s.ptr[0] == '*' || s.ptr[0] == ':'))
        pr_buf_str(&hint, "all addresses are 0.0.0.0:PORT (IPv4) or [::]:PORT (IPv6)");
    else
        pr_buf_str(&hint, hostport_hint);
    int rc = conf_fail(f, pr_buf_cstr(&hint), "\"%.*s\" is not an address with a port", PR_SLICE_ARG(s));
    pr_buf_fini(&hint);
    return rc;
}

static int parse_unix(struct pr_slice path, struct pr_arena *arena, struct pr_hostport *ret, struct conf_fault *f)
{
    if (path.len < 2 || path.ptr[0] != '/')
        return conf_fail(f, "like unix:/run/postrider/file", "a unix socket needs an absolute path");
    if (path.len > SUN_PATH_MAX)
        return conf_fail(f, "choose a shorter path", "a unix socket path has at most %d bytes", SUN_PATH_MAX);
    *ret = (struct pr_hostport){NULL, 0, pr_arena_cstr(arena, path)};
    return PR_OK;
}

/* [host]:port or host:port; *ret_brackets says which. A missing port is 0. */
static bool split_hostport(struct pr_slice s, struct pr_slice *host, uint16_t *port, bool *ret_brackets)
{
    struct pr_slice digits = {NULL, 0};
    *ret_brackets = s.len > 0 && s.ptr[0] == '[';
    if (*ret_brackets) {
        size_t end = pr_slice_find(s, ']');
        if (end == SIZE_MAX)
            return false;
        *host = pr_slice(s.ptr + 1, end - 1);
        struct pr_slice rest = pr_slice_from(s, end + 1);
        if (rest.len > 0 && rest.ptr[0] != ':')
            return false;
        if (rest.len > 0)
            digits = pr_slice_from(rest, 1);
    } else {
        *host = pr_slice_cut(s, ':', &digits);
    }
    uint32_t n = 0;
    if (digits.ptr != NULL && (pr_parse_u32(digits, 65535, &n) != PR_OK || n == 0 || digits.ptr[0] == '0'))
        return false;
    *port = (uint16_t)n;
    return true;
}

int conf_parse_hostport(struct pr_slice s, struct pr_arena *arena, struct pr_hostport *ret, struct conf_fault *f)
{
    if (pr_slice_starts(s, PR_SLICE_LIT("unix:")))
        return parse_unix(pr_slice_from(s, 5), arena, ret, f);
    struct pr_slice host;
    uint16_t port = 0;
    bool brackets;
    struct in6_addr a;
    if (!split_hostport(s, &host, &port, &brackets) || port == 0 ||
        (!conf_parse_address(host, &a) && !conf_host_valid(host)))
        return bad_hostport(s, f);
    *ret = (struct pr_hostport){lower_dup(arena, host), port, NULL};
    return PR_OK;
}

void conf_hostport_text(const struct pr_hostport *h, struct pr_buf *out)
{
    if (h->unix_path != NULL) {
        pr_buf_printf(out, "unix:%s", h->unix_path);
        return;
    }
    bool v6 = pr_slice_find(pr_slice_str(h->host), ':') != SIZE_MAX;
    pr_buf_printf(out, v6 ? "[%s]:%u" : "%s:%u", h->host, (unsigned)h->port);
}

static const char route_hint[] =
    "mx, [host]:port, host:port (its MX), lmtp:[host]:port, or lmtp:unix:/path";

/* A smarthost: brackets suppress its MX look-up, as in Postfix. */
static int parse_route_host(struct pr_slice s, bool lmtp, struct pr_arena *arena, struct pr_conf_route *r,
                            struct conf_fault *f)
{
    struct pr_slice host;
    uint16_t port = 0;
    bool brackets;
    struct in6_addr a;
    if (conf_parse_address(s, &a) || (split_hostport(s, &host, &port, &brackets) && !brackets &&
                                      conf_parse_address(host, &a)))
        return conf_fail(f, "an address stands in brackets: [192.0.2.1]:25, [2001:db8::1]:25",
                         "\"%.*s\" is an address without brackets", PR_SLICE_ARG(s));
    if (!split_hostport(s, &host, &port, &brackets) || (!conf_host_valid(host) && !conf_parse_address(host, &a)))
        return conf_fail(f, route_hint, "\"%.*s\" is not a next hop", PR_SLICE_ARG(s));
    if (port == 0 && lmtp)
        return conf_fail(f, "like lmtp:[127.0.0.1]:24", "LMTP needs a port");
    r->kind = lmtp ? PR_ROUTE_LMTP : PR_ROUTE_HOST;
    r->next_hop = (struct pr_hostport){lower_dup(arena, host), port == 0 ? 25 : port, NULL};
    r->mx_of_host = !brackets && !lmtp;
    return PR_OK;
}

int conf_parse_route(struct pr_slice s, struct pr_arena *arena, struct pr_conf_route *ret, struct conf_fault *f)
{
    struct pr_conf_route r = {.kind = PR_ROUTE_MX};
    int rc = PR_OK;
    if (pr_slice_eq_str(s, "mx")) {
        r.text = pr_arena_cstr(arena, s);
    } else if (pr_slice_starts(s, PR_SLICE_LIT("lmtp:unix:"))) {
        rc = parse_unix(pr_slice_from(s, 10), arena, &r.next_hop, f);
        r.kind = PR_ROUTE_LMTP;
        r.text = pr_arena_cstr(arena, s);
    } else {
        bool lmtp = pr_slice_starts(s, PR_SLICE_LIT("lmtp:"));
        rc = parse_route_host(lmtp ? pr_slice_from(s, 5) : s, lmtp, arena, &r, f);
        /* Lower case: the text names the destination in limits and listings. */
        r.text = lower_dup(arena, s);
    }
    if (rc == PR_OK) {
        r.domain = ret->domain;
        *ret = r;
    }
    return rc;
}
