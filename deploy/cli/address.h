/* address.h - addresses on the command line. */
#ifndef DEPLOY_CLI_ADDRESS_H
#define DEPLOY_CLI_ADDRESS_H

#include "common/base/arena.h"
#include "common/conf/config.h"

/* host:port, [v6]:port, unix:/path. CLI_OK, or CLI_USAGE after saying why. Strings live in the arena. */
int cli_parse_address(const char *text, struct pr_arena *arena, struct pr_hostport *ret);

#endif
