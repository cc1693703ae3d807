/* node.h - the ingress process: workers, configuration snapshots, probes, orderly stop. Thread: main. */
#ifndef PR_INGRESS_SHELL_NODE_H
#define PR_INGRESS_SHELL_NODE_H

/* Returns the exit code. */
int ingress_run(int argc, char **argv);

#endif
