#include "deploy/cli/sink.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "deploy/cli/cli.h"
#include "ingress/core/session.h"

enum { READ_BYTES = 65536, MESSAGE_MAX = 32 << 20 };

struct conn {
    struct sink *sink;
    int fd;
    struct ing_session *session;
    struct pr_buf out;
    bool paused, closing, commit_due;
    uint64_t connected_ms;
    char client[INET6_ADDRSTRLEN];
    struct caught *message; /* being received */
    struct pr_buf *reply;   /* where the next reply is noted */
};

struct sink {
    int listen_fd;
    struct mailbox *mailbox;
    struct ing_options options;
    struct conn *conns[SINK_CONNECTIONS_MAX];
    size_t n;
    uint64_t sequence; /* of queue ids */
};

static struct pr_now now(void)
{
    return (struct pr_now){{cli_now_ms()}, {cli_wall_ms()}};
}

static void on_send(void *data, struct pr_slice bytes)
{
    struct conn *c = data;
    pr_buf_add(&c->out, bytes);
    if (c->reply != NULL)
        pr_buf_add(c->reply, bytes);
}

/* STARTTLS is not offered. */
static void on_start_tls(void *data) { ((struct conn *)data)->closing = true; }

static void on_pause(void *data) { ((struct conn *)data)->paused = true; }

static void on_resume(void *data) { ((struct conn *)data)->paused = false; }

static void on_close(void *data, enum ing_close_reason reason)
{
    (void)reason;
    ((struct conn *)data)->closing = true;
}

static bool on_reserve(void *data, size_t bytes)
{
    (void)data;
    (void)bytes;
    return true;
}

static enum ing_spool_status on_spool_check(void *data, uint64_t size_bytes)
{
    (void)data;
    return size_bytes > MESSAGE_MAX ? ING_SPOOL_INVALID : ING_SPOOL_OK;
}

static enum ing_spool_status on_spool_open(void *data, uint64_t size_bytes, struct pr_slice *ret_id)
{
    struct conn *c = data;
    (void)size_bytes;
    caught_free(c->message);
    c->message = pr_new(struct caught);
    c->message->mail_ms = cli_wall_ms();
    *ret_id = PR_SLICE_LIT("sink");
    return ING_SPOOL_OK;
}

static bool on_spool_append(void *data, struct pr_buf *chunk)
{
    struct conn *c = data;
    pr_buf_add(&c->message->content, pr_buf_slice(chunk));
    pr_buf_clear(chunk);
    return true;
}

static char *dup_slice(struct pr_slice s)
{
    return pr_strndup(s.ptr == NULL ? "" : s.ptr, s.len);
}

static void on_spool_commit(void *data, const struct mail_envelope *e, struct pr_buf *last)
{
    struct conn *c = data;
    struct caught *m = c->message;
    (void)on_spool_append(c, last);
    m->connected_ms = c->connected_ms;
    m->client = pr_strdup(c->client);
    m->helo = dup_slice(e->helo);
    m->protocol = dup_slice(e->protocol);
    m->sender = dup_slice(e->sender);
    m->recipients = json_array();
    for (size_t g = 0; g < e->n_groups; g++)
        for (size_t i = 0; i < e->groups[g].n_rcpts; i++) {
            struct pr_slice a = e->groups[g].rcpts[i].address;
            (void)json_array_append_new(m->recipients, json_stringn(a.ptr, a.len));
        }
    /* The answer comes as an event of its own, behind this step. */
    c->commit_due = true;
}

static void on_spool_abort(void *data)
{
    struct conn *c = data;
    caught_free(c->message);
    c->message = NULL;
    c->commit_due = false;
}

static const struct ing_ops ops = {
    .send = on_send,
    .start_tls = on_start_tls,
    .pause = on_pause,
    .resume = on_resume,
    .close = on_close,
    .reserve = on_reserve,
    .spool_check = on_spool_check,
    .spool_open = on_spool_open,
    .spool_append = on_spool_append,
    .spool_commit = on_spool_commit,
    .spool_abort = on_spool_abort,
};

/* Stores the message and lets the session say so. */
static void commit(struct conn *c)
{
    struct pr_buf id = {0}, reply = {0};
    struct caught *m = c->message;
    c->commit_due = false;
    c->message = NULL;
    pr_buf_printf(&id, "sink-%llu", (unsigned long long)++c->sink->sequence);
    struct ing_event ev = {.kind = ING_EV_COMMITTED, .now = now(), .status = ING_SPOOL_OK, .id = pr_buf_slice(&id)};
    c->reply = &reply;
    ing_session_step(c->session, &ev);
    c->reply = NULL;
    struct pr_slice line = pr_slice_head(pr_buf_slice(&reply), pr_slice_find(pr_buf_slice(&reply), '\r'));
    m->reply = dup_slice(line);
    m->received_ms = cli_wall_ms();
    (void)mailbox_add(c->sink->mailbox, m);
    pr_buf_fini(&id);
    pr_buf_fini(&reply);
}

static void step(struct conn *c, enum ing_event_kind kind, struct pr_slice bytes)
{
    struct ing_event ev = {.kind = kind, .now = now(), .bytes = bytes};
    ing_session_step(c->session, &ev);
    while (c->commit_due)
        commit(c);
}

static void conn_free(struct conn *c)
{
    ing_session_free(c->session);
    caught_free(c->message);
    pr_buf_fini(&c->out);
    (void)close(c->fd);
    pr_free(c);
}

static void accept_one(struct sink *s)
{
    struct sockaddr_storage address = {0};
    socklen_t len = sizeof address;
    int fd = accept4(s->listen_fd, (struct sockaddr *)&address, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0)
        return;
    struct conn *c = pr_new(struct conn);
    c->sink = s;
    c->fd = fd;
    c->connected_ms = cli_wall_ms();
    if (getnameinfo((const struct sockaddr *)&address, len, c->client, sizeof c->client, NULL, 0, NI_NUMERICHOST) != 0)
        c->client[0] = '\0';
    struct ing_peer peer = {.address = pr_slice_str(c->client), .trusted = true};
    c->session = ing_session_new(&s->options, &ops, c, &peer);
    s->conns[s->n++] = c;
    step(c, ING_EV_CONNECTED, (struct pr_slice){NULL, 0});
}

static void read_some(struct conn *c)
{
    char bytes[READ_BYTES];
    ssize_t n = recv(c->fd, bytes, sizeof bytes, 0);
    if (n > 0)
        step(c, ING_EV_BYTES, pr_slice(bytes, (size_t)n));
    else if (n == 0)
        step(c, ING_EV_EOF, (struct pr_slice){NULL, 0});
    else if (errno != EAGAIN && errno != EINTR)
        c->closing = true;
}

static void write_some(struct conn *c)
{
    while (c->out.len > 0) {
        ssize_t n = send(c->fd, c->out.ptr, c->out.len, MSG_NOSIGNAL);
        if (n <= 0) {
            if (errno != EAGAIN && errno != EINTR) {
                pr_buf_clear(&c->out);
                c->closing = true;
            }
            return;
        }
        pr_buf_consume(&c->out, (size_t)n);
    }
}

static void serve_conn(struct conn *c, short events)
{
    if (!c->closing && now().mono.ms >= ing_session_deadline(c->session).ms)
        step(c, ING_EV_DEADLINE, (struct pr_slice){NULL, 0});
    if (!c->closing && !c->paused && (events & (POLLIN | POLLHUP | POLLERR)))
        read_some(c);
    write_some(c);
}

/* Milliseconds until the first deadline. */
static int next_wait(const struct sink *s)
{
    uint64_t at = UINT64_MAX, t = cli_now_ms();
    for (size_t i = 0; i < s->n; i++)
        at = PR_MIN(at, ing_session_deadline(s->conns[i]->session).ms);
    if (at <= t)
        return 0;
    return at - t > 60000 ? 60000 : (int)(at - t);
}

static void remove_closed(struct sink *s)
{
    for (size_t i = s->n; i-- > 0;)
        if (s->conns[i]->closing && s->conns[i]->out.len == 0) {
            conn_free(s->conns[i]);
            s->conns[i] = s->conns[--s->n];
        }
}

struct sink *sink_new(int listen_fd, struct mailbox *mailbox)
{
    struct sink *s = pr_new(struct sink);
    s->listen_fd = listen_fd;
    s->mailbox = mailbox;
    ing_options_init(&s->options);
    s->options.hostname = PR_SLICE_LIT("sink.localhost");
    s->options.message_size_max = MESSAGE_MAX;
    return s;
}

void sink_free(struct sink *s)
{
    if (s == NULL)
        return;
    while (s->n > 0)
        conn_free(s->conns[--s->n]);
    (void)close(s->listen_fd);
    pr_free(s);
}

void sink_serve(struct sink *s, int stop_fd)
{
    struct pollfd *fds = pr_calloc(SINK_CONNECTIONS_MAX + 2, sizeof *fds);
    for (;;) {
        fds[0] = (struct pollfd){.fd = stop_fd, .events = POLLIN};
        /* A full house leaves newcomers in the kernel's queue. */
        fds[1] = (struct pollfd){.fd = s->n < SINK_CONNECTIONS_MAX ? s->listen_fd : -1, .events = POLLIN};
        size_t n = s->n;
        for (size_t i = 0; i < n; i++) {
            const struct conn *c = s->conns[i];
            short want = c->out.len > 0 ? POLLOUT : 0;
            fds[i + 2] = (struct pollfd){.fd = c->fd, .events = c->paused || c->closing ? want : (short)(want | POLLIN)};
        }
        (void)poll(fds, (nfds_t)(n + 2), next_wait(s));
        if (fds[0].revents != 0)
            break;
        for (size_t i = 0; i < n; i++)
            serve_conn(s->conns[i], fds[i + 2].revents);
        remove_closed(s);
        if (fds[1].revents & POLLIN)
            accept_one(s);
    }
    pr_free(fds);
}
