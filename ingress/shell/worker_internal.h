/* worker_internal.h - shared by worker.c, listen.c and connection.c. */
#ifndef PR_INGRESS_SHELL_WORKER_INTERNAL_H
#define PR_INGRESS_SHELL_WORKER_INTERNAL_H

#include "common/net/listener.h"
#include "common/net/stream.h"
#include "ingress/shell/worker.h"

struct worker {
    const struct shared *shared;
    uint32_t index;
    struct pr_worker *thread;
    uv_loop_t *loop;
    struct worker_state state;
    struct policy *policy;
    struct spool *spool;
    struct pr_list listeners;   /* struct door */
    struct pr_list connections; /* struct connection.link */
    struct pr_list starved;     /* struct connection.starved: wait for memory */
    size_t n_connections, n_doors;
    uint64_t next_session;
    struct pr_timerq timers;
    uv_timer_t timer, tick;
    uv_prepare_t prepare;
    uint64_t timer_due; /* what `timer` is set to */
    bool may_listen;    /* a leader has been seen */
    bool draining, stopping, spool_closing;
    pr_mono drain_until;
};

/* A listening socket. */
struct door {
    struct pr_list link;
    struct worker *worker;
    char *name, *address; /* of the listener, and its address as text: what a reload compares */
    struct pr_listener *listener;
};

/* listen.c: opens and closes doors until they are those of the policy. */
void doors_update(struct worker *w);
void doors_close(struct worker *w);

/* connection.c */
void connection_accept(struct door *d, uv_stream_t *server);
void connections_shutdown(struct worker *w);
/* At once. */
void connections_cut(struct worker *w);
/* Lets those that wait for memory ask again. */
void connections_feed(struct worker *w);
void connections_expire(struct worker *w);
extern const struct spool_owner connection_spool_owner;

/* worker.c: called when something that a stop waits for is gone. */
void worker_maybe_stopped(struct worker *w);

#endif
