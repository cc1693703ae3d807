/* TLS on streams: verification, STARTTLS without a way in for clear text, and truncation. */
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "peer.h"
#include "certs.h"

struct env {
    struct cert ca, leaf, other_ca;
    char dir[32], ca_file[64], other_file[64];
    struct pr_tls_ctx *server, *any, *verifying, *suspicious;
};

static struct pr_tls_ctx *client_ctx(bool verify, const char *ca_file)
{
    struct pr_tls_ctx *c = NULL;
    char *text = NULL;
    if (pr_tls_client_new(verify, ca_file, &c, &text) != 0)
        fail_msg("%s", text);
    return c;
}

static int setup(void **state)
{
    struct env *e = pr_new(struct env);
    char *text = NULL;
    cert_make(&e->ca, "test ca", NULL, NULL, 1);
    cert_make(&e->leaf, "mx.example", "DNS:mx.example,IP:127.0.0.1", &e->ca, 2);
    cert_make(&e->other_ca, "other ca", NULL, NULL, 3);
    memcpy(e->dir, "/tmp/pr-tls-XXXXXX", 19);
    assert_non_null(mkdtemp(e->dir));
    (void)snprintf(e->ca_file, sizeof e->ca_file, "%s/ca.pem", e->dir);
    (void)snprintf(e->other_file, sizeof e->other_file, "%s/other.pem", e->dir);
    write_file(e->ca_file, e->ca.cert_pem);
    write_file(e->other_file, e->other_ca.cert_pem);
    if (pr_tls_server_new(e->leaf.cert_pem, e->leaf.key_pem, &e->server, &text) != 0)
        fail_msg("%s", text);
    e->any = client_ctx(false, NULL);
    e->verifying = client_ctx(true, e->ca_file);
    e->suspicious = client_ctx(true, e->other_file);
    *state = e;
    return 0;
}

static int teardown(void **state)
{
    struct env *e = *state;
    (void)unlink(e->ca_file);
    (void)unlink(e->other_file);
    (void)rmdir(e->dir);
    pr_tls_unref(e->server);
    pr_tls_unref(e->any);
    pr_tls_unref(e->verifying);
    pr_tls_unref(e->suspicious);
    cert_free(&e->ca);
    cert_free(&e->leaf);
    cert_free(&e->other_ca);
    pr_free(e);
    return 0;
}

static void start(struct peer *p, struct pr_tls_ctx *ctx, bool server, const char *name)
{
    p->in_call = true;
    pr_stream_start_tls(p->s, ctx, server, name);
    p->in_call = false;
}

static void tls_pair(struct pair *t, struct env *e, struct pr_tls_ctx *client, const char *name)
{
    pair_open(t);
    start(&t->server, e->server, true, NULL);
    start(&t->client, client, false, name);
    RUN_UNTIL(&t->loop, t->client.n_tls == 1 && t->server.n_tls == 1);
}

static void test_handshake_and_data(void **state)
{
    struct pair t;
    tls_pair(&t, *state, ((struct env *)*state)->any, NULL);
    assert_true(t.client.tls_ok && t.server.tls_ok);
    assert_false(t.client.verified);
    assert_string_equal(t.client.version, "TLSv1.3");
    assert_true(pr_stream_is_tls(t.client.s));
    t.server.echo = true;
    WRITE(&t.client, "EHLO a\r\n");
    RUN_UNTIL(&t.loop, t.client.got.len == 8);
    assert_true(GOT(&t.client, "EHLO a\r\n"));
    peer_close(&t.client, 1000);
    RUN_UNTIL(&t.loop, t.server.n_eof == 1);
    /* After close_notify we may still answer. */
    peer_close(&t.server, 1000);
    RUN_UNTIL(&t.loop, t.server.n_close == 1 && t.client.n_close == 1);
    assert_int_equal(t.server.close_reason, 0);
    assert_int_equal(t.client.close_reason, 0);
    pair_close(&t);
}

static void test_verification(void **state)
{
    struct env *e = *state;
    const struct {
        struct pr_tls_ctx *ctx;
        const char *name;
        bool ok;
        const char *error;
    } cases[] = {
        {e->verifying, "mx.example", true, ""},
        {e->verifying, "127.0.0.1", true, ""},
        {e->verifying, "other.example", false, "hostname mismatch"},
        {e->verifying, NULL, false, "no server name to verify"},
        {e->suspicious, "mx.example", false, "unable to get local issuer certificate"},
        {e->any, "other.example", true, ""},
    };
    for (size_t i = 0; i < PR_ARRAY_LEN(cases); i++) {
        struct pair t;
        pair_open(&t);
        start(&t.server, e->server, true, NULL);
        start(&t.client, cases[i].ctx, false, cases[i].name);
        RUN_UNTIL(&t.loop, t.client.n_tls == 1);
        assert_int_equal(t.client.tls_ok, cases[i].ok);
        if (cases[i].ok) {
            assert_int_equal(t.client.verified, cases[i].ctx == e->verifying);
        } else {
            assert_string_equal(t.client.tls_error, cases[i].error);
            RUN_UNTIL(&t.loop, t.client.n_close == 1 && t.server.n_close == 1);
            assert_int_equal(t.client.close_reason, PR_EIO);
        }
        pair_close(&t);
    }
}

enum { BULK = 3 * 1024 * 1024 };

static void test_bulk_with_pauses(void **state)
{
    struct env *e = *state;
    struct pair t;
    tls_pair(&t, e, e->any, NULL);
    char *bulk = pr_malloc(BULK);
    for (size_t i = 0; i < BULK; i++)
        bulk[i] = (char)((i * 2654435761u) >> 13);
    t.server.pause_after_data = true;
    pr_stream_write(t.client.s, pr_slice(bulk, BULK));
    while (t.server.got.len < BULK) {
        unsigned before = t.server.n_data;
        RUN_UNTIL(&t.loop, t.server.n_data > before);
        /* Nothing comes while paused, although more is there. */
        before = t.server.n_data;
        for (unsigned i = 0; i < 3; i++)
            (void)uv_run(&t.loop.uv, UV_RUN_NOWAIT);
        assert_int_equal(t.server.n_data, before);
        t.server.in_call = true;
        pr_stream_resume(t.server.s);
        t.server.in_call = false;
    }
    assert_memory_equal(t.server.got.ptr, bulk, BULK);
    assert_true(t.client.n_drain > 0);
    pr_free(bulk);
    pair_close(&t);
}

/* close_notify that arrives while paused is told after resume, not before, and not as an error. */
static void test_end_while_paused(void **state)
{
    struct env *e = *state;
    struct pair t;
    tls_pair(&t, e, e->any, NULL);
    t.server.pause_after_data = true;
    WRITE(&t.client, "last words");
    peer_close(&t.client, 1000);
    RUN_UNTIL(&t.loop, t.server.got.len == 10);
    for (unsigned i = 0; i < 20; i++)
        (void)uv_run(&t.loop.uv, UV_RUN_NOWAIT);
    assert_int_equal(t.server.n_eof, 0);
    t.server.pause_after_data = false;
    pr_stream_resume(t.server.s);
    RUN_UNTIL(&t.loop, t.server.n_eof == 1);
    assert_int_equal(t.server.n_close, 0);
    pair_close(&t);
}

static void test_truncation_is_an_error(void **state)
{
    struct env *e = *state;
    struct pair t;
    tls_pair(&t, e, e->any, NULL);
    WRITE(&t.client, "half a mess");
    RUN_UNTIL(&t.loop, t.server.got.len == 11);
    peer_close(&t.client, 0); /* FIN without close_notify */
    RUN_UNTIL(&t.loop, t.server.n_close == 1);
    assert_int_equal(t.server.n_eof, 0);
    assert_int_equal(t.server.close_reason, PR_EIO);
    pair_close(&t);
}

static void test_peer_leaves_during_handshake(void **state)
{
    struct env *e = *state;
    struct pair t;
    pair_open(&t);
    start(&t.server, e->server, true, NULL);
    peer_close(&t.client, 1000);
    RUN_UNTIL(&t.loop, t.server.n_close == 1);
    assert_int_equal(t.server.n_tls, 1);
    assert_false(t.server.tls_ok);
    assert_non_null(strstr(t.server.tls_error, "closed during the handshake"));
    assert_int_equal(t.server.close_reason, PR_EIO);
    pair_close(&t);
}

/* --- STARTTLS --- */

struct starttls {
    struct pair pair;
    struct env *env;
    bool started;
};

static void on_starttls_command(struct peer *p, struct pr_slice data)
{
    struct pair *pair = pr_container_of(p, struct pair, server);
    struct starttls *t = pr_container_of(pair, struct starttls, pair);
    if (t->started || !pr_slice_starts(data, PR_SLICE_LIT("STARTTLS\r\n")))
        return;
    /* As a session does: what follows in the same read is dropped by it. */
    t->started = true;
    pr_buf_clear(&p->got);
    WRITE(p, "220 go\r\n");
    start(p, t->env->server, true, NULL);
}

static void starttls_open(struct starttls *t, struct env *e)
{
    pair_listen_tcp(&t->pair);
    t->env = e;
    t->started = false;
    t->pair.server.on_data = on_starttls_command;
}

static void on_starttls_reply(struct peer *p, struct pr_slice data)
{
    struct pair *pair = pr_container_of(p, struct pair, client);
    struct starttls *t = pr_container_of(pair, struct starttls, pair);
    if (p->n_tls == 0 && pr_slice_eq_str(data, "220 go\r\n"))
        start(p, t->env->any, false, "mx.example");
}

static void test_starttls(void **state)
{
    struct starttls t;
    starttls_open(&t, *state);
    t.pair.client.on_data = on_starttls_reply;
    pair_connect_only(&t.pair);
    RUN_UNTIL(&t.pair.loop, t.pair.client.n_connect == 1);
    WRITE(&t.pair.client, "STARTTLS\r\n");
    RUN_UNTIL(&t.pair.loop, t.pair.client.n_tls == 1 && t.pair.server.n_tls == 1);
    assert_true(t.pair.client.tls_ok && t.pair.server.tls_ok);
    WRITE(&t.pair.client, "EHLO again\r\n");
    RUN_UNTIL(&t.pair.loop, t.pair.server.got.len == 12);
    assert_true(GOT(&t.pair.server, "EHLO again\r\n"));
    pair_close(&t.pair);
}

static void send_raw(int fd, const char *text)
{
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
}

/* Commands that follow STARTTLS in clear, before our 220 went out: gone, whatever segment they came in. */
static void test_starttls_discards_unread_clear_text(void **state)
{
    struct starttls t;
    starttls_open(&t, *state);
    int fd = raw_connect(pr_listener_port(t.pair.listener));
    RUN_UNTIL(&t.pair.loop, t.pair.server.s != NULL);
    send_raw(fd, "STARTTLS\r\n");
    /* One read takes at most the loop's buffer, so fill it: the rest is still in the kernel when TLS starts. */
    char block[65536];
    memset(block, 'x', sizeof block);
    assert_int_equal(write(fd, block, sizeof block), sizeof block);
    send_raw(fd, "RSET\r\n");
    RUN_UNTIL(&t.pair.loop, t.started);
    unsigned n_data = t.pair.server.n_data;
    /* The handshake still works after all that: nothing of it was taken for a record. */
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    SSL *ssl = SSL_new(ctx);
    char line[16] = "";
    assert_int_equal(read(fd, line, 8), 8);
    assert_string_equal(line, "220 go\r\n");
    BIO *in = BIO_new(BIO_s_mem()), *out = BIO_new(BIO_s_mem());
    SSL_set_bio(ssl, in, out);
    SSL_set_connect_state(ssl);
    assert_int_equal(SSL_do_handshake(ssl), -1);
    char *hello;
    long n = BIO_get_mem_data(out, &hello);
    assert_int_equal(write(fd, hello, (size_t)n), n);
    char flight[8192];
    (void)uv_run(&t.pair.loop.uv, UV_RUN_ONCE);
    RUN_UNTIL(&t.pair.loop, recv(fd, flight, sizeof flight, MSG_PEEK | MSG_DONTWAIT) > 0 || t.pair.server.n_tls > 0);
    assert_int_equal(t.pair.server.n_tls, 0);
    ssize_t got = recv(fd, flight, sizeof flight, 0);
    assert_true(got > 5);
    assert_int_equal(flight[0], 22); /* a handshake record */
    assert_int_equal(t.pair.server.n_data, n_data);
    SSL_free(ssl);
    SSL_CTX_free(ctx);
    close(fd);
    pair_close(&t.pair);
}

/* Clear text after our 220 breaks the handshake; it is never data. */
static void test_starttls_clear_text_after_220(void **state)
{
    struct starttls t;
    char buf[16];
    starttls_open(&t, *state);
    int fd = raw_connect(pr_listener_port(t.pair.listener));
    RUN_UNTIL(&t.pair.loop, t.pair.server.s != NULL);
    send_raw(fd, "STARTTLS\r\nNOOP\r\n");
    RUN_UNTIL(&t.pair.loop, t.started);
    assert_int_equal(read(fd, buf, 8), 8);
    unsigned n_data = t.pair.server.n_data;
    send_raw(fd, "MAIL FROM:<evil@example>\r\n");
    RUN_UNTIL(&t.pair.loop, t.pair.server.n_close == 1);
    assert_false(t.pair.server.tls_ok);
    assert_int_equal(t.pair.server.n_tls, 1);
    assert_int_equal(t.pair.server.n_data, n_data);
    close(fd);
    pair_close(&t.pair);
}

/* Half a ClientHello, then nothing: the caller's deadline closes. */
static void test_close_during_handshake(void **state)
{
    struct starttls t;
    starttls_open(&t, *state);
    int fd = raw_connect(pr_listener_port(t.pair.listener));
    RUN_UNTIL(&t.pair.loop, t.pair.server.s != NULL);
    send_raw(fd, "STARTTLS\r\n");
    RUN_UNTIL(&t.pair.loop, t.started);
    assert_int_equal(write(fd, "\x16\x03\x01\x02", 4), 4);
    for (unsigned i = 0; i < 10; i++)
        (void)uv_run(&t.pair.loop.uv, UV_RUN_NOWAIT);
    assert_int_equal(t.pair.server.n_tls, 0);
    peer_close(&t.pair.server, 1000);
    RUN_UNTIL(&t.pair.loop, t.pair.server.n_close == 1);
    assert_int_equal(t.pair.server.n_tls, 0);
    assert_int_equal(t.pair.server.close_reason, 0);
    close(fd);
    pair_close(&t.pair);
}

/* --- a foreign client in a thread of its own --- */

struct foreign {
    uint16_t port;
    int min_version, max_version;
    bool clear_after_notify, renegotiate;
    int handshake, renegotiated;
};

static void *run_foreign(void *arg)
{
    struct foreign *f = arg;
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_min_proto_version(ctx, f->min_version);
    SSL_CTX_set_max_proto_version(ctx, f->max_version);
    (void)SSL_CTX_set_cipher_list(ctx, "DEFAULT@SECLEVEL=0");
    SSL *ssl = SSL_new(ctx);
    struct sockaddr_in to = loopback(f->port);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(fd, (struct sockaddr *)&to, sizeof to) == 0) {
        SSL_set_fd(ssl, fd);
        f->handshake = SSL_connect(ssl);
    }
    if (f->handshake == 1 && f->renegotiate) {
        SSL_renegotiate(ssl);
        f->renegotiated = SSL_do_handshake(ssl);
    }
    if (f->handshake == 1 && f->clear_after_notify) {
        (void)SSL_write(ssl, "in time", 7);
        (void)SSL_shutdown(ssl);
        (void)!write(fd, "MAIL FROM:<late@example>\r\n", 26);
        /* To the end: closing with unread bytes (a session ticket) would drop what is not yet sent. */
        char ignored[512];
        while (read(fd, ignored, sizeof ignored) > 0)
            continue;
    }
    close(fd);
    SSL_free(ssl);
    SSL_CTX_free(ctx);
    return NULL;
}

static void run_against_foreign(struct pair *t, struct env *e, struct foreign *f, pthread_t *thread)
{
    pair_listen_tcp(t);
    f->port = pr_listener_port(t->listener);
    assert_int_equal(pthread_create(thread, NULL, run_foreign, f), 0);
    RUN_UNTIL(&t->loop, t->server.s != NULL);
    start(&t->server, e->server, true, NULL);
    RUN_UNTIL(&t->loop, t->server.n_tls == 1);
}

static void test_old_versions_are_refused(void **state)
{
    struct foreign f = {.min_version = TLS1_VERSION, .max_version = TLS1_1_VERSION};
    struct pair t;
    pthread_t thread;
    run_against_foreign(&t, *state, &f, &thread);
    assert_false(t.server.tls_ok);
    RUN_UNTIL(&t.loop, t.server.n_close == 1);
    pthread_join(thread, NULL);
    assert_int_not_equal(f.handshake, 1);
    pair_close(&t);
}

static void test_renegotiation_is_refused(void **state)
{
    struct foreign f = {.min_version = TLS1_2_VERSION, .max_version = TLS1_2_VERSION, .renegotiate = true};
    struct pair t;
    pthread_t thread;
    run_against_foreign(&t, *state, &f, &thread);
    assert_true(t.server.tls_ok);
    assert_string_equal(t.server.version, "TLSv1.2");
    RUN_UNTIL(&t.loop, t.server.n_close == 1 || t.server.n_eof == 1);
    pthread_join(thread, NULL);
    assert_int_not_equal(f.renegotiated, 1);
    pair_close(&t);
}

static void test_nothing_is_read_after_close_notify(void **state)
{
    struct foreign f = {.min_version = TLS1_2_VERSION, .max_version = TLS1_3_VERSION, .clear_after_notify = true};
    struct pair t;
    pthread_t thread;
    run_against_foreign(&t, *state, &f, &thread);
    RUN_UNTIL(&t.loop, t.server.n_eof == 1);
    for (unsigned i = 0; i < 20; i++)
        (void)uv_run(&t.loop.uv, UV_RUN_NOWAIT);
    assert_true(GOT(&t.server, "in time"));
    assert_int_equal(t.server.n_close, 0);
    peer_close(&t.server, 0);
    RUN_UNTIL(&t.loop, t.server.n_close == 1);
    pthread_join(thread, NULL);
    pair_close(&t);
}

static void test_bad_files(void **state)
{
    struct env *e = *state;
    struct pr_tls_ctx *c = NULL;
    char *text = NULL;
    const struct {
        const char *cert, *key;
        int rc;
        const char *says;
    } cases[] = {
        {"/nonexistent/cert.pem", e->leaf.key_pem, PR_EIO, "/nonexistent/cert.pem"},
        {e->leaf.cert_pem, "/nonexistent/key.pem", PR_EIO, "/nonexistent/key.pem"},
        {e->leaf.cert_pem, e->ca.key_pem, PR_EPARSE, "key values mismatch"},
        {"-----BEGIN CERTIFICATE-----\nnot base64!\n-----END CERTIFICATE-----\n", e->leaf.key_pem, PR_EPARSE,
         "bad certificate"},
        {e->leaf.cert_pem, e->leaf.cert_pem, PR_EPARSE, "bad key"},
    };
    for (size_t i = 0; i < PR_ARRAY_LEN(cases); i++) {
        assert_int_equal(pr_tls_server_new(cases[i].cert, cases[i].key, &c, &text), cases[i].rc);
        if (strstr(text, cases[i].says) == NULL)
            fail_msg("%s", text);
        pr_free(text);
    }
    assert_int_equal(pr_tls_client_new(true, "/nonexistent/ca.pem", &c, &text), PR_EIO);
    pr_free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_handshake_and_data),
        cmocka_unit_test(test_verification),
        cmocka_unit_test(test_bulk_with_pauses),
        cmocka_unit_test(test_end_while_paused),
        cmocka_unit_test(test_truncation_is_an_error),
        cmocka_unit_test(test_peer_leaves_during_handshake),
        cmocka_unit_test(test_starttls),
        cmocka_unit_test(test_starttls_discards_unread_clear_text),
        cmocka_unit_test(test_starttls_clear_text_after_220),
        cmocka_unit_test(test_close_during_handshake),
        cmocka_unit_test(test_old_versions_are_refused),
        cmocka_unit_test(test_renegotiation_is_refused),
        cmocka_unit_test(test_nothing_is_read_after_close_notify),
        cmocka_unit_test(test_bad_files),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
