/* From DNS answers to targets. Failure modes and what they cost:
 *   no such domain              5.1.2  for good
 *   null MX (RFC 7505)          5.1.10 (556) for good
 *   no address anywhere         5.1.2 without MX, 5.4.4 with (RFC 5321 5.1), for good
 *   only refused addresses      5.4.4  for good: an exchange on loopback or the like is not reachable from anywhere
 *   we are the best exchange    5.4.6  for good: delivering to ourselves would loop
 *   no answer                   4.4.3  later */
#include "deliverer/core/route.h"

#include "common/base/alloc.h"
#include "common/mail/address.h"

static enum dlv_route_need fail(struct dlv_route *r, enum mail_outcome outcome, const char *enhanced, const char *text)
{
    r->failed = true;
    r->verdict = dlv_verdict_own(outcome, outcome == MAIL_OUTCOME_TEMP ? MAIL_SCOPE_SITE : MAIL_SCOPE_RCPT, MAIL_STAGE_DNS,
                                 enhanced, text);
    return DLV_NEED_NOTHING;
}

static bool is_ours(const struct dlv_route_options *o, const struct in6_addr *addr, uint16_t port)
{
    for (size_t i = 0; i < o->n_own; i++)
        if (o->own[i].port == port && memcmp(&o->own[i].addr, addr, sizeof *addr) == 0)
            return true;
    return false;
}

static void add_target(struct dlv_route *r, const struct in6_addr *addr, size_t host)
{
    for (size_t i = 0; i < r->n_targets; i++)
        if (memcmp(&r->targets[i].addr, addr, sizeof *addr) == 0)
            return;
    if (r->n_targets < DLV_TARGETS_MAX)
        r->targets[r->n_targets++] = (struct dlv_target){*addr, r->port, (uint8_t)host};
}

static void add_host(struct dlv_route *r, struct pr_slice name, uint16_t preference)
{
    struct dlv_host *h = &r->hosts[r->n_hosts++];
    *h = (struct dlv_host){.preference = preference};
    memcpy(h->name, name.ptr, name.len);
}

static bool name_fits(struct pr_slice name)
{
    return name.len > 0 && name.len <= MAIL_DOMAIN_MAX;
}

enum dlv_route_need dlv_route_begin(struct dlv_route *r, struct pr_slice domain, bool mx, uint16_t port,
                                    const struct dlv_route_options *o)
{
    struct in6_addr addr;
    memset(r, 0, sizeof *r);
    r->port = port == 0 ? o->port : port;
    if (dlv_addr_parse(domain, &addr) == 0) {
        r->by_mx = mx;
        add_host(r, PR_SLICE_LIT("literal"), 0);
        dlv_route_addr(r, 0, DLV_DNS_OK, &addr, 1);
        return DLV_NEED_NOTHING;
    }
    if (!name_fits(domain))
        return fail(r, MAIL_OUTCOME_PERM, "5.1.2", "malformed domain name");
    if (mx) {
        r->by_mx = true;
        return DLV_NEED_MX;
    }
    add_host(r, domain, 0);
    return DLV_NEED_ADDRS;
}

/* By preference; among equals in random order (RFC 5321 5.1): shuffled first, then sorted stably. */
static void order_mx(const struct dlv_mx **list, size_t n, struct pr_rng *rng)
{
    for (size_t i = n; i > 1; i--) {
        size_t j = (size_t)pr_rng_below(rng, i);
        const struct dlv_mx *swap = list[i - 1];
        list[i - 1] = list[j];
        list[j] = swap;
    }
    for (size_t i = 1; i < n; i++) {
        const struct dlv_mx *mx = list[i];
        size_t at = i;
        for (; at > 0 && list[at - 1]->preference > mx->preference; at--)
            list[at] = list[at - 1];
        list[at] = mx;
    }
}

static bool host_known(const struct dlv_route *r, struct pr_slice name)
{
    for (size_t i = 0; i < r->n_hosts; i++)
        if (mail_domain_eq(pr_slice_str(r->hosts[i].name), name))
            return true;
    return false;
}

/* An exchange that cannot be one: an address, the local host, what no name can be. */
static bool unusable(struct pr_slice name)
{
    struct in6_addr addr;
    return !name_fits(name) || dlv_addr_parse(name, &addr) == 0 || mail_domain_eq(name, PR_SLICE_LIT("localhost")) ||
           mail_domain_match(name, PR_SLICE_LIT(".localhost"));
}

static enum dlv_route_need hosts_from_mx(struct dlv_route *r, const struct dlv_mx *const *list, size_t n,
                                         const struct dlv_route_options *o)
{
    uint32_t own_rank = UINT32_MAX;
    for (size_t i = 0; i < n && own_rank == UINT32_MAX; i++)
        if (mail_domain_eq(pr_slice_str(list[i]->host), o->hostname))
            own_rank = list[i]->preference;
    if (n > 0 && list[0]->preference >= own_rank)
        return fail(r, MAIL_OUTCOME_PERM, "5.4.6", "mail for this domain loops back to this host");
    for (size_t i = 0; i < n && r->n_hosts < DLV_HOSTS_MAX; i++) {
        struct pr_slice name = pr_slice_str(list[i]->host);
        if (list[i]->preference < own_rank && !unusable(name) && !host_known(r, name))
            add_host(r, name, list[i]->preference);
    }
    if (r->n_hosts == 0)
        return fail(r, MAIL_OUTCOME_PERM, "5.4.4", "no usable mail exchange for this domain");
    return DLV_NEED_ADDRS;
}

enum { MX_MAX = 64 };

enum dlv_route_need dlv_route_mx(struct dlv_route *r, struct pr_slice domain, enum dlv_dns status, const struct dlv_mx *mx,
                                 size_t n, struct pr_rng *rng, const struct dlv_route_options *o)
{
    const struct dlv_mx *list[MX_MAX];
    switch (status) {
    case DLV_DNS_NXDOMAIN:
        return fail(r, MAIL_OUTCOME_PERM, "5.1.2", "the domain does not exist");
    case DLV_DNS_TEMP:
        return fail(r, MAIL_OUTCOME_TEMP, "4.4.3", "the name servers gave no answer on the mail exchanges of this domain");
    case DLV_DNS_NODATA:
        n = 0;
        break;
    case DLV_DNS_OK:
        break;
    }
    if (n == 0) {
        r->implicit = true;
        add_host(r, domain, 0);
        return DLV_NEED_ADDRS;
    }
    if (n == 1 && mx[0].host[0] == '\0') {
        (void)fail(r, MAIL_OUTCOME_PERM, "5.1.10", "the domain takes no mail (null MX)");
        r->verdict.code = 556;
        return DLV_NEED_NOTHING;
    }
    n = PR_MIN(n, (size_t)MX_MAX);
    for (size_t i = 0; i < n; i++)
        list[i] = &mx[i];
    order_mx(list, n, rng);
    return hosts_from_mx(r, list, n, o);
}

void dlv_route_addr(struct dlv_route *r, size_t host, enum dlv_dns status, const struct in6_addr *addrs, size_t n)
{
    struct dlv_host *h = &r->hosts[host];
    h->answered = true;
    h->status = status;
    h->n_addrs = status == DLV_DNS_OK ? PR_MIN(n, (size_t)DLV_ADDRS_MAX) : 0;
    if (h->n_addrs > 0)
        memcpy(h->addrs, addrs, h->n_addrs * sizeof *addrs);
}

bool dlv_route_addrs_done(const struct dlv_route *r)
{
    for (size_t i = 0; i < r->n_hosts; i++)
        if (!r->hosts[i].answered)
            return false;
    return true;
}

/* Our own address among an exchange's: it and all of its rank or worse are cut off (RFC 5321 5.1). */
static uint32_t own_rank(const struct dlv_route *r, const struct dlv_route_options *o)
{
    for (size_t i = 0; i < r->n_hosts && r->by_mx; i++)
        for (size_t a = 0; a < r->hosts[i].n_addrs; a++)
            if (is_ours(o, &r->hosts[i].addrs[a], r->port))
                return r->hosts[i].preference;
    return UINT32_MAX;
}

static bool wanted(const struct dlv_route *r, const struct in6_addr *a, const struct dlv_route_options *o)
{
    if (!(dlv_addr_is_v4(a) ? o->ipv4 : o->ipv6))
        return false;
    for (size_t i = 0; i < o->n_refused && r->by_mx; i++)
        if (dlv_net_contains(&o->refused[i], a))
            return false;
    return true;
}

/* The next address of the family among hosts [first, end), in turn over the hosts' lists; cursors say how far each is. */
static bool next_of(const struct dlv_route *r, bool v4, size_t first, size_t end, size_t cursors[DLV_HOSTS_MAX],
                    const struct dlv_route_options *o, size_t *ret_host, struct in6_addr *ret)
{
    for (size_t i = first; i < end; i++) {
        const struct dlv_host *h = &r->hosts[i];
        while (cursors[i] < h->n_addrs) {
            const struct in6_addr *a = &h->addrs[cursors[i]++];
            if (dlv_addr_is_v4(a) == v4 && wanted(r, a, o)) {
                *ret_host = i;
                *ret = *a;
                return true;
            }
        }
    }
    return false;
}

/* One rank: IPv6 and IPv4 in turn, so that one broken family costs one attempt, not all of them. */
static void add_rank(struct dlv_route *r, size_t first, size_t end, const struct dlv_route_options *o)
{
    size_t v6[DLV_HOSTS_MAX] = {0}, v4[DLV_HOSTS_MAX] = {0}, host;
    struct in6_addr a;
    bool more6 = true, more4 = true;
    while (more6 || more4) {
        more6 = more6 && next_of(r, false, first, end, v6, o, &host, &a);
        if (more6)
            add_target(r, &a, host);
        more4 = more4 && next_of(r, true, first, end, v4, o, &host, &a);
        if (more4)
            add_target(r, &a, host);
    }
}

static void dead_last(struct dlv_route *r, const struct dlv_deadlist *dead, pr_mono now)
{
    struct dlv_target late[DLV_TARGETS_MAX];
    size_t n = 0, n_late = 0;
    for (size_t i = 0; i < r->n_targets; i++) {
        struct dlv_target t = r->targets[i];
        if (dlv_dead_has(dead, &t.addr, t.port, now))
            late[n_late++] = t;
        else
            r->targets[n++] = t;
    }
    memcpy(r->targets + n, late, n_late * sizeof late[0]);
}

static void no_targets(struct dlv_route *r)
{
    bool temp = false, any = false;
    for (size_t i = 0; i < r->n_hosts; i++) {
        temp = temp || r->hosts[i].status == DLV_DNS_TEMP;
        any = any || r->hosts[i].n_addrs > 0;
    }
    if (temp)
        (void)fail(r, MAIL_OUTCOME_TEMP, "4.4.3", "the name servers gave no answer on the addresses of the remote host");
    else if (any)
        (void)fail(r, MAIL_OUTCOME_PERM, "5.4.4", "the domain's hosts have no address that mail may be sent to");
    else if (r->implicit)
        (void)fail(r, MAIL_OUTCOME_PERM, "5.1.2", "the domain has neither a mail exchange nor an address");
    else
        (void)fail(r, MAIL_OUTCOME_PERM, "5.4.4", "the remote host has no address");
}

void dlv_route_finish(struct dlv_route *r, const struct dlv_route_options *o, const struct dlv_deadlist *dead, pr_mono now)
{
    if (r->failed)
        return;
    uint32_t cut = own_rank(r, o);
    if (r->n_hosts > 0 && r->hosts[0].preference >= cut) {
        (void)fail(r, MAIL_OUTCOME_PERM, "5.4.6", "mail for this domain loops back to this host");
        return;
    }
    for (size_t first = 0; first < r->n_hosts && r->hosts[first].preference < cut;) {
        size_t end = first + 1;
        while (end < r->n_hosts && r->hosts[end].preference == r->hosts[first].preference)
            end++;
        add_rank(r, first, end, o);
        first = end;
    }
    if (r->n_targets == 0)
        no_targets(r);
    else if (dead != NULL)
        dead_last(r, dead, now);
}

void dlv_dead_init(struct dlv_deadlist *d)
{
    memset(d, 0, sizeof *d);
}

static struct dlv_dead *dead_find(struct dlv_deadlist *d, const struct in6_addr *addr, uint16_t port)
{
    for (size_t i = 0; i < DLV_DEAD_MAX; i++)
        if (d->items[i].at.port == port && memcmp(&d->items[i].at.addr, addr, sizeof *addr) == 0)
            return &d->items[i];
    return NULL;
}

void dlv_dead_mark(struct dlv_deadlist *d, const struct in6_addr *addr, uint16_t port, pr_mono until)
{
    struct dlv_dead *item = dead_find(d, addr, port);
    if (item == NULL)
        item = &d->items[d->next++ % DLV_DEAD_MAX];
    *item = (struct dlv_dead){{*addr, port}, until};
}

void dlv_dead_clear(struct dlv_deadlist *d, const struct in6_addr *addr, uint16_t port)
{
    struct dlv_dead *item = dead_find(d, addr, port);
    if (item != NULL)
        memset(item, 0, sizeof *item);
}

bool dlv_dead_has(const struct dlv_deadlist *d, const struct in6_addr *addr, uint16_t port, pr_mono now)
{
    for (size_t i = 0; i < DLV_DEAD_MAX; i++) {
        const struct dlv_dead *item = &d->items[i];
        if (item->until.ms > now.ms && item->at.port == port && memcmp(&item->at.addr, addr, sizeof *addr) == 0)
            return true;
    }
    return false;
}
