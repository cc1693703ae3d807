/* metrics.h - the metrics of an ingress: ids into a table made at start, because the names of the listeners are labels.
 * Listeners that a reload adds count as "other".
 *
 * Owns: the table. Thread: updates any. */
#ifndef PR_INGRESS_SHELL_METRICS_H
#define PR_INGRESS_SHELL_METRICS_H

#include "common/base/metrics.h"
#include "common/conf/config.h"

enum im_metric {
    IM_BUILD_INFO,
    IM_CONNECTIONS_TOTAL,  /* listener, enum im_connection */
    IM_CONNECTIONS,        /* listener */
    IM_COMMANDS,           /* enum mail_verb, class of the code - 2 */
    IM_ACCEPTED,           /* listener, enum im_auth */
    IM_REJECTIONS,         /* enum ing_stage, enum ing_reason */
    IM_MESSAGE_SIZE,       /* octets */
    IM_TRANSACTION,        /* listener; microseconds */
    IM_TLS,                /* listener, enum im_tls_version, ok or failed */
    IM_COMMIT,             /* microseconds */
    IM_BACKPRESSURE,       /* enum im_pressure */
    IM_MEMORY,             /* octets of the budget in use */
    IM_PENDING,            /* messages between commit and its answer */
    IM_BUS_PEERS,
    IM_BUS_MESSAGES,       /* in or out, enum wire_type */
    IM_BUS_DROPPED,        /* enum im_drop */
    IM_RESENT,             /* messages handed over again with the same token */
    IM_CONFIG_RELOADS,     /* ok or failed */
    IM_CONFIG_TIME,
    IM_LOG_MESSAGES,       /* level */
    IM_LOG_DROPPED,
    IM_METRIC_NR,
};

enum im_connection { IM_CONN_ACCEPTED, IM_CONN_LIMIT, IM_CONN_POLICY, IM_CONN_TLS_FAILED, IM_CONN_PROXY_ERROR };
enum im_auth { IM_AUTH_NONE, IM_AUTH_SASL, IM_AUTH_NETWORK, IM_AUTH_API };
enum im_tls_version { IM_TLS_1_2, IM_TLS_1_3, IM_TLS_OTHER };
enum im_pressure { IM_PRESSURE_NO_LEADER, IM_PRESSURE_DISK, IM_PRESSURE_MEMORY, IM_PRESSURE_QUEUE_LIMIT, IM_PRESSURE_SLOW, IM_PRESSURE_NR };
enum im_drop { IM_DROP_DECODE, IM_DROP_UNKNOWN_TOKEN, IM_DROP_TYPE };

struct im_table;
struct im_table *im_table_new(const struct pr_config *config);
void im_table_free(struct im_table *t);
struct pr_metrics *im_metrics(const struct im_table *t);
/* Label index of a listener. */
unsigned im_listener(const struct im_table *t, const char *name);

#endif
