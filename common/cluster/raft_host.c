/* raft_host.c - one Raft group: start, proposals, leadership, stop.
 *
 * Start: 1. the log is checked (seglog.h) before libraft sees it, because libraft cuts off what it cannot read; 2.
 * libraft loads it, we apply what RocksDB lacks; 3. a lone voter elects itself in raft_start; 4. our barrier comes
 * back, and only then on_leader is told: from there on the state has everything that was ever acknowledged.
 *
 * A proposal is answered when its entry is applied, which on a leader means that it is committed. libraft's own
 * callback comes later and matters only for proposals that were not applied: their fate is unknown.
 *
 * Proposals made inside one of libraft's callbacks wait for the next turn of the loop: libraft is not re-entrant.
 *
 * Stop: timers and proposals first, then raft_close (which answers open proposals), then the disk backend, our handles,
 * and a flush that still runs in the thread pool; maybe_stopped names what is outstanding. */
#include "common/cluster/raft_host.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "common/base/alloc.h"
#include "common/base/assert.h"
#include "common/cluster/raft_internal.h"
#include "common/cluster/seglog.h"

#define MB (1024ULL * 1024)
enum { WATCH_MS = 1000, STALL_MS = 5000 };

/* -------------------------------------------------------------------------------------------------------- settings */

void raft_host_settings_default(struct raft_host_settings *s)
{
    *s = (struct raft_host_settings){
        .node_id = 1,
        .election_timeout_ms = 1000,
        .heartbeat_ms = 200,
        .segment_bytes = 16 * MB,
        .max_inflight = 32,
        .disk_retry_ms = 1000,
        .flush_bytes = 32 * MB,
        .trailing_bytes = 8 * MB,
        .dead_bytes = 256 * MB,
        .capacity_threshold_kb = 4096,
    };
}

int raft_host_settings_check(const struct raft_host_settings *s, const char **reterr_field)
{
    const struct {
        const char *name;
        uint64_t value, min, max;
    } fields[] = {
        {"node_id", s->node_id, 1, UINT64_MAX},
        {"election_timeout_ms", s->election_timeout_ms, 100, 60000},
        {"heartbeat_ms", s->heartbeat_ms, 10, s->election_timeout_ms / 2},
        /* libraft counts free log space in 16 bits of KB, over three segments: above 21 MB it wraps, and proposals are
         * refused for lack of space now and then, or for ever. */
        {"segment_bytes", s->segment_bytes, 1 * MB, 20 * MB},
        {"max_inflight", s->max_inflight, 1, 256},
        {"disk_retry_ms", s->disk_retry_ms, 10, 60000},
        {"flush_bytes", s->flush_bytes, 1 * MB, 1024 * MB},
        {"trailing_bytes", s->trailing_bytes, 1 * MB, 1024 * MB},
        {"dead_bytes", s->dead_bytes, 1 * MB, 1024 * 1024 * MB},
        {"capacity_threshold_kb", s->capacity_threshold_kb, 0, s->segment_bytes / 1024},
    };
    for (size_t i = 0; i < PR_ARRAY_LEN(fields); i++) {
        if (fields[i].value < fields[i].min || fields[i].value > fields[i].max) {
            *reterr_field = fields[i].name;
            return PR_ERANGE;
        }
    }
    if (s->segment_bytes % MB != 0) { /* the log check tells a cut file by its size */
        *reterr_field = "segment_bytes";
        return PR_ERANGE;
    }
    return 0;
}

/* --------------------------------------------------------------------------------------------------------- reports */

void raft_host_fatal(struct raft_host *h, const char *fmt, ...)
{
    if (h->dead)
        return;
    h->dead = true;
    struct pr_buf text = {0};
    va_list ap;
    va_start(ap, fmt);
    pr_buf_vprintf(&text, fmt, ap);
    va_end(ap);
    if (h->start_error != NULL)
        pr_buf_add(h->start_error, pr_buf_slice(&text));
    else
        h->callbacks.on_fatal(h->callbacks.data, pr_buf_cstr(&text));
    pr_buf_fini(&text);
}

void raft_host_notice(struct raft_host *h, const char *fmt, ...)
{
    if (h->callbacks.on_notice == NULL)
        return;
    struct pr_buf text = {0};
    va_list ap;
    va_start(ap, fmt);
    pr_buf_vprintf(&text, fmt, ap);
    va_end(ap);
    h->callbacks.on_notice(h->callbacks.data, pr_buf_cstr(&text));
    pr_buf_fini(&text);
}

/* ------------------------------------------------------------------------------------------------------- proposals */

void raft_host_answer(struct proposal *p, int status, uint64_t index, const struct fsm_effects *effects)
{
    if (p->answered)
        return;
    p->answered = true;
    p->host->inflight--;
    p->host->inflight_bytes -= p->bytes;
    p->on_done(p->data, status, index, effects);
}

static void proposal_free(struct proposal *p)
{
    pr_list_remove(&p->link);
    pr_free(p);
}

static void on_raft_apply(struct raft_apply *req, int status, void *result)
{
    (void)result;
    struct proposal *p = req->data;
    struct raft_host *h = p->host;
    h->calls++;
    /* Applied ones were answered there. LEADERSHIPLOST, SHUTDOWN: the entry may still be committed by others. */
    raft_host_answer(p, status == 0 ? PR_EIO : PR_EUNKNOWN, req->index, NULL);
    h->calls--;
    proposal_free(p);
}

/* On failure the proposal is the caller's again. */
static int submit(struct raft_host *h, struct proposal *p)
{
    p->req.data = p;
    pr_list_push_back(&h->proposals, &p->link);
    h->calls++;
    int rv = raft_apply(&h->raft, &p->req, &p->buf, 1, on_raft_apply);
    h->calls--;
    if (rv == 0)
        return 0;
    pr_list_remove(&p->link);
    /* In these two cases the bytes are still ours; in others libraft may have freed them. */
    if (rv == RAFT_NOTLEADER || rv == RAFT_NOSPACE) {
        raft_free(p->buf.base);
        return rv == RAFT_NOTLEADER ? PR_ENOTLEADER : PR_ENOSPC;
    }
    raft_host_fatal(h, "the log in %s does not take an entry: %s", h->dir, raft_strerror(rv));
    return PR_EIO;
}

static void submit_waiting(struct raft_host *h)
{
    struct pr_list *link;
    while (!h->dead && (link = pr_list_pop_front(&h->waiting)) != NULL) {
        struct proposal *p = pr_list_entry(link, struct proposal, link);
        int err = submit(h, p);
        if (err != 0) {
            raft_host_answer(p, err, 0, NULL);
            pr_free(p);
        }
    }
}

static void drop_waiting(struct raft_host *h)
{
    struct pr_list *link;
    while ((link = pr_list_pop_front(&h->waiting)) != NULL) {
        struct proposal *p = pr_list_entry(link, struct proposal, link);
        raft_free(p->buf.base);
        raft_host_answer(p, PR_ECLOSED, 0, NULL);
        pr_free(p);
    }
}

static void nothing(uv_idle_t *handle)
{
    (void)handle;
}

/* Something waits for the next turn: the loop must not sleep before it. */
static void wake(struct raft_host *h)
{
    if (!uv_is_closing((uv_handle_t *)&h->idle))
        uv_idle_start(&h->idle, nothing);
}

int raft_host_propose(struct raft_host *h, struct pr_slice entry, raft_host_done_fn on_done, void *data)
{
    if (h->dead || h->stopping)
        return PR_ECLOSED;
    if (h->led_term == 0)
        return PR_ENOTLEADER;
    if (entry.len == 0 || entry.len % 8 != 0 || entry.len > CMD_ENTRY_HARD_MAX)
        return PR_ETOOBIG;
    struct proposal *p = pr_new(struct proposal);
    pr_list_init(&p->link);
    p->host = h;
    p->on_done = on_done;
    p->data = data;
    p->bytes = (uint32_t)entry.len;
    p->buf = (struct raft_buffer){.base = raft_malloc(entry.len), .len = entry.len};
    pr_assert(p->buf.base != NULL);
    memcpy(p->buf.base, entry.ptr, entry.len);
    cmd_entry_set_acked(p->buf.base, entry.len, fsm_applied(h->fsm));
    h->inflight++;
    h->inflight_bytes += p->bytes;
    if (h->calls > 0) {
        pr_list_push_back(&h->waiting, &p->link);
        wake(h);
        return 0;
    }
    int err = submit(h, p);
    if (err != 0) {
        h->inflight--;
        h->inflight_bytes -= p->bytes;
        pr_free(p);
    }
    return err;
}

uint32_t raft_host_inflight(const struct raft_host *h) { return h->inflight; }

/* ------------------------------------------------------------------------------------------------------ leadership */

static void on_barrier(struct raft_barrier *req, int status)
{
    struct raft_host *h = req->data;
    h->barrier_open = false;
    if (status != 0 || h->stopping || h->dead || raft_state(&h->raft) != RAFT_LEADER)
        return;
    h->led_term = raft_current_term(&h->raft);
    h->calls++;
    h->callbacks.on_leader(h->callbacks.data, h->led_term);
    h->calls--;
}

static void lose_leadership(struct raft_host *h)
{
    h->led_term = 0;
    h->calls++;
    h->callbacks.on_follower(h->callbacks.data);
    h->calls--;
}

static void watch_leadership(struct raft_host *h)
{
    bool leads = raft_state(&h->raft) == RAFT_LEADER;
    uint64_t term = raft_current_term(&h->raft);
    if (h->led_term != 0 && (!leads || term != h->led_term))
        lose_leadership(h);
    if (!leads || h->led_term != 0 || h->barrier_open)
        return;
    h->barrier.data = h;
    h->barrier_open = true;
    h->calls++;
    int rv = raft_barrier(&h->raft, &h->barrier, on_barrier);
    h->calls--;
    if (rv == RAFT_NOTLEADER || rv == RAFT_NOSPACE)
        h->barrier_open = false; /* again on the next turn that brings something */
    else if (rv != 0)
        raft_host_fatal(h, "the log in %s does not take a barrier: %s", h->dir, raft_strerror(rv));
}

bool raft_host_is_leader(const struct raft_host *h) { return h->led_term != 0; }
uint64_t raft_host_term(const struct raft_host *h) { return h->led_term; }

/* ------------------------------------------------------------------------------------------------------------ loop */

static void begin_stop(struct raft_host *h);

static void work(struct raft_host *h)
{
    raft_hooks_watch_disk(h);
    if (h->dead)
        return;
    watch_leadership(h);
    submit_waiting(h);
    raft_hooks_complete_sends(h, RAFT_NOCONNECTION);
    raft_flush_maybe(h);
}

static void on_turn(uv_prepare_t *handle)
{
    struct raft_host *h = handle->data;
    uv_idle_stop(&h->idle);
    if (!h->stopping && !h->dead)
        work(h);
    if (h->stopping && !h->closing)
        begin_stop(h);
}

static void on_watch(uv_timer_t *handle)
{
    struct raft_host *h = handle->data;
    if (h->stopping || h->dead)
        return;
    bool stalled = h->appends > 0 && uv_now(h->loop) - h->append_progress_ms > STALL_MS;
    if (stalled && !h->stall_told)
        raft_host_notice(h, "the log in %s has taken no write for %d seconds: disk full or failing", h->dir,
                         STALL_MS / 1000);
    h->stall_told = stalled;
    raft_compact_maybe(h);
}

void raft_host_flush(struct raft_host *h)
{
    h->flush_wanted = true;
    if (!h->stopping && !h->dead)
        wake(h);
}

void raft_host_stats(const struct raft_host *h, struct raft_host_stats *ret)
{
    struct raft *r = (struct raft *)(uintptr_t)&h->raft;
    *ret = h->stats;
    ret->term = raft_current_term(r);
    ret->last_index = raft_last_index(r);
    ret->commit_index = raft_commit_index(r);
    ret->applied_index = fsm_applied(h->fsm);
    ret->durable_index = h->durable;
    ret->log_bytes = h->log.bytes;
    ret->inflight_bytes = h->inflight_bytes;
}

/* ------------------------------------------------------------------------------------------------------------ stop */

void raft_host_maybe_stopped(struct raft_host *h)
{
    if (h->raft_open)
        return; /* raft_close under way */
    if (h->open_handles > 0)
        return;
    if (h->flushing)
        return;
    void (*on_stopped)(void *) = h->on_stopped;
    void *data = h->stopped_data;
    log_ring_fini(&h->log);
    fsm_effects_fini(&h->effects);
    pr_free(h->dir);
    pr_free(h->flush_path);
    pr_free(h);
    if (on_stopped != NULL)
        on_stopped(data);
}

static void on_handle_closed(uv_handle_t *handle)
{
    struct raft_host *h = handle->data;
    h->open_handles--;
    raft_host_maybe_stopped(h);
}

static void on_raft_closed(struct raft *r)
{
    struct raft_host *h = r->data;
    raft_uv_close(&h->io);
    h->raft_open = false;
    uv_close((uv_handle_t *)&h->prepare, on_handle_closed);
    uv_close((uv_handle_t *)&h->idle, on_handle_closed);
    uv_close((uv_handle_t *)&h->timer, on_handle_closed);
}

static void begin_stop(struct raft_host *h)
{
    h->closing = true;
    uv_prepare_stop(&h->prepare);
    uv_idle_stop(&h->idle);
    uv_timer_stop(&h->timer);
    drop_waiting(h);
    raft_compact_stop(h);
    raft_close(&h->raft, on_raft_closed);
}

/* Inside one of libraft's callbacks raft_close would pull the ground from under it: the next turn does it then. */
void raft_host_stop(struct raft_host *h, void (*on_stopped)(void *data), void *data)
{
    if (h->stopping)
        return;
    h->stopping = true;
    h->on_stopped = on_stopped;
    h->stopped_data = data;
    if (h->calls == 0)
        begin_stop(h);
    else
        wake(h);
}

/* ----------------------------------------------------------------------------------------------------------- start */

static int make_directory(const char *path, struct pr_buf *reterr)
{
    if (mkdir(path, 0700) == 0 || errno == EEXIST)
        return 0;
    pr_buf_printf(reterr, "cannot make directory %s: %s", path, strerror(errno));
    return PR_EIO;
}

/* Before libraft touches the log: it removes or cuts what it cannot read. */
static int check_log(struct raft_host *h, bool *ret_empty, struct pr_buf *reterr)
{
    struct seglog_report report;
    int err = seglog_check(h->dir, fsm_applied(h->fsm), &report, reterr);
    if (err != 0)
        return err;
    if (report.torn)
        raft_host_notice(h, "%s", pr_buf_cstr(&report.text));
    *ret_empty = report.empty;
    seglog_report_fini(&report);
    if (*ret_empty)
        err = seglog_clear(h->dir);
    if (err != 0)
        pr_buf_printf(reterr, "cannot clear the remains of an unfinished start from %s", h->dir);
    return err;
}

static void init_handles(struct raft_host *h)
{
    uv_prepare_init(h->loop, &h->prepare);
    uv_idle_init(h->loop, &h->idle);
    uv_timer_init(h->loop, &h->timer);
    h->prepare.data = h->idle.data = h->timer.data = h;
    h->open_handles = 3;
}

static int init_raft(struct raft_host *h, struct pr_buf *reterr)
{
    const struct raft_host_settings *s = &h->settings;
    raft_hooks_transport(h);
    raft_machine_init(h);
    int rv = raft_uv_init(&h->io, h->loop, h->dir, &h->transport);
    if (rv != 0) {
        pr_buf_printf(reterr, "cannot use the log directory %s: %s", h->dir, h->io.errmsg);
        return PR_EIO;
    }
    char address[32];
    (void)snprintf(address, sizeof address, "%" PRIu64, s->node_id);
    raft_hooks_install(h);
    rv = raft_init(&h->raft, &h->io, &h->machine, s->node_id, address);
    if (rv != 0) {
        pr_buf_printf(reterr, "cannot use the log directory %s: %s", h->dir, h->io.errmsg);
        raft_uv_close(&h->io);
        return PR_EIO;
    }
    h->raft.data = h;
    /* Its tracers format every message into static buffers, which threads would share. */
    h->raft.tracer = NULL;
    raft_uv_set_tracer(&h->io, NULL);
    raft_uv_set_segment_size(&h->io, s->segment_bytes);
    raft_uv_set_disk_retry(&h->io, s->disk_retry_ms);
    raft_uv_set_auto_recovery(&h->io, false);
    raft_set_election_timeout(&h->raft, s->election_timeout_ms);
    raft_set_heartbeat_timeout(&h->raft, s->heartbeat_ms);
    raft_set_pre_vote(&h->raft, true);
    raft_set_install_snapshot_timeout(&h->raft, 60 * 1000);
    raft_set_max_inflight_entries(&h->raft, s->max_inflight);
    raft_set_capacity_threshold(&h->raft, (unsigned short)s->capacity_threshold_kb);
    raft_set_snapshot_threshold(&h->raft, 1U << 30);
    raft_set_snapshot_trailing(&h->raft, 1U << 30);
    return 0;
}

static int bootstrap(struct raft_host *h, struct pr_buf *reterr)
{
    struct raft_configuration members;
    raft_configuration_init(&members);
    int rv = raft_configuration_add(&members, h->raft.id, h->raft.address, RAFT_VOTER);
    if (rv == 0)
        rv = raft_bootstrap(&h->raft, &members);
    raft_configuration_close(&members);
    if (rv == 0)
        return 0;
    pr_buf_printf(reterr, "cannot make a new log in %s: %s", h->dir, raft_errmsg(&h->raft));
    return PR_EIO;
}

static int start_raft(struct raft_host *h, bool empty, struct pr_buf *reterr)
{
    int err = empty ? bootstrap(h, reterr) : 0;
    if (err != 0)
        return err;
    h->start_error = reterr;
    h->calls++;
    int rv = raft_start(&h->raft);
    h->calls--;
    h->start_error = NULL;
    if (rv == 0 && !h->dead)
        return 0;
    if (reterr->len == 0)
        pr_buf_printf(reterr, "cannot start the log in %s: %s", h->dir, raft_errmsg(&h->raft));
    return PR_ECORRUPT;
}

static void on_aborted(void *data)
{
    *(bool *)data = true;
}

/* A start that failed half way: libraft's handles close on the loop only. */
static void abort_start(struct raft_host *h)
{
    bool done = false;
    uv_loop_t *loop = h->loop;
    raft_host_stop(h, on_aborted, &done);
    while (!done)
        uv_run(loop, UV_RUN_ONCE);
}

static struct raft_host *host_new(const struct raft_host_config *c)
{
    struct raft_host *h = pr_new(struct raft_host);
    h->loop = c->loop;
    h->fsm = c->fsm;
    h->settings = c->settings;
    h->callbacks = c->callbacks;
    h->link = c->link;
    h->dir = pr_strdup(c->dir);
    struct pr_buf path = {0};
    pr_buf_printf(&path, "%s/flush", c->flush_dir);
    h->flush_path = pr_buf_steal(&path, NULL);
    pr_list_init(&h->waiting);
    pr_list_init(&h->proposals);
    pr_list_init(&h->unsent);
    return h;
}

static void host_free(struct raft_host *h)
{
    pr_free(h->dir);
    pr_free(h->flush_path);
    pr_free(h);
}

int raft_host_start(const struct raft_host_config *config, struct raft_host **ret_host, struct pr_buf *reterr)
{
    struct raft_host *h = host_new(config);
    bool empty = false;
    int err = make_directory(config->dir, reterr);
    if (err == 0)
        err = make_directory(config->flush_dir, reterr);
    if (err == 0)
        err = check_log(h, &empty, reterr);
    if (err == 0)
        err = fsm_durable(h->fsm, &h->durable);
    if (err == 0)
        err = init_raft(h, reterr);
    if (err != 0) {
        host_free(h);
        return err;
    }
    h->raft_open = true;
    init_handles(h);
    err = start_raft(h, empty, reterr);
    if (err != 0) {
        abort_start(h);
        return err;
    }
    uv_prepare_start(&h->prepare, on_turn);
    uv_timer_start(&h->timer, on_watch, WATCH_MS, WATCH_MS);
    wake(h);
    *ret_host = h;
    return 0;
}
