#include "scheduler/core/internal.h"

#include "common/base/rng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { FLOWS = 500 };

/* Against a plain search for the minimum, with removals from the middle. */
static void test_order(void **state)
{
    struct flow *flows = pr_calloc(FLOWS, sizeof *flows);
    struct queue q = {0};
    struct pr_rng rng;
    size_t in = 0;
    (void)state;
    pr_rng_init(&rng, 42);
    for (int round = 0; round < 20000; round++) {
        struct flow *f = &flows[pr_rng_below(&rng, FLOWS)];
        if (f->in_heap) {
            heap_remove(&q, f);
            f->in_heap = false;
            in--;
        } else {
            heap_insert(&q, f, pr_rng_below(&rng, 1000));
            f->in_heap = true;
            in++;
        }
        uint64_t least = UINT64_MAX;
        for (size_t i = 0; i < FLOWS; i++)
            if (flows[i].in_heap && flows[i].heap_due < least)
                least = flows[i].heap_due;
        if (in == 0)
            assert_null(q.root);
        else
            assert_int_equal(q.root->heap_due, least);
    }
    pr_free(flows);
}

static void test_drains_in_order(void **state)
{
    struct flow *flows = pr_calloc(FLOWS, sizeof *flows);
    struct queue q = {0};
    struct pr_rng rng;
    uint64_t last = 0;
    (void)state;
    pr_rng_init(&rng, 7);
    for (size_t i = 0; i < FLOWS; i++)
        heap_insert(&q, &flows[i], pr_rng_below(&rng, 10000));
    for (size_t i = 0; i < FLOWS; i++) {
        assert_non_null(q.root);
        assert_true(q.root->heap_due >= last);
        last = q.root->heap_due;
        heap_remove(&q, q.root);
    }
    assert_null(q.root);
    pr_free(flows);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_order), cmocka_unit_test(test_drains_in_order)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
