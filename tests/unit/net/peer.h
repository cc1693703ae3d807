/* peer.h - a stream that remembers what happened to it, and a listener that makes such streams. */
#ifndef TEST_NET_PEER_H
#define TEST_NET_PEER_H

#include <arpa/inet.h>
#include <signal.h>
#include <string.h>

#include "common/base/alloc.h"
#include "common/base/buf.h"
#include "common/net/listener.h"
#include "common/net/stream.h"
#include "loop.h"

struct peer {
    struct pr_stream *s;
    struct pr_buf got;
    unsigned n_data, n_connect, n_eof, n_tls, n_drain, n_close;
    int connect_status, close_reason;
    bool tls_ok, verified, in_call, called_inside;
    char version[16], tls_error[128], error_text[64];
    bool echo;                                      /* writes back what it gets */
    bool pause_after_data;
    void (*on_data)(struct peer *p, struct pr_slice data); /* more to do */
};

static inline struct peer *peer_of(struct pr_stream *s)
{
    struct peer *p = pr_stream_data(s);
    p->called_inside = p->called_inside || p->in_call;
    return p;
}

static inline void peer_on_connect(struct pr_stream *s, int status)
{
    struct peer *p = peer_of(s);
    p->n_connect++;
    p->connect_status = status;
}

static inline void peer_on_data(struct pr_stream *s, struct pr_slice data)
{
    struct peer *p = peer_of(s);
    p->n_data++;
    pr_buf_add(&p->got, data);
    if (p->echo)
        pr_stream_write(s, data);
    if (p->pause_after_data)
        pr_stream_pause(s);
    if (p->on_data != NULL)
        p->on_data(p, data);
}

static inline void peer_on_eof(struct pr_stream *s)
{
    peer_of(s)->n_eof++;
}

static inline void peer_on_tls(struct pr_stream *s, const struct pr_tls_info *info, const char *error_text)
{
    struct peer *p = peer_of(s);
    p->n_tls++;
    p->tls_ok = info != NULL;
    if (info != NULL) {
        p->verified = info->verified;
        (void)snprintf(p->version, sizeof p->version, "%s", info->version);
    } else {
        (void)snprintf(p->tls_error, sizeof p->tls_error, "%s", error_text);
    }
}

static inline void peer_on_drain(struct pr_stream *s)
{
    peer_of(s)->n_drain++;
}

static inline void peer_on_close(struct pr_stream *s, int reason)
{
    struct peer *p = peer_of(s);
    p->n_close++;
    p->close_reason = reason;
    (void)snprintf(p->error_text, sizeof p->error_text, "%s", pr_stream_error_text(s));
    p->s = NULL;
}

static const struct pr_stream_ops peer_ops = {
    .on_connect = peer_on_connect,
    .on_data = peer_on_data,
    .on_eof = peer_on_eof,
    .on_tls = peer_on_tls,
    .on_drain = peer_on_drain,
    .on_close = peer_on_close,
};

/* One listener, one accepted peer. */
struct pair {
    struct test_loop loop;
    struct pr_listener *listener;
    struct peer server, client;
};

static inline void pair_on_accept(void *data, uv_stream_t *server)
{
    struct pair *t = data;
    int err = 0;
    t->server.s = pr_stream_accepted(&t->loop.uv, server, &peer_ops, &t->server, &err);
    assert_non_null(t->server.s);
}

static inline void pair_listen(struct pair *t, const struct pr_hostport *at)
{
    char *text = NULL;
    *t = (struct pair){0};
    (void)signal(SIGPIPE, SIG_IGN);
    loop_start(&t->loop);
    int rc = pr_listener_open(&t->loop.uv, at, pair_on_accept, t, &t->listener, &text);
    if (rc != 0)
        fail_msg("%s", text);
}

static inline void pair_listen_tcp(struct pair *t)
{
    pair_listen(t, &(struct pr_hostport){.host = (char *)(uintptr_t)"127.0.0.1"});
}

static inline struct sockaddr_in loopback(uint16_t port)
{
    return (struct sockaddr_in){
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
}

static inline void pair_connect_only(struct pair *t)
{
    struct sockaddr_in to = loopback(pr_listener_port(t->listener));
    t->client.in_call = true;
    t->client.s = pr_stream_connect(&t->loop.uv, (const struct sockaddr *)&to, NULL, &peer_ops, &t->client);
    t->client.in_call = false;
}

static inline void pair_open(struct pair *t)
{
    pair_listen_tcp(t);
    pair_connect_only(t);
    RUN_UNTIL(&t->loop, t->client.n_connect == 1 && t->server.s != NULL);
    assert_int_equal(t->client.connect_status, 0);
}

/* A blocking client socket. */
static inline int raw_connect(uint16_t port)
{
    struct sockaddr_in to = loopback(port);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (const struct sockaddr *)&to, sizeof to), 0);
    return fd;
}

static inline void peer_close(struct peer *p, unsigned linger_ms)
{
    if (p->s == NULL)
        return;
    p->in_call = true;
    pr_stream_close(p->s, linger_ms);
    p->in_call = false;
}

static inline void pair_close(struct pair *t)
{
    peer_close(&t->client, 0);
    peer_close(&t->server, 0);
    pr_listener_close(t->listener, NULL, NULL);
    RUN_UNTIL(&t->loop, t->client.s == NULL && t->server.s == NULL);
    loop_end(&t->loop);
    assert_true(t->client.n_close <= 1 && t->server.n_close <= 1);
    assert_false(t->client.called_inside || t->server.called_inside);
    pr_buf_fini(&t->client.got);
    pr_buf_fini(&t->server.got);
}

#define GOT(p, text) pr_slice_eq_str(pr_buf_slice(&(p)->got), text)
#define WRITE(p, text) pr_stream_write((p)->s, PR_SLICE_LIT(text))

#endif
