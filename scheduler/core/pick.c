/* What goes next at a destination: class by stride, tenant by deficit round robin, flow by due time.
 *
 *   - Stride: each class has a pass that grows by 1/weight per job; the class with the lowest pass is served. A class that
 *     comes back from idleness starts at the present pass.
 *   - A share of the destination's credit is only for transactional mail, where there is enough of it to share.
 *   - Deficit round robin: the first queue of the ring sends as long as its deficit covers the cost of its next job (by
 *     size); then it gets its quantum and goes to the end.
 *   - The job goes to the first lane with credit for the destination and room; lanes take turns. */
#include "scheduler/core/internal.h"

static const uint64_t STRIDE_ONE = 1 << 20;

bool class_may_go(const struct sched *s, const struct dest *d, enum mail_class class_)
{
    uint64_t capacity = d->avail + d->active, reserve = 0;
    if (class_ != MAIL_CLASS_TRANSACTIONAL && capacity >= s->cfg.reserve_from) {
        reserve = capacity * s->cfg.reserve_percent / 100;
        if (reserve == 0 && s->cfg.reserve_percent > 0)
            reserve = 1;
    }
    return d->avail > reserve;
}

static struct dest_class *pick_class(const struct sched *s, struct dest *d, enum mail_class *ret_class)
{
    struct dest_class *best = NULL;
    for (int i = 0; i < MAIL_CLASS_NR; i++) {
        struct dest_class *c = &d->classes[i];
        if (pr_list_empty(&c->queues) || !class_may_go(s, d, (enum mail_class)i))
            continue;
        if (best == NULL || c->pass < best->pass) {
            best = c;
            *ret_class = (enum mail_class)i;
        }
    }
    return best;
}

static int64_t cost_of(const struct job *j)
{
    uint64_t cost = 1 + j->size_bytes / (64 * 1024);
    return cost > SCHED_COST_MAX ? SCHED_COST_MAX : (int64_t)cost;
}

/* First flow of a queue with a job in its ring. NULL: none now; *ret_later when it was not for lack of rows. */
static struct flow *queue_front(struct sched *s, struct queue *q, bool *ret_later)
{
    struct flow *f;
    while ((f = q->root) != NULL && f->ring_n == 0) {
        bool complete = flow_load(s, f);
        flow_update(s, f);
        if (!complete && f->ring_n == 0) {
            *ret_later = true;
            return NULL;
        }
    }
    return f;
}

static struct job *pick_job(struct sched *s, struct dest_class *c, bool *ret_later)
{
    while (!pr_list_empty(&c->queues)) {
        struct queue *q = pr_list_entry(c->queues.next, struct queue, link);
        struct flow *f = queue_front(s, q, ret_later);
        if (*ret_later)
            return NULL;
        if (f == NULL)
            continue; /* it has left the ring */
        struct job *j = pr_list_entry(f->ring.next, struct job, link);
        int64_t cost = cost_of(j);
        bool alone = q->link.next == q->link.prev && q->link.next == &c->queues;
        if (alone || q->deficit >= cost) {
            q->deficit = alone ? 0 : q->deficit - cost;
            return j;
        }
        q->deficit += (int64_t)q->weight * SCHED_TENANT_QUANTUM;
        pr_list_remove(&q->link);
        pr_list_push_back(&c->queues, &q->link);
    }
    return NULL;
}

struct credit *pick_credit(struct dest *d, uint32_t connection)
{
    struct pr_list *it, *tmp;
    pr_list_foreach(it, tmp, &d->credits) {
        struct credit *c = pr_list_entry(it, struct credit, of_dest);
        if ((connection != 0 && c->lane->connection != connection) || c->lane->active >= c->lane->jobs_max)
            continue;
        pr_list_remove(&c->of_dest);
        pr_list_push_back(&d->credits, &c->of_dest);
        return c;
    }
    return NULL;
}

static void issue(struct sched *s, struct job *j, struct credit *c)
{
    struct flow *f = j->flow;
    struct sched_issue out;
    issue_prepare(s, j, c, SCHED_ISSUING);
    flow_drained(s, f);
    flow_update(s, f);
    job_to_issue(s, j, &out);
    s->act->issue(s->data, &out);
}

void dispatch(struct sched *s, struct dest *d)
{
    while (s->dispatching && d->avail > 0 && !dest_braked(s, d)) {
        enum mail_class class_ = MAIL_CLASS_NORMAL;
        struct dest_class *c = pick_class(s, d, &class_);
        if (c == NULL)
            return;
        struct credit *credit = s->active < s->cfg.inflight_max ? pick_credit(d, 0) : NULL;
        if (credit == NULL) {
            dest_wait(d, &s->waiting);
            return;
        }
        bool later = false;
        struct job *j = pick_job(s, c, &later);
        if (later) {
            dest_wait(d, s->jobs.count >= s->jobs.max ? &s->waiting : &s->again);
            return;
        }
        if (j == NULL)
            continue;
        d->vtime = c->pass;
        c->pass += STRIDE_ONE / s->cfg.class_weight[class_];
        issue(s, j, credit);
    }
}
