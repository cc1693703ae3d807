/* Loading: every error at once with its place and a hint, YAML's traps, substitution, defaults. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/conf/impl.h"
#include "common/conf/load.h"
#include "common/conf/schema.h"
#include "common/conf/value.h"

#define HOST "hostname: mail.example.com\n"

struct result {
    int rc;
    struct pr_config *c;
    struct pr_conf_errors *e;
    struct pr_buf text; /* rendered */
};

static struct result load(const char *yaml)
{
    struct result r = {0};
    char *copy = pr_memdup(yaml, strlen(yaml));
    r.rc = pr_config_parse(pr_slice(copy, strlen(yaml)), "t.yaml", &r.c, &r.e);
    pr_free(copy);
    pr_conf_errors_render(r.e, &r.text);
    return r;
}

static void done(struct result *r)
{
    pr_config_unref(r->c);
    pr_conf_errors_free(r->e);
    pr_buf_fini(&r->text);
}

static void has(struct result *r, const char *part)
{
    if (pr_slice_find_slice(pr_buf_slice(&r->text), pr_slice_str(part)) == SIZE_MAX)
        fail_msg("no \"%s\" in:\n%s", part, pr_buf_cstr(&r->text));
}

/* yaml -> rc, number of messages, and a part of each rendered message */
struct row {
    const char *yaml;
    size_t n;
    bool ok;
    const char *parts[4];
};

static const struct row rows[] = {
    /* structure */
    {"", 0, true, {NULL}},
    {"# nothing\n", 0, true, {NULL}},
    {"---\n", 0, true, {NULL}},
    {HOST "queue:\n", 0, true, {NULL}},
    {HOST "queue: {}\nroutes: []\n", 0, true, {NULL}},
    {"[a]\n", 1, false, {"t.yaml:1:1: error: the file is a list, not a group of keys"}},
    {"text\n", 1, false, {"t.yaml:1:1: error: the file is a single value"}},
    {HOST "queue: 5\n", 1, false, {"2:1: error: queue is a group of keys, not a single value"}},
    {HOST "queue:\n  lifetime: [1d]\n", 1, false, {"3:13: error: lifetime is a single value, not a list"}},
    {HOST "queue:\n  lifetime:\n", 1, false, {"3:3: error: lifetime has no value\n      lifetime:\n      ^\n"}},
    {HOST "queue:\n  retry: 5m\n", 1, false, {"3:3: error: retry is a list, not a single value"}},
    {HOST "routes:\n", 1, false, {"2:1: error: routes is a list, not empty", "[] for none"}},
    {HOST "routes:\n  a.example: mx\n", 1, false, {"2:1: error: routes is a list, not a group of keys"}},
    {HOST "routes: [mx]\n", 1, false, {"2:10: error: an entry of routes is a group of keys, not a single value"}},
    {HOST "routes:\n  - via: mx\n", 1, false, {"3:5: error: this entry of routes has no domain"}},
    {HOST "limits: [{destination: a.example}, {destination: A.example}]\n", 1, false,
     {"2:36: error: limits already has an entry \"a.example\" in line 2"}},
    {HOST "ingress: {listeners: []}\n", 1, false, {"2:11: error: ingress.listeners has 0 entries; it takes 1 to 16"}},
    /* unknown and duplicate keys */
    {HOST "ingres: {}\n", 1, false, {"2:1: error: unknown key \"ingres\"\n", "hint: did you mean ingress?"}},
    {HOST "queue: {lifetme: 5d}\n", 1, false, {"2:9: error: unknown key \"lifetme\" in queue", "did you mean lifetime?"}},
    {HOST "lifetime: 5d\n", 1, false, {"unknown key \"lifetime\"\n", "there is queue.lifetime"}},
    {HOST "log: {zzz: 1}\n", 1, false, {"unknown key \"zzz\" in log", "known here: level, format"}},
    {HOST "queue: {lifetime: 5d}\nqueue: {lifetime: 4d}\n", 1, false, {"3:1: error: the key \"queue\" is already given in line 2"}},
    {HOST "queue:\n  lifetime: 5d\n  \"lifetime\": 4d\n", 1, false, {"4:3: error: the key \"lifetime\" is already given in line 3"}},
    /* what YAML has and we refuse */
    {"hostname: &a mail.example.com\n", 1, false, {"1:11: error: YAML anchors"}},
    {"hostname: *a\n", 1, false, {"1:11: error: YAML aliases"}},
    {"queue: &q {}\n", 1, false, {"YAML anchors"}},
    {"a: {<<: {b: c}}\n", 1, false, {"1:5: error: YAML merge keys"}},
    {"hostname: !!str x\n", 1, false, {"1:11: error: YAML tags"}},
    {"hostname: !x y\n", 1, false, {"YAML tags"}},
    {"? [a]\n: b\n", 1, false, {"a key must be plain text"}},
    {"? {a: b}\n: b\n", 1, false, {"a key must be plain text"}},
    {"\"\": b\n", 1, false, {"1:1: error: a key is missing"}},
    {HOST "---\n" HOST, 1, false, {"2:1: error: a second YAML document"}},
    {HOST "queue:\n\tlifetime: 5d\n", 1, false, {"3:1: error: found character that cannot start any token", "not tabs"}},
    {HOST "queue: lifetime: 5d\n", 1, false, {"2:16: error: mapping values are not allowed", "needs quotes"}},
    {HOST "routes: [{domain: a.b, via: [h]:25}]\n", 1, false, {"error: did not find expected"}},
    {HOST "queue: {lifetime: 5d\n", 1, false, {"error: did not find expected ',' or '}'"}},
    {"hostname: \"a\\\n", 1, false, {"error:"}},
    {"hostname: a\x01\n", 1, false, {"error: control characters are not allowed"}},
    {"hostname: \xff\n", 1, false, {"t.yaml: error: not UTF-8 text"}},
    {"hostname: \"a\\0b\"\n", 1, false, {"line break or control byte"}},
    /* YAML 1.1 words */
    {HOST "ingress: {vrfy: no, banner: mail.example.com off}\n", 0, true, {NULL}},
    {HOST "ingress: {banner: off}\n", 1, false, {"2:19: error: \"off\" is a YAML keyword"}},
    {HOST "ingress: {vrfy: \"no\"}\n", 1, false, {"true or false, without quotes"}},
    {HOST "log: {level: ~}\n", 1, false, {"2:7: error: level has no value"}},
    {HOST "log: {level: null}\n", 1, false, {"2:7: error: level has no value"}},
    /* all at once, in order */
    {HOST "queue: {lifetime: 5, shards: 65}\nlog: {level: loud}\nx: y\n", 4, false,
     {"2:19: error: \"5\" is not a duration", "2:30: error: 65 is too large for shards", "3:14: error: \"loud\"",
      "4:1: error: unknown key \"x\""}},
    /* across items */
    {"hostname: mail\n", 1, true, {"1:11: warning: the host name \"mail\" is not fully qualified"}},
    {HOST "ingress: {listeners: [{name: a, address: \"h.example:25\"}]}\n", 1, false, {"2:42: error: a listener needs an IP"}},
    {HOST "ingress: {listeners: [{name: a, address: \"unix:/x\"}]}\n", 1, false, {"error: a listener needs an IP"}},
    {HOST "ingress: {listeners: [{name: a, address: \"[::1]:25\"}, {name: b, address: \"[0::1]:25\"}]}\n", 1, false,
     {"error: the listener a has this address already"}},
    {HOST "ingress: {listeners: [{name: a, address: \"[::1]:25\", tls: {certificate: /dev/null}}]}\n", 1, false,
     {"error: a certificate without its key"}},
    {HOST "ingress: {listeners: [{name: a, address: \"[::1]:25\", tls: {key: /dev/null}}]}\n", 1, false,
     {"error: a key without its certificate"}},
    {HOST "ingress: {listeners: [{name: a, address: \"[::1]:25\", implicit_tls: true}]}\n", 1, false,
     {"error: implicit TLS needs a certificate"}},
    {HOST "ingress: {listeners: [{name: a, address: \"[::1]:25\", tls: {certificate: /nonexistent/c, key: /dev/null}}]}\n", 1,
     true, {"warning: /nonexistent/c cannot be read"}},
    {HOST "ingress: {trusted_networks: [0.0.0.0/0]}\n", 1, true, {"2:30: warning: open relay: 0.0.0.0/0 lets everybody", "10.1.2.0/24"}},
    {HOST "ingress: {trusted_networks: [\"::/0\"]}\n", 1, true, {"2:30: warning: open relay: ::/0 lets everybody"}},
    {HOST "ingress: {trusted_networks: [8.0.0.0/7]}\n", 1, true, {"open relay: 8.0.0.0/7 is a large part"}},
    {HOST "ingress: {trusted_networks: [8.0.0.0/8]}\n", 1, true, {"8.0.0.0/8 holds addresses of strangers"}},
    {HOST "ingress: {trusted_networks: [10.0.0.0/8, 192.168.0.0/16, 127.0.0.0/8, 203.0.113.0/24, \"fd00::/8\"]}\n", 0, true, {NULL}},
    {HOST "queue: {retry: []}\n", 1, false, {"2:9: error: no pause between attempts"}},
    {HOST "queue: {retry: [5m, 1m]}\n", 1, true, {"2:21: warning: this pause is shorter than the one before"}},
    {HOST "queue: {lifetime: 1m, delay_warning: 0}\n", 1, true, {"warning: the first pause is not shorter than lifetime"}},
    {HOST "queue: {lifetime: 1h}\n", 1, true, {"warning: no warning is sent: lifetime ends earlier"}},
    {HOST "queue: {free_space: {floor: 2GiB}}\n", 1, false, {"2:29: error: floor is not below low"}},
    {HOST "queue: {trailing: 256MiB}\n", 1, true, {"warning: more log is kept"}},
    {HOST "queue: {hold_time: 1m}\n", 1, true, {"warning: hold_time is shorter than a transaction"}},
    {HOST "queue: {shards: 0}\n", 1, false, {"from 1 to 64"}},
    {HOST "bus: {address: \"tcp://127.0.0.1:1\", bulk_address: \"tcp://127.0.0.1:1\"}\n", 1, false, {"are the same"}},
    {HOST "delivery: {ipv4: false, ipv6: no}\n", 1, false, {"neither IPv4 nor IPv6"}},
    {HOST "delivery: {dns: {ttl_min: 1h, ttl_max: 1m}}\n", 1, false, {"ttl_min is above ttl_max"}},
    {HOST "routes: [{domain: \"*\", via: \"[127.0.0.1]:2525\"}]\n", 1, true, {"warning: mail loop: this is our own listener smtp"}},
    {HOST "limits: [{destination: \"[127.0.0.1]:24\"}]\n", 1, true, {"warning: no route has the next hop"}},
    {HOST "limits: [{destination: \"[127.0.0.1]:24\"}]\nroutes: [{domain: a.b, via: \"[127.0.0.1]:24\"}]\n", 0, true, {NULL}},
    /* substitution */
    {HOST "data_dir: ${env:PR_TEST_DIR}/q\n", 0, true, {NULL}},
    {HOST "data_dir: ${env:PR_TEST_UNSET:-/x}\n", 0, true, {NULL}},
    {HOST "queue: {shards: \"${env:PR_TEST_N}\"}\n", 0, true, {NULL}},
    {HOST "data_dir: ${env:PR_TEST_UNSET}\n", 1, false, {"2:11: error: the environment variable PR_TEST_UNSET is not set"}},
    {HOST "data_dir: ${env:9}\n", 1, false, {"is no name of a variable"}},
    {HOST "data_dir: /x${env:PR\n", 1, false, {"\"${\" is not closed"}},
    {HOST "data_dir: ${x}\n", 1, false, {"\"${x}\" is not known"}},
    {HOST "data_dir: ${file:/nonexistent}\n", 1, false, {"cannot read \"/nonexistent\": not found"}},
    {HOST "data_dir: ${file:/tmp}\n", 1, false, {"cannot read \"/tmp\""}},
    {HOST "${env:PR_TEST_DIR}: x\n", 1, false, {"unknown key \"${env:PR_TEST_DIR}\""}},
};

static void test_rows(void **state)
{
    (void)state;
    for (size_t i = 0; i < PR_ARRAY_LEN(rows); i++) {
        struct result r = load(rows[i].yaml);
        /* An unknown machine name is no matter of these rows. */
        if ((r.rc == PR_OK) != rows[i].ok)
            fail_msg("%s\ngives %d:\n%s", rows[i].yaml, r.rc, pr_buf_cstr(&r.text));
        for (size_t j = 0; j < 4 && rows[i].parts[j] != NULL; j++)
            has(&r, rows[i].parts[j]);
        if (strncmp(rows[i].yaml, HOST, sizeof HOST - 1) == 0 && r.e->n != rows[i].n)
            fail_msg("%s\ngives not %zu messages:\n%s", rows[i].yaml, rows[i].n, pr_buf_cstr(&r.text));
        assert_true((r.c != NULL) == (r.rc == PR_OK));
        done(&r);
    }
}

static void test_substituted_values(void **state)
{
    (void)state;
    struct result r = load(HOST "data_dir: ${env:PR_TEST_DIR}/${env:PR_TEST_N}\n"
                                "ingress: {banner: \"mail.example.com $${env:X} $5 ${env:PR_TEST_UNSET:-a:-b}\"}\n"
                                "queue: {shards: \"${env:PR_TEST_N}\"}\n");
    assert_int_equal(r.rc, PR_OK);
    assert_string_equal(r.c->data_dir, "/srv/mail/7");
    assert_string_equal(r.c->ingress.banner, "mail.example.com ${env:X} $5 a:-b");
    assert_int_equal(r.c->queue.shards, 7);
    done(&r);
}

static void test_file_relative_to_configuration(void **state)
{
    (void)state;
    char dir[] = "/tmp/pr_conf_XXXXXX";
    assert_non_null(mkdtemp(dir));
    struct pr_buf conf = {0}, value = {0};
    pr_buf_printf(&conf, "%s/c.yaml", dir);
    pr_buf_printf(&value, "%s/name", dir);
    FILE *f = fopen(pr_buf_cstr(&conf), "w");
    (void)fputs("hostname: ${file:name}\n", f);
    (void)fclose(f);
    f = fopen(pr_buf_cstr(&value), "w");
    (void)fputs("from.file.example\r\n", f);
    (void)fclose(f);
    struct pr_config *c = NULL;
    assert_int_equal(pr_config_load(pr_buf_cstr(&conf), &c, NULL), PR_OK);
    assert_string_equal(c->hostname, "from.file.example");
    pr_config_unref(c);
    (void)unlink(pr_buf_cstr(&conf));
    (void)unlink(pr_buf_cstr(&value));
    (void)rmdir(dir);
    pr_buf_fini(&conf);
    pr_buf_fini(&value);
}

static void test_missing_file(void **state)
{
    (void)state;
    struct result r = {0};
    assert_int_equal(pr_config_load("/nonexistent/c.yaml", &r.c, &r.e), PR_EIO);
    pr_conf_errors_render(r.e, &r.text);
    has(&r, "/nonexistent/c.yaml: error: cannot read the file: No such file");
    assert_null(r.c);
    done(&r);
}

static void test_defaults(void **state)
{
    (void)state;
    struct pr_config *c = NULL;
    assert_int_equal(pr_config_load(NULL, &c, NULL), PR_OK);
    assert_non_null(c->hostname);
    assert_string_equal(c->runtime_dir, "/var/lib/postrider/run");
    assert_string_equal(c->bus.address, "ipc:///var/lib/postrider/run/bus");
    assert_string_equal(c->admin.scheduler.unix_path, "/var/lib/postrider/run/scheduler.http");
    assert_int_equal(c->ingress.n_listeners, 1);
    assert_string_equal(c->ingress.listeners[0].name, "smtp");
    assert_string_equal(c->ingress.listeners[0].address.host, "127.0.0.1");
    assert_int_equal(c->ingress.listeners[0].address.port, 2525);
    assert_true(c->ingress.listeners[0].pipelining);
    assert_false(c->ingress.listeners[0].normalize_line_endings);
    /* Never an open relay by default. */
    assert_int_equal(c->ingress.n_trusted_networks, 0);
    assert_int_equal(c->ingress.message_size_max, 25 << 20);
    assert_int_equal(c->ingress.command_line_max, 4096);
    assert_int_equal(c->ingress.min_rate_bytes_per_s, 500);
    assert_int_equal(c->queue.lifetime_ms, 5ULL * 86400000);
    assert_int_equal(c->queue.n_retry, 8);
    assert_int_equal(c->queue.retry_ms[7], 4 * 3600000);
    assert_int_equal(c->queue.retry_jitter_percent, 25);
    assert_int_equal(c->delivery.tls, PR_TLS_OPPORTUNISTIC);
    assert_int_equal(c->delivery.smtp_port, 25);
    assert_int_equal(c->delivery.n_refused_networks, 9);
    assert_null(c->delivery.ehlo);
    pr_config_unref(c);
}

static void test_limits_of_the_file(void **state)
{
    (void)state;
    struct pr_buf b = {0};
    for (unsigned i = 0; i < 2 * CONF_DEPTH_MAX; i++)
        pr_buf_char(&b, '[');
    struct result r = load(pr_buf_cstr(&b));
    has(&r, "nested deeper than 32 levels");
    done(&r);
    pr_buf_clear(&b);
    pr_buf_str(&b, "a: [");
    for (unsigned i = 0; i < 2 * CONF_NODES_MAX; i++)
        pr_buf_str(&b, "1,");
    pr_buf_str(&b, "1]\n");
    r = load(pr_buf_cstr(&b));
    has(&r, "more than 100000 values");
    done(&r);
    pr_buf_clear(&b);
    while (b.len <= CONF_FILE_MAX)
        pr_buf_str(&b, "# 4 MiB of comments are no configuration\n");
    r = load(pr_buf_cstr(&b));
    has(&r, "larger than 4194304 bytes");
    assert_int_equal(r.e->n, 1);
    done(&r);
    pr_buf_fini(&b);
}

static void test_many_errors_are_counted(void **state)
{
    (void)state;
    struct pr_buf b = {0};
    pr_buf_str(&b, HOST "queue: {retry: [");
    for (unsigned i = 0; i < PR_CONF_MESSAGES_MAX + 50; i++)
        pr_buf_str(&b, "5,\n");
    pr_buf_str(&b, "5m]}\n");
    struct result r = load(pr_buf_cstr(&b));
    assert_int_equal(r.rc, PR_EPARSE);
    assert_int_equal(r.e->n, PR_CONF_MESSAGES_MAX);
    assert_int_equal(r.e->n_errors, PR_CONF_MESSAGES_MAX + 50);
    has(&r, "... and 50 more");
    done(&r);
    pr_buf_fini(&b);
}

/* Tabs and characters of several bytes before the column; control bytes never reach the terminal. */
static void test_caret(void **state)
{
    (void)state;
    struct result r = load(HOST "log: {\"l\xc3\xa9vel\": \tx}\n");
    has(&r, "    log: {\"l\xc3\xa9vel\": \tx}\n          ^\n");
    done(&r);
    r = load(HOST "log: {level:   \t\"\xc3\xa9\"}\n");
    has(&r, "    log: {level:   \t\"\xc3\xa9\"}\n                   \t^\n");
    done(&r);
    r = load(HOST "log: {level: \"a\\e[31m\"}\n");
    has(&r, "\"a?[31m\" is not a value");
    assert_true(pr_slice_find(pr_buf_slice(&r.text), '\x1b') == SIZE_MAX);
    done(&r);
}

static void test_unix_paths_fit(void **state)
{
    (void)state;
    struct pr_buf b = {0};
    pr_buf_str(&b, HOST "data_dir: /");
    for (unsigned i = 0; i < 100; i++)
        pr_buf_char(&b, 'd');
    pr_buf_char(&b, '\n');
    struct result r = load(pr_buf_cstr(&b));
    assert_int_equal(r.rc, PR_EPARSE);
    has(&r, "the path of a unix socket has at most 107 bytes");
    done(&r);
    pr_buf_fini(&b);
}

/* The table itself: what the other tests and all users of it rely on. */
static void test_schema_table(void **state)
{
    (void)state;
    for (size_t i = 0; i < conf_schema.n; i++) {
        const struct conf_item *item = &conf_schema.items[i];
        assert_ptr_equal(conf_schema_find(&conf_schema, item->path), item); /* no path twice */
        assert_true(item->help != NULL && item->help[strlen(item->help) - 1] == '.');
        bool has_parent = conf_item_is_child(item, NULL);
        for (size_t j = 0; j < i; j++)
            has_parent = has_parent || conf_item_is_child(item, &conf_schema.items[j]);
        if (!has_parent)
            fail_msg("%s stands before its section", item->path);
        if (item->type != CONF_SECTION && item->size == 0)
            fail_msg("%s has no field", item->path);
        if (item->type == CONF_DURATION && item->scale == 0)
            fail_msg("%s has no scale", item->path);
        if (item->def == NULL || (item->flags & CONF_F_LIST))
            continue;
        /* `show --non-default` compares texts: the default must be in its canonical form. */
        union {
            uint64_t u;
            char *s;
            struct pr_rate r;
        } field = {0};
        struct pr_arena arena = {0};
        struct conf_fault f = {0};
        struct pr_buf b = {0};
        struct conf_input in = {.text = pr_slice_str(item->def), .plain = true};
        assert_int_equal(conf_value_parse(item, &in, &arena, &field, &f), PR_OK);
        (void)conf_value_text(item, &field, &b);
        assert_string_equal(pr_buf_cstr(&b), item->def);
        pr_buf_fini(&b);
        conf_fault_fini(&f);
        pr_arena_fini(&arena);
    }
}

static int setup(void **state)
{
    (void)state;
    (void)setenv("PR_TEST_DIR", "/srv/mail", 1);
    (void)setenv("PR_TEST_N", "7", 1);
    (void)unsetenv("PR_TEST_UNSET");
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_substituted_values),
        cmocka_unit_test(test_file_relative_to_configuration),
        cmocka_unit_test(test_missing_file),
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_limits_of_the_file),
        cmocka_unit_test(test_many_errors_are_counted),
        cmocka_unit_test(test_caret),
        cmocka_unit_test(test_unix_paths_fit),
        cmocka_unit_test(test_schema_table),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
