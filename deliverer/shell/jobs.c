/* From JOB to RESULT.
 *
 * 1. A JOB message is kept as long as one of its bodies is in use; envelope and recipients are decoded into the job's own
 *    arena. 2. The lane admits it or not. 3. A connection takes it; before its end of content the journal says so. 4. All
 *    recipients decided: log line, metrics, the lane keeps the result. 5. Acknowledged: freed. */
#include "common/base/alloc.h"
#include "common/base/assert.h"
#include "deliverer/shell/worker_internal.h"

static void batch_unref(struct dlv_worker *w, struct batch *b)
{
    if (b == NULL || --b->refs > 0)
        return;
    w->pinned -= b->size;
    pr_bus_msg_free(b->msg);
    pr_free(b);
}

static void release_content(struct dlv_worker *w, struct job *job)
{
    batch_unref(w, job->batch);
    job->batch = NULL;
}

void job_free(struct dlv_worker *w, struct job *job)
{
    release_content(w, job);
    dlv_journal_drop(&w->journal, &job->journal_slot);
    pr_arena_fini(&job->arena);
    pr_free(job);
}

static void set_content(struct dlv_worker *w, struct job *job, struct batch *b, const struct wire_job *in)
{
    job->body_id = in->body_id;
    job->n_chunks = in->n_chunks;
    job->mail.complete = in->n_chunks == 0;
    if (!job->mail.complete)
        return;
    if (w->pinned > PINNED_MAX) {
        /* A slow job must not keep the messages of a whole batch in memory. */
        job->mail.content = pr_arena_dup(&job->arena, in->body);
        return;
    }
    job->mail.content = in->body;
    job->batch = b;
    b->refs++;
}

static struct job *job_new(struct dlv_worker *w, struct batch *b, const struct wire_jobs *jobs, const struct wire_job *in)
{
    struct job *job = pr_new(struct job);
    pr_arena_init(&job->arena);
    job->journal_slot = DLV_JOURNAL_NO_SLOT;
    job->core.ref = (struct dlv_ref){in->msg_id, in->group, in->attempt_id};
    job->core.shard = jobs->shard;
    job->core.term = jobs->term;
    job->attempt = in->attempt;
    if (wire_envelope_decode(in->envelope, &job->arena, &job->envelope) != 0 ||
        wire_group_decode(in->recipients, &job->arena, &job->group) != 0 || job->group.n_rcpts > DLV_RCPTS_MAX) {
        job_free(w, job);
        return NULL;
    }
    dlv_mail_init(&job->mail, &job->envelope, &job->group, &job->arena);
    job->mail.size_bytes = in->size_bytes;
    set_content(w, job, b, in);
    return job;
}

static void give_back(struct dlv_worker *w, const struct wire_jobs *jobs, struct wire_attempt_ref *refs, size_t n,
                      enum wire_return_reason reason)
{
    if (n == 0)
        return;
    struct wire_msg m = {.type = WIRE_RETURN, .return_ = {jobs->shard, jobs->term, reason, refs, n}};
    link_send(w, false, &m);
}

void jobs_received(struct dlv_worker *w, struct pr_bus_msg *msg, const struct wire_jobs *jobs)
{
    struct wire_attempt_ref stale[WIRE_BATCH_MAX], refused[WIRE_BATCH_MAX];
    size_t n_stale = 0, n_refused = 0;
    pr_mono now = pr_clock_now().mono;
    struct batch *b = pr_new(struct batch);
    *b = (struct batch){msg, 1, pr_bus_msg_header(msg).len + pr_bus_msg_payload(msg).len};
    w->pinned += b->size;
    dlv_lane_contact(w->lane, jobs->shard, jobs->term, now);
    for (size_t i = 0; i < jobs->n; i++) {
        const struct wire_job *in = &jobs->items[i];
        struct wire_attempt_ref ref = {in->msg_id, in->group, in->attempt_id};
        struct job *job = job_new(w, b, jobs, in);
        if (job == NULL) {
            pr_error(w->node->log, EV_JOB_MALFORMED, PR_U("lane", w->index), PR_U("shard", jobs->shard));
            refused[n_refused++] = ref;
            continue;
        }
        enum dlv_admit admit = dlv_lane_add(w->lane, &job->core, in->destination, in->pool, now);
        if (admit == DLV_ADMIT_OK)
            continue;
        if (admit == DLV_ADMIT_STALE)
            stale[n_stale++] = ref;
        else if (admit == DLV_ADMIT_REFUSED)
            refused[n_refused++] = ref;
        job_free(w, job);
    }
    give_back(w, jobs, stale, n_stale, WIRE_RETURN_STALE_TERM);
    give_back(w, jobs, refused, n_refused, w->stopping ? WIRE_RETURN_DRAINING : WIRE_RETURN_NO_SLOT);
    batch_unref(w, b);
}

void jobs_cancelled(struct dlv_worker *w, const struct wire_refs *refs)
{
    for (size_t i = 0; i < refs->n; i++) {
        struct dlv_ref ref = {refs->items[i].msg_id, refs->items[i].group, refs->items[i].attempt_id};
        struct dlv_job *job = dlv_lane_find(w->lane, refs->shard, &ref);
        if (job != NULL && dlv_lane_cancel(w->lane, job) && job_of(job)->conn != NULL && !job_of(job)->conn->core.dot)
            conn_abort(job_of(job)->conn);
    }
}

void jobs_acknowledged(struct dlv_worker *w, const struct wire_refs *refs)
{
    for (size_t i = 0; i < refs->n; i++) {
        struct dlv_ref ref = {refs->items[i].msg_id, refs->items[i].group, refs->items[i].attempt_id};
        struct dlv_job *job = dlv_lane_ack(w->lane, refs->shard, &ref);
        if (job == NULL)
            continue;
        if (job_of(job)->leftover && --w->leftovers == 0) {
            __atomic_store_n(&w->is_settled, true, __ATOMIC_RELEASE);
            w->node->on_worker_event(w->node);
        }
        job_free(w, job_of(job));
    }
}

static void set_leftover(struct job *job, const struct dlv_journal_record *r)
{
    static const char *const texts[MAIL_OUTCOME_NR] = {
        [MAIL_OUTCOME_DELIVERED] = "delivered before a restart",
        [MAIL_OUTCOME_UNKNOWN] = "the deliverer was stopped while waiting for the reply to the end of the content",
        [MAIL_OUTCOME_ABORTED] = "the deliverer was stopped",
    };
    job->leftover = true;
    job->core.ref = r->ref;
    job->core.shard = r->shard;
    job->core.term = r->term;
    job->group.n_rcpts = r->n_rcpts;
    job->group.rcpts = pr_arena_zalloc(&job->arena, r->n_rcpts * sizeof *job->group.rcpts);
    dlv_mail_init(&job->mail, &job->envelope, &job->group, &job->arena);
    for (size_t i = 0; i < r->n_rcpts; i++) {
        enum mail_outcome outcome = dlv_journal_outcome(r, i);
        job->mail.results[i] = (struct dlv_result){
            .decided = true,
            .outcome = outcome,
            .enhanced = pr_slice_str(outcome == MAIL_OUTCOME_DELIVERED ? "2.0.0" : "4.3.2"),
            .diagnostic = pr_slice_str(texts[outcome]),
        };
    }
    job->mail.stage = MAIL_STAGE_BODY;
}

void jobs_left_over(struct dlv_worker *w)
{
    const struct dlv_journal_dir *d = &w->node->journals;
    for (size_t i = 0; i < d->n; i++) {
        struct job *job = pr_new(struct job);
        pr_arena_init(&job->arena);
        job->journal_slot = DLV_JOURNAL_NO_SLOT;
        set_leftover(job, &d->records[i]);
        if (dlv_lane_find(w->lane, job->core.shard, &job->core.ref) != NULL || job->core.shard >= 64) {
            job_free(w, job);
            continue;
        }
        dlv_lane_add_done(w->lane, &job->core);
        w->leftovers++;
    }
    __atomic_store_n(&w->is_settled, w->leftovers == 0, __ATOMIC_RELEASE);
}

static void journal(struct dlv_worker *w, struct job *job)
{
    struct dlv_journal_record r = {
        .ref = job->core.ref, .term = job->core.term, .shard = job->core.shard, .n_rcpts = (uint8_t)job->group.n_rcpts};
    for (size_t i = 0; i < job->group.n_rcpts; i++) {
        const struct dlv_result *x = &job->mail.results[i];
        dlv_journal_mark(r.delivered, i, x->decided && x->outcome == MAIL_OUTCOME_DELIVERED);
        dlv_journal_mark(r.doubt, i, x->in_doubt || (x->decided && x->outcome == MAIL_OUTCOME_UNKNOWN));
    }
    dlv_journal_put(&w->journal, &job->journal_slot, &r);
}

void job_dot(struct dlv_worker *w, struct job *job)
{
    journal(w, job);
    dlv_lane_dot(w->lane, &job->core);
}

static enum dlv_site site_of(const struct job *job, struct pr_slice *ret_error)
{
    bool delivered = false, aborted = true;
    *ret_error = PR_SLICE_LIT("");
    for (size_t i = 0; i < job->group.n_rcpts; i++) {
        const struct dlv_result *r = &job->mail.results[i];
        if (!r->decided)
            continue;
        delivered = delivered || r->outcome == MAIL_OUTCOME_DELIVERED;
        aborted = aborted && r->outcome == MAIL_OUTCOME_ABORTED;
        if (r->outcome != MAIL_OUTCOME_DELIVERED && ret_error->len == 0)
            *ret_error = r->diagnostic;
    }
    if (aborted || (job->mail.stage == MAIL_STAGE_DNS && job->mail.scope != MAIL_SCOPE_SITE))
        return DLV_SITE_UNTOUCHED;
    return job->mail.scope == MAIL_SCOPE_SITE && !delivered ? DLV_SITE_FAILED : DLV_SITE_OK;
}

void job_report(struct dlv_worker *w, struct job *job, struct conn *conn)
{
    struct pr_slice error;
    pr_mono now = pr_clock_now().mono;
    if (conn != NULL) {
        job->remote = pr_arena_dup(&job->arena, pr_slice_str(conn->remote));
        job->tls = pr_arena_dup(&job->arena, pr_slice_str(conn->tls));
    }
    uint64_t took = pr_mono_since(now, job->started.ms == 0 ? now : job->started);
    job->duration_ms = took > UINT32_MAX ? UINT32_MAX : (uint32_t)took;
    if (job->journal_slot != DLV_JOURNAL_NO_SLOT)
        journal(w, job);
    report_delivery(w, job);
    enum dlv_site site = site_of(job, &error);
    dlv_lane_done(w->lane, &job->core, site, error);
    job->conn = NULL;
    release_content(w, job);
    worker_touch(w);
}

void job_requeue(struct dlv_worker *w, struct job *job, struct conn *conn, bool free)
{
    dlv_journal_drop(&w->journal, &job->journal_slot);
    if (dlv_lane_requeue(w->lane, &job->core, free, pr_clock_now().mono)) {
        job->conn = NULL;
        worker_touch(w);
        return;
    }
    dlv_mail_decide_rest(&job->mail, dlv_client_verdict(conn->client));
    job_report(w, job, conn);
}
