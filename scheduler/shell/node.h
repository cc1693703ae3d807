/* node.h - a scheduler node: its bus thread, its shards, its HTTP server, and the watch over them.
 *
 * Owns: all of them. Thread: the daemon's main loop; the HTTP handlers (api_*.c) read through it from pool threads. */
#ifndef PR_SCHEDULER_SHELL_NODE_H
#define PR_SCHEDULER_SHELL_NODE_H

#include <stdatomic.h>
#include <uv.h>

#include "common/http/http.h"
#include "common/net/daemon.h"
#include "scheduler/shell/shard.h"

enum { NODE_SHARDS_MAX = 64 };

struct node {
    struct pr_daemon *daemon;
    struct pr_log *log;
    struct pr_metrics *metrics;
    struct recent *recent;
    struct pr_bus_ctx *bus_ctx;
    struct bus_server *_Atomic bus;
    struct shard *shards[NODE_SHARDS_MAX]; /* under `lock` for the bus thread */
    pthread_mutex_t lock;
    uint32_t n_shards;
    struct pr_http *http;
    struct pr_config *config;
    char *node_id;
    uint64_t boot_id;
    int lock_fd;
    uv_timer_t timer;
    uv_async_t fatal;
    _Atomic bool failed;
    bool stopping;
    unsigned admission;
    uint64_t free_bytes;
};

int node_run(int argc, char **argv);

/* disk_watch.c: free space of the volume, levels of admission, storage metrics. */
void node_watch_disk(struct node *n);
/* api.c */
extern const struct pr_http_route node_routes[];
extern const size_t node_n_routes;
void node_collect_metrics(struct node *n);

#endif
