/* A connection: carries events of the stream, of timers and of the lane to its client, and what the client answers back.
 * It decides nothing. One step at a time: whatever a step leads to (a mail that can be taken, a chunk that is there) is
 * given to the client after its actions are done. */
#include "common/base/alloc.h"
#include "common/base/assert.h"
#include "deliverer/shell/worker_internal.h"

void conn_arm(struct conn *c, pr_mono due)
{
    /* A deadline that moved later is found out when the timer fires: no churn per command. */
    if (due.ms == UINT64_MAX || (pr_timer_armed(&c->timer) && c->timer.due_ms <= due.ms))
        return;
    pr_timerq_set(&c->w->timers, &c->timer, due.ms);
    worker_touch(c->w);
}

static void bury_if_done(struct conn *c)
{
    if (c->phase != CONN_OVER || c->streams > 0)
        return;
    pr_list_remove(&c->link);
    pr_list_push_back(&c->w->graves, &c->link);
    worker_touch(c->w);
}

void conn_over(struct conn *c)
{
    if (c->phase == CONN_OVER)
        return;
    c->phase = CONN_OVER;
    pr_timerq_cancel(&c->w->timers, &c->timer);
    fetch_stop(c);
    attempt_free(c);
    dlv_client_free(c->client);
    c->client = NULL;
    if (c->stream != NULL)
        pr_stream_close(c->stream, 0);
    c->stream = NULL;
    dlv_lane_closing(c->w->lane, &c->core);
    bury_if_done(c);
}

void conns_bury(struct dlv_worker *w)
{
    struct pr_list *node;
    while ((node = pr_list_pop_front(&w->graves)) != NULL) {
        struct conn *c = pr_list_entry(node, struct conn, link);
        dlv_lane_closed(w->lane, &c->core, pr_clock_now().mono);
        settings_unref(c->set);
        pr_free(c);
    }
}

static void on_ready(struct conn *c)
{
    struct dlv_worker *w = c->w;
    bool tls = c->tls[0] != '\0';
    enum dm_policy policy = c->set->client.tls == DLV_TLS_NEVER           ? DM_POLICY_NONE
                            : c->set->client.tls == DLV_TLS_OPPORTUNISTIC ? DM_POLICY_OPPORTUNISTIC
                                                                          : DM_POLICY_REQUIRED;
    pr_metric_inc2(w->node->metrics, DM_TLS, policy, tls ? DM_TLS_OK : DM_TLS_PLAIN);
    report_connect(w, DM_CONNECT_OK);
    if (c->has_target)
        dlv_dead_clear(&w->dead, &c->target.addr, c->target.port);
    attempt_free(c);
    dlv_lane_ready(w->lane, &c->core, pr_clock_now().mono);
    worker_touch(w);
}

static void start_tls(struct conn *c)
{
    struct pr_tls_ctx *ctx = c->verify ? c->set->tls_verify : c->set->tls_any;
    pr_stream_start_tls(c->stream, ctx, false, c->host[0] == '\0' ? NULL : c->host);
}

static void on_client_closed(struct conn *c)
{
    struct dlv_worker *w = c->w;
    struct dlv_client *client = c->client;
    enum dlv_close_reason reason = dlv_client_close_reason(client);
    struct pr_stream *s = c->stream;
    c->stream = NULL;
    c->client = NULL;
    fetch_stop(c);
    if (s != NULL)
        pr_stream_close(s, 0);
    if (reason == DLV_CLOSE_TLS) {
        enum dm_policy policy = c->set->client.tls == DLV_TLS_OPPORTUNISTIC ? DM_POLICY_OPPORTUNISTIC : DM_POLICY_REQUIRED;
        pr_metric_inc2(w->node->metrics, DM_TLS, policy, DM_TLS_FAILED);
    }
    if (dlv_client_was_ready(client)) {
        pr_metric_observe(w->node->metrics, DM_MAILS_PER_CONNECTION, 0, 0, 0, dlv_client_mails(client));
        conn_over(c);
    } else if (reason == DLV_CLOSE_ABORTED) {
        conn_over(c);
    } else {
        attempt_session_failed(c, reason, dlv_client_verdict(client));
    }
    dlv_client_free(client);
}

static void perform_one(struct conn *c, const struct dlv_client_action *a)
{
    switch (a->type) {
    case DLV_DO_DOT: /* done before the bytes went */
        break;
    case DLV_DO_START_TLS:
        start_tls(c);
        break;
    case DLV_DO_WANT_CHUNK:
        fetch_want(c, job_of_mail(a->mail), a->seq);
        break;
    case DLV_DO_REPORT:
        if (c->fetch.job == job_of_mail(a->mail))
            fetch_stop(c);
        job_report(c->w, job_of_mail(a->mail), c);
        break;
    case DLV_DO_REQUEUE:
        if (!a->free && c->has_target)
            dlv_dead_mark(&c->w->dead, &c->target.addr, c->target.port, pr_mono_add(pr_clock_now().mono, DEAD_HOST_MS));
        job_requeue(c->w, job_of_mail(a->mail), c, a->free);
        break;
    case DLV_DO_READY:
        on_ready(c);
        break;
    case DLV_DO_CLOSE:
        on_client_closed(c);
        break;
    }
}

static void step(struct conn *c, const struct dlv_client_event *in)
{
    struct dlv_worker *w = c->w;
    struct dlv_client_out out = {.send = &w->send};
    struct dlv_client_event ev = *in;
    ev.now = pr_clock_now().mono;
    dlv_client_step(c->client, &ev, &out);
    for (size_t i = 0; i < out.n; i++)
        if (out.actions[i].type == DLV_DO_DOT)
            job_dot(w, job_of_mail(out.actions[i].mail));
    if (w->send.len > 0 && c->stream != NULL)
        pr_stream_write(c->stream, pr_buf_slice(&w->send));
    pr_buf_clear(&w->send);
    if (w->send.cap > 2 * OUTPUT_MAX)
        pr_buf_fini(&w->send);
    for (size_t i = 0; i < out.n; i++)
        perform_one(c, &out.actions[i]);
}

static void start_job(struct conn *c, struct job *job)
{
    struct dlv_client_event ev = {.type = DLV_EV_MAIL, .mail = &job->mail};
    job->conn = c;
    if (job->started.ms == 0)
        job->started = pr_clock_now().mono;
    step(c, &ev);
}

/* The connection has carried as many mails as it may. */
static void say_goodbye(struct conn *c)
{
    struct dlv_client_event ev = {.type = DLV_EV_QUIT};
    if (c->core.state == DLV_CONN_CLOSING)
        return;
    dlv_lane_closing(c->w->lane, &c->core);
    step(c, &ev);
}

/* More mails while the client takes them. */
static void feed(struct conn *c)
{
    struct dlv_worker *w = c->w;
    while (c->client != NULL && dlv_client_can_take(c->client)) {
        struct dlv_job *core = dlv_lane_take(w->lane, &c->core, pr_clock_now().mono);
        if (core == NULL)
            break;
        start_job(c, job_of(core));
    }
    if (c->client == NULL || !dlv_client_idle(c->client))
        return;
    if (dlv_client_can_take(c->client))
        dlv_lane_idle(w->lane, &c->core, pr_clock_now().mono);
    else
        say_goodbye(c);
    worker_touch(w);
}

/* What a step leads to: more mails, a chunk that is there already, another deadline. */
static void go_on(struct conn *c)
{
    if (c->client != NULL)
        feed(c);
    if (c->client != NULL)
        fetch_feed(c);
    if (c->client != NULL)
        conn_arm(c, dlv_client_deadline(c->client));
}

void conn_event(struct conn *c, const struct dlv_client_event *ev)
{
    if (c->client == NULL)
        return;
    step(c, ev);
    go_on(c);
}

void conn_give(struct conn *c, struct job *job)
{
    start_job(c, job);
    go_on(c);
}

void conn_quit(struct conn *c)
{
    struct dlv_client_event ev = {.type = DLV_EV_QUIT};
    conn_event(c, &ev);
}

void conn_abort(struct conn *c)
{
    struct dlv_client_event ev = {.type = DLV_EV_ABORT};
    c->core.aborted = true;
    if (c->client != NULL)
        conn_event(c, &ev);
    else
        conn_over(c);
}

void conn_timer(struct conn *c, pr_mono now)
{
    struct dlv_client_event ev = {.type = DLV_EV_TIME};
    if (c->phase == CONN_CONNECTING)
        attempt_timeout(c);
    else if (c->client != NULL && now.ms < dlv_client_deadline(c->client).ms)
        conn_arm(c, dlv_client_deadline(c->client));
    else
        conn_event(c, &ev);
}

static struct conn *of_stream(struct pr_stream *s)
{
    struct conn *c = pr_stream_data(s);
    return c->stream == s && c->client != NULL ? c : NULL;
}

static void on_data(struct pr_stream *s, struct pr_slice data)
{
    struct conn *c = of_stream(s);
    struct dlv_client_event ev = {.type = DLV_EV_BYTES, .bytes = data};
    if (c != NULL)
        conn_event(c, &ev);
}

static void on_eof(struct pr_stream *s)
{
    struct conn *c = of_stream(s);
    struct dlv_client_event ev = {.type = DLV_EV_EOF};
    if (c != NULL)
        conn_event(c, &ev);
}

static void on_tls(struct pr_stream *s, const struct pr_tls_info *info, const char *error_text)
{
    struct conn *c = of_stream(s);
    struct dlv_client_event ev = {.type = info != NULL ? DLV_EV_TLS_UP : DLV_EV_TLS_FAILED,
                                  .bytes = pr_slice_str(error_text == NULL ? "TLS handshake failed" : error_text)};
    if (c == NULL)
        return;
    if (info != NULL)
        memcpy(c->tls, info->version, PR_MIN(strlen(info->version), sizeof c->tls - 1) + 1);
    c->tls[sizeof c->tls - 1] = '\0';
    conn_event(c, &ev);
}

static void on_drain(struct pr_stream *s)
{
    struct conn *c = of_stream(s);
    if (c != NULL)
        fetch_feed(c);
}

static void on_close(struct pr_stream *s, int reason)
{
    struct conn *c = pr_stream_data(s);
    struct dlv_client_event ev = {.type = DLV_EV_ERROR};
    (void)reason;
    c->streams--;
    if (c->stream == s) {
        c->stream = NULL;
        conn_event(c, &ev);
    }
    bury_if_done(c);
}

const struct pr_stream_ops conn_stream_ops = {
    .on_connect = conn_on_connect,
    .on_data = on_data,
    .on_eof = on_eof,
    .on_tls = on_tls,
    .on_drain = on_drain,
    .on_close = on_close,
};
