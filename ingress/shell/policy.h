/* policy.h - a configuration snapshot made ready for sessions: options of the core per listener, relay tables, TLS contexts.
 *
 * Owns: all of it, and a reference to the configuration. Shared between threads and sessions by reference count: a session
 * keeps the snapshot it began with. Errors: PR_EIO when a certificate cannot be used. */
#ifndef PR_INGRESS_SHELL_POLICY_H
#define PR_INGRESS_SHELL_POLICY_H

#include <stdatomic.h>

#include "common/base/log.h"
#include "common/conf/config.h"
#include "common/net/tls.h"
#include "ingress/core/session.h"
#include "ingress/shell/metrics.h"

struct policy_listener {
    const struct pr_conf_listener *conf;
    struct ing_options options;         /* for clients we do not know: they wait a moment for the greeting */
    struct ing_options trusted_options; /* for trusted networks */
    struct pr_tls_ctx *tls;     /* NULL: none */
    unsigned label;             /* in metrics */
};

struct policy {
    atomic_uint refs;
    struct pr_config *config;
    struct ing_relay *relay;
    struct policy_listener *listeners;
    size_t n_listeners;
};

/* old: certificates that cannot be read now are taken over from its listener of the same name; NULL: that is an error.
 * Logs what is wrong. */
PR_MUST_USE int policy_new(struct pr_config *config, const struct policy *old, const struct im_table *metrics,
                           struct pr_log *log, struct policy **ret);
struct policy *policy_ref(struct policy *p);
void policy_unref(struct policy *p);
const struct policy_listener *policy_find(const struct policy *p, const char *name);

#endif
