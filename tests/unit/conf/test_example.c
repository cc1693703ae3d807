/* The example file and the schema beside it say what the program does. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>

#include "common/conf/load.h"
#include "common/conf/schema.h"

#define EXAMPLES TEST_SOURCE_DIR "/../deploy/examples/"

static void read_file(const char *path, struct pr_buf *out)
{
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    for (size_t n; (n = fread(pr_buf_reserve(out, 4096), 1, 4096, f)) > 0;)
        out->len += n;
    (void)fclose(f);
}

static struct pr_config *load_clean(struct pr_slice text)
{
    struct pr_config *c = NULL;
    struct pr_conf_errors *e = NULL;
    int rc = pr_config_parse(text, "example", &c, &e);
    struct pr_buf b = {0};
    pr_conf_errors_render(e, &b);
    if (rc != PR_OK || e->n > 0)
        print_error("%s", pr_buf_cstr(&b));
    assert_int_equal(rc, PR_OK);
    assert_int_equal(e->n, 0);
    pr_buf_fini(&b);
    pr_conf_errors_free(e);
    return c;
}

static void test_example_is_clean(void **state)
{
    (void)state;
    struct pr_buf text = {0};
    read_file(EXAMPLES "single.yaml", &text);
    assert_true(pr_slice_starts(pr_buf_slice(&text), PR_SLICE_LIT("# yaml-language-server: $schema=")));
    struct pr_config *c = load_clean(pr_buf_slice(&text));
    assert_string_equal(c->hostname, "mail.example.com");
    pr_config_unref(c);
    pr_buf_fini(&text);
}

/* "# key: value", "#   - item", "# - key: value": what a reader would uncomment. */
static bool is_setting(struct pr_slice s)
{
    while (s.len > 0 && s.ptr[0] == ' ')
        s = pr_slice_from(s, 1);
    if (pr_slice_starts(s, PR_SLICE_LIT("- ")))
        return true;
    size_t n = 0;
    while (n < s.len && ((s.ptr[n] >= 'a' && s.ptr[n] <= 'z') || s.ptr[n] == '_'))
        n++;
    return n > 0 && n < s.len && s.ptr[n] == ':' && (n + 1 == s.len || s.ptr[n + 1] == ' ');
}

static void uncomment(struct pr_slice text, struct pr_buf *out)
{
    for (unsigned line_nr = 0; text.len > 0; line_nr++) {
        struct pr_slice line = pr_slice_cut(text, '\n', &text), rest = line;
        size_t blanks = 0;
        while (blanks < line.len && line.ptr[blanks] == ' ')
            blanks++;
        rest = pr_slice_from(line, blanks);
        if (line_nr > 0 && pr_slice_starts(rest, PR_SLICE_LIT("# ")) && is_setting(pr_slice_from(rest, 2))) {
            pr_buf_add(out, pr_slice_head(line, blanks));
            pr_buf_add(out, pr_slice_from(rest, 2));
        } else {
            pr_buf_add(out, line);
        }
        pr_buf_char(out, '\n');
    }
}

/* Settings that have no default to show, and entries that are added. */
static bool is_sample(const char *path)
{
    static const char *const samples[] = {"ingress.listeners[smtp].tls.", "ingress.banner", "delivery.ehlo",
                                          "delivery.tls_ca_file", "delivery.dns.servers", "routes[", "limits["};
    for (size_t i = 0; i < sizeof samples / sizeof *samples; i++)
        if (pr_slice_starts(pr_slice_str(path), pr_slice_str(samples[i])))
            return true;
    return false;
}

static void test_comments_show_the_defaults(void **state)
{
    (void)state;
    struct pr_buf text = {0}, full = {0};
    read_file(EXAMPLES "single.yaml", &text);
    uncomment(pr_buf_slice(&text), &full);
    struct pr_config *as_is = load_clean(pr_buf_slice(&text)), *all = NULL;
    struct pr_conf_errors *e = NULL;
    int rc = pr_config_parse(pr_buf_slice(&full), "uncommented", &all, &e);
    for (size_t i = 0; i < e->n; i++) {
        /* The certificates of the example are not on this machine. */
        if (strstr(e->items[i].message, "cannot be read") == NULL)
            fail_msg("line %u: %s", e->items[i].line, e->items[i].message);
    }
    assert_int_equal(rc, PR_OK);
    struct pr_conf_diff *d = pr_config_diff(as_is, all);
    for (size_t i = 0; i < d->n; i++)
        if (!is_sample(d->items[i].path))
            fail_msg("%s: the default is %s, the example says %s", d->items[i].path, d->items[i].old_value,
                     d->items[i].new_value);
    pr_conf_diff_free(d);
    pr_conf_errors_free(e);
    pr_config_unref(as_is);
    pr_config_unref(all);
    pr_buf_fini(&text);
    pr_buf_fini(&full);
}

static void test_schema_file_is_current(void **state)
{
    (void)state;
    struct pr_buf file = {0}, made = {0};
    read_file(EXAMPLES "postrider.schema.json", &file);
    pr_conf_json_schema(&made);
    if (!pr_slice_eq(pr_buf_slice(&file), pr_buf_slice(&made)))
        fail_msg("run: postrider config schema > deploy/examples/postrider.schema.json");
    pr_buf_fini(&file);
    pr_buf_fini(&made);
}

/* Every key of the schema stands in the example. */
static void test_example_is_complete(void **state)
{
    (void)state;
    struct pr_buf text = {0};
    read_file(EXAMPLES "single.yaml", &text);
    for (size_t i = 0; i < conf_schema.n; i++) {
        struct pr_buf key = {0};
        pr_buf_printf(&key, "%s:", conf_item_key(&conf_schema.items[i]));
        if (pr_slice_find_slice(pr_buf_slice(&text), pr_buf_slice(&key)) == SIZE_MAX)
            fail_msg("%s is not in the example", conf_schema.items[i].path);
        pr_buf_fini(&key);
    }
    pr_buf_fini(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_example_is_clean),
        cmocka_unit_test(test_comments_show_the_defaults),
        cmocka_unit_test(test_example_is_complete),
        cmocka_unit_test(test_schema_file_is_current),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
