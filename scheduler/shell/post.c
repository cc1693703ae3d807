#include "scheduler/shell/post.h"

#include "common/base/alloc.h"

void shard_post_free(struct shard_post *p)
{
    if (p == NULL)
        return;
    pr_arena_fini(&p->arena);
    if (p->bus_msg != NULL)
        pr_bus_msg_free(p->bus_msg);
    if (p->config != NULL)
        pr_config_unref(p->config);
    pr_free(p);
}

struct bus_post *bus_post_new(enum bus_post_kind kind)
{
    struct bus_post *p = pr_new(struct bus_post);
    p->kind = kind;
    pr_list_init(&p->out);
    return p;
}

static void bus_out_free(struct bus_out *o)
{
    pr_buf_fini(&o->header);
    pr_buf_fini(&o->payload);
    pr_free(o);
}

void bus_post_free(struct bus_post *p)
{
    struct pr_list *n;
    if (p == NULL)
        return;
    while ((n = pr_list_pop_front(&p->out)) != NULL)
        bus_out_free(pr_list_entry(n, struct bus_out, link));
    if (p->config != NULL)
        pr_config_unref(p->config);
    pr_free(p->destination);
    pr_free(p);
}

void bus_post_add(struct bus_post *p, const struct peer *to, const struct wire_msg *m)
{
    struct bus_out *o = pr_new(struct bus_out);
    o->to = *to;
    wire_encode(m, &o->header, &o->payload);
    pr_list_push_back(&p->out, &o->link);
}
