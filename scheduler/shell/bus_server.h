/* bus_server.h - the bus of a scheduler node: one thread with the two ROUTER sockets (control and bulk) and the gate.
 *
 * It decodes what comes in and hands it to the shard named in it; keeps the registry of lanes (HELLO, heartbeats, silence
 * for 5 s = down); answers GATE_REQ itself; sends what shards post. It decides nothing about mail.
 *
 * Owns: sockets, registry, gate. Thread: its own; start, post and stop from the main thread, post from any. */
#ifndef PR_SCHEDULER_SHELL_BUS_SERVER_H
#define PR_SCHEDULER_SHELL_BUS_SERVER_H

#include "common/base/log.h"
#include "common/base/metrics.h"
#include "common/net/daemon.h"
#include "scheduler/shell/post.h"

struct bus_server;

struct bus_server_options {
    struct pr_bus_ctx *ctx;
    struct pr_config *config;
    struct pr_log *log;
    struct pr_metrics *metrics;
    struct pr_slice node_id;
    uint64_t boot_id;
    uint32_t n_shards;
    const uint64_t *members; /* lanes that may still hold slots; copied */
    size_t n_members;
    /* Takes the item on success; any thread that the bus runs on. */
    int (*to_shard)(void *data, uint32_t shard, struct shard_post *item);
    void *data;
};

/* *ret is set as soon as the thread takes posts, before its sockets are open: shards answer at once. */
PR_MUST_USE int bus_server_start(const struct bus_server_options *o, struct bus_server *_Atomic *ret);
/* Takes the post, always (it is freed when the thread has ended). */
void bus_server_post(struct bus_server *b, struct bus_post *p);
bool bus_server_alive(const struct bus_server *b, uint64_t max_age_ms);
void bus_server_stop(struct bus_server *b);
void bus_server_join(struct bus_server *b);

/* Copies for the admin API. Any thread. */
struct bus_lane_view {
    struct lane_facts facts;
    uint64_t last_seen_ms; /* ago */
};
size_t bus_server_lanes(struct bus_server *b, struct bus_lane_view *out, size_t max);

/* State of a destination as the gate sees it. */
struct bus_gate_view {
    char destination[256];
    char state[16];
    uint32_t connections, limit, wants;
    uint64_t suspended_ms; /* from now; 0: not suspended */
    char last_error[256];
};
size_t bus_server_gate(struct bus_server *b, struct bus_gate_view *out, size_t max);

#endif
