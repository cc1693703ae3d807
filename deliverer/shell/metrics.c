#include "deliverer/shell/metrics.h"

#include "common/base/alloc.h"
#include "common/wire/messages.h"

static const double attempt_buckets[] = {0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 30, 60, 300, 600};
static const double latency_buckets[] = {0.5, 1, 2, 5, 10, 30, 60, 300, 900, 3600, 14400, 43200, 86400, 432000};
static const double attempts_buckets[] = {1, 2, 3, 5, 8, 13, 21};
static const double mails_buckets[] = {1, 2, 5, 10, 20, 50, 100, 200, 500, 1000};
static const double dns_buckets[] = {0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10};

static const char *const versions[] = {POSTRIDER_VERSION, NULL};
static const char *const roles[] = {"deliverer", NULL};
static const char *const results[] = {"delivered", "deferred", "bounced", NULL};
/* RFC 3463: class and subject. */
static const char *const responses[] = {"2.0", "2.1", "2.2", "2.3", "2.4", "2.5", "2.6", "2.7", "4.0", "4.1", "4.2", "4.3", "4.4",
                                        "4.5", "4.6", "4.7", "5.0", "5.1", "5.2", "5.3", "5.4", "5.5", "5.6", "5.7", NULL};
static const char *const connection_states[] = {"connecting", "active", "idle", NULL};
static const char *const pools[] = {"default", NULL};
static const char *const connects[] = {"ok", "refused", "timeout", "tls", "dns", "banner", NULL};
static const char *const policies[] = {"required", "opportunistic", "none", NULL};
static const char *const tls_results[] = {"ok", "failed", "plain", NULL};
static const char *const dns_types[] = {"a", "aaaa", "mx", NULL};
static const char *const dns_rcodes[] = {"ok", "nodata", "nxdomain", "failed", NULL};
static const char *const job_states[] = {"ready", "running", "unacknowledged", NULL};
static const char *const chunk_results[] = {"received", "missing", NULL};
static const char *const directions[] = {"in", "out", NULL};
static const char *const drops[] = {"decode", "unexpected", "not_connected", NULL};
static const char *const reloads[] = {"ok", "failed", NULL};
static const char *const levels[] = {"error", "warn", "info", "debug", NULL};
static const char *const types[] = {"none",   "hello",      "hello_ok", "heartbeat", "enqueue",   "enqueue_ack", "part",
                                    "part_ack", "demand",   "credit",   "job",       "return",    "result",      "result_ack",
                                    "cancel", "inventory",  "body_get", "body_chunk", "gate_req", "gate_grant",  NULL};
_Static_assert(PR_ARRAY_LEN(types) == WIRE_TYPE_NR + 1, "one label per bus message type");

#define LABEL(n, v) {.name = (n), .values = (v)}
#define NONE {.name = NULL}
#define COUNTER(n, h, ...) {.name = (n), .help = (h), .type = PR_METRIC_COUNTER, .labels = {__VA_ARGS__}}
#define GAUGE(n, h, ...) {.name = (n), .help = (h), .type = PR_METRIC_GAUGE, .labels = {__VA_ARGS__}}
#define HISTOGRAM(n, h, b, s, ...)                                                                                    \
    {.name = (n), .help = (h), .type = PR_METRIC_HISTOGRAM, .buckets = (b), .n_buckets = PR_ARRAY_LEN(b), .scale = (s), \
     .labels = {__VA_ARGS__}}

static const struct pr_metric_def defs[DM_METRIC_NR] = {
    [DM_BUILD_INFO] = GAUGE("postrider_build_info", "Version and role of this process.", LABEL("version", versions),
                            LABEL("role", roles)),
    [DM_DELIVERIES] = COUNTER("postrider_deliveries_total", "Recipients by what came of an attempt.", LABEL("result", results)),
    [DM_RESPONSES] = COUNTER("postrider_delivery_responses_total", "Recipients by class and subject of the status.",
                             LABEL("code", responses)),
    [DM_ATTEMPT_DURATION] = HISTOGRAM("postrider_delivery_attempt_duration_seconds", "Duration of an attempt on a connection.",
                                      attempt_buckets, 1e-6, LABEL("result", results)),
    [DM_LATENCY] = HISTOGRAM("postrider_delivery_latency_seconds", "From reception to delivery.", latency_buckets, 1e-6, NONE),
    [DM_ATTEMPTS] = HISTOGRAM("postrider_delivery_attempts_per_message", "Attempts up to the delivery.", attempts_buckets, 1,
                              NONE),
    [DM_CONNECTIONS] = GAUGE("postrider_delivery_connections", "Connections to remote hosts by state.",
                             LABEL("state", connection_states)),
    [DM_CAPACITY] = GAUGE("postrider_delivery_connections_capacity", "Connections this process may have open.",
                          LABEL("source_pool", pools)),
    [DM_CONNECTS] = COUNTER("postrider_delivery_connects_total", "Attempts to open a connection by result.",
                            LABEL("result", connects)),
    [DM_MAILS_PER_CONNECTION] = HISTOGRAM("postrider_delivery_messages_per_connection", "Messages sent over a connection.",
                                          mails_buckets, 1, NONE),
    [DM_TLS] = COUNTER("postrider_delivery_tls_total", "Connections by TLS policy and result.", LABEL("policy", policies),
                       LABEL("result", tls_results)),
    [DM_DNS_QUERIES] = COUNTER("postrider_dns_queries_total", "Questions to name servers.", LABEL("type", dns_types),
                               LABEL("rcode", dns_rcodes)),
    [DM_DNS_DURATION] = HISTOGRAM("postrider_dns_query_duration_seconds", "Time to the answer of a name server.", dns_buckets,
                                  1e-6, LABEL("type", dns_types)),
    [DM_JOBS] = GAUGE("postrider_delivery_jobs", "Jobs held by state.", LABEL("state", job_states)),
    [DM_BODY_CHUNKS] = COUNTER("postrider_delivery_body_chunks_total", "Parts of large messages read from the queue.",
                               LABEL("result", chunk_results)),
    [DM_BUS_MESSAGES] = COUNTER("postrider_bus_messages_total", "Messages on the bus.", LABEL("direction", directions),
                                LABEL("type", types)),
    [DM_BUS_DROPPED] = COUNTER("postrider_bus_dropped_total", "Messages that were dropped.", LABEL("reason", drops)),
    [DM_CONFIG_RELOADS] = COUNTER("postrider_config_reloads_total", "Configuration reloads.", LABEL("result", reloads)),
    [DM_CONFIG_TIME] = GAUGE("postrider_config_last_success_timestamp_seconds", "When the configuration was last loaded.", NONE),
    [DM_LOG_MESSAGES] = COUNTER("postrider_log_messages_total", "Log lines by level.", LABEL("level", levels)),
};

struct pr_metrics *dm_metrics_new(void)
{
    struct pr_metrics *m = pr_metrics_new(defs, DM_METRIC_NR);
    pr_metric_set(m, DM_BUILD_INFO, 0, 0, 0, 1);
    return m;
}

unsigned dm_response(unsigned class_, unsigned subject)
{
    unsigned row = class_ == 2 ? 0 : class_ == 4 ? 1 : 2;
    return row * 8 + (subject > 7 ? 0 : subject);
}
