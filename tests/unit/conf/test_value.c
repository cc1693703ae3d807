/* Scalar values: what is accepted, its canonical text, and what is refused with which words. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "common/base/alloc.h"
#include "common/conf/value.h"

union field {
    bool b;
    unsigned u;
    uint64_t u64;
    char *s;
    struct pr_rate rate;
    struct pr_cidr cidr;
    struct pr_hostport hp;
    struct pr_conf_route route;
};

static const struct conf_item item_of[CONF_TYPE_NR] = {
    [CONF_BOOL] = {.path = "b", .type = CONF_BOOL, .size = sizeof(bool)},
    [CONF_UINT] = {.path = "u", .type = CONF_UINT, .size = sizeof(unsigned), .min = 1, .max = 64},
    [CONF_PERCENT] = {.path = "p", .type = CONF_PERCENT, .size = sizeof(unsigned), .max = 90},
    [CONF_DURATION] = {.path = "d", .type = CONF_DURATION, .size = 8, .scale = 1000, .max = 864000000},
    [CONF_SIZE] = {.path = "z", .type = CONF_SIZE, .size = 8, .max = 1ULL << 40},
    [CONF_BYTE_RATE] = {.path = "br", .type = CONF_BYTE_RATE, .size = 8},
    [CONF_RATE] = {.path = "r", .type = CONF_RATE},
    [CONF_CIDR] = {.path = "c", .type = CONF_CIDR},
    [CONF_HOSTPORT] = {.path = "h", .type = CONF_HOSTPORT},
    [CONF_SERVER] = {.path = "s", .type = CONF_SERVER},
    [CONF_ENDPOINT] = {.path = "e", .type = CONF_ENDPOINT},
    [CONF_FQDN] = {.path = "f", .type = CONF_FQDN},
    [CONF_DOMAIN] = {.path = "dom", .type = CONF_DOMAIN},
    [CONF_PATTERN] = {.path = "pat", .type = CONF_PATTERN},
    [CONF_DEST] = {.path = "dest", .type = CONF_DEST},
    [CONF_ROUTE] = {.path = "via", .type = CONF_ROUTE},
    [CONF_STRING] = {.path = "t", .type = CONF_STRING, .max = 10},
    [CONF_PATH] = {.path = "path", .type = CONF_PATH},
    [CONF_REGEX] = {.path = "re", .type = CONF_REGEX},
    [CONF_SECRET] = {.path = "secret", .type = CONF_SECRET},
    [CONF_ENUM] = {.path = "enum", .type = CONF_ENUM, .size = sizeof(unsigned), .choices = "none|opportunistic|required"},
    [CONF_CHOICE] = {.path = "choice", .type = CONF_CHOICE, .choices = "error|warn|info|debug"},
};

struct row {
    enum conf_type type;
    const char *in;
    const char *text; /* canonical; NULL: refused */
    const char *why;  /* part of message and hint */
};

static const struct row rows[] = {
    {CONF_BOOL, "true", "true", NULL},
    {CONF_BOOL, "Yes", "true", NULL},
    {CONF_BOOL, "on", "true", NULL},
    {CONF_BOOL, "no", "false", NULL},
    {CONF_BOOL, "OFF", "false", NULL},
    {CONF_BOOL, "y", NULL, "neither true nor false"},
    {CONF_BOOL, "1", NULL, "neither true nor false"},
    {CONF_BOOL, "", NULL, "neither"},
    {CONF_UINT, "1", "1", NULL},
    {CONF_UINT, "64", "64", NULL},
    {CONF_UINT, "0", NULL, "too small for u: from 1 to 64"},
    {CONF_UINT, "65", NULL, "too large for u: from 1 to 64"},
    {CONF_UINT, "4294967296", NULL, "too large"},
    {CONF_UINT, "99999999999999999999", NULL, "too large"},
    {CONF_UINT, "010", NULL, "octal"},
    {CONF_UINT, "0x10", NULL, "not a plain number"},
    {CONF_UINT, "0o10", NULL, "not a plain number"},
    {CONF_UINT, "1_000", NULL, "not a whole number"},
    {CONF_UINT, "1:30", NULL, "not a whole number"},
    {CONF_UINT, "1e1", NULL, "not a whole number"},
    {CONF_UINT, "-1", NULL, "not a whole number"},
    {CONF_UINT, "+1", NULL, "not a whole number"},
    {CONF_UINT, "2.0", NULL, "not a whole number"},
    {CONF_PERCENT, "25%", "25%", NULL},
    {CONF_PERCENT, "0%", "0%", NULL},
    {CONF_PERCENT, "25", NULL, "like 25%"},
    {CONF_PERCENT, "91%", NULL, "too large"},
    {CONF_PERCENT, "%", NULL, "not a whole number"},
    {CONF_DURATION, "0", "0", NULL},
    {CONF_DURATION, "5m", "5m", NULL},
    {CONF_DURATION, "90s", "1m30s", NULL},
    {CONF_DURATION, "1h30m", "1h30m", NULL},
    {CONF_DURATION, "250ms", "250ms", NULL},
    {CONF_DURATION, "2d", "2d", NULL},
    {CONF_DURATION, "36h", "1d12h", NULL},
    {CONF_DURATION, "5", NULL, "5s for seconds, 5m for minutes"},
    {CONF_DURATION, "1:30", NULL, "write 1h30m"},
    {CONF_DURATION, "1.5h", NULL, "whole numbers only"},
    {CONF_DURATION, "5 m", NULL, "not a duration"},
    {CONF_DURATION, "30m1h", NULL, "not a duration"},
    {CONF_DURATION, "1m1m", NULL, "not a duration"},
    {CONF_DURATION, "5M", NULL, "not a duration"},
    {CONF_DURATION, "5min", NULL, "not a duration"},
    {CONF_DURATION, "m", NULL, "not a duration"},
    {CONF_DURATION, "-5m", NULL, "not a duration"},
    {CONF_DURATION, "500us", NULL, "too fine"},
    {CONF_DURATION, "11d", NULL, "too large for d: from 0 to 10d"},
    {CONF_DURATION, "18446744073709551615d", NULL, "too long"},
    {CONF_SIZE, "0", "0", NULL},
    {CONF_SIZE, "25MiB", "25MiB", NULL},
    {CONF_SIZE, "10MB", "10MB", NULL},
    {CONF_SIZE, "1024KiB", "1MiB", NULL},
    {CONF_SIZE, "1000B", "1KB", NULL},
    {CONF_SIZE, "102400B", "100KiB", NULL},
    {CONF_SIZE, "7B", "7B", NULL},
    {CONF_SIZE, "1000", NULL, "without a unit: say which unit: 1000B"},
    {CONF_SIZE, "10485760", NULL, "about 10MiB"},
    {CONF_SIZE, "10M", NULL, "not a size"},
    {CONF_SIZE, "10mib", NULL, "not a size"},
    {CONF_SIZE, "1.5GiB", NULL, "not a size"},
    {CONF_SIZE, "16777216TiB", NULL, "too large"},
    {CONF_SIZE, "2TiB", NULL, "too large for z: from 0 to 1TiB"},
    {CONF_BYTE_RATE, "500B/s", "500B/s", NULL},
    {CONF_BYTE_RATE, "0", "0", NULL},
    {CONF_BYTE_RATE, "500B", NULL, "like 500B/s"},
    {CONF_BYTE_RATE, "500", NULL, "like 500B/s"},
    {CONF_RATE, "100/s", "100/s", NULL},
    {CONF_RATE, "20/min", "20/min", NULL},
    {CONF_RATE, "500/h", "500/h", NULL},
    {CONF_RATE, "unlimited", "unlimited", NULL},
    {CONF_RATE, "0", "unlimited", NULL},
    {CONF_RATE, "0/s", NULL, "like 100/s"},
    {CONF_RATE, "100", NULL, "like 100/s"},
    {CONF_RATE, "100/m", NULL, "like 100/s"},
    {CONF_RATE, "/s", NULL, "like 100/s"},
    {CONF_CIDR, "192.0.2.0/24", "192.0.2.0/24", NULL},
    {CONF_CIDR, "192.0.2.7", "192.0.2.7/32", NULL},
    {CONF_CIDR, "0.0.0.0/0", "0.0.0.0/0", NULL},
    {CONF_CIDR, "2001:db8::/32", "2001:db8::/32", NULL},
    {CONF_CIDR, "::/0", "::/0", NULL},
    {CONF_CIDR, "::1", "::1/128", NULL},
    {CONF_CIDR, "10.0.0.1/8", NULL, "the network is 10.0.0.0/8, the single address 10.0.0.1/32"},
    {CONF_CIDR, "2001:db8::1/32", NULL, "the network is 2001:db8::/32"},
    {CONF_CIDR, "10.0.0.0/33", NULL, "0 to 32"},
    {CONF_CIDR, "::/129", NULL, "0 to 128"},
    {CONF_CIDR, "10.0.0.0/08", NULL, "leading zero"},
    {CONF_CIDR, "10.0.0.0/", NULL, "bad prefix"},
    {CONF_CIDR, "10.0.0/8", NULL, "not a network"},
    {CONF_CIDR, "010.0.0.0/8", NULL, "not a network"},
    {CONF_CIDR, "::ffff:10.0.0.0/104", NULL, "v4-mapped"},
    {CONF_CIDR, "example.com", NULL, "not a network"},
    {CONF_HOSTPORT, "127.0.0.1:2525", "127.0.0.1:2525", NULL},
    {CONF_HOSTPORT, "[::1]:25", "[::1]:25", NULL},
    {CONF_HOSTPORT, "Mail.Example.com:25", "mail.example.com:25", NULL},
    {CONF_HOSTPORT, "unix:/run/x", "unix:/run/x", NULL},
    {CONF_HOSTPORT, "127.0.0.1", NULL, "a port is missing: 127.0.0.1:25"},
    {CONF_HOSTPORT, "::1", NULL, "needs brackets and a port"},
    {CONF_HOSTPORT, "*:25", NULL, "0.0.0.0:PORT"},
    {CONF_HOSTPORT, ":25", NULL, "0.0.0.0:PORT"},
    {CONF_HOSTPORT, "127.0.0.1:0", NULL, "not an address"},
    {CONF_HOSTPORT, "127.0.0.1:65536", NULL, "not an address"},
    {CONF_HOSTPORT, "127.0.0.1:025", NULL, "not an address"},
    {CONF_HOSTPORT, "[::1:25", NULL, "not an address"},
    {CONF_HOSTPORT, "[::1]25", NULL, "not an address"},
    {CONF_HOSTPORT, "300.0.0.1:25", NULL, "not an address"},
    {CONF_HOSTPORT, "a b:25", NULL, "not an address"},
    {CONF_HOSTPORT, "unix:run/x", NULL, "absolute path"},
    {CONF_SERVER, "127.0.0.1", "127.0.0.1:53", NULL},
    {CONF_SERVER, "127.0.0.1:5353", "127.0.0.1:5353", NULL},
    {CONF_SERVER, "::1", "[::1]:53", NULL},
    {CONF_SERVER, "[::1]:5353", "[::1]:5353", NULL},
    {CONF_SERVER, "dns.example:53", NULL, "not a DNS server"},
    {CONF_SERVER, "unix:/x", NULL, "not a DNS server"},
    {CONF_ENDPOINT, "ipc:///run/bus", "ipc:///run/bus", NULL},
    {CONF_ENDPOINT, "tcp://127.0.0.1:7070", "tcp://127.0.0.1:7070", NULL},
    {CONF_ENDPOINT, "ipc://run/bus", NULL, "not an endpoint"},
    {CONF_ENDPOINT, "tcp://127.0.0.1", NULL, "not an endpoint"},
    {CONF_ENDPOINT, "inproc://x", NULL, "not an endpoint"},
    {CONF_FQDN, "mail.example.com", "mail.example.com", NULL},
    {CONF_FQDN, "localhost", "localhost", NULL},
    {CONF_FQDN, "mail_1.example.com", NULL, "not a host name"},
    {CONF_FQDN, "mail.example.com.", NULL, "not a host name"},
    {CONF_FQDN, "-a.example", NULL, "not a host name"},
    {CONF_FQDN, "192.0.2.1", NULL, "not a host name"},
    {CONF_FQDN, "a..b", NULL, "not a host name"},
    {CONF_DOMAIN, "Example.COM", "example.com", NULL},
    {CONF_DOMAIN, ".Example.com", ".example.com", NULL},
    {CONF_DOMAIN, "*", NULL, "not a domain"},
    {CONF_DOMAIN, "*.example.com", NULL, "write .example.com"},
    {CONF_DOMAIN, "user@example.com", NULL, "not a domain"},
    {CONF_PATTERN, "*", "*", NULL},
    {CONF_PATTERN, ".", NULL, "not a domain"},
    {CONF_DEST, "example.com", "example.com", NULL},
    {CONF_DEST, "*", "*", NULL},
    {CONF_DEST, "[Host.example]:25", "[host.example]:25", NULL},
    {CONF_DEST, "lmtp:unix:/Run/x", "lmtp:unix:/Run/x", NULL},
    {CONF_DEST, "a/b", NULL, "not a destination"},
    {CONF_ROUTE, "mx", "mx", NULL},
    {CONF_ROUTE, "[Host.example]:2500", "[host.example]:2500", NULL},
    {CONF_ROUTE, "[::1]:2500", "[::1]:2500", NULL},
    {CONF_ROUTE, "[192.0.2.1]", "[192.0.2.1]", NULL},
    {CONF_ROUTE, "smtp.example", "smtp.example", NULL},
    {CONF_ROUTE, "smtp.example:587", "smtp.example:587", NULL},
    {CONF_ROUTE, "lmtp:[127.0.0.1]:24", "lmtp:[127.0.0.1]:24", NULL},
    {CONF_ROUTE, "lmtp:unix:/run/lmtp", "lmtp:unix:/run/lmtp", NULL},
    {CONF_ROUTE, "127.0.0.1:25", NULL, "address without brackets"},
    {CONF_ROUTE, "::1", NULL, "address without brackets"},
    {CONF_ROUTE, "lmtp:[127.0.0.1]", NULL, "LMTP needs a port"},
    {CONF_ROUTE, "lmtp:unix:run", NULL, "absolute path"},
    {CONF_ROUTE, "smtp:example", NULL, "not a next hop"},
    {CONF_ROUTE, "[]:25", NULL, "not a next hop"},
    {CONF_ROUTE, "[host]:99999", NULL, "not a next hop"},
    {CONF_STRING, "text", "text", NULL},
    {CONF_STRING, "12345678901", NULL, "longer than 10 bytes"},
    {CONF_STRING, "a\nb", NULL, "line break"},
    {CONF_STRING, "a\rb", NULL, "line break"},
    {CONF_STRING, "no", NULL, "YAML keyword"},
    {CONF_STRING, "", NULL, "no value"},
    {CONF_PATH, "/x", "/x", NULL},
    {CONF_PATH, "x", NULL, "not an absolute path"},
    {CONF_REGEX, "^4\\.7\\.(0|1)$", "^4\\.7\\.(0|1)$", NULL},
    {CONF_REGEX, "a(b", NULL, "bad regular expression at character 4"},
    {CONF_SECRET, "hunter2", "(redacted)", NULL},
    {CONF_SECRET, "file:/nonexistent", NULL, "cannot read"},
    {CONF_ENUM, "none", "none", NULL},
    {CONF_ENUM, "required", "required", NULL},
    {CONF_ENUM, "oportunistic", NULL, "did you mean opportunistic?"},
    {CONF_ENUM, "no", NULL, "one of none, opportunistic, required"},
    {CONF_CHOICE, "warn", "warn", NULL},
    {CONF_CHOICE, "Warn", NULL, "did you mean warn?"},
    {CONF_CHOICE, "", NULL, "no value"},
};

static void run(const struct row *r)
{
    struct pr_arena arena = {0};
    struct conf_fault f = {0};
    union field field;
    memset(&field, 0, sizeof field);
    /* Exact size: a parser that reads on behind the text is seen by the sanitizer. */
    char *copy = pr_memdup(r->in, strlen(r->in));
    struct conf_input in = {.text = pr_slice(copy, strlen(r->in)), .plain = true};
    int rc = conf_value_parse(&item_of[r->type], &in, &arena, &field, &f);
    pr_free(copy);
    struct pr_buf b = {0};
    if (rc == PR_OK)
        (void)conf_value_text(&item_of[r->type], &field, &b);
    else
        pr_buf_printf(&b, "%s: %s", pr_buf_cstr(&f.message), pr_buf_cstr(&f.hint));
    if (r->text != NULL && (rc != PR_OK || !pr_slice_eq_str(pr_buf_slice(&b), r->text)))
        fail_msg("\"%s\" gives %s, not %s", r->in, pr_buf_cstr(&b), r->text);
    if (r->text == NULL && rc == PR_OK)
        fail_msg("\"%s\" is accepted as %s", r->in, pr_buf_cstr(&b));
    if (r->text == NULL && pr_slice_find_slice(pr_buf_slice(&b), pr_slice_str(r->why)) == SIZE_MAX)
        fail_msg("\"%s\" is refused with \"%s\", not \"%s\"", r->in, pr_buf_cstr(&b), r->why);
    pr_buf_fini(&b);
    conf_fault_fini(&f);
    pr_arena_fini(&arena);
}

static void test_rows(void **state)
{
    (void)state;
    for (size_t i = 0; i < PR_ARRAY_LEN(rows); i++)
        run(&rows[i]);
}

/* What is shown loads again to the same text. */
static void test_canonical_text_is_stable(void **state)
{
    (void)state;
    for (size_t i = 0; i < PR_ARRAY_LEN(rows); i++)
        if (rows[i].text != NULL && rows[i].type != CONF_SECRET)
            run(&(struct row){rows[i].type, rows[i].text, rows[i].text, NULL});
}

static void test_quotes(void **state)
{
    (void)state;
    struct pr_arena arena = {0};
    union field field;
    struct conf_fault f = {0};
    struct conf_input in = {.text = PR_SLICE_LIT("5"), .plain = false};
    assert_int_equal(conf_value_parse(&item_of[CONF_UINT], &in, &arena, &field, &f), PR_EPARSE);
    in.substituted = true; /* "${env:N}" needs its quotes sometimes */
    assert_int_equal(conf_value_parse(&item_of[CONF_UINT], &in, &arena, &field, &f), PR_OK);
    assert_int_equal(field.u, 5);
    in = (struct conf_input){.text = PR_SLICE_LIT("true"), .plain = false};
    assert_int_equal(conf_value_parse(&item_of[CONF_BOOL], &in, &arena, &field, &f), PR_EPARSE);
    /* The word itself, in quotes. */
    assert_int_equal(conf_value_parse(&item_of[CONF_STRING], &in, &arena, &field, &f), PR_OK);
    assert_string_equal(field.s, "true");
    conf_fault_fini(&f);
    pr_arena_fini(&arena);
}

static void test_secret_file(void **state)
{
    (void)state;
    char path[] = "/tmp/pr_secret_XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    FILE *file = fdopen(fd, "w");
    (void)fputs("s3cret\n", file);
    (void)fclose(file);
    struct pr_arena arena = {0};
    struct conf_fault f = {0};
    union field field;
    struct pr_buf text = {0};
    pr_buf_printf(&text, "file:%s", strrchr(path, '/') + 1);
    struct conf_input in = {.text = pr_buf_slice(&text), .plain = true, .dir = "/tmp"};
    assert_int_equal(conf_value_parse(&item_of[CONF_SECRET], &in, &arena, &field, &f), PR_OK);
    assert_string_equal(field.s, "s3cret");
    (void)remove(path);
    pr_buf_fini(&text);
    conf_fault_fini(&f);
    pr_arena_fini(&arena);
}

static void test_route_fields(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        struct pr_conf_route want;
    } routes[] = {
        {"mx", {.kind = PR_ROUTE_MX}},
        {"[h.example]:2500", {.kind = PR_ROUTE_HOST, .next_hop = {(char *)(uintptr_t) "h.example", 2500, NULL}}},
        {"h.example", {.kind = PR_ROUTE_HOST, .mx_of_host = true, .next_hop = {(char *)(uintptr_t) "h.example", 25, NULL}}},
        {"lmtp:[::1]:24", {.kind = PR_ROUTE_LMTP, .next_hop = {(char *)(uintptr_t) "::1", 24, NULL}}},
        {"lmtp:unix:/l", {.kind = PR_ROUTE_LMTP, .next_hop = {NULL, 0, (char *)(uintptr_t) "/l"}}},
    };
    for (size_t i = 0; i < PR_ARRAY_LEN(routes); i++) {
        struct pr_arena arena = {0};
        struct conf_fault f = {0};
        struct pr_conf_route r = {0};
        const struct pr_conf_route *w = &routes[i].want;
        assert_int_equal(conf_parse_route(pr_slice_str(routes[i].text), &arena, &r, &f), PR_OK);
        assert_int_equal(r.kind, w->kind);
        assert_int_equal(r.mx_of_host, w->mx_of_host);
        assert_int_equal(r.next_hop.port, w->next_hop.port);
        assert_true(pr_slice_eq(pr_slice_str(r.next_hop.host), pr_slice_str(w->next_hop.host)));
        assert_true(pr_slice_eq(pr_slice_str(r.next_hop.unix_path), pr_slice_str(w->next_hop.unix_path)));
        conf_fault_fini(&f);
        pr_arena_fini(&arena);
    }
}

static bool contains(const char *cidr, const char *address)
{
    struct pr_cidr c;
    struct in6_addr a;
    struct conf_fault f = {0};
    assert_int_equal(conf_parse_cidr(pr_slice_str(cidr), &c, &f), PR_OK);
    assert_true(conf_parse_address(pr_slice_str(address), &a));
    return pr_cidr_contains(&c, &a);
}

static void test_cidr_contains(void **state)
{
    (void)state;
    assert_true(contains("10.0.0.0/8", "10.255.255.255"));
    assert_false(contains("10.0.0.0/8", "11.0.0.0"));
    assert_true(contains("192.0.2.128/25", "192.0.2.129"));
    assert_false(contains("192.0.2.128/25", "192.0.2.127"));
    assert_true(contains("192.0.2.1/32", "192.0.2.1"));
    assert_false(contains("192.0.2.1/32", "192.0.2.0"));
    assert_true(contains("0.0.0.0/0", "255.255.255.255"));
    assert_false(contains("0.0.0.0/0", "2001:db8::1"));
    assert_true(contains("::/0", "2001:db8::1"));
    assert_true(contains("2001:db8::/33", "2001:db8:7fff::1"));
    assert_false(contains("2001:db8::/33", "2001:db8:8000::1"));
    assert_false(contains("::1/128", "127.0.0.1"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_canonical_text_is_stable),
        cmocka_unit_test(test_quotes),
        cmocka_unit_test(test_secret_file),
        cmocka_unit_test(test_route_fields),
        cmocka_unit_test(test_cidr_contains),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
