/* cmd_run.c - run: the daemons of one machine under one supervisor. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "deploy/cli/commands.h"
#include "deploy/cli/node.h"

static int supervise(const struct pr_config *config, const char *file, const struct node_user *user)
{
    struct supervisor_options o = {.uid = user->uid, .gid = user->gid, .user = user->name, .log_fd = -1,
                                   .json = strcmp(config->log.format, "json") == 0};
    struct supervisor *s = NULL;
    if (supervisor_new(&o, &s) != PR_OK)
        return cli_fail(CLI_FAILED, "cannot take over signals");
    int code = node_add_daemons(s, file, true);
    while (code == CLI_OK && !supervisor_stopped(s))
        supervisor_step(s, 60000);
    supervisor_free(s);
    return code;
}

static int run_locked(const struct pr_config *config, const char *file, const struct node_user *user)
{
    int code = node_prepare(config, file, user);
    if (code != CLI_OK)
        return code;
    int lock = node_lock(config);
    if (lock < 0)
        return -lock;
    code = supervise(config, file, user);
    (void)close(lock);
    return code;
}

int cmd_run(struct cli *c)
{
    struct pr_buf scratch = {0};
    struct pr_config *config = NULL;
    struct node_user user;
    const char *given = cli_config_path(c, false, &scratch);
    /* The children must find it from wherever they are. */
    char *file = given == NULL ? NULL : realpath(given, NULL);
    int code = cli_load_config(c, false, &config);
    if (code == CLI_OK)
        code = node_user(c->values[CLI_USER], &user);
    if (code == CLI_OK) {
        code = run_locked(config, file, &user);
        node_user_fini(&user);
    }
    pr_config_unref(config);
    pr_free(file);
    pr_buf_fini(&scratch);
    return code;
}
