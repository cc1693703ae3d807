/* Credit: how many jobs each shard may have at this lane for a destination.
 *
 * The lane wants slots x (1 + prefetch) jobs in hand, fewer when the rate is low or the lane is full. That is shared among
 * the shards that ask, by weight; seats that do not divide go to those served least so far (so that one slot and many
 * shards take turns). What a shard may send in all, since this term began:
 *   allowed = received + max(0, share - in hand)
 * Absolute, so a lost or repeated message does no harm. What was allowed once stays allowed: a share that moved elsewhere
 * takes effect as the shard uses up what it has. A demand is a level: it holds until the next one of that shard. */
#include "common/base/assert.h"
#include "deliverer/core/lane_internal.h"

static uint64_t past_key(const struct dlv_dest *d, const struct dlv_shard *s)
{
    return pr_hash(pr_buf_slice(&d->key), s->past.seed);
}

struct dlv_account *account_get(struct dlv_dest *d, struct dlv_shard *s)
{
    struct pr_list *it, *tmp;
    uint64_t least = UINT64_MAX;
    pr_list_foreach(it, tmp, &d->accounts)
    {
        struct dlv_account *a = pr_list_entry(it, struct dlv_account, of_dest);
        if (a->shard == s)
            return a;
        least = PR_MIN(least, a->served);
    }
    struct dlv_account *a = pr_new(struct dlv_account);
    a->dest = d;
    a->shard = s;
    a->term = s->term;
    a->weight = 1;
    a->served = least == UINT64_MAX ? 0 : least;
    void *past = pr_map_del(&s->past, past_key(d, s));
    a->received = a->allowed = past == NULL ? 0 : (uint64_t)(uintptr_t)past - 1;
    pr_list_init(&a->changed);
    pr_list_init(&a->of_dest);
    pr_list_push_back(&d->accounts, &a->of_dest);
    return a;
}

void account_free(struct dlv_account *a)
{
    pr_assert(a->in_hand == 0);
    /* The counter goes on where it was if the destination comes back within the term. */
    if (a->received > 0 && a->term == a->shard->term)
        (void)pr_map_put(&a->shard->past, past_key(a->dest, a->shard), (void *)(uintptr_t)(a->received + 1));
    pr_list_remove(&a->of_dest);
    pr_list_remove(&a->changed);
    pr_free(a);
}

void credit_begin(struct dlv_lane *l, struct dlv_shard *s)
{
    struct pr_list *it, *tmp, *at, *next;
    pr_map_fini(&s->past);
    pr_map_init(&s->past, l->o.seed);
    pr_list_foreach(it, tmp, &l->all)
    {
        struct dlv_dest *d = pr_list_entry(it, struct dlv_dest, all);
        pr_list_foreach(at, next, &d->accounts)
        {
            struct dlv_account *a = pr_list_entry(at, struct dlv_account, of_dest);
            if (a->shard != s)
                continue;
            a->term = s->term;
            a->received = a->allowed = 0;
            a->backlog = 0;
            pr_list_remove(&a->changed);
            dest_touch(l, d);
        }
    }
}

void dlv_lane_demand(struct dlv_lane *l, uint32_t shard, uint64_t term, struct pr_slice destination, struct pr_slice pool,
                     uint32_t backlog, uint32_t weight, pr_mono now)
{
    struct dlv_shard *s = shard_get(l, shard);
    if (s == NULL || term != s->term)
        return;
    struct dlv_dest *d = backlog > 0 ? dest_get(l, destination, pool) : dest_find(l, destination, pool);
    if (d == NULL)
        return;
    struct dlv_account *a = account_get(d, s);
    a->backlog = backlog;
    a->weight = PR_MAX(weight, 1u);
    a->force = true;
    if (backlog > 0)
        a->asked = now;
    dest_touch(l, d);
}

static uint32_t capacity(const struct dlv_lane *l, const struct dlv_dest *d, pr_mono now)
{
    if (l->drained || !dest_fresh(l, d, now) || l->n_jobs >= l->o.jobs_max)
        return 0;
    uint64_t slots = PR_MIN(d->slots, l->o.connections_max);
    uint64_t n = slots * (l->n_jobs < l->o.jobs_max / 2 ? 1 + l->o.prefetch : 1);
    n = PR_MIN(n, (uint64_t)l->o.jobs_max);
    /* At a low rate jobs would only grow old here. */
    return (uint32_t)PR_MIN(n, (uint64_t)dlv_gcra_within(&d->rate, now, RATE_AHEAD_MS) + 1);
}

static bool asks(const struct dlv_account *a, pr_mono now)
{
    return a->shard->led && !a->shard->silent &&
           (a->backlog > 0 || a->in_hand > 0 || pr_mono_since(now, a->asked) < DEMAND_STICKY_MS);
}

static void sort_by_served(struct dlv_account **list, size_t n)
{
    for (size_t i = 1; i < n; i++) {
        struct dlv_account *a = list[i];
        size_t at = i;
        for (; at > 0 && list[at - 1]->served > a->served; at--)
            list[at] = list[at - 1];
        list[at] = a;
    }
}

static void share_out(struct dlv_account **list, size_t n, uint32_t total)
{
    uint64_t weights = 0;
    uint32_t given = 0;
    for (size_t i = 0; i < n; i++)
        weights += list[i]->weight;
    for (size_t i = 0; i < n; i++) {
        list[i]->share = (uint32_t)((uint64_t)total * list[i]->weight / weights);
        given += list[i]->share;
    }
    sort_by_served(list, n);
    for (size_t i = 0; i < n && given < total; i++, given++)
        list[i]->share++;
}

/* Worth a message: enough more that the shard need not wait for it. */
static bool worth_telling(const struct dlv_account *a, uint64_t allowed)
{
    if (a->force && a->share > 0)
        return true;
    if (allowed <= a->allowed)
        return false;
    uint64_t left = a->allowed > a->received ? a->allowed - a->received : 0;
    return left <= a->share / 2 || allowed - a->allowed > a->share / 4;
}

static void tell(struct dlv_lane *l, struct dlv_account *a)
{
    uint64_t allowed = a->received + (a->share > a->in_hand ? a->share - a->in_hand : 0);
    a->next_allowed = PR_MAX(allowed, a->allowed);
    if (!a->shard->led || a->term != a->shard->term || !worth_telling(a, allowed))
        return;
    a->force = false;
    if (!pr_list_linked(&a->changed))
        pr_list_push_back(&l->credits, &a->changed);
}

void credit_settle(struct dlv_lane *l, struct dlv_dest *d, pr_mono now)
{
    struct dlv_account *list[DLV_SHARDS_MAX];
    size_t n = 0;
    struct pr_list *it, *tmp;
    pr_list_foreach(it, tmp, &d->accounts)
    {
        struct dlv_account *a = pr_list_entry(it, struct dlv_account, of_dest);
        a->share = 0;
        if (asks(a, now))
            list[n++] = a;
    }
    if (n > 0)
        share_out(list, n, capacity(l, d, now));
    pr_list_foreach(it, tmp, &d->accounts) tell(l, pr_list_entry(it, struct dlv_account, of_dest));
}

bool dlv_lane_next_credit(struct dlv_lane *l, struct dlv_credit *ret)
{
    struct pr_list *node = pr_list_pop_front(&l->credits);
    if (node == NULL)
        return false;
    struct dlv_account *a = pr_list_entry(node, struct dlv_account, changed);
    a->allowed = a->next_allowed;
    *ret = (struct dlv_credit){a->shard->number, a->term, dlv_dest_name(a->dest), dlv_dest_pool(a->dest), a->allowed};
    return true;
}
