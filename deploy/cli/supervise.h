/* supervise.h - keeps a few child processes running and stops them in order.
 *
 * A child that ends is started again after a pause that doubles each time, and is short again once a child has run for
 * STABLE_MS. Stopping goes through the children in the order they were added: SIGTERM, a time limit, SIGKILL, then the
 * next. Children die with us. Owns: copies of all texts, a signalfd. Thread: main, which must have no other threads. */
#ifndef DEPLOY_CLI_SUPERVISE_H
#define DEPLOY_CLI_SUPERVISE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/base/err.h"

struct supervisor;

struct supervisor_options {
    /* Who the children run as; uid 0: as we are. */
    uid_t uid;
    gid_t gid;
    const char *user; /* for the supplementary groups; NULL when uid is 0 */
    int log_fd;       /* standard error of the children; -1: ours */
    bool quiet;       /* no log lines of our own */
    bool json;        /* their form */
};

/* Blocks and takes over SIGTERM, SIGINT, SIGHUP, SIGCHLD. */
PR_MUST_USE int supervisor_new(const struct supervisor_options *o, struct supervisor **ret);
/* Kills what is left. NULL is a no-op. */
void supervisor_free(struct supervisor *s);
/* argv ends with NULL, argv[0] is the program's path; stop_ms: time limit of an orderly stop. Starts with the next step. */
void supervisor_add(struct supervisor *s, const char *name, const char *const *argv, uint64_t stop_ms);

/* Waits for at most wait_ms, then handles signals, ends and starts. */
void supervisor_step(struct supervisor *s, uint64_t wait_ms);
/* Begins to stop; a second time: kills at once. */
void supervisor_stop(struct supervisor *s);
bool supervisor_stopping(const struct supervisor *s);
/* All children have ended after a stop. */
bool supervisor_stopped(const struct supervisor *s);
/* How often children ended that nobody stopped. */
unsigned supervisor_failures(const struct supervisor *s);

/* The pause before the next start, pure: doubles from 200 ms to 30 s, and begins again after a run of at least 10 s. */
uint64_t supervisor_backoff(uint64_t last_ms, uint64_t ran_ms);

#endif
