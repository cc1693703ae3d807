/* worker.h - one lane: a thread with its loop, its connections to the scheduler and to the world, its resolver.
 *
 * Owns: everything it opens. Thread: start, post and stop from main, the questions from any. */
#ifndef DLV_WORKER_H
#define DLV_WORKER_H

#include "deliverer/shell/node.h"

struct dlv_worker;

PR_MUST_USE int dlv_worker_start(struct dlv_node *node, unsigned index, unsigned lanes, struct dlv_worker **ret);
/* A new configuration; references it. */
void dlv_worker_reload(struct dlv_worker *w, struct pr_config *config);
void dlv_worker_stop(struct dlv_worker *w);
/* Waits for the end of the thread, then frees. */
void dlv_worker_join(struct dlv_worker *w);

bool dlv_worker_alive(const struct dlv_worker *w, uint64_t max_age_ms);
/* The scheduler knows the lane. */
bool dlv_worker_registered(const struct dlv_worker *w);
/* Results of earlier processes are acknowledged. */
bool dlv_worker_settled(const struct dlv_worker *w);
/* The loop has ended. */
bool dlv_worker_ended(const struct dlv_worker *w);

#endif
