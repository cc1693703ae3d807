/* commands.h - the functions behind the table of commands, one file per noun (cmd_NOUN.c). Each returns the exit code. */
#ifndef DEPLOY_CLI_COMMANDS_H
#define DEPLOY_CLI_COMMANDS_H

#include "deploy/cli/cli.h"

int cmd_run(struct cli *c);
int cmd_dev(struct cli *c);
int cmd_status(struct cli *c);
int cmd_queue_list(struct cli *c);
int cmd_queue_shape(struct cli *c);
int cmd_queue_flush(struct cli *c);
int cmd_dest_list(struct cli *c);
int cmd_msg_get(struct cli *c);
int cmd_msg_cat(struct cli *c);
int cmd_msg_retry(struct cli *c);
int cmd_msg_hold(struct cli *c);
int cmd_msg_release(struct cli *c);
int cmd_msg_delete(struct cli *c);
int cmd_send_test(struct cli *c);
int cmd_config_check(struct cli *c);
int cmd_config_show(struct cli *c);
int cmd_config_schema(struct cli *c);
int cmd_config_reference(struct cli *c);
int cmd_sink_run(struct cli *c);
int cmd_sink_list(struct cli *c);
int cmd_sink_cat(struct cli *c);
int cmd_version(struct cli *c);
int cmd_help(struct cli *c);

#endif
