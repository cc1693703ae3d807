/* Every command and every refusal of the state machine, on the memory twin. Each test ends on an empty queue where it
 * can: what finished leaves nothing behind, and the memory twin counts breaches of the single-delete rules. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/cluster/fsm_fixture.h"

static int setup(void **state)
{
    *state = world_new(false);
    return 0;
}

/* Nothing stays in the stage: each row is seen by the store. */
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

/* --------------------------------------------------------------------------------------------------------- enqueue */

static void test_enqueue_stores_and_files(void **state)
{
    struct world *w = *state;
    uint64_t id = put_mail(w, 2, 3);
    assert_int_equal(count_effects(w, FSM_FLOW_ADDED), 2);
    assert_int_equal(count_effects(w, FSM_ROW_FILED), 2);
    const struct fsm_effect *row = effect(w, FSM_ROW_FILED, 1);
    assert_true(row->row.msg_id == id && row->row.group == 1 && row->row.n_rcpts == 3 && row->row.attempt == 0 &&
                row->row.due_ms == w->now && row->row.size_bytes == 12);
    const struct fsm_flow *flow = fsm_flow(w->fsm, row->row.flow_id);
    assert_true(pr_slice_eq_str(flow->domain, "d1.example"));

    struct pr_arena arena = {0};
    struct qread_msg m;
    assert_int_equal(qread_message(fsm_stage(w->fsm), id, &arena, &m), 0);
    assert_true(pr_slice_eq_str(m.envelope, "envelope bytes") && m.n_groups == 2 && m.groups_left == 2 && !m.held &&
                m.n_chunks == 1 && m.body_id == id);
    struct pr_buf body = {0};
    assert_int_equal(qread_body(fsm_stage(w->fsm), id, 0, &body), 0);
    assert_string_equal(pr_buf_cstr(&body), "body of mail");
    pr_buf_fini(&body);
    pr_arena_fini(&arena);
    assert_true(fsm_counters(w->fsm)->messages == 1 && fsm_counters(w->fsm)->groups_waiting == 2);
    assert_int_equal(do_admin(w, CMD_DELETE, id, 0), FSM_OK);
    assert_queue_empty(w);
}

static void test_enqueue_is_idempotent_by_token(void **state)
{
    struct world *w = *state;
    struct mail m;
    mail_init(&m, w, 1, 1);
    memset(m.cmd.enqueue.token.bytes, 7, 16);
    world_do(w, &m.cmd);
    uint64_t first = m.cmd.enqueue.msg_id;
    for (int i = 0; i < 2; i++) { /* also by another process after a restart */
        mail_init(&m, w, 1, 1);
        memset(m.cmd.enqueue.token.bytes, 7, 16);
        world_add(w, &m.cmd);
        world_add(w, &m.cmd); /* twice in one entry */
        world_apply(w);
        assert_int_equal(count_effects(w, FSM_MSG_STORED), 2);
        assert_int_equal(status_of(w, FSM_MSG_STORED), FSM_DUPLICATE);
        assert_true(effect(w, FSM_MSG_STORED, 1)->msg.msg_id == first);
        assert_int_equal(count_effects(w, FSM_ROW_FILED), 0);
        world_reopen(w);
    }
    assert_true(fsm_counters(w->fsm)->messages == 1 && fsm_counters(w->fsm)->duplicates == 4);
    /* Still known when the message is gone, forgotten when the window has passed. */
    assert_int_equal(do_admin(w, CMD_DELETE, first, 0), FSM_OK);
    mail_init(&m, w, 1, 1);
    memset(m.cmd.enqueue.token.bytes, 7, 16);
    world_do(w, &m.cmd);
    assert_int_equal(status_of(w, FSM_MSG_STORED), FSM_DUPLICATE);
    w->now += FSM_DEDUP_MS + 1;
    mail_init(&m, w, 1, 1);
    memset(m.cmd.enqueue.token.bytes, 7, 16);
    world_do(w, &m.cmd);
    assert_int_equal(status_of(w, FSM_MSG_STORED), FSM_OK);
}

static void put_token(struct world *w, int token)
{
    struct mail m;
    mail_init(&m, w, 1, 1);
    memset(m.cmd.enqueue.token.bytes, token, 16);
    world_do(w, &m.cmd);
}

static void test_dedup_rows_go_with_their_tokens(void **state)
{
    struct world *w = *state;
    put_token(w, 1);
    put_token(w, 2);
    assert_int_equal(count_rows(w, KV_DEDUP), 2);
    w->now += FSM_DEDUP_MS + 1;
    for (uint64_t to = w->index + 5000; w->index < to;) { /* much later */
        struct cmd c = {.type = CMD_BODY_REAP, .body_id = 1};
        world_do(w, &c);
    }
    put_token(w, 3);
    assert_int_equal(count_rows(w, KV_DEDUP), 1);
    world_reopen(w);
    put_token(w, 3);
    assert_int_equal(status_of(w, FSM_MSG_STORED), FSM_DUPLICATE);
    put_token(w, 1);
    assert_int_equal(status_of(w, FSM_MSG_STORED), FSM_OK);
    /* A leader whose clock is behind does not move the window back. */
    w->now -= 2 * FSM_DEDUP_MS;
    put_token(w, 4);
    w->now += 2 * FSM_DEDUP_MS;
    put_token(w, 4);
    assert_int_equal(status_of(w, FSM_MSG_STORED), FSM_DUPLICATE);
}

static void test_enqueue_refusals(void **state)
{
    struct world *w = *state;
    struct mail m;
    uint64_t id = put_mail(w, 1, 1);
    mail_init(&m, w, 1, 1);
    m.cmd.enqueue.msg_id = id; /* an id that was there */
    world_do(w, &m.cmd);
    assert_int_equal(status_of(w, FSM_MSG_STORED), FSM_INVALID);
    mail_init(&m, w, 0, 0);
    world_do(w, &m.cmd);
    assert_int_equal(status_of(w, FSM_MSG_STORED), FSM_INVALID);
    mail_init(&m, w, 1, 1);
    m.cmd.enqueue.body_id = 5; /* inline body and parts */
    world_do(w, &m.cmd);
    assert_int_equal(status_of(w, FSM_MSG_STORED), FSM_INVALID);
    mail_init(&m, w, 1, 1);
    m.cmd.enqueue.body = PR_SLICE_LIT("");
    m.cmd.enqueue.body_id = 5; /* parts that are not there */
    m.cmd.enqueue.n_chunks = 1;
    world_do(w, &m.cmd);
    assert_int_equal(status_of(w, FSM_MSG_STORED), FSM_GONE);
    assert_true(fsm_counters(w->fsm)->messages == 1);
    assert_int_equal(count_rows(w, KV_MSG), 1);
    assert_int_equal(do_admin(w, CMD_DELETE, id, 0), FSM_OK);
    assert_queue_empty(w);
}

static void test_empty_body(void **state)
{
    struct world *w = *state;
    struct mail m;
    mail_init(&m, w, 1, 1);
    m.cmd.enqueue.body = PR_SLICE_LIT("");
    m.cmd.enqueue.size_bytes = 0;
    world_do(w, &m.cmd);
    assert_int_equal(status_of(w, FSM_MSG_STORED), FSM_OK);
    assert_int_equal(count_rows(w, KV_BODY), 0);
    assert_int_equal(do_issue(w, m.cmd.enqueue.msg_id, 0, 1), FSM_OK);
    do_result(w, m.cmd.enqueue.msg_id, 0, 1, MAIL_OUTCOME_DELIVERED, 1);
    assert_queue_empty(w);
}

static void test_enqueue_with_issue(void **state)
{
    struct world *w = *state;
    struct mail m;
    mail_init(&m, w, 2, 1);
    m.groups[1].attempt_id = 42;
    m.cmd.enqueue.issue_node = PR_SLICE_LIT("deliverer-1");
    m.cmd.enqueue.issue_boot_id = 5;
    world_do(w, &m.cmd);
    assert_int_equal(count_effects(w, FSM_ROW_FILED), 1);
    assert_int_equal(count_effects(w, FSM_ISSUED), 1);
    assert_true(effect(w, FSM_ISSUED, 0)->attempt.ref.group == 1);
    assert_int_equal(do_issue(w, m.cmd.enqueue.msg_id, 1, 43), FSM_LEASED);
    do_result(w, m.cmd.enqueue.msg_id, 1, 42, MAIL_OUTCOME_DELIVERED, 1);
    assert_int_equal(status_of(w, FSM_RESULT_DONE), FSM_OK);
    assert_true(effect(w, FSM_RESULT_DONE, 0)->result.group_done);
    assert_true(exists(w, m.cmd.enqueue.msg_id));
    assert_int_equal(do_issue(w, m.cmd.enqueue.msg_id, 0, 44), FSM_OK);
    do_result(w, m.cmd.enqueue.msg_id, 0, 44, MAIL_OUTCOME_DELIVERED, 1);
    assert_int_equal(count_effects(w, FSM_MSG_GONE), 1);
    assert_queue_empty(w);
}

/* ----------------------------------------------------------------------------------------------------------- parts */

static enum fsm_status do_part(struct world *w, uint64_t body_id, uint32_t seq, uint64_t reap_ms)
{
    struct cmd c = {.type = CMD_PART,
                    .part = {.body_id = body_id, .seq = seq, .reap_ms = reap_ms, .bytes = PR_SLICE_LIT("chunk!")}};
    world_do(w, &c);
    return status_of(w, FSM_PART_STORED);
}

static void test_parts(void **state)
{
    struct world *w = *state;
    uint64_t body = (w->now << 22) + 1, reap = w->now + 600000;
    assert_int_equal(do_part(w, body, 0, reap), FSM_OK);
    assert_int_equal(do_part(w, body, 0, reap), FSM_DUPLICATE);
    assert_int_equal(do_part(w, body, 2, reap), FSM_INVALID); /* a gap */
    assert_int_equal(do_part(w, body, 1, reap + 120000), FSM_OK);
    assert_int_equal(do_part(w, body + 1, 1, reap), FSM_GONE); /* unknown upload */
    assert_int_equal(do_part(w, body - 1, 0, reap), FSM_GONE); /* id not new */
    assert_int_equal(count_rows(w, KV_EXPQ), 1);
    assert_true(fsm_counters(w->fsm)->uploads == 1 && fsm_counters(w->fsm)->upload_bytes == 12);
    world_reopen(w);

    struct mail m;
    mail_init(&m, w, 1, 1);
    m.cmd.enqueue.body = PR_SLICE_LIT("");
    m.cmd.enqueue.body_id = body;
    m.cmd.enqueue.n_chunks = 3; /* one is missing */
    world_do(w, &m.cmd);
    assert_int_equal(status_of(w, FSM_MSG_STORED), FSM_INVALID);
    m.cmd.enqueue.n_chunks = 2;
    world_do(w, &m.cmd);
    assert_int_equal(status_of(w, FSM_MSG_STORED), FSM_OK);
    assert_true(fsm_counters(w->fsm)->uploads == 0);
    assert_int_equal(do_part(w, body, 2, reap), FSM_GONE); /* taken */
    world_do(w, &m.cmd);
    assert_int_equal(status_of(w, FSM_MSG_STORED), FSM_INVALID); /* the same again, without a token */
    struct pr_buf out = {0};
    assert_int_equal(qread_body(fsm_stage(w->fsm), body, 1, &out), 0);
    assert_string_equal(pr_buf_cstr(&out), "chunk!");
    pr_buf_fini(&out);
    assert_int_equal(do_issue(w, m.cmd.enqueue.msg_id, 0, 1), FSM_OK);
    do_result(w, m.cmd.enqueue.msg_id, 0, 1, MAIL_OUTCOME_DELIVERED, 1);
    assert_queue_empty(w);
}

static enum fsm_status do_reap(struct world *w, uint64_t body_id)
{
    struct cmd c = {.type = CMD_BODY_REAP, .body_id = body_id};
    world_do(w, &c);
    return status_of(w, FSM_ADMIN_DONE);
}

static void test_upload_is_reaped(void **state)
{
    struct world *w = *state;
    uint64_t body = w->now << 22, reap = w->now + 600000;
    assert_int_equal(do_part(w, body, 0, reap), FSM_OK);
    assert_int_equal(do_part(w, body, 1, reap + 1), FSM_OK);
    w->now = reap;
    assert_int_equal(do_reap(w, body), FSM_CONFLICT); /* prolonged by the second part */
    w->now = reap + 1;
    assert_int_equal(do_reap(w, body), FSM_OK);
    assert_int_equal(do_reap(w, body), FSM_GONE);
    assert_int_equal(do_part(w, body, 0, w->now + 1), FSM_GONE);
    assert_queue_empty(w);
}

/* -------------------------------------------------------------------------------------------------------- attempts */

static void test_issue_refusals(void **state)
{
    struct world *w = *state;
    uint64_t id = put_mail(w, 1, 1);
    struct cmd c = issue_of(w, id, 0, 1);
    c.issue.group = 1;
    world_do(w, &c);
    assert_int_equal(status_of(w, FSM_ISSUED), FSM_GONE);
    c = issue_of(w, id, 0, 1);
    c.issue.due_ms++;
    world_do(w, &c);
    assert_int_equal(status_of(w, FSM_ISSUED), FSM_STALE);
    c = issue_of(w, id, 0, 1);
    c.issue.attempt++;
    world_do(w, &c);
    assert_int_equal(status_of(w, FSM_ISSUED), FSM_STALE);
    assert_int_equal(do_issue(w, id, 0, 1), FSM_OK);
    assert_int_equal(do_issue(w, id, 0, 2), FSM_LEASED);
    do_result(w, id, 0, 1, MAIL_OUTCOME_TEMP, 1);
    assert_int_equal(do_admin(w, CMD_HOLD, id, 0), FSM_OK);
    assert_int_equal(do_issue(w, id, 0, 2), FSM_HELD);
    assert_int_equal(do_admin(w, CMD_DELETE, id, 0), FSM_OK);
    c = (struct cmd){.type = CMD_ISSUE, .issue = {.msg_id = id, .attempt = 1, .attempt_id = 1}};
    world_do(w, &c);
    assert_int_equal(status_of(w, FSM_ISSUED), FSM_GONE);
    assert_queue_empty(w);
}

static enum fsm_status do_release(struct world *w, uint64_t id, uint16_t group, uint64_t attempt_id)
{
    struct cmd c = {.type = CMD_RELEASE_LEASE, .release = {id, group, attempt_id}};
    world_do(w, &c);
    return status_of(w, FSM_LEASE_FREED);
}

static void test_release_is_no_attempt(void **state)
{
    struct world *w = *state;
    uint64_t id = put_mail(w, 1, 1);
    assert_int_equal(do_release(w, id, 0, 1), FSM_STALE);
    assert_int_equal(do_issue(w, id, 0, 1), FSM_OK);
    assert_int_equal(do_release(w, id, 0, 2), FSM_STALE);
    assert_int_equal(do_release(w, id, 1, 1), FSM_GONE);
    assert_int_equal(do_release(w, id, 0, 1), FSM_OK);
    assert_true(effect(w, FSM_LEASE_FREED, 0)->attempt.row.attempt == 0);
    struct cmd c = issue_of(w, id, 0, 3);
    assert_int_equal(c.issue.attempt, 1);
    world_do(w, &c);
    assert_int_equal(status_of(w, FSM_ISSUED), FSM_OK);
    do_result(w, id, 0, 1, MAIL_OUTCOME_PERM, 1); /* of the one given back */
    assert_int_equal(status_of(w, FSM_RESULT_DONE), FSM_STALE);
    do_result(w, id, 0, 3, MAIL_OUTCOME_DELIVERED, 1);
    assert_int_equal(status_of(w, FSM_RESULT_DONE), FSM_OK);
    assert_queue_empty(w);
}

/* --------------------------------------------------------------------------------------------------------- results */

static void test_temporary_failure_files_again(void **state)
{
    struct world *w = *state;
    uint64_t id = put_mail(w, 1, 2);
    for (uint32_t i = 1; i <= 3; i++) {
        assert_int_equal(do_issue(w, id, 0, i), FSM_OK);
        do_result(w, id, 0, i, i == 2 ? MAIL_OUTCOME_UNKNOWN : MAIL_OUTCOME_TEMP, 2);
        const struct fsm_effect *done = effect(w, FSM_RESULT_DONE, 0), *row = effect(w, FSM_ROW_FILED, 0);
        assert_true(done->status == FSM_OK && !done->result.group_done && done->result.n_pending == 2);
        assert_true(row->row.attempt == i && row->row.due_ms == w->now + 300000);
        assert_int_equal(count_rows(w, KV_SCHED), 1);
        assert_int_equal(count_rows(w, KV_LEASE), 0);
        if (i == 1)
            world_reopen(w);
    }
    struct pr_arena arena = {0};
    struct qread_group g;
    assert_true(read_group(w, id, 0, &arena, &g));
    assert_true(g.rcpts[1].status == MAIL_RCPT_PENDING && pr_slice_eq_str(g.rcpts[1].diagnostic, "451 later") &&
                pr_slice_eq_str(g.rcpts[1].remote, "mx [192.0.2.1]"));
    pr_arena_fini(&arena);
    assert_int_equal(do_admin(w, CMD_DELETE, id, 0), FSM_OK);
    assert_queue_empty(w);
}

static void test_aborted_is_no_attempt(void **state)
{
    struct world *w = *state;
    uint64_t id = put_mail(w, 1, 1);
    assert_int_equal(do_issue(w, id, 0, 1), FSM_OK);
    do_result(w, id, 0, 1, MAIL_OUTCOME_ABORTED, 1);
    assert_true(effect(w, FSM_ROW_FILED, 0)->row.attempt == 0);
    /* Twice at the same due time: still one row, under a new key. */
    uint64_t due = effect(w, FSM_ROW_FILED, 0)->row.due_ms;
    assert_int_equal(do_issue(w, id, 0, 2), FSM_OK);
    do_result(w, id, 0, 2, MAIL_OUTCOME_ABORTED, 1);
    assert_true(effect(w, FSM_ROW_FILED, 0)->row.due_ms == due);
    assert_int_equal(count_rows(w, KV_SCHED), 1);
    assert_int_equal(do_admin(w, CMD_DELETE, id, 0), FSM_OK);
    assert_queue_empty(w);
}

static void test_mixed_outcomes(void **state)
{
    struct world *w = *state;
    uint64_t id = put_mail(w, 1, 3);
    assert_int_equal(do_issue(w, id, 0, 1), FSM_OK);
    struct cmd_rcpt_result rcpts[] = {
        {.index = 0, .outcome = MAIL_OUTCOME_DELIVERED, .code = 250},
        {.index = 1, .outcome = MAIL_OUTCOME_TEMP, .code = 450},
        {.index = 2, .outcome = MAIL_OUTCOME_PERM, .code = 550, .no_report = true},
        {.index = 9, .outcome = MAIL_OUTCOME_PERM}, /* no such recipient */
    };
    struct cmd c = {.type = CMD_RESULT, .result = {.ref = {id, 0, 1}, .rcpts = rcpts, .n_rcpts = 4}};
    world_do(w, &c);
    const struct fsm_effect *done = effect(w, FSM_RESULT_DONE, 0);
    assert_true(done->result.n_delivered == 1 && done->result.n_failed == 1 && done->result.n_pending == 1);
    assert_true(effect(w, FSM_ROW_FILED, 0)->row.n_rcpts == 1 && effect(w, FSM_ROW_FILED, 0)->row.due_ms == w->now);
    assert_int_equal(do_issue(w, id, 0, 2), FSM_OK);
    do_result(w, id, 0, 2, MAIL_OUTCOME_DELIVERED, 3);
    assert_true(effect(w, FSM_RESULT_DONE, 0)->result.n_delivered == 1); /* the failed one was reported: stays */
    assert_queue_empty(w);
    const struct fsm_counters *k = fsm_counters(w->fsm);
    assert_true(k->delivered == 2 && k->failed == 1 && k->deferred == 1);
}

static void test_late_results(void **state)
{
    struct world *w = *state;
    uint64_t id = put_mail(w, 1, 2);
    assert_int_equal(do_issue(w, id, 0, 1), FSM_OK);
    assert_int_equal(do_release(w, id, 0, 1), FSM_OK); /* hold time over */
    assert_int_equal(do_issue(w, id, 0, 2), FSM_OK);
    do_result(w, id, 0, 1, MAIL_OUTCOME_TEMP, 2);
    assert_int_equal(status_of(w, FSM_RESULT_DONE), FSM_STALE);
    assert_int_equal(count_effects(w, FSM_ROW_FILED), 0);
    do_result(w, id, 0, 1, MAIL_OUTCOME_DELIVERED, 1); /* one of two: the mail is there */
    assert_int_equal(status_of(w, FSM_RESULT_DONE), FSM_STALE);
    assert_true(effect(w, FSM_RESULT_DONE, 0)->result.n_delivered == 1);
    assert_int_equal(count_effects(w, FSM_CANCEL), 0);
    do_result(w, id, 0, 2, MAIL_OUTCOME_TEMP, 2); /* late TEMP of one delivered meanwhile changes nothing for it */
    assert_true(effect(w, FSM_RESULT_DONE, 0)->result.n_pending == 1);
    assert_int_equal(do_issue(w, id, 0, 3), FSM_OK);
    do_result(w, id, 0, 2, MAIL_OUTCOME_DELIVERED, 2); /* ends it under the attempt that runs */
    assert_int_equal(count_effects(w, FSM_CANCEL), 1);
    assert_true(effect(w, FSM_CANCEL, 0)->attempt.ref.attempt_id == 3);
    assert_queue_empty(w);
    do_result(w, id, 0, 3, MAIL_OUTCOME_DELIVERED, 2);
    assert_int_equal(status_of(w, FSM_RESULT_DONE), FSM_GONE);
}

static void test_result_is_idempotent(void **state)
{
    struct world *w = *state;
    uint64_t id = put_mail(w, 2, 1);
    assert_int_equal(do_issue(w, id, 0, 1), FSM_OK);
    do_result(w, id, 0, 1, MAIL_OUTCOME_TEMP, 1);
    uint32_t attempt = effect(w, FSM_ROW_FILED, 0)->row.attempt;
    do_result(w, id, 0, 1, MAIL_OUTCOME_TEMP, 1);
    assert_int_equal(status_of(w, FSM_RESULT_DONE), FSM_STALE);
    struct cmd c = issue_of(w, id, 0, 2);
    assert_int_equal(c.issue.attempt, attempt + 1);
    assert_int_equal(do_admin(w, CMD_DELETE, id, 0), FSM_OK);
    assert_queue_empty(w);
}

/* --------------------------------------------------------------------------------------------------------- reports */

static void result_with_bounce(struct world *w, uint64_t id, uint16_t group, uint64_t attempt_id, uint32_t n,
                               struct mail *dsn)
{
    struct cmd_rcpt_result rcpts[4];
    for (uint32_t i = 0; i < n; i++)
        rcpts[i] = (struct cmd_rcpt_result){.index = i, .outcome = MAIL_OUTCOME_PERM, .code = 550};
    mail_init(dsn, w, 1, 1);
    struct cmd c = {
        .type = CMD_RESULT,
        .result = {.ref = {id, group, attempt_id}, .rcpts = rcpts, .n_rcpts = n, .bounce = &dsn->cmd.enqueue}};
    world_do(w, &c);
}

static void test_bounce_in_the_same_entry(void **state)
{
    struct world *w = *state;
    struct mail dsn;
    uint64_t id = put_mail(w, 1, 2);
    assert_int_equal(do_issue(w, id, 0, 1), FSM_OK);
    result_with_bounce(w, id, 0, 1, 2, &dsn);
    assert_false(effect(w, FSM_RESULT_DONE, 0)->result.bounce_dropped);
    assert_true(effect(w, FSM_MSG_STORED, 0)->msg.nested);
    assert_false(exists(w, id));
    assert_true(exists(w, dsn.cmd.enqueue.msg_id));
    assert_int_equal(count_effects(w, FSM_NEEDS_REPORT), 0);
    assert_int_equal(do_issue(w, dsn.cmd.enqueue.msg_id, 0, 2), FSM_OK);
    do_result(w, dsn.cmd.enqueue.msg_id, 0, 2, MAIL_OUTCOME_DELIVERED, 1);
    assert_queue_empty(w);
}

static void test_bounce_of_a_stale_attempt_is_dropped(void **state)
{
    struct world *w = *state;
    struct mail dsn;
    uint64_t id = put_mail(w, 1, 2);
    assert_int_equal(do_issue(w, id, 0, 1), FSM_OK);
    assert_int_equal(do_release(w, id, 0, 1), FSM_OK);
    result_with_bounce(w, id, 0, 1, 2, &dsn);
    assert_true(effect(w, FSM_RESULT_DONE, 0)->result.bounce_dropped);
    assert_int_equal(count_effects(w, FSM_MSG_STORED), 0);
    assert_int_equal(do_issue(w, id, 0, 2), FSM_OK);
    do_result(w, id, 0, 1, MAIL_OUTCOME_DELIVERED, 1); /* one of the two is delivered after all */
    result_with_bounce(w, id, 0, 2, 2, &dsn);          /* so this DSN would lie */
    assert_true(effect(w, FSM_RESULT_DONE, 0)->result.bounce_dropped);
    assert_int_equal(count_effects(w, FSM_NEEDS_REPORT), 1);
    assert_int_equal(do_admin(w, CMD_DELETE, id, 0), FSM_OK);
    result_with_bounce(w, id, 0, 2, 2, &dsn);
    assert_int_equal(status_of(w, FSM_RESULT_DONE), FSM_GONE);
    assert_queue_empty(w);
}

static void test_failures_wait_for_one_report(void **state)
{
    struct world *w = *state;
    uint64_t id = put_mail(w, 2, 2);
    assert_int_equal(do_issue(w, id, 0, 1), FSM_OK);
    do_result(w, id, 0, 1, MAIL_OUTCOME_PERM, 2);
    assert_true(effect(w, FSM_RESULT_DONE, 0)->result.group_done);
    assert_int_equal(count_effects(w, FSM_NEEDS_REPORT), 0); /* the other group is still out */
    assert_int_equal(do_issue(w, id, 0, 2), FSM_GONE);
    assert_int_equal(do_issue(w, id, 1, 2), FSM_OK);
    do_result(w, id, 1, 2, MAIL_OUTCOME_DELIVERED, 2);
    assert_int_equal(count_effects(w, FSM_NEEDS_REPORT), 1);
    assert_true(exists(w, id) && fsm_counters(w->fsm)->reports_owed == 1);
    assert_int_equal(count_rows(w, KV_EXPQ), 2); /* the check, and the report of this minute */
    world_reopen(w);
    assert_int_equal(do_report(w, id, CMD_REPORT_DELAY, 0, 1, 0), FSM_CONFLICT);
    assert_int_equal(do_report(w, id, CMD_REPORT_FAILURE, 1, 1, 0), FSM_CONFLICT); /* delivered, record gone */
    struct mail dsn;
    mail_init(&dsn, w, 1, 1);
    struct cmd_report_item items[] = {{0, 0}, {0, 1}};
    struct cmd c = {.type = CMD_REPORT,
                    .report = {.msg_id = id,
                               .kind = CMD_REPORT_FAILURE,
                               .items = items,
                               .n_items = 2,
                               .dsn = &dsn.cmd.enqueue}};
    world_do(w, &c);
    assert_int_equal(status_of(w, FSM_REPORT_DONE), FSM_OK);
    assert_true(effect(w, FSM_REPORT_DONE, 0)->report.next_check_ms == 0);
    assert_false(exists(w, id));
    world_do(w, &c); /* a second leader reports again */
    assert_int_equal(status_of(w, FSM_REPORT_DONE), FSM_GONE);
    assert_int_equal(count_effects(w, FSM_MSG_STORED), 0);
    assert_int_equal(do_admin(w, CMD_DELETE, dsn.cmd.enqueue.msg_id, 0), FSM_OK);
    assert_queue_empty(w);
}

static void test_late_delivery_withdraws_a_report(void **state)
{
    struct world *w = *state;
    uint64_t id = put_mail(w, 1, 1);
    assert_int_equal(do_issue(w, id, 0, 1), FSM_OK);
    assert_int_equal(do_release(w, id, 0, 1), FSM_OK);
    assert_int_equal(do_issue(w, id, 0, 2), FSM_OK);
    do_result(w, id, 0, 2, MAIL_OUTCOME_PERM, 1);
    assert_int_equal(count_effects(w, FSM_NEEDS_REPORT), 1);
    do_result(w, id, 0, 1, MAIL_OUTCOME_DELIVERED, 1);
    assert_int_equal(count_effects(w, FSM_MSG_GONE), 1);
    assert_queue_empty(w);
}

static void test_delay_report_and_checks(void **state)
{
    struct world *w = *state;
    uint64_t id = put_mail(w, 1, 2);
    uint64_t check = w->now + 86400000;
    assert_int_equal(do_report(w, id, CMD_REPORT_DELAY, 0, 2, check), FSM_OK);
    assert_true(effect(w, FSM_REPORT_DONE, 0)->report.next_check_ms == check);
    assert_int_equal(count_rows(w, KV_EXPQ), 1);
    struct pr_arena arena = {0};
    struct qread_msg m;
    assert_int_equal(qread_message(fsm_stage(w->fsm), id, &arena, &m), 0);
    assert_true(m.delay_warned && m.check_ms == check && m.groups_left == 1);
    pr_arena_fini(&arena);
    assert_int_equal(do_report(w, id, CMD_REPORT_NONE, 0, 1, 0), FSM_CONFLICT); /* items with a kind that has none */
    assert_int_equal(do_report(w, id, CMD_REPORT_NONE, 0, 0, check), FSM_OK);   /* same minute: moves on by one */
    assert_int_equal(do_report(w, id, CMD_REPORT_NONE, 0, 0, w->now), FSM_OK);  /* an earlier one: still forward */
    assert_int_equal(count_rows(w, KV_EXPQ), 1);
    assert_int_equal(do_admin(w, CMD_DELETE, id, 0), FSM_OK);
    assert_int_equal(do_report(w, id, CMD_REPORT_NONE, 0, 0, check), FSM_GONE);
    assert_queue_empty(w);
}

static void test_expiry(void **state)
{
    struct world *w = *state;
    uint64_t id = put_mail(w, 2, 2);
    assert_int_equal(do_issue(w, id, 0, 1), FSM_OK);
    assert_int_equal(do_report(w, id, CMD_REPORT_EXPIRE, 0, 2, 0), FSM_LEASED); /* never under a running attempt */
    assert_int_equal(do_report(w, id, CMD_REPORT_EXPIRE, 1, 2, w->now + 60000), FSM_OK);
    assert_int_equal(count_effects(w, FSM_ROW_GONE), 1);
    assert_true(effect(w, FSM_REPORT_DONE, 0)->report.n_expired == 2);
    do_result(w, id, 0, 1, MAIL_OUTCOME_TEMP, 2);
    assert_int_equal(do_report(w, id, CMD_REPORT_EXPIRE, 0, 1, 0), FSM_OK); /* one of two */
    assert_int_equal(count_effects(w, FSM_ROW_GONE), 0);
    assert_true(exists(w, id));
    assert_int_equal(do_report(w, id, CMD_REPORT_EXPIRE, 0, 2, 0), FSM_CONFLICT); /* the first is done */
    struct cmd_report_item item = {0, 1};
    struct cmd c = {.type = CMD_REPORT,
                    .report = {.msg_id = id, .kind = CMD_REPORT_EXPIRE, .items = &item, .n_items = 1}};
    world_do(w, &c);
    assert_int_equal(status_of(w, FSM_REPORT_DONE), FSM_OK);
    assert_int_equal(count_effects(w, FSM_MSG_GONE), 1);
    assert_queue_empty(w);
    assert_true(fsm_counters(w->fsm)->expired == 4);
}

static void test_expiry_of_held_mail(void **state)
{
    struct world *w = *state;
    uint64_t id = put_mail(w, 1, 1);
    assert_int_equal(do_admin(w, CMD_HOLD, id, 0), FSM_OK);
    assert_int_equal(do_report(w, id, CMD_REPORT_EXPIRE, 0, 1, 0), FSM_OK);
    assert_int_equal(count_effects(w, FSM_ROW_GONE), 0); /* it had no row */
    assert_queue_empty(w);
}

static void test_report_with_a_bad_dsn_does_nothing(void **state)
{
    struct world *w = *state;
    uint64_t id = put_mail(w, 1, 1);
    struct mail dsn;
    mail_init(&dsn, w, 1, 1);
    dsn.cmd.enqueue.msg_id = id; /* not new */
    struct cmd_report_item item = {0, 0};
    struct cmd c = {.type = CMD_REPORT,
                    .report = {.msg_id = id,
                               .kind = CMD_REPORT_EXPIRE,
                               .items = &item,
                               .n_items = 1,
                               .dsn = &dsn.cmd.enqueue}};
    world_do(w, &c);
    assert_int_equal(status_of(w, FSM_REPORT_DONE), FSM_INVALID);
    assert_int_equal(do_issue(w, id, 0, 1), FSM_OK);
    do_result(w, id, 0, 1, MAIL_OUTCOME_DELIVERED, 1);
    assert_queue_empty(w);
}

/* ----------------------------------------------------------------------------------------------------------- admin */

static void test_hold_and_unhold(void **state)
{
    struct world *w = *state;
    uint64_t id = put_mail(w, 3, 1);
    assert_int_equal(do_issue(w, id, 2, 1), FSM_OK);
    assert_int_equal(do_admin(w, CMD_HOLD, id, 0), FSM_OK);
    assert_true(effect(w, FSM_ADMIN_DONE, 0)->admin.count == 3);
    assert_int_equal(count_effects(w, FSM_ROW_GONE), 2); /* the running one is left alone */
    assert_int_equal(do_admin(w, CMD_HOLD, id, 0), FSM_CONFLICT);
    assert_int_equal(do_admin(w, CMD_RETRY, id, 0), FSM_HELD);
    assert_int_equal(count_rows(w, KV_SCHED), 1);
    do_result(w, id, 2, 1, MAIL_OUTCOME_TEMP, 1);
    assert_true(effect(w, FSM_RESULT_DONE, 0)->result.held);
    assert_int_equal(count_rows(w, KV_SCHED), 0);
    world_reopen(w);
    assert_true(fsm_counters(w->fsm)->held == 1);
    assert_int_equal(do_admin(w, CMD_UNHOLD, id, 0), FSM_OK);
    assert_int_equal(count_effects(w, FSM_ROW_FILED), 3);
    assert_true(effect(w, FSM_ROW_FILED, 0)->row.due_ms == w->now && effect(w, FSM_ROW_FILED, 2)->row.attempt == 1);
    assert_int_equal(do_admin(w, CMD_UNHOLD, id, 0), FSM_CONFLICT);
    for (uint16_t g = 0; g < 3; g++) {
        assert_int_equal(do_issue(w, id, g, 10U + g), FSM_OK);
        do_result(w, id, g, 10U + g, MAIL_OUTCOME_DELIVERED, 1);
    }
    assert_queue_empty(w);
    assert_int_equal(do_admin(w, CMD_HOLD, id, 0), FSM_GONE);
    assert_int_equal(do_admin(w, CMD_UNHOLD, id, 0), FSM_GONE);
}

static void test_release_under_hold_parks(void **state)
{
    struct world *w = *state;
    uint64_t id = put_mail(w, 1, 1);
    assert_int_equal(do_issue(w, id, 0, 1), FSM_OK);
    assert_int_equal(do_admin(w, CMD_HOLD, id, 0), FSM_OK);
    assert_int_equal(do_release(w, id, 0, 1), FSM_OK);
    assert_int_equal(count_effects(w, FSM_ROW_GONE), 1);
    assert_int_equal(count_rows(w, KV_SCHED), 0);
    do_result(w, id, 0, 1, MAIL_OUTCOME_DELIVERED, 1); /* it was delivered after all */
    assert_queue_empty(w);
}

static void test_retry(void **state)
{
    struct world *w = *state;
    uint64_t id = put_mail(w, 2, 1);
    assert_int_equal(do_issue(w, id, 0, 1), FSM_OK);
    do_result(w, id, 0, 1, MAIL_OUTCOME_TEMP, 1);
    assert_int_equal(do_admin(w, CMD_RETRY, id, 0), FSM_OK);
    assert_true(effect(w, FSM_ADMIN_DONE, 0)->admin.count == 1); /* the other one is due already */
    assert_true(effect(w, FSM_ROW_GONE, 0)->row.due_ms == w->now + 300000);
    assert_true(effect(w, FSM_ROW_FILED, 0)->row.due_ms == w->now && effect(w, FSM_ROW_FILED, 0)->row.attempt == 1);
    assert_int_equal(do_issue(w, id, 0, 2), FSM_OK);
    assert_int_equal(do_admin(w, CMD_RETRY, id, 0), FSM_OK);
    assert_true(effect(w, FSM_ADMIN_DONE, 0)->admin.count == 0); /* leased */
    do_result(w, id, 0, 2, MAIL_OUTCOME_TEMP, 1);
    /* Back and forth over the same due times: keys never repeat. */
    for (int i = 0; i < 3; i++) {
        assert_int_equal(do_admin(w, CMD_RETRY, id, 0), FSM_OK);
        uint64_t attempt = 20 + (uint64_t)i;
        assert_int_equal(do_issue(w, id, 0, attempt), FSM_OK);
        do_result(w, id, 0, attempt, MAIL_OUTCOME_ABORTED, 1);
        world_reopen(w);
    }
    assert_int_equal(do_admin(w, CMD_DELETE, id, 0), FSM_OK);
    assert_int_equal(do_admin(w, CMD_RETRY, id, 0), FSM_GONE);
    assert_queue_empty(w);
}

static void test_delete_under_lease(void **state)
{
    struct world *w = *state;
    uint64_t id = put_mail(w, 3, 1);
    assert_int_equal(do_issue(w, id, 0, 1), FSM_OK);
    assert_int_equal(do_issue(w, id, 1, 2), FSM_OK);
    do_result(w, id, 1, 2, MAIL_OUTCOME_DELIVERED, 1);
    assert_int_equal(do_admin(w, CMD_DELETE, id, 0), FSM_OK);
    assert_true(effect(w, FSM_ADMIN_DONE, 0)->admin.count == 2);
    assert_true(effect(w, FSM_CANCEL, 0)->attempt.ref.attempt_id == 1);
    assert_true(effect(w, FSM_ROW_GONE, 0)->row.group == 2);
    assert_int_equal(count_effects(w, FSM_MSG_GONE), 1);
    assert_queue_empty(w);
    do_result(w, id, 0, 1, MAIL_OUTCOME_TEMP, 1);
    assert_int_equal(status_of(w, FSM_RESULT_DONE), FSM_GONE);
    assert_int_equal(do_admin(w, CMD_DELETE, id, 0), FSM_GONE);
    assert_queue_empty(w);
}

static void test_gate_and_epoch(void **state)
{
    struct world *w = *state;
    struct cmd c = {.type = CMD_GATE_PUT, .gate = {PR_SLICE_LIT("limit/x"), PR_SLICE_LIT("5")}};
    world_do(w, &c);
    c.gate.value = PR_SLICE_LIT("6");
    world_do(w, &c);
    c = (struct cmd){.type = CMD_EPOCH, .epoch = {3, 1}};
    world_do(w, &c);
    assert_int_equal(status_of(w, FSM_ADMIN_DONE), FSM_OK);
    world_reopen(w);
    struct pr_buf out = {0};
    assert_int_equal(qread_gate(fsm_stage(w->fsm), PR_SLICE_LIT("limit/x"), &out), 0);
    assert_string_equal(pr_buf_cstr(&out), "6");
    pr_buf_fini(&out);
    c = (struct cmd){.type = CMD_GATE_DEL, .gate = {.key = PR_SLICE_LIT("limit/x")}};
    world_do(w, &c);
    assert_int_equal(status_of(w, FSM_ADMIN_DONE), FSM_OK);
    world_do(w, &c);
    assert_int_equal(status_of(w, FSM_ADMIN_DONE), FSM_GONE);
}

static enum fsm_status do_drop(struct world *w, uint32_t flow_id)
{
    struct cmd c = {.type = CMD_FLOW_DROP, .flow_id = flow_id};
    world_do(w, &c);
    return status_of(w, FSM_ADMIN_DONE);
}

static void test_flows(void **state)
{
    struct world *w = *state;
    uint64_t a = put_mail(w, 1, 1);
    uint32_t flow = effect(w, FSM_ROW_FILED, 0)->row.flow_id;
    put_mail(w, 1, 1);
    assert_int_equal(count_effects(w, FSM_FLOW_ADDED), 0);
    assert_true(effect(w, FSM_ROW_FILED, 0)->row.flow_id == flow);
    uint64_t b = w->id;
    assert_int_equal(do_drop(w, flow), FSM_CONFLICT);
    assert_int_equal(do_admin(w, CMD_DELETE, a, 0), FSM_OK);
    assert_int_equal(do_admin(w, CMD_HOLD, b, 0), FSM_OK);
    world_reopen(w);
    assert_non_null(fsm_flow(w->fsm, flow));
    assert_int_equal(do_drop(w, flow), FSM_OK);
    assert_true(pr_slice_eq_str(effect(w, FSM_FLOW_DROPPED, 0)->flow.domain, "d0.example"));
    assert_int_equal(do_drop(w, flow), FSM_GONE);
    assert_null(fsm_flow(w->fsm, flow));
    /* The held message finds a flow of the same name again, under a new id. */
    assert_int_equal(do_admin(w, CMD_UNHOLD, b, 0), FSM_OK);
    const struct fsm_effect *added = effect(w, FSM_FLOW_ADDED, 0);
    assert_true(added->flow.flow_id != flow && pr_slice_eq_str(added->flow.domain, "d0.example"));
    assert_true(effect(w, FSM_ROW_FILED, 0)->row.flow_id == added->flow.flow_id);
    assert_int_equal(do_issue(w, b, 0, 1), FSM_OK);
    do_result(w, b, 0, 1, MAIL_OUTCOME_DELIVERED, 1);
    assert_queue_empty(w);
    size_t it = 0;
    assert_non_null(fsm_flow_next(w->fsm, &it));
    assert_null(fsm_flow_next(w->fsm, &it));
}

/* --------------------------------------------------------------------------------------------------------- entries */

static void test_many_commands_in_one_entry(void **state)
{
    struct world *w = *state;
    struct mail m;
    mail_init(&m, w, 1, 1);
    uint64_t id = m.cmd.enqueue.msg_id;
    world_add(w, &m.cmd);
    struct cmd issue = {.type = CMD_ISSUE, .issue = {.msg_id = id, .due_ms = w->now, .attempt = 1, .attempt_id = 9}};
    world_add(w, &issue);
    struct cmd_rcpt_result rcpt = {.outcome = MAIL_OUTCOME_DELIVERED};
    struct cmd result = {.type = CMD_RESULT, .result = {.ref = {id, 0, 9}, .rcpts = &rcpt, .n_rcpts = 1}};
    world_add(w, &result);
    world_add(w, &result); /* the same again: gone by then */
    world_apply(w);
    assert_int_equal(effect(w, FSM_ISSUED, 0)->command, 1);
    assert_int_equal(effect(w, FSM_RESULT_DONE, 0)->command, 2);
    assert_int_equal(effect(w, FSM_RESULT_DONE, 1)->status, FSM_GONE);
    assert_queue_empty(w);
}

static void test_entries_are_skipped_once_applied(void **state)
{
    struct world *w = *state;
    struct mail m;
    mail_init(&m, w, 1, 1);
    world_add(w, &m.cmd);
    struct pr_slice entry = cmd_batch_finish(&w->batch, (pr_wall){w->now});
    assert_int_equal(fsm_apply(w->fsm, 1, 1, entry, &w->effects), 0);
    assert_true(w->effects.n > 0);
    assert_int_equal(fsm_apply(w->fsm, 1, 1, entry, &w->effects), 0);
    assert_int_equal(w->effects.n, 0);
    fsm_skip(w->fsm, 2, 1);
    assert_true(fsm_applied(w->fsm) == 2 && fsm_counters(w->fsm)->messages == 1);
}

static void test_unreadable_entries_stop(void **state)
{
    struct world *w = *state;
    struct cmd c = {.type = CMD_BODY_REAP, .body_id = 1};
    world_add(w, &c);
    struct pr_slice good = cmd_batch_finish(&w->batch, (pr_wall){w->now});
    char entry[64];
    assert_true(good.len <= sizeof entry);
    memcpy(entry, good.ptr, good.len);
    entry[0] = 2; /* a newer version */
    assert_int_equal(fsm_apply(w->fsm, 1, 1, pr_slice(entry, good.len), NULL), PR_EVERSION);
    assert_non_null(strstr(fsm_error(w->fsm), "log entry 1"));
    memcpy(entry, good.ptr, good.len);
    entry[24] = 99; /* an unknown command */
    assert_int_equal(fsm_apply(w->fsm, 1, 1, pr_slice(entry, good.len), NULL), PR_EVERSION);
    assert_int_equal(fsm_apply(w->fsm, 1, 1, pr_slice(good.ptr, good.len - 8), NULL), PR_EPARSE);
    assert_true(fsm_applied(w->fsm) == 0);
    assert_int_equal(fsm_apply(w->fsm, 1, 1, good, NULL), 0);
}

#define CASE(test) \
    {#test, test, setup, teardown, NULL}, {#test " (spilling)", test, setup_spilling, teardown, NULL}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_enqueue_stores_and_files),
        CASE(test_enqueue_is_idempotent_by_token),
        CASE(test_dedup_rows_go_with_their_tokens),
        CASE(test_enqueue_refusals),
        CASE(test_empty_body),
        CASE(test_enqueue_with_issue),
        CASE(test_parts),
        CASE(test_upload_is_reaped),
        CASE(test_issue_refusals),
        CASE(test_release_is_no_attempt),
        CASE(test_temporary_failure_files_again),
        CASE(test_aborted_is_no_attempt),
        CASE(test_mixed_outcomes),
        CASE(test_late_results),
        CASE(test_result_is_idempotent),
        CASE(test_bounce_in_the_same_entry),
        CASE(test_bounce_of_a_stale_attempt_is_dropped),
        CASE(test_failures_wait_for_one_report),
        CASE(test_late_delivery_withdraws_a_report),
        CASE(test_delay_report_and_checks),
        CASE(test_expiry),
        CASE(test_expiry_of_held_mail),
        CASE(test_report_with_a_bad_dsn_does_nothing),
        CASE(test_hold_and_unhold),
        CASE(test_release_under_hold_parks),
        CASE(test_retry),
        CASE(test_delete_under_lease),
        CASE(test_gate_and_epoch),
        CASE(test_flows),
        CASE(test_many_commands_in_one_entry),
        CASE(test_entries_are_skipped_once_applied),
        CASE(test_unreadable_entries_stop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
