/* clock.h - reading the clocks; only shells do it, cores are told the time. Thread: any. */
#ifndef PR_NET_CLOCK_H
#define PR_NET_CLOCK_H

#include <stddef.h>

#include "common/base/clock.h"

struct pr_now pr_clock_now(void);
/* Microseconds of the same monotonic clock as pr_now.mono: durations in metrics. */
uint64_t pr_clock_us(void);
/* Random seed from the kernel. */
uint64_t pr_random_seed(void);
/* Cryptographic random bytes (tokens, ids); aborts if the kernel has none. */
void pr_random_bytes(void *out, size_t n);

#endif
