/* Addresses, networks, and the order of targets (dialogues with DNS are in tests/scenario/deliverer/route_*). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#include "common/base/alloc.h"
#include "deliverer/core/route.h"

static void test_addresses(void **state)
{
    static const struct {
        const char *text;
        int rc;
        uint8_t bytes[16];
    } table[] = {
        {"192.0.2.1", 0, {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 1}},
        {"[192.0.2.1]", 0, {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 1}},
        {"[IPv6:2001:db8::1]", 0, {0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}},
        {"[ipv6:::1]", 0, {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}},
        {"2001:db8::", 0, {0x20, 0x01, 0x0d, 0xb8}},
        {"::", 0, {0}},
        {"1:2:3:4:5:6:7:8", 0, {0, 1, 0, 2, 0, 3, 0, 4, 0, 5, 0, 6, 0, 7, 0, 8}},
        {"::ffff:192.0.2.1", 0, {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 1}},
        {"1:2:3:4:5:6:192.0.2.1", 0, {0, 1, 0, 2, 0, 3, 0, 4, 0, 5, 0, 6, 192, 0, 2, 1}},
        {"", PR_EPARSE, {0}},
        {"mx.example", PR_EPARSE, {0}},
        {"192.0.2", PR_EPARSE, {0}},
        {"192.0.2.1.", PR_EPARSE, {0}},
        {"192.0.2.256", PR_EPARSE, {0}},
        {"192.0.2.01", PR_EPARSE, {0}},
        {"192.0.2.1 ", PR_EPARSE, {0}},
        {"[192.0.2.1", PR_EPARSE, {0}},
        {"[IPv6:192.0.2.1]", PR_EPARSE, {0}},
        {"1:2:3:4:5:6:7", PR_EPARSE, {0}},
        {"1:2:3:4:5:6:7:8:9", PR_EPARSE, {0}},
        {"1::2::3", PR_EPARSE, {0}},
        {"1:2:3:4:5:6:7::8", PR_EPARSE, {0}},
        {":1", PR_EPARSE, {0}},
        {"1:", PR_EPARSE, {0}},
        {"12345::", PR_EPARSE, {0}},
        {"g::", PR_EPARSE, {0}},
    };
    (void)state;
    for (size_t i = 0; i < PR_ARRAY_LEN(table); i++) {
        struct in6_addr a;
        int rc = dlv_addr_parse(pr_slice_str(table[i].text), &a);
        if (rc != table[i].rc)
            fail_msg("%s gives %d", table[i].text, rc);
        if (rc == 0)
            assert_memory_equal(a.s6_addr, table[i].bytes, 16);
    }
}

static struct in6_addr addr(const char *text)
{
    struct in6_addr a;
    assert_int_equal(dlv_addr_parse(pr_slice_str(text), &a), 0);
    return a;
}

static void test_networks(void **state)
{
    static const struct {
        const char *net;
        unsigned prefix;
        const char *addr;
        bool inside;
    } table[] = {
        {"127.0.0.0", 96 + 8, "127.255.0.1", true},   {"127.0.0.0", 96 + 8, "128.0.0.1", false},
        {"192.0.2.128", 96 + 25, "192.0.2.129", true}, {"192.0.2.128", 96 + 25, "192.0.2.127", false},
        {"192.0.2.1", 128, "192.0.2.1", true},         {"192.0.2.1", 128, "192.0.2.2", false},
        {"fe80::", 10, "febf::1", true},               {"fe80::", 10, "fec0::1", false},
        {"::", 0, "2001:db8::1", true},                {"::1", 128, "127.0.0.1", false},
    };
    (void)state;
    for (size_t i = 0; i < PR_ARRAY_LEN(table); i++) {
        struct dlv_net net = {addr(table[i].net), table[i].prefix};
        struct in6_addr a = addr(table[i].addr);
        if (dlv_net_contains(&net, &a) != table[i].inside)
            fail_msg("%s/%u and %s", table[i].net, table[i].prefix, table[i].addr);
    }
}

static struct dlv_route_options options(void)
{
    return (struct dlv_route_options){.hostname = PR_SLICE_LIT("us.example"), .ipv4 = true, .ipv6 = true, .port = 25};
}

/* RFC 5321 5.1: equal preferences are a lottery, unequal ones are not. */
static void test_equal_ones_are_shuffled(void **state)
{
    const struct dlv_mx mx[] = {{10, "a.x"}, {10, "b.x"}, {10, "c.x"}, {5, "first.x"}};
    struct dlv_route_options o = options();
    struct pr_rng rng;
    unsigned second[3] = {0};
    (void)state;
    pr_rng_init(&rng, 7);
    for (int i = 0; i < 3000; i++) {
        struct dlv_route r;
        assert_int_equal(dlv_route_begin(&r, PR_SLICE_LIT("x"), true, 0, &o), DLV_NEED_MX);
        assert_int_equal(dlv_route_mx(&r, PR_SLICE_LIT("x"), DLV_DNS_OK, mx, PR_ARRAY_LEN(mx), &rng, &o), DLV_NEED_ADDRS);
        assert_string_equal(r.hosts[0].name, "first.x");
        second[r.hosts[1].name[0] - 'a']++;
    }
    for (size_t i = 0; i < PR_ARRAY_LEN(second); i++)
        assert_in_range(second[i], 850, 1150);
}

static void test_odd_domains(void **state)
{
    char long_name[400];
    struct dlv_route_options o = options();
    struct dlv_route r;
    (void)state;
    memset(long_name, 'x', sizeof long_name);
    assert_int_equal(dlv_route_begin(&r, pr_slice(long_name, sizeof long_name), true, 0, &o), DLV_NEED_NOTHING);
    assert_true(r.failed);
    assert_int_equal(r.verdict.outcome, MAIL_OUTCOME_PERM);
    assert_int_equal(dlv_route_begin(&r, (struct pr_slice){NULL, 0}, true, 0, &o), DLV_NEED_NOTHING);
    assert_true(r.failed);
}

static void test_dead_memory(void **state)
{
    struct dlv_deadlist d;
    struct in6_addr a = addr("192.0.2.1");
    (void)state;
    dlv_dead_init(&d);
    assert_false(dlv_dead_has(&d, &a, 25, (pr_mono){0}));
    dlv_dead_mark(&d, &a, 25, (pr_mono){100});
    assert_true(dlv_dead_has(&d, &a, 25, (pr_mono){99}));
    assert_false(dlv_dead_has(&d, &a, 25, (pr_mono){100}));
    assert_false(dlv_dead_has(&d, &a, 26, (pr_mono){0}));
    dlv_dead_clear(&d, &a, 25);
    assert_false(dlv_dead_has(&d, &a, 25, (pr_mono){0}));
    /* Bounded: the oldest is forgotten. */
    for (unsigned i = 0; i < DLV_DEAD_MAX; i++) {
        a.s6_addr[15] = (uint8_t)i;
        dlv_dead_mark(&d, &a, (uint16_t)(1000 + i), (pr_mono){100});
    }
    a.s6_addr[15] = 0;
    assert_true(dlv_dead_has(&d, &a, 1000, (pr_mono){0}));
    dlv_dead_mark(&d, &a, 1, (pr_mono){100});
    assert_false(dlv_dead_has(&d, &a, 1000, (pr_mono){0}));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_addresses),           cmocka_unit_test(test_networks),    cmocka_unit_test(test_equal_ones_are_shuffled),
        cmocka_unit_test(test_odd_domains),         cmocka_unit_test(test_dead_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
