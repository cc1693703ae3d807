/* A destination's connections: how many there should be, which are closed first, who gets the next job.
 *
 * In this order: cut what outlived the hold, close what is beyond the slots (idle ones at once, opening ones too, busy ones
 * when their jobs are done), give back jobs that have no slot to hope for, give jobs to idle connections, open more while
 * jobs wait and slots are free, close what was idle for long. */
#include "common/base/assert.h"
#include "deliverer/core/lane_internal.h"

static struct pr_slice make_key(struct pr_buf *b, struct pr_slice name, struct pr_slice pool)
{
    pr_buf_clear(b);
    pr_buf_add(b, name);
    pr_buf_char(b, '\0');
    pr_buf_add(b, pool);
    return pr_buf_slice(b);
}

struct dlv_dest *dest_find(const struct dlv_lane *l, struct pr_slice name, struct pr_slice pool)
{
    struct pr_buf b = {0};
    struct dlv_dest *d = pr_map_get_str(&l->dests, make_key(&b, name, pool));
    pr_buf_fini(&b);
    return d;
}

struct dlv_dest *dest_get(struct dlv_lane *l, struct pr_slice name, struct pr_slice pool)
{
    struct pr_buf b = {0};
    struct pr_slice key = make_key(&b, name, pool);
    struct dlv_dest *d = pr_map_get_str(&l->dests, key);
    if (d != NULL) {
        pr_buf_fini(&b);
        return d;
    }
    d = pr_new(struct dlv_dest);
    d->key = b;
    d->name_len = name.len;
    pr_list_init(&d->ready);
    pr_list_init(&d->conns);
    pr_list_init(&d->accounts);
    pr_list_init(&d->all);
    pr_list_init(&d->dirty);
    pr_list_init(&d->news);
    pr_timer_init(&d->timer);
    (void)pr_map_put_str(&l->dests, key, d);
    pr_list_push_back(&l->all, &d->all);
    l->n_dests++;
    return d;
}

void dest_free(struct dlv_lane *l, struct dlv_dest *d)
{
    struct pr_list *node;
    pr_assert(pr_list_empty(&d->ready) && pr_list_empty(&d->conns) && d->n_running == 0);
    while ((node = pr_list_first(&d->accounts)) != NULL)
        account_free(pr_list_entry(node, struct dlv_account, of_dest));
    (void)pr_map_del_str(&l->dests, pr_buf_slice(&d->key));
    pr_timerq_cancel(&l->timers, &d->timer);
    pr_list_remove(&d->all);
    pr_list_remove(&d->dirty);
    pr_list_remove(&d->news);
    pr_buf_fini(&d->key);
    pr_buf_fini(&d->last_error);
    pr_free(d);
    l->n_dests--;
}

bool dest_unused(const struct dlv_lane *l, const struct dlv_dest *d, pr_mono now)
{
    if (dest_open(d) > 0 || d->n_ready > 0 || d->n_running > 0 || d->told_wants > 0 || d->ok > 0 || d->failures > 0)
        return false;
    const struct pr_list *it;
    for (it = d->accounts.next; it != &d->accounts; it = it->next) {
        const struct dlv_account *a = pr_list_entry(it, const struct dlv_account, of_dest);
        if (a->in_hand > 0 || a->backlog > 0 || pr_mono_since(now, a->asked) < DEMAND_STICKY_MS)
            return false;
    }
    /* What the gate lent comes back by telling it or by time. */
    return d->slots == 0 ? d->acked_seq == d->told_ack : now.ms >= l->lease.ms;
}

void dest_touch(struct dlv_lane *l, struct dlv_dest *d)
{
    if (!pr_list_linked(&d->dirty))
        pr_list_push_back(&l->dirty, &d->dirty);
}

void dests_touch(struct dlv_lane *l)
{
    struct pr_list *it, *tmp;
    pr_list_foreach(it, tmp, &l->all) dest_touch(l, pr_list_entry(it, struct dlv_dest, all));
}

struct pr_slice dlv_dest_name(const struct dlv_dest *d)
{
    return pr_slice(d->key.ptr, d->name_len);
}

struct pr_slice dlv_dest_pool(const struct dlv_dest *d)
{
    return pr_slice_from(pr_buf_slice(&d->key), d->name_len + 1);
}

unsigned dlv_dest_mails_max(const struct dlv_dest *d)
{
    return d->mails_max;
}

unsigned dlv_dest_rcpts_max(const struct dlv_dest *d)
{
    return d->rcpts_max;
}

struct dlv_job *dlv_dest_peek(const struct dlv_dest *d)
{
    return pr_list_empty(&d->ready) ? NULL : pr_list_entry(d->ready.next, struct dlv_job, link);
}

static uint32_t *counter(struct dlv_dest *d, enum dlv_conn_state state)
{
    switch (state) {
    case DLV_CONN_OPENING:
        return &d->opening;
    case DLV_CONN_IDLE:
        return &d->idle;
    case DLV_CONN_BUSY:
        return &d->busy;
    case DLV_CONN_CLOSING:
        return &d->closing;
    }
    pr_unreachable();
}

void conn_move(struct dlv_dest *d, struct dlv_conn *conn, enum dlv_conn_state state, pr_mono now)
{
    if (conn->state == state)
        return;
    if (conn->draining && conn->state == DLV_CONN_BUSY) {
        d->draining--;
        conn->draining = false;
        if (state != DLV_CONN_CLOSING)
            state = DLV_CONN_CLOSING; /* its goodbye is under way */
    }
    (*counter(d, conn->state))--;
    (*counter(d, state))++;
    conn->state = state;
    conn->since = now;
    /* The longest idle are closed first, the latest used are given jobs first: front of the list is fresh. */
    pr_list_remove(&conn->link);
    pr_list_push_front(&d->conns, &conn->link);
}

void dlv_lane_open(struct dlv_lane *l, struct dlv_conn *conn, struct dlv_dest *d, pr_mono now)
{
    *conn = (struct dlv_conn){.dest = d, .state = DLV_CONN_OPENING, .since = now};
    pr_list_init(&conn->link);
    pr_list_push_front(&d->conns, &conn->link);
    d->opening++;
    l->open++;
    dest_touch(l, d);
}

void dlv_lane_ready(struct dlv_lane *l, struct dlv_conn *conn, pr_mono now)
{
    if (conn->state == DLV_CONN_OPENING)
        conn_move(conn->dest, conn, DLV_CONN_IDLE, now);
    dest_touch(l, conn->dest);
}

void dlv_lane_idle(struct dlv_lane *l, struct dlv_conn *conn, pr_mono now)
{
    if (conn->state == DLV_CONN_BUSY)
        conn_move(conn->dest, conn, DLV_CONN_IDLE, now);
    dest_touch(l, conn->dest);
}

void dlv_lane_closing(struct dlv_lane *l, struct dlv_conn *conn)
{
    conn_move(conn->dest, conn, DLV_CONN_CLOSING, conn->since);
    dest_touch(l, conn->dest);
}

void dlv_lane_closed(struct dlv_lane *l, struct dlv_conn *conn, pr_mono now)
{
    struct dlv_dest *d = conn->dest;
    pr_assert(conn->jobs == 0);
    conn_move(d, conn, DLV_CONN_CLOSING, now);
    d->closing--;
    l->open--;
    pr_list_remove(&conn->link);
    conn->dest = NULL;
    dest_touch(l, d);
    if (l->crowded)
        dests_touch(l);
    l->crowded = false;
}

static struct dlv_conn *find_conn(const struct dlv_dest *d, enum dlv_conn_state state, bool oldest)
{
    const struct pr_list *it = oldest ? d->conns.prev : d->conns.next;
    for (; it != &d->conns; it = oldest ? it->prev : it->next) {
        struct dlv_conn *conn = pr_list_entry(it, struct dlv_conn, link);
        if (conn->state == state && !conn->draining)
            return conn;
    }
    return NULL;
}

static bool act(struct dlv_lane_action *ret, enum dlv_lane_action_type type, struct dlv_dest *d, struct dlv_conn *conn)
{
    *ret = (struct dlv_lane_action){.type = type, .dest = d, .conn = conn};
    return true;
}

static bool past_hold(const struct dlv_lane *l, pr_mono now)
{
    return l->lease.ms > 0 && now.ms >= pr_mono_add(l->lease, l->o.grant_hold_ms).ms;
}

/* Jobs of a shard that has been silent for so long may soon be leased to somebody else. */
static bool forsaken(const struct dlv_lane *l, const struct dlv_dest *d, const struct dlv_conn *conn, pr_mono now)
{
    const struct pr_list *it;
    for (it = d->accounts.next; it != &d->accounts; it = it->next) {
        const struct dlv_account *a = pr_list_entry(it, const struct dlv_account, of_dest);
        if (a->in_hand == 0 || pr_mono_since(now, a->shard->contact) < l->o.self_ms + SELF_ABORT_MS)
            continue;
        const struct pr_list *j;
        for (j = a->shard->jobs.next; j != &a->shard->jobs; j = j->next)
            if (pr_list_entry(j, const struct dlv_job, of_shard)->conn == conn)
                return true;
    }
    return false;
}

static bool plan_cut(struct dlv_lane *l, struct dlv_dest *d, struct dlv_lane_action *ret, pr_mono now)
{
    bool hold_over = past_hold(l, now);
    struct pr_list *it, *tmp;
    pr_list_foreach(it, tmp, &d->conns)
    {
        struct dlv_conn *conn = pr_list_entry(it, struct dlv_conn, link);
        if (conn->dot || conn->aborted || (!hold_over && !(conn->jobs > 0 && forsaken(l, d, conn, now))))
            continue;
        conn->aborted = true;
        return act(ret, DLV_LANE_ABORT, d, conn);
    }
    return false;
}

static bool plan_shrink(struct dlv_dest *d, uint32_t slots, struct dlv_lane_action *ret, pr_mono now)
{
    struct dlv_conn *conn;
    if (dest_staying(d) <= slots)
        return false;
    if ((conn = find_conn(d, DLV_CONN_IDLE, true)) != NULL) {
        conn_move(d, conn, DLV_CONN_CLOSING, now);
        return act(ret, DLV_LANE_QUIT, d, conn);
    }
    if ((conn = find_conn(d, DLV_CONN_OPENING, false)) != NULL) {
        conn_move(d, conn, DLV_CONN_CLOSING, now);
        conn->aborted = true;
        return act(ret, DLV_LANE_ABORT, d, conn);
    }
    conn = find_conn(d, DLV_CONN_BUSY, false);
    pr_assert(conn != NULL);
    conn->draining = true;
    d->draining++;
    return act(ret, DLV_LANE_QUIT, d, conn);
}

static bool plan_give(struct dlv_lane *l, struct dlv_dest *d, struct dlv_lane_action *ret, pr_mono now)
{
    struct dlv_conn *conn = d->n_ready == 0 || d->idle == 0 ? NULL : find_conn(d, DLV_CONN_IDLE, false);
    struct dlv_job *job = conn == NULL ? NULL : dlv_lane_take(l, conn, now);
    if (job == NULL)
        return false;
    *ret = (struct dlv_lane_action){DLV_LANE_GIVE, d, conn, job};
    return true;
}

/* The lane has as many connections as it may: one that is idle at a destination without jobs makes room, one at a time. */
static bool plan_room(struct dlv_lane *l, struct dlv_lane_action *ret, pr_mono now)
{
    struct dlv_conn *oldest = NULL;
    struct pr_list *it, *tmp;
    l->crowded = true;
    pr_list_foreach(it, tmp, &l->all)
    {
        struct dlv_dest *d = pr_list_entry(it, struct dlv_dest, all);
        if (d->closing > 0)
            return false; /* on its way */
        struct dlv_conn *conn = d->idle == 0 || d->n_ready > 0 ? NULL : find_conn(d, DLV_CONN_IDLE, true);
        if (conn != NULL && (oldest == NULL || conn->since.ms < oldest->since.ms))
            oldest = conn;
    }
    if (oldest == NULL)
        return false;
    conn_move(oldest->dest, oldest, DLV_CONN_CLOSING, now);
    return act(ret, DLV_LANE_QUIT, oldest->dest, oldest);
}

static bool plan_open(struct dlv_lane *l, struct dlv_dest *d, struct dlv_lane_action *ret, pr_mono now)
{
    if (d->n_ready <= d->opening + d->idle || dest_open(d) >= d->slots)
        return false;
    if (l->open >= l->o.connections_max)
        return plan_room(l, ret, now);
    if (now.ms + l->o.grant_margin_ms >= l->lease.ms || dlv_gcra_next(&d->rate).ms > now.ms)
        return false;
    if (d->streak >= FAILURES_IN_A_ROW && d->failures > 0)
        return false;
    return act(ret, DLV_LANE_OPEN, d, NULL);
}

static bool plan_idle(const struct dlv_lane *l, struct dlv_dest *d, struct dlv_lane_action *ret, pr_mono now)
{
    struct dlv_conn *conn = d->idle == 0 ? NULL : find_conn(d, DLV_CONN_IDLE, true);
    if (conn == NULL || (!l->drained && pr_mono_since(now, conn->since) < l->o.idle_ms))
        return false;
    conn_move(d, conn, DLV_CONN_CLOSING, now);
    return act(ret, DLV_LANE_QUIT, d, conn);
}

bool dest_plan(struct dlv_lane *l, struct dlv_dest *d, struct dlv_lane_action *ret, pr_mono now)
{
    uint32_t slots = dest_fresh(l, d, now) ? d->slots : 0;
    if (plan_cut(l, d, ret, now) || plan_shrink(d, slots, ret, now))
        return true;
    if (slots == 0)
        dest_return_ready(l, d, l->drained ? DLV_RETURN_DRAINING : DLV_RETURN_NO_SLOT);
    if (plan_give(l, d, ret, now) || plan_open(l, d, ret, now) || plan_idle(l, d, ret, now))
        return true;
    if (d->n_ready > 0 && dlv_gcra_next(&d->rate).ms > now.ms)
        pr_timerq_set(&l->timers, &d->timer, dlv_gcra_next(&d->rate).ms);
    return false;
}
