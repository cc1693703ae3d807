/* tls.h - TLS contexts (OpenSSL 3): TLS >= 1.2, no compression, no renegotiation.
 *
 * Owns: the SSL_CTX. Shared by reference between streams and threads; replaced as a whole on reload.
 * Errors: PR_EIO / PR_EPARSE with a text in *reterr_text (caller frees with pr_free). */
#ifndef PR_NET_TLS_H
#define PR_NET_TLS_H

#include <stdbool.h>

#include "common/base/err.h"

struct pr_tls_ctx;

PR_MUST_USE int pr_tls_server_new(const char *certificate_pem, const char *key_pem, struct pr_tls_ctx **ret, char **reterr_text);
/* verify: chain and name are checked against ca_file (NULL: system store); otherwise any certificate is taken
 * (opportunistic, RFC 7435). */
PR_MUST_USE int pr_tls_client_new(bool verify, const char *ca_file, struct pr_tls_ctx **ret, char **reterr_text);
struct pr_tls_ctx *pr_tls_ref(struct pr_tls_ctx *c);
void pr_tls_unref(struct pr_tls_ctx *c);

#endif
