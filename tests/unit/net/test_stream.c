/* Plain streams over real loopback sockets: order, pausing, back-pressure, and every way to end. */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "peer.h"

static void test_echo(void **state)
{
    (void)state;
    struct pair t;
    pair_open(&t);
    t.server.echo = true;
    WRITE(&t.client, "hello ");
    WRITE(&t.client, "world");
    RUN_UNTIL(&t.loop, t.client.got.len == 11);
    assert_true(GOT(&t.client, "hello world"));
    /* Both writes left together at the end of the turn. */
    assert_int_equal(t.server.n_data, 1);
    peer_close(&t.client, 1000);
    RUN_UNTIL(&t.loop, t.server.n_eof == 1);
    peer_close(&t.server, 1000);
    RUN_UNTIL(&t.loop, t.client.n_close == 1 && t.server.n_close == 1);
    assert_int_equal(t.client.close_reason, 0);
    assert_int_equal(t.server.close_reason, 0);
    assert_int_equal(t.client.n_eof, 0);
    pair_close(&t);
}

static void on_data_three(struct peer *p, struct pr_slice data)
{
    (void)data;
    WRITE(p, "250-a\r\n");
    WRITE(p, "250-b\r\n");
    pr_stream_flush(p->s);
    WRITE(p, "250 c\r\n");
}

static void test_writes_in_callback_leave_at_once(void **state)
{
    (void)state;
    struct pair t;
    pair_open(&t);
    t.server.on_data = on_data_three;
    WRITE(&t.client, "EHLO\r\n");
    pr_stream_flush(t.client.s);
    assert_int_equal(pr_stream_queued(t.client.s), 0);
    RUN_UNTIL(&t.loop, t.client.got.len > 0);
    assert_true(GOT(&t.client, "250-a\r\n250-b\r\n250 c\r\n"));
    assert_int_equal(t.client.n_data, 1);
    pair_close(&t);
}

static void test_addresses(void **state)
{
    (void)state;
    struct pair t;
    struct in6_addr a, b;
    uint16_t port_a, port_b;
    char text[INET6_ADDRSTRLEN];
    pair_open(&t);
    assert_true(pr_stream_peer(t.server.s, &a, &port_a));
    assert_true(pr_stream_local(t.client.s, &b, &port_b));
    assert_memory_equal(&a, &b, sizeof a);
    assert_int_equal(port_a, port_b);
    pr_addr_text(&a, text);
    assert_string_equal(text, "127.0.0.1");
    assert_true(pr_stream_local(t.server.s, &a, &port_a));
    assert_int_equal(port_a, pr_listener_port(t.listener));
    assert_int_equal(inet_pton(AF_INET6, "2001:db8:1:2:3:4:5:6", &a), 1);
    pr_addr_text(&a, text);
    assert_string_equal(text, "IPv6:2001:db8:1:2:3:4:5:6");
    pr_addr_plain(&a, text);
    assert_string_equal(text, "2001:db8:1:2:3:4:5:6");
    pair_close(&t);
}

enum { BIG = 12 * 1024 * 1024, LIMIT = 128 * 1024, BLOCK = 32 * 1024 };

/* Byte at a position of the pattern; no short period. */
static char pattern(size_t i)
{
    return (char)((i * 2654435761u) >> 13);
}

static void produce(struct peer *p, size_t *at)
{
    char block[BLOCK];
    while (*at < BIG && pr_stream_queued(p->s) < LIMIT) {
        for (size_t i = 0; i < BLOCK; i++)
            block[i] = pattern(*at + i);
        pr_stream_write(p->s, pr_slice(block, BLOCK));
        *at += BLOCK;
        assert_true(pr_stream_queued(p->s) <= LIMIT + BLOCK);
    }
}

static void test_backpressure(void **state)
{
    (void)state;
    struct pair t;
    pair_open(&t);
    pr_stream_pause(t.server.s);
    size_t at = 0;
    produce(&t.client, &at);
    /* The kernel's buffers fill, then ours; nothing is read meanwhile. */
    unsigned drained = t.client.n_drain;
    for (unsigned turns = 0; turns < 200; turns++) {
        (void)uv_run(&t.loop.uv, UV_RUN_NOWAIT);
        if (t.client.n_drain != drained) {
            drained = t.client.n_drain;
            produce(&t.client, &at);
        }
    }
    assert_true(at < BIG);
    assert_int_equal(t.server.n_data, 0);
    assert_true(pr_stream_queued(t.client.s) > 0);
    pr_stream_resume(t.server.s);
    while (t.server.got.len < BIG) {
        unsigned before = t.client.n_drain;
        RUN_UNTIL(&t.loop, t.client.n_drain != before || t.server.got.len == BIG);
        produce(&t.client, &at);
    }
    for (size_t i = 0; i < BIG; i++)
        if (t.server.got.ptr[i] != pattern(i))
            fail_msg("wrong byte at %zu", i);
    assert_true(t.client.n_drain > 3);
    assert_int_equal(pr_stream_queued(t.client.s), 0);
    pair_close(&t);
}

static void test_pause_holds_back(void **state)
{
    (void)state;
    struct pair t;
    pair_open(&t);
    t.server.pause_after_data = true;
    WRITE(&t.client, "one");
    RUN_UNTIL(&t.loop, t.server.n_data == 1);
    WRITE(&t.client, "two");
    pr_stream_flush(t.client.s);
    for (unsigned i = 0; i < 20; i++)
        (void)uv_run(&t.loop.uv, UV_RUN_NOWAIT);
    assert_int_equal(t.server.n_data, 1);
    pr_stream_resume(t.server.s);
    RUN_UNTIL(&t.loop, t.server.n_data == 2);
    assert_true(GOT(&t.server, "onetwo"));
    pair_close(&t);
}

static void test_half_close(void **state)
{
    (void)state;
    struct pair t;
    char buf[16] = "";
    pair_listen_tcp(&t);
    int fd = raw_connect(pr_listener_port(t.listener));
    RUN_UNTIL(&t.loop, t.server.s != NULL);
    assert_int_equal(write(fd, "bye", 3), 3);
    assert_int_equal(shutdown(fd, SHUT_WR), 0);
    RUN_UNTIL(&t.loop, t.server.n_eof == 1);
    assert_true(GOT(&t.server, "bye"));
    WRITE(&t.server, "still here");
    peer_close(&t.server, 1000);
    RUN_UNTIL(&t.loop, t.server.n_close == 1);
    assert_int_equal(t.server.close_reason, 0);
    assert_int_equal(read(fd, buf, sizeof buf), 10);
    assert_string_equal(buf, "still here");
    assert_int_equal(read(fd, buf, sizeof buf), 0);
    close(fd);
    pair_close(&t);
}

static void test_connect_refused(void **state)
{
    (void)state;
    struct pair t;
    pair_listen_tcp(&t);
    uint16_t port = pr_listener_port(t.listener);
    pr_listener_close(t.listener, NULL, NULL);
    (void)uv_run(&t.loop.uv, UV_RUN_NOWAIT);
    struct sockaddr_in to = loopback(port);
    t.client.s = pr_stream_connect(&t.loop.uv, (const struct sockaddr *)&to, NULL, &peer_ops, &t.client);
    RUN_UNTIL(&t.loop, t.client.n_close == 1);
    assert_int_equal(t.client.n_connect, 1);
    assert_int_equal(t.client.connect_status, PR_EUNAVAIL);
    assert_int_equal(t.client.close_reason, PR_EUNAVAIL);
    assert_string_equal(t.client.error_text, "connection refused");
    loop_end(&t.loop);
}

/* Errors that the system reports at once still arrive from the loop. */
static void test_connect_fails_at_once(void **state)
{
    (void)state;
    struct pair t;
    char path[300];
    pair_listen_tcp(&t);
    struct sockaddr_in to = loopback(pr_listener_port(t.listener));
    struct sockaddr_in from = {.sin_family = AF_INET, .sin_addr = {htonl(0xc0000201)}}; /* 192.0.2.1: not ours */
    t.client.in_call = true;
    t.client.s = pr_stream_connect(&t.loop.uv, (const struct sockaddr *)&to, (const struct sockaddr *)&from, &peer_ops,
                                   &t.client);
    t.client.in_call = false;
    RUN_UNTIL(&t.loop, t.client.n_close == 1);
    assert_int_equal(t.client.connect_status, PR_EIO);
    assert_int_equal(t.client.close_reason, PR_EIO);
    memset(path, 'x', sizeof path - 1);
    path[sizeof path - 1] = '\0';
    t.server.in_call = true;
    t.server.s = pr_stream_connect_unix(&t.loop.uv, path, &peer_ops, &t.server);
    t.server.in_call = false;
    RUN_UNTIL(&t.loop, t.server.n_close == 1);
    assert_int_equal(t.server.connect_status, PR_EIO);
    pair_close(&t);
}

static void test_source_address(void **state)
{
    (void)state;
    struct pair t;
    struct in6_addr a;
    uint16_t port;
    char text[INET6_ADDRSTRLEN];
    pair_listen_tcp(&t);
    struct sockaddr_in to = loopback(pr_listener_port(t.listener));
    struct sockaddr_in from = {.sin_family = AF_INET, .sin_addr = {htonl(0x7f000009)}};
    t.client.s = pr_stream_connect(&t.loop.uv, (const struct sockaddr *)&to, (const struct sockaddr *)&from, &peer_ops,
                                   &t.client);
    RUN_UNTIL(&t.loop, t.server.s != NULL);
    assert_true(pr_stream_peer(t.server.s, &a, &port));
    pr_addr_text(&a, text);
    assert_string_equal(text, "127.0.0.9");
    pair_close(&t);
}

static void test_close_while_connecting(void **state)
{
    (void)state;
    struct pair t;
    pair_listen_tcp(&t);
    pair_connect_only(&t);
    peer_close(&t.client, 1000);
    RUN_UNTIL(&t.loop, t.client.n_close == 1);
    assert_int_equal(t.client.n_connect, 0);
    assert_int_equal(t.client.close_reason, 0);
    pair_close(&t);
}

static void close_inside(struct peer *p, struct pr_slice data)
{
    (void)data;
    WRITE(p, "221 bye\r\n");
    p->in_call = true;
    pr_stream_close(p->s, 1000);
    pr_stream_close(p->s, 1000);
    p->in_call = false;
}

static void test_close_in_callback_sends_first(void **state)
{
    (void)state;
    struct pair t;
    pair_open(&t);
    t.server.on_data = close_inside;
    WRITE(&t.client, "QUIT\r\n");
    RUN_UNTIL(&t.loop, t.client.n_eof == 1);
    assert_true(GOT(&t.client, "221 bye\r\n"));
    WRITE(&t.client, "ignored");
    peer_close(&t.client, 0);
    RUN_UNTIL(&t.loop, t.server.n_close == 1 && t.client.n_close == 1);
    assert_int_equal(t.server.n_data, 1);
    pair_close(&t);
}

static void test_linger_ends(void **state)
{
    (void)state;
    struct pair t;
    pair_listen_tcp(&t);
    int fd = raw_connect(pr_listener_port(t.listener));
    RUN_UNTIL(&t.loop, t.server.s != NULL);
    size_t at = 0;
    produce(&t.server, &at);
    for (unsigned i = 0; pr_stream_queued(t.server.s) == 0 || i < 200; i++) {
        (void)uv_run(&t.loop.uv, UV_RUN_NOWAIT);
        if (pr_stream_queued(t.server.s) == 0)
            produce(&t.server, &at);
    }
    peer_close(&t.server, 30);
    RUN_UNTIL(&t.loop, t.server.n_close == 1);
    assert_int_equal(t.server.close_reason, PR_ETIMEOUT);
    close(fd);
    pair_close(&t);
}

/* Everything sent, but the peer never closes: that is no error. */
static void test_linger_ends_after_sending(void **state)
{
    (void)state;
    struct pair t;
    char buf[8];
    pair_listen_tcp(&t);
    int fd = raw_connect(pr_listener_port(t.listener));
    RUN_UNTIL(&t.loop, t.server.s != NULL);
    WRITE(&t.server, "421\r\n");
    peer_close(&t.server, 30);
    RUN_UNTIL(&t.loop, t.server.n_close == 1);
    assert_int_equal(t.server.close_reason, 0);
    assert_int_equal(read(fd, buf, sizeof buf), 5);
    close(fd);
    pair_close(&t);
}

/* A client that is still sending when we refuse must be able to read the refusal. */
static void test_last_reply_survives_unread_input(void **state)
{
    (void)state;
    struct pair t;
    static const char block[65536];
    char buf[64] = "";
    pair_listen_tcp(&t);
    int fd = raw_connect(pr_listener_port(t.listener));
    RUN_UNTIL(&t.loop, t.server.s != NULL);
    pr_stream_pause(t.server.s);
    assert_int_equal(write(fd, block, sizeof block), sizeof block);
    WRITE(&t.server, "552 5.3.4 too big\r\n");
    peer_close(&t.server, 5000);
    for (unsigned i = 0; i < 10; i++) {
        (void)uv_run(&t.loop.uv, UV_RUN_NOWAIT);
        assert_int_equal(write(fd, block, sizeof block), sizeof block);
    }
    assert_int_equal(t.server.n_close, 0);
    assert_int_equal(read(fd, buf, sizeof buf), 19);
    assert_int_equal(read(fd, buf, sizeof buf), 0);
    close(fd);
    RUN_UNTIL(&t.loop, t.server.n_close == 1);
    assert_int_equal(t.server.n_data, 0);
    pair_close(&t);
}

/* A peer that goes on sending behind our last reply is not read for ever: it comes to a stop. */
static void test_discarding_has_an_end(void **state)
{
    (void)state;
    struct pair t;
    static const char block[65536];
    pair_listen_tcp(&t);
    int fd = raw_connect(pr_listener_port(t.listener));
    RUN_UNTIL(&t.loop, t.server.s != NULL);
    assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
    WRITE(&t.server, "421\r\n");
    peer_close(&t.server, WAIT_MS);
    uint64_t end = pr_clock_now().mono.ms + WAIT_MS;
    for (unsigned stuck = 0; stuck < 100;) {
        (void)uv_run(&t.loop.uv, UV_RUN_NOWAIT);
        stuck = write(fd, block, sizeof block) > 0 ? 0 : stuck + 1;
        assert_true(pr_clock_now().mono.ms < end);
    }
    assert_int_equal(t.server.n_close, 0);
    peer_close(&t.server, 0);
    RUN_UNTIL(&t.loop, t.server.n_close == 1);
    close(fd);
    pair_close(&t);
}

/* A server that answers and resets: what it said is still read. */
static void test_reply_before_reset_is_read(void **state)
{
    (void)state;
    struct pair t;
    pair_listen_tcp(&t);
    int fd = raw_connect(pr_listener_port(t.listener));
    RUN_UNTIL(&t.loop, t.server.s != NULL);
    pr_stream_pause(t.server.s);
    assert_int_equal(write(fd, "421 go away\r\n", 13), 13);
    close(fd);
    pr_stream_resume(t.server.s);
    /* The first write brings the reset, the second one fails; both before the loop has read anything. */
    struct in6_addr a;
    uint16_t port;
    for (unsigned i = 0; i < 1000 && pr_stream_peer(t.server.s, &a, &port); i++) {
        WRITE(&t.server, "MAIL FROM:<>\r\n");
        pr_stream_flush(t.server.s);
    }
    WRITE(&t.server, "RSET\r\n");
    pr_stream_flush(t.server.s);
    assert_int_equal(t.server.n_close, 0);
    RUN_UNTIL(&t.loop, t.server.n_close == 1);
    assert_true(GOT(&t.server, "421 go away\r\n"));
    assert_int_equal(t.server.close_reason, PR_EIO);
    pair_close(&t);
}

static void test_peer_reset(void **state)
{
    (void)state;
    struct pair t;
    pair_listen_tcp(&t);
    int fd = raw_connect(pr_listener_port(t.listener));
    RUN_UNTIL(&t.loop, t.server.s != NULL);
    struct linger off = {.l_onoff = 1, .l_linger = 0};
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &off, sizeof off), 0);
    close(fd);
    RUN_UNTIL(&t.loop, t.server.n_close == 1);
    assert_int_equal(t.server.close_reason, PR_EIO);
    assert_int_equal(t.server.n_eof, 0);
    pair_close(&t);
}

static void test_unix(void **state)
{
    (void)state;
    struct pair t;
    struct stat st;
    struct in6_addr a;
    uint16_t port;
    char dir[] = "/tmp/pr-stream-XXXXXX", path[64], *text = NULL;
    assert_non_null(mkdtemp(dir));
    (void)snprintf(path, sizeof path, "%s/s", dir);
    /* A socket that a dead process left behind. */
    struct sockaddr_un stale = {.sun_family = AF_UNIX};
    memcpy(stale.sun_path, path, strlen(path));
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&stale, sizeof stale), 0);
    close(fd);

    struct pr_hostport at = {.unix_path = path};
    pair_listen(&t, &at);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0660);
    t.client.s = pr_stream_connect_unix(&t.loop.uv, path, &peer_ops, &t.client);
    RUN_UNTIL(&t.loop, t.server.s != NULL && t.client.n_connect == 1);
    t.server.echo = true;
    WRITE(&t.client, "over unix");
    RUN_UNTIL(&t.loop, t.client.got.len == 9);
    assert_false(pr_stream_peer(t.server.s, &a, &port));

    /* A living one is left alone. */
    struct pr_listener *second = NULL;
    assert_int_equal(pr_listener_open(&t.loop.uv, &at, pair_on_accept, &t, &second, &text), PR_EIO);
    assert_non_null(strstr(text, "in use"));
    pr_free(text);
    pair_close(&t);
    assert_int_equal(stat(path, &st), -1);

    FILE *f = fopen(path, "w");
    assert_non_null(f);
    (void)fclose(f);
    struct test_loop l;
    loop_start(&l);
    assert_int_equal(pr_listener_open(&l.uv, &at, pair_on_accept, &t, &second, &text), PR_EIO);
    assert_non_null(strstr(text, "not a socket"));
    pr_free(text);
    loop_end(&l);
    (void)unlink(path);
    (void)rmdir(dir);
}

static void test_listeners_share_a_port(void **state)
{
    (void)state;
    struct pair t;
    char *text = NULL, host[] = "127.0.0.1", nowhere[] = "192.0.2.1";
    struct pr_listener *second = NULL;
    pair_open(&t);
    struct pr_hostport at = {.host = host, .port = pr_listener_port(t.listener)};
    assert_int_equal(pr_listener_open(&t.loop.uv, &at, pair_on_accept, &t, &second, &text), 0);
    assert_int_equal(pr_listener_port(second), at.port);
    pr_listener_close(second, NULL, NULL);
    at.host = nowhere;
    assert_int_equal(pr_listener_open(&t.loop.uv, &at, pair_on_accept, &t, &second, &text), PR_EIO);
    assert_non_null(strstr(text, "192.0.2.1"));
    pr_free(text);
    pair_close(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_echo),
        cmocka_unit_test(test_writes_in_callback_leave_at_once),
        cmocka_unit_test(test_addresses),
        cmocka_unit_test(test_backpressure),
        cmocka_unit_test(test_pause_holds_back),
        cmocka_unit_test(test_half_close),
        cmocka_unit_test(test_connect_refused),
        cmocka_unit_test(test_connect_fails_at_once),
        cmocka_unit_test(test_source_address),
        cmocka_unit_test(test_close_while_connecting),
        cmocka_unit_test(test_close_in_callback_sends_first),
        cmocka_unit_test(test_linger_ends),
        cmocka_unit_test(test_linger_ends_after_sending),
        cmocka_unit_test(test_last_reply_survives_unread_input),
        cmocka_unit_test(test_discarding_has_an_end),
        cmocka_unit_test(test_reply_before_reset_is_read),
        cmocka_unit_test(test_peer_reset),
        cmocka_unit_test(test_unix),
        cmocka_unit_test(test_listeners_share_a_port),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
