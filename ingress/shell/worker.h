/* worker.h - one loop thread of the ingress: its listeners, connections, timers and spool. Threads share nothing but the
 * budget, the connection limits, the metrics and the log.
 *
 * Owns: all that lives on its loop. Thread: its own, where not said otherwise. */
#ifndef PR_INGRESS_SHELL_WORKER_H
#define PR_INGRESS_SHELL_WORKER_H

#include <stdatomic.h>

#include "common/base/list.h"
#include "common/base/timerq.h"
#include "common/net/daemon.h"
#include "ingress/shell/budget.h"
#include "ingress/shell/limits.h"
#include "ingress/shell/policy.h"
#include "ingress/shell/spool.h"

/* What the threads share; lives longer than they do. */
struct shared {
    struct pr_log *log;
    struct pr_metrics *metrics;
    struct im_table *table;
    struct pr_bus_ctx *bus;
    struct budget budget;
    struct limits *limits;
    struct pr_slice node_id;
    uint64_t boot_id;
    /* From a worker's thread: it cannot go on; it has drained. */
    void (*on_failed)(void *data);
    void (*on_drained)(void *data);
    void *data;
};

/* For the probes and the gauges: written by the worker, read by any thread. */
struct worker_state {
    _Atomic int intake; /* enum ing_intake */
    _Atomic bool listening, drained;
    _Atomic size_t pending, connections;
    _Atomic uint64_t oldest_us;
};

struct worker;
PR_MUST_USE int worker_start(const struct shared *shared, struct policy *policy, uint32_t index, struct worker **ret);
/* Any thread. New sessions use the policy; listeners come and go. */
void worker_set_policy(struct worker *w, struct policy *policy);
/* Any thread. No more connections; idle ones hear 421, those with a message under way may end it, until deadline_ms. */
void worker_drain(struct worker *w, uint64_t deadline_ms);
/* Any thread but the worker's: ends what is left, waits, frees. */
void worker_stop(struct worker *w);
void worker_join(struct worker *w);
const struct worker_state *worker_state(const struct worker *w);
bool worker_alive(const struct worker *w, uint64_t max_age_ms);

#endif
