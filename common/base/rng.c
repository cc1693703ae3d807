#include "common/base/rng.h"

#include <string.h>

#include "common/base/assert.h"

static uint64_t splitmix(uint64_t *x)
{
    uint64_t z = *x += 0x9e3779b97f4a7c15ULL;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ z >> 27) * 0x94d049bb133111ebULL;
    return z ^ z >> 31;
}

void pr_rng_init(struct pr_rng *r, uint64_t seed)
{
    for (int i = 0; i < 4; i++)
        r->s[i] = splitmix(&seed);
}

static uint64_t rotl(uint64_t v, int k)
{
    return v << k | v >> (64 - k);
}

uint64_t pr_rng_next(struct pr_rng *r)
{
    uint64_t result = rotl(r->s[1] * 5, 7) * 9, t = r->s[1] << 17;
    r->s[2] ^= r->s[0];
    r->s[3] ^= r->s[1];
    r->s[1] ^= r->s[2];
    r->s[0] ^= r->s[3];
    r->s[2] ^= t;
    r->s[3] = rotl(r->s[3], 45);
    return result;
}

uint64_t pr_rng_below(struct pr_rng *r, uint64_t n)
{
    pr_assert(n > 0);
    return (uint64_t)((__uint128_t)pr_rng_next(r) * n >> 64);
}

uint64_t pr_rng_jitter(struct pr_rng *r, uint64_t base, unsigned percent)
{
    uint64_t span = base * percent / 100;
    return span == 0 ? base : base - span + pr_rng_below(r, 2 * span + 1);
}

void pr_rng_fill(struct pr_rng *r, void *out, size_t n)
{
    char *p = out;
    while (n > 0) {
        uint64_t v = pr_rng_next(r);
        size_t k = n < sizeof v ? n : sizeof v;
        memcpy(p, &v, k);
        p += k;
        n -= k;
    }
}
