/* stream.h - a byte stream over TCP or a unix socket, plain or TLS, on a uv loop.
 *
 * uv_loop_t.data of a loop with streams belongs to them (buffers that all of them share): leave it alone. It must be
 * NULL at first, and uv_loop_init keeps what it finds there: zero a loop before. The process ignores SIGPIPE.
 *
 * Owns: the socket, its buffers, the TLS state. Thread: that of its loop. Reentrancy: callbacks may write, pause, start
 * TLS and close; they are never called from inside a call into the stream.
 * Errors: PR_E* in on_close (once, always, also after pr_stream_close; memory is the stream's until then and is freed right
 * after it returns). No callback comes after on_close. */
#ifndef PR_NET_STREAM_H
#define PR_NET_STREAM_H

#include <netinet/in.h>
#include <stdbool.h>
#include <sys/socket.h>
#include <uv.h>

#include "common/base/slice.h"
#include "common/net/tls.h"

struct pr_stream;

/* A caller that limits its output by pr_stream_queued sets its limit at or above this: on_drain is sure to come then. */
enum { PR_STREAM_LOW_MARK = 16 * 1024 };

struct pr_tls_info {
    const char *version; /* "TLSv1.3" */
    const char *cipher;
    bool verified; /* chain and name (clients with verification only) */
};

struct pr_stream_ops {
    /* Client streams only: status 0 or PR_E* (then on_close follows). */
    void (*on_connect)(struct pr_stream *s, int status);
    /* Bytes as they come, decrypted; borrowed until return. After pr_stream_pause no more come until resume (what was
     * already read is kept, bounded by one read). All writes made inside are sent in one go after it returns. */
    void (*on_data)(struct pr_stream *s, struct pr_slice data);
    /* Peer's orderly end of input (FIN, or close_notify under TLS). Not called for errors; FIN without close_notify is one
     * (PR_EIO): a cut must not make a message look whole. Output is still possible; the caller closes. */
    void (*on_eof)(struct pr_stream *s);
    /* Result of pr_stream_start_tls: info is NULL on failure (on_close follows). Bytes that arrived in clear before the
     * handshake ended are never given to on_data. */
    void (*on_tls)(struct pr_stream *s, const struct pr_tls_info *info, const char *error_text);
    /* Everything written has been handed to the kernel, after having been above PR_STREAM_LOW_MARK. May be NULL. */
    void (*on_drain)(struct pr_stream *s);
    void (*on_close)(struct pr_stream *s, int reason);
};

/* Takes an accepted descriptor (by the listener). */
struct pr_stream *pr_stream_accepted(uv_loop_t *loop, uv_stream_t *server, const struct pr_stream_ops *ops, void *data,
                                     int *reterr);
/* Connects to a TCP address (optionally from a source address) or a unix path. */
struct pr_stream *pr_stream_connect(uv_loop_t *loop, const struct sockaddr *to, const struct sockaddr *from_or_null,
                                    const struct pr_stream_ops *ops, void *data);
struct pr_stream *pr_stream_connect_unix(uv_loop_t *loop, const char *path, const struct pr_stream_ops *ops, void *data);

void *pr_stream_data(const struct pr_stream *s);
void pr_stream_set_data(struct pr_stream *s, void *data);
/* Peer's and own address; false for unix sockets. IPv4 is given v4-mapped in in6_addr. */
bool pr_stream_peer(const struct pr_stream *s, struct in6_addr *ret_addr, uint16_t *ret_port);
bool pr_stream_local(const struct pr_stream *s, struct in6_addr *ret_addr, uint16_t *ret_port);
/* 192.0.2.1 or 2001:db8::1. */
void pr_addr_plain(const struct in6_addr *addr, char out[INET6_ADDRSTRLEN]);
/* As in RFC 5321 literals without brackets: 192.0.2.1 or IPv6:2001:db8::1. */
void pr_addr_text(const struct in6_addr *addr, char out[INET6_ADDRSTRLEN]);

/* Copies the bytes into the output buffer. Outside on_data they go out at pr_stream_flush or at the end of the loop turn. */
void pr_stream_write(struct pr_stream *s, struct pr_slice bytes);
void pr_stream_flush(struct pr_stream *s);
/* Bytes written but not yet taken by the kernel. The caller stops producing above its own limit and goes on in on_drain. */
size_t pr_stream_queued(const struct pr_stream *s);
/* What the system said of the last error ("connection refused"), or "": for logs. Static. */
const char *pr_stream_error_text(const struct pr_stream *s);

void pr_stream_pause(struct pr_stream *s);
void pr_stream_resume(struct pr_stream *s);

/* Server: sends what is queued (the 220), discards unread clear input, then waits for the ClientHello. Client: starts the
 * handshake; server_name for SNI and verification, may be NULL without verification. Called inside on_data, the caller
 * drops the rest of that data itself (server), or takes any rest for an attack and closes (client).
 * Bytes written before on_tls wait for the handshake. No deadline of its own: the caller closes. */
void pr_stream_start_tls(struct pr_stream *s, struct pr_tls_ctx *ctx, bool server, const char *server_name);
bool pr_stream_is_tls(const struct pr_stream *s);

/* Sends what is queued and our FIN, discards input until the peer's FIN (so that the last reply is not lost by a reset; at
 * most 1 MiB, then the rest waits unread), then closes; all that within linger_ms. 0: drops what is queued and closes at
 * once. Idempotent; 0 also cuts a linger short. on_close says 0, or PR_ETIMEOUT when output was left. */
void pr_stream_close(struct pr_stream *s, unsigned linger_ms);

#endif
