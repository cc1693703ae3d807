/* bus.h - ZeroMQ sockets inside a uv loop: a ROUTER that binds (scheduler) or a DEALER that connects to one node (ingress,
 * deliverer). Frames: header (protobuf, see common/wire) and an optional payload of raw bytes.
 *
 * A send that succeeded means nothing: only the application's acknowledgements count. Credit is the only flow control, so
 * high-water marks are off. The descriptor is edge-triggered: this file alone knows how to read it.
 *
 * Owns: socket, poll handles. Thread: that of its loop; pr_bus_msg_* any. Errors: see each. */
#ifndef PR_NET_BUS_H
#define PR_NET_BUS_H

#include <stdbool.h>
#include <uv.h>

#include "common/base/buf.h"
#include "common/base/err.h"
#include "common/base/slice.h"

enum { PR_BUS_MSG_MAX = 4 * 1024 * 1024, PR_BUS_PEER_MAX = 64 };

/* The process-wide ZeroMQ context; created before the threads, freed after the last socket. */
struct pr_bus_ctx;
struct pr_bus_ctx *pr_bus_ctx_new(unsigned io_threads);
void pr_bus_ctx_free(struct pr_bus_ctx *c);

/* A received message: both frames, borrowed slices live until pr_bus_msg_free (any thread). */
struct pr_bus_msg;
struct pr_slice pr_bus_msg_peer(const struct pr_bus_msg *m); /* routing id; ROUTER only */
struct pr_slice pr_bus_msg_header(const struct pr_bus_msg *m);
struct pr_slice pr_bus_msg_payload(const struct pr_bus_msg *m); /* empty if there was none */
void pr_bus_msg_free(struct pr_bus_msg *m);

struct pr_bus;
/* Takes the message. */
typedef void (*pr_bus_recv_fn)(void *data, struct pr_bus *bus, struct pr_bus_msg *msg);

/* address: ipc:///path or tcp://host:port. */
PR_MUST_USE int pr_bus_bind(struct pr_bus_ctx *c, uv_loop_t *loop, const char *address, pr_bus_recv_fn on_msg, void *data,
                            struct pr_bus **ret, char **reterr_text);
/* identity: routing id (<= PR_BUS_PEER_MAX bytes, not starting with NUL); reconnects by itself for ever. */
PR_MUST_USE int pr_bus_connect(struct pr_bus_ctx *c, uv_loop_t *loop, const char *address, struct pr_slice identity,
                               pr_bus_recv_fn on_msg, void *data, struct pr_bus **ret, char **reterr_text);

/* Copies the header; takes payload's memory (payload may be NULL or empty; it is empty afterwards, always).
 * peer: routing id for a ROUTER, ignored for a DEALER. PR_EUNAVAIL: no such peer or not connected (ROUTER_MANDATORY,
 * IMMEDIATE). Queued without bound by ZeroMQ: the callers' credit is the bound. */
PR_MUST_USE int pr_bus_send(struct pr_bus *b, struct pr_slice peer, struct pr_slice header, struct pr_buf *payload);
/* As pr_bus_send, from a payload of another message without a copy: takes m. */
PR_MUST_USE int pr_bus_forward(struct pr_bus *b, struct pr_slice peer, struct pr_slice header, struct pr_bus_msg *m);

struct pr_bus_counts {
    uint64_t sent, received, dropped /* malformed: frames, header, routing id */;
};
void pr_bus_count(const struct pr_bus *b, struct pr_bus_counts *ret);
/* Where it is bound, with the port that a `*` became; false if it does not fit. */
bool pr_bus_endpoint(const struct pr_bus *b, char *out, size_t size);
/* Inside on_msg too. What is still queued has 2 s to leave (pr_bus_ctx_free waits for that); nothing is received any more. */
void pr_bus_close(struct pr_bus *b, void (*on_closed)(void *data), void *data);

#endif
