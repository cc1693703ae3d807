/* Flush: "try now", without a write. A pass goes once through the rows of each flow, whatever their due times; the cursor
 * of the pass is apart from that of the flow. Rows that were filed after its start (what the pass itself defers, above all)
 * are not in it. Limits, credit, brakes of others and the gate hold as ever, so a dead destination is probed, not flooded.
 */
#include "scheduler/core/internal.h"

bool flush_includes(const struct sched *s, const struct flow *f, const struct sched_row *row)
{
    uint64_t delay = row->attempt == 0 ? 0 : retry_delay(s, row->key.msg_id, row->key.group, row->attempt);
    uint64_t filed = row->key.due_ms > delay ? row->key.due_ms - delay : 0;
    return filed < f->flush->start_ms;
}

void flush_end(struct flow *f)
{
    pr_free(f->flush);
    f->flush = NULL;
}

static void flush_begin(struct sched *s, struct flow *f)
{
    if (f->flush == NULL)
        f->flush = pr_new(struct flush);
    *f->flush = (struct flush){.start_ms = s->now.wall.ms, .until = pr_mono_add(s->now.mono, s->cfg.flush_time_ms),
                               .cursor = f->cursor};
    flow_update(s, f);
}

static size_t flush_dest(struct sched *s, struct dest *d)
{
    struct pr_list *it, *tmp;
    size_t n = 0;
    dest_brake_off(s, d);
    pr_list_foreach(it, tmp, &d->flows) {
        struct flow *f = pr_list_entry(it, struct flow, of_dest);
        if (f->head_due == UINT64_MAX && !f->cold)
            continue;
        flush_begin(s, f);
        n++;
    }
    dispatch(s, d);
    return n;
}

size_t sched_flush(struct sched *s, struct pr_now now, struct pr_slice destination)
{
    size_t n = 0;
    step_begin(s, now);
    for (size_t i = 0; i < s->n_dests; i++)
        if (s->dests[i] != NULL && (destination.len == 0 || pr_slice_eq(s->dests[i]->ref.destination, destination)))
            n += flush_dest(s, s->dests[i]);
    step_end(s);
    return n;
}

void sched_retry_row(struct sched *s, struct pr_now now, const struct sched_row *row)
{
    step_begin(s, now);
    struct flow *f = flow_find(s, row->flow);
    if (f != NULL && job_find(s, row->key.msg_id, row->key.group) == NULL) {
        struct job *j = job_new(s, f, row, true);
        j->forced = row->key.due_ms > now.wall.ms;
        job_move(s, j, SCHED_READY, NULL);
        flow_update(s, f);
        dispatch(s, f->queue->dest);
    }
    step_end(s);
}
