/* Start: store, state machine (reads flows and counters), thread; on the thread the Raft host checks, loads and replays
 * the log. Turn: whatever came in is handled (timers, mailbox, Raft), then, before the loop sleeps, what gathered leaves:
 * entries to the log, jobs and acknowledgements to the bus. Stop: new work is refused, the host is stopped, handles
 * close, the loop ends. */
#include "scheduler/shell/shard.h"

#include <sys/stat.h>

#include "common/base/alloc.h"
#include "common/base/assert.h"
#include "common/store/kv_rocks.h"
#include "scheduler/shell/shard_internal.h"

enum { TIMER_MAX_MS = 1000, SECOND_MS = 1000 };

void shard_fatal(struct shard *s, const char *text)
{
    if (s->failed)
        return;
    s->failed = true;
    s->leading = false;
    s->o.on_fatal(s->o.data, text);
}

uint64_t shard_next_id(struct shard *s, pr_wall now)
{
    uint64_t by_time = now.ms << 22;
    s->last_id = by_time > s->last_id ? by_time : s->last_id + 1;
    return s->last_id;
}

struct bus_post *shard_out(struct shard *s)
{
    if (s->out == NULL)
        s->out = bus_post_new(BUS_POST_SEND);
    return s->out;
}

void shard_tell_bus_state(struct shard *s)
{
    struct bus_post *p = bus_post_new(BUS_POST_STATE);
    p->state = (struct wire_shard_state){
        .shard = s->o.id,
        .term = s->leading ? s->term : 0,
        .leader = s->leading,
        .admission = (uint8_t)atomic_load_explicit(&s->admission, memory_order_relaxed),
        .queued = fsm_counters(s->fsm)->messages,
    };
    s->told_admission = p->state.admission;
    s->o.to_bus(s->o.data, p);
}

static void update_view(struct shard *s)
{
    struct shard_view v = {
        .id = s->o.id,
        .leader = s->leading,
        .term = s->term,
        .applied = fsm_applied(s->fsm),
        .counters = *fsm_counters(s->fsm),
    };
    if (s->leading)
        sched_stats(s->sched, &v.sched);
    pthread_mutex_lock(&s->lock);
    s->view = v;
    pthread_mutex_unlock(&s->lock);
    pr_metric_set(s->o.metrics, SM_RAFT_APPLIED, s->o.id, 0, 0, (int64_t)v.applied);
}

/* What gathered during the turn leaves. Flushing jobs may produce nothing new; flushing the batch may fail waiters, whose
 * answers then still go out. */
static void turn_end(struct shard *s)
{
    if (s->in_turn_end || s->stopping)
        return;
    s->in_turn_end = true;
    if (s->leading && !s->failed) {
        shard_run_checks(s);
        shard_flush_jobs(s);
    }
    if (!s->failed)
        shard_batch_flush(s);
    shard_flush_acks(s);
    shard_flush_result_acks(s);
    if (!s->failed && s->view.applied != fsm_applied(s->fsm))
        update_view(s);
    if (s->out != NULL) {
        s->o.to_bus(s->o.data, s->out);
        s->out = NULL;
    }
    pr_arena_fini(&s->turn);
    s->in_turn_end = false;
}

static void set_timer(struct shard *s);

static void on_timer(uv_timer_t *t)
{
    struct shard *s = t->data;
    if (s->leading && !s->failed)
        sched_tick(s->sched, pr_clock_now());
}

static void set_timer(struct shard *s)
{
    uint64_t wait = TIMER_MAX_MS;
    if (s->leading) {
        pr_mono now = pr_clock_now().mono, due = sched_deadline(s->sched);
        wait = due.ms <= now.ms ? 0 : PR_MIN(due.ms - now.ms, (uint64_t)TIMER_MAX_MS);
    }
    (void)uv_timer_start(&s->timer, on_timer, wait, 0);
}

static void on_prepare(uv_prepare_t *p)
{
    struct shard *s = p->data;
    turn_end(s);
    if (!s->stopping)
        set_timer(s);
}

static void on_check(uv_check_t *c)
{
    turn_end(c->data);
}

static void on_second(uv_timer_t *t)
{
    struct shard *s = t->data;
    if (s->failed)
        return;
    update_view(s);
    shard_tell_bus_state(s);
    if (s->leading)
        shard_report_late(s);
}

static void on_msg(struct shard *s, struct shard_post *p)
{
    const struct wire_msg *m = &p->msg;
    switch (m->type) {
    case WIRE_ENQUEUE:
        shard_on_enqueue(s, &p->from, &m->enqueue);
        break;
    case WIRE_PART:
        shard_on_part(s, &p->from, &m->part);
        break;
    case WIRE_RESULT:
        shard_on_results(s, &p->from, &m->results);
        break;
    case WIRE_RETURN:
        shard_on_return(s, &p->from, &m->return_);
        break;
    case WIRE_CREDIT:
        shard_on_credit(s, &p->from, &m->credit);
        break;
    case WIRE_INVENTORY:
        shard_on_inventory(s, &p->from, &m->inventory);
        break;
    case WIRE_BODY_GET:
        shard_on_body_get(s, &p->from, &m->body_get);
        break;
    case WIRE_NONE:
    case WIRE_HELLO:
    case WIRE_HELLO_OK:
    case WIRE_HEARTBEAT:
    case WIRE_ENQUEUE_ACK:
    case WIRE_PART_ACK:
    case WIRE_DEMAND:
    case WIRE_JOB:
    case WIRE_RESULT_ACK:
    case WIRE_CANCEL:
    case WIRE_BODY_CHUNK:
    case WIRE_GATE_REQ:
    case WIRE_GATE_GRANT:
    case WIRE_TYPE_NR:
        break; /* never routed here */
    }
}

static void on_config(struct shard *s, struct pr_config *config)
{
    struct sched_config sc;
    pr_config_unref(s->config);
    s->config = pr_config_ref(config);
    shard_sched_config(config, pr_rng_next(&s->rng), &sc);
    sched_configure(s->sched, &sc);
    if (s->leading)
        shard_flows_configure(s);
    shard_tell_bus_state(s);
}

static void on_post(struct pr_worker *w, void *posted, void *data)
{
    struct shard *s = data;
    struct shard_post *p = posted;
    (void)w;
    if (!s->failed) {
        switch (p->kind) {
        case SHARD_POST_MSG:
            on_msg(s, p);
            break;
        case SHARD_POST_LANE_UP:
            shard_lane_up(s, &p->lane);
            break;
        case SHARD_POST_LANE_DOWN:
            shard_lane_down(s, &p->lane);
            break;
        case SHARD_POST_CONFIG:
            on_config(s, p->config);
            break;
        case SHARD_POST_ADMIN:
            shard_on_admin(s, p->admin);
            break;
        }
    }
    if (p->kind == SHARD_POST_ADMIN)
        admin_request_unref(p->admin);
    shard_post_free(p);
}

static void on_raft_fatal(void *data, const char *text)
{
    shard_fatal(data, text);
}

static void on_notice(void *data, const char *text)
{
    struct shard *s = data;
    pr_warn(s->o.log, "raft_notice", PR_U("shard", s->o.id), PR_S("text", text));
}

static int start_raft(struct shard *s)
{
    struct pr_buf text = {0};
    struct raft_host_config c = {
        .loop = s->loop,
        .dir = s->log_dir,
        .flush_dir = s->flush_dir,
        .fsm = s->fsm,
        .callbacks = {s, shard_on_leader, shard_on_follower, on_raft_fatal, on_notice},
    };
    raft_host_settings_default(&c.settings);
    c.settings.node_id = 1;
    c.settings.flush_bytes = s->config->queue.snapshot_bytes;
    c.settings.trailing_bytes = s->config->queue.trailing_bytes;
    int rc = raft_host_start(&c, &s->raft, &text);
    if (rc != 0)
        shard_fatal(s, pr_buf_cstr(&text));
    pr_buf_fini(&text);
    return rc;
}

static int on_start(struct pr_worker *w, uv_loop_t *loop, void *data)
{
    struct shard *s = data;
    (void)w;
    s->loop = loop;
    int rc = start_raft(s);
    if (rc != 0)
        return rc;
    (void)uv_timer_init(loop, &s->timer);
    (void)uv_timer_init(loop, &s->second);
    (void)uv_prepare_init(loop, &s->prepare);
    (void)uv_check_init(loop, &s->check);
    s->timer.data = s->second.data = s->prepare.data = s->check.data = s;
    (void)uv_timer_start(&s->second, on_second, SECOND_MS, SECOND_MS);
    (void)uv_prepare_start(&s->prepare, on_prepare);
    (void)uv_check_start(&s->check, on_check);
    return 0;
}

static void on_raft_stopped(void *data)
{
    struct shard *s = data;
    s->raft = NULL;
    uv_close((uv_handle_t *)&s->timer, NULL);
    uv_close((uv_handle_t *)&s->second, NULL);
    uv_close((uv_handle_t *)&s->prepare, NULL);
    uv_close((uv_handle_t *)&s->check, NULL);
}

static void on_stop(struct pr_worker *w, void *data)
{
    struct shard *s = data;
    (void)w;
    if (s->stopping)
        return;
    turn_end(s);
    s->stopping = true;
    shard_batch_drop_all(s, PR_ECLOSED);
    shard_on_follower(s);
    if (s->raft != NULL)
        raft_host_stop(s->raft, on_raft_stopped, s);
}

static char *path_of(const char *dir, const char *name)
{
    struct pr_buf b = {0};
    pr_buf_printf(&b, "%s/%s", dir, name);
    return pr_buf_steal(&b, NULL);
}

static int open_store(struct shard *s, struct pr_buf *reterr)
{
    struct kv_rocks_settings settings;
    char *dir = path_of(s->o.dir, "db");
    kv_rocks_settings_default(&settings);
    settings.write_buffer_bytes = s->config->queue.memtable_bytes / s->o.n_shards;
    settings.cache_bytes = s->config->queue.cache_bytes / s->o.n_shards;
    int rc = kv_rocks_open(dir, &settings, &s->kv, reterr);
    pr_free(dir);
    if (rc == 0)
        rc = fsm_open(s->kv, &s->fsm, reterr);
    if (rc == 0)
        s->stage = fsm_stage(s->fsm);
    return rc;
}

static void shard_free(struct shard *s)
{
    size_t it = 0;
    sched_free(s->sched);
    fsm_free(s->fsm);
    kv_close(s->kv);
    for (struct lane_facts *l; (l = pr_map_next(&s->lanes, &it, NULL)) != NULL;)
        pr_free(l);
    pr_map_fini(&s->lanes);
    pr_map_fini(&s->flows);
    pr_map_fini(&s->flow_ids);
    bus_post_free(s->out);
    pr_arena_fini(&s->turn);
    pr_arena_fini(&s->demand_arena);
    for (size_t i = 0; i < s->n_acks; i++)
        pr_free(s->acks[i].items);
    for (size_t i = 0; i < s->n_result_acks; i++)
        pr_free(s->result_acks[i].items);
    pr_free(s->acks);
    pr_free(s->result_acks);
    pr_free(s->jobs);
    pr_free(s->demands);
    pr_free(s->log_dir);
    pr_free(s->flush_dir);
    pr_config_unref(s->config);
    pthread_mutex_destroy(&s->lock);
    pr_free(s);
}

int shard_start(const struct shard_options *o, struct shard **ret, struct pr_buf *reterr)
{
    static const struct pr_worker_ops ops = {.start = on_start, .post = on_post, .stop = on_stop};
    struct shard *s = pr_new(struct shard);
    struct sched_config sc;
    char name[16];
    s->o = *o;
    s->config = pr_config_ref(o->config);
    s->log_dir = path_of(o->dir, "log");
    s->flush_dir = path_of(o->dir, "flush");
    pthread_mutex_init(&s->lock, NULL);
    pr_list_init(&s->gathering);
    pr_list_init(&s->late);
    s->started = pr_clock_now().mono;
    pr_rng_init(&s->rng, pr_random_seed());
    pr_map_init(&s->lanes, pr_rng_next(&s->rng));
    pr_map_init(&s->flows, pr_rng_next(&s->rng));
    pr_map_init(&s->flow_ids, pr_rng_next(&s->rng));
    shard_sched_config(o->config, pr_rng_next(&s->rng), &sc);
    s->sched = sched_new(&sc, &shard_sched_actions, s);
    (void)mkdir(o->dir, 0750);
    (void)snprintf(name, sizeof name, "shard-%u", o->id);
    int rc = open_store(s, reterr);
    if (rc == 0)
        rc = pr_worker_start(&ops, s, name, &s->worker);
    if (rc != 0) {
        shard_free(s);
        return rc;
    }
    *ret = s;
    return 0;
}

int shard_post(struct shard *s, struct shard_post *item)
{
    return pr_worker_post(s->worker, item);
}

bool shard_alive(const struct shard *s, uint64_t max_age_ms)
{
    return pr_worker_alive(s->worker, max_age_ms);
}

void shard_stop(struct shard *s)
{
    pr_worker_stop(s->worker);
}

void shard_join(struct shard *s)
{
    pr_worker_join(s->worker);
    /* The store learns the last state (closing flushes it): the next start replays nothing, and a log that has lost its
     * end since is noticed. */
    if (!s->failed && fsm_spill(s->fsm) != 0)
        pr_error(s->o.log, "spill_failed", PR_U("shard", s->o.id), PR_S("error", fsm_error(s->fsm)));
    shard_free(s);
}

void shard_set_admission(struct shard *s, unsigned level)
{
    atomic_store_explicit(&s->admission, level, memory_order_relaxed);
}

struct stage *shard_stage(struct shard *s)
{
    return s->stage;
}

void shard_view(struct shard *s, struct shard_view *ret)
{
    pthread_mutex_lock(&s->lock);
    *ret = s->view;
    pthread_mutex_unlock(&s->lock);
}
