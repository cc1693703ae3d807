/* Content on its way to the spool.
 *
 *   1. ing_body_open: memory for the first piece, the spool's consent, our trace field.
 *   2. Octets are decoded straight into the chunk that the spool will take; a full chunk is handed over. The first piece is
 *      small and grows, so that many small messages fit the budget.
 *   3. At the genuine end: commit, or one refusal.
 *
 * A defect does not stop the reading: the rest is read and forgotten, the checks go on, and the refusal at the end is
 * chosen by rank among all that was found. So the answer does not depend on how the bytes were cut.
 *
 * No room: the session stops reading (ING_BLOCK_SPACE) until ING_EV_SPACE or the space timeout, and that time does not count
 * against the peer's rate. */
#include "common/base/alloc.h"
#include "common/base/assert.h"
#include "ingress/core/session_internal.h"

enum {
    FIRST_CHUNK = 16 * 1024,
    GROWTH = 4,
    SLACK = 64,       /* less room than this is no room */
    TAIL = 16,        /* what a decoder may add on top: pending CR and dot, a final CRLF */
    SCRATCH = 8 * 1024,
    TRACE_ROOM = 2048 /* for our Received field */
};

/* ---- memory ---- */

static void set_capacity(struct pr_buf *b, size_t cap)
{
    b->ptr = pr_realloc(b->ptr, cap);
    b->cap = cap;
}

static void wait_for_space(struct ing_session *s)
{
    if (!s->starved) {
        s->starved = true;
        s->starved_at = s->now.mono;
    }
    s->block |= ING_BLOCK_SPACE;
    s->block_until = pr_mono_add(s->starved_at, s->o->space_timeout_ms);
}

static void found_space(struct ing_session *s)
{
    if (!s->starved)
        return;
    uint64_t waited = pr_mono_since(s->now.mono, s->starved_at);
    s->starved = false;
    s->rate_start = pr_mono_add(s->rate_start, waited);
    s->rate_last = pr_mono_add(s->rate_last, waited);
}

static bool resize(struct ing_session *s, size_t cap)
{
    if (!ing_tx_reserve(s, cap))
        return false;
    set_capacity(&s->tx->chunk, cap);
    return true;
}

static void hand_over(struct ing_session *s)
{
    struct ing_tx *tx = s->tx;
    tx->spool_full = !s->ops->spool_append(s->data, &tx->chunk);
    pr_assert(tx->chunk.len == 0 && tx->chunk.cap == 0);
    (void)ing_tx_reserve(s, 0);
}

/* Makes room in the chunk; false: there is none now. */
static bool make_room(struct ing_session *s)
{
    struct ing_tx *tx = s->tx;
    if (tx->discard) {
        pr_buf_clear(&tx->chunk);
        if (tx->chunk.cap < SCRATCH)
            set_capacity(&tx->chunk, SCRATCH);
        return true;
    }
    if (tx->chunk.cap - tx->chunk.len >= SLACK)
        return true;
    if (tx->chunk.cap >= s->o->chunk_max)
        hand_over(s);
    if (tx->spool_full)
        return false;
    size_t cap = tx->chunk.cap == 0 ? s->o->chunk_max : PR_MIN(tx->chunk.cap * GROWTH, (size_t)s->o->chunk_max);
    return resize(s, cap);
}

/* How many of `want` octets may be decoded now, each of which becomes at most `factor`; 0: wait for space. */
static size_t room(struct ing_session *s, size_t want, size_t factor)
{
    if (!make_room(s)) {
        wait_for_space(s);
        return 0;
    }
    found_space(s);
    return PR_MIN(want, (s->tx->chunk.cap - s->tx->chunk.len - TAIL) / factor);
}

/* ---- begin ---- */

static void add_trace(struct ing_session *s, struct pr_slice id)
{
    struct ing_tx *tx = s->tx;
    struct mail_received r = {
        .helo = s->helo,
        .client_name = s->name,
        .client_address = s->address,
        .by = s->o->hostname,
        .with = ing_protocol(s),
        .tls = s->tls,
        .id = id,
        .for_ = tx->n_rcpts == 1 ? tx->rcpts[0].address : pr_slice("", 0),
        .date = s->now.wall,
    };
    mail_received_format(&r, &tx->chunk);
    tx->total_bytes = tx->chunk.len;
}

static size_t first_capacity(const struct ing_session *s)
{
    uint64_t max = s->o->chunk_max;
    uint64_t want = s->tx->size_hint < max ? s->tx->size_hint + TRACE_ROOM : max;
    return (size_t)PR_MIN(PR_MAX(want, (uint64_t)FIRST_CHUNK), max);
}

enum ing_refusal_id ing_body_open(struct ing_session *s)
{
    struct ing_tx *tx = s->tx;
    struct pr_slice id = pr_slice("", 0);
    if (!resize(s, first_capacity(s)))
        return ING_R_MEMORY;
    enum ing_spool_status status = s->ops->spool_open(s->data, tx->size_hint, &id);
    if (status != ING_SPOOL_OK)
        return ing_refusal_of_spool(status);
    tx->open = true;
    mail_header_scan_init(&tx->header);
    add_trace(s, id);
    return ING_R_NONE;
}

/* ---- defects ---- */

/* The refusal due for what has been seen so far, by rank. */
static enum ing_refusal_id fault(const struct ing_session *s)
{
    const struct ing_tx *tx = s->tx;
    unsigned defects = s->o->line_policy == MAIL_DOT_REJECT ? tx->dot.defects | tx->crlf.defects : 0;
    if ((defects & (MAIL_DOT_BARE_CR | MAIL_DOT_BARE_LF)) != 0)
        return ING_R_BARE_NEWLINE;
    if ((defects & MAIL_DOT_NUL) != 0)
        return ING_R_NUL;
    /* RFC 5321 4.5.3.1.6: nothing longer may leave us, and nobody may fold it on the way. */
    if (tx->dot.longest_line > MAIL_LINE_MAX || tx->lines.longest_line > MAIL_LINE_MAX)
        return ING_R_TEXT_LINE;
    if (tx->content_bytes > s->o->message_size_max)
        return ING_R_SIZE;
    if (tx->header.received > s->o->hops_max)
        return ING_R_LOOP;
    if (tx->header.longest_field > s->o->header_max)
        return ING_R_HEADER_FIELD;
    return tx->lost;
}

static void discard(struct ing_session *s)
{
    struct ing_tx *tx = s->tx;
    if (tx->discard)
        return;
    tx->discard = true;
    tx->spool_full = false;
    if (tx->open)
        s->ops->spool_abort(s->data);
    tx->open = false;
    pr_buf_fini(&tx->chunk);
    (void)ing_tx_reserve(s, 0);
    s->block &= ~(unsigned)ING_BLOCK_SPACE;
    found_space(s);
}

void ing_body_lost(struct ing_session *s, enum ing_refusal_id why)
{
    if (s->tx == NULL || !s->tx->open)
        return;
    if (s->tx->lost == ING_R_NONE)
        s->tx->lost = why;
    discard(s);
}

/* Content that begins with white space would continue our trace field: an empty line keeps them apart. */
static void separate(struct ing_tx *tx, size_t before)
{
    struct pr_buf *b = &tx->chunk;
    if (tx->begun || b->len == before)
        return;
    tx->begun = true;
    if (b->ptr[before] != ' ' && b->ptr[before] != '\t')
        return;
    (void)pr_buf_reserve(b, 2);
    memmove(b->ptr + before + 2, b->ptr + before, b->len - before);
    memcpy(b->ptr + before, "\r\n", 2);
    b->len += 2;
}

/* After some octets were decoded to the chunk from `before` on. */
static void inspect(struct ing_session *s, size_t before, size_t used)
{
    struct ing_tx *tx = s->tx;
    separate(tx, before);
    struct pr_slice fresh = pr_slice(tx->chunk.ptr + before, tx->chunk.len - before);
    s->rate_last = s->now.mono;
    s->rate_bytes += used;
    tx->wire_bytes += used;
    tx->total_bytes += fresh.len;
    if (!tx->header.done)
        mail_header_scan(&tx->header, fresh);
    enum ing_refusal_id id = fault(s);
    if (id == ING_R_NONE)
        return;
    discard(s);
    if (tx->wire_bytes > s->o->message_size_max + s->o->swallow_max)
        ing_refuse_and_close(s, ING_AT_EOD, id, ING_CLOSE_REFUSED);
}

static void refuse_message(struct ing_session *s, enum ing_stage stage, enum ing_refusal_id id)
{
    ing_refuse(s, stage, id, pr_slice("", 0));
    ing_tx_drop(s);
    if (!s->closing)
        ing_move(s, ING_READY, "refused");
}

static void finish(struct ing_session *s)
{
    enum ing_refusal_id id = fault(s);
    if (id == ING_R_NONE)
        ing_tx_commit(s);
    else
        refuse_message(s, ING_AT_EOD, id);
}

/* ---- DATA ---- */

void ing_body_data(struct ing_session *s)
{
    struct ing_tx *tx = s->tx;
    size_t factor = s->o->line_policy == MAIL_DOT_NORMALIZE ? 2 : 1;
    size_t n = room(s, s->cur.len, factor);
    size_t before = tx->chunk.len;
    if (n == 0)
        return;
    size_t used = mail_dot_decode(&tx->dot, pr_slice_head(s->cur, n), &tx->chunk);
    s->cur = pr_slice_from(s->cur, used);
    tx->content_bytes += tx->chunk.len - before;
    inspect(s, before, used);
    if (!s->closing && tx->dot.done)
        finish(s);
}

/* ---- BDAT ---- */

static void end_chunk(struct ing_session *s)
{
    struct ing_tx *tx = s->tx;
    if (tx->last && tx->body != MAIL_BODY_BINARYMIME) {
        size_t before = tx->chunk.len;
        mail_crlf_finish(&tx->crlf, &tx->chunk);
        tx->total_bytes += tx->chunk.len - before;
    }
    enum ing_refusal_id id = fault(s);
    if (tx->last) {
        finish(s);
    } else if (id != ING_R_NONE) {
        refuse_message(s, ING_AT_DATA, id);
    } else {
        ing_move(s, ING_BDAT, "end of chunk");
        ing_reply(s, 250, "2.0.0", "Chunk received");
    }
}

static void take_octets(struct ing_session *s, struct pr_slice in)
{
    struct ing_tx *tx = s->tx;
    if (tx->body == MAIL_BODY_BINARYMIME) {
        pr_buf_add(&tx->chunk, in);
        return;
    }
    mail_line_check(&tx->lines, in);
    mail_crlf_encode(&tx->crlf, in, &tx->chunk);
}

void ing_body_chunk(struct ing_session *s)
{
    struct ing_tx *tx = s->tx;
    if (s->chunk_left > 0) {
        size_t want = (size_t)PR_MIN((uint64_t)s->cur.len, s->chunk_left);
        size_t n = room(s, want, tx->body == MAIL_BODY_BINARYMIME ? 1 : 2);
        size_t before = tx->chunk.len;
        if (n == 0)
            return;
        take_octets(s, pr_slice_head(s->cur, n));
        s->cur = pr_slice_from(s->cur, n);
        s->chunk_left -= n;
        tx->content_bytes += n;
        inspect(s, before, n);
    }
    if (!s->closing && s->chunk_left == 0)
        end_chunk(s);
}

void ing_body_skip(struct ing_session *s)
{
    size_t n = (size_t)PR_MIN((uint64_t)s->cur.len, s->chunk_left);
    s->cur = pr_slice_from(s->cur, n);
    s->chunk_left -= n;
    s->swallowed += n;
    s->rate_last = s->now.mono;
    s->rate_bytes += n;
    if (s->chunk_left == 0)
        ing_move(s, s->skip_return, "skipped");
}

/* ---- pace ---- */

void ing_pace_start(struct ing_session *s)
{
    s->rate_start = s->rate_last = s->now.mono;
    s->rate_bytes = 0;
}

/* Silence ends it, and so does a rate under the minimum after a first allowance. */
pr_mono ing_pace_deadline(const struct ing_session *s)
{
    pr_mono silence = pr_mono_add(s->rate_last, s->o->data_timeout_ms);
    if (s->o->min_rate_bytes_per_s == 0)
        return silence;
    uint64_t earned = s->o->data_timeout_ms + s->rate_bytes * 1000 / s->o->min_rate_bytes_per_s;
    pr_mono slow = pr_mono_add(s->rate_start, earned);
    return slow.ms < silence.ms ? slow : silence;
}
