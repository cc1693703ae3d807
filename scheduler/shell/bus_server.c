/* Life of a frame: received -> decoded into the item's own arena -> checked against the registry (who sends, which role)
 * -> posted to its shard, or answered here (HELLO, HEARTBEAT, GATE_REQ). A frame from a lane we do not know is answered
 * with HELLO_OK: its sender sees our new boot id and introduces itself again. */
#include "scheduler/shell/bus_server.h"

#include <pthread.h>
#include <stdatomic.h>

#include "common/base/alloc.h"
#include "common/base/assert.h"
#include "common/base/map.h"
#include "common/net/clock.h"
#include "scheduler/shell/gate_server.h"
#include "scheduler/shell/metrics.h"

enum { TICK_MS = 100, HELLO_OK_EVERY_MS = 1000, LANE_SILENT_MS = 5000, LANES_MAX = 4096, SHARDS_MAX = 64, EARLY_MAX = 8 };
/* Unacknowledged enqueue bytes one ingress lane may have at one shard. */
static const uint64_t WINDOW_BYTES = 16u * 1024 * 1024;

struct lane {
    struct lane_facts facts;
    pr_mono last_seen;
    char bulk_routing[PR_BUS_PEER_MAX];
    uint8_t bulk_len;
    bool member; /* known to the gate */
    struct shard_post *early[EARLY_MAX]; /* gate requests that came before its record was committed */
    size_t n_early;
};

struct bus_server {
    struct bus_server_options o;
    struct pr_worker *worker;
    struct bus_server *_Atomic *slot; /* where the node finds us */
    uv_loop_t *loop;
    struct pr_bus *control, *bulk;
    uv_timer_t timer;
    struct gate_server *gate;
    struct wire_shard_state shards[SHARDS_MAX];
    uint32_t next_lane_id;
    pr_mono next_hello;
    bool stopping;
    pthread_mutex_t lock; /* lanes and gate, against the views */
    struct pr_map by_routing; /* control routing id -> struct lane */
    struct pr_map by_bulk;
};

static struct pr_slice routing_of(const struct peer *p)
{
    return pr_slice(p->routing, p->routing_len);
}

static void send_to(struct bus_server *b, struct bus_out *o)
{
    struct pr_bus *socket = o->to.bulk ? b->bulk : b->control;
    if (socket == NULL || pr_bus_send(socket, routing_of(&o->to), pr_buf_slice(&o->header), &o->payload) != 0)
        pr_metric_inc1(b->o.metrics, SM_BUS_DROPPED, SM_DROP_NO_ROUTE);
}

static void send_all(struct bus_server *b, struct bus_post *post)
{
    struct pr_list *it, *tmp;
    pr_list_foreach(it, tmp, &post->out)
        send_to(b, pr_list_entry(it, struct bus_out, link));
    bus_post_free(post);
}

static struct wire_msg hello_ok(struct bus_server *b)
{
    return (struct wire_msg){.type = WIRE_HELLO_OK,
                             .hello_ok = {.node_id = b->o.node_id,
                                          .boot_id = b->o.boot_id,
                                          .gate_epoch = gate_server_epoch(b->gate),
                                          .shards = b->shards,
                                          .n_shards = b->o.n_shards}};
}

static void send_hello_ok(struct bus_server *b, const struct peer *to)
{
    struct bus_post *post = bus_post_new(BUS_POST_SEND);
    struct wire_msg m = hello_ok(b);
    bus_post_add(post, to, &m);
    send_all(b, post);
}

static void send_hello_ok_to_all(struct bus_server *b)
{
    struct bus_post *post = bus_post_new(BUS_POST_SEND);
    struct wire_msg m = hello_ok(b);
    size_t it = 0;
    for (struct lane *l; (l = pr_map_next(&b->by_routing, &it, NULL)) != NULL;)
        bus_post_add(post, &l->facts.control, &m);
    send_all(b, post);
}

static void to_shard(struct bus_server *b, uint32_t shard, struct shard_post *item)
{
    if (shard >= b->o.n_shards || b->o.to_shard(b->o.data, shard, item) != 0)
        shard_post_free(item);
}

static void tell_shards(struct bus_server *b, const struct lane *l, enum shard_post_kind kind)
{
    for (uint32_t s = 0; s < b->o.n_shards; s++) {
        struct shard_post *item = pr_new(struct shard_post);
        item->kind = kind;
        item->lane = l->facts;
        to_shard(b, s, item);
    }
}

static void count_peers(struct bus_server *b)
{
    int64_t n[WIRE_ROLE_NR] = {0};
    size_t it = 0;
    for (struct lane *l; (l = pr_map_next(&b->by_routing, &it, NULL)) != NULL;)
        n[l->facts.role]++;
    for (unsigned r = 0; r < WIRE_ROLE_NR; r++)
        pr_metric_set(b->o.metrics, SM_BUS_PEERS, r, 0, 0, n[r]);
}

static void lane_free(struct lane *l)
{
    for (size_t i = 0; i < l->n_early; i++)
        shard_post_free(l->early[i]);
    pr_free(l);
}

static void lane_down(struct bus_server *b, struct lane *l, const char *reason)
{
    pthread_mutex_lock(&b->lock);
    pr_map_del_str(&b->by_routing, routing_of(&l->facts.control));
    pr_map_del_str(&b->by_bulk, pr_slice(l->bulk_routing, l->bulk_len));
    if (l->facts.role == WIRE_ROLE_DELIVERER)
        gate_server_lane_down(b->gate, &l->facts, pr_clock_now());
    pthread_mutex_unlock(&b->lock);
    tell_shards(b, l, SHARD_POST_LANE_DOWN);
    pr_info(b->o.log, "lane_down", PR_SL("node", pr_slice(l->facts.node, l->facts.node_len)), PR_U("lane", l->facts.lane),
            PR_S("reason", reason));
    lane_free(l);
    count_peers(b);
}

static bool same_lane(const struct lane *l, const struct wire_hello *h)
{
    return l->facts.role == h->role && l->facts.lane == h->lane &&
           pr_slice_eq(pr_slice(l->facts.node, l->facts.node_len), h->node_id);
}

/* An older boot of the same lane is gone: its sockets and jobs died with it. An older session of the same boot is gone
 * too: it ended on the other side, which lists what it still has. */
static void drop_older(struct bus_server *b, const struct wire_hello *h)
{
    size_t it = 0;
    for (struct lane *l; (l = pr_map_next(&b->by_routing, &it, NULL)) != NULL;)
        if (same_lane(l, h))
            lane_down(b, l, l->facts.boot_id != h->boot_id ? "restarted" : "new session");
}

static void lane_up(struct bus_server *b, const struct peer *from, const struct wire_hello *h)
{
    drop_older(b, h);
    if (pr_map_count(&b->by_routing) >= LANES_MAX) {
        pr_metric_inc1(b->o.metrics, SM_BUS_DROPPED, SM_DROP_UNKNOWN_PEER);
        return;
    }
    struct lane *l = pr_new(struct lane);
    l->facts = (struct lane_facts){.lane_id = ++b->next_lane_id,
                                   .role = h->role,
                                   .boot_id = h->boot_id,
                                   .lane = h->lane,
                                   .max_jobs = h->max_jobs,
                                   .control = *from,
                                   .node_len = (uint8_t)h->node_id.len};
    l->facts.control.lane_id = l->facts.lane_id;
    memcpy(l->facts.node, h->node_id.ptr, h->node_id.len);
    l->last_seen = pr_clock_now().mono;
    pthread_mutex_lock(&b->lock);
    pr_map_put_str(&b->by_routing, routing_of(from), l);
    pthread_mutex_unlock(&b->lock);
    tell_shards(b, l, SHARD_POST_LANE_UP);
    pr_info(b->o.log, "lane_up", PR_SL("node", h->node_id), PR_U("lane", h->lane),
            PR_S("role", h->role == WIRE_ROLE_INGRESS ? "ingress" : "deliverer"));
    count_peers(b);
}

/* The bulk socket of a lane we know. */
static void bulk_up(struct bus_server *b, const struct peer *from, const struct wire_hello *h)
{
    size_t it = 0;
    for (struct lane *l; (l = pr_map_next(&b->by_routing, &it, NULL)) != NULL;) {
        if (!same_lane(l, h) || l->facts.boot_id != h->boot_id)
            continue;
        pthread_mutex_lock(&b->lock);
        pr_map_del_str(&b->by_bulk, pr_slice(l->bulk_routing, l->bulk_len));
        memcpy(l->bulk_routing, from->routing, from->routing_len);
        l->bulk_len = from->routing_len;
        pr_map_put_str(&b->by_bulk, routing_of(from), l);
        pthread_mutex_unlock(&b->lock);
        send_hello_ok(b, from);
        return;
    }
}

static void on_hello(struct bus_server *b, const struct peer *from, const struct wire_hello *h)
{
    if (h->bulk) {
        bulk_up(b, from, h);
        return;
    }
    struct lane *l = pr_map_get_str(&b->by_routing, routing_of(from));
    if (l != NULL && (!same_lane(l, h) || l->facts.boot_id != h->boot_id)) {
        lane_down(b, l, "identity reused");
        l = NULL;
    }
    if (l == NULL)
        lane_up(b, from, h);
    send_hello_ok(b, from);
}

/* Which shard a message is for; PR_EDENIED when the role may not send it. */
static int shard_of(const struct wire_msg *m, enum wire_role role, uint32_t *ret_shard)
{
    enum wire_role may = WIRE_ROLE_DELIVERER;
    switch (m->type) {
    case WIRE_ENQUEUE:
        may = WIRE_ROLE_INGRESS;
        *ret_shard = m->enqueue.shard;
        break;
    case WIRE_PART:
        may = WIRE_ROLE_INGRESS;
        *ret_shard = m->part.shard;
        break;
    case WIRE_CREDIT:
        *ret_shard = m->credit.shard;
        break;
    case WIRE_RETURN:
        *ret_shard = m->return_.shard;
        break;
    case WIRE_RESULT:
        *ret_shard = m->results.shard;
        break;
    case WIRE_INVENTORY:
        *ret_shard = m->inventory.shard;
        break;
    case WIRE_BODY_GET:
        *ret_shard = m->body_get.shard;
        break;
    case WIRE_NONE:
    case WIRE_HELLO:
    case WIRE_HELLO_OK:
    case WIRE_HEARTBEAT:
    case WIRE_ENQUEUE_ACK:
    case WIRE_PART_ACK:
    case WIRE_DEMAND:
    case WIRE_JOB:
    case WIRE_RESULT_ACK:
    case WIRE_CANCEL:
    case WIRE_BODY_CHUNK:
    case WIRE_GATE_REQ:
    case WIRE_GATE_GRANT:
    case WIRE_TYPE_NR:
        return PR_EDENIED;
    }
    return role == may ? 0 : PR_EDENIED;
}

static void on_gate_request(struct bus_server *b, const struct lane *l, const struct wire_gate_req *req)
{
    struct bus_post *post = bus_post_new(BUS_POST_SEND);
    pthread_mutex_lock(&b->lock);
    gate_server_request(b->gate, &l->facts, req, pr_clock_now(), post);
    pthread_mutex_unlock(&b->lock);
    send_all(b, post);
}

/* Takes the item. */
static void on_frame(struct bus_server *b, struct shard_post *item)
{
    struct lane *l = pr_map_get_str(item->from.bulk ? &b->by_bulk : &b->by_routing, routing_of(&item->from));
    uint32_t shard = 0;
    if (item->msg.type == WIRE_HELLO) {
        on_hello(b, &item->from, &item->msg.hello);
        shard_post_free(item);
        return;
    }
    if (l == NULL) {
        pr_metric_inc1(b->o.metrics, SM_BUS_DROPPED, SM_DROP_UNKNOWN_PEER);
        send_hello_ok(b, &item->from);
        shard_post_free(item);
        return;
    }
    l->last_seen = pr_clock_now().mono;
    item->from.lane_id = l->facts.lane_id;
    if (item->msg.type == WIRE_HEARTBEAT) {
        shard_post_free(item);
    } else if (item->msg.type == WIRE_GATE_REQ && l->facts.role == WIRE_ROLE_DELIVERER) {
        if (!l->member && l->n_early < EARLY_MAX) {
            l->early[l->n_early++] = item;
            return;
        }
        if (l->member)
            on_gate_request(b, l, &item->msg.gate_req);
        shard_post_free(item);
    } else if (shard_of(&item->msg, l->facts.role, &shard) == 0) {
        to_shard(b, shard, item);
    } else {
        pr_metric_inc1(b->o.metrics, SM_BUS_DROPPED, SM_DROP_ROLE);
        shard_post_free(item);
    }
}

static void on_message(void *data, struct pr_bus *bus, struct pr_bus_msg *msg)
{
    struct bus_server *b = data;
    struct pr_slice routing = pr_bus_msg_peer(msg);
    struct shard_post *item = pr_new(struct shard_post);
    item->kind = SHARD_POST_MSG;
    item->bus_msg = msg;
    item->from.bulk = bus == b->bulk;
    item->from.routing_len = (uint8_t)PR_MIN(routing.len, sizeof item->from.routing);
    memcpy(item->from.routing, routing.ptr, item->from.routing_len);
    if (wire_decode(pr_bus_msg_header(msg), pr_bus_msg_payload(msg), &item->arena, &item->msg) != 0) {
        pr_metric_inc1(b->o.metrics, SM_BUS_DROPPED, SM_DROP_DECODE);
        shard_post_free(item);
        return;
    }
    pr_metric_inc2(b->o.metrics, SM_BUS_MESSAGES, 0, item->msg.type);
    on_frame(b, item);
}

static void drop_silent_lanes(struct bus_server *b, pr_mono now)
{
    size_t it = 0;
    for (struct lane *l; (l = pr_map_next(&b->by_routing, &it, NULL)) != NULL;)
        if (pr_mono_since(now, l->last_seen) > LANE_SILENT_MS)
            lane_down(b, l, "silent");
}

static void on_tick(uv_timer_t *timer)
{
    struct bus_server *b = timer->data;
    struct pr_now now = pr_clock_now();
    struct bus_post *post = bus_post_new(BUS_POST_SEND);
    pthread_mutex_lock(&b->lock);
    gate_server_tick(b->gate, now, post);
    pthread_mutex_unlock(&b->lock);
    send_all(b, post);
    drop_silent_lanes(b, now.mono);
    if (now.mono.ms >= b->next_hello.ms) {
        b->next_hello = pr_mono_add(now.mono, HELLO_OK_EVERY_MS);
        send_hello_ok_to_all(b);
    }
}

static void on_state(struct bus_server *b, const struct wire_shard_state *s)
{
    struct wire_shard_state *mine = &b->shards[s->shard];
    bool news = mine->leader != s->leader || mine->term != s->term || mine->admission != s->admission;
    *mine = *s;
    mine->window_bytes = WINDOW_BYTES;
    if (news)
        send_hello_ok_to_all(b);
}

static struct lane *lane_by_id(struct bus_server *b, uint32_t lane_id)
{
    size_t it = 0;
    for (struct lane *l; (l = pr_map_next(&b->by_routing, &it, NULL)) != NULL;)
        if (l->facts.lane_id == lane_id)
            return l;
    return NULL;
}

static void on_member(struct bus_server *b, uint32_t lane_id)
{
    struct lane *l = lane_by_id(b, lane_id);
    if (l == NULL || l->member)
        return;
    pthread_mutex_lock(&b->lock);
    l->member = true;
    gate_server_lane_up(b->gate, &l->facts, pr_clock_now());
    pthread_mutex_unlock(&b->lock);
    for (size_t i = 0; i < l->n_early; i++) {
        on_gate_request(b, l, &l->early[i]->msg.gate_req);
        shard_post_free(l->early[i]);
    }
    l->n_early = 0;
}

static void on_post(struct pr_worker *w, void *posted, void *data)
{
    struct bus_server *b = data;
    struct bus_post *p = posted;
    (void)w;
    switch (p->kind) {
    case BUS_POST_SEND:
        send_all(b, p);
        return;
    case BUS_POST_STATE:
        on_state(b, &p->state);
        break;
    case BUS_POST_MEMBER:
        on_member(b, p->lane_id);
        break;
    case BUS_POST_CONFIG:
        pthread_mutex_lock(&b->lock);
        gate_server_config(b->gate, p->config, pr_clock_now());
        pthread_mutex_unlock(&b->lock);
        break;
    case BUS_POST_FLUSH: {
        struct bus_post *out = bus_post_new(BUS_POST_SEND);
        pthread_mutex_lock(&b->lock);
        gate_server_flush(b->gate, p->destination, pr_clock_now(), out);
        pthread_mutex_unlock(&b->lock);
        send_all(b, out);
        break;
    }
    }
    bus_post_free(p);
}

static int open_sockets(struct bus_server *b)
{
    char *text = NULL;
    const struct pr_config *c = b->o.config;
    int rc = pr_bus_bind(b->o.ctx, b->loop, c->bus.address, on_message, b, &b->control, &text);
    if (rc == 0)
        rc = pr_bus_bind(b->o.ctx, b->loop, c->bus.bulk_address, on_message, b, &b->bulk, &text);
    if (rc != 0)
        pr_error(b->o.log, "bus_bind_failed", PR_S("address", b->control == NULL ? c->bus.address : c->bus.bulk_address),
                 PR_S("error", text == NULL ? pr_strerror(rc) : text));
    pr_free(text);
    return rc;
}

static int on_start(struct pr_worker *w, uv_loop_t *loop, void *data)
{
    struct bus_server *b = data;
    /* Before anybody can be told of a lane, and answer. */
    b->worker = w;
    atomic_store(b->slot, b);
    b->loop = loop;
    int rc = open_sockets(b);
    if (rc != 0)
        return rc;
    (void)uv_timer_init(loop, &b->timer);
    b->timer.data = b;
    (void)uv_timer_start(&b->timer, on_tick, TICK_MS, TICK_MS);
    return 0;
}

static void on_stop(struct pr_worker *w, void *data)
{
    struct bus_server *b = data;
    (void)w;
    if (b->stopping)
        return;
    b->stopping = true;
    uv_close((uv_handle_t *)&b->timer, NULL);
    pr_bus_close(b->control, NULL, NULL);
    pr_bus_close(b->bulk, NULL, NULL);
    b->control = b->bulk = NULL;
}

int bus_server_start(const struct bus_server_options *o, struct bus_server *_Atomic *ret)
{
    static const struct pr_worker_ops ops = {.start = on_start, .post = on_post, .stop = on_stop};
    pr_assert(o->n_shards <= SHARDS_MAX);
    struct bus_server *b = pr_new(struct bus_server);
    b->o = *o;
    pthread_mutex_init(&b->lock, NULL);
    pr_map_init(&b->by_routing, o->boot_id);
    pr_map_init(&b->by_bulk, o->boot_id);
    for (uint32_t s = 0; s < o->n_shards; s++)
        b->shards[s].shard = s;
    b->gate = gate_server_new(o, pr_random_seed(), pr_clock_now());
    b->slot = ret;
    struct pr_worker *worker = NULL;
    int rc = pr_worker_start(&ops, b, "bus", &worker);
    if (rc != 0) {
        atomic_store(ret, NULL);
        b->worker = NULL;
        bus_server_join(b);
    }
    return rc;
}

void bus_server_post(struct bus_server *b, struct bus_post *p)
{
    if (pr_worker_post(b->worker, p) != 0)
        bus_post_free(p);
}

bool bus_server_alive(const struct bus_server *b, uint64_t max_age_ms)
{
    return pr_worker_alive(b->worker, max_age_ms);
}

void bus_server_stop(struct bus_server *b)
{
    pr_worker_stop(b->worker);
}

void bus_server_join(struct bus_server *b)
{
    size_t it = 0;
    if (b->worker != NULL)
        pr_worker_join(b->worker);
    for (struct lane *l; (l = pr_map_next(&b->by_routing, &it, NULL)) != NULL;)
        lane_free(l);
    pr_map_fini(&b->by_routing);
    pr_map_fini(&b->by_bulk);
    gate_server_free(b->gate);
    pthread_mutex_destroy(&b->lock);
    pr_free(b);
}

size_t bus_server_lanes(struct bus_server *b, struct bus_lane_view *out, size_t max)
{
    size_t n = 0, it = 0;
    pr_mono now = pr_clock_now().mono;
    pthread_mutex_lock(&b->lock);
    for (struct lane *l; n < max && (l = pr_map_next(&b->by_routing, &it, NULL)) != NULL; n++)
        out[n] = (struct bus_lane_view){l->facts, pr_mono_since(now, l->last_seen)};
    pthread_mutex_unlock(&b->lock);
    return n;
}

size_t bus_server_gate(struct bus_server *b, struct bus_gate_view *out, size_t max)
{
    pthread_mutex_lock(&b->lock);
    size_t n = gate_server_view(b->gate, out, max, pr_clock_now());
    pthread_mutex_unlock(&b->lock);
    return n;
}
