/* Paths (destination x pool): their registry and limits. */
#include <string.h>

#include "scheduler/core/gate_internal.h"

static bool key_make(char *key, struct pr_slice destination, struct pr_slice pool, struct pr_slice *ret)
{
    if (destination.len + pool.len + 1 > GATE_NAME_MAX)
        return false;
    if (pool.len > 0)
        memcpy(key, pool.ptr, pool.len);
    key[pool.len] = '\0';
    if (destination.len > 0)
        memcpy(key + pool.len + 1, destination.ptr, destination.len);
    *ret = pr_slice(key, pool.len + 1 + destination.len);
    return true;
}

struct path *path_find(const struct gate *g, struct pr_slice destination, struct pr_slice pool)
{
    char buf[GATE_NAME_MAX];
    struct pr_slice key;
    return key_make(buf, destination, pool, &key) ? pr_map_get_str(&g->paths, key) : NULL;
}

static uint32_t id_alloc(struct gate *g)
{
    if (g->live_ids < g->n_ids)
        return g->free_ids[g->n_ids - g->live_ids - 1];
    if (g->n_ids == g->cap_ids) {
        g->cap_ids = g->cap_ids == 0 ? 64 : g->cap_ids * 2;
        g->by_id = pr_realloc(g->by_id, g->cap_ids * sizeof *g->by_id);
        g->free_ids = pr_realloc(g->free_ids, g->cap_ids * sizeof *g->free_ids);
    }
    return (uint32_t)g->n_ids++;
}

void path_limit(struct gate *g, struct path *p)
{
    uint32_t before = p->limit.connections;
    p->limit = (struct gate_limit){.connections = 1};
    g->act->limit(g->data, p->destination, p->pool, &p->limit);
    pr_assert(p->limit.connections >= 1);
    if (p->state == GATE_NORMAL || before == 0)
        p->window = p->limit.connections;
    else if (p->window > p->limit.connections)
        p->window = p->limit.connections;
}

struct path *path_get(struct gate *g, struct pr_slice destination, struct pr_slice pool)
{
    char buf[GATE_NAME_MAX];
    struct pr_slice key;
    if (!key_make(buf, destination, pool, &key))
        return NULL;
    struct path *p = pr_map_get_str(&g->paths, key);
    if (p != NULL)
        return p;
    p = pr_new(struct path);
    p->key = pr_memdup(key.ptr, key.len);
    p->pool = pr_slice(p->key, pool.len);
    p->destination = pr_slice(p->key + pool.len + 1, destination.len);
    p->id = id_alloc(g);
    p->used = g->now.mono;
    p->span_since = g->now.mono;
    pr_list_init(&p->entries);
    pr_list_init(&p->flag_link);
    pr_timer_init(&p->timer);
    g->by_id[p->id] = p;
    g->live_ids++;
    (void)pr_map_put_str(&g->paths, key, p);
    path_limit(g, p);
    return p;
}

void path_destroy(struct gate *g, struct path *p)
{
    (void)pr_map_del_str(&g->paths, pr_slice(p->key, p->pool.len + 1 + p->destination.len));
    pr_timerq_cancel(&g->timers, &p->timer);
    pr_list_remove(&p->flag_link);
    g->by_id[p->id] = NULL;
    g->free_ids[g->n_ids - g->live_ids--] = p->id;
    pr_free(p->key);
    pr_free(p);
}

void path_flag(struct gate *g, struct path *p)
{
    if (!pr_list_linked(&p->flag_link))
        pr_list_push_back(&g->flagged, &p->flag_link);
}

uint32_t path_open(const struct path *p)
{
    struct pr_list *it, *tmp;
    uint32_t n = 0;
    pr_list_foreach(it, tmp, (struct pr_list *)(uintptr_t)&p->entries)
        n += pr_list_entry(it, struct entry, of_path)->open;
    return n;
}

uint32_t path_allows(const struct path *p)
{
    switch (p->state) {
    case GATE_SUSPENDED:
        return 0;
    case GATE_PROBE:
        return 1;
    case GATE_NORMAL:
    case GATE_THROTTLED:
    case GATE_SLOW:
    case GATE_STATE_NR:
        break;
    }
    return p->window < p->limit.connections ? p->window : p->limit.connections;
}
