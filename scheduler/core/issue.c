/* Issue: intent before action. A job leaves for a lane only after its ISSUE record is committed.
 *
 *   1. dispatch picks a job and a lane and asks for the record: ISSUING;
 *   2. committed: the job is sent: INFLIGHT. If the lane has gone meanwhile, the lease is released and the job is ready;
 *   3. refused by apply (the row has changed, or an older lease is not released yet), or never proposed: the row pauses for
 *      a second and is read again from disk, which knows better.
 * Reserve at proposal does steps 1 and 2 inside the entry that brings the row itself. */
#include "scheduler/core/internal.h"

void issue_prepare(struct sched *s, struct job *j, struct credit *c, enum sched_where state)
{
    j->attempt_id = s->term << 40 | ++s->attempt_seq;
    j->boot_id = c->lane->boot_id;
    j->connection = c->lane->connection;
    j->credit = c;
    job_move(s, j, state, c->lane);
    c->issued++;
    credit_update(s, c);
    s->n_issued++;
}

void credit_give_back(struct sched *s, struct job *j)
{
    struct credit *c = j->credit;
    if (c == NULL)
        return;
    j->credit = NULL;
    c->issued--;
    credit_update(s, c);
}

void job_release(struct sched *s, struct job *j, bool lost)
{
    struct sched_ref ref = {j->key.msg_id, j->key.group, j->attempt_id};
    struct flow *f = j->flow;
    s->n_released++;
    j->losses = (uint8_t)(j->losses + lost);
    s->act->free_lease(s->data, &ref);
    if (lost && j->losses >= s->cfg.poison_limit) {
        struct sched_row row;
        job_move(s, j, SCHED_QUARANTINED, NULL);
        job_to_row(j, &row);
        s->act->quarantine(s->data, &row, j->losses);
    } else {
        job_move(s, j, SCHED_READY, NULL);
    }
    flow_update(s, f);
    dispatch(s, f->queue->dest);
}

static struct job *issuing(const struct sched *s, const struct sched_ref *ref)
{
    struct job *j = job_find(s, ref->msg_id, ref->group);
    if (j == NULL || j->attempt_id != ref->attempt_id || (j->state != SCHED_ISSUING && j->state != SCHED_PROPOSED))
        return NULL;
    return j;
}

static void issue_refused(struct sched *s, struct job *j)
{
    struct flow *f = j->flow;
    struct dest *d = j->dest;
    credit_give_back(s, j);
    j->attempt_id = 0;
    job_move(s, j, SCHED_HELD, NULL);
    j->wake_ms = pr_mono_add(s->now.mono, SCHED_REFUSED_MS).ms;
    flow_update(s, f);
    dispatch(s, d);
}

void sched_issue_done(struct sched *s, struct pr_now now, const struct sched_ref *ref, bool ok)
{
    step_begin(s, now);
    struct job *j = issuing(s, ref);
    if (j != NULL && j->state == SCHED_PROPOSED) {
        pr_assert(!ok); /* its row comes first */
        credit_give_back(s, j);
        job_free(s, j);
    } else if (j != NULL && !ok) {
        issue_refused(s, j);
    } else if (j != NULL) {
        struct lane *l = j->lane;
        if (l->connection != j->connection) {
            job_release(s, j, false); /* never sent */
        } else {
            struct sched_issue out;
            j->credit = NULL;
            job_move(s, j, SCHED_INFLIGHT, l);
            job_to_issue(s, j, &out);
            s->act->send_job(s->data, &out);
        }
    }
    step_end(s);
}

int sched_propose(struct sched *s, struct pr_now now, const struct sched_row *row, uint32_t lane,
                  struct sched_issue *ret_issue)
{
    step_begin(s, now);
    struct flow *f = flow_find(s, row->flow);
    struct dest *d = f == NULL ? NULL : f->queue->dest;
    struct job *j = NULL;
    /* Whoever waits already goes first: by his class, his tenant or his age. */
    if (s->dispatching && d != NULL && d->backlog == 0 && row->key.due_ms <= now.wall.ms &&
        row->key.due_ms < f->head_due && s->active < s->cfg.inflight_max && !dest_braked(s, d) &&
        class_may_go(s, d, (enum mail_class)f->class_) && job_find(s, row->key.msg_id, row->key.group) == NULL) {
        struct credit *c = pick_credit(d, lane);
        j = c == NULL ? NULL : job_new(s, f, row, false);
        if (j != NULL) {
            issue_prepare(s, j, c, SCHED_PROPOSED);
            flow_drained(s, f);
            job_to_issue(s, j, ret_issue);
        }
    }
    step_end(s);
    return j != NULL ? 0 : PR_EAGAIN;
}

void sched_propose_abort(struct sched *s, struct pr_now now, const struct sched_ref *ref)
{
    step_begin(s, now);
    struct job *j = issuing(s, ref);
    if (j != NULL && j->state == SCHED_PROPOSED) {
        struct dest *d = j->dest;
        credit_give_back(s, j);
        job_free(s, j);
        dispatch(s, d);
    }
    step_end(s);
}

void sched_returned(struct sched *s, struct pr_now now, uint32_t lane, const struct sched_ref *refs, size_t n,
                    enum sched_return reason)
{
    step_begin(s, now);
    struct lane *l = pr_map_get(&s->lanes_by_id, lane);
    for (size_t i = 0; l != NULL && i < n; i++) {
        struct job *j = job_find(s, refs[i].msg_id, refs[i].group);
        if (j == NULL || j->attempt_id != refs[i].attempt_id || j->state != SCHED_INFLIGHT || j->lane != l)
            continue;
        if (reason == SCHED_RETURN_NO_SLOT) {
            credit_block(s, l, j->dest);
        } else if (!l->draining) {
            l->draining = true;
            struct pr_list *it, *tmp;
            pr_list_foreach(it, tmp, &l->credits)
                credit_update(s, pr_list_entry(it, struct credit, of_lane));
        }
        s->n_returned++;
        job_release(s, j, false);
    }
    step_end(s);
}
