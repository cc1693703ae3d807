/* The stage over the memory twin: what readers see is the model, what reaches the store is only what must. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "common/base/alloc.h"
#include "common/base/rng.h"
#include "common/store/kv_mem.h"
#include "common/store/stage.h"
#include "common/store/table.h"

static struct stage *new_stage(struct kv *kv)
{
    struct stage *s = NULL;
    assert_int_equal(stage_open(kv, &s), 0);
    return s;
}

static struct pr_slice sl(const char *s)
{
    return pr_slice_str(s);
}

static bool in_store(struct kv *kv, enum kv_cf cf, const char *key)
{
    struct pr_buf out = {0};
    int err = kv_get(kv, cf, sl(key), &out);
    pr_buf_fini(&out);
    return err == 0;
}

static void want(struct stage *s, enum kv_cf cf, const char *key, const char *value)
{
    struct pr_slice got;
    stage_lock(s);
    int err = stage_get(s, cf, sl(key), &got);
    if (value == NULL)
        assert_int_equal(err, PR_ENOTFOUND);
    else
        assert_true(err == 0 && pr_slice_eq_str(got, value));
    stage_unlock(s);
}

static void test_short_life_costs_the_store_nothing(void **state)
{
    (void)state;
    struct kv *kv = kv_mem_new();
    struct stage *s = new_stage(kv);
    stage_insert(s, KV_SCHED, sl("a"), sl("1"));
    stage_insert(s, KV_MSG, sl("m"), sl("1"));
    stage_put(s, KV_MSG, sl("m"), sl("22"));
    want(s, KV_MSG, "m", "22");
    stage_remove(s, KV_SCHED, sl("a"));
    stage_remove(s, KV_MSG, sl("m"));
    assert_int_equal(stage_rows(s), 0);
    assert_int_equal(stage_bytes(s), 0);
    assert_int_equal(stage_spill(s), 0);
    assert_false(in_store(kv, KV_MSG, "m"));
    stage_free(s);
    kv_close(kv);
}

static void test_spill_then_change(void **state)
{
    (void)state;
    struct kv *kv = kv_mem_new();
    struct stage *s = new_stage(kv);
    stage_insert(s, KV_SCHED, sl("a"), sl("1"));
    stage_insert(s, KV_MSG, sl("m"), sl("1"));
    stage_insert(s, KV_LEASE, sl("l"), sl("1"));
    assert_int_equal(stage_spill(s), 0);
    assert_int_equal(stage_rows(s), 0);
    assert_true(in_store(kv, KV_SCHED, "a") && in_store(kv, KV_MSG, "m") && in_store(kv, KV_LEASE, "l"));
    want(s, KV_SCHED, "a", "1");
    stage_remove(s, KV_SCHED, sl("a"));
    stage_put(s, KV_MSG, sl("m"), sl("2"));
    stage_remove(s, KV_MSG, sl("m"));
    stage_remove(s, KV_LEASE, sl("l"));
    want(s, KV_SCHED, "a", NULL);
    want(s, KV_MSG, "m", NULL);
    want(s, KV_LEASE, "l", NULL);
    assert_true(in_store(kv, KV_SCHED, "a"));
    stage_insert(s, KV_LEASE, sl("l"), sl("2")); /* a lease comes and goes under one key */
    want(s, KV_LEASE, "l", "2");
    stage_remove(s, KV_LEASE, sl("l"));
    assert_int_equal(stage_spill(s), 0);
    assert_false(in_store(kv, KV_SCHED, "a") || in_store(kv, KV_MSG, "m") || in_store(kv, KV_LEASE, "l"));
    assert_int_equal(kv_mem_violations(kv), 0);
    stage_free(s);
    kv_close(kv);
}

static void test_reading_keeps_rows(void **state)
{
    (void)state;
    struct kv *kv = kv_mem_new();
    struct stage *s = new_stage(kv);
    stage_insert(s, KV_MSG, sl("m"), sl("1"));
    assert_int_equal(stage_spill(s), 0);
    struct pr_slice got;
    assert_int_equal(stage_peek(s, KV_MSG, sl("m"), &got), 0);
    assert_int_equal(stage_rows(s), 0);
    want(s, KV_MSG, "m", "1");
    assert_int_equal(stage_rows(s), 1);
    stage_remove(s, KV_MSG, sl("m"));
    want(s, KV_MSG, "m", NULL);
    assert_int_equal(stage_spill(s), 0);
    assert_false(in_store(kv, KV_MSG, "m"));
    stage_free(s);
    kv_close(kv);
}

static void test_dropped_stage_leaves_the_store(void **state)
{
    (void)state;
    struct kv *kv = kv_mem_new();
    struct stage *s = new_stage(kv);
    stage_put(s, KV_META, sl("k"), sl("1"));
    assert_int_equal(stage_spill(s), 0);
    stage_put(s, KV_META, sl("k"), sl("2"));
    stage_free(s);
    s = new_stage(kv);
    want(s, KV_META, "k", "1");
    stage_free(s);
    kv_close(kv);
}

static void test_remove_range(void **state)
{
    (void)state;
    struct kv *kv = kv_mem_new();
    struct stage *s = new_stage(kv);
    stage_insert(s, KV_DEDUP, sl("a1"), sl("x"));
    stage_insert(s, KV_DEDUP, sl("b1"), sl("x"));
    assert_int_equal(stage_spill(s), 0);
    stage_insert(s, KV_DEDUP, sl("a2"), sl("x"));
    stage_insert(s, KV_DEDUP, sl("b2"), sl("x"));
    stage_remove_range(s, KV_DEDUP, sl("a"), sl("b"));
    want(s, KV_DEDUP, "a1", NULL);
    struct stage_iter *it = stage_iter_new(s, KV_DEDUP, sl(""), sl(""));
    assert_true(pr_slice_eq_str(stage_iter_key(it), "b1"));
    stage_iter_next(it);
    assert_true(pr_slice_eq_str(stage_iter_key(it), "b2"));
    stage_iter_next(it);
    assert_false(stage_iter_valid(it));
    stage_iter_free(it);
    assert_int_equal(stage_spill(s), 0);
    assert_false(in_store(kv, KV_DEDUP, "a1") || in_store(kv, KV_DEDUP, "a2"));
    assert_true(in_store(kv, KV_DEDUP, "b2"));
    stage_free(s);
    kv_close(kv);
}

/* ------------------------------------------------------------------------------------- random history with a model */

struct world {
    struct kv *kv;
    struct stage *stage;
    struct table model[KV_CF_NR];
    uint64_t fresh; /* single-delete families never see a key twice */
    struct pr_rng rng;
};

static void model_put(struct world *w, enum kv_cf cf, struct pr_slice key, struct pr_slice value)
{
    bool existed;
    memcpy(table_put(&w->model[cf], key, value.len, &existed)->value, value.ptr, value.len);
}

static void change(struct world *w)
{
    const enum kv_cf families[] = {KV_META, KV_MSG, KV_RCPT, KV_SCHED, KV_LEASE, KV_BODY};
    enum kv_cf cf = families[pr_rng_below(&w->rng, PR_ARRAY_LEN(families))];
    char text[24], value[40];
    uint64_t pick = kv_cf_single(cf) ? w->fresh : pr_rng_below(&w->rng, 40);
    if (kv_cf_single(cf) && pr_rng_below(&w->rng, 2) == 0)
        pick = pr_rng_below(&w->rng, w->fresh + 1);
    struct pr_slice key = pr_slice(text, (size_t)snprintf(text, sizeof text, "%08llu", (unsigned long long)pick));
    size_t n = (size_t)snprintf(value, sizeof value, "%0*llu", (int)pr_rng_below(&w->rng, 20) + 1,
                                (unsigned long long)pr_rng_below(&w->rng, 10));
    bool there = table_find(&w->model[cf], key) != NULL;
    if (kv_cf_single(cf) && !there) {
        if (pick != w->fresh)
            return; /* was there once */
        w->fresh++;
    }
    if (there && (kv_cf_single(cf) || pr_rng_below(&w->rng, 2) == 0)) {
        stage_remove(w->stage, cf, key);
        table_erase(&w->model[cf], key);
        return;
    }
    if (there)
        stage_put(w->stage, cf, key, pr_slice(value, n));
    else
        stage_insert(w->stage, cf, key, pr_slice(value, n));
    model_put(w, cf, key, pr_slice(value, n));
}

static void compare(struct world *w)
{
    for (enum kv_cf cf = 0; cf < KV_CF_NR; cf++) {
        char lower[24];
        (void)snprintf(lower, sizeof lower, "%08llu", (unsigned long long)pr_rng_below(&w->rng, 20));
        bool bounded = pr_rng_below(&w->rng, 2) == 0;
        struct pr_slice from = bounded ? sl(lower) : sl("");
        struct stage_iter *it = stage_iter_new(w->stage, cf, from, sl(""));
        for (const struct table_node *n = table_seek(&w->model[cf], from); n != NULL; n = table_next(n)) {
            assert_true(stage_iter_valid(it));
            assert_true(pr_slice_eq(stage_iter_key(it), table_key(n)));
            assert_true(pr_slice_eq(stage_iter_value(it), table_value(n)));
            stage_iter_next(it);
        }
        assert_false(stage_iter_valid(it));
        assert_int_equal(stage_iter_error(it), 0);
        stage_iter_free(it);
        for (const struct table_node *n = table_first(&w->model[cf]); n != NULL; n = table_next(n)) {
            struct pr_slice got;
            assert_int_equal(stage_get(w->stage, cf, table_key(n), &got), 0);
            assert_true(pr_slice_eq(got, table_value(n)));
        }
    }
}

static void test_random_history(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct world w = {.kv = kv_mem_new()};
        pr_rng_init(&w.rng, seed);
        w.stage = new_stage(w.kv);
        for (int round = 0; round < 60; round++) {
            for (uint64_t i = pr_rng_below(&w.rng, 60); i > 0; i--)
                change(&w);
            compare(&w);
            uint64_t before, after;
            assert_int_equal(stage_hash(w.stage, &before), 0);
            switch (pr_rng_below(&w.rng, 4)) {
            case 0:
                assert_int_equal(stage_spill(w.stage), 0);
                break;
            case 1: /* reopened */
                assert_int_equal(stage_spill(w.stage), 0);
                stage_free(w.stage);
                w.stage = new_stage(w.kv);
                break;
            default:
                break;
            }
            assert_int_equal(stage_hash(w.stage, &after), 0);
            assert_true(before == after);
        }
        assert_int_equal(kv_mem_violations(w.kv), 0);
        stage_free(w.stage);
        kv_close(w.kv);
        for (size_t cf = 0; cf < KV_CF_NR; cf++)
            table_fini(&w.model[cf]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_short_life_costs_the_store_nothing),
        cmocka_unit_test(test_spill_then_change),
        cmocka_unit_test(test_reading_keeps_rows),
        cmocka_unit_test(test_dropped_stage_leaves_the_store),
        cmocka_unit_test(test_remove_range),
        cmocka_unit_test(test_random_history),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
