#include "scheduler/shell/metrics.h"

#include "common/base/alloc.h"
#include "common/wire/messages.h"

static const double latency_buckets[] = {0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5};
static const double lateness_buckets[] = {0.001, 0.01, 0.1, 0.5, 1, 5, 10, 30, 60, 300, 900, 3600};
static const double count_buckets[] = {1, 2, 4, 8, 16, 32, 64, 128, 256};

static const char *const states[] = {"ready", "scheduled", "inflight", "held", NULL};
static const char *const destination_states[] = {"active", "backoff", "suspended", NULL};
static const char *const origins[] = {"smtp", "api", "dsn", "import", NULL};
static const char *const ends[] = {"delivered", "bounced", "expired", "deleted", "discarded", NULL};
static const char *const dispatches[] = {"ok", "rejected", "lease_expired", "returned", NULL};
static const char *const pools[] = {"default", NULL};
static const char *const scopes[] = {"all", "destination", "source", "tenant", NULL};
static const char *const dsn_kinds[] = {"failure", "delay", "success", NULL};
static const char *const storage_kinds[] = {"live", "wal", "blob", "free", NULL};
static const char *const roles[] = {"ingress", "deliverer", NULL};
static const char *const directions[] = {"in", "out", NULL};
static const char *const drops[] = {"decode", "unknown_peer", "no_route", "role", NULL};
static const char *const results[] = {"ok", "failed", NULL};
static const char *const levels[] = {"error", "warn", "info", "debug", NULL};
static const char *const versions[] = {"0.1.0", NULL};
static const char *const node_roles[] = {"scheduler", NULL};
static const char *const types[] = {"none",   "hello",      "hello_ok", "heartbeat", "enqueue",   "enqueue_ack", "part",
                                    "part_ack", "demand",   "credit",   "job",       "return",    "result",      "result_ack",
                                    "cancel", "inventory",  "body_get", "body_chunk", "gate_req", "gate_grant",  NULL};
static const char *const shard_names[] = {
    "0",  "1",  "2",  "3",  "4",  "5",  "6",  "7",  "8",  "9",  "10", "11", "12", "13", "14", "15", "16",
    "17", "18", "19", "20", "21", "22", "23", "24", "25", "26", "27", "28", "29", "30", "31", "32", "33",
    "34", "35", "36", "37", "38", "39", "40", "41", "42", "43", "44", "45", "46", "47", "48", "49", "50",
    "51", "52", "53", "54", "55", "56", "57", "58", "59", "60", "61", "62", "63", NULL};

_Static_assert(PR_ARRAY_LEN(types) == WIRE_TYPE_NR + 1, "one label per bus message type");
_Static_assert(PR_ARRAY_LEN(shard_names) == SM_SHARDS_MAX + 1, "one label per shard");

#define LABEL(n, v) {.name = (n), .values = (v)}
#define COUNTER(n, h, ...) {.name = (n), .help = (h), .type = PR_METRIC_COUNTER, .labels = {__VA_ARGS__}}
#define GAUGE(n, h, ...) {.name = (n), .help = (h), .type = PR_METRIC_GAUGE, .labels = {__VA_ARGS__}}
#define GAUGE_MS(n, h, ...) \
    {.name = (n), .help = (h), .type = PR_METRIC_GAUGE, .scale = 1e-3, .labels = {__VA_ARGS__}}
#define HISTOGRAM(n, h, b, s)                                                                                         \
    {.name = (n), .help = (h), .type = PR_METRIC_HISTOGRAM, .buckets = (b), .n_buckets = PR_ARRAY_LEN(b), .scale = (s)}
#define NONE {.name = NULL}

static const struct pr_metric_def defs[SM_METRIC_NR] = {
    [SM_BUILD_INFO] = GAUGE("postrider_build_info", "Version and role of this process.", LABEL("version", versions),
                            LABEL("role", node_roles)),
    [SM_QUEUE_MESSAGES] = GAUGE("postrider_queue_messages", "Messages in the queue by state.", LABEL("state", states)),
    [SM_QUEUE_BYTES] = GAUGE("postrider_queue_bytes", "Content octets of the messages in the queue.", NONE),
    [SM_QUEUE_OLDEST_AGE] = GAUGE_MS("postrider_queue_oldest_message_age_seconds",
                                     "Age of the oldest message in the queue.", NONE),
    [SM_QUEUE_DESTINATIONS] = GAUGE("postrider_queue_destinations", "Destinations with mail by state.",
                                    LABEL("state", destination_states)),
    [SM_ENQUEUED] = COUNTER("postrider_queue_enqueued_total", "Messages stored durably.", LABEL("origin", origins)),
    [SM_DEQUEUED] = COUNTER("postrider_queue_dequeued_total", "Messages that left the queue.", LABEL("reason", ends)),
    [SM_LATENESS] = HISTOGRAM("postrider_scheduler_lateness_seconds", "From due time to dispatch.", lateness_buckets, 1e-6),
    [SM_LEASES] = GAUGE("postrider_scheduler_leases", "Jobs that a deliverer holds.", NONE),
    [SM_DISPATCHES] = COUNTER("postrider_scheduler_dispatches_total", "Jobs issued to deliverers, by what became of it.",
                              LABEL("result", dispatches)),
    [SM_WANTED_CONNECTIONS] = GAUGE("postrider_scheduler_wanted_connections",
                                    "Connections that deliverers could use now, after all limits.",
                                    LABEL("source_pool", pools)),
    [SM_SUSPENSIONS] = GAUGE("postrider_scheduler_suspensions", "Suspensions in force.", LABEL("scope", scopes)),
    [SM_DSN] = COUNTER("postrider_dsn_generated_total", "Delivery status notifications queued.", LABEL("kind", dsn_kinds)),
    [SM_RAFT_HAS_LEADER] = GAUGE("postrider_raft_has_leader", "1 when the shard has a leader.", LABEL("shard", shard_names)),
    [SM_RAFT_IS_LEADER] = GAUGE("postrider_raft_is_leader", "1 when this node leads the shard.", LABEL("shard", shard_names)),
    [SM_RAFT_APPLIED] = GAUGE("postrider_raft_applied_index", "Last applied log index.", LABEL("shard", shard_names)),
    [SM_RAFT_LEADER_CHANGES] = COUNTER("postrider_raft_leader_changes_total", "Times this node became leader.",
                                       LABEL("shard", shard_names)),
    [SM_RAFT_COMMIT_DURATION] = HISTOGRAM("postrider_raft_commit_duration_seconds", "From proposal of an entry to its commit.",
                                          latency_buckets, 1e-6),
    [SM_RAFT_ENTRY_COMMANDS] = HISTOGRAM("postrider_raft_entry_commands", "Commands in one log entry: group commit.",
                                         count_buckets, 0),
    [SM_RAFT_SNAPSHOTS] = COUNTER("postrider_raft_snapshots_total", "Snapshots taken.", LABEL("result", results)),
    [SM_STORAGE_BYTES] = GAUGE("postrider_storage_bytes", "Bytes on disk by kind, and free space of the volume.",
                               LABEL("kind", storage_kinds)),
    [SM_STORAGE_STALL] = GAUGE("postrider_storage_write_stall", "1 while the store stalls or delays writes.", NONE),
    [SM_STORAGE_DEBT] = GAUGE("postrider_storage_compaction_pending_bytes", "Estimated bytes to compact.", NONE),
    [SM_STORAGE_ERRORS] = COUNTER("postrider_storage_background_errors_total", "Background errors of the store.", NONE),
    [SM_BUS_PEERS] = GAUGE("postrider_bus_peers", "Connected lanes of other processes.", LABEL("role", roles)),
    [SM_BUS_MESSAGES] = COUNTER("postrider_bus_messages_total", "Messages on the bus.", LABEL("direction", directions),
                                LABEL("type", types)),
    [SM_BUS_DROPPED] = COUNTER("postrider_bus_dropped_total", "Messages not taken or not sent.", LABEL("reason", drops)),
    [SM_CONFIG_RELOADS] = COUNTER("postrider_config_reloads_total", "Configuration reloads.", LABEL("result", results)),
    [SM_CONFIG_TIME] = GAUGE("postrider_config_last_success_timestamp_seconds", "When the configuration was last loaded.",
                             NONE),
    [SM_LOG_MESSAGES] = COUNTER("postrider_log_messages_total", "Log lines since start.", LABEL("level", levels)),
};

struct pr_metrics *sm_metrics_new(void)
{
    struct pr_metrics *m = pr_metrics_new(defs, SM_METRIC_NR);
    pr_metric_set(m, SM_BUILD_INFO, 0, 0, 0, 1);
    return m;
}
