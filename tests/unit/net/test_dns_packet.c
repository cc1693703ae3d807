/* DNS replies: records, CNAME chains, refusals with their lifetimes, and packets made to hurt. */
#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>

#include "common/base/alloc.h"
#include "common/net/dns_packet.h"
#include "dns_build.h"

static struct pr_dns_reply reply_of(const struct pr_buf *b, const char *name, enum pr_dns_type type)
{
    struct pr_dns_reply r;
    /* An exact-size block lets the sanitizer see every overread. */
    char *exact = pr_memdup(b->ptr, b->len);
    pr_dns_parse(pr_slice(exact, b->len), pr_slice_str(name), type, &r);
    pr_free(exact);
    return r;
}

static void assert_temp(const struct pr_buf *b, const char *name, enum pr_dns_type type, const char *error)
{
    struct pr_dns_reply r = reply_of(b, name, type);
    assert_int_equal(r.status, PR_DNS_TEMP);
    assert_string_equal(r.error, error);
    assert_int_equal(r.n, 0);
    pr_dns_reply_fini(&r);
}

static void test_mx(void **state)
{
    (void)state;
    struct pr_buf b = {0};
    dns_begin(&b, 7, 0x8180, "Example.COM", T_MX);
    dns_mx(&b, "example.com", 300, 10, "MX1.example.com");
    dns_mx(&b, "EXAMPLE.com", 200, 20, "mx_2.example.com");
    dns_mx(&b, "other.com", 1, 5, "evil.example");        /* not what we asked for */
    dns_mx(&b, "example.com", 250, 30, "mx space.example"); /* no host can have that name */
    struct pr_dns_reply r = reply_of(&b, "example.com", PR_DNS_MX);
    assert_int_equal(r.status, PR_DNS_OK);
    assert_int_equal(r.n, 2);
    assert_int_equal(r.mx[0].preference, 10);
    assert_string_equal(r.mx[0].host, "mx1.example.com");
    assert_string_equal(r.mx[1].host, "mx_2.example.com");
    assert_int_equal(r.ttl_s, 200);
    pr_dns_reply_fini(&r);
    /* Null MX. */
    dns_begin(&b, 7, 0x8180, "example.com", T_MX);
    dns_mx(&b, "example.com", 300, 0, "");
    r = reply_of(&b, "example.com", PR_DNS_MX);
    assert_int_equal(r.n, 1);
    assert_string_equal(r.mx[0].host, "");
    pr_dns_reply_fini(&r);
    pr_buf_fini(&b);
}

static void test_addresses(void **state)
{
    (void)state;
    struct pr_buf b = {0};
    struct in6_addr want;
    dns_begin(&b, 7, 0x8180, "mx.example", T_A);
    dns_a(&b, "mx.example", 60, 0xc0000201);
    dns_a(&b, "mx.example", 0x80000001, 0xc0000202); /* RFC 2181 8: as 0 */
    struct pr_dns_reply r = reply_of(&b, "mx.example", PR_DNS_A);
    assert_int_equal(r.status, PR_DNS_OK);
    assert_int_equal(r.n, 2);
    assert_int_equal(inet_pton(AF_INET6, "::ffff:192.0.2.2", &want), 1);
    assert_memory_equal(&r.addrs[1], &want, sizeof want);
    assert_int_equal(r.ttl_s, 0);
    dns_begin(&b, 7, 0x8180, "mx.example", T_AAAA);
    dns_aaaa(&b, "mx.example", 60, 9);
    r = reply_of(&b, "mx.example", PR_DNS_AAAA);
    assert_int_equal(inet_pton(AF_INET6, "2001:db8::9", &want), 1);
    assert_int_equal(r.n, 1);
    assert_memory_equal(&r.addrs[0], &want, sizeof want);
    dns_begin(&b, 7, 0x8180, "mx.example", T_A);
    dns_rr(&b, 1, "mx.example", T_A, 60, PR_SLICE_LIT("12345"));
    assert_temp(&b, "mx.example", PR_DNS_A, "malformed reply");
    pr_buf_fini(&b);
}

static void test_too_many_records(void **state)
{
    (void)state;
    struct pr_buf b = {0};
    dns_begin(&b, 7, 0x8180, "mx.example", T_A);
    for (uint32_t i = 0; i < 200; i++)
        dns_a(&b, "mx.example", 60, 0x0a000000 + i);
    struct pr_dns_reply r = reply_of(&b, "mx.example", PR_DNS_A);
    assert_int_equal(r.n, PR_DNS_RECORDS_MAX);
    pr_buf_fini(&b);
}

static void test_cnames(void **state)
{
    (void)state;
    struct pr_buf b = {0};
    char from[16], to[16];
    for (unsigned links = 0; links <= 12; links++) {
        dns_begin(&b, 7, 0x8180, "c0", T_A);
        /* Order does not matter. */
        (void)snprintf(from, sizeof from, "c%u", links);
        dns_a(&b, from, 500, 0x7f000001);
        for (unsigned i = 0; i < links; i++) {
            (void)snprintf(from, sizeof from, "c%u", i);
            (void)snprintf(to, sizeof to, "c%u", i + 1);
            dns_name_rr(&b, 1, from, T_CNAME, 100 + i, to);
        }
        if (links > PR_DNS_CNAMES_MAX) {
            assert_temp(&b, "c0", PR_DNS_A, "CNAME chain is too long or a loop");
            continue;
        }
        struct pr_dns_reply r = reply_of(&b, "c0", PR_DNS_A);
        assert_int_equal(r.status, PR_DNS_OK);
        assert_int_equal(r.n, 1);
        assert_int_equal(r.ttl_s, links == 0 ? 500 : 100);
    }
    dns_begin(&b, 7, 0x8180, "a", T_A);
    dns_name_rr(&b, 1, "a", T_CNAME, 60, "b");
    dns_name_rr(&b, 1, "b", T_CNAME, 60, "a");
    assert_temp(&b, "a", PR_DNS_A, "CNAME chain is too long or a loop");
    dns_begin(&b, 7, 0x8180, "a", T_A);
    dns_name_rr(&b, 1, "a", T_CNAME, 60, "b c");
    assert_temp(&b, "a", PR_DNS_A, "malformed CNAME");
    pr_buf_fini(&b);
}

static void test_negative(void **state)
{
    (void)state;
    struct pr_buf b = {0};
    const struct {
        uint16_t flags;
        bool soa;
        uint32_t soa_ttl, minimum;
        enum pr_dns_status status;
        uint32_t ttl_s;
    } cases[] = {
        {0x8183, true, 900, 300, PR_DNS_NXDOMAIN, 300},
        {0x8183, true, 100, 300, PR_DNS_NXDOMAIN, 100},
        {0x8180, true, 900, 60, PR_DNS_NODATA, 60},
        {0x8183, false, 0, 0, PR_DNS_NXDOMAIN, 0},
        {0x8180, false, 0, 0, PR_DNS_NODATA, 0},
        {0x8180, true, 900, 0xffffffff, PR_DNS_NODATA, 0},
    };
    for (size_t i = 0; i < PR_ARRAY_LEN(cases); i++) {
        dns_begin(&b, 7, cases[i].flags, "no.example", T_MX);
        if (cases[i].soa)
            dns_soa(&b, "example", cases[i].soa_ttl, cases[i].minimum);
        struct pr_dns_reply r = reply_of(&b, "no.example", PR_DNS_MX);
        assert_int_equal(r.status, cases[i].status);
        assert_int_equal(r.ttl_s, cases[i].ttl_s);
        assert_int_equal(r.n, 0);
    }
    /* The chain's TTL bounds it too. */
    dns_begin(&b, 7, 0x8183, "a", T_MX);
    dns_name_rr(&b, 1, "a", T_CNAME, 40, "b");
    dns_soa(&b, "example", 900, 300);
    struct pr_dns_reply r = reply_of(&b, "a", PR_DNS_MX);
    assert_int_equal(r.status, PR_DNS_NXDOMAIN);
    assert_int_equal(r.ttl_s, 40);
    /* A server that only refers us to others has said nothing about the name. */
    dns_begin(&b, 7, 0x8000, "no.example", T_MX);
    dns_name_rr(&b, 2, "example", T_NS, 60, "ns.example");
    assert_temp(&b, "no.example", PR_DNS_MX, "server does not look names up for us (referral)");
    pr_buf_fini(&b);
}

static void test_refusals(void **state)
{
    (void)state;
    struct pr_buf b = {0};
    const struct {
        uint16_t flags;
        const char *error;
    } cases[] = {
        {0x8182, "server failed (SERVFAIL)"},
        {0x8185, "server refused the question (REFUSED)"},
        {0x8181, "server did not understand the question (FORMERR)"},
        {0x8184, "server does not implement the question (NOTIMP)"},
        {0x818f, "server answered with an error"},
        {0x8380, "truncated reply"},
        {0x0180, "malformed reply"}, /* a question */
        {0x9180, "malformed reply"}, /* another opcode */
    };
    for (size_t i = 0; i < PR_ARRAY_LEN(cases); i++) {
        dns_begin(&b, 7, cases[i].flags, "a.example", T_A);
        dns_a(&b, "a.example", 60, 1);
        assert_temp(&b, "a.example", PR_DNS_A, cases[i].error);
    }
    dns_begin(&b, 7, 0x8180, "a.example", T_A);
    dns_a(&b, "a.example", 60, 1);
    assert_temp(&b, "b.example", PR_DNS_A, "reply to another question");
    assert_temp(&b, "a.example", PR_DNS_AAAA, "reply to another question");
    b.ptr[5] = 2; /* two questions */
    assert_temp(&b, "a.example", PR_DNS_A, "malformed reply");
    pr_buf_fini(&b);
}

static void test_every_truncation(void **state)
{
    (void)state;
    struct pr_buf b = {0};
    dns_begin(&b, 7, 0x8180, "example.com", T_MX);
    dns_name_rr(&b, 1, "example.com", T_CNAME, 60, "c.example");
    dns_mx(&b, "c.example", 300, 10, "mx1.example.com");
    size_t whole = b.len;
    for (b.len = 0; b.len < whole; b.len++)
        assert_temp(&b, "example.com", PR_DNS_MX, "malformed reply");
    struct pr_dns_reply r = reply_of(&b, "example.com", PR_DNS_MX);
    assert_int_equal(r.status, PR_DNS_OK);
    pr_dns_reply_fini(&r);
    pr_buf_fini(&b);
}

/* An A record whose owner is the given bytes. */
static void raw_owner(struct pr_buf *b, const void *owner, size_t n)
{
    dns_begin(b, 7, 0x8180, "a.example", T_A);
    b->ptr[7] = 1;
    pr_buf_append(b, owner, n);
    pr_buf_be16(b, T_A);
    pr_buf_be16(b, 1);
    pr_buf_be32(b, 60);
    pr_buf_be16(b, 4);
    pr_buf_be32(b, 0x7f000001);
}

static void test_names(void **state)
{
    (void)state;
    struct pr_buf b = {0};
    struct pr_dns_reply r;
    raw_owner(&b, "\xc0\x0c", 2);
    r = reply_of(&b, "a.example", PR_DNS_A);
    assert_int_equal(r.n, 1);
    raw_owner(&b, "\x01" "A\xc0\x0e", 4); /* compressed in the middle */
    r = reply_of(&b, "a.example", PR_DNS_A);
    assert_int_equal(r.n, 1);
    raw_owner(&b, "\x01\0\x07" "example\0", 11); /* NUL in a label is another name */
    r = reply_of(&b, "a.example", PR_DNS_A);
    assert_int_equal(r.status, PR_DNS_NODATA);
    raw_owner(&b, "\x09" "a.example\0", 11); /* so is a dot in a label */
    r = reply_of(&b, "a.example", PR_DNS_A);
    assert_int_equal(r.status, PR_DNS_NODATA);
    static const struct {
        const char *bytes;
        size_t n;
    } bad[] = {
        {"\xc0\x1b", 2},             /* to itself */
        {"\xc0\xff", 2},             /* beyond the packet */
        {"\xc0\x00", 2},             /* into the header */
        {"\x01" "a\xc0\x1b", 4},     /* loop through a label */
        {"\x40" "a\0", 3},           /* reserved label types */
        {"\x80" "a\0", 3},
        {"\xc0", 1},
    };
    for (size_t i = 0; i < PR_ARRAY_LEN(bad); i++) {
        raw_owner(&b, bad[i].bytes, bad[i].n);
        assert_temp(&b, "a.example", PR_DNS_A, "malformed reply");
    }
    /* 254 characters are too long, 253 are not. */
    char name[300];
    size_t n = 0;
    for (unsigned i = 0; i < 4; i++) {
        name[n++] = 62;
        memset(name + n, 'x', 62);
        n += 62;
    }
    name[n++] = 1; /* 62 * 4 + 3 dots + dot + 1 = 253 */
    name[n++] = 'y';
    name[n++] = '\0';
    raw_owner(&b, name, n);
    r = reply_of(&b, "a.example", PR_DNS_A);
    assert_int_equal(r.status, PR_DNS_NODATA);
    name[n - 3] = 2;
    name[n - 1] = 'y';
    name[n++] = '\0';
    raw_owner(&b, name, n);
    assert_temp(&b, "a.example", PR_DNS_A, "malformed reply");
    pr_buf_fini(&b);
}

static void test_data_lengths(void **state)
{
    (void)state;
    struct pr_buf b = {0};
    static const struct {
        uint16_t type;
        const char *data;
        size_t n;
    } bad[] = {
        {T_MX, "\0\x0a", 2},               /* no exchange */
        {T_MX, "\0\x0a\0\0", 4},           /* bytes behind it */
        {T_MX, "\0\x0a\x03mx", 5},         /* the name runs on beyond the data */
        {T_CNAME, "\x01" "b\0x", 4},
        {T_CNAME, "", 0},
    };
    for (size_t i = 0; i < PR_ARRAY_LEN(bad); i++) {
        dns_begin(&b, 7, 0x8180, "a.example", T_MX);
        dns_rr(&b, 1, "a.example", bad[i].type, 60, pr_slice(bad[i].data, bad[i].n));
        dns_mx(&b, "a.example", 60, 1, "b");
        assert_temp(&b, "a.example", PR_DNS_MX, "malformed reply");
    }
    dns_begin(&b, 7, 0x8183, "a.example", T_MX);
    dns_rr(&b, 2, "example", T_SOA, 60, PR_SLICE_LIT("\0\0\0\0"));
    assert_temp(&b, "a.example", PR_DNS_MX, "malformed reply");
    pr_buf_fini(&b);
}

static void test_host_valid(void **state)
{
    (void)state;
    static const char *const good[] = {"a", "a.b", "mx-1.ex_ample.com", "1.2.3.4", "xn--mnchen-3ya.example"};
    static const char *const bad[] = {"", ".", "a.", ".a", "a..b", "a b", "a\\.b", "m\xc3\xbc.example", "a/b", "a@b"};
    for (size_t i = 0; i < PR_ARRAY_LEN(good); i++)
        assert_true(pr_dns_host_valid(pr_slice_str(good[i])));
    for (size_t i = 0; i < PR_ARRAY_LEN(bad); i++)
        assert_false(pr_dns_host_valid(pr_slice_str(bad[i])));
    char label[65];
    memset(label, 'x', sizeof label);
    assert_true(pr_dns_host_valid(pr_slice(label, 63)));
    assert_false(pr_dns_host_valid(pr_slice(label, 64)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mx),
        cmocka_unit_test(test_addresses),
        cmocka_unit_test(test_too_many_records),
        cmocka_unit_test(test_cnames),
        cmocka_unit_test(test_negative),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_every_truncation),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_data_lengths),
        cmocka_unit_test(test_host_valid),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
