/* shard.h - one shard on this node: a thread with a loop, a Raft group, the queue's state machine over a store, and, while
 * it leads, the scheduler core. The shell moves facts between them and decides nothing.
 *
 * Owns: thread, store, log. Thread: start, stop, join from the main thread; post and the views from any.
 * Errors: anything that could make memory and disk differ ends in options.on_fatal (the process stops). */
#ifndef PR_SCHEDULER_SHELL_SHARD_H
#define PR_SCHEDULER_SHELL_SHARD_H

#include <pthread.h>

#include "common/base/log.h"
#include "common/base/metrics.h"
#include "common/cluster/queue_read.h"
#include "scheduler/core/sched.h"
#include "scheduler/shell/bus_server.h"
#include "scheduler/shell/post.h"
#include "scheduler/shell/recent.h"

struct shard;

struct shard_options {
    uint32_t id;
    uint32_t n_shards;
    struct pr_config *config;
    struct pr_log *log;
    struct pr_metrics *metrics;
    struct recent *recent; /* how messages ended; NULL */
    struct pr_slice node_id;
    const char *dir; /* of this shard */
    void (*to_bus)(void *data, struct bus_post *post); /* takes the post */
    void (*on_fatal)(void *data, const char *text);    /* any shard thread */
    void *data;
};

/* Opens store and log on the calling thread (so that damage is reported before anything runs), then starts the thread. */
PR_MUST_USE int shard_start(const struct shard_options *o, struct shard **ret, struct pr_buf *reterr);
/* Takes the item on success. */
PR_MUST_USE int shard_post(struct shard *s, struct shard_post *item);
bool shard_alive(const struct shard *s, uint64_t max_age_ms);
void shard_stop(struct shard *s);
void shard_join(struct shard *s);

/* Level that the bus advertises: see struct wire_shard_state. Set by the node's disk watch. */
void shard_set_admission(struct shard *s, unsigned level);

/* The store for readers on other threads (queue_read.h). */
struct stage *shard_stage(struct shard *s);

struct shard_view {
    uint32_t id;
    bool leader;
    uint64_t term, applied;
    struct fsm_counters counters;
    struct sched_stats sched;
    uint64_t oldest_ms; /* arrival of the oldest message, 0 for none */
};
/* Holders that may have slots (shard 0's record); for the gate's start. Any thread. */
size_t shard_members_read(struct stage *stage, uint64_t *out, size_t max);
uint64_t shard_holder(struct pr_slice node, uint32_t lane);

/* A copy that is at most a second old. */
void shard_view(struct shard *s, struct shard_view *ret);

/* An act of an operator, run on the shard's thread while a thread of the HTTP server waits for it. Shared by reference: a
 * waiter that timed out leaves, the shard finishes. */
enum admin_action { ADMIN_RETRY, ADMIN_HOLD, ADMIN_RELEASE, ADMIN_DELETE, ADMIN_FLUSH, ADMIN_DESTINATIONS, ADMIN_WHERE };
struct admin_destination {
    char *destination; /* owned */
    uint64_t rows, backlog, inflight, held, next_due_ms, credit;
};
struct admin_request {
    enum admin_action action;
    uint64_t *ids; /* RETRY, HOLD, RELEASE, DELETE, WHERE; owned */
    size_t n_ids;
    char *destination; /* FLUSH: NULL for all; owned */
    /* Results, valid after admin_request_run returned 0. */
    size_t changed; /* messages, or flows flushed */
    struct admin_destination *destinations; /* DESTINATIONS */
    size_t n_destinations;
    enum sched_where *where; /* WHERE: of group 0 of each id */
    /* private */
    int status;
    size_t next, open;
    bool done;
    int refs;
    pthread_mutex_t lock;
    pthread_cond_t cond;
};
struct admin_request *admin_request_new(enum admin_action action);
void admin_request_unref(struct admin_request *r);
/* Posts to the shard and waits: PR_ETIMEOUT, PR_ENOTLEADER, PR_ECLOSED, PR_EIO. */
PR_MUST_USE int admin_request_run(struct shard *s, struct admin_request *r, uint64_t timeout_ms);

#endif
