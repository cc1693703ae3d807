/* Addresses as text and as networks; IPv4 is v4-mapped throughout. */
#include "deliverer/core/route.h"

static const uint8_t v4_prefix[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

bool dlv_addr_is_v4(const struct in6_addr *a)
{
    return memcmp(a->s6_addr, v4_prefix, sizeof v4_prefix) == 0;
}

bool dlv_net_contains(const struct dlv_net *net, const struct in6_addr *addr)
{
    unsigned whole = net->prefix / 8, rest = net->prefix % 8;
    if (memcmp(net->net.s6_addr, addr->s6_addr, whole) != 0)
        return false;
    if (rest == 0)
        return true;
    unsigned mask = 0xff00u >> rest & 0xff;
    return ((net->net.s6_addr[whole] ^ addr->s6_addr[whole]) & mask) == 0;
}

static int parse_v4(struct pr_slice text, uint8_t out[4])
{
    struct pr_slice rest = text;
    for (unsigned i = 0; i < 4; i++) {
        if (i > 0 && rest.ptr == NULL)
            return PR_EPARSE;
        struct pr_slice part = pr_slice_cut(rest, '.', &rest);
        uint32_t v;
        if (part.len > 3 || (part.len > 1 && part.ptr[0] == '0') || pr_parse_u32(part, 255, &v) != 0)
            return PR_EPARSE;
        out[i] = (uint8_t)v;
    }
    return rest.ptr == NULL ? 0 : PR_EPARSE;
}

/* Groups of 16 bits up to the end of text; the last may be an IPv4 address (RFC 4291 2.2). */
static int parse_groups(struct pr_slice text, uint8_t *out, size_t max, size_t *ret_n)
{
    size_t n = 0;
    struct pr_slice rest = text;
    while (rest.ptr != NULL && text.len > 0) {
        struct pr_slice part = pr_slice_cut(rest, ':', &rest);
        uint64_t v;
        if (rest.ptr == NULL && pr_slice_find(part, '.') != SIZE_MAX) {
            if (n + 4 > max || parse_v4(part, out + n) != 0)
                return PR_EPARSE;
            n += 4;
            break;
        }
        if (n + 2 > max || part.len == 0 || part.len > 4 || pr_parse_hex64(part, &v) != 0)
            return PR_EPARSE;
        out[n++] = (uint8_t)(v >> 8);
        out[n++] = (uint8_t)v;
    }
    *ret_n = n;
    return 0;
}

static int parse_v6(struct pr_slice text, struct in6_addr *ret)
{
    uint8_t head[16], tail[16];
    size_t n_head, n_tail = 0, gap = pr_slice_find_slice(text, PR_SLICE_LIT("::"));
    struct pr_slice left = pr_slice_head(text, gap);
    if (parse_groups(left, head, 16, &n_head) != 0)
        return PR_EPARSE;
    if (gap == SIZE_MAX) {
        if (n_head != 16)
            return PR_EPARSE;
    } else if (parse_groups(pr_slice_from(text, gap + 2), tail, 14, &n_tail) != 0 || n_head + n_tail > 14) {
        return PR_EPARSE;
    }
    memset(ret, 0, sizeof *ret);
    memcpy(ret->s6_addr, head, n_head);
    memcpy(ret->s6_addr + 16 - n_tail, tail, n_tail);
    return 0;
}

int dlv_addr_parse(struct pr_slice text, struct in6_addr *ret)
{
    bool literal = text.len >= 2 && text.ptr[0] == '[' && text.ptr[text.len - 1] == ']';
    if (literal)
        text = pr_slice(text.ptr + 1, text.len - 2);
    if (literal && pr_slice_istarts(text, PR_SLICE_LIT("IPv6:")))
        return parse_v6(pr_slice_from(text, 5), ret);
    struct in6_addr v4 = {{{0}}};
    memcpy(v4.s6_addr, v4_prefix, sizeof v4_prefix);
    if (parse_v4(text, v4.s6_addr + 12) == 0) {
        *ret = v4;
        return 0;
    }
    /* A bare IPv6 address in brackets is how next hops are written. */
    return pr_slice_find(text, ':') != SIZE_MAX ? parse_v6(text, ret) : PR_EPARSE;
}
