/* node_internal.h - shared by node.c and probes.c. */
#ifndef PR_INGRESS_SHELL_NODE_INTERNAL_H
#define PR_INGRESS_SHELL_NODE_INTERNAL_H

#include "common/http/http.h"
#include "ingress/shell/worker.h"

enum { NODE_WORKERS_MAX = 64 };

struct node {
    struct pr_daemon *daemon;
    struct shared shared;
    struct policy *policy;
    char *node_id;
    struct worker *workers[NODE_WORKERS_MAX];
    unsigned n_workers;
    struct pr_http *http;
    uv_async_t wake;
    uv_timer_t timer;
    _Atomic bool stopping, failed;
    _Atomic int64_t policy_failures; /* reloads with a certificate that cannot be used */
    bool ended;
};

extern const struct pr_http_route node_routes[];
extern const size_t node_n_routes;

#endif
