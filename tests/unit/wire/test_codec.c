/* Every message survives encode and decode; limits and references outside the payload are refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/base/alloc.h"
#include "common/base/rng.h"
#include "common/wire/messages.h"

struct wire {
    struct pr_buf header, payload;
    struct pr_arena arena;
};

static int round_trip(struct wire *w, const struct wire_msg *in, struct wire_msg *out)
{
    pr_buf_clear(&w->header);
    pr_buf_clear(&w->payload);
    wire_encode(in, &w->header, &w->payload);
    return wire_decode(pr_buf_slice(&w->header), pr_buf_slice(&w->payload), &w->arena, out);
}

static void wire_fini(struct wire *w)
{
    pr_buf_fini(&w->header);
    pr_buf_fini(&w->payload);
    pr_arena_fini(&w->arena);
}

#define assert_slice(a, b) assert_true(pr_slice_eq((a), (b)))

static void test_enqueue(void **state)
{
    (void)state;
    struct wire w = {0};
    struct wire_enqueue_group groups[2] = {
        {PR_SLICE_LIT("a.example"), PR_SLICE_LIT("ga"), 1},
        {PR_SLICE_LIT("b.example"), PR_SLICE_LIT("gb"), 100},
    };
    struct wire_enqueue_item items[3] = {
        {.token = {{1, 2, 3}}, .tenant = PR_SLICE_LIT("t"), .pool = PR_SLICE_LIT("p"), .class_ = MAIL_CLASS_BULK,
         .envelope = PR_SLICE_LIT("env"), .groups = groups, .n_groups = 2, .body = PR_SLICE_LIT("hello"), .size_bytes = 5},
        {.token = {{9}}, .groups = groups, .n_groups = 1, .body_id = 77, .n_chunks = 200, .size_bytes = 50000000},
        {.token = {{8}}, .groups = groups + 1, .n_groups = 1, .body = PR_SLICE_LIT("second"), .size_bytes = 6},
    };
    struct wire_msg in = {.type = WIRE_ENQUEUE, .enqueue = {3, items, 3}}, out;
    assert_int_equal(round_trip(&w, &in, &out), 0);
    assert_int_equal(out.type, WIRE_ENQUEUE);
    assert_int_equal(out.enqueue.shard, 3);
    assert_int_equal(out.enqueue.n, 3);
    assert_memory_equal(out.enqueue.items[0].token.bytes, items[0].token.bytes, 16);
    assert_slice(out.enqueue.items[0].body, PR_SLICE_LIT("hello"));
    assert_slice(out.enqueue.items[0].groups[1].domain, groups[1].domain);
    assert_int_equal(out.enqueue.items[0].groups[1].n_rcpts, 100);
    assert_int_equal(out.enqueue.items[0].class_, MAIL_CLASS_BULK);
    assert_int_equal(out.enqueue.items[1].body_id, 77);
    assert_int_equal(out.enqueue.items[1].n_chunks, 200);
    assert_slice(out.enqueue.items[2].body, PR_SLICE_LIT("second"));
    /* The same header with a shorter payload points outside it. */
    assert_int_equal(wire_decode(pr_buf_slice(&w.header), pr_slice_head(pr_buf_slice(&w.payload), 8), &w.arena, &out),
                     PR_EPARSE);
    wire_fini(&w);
}

static void test_enqueue_refused(void **state)
{
    (void)state;
    struct wire_enqueue_group group = {PR_SLICE_LIT("a.example"), PR_SLICE_LIT("g"), 1};
    struct wire_enqueue_group crowd = {PR_SLICE_LIT("a.example"), PR_SLICE_LIT("g"), MAIL_GROUP_RCPTS_MAX + 1};
    struct wire_enqueue_group nowhere = {PR_SLICE_LIT(""), PR_SLICE_LIT("g"), 1};
    const struct wire_enqueue_item bad[] = {
        {.groups = &group, .n_groups = 0, .body = PR_SLICE_LIT("x"), .size_bytes = 1},
        {.groups = &crowd, .n_groups = 1, .body = PR_SLICE_LIT("x"), .size_bytes = 1},
        {.groups = &nowhere, .n_groups = 1, .body = PR_SLICE_LIT("x"), .size_bytes = 1},
        {.groups = &group, .n_groups = 1, .body = PR_SLICE_LIT("x"), .size_bytes = 2},
        {.groups = &group, .n_groups = 1, .body = PR_SLICE_LIT("x"), .size_bytes = 1, .body_id = 5, .n_chunks = 1},
        {.groups = &group, .n_groups = 1, .size_bytes = 9, .body_id = 5},
        {.groups = &group, .n_groups = 1, .body = PR_SLICE_LIT("x"), .size_bytes = 1, .class_ = MAIL_CLASS_NR},
    };
    for (size_t i = 0; i < PR_ARRAY_LEN(bad); i++) {
        struct wire w = {0};
        struct wire_enqueue_item item = bad[i];
        struct wire_msg in = {.type = WIRE_ENQUEUE, .enqueue = {0, &item, 1}}, out;
        assert_int_equal(round_trip(&w, &in, &out), PR_EPARSE);
        wire_fini(&w);
    }
}

static void test_jobs_and_results(void **state)
{
    (void)state;
    struct wire w = {0};
    struct wire_job jobs[2] = {
        {.msg_id = 1, .group = 2, .attempt_id = 3, .attempt = 1, .destination = PR_SLICE_LIT("d"), .size_bytes = 3,
         .envelope = PR_SLICE_LIT("e"), .recipients = PR_SLICE_LIT("r"), .body = PR_SLICE_LIT("abc")},
        {.msg_id = 4, .group = 0, .attempt_id = 5, .attempt = 9, .destination = PR_SLICE_LIT("[127.0.0.1]:25"),
         .size_bytes = 900000, .body_id = 4, .n_chunks = 4},
    };
    struct wire_msg in = {.type = WIRE_JOB, .jobs = {1, 7, jobs, 2}}, out;
    assert_int_equal(round_trip(&w, &in, &out), 0);
    assert_int_equal(out.jobs.term, 7);
    assert_slice(out.jobs.items[0].body, PR_SLICE_LIT("abc"));
    assert_int_equal(out.jobs.items[1].n_chunks, 4);
    assert_slice(out.jobs.items[1].destination, jobs[1].destination);

    struct wire_rcpt_result rcpt = {1, MAIL_OUTCOME_PERM, 550, PR_SLICE_LIT("5.1.1"), PR_SLICE_LIT("no such user")};
    struct wire_result result = {.ref = {1, 2, 3}, .rcpts = &rcpt, .n_rcpts = 1, .scope = MAIL_SCOPE_SITE,
                                 .stage = MAIL_STAGE_RCPT, .remote = PR_SLICE_LIT("mx [::1]"), .duration_ms = 12};
    in = (struct wire_msg){.type = WIRE_RESULT, .results = {1, 7, &result, 1}};
    assert_int_equal(round_trip(&w, &in, &out), 0);
    assert_int_equal(out.results.items[0].rcpts[0].code, 550);
    assert_slice(out.results.items[0].rcpts[0].diagnostic, rcpt.diagnostic);
    assert_int_equal(out.results.items[0].stage, MAIL_STAGE_RCPT);
    assert_int_equal(out.results.items[0].ref.attempt_id, 3);
    wire_fini(&w);
}

static void test_session_and_gate(void **state)
{
    (void)state;
    struct wire w = {0};
    struct wire_msg out, in = {.type = WIRE_HELLO, .hello = {WIRE_ROLE_DELIVERER, PR_SLICE_LIT("node"), 99, 3, 1000, true}};
    assert_int_equal(round_trip(&w, &in, &out), 0);
    assert_int_equal(out.hello.boot_id, 99);
    assert_true(out.hello.bulk);
    in.hello.node_id = pr_slice(NULL, 0);
    assert_int_equal(round_trip(&w, &in, &out), PR_EPARSE);

    struct wire_shard_state shard = {2, 5, true, 1, 12345, 1 << 20};
    in = (struct wire_msg){.type = WIRE_HELLO_OK, .hello_ok = {PR_SLICE_LIT("s"), 7, 42, &shard, 1}};
    assert_int_equal(round_trip(&w, &in, &out), 0);
    assert_int_equal(out.hello_ok.shards[0].queued, 12345);
    assert_int_equal(out.hello_ok.gate_epoch, 42);

    struct wire_gate_want want = {PR_SLICE_LIT("d"), PR_SLICE_LIT("p"), 3, 20, 11, 5, 1, PR_SLICE_LIT("refused")};
    in = (struct wire_msg){.type = WIRE_GATE_REQ, .gate_req = {42, 6, true, &want, 1}};
    assert_int_equal(round_trip(&w, &in, &out), 0);
    assert_int_equal(out.gate_req.items[0].wants, 20);
    assert_slice(out.gate_req.items[0].last_error, want.last_error);

    struct wire_gate_slot slot = {PR_SLICE_LIT("d"), PR_SLICE_LIT("p"), 12, 10, 100, 50, 100, 1000};
    in = (struct wire_msg){.type = WIRE_GATE_GRANT, .gate_grant = {42, 6, 30000, &slot, 1}};
    assert_int_equal(round_trip(&w, &in, &out), 0);
    assert_int_equal(out.gate_grant.items[0].rate_per_ms, 1000);
    wire_fini(&w);
}

static void test_parts_and_bodies(void **state)
{
    (void)state;
    struct wire w = {0};
    struct wire_msg out, in = {.type = WIRE_PART, .part = {1, {{5}}, 0, 0, PR_SLICE_LIT("chunk")}};
    assert_int_equal(round_trip(&w, &in, &out), 0);
    assert_slice(out.part.bytes, PR_SLICE_LIT("chunk"));
    in.part.seq = 3; /* only the first part may come without a body id */
    assert_int_equal(round_trip(&w, &in, &out), PR_EPARSE);
    in = (struct wire_msg){.type = WIRE_BODY_CHUNK, .body_chunk = {1, 2, 3, 4, true, PR_SLICE_LIT("bytes")}};
    assert_int_equal(round_trip(&w, &in, &out), 0);
    assert_slice(out.body_chunk.bytes, PR_SLICE_LIT("bytes"));
    assert_int_equal(out.body_chunk.seq, 4);
    wire_fini(&w);
}

static void test_envelope(void **state)
{
    (void)state;
    struct pr_buf b = {0};
    struct pr_arena arena = {0};
    struct mail_rcpt rcpts[2] = {
        {.address = PR_SLICE_LIT("a@b"), .orcpt = PR_SLICE_LIT("rfc822;a@b"), .notify = MAIL_NOTIFY_DELAY},
        {.address = PR_SLICE_LIT("c@b"), .status = MAIL_RCPT_FAILED, .reported = true, .code = 550,
         .enhanced = PR_SLICE_LIT("5.1.1"), .diagnostic = PR_SLICE_LIT("no"), .remote = PR_SLICE_LIT("mx")},
    };
    struct mail_group g = {PR_SLICE_LIT("b"), rcpts, 2}, g2;
    wire_group_encode(&g, &b);
    assert_int_equal(wire_group_decode(pr_buf_slice(&b), &arena, &g2), 0);
    assert_int_equal(g2.n_rcpts, 2);
    assert_int_equal(g2.rcpts[1].status, MAIL_RCPT_FAILED);
    assert_true(g2.rcpts[1].reported);
    assert_slice(g2.rcpts[0].orcpt, rcpts[0].orcpt);

    struct mail_envelope e2, e = {.sender = PR_SLICE_LIT("s@x"), .envid = PR_SLICE_LIT("id"), .ret = MAIL_RET_HDRS,
                                  .body = MAIL_BODY_8BITMIME, .smtputf8 = true, .arrival = {1234567890123},
                                  .class_ = MAIL_CLASS_NORMAL, .size_bytes = 77};
    pr_buf_clear(&b);
    wire_envelope_encode(&e, &b);
    assert_int_equal(wire_envelope_decode(pr_buf_slice(&b), &arena, &e2), 0);
    assert_slice(e2.sender, e.sender);
    assert_int_equal(e2.ret, MAIL_RET_HDRS);
    assert_true(e2.smtputf8);
    assert_true(e2.arrival.ms == 1234567890123);
    pr_arena_fini(&arena);
    pr_buf_fini(&b);
}

static void test_queue_id(void **state)
{
    (void)state;
    struct pr_rng rng;
    char text[WIRE_QUEUE_ID_LEN + 1];
    uint32_t shard;
    uint64_t id;
    pr_rng_init(&rng, 1);
    for (int i = 0; i < 1000; i++) {
        uint32_t s = (uint32_t)pr_rng_below(&rng, 65536);
        uint64_t v = pr_rng_next(&rng) | 1;
        wire_queue_id_format(s, v, text);
        assert_int_equal(wire_queue_id_parse(pr_slice_str(text), &shard, &id), 0);
        assert_int_equal(shard, s);
        assert_true(id == v);
    }
    assert_int_equal(wire_queue_id_parse(PR_SLICE_LIT("000O0000000i000l"), &shard, &id), 0);
    assert_int_equal(wire_queue_id_parse(PR_SLICE_LIT("0000000000000000"), &shard, &id), PR_EPARSE);
    assert_int_equal(wire_queue_id_parse(PR_SLICE_LIT("00000000000001"), &shard, &id), PR_EPARSE);
    assert_int_equal(wire_queue_id_parse(PR_SLICE_LIT("000000000000001U"), &shard, &id), PR_EPARSE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_enqueue),          cmocka_unit_test(test_enqueue_refused),
        cmocka_unit_test(test_jobs_and_results), cmocka_unit_test(test_session_and_gate),
        cmocka_unit_test(test_parts_and_bodies), cmocka_unit_test(test_envelope),
        cmocka_unit_test(test_queue_id),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
