#include "common/store/keyspace.h"

#include "common/base/assert.h"

static void add(struct key *k, const void *p, size_t n)
{
    pr_assert(k->len + n <= KEY_MAX);
    memcpy(k->bytes + k->len, p, n);
    k->len = (uint8_t)(k->len + n);
}

static void add_be(struct key *k, uint64_t v, unsigned n)
{
    unsigned char b[8];
    for (unsigned i = 0; i < n; i++)
        b[i] = (unsigned char)(v >> (8 * (n - 1 - i)));
    add(k, b, n);
}

static struct key named(const char *name)
{
    struct key k = {0};
    add(&k, name, strlen(name));
    return k;
}

struct key key_applied(void) { return named("applied"); }
struct key key_counters(void) { return named("counters"); }
struct key key_epoch(void) { return named("epoch"); }

struct key key_upload(uint64_t body_id)
{
    struct key k = named("upload/");
    add_be(&k, body_id, 8);
    return k;
}

struct key key_flow(uint32_t flow)
{
    struct key k = {0};
    add_be(&k, flow, 4);
    return k;
}

struct key key_msg(uint64_t msg_id)
{
    struct key k = {0};
    add_be(&k, msg_id, 8);
    return k;
}

struct key key_rcpt(uint64_t msg_id, uint16_t group)
{
    struct key k = key_msg(msg_id);
    add_be(&k, group, 2);
    return k;
}

struct key key_lease(uint64_t msg_id, uint16_t group)
{
    return key_rcpt(msg_id, group);
}

struct key key_sched(const struct key_sched *s)
{
    struct key k = key_sched_from(s->flow, s->due_ms);
    add_be(&k, s->msg_id, 8);
    add_be(&k, s->group, 2);
    add_be(&k, s->seq, 4);
    return k;
}

struct key key_sched_from(uint32_t flow, uint64_t due_ms)
{
    struct key k = {0};
    add_be(&k, flow, 4);
    add_be(&k, due_ms, 8);
    return k;
}

struct key key_expq(uint32_t minute, enum expq_kind kind, uint64_t id)
{
    struct key k = key_expq_from(minute);
    add_be(&k, (uint64_t)kind, 1);
    add_be(&k, id, 8);
    return k;
}

struct key key_expq_from(uint32_t minute)
{
    struct key k = {0};
    add_be(&k, minute, 4);
    return k;
}

struct key key_body(uint64_t body_id, uint32_t chunk)
{
    struct key k = {0};
    add_be(&k, body_id, 8);
    add_be(&k, chunk, 4);
    return k;
}

struct key key_dedup(uint64_t index)
{
    struct key k = {0};
    add_be(&k, index, 8);
    return k;
}

int key_sched_parse(struct pr_slice key, struct key_sched *ret)
{
    struct key_sched s;
    if (pr_get_be32(&key, &s.flow) != 0 || pr_get_be64(&key, &s.due_ms) != 0 || pr_get_be64(&key, &s.msg_id) != 0 ||
        pr_get_be16(&key, &s.group) != 0 || pr_get_be32(&key, &s.seq) != 0 || key.len != 0)
        return PR_ECORRUPT;
    *ret = s;
    return 0;
}

int key_expq_parse(struct pr_slice key, struct key_expq *ret)
{
    struct key_expq e;
    uint8_t kind;
    if (pr_get_be32(&key, &e.minute) != 0 || pr_get_u8(&key, &kind) != 0 || pr_get_be64(&key, &e.id) != 0 ||
        key.len != 0 || kind < EXPQ_CHECK || kind > EXPQ_REPORT)
        return PR_ECORRUPT;
    e.kind = (enum expq_kind)kind;
    *ret = e;
    return 0;
}

int key_msg_parse(struct pr_slice key, uint64_t *ret_msg_id)
{
    uint64_t id;
    if (pr_get_be64(&key, &id) != 0 || key.len != 0)
        return PR_ECORRUPT;
    *ret_msg_id = id;
    return 0;
}

int key_group_parse(struct pr_slice key, uint64_t *ret_msg_id, uint16_t *ret_group)
{
    uint64_t id;
    uint16_t group;
    if (pr_get_be64(&key, &id) != 0 || pr_get_be16(&key, &group) != 0 || key.len != 0)
        return PR_ECORRUPT;
    *ret_msg_id = id;
    *ret_group = group;
    return 0;
}

int key_flow_parse(struct pr_slice key, uint32_t *ret_flow)
{
    uint32_t flow;
    if (pr_get_be32(&key, &flow) != 0 || key.len != 0)
        return PR_ECORRUPT;
    *ret_flow = flow;
    return 0;
}

int key_dedup_parse(struct pr_slice key, uint64_t *ret_index)
{
    return key_msg_parse(key, ret_index);
}
