/* cli.h - the frame of the postrider command: options, the table of commands, exit codes, output.
 *
 * Data goes to standard output, talk to standard error. One const table (commands.c) names every command with its options;
 * parsing and help come from it. Thread: main. */
#ifndef DEPLOY_CLI_CLI_H
#define DEPLOY_CLI_CLI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/buf.h"
#include "common/base/err.h"
#include "common/conf/config.h"

enum cli_exit {
    CLI_OK = 0,
    CLI_FAILED = 1,
    CLI_USAGE = 2,
    CLI_NOTHING = 3,     /* nothing matched */
    CLI_REFUSED = 4,     /* refused or in conflict */
    CLI_UNAVAILABLE = 5, /* no leader, not running: try again */
    CLI_AUTH = 6,
    CLI_PARTIAL = 7,
    CLI_TIMEOUT = 124,
};

/* Every option of every command; the table in options.c says how each is written. */
enum cli_option {
    CLI_HELP,
    CLI_CONFIG,
    CLI_OUTPUT,
    CLI_TIMEOUT_OPT,
    CLI_NO_HEADERS,
    CLI_LIMIT,
    CLI_STRICT,
    CLI_NON_DEFAULT,
    CLI_STATE,
    CLI_DOMAIN,
    CLI_SENDER,
    CLI_RECIPIENT,
    CLI_OLDER_THAN,
    CLI_ALL,
    CLI_DRY_RUN,
    CLI_YES,
    CLI_TOP,
    CLI_TO,
    CLI_FROM,
    CLI_SUBJECT,
    CLI_NO_WAIT,
    CLI_ONCE,
    CLI_KEEP,
    CLI_USER,
    CLI_LISTEN,
    CLI_HTTP,
    CLI_OPTION_NR,
};
#define CLI_HAS(option) (1ULL << (option))

enum cli_output { CLI_TABLE, CLI_JSON, CLI_JSONL, CLI_NAME, CLI_OUTPUT_NR };

struct cli;
struct cli_command {
    const char *noun;
    const char *verb;    /* NULL: the noun alone */
    const char *args;    /* for people: "ID..." */
    unsigned min_args, max_args;
    uint64_t options;    /* CLI_HAS bits, besides --help, --config, --output, --timeout */
    bool hidden;         /* the command is not listed */
    int (*run)(struct cli *c);
    const char *summary; /* one line */
    const char *details; /* more lines, or NULL */
};
extern const struct cli_command cli_commands[];
extern const size_t cli_n_commands;

struct cli {
    const struct cli_command *command;
    const char *values[CLI_OPTION_NR]; /* NULL: not given; "" for switches */
    enum cli_output output;
    uint64_t timeout_ms; /* 0: the command's own default */
    uint64_t limit;      /* 0: unlimited */
    char **args;
    unsigned n_args;
};

int cli_main(int argc, char **argv);

/* Parses everything behind the program's name. Returns -1 to go on with c->command, else the exit code. */
int cli_parse(struct cli *c, int argc, char **argv);
static inline bool cli_has(const struct cli *c, enum cli_option o) { return c->values[o] != NULL; }

struct cli_option_info {
    const char *name;    /* without dashes */
    char letter;         /* 0: none */
    const char *metavar; /* NULL: a switch */
    const char *help;
};
extern const struct cli_option_info cli_options[CLI_OPTION_NR];

/* Help on a noun, a command (verb not NULL), or everything (noun NULL). False: no such thing. */
bool cli_help(const char *noun, const char *verb, struct pr_buf *out);

/* "postrider: " and the text on standard error; returns code. */
int cli_fail(int code, const char *fmt, ...) PR_PRINTF(2, 3);
/* Writes b to standard output and empties it; CLI_FAILED when that does not work (closed pipe, full disk). */
int cli_print(struct pr_buf *b);
/* True when standard input and error are a terminal: somebody can be asked. */
bool cli_interactive(void);
/* Asks "question [y/N]" on the terminal. */
bool cli_confirm(const char *question);

/* Where the configuration is: --config, $POSTRIDER_CONFIG, the running `postrider dev` of this user (when dev is allowed),
 * /etc/postrider/postrider.yaml; NULL: the defaults. Borrowed from c or `scratch`. */
const char *cli_config_path(const struct cli *c, bool dev, struct pr_buf *scratch);
/* Loads it; errors and (verbose) warnings go to standard error. CLI_OK or CLI_FAILED. */
int cli_load_config(const struct cli *c, bool dev, struct pr_config **ret);

/* Link that names the folder of this user's running `postrider dev`. */
void cli_dev_link(struct pr_buf *out);

/* Milliseconds of the monotonic clock, of the wall clock; pause. */
uint64_t cli_now_ms(void);
uint64_t cli_wall_ms(void);
void cli_sleep_ms(uint64_t ms);

#endif
