/* dot_scan.h - internal to common/mail: the one hot loop of message bytes, sixteen at a time where the machine can.
 *
 * Ordinary text is looked at once, here, and copied once, in long runs. Thread: any, no state. */
#ifndef PR_MAIL_DOT_SCAN_H
#define PR_MAIL_DOT_SCAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

static inline bool dot_is_special(char c) { return c == '\r' || c == '\n' || c == '\0'; }

#ifdef __SSE2__

enum { DOT_SCAN_STEP = 16 };

/* Bit i is set when byte i of the block is CR, LF or NUL; *ret_high likewise for bytes >= 0x80. */
static inline unsigned dot_scan_block(const char *p, unsigned *ret_high)
{
    __m128i v = _mm_loadu_si128((const __m128i *)(const void *)p);
    __m128i special =
        _mm_or_si128(_mm_or_si128(_mm_cmpeq_epi8(v, _mm_set1_epi8('\r')), _mm_cmpeq_epi8(v, _mm_set1_epi8('\n'))),
                     _mm_cmpeq_epi8(v, _mm_setzero_si128()));
    *ret_high = (unsigned)_mm_movemask_epi8(v);
    return (unsigned)_mm_movemask_epi8(special);
}

#else

enum { DOT_SCAN_STEP = 8 };

/* High bit of each byte that is zero in v, exact for the lowest one; higher ones may be false, which costs nothing
 * because only the lowest is used. */
static inline uint64_t dot_zero_bytes(uint64_t v) { return (v - 0x0101010101010101ULL) & ~v & 0x8080808080808080ULL; }

/* One bit per byte from one high bit per byte. */
static inline unsigned dot_gather(uint64_t high_bits)
{
    return (unsigned)(((high_bits >> 7) * 0x0102040810204080ULL) >> 56);
}

static inline unsigned dot_scan_block(const char *p, unsigned *ret_high)
{
    const uint64_t ones = 0x0101010101010101ULL;
    uint64_t v = 0;
    for (size_t i = 0; i < DOT_SCAN_STEP; i++)
        v |= (uint64_t)(unsigned char)p[i] << (8 * i);
    uint64_t special = dot_zero_bytes(v) | dot_zero_bytes(v ^ ones * '\r') | dot_zero_bytes(v ^ ones * '\n');
    *ret_high = dot_gather(v & 0x8080808080808080ULL);
    return dot_gather(special);
}

#endif

/* Octets before the first CR, LF or NUL in p[0..n), n if there is none. *high is set when one of them is >= 0x80. */
static inline size_t dot_scan(const char *p, size_t n, bool *high)
{
    size_t i = 0;
    for (; n - i >= DOT_SCAN_STEP; i += DOT_SCAN_STEP) {
        unsigned high_mask;
        unsigned special = dot_scan_block(p + i, &high_mask);
        if (special != 0) {
            unsigned at = (unsigned)__builtin_ctz(special);
            if ((high_mask & ((1u << at) - 1)) != 0)
                *high = true;
            return i + at;
        }
        if (high_mask != 0)
            *high = true;
    }
    for (; i < n && !dot_is_special(p[i]); i++)
        if ((unsigned char)p[i] >= 0x80)
            *high = true;
    return i;
}

#endif
