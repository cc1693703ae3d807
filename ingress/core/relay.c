/* Two tables of normalised domains: exact names, and names whose subdomains are meant. A look-up walks the labels of the
 * recipient's domain from the left, so its cost depends on the name and not on how many domains are ours. */
#include "ingress/core/relay.h"

#include "common/base/alloc.h"
#include "common/base/buf.h"
#include "common/base/map.h"

struct ing_relay {
    struct pr_map exact, below; /* values: kind + 1 */
};

struct ing_relay *ing_relay_new(uint64_t seed)
{
    struct ing_relay *r = pr_new(struct ing_relay);
    pr_map_init(&r->exact, seed);
    pr_map_init(&r->below, seed);
    return r;
}

void ing_relay_free(struct ing_relay *r)
{
    if (r == NULL)
        return;
    pr_map_fini(&r->exact);
    pr_map_fini(&r->below);
    pr_free(r);
}

/* A name listed twice keeps the first kind: own domains are added before relay domains. */
static void add(struct pr_map *map, struct pr_slice domain, enum ing_relay_kind kind)
{
    struct pr_buf name = {NULL, 0, 0};
    mail_domain_normalize(domain, &name);
    if (pr_map_get_str(map, pr_buf_slice(&name)) == NULL)
        (void)pr_map_put_str(map, pr_buf_slice(&name), (void *)((uintptr_t)kind + 1));
    pr_buf_fini(&name);
}

void ing_relay_add(struct ing_relay *r, struct pr_slice pattern, enum ing_relay_kind kind)
{
    if (pr_slice_starts(pattern, PR_SLICE_LIT("*.")))
        add(&r->below, pr_slice_from(pattern, 2), kind);
    else if (pr_slice_starts(pattern, PR_SLICE_LIT(".")))
        add(&r->below, pr_slice_from(pattern, 1), kind);
    else
        add(&r->exact, pattern, kind);
}

void ing_relay_add_literal(struct ing_relay *r, struct pr_slice literal)
{
    add(&r->exact, literal, ING_RELAY_OWN);
}

static enum ing_relay_kind look_up(const struct ing_relay *r, struct pr_slice name)
{
    uintptr_t found = (uintptr_t)pr_map_get_str(&r->exact, name);
    while (found == 0) {
        struct pr_slice rest;
        struct pr_slice label = pr_slice_cut(name, '.', &rest);
        if (label.len == name.len)
            return ING_RELAY_REFUSED;
        name = rest;
        found = (uintptr_t)pr_map_get_str(&r->below, name);
    }
    return (enum ing_relay_kind)(found - 1);
}

enum ing_relay_kind ing_relay_decide(const struct ing_relay *r, bool trusted, const struct mail_address *rcpt)
{
    if (rcpt->kind == MAIL_ADDRESS_LOCAL)
        return ING_RELAY_OWN; /* <postmaster>, RFC 5321 4.5.1 */
    if (trusted)
        return ING_RELAY_TRUSTED;
    if (rcpt->kind == MAIL_ADDRESS_NULL)
        return ING_RELAY_REFUSED;
    struct pr_buf name = {NULL, 0, 0};
    mail_domain_normalize(rcpt->domain, &name);
    enum ing_relay_kind kind = ING_RELAY_REFUSED;
    if (rcpt->kind == MAIL_ADDRESS_DOMAIN)
        kind = look_up(r, pr_buf_slice(&name));
    else if (pr_map_get_str(&r->exact, pr_buf_slice(&name)) != NULL)
        kind = ING_RELAY_OWN;
    pr_buf_fini(&name);
    return kind;
}
