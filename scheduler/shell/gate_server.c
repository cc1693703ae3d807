#include "scheduler/shell/gate_server.h"

#include "common/base/alloc.h"
#include "common/base/map.h"
#include "scheduler/core/gate.h"
#include "scheduler/shell/metrics.h"
#include "scheduler/shell/shard_internal.h"

struct gate_server {
    struct gate *gate;
    struct gate_config gate_config;
    struct pr_config *config;
    struct pr_log *log;
    struct pr_metrics *metrics;
    struct pr_map lanes;  /* holder -> struct lane_facts, those connected */
    struct bus_post *out; /* during a call */
};

static uint64_t holder_of(const struct lane_facts *l)
{
    return shard_holder(pr_slice(l->node, l->node_len), l->lane);
}

static void on_limit(void *data, struct pr_slice destination, struct pr_slice pool, struct gate_limit *ret)
{
    struct gate_server *g = data;
    const struct pr_conf_limit *l = pr_config_limit(g->config, destination);
    (void)pool;
    *ret = (struct gate_limit){
        .connections = l->connections,
        .messages_per_connection = l->messages_per_connection,
        .recipients_per_message = l->recipients_per_message,
        .rate_count = l->rate.count,
        .rate_per_ms = l->rate.per_ms,
    };
}

static void on_grant(void *data, uint64_t holder, uint64_t t_seq, const struct gate_slot *items, size_t n)
{
    struct gate_server *g = data;
    const struct lane_facts *lane = pr_map_get(&g->lanes, holder);
    struct wire_gate_slot slots[GATE_GRANT_BATCH];
    if (lane == NULL || g->out == NULL)
        return;
    for (size_t i = 0; i < n; i++)
        slots[i] = (struct wire_gate_slot){
            .destination = items[i].destination,
            .pool = items[i].pool,
            .seq = items[i].seq,
            .slots = items[i].slots,
            .messages_per_connection = items[i].messages_per_connection,
            .recipients_per_message = items[i].recipients_per_message,
            .rate_count = items[i].rate_count,
            .rate_per_ms = items[i].rate_per_ms,
        };
    struct wire_msg m = {.type = WIRE_GATE_GRANT,
                         .gate_grant = {gate_epoch(g->gate), t_seq, (uint32_t)g->gate_config.lease_ms, slots, n}};
    bus_post_add(g->out, &lane->control, &m);
}

static void on_moved(void *data, struct pr_slice destination, struct pr_slice pool, enum gate_state from, enum gate_state to,
                     const char *reason, uint64_t for_ms)
{
    struct gate_server *g = data;
    pr_info(g->log, "destination_state", PR_SL("dest", destination), PR_SL("pool", pool),
            PR_S("from", gate_state_names[from]), PR_S("to", gate_state_names[to]), PR_S("reason", reason),
            PR_U("for_ms", for_ms));
}

struct gate_server *gate_server_new(const struct bus_server_options *o, uint64_t seed, struct pr_now now)
{
    static const struct gate_actions actions = {on_limit, on_grant, on_moved};
    struct gate_server *g = pr_new(struct gate_server);
    g->config = pr_config_ref(o->config);
    g->log = o->log;
    g->metrics = o->metrics;
    gate_config_default(&g->gate_config);
    g->gate_config.seed = seed;
    pr_map_init(&g->lanes, seed);
    /* Wall-clock seconds grow from start to start. */
    g->gate = gate_new(&g->gate_config, &actions, g, now, (uint32_t)(now.wall.ms / 1000), o->members, o->n_members, true);
    return g;
}

void gate_server_free(struct gate_server *g)
{
    size_t it = 0;
    if (g == NULL)
        return;
    for (struct lane_facts *l; (l = pr_map_next(&g->lanes, &it, NULL)) != NULL;)
        pr_free(l);
    pr_map_fini(&g->lanes);
    gate_free(g->gate);
    pr_config_unref(g->config);
    pr_free(g);
}

uint32_t gate_server_epoch(const struct gate_server *g)
{
    return gate_epoch(g->gate);
}

void gate_server_config(struct gate_server *g, struct pr_config *config, struct pr_now now)
{
    pr_config_unref(g->config);
    g->config = pr_config_ref(config);
    gate_limits_changed(g->gate, now);
}

void gate_server_lane_up(struct gate_server *g, const struct lane_facts *lane, struct pr_now now)
{
    pr_free(pr_map_put(&g->lanes, holder_of(lane), pr_memdup(lane, sizeof *lane)));
    gate_lane_up(g->gate, now, holder_of(lane), lane->boot_id);
}

void gate_server_lane_down(struct gate_server *g, const struct lane_facts *lane, struct pr_now now)
{
    struct lane_facts *l = pr_map_get(&g->lanes, holder_of(lane));
    (void)now;
    /* Its sockets may live on: the lease runs out by itself. */
    if (l != NULL && l->lane_id == lane->lane_id)
        pr_free(pr_map_del(&g->lanes, holder_of(lane)));
}

void gate_server_request(struct gate_server *g, const struct lane_facts *lane, const struct wire_gate_req *req,
                         struct pr_now now, struct bus_post *out)
{
    struct gate_want *wants = pr_calloc(req->n, sizeof *wants);
    for (size_t i = 0; i < req->n; i++)
        wants[i] = (struct gate_want){
            .destination = req->items[i].destination,
            .pool = req->items[i].pool,
            .open = req->items[i].open,
            .wants = req->items[i].wants,
            .acked_seq = req->items[i].acked_seq,
            .ok = req->items[i].ok,
            .site_failures = req->items[i].site_failures,
            .last_error = req->items[i].last_error,
        };
    g->out = out;
    gate_request(g->gate, now, holder_of(lane), lane->boot_id, req->gate_epoch, req->t_seq, req->full, wants, req->n);
    g->out = NULL;
    pr_free(wants);
}

static void count_paths(struct gate_server *g, struct pr_now now)
{
    struct gate_path_info page[64];
    uint32_t cursor = 0;
    int64_t active = 0, backoff = 0, suspended = 0, wants = 0;
    do {
        size_t n = gate_path_list(g->gate, now, &cursor, page, PR_ARRAY_LEN(page));
        for (size_t i = 0; i < n; i++) {
            active += page[i].state == GATE_NORMAL;
            suspended += page[i].state == GATE_SUSPENDED;
            backoff += page[i].state != GATE_NORMAL && page[i].state != GATE_SUSPENDED;
            wants += PR_MIN(page[i].wants, page[i].window);
        }
    } while (cursor != 0);
    pr_metric_set(g->metrics, SM_QUEUE_DESTINATIONS, 0, 0, 0, active);
    pr_metric_set(g->metrics, SM_QUEUE_DESTINATIONS, 1, 0, 0, backoff);
    pr_metric_set(g->metrics, SM_QUEUE_DESTINATIONS, 2, 0, 0, suspended);
    pr_metric_set(g->metrics, SM_SUSPENSIONS, 1, 0, 0, suspended);
    pr_metric_set(g->metrics, SM_WANTED_CONNECTIONS, 0, 0, 0, wants);
}

void gate_server_tick(struct gate_server *g, struct pr_now now, struct bus_post *out)
{
    if (gate_deadline(g->gate).ms <= now.mono.ms) {
        g->out = out;
        gate_tick(g->gate, now);
        g->out = NULL;
    }
    if (now.mono.ms / 100 % 10 == 0)
        count_paths(g, now);
}

void gate_server_flush(struct gate_server *g, const char *destination, struct pr_now now, struct bus_post *out)
{
    g->out = out;
    (void)gate_flush(g->gate, now, pr_slice_str(destination));
    if (destination != NULL)
        (void)gate_flush(g->gate, now, pr_config_destination(g->config, pr_slice_str(destination)));
    g->out = NULL;
}

static void copy_text(char *out, size_t size, struct pr_slice in)
{
    size_t n = PR_MIN(in.len, size - 1);
    if (n > 0)
        memcpy(out, in.ptr, n);
    out[n] = '\0';
}

size_t gate_server_view(struct gate_server *g, struct bus_gate_view *out, size_t max, struct pr_now now)
{
    struct gate_path_info page[64];
    uint32_t cursor = 0;
    size_t n = 0;
    do {
        size_t got = gate_path_list(g->gate, now, &cursor, page, PR_MIN(PR_ARRAY_LEN(page), max - n));
        for (size_t i = 0; i < got; i++, n++) {
            copy_text(out[n].destination, sizeof out[n].destination, page[i].destination);
            copy_text(out[n].state, sizeof out[n].state, pr_slice_str(gate_state_names[page[i].state]));
            copy_text(out[n].last_error, sizeof out[n].last_error, page[i].last_error);
            out[n].connections = page[i].open;
            out[n].limit = page[i].limit;
            out[n].wants = page[i].wants;
            out[n].suspended_ms = page[i].state == GATE_SUSPENDED ? page[i].left_ms : 0;
        }
    } while (cursor != 0 && n < max);
    return n;
}
