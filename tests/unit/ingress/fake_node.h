/* fake_node.h - a scheduler node for tests: answers HELLO, keeps what it is handed, and acknowledges as it is told to.
 *
 * Owns: its sockets and copies of what it got. Thread: that of its loop. */
#ifndef TESTS_UNIT_INGRESS_FAKE_NODE_H
#define TESTS_UNIT_INGRESS_FAKE_NODE_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/alloc.h"
#include "common/base/assert.h"
#include "common/base/map.h"
#include "common/net/bus.h"
#include "common/wire/messages.h"

enum { FAKE_SHARDS = 2, FAKE_MESSAGES_MAX = 4096, FAKE_PARTS_MAX = 64 };

struct fake_message {
    struct wire_token token;
    uint32_t shard;
    uint64_t body_id, size_bytes;
    uint32_t n_chunks;
    char *body;
    size_t body_len;
    unsigned copies; /* hand-overs with this token */
};

struct fake_part {
    uint64_t body_id;
    uint32_t seq;
    char *bytes;
    size_t len;
};

struct fake_node {
    struct pr_bus *control, *bulk;
    uint64_t boot_id, next_id;
    struct wire_shard_state shards[FAKE_SHARDS];
    bool silent;                 /* answers nothing at all */
    bool hold;                   /* takes hand-overs, answers nothing */
    enum wire_ack_status answer; /* to hand-overs */
    enum wire_ack_status part_answer;
    unsigned answers_left; /* of `answer`, then OK; 0: for ever */
    unsigned part_answers_left;
    bool keep; /* bodies are kept */
    struct fake_message messages[FAKE_MESSAGES_MAX];
    size_t n_messages, n_frames;
    uint64_t n_handovers;
    struct fake_part parts[FAKE_PARTS_MAX];
    size_t n_parts;
};

static inline void fake_send(struct pr_bus *bus, struct pr_slice peer, const struct wire_msg *m)
{
    struct pr_buf header = {NULL, 0, 0};
    wire_encode(m, &header, NULL);
    (void)!pr_bus_send(bus, peer, pr_buf_slice(&header), NULL);
    pr_buf_fini(&header);
}

static inline void fake_hello_ok(struct fake_node *f, struct pr_bus *bus, struct pr_slice peer)
{
    struct wire_msg m = {.type = WIRE_HELLO_OK,
                         .hello_ok = {.node_id = PR_SLICE_LIT("fake"),
                                      .boot_id = f->boot_id,
                                      .shards = f->shards,
                                      .n_shards = FAKE_SHARDS}};
    fake_send(bus, peer, &m);
}

static inline enum wire_ack_status fake_take(enum wire_ack_status *answer, unsigned *left)
{
    enum wire_ack_status now = *answer;
    if (*left > 0 && --*left == 0)
        *answer = WIRE_ACK_OK;
    return now;
}

static inline struct fake_message *fake_find(struct fake_node *f, const struct wire_token *t)
{
    for (size_t i = 0; f->keep && i < f->n_messages; i++)
        if (memcmp(&f->messages[i].token, t, sizeof *t) == 0)
            return &f->messages[i];
    return NULL;
}

static inline void fake_store(struct fake_node *f, uint32_t shard, const struct wire_enqueue_item *it)
{
    struct fake_message *m = fake_find(f, &it->token);
    f->n_handovers++;
    if (m != NULL) {
        m->copies++;
        return;
    }
    if (!f->keep || f->n_messages == FAKE_MESSAGES_MAX)
        return;
    f->messages[f->n_messages++] = (struct fake_message){.token = it->token,
                                                         .shard = shard,
                                                         .body_id = it->body_id,
                                                         .size_bytes = it->size_bytes,
                                                         .n_chunks = it->n_chunks,
                                                         .body = pr_strndup(it->body.ptr, it->body.len),
                                                         .body_len = it->body.len,
                                                         .copies = 1};
}

static inline void fake_on_enqueue(struct fake_node *f, struct pr_bus *bus, struct pr_slice peer, const struct wire_enqueue *q)
{
    struct wire_enqueue_ack_item *items = pr_calloc(q->n, sizeof *items);
    f->n_frames++;
    for (size_t i = 0; i < q->n; i++) {
        enum wire_ack_status s = fake_take(&f->answer, &f->answers_left);
        if (s == WIRE_ACK_OK || s == WIRE_ACK_UNKNOWN || f->hold)
            fake_store(f, q->shard, &q->items[i]);
        items[i] = (struct wire_enqueue_ack_item){q->items[i].token, s, s == WIRE_ACK_OK ? ++f->next_id : 0};
    }
    struct wire_msg m = {.type = WIRE_ENQUEUE_ACK, .enqueue_ack = {.shard = q->shard, .items = items, .n = q->n}};
    if (!f->hold)
        fake_send(bus, peer, &m);
    pr_free(items);
}

static inline void fake_on_part(struct fake_node *f, struct pr_bus *bus, struct pr_slice peer, const struct wire_part *p)
{
    enum wire_ack_status s = fake_take(&f->part_answer, &f->part_answers_left);
    uint64_t body_id = p->body_id != 0 ? p->body_id : ++f->next_id;
    uint32_t stored = 0;
    for (size_t i = 0; i < f->n_parts; i++)
        stored += f->parts[i].body_id == body_id;
    if (s == WIRE_ACK_OK && p->seq > stored)
        s = WIRE_ACK_INVALID; /* a shard keeps order */
    if (s == WIRE_ACK_OK && p->seq == stored && f->n_parts < FAKE_PARTS_MAX)
        f->parts[f->n_parts++] =
            (struct fake_part){body_id, p->seq, pr_strndup(p->bytes.ptr, p->bytes.len), p->bytes.len};
    struct wire_msg m = {.type = WIRE_PART_ACK,
                         .part_ack = {.shard = p->shard, .token = p->token, .body_id = body_id, .seq = p->seq, .status = s}};
    if (!f->hold)
        fake_send(bus, peer, &m);
}

static inline void fake_on_msg(void *data, struct pr_bus *bus, struct pr_bus_msg *msg)
{
    struct fake_node *f = data;
    struct pr_arena arena = {NULL, 0, 0};
    struct wire_msg m;
    struct pr_slice peer = pr_bus_msg_peer(msg);
    int rc = wire_decode(pr_bus_msg_header(msg), pr_bus_msg_payload(msg), &arena, &m);
    pr_assert(rc == 0);
    if (!f->silent) {
        if (m.type == WIRE_HELLO || m.type == WIRE_HEARTBEAT)
            fake_hello_ok(f, bus, peer);
        else if (m.type == WIRE_ENQUEUE)
            fake_on_enqueue(f, bus, peer, &m.enqueue);
        else if (m.type == WIRE_PART)
            fake_on_part(f, bus, peer, &m.part);
    }
    pr_arena_fini(&arena);
    pr_bus_msg_free(msg);
}

static inline int fake_start(struct fake_node *f, struct pr_bus_ctx *ctx, uv_loop_t *loop, const char *address, const char *bulk)
{
    char *text = NULL;
    if (f->boot_id == 0)
        f->boot_id = 1;
    for (uint32_t i = 0; i < FAKE_SHARDS; i++)
        f->shards[i] = (struct wire_shard_state){.shard = i, .term = 1, .leader = true, .window_bytes = 16u << 20};
    int rc = pr_bus_bind(ctx, loop, address, fake_on_msg, f, &f->control, &text);
    if (rc == 0)
        rc = pr_bus_bind(ctx, loop, bulk, fake_on_msg, f, &f->bulk, &text);
    if (rc != 0)
        (void)fprintf(stderr, "%s\n", text);
    pr_free(text);
    return rc;
}

/* What was kept; the sockets are closed by the caller. */
static inline void fake_forget(struct fake_node *f)
{
    for (size_t i = 0; i < f->n_messages; i++)
        pr_free(f->messages[i].body);
    for (size_t i = 0; i < f->n_parts; i++)
        pr_free(f->parts[i].bytes);
    f->n_messages = f->n_parts = 0;
}

#endif
