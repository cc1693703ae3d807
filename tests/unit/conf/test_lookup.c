/* Routes, limits, destinations and trust of a loaded configuration; its life across threads. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "common/base/alloc.h"
#include "common/conf/load.h"
#include "common/conf/value.h"

static struct pr_config *load(const char *yaml)
{
    struct pr_config *c = NULL;
    struct pr_conf_errors *e = NULL;
    int rc = pr_config_parse(pr_slice_str(yaml), "t.yaml", &c, &e);
    struct pr_buf b = {0};
    pr_conf_errors_render(e, &b);
    if (rc != PR_OK)
        fail_msg("%s", pr_buf_cstr(&b));
    pr_buf_fini(&b);
    pr_conf_errors_free(e);
    return c;
}

static const char yaml[] = "hostname: mail.example.com\n"
                           "ingress: {trusted_networks: [192.0.2.0/24, \"2001:db8::/32\"]}\n"
                           "routes:\n"
                           "  - {domain: Example.com, via: \"[Host.example]:2500\"}\n"
                           "  - {domain: .example.com, via: lmtp:unix:/Run/lmtp}\n"
                           "  - {domain: .deep.example.com, via: mx}\n"
                           "  - {domain: \"*\", via: smart.example:587}\n"
                           "limits:\n"
                           "  - {destination: big.example, rate: 100/s}\n"
                           "  - {destination: \"*\", connections: 7, recipients_per_message: 3}\n"
                           "  - {destination: .slow.example, connections: 1}\n"
                           "  - {destination: \"[host.example]:2500\", connections: 50}\n";

static void test_routes(void **state)
{
    (void)state;
    static const struct {
        const char *domain, *text, *destination;
    } rows[] = {
        {"example.com", "[host.example]:2500", "[host.example]:2500"},
        {"a.example.com", "lmtp:unix:/Run/lmtp", "lmtp:unix:/Run/lmtp"},
        {"a.b.example.com", "lmtp:unix:/Run/lmtp", "lmtp:unix:/Run/lmtp"},
        {"deep.example.com", "lmtp:unix:/Run/lmtp", "lmtp:unix:/Run/lmtp"},
        {"a.deep.example.com", "mx", "a.deep.example.com"},
        {"a.b.deep.example.com", "mx", "a.b.deep.example.com"},
        {"notexample.com", "smart.example:587", "smart.example:587"},
        {"com", "smart.example:587", "smart.example:587"},
        {"", "smart.example:587", "smart.example:587"},
        {"[192.0.2.1]", "smart.example:587", "smart.example:587"},
    };
    struct pr_config *c = load(yaml);
    for (size_t i = 0; i < PR_ARRAY_LEN(rows); i++) {
        struct pr_slice domain = pr_slice_str(rows[i].domain);
        assert_string_equal(pr_config_route(c, domain)->text, rows[i].text);
        assert_true(pr_slice_eq_str(pr_config_destination(c, domain), rows[i].destination));
    }
    assert_true(pr_config_route(c, PR_SLICE_LIT("x"))->mx_of_host);
    pr_config_unref(c);
}

static void test_limits(void **state)
{
    (void)state;
    struct pr_config *c = load(yaml);
    const struct pr_conf_limit *l = pr_config_limit(c, PR_SLICE_LIT("big.example"));
    assert_int_equal(l->rate.count, 100);
    assert_int_equal(l->rate.per_ms, 1000);
    assert_int_equal(l->connections, 7);            /* from "*", though that comes later */
    assert_int_equal(l->recipients_per_message, 3); /* from "*" */
    assert_int_equal(l->messages_per_connection, 100);
    l = pr_config_limit(c, PR_SLICE_LIT("a.slow.example"));
    assert_int_equal(l->connections, 1);
    assert_int_equal(l->rate.count, 0);
    l = pr_config_limit(c, PR_SLICE_LIT("[host.example]:2500"));
    assert_int_equal(l->connections, 50);
    l = pr_config_limit(c, PR_SLICE_LIT("other.example"));
    assert_string_equal(l->destination, "*");
    assert_int_equal(l->connections, 7);
    pr_config_unref(c);
}

static void test_built_in(void **state)
{
    (void)state;
    struct pr_config *c = load("hostname: mail.example.com\n");
    assert_int_equal(pr_config_route(c, PR_SLICE_LIT("x.example"))->kind, PR_ROUTE_MX);
    const struct pr_conf_limit *l = pr_config_limit(c, PR_SLICE_LIT("x.example"));
    assert_int_equal(l->connections, 20);
    assert_int_equal(l->messages_per_connection, 100);
    assert_int_equal(l->recipients_per_message, 100);
    assert_int_equal(l->rate.count, 0);
    /* A list without "*" falls back to the built-in ones too. */
    pr_config_unref(c);
    c = load("hostname: mail.example.com\nlimits: [{destination: a.example, connections: 1}]\n"
             "routes: [{domain: a.example, via: mx}]\n");
    assert_int_equal(pr_config_limit(c, PR_SLICE_LIT("x.example"))->connections, 20);
    assert_int_equal(pr_config_route(c, PR_SLICE_LIT("x.example"))->kind, PR_ROUTE_MX);
    pr_config_unref(c);
}

static bool trusted(const struct pr_config *c, const char *address)
{
    struct in6_addr a;
    assert_true(conf_parse_address(pr_slice_str(address), &a));
    return pr_config_trusted(c, &a);
}

static void test_trusted(void **state)
{
    (void)state;
    struct pr_config *c = load(yaml);
    assert_true(trusted(c, "192.0.2.200"));
    assert_true(trusted(c, "::ffff:192.0.2.200"));
    assert_true(trusted(c, "2001:db8:1::1"));
    assert_false(trusted(c, "192.0.3.1"));
    assert_false(trusted(c, "127.0.0.1"));
    pr_config_unref(c);
    c = load("hostname: mail.example.com\n");
    assert_false(trusted(c, "127.0.0.1"));
    assert_false(trusted(c, "::1"));
    pr_config_unref(c);
}

static void test_many_routes(void **state)
{
    (void)state;
    struct pr_buf b = {0};
    pr_buf_str(&b, "hostname: mail.example.com\nroutes:\n");
    for (unsigned i = 0; i < 20000; i++)
        pr_buf_printf(&b, "- {domain: d%u.example, via: \"[h%u.example]:25\"}\n", i, i);
    struct pr_config *c = load(pr_buf_cstr(&b));
    assert_string_equal(pr_config_route(c, PR_SLICE_LIT("d19999.example"))->next_hop.host, "h19999.example");
    pr_config_unref(c);
    pr_buf_fini(&b);
}

static void test_shared(void **state)
{
    (void)state;
    struct pr_config *c = load(yaml), *second = pr_config_ref(c);
    assert_ptr_equal(c, second);
    pr_config_unref(c);
    assert_string_equal(second->hostname, "mail.example.com");
    pr_config_unref(second);
    pr_config_unref(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_routes),      cmocka_unit_test(test_limits),      cmocka_unit_test(test_built_in),
        cmocka_unit_test(test_trusted),     cmocka_unit_test(test_many_routes), cmocka_unit_test(test_shared),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
