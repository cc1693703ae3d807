/* queue_bench.c - the replicated queue alone: one shard, one voter, no network.
 *
 *   queue_bench DIR [messages=100000] [bytes=10240] [window=400] [inflight=2] [defer=0] [flush_mb=0] [spill_mb=0]
 *
 * Each message is enqueued, issued, read as a job and answered with a result (or, with defer=1, left in the queue after
 * a temporary failure). Prints messages per second and CPU per message. Not part of the test run. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>
#include <uv.h>

#include "common/base/alloc.h"
#include "common/base/rng.h"
#include "common/cluster/queue_read.h"
#include "common/cluster/raft_host.h"
#include "common/store/kv_rocks.h"
#include "common/wire/messages.h"

enum { SAMPLES = 200000 };

struct bench {
    uv_loop_t loop;
    struct kv *kv;
    struct fsm *fsm;
    struct raft_host *host;
    struct cmd_batch batch;
    uint64_t total, started, finished, window, inflight_max, size;
    uint64_t next_id, next_attempt;
    uint64_t entries;
    bool defer, stopping;
    char *body;
    struct pr_buf envelope, group, job_body;
    struct pr_rng rng;
    uint64_t t0, cpu0;
    uint32_t *latency_us; /* enqueue to acknowledgement */
    uint64_t *born;       /* by id modulo window * 4 */
    uint64_t n_latency;
};

static uint64_t now_us(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static uint64_t wall_ms(void)
{
    return now_us(CLOCK_REALTIME) / 1000;
}

static uint64_t cpu_us(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (uint64_t)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1000000 +
           (uint64_t)(u.ru_utime.tv_usec + u.ru_stime.tv_usec);
}

static void die(const char *what)
{
    fprintf(stderr, "queue_bench: %s\n", what);
    exit(1);
}

static void add(struct bench *b, const struct cmd *c)
{
    if (cmd_batch_add(&b->batch, c) != 0)
        die("entry full");
}

static void enqueue(struct bench *b)
{
    uint64_t now = wall_ms();
    struct cmd_group group = {
        .domain = PR_SLICE_LIT("example.com"), .encoded = pr_buf_slice(&b->group), .n_rcpts = 1, .due_ms = now};
    uint64_t id = PR_MAX(b->next_id + 1, now << 22);
    b->next_id = id;
    struct cmd c = {.type = CMD_ENQUEUE,
                    .enqueue = {
                        .msg_id = id,
                        .received_ms = now,
                        .expiry_ms = now + 5 * 86400000ULL,
                        .check_ms = now + 4 * 3600000ULL,
                        .class_ = MAIL_CLASS_NORMAL,
                        .tenant = PR_SLICE_LIT("default"),
                        .pool = PR_SLICE_LIT("default"),
                        .envelope = pr_buf_slice(&b->envelope),
                        .size_bytes = b->size,
                        .body = pr_slice(b->body, b->size),
                        .groups = &group,
                        .n_groups = 1,
                    }};
    pr_rng_fill(&b->rng, c.enqueue.token.bytes, sizeof c.enqueue.token.bytes);
    b->born[id % (b->window * 4)] = now_us(CLOCK_MONOTONIC);
    add(b, &c);
    b->started++;
}

static void issue(struct bench *b, const struct fsm_row *row)
{
    struct cmd c = {.type = CMD_ISSUE,
                    .issue = {
                        .msg_id = row->msg_id,
                        .group = row->group,
                        .due_ms = row->due_ms,
                        .attempt = row->attempt + 1,
                        .attempt_id = ++b->next_attempt,
                        .node_id = PR_SLICE_LIT("host-deliverer"),
                        .boot_id = 1,
                        .issued_ms = wall_ms(),
                    }};
    add(b, &c);
}

static void result(struct bench *b, const struct cmd_attempt_ref *ref)
{
    struct pr_arena arena = {0};
    struct qread_job job;
    pr_buf_clear(&b->job_body);
    if (qread_job(fsm_stage(b->fsm), ref->msg_id, ref->group, 64 * 1024, &arena, &b->job_body, &job) != 0 ||
        !job.inlined)
        die("job is not readable");
    pr_arena_fini(&arena);
    struct cmd_rcpt_result rcpt = {
        .outcome = b->defer ? MAIL_OUTCOME_TEMP : MAIL_OUTCOME_DELIVERED,
        .code = b->defer ? 451 : 250,
        .enhanced = b->defer ? PR_SLICE_LIT("4.3.0") : PR_SLICE_LIT("2.0.0"),
        .diagnostic =
            b->defer ? PR_SLICE_LIT("451 4.3.0 try again later") : PR_SLICE_LIT("250 2.0.0 Ok: queued as 12345"),
    };
    struct cmd c = {.type = CMD_RESULT,
                    .result = {
                        .ref = *ref,
                        .rcpts = &rcpt,
                        .n_rcpts = 1,
                        .remote = PR_SLICE_LIT("mx.example.com [192.0.2.1]"),
                        .next_due_ms = wall_ms() + 300000 + pr_rng_below(&b->rng, 100000),
                    }};
    add(b, &c);
}

static void flush(struct bench *b);

static void on_done(void *data, int status, uint64_t index, const struct fsm_effects *effects)
{
    struct bench *b = data;
    (void)index;
    if (status != 0)
        die(pr_strerror(status));
    b->entries++;
    for (size_t i = 0; i < effects->n; i++) {
        const struct fsm_effect *e = &effects->items[i];
        if (e->type == FSM_MSG_STORED && b->n_latency < SAMPLES)
            b->latency_us[b->n_latency++] =
                (uint32_t)(now_us(CLOCK_MONOTONIC) - b->born[e->msg.msg_id % (b->window * 4)]);
        if (e->status != FSM_OK)
            die(fsm_status_names[e->status]);
        if (e->type == FSM_ROW_FILED && e->row.attempt == 0)
            issue(b, &e->row);
        else if (e->type == FSM_ISSUED)
            result(b, &e->attempt.ref);
        else if (e->type == FSM_RESULT_DONE)
            b->finished++;
    }
    flush(b);
}

static int compare_u32(const void *pa, const void *pb)
{
    uint32_t a = *(const uint32_t *)pa, b = *(const uint32_t *)pb;
    return (a > b) - (a < b);
}

static double percentile(const struct bench *b, uint64_t permille)
{
    return b->n_latency == 0 ? 0 : b->latency_us[(b->n_latency - 1) * permille / 1000] / 1e3;
}

static void report(struct bench *b)
{
    double s = (double)(now_us(CLOCK_MONOTONIC) - b->t0) / 1e6;
    double cpu = (double)(cpu_us() - b->cpu0);
    struct raft_host_stats st;
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    raft_host_stats(b->host, &st);
    qsort(b->latency_us, b->n_latency, sizeof *b->latency_us, compare_u32);
    printf("%.0f msg/s, %.1f us CPU per message, %.1f messages per entry, log %.1f KB per message, %llu flushes, "
           "%llu snapshots, max RSS %ld MB\n",
           (double)b->finished / s, cpu / (double)b->finished, (double)b->finished / (double)b->entries,
           (double)st.appended_bytes / 1024 / (double)b->finished, (unsigned long long)st.flushes,
           (unsigned long long)st.snapshots, u.ru_maxrss / 1024);
    printf("enqueue to acknowledgement: p50 %.1f ms, p99 %.1f ms, max %.1f ms\n", percentile(b, 500),
           percentile(b, 990), percentile(b, 1000));
    printf("store: %llu MB on disk, %llu MB in memtables; queue: %llu messages\n",
           (unsigned long long)b->kv->ops->property(b->kv, KV_PROP_DISK_BYTES) >> 20,
           (unsigned long long)b->kv->ops->property(b->kv, KV_PROP_MEMORY_BYTES) >> 20,
           (unsigned long long)fsm_counters(b->fsm)->messages);
}

static void on_stopped(void *data)
{
    (void)data;
}

static void flush(struct bench *b)
{
    if (raft_host_inflight(b->host) >= b->inflight_max)
        return;
    while (b->started < b->total && b->started - b->finished < b->window &&
           cmd_batch_size(&b->batch) + b->size + 2048 < CMD_ENTRY_SOFT_MAX)
        enqueue(b);
    if (b->batch.count > 0) {
        int err = raft_host_propose(b->host, cmd_batch_finish(&b->batch, (pr_wall){wall_ms()}), on_done, b);
        if (err != 0)
            die(pr_strerror(err));
        cmd_batch_clear(&b->batch);
    }
    if (b->finished == b->total && !b->stopping) {
        b->stopping = true;
        report(b);
        raft_host_stop(b->host, on_stopped, b);
    }
}

static void on_leader(void *data, uint64_t term)
{
    struct bench *b = data;
    printf("leader of term %llu after %.0f ms\n", (unsigned long long)term,
           (double)(now_us(CLOCK_MONOTONIC) - b->t0) / 1e3);
    b->next_id = fsm_last_id(b->fsm);
    b->t0 = now_us(CLOCK_MONOTONIC);
    b->cpu0 = cpu_us();
    if (b->total == 0) {
        report(b);
        raft_host_stop(b->host, on_stopped, b);
        return;
    }
    for (uint64_t i = 0; i < b->inflight_max; i++)
        flush(b);
}

static void on_follower(void *data)
{
    (void)data;
    die("leadership lost");
}

static void on_fatal(void *data, const char *text)
{
    (void)data;
    die(text);
}

static void on_notice(void *data, const char *text)
{
    (void)data;
    fprintf(stderr, "notice: %s\n", text);
}

static uint64_t parsed(const char *text)
{
    uint64_t v = 0;
    if (pr_parse_u64(pr_slice_str(text), UINT64_MAX, &v) != 0)
        abort();
    return v;
}

static uint64_t option(int argc, char **argv, const char *name, uint64_t def)
{
    size_t n = strlen(name);
    for (int i = 2; i < argc; i++)
        if (strncmp(argv[i], name, n) == 0 && argv[i][n] == '=')
            return parsed(argv[i] + n + 1);
    return def;
}

static void make_mail(struct bench *b)
{
    struct mail_rcpt rcpt = {.address = PR_SLICE_LIT("recipient.number.one@example.com")};
    struct mail_group group = {.domain = PR_SLICE_LIT("example.com"), .rcpts = &rcpt, .n_rcpts = 1};
    struct mail_envelope e = {.sender = PR_SLICE_LIT("bounces+12345@sender.example.org"),
                              .tenant = PR_SLICE_LIT("default"),
                              .class_ = MAIL_CLASS_NORMAL,
                              .pool = PR_SLICE_LIT("default"),
                              .client_name = PR_SLICE_LIT("client.example.net"),
                              .client_address = PR_SLICE_LIT("198.51.100.7"),
                              .helo = PR_SLICE_LIT("client.example.net"),
                              .protocol = PR_SLICE_LIT("ESMTP"),
                              .size_bytes = b->size};
    wire_envelope_encode(&e, &b->envelope);
    wire_group_encode(&group, &b->group);
    b->body = pr_malloc(b->size);
    pr_rng_fill(&b->rng, b->body, b->size);
}

int main(int argc, char **argv)
{
    if (argc < 2)
        die("usage: queue_bench DIR [name=value ...]");
    struct bench b = {
        .total = option(argc, argv, "messages", 100000),
        .size = option(argc, argv, "bytes", 10240),
        .window = option(argc, argv, "window", 400),
        .inflight_max = option(argc, argv, "inflight", 2),
        .defer = option(argc, argv, "defer", 0) != 0,
    };
    pr_rng_init(&b.rng, wall_ms());
    make_mail(&b);
    b.latency_us = pr_calloc(SAMPLES, sizeof *b.latency_us);
    b.born = pr_calloc(b.window * 4, sizeof *b.born);
    uv_loop_init(&b.loop);
    b.t0 = now_us(CLOCK_MONOTONIC);

    struct pr_buf db = {0}, raft = {0}, err = {0};
    pr_buf_printf(&db, "%s/db", argv[1]);
    pr_buf_printf(&raft, "%s/raft", argv[1]);
    struct kv_rocks_settings ks;
    kv_rocks_settings_default(&ks);
    if (kv_rocks_open(pr_buf_cstr(&db), &ks, &b.kv, &err) != 0 || fsm_open(b.kv, &b.fsm, &err) != 0)
        die(pr_buf_cstr(&err));
    uint64_t spill = option(argc, argv, "spill_mb", 0), flush_mb = option(argc, argv, "flush_mb", 0);
    if (spill != 0)
        fsm_set_spill(b.fsm, spill << 20, spill << 10);
    struct raft_host_config config = {
        .loop = &b.loop,
        .dir = pr_buf_cstr(&raft),
        .flush_dir = pr_buf_cstr(&db),
        .fsm = b.fsm,
        .callbacks = {&b, on_leader, on_follower, on_fatal, on_notice},
    };
    raft_host_settings_default(&config.settings);
    if (flush_mb != 0)
        config.settings.flush_bytes = flush_mb << 20;
    if (raft_host_start(&config, &b.host, &err) != 0)
        die(pr_buf_cstr(&err));
    uv_run(&b.loop, UV_RUN_DEFAULT);
    if (uv_loop_close(&b.loop) != 0)
        die("handles left open");
    fsm_free(b.fsm);
    kv_close(b.kv);
    pr_buf_fini(&db);
    pr_buf_fini(&raft);
    pr_buf_fini(&err);
    return 0;
}
