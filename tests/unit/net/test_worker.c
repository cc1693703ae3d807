/* Loop threads: start, mailbox order, stop with everything delivered, liveness. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/net/clock.h"
#include "common/net/daemon.h"

enum { WAIT_MS = 20000, POSTERS = 4, PER_POSTER = 20000 };

struct w {
    pthread_t thread;
    uv_loop_t *loop;
    uv_timer_t timer;
    uint64_t next[POSTERS];
    uint64_t n; /* atomic */
    unsigned misordered, stops;
    unsigned hold; /* atomic: post blocks while 1 */
    int start_rc;
};

static int on_start(struct pr_worker *w, uv_loop_t *loop, void *data)
{
    (void)w;
    struct w *x = data;
    x->thread = pthread_self();
    x->loop = loop;
    if (x->start_rc != 0)
        return x->start_rc;
    uv_timer_init(loop, &x->timer);
    return 0;
}

static void on_post(struct pr_worker *w, void *item, void *data)
{
    (void)w;
    struct w *x = data;
    uint64_t v = (uint64_t)(uintptr_t)item, poster = v >> 32, seq = v & 0xffffffff;
    x->misordered += !pthread_equal(pthread_self(), x->thread) || x->next[poster] != seq - 1;
    x->next[poster] = seq;
    __atomic_add_fetch(&x->n, 1, __ATOMIC_RELAXED);
    while (__atomic_load_n(&x->hold, __ATOMIC_RELAXED) == 1)
        (void)usleep(1000);
}

static void on_stop(struct pr_worker *w, void *data)
{
    (void)w;
    struct w *x = data;
    x->stops++;
    uv_close((uv_handle_t *)&x->timer, NULL);
}

static const struct pr_worker_ops ops = {.start = on_start, .post = on_post, .stop = on_stop};

struct poster {
    struct pr_worker *w;
    uint64_t id;
    int rc;
};

static void *run_poster(void *arg)
{
    struct poster *p = arg;
    for (uint64_t i = 1; i <= PER_POSTER; i++)
        p->rc |= pr_worker_post(p->w, (void *)(uintptr_t)(p->id << 32 | i));
    return NULL;
}

static void test_many_posters(void **state)
{
    (void)state;
    struct w x = {0};
    struct pr_worker *w = NULL;
    struct poster p[POSTERS];
    pthread_t threads[POSTERS];
    assert_int_equal(pr_worker_start(&ops, &x, "a long thread name", &w), 0);
    assert_true(pr_worker_alive(w, 10000));
    for (size_t i = 0; i < POSTERS; i++) {
        p[i] = (struct poster){w, i, 0};
        assert_int_equal(pthread_create(&threads[i], NULL, run_poster, &p[i]), 0);
    }
    for (size_t i = 0; i < POSTERS; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(p[i].rc, 0);
    }
    /* What was posted before the stop is handed over before it. */
    pr_worker_stop(w);
    pr_worker_stop(w);
    assert_int_equal(pr_worker_post(w, &x), PR_ECLOSED);
    pr_worker_join(w);
    assert_int_equal(x.n, POSTERS * PER_POSTER);
    assert_int_equal(x.misordered, 0);
    assert_int_equal(x.stops, 1);
}

static void test_start_fails(void **state)
{
    (void)state;
    struct w x = {.start_rc = PR_EIO};
    struct pr_worker *w = NULL;
    assert_int_equal(pr_worker_start(&ops, &x, "w", &w), PR_EIO);
    assert_null(w);
    assert_int_equal(x.stops, 0);
}

static void test_alive(void **state)
{
    (void)state;
    struct w x = {.hold = 1};
    struct pr_worker *w = NULL;
    assert_int_equal(pr_worker_start(&ops, &x, "w", &w), 0);
    assert_int_equal(pr_worker_post(w, (void *)(uintptr_t)1), 0);
    uint64_t end = pr_clock_now().mono.ms + WAIT_MS;
    /* Its loop does not turn: not alive. */
    while (pr_worker_alive(w, 50)) {
        assert_true(pr_clock_now().mono.ms < end);
        (void)usleep(1000);
    }
    __atomic_store_n(&x.hold, 0, __ATOMIC_RELAXED);
    while (!pr_worker_alive(w, 50)) {
        assert_true(pr_clock_now().mono.ms < end);
        (void)usleep(1000);
    }
    pr_worker_stop(w);
    pr_worker_join(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_many_posters),
        cmocka_unit_test(test_start_fails),
        cmocka_unit_test(test_alive),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
