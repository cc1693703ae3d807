/* main.c - the postrider command. */
#include "deploy/cli/cli.h"

int main(int argc, char **argv)
{
    return cli_main(argc, argv);
}
