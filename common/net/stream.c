/* stream.c - life and input of a stream; the states are drawn in stream_internal.h.
 *
 * Reading: libuv reads into the buffer of the loop and we hand it on in the same callback, so an idle connection has no
 * buffer. What the owner writes meanwhile is sent when its callback returns.
 * Everything that would be a callback from inside a call of the owner is put off to the end of the turn (dirty list). */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/base/assert.h"
#include "common/net/stream_internal.h"

static struct pr_stream *new_stream(uv_loop_t *loop, const struct pr_stream_ops *ops, void *data, bool pipe)
{
    struct pr_stream *s = pr_new(struct pr_stream);
    int rc = pipe ? uv_pipe_init(loop, &s->uv.pipe, 0) : uv_tcp_init(loop, &s->uv.tcp);
    pr_assert(rc == 0);
    s->uv.handle.data = s;
    s->handles = 1;
    s->ops = ops;
    s->data = data;
    s->loop = stream_loop_ref(loop);
    pr_list_init(&s->dirty);
    return s;
}

static void free_stream(struct pr_stream *s)
{
    struct stream_loop *l = s->loop;
    pr_list_remove(&s->dirty);
    stream_tls_free(s);
    pr_buf_fini(&s->clear);
    pr_buf_fini(&s->wire);
    pr_buf_fini(&s->sending);
    pr_free(s);
    stream_loop_unref(l);
}

static void on_handle_closed(uv_handle_t *h)
{
    struct pr_stream *s = h->data;
    if (--s->handles > 0)
        return;
    if (s->ops != NULL)
        s->ops->on_close(s, s->reason);
    free_stream(s);
}

void stream_close_handles(struct pr_stream *s)
{
    if (s->phase == STREAM_CLOSED)
        return;
    s->phase = STREAM_CLOSED;
    s->reading = false;
    pr_list_remove(&s->dirty);
    if (s->handles == 2)
        uv_close((uv_handle_t *)&s->linger, on_handle_closed);
    uv_close(&s->uv.handle, on_handle_closed);
}

void stream_fail(struct pr_stream *s, int reason, int uv_error)
{
    if (s->phase == STREAM_CLOSED)
        return;
    s->reason = reason;
    if (uv_error != 0)
        s->uv_error = uv_error;
    stream_close_handles(s);
}

static int error_of_uv(int uv_error)
{
    return uv_error == UV_ECONNREFUSED ? PR_EUNAVAIL : uv_error == UV_ETIMEDOUT ? PR_ETIMEOUT : PR_EIO;
}

const char *pr_stream_error_text(const struct pr_stream *s)
{
    return s->uv_error == 0 ? "" : uv_strerror(s->uv_error);
}

/* --- input --- */

void stream_deliver(struct pr_stream *s, struct pr_slice data)
{
    s->busy++;
    s->ops->on_data(s, data);
    s->busy--;
}

void stream_deliver_eof(struct pr_stream *s)
{
    s->eof = true;
    stream_update_reading(s);
    s->busy++;
    s->ops->on_eof(s);
    s->busy--;
    if (s->write_failed)
        stream_fail(s, PR_EIO, 0);
}

static void on_alloc(uv_handle_t *h, size_t suggested, uv_buf_t *buf)
{
    (void)suggested;
    struct pr_stream *s = h->data;
    *buf = uv_buf_init(s->loop->in, STREAM_READ_MAX);
}

static void open_input(struct pr_stream *s, ssize_t n, const char *bytes)
{
    if (s->tls != NULL && n < 0)
        stream_tls_cut(s, (int)n);
    else if (s->tls != NULL)
        stream_tls_input(s, pr_slice(bytes, (size_t)n));
    else if (n == UV_EOF)
        stream_deliver_eof(s);
    else if (n < 0)
        stream_fail(s, PR_EIO, (int)n);
    else
        stream_deliver(s, pr_slice(bytes, (size_t)n));
}

static void on_read(uv_stream_t *h, ssize_t n, const uv_buf_t *buf)
{
    struct pr_stream *s = h->data;
    if (n == 0)
        return;
    if (s->phase == STREAM_OPEN) {
        open_input(s, n, buf->base);
        if (s->phase == STREAM_OPEN || s->phase == STREAM_SENDING)
            stream_settle(s);
    } else if (n < 0 && s->phase == STREAM_SENDING && n == UV_EOF) {
        s->eof = true;
    } else if (n < 0) {
        stream_close_handles(s);
    } else {
        s->discarded += (size_t)n;
        stream_update_reading(s);
    }
}

void stream_update_reading(struct pr_stream *s)
{
    bool handshaking = s->tls != NULL && s->tls->handshaking;
    bool lingers = s->phase == STREAM_ENDING || s->phase == STREAM_SENDING;
    bool want = !s->eof && ((lingers && s->discarded < STREAM_DISCARD_MAX) ||
                            (s->phase == STREAM_OPEN && (handshaking || (!s->paused && !stream_tls_holds(s)))));
    if (want == s->reading)
        return;
    s->reading = want;
    if (!want)
        (void)uv_read_stop(&s->uv.stream);
    else if (uv_read_start(&s->uv.stream, on_alloc, on_read) != 0)
        stream_fail(s, PR_EIO, 0);
}

void pr_stream_pause(struct pr_stream *s)
{
    s->paused = true;
    stream_update_reading(s);
}

void pr_stream_resume(struct pr_stream *s)
{
    if (!s->paused)
        return;
    s->paused = false;
    if (stream_tls_holds(s)) {
        s->kick = true;
        stream_mark_dirty(s);
    }
    stream_update_reading(s);
}

/* --- opening --- */

static void opened(struct pr_stream *s)
{
    s->phase = STREAM_OPEN;
    if (s->uv.handle.type == UV_TCP)
        (void)uv_tcp_nodelay(&s->uv.tcp, 1);
    stream_update_reading(s);
}

struct pr_stream *pr_stream_accepted(uv_loop_t *loop, uv_stream_t *server, const struct pr_stream_ops *ops, void *data,
                                     int *reterr)
{
    struct pr_stream *s = new_stream(loop, ops, data, server->type == UV_NAMED_PIPE);
    int rc = uv_accept(server, &s->uv.stream);
    if (rc == 0) {
        opened(s);
        if (s->phase == STREAM_OPEN)
            return s;
    }
    s->ops = NULL; /* nobody is told of its end */
    stream_close_handles(s);
    *reterr = PR_EIO;
    return NULL;
}

static void report_connect(struct pr_stream *s, int status)
{
    s->busy++;
    s->ops->on_connect(s, status);
    s->busy--;
}

static void connect_failed(struct pr_stream *s, int uv_error)
{
    s->uv_error = uv_error;
    s->reason = error_of_uv(uv_error);
    report_connect(s, s->reason);
    stream_fail(s, s->reason, uv_error);
}

static void on_connected(uv_connect_t *req, int status)
{
    struct pr_stream *s = req->data;
    if (s->phase == STREAM_CLOSED)
        return; /* closed by the owner meanwhile */
    if (status == 0) {
        opened(s);
        report_connect(s, 0);
        stream_settle(s);
        return;
    }
    connect_failed(s, status);
}

static void connect_later(struct pr_stream *s, int uv_error)
{
    s->connect_error = uv_error;
    stream_mark_dirty(s);
}

/* The port is chosen at connect, when the other end is known: one source address serves 28,000 connections to each
 * destination, not in all. */
static int bind_source(struct pr_stream *s, const struct sockaddr *from)
{
    int on = 1, fd = socket(from->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return UV_EMFILE;
    (void)setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
    int rc = uv_tcp_open(&s->uv.tcp, fd);
    if (rc != 0) {
        (void)close(fd);
        return rc;
    }
    return uv_tcp_bind(&s->uv.tcp, from, 0);
}

struct pr_stream *pr_stream_connect(uv_loop_t *loop, const struct sockaddr *to, const struct sockaddr *from_or_null,
                                    const struct pr_stream_ops *ops, void *data)
{
    struct pr_stream *s = new_stream(loop, ops, data, false);
    s->req.connect.data = s;
    int rc = from_or_null == NULL ? 0 : bind_source(s, from_or_null);
    if (rc == 0)
        rc = uv_tcp_connect(&s->req.connect, &s->uv.tcp, to, on_connected);
    if (rc != 0)
        connect_later(s, rc);
    return s;
}

struct pr_stream *pr_stream_connect_unix(uv_loop_t *loop, const char *path, const struct pr_stream_ops *ops, void *data)
{
    struct pr_stream *s = new_stream(loop, ops, data, true);
    s->req.connect.data = s;
    if (strlen(path) >= sizeof ((struct sockaddr_un *)0)->sun_path)
        connect_later(s, UV_ENAMETOOLONG);
    else
        uv_pipe_connect(&s->req.connect, &s->uv.pipe, path, on_connected);
    return s;
}

/* --- the end of a turn --- */

void stream_settle(struct pr_stream *s)
{
    if (s->connect_error != 0 && s->phase == STREAM_CONNECTING) {
        connect_failed(s, s->connect_error);
        return;
    }
    if (s->kick && s->phase == STREAM_OPEN) {
        s->kick = false;
        stream_tls_kick(s);
    }
    stream_flush(s);
    if (s->drain_due && s->phase == STREAM_OPEN) {
        s->drain_due = false;
        s->busy++;
        s->ops->on_drain(s);
        s->busy--;
        stream_flush(s);
    }
    if ((s->drain_due || s->kick) && s->phase == STREAM_OPEN)
        stream_mark_dirty(s);
}

/* --- closing --- */

static void on_linger(uv_timer_t *t)
{
    struct pr_stream *s = t->data;
    stream_fail(s, s->phase == STREAM_SENDING ? PR_ETIMEOUT : 0, 0);
}

void pr_stream_close(struct pr_stream *s, unsigned linger_ms)
{
    if (s->phase == STREAM_CLOSED)
        return;
    bool handshaking = s->tls != NULL && s->tls->handshaking;
    if (linger_ms == 0 || s->phase == STREAM_CONNECTING || s->write_failed || handshaking) {
        stream_close_handles(s);
        return;
    }
    if (s->phase != STREAM_OPEN)
        return;
    if (s->tls != NULL)
        stream_tls_shutdown(s);
    s->phase = STREAM_SENDING;
    uv_timer_init(s->uv.handle.loop, &s->linger);
    s->linger.data = s;
    s->handles = 2;
    uv_timer_start(&s->linger, on_linger, linger_ms, 0);
    if (s->busy == 0)
        stream_mark_dirty(s);
}

/* --- properties --- */

void *pr_stream_data(const struct pr_stream *s)
{
    return s->data;
}

void pr_stream_set_data(struct pr_stream *s, void *data)
{
    s->data = data;
}

bool pr_stream_is_tls(const struct pr_stream *s)
{
    return s->tls != NULL && !s->tls->handshaking;
}

static bool take_address(const struct sockaddr_storage *from, struct in6_addr *ret_addr, uint16_t *ret_port)
{
    if (from->ss_family == AF_INET6) {
        const struct sockaddr_in6 *a = (const struct sockaddr_in6 *)(const void *)from;
        *ret_addr = a->sin6_addr;
        *ret_port = ntohs(a->sin6_port);
        return true;
    }
    if (from->ss_family != AF_INET)
        return false;
    const struct sockaddr_in *a = (const struct sockaddr_in *)(const void *)from;
    *ret_addr = (struct in6_addr){.s6_addr = {[10] = 0xff, [11] = 0xff}};
    memcpy(&ret_addr->s6_addr[12], &a->sin_addr, 4);
    *ret_port = ntohs(a->sin_port);
    return true;
}

bool pr_stream_peer(const struct pr_stream *s, struct in6_addr *ret_addr, uint16_t *ret_port)
{
    struct sockaddr_storage a;
    int n = sizeof a;
    return s->uv.handle.type == UV_TCP && uv_tcp_getpeername(&s->uv.tcp, (struct sockaddr *)&a, &n) == 0 &&
           take_address(&a, ret_addr, ret_port);
}

bool pr_stream_local(const struct pr_stream *s, struct in6_addr *ret_addr, uint16_t *ret_port)
{
    struct sockaddr_storage a;
    int n = sizeof a;
    return s->uv.handle.type == UV_TCP && uv_tcp_getsockname(&s->uv.tcp, (struct sockaddr *)&a, &n) == 0 &&
           take_address(&a, ret_addr, ret_port);
}

void pr_addr_plain(const struct in6_addr *addr, char out[INET6_ADDRSTRLEN])
{
    const char *text = IN6_IS_ADDR_V4MAPPED(addr) ? inet_ntop(AF_INET, &addr->s6_addr[12], out, INET6_ADDRSTRLEN)
                                                  : inet_ntop(AF_INET6, addr, out, INET6_ADDRSTRLEN);
    pr_assert(text != NULL);
}

void pr_addr_text(const struct in6_addr *addr, char out[INET6_ADDRSTRLEN])
{
    static const char tag[] = "IPv6:";
    pr_addr_plain(addr, out);
    if (IN6_IS_ADDR_V4MAPPED(addr))
        return;
    /* The longest form without an embedded IPv4 address has 39 characters. */
    size_t n = strlen(out);
    pr_assert(n + sizeof tag <= INET6_ADDRSTRLEN);
    memmove(out + sizeof tag - 1, out, n + 1);
    memcpy(out, tag, sizeof tag - 1);
}
