/* http.h - a small HTTP server (libmicrohttpd) with a route table, for metrics, probes and the admin API.
 *
 * Listens on TCP or a unix socket (mode 0660). Runs handlers on its own small pool of threads, so a slow scrape or listing
 * never blocks a loop. Requests are bounded: header 16 KiB, body 1 MiB, 64 connections, 30 s.
 * Handlers run concurrently on any pool thread.
 *
 * Every response says Cache-Control: no-store and X-Content-Type-Options: nosniff. HEAD is answered by the GET route. No
 * route: 404; the path but not the method: 405 with Allow; body too large: 413; all as pr_http_error.
 * Request data is borrowed until the handler returns. */
#ifndef PR_HTTP_HTTP_H
#define PR_HTTP_HTTP_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/buf.h"
#include "common/base/err.h"
#include "common/base/slice.h"

struct pr_http_request;
struct pr_slice pr_http_method(const struct pr_http_request *r);
struct pr_slice pr_http_path(const struct pr_http_request *r);  /* decoded, without query */
struct pr_slice pr_http_tail(const struct pr_http_request *r);  /* what `*` of the route matched, decoded: may hold any byte
                                                                  * but NUL, a slash written as %2F too */
struct pr_slice pr_http_body(const struct pr_http_request *r);
const char *pr_http_query(const struct pr_http_request *r, const char *key); /* decoded; "" for a key without value */
const char *pr_http_header(const struct pr_http_request *r, const char *name);

struct pr_http_response {
    unsigned status;          /* 200 */
    const char *content_type; /* static; default application/json */
    struct pr_buf body;       /* taken */
};

/* {"error":{"code":..,"message":..}} with the given status. */
void pr_http_error(struct pr_http_response *out, unsigned status, const char *code, const char *fmt, ...) PR_PRINTF(4, 5);

typedef void (*pr_http_handler)(void *data, const struct pr_http_request *req, struct pr_http_response *out);
struct pr_http_route {
    const char *method;
    const char *path; /* exact, or with one star as a whole segment: tail is what it matched, not empty */
    pr_http_handler handler;
};

struct pr_http;
struct pr_http_options {
    const char *unix_path; /* or NULL */
    const char *host;
    uint16_t port; /* 0: any */
    unsigned threads; /* 0: 2 */
};
/* routes must outlive the server; first match wins. */
PR_MUST_USE int pr_http_start(const struct pr_http_options *o, const struct pr_http_route *routes, size_t n, void *data,
                              struct pr_http **ret, char **reterr_text);
uint16_t pr_http_port(const struct pr_http *h);
/* Waits for running handlers. NULL is a no-op. */
void pr_http_stop(struct pr_http *h);

#endif
