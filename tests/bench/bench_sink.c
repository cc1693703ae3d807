/* bench_sink - counting SMTP sink for measurements: one thread, epoll, loopback only.
 *
 * usage: bench_sink STATUS_FILE RESULT_FILE ADDRESS:PORT[:DELAY_MS] ...
 *
 * It takes whatever comes as fast as it can: it looks for the final dot and for the field `X-Bench-T: NANOSECONDS` that
 * bench_load stamps on a message, and for nothing else. DELAY_MS holds back the reply to the final dot.
 * STATUS_FILE is mapped: per listener four uint64, {messages, recipients, open connections, time of the last message in ns of
 * CLOCK_REALTIME}, which the harness polls. On SIGTERM the totals, percentiles of latency and a count per second go to
 * RESULT_FILE as JSON. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/base/buf.h"
#include "common/base/slice.h"

enum { LISTENERS_MAX = 8, BUFFER = 65536, OUT = 8192, HEADER_MAX = 16384, SECONDS = 3600 };

struct status {
    uint64_t messages, recipients, open, last_ns;
};

struct listener {
    int fd;
    char name[64];
    uint64_t delay_ns;
    struct status *status;
    uint64_t bytes, connections, max_open, first_ns;
    uint64_t *latency;
    size_t n_latency, cap_latency;
    uint32_t per_second[SECONDS];
};

struct connection {
    int fd;
    struct listener *listener;
    bool in_data;
    bool at_line_start; /* the data may begin with the terminator */
    bool header_done;
    bool half_closed; /* the peer is done sending; a delayed reply still goes out */
    unsigned recipients;
    uint64_t stamp_ns;        /* of X-Bench-T, 0 without */
    uint64_t due_ns;          /* delayed reply, 0 when none is owed */
    struct connection *later; /* next in the queue of delayed replies */
    size_t n;
    char in[BUFFER];
    size_t n_out;
    char out[OUT];
};

struct sink {
    int epoll, signals;
    struct listener listeners[LISTENERS_MAX];
    size_t n;
    struct connection *delayed, *delayed_tail; /* in order of due time per listener; delays are equal in practice */
};

static uint64_t now_ns(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_REALTIME, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static bool flush(struct connection *c)
{
    size_t n = c->n_out;
    c->n_out = 0;
    return n == 0 || write(c->fd, c->out, n) == (ssize_t)n;
}

static bool say(struct connection *c, struct pr_slice reply)
{
    if (c->n_out + reply.len > sizeof c->out && !flush(c))
        return false;
    memcpy(c->out + c->n_out, reply.ptr, reply.len);
    c->n_out += reply.len;
    return true;
}
#define SAY(c, text) say((c), PR_SLICE_LIT(text))

static void watch(struct sink *s, int fd, void *data)
{
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = data};
    (void)epoll_ctl(s->epoll, EPOLL_CTL_ADD, fd, &e);
}

static void close_connection(struct connection *c)
{
    c->listener->status->open--;
    (void)close(c->fd);
    c->fd = -1;
    if (c->due_ns == 0) /* else the queue of delayed replies frees it */
        pr_free(c);
}

static void count_latency(struct listener *l, uint64_t ns)
{
    if (l->n_latency == l->cap_latency) {
        l->cap_latency = l->cap_latency == 0 ? 65536 : l->cap_latency * 2;
        l->latency = pr_realloc(l->latency, l->cap_latency * sizeof *l->latency);
    }
    l->latency[l->n_latency++] = ns;
}

/* The message counts, and its reply goes out. */
static bool finish_message(struct connection *c)
{
    struct listener *l = c->listener;
    uint64_t now = now_ns();
    if (l->first_ns == 0)
        l->first_ns = now;
    uint64_t second = (now - l->first_ns) / 1000000000u;
    if (second < SECONDS)
        l->per_second[second]++;
    if (c->stamp_ns != 0)
        count_latency(l, now > c->stamp_ns ? now - c->stamp_ns : 0);
    l->status->messages++;
    l->status->recipients += c->recipients;
    l->status->last_ns = now;
    c->recipients = 0;
    c->stamp_ns = 0;
    return SAY(c, "250 2.0.0 Ok\r\n");
}

static uint64_t leading_number(struct pr_slice s)
{
    uint64_t v = 0;
    size_t n = 0;
    while (n < s.len && pr_is_digit(s.ptr[n]))
        n++;
    return pr_parse_u64(pr_slice_head(s, n), UINT64_MAX, &v) == 0 ? v : 0;
}

/* Looks for the stamp while the header is in the buffer. False: more of the header must come first. */
static bool scan_header(struct connection *c, struct pr_slice data)
{
    size_t stamp = pr_slice_find_slice(data, PR_SLICE_LIT("X-Bench-T: "));
    size_t end = pr_slice_find_slice(data, PR_SLICE_LIT("\r\n\r\n"));
    if (stamp < end) {
        struct pr_slice value = pr_slice_from(data, stamp + 11);
        if (pr_slice_find(value, '\r') == SIZE_MAX)
            return false;
        c->stamp_ns = leading_number(value);
    } else if (end == SIZE_MAX && data.len <= HEADER_MAX &&
               pr_slice_find_slice(data, PR_SLICE_LIT("\r\n.\r\n")) == SIZE_MAX) {
        return false;
    }
    c->header_done = true;
    return true;
}

/* Takes message data from the front; returns how many bytes, or 0 for more. Ends in_data at the terminator. */
static size_t take_data(struct connection *c, struct pr_slice data)
{
    if (!c->header_done && !scan_header(c, data))
        return 0;
    if (c->at_line_start && pr_slice_starts(data, PR_SLICE_LIT(".\r\n"))) {
        c->in_data = false;
        return 3;
    }
    size_t end = pr_slice_find_slice(data, PR_SLICE_LIT("\r\n.\r\n"));
    if (end != SIZE_MAX) {
        c->in_data = false;
        return end + 5;
    }
    /* The terminator may be split: its first four bytes stay. */
    size_t keep = data.len < 4 ? data.len : 4;
    if (data.len > keep)
        c->at_line_start = false;
    return data.len - keep;
}

static bool command(struct connection *c, struct pr_slice line)
{
    struct pr_slice verb = pr_slice_head(line, 4);
    if (pr_slice_ieq_str(verb, "EHLO"))
        return SAY(c, "250-sink\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-ENHANCEDSTATUSCODES\r\n250 SIZE 52428800\r\n");
    if (pr_slice_ieq_str(verb, "HELO"))
        return SAY(c, "250 sink\r\n");
    if (pr_slice_ieq_str(verb, "MAIL")) {
        c->recipients = 0;
        return SAY(c, "250 2.1.0 Ok\r\n");
    }
    if (pr_slice_ieq_str(verb, "RCPT")) {
        c->recipients++;
        return SAY(c, "250 2.1.5 Ok\r\n");
    }
    if (pr_slice_ieq_str(verb, "DATA")) {
        if (c->recipients == 0)
            return SAY(c, "503 5.5.1 no recipients\r\n");
        c->in_data = c->at_line_start = true;
        c->header_done = false;
        return SAY(c, "354 go\r\n");
    }
    if (pr_slice_ieq_str(verb, "RSET") || pr_slice_ieq_str(verb, "NOOP"))
        return SAY(c, "250 2.0.0 Ok\r\n");
    if (pr_slice_ieq_str(verb, "QUIT")) {
        (void)SAY(c, "221 2.0.0 Bye\r\n");
        (void)flush(c);
        return false;
    }
    return SAY(c, "500 5.5.2 what\r\n");
}

static void delay_reply(struct sink *s, struct connection *c)
{
    c->due_ns = now_ns() + c->listener->delay_ns;
    c->later = NULL;
    if (s->delayed == NULL)
        s->delayed = c;
    else
        s->delayed_tail->later = c;
    s->delayed_tail = c;
}

/* Works off what is in the buffer. False: close. */
static bool process(struct sink *s, struct connection *c)
{
    size_t at = 0;
    while (at < c->n && c->due_ns == 0) {
        struct pr_slice rest = pr_slice(c->in + at, c->n - at);
        if (c->in_data) {
            size_t taken = take_data(c, rest);
            c->listener->bytes += taken;
            at += taken;
            if (c->in_data)
                break;
            if (c->listener->delay_ns > 0)
                delay_reply(s, c);
            else if (!finish_message(c))
                return false;
            continue;
        }
        size_t end = pr_slice_find(rest, '\n');
        if (end == SIZE_MAX)
            break;
        at += end + 1;
        if (!command(c, pr_slice_head(rest, end)))
            return false;
    }
    if (at > 0) {
        c->n -= at;
        memmove(c->in, c->in + at, c->n);
    }
    return flush(c);
}

static void on_readable(struct sink *s, struct connection *c)
{
    if (c->n == sizeof c->in) {
        if (c->due_ns == 0)
            close_connection(c);
        return;
    }
    ssize_t n = recv(c->fd, c->in + c->n, sizeof c->in - c->n, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n == 0 && c->due_ns != 0) {
        (void)epoll_ctl(s->epoll, EPOLL_CTL_DEL, c->fd, NULL);
        c->half_closed = true;
        return;
    }
    if (n <= 0) {
        close_connection(c);
        return;
    }
    c->n += (size_t)n;
    if (!process(s, c))
        close_connection(c);
}

static void on_connections(struct sink *s, struct listener *l)
{
    const int on = 1;
    int fd;
    while ((fd = accept4(l->fd, NULL, NULL, SOCK_CLOEXEC)) >= 0) {
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        struct connection *c = pr_new(struct connection);
        c->fd = fd;
        c->listener = l;
        l->connections++;
        if (++l->status->open > l->max_open)
            l->max_open = l->status->open;
        watch(s, fd, c);
        if (!SAY(c, "220 sink ESMTP\r\n") || !flush(c))
            close_connection(c);
    }
}

static void send_due_replies(struct sink *s)
{
    uint64_t now = now_ns();
    while (s->delayed != NULL && s->delayed->due_ns <= now) {
        struct connection *c = s->delayed;
        s->delayed = c->later;
        c->due_ns = 0;
        if (c->fd < 0) {
            pr_free(c);
            continue;
        }
        if (!finish_message(c) || !process(s, c) || c->half_closed)
            close_connection(c);
    }
}

static int timeout_ms(const struct sink *s)
{
    if (s->delayed == NULL)
        return 1000;
    uint64_t now = now_ns();
    return s->delayed->due_ns > now ? (int)((s->delayed->due_ns - now) / 1000000u) + 1 : 0;
}

static void run(struct sink *s)
{
    struct epoll_event events[256];
    for (;;) {
        int n = epoll_wait(s->epoll, events, 256, timeout_ms(s));
        for (int i = 0; i < n; i++) {
            char *p = events[i].data.ptr;
            if (p == (char *)s)
                return; /* a signal */
            if (p >= (char *)s->listeners && p < (char *)(s->listeners + LISTENERS_MAX))
                on_connections(s, events[i].data.ptr);
            else
                on_readable(s, events[i].data.ptr);
        }
        send_due_replies(s);
    }
}

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static double percentile(const struct listener *l, double q)
{
    return l->n_latency == 0 ? -1 : (double)l->latency[(size_t)((double)(l->n_latency - 1) * q)] / 1e6;
}

static void report_listener(FILE *f, struct listener *l)
{
    if (l->n_latency > 0)
        qsort(l->latency, l->n_latency, sizeof *l->latency, compare);
    const struct status *t = l->status;
    (void)fprintf(f, "{\"name\":\"%s\",\"msgs\":%llu,\"rcpts\":%llu,\"bytes\":%llu,\"conns\":%llu,\"maxopen\":%llu,", l->name,
                  (unsigned long long)t->messages, (unsigned long long)t->recipients, (unsigned long long)l->bytes,
                  (unsigned long long)l->connections, (unsigned long long)l->max_open);
    (void)fprintf(f, "\"first\":%.6f,\"last\":%.6f,\"nlat\":%zu,", (double)l->first_ns / 1e9, (double)t->last_ns / 1e9,
                  l->n_latency);
    (void)fprintf(f, "\"lat_ms\":{\"p50\":%.2f,\"p90\":%.2f,\"p99\":%.2f,\"max\":%.2f},\"timeline\":[", percentile(l, .5),
                  percentile(l, .9), percentile(l, .99), percentile(l, 1));
    size_t last = SECONDS - 1;
    while (last > 0 && l->per_second[last] == 0)
        last--;
    for (size_t i = 0; i <= last; i++)
        (void)fprintf(f, "%s%u", i > 0 ? "," : "", l->per_second[i]);
    (void)fprintf(f, "]}");
}

static int write_report(struct sink *s, const char *path)
{
    FILE *f = fopen(path, "w");
    if (f == NULL)
        return 1;
    (void)fprintf(f, "[");
    for (size_t i = 0; i < s->n; i++) {
        if (i > 0)
            (void)fprintf(f, ",");
        report_listener(f, &s->listeners[i]);
    }
    (void)fprintf(f, "]\n");
    return fclose(f) == 0 ? 0 : 1;
}

/* ADDRESS:PORT[:DELAY_MS] */
static bool add_listener(struct sink *s, const char *spec, struct status *status)
{
    struct listener *l = &s->listeners[s->n++];
    struct pr_slice rest, delay, address = pr_slice_cut(pr_slice_str(spec), ':', &rest);
    struct pr_slice port = pr_slice_cut(rest, ':', &delay);
    uint64_t port_number = 0, delay_ms = 0;
    if (pr_parse_u64(port, 65535, &port_number) != 0 || (delay.ptr != NULL && pr_parse_u64(delay, 600000, &delay_ms) != 0))
        return false;
    char *host = pr_strndup(address.ptr, address.len);
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port_number)};
    bool loopback = inet_pton(AF_INET, host, &to.sin_addr) == 1 && ntohl(to.sin_addr.s_addr) >> 24 == 127;
    (void)snprintf(l->name, sizeof l->name, "%s:%u", host, (unsigned)port_number);
    pr_free(host);
    if (!loopback)
        return false;
    l->delay_ns = delay_ms * 1000000u;
    l->status = status;
    l->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    const int on = 1;
    (void)setsockopt(l->fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(l->fd, (const struct sockaddr *)&to, sizeof to) != 0 || listen(l->fd, 4096) != 0) {
        perror(spec);
        return false;
    }
    watch(s, l->fd, l);
    return true;
}

static struct status *map_status(const char *path)
{
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0 || ftruncate(fd, 4096) != 0)
        return NULL;
    void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    (void)close(fd);
    return p == MAP_FAILED ? NULL : p;
}

int main(int argc, char **argv)
{
    struct sink *s = pr_new(struct sink);
    sigset_t set;
    if (argc < 4 || argc > 3 + LISTENERS_MAX) {
        (void)fprintf(stderr, "usage: bench_sink STATUS_FILE RESULT_FILE ADDRESS:PORT[:DELAY_MS] ...\n");
        return 2;
    }
    (void)signal(SIGPIPE, SIG_IGN);
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGTERM);
    (void)sigaddset(&set, SIGINT);
    (void)sigprocmask(SIG_BLOCK, &set, NULL);
    s->epoll = epoll_create1(EPOLL_CLOEXEC);
    s->signals = signalfd(-1, &set, SFD_CLOEXEC);
    watch(s, s->signals, s);
    struct status *status = map_status(argv[1]);
    if (status == NULL) {
        perror(argv[1]);
        return 1;
    }
    for (int i = 3; i < argc; i++)
        if (!add_listener(s, argv[i], &status[i - 3])) {
            (void)fprintf(stderr, "bench_sink: cannot listen at %s (loopback only)\n", argv[i]);
            return 1;
        }
    run(s);
    int rc = write_report(s, argv[2]);
    for (size_t i = 0; i < s->n; i++)
        pr_free(s->listeners[i].latency);
    pr_free(s);
    return rc;
}
