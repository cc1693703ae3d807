/* The book of a lane: phases, fences, connections, slots, results. */
#include "lane_world.h"

static void test_one_job(void **state)
{
    struct world w;
    struct dlv_credit credit;
    (void)state;
    world_begin(&w);
    assert_false(dlv_lane_gate_due(w.lane, w.now)); /* no epoch known */
    dlv_lane_gate_epoch(w.lane, w.epoch, w.now);
    assert_true(dlv_lane_shard(w.lane, 0, 5, true, w.now));
    assert_false(dlv_lane_shard(w.lane, 0, 5, true, w.now));
    dlv_lane_demand(w.lane, 0, 5, DEST, POOL, 3, 1, w.now);
    turn(&w);
    assert_false(dlv_lane_next_credit(w.lane, &credit)); /* no slots, no credit */
    assert_true(dlv_lane_gate_due(w.lane, w.now));
    ask_gate(&w);
    assert_true(w.full);
    assert_int_equal(w.n_wants, 1);
    assert_int_equal(w.wants[0].wants, 3);
    grant(&w, 2);
    assert_true(dlv_lane_next_credit(w.lane, &credit));
    assert_int_equal(credit.jobs_allowed, 6); /* slots x (1 + prefetch) */
    assert_int_equal(credit.term, 5);
    struct dlv_job *job = job_send(&w, 0, 5);
    turn(&w);
    assert_int_equal(w.opened, 1);
    assert_int_equal(job->phase, DLV_PHASE_STARTED);
    dlv_lane_dot(w.lane, job);
    assert_int_equal(job->phase, DLV_PHASE_DOT);
    job_finish(&w, job);
    assert_ptr_equal(dlv_lane_next_result(w.lane, w.now), job);
    assert_null(dlv_lane_next_result(w.lane, w.now));
    assert_ptr_equal(dlv_lane_ack(w.lane, 0, &job->ref), job);
    assert_null(dlv_lane_find(w.lane, 0, &job->ref));
    pr_free(job);
    world_end(&w);
}

static void test_connections_follow_jobs_and_slots(void **state)
{
    struct world w;
    struct dlv_job *jobs[5];
    (void)state;
    world_open(&w, 3);
    for (int i = 0; i < 5; i++)
        jobs[i] = job_send(&w, 0, 5);
    turn(&w);
    assert_int_equal(w.n_conns, 3);
    assert_int_equal(jobs[3]->phase, DLV_PHASE_READY);
    job_finish(&w, jobs[0]);
    turn(&w);
    assert_int_equal(jobs[3]->phase, DLV_PHASE_STARTED); /* on the connection that is free */
    assert_int_equal(w.n_conns, 3);
    for (int i = 1; i < 4; i++)
        job_finish(&w, jobs[i]);
    turn(&w);
    job_finish(&w, jobs[4]);
    turn(&w);
    assert_int_equal(w.n_conns, 3);
    for (int i = 0; i < 7; i++) {
        pass(&w, 1000);
        renew(&w);
    }
    assert_int_equal(w.n_conns, 0); /* idle for long enough */
    world_end(&w);
}

static void test_taken_behind_a_running_one(void **state)
{
    struct world w;
    (void)state;
    world_open(&w, 1);
    struct dlv_job *a = job_send(&w, 0, 5), *b = job_send(&w, 0, 5);
    turn(&w);
    struct dlv_conn *conn = a->conn;
    assert_ptr_equal(dlv_lane_take(w.lane, conn, w.now), b);
    assert_null(dlv_lane_take(w.lane, conn, w.now));
    assert_int_equal(conn->jobs, 2);
    job_finish(&w, a);
    assert_int_equal(conn->state, DLV_CONN_BUSY);
    job_finish(&w, b);
    assert_int_equal(conn->state, DLV_CONN_IDLE);
    world_end(&w);
}

static void test_old_term_is_refused(void **state)
{
    struct world w;
    (void)state;
    world_open(&w, 1);
    struct dlv_job *old = job_make(&w, 0, 5);
    struct dlv_job *held = job_send(&w, 0, 5);
    assert_true(dlv_lane_shard(w.lane, 0, 6, true, w.now));
    assert_int_equal(job_arrives(&w, old), DLV_ADMIT_STALE);
    /* What it held already stays: it is in the inventory and adopted. */
    assert_ptr_equal(dlv_lane_shard_next(w.lane, 0, NULL), held);
    assert_null(dlv_lane_shard_next(w.lane, 0, held));
    assert_false(dlv_lane_shard(w.lane, 0, 5, true, w.now)); /* a deposed leader is not listened to */
    assert_int_equal(dlv_lane_term(w.lane, 0), 6);
    struct dlv_job *twice = job_make(&w, 0, 6);
    twice->ref = held->ref;
    assert_int_equal(job_arrives(&w, twice), DLV_ADMIT_DUPLICATE);
    pr_free(twice);
    pr_free(old);
    world_end(&w);
}

/* The job itself raises the fence when it comes before the news of its leader. */
static void test_job_of_a_newer_term(void **state)
{
    struct world w;
    (void)state;
    world_open(&w, 1);
    (void)job_send(&w, 0, 9);
    assert_int_equal(dlv_lane_term(w.lane, 0), 9);
    struct dlv_job *old = job_make(&w, 0, 5);
    assert_int_equal(job_arrives(&w, old), DLV_ADMIT_STALE);
    assert_true(dlv_lane_shard(w.lane, 0, 9, true, w.now)); /* the inventory is still owed */
    pr_free(old);
    world_end(&w);
}

static void test_results_are_repeated(void **state)
{
    struct world w;
    unsigned sent = 0;
    (void)state;
    world_open(&w, 1);
    struct dlv_job *job = job_send(&w, 0, 5);
    turn(&w);
    job_finish(&w, job);
    assert_ptr_equal(dlv_lane_next_result(w.lane, w.now), job);
    for (int i = 0; i < 20; i++) {
        pass(&w, 1000);
        (void)dlv_lane_shard(w.lane, 0, 5, true, w.now);
        sent += dlv_lane_next_result(w.lane, w.now) != NULL;
    }
    assert_in_range(sent, 3, 6); /* 1, 2, 4, 8 seconds */
    /* A new leader hears of it at once; without a leader nothing is said. */
    (void)dlv_lane_shard(w.lane, 0, 6, false, w.now);
    pass(&w, 20000);
    assert_null(dlv_lane_next_result(w.lane, w.now));
    assert_true(dlv_lane_shard(w.lane, 0, 6, true, w.now));
    assert_ptr_equal(dlv_lane_next_result(w.lane, w.now), job);
    world_end(&w);
}

static void test_silent_leader(void **state)
{
    struct world w;
    (void)state;
    world_open(&w, 1);
    struct dlv_job *running = job_send(&w, 0, 5), *waiting = job_send(&w, 0, 5);
    turn(&w);
    for (int i = 0; i < 29; i++) {
        pass(&w, 1000);
        renew(&w);
    }
    assert_null(dlv_lane_next_return(w.lane));
    pass(&w, 1500);
    renew(&w);
    struct dlv_job *back = dlv_lane_next_return(w.lane);
    assert_ptr_equal(back, waiting);
    assert_int_equal(back->reason, DLV_RETURN_NO_SLOT);
    pr_free(back);
    assert_int_equal(running->phase, DLV_PHASE_STARTED);
    assert_int_equal(w.aborts, 0);
    /* Long before the lease is given to another, what has not reached its end is cut. */
    unsigned aborts = 0;
    for (int i = 0; i < 200; i++) {
        pass(&w, 1000);
        aborts += w.aborts;
        renew(&w);
        aborts += w.aborts;
    }
    assert_int_equal(aborts, 1);
    world_end(&w);
}

static void test_silent_leader_does_not_cut_the_doubtful(void **state)
{
    struct world w;
    (void)state;
    world_open(&w, 1);
    struct dlv_job *running = job_send(&w, 0, 5);
    turn(&w);
    dlv_lane_dot(w.lane, running);
    for (int i = 0; i < 300; i++) {
        pass(&w, 1000);
        assert_int_equal(w.aborts, 0);
        renew(&w);
        assert_int_equal(w.aborts, 0);
    }
    world_end(&w);
}

static void test_sessions(void **state)
{
    struct world w;
    (void)state;
    world_open(&w, 1);
    struct dlv_job *job = job_send(&w, 0, 5), *other = job_send(&w, 0, 5);
    turn(&w);
    assert_int_equal(job->sessions, 1);
    assert_true(dlv_lane_requeue(w.lane, job, false, w.now));
    assert_ptr_equal(dlv_dest_peek(w.conns[0]->dest), job); /* before the other */
    conn_gone(&w, w.conns[0]);
    turn(&w);
    assert_int_equal(job->sessions, 2);
    assert_int_equal(other->phase, DLV_PHASE_READY);
    /* A session that is nobody's fault does not count. */
    assert_true(dlv_lane_requeue(w.lane, job, true, w.now));
    conn_gone(&w, w.conns[0]);
    turn(&w);
    assert_int_equal(job->sessions, 2);
    assert_false(dlv_lane_requeue(w.lane, job, false, w.now));
    assert_int_equal(job->phase, DLV_PHASE_STARTED); /* the caller decides it */
    world_end(&w);
}

static void test_failed_connection_costs_one_job(void **state)
{
    struct world w;
    struct dlv_lane_action a;
    struct dlv_conn conn;
    (void)state;
    world_open(&w, 1);
    struct dlv_job *first = job_send(&w, 0, 5), *second = job_send(&w, 0, 5);
    assert_true(dlv_lane_next(w.lane, &a, w.now));
    assert_int_equal(a.type, DLV_LANE_OPEN);
    dlv_lane_open(w.lane, &conn, a.dest, w.now);
    assert_false(dlv_lane_next(w.lane, &a, w.now)); /* no second one beyond the slots */
    assert_ptr_equal(dlv_lane_failed(w.lane, &conn, w.now), first);
    dlv_lane_done(w.lane, first, DLV_SITE_FAILED, PR_SLICE_LIT("refused"));
    dlv_lane_closed(w.lane, &conn, w.now);
    assert_int_equal(second->phase, DLV_PHASE_READY);
    turn(&w);
    assert_int_equal(second->phase, DLV_PHASE_STARTED);
    world_end(&w);
}

static void test_cancel(void **state)
{
    struct world w;
    (void)state;
    world_open(&w, 1);
    struct dlv_job *running = job_send(&w, 0, 5), *waiting = job_send(&w, 0, 5);
    turn(&w);
    assert_true(dlv_lane_cancel(w.lane, running));
    assert_false(dlv_lane_cancel(w.lane, waiting));
    assert_ptr_equal(dlv_lane_next_return(w.lane), waiting);
    assert_int_equal(waiting->reason, DLV_RETURN_CANCELLED);
    pr_free(waiting);
    dlv_lane_dot(w.lane, running);
    assert_false(dlv_lane_cancel(w.lane, running)); /* too late */
    world_end(&w);
}

static void test_drain(void **state)
{
    struct world w;
    (void)state;
    world_open(&w, 2);
    struct dlv_job *jobs[4];
    for (int i = 0; i < 4; i++)
        jobs[i] = job_send(&w, 0, 5);
    turn(&w);
    dlv_lane_drain(w.lane, w.now);
    for (int i = 2; i < 4; i++) {
        struct dlv_job *back = dlv_lane_next_return(w.lane);
        assert_ptr_equal(back, jobs[i]);
        assert_int_equal(back->reason, DLV_RETURN_DRAINING);
        pr_free(back);
    }
    struct dlv_job *late = job_make(&w, 0, 5);
    assert_int_equal(job_arrives(&w, late), DLV_ADMIT_REFUSED);
    pr_free(late);
    job_finish(&w, jobs[0]);
    turn(&w);
    assert_int_equal(w.n_conns, 1); /* the idle one at once */
    ask_gate(&w);
    assert_int_equal(w.wants[0].wants, 0);
    world_end(&w);
}

static void test_leftover_of_an_earlier_process(void **state)
{
    struct world w;
    (void)state;
    world_begin(&w);
    struct dlv_job *job = job_make(&w, 3, 4);
    dlv_lane_add_done(w.lane, job);
    assert_null(dlv_lane_next_result(w.lane, w.now)); /* nobody leads */
    assert_true(dlv_lane_shard(w.lane, 3, 9, true, w.now));
    assert_ptr_equal(dlv_lane_next_result(w.lane, w.now), job);
    assert_ptr_equal(dlv_lane_shard_next(w.lane, 3, NULL), job); /* and it is in the inventory */
    world_end(&w);
}

static void test_reconnected(void **state)
{
    struct world w;
    struct dlv_credit credit;
    (void)state;
    world_open(&w, 1);
    assert_true(dlv_lane_next_credit(w.lane, &credit));
    assert_int_equal(credit.jobs_allowed, 3);
    (void)job_send(&w, 0, 5);
    turn(&w);
    while (dlv_lane_next_credit(w.lane, &credit))
        ;
    dlv_lane_reconnected(w.lane, w.now);
    assert_false(dlv_lane_next_credit(w.lane, &credit));
    assert_true(dlv_lane_shard(w.lane, 0, 5, true, w.now)); /* inventory again, in the same term */
    dlv_lane_demand(w.lane, 0, 5, DEST, POOL, 10, 1, w.now);
    turn(&w);
    assert_true(dlv_lane_next_credit(w.lane, &credit));
    assert_int_equal(credit.jobs_allowed, 2); /* from zero; one of three is in hand */
    assert_false(dlv_lane_gate_due(w.lane, (pr_mono){w.now.ms + 5000})); /* nobody to ask yet */
    dlv_lane_gate_epoch(w.lane, w.epoch, w.now);
    assert_true(dlv_lane_gate_due(w.lane, (pr_mono){w.now.ms + 5}));
    ask_gate(&w);
    assert_true(w.full);
    world_end(&w);
}

/* At the lane's limit an idle connection elsewhere makes room. */
static void test_room_at_the_limit(void **state)
{
    struct world w;
    (void)state;
    world_begin(&w);
    w.o.connections_max = 2;
    dlv_lane_configure(w.lane, &w.o);
    dlv_lane_gate_epoch(w.lane, w.epoch, w.now);
    (void)dlv_lane_shard(w.lane, 0, 5, true, w.now);
    dlv_lane_demand(w.lane, 0, 5, DEST, POOL, 9, 1, w.now);
    dlv_lane_demand(w.lane, 0, 5, PR_SLICE_LIT("other.example"), POOL, 9, 1, w.now);
    turn(&w);
    ask_gate(&w);
    struct dlv_grant g = {.destination = PR_SLICE_LIT("other.example"), .pool = POOL, .seq = 1, .slots = 5};
    assert_true(dlv_lane_gate_grant(w.lane, w.epoch, w.t_seq, 30000, &g, 1, w.now));
    grant(&w, 5);
    struct dlv_job *first = job_send(&w, 0, 5), *second = job_send(&w, 0, 5);
    turn(&w);
    assert_int_equal(w.n_conns, 2);
    job_finish(&w, first);
    struct dlv_job *elsewhere = job_make(&w, 0, 5);
    assert_int_equal(dlv_lane_add(w.lane, elsewhere, PR_SLICE_LIT("other.example"), POOL, w.now), DLV_ADMIT_OK);
    turn(&w);
    assert_int_equal(w.quits, 1);
    turn(&w);
    assert_int_equal(elsewhere->phase, DLV_PHASE_STARTED);
    assert_int_equal(second->phase, DLV_PHASE_STARTED);
    assert_int_equal(w.n_conns, 2);
    world_end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_job),
        cmocka_unit_test(test_connections_follow_jobs_and_slots),
        cmocka_unit_test(test_taken_behind_a_running_one),
        cmocka_unit_test(test_old_term_is_refused),
        cmocka_unit_test(test_job_of_a_newer_term),
        cmocka_unit_test(test_results_are_repeated),
        cmocka_unit_test(test_silent_leader),
        cmocka_unit_test(test_silent_leader_does_not_cut_the_doubtful),
        cmocka_unit_test(test_sessions),
        cmocka_unit_test(test_failed_connection_costs_one_job),
        cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_drain),
        cmocka_unit_test(test_leftover_of_an_earlier_process),
        cmocka_unit_test(test_reconnected),
        cmocka_unit_test(test_room_at_the_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
