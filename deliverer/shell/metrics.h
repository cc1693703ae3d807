/* metrics.h - the metrics of a deliverer: ids into the table in metrics.c. Label values are in the order given. */
#ifndef DLV_METRICS_H
#define DLV_METRICS_H

#include "common/base/metrics.h"

enum dm_metric {
    DM_BUILD_INFO,
    DM_DELIVERIES,        /* enum dm_result; recipients */
    DM_RESPONSES,         /* enum dm_response */
    DM_ATTEMPT_DURATION,  /* enum dm_result; microseconds */
    DM_LATENCY,           /* microseconds */
    DM_ATTEMPTS,
    DM_CONNECTIONS,       /* connecting, active, idle */
    DM_CAPACITY,          /* default */
    DM_CONNECTS,          /* enum dm_connect */
    DM_MAILS_PER_CONNECTION,
    DM_TLS,               /* enum dm_policy, enum dm_tls */
    DM_DNS_QUERIES,       /* a, aaaa, mx; ok, nodata, nxdomain, failed */
    DM_DNS_DURATION,      /* type; microseconds */
    DM_JOBS,              /* ready, running, unacknowledged */
    DM_BODY_CHUNKS,       /* received, missing */
    DM_BUS_MESSAGES,      /* direction, type */
    DM_BUS_DROPPED,       /* decode, unexpected, not_connected */
    DM_CONFIG_RELOADS,    /* ok, failed */
    DM_CONFIG_TIME,
    DM_LOG_MESSAGES,      /* level */
    DM_METRIC_NR,
};

enum dm_result { DM_DELIVERED, DM_DEFERRED, DM_BOUNCED, DM_RESULT_NR };
enum dm_connect { DM_CONNECT_OK, DM_CONNECT_REFUSED, DM_CONNECT_TIMEOUT, DM_CONNECT_TLS, DM_CONNECT_DNS, DM_CONNECT_BANNER };
enum dm_policy { DM_POLICY_REQUIRED, DM_POLICY_OPPORTUNISTIC, DM_POLICY_NONE };
enum dm_tls { DM_TLS_OK, DM_TLS_FAILED, DM_TLS_PLAIN };
enum dm_drop { DM_DROP_DECODE, DM_DROP_UNEXPECTED, DM_DROP_NOT_CONNECTED };

struct pr_metrics *dm_metrics_new(void);
/* Label of DM_RESPONSES: the class and the subject of an enhanced status ("5.1" of "5.1.1"). */
unsigned dm_response(unsigned class_, unsigned subject);

#endif
