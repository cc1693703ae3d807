/* worker.c - a thread with a loop and a mailbox.
 *   1. start: the thread runs ops->start and reports its result; only then pr_worker_start returns.
 *   2. post: the item goes to the end of `inbox` under the lock; the first one of a batch rings the async handle.
 *   3. the thread swaps the inbox out and hands over the items in order, one batch a turn, so sockets have their turn too.
 *   4. stop: the mailbox closes at once; what was posted before is still handed over, then ops->stop is called. Our own
 *      handles no longer keep the loop alive, and are closed when it has ended. */
#include <pthread.h>
#include <signal.h>

#include "common/base/alloc.h"
#include "common/base/assert.h"
#include "common/net/clock.h"
#include "common/net/daemon.h"

enum { HEARTBEAT_MS = 1000 };

struct inbox {
    void **items;
    size_t n, cap;
};

struct pr_worker {
    struct pr_worker_ops ops;
    void *data;
    char name[16]; /* what the kernel keeps of a thread's name */
    pthread_t thread;
    uv_loop_t loop;
    uv_async_t async;
    uv_timer_t heartbeat;
    uint64_t ticked_ms; /* atomic */

    pthread_mutex_t lock;
    pthread_cond_t started_cond;
    struct inbox inbox;
    bool started, closed; /* under lock */
    int start_rc;

    struct inbox batch; /* of the thread */
    bool stop_called;
};

static void tick(struct pr_worker *w)
{
    __atomic_store_n(&w->ticked_ms, pr_clock_now().mono.ms, __ATOMIC_RELAXED);
}

static void on_heartbeat(uv_timer_t *t)
{
    tick(t->data);
}

static void begin_stop(struct pr_worker *w)
{
    w->stop_called = true;
    uv_unref((uv_handle_t *)&w->async);
    w->ops.stop(w, w->data);
}

static void on_async(uv_async_t *a)
{
    struct pr_worker *w = a->data;
    pthread_mutex_lock(&w->lock);
    struct inbox taken = w->inbox;
    w->inbox = w->batch;
    w->inbox.n = 0;
    bool closed = w->closed;
    pthread_mutex_unlock(&w->lock);
    w->batch = taken;
    for (size_t i = 0; i < w->batch.n; i++)
        w->ops.post(w, w->batch.items[i], w->data);
    /* Nothing can have been posted after closed was set, so the batch was the last one. */
    if (closed && !w->stop_called)
        begin_stop(w);
}

static void report_start(struct pr_worker *w, int rc)
{
    pthread_mutex_lock(&w->lock);
    w->start_rc = rc;
    w->started = true;
    pthread_cond_signal(&w->started_cond);
    pthread_mutex_unlock(&w->lock);
}

static void *run(void *arg)
{
    struct pr_worker *w = arg;
    (void)pthread_setname_np(pthread_self(), w->name);
    int rc = w->ops.start(w, &w->loop, w->data);
    if (rc != 0) {
        pthread_mutex_lock(&w->lock);
        w->closed = true;
        pthread_mutex_unlock(&w->lock);
        uv_unref((uv_handle_t *)&w->async);
    }
    report_start(w, rc);
    uv_run(&w->loop, UV_RUN_DEFAULT);
    uv_close((uv_handle_t *)&w->async, NULL);
    uv_close((uv_handle_t *)&w->heartbeat, NULL);
    uv_run(&w->loop, UV_RUN_DEFAULT);
    return NULL;
}

static int create_thread(struct pr_worker *w)
{
    /* Signals belong to the main thread. */
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int rc = pthread_create(&w->thread, NULL, run, w);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return rc == 0 ? 0 : PR_ENOMEM;
}

static int init_loop(struct pr_worker *w)
{
    if (uv_loop_init(&w->loop) != 0)
        return PR_EIO;
    if (uv_async_init(&w->loop, &w->async, on_async) != 0) {
        (void)uv_loop_close(&w->loop);
        return PR_EIO;
    }
    uv_timer_init(&w->loop, &w->heartbeat);
    uv_timer_start(&w->heartbeat, on_heartbeat, HEARTBEAT_MS, HEARTBEAT_MS);
    uv_unref((uv_handle_t *)&w->heartbeat);
    w->async.data = w->heartbeat.data = w;
    return 0;
}

static void destroy(struct pr_worker *w)
{
    int rc = uv_loop_close(&w->loop);
    pr_assert(rc == 0);
    pthread_cond_destroy(&w->started_cond);
    pthread_mutex_destroy(&w->lock);
    pr_free(w->inbox.items);
    pr_free(w->batch.items);
    pr_free(w);
}

int pr_worker_start(const struct pr_worker_ops *ops, void *data, const char *name, struct pr_worker **ret)
{
    struct pr_worker *w = pr_new(struct pr_worker);
    w->ops = *ops;
    w->data = data;
    size_t n = PR_MIN(strlen(name), sizeof w->name - 1);
    memcpy(w->name, name, n);
    int rc = init_loop(w);
    if (rc != 0) {
        pr_free(w);
        return rc;
    }
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->started_cond, NULL);
    tick(w);
    rc = create_thread(w);
    if (rc != 0) {
        uv_close((uv_handle_t *)&w->async, NULL);
        uv_close((uv_handle_t *)&w->heartbeat, NULL);
        uv_run(&w->loop, UV_RUN_DEFAULT);
        destroy(w);
        return rc;
    }
    pthread_mutex_lock(&w->lock);
    while (!w->started)
        pthread_cond_wait(&w->started_cond, &w->lock);
    rc = w->start_rc;
    pthread_mutex_unlock(&w->lock);
    if (rc != 0) {
        pthread_join(w->thread, NULL);
        destroy(w);
        return rc;
    }
    *ret = w;
    return 0;
}

static void inbox_push(struct inbox *b, void *item)
{
    if (b->n == b->cap) {
        b->cap = b->cap == 0 ? 64 : b->cap * 2;
        b->items = pr_realloc(b->items, b->cap * sizeof *b->items);
    }
    b->items[b->n++] = item;
}

int pr_worker_post(struct pr_worker *w, void *item)
{
    pthread_mutex_lock(&w->lock);
    if (w->closed) {
        pthread_mutex_unlock(&w->lock);
        return PR_ECLOSED;
    }
    bool first = w->inbox.n == 0;
    inbox_push(&w->inbox, item);
    /* Inside the lock: the handle is closed only after closed was set. */
    if (first)
        uv_async_send(&w->async);
    pthread_mutex_unlock(&w->lock);
    return 0;
}

bool pr_worker_alive(const struct pr_worker *w, uint64_t max_age_ms)
{
    uint64_t ticked = __atomic_load_n(&w->ticked_ms, __ATOMIC_RELAXED);
    return pr_clock_now().mono.ms <= ticked + max_age_ms;
}

void pr_worker_stop(struct pr_worker *w)
{
    pthread_mutex_lock(&w->lock);
    if (!w->closed) {
        w->closed = true;
        uv_async_send(&w->async);
    }
    pthread_mutex_unlock(&w->lock);
}

void pr_worker_join(struct pr_worker *w)
{
    pthread_join(w->thread, NULL);
    destroy(w);
}
