/* The lane's half of the gate's contract, and the sharing of credit. */
#include <stdio.h>

#include "common/base/rng.h"
#include "lane_world.h"

static void test_deadline_counts_from_sending(void **state)
{
    struct world w;
    (void)state;
    world_begin(&w);
    dlv_lane_gate_epoch(w.lane, w.epoch, w.now);
    (void)dlv_lane_shard(w.lane, 0, 5, true, w.now);
    dlv_lane_demand(w.lane, 0, 5, DEST, POOL, 9, 1, w.now);
    turn(&w);
    ask_gate(&w);
    pr_mono sent = w.now;
    w.now.ms += 20000; /* the answer was long under way */
    grant(&w, 5);
    (void)job_send(&w, 0, 5);
    turn(&w);
    assert_int_equal(w.opened, 1);
    /* Five seconds before the end nothing is opened any more, though what is open may be used. */
    w.now.ms = sent.ms + 25000;
    (void)dlv_lane_shard(w.lane, 0, 5, true, w.now);
    struct dlv_job *job = job_send(&w, 0, 5);
    turn(&w);
    assert_int_equal(w.opened, 0);
    assert_int_equal(job->phase, DLV_PHASE_READY);
    world_end(&w);
}

static void test_end_of_the_lease(void **state)
{
    struct world w;
    (void)state;
    world_open(&w, 3);
    struct dlv_job *dot = job_send(&w, 0, 5), *run = job_send(&w, 0, 5), *quick = job_send(&w, 0, 5);
    turn(&w);
    dlv_lane_dot(w.lane, dot);
    struct dlv_job *waiting = job_send(&w, 0, 5);
    job_finish(&w, quick);
    struct dlv_conn *conn = w.conns[2];
    /* No answer from the gate any more. */
    for (int i = 0; i < 30; i++) {
        (void)dlv_lane_shard(w.lane, 0, 5, true, w.now);
        pass(&w, 1000);
        if (waiting != NULL && waiting->phase == DLV_PHASE_STARTED) {
            job_finish(&w, waiting);
            waiting = NULL;
        }
    }
    assert_null(waiting);
    /* Nothing starts: idle ones are closed, busy ones are not cut. */
    struct dlv_job *late = job_make(&w, 0, 5);
    assert_int_equal(job_arrives(&w, late), DLV_ADMIT_OK);
    turn(&w);
    assert_ptr_equal(dlv_lane_next_return(w.lane), late);
    assert_int_equal(w.n_conns, 2);
    assert_int_equal(run->phase, DLV_PHASE_STARTED);
    pr_free(late);
    /* After the hold all are cut but the one that waits for the reply to its final dot. */
    unsigned aborts = 0;
    for (int i = 0; i < 62; i++) {
        (void)dlv_lane_shard(w.lane, 0, 5, true, w.now);
        pass(&w, 1000);
        aborts += w.aborts;
    }
    assert_int_equal(aborts, 1);
    (void)conn;
    world_end(&w);
}

static void test_shrink_is_acknowledged_when_it_is_true(void **state)
{
    struct world w;
    struct dlv_job *jobs[4];
    (void)state;
    world_open(&w, 4);
    for (int i = 0; i < 4; i++)
        jobs[i] = job_send(&w, 0, 5);
    turn(&w);
    job_finish(&w, jobs[0]);
    ask_gate(&w);
    assert_int_equal(w.n_conns, 4);
    grant(&w, 2);
    assert_int_equal(w.n_conns, 3); /* the idle one went at once, another will go after its job */
    assert_int_equal(w.quits, 2);
    pass(&w, 1000);
    ask_gate(&w);
    assert_int_equal(w.wants[0].open, 3);
    assert_int_equal(w.wants[0].acked_seq, w.next_seq - 1);
    for (int i = 1; i < 4; i++)
        if (jobs[i]->conn->draining) {
            job_finish(&w, jobs[i]);
            jobs[i] = NULL;
        }
    turn(&w);
    assert_true(dlv_lane_gate_due(w.lane, (pr_mono){w.now.ms + 10})); /* the gate wants to know soon */
    ask_gate(&w);
    assert_int_equal(w.wants[0].open, 2);
    assert_int_equal(w.wants[0].acked_seq, w.next_seq);
    world_end(&w);
}

static void test_old_grants_are_ignored(void **state)
{
    struct world w;
    (void)state;
    world_open(&w, 4);
    struct dlv_grant g = {.destination = DEST, .pool = POOL, .seq = 0, .slots = 100};
    struct dlv_lane_counts c;
    /* Lower sequence number. */
    assert_true(dlv_lane_gate_grant(w.lane, w.epoch, w.t_seq, 30000, &g, 1, w.now));
    dlv_lane_count(w.lane, &c);
    assert_int_equal(c.slots, 4);
    /* Older gate; a request nobody remembers. */
    g.seq = 99;
    assert_false(dlv_lane_gate_grant(w.lane, w.epoch - 1, w.t_seq, 30000, &g, 1, w.now));
    assert_false(dlv_lane_gate_grant(w.lane, w.epoch, w.t_seq + 1, 30000, &g, 1, w.now));
    dlv_lane_count(w.lane, &c);
    assert_int_equal(c.slots, 4);
    world_end(&w);
}

static void test_new_epoch(void **state)
{
    struct world w;
    struct dlv_lane_counts c;
    (void)state;
    world_open(&w, 4);
    (void)job_send(&w, 0, 5);
    turn(&w);
    assert_int_equal(w.n_conns, 1);
    dlv_lane_gate_epoch(w.lane, ++w.epoch, w.now);
    dlv_lane_count(w.lane, &c);
    assert_int_equal(c.slots, 1); /* what is open, no more */
    for (int i = 0; i < 3; i++)
        (void)job_send(&w, 0, 5);
    turn(&w);
    assert_int_equal(w.opened, 0);
    assert_true(dlv_lane_gate_due(w.lane, (pr_mono){w.now.ms + 3}));
    ask_gate(&w);
    assert_true(w.full);
    assert_int_equal(w.wants[0].open, 1);
    grant(&w, 4);
    assert_int_equal(w.n_conns, 4);
    world_end(&w);
}

static void test_unanswered_requests_become_full(void **state)
{
    struct world w;
    (void)state;
    world_open(&w, 4);
    renew(&w);
    assert_false(w.full);
    for (int i = 0; i < 5 && !w.full; i++) {
        pass(&w, 1000);
        ask_gate(&w);
    }
    assert_true(w.full);
    world_end(&w);
}

static void finish_with(struct world *w, enum dlv_site site)
{
    struct dlv_job *job = job_send(w, 0, 5);
    turn(w);
    assert_int_equal(job->phase, DLV_PHASE_STARTED);
    struct dlv_conn *conn = job->conn;
    dlv_lane_done(w->lane, job, site, PR_SLICE_LIT("no route"));
    dlv_lane_idle(w->lane, conn, w->now);
    turn(w);
}

static void test_feedback_counts_once(void **state)
{
    struct world w;
    (void)state;
    world_open(&w, 4);
    renew(&w);
    for (int i = 0; i < 3; i++)
        finish_with(&w, DLV_SITE_OK);
    finish_with(&w, DLV_SITE_FAILED);
    assert_true(dlv_lane_gate_due(w.lane, (pr_mono){w.now.ms + 3})); /* a failure is news */
    w.now.ms += 3;
    ask_gate(&w);
    assert_int_equal(w.wants[0].ok, 3);
    assert_int_equal(w.wants[0].site_failures, 1);
    assert_int_equal(w.wants[0].last_error.len, 8);
    uint64_t first = w.t_seq;
    finish_with(&w, DLV_SITE_FAILED);
    finish_with(&w, DLV_SITE_UNTOUCHED);
    w.now.ms += 3;
    ask_gate(&w); /* while the first is unanswered nothing is said of it again */
    assert_int_equal(w.n_wants == 0 ? 0 : w.wants[0].ok + w.wants[0].site_failures, 0);
    w.t_seq = first;
    grant(&w, 4);
    pass(&w, 1000);
    ask_gate(&w);
    assert_int_equal(w.wants[0].ok, 0);
    assert_int_equal(w.wants[0].site_failures, 1);
    grant(&w, 4);
    world_end(&w);
}

/* After some failures in a row the gate is heard first. */
static void test_failures_in_a_row(void **state)
{
    struct world w;
    struct dlv_lane_action a;
    (void)state;
    world_open(&w, 8);
    for (int i = 0; i < 6; i++)
        (void)job_send(&w, 0, 5);
    for (int i = 0; i < 6; i++) {
        struct dlv_conn conn;
        unsigned opens = 0;
        if (!dlv_lane_next(w.lane, &a, w.now))
            break;
        assert_int_equal(a.type, DLV_LANE_OPEN);
        dlv_lane_open(w.lane, &conn, a.dest, w.now);
        struct dlv_job *job = dlv_lane_failed(w.lane, &conn, w.now);
        dlv_lane_done(w.lane, job, DLV_SITE_FAILED, PR_SLICE_LIT("refused"));
        dlv_lane_closed(w.lane, &conn, w.now);
        opens++;
        assert_true(opens == 1);
    }
    struct dlv_lane_counts c;
    dlv_lane_count(w.lane, &c);
    assert_int_equal(c.done, 3);
    assert_int_equal(c.ready, 3);
    ask_gate(&w);
    assert_int_equal(w.wants[0].site_failures, 3);
    assert_false(dlv_lane_next(w.lane, &a, w.now));
    struct dlv_grant g = {.destination = DEST, .pool = POOL, .seq = ++w.next_seq, .slots = 8};
    assert_true(dlv_lane_gate_grant(w.lane, w.epoch, w.t_seq, 30000, &g, 1, w.now));
    assert_true(dlv_lane_next(w.lane, &a, w.now)); /* heard: on it goes */
    struct dlv_conn conn;
    dlv_lane_open(w.lane, &conn, a.dest, w.now);
    dlv_lane_closed(w.lane, &conn, w.now);
    world_end(&w);
}

static void test_no_slots_no_jobs(void **state)
{
    struct world w;
    (void)state;
    world_open(&w, 2);
    for (int i = 0; i < 3; i++)
        (void)job_send(&w, 0, 5);
    turn(&w);
    ask_gate(&w);
    grant(&w, 0);
    struct dlv_job *back = dlv_lane_next_return(w.lane);
    assert_non_null(back);
    assert_int_equal(back->reason, DLV_RETURN_NO_SLOT);
    pr_free(back);
    assert_null(dlv_lane_next_return(w.lane));
    world_end(&w);
}

static void test_rate(void **state)
{
    struct world w;
    unsigned started = 0;
    (void)state;
    world_begin(&w);
    dlv_lane_gate_epoch(w.lane, w.epoch, w.now);
    (void)dlv_lane_shard(w.lane, 0, 5, true, w.now);
    dlv_lane_demand(w.lane, 0, 5, DEST, POOL, 1000, 1, w.now);
    turn(&w);
    ask_gate(&w);
    grant_limited(&w, 50, 10, 1000);
    struct dlv_credit credit;
    assert_true(dlv_lane_next_credit(w.lane, &credit));
    assert_in_range(credit.jobs_allowed, 1, 15); /* no more than go within a second or so */
    for (int i = 0; i < 60; i++)
        (void)job_send(&w, 0, 5);
    for (int i = 0; i < 50; i++) {
        (void)dlv_lane_shard(w.lane, 0, 5, true, w.now);
        pass(&w, 100);
        if (i % 10 == 9)
            renew(&w);
        started = 0;
        for (struct dlv_job *j = dlv_lane_shard_next(w.lane, 0, NULL); j != NULL; j = dlv_lane_shard_next(w.lane, 0, j))
            started += j->phase == DLV_PHASE_STARTED;
        assert_true(started <= (unsigned)i + 3);
    }
    assert_in_range(started, 48, 51);
    world_end(&w);
}

/* --- credit --- */

/* Serves what the shards send within their credit, one slot, and counts. */
static void serve(struct world *w, uint32_t n_shards, unsigned rounds, unsigned counts[])
{
    uint64_t allowed[8] = {0}, sent[8] = {0};
    struct dlv_credit c;
    for (unsigned i = 0; i < rounds; i++) {
        turn(w);
        while (dlv_lane_next_credit(w->lane, &c))
            allowed[c.shard] = PR_MAX(allowed[c.shard], c.jobs_allowed);
        for (uint32_t s = 0; s < n_shards; s++)
            for (; sent[s] < allowed[s]; sent[s]++)
                (void)job_send(w, s, 5);
        turn(w);
        if (w->n_conns == 0 || w->conns[0]->jobs == 0)
            continue;
        for (uint32_t s = 0; s < n_shards; s++)
            for (struct dlv_job *j = dlv_lane_shard_next(w->lane, s, NULL); j != NULL; j = dlv_lane_shard_next(w->lane, s, j))
                if (j->phase == DLV_PHASE_STARTED) {
                    counts[s]++;
                    job_finish(w, j);
                    break;
                }
        struct dlv_job *r;
        while ((r = dlv_lane_next_result(w->lane, w->now)) != NULL) {
            assert_ptr_equal(dlv_lane_ack(w->lane, r->shard, &r->ref), r);
            pr_free(r);
        }
    }
}

static void shards_up(struct world *w, uint32_t n, uint32_t slots, const uint32_t *weights)
{
    world_begin(w);
    dlv_lane_gate_epoch(w->lane, w->epoch, w->now);
    for (uint32_t s = 0; s < n; s++) {
        assert_true(dlv_lane_shard(w->lane, s, 5, true, w->now));
        dlv_lane_demand(w->lane, s, 5, DEST, POOL, 1000, weights == NULL ? 1 : weights[s], w->now);
    }
    turn(w);
    ask_gate(w);
    grant(w, slots);
}

static void test_more_shards_than_slots_take_turns(void **state)
{
    struct world w;
    unsigned counts[8] = {0};
    (void)state;
    shards_up(&w, 8, 1, NULL);
    serve(&w, 8, 1600, counts);
    for (int i = 0; i < 8; i++)
        assert_in_range(counts[i], 160, 240);
    world_end(&w);
}

static void test_weights(void **state)
{
    const uint32_t weights[] = {1, 3};
    struct world w;
    struct dlv_credit c;
    uint64_t allowed[2] = {0};
    (void)state;
    shards_up(&w, 2, 4, weights);
    while (dlv_lane_next_credit(w.lane, &c))
        allowed[c.shard] = c.jobs_allowed;
    assert_int_equal(allowed[0], 3);
    assert_int_equal(allowed[1], 9);
    world_end(&w);
}

static void test_credit_is_said_again_on_demand(void **state)
{
    struct world w;
    struct dlv_credit c;
    (void)state;
    world_open(&w, 2);
    assert_true(dlv_lane_next_credit(w.lane, &c));
    uint64_t allowed = c.jobs_allowed;
    turn(&w);
    assert_false(dlv_lane_next_credit(w.lane, &c));
    dlv_lane_demand(w.lane, 0, 5, DEST, POOL, 50, 1, w.now);
    turn(&w);
    assert_true(dlv_lane_next_credit(w.lane, &c));
    assert_int_equal(c.jobs_allowed, allowed);
    world_end(&w);
}

/* The counter goes on where it was when a destination was forgotten meanwhile. */
static void test_counter_survives_a_quiet_time(void **state)
{
    struct world w;
    struct dlv_credit c;
    struct dlv_lane_counts counts;
    (void)state;
    world_open(&w, 1);
    while (dlv_lane_next_credit(w.lane, &c))
        ;
    struct dlv_job *job = job_send(&w, 0, 5);
    turn(&w);
    job_finish(&w, job);
    dlv_lane_demand(w.lane, 0, 5, DEST, POOL, 0, 1, w.now);
    uint32_t slots = 1;
    for (int i = 0; i < 20; i++) {
        (void)dlv_lane_shard(w.lane, 0, 5, true, w.now);
        pass(&w, 1000);
        ask_gate(&w);
        if (w.n_wants == 0)
            continue;
        if ((w.wants[0].wants > 0) == slots)
            w.next_seq--; /* the same grant again */
        slots = w.wants[0].wants > 0;
        grant(&w, slots);
    }
    dlv_lane_count(w.lane, &counts);
    assert_int_equal(counts.destinations, 0);
    while (dlv_lane_next_credit(w.lane, &c))
        ;
    dlv_lane_demand(w.lane, 0, 5, DEST, POOL, 10, 1, w.now);
    turn(&w);
    ask_gate(&w);
    grant(&w, 1);
    assert_true(dlv_lane_next_credit(w.lane, &c));
    assert_int_equal(c.jobs_allowed, 1 + 3);
    world_end(&w);
}

/* --- anything may happen --- */

static void random_event(struct world *w, struct pr_rng *rng, uint64_t *term)
{
    struct dlv_job *job;
    switch (pr_rng_below(rng, 12)) {
    case 0:
    case 1:
    case 2:
        job = job_make(w, (uint32_t)pr_rng_below(rng, 2), *term - (pr_rng_below(rng, 10) == 0));
        if (job_arrives(w, job) != DLV_ADMIT_OK)
            pr_free(job);
        break;
    case 3:
    case 4:
    case 5:
        if (w->n_conns > 0) {
            struct dlv_conn *conn = w->conns[pr_rng_below(rng, w->n_conns)];
            for (uint32_t s = 0; s < 2; s++)
                for (job = dlv_lane_shard_next(w->lane, s, NULL); job != NULL; job = dlv_lane_shard_next(w->lane, s, job))
                    if (job->conn == conn) {
                        job_finish(w, job);
                        return;
                    }
        }
        break;
    case 6:
        ask_gate(w);
        grant(w, (uint32_t)pr_rng_below(rng, 6));
        break;
    case 7:
        for (uint32_t s = 0; s < 2; s++)
            (void)dlv_lane_shard(w->lane, s, *term, pr_rng_below(rng, 5) != 0, w->now);
        break;
    case 8:
        *term += pr_rng_below(rng, 10) == 0;
        break;
    case 9:
        if (w->n_conns > 0)
            (void)dlv_lane_take(w->lane, w->conns[pr_rng_below(rng, w->n_conns)], w->now);
        break;
    case 10:
        job = dlv_lane_next_result(w->lane, w->now);
        if (job != NULL && pr_rng_below(rng, 2) == 0) {
            assert_ptr_equal(dlv_lane_ack(w->lane, job->shard, &job->ref), job);
            pr_free(job);
        }
        break;
    default:
        pass(w, pr_rng_below(rng, 3000));
        break;
    }
}

static void test_whatever_happens(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        struct world w;
        struct pr_rng rng;
        uint64_t term = 5;
        pr_rng_init(&rng, seed);
        world_open(&w, 3);
        for (int i = 0; i < 2000; i++) {
            struct dlv_lane_counts c;
            struct dlv_job *job;
            size_t before = w.n_conns;
            random_event(&w, &rng, &term);
            turn(&w);
            dlv_lane_count(w.lane, &c);
            if (w.n_conns > before && w.n_conns > c.slots)
                fail_msg("seed %d step %d: opened beyond the slots", (int)seed, i);
            assert_int_equal(c.jobs, c.ready + c.started + c.done);
            assert_int_equal(c.connections, w.n_conns);
            while ((job = dlv_lane_next_return(w.lane)) != NULL)
                pr_free(job);
        }
        world_end(&w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_deadline_counts_from_sending),
        cmocka_unit_test(test_end_of_the_lease),
        cmocka_unit_test(test_shrink_is_acknowledged_when_it_is_true),
        cmocka_unit_test(test_old_grants_are_ignored),
        cmocka_unit_test(test_new_epoch),
        cmocka_unit_test(test_unanswered_requests_become_full),
        cmocka_unit_test(test_feedback_counts_once),
        cmocka_unit_test(test_failures_in_a_row),
        cmocka_unit_test(test_no_slots_no_jobs),
        cmocka_unit_test(test_rate),
        cmocka_unit_test(test_more_shards_than_slots_take_turns),
        cmocka_unit_test(test_weights),
        cmocka_unit_test(test_credit_is_said_again_on_demand),
        cmocka_unit_test(test_counter_survives_a_quiet_time),
        cmocka_unit_test(test_whatever_happens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
