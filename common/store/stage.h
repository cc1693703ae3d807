/* stage.h - the write-back stage between the state machine and a kv store.
 *
 * Applied entries change the stage only: an ordered table in memory per column family, holding what differs from the
 * store. A row that is put and removed before the next spill costs the store nothing at all, which is the common life
 * of mail that is delivered at once. stage_spill writes the whole difference as one atomic batch; the caller puts the
 * applied index into the stage right before, so the store always is the exact state after some entry. What is lost with
 * the memory is in the Raft log and is applied again.
 *
 * Why not leave this to RocksDB's memtable: an operation there costs 4-6 us with Debian's build, and mail needs about
 * 13 of them from acceptance to removal; here it is a fraction of a microsecond, and reads of young mail need no
 * library call.
 *
 * Owns: the difference. Borrows: the kv for its lifetime.
 * Thread: changes from the owner thread only. Every call but open and free happens with the lock held (stage_lock,
 * stage_unlock): the owner's for one entry, so that readers see all of it or nothing; other threads' briefly.
 * Errors: those of kv; from stage_spill they are fatal. */
#ifndef PR_STORE_STAGE_H
#define PR_STORE_STAGE_H

#include <stdbool.h>

#include "common/store/kv.h"

struct stage;
struct stage_iter;

/* Families that are held in memory whole (leases, flows, gate, meta: small, and asked for rows that are not there):
 * reads of them never reach the store. Loading them is what can fail here. */
PR_MUST_USE int stage_open(struct kv *kv, struct stage **ret_stage);
/* Drops what was not spilled. NULL is a no-op. */
void stage_free(struct stage *s);
struct kv *stage_kv(struct stage *s);

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

/* *ret_value is borrowed until the next change of that key, the next spill, or the next stage_get of an unstaged row.
 * PR_ENOTFOUND. Rows of msg and rcpt are kept until the next spill, because whoever asks once asks again soon. */
PR_MUST_USE int stage_get(struct stage *s, enum kv_cf cf, struct pr_slice key, struct pr_slice *ret_value);
/* As stage_get, without keeping the row in memory: for readers that pass through many. */
PR_MUST_USE int stage_peek(struct stage *s, enum kv_cf cf, struct pr_slice key, struct pr_slice *ret_value);

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
/* What the next spill would empty; the resident families do not count. */
size_t stage_bytes(const struct stage *s);
size_t stage_rows(const struct stage *s);

/* Hash over all rows of the merged view, for comparing replicas. */
PR_MUST_USE int stage_hash(struct stage *s, uint64_t *ret_hash);

#endif
