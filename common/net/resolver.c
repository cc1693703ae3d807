/* resolver.c - how a question travels:
 *   1. a *query* (mx or addr) has one *part* per record type (addr of both families: two);
 *   2. a part finds its *record* in the cache, or joins the *question* in flight for the same name and type, or starts one;
 *   3. the question's reply is parsed (dns_packet.c), kept in the cache (dns_cache.c) and given to every part that waits for it;
 *   4. a query with no part left waiting is put on the ready list; the idle handle makes the callbacks in the next turn,
 *      so none comes from inside a call, and none from inside c-ares. */
#include "common/net/resolver.h"

#include <ares.h>
#include <string.h>

#include "common/base/alloc.h"
#include "common/base/assert.h"
#include "common/base/buf.h"
#include "common/net/clock.h"
#include "common/net/dns_cache.h"

enum {
    TEMP_TTL_MS = 5000, /* failures, and refusals that do not say how long they hold */
    QUESTIONS_MAX = 8192,
    CACHE_DEFAULT = 65536,
    TTL_MAX_DEFAULT_MS = 86400000,
    TIMEOUT_DEFAULT_MS = 2000,
    TRIES_DEFAULT = 3,
    TICK_MIN_MS = 10,
    TICK_MAX_MS = 100,
    EDNS_BYTES = 1232,
    PARTS_MAX = 2,
};

struct query;
struct part {
    struct pr_list link; /* of the question while waiting */
    struct query *query;
    struct dns_record *record;
    bool cached;
};

struct query {
    uint64_t id;
    pr_dns_fn fn;
    void *data;
    unsigned n_parts, waiting;
    struct part parts[PARTS_MAX]; /* of both families: AAAA, A */
    struct pr_list ready;
};

struct question {
    struct pr_resolver *resolver;
    enum pr_dns_type type;
    uint64_t started_us;
    struct pr_list parts;
    size_t key_len;
    char key[DNS_KEY_MAX];
};

struct watch {
    uv_poll_t poll;
    struct pr_resolver *resolver;
    struct pr_list link;
    ares_socket_t fd;
};

struct pr_resolver {
    uv_loop_t *loop;
    ares_channel channel;
    struct pr_resolver_options o;
    struct dns_cache cache;
    struct pr_map questions; /* by type and name */
    struct pr_map queries;   /* by id */
    struct pr_list ready, watches;
    uint64_t next_id;
    uv_timer_t tick;
    uv_idle_t idle;
    size_t handles;
    bool closing;
    void (*on_closed)(void *data);
    void *on_closed_data;
};

/* --- answers --- */

static uint64_t lifetime_ms(const struct pr_resolver *r, const struct pr_dns_reply *reply)
{
    uint64_t ttl_ms = (uint64_t)reply->ttl_s * 1000;
    switch (reply->status) {
    case PR_DNS_OK:
        return PR_MIN(PR_MAX(ttl_ms, r->o.ttl_min_ms), PR_MAX(r->o.ttl_max_ms, r->o.ttl_min_ms));
    case PR_DNS_NODATA:
    case PR_DNS_NXDOMAIN:
        return PR_MIN(PR_MAX(ttl_ms, (uint64_t)TEMP_TTL_MS), r->o.negative_ttl_max_ms);
    case PR_DNS_TEMP:
    case PR_DNS_STATUS_NR:
        break;
    }
    return TEMP_TTL_MS;
}

static struct dns_record *new_record(const struct pr_resolver *r, const struct pr_dns_reply *reply,
                                     enum pr_dns_type type)
{
    return dns_record_new(reply, type, pr_clock_now().mono.ms + lifetime_ms(r, reply));
}

static void on_idle(uv_idle_t *h);

static void query_free(struct query *q)
{
    for (size_t i = 0; i < q->n_parts; i++) {
        pr_list_remove(&q->parts[i].link);
        dns_record_unref(q->parts[i].record);
    }
    pr_list_remove(&q->ready);
    pr_free(q);
}

static void make_ready(struct pr_resolver *r, struct query *q)
{
    pr_list_push_back(&r->ready, &q->ready);
    uv_idle_start(&r->idle, on_idle);
}

static void part_done(struct pr_resolver *r, struct part *p, struct dns_record *rec, bool cached)
{
    p->record = dns_record_ref(rec);
    p->cached = cached;
    if (--p->query->waiting == 0)
        make_ready(r, p->query);
}

static uint32_t seconds_left(const struct dns_record *rec)
{
    uint64_t now_ms = pr_clock_now().mono.ms;
    return rec->expires_ms <= now_ms ? 0 : (uint32_t)PR_MIN((rec->expires_ms - now_ms) / 1000, (uint64_t)UINT32_MAX);
}

static void answer_of(const struct part *p, struct pr_dns_answer *ret)
{
    const struct dns_record *rec = p->record;
    *ret = (struct pr_dns_answer){
        .status = rec->status,
        .error = rec->error,
        .n = rec->n,
        .mx = rec->mx,
        .addrs = rec->addrs,
        .ttl_s = seconds_left(rec),
        .cached = p->cached,
    };
}

/* What the two families say together when neither has addresses. */
static const struct part *worse(const struct part *a, const struct part *b)
{
    if (a->record->status == PR_DNS_TEMP || b->record->status == PR_DNS_TEMP)
        return a->record->status == PR_DNS_TEMP ? a : b;
    return a->record->status == PR_DNS_NODATA ? a : b;
}

/* IPv6 first; neither family can crowd the other out. */
static size_t join_addrs(const struct dns_record *six, const struct dns_record *four,
                         struct in6_addr out[PR_DNS_RECORDS_MAX])
{
    size_t half = PR_DNS_RECORDS_MAX / 2;
    size_t n4 = four->n <= half ? four->n : PR_MIN(four->n, PR_DNS_RECORDS_MAX - PR_MIN(six->n, half));
    size_t n6 = PR_MIN(six->n, PR_DNS_RECORDS_MAX - n4);
    if (n6 > 0)
        memcpy(out, six->addrs, n6 * sizeof *out);
    if (n4 > 0)
        memcpy(out + n6, four->addrs, n4 * sizeof *out);
    return n6 + n4;
}

static void deliver(struct query *q)
{
    struct pr_dns_answer a, b;
    struct in6_addr addrs[PR_DNS_RECORDS_MAX];
    answer_of(&q->parts[0], &a);
    if (q->n_parts == 2) {
        const struct part *six = &q->parts[0], *four = &q->parts[1];
        if (six->record->n + four->record->n > 0) {
            answer_of(four, &b);
            a.ttl_s = PR_MIN(a.ttl_s, b.ttl_s);
            a.n = join_addrs(six->record, four->record, addrs);
            a.addrs = addrs;
            a.status = PR_DNS_OK;
            a.error = NULL;
        } else {
            answer_of(worse(six, four), &a);
        }
        a.cached = six->cached && four->cached;
    }
    q->fn(q->data, q->id, &a);
}

static void on_idle(uv_idle_t *h)
{
    struct pr_resolver *r = h->data;
    struct pr_list due;
    pr_list_init(&due);
    for (struct pr_list *n; (n = pr_list_pop_front(&r->ready)) != NULL;)
        pr_list_push_back(&due, n);
    for (struct pr_list *n; (n = pr_list_pop_front(&due)) != NULL;) {
        struct query *q = pr_list_entry(n, struct query, ready);
        (void)pr_map_del(&r->queries, q->id);
        deliver(q);
        query_free(q);
    }
    if (!r->closing && pr_list_empty(&r->ready))
        uv_idle_stop(&r->idle);
}

/* --- questions in flight --- */

static const char *type_name(enum pr_dns_type type)
{
    switch (type) {
    case PR_DNS_A:
        return "a";
    case PR_DNS_AAAA:
        return "aaaa";
    case PR_DNS_MX:
        return "mx";
    }
    pr_unreachable();
}

static const char *error_of_ares(int status)
{
    switch (status) {
    case ARES_ETIMEOUT:
        return "no reply from the server";
    case ARES_ECONNREFUSED:
        return "no server took the question"; /* not there, or each one failed or refused */
    default:
        return "question failed";
    }
}

static void question_done(struct question *q, struct pr_dns_reply *reply)
{
    struct pr_resolver *r = q->resolver;
    struct pr_slice key = pr_slice(q->key, q->key_len);
    struct dns_record *rec = new_record(r, reply, q->type);
    if (r->o.on_query != NULL)
        r->o.on_query(r->o.on_query_data, type_name(q->type), reply->status, pr_clock_us() - q->started_us);
    (void)pr_map_del_str(&r->questions, key);
    dns_cache_put(&r->cache, key, rec);
    for (struct pr_list *n; (n = pr_list_pop_front(&q->parts)) != NULL;)
        part_done(r, pr_list_entry(n, struct part, link), rec, false);
    dns_record_unref(rec);
    if (pr_map_count(&r->questions) == 0)
        uv_timer_stop(&r->tick);
    pr_free(q);
}

static void on_reply(void *arg, int status, int timeouts, unsigned char *bytes, int n)
{
    (void)timeouts;
    struct question *q = arg;
    if (q->resolver->closing) {
        pr_free(q);
        return;
    }
    struct pr_dns_reply reply;
    /* A refusal (NXDOMAIN, NODATA, SERVFAIL ...) may come with its packet: that says more than the status. */
    if (bytes != NULL && n > 0)
        pr_dns_parse(pr_slice(bytes, (size_t)n), pr_slice(q->key + 1, q->key_len - 1), q->type, &reply);
    else
        reply = (struct pr_dns_reply){.status = PR_DNS_TEMP, .error = error_of_ares(status)};
    question_done(q, &reply);
    pr_dns_reply_fini(&reply);
}

static void on_tick(uv_timer_t *t)
{
    struct pr_resolver *r = t->data;
    ares_process_fd(r->channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
}

static struct dns_record *temp_record(struct pr_resolver *r, enum pr_dns_status status, const char *error)
{
    struct pr_dns_reply reply = {.status = status, .error = error};
    return new_record(r, &reply, PR_DNS_A);
}

static void ask(struct pr_resolver *r, struct part *p, struct pr_slice key, enum pr_dns_type type)
{
    struct question *q = pr_map_get_str(&r->questions, key);
    if (q != NULL) {
        pr_list_push_back(&q->parts, &p->link);
        return;
    }
    if (pr_map_count(&r->questions) >= QUESTIONS_MAX) {
        struct dns_record *rec = temp_record(r, PR_DNS_TEMP, "too many questions in flight");
        part_done(r, p, rec, false);
        dns_record_unref(rec);
        return;
    }
    q = pr_new(struct question);
    q->resolver = r;
    q->type = type;
    q->started_us = pr_clock_us();
    q->key_len = key.len;
    memcpy(q->key, key.ptr, key.len);
    pr_list_init(&q->parts);
    pr_list_push_back(&q->parts, &p->link);
    (void)pr_map_put_str(&r->questions, key, q);
    if (!uv_is_active((uv_handle_t *)&r->tick)) {
        uint64_t ms = PR_MAX(PR_MIN((uint64_t)r->o.timeout_ms / 4, (uint64_t)TICK_MAX_MS), (uint64_t)TICK_MIN_MS);
        uv_timer_start(&r->tick, on_tick, ms, ms);
    }
    char name[PR_DNS_NAME_MAX + 1];
    memcpy(name, key.ptr + 1, key.len - 1);
    name[key.len - 1] = '\0';
    ares_query(r->channel, name, 1 /* IN */, (int)type, on_reply, q); /* may call back at once */
}

static void start_part(struct pr_resolver *r, struct query *q, size_t i, struct pr_slice name, enum pr_dns_type type)
{
    char key[DNS_KEY_MAX];
    key[0] = (char)type;
    for (size_t k = 0; k < name.len; k++)
        key[1 + k] = pr_lower(name.ptr[k]);
    struct pr_slice k = pr_slice(key, 1 + name.len);
    struct dns_record *rec = dns_cache_get(&r->cache, k, pr_clock_now().mono.ms);
    if (rec != NULL)
        part_done(r, &q->parts[i], rec, true);
    else
        ask(r, &q->parts[i], k, type);
}

static void refuse_part(struct pr_resolver *r, struct part *p)
{
    struct dns_record *rec = temp_record(r, PR_DNS_NXDOMAIN, NULL);
    part_done(r, p, rec, false);
    dns_record_unref(rec);
}

static uint64_t start_query(struct pr_resolver *r, struct pr_slice name, const enum pr_dns_type *types, unsigned n,
                            pr_dns_fn fn, void *data)
{
    struct query *q = pr_new(struct query);
    q->id = ++r->next_id;
    q->fn = fn;
    q->data = data;
    q->n_parts = q->waiting = n;
    pr_list_init(&q->ready);
    for (size_t i = 0; i < n; i++) {
        q->parts[i].query = q;
        pr_list_init(&q->parts[i].link);
    }
    (void)pr_map_put(&r->queries, q->id, q);
    bool valid = pr_dns_host_valid(name);
    for (size_t i = 0; i < n; i++)
        if (valid)
            start_part(r, q, i, name, types[i]);
        else
            refuse_part(r, &q->parts[i]);
    return q->id;
}

uint64_t pr_resolver_mx(struct pr_resolver *r, struct pr_slice name, pr_dns_fn fn, void *data)
{
    const enum pr_dns_type types[] = {PR_DNS_MX};
    return start_query(r, name, types, 1, fn, data);
}

uint64_t pr_resolver_addr(struct pr_resolver *r, struct pr_slice name, int want, pr_dns_fn fn, void *data)
{
    const enum pr_dns_type both[] = {PR_DNS_AAAA, PR_DNS_A};
    if (want == AF_UNSPEC)
        return start_query(r, name, both, 2, fn, data);
    return start_query(r, name, want == AF_INET6 ? &both[0] : &both[1], 1, fn, data);
}

void pr_resolver_cancel(struct pr_resolver *r, uint64_t query_id)
{
    struct query *q = pr_map_del(&r->queries, query_id);
    if (q != NULL)
        query_free(q);
}

/* --- sockets of c-ares --- */

static void maybe_closed(struct pr_resolver *r)
{
    if (--r->handles > 0)
        return;
    if (r->on_closed != NULL)
        r->on_closed(r->on_closed_data);
    pr_free(r);
}

static void on_watch_closed(uv_handle_t *h)
{
    struct watch *w = h->data;
    struct pr_resolver *r = w->resolver;
    pr_free(w);
    maybe_closed(r);
}

static void on_socket_event(uv_poll_t *h, int status, int events)
{
    struct watch *w = h->data;
    bool readable = status < 0 || (events & UV_READABLE) != 0, writable = status < 0 || (events & UV_WRITABLE) != 0;
    ares_process_fd(w->resolver->channel, readable ? w->fd : ARES_SOCKET_BAD, writable ? w->fd : ARES_SOCKET_BAD);
}

static struct watch *find_watch(struct pr_resolver *r, ares_socket_t fd)
{
    struct pr_list *it, *tmp;
    pr_list_foreach(it, tmp, &r->watches)
        if (pr_list_entry(it, struct watch, link)->fd == fd)
            return pr_list_entry(it, struct watch, link);
    return NULL;
}

static void on_socket_state(void *data, ares_socket_t fd, int readable, int writable)
{
    struct pr_resolver *r = data;
    struct watch *w = find_watch(r, fd);
    if (w == NULL && !readable && !writable)
        return;
    if (w == NULL) {
        w = pr_new(struct watch);
        w->fd = fd;
        w->resolver = r;
        if (uv_poll_init(r->loop, &w->poll, fd) != 0) {
            pr_free(w); /* the question times out */
            return;
        }
        w->poll.data = w;
        r->handles++;
        pr_list_push_back(&r->watches, &w->link);
    }
    if (readable || writable) {
        uv_poll_start(&w->poll, (readable ? UV_READABLE : 0) | (writable ? UV_WRITABLE : 0), on_socket_event);
        return;
    }
    /* c-ares closes the descriptor right after this. */
    pr_list_remove(&w->link);
    uv_poll_stop(&w->poll);
    uv_close((uv_handle_t *)&w->poll, on_watch_closed);
}

/* --- opening and closing --- */

static int set_servers(ares_channel channel, const struct pr_resolver_options *o)
{
    if (o->n_servers == 0)
        return ARES_SUCCESS;
    struct pr_buf b;
    pr_buf_init(&b);
    for (size_t i = 0; i < o->n_servers; i++) {
        if (i > 0)
            pr_buf_char(&b, ',');
        pr_buf_str(&b, o->servers[i]);
    }
    int rc = ares_set_servers_ports_csv(channel, pr_buf_cstr(&b));
    pr_buf_fini(&b);
    return rc;
}

static int init_channel(struct pr_resolver *r, int flags)
{
    const struct pr_resolver_options *o = &r->o;
    struct ares_options a = {
        .flags = flags,
        .timeout = (int)(o->timeout_ms == 0 ? TIMEOUT_DEFAULT_MS : o->timeout_ms),
        .tries = (int)(o->tries == 0 ? TRIES_DEFAULT : o->tries),
        .ednspsz = EDNS_BYTES,
        .sock_state_cb = on_socket_state,
        .sock_state_cb_data = r,
    };
    int mask = ARES_OPT_FLAGS | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_EDNSPSZ | ARES_OPT_SOCK_STATE_CB;
    int rc = ares_init_options(&r->channel, &a, mask);
    if (rc != ARES_SUCCESS)
        return rc;
    rc = set_servers(r->channel, o);
    if (rc != ARES_SUCCESS)
        ares_destroy(r->channel);
    return rc;
}

static bool has_one_server(ares_channel channel)
{
    struct ares_addr_port_node *list = NULL;
    if (ares_get_servers_ports(channel, &list) != ARES_SUCCESS)
        return false;
    bool one = list != NULL && list->next == NULL;
    ares_free_data(list);
    return one;
}

/* c-ares asks the next server when one fails (SERVFAIL), and forgets what it said. With a single server that would only
 * repeat the question and lose the reason. */
static int open_channel(struct pr_resolver *r)
{
    int rc = init_channel(r, ARES_FLAG_EDNS);
    if (rc != ARES_SUCCESS || !has_one_server(r->channel))
        return rc;
    ares_destroy(r->channel);
    return init_channel(r, ARES_FLAG_EDNS | ARES_FLAG_NOCHECKRESP);
}

int pr_resolver_new(uv_loop_t *loop, const struct pr_resolver_options *o, struct pr_resolver **ret, char **reterr_text)
{
    struct pr_resolver *r = pr_new(struct pr_resolver);
    r->loop = loop;
    r->o = *o;
    if (r->o.cache_entries == 0)
        r->o.cache_entries = CACHE_DEFAULT;
    if (r->o.ttl_max_ms == 0)
        r->o.ttl_max_ms = TTL_MAX_DEFAULT_MS;
    int rc = open_channel(r);
    r->o.servers = NULL; /* were borrowed until return */
    if (rc != ARES_SUCCESS) {
        struct pr_buf b;
        pr_buf_init(&b);
        pr_buf_printf(&b, "cannot set up DNS: %s", ares_strerror(rc));
        *reterr_text = pr_buf_steal(&b, NULL);
        pr_free(r);
        return PR_EINVAL;
    }
    uint64_t seed = pr_random_seed(); /* peers choose the names */
    dns_cache_init(&r->cache, r->o.cache_entries, seed);
    pr_map_init(&r->questions, seed);
    pr_map_init(&r->queries, seed);
    pr_list_init(&r->ready);
    pr_list_init(&r->watches);
    uv_timer_init(loop, &r->tick);
    uv_idle_init(loop, &r->idle);
    r->tick.data = r->idle.data = r;
    r->handles = 2;
    *ret = r;
    return 0;
}

static void on_handle_closed(uv_handle_t *h)
{
    maybe_closed(h->data);
}

void pr_resolver_close(struct pr_resolver *r, void (*on_closed)(void *data), void *data)
{
    if (r->closing)
        return;
    r->closing = true;
    r->on_closed = on_closed;
    r->on_closed_data = data;
    size_t it = 0;
    for (struct query *q; (q = pr_map_next(&r->queries, &it, NULL)) != NULL;)
        query_free(q);
    ares_destroy(r->channel); /* frees the questions, closes the sockets */
    pr_map_fini(&r->queries);
    pr_map_fini(&r->questions);
    dns_cache_fini(&r->cache);
    uv_close((uv_handle_t *)&r->tick, on_handle_closed);
    uv_close((uv_handle_t *)&r->idle, on_handle_closed);
}
