/* Results: when to try again.
 *
 * The delay follows the configured list, one step per attempt, times U(1 - jitter, 1 + jitter). The "random" number is a
 * hash of message, group and attempt: it spreads a herd as well as any other, and whoever knows the row knows when it was
 * filed (its due time minus the delay), which a flush pass needs and nobody has to store. */
#include "scheduler/core/internal.h"

uint64_t retry_delay(const struct sched *s, uint64_t msg_id, uint32_t group, uint32_t attempts_made)
{
    size_t step = attempts_made == 0 ? 0 : attempts_made - 1;
    uint64_t base = s->cfg.retry_ms[step < s->cfg.n_retry ? step : s->cfg.n_retry - 1];
    uint64_t span = base * s->cfg.retry_jitter_percent / 100;
    uint64_t luck = pr_hash_u64(pr_hash_u64(msg_id) ^ ((uint64_t)group << 32 | attempts_made));
    return base - span + luck % (2 * span + 1);
}

static void decide(const struct sched *s, const struct sched_result *r, uint32_t attempts_made,
                   struct sched_decision *ret)
{
    uint64_t delay = retry_delay(s, r->ref.msg_id, r->ref.group, attempts_made);
    if (r->aborted)
        delay = SCHED_ABORTED_MS;
    ret->expire = r->pending_left && r->expiry.ms != 0 && s->now.wall.ms >= r->expiry.ms;
    ret->next_due_ms = pr_wall_add(s->now.wall, delay).ms;
}

int sched_result(struct sched *s, struct pr_now now, const struct sched_result *result,
                 struct sched_decision *ret_decision)
{
    int rc = 0;
    step_begin(s, now);
    struct job *j = job_find(s, result->ref.msg_id, result->ref.group);
    bool known = j != NULL && j->attempt_id != 0 && j->attempt_id == result->ref.attempt_id &&
                 j->state != SCHED_ISSUING && j->state != SCHED_PROPOSED;
    struct lane *l = known && j->lane != NULL ? j->lane : pr_map_get(&s->lanes_by_id, result->lane);
    if (known && j->state == SCHED_COMMITTING) {
        rc = PR_EEXIST;
    } else if (known && j->state == SCHED_HELD && result->aborted && j->boot_id != l->boot_id) {
        rc = PR_ECLOSED;
        job_release(s, j, true);
    } else if (known && l != NULL) {
        struct flow *f = j->flow;
        struct dest *d = f->queue->dest;
        *ret_decision = (struct sched_decision){.current = true};
        decide(s, result, j->attempt + 1, ret_decision);
        job_move(s, j, SCHED_COMMITTING, l);
        dest_result(s, d, result->site_failure || result->aborted);
        flow_update(s, f);
        dispatch(s, d);
    } else {
        /* An attempt of an older leader, or one that was given up: apply decides what still counts. */
        s->n_unknown++;
        *ret_decision = (struct sched_decision){.current = false};
        decide(s, result, j != NULL ? j->attempt + 1 : 1, ret_decision);
    }
    step_end(s);
    return rc;
}

void sched_result_done(struct sched *s, struct pr_now now, const struct sched_ref *ref, bool ok)
{
    step_begin(s, now);
    struct job *j = job_find(s, ref->msg_id, ref->group);
    if (j != NULL && j->attempt_id == ref->attempt_id && j->state == SCHED_COMMITTING) {
        struct flow *f = j->flow;
        struct lane *l = j->lane;
        if (ok) /* its row is still there: another attempt was current */
            job_move(s, j, SCHED_READY, NULL);
        else if (l->connection != 0 && l->inventoried && l->connection == j->connection)
            job_move(s, j, SCHED_INFLIGHT, l);
        else
            job_move(s, j, SCHED_HELD, l);
        flow_update(s, f);
        dispatch(s, f->queue->dest);
    }
    step_end(s);
}
