/* fsm_fixture.h - a state machine on the memory twin, driven command by command; for the unit tests of common/cluster.
 * Included by test programs only, after <cmocka.h>. */
#ifndef TESTS_CLUSTER_FSM_FIXTURE_H
#define TESTS_CLUSTER_FSM_FIXTURE_H

#include "common/base/alloc.h"
#include "common/base/rng.h"
#include "common/cluster/queue_read.h"
#include "common/store/kv_mem.h"
#include "common/wire/messages.h"

struct world {
    struct kv *kv;
    struct fsm *fsm;
    struct fsm_effects effects;
    struct cmd_batch batch;
    uint64_t index, now, id;
    bool spill_always; /* every entry goes to the store at once */
};

#define NOW0 1800000000000ULL

static inline void world_open(struct world *w)
{
    struct pr_buf err = {0};
    if (fsm_open(w->kv, &w->fsm, &err) != 0)
        fail_msg("%s", pr_buf_cstr(&err));
    pr_buf_fini(&err);
    if (w->spill_always)
        fsm_set_spill(w->fsm, 0, 0);
}

static inline struct world *world_new(bool spill_always)
{
    struct world *w = pr_new(struct world);
    w->kv = kv_mem_new();
    w->now = NOW0;
    w->spill_always = spill_always;
    world_open(w);
    return w;
}

static inline void world_free(struct world *w)
{
    assert_int_equal(kv_mem_violations(w->kv), 0);
    fsm_free(w->fsm);
    kv_close(w->kv);
    fsm_effects_fini(&w->effects);
    pr_buf_fini(&w->batch.buf);
    pr_free(w);
}

/* An orderly restart. */
static inline void world_reopen(struct world *w)
{
    assert_int_equal(fsm_spill(w->fsm), 0);
    fsm_free(w->fsm);
    world_open(w);
}

static inline uint64_t world_hash(struct world *w)
{
    uint64_t h = 0;
    assert_int_equal(fsm_hash(w->fsm, &h), 0);
    return h;
}

static inline void world_add(struct world *w, const struct cmd *c)
{
    assert_int_equal(cmd_batch_add(&w->batch, c), 0);
}

/* Applies what was added as one entry. */
static inline void world_apply(struct world *w)
{
    struct pr_slice entry = cmd_batch_finish(&w->batch, (pr_wall){w->now});
    assert_int_equal(fsm_apply(w->fsm, ++w->index, 1, entry, &w->effects), 0);
    cmd_batch_clear(&w->batch);
}

static inline void world_do(struct world *w, const struct cmd *c)
{
    world_add(w, c);
    world_apply(w);
}

/* The nth effect of a type, or NULL. */
static inline const struct fsm_effect *effect(const struct world *w, enum fsm_effect_type type, size_t nth)
{
    for (size_t i = 0; i < w->effects.n; i++)
        if (w->effects.items[i].type == type && nth-- == 0)
            return &w->effects.items[i];
    return NULL;
}

static inline size_t count_effects(const struct world *w, enum fsm_effect_type type)
{
    size_t n = 0;
    for (size_t i = 0; i < w->effects.n; i++)
        n += w->effects.items[i].type == type;
    return n;
}

static inline enum fsm_status status_of(const struct world *w, enum fsm_effect_type type)
{
    const struct fsm_effect *e = effect(w, type, 0);
    assert_non_null(e);
    return e->status;
}

/* -------------------------------------------------------------------------------------------------------- commands */

enum { GROUPS_MAX = 8 };

/* A message of n groups with n_rcpts recipients each, domains d0.example, d1.example ... */
struct mail {
    struct cmd cmd;
    struct cmd_group groups[GROUPS_MAX];
    char domains[GROUPS_MAX][16];
};

static inline void mail_init(struct mail *m, struct world *w, uint32_t n_groups, uint32_t n_rcpts)
{
    static const char *const names[GROUPS_MAX] = {"d0.example", "d1.example", "d2.example", "d3.example",
                                                  "d4.example", "d5.example", "d6.example", "d7.example"};
    memset(m, 0, sizeof *m);
    w->id = PR_MAX(PR_MAX(w->id, fsm_last_id(w->fsm)) + 1, w->now << 22);
    m->cmd.type = CMD_ENQUEUE;
    m->cmd.enqueue = (struct cmd_enqueue){
        .msg_id = w->id,
        .received_ms = w->now,
        .expiry_ms = w->now + 5 * 86400000ULL,
        .check_ms = w->now + 4 * 3600000ULL,
        .class_ = MAIL_CLASS_NORMAL,
        .tenant = PR_SLICE_LIT("default"),
        .pool = PR_SLICE_LIT("default"),
        .envelope = PR_SLICE_LIT("envelope bytes"),
        .size_bytes = 12,
        .body = PR_SLICE_LIT("body of mail"),
        .groups = m->groups,
        .n_groups = n_groups,
    };
    for (uint32_t i = 0; i < n_groups; i++)
        m->groups[i] = (struct cmd_group){.domain = pr_slice_str(names[i]),
                                          .encoded = PR_SLICE_LIT("group bytes"),
                                          .n_rcpts = n_rcpts,
                                          .due_ms = w->now};
}

/* Enqueues and returns the id. */
static inline uint64_t put_mail(struct world *w, uint32_t n_groups, uint32_t n_rcpts)
{
    struct mail m;
    mail_init(&m, w, n_groups, n_rcpts);
    world_do(w, &m.cmd);
    assert_int_equal(status_of(w, FSM_MSG_STORED), FSM_OK);
    return m.cmd.enqueue.msg_id;
}

static inline bool read_group(struct world *w, uint64_t id, uint16_t group, struct pr_arena *arena,
                              struct qread_group *g)
{
    int err = qread_group(fsm_stage(w->fsm), id, group, arena, g);
    assert_true(err == 0 || err == PR_ENOTFOUND);
    return err == 0;
}

static inline bool exists(struct world *w, uint64_t id)
{
    struct pr_arena arena = {0};
    struct qread_msg m;
    int err = qread_message(fsm_stage(w->fsm), id, &arena, &m);
    pr_arena_fini(&arena);
    return err == 0;
}

/* An ISSUE for the group as it is now. */
static inline struct cmd issue_of(struct world *w, uint64_t id, uint16_t group, uint64_t attempt_id)
{
    struct pr_arena arena = {0};
    struct qread_group g = {0};
    (void)read_group(w, id, group, &arena, &g);
    pr_arena_fini(&arena);
    return (struct cmd){.type = CMD_ISSUE,
                        .issue = {.msg_id = id,
                                  .group = group,
                                  .due_ms = g.due_ms,
                                  .attempt = g.attempt + 1,
                                  .attempt_id = attempt_id,
                                  .node_id = PR_SLICE_LIT("deliverer-1"),
                                  .boot_id = 99,
                                  .lane = 3,
                                  .issued_ms = w->now}};
}

static inline enum fsm_status do_issue(struct world *w, uint64_t id, uint16_t group, uint64_t attempt_id)
{
    struct cmd c = issue_of(w, id, group, attempt_id);
    world_do(w, &c);
    return status_of(w, FSM_ISSUED);
}

/* The same outcome for the first n recipients. */
static inline void do_result(struct world *w, uint64_t id, uint16_t group, uint64_t attempt_id,
                             enum mail_outcome outcome, uint32_t n)
{
    struct cmd_rcpt_result rcpts[16];
    for (uint32_t i = 0; i < n; i++)
        rcpts[i] = (struct cmd_rcpt_result){.index = i,
                                            .outcome = outcome,
                                            .code = 451,
                                            .enhanced = PR_SLICE_LIT("4.0.0"),
                                            .diagnostic = PR_SLICE_LIT("451 later")};
    struct cmd c = {.type = CMD_RESULT,
                    .result = {.ref = {id, group, attempt_id},
                               .rcpts = rcpts,
                               .n_rcpts = n,
                               .remote = PR_SLICE_LIT("mx [192.0.2.1]"),
                               .next_due_ms = w->now + 300000}};
    world_do(w, &c);
}

static inline enum fsm_status do_admin(struct world *w, enum cmd_type type, uint64_t id, uint64_t due_ms)
{
    struct cmd c = {.type = type, .admin = {id, due_ms}};
    world_do(w, &c);
    return status_of(w, FSM_ADMIN_DONE);
}

static inline enum fsm_status do_report(struct world *w, uint64_t id, enum cmd_report_kind kind, uint16_t group,
                                        uint32_t n, uint64_t next_check_ms)
{
    struct cmd_report_item items[16];
    for (uint32_t i = 0; i < n; i++)
        items[i] = (struct cmd_report_item){group, i};
    struct cmd c = {
        .type = CMD_REPORT,
        .report = {.msg_id = id, .kind = kind, .items = items, .n_items = n, .next_check_ms = next_check_ms}};
    world_do(w, &c);
    return status_of(w, FSM_REPORT_DONE);
}

/* Rows of a family in the merged view. */
static inline size_t count_rows(struct world *w, enum kv_cf cf)
{
    size_t n = 0;
    struct stage_iter *it = stage_iter_new(fsm_stage(w->fsm), cf, PR_SLICE_LIT(""), PR_SLICE_LIT(""));
    for (; stage_iter_valid(it); stage_iter_next(it))
        n++;
    stage_iter_free(it);
    return n;
}

/* Nothing of any message is left. */
static inline void assert_queue_empty(struct world *w)
{
    const enum kv_cf families[] = {KV_MSG, KV_RCPT, KV_SCHED, KV_LEASE, KV_EXPQ, KV_BODY};
    for (size_t i = 0; i < PR_ARRAY_LEN(families); i++)
        assert_int_equal(count_rows(w, families[i]), 0);
    const struct fsm_counters *c = fsm_counters(w->fsm);
    assert_true(c->messages == 0 && c->bytes == 0 && c->held == 0 && c->groups_waiting == 0 && c->leases == 0 &&
                c->reports_owed == 0 && c->uploads == 0 && c->upload_bytes == 0);
}

#endif
