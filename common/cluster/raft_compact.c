/* raft_compact.c - bodies of finished mail do not leave the disk by themselves: BlobDB learns of a dead body only when
 * the table with its pointer is compacted, and those tables are too small to be compacted for their size. So disk use
 * is compared with what the queue holds, and when the dead outweigh the living, the body family is compacted by force.
 *
 * In a thread of its own, because it may take minutes and libuv's pool is also the log's. */
#include "common/cluster/raft_internal.h"
#include "common/store/stage.h"

enum { LOOK_MS = 60 * 1000, PAUSE_MS = 10 * 60 * 1000 };

static void compact(void *data)
{
    struct raft_host *h = data;
    struct kv *kv = stage_kv(fsm_stage(h->fsm));
    /* What did not work shows as disk use, and is tried again. */
    (void)kv->ops->compact_bodies(kv);
    atomic_store(&h->compacted, true);
}

static bool due(struct raft_host *h)
{
    struct kv *kv = stage_kv(fsm_stage(h->fsm));
    const struct fsm_counters *c = fsm_counters(h->fsm);
    uint64_t live = c->bytes + c->upload_bytes;
    return kv->ops->property(kv, KV_PROP_DISK_BYTES) > 2 * live + h->settings.dead_bytes;
}

void raft_compact_maybe(struct raft_host *h)
{
    uint64_t now = uv_now(h->loop);
    if (h->compacting && atomic_load(&h->compacted)) {
        (void)uv_thread_join(&h->compact_thread);
        h->compacting = false;
        h->compact_next_ms = now + PAUSE_MS;
    }
    if (h->compacting || now < h->compact_next_ms)
        return;
    h->compact_next_ms = now + LOOK_MS;
    if (!due(h))
        return;
    atomic_store(&h->compacted, false);
    h->compacting = uv_thread_create(&h->compact_thread, compact, h) == 0;
    h->stats.compactions += h->compacting;
}

void raft_compact_stop(struct raft_host *h)
{
    if (!h->compacting)
        return;
    struct kv *kv = stage_kv(fsm_stage(h->fsm));
    kv->ops->cancel_compaction(kv);
    (void)uv_thread_join(&h->compact_thread);
    h->compacting = false;
}
