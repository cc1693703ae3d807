/* daemon.h - what the three daemons share around their loops: command line, configuration load and reload, log, signals,
 * data-directory checks, loop threads, orderly stop.
 *
 * The main thread runs a uv loop for signals and administration; workers run one loop each. */
#ifndef PR_NET_DAEMON_H
#define PR_NET_DAEMON_H

#include <uv.h>

#include "common/base/log.h"
#include "common/conf/config.h"

struct pr_daemon;

struct pr_daemon_ops {
    /* After configuration and log are up; starts workers. Non-zero: exit with 1 (it has logged why). */
    int (*start)(struct pr_daemon *d, void *data);
    /* A new valid configuration (SIGHUP); ref it if kept. Called on the main loop. */
    void (*reload)(struct pr_daemon *d, struct pr_config *config, void *data);
    /* SIGTERM or SIGINT: begin an orderly stop, call pr_daemon_stopped when done. A second signal exits at once. */
    void (*stop)(struct pr_daemon *d, void *data);
};

/* Runs until stopped; returns the exit code. Parses -c/--config FILE, --check, --version, --help. Refuses to run as root
 * unless --allow-root is given (tests in a container). Raises RLIMIT_NOFILE to its hard limit, ignores SIGPIPE, sets umask
 * 027, makes the runtime directory. Tells systemd READY, RELOADING, STOPPING (sd_notify). */
int pr_daemon_main(int argc, char **argv, const char *program, const struct pr_daemon_ops *ops, void *data);
uv_loop_t *pr_daemon_loop(struct pr_daemon *d);
struct pr_config *pr_daemon_config(struct pr_daemon *d);
struct pr_log *pr_daemon_log(struct pr_daemon *d);
/* Reloads that found the configuration wrong and changed nothing: for metrics. Any thread. */
uint64_t pr_daemon_reload_failures(const struct pr_daemon *d);
/* Ends pr_daemon_main. Handles that the program still has on the main loop get a few seconds to close. */
void pr_daemon_stopped(struct pr_daemon *d, int exit_code);

/* A thread with a loop of its own; work is handed over through a bounded-latency mailbox (MPSC + uv_async).
 * start failing (non-zero): pr_worker_start returns its code once the thread has ended; handles it made must be closing. */
struct pr_worker;
struct pr_worker_ops {
    int (*start)(struct pr_worker *w, uv_loop_t *loop, void *data); /* on the thread */
    void (*post)(struct pr_worker *w, void *item, void *data);      /* each posted item, in order, on the thread */
    void (*stop)(struct pr_worker *w, void *data);                  /* begin to stop; the loop ends when no handle is left */
};
PR_MUST_USE int pr_worker_start(const struct pr_worker_ops *ops, void *data, const char *name, struct pr_worker **ret);
/* Any thread. Items posted before stop are all handed over before ops->stop is called; items posted after it are refused
 * with PR_ECLOSED (the caller keeps the item). */
PR_MUST_USE int pr_worker_post(struct pr_worker *w, void *item);
/* True while the thread's loop has turned within max_age_ms: for /livez. Any thread. */
bool pr_worker_alive(const struct pr_worker *w, uint64_t max_age_ms);
/* Asks the thread to stop (any thread); join waits for its end and frees (not on the worker itself). */
void pr_worker_stop(struct pr_worker *w);
void pr_worker_join(struct pr_worker *w);

#endif
