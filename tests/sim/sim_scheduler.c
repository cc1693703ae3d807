/* sim_scheduler [--seeds N] [--from N] [--mutate NAME] [--verbose] [--trace MESSAGE]
 *
 * Simulates a scheduler node (the real scheduler and gate cores in a model of their shell, with a log that commits late and
 * loses its tail), three lanes of deliverers and six destinations (fast, slow, refusing, timing out, flapping,
 * greylisting) in virtual time. Faults until 3/4 of the run: the leader dies, lanes crash with or without their journal,
 * connections break, credit frames are lost, old leaders' jobs arrive late, limits change, mail is deleted, queues are
 * flushed. After each step:
 *   - no destination sees more connections than its limit (or the earlier one, while it may still be in use);
 *   - nothing starts before it is due, but by a flush of what was filed earlier;
 *   - nothing is delivered twice, unless a lane died between final dot and reply;
 *   - no job without a lease; the cores' own invariants; each row is exactly where the store and the core say.
 * At the end all mail to living destinations is delivered, and counters equal the store.
 *
 * A run without arguments also checks the check: with each of the mutations (rules broken by the model) some seed must
 * fail. And it measures that dead and slow destinations take nothing from a fast one. */
#include <sys/wait.h>
#include <unistd.h>

#include "scheduler/lane.h"

static const struct {
    const char *name;
    enum kind kind;
    uint32_t limit;
    uint64_t rate;
} dest_table[DESTS] = {
    {"fast", KIND_FAST, 4, 0},       {"slow", KIND_SLOW, 5, 0},         {"refusing", KIND_REFUSING, 6, 0},
    {"timeout", KIND_TIMEOUT, 3, 0}, {"flapping", KIND_FLAPPING, 4, 0}, {"grey", KIND_GREYLIST, 2, 40},
};

static void world_init(struct world *w, uint64_t seed, enum mutation mutation, bool faults)
{
    uint64_t traced = w->traced;
    memset(w, 0, sizeof *w);
    w->traced = traced;
    w->seed = seed;
    w->mutation = mutation;
    w->faults = faults;
    pr_rng_init(&w->rng, seed);
    w->ms = 1000;
    w->fault_end = 22000;
    w->end = 30000;
    w->mail_gap = between(w, 20, 45);
    w->next_mail = w->ms;
    w->mails_max = 700;
    sched_config_default(&w->sched_cfg);
    w->sched_cfg.n_retry = 3;
    w->sched_cfg.retry_ms[0] = 1000;
    w->sched_cfg.retry_ms[1] = 2000;
    w->sched_cfg.retry_ms[2] = 4000;
    w->sched_cfg.hold_time_ms = HOLD_MS;
    w->sched_cfg.window_min = (unsigned)between(w, 1, 16);
    w->sched_cfg.window_max = w->sched_cfg.window_min + 30;
    w->sched_cfg.jobs_max = between(w, 60, 400);
    w->sched_cfg.inflight_max = 50;
    gate_config_default(&w->gate_cfg);
    w->gate_cfg.lease_ms = mutation == MUT_NO_DRAIN ? LEASE_MS / 4 : LEASE_MS;
    w->gate_cfg.hold_ms = mutation == MUT_NO_DRAIN ? 0 : DRAIN_MS;
    w->gate_cfg.holder_slots = (unsigned)between(w, 1, 4);
    w->gate_cfg.throttle_hold_ms = 2000;
    w->gate_cfg.throttle_step_ms = 500;
    w->gate_cfg.suspend_first_ms = 1000;
    w->gate_cfg.suspend_last_ms = 4000;
    for (unsigned d = 0; d < DESTS; d++) {
        struct dest *dest = &w->dests[d];
        snprintf(dest->name, sizeof dest->name, "%s", dest_table[d].name);
        dest->kind = dest_table[d].kind;
        dest->limit = dest->allowed = dest_table[d].limit;
        dest->rate = dest_table[d].rate;
        dest->up = true;
    }
    for (unsigned i = 0; i < LANES; i++) {
        w->lanes[i] = (struct lane){.index = i, .holder = i + 1, .boot = 1, .alive = true};
        for (int k = 0; k < 2; k++)
            w->net[i][k].last = &w->net[i][k].first;
        w->late[i].last = &w->late[i].first;
    }
    node_start(w);
}

static void world_fini(struct world *w)
{
    for (unsigned i = 0; i < LANES; i++) {
        net_cut(w, i, false);
        while (w->late[i].first != NULL)
            net_free(net_pop(&w->late[i]));
    }
    sched_free(w->sched);
    gate_free(w->gate);
}

/* ---- faults ---- */

static void change_limit(struct world *w)
{
    struct dest *d = &w->dests[pr_rng_below(&w->rng, DESTS)];
    uint32_t limit = (uint32_t)between(w, 1, 7);
    /* What was granted before may be used until it has run out everywhere. */
    d->allowed = limit > d->allowed ? limit : d->allowed;
    d->allowed_until = w->ms + LEASE_MS + DRAIN_MS + 200;
    d->limit = limit;
    if (w->node_up)
        gate_limits_changed(w->gate, now_of(w));
}

static void delete_one(struct world *w)
{
    struct msg *m;
    if (w->n_msgs == 0 || !w->node_up)
        return;
    m = &w->msgs[pr_rng_below(&w->rng, w->n_msgs)];
    if (m->state == MSG_PENDING)
        log_add(w, CMD_DELETE)->ref = (struct sched_ref){m->row.key.msg_id, 0, 0};
}

static void flush_one(struct world *w)
{
    unsigned d = (unsigned)pr_rng_below(&w->rng, DESTS);
    if (!w->node_up)
        return;
    w->dests[d].flushed_at = w->ms;
    gate_flush(w->gate, now_of(w), dest_name(w, d));
    (void)sched_flush(w->sched, core_now(w), dest_name(w, d));
}

static void faults_step(struct world *w)
{
    struct lane *l = &w->lanes[pr_rng_below(&w->rng, LANES)];
    if (!w->faults || w->ms >= w->fault_end)
        return;
    if (w->node_up && chance(w, 2500))
        node_crash(w);
    if (l->alive && chance(w, 3000))
        lane_crash(w, l);
    if (l->alive && l->connected && chance(w, 4000)) {
        lane_lost(w, l, false);
        l->cut_until = w->ms + between(w, 20, 6000);
        l->wake_at = l->cut_until;
        w->n_cuts++;
    }
    if (chance(w, 1500))
        change_limit(w);
    if (chance(w, 2000))
        delete_one(w);
    if (chance(w, 1000))
        flush_one(w);
    if (chance(w, 3000))
        w->dests[4].up = !w->dests[4].up;
}

/* ---- invariants ---- */

static void check_step(struct world *w)
{
    for (unsigned d = 0; d < DESTS; d++) {
        struct dest *dest = &w->dests[d];
        uint64_t rates = 0;
        if (w->ms >= dest->allowed_until)
            dest->allowed = dest->limit;
        if (dest->open > dest->allowed && w->ms > dest->allowed_until + 50)
            broken(w, "connections above the new limit", d, dest->open);
        for (unsigned i = 0; i < LANES; i++)
            if (w->lanes[i].alive && fresh(w, &w->lanes[i].dests[d]))
                rates += w->lanes[i].dests[d].rate;
        if (dest->rate != 0 && rates > dest->rate)
            broken(w, "rate shares above the rate", rates, dest->rate);
    }
}

/* Each row is in one place, and that is what the store says. */
static void check_rows(struct world *w)
{
    uint64_t rows = 0;
    struct sched_stats stats;
    if (!w->node_up)
        return;
    sched_check_invariants(w->sched);
    gate_check_invariants(w->gate);
    for (size_t i = 0; i < w->n_msgs; i++) {
        const struct msg *m = &w->msgs[i];
        enum sched_where where = sched_where(w->sched, i + 1, 0);
        rows += stored(m);
        if (!stored(m) && where != SCHED_ON_DISK && where != SCHED_PROPOSED)
            broken(w, "job without a row", i + 1, where);
        if (stored(m) && m->attempt_id == 0 && where == SCHED_INFLIGHT)
            broken(w, "in flight without a lease", i + 1, where);
    }
    sched_stats(w->sched, &stats);
    if (stats.rows != rows && stats.uncounted == 0 && w->mutation != MUT_LOSE_FILED)
        broken(w, "count of rows", stats.rows, rows);
}

static bool living(const struct world *w, const struct msg *m)
{
    enum kind kind = w->dests[(m->row.flow - 1) % DESTS].kind;
    return kind != KIND_REFUSING && kind != KIND_TIMEOUT;
}

static size_t undelivered(const struct world *w)
{
    size_t n = 0;
    for (size_t i = 0; i < w->n_msgs; i++)
        n += stored(&w->msgs[i]) && living(w, &w->msgs[i]);
    return n;
}

static void world_step(struct world *w)
{
    w->ms += STEP_MS;
    faults_step(w);
    deliver(w);
    node_step(w);
    for (unsigned i = 0; i < LANES; i++)
        lane_step(w, &w->lanes[i]);
    check_step(w);
    if (w->ms % 200 == 0)
        check_rows(w);
}

static void run_seed(struct world *w, uint64_t seed, enum mutation mutation, bool verbose)
{
    world_init(w, seed, mutation, true);
    while (w->ms < w->end || undelivered(w) > 0) {
        if (w->ms >= w->fault_end)
            w->dests[4].up = true;
        if (w->ms > w->end && w->ms > w->last_taken + HOLD_MS + 20000)
            broken(w, "mail is stranded", undelivered(w), w->n_msgs);
        world_step(w);
    }
    check_rows(w);
    if (verbose)
        printf("seed %" PRIu64 ": %zu mails, %" PRIu64 " delivered (%" PRIu64 " twice), %" PRIu64 " leaders, %" PRIu64
               " crashes, %" PRIu64 " cuts, %" PRIu64 " releases, failed tries %u %u, end %" PRIu64 " ms\n",
               seed, w->n_msgs, w->n_delivered, w->n_duplicates, w->n_restarts, w->n_crashes, w->n_cuts, w->n_released,
               w->dests[2].attempts_failed, w->dests[3].attempts_failed, w->ms);
    world_fini(w);
}

/* ---- isolation: a fast destination beside slow and dead ones ---- */

/* Six seconds with plenty of mail for the fast destination, and as much for each of the others, or none. */
static uint32_t fast_beside(struct world *w, bool others)
{
    world_init(w, 7, MUT_NONE, false);
    w->sched_cfg.jobs_max = 300;
    sched_configure(w->sched, &w->sched_cfg);
    w->mails_max = 0;
    while (w->ms < 7000) {
        for (uint32_t d = 0; w->ms % 20 == 0 && w->n_msgs + DESTS <= MSGS && d < (others ? DESTS : 1); d++)
            new_mail(w, 1 + d);
        if (w->ms == 1000 + STEP_MS)
            for (int i = 0; i < 400; i++)
                new_mail(w, 1);
        world_step(w);
    }
    uint32_t n = w->dests[0].delivered;
    world_fini(w);
    return n;
}

static void run_isolation(struct world *w)
{
    uint32_t alone = fast_beside(w, false), beside = fast_beside(w, true);
    if (alone < 300 || beside * 100 < alone * 95)
        broken(w, "slow and dead destinations slow a fast one down: alone, beside", alone, beside);
    printf("a fast destination: %u delivered alone, %u beside slow and dead ones\n", alone, beside);
    fflush(stdout); /* children follow */
}

/* A child, because a broken rule ends the process. */
static bool mutation_caught(struct world *w, enum mutation mutation, uint64_t seeds)
{
    int status;
    pid_t pid = fork();
    if (pid == 0) {
        if (freopen("/dev/null", "w", stderr) == NULL)
            _exit(9);
        for (uint64_t s = 1; s <= seeds; s++)
            run_seed(w, s, mutation, false);
        _exit(0);
    }
    if (pid < 0 || waitpid(pid, &status, 0) != pid)
        return false;
    return !WIFEXITED(status) || WEXITSTATUS(status) == 1;
}

static enum mutation mutation_named(const char *name)
{
    for (int m = 0; m < MUT_NR; m++)
        if (strcmp(name, mutation_names[m]) == 0)
            return (enum mutation)m;
    fprintf(stderr, "no such mutation: %s\n", name);
    exit(2);
}

static uint64_t number(const char *text)
{
    uint64_t n;
    if (text == NULL || pr_parse_u64(pr_slice_str(text), UINT32_MAX, &n) != 0)
        exit(2);
    return n;
}

int main(int argc, char **argv)
{
    struct world *w = pr_new(struct world);
    uint64_t seeds = 200, from = 1;
    enum mutation mutation = MUT_NONE;
    bool verbose = false, all = true;
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : NULL;
        if (strcmp(argv[i], "--verbose") == 0) {
            verbose = true;
            continue;
        }
        if (strcmp(argv[i], "--trace") == 0) {
            w->traced = number(value);
        } else if (strcmp(argv[i], "--seeds") == 0) {
            seeds = number(value);
        } else if (strcmp(argv[i], "--from") == 0) {
            from = number(value);
            all = false;
        } else if (strcmp(argv[i], "--mutate") == 0 && value != NULL) {
            mutation = mutation_named(value);
            all = false;
        } else {
            return 2;
        }
        i++;
    }
    for (uint64_t s = from; s < from + seeds; s++)
        run_seed(w, s, mutation, verbose);
    if (all) {
        run_isolation(w);
        for (int m = MUT_NONE + 1; m < MUT_NR; m++) {
            if (!mutation_caught(w, (enum mutation)m, 60)) {
                fprintf(stderr, "mutation %s is not caught\n", mutation_names[m]);
                return 1;
            }
        }
        printf("%d mutations are caught\n", MUT_NR - 1);
    }
    printf("%" PRIu64 " seeds are fine\n", seeds);
    pr_free(w);
    return 0;
}
