/* postrider-ingress: takes mail by SMTP and answers 250 when the queue has it. */
#include "ingress/shell/node.h"

int main(int argc, char **argv)
{
    return ingress_run(argc, argv);
}
