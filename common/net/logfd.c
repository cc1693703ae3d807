/* logfd.c - how a line travels:
 *   1. a caller formats it at the end of `pending`, under the lock;
 *   2. the writer wakes for the first line, waits a moment for company, swaps the buffer out and writes it.
 * An error line wakes the writer at once and its caller waits until it is written, for at most ERROR_WAIT_MS: a reader of
 * our descriptor that hangs must not hang the mail.
 * Full: when the unwritten bytes reach RING_BYTES, lines below warn are dropped; warn and error have RESERVE_BYTES more.
 * A descriptor that does not take bytes for STALL_MS while we stop loses the rest. */
#include "common/net/logfd.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/base/assert.h"
#include "common/base/clock.h"
#include "common/net/clock.h"

enum {
    RING_BYTES = 4 * 1024 * 1024,
    RESERVE_BYTES = 1024 * 1024,
    KEEP_BYTES = 256 * 1024, /* memory kept between bursts */
    BATCH_BYTES = 64 * 1024,
    BATCH_WAIT_MS = 20,
    ERROR_WAIT_MS = 200,
    STALL_MS = 2000,
};

struct logfd {
    struct pr_log log; /* first: a pr_log is cast back */
    int fd;
    bool regular; /* a file: writes of any size never wait for a reader */
    char *program;
    pthread_t thread;

    pthread_mutex_t lock;
    pthread_cond_t wake;    /* the writer: there is something to do */
    pthread_cond_t written; /* callers with an error line */
    struct pr_buf pending;  /* formatted, not yet taken by the writer */
    size_t writing;         /* bytes the writer holds */
    uint64_t taken;         /* bytes ever added to pending */
    uint64_t done;          /* of them written or given up */
    bool json, waiting, urgent, stopping;
    bool stalled; /* a caller waited in vain: nobody waits until the descriptor moves again */
    uint64_t by_level[PR_LOG_LEVEL_NR];
    uint64_t dropped, dropped_reported;
};

static void add_digits(struct pr_buf *b, int value, size_t width)
{
    char *p = pr_buf_reserve(b, width);
    for (size_t i = width; i > 0; i--, value /= 10)
        p[i - 1] = (char)('0' + value % 10);
    b->len += width;
}

/* RFC 3339, UTC, milliseconds. */
static void add_time(struct pr_buf *b)
{
    struct pr_civil c = pr_civil_utc(pr_clock_now().wall);
    add_digits(b, c.year, 4);
    pr_buf_char(b, '-');
    add_digits(b, c.month, 2);
    pr_buf_char(b, '-');
    add_digits(b, c.day, 2);
    pr_buf_char(b, 'T');
    add_digits(b, c.hour, 2);
    pr_buf_char(b, ':');
    add_digits(b, c.minute, 2);
    pr_buf_char(b, ':');
    add_digits(b, c.second, 2);
    pr_buf_char(b, '.');
    add_digits(b, c.ms, 3);
    pr_buf_char(b, 'Z');
}

static void add_json_field(struct pr_buf *b, const struct pr_log_field *f)
{
    pr_buf_char(b, ',');
    pr_buf_json(b, pr_slice_str(f->key));
    pr_buf_char(b, ':');
    switch (f->type) {
    case PR_LOG_STR:
        pr_buf_json(b, pr_slice_str(f->str));
        break;
    case PR_LOG_SLICE:
        pr_buf_json(b, f->slice);
        break;
    case PR_LOG_U64:
        pr_buf_u64(b, f->u64);
        break;
    case PR_LOG_I64:
        pr_buf_printf(b, "%lld", (long long)f->i64);
        break;
    case PR_LOG_END:
        break;
    }
}

static void add_json_line(struct pr_buf *b, const char *program, enum pr_log_level level, const char *event,
                          const struct pr_log_field *fields)
{
    pr_buf_str(b, "{\"time\":\"");
    add_time(b);
    pr_buf_str(b, "\",\"level\":\"");
    pr_buf_str(b, pr_log_level_names[level]);
    pr_buf_str(b, "\",\"program\":");
    pr_buf_json(b, pr_slice_str(program));
    pr_buf_str(b, ",\"event\":");
    pr_buf_json(b, pr_slice_str(event));
    for (; fields->type != PR_LOG_END; fields++)
        add_json_field(b, fields);
    pr_buf_str(b, "}\n");
}

static void add_text_line(struct pr_buf *b, const char *program, enum pr_log_level level, const char *event,
                          const struct pr_log_field *fields)
{
    add_time(b);
    pr_buf_char(b, ' ');
    pr_buf_str(b, pr_log_level_names[level]);
    pr_buf_char(b, ' ');
    pr_buf_str(b, program);
    pr_buf_char(b, ' ');
    pr_buf_str(b, event);
    pr_log_text(b, fields);
    pr_buf_char(b, '\n');
}

static void add_line(struct logfd *l, enum pr_log_level level, const char *event, const struct pr_log_field *fields)
{
    size_t before = l->pending.len;
    if (l->json)
        add_json_line(&l->pending, l->program, level, event, fields);
    else
        add_text_line(&l->pending, l->program, level, event, fields);
    l->taken += l->pending.len - before;
    l->by_level[level]++;
}

static struct timespec deadline_in(unsigned ms)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    t.tv_sec += ms / 1000;
    t.tv_nsec += (long)(ms % 1000) * 1000000;
    if (t.tv_nsec >= 1000000000) {
        t.tv_nsec -= 1000000000;
        t.tv_sec++;
    }
    return t;
}

static void wait_written(struct logfd *l, uint64_t upto)
{
    struct timespec deadline = deadline_in(ERROR_WAIT_MS);
    while (l->done < upto && !l->stalled)
        if (pthread_cond_timedwait(&l->written, &l->lock, &deadline) != 0)
            l->stalled = true;
}

static void on_emit(struct pr_log *log, enum pr_log_level level, const char *event, const struct pr_log_field *fields)
{
    struct logfd *l = (struct logfd *)(void *)log;
    pthread_mutex_lock(&l->lock);
    size_t limit = level <= PR_LOG_WARN ? RING_BYTES + RESERVE_BYTES : RING_BYTES;
    if (l->pending.len + l->writing >= limit) {
        l->dropped++;
        pthread_mutex_unlock(&l->lock);
        return;
    }
    add_line(l, level, event, fields);
    if (level == PR_LOG_ERROR)
        l->urgent = true;
    if (l->waiting || l->urgent || l->pending.len >= BATCH_BYTES)
        pthread_cond_signal(&l->wake);
    if (level == PR_LOG_ERROR)
        wait_written(l, l->taken);
    pthread_mutex_unlock(&l->lock);
}

/* Writes all of it; gives up when the descriptor is broken, or stalls while we stop. */
static void write_out(struct logfd *l, struct pr_slice bytes)
{
    while (bytes.len > 0) {
        if (!l->regular) {
            struct pollfd p = {.fd = l->fd, .events = POLLOUT};
            if (poll(&p, 1, STALL_MS) == 0) {
                pthread_mutex_lock(&l->lock);
                bool stopping = l->stopping;
                pthread_mutex_unlock(&l->lock);
                if (stopping)
                    return;
                continue;
            }
        }
        /* A pipe that polls writable takes PIPE_BUF bytes without waiting. */
        ssize_t n = write(l->fd, bytes.ptr, l->regular ? bytes.len : PR_MIN(bytes.len, (size_t)PIPE_BUF));
        if (n < 0 && errno != EINTR && errno != EAGAIN)
            return;
        if (n > 0)
            bytes = pr_slice_from(bytes, (size_t)n);
    }
}

static void report_dropped(struct logfd *l)
{
    uint64_t n = l->dropped - l->dropped_reported;
    if (n == 0 || l->pending.len >= RING_BYTES)
        return;
    l->dropped_reported = l->dropped;
    add_line(l, PR_LOG_WARN, "log_dropped", (const struct pr_log_field[]){PR_U("lines", n), {.type = PR_LOG_END}});
}

static void wait_for_lines(struct logfd *l)
{
    while (l->pending.len == 0 && !l->stopping) {
        l->waiting = true;
        pthread_cond_wait(&l->wake, &l->lock);
    }
    l->waiting = false;
    struct timespec deadline = deadline_in(BATCH_WAIT_MS);
    while (!l->urgent && !l->stopping && l->pending.len < BATCH_BYTES)
        if (pthread_cond_timedwait(&l->wake, &l->lock, &deadline) != 0)
            break;
    l->urgent = false;
}

static void *writer(void *arg)
{
    struct logfd *l = arg;
    struct pr_buf out = {0};
    pthread_mutex_lock(&l->lock);
    for (;;) {
        wait_for_lines(l);
        report_dropped(l);
        if (l->pending.len == 0)
            break; /* stopping */
        struct pr_buf taken = l->pending;
        l->pending = out;
        out = taken;
        l->writing = out.len;
        pthread_mutex_unlock(&l->lock);
        write_out(l, pr_buf_slice(&out));
        pthread_mutex_lock(&l->lock);
        l->done += out.len;
        l->writing = 0;
        l->stalled = false;
        pthread_cond_broadcast(&l->written);
        if (out.cap > KEEP_BYTES)
            pr_buf_fini(&out);
        pr_buf_clear(&out);
    }
    pthread_mutex_unlock(&l->lock);
    pr_buf_fini(&out);
    return NULL;
}

static void start_writer(struct logfd *l)
{
    /* Signals belong to the main thread. */
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int rc = pthread_create(&l->thread, NULL, writer, l);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    pr_assert(rc == 0);
    (void)pthread_setname_np(l->thread, "log");
}

struct pr_log *pr_logfd_new(const struct pr_logfd_options *o)
{
    struct logfd *l = pr_new(struct logfd);
    l->log = (struct pr_log){.level = o->level, .emit_fields = on_emit};
    l->fd = o->fd;
    l->program = pr_strdup(o->program);
    l->json = o->json;
    struct stat st;
    l->regular = fstat(o->fd, &st) == 0 && S_ISREG(st.st_mode);
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_mutex_init(&l->lock, NULL);
    pthread_cond_init(&l->wake, &attr);
    pthread_cond_init(&l->written, &attr);
    pthread_condattr_destroy(&attr);
    start_writer(l);
    return &l->log;
}

void pr_logfd_configure(struct pr_log *log, enum pr_log_level level, bool json)
{
    struct logfd *l = (struct logfd *)(void *)log;
    __atomic_store_n(&log->level, level, __ATOMIC_RELAXED);
    pthread_mutex_lock(&l->lock);
    l->json = json;
    pthread_mutex_unlock(&l->lock);
}

void pr_logfd_free(struct pr_log *log)
{
    struct logfd *l = (struct logfd *)(void *)log;
    if (l == NULL)
        return;
    pthread_mutex_lock(&l->lock);
    l->stopping = true;
    pthread_cond_signal(&l->wake);
    pthread_mutex_unlock(&l->lock);
    pthread_join(l->thread, NULL);
    pthread_cond_destroy(&l->written);
    pthread_cond_destroy(&l->wake);
    pthread_mutex_destroy(&l->lock);
    pr_buf_fini(&l->pending);
    pr_free(l->program);
    pr_free(l);
}

void pr_logfd_counts(struct pr_log *log, uint64_t ret_by_level[PR_LOG_LEVEL_NR], uint64_t *ret_dropped)
{
    struct logfd *l = (struct logfd *)(void *)log;
    pthread_mutex_lock(&l->lock);
    for (size_t i = 0; i < PR_LOG_LEVEL_NR; i++)
        ret_by_level[i] = l->by_level[i];
    *ret_dropped = l->dropped;
    pthread_mutex_unlock(&l->lock);
}
