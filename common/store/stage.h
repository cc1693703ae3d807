/* stage.h - the write-back stage between the state machine and a kv store.
 *
 * Applied entries change the stage only: an ordered table in memory per column family, holding what differs from the
 * store. A row that is put and removed before the next spill costs the store nothing at all, which is the common life of
 * mail that is delivered at once. stage_spill writes the whole difference as one atomic batch; the caller puts the applied
 * index into the stage right before, so the store always is the exact state after some entry. What is lost with the
 * memory is in the Raft log and is applied again.
 *
 * Why not leave this to RocksDB's memtable: an operation there costs 4-6 us with Debian's build, and mail needs about 13
 * of them from acceptance to removal; here it is a fraction of a microsecond, and reads of young mail need no library
 * call.
 *
 * Owns: the difference. Borrows: the kv for its lifetime.
 * Thread: changes, spill and reads without a lock from the owner thread only. Any other thread reads between stage_lock
 * and stage_unlock, briefly; the owner takes the same lock for each change (stage_begin, stage_end).
 * Errors: those of kv; from stage_spill they are fatal. */
#ifndef PR_STORE_STAGE_H
#define PR_STORE_STAGE_H

#include <stdbool.h>

#include "common/store/kv.h"

struct stage;
struct stage_iter;

struct stage *stage_new(struct kv *kv);
/* Drops what was not spilled. NULL is a no-op. */
void stage_free(struct stage *s);
struct kv *stage_kv(struct stage *s);

/* A group of changes that readers on other threads see as one. */
void stage_begin(struct stage *s);
void stage_end(struct stage *s);
void stage_lock(struct stage *s);
void stage_unlock(struct stage *s);

/* `insert`: the caller knows that the key is absent now (and, in single-delete families, that it was never there).
 * `put`: the key may exist. `remove`: the key exists now; which kind of delete follows from the family. */
void stage_insert(struct stage *s, enum kv_cf cf, struct pr_slice key, struct pr_slice value);
/* As insert; the value's bytes are filled in by the caller through the returned pointer before the next call. */
char *stage_insert_space(struct stage *s, enum kv_cf cf, struct pr_slice key, size_t value_len);
void stage_put(struct stage *s, enum kv_cf cf, struct pr_slice key, struct pr_slice value);
void stage_remove(struct stage *s, enum kv_cf cf, struct pr_slice key);
/* [from, to). Only for keys nobody will read or insert again. */
void stage_remove_range(struct stage *s, enum kv_cf cf, struct pr_slice from, struct pr_slice to);

/* *ret_value is borrowed until the next change of that key, or until the next stage_get of an unstaged row. PR_ENOTFOUND. */
PR_MUST_USE int stage_get(struct stage *s, enum kv_cf cf, struct pr_slice key, struct pr_slice *ret_value);
/* Copy; the form for other threads (under the lock). */
PR_MUST_USE int stage_read(struct stage *s, enum kv_cf cf, struct pr_slice key, struct pr_buf *out);

/* Merged view of [lower, upper); empty upper: no bound. Invalid after any change, and after stage_unlock. */
struct stage_iter *stage_iter_new(struct stage *s, enum kv_cf cf, struct pr_slice lower, struct pr_slice upper);
void stage_iter_free(struct stage_iter *it);
bool stage_iter_valid(const struct stage_iter *it);
void stage_iter_next(struct stage_iter *it);
struct pr_slice stage_iter_key(const struct stage_iter *it);
struct pr_slice stage_iter_value(const struct stage_iter *it);
PR_MUST_USE int stage_iter_error(const struct stage_iter *it);

/* Writes everything staged as one batch and empties the stage. */
PR_MUST_USE int stage_spill(struct stage *s);
size_t stage_bytes(const struct stage *s);
size_t stage_rows(const struct stage *s);

/* Hash over all rows of the merged view, for comparing replicas. Skips the given family's rows if skip_cf >= 0. */
PR_MUST_USE int stage_hash(struct stage *s, uint64_t *ret_hash);

#endif
