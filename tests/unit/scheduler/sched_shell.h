/* sched_shell.h - the smallest shell around a scheduler core, for unit tests: it answers scans from an array, commits at
 * once when asked to, and counts. */
#ifndef TEST_SCHED_SHELL_H
#define TEST_SCHED_SHELL_H

#include <stdlib.h>

#include "common/base/alloc.h"
#include "scheduler/core/sched.h"

enum { SHELL_ISSUES = 4096 };
struct shell {
    struct sched *sched;
    struct pr_now now;
    struct sched_row *rows; /* sorted by the caller's care: filed in key order */
    size_t n_rows, cap_rows;
    struct sched_issue issues[SHELL_ISSUES]; /* since shell_clear */
    size_t n_issues, n_sent, n_freed, n_demands, n_scans, n_scanned;
};

static inline int shell_by_key(const void *a, const void *b)
{
    const struct sched_row *x = a, *y = b;
    if (x->flow != y->flow)
        return x->flow < y->flow ? -1 : 1;
    if (x->key.due_ms != y->key.due_ms)
        return x->key.due_ms < y->key.due_ms ? -1 : 1;
    if (x->key.msg_id != y->key.msg_id)
        return x->key.msg_id < y->key.msg_id ? -1 : 1;
    return x->key.group < y->key.group ? -1 : x->key.group > y->key.group;
}

static inline void shell_scan(void *data, const struct sched_scan *scan, struct sched_row *rows, struct sched_scan_end *ret)
{
    struct shell *sh = data;
    struct sched_row from = {.flow = scan->flow, .key = scan->from};
    size_t low = 0, high = sh->n_rows;
    *ret = (struct sched_scan_end){0, UINT64_MAX};
    sh->n_scans++;
    while (low < high) {
        size_t mid = (low + high) / 2;
        if (shell_by_key(&sh->rows[mid], &from) < 0)
            low = mid + 1;
        else
            high = mid;
    }
    for (; low < sh->n_rows && sh->rows[low].flow == scan->flow; low++) {
        if (ret->n == scan->limit || sh->rows[low].key.due_ms > scan->until_due_ms) {
            ret->next_due_ms = sh->rows[low].key.due_ms;
            return;
        }
        rows[ret->n++] = sh->rows[low];
        sh->n_scanned++;
    }
}

static inline void shell_issue(void *data, const struct sched_issue *issue)
{
    struct shell *sh = data;
    if (sh->n_issues < SHELL_ISSUES)
        sh->issues[sh->n_issues++] = *issue;
}

static inline void shell_send(void *data, const struct sched_issue *issue)
{
    struct shell *sh = data;
    (void)issue;
    sh->n_sent++;
}

static inline void shell_cancel(void *data, uint32_t lane, const struct sched_ref *ref)
{
    (void)data;
    (void)lane;
    (void)ref;
}

static inline void shell_free_lease(void *data, const struct sched_ref *ref)
{
    struct shell *sh = data;
    (void)ref;
    sh->n_freed++;
}

static inline void shell_demand(void *data, const struct sched_dest_ref *dest, uint32_t backlog, uint32_t weight)
{
    struct shell *sh = data;
    (void)dest;
    (void)backlog;
    (void)weight;
    sh->n_demands++;
}

static inline void shell_check(void *data, pr_wall until)
{
    (void)data;
    (void)until;
}

static inline void shell_quarantine(void *data, const struct sched_row *row, uint32_t losses)
{
    (void)data;
    (void)row;
    (void)losses;
}

/* config NULL: the defaults. Leading, term 1. */
static inline struct shell *shell_new(const struct sched_config *config)
{
    static const struct sched_actions actions = {shell_scan, shell_issue, shell_send, shell_cancel,
                                                 shell_free_lease, shell_demand, shell_check, shell_quarantine};
    struct shell *sh = pr_new(struct shell);
    struct sched_config c;
    sched_config_default(&c);
    sh->now = (struct pr_now){{1000}, {1700000000000}};
    sh->sched = sched_new(config == NULL ? &c : config, &actions, sh);
    sched_start(sh->sched, sh->now, 1);
    sched_leases_done(sh->sched, sh->now);
    return sh;
}

static inline void shell_free(struct shell *sh)
{
    sched_free(sh->sched);
    pr_free(sh->rows);
    pr_free(sh);
}

static inline void shell_flow(struct shell *sh, uint32_t flow, enum mail_class class_, const char *tenant, const char *dest)
{
    struct sched_flow_spec spec = {.flow = flow, .tenant = pr_slice_str(tenant), .class_ = class_,
                                   .pool = PR_SLICE_LIT("p"), .destination = pr_slice_str(dest)};
    sched_flow_added(sh->sched, sh->now, &spec);
}

static inline void shell_lane(struct shell *sh, uint32_t lane, uint32_t jobs_max)
{
    sched_lane_up(sh->sched, sh->now, lane, lane, 1, jobs_max);
    sched_inventory(sh->sched, sh->now, lane, NULL, 0, true);
}

static inline void shell_credit(struct shell *sh, uint32_t lane, const char *dest, uint64_t jobs)
{
    sched_credit(sh->sched, sh->now, lane, pr_slice_str(dest), PR_SLICE_LIT("p"), jobs);
}

/* Stores a row and tells the core. Rows of a flow must come in key order, flows in theirs. */
static inline void shell_file(struct shell *sh, uint32_t flow, uint64_t msg, uint64_t due_ms, uint64_t size)
{
    struct sched_row row = {.flow = flow, .key = {due_ms, msg, 0}, .n_rcpts = 1, .size_bytes = size};
    if (sh->n_rows == sh->cap_rows) {
        sh->cap_rows = sh->cap_rows == 0 ? 1024 : sh->cap_rows * 2;
        sh->rows = pr_realloc(sh->rows, sh->cap_rows * sizeof *sh->rows);
    }
    sh->rows[sh->n_rows++] = row;
    sched_row_filed(sh->sched, sh->now, &row);
}

static inline void shell_pass(struct shell *sh, uint64_t ms)
{
    sh->now.mono.ms += ms;
    sh->now.wall.ms += ms;
}

#endif
