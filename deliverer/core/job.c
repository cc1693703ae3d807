/* The phases of a job. READY jobs wait in their destination's queue; STARTED and DOT ones are on a connection; DONE ones
 * are results of their shard. */
#include "common/base/assert.h"
#include "deliverer/core/lane_internal.h"

static void leave_ready(struct dlv_lane *l, struct dlv_job *job)
{
    pr_list_remove(&job->link);
    job->dest->n_ready--;
    l->n_ready--;
}

static void leave_running(struct dlv_lane *l, struct dlv_job *job)
{
    job->dest->n_running--;
    l->n_running--;
    if (job->conn != NULL)
        job->conn->jobs--;
    job->conn = NULL;
}

/* The account has it no more. */
static void leave_account(struct dlv_lane *l, struct dlv_job *job)
{
    job->account->in_hand--;
    dest_touch(l, job->dest);
    job->account = NULL;
    job->dest = NULL;
}

enum dlv_admit dlv_lane_add(struct dlv_lane *l, struct dlv_job *job, struct pr_slice destination, struct pr_slice pool,
                            pr_mono now)
{
    struct dlv_shard *s = shard_get(l, job->shard);
    if (s == NULL || job->term < s->term)
        return DLV_ADMIT_STALE;
    if (dlv_lane_find(l, job->shard, &job->ref) != NULL)
        return DLV_ADMIT_DUPLICATE;
    /* A leader we have not heard of yet: its HELLO_OK comes, the fence holds already. */
    if (job->term > s->term)
        (void)dlv_lane_shard(l, job->shard, job->term, false, now);
    s->contact = now;
    s->silent = false;
    struct dlv_dest *d = dest_get(l, destination, pool);
    struct dlv_account *a = account_get(d, s);
    a->received++;
    a->asked = now;
    a->served += 1000 / PR_MAX(a->weight, 1u);
    dest_touch(l, d);
    if (l->drained || l->n_jobs >= l->o.jobs_max)
        return DLV_ADMIT_REFUSED;
    job->phase = DLV_PHASE_READY;
    job->sessions = 0;
    job->dest = d;
    job->account = a;
    job->conn = NULL;
    job->received = now;
    pr_list_init(&job->link);
    pr_list_init(&job->of_shard);
    pr_list_push_back(&d->ready, &job->link);
    pr_list_push_back(&s->jobs, &job->of_shard);
    index_put(l, job);
    a->in_hand++;
    d->n_ready++;
    l->n_ready++;
    l->n_jobs++;
    return DLV_ADMIT_OK;
}

void dlv_lane_add_done(struct dlv_lane *l, struct dlv_job *job)
{
    struct dlv_shard *s = shard_get(l, job->shard);
    pr_assert(s != NULL);
    job->phase = DLV_PHASE_DONE;
    job->dest = NULL;
    job->account = NULL;
    job->conn = NULL;
    pr_list_init(&job->link);
    pr_list_init(&job->of_shard);
    pr_list_push_back(&s->jobs, &job->of_shard);
    index_put(l, job);
    shard_result(l, job);
    l->n_done++;
    l->n_jobs++;
}

void job_return(struct dlv_lane *l, struct dlv_job *job, enum dlv_return_reason reason)
{
    pr_assert(job->phase == DLV_PHASE_READY);
    leave_ready(l, job);
    index_del(l, job);
    pr_list_remove(&job->of_shard);
    job->account->force = true;
    leave_account(l, job);
    l->n_jobs--;
    job->reason = reason;
    pr_list_push_back(&l->returns, &job->link);
}

void dest_return_ready(struct dlv_lane *l, struct dlv_dest *d, enum dlv_return_reason reason)
{
    struct pr_list *node;
    while ((node = pr_list_first(&d->ready)) != NULL)
        job_return(l, pr_list_entry(node, struct dlv_job, link), reason);
}

struct dlv_job *dlv_lane_next_return(struct dlv_lane *l)
{
    struct pr_list *node = pr_list_pop_front(&l->returns);
    return node == NULL ? NULL : pr_list_entry(node, struct dlv_job, link);
}

bool dlv_lane_cancel(struct dlv_lane *l, struct dlv_job *job)
{
    if (job->phase == DLV_PHASE_READY)
        job_return(l, job, DLV_RETURN_CANCELLED);
    return job->phase == DLV_PHASE_STARTED;
}

static struct dlv_job *start_head(struct dlv_lane *l, struct dlv_dest *d)
{
    struct pr_list *node = pr_list_first(&d->ready);
    if (node == NULL)
        return NULL;
    struct dlv_job *job = pr_list_entry(node, struct dlv_job, link);
    leave_ready(l, job);
    job->phase = DLV_PHASE_STARTED;
    job->sessions++;
    d->n_running++;
    l->n_running++;
    return job;
}

struct dlv_job *dlv_lane_take(struct dlv_lane *l, struct dlv_conn *conn, pr_mono now)
{
    struct dlv_dest *d = conn->dest;
    if (d->n_ready == 0 || conn->draining || conn->state == DLV_CONN_CLOSING || !dest_fresh(l, d, now))
        return NULL;
    if (!dlv_gcra_take(&d->rate, now)) {
        dest_touch(l, d);
        return NULL;
    }
    struct dlv_job *job = start_head(l, d);
    job->conn = conn;
    conn->jobs++;
    conn_move(d, conn, DLV_CONN_BUSY, now);
    dest_touch(l, d);
    return job;
}

struct dlv_job *dlv_lane_failed(struct dlv_lane *l, struct dlv_conn *conn, pr_mono now)
{
    (void)now;
    dest_touch(l, conn->dest);
    return start_head(l, conn->dest);
}

void dlv_lane_dot(struct dlv_lane *l, struct dlv_job *job)
{
    (void)l;
    pr_assert(job->phase == DLV_PHASE_STARTED || job->phase == DLV_PHASE_DOT);
    job->phase = DLV_PHASE_DOT;
    job->conn->dot = true;
}

void dlv_lane_done(struct dlv_lane *l, struct dlv_job *job, enum dlv_site site, struct pr_slice error)
{
    struct dlv_dest *d = job->dest;
    pr_assert(job->phase == DLV_PHASE_STARTED || job->phase == DLV_PHASE_DOT);
    if (job->phase == DLV_PHASE_DOT && job->conn != NULL)
        job->conn->dot = false;
    leave_running(l, job);
    if (site == DLV_SITE_OK) {
        d->ok++;
        d->streak = 0;
    } else if (site == DLV_SITE_FAILED) {
        d->failures++;
        d->streak++;
        pr_buf_clear(&d->last_error);
        pr_buf_add(&d->last_error, pr_slice_head(error, ERROR_TEXT_MAX));
    }
    leave_account(l, job);
    job->phase = DLV_PHASE_DONE;
    l->n_done++;
    shard_result(l, job);
}

bool dlv_lane_requeue(struct dlv_lane *l, struct dlv_job *job, bool free, pr_mono now)
{
    struct dlv_dest *d = job->dest;
    struct dlv_shard *s = l->shards[job->shard];
    pr_assert(job->phase == DLV_PHASE_STARTED || job->phase == DLV_PHASE_DOT);
    if (job->phase == DLV_PHASE_DOT && job->conn != NULL)
        job->conn->dot = false;
    job->phase = DLV_PHASE_STARTED;
    if (free)
        job->sessions--;
    if (job->sessions >= DLV_SESSIONS_MAX)
        return false;
    leave_running(l, job);
    job->phase = DLV_PHASE_READY;
    pr_list_push_front(&d->ready, &job->link);
    d->n_ready++;
    l->n_ready++;
    if (l->drained)
        job_return(l, job, DLV_RETURN_DRAINING);
    else if (pr_mono_since(now, s->contact) >= l->o.self_ms)
        job_return(l, job, DLV_RETURN_NO_SLOT);
    dest_touch(l, d);
    return true;
}
