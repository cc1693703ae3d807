/* The Raft host with one voter on a real directory: proposals, restarts, flushes, big bodies, damaged files. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/unit/cluster/host_fixture.h"

struct client {
    struct shard *shard;
    struct cmd_batch batch;
    char *body;
    size_t body_len;
    uint64_t next_id, total, proposed, done, failed;
    uint64_t last_index;
    int status;
    bool chain; /* propose the next from inside the callback */
};

static void client_init(struct client *c, struct shard *s, size_t body_len)
{
    memset(c, 0, sizeof *c);
    c->shard = s;
    c->body = pr_malloc(body_len);
    c->body_len = body_len;
    struct pr_rng rng;
    pr_rng_init(&rng, body_len);
    pr_rng_fill(&rng, c->body, body_len);
}

static void client_fini(struct client *c)
{
    pr_free(c->body);
    pr_buf_fini(&c->batch.buf);
}

static void propose_next(struct client *c);

static void on_done(void *data, int status, uint64_t index, const struct fsm_effects *effects)
{
    struct client *c = data;
    c->done++;
    c->status = status;
    if (status != 0) {
        c->failed++;
        assert_null(effects);
        return;
    }
    assert_true(index > c->last_index);
    c->last_index = index;
    assert_true(effects->n > 0 && effects->items[effects->n - 1].status == FSM_OK);
    if (c->chain && c->proposed < c->total)
        propose_next(c);
}

static void propose_next(struct client *c)
{
    c->next_id = PR_MAX(c->next_id, fsm_last_id(c->shard->fsm)) + 1;
    assert_int_equal(shard_enqueue(&c->batch, c->next_id, pr_slice(c->body, c->body_len)), 0);
    struct pr_slice entry = cmd_batch_finish(&c->batch, (pr_wall){1});
    assert_int_equal(raft_host_propose(c->shard->host, entry, on_done, c), 0);
    cmd_batch_clear(&c->batch);
    c->proposed++;
}

static bool all_done(void *data)
{
    const struct client *c = data;
    return c->done == c->total;
}

/* n messages, at most four entries at a time. */
static void enqueue_many(struct client *c, uint64_t n)
{
    c->chain = true;
    c->total = c->proposed + n;
    for (int i = 0; i < 4 && c->proposed < c->total; i++)
        propose_next(c);
    assert_true(shard_run_until(c->shard, all_done, c));
    assert_int_equal(c->failed, 0);
}

static void start(struct shard *s)
{
    if (shard_start(s) != 0)
        fail_msg("%s", s->error);
    assert_true(shard_run_until(s, shard_leads, s));
}

static int setup(void **state)
{
    struct shard *s = pr_new(struct shard);
    shard_init(s);
    *state = s;
    return 0;
}

static int teardown(void **state)
{
    shard_remove(*state);
    pr_free(*state);
    return 0;
}

/* ---------------------------------------------------------------------------------------------------------- basics */

static void test_settings(void **state)
{
    (void)state;
    struct raft_host_settings s;
    const char *field = NULL;
    raft_host_settings_default(&s);
    assert_int_equal(raft_host_settings_check(&s, &field), 0);
    s.segment_bytes = 24 * MB;
    assert_int_equal(raft_host_settings_check(&s, &field), PR_ERANGE);
    assert_string_equal(field, "segment_bytes");
    s.segment_bytes = 16 * MB + 4096;
    assert_int_equal(raft_host_settings_check(&s, &field), PR_ERANGE);
    raft_host_settings_default(&s);
    s.heartbeat_ms = s.election_timeout_ms;
    assert_int_equal(raft_host_settings_check(&s, &field), PR_ERANGE);
    assert_string_equal(field, "heartbeat_ms");
    raft_host_settings_default(&s);
    s.node_id = 0;
    assert_int_equal(raft_host_settings_check(&s, &field), PR_ERANGE);
    raft_host_settings_default(&s);
    s.trailing_bytes = 0;
    assert_int_equal(raft_host_settings_check(&s, &field), PR_ERANGE);
    assert_string_equal(field, "trailing_bytes");
}

static void test_propose_and_restart(void **state)
{
    struct shard *s = *state;
    struct client c;
    start(s);
    uint64_t term = s->led_term;
    assert_true(raft_host_is_leader(s->host) && raft_host_term(s->host) == term);
    client_init(&c, s, 1000);
    enqueue_many(&c, 50);
    assert_true(fsm_counters(s->fsm)->messages == 50);
    uint64_t applied = fsm_applied(s->fsm), hash, again;
    assert_int_equal(fsm_hash(s->fsm, &hash), 0);
    struct raft_host_stats stats;
    raft_host_stats(s->host, &stats);
    assert_true(stats.last_index == applied && stats.commit_index == applied && stats.log_bytes > 50 * 1000);
    shard_stop(s);
    start(s);
    assert_true(s->led_term > term);
    assert_true(fsm_counters(s->fsm)->messages == 50);
    assert_true(fsm_applied(s->fsm) == applied); /* a barrier moves libraft's index, not ours */
    assert_int_equal(fsm_hash(s->fsm, &again), 0);
    assert_true(again == hash);
    enqueue_many(&c, 5);
    assert_true(fsm_counters(s->fsm)->messages == 55 && fsm_applied(s->fsm) > applied + 5);
    shard_stop(s);
    client_fini(&c);
}

static void test_refused_proposals(void **state)
{
    struct shard *s = *state;
    struct client c;
    assert_int_equal(shard_start(s), 0);
    client_init(&c, s, 8);
    assert_int_equal(shard_enqueue(&c.batch, 1, pr_slice(c.body, 8)), 0);
    struct pr_slice entry = cmd_batch_finish(&c.batch, (pr_wall){1});
    assert_int_equal(raft_host_propose(s->host, entry, on_done, &c), PR_ENOTLEADER); /* before the barrier */
    assert_true(shard_run_until(s, shard_leads, s));
    assert_int_equal(raft_host_propose(s->host, pr_slice_head(entry, entry.len - 1), on_done, &c), PR_ETOOBIG);
    assert_int_equal(raft_host_propose(s->host, PR_SLICE_LIT(""), on_done, &c), PR_ETOOBIG);
    assert_int_equal(raft_host_inflight(s->host), 0);
    assert_int_equal(c.done, 0);
    shard_stop(s);
    client_fini(&c);
}

/* Each open proposal is answered exactly once, and what was answered "unknown" may be there after the restart. */
static void test_stop_with_proposals_open(void **state)
{
    struct shard *s = *state;
    struct client c;
    start(s);
    client_init(&c, s, 20000);
    for (int i = 0; i < 20; i++)
        propose_next(&c);
    assert_int_equal(raft_host_inflight(s->host), 20);
    raft_host_stop(s->host, on_shard_stopped, s);
    assert_int_equal(raft_host_propose(s->host, PR_SLICE_LIT("12345678"), on_done, &c), PR_ECLOSED);
    while (!s->stopped)
        uv_run(&s->loop, UV_RUN_ONCE);
    assert_int_equal(c.done, 20);
    assert_int_equal(uv_loop_close(&s->loop), 0);
    shard_close_store(s);
    uint64_t answered = c.done - c.failed;
    start(s);
    assert_true(fsm_counters(s->fsm)->messages >= answered && fsm_counters(s->fsm)->messages <= 20);
    shard_stop(s);
    client_fini(&c);
}

static void stop_at_once(void *data, int status, uint64_t index, const struct fsm_effects *effects)
{
    struct client *c = data;
    (void)index;
    (void)effects;
    assert_int_equal(status, 0);
    c->done++;
    raft_host_stop(c->shard->host, on_shard_stopped, c->shard);
}

static void test_stop_inside_a_callback(void **state)
{
    struct shard *s = *state;
    struct client c;
    start(s);
    client_init(&c, s, 100);
    assert_int_equal(shard_enqueue(&c.batch, 1, pr_slice(c.body, 100)), 0);
    assert_int_equal(raft_host_propose(s->host, cmd_batch_finish(&c.batch, (pr_wall){1}), stop_at_once, &c), 0);
    while (!s->stopped)
        uv_run(&s->loop, UV_RUN_ONCE);
    assert_int_equal(c.done, 1);
    assert_int_equal(uv_loop_close(&s->loop), 0);
    shard_close_store(s);
    client_fini(&c);
}

/* -------------------------------------------------------------------------------------------- log and flush bounds */

static uint64_t log_directory_bytes(const struct shard *s)
{
    char path[512];
    (void)snprintf(path, sizeof path, "%s/raft", s->dir);
    DIR *d = opendir(path);
    assert_non_null(d);
    uint64_t sum = 0;
    for (struct dirent *e; (e = readdir(d)) != NULL;) {
        struct stat st;
        (void)snprintf(path, sizeof path, "%s/raft/%s", s->dir, e->d_name);
        if (stat(path, &st) == 0 && S_ISREG(st.st_mode))
            sum += (uint64_t)st.st_size;
    }
    closedir(d);
    return sum;
}

static void test_log_stays_bounded(void **state)
{
    struct shard *s = *state;
    struct client c;
    start(s);
    client_init(&c, s, 100000);
    struct raft_host_stats stats;
    for (int round = 0; round < 3; round++) {
        enqueue_many(&c, 100); /* ten times the trailing */
        raft_host_stats(s->host, &stats);
        assert_true(stats.flushes > 0 && stats.snapshots > 0 && stats.durable_index > 0);
        /* trailing + one flush + what came while it ran */
        assert_true(stats.log_bytes < 8 * MB);
        assert_true(log_directory_bytes(s) < 16 * MB);
        shard_stop(s);
        start(s);
        assert_true(fsm_counters(s->fsm)->messages == 100U * ((unsigned)round + 1));
    }
    struct pr_buf body = {0};
    assert_int_equal(qread_body(fsm_stage(s->fsm), c.next_id, 0, &body), 0);
    assert_true(pr_slice_eq(pr_buf_slice(&body), pr_slice(c.body, c.body_len)));
    pr_buf_fini(&body);
    shard_stop(s);
    client_fini(&c);
}

static bool flushed(void *data)
{
    struct raft_host_stats stats;
    raft_host_stats(((struct shard *)data)->host, &stats);
    return stats.flushes > 0 && stats.snapshots > 0;
}

static void test_flush_on_demand(void **state)
{
    struct shard *s = *state;
    struct client c;
    start(s);
    client_init(&c, s, 1000);
    enqueue_many(&c, 5);
    raft_host_flush(s->host);
    assert_true(shard_run_until(s, flushed, s));
    struct raft_host_stats stats;
    raft_host_stats(s->host, &stats);
    assert_true(stats.durable_index == fsm_applied(s->fsm));
    shard_stop(s);
    client_fini(&c);
}

/* A message of 50 MB by parts: the stage spills, the log is cut, the body comes back whole. */
struct upload {
    struct client c;
    uint64_t body_id;
    uint32_t seq, n_parts;
};

static void send_part(struct upload *u);

static void on_part(void *data, int status, uint64_t index, const struct fsm_effects *effects)
{
    struct upload *u = data;
    (void)index;
    assert_int_equal(status, 0);
    assert_int_equal(effects->items[0].status, FSM_OK);
    u->c.done++;
    send_part(u);
}

static void send_part(struct upload *u)
{
    if (u->seq == u->n_parts)
        return;
    struct cmd cmd = {.type = CMD_PART,
                      .part = {.body_id = u->body_id,
                               .seq = u->seq,
                               .reap_ms = 1000000,
                               .bytes = pr_slice(u->c.body + u->seq * 1000, CMD_BODY_CHUNK_MAX)}};
    u->seq++;
    assert_int_equal(cmd_batch_add(&u->c.batch, &cmd), 0);
    struct pr_slice entry = cmd_batch_finish(&u->c.batch, (pr_wall){1});
    assert_int_equal(raft_host_propose(u->c.shard->host, entry, on_part, u), 0);
    cmd_batch_clear(&u->c.batch);
}

static void test_fifty_megabytes(void **state)
{
    struct shard *s = *state;
    struct upload u = {.body_id = 1000, .n_parts = 200};
    s->spill_bytes = 2 * MB;
    s->settings.segment_bytes = 4 * MB;
    start(s);
    client_init(&u.c, s, CMD_BODY_CHUNK_MAX + u.n_parts * 1000);
    u.c.total = u.n_parts;
    send_part(&u);
    send_part(&u);
    assert_true(shard_run_until(s, all_done, &u.c));
    assert_true(stage_bytes(fsm_stage(s->fsm)) < 3 * MB);
    shard_stop(s);
    start(s);
    assert_true(fsm_counters(s->fsm)->uploads == 1 && fsm_counters(s->fsm)->upload_bytes == 50 * MB);
    struct cmd_group group = {.domain = PR_SLICE_LIT("example.com"), .n_rcpts = 1};
    struct cmd cmd = {.type = CMD_ENQUEUE,
                      .enqueue = {.msg_id = 2000,
                                  .body_id = u.body_id,
                                  .n_chunks = u.n_parts,
                                  .size_bytes = 50 * MB,
                                  .groups = &group,
                                  .n_groups = 1}};
    assert_int_equal(cmd_batch_add(&u.c.batch, &cmd), 0);
    u.c.total = u.c.done + 1;
    assert_int_equal(raft_host_propose(s->host, cmd_batch_finish(&u.c.batch, (pr_wall){2}), on_done, &u.c), 0);
    assert_true(shard_run_until(s, all_done, &u.c));
    assert_int_equal(u.c.status, 0);
    for (uint32_t i = 0; i < u.n_parts; i++) {
        struct pr_buf chunk = {0};
        assert_int_equal(qread_body(fsm_stage(s->fsm), u.body_id, i, &chunk), 0);
        assert_true(pr_slice_eq(pr_buf_slice(&chunk), pr_slice(u.c.body + i * 1000, CMD_BODY_CHUNK_MAX)));
        pr_buf_fini(&chunk);
    }
    shard_stop(s);
    client_fini(&u.c);
}

/* Mail that came and went: its bodies leave the disk without being asked. */
static void delete_all(struct client *c, uint64_t first, uint64_t last)
{
    c->total = c->done + 1;
    for (uint64_t id = first; id <= last; id++) {
        struct cmd cmd = {.type = CMD_DELETE, .admin = {id, 0}};
        assert_int_equal(cmd_batch_add(&c->batch, &cmd), 0);
    }
    struct pr_slice entry = cmd_batch_finish(&c->batch, (pr_wall){1});
    assert_int_equal(raft_host_propose(c->shard->host, entry, on_done, c), 0);
    cmd_batch_clear(&c->batch);
    assert_true(shard_run_until(c->shard, all_done, c));
}

static bool disk_is_small(void *data)
{
    struct shard *s = data;
    struct raft_host_stats stats;
    raft_host_stats(s->host, &stats);
    return stats.compactions > 0 && s->kv->ops->property(s->kv, KV_PROP_DISK_BYTES) < 4 * MB;
}

static void test_bodies_leave_the_disk(void **state)
{
    struct shard *s = *state;
    struct client c;
    s->settings.dead_bytes = MB;
    s->spill_bytes = 100000;
    start(s);
    client_init(&c, s, 50000);
    enqueue_many(&c, 300);
    shard_stop(s);
    start(s);
    c.chain = false;
    assert_true(s->kv->ops->property(s->kv, KV_PROP_DISK_BYTES) > 10 * MB);
    delete_all(&c, 1, 300);
    assert_int_equal(fsm_counters(s->fsm)->messages, 0);
    raft_host_flush(s->host);
    assert_true(shard_run_until(s, flushed, s));
    shard_stop(s); /* a start looks at once */
    start(s);
    assert_true(shard_run_until(s, disk_is_small, s));
    shard_stop(s);
    client_fini(&c);
}

/* ---------------------------------------------------------------------------------------------------------- damage */

/* Path of the newest file in the log directory whose name starts so. */
static void find_file(const struct shard *s, const char *prefix, char path[512])
{
    char dir[128], best[256] = "";
    (void)snprintf(dir, sizeof dir, "%s/raft", s->dir);
    DIR *d = opendir(dir);
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d)) != NULL;)
        if (strncmp(e->d_name, prefix, strlen(prefix)) == 0 && strcmp(e->d_name, best) > 0)
            (void)snprintf(best, sizeof best, "%s", e->d_name);
    closedir(d);
    assert_true(best[0] != '\0');
    (void)snprintf(path, 512, "%s/%s", dir, best);
}

static void flip_bit(const char *path, long from_end)
{
    int fd = open(path, O_RDWR | O_CLOEXEC);
    struct stat st;
    char c;
    assert_true(fd >= 0 && fstat(fd, &st) == 0);
    assert_int_equal(pread(fd, &c, 1, st.st_size - from_end), 1);
    c ^= 4;
    assert_int_equal(pwrite(fd, &c, 1, st.st_size - from_end), 1);
    close(fd);
}

static void fill_and_stop(struct shard *s, uint64_t n)
{
    struct client c;
    start(s);
    client_init(&c, s, 5000);
    enqueue_many(&c, n);
    shard_stop(s);
    client_fini(&c);
}

static void refused(struct shard *s, const char *word)
{
    assert_int_not_equal(shard_start(s), 0);
    if (strstr(s->error, word) == NULL)
        fail_msg("unexpected text: %s", s->error);
}

static void test_flipped_bit_is_refused(void **state)
{
    struct shard *s = *state;
    char path[512];
    fill_and_stop(s, 20);
    find_file(s, "0000", path);
    flip_bit(path, 300);
    refused(s, "checksum of the data is wrong");
    assert_non_null(strstr(s->error, "last good index"));
    flip_bit(path, 300); /* nothing was changed: put right, it starts again */
    start(s);
    assert_true(fsm_counters(s->fsm)->messages == 20);
    shard_stop(s);
}

static void test_cut_file_is_refused(void **state)
{
    struct shard *s = *state;
    char path[512];
    struct stat st;
    fill_and_stop(s, 20);
    find_file(s, "0000", path);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(truncate(path, st.st_size - 100), 0);
    refused(s, "cut off");
}

static void test_missing_log_is_refused(void **state)
{
    struct shard *s = *state;
    char cmd[160];
    fill_and_stop(s, 250); /* more than a flush: the database knows of it */
    (void)snprintf(cmd, sizeof cmd, "rm -r %s/raft", s->dir);
    assert_int_equal(system(cmd), 0);
    refused(s, "log is damaged");
}

static void test_missing_database_is_refused(void **state)
{
    struct shard *s = *state;
    char cmd[160];
    fill_and_stop(s, 600); /* the first entries are no longer in the log */
    (void)snprintf(cmd, sizeof cmd, "rm -r %s/db", s->dir);
    assert_int_equal(system(cmd), 0);
    refused(s, "database is older than the log");
}

static void test_lost_database_is_rebuilt_from_a_whole_log(void **state)
{
    struct shard *s = *state;
    char cmd[160];
    fill_and_stop(s, 20); /* no flush yet: all is in the log */
    (void)snprintf(cmd, sizeof cmd, "rm -r %s/db", s->dir);
    assert_int_equal(system(cmd), 0);
    start(s);
    assert_true(fsm_counters(s->fsm)->messages == 20);
    shard_stop(s);
}

#define CASE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_settings),
        CASE(test_propose_and_restart),
        CASE(test_refused_proposals),
        CASE(test_stop_with_proposals_open),
        CASE(test_stop_inside_a_callback),
        CASE(test_log_stays_bounded),
        CASE(test_flush_on_demand),
        CASE(test_fifty_megabytes),
        CASE(test_bodies_leave_the_disk),
        CASE(test_flipped_bit_is_refused),
        CASE(test_cut_file_is_refused),
        CASE(test_missing_log_is_refused),
        CASE(test_missing_database_is_refused),
        CASE(test_lost_database_is_rebuilt_from_a_whole_log),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
