/* node.h - the three daemons as children of one supervisor: shared by `run` and `dev`. Thread: main. */
#ifndef DEPLOY_CLI_NODE_H
#define DEPLOY_CLI_NODE_H

#include "deploy/cli/cli.h"
#include "deploy/cli/supervise.h"

struct node_user {
    uid_t uid; /* 0: as we are */
    gid_t gid;
    char *name; /* owned; NULL with uid 0 */
};
/* Who the daemons run as: nobody changes anything unless we are root. name NULL: postrider, else nobody. CLI_OK, or an exit
 * code after saying why. */
int node_user(const char *name, struct node_user *ret);
void node_user_fini(struct node_user *u);

/* mkdir -p, mode 0750, owned by the user when we are root. False: errno. */
bool node_make_dir(const char *path, const struct node_user *u);
/* The data and runtime folders, and whether the user gets into them and reads the file; says why not. */
int node_prepare(const struct pr_config *config, const char *file, const struct node_user *u);
/* One `postrider run` per runtime folder: the descriptor that holds the lock, or minus the exit code after saying why. */
int node_lock(const struct pr_config *config);

/* Folder of our own program, where the daemons lie. */
bool node_program_dir(struct pr_buf *out);
/* Adds ingress, deliverer, scheduler: the order in which they stop. file NULL: defaults. CLI_OK or an exit code. */
int node_add_daemons(struct supervisor *s, const char *file, bool patient);

#endif
