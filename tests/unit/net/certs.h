/* certs.h - throw-away certificates, made at run time. */
#ifndef TEST_NET_CERTS_H
#define TEST_NET_CERTS_H

#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>

#include "common/base/alloc.h"

struct cert {
    EVP_PKEY *key;
    X509 *x509;
    char *cert_pem, *key_pem;
};

static inline char *pem_of(BIO *b)
{
    char *data;
    long n = BIO_get_mem_data(b, &data);
    char *copy = pr_strndup(data, (size_t)n);
    BIO_free(b);
    return copy;
}

static inline void add_extension(X509 *x, int nid, const char *value)
{
    X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, NULL, nid, value);
    assert_non_null(e);
    assert_int_equal(X509_add_ext(x, e, -1), 1);
    X509_EXTENSION_free(e);
}

/* issuer NULL: a CA that signs itself. alt: "DNS:mx.example" or "IP:127.0.0.1". */
static inline void cert_make(struct cert *c, const char *name, const char *alt, const struct cert *issuer, long serial)
{
    c->key = EVP_EC_gen("P-256");
    c->x509 = X509_new();
    assert_true(c->key != NULL && c->x509 != NULL);
    X509_set_version(c->x509, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(c->x509), serial);
    X509_gmtime_adj(X509_getm_notBefore(c->x509), -3600);
    X509_gmtime_adj(X509_getm_notAfter(c->x509), 86400);
    X509_set_pubkey(c->x509, c->key);
    X509_NAME *n = X509_get_subject_name(c->x509);
    X509_NAME_add_entry_by_txt(n, "CN", MBSTRING_ASC, (const unsigned char *)name, -1, -1, 0);
    X509_set_issuer_name(c->x509, issuer == NULL ? n : X509_get_subject_name(issuer->x509));
    add_extension(c->x509, NID_basic_constraints, issuer == NULL ? "critical,CA:TRUE" : "CA:FALSE");
    if (alt != NULL)
        add_extension(c->x509, NID_subject_alt_name, alt);
    assert_true(X509_sign(c->x509, issuer == NULL ? c->key : issuer->key, EVP_sha256()) > 0);
    BIO *b = BIO_new(BIO_s_mem());
    PEM_write_bio_X509(b, c->x509);
    c->cert_pem = pem_of(b);
    b = BIO_new(BIO_s_mem());
    PEM_write_bio_PrivateKey(b, c->key, NULL, NULL, 0, NULL, NULL);
    c->key_pem = pem_of(b);
}

static inline void cert_free(struct cert *c)
{
    EVP_PKEY_free(c->key);
    X509_free(c->x509);
    pr_free(c->cert_pem);
    pr_free(c->key_pem);
}

static inline void write_file(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

#endif
