/* lane_world.h - a lane, its scheduler and its connections as plain values under virtual time, for the tests of the lane. */
#ifndef TEST_LANE_WORLD_H
#define TEST_LANE_WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/base/alloc.h"
#include "deliverer/core/lane.h"

#define DEST PR_SLICE_LIT("dst.example")
#define POOL PR_SLICE_LIT("default")

struct world {
    struct dlv_lane *lane;
    struct dlv_lane_options o;
    pr_mono now;
    uint64_t next_msg, next_seq;
    uint32_t epoch;
    /* of the last gate request */
    uint64_t t_seq;
    bool full;
    struct dlv_want wants[64];
    size_t n_wants;
    /* of the last turn or pass */
    unsigned opened, quits, aborts;
    struct dlv_conn *conns[256]; /* all that are open */
    size_t n_conns;
};

static inline void world_begin(struct world *w)
{
    *w = (struct world){.o = dlv_lane_defaults, .now = {1000000}, .epoch = 7};
    w->lane = dlv_lane_new(&w->o, w->now);
}

static inline struct dlv_job *job_make(struct world *w, uint32_t shard, uint64_t term)
{
    struct dlv_job *job = pr_new(struct dlv_job);
    job->ref = (struct dlv_ref){.msg_id = ++w->next_msg, .group = 1, .attempt_id = w->next_msg * 1000};
    job->shard = shard;
    job->term = term;
    return job;
}

static inline enum dlv_admit job_arrives(struct world *w, struct dlv_job *job)
{
    return dlv_lane_add(w->lane, job, DEST, POOL, w->now);
}

static inline struct dlv_job *job_send(struct world *w, uint32_t shard, uint64_t term)
{
    struct dlv_job *job = job_make(w, shard, term);
    assert_int_equal(job_arrives(w, job), DLV_ADMIT_OK);
    return job;
}

static inline void conn_gone(struct world *w, struct dlv_conn *conn)
{
    size_t i = 0;
    while (w->conns[i] != conn)
        i++;
    w->conns[i] = w->conns[--w->n_conns];
    dlv_lane_closed(w->lane, conn, w->now);
    pr_free(conn);
}

/* Does what the lane says: connections open in the same instant; jobs stay on them; goodbyes of idle ones take effect. */
static inline void turn(struct world *w)
{
    struct dlv_lane_action a;
    w->opened = w->quits = w->aborts = 0;
    while (dlv_lane_next(w->lane, &a, w->now)) {
        switch (a.type) {
        case DLV_LANE_OPEN: {
            struct dlv_conn *conn = pr_new(struct dlv_conn);
            assert_true(w->n_conns < PR_ARRAY_LEN(w->conns));
            dlv_lane_open(w->lane, conn, a.dest, w->now);
            dlv_lane_ready(w->lane, conn, w->now);
            w->conns[w->n_conns++] = conn;
            w->opened++;
            break;
        }
        case DLV_LANE_GIVE:
            assert_ptr_equal(a.job->conn, a.conn);
            break;
        case DLV_LANE_QUIT:
            w->quits++;
            if (a.conn->jobs == 0)
                conn_gone(w, a.conn);
            break;
        case DLV_LANE_ABORT:
            w->aborts++;
            assert_false(a.conn->dot);
            break;
        }
    }
}

static inline void pass(struct world *w, uint64_t ms)
{
    uint64_t end = w->now.ms + ms;
    unsigned opened = 0, quits = 0, aborts = 0;
    while (w->now.ms < end) {
        uint64_t due = dlv_lane_deadline(w->lane).ms;
        w->now.ms = due > end ? end : due > w->now.ms ? due : w->now.ms + 1;
        dlv_lane_tick(w->lane, w->now);
        turn(w);
        opened += w->opened;
        quits += w->quits;
        aborts += w->aborts;
    }
    w->opened = opened;
    w->quits = quits;
    w->aborts = aborts;
}

static inline void ask_gate(struct world *w)
{
    uint32_t epoch;
    w->n_wants = dlv_lane_gate_request(w->lane, w->wants, PR_ARRAY_LEN(w->wants), &epoch, &w->t_seq, &w->full, w->now);
}

static inline void grant_limited(struct world *w, uint32_t slots, uint64_t count, uint64_t per_ms)
{
    struct dlv_grant g = {.destination = DEST, .pool = POOL, .seq = ++w->next_seq, .slots = slots, .mails_per_connection = 100,
                          .rcpts_per_mail = 100, .rate_count = count, .rate_per_ms = per_ms};
    assert_true(dlv_lane_gate_grant(w->lane, w->epoch, w->t_seq, 30000, &g, 1, w->now));
    turn(w);
}

static inline void grant(struct world *w, uint32_t slots) { grant_limited(w, slots, 0, 0); }

/* A request and its answer that changes nothing. */
static inline void renew(struct world *w)
{
    ask_gate(w);
    assert_true(dlv_lane_gate_grant(w->lane, w->epoch, w->t_seq, 30000, NULL, 0, w->now));
    turn(w);
}

/* A leader, a demand and slots: ready for jobs. */
static inline void world_open(struct world *w, uint32_t slots)
{
    world_begin(w);
    dlv_lane_gate_epoch(w->lane, w->epoch, w->now);
    assert_true(dlv_lane_shard(w->lane, 0, 5, true, w->now));
    dlv_lane_demand(w->lane, 0, 5, DEST, POOL, 100, 1, w->now);
    turn(w);
    ask_gate(w);
    grant(w, slots);
}

static inline void job_finish(struct world *w, struct dlv_job *job)
{
    struct dlv_conn *conn = job->conn;
    dlv_lane_done(w->lane, job, DLV_SITE_OK, (struct pr_slice){NULL, 0});
    if (conn != NULL && conn->jobs == 0) {
        bool bye = conn->draining;
        dlv_lane_idle(w->lane, conn, w->now);
        if (bye)
            conn_gone(w, conn);
    }
}

/* Everything back to the scheduler and closed. */
static inline void world_end(struct world *w)
{
    struct dlv_job *job;
    for (uint32_t shard = 0; shard < 8; shard++)
        for (struct dlv_job *next = dlv_lane_shard_next(w->lane, shard, NULL); (job = next) != NULL;) {
            next = dlv_lane_shard_next(w->lane, shard, job);
            if (job->phase == DLV_PHASE_STARTED || job->phase == DLV_PHASE_DOT)
                job_finish(w, job);
        }
    dlv_lane_drain(w->lane, w->now);
    turn(w);
    while (w->n_conns > 0)
        conn_gone(w, w->conns[0]);
    while ((job = dlv_lane_next_return(w->lane)) != NULL)
        pr_free(job);
    for (uint32_t shard = 0; shard < 8; shard++)
        while ((job = dlv_lane_shard_next(w->lane, shard, NULL)) != NULL) {
            struct dlv_ref ref = job->ref;
            assert_ptr_equal(dlv_lane_ack(w->lane, shard, &ref), job);
            pr_free(job);
        }
    assert_true(dlv_lane_empty(w->lane));
    dlv_lane_free(w->lane);
}

#endif
