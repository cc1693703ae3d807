/* One suite for both twins of the kv vtable: what passes on memory must pass on RocksDB and the other way round. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/base/rng.h"
#include "common/store/kv_mem.h"
#include "common/store/kv_rocks.h"
#include "common/store/table.h"

struct twin {
    bool rocks;
    char dir[64];
    struct kv *kv;
};

static void open_twin(struct twin *t)
{
    if (!t->rocks) {
        t->kv = kv_mem_new();
        return;
    }
    struct kv_rocks_settings s;
    struct pr_buf err = {0};
    kv_rocks_settings_default(&s);
    s.write_buffer_bytes = 4 * 1024 * 1024;
    int rv = kv_rocks_open(t->dir, &s, &t->kv, &err);
    if (rv != 0)
        fail_msg("%s", pr_buf_cstr(&err));
    pr_buf_fini(&err);
}

static int setup(void **state)
{
    struct twin *t = *state;
    if (t->rocks) {
        (void)snprintf(t->dir, sizeof t->dir, "/tmp/kv-test-XXXXXX");
        assert_non_null(mkdtemp(t->dir));
    }
    open_twin(t);
    return 0;
}

static int teardown(void **state)
{
    struct twin *t = *state;
    kv_close(t->kv);
    if (t->rocks) {
        char path[128];
        (void)snprintf(path, sizeof path, "%s/db-000001", t->dir);
        assert_int_equal(kv_remove_directory(path), 0);
        assert_int_equal(kv_remove_directory(t->dir), 0);
    }
    return 0;
}

static void put(struct kv_batch *b, const struct kv *kv, enum kv_cf cf, const char *key, const char *value)
{
    kv->ops->batch_put(b, cf, pr_slice_str(key), pr_slice_str(value));
}

static void write_and_free(struct kv *kv, struct kv_batch *b)
{
    assert_int_equal(kv->ops->write(kv, b), 0);
    kv->ops->batch_free(b);
}

static void put_one(struct kv *kv, enum kv_cf cf, const char *key, const char *value)
{
    struct kv_batch *b = kv->ops->batch_new(kv);
    put(b, kv, cf, key, value);
    write_and_free(kv, b);
}

static void want_value(struct kv *kv, enum kv_cf cf, const char *key, const char *value)
{
    struct pr_buf out = {0};
    int err = kv_get(kv, cf, pr_slice_str(key), &out);
    if (value == NULL) {
        assert_int_equal(err, PR_ENOTFOUND);
    } else {
        assert_int_equal(err, 0);
        assert_true(pr_slice_eq_str(pr_buf_slice(&out), value));
    }
    pr_buf_fini(&out);
}

static void want_keys(struct kv *kv, enum kv_cf cf, const char *lower, const char *upper, const char *joined)
{
    struct pr_buf got = {0};
    struct kv_iter *it = kv->ops->iter_new(kv, cf, pr_slice_str(lower), pr_slice_str(upper));
    for (; kv->ops->iter_valid(it); kv->ops->iter_next(it)) {
        pr_buf_add(&got, kv->ops->iter_key(it));
        pr_buf_char(&got, ' ');
    }
    assert_int_equal(kv->ops->iter_error(it), 0);
    kv->ops->iter_free(it);
    assert_string_equal(pr_buf_cstr(&got), joined);
    pr_buf_fini(&got);
}

static void test_get_and_families_are_apart(void **state)
{
    struct kv *kv = ((struct twin *)*state)->kv;
    put_one(kv, KV_MSG, "a", "1");
    put_one(kv, KV_RCPT, "a", "2");
    want_value(kv, KV_MSG, "a", "1");
    want_value(kv, KV_RCPT, "a", "2");
    want_value(kv, KV_GATE, "a", NULL);
    put_one(kv, KV_MSG, "a", "");
    want_value(kv, KV_MSG, "a", "");
}

static void test_get_appends(void **state)
{
    struct kv *kv = ((struct twin *)*state)->kv;
    struct pr_buf out = {0};
    put_one(kv, KV_MSG, "a", "bc");
    pr_buf_str(&out, "x");
    assert_int_equal(kv_get(kv, KV_MSG, PR_SLICE_LIT("a"), &out), 0);
    assert_int_equal(kv_get(kv, KV_MSG, PR_SLICE_LIT("zz"), &out), PR_ENOTFOUND);
    assert_string_equal(pr_buf_cstr(&out), "xbc");
    pr_buf_fini(&out);
}

static void test_batch_runs_in_order(void **state)
{
    struct kv *kv = ((struct twin *)*state)->kv;
    struct kv_batch *b = kv->ops->batch_new(kv);
    put(b, kv, KV_MSG, "a", "1");
    kv->ops->batch_del(b, KV_MSG, PR_SLICE_LIT("a"));
    put(b, kv, KV_MSG, "b", "1");
    put(b, kv, KV_MSG, "b", "2");
    put(b, kv, KV_SCHED, "s", "1");
    kv->ops->batch_single_delete(b, KV_SCHED, PR_SLICE_LIT("s"));
    assert_int_equal(kv->ops->write(kv, b), 0);
    kv->ops->batch_clear(b);
    put(b, kv, KV_MSG, "c", "3");
    write_and_free(kv, b);
    want_value(kv, KV_MSG, "a", NULL);
    want_value(kv, KV_MSG, "b", "2");
    want_value(kv, KV_MSG, "c", "3");
    want_value(kv, KV_SCHED, "s", NULL);
}

static void test_unwritten_batch_leaves_nothing(void **state)
{
    struct kv *kv = ((struct twin *)*state)->kv;
    struct kv_batch *b = kv->ops->batch_new(kv);
    put(b, kv, KV_MSG, "a", "1");
    kv->ops->batch_free(b);
    b = kv->ops->batch_new(kv);
    write_and_free(kv, b);
    want_value(kv, KV_MSG, "a", NULL);
}

static void test_delete_range(void **state)
{
    struct kv *kv = ((struct twin *)*state)->kv;
    put_one(kv, KV_DEDUP, "a", "1");
    put_one(kv, KV_DEDUP, "b", "1");
    put_one(kv, KV_DEDUP, "bb", "1");
    put_one(kv, KV_DEDUP, "c", "1");
    struct kv_batch *b = kv->ops->batch_new(kv);
    kv->ops->batch_delete_range(b, KV_DEDUP, PR_SLICE_LIT("b"), PR_SLICE_LIT("c"));
    write_and_free(kv, b);
    want_keys(kv, KV_DEDUP, "", "", "a c ");
}

static void test_iteration_bounds(void **state)
{
    struct kv *kv = ((struct twin *)*state)->kv;
    put_one(kv, KV_SCHED, "b", "1");
    put_one(kv, KV_SCHED, "d", "1");
    put_one(kv, KV_SCHED, "a", "1");
    put_one(kv, KV_SCHED, "dd", "1");
    want_keys(kv, KV_SCHED, "", "", "a b d dd ");
    want_keys(kv, KV_SCHED, "b", "", "b d dd ");
    want_keys(kv, KV_SCHED, "b", "d", "b ");
    want_keys(kv, KV_SCHED, "bb", "dd", "d ");
    want_keys(kv, KV_SCHED, "e", "", "");
    want_keys(kv, KV_SCHED, "c", "b", "");
}

static void test_iterator_seek_and_value(void **state)
{
    struct kv *kv = ((struct twin *)*state)->kv;
    put_one(kv, KV_MSG, "a", "1");
    put_one(kv, KV_MSG, "c", "3");
    struct kv_iter *it = kv->ops->iter_new(kv, KV_MSG, PR_SLICE_LIT(""), PR_SLICE_LIT(""));
    kv->ops->iter_seek(it, PR_SLICE_LIT("b"));
    assert_true(kv->ops->iter_valid(it));
    assert_true(pr_slice_eq_str(kv->ops->iter_value(it), "3"));
    kv->ops->iter_seek(it, PR_SLICE_LIT("a"));
    assert_true(pr_slice_eq_str(kv->ops->iter_key(it), "a"));
    kv->ops->iter_seek(it, PR_SLICE_LIT("d"));
    assert_false(kv->ops->iter_valid(it));
    kv->ops->iter_free(it);
}

static void test_binary_keys_sort_as_bytes(void **state)
{
    struct kv *kv = ((struct twin *)*state)->kv;
    struct kv_batch *b = kv->ops->batch_new(kv);
    kv->ops->batch_put(b, KV_BODY, pr_slice("\x00\xff", 2), PR_SLICE_LIT("1"));
    kv->ops->batch_put(b, KV_BODY, pr_slice("\x00", 1), PR_SLICE_LIT("0"));
    kv->ops->batch_put(b, KV_BODY, pr_slice("\xff\x00", 2), PR_SLICE_LIT("3"));
    kv->ops->batch_put(b, KV_BODY, pr_slice("\x7f\x80", 2), PR_SLICE_LIT("2"));
    write_and_free(kv, b);
    struct kv_iter *it = kv->ops->iter_new(kv, KV_BODY, PR_SLICE_LIT(""), PR_SLICE_LIT(""));
    for (int i = 0; i < 4; i++, kv->ops->iter_next(it)) {
        assert_true(kv->ops->iter_valid(it));
        assert_int_equal(kv->ops->iter_value(it).ptr[0], '0' + i);
    }
    assert_false(kv->ops->iter_valid(it));
    kv->ops->iter_free(it);
}

static void test_checkpoint_makes_all_families_durable(void **state)
{
    struct twin *t = *state;
    struct kv *kv = t->kv;
    struct pr_buf out = {0};
    char path[128];
    (void)snprintf(path, sizeof path, "%s/checkpoint", t->dir);
    put_one(kv, KV_META, "applied", "7");
    put_one(kv, KV_MSG, "m", "x");
    assert_int_equal(kv->ops->durable_get(kv, KV_META, PR_SLICE_LIT("applied"), &out), PR_ENOTFOUND);
    assert_int_equal(kv->ops->checkpoint(kv, path), 0);
    assert_int_equal(kv_remove_directory(path), 0);
    assert_int_equal(kv_remove_directory(path), 0); /* idempotent */
    put_one(kv, KV_META, "applied", "8");
    assert_int_equal(kv->ops->durable_get(kv, KV_META, PR_SLICE_LIT("applied"), &out), 0);
    assert_int_equal(kv->ops->durable_get(kv, KV_MSG, PR_SLICE_LIT("m"), &out), 0);
    assert_string_equal(pr_buf_cstr(&out), "7x");
    pr_buf_fini(&out);
}

static void test_large_values(void **state)
{
    struct kv *kv = ((struct twin *)*state)->kv;
    size_t n = 256 * 1024;
    char *big = pr_malloc(n);
    struct pr_rng rng;
    pr_rng_init(&rng, 5);
    pr_rng_fill(&rng, big, n);
    struct kv_batch *b = kv->ops->batch_new(kv);
    for (char c = 'A'; c < 'A' + 40; c++) /* several memtables of the test's RocksDB */
        kv->ops->batch_put(b, KV_BODY, pr_slice(&c, 1), pr_slice(big, n));
    write_and_free(kv, b);
    assert_int_equal(kv->ops->compact_bodies(kv), 0);
    struct pr_buf out = {0};
    for (char c = 'A'; c < 'A' + 40; c++) {
        pr_buf_clear(&out);
        assert_int_equal(kv_get(kv, KV_BODY, pr_slice(&c, 1), &out), 0);
        assert_true(pr_slice_eq(pr_buf_slice(&out), pr_slice(big, n)));
    }
    assert_true(kv->ops->property(kv, KV_PROP_MEMORY_BYTES) + kv->ops->property(kv, KV_PROP_DISK_BYTES) > 0);
    assert_int_equal(kv->ops->property(kv, KV_PROP_WRITE_STOPPED), 0);
    assert_string_equal(kv_error(kv), "");
    pr_buf_fini(&out);
    pr_free(big);
}

/* Random histories against a plain table. */
static void test_random_history(void **state)
{
    struct kv *kv = ((struct twin *)*state)->kv;
    struct table model;
    struct pr_rng rng;
    table_init(&model);
    pr_rng_init(&rng, 20260);
    for (int round = 0; round < 300; round++) {
        struct kv_batch *b = kv->ops->batch_new(kv);
        for (int i = 0; i < 20; i++) {
            char key[4];
            int n = snprintf(key, sizeof key, "%u", (unsigned)pr_rng_below(&rng, 200));
            struct pr_slice k = pr_slice(key, (size_t)n);
            if (pr_rng_below(&rng, 3) == 0) {
                kv->ops->batch_del(b, KV_RCPT, k);
                table_erase(&model, k);
            } else {
                bool existed;
                uint64_t v = pr_rng_next(&rng);
                kv->ops->batch_put(b, KV_RCPT, k, pr_slice(&v, sizeof v));
                memcpy(table_put(&model, k, sizeof v, &existed)->value, &v, sizeof v);
            }
        }
        write_and_free(kv, b);
    }
    struct kv_iter *it = kv->ops->iter_new(kv, KV_RCPT, PR_SLICE_LIT(""), PR_SLICE_LIT(""));
    for (const struct table_node *n = table_first(&model); n != NULL; n = table_next(n), kv->ops->iter_next(it)) {
        assert_true(kv->ops->iter_valid(it));
        assert_true(pr_slice_eq(kv->ops->iter_key(it), table_key(n)));
        assert_true(pr_slice_eq(kv->ops->iter_value(it), table_value(n)));
    }
    assert_false(kv->ops->iter_valid(it));
    kv->ops->iter_free(it);
    table_fini(&model);
}

/* ------------------------------------------------------------------------------------------- what only RocksDB has */

static void test_rocks_reopens(void **state)
{
    struct twin *t = *state;
    put_one(t->kv, KV_MSG, "a", "1");
    kv_close(t->kv);
    open_twin(t);
    want_value(t->kv, KV_MSG, "a", "1"); /* an orderly close flushes */
}

static void write_file(const char *dir, const char *name, const char *text)
{
    char path[128];
    (void)snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static int open_again(struct twin *t, const char *word)
{
    struct kv_rocks_settings s;
    struct pr_buf err = {0};
    struct kv *kv = NULL;
    kv_rocks_settings_default(&s);
    int rv = kv_rocks_open(t->dir, &s, &kv, &err);
    if (rv != 0 && strstr(pr_buf_cstr(&err), word) == NULL)
        fail_msg("unexpected text: %s", pr_buf_cstr(&err));
    pr_buf_fini(&err);
    return rv;
}

static void test_rocks_pointer_file(void **state)
{
    struct twin *t = *state;
    char path[128];
    kv_close(t->kv);
    write_file(t->dir, "current", "db-00001\n");
    assert_int_equal(open_again(t, "current is damaged"), PR_ECORRUPT);
    write_file(t->dir, "current", "../../etc\n");
    assert_int_equal(open_again(t, "current is damaged"), PR_ECORRUPT);
    (void)snprintf(path, sizeof path, "%s/current", t->dir);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(open_again(t, "no file 'current'"), PR_ECORRUPT);
    write_file(t->dir, "current", "db-000001\n");
    (void)snprintf(path, sizeof path, "%s/db-000002", t->dir); /* left by a crash */
    assert_int_equal(mkdir(path, 0700), 0);
    open_twin(t);
    assert_int_not_equal(access(path, F_OK), 0);
}

static void flush(struct twin *t)
{
    char path[128];
    (void)snprintf(path, sizeof path, "%s/checkpoint", t->dir);
    assert_int_equal(t->kv->ops->checkpoint(t->kv, path), 0);
    assert_int_equal(kv_remove_directory(path), 0);
}

/* 16 MB of bodies, of which one in 64 stays. */
static void test_rocks_dead_bodies_leave_the_disk(void **state)
{
    struct twin *t = *state;
    enum { BODIES = 1024, BYTES = 16 * 1024 };
    struct pr_rng rng;
    char *body = pr_malloc(BYTES);
    pr_rng_init(&rng, 9);
    for (uint32_t i = 0; i < BODIES; i++) {
        struct kv_batch *b = t->kv->ops->batch_new(t->kv);
        pr_rng_fill(&rng, body, BYTES);
        t->kv->ops->batch_put(b, KV_BODY, pr_slice(&i, sizeof i), pr_slice(body, BYTES));
        write_and_free(t->kv, b);
    }
    flush(t);
    uint64_t full = t->kv->ops->property(t->kv, KV_PROP_DISK_BYTES);
    assert_true(full > BODIES * BYTES);
    for (uint32_t i = 0; i < BODIES; i++) {
        struct kv_batch *b = t->kv->ops->batch_new(t->kv);
        if (i % 64 != 0)
            t->kv->ops->batch_single_delete(b, KV_BODY, pr_slice(&i, sizeof i));
        write_and_free(t->kv, b);
    }
    flush(t);
    assert_int_equal(t->kv->ops->compact_bodies(t->kv), 0);
    assert_true(t->kv->ops->property(t->kv, KV_PROP_DISK_BYTES) < full / 8);
    struct pr_buf out = {0};
    for (uint32_t i = 0; i < BODIES; i++)
        assert_int_equal(kv_get(t->kv, KV_BODY, pr_slice(&i, sizeof i), &out), i % 64 == 0 ? 0 : PR_ENOTFOUND);
    assert_int_equal(out.len, BODIES / 64 * BYTES);
    pr_buf_fini(&out);
    pr_free(body);
}

static void test_rocks_locked(void **state)
{
    struct twin *t = *state;
    assert_int_equal(open_again(t, "lock"), PR_EIO);
}

static void test_memory_sees_rule_breaches(void **state)
{
    struct kv *kv = ((struct twin *)*state)->kv;
    put_one(kv, KV_SCHED, "a", "1");
    assert_int_equal(kv_mem_violations(kv), 0);
    struct kv_batch *b = kv->ops->batch_new(kv);
    kv->ops->batch_single_delete(b, KV_SCHED, PR_SLICE_LIT("a"));
    write_and_free(kv, b);
    assert_int_equal(kv_mem_violations(kv), 0);
    put_one(kv, KV_SCHED, "a", "2"); /* put again after its end */
    assert_int_equal(kv_mem_violations(kv), 1);
    b = kv->ops->batch_new(kv);
    kv->ops->batch_del(b, KV_SCHED, PR_SLICE_LIT("a")); /* wrong kind */
    kv->ops->batch_single_delete(b, KV_SCHED, PR_SLICE_LIT("a")); /* nothing there */
    kv->ops->batch_single_delete(b, KV_MSG, PR_SLICE_LIT("a")); /* wrong family */
    write_and_free(kv, b);
    assert_int_equal(kv_mem_violations(kv), 4);
}

static void test_memory_crash(void **state)
{
    struct kv *kv = ((struct twin *)*state)->kv;
    put_one(kv, KV_MSG, "a", "1");
    assert_int_equal(kv->ops->checkpoint(kv, "unused"), 0);
    put_one(kv, KV_MSG, "a", "2");
    put_one(kv, KV_MSG, "b", "2");
    kv_mem_crash(kv);
    want_value(kv, KV_MSG, "a", "1");
    want_value(kv, KV_MSG, "b", NULL);
}

#define CASE(test, twin) {#test " (" #twin ")", test, setup, teardown, twin}
#define BOTH(test) CASE(test, &memory), CASE(test, &rocks)

int main(void)
{
    struct twin memory = {.rocks = false}, rocks = {.rocks = true};
    const struct CMUnitTest tests[] = {
        BOTH(test_get_and_families_are_apart),
        BOTH(test_get_appends),
        BOTH(test_batch_runs_in_order),
        BOTH(test_unwritten_batch_leaves_nothing),
        BOTH(test_delete_range),
        BOTH(test_iteration_bounds),
        BOTH(test_iterator_seek_and_value),
        BOTH(test_binary_keys_sort_as_bytes),
        BOTH(test_checkpoint_makes_all_families_durable),
        BOTH(test_large_values),
        BOTH(test_random_history),
        CASE(test_rocks_reopens, &rocks),
        CASE(test_rocks_pointer_file, &rocks),
        CASE(test_rocks_dead_bodies_leave_the_disk, &rocks),
        CASE(test_rocks_locked, &rocks),
        CASE(test_memory_sees_rule_breaches, &memory),
        CASE(test_memory_crash, &memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
