/* The resolver against a DNS server in the same loop: cache, merging, both families, failures, cancel and close. */
#include <arpa/inet.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/net/resolver.h"
#include "dns_build.h"
#include "loop.h"

enum { ASKED_MAX = 512 };

struct fixture {
    struct test_loop loop;
    uv_udp_t udp;
    struct pr_resolver *r;
    char server[32];
    unsigned asked;                 /* questions the server saw */
    char names[ASKED_MAX][64];
    bool silent;
    uint16_t flags; /* instead of a usual answer */
    bool truncate;
    uv_tcp_t tcp;
    unsigned asked_by_tcp;
    unsigned queries_seen[PR_DNS_STATUS_NR];
};

static void on_alloc(uv_handle_t *h, size_t n, uv_buf_t *buf)
{
    (void)h;
    *buf = uv_buf_init(pr_malloc(n), (unsigned)n);
}

/* Reads the question; lower case, with dots. */
static uint16_t read_question(struct pr_slice packet, char name[64])
{
    size_t at = 12, n = 0;
    while (at < packet.len && packet.ptr[at] != 0 && n < 60) {
        size_t len = (unsigned char)packet.ptr[at++];
        if (n > 0)
            name[n++] = '.';
        for (size_t i = 0; i < len; i++)
            name[n++] = pr_lower(packet.ptr[at++]);
    }
    name[n] = '\0';
    return (uint16_t)((unsigned char)packet.ptr[at + 1] << 8 | (unsigned char)packet.ptr[at + 2]);
}

static void answer(struct fixture *f, struct pr_slice question, bool tcp, struct pr_buf *b)
{
    char name[64];
    uint16_t type = read_question(question, name);
    uint16_t id = (uint16_t)((unsigned char)question.ptr[0] << 8 | (unsigned char)question.ptr[1]);
    if (f->asked < ASKED_MAX)
        memcpy(f->names[f->asked], name, sizeof name);
    f->asked++;
    if (f->flags != 0 || (f->truncate && !tcp)) {
        dns_begin(b, id, f->flags != 0 ? f->flags : 0x8380, name, type);
        return;
    }
    if (strcmp(name, "no.example") == 0 || strcmp(name, "only4.nx.example") == 0) {
        dns_begin(b, id, 0x8183, name, type);
        dns_soa(b, "example", 900, 300);
        return;
    }
    dns_begin(b, id, 0x8180, name, type);
    if (strcmp(name, "plain.example") == 0 && type == T_MX) {
        dns_soa(b, "example", 900, 300);
    } else if (strcmp(name, "null.example") == 0 && type == T_MX) {
        dns_mx(b, name, 300, 0, "");
    } else if (strcmp(name, "brief.example") == 0) {
        dns_a(b, name, 0, 0x7f000001);
    } else if (strcmp(name, "only4.example") == 0 && type == T_AAAA) {
        dns_soa(b, "example", 900, 300);
    } else if (strcmp(name, "many.example") == 0) {
        for (unsigned i = 0; i < 60; i++)
            if (type == T_A)
                dns_a(b, name, 300, 0x0a000000 + i);
            else
                dns_aaaa(b, name, 300, (uint8_t)i);
    } else if (type == T_MX) {
        dns_mx(b, name, 300, 10, "mx1.example");
        dns_mx(b, name, 200, 20, "MX2.example");
    } else if (type == T_A) {
        dns_a(b, name, 300, 0x7f000001);
    } else {
        dns_aaaa(b, name, 300, 1);
    }
}

static void on_udp(uv_udp_t *u, ssize_t n, const uv_buf_t *buf, const struct sockaddr *from, unsigned flags)
{
    (void)flags;
    struct fixture *f = u->data;
    if (n > 12) {
        struct pr_buf b = {0};
        answer(f, pr_slice(buf->base, (size_t)n), false, &b);
        if (b.len > 1232) {
            b.ptr[2] |= 2; /* truncated */
            b.len = 1232;
        }
        uv_buf_t out = uv_buf_init(b.ptr, (unsigned)b.len);
        if (!f->silent)
            assert_true(uv_udp_try_send(u, &out, 1, from) > 0);
        pr_buf_fini(&b);
    }
    pr_free(buf->base);
}

static void on_free_closed(uv_handle_t *h)
{
    pr_free(h);
}

static void answer_by_tcp(struct fixture *f, uv_stream_t *s, struct pr_slice question)
{
    struct pr_buf b = {0}, framed = {0};
    f->asked_by_tcp++;
    answer(f, question, true, &b);
    pr_buf_be16(&framed, (uint16_t)b.len);
    pr_buf_add(&framed, pr_buf_slice(&b));
    uv_buf_t out = uv_buf_init(framed.ptr, (unsigned)framed.len);
    assert_int_equal(uv_try_write(s, &out, 1), framed.len);
    pr_buf_fini(&b);
    pr_buf_fini(&framed);
}

static void on_tcp_read(uv_stream_t *s, ssize_t n, const uv_buf_t *buf)
{
    struct pr_slice rest = pr_slice(buf->base, n > 0 ? (size_t)n : 0), question;
    uint16_t len;
    while (rest.len > 0) {
        assert_int_equal(pr_get_be16(&rest, &len), 0);
        assert_int_equal(pr_get_bytes(&rest, len, &question), 0);
        answer_by_tcp(s->data, s, question);
    }
    if (n < 0)
        uv_close((uv_handle_t *)s, on_free_closed);
    pr_free(buf->base);
}

static void on_tcp(uv_stream_t *server, int status)
{
    assert_int_equal(status, 0);
    uv_tcp_t *c = pr_new(uv_tcp_t);
    uv_tcp_init(server->loop, c);
    c->data = server->data;
    assert_int_equal(uv_accept(server, (uv_stream_t *)c), 0);
    uv_read_start((uv_stream_t *)c, on_alloc, on_tcp_read);
}

static int bound(int type, struct sockaddr_in *a)
{
    socklen_t n = sizeof *a;
    int fd = socket(AF_INET, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_true(fd >= 0);
    if (bind(fd, (struct sockaddr *)a, n) == 0 && getsockname(fd, (struct sockaddr *)a, &n) == 0)
        return fd;
    close(fd);
    return -1;
}

/* One port that is free for both UDP and TCP. */
static void start_server(struct fixture *f)
{
    struct sockaddr_in a;
    int udp, tcp = -1;
    for (unsigned tries = 0; tcp < 0; tries++) {
        assert_true(tries < 1000);
        a = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
        udp = bound(SOCK_DGRAM, &a);
        assert_true(udp >= 0);
        tcp = bound(SOCK_STREAM, &a);
        if (tcp < 0)
            close(udp);
    }
    (void)snprintf(f->server, sizeof f->server, "127.0.0.1:%u", ntohs(a.sin_port));
    uv_udp_init(&f->loop.uv, &f->udp);
    uv_tcp_init(&f->loop.uv, &f->tcp);
    f->udp.data = f->tcp.data = f;
    assert_int_equal(uv_udp_open(&f->udp, udp), 0);
    assert_int_equal(uv_tcp_open(&f->tcp, tcp), 0);
    assert_int_equal(uv_listen((uv_stream_t *)&f->tcp, 8, on_tcp), 0);
    assert_int_equal(uv_udp_recv_start(&f->udp, on_alloc, on_udp), 0);
}

static void on_query(void *data, const char *type, enum pr_dns_status status, uint64_t duration_us)
{
    struct fixture *f = data;
    assert_true(strcmp(type, "mx") == 0 || strcmp(type, "a") == 0 || strcmp(type, "aaaa") == 0);
    assert_true(duration_us < (uint64_t)WAIT_MS * 1000);
    f->queries_seen[status]++;
}

static void start(struct fixture *f, struct pr_resolver_options o)
{
    char *text = NULL;
    *f = (struct fixture){0};
    loop_start(&f->loop);
    start_server(f);
    const char *servers[] = {f->server};
    o.servers = servers;
    o.n_servers = 1;
    o.on_query = on_query;
    o.on_query_data = f;
    if (pr_resolver_new(&f->loop.uv, &o, &f->r, &text) != 0)
        fail_msg("%s", text);
}

static void on_closed(void *data)
{
    *(bool *)data = true;
}

static void end(struct fixture *f)
{
    bool closed = false;
    pr_resolver_close(f->r, on_closed, &closed);
    RUN_UNTIL(&f->loop, closed);
    uv_close((uv_handle_t *)&f->udp, NULL);
    uv_close((uv_handle_t *)&f->tcp, NULL);
    loop_end(&f->loop);
}

static const struct pr_resolver_options usual = {
    .ttl_min_ms = 1000, .ttl_max_ms = 3600000, .negative_ttl_max_ms = 60000, .timeout_ms = 2000, .tries = 2};

struct got {
    unsigned n_calls;
    uint64_t id;
    struct pr_dns_answer a;
    char hosts[4][64];
    struct in6_addr addrs[PR_DNS_RECORDS_MAX];
    char error[64];
};

static void on_answer(void *data, uint64_t id, const struct pr_dns_answer *a)
{
    struct got *g = data;
    g->n_calls++;
    g->id = id;
    g->a = *a;
    for (size_t i = 0; a->mx != NULL && i < a->n && i < 4; i++)
        (void)snprintf(g->hosts[i], sizeof g->hosts[i], "%s", a->mx[i].host);
    if (a->addrs != NULL)
        memcpy(g->addrs, a->addrs, a->n * sizeof *a->addrs);
    (void)snprintf(g->error, sizeof g->error, "%s", a->error == NULL ? "" : a->error);
}

static struct got ask_mx(struct fixture *f, const char *name)
{
    struct got g = {0};
    uint64_t id = pr_resolver_mx(f->r, pr_slice_str(name), on_answer, &g);
    assert_int_equal(g.n_calls, 0);
    RUN_UNTIL(&f->loop, g.n_calls > 0);
    assert_int_equal(g.n_calls, 1);
    assert_int_equal(g.id, id);
    return g;
}

static struct got ask_addr(struct fixture *f, const char *name, int want)
{
    struct got g = {0};
    (void)pr_resolver_addr(f->r, pr_slice_str(name), want, on_answer, &g);
    assert_int_equal(g.n_calls, 0);
    RUN_UNTIL(&f->loop, g.n_calls > 0);
    return g;
}

static void test_mx_and_cache(void **state)
{
    (void)state;
    struct fixture f;
    start(&f, usual);
    struct got g = ask_mx(&f, "Example.COM");
    assert_int_equal(g.a.status, PR_DNS_OK);
    assert_int_equal(g.a.n, 2);
    assert_string_equal(g.hosts[1], "mx2.example");
    assert_false(g.a.cached);
    assert_true(g.a.ttl_s >= 195 && g.a.ttl_s <= 200);
    g = ask_mx(&f, "example.com");
    assert_true(g.a.cached);
    assert_string_equal(g.hosts[0], "mx1.example");
    assert_int_equal(f.asked, 1);
    /* Type matters. */
    g = ask_addr(&f, "example.com", AF_INET);
    assert_false(g.a.cached);
    assert_int_equal(f.asked, 2);
    g = ask_mx(&f, "null.example");
    assert_int_equal(g.a.n, 1);
    assert_string_equal(g.hosts[0], "");
    assert_int_equal(f.queries_seen[PR_DNS_OK], 3);
    end(&f);
}

static void test_negative_is_remembered(void **state)
{
    (void)state;
    struct fixture f;
    start(&f, usual);
    struct got g = ask_mx(&f, "no.example");
    assert_int_equal(g.a.status, PR_DNS_NXDOMAIN);
    /* 300 s by the SOA, at most 60 by us. */
    assert_true(g.a.ttl_s >= 55 && g.a.ttl_s <= 60);
    g = ask_mx(&f, "no.example");
    assert_true(g.a.cached);
    g = ask_mx(&f, "plain.example");
    assert_int_equal(g.a.status, PR_DNS_NODATA);
    assert_int_equal(f.asked, 2);
    assert_int_equal(f.queries_seen[PR_DNS_NXDOMAIN], 1);
    assert_int_equal(f.queries_seen[PR_DNS_NODATA], 1);
    end(&f);
}

static void test_addresses(void **state)
{
    (void)state;
    struct fixture f;
    struct in6_addr four, six;
    inet_pton(AF_INET6, "::ffff:127.0.0.1", &four);
    inet_pton(AF_INET6, "2001:db8::1", &six);
    start(&f, usual);
    struct got g = ask_addr(&f, "mx.example", AF_UNSPEC);
    assert_int_equal(g.a.n, 2);
    assert_memory_equal(&g.addrs[0], &six, sizeof six);
    assert_memory_equal(&g.addrs[1], &four, sizeof four);
    g = ask_addr(&f, "mx.example", AF_INET);
    assert_true(g.a.cached);
    assert_int_equal(g.a.n, 1);
    assert_memory_equal(&g.addrs[0], &four, sizeof four);
    g = ask_addr(&f, "only4.example", AF_UNSPEC);
    assert_int_equal(g.a.status, PR_DNS_OK);
    assert_int_equal(g.a.n, 1);
    g = ask_addr(&f, "only4.example", AF_INET6);
    assert_int_equal(g.a.status, PR_DNS_NODATA);
    assert_true(g.a.cached);
    g = ask_addr(&f, "no.example", AF_UNSPEC);
    assert_int_equal(g.a.status, PR_DNS_NXDOMAIN);
    /* Neither family crowds the other out. */
    g = ask_addr(&f, "many.example", AF_UNSPEC);
    assert_int_equal(g.a.n, PR_DNS_RECORDS_MAX);
    assert_false(IN6_IS_ADDR_V4MAPPED(&g.addrs[31]));
    assert_true(IN6_IS_ADDR_V4MAPPED(&g.addrs[32]));
    assert_true(f.asked_by_tcp > 0);
    end(&f);
}

static void test_names_we_never_ask(void **state)
{
    (void)state;
    struct fixture f;
    static const char *const bad[] = {"", "m\xc3\xbc.example", "a..b", "a b.example", "a\\.example", "x.example."};
    start(&f, usual);
    for (size_t i = 0; i < PR_ARRAY_LEN(bad); i++) {
        struct got g = ask_mx(&f, bad[i]);
        assert_int_equal(g.a.status, PR_DNS_NXDOMAIN);
    }
    assert_int_equal(f.asked, 0);
    end(&f);
}

static void test_equal_questions_are_merged(void **state)
{
    (void)state;
    struct fixture f;
    struct got g[50] = {0};
    start(&f, usual);
    for (size_t i = 0; i < 50; i++)
        (void)pr_resolver_mx(f.r, PR_SLICE_LIT("merge.example"), on_answer, &g[i]);
    RUN_UNTIL(&f.loop, g[49].n_calls == 1);
    for (size_t i = 0; i < 50; i++) {
        assert_int_equal(g[i].n_calls, 1);
        assert_int_equal(g[i].a.n, 2);
    }
    assert_int_equal(f.asked, 1);
    end(&f);
}

static void test_failures(void **state)
{
    (void)state;
    struct fixture f;
    struct pr_resolver_options o = usual;
    o.timeout_ms = 50;
    o.tries = 2;
    start(&f, o);
    f.flags = 0x8182;
    struct got g = ask_mx(&f, "servfail.example");
    assert_int_equal(g.a.status, PR_DNS_TEMP);
    assert_string_equal(g.error, "server failed (SERVFAIL)");
    assert_int_equal(f.asked, 1);
    unsigned asked = f.asked;
    /* For a few seconds the failure is the answer. */
    f.flags = 0;
    g = ask_mx(&f, "servfail.example");
    assert_int_equal(g.a.status, PR_DNS_TEMP);
    assert_true(g.a.cached && g.a.ttl_s <= 5);
    assert_int_equal(f.asked, asked);
    f.silent = true;
    g = ask_mx(&f, "silent.example");
    assert_int_equal(g.a.status, PR_DNS_TEMP);
    assert_string_equal(g.error, "no reply from the server");
    assert_int_equal(f.asked, asked + 2); /* tries */
    assert_int_equal(f.queries_seen[PR_DNS_TEMP], 2);
    end(&f);
}

static void test_truncated_goes_to_tcp(void **state)
{
    (void)state;
    struct fixture f;
    start(&f, usual);
    f.truncate = true;
    struct got g = ask_mx(&f, "large.example");
    assert_int_equal(g.a.status, PR_DNS_OK);
    assert_int_equal(g.a.n, 2);
    assert_int_equal(f.asked_by_tcp, 1);
    end(&f);
}

/* A TTL of 0 is raised to the minimum; then it runs out. */
static void test_expiry(void **state)
{
    (void)state;
    struct fixture f;
    struct pr_resolver_options o = usual;
    o.ttl_min_ms = 300;
    start(&f, o);
    (void)ask_addr(&f, "brief.example", AF_INET);
    struct got g = ask_addr(&f, "brief.example", AF_INET);
    assert_true(g.a.cached);
    uint64_t until = pr_clock_now().mono.ms + 300;
    RUN_UNTIL(&f.loop, pr_clock_now().mono.ms > until);
    g = ask_addr(&f, "brief.example", AF_INET);
    assert_false(g.a.cached);
    assert_int_equal(f.asked, 2);
    end(&f);
}

static void test_cache_is_bounded(void **state)
{
    (void)state;
    struct fixture f;
    struct pr_resolver_options o = usual;
    o.cache_entries = 3;
    start(&f, o);
    (void)ask_mx(&f, "a.example");
    (void)ask_mx(&f, "b.example");
    (void)ask_mx(&f, "c.example");
    assert_true(ask_mx(&f, "a.example").a.cached); /* now b is the oldest */
    (void)ask_mx(&f, "d.example");
    assert_true(ask_mx(&f, "a.example").a.cached);
    assert_true(ask_mx(&f, "c.example").a.cached);
    assert_false(ask_mx(&f, "b.example").a.cached);
    end(&f);
}

static void test_cancel(void **state)
{
    (void)state;
    struct fixture f;
    struct got a = {0}, b = {0}, c = {0};
    start(&f, usual);
    uint64_t id = pr_resolver_addr(f.r, PR_SLICE_LIT("x.example"), AF_UNSPEC, on_answer, &a);
    (void)pr_resolver_addr(f.r, PR_SLICE_LIT("x.example"), AF_UNSPEC, on_answer, &b);
    pr_resolver_cancel(f.r, id);
    pr_resolver_cancel(f.r, id);
    pr_resolver_cancel(f.r, 12345);
    RUN_UNTIL(&f.loop, b.n_calls == 1);
    assert_int_equal(a.n_calls, 0);
    /* Also between the answer and its callback. */
    id = pr_resolver_addr(f.r, PR_SLICE_LIT("x.example"), AF_UNSPEC, on_answer, &c);
    pr_resolver_cancel(f.r, id);
    for (unsigned i = 0; i < 10; i++)
        (void)uv_run(&f.loop.uv, UV_RUN_NOWAIT);
    assert_int_equal(c.n_calls, 0);
    end(&f);
}

struct closer {
    struct fixture *f;
    bool called, closed;
};

static void on_answer_closes(void *data, uint64_t id, const struct pr_dns_answer *a)
{
    (void)id;
    struct closer *c = data;
    c->called = true;
    pr_resolver_close(c->f->r, on_closed, &c->closed);
    assert_int_equal(a->n, 2);
}

static void test_close_in_callback_with_questions_in_flight(void **state)
{
    (void)state;
    struct fixture f;
    struct got g[20] = {0};
    char name[32];
    start(&f, usual);
    (void)ask_mx(&f, "known.example");
    f.silent = true;
    struct closer c = {.f = &f};
    (void)pr_resolver_mx(f.r, PR_SLICE_LIT("known.example"), on_answer_closes, &c);
    (void)pr_resolver_mx(f.r, PR_SLICE_LIT("known.example"), on_answer, &g[0]);
    for (size_t i = 1; i < 20; i++) {
        (void)snprintf(name, sizeof name, "n%zu.example", i);
        (void)pr_resolver_addr(f.r, pr_slice_str(name), AF_UNSPEC, on_answer, &g[i]);
    }
    RUN_UNTIL(&f.loop, c.closed);
    assert_true(c.called);
    for (size_t i = 0; i < 20; i++)
        assert_int_equal(g[i].n_calls, 0);
    uv_close((uv_handle_t *)&f.udp, NULL);
    uv_close((uv_handle_t *)&f.tcp, NULL);
    loop_end(&f.loop);
}

static void test_bad_server(void **state)
{
    (void)state;
    struct test_loop l;
    struct pr_resolver *r = NULL;
    char *text = NULL;
    const char *servers[] = {"not an address"};
    struct pr_resolver_options o = usual;
    o.servers = servers;
    o.n_servers = 1;
    loop_start(&l);
    assert_int_equal(pr_resolver_new(&l.uv, &o, &r, &text), PR_EINVAL);
    assert_non_null(text);
    pr_free(text);
    loop_end(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mx_and_cache),
        cmocka_unit_test(test_negative_is_remembered),
        cmocka_unit_test(test_addresses),
        cmocka_unit_test(test_names_we_never_ask),
        cmocka_unit_test(test_equal_questions_are_merged),
        cmocka_unit_test(test_failures),
        cmocka_unit_test(test_truncated_goes_to_tcp),
        cmocka_unit_test(test_expiry),
        cmocka_unit_test(test_cache_is_bounded),
        cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_close_in_callback_with_questions_in_flight),
        cmocka_unit_test(test_bad_server),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
