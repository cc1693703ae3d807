/* script.h - the script side of run_scheduler.c: its state, the words of a line, expected actions. Included once. */
#ifndef SCENARIO_SCHEDULER_SCRIPT_H
#define SCENARIO_SCHEDULER_SCRIPT_H

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/alloc.h"
#include "common/base/buf.h"
#include "scheduler/core/gate.h"
#include "scheduler/core/sched.h"

enum { ROWS_MAX = 4096, ATTEMPTS_MAX = 1024, ACTIONS_MAX = 4096, PATHS_MAX = 64, WORDS_MAX = 24 };
static const uint64_t EPOCH_MS = 1700000000000;

struct limit_line {
    char destination[64];
    struct gate_limit limit;
};

struct run {
    const char *file;
    int line;
    struct pr_now now;
    struct sched *sched;
    struct gate *gate;
    struct sched_config cfg;
    struct gate_config gate_cfg;
    struct sched_row rows[ROWS_MAX];
    size_t n_rows;
    struct sched_ref attempts[ATTEMPTS_MAX];
    size_t n_attempts;
    char *actions[ACTIONS_MAX];
    size_t first, n_actions;
    struct limit_line limits[PATHS_MAX];
    size_t n_limits;
    uint64_t seqs[PATHS_MAX]; /* last granted, by holder * 8 + destination's first letter */
    uint64_t t_seq;
    bool show_scans, check_pending;
    struct pr_slice words[WORDS_MAX];
    size_t n_words;
};

static void fail(const struct run *r, const char *what, struct pr_slice detail)
{
    fprintf(stderr, "%s:%d: %s%s%.*s\n", r->file, r->line, what, detail.len > 0 ? ": " : "", PR_SLICE_ARG(detail));
    exit(1);
}

static void say(struct run *r, const char *fmt, ...) PR_PRINTF(2, 3);
static void say(struct run *r, const char *fmt, ...)
{
    struct pr_buf b = {0};
    va_list ap;
    va_start(ap, fmt);
    pr_buf_vprintf(&b, fmt, ap);
    va_end(ap);
    if (r->n_actions == ACTIONS_MAX)
        fail(r, "too many actions", pr_buf_slice(&b));
    r->actions[r->n_actions++] = pr_buf_steal(&b, NULL);
}

/* ---- words of the line ---- */

static struct pr_slice word(const struct run *r, const char *key)
{
    size_t n = strlen(key);
    for (size_t i = 1; i < r->n_words; i++)
        if (r->words[i].len > n && memcmp(r->words[i].ptr, key, n) == 0 && r->words[i].ptr[n] == '=')
            return pr_slice_from(r->words[i], n + 1);
    return (struct pr_slice){NULL, 0};
}

static bool flag(const struct run *r, const char *key)
{
    for (size_t i = 1; i < r->n_words; i++)
        if (pr_slice_eq_str(r->words[i], key))
            return true;
    return false;
}

static uint64_t num_or(const struct run *r, const char *key, uint64_t otherwise)
{
    struct pr_slice w = word(r, key);
    uint64_t v;
    if (w.ptr == NULL)
        return otherwise;
    if (pr_parse_u64(w, UINT64_MAX, &v) != 0)
        fail(r, "not a number", w);
    return v;
}

static uint64_t num(const struct run *r, const char *key)
{
    if (word(r, key).ptr == NULL)
        fail(r, "missing", pr_slice_str(key));
    return num_or(r, key, 0);
}

static struct pr_slice text_or(const struct run *r, const char *key, const char *otherwise)
{
    struct pr_slice w = word(r, key);
    return w.ptr == NULL ? pr_slice_str(otherwise) : w;
}

static uint64_t at(uint64_t ms) { return EPOCH_MS + ms; }
static uint64_t since(uint64_t wall) { return wall >= EPOCH_MS ? wall - EPOCH_MS : 0; }

static struct sched_ref attempt(const struct run *r)
{
    uint64_t i = num(r, "attempt");
    if (word(r, "msg").ptr != NULL) /* made up */
        return (struct sched_ref){num(r, "msg"), (uint32_t)num_or(r, "group", 0), i};
    if (i == 0 || i > r->n_attempts)
        fail(r, "no such attempt", word(r, "attempt"));
    return r->attempts[i - 1];
}

static unsigned long number_of(const struct run *r, const struct sched_ref *ref)
{
    for (size_t i = 0; i < r->n_attempts; i++)
        if (r->attempts[i].attempt_id == ref->attempt_id)
            return (unsigned long)i + 1;
    return (unsigned long)ref->attempt_id;
}

static void split(struct run *r, struct pr_slice line)
{
    r->n_words = 0;
    for (line = pr_slice_trim(line); line.len > 0; line = pr_slice_trim(line)) {
        if (r->n_words == WORDS_MAX)
            fail(r, "too many words", line);
        r->words[r->n_words++] = pr_slice_cut(line, ' ', &line);
    }
}

static void expect(struct run *r, struct pr_slice want)
{
    if (r->first == r->n_actions)
        fail(r, "no action, expected", want);
    char *got = r->actions[r->first++];
    struct pr_slice rest, line = pr_slice_trim(pr_slice_cut(pr_slice_str(got), '#', &rest));
    if (!pr_slice_eq(line, want)) {
        fprintf(stderr, "%s:%d: expected: %.*s\n", r->file, r->line, PR_SLICE_ARG(want));
        fail(r, "but got", line);
    }
    pr_free(got);
}

static void no_leftovers(const struct run *r)
{
    for (size_t i = r->first; i < r->n_actions; i++)
        fprintf(stderr, "%s:%d: unexpected: %s\n", r->file, r->line, r->actions[i]);
    if (r->first != r->n_actions)
        exit(1);
}

/* "30s", "150ms" ... in milliseconds. */
static uint64_t span_of(const struct run *r, struct pr_slice span)
{
    static const struct {
        const char *unit;
        uint64_t ms;
    } units[] = {{"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}};
    for (size_t i = 0; i < PR_ARRAY_LEN(units); i++) {
        size_t n = strlen(units[i].unit);
        uint64_t v;
        if (span.len > n && pr_slice_iends(span, pr_slice_str(units[i].unit)) &&
            pr_parse_u64(pr_slice_head(span, span.len - n), 1u << 30, &v) == 0)
            return v * units[i].ms;
    }
    fail(r, "not a span of time", span);
    return 0;
}

#endif
