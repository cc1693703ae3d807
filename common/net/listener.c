#include "common/net/listener.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/base/buf.h"
#include "common/net/unix_path.h"

enum { BACKLOG = 1024 };

struct pr_listener {
    union {
        uv_handle_t handle;
        uv_stream_t stream;
        uv_tcp_t tcp;
        uv_pipe_t pipe;
    } uv;
    pr_listener_accept_fn on_accept;
    void *data;
    void (*on_closed)(void *data);
    void *on_closed_data;
};

static void on_connection(uv_stream_t *server, int status)
{
    struct pr_listener *l = server->data;
    /* A failed accept (out of descriptors) is the client's loss; libuv goes on. */
    if (status == 0 && !uv_is_closing(&l->uv.handle))
        l->on_accept(l->data, server);
}

static int fail(const char *what, const struct pr_hostport *at, const char *why, char **reterr_text)
{
    struct pr_buf b;
    pr_buf_init(&b);
    if (at->unix_path != NULL)
        pr_buf_printf(&b, "%s unix:%s: %s", what, at->unix_path, why);
    else
        pr_buf_printf(&b, "%s %s port %u: %s", what, at->host == NULL ? "*" : at->host, at->port, why);
    *reterr_text = pr_buf_steal(&b, NULL);
    return PR_EIO;
}

static void on_half_open_closed(uv_handle_t *h)
{
    pr_free(h->data);
}

/* Opens, binds. SO_REUSEPORT lets each loop thread have a socket of its own on the same port. */
static int bind_tcp(const struct addrinfo *a, const char **ret_why)
{
    int on = 1, fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0 &&
        setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) == 0 && bind(fd, a->ai_addr, a->ai_addrlen) == 0)
        return fd;
    *ret_why = strerror(errno);
    if (fd >= 0)
        (void)close(fd);
    return -1;
}

static int open_tcp(const struct pr_hostport *at, const char **ret_why)
{
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    struct addrinfo *list;
    char port[8];
    size_t n = 0;
    for (unsigned v = at->port, div = 10000; div > 0; div /= 10)
        if (v / div > 0 || div == 1)
            port[n++] = (char)('0' + v / div % 10);
    port[n] = '\0';
    const char *host = at->host == NULL || at->host[0] == '\0' ? NULL : at->host;
    int rc = getaddrinfo(host, port, &hints, &list);
    if (rc != 0) {
        *ret_why = gai_strerror(rc);
        return -1;
    }
    int fd = bind_tcp(list, ret_why);
    freeaddrinfo(list);
    return fd;
}

static int listen_tcp(uv_loop_t *loop, struct pr_listener *l, const struct pr_hostport *at, const char **ret_why)
{
    uv_tcp_init(loop, &l->uv.tcp);
    int fd = open_tcp(at, ret_why);
    if (fd < 0)
        return -1;
    int rc = uv_tcp_open(&l->uv.tcp, fd);
    if (rc != 0)
        (void)close(fd);
    else
        rc = uv_listen(&l->uv.stream, BACKLOG, on_connection);
    if (rc != 0)
        *ret_why = uv_strerror(rc);
    return rc;
}

static int listen_unix(uv_loop_t *loop, struct pr_listener *l, const struct pr_hostport *at, const char **ret_why)
{
    uv_pipe_init(loop, &l->uv.pipe, 0);
    if (pr_unix_path_prepare(at->unix_path, ret_why) != 0)
        return -1;
    int rc = uv_pipe_bind(&l->uv.pipe, at->unix_path);
    if (rc == 0 && chmod(at->unix_path, 0660) != 0)
        rc = UV_EPERM;
    if (rc == 0)
        rc = uv_listen(&l->uv.stream, BACKLOG, on_connection);
    if (rc != 0)
        *ret_why = uv_strerror(rc);
    return rc;
}

int pr_listener_open(uv_loop_t *loop, const struct pr_hostport *at, pr_listener_accept_fn on_accept, void *data,
                     struct pr_listener **ret, char **reterr_text)
{
    struct pr_listener *l = pr_new(struct pr_listener);
    l->on_accept = on_accept;
    l->data = data;
    const char *why = "";
    int rc = at->unix_path != NULL ? listen_unix(loop, l, at, &why) : listen_tcp(loop, l, at, &why);
    l->uv.handle.data = l;
    if (rc != 0) {
        rc = fail("cannot listen on", at, why, reterr_text);
        uv_close(&l->uv.handle, on_half_open_closed);
        return rc;
    }
    *ret = l;
    return 0;
}

uint16_t pr_listener_port(const struct pr_listener *l)
{
    struct sockaddr_storage a;
    int n = sizeof a;
    if (l->uv.handle.type != UV_TCP || uv_tcp_getsockname(&l->uv.tcp, (struct sockaddr *)&a, &n) != 0)
        return 0;
    return ntohs(a.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)(void *)&a)->sin6_port
                                         : ((struct sockaddr_in *)(void *)&a)->sin_port);
}

static void on_closed(uv_handle_t *h)
{
    struct pr_listener *l = h->data;
    if (l->on_closed != NULL)
        l->on_closed(l->on_closed_data);
    pr_free(l);
}

void pr_listener_close(struct pr_listener *l, void (*on_closed_fn)(void *data), void *data)
{
    l->on_closed = on_closed_fn;
    l->on_closed_data = data;
    uv_close(&l->uv.handle, on_closed); /* a unix socket's file goes with it */
}
