/* Log entries: what is encoded comes back, limits are kept, and no changed byte is skipped over. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/base/alloc.h"
#include "common/base/rng.h"
#include "common/cluster/command.h"

static struct cmd_group groups[] = {
    {PR_SLICE_LIT("a.example"), PR_SLICE_LIT("one"), 3, 77, 0},
    {PR_SLICE_LIT("b.example"), PR_SLICE_LIT(""), 1, 0, 99},
};

static struct cmd_enqueue an_enqueue(void)
{
    return (struct cmd_enqueue){
        .msg_id = 1234567890123,
        .token = {{1, 2, 3}},
        .received_ms = 5,
        .expiry_ms = 6,
        .check_ms = 7,
        .class_ = MAIL_CLASS_BULK,
        .tenant = PR_SLICE_LIT("t"),
        .pool = PR_SLICE_LIT("p"),
        .envelope = PR_SLICE_LIT("envelope"),
        .size_bytes = 4,
        .body = PR_SLICE_LIT("body"),
        .groups = groups,
        .n_groups = 2,
        .issue_node = PR_SLICE_LIT("node"),
        .issue_boot_id = 8,
        .issue_lane = 9,
    };
}

static void assert_enqueue(const struct cmd_enqueue *e)
{
    assert_true(e->msg_id == 1234567890123 && e->token.bytes[2] == 3 && e->received_ms == 5 && e->expiry_ms == 6 &&
                e->check_ms == 7 && e->class_ == MAIL_CLASS_BULK && e->size_bytes == 4 && e->n_groups == 2 &&
                e->issue_boot_id == 8 && e->issue_lane == 9);
    assert_true(pr_slice_eq_str(e->tenant, "t") && pr_slice_eq_str(e->pool, "p") &&
                pr_slice_eq_str(e->envelope, "envelope") && pr_slice_eq_str(e->body, "body") &&
                pr_slice_eq_str(e->issue_node, "node"));
    assert_true(pr_slice_eq_str(e->groups[0].domain, "a.example") && pr_slice_eq_str(e->groups[0].encoded, "one") &&
                e->groups[0].n_rcpts == 3 && e->groups[0].due_ms == 77 && e->groups[1].attempt_id == 99);
}

/* One command of each type, in one entry. */
static void all_types(struct cmd_batch *b)
{
    struct cmd_enqueue nested = an_enqueue();
    struct cmd_rcpt_result rcpts[] = {
        {.index = 2, .outcome = MAIL_OUTCOME_PERM, .no_report = true, .code = 550, .enhanced = PR_SLICE_LIT("5.1.1"),
         .diagnostic = PR_SLICE_LIT("no such user")},
        {.index = 0, .outcome = MAIL_OUTCOME_DELIVERED, .code = 250},
    };
    struct cmd_report_item items[] = {{1, 2}, {3, 4}};
    const struct cmd commands[] = {
        {.type = CMD_ENQUEUE, .enqueue = nested},
        {.type = CMD_PART, .part = {.body_id = 3, .seq = 4, .reap_ms = 5, .bytes = PR_SLICE_LIT("chunk")}},
        {.type = CMD_ISSUE,
         .issue = {.msg_id = 1, .group = 2, .due_ms = 3, .attempt = 4, .attempt_id = 5, .node_id = PR_SLICE_LIT("n"),
                   .boot_id = 6, .lane = 7, .issued_ms = 8}},
        {.type = CMD_RELEASE_LEASE, .release = {9, 10, 11}},
        {.type = CMD_RESULT,
         .result = {.ref = {1, 2, 3}, .rcpts = rcpts, .n_rcpts = 2, .remote = PR_SLICE_LIT("mx"), .next_due_ms = 4,
                    .bounce = &nested}},
        {.type = CMD_REPORT,
         .report = {.msg_id = 1, .kind = CMD_REPORT_EXPIRE, .items = items, .n_items = 2, .dsn = &nested,
                    .next_check_ms = 9}},
        {.type = CMD_HOLD, .admin = {1, 0}},
        {.type = CMD_UNHOLD, .admin = {2, 3}},
        {.type = CMD_DELETE, .admin = {4, 0}},
        {.type = CMD_RETRY, .admin = {5, 6}},
        {.type = CMD_GATE_PUT, .gate = {PR_SLICE_LIT("k"), PR_SLICE_LIT("v")}},
        {.type = CMD_GATE_DEL, .gate = {.key = PR_SLICE_LIT("k")}},
        {.type = CMD_EPOCH, .epoch = {7, 8}},
        {.type = CMD_BODY_REAP, .body_id = 12},
        {.type = CMD_FLOW_DROP, .flow_id = 13},
    };
    assert_int_equal(PR_ARRAY_LEN(commands), CMD_TYPE_NR - 1);
    for (size_t i = 0; i < PR_ARRAY_LEN(commands); i++) {
        assert_int_equal(commands[i].type, i + 1);
        assert_int_equal(cmd_batch_add(b, &commands[i]), 0);
        assert_int_equal(cmd_batch_last(b), i);
    }
}

static void assert_command(const struct cmd *c)
{
    switch (c->type) {
    case CMD_ENQUEUE:
        assert_enqueue(&c->enqueue);
        break;
    case CMD_PART:
        assert_true(c->part.body_id == 3 && c->part.seq == 4 && c->part.reap_ms == 5 &&
                    pr_slice_eq_str(c->part.bytes, "chunk"));
        break;
    case CMD_ISSUE:
        assert_true(c->issue.msg_id == 1 && c->issue.group == 2 && c->issue.due_ms == 3 && c->issue.attempt == 4 &&
                    c->issue.attempt_id == 5 && pr_slice_eq_str(c->issue.node_id, "n") && c->issue.boot_id == 6 &&
                    c->issue.lane == 7 && c->issue.issued_ms == 8);
        break;
    case CMD_RELEASE_LEASE:
        assert_true(c->release.msg_id == 9 && c->release.group == 10 && c->release.attempt_id == 11);
        break;
    case CMD_RESULT:
        assert_true(c->result.ref.attempt_id == 3 && c->result.n_rcpts == 2 && c->result.next_due_ms == 4 &&
                    pr_slice_eq_str(c->result.remote, "mx") && c->result.rcpts[0].index == 2 &&
                    c->result.rcpts[0].outcome == MAIL_OUTCOME_PERM && c->result.rcpts[0].no_report &&
                    pr_slice_eq_str(c->result.rcpts[0].enhanced, "5.1.1") && !c->result.rcpts[1].no_report &&
                    c->result.rcpts[1].code == 250);
        assert_enqueue(c->result.bounce);
        break;
    case CMD_REPORT:
        assert_true(c->report.kind == CMD_REPORT_EXPIRE && c->report.n_items == 2 && c->report.items[1].group == 3 &&
                    c->report.items[1].index == 4 && c->report.next_check_ms == 9);
        assert_enqueue(c->report.dsn);
        break;
    case CMD_HOLD:
        assert_true(c->admin.msg_id == 1);
        break;
    case CMD_UNHOLD:
        assert_true(c->admin.msg_id == 2 && c->admin.due_ms == 3);
        break;
    case CMD_DELETE:
        assert_true(c->admin.msg_id == 4);
        break;
    case CMD_RETRY:
        assert_true(c->admin.msg_id == 5 && c->admin.due_ms == 6);
        break;
    case CMD_GATE_PUT:
        assert_true(pr_slice_eq_str(c->gate.key, "k") && pr_slice_eq_str(c->gate.value, "v"));
        break;
    case CMD_GATE_DEL:
        assert_true(pr_slice_eq_str(c->gate.key, "k"));
        break;
    case CMD_EPOCH:
        assert_true(c->epoch.term == 7 && c->epoch.node == 8);
        break;
    case CMD_BODY_REAP:
        assert_true(c->body_id == 12);
        break;
    case CMD_FLOW_DROP:
        assert_true(c->flow_id == 13);
        break;
    case CMD_NONE:
    case CMD_TYPE_NR:
        fail();
    }
}

/* Reads a whole entry; the number of commands, or the error. */
static int read_all(struct pr_slice entry, bool check)
{
    struct cmd_reader r;
    struct pr_arena arena = {0};
    int n = 0, err = cmd_reader_init(&r, entry);
    for (bool more = true; err == 0 && more;) {
        struct cmd c;
        err = cmd_reader_next(&r, &arena, &c, &more);
        if (err == 0 && more) {
            n++;
            if (check)
                assert_command(&c);
        }
    }
    pr_arena_fini(&arena);
    return err != 0 ? err : n;
}

static void test_round_trip(void **state)
{
    (void)state;
    struct cmd_batch b = {0};
    struct cmd_reader r;
    all_types(&b);
    struct pr_slice entry = cmd_batch_finish(&b, (pr_wall){4711});
    assert_int_equal(entry.len % 8, 0);
    assert_int_equal(cmd_reader_init(&r, entry), 0);
    assert_true(r.now.ms == 4711);
    assert_int_equal(read_all(entry, true), CMD_TYPE_NR - 1);
    cmd_entry_set_acked(b.buf.ptr, entry.len, 0x1122334455);
    assert_true(cmd_entry_acked(entry) == 0x1122334455);
    assert_int_equal(read_all(entry, true), CMD_TYPE_NR - 1);
    cmd_batch_clear(&b);
    all_types(&b); /* used again */
    assert_int_equal(read_all(cmd_batch_finish(&b, (pr_wall){1}), true), CMD_TYPE_NR - 1);
    pr_buf_fini(&b.buf);
}

static void test_each_cut_is_refused(void **state)
{
    (void)state;
    struct cmd_batch b = {0};
    all_types(&b);
    struct pr_slice entry = cmd_batch_finish(&b, (pr_wall){1});
    for (size_t n = 0; n + 8 <= entry.len; n++) {
        char *exact = pr_memdup(entry.ptr, n == 0 ? 1 : n); /* so that a sanitizer sees a read behind it */
        assert_true(read_all(pr_slice(exact, n), false) < 0);
        pr_free(exact);
    }
    pr_buf_fini(&b.buf);
}

static void test_foreign_entries(void **state)
{
    (void)state;
    const struct {
        size_t at;
        char value;
        int err;
    } changes[] = {
        {0, 2, PR_EVERSION},         /* version */
        {0, 0, PR_EVERSION},
        {1, 1, PR_EVERSION},         /* flags */
        {2, 0, PR_EPARSE},           /* no command */
        {2, 2, PR_EPARSE},           /* more than there are: the padding is no command header */
        {5, 1, PR_EVERSION},         /* reserved */
        {24, CMD_TYPE_NR, PR_EVERSION},
        {24, CMD_NONE, PR_EVERSION},
        {25, 7, PR_EPARSE},          /* length */
        {25, 9, PR_EPARSE},
        {24, CMD_FLOW_DROP, PR_EPARSE}, /* bytes left over */
        {39, 1, PR_EPARSE},          /* padding that is not zero */
    };
    for (size_t i = 0; i < PR_ARRAY_LEN(changes); i++) {
        struct cmd_batch b = {0};
        struct cmd c = {.type = CMD_BODY_REAP, .body_id = 1};
        assert_int_equal(cmd_batch_add(&b, &c), 0);
        struct pr_slice entry = cmd_batch_finish(&b, (pr_wall){1});
        assert_int_equal(entry.len, 40);
        assert_int_equal(read_all(entry, false), 1);
        b.buf.ptr[changes[i].at] = changes[i].value;
        int err = read_all(entry, false);
        if (err != changes[i].err && !(changes[i].at == 2 && err < 0))
            fail_msg("change %zu: %d", i, err);
        pr_buf_fini(&b.buf);
    }
}

static void test_limits(void **state)
{
    (void)state;
    struct cmd_batch b = {0};
    char *big = pr_calloc(1, CMD_ENTRY_HARD_MAX);
    struct cmd c = {.type = CMD_PART, .part = {.bytes = pr_slice(big, CMD_BODY_CHUNK_MAX + 1)}};
    assert_int_equal(cmd_batch_add(&b, &c), PR_ETOOBIG);
    c.part.bytes = PR_SLICE_LIT("");
    assert_int_equal(cmd_batch_add(&b, &c), PR_ETOOBIG);
    c.part.bytes = pr_slice(big, CMD_BODY_CHUNK_MAX);
    for (int i = 0; i < 3; i++)
        assert_int_equal(cmd_batch_add(&b, &c), 0);
    size_t before = cmd_batch_size(&b);
    assert_int_equal(cmd_batch_add(&b, &c), PR_ETOOBIG); /* the entry is full */
    assert_true(cmd_batch_size(&b) == before && b.count == 3);
    struct cmd small = {.type = CMD_BODY_REAP, .body_id = 12};
    assert_int_equal(cmd_batch_add(&b, &small), 0);
    assert_int_equal(read_all(cmd_batch_finish(&b, (pr_wall){1}), false), 4);
    cmd_batch_clear(&b);

    c = (struct cmd){.type = CMD_ENQUEUE, .enqueue = an_enqueue()};
    c.enqueue.tenant = pr_slice(big, CMD_NAME_MAX + 1);
    assert_int_equal(cmd_batch_add(&b, &c), PR_ETOOBIG);
    c.enqueue = an_enqueue();
    c.enqueue.envelope = pr_slice(big, CMD_ENVELOPE_MAX + 1);
    assert_int_equal(cmd_batch_add(&b, &c), PR_ETOOBIG);
    c = (struct cmd){.type = CMD_GATE_PUT, .gate = {PR_SLICE_LIT(""), PR_SLICE_LIT("v")}};
    assert_int_equal(cmd_batch_add(&b, &c), PR_ETOOBIG);
    assert_int_equal(cmd_batch_size(&b), 0);
    c.type = CMD_NONE;
    assert_int_equal(cmd_batch_add(&b, &c), PR_EINVAL);

    /* A diagnostic is cut, not refused: the remote chooses its length. */
    memset(big, 'x', 5000);
    struct cmd_rcpt_result rcpt = {.outcome = MAIL_OUTCOME_TEMP, .diagnostic = pr_slice(big, 5000)};
    c = (struct cmd){.type = CMD_RESULT, .result = {.rcpts = &rcpt, .n_rcpts = 1, .remote = pr_slice(big, 5000)}};
    assert_int_equal(cmd_batch_add(&b, &c), 0);
    assert_true(cmd_batch_size(&b) < 2500);
    pr_buf_fini(&b.buf);
    pr_free(big);
}

/* Changed bytes are read without harm, and mostly refused. */
static void test_mutations(void **state)
{
    (void)state;
    struct cmd_batch b = {0};
    struct pr_rng rng;
    pr_rng_init(&rng, 3);
    all_types(&b);
    struct pr_slice entry = cmd_batch_finish(&b, (pr_wall){1});
    char *copy = pr_malloc(entry.len);
    for (int i = 0; i < 20000; i++) {
        memcpy(copy, entry.ptr, entry.len);
        for (uint64_t k = 1 + pr_rng_below(&rng, 3); k > 0; k--)
            copy[pr_rng_below(&rng, entry.len)] = (char)pr_rng_below(&rng, 256);
        int n = read_all(pr_slice(copy, entry.len), false);
        assert_true(n <= CMD_TYPE_NR - 1);
    }
    pr_free(copy);
    pr_buf_fini(&b.buf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_each_cut_is_refused),
        cmocka_unit_test(test_foreign_entries),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_mutations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
