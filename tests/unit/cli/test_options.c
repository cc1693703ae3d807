/* The command line: which command, which options, and exit code 2 for everything else; the tables behind it. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <string.h>

#include "common/base/alloc.h"
#include "deploy/cli/cli.h"
#include "deploy/cli/duration.h"
#include "deploy/cli/table.h"

enum { ARGS_MAX = 12 };

/* Words of `line` at single blanks; '' stands for an empty one. */
static int parse(const char *line, struct cli *c, char **argv, char *copy)
{
    int argc = 1;
    memcpy(copy, line, strlen(line) + 1);
    argv[0] = copy + strlen(line);
    struct pr_slice rest = pr_slice_str(copy);
    while (rest.ptr != NULL && rest.len > 0) {
        struct pr_slice word = pr_slice_cut(rest, ' ', &rest);
        argv[argc] = (char *)(uintptr_t)word.ptr;
        argv[argc][word.len] = '\0';
        if (strcmp(argv[argc], "''") == 0)
            argv[argc][0] = '\0';
        argc++;
    }
    argv[argc] = NULL;
    *c = (struct cli){0};
    return cli_parse(c, argc, argv);
}

static const struct {
    const char *line, *noun, *verb;
    unsigned n_args;
    enum cli_option option;
    const char *value; /* of option, NULL: not given */
} good[] = {
    {"run", "run", NULL, 0, CLI_CONFIG, NULL},
    {"run -c f.yaml", "run", NULL, 0, CLI_CONFIG, "f.yaml"},
    {"-c f.yaml run", "run", NULL, 0, CLI_CONFIG, "f.yaml"},
    {"run -cf.yaml", "run", NULL, 0, CLI_CONFIG, "f.yaml"},
    {"run --config=f.yaml", "run", NULL, 0, CLI_CONFIG, "f.yaml"},
    {"run --config=", "run", NULL, 0, CLI_CONFIG, ""},
    {"queue list --sender ''", "queue", "list", 0, CLI_SENDER, ""},
    {"queue --limit 5 list", "queue", "list", 0, CLI_LIMIT, "5"},
    {"msg delete a b -n", "msg", "delete", 2, CLI_DRY_RUN, ""},
    {"msg delete -n -- -a", "msg", "delete", 1, CLI_DRY_RUN, ""},
    {"msg delete -", "msg", "delete", 1, CLI_DRY_RUN, NULL},
    {"config check f.yaml --strict", "config", "check", 1, CLI_STRICT, ""},
    {"--version", "version", NULL, 0, CLI_CONFIG, NULL},
    {"dev --once", "dev", NULL, 0, CLI_ONCE, ""},
    {"status -o json", "status", NULL, 0, CLI_OUTPUT, "json"},
};

static void test_good(void **state)
{
    (void)state;
    for (size_t i = 0; i < PR_ARRAY_LEN(good); i++) {
        struct cli c;
        char *argv[ARGS_MAX], copy[128];
        int code = parse(good[i].line, &c, argv, copy);
        if (code != -1)
            fail_msg("\"%s\" ends with %d", good[i].line, code);
        assert_string_equal(c.command->noun, good[i].noun);
        assert_true(pr_slice_eq(pr_slice_str(c.command->verb), pr_slice_str(good[i].verb)));
        assert_int_equal(c.n_args, good[i].n_args);
        assert_int_equal(cli_has(&c, good[i].option), good[i].value != NULL);
        if (good[i].value != NULL)
            assert_string_equal(c.values[good[i].option], good[i].value);
    }
}

static void test_usage_errors(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "queue",
        "quue list",
        "queue lsit",
        "run now",
        "run --once",
        "run --nonsense",
        "run -x",
        "run -c",
        "run --config a --config b",
        "dev --once=yes",
        "msg get",
        "msg get a b",
        "status -o xml",
        "status --timeout 5",
        "status --timeout -5s",
        "queue list --limit many",
        "queue list --limit -1",
    };
    for (size_t i = 0; i < PR_ARRAY_LEN(bad); i++) {
        struct cli c;
        char *argv[ARGS_MAX], copy[128];
        int code = parse(bad[i], &c, argv, copy);
        if (code != CLI_USAGE)
            fail_msg("\"%s\" ends with %d", bad[i], code);
    }
}

static void test_common_values(void **state)
{
    (void)state;
    struct cli c;
    char *argv[ARGS_MAX], copy[128];
    assert_int_equal(parse("queue list -o jsonl --timeout 1m30s --limit 7", &c, argv, copy), -1);
    assert_int_equal(c.output, CLI_JSONL);
    assert_int_equal(c.timeout_ms, 90000);
    assert_int_equal(c.limit, 7);
    assert_int_equal(parse("queue list", &c, argv, copy), -1);
    assert_int_equal(c.output, CLI_TABLE);
    assert_int_equal(c.limit, 50);
}

/* Every command has help that names its options; every option is told apart. */
static void test_help_is_complete(void **state)
{
    (void)state;
    for (size_t i = 0; i < cli_n_commands; i++) {
        const struct cli_command *cmd = &cli_commands[i];
        struct pr_buf b = {0};
        assert_true(cli_help(cmd->noun, cmd->verb, &b));
        for (unsigned o = 0; o < CLI_OPTION_NR; o++) {
            struct pr_buf name = {0};
            pr_buf_printf(&name, "--%s", cli_options[o].name);
            if ((cmd->options & CLI_HAS(o)) && pr_slice_find_slice(pr_buf_slice(&b), pr_buf_slice(&name)) == SIZE_MAX)
                fail_msg("help of %s does not name %s", cmd->noun, pr_buf_cstr(&name));
            pr_buf_fini(&name);
        }
        pr_buf_fini(&b);
    }
    for (unsigned i = 0; i < CLI_OPTION_NR; i++)
        for (unsigned j = 0; j < i; j++) {
            assert_string_not_equal(cli_options[i].name, cli_options[j].name);
            assert_true(cli_options[i].letter == 0 || cli_options[i].letter != cli_options[j].letter);
        }
    struct pr_buf b = {0};
    assert_true(cli_help(NULL, NULL, &b));
    assert_false(cli_help("nonsense", NULL, &b));
    assert_false(cli_help("queue", "nonsense", &b));
    pr_buf_fini(&b);
}

static void test_durations(void **state)
{
    (void)state;
    static const struct {
        const char *in;
        uint64_t ms; /* 0: refused */
        const char *text;
    } rows[] = {
        {"500ms", 500, "500ms"}, {"1s", 1000, "1s"},   {"90s", 90000, "1m30s"}, {"1h30m", 5400000, "1h30m"},
        {"2d", 172800000, "2d"}, {"1d1m", 86460000, "1d"}, {"1500ms", 1500, "1s"},  {"0s", 0, NULL},
        {"5", 0, NULL},          {"", 0, NULL},        {"s", 0, NULL},          {"1m1h", 0, NULL},
        {"1x", 0, NULL},         {"-1s", 0, NULL},     {"1 s", 0, NULL},        {"99999999999s", 0, NULL},
    };
    for (size_t i = 0; i < PR_ARRAY_LEN(rows); i++) {
        uint64_t ms = 0;
        bool ok = cli_parse_duration(rows[i].in, &ms);
        if (ok != (rows[i].ms != 0) || (ok && ms != rows[i].ms))
            fail_msg("\"%s\" gives %d, %llu ms", rows[i].in, ok, (unsigned long long)ms);
        struct pr_buf b = {0};
        if (ok) {
            cli_format_duration(ms, &b);
            assert_string_equal(pr_buf_cstr(&b), rows[i].text);
        }
        pr_buf_fini(&b);
    }
}

static void test_sizes(void **state)
{
    (void)state;
    static const struct {
        uint64_t bytes;
        const char *text;
    } rows[] = {{0, "0"}, {1023, "1023"}, {1024, "1.0K"}, {1536, "1.5K"}, {1048575, "1023.9K"}, {1048576, "1.0M"},
                {UINT64_MAX, "15.9E"}};
    for (size_t i = 0; i < PR_ARRAY_LEN(rows); i++) {
        struct pr_buf b = {0};
        cli_format_size(rows[i].bytes, &b);
        assert_string_equal(pr_buf_cstr(&b), rows[i].text);
        pr_buf_fini(&b);
    }
}

static void test_table(void **state)
{
    (void)state;
    static const char *const headers[] = {"NAME", ">N", "TEXT", NULL};
    struct cli_table t;
    struct pr_buf b = {0};
    cli_table_init(&t, headers, true);
    cli_table_row(&t);
    cli_table_cell(&t, "%s", "\xc3\xa9");
    cli_table_cell(&t, "%d", 7);
    cli_table_cell(&t, "%s", "a\x1b[31m\xc2\x9b" "b");
    cli_table_row(&t);
    cli_table_cell(&t, "%s", "long name");
    cli_table_row(&t);
    cli_table_print(&t, &b);
    assert_string_equal(pr_buf_cstr(&b), "NAME       N  TEXT\n"
                                         "\xc3\xa9          7  a?[31m?b\n"
                                         "long name     \n");
    cli_table_fini(&t);
    pr_buf_fini(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),       cmocka_unit_test(test_usage_errors), cmocka_unit_test(test_common_values),
        cmocka_unit_test(test_help_is_complete), cmocka_unit_test(test_durations), cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
