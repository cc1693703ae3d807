/* A loop thread is drained and stopped with a client in every state of the dialogue: the client hears what is due, nothing
 * is left behind, and the thread ends. */
#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/conf/load.h"
#include "common/net/clock.h"
#include "ingress/shell/worker.h"
#include "tests/unit/ingress/fake_node.h"

enum { DEADLINE_MS = 20000, DRAIN_MS = 500 };

struct bench {
    char dir[64], address[96], bulk[96];
    uint16_t port;
    uv_loop_t loop;
    uv_timer_t tick; /* so that a turn of the loop ends */
    struct fake_node *node;
    unsigned node_sockets;
    struct pr_config *config;
    struct policy *policy;
    struct shared shared;
    struct worker *worker;
    atomic_bool drained, failed;
};

#define WAIT(b, cond)                                                  \
    do {                                                               \
        uint64_t end = pr_clock_now().mono.ms + DEADLINE_MS;           \
        while (!(cond)) {                                              \
            if (pr_clock_now().mono.ms > end)                          \
                fail_msg("waited in vain for: %s", #cond);             \
            uv_run(&(b)->loop, UV_RUN_ONCE);                           \
        }                                                              \
    } while (0)

static void on_tick(uv_timer_t *t)
{
    (void)t;
}

static void on_drained(void *data)
{
    atomic_store(&((struct bench *)data)->drained, true);
}

static void on_failed(void *data)
{
    atomic_store(&((struct bench *)data)->failed, true);
}

static void on_node_socket_closed(void *data)
{
    ((struct bench *)data)->node_sockets--;
}

static uint16_t free_port(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof a;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, n), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &n), 0);
    (void)close(fd);
    return ntohs(a.sin_port);
}

static void load_config(struct bench *b)
{
    struct pr_buf text = {NULL, 0, 0};
    struct pr_conf_errors *errors = NULL;
    pr_buf_printf(&text,
                  "hostname: mx.test.example\nruntime_dir: %s\nbus: {address: \"%s\", bulk_address: \"%s\"}\n"
                  "ingress:\n  trusted_networks: [127.0.0.1/32]\n  listeners:\n    - {name: main, address: \"127.0.0.1:%u\"}\n",
                  b->dir, b->address, b->bulk, b->port);
    assert_int_equal(pr_config_parse(pr_buf_slice(&text), "test", &b->config, &errors), 0);
    pr_conf_errors_free(errors);
    pr_buf_fini(&text);
}

static int setup(void **state)
{
    struct bench *b = pr_new(struct bench);
    (void)snprintf(b->dir, sizeof b->dir, "/tmp/pr-stop-XXXXXX");
    assert_non_null(mkdtemp(b->dir));
    (void)snprintf(b->address, sizeof b->address, "ipc://%s/c", b->dir);
    (void)snprintf(b->bulk, sizeof b->bulk, "ipc://%s/b", b->dir);
    b->port = free_port();
    uv_loop_init(&b->loop);
    uv_timer_init(&b->loop, &b->tick);
    uv_timer_start(&b->tick, on_tick, 10, 10);
    load_config(b);
    b->shared = (struct shared){
        .table = im_table_new(b->config),
        .bus = pr_bus_ctx_new(1),
        .limits = limits_new(1),
        .node_id = PR_SLICE_LIT("test.example/ingress"),
        .boot_id = 7,
        .on_failed = on_failed,
        .on_drained = on_drained,
        .data = b,
    };
    b->shared.metrics = im_metrics(b->shared.table);
    budget_set_limit(&b->shared.budget, 64u << 20);
    assert_int_equal(policy_new(b->config, NULL, b->shared.table, NULL, &b->policy), 0);
    b->node = pr_new(struct fake_node);
    b->node->keep = true;
    assert_int_equal(fake_start(b->node, b->shared.bus, &b->loop, b->address, b->bulk), 0);
    b->node_sockets = 2;
    assert_int_equal(worker_start(&b->shared, b->policy, 0, &b->worker), 0);
    WAIT(b, atomic_load(&worker_state(b->worker)->listening));
    *state = b;
    return 0;
}

static int teardown(void **state)
{
    struct bench *b = *state;
    assert_false(atomic_load(&b->failed));
    pr_bus_close(b->node->control, on_node_socket_closed, b);
    pr_bus_close(b->node->bulk, on_node_socket_closed, b);
    WAIT(b, b->node_sockets == 0);
    uv_close((uv_handle_t *)&b->tick, NULL);
    uv_run(&b->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&b->loop), 0);
    assert_int_equal(budget_used(&b->shared.budget), 0);
    pr_bus_ctx_free(b->shared.bus);
    policy_unref(b->policy);
    pr_config_unref(b->config);
    limits_free(b->shared.limits);
    im_table_free(b->shared.table);
    fake_forget(b->node);
    pr_free(b->node);
    (void)rmdir(b->dir);
    pr_free(b);
    return 0;
}

/* ---- a client that turns the node's loop while it waits ---- */

/* -1: refused. */
static int try_dial(uint16_t port)
{
    struct sockaddr_in to = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(fd, (struct sockaddr *)&to, sizeof to) == 0)
        return fd;
    (void)close(fd);
    return -1;
}

static int dial(struct bench *b)
{
    int fd = try_dial(b->port);
    assert_true(fd >= 0);
    return fd;
}

/* Reads until the text has come; NULL: until the end. */
static void expect(struct bench *b, int fd, const char *text)
{
    char got[4096] = "";
    size_t n = 0;
    ssize_t r = -1;
    WAIT(b, (r = recv(fd, got + n, sizeof got - 1 - n, MSG_DONTWAIT)) == 0 || (r > 0 && (n += (size_t)r) > 0 && text != NULL &&
                                                                    strstr(got, text) != NULL));
    if (text != NULL && strstr(got, text) == NULL)
        fail_msg("expected %s, got %s", text, got);
}

static void say(int fd, const char *text)
{
    assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

/* A client that has gone so far: 0 greeted, 1 EHLO, 2 MAIL, 3 RCPT, 4 DATA, 5 half a message, 6 all of it. */
static int client_in_state(struct bench *b, int steps)
{
    static const struct {
        const char *say, *expect;
    } dialogue[] = {
        {"EHLO c.example\r\n", "250 HELP"},   {"MAIL FROM:<a@b.example>\r\n", "250"}, {"RCPT TO:<u@d.example>\r\n", "250"},
        {"DATA\r\n", "354"},                  {"Subject: x\r\n\r\nhalf", NULL},       {" whole\r\n.\r\n", NULL},
    };
    int fd = dial(b);
    expect(b, fd, "220");
    for (int i = 0; i < steps; i++) {
        say(fd, dialogue[i].say);
        if (dialogue[i].expect != NULL)
            expect(b, fd, dialogue[i].expect);
    }
    return fd;
}

static void end_worker(struct bench *b)
{
    worker_stop(b->worker);
    worker_join(b->worker);
}

static void drain_in_every_state(void **state)
{
    struct bench *b = *state;
    int fds[7];
    b->node->hold = true;
    for (int i = 0; i < 7; i++)
        fds[i] = client_in_state(b, i);
    WAIT(b, b->node->n_messages == 1);
    worker_drain(b->worker, pr_clock_now().mono.ms + DRAIN_MS);
    for (int i = 0; i < 4; i++) {
        expect(b, fds[i], "421 4.3.2");
        (void)close(fds[i]);
    }
    /* A message under way may be ended; one that hangs is cut at the deadline. */
    say(fds[4], "quick\r\n.\r\n");
    WAIT(b, b->node->n_messages == 2);
    WAIT(b, atomic_load(&b->drained));
    for (int i = 4; i < 7; i++) {
        expect(b, fds[i], NULL);
        (void)close(fds[i]);
    }
    end_worker(b);
}

static void drain_finishes_what_is_under_way(void **state)
{
    struct bench *b = *state;
    int fd = client_in_state(b, 5);
    worker_drain(b->worker, pr_clock_now().mono.ms + DEADLINE_MS);
    say(fd, " whole\r\n.\r\n");
    expect(b, fd, "421 4.3.2");
    assert_int_equal(b->node->n_messages, 1);
    (void)close(fd);
    WAIT(b, atomic_load(&b->drained));
    end_worker(b);
}

static void stop_without_drain(void **state)
{
    struct bench *b = *state;
    int fds[7];
    b->node->hold = true;
    for (int i = 0; i < 7; i++)
        fds[i] = client_in_state(b, i);
    WAIT(b, b->node->n_messages == 1);
    end_worker(b);
    for (int i = 0; i < 7; i++)
        (void)close(fds[i]);
}

/* A listener that a reload removes is closed, the others and open sessions live on. */
static void reload_moves_the_door(void **state)
{
    struct bench *b = *state;
    struct policy *moved;
    uint16_t old = b->port;
    int fd = client_in_state(b, 3), fresh = -1, gone = 0;
    b->port = free_port();
    pr_config_unref(b->config);
    load_config(b);
    assert_int_equal(policy_new(b->config, b->policy, b->shared.table, NULL, &moved), 0);
    policy_unref(b->policy);
    b->policy = moved;
    worker_set_policy(b->worker, moved);
    WAIT(b, (fresh = try_dial(b->port)) >= 0);
    expect(b, fresh, "220");
    WAIT(b, (gone = try_dial(old)) < 0 || close(gone) != 0);
    say(fd, "DATA\r\n");
    expect(b, fd, "354");
    say(fd, "x\r\n.\r\n");
    expect(b, fd, "250 2.0.0 Ok: queued as ");
    (void)close(fd);
    (void)close(fresh);
    end_worker(b);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(drain_in_every_state),
        T(drain_finishes_what_is_under_way),
        T(stop_without_drain),
        T(reload_moves_the_door),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
