#include "common/net/unix_path.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

/* Is somebody listening there? */
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

int pr_unix_path_prepare(const char *path, const char **reterr_text)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    size_t n = strlen(path);
    if (n == 0 || n >= sizeof a.sun_path) {
        *reterr_text = "path of a unix socket must have 1 to 107 bytes";
        return PR_EINVAL;
    }
    memcpy(a.sun_path, path, n);
    struct stat st;
    if (lstat(path, &st) != 0) {
        if (errno == ENOENT)
            return 0; /* binding tells if the directory is missing */
        *reterr_text = strerror(errno);
        return PR_EIO;
    }
    if (!S_ISSOCK(st.st_mode)) {
        *reterr_text = "exists and is not a socket";
        return PR_EEXIST;
    }
    if (in_use(&a)) {
        *reterr_text = "in use by another process";
        return PR_EEXIST;
    }
    if (unlink(path) != 0) {
        *reterr_text = strerror(errno);
        return PR_EIO;
    }
    return 0;
}
