/* The hash map against a plain array, with seeds. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#include "common/base/alloc.h"
#include "common/base/map.h"
#include "common/base/rng.h"

enum { KEYS = 300, STEPS = 20000 };

/* Key k as a string: some empty, some long, some that differ only late. */
static struct pr_slice name_of(unsigned k, char text[64])
{
    if (k == 0)
        return (struct pr_slice){NULL, 0};
    int n = snprintf(text, 64, "%0*u", (int)(k % 40) + 1, k);
    return pr_slice(text, (size_t)n);
}

struct model {
    struct pr_map map;
    bool strings;
    int values[KEYS];
    void *now[KEYS]; /* what the map should hold */
    size_t count;
};

static void *put(struct model *m, unsigned k, void *v)
{
    char text[64];
    return m->strings ? pr_map_put_str(&m->map, name_of(k, text), v) : pr_map_put(&m->map, (uint64_t)k << 32, v);
}

static void *get(struct model *m, unsigned k)
{
    char text[64];
    return m->strings ? pr_map_get_str(&m->map, name_of(k, text)) : pr_map_get(&m->map, (uint64_t)k << 32);
}

static void *del(struct model *m, unsigned k)
{
    char text[64];
    return m->strings ? pr_map_del_str(&m->map, name_of(k, text)) : pr_map_del(&m->map, (uint64_t)k << 32);
}

static void check_iteration(struct model *m)
{
    bool seen[KEYS] = {false};
    size_t it = 0, n = 0;
    void *v;
    while ((v = pr_map_next(&m->map, &it, NULL)) != NULL) {
        size_t k = (size_t)((int *)v - m->values);
        assert_true(k < KEYS && m->now[k] == v && !seen[k]);
        seen[k] = true;
        n++;
    }
    assert_int_equal(n, m->count);
}

static void run(uint64_t seed, bool strings)
{
    struct model m = {.strings = strings};
    struct pr_rng rng;
    pr_rng_init(&rng, seed);
    pr_map_init(&m.map, seed);
    assert_null(get(&m, 1));
    assert_null(del(&m, 1));
    for (int step = 0; step < STEPS; step++) {
        /* The share of puts swings, so that the map fills, empties, and lives on tombstones. */
        unsigned k = (unsigned)pr_rng_below(&rng, KEYS);
        bool filling = step / 2000 % 2 == 0;
        if (pr_rng_below(&rng, 10) < (filling ? 7 : 3)) {
            assert_ptr_equal(put(&m, k, &m.values[k]), m.now[k]);
            m.count += m.now[k] == NULL;
            m.now[k] = &m.values[k];
        } else {
            assert_ptr_equal(del(&m, k), m.now[k]);
            m.count -= m.now[k] != NULL;
            m.now[k] = NULL;
        }
        k = (unsigned)pr_rng_below(&rng, KEYS);
        assert_ptr_equal(get(&m, k), m.now[k]);
        assert_int_equal(pr_map_count(&m.map), m.count);
        if (step % 500 == 0)
            check_iteration(&m);
    }
    pr_map_fini(&m.map);
    assert_int_equal(pr_map_count(&m.map), 0);
}

static void model_int(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        print_message("seed %u\n", (unsigned)seed);
        run(seed, false);
    }
}

static void model_str(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        print_message("seed %u\n", (unsigned)seed);
        run(seed, true);
    }
}

/* A queue-like history (put at one end, delete at the other) must not let tombstones fill the table. */
static void fifo_stays_small(void **state)
{
    (void)state;
    int value;
    struct pr_map m;
    pr_map_init(&m, 3);
    for (uint64_t i = 0; i < 200000; i++) {
        assert_null(pr_map_put(&m, i, &value));
        if (i >= 10)
            assert_ptr_equal(pr_map_del(&m, i - 10), &value);
    }
    assert_int_equal(pr_map_count(&m), 10);
    assert_true(m.cap <= 64);
    pr_map_fini(&m);
}

static void delete_while_iterating(void **state)
{
    (void)state;
    int value;
    struct pr_map m;
    pr_map_init(&m, 4);
    for (uint64_t i = 0; i < 1000; i++)
        assert_null(pr_map_put(&m, i, &value));
    size_t it = 0, seen = 0;
    uint64_t key;
    while (pr_map_next(&m, &it, &key) != NULL) {
        seen++;
        if (key % 2 == 0)
            assert_ptr_equal(pr_map_del(&m, key), &value);
    }
    assert_int_equal(seen, 1000);
    assert_int_equal(pr_map_count(&m), 500);
    for (uint64_t i = 0; i < 1000; i++)
        assert_ptr_equal(pr_map_get(&m, i), i % 2 == 0 ? NULL : &value);
    pr_map_fini(&m);
}

/* Same history and seed, same order: simulations replay. */
static void order_replays(void **state)
{
    (void)state;
    int value;
    struct pr_map a, b;
    pr_map_init(&a, 11);
    pr_map_init(&b, 11);
    for (unsigned i = 0; i < 500; i++) {
        char text[64];
        struct pr_slice k = name_of(i, text);
        assert_null(pr_map_put_str(&a, k, &value));
        assert_null(pr_map_put_str(&b, k, &value));
        if (i % 3 == 0) {
            assert_non_null(pr_map_del_str(&a, k));
            assert_non_null(pr_map_del_str(&b, k));
        }
    }
    size_t ia = 0, ib = 0;
    do {
        assert_int_equal(ia, ib);
    } while (pr_map_next(&a, &ia, NULL) != NULL && pr_map_next(&b, &ib, NULL) != NULL);
    pr_map_fini(&a);
    pr_map_fini(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(model_int),
        cmocka_unit_test(model_str),
        cmocka_unit_test(fifo_stays_small),
        cmocka_unit_test(delete_while_iterating),
        cmocka_unit_test(order_replays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
