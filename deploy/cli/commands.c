/* commands.c - every command of postrider. */
#include "deploy/cli/commands.h"

#include "common/base/alloc.h"

#define FILTER \
    (CLI_HAS(CLI_STATE) | CLI_HAS(CLI_DOMAIN) | CLI_HAS(CLI_SENDER) | CLI_HAS(CLI_RECIPIENT) | CLI_HAS(CLI_OLDER_THAN))
#define LISTING (CLI_HAS(CLI_NO_HEADERS) | CLI_HAS(CLI_LIMIT))
#define CHANGE (FILTER | CLI_HAS(CLI_ALL) | CLI_HAS(CLI_DRY_RUN) | CLI_HAS(CLI_YES))
#define ANY_ARGS 100000

static const char selector[] =
    "Messages are named by their ids, or chosen by --state, --domain, --sender, --recipient and --older-than together,\n"
    "or --all. With --dry-run nothing is changed: the number of messages and some of them are printed.\n";

const struct cli_command cli_commands[] = {
    {"run", NULL, "", 0, 0, CLI_HAS(CLI_USER), false, cmd_run, "run scheduler, ingress and deliverer on this machine",
     "Starts the three daemons with the same configuration, starts one again when it ends, and stops them in order on\n"
     "SIGTERM or SIGINT; SIGHUP makes them read the configuration again. Their log lines go to standard error.\n"
     "Started as root, the daemons run as user postrider (or nobody), or the one of --user.\n"},
    {"dev", NULL, "", 0, 0, CLI_HAS(CLI_ONCE) | CLI_HAS(CLI_KEEP), false, cmd_dev,
     "try everything on loopback, with a sink that catches all mail",
     "Needs no configuration and no root; data lives in a temporary folder that is deleted on exit. Sends a message through\n"
     "and shows each step with its time. With --once it stops after that: exit code 0 only if the message arrived.\n"},
    {"status", NULL, "", 0, 0, CLI_HAS(CLI_NO_HEADERS), false, cmd_status, "health of the roles and size of the queue",
     "Exit code 5 when something is not ready.\n"},
    {"queue", "list", "", 0, 0, LISTING | FILTER, false, cmd_queue_list, "messages in the queue (mailq, postqueue -p)",
     "-o name prints ids only, -o jsonl one object per line.\n"},
    {"queue", "shape", "", 0, 0, CLI_HAS(CLI_NO_HEADERS) | CLI_HAS(CLI_TOP), false, cmd_queue_shape,
     "messages by destination and age (qshape)", NULL},
    {"queue", "flush", "[DESTINATION]", 0, 1, 0, false, cmd_queue_flush,
     "try deferred mail and suspended destinations now (postqueue -f, -s)",
     "A suspended destination is probed with one message first. Without DESTINATION: all of them.\n"},
    {"dest", "list", "", 0, 0, LISTING, false, cmd_dest_list, "destinations with backlog, connections and last error", NULL},
    {"msg", "get", "ID", 1, 1, 0, false, cmd_msg_get, "envelope, recipients and attempts of a message", NULL},
    {"msg", "cat", "ID", 1, 1, 0, false, cmd_msg_cat, "content of a message (postcat -q)", NULL},
    {"msg", "retry", "[ID...]", 0, ANY_ARGS, CHANGE, false, cmd_msg_retry, "deliver now (postqueue -i)", selector},
    {"msg", "hold", "[ID...]", 0, ANY_ARGS, CHANGE, false, cmd_msg_hold, "keep, do not deliver (postsuper -h)", selector},
    {"msg", "release", "[ID...]", 0, ANY_ARGS, CHANGE, false, cmd_msg_release, "end a hold (postsuper -H)", selector},
    {"msg", "delete", "[ID...]", 0, ANY_ARGS, CHANGE, false, cmd_msg_delete,
     "remove without telling the sender (postsuper -d)", selector},
    {"send", "test", "", 0, 0,
     CLI_HAS(CLI_TO) | CLI_HAS(CLI_FROM) | CLI_HAS(CLI_SUBJECT) | CLI_HAS(CLI_LISTEN) | CLI_HAS(CLI_NO_WAIT), false,
     cmd_send_test, "send a message to the ingress and follow it",
     "Prints the dialogue and each step with its time. --listen names the ingress when it is not the first listener of the\n"
     "configuration.\n"},
    {"config", "check", "[FILE]", 0, 1, CLI_HAS(CLI_STRICT), false, cmd_config_check, "errors and warnings, with line and hint",
     "Exit code 0: clean, 1: errors, 2: usage. With --strict warnings count as errors.\n"},
    {"config", "show", "[FILE]", 0, 1, CLI_HAS(CLI_NON_DEFAULT), false, cmd_config_show,
     "effective values, defaults included (postconf)", "YAML, or JSON with -o json. Secrets are not shown.\n"},
    {"config", "schema", "", 0, 0, 0, false, cmd_config_schema, "JSON Schema of the file, for editors", NULL},
    {"config", "reference", "", 0, 0, 0, false, cmd_config_reference, "every setting, as Markdown", NULL},
    {"sink", "run", "", 0, 0, CLI_HAS(CLI_LISTEN) | CLI_HAS(CLI_HTTP), true, cmd_sink_run,
     "accept all mail by SMTP and keep the latest in memory", NULL},
    {"sink", "list", "", 0, 0, LISTING | CLI_HAS(CLI_HTTP), true, cmd_sink_list, "messages in the sink of `postrider dev`", NULL},
    {"sink", "cat", "N", 1, 1, CLI_HAS(CLI_HTTP), true, cmd_sink_cat, "content of a message in the sink", NULL},
    {"version", NULL, "", 0, 0, 0, false, cmd_version, "print the version", NULL},
    {"help", NULL, "[NOUN [VERB]]", 0, 2, 0, false, cmd_help, "print help", NULL},
};
const size_t cli_n_commands = PR_ARRAY_LEN(cli_commands);
