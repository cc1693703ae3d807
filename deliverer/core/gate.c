/* The gate's client: what the lane wants and uses, and what it was lent.
 *
 * The lease is the lane's: any answer renews all it holds. Its end counts from the time the request was sent, so only the
 * rate of clocks matters. A request goes out soon when something changed that the gate should know (more wants, none any
 * more, a shrink that took effect, a failure), and every second with all that changed, which renews the lease. The first
 * of an epoch is the whole table, and so is one after requests without an answer.
 * Feedback (ok, failures) is in one request at a time and is taken off when that request is answered, so nothing is
 * counted twice. */
#include "common/base/assert.h"
#include "deliverer/core/lane_internal.h"

uint32_t gate_wants(const struct dlv_lane *l, const struct dlv_dest *d)
{
    uint64_t need = (uint64_t)d->n_ready + d->n_running;
    const struct pr_list *it;
    if (l->drained)
        return 0;
    for (it = d->accounts.next; it != &d->accounts; it = it->next) {
        const struct dlv_account *a = pr_list_entry(it, const struct dlv_account, of_dest);
        if (a->shard->led)
            need += a->backlog;
    }
    /* An idle connection is worth its slot until it is closed. */
    need = PR_MAX(need, (uint64_t)dest_staying(d));
    return (uint32_t)PR_MIN(need, (uint64_t)l->o.connections_max);
}

static void note(struct dlv_lane *l, struct dlv_dest *d, bool soon)
{
    if (!pr_list_linked(&d->news))
        pr_list_push_back(&l->gate_news, &d->news);
    l->gate_soon = l->gate_soon || soon;
}

void gate_settle(struct dlv_lane *l, struct dlv_dest *d, pr_mono now)
{
    uint32_t wants = gate_wants(l, d);
    if (dest_open(d) <= d->slots)
        d->acked_seq = d->seq;
    bool more = wants > d->told_wants && (d->told_wants <= d->slots || wants / 2 >= d->told_wants);
    bool none = wants == 0 && d->told_wants > 0;
    bool shrunk = d->acked_seq != d->told_ack && d->told_open > d->slots;
    bool feedback = d->told_seq == 0 && (d->ok > 0 || d->failures > 0);
    if (more || none || shrunk || (feedback && d->failures > 0))
        note(l, d, true);
    else if (wants != d->told_wants || dest_open(d) != d->told_open || d->acked_seq != d->told_ack || feedback)
        note(l, d, false);
    /* Success is what more slots are granted for: not held back for long where they are wanted. */
    if (feedback && wants > d->slots)
        l->gate_period.ms = PR_MIN(l->gate_period.ms, pr_mono_add(now, GATE_FEEDBACK_MS).ms);
}

pr_mono gate_next(const struct dlv_lane *l)
{
    if (!l->gate_heard || (l->n_dests == 0 && !l->gate_full))
        return PR_MONO_NEVER;
    uint64_t soon = l->gate_soon || l->gate_full ? l->gate_sent.ms + GATE_GAP_MS : UINT64_MAX;
    return (pr_mono){PR_MIN(soon, l->gate_period.ms)};
}

bool dlv_lane_gate_due(const struct dlv_lane *l, pr_mono now)
{
    return now.ms >= gate_next(l).ms;
}

static void fill(const struct dlv_lane *l, struct dlv_dest *d, struct dlv_want *w, pr_mono now)
{
    d->told_wants = gate_wants(l, d);
    d->told_open = dest_open(d);
    d->told_ack = d->acked_seq;
    pr_list_remove(&d->news);
    *w = (struct dlv_want){
        .destination = dlv_dest_name(d),
        .pool = dlv_dest_pool(d),
        .open = d->told_open,
        .wants = d->told_wants,
        .acked_seq = d->acked_seq,
    };
    bool again = d->told_seq != 0 && pr_mono_since(now, d->told_at) >= GATE_REPORT_MS;
    if ((d->told_seq == 0 || again) && (d->ok > 0 || d->failures > 0)) {
        d->told_seq = l->t_seq;
        d->told_at = now;
        w->ok = d->told_ok = d->ok;
        w->site_failures = d->told_failures = d->failures;
        if (d->failures > 0)
            w->last_error = pr_buf_slice(&d->last_error);
    }
}

/* Nothing to say and nothing held. */
static bool blank(const struct dlv_lane *l, const struct dlv_dest *d)
{
    return gate_wants(l, d) == 0 && dest_open(d) == 0 && d->slots == 0 && d->ok == 0 && d->failures == 0;
}

static size_t fill_table(struct dlv_lane *l, struct dlv_want *items, size_t max, pr_mono now)
{
    size_t n = 0;
    struct pr_list *it, *tmp;
    pr_list_foreach(it, tmp, &l->all)
    {
        struct dlv_dest *d = pr_list_entry(it, struct dlv_dest, all);
        if (blank(l, d))
            continue;
        if (n < max)
            fill(l, d, &items[n++], now);
        else
            note(l, d, true); /* the rest follows at once */
    }
    return n;
}

static size_t fill_news(struct dlv_lane *l, struct dlv_want *items, size_t max, pr_mono now)
{
    size_t n = 0;
    struct pr_list *node;
    while (n < max && (node = pr_list_first(&l->gate_news)) != NULL)
        fill(l, pr_list_entry(node, struct dlv_dest, news), &items[n++], now);
    return n;
}

size_t dlv_lane_gate_request(struct dlv_lane *l, struct dlv_want *items, size_t max, uint32_t *ret_epoch,
                             uint64_t *ret_t_seq, bool *ret_full, pr_mono now)
{
    bool unanswered = l->gate_answered < l->t_seq && pr_mono_since(now, l->gate_waiting) >= GATE_REPORT_MS;
    *ret_full = l->gate_full || unanswered;
    if (l->gate_answered == l->t_seq || unanswered)
        l->gate_waiting = now;
    l->t_seq++;
    l->gate_soon = l->gate_full = false;
    size_t n = *ret_full ? fill_table(l, items, max, now) : fill_news(l, items, max, now);
    if (!pr_list_empty(&l->gate_news) && n == max)
        l->gate_soon = true;
    l->gate_period = pr_mono_add(now, GATE_PERIOD_MS);
    l->gate_sent = now;
    l->gate_times[l->t_seq % GATE_SENT_MAX].t_seq = l->t_seq;
    l->gate_times[l->t_seq % GATE_SENT_MAX].at = now;
    *ret_epoch = l->epoch;
    *ret_t_seq = l->t_seq;
    return n;
}

void dlv_lane_gate_epoch(struct dlv_lane *l, uint32_t epoch, pr_mono now)
{
    l->gate_heard = true;
    if (epoch <= l->epoch)
        return;
    l->epoch = epoch;
    l->gate_full = true;
    l->gate_period = now;
    struct pr_list *it, *tmp;
    pr_list_foreach(it, tmp, &l->all)
    {
        /* A new gate knows only of what is open. */
        struct dlv_dest *d = pr_list_entry(it, struct dlv_dest, all);
        d->slots = PR_MIN(d->slots, dest_open(d));
        d->told_seq = 0;
        dest_touch(l, d);
    }
}

void dlv_lane_gate_again(struct dlv_lane *l)
{
    l->gate_full = true;
}

static void feedback_arrived(struct dlv_dest *d, uint64_t t_seq)
{
    if (d->told_seq == 0 || t_seq < d->told_seq)
        return;
    d->ok -= d->told_ok;
    d->failures -= d->told_failures;
    d->told_ok = d->told_failures = 0;
    d->told_seq = 0;
}

static void apply(struct dlv_lane *l, const struct dlv_grant *g, uint64_t t_seq, pr_mono now)
{
    struct dlv_dest *d = dest_find(l, g->destination, g->pool);
    if (d == NULL)
        return;
    feedback_arrived(d, t_seq);
    dest_touch(l, d);
    if (g->seq < d->seq)
        return;
    d->seq = g->seq;
    d->slots = g->slots;
    d->mails_max = g->mails_per_connection;
    d->rcpts_max = g->rcpts_per_mail;
    dlv_gcra_set(&d->rate, g->rate_count, g->rate_per_ms, now);
}

bool dlv_lane_gate_grant(struct dlv_lane *l, uint32_t epoch, uint64_t t_seq, uint32_t ttl_ms,
                         const struct dlv_grant *items, size_t n, pr_mono now)
{
    if (epoch < l->epoch || t_seq == 0 || l->gate_times[t_seq % GATE_SENT_MAX].t_seq != t_seq)
        return false;
    dlv_lane_gate_epoch(l, epoch, now);
    l->gate_answered = PR_MAX(l->gate_answered, t_seq);
    l->lease.ms = PR_MAX(l->lease.ms, pr_mono_add(l->gate_times[t_seq % GATE_SENT_MAX].at, ttl_ms).ms);
    for (size_t i = 0; i < n; i++)
        apply(l, &items[i], t_seq, now);
    return true;
}
