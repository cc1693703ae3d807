/* tls.c - contexts, and the connections made from them. OpenSSL reads and writes memory of the stream through a BIO of our
 * own (struct stream_bio): one copy less than a memory BIO, and nothing kept between records. */
#include "common/net/tls.h"

#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <string.h>

#include "common/base/alloc.h"
#include "common/base/assert.h"
#include "common/net/stream_internal.h"

struct pr_tls_ctx {
    SSL_CTX *ssl_ctx;
    BIO_METHOD *bio;
    bool verify;
    unsigned refs; /* atomic */
};

/* --- BIO --- */

static int on_bio_read(BIO *b, char *out, size_t n, size_t *ret_n)
{
    struct stream_bio *s = BIO_get_data(b);
    BIO_clear_retry_flags(b);
    *ret_n = 0;
    if (s->in.len == 0) {
        BIO_set_retry_read(b);
        return 0;
    }
    *ret_n = PR_MIN(n, s->in.len);
    memcpy(out, s->in.ptr, *ret_n);
    s->in = pr_slice_from(s->in, *ret_n);
    return 1;
}

static int on_bio_write(BIO *b, const char *bytes, size_t n, size_t *ret_n)
{
    struct stream_bio *s = BIO_get_data(b);
    BIO_clear_retry_flags(b);
    pr_buf_append(s->out, bytes, n);
    *ret_n = n;
    return 1;
}

static long on_bio_ctrl(BIO *b, int cmd, long num, void *ptr)
{
    (void)b;
    (void)num;
    (void)ptr;
    return cmd == BIO_CTRL_FLUSH;
}

static BIO_METHOD *new_bio_method(void)
{
    BIO_METHOD *m = BIO_meth_new(BIO_TYPE_SOURCE_SINK, "stream");
    pr_assert(m != NULL);
    BIO_meth_set_read_ex(m, on_bio_read);
    BIO_meth_set_write_ex(m, on_bio_write);
    BIO_meth_set_ctrl(m, on_bio_ctrl);
    return m;
}

/* --- contexts --- */

static int no_passphrase(char *buf, int size, int rwflag, void *data)
{
    (void)buf;
    (void)size;
    (void)rwflag;
    (void)data;
    return 0; /* never ask on a terminal */
}

static struct pr_tls_ctx *new_ctx(const SSL_METHOD *method)
{
    struct pr_tls_ctx *c = pr_new(struct pr_tls_ctx);
    c->refs = 1;
    c->bio = new_bio_method();
    c->ssl_ctx = SSL_CTX_new(method);
    pr_assert(c->ssl_ctx != NULL);
    SSL_CTX_set_min_proto_version(c->ssl_ctx, TLS1_2_VERSION);
    SSL_CTX_set_options(c->ssl_ctx, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION | SSL_OP_CIPHER_SERVER_PREFERENCE);
    SSL_CTX_set_mode(c->ssl_ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_default_passwd_cb(c->ssl_ctx, no_passphrase);
    return c;
}

static int fail(struct pr_tls_ctx *c, int rc, const char *what, const char *file, char **reterr_text)
{
    struct pr_buf b;
    pr_buf_init(&b);
    const char *reason = ERR_reason_error_string(ERR_peek_last_error());
    pr_buf_printf(&b, "%s%s%s: %s", what, file == NULL ? "" : " ", file == NULL ? "" : file,
                  reason == NULL ? "unknown error" : reason);
    *reterr_text = pr_buf_steal(&b, NULL);
    ERR_clear_error();
    pr_tls_unref(c);
    return rc;
}

/* PEM text itself, or the name of a file. */
static BIO *open_pem(const char *pem)
{
    return strstr(pem, "-----BEGIN ") != NULL ? BIO_new_mem_buf(pem, -1) : BIO_new_file(pem, "r");
}

static const char *pem_name(const char *pem)
{
    return strstr(pem, "-----BEGIN ") != NULL ? NULL : pem;
}

/* The server's certificate, then its chain. */
static bool use_chain(SSL_CTX *ctx, BIO *in)
{
    X509 *cert = PEM_read_bio_X509_AUX(in, NULL, no_passphrase, NULL);
    bool ok = cert != NULL && SSL_CTX_use_certificate(ctx, cert) == 1;
    X509_free(cert);
    while (ok && (cert = PEM_read_bio_X509(in, NULL, no_passphrase, NULL)) != NULL)
        if (SSL_CTX_add0_chain_cert(ctx, cert) != 1) {
            X509_free(cert);
            ok = false;
        }
    if (ok && ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE)
        ERR_clear_error(); /* the regular end of the file */
    return ok && ERR_peek_error() == 0;
}

static bool use_key(SSL_CTX *ctx, BIO *in)
{
    EVP_PKEY *key = PEM_read_bio_PrivateKey(in, NULL, no_passphrase, NULL);
    bool ok = key != NULL && SSL_CTX_use_PrivateKey(ctx, key) == 1 && SSL_CTX_check_private_key(ctx) == 1;
    EVP_PKEY_free(key);
    return ok;
}

int pr_tls_server_new(const char *certificate_pem, const char *key_pem, struct pr_tls_ctx **ret, char **reterr_text)
{
    ERR_clear_error();
    struct pr_tls_ctx *c = new_ctx(TLS_server_method());
    BIO *in = open_pem(certificate_pem);
    if (in == NULL)
        return fail(c, PR_EIO, "cannot read certificate", pem_name(certificate_pem), reterr_text);
    bool ok = use_chain(c->ssl_ctx, in);
    BIO_free(in);
    if (!ok)
        return fail(c, PR_EPARSE, "bad certificate", pem_name(certificate_pem), reterr_text);
    in = open_pem(key_pem);
    if (in == NULL)
        return fail(c, PR_EIO, "cannot read key", pem_name(key_pem), reterr_text);
    ok = use_key(c->ssl_ctx, in);
    BIO_free(in);
    if (!ok)
        return fail(c, PR_EPARSE, "bad key", pem_name(key_pem), reterr_text);
    /* Sessions resume within this context only: its ticket keys are its own. */
    static const unsigned char id[] = "postrider";
    SSL_CTX_set_session_id_context(c->ssl_ctx, id, sizeof id - 1);
    SSL_CTX_set_session_cache_mode(c->ssl_ctx, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_num_tickets(c->ssl_ctx, 1);
    *ret = c;
    return 0;
}

int pr_tls_client_new(bool verify, const char *ca_file, struct pr_tls_ctx **ret, char **reterr_text)
{
    ERR_clear_error();
    struct pr_tls_ctx *c = new_ctx(TLS_client_method());
    c->verify = verify;
    if (!verify) {
        /* RFC 7435: weak encryption is better than the clear text that would be next. */
        SSL_CTX_set_verify(c->ssl_ctx, SSL_VERIFY_NONE, NULL);
        if (SSL_CTX_set_cipher_list(c->ssl_ctx, "DEFAULT@SECLEVEL=1") != 1)
            return fail(c, PR_EIO, "cannot set ciphers", NULL, reterr_text);
        *ret = c;
        return 0;
    }
    SSL_CTX_set_verify(c->ssl_ctx, SSL_VERIFY_PEER, NULL);
    int ok = ca_file == NULL ? SSL_CTX_set_default_verify_paths(c->ssl_ctx)
                             : SSL_CTX_load_verify_file(c->ssl_ctx, ca_file);
    if (ok != 1)
        return fail(c, PR_EIO, "cannot load CA certificates", ca_file, reterr_text);
    *ret = c;
    return 0;
}

struct pr_tls_ctx *pr_tls_ref(struct pr_tls_ctx *c)
{
    __atomic_add_fetch(&c->refs, 1, __ATOMIC_RELAXED);
    return c;
}

void pr_tls_unref(struct pr_tls_ctx *c)
{
    if (c == NULL || __atomic_sub_fetch(&c->refs, 1, __ATOMIC_ACQ_REL) > 0)
        return;
    SSL_CTX_free(c->ssl_ctx);
    BIO_meth_free(c->bio);
    pr_free(c);
}

bool tls_verifies(const struct pr_tls_ctx *ctx)
{
    return ctx->verify;
}

/* --- connections --- */

static bool is_address(const char *name)
{
    unsigned char a[sizeof(struct in6_addr)];
    return inet_pton(AF_INET, name, a) == 1 || inet_pton(AF_INET6, name, a) == 1;
}

static bool expect_name(SSL *ssl, const char *name)
{
    X509_VERIFY_PARAM *p = SSL_get0_param(ssl);
    if (is_address(name))
        return X509_VERIFY_PARAM_set1_ip_asc(p, name) == 1;
    X509_VERIFY_PARAM_set_hostflags(p, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    return X509_VERIFY_PARAM_set1_host(p, name, 0) == 1;
}

SSL *tls_ssl_new(struct pr_tls_ctx *ctx, bool server, const char *server_name, struct stream_bio *bio,
                 const char **reterr_text)
{
    SSL *ssl = SSL_new(ctx->ssl_ctx);
    BIO *b = BIO_new(ctx->bio);
    pr_assert(ssl != NULL && b != NULL);
    BIO_set_data(b, bio);
    BIO_set_init(b, 1);
    SSL_set_bio(ssl, b, b);
    if (server) {
        SSL_set_accept_state(ssl);
        return ssl;
    }
    SSL_set_connect_state(ssl);
    bool named = server_name != NULL && server_name[0] != '\0';
    /* RFC 6066 3: addresses are not sent as names. */
    if (named && !is_address(server_name) && SSL_set_tlsext_host_name(ssl, server_name) != 1)
        *reterr_text = "server name cannot be sent";
    if (ctx->verify && (!named || !expect_name(ssl, server_name)))
        *reterr_text = "no server name to verify";
    ERR_clear_error();
    return ssl;
}
