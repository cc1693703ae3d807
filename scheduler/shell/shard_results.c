/* What deliverers say of their jobs. A RESULT becomes a command together with what follows from it (next due time, or the
 * end of the message with a DSN in the same entry); it is acknowledged after commit. Results for attempts or messages that
 * are gone are acknowledged at once: that they are gone is committed. */
#include "common/base/alloc.h"
#include "common/mail/dsn.h"
#include "scheduler/shell/shard_internal.h"

static void acknowledge(struct shard *s, const struct peer *to, const struct sched_ref *ref)
{
    struct ref_list *list = NULL;
    for (size_t i = 0; i < s->n_result_acks && list == NULL; i++)
        if (s->result_acks[i].peer.lane_id == to->lane_id)
            list = &s->result_acks[i];
    if (list == NULL) {
        if (s->n_result_acks == s->cap_result_acks) {
            s->cap_result_acks = s->cap_result_acks == 0 ? 4 : s->cap_result_acks * 2;
            s->result_acks = pr_realloc(s->result_acks, s->cap_result_acks * sizeof *s->result_acks);
        }
        list = &s->result_acks[s->n_result_acks++];
        *list = (struct ref_list){.peer = *to};
    }
    if (list->n == list->cap) {
        list->cap = list->cap == 0 ? 64 : list->cap * 2;
        list->items = pr_realloc(list->items, list->cap * sizeof *list->items);
    }
    list->items[list->n++] = (struct wire_attempt_ref){ref->msg_id, ref->group, ref->attempt_id};
}

void shard_flush_result_acks(struct shard *s)
{
    for (size_t i = 0; i < s->n_result_acks; i++) {
        struct ref_list *l = &s->result_acks[i];
        for (size_t at = 0; at < l->n; at += WIRE_BATCH_MAX) {
            struct wire_msg m = {
                .type = WIRE_RESULT_ACK,
                .refs = {s->o.id, s->term, l->items + at, PR_MIN(l->n - at, (size_t)WIRE_BATCH_MAX)}};
            bus_post_add(shard_out(s), &l->peer, &m);
        }
        pr_free(l->items);
    }
    s->n_result_acks = 0;
}

/* One result on its way to a command. */
struct work {
    const struct wire_result *in;
    struct qread_msg msg;
    struct qread_group group;
    struct mail_group rcpts;   /* as stored */
    struct cmd_rcpt_result *out;
    size_t n_pending, n_aborted, n_failed;
};

static bool read_group(struct shard *s, struct work *w)
{
    const struct wire_attempt_ref *ref = &w->in->ref;
    return qread_message(s->stage, ref->msg_id, &s->turn, &w->msg) == 0 &&
           qread_group(s->stage, ref->msg_id, (uint16_t)ref->group, &s->turn, &w->group) == 0 &&
           qread_group_decode(&w->group, &s->turn, &w->rcpts) == 0;
}

/* Copies the recipients' outcomes; those not pending any more count for nothing. */
static bool take_outcomes(struct shard *s, struct work *w)
{
    w->out = pr_arena_zalloc(&s->turn, w->in->n_rcpts * sizeof *w->out);
    for (size_t i = 0; i < w->in->n_rcpts; i++) {
        const struct wire_rcpt_result *r = &w->in->rcpts[i];
        if (r->index >= w->rcpts.n_rcpts)
            return false;
        /* Lost between the final dot and its reply: a possible duplicate is better than a loss. */
        enum mail_outcome outcome = r->outcome == MAIL_OUTCOME_UNKNOWN ? MAIL_OUTCOME_TEMP : r->outcome;
        w->out[i] = (struct cmd_rcpt_result){.index = r->index,
                                             .outcome = outcome,
                                             .code = r->code,
                                             .enhanced = r->enhanced,
                                             .diagnostic = pr_slice_head(r->diagnostic, CMD_TEXT_MAX)};
        if (w->rcpts.rcpts[r->index].status != MAIL_RCPT_PENDING)
            continue;
        w->n_pending += outcome == MAIL_OUTCOME_TEMP || outcome == MAIL_OUTCOME_ABORTED;
        w->n_aborted += outcome == MAIL_OUTCOME_ABORTED;
        w->n_failed += outcome == MAIL_OUTCOME_PERM;
    }
    return true;
}

/* The message has come to its end: what is pending fails now (RFC 3463 X.4.7). */
static void expire_pending(struct shard *s, struct work *w)
{
    for (size_t i = 0; i < w->in->n_rcpts; i++) {
        struct cmd_rcpt_result *r = &w->out[i];
        struct pr_buf text = {0};
        if (r->outcome != MAIL_OUTCOME_TEMP && r->outcome != MAIL_OUTCOME_ABORTED)
            continue;
        pr_buf_str(&text, "delivery time expired; last reply: ");
        pr_buf_add(&text, r->diagnostic);
        r->outcome = MAIL_OUTCOME_PERM;
        r->enhanced = PR_SLICE_LIT("4.4.7");
        r->diagnostic = pr_slice_head(pr_arena_dup(&s->turn, pr_buf_slice(&text)), CMD_TEXT_MAX);
        pr_buf_fini(&text);
        w->n_failed++;
    }
    w->n_pending = 0;
}

/* The DSN for recipients that fail by this result, if no other group of the message is under way; else the report waits a
 * little for the others, so that one DSN speaks of all. Recipients nobody wants to hear of are marked so. */
static const struct cmd_enqueue *bounce_for(struct shard *s, struct work *w)
{
    const struct mail_rcpt **list = pr_arena_alloc(&s->turn, w->in->n_rcpts * sizeof *list);
    struct mail_envelope envelope;
    size_t n = 0;
    bool null_sender = wire_envelope_decode(w->msg.envelope, &s->turn, &envelope) == 0 && envelope.sender.len == 0;
    for (size_t i = 0; i < w->in->n_rcpts; i++) {
        struct cmd_rcpt_result *r = &w->out[i];
        const struct mail_rcpt *stored = &w->rcpts.rcpts[r->index];
        if (r->outcome != MAIL_OUTCOME_PERM || stored->status != MAIL_RCPT_PENDING)
            continue;
        r->no_report = null_sender || !mail_dsn_wanted(stored, MAIL_DSN_FAILURE);
        if (r->no_report)
            continue;
        struct mail_rcpt *failed = pr_arena_alloc(&s->turn, sizeof *failed);
        *failed = *stored;
        failed->status = MAIL_RCPT_FAILED;
        failed->code = r->code;
        failed->enhanced = r->enhanced;
        failed->diagnostic = r->diagnostic;
        failed->remote = w->in->remote;
        list[n++] = failed;
    }
    bool last = w->msg.groups_left <= 1 && w->msg.groups_unreported == 0;
    return n > 0 && last ? shard_make_dsn(s, &w->msg, list, n, false) : NULL;
}

/* For whoever follows the message by hand: looked at only once it has left the queue, so after the commit. */
static void note_end(struct shard *s, const struct work *w, bool expired)
{
    const struct cmd_rcpt_result *shown = &w->out[0];
    for (size_t i = 0; i < w->in->n_rcpts; i++)
        if (w->out[i].outcome == MAIL_OUTCOME_PERM && shown->outcome != MAIL_OUTCOME_PERM)
            shown = &w->out[i];
    enum recent_how how = expired ? RECENT_EXPIRED : w->n_failed > 0 ? RECENT_BOUNCED : RECENT_DELIVERED;
    /* Deliverers spare us the text of a success. */
    struct pr_slice text = shown->diagnostic.len > 0 ? shown->diagnostic : shown->enhanced;
    recent_add(s->o.recent, s->o.id, w->in->ref.msg_id, how, shown->code, text, w->in->remote);
}

static void on_result(struct shard *s, const struct peer *from, const struct wire_result *in)
{
    struct work w = {.in = in};
    struct sched_ref ref = {in->ref.msg_id, in->ref.group, in->ref.attempt_id};
    struct sched_decision decision;
    if (!read_group(s, &w)) {
        acknowledge(s, from, &ref);
        return;
    }
    if (!take_outcomes(s, &w)) {
        pr_metric_inc1(s->o.metrics, SM_BUS_DROPPED, SM_DROP_DECODE);
        return;
    }
    struct sched_result r = {.ref = ref,
                             .lane = from->lane_id,
                             .pending_left = w.n_pending > 0,
                             .aborted = w.n_pending > 0 && w.n_pending == w.n_aborted,
                             .site_failure = in->scope == MAIL_SCOPE_SITE && w.n_pending > 0,
                             .expiry = {w.msg.expiry_ms}};
    int rc = sched_result(s->sched, pr_clock_now(), &r, &decision);
    if (rc == PR_ECLOSED)
        acknowledge(s, from, &ref); /* a job that died with its lane: ready again, nothing to commit */
    if (rc != 0)
        return;
    if (decision.expire)
        expire_pending(s, &w);
    if (w.n_pending == 0 && in->n_rcpts > 0)
        note_end(s, &w, decision.expire && w.n_failed > 0);
    struct waiter waiter = {.kind = WAIT_RESULT,
                            .peer = *from,
                            .ref = ref,
                            .failed = w.n_failed > 0,
                            .expired = decision.expire && w.n_failed > 0};
    struct cmd c = {.type = CMD_RESULT,
                    .result = {.ref = {ref.msg_id, (uint16_t)ref.group, ref.attempt_id},
                               .rcpts = w.out,
                               .n_rcpts = (uint32_t)in->n_rcpts,
                               .remote = pr_slice_head(in->remote, CMD_NAME_MAX),
                               .next_due_ms = w.n_pending > 0 ? decision.next_due_ms : 0,
                               .bounce = bounce_for(s, &w)}};
    waiter.bounce = c.result.bounce != NULL;
    waiter.msg_id = w.n_pending > 0 && pr_clock_now().wall.ms >= w.msg.check_ms ? ref.msg_id : 0;
    if (shard_propose(s, &c, &waiter) != 0)
        shard_result_failed(s, &waiter);
}

void shard_on_results(struct shard *s, const struct peer *from, const struct wire_results *m)
{
    if (!s->leading)
        return; /* they are repeated until somebody leads */
    for (size_t i = 0; i < m->n; i++)
        on_result(s, from, &m->items[i]);
}

void shard_result_committed(struct shard *s, const struct waiter *w)
{
    sched_result_done(s->sched, pr_clock_now(), &w->ref, true);
    if (w->msg_id != 0)
        shard_check_now(s, w->msg_id);
    if (w->failed && !w->bounce)
        shard_report_later(s, w->ref.msg_id);
    acknowledge(s, &w->peer, &w->ref);
}

void shard_result_failed(struct shard *s, const struct waiter *w)
{
    if (s->leading)
        sched_result_done(s->sched, pr_clock_now(), &w->ref, false);
}

void shard_on_return(struct shard *s, const struct peer *from, const struct wire_return *m)
{
    static const enum sched_return reasons[WIRE_RETURN_NR] = {
        [WIRE_RETURN_NO_SLOT] = SCHED_RETURN_NO_SLOT,
        [WIRE_RETURN_DRAINING] = SCHED_RETURN_DRAINING,
        [WIRE_RETURN_STALE_TERM] = SCHED_RETURN_STALE_TERM,
    };
    struct sched_ref *refs = pr_arena_alloc(&s->turn, m->n * sizeof *refs);
    if (!s->leading)
        return;
    for (size_t i = 0; i < m->n; i++)
        refs[i] = (struct sched_ref){m->items[i].msg_id, m->items[i].group, m->items[i].attempt_id};
    pr_metric_add(s->o.metrics, SM_DISPATCHES, SM_DISPATCH_RETURNED, 0, 0, (int64_t)m->n);
    sched_returned(s->sched, pr_clock_now(), from->lane_id, refs, m->n, reasons[m->reason]);
}

void shard_on_credit(struct shard *s, const struct peer *from, const struct wire_credit *m)
{
    if (!s->leading || m->term != s->term)
        return;
    for (size_t i = 0; i < m->n; i++)
        sched_credit(s->sched, pr_clock_now(), from->lane_id, m->items[i].destination, m->items[i].pool,
                     m->items[i].jobs_allowed);
}

void shard_on_inventory(struct shard *s, const struct peer *from, const struct wire_inventory *m)
{
    struct sched_inventory_item *items = pr_arena_alloc(&s->turn, m->n * sizeof *items);
    if (!s->leading || m->term != s->term)
        return;
    for (size_t i = 0; i < m->n; i++)
        items[i] = (struct sched_inventory_item){
            .ref = {m->items[i].ref.msg_id, m->items[i].ref.group, m->items[i].ref.attempt_id},
            .done = m->items[i].phase == WIRE_PHASE_DONE};
    sched_inventory(s->sched, pr_clock_now(), from->lane_id, items, m->n, m->last);
}
