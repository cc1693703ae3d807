/* kv_mem.h - the memory twin: reference for the conformance suite, and the store of tests and simulations.
 * Nothing survives; "durable" is what the last checkpoint saw, as with RocksDB without automatic flushes. */
#ifndef PR_STORE_KV_MEM_H
#define PR_STORE_KV_MEM_H

#include "common/store/kv.h"

struct kv *kv_mem_new(void);
/* A crash: everything since the last checkpoint is forgotten. */
void kv_mem_crash(struct kv *kv);
/* Breaches of the single-delete rules seen so far (a key put twice, a double or wrong kind of delete). */
uint64_t kv_mem_violations(const struct kv *kv);

#endif
