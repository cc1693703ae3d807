/* fsm_flow.c - the flow table: small, in memory whole, rebuilt from its column family at start. */
#include "common/base/alloc.h"
#include "common/base/assert.h"
#include "common/cluster/fsm_internal.h"

/* Length-prefixed, so that no two flows share a name. */
static struct pr_slice flow_name(struct fsm *f, enum mail_class class_, struct pr_slice tenant, struct pr_slice pool,
                                 struct pr_slice domain)
{
    pr_buf_clear(&f->name);
    pr_buf_char(&f->name, (char)class_);
    pr_buf_le16(&f->name, (uint16_t)tenant.len);
    pr_buf_add(&f->name, tenant);
    pr_buf_le16(&f->name, (uint16_t)pool.len);
    pr_buf_add(&f->name, pool);
    pr_buf_add(&f->name, domain);
    return pr_buf_slice(&f->name);
}

static struct pr_slice keep(char **at, struct pr_slice s)
{
    char *p = *at;
    if (s.len > 0)
        memcpy(p, s.ptr, s.len);
    *at += s.len;
    return pr_slice(p, s.len);
}

static struct flow *add_flow(struct fsm *f, const struct fsm_flow *from)
{
    struct flow *w = pr_malloc(sizeof *w + from->tenant.len + from->pool.len + from->domain.len);
    char *at = w->text;
    w->next = NULL;
    w->pub.flow_id = from->flow_id;
    w->pub.class_ = from->class_;
    w->pub.tenant = keep(&at, from->tenant);
    w->pub.pool = keep(&at, from->pool);
    w->pub.domain = keep(&at, from->domain);
    pr_map_put(&f->flows, w->pub.flow_id, w);
    pr_map_put_str(&f->flow_names, flow_name(f, w->pub.class_, w->pub.tenant, w->pub.pool, w->pub.domain), w);
    return w;
}

int fsm_flows_load(struct fsm *f)
{
    struct stage_iter *it = stage_iter_new(f->stage, KV_FLOW, PR_SLICE_LIT(""), PR_SLICE_LIT(""));
    int err = 0;
    for (; err == 0 && stage_iter_valid(it); stage_iter_next(it)) {
        struct fsm_flow w;
        err = key_flow_parse(stage_iter_key(it), &w.flow_id);
        if (err == 0)
            err = rec_flow_decode(stage_iter_value(it), &w);
        if (err == 0)
            add_flow(f, &w);
    }
    if (err == 0)
        err = stage_iter_error(it);
    stage_iter_free(it);
    return err;
}

void fsm_flows_forget_dropped(struct fsm *f)
{
    while (f->dropped != NULL) {
        struct flow *w = f->dropped;
        f->dropped = w->next;
        pr_free(w);
    }
}

void fsm_flows_fini(struct fsm *f)
{
    fsm_flows_forget_dropped(f);
    size_t it = 0;
    for (struct flow *w; (w = pr_map_next(&f->flows, &it, NULL)) != NULL;)
        pr_free(w);
    pr_map_fini(&f->flows);
    pr_map_fini(&f->flow_names);
}

uint32_t fsm_flow_id(struct fsm *f, enum mail_class class_, struct pr_slice tenant, struct pr_slice pool,
                     struct pr_slice domain)
{
    struct flow *w = pr_map_get_str(&f->flow_names, flow_name(f, class_, tenant, pool, domain));
    if (w != NULL)
        return w->pub.flow_id;
    struct fsm_flow fresh = {.class_ = class_, .tenant = tenant, .pool = pool, .domain = domain};
    fresh.flow_id = f->counters.flow_next++;
    w = add_flow(f, &fresh);
    struct key k = key_flow(fresh.flow_id);
    rec_flow_encode(&fresh, &f->record);
    stage_insert(f->stage, KV_FLOW, key_slice(&k), pr_buf_slice(&f->record));
    fsm_emit(f, FSM_FLOW_ADDED, FSM_OK)->flow = w->pub;
    return fresh.flow_id;
}

/* Held groups have no row; when they are released they find or make their flow by name again. */
static int has_rows(struct fsm *f, uint32_t flow_id, bool *ret)
{
    struct key lower = key_sched_from(flow_id, 0);
    struct key upper = key_flow(flow_id + 1);
    struct stage_iter *it = stage_iter_new(f->stage, KV_SCHED, key_slice(&lower), key_slice(&upper));
    *ret = stage_iter_valid(it);
    int err = stage_iter_error(it);
    stage_iter_free(it);
    return err;
}

int fsm_apply_flow_drop(struct fsm *f, uint32_t flow_id)
{
    struct flow *w = pr_map_get(&f->flows, flow_id);
    enum fsm_status status = FSM_OK;
    if (w == NULL) {
        status = FSM_GONE;
    } else {
        bool used;
        int err = has_rows(f, flow_id, &used);
        if (err != 0)
            return err;
        status = used ? FSM_CONFLICT : FSM_OK;
    }
    if (status == FSM_OK) {
        struct key k = key_flow(flow_id);
        pr_map_del(&f->flows, flow_id);
        pr_map_del_str(&f->flow_names, flow_name(f, w->pub.class_, w->pub.tenant, w->pub.pool, w->pub.domain));
        stage_remove(f->stage, KV_FLOW, key_slice(&k));
        w->next = f->dropped;
        f->dropped = w;
        fsm_emit(f, FSM_FLOW_DROPPED, FSM_OK)->flow = w->pub;
    }
    struct fsm_effect *e = fsm_emit(f, FSM_ADMIN_DONE, status);
    e->admin.type = CMD_FLOW_DROP;
    e->admin.id = flow_id;
    e->admin.count = status == FSM_OK;
    return 0;
}

const struct fsm_flow *fsm_flow(const struct fsm *f, uint32_t flow_id)
{
    const struct flow *w = pr_map_get(&f->flows, flow_id);
    return w == NULL ? NULL : &w->pub;
}

const struct fsm_flow *fsm_flow_next(const struct fsm *f, size_t *it)
{
    const struct flow *w = pr_map_next(&f->flows, it, NULL);
    return w == NULL ? NULL : &w->pub;
}
