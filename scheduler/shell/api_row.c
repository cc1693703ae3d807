/* Reading messages for listings and actions, filtered. */
#include "common/base/alloc.h"
#include "common/mail/address.h"
#include "common/net/clock.h"
#include "scheduler/shell/api.h"

enum { PAGE = 256 };

const char *const api_state_names[API_STATE_NR] = {"ready", "scheduled", "inflight", "held"};

int api_state_parse(const char *text, enum api_state *ret)
{
    for (unsigned i = 0; i < API_STATE_NR; i++)
        if (pr_slice_eq_str(pr_slice_str(text), api_state_names[i])) {
            *ret = (enum api_state)i;
            return 0;
        }
    return PR_EPARSE;
}

struct groups {
    struct api_row *row;
    struct pr_arena *arena;
    size_t cap;
    bool leased;
    int rc;
};

static struct qread_group copy_group(const struct qread_group *g, struct pr_arena *arena)
{
    struct qread_group c = *g;
    c.domain = pr_arena_dup(arena, g->domain);
    c.encoded = pr_arena_dup(arena, g->encoded);
    return c;
}

static bool on_group(void *data, const struct qread_group *found)
{
    struct groups *x = data;
    struct api_row *row = x->row;
    struct mail_group m;
    struct qread_group g = copy_group(found, x->arena);
    x->rc = qread_group_decode(&g, x->arena, &m);
    if (x->rc != 0)
        return false;
    /* What the attempts left behind is borrowed from the scan. */
    for (size_t i = 0; i < m.n_rcpts; i++) {
        m.rcpts[i].enhanced = pr_arena_dup(x->arena, m.rcpts[i].enhanced);
        m.rcpts[i].diagnostic = pr_arena_dup(x->arena, m.rcpts[i].diagnostic);
        m.rcpts[i].remote = pr_arena_dup(x->arena, m.rcpts[i].remote);
    }
    if (row->n_groups == x->cap) {
        struct mail_group *bigger = pr_arena_alloc(x->arena, (x->cap == 0 ? 4 : x->cap * 2) * sizeof *bigger);
        if (x->cap > 0)
            memcpy(bigger, row->groups, row->n_groups * sizeof *bigger);
        row->groups = bigger;
        x->cap = x->cap == 0 ? 4 : x->cap * 2;
    }
    row->groups[row->n_groups++] = m;
    x->leased = x->leased || g.leased;
    if (g.n_pending > 0) {
        row->due_ms = PR_MIN(row->due_ms, g.due_ms);
        row->attempts = PR_MAX(row->attempts, g.attempt);
    }
    return true;
}

int api_read_row(struct node *n, uint32_t shard, const struct qread_msg *msg, struct pr_arena *arena, struct api_row *ret)
{
    struct groups x = {.row = ret, .arena = arena};
    *ret = (struct api_row){.shard = shard, .msg = *msg, .due_ms = UINT64_MAX};
    ret->msg.envelope = pr_arena_dup(arena, msg->envelope);
    int rc = wire_envelope_decode(ret->msg.envelope, arena, &ret->envelope);
    if (rc == 0)
        rc = qread_groups(shard_stage(n->shards[shard]), msg->msg_id, on_group, &x);
    if (rc == 0)
        rc = x.rc;
    ret->state = msg->held                                       ? API_HELD
                 : x.leased                                      ? API_INFLIGHT
                 : ret->due_ms <= pr_clock_now().wall.ms         ? API_READY
                                                                 : API_SCHEDULED;
    return rc;
}

static bool any_recipient(const struct api_row *row, struct pr_slice address)
{
    for (size_t g = 0; g < row->n_groups; g++)
        for (size_t i = 0; i < row->groups[g].n_rcpts; i++)
            if (pr_slice_ieq(row->groups[g].rcpts[i].address, address))
                return true;
    return false;
}

static bool any_domain(const struct api_row *row, struct pr_slice domain)
{
    for (size_t g = 0; g < row->n_groups; g++)
        if (mail_domain_eq(row->groups[g].domain, domain))
            return true;
    return false;
}

bool api_filter_matches(const struct api_filter *f, const struct api_row *row, uint64_t now_ms)
{
    return (!f->by_state || f->state == row->state) &&
           (f->older_than_ms == 0 || row->msg.received_ms + f->older_than_ms <= now_ms) &&
           (f->sender.len == 0 || pr_slice_ieq(row->envelope.sender, f->sender) ||
            (f->sender.len == 2 && row->envelope.sender.len == 0)) &&
           (f->domain.len == 0 || any_domain(row, f->domain)) &&
           (f->recipient.len == 0 || any_recipient(row, f->recipient));
}

struct ids {
    struct qread_msg msgs[PAGE];
    size_t n;
    struct pr_arena arena;
};

static bool on_msg(void *data, const struct qread_msg *m)
{
    struct ids *page = data;
    struct qread_msg *c = &page->msgs[page->n++];
    *c = *m;
    c->tenant = pr_arena_dup(&page->arena, m->tenant);
    c->pool = pr_arena_dup(&page->arena, m->pool);
    c->envelope = pr_arena_dup(&page->arena, m->envelope);
    return page->n < PAGE;
}

/* One page of one shard. */
static int scan_page(struct node *n, struct api_cursor *at, const struct api_filter *f, struct ids *page, uint32_t *looked,
                     api_row_fn fn, void *data, bool *ret_go_on)
{
    bool more = false;
    uint64_t next = at->msg_id, now = pr_clock_now().wall.ms;
    int rc = qread_messages(shard_stage(n->shards[at->shard]), &next, PAGE, on_msg, page, &more);
    for (size_t i = 0; i < page->n && rc == 0 && *ret_go_on; i++) {
        struct api_row row;
        at->msg_id = page->msgs[i].msg_id;
        (*looked)++;
        if (api_read_row(n, at->shard, &page->msgs[i], &page->arena, &row) != 0)
            continue; /* ended while we looked */
        if (api_filter_matches(f, &row, now))
            *ret_go_on = fn(data, &row);
    }
    if (rc == 0 && *ret_go_on && !more) {
        at->shard++;
        at->msg_id = 0;
        at->end = at->shard == n->n_shards;
    }
    return rc;
}

int api_scan(struct node *n, struct api_cursor *at, const struct api_filter *f, uint32_t scan_max, api_row_fn fn, void *data)
{
    struct ids *page = pr_new(struct ids);
    uint32_t looked = 0;
    bool go_on = true;
    int rc = 0;
    while (rc == 0 && go_on && !at->end && looked < scan_max) {
        page->n = 0;
        rc = scan_page(n, at, f, page, &looked, fn, data, &go_on);
        pr_arena_fini(&page->arena);
    }
    pr_free(page);
    return rc;
}

void api_error_reply(struct pr_http_response *out, int rc)
{
    static const struct {
        int rc;
        unsigned status;
        const char *code;
    } table[] = {
        {PR_ENOTFOUND, 404, "not_found"},     {PR_ENOTLEADER, 503, "no_leader"}, {PR_ECLOSED, 503, "stopping"},
        {PR_ETIMEOUT, 504, "timeout"},        {PR_EPARSE, 400, "bad_request"},   {PR_ECONFLICT, 409, "conflict"},
        {PR_EUNKNOWN, 503, "outcome_unknown"},
    };
    for (size_t i = 0; i < PR_ARRAY_LEN(table); i++)
        if (table[i].rc == rc) {
            pr_http_error(out, table[i].status, table[i].code, "%s", pr_strerror(rc));
            return;
        }
    pr_http_error(out, 500, "internal", "%s", pr_strerror(rc));
}

int api_parse_id(struct node *n, struct pr_slice text, uint32_t *ret_shard, uint64_t *ret_msg_id, struct pr_http_response *out)
{
    if (wire_queue_id_parse(text, ret_shard, ret_msg_id) != 0 || *ret_shard >= n->n_shards) {
        pr_http_error(out, 400, "bad_id", "not a queue id: it has %d letters and digits", WIRE_QUEUE_ID_LEN);
        return PR_EPARSE;
    }
    return 0;
}
