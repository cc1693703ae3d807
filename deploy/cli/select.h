/* select.h - which messages: ids, or the filter options, as the admin API wants them. */
#ifndef DEPLOY_CLI_SELECT_H
#define DEPLOY_CLI_SELECT_H

#include <jansson.h>

#include "deploy/cli/cli.h"

/* The filter options as an object, empty when none is given. CLI_OK, or CLI_USAGE after saying why. */
int select_filter(const struct cli *c, json_t **ret);
/* The same as "&key=value" of a query. */
int select_query(const struct cli *c, struct pr_buf *out);

#endif
