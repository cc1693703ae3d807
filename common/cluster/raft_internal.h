/* raft_internal.h - shared by the raft_*.c files; with them the only place that sees libraft.
 *
 *   raft_host.c      lifecycle, proposals, leadership
 *   raft_hooks.c     what is put between libraft and its disk backend, and the replaced network
 *   raft_machine.c   libraft's view of the state machine: apply, manifest snapshots, restore, load
 *   raft_flush.c     bringing RocksDB up to date so that the log can be shortened
 *   raft_compact.c   getting the bodies of finished mail off the disk
 *   raft_ring.c      sizes and terms of the entries in memory */
#ifndef PR_CLUSTER_RAFT_INTERNAL_H
#define PR_CLUSTER_RAFT_INTERNAL_H

#include <raft.h>
#include <raft/uv.h>
#include <stdatomic.h>
#include <uv.h>

#if RAFT_VERSION_NUMBER < 2200
#error "libraft 0.22 or later is needed: older ones can lose committed entries"
#endif

#include "common/base/list.h"
#include "common/cluster/raft_host.h"

/* What is known of the entries that libraft keeps in memory: one slot per index, a ring. */
struct log_slot {
    uint32_t bytes;
    uint64_t term;
};
struct log_ring {
    struct log_slot *slots; /* cap, a power of two */
    size_t cap;
    uint64_t first, next; /* indexes [first, next) are known */
    uint64_t bytes;
};
void log_ring_fini(struct log_ring *r);
/* Empties it; the next push is for index `next`. */
void log_ring_reset(struct log_ring *r, uint64_t next);
void log_ring_push(struct log_ring *r, uint32_t bytes, uint64_t term);
/* Drops what is at or above / below index. */
void log_ring_truncate(struct log_ring *r, uint64_t index);
void log_ring_trim(struct log_ring *r, uint64_t index);
/* 0 when unknown. */
uint64_t log_ring_term(const struct log_ring *r, uint64_t index);
/* Number of entries at the end that are worth at most `bytes` (at least 1). */
uint64_t log_ring_worth(const struct log_ring *r, uint64_t bytes);

/* A proposal on its way. */
struct proposal {
    struct pr_list link; /* in host->waiting or host->proposals */
    struct raft_apply req;
    struct raft_host *host;
    raft_host_done_fn on_done;
    void *data;
    struct raft_buffer buf; /* while waiting */
    uint32_t bytes;
    bool answered;
};

/* A message libraft gave us to send: completed from the loop, never inside the call. */
struct unsent {
    struct pr_list link;
    struct raft_io_send *req;
};

struct raft_host {
    struct raft raft;
    struct raft_io io;
    struct raft_io disk; /* the disk backend's own functions, as they were before ours were put in */
    struct raft_uv_transport transport;
    struct raft_fsm machine;
    uv_loop_t *loop;
    struct fsm *fsm;
    struct raft_host_settings settings;
    struct raft_host_callbacks callbacks;
    struct raft_link *link;
    char *dir, *flush_path;

    uv_prepare_t prepare; /* each turn of the loop: submit, complete, watch */
    uv_idle_t idle;       /* runs while something is to be done at once, so that the loop does not sleep on it */
    uv_timer_t timer;     /* once a second: a log volume that takes no writes */
    unsigned open_handles;

    struct pr_list waiting;   /* proposed inside a callback of libraft: submitted on the next turn */
    struct pr_list proposals; /* submitted, in order of index */
    uint32_t inflight;
    uint64_t inflight_bytes;
    struct pr_list unsent;
    struct log_ring log;
    struct fsm_effects effects;

    /* Leadership. */
    struct raft_barrier barrier;
    bool barrier_open; /* a barrier is on its way */
    uint64_t led_term; /* announced by on_leader, 0 when not */

    /* Flush and snapshot. */
    uv_work_t flush_work;
    bool flushing, flush_wanted, snapshot_wanted, snapshot_running;
    int flush_error;
    uint64_t flush_index;   /* applied when the flush began */
    uint64_t applied_bytes; /* since the last flush began */
    uint64_t durable;

    /* Compaction of bodies: a thread of its own, since it may take minutes. */
    uv_thread_t compact_thread;
    bool compacting;
    atomic_bool compacted; /* set by the thread when it is done */
    uint64_t compact_next_ms;

    /* Appends under way, to notice a stuck disk. */
    uint32_t appends;
    uint64_t append_progress_ms;
    bool stall_told;

    unsigned calls; /* inside libraft: no new call may be made */
    bool stopping; /* wanted: nothing new is taken */
    bool closing;  /* begun */
    bool raft_open, dead;
    struct pr_buf *start_error; /* during raft_host_start: where the first failure's text goes */
    void (*on_stopped)(void *data);
    void *stopped_data;
    struct raft_host_stats stats;
};

/* Reports once; everything afterwards is refused. */
void raft_host_fatal(struct raft_host *h, const char *fmt, ...) PR_PRINTF(2, 3);
void raft_host_notice(struct raft_host *h, const char *fmt, ...) PR_PRINTF(2, 3);
void raft_host_answer(struct proposal *p, int status, uint64_t index, const struct fsm_effects *effects);
void raft_host_maybe_stopped(struct raft_host *h);

/* raft_hooks.c */
void raft_hooks_transport(struct raft_host *h);
void raft_hooks_install(struct raft_host *h);
void raft_hooks_complete_sends(struct raft_host *h, int status);
/* libraft 0.22.1 crashes when it retries a failed write of the log: seen here first, it stops us in order. */
void raft_hooks_watch_disk(struct raft_host *h);

/* raft_machine.c */
void raft_machine_init(struct raft_host *h);
int raft_machine_load(struct raft_io *io, raft_term *term, raft_id *voted_for, struct raft_snapshot **snapshot,
                      raft_index *start_index, struct raft_entry *entries[], size_t *n_entries);

/* raft_compact.c. From the timer; and before closing. */
void raft_compact_maybe(struct raft_host *h);
void raft_compact_stop(struct raft_host *h);

/* raft_flush.c */
void raft_flush_maybe(struct raft_host *h);

#endif
