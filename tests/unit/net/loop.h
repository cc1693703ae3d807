/* loop.h - a uv loop for a test: waits for conditions with a deadline; at the end every handle must be closed. */
#ifndef TEST_NET_LOOP_H
#define TEST_NET_LOOP_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <uv.h>

#include "common/net/clock.h"

enum { WAIT_MS = 20000 };

struct test_loop {
    uv_loop_t uv;
    uv_timer_t tick; /* so that a turn of the loop never sleeps for long */
};

static inline void on_test_tick(uv_timer_t *t)
{
    (void)t;
}

static inline void loop_start(struct test_loop *l)
{
    *l = (struct test_loop){0};
    assert_int_equal(uv_loop_init(&l->uv), 0);
    uv_timer_init(&l->uv, &l->tick);
    uv_timer_start(&l->tick, on_test_tick, 20, 20);
}

static inline void loop_end(struct test_loop *l)
{
    uv_close((uv_handle_t *)&l->tick, NULL);
    uint64_t end = pr_clock_now().mono.ms + WAIT_MS;
    while (uv_run(&l->uv, UV_RUN_NOWAIT) != 0)
        assert_true(pr_clock_now().mono.ms < end);
    assert_int_equal(uv_loop_close(&l->uv), 0);
}

#define RUN_UNTIL(l, cond)                                                                             \
    do {                                                                                               \
        uint64_t run_until_end = pr_clock_now().mono.ms + WAIT_MS;                                     \
        while (!(cond)) {                                                                              \
            if (pr_clock_now().mono.ms >= run_until_end)                                               \
                fail_msg("%s:%d: still not: %s", __FILE__, __LINE__, #cond);                           \
            (void)uv_run(&(l)->uv, UV_RUN_ONCE);                                                       \
        }                                                                                              \
    } while (0)

#endif
