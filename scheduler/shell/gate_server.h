/* gate_server.h - the gate core behind the bus: translates requests, grants, configuration and time. Thread: the bus's. */
#ifndef PR_SCHEDULER_SHELL_GATE_SERVER_H
#define PR_SCHEDULER_SHELL_GATE_SERVER_H

#include "scheduler/shell/bus_server.h"

struct gate_server;

struct gate_server *gate_server_new(const struct bus_server_options *o, uint64_t seed, struct pr_now now);
void gate_server_free(struct gate_server *g);
uint32_t gate_server_epoch(const struct gate_server *g);
void gate_server_config(struct gate_server *g, struct pr_config *config, struct pr_now now);
void gate_server_lane_up(struct gate_server *g, const struct lane_facts *lane, struct pr_now now);
void gate_server_lane_down(struct gate_server *g, const struct lane_facts *lane, struct pr_now now);
/* Grants are added to `out`, also for other lanes. */
void gate_server_request(struct gate_server *g, const struct lane_facts *lane, const struct wire_gate_req *req,
                         struct pr_now now, struct bus_post *out);
void gate_server_tick(struct gate_server *g, struct pr_now now, struct bus_post *out);
/* "Retry now": suspended destinations are probed at once. A destination, or a domain that goes there; NULL: all. */
void gate_server_flush(struct gate_server *g, const char *destination, struct pr_now now, struct bus_post *out);
size_t gate_server_view(struct gate_server *g, struct bus_gate_view *out, size_t max, struct pr_now now);

#endif
