/* From a destination to a connection that takes mail.
 *
 * 1. The route of the next job's domain says how: MX, a host, LMTP over TCP or a unix socket. 2. Names are resolved, route.c
 * orders the targets. 3. They are tried one after the other: each with its connect timeout, at most DLV_SESSIONS_MAX of them
 * as far as a dialogue. 4. A client that is ready takes over (conn.c). Without one, the destination's next job pays for the
 * attempt with the verdict that gives most hope: temporary if any was. */
#include <arpa/inet.h>
#include <stdio.h>
#include <sys/un.h>

#include "common/base/alloc.h"
#include "deliverer/shell/idn.h"
#include "deliverer/shell/worker_internal.h"

enum { CONNECT_NOT_LAST_MS = 10000 };

struct attempt {
    struct dlv_route route;
    const struct pr_conf_route *conf;
    struct pr_buf domain;
    uint64_t mx_query, queries[DLV_HOSTS_MAX];
    size_t next; /* target */
    unsigned sessions;
    bool clear;  /* TLS was tried with this target and failed */
    bool failed; /* at least once: verdict is set */
    struct dlv_verdict verdict;
    struct pr_buf text; /* of the verdict */
};

static void next_target(struct conn *c);

void attempt_free(struct conn *c)
{
    struct attempt *a = c->attempt;
    if (a == NULL)
        return;
    pr_resolver_cancel(c->w->resolver, a->mx_query);
    for (size_t i = 0; i < DLV_HOSTS_MAX; i++)
        pr_resolver_cancel(c->w->resolver, a->queries[i]);
    pr_buf_fini(&a->domain);
    pr_buf_fini(&a->text);
    pr_free(a);
    c->attempt = NULL;
}

/* The last failure counts, but hope comes first. */
static void keep_verdict(struct attempt *a, const struct dlv_verdict *v)
{
    if (a->failed && a->verdict.outcome == MAIL_OUTCOME_TEMP && v->outcome != MAIL_OUTCOME_TEMP)
        return;
    struct pr_buf text = {0};
    pr_buf_add(&text, v->enhanced);
    pr_buf_add(&text, v->text);
    pr_buf_fini(&a->text);
    a->text = text;
    a->failed = true;
    a->verdict = *v;
    a->verdict.enhanced = pr_slice_head(pr_buf_slice(&a->text), v->enhanced.len);
    a->verdict.text = pr_slice_from(pr_buf_slice(&a->text), v->enhanced.len);
}

static void give_up(struct conn *c)
{
    struct attempt *a = c->attempt;
    struct dlv_verdict v = a->verdict;
    if (a->conf->kind != PR_ROUTE_MX && v.outcome == MAIL_OUTCOME_PERM && v.stage == MAIL_STAGE_DNS) {
        /* A next hop that the operator wrote and that is not there: no reason to bounce. */
        v.outcome = MAIL_OUTCOME_TEMP;
        v.scope = MAIL_SCOPE_SITE;
        v.enhanced = PR_SLICE_LIT("4.3.5");
    }
    report_failed(c, &v);
    struct dlv_job *core = dlv_lane_failed(c->w->lane, &c->core, pr_clock_now().mono);
    if (core != NULL) {
        dlv_mail_decide_rest(&job_of(core)->mail, &v);
        job_report(c->w, job_of(core), c);
    }
    conn_over(c);
}

/* --- connecting --- */

static void describe_target(struct conn *c, const struct dlv_target *t)
{
    char ip[INET6_ADDRSTRLEN];
    const char *name = c->attempt->route.hosts[t->host].name;
    pr_addr_plain(&t->addr, ip);
    struct in6_addr literal;
    bool is_name = !(pr_slice_eq_str(pr_slice_str(name), "literal") || dlv_addr_parse(pr_slice_str(name), &literal) == 0);
    (void)snprintf(c->host, sizeof c->host, "%s", is_name ? name : c->verify ? ip : "");
    if (t->port == 25)
        (void)snprintf(c->remote, sizeof c->remote, "%s%s[%s]", is_name ? name : "", is_name ? " " : "", ip);
    else
        (void)snprintf(c->remote, sizeof c->remote, "%s%s[%s]:%u", is_name ? name : "", is_name ? " " : "", ip, t->port);
}

static void connect_target(struct conn *c)
{
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons(c->target.port), .sin6_addr = c->target.addr};
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(c->target.port)};
    const struct sockaddr *to = (const struct sockaddr *)&v6;
    if (dlv_addr_is_v4(&c->target.addr)) {
        memcpy(&v4.sin_addr, c->target.addr.s6_addr + 12, 4);
        to = (const struct sockaddr *)&v4;
    }
    const struct attempt *a = c->attempt;
    uint64_t timeout = c->set->config->delivery.connect_timeout_ms;
    if (a->next < a->route.n_targets)
        timeout = PR_MIN(timeout, (uint64_t)CONNECT_NOT_LAST_MS);
    c->phase = CONN_CONNECTING;
    c->streams++;
    c->stream = pr_stream_connect(c->w->loop, to, NULL, &conn_stream_ops, c);
    conn_arm(c, pr_mono_add(pr_clock_now().mono, timeout));
}

static void connect_unix(struct conn *c)
{
    const char *path = c->attempt->conf->next_hop.unix_path;
    (void)snprintf(c->remote, sizeof c->remote, "unix:%s", path);
    c->phase = CONN_CONNECTING;
    c->streams++;
    c->stream = pr_stream_connect_unix(c->w->loop, path, &conn_stream_ops, c);
    conn_arm(c, pr_mono_add(pr_clock_now().mono, c->set->config->delivery.connect_timeout_ms));
}

static void next_target(struct conn *c)
{
    struct attempt *a = c->attempt;
    if (a->next >= a->route.n_targets || a->sessions >= DLV_SESSIONS_MAX || c->core.aborted) {
        give_up(c);
        return;
    }
    c->target = a->route.targets[a->next++];
    c->has_target = true;
    a->clear = false;
    describe_target(c, &c->target);
    connect_target(c);
}

static void mark_dead(struct conn *c)
{
    if (c->has_target)
        dlv_dead_mark(&c->w->dead, &c->target.addr, c->target.port, pr_mono_add(pr_clock_now().mono, DEAD_HOST_MS));
}

static void connect_failed(struct conn *c, const char *reason)
{
    struct pr_buf text = {0};
    pr_buf_printf(&text, "connect to %s: %s", c->remote, reason);
    struct dlv_verdict v = dlv_verdict_make(MAIL_STAGE_CONNECT, 0, pr_buf_slice(&text));
    keep_verdict(c->attempt, &v);
    pr_buf_fini(&text);
    mark_dead(c);
    next_target(c);
}

void attempt_timeout(struct conn *c)
{
    report_connect(c->w, DM_CONNECT_TIMEOUT);
    struct pr_stream *s = c->stream;
    c->stream = NULL;
    pr_stream_close(s, 0);
    connect_failed(c, "timed out");
}

void conn_on_connect(struct pr_stream *s, int status)
{
    struct conn *c = pr_stream_data(s);
    if (s != c->stream)
        return;
    if (status == 0) {
        c->attempt->sessions++;
        conn_talk(c);
        return;
    }
    const char *text = pr_stream_error_text(s);
    report_connect(c->w, status == PR_ETIMEOUT ? DM_CONNECT_TIMEOUT : DM_CONNECT_REFUSED);
    c->stream = NULL;
    connect_failed(c, text[0] == '\0' ? pr_strerror(status) : text);
}

void attempt_session_failed(struct conn *c, enum dlv_close_reason reason, const struct dlv_verdict *v)
{
    struct attempt *a = c->attempt;
    report_connect(c->w, reason == DLV_CLOSE_TLS       ? DM_CONNECT_TLS
                         : reason == DLV_CLOSE_TIMEOUT ? DM_CONNECT_TIMEOUT
                                                       : DM_CONNECT_BANNER);
    if (reason == DLV_CLOSE_TLS && c->set->client.tls == DLV_TLS_OPPORTUNISTIC && !a->clear && !c->core.aborted) {
        /* RFC 7435: better in clear than not at all, but on a new connection. */
        pr_warn(c->w->node->log, EV_TLS_FALLBACK, PR_SL("dest", dlv_dest_name(c->core.dest)), PR_S("remote", c->remote),
                PR_SL("reason", v->text));
        a->clear = true;
        if (c->has_target)
            connect_target(c);
        else
            connect_unix(c);
        return;
    }
    keep_verdict(a, v);
    mark_dead(c);
    next_target(c);
}

/* The mode of this session; a client is made for each. */
static enum dlv_tls_mode tls_mode(const struct conn *c)
{
    if (c->attempt->clear || !c->has_target)
        return DLV_TLS_NEVER;
    return c->set->client.tls;
}

void conn_talk(struct conn *c)
{
    struct dlv_client_options o = c->set->client;
    struct dlv_client_event ev = {.type = DLV_EV_CONNECTED};
    o.lmtp = c->lmtp;
    o.tls = tls_mode(c);
    o.mails_max = dlv_dest_mails_max(c->core.dest);
    o.rcpts_max = dlv_dest_rcpts_max(c->core.dest);
    c->phase = CONN_TALKING;
    c->tls[0] = '\0';
    c->client = dlv_client_new(&o);
    conn_event(c, &ev);
}

/* --- resolving --- */

static enum dlv_dns dns_status(enum pr_dns_status s)
{
    switch (s) {
    case PR_DNS_OK:
        return DLV_DNS_OK;
    case PR_DNS_NODATA:
        return DLV_DNS_NODATA;
    case PR_DNS_NXDOMAIN:
        return DLV_DNS_NXDOMAIN;
    case PR_DNS_TEMP:
    case PR_DNS_STATUS_NR:
        break;
    }
    return DLV_DNS_TEMP;
}

static void targets_known(struct conn *c)
{
    struct attempt *a = c->attempt;
    dlv_route_finish(&a->route, &c->set->route, &c->w->dead, pr_clock_now().mono);
    if (a->route.failed) {
        report_connect(c->w, DM_CONNECT_DNS);
        keep_verdict(a, &a->route.verdict);
        give_up(c);
    } else {
        next_target(c);
    }
}

static void on_addr(void *data, uint64_t query_id, const struct pr_dns_answer *answer)
{
    struct conn *c = data;
    struct attempt *a = c->attempt;
    for (size_t i = 0; i < a->route.n_hosts; i++) {
        if (a->queries[i] != query_id)
            continue;
        a->queries[i] = 0;
        dlv_route_addr(&a->route, i, dns_status(answer->status), answer->addrs, answer->n);
    }
    if (dlv_route_addrs_done(&a->route))
        targets_known(c);
}

static void go_on(struct conn *c, enum dlv_route_need need);

static void on_mx(void *data, uint64_t query_id, const struct pr_dns_answer *answer)
{
    struct conn *c = data;
    struct attempt *a = c->attempt;
    struct dlv_mx mx[PR_DNS_RECORDS_MAX];
    size_t n = PR_MIN(answer->n, (size_t)PR_DNS_RECORDS_MAX);
    (void)query_id;
    a->mx_query = 0;
    for (size_t i = 0; answer->status == PR_DNS_OK && i < n; i++)
        mx[i] = (struct dlv_mx){answer->mx[i].preference, answer->mx[i].host};
    go_on(c, dlv_route_mx(&a->route, pr_buf_slice(&a->domain), dns_status(answer->status), mx, n, &c->w->rng, &c->set->route));
}

static void go_on(struct conn *c, enum dlv_route_need need)
{
    struct attempt *a = c->attempt;
    const struct dlv_route_options *o = &c->set->route;
    int want = o->ipv4 && o->ipv6 ? AF_UNSPEC : o->ipv6 ? AF_INET6 : AF_INET;
    switch (need) {
    case DLV_NEED_MX:
        a->mx_query = pr_resolver_mx(c->w->resolver, pr_buf_slice(&a->domain), on_mx, c);
        break;
    case DLV_NEED_ADDRS:
        for (size_t i = 0; i < a->route.n_hosts; i++)
            a->queries[i] = pr_resolver_addr(c->w->resolver, pr_slice_str(a->route.hosts[i].name), want, on_addr, c);
        break;
    case DLV_NEED_NOTHING:
        targets_known(c);
        break;
    }
}

static void no_such_name(struct conn *c)
{
    struct dlv_verdict v = dlv_verdict_own(MAIL_OUTCOME_PERM, MAIL_SCOPE_RCPT, MAIL_STAGE_DNS, "5.1.2",
                                           "no valid internationalized domain name");
    keep_verdict(c->attempt, &v);
    give_up(c);
}

void conn_open(struct dlv_worker *w, struct dlv_dest *dest)
{
    struct conn *c = pr_new(struct conn);
    struct attempt *a = pr_new(struct attempt);
    struct dlv_job *first = dlv_dest_peek(dest);
    struct pr_slice domain = first == NULL ? dlv_dest_name(dest) : job_of(first)->group.domain;
    c->w = w;
    c->set = settings_ref(w->set);
    c->attempt = a;
    pr_list_init(&c->link);
    pr_list_init(&c->fetch.link);
    pr_list_push_back(&w->conns, &c->link);
    pr_timer_init(&c->timer);
    dlv_lane_open(w->lane, &c->core, dest, pr_clock_now().mono);
    a->conf = pr_config_route(c->set->config, domain);
    c->lmtp = a->conf->kind == PR_ROUTE_LMTP;
    c->verify = c->set->tls_verify != NULL;
    if (a->conf->kind == PR_ROUTE_MX) {
        if (dlv_domain_to_ascii(domain, &a->domain) != 0) {
            no_such_name(c);
            return;
        }
    } else if (a->conf->next_hop.host == NULL) {
        connect_unix(c);
        return;
    } else {
        pr_buf_str(&a->domain, a->conf->next_hop.host);
    }
    bool mx = a->conf->kind == PR_ROUTE_MX || a->conf->mx_of_host;
    uint16_t port = a->conf->kind == PR_ROUTE_MX ? 0 : a->conf->next_hop.port;
    go_on(c, dlv_route_begin(&a->route, pr_buf_slice(&a->domain), mx, port, &c->set->route));
}
