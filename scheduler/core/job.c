/* Jobs: the rows that are in memory. A pool bounds their number, a table finds them by (message, group), and job_move is
 * the only way from state to state:
 *
 *     on disk --read/filed--> READY --picked--> ISSUING --committed--> INFLIGHT --result--> COMMITTING --> gone
 *        ^                     ^ ^ ^               |                     |  ^  |               |
 *        +------evicted--------+ | +---refused-----+         lane down   v  |  +---returned----|----> READY
 *                                |                                      HELD  (inventory)      |
 *                                +------------- released ----------------+ ^------not committed+
 *     proposed with its row: PROPOSED --applied--> ISSUING; lost too often: QUARANTINED
 *
 * READY is owned by its flow (the flow is in the heap of its queue). PROPOSED and ISSUING are owned by the entry in the
 * log: its fate is reported. INFLIGHT is owned by the lane's connection, HELD by the lane's hold time (or, refused, by the
 * one-second list), COMMITTING by the entry with the result. QUARANTINED by the operator. */
#include <string.h>

#include "scheduler/core/internal.h"

enum { BLOCK_JOBS = 512 };
struct job_block {
    struct job_block *next;
    struct job jobs[BLOCK_JOBS];
};

const char *const sched_where_names[SCHED_WHERE_NR] = {
    [SCHED_ON_DISK] = "disk",       [SCHED_READY] = "ready", [SCHED_PROPOSED] = "proposed",
    [SCHED_ISSUING] = "issuing",    [SCHED_INFLIGHT] = "in flight", [SCHED_HELD] = "held",
    [SCHED_COMMITTING] = "committing", [SCHED_QUARANTINED] = "quarantined",
};

#define TO(state) (1u << (state))
static const unsigned legal[SCHED_WHERE_NR] = {
    [SCHED_ON_DISK] = TO(SCHED_READY) | TO(SCHED_PROPOSED) | TO(SCHED_HELD),
    [SCHED_READY] = TO(SCHED_ISSUING) | TO(SCHED_COMMITTING) | TO(SCHED_ON_DISK),
    [SCHED_PROPOSED] = TO(SCHED_ISSUING) | TO(SCHED_ON_DISK),
    [SCHED_ISSUING] = TO(SCHED_INFLIGHT) | TO(SCHED_READY) | TO(SCHED_HELD) | TO(SCHED_ON_DISK),
    [SCHED_INFLIGHT] = TO(SCHED_READY) | TO(SCHED_HELD) | TO(SCHED_COMMITTING) | TO(SCHED_ON_DISK),
    [SCHED_HELD] = TO(SCHED_READY) | TO(SCHED_INFLIGHT) | TO(SCHED_COMMITTING) | TO(SCHED_QUARANTINED) | TO(SCHED_ON_DISK),
    [SCHED_COMMITTING] = TO(SCHED_READY) | TO(SCHED_INFLIGHT) | TO(SCHED_HELD) | TO(SCHED_ON_DISK),
    [SCHED_QUARANTINED] = TO(SCHED_COMMITTING) | TO(SCHED_READY) | TO(SCHED_ON_DISK),
};

void jobs_init(struct job_table *t, size_t max)
{
    memset(t, 0, sizeof *t);
    t->max = max;
    t->n_buckets = 1024;
    t->buckets = pr_calloc(t->n_buckets, sizeof(struct job *));
}

void jobs_fini(struct job_table *t)
{
    struct job_block *next;
    for (struct job_block *b = t->blocks; b != NULL; b = next) {
        next = b->next;
        pr_free(b);
    }
    pr_free(t->buckets);
}

static struct job **bucket_of(const struct job_table *t, uint64_t msg_id, uint32_t group)
{
    return &t->buckets[pr_hash_u64(msg_id ^ (uint64_t)group << 48) & (t->n_buckets - 1)];
}

struct job *job_find(const struct sched *s, uint64_t msg_id, uint32_t group)
{
    struct job *j = *bucket_of(&s->jobs, msg_id, group);
    while (j != NULL && (j->key.msg_id != msg_id || j->key.group != group))
        j = j->chain;
    return j;
}

static void table_grow(struct job_table *t)
{
    struct job **old = t->buckets;
    size_t n = t->n_buckets;
    t->n_buckets *= 2;
    t->buckets = pr_calloc(t->n_buckets, sizeof(struct job *));
    for (size_t i = 0; i < n; i++) {
        for (struct job *j = old[i], *chain; j != NULL; j = chain) {
            struct job **b = bucket_of(t, j->key.msg_id, j->key.group);
            chain = j->chain;
            j->chain = *b;
            *b = j;
        }
    }
    pr_free(old);
}

static void pool_grow(struct job_table *t)
{
    struct job_block *b = pr_malloc(sizeof *b);
    b->next = t->blocks;
    t->blocks = b;
    for (size_t i = 0; i < BLOCK_JOBS; i++) {
        b->jobs[i].chain = t->free_jobs;
        t->free_jobs = &b->jobs[i];
    }
}

struct job *job_new(struct sched *s, struct flow *f, const struct sched_row *row, bool must)
{
    struct job_table *t = &s->jobs;
    if (t->count >= t->max && !must)
        return NULL;
    if (t->free_jobs == NULL)
        pool_grow(t);
    if (t->count >= t->n_buckets)
        table_grow(t);
    struct job *j = t->free_jobs;
    t->free_jobs = j->chain;
    t->count++;
    *j = (struct job){.flow = f, .key = row->key, .size_bytes = row->size_bytes, .n_rcpts = row->n_rcpts,
                      .attempt = row->attempt, .state = SCHED_ON_DISK};
    pr_list_init(&j->link);
    struct job **b = bucket_of(t, j->key.msg_id, j->key.group);
    j->chain = *b;
    *b = j;
    f->jobs++;
    return j;
}

/* Rows mostly come in order, and what comes back is mostly the oldest: look from both ends. */
static void ring_insert(struct flow *f, struct job *j)
{
    struct pr_list *at = &f->ring;
    if (!pr_list_empty(&f->ring) && key_cmp(&j->key, &pr_list_entry(f->ring.next, struct job, link)->key) > 0) {
        at = f->ring.prev;
        while (key_cmp(&pr_list_entry(at, struct job, link)->key, &j->key) > 0)
            at = at->prev;
    }
    pr_list_insert_after(at, &j->link);
    f->ring_n++;
}

static void leave(struct sched *s, struct job *j)
{
    enum sched_where from = (enum sched_where)j->state;
    pr_list_remove(&j->link);
    if (from == SCHED_READY) {
        j->flow->ring_n--;
        j->flow->queue->dest->ready--;
    }
    if (job_active(from)) {
        s->active--;
        j->lane->active--;
        j->dest->active--;
        s->freed = true;
    }
    if (from == SCHED_HELD && j->dest != NULL)
        j->dest->held--;
    s->count[from]--;
}

static void enter(struct sched *s, struct job *j, enum sched_where to, struct lane *lane)
{
    struct dest *before = j->dest;
    j->state = (uint8_t)to;
    j->lane = lane;
    j->dest = job_active(to) || to == SCHED_HELD ? before != NULL ? before : j->flow->queue->dest : NULL;
    s->count[to]++;
    switch (to) {
    case SCHED_READY:
        ring_insert(j->flow, j);
        j->flow->queue->dest->ready++;
        break;
    case SCHED_PROPOSED:
    case SCHED_ISSUING:
    case SCHED_INFLIGHT:
        s->active++;
        lane->active++;
        j->dest->active++;
        pr_list_push_back(&lane->jobs, &j->link);
        break;
    case SCHED_HELD:
        j->dest->held++;
        pr_list_push_back(lane == NULL ? &s->refused : &lane->held, &j->link);
        break;
    case SCHED_COMMITTING:
        pr_list_push_back(&lane->jobs, &j->link);
        break;
    case SCHED_QUARANTINED:
        pr_list_push_back(&s->quarantined, &j->link);
        break;
    case SCHED_ON_DISK:
    case SCHED_WHERE_NR:
        break;
    }
    if (before != NULL && j->dest == NULL)
        dest_release(s, before);
}

void job_move(struct sched *s, struct job *j, enum sched_where to, struct lane *lane)
{
    pr_assert((legal[j->state] & TO(to)) != 0);
    if (j->state != SCHED_ON_DISK)
        leave(s, j);
    enter(s, j, to, lane);
    if (to == SCHED_ON_DISK)
        s->count[SCHED_ON_DISK]--;
}

void job_free(struct sched *s, struct job *j)
{
    struct job_table *t = &s->jobs;
    if (j->state != SCHED_ON_DISK)
        job_move(s, j, SCHED_ON_DISK, NULL);
    struct job **b = bucket_of(t, j->key.msg_id, j->key.group);
    while (*b != j)
        b = &(*b)->chain;
    *b = j->chain;
    j->flow->jobs--;
    j->chain = t->free_jobs;
    t->free_jobs = j;
    t->count--;
    s->freed = true;
}

void job_drop(struct sched *s, struct job *j)
{
    struct flow *f = j->flow;
    if (j->state == SCHED_PROPOSED || j->state == SCHED_ISSUING)
        credit_give_back(s, j);
    if (j->state == SCHED_INFLIGHT) {
        struct sched_ref ref = {j->key.msg_id, j->key.group, j->attempt_id};
        s->act->cancel(s->data, j->lane->connection, &ref);
    }
    job_free(s, j);
    flow_update(s, f);
    dispatch(s, f->queue->dest);
}

void job_to_row(const struct job *j, struct sched_row *ret)
{
    *ret = (struct sched_row){.flow = j->flow->id, .key = j->key, .attempt = j->attempt, .n_rcpts = j->n_rcpts,
                              .size_bytes = j->size_bytes};
}

void job_to_issue(const struct sched *s, const struct job *j, struct sched_issue *ret)
{
    *ret = (struct sched_issue){.ref = {j->key.msg_id, j->key.group, j->attempt_id}, .lane = j->connection,
                                .holder = j->lane->holder, .boot_id = j->boot_id, .issued = s->now.wall};
    job_to_row(j, &ret->row);
}
