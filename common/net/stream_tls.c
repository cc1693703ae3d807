/* stream_tls.c - TLS on a stream: OpenSSL between `in` and on_data on one side, `clear` and `wire` on the other.
 *
 * The pump: go on with the handshake until it is done, then decrypt what there is, up to one loop buffer at a time, and
 * hand it over; stop when OpenSSL wants more, when the owner pauses or closes, or at close_notify. Records that were read
 * but not decrypted when the owner paused are held (at most one read).
 *
 * A FIN without close_notify is an error, not an end of input: whoever cuts a connection must not be able to make a
 * shortened message look whole. */
#include <netinet/in.h>
#include <openssl/err.h>
#include <openssl/x509.h>
#include <string.h>
#include <sys/socket.h>

#include "common/base/alloc.h"
#include "common/base/assert.h"
#include "common/net/stream_internal.h"

enum { TLS_RECORD_MAX = 16 * 1024, DISCARD_MAX = 256 * 1024 };

bool stream_tls_holds(const struct pr_stream *s)
{
    /* Not SSL_has_pending: it counts the first bytes of an incomplete record, for which we must read on. */
    return s->tls != NULL && (s->tls->held.len > 0 || s->tls->ended || SSL_pending(s->tls->ssl) > 0);
}

void stream_tls_free(struct pr_stream *s)
{
    struct stream_tls *t = s->tls;
    if (t == NULL)
        return;
    SSL_free(t->ssl);
    pr_tls_unref(t->ctx);
    pr_buf_fini(&t->held);
    pr_free(t);
    s->tls = NULL;
}

static void handshake_failed(struct pr_stream *s, const char *text, int uv_error)
{
    s->reason = PR_EIO;
    s->busy++;
    s->ops->on_tls(s, NULL, text);
    s->busy--;
    if (s->phase == STREAM_OPEN)
        stream_flush(s); /* the alert */
    stream_fail(s, PR_EIO, uv_error);
}

static const char *ssl_error_text(const struct stream_tls *t)
{
    long verify = SSL_get_verify_result(t->ssl);
    if (t->verify && verify != X509_V_OK)
        return X509_verify_cert_error_string(verify);
    const char *text = ERR_reason_error_string(ERR_peek_last_error());
    return text == NULL ? "TLS protocol error" : text;
}

static void handshake_done(struct pr_stream *s)
{
    struct stream_tls *t = s->tls;
    struct pr_tls_info info = {
        .version = SSL_get_version(t->ssl),
        .cipher = SSL_get_cipher_name(t->ssl),
        .verified = t->verify && SSL_get_verify_result(t->ssl) == X509_V_OK,
    };
    t->handshaking = false;
    s->busy++;
    s->ops->on_tls(s, &info, NULL);
    s->busy--;
}

/* Returns true to go on with the pump. */
static bool handshake(struct pr_stream *s)
{
    struct stream_tls *t = s->tls;
    if (t->start_error != NULL) {
        handshake_failed(s, t->start_error, 0);
        return false;
    }
    int rc = SSL_do_handshake(t->ssl);
    if (rc == 1) {
        handshake_done(s);
        return true;
    }
    if (SSL_get_error(t->ssl, rc) != SSL_ERROR_WANT_READ)
        handshake_failed(s, ssl_error_text(t), 0);
    return false;
}

/* Decrypts and delivers once; returns true to go on. */
static bool decrypt(struct pr_stream *s)
{
    struct stream_tls *t = s->tls;
    struct stream_loop *l = s->loop;
    if (l->clear == NULL)
        l->clear = pr_malloc(STREAM_READ_MAX);
    size_t n = 0, got = 0;
    int rc = 1;
    while (rc > 0 && STREAM_READ_MAX - n >= TLS_RECORD_MAX) {
        rc = SSL_read_ex(t->ssl, l->clear + n, STREAM_READ_MAX - n, &got);
        n += rc > 0 ? got : 0;
    }
    int error = rc > 0 ? SSL_ERROR_NONE : SSL_get_error(t->ssl, rc);
    if (n > 0)
        stream_deliver(s, pr_slice(l->clear, n));
    if (s->phase != STREAM_OPEN || error == SSL_ERROR_WANT_READ)
        return false;
    if (error == SSL_ERROR_NONE)
        return true;
    if (error != SSL_ERROR_ZERO_RETURN) {
        stream_flush(s); /* the alert */
        stream_fail(s, PR_EIO, 0);
    } else if (!s->paused) {
        /* close_notify: not one byte is read after it. While paused it waits: SSL_read reports it again. */
        stream_deliver_eof(s);
    } else {
        t->ended = true;
    }
    return false;
}

static void pump(struct pr_stream *s)
{
    struct stream_tls *t = s->tls;
    for (bool more = true; more && s->phase == STREAM_OPEN && !s->eof;) {
        ERR_clear_error();
        if (t->handshaking)
            more = handshake(s);
        else
            more = !s->paused && decrypt(s);
    }
    ERR_clear_error();
}

void stream_tls_input(struct pr_stream *s, struct pr_slice records)
{
    struct stream_tls *t = s->tls;
    pr_assert(t->held.len == 0);
    t->bio.in = records;
    pump(s);
    if (s->phase == STREAM_OPEN && !s->eof)
        pr_buf_add(&t->held, t->bio.in);
    t->bio.in = (struct pr_slice){NULL, 0};
    stream_update_reading(s);
}

void stream_tls_kick(struct pr_stream *s)
{
    struct stream_tls *t = s->tls;
    struct pr_buf held = t->held;
    pr_buf_init(&t->held);
    t->bio.in = pr_buf_slice(&held);
    pump(s);
    if (s->phase == STREAM_OPEN && !s->eof)
        pr_buf_add(&t->held, t->bio.in);
    t->bio.in = (struct pr_slice){NULL, 0};
    pr_buf_fini(&held);
    stream_update_reading(s);
}

void stream_tls_encrypt(struct pr_stream *s)
{
    struct stream_tls *t = s->tls;
    if (t->handshaking)
        return;
    ERR_clear_error();
    stream_use_spare(s, &s->wire, s->clear.len);
    size_t written;
    int rc = SSL_write_ex(t->ssl, s->clear.ptr, s->clear.len, &written);
    ERR_clear_error();
    if (rc != 1)
        stream_fail(s, PR_EIO, 0);
    else
        stream_release_buf(s, &s->clear);
}

void stream_tls_shutdown(struct pr_stream *s)
{
    if (s->clear.len > 0)
        stream_tls_encrypt(s);
    if (s->phase != STREAM_OPEN)
        return;
    ERR_clear_error();
    (void)SSL_shutdown(s->tls->ssl);
    ERR_clear_error();
}

void stream_tls_cut(struct pr_stream *s, int uv_error)
{
    if (s->tls->handshaking)
        handshake_failed(s, "connection closed during the handshake", uv_error);
    else
        stream_fail(s, PR_EIO, uv_error);
}

/* What the client sent before our 220 is clear text and must not be taken for anything (RFC 3207 4.2). */
static void discard_clear_input(struct pr_stream *s)
{
    uv_os_fd_t fd;
    if (uv_fileno(&s->uv.handle, &fd) != 0)
        return;
    char ignored[4096]; /* the loop's buffer may be what the owner is reading from */
    ssize_t n;
    size_t total = 0;
    while (total < DISCARD_MAX && (n = recv(fd, ignored, sizeof ignored, MSG_DONTWAIT)) > 0)
        total += (size_t)n;
}

void pr_stream_start_tls(struct pr_stream *s, struct pr_tls_ctx *ctx, bool server, const char *server_name)
{
    if (s->phase != STREAM_OPEN)
        return;
    pr_assert(s->tls == NULL);
    if (server && s->wire.len > 0) {
        discard_clear_input(s);
        stream_flush(s);
        if (s->phase != STREAM_OPEN)
            return;
    }
    struct stream_tls *t = pr_new(struct stream_tls);
    t->ctx = pr_tls_ref(ctx);
    t->verify = tls_verifies(ctx);
    t->handshaking = true;
    t->bio.out = &s->wire;
    t->ssl = tls_ssl_new(ctx, server, server_name, &t->bio, &t->start_error);
    s->tls = t;
    s->kick = true; /* a client speaks first */
    stream_update_reading(s);
    stream_mark_dirty(s);
}
