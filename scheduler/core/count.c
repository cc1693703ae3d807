/* How many rows a flow has on disk. New flows are counted as rows come and go; those found at takeover are counted by a
 * scan in the background, one after the other, a few pages at a time. What comes or goes behind the scan's position is
 * counted as it happens, what comes or goes ahead of it is left to the scan: so the sum is exact at the end. */
#include "scheduler/core/internal.h"

void count_row(struct sched *s, struct flow *f, const struct sched_key *key, int by)
{
    bool under_way = s->uncounted.next == &f->count_link;
    if (!f->counted && (!under_way || key_cmp(key, &s->count_from) >= 0))
        return;
    if (by < 0 && f->rows == 0)
        return; /* a row that nobody told us of */
    uint64_t add = by < 0 ? UINT64_MAX : 1;
    f->rows += add;
    f->queue->dest->rows += add;
    s->rows += add;
}

static void count_page(struct sched *s, struct flow *f)
{
    struct sched_scan scan = {.flow = f->id, .from = s->count_from, .until_due_ms = UINT64_MAX, .limit = SCHED_SCAN_MAX};
    struct sched_scan_end end = {0, UINT64_MAX};
    s->act->scan(s->data, &scan, s->scan_rows, &end);
    f->rows += end.n;
    f->queue->dest->rows += end.n;
    s->rows += end.n;
    if (end.next_due_ms != UINT64_MAX && end.n > 0) {
        s->count_from = key_after(s->scan_rows[end.n - 1].key);
        return;
    }
    f->counted = true;
    pr_list_remove(&f->count_link);
    s->count_from = (struct sched_key){0};
    flow_update(s, f);
}

void count_step(struct sched *s)
{
    struct pr_list *n;
    if (s->now.mono.ms < s->count_at.ms)
        return;
    for (int i = 0; i < SCHED_COUNT_SCANS && (n = pr_list_first(&s->uncounted)) != NULL; i++)
        count_page(s, pr_list_entry(n, struct flow, count_link));
    s->count_at = pr_mono_add(s->now.mono, SCHED_COUNT_MS);
}
