/* node.h - the deliverer process: configuration, journals, one worker per lane, metrics and probes over HTTP.
 *
 * Owns: all of it. Thread: main; workers only read what start set up. */
#ifndef DLV_NODE_H
#define DLV_NODE_H

#include "common/base/metrics.h"
#include "common/net/bus.h"
#include "common/net/daemon.h"
#include "deliverer/shell/journal_file.h"

struct dlv_node {
    struct pr_log *log;
    struct pr_metrics *metrics;
    struct pr_bus_ctx *bus;
    struct pr_config *config; /* at start: addresses, threads, directories */
    uint64_t boot_id;
    char *node_id;
    struct dlv_journal_dir journals;
    /* From a worker's thread: it has ended; its old records are settled. */
    void (*on_worker_event)(struct dlv_node *node);
};

int dlv_node_run(int argc, char **argv);

#endif
