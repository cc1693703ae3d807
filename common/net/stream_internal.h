/* stream_internal.h - the parts of a stream that its files share: stream.c (life, reading), stream_write.c (output),
 * stream_tls.c (records), stream_loop.c (what all streams of a loop share). Not for anyone else. */
#ifndef PR_NET_STREAM_INTERNAL_H
#define PR_NET_STREAM_INTERNAL_H

#include <openssl/ssl.h>

#include "common/base/buf.h"
#include "common/base/list.h"
#include "common/net/stream.h"

enum { STREAM_READ_MAX = 64 * 1024, STREAM_DISCARD_MAX = 1024 * 1024 };

/* One per loop with streams, in uv_loop_t.data; lives as long as the last of them. */
struct stream_loop {
    uv_idle_t idle;       /* runs while `dirty` is not empty: the end of the turn for what was written outside callbacks */
    struct pr_list dirty; /* struct pr_stream.dirty */
    size_t refs;
    char *in;             /* STREAM_READ_MAX: every read of the loop goes here */
    char *clear;          /* STREAM_READ_MAX: decrypted bytes on their way to on_data */
    struct pr_buf spare;  /* memory of the last output buffer that became empty */
};

/*
 *   CONNECTING ---> OPEN ---> SENDING ---> ENDING ---> CLOSED
 *        |           |           |            |          ^
 *        +-----------+-----------+------------+----------+   errors, pr_stream_close(0), linger timer
 *
 * SENDING: pr_stream_close was called; waits until the output is with the kernel.
 * ENDING:  our FIN is sent; input is discarded until the peer's FIN, so that unread bytes do not turn our close into a
 *          reset that would destroy the last reply on its way. Both end with the linger timer.
 * CLOSED:  handles are closing; on_close and the end come from their callback. */
enum stream_phase { STREAM_CONNECTING, STREAM_OPEN, STREAM_SENDING, STREAM_ENDING, STREAM_CLOSED };

/* What OpenSSL reads from and writes to. */
struct stream_bio {
    struct pr_slice in;
    struct pr_buf *out;
};

struct stream_tls {
    SSL *ssl;
    struct pr_tls_ctx *ctx;
    struct stream_bio bio;   /* in: records to decrypt, while the pump runs; out: the stream's wire */
    struct pr_buf held;      /* records read while the stream was being paused */
    const char *start_error; /* the handshake cannot even start */
    bool handshaking, verify;
    bool ended; /* close_notify came while paused */
};

struct pr_stream {
    union {
        uv_handle_t handle;
        uv_stream_t stream;
        uv_tcp_t tcp;
        uv_pipe_t pipe;
    } uv;
    union {
        uv_connect_t connect; /* CONNECTING */
        uv_write_t write;     /* while sending.len > 0 */
        uv_shutdown_t shutdown;
    } req;
    uv_timer_t linger;
    struct stream_loop *loop;
    const struct pr_stream_ops *ops;
    void *data;
    struct stream_tls *tls; /* NULL: plain */

    struct pr_buf clear;   /* written under TLS, not yet encrypted */
    struct pr_buf wire;    /* in the form of the wire, not yet given to libuv */
    struct pr_buf sending; /* what uv_write has */

    struct pr_list dirty; /* linked: stream_settle is due at the end of the turn */
    enum stream_phase phase;
    int reason;         /* for on_close */
    int uv_error;       /* libuv's code behind it */
    int connect_error;  /* uv_*_connect failed at once; to be reported from the loop */
    unsigned busy;      /* depth of callbacks into the owner */
    unsigned handles;   /* to be closed */
    size_t discarded;   /* input since pr_stream_close: a peer that does not stop is left to the linger timer */
    bool reading, paused, kick;
    bool eof;           /* the peer's input has ended */
    bool write_failed;  /* output is discarded; the reading side tells how it ended */
    bool above_low;     /* output has been above PR_STREAM_LOW_MARK since it was last empty */
    bool drain_due;
};

/* stream_loop.c */
struct stream_loop *stream_loop_ref(uv_loop_t *loop);
void stream_loop_unref(struct stream_loop *l);
void stream_mark_dirty(struct pr_stream *s);

/* stream.c */
void stream_fail(struct pr_stream *s, int reason, int uv_error);
void stream_close_handles(struct pr_stream *s);
void stream_update_reading(struct pr_stream *s);
void stream_deliver(struct pr_stream *s, struct pr_slice data);
void stream_deliver_eof(struct pr_stream *s);
/* Sends, and makes the callbacks that are due. Only from the loop, never from a call of the owner. */
void stream_settle(struct pr_stream *s);

/* stream_write.c */
void stream_flush(struct pr_stream *s);
void stream_drop_output(struct pr_stream *s);
void stream_release_buf(struct pr_stream *s, struct pr_buf *b);
/* Gives an empty buffer the loop's spare memory when it is about to take n bytes. */
void stream_use_spare(struct pr_stream *s, struct pr_buf *to, size_t n);

/* stream_tls.c */
/* Records from the peer. */
void stream_tls_input(struct pr_stream *s, struct pr_slice records);
/* Goes on without new input: first flight of a client, or what was held while paused. */
void stream_tls_kick(struct pr_stream *s);
bool stream_tls_holds(const struct pr_stream *s);
/* Moves `clear` to `wire` as records. */
void stream_tls_encrypt(struct pr_stream *s);
void stream_tls_shutdown(struct pr_stream *s);
/* The peer's FIN or a read error while TLS is on. */
void stream_tls_cut(struct pr_stream *s, int uv_error);
void stream_tls_free(struct pr_stream *s);

/* tls.c */
/* bio is borrowed until SSL_free. *reterr_text is set (static) when the handshake must not start. */
SSL *tls_ssl_new(struct pr_tls_ctx *ctx, bool server, const char *server_name, struct stream_bio *bio,
                 const char **reterr_text);
bool tls_verifies(const struct pr_tls_ctx *ctx);

#endif
