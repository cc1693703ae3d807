/* The bus: nothing stays in a socket unseen, both ways, across threads; peers that die, return, or talk nonsense. */
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zmq.h>

#include "common/base/alloc.h"
#include "common/net/bus.h"
#include "loop.h"

struct fixture {
    struct test_loop loop;
    struct pr_bus_ctx *ctx;
    struct pr_bus *router;
    char dir[32], address[64];
    unsigned n;         /* messages seen by the router */
    uint64_t bytes;
    char last_peer[PR_BUS_PEER_MAX + 1];
    struct pr_buf last_header, last_payload;
    bool echo, forward;
};

static void keep(struct pr_buf *b, struct pr_slice s)
{
    pr_buf_clear(b);
    pr_buf_add(b, s);
}

static void on_router_msg(void *data, struct pr_bus *bus, struct pr_bus_msg *m)
{
    struct fixture *f = data;
    struct pr_slice peer = pr_bus_msg_peer(m);
    f->n++;
    f->bytes += pr_bus_msg_payload(m).len;
    (void)snprintf(f->last_peer, sizeof f->last_peer, "%.*s", PR_SLICE_ARG(peer));
    keep(&f->last_header, pr_bus_msg_header(m));
    keep(&f->last_payload, pr_bus_msg_payload(m));
    if (f->forward) {
        /* peer and header are the message's own */
        assert_int_equal(pr_bus_forward(bus, peer, pr_bus_msg_header(m), m), 0);
        return;
    }
    if (f->echo) {
        struct pr_buf payload = {0};
        pr_buf_add(&payload, pr_bus_msg_payload(m));
        assert_int_equal(pr_bus_send(bus, peer, pr_bus_msg_header(m), &payload), 0);
        assert_null(payload.ptr);
    }
    pr_bus_msg_free(m);
}

static bool try_router(struct fixture *f)
{
    char *text = NULL;
    int rc = pr_bus_bind(f->ctx, &f->loop.uv, f->address, on_router_msg, f, &f->router, &text);
    pr_free(text);
    return rc == 0;
}

/* ZeroMQ closes the socket of a former router in a thread of its own, a little later. */
static void open_router(struct fixture *f)
{
    RUN_UNTIL(&f->loop, try_router(f));
}

static void start_alone(struct fixture *f)
{
    *f = (struct fixture){.dir = "/tmp/pr-bus-XXXXXX"};
    assert_non_null(mkdtemp(f->dir));
    (void)snprintf(f->address, sizeof f->address, "ipc://%s/bus", f->dir);
    loop_start(&f->loop);
    f->ctx = pr_bus_ctx_new(1);
}

static void start(struct fixture *f)
{
    start_alone(f);
    open_router(f);
}

static void on_closed(void *data)
{
    *(bool *)data = true;
}

static void close_bus(struct fixture *f, struct pr_bus *b)
{
    bool closed = false;
    pr_bus_close(b, on_closed, &closed);
    RUN_UNTIL(&f->loop, closed);
}

static void end(struct fixture *f)
{
    close_bus(f, f->router);
    loop_end(&f->loop);
    pr_bus_ctx_free(f->ctx);
    pr_buf_fini(&f->last_header);
    pr_buf_fini(&f->last_payload);
    (void)unlink(f->address + 6);
    (void)rmdir(f->dir);
}

struct dealer {
    struct pr_bus *bus;
    unsigned n;
    struct pr_buf last_header;
    unsigned to_send; /* one more for each that comes, while not 0 */
};

static void on_dealer_msg(void *data, struct pr_bus *bus, struct pr_bus_msg *m)
{
    struct dealer *d = data;
    d->n++;
    keep(&d->last_header, pr_bus_msg_header(m));
    assert_int_equal(pr_bus_msg_peer(m).len, 0);
    pr_bus_msg_free(m);
    if (d->to_send > 0) {
        d->to_send--;
        assert_int_equal(pr_bus_send(bus, (struct pr_slice){0}, PR_SLICE_LIT("again"), NULL), 0);
    }
}

static void open_dealer(struct fixture *f, struct dealer *d, const char *identity)
{
    char *text = NULL;
    *d = (struct dealer){0};
    if (pr_bus_connect(f->ctx, &f->loop.uv, f->address, pr_slice_str(identity), on_dealer_msg, d, &d->bus, &text) != 0)
        fail_msg("%s", text);
}

static void close_dealer(struct fixture *f, struct dealer *d)
{
    close_bus(f, d->bus);
    pr_buf_fini(&d->last_header);
}

static int send_text(struct dealer *d, const char *header)
{
    return pr_bus_send(d->bus, (struct pr_slice){0}, pr_slice_str(header), NULL);
}

static void test_send_before_connected(void **state)
{
    (void)state;
    struct fixture f;
    struct dealer d;
    struct pr_bus_counts c;
    start_alone(&f);
    open_dealer(&f, &d, "early");
    /* Nobody is there: refused, not stored. */
    assert_int_equal(send_text(&d, "lost"), PR_EUNAVAIL);
    struct pr_buf payload = {0};
    pr_buf_str(&payload, "gone too");
    assert_int_equal(pr_bus_send(d.bus, (struct pr_slice){0}, PR_SLICE_LIT("h"), &payload), PR_EUNAVAIL);
    assert_null(payload.ptr);
    open_router(&f);
    RUN_UNTIL(&f.loop, send_text(&d, "here") == 0);
    RUN_UNTIL(&f.loop, f.n == 1);
    assert_string_equal(f.last_peer, "early");
    assert_true(pr_slice_eq_str(pr_buf_slice(&f.last_header), "here"));
    pr_bus_count(d.bus, &c);
    assert_int_equal(c.sent, 1);
    /* An unknown peer is unavailable at once. */
    assert_int_equal(pr_bus_send(f.router, PR_SLICE_LIT("nobody"), PR_SLICE_LIT("h"), NULL), PR_EUNAVAIL);
    close_dealer(&f, &d);
    end(&f);
}

static void test_burst_then_silence(void **state)
{
    (void)state;
    struct fixture f;
    struct dealer d;
    struct pr_bus_counts c;
    start(&f);
    open_dealer(&f, &d, "w1");
    RUN_UNTIL(&f.loop, send_text(&d, "first") == 0);
    RUN_UNTIL(&f.loop, f.n == 1);
    /* Nothing else wakes the loop now: what the bus does not see at once, it would see only at this timer. */
    uv_timer_start(&f.loop.tick, on_test_tick, WAIT_MS / 2, 0);
    uint64_t began = pr_clock_now().mono.ms;
    for (unsigned i = 0; i < 10; i++)
        assert_int_equal(send_text(&d, "burst"), 0);
    RUN_UNTIL(&f.loop, f.n == 11);
    /* More than a turn delivers; and then answers, whose sending may consume the edge. */
    f.echo = true;
    for (unsigned i = 0; i < 3000; i++)
        assert_int_equal(send_text(&d, "burst"), 0);
    RUN_UNTIL(&f.loop, f.n == 3011 && d.n == 3000);
    assert_true(pr_clock_now().mono.ms - began < WAIT_MS / 2);
    pr_bus_count(f.router, &c);
    assert_int_equal(c.received, 3011);
    assert_int_equal(c.dropped, 0);
    close_dealer(&f, &d);
    end(&f);
}

static void test_reply_in_callback(void **state)
{
    (void)state;
    struct fixture f;
    struct dealer d;
    start(&f);
    open_dealer(&f, &d, "w1");
    f.echo = true;
    RUN_UNTIL(&f.loop, send_text(&d, "ping") == 0);
    d.to_send = 999;
    RUN_UNTIL(&f.loop, d.n == 1000);
    assert_int_equal(f.n, 1000);
    f.echo = false;
    f.forward = true;
    struct pr_buf payload = {0};
    for (unsigned i = 0; i < 5000; i++)
        pr_buf_char(&payload, 'x');
    assert_int_equal(pr_bus_send(d.bus, (struct pr_slice){0}, PR_SLICE_LIT("with payload"), &payload), 0);
    RUN_UNTIL(&f.loop, d.n == 1001);
    assert_true(pr_slice_eq_str(pr_buf_slice(&d.last_header), "with payload"));
    assert_int_equal(f.bytes, 5000);
    assert_int_equal(send_text(&d, "without"), 0);
    RUN_UNTIL(&f.loop, d.n == 1002);
    close_dealer(&f, &d);
    end(&f);
}

/* --- two threads, 10 KB both ways --- */

enum { FLOOD = 10000, FLOOD_BYTES = 10240, FLOOD_WINDOW = 500 };

struct flood {
    struct fixture *f;
    struct test_loop loop;
    struct pr_bus *bus;
    unsigned sent, got;
    uint64_t bad;
};

static void flood_send(struct flood *x)
{
    while (x->sent < FLOOD && x->sent - x->got < FLOOD_WINDOW) {
        struct pr_buf payload = {0};
        memset(pr_buf_reserve(&payload, FLOOD_BYTES), (int)(x->sent & 0xff), FLOOD_BYTES);
        payload.len = FLOOD_BYTES;
        if (pr_bus_send(x->bus, (struct pr_slice){0}, pr_slice(&x->sent, sizeof x->sent), &payload) != 0)
            return;
        x->sent++;
    }
}

static void on_flood_msg(void *data, struct pr_bus *bus, struct pr_bus_msg *m)
{
    (void)bus;
    struct flood *x = data;
    unsigned seq = 0;
    struct pr_slice header = pr_bus_msg_header(m), payload = pr_bus_msg_payload(m);
    if (header.len == sizeof seq)
        memcpy(&seq, header.ptr, sizeof seq);
    bool good = header.len == sizeof seq && seq == x->got && payload.len == FLOOD_BYTES &&
                (unsigned char)payload.ptr[0] == (seq & 0xff) && payload.ptr[FLOOD_BYTES - 1] == payload.ptr[0];
    x->bad += !good;
    x->got++;
    pr_bus_msg_free(m);
    flood_send(x);
}

static void *run_flood(void *arg)
{
    struct flood *x = arg;
    char *text = NULL;
    loop_start(&x->loop);
    if (pr_bus_connect(x->f->ctx, &x->loop.uv, x->f->address, PR_SLICE_LIT("flood"), on_flood_msg, x, &x->bus, &text) != 0)
        return text;
    while (x->got < FLOOD && uv_run(&x->loop.uv, UV_RUN_ONCE) != 0)
        flood_send(x);
    pr_bus_close(x->bus, NULL, NULL);
    uv_close((uv_handle_t *)&x->loop.tick, NULL);
    while (uv_run(&x->loop.uv, UV_RUN_DEFAULT) != 0)
        continue;
    return NULL;
}

static void test_flood_across_threads(void **state)
{
    (void)state;
    struct fixture f;
    start(&f);
    f.echo = true;
    struct flood x = {.f = &f};
    pthread_t thread;
    void *error;
    assert_int_equal(pthread_create(&thread, NULL, run_flood, &x), 0);
    RUN_UNTIL(&f.loop, f.n == FLOOD);
    pthread_join(thread, &error);
    assert_null(error);
    assert_int_equal(x.got, FLOOD);
    assert_int_equal(x.bad, 0);
    assert_int_equal(f.bytes, (uint64_t)FLOOD * FLOOD_BYTES);
    assert_int_equal(uv_loop_close(&x.loop.uv), 0);
    end(&f);
}

/* --- peers that come and go --- */

static void test_peer_returns_with_its_name(void **state)
{
    (void)state;
    struct fixture f;
    struct dealer old, new;
    start(&f);
    open_dealer(&f, &old, "worker");
    RUN_UNTIL(&f.loop, send_text(&old, "one") == 0);
    RUN_UNTIL(&f.loop, f.n == 1);
    /* The new one takes the name over although the old connection is still there. */
    open_dealer(&f, &new, "worker");
    RUN_UNTIL(&f.loop, send_text(&new, "two") == 0);
    RUN_UNTIL(&f.loop, f.n == 2);
    assert_int_equal(pr_bus_send(f.router, PR_SLICE_LIT("worker"), PR_SLICE_LIT("to the new one"), NULL), 0);
    RUN_UNTIL(&f.loop, new.n == 1);
    assert_int_equal(old.n, 0);
    close_dealer(&f, &old);
    close_dealer(&f, &new);
    /* Death is noticed. */
    RUN_UNTIL(&f.loop, pr_bus_send(f.router, PR_SLICE_LIT("worker"), PR_SLICE_LIT("x"), NULL) == PR_EUNAVAIL);
    open_dealer(&f, &new, "worker");
    RUN_UNTIL(&f.loop, send_text(&new, "back") == 0);
    RUN_UNTIL(&f.loop, pr_slice_eq_str(pr_buf_slice(&f.last_header), "back"));
    assert_int_equal(pr_bus_send(f.router, PR_SLICE_LIT("worker"), PR_SLICE_LIT("hello again"), NULL), 0);
    RUN_UNTIL(&f.loop, new.n == 1);
    close_dealer(&f, &new);
    end(&f);
}

static void test_router_restarts(void **state)
{
    (void)state;
    struct fixture f;
    struct dealer d;
    start(&f);
    open_dealer(&f, &d, "w");
    RUN_UNTIL(&f.loop, send_text(&d, "before") == 0);
    RUN_UNTIL(&f.loop, f.n == 1);
    close_bus(&f, f.router);
    RUN_UNTIL(&f.loop, send_text(&d, "nobody") == PR_EUNAVAIL);
    open_router(&f);
    RUN_UNTIL(&f.loop, send_text(&d, "after") == 0);
    RUN_UNTIL(&f.loop, pr_slice_eq_str(pr_buf_slice(&f.last_header), "after"));
    close_dealer(&f, &d);
    end(&f);
}

/* --- foreign peers --- */

static void *foreign_socket(void *ctx, struct fixture *f, const char *identity)
{
    int linger = 0, immediate = 1;
    void *s = zmq_socket(ctx, ZMQ_DEALER);
    assert_non_null(s);
    zmq_setsockopt(s, ZMQ_LINGER, &linger, sizeof linger);
    zmq_setsockopt(s, ZMQ_IMMEDIATE, &immediate, sizeof immediate);
    zmq_setsockopt(s, ZMQ_ROUTING_ID, identity, strlen(identity));
    assert_int_equal(zmq_connect(s, f->address), 0);
    return s;
}

static bool send_frames(void *s, const char *const *frames, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (zmq_send(s, frames[i], strlen(frames[i]), ZMQ_DONTWAIT | (i + 1 < n ? ZMQ_SNDMORE : 0)) < 0)
            return false;
    return true;
}

static uint64_t dropped(struct fixture *f)
{
    struct pr_bus_counts c;
    pr_bus_count(f->router, &c);
    return c.dropped;
}

static void test_malformed(void **state)
{
    (void)state;
    struct fixture f;
    start(&f);
    void *ctx = zmq_ctx_new();
    void *s = foreign_socket(ctx, &f, "foreign");
    static const char *const good[] = {"header", "payload"}, *const three[] = {"a", "b", "c"},
                             *const many[] = {"a", "b", "c", "d", "e"}, *const empty[] = {"", "payload"};
    RUN_UNTIL(&f.loop, send_frames(s, good, 2));
    RUN_UNTIL(&f.loop, f.n == 1);
    assert_true(send_frames(s, three, 3));
    assert_true(send_frames(s, many, 5));
    assert_true(send_frames(s, empty, 2));
    assert_true(send_frames(s, empty, 1));
    assert_true(send_frames(s, good, 1));
    RUN_UNTIL(&f.loop, f.n == 2);
    assert_int_equal(dropped(&f), 4);
    assert_int_equal(f.last_payload.len, 0);
    zmq_close(s);
    /* A name that is too long for us. */
    char name[101];
    memset(name, 'n', 100);
    name[100] = '\0';
    s = foreign_socket(ctx, &f, name);
    RUN_UNTIL(&f.loop, send_frames(s, good, 2));
    RUN_UNTIL(&f.loop, dropped(&f) == 5);
    zmq_close(s);
    zmq_ctx_term(ctx);
    end(&f);
}

/* A frame above the limit ends the connection; the next one is served. */
static void test_oversized(void **state)
{
    (void)state;
    struct fixture f;
    start(&f);
    void *ctx = zmq_ctx_new();
    void *s = foreign_socket(ctx, &f, "big");
    static const char *const good[] = {"header", "payload"};
    size_t size = PR_BUS_MSG_MAX + 1024 * 1024;
    char *block = pr_calloc(1, size);
    RUN_UNTIL(&f.loop, send_frames(s, good, 2));
    RUN_UNTIL(&f.loop, f.n == 1);
    assert_true(zmq_send(s, block, size, ZMQ_DONTWAIT) > 0);
    RUN_UNTIL(&f.loop, send_frames(s, good, 2) && f.n >= 2);
    assert_true(pr_slice_eq_str(pr_buf_slice(&f.last_header), "header"));
    /* The largest allowed one passes. */
    RUN_UNTIL(&f.loop, zmq_send(s, block, PR_BUS_MSG_MAX, ZMQ_DONTWAIT) > 0);
    RUN_UNTIL(&f.loop, f.last_header.len == PR_BUS_MSG_MAX);
    pr_free(block);
    zmq_close(s);
    zmq_ctx_term(ctx);
    end(&f);
}

/* --- binding --- */

static void test_bind(void **state)
{
    (void)state;
    struct fixture f;
    struct stat st;
    struct pr_bus *second = NULL;
    char *text = NULL, endpoint[64];
    start(&f);
    assert_int_equal(stat(f.address + 6, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0660);
    /* A living bus is not pushed aside; the file of a dead one is. */
    assert_int_equal(pr_bus_bind(f.ctx, &f.loop.uv, f.address, on_router_msg, &f, &second, &text), PR_EIO);
    assert_non_null(strstr(text, "in use"));
    pr_free(text);
    text = NULL;
    assert_int_equal(pr_bus_bind(f.ctx, &f.loop.uv, "tcp://127.0.0.1:*", on_router_msg, &f, &second, &text), 0);
    assert_true(pr_bus_endpoint(second, endpoint, sizeof endpoint));
    close_bus(&f, f.router);
    f.router = second;
    (void)snprintf(f.address, sizeof f.address, "%s", endpoint);
    struct dealer d;
    open_dealer(&f, &d, "tcp");
    RUN_UNTIL(&f.loop, send_text(&d, "over tcp") == 0);
    RUN_UNTIL(&f.loop, f.n == 1);
    close_dealer(&f, &d);
    assert_int_equal(pr_bus_bind(f.ctx, &f.loop.uv, "ipc:///nonexistent/dir/bus", on_router_msg, &f, &second, &text),
                     PR_EIO);
    pr_free(text);
    text = NULL;
    assert_int_equal(pr_bus_bind(f.ctx, &f.loop.uv, "nonsense", on_router_msg, &f, &second, &text), PR_EIO);
    pr_free(text);
    char path[64];
    (void)snprintf(path, sizeof path, "%s/bus", f.dir);
    end(&f);
    (void)unlink(path);
    (void)rmdir(f.dir);
}

static void on_msg_closes(void *data, struct pr_bus *bus, struct pr_bus_msg *m)
{
    pr_bus_msg_free(m);
    pr_bus_close(bus, on_closed, data);
    assert_int_equal(pr_bus_send(bus, (struct pr_slice){0}, PR_SLICE_LIT("late"), NULL), PR_ECLOSED);
}

static void test_close_in_callback(void **state)
{
    (void)state;
    struct fixture f;
    struct pr_bus *b = NULL;
    char *text = NULL;
    bool closed = false;
    start(&f);
    f.echo = true;
    assert_int_equal(pr_bus_connect(f.ctx, &f.loop.uv, f.address, PR_SLICE_LIT("c"), on_msg_closes, &closed, &b, &text), 0);
    RUN_UNTIL(&f.loop, pr_bus_send(b, (struct pr_slice){0}, PR_SLICE_LIT("1"), NULL) == 0);
    assert_int_equal(pr_bus_send(b, (struct pr_slice){0}, PR_SLICE_LIT("2"), NULL), 0);
    RUN_UNTIL(&f.loop, closed);
    end(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_send_before_connected),
        cmocka_unit_test(test_burst_then_silence),
        cmocka_unit_test(test_reply_in_callback),
        cmocka_unit_test(test_flood_across_threads),
        cmocka_unit_test(test_peer_returns_with_its_name),
        cmocka_unit_test(test_router_restarts),
        cmocka_unit_test(test_malformed),
        cmocka_unit_test(test_oversized),
        cmocka_unit_test(test_bind),
        cmocka_unit_test(test_close_in_callback),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
