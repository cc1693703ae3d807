/* listen.h - the listening socket of the HTTP server. Thread: any. */
#ifndef PR_HTTP_LISTEN_H
#define PR_HTTP_LISTEN_H

#include <stdint.h>

#include "common/base/err.h"

/* Both give a listening descriptor, or PR_EIO with a static text. A unix socket gets mode 0660; a file that a dead process
 * left behind is removed. */
PR_MUST_USE int http_listen_unix(const char *path, int *ret_fd, const char **reterr_why);
PR_MUST_USE int http_listen_tcp(const char *host, uint16_t port, int *ret_fd, const char **reterr_why);
uint16_t http_listen_port(int fd);

#endif
