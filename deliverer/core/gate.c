/* The gate's client: what the lane wants and uses, and what it was lent.
 *
 * A grant's end counts from the time the request was sent, so only the rate of clocks matters. A request goes out when
 * something changed that the gate should know (wants grew, a shrink took effect, a failure), and every second with the
 * whole table, which renews it. Feedback (ok, failures) is in one request at a time and is taken off when that request is
 * answered, so nothing is counted twice. */
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

void gate_settle(struct dlv_lane *l, struct dlv_dest *d)
{
    uint32_t wants = gate_wants(l, d);
    if (dest_open(d) <= d->slots)
        d->acked_seq = d->seq;
    /* More is asked for at once; less can wait for the next round, but none at all frees slots for others. */
    if (wants > d->told_wants)
        d->urgent = d->urgent || d->told_wants <= d->slots || wants / 2 >= d->told_wants;
    else if (wants == 0 && d->told_wants > 0)
        d->urgent = true;
    if (d->acked_seq != d->told_ack && d->told_open > d->slots)
        d->urgent = true; /* a shrink took effect */
    if (d->urgent)
        l->gate_urgent = true;
}

bool dlv_lane_gate_due(const struct dlv_lane *l, pr_mono now)
{
    bool more = l->gate_urgent || l->gate_cursor != NULL;
    return l->n_dests > 0 &&
           (now.ms >= l->gate_full_at.ms || (more && pr_mono_since(now, l->gate_sent) >= GATE_GAP_MS));
}

static void fill(const struct dlv_lane *l, struct dlv_dest *d, struct dlv_want *w, pr_mono now)
{
    d->told_wants = gate_wants(l, d);
    d->told_open = dest_open(d);
    d->told_ack = d->acked_seq;
    d->told = true;
    d->urgent = false;
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
    return !d->told && gate_wants(l, d) == 0 && dest_open(d) == 0 && d->slots == 0 && d->ok == 0 && d->failures == 0;
}

static size_t fill_whole(struct dlv_lane *l, struct dlv_want *items, size_t max, pr_mono now)
{
    size_t n = 0;
    struct pr_list *it = l->gate_cursor != NULL ? l->gate_cursor : l->all.next;
    for (; it != &l->all && n < max; it = it->next) {
        struct dlv_dest *d = pr_list_entry(it, struct dlv_dest, all);
        if (!blank(l, d))
            fill(l, d, &items[n++], now);
    }
    l->gate_cursor = it == &l->all ? NULL : it;
    return n;
}

static size_t fill_urgent(struct dlv_lane *l, struct dlv_want *items, size_t max, pr_mono now)
{
    size_t n = 0;
    struct pr_list *it, *tmp;
    l->gate_urgent = false;
    pr_list_foreach(it, tmp, &l->all)
    {
        struct dlv_dest *d = pr_list_entry(it, struct dlv_dest, all);
        if (!d->urgent)
            continue;
        if (n == max) {
            l->gate_urgent = true;
            break;
        }
        fill(l, d, &items[n++], now);
    }
    return n;
}

size_t dlv_lane_gate_request(struct dlv_lane *l, struct dlv_want *items, size_t max, uint32_t *ret_epoch,
                             uint64_t *ret_t_seq, bool *ret_full, pr_mono now)
{
    bool period = l->gate_cursor != NULL || now.ms >= l->gate_full_at.ms;
    l->t_seq++;
    *ret_full = period && l->gate_cursor == NULL && l->n_dests <= max;
    size_t n = period ? fill_whole(l, items, max, now) : fill_urgent(l, items, max, now);
    if (period && l->gate_cursor == NULL) {
        l->gate_full_at = pr_mono_add(now, GATE_PERIOD_MS);
        l->gate_urgent = false;
    }
    l->gate_sent = now;
    l->gate_times[l->t_seq % GATE_SENT_MAX].t_seq = l->t_seq;
    l->gate_times[l->t_seq % GATE_SENT_MAX].at = now;
    *ret_epoch = l->epoch;
    *ret_t_seq = l->t_seq;
    return n;
}

void dlv_lane_gate_epoch(struct dlv_lane *l, uint32_t epoch, pr_mono now)
{
    if (epoch <= l->epoch)
        return;
    l->epoch = epoch;
    l->gate_full_at = now;
    l->gate_urgent = true;
    l->gate_cursor = NULL;
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

static void apply(struct dlv_lane *l, const struct dlv_grant *g, uint64_t t_seq, pr_mono until, pr_mono now)
{
    struct dlv_dest *d = dest_find(l, g->destination, g->pool);
    if (d == NULL)
        return;
    feedback_arrived(d, t_seq);
    if (g->seq < d->seq)
        return;
    d->seq = g->seq;
    d->slots = g->slots;
    d->deadline.ms = PR_MAX(d->deadline.ms, until.ms);
    d->mails_max = g->mails_per_connection;
    d->rcpts_max = g->rcpts_per_mail;
    dlv_gcra_set(&d->rate, g->rate_count, g->rate_per_ms, now);
    dest_touch(l, d);
}

bool dlv_lane_gate_grant(struct dlv_lane *l, uint32_t epoch, uint64_t t_seq, uint32_t ttl_ms,
                         const struct dlv_grant *items, size_t n, pr_mono now)
{
    if (epoch < l->epoch || t_seq == 0 || l->gate_times[t_seq % GATE_SENT_MAX].t_seq != t_seq)
        return false;
    if (epoch > l->epoch) {
        /* Another gate: its sequence numbers begin anew. */
        struct pr_list *it, *tmp;
        pr_list_foreach(it, tmp, &l->all) pr_list_entry(it, struct dlv_dest, all)->seq = 0;
        dlv_lane_gate_epoch(l, epoch, now);
    }
    pr_mono until = pr_mono_add(l->gate_times[t_seq % GATE_SENT_MAX].at, ttl_ms);
    for (size_t i = 0; i < n; i++)
        apply(l, &items[i], t_seq, until, now);
    return true;
}
