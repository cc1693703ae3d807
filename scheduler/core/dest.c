/* Destinations (destination x pool), their queues (tenant x class), and what the lanes are told about them.
 *
 * Demand: a rise from nothing, or to twice what the lanes know, is told at the end of the step; a fall to half or to
 * nothing only when it has lasted 100 ms, so that a destination that just keeps up is not a stream of messages.
 *
 * Brake: after some site failures in a row a destination gets one job at a time, with pauses of 1, 2, 4, 8, 16 s. The gate
 * suspends it for longer once it has heard of enough failures; the brake only keeps the mail of a dead destination from
 * being tried in the meantime. Anything that is not a site failure releases it. */
#include <string.h>

#include "scheduler/core/internal.h"

static bool key_make(char *key, struct pr_slice destination, struct pr_slice pool, struct pr_slice *ret)
{
    if (destination.len + pool.len + 1 > SCHED_NAME_MAX)
        return false;
    if (pool.len > 0)
        memcpy(key, pool.ptr, pool.len);
    key[pool.len] = '\0';
    if (destination.len > 0)
        memcpy(key + pool.len + 1, destination.ptr, destination.len);
    *ret = pr_slice(key, pool.len + 1 + destination.len);
    return true;
}

struct dest *dest_find(const struct sched *s, struct pr_slice destination, struct pr_slice pool)
{
    char buf[SCHED_NAME_MAX];
    struct pr_slice key;
    return key_make(buf, destination, pool, &key) ? pr_map_get_str(&s->dest_names, key) : NULL;
}

static uint32_t id_alloc(struct sched *s)
{
    if (s->live_dests < s->n_dests)
        return s->free_ids[s->n_dests - s->live_dests - 1];
    if (s->n_dests == s->cap_dests) {
        s->cap_dests = s->cap_dests == 0 ? 64 : s->cap_dests * 2;
        s->dests = pr_realloc(s->dests, s->cap_dests * sizeof *s->dests);
        s->free_ids = pr_realloc(s->free_ids, s->cap_dests * sizeof *s->free_ids);
    }
    return (uint32_t)s->n_dests++;
}

struct dest *dest_get(struct sched *s, struct pr_slice destination, struct pr_slice pool)
{
    char buf[SCHED_NAME_MAX];
    struct pr_slice key;
    bool fits = key_make(buf, destination, pool, &key);
    pr_assert(fits); /* names are bounded where mail comes in */
    struct dest *d = pr_map_get_str(&s->dest_names, key);
    if (d != NULL)
        return d;
    d = pr_new(struct dest);
    d->key = pr_memdup(key.ptr, key.len);
    d->ref = (struct sched_dest_ref){id_alloc(s), pr_slice(d->key + pool.len + 1, destination.len),
                                     pr_slice(d->key, pool.len)};
    for (int c = 0; c < MAIL_CLASS_NR; c++)
        pr_list_init(&d->classes[c].queues);
    pr_list_init(&d->credits);
    pr_list_init(&d->dirty);
    pr_list_init(&d->quiet);
    pr_list_init(&d->idle);
    pr_list_init(&d->waiting);
    pr_list_init(&d->loaded);
    pr_list_init(&d->flows);
    pr_timer_init(&d->brake);
    s->dests[d->ref.id] = d;
    s->live_dests++;
    (void)pr_map_put_str(&s->dest_names, key, d);
    return d;
}

void dest_destroy(struct sched *s, struct dest *d)
{
    struct pr_slice key = pr_slice(d->key, d->ref.pool.len + 1 + d->ref.destination.len);
    (void)pr_map_del_str(&s->dest_names, key);
    pr_list_remove(&d->dirty);
    pr_list_remove(&d->quiet);
    pr_list_remove(&d->idle);
    pr_list_remove(&d->waiting);
    pr_timerq_cancel(&s->mono, &d->brake);
    s->dests[d->ref.id] = NULL;
    s->free_ids[s->n_dests - s->live_dests--] = d->ref.id;
    pr_free(d->key);
    pr_free(d);
}

void dest_touch(struct sched *s, struct dest *d)
{
    if (!pr_list_linked(&d->dirty))
        pr_list_push_back(&s->dirty, &d->dirty);
}

static bool unused(const struct dest *d)
{
    return d->n_flows == 0 && d->n_credits == 0 && d->active == 0 && d->held == 0;
}

void dest_release(struct sched *s, struct dest *d)
{
    if (unused(d))
        dest_touch(s, d);
}

static uint64_t tenant_id(struct sched *s, struct pr_slice tenant)
{
    void *id = pr_map_get_str(&s->tenants, tenant);
    if (id == NULL) {
        id = (void *)(uintptr_t)(pr_map_count(&s->tenants) + 1);
        (void)pr_map_put_str(&s->tenants, tenant, id);
    }
    return (uint64_t)(uintptr_t)id;
}

struct queue *queue_get(struct sched *s, struct dest *d, enum mail_class class_, struct pr_slice tenant, uint32_t weight)
{
    uint64_t key = (uint64_t)d->ref.id << 32 | (uint64_t)class_ << 30 | (tenant_id(s, tenant) & 0x3fffffff);
    struct queue *q = pr_map_get(&s->queues, key);
    if (q == NULL) {
        q = pr_new(struct queue);
        q->dest = d;
        q->class_ = (uint8_t)class_;
        q->map_key = key;
        pr_list_init(&q->link);
        (void)pr_map_put(&s->queues, key, q);
    }
    q->weight = weight == 0 ? 1 : weight;
    return q;
}

void queue_release(struct sched *s, struct queue *q)
{
    if (q->n_flows > 0)
        return;
    (void)pr_map_del(&s->queues, q->map_key);
    pr_free(q);
}

/* Ready jobs without credit may be dropped from memory; oldest first. */
void dest_idle(struct sched *s, struct dest *d)
{
    bool idle = d->ready > 0 && d->avail == 0;
    if (!idle)
        pr_list_remove(&d->idle);
    else if (!pr_list_linked(&d->idle))
        pr_list_push_back(&s->idle, &d->idle);
}

static uint32_t reportable(const struct dest *d)
{
    return d->backlog > SCHED_BACKLOG_MAX ? SCHED_BACKLOG_MAX : (uint32_t)d->backlog;
}

static void report(struct sched *s, struct dest *d)
{
    pr_list_remove(&d->quiet);
    d->reported = reportable(d);
    s->act->demand(s->data, &d->ref, d->reported, d->weight);
}

void demand_flush(struct sched *s)
{
    struct pr_list *n;
    for (int i = 0; s->dispatching && i < SCHED_STEP_DESTS && (n = pr_list_pop_front(&s->dirty)) != NULL; i++) {
        struct dest *d = pr_list_entry(n, struct dest, dirty);
        uint32_t b = reportable(d);
        if (unused(d)) {
            if (d->reported > 0)
                report(s, d);
            dest_destroy(s, d);
        } else if (b > d->reported && b >= 2 * d->reported) {
            report(s, d);
        } else if (b < d->reported && b <= d->reported / 2) {
            if (!pr_list_linked(&d->quiet)) {
                d->quiet_since = s->now.mono;
                pr_list_push_back(&s->quiet, &d->quiet);
            }
        } else {
            pr_list_remove(&d->quiet);
        }
    }
}

void demand_quiet(struct sched *s)
{
    struct pr_list *n;
    while ((n = pr_list_first(&s->quiet)) != NULL) {
        struct dest *d = pr_list_entry(n, struct dest, quiet);
        if (pr_mono_since(s->now.mono, d->quiet_since) < SCHED_QUIET_MS)
            return;
        report(s, d);
    }
}

void demand_again(struct sched *s)
{
    for (size_t i = 0; i < s->n_dests; i++) {
        struct dest *d = s->dests[i];
        if (d == NULL || d->backlog == 0)
            continue; /* that nothing is left will be told to all in time */
        d->reported = 0;
        pr_list_remove(&d->quiet);
        dest_touch(s, d);
    }
}

void dest_wait(struct dest *d, struct pr_list *list)
{
    if (!pr_list_linked(&d->waiting))
        pr_list_push_back(list, &d->waiting);
}

void dest_brake_off(struct sched *s, struct dest *d)
{
    d->site_failures = 0;
    d->brake_level = 0;
    pr_timerq_cancel(&s->mono, &d->brake);
}

void dest_result(struct sched *s, struct dest *d, bool site_failure)
{
    if (!site_failure) {
        dest_brake_off(s, d);
        return;
    }
    if (d->site_failures < UINT32_MAX)
        d->site_failures++;
    if (d->site_failures < SCHED_BRAKE_AFTER)
        return;
    /* What was under way when it died fails together and counts once. */
    if (d->brake_level > 0 && s->now.mono.ms < d->brake_until.ms)
        return;
    uint64_t pause = d->brake_level > 10 ? SCHED_BRAKE_LAST_MS : (uint64_t)SCHED_BRAKE_FIRST_MS << d->brake_level;
    if (pause > SCHED_BRAKE_LAST_MS)
        pause = SCHED_BRAKE_LAST_MS;
    d->brake_level++;
    d->brake_until = pr_mono_add(s->now.mono, pause);
    pr_timerq_set(&s->mono, &d->brake, d->brake_until.ms);
}

bool dest_braked(const struct sched *s, const struct dest *d)
{
    return d->site_failures >= SCHED_BRAKE_AFTER && (d->active > 0 || s->now.mono.ms < d->brake_until.ms);
}
