/* A client's connection: a stream on one side, the session core on the other, an upload while a message is under way.
 *
 *   accept -> limits, policy, session -> events from stream, timers and spool -> session -> actions -> close -> on_close
 *
 * Nothing is decided here. A step is never made inside a step: the stream and the spool call back from the loop only. */
#include "common/base/alloc.h"
#include "common/base/assert.h"
#include "common/net/clock.h"
#include "ingress/shell/worker_internal.h"

enum {
    LINGER_MS = 2000,
    OUTPUT_HIGH = 64 * 1024, /* replies a client does not read; more are not made */
};

struct connection {
    struct pr_list link, starved;
    struct pr_timer timer;
    struct worker *worker;
    struct policy *policy;
    const struct policy_listener *listener;
    uint64_t id;
    struct pr_stream *stream;
    struct ing_session *session;
    struct upload *upload;
    struct in6_addr addr;
    bool has_addr, trusted;
    char addr_text[INET6_ADDRSTRLEN];
    size_t reserved;
    bool core_pauses, output_full, closing;
    enum ing_close_reason reason;
    pr_mono since;
};

static const struct ing_ops session_ops;

/* ---- steps ---- */

static void set_timer(struct connection *c)
{
    pr_mono due = ing_session_deadline(c->session);
    struct pr_timerq *q = &c->worker->timers;
    if (due.ms == UINT64_MAX)
        pr_timerq_cancel(q, &c->timer);
    else if (!pr_timer_armed(&c->timer) || due.ms < c->timer.due_ms)
        pr_timerq_set(q, &c->timer, due.ms);
    /* A deadline that moved on is found when the timer fires. */
}

static void set_reading(struct connection *c)
{
    if (c->core_pauses || c->output_full)
        pr_stream_pause(c->stream);
    else
        pr_stream_resume(c->stream);
}

static void step(struct connection *c, struct ing_event ev)
{
    if (c->closing)
        return;
    ev.now = pr_clock_now();
    ing_session_step(c->session, &ev);
    if (c->closing)
        return;
    bool full = pr_stream_queued(c->stream) > OUTPUT_HIGH;
    if (full && !c->output_full) {
        c->output_full = true;
        set_reading(c);
    }
    set_timer(c);
}

/* ---- actions ---- */

static void do_send(void *data, struct pr_slice bytes)
{
    pr_stream_write(((struct connection *)data)->stream, bytes);
}

static void do_start_tls(void *data)
{
    struct connection *c = data;
    pr_stream_start_tls(c->stream, c->listener->tls, true, NULL);
}

static void do_pause(void *data)
{
    struct connection *c = data;
    c->core_pauses = true;
    set_reading(c);
}

static void do_resume(void *data)
{
    struct connection *c = data;
    c->core_pauses = false;
    set_reading(c);
}

static void do_close(void *data, enum ing_close_reason reason)
{
    struct connection *c = data;
    c->closing = true;
    c->reason = reason;
    pr_timerq_cancel(&c->worker->timers, &c->timer);
    pr_list_remove(&c->starved);
    pr_stream_close(c->stream, LINGER_MS);
}

static struct budget *budget_of(const struct connection *c)
{
    return (struct budget *)(uintptr_t)&c->worker->shared->budget;
}

static bool do_reserve(void *data, size_t bytes)
{
    struct connection *c = data;
    if (bytes <= c->reserved) {
        budget_give(budget_of(c), c->reserved - bytes);
    } else if (!budget_take(budget_of(c), bytes - c->reserved, c->upload != NULL)) {
        if (c->upload != NULL && !pr_list_linked(&c->starved))
            pr_list_push_back(&c->worker->starved, &c->starved);
        return false;
    }
    c->reserved = bytes;
    return true;
}

static enum ing_spool_status do_check(void *data, uint64_t size_bytes)
{
    struct connection *c = data;
    (void)size_bytes;
    switch (spool_intake(c->worker->spool)) {
    case ING_INTAKE_OPEN:
        return budget_full(budget_of(c)) ? ING_SPOOL_MEMORY : ING_SPOOL_OK;
    case ING_INTAKE_NO_LEADER:
    case ING_INTAKE_REFUSED:
        return ING_SPOOL_UNAVAILABLE;
    case ING_INTAKE_DISK_FULL:
        return ING_SPOOL_DISK_FULL;
    }
    pr_unreachable();
}

static enum ing_spool_status do_open(void *data, uint64_t size_bytes, struct pr_slice *ret_id)
{
    struct connection *c = data;
    pr_assert(c->upload == NULL);
    enum ing_spool_status status = do_check(data, size_bytes);
    if (status == ING_SPOOL_MEMORY)
        status = ING_SPOOL_OK; /* this message's first piece has its place already */
    if (status != ING_SPOOL_OK)
        return status;
    c->upload = upload_open(c->worker->spool, c, size_bytes);
    *ret_id = upload_token(c->upload);
    return ING_SPOOL_OK;
}

static bool do_append(void *data, struct pr_buf *chunk)
{
    return upload_append(((struct connection *)data)->upload, chunk);
}

static void do_commit(void *data, const struct mail_envelope *envelope, struct pr_buf *last)
{
    upload_commit(((struct connection *)data)->upload, envelope, last);
}

static void do_abort(void *data)
{
    struct connection *c = data;
    if (c->upload != NULL)
        upload_abort(c->upload);
    c->upload = NULL;
    pr_list_remove(&c->starved);
}

/* ---- observations ---- */

static void note_rejected(struct connection *c, const struct ing_note *n)
{
    const struct shared *sh = c->worker->shared;
    pr_metric_inc2(sh->metrics, IM_REJECTIONS, (unsigned)n->stage, (unsigned)n->reason);
    pr_info(sh->log, "rejected", PR_U("session", c->id), PR_S("client", c->addr_text),
            PR_SL("helo", ing_session_helo(c->session)), PR_S("stage", ing_stage_names[n->stage]),
            PR_S("reason", ing_reason_names[n->reason]), PR_U("code", n->code), PR_S("status", n->enhanced),
            PR_S("text", n->text), PR_SL("from", n->sender), PR_SL("subject", pr_slice_head(n->subject, 320)));
}

static void note_accepted(struct connection *c, const struct ing_note *n)
{
    const struct shared *sh = c->worker->shared;
    unsigned label = c->listener->label;
    pr_metric_inc2(sh->metrics, IM_ACCEPTED, label, c->trusted ? IM_AUTH_NETWORK : IM_AUTH_NONE);
    pr_metric_observe(sh->metrics, IM_MESSAGE_SIZE, 0, 0, 0, n->size_bytes);
    pr_metric_observe(sh->metrics, IM_TRANSACTION, label, 0, 0, n->duration_ms * 1000);
    pr_info(sh->log, "accepted", PR_SL("id", n->id), PR_U("session", c->id), PR_S("client", c->addr_text),
            PR_SL("helo", ing_session_helo(c->session)), PR_SL("from", n->sender), PR_SL("to", n->rcpts[0].address),
            PR_U("rcpts", n->n_rcpts), PR_U("size", n->size_bytes), PR_U("duration_ms", n->duration_ms));
}

static void on_note(void *data, const struct ing_note *n)
{
    struct connection *c = data;
    switch (n->kind) {
    case ING_NOTE_COMMAND:
        if (n->code >= 200 && n->code < 600)
            pr_metric_inc2(c->worker->shared->metrics, IM_COMMANDS, (unsigned)n->verb, n->code / 100u - 2);
        break;
    case ING_NOTE_REJECTED:
        note_rejected(c, n);
        break;
    case ING_NOTE_ACCEPTED:
        note_accepted(c, n);
        break;
    }
}

static const struct ing_ops session_ops = {
    .send = do_send,
    .start_tls = do_start_tls,
    .pause = do_pause,
    .resume = do_resume,
    .close = do_close,
    .reserve = do_reserve,
    .spool_check = do_check,
    .spool_open = do_open,
    .spool_append = do_append,
    .spool_commit = do_commit,
    .spool_abort = do_abort,
    .note = on_note,
};

/* ---- the spool's side ---- */

static void on_space(void *owner)
{
    step(owner, (struct ing_event){.kind = ING_EV_SPACE});
}

static void on_lost(void *owner, enum ing_spool_status status)
{
    step(owner, (struct ing_event){.kind = ING_EV_SPOOL_LOST, .status = status});
}

static void on_committed(void *owner, enum ing_spool_status status, struct pr_slice id)
{
    struct connection *c = owner;
    c->upload = NULL;
    step(c, (struct ing_event){.kind = ING_EV_COMMITTED, .status = status, .id = id});
}

const struct spool_owner connection_spool_owner = {.space = on_space, .lost = on_lost, .committed = on_committed};

/* ---- the stream's side ---- */

static void on_data(struct pr_stream *s, struct pr_slice data)
{
    step(pr_stream_data(s), (struct ing_event){.kind = ING_EV_BYTES, .bytes = data});
}

static void on_eof(struct pr_stream *s)
{
    step(pr_stream_data(s), (struct ing_event){.kind = ING_EV_EOF});
}

static void on_tls(struct pr_stream *s, const struct pr_tls_info *info, const char *error_text)
{
    struct connection *c = pr_stream_data(s);
    const struct shared *sh = c->worker->shared;
    unsigned version = IM_TLS_OTHER;
    if (info == NULL) {
        pr_metric_add(sh->metrics, IM_TLS, c->listener->label, version, 1, 1);
        pr_metric_inc2(sh->metrics, IM_CONNECTIONS_TOTAL, c->listener->label, IM_CONN_TLS_FAILED);
        pr_info(sh->log, "tls_failed", PR_U("session", c->id), PR_S("client", c->addr_text), PR_S("error", error_text));
        step(c, (struct ing_event){.kind = ING_EV_TLS_FAILED});
        return;
    }
    if (strcmp(info->version, "TLSv1.2") == 0)
        version = IM_TLS_1_2;
    else if (strcmp(info->version, "TLSv1.3") == 0)
        version = IM_TLS_1_3;
    pr_metric_add(sh->metrics, IM_TLS, c->listener->label, version, 0, 1);
    struct pr_buf text = {NULL, 0, 0};
    pr_buf_printf(&text, "%s with cipher %s", info->version, info->cipher);
    step(c, (struct ing_event){.kind = ING_EV_TLS_UP, .tls = pr_buf_slice(&text)});
    pr_buf_fini(&text);
}

static void on_drain(struct pr_stream *s)
{
    struct connection *c = pr_stream_data(s);
    if (c->closing || !c->output_full)
        return;
    c->output_full = false;
    set_reading(c);
}

static void on_close(struct pr_stream *s, int reason)
{
    struct connection *c = pr_stream_data(s);
    struct worker *w = c->worker;
    unsigned accepted = ing_session_accepted(c->session);
    ing_session_free(c->session);
    if (c->upload != NULL)
        upload_abort(c->upload);
    pr_assert(c->reserved == 0);
    pr_debug(w->shared->log, "disconnect", PR_U("session", c->id), PR_S("client", c->addr_text),
             PR_S("reason", c->closing ? ing_close_names[c->reason] : pr_strerror(reason)), PR_U("messages", accepted),
             PR_U("duration_ms", pr_mono_since(pr_clock_now().mono, c->since)));
    pr_metric_add(w->shared->metrics, IM_CONNECTIONS, c->listener->label, 0, 0, -1);
    limits_leave(w->shared->limits, c->listener->conf->name, c->has_addr ? &c->addr : NULL);
    pr_timerq_cancel(&w->timers, &c->timer);
    pr_list_remove(&c->starved);
    pr_list_remove(&c->link);
    policy_unref(c->policy);
    pr_free(c);
    w->n_connections--;
    worker_maybe_stopped(w);
}

static const struct pr_stream_ops stream_ops = {
    .on_data = on_data,
    .on_eof = on_eof,
    .on_tls = on_tls,
    .on_drain = on_drain,
    .on_close = on_close,
};

/* ---- accept ---- */

static void start_session(struct connection *c)
{
    struct worker *w = c->worker;
    const struct policy_listener *l = c->listener;
    c->has_addr = pr_stream_peer(c->stream, &c->addr, &(uint16_t){0});
    if (c->has_addr)
        pr_addr_plain(&c->addr, c->addr_text);
    else
        memcpy(c->addr_text, "0.0.0.0", sizeof "0.0.0.0"); /* gone already */
    c->trusted = c->has_addr && pr_config_trusted(c->policy->config, &c->addr);
    bool fits = limits_enter(w->shared->limits, l->conf, c->has_addr ? &c->addr : NULL);
    struct ing_peer peer = {
        .address = pr_slice_str(c->addr_text),
        .trusted = c->trusted,
        .implicit_tls = l->conf->implicit_tls,
        .over_limit = !fits,
    };
    pr_metric_inc2(w->shared->metrics, IM_CONNECTIONS_TOTAL, l->label, fits ? IM_CONN_ACCEPTED : IM_CONN_LIMIT);
    pr_metric_add(w->shared->metrics, IM_CONNECTIONS, l->label, 0, 0, 1);
    pr_debug(w->shared->log, "connect", PR_U("session", c->id), PR_S("client", c->addr_text), PR_S("listener", l->conf->name));
    c->session = ing_session_new(c->trusted ? &l->trusted_options : &l->options, &session_ops, c, &peer);
}

void connection_accept(struct door *d, uv_stream_t *server)
{
    struct worker *w = d->worker;
    struct connection *c = pr_new(struct connection);
    int rc = 0;
    c->worker = w;
    c->since = pr_clock_now().mono;
    c->stream = pr_stream_accepted(w->loop, server, &stream_ops, c, &rc);
    if (c->stream == NULL) {
        pr_free(c);
        return;
    }
    c->policy = policy_ref(w->policy);
    c->listener = policy_find(c->policy, d->name);
    pr_assert(c->listener != NULL); /* doors and policy change together */
    /* Unique among threads: the last digits tell which. */
    c->id = w->next_session++ * 100 + w->index;
    pr_timer_init(&c->timer);
    pr_list_init(&c->starved);
    pr_list_push_back(&w->connections, &c->link);
    w->n_connections++;
    start_session(c);
    step(c, (struct ing_event){.kind = ING_EV_CONNECTED});
}

/* ---- all of them ---- */

void connections_shutdown(struct worker *w)
{
    struct pr_list *it, *tmp;
    pr_list_foreach(it, tmp, &w->connections)
        step(pr_list_entry(it, struct connection, link), (struct ing_event){.kind = ING_EV_SHUTDOWN});
}

void connections_cut(struct worker *w)
{
    struct pr_list *it, *tmp;
    pr_list_foreach(it, tmp, &w->connections)
        pr_stream_close(pr_list_entry(it, struct connection, link)->stream, 0);
}

void connections_feed(struct worker *w)
{
    enum { PIECE = 256 * 1024, PIECE_MIN = 64 * 1024 };
    uint64_t used = budget_used(&w->shared->budget), ceiling = budget_ceiling(&w->shared->budget, true);
    if (pr_list_empty(&w->starved) || used + PIECE_MIN > ceiling)
        return;
    /* As many as there is room for, the longest waiting first; those that are refused again go to the end. */
    for (uint64_t n = (ceiling - used) / PIECE + 1; n > 0; n--) {
        struct pr_list *first = pr_list_pop_front(&w->starved);
        if (first == NULL)
            return;
        step(pr_list_entry(first, struct connection, starved), (struct ing_event){.kind = ING_EV_SPACE});
    }
}

void connections_expire(struct worker *w)
{
    uint64_t now = pr_clock_now().mono.ms;
    for (struct pr_timer *t; (t = pr_timerq_pop(&w->timers, now)) != NULL;) {
        struct connection *c = pr_container_of(t, struct connection, timer);
        if (ing_session_deadline(c->session).ms <= now)
            step(c, (struct ing_event){.kind = ING_EV_DEADLINE});
        else
            set_timer(c);
    }
}
