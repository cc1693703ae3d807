/* fuzz_ingress_session.c - the SMTP session over a memory transport, differential: each burst of the client in one piece
 * against the same burst in pieces must give the same replies and the same messages. A third run, with early talkers
 * refused and little memory, only has to keep the invariants.
 *
 * Input: flags, seed of the cuts, then bursts separated by FF FE. A handshake that was asked for ends between bursts.
 *
 * Invariants: replies are lines of printable ASCII ended by CRLF; a message begins with our trace field, has the size it
 * claims and, unless BINARYMIME, no bare CR or LF; nothing is said after the end; no deadline fires for ever. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/alloc.h"
#include "common/base/assert.h"
#include "common/base/rng.h"
#include "ingress/core/session.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum {
    F_TRUSTED = 1,
    F_NORMALIZE = 2,
    F_STARTTLS = 4,
    F_TLS_FAILS = 8,
    F_SPOOL = 0x30, /* what the commit answers */
    F_EOF = 0x40,
    F_SMALL = 0x80, /* small limits */
};

struct host {
    unsigned flags;
    struct pr_rng *cuts; /* NULL: whole */
    struct ing_session *s;
    struct pr_now now;
    struct pr_buf said, messages, body;
    bool tls_asked, committed, closed, paused, binary;
    size_t budget;
    bool scarce;
};

static void require(bool ok)
{
    if (!ok)
        abort();
}

static void on_send(void *data, struct pr_slice bytes)
{
    struct host *h = data;
    require(!h->closed && bytes.len >= 2 && bytes.ptr[bytes.len - 1] == '\n');
    for (size_t i = 0; i < bytes.len; i++) {
        if (bytes.ptr[i] == '\r') {
            i++;
            require(i < bytes.len && bytes.ptr[i] == '\n');
        } else {
            require(bytes.ptr[i] >= ' ' && bytes.ptr[i] <= '~');
        }
    }
    pr_buf_add(&h->said, bytes);
}

static void on_start_tls(void *data)
{
    struct host *h = data;
    require(!h->tls_asked);
    h->tls_asked = true;
}

static void on_pause(void *data)
{
    struct host *h = data;
    require(!h->paused);
    h->paused = true;
}

static void on_resume(void *data)
{
    struct host *h = data;
    require(h->paused);
    h->paused = false;
}

static void on_close(void *data, enum ing_close_reason reason)
{
    struct host *h = data;
    require(!h->closed && reason < ING_CLOSE_NR && !h->committed);
    h->closed = true;
}

static bool on_reserve(void *data, size_t bytes)
{
    struct host *h = data;
    return bytes <= h->budget;
}

static enum ing_spool_status on_check(void *data, uint64_t size)
{
    (void)data;
    (void)size;
    return ING_SPOOL_OK;
}

static enum ing_spool_status on_open(void *data, uint64_t size, struct pr_slice *ret_id)
{
    struct host *h = data;
    (void)size;
    *ret_id = PR_SLICE_LIT("TOKEN");
    pr_buf_clear(&h->body);
    return ING_SPOOL_OK;
}

static bool on_append(void *data, struct pr_buf *chunk)
{
    struct host *h = data;
    require(chunk->len <= 4096);
    pr_buf_add(&h->body, pr_buf_slice(chunk));
    pr_buf_fini(chunk);
    return !h->scarce;
}

static void check_content(struct pr_slice body)
{
    require(pr_slice_starts(body, PR_SLICE_LIT("Received: ")));
    for (size_t i = 0; i < body.len; i++) {
        if (body.ptr[i] == '\r') {
            i++;
            require(i < body.len && body.ptr[i] == '\n');
        } else {
            require(body.ptr[i] != '\n' && body.ptr[i] != '\0');
        }
    }
}

static void on_commit(void *data, const struct mail_envelope *e, struct pr_buf *last)
{
    struct host *h = data;
    pr_buf_add(&h->body, pr_buf_slice(last));
    pr_buf_fini(last);
    require(e->size_bytes == h->body.len && e->n_groups > 0);
    if (e->body != MAIL_BODY_BINARYMIME)
        check_content(pr_buf_slice(&h->body));
    pr_buf_printf(&h->messages, "from=%.*s body=%d size=%zu\n", PR_SLICE_ARG(e->sender), e->body, h->body.len);
    for (size_t g = 0; g < e->n_groups; g++)
        for (size_t i = 0; i < e->groups[g].n_rcpts; i++)
            pr_buf_printf(&h->messages, "to=%.*s\n", PR_SLICE_ARG(e->groups[g].rcpts[i].address));
    pr_buf_add(&h->messages, pr_buf_slice(&h->body));
    h->committed = true;
}

static void on_abort(void *data)
{
    ((struct host *)data)->committed = false;
}

static const struct ing_ops ops = {
    .send = on_send, .start_tls = on_start_tls, .pause = on_pause, .resume = on_resume, .close = on_close,
    .reserve = on_reserve, .spool_check = on_check, .spool_open = on_open, .spool_append = on_append,
    .spool_commit = on_commit, .spool_abort = on_abort,
};

static void step(struct host *h, struct ing_event ev)
{
    ev.now = h->now;
    ing_session_step(h->s, &ev);
}

/* What the host owes the session after each event: answers of the spool, delays that end. */
static void settle(struct host *h)
{
    static const enum ing_spool_status answers[] = {ING_SPOOL_OK, ING_SPOOL_UNAVAILABLE, ING_SPOOL_INVALID, ING_SPOOL_OK};
    for (unsigned n = 0; !h->closed; n++) {
        require(n < 100000);
        if (h->committed) {
            h->committed = false;
            step(h, (struct ing_event){.kind = ING_EV_COMMITTED,
                                       .status = answers[(h->flags & F_SPOOL) >> 4],
                                       .id = PR_SLICE_LIT("ID")});
        } else if (ing_session_deadline(h->s).ms <= h->now.mono.ms + 1) {
            h->now.mono.ms++;
            step(h, (struct ing_event){.kind = ING_EV_DEADLINE});
        } else if (h->scarce && h->paused) {
            step(h, (struct ing_event){.kind = ING_EV_SPACE});
            if (h->paused) {
                h->now.mono.ms = ing_session_deadline(h->s).ms;
                step(h, (struct ing_event){.kind = ING_EV_DEADLINE});
            }
        } else {
            return;
        }
    }
}

static void burst(struct host *h, struct pr_slice bytes)
{
    while (bytes.len > 0 && !h->closed) {
        size_t n = bytes.len;
        size_t cut = h->cuts == NULL ? n : 1 + pr_rng_below(h->cuts, pr_rng_below(h->cuts, 4) == 0 ? 200 : 6);
        n = PR_MIN(n, cut);
        /* A copy of its own, so that a read behind its end is seen. */
        char *copy = pr_memdup(bytes.ptr, n);
        step(h, (struct ing_event){.kind = ING_EV_BYTES, .bytes = pr_slice(copy, n)});
        pr_free(copy);
        settle(h);
        bytes = pr_slice_from(bytes, n);
    }
    if (!h->tls_asked || h->closed)
        return;
    h->tls_asked = false;
    step(h, (struct ing_event){.kind = (h->flags & F_TLS_FAILS) != 0 ? ING_EV_TLS_FAILED : ING_EV_TLS_UP,
                               .tls = PR_SLICE_LIT("TLSv1.3 with cipher X")});
    settle(h);
}

static void set_options(struct ing_options *o, struct ing_relay *relay, unsigned flags)
{
    ing_options_init(o);
    o->hostname = PR_SLICE_LIT("mx.ours.test");
    o->relay = relay;
    o->starttls = (flags & F_STARTTLS) != 0;
    o->line_policy = (flags & F_NORMALIZE) != 0 ? MAIL_DOT_NORMALIZE : MAIL_DOT_REJECT;
    o->refuse_early_talkers = false;
    o->chunk_max = 4096;
    o->error_delay_ms = 1;
    if ((flags & F_SMALL) == 0)
        return;
    o->message_size_max = 300;
    o->swallow_max = 100000;
    o->header_max = 80;
    o->hops_max = 2;
    o->recipients_max = 3;
    o->command_line_max = 100;
    o->flood_max = 1000;
    o->messages_max = 4;
    o->harmless_max = 8;
}

static void run(struct host *h, struct ing_options *o, struct pr_slice input)
{
    struct ing_peer peer = {.address = PR_SLICE_LIT("192.0.2.7"), .trusted = (h->flags & F_TRUSTED) != 0};
    h->now = (struct pr_now){.mono = {1}, .wall = {1700000000000}};
    h->s = ing_session_new(o, &ops, h, &peer);
    step(h, (struct ing_event){.kind = ING_EV_CONNECTED});
    for (bool more = true; more;) {
        size_t n = pr_slice_find_slice(input, PR_SLICE_LIT("\xff\xfe"));
        more = n != SIZE_MAX;
        burst(h, pr_slice_head(input, n));
        if (more)
            input = pr_slice_from(input, n + 2);
    }
    if ((h->flags & F_EOF) != 0 && !h->closed) {
        step(h, (struct ing_event){.kind = ING_EV_EOF});
        settle(h);
        require(h->closed);
    }
    ing_session_free(h->s);
}

static void host_fini(struct host *h)
{
    pr_buf_fini(&h->said);
    pr_buf_fini(&h->messages);
    pr_buf_fini(&h->body);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    struct ing_relay *relay = ing_relay_new(1);
    ing_relay_add(relay, PR_SLICE_LIT("ours.test"), ING_RELAY_OWN);
    struct ing_options o;
    struct pr_rng cuts;
    struct pr_slice input = pr_slice(data + 2, size - 2);
    struct host whole = {.flags = data[0], .budget = SIZE_MAX};
    struct host pieces = {.flags = data[0], .budget = SIZE_MAX, .cuts = &cuts};
    struct host scarce = {.flags = data[0], .budget = 12000 + data[1] * 64u, .cuts = &cuts, .scarce = true};
    pr_rng_init(&cuts, data[1]);
    set_options(&o, relay, data[0]);
    run(&whole, &o, input);
    run(&pieces, &o, input);
    require(pr_slice_eq(pr_buf_slice(&whole.said), pr_buf_slice(&pieces.said)));
    require(pr_slice_eq(pr_buf_slice(&whole.messages), pr_buf_slice(&pieces.messages)));
    require(whole.closed == pieces.closed);
    o.refuse_early_talkers = true;
    o.greet_delay_ms = data[1] & 1u;
    run(&scarce, &o, input);
    host_fini(&whole);
    host_fini(&pieces);
    host_fini(&scarce);
    ing_relay_free(relay);
    return 0;
}
