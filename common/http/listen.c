#include "common/http/listen.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { BACKLOG = 64 };

static int fail(int fd, const char **reterr_why)
{
    *reterr_why = strerror(errno);
    if (fd >= 0)
        (void)close(fd);
    return PR_EIO;
}

static bool in_use(const struct sockaddr_un *a)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return true;
    int rc = connect(fd, (const struct sockaddr *)a, sizeof *a);
    bool refused = rc != 0 && (errno == ECONNREFUSED || errno == ENOENT);
    (void)close(fd);
    return !refused;
}

int http_listen_unix(const char *path, int *ret_fd, const char **reterr_why)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    struct stat st;
    size_t n = strlen(path);
    if (n == 0 || n >= sizeof a.sun_path) {
        *reterr_why = "path of a unix socket must have 1 to 107 bytes";
        return PR_EIO;
    }
    memcpy(a.sun_path, path, n);
    if (lstat(path, &st) == 0) {
        if (!S_ISSOCK(st.st_mode) || in_use(&a)) {
            *reterr_why = S_ISSOCK(st.st_mode) ? "in use by another process" : "exists and is not a socket";
            return PR_EIO;
        }
        (void)unlink(path);
    }
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || bind(fd, (const struct sockaddr *)&a, sizeof a) != 0 || chmod(path, 0660) != 0 ||
        listen(fd, BACKLOG) != 0)
        return fail(fd, reterr_why);
    *ret_fd = fd;
    return 0;
}

static int listen_at(const struct addrinfo *a, int *ret_fd, const char **reterr_why)
{
    int on = 1, fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 ||
        bind(fd, a->ai_addr, a->ai_addrlen) != 0 || listen(fd, BACKLOG) != 0)
        return fail(fd, reterr_why);
    *ret_fd = fd;
    return 0;
}

/* getaddrinfo wants the port as text; it is set afterwards instead. */
static void set_port(struct sockaddr *a, uint16_t port)
{
    if (a->sa_family == AF_INET6)
        ((struct sockaddr_in6 *)(void *)a)->sin6_port = htons(port);
    else if (a->sa_family == AF_INET)
        ((struct sockaddr_in *)(void *)a)->sin_port = htons(port);
}

int http_listen_tcp(const char *host, uint16_t port, int *ret_fd, const char **reterr_why)
{
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
    struct addrinfo *list;
    int rc = getaddrinfo(host == NULL || host[0] == '\0' ? NULL : host, "0", &hints, &list);
    if (rc != 0) {
        *reterr_why = gai_strerror(rc);
        return PR_EIO;
    }
    set_port(list->ai_addr, port);
    rc = listen_at(list, ret_fd, reterr_why);
    freeaddrinfo(list);
    return rc;
}

uint16_t http_listen_port(int fd)
{
    struct sockaddr_storage a;
    socklen_t n = sizeof a;
    if (getsockname(fd, (struct sockaddr *)&a, &n) != 0)
        return 0;
    if (a.ss_family == AF_INET6)
        return ntohs(((struct sockaddr_in6 *)(void *)&a)->sin6_port);
    return a.ss_family == AF_INET ? ntohs(((struct sockaddr_in *)(void *)&a)->sin_port) : 0;
}
