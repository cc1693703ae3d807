/* GET /api/v1/messages, /api/v1/messages/ID, /api/v1/messages/ID/content, /api/v1/shape. */
#include <stdlib.h>

#include "common/base/alloc.h"
#include "common/base/map.h"
#include "common/net/clock.h"
#include "scheduler/shell/api.h"

enum { LIMIT_DEFAULT = 50, LIMIT_MAX = 1000, SCAN_MAX = 100000, SHAPE_SCAN_MAX = 2000000 };

static const char *const status_names[MAIL_RCPT_STATUS_NR] = {"pending", "delivered", "failed", "expired"};
static const char *const notify_names[] = {"never", "success", "failure", "delay"};

static void field(struct pr_buf *b, const char *name, struct pr_slice value)
{
    pr_buf_printf(b, ",\"%s\":", name);
    pr_buf_json(b, value);
}

static void write_recipient(struct pr_buf *b, const struct mail_rcpt *r)
{
    pr_buf_str(b, "{\"address\":");
    pr_buf_json(b, r->address);
    field(b, "status", pr_slice_str(status_names[r->status]));
    if (r->orcpt.len > 0)
        field(b, "orcpt", r->orcpt);
    if (r->notify != 0) {
        bool first = true;
        pr_buf_str(b, ",\"notify\":[");
        for (size_t i = 0; i < PR_ARRAY_LEN(notify_names); i++)
            if ((r->notify & 1u << i) != 0) {
                pr_buf_printf(b, "%s\"%s\"", first ? "" : ",", notify_names[i]);
                first = false;
            }
        pr_buf_char(b, ']');
    }
    pr_buf_printf(b, ",\"code\":%u", r->code);
    field(b, "enhanced", r->enhanced);
    field(b, "diagnostic", r->diagnostic);
    field(b, "remote", r->remote);
    pr_buf_char(b, '}');
}

static void write_row(struct pr_buf *b, const struct api_row *row)
{
    char id[WIRE_QUEUE_ID_LEN + 1];
    bool first = true;
    wire_queue_id_format(row->shard, row->msg.msg_id, id);
    pr_buf_printf(b, "{\"id\":\"%s\"", id);
    field(b, "sender", row->envelope.sender);
    pr_buf_printf(b, ",\"size\":%llu,\"arrival_ms\":%llu,\"expiry_ms\":%llu", (unsigned long long)row->msg.size_bytes,
                  (unsigned long long)row->msg.received_ms, (unsigned long long)row->msg.expiry_ms);
    field(b, "state", pr_slice_str(api_state_names[row->state]));
    if (row->due_ms != UINT64_MAX)
        pr_buf_printf(b, ",\"due_ms\":%llu", (unsigned long long)row->due_ms);
    pr_buf_printf(b, ",\"attempts\":%u", row->attempts);
    field(b, "class", pr_slice_str(mail_class_names[row->msg.class_]));
    field(b, "tenant", row->msg.tenant);
    field(b, "client_address", row->envelope.client_address);
    field(b, "client_name", row->envelope.client_name);
    field(b, "helo", row->envelope.helo);
    field(b, "protocol", row->envelope.protocol);
    if (row->envelope.envid.len > 0)
        field(b, "envid", row->envelope.envid);
    pr_buf_str(b, ",\"recipients\":[");
    for (size_t g = 0; g < row->n_groups; g++)
        for (size_t i = 0; i < row->groups[g].n_rcpts; i++) {
            pr_buf_str(b, first ? "" : ",");
            write_recipient(b, &row->groups[g].rcpts[i]);
            first = false;
        }
    pr_buf_str(b, "]}");
}

struct listing {
    struct pr_buf *out;
    size_t n, limit;
};

static bool on_row(void *data, const struct api_row *row)
{
    struct listing *l = data;
    if (l->n > 0)
        pr_buf_char(l->out, ',');
    write_row(l->out, row);
    return ++l->n < l->limit;
}

static int number(const char *text, uint64_t def, uint64_t max, uint64_t *ret)
{
    *ret = def;
    return text == NULL ? 0 : pr_parse_u64(pr_slice_str(text), max, ret);
}

static int read_query(const struct pr_http_request *req, struct api_filter *f, struct api_cursor *at, uint64_t *ret_limit)
{
    const char *state = pr_http_query(req, "state"), *cursor = pr_http_query(req, "cursor");
    uint64_t older_s = 0, shard = 0;
    struct pr_slice rest;
    *f = (struct api_filter){
        .domain = pr_slice_str(pr_http_query(req, "domain")),
        .sender = pr_slice_str(pr_http_query(req, "sender")),
        .recipient = pr_slice_str(pr_http_query(req, "recipient")),
        .by_state = state != NULL,
    };
    if (number(pr_http_query(req, "limit"), LIMIT_DEFAULT, LIMIT_MAX, ret_limit) != 0 || *ret_limit == 0 ||
        number(pr_http_query(req, "older_than_s"), 0, UINT32_MAX, &older_s) != 0 ||
        (state != NULL && api_state_parse(state, &f->state) != 0))
        return PR_EPARSE;
    f->older_than_ms = older_s * 1000;
    if (cursor == NULL || cursor[0] == '\0')
        return 0;
    struct pr_slice first = pr_slice_cut(pr_slice_str(cursor), '.', &rest);
    if (pr_parse_u64(first, NODE_SHARDS_MAX - 1, &shard) != 0 || pr_parse_hex64(rest, &at->msg_id) != 0)
        return PR_EPARSE;
    at->shard = (uint32_t)shard;
    return 0;
}

static uint64_t total_messages(struct node *n)
{
    uint64_t total = 0;
    for (uint32_t i = 0; i < n->n_shards; i++) {
        struct shard_view v;
        shard_view(n->shards[i], &v);
        total += v.counters.messages;
    }
    return total;
}

void api_messages(void *data, const struct pr_http_request *req, struct pr_http_response *out)
{
    struct node *n = data;
    struct api_filter f;
    struct api_cursor at = {0};
    struct listing l = {.out = &out->body};
    uint64_t limit = 0;
    if (read_query(req, &f, &at, &limit) != 0 || at.shard >= n->n_shards) {
        pr_http_error(out, 400, "bad_query", "limit (1 to %d), cursor, state (ready, scheduled, inflight, held), domain, "
                      "sender, recipient and older_than_s are known", LIMIT_MAX);
        return;
    }
    l.limit = limit;
    pr_buf_str(&out->body, "{\"messages\":[");
    int rc = api_scan(n, &at, &f, SCAN_MAX, on_row, &l);
    if (rc != 0) {
        pr_buf_clear(&out->body);
        api_error_reply(out, rc);
        return;
    }
    pr_buf_str(&out->body, "],\"next\":");
    if (at.end)
        pr_buf_str(&out->body, "null");
    else
        pr_buf_printf(&out->body, "\"%u.%llx\"", at.shard, (unsigned long long)at.msg_id);
    pr_buf_printf(&out->body, ",\"total\":%llu}\n", (unsigned long long)total_messages(n));
}

/* 404 with how it ended, if that is known. */
static void write_ended(struct node *n, uint32_t shard, uint64_t id, struct pr_http_response *out)
{
    struct pr_buf text = {0};
    enum recent_how how;
    if (recent_find(n->recent, shard, id, &how, &text))
        pr_http_error(out, 404, recent_names[how], "not in the queue any more: %s: %s", recent_names[how], pr_buf_cstr(&text));
    else
        api_error_reply(out, PR_ENOTFOUND);
    pr_buf_fini(&text);
}

void api_message(void *data, const struct pr_http_request *req, struct pr_http_response *out)
{
    struct node *n = data;
    struct pr_arena arena = {0};
    struct qread_msg msg;
    struct api_row row;
    uint32_t shard;
    uint64_t id;
    if (api_parse_id(n, pr_http_tail(req), &shard, &id, out) != 0)
        return;
    int rc = qread_message(shard_stage(n->shards[shard]), id, &arena, &msg);
    if (rc == 0)
        rc = api_read_row(n, shard, &msg, &arena, &row);
    if (rc == 0) {
        write_row(&out->body, &row);
        pr_buf_char(&out->body, '\n');
    } else if (rc == PR_ENOTFOUND) {
        write_ended(n, shard, id, out);
    } else {
        api_error_reply(out, rc);
    }
    pr_arena_fini(&arena);
}

void api_content(void *data, const struct pr_http_request *req, struct pr_http_response *out)
{
    struct node *n = data;
    struct pr_arena arena = {0};
    struct qread_msg msg;
    uint32_t shard;
    uint64_t id;
    if (api_parse_id(n, pr_http_tail(req), &shard, &id, out) != 0)
        return;
    struct stage *stage = shard_stage(n->shards[shard]);
    int rc = qread_message(stage, id, &arena, &msg);
    for (uint32_t i = 0; rc == 0 && i < msg.n_chunks; i++)
        rc = qread_body(stage, msg.body_id, i, &out->body);
    out->content_type = "message/rfc822";
    if (rc != 0) {
        pr_buf_clear(&out->body);
        out->content_type = NULL;
        api_error_reply(out, rc);
    }
    pr_arena_fini(&arena);
}

/* ---- shape ---- */

static const unsigned bounds_min[QREAD_SHAPE_BUCKETS - 1] = {5, 10, 20, 40, 80, 160, 320, 640, 1280};

struct shape {
    char *domain;
    uint64_t count[QREAD_SHAPE_BUCKETS], total;
};
struct shapes {
    struct pr_map by_domain;
    struct shape **items;
    size_t n, cap;
    struct stage *stage;
    uint64_t budget;
    int rc;
};

static struct shape *shape_of(struct shapes *x, struct pr_slice domain)
{
    struct shape *s = pr_map_get_str(&x->by_domain, domain);
    if (s != NULL)
        return s;
    s = pr_new(struct shape);
    s->domain = pr_strndup(domain.ptr, domain.len);
    pr_map_put_str(&x->by_domain, domain, s);
    if (x->n == x->cap) {
        x->cap = x->cap == 0 ? 64 : x->cap * 2;
        x->items = pr_realloc(x->items, x->cap * sizeof(struct shape *));
    }
    x->items[x->n++] = s;
    return s;
}

struct flow_page {
    uint32_t ids[256];
    struct pr_slice domains[256];
    size_t n;
    struct pr_arena arena;
};

static bool on_flow(void *data, const struct fsm_flow *flow)
{
    struct flow_page *p = data;
    p->ids[p->n] = flow->flow_id;
    p->domains[p->n++] = pr_arena_dup(&p->arena, flow->domain);
    return p->n < PR_ARRAY_LEN(p->ids);
}

static void add_flow(struct shapes *x, uint32_t flow_id, struct pr_slice domain)
{
    struct qread_shape q = {.flow_id = flow_id};
    while (x->rc == 0 && !q.done && x->budget > 0) {
        uint32_t step = (uint32_t)PR_MIN(x->budget, 4096u);
        x->rc = qread_shape(x->stage, pr_clock_now().wall, step, &q);
        x->budget -= step;
    }
    if (q.total == 0)
        return;
    struct shape *s = shape_of(x, domain);
    for (size_t i = 0; i < QREAD_SHAPE_BUCKETS; i++)
        s->count[i] += q.count[i];
    s->total += q.total;
}

static void add_shard(struct shapes *x)
{
    struct flow_page *p = pr_new(struct flow_page);
    uint32_t cursor = 0;
    for (bool more = true; more && x->rc == 0;) {
        p->n = 0;
        x->rc = qread_flows(x->stage, &cursor, PR_ARRAY_LEN(p->ids), on_flow, p, &more);
        for (size_t i = 0; i < p->n; i++)
            add_flow(x, p->ids[i], p->domains[i]);
        pr_arena_fini(&p->arena);
    }
    pr_free(p);
}

static int by_total(const void *a, const void *b)
{
    const struct shape *x = *(struct shape *const *)a, *y = *(struct shape *const *)b;
    return (x->total < y->total) - (x->total > y->total);
}

static void write_shape(struct pr_buf *b, const char *destination, const uint64_t *count, uint64_t total)
{
    pr_buf_str(b, "{\"destination\":");
    pr_buf_json(b, pr_slice_str(destination));
    pr_buf_printf(b, ",\"total\":%llu,\"ages\":[", (unsigned long long)total);
    for (size_t i = 0; i < QREAD_SHAPE_BUCKETS; i++) {
        pr_buf_str(b, i == 0 ? "" : ",");
        if (i < PR_ARRAY_LEN(bounds_min))
            pr_buf_printf(b, "{\"le_min\":%u,", bounds_min[i]);
        else
            pr_buf_str(b, "{\"le_min\":null,");
        pr_buf_printf(b, "\"count\":%llu}", (unsigned long long)count[i]);
    }
    pr_buf_str(b, "]}");
}

void api_shape(void *data, const struct pr_http_request *req, struct pr_http_response *out)
{
    struct node *n = data;
    struct shapes x = {.budget = SHAPE_SCAN_MAX};
    struct shape all = {.total = 0};
    uint64_t top = 0;
    if (number(pr_http_query(req, "top"), 20, 10000, &top) != 0) {
        pr_http_error(out, 400, "bad_query", "top is a number");
        return;
    }
    pr_map_init(&x.by_domain, 0);
    for (uint32_t i = 0; i < n->n_shards && x.rc == 0; i++) {
        x.stage = shard_stage(n->shards[i]);
        add_shard(&x);
    }
    if (x.n > 1)
        qsort(x.items, x.n, sizeof(struct shape *), by_total);
    pr_buf_str(&out->body, "{\"destinations\":[");
    for (size_t i = 0; i < x.n; i++) {
        for (size_t k = 0; k < QREAD_SHAPE_BUCKETS; k++)
            all.count[k] += x.items[i]->count[k];
        all.total += x.items[i]->total;
        if (i < top) {
            pr_buf_str(&out->body, i == 0 ? "" : ",");
            write_shape(&out->body, x.items[i]->domain, x.items[i]->count, x.items[i]->total);
        }
    }
    pr_buf_str(&out->body, "],\"all\":");
    write_shape(&out->body, "TOTAL", all.count, all.total);
    pr_buf_printf(&out->body, ",\"complete\":%s}\n", x.budget > 0 ? "true" : "false");
    for (size_t i = 0; i < x.n; i++) {
        pr_free(x.items[i]->domain);
        pr_free(x.items[i]);
    }
    pr_free(x.items);
    pr_map_fini(&x.by_domain);
    if (x.rc != 0) {
        pr_buf_clear(&out->body);
        api_error_reply(out, x.rc);
    }
}
