/* raft_host.h - one Raft group (libraft) over one state machine, on one loop.
 *
 * Proposals are entries of command.h; each is answered exactly once: with its effects after commit and apply, or with
 * an error. The state itself is in the fsm's store; libraft's snapshots are small manifests. Every error that could
 * make memory and disk differ ends in on_fatal: the owner must stop the process, nothing more is acknowledged.
 *
 * Owns: struct raft, its disk backend, the log directory. Borrows: loop and fsm, until on_stopped.
 * Thread: the loop's. Flushes run in the thread pool and touch only the kv.
 * Reentrancy: callbacks may propose; they must not stop and free in one breath (stop is asynchronous). */
#ifndef PR_CLUSTER_RAFT_HOST_H
#define PR_CLUSTER_RAFT_HOST_H

#include <stdbool.h>
#include <stdint.h>

#include "common/cluster/fsm.h"

struct uv_loop_s;
struct raft_host;

struct raft_host_settings {
    uint64_t node_id;              /* raft id, > 0, never reused after losing a directory */
    uint32_t election_timeout_ms;  /* 100..60000 */
    uint32_t heartbeat_ms;         /* 10..election/2 */
    uint64_t segment_bytes;        /* 1..20 MB, whole MB: three of them must fit libraft's capacity counter */
    uint32_t max_inflight;         /* 1..256 entries */
    uint32_t disk_retry_ms;        /* 10..60000 */
    uint64_t flush_bytes;          /* applied bytes between two flushes, 1 MB..1 GB; held in memory by libraft */
    uint64_t trailing_bytes;       /* log kept behind a snapshot, 1 MB..1 GB; held in memory too */
    uint64_t dead_bytes; /* disk used beyond twice the live mail before bodies are compacted, 1 MB..1 TB */
    uint32_t capacity_threshold_kb; /* free preallocated log space below which proposals get PR_ENOSPC */
};
void raft_host_settings_default(struct raft_host_settings *s);
/* PR_ERANGE with the name of the field. */
PR_MUST_USE int raft_host_settings_check(const struct raft_host_settings *s, const char **reterr_field);

struct raft_host_callbacks {
    void *data;
    /* This node leads and its barrier has been applied: ids, leases and rows may be read and work dispatched. */
    void (*on_leader)(void *data, uint64_t term);
    /* Leadership lost; open proposals have been or are being answered PR_EUNKNOWN. */
    void (*on_follower)(void *data);
    /* The process must stop; text says what happened, where, and what to do. Called at most once. After a failed
     * write of the log the process ends two seconds after this returns: libraft 0.22.1 cannot go on from there. */
    void (*on_fatal)(void *data, const char *text);
    /* Degraded or noteworthy, once per fact. May be NULL. */
    void (*on_notice)(void *data, const char *text);
};

/* How messages reach other members; NULL: none (one voter). Frames are opaque to the link. */
struct raft_link {
    void *data;
    /* Copies the frame or drops it; never blocks, never fails. */
    void (*send)(void *data, uint64_t to_node, struct pr_slice frame);
};

struct raft_host_config {
    struct uv_loop_s *loop;
    const char *dir;       /* of the log; made if missing */
    const char *flush_dir; /* scratch for flush checkpoints, same filesystem as the kv's directory; made if missing */
    struct fsm *fsm;
    struct raft_host_settings settings;
    struct raft_host_callbacks callbacks;
    struct raft_link *link;
};

/* Checks the log (seglog.h), loads and replays it. A new directory is bootstrapped with this node as the only voter.
 * A one-voter group leads at once: on_leader comes soon after, from the loop.
 * On failure nothing is left running and *reterr says which file, offset and index, and what to do. */
PR_MUST_USE int raft_host_start(const struct raft_host_config *config, struct raft_host **ret_host,
                                struct pr_buf *reterr);
/* Flushes nothing that is not needed: the log has it all. on_stopped is the last callback; the host is freed after
 * it. */
void raft_host_stop(struct raft_host *h, void (*on_stopped)(void *data), void *data);

/* status: 0 committed and applied (effects valid during the call); PR_EUNKNOWN: leadership lost or stopping: the entry
 * may or may not still be committed; PR_EIO before on_fatal. */
typedef void (*raft_host_done_fn)(void *data, int status, uint64_t index, const struct fsm_effects *effects);
/* Copies the entry. PR_ENOTLEADER, PR_ENOSPC, PR_ECLOSED, PR_ETOOBIG: not proposed, on_done is not called. */
PR_MUST_USE int raft_host_propose(struct raft_host *h, struct pr_slice entry, raft_host_done_fn on_done, void *data);
/* Proposed and not yet answered: gather more while this is at the limit of your choice (1..4 is best). */
uint32_t raft_host_inflight(const struct raft_host *h);

bool raft_host_is_leader(const struct raft_host *h);
uint64_t raft_host_term(const struct raft_host *h);

struct raft_host_stats {
    uint64_t term, last_index, commit_index, applied_index, durable_index;
    uint64_t log_bytes; /* entries kept in memory */
    uint64_t appended_bytes, applied_entries, flushes, snapshots;
    uint64_t inflight_bytes;
    uint64_t compactions; /* of bodies, begun */
};
void raft_host_stats(const struct raft_host *h, struct raft_host_stats *ret);
/* Starts a flush now (for an orderly stop, or to shorten the next start). No-op when one runs. */
void raft_host_flush(struct raft_host *h);

#endif
