/* Grouping of recipients: one pass with two tables, "which group is open for this domain" and "which recipient is this
 * address already", then one array per group. */
#include "common/mail/envelope.h"

#include "common/base/alloc.h"
#include "common/base/arena.h"
#include "common/base/map.h"
#include "common/mail/address.h"

const char *const mail_class_names[MAIL_CLASS_NR] = {
    [MAIL_CLASS_TRANSACTIONAL] = "transactional",
    [MAIL_CLASS_NORMAL] = "normal",
    [MAIL_CLASS_BULK] = "bulk",
};

/* A fixed seed: the result must be the same on every replica, and the number of recipients is bounded by ingress. */
enum { SEED = 0x6d61696c };

/* A recipient that stays, in the order of its first appearance. */
struct kept {
    struct mail_rcpt rcpt;
    size_t group;
};

struct grouping {
    struct pr_arena *arena;
    struct pr_slice default_domain;
    struct pr_map open;      /* normalised domain -> index + 1 of the group that still has room */
    struct pr_map addresses; /* local-part, domain, ORCPT -> struct kept */
    struct pr_buf key;
    struct kept *kept;
    size_t n_kept;
    struct mail_group *groups; /* n_rcpts counts up to the final number first */
    size_t n_groups;
};

/* Parts of an address that ingress has accepted. What would not parse goes by its last '@', so that no recipient is
 * lost. */
static void split(struct pr_slice text, struct pr_slice *ret_local, struct pr_slice *ret_domain)
{
    struct mail_address a;
    struct pr_slice rest;
    if (mail_address_parse(text, MAIL_ADDRESS_BARE | MAIL_ADDRESS_ALLOW_UTF8, &a, &rest) == 0) {
        *ret_local = a.local;
        *ret_domain = a.domain;
        return;
    }
    size_t at = pr_slice_rfind(text, '@');
    *ret_local = pr_slice_head(text, at);
    *ret_domain = at == SIZE_MAX ? pr_slice("", 0) : pr_slice_from(text, at + 1);
}

static uintptr_t index_of(void *value) { return (uintptr_t)value; }

/* Index of the group that takes the next recipient of the domain; opens one when there is none or the last is full. */
static size_t group_for(struct grouping *g, struct pr_slice domain)
{
    uintptr_t at = index_of(pr_map_get_str(&g->open, domain));
    if (at != 0 && g->groups[at - 1].n_rcpts < MAIL_GROUP_RCPTS_MAX)
        return at - 1;
    struct mail_group *group = &g->groups[g->n_groups++];
    group->domain = at != 0 ? g->groups[at - 1].domain : pr_arena_dup(g->arena, domain);
    group->n_rcpts = 0;
    (void)pr_map_put_str(&g->open, domain, (void *)(uintptr_t)g->n_groups);
    return g->n_groups - 1;
}

/* The same recipient twice gets one copy; a report is due if either asked for it. 0 stands for the default. */
static unsigned merge_notify(unsigned a, unsigned b)
{
    const unsigned absent = MAIL_NOTIFY_FAILURE | MAIL_NOTIFY_DELAY;
    if (a == b)
        return a;
    unsigned both = (a == 0 ? absent : a) | (b == 0 ? absent : b);
    return both & ~(unsigned)MAIL_NOTIFY_NEVER;
}

static void add(struct grouping *g, const struct mail_rcpt *rcpt)
{
    struct pr_slice local, domain;
    split(rcpt->address, &local, &domain);
    pr_buf_clear(&g->key);
    mail_domain_normalize(domain.len == 0 ? g->default_domain : domain, &g->key);
    size_t domain_len = g->key.len;
    /* NUL cannot stand in any of the three. */
    pr_buf_char(&g->key, '\0');
    pr_buf_add(&g->key, local);
    pr_buf_char(&g->key, '\0');
    pr_buf_add(&g->key, rcpt->orcpt);
    struct kept *same = pr_map_get_str(&g->addresses, pr_buf_slice(&g->key));
    if (same != NULL) {
        same->rcpt.notify = merge_notify(same->rcpt.notify, rcpt->notify);
        return;
    }
    struct kept *k = &g->kept[g->n_kept++];
    k->rcpt = *rcpt;
    k->group = group_for(g, pr_slice_head(pr_buf_slice(&g->key), domain_len));
    g->groups[k->group].n_rcpts++;
    (void)pr_map_put_str(&g->addresses, pr_buf_slice(&g->key), k);
}

/* Copies the recipients that stay into one array per group. */
static void distribute(struct grouping *g)
{
    for (size_t i = 0; i < g->n_groups; i++) {
        struct mail_group *group = &g->groups[i];
        group->rcpts = pr_arena_alloc(g->arena, group->n_rcpts * sizeof *group->rcpts);
        group->n_rcpts = 0;
    }
    for (size_t i = 0; i < g->n_kept; i++) {
        struct mail_group *group = &g->groups[g->kept[i].group];
        group->rcpts[group->n_rcpts++] = g->kept[i].rcpt;
    }
}

void mail_envelope_group(struct mail_envelope *e, const struct mail_rcpt *rcpts, size_t n,
                         struct pr_slice default_domain, struct pr_arena *arena)
{
    struct grouping g = {.arena = arena, .default_domain = default_domain};
    e->groups = NULL;
    e->n_groups = 0;
    if (n == 0)
        return;
    pr_map_init(&g.open, SEED);
    pr_map_init(&g.addresses, SEED);
    g.kept = pr_calloc(n, sizeof *g.kept);
    g.groups = pr_calloc(n, sizeof *g.groups);
    for (size_t i = 0; i < n; i++)
        add(&g, &rcpts[i]);
    distribute(&g);
    e->n_groups = g.n_groups;
    e->groups = pr_arena_alloc(arena, g.n_groups * sizeof *e->groups);
    memcpy(e->groups, g.groups, g.n_groups * sizeof *e->groups);
    pr_free(g.groups);
    pr_free(g.kept);
    pr_buf_fini(&g.key);
    pr_map_fini(&g.addresses);
    pr_map_fini(&g.open);
}
