/* Routes of a scheduler node: probes, metrics, status, destinations. Listings: api_messages.c; acts: api_actions.c. */
#include "scheduler/shell/api.h"

#include "common/base/alloc.h"
#include "common/net/logfd.h"
#include "scheduler/shell/metrics.h"

enum { ALIVE_MS = 10000, LANES_VIEW = 256, GATE_VIEW = 10000 };

struct totals {
    uint64_t messages, bytes, held, ready, inflight, scheduled;
    bool ready_to_commit;
};

/* A message with several groups may be in several states: it is counted once, so that the states add up to all. */
static void add_shard(struct totals *t, const struct shard_view *v)
{
    uint64_t left = v->counters.messages;
    uint64_t held = PR_MIN(v->counters.held, left);
    uint64_t inflight = PR_MIN(v->counters.leases, left - held);
    uint64_t ready = PR_MIN(v->sched.ready, left - held - inflight);
    t->messages += v->counters.messages;
    t->bytes += v->counters.bytes;
    t->held += held;
    t->inflight += inflight;
    t->ready += ready;
    t->scheduled += left - held - inflight - ready;
}

static struct totals add_up(struct node *n)
{
    struct totals t = {.ready_to_commit = true};
    for (uint32_t i = 0; i < n->n_shards; i++) {
        struct shard_view v;
        shard_view(n->shards[i], &v);
        add_shard(&t, &v);
        t.ready_to_commit = t.ready_to_commit && v.leader;
    }
    return t;
}

void node_collect_metrics(struct node *n)
{
    struct totals t = add_up(n);
    uint64_t lines[PR_LOG_LEVEL_NR], dropped;
    pr_metric_set(n->metrics, SM_QUEUE_MESSAGES, SM_STATE_READY, 0, 0, (int64_t)t.ready);
    pr_metric_set(n->metrics, SM_QUEUE_MESSAGES, SM_STATE_SCHEDULED, 0, 0, (int64_t)t.scheduled);
    pr_metric_set(n->metrics, SM_QUEUE_MESSAGES, SM_STATE_INFLIGHT, 0, 0, (int64_t)t.inflight);
    pr_metric_set(n->metrics, SM_QUEUE_MESSAGES, SM_STATE_HELD, 0, 0, (int64_t)t.held);
    pr_metric_set(n->metrics, SM_QUEUE_BYTES, 0, 0, 0, (int64_t)t.bytes);
    pr_metric_set(n->metrics, SM_LEASES, 0, 0, 0, (int64_t)t.inflight);
    pr_metric_set(n->metrics, SM_CONFIG_RELOADS, 1, 0, 0, (int64_t)pr_daemon_reload_failures(n->daemon));
    pr_logfd_counts(n->log, lines, &dropped);
    for (unsigned i = 0; i < PR_LOG_LEVEL_NR; i++)
        pr_metric_set(n->metrics, SM_LOG_MESSAGES, i, 0, 0, (int64_t)lines[i]);
}

static void api_metrics(void *data, const struct pr_http_request *req, struct pr_http_response *out)
{
    struct node *n = data;
    (void)req;
    node_collect_metrics(n);
    out->content_type = "text/plain; version=0.0.4; charset=utf-8";
    pr_metrics_render(n->metrics, &out->body);
}

static void api_livez(void *data, const struct pr_http_request *req, struct pr_http_response *out)
{
    struct node *n = data;
    (void)req;
    bool alive = bus_server_alive(n->bus, ALIVE_MS);
    for (uint32_t i = 0; i < n->n_shards; i++)
        alive = alive && shard_alive(n->shards[i], ALIVE_MS);
    out->content_type = "text/plain; charset=utf-8";
    out->status = alive ? 200 : 503;
    pr_buf_str(&out->body, alive ? "ok\n" : "a loop has not turned for 10 s\n");
}

static void api_readyz(void *data, const struct pr_http_request *req, struct pr_http_response *out)
{
    struct node *n = data;
    bool leads = add_up(n).ready_to_commit, disk = n->admission < 4;
    if (leads && disk) {
        out->content_type = "text/plain; charset=utf-8";
        if (pr_http_query(req, "verbose") != NULL)
            pr_buf_str(&out->body, "[+]shards-lead ok\n[+]disk ok\n");
        pr_buf_str(&out->body, "ok\n");
        return;
    }
    out->status = 503;
    pr_buf_printf(&out->body, "{\"reason\":\"%s\"}\n", leads ? "disk" : "no_leader");
}

static void write_shards(struct node *n, struct pr_buf *b)
{
    pr_buf_str(b, ",\"shards\":[");
    for (uint32_t i = 0; i < n->n_shards; i++) {
        struct shard_view v;
        shard_view(n->shards[i], &v);
        pr_buf_printf(b,
                      "%s{\"shard\":%u,\"leader\":%s,\"term\":%llu,\"applied\":%llu,\"messages\":%llu,\"bytes\":%llu,"
                      "\"leases\":%llu}",
                      i == 0 ? "" : ",", v.id, v.leader ? "true" : "false", (unsigned long long)v.term,
                      (unsigned long long)v.applied, (unsigned long long)v.counters.messages,
                      (unsigned long long)v.counters.bytes, (unsigned long long)v.counters.leases);
    }
    pr_buf_char(b, ']');
}

static void write_peers(struct node *n, struct pr_buf *b)
{
    struct bus_lane_view *lanes = pr_calloc(LANES_VIEW, sizeof *lanes);
    size_t count = bus_server_lanes(n->bus, lanes, LANES_VIEW);
    pr_buf_str(b, ",\"peers\":[");
    for (size_t i = 0; i < count; i++) {
        const struct lane_facts *f = &lanes[i].facts;
        pr_buf_printf(b, "%s{\"role\":\"%s\",\"node\":", i == 0 ? "" : ",",
                      f->role == WIRE_ROLE_INGRESS ? "ingress" : "deliverer");
        pr_buf_json(b, pr_slice(f->node, f->node_len));
        pr_buf_printf(b, ",\"boot\":\"%016llx\",\"lane\":%u,\"last_seen_ms\":%llu}", (unsigned long long)f->boot_id,
                      f->lane, (unsigned long long)lanes[i].last_seen_ms);
    }
    pr_buf_char(b, ']');
    pr_free(lanes);
}

void api_status(void *data, const struct pr_http_request *req, struct pr_http_response *out)
{
    struct node *n = data;
    struct totals t = add_up(n);
    struct pr_buf *b = &out->body;
    (void)req;
    pr_buf_printf(b, "{\"version\":\"%s\",\"role\":\"scheduler\",\"node\":", POSTRIDER_VERSION);
    pr_buf_json(b, pr_slice_str(n->node_id));
    pr_buf_printf(b, ",\"ready\":%s,\"admission\":%u,\"free_bytes\":%llu",
                  t.ready_to_commit && n->admission < 4 ? "true" : "false", n->admission, (unsigned long long)n->free_bytes);
    write_shards(n, b);
    pr_buf_printf(b,
                  ",\"queue\":{\"ready\":%llu,\"scheduled\":%llu,\"inflight\":%llu,\"held\":%llu,\"messages\":%llu,"
                  "\"bytes\":%llu}",
                  (unsigned long long)t.ready, (unsigned long long)t.scheduled, (unsigned long long)t.inflight,
                  (unsigned long long)t.held, (unsigned long long)t.messages, (unsigned long long)t.bytes);
    write_peers(n, b);
    pr_buf_str(b, "}\n");
}

const struct pr_http_route node_routes[] = {
    {"GET", "/metrics", api_metrics},
    {"GET", "/livez", api_livez},
    {"GET", "/readyz", api_readyz},
    {"GET", "/api/v1/status", api_status},
    {"GET", "/api/v1/messages", api_messages},
    {"GET", "/api/v1/messages/*/content", api_content},
    {"GET", "/api/v1/messages/*", api_message},
    {"GET", "/api/v1/shape", api_shape},
    {"GET", "/api/v1/destinations", api_destinations},
    {"POST", "/api/v1/actions", api_actions},
    {"POST", "/api/v1/flush", api_flush},
};
const size_t node_n_routes = PR_ARRAY_LEN(node_routes);
