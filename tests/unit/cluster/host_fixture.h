/* host_fixture.h - a shard on a real directory: RocksDB, state machine, Raft host, loop. */
#ifndef TESTS_CLUSTER_HOST_FIXTURE_H
#define TESTS_CLUSTER_HOST_FIXTURE_H

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <uv.h>

#include "common/base/alloc.h"
#include "common/base/rng.h"
#include "common/cluster/queue_read.h"
#include "common/cluster/raft_host.h"
#include "common/store/kv_rocks.h"

#define MB (1024ULL * 1024)

struct shard {
    char dir[64];
    uv_loop_t loop;
    struct kv *kv;
    struct fsm *fsm;
    struct raft_host *host;
    struct raft_host_settings settings;
    struct kv_rocks_settings kv_settings;
    size_t spill_bytes;
    uint64_t led_term;
    unsigned notices;
    bool stopped;
    int fatal_exit; /* exit status on a fatal error; 0: abort */
    char error[1024];  /* of a failed start */
    char notice[1024]; /* the last one */
    void (*on_lead)(struct shard *s);
};

static inline void shard_init(struct shard *s)
{
    memset(s, 0, sizeof *s);
    (void)snprintf(s->dir, sizeof s->dir, "/tmp/raft-host-XXXXXX");
    if (mkdtemp(s->dir) == NULL)
        abort();
    raft_host_settings_default(&s->settings);
    s->settings.segment_bytes = MB;
    s->settings.flush_bytes = MB;
    s->settings.trailing_bytes = MB;
    s->settings.capacity_threshold_kb = 256;
    kv_rocks_settings_default(&s->kv_settings);
    s->kv_settings.write_buffer_bytes = 4 * MB;
}

static inline void shard_remove(struct shard *s)
{
    char cmd[128];
    (void)snprintf(cmd, sizeof cmd, "rm -rf %s", s->dir);
    if (system(cmd) != 0)
        abort();
}

static inline void on_shard_leader(void *data, uint64_t term)
{
    struct shard *s = data;
    s->led_term = term;
    if (s->on_lead != NULL)
        s->on_lead(s);
}

static inline void on_shard_follower(void *data)
{
    ((struct shard *)data)->led_term = 0;
}

static inline void on_shard_fatal(void *data, const char *text)
{
    const struct shard *s = data;
    fprintf(stderr, "fatal: %s\n", text);
    if (s->fatal_exit != 0)
        _exit(s->fatal_exit);
    abort();
}

static inline void on_shard_notice(void *data, const char *text)
{
    struct shard *s = data;
    s->notices++;
    (void)snprintf(s->notice, sizeof s->notice, "%s", text);
}

static inline void shard_close_store(struct shard *s)
{
    fsm_free(s->fsm);
    kv_close(s->kv);
    s->fsm = NULL;
    s->kv = NULL;
}

/* PR_*; the text is in s->error. */
static inline int shard_start(struct shard *s)
{
    struct pr_buf db = {0}, raft = {0}, err = {0};
    pr_buf_printf(&db, "%s/db", s->dir);
    pr_buf_printf(&raft, "%s/raft", s->dir);
    s->led_term = 0;
    s->stopped = false;
    s->error[0] = '\0';
    uv_loop_init(&s->loop);
    int rv = kv_rocks_open(pr_buf_cstr(&db), &s->kv_settings, &s->kv, &err);
    if (rv == 0)
        rv = fsm_open(s->kv, &s->fsm, &err);
    if (rv == 0 && s->spill_bytes > 0)
        fsm_set_spill(s->fsm, s->spill_bytes, 100000);
    struct raft_host_config config = {
        .loop = &s->loop,
        .dir = pr_buf_cstr(&raft),
        .flush_dir = pr_buf_cstr(&db),
        .fsm = s->fsm,
        .settings = s->settings,
        .callbacks = {s, on_shard_leader, on_shard_follower, on_shard_fatal, on_shard_notice},
    };
    if (rv == 0)
        rv = raft_host_start(&config, &s->host, &err);
    if (rv != 0) {
        (void)snprintf(s->error, sizeof s->error, "%s", pr_buf_cstr(&err));
        shard_close_store(s);
        if (uv_loop_close(&s->loop) != 0)
            abort(); /* a failed start leaves nothing behind */
    }
    pr_buf_fini(&db);
    pr_buf_fini(&raft);
    pr_buf_fini(&err);
    return rv;
}

static inline void on_shard_stopped(void *data)
{
    ((struct shard *)data)->stopped = true;
}

static inline void shard_stop(struct shard *s)
{
    raft_host_stop(s->host, on_shard_stopped, s);
    while (!s->stopped)
        uv_run(&s->loop, UV_RUN_ONCE);
    uv_run(&s->loop, UV_RUN_DEFAULT);
    if (uv_loop_close(&s->loop) != 0)
        abort();
    shard_close_store(s);
}

/* Turns the loop until the condition holds; false after 60 s. The host's own timer keeps the loop turning. */
static inline bool shard_run_until(struct shard *s, bool (*done)(void *data), void *data)
{
    uint64_t deadline = uv_hrtime() + 60ULL * 1000000000;
    while (!done(data)) {
        if (uv_hrtime() > deadline)
            return false;
        uv_run(&s->loop, UV_RUN_ONCE);
    }
    return true;
}

static inline bool shard_leads(void *data)
{
    return ((struct shard *)data)->led_term != 0;
}

/* A message of one group with a body of random bytes. */
static inline int shard_enqueue(struct cmd_batch *b, uint64_t id, struct pr_slice body)
{
    struct cmd_group group = {
        .domain = PR_SLICE_LIT("example.com"), .encoded = PR_SLICE_LIT("group"), .n_rcpts = 1, .due_ms = 1};
    struct cmd c = {.type = CMD_ENQUEUE,
                    .enqueue = {.msg_id = id,
                                .received_ms = 1,
                                .expiry_ms = 1000000000,
                                .check_ms = 500000000,
                                .tenant = PR_SLICE_LIT("default"),
                                .pool = PR_SLICE_LIT("default"),
                                .envelope = PR_SLICE_LIT("envelope"),
                                .size_bytes = body.len,
                                .body = body,
                                .groups = &group,
                                .n_groups = 1}};
    return cmd_batch_add(b, &c);
}

#endif
