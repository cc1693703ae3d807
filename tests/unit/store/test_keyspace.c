/* Byte order of keys is the order of their tuples, and taking apart gives back what was put together. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/base/rng.h"
#include "common/store/keyspace.h"

static int cmp(struct key a, struct key b)
{
    return pr_slice_cmp(key_slice(&a), key_slice(&b));
}

static int cmp_u64(uint64_t a, uint64_t b)
{
    return (a > b) - (a < b);
}

static int sign(int v)
{
    return (v > 0) - (v < 0);
}

/* Few bits, so that leading fields are often equal; sometimes extreme. */
static uint64_t some(struct pr_rng *r)
{
    uint64_t v = pr_rng_below(r, 3);
    return pr_rng_below(r, 4) == 0 ? UINT64_MAX - v : pr_rng_below(r, 3) == 0 ? v << 8 | 0xff : v;
}

static void test_sched_order(void **state)
{
    (void)state;
    struct pr_rng r;
    pr_rng_init(&r, 1);
    for (int i = 0; i < 20000; i++) {
        struct key_sched s[2], back;
        for (int j = 0; j < 2; j++)
            s[j] = (struct key_sched){(uint32_t)some(&r), some(&r), some(&r), (uint16_t)some(&r), (uint32_t)some(&r)};
        int want = cmp_u64(s[0].flow, s[1].flow);
        want = want != 0 ? want : cmp_u64(s[0].due_ms, s[1].due_ms);
        want = want != 0 ? want : cmp_u64(s[0].msg_id, s[1].msg_id);
        want = want != 0 ? want : cmp_u64(s[0].group, s[1].group);
        want = want != 0 ? want : cmp_u64(s[0].seq, s[1].seq);
        struct key k = key_sched(&s[0]);
        assert_int_equal(sign(cmp(k, key_sched(&s[1]))), want);
        assert_int_equal(key_sched_parse(key_slice(&k), &back), 0);
        assert_true(back.flow == s[0].flow && back.due_ms == s[0].due_ms && back.msg_id == s[0].msg_id &&
                    back.group == s[0].group && back.seq == s[0].seq);
        assert_true(cmp(key_sched_from(s[0].flow, s[0].due_ms), k) <= 0);
        assert_true(s[0].flow == UINT32_MAX || cmp(k, key_flow(s[0].flow + 1)) < 0);
    }
}

static void test_other_orders(void **state)
{
    (void)state;
    struct pr_rng r;
    pr_rng_init(&r, 2);
    for (int i = 0; i < 20000; i++) {
        uint64_t a = some(&r), b = some(&r);
        uint16_t ga = (uint16_t)some(&r), gb = (uint16_t)some(&r);
        uint32_t ma = (uint32_t)some(&r), mb = (uint32_t)some(&r);
        assert_int_equal(sign(cmp(key_msg(a), key_msg(b))), cmp_u64(a, b));
        int want = cmp_u64(a, b) != 0 ? cmp_u64(a, b) : cmp_u64(ga, gb);
        assert_int_equal(sign(cmp(key_rcpt(a, ga), key_rcpt(b, gb))), want);
        want = cmp_u64(ma, mb) != 0 ? cmp_u64(ma, mb) : cmp_u64(a, b);
        assert_int_equal(sign(cmp(key_expq(ma, EXPQ_CHECK, a), key_expq(mb, EXPQ_CHECK, b))), want);
        assert_int_equal(sign(cmp(key_dedup(a), key_dedup(b))), cmp_u64(a, b));
        want = cmp_u64(a, b) != 0 ? cmp_u64(a, b) : cmp_u64(ma, mb);
        assert_int_equal(sign(cmp(key_body(a, ma), key_body(b, mb))), want);
        assert_true(cmp(key_expq_from(ma), key_expq(ma, EXPQ_CHECK, a)) < 0);
    }
}

static void test_round_trips(void **state)
{
    (void)state;
    uint64_t id = 0;
    uint16_t group = 0;
    uint32_t n = 0;
    struct key_expq e;
    struct key k = key_rcpt(0x0102030405060708, 0x090a);
    assert_int_equal(key_group_parse(key_slice(&k), &id, &group), 0);
    assert_true(id == 0x0102030405060708 && group == 0x090a);
    k = key_msg(77);
    assert_int_equal(key_msg_parse(key_slice(&k), &id), 0);
    assert_true(id == 77);
    k = key_expq(5, EXPQ_BODY, 9);
    assert_int_equal(key_expq_parse(key_slice(&k), &e), 0);
    assert_true(e.minute == 5 && e.kind == EXPQ_BODY && e.id == 9);
    k = key_flow(4000000000);
    assert_int_equal(key_flow_parse(key_slice(&k), &n), 0);
    assert_true(n == 4000000000);
    k = key_dedup(4);
    assert_int_equal(key_dedup_parse(key_slice(&k), &id), 0);
    assert_true(id == 4);
}

static void test_foreign_keys_are_refused(void **state)
{
    (void)state;
    uint64_t id;
    uint16_t group;
    uint32_t n;
    struct key_sched s;
    struct key_expq e;
    struct key msg = key_msg(1), rcpt = key_rcpt(1, 1), bad = key_expq(1, EXPQ_REPORT, 1);
    assert_int_equal(key_msg_parse(key_slice(&rcpt), &id), PR_ECORRUPT);
    assert_int_equal(key_group_parse(key_slice(&msg), &id, &group), PR_ECORRUPT);
    assert_int_equal(key_sched_parse(key_slice(&rcpt), &s), PR_ECORRUPT);
    assert_int_equal(key_flow_parse(key_slice(&msg), &n), PR_ECORRUPT);
    assert_int_equal(key_dedup_parse(key_slice(&rcpt), &id), PR_ECORRUPT);
    assert_int_equal(key_expq_parse(key_slice(&msg), &e), PR_ECORRUPT);
    bad.bytes[4] = 99; /* kind */
    assert_int_equal(key_expq_parse(key_slice(&bad), &e), PR_ECORRUPT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sched_order),
        cmocka_unit_test(test_other_orders),
        cmocka_unit_test(test_round_trips),
        cmocka_unit_test(test_foreign_keys_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
