#include "ingress/shell/metrics.h"

#include "common/base/alloc.h"
#include "common/mail/command.h"
#include "common/wire/messages.h"
#include "ingress/core/session.h"

enum { LISTENERS_MAX = 15 };

static const double size_buckets[] = {1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216, 67108864};
static const double commit_buckets[] = {0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5};
static const double transaction_buckets[] = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1, 5, 30, 300};

static const char *const connection_results[] = {"accepted", "limit", "policy", "tls_failed", "proxy_error", NULL};
static const char *const commands[] = {"unknown", "ehlo", "helo", "lhlo", "mail", "rcpt", "data",     "bdat", "rset",
                                       "noop",    "quit", "vrfy", "expn", "help", "starttls", "auth", NULL};
static const char *const classes[] = {"2", "3", "4", "5", NULL};
static const char *const auths[] = {"none", "sasl", "network", "api", NULL};
static const char *const stages[] = {"connect", "helo", "mail", "rcpt", "data", "eod", NULL};
static const char *const reasons[] = {
    "syntax",  "sequence", "unsupported", "line_length",  "early_talker", "protocol", "address", "relay", "size",
    "recipients", "bare_newline", "text_line", "header", "loop", "errors", "harmless", "messages", "timeout",
    "connections", "memory", "unavailable", "disk", "policy", "shutdown", NULL};
static const char *const tls_versions[] = {"1.2", "1.3", "other", NULL};
static const char *const results[] = {"ok", "failed", NULL};
static const char *const pressures[] = {"no_leader", "disk", "memory", "queue_limit", "slow_commit", NULL};
static const char *const peer_roles[] = {"scheduler", NULL};
static const char *const directions[] = {"in", "out", NULL};
static const char *const types[] = {"none",   "hello",      "hello_ok", "heartbeat", "enqueue",   "enqueue_ack", "part",
                                    "part_ack", "demand",   "credit",   "job",       "return",    "result",      "result_ack",
                                    "cancel", "inventory",  "body_get", "body_chunk", "gate_req", "gate_grant",  NULL};
static const char *const drops[] = {"decode", "unknown_token", "type", NULL};
static const char *const levels[] = {"error", "warn", "info", "debug", NULL};
static const char *const versions[] = {"0.1.0", NULL};
static const char *const roles[] = {"ingress", NULL};

_Static_assert(PR_ARRAY_LEN(commands) == MAIL_VERB_NR + 1, "one label per verb");
_Static_assert(PR_ARRAY_LEN(stages) == ING_STAGE_NR + 1, "one label per stage");
_Static_assert(PR_ARRAY_LEN(reasons) == ING_REASON_NR + 1, "one label per reason");
_Static_assert(PR_ARRAY_LEN(types) == WIRE_TYPE_NR + 1, "one label per bus message type");
_Static_assert(PR_ARRAY_LEN(pressures) == IM_PRESSURE_NR + 1, "one label per reason of pressure");

#define LABEL(n, v) {.name = (n), .values = (v)}
#define LISTENER {.name = "listener", .values = NULL}
#define COUNTER(n, h, ...) {.name = (n), .help = (h), .type = PR_METRIC_COUNTER, .labels = {__VA_ARGS__}}
#define GAUGE(n, h, ...) {.name = (n), .help = (h), .type = PR_METRIC_GAUGE, .labels = {__VA_ARGS__}}
#define HISTOGRAM(n, h, b, s, ...)                                                                                    \
    {.name = (n), .help = (h), .type = PR_METRIC_HISTOGRAM, .buckets = (b), .n_buckets = PR_ARRAY_LEN(b), .scale = (s), \
     .labels = {__VA_ARGS__}}
#define NONE {.name = NULL}

/* The values of label "listener" are filled in at start. */
static const struct pr_metric_def defs[IM_METRIC_NR] = {
    [IM_BUILD_INFO] = GAUGE("postrider_build_info", "Version and role of this process.", LABEL("version", versions),
                            LABEL("role", roles)),
    [IM_CONNECTIONS_TOTAL] = COUNTER("postrider_smtp_connections_total", "SMTP connections by what became of them at the door.",
                                     LISTENER, LABEL("result", connection_results)),
    [IM_CONNECTIONS] = GAUGE("postrider_smtp_connections", "Open SMTP connections.", LISTENER),
    [IM_COMMANDS] = COUNTER("postrider_smtp_commands_total", "Replies to SMTP commands, the end of data included.",
                            LABEL("command", commands), LABEL("code_class", classes)),
    [IM_ACCEPTED] = COUNTER("postrider_smtp_messages_accepted_total", "Messages answered with 250: stored durably.", LISTENER,
                            LABEL("auth", auths)),
    [IM_REJECTIONS] = COUNTER("postrider_smtp_rejections_total", "Refusals by stage of the dialogue and reason.",
                              LABEL("stage", stages), LABEL("reason", reasons)),
    [IM_MESSAGE_SIZE] = HISTOGRAM("postrider_smtp_message_size_bytes", "Size of accepted messages.", size_buckets, 0, NONE),
    [IM_TRANSACTION] = HISTOGRAM("postrider_smtp_transaction_duration_seconds", "From MAIL to the reply that ends the message.",
                                 transaction_buckets, 1e-6, LISTENER),
    [IM_TLS] = COUNTER("postrider_smtp_tls_handshakes_total", "TLS handshakes as a server.", LISTENER,
                       LABEL("version", tls_versions), LABEL("result", results)),
    [IM_COMMIT] = HISTOGRAM("postrider_ingress_commit_duration_seconds",
                            "From end of data to the queue's answer that the message is durable.", commit_buckets, 1e-6, NONE),
    [IM_BACKPRESSURE] = GAUGE("postrider_ingress_backpressure", "1 while intake is held back for that reason.",
                              LABEL("reason", pressures)),
    [IM_MEMORY] = GAUGE("postrider_ingress_memory_bytes", "Memory held for clients' messages, of the configured budget.", NONE),
    [IM_PENDING] = GAUGE("postrider_ingress_pending_messages", "Messages that wait for the queue's answer.", NONE),
    [IM_BUS_PEERS] = GAUGE("postrider_bus_peers", "Loop threads with a live link to a scheduler.", LABEL("role", peer_roles)),
    [IM_BUS_MESSAGES] = COUNTER("postrider_bus_messages_total", "Messages on the bus.", LABEL("direction", directions),
                                LABEL("type", types)),
    [IM_BUS_DROPPED] = COUNTER("postrider_bus_dropped_total", "Messages of the bus that were not taken.",
                               LABEL("reason", drops)),
    [IM_RESENT] = COUNTER("postrider_ingress_resent_total", "Messages handed to the queue again with the same token.", NONE),
    [IM_CONFIG_RELOADS] = COUNTER("postrider_config_reloads_total", "Configuration reloads.", LABEL("result", results)),
    [IM_CONFIG_TIME] = GAUGE("postrider_config_last_success_timestamp_seconds", "When the configuration was last loaded.",
                             NONE),
    [IM_LOG_MESSAGES] = COUNTER("postrider_log_messages_total", "Log lines since start.", LABEL("level", levels)),
    [IM_LOG_DROPPED] = COUNTER("postrider_log_dropped_total", "Log lines dropped because the log was not drained.", NONE),
};

struct im_table {
    struct pr_metric_def defs[IM_METRIC_NR];
    char *names[LISTENERS_MAX + 2]; /* listeners, "other", NULL */
    unsigned n_names;
    struct pr_metrics *metrics;
};

static void add_listeners(struct im_table *t, const struct pr_config *c)
{
    for (size_t i = 0; i < c->ingress.n_listeners && t->n_names < LISTENERS_MAX; i++)
        t->names[t->n_names++] = pr_strdup(c->ingress.listeners[i].name);
    t->names[t->n_names] = pr_strdup("other");
    for (size_t m = 0; m < IM_METRIC_NR; m++)
        for (size_t l = 0; l < PR_METRIC_LABELS_MAX; l++)
            if (t->defs[m].labels[l].name != NULL && t->defs[m].labels[l].values == NULL)
                t->defs[m].labels[l].values = (const char *const *)t->names;
}

struct im_table *im_table_new(const struct pr_config *config)
{
    struct im_table *t = pr_new(struct im_table);
    memcpy(t->defs, defs, sizeof defs);
    add_listeners(t, config);
    t->metrics = pr_metrics_new(t->defs, IM_METRIC_NR);
    pr_metric_set(t->metrics, IM_BUILD_INFO, 0, 0, 0, 1);
    return t;
}

void im_table_free(struct im_table *t)
{
    if (t == NULL)
        return;
    pr_metrics_free(t->metrics);
    for (size_t i = 0; t->names[i] != NULL; i++)
        pr_free(t->names[i]);
    pr_free(t);
}

struct pr_metrics *im_metrics(const struct im_table *t)
{
    return t->metrics;
}

unsigned im_listener(const struct im_table *t, const char *name)
{
    unsigned i = 0;
    while (i < t->n_names && strcmp(t->names[i], name) != 0)
        i++;
    return i;
}
