/* bench_load - SMTP load generator for measurements: one thread, epoll, loopback only.
 *
 * usage: bench_load ADDRESS PORT SESSIONS MESSAGES BYTES RECIPIENTS RATE PER_CONNECTION DOMAIN
 *
 * RATE 0 sends as fast as it can. Otherwise arrivals are open loop: message k is due at k/RATE seconds, and when all
 * sessions are busy it waits and its stamp is the time it was due, so that a slow server cannot hide its delay.
 * PER_CONNECTION 0 keeps connections open. Each message is stamped with `X-Bench-T: NANOSECONDS` (see bench_sink).
 * Prints one JSON object: accepted, failed, negative replies, seconds, percentiles of the time to the 250. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/base/buf.h"
#include "common/base/slice.h"

enum { INPUT = 4096, LINE = 72, GRACE_S = 600, RETRY_US = 1000 };
enum stage { ST_OFF, ST_GREETING, ST_EHLO, ST_IDLE, ST_MAIL, ST_RCPT, ST_DATA, ST_BODY };

struct session {
    int fd;
    enum stage stage;
    uint64_t rcpts;       /* sent in this transaction */
    uint64_t done;        /* messages on this connection */
    uint64_t id;
    uint64_t due_ns;      /* when the message was due (with RATE) */
    uint64_t begun_ns;
    size_t n;
    char in[INPUT];
};

struct load {
    struct sockaddr_in to;
    uint64_t sessions, messages, bytes, rcpts, rate, per_connection;
    const char *domain;
    int epoll;
    struct session *all;
    uint64_t live;
    uint64_t start_ns;
    uint64_t begun, accepted, failed, negative;
    unsigned last_negative;
    uint64_t *latency;
    struct pr_buf body; /* with the terminator */
};

static uint64_t now_ns(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_REALTIME, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static uint64_t due_of(const struct load *l, uint64_t id)
{
    return l->start_ns + (uint64_t)((double)id / (double)l->rate * 1e9);
}

static void connect_session(struct load *l, struct session *s)
{
    const int on = 1;
    s->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    (void)setsockopt(s->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (connect(s->fd, (const struct sockaddr *)&l->to, sizeof l->to) != 0) {
        perror("bench_load: connect");
        exit(1);
    }
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = s};
    (void)epoll_ctl(l->epoll, EPOLL_CTL_ADD, s->fd, &e);
    s->stage = ST_GREETING;
    s->n = 0;
    s->done = 0;
}

static void put(const struct session *s, struct pr_slice b)
{
    while (b.len > 0) {
        ssize_t n = send(s->fd, b.ptr, b.len, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return; /* the next read tells */
        b = pr_slice_from(b, (size_t)n);
    }
}
#define PUT(s, text) put((s), PR_SLICE_LIT(text))

/* Starts a message on an idle session if one is due. */
static bool next_message(struct load *l, struct session *s)
{
    if (l->begun >= l->messages)
        return false;
    uint64_t now = now_ns(), due = l->rate > 0 ? due_of(l, l->begun) : now;
    if (due > now)
        return false;
    s->id = l->begun++;
    s->due_ns = due;
    s->begun_ns = now;
    s->rcpts = 0;
    s->stage = ST_MAIL;
    PUT(s, "MAIL FROM:<sender@src.example>\r\n");
    return true;
}

static void send_rcpt(const struct load *l, struct session *s)
{
    char line[400];
    int n = snprintf(line, sizeof line, "RCPT TO:<u%llu@%s>\r\n", (unsigned long long)s->rcpts, l->domain);
    put(s, pr_slice(line, (size_t)n));
    s->rcpts++;
    s->stage = ST_RCPT;
}

static void send_body(const struct load *l, struct session *s)
{
    char head[800];
    int n = snprintf(head, sizeof head,
                     "From: <sender@src.example>\r\nTo: <u0@%s>\r\nDate: Mon, 4 May 2026 10:00:00 +0000\r\n"
                     "Message-Id: <%llu.%llu@load.example>\r\nX-Bench-T: %llu\r\nSubject: bench\r\n\r\n",
                     l->domain, (unsigned long long)s->id, (unsigned long long)l->start_ns,
                     (unsigned long long)(l->rate > 0 ? s->due_ns : now_ns()));
    put(s, pr_slice(head, (size_t)n));
    put(s, pr_buf_slice(&l->body));
    s->stage = ST_BODY;
}

/* The connection is over; the session goes on with a new one while there is work. */
static void reconnect(struct load *l, struct session *s)
{
    (void)close(s->fd);
    if (l->begun < l->messages) {
        connect_session(l, s);
    } else {
        s->stage = ST_OFF;
        l->live--;
    }
}

static void on_accepted(struct load *l, struct session *s)
{
    l->latency[l->accepted++] = now_ns() - (l->rate > 0 ? s->due_ns : s->begun_ns);
    s->done++;
    if (l->per_connection > 0 && s->done >= l->per_connection) {
        PUT(s, "QUIT\r\n");
        reconnect(l, s);
        return;
    }
    s->stage = ST_IDLE;
    (void)next_message(l, s);
}

static void on_negative(struct load *l, struct session *s, unsigned code)
{
    l->negative++;
    l->last_negative = code;
    if (s->stage == ST_GREETING || s->stage == ST_EHLO) {
        (void)close(s->fd);
        (void)usleep(RETRY_US);
        connect_session(l, s);
    } else if (s->stage >= ST_MAIL) {
        l->failed++;
        PUT(s, "QUIT\r\n");
        reconnect(l, s);
    }
}

static void on_reply(struct load *l, struct session *s, unsigned code)
{
    if (code >= 400) {
        on_negative(l, s, code);
        return;
    }
    switch (s->stage) {
    case ST_GREETING:
        PUT(s, "EHLO load.example\r\n");
        s->stage = ST_EHLO;
        break;
    case ST_EHLO:
        s->stage = ST_IDLE;
        (void)next_message(l, s);
        break;
    case ST_MAIL:
        send_rcpt(l, s);
        break;
    case ST_RCPT:
        if (s->rcpts < l->rcpts) {
            send_rcpt(l, s);
        } else {
            PUT(s, "DATA\r\n");
            s->stage = ST_DATA;
        }
        break;
    case ST_DATA:
        send_body(l, s);
        break;
    case ST_BODY:
        on_accepted(l, s);
        break;
    case ST_OFF:
    case ST_IDLE:
        break;
    }
}

/* The code of the last complete reply in the buffer, 0 if there is none; whole lines are taken out. */
static unsigned take_reply(struct session *s)
{
    struct pr_slice rest = pr_slice(s->in, s->n);
    uint64_t code = 0;
    for (;;) {
        size_t end = pr_slice_find_slice(rest, PR_SLICE_LIT("\r\n"));
        if (end == SIZE_MAX)
            break;
        struct pr_slice line = pr_slice_head(rest, end);
        if (line.len >= 3 && (line.len == 3 || line.ptr[3] != '-') && pr_parse_u64(pr_slice_head(line, 3), 999, &code) != 0)
            code = 999;
        rest = pr_slice_from(rest, end + 2);
    }
    if (rest.len > 0)
        memmove(s->in, rest.ptr, rest.len);
    s->n = rest.len;
    return (unsigned)code;
}

static void on_readable(struct load *l, struct session *s)
{
    ssize_t n = recv(s->fd, s->in + s->n, sizeof s->in - s->n, MSG_DONTWAIT);
    if (n < 0 && errno == EAGAIN)
        return;
    if (n <= 0) {
        if (s->stage >= ST_MAIL)
            l->failed++;
        reconnect(l, s);
        return;
    }
    s->n += (size_t)n;
    unsigned code = take_reply(s);
    if (code > 0)
        on_reply(l, s, code);
}

/* Gives due messages to idle sessions; returns how long to wait for the next. */
static int start_due(struct load *l)
{
    if (l->rate == 0 || l->begun >= l->messages)
        return 1000;
    for (uint64_t i = 0; i < l->sessions && l->begun < l->messages && due_of(l, l->begun) <= now_ns(); i++) {
        if (l->all[i].stage == ST_OFF) {
            connect_session(l, &l->all[i]);
            l->live++;
        }
        if (l->all[i].stage == ST_IDLE)
            (void)next_message(l, &l->all[i]);
    }
    uint64_t now = now_ns(), due = due_of(l, l->begun);
    return due > now ? (int)((due - now) / 1000000u) : 1;
}

static void run(struct load *l)
{
    struct epoll_event events[256];
    uint64_t limit_ns = (l->rate > 0 ? l->messages / l->rate : 0) * 1000000000u + (uint64_t)GRACE_S * 1000000000u;
    for (uint64_t i = 0; i < l->sessions; i++)
        connect_session(l, &l->all[i]);
    l->live = l->sessions;
    l->start_ns = now_ns();
    while (l->accepted + l->failed < l->messages && l->live > 0 && now_ns() - l->start_ns < limit_ns) {
        int n = epoll_wait(l->epoll, events, 256, start_due(l));
        for (int i = 0; i < n; i++)
            on_readable(l, events[i].data.ptr);
    }
}

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static double percentile(const struct load *l, double q)
{
    return l->accepted == 0 ? -1 : (double)l->latency[(size_t)((double)(l->accepted - 1) * q)] / 1e6;
}

static void report(struct load *l)
{
    double seconds = (double)(now_ns() - l->start_ns) / 1e9;
    qsort(l->latency, l->accepted, sizeof *l->latency, compare);
    (void)printf("{\"accepted\":%llu,\"failed\":%llu,\"neg\":%llu,\"lastcode\":%u,\"secs\":%.4f,"
                 "\"acc_ms\":{\"p50\":%.2f,\"p90\":%.2f,\"p99\":%.2f,\"max\":%.2f}}\n",
                 (unsigned long long)l->accepted, (unsigned long long)l->failed, (unsigned long long)l->negative,
                 l->last_negative, seconds, percentile(l, .5), percentile(l, .9), percentile(l, .99), percentile(l, 1));
}

static void make_body(struct load *l)
{
    for (uint64_t left = l->bytes; left > 0;) {
        uint64_t n = left < LINE ? left : LINE;
        for (uint64_t i = 2; i < n; i++)
            pr_buf_char(&l->body, 'X');
        pr_buf_str(&l->body, "\r\n");
        left -= n;
    }
    pr_buf_str(&l->body, ".\r\n");
}

int main(int argc, char **argv)
{
    struct load l = {.to.sin_family = AF_INET};
    uint64_t port = 0;
    uint64_t *const numbers[] = {&port, &l.sessions, &l.messages, &l.bytes, &l.rcpts, &l.rate, &l.per_connection};
    bool ok = argc == 10 && inet_pton(AF_INET, argv[1], &l.to.sin_addr) == 1;
    for (int i = 0; ok && i < 7; i++)
        ok = pr_parse_u64(pr_slice_str(argv[2 + i]), 1000000000, numbers[i]) == 0;
    if (!ok || port > 65535 || l.sessions == 0 || l.messages == 0 || l.rcpts == 0 ||
        ntohl(l.to.sin_addr.s_addr) >> 24 != 127) {
        (void)fprintf(stderr, "usage: bench_load ADDRESS PORT SESSIONS MESSAGES BYTES RECIPIENTS RATE PER_CONNECTION DOMAIN\n"
                              "(loopback only)\n");
        return 2;
    }
    (void)signal(SIGPIPE, SIG_IGN);
    l.to.sin_port = htons((uint16_t)port);
    l.domain = argv[9];
    l.all = pr_calloc(l.sessions, sizeof *l.all);
    l.latency = pr_calloc(l.messages + 1, sizeof *l.latency);
    l.epoll = epoll_create1(EPOLL_CLOEXEC);
    make_body(&l);
    run(&l);
    for (uint64_t i = 0; i < l.sessions; i++)
        if (l.all[i].stage != ST_OFF) {
            PUT(&l.all[i], "QUIT\r\n");
            (void)close(l.all[i].fd);
        }
    report(&l);
    pr_free(l.latency);
    pr_free(l.all);
    pr_buf_fini(&l.body);
    return l.failed > 0 ? 1 : 0;
}
