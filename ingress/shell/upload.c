/* One message on its way: encoded when its owner commits it, kept until the answer is known. */
#include "ingress/shell/spool_internal.h"

#include "common/base/alloc.h"
#include "common/base/assert.h"
#include "common/net/clock.h"

static void hold(struct upload *u, size_t bytes)
{
    budget_force(u->spool->o.budget, bytes);
    u->held += bytes;
}

static uint64_t key_of(const struct wire_token *t)
{
    uint64_t key;
    memcpy(&key, t->bytes, sizeof key);
    return key;
}

static struct wire_token new_token(struct spool *sp)
{
    if (sp->n_fresh == 0) {
        pr_random_bytes(sp->fresh, sizeof sp->fresh);
        sp->n_fresh = SPOOL_TOKENS;
    }
    return sp->fresh[--sp->n_fresh];
}

struct upload *upload_open(struct spool *sp, void *owner, uint64_t size_hint)
{
    static const char hex[] = "0123456789abcdef";
    struct upload *u = pr_new(struct upload);
    u->spool = sp;
    u->owner = owner;
    u->shard = SPOOL_NO_SHARD;
    u->size_hint = size_hint;
    pr_list_init(&u->link);
    pr_list_init(&u->parts_link);
    do
        u->token = new_token(sp);
    while (pr_map_get(&sp->uploads, key_of(&u->token)) != NULL);
    for (size_t i = 0; i < sizeof u->token.bytes; i++) {
        u->token_text[2 * i] = hex[u->token.bytes[i] >> 4];
        u->token_text[2 * i + 1] = hex[u->token.bytes[i] & 15];
    }
    (void)pr_map_put(&sp->uploads, key_of(&u->token), u);
    hold(u, sizeof *u);
    return u;
}

struct pr_slice upload_token(const struct upload *u)
{
    return pr_slice(u->token_text, sizeof u->token_text);
}

void upload_free(struct upload *u)
{
    struct spool *sp = u->spool;
    batch_remove(u);
    parts_free(u);
    (void)pr_map_del(&sp->uploads, key_of(&u->token));
    budget_give(sp->o.budget, u->held);
    pr_buf_fini(&u->body);
    pr_buf_fini(&u->meta);
    if (u->groups != &u->one_group)
        pr_free(u->groups);
    pr_free(u);
}

void upload_abort(struct upload *u)
{
    upload_free(u);
}

bool upload_append(struct upload *u, struct pr_buf *chunk)
{
    pr_assert(u->state == UPLOAD_OPEN);
    parts_add(u, chunk);
    u->wants_space = u->n_parts >= SPOOL_PARTS_MAX;
    return !u->wants_space;
}

/* ---- commit ---- */

static void add_text(struct upload *u, struct pr_slice text, size_t *ret_at, size_t *ret_len)
{
    *ret_at = u->meta.len;
    *ret_len = text.len;
    pr_buf_add(&u->meta, text);
}

static void encode(struct upload *u, const struct mail_envelope *e)
{
    wire_envelope_encode(e, &u->meta);
    u->envelope_len = u->meta.len;
    u->class_ = e->class_;
    u->size_bytes = e->size_bytes;
    u->n_groups = e->n_groups;
    u->groups = e->n_groups == 1 ? &u->one_group : pr_calloc(e->n_groups, sizeof *u->groups);
    for (size_t i = 0; i < e->n_groups; i++) {
        struct upload_group *g = &u->groups[i];
        add_text(u, e->groups[i].domain, &g->domain_at, &g->domain_len);
        g->encoded_at = u->meta.len;
        wire_group_encode(&e->groups[i], &u->meta);
        g->encoded_len = u->meta.len - g->encoded_at;
        g->n_rcpts = (uint32_t)e->groups[i].n_rcpts;
    }
    add_text(u, e->tenant, &u->tenant_at, &u->tenant_len);
    add_text(u, e->pool, &u->pool_at, &u->pool_len);
    hold(u, u->meta.cap + (u->groups == &u->one_group ? 0 : e->n_groups * sizeof *u->groups));
}

void upload_commit(struct upload *u, const struct mail_envelope *envelope, struct pr_buf *last)
{
    pr_assert(u->state == UPLOAD_OPEN);
    u->committed_us = pr_clock_us();
    encode(u, envelope);
    if (u->next_seq == 0) {
        u->body = *last;
        pr_buf_init(last);
        hold(u, u->body.cap);
        batch_add(u);
        return;
    }
    u->state = UPLOAD_PARTS;
    u->wants_space = false;
    if (last->len > 0)
        parts_add(u, last);
    else
        pr_buf_fini(last);
    if (u->n_parts == 0)
        batch_add(u);
}

void upload_finish(struct upload *u, enum ing_spool_status status, uint64_t msg_id)
{
    char id[WIRE_QUEUE_ID_LEN + 1];
    struct spool *sp = u->spool;
    void *owner = u->owner;
    wire_queue_id_format(u->shard == SPOOL_NO_SHARD ? 0 : u->shard, msg_id, id);
    if (status == ING_SPOOL_OK)
        pr_metric_observe(sp->o.metrics, IM_COMMIT, 0, 0, 0, pr_clock_us() - u->committed_us);
    upload_free(u);
    sp->o.owner->committed(owner, status, pr_slice(id, WIRE_QUEUE_ID_LEN));
}
