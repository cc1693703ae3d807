/* options.c - the command line: words choose the command, options may stand anywhere, `--` ends them. */
#include <string.h>

#include "common/base/alloc.h"
#include "common/base/suggest.h"
#include "deploy/cli/cli.h"
#include "deploy/cli/duration.h"

const struct cli_option_info cli_options[CLI_OPTION_NR] = {
    [CLI_HELP] = {"help", 'h', NULL, "print help on the command"},
    [CLI_CONFIG] = {"config", 'c', "FILE", "configuration; else $POSTRIDER_CONFIG, else /etc/postrider/postrider.yaml"},
    [CLI_OUTPUT] = {"output", 'o', "FORM", "table, json, jsonl (an object per line) or name (ids)"},
    [CLI_TIMEOUT_OPT] = {"timeout", 0, "TIME", "give up after this time, like 30s"},
    [CLI_NO_HEADERS] = {"no-headers", 0, NULL, "tables without their first line"},
    [CLI_LIMIT] = {"limit", 0, "N", "lines at most, 0: all (default 50; the rest is counted)"},
    [CLI_STRICT] = {"strict", 0, NULL, "warnings are errors"},
    [CLI_NON_DEFAULT] = {"non-default", 0, NULL, "only what differs from the defaults"},
    [CLI_STATE] = {"state", 0, "STATE", "ready, scheduled, inflight or held"},
    [CLI_DOMAIN] = {"domain", 0, "DOMAIN", "a recipient's domain"},
    [CLI_SENDER] = {"sender", 0, "ADDRESS", "envelope sender; \"\" for bounces"},
    [CLI_RECIPIENT] = {"recipient", 0, "ADDRESS", "envelope recipient"},
    [CLI_OLDER_THAN] = {"older-than", 0, "TIME", "in the queue for longer, like 2h"},
    [CLI_ALL] = {"all", 0, NULL, "every message"},
    [CLI_DRY_RUN] = {"dry-run", 'n', NULL, "only say what would be changed"},
    [CLI_YES] = {"yes", 'y', NULL, "do not ask"},
    [CLI_TOP] = {"top", 0, "N", "so many destinations (default 20)"},
    [CLI_TO] = {"to", 0, "ADDRESS", "recipient"},
    [CLI_FROM] = {"from", 0, "ADDRESS", "sender (default postmaster@<hostname>)"},
    [CLI_SUBJECT] = {"subject", 0, "TEXT", "subject"},
    [CLI_NO_WAIT] = {"no-wait", 0, NULL, "stop when the message is accepted"},
    [CLI_ONCE] = {"once", 0, NULL, "stop after the first message"},
    [CLI_KEEP] = {"keep", 0, NULL, "keep the data on exit"},
    [CLI_USER] = {"user", 0, "NAME", "run the daemons as this user (only as root)"},
    [CLI_LISTEN] = {"listen", 0, "ADDRESS", "address:port of the SMTP server"},
    [CLI_HTTP] = {"http", 0, "PATH", "unix socket of the sink's list"},
};

static const uint64_t everywhere =
    CLI_HAS(CLI_HELP) | CLI_HAS(CLI_CONFIG) | CLI_HAS(CLI_OUTPUT) | CLI_HAS(CLI_TIMEOUT_OPT);

static size_t find_option(struct pr_slice name, char letter)
{
    for (size_t i = 0; i < CLI_OPTION_NR; i++)
        if (letter != 0 ? cli_options[i].letter == letter : pr_slice_eq_str(name, cli_options[i].name))
            return i;
    return CLI_OPTION_NR;
}

static int unknown_option(const char *arg, struct pr_slice name)
{
    struct pr_suggest s;
    pr_suggest_init(&s, name);
    for (size_t i = 0; i < CLI_OPTION_NR; i++)
        pr_suggest_try(&s, cli_options[i].name);
    if (s.best != NULL)
        return cli_fail(CLI_USAGE, "unknown option %s: did you mean --%s?", arg, s.best);
    return cli_fail(CLI_USAGE, "unknown option %s (see postrider help)", arg);
}

/* Takes the option at argv[*i], and its value. Returns -1 to go on. */
static int take_option(struct cli *c, int argc, char **argv, int *i)
{
    const char *arg = argv[*i], *value = NULL;
    struct pr_slice name = pr_slice_str(arg + (arg[1] == '-' ? 2 : 1));
    size_t which;
    if (arg[1] == '-') {
        size_t eq = pr_slice_find(name, '=');
        if (eq != SIZE_MAX)
            value = name.ptr + eq + 1;
        name = pr_slice_head(name, eq);
        which = find_option(name, 0);
    } else {
        which = find_option(name, arg[1]);
        if (arg[2] != '\0')
            value = arg + 2;
    }
    if (which == CLI_OPTION_NR)
        return unknown_option(arg, name);
    const struct cli_option_info *o = &cli_options[which];
    if (o->metavar == NULL && value != NULL)
        return cli_fail(CLI_USAGE, "--%s takes no value", o->name);
    if (o->metavar != NULL && value == NULL) {
        if (*i + 1 >= argc)
            return cli_fail(CLI_USAGE, "--%s needs a value: --%s %s", o->name, o->name, o->metavar);
        value = argv[++*i];
    }
    if (c->values[which] != NULL)
        return cli_fail(CLI_USAGE, "--%s is given twice", o->name);
    c->values[which] = value == NULL ? "" : value;
    return -1;
}

static int no_command(const char *noun, const char *verb)
{
    struct pr_suggest s;
    pr_suggest_init(&s, pr_slice_str(verb != NULL ? verb : noun));
    for (size_t i = 0; i < cli_n_commands; i++)
        if (verb == NULL || strcmp(cli_commands[i].noun, noun) == 0)
            pr_suggest_try(&s, verb == NULL || cli_commands[i].verb == NULL ? cli_commands[i].noun : cli_commands[i].verb);
    const char *blank = verb == NULL ? "" : " ", *word = verb == NULL ? "" : verb;
    if (s.best != NULL)
        return cli_fail(CLI_USAGE, "no command \"%s%s%s\": did you mean %s?", noun, blank, word, s.best);
    return cli_fail(CLI_USAGE, "no command \"%s%s%s\" (see postrider help)", noun, blank, word);
}

static bool is_noun(const char *word)
{
    for (size_t i = 0; i < cli_n_commands; i++)
        if (strcmp(cli_commands[i].noun, word) == 0)
            return true;
    return false;
}

static int show_help(const char *noun, const char *verb, bool asked)
{
    struct pr_buf b = {0};
    if (!cli_help(noun, verb, &b)) {
        pr_buf_fini(&b);
        return no_command(noun, verb);
    }
    int code = CLI_USAGE;
    if (asked)
        code = cli_print(&b);
    else
        (void)cli_fail(CLI_USAGE, "%s\n%s", noun == NULL ? "which command?" : "which verb?", pr_buf_cstr(&b));
    pr_buf_fini(&b);
    return code;
}

/* Sets c->command from the first words. Returns -1 to go on. */
static int choose_command(struct cli *c)
{
    bool help = cli_has(c, CLI_HELP);
    if (c->n_args == 0)
        return show_help(NULL, NULL, help);
    const char *noun = c->args[0], *verb = c->n_args > 1 ? c->args[1] : NULL;
    if (!is_noun(noun))
        return no_command(noun, NULL);
    for (size_t i = 0; i < cli_n_commands; i++) {
        const struct cli_command *cmd = &cli_commands[i];
        if (strcmp(cmd->noun, noun) != 0 || (cmd->verb != NULL && (verb == NULL || strcmp(cmd->verb, verb) != 0)))
            continue;
        unsigned words = cmd->verb == NULL ? 1 : 2;
        c->command = cmd;
        c->args += words;
        c->n_args -= words;
        return help ? show_help(noun, cmd->verb, true) : -1;
    }
    if (verb == NULL)
        return show_help(noun, NULL, help);
    return no_command(noun, verb);
}

static int check_options(struct cli *c)
{
    for (unsigned i = 0; i < CLI_OPTION_NR; i++)
        if (c->values[i] != NULL && !((c->command->options | everywhere) & CLI_HAS(i)))
            return cli_fail(CLI_USAGE, "%s%s%s has no option --%s", c->command->noun, c->command->verb == NULL ? "" : " ",
                            c->command->verb == NULL ? "" : c->command->verb, cli_options[i].name);
    if (c->n_args < c->command->min_args)
        return cli_fail(CLI_USAGE, "usage: postrider %s %s %s", c->command->noun,
                        c->command->verb == NULL ? "" : c->command->verb, c->command->args);
    if (c->n_args > c->command->max_args)
        return cli_fail(CLI_USAGE, "unexpected argument \"%s\"", c->args[c->command->max_args]);
    return -1;
}

/* Options that every command understands the same way. */
static int read_common(struct cli *c)
{
    static const char *const outputs[CLI_OUTPUT_NR] = {"table", "json", "jsonl", "name"};
    const char *o = c->values[CLI_OUTPUT];
    while (o != NULL && c->output < CLI_OUTPUT_NR && strcmp(o, outputs[c->output]) != 0)
        c->output++;
    if (c->output == CLI_OUTPUT_NR)
        return cli_fail(CLI_USAGE, "--output is table, json, jsonl or name, not \"%s\"", o);
    if (cli_has(c, CLI_TIMEOUT_OPT) && !cli_parse_duration(c->values[CLI_TIMEOUT_OPT], &c->timeout_ms))
        return cli_fail(CLI_USAGE, "--timeout is a time like 500ms, 30s, 5m, not \"%s\"", c->values[CLI_TIMEOUT_OPT]);
    c->limit = 50;
    if (cli_has(c, CLI_LIMIT) && pr_parse_u64(pr_slice_str(c->values[CLI_LIMIT]), UINT64_MAX, &c->limit) != PR_OK)
        return cli_fail(CLI_USAGE, "--limit is a number, not \"%s\"", c->values[CLI_LIMIT]);
    return -1;
}

int cli_parse(struct cli *c, int argc, char **argv)
{
    /* Words gather at the front of argv. */
    c->args = argv + 1;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--") == 0) {
            while (++i < argc)
                c->args[c->n_args++] = argv[i];
            break;
        }
        if (argv[i][0] != '-' || argv[i][1] == '\0') {
            c->args[c->n_args++] = argv[i];
            continue;
        }
        if (strcmp(argv[i], "--version") == 0) {
            c->args[c->n_args++] = (char *)(uintptr_t)"version";
            continue;
        }
        int code = take_option(c, argc, argv, &i);
        if (code >= 0)
            return code;
    }
    int code = choose_command(c);
    if (code < 0)
        code = check_options(c);
    return code < 0 ? read_common(c) : code;
}
