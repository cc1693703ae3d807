#include "common/store/kv.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

const char *const kv_cf_names[KV_CF_NR] = {
#define X(name, text) [name] = text,
    KV_CF_LIST(X)
#undef X
};

int kv_remove_directory(const char *path)
{
    DIR *d = opendir(path);
    if (d == NULL)
        return errno == ENOENT ? 0 : PR_EIO;
    int err = 0;
    for (struct dirent *e; (e = readdir(d)) != NULL;) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        if (unlinkat(dirfd(d), e->d_name, 0) != 0 && errno != ENOENT)
            err = PR_EIO;
    }
    closedir(d);
    if (rmdir(path) != 0 && errno != ENOENT)
        err = PR_EIO;
    return err;
}
