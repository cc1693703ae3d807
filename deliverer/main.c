/* postrider-deliverer: takes jobs from the queue and speaks SMTP and LMTP to the world. */
#include "deliverer/shell/node.h"

int main(int argc, char **argv)
{
    return dlv_node_run(argc, argv);
}
