/* metrics.h - the metrics of a scheduler node: ids into the table in metrics.c. Label values are in the order given. */
#ifndef PR_SCHEDULER_SHELL_METRICS_H
#define PR_SCHEDULER_SHELL_METRICS_H

#include "common/base/metrics.h"

enum sm_metric {
    SM_BUILD_INFO,
    SM_QUEUE_MESSAGES,       /* enum sm_state */
    SM_QUEUE_BYTES,
    SM_QUEUE_OLDEST_AGE,     /* milliseconds */
    SM_QUEUE_DESTINATIONS,   /* active, backoff, suspended */
    SM_ENQUEUED,             /* smtp, api, dsn, import */
    SM_DEQUEUED,             /* enum sm_end */
    SM_LATENESS,             /* microseconds */
    SM_LEASES,
    SM_DISPATCHES,           /* ok, rejected, lease_expired, returned */
    SM_WANTED_CONNECTIONS,
    SM_SUSPENSIONS,          /* all, destination, source, tenant */
    SM_DSN,                  /* failure, delay, success */
    SM_RAFT_HAS_LEADER,      /* shard */
    SM_RAFT_IS_LEADER,
    SM_RAFT_APPLIED,
    SM_RAFT_LEADER_CHANGES,
    SM_RAFT_COMMIT_DURATION, /* microseconds */
    SM_RAFT_ENTRY_COMMANDS,
    SM_RAFT_SNAPSHOTS,       /* ok, failed */
    SM_STORAGE_BYTES,        /* live, wal, blob, free */
    SM_STORAGE_STALL,
    SM_STORAGE_DEBT,
    SM_STORAGE_ERRORS,
    SM_BUS_PEERS,            /* ingress, deliverer */
    SM_BUS_MESSAGES,         /* direction, type */
    SM_BUS_DROPPED,          /* decode, unknown_peer, no_route, role */
    SM_CONFIG_RELOADS,       /* ok, failed */
    SM_CONFIG_TIME,
    SM_LOG_MESSAGES,         /* level */
    SM_METRIC_NR,
};

enum sm_state { SM_STATE_READY, SM_STATE_SCHEDULED, SM_STATE_INFLIGHT, SM_STATE_HELD, SM_STATE_NR };
enum sm_end { SM_END_DELIVERED, SM_END_BOUNCED, SM_END_EXPIRED, SM_END_DELETED, SM_END_DISCARDED };
enum sm_dispatch { SM_DISPATCH_OK, SM_DISPATCH_REJECTED, SM_DISPATCH_LEASE_EXPIRED, SM_DISPATCH_RETURNED };
enum sm_drop { SM_DROP_DECODE, SM_DROP_UNKNOWN_PEER, SM_DROP_NO_ROUTE, SM_DROP_ROLE };
enum { SM_SHARDS_MAX = 64 };

struct pr_metrics *sm_metrics_new(void);

#endif
