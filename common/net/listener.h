/* listener.h - listening sockets: TCP with SO_REUSEPORT (one per loop thread) or unix.
 *
 * Owns: the socket. Thread: that of its loop. */
#ifndef PR_NET_LISTENER_H
#define PR_NET_LISTENER_H

#include <uv.h>

#include "common/base/err.h"
#include "common/conf/config.h"

struct pr_listener;

/* on_accept: call pr_stream_accepted(loop, server, ...) exactly once inside it. Port 0 picks a free one (see port). */
typedef void (*pr_listener_accept_fn)(void *data, uv_stream_t *server);
PR_MUST_USE int pr_listener_open(uv_loop_t *loop, const struct pr_hostport *at, pr_listener_accept_fn on_accept, void *data,
                                 struct pr_listener **ret, char **reterr_text);
uint16_t pr_listener_port(const struct pr_listener *l);
/* Stops accepting at once; on_closed (may be NULL) when the handle is gone. */
void pr_listener_close(struct pr_listener *l, void (*on_closed)(void *data), void *data);

#endif
