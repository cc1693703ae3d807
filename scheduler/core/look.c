/* Looking in: counts for metrics, listings for the operator, the invariants for tests. */
#include "scheduler/core/internal.h"

static size_t length(const struct pr_list *l)
{
    size_t n = 0;
    for (const struct pr_list *it = l->next; it != l; it = it->next)
        n++;
    return n;
}

void sched_stats(const struct sched *s, struct sched_stats *ret)
{
    *ret = (struct sched_stats){
        .rows = s->rows,
        .flows = pr_map_count(&s->flows),
        .destinations = s->live_dests,
        .lanes = pr_map_count(&s->lanes_by_id),
        .ready = s->count[SCHED_READY],
        .issuing = s->count[SCHED_ISSUING] + s->count[SCHED_PROPOSED],
        .inflight = s->count[SCHED_INFLIGHT],
        .held = s->count[SCHED_HELD],
        .committing = s->count[SCHED_COMMITTING],
        .quarantined = s->count[SCHED_QUARANTINED],
        .cold = s->n_cold,
        .uncounted = length(&s->uncounted),
        .issued = s->n_issued,
        .returned = s->n_returned,
        .released = s->n_released,
        .evicted = s->n_evicted,
        .unknown_results = s->n_unknown,
    };
}

static void describe(const struct dest *d, struct sched_dest_info *ret)
{
    struct pr_list *it, *tmp;
    *ret = (struct sched_dest_info){
        .ref = d->ref,
        .rows = d->rows,
        .backlog = d->backlog,
        .inflight = d->active,
        .held = d->held,
        .next_due_ms = UINT64_MAX,
        .credit = d->avail,
        .site_failures = d->site_failures,
        .braked = d->site_failures >= SCHED_BRAKE_AFTER,
    };
    pr_list_foreach(it, tmp, &d->flows) {
        const struct flow *f = pr_list_entry(it, struct flow, of_dest);
        uint64_t due = f->head_due;
        if (f->in_heap && f->heap_due < due)
            due = f->heap_due;
        if (due < ret->next_due_ms)
            ret->next_due_ms = due;
    }
}

size_t sched_dest_list(const struct sched *s, uint32_t *cursor, struct sched_dest_info *out, size_t cap)
{
    size_t n = 0, i = *cursor;
    for (; i < s->n_dests && n < cap; i++)
        if (s->dests[i] != NULL)
            describe(s->dests[i], &out[n++]);
    *cursor = i < s->n_dests ? (uint32_t)i : 0;
    return n;
}

int sched_dest_get(const struct sched *s, struct pr_slice destination, struct pr_slice pool,
                   struct sched_dest_info *ret)
{
    const struct dest *d = dest_find(s, destination, pool);
    if (d == NULL)
        return PR_ENOTFOUND;
    describe(d, ret);
    return 0;
}

enum sched_where sched_where(const struct sched *s, uint64_t msg_id, uint32_t group)
{
    const struct job *j = job_find(s, msg_id, group);
    return j == NULL ? SCHED_ON_DISK : (enum sched_where)j->state;
}

/* ---- invariants ---- */

struct sums {
    size_t count[SCHED_WHERE_NR];
    size_t jobs;
};

static size_t check_ring(const struct flow *f, struct sums *sums)
{
    struct pr_list *it, *tmp;
    const struct job *before = NULL;
    size_t n = 0;
    pr_list_foreach(it, tmp, (struct pr_list *)(uintptr_t)&f->ring) {
        const struct job *j = pr_list_entry(it, struct job, link);
        pr_assert(j->state == SCHED_READY && j->flow == f && j->lane == NULL && j->dest == NULL && j->credit == NULL);
        pr_assert(before == NULL || key_cmp(&before->key, &j->key) < 0);
        before = j;
        n++;
    }
    pr_assert(n == f->ring_n);
    sums->count[SCHED_READY] += n;
    sums->jobs += n;
    return n;
}

static void check_flow(const struct sched *s, const struct flow *f, struct sums *sums)
{
    check_ring(f, sums);
    bool unread = !f->cold && f->head_due <= s->now.wall.ms;
    bool work = f->ring_n > 0 || unread || f->flush != NULL;
    /* Time may have passed since the flow was looked at: then its timer is armed and overdue. */
    bool overdue = unread && pr_timer_armed(&f->timer);
    pr_assert(f->in_heap == work || overdue);
    pr_assert(f->cold || f->head_due == UINT64_MAX || pr_timer_armed(&f->timer) || f->in_heap);
    pr_assert(pr_list_linked(&f->loaded) == (f->ring_n > 0));
    pr_assert(f->queue->dest->n_flows > 0 && pr_list_linked(&f->of_dest));
}

static size_t check_heap(const struct queue *q, const struct flow *f, uint64_t due)
{
    size_t n = 0;
    for (; f != NULL; f = f->next) {
        pr_assert(f->queue == q && f->in_heap && f->heap_due >= due);
        n += 1 + check_heap(q, f->child, f->heap_due);
    }
    return n;
}

static void check_dest(const struct dest *d)
{
    struct pr_list *it, *tmp;
    uint64_t avail = 0, backlog = 0;
    size_t ready = 0, flows = 0, in_heap = 0, heaps = 0;
    uint64_t rows = 0;
    pr_list_foreach(it, tmp, (struct pr_list *)(uintptr_t)&d->credits) {
        const struct credit *c = pr_list_entry(it, struct credit, of_dest);
        pr_assert(c->counted > 0 && c->dest == d && c->lane->connection != 0);
        avail += c->counted;
    }
    pr_list_foreach(it, tmp, (struct pr_list *)(uintptr_t)&d->flows) {
        const struct flow *f = pr_list_entry(it, struct flow, of_dest);
        pr_assert(f->queue->dest == d);
        ready += f->ring_n;
        backlog += f->backlog;
        rows += f->rows;
        in_heap += f->in_heap;
        flows++;
    }
    for (int c = 0; c < MAIL_CLASS_NR; c++) {
        pr_list_foreach(it, tmp, (struct pr_list *)(uintptr_t)&d->classes[c].queues) {
            const struct queue *q = pr_list_entry(it, struct queue, link);
            pr_assert(q->dest == d && q->class_ == c && q->root != NULL && q->root->next == NULL);
            heaps += check_heap(q, q->root, 0);
        }
    }
    pr_assert(avail == d->avail && backlog == d->backlog && ready == d->ready && rows == d->rows);
    pr_assert(flows == d->n_flows && in_heap == heaps);
    pr_assert(pr_list_linked(&d->idle) == (ready > 0 && avail == 0));
}

static void check_lane(const struct sched *s, const struct lane *l, struct sums *sums)
{
    struct pr_list *it, *tmp;
    size_t active = 0;
    pr_list_foreach(it, tmp, (struct pr_list *)(uintptr_t)&l->jobs) {
        const struct job *j = pr_list_entry(it, struct job, link);
        pr_assert(j->lane == l && (job_active((enum sched_where)j->state) || j->state == SCHED_COMMITTING));
        pr_assert(j->state != SCHED_INFLIGHT || (l->connection != 0 && j->connection == l->connection));
        pr_assert(j->credit == NULL || (j->credit->lane == l && j->credit->dest == j->dest));
        active += job_active((enum sched_where)j->state);
        sums->count[j->state]++;
        sums->jobs++;
    }
    pr_list_foreach(it, tmp, (struct pr_list *)(uintptr_t)&l->held) {
        const struct job *j = pr_list_entry(it, struct job, link);
        pr_assert(j->lane == l && j->state == SCHED_HELD && j->dest != NULL);
        sums->count[SCHED_HELD]++;
        sums->jobs++;
    }
    pr_assert(active == l->active);
    pr_assert(l->connection == 0 || pr_map_get(&s->lanes_by_id, l->connection) == l);
}

static void check_loose(const struct pr_list *list, enum sched_where state, struct sums *sums)
{
    struct pr_list *it, *tmp;
    pr_list_foreach(it, tmp, (struct pr_list *)(uintptr_t)list) {
        const struct job *j = pr_list_entry(it, struct job, link);
        pr_assert(j->state == state && j->lane == NULL);
        sums->count[state]++;
        sums->jobs++;
    }
}

void sched_check_invariants(const struct sched *s)
{
    struct sums sums = {{0}, 0};
    size_t it = 0, flow_jobs = 0;
    uint64_t rows = 0;
    const struct flow *f;
    while ((f = pr_map_next(&s->flows, &it, NULL)) != NULL) {
        check_flow(s, f, &sums);
        flow_jobs += f->jobs;
        rows += f->rows;
    }
    for (size_t i = 0; i < s->n_dests; i++)
        if (s->dests[i] != NULL)
            check_dest(s->dests[i]);
    struct pr_list *n, *tmp;
    pr_list_foreach(n, tmp, (struct pr_list *)(uintptr_t)&s->lanes)
        check_lane(s, pr_list_entry(n, struct lane, link), &sums);
    check_loose(&s->refused, SCHED_HELD, &sums);
    check_loose(&s->quarantined, SCHED_QUARANTINED, &sums);
    pr_assert(sums.jobs == s->jobs.count && flow_jobs == s->jobs.count && rows == s->rows);
    for (int state = 0; state < SCHED_WHERE_NR; state++)
        pr_assert(sums.count[state] == s->count[state]);
    pr_assert(s->active == s->count[SCHED_PROPOSED] + s->count[SCHED_ISSUING] + s->count[SCHED_INFLIGHT]);
}
