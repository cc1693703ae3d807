/* The gate: requests of lanes, leases, learning, time.
 *
 * Life of a slot: a lane asks (wants) -> it is allocated (gate_alloc.c) and charged -> granted -> the lane acknowledges;
 * renewed by every request of the lane. It ends when the lane acknowledges a lower grant, when the lane's next process
 * says HELLO (the old one's sockets are gone), or when the lease and the drain hold have run out here, which is later than
 * anywhere else: receipt + L (1 + 2 rho) + H, and the lane counted from when it sent the request.
 *
 * A gate that has just started knows nothing of slots that an earlier one granted. It learns: what a lane has open is
 * granted and charged, no more; until all members have sent their whole table and acknowledged that (so that no older
 * grant is in use), or every old lease must have run out. */
#include "scheduler/core/gate_internal.h"

void gate_config_default(struct gate_config *c)
{
    *c = (struct gate_config){
        .lease_ms = 30 * 1000,
        .hold_ms = 60 * 1000,
        .holder_slots = 4,
        .throttle_hold_ms = 10 * 60 * 1000,
        .throttle_step_ms = 5 * 1000,
        .suspend_first_ms = 5 * 60 * 1000,
        .suspend_last_ms = 120 * 60 * 1000,
        .forget_ms = 24 * 60 * 60 * 1000,
        .seed = 1,
    };
}

struct gate *gate_new(const struct gate_config *config, const struct gate_actions *actions, void *data, struct pr_now now,
                      uint32_t epoch, const uint64_t *members, size_t n_members, bool members_known)
{
    struct gate *g = pr_new(struct gate);
    pr_assert(config->holder_slots >= 1);
    g->cfg = *config;
    g->act = actions;
    g->data = data;
    g->now = now;
    g->epoch = epoch;
    g->members_known = members_known;
    pr_rng_init(&g->rng, config->seed ^ epoch);
    pr_map_init(&g->paths, config->seed);
    pr_map_init(&g->lanes, 0);
    pr_map_init(&g->entries, 0);
    pr_map_init(&g->members, 0);
    pr_list_init(&g->all_lanes);
    pr_list_init(&g->flagged);
    pr_timerq_init(&g->timers, now.mono.ms);
    for (size_t i = 0; i < n_members; i++)
        (void)pr_map_put(&g->members, members[i], g);
    g->learning = !members_known || n_members > 0;
    g->learn_until = pr_mono_add(now.mono, config->lease_ms + config->lease_ms / 500 + config->hold_ms + GATE_LEARN_EXTRA_MS);
    return g;
}

uint32_t gate_epoch(const struct gate *g) { return g->epoch; }
bool gate_learning(const struct gate *g) { return g->learning; }

/* ---- lanes and entries ---- */

static uint64_t entry_key(const struct glane *l, const struct path *p)
{
    return pr_hash_u64(l->holder) ^ p->id;
}

static struct entry *entry_find(const struct gate *g, const struct glane *l, const struct path *p)
{
    struct entry *e = pr_map_get(&g->entries, entry_key(l, p));
    if (e != NULL && e->lane == l && e->path == p)
        return e;
    if (e == NULL)
        return NULL;
    /* Two pairs with one key: rare enough to look along the list. */
    struct pr_list *it, *tmp;
    pr_list_foreach(it, tmp, (struct pr_list *)(uintptr_t)&l->entries) {
        e = pr_list_entry(it, struct entry, of_lane);
        if (e->path == p)
            return e;
    }
    return NULL;
}

static struct entry *entry_new(struct gate *g, struct glane *l, struct path *p)
{
    struct entry *e = pr_new(struct entry);
    e->path = p;
    e->lane = l;
    e->acked = true;
    e->seq = (uint64_t)g->epoch << 32 | ++g->seq;
    pr_list_init(&e->out);
    pr_list_push_back(&l->entries, &e->of_lane);
    pr_list_push_back(&p->entries, &e->of_path);
    p->n_entries++;
    if (pr_map_get(&g->entries, entry_key(l, p)) == NULL)
        (void)pr_map_put(&g->entries, entry_key(l, p), e);
    return e;
}

static void entry_free(struct gate *g, struct entry *e)
{
    struct path *p = e->path;
    uint64_t key = entry_key(e->lane, p);
    if (pr_map_get(&g->entries, key) == e)
        (void)pr_map_del(&g->entries, key);
    pr_list_remove(&e->of_lane);
    pr_list_remove(&e->of_path);
    pr_list_remove(&e->out);
    pr_free(e);
    p->n_entries--;
    p->used = g->now.mono;
    path_flag(g, p);
}

static struct glane *lane_get(struct gate *g, uint64_t holder, uint64_t boot_id)
{
    struct glane *l = pr_map_get(&g->lanes, holder);
    if (l != NULL)
        return l;
    l = pr_new(struct glane);
    l->holder = holder;
    l->boot_id = boot_id;
    l->expires = g->now.mono;
    pr_list_init(&l->entries);
    pr_list_init(&l->out);
    pr_list_push_back(&g->all_lanes, &l->link);
    (void)pr_map_put(&g->lanes, holder, l);
    return l;
}

/* Nothing is held any more. */
static void lane_clear(struct gate *g, struct glane *l)
{
    struct pr_list *n;
    while ((n = pr_list_first(&l->entries)) != NULL)
        entry_free(g, pr_list_entry(n, struct entry, of_lane));
    l->leased = l->full_seen = l->answer = false;
}

static void lane_free(struct gate *g, struct glane *l)
{
    pr_list_remove(&l->link);
    (void)pr_map_del(&g->lanes, l->holder);
    pr_free(l);
}

void gate_free(struct gate *g)
{
    struct pr_list *n;
    if (g == NULL)
        return;
    while ((n = pr_list_first(&g->all_lanes)) != NULL) {
        struct glane *l = pr_list_entry(n, struct glane, link);
        lane_clear(g, l);
        lane_free(g, l);
    }
    for (size_t i = 0; i < g->n_ids; i++)
        if (g->by_id[i] != NULL)
            path_destroy(g, g->by_id[i]);
    pr_map_fini(&g->paths);
    pr_map_fini(&g->lanes);
    pr_map_fini(&g->entries);
    pr_map_fini(&g->members);
    pr_free(g->by_id);
    pr_free(g->free_ids);
    pr_free(g->scratch);
    pr_free(g);
}

/* ---- end of a step: allocate, grant ---- */

static void grant_lane(struct gate *g, struct glane *l)
{
    struct gate_slot items[GATE_GRANT_BATCH];
    struct pr_list *n;
    size_t k = 0;
    while ((n = pr_list_pop_front(&l->out)) != NULL) {
        const struct entry *e = pr_list_entry(n, struct entry, out);
        const struct gate_limit *limit = &e->path->limit;
        if (k == GATE_GRANT_BATCH) {
            g->act->grant(g->data, l->holder, l->t_seq, items, k);
            k = 0;
            l->answer = false;
        }
        items[k++] = (struct gate_slot){
            .destination = e->path->destination, .pool = e->path->pool, .seq = e->seq, .slots = e->slots,
            .messages_per_connection = limit->messages_per_connection,
            .recipients_per_message = limit->recipients_per_message,
            .rate_count = e->rate, .rate_per_ms = e->rate == 0 ? 0 : limit->rate_per_ms,
        };
    }
    if (k > 0 || l->answer)
        g->act->grant(g->data, l->holder, l->t_seq, items, k);
    l->answer = false;
}

static void settle(struct gate *g, struct path *p)
{
    struct pr_list *it, *tmp;
    path_allocate(g, p);
    pr_list_foreach(it, tmp, &p->entries) {
        struct entry *e = pr_list_entry(it, struct entry, of_path);
        if (e->acked && e->slots == 0 && e->charged == 0 && e->wants == 0 && !pr_list_linked(&e->out))
            entry_free(g, e);
    }
    if (p->n_entries > 0)
        return;
    if (p->state == GATE_NORMAL)
        path_destroy(g, p);
    else if (p->state != GATE_SUSPENDED && !pr_timer_armed(&p->timer))
        pr_timerq_set(&g->timers, &p->timer, pr_mono_add(g->now.mono, g->cfg.forget_ms).ms);
}

static void step_begin(struct gate *g, struct pr_now now)
{
    pr_assert(!g->in_step);
    g->in_step = true;
    g->now = now;
}

static void step_end(struct gate *g)
{
    struct pr_list *n, *it, *tmp;
    while ((n = pr_list_pop_front(&g->flagged)) != NULL)
        settle(g, pr_list_entry(n, struct path, flag_link));
    pr_list_foreach(it, tmp, &g->all_lanes)
        grant_lane(g, pr_list_entry(it, struct glane, link));
    g->in_step = false;
}

/* ---- learning ---- */

/* All that this lane may use is known. */
static void note_heard(struct gate *g, const struct glane *l)
{
    struct pr_list *it, *tmp;
    if (!l->full_seen)
        return;
    pr_list_foreach(it, tmp, (struct pr_list *)(uintptr_t)&l->entries)
        if (!pr_list_entry(it, struct entry, of_lane)->acked)
            return;
    (void)pr_map_del(&g->members, l->holder);
}

static void flag_all(struct gate *g)
{
    for (size_t i = 0; i < g->n_ids; i++)
        if (g->by_id[i] != NULL)
            path_flag(g, g->by_id[i]);
}

static void learned(struct gate *g)
{
    bool all = g->members_known && pr_map_count(&g->members) == 0;
    if (!g->learning || (!all && g->now.mono.ms < g->learn_until.ms))
        return;
    g->learning = false;
    flag_all(g);
}

/* ---- events ---- */

void gate_lane_up(struct gate *g, struct pr_now now, uint64_t holder, uint64_t boot_id)
{
    step_begin(g, now);
    struct glane *l = lane_get(g, holder, boot_id);
    if (l->boot_id != boot_id) {
        lane_clear(g, l);
        l->boot_id = boot_id;
    }
    step_end(g);
}

void gate_lane_gone(struct gate *g, struct pr_now now, uint64_t holder)
{
    step_begin(g, now);
    struct glane *l = pr_map_get(&g->lanes, holder);
    (void)pr_map_del(&g->members, holder);
    if (l != NULL) {
        lane_clear(g, l);
        lane_free(g, l);
    }
    learned(g);
    step_end(g);
}

static void acknowledge(struct entry *e, const struct gate_want *w)
{
    if (w->acked_seq == e->seq)
        e->acked = true;
    /* Until the present grant is acknowledged, the lane may use the most that was ever granted since the last time. */
    if (e->acked) {
        e->charged = e->slots > w->open ? e->slots : w->open;
        e->rate_charged = e->rate;
    } else if (e->charged < w->open) {
        e->charged = w->open;
    }
    e->open = w->open;
}

/* What it has open it may keep. Of a rate it gets one message: no more than its share under the earlier gate was. */
static void learn(struct gate *g, struct entry *e, uint32_t open)
{
    const struct path *p = e->path;
    struct pr_list *it, *tmp;
    uint64_t rates = 0;
    pr_list_foreach(it, tmp, (struct pr_list *)(uintptr_t)&p->entries)
        rates += pr_list_entry(it, struct entry, of_path)->rate_charged;
    if (p->limit.rate_count != 0 && e->rate == 0 && rates >= p->limit.rate_count)
        return;
    entry_set(g, e, open < p->limit.connections ? open : p->limit.connections, p->limit.rate_count != 0);
}

static void request_item(struct gate *g, struct glane *l, const struct gate_want *w)
{
    struct path *p = path_get(g, w->destination, w->pool);
    if (p == NULL)
        return;
    struct entry *e = entry_find(g, l, p);
    if (e == NULL) {
        e = entry_new(g, l, p);
        /* It may hold slots of an earlier gate, if it was ever granted any. */
        e->acked = !g->learning || (w->acked_seq == 0 && w->open == 0);
    }
    if (g->learning && !e->acked && w->open > e->slots)
        learn(g, e, w->open);
    acknowledge(e, w);
    e->wants = w->wants < GATE_WANTS_MAX ? w->wants : GATE_WANTS_MAX;
    p->used = g->now.mono;
    path_feedback(g, p, w->ok, w->site_failures, w->last_error);
    path_flag(g, p);
    entry_push(e);
}

static void forget_unlisted(struct gate *g, struct glane *l)
{
    struct pr_list *it, *tmp;
    pr_list_foreach(it, tmp, &l->entries) {
        struct entry *e = pr_list_entry(it, struct entry, of_lane);
        if (!pr_list_linked(&e->out))
            entry_free(g, e);
    }
}

void gate_request(struct gate *g, struct pr_now now, uint64_t holder, uint64_t boot_id, uint32_t epoch_seen, uint64_t t_seq,
                  bool full, const struct gate_want *items, size_t n)
{
    step_begin(g, now);
    struct glane *l = lane_get(g, holder, boot_id);
    if (epoch_seen == g->epoch && l->boot_id == boot_id) {
        struct pr_list *it, *tmp;
        l->t_seq = t_seq;
        l->leased = l->answer = true;
        l->expires = pr_mono_add(now.mono, g->cfg.lease_ms + g->cfg.lease_ms / 500 + g->cfg.hold_ms);
        for (size_t i = 0; i < n; i++)
            request_item(g, l, &items[i]);
        if (full) {
            forget_unlisted(g, l);
            l->full_seen = true;
        }
        note_heard(g, l);
        /* A grant may have been lost: say it again until it is acknowledged. */
        pr_list_foreach(it, tmp, &l->entries)
            if (!pr_list_entry(it, struct entry, of_lane)->acked)
                entry_push(pr_list_entry(it, struct entry, of_lane));
        learned(g);
    }
    step_end(g);
}

void gate_limits_changed(struct gate *g, struct pr_now now)
{
    struct pr_list *it, *tmp;
    step_begin(g, now);
    for (size_t i = 0; i < g->n_ids; i++) {
        struct path *p = g->by_id[i];
        if (p == NULL)
            continue;
        path_limit(g, p);
        path_flag(g, p);
        pr_list_foreach(it, tmp, &p->entries) {
            struct entry *e = pr_list_entry(it, struct entry, of_path);
            e->seq = (uint64_t)g->epoch << 32 | ++g->seq;
            e->acked = false;
            entry_push(e);
        }
    }
    step_end(g);
}

size_t gate_flush(struct gate *g, struct pr_now now, struct pr_slice destination)
{
    size_t n = 0;
    step_begin(g, now);
    for (size_t i = 0; i < g->n_ids; i++) {
        struct path *p = g->by_id[i];
        if (p != NULL && (destination.len == 0 || pr_slice_eq(p->destination, destination)))
            n += path_flush(g, p);
    }
    step_end(g);
    return n;
}

void gate_suspend(struct gate *g, struct pr_now now, struct pr_slice destination, struct pr_slice pool, uint64_t for_ms)
{
    step_begin(g, now);
    struct path *p = path_get(g, destination, pool);
    if (p != NULL)
        path_move(g, p, GATE_SUSPENDED, "operator", for_ms);
    step_end(g);
}

void gate_tick(struct gate *g, struct pr_now now)
{
    struct pr_list *it, *tmp;
    struct pr_timer *t;
    step_begin(g, now);
    pr_list_foreach(it, tmp, &g->all_lanes) {
        struct glane *l = pr_list_entry(it, struct glane, link);
        if (l->leased && now.mono.ms >= l->expires.ms)
            lane_clear(g, l);
        else if (!l->leased && pr_mono_since(now.mono, l->expires) >= g->cfg.forget_ms)
            lane_free(g, l);
    }
    while ((t = pr_timerq_pop(&g->timers, now.mono.ms)) != NULL)
        path_timer(g, pr_container_of(t, struct path, timer));
    learned(g);
    step_end(g);
}

pr_mono gate_deadline(const struct gate *g)
{
    uint64_t t = pr_timerq_next(&g->timers);
    struct pr_list *it, *tmp;
    pr_list_foreach(it, tmp, (struct pr_list *)(uintptr_t)&g->all_lanes) {
        const struct glane *l = pr_list_entry(it, struct glane, link);
        if (l->leased && l->expires.ms < t)
            t = l->expires.ms;
    }
    if (g->learning && g->learn_until.ms < t)
        t = g->learn_until.ms;
    return (pr_mono){t};
}

/* ---- looking in ---- */

static void describe(const struct path *p, struct pr_now now, struct gate_path_info *ret)
{
    struct pr_list *it, *tmp;
    *ret = (struct gate_path_info){
        .destination = p->destination, .pool = p->pool, .state = p->state, .limit = p->limit.connections,
        .window = path_allows(p), .last_error = pr_slice(p->error, p->error_len),
    };
    if (pr_timer_armed(&p->timer) && p->state == GATE_SUSPENDED)
        ret->left_ms = p->timer.due_ms > now.mono.ms ? p->timer.due_ms - now.mono.ms : 1;
    pr_list_foreach(it, tmp, (struct pr_list *)(uintptr_t)&p->entries) {
        const struct entry *e = pr_list_entry(it, struct entry, of_path);
        ret->granted += e->charged;
        ret->open += e->open;
        ret->wants += e->wants;
    }
}

size_t gate_path_list(const struct gate *g, struct pr_now now, uint32_t *cursor, struct gate_path_info *out, size_t cap)
{
    size_t n = 0, i = *cursor;
    for (; i < g->n_ids && n < cap; i++)
        if (g->by_id[i] != NULL)
            describe(g->by_id[i], now, &out[n++]);
    *cursor = i < g->n_ids ? (uint32_t)i : 0;
    return n;
}

int gate_path_get(const struct gate *g, struct pr_now now, struct pr_slice destination, struct pr_slice pool,
                  struct gate_path_info *ret)
{
    const struct path *p = path_find(g, destination, pool);
    if (p == NULL)
        return PR_ENOTFOUND;
    describe(p, now, ret);
    return 0;
}

void gate_check_invariants(const struct gate *g)
{
    for (size_t i = 0; i < g->n_ids; i++) {
        const struct path *p = g->by_id[i];
        struct pr_list *it, *tmp;
        uint32_t n = 0;
        if (p == NULL)
            continue;
        pr_assert(p->window >= 1 && p->window <= p->limit.connections);
        pr_assert(p->n_entries > 0 || p->state != GATE_NORMAL);
        pr_list_foreach(it, tmp, (struct pr_list *)(uintptr_t)&p->entries) {
            const struct entry *e = pr_list_entry(it, struct entry, of_path);
            pr_assert(e->path == p && e->charged >= e->slots && e->rate_charged >= e->rate);
            pr_assert(!e->acked || e->charged == (e->slots > e->open ? e->slots : e->open));
            pr_assert(p->limit.rate_count == 0 || e->slots == 0 || e->rate > 0);
            pr_assert(pr_list_empty(&e->lane->out));
            n++;
        }
        pr_assert(n == p->n_entries);
    }
}
