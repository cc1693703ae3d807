#include "deploy/cli/node.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/alloc.h"

int node_user(const char *name, struct node_user *ret)
{
    *ret = (struct node_user){0};
    if (geteuid() != 0)
        return name == NULL ? CLI_OK : cli_fail(CLI_USAGE, "only root can run the daemons as another user");
    const struct passwd *pw = getpwnam(name != NULL ? name : "postrider");
    if (pw == NULL && name == NULL)
        pw = getpwnam("nobody");
    if (pw == NULL)
        return cli_fail(CLI_FAILED, "there is no user %s", name != NULL ? name : "nobody");
    if (pw->pw_uid == 0)
        return cli_fail(CLI_USAGE, "the daemons do not run as root");
    *ret = (struct node_user){pw->pw_uid, pw->pw_gid, pr_strdup(pw->pw_name)};
    return CLI_OK;
}

void node_user_fini(struct node_user *u)
{
    pr_free(u->name);
    u->name = NULL;
}

bool node_make_dir(const char *path, const struct node_user *u)
{
    struct pr_slice rest = pr_slice_str(path);
    struct pr_buf sofar = {0};
    bool ok = true;
    while (ok && rest.ptr != NULL) {
        struct pr_slice part = pr_slice_cut(rest, '/', &rest);
        pr_buf_add(&sofar, part);
        if (part.len > 0 && mkdir(pr_buf_cstr(&sofar), rest.ptr == NULL ? 0750 : 0755) != 0)
            ok = errno == EEXIST || errno == EROFS;
        pr_buf_char(&sofar, '/');
    }
    pr_buf_fini(&sofar);
    struct stat st;
    if (!ok || stat(path, &st) != 0)
        return false;
    if (!S_ISDIR(st.st_mode)) {
        errno = ENOTDIR;
        return false;
    }
    /* Only a folder of root's is given away: another owner had a reason. */
    return u->uid == 0 || st.st_uid != 0 || chown(path, u->uid, u->gid) == 0;
}

/* As the user, in a child: can it use the folders and the file? Returns the index of the first that it cannot, or n. */
static size_t first_unusable(const struct node_user *u, const char *const *paths, const int *modes, size_t n)
{
    pid_t pid = fork();
    if (pid == 0) {
        if (u->uid != 0 && (initgroups(u->name, u->gid) != 0 || setgid(u->gid) != 0 || setuid(u->uid) != 0))
            _exit(0);
        size_t i = 0;
        while (i < n && (paths[i] == NULL || access(paths[i], modes[i]) == 0))
            i++;
        _exit((int)i);
    }
    int status = 0;
    if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFEXITED(status))
        return 0;
    return (size_t)WEXITSTATUS(status);
}

int node_prepare(const struct pr_config *config, const char *file, const struct node_user *u)
{
    const char *const paths[] = {config->data_dir, config->runtime_dir, file};
    const int modes[] = {R_OK | W_OK | X_OK, R_OK | W_OK | X_OK, R_OK};
    for (size_t i = 0; i < 2; i++)
        if (!node_make_dir(paths[i], u))
            return cli_fail(CLI_FAILED, "cannot use the folder %s: %s", paths[i], strerrordesc_np(errno));
    size_t bad = first_unusable(u, paths, modes, PR_ARRAY_LEN(paths));
    if (bad < PR_ARRAY_LEN(paths))
        return cli_fail(CLI_FAILED, "user %s has no access to %s%s", u->name == NULL ? "" : u->name, paths[bad],
                        bad < 2 ? ": choose another place, or give it with chown" : "");
    return CLI_OK;
}

int node_lock(const struct pr_config *config)
{
    struct pr_buf path = {0}, pid = {0};
    pr_buf_printf(&path, "%s/run.lock", config->runtime_dir);
    int fd = open(pr_buf_cstr(&path), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0640);
    if (fd < 0) {
        fd = -cli_fail(CLI_FAILED, "cannot write %s: %s", pr_buf_cstr(&path), strerrordesc_np(errno));
    } else if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        ssize_t n = read(fd, pr_buf_reserve(&pid, 32), 32);
        pid.len = n > 0 ? (size_t)n : 0;
        struct pr_slice digits = pr_slice_head(pr_buf_slice(&pid), pr_slice_find(pr_buf_slice(&pid), '\n'));
        (void)close(fd);
        fd = -cli_fail(CLI_REFUSED, "already running on %s, as process %.*s", config->data_dir, PR_SLICE_ARG(digits));
    } else {
        pr_buf_printf(&pid, "%d\n", (int)getpid());
        if (ftruncate(fd, 0) != 0 || write(fd, pid.ptr, pid.len) != (ssize_t)pid.len)
            (void)cli_fail(CLI_FAILED, "cannot write %s", pr_buf_cstr(&path));
    }
    pr_buf_fini(&path);
    pr_buf_fini(&pid);
    return fd;
}

bool node_program_dir(struct pr_buf *out)
{
    enum { PATH_LEN = 4096 };
    ssize_t n = readlink("/proc/self/exe", pr_buf_reserve(out, PATH_LEN), PATH_LEN);
    if (n <= 0)
        return false;
    size_t slash = pr_slice_rfind(pr_slice(out->ptr, (size_t)n), '/');
    out->len = slash == SIZE_MAX ? 0 : slash;
    return true;
}

int node_add_daemons(struct supervisor *s, const char *file, bool patient)
{
    /* Mail in flight is finished by those who hold it; the queue goes last, so that results are still written. */
    static const struct {
        const char *name;
        uint64_t patient_ms, quick_ms;
    } daemons[] = {{"ingress", 60000, 5000}, {"deliverer", 60000, 5000}, {"scheduler", 30000, 10000}};
    struct pr_buf dir = {0};
    int code = node_program_dir(&dir) ? CLI_OK : cli_fail(CLI_FAILED, "cannot tell where this program is");
    for (size_t i = 0; code == CLI_OK && i < PR_ARRAY_LEN(daemons); i++) {
        struct pr_buf path = {0};
        pr_buf_printf(&path, "%s/postrider-%s", pr_buf_cstr(&dir), daemons[i].name);
        const char *const argv[] = {pr_buf_cstr(&path), file == NULL ? NULL : "-c", file, NULL};
        if (access(argv[0], X_OK) != 0)
            code = cli_fail(CLI_FAILED, "cannot find %s: %s", argv[0], strerrordesc_np(errno));
        else
            supervisor_add(s, daemons[i].name, argv, patient ? daemons[i].patient_ms : daemons[i].quick_ms);
        pr_buf_fini(&path);
    }
    pr_buf_fini(&dir);
    return code;
}
