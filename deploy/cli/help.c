/* help.c - help at every level, from the table of commands. */
#include <stdio.h>
#include <string.h>

#include "deploy/cli/commands.h"

static void summary_line(const struct cli_command *cmd, struct pr_buf *out)
{
    struct pr_buf name = {0};
    pr_buf_printf(&name, "%s%s%s%s%s", cmd->noun, cmd->verb == NULL ? "" : " ", cmd->verb == NULL ? "" : cmd->verb,
                  cmd->args[0] == '\0' ? "" : " ", cmd->args);
    pr_buf_printf(out, "  %-26s %s\n", pr_buf_cstr(&name), cmd->summary);
    pr_buf_fini(&name);
}

static void option_line(const struct cli_option_info *o, struct pr_buf *out)
{
    struct pr_buf name = {0};
    if (o->letter != 0)
        pr_buf_printf(&name, "-%c, ", o->letter);
    pr_buf_printf(&name, "--%s%s%s", o->name, o->metavar == NULL ? "" : " ", o->metavar == NULL ? "" : o->metavar);
    pr_buf_printf(out, "  %-26s %s\n", pr_buf_cstr(&name), o->help);
    pr_buf_fini(&name);
}

static void exit_codes(struct pr_buf *out)
{
    pr_buf_str(out, "\nexit codes: 0 ok, 1 failed, 2 usage, 3 nothing matched, 4 refused, 5 unavailable (try again),\n"
                    "6 authentication, 7 partly done, 124 timeout\n");
}

static void command_help(const struct cli_command *cmd, struct pr_buf *out)
{
    pr_buf_printf(out, "usage: postrider %s%s%s [options]%s%s\n\n%s\n", cmd->noun, cmd->verb == NULL ? "" : " ",
                  cmd->verb == NULL ? "" : cmd->verb, cmd->args[0] == '\0' ? "" : " ", cmd->args, cmd->summary);
    if (cmd->details != NULL)
        pr_buf_str(out, cmd->details);
    pr_buf_str(out, "\noptions:\n");
    for (unsigned i = 0; i < CLI_OPTION_NR; i++)
        if (cmd->options & CLI_HAS(i))
            option_line(&cli_options[i], out);
    for (unsigned i = CLI_HELP; i <= CLI_TIMEOUT_OPT; i++)
        option_line(&cli_options[i], out);
}

static bool noun_help(const char *noun, struct pr_buf *out)
{
    bool any = false;
    for (size_t i = 0; i < cli_n_commands; i++) {
        const struct cli_command *cmd = &cli_commands[i];
        if (strcmp(cmd->noun, noun) != 0)
            continue;
        if (!any)
            pr_buf_printf(out, "usage: postrider %s VERB [options]\n\n", noun);
        any = true;
        summary_line(cmd, out);
    }
    if (any)
        pr_buf_printf(out, "\npostrider %s VERB --help tells more.\n", noun);
    return any;
}

bool cli_help(const char *noun, const char *verb, struct pr_buf *out)
{
    if (noun == NULL) {
        pr_buf_str(out, "usage: postrider COMMAND [options]\n\n");
        for (size_t i = 0; i < cli_n_commands; i++)
            if (!cli_commands[i].hidden)
                summary_line(&cli_commands[i], out);
        pr_buf_str(out, "\noptions of all commands:\n");
        for (unsigned i = CLI_HELP; i <= CLI_TIMEOUT_OPT; i++)
            option_line(&cli_options[i], out);
        exit_codes(out);
        return true;
    }
    for (size_t i = 0; i < cli_n_commands; i++) {
        const struct cli_command *cmd = &cli_commands[i];
        if (strcmp(cmd->noun, noun) == 0 &&
            (cmd->verb == NULL ? verb == NULL : verb != NULL && strcmp(cmd->verb, verb) == 0)) {
            command_help(cmd, out);
            return true;
        }
    }
    return verb == NULL && noun_help(noun, out);
}

int cmd_help(struct cli *c)
{
    struct pr_buf b = {0};
    const char *noun = c->n_args > 0 ? c->args[0] : NULL, *verb = c->n_args > 1 ? c->args[1] : NULL;
    int code = CLI_OK;
    if (cli_help(noun, verb, &b))
        code = cli_print(&b);
    else
        code = cli_fail(CLI_USAGE, "no command \"%s%s%s\"", noun, verb == NULL ? "" : " ", verb == NULL ? "" : verb);
    pr_buf_fini(&b);
    return code;
}

int cmd_version(struct cli *c)
{
    (void)c;
    struct pr_buf b = {0};
    pr_buf_str(&b, "postrider " POSTRIDER_VERSION "\n");
    int code = cli_print(&b);
    pr_buf_fini(&b);
    return code;
}
