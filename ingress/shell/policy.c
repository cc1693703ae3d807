#include "ingress/shell/policy.h"

#include "common/base/alloc.h"
#include "common/net/clock.h"
#include "common/net/stream.h"

enum { GREET_DELAY_MS = 20, FLOOD_LINES = 16, SWALLOW_MIN = 1 << 20, SPACE_TIMEOUT_MAX_MS = 60000 };

static unsigned extensions(const struct pr_conf_listener *l)
{
    unsigned ext = MAIL_EXT_SIZE | MAIL_EXT_8BITMIME;
    if (l->smtputf8)
        ext |= MAIL_EXT_SMTPUTF8;
    if (l->dsn)
        ext |= MAIL_EXT_DSN;
    if (l->chunking)
        ext |= MAIL_EXT_CHUNKING | MAIL_EXT_BINARYMIME;
    return ext;
}

static void set_limits(struct ing_options *o, const struct pr_config *c)
{
    o->message_size_max = c->ingress.message_size_max;
    o->swallow_max = PR_MAX(c->ingress.message_size_max * 2, (uint64_t)SWALLOW_MIN);
    o->header_max = c->ingress.header_max;
    o->recipients_max = c->ingress.recipients_max;
    o->hops_max = c->ingress.hops_max;
    o->command_line_max = c->ingress.command_line_max;
    o->flood_max = c->ingress.command_line_max * FLOOD_LINES;
    o->errors_soft = c->ingress.errors_soft;
    o->errors_hard = c->ingress.errors_hard;
    o->harmless_max = c->ingress.harmless_max;
    o->messages_max = c->ingress.messages_per_connection_max;
    o->command_timeout_ms = c->ingress.command_timeout_ms;
    o->data_timeout_ms = c->ingress.data_timeout_ms;
    o->tls_timeout_ms = c->ingress.tls_timeout_ms;
    o->commit_timeout_ms = c->ingress.commit_timeout_ms;
    o->space_timeout_ms = PR_MIN(c->ingress.commit_timeout_ms, (uint64_t)SPACE_TIMEOUT_MAX_MS);
    o->min_rate_bytes_per_s = c->ingress.min_rate_bytes_per_s;
}

static void set_options(struct policy *p, struct policy_listener *l)
{
    const struct pr_config *c = p->config;
    struct ing_options *o = &l->options;
    ing_options_init(o);
    set_limits(o, c);
    o->hostname = pr_slice_str(c->hostname);
    o->banner = pr_slice_str(c->ingress.banner);
    if (c->ingress.n_own_domains > 0 && c->ingress.own_domains[0][0] != '.' && c->ingress.own_domains[0][0] != '*')
        o->postmaster_domain = pr_slice_str(c->ingress.own_domains[0]);
    o->ext = extensions(l->conf);
    o->pipelining = l->conf->pipelining;
    o->starttls = l->tls != NULL;
    o->vrfy = c->ingress.vrfy;
    o->line_policy = l->conf->normalize_line_endings ? MAIL_DOT_NORMALIZE : MAIL_DOT_REJECT;
    o->relay = p->relay;
    l->trusted_options = *o;
    o->greet_delay_ms = GREET_DELAY_MS;
}

static void make_relay(struct policy *p)
{
    const struct pr_config *c = p->config;
    p->relay = ing_relay_new(pr_random_seed());
    for (size_t i = 0; i < c->ingress.n_own_domains; i++) {
        struct pr_slice d = pr_slice_str(c->ingress.own_domains[i]);
        if (d.len > 0 && d.ptr[0] == '[')
            ing_relay_add_literal(p->relay, d);
        else
            ing_relay_add(p->relay, d, ING_RELAY_OWN);
    }
    for (size_t i = 0; i < c->ingress.n_relay_domains; i++)
        ing_relay_add(p->relay, pr_slice_str(c->ingress.relay_domains[i]), ING_RELAY_PARTNER);
}

static int load_tls(struct policy_listener *l, const struct policy *old, struct pr_log *log)
{
    char *text = NULL;
    if (l->conf->tls_certificate == NULL)
        return 0;
    const char *key = l->conf->tls_key == NULL ? l->conf->tls_certificate : l->conf->tls_key;
    if (pr_tls_server_new(l->conf->tls_certificate, key, &l->tls, &text) == 0)
        return 0;
    pr_error(log, "certificate_failed", PR_S("listener", l->conf->name), PR_S("error", text == NULL ? "" : text));
    pr_free(text);
    const struct policy_listener *before = old == NULL ? NULL : policy_find(old, l->conf->name);
    if (before == NULL || before->tls == NULL)
        return PR_EIO;
    l->tls = pr_tls_ref(before->tls);
    return 0;
}

int policy_new(struct pr_config *config, const struct policy *old, const struct im_table *metrics, struct pr_log *log,
               struct policy **ret)
{
    struct policy *p = pr_new(struct policy);
    int rc = 0;
    atomic_init(&p->refs, 1);
    p->config = pr_config_ref(config);
    p->n_listeners = config->ingress.n_listeners;
    p->listeners = pr_calloc(p->n_listeners + 1, sizeof *p->listeners);
    make_relay(p);
    for (size_t i = 0; i < p->n_listeners && rc == 0; i++) {
        struct policy_listener *l = &p->listeners[i];
        l->conf = &config->ingress.listeners[i];
        l->label = im_listener(metrics, l->conf->name);
        rc = load_tls(l, old, log);
        set_options(p, l);
    }
    if (rc != 0) {
        policy_unref(p);
        return rc;
    }
    *ret = p;
    return 0;
}

struct policy *policy_ref(struct policy *p)
{
    atomic_fetch_add_explicit(&p->refs, 1, memory_order_relaxed);
    return p;
}

void policy_unref(struct policy *p)
{
    if (p == NULL || atomic_fetch_sub_explicit(&p->refs, 1, memory_order_acq_rel) != 1)
        return;
    for (size_t i = 0; i < p->n_listeners; i++)
        pr_tls_unref(p->listeners[i].tls);
    pr_free(p->listeners);
    ing_relay_free(p->relay);
    pr_config_unref(p->config);
    pr_free(p);
}

const struct policy_listener *policy_find(const struct policy *p, const char *name)
{
    for (size_t i = 0; i < p->n_listeners; i++)
        if (strcmp(p->listeners[i].conf->name, name) == 0)
            return &p->listeners[i];
    return NULL;
}
