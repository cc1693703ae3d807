/* lookup.c - routes, limits and trust: asked for every message, so by hash and without allocation. */
#include "common/base/alloc.h"
#include "common/conf/impl.h"
#include "common/conf/schema.h"

/* Exact, then ".suffix" from the longest, then "*". */
static void *most_specific(const struct pr_map *m, struct pr_slice name)
{
    void *found = pr_map_get_str(m, name);
    for (size_t i = 0; found == NULL && i < name.len; i++)
        if (name.ptr[i] == '.')
            found = pr_map_get_str(m, pr_slice_from(name, i));
    return found != NULL ? found : pr_map_get_str(m, PR_SLICE_LIT("*"));
}

const struct pr_conf_route *pr_config_route(const struct pr_config *c, struct pr_slice domain)
{
    const struct conf_impl *impl = conf_impl(c);
    if (impl->routes.count == 0)
        return &impl->default_route;
    const struct pr_conf_route *r = most_specific(&impl->routes, domain);
    return r == NULL ? &impl->default_route : r;
}

const struct pr_conf_limit *pr_config_limit(const struct pr_config *c, struct pr_slice destination)
{
    const struct conf_impl *impl = conf_impl(c);
    if (impl->limits.count == 0)
        return &impl->default_limit;
    const struct pr_conf_limit *l = most_specific(&impl->limits, destination);
    return l == NULL ? &impl->default_limit : l;
}

struct pr_slice pr_config_destination(const struct pr_config *c, struct pr_slice domain)
{
    const struct pr_conf_route *r = pr_config_route(c, domain);
    return r->kind == PR_ROUTE_MX ? domain : pr_slice_str(r->text);
}

bool pr_config_trusted(const struct pr_config *c, const struct in6_addr *addr)
{
    for (size_t i = 0; i < c->ingress.n_trusted_networks; i++)
        if (pr_cidr_contains(&c->ingress.trusted_networks[i], addr))
            return true;
    return false;
}

/* What an entry leaves out comes from "*". */
static void inherit(struct pr_config *c, struct pr_conf_limit *l, const struct pr_conf_limit *from)
{
    const struct conf_item *list = conf_schema_find(&conf_schema, "limits");
    for (size_t i = 0; i < conf_schema.n; i++) {
        const struct conf_item *item = &conf_schema.items[i];
        if (!conf_item_is_child(item, list) || (item->flags & CONF_F_KEY) ||
            conf_origin_find(&conf_impl(c)->origins, item, l) != NULL)
            continue;
        memcpy((char *)l + item->offset, (const char *)from + item->offset, item->size);
    }
}

void conf_index(struct pr_config *c)
{
    struct conf_impl *impl = conf_impl(c);
    struct pr_arena *arena = &impl->arena;
    struct conf_decoder d = {.schema = &conf_schema, .arena = arena};
    impl->default_route = (struct pr_conf_route){.domain = pr_arena_cstr(arena, PR_SLICE_LIT("*")),
                                                 .kind = PR_ROUTE_MX,
                                                 .text = pr_arena_cstr(arena, PR_SLICE_LIT("mx"))};
    conf_set_defaults(&d, conf_schema_find(&conf_schema, "limits"), &impl->default_limit);
    impl->default_limit.destination = pr_arena_cstr(arena, PR_SLICE_LIT("*"));
    for (size_t i = 0; i < c->n_routes; i++)
        if (c->routes[i].domain != NULL)
            pr_map_put_str(&impl->routes, pr_slice_str(c->routes[i].domain), &c->routes[i]);
    for (size_t i = 0; i < c->n_limits; i++)
        if (c->limits[i].destination != NULL)
            pr_map_put_str(&impl->limits, pr_slice_str(c->limits[i].destination), &c->limits[i]);
    const struct pr_conf_limit *star = pr_map_get_str(&impl->limits, PR_SLICE_LIT("*"));
    for (size_t i = 0; star != NULL && i < c->n_limits; i++)
        if (&c->limits[i] != star)
            inherit(c, &c->limits[i], star);
}
