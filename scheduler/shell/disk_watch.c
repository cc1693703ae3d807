/* Intake stops (452) long before the disk is full, because the store aborts there; below the floor the node stops cleanly. */
#include <sys/statvfs.h>

#include "common/store/kv.h"
#include "common/store/stage.h"
#include "scheduler/shell/metrics.h"
#include "scheduler/shell/node.h"

enum { ADMIT = 0, REFUSE_BUSY = 3, REFUSE_FULL = 4 };

static unsigned level_of(struct node *n, bool stalled)
{
    if (n->free_bytes < n->config->queue.free_space_low)
        return REFUSE_FULL;
    return stalled ? REFUSE_BUSY : ADMIT;
}

void node_watch_disk(struct node *n)
{
    struct statvfs fs;
    uint64_t used = 0, debt = 0;
    bool stalled = false;
    if (statvfs(n->config->data_dir, &fs) == 0)
        n->free_bytes = (uint64_t)fs.f_bavail * fs.f_frsize;
    for (uint32_t i = 0; i < n->n_shards; i++) {
        struct kv *kv = stage_kv(shard_stage(n->shards[i]));
        used += kv->ops->property(kv, KV_PROP_DISK_BYTES);
        debt += kv->ops->property(kv, KV_PROP_COMPACTION_DEBT);
        stalled = stalled || kv->ops->property(kv, KV_PROP_WRITE_STOPPED) != 0;
    }
    pr_metric_set(n->metrics, SM_STORAGE_BYTES, 0, 0, 0, (int64_t)used);
    pr_metric_set(n->metrics, SM_STORAGE_BYTES, 3, 0, 0, (int64_t)n->free_bytes);
    pr_metric_set(n->metrics, SM_STORAGE_DEBT, 0, 0, 0, (int64_t)debt);
    pr_metric_set(n->metrics, SM_STORAGE_STALL, 0, 0, 0, stalled);
    unsigned level = level_of(n, stalled);
    if (level != n->admission)
        pr_warn(n->log, "admission", PR_U("level", level), PR_U("free_bytes", n->free_bytes),
                PR_S("hint", level == REFUSE_FULL ? "mail is refused with 452 until space is freed" : ""));
    n->admission = level;
    for (uint32_t i = 0; i < n->n_shards; i++)
        shard_set_admission(n->shards[i], level);
}
