#include "deploy/cli/net.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "deploy/cli/cli.h"

/* Waits for events on the descriptor until the deadline. */
static int wait_for(const struct cli_conn *c, short events)
{
    for (;;) {
        uint64_t now = cli_now_ms();
        if (now >= c->deadline_ms)
            return PR_ETIMEOUT;
        uint64_t left = c->deadline_ms - now;
        struct pollfd p = {.fd = c->fd, .events = events};
        int n = poll(&p, 1, left > 60000 ? 60000 : (int)left);
        if (n > 0)
            return PR_OK;
        if (n < 0 && errno != EINTR)
            return PR_EIO;
    }
}

static int connect_error(int err, const char **reterr_text)
{
    *reterr_text = strerrordesc_np(err);
    return err == EACCES || err == EPERM ? PR_EDENIED : PR_EUNAVAIL;
}

static int connect_address(const struct sockaddr *address, socklen_t len, struct cli_conn *c, const char **reterr_text)
{
    c->fd = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (c->fd < 0)
        return connect_error(errno, reterr_text);
    int err = connect(c->fd, address, len) == 0 ? 0 : errno;
    int rc = PR_OK;
    if (err == EINPROGRESS) {
        socklen_t size = sizeof err;
        rc = wait_for(c, POLLOUT);
        if (rc == PR_OK && getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &err, &size) != 0)
            err = errno;
    }
    if (rc == PR_OK && err != 0)
        rc = connect_error(err, reterr_text);
    if (rc == PR_ETIMEOUT)
        *reterr_text = "timed out";
    if (rc != PR_OK)
        cli_close(c);
    return rc;
}

static int connect_unix(const char *path, struct cli_conn *c, const char **reterr_text)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof un.sun_path) {
        *reterr_text = "the path of the socket is too long";
        return PR_EUNAVAIL;
    }
    memcpy(un.sun_path, path, strlen(path) + 1);
    return connect_address((const struct sockaddr *)&un, sizeof un, c, reterr_text);
}

int cli_connect(const struct pr_hostport *to, uint64_t deadline_ms, struct cli_conn *ret, const char **reterr_text)
{
    struct cli_conn c = {-1, deadline_ms};
    int rc = PR_EUNAVAIL;
    if (to->unix_path != NULL) {
        rc = connect_unix(to->unix_path, &c, reterr_text);
    } else {
        struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
        struct addrinfo *list = NULL;
        char port[8];
        (void)snprintf(port, sizeof port, "%u", (unsigned)to->port);
        int err = getaddrinfo(to->host, port, &hints, &list);
        if (err != 0)
            *reterr_text = gai_strerror(err);
        for (const struct addrinfo *a = list; err == 0 && a != NULL && rc != PR_OK && rc != PR_ETIMEOUT; a = a->ai_next)
            rc = connect_address(a->ai_addr, a->ai_addrlen, &c, reterr_text);
        if (list != NULL)
            freeaddrinfo(list);
    }
    if (rc == PR_OK)
        *ret = c;
    return rc;
}

void cli_close(struct cli_conn *c)
{
    if (c->fd >= 0)
        (void)close(c->fd);
    c->fd = -1;
}

int cli_send(struct cli_conn *c, struct pr_slice bytes)
{
    while (bytes.len > 0) {
        ssize_t n = send(c->fd, bytes.ptr, bytes.len, MSG_NOSIGNAL);
        if (n > 0) {
            bytes = pr_slice_from(bytes, (size_t)n);
            continue;
        }
        if (n < 0 && errno != EAGAIN && errno != EINTR)
            return errno == EPIPE || errno == ECONNRESET ? PR_ECLOSED : PR_EIO;
        int rc = wait_for(c, POLLOUT);
        if (rc != PR_OK)
            return rc;
    }
    return PR_OK;
}

int cli_receive(struct cli_conn *c, struct pr_buf *out)
{
    enum { PIECE = 65536 };
    for (;;) {
        ssize_t n = recv(c->fd, pr_buf_reserve(out, PIECE), PIECE, 0);
        if (n > 0) {
            out->len += (size_t)n;
            return PR_OK;
        }
        if (n == 0)
            return PR_ECLOSED;
        if (errno != EAGAIN && errno != EINTR)
            return errno == ECONNRESET ? PR_ECLOSED : PR_EIO;
        int rc = wait_for(c, POLLIN);
        if (rc != PR_OK)
            return rc;
    }
}

int cli_listen(const struct pr_hostport *at)
{
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM,
                             .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE};
    struct addrinfo *list = NULL;
    char port[8];
    int one = 1;
    (void)snprintf(port, sizeof port, "%u", (unsigned)at->port);
    if (at->host == NULL || getaddrinfo(at->host, port, &hints, &list) != 0) {
        errno = EINVAL;
        return -1;
    }
    int fd = socket(list->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd >= 0) {
        (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
        if (bind(fd, list->ai_addr, list->ai_addrlen) != 0 || listen(fd, 511) != 0) {
            int err = errno;
            (void)close(fd);
            errno = err;
            fd = -1;
        }
    }
    freeaddrinfo(list);
    return fd;
}

uint16_t cli_free_port(uint16_t wanted)
{
    char host[] = "127.0.0.1";
    struct pr_hostport at = {host, wanted, NULL};
    int fd = cli_listen(&at);
    if (fd < 0 && wanted != 0)
        return cli_free_port(0);
    struct sockaddr_in in = {0};
    socklen_t len = sizeof in;
    bool ok = fd >= 0 && getsockname(fd, (struct sockaddr *)&in, &len) == 0;
    if (fd >= 0)
        (void)close(fd);
    return ok ? ntohs(in.sin_port) : 0;
}
