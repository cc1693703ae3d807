/* Shards: the highest term seen (the fence), when their leader last spoke, the jobs held of each, and the results that
 * are not acknowledged.
 *
 * A result waits in `unsent`, moves to `sent` when it goes out and back after retry_ms without an acknowledgement; a new
 * term moves all of them back at once. The interval doubles while nothing is acknowledged. */
#include "common/base/assert.h"
#include "deliverer/core/lane_internal.h"

struct dlv_shard *shard_get(struct dlv_lane *l, uint32_t number)
{
    if (number >= DLV_SHARDS_MAX)
        return NULL;
    if (l->shards[number] == NULL) {
        struct dlv_shard *s = pr_new(struct dlv_shard);
        s->number = number;
        s->retry_ms = l->o.result_retry_ms;
        pr_map_init(&s->past, l->o.seed);
        pr_list_init(&s->jobs);
        pr_list_init(&s->unsent);
        pr_list_init(&s->sent);
        l->shards[number] = s;
    }
    return l->shards[number];
}

static uint64_t index_key(uint32_t shard, const struct dlv_ref *ref)
{
    return pr_hash_u64(ref->msg_id ^ pr_hash_u64(ref->attempt_id ^ pr_hash_u64((uint64_t)shard << 32 | ref->group)));
}

static bool same_ref(const struct dlv_ref *a, const struct dlv_ref *b)
{
    return a->msg_id == b->msg_id && a->group == b->group && a->attempt_id == b->attempt_id;
}

void index_put(struct dlv_lane *l, struct dlv_job *job)
{
    job->chain = pr_map_put(&l->index, index_key(job->shard, &job->ref), job);
}

void index_del(struct dlv_lane *l, struct dlv_job *job)
{
    uint64_t key = index_key(job->shard, &job->ref);
    struct dlv_job *head = pr_map_get(&l->index, key);
    if (head == job) {
        (void)pr_map_del(&l->index, key);
        if (job->chain != NULL)
            (void)pr_map_put(&l->index, key, job->chain);
        return;
    }
    while (head->chain != job)
        head = head->chain;
    head->chain = job->chain;
}

struct dlv_job *dlv_lane_find(const struct dlv_lane *l, uint32_t shard, const struct dlv_ref *ref)
{
    struct dlv_job *job = pr_map_get(&l->index, index_key(shard, ref));
    while (job != NULL && (job->shard != shard || !same_ref(&job->ref, ref)))
        job = job->chain;
    return job;
}

static void resend_all(struct dlv_shard *s)
{
    struct pr_list *node;
    while ((node = pr_list_first(&s->sent)) != NULL) {
        pr_list_remove(node);
        pr_list_push_back(&s->unsent, node);
    }
}

static void mark_spoken(struct dlv_shard *s, pr_mono now)
{
    s->contact = now;
    s->led = true;
    s->silent = false;
}

bool dlv_lane_shard(struct dlv_lane *l, uint32_t shard, uint64_t term, bool leader, pr_mono now)
{
    struct dlv_shard *s = shard_get(l, shard);
    if (s == NULL || term < s->term || term == 0)
        return false;
    bool newer = term > s->term;
    if (newer) {
        /* The fence goes up before anything is said under this term. */
        s->term = term;
        s->led = false;
        credit_begin(l, s);
    }
    if (!leader) {
        if (!newer)
            s->led = false;
        return false;
    }
    bool first = !s->led;
    mark_spoken(s, now);
    if (first) {
        s->retry_ms = l->o.result_retry_ms;
        resend_all(s);
    }
    return first;
}

void dlv_lane_contact(struct dlv_lane *l, uint32_t shard, uint64_t term, pr_mono now)
{
    struct dlv_shard *s = shard_get(l, shard);
    if (s != NULL && s->led && term == s->term)
        mark_spoken(s, now);
}

uint64_t dlv_lane_term(const struct dlv_lane *l, uint32_t shard)
{
    return shard < DLV_SHARDS_MAX && l->shards[shard] != NULL ? l->shards[shard]->term : 0;
}

struct dlv_job *dlv_lane_shard_next(struct dlv_lane *l, uint32_t shard, const struct dlv_job *after)
{
    struct dlv_shard *s = shard_get(l, shard);
    if (s == NULL)
        return NULL;
    struct pr_list *node = after == NULL ? s->jobs.next : after->of_shard.next;
    return node == &s->jobs ? NULL : pr_list_entry(node, struct dlv_job, of_shard);
}

void shard_result(struct dlv_lane *l, struct dlv_job *job)
{
    pr_list_push_back(&l->shards[job->shard]->unsent, &job->link);
}

struct dlv_job *dlv_lane_next_result(struct dlv_lane *l, pr_mono now)
{
    for (unsigned i = 0; i < DLV_SHARDS_MAX; i++) {
        struct dlv_shard *s = l->shards[l->result_turn % DLV_SHARDS_MAX];
        struct pr_list *node = s == NULL || !s->led ? NULL : pr_list_pop_front(&s->unsent);
        if (node != NULL) {
            struct dlv_job *job = pr_list_entry(node, struct dlv_job, link);
            pr_list_push_back(&s->sent, node);
            job->sent = now;
            return job;
        }
        l->result_turn++;
    }
    return NULL;
}

struct dlv_job *dlv_lane_ack(struct dlv_lane *l, uint32_t shard, const struct dlv_ref *ref)
{
    struct dlv_job *job = dlv_lane_find(l, shard, ref);
    if (job == NULL || job->phase != DLV_PHASE_DONE)
        return NULL;
    l->shards[shard]->retry_ms = l->o.result_retry_ms;
    index_del(l, job);
    pr_list_remove(&job->link);
    pr_list_remove(&job->of_shard);
    l->n_done--;
    l->n_jobs--;
    return job;
}

static void retry_results(struct dlv_shard *s, pr_mono now)
{
    struct pr_list *node;
    bool late = false;
    while ((node = pr_list_first(&s->sent)) != NULL) {
        struct dlv_job *job = pr_list_entry(node, struct dlv_job, link);
        if (pr_mono_since(now, job->sent) < s->retry_ms)
            break;
        pr_list_remove(node);
        pr_list_push_back(&s->unsent, node);
        late = true;
    }
    if (late && s->retry_ms < RESULT_RETRY_MAX_MS)
        s->retry_ms *= 2;
}

/* T_self: whoever leads now may soon think us dead; nothing of the shard starts any more. */
static void return_unstarted(struct dlv_lane *l, struct dlv_shard *s)
{
    struct pr_list *it, *tmp;
    pr_list_foreach(it, tmp, &s->jobs)
    {
        struct dlv_job *job = pr_list_entry(it, struct dlv_job, of_shard);
        if (job->phase == DLV_PHASE_READY)
            job_return(l, job, DLV_RETURN_NO_SLOT);
    }
}

static void touch_started(struct dlv_lane *l, struct dlv_shard *s)
{
    struct pr_list *it, *tmp;
    pr_list_foreach(it, tmp, &s->jobs)
    {
        struct dlv_job *job = pr_list_entry(it, struct dlv_job, of_shard);
        if (job->phase == DLV_PHASE_STARTED)
            dest_touch(l, job->dest);
    }
}

void shards_tick(struct dlv_lane *l, pr_mono now)
{
    for (unsigned i = 0; i < DLV_SHARDS_MAX; i++) {
        struct dlv_shard *s = l->shards[i];
        if (s == NULL)
            continue;
        retry_results(s, now);
        uint64_t quiet = pr_mono_since(now, s->contact);
        if (quiet >= l->o.self_ms) {
            s->silent = true;
            return_unstarted(l, s);
        }
        if (quiet >= l->o.self_ms + SELF_ABORT_MS)
            touch_started(l, s);
    }
}
