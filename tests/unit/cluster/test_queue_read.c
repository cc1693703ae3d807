/* The read side: points, scans with cursors over stage and store, listings from another thread beside changes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>
#include <stdatomic.h>

#include "tests/unit/cluster/fsm_fixture.h"

static int setup(void **state)
{
    *state = world_new(false);
    return 0;
}

static int setup_spilling(void **state)
{
    *state = world_new(true);
    return 0;
}

static int teardown(void **state)
{
    world_free(*state);
    return 0;
}

static struct stage *stage_of(struct world *w)
{
    return fsm_stage(w->fsm);
}

/* -------------------------------------------------------------------------------------------------------- messages */

struct ids {
    uint64_t items[2000];
    size_t n, stop_at;
};

static bool on_msg(void *data, const struct qread_msg *m)
{
    struct ids *ids = data;
    ids->items[ids->n++] = m->msg_id;
    assert_true(pr_slice_eq_str(m->envelope, "envelope bytes") && pr_slice_eq_str(m->tenant, "default"));
    return ids->n != ids->stop_at;
}

static void test_pages_of_messages(void **state)
{
    struct world *w = *state;
    struct ids put = {0}, got = {0};
    for (int i = 0; i < 300; i++) {
        put.items[put.n++] = put_mail(w, 1, 1);
        if (i == 150)
            world_reopen(w); /* the first half is in the store, the rest in the stage */
    }
    uint64_t cursor = 0;
    bool more = true;
    for (size_t page = 1; more; page = page % 97 + 13)
        assert_int_equal(qread_messages(stage_of(w), &cursor, (uint32_t)page, on_msg, &got, &more), 0);
    assert_int_equal(got.n, 300);
    assert_memory_equal(got.items, put.items, 300 * sizeof put.items[0]);

    got = (struct ids){.stop_at = 5};
    cursor = put.items[9];
    assert_int_equal(qread_messages(stage_of(w), &cursor, 100, on_msg, &got, &more), 0);
    assert_true(more && got.n == 5 && got.items[0] == put.items[10] && cursor == put.items[14]);
    got.stop_at = 0;
    cursor = UINT64_MAX;
    assert_int_equal(qread_messages(stage_of(w), &cursor, 100, on_msg, &got, &more), 0);
    assert_true(!more && got.n == 5);
}

struct group_list {
    struct qread_group items[8];
    size_t n;
};

static bool on_group(void *data, const struct qread_group *g)
{
    struct group_list *l = data;
    l->items[l->n++] = *g;
    return true;
}

static void test_groups_of_a_message(void **state)
{
    struct world *w = *state;
    uint64_t before = put_mail(w, 2, 1), id = put_mail(w, 4, 2);
    put_mail(w, 2, 1);
    (void)before;
    assert_int_equal(do_issue(w, id, 1, 1), FSM_OK);
    assert_int_equal(do_issue(w, id, 2, 2), FSM_OK);
    do_result(w, id, 2, 2, MAIL_OUTCOME_DELIVERED, 2);
    struct group_list l = {0};
    assert_int_equal(qread_groups(stage_of(w), id, on_group, &l), 0);
    assert_int_equal(l.n, 3);
    assert_true(l.items[0].group == 0 && l.items[1].group == 1 && l.items[2].group == 3);
    assert_true(!l.items[0].leased && l.items[1].leased && l.items[1].n_pending == 2);
    struct pr_arena arena = {0};
    struct qread_lease lease;
    assert_int_equal(qread_lease(stage_of(w), id, 1, &arena, &lease), 0);
    assert_true(lease.attempt_id == 1 && lease.attempt == 1 && lease.boot_id == 99 && lease.lane == 3 &&
                pr_slice_eq_str(lease.node_id, "deliverer-1") && lease.issued_ms == w->now);
    assert_int_equal(qread_lease(stage_of(w), id, 0, &arena, &lease), PR_ENOTFOUND);
    pr_arena_fini(&arena);
}

/* ------------------------------------------------------------------------------------------------------------ jobs */

static void test_job_in_one_go(void **state)
{
    struct world *w = *state;
    uint64_t id = put_mail(w, 1, 1);
    struct pr_arena arena = {0};
    struct pr_buf body = {0};
    struct qread_job job;
    assert_int_equal(qread_job(stage_of(w), id, 0, 100, &arena, &body, &job), 0);
    assert_true(job.inlined && job.msg.msg_id == id && job.group.n_pending == 1);
    assert_string_equal(pr_buf_cstr(&body), "body of mail");
    pr_buf_clear(&body);
    assert_int_equal(qread_job(stage_of(w), id, 0, 11, &arena, &body, &job), 0); /* too big to inline */
    assert_true(!job.inlined && body.len == 0 && job.msg.n_chunks == 1);
    assert_int_equal(qread_job(stage_of(w), id, 0, 100, &arena, NULL, &job), 0);
    assert_false(job.inlined);
    assert_int_equal(qread_job(stage_of(w), id, 1, 100, &arena, &body, &job), PR_ENOTFOUND);
    assert_int_equal(qread_job(stage_of(w), id + 1, 0, 100, &arena, &body, &job), PR_ENOTFOUND);
    assert_int_equal(qread_body(stage_of(w), id, 1, &body), PR_ENOTFOUND);
    pr_buf_fini(&body);
    pr_arena_fini(&arena);
}

/* Statuses are kept beside the group's bytes and come together for a job. */
static void test_group_with_its_statuses(void **state)
{
    struct world *w = *state;
    struct mail_rcpt rcpts[2] = {{.address = PR_SLICE_LIT("a@d0.example"), .notify = MAIL_NOTIFY_NEVER},
                                 {.address = PR_SLICE_LIT("b@d0.example")}};
    struct mail_group group = {.domain = PR_SLICE_LIT("d0.example"), .rcpts = rcpts, .n_rcpts = 2};
    struct pr_buf encoded = {0}, out = {0};
    struct pr_arena arena = {0};
    struct mail m;
    wire_group_encode(&group, &encoded);
    mail_init(&m, w, 1, 2);
    m.groups[0].encoded = pr_buf_slice(&encoded);
    world_do(w, &m.cmd);
    uint64_t id = m.cmd.enqueue.msg_id;

    struct qread_group g;
    struct mail_group decoded;
    assert_true(read_group(w, id, 0, &arena, &g));
    assert_int_equal(qread_group_encode(&g, &arena, &out), 0);
    assert_true(pr_slice_eq(pr_buf_slice(&out), pr_buf_slice(&encoded))); /* untried: the same bytes */

    assert_int_equal(do_issue(w, id, 0, 1), FSM_OK);
    struct cmd_rcpt_result results[] = {
        {.index = 0, .outcome = MAIL_OUTCOME_DELIVERED, .code = 250},
        {.index = 1, .outcome = MAIL_OUTCOME_TEMP, .code = 451, .enhanced = PR_SLICE_LIT("4.7.1"),
         .diagnostic = PR_SLICE_LIT("451 4.7.1 greylisted")}};
    struct cmd c = {.type = CMD_RESULT,
                    .result = {.ref = {id, 0, 1}, .rcpts = results, .n_rcpts = 2, .remote = PR_SLICE_LIT("mx [::1]")}};
    world_do(w, &c);
    world_reopen(w);
    assert_true(read_group(w, id, 0, &arena, &g));
    assert_int_equal(qread_group_decode(&g, &arena, &decoded), 0);
    assert_true(decoded.n_rcpts == 2 && pr_slice_eq_str(decoded.rcpts[0].address, "a@d0.example"));
    assert_true(decoded.rcpts[0].status == MAIL_RCPT_DELIVERED && decoded.rcpts[0].notify == MAIL_NOTIFY_NEVER);
    assert_true(decoded.rcpts[1].status == MAIL_RCPT_PENDING && decoded.rcpts[1].code == 451 &&
                pr_slice_eq_str(decoded.rcpts[1].diagnostic, "451 4.7.1 greylisted") &&
                pr_slice_eq_str(decoded.rcpts[1].remote, "mx [::1]"));
    pr_buf_clear(&out);
    assert_int_equal(qread_group_encode(&g, &arena, &out), 0);
    struct mail_group again;
    assert_int_equal(wire_group_decode(pr_buf_slice(&out), &arena, &again), 0);
    assert_true(again.rcpts[0].status == MAIL_RCPT_DELIVERED && again.rcpts[1].status == MAIL_RCPT_PENDING);
    pr_buf_fini(&encoded);
    pr_buf_fini(&out);
    pr_arena_fini(&arena);
}

/* -------------------------------------------------------------------------------------------------------- schedule */

struct rows {
    struct fsm_row items[600];
    size_t n, stop_at;
};

static bool on_row(void *data, const struct fsm_row *row)
{
    struct rows *r = data;
    r->items[r->n++] = *row;
    return r->n != r->stop_at;
}

/* One flow, rows due at now + 0, 10, 20 ...; half of them spilled. Returns the flow. */
static uint32_t fill_flow(struct world *w, size_t n)
{
    uint32_t flow = 0;
    for (size_t i = 0; i < n; i++) {
        struct mail m;
        mail_init(&m, w, 1, 1);
        m.groups[0].due_ms = w->now + (i * 7 % n) * 10; /* not in the order of the messages */
        world_do(w, &m.cmd);
        flow = effect(w, FSM_ROW_FILED, 0)->row.flow_id;
        if (i == n / 2)
            world_reopen(w);
    }
    return flow;
}

static void test_refill_by_due_time(void **state)
{
    struct world *w = *state;
    uint32_t flow = fill_flow(w, 100);
    struct mail other;
    mail_init(&other, w, 2, 1); /* a second flow behind it */
    other.cmd.enqueue.tenant = PR_SLICE_LIT("other");
    world_do(w, &other.cmd);
    struct rows r = {0};
    struct qread_sched_cursor cursor = {0};
    uint64_t next = 0;
    assert_int_equal(qread_sched(stage_of(w), flow, &cursor, w->now + 495, 1000, on_row, &r, &next), 0);
    assert_true(r.n == 50 && next == w->now + 500);
    for (size_t i = 0; i < r.n; i++)
        assert_true(r.items[i].due_ms == w->now + i * 10 && r.items[i].flow_id == flow);
    /* Nothing is due before `next`; then it goes on where it stopped. */
    assert_int_equal(qread_sched(stage_of(w), flow, &cursor, w->now + 499, 1000, on_row, &r, &next), 0);
    assert_true(r.n == 50 && next == w->now + 500);
    assert_int_equal(qread_sched(stage_of(w), flow, &cursor, UINT64_MAX, 20, on_row, &r, &next), 0);
    assert_true(r.n == 70 && next == w->now + 700);
    r.stop_at = 75;
    assert_int_equal(qread_sched(stage_of(w), flow, &cursor, UINT64_MAX, 1000, on_row, &r, &next), 0);
    assert_true(r.n == 75 && next == w->now + 750);
    r.stop_at = 0;
    assert_int_equal(qread_sched(stage_of(w), flow, &cursor, UINT64_MAX, 1000, on_row, &r, &next), 0);
    assert_true(r.n == 100 && next == UINT64_MAX);
    assert_int_equal(qread_sched(stage_of(w), flow, &cursor, UINT64_MAX, 1000, on_row, &r, &next), 0);
    assert_true(r.n == 100 && next == UINT64_MAX);
    assert_int_equal(qread_sched(stage_of(w), 999, &(struct qread_sched_cursor){0}, UINT64_MAX, 10, on_row, &r, &next),
                     0);
    assert_true(r.n == 100 && next == UINT64_MAX);
}

static void test_shape(void **state)
{
    struct world *w = *state;
    uint32_t flow = fill_flow(w, 100);
    struct qread_shape shape = {.flow_id = flow};
    uint64_t start = w->now;
    w->now += 6 * 60000;
    put_mail(w, 1, 1);
    unsigned calls = 0;
    for (; !shape.done; calls++)
        assert_int_equal(qread_shape(stage_of(w), (pr_wall){w->now}, 30, &shape), 0);
    assert_true(calls >= 4 && shape.total == 101 && shape.bytes == 101 * 12);
    assert_true(shape.count[0] == 1 && shape.count[1] == 100 && shape.oldest_ms == start);
    shape = (struct qread_shape){.flow_id = flow};
    assert_int_equal(qread_shape(stage_of(w), (pr_wall){w->now + 100ULL * 86400000}, 1000, &shape), 0);
    assert_true(shape.done && shape.count[QREAD_SHAPE_BUCKETS - 1] == 101);
}

/* --------------------------------------------------------------------------------------------- leases, expq, flows */

static bool count_lease(void *data, const struct qread_lease *l)
{
    assert_true(l->attempt_id == l->group + 1U);
    (*(unsigned *)data)++;
    return true;
}

static bool stop_flow(void *data, const struct fsm_flow *f)
{
    assert_true(pr_slice_eq_str(f->tenant, "default"));
    (*(unsigned *)data)++;
    return false;
}

static void test_leases_and_flows(void **state)
{
    struct world *w = *state;
    for (int i = 0; i < 5; i++) {
        uint64_t id = put_mail(w, 3, 1);
        for (uint16_t g = 0; g < 3; g++)
            assert_int_equal(do_issue(w, id, g, g + 1U), FSM_OK);
        if (i == 2)
            world_reopen(w);
    }
    struct qread_lease_cursor cursor = {0};
    unsigned n = 0;
    bool more = true;
    while (more)
        assert_int_equal(qread_leases(stage_of(w), &cursor, 4, count_lease, &n, &more), 0);
    assert_int_equal(n, 15);
    uint32_t flow = 0;
    n = 0;
    do
        assert_int_equal(qread_flows(stage_of(w), &flow, 100, stop_flow, &n, &more), 0);
    while (more);
    assert_int_equal(n, 3);
}

struct expq_list {
    struct key_expq items[16];
    size_t n;
};

static bool on_expq(void *data, const struct key_expq *row)
{
    struct expq_list *l = data;
    l->items[l->n++] = *row;
    return true;
}

static void test_expq(void **state)
{
    struct world *w = *state;
    uint64_t id = put_mail(w, 1, 1);
    uint32_t minute = key_minute(w->now + 4 * 3600000);
    struct cmd part = {.type = CMD_PART,
                       .part = {.body_id = id + 1, .reap_ms = w->now + 600000, .bytes = PR_SLICE_LIT("x")}};
    world_do(w, &part);
    world_reopen(w);
    uint64_t second = put_mail(w, 1, 1);
    struct expq_list l = {0};
    uint32_t next;
    assert_int_equal(qread_expq(stage_of(w), minute - 1, 10, on_expq, &l, &next), 0);
    assert_true(l.n == 1 && l.items[0].kind == EXPQ_BODY && l.items[0].id == id + 1 && next == minute);
    assert_int_equal(qread_expq(stage_of(w), minute, 2, on_expq, &l, &next), 0);
    assert_true(l.n == 3 && l.items[2].kind == EXPQ_CHECK && l.items[2].id == id && next == minute);
    l.n = 0;
    assert_int_equal(qread_expq(stage_of(w), UINT32_MAX, 10, on_expq, &l, &next), 0);
    assert_true(l.n == 3 && l.items[2].id == second && next == UINT32_MAX);
}

/* --------------------------------------------------------------------------------------------------------- threads */

struct reader {
    struct world *w;
    atomic_bool stop;
    atomic_uint passes;
    uint64_t stable[200]; /* these are never touched */
};

struct seen {
    const struct reader *r;
    size_t at;
    uint64_t last;
};

static bool on_seen(void *data, const struct qread_msg *m)
{
    struct seen *s = data;
    assert_true(m->msg_id > s->last); /* ascending, nothing twice */
    s->last = m->msg_id;
    if (s->at < PR_ARRAY_LEN(s->r->stable) && m->msg_id == s->r->stable[s->at])
        s->at++;
    return true;
}

static void *read_all(void *data)
{
    struct reader *r = data;
    while (!atomic_load(&r->stop)) {
        struct seen seen = {.r = r};
        uint64_t cursor = 0;
        bool more = true;
        while (more)
            assert_int_equal(qread_messages(fsm_stage(r->w->fsm), &cursor, 50, on_seen, &seen, &more), 0);
        assert_int_equal(seen.at, PR_ARRAY_LEN(r->stable)); /* none of the quiet ones was missed */
        for (size_t i = 0; i < PR_ARRAY_LEN(r->stable); i++) {
            struct pr_arena arena = {0};
            struct qread_group g;
            assert_int_equal(qread_group(fsm_stage(r->w->fsm), r->stable[i], 0, &arena, &g), 0);
            pr_arena_fini(&arena);
        }
        atomic_fetch_add(&r->passes, 1);
    }
    return NULL;
}

/* A listing runs while the shard's thread enqueues, delivers and spills. */
static void test_listing_beside_changes(void **state)
{
    struct world *w = *state;
    struct reader r = {.w = w};
    pthread_t thread;
    for (size_t i = 0; i < PR_ARRAY_LEN(r.stable); i++) {
        r.stable[i] = put_mail(w, 1, 1);
        if (i % 50 == 0)
            assert_int_equal(fsm_spill(w->fsm), 0);
        put_mail(w, 1, 1);
    }
    assert_int_equal(pthread_create(&thread, NULL, read_all, &r), 0);
    for (uint64_t i = 0; i < 300 || atomic_load(&r.passes) < 5; i++) {
        uint64_t id = put_mail(w, 1, 1);
        assert_int_equal(do_issue(w, id, 0, i + 1), FSM_OK);
        do_result(w, id, 0, i + 1, MAIL_OUTCOME_DELIVERED, 1);
        if (i % 40 == 0)
            assert_int_equal(fsm_spill(w->fsm), 0);
    }
    atomic_store(&r.stop, true);
    assert_int_equal(pthread_join(thread, NULL), 0);
}

#define CASE(test) \
    {#test, test, setup, teardown, NULL}, {#test " (spilling)", test, setup_spilling, teardown, NULL}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_pages_of_messages),
        CASE(test_groups_of_a_message),
        CASE(test_job_in_one_go),
        CASE(test_group_with_its_statuses),
        CASE(test_refill_by_due_time),
        CASE(test_shape),
        CASE(test_leases_and_flows),
        CASE(test_expq),
        CASE(test_listing_beside_changes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
