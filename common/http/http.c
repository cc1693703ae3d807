/* http.c - how a request travels through libmicrohttpd:
 *   1. the URI callback makes the request object, with the path as it was written: routes match on that, so that a %2F
 *      inside a segment is not a separator;
 *   2. the first call of the access handler refuses what is announced too large; the following ones gather the body;
 *   3. the last one routes, runs the handler, gives the response to the library;
 *   4. the completion callback frees the request, however it ended. */
#include "common/http/http.h"

#include <microhttpd.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/base/assert.h"
#include "common/http/listen.h"

enum {
    BODY_MAX = 1024 * 1024,
    MEMORY_PER_CONNECTION = 32 * 1024, /* half of it for reading: header 16 KiB */
    CONNECTIONS_MAX = 64,
    TIMEOUT_S = 30,
    THREADS_DEFAULT = 2,
};

struct pr_http {
    struct MHD_Daemon *daemon;
    const struct pr_http_route *routes;
    size_t n_routes;
    void *data;
    char *unix_path;
    uint16_t port;
};

struct pr_http_request {
    struct MHD_Connection *connection;
    struct pr_slice method;
    struct pr_buf raw_path, path, tail, body;
    bool started, too_large;
};

struct pr_slice pr_http_method(const struct pr_http_request *r)
{
    return r->method;
}

struct pr_slice pr_http_path(const struct pr_http_request *r)
{
    return pr_buf_slice(&r->path);
}

struct pr_slice pr_http_tail(const struct pr_http_request *r)
{
    return pr_buf_slice(&r->tail);
}

struct pr_slice pr_http_body(const struct pr_http_request *r)
{
    return pr_buf_slice(&r->body);
}

const char *pr_http_query(const struct pr_http_request *r, const char *key)
{
    const char *value = NULL;
    size_t size;
    if (MHD_lookup_connection_value_n(r->connection, MHD_GET_ARGUMENT_KIND, key, strlen(key), &value, &size) != MHD_YES)
        return NULL;
    return value == NULL ? "" : value; /* `?key` without a value */
}

const char *pr_http_header(const struct pr_http_request *r, const char *name)
{
    return MHD_lookup_connection_value(r->connection, MHD_HEADER_KIND, name);
}

void pr_http_error(struct pr_http_response *out, unsigned status, const char *code, const char *fmt, ...)
{
    struct pr_buf message;
    pr_buf_init(&message);
    va_list ap;
    va_start(ap, fmt);
    pr_buf_vprintf(&message, fmt, ap);
    va_end(ap);
    out->status = status;
    out->content_type = "application/json";
    pr_buf_clear(&out->body);
    pr_buf_str(&out->body, "{\"error\":{\"code\":");
    pr_buf_json(&out->body, pr_slice_str(code));
    pr_buf_str(&out->body, ",\"message\":");
    pr_buf_json(&out->body, pr_buf_slice(&message));
    pr_buf_str(&out->body, "}}\n");
    pr_buf_fini(&message);
}

/* --- escapes --- */

/* Value of the %XX at the front; false when it is none, or NUL. */
static bool escape(struct pr_slice s, char *ret)
{
    uint64_t v;
    if (s.len < 3 || s.ptr[0] != '%' || pr_parse_hex64(pr_slice(s.ptr + 1, 2), &v) != 0 || v == 0)
        return false;
    *ret = (char)(unsigned char)v;
    return true;
}

static void decode(struct pr_slice s, struct pr_buf *out)
{
    char c;
    while (s.len > 0) {
        bool escaped = escape(s, &c);
        pr_buf_char(out, escaped ? c : s.ptr[0]);
        s = pr_slice_from(s, escaped ? 3 : 1);
    }
}

/* For the library: query keys and values, in place. */
static size_t on_unescape(void *cls, struct MHD_Connection *connection, char *text)
{
    (void)cls;
    (void)connection;
    struct pr_slice s = pr_slice_str(text);
    size_t n = 0;
    while (s.len > 0) {
        char c = s.ptr[0];
        bool escaped = escape(s, &c);
        s = pr_slice_from(s, escaped ? 3 : 1);
        text[n++] = c;
    }
    text[n] = '\0';
    return n;
}

/* --- routing --- */

/* The star of a pattern stands for one whole, non-empty segment. */
static bool route_path_matches(const struct pr_http_route *route, struct pr_slice raw, struct pr_slice *ret_tail)
{
    struct pr_slice after, before = pr_slice_cut(pr_slice_str(route->path), '*', &after);
    *ret_tail = (struct pr_slice){NULL, 0};
    if (after.ptr == NULL)
        return pr_slice_eq(raw, before);
    if (!pr_slice_starts(raw, before))
        return false;
    struct pr_slice rest = pr_slice_from(raw, before.len);
    size_t slash = pr_slice_find(rest, '/');
    size_t end = slash == SIZE_MAX ? rest.len : slash;
    *ret_tail = pr_slice_head(rest, end);
    return end > 0 && pr_slice_eq(pr_slice_from(rest, end), after);
}

static bool method_matches(const struct pr_http_route *route, struct pr_slice method)
{
    return pr_slice_eq_str(method, route->method) ||
           (pr_slice_eq_str(method, "HEAD") && strcmp(route->method, "GET") == 0);
}

/* Methods of the routes with this path, for 405; empty: there is none. */
static void allowed(const struct pr_http *h, struct pr_slice raw, struct pr_buf *out)
{
    struct pr_slice tail;
    for (size_t i = 0; i < h->n_routes; i++) {
        if (!route_path_matches(&h->routes[i], raw, &tail))
            continue;
        if (out->len > 0)
            pr_buf_str(out, ", ");
        pr_buf_str(out, h->routes[i].method);
        if (strcmp(h->routes[i].method, "GET") == 0)
            pr_buf_str(out, ", HEAD");
    }
}

static const struct pr_http_route *find_route(const struct pr_http *h, const struct pr_http_request *r,
                                              struct pr_slice *ret_tail)
{
    struct pr_slice raw = pr_buf_slice(&r->raw_path);
    for (size_t i = 0; i < h->n_routes; i++)
        if (route_path_matches(&h->routes[i], raw, ret_tail) && method_matches(&h->routes[i], r->method))
            return &h->routes[i];
    return NULL;
}

/* --- responses --- */

static enum MHD_Result respond(struct MHD_Connection *connection, struct pr_http_response *out, const char *allow)
{
    size_t n;
    char *body = pr_buf_steal(&out->body, &n);
    struct MHD_Response *m = MHD_create_response_from_buffer(n, body, MHD_RESPMEM_MUST_FREE);
    if (m == NULL) {
        pr_free(body);
        return MHD_NO;
    }
    enum MHD_Result ok = MHD_add_response_header(m, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
    if (ok == MHD_YES)
        ok = MHD_add_response_header(m, "X-Content-Type-Options", "nosniff");
    if (ok == MHD_YES)
        ok = MHD_add_response_header(m, MHD_HTTP_HEADER_CONTENT_TYPE,
                                     out->content_type == NULL ? "application/json" : out->content_type);
    if (ok == MHD_YES && allow != NULL)
        ok = MHD_add_response_header(m, MHD_HTTP_HEADER_ALLOW, allow);
    if (ok == MHD_YES)
        ok = MHD_queue_response(connection, out->status == 0 ? 200 : out->status, m);
    MHD_destroy_response(m);
    return ok;
}

static enum MHD_Result refuse_unrouted(const struct pr_http *h, struct pr_http_request *r)
{
    struct pr_http_response out = {0};
    struct pr_buf methods;
    pr_buf_init(&methods);
    allowed(h, pr_buf_slice(&r->raw_path), &methods);
    bool known = methods.len > 0;
    if (known)
        pr_http_error(&out, 405, "method_not_allowed", "this path takes %s", pr_buf_cstr(&methods));
    else
        pr_http_error(&out, 404, "not_found", "no such path");
    enum MHD_Result ok = respond(r->connection, &out, known ? pr_buf_cstr(&methods) : NULL);
    pr_buf_fini(&methods);
    return ok;
}

static enum MHD_Result refuse_body(struct MHD_Connection *connection)
{
    struct pr_http_response out = {0};
    pr_http_error(&out, 413, "too_large", "the body may have at most %d bytes", BODY_MAX);
    return respond(connection, &out, NULL);
}

static enum MHD_Result serve(const struct pr_http *h, struct pr_http_request *r)
{
    struct pr_slice tail;
    const struct pr_http_route *route = find_route(h, r, &tail);
    if (route == NULL)
        return refuse_unrouted(h, r);
    decode(pr_buf_slice(&r->raw_path), &r->path);
    decode(tail, &r->tail);
    struct pr_http_response out = {.status = 200};
    route->handler(h->data, r, &out);
    return respond(r->connection, &out, NULL);
}

/* --- callbacks of the library --- */

static void *on_uri(void *cls, const char *uri, struct MHD_Connection *connection)
{
    (void)cls;
    struct pr_http_request *r = pr_new(struct pr_http_request);
    struct pr_slice rest;
    r->connection = connection;
    pr_buf_add(&r->raw_path, pr_slice_cut(pr_slice_str(uri), '?', &rest));
    return r;
}

static bool announces_too_much(const struct pr_http_request *r)
{
    const char *length = pr_http_header(r, MHD_HTTP_HEADER_CONTENT_LENGTH);
    uint64_t n;
    return length != NULL && (pr_parse_u64(pr_slice_str(length), UINT64_MAX, &n) != 0 || n > BODY_MAX);
}

static enum MHD_Result on_request(void *cls, struct MHD_Connection *connection, const char *url, const char *method,
                                  const char *version, const char *upload, size_t *upload_size, void **request)
{
    (void)url;
    (void)version;
    struct pr_http *h = cls;
    struct pr_http_request *r = *request;
    if (!r->started) {
        r->started = true;
        r->method = pr_slice_str(method);
        return announces_too_much(r) ? refuse_body(connection) : MHD_YES;
    }
    if (*upload_size > 0) {
        r->too_large = r->too_large || *upload_size > BODY_MAX - r->body.len;
        if (!r->too_large)
            pr_buf_append(&r->body, upload, *upload_size);
        *upload_size = 0;
        return MHD_YES;
    }
    return r->too_large ? refuse_body(connection) : serve(h, r);
}

static void on_completed(void *cls, struct MHD_Connection *connection, void **request,
                         enum MHD_RequestTerminationCode code)
{
    (void)cls;
    (void)connection;
    (void)code;
    struct pr_http_request *r = *request;
    if (r == NULL)
        return;
    pr_buf_fini(&r->raw_path);
    pr_buf_fini(&r->path);
    pr_buf_fini(&r->tail);
    pr_buf_fini(&r->body);
    pr_free(r);
    *request = NULL;
}

/* Library code does not log: what the library has to say about bad requests is in its replies. */
static void PR_PRINTF(2, 0) on_log(void *cls, const char *fmt, va_list ap)
{
    (void)cls;
    (void)fmt;
    (void)ap;
}

/* --- life --- */

static int fail(const struct pr_http_options *o, const char *why, char **reterr_text)
{
    struct pr_buf b;
    pr_buf_init(&b);
    if (o->unix_path != NULL)
        pr_buf_printf(&b, "cannot serve HTTP on unix:%s: %s", o->unix_path, why);
    else
        pr_buf_printf(&b, "cannot serve HTTP on %s port %u: %s", o->host == NULL ? "*" : o->host, o->port, why);
    *reterr_text = pr_buf_steal(&b, NULL);
    return PR_EIO;
}

static struct MHD_Daemon *start_daemon(struct pr_http *h, int fd, unsigned threads)
{
    /* Signals belong to the main thread. */
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    struct MHD_Daemon *d = MHD_start_daemon(
        MHD_USE_AUTO_INTERNAL_THREAD | MHD_USE_ERROR_LOG, 0, NULL, NULL, on_request, h,
        MHD_OPTION_EXTERNAL_LOGGER, on_log, NULL,
        MHD_OPTION_LISTEN_SOCKET, fd,
        MHD_OPTION_THREAD_POOL_SIZE, threads,
        MHD_OPTION_CONNECTION_LIMIT, (unsigned)CONNECTIONS_MAX,
        MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)TIMEOUT_S,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)MEMORY_PER_CONNECTION,
        MHD_OPTION_URI_LOG_CALLBACK, on_uri, NULL,
        MHD_OPTION_UNESCAPE_CALLBACK, on_unescape, NULL,
        MHD_OPTION_NOTIFY_COMPLETED, on_completed, NULL,
        MHD_OPTION_END);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return d;
}

int pr_http_start(const struct pr_http_options *o, const struct pr_http_route *routes, size_t n, void *data,
                  struct pr_http **ret, char **reterr_text)
{
    int fd = -1;
    const char *why = "";
    int rc = o->unix_path != NULL ? http_listen_unix(o->unix_path, &fd, &why)
                                  : http_listen_tcp(o->host, o->port, &fd, &why);
    if (rc != 0)
        return fail(o, why, reterr_text);
    struct pr_http *h = pr_new(struct pr_http);
    h->routes = routes;
    h->n_routes = n;
    h->data = data;
    h->port = http_listen_port(fd);
    h->unix_path = o->unix_path == NULL ? NULL : pr_strdup(o->unix_path);
    /* The library wants at least two threads in a pool. It closes the descriptor when it stops. */
    h->daemon = start_daemon(h, fd, PR_MAX(o->threads, (unsigned)THREADS_DEFAULT));
    if (h->daemon == NULL) {
        pr_free(h->unix_path);
        pr_free(h);
        return fail(o, "the HTTP library failed to start", reterr_text);
    }
    *ret = h;
    return 0;
}

uint16_t pr_http_port(const struct pr_http *h)
{
    return h->port;
}

void pr_http_stop(struct pr_http *h)
{
    if (h == NULL)
        return;
    MHD_stop_daemon(h->daemon);
    if (h->unix_path != NULL)
        (void)unlink(h->unix_path);
    pr_free(h->unix_path);
    pr_free(h);
}
