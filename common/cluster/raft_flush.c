/* raft_flush.c - RocksDB catches up, so that the log can be shortened.
 *
 *   1. enough was applied: the stage is spilled (loop thread, memory to memory);
 *   2. a checkpoint is made and dropped in the thread pool: the only way to flush all families as one;
 *   3. the durable index is read back from what reached the disk, never assumed;
 *   4. libraft is asked for a snapshot at its next event; the manifest keeps the entries above the durable index.
 *
 * A failed flush stops the process: what RocksDB has in memory can no longer be trusted to reach the disk. */
#include "common/base/assert.h"
#include "common/cluster/raft_internal.h"
#include "common/store/stage.h"

static void flush_work(uv_work_t *work)
{
    struct raft_host *h = work->data;
    struct kv *kv = stage_kv(fsm_stage(h->fsm));
    h->flush_error = kv_remove_directory(h->flush_path); /* of a process that died here */
    if (h->flush_error == 0)
        h->flush_error = kv->ops->checkpoint(kv, h->flush_path);
    if (h->flush_error == 0)
        h->flush_error = kv_remove_directory(h->flush_path);
}

static void flush_done(uv_work_t *work, int status)
{
    struct raft_host *h = work->data;
    h->flushing = false;
    if (h->stopping) {
        raft_host_maybe_stopped(h);
        return;
    }
    if (status != 0 || h->flush_error != 0) {
        raft_host_fatal(h, "cannot flush the queue database: %s %s", pr_strerror(status != 0 ? PR_EIO : h->flush_error),
                        kv_error(stage_kv(fsm_stage(h->fsm))));
        return;
    }
    int err = fsm_durable(h->fsm, &h->durable);
    if (err != 0 || h->durable < h->flush_index) {
        raft_host_fatal(h, "the queue database holds log index %llu after a flush at %llu",
                        (unsigned long long)h->durable, (unsigned long long)h->flush_index);
        return;
    }
    h->stats.flushes++;
    h->snapshot_wanted = true;
    raft_set_snapshot_threshold(&h->raft, 1);
}

void raft_flush_maybe(struct raft_host *h)
{
    bool due = h->flush_wanted || h->applied_bytes >= h->settings.flush_bytes;
    if (!due || h->flushing || h->snapshot_wanted || h->snapshot_running || h->stopping || h->dead)
        return;
    h->flush_wanted = false;
    h->applied_bytes = 0;
    h->flush_index = fsm_applied(h->fsm);
    if (h->flush_index <= h->durable)
        return;
    if (fsm_spill(h->fsm) != 0) {
        raft_host_fatal(h, "%s", fsm_error(h->fsm));
        return;
    }
    h->flush_work.data = h;
    h->flushing = true;
    int rv = uv_queue_work(h->loop, &h->flush_work, flush_work, flush_done);
    pr_assert(rv == 0);
}
