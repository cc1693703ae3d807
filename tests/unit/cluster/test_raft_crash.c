/* kill -9 under load, many times on one directory: what was acknowledged is there after the restart, what was finished
 * stays finished, and nothing appears that was never sent.
 *
 * The program runs itself as `child DIR SEED`: the child prints every message it finds at start ("P id", then "R"),
 * then works and prints "S id" before it proposes a message, "A id" once it is acknowledged, "F id" before it proposes
 * the final result, "D id" once that is acknowledged. The parent kills it at a random moment and keeps the books. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/map.h"
#include "tests/unit/cluster/host_fixture.h"

extern char **environ;

enum { ROUNDS = 50, DISK_FAILED = 42 };
#define SEED_FAILING_DISK 1000000ULL /* from here on the child's disk takes no more than 600 KB per file */

/* ----------------------------------------------------------------------------------------------------------- child */

struct child {
    struct shard shard;
    struct cmd_batch batch;
    struct pr_rng rng;
    struct pr_buf out;
    uint64_t next_attempt;
    uint64_t alive;
    bool failing_disk;
    char body[20000];
};

static void say(struct child *c, char what, uint64_t id)
{
    pr_buf_printf(&c->out, "%c %llu\n", what, (unsigned long long)id);
}

/* One write per turn: a line is either in the pipe as a whole, or not. */
static void flush_out(struct child *c)
{
    const char *p = c->out.ptr;
    while (c->out.len > 0) {
        ssize_t n = write(1, p, PR_MIN(c->out.len, (size_t)4096));
        if (n < 0)
            _exit(3);
        pr_buf_consume(&c->out, (size_t)n);
        p = c->out.ptr;
    }
}

static void add(struct child *c, const struct cmd *cmd)
{
    if (cmd_batch_add(&c->batch, cmd) != 0)
        _exit(4);
}

static void add_mail(struct child *c)
{
    uint64_t id = PR_MAX(fsm_last_id(c->shard.fsm) + 1000, c->alive) + 1;
    c->alive = id; /* ids of one entry ascend */
    size_t len = 1 + pr_rng_below(&c->rng, sizeof c->body - 1);
    if (shard_enqueue(&c->batch, id, pr_slice(c->body, len)) != 0)
        _exit(4);
    say(c, 'S', id);
}

static void add_issue(struct child *c, uint64_t id)
{
    struct pr_arena arena = {0};
    struct qread_group g;
    if (qread_group(fsm_stage(c->shard.fsm), id, 0, &arena, &g) == 0 && !g.leased) {
        struct cmd cmd = {.type = CMD_ISSUE,
                          .issue = {.msg_id = id,
                                    .due_ms = g.due_ms,
                                    .attempt = g.attempt + 1,
                                    .attempt_id = c->shard.led_term << 40 | ++c->next_attempt}};
        add(c, &cmd);
    }
    pr_arena_fini(&arena);
}

static void add_result(struct child *c, const struct cmd_attempt_ref *ref)
{
    bool final = pr_rng_below(&c->rng, 3) != 0;
    struct cmd_rcpt_result rcpt = {.outcome = final ? MAIL_OUTCOME_DELIVERED : MAIL_OUTCOME_TEMP};
    struct cmd cmd = {.type = CMD_RESULT, .result = {.ref = *ref, .rcpts = &rcpt, .n_rcpts = 1, .next_due_ms = 5}};
    add(c, &cmd);
    if (final)
        say(c, 'F', ref->msg_id);
}

static void on_applied(void *data, int status, uint64_t index, const struct fsm_effects *effects);

static void work(struct child *c)
{
    if (raft_host_inflight(c->shard.host) >= 3)
        return;
    if (fsm_counters(c->shard.fsm)->messages < 400)
        for (uint64_t n = pr_rng_below(&c->rng, 6); n > 0; n--)
            add_mail(c);
    if (c->batch.count == 0) { /* something must always go on */
        struct cmd cmd = {.type = CMD_BODY_REAP, .body_id = 1};
        add(c, &cmd);
    }
    flush_out(c); /* said before it can happen */
    if (raft_host_propose(c->shard.host, cmd_batch_finish(&c->batch, (pr_wall){1}), on_applied, c) != 0)
        _exit(5);
    cmd_batch_clear(&c->batch);
}

static void on_applied(void *data, int status, uint64_t index, const struct fsm_effects *effects)
{
    struct child *c = data;
    (void)index;
    if (status != 0)
        _exit(6);
    for (size_t i = 0; i < effects->n; i++) {
        const struct fsm_effect *e = &effects->items[i];
        if (e->type == FSM_MSG_STORED && e->status == FSM_OK)
            say(c, 'A', e->msg.msg_id);
        else if (e->type == FSM_ROW_FILED)
            add_issue(c, e->row.msg_id);
        else if (e->type == FSM_ISSUED && e->status == FSM_OK)
            add_result(c, &e->attempt.ref);
        else if (e->type == FSM_MSG_GONE)
            say(c, 'D', e->gone.msg_id);
    }
    flush_out(c);
    work(c);
}

/* Whoever is in the queue, whole: every row a message needs can be read. */
static bool on_found(void *data, const struct qread_msg *m)
{
    struct child *c = data;
    struct pr_arena arena = {0};
    struct pr_buf body = {0};
    struct qread_group g;
    if (qread_group(fsm_stage(c->shard.fsm), m->msg_id, 0, &arena, &g) != 0 ||
        qread_body(fsm_stage(c->shard.fsm), m->body_id, 0, &body) != 0 || body.len != m->size_bytes)
        _exit(7);
    say(c, 'P', m->msg_id);
    if (g.leased) { /* of the life before: nobody has it any more */
        struct qread_lease l;
        if (qread_lease(fsm_stage(c->shard.fsm), m->msg_id, 0, &arena, &l) != 0)
            _exit(7);
        struct cmd cmd = {.type = CMD_RELEASE_LEASE, .release = {m->msg_id, 0, l.attempt_id}};
        add(c, &cmd);
    }
    pr_arena_fini(&arena);
    pr_buf_fini(&body);
    return true;
}

static bool on_found_again(void *data, const struct qread_msg *m)
{
    add_issue(data, m->msg_id);
    return true;
}

static void on_released(void *data, int status, uint64_t index, const struct fsm_effects *effects)
{
    struct child *c = data;
    uint64_t cursor = 0;
    bool more;
    if (status != 0 || qread_messages(fsm_stage(c->shard.fsm), &cursor, 100000, on_found_again, c, &more) != 0)
        _exit(8);
    on_applied(c, status, index, effects);
}

/* Writes beyond this size fail from now on, as on a disk that fails: the log's files are larger. */
static void break_disk(void)
{
    struct rlimit limit = {600000, 600000};
    (void)signal(SIGXFSZ, SIG_IGN);
    if (setrlimit(RLIMIT_FSIZE, &limit) != 0)
        _exit(10);
}

static void on_lead(struct shard *s)
{
    struct child *c = pr_container_of(s, struct child, shard);
    if (c->failing_disk)
        break_disk();
    uint64_t cursor = 0;
    bool more;
    if (qread_messages(fsm_stage(s->fsm), &cursor, 100000, on_found, c, &more) != 0)
        _exit(8);
    say(c, 'R', 0);
    flush_out(c);
    struct cmd cmd = {.type = CMD_EPOCH, .epoch = {s->led_term, 1}};
    add(c, &cmd);
    if (raft_host_propose(s->host, cmd_batch_finish(&c->batch, (pr_wall){1}), on_released, c) != 0)
        _exit(5);
    cmd_batch_clear(&c->batch);
}

static int child_main(const char *dir, uint64_t seed)
{
    struct child *c = pr_new(struct child);
    pr_rng_init(&c->rng, seed);
    pr_rng_fill(&c->rng, c->body, sizeof c->body);
    raft_host_settings_default(&c->shard.settings);
    c->shard.settings.segment_bytes = MB * (1 + seed % 3);
    c->shard.settings.flush_bytes = MB;
    c->shard.settings.trailing_bytes = MB;
    c->shard.settings.capacity_threshold_kb = 64;
    kv_rocks_settings_default(&c->shard.kv_settings);
    c->shard.kv_settings.write_buffer_bytes = MB; /* RocksDB also flushes by itself */
    c->shard.spill_bytes = seed % 2 == 0 ? 100000 : 0;
    c->shard.on_lead = on_lead;
    c->shard.fatal_exit = DISK_FAILED;
    c->failing_disk = seed >= SEED_FAILING_DISK;
    (void)snprintf(c->shard.dir, sizeof c->shard.dir, "%s", dir);
    if (shard_start(&c->shard) != 0) {
        fprintf(stderr, "%s\n", c->shard.error);
        return 2;
    }
    uv_run(&c->shard.loop, UV_RUN_DEFAULT);
    return 9; /* it never ends by itself */
}

/* ---------------------------------------------------------------------------------------------------------- parent */

enum fate { SENT = 1, ACKED = 2, FINISHING = 4, DONE = 8, PRESENT = 16 };

struct books {
    struct pr_map fates; /* id -> fate + 1 in the pointer */
    uint64_t acked, done;
    struct pr_buf line;
    bool ready;
    unsigned round;
};

static uintptr_t fate_of(const struct books *b, uint64_t id)
{
    return (uintptr_t)pr_map_get(&b->fates, id);
}

static void set_fate(struct books *b, uint64_t id, uintptr_t fate)
{
    pr_map_put(&b->fates, id, (void *)fate);
}

/* At "R": everything acknowledged and not finished must have been found. */
static void settle(struct books *b)
{
    size_t it = 0;
    uint64_t id;
    void *value;
    struct pr_map next;
    pr_map_init(&next, 0);
    while ((value = pr_map_next(&b->fates, &it, &id)) != NULL) {
        uintptr_t f = (uintptr_t)value;
        if ((f & PRESENT) == 0 && (f & ACKED) != 0 && (f & FINISHING) == 0)
            fail_msg("round %u: message %llu was acknowledged and is lost", b->round, (unsigned long long)id);
        if ((f & PRESENT) != 0 && (f & DONE) != 0)
            fail_msg("round %u: message %llu was finished and is back", b->round, (unsigned long long)id);
        if ((f & PRESENT) != 0)
            pr_map_put(&next, id, (void *)(uintptr_t)(SENT | ACKED));
        else if ((f & (DONE | FINISHING)) != 0)
            pr_map_put(&next, id, (void *)(uintptr_t)(SENT | DONE));
        /* else: never acknowledged and not there: it must not appear later either */
    }
    pr_map_fini(&b->fates);
    b->fates = next;
    b->ready = true;
}

static void take_line(struct books *b, struct pr_slice line)
{
    uint64_t id = 0;
    assert_true(line.len > 2 && pr_parse_u64(pr_slice_from(line, 2), UINT64_MAX, &id) == 0);
    uintptr_t f = fate_of(b, id);
    switch (line.ptr[0]) {
    case 'P':
        if (f == 0)
            fail_msg("round %u: message %llu was never sent", b->round, (unsigned long long)id);
        set_fate(b, id, f | PRESENT);
        break;
    case 'R':
        settle(b);
        break;
    case 'S':
        assert_true(f == 0);
        set_fate(b, id, SENT);
        break;
    case 'A':
        set_fate(b, id, f | ACKED);
        b->acked++;
        break;
    case 'F':
        set_fate(b, id, f | FINISHING);
        break;
    case 'D':
        set_fate(b, id, f | DONE);
        b->done++;
        break;
    default:
        fail_msg("what is %.*s?", PR_SLICE_ARG(line));
    }
}

static void take_bytes(struct books *b, const char *p, size_t n)
{
    pr_buf_append(&b->line, p, n);
    struct pr_slice rest = pr_buf_slice(&b->line);
    for (size_t at; (at = pr_slice_find(rest, '\n')) != SIZE_MAX; rest = pr_slice_from(rest, at + 1))
        take_line(b, pr_slice_head(rest, at));
    pr_buf_consume(&b->line, b->line.len - rest.len);
}

static uint64_t now_ms(void)
{
    return uv_hrtime() / 1000000;
}

/* Runs a child until it was ready and run_ms more have passed; then kills it and reads what is left. Its status. */
static int run_child(struct books *b, const char *self, const char *dir, uint64_t seed, uint64_t run_ms)
{
    int fds[2];
    pid_t pid;
    char number[24];
    (void)snprintf(number, sizeof number, "%llu", (unsigned long long)seed);
    char *argv[] = {(char *)(uintptr_t)self, (char *)(uintptr_t)"child", (char *)(uintptr_t)dir, number, NULL};
    posix_spawn_file_actions_t actions;
    assert_int_equal(pipe(fds), 0);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, fds[1], 1);
    posix_spawn_file_actions_addclose(&actions, fds[0]);
    assert_int_equal(posix_spawn(&pid, "/proc/self/exe", &actions, NULL, argv, environ), 0);
    posix_spawn_file_actions_destroy(&actions);
    close(fds[1]);
    b->ready = false;
    pr_buf_clear(&b->line);
    uint64_t start = now_ms(), ready_at = 0;
    bool killed = false;
    char bytes[65536];
    for (;;) {
        if (!killed && ((ready_at != 0 && now_ms() >= ready_at + run_ms) || now_ms() > start + 60000)) {
            kill(pid, SIGKILL);
            killed = true;
        }
        struct pollfd p = {.fd = fds[0], .events = POLLIN};
        (void)poll(&p, 1, 5);
        if (p.revents == 0)
            continue;
        ssize_t n = read(fds[0], bytes, sizeof bytes);
        if (n <= 0)
            break;
        take_bytes(b, bytes, (size_t)n);
        if (b->ready && ready_at == 0)
            ready_at = now_ms();
    }
    close(fds[0]);
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(b->ready);
    return status;
}

static void run_round(struct books *b, const char *self, const char *dir, uint64_t seed, uint64_t run_ms)
{
    int status = run_child(b, self, dir, seed, run_ms);
    if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
        fail_msg("round %u: the child ended by itself, status %d", b->round, status);
}

static void test_kill_under_load(void **state)
{
    const char *self = *state;
    char dir[64] = "/tmp/raft-crash-XXXXXX", cmd[96];
    struct books b = {0};
    struct pr_rng rng;
    assert_non_null(mkdtemp(dir));
    pr_map_init(&b.fates, 0);
    pr_rng_init(&rng, 1);
    for (b.round = 0; b.round < ROUNDS; b.round++)
        run_round(&b, self, dir, b.round, pr_rng_below(&rng, 150));
    b.round++;
    run_round(&b, self, dir, b.round, 0);
    print_message("%u kills, %llu messages acknowledged, %llu finished\n", (unsigned)ROUNDS,
                  (unsigned long long)b.acked, (unsigned long long)b.done);
    assert_true(b.acked > ROUNDS && b.done > ROUNDS);
    pr_map_fini(&b.fates);
    pr_buf_fini(&b.line);
    (void)snprintf(cmd, sizeof cmd, "rm -rf %s", dir);
    assert_int_equal(system(cmd), 0);
}

static uint64_t parsed(const char *text)
{
    uint64_t v = 0;
    if (pr_parse_u64(pr_slice_str(text), UINT64_MAX, &v) != 0)
        abort();
    return v;
}

/* A write of the log that fails ends the process in order, and loses nothing that was acknowledged. */
static void test_failing_disk(void **state)
{
    const char *self = *state;
    char dir[64] = "/tmp/raft-crash-XXXXXX", cmd[96];
    struct books b = {0};
    assert_non_null(mkdtemp(dir));
    pr_map_init(&b.fates, 0);
    for (b.round = 0; b.round < 5; b.round++) {
        int status = run_child(&b, self, dir, SEED_FAILING_DISK + b.round, 60000);
        if (!WIFEXITED(status) || WEXITSTATUS(status) != DISK_FAILED)
            fail_msg("round %u: status %x", b.round, (unsigned)status);
        run_round(&b, self, dir, b.round, 20);
    }
    assert_true(b.acked > 5);
    pr_map_fini(&b.fates);
    pr_buf_fini(&b.line);
    (void)snprintf(cmd, sizeof cmd, "rm -rf %s", dir);
    assert_int_equal(system(cmd), 0);
}

int main(int argc, char **argv)
{
    if (argc == 4 && strcmp(argv[1], "child") == 0)
        return child_main(argv[2], parsed(argv[3]));
    const struct CMUnitTest tests[] = {
        {"test_kill_under_load", test_kill_under_load, NULL, NULL, argv[0]},
        {"test_failing_disk", test_failing_disk, NULL, NULL, argv[0]},
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
