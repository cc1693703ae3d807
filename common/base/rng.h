/* rng.h - seeded generator (xoshiro256**). Not for secrets. Same seed, same sequence: simulations replay. */
#ifndef PR_BASE_RNG_H
#define PR_BASE_RNG_H

#include <stddef.h>
#include <stdint.h>

struct pr_rng {
    uint64_t s[4];
};

void pr_rng_init(struct pr_rng *r, uint64_t seed);
uint64_t pr_rng_next(struct pr_rng *r);
/* Uniform in [0, n); n > 0. */
uint64_t pr_rng_below(struct pr_rng *r, uint64_t n);
/* base * U(1 - percent/100, 1 + percent/100). */
uint64_t pr_rng_jitter(struct pr_rng *r, uint64_t base, unsigned percent);
void pr_rng_fill(struct pr_rng *r, void *out, size_t n);

#endif
