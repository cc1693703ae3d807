/* http_client.h - one HTTP/1.1 request over a unix socket or TCP, with a deadline.
 *
 * Owns: the response's body. Thread: any. */
#ifndef DEPLOY_CLI_HTTP_CLIENT_H
#define DEPLOY_CLI_HTTP_CLIENT_H

#include "common/base/buf.h"
#include "common/conf/config.h"

enum { HTTP_HEAD_MAX = 64 << 10 };
#define HTTP_BODY_MAX ((uint64_t)1 << 30)

struct http_response {
    unsigned status;
    struct pr_buf body;
};

/* body empty: none is sent. PR_EUNAVAIL and PR_EDENIED (no connection: *reterr_text says why, static), PR_ETIMEOUT,
 * PR_ECLOSED (cut off), PR_EPARSE (not HTTP), PR_ETOOBIG. */
PR_MUST_USE int http_request(const struct pr_hostport *to, const char *method, const char *path, struct pr_slice body,
                             uint64_t deadline_ms, struct http_response *ret, const char **reterr_text);

/* Appends s as a part of a path or query: everything but unreserved characters as %XX. */
void http_escape(struct pr_slice s, struct pr_buf *out);

/* A response as it arrives; restartable at any byte. */
struct http_parser {
    struct pr_buf head;
    bool head_done, done, has_length;
    uint64_t length;
    struct http_response response;
};
PR_MUST_USE int http_parse(struct http_parser *p, struct pr_slice in);
/* The connection ended. PR_ECLOSED when something is missing. */
PR_MUST_USE int http_parse_end(struct http_parser *p);

#endif
