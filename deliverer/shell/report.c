/* What people see of a delivery: one log line per attempt (per recipient when their fates differ), counters, durations. */
#include <stdio.h>

#include "common/base/alloc.h"
#include "deliverer/shell/worker_internal.h"

static const char *const statuses[MAIL_OUTCOME_NR] = {
    [MAIL_OUTCOME_DELIVERED] = "delivered", [MAIL_OUTCOME_TEMP] = "deferred",   [MAIL_OUTCOME_PERM] = "bounced",
    [MAIL_OUTCOME_ABORTED] = "aborted",     [MAIL_OUTCOME_UNKNOWN] = "unknown",
};

static enum dm_result result_of(enum mail_outcome o)
{
    switch (o) {
    case MAIL_OUTCOME_DELIVERED:
        return DM_DELIVERED;
    case MAIL_OUTCOME_PERM:
        return DM_BOUNCED;
    case MAIL_OUTCOME_TEMP:
    case MAIL_OUTCOME_ABORTED:
    case MAIL_OUTCOME_UNKNOWN:
    case MAIL_OUTCOME_NR:
        break;
    }
    return DM_DEFERRED;
}

static bool same_fate(const struct dlv_result *a, const struct dlv_result *b)
{
    return a->outcome == b->outcome && a->code == b->code && pr_slice_eq(a->enhanced, b->enhanced);
}

static void log_line(struct dlv_worker *w, const struct job *job, size_t i, size_t n_rcpts, uint64_t delay_ms)
{
    const struct dlv_result *r = &job->mail.results[i];
    char id[WIRE_QUEUE_ID_LEN + 1];
    wire_queue_id_format(job->core.shard, job->core.ref.msg_id, id);
    pr_info(w->node->log, EV_DELIVERY, PR_S("id", id), PR_SL("rcpt", job->group.rcpts[i].address), PR_U("nrcpts", n_rcpts),
            PR_SL("dest", dlv_dest_name(job->core.dest)), PR_SL("remote", job->remote),
            PR_S("status", statuses[r->outcome]), PR_U("code", r->code), PR_SL("enh", r->enhanced),
            PR_S("stage", mail_stage_names[job->mail.stage]), PR_U("delay_ms", delay_ms),
            PR_U("attempt_ms", job->duration_ms), PR_U("attempt", job->attempt), PR_SL("tls", job->tls),
            PR_SL("reply", r->diagnostic));
}

static void count(struct dlv_worker *w, const struct dlv_result *r)
{
    struct pr_slice e = r->enhanced;
    unsigned class_ = e.len > 0 ? (unsigned)(e.ptr[0] - '0') : 4, subject = 0;
    if (e.len >= 5 && e.ptr[1] == '.' && e.ptr[3] == '.' && pr_is_digit(e.ptr[2]))
        subject = (unsigned)(e.ptr[2] - '0');
    pr_metric_inc1(w->node->metrics, DM_DELIVERIES, result_of(r->outcome));
    pr_metric_inc1(w->node->metrics, DM_RESPONSES, dm_response(class_, subject));
}

void report_delivery(struct dlv_worker *w, const struct job *job)
{
    uint64_t wall = pr_clock_now().wall.ms, arrival = job->envelope.arrival.ms;
    uint64_t delay_ms = wall > arrival ? wall - arrival : 0;
    const struct dlv_result *first = NULL;
    size_t n = 0, first_at = 0;
    bool same = true, delivered = false;
    for (size_t i = 0; i < job->group.n_rcpts; i++) {
        const struct dlv_result *r = &job->mail.results[i];
        if (!r->decided)
            continue;
        if (first == NULL) {
            first = r;
            first_at = i;
        }
        same = same && same_fate(first, r);
        delivered = delivered || r->outcome == MAIL_OUTCOME_DELIVERED;
        count(w, r);
        n++;
    }
    if (first == NULL)
        return;
    if (same)
        log_line(w, job, first_at, n, delay_ms);
    for (size_t i = 0; !same && i < job->group.n_rcpts; i++)
        if (job->mail.results[i].decided)
            log_line(w, job, i, 1, delay_ms);
    enum dm_result result = delivered ? DM_DELIVERED : result_of(first->outcome);
    pr_metric_observe(w->node->metrics, DM_ATTEMPT_DURATION, result, 0, 0, (uint64_t)job->duration_ms * 1000);
    if (delivered) {
        pr_metric_observe(w->node->metrics, DM_LATENCY, 0, 0, 0, delay_ms * 1000);
        pr_metric_observe(w->node->metrics, DM_ATTEMPTS, 0, 0, 0, job->attempt);
    }
}

void report_connect(struct dlv_worker *w, enum dm_connect result)
{
    pr_metric_inc1(w->node->metrics, DM_CONNECTS, result);
}

void report_failed(struct conn *c, const struct dlv_verdict *v)
{
    pr_info(c->w->node->log, EV_CONNECTION_FAILED, PR_SL("dest", dlv_dest_name(c->core.dest)), PR_S("remote", c->remote),
            PR_S("stage", mail_stage_names[v->stage]), PR_U("code", v->code), PR_SL("reply", v->text));
}

static void move_gauge(struct dlv_worker *w, enum dm_metric id, unsigned label, size_t now, size_t before)
{
    if (now != before)
        pr_metric_add(w->node->metrics, id, label, 0, 0, (int64_t)now - (int64_t)before);
}

void report_gauges(struct dlv_worker *w)
{
    struct dlv_lane_counts c;
    dlv_lane_count(w->lane, &c);
    move_gauge(w, DM_CONNECTIONS, 0, c.opening, w->told.opening);
    move_gauge(w, DM_CONNECTIONS, 1, c.busy, w->told.busy);
    move_gauge(w, DM_CONNECTIONS, 2, c.idle, w->told.idle);
    move_gauge(w, DM_JOBS, 0, c.ready, w->told.ready);
    move_gauge(w, DM_JOBS, 1, c.started, w->told.started);
    move_gauge(w, DM_JOBS, 2, c.done, w->told.done);
    w->told = c;
}
