/* Choice of a shard, and what a new message would meet. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/base/alloc.h"
#include "ingress/core/pick.h"

enum { WINDOW = 1000, ROUNDS = 4000 };

static const struct ing_shard_view good = {.leader = true, .window_left = WINDOW};

static void count(const struct ing_shard_view *v, size_t n, uint64_t bytes, unsigned *ret_counts)
{
    struct pr_rng rng;
    pr_rng_init(&rng, 42);
    for (unsigned i = 0; i < ROUNDS; i++) {
        size_t s = ing_pick_shard(v, n, bytes, &rng);
        assert_true(s < n);
        ret_counts[s]++;
    }
}

static void equal_ones_share(void **state)
{
    (void)state;
    struct ing_shard_view v[4] = {good, good, good, good};
    unsigned n[4] = {0};
    count(v, 4, 10, n);
    for (int i = 0; i < 4; i++)
        assert_in_range(n[i], ROUNDS / 4 - 200, ROUNDS / 4 + 200);
}

/* Two choices: the most loaded of n is never taken, the least loaded with probability 2/n. */
static void less_loaded_of_two(void **state)
{
    (void)state;
    struct ing_shard_view v[4] = {good, good, good, good};
    unsigned n[4] = {0};
    for (unsigned i = 0; i < 4; i++)
        v[i].queued = i * 100;
    count(v, 4, 10, n);
    assert_in_range(n[0], ROUNDS / 2 - 200, ROUNDS / 2 + 200);
    assert_int_equal(n[3], 0);
    assert_true(n[1] > n[2]);
}

static void only_those_that_admit(void **state)
{
    (void)state;
    struct ing_shard_view v[5] = {good, good, good, good, good};
    unsigned n[5] = {0};
    v[0].leader = false;
    v[1].admission = 3;
    v[2].admission = 4;
    v[3].waiting = WINDOW;
    count(v, 5, 10, n);
    assert_int_equal(n[4], ROUNDS);
    /* Nobody has window left: any that admits will do. */
    v[4].waiting = WINDOW - 5;
    unsigned m[5] = {0};
    count(v, 5, 10, m);
    assert_int_equal(m[0] + m[1] + m[2], 0);
    assert_int_equal(m[4], ROUNDS); /* less of ours waits there */
    v[3].leader = v[4].leader = false;
    struct pr_rng rng;
    pr_rng_init(&rng, 1);
    assert_true(ing_pick_shard(v, 5, 1, &rng) == SIZE_MAX);
    assert_true(ing_pick_shard(v, 0, 1, &rng) == SIZE_MAX);
}

static void intake(void **state)
{
    (void)state;
    struct ing_shard_view v[2] = {good, good};
    assert_int_equal(ing_intake(v, 2), ING_INTAKE_OPEN);
    v[0].admission = 4;
    v[1].admission = 2;
    assert_int_equal(ing_intake(v, 2), ING_INTAKE_OPEN);
    v[1].admission = 3;
    assert_int_equal(ing_intake(v, 2), ING_INTAKE_REFUSED);
    v[1].admission = 4;
    assert_int_equal(ing_intake(v, 2), ING_INTAKE_DISK_FULL);
    v[1].leader = false;
    assert_int_equal(ing_intake(v, 2), ING_INTAKE_DISK_FULL);
    v[0].leader = false;
    assert_int_equal(ing_intake(v, 2), ING_INTAKE_NO_LEADER);
    assert_int_equal(ing_intake(v, 0), ING_INTAKE_NO_LEADER);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equal_ones_share),
        cmocka_unit_test(less_loaded_of_two),
        cmocka_unit_test(only_those_that_admit),
        cmocka_unit_test(intake),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
