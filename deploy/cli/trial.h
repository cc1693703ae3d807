/* trial.h - one message on its way, step by step with times: shared by `send test` and `dev`.
 *
 * Owns: its texts and steps. Borrows: addresses and callbacks until trial_fini. Thread: main. */
#ifndef DEPLOY_CLI_TRIAL_H
#define DEPLOY_CLI_TRIAL_H

#include <jansson.h>

#include "deploy/cli/cli.h"

struct trial {
    const struct pr_hostport *smtp, *scheduler;
    const struct pr_hostport *sink; /* NULL: none to look into */
    const char *helo, *sender, *recipient, *subject;
    uint64_t deadline_ms;
    bool quiet;      /* no steps on standard output */
    bool transcript; /* the dialogue too */
    /* Passes the time between two looks; false: give up. */
    bool (*idle)(void *data, uint64_t ms);
    void *data;

    /* results */
    json_t *steps; /* array of {"at_ms", "step", "text"} */
    struct pr_buf id, message_id;
    bool in_sink, gone, failed, deferred, unreachable;
    /* private */
    uint64_t start_ms, start_wall_ms;
    unsigned attempts_seen;
};

/* Sends. CLI_OK: accepted, t->id is set; else the exit code, after saying why. `patience`: a 4yz or a closed port is tried
 * again until the deadline. */
int trial_send(struct trial *t, bool patience);
/* Looks until the message is in the sink (if there is one) and out of the queue, has been deferred (without a sink), or
 * the deadline has come. CLI_OK: gone or in the sink as wanted; CLI_FAILED: bounced; CLI_PARTIAL: still in the queue;
 * CLI_UNAVAILABLE: nobody to ask; CLI_TIMEOUT. */
int trial_follow(struct trial *t);
/* One more step on the list. */
void trial_step(struct trial *t, uint64_t at_ms, const char *step, const char *fmt, ...) PR_PRINTF(4, 5);
void trial_fini(struct trial *t);

#endif
