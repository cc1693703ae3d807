/* unix_path.h - making room for a unix socket: a file left behind by a dead process is removed, a living one is respected.
 * Thread: any. */
#ifndef PR_NET_UNIX_PATH_H
#define PR_NET_UNIX_PATH_H

#include "common/base/err.h"

/* 0 when path can be bound; else PR_EINVAL (too long), PR_EEXIST (in use, or not a socket), PR_EIO with a static text. */
PR_MUST_USE int pr_unix_path_prepare(const char *path, const char **reterr_text);

#endif
