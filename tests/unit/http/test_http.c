/* The HTTP server by raw sockets: routes, errors, limits, unix sockets, a stop with a handler running. */
#include <arpa/inet.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/http/http.h"

struct app {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool in_slow, release;
    unsigned slow_done;
};

static void on_hello(void *data, const struct pr_http_request *r, struct pr_http_response *out)
{
    (void)data;
    (void)r;
    out->content_type = "text/plain; version=0.0.4";
    pr_buf_str(&out->body, "hello\n");
}

static void on_echo(void *data, const struct pr_http_request *r, struct pr_http_response *out)
{
    (void)data;
    const char *q = pr_http_query(r, "q"), *h = pr_http_header(r, "x-test");
    struct pr_slice method = pr_http_method(r), path = pr_http_path(r), tail = pr_http_tail(r), body = pr_http_body(r);
    pr_buf_printf(&out->body, "%.*s|%.*s|%.*s|%s|%s|", PR_SLICE_ARG(method), PR_SLICE_ARG(path), PR_SLICE_ARG(tail),
                  q == NULL ? "-" : q, h == NULL ? "-" : h);
    if (body.len <= 100)
        pr_buf_add(&out->body, body);
    else
        pr_buf_u64(&out->body, body.len);
}

static void on_teapot(void *data, const struct pr_http_request *r, struct pr_http_response *out)
{
    (void)data;
    (void)r;
    pr_buf_str(&out->body, "half a result");
    pr_http_error(out, 409, "conflict", "the \"%s\" is busy", "pot");
}

static void on_slow(void *data, const struct pr_http_request *r, struct pr_http_response *out)
{
    (void)r;
    struct app *a = data;
    pthread_mutex_lock(&a->lock);
    a->in_slow = true;
    pthread_cond_broadcast(&a->changed);
    while (!a->release)
        pthread_cond_wait(&a->changed, &a->lock);
    a->slow_done++;
    pthread_mutex_unlock(&a->lock);
    pr_buf_str(&out->body, "slow");
}

static const struct pr_http_route routes[] = {
    {"GET", "/hello", on_hello},
    {"POST", "/echo", on_echo},
    {"GET", "/echo", on_echo},
    {"GET", "/v1/messages/*", on_echo},
    {"POST", "/v1/messages/all", on_echo},
    {"DELETE", "/v1/messages/*", on_echo},
    {"GET", "/teapot", on_teapot},
    {"GET", "/slow", on_slow},
};

struct fixture {
    struct app app;
    struct pr_http *http;
    char *reply; /* of the last exchange */
};

static int setup(void **state)
{
    struct fixture *f = pr_new(struct fixture);
    char *text = NULL;
    (void)signal(SIGPIPE, SIG_IGN);
    pthread_mutex_init(&f->app.lock, NULL);
    pthread_cond_init(&f->app.changed, NULL);
    struct pr_http_options o = {.host = "127.0.0.1"};
    if (pr_http_start(&o, routes, PR_ARRAY_LEN(routes), &f->app, &f->http, &text) != 0)
        fail_msg("%s", text);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    pr_http_stop(f->http);
    pthread_cond_destroy(&f->app.changed);
    pthread_mutex_destroy(&f->app.lock);
    pr_free(f->reply);
    pr_free(f);
    return 0;
}

static int dial(uint16_t port)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    struct timeval limit = {.tv_sec = 20};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit), 0);
    return fd;
}

static void send_all(int fd, const char *p, size_t n)
{
    while (n > 0) {
        ssize_t k = send(fd, p, n, MSG_NOSIGNAL);
        if (k <= 0)
            return; /* the server has had enough: its answer says why */
        p += k;
        n -= (size_t)k;
    }
}

static char *read_all(int fd)
{
    struct pr_buf b = {0};
    char block[4096];
    for (ssize_t n; (n = recv(fd, block, sizeof block, 0)) > 0;)
        pr_buf_append(&b, block, (size_t)n);
    close(fd);
    return pr_buf_steal(&b, NULL);
}

/* One request on a connection of its own. */
static const char *ask(struct fixture *f, const char *request)
{
    int fd = dial(pr_http_port(f->http));
    send_all(fd, request, strlen(request));
    pr_free(f->reply);
    f->reply = read_all(fd);
    return f->reply;
}

#define REQUEST(line, more) line " HTTP/1.1\r\nHost: a\r\nConnection: close\r\n" more "\r\n"

static void assert_has(const char *text, const char *part)
{
    if (strstr(text, part) == NULL)
        fail_msg("no '%s' in:\n%s", part, text);
}

static const char *body_of(const char *reply)
{
    const char *end = strstr(reply, "\r\n\r\n");
    assert_non_null(end);
    return end + 4;
}

static void test_get(void **state)
{
    struct fixture *f = *state;
    const char *r = ask(f, REQUEST("GET /hello", ""));
    assert_memory_equal(r, "HTTP/1.1 200 ", 13);
    assert_has(r, "Content-Type: text/plain; version=0.0.4\r\n");
    assert_has(r, "Cache-Control: no-store\r\n");
    assert_has(r, "X-Content-Type-Options: nosniff\r\n");
    assert_string_equal(body_of(r), "hello\n");
    r = ask(f, REQUEST("HEAD /hello", ""));
    assert_memory_equal(r, "HTTP/1.1 200 ", 13);
    assert_has(r, "Content-Length: 6\r\n");
    assert_string_equal(body_of(r), "");
}

static void test_request_data(void **state)
{
    struct fixture *f = *state;
    const struct {
        const char *request, *body;
    } cases[] = {
        {REQUEST("POST /echo?q=a%20b%26+c", "X-Test: yes\r\nContent-Length: 4\r\n") "body", "POST|/echo||a b& c|yes|body"},
        {REQUEST("GET /echo?q", ""), "GET|/echo|||-|"}, /* there, without a value */
        {REQUEST("GET /echo?other", ""), "GET|/echo||-|-|"},
        {REQUEST("GET /echo?q=100%25%zz%00", ""), "GET|/echo||100%%zz%00|-|"},
        {REQUEST("GET /v1/messages/abc", ""), "GET|/v1/messages/abc|abc|-|-|"},
        /* A slash inside a segment is data. */
        {REQUEST("GET /v1/messages/unix:%2Frun%2Fx?q=1", ""), "GET|/v1/messages/unix:/run/x|unix:/run/x|1|-|"},
        {REQUEST("POST /v1/messages/all", "Content-Length: 0\r\n"), "POST|/v1/messages/all||-|-|"},
        {REQUEST("DELETE /v1/messages/all", ""), "DELETE|/v1/messages/all|all|-|-|"},
        {REQUEST("POST /echo", "Transfer-Encoding: chunked\r\n") "3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", "POST|/echo||-|-|abcde"},
    };
    for (size_t i = 0; i < PR_ARRAY_LEN(cases); i++) {
        const char *r = ask(f, cases[i].request);
        assert_memory_equal(r, "HTTP/1.1 200 ", 13);
        assert_has(r, "Content-Type: application/json\r\n");
        assert_string_equal(body_of(r), cases[i].body);
    }
}

static void test_errors(void **state)
{
    struct fixture *f = *state;
    static const char *const missing[] = {
        REQUEST("GET /", ""),
        REQUEST("GET /hello/", ""),
        REQUEST("GET /hell", ""),
        REQUEST("GET /v1/messages/", ""),
        REQUEST("GET /v1/messages/a/b", ""),
        REQUEST("GET /v1/messages", ""),
    };
    for (size_t i = 0; i < PR_ARRAY_LEN(missing); i++) {
        const char *r = ask(f, missing[i]);
        assert_memory_equal(r, "HTTP/1.1 404 ", 13);
        assert_string_equal(body_of(r), "{\"error\":{\"code\":\"not_found\",\"message\":\"no such path\"}}\n");
    }
    const char *r = ask(f, REQUEST("PUT /echo", "Content-Length: 2\r\n") "hi");
    assert_memory_equal(r, "HTTP/1.1 405 ", 13);
    assert_has(r, "Allow: POST, GET, HEAD\r\n");
    assert_has(body_of(r), "\"method_not_allowed\"");
    r = ask(f, REQUEST("GET /teapot", ""));
    assert_memory_equal(r, "HTTP/1.1 409 ", 13);
    assert_string_equal(body_of(r), "{\"error\":{\"code\":\"conflict\",\"message\":\"the \\\"pot\\\" is busy\"}}\n");
}

static void test_body_limit(void **state)
{
    struct fixture *f = *state;
    enum { MAX = 1024 * 1024 };
    char *body = pr_malloc(MAX + 1);
    memset(body, 'x', MAX + 1);
    struct pr_buf b = {0};
    pr_buf_printf(&b, REQUEST("POST /echo", "Content-Length: %d\r\n"), MAX);
    pr_buf_append(&b, body, MAX);
    assert_string_equal(body_of(ask(f, pr_buf_cstr(&b))), "POST|/echo||-|-|1048576");
    /* Announced too large: refused before the body is sent. */
    const char *r = ask(f, REQUEST("POST /echo", "Content-Length: 1048577\r\n"));
    assert_memory_equal(r, "HTTP/1.1 413 ", 13);
    assert_has(body_of(r), "\"too_large\"");
    r = ask(f, REQUEST("POST /echo", "Content-Length: 99999999999999999999999\r\n"));
    assert_true(strncmp(r, "HTTP/1.1 413 ", 13) == 0 || strncmp(r, "HTTP/1.1 400 ", 13) == 0);
    /* Not announced. */
    pr_buf_clear(&b);
    pr_buf_str(&b, REQUEST("POST /echo", "Transfer-Encoding: chunked\r\n"));
    pr_buf_printf(&b, "%x\r\n", MAX + 1);
    pr_buf_append(&b, body, MAX + 1);
    pr_buf_str(&b, "\r\n0\r\n\r\n");
    r = ask(f, pr_buf_cstr(&b));
    assert_memory_equal(r, "HTTP/1.1 413 ", 13);
    pr_buf_fini(&b);
    pr_free(body);
}

static void test_header_limit(void **state)
{
    struct fixture *f = *state;
    struct pr_buf b = {0};
    pr_buf_str(&b, "GET /hello HTTP/1.1\r\nHost: a\r\nConnection: close\r\n");
    for (unsigned i = 0; i < 2000; i++)
        pr_buf_printf(&b, "X-Filler-%u: 0123456789012345678901234567890123456789\r\n", i);
    pr_buf_str(&b, "\r\n");
    const char *r = ask(f, pr_buf_cstr(&b));
    assert_true(strncmp(r, "HTTP/1.1 431 ", 13) == 0 || r[0] == '\0');
    assert_has(ask(f, REQUEST("GET /hello", "")), "hello\n");
    pr_buf_fini(&b);
}

static void test_garbage(void **state)
{
    struct fixture *f = *state;
    static const char *const bad[] = {"GET\r\n\r\n", "\x16\x03\x01\x02\r\n\r\n", "GET /hello HTTP/9.9\r\n\r\n",
                                      "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n"};
    for (size_t i = 0; i < PR_ARRAY_LEN(bad); i++) {
        int fd = dial(pr_http_port(f->http));
        send_all(fd, bad[i], strlen(bad[i]));
        assert_int_equal(shutdown(fd, SHUT_WR), 0);
        char *r = read_all(fd);
        assert_true(r[0] == '\0' || strncmp(r, "HTTP/1.", 7) == 0);
        assert_null(strstr(r, " 200 "));
        pr_free(r);
    }
    assert_has(ask(f, REQUEST("GET /hello", "")), "hello\n");
}

static void test_unix_socket(void **state)
{
    struct fixture *f = *state;
    char dir[] = "/tmp/pr-http-XXXXXX", path[64], *text = NULL;
    struct stat st;
    struct pr_http *h = NULL, *second = NULL;
    assert_non_null(mkdtemp(dir));
    (void)snprintf(path, sizeof path, "%s/s", dir);
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    memcpy(a.sun_path, path, strlen(path));
    /* A file that a dead process left behind is no obstacle. */
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
    close(fd);
    struct pr_http_options o = {.unix_path = path};
    if (pr_http_start(&o, routes, PR_ARRAY_LEN(routes), &f->app, &h, &text) != 0)
        fail_msg("%s", text);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0660);
    assert_int_equal(pr_http_port(h), 0);
    fd = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
    send_all(fd, REQUEST("GET /hello", ""), strlen(REQUEST("GET /hello", "")));
    char *r = read_all(fd);
    assert_string_equal(body_of(r), "hello\n");
    pr_free(r);
    assert_int_equal(pr_http_start(&o, routes, PR_ARRAY_LEN(routes), &f->app, &second, &text), PR_EIO);
    assert_has(text, "in use");
    pr_free(text);
    pr_http_stop(h);
    assert_int_equal(stat(path, &st), -1);
    (void)rmdir(dir);
}

static void test_cannot_listen(void **state)
{
    struct fixture *f = *state;
    struct pr_http *h = NULL;
    char *text = NULL;
    struct pr_http_options o = {.host = "127.0.0.1", .port = pr_http_port(f->http)};
    assert_int_equal(pr_http_start(&o, routes, PR_ARRAY_LEN(routes), NULL, &h, &text), PR_EIO);
    assert_has(text, "in use");
    pr_free(text);
    o = (struct pr_http_options){.unix_path = "/nonexistent/dir/socket"};
    assert_int_equal(pr_http_start(&o, routes, PR_ARRAY_LEN(routes), NULL, &h, &text), PR_EIO);
    assert_has(text, "/nonexistent/dir/socket");
    pr_free(text);
}

static void *run_stop(void *arg)
{
    pr_http_stop(arg);
    return NULL;
}

/* The stop waits for a handler that is running. */
static void test_stop_waits(void **state)
{
    struct fixture *f = *state;
    struct pr_http *h = NULL;
    char *text = NULL;
    struct pr_http_options o = {.host = "127.0.0.1", .threads = 4};
    if (pr_http_start(&o, routes, PR_ARRAY_LEN(routes), &f->app, &h, &text) != 0)
        fail_msg("%s", text);
    int fd = dial(pr_http_port(h));
    send_all(fd, REQUEST("GET /slow", ""), strlen(REQUEST("GET /slow", "")));
    pthread_mutex_lock(&f->app.lock);
    while (!f->app.in_slow)
        pthread_cond_wait(&f->app.changed, &f->app.lock);
    pthread_mutex_unlock(&f->app.lock);
    pthread_t stopper;
    assert_int_equal(pthread_create(&stopper, NULL, run_stop, h), 0);
    pthread_mutex_lock(&f->app.lock);
    assert_int_equal(f->app.slow_done, 0);
    f->app.release = true;
    pthread_cond_broadcast(&f->app.changed);
    pthread_mutex_unlock(&f->app.lock);
    pthread_join(stopper, NULL);
    assert_int_equal(f->app.slow_done, 1);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_get, setup, teardown),
        cmocka_unit_test_setup_teardown(test_request_data, setup, teardown),
        cmocka_unit_test_setup_teardown(test_errors, setup, teardown),
        cmocka_unit_test_setup_teardown(test_body_limit, setup, teardown),
        cmocka_unit_test_setup_teardown(test_header_limit, setup, teardown),
        cmocka_unit_test_setup_teardown(test_garbage, setup, teardown),
        cmocka_unit_test_setup_teardown(test_unix_socket, setup, teardown),
        cmocka_unit_test_setup_teardown(test_cannot_listen, setup, teardown),
        cmocka_unit_test_setup_teardown(test_stop_waits, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
