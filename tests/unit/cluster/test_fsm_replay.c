/* Property tests over random logs: the same entries give the same rows, however they were applied - in the stage or
 * through the store, in one go or with crashes and replay, on memory or on RocksDB - and the rows always fit
 * together. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "common/cluster/records.h"
#include "common/store/kv_rocks.h"
#include "tests/unit/cluster/fsm_fixture.h"

enum { LIVE_MAX = 64, UPLOADS_MAX = 4 };

struct log {
    struct pr_buf *entries;
    size_t n;
};

/* Drives a world with random commands and keeps the entries. */
struct driver {
    struct world *w;
    struct pr_rng rng;
    uint64_t live[LIVE_MAX];
    size_t n_live;
    uint64_t attempts[LIVE_MAX]; /* last attempt id made for it */
    uint64_t next_attempt;
    uint64_t uploads[UPLOADS_MAX];
    uint32_t parts[UPLOADS_MAX];
    char text[600];
};

static uint64_t below(struct driver *d, uint64_t n)
{
    return pr_rng_below(&d->rng, n);
}

static void remember(struct driver *d, uint64_t id)
{
    size_t slot = d->n_live < LIVE_MAX ? d->n_live++ : below(d, LIVE_MAX);
    d->live[slot] = id;
    d->attempts[slot] = 0;
}

static void random_mail(struct driver *d, struct mail *m)
{
    mail_init(m, d->w, 1 + (uint32_t)below(d, 3), 1 + (uint32_t)below(d, 3));
    size_t n = 1 + below(d, sizeof d->text - 1);
    m->cmd.enqueue.body = pr_slice(d->text, n);
    m->cmd.enqueue.size_bytes = n;
    m->cmd.enqueue.tenant = below(d, 4) == 0 ? PR_SLICE_LIT("other") : PR_SLICE_LIT("default");
    if (below(d, 2) == 0)
        memset(m->cmd.enqueue.token.bytes, (int)below(d, 200) + 1, 16);
    if (below(d, 3) == 0) {
        m->groups[0].attempt_id = ++d->next_attempt;
        m->cmd.enqueue.issue_node = PR_SLICE_LIT("deliverer-1");
    }
    remember(d, m->cmd.enqueue.msg_id);
    d->attempts[d->n_live - 1] = m->groups[0].attempt_id;
}

static void add_enqueue(struct driver *d)
{
    struct mail m;
    random_mail(d, &m);
    size_t u = below(d, UPLOADS_MAX);
    if (d->parts[u] > 0 && below(d, 2) == 0) {
        m.cmd.enqueue.body = PR_SLICE_LIT("");
        m.cmd.enqueue.body_id = d->uploads[u];
        m.cmd.enqueue.n_chunks = d->parts[u];
        d->parts[u] = 0;
    }
    world_add(d->w, &m.cmd);
}

static void add_part(struct driver *d)
{
    size_t u = below(d, UPLOADS_MAX);
    if (d->parts[u] == 0) {
        d->w->id = PR_MAX(d->w->id, fsm_last_id(d->w->fsm)) + 1;
        d->uploads[u] = d->w->id;
    }
    uint32_t seq = d->parts[u] > 0 && below(d, 4) == 0 ? d->parts[u] - 1 : d->parts[u]++;
    struct cmd c = {.type = CMD_PART,
                    .part = {.body_id = d->uploads[u],
                             .seq = seq,
                             .reap_ms = d->w->now + below(d, 200000),
                             .bytes = pr_slice(d->text, 1 + below(d, 500))}};
    world_add(d->w, &c);
}

static void add_result(struct driver *d, uint64_t id, uint16_t group, uint64_t attempt)
{
    struct cmd_rcpt_result rcpts[3];
    uint32_t n = 1 + (uint32_t)below(d, 3);
    for (uint32_t i = 0; i < n; i++)
        rcpts[i] = (struct cmd_rcpt_result){.index = i,
                                            .outcome = (enum mail_outcome)below(d, MAIL_OUTCOME_NR),
                                            .no_report = below(d, 3) == 0,
                                            .code = (uint16_t)(400 + below(d, 3)),
                                            .diagnostic = pr_slice(d->text, below(d, 40))};
    struct mail dsn;
    struct cmd c = {
        .type = CMD_RESULT,
        .result = {
            .ref = {id, group, attempt}, .rcpts = rcpts, .n_rcpts = n, .next_due_ms = d->w->now + below(d, 900000)}};
    if (below(d, 3) == 0) {
        random_mail(d, &dsn);
        c.result.bounce = &dsn.cmd.enqueue;
    }
    world_add(d->w, &c);
}

static void add_report(struct driver *d, uint64_t id)
{
    struct cmd_report_item items[3];
    uint32_t n = (uint32_t)below(d, 4);
    for (uint32_t i = 0; i < n; i++)
        items[i] = (struct cmd_report_item){(uint16_t)below(d, 2), i};
    struct mail dsn;
    struct cmd c = {.type = CMD_REPORT,
                    .report = {.msg_id = id,
                               .kind = (enum cmd_report_kind)below(d, CMD_REPORT_KIND_NR),
                               .items = items,
                               .n_items = n,
                               .next_check_ms = below(d, 2) == 0 ? 0 : d->w->now + below(d, 300000)}};
    if (below(d, 2) == 0) {
        random_mail(d, &dsn);
        c.report.dsn = &dsn.cmd.enqueue;
    }
    world_add(d->w, &c);
}

static void add_other(struct driver *d, uint64_t id)
{
    struct cmd c = {.admin = {id, below(d, 2) == 0 ? 0 : d->w->now + below(d, 100000)}};
    switch (below(d, 8)) {
    case 0:
        c.type = CMD_HOLD;
        break;
    case 1:
    case 2:
        c.type = CMD_UNHOLD;
        break;
    case 3:
        c.type = CMD_DELETE;
        break;
    case 4:
        c.type = CMD_RETRY;
        break;
    case 5:
        c = (struct cmd){.type = CMD_BODY_REAP, .body_id = d->uploads[below(d, UPLOADS_MAX)]};
        break;
    case 6:
        c = (struct cmd){.type = CMD_FLOW_DROP, .flow_id = (uint32_t)below(d, 12)};
        break;
    default:
        c = (struct cmd){.type = below(d, 2) == 0 ? CMD_GATE_PUT : CMD_GATE_DEL,
                         .gate = {pr_slice(d->text, 1 + below(d, 3)), pr_slice(d->text, below(d, 9))}};
        break;
    }
    world_add(d->w, &c);
}

static void add_random(struct driver *d)
{
    if (d->n_live == 0 || below(d, 5) == 0) {
        add_enqueue(d);
        return;
    }
    size_t slot = below(d, d->n_live);
    uint64_t id = d->live[slot];
    uint16_t group = (uint16_t)below(d, 3);
    switch (below(d, 8)) {
    case 0:
    case 1: {
        struct cmd c = issue_of(d->w, id, group, ++d->next_attempt);
        d->attempts[slot] = d->next_attempt;
        world_add(d->w, &c);
        break;
    }
    case 2:
    case 3:
    case 4:
        add_result(d, id, group, below(d, 6) == 0 ? below(d, d->next_attempt + 1) : d->attempts[slot]);
        break;
    case 5: {
        struct cmd c = {.type = CMD_RELEASE_LEASE, .release = {id, group, d->attempts[slot]}};
        world_add(d->w, &c);
        break;
    }
    case 6:
        if (below(d, 2) == 0)
            add_part(d);
        else
            add_report(d, id);
        break;
    default:
        add_other(d, id);
        break;
    }
}

/* ------------------------------------------------------------------------------------------------------ invariants */

struct totals {
    uint64_t messages, bytes, held, waiting, leases, owed, sched, checks;
};

static bool has_row(struct world *w, enum kv_cf cf, struct key k)
{
    struct pr_slice v;
    return stage_get(fsm_stage(w->fsm), cf, key_slice(&k), &v) == 0;
}

static void check_group(struct world *w, uint64_t id, uint16_t index, const struct rec_group *g, struct totals *t)
{
    bool leased = has_row(w, KV_LEASE, key_lease(id, index));
    struct key_sched k = {g->flow_id, g->due_ms, id, index, g->seq};
    assert_true(g->n_pending > 0 || g->n_unreported > 0);
    assert_int_equal(has_row(w, KV_SCHED, key_sched(&k)), g->n_pending > 0 && !g->parked);
    assert_true(!leased || (g->n_pending > 0 && !g->parked));
    if (g->n_pending > 0 && !g->parked)
        assert_non_null(fsm_flow(w->fsm, g->flow_id));
    t->waiting += g->n_pending > 0;
    t->leases += leased;
    t->sched += g->n_pending > 0 && !g->parked;
}

static void check_message(struct world *w, uint64_t id, const struct rec_msg *m, struct totals *t)
{
    uint32_t left = 0, unreported = 0;
    for (uint16_t i = 0; i < m->n_groups; i++) {
        struct key k = key_rcpt(id, i);
        struct pr_slice row;
        struct pr_arena arena = {0};
        struct rec_group g;
        if (stage_get(fsm_stage(w->fsm), KV_RCPT, key_slice(&k), &row) != 0)
            continue;
        assert_int_equal(rec_group_decode(row, &arena, &g), 0);
        check_group(w, id, i, &g, t);
        assert_true(!m->held || g.n_pending == 0 || g.parked || has_row(w, KV_LEASE, key_lease(id, i)));
        assert_true(m->held || !g.parked);
        left += g.n_pending > 0;
        unreported += g.n_unreported > 0;
        pr_arena_fini(&arena);
    }
    assert_true(left == m->groups_left && unreported == m->groups_unreported && left + unreported > 0);
    assert_true(has_row(w, KV_EXPQ, key_expq(m->check_minute, EXPQ_CHECK, id)));
    assert_int_equal(m->report_minute != 0, left == 0);
    if (m->report_minute != 0)
        assert_true(has_row(w, KV_EXPQ, key_expq(m->report_minute, EXPQ_REPORT, id)));
    for (uint32_t i = 0; i < m->n_chunks; i++)
        assert_true(has_row(w, KV_BODY, key_body(m->body_id, i)));
    t->messages++;
    t->bytes += m->size_bytes;
    t->held += m->held;
    t->owed += m->report_minute != 0;
}

/* No row without an owner, no owner without its rows, counters equal what they count. */
static void check_world(struct world *w)
{
    struct totals t = {0};
    uint64_t cursor = 0;
    for (;;) {
        struct key from = key_msg(cursor + 1);
        struct stage_iter *it = stage_iter_new(fsm_stage(w->fsm), KV_MSG, key_slice(&from), PR_SLICE_LIT(""));
        bool valid = stage_iter_valid(it);
        struct pr_buf row = {0};
        struct rec_msg m;
        if (valid) {
            assert_int_equal(key_msg_parse(stage_iter_key(it), &cursor), 0);
            pr_buf_add(&row, stage_iter_value(it));
        }
        stage_iter_free(it);
        if (valid) {
            assert_int_equal(rec_msg_decode(pr_buf_slice(&row), &m), 0);
            check_message(w, cursor, &m, &t);
        }
        pr_buf_fini(&row);
        if (!valid)
            break;
    }
    const struct fsm_counters *c = fsm_counters(w->fsm);
    assert_true(c->messages == t.messages && c->bytes == t.bytes && c->held == t.held &&
                c->groups_waiting == t.waiting && c->leases == t.leases && c->reports_owed == t.owed);
    assert_int_equal(count_rows(w, KV_SCHED), t.sched);
    assert_int_equal(count_rows(w, KV_LEASE), t.leases);
    assert_int_equal(count_rows(w, KV_EXPQ), t.messages + t.owed + c->uploads);
}

/* ------------------------------------------------------------------------------------------------------------ logs */

static void make_log(struct log *log, uint64_t seed, size_t n)
{
    struct driver d = {.w = world_new(false)};
    pr_rng_init(&d.rng, seed);
    pr_rng_fill(&d.rng, d.text, sizeof d.text);
    log->entries = pr_calloc(n, sizeof *log->entries);
    log->n = n;
    for (size_t i = 0; i < n; i++) {
        d.w->now += below(&d, 20) == 0 ? below(&d, 3600000) : below(&d, 1000);
        for (uint64_t k = 1 + below(&d, 6); k > 0; k--)
            add_random(&d);
        pr_buf_add(&log->entries[i], cmd_batch_finish(&d.w->batch, (pr_wall){d.w->now}));
        assert_int_equal(fsm_apply(d.w->fsm, ++d.w->index, 1, pr_buf_slice(&log->entries[i]), &d.w->effects), 0);
        cmd_batch_clear(&d.w->batch);
        if (i % 16 == 0)
            check_world(d.w);
    }
    check_world(d.w);
    world_free(d.w);
}

static void log_fini(struct log *log)
{
    for (size_t i = 0; i < log->n; i++)
        pr_buf_fini(&log->entries[i]);
    pr_free(log->entries);
}

static void apply_range(struct world *w, const struct log *log, uint64_t from, uint64_t to)
{
    for (uint64_t i = from; i <= to; i++) {
        assert_int_equal(fsm_apply(w->fsm, i, 1, pr_buf_slice(&log->entries[i - 1]), NULL), 0);
        w->index = i;
    }
}

static uint64_t straight_hash(const struct log *log)
{
    struct world *w = world_new(false);
    apply_range(w, log, 1, log->n);
    uint64_t h = world_hash(w);
    world_free(w);
    return h;
}

static void test_spilling_changes_nothing(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 25; seed++) {
        struct log log;
        make_log(&log, seed, 150);
        uint64_t want = straight_hash(&log);
        struct world *w = world_new(true);
        apply_range(w, &log, 1, log.n);
        check_world(w);
        if (world_hash(w) != want)
            fail_msg("seed %llu: spilling changed the state", (unsigned long long)seed);
        world_free(w);
        log_fini(&log);
    }
}

/* Flushes at random places, crashes at others; what the store kept is where replay goes on. */
static void test_crashes_and_replay(void **state)
{
    (void)state;
    for (uint64_t seed = 100; seed < 125; seed++) {
        struct log log;
        struct pr_rng rng;
        make_log(&log, seed, 150);
        pr_rng_init(&rng, seed);
        uint64_t want = straight_hash(&log);
        struct world *w = world_new(seed % 2 == 0);
        int crashes = 0;
        while (w->index < log.n) {
            uint64_t step = 1 + pr_rng_below(&rng, 30), to = PR_MIN(w->index + step, (uint64_t)log.n);
            apply_range(w, &log, fsm_applied(w->fsm) + 1, to);
            if (pr_rng_below(&rng, 2) == 0) {
                assert_int_equal(fsm_spill(w->fsm), 0);
                assert_int_equal(w->kv->ops->checkpoint(w->kv, "unused"), 0);
            }
            if (crashes < 12 && pr_rng_below(&rng, 2) == 0) {
                uint64_t durable;
                crashes++;
                assert_int_equal(fsm_durable(w->fsm, &durable), 0);
                fsm_free(w->fsm);
                kv_mem_crash(w->kv);
                world_open(w);
                assert_true(fsm_applied(w->fsm) == durable);
                w->index = durable;
                check_world(w);
            }
        }
        check_world(w);
        if (world_hash(w) != want)
            fail_msg("seed %llu: replay changed the state", (unsigned long long)seed);
        world_free(w);
        log_fini(&log);
    }
}

/* The test's own test: an applied index that is not written with the data makes replay go wrong, and is seen. */
static void test_torn_applied_index_is_noticed(void **state)
{
    (void)state;
    unsigned noticed = 0;
    for (uint64_t seed = 200; seed < 210; seed++) {
        struct log log;
        make_log(&log, seed, 60);
        uint64_t want = straight_hash(&log);
        struct world *w = world_new(false);
        struct pr_buf old = {0};
        struct key k = key_applied();
        apply_range(w, &log, 1, 40);
        assert_int_equal(fsm_spill(w->fsm), 0);
        assert_int_equal(kv_get(w->kv, KV_META, key_slice(&k), &old), 0);
        apply_range(w, &log, 41, 50);
        assert_int_equal(fsm_spill(w->fsm), 0);
        struct kv_batch *b = w->kv->ops->batch_new(w->kv);
        w->kv->ops->batch_put(b, KV_META, key_slice(&k), pr_buf_slice(&old)); /* data of 50, index of 40 */
        assert_int_equal(w->kv->ops->write(w->kv, b), 0);
        w->kv->ops->batch_free(b);
        fsm_free(w->fsm);
        world_open(w);
        apply_range(w, &log, 41, log.n);
        noticed += world_hash(w) != want;
        fsm_free(w->fsm);
        kv_close(w->kv);
        pr_buf_fini(&old);
        pr_free(w);
        log_fini(&log);
    }
    assert_true(noticed >= 5);
}

/* --------------------------------------------------------------------------------------------------------- RocksDB */

static void test_rocksdb_agrees(void **state)
{
    (void)state;
    for (uint64_t seed = 300; seed < 304; seed++) {
        char dir[64] = "/tmp/fsm-replay-XXXXXX", path[128];
        assert_non_null(mkdtemp(dir));
        struct log log;
        struct pr_rng rng;
        make_log(&log, seed, 400);
        pr_rng_init(&rng, seed);
        uint64_t want = straight_hash(&log);
        struct kv_rocks_settings settings;
        struct pr_buf err = {0};
        kv_rocks_settings_default(&settings);
        settings.write_buffer_bytes = 1024 * 1024;
        struct world *w = pr_new(struct world);
        assert_int_equal(kv_rocks_open(dir, &settings, &w->kv, &err), 0);
        world_open(w);
        while (w->index < log.n) {
            uint64_t step = 1 + pr_rng_below(&rng, 40), to = PR_MIN(w->index + step, (uint64_t)log.n);
            apply_range(w, &log, w->index + 1, to);
            (void)snprintf(path, sizeof path, "%s/checkpoint", dir);
            assert_int_equal(fsm_spill(w->fsm), 0);
            if (pr_rng_below(&rng, 3) == 0) {
                uint64_t durable;
                assert_int_equal(w->kv->ops->checkpoint(w->kv, path), 0);
                assert_int_equal(kv_remove_directory(path), 0);
                assert_int_equal(fsm_durable(w->fsm, &durable), 0);
                assert_true(durable == w->index);
            }
            if (pr_rng_below(&rng, 6) == 0) {
                fsm_free(w->fsm);
                kv_close(w->kv);
                assert_int_equal(kv_rocks_open(dir, &settings, &w->kv, &err), 0);
                world_open(w);
            }
        }
        check_world(w);
        assert_true(world_hash(w) == want);
        fsm_free(w->fsm);
        kv_close(w->kv);
        pr_free(w);
        pr_buf_fini(&err);
        log_fini(&log);
        (void)snprintf(path, sizeof path, "%s/db-000001", dir);
        assert_int_equal(kv_remove_directory(path), 0);
        assert_int_equal(kv_remove_directory(dir), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_spilling_changes_nothing),
        cmocka_unit_test(test_crashes_and_replay),
        cmocka_unit_test(test_torn_applied_index_is_noticed),
        cmocka_unit_test(test_rocksdb_agrees),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
