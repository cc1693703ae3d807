/* States of a path, driven by what lanes report (successes, site failures), by time and by the operator.
 *
 *     NORMAL <----- grown to the limit ------ THROTTLED, SLOW
 *       | hit                                   ^    ^
 *       +------> THROTTLED --- hit: half again -+    | success
 *       | dead       | dead                          |
 *       v            v             time, flush       |
 *     SUSPENDED <-------------------------------> PROBE
 *                     failure
 *
 * NORMAL     the whole limit.
 * THROTTLED  half of what was used, at each hit, at most once per 5 s. Held for 10 min, then +1 per cohort of successes,
 *            if it is used. Leaves to NORMAL at the limit.
 * SUSPENDED  nothing, for 5, 10, 20 ... 120 min x U(0.75, 1.25); the timer ends it.
 * PROBE      one connection. A success leads on, a failure back. Owned by the lane that holds the slot; with nobody to
 *            try, it waits (and is forgotten with the path).
 * SLOW       the window doubles with each cohort of successes, after a hit it only grows by 1.
 *
 * Hit: over 5 s, site failures are at least an eighth of the window (2 at least) and 5 % of the successes.
 * Dead: no success since the failures began, at least 10 of them, and one for each allowed connection (30 are enough), or
 * for 60 s. So a site that refuses connections at once is suspended after a few dozen attempts, and one that times out
 * when as many have timed out. */
#include <string.h>

#include "common/base/sm.h"
#include "scheduler/core/gate_internal.h"

const char *const gate_state_names[GATE_STATE_NR] = {
    [GATE_NORMAL] = "normal", [GATE_THROTTLED] = "throttled", [GATE_SUSPENDED] = "suspended",
    [GATE_PROBE] = "probe",   [GATE_SLOW] = "slow",
};

#define TO(s) PR_SM_TO(s)
static const struct pr_sm_state states[GATE_STATE_NR] = {
    [GATE_NORMAL] = {"normal", TO(GATE_THROTTLED) | TO(GATE_SUSPENDED), PR_SM_INITIAL},
    [GATE_THROTTLED] = {"throttled", TO(GATE_NORMAL) | TO(GATE_SUSPENDED) | TO(GATE_SLOW), PR_SM_INITIAL},
    [GATE_SUSPENDED] = {"suspended", TO(GATE_PROBE) | TO(GATE_SUSPENDED), PR_SM_INITIAL},
    [GATE_PROBE] = {"probe", TO(GATE_SLOW) | TO(GATE_NORMAL) | TO(GATE_SUSPENDED), PR_SM_INITIAL},
    [GATE_SLOW] = {"slow", TO(GATE_NORMAL) | TO(GATE_SUSPENDED), PR_SM_INITIAL},
};

static bool hold(const struct gate *g, const struct path *p)
{
    return p->state == GATE_THROTTLED && pr_mono_since(g->now.mono, p->throttled_at) < g->cfg.throttle_hold_ms;
}

void path_move(struct gate *g, struct path *p, enum gate_state to, const char *reason, uint64_t for_ms)
{
    struct pr_sm sm;
    enum gate_state from = p->state;
    pr_sm_init(&sm, states, GATE_STATE_NR, from, p->id);
    pr_sm_move(&sm, to, reason);
    p->state = to;
    if (to != GATE_THROTTLED) /* fewer connections, but it may be dead all the same */
        p->streak = 0;
    p->cohort_ok = 0;
    p->span_ok = p->span_failed = 0;
    p->span_since = g->now.mono;
    if (to == GATE_NORMAL) {
        p->step = 0;
        p->window = p->limit.connections;
    }
    pr_timerq_cancel(&g->timers, &p->timer);
    if (for_ms != 0)
        pr_timerq_set(&g->timers, &p->timer, pr_mono_add(g->now.mono, for_ms).ms);
    if (g->act->moved != NULL)
        g->act->moved(g->data, p->destination, p->pool, from, to, reason, for_ms);
    path_flag(g, p);
}

void path_suspend(struct gate *g, struct path *p, const char *reason)
{
    uint64_t ms = g->cfg.suspend_first_ms << (p->step < 20 ? p->step : 20);
    if (ms > g->cfg.suspend_last_ms)
        ms = g->cfg.suspend_last_ms;
    p->step++;
    path_move(g, p, GATE_SUSPENDED, reason, pr_rng_jitter(&g->rng, ms, 25));
}

static bool dead(const struct gate *g, const struct path *p)
{
    uint32_t cohort = p->window < GATE_DEAD_COHORT ? p->window : GATE_DEAD_COHORT;
    return p->streak >= GATE_DEAD_FAILURES &&
           (p->streak >= cohort || pr_mono_since(g->now.mono, p->streak_since) >= GATE_DEAD_MS);
}

static bool hit(const struct path *p)
{
    uint32_t least = p->window / 8 < 2 ? 2 : p->window / 8;
    return p->span_failed >= least && (uint64_t)p->span_failed * 100 >= (uint64_t)p->span_ok * GATE_HIT_PERCENT;
}

static void throttle(struct gate *g, struct path *p)
{
    uint32_t used = path_open(p);
    if (p->state != GATE_NORMAL && pr_mono_since(g->now.mono, p->throttled_at) < g->cfg.throttle_step_ms)
        return;
    if (used < 2)
        used = 2;
    p->window = (used < p->window ? used : p->window) / 2;
    if (p->window == 0)
        p->window = 1;
    p->throttled_at = g->now.mono;
    p->linear = true;
    p->span_ok = p->span_failed = 0;
    p->cohort_ok = 0;
    if (p->state == GATE_NORMAL)
        path_move(g, p, GATE_THROTTLED, "site failures among successes", 0);
    path_flag(g, p);
}

static void grow(struct gate *g, struct path *p)
{
    if (hold(g, p))
        p->cohort_ok = 0; /* growth is earned afterwards */
    if (p->state == GATE_NORMAL || p->cohort_ok < p->window)
        return;
    if (p->state == GATE_THROTTLED && path_open(p) <= p->window / 2)
        return; /* what is not used proves nothing */
    while (p->cohort_ok >= p->window && p->window < p->limit.connections) {
        p->cohort_ok -= p->window;
        p->window = p->linear ? p->window + 1 : p->window * 2;
    }
    if (p->window >= p->limit.connections)
        path_move(g, p, GATE_NORMAL, "grown to the limit", 0);
    path_flag(g, p);
}

static void remember_error(struct path *p, struct pr_slice error)
{
    if (error.len == 0)
        return;
    p->error_len = (uint16_t)(error.len < GATE_ERROR_MAX ? error.len : GATE_ERROR_MAX);
    memcpy(p->error, error.ptr, p->error_len);
}

static void probe_result(struct gate *g, struct path *p, uint32_t ok)
{
    if (ok == 0) {
        path_suspend(g, p, "probe failed");
        return;
    }
    p->linear = false;
    p->window = 2;
    if (p->window >= p->limit.connections)
        path_move(g, p, GATE_NORMAL, "probe succeeded", 0);
    else
        path_move(g, p, GATE_SLOW, "probe succeeded", 0);
}

static void count(struct gate *g, struct path *p, uint32_t ok, uint32_t failures)
{
    if (pr_mono_since(g->now.mono, p->span_since) >= GATE_HIT_WINDOW_MS) {
        p->span_since = g->now.mono;
        p->span_ok = p->span_failed = 0;
    }
    p->span_ok += ok;
    p->span_failed += failures;
    p->cohort_ok += ok;
    if (ok > 0)
        p->streak = 0;
    else if (p->streak == 0)
        p->streak_since = g->now.mono;
    if (ok == 0)
        p->streak += failures;
}

void path_feedback(struct gate *g, struct path *p, uint32_t ok, uint32_t failures, struct pr_slice error)
{
    remember_error(p, error);
    if ((ok == 0 && failures == 0) || p->state == GATE_SUSPENDED)
        return; /* stragglers of a suspended path prove nothing */
    if (p->state == GATE_PROBE) {
        probe_result(g, p, ok);
        return;
    }
    /* Bounded, so that no report can overflow the sums. */
    count(g, p, ok < GATE_WANTS_MAX ? ok : GATE_WANTS_MAX, failures < GATE_WANTS_MAX ? failures : GATE_WANTS_MAX);
    if (dead(g, p))
        path_suspend(g, p, "site failures only");
    else if (failures > 0 && hit(p))
        throttle(g, p);
    else
        grow(g, p);
}

void path_timer(struct gate *g, struct path *p)
{
    if (p->state == GATE_SUSPENDED) {
        path_move(g, p, GATE_PROBE, "suspension over", 0);
    } else if (p->n_entries == 0 && pr_mono_since(g->now.mono, p->used) >= g->cfg.forget_ms) {
        path_destroy(g, p);
    }
}

bool path_flush(struct gate *g, struct path *p)
{
    switch (p->state) {
    case GATE_SUSPENDED:
        path_move(g, p, GATE_PROBE, "flush", 0);
        return true;
    case GATE_THROTTLED:
        p->linear = false;
        path_move(g, p, GATE_SLOW, "flush", 0);
        return true;
    case GATE_NORMAL:
    case GATE_PROBE:
    case GATE_SLOW:
    case GATE_STATE_NR:
        break;
    }
    return false;
}
