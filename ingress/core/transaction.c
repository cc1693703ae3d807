/* The message under way: its envelope, its memory, and the hand-over to the spool.
 *
 *   1. MAIL begins it; strings go into its arena.
 *   2. RCPT adds recipients in an array that grows; each growth is asked of the budget first.
 *   3. DATA or BDAT opens the spool (body.c).
 *   4. The end of the content builds the envelope, groups recipients by domain and commits.
 *   5. COMMITTED answers: 250 only for OK; what is in doubt gets 451 (RFC 5321 4.2.5, and the client asks again). */
#include "common/base/alloc.h"
#include "common/base/assert.h"
#include "ingress/core/session_internal.h"

enum { RCPTS_FIRST = 4, PAGE = 4096 };

bool ing_tx_reserve(struct ing_session *s, size_t body)
{
    const struct ing_tx *tx = s->tx;
    size_t want = sizeof *tx + tx->arena.size_bytes + tx->cap_rcpts * sizeof *tx->rcpts + body;
    want = (want + PAGE - 1) & ~(size_t)(PAGE - 1);
    if (want == s->reserved)
        return true;
    if (!s->ops->reserve(s->data, want))
        return false;
    s->reserved = want;
    return true;
}

void ing_tx_begin(struct ing_session *s, const struct mail_from *from)
{
    pr_assert(s->tx == NULL);
    struct ing_tx *tx = pr_new(struct ing_tx);
    struct pr_buf envid = {NULL, 0, 0};
    tx->started = s->now.mono;
    tx->sender = pr_arena_dup(&tx->arena, from->path.text);
    if (from->envid_xtext.len > 0 && mail_xtext_decode(from->envid_xtext, &envid) == 0)
        tx->envid = pr_arena_dup(&tx->arena, pr_buf_slice(&envid));
    pr_buf_fini(&envid);
    tx->ret = from->ret;
    tx->body = from->body;
    tx->smtputf8 = from->smtputf8;
    tx->size_hint = from->has_size ? from->size_bytes : 0;
    s->tx = tx;
}

static bool grow_rcpts(struct ing_session *s)
{
    struct ing_tx *tx = s->tx;
    size_t before = tx->cap_rcpts;
    tx->cap_rcpts = before == 0 ? RCPTS_FIRST : before * 2;
    if (!ing_tx_reserve(s, 0)) {
        tx->cap_rcpts = before;
        return false;
    }
    tx->rcpts = pr_realloc(tx->rcpts, tx->cap_rcpts * sizeof *tx->rcpts);
    return true;
}

bool ing_tx_add_rcpt(struct ing_session *s, const struct mail_to *to)
{
    struct ing_tx *tx = s->tx;
    if (tx->n_rcpts == tx->cap_rcpts && !grow_rcpts(s))
        return false;
    if (!ing_tx_reserve(s, to->path.text.len + to->orcpt_xtext.len))
        return false;
    struct mail_rcpt rcpt = {.notify = to->notify, .status = MAIL_RCPT_PENDING};
    struct pr_buf orcpt = {NULL, 0, 0};
    rcpt.address = pr_arena_dup(&tx->arena, to->path.text);
    if (to->orcpt_xtext.len > 0 && mail_xtext_decode(to->orcpt_xtext, &orcpt) == 0)
        rcpt.orcpt = pr_arena_dup(&tx->arena, pr_buf_slice(&orcpt));
    pr_buf_fini(&orcpt);
    tx->rcpts[tx->n_rcpts++] = rcpt;
    return true;
}

void ing_tx_drop(struct ing_session *s)
{
    struct ing_tx *tx = s->tx;
    if (tx == NULL)
        return;
    if (tx->open)
        s->ops->spool_abort(s->data);
    pr_arena_fini(&tx->arena);
    pr_buf_fini(&tx->chunk);
    pr_free(tx->rcpts);
    pr_free(tx);
    s->tx = NULL;
    if (s->reserved > 0) {
        (void)s->ops->reserve(s->data, 0);
        s->reserved = 0;
    }
}

/* RFC 3848, RFC 6531 4.3 */
struct pr_slice ing_protocol(const struct ing_session *s)
{
    bool utf8 = s->tx != NULL && s->tx->smtputf8;
    if (!s->extended)
        return PR_SLICE_LIT("SMTP");
    if (utf8)
        return s->tls_active ? PR_SLICE_LIT("UTF8SMTPS") : PR_SLICE_LIT("UTF8SMTP");
    return s->tls_active ? PR_SLICE_LIT("ESMTPS") : PR_SLICE_LIT("ESMTP");
}

/* 8-bit content that was not announced is declared as what it is, so that the way out treats it right (RFC 6152). */
static enum mail_body_type body_type(const struct ing_tx *tx)
{
    if (tx->body == MAIL_BODY_7BIT && (tx->dot.eight_bit || tx->lines.eight_bit))
        return MAIL_BODY_8BITMIME;
    return tx->body;
}

void ing_tx_commit(struct ing_session *s)
{
    struct ing_tx *tx = s->tx;
    struct mail_envelope e = {
        .sender = tx->sender,
        .envid = tx->envid,
        .ret = tx->ret,
        .body = body_type(tx),
        .smtputf8 = tx->smtputf8,
        .tenant = PR_SLICE_LIT("default"),
        .class_ = MAIL_CLASS_NORMAL,
        .pool = PR_SLICE_LIT("default"),
        .client_name = s->name,
        .client_address = s->address,
        .helo = s->helo,
        .protocol = ing_protocol(s),
        .arrival = s->now.wall,
        .size_bytes = tx->total_bytes,
    };
    struct pr_slice postmaster = s->o->postmaster_domain.len > 0 ? s->o->postmaster_domain : s->o->hostname;
    mail_envelope_group(&e, tx->rcpts, tx->n_rcpts, postmaster, &tx->arena);
    s->until = pr_mono_add(s->now.mono, s->o->commit_timeout_ms);
    ing_move(s, ING_COMMIT, "content complete");
    s->ops->spool_commit(s->data, &e, &tx->chunk);
    /* The bytes are the spool's now, and so is their place in the budget. */
    (void)ing_tx_reserve(s, 0);
}

static void accepted(struct ing_session *s, struct pr_slice id)
{
    s->accepted++;
    s->errors = 0;
    s->harmless = 0;
    mail_reply_printf(&s->out, 250, "2.0.0", "Ok: queued as %.*s", PR_SLICE_ARG(id));
    ing_note_command(s, 250);
    if (s->ops->note != NULL) {
        const struct ing_tx *tx = s->tx;
        struct ing_note n = {
            .kind = ING_NOTE_ACCEPTED,
            .verb = s->verb,
            .code = 250,
            .sender = tx->sender,
            .has_sender = true,
            .id = id,
            .rcpts = tx->rcpts,
            .n_rcpts = tx->n_rcpts,
            .size_bytes = tx->total_bytes,
            .duration_ms = pr_mono_since(s->now.mono, tx->started),
        };
        s->ops->note(s->data, &n);
    }
}

void ing_tx_committed(struct ing_session *s, const struct ing_event *ev)
{
    struct pr_slice nothing = pr_slice("", 0);
    s->tx->open = false; /* answered: nothing is left to abort */
    if (ev->reply != NULL && ev->reply->code >= 400)
        ing_refuse_reply(s, ING_AT_EOD, ING_WHY_POLICY, ev->reply, nothing);
    else if (ev->status != ING_SPOOL_OK)
        ing_refuse(s, ING_AT_EOD, ing_refusal_of_spool(ev->status), nothing);
    else
        accepted(s, ev->id);
    ing_tx_drop(s);
    if (!s->closing)
        ing_move(s, ING_READY, "answered");
}
