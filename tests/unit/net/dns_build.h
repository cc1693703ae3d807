/* dns_build.h - writes DNS packets for tests, good and bad ones. */
#ifndef TEST_NET_DNS_BUILD_H
#define TEST_NET_DNS_BUILD_H

#include "common/base/buf.h"

enum { T_A = 1, T_NS = 2, T_CNAME = 5, T_SOA = 6, T_MX = 15, T_TXT = 16, T_AAAA = 28 };

/* "a.b" as labels and the root; "" is the root. */
static inline void dns_name(struct pr_buf *b, const char *name)
{
    struct pr_slice rest = pr_slice_str(name);
    while (rest.len > 0) {
        struct pr_slice label = pr_slice_cut(rest, '.', &rest);
        pr_buf_char(b, (char)label.len);
        pr_buf_add(b, label);
    }
    pr_buf_char(b, '\0');
}

/* flags: 0x8180 is a plain answer; | 3 NXDOMAIN, | 2 SERVFAIL. */
static inline void dns_begin(struct pr_buf *b, uint16_t id, uint16_t flags, const char *name, uint16_t type)
{
    pr_buf_clear(b);
    pr_buf_be16(b, id);
    pr_buf_be16(b, flags);
    pr_buf_be16(b, 1);
    pr_buf_be32(b, 0);
    pr_buf_be16(b, 0);
    dns_name(b, name);
    pr_buf_be16(b, type);
    pr_buf_be16(b, 1);
}

/* section: 1 answer, 2 authority, 3 additional; counts itself in. data: already in wire form. */
static inline void dns_rr(struct pr_buf *b, unsigned section, const char *owner, uint16_t type, uint32_t ttl,
                          struct pr_slice data)
{
    size_t at = 4 + 2 * section;
    b->ptr[at + 1]++;
    if (b->ptr[at + 1] == 0)
        b->ptr[at]++;
    dns_name(b, owner);
    pr_buf_be16(b, type);
    pr_buf_be16(b, 1);
    pr_buf_be32(b, ttl);
    pr_buf_be16(b, (uint16_t)data.len);
    pr_buf_add(b, data);
}

static inline void dns_name_rr(struct pr_buf *b, unsigned section, const char *owner, uint16_t type, uint32_t ttl,
                               const char *target)
{
    struct pr_buf d = {0};
    dns_name(&d, target);
    dns_rr(b, section, owner, type, ttl, pr_buf_slice(&d));
    pr_buf_fini(&d);
}

static inline void dns_mx(struct pr_buf *b, const char *owner, uint32_t ttl, uint16_t preference, const char *host)
{
    struct pr_buf d = {0};
    pr_buf_be16(&d, preference);
    dns_name(&d, host);
    dns_rr(b, 1, owner, T_MX, ttl, pr_buf_slice(&d));
    pr_buf_fini(&d);
}

static inline void dns_a(struct pr_buf *b, const char *owner, uint32_t ttl, uint32_t addr)
{
    struct pr_buf d = {0};
    pr_buf_be32(&d, addr);
    dns_rr(b, 1, owner, T_A, ttl, pr_buf_slice(&d));
    pr_buf_fini(&d);
}

static inline void dns_aaaa(struct pr_buf *b, const char *owner, uint32_t ttl, uint8_t last)
{
    char addr[16] = {0x20, 0x01, 0x0d, (char)0xb8};
    addr[15] = (char)last;
    dns_rr(b, 1, owner, T_AAAA, ttl, pr_slice(addr, sizeof addr));
}

static inline void dns_soa(struct pr_buf *b, const char *owner, uint32_t ttl, uint32_t minimum)
{
    struct pr_buf d = {0};
    dns_name(&d, "ns.example");
    dns_name(&d, "root.example");
    for (unsigned i = 0; i < 4; i++)
        pr_buf_be32(&d, 1);
    pr_buf_be32(&d, minimum);
    dns_rr(b, 2, owner, T_SOA, ttl, pr_buf_slice(&d));
    pr_buf_fini(&d);
}

#endif
