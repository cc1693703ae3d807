/* The link to the scheduler node, and what is known of its shards.
 *
 *   1. HELLO on both lanes until HELLO_OK comes, and again every few seconds: the node may have forgotten us.
 *   2. Every HELLO_OK says which shards it leads and how they feel. Another boot id: the node was restarted, and what was
 *      on its way may be stored or not, so it is handed over again with the same tokens.
 *   3. Three seconds without a sign: the link is down; new messages are refused at MAIL, those under way wait.
 *
 * One node today; what is per node is in this file. */
#include "ingress/shell/spool_internal.h"

#include "common/base/alloc.h"
#include "common/base/assert.h"
#include "common/net/clock.h"

bool spool_send(struct spool *sp, bool bulk, const struct wire_msg *m, struct pr_buf *payload)
{
    struct pr_bus *bus = bulk ? sp->bulk : sp->control;
    pr_buf_clear(&sp->header);
    wire_encode(m, &sp->header, payload);
    if (pr_bus_send(bus, pr_slice("", 0), pr_buf_slice(&sp->header), payload) != 0)
        return false;
    pr_metric_inc2(sp->o.metrics, IM_BUS_MESSAGES, 1, (unsigned)m->type);
    return true;
}

/* ---- intake ---- */

enum ing_intake spool_intake(const struct spool *sp)
{
    return sp->intake;
}

static void refresh_views(struct spool *sp)
{
    for (size_t i = 0; i < sp->n_shards; i++) {
        sp->views[i] = sp->shards[i].view;
        sp->views[i].leader &= sp->up;
        sp->views[i].waiting = sp->shards[i].queue_bytes + sp->shards[i].sent_bytes;
    }
}

static void update_intake(struct spool *sp)
{
    refresh_views(sp);
    enum ing_intake now = ing_intake(sp->views, sp->n_shards);
    if (now == sp->intake)
        return;
    sp->intake = now;
    sp->o.on_intake(sp->o.data, now);
}

uint32_t spool_pick(struct spool *sp, uint64_t bytes)
{
    refresh_views(sp);
    size_t i = ing_pick_shard(sp->views, sp->n_shards, bytes, &sp->rng);
    return i == SIZE_MAX ? SPOOL_NO_SHARD : (uint32_t)i;
}

size_t spool_pending(const struct spool *sp)
{
    size_t n = 0;
    for (size_t i = 0; i < sp->n_shards; i++)
        for (const struct pr_list *l = sp->shards[i].sent.next; l != &sp->shards[i].sent; l = l->next)
            n++;
    return n;
}

uint64_t spool_oldest_us(const struct spool *sp)
{
    uint64_t now = pr_clock_us(), oldest = now;
    for (size_t i = 0; i < sp->n_shards; i++) {
        const struct pr_list *l = &sp->shards[i].sent;
        if (l->next != l)
            oldest = PR_MIN(oldest, pr_list_entry(l->next, struct upload, link)->committed_us);
    }
    return now - oldest;
}

/* ---- the link ---- */

static void send_hello(struct spool *sp, bool bulk)
{
    struct wire_msg m = {.type = WIRE_HELLO,
                         .hello = {.role = WIRE_ROLE_INGRESS,
                                   .node_id = pr_slice_str(sp->node_id),
                                   .boot_id = sp->o.boot_id,
                                   .lane = sp->o.lane,
                                   .bulk = bulk}};
    (void)spool_send(sp, bulk, &m, NULL); /* repeated by the tick */
}

void spool_link_down(struct spool *sp, const char *why)
{
    if (!sp->up)
        return;
    sp->up = false;
    pr_metric_add(sp->o.metrics, IM_BUS_PEERS, 0, 0, 0, -1);
    pr_warn(sp->o.log, "link_down", PR_U("lane", sp->o.lane), PR_S("reason", why));
    update_intake(sp);
}

static void link_up(struct spool *sp, const struct wire_hello_ok *h)
{
    bool again = sp->node_boot_id != 0;
    sp->up = true;
    sp->node_boot_id = h->boot_id;
    pr_metric_add(sp->o.metrics, IM_BUS_PEERS, 0, 0, 0, 1);
    pr_info(sp->o.log, "link_up", PR_U("lane", sp->o.lane), PR_SL("node", h->node_id), PR_U("shards", h->n_shards));
    send_hello(sp, true);
    if (again) {
        batch_link_reset(sp);
        parts_link_reset(sp);
    }
}

static void take_states(struct spool *sp, const struct wire_hello_ok *h)
{
    for (size_t i = 0; i < h->n_shards; i++) {
        const struct wire_shard_state *s = &h->shards[i];
        if (s->shard >= SPOOL_SHARDS_MAX)
            continue;
        sp->n_shards = PR_MAX(sp->n_shards, (size_t)s->shard + 1);
        struct spool_shard *mine = &sp->shards[s->shard];
        if (s->term < mine->term)
            continue;
        mine->term = s->term;
        mine->view = (struct ing_shard_view){
            .leader = s->leader, .admission = s->admission, .queued = s->queued, .window_left = s->window_bytes};
    }
}

static void on_hello_ok(struct spool *sp, const struct wire_hello_ok *h, bool bulk)
{
    if (sp->up && h->boot_id != sp->node_boot_id) {
        spool_link_down(sp, "node restarted");
        for (size_t i = 0; i < sp->n_shards; i++)
            sp->shards[i].term = 0;
        send_hello(sp, false);
    }
    if (!sp->up && bulk)
        return; /* the control lane comes first */
    if (!sp->up)
        link_up(sp, h);
    take_states(sp, h);
    update_intake(sp);
    batch_rehome(sp);
    sp->dirty = true;
}

/* The answer to a message ends here; nothing of the frame is kept. */
static void on_message(void *data, struct pr_bus *bus, struct pr_bus_msg *msg)
{
    struct spool *sp = data;
    struct pr_arena arena = {NULL, 0, 0};
    struct wire_msg m;
    if (wire_decode(pr_bus_msg_header(msg), pr_bus_msg_payload(msg), &arena, &m) != 0) {
        pr_metric_inc1(sp->o.metrics, IM_BUS_DROPPED, IM_DROP_DECODE);
    } else {
        pr_metric_inc2(sp->o.metrics, IM_BUS_MESSAGES, 0, (unsigned)m.type);
        sp->last_sign = pr_clock_now().mono;
        if (m.type == WIRE_HELLO_OK)
            on_hello_ok(sp, &m.hello_ok, bus == sp->bulk);
        else if (m.type == WIRE_ENQUEUE_ACK)
            batch_on_ack(sp, &m.enqueue_ack);
        else if (m.type == WIRE_PART_ACK)
            parts_on_ack(sp, &m.part_ack);
        else
            pr_metric_inc1(sp->o.metrics, IM_BUS_DROPPED, IM_DROP_TYPE);
    }
    pr_arena_fini(&arena);
    pr_bus_msg_free(msg);
}

void spool_tick(struct spool *sp)
{
    struct wire_msg beat = {.type = WIRE_HEARTBEAT};
    pr_mono now = pr_clock_now().mono;
    if (sp->up && pr_mono_since(now, sp->last_sign) > SPOOL_SILENT_MS)
        spool_link_down(sp, "silent");
    if (!sp->up || pr_mono_since(now, sp->last_hello) >= SPOOL_HELLO_MS) {
        sp->last_hello = now;
        send_hello(sp, false);
        send_hello(sp, true);
    }
    if (sp->up && pr_mono_since(now, sp->last_heartbeat) >= SPOOL_HEARTBEAT_MS) {
        sp->last_heartbeat = now;
        if (!spool_send(sp, false, &beat, NULL))
            spool_link_down(sp, "disconnected");
    }
    parts_tick(sp, now);
    batch_resend_silent(sp, now);
    batch_rehome(sp);
    spool_flush(sp);
}

void spool_flush(struct spool *sp)
{
    if (sp->dirty && sp->up)
        batch_flush(sp);
}

struct upload *spool_find(struct spool *sp, const struct wire_token *token)
{
    uint64_t key;
    memcpy(&key, token->bytes, sizeof key);
    struct upload *u = pr_map_get(&sp->uploads, key);
    if (u == NULL || memcmp(&u->token, token, sizeof *token) != 0) {
        pr_metric_inc1(sp->o.metrics, IM_BUS_DROPPED, IM_DROP_UNKNOWN_TOKEN);
        return NULL;
    }
    return u;
}

/* ---- life ---- */

/* "i:node:boot:lane[:bulk]" within the 64 octets of a routing id. */
static int open_socket(struct spool *sp, uv_loop_t *loop, bool bulk, struct pr_bus **ret)
{
    enum { NODE_MAX = 30 };
    struct pr_buf id = {NULL, 0, 0};
    char *text = NULL;
    const char *address = bulk ? sp->o.bulk_address : sp->o.address;
    pr_buf_printf(&id, "i:%.*s:%016llx:%u%s", NODE_MAX, sp->node_id, (unsigned long long)sp->o.boot_id, sp->o.lane,
                  bulk ? ":bulk" : "");
    int rc = pr_bus_connect(sp->o.ctx, loop, address, pr_buf_slice(&id), on_message, sp, ret, &text);
    if (rc == 0)
        sp->open_sockets++;
    else
        pr_error(sp->o.log, "bus_connect_failed", PR_S("address", address), PR_S("error", text == NULL ? "" : text));
    pr_free(text);
    pr_buf_fini(&id);
    return rc;
}

static void destroy(struct spool *sp)
{
    pr_map_fini(&sp->uploads);
    pr_buf_fini(&sp->header);
    pr_free(sp->node_id);
    pr_free(sp);
}

static void on_socket_closed(void *data)
{
    struct spool *sp = data;
    if (--sp->open_sockets > 0)
        return;
    void (*on_closed)(void *) = sp->on_closed;
    void *on_closed_data = sp->on_closed_data;
    destroy(sp);
    if (on_closed != NULL)
        on_closed(on_closed_data);
}

int spool_new(uv_loop_t *loop, const struct spool_options *o, struct spool **ret)
{
    struct spool *sp = pr_new(struct spool);
    sp->o = *o;
    sp->node_id = pr_strndup(o->node_id.ptr, o->node_id.len);
    sp->intake = ING_INTAKE_NO_LEADER;
    pr_map_init(&sp->uploads, pr_random_seed());
    pr_rng_init(&sp->rng, pr_random_seed());
    pr_list_init(&sp->homeless);
    pr_list_init(&sp->with_parts);
    for (size_t i = 0; i < SPOOL_SHARDS_MAX; i++) {
        pr_list_init(&sp->shards[i].queue);
        pr_list_init(&sp->shards[i].sent);
    }
    int rc = open_socket(sp, loop, false, &sp->control);
    if (rc == 0)
        rc = open_socket(sp, loop, true, &sp->bulk);
    if (rc != 0) {
        if (sp->control != NULL)
            pr_bus_close(sp->control, on_socket_closed, sp);
        else
            destroy(sp);
        return rc;
    }
    *ret = sp;
    return 0;
}

void spool_close(struct spool *sp, void (*on_closed)(void *data), void *data)
{
    pr_assert(pr_map_count(&sp->uploads) == 0 && !sp->closing);
    sp->closing = true;
    sp->on_closed = on_closed;
    sp->on_closed_data = data;
    if (sp->up)
        pr_metric_add(sp->o.metrics, IM_BUS_PEERS, 0, 0, 0, -1);
    pr_bus_close(sp->control, on_socket_closed, sp);
    pr_bus_close(sp->bulk, on_socket_closed, sp);
}
