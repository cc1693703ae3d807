/* What people see of a configuration: effective values that load again, differences, schema and reference. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "common/base/alloc.h"
#include "common/conf/load.h"
#include "common/conf/schema.h"

static struct pr_config *load(struct pr_slice yaml)
{
    struct pr_config *c = NULL;
    struct pr_conf_errors *e = NULL;
    int rc = pr_config_parse(yaml, "t.yaml", &c, &e);
    struct pr_buf b = {0};
    pr_conf_errors_render(e, &b);
    if (rc != PR_OK)
        fail_msg("%.*s\n%s", PR_SLICE_ARG(yaml), pr_buf_cstr(&b));
    pr_buf_fini(&b);
    pr_conf_errors_free(e);
    return c;
}

#define LOAD(text) load(PR_SLICE_LIT(text))

static const char rich[] = "hostname: mail.example.com\n"
                           "data_dir: \"/var/lib/mail # one\"\n"
                           "runtime_dir: /run/p\n"
                           "ingress:\n"
                           "  banner: \"mail.example.com $${not} \\\"quoted\\\" \xc3\xa9: #\"\n"
                           "  trusted_networks: [\"::1/128\", 10.0.0.0/8]\n"
                           "  own_domains: [a.example, .b.example]\n"
                           "  min_rate: 1KiB/s\n"
                           "  listeners:\n"
                           "    - {name: \"25\", address: \"[::1]:2525\", line_endings: normalize, dsn: no}\n"
                           "queue: {retry: [1s, 2m], retry_jitter: 10%, delay_warning: 0}\n"
                           "delivery: {tls: verified, dns: {servers: [\"::1\"]}, refused_networks: []}\n"
                           "routes: [{domain: \"*\", via: \"[::1]:2500\"}]\n"
                           "limits: [{destination: \"*\", rate: 20/min}]\n";

static void test_show_loads_again(void **state)
{
    (void)state;
    struct pr_config *c = load(pr_slice_str(rich));
    /* JSON is for programs: ${ stands there as it is. */
    static const unsigned flags[] = {0, PR_CONF_SHOW_NON_DEFAULT};
    for (size_t i = 0; i < PR_ARRAY_LEN(flags); i++) {
        struct pr_buf b = {0};
        pr_config_show(c, flags[i], &b);
        struct pr_config *again = load(pr_buf_slice(&b));
        struct pr_conf_diff *d = pr_config_diff(c, again);
        for (size_t j = 0; j < d->n; j++)
            fail_msg("%s: %s -> %s", d->items[j].path, d->items[j].old_value, d->items[j].new_value);
        pr_conf_diff_free(d);
        pr_config_unref(again);
        pr_buf_fini(&b);
    }
    pr_config_unref(c);
}

static void shows(const char *yaml, unsigned flags, const char *want)
{
    struct pr_config *c = load(pr_slice_str(yaml));
    struct pr_buf b = {0};
    pr_config_show(c, flags, &b);
    assert_string_equal(pr_buf_cstr(&b), want);
    pr_buf_fini(&b);
    pr_config_unref(c);
}

static void test_non_default(void **state)
{
    (void)state;
    shows("", PR_CONF_SHOW_NON_DEFAULT, "");
    shows("", PR_CONF_SHOW_NON_DEFAULT | PR_CONF_SHOW_JSON, "{}\n");
    /* Given, but the default in other words. */
    shows("hostname: a.example\nqueue: {lifetime: 120h, retry: [300s, 10m, 20m, 40m, 1h, 1h, 2h, 4h]}\n",
          PR_CONF_SHOW_NON_DEFAULT, "hostname: a.example\n");
    shows("hostname: a.example\nqueue: {lifetime: 4d}\nlimits:\n- {destination: \"*\", connections: 20, rate: 5/s}\n",
          PR_CONF_SHOW_NON_DEFAULT,
          "hostname: a.example\nqueue:\n  lifetime: 4d\nlimits:\n  - destination: \"*\"\n    rate: 5/s\n");
    shows("hostname: a.example\nlog: {level: debug}\n", PR_CONF_SHOW_NON_DEFAULT | PR_CONF_SHOW_JSON,
          "{\n  \"hostname\": \"a.example\",\n  \"log\": {\n    \"level\": \"debug\"\n  }\n}\n");
}

static void changed(const struct pr_conf_diff *d, const char *path, const char *old, const char *new,
                    enum pr_conf_reload reload)
{
    for (size_t i = 0; i < d->n; i++) {
        const struct pr_conf_change *ch = &d->items[i];
        if (strcmp(ch->path, path) != 0)
            continue;
        assert_true(pr_slice_eq(pr_slice_str(ch->old_value), pr_slice_str(old)));
        assert_true(pr_slice_eq(pr_slice_str(ch->new_value), pr_slice_str(new)));
        assert_int_equal(ch->reload, reload);
        return;
    }
    fail_msg("%s has not changed", path);
}

static void test_diff(void **state)
{
    (void)state;
    struct pr_config *a = LOAD("hostname: a.example\nqueue: {lifetime: 4d}\n"
                               "routes: [{domain: x.example, via: mx}, {domain: y.example, via: mx}]\n");
    struct pr_config *b = LOAD("hostname: a.example\nqueue: {shards: 8, retry: [1m]}\n"
                               "routes: [{domain: z.example, via: mx}, {domain: x.example, via: \"[h.example]:25\"}]\n");
    struct pr_conf_diff *d = pr_config_diff(a, b);
    assert_int_equal(d->n, 6);
    assert_int_equal(d->n_restart, 1);
    changed(d, "queue.lifetime", "4d", "5d", PR_CONF_LIVE);
    changed(d, "queue.shards", "4", "8", PR_CONF_RESTART);
    changed(d, "queue.retry", "[5m, 10m, 20m, 40m, 1h, 1h, 2h, 4h]", "[1m]", PR_CONF_LIVE);
    changed(d, "routes[x.example].via", "mx", "[h.example]:25", PR_CONF_LIVE);
    changed(d, "routes[y.example].via", "mx", NULL, PR_CONF_LIVE);
    changed(d, "routes[z.example].via", NULL, "mx", PR_CONF_LIVE);
    pr_conf_diff_free(d);
    d = pr_config_diff(a, a);
    assert_int_equal(d->n, 0);
    pr_conf_diff_free(d);
    pr_config_unref(a);
    pr_config_unref(b);
}

static void test_order_of_entries_is_no_change(void **state)
{
    (void)state;
    struct pr_config *a = LOAD("hostname: a.example\nlimits: [{destination: x.example}, {destination: y.example}]\n");
    struct pr_config *b = LOAD("hostname: a.example\nlimits: [{destination: y.example}, {destination: x.example}]\n");
    struct pr_conf_diff *d = pr_config_diff(a, b);
    assert_int_equal(d->n, 0);
    pr_conf_diff_free(d);
    pr_config_unref(a);
    pr_config_unref(b);
}

/* Every item of the table is in both. */
static void test_schema_and_reference_are_complete(void **state)
{
    (void)state;
    struct pr_buf schema = {0}, page = {0};
    pr_conf_json_schema(&schema);
    pr_conf_reference(&page);
    for (size_t i = 0; i < conf_schema.n; i++) {
        const struct conf_item *item = &conf_schema.items[i];
        struct pr_buf in_schema = {0}, in_page = {0};
        pr_buf_printf(&in_schema, "\n\"%s\": {\"description\": ", conf_item_key(item));
        bool heading = item->type == CONF_SECTION || item->type == CONF_ENTRIES;
        pr_buf_printf(&in_page, heading ? "\n## %s\n" : "\n| `%s` |", heading ? item->path : conf_item_key(item));
        if (pr_slice_find_slice(pr_buf_slice(&schema), pr_buf_slice(&in_schema)) == SIZE_MAX)
            fail_msg("%s is not in the JSON Schema", item->path);
        if (pr_slice_find_slice(pr_buf_slice(&page), pr_buf_slice(&in_page)) == SIZE_MAX)
            fail_msg("%s is not in the reference", item->path);
        pr_buf_fini(&in_schema);
        pr_buf_fini(&in_page);
    }
    pr_buf_fini(&schema);
    pr_buf_fini(&page);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_show_loads_again),
        cmocka_unit_test(test_non_default),
        cmocka_unit_test(test_diff),
        cmocka_unit_test(test_order_of_entries_is_no_change),
        cmocka_unit_test(test_schema_and_reference_are_complete),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
