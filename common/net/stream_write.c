/* stream_write.c - output: collected in `wire` (under TLS in `clear` first), given to the kernel with one write call, the
 * part that it does not take by uv_write. `sending` is that part: one request at a time keeps the order.
 *
 * A write error does not end the stream while it reads: a server that answers 421 and closes may reset our next command,
 * but its reply is still to be read. The reading side then ends the stream. */
#include "common/base/alloc.h"
#include "common/net/stream_internal.h"

enum { SPARE_MAX = 512 * 1024, KEEP_MAX = 512 };

/* An idle connection keeps no buffer worth mentioning; the loop keeps one for all. */
void stream_release_buf(struct pr_stream *s, struct pr_buf *b)
{
    struct pr_buf *spare = &s->loop->spare;
    pr_buf_clear(b);
    if (b->cap <= KEEP_MAX)
        return;
    if (b->cap > spare->cap && b->cap <= SPARE_MAX) {
        struct pr_buf t = *spare;
        *spare = *b;
        *b = t;
    }
    pr_buf_fini(b);
}

void stream_use_spare(struct pr_stream *s, struct pr_buf *to, size_t n)
{
    struct pr_buf *spare = &s->loop->spare;
    if (to->len == 0 && n > to->cap && spare->cap > 0) {
        pr_buf_fini(to);
        *to = *spare;
        pr_buf_init(spare);
    }
}

void stream_drop_output(struct pr_stream *s)
{
    stream_release_buf(s, &s->clear);
    stream_release_buf(s, &s->wire);
}

static bool all_sent(const struct pr_stream *s)
{
    return s->clear.len == 0 && s->wire.len == 0 && s->sending.len == 0;
}

static void write_failed(struct pr_stream *s, int uv_error)
{
    bool reader_tells = s->phase == STREAM_OPEN && s->reading && (uv_error == UV_EPIPE || uv_error == UV_ECONNRESET);
    s->write_failed = true;
    s->uv_error = uv_error;
    stream_drop_output(s);
    if (!reader_tells)
        stream_fail(s, PR_EIO, uv_error);
}

static void on_shutdown(uv_shutdown_t *req, int status)
{
    struct pr_stream *s = req->data;
    if (s->phase == STREAM_CLOSED)
        return;
    if (status < 0)
        stream_fail(s, 0, status);
    else
        stream_update_reading(s);
}

/* All output is with the kernel. */
static void on_sent(struct pr_stream *s)
{
    if (s->above_low) {
        s->above_low = false;
        s->drain_due = s->ops->on_drain != NULL;
    }
    if (s->phase != STREAM_SENDING)
        return;
    s->phase = STREAM_ENDING;
    s->req.shutdown.data = s;
    if (s->eof || uv_shutdown(&s->req.shutdown, &s->uv.stream, on_shutdown) != 0)
        stream_close_handles(s);
}

static void on_written(uv_write_t *req, int status)
{
    struct pr_stream *s = req->data;
    stream_release_buf(s, &s->sending);
    if (s->phase == STREAM_CLOSED)
        return;
    if (status < 0)
        write_failed(s, status);
    stream_settle(s);
}

static void write_rest(struct pr_stream *s, size_t taken)
{
    s->sending = s->wire;
    pr_buf_init(&s->wire);
    uv_buf_t rest = uv_buf_init(s->sending.ptr + taken, (unsigned)(s->sending.len - taken));
    s->req.write.data = s;
    int rc = uv_write(&s->req.write, &s->uv.stream, &rest, 1, on_written);
    if (rc != 0) {
        stream_release_buf(s, &s->sending);
        write_failed(s, rc);
    }
}

void stream_flush(struct pr_stream *s)
{
    if (s->phase != STREAM_OPEN && s->phase != STREAM_SENDING)
        return;
    if (s->write_failed)
        stream_drop_output(s);
    if (s->clear.len > 0)
        stream_tls_encrypt(s);
    if (s->phase == STREAM_CLOSED || s->sending.len > 0)
        return;
    if (s->wire.len > 0) {
        uv_buf_t b = uv_buf_init(s->wire.ptr, (unsigned)s->wire.len);
        int n = uv_try_write(&s->uv.stream, &b, 1);
        if (n < 0 && n != UV_EAGAIN) {
            write_failed(s, n);
            return;
        }
        size_t taken = n < 0 ? 0 : (size_t)n;
        if (taken < s->wire.len) {
            write_rest(s, taken);
            return;
        }
        stream_release_buf(s, &s->wire);
    }
    if (all_sent(s))
        on_sent(s);
}

void pr_stream_write(struct pr_stream *s, struct pr_slice bytes)
{
    if (bytes.len == 0 || s->write_failed || (s->phase != STREAM_OPEN && s->phase != STREAM_CONNECTING))
        return;
    struct pr_buf *to = s->tls != NULL ? &s->clear : &s->wire;
    stream_use_spare(s, to, bytes.len);
    pr_buf_add(to, bytes);
    if (s->clear.len + s->wire.len > PR_STREAM_LOW_MARK)
        s->above_low = true;
    if (s->busy == 0 && s->phase == STREAM_OPEN)
        stream_mark_dirty(s);
}

void pr_stream_flush(struct pr_stream *s)
{
    if (s->busy > 0)
        return; /* comes when the callback returns */
    stream_flush(s);
    if (s->drain_due)
        stream_mark_dirty(s);
}

size_t pr_stream_queued(const struct pr_stream *s)
{
    size_t with_uv = s->sending.len == 0 ? 0 : uv_stream_get_write_queue_size(&s->uv.stream);
    return s->clear.len + s->wire.len + with_uv;
}
