/* Flows: one per (tenant, class, pool, routing domain). A flow keeps a ring of ready jobs, a cursor that says how far its
 * rows have been read, and the earliest due time of what has not been read. Everything else of it is on disk.
 *
 * How a row comes into memory:
 *   1. filed, due, nothing unread before it, ring not full: straight into the ring;
 *   2. else it stays on disk: head_due (and the cursor, if the row lies before it) move back to it;
 *   3. when head_due has come, the flow's timer fires: a few rows are read, so that the backlog is known;
 *   4. when its turn has come at the destination and the ring is empty, a window of rows is read.
 * A window is what the flow sends in two seconds, 16 to 512 rows. Rings of destinations without credit are dropped when
 * the pool is used up (flows_evict): nothing is lost, the rows are on disk. */
#include "scheduler/core/internal.h"

struct flow *flow_find(const struct sched *s, uint32_t id)
{
    return pr_map_get(&s->flows, id);
}

struct flow *flow_new(struct sched *s, const struct sched_flow_spec *spec)
{
    struct flow *f = pr_new(struct flow);
    f->id = spec->flow;
    f->class_ = (uint8_t)spec->class_;
    f->window = (uint16_t)s->cfg.window_min;
    f->cold = spec->cold;
    f->counted = !spec->cold;
    f->head_due = spec->cold ? 0 : UINT64_MAX;
    f->drain_start = s->now.mono;
    pr_list_init(&f->ring);
    pr_list_init(&f->loaded);
    pr_list_init(&f->of_dest);
    pr_timer_init(&f->timer);
    pr_list_init(&f->count_link);
    if (!f->counted)
        pr_list_push_back(&s->uncounted, &f->count_link);
    s->n_cold += spec->cold;
    void *before = pr_map_put(&s->flows, f->id, f);
    pr_assert(before == NULL);
    return f;
}

void flow_free(struct sched *s, struct flow *f)
{
    flush_end(f);
    pr_timerq_cancel(&s->due, &f->timer);
    if (s->uncounted.next == &f->count_link)
        s->count_from = (struct sched_key){0};
    pr_list_remove(&f->count_link);
    s->n_cold -= f->cold;
    s->rows -= f->rows;
    pr_free(f);
}

void flow_attach(struct sched *s, struct flow *f, struct queue *q)
{
    f->queue = q;
    q->n_flows++;
    q->dest->n_flows++;
    q->dest->ready += f->ring_n;
    q->dest->rows += f->rows;
    pr_list_push_back(&q->dest->flows, &f->of_dest);
    flow_update(s, f);
}

static void heap_leave(struct sched *s, struct flow *f)
{
    struct queue *q = f->queue;
    heap_remove(q, f);
    f->in_heap = false;
    q->dest->weight -= s->cfg.class_weight[f->class_];
    if (q->root == NULL) {
        pr_list_remove(&q->link);
        q->deficit = 0; /* an idle tenant saves nothing up */
    }
}

static void heap_enter(struct sched *s, struct flow *f, uint64_t due)
{
    struct queue *q = f->queue;
    struct dest *d = q->dest;
    struct dest_class *c = &d->classes[f->class_];
    if (q->root == NULL) {
        if (pr_list_empty(&c->queues) && c->pass < d->vtime)
            c->pass = d->vtime; /* an idle class saves nothing up either */
        pr_list_push_back(&c->queues, &q->link);
    }
    heap_insert(q, f, due);
    f->in_heap = true;
    d->weight += s->cfg.class_weight[f->class_];
}

void flow_detach(struct sched *s, struct flow *f)
{
    struct queue *q = f->queue;
    struct dest *d = q->dest;
    if (f->in_heap)
        heap_leave(s, f);
    pr_list_remove(&f->loaded);
    pr_list_remove(&f->of_dest);
    d->rows -= f->rows;
    d->backlog -= f->backlog;
    d->ready -= f->ring_n;
    f->backlog = 0;
    f->queue = NULL;
    d->n_flows--;
    q->n_flows--;
    dest_touch(s, d);
    dest_idle(s, d);
    queue_release(s, q);
    dest_release(s, d);
}

static bool unread_due(const struct sched *s, const struct flow *f)
{
    return !f->cold && f->head_due <= s->now.wall.ms;
}

/* What is ready in memory, and a guess at what is due on disk: all that lies there, but not more than a window can be. */
static uint32_t backlog_of(const struct sched *s, const struct flow *f)
{
    uint64_t there = f->more ? SCHED_SCAN_MAX : 1;
    if (!unread_due(s, f) && f->flush == NULL)
        return f->ring_n;
    if (f->counted)
        there = f->rows > f->jobs ? f->rows - f->jobs : 1;
    return f->ring_n + (uint32_t)(there < SCHED_SCAN_MAX ? there : SCHED_SCAN_MAX);
}

static uint64_t work_due(const struct sched *s, const struct flow *f)
{
    if (f->ring_n > 0)
        return pr_list_entry(f->ring.next, struct job, link)->key.due_ms;
    if (unread_due(s, f))
        return f->head_due;
    return f->flush != NULL ? f->flush->cursor.due_ms : UINT64_MAX;
}

static void update_timer(struct sched *s, struct flow *f)
{
    if (f->cold) {
        if (!pr_timer_armed(&f->timer)) /* in its place behind the other cold ones */
            pr_timerq_set(&s->due, &f->timer, 0);
    } else if (f->head_due == UINT64_MAX || unread_due(s, f)) {
        pr_timerq_cancel(&s->due, &f->timer);
    } else if (!pr_timer_armed(&f->timer) || f->timer.due_ms != f->head_due) {
        pr_timerq_set(&s->due, &f->timer, f->head_due);
    }
}

void flow_update(struct sched *s, struct flow *f)
{
    struct dest *d = f->queue->dest;
    if (f->flush != NULL && s->now.mono.ms >= f->flush->until.ms)
        flush_end(f);
    uint64_t due = work_due(s, f);
    bool work = due != UINT64_MAX;
    if (f->in_heap && (!work || due != f->heap_due))
        heap_leave(s, f);
    if (work && !f->in_heap)
        heap_enter(s, f, due);
    update_timer(s, f);
    if (f->ring_n == 0)
        pr_list_remove(&f->loaded);
    else if (!pr_list_linked(&f->loaded))
        pr_list_push_back(&d->loaded, &f->loaded);
    uint32_t backlog = backlog_of(s, f);
    if (backlog != f->backlog) {
        d->backlog = d->backlog - f->backlog + backlog;
        f->backlog = backlog;
        dest_touch(s, d);
    }
    dest_idle(s, d);
}

void flow_unread(struct flow *f, const struct sched_key *key)
{
    if (key_cmp(key, &f->cursor) < 0)
        f->cursor = *key;
    if (key->due_ms < f->head_due)
        f->head_due = key->due_ms;
}

bool flow_admits(const struct sched *s, const struct flow *f, const struct sched_key *key)
{
    /* Behind the cursor nothing is unread; beyond it, head_due tells. */
    return !f->cold && key->due_ms <= s->now.wall.ms && f->ring_n < f->window &&
           (key->due_ms < f->head_due || key_cmp(key, &f->cursor) < 0);
}

void flow_passed(struct flow *f, const struct sched_key *key)
{
    if (key->due_ms < f->head_due && key_cmp(key, &f->cursor) >= 0)
        f->cursor = key_after(*key);
}

static struct job *job_new_by_eviction(struct sched *s, struct flow *f, const struct sched_row *row)
{
    struct job *j;
    while ((j = job_new(s, f, row, false)) == NULL)
        if (!flows_evict(s))
            return NULL;
    return j;
}

/* One scan of rows that are due. False: the pool is used up. */
static bool read_due(struct sched *s, struct flow *f, size_t limit, bool evict)
{
    struct sched_scan scan = {.flow = f->id, .from = f->cursor, .until_due_ms = s->now.wall.ms, .limit = limit};
    struct sched_scan_end end = {0, UINT64_MAX};
    s->act->scan(s->data, &scan, s->scan_rows, &end);
    pr_assert(end.n <= limit);
    s->n_cold -= f->cold;
    f->cold = false;
    for (size_t i = 0; i < end.n; i++) {
        const struct sched_row *row = &s->scan_rows[i];
        pr_assert(row->flow == f->id && key_cmp(&row->key, &f->cursor) >= 0 && row->key.due_ms <= scan.until_due_ms);
        if (job_find(s, row->key.msg_id, row->key.group) == NULL) {
            struct job *j = evict ? job_new_by_eviction(s, f, row) : job_new(s, f, row, false);
            if (j == NULL) {
                f->cursor = row->key;
                f->head_due = row->key.due_ms;
                return false;
            }
            job_move(s, j, SCHED_READY, NULL);
        }
        f->cursor = key_after(row->key);
    }
    f->head_due = end.next_due_ms;
    f->more = end.n == limit && end.next_due_ms <= scan.until_due_ms;
    return true;
}

static bool read_flush(struct sched *s, struct flow *f, size_t limit)
{
    struct sched_scan scan = {.flow = f->id, .from = f->flush->cursor, .until_due_ms = UINT64_MAX, .limit = limit};
    struct sched_scan_end end = {0, UINT64_MAX};
    s->act->scan(s->data, &scan, s->scan_rows, &end);
    pr_assert(end.n <= limit);
    for (size_t i = 0; i < end.n; i++) {
        const struct sched_row *row = &s->scan_rows[i];
        if (flush_includes(s, f, row) && job_find(s, row->key.msg_id, row->key.group) == NULL) {
            struct job *j = job_new_by_eviction(s, f, row);
            if (j == NULL) {
                f->flush->cursor = row->key;
                return false;
            }
            j->forced = row->key.due_ms > s->now.wall.ms;
            job_move(s, j, SCHED_READY, NULL);
        }
        f->flush->cursor = key_after(row->key);
    }
    if (end.next_due_ms == UINT64_MAX)
        flush_end(f);
    return true;
}

bool flow_load(struct sched *s, struct flow *f)
{
    for (int scans = 0; f->ring_n == 0; scans++) {
        if (scans == SCHED_LOAD_SCANS)
            return false;
        if (unread_due(s, f)) {
            if (!read_due(s, f, f->window, true))
                return false;
        } else if (f->flush != NULL) {
            if (!read_flush(s, f, f->window))
                return false;
        } else {
            break;
        }
    }
    return true;
}

void flow_read_cold(struct sched *s, struct flow *f)
{
    (void)read_due(s, f, s->cfg.window_min, false); /* no room: it waits on disk */
}

void flow_fire(struct sched *s, struct flow *f)
{
    if (f->cold || (unread_due(s, f) && s->jobs.count < s->jobs.max / 2))
        flow_read_cold(s, f);
    flow_update(s, f);
    dispatch(s, f->queue->dest);
}

void flow_drained(struct sched *s, struct flow *f)
{
    uint64_t span = pr_mono_since(s->now.mono, f->drain_start);
    f->drained++;
    if (span < 1000)
        return;
    uint64_t window = 2ULL * f->drained * 1000 / span;
    f->window = (uint16_t)(window < s->cfg.window_min ? s->cfg.window_min
                           : window > s->cfg.window_max ? s->cfg.window_max : window);
    f->drained = 0;
    f->drain_start = s->now.mono;
}

void job_forget(struct sched *s, struct job *j)
{
    struct flow *f = j->flow;
    flow_unread(f, &j->key);
    if (f->flush != NULL && key_cmp(&j->key, &f->flush->cursor) < 0)
        f->flush->cursor = j->key;
    job_free(s, j);
}

bool flows_evict(struct sched *s)
{
    struct pr_list *n = pr_list_first(&s->idle);
    if (n == NULL)
        return false;
    struct dest *d = pr_list_entry(n, struct dest, idle);
    struct pr_list *it;
    while ((it = pr_list_first(&d->loaded)) != NULL) {
        struct flow *f = pr_list_entry(it, struct flow, loaded);
        while ((it = pr_list_first(&f->ring)) != NULL) {
            job_forget(s, pr_list_entry(it, struct job, link));
            s->n_evicted++;
        }
        flow_update(s, f);
    }
    return true;
}
