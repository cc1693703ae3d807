#include "common/net/notify.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/base/buf.h"
#include "common/net/clock.h"

static void notify(struct pr_slice state)
{
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    size_t n = path == NULL ? 0 : strlen(path);
    if (n < 2 || n >= sizeof to.sun_path || (path[0] != '/' && path[0] != '@'))
        return;
    memcpy(to.sun_path, path, n);
    if (to.sun_path[0] == '@')
        to.sun_path[0] = '\0'; /* abstract namespace */
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return;
    (void)sendto(fd, state.ptr, state.len, MSG_NOSIGNAL, (struct sockaddr *)&to,
                 (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n));
    (void)close(fd);
}

void pr_notify_ready(void)
{
    notify(PR_SLICE_LIT("READY=1"));
}

void pr_notify_reloading(void)
{
    struct pr_buf b;
    pr_buf_init(&b);
    /* Type=notify-reload wants the time, to pair it with the READY=1 that follows. */
    pr_buf_str(&b, "RELOADING=1\nMONOTONIC_USEC=");
    pr_buf_u64(&b, pr_clock_us());
    notify(pr_buf_slice(&b));
    pr_buf_fini(&b);
}

void pr_notify_stopping(void)
{
    notify(PR_SLICE_LIT("STOPPING=1"));
}
