/* The spool client against a scheduler node that does what it is told: batches, resends with the same token, parts of a
 * large body, restarts of the node. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/conf/load.h"
#include "common/net/clock.h"
#include "ingress/shell/spool.h"
#include "tests/unit/ingress/fake_node.h"

enum { MESSAGES_MAX = 200, DEADLINE_MS = 20000 };

struct client {
    struct upload *upload;
    unsigned committed, spaces, losts;
    enum ing_spool_status status;
    char id[32];
};

struct bench {
    char dir[64], address[96], bulk[96];
    uv_loop_t loop;
    uv_timer_t tick;
    uv_prepare_t prepare;
    struct pr_bus_ctx *ctx;
    struct fake_node *node;
    struct budget budget;
    struct im_table *table;
    struct pr_config *config;
    struct spool *spool;
    enum ing_intake intake;
    bool spool_closed;
    unsigned node_sockets;
    struct client clients[MESSAGES_MAX];
};

static void on_space(void *owner)
{
    ((struct client *)owner)->spaces++;
}

static void on_lost(void *owner, enum ing_spool_status status)
{
    struct client *c = owner;
    c->losts++;
    c->status = status;
    upload_abort(c->upload);
    c->upload = NULL;
}

static void on_committed(void *owner, enum ing_spool_status status, struct pr_slice id)
{
    struct client *c = owner;
    c->upload = NULL;
    c->committed++;
    c->status = status;
    memcpy(c->id, id.ptr, id.len);
}

static const struct spool_owner owner_ops = {on_space, on_lost, on_committed};

static void on_intake(void *data, enum ing_intake intake)
{
    ((struct bench *)data)->intake = intake;
}

static void on_tick(uv_timer_t *t)
{
    struct bench *b = t->data;
    if (b->spool != NULL)
        spool_tick(b->spool);
}

static void on_prepare(uv_prepare_t *p)
{
    struct bench *b = p->data;
    if (b->spool != NULL)
        spool_flush(b->spool);
}

/* Turns the loop until cond holds; fails after the deadline. */
#define WAIT(b, cond)                                                      \
    do {                                                                   \
        uint64_t end = pr_clock_now().mono.ms + DEADLINE_MS;               \
        while (!(cond)) {                                                  \
            if (pr_clock_now().mono.ms > end)                              \
                fail_msg("waited in vain for: %s", #cond);                 \
            uv_run(&(b)->loop, UV_RUN_ONCE);                               \
        }                                                                  \
    } while (0)

static void on_node_socket_closed(void *data)
{
    ((struct bench *)data)->node_sockets--;
}

static void start_node(struct bench *b, uint64_t boot_id)
{
    b->node->boot_id = boot_id;
    assert_int_equal(fake_start(b->node, b->ctx, &b->loop, b->address, b->bulk), 0);
    b->node_sockets = 2;
}

static void stop_node(struct bench *b)
{
    pr_bus_close(b->node->control, on_node_socket_closed, b);
    pr_bus_close(b->node->bulk, on_node_socket_closed, b);
    WAIT(b, b->node_sockets == 0);
}

static int setup(void **state)
{
    struct bench *b = pr_new(struct bench);
    struct pr_conf_errors *errors = NULL;
    (void)snprintf(b->dir, sizeof b->dir, "/tmp/pr-spool-XXXXXX");
    assert_non_null(mkdtemp(b->dir));
    (void)snprintf(b->address, sizeof b->address, "ipc://%s/c", b->dir);
    (void)snprintf(b->bulk, sizeof b->bulk, "ipc://%s/b", b->dir);
    uv_loop_init(&b->loop);
    uv_timer_init(&b->loop, &b->tick);
    uv_prepare_init(&b->loop, &b->prepare);
    b->tick.data = b->prepare.data = b;
    uv_timer_start(&b->tick, on_tick, 0, 20);
    uv_prepare_start(&b->prepare, on_prepare);
    assert_int_equal(pr_config_load(NULL, &b->config, &errors), 0);
    pr_conf_errors_free(errors);
    b->table = im_table_new(b->config);
    b->ctx = pr_bus_ctx_new(1);
    b->node = pr_new(struct fake_node);
    b->node->keep = true;
    b->intake = ING_INTAKE_NO_LEADER;
    budget_set_limit(&b->budget, 64u << 20);
    struct spool_options o = {
        .ctx = b->ctx,
        .address = b->address,
        .bulk_address = b->bulk,
        .node_id = PR_SLICE_LIT("test.example/ingress"),
        .boot_id = 7,
        .budget = &b->budget,
        .metrics = im_metrics(b->table),
        .owner = &owner_ops,
        .on_intake = on_intake,
        .data = b,
    };
    assert_int_equal(spool_new(&b->loop, &o, &b->spool), 0);
    *state = b;
    return 0;
}

static void on_spool_closed(void *data)
{
    ((struct bench *)data)->spool_closed = true;
}

static int teardown(void **state)
{
    struct bench *b = *state;
    struct spool *sp = b->spool;
    b->spool = NULL;
    for (size_t i = 0; i < MESSAGES_MAX; i++)
        if (b->clients[i].upload != NULL)
            upload_abort(b->clients[i].upload);
    assert_int_equal(budget_used(&b->budget), 0);
    spool_close(sp, on_spool_closed, b);
    WAIT(b, b->spool_closed);
    if (b->node_sockets > 0)
        stop_node(b);
    uv_close((uv_handle_t *)&b->tick, NULL);
    uv_close((uv_handle_t *)&b->prepare, NULL);
    uv_run(&b->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&b->loop), 0);
    pr_bus_ctx_free(b->ctx);
    fake_forget(b->node);
    pr_free(b->node);
    im_table_free(b->table);
    pr_config_unref(b->config);
    (void)rmdir(b->dir);
    pr_free(b);
    return 0;
}

static void commit(struct bench *b, size_t i, struct pr_buf *last)
{
    struct client *c = &b->clients[i];
    struct mail_rcpt rcpt = {.address = PR_SLICE_LIT("u@dest.example")};
    struct mail_group group = {.domain = PR_SLICE_LIT("dest.example"), .rcpts = &rcpt, .n_rcpts = 1};
    struct mail_envelope e = {.sender = PR_SLICE_LIT("a@b.example"),
                              .tenant = PR_SLICE_LIT("default"),
                              .class_ = MAIL_CLASS_NORMAL,
                              .pool = PR_SLICE_LIT("default"),
                              .protocol = PR_SLICE_LIT("ESMTP"),
                              .size_bytes = last->len,
                              .groups = &group,
                              .n_groups = 1};
    upload_commit(c->upload, &e, last);
}

static void submit(struct bench *b, size_t i)
{
    struct pr_buf body = {NULL, 0, 0};
    pr_buf_printf(&body, "message %zu\r\n", i);
    b->clients[i].upload = upload_open(b->spool, &b->clients[i], 0);
    commit(b, i, &body);
}

static size_t answered(const struct bench *b)
{
    size_t n = 0;
    for (size_t i = 0; i < MESSAGES_MAX; i++)
        n += b->clients[i].committed;
    return n;
}

static void connects_and_batches(void **state)
{
    struct bench *b = *state;
    start_node(b, 1);
    WAIT(b, b->intake == ING_INTAKE_OPEN);
    for (size_t i = 0; i < MESSAGES_MAX; i++)
        submit(b, i);
    WAIT(b, answered(b) == MESSAGES_MAX);
    /* One turn: one message per shard. */
    assert_true(b->node->n_frames <= FAKE_SHARDS);
    assert_int_equal(b->node->n_messages, MESSAGES_MAX);
    unsigned per_shard[FAKE_SHARDS] = {0};
    for (size_t i = 0; i < MESSAGES_MAX; i++) {
        assert_int_equal(b->clients[i].status, ING_SPOOL_OK);
        assert_int_equal(strlen(b->clients[i].id), WIRE_QUEUE_ID_LEN);
        per_shard[b->node->messages[i].shard]++;
    }
    assert_true(per_shard[0] > MESSAGES_MAX / 4 && per_shard[1] > MESSAGES_MAX / 4);
}

/* The window bounds what is on its way; the rest follows with the answers. */
static void keeps_the_window(void **state)
{
    struct bench *b = *state;
    start_node(b, 1);
    for (uint32_t i = 0; i < FAKE_SHARDS; i++)
        b->node->shards[i].window_bytes = 64;
    WAIT(b, b->intake == ING_INTAKE_OPEN);
    for (size_t i = 0; i < 100; i++)
        submit(b, i);
    WAIT(b, answered(b) == 100);
    /* 12 to 14 octets each: at most five in a window. */
    assert_true(b->node->n_frames >= 20);
}

static void repeats_the_token(enum wire_ack_status answer, void **state)
{
    struct bench *b = *state;
    start_node(b, 1);
    WAIT(b, b->intake == ING_INTAKE_OPEN);
    b->node->answer = answer;
    b->node->answers_left = 1;
    submit(b, 0);
    WAIT(b, answered(b) == 1);
    assert_int_equal(b->clients[0].status, ING_SPOOL_OK);
    assert_int_equal(b->node->n_messages, 1);
    /* UNKNOWN had stored it: the second hand-over came to the same shard with the same token. */
    assert_int_equal(b->node->messages[0].copies, answer == WIRE_ACK_UNKNOWN ? 2 : 1);
}

static void repeats_after_unknown(void **state)
{
    repeats_the_token(WIRE_ACK_UNKNOWN, state);
}

static void repeats_after_not_leader(void **state)
{
    repeats_the_token(WIRE_ACK_NOT_LEADER, state);
}

static void refusals_reach_the_owner(void **state)
{
    static const struct {
        enum wire_ack_status answer;
        enum ing_spool_status status;
    } cases[] = {
        {WIRE_ACK_BUSY, ING_SPOOL_UNAVAILABLE}, {WIRE_ACK_FULL, ING_SPOOL_DISK_FULL}, {WIRE_ACK_INVALID, ING_SPOOL_INVALID}};
    struct bench *b = *state;
    start_node(b, 1);
    for (size_t i = 0; i < PR_ARRAY_LEN(cases); i++) {
        WAIT(b, b->intake == ING_INTAKE_OPEN);
        b->node->answer = cases[i].answer;
        submit(b, i);
        WAIT(b, answered(b) == i + 1);
        assert_int_equal(b->clients[i].status, cases[i].status);
    }
    assert_int_equal(b->node->n_messages, 0);
}

static void another_shard_when_busy(void **state)
{
    struct bench *b = *state;
    start_node(b, 1);
    WAIT(b, b->intake == ING_INTAKE_OPEN);
    b->node->answer = WIRE_ACK_BUSY;
    b->node->answers_left = 1;
    submit(b, 0);
    WAIT(b, answered(b) == 1);
    assert_int_equal(b->clients[0].status, ING_SPOOL_OK);
}

static void admission_is_heeded(void **state)
{
    struct bench *b = *state;
    start_node(b, 1);
    b->node->shards[0].admission = 4;
    b->node->shards[1].admission = 4;
    WAIT(b, b->intake == ING_INTAKE_DISK_FULL);
    b->node->shards[0].admission = 3;
    WAIT(b, b->intake == ING_INTAKE_REFUSED);
    b->node->shards[0].admission = 0;
    WAIT(b, b->intake == ING_INTAKE_OPEN);
    for (size_t i = 0; i < 20; i++)
        submit(b, i);
    WAIT(b, answered(b) == 20);
    for (size_t i = 0; i < 20; i++)
        assert_int_equal(b->node->messages[i].shard, 0);
    b->node->shards[0].leader = b->node->shards[1].leader = false;
    WAIT(b, b->intake == ING_INTAKE_NO_LEADER);
}

/* The node dies with hand-overs that it had stored, and comes back. */
static void restart_of_the_node(void **state)
{
    struct bench *b = *state;
    start_node(b, 1);
    WAIT(b, b->intake == ING_INTAKE_OPEN);
    b->node->hold = true;
    for (size_t i = 0; i < 10; i++)
        submit(b, i);
    WAIT(b, b->node->n_messages == 10);
    stop_node(b);
    WAIT(b, b->intake == ING_INTAKE_NO_LEADER);
    assert_int_equal(answered(b), 0);
    b->node->hold = false;
    start_node(b, 2);
    WAIT(b, answered(b) == 10);
    assert_int_equal(b->node->n_messages, 10);
    for (size_t i = 0; i < 10; i++)
        assert_int_equal(b->node->messages[i].copies, 2);
}

static void abort_forgets(void **state)
{
    struct bench *b = *state;
    start_node(b, 1);
    WAIT(b, b->intake == ING_INTAKE_OPEN);
    b->node->hold = true;
    submit(b, 0);
    WAIT(b, b->node->n_messages == 1);
    upload_abort(b->clients[0].upload);
    b->clients[0].upload = NULL;
    b->node->hold = false;
    submit(b, 1);
    WAIT(b, b->clients[1].committed == 1);
    assert_int_equal(b->clients[0].committed, 0);
    assert_int_equal(budget_used(&b->budget), 0);
}

/* ---- large bodies ---- */

enum { CHUNK = 64 * 1024, CHUNKS = 12 };

static void make_chunk(struct pr_buf *out, unsigned n, size_t size)
{
    memset(pr_buf_reserve(out, size), (int)('a' + n % 26), size);
    out->len = size;
}

/* Gives all chunks as fast as the spool takes them, then commits. */
static void upload_large(struct bench *b)
{
    struct client *c = &b->clients[0];
    struct pr_buf chunk = {NULL, 0, 0};
    c->upload = upload_open(b->spool, c, 0);
    for (unsigned n = 0; n < CHUNKS && c->losts == 0; n++) {
        unsigned before = c->spaces;
        make_chunk(&chunk, n, CHUNK);
        if (!upload_append(c->upload, &chunk))
            WAIT(b, c->spaces > before || c->losts > 0);
        assert_true(budget_used(&b->budget) < 7u * CHUNK);
    }
    if (c->losts > 0)
        return;
    make_chunk(&chunk, CHUNKS, 100);
    commit(b, 0, &chunk);
    WAIT(b, c->committed == 1);
}

static void check_large(const struct bench *b)
{
    const struct fake_message *m = &b->node->messages[0];
    unsigned found = 0;
    assert_int_equal(b->node->n_messages, 1);
    assert_int_equal(m->n_chunks, CHUNKS + 1);
    assert_int_equal(m->body_len, 0);
    for (size_t i = 0; i < b->node->n_parts; i++) {
        const struct fake_part *p = &b->node->parts[i];
        if (p->body_id != m->body_id)
            continue;
        assert_int_equal(p->seq, found);
        assert_int_equal(p->len, found == CHUNKS ? 100 : CHUNK);
        assert_int_equal(p->bytes[0], 'a' + (int)found % 26);
        found++;
    }
    assert_int_equal(found, CHUNKS + 1);
}

static void large_body(void **state)
{
    struct bench *b = *state;
    start_node(b, 1);
    WAIT(b, b->intake == ING_INTAKE_OPEN);
    upload_large(b);
    assert_int_equal(b->clients[0].status, ING_SPOOL_OK);
    check_large(b);
}

static void large_body_with_refusals(void **state)
{
    static const enum wire_ack_status answers[] = {WIRE_ACK_BUSY, WIRE_ACK_NOT_LEADER, WIRE_ACK_UNKNOWN};
    struct bench *b = *state;
    start_node(b, 1);
    WAIT(b, b->intake == ING_INTAKE_OPEN);
    for (size_t i = 0; i < PR_ARRAY_LEN(answers); i++) {
        fake_forget(b->node);
        b->clients[0] = (struct client){.upload = NULL};
        b->node->part_answer = answers[i];
        b->node->part_answers_left = 2;
        upload_large(b);
        assert_int_equal(b->clients[0].status, ING_SPOOL_OK);
        check_large(b);
    }
}

static void large_body_without_room(void **state)
{
    struct bench *b = *state;
    start_node(b, 1);
    WAIT(b, b->intake == ING_INTAKE_OPEN);
    b->node->part_answer = WIRE_ACK_FULL;
    upload_large(b);
    assert_int_equal(b->clients[0].losts, 1);
    assert_int_equal(b->clients[0].status, ING_SPOOL_DISK_FULL);
    assert_int_equal(budget_used(&b->budget), 0);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(connects_and_batches),
        T(keeps_the_window),
        T(repeats_after_unknown),
        T(repeats_after_not_leader),
        T(refusals_reach_the_owner),
        T(another_shard_when_busy),
        T(admission_is_heeded),
        T(restart_of_the_node),
        T(abort_forgets),
        T(large_body),
        T(large_body_with_refusals),
        T(large_body_without_room),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
