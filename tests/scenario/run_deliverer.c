/* run_deliverer SCRIPT: replays a text file against the deliverer's pure parts: the client of one connection, and the way
 * from DNS answers to targets. What the core says that the script does not expect, and what the script expects that does
 * not come, fails; what is said must be expected before the next event.
 *
 * Setting up:
 *   option NAME=VALUE...       lmtp, tls=never|opportunistic|required, mails_max, rcpts_max, greeting, command, tls_timeout,
 *                              data, block, dot, quit (durations); hostname, own=IP:PORT, refused=IP/N, ipv4=0, ipv6=0, seed
 *   mail ID from=ADDR [body=8bitmime|binarymime] [smtputf8] [ret=full|hdrs] [envid=X] [size=N] [chunked]
 *   rcpt ADDR [notify=N] [orcpt=X] [done]     of the mail above
 *   content TEXT               of the mail above; \r \n \0 \xHH \\ are escapes
 * Client, events:
 *   CONNECT | S: LINE | S> BYTES (no CRLF added) | EOF | ERROR TEXT | TLS up | TLS failed TEXT | T+DURATION | QUIT | ABORT
 *   MAIL ID (must be welcome) | CHUNK ID BYTES | CHUNK ID last BYTES | GONE ID
 * Client, expected:
 *   C: LINE | C> BYTES (a part of a line) | A: ready, starttls, dot ID, want ID SEQ, report ID, requeue ID [free], close REASON
 *   R: ID ADDR OUTCOME [CODE [ENHANCED [TEXT...]]]   result of a recipient | SCOPE ID rcpt|message|site
 *   CAN | CANNOT               whether another mail is welcome | DEADLINE DURATION|none from now
 *   VERDICT OUTCOME CODE|- ENHANCED                  on the site, after close; or of a route
 * Route: ROUTE DOMAIN mx|host [port=N] | NEED mx|addrs|nothing | MX STATUS [PREF HOST]... | ADDR HOST STATUS [IP]... |
 *   DEAD IP PORT | FINISH | TARGET IP[:PORT] in order | ONE OF IP IP... (next target is one of these) | END (no more targets)
 */
#include <stdio.h>
#include <stdlib.h>

#include "common/base/alloc.h"
#include "deliverer/core/client.h"
#include "deliverer/core/route.h"

enum { MAILS = 8, RCPTS = 100, LIST = 64 };

struct letter {
    bool used;
    struct mail_envelope envelope;
    struct mail_group group;
    struct mail_rcpt rcpts[RCPTS];
    struct pr_slice content;
    bool chunked;
    uint64_t size;
    struct dlv_mail mail;
};

struct run {
    const char *path;
    unsigned line;
    struct pr_arena arena;
    struct dlv_client_options options;
    struct dlv_client *client;
    struct letter mails[MAILS];
    struct letter *current;
    pr_mono now;
    struct pr_buf said;
    struct dlv_client_action actions[LIST];
    size_t n_actions, at_action;
    struct dlv_route_options route_options;
    struct dlv_endpoint own[8];
    struct dlv_net refused[8];
    struct dlv_route route;
    struct pr_slice domain;
    enum dlv_route_need need;
    struct pr_rng rng;
    struct dlv_deadlist dead;
    size_t at_target;
};

static void fail(const struct run *r, const char *what, struct pr_slice detail)
{
    (void)fprintf(stderr, "%s:%u: %s: %.*s\n", r->path, r->line, what, PR_SLICE_ARG(detail));
    exit(1);
}

static struct pr_slice word(struct pr_slice *rest)
{
    *rest = pr_slice_trim(*rest);
    return pr_slice_cut(*rest, ' ', rest);
}

static uint64_t number(const struct run *r, struct pr_slice s)
{
    uint64_t v;
    if (pr_parse_u64(s, UINT64_MAX, &v) != 0)
        fail(r, "not a number", s);
    return v;
}

static uint64_t duration(const struct run *r, struct pr_slice s)
{
    static const struct {
        const char *suffix;
        uint64_t ms;
    } units[] = {{"ms", 1}, {"s", 1000}, {"m", 60000}};
    for (size_t i = 0; i < PR_ARRAY_LEN(units); i++)
        if (pr_slice_iends(s, pr_slice_str(units[i].suffix)))
            return number(r, pr_slice_head(s, s.len - strlen(units[i].suffix))) * units[i].ms;
    fail(r, "not a duration", s);
    return 0;
}

/* Escapes undone, in the arena. */
static struct pr_slice unescape(struct run *r, struct pr_slice s)
{
    char *out = pr_arena_alloc(&r->arena, s.len + 1);
    size_t n = 0;
    for (size_t i = 0; i < s.len; i++) {
        char c = s.ptr[i];
        if (c == '\\' && i + 1 < s.len) {
            c = s.ptr[++i];
            uint64_t hex;
            if (c == 'x' && i + 2 < s.len && pr_parse_hex64(pr_slice(s.ptr + i + 1, 2), &hex) == 0) {
                c = (char)hex;
                i += 2;
            } else {
                c = c == 'r' ? '\r' : c == 'n' ? '\n' : c == '0' ? '\0' : c;
            }
        }
        out[n++] = c;
    }
    return pr_slice(out, n);
}

static struct in6_addr address(const struct run *r, struct pr_slice s)
{
    struct in6_addr a;
    if (dlv_addr_parse(s, &a) != 0)
        fail(r, "not an address", s);
    return a;
}

/* --- setting up --- */

static void client_option(struct run *r, struct pr_slice name, struct pr_slice value)
{
    struct dlv_client_options *o = &r->options;
    const struct {
        const char *name;
        uint64_t *at;
    } times[] = {{"greeting", &o->greeting_ms}, {"command", &o->command_ms}, {"tls_timeout", &o->tls_ms}, {"data", &o->data_ms},
                 {"block", &o->block_ms},       {"dot", &o->dot_ms},         {"quit", &o->quit_ms}};
    for (size_t i = 0; i < PR_ARRAY_LEN(times); i++)
        if (pr_slice_eq_str(name, times[i].name)) {
            *times[i].at = duration(r, value);
            return;
        }
    if (pr_slice_eq_str(name, "lmtp"))
        o->lmtp = true;
    else if (pr_slice_eq_str(name, "mails_max"))
        o->mails_max = (unsigned)number(r, value);
    else if (pr_slice_eq_str(name, "rcpts_max"))
        o->rcpts_max = (unsigned)number(r, value);
    else if (pr_slice_eq_str(name, "tls"))
        o->tls = pr_slice_eq_str(value, "never")           ? DLV_TLS_NEVER
                 : pr_slice_eq_str(value, "opportunistic") ? DLV_TLS_OPPORTUNISTIC
                                                           : DLV_TLS_REQUIRED;
    else
        fail(r, "unknown option", name);
}

static bool route_option(struct run *r, struct pr_slice name, struct pr_slice value)
{
    struct dlv_route_options *o = &r->route_options;
    if (pr_slice_eq_str(name, "hostname")) {
        o->hostname = value;
    } else if (pr_slice_eq_str(name, "own")) {
        size_t colon = pr_slice_rfind(value, ':');
        r->own[o->n_own++] = (struct dlv_endpoint){address(r, pr_slice_head(value, colon)),
                                                   (uint16_t)number(r, pr_slice_from(value, colon + 1))};
    } else if (pr_slice_eq_str(name, "refused")) {
        struct pr_slice bits, ip = pr_slice_cut(value, '/', &bits);
        struct in6_addr a = address(r, ip);
        r->refused[o->n_refused++] = (struct dlv_net){a, (unsigned)number(r, bits) + (dlv_addr_is_v4(&a) ? 96u : 0u)};
    } else if (pr_slice_eq_str(name, "ipv4")) {
        o->ipv4 = number(r, value) != 0;
    } else if (pr_slice_eq_str(name, "ipv6")) {
        o->ipv6 = number(r, value) != 0;
    } else if (pr_slice_eq_str(name, "seed")) {
        pr_rng_init(&r->rng, number(r, value));
    } else {
        return false;
    }
    return true;
}

static void on_option(struct run *r, struct pr_slice rest)
{
    while (rest.len > 0) {
        struct pr_slice value, name = pr_slice_cut(word(&rest), '=', &value);
        if (!route_option(r, name, value))
            client_option(r, name, value);
    }
}

static struct letter *letter(struct run *r, struct pr_slice id)
{
    uint64_t n = number(r, id);
    if (n >= MAILS)
        fail(r, "mail ids are below 8", id);
    return &r->mails[n];
}

static void on_mail_setup(struct run *r, struct pr_slice rest)
{
    struct letter *m = r->current = letter(r, word(&rest));
    m->used = true;
    m->group = (struct mail_group){.rcpts = m->rcpts};
    m->content = PR_SLICE_LIT("Subject: x\r\n\r\nhello\r\n");
    while (rest.len > 0) {
        struct pr_slice value, name = pr_slice_cut(word(&rest), '=', &value);
        if (pr_slice_eq_str(name, "from"))
            m->envelope.sender = unescape(r, value);
        else if (pr_slice_eq_str(name, "body"))
            m->envelope.body = pr_slice_eq_str(value, "8bitmime") ? MAIL_BODY_8BITMIME : MAIL_BODY_BINARYMIME;
        else if (pr_slice_eq_str(name, "smtputf8"))
            m->envelope.smtputf8 = true;
        else if (pr_slice_eq_str(name, "ret"))
            m->envelope.ret = pr_slice_eq_str(value, "full") ? MAIL_RET_FULL : MAIL_RET_HDRS;
        else if (pr_slice_eq_str(name, "envid"))
            m->envelope.envid = unescape(r, value);
        else if (pr_slice_eq_str(name, "size"))
            m->size = number(r, value);
        else if (pr_slice_eq_str(name, "chunked"))
            m->chunked = true;
        else
            fail(r, "unknown property of a mail", name);
    }
}

static void on_rcpt_setup(struct run *r, struct pr_slice rest)
{
    struct letter *m = r->current;
    struct mail_rcpt *p = &m->rcpts[m->group.n_rcpts++];
    p->address = unescape(r, word(&rest));
    while (rest.len > 0) {
        struct pr_slice value, name = pr_slice_cut(word(&rest), '=', &value);
        if (pr_slice_eq_str(name, "notify"))
            p->notify = (unsigned)number(r, value);
        else if (pr_slice_eq_str(name, "orcpt"))
            p->orcpt = unescape(r, value);
        else if (pr_slice_eq_str(name, "done"))
            p->status = MAIL_RCPT_DELIVERED;
        else
            fail(r, "unknown property of a recipient", name);
    }
}

/* --- client: events --- */

static void settled(const struct run *r)
{
    if (r->said.len > 0)
        fail(r, "the client said what is not expected", pr_buf_slice(&r->said));
    if (r->at_action < r->n_actions) {
        static const char *const names[] = {"dot", "starttls", "want", "report", "requeue", "ready", "close"};
        fail(r, "an action is not expected", pr_slice_str(names[r->actions[r->at_action].type]));
    }
}

static void step(struct run *r, struct dlv_client_event ev)
{
    struct dlv_client_out out = {.send = &r->said};
    settled(r);
    if (r->client == NULL)
        r->client = dlv_client_new(&r->options);
    ev.now = r->now;
    dlv_client_step(r->client, &ev, &out);
    r->n_actions = r->at_action = 0;
    for (size_t i = 0; i < out.n; i++)
        r->actions[r->n_actions++] = out.actions[i];
}

static void on_server(struct run *r, struct pr_slice text, bool line)
{
    struct pr_slice bytes = unescape(r, text);
    struct pr_buf b = {0};
    pr_buf_add(&b, bytes);
    if (line)
        pr_buf_str(&b, "\r\n");
    step(r, (struct dlv_client_event){.type = DLV_EV_BYTES, .bytes = pr_buf_slice(&b)});
    pr_buf_fini(&b);
}

static void on_mail(struct run *r, struct pr_slice rest)
{
    struct letter *m = letter(r, word(&rest));
    if (!m->used)
        fail(r, "no such mail", rest);
    if (m->mail.results == NULL) {
        dlv_mail_init(&m->mail, &m->envelope, &m->group, &r->arena);
        m->mail.complete = !m->chunked;
        m->mail.content = m->chunked ? (struct pr_slice){NULL, 0} : m->content;
        m->mail.size_bytes = m->size > 0 ? m->size : m->content.len;
    }
    if (!dlv_client_can_take(r->client))
        fail(r, "the client cannot take a mail", rest);
    step(r, (struct dlv_client_event){.type = DLV_EV_MAIL, .mail = &m->mail});
}

static void on_chunk(struct run *r, struct pr_slice rest)
{
    struct letter *m = letter(r, word(&rest));
    bool last = pr_slice_starts(rest, PR_SLICE_LIT("last "));
    if (last)
        (void)word(&rest);
    step(r, (struct dlv_client_event){
                .type = DLV_EV_CHUNK, .mail = &m->mail, .bytes = unescape(r, rest), .last = last});
}

static void on_tls(struct run *r, struct pr_slice rest)
{
    bool up = pr_slice_eq_str(word(&rest), "up");
    step(r, (struct dlv_client_event){.type = up ? DLV_EV_TLS_UP : DLV_EV_TLS_FAILED, .bytes = rest});
}

static void on_time(struct run *r, struct pr_slice text)
{
    r->now = pr_mono_add(r->now, duration(r, text));
    step(r, (struct dlv_client_event){.type = DLV_EV_TIME});
}

/* --- client: what is expected --- */

static void on_said(struct run *r, struct pr_slice want)
{
    struct pr_slice said = pr_buf_slice(&r->said), text = unescape(r, want);
    size_t end = pr_slice_find_slice(said, PR_SLICE_LIT("\r\n"));
    if (end == SIZE_MAX)
        fail(r, "the client said nothing (more); expected", want);
    if (!pr_slice_eq(pr_slice_head(said, end), text)) {
        (void)fprintf(stderr, "expected: %.*s\n", PR_SLICE_ARG(want));
        fail(r, "the client said", pr_slice_head(said, end));
    }
    pr_buf_consume(&r->said, end + 2);
}

static void on_said_part(struct run *r, struct pr_slice want)
{
    struct pr_slice text = unescape(r, want);
    if (!pr_slice_starts(pr_buf_slice(&r->said), text))
        fail(r, "the client said", pr_buf_slice(&r->said));
    pr_buf_consume(&r->said, text.len);
}

static const struct dlv_mail *mail_of(struct run *r, struct pr_slice id)
{
    return &letter(r, id)->mail;
}

static void on_action(struct run *r, struct pr_slice want)
{
    static const struct {
        const char *name;
        enum dlv_client_action_type type;
    } names[] = {{"dot", DLV_DO_DOT},       {"starttls", DLV_DO_START_TLS}, {"want", DLV_DO_WANT_CHUNK}, {"report", DLV_DO_REPORT},
                 {"requeue", DLV_DO_REQUEUE}, {"ready", DLV_DO_READY},      {"close", DLV_DO_CLOSE}};
    struct pr_slice rest = want, name = word(&rest);
    if (r->at_action == r->n_actions)
        fail(r, "nothing happened; expected", want);
    const struct dlv_client_action *a = &r->actions[r->at_action++];
    size_t i = 0;
    while (i < PR_ARRAY_LEN(names) && !pr_slice_eq_str(name, names[i].name))
        i++;
    if (i == PR_ARRAY_LEN(names) || names[i].type != a->type)
        fail(r, "another action than", want);
    if (a->mail != NULL && a->mail != mail_of(r, word(&rest)))
        fail(r, "the action is about another mail", want);
    if (a->type == DLV_DO_WANT_CHUNK && number(r, word(&rest)) != a->seq)
        fail(r, "another chunk is wanted", want);
    if (a->type == DLV_DO_REQUEUE && a->free != pr_slice_eq_str(word(&rest), "free"))
        fail(r, "requeued, but free differs", want);
    if (a->type == DLV_DO_CLOSE &&
        !pr_slice_eq_str(word(&rest), dlv_close_reason_names[dlv_client_close_reason(r->client)]))
        fail(r, "closed, but the reason is", pr_slice_str(dlv_close_reason_names[dlv_client_close_reason(r->client)]));
}

static void match(const struct run *r, const char *what, struct pr_slice want, struct pr_slice have)
{
    if (want.len > 0 && !pr_slice_eq(want, have)) {
        (void)fprintf(stderr, "expected %s: %.*s\n", what, PR_SLICE_ARG(want));
        fail(r, what, have);
    }
}

static struct pr_slice code_text(struct run *r, uint16_t code)
{
    char *text = pr_arena_alloc(&r->arena, 8);
    return pr_slice(text, (size_t)snprintf(text, 8, "%u", code));
}

static void on_result(struct run *r, struct pr_slice rest)
{
    struct letter *m = letter(r, word(&rest));
    struct pr_slice who = unescape(r, word(&rest));
    size_t i = 0;
    while (i < m->group.n_rcpts && !pr_slice_eq(m->rcpts[i].address, who))
        i++;
    if (i == m->group.n_rcpts)
        fail(r, "no such recipient", who);
    const struct dlv_result *x = &m->mail.results[i];
    struct pr_slice outcome = word(&rest);
    if (!x->decided)
        outcome.len == 4 && memcmp(outcome.ptr, "open", 4) == 0 ? (void)0 : fail(r, "not decided", who);
    else
        match(r, "outcome", outcome, pr_slice_str(mail_outcome_names[x->outcome]));
    match(r, "code", word(&rest), code_text(r, x->code));
    match(r, "enhanced", word(&rest), x->enhanced);
    match(r, "text", rest, x->diagnostic);
}

static void on_scope(struct run *r, struct pr_slice rest)
{
    static const char *const names[] = {"rcpt", "message", "site"};
    const struct dlv_mail *m = mail_of(r, word(&rest));
    match(r, "scope", word(&rest), pr_slice_str(names[m->scope]));
}

static void on_verdict(struct run *r, struct pr_slice rest)
{
    const struct dlv_verdict *v = r->client != NULL ? dlv_client_verdict(r->client) : &r->route.verdict;
    if (r->client == NULL && !r->route.failed)
        fail(r, "the route has not failed", rest);
    match(r, "outcome", word(&rest), pr_slice_str(mail_outcome_names[v->outcome]));
    struct pr_slice code = word(&rest);
    match(r, "code", code, pr_slice_eq_str(code, "-") && v->code == 0 ? code : code_text(r, v->code));
    match(r, "enhanced", word(&rest), v->enhanced);
    match(r, "text", rest, v->text);
}

static void on_deadline(struct run *r, struct pr_slice rest)
{
    pr_mono d = dlv_client_deadline(r->client);
    bool none = pr_slice_eq_str(rest, "none");
    if (none ? d.ms != UINT64_MAX : d.ms != r->now.ms + duration(r, rest))
        fail(r, "another deadline than", rest);
}

/* --- route --- */

static enum dlv_dns dns_status(const struct run *r, struct pr_slice s)
{
    static const char *const names[] = {"ok", "nodata", "nxdomain", "temp"};
    for (unsigned i = 0; i < PR_ARRAY_LEN(names); i++)
        if (pr_slice_eq_str(s, names[i]))
            return (enum dlv_dns)i;
    fail(r, "not a DNS status", s);
    return DLV_DNS_TEMP;
}

static void on_route(struct run *r, struct pr_slice rest)
{
    r->domain = word(&rest);
    bool mx = pr_slice_eq_str(word(&rest), "mx");
    struct pr_slice value;
    (void)pr_slice_cut(word(&rest), '=', &value);
    r->at_target = 0;
    r->need = dlv_route_begin(&r->route, r->domain, mx, value.len > 0 ? (uint16_t)number(r, value) : 0, &r->route_options);
}

static void on_mx(struct run *r, struct pr_slice rest)
{
    struct dlv_mx mx[LIST];
    size_t n = 0;
    enum dlv_dns status = dns_status(r, word(&rest));
    while (rest.len > 0) {
        mx[n].preference = (uint16_t)number(r, word(&rest));
        struct pr_slice host = word(&rest);
        mx[n++].host = pr_slice_eq_str(host, ".") ? "" : pr_arena_cstr(&r->arena, host);
    }
    r->need = dlv_route_mx(&r->route, r->domain, status, mx, n, &r->rng, &r->route_options);
}

static void on_addr(struct run *r, struct pr_slice rest)
{
    struct in6_addr addrs[LIST];
    struct pr_slice host = word(&rest);
    size_t n = 0, i = 0;
    enum dlv_dns status = dns_status(r, word(&rest));
    while (rest.len > 0)
        addrs[n++] = address(r, word(&rest));
    while (i < r->route.n_hosts && !pr_slice_eq_str(host, r->route.hosts[i].name))
        i++;
    if (i == r->route.n_hosts)
        fail(r, "this host is not asked for", host);
    dlv_route_addr(&r->route, i, status, addrs, n);
}

static void on_need(struct run *r, struct pr_slice rest)
{
    static const char *const names[] = {"mx", "addrs", "nothing"};
    match(r, "need", rest, pr_slice_str(names[r->need]));
}

static const struct dlv_target *next_target(struct run *r, struct pr_slice want)
{
    if (r->at_target == r->route.n_targets)
        fail(r, "no target left; expected", want);
    return &r->route.targets[r->at_target++];
}

static void on_target(struct run *r, struct pr_slice rest)
{
    const struct dlv_target *t = next_target(r, rest);
    struct pr_slice ip = word(&rest), port = word(&rest);
    struct in6_addr want = address(r, ip);
    if (memcmp(&want, &t->addr, sizeof want) != 0)
        fail(r, "another target than", ip);
    if (port.len > 0 && number(r, port) != t->port)
        fail(r, "another port than", port);
}

static void on_one_of(struct run *r, struct pr_slice rest)
{
    const struct dlv_target *t = next_target(r, rest);
    while (rest.len > 0) {
        struct in6_addr want = address(r, word(&rest));
        if (memcmp(&want, &t->addr, sizeof want) == 0)
            return;
    }
    fail(r, "the next target is none of these", rest);
}

static void on_dead(struct run *r, struct pr_slice rest)
{
    struct in6_addr a = address(r, word(&rest));
    dlv_dead_mark(&r->dead, &a, (uint16_t)number(r, word(&rest)), pr_mono_add(r->now, 60000));
}

/* --- the script --- */

static bool simple(struct run *r, struct pr_slice line)
{
    static const struct {
        const char *name;
        enum dlv_client_event_type type;
    } events[] = {{"CONNECT", DLV_EV_CONNECTED}, {"EOF", DLV_EV_EOF}, {"QUIT", DLV_EV_QUIT}, {"ABORT", DLV_EV_ABORT}};
    for (size_t i = 0; i < PR_ARRAY_LEN(events); i++)
        if (pr_slice_eq_str(line, events[i].name)) {
            step(r, (struct dlv_client_event){.type = events[i].type});
            return true;
        }
    if (pr_slice_eq_str(line, "CAN") || pr_slice_eq_str(line, "CANNOT")) {
        if (dlv_client_can_take(r->client) != pr_slice_eq_str(line, "CAN"))
            fail(r, "it is the other way round", line);
        return true;
    }
    if (pr_slice_eq_str(line, "FINISH")) {
        if (!dlv_route_addrs_done(&r->route))
            fail(r, "a host has no answer yet", line);
        dlv_route_finish(&r->route, &r->route_options, &r->dead, r->now);
        return true;
    }
    if (pr_slice_eq_str(line, "END")) {
        if (r->at_target != r->route.n_targets)
            fail(r, "there are more targets", line);
        return true;
    }
    return false;
}

static void on_error(struct run *r, struct pr_slice rest)
{
    step(r, (struct dlv_client_event){.type = DLV_EV_ERROR, .bytes = rest});
}

static void on_gone(struct run *r, struct pr_slice rest)
{
    step(r, (struct dlv_client_event){.type = DLV_EV_CHUNK_GONE, .mail = &letter(r, rest)->mail});
}

static void on_s_line(struct run *r, struct pr_slice rest) { on_server(r, rest, true); }
static void on_s_raw(struct run *r, struct pr_slice rest) { on_server(r, rest, false); }
static void on_content(struct run *r, struct pr_slice rest) { r->current->content = unescape(r, rest); }

static void run_line(struct run *r, struct pr_slice line)
{
    static const struct {
        const char *prefix;
        void (*run)(struct run *r, struct pr_slice rest);
    } verbs[] = {
        {"option ", on_option}, {"mail ", on_mail_setup}, {"rcpt ", on_rcpt_setup}, {"content ", on_content},
        {"S: ", on_s_line},     {"S> ", on_s_raw},        {"C: ", on_said},         {"A: ", on_action},     {"C> ", on_said_part},
        {"R: ", on_result},     {"SCOPE ", on_scope},     {"VERDICT ", on_verdict}, {"DEADLINE ", on_deadline},
        {"MAIL ", on_mail},     {"CHUNK ", on_chunk},     {"GONE ", on_gone},       {"TLS ", on_tls},
        {"ERROR ", on_error},   {"T+", on_time},          {"ROUTE ", on_route},     {"NEED ", on_need},
        {"MX ", on_mx},         {"ADDR ", on_addr},       {"TARGET ", on_target},   {"ONE OF ", on_one_of},
        {"DEAD ", on_dead},
    };
    if (line.len == 0 || line.ptr[0] == '#' || simple(r, line))
        return;
    if (pr_slice_eq_str(line, "C:")) {
        on_said(r, (struct pr_slice){"", 0});
        return;
    }
    for (size_t i = 0; i < PR_ARRAY_LEN(verbs); i++)
        if (pr_slice_starts(line, pr_slice_str(verbs[i].prefix))) {
            verbs[i].run(r, pr_slice_from(line, strlen(verbs[i].prefix)));
            return;
        }
    fail(r, "not understood", line);
}

static void read_script(const char *path, struct pr_buf *text)
{
    FILE *f = fopen(path, "rb");
    char piece[4096];
    size_t n;
    if (f == NULL) {
        (void)fprintf(stderr, "%s: cannot be read\n", path);
        exit(2);
    }
    while ((n = fread(piece, 1, sizeof piece, f)) > 0)
        pr_buf_append(text, piece, n);
    (void)fclose(f);
}

int main(int argc, char **argv)
{
    struct pr_buf text = {0};
    struct run *r = pr_new(struct run);
    if (argc != 2) {
        (void)fprintf(stderr, "usage: %s SCRIPT\n", argv[0]);
        return 2;
    }
    r->path = argv[1];
    r->now.ms = 1000000;
    r->options = (struct dlv_client_options){.name = PR_SLICE_LIT("us.example"), .greeting_ms = 300000, .command_ms = 300000,
                                             .tls_ms = 60000, .data_ms = 120000, .block_ms = 180000, .dot_ms = 600000,
                                             .quit_ms = 20000};
    r->route_options = (struct dlv_route_options){.hostname = PR_SLICE_LIT("us.example"), .own = r->own,
                                                  .refused = r->refused, .ipv4 = true, .ipv6 = true, .port = 25};
    pr_rng_init(&r->rng, 1);
    read_script(argv[1], &text);
    struct pr_slice rest = pr_buf_slice(&text);
    while (rest.len > 0) {
        r->line++;
        run_line(r, pr_slice_cut(rest, '\n', &rest));
    }
    settled(r);
    dlv_client_free(r->client);
    pr_buf_fini(&r->said);
    pr_buf_fini(&text);
    pr_arena_fini(&r->arena);
    pr_free(r);
    return 0;
}
