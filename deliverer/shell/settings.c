#include "common/base/alloc.h"
#include "deliverer/shell/worker_internal.h"

enum { TLS_HANDSHAKE_MS = 60000, PREFETCH = 2, JOBS_MAX = 4096, OWN_MAX = 256 };

static void add_own(struct settings *s, struct in6_addr addr, uint16_t port)
{
    if (s->route.n_own < OWN_MAX)
        s->own[s->route.n_own++] = (struct dlv_endpoint){addr, port};
}

static struct in6_addr mapped(const struct sockaddr_in *sin)
{
    struct in6_addr a = {{{0}}};
    a.s6_addr[10] = a.s6_addr[11] = 0xff;
    memcpy(a.s6_addr + 12, &sin->sin_addr, 4);
    return a;
}

/* A listener on all addresses is on each of the machine's. */
static void add_interfaces(struct settings *s, uint16_t port)
{
    uv_interface_address_t *list;
    int n;
    if (uv_interface_addresses(&list, &n) != 0)
        return;
    for (int i = 0; i < n; i++)
        add_own(s, list[i].address.address4.sin_family == AF_INET ? mapped(&list[i].address.address4)
                                                                   : list[i].address.address6.sin6_addr, port);
    uv_free_interface_addresses(list, n);
}

static void find_own(struct settings *s)
{
    const struct pr_config *c = s->config;
    s->own = pr_calloc(OWN_MAX, sizeof *s->own);
    for (size_t i = 0; i < c->ingress.n_listeners; i++) {
        const struct pr_hostport *at = &c->ingress.listeners[i].address;
        struct in6_addr addr;
        if (at->host == NULL || dlv_addr_parse(pr_slice_str(at->host), &addr) != 0)
            continue;
        bool any = memcmp(&addr, &in6addr_any, sizeof addr) == 0 || pr_slice_eq_str(pr_slice_str(at->host), "0.0.0.0");
        if (any)
            add_interfaces(s, at->port);
        else
            add_own(s, addr, at->port);
    }
}

static void make_route(struct settings *s)
{
    const struct pr_config *c = s->config;
    find_own(s);
    s->refused = pr_calloc(c->delivery.n_refused_networks + 1, sizeof *s->refused);
    for (size_t i = 0; i < c->delivery.n_refused_networks; i++)
        s->refused[i] = (struct dlv_net){c->delivery.refused_networks[i].net, c->delivery.refused_networks[i].prefix};
    s->route.hostname = pr_slice_str(c->hostname);
    s->route.own = s->own;
    s->route.refused = s->refused;
    s->route.n_refused = c->delivery.n_refused_networks;
    s->route.ipv4 = c->delivery.ipv4;
    s->route.ipv6 = c->delivery.ipv6;
    s->route.port = c->delivery.smtp_port;
}

static void make_client(struct settings *s)
{
    const struct pr_config *c = s->config;
    s->client = (struct dlv_client_options){
        .name = pr_slice_str(c->delivery.ehlo != NULL ? c->delivery.ehlo : c->hostname),
        .tls = c->delivery.tls == PR_TLS_NONE            ? DLV_TLS_NEVER
               : c->delivery.tls == PR_TLS_OPPORTUNISTIC ? DLV_TLS_OPPORTUNISTIC
                                                         : DLV_TLS_REQUIRED,
        .greeting_ms = c->delivery.greeting_timeout_ms,
        .command_ms = c->delivery.command_timeout_ms,
        .tls_ms = PR_MIN(c->delivery.command_timeout_ms, (uint64_t)TLS_HANDSHAKE_MS),
        .data_ms = c->delivery.data_timeout_ms,
        .block_ms = c->delivery.block_timeout_ms,
        .dot_ms = c->delivery.dot_timeout_ms,
        .quit_ms = c->delivery.quit_timeout_ms,
    };
}

static int make_tls(struct settings *s, struct pr_log *log)
{
    const struct pr_config *c = s->config;
    char *text = NULL;
    int rc = 0;
    if (c->delivery.tls == PR_TLS_VERIFIED)
        rc = pr_tls_client_new(true, c->delivery.tls_ca_file, &s->tls_verify, &text);
    else if (c->delivery.tls != PR_TLS_NONE)
        rc = pr_tls_client_new(false, NULL, &s->tls_any, &text);
    if (rc != 0)
        pr_error(log, EV_FAILED, PR_S("error", "TLS cannot be set up"), PR_S("reason", text == NULL ? pr_strerror(rc) : text));
    pr_free(text);
    return rc;
}

int settings_new(struct pr_config *c, unsigned lanes, struct pr_log *log, struct settings **ret)
{
    struct settings *s = pr_new(struct settings);
    s->refs = 1;
    s->config = pr_config_ref(c);
    make_route(s);
    make_client(s);
    s->lane = dlv_lane_defaults;
    s->lane.seed = pr_random_seed();
    s->lane.jobs_max = JOBS_MAX;
    s->lane.prefetch = PREFETCH;
    s->lane.connections_max = PR_MAX(c->delivery.connections_max / lanes, 1u);
    s->lane.idle_ms = c->delivery.idle_timeout_ms;
    int rc = make_tls(s, log);
    if (rc != 0) {
        settings_unref(s);
        return rc;
    }
    *ret = s;
    return 0;
}

struct settings *settings_ref(struct settings *s)
{
    s->refs++;
    return s;
}

void settings_unref(struct settings *s)
{
    if (s == NULL || --s->refs > 0)
        return;
    if (s->tls_any != NULL)
        pr_tls_unref(s->tls_any);
    if (s->tls_verify != NULL)
        pr_tls_unref(s->tls_verify);
    pr_config_unref(s->config);
    pr_free(s->own);
    pr_free(s->refused);
    pr_free(s);
}
