#include "common/base/slice.h"

bool pr_slice_ieq(struct pr_slice a, struct pr_slice b)
{
    if (a.len != b.len)
        return false;
    for (size_t i = 0; i < a.len; i++)
        if (pr_lower(a.ptr[i]) != pr_lower(b.ptr[i]))
            return false;
    return true;
}

bool pr_slice_ieq_str(struct pr_slice a, const char *s)
{
    return pr_slice_ieq(a, pr_slice_str(s));
}

bool pr_slice_starts(struct pr_slice s, struct pr_slice prefix)
{
    return s.len >= prefix.len && pr_slice_eq(pr_slice_head(s, prefix.len), prefix);
}

bool pr_slice_istarts(struct pr_slice s, struct pr_slice prefix)
{
    return s.len >= prefix.len && pr_slice_ieq(pr_slice_head(s, prefix.len), prefix);
}

bool pr_slice_iends(struct pr_slice s, struct pr_slice suffix)
{
    return s.len >= suffix.len && pr_slice_ieq(pr_slice_from(s, s.len - suffix.len), suffix);
}

int pr_slice_cmp(struct pr_slice a, struct pr_slice b)
{
    size_t n = a.len < b.len ? a.len : b.len;
    int c = n == 0 ? 0 : memcmp(a.ptr, b.ptr, n);
    if (c != 0)
        return c;
    return (a.len > b.len) - (a.len < b.len);
}

size_t pr_slice_find(struct pr_slice s, char c)
{
    const char *p = s.len == 0 ? NULL : memchr(s.ptr, c, s.len);
    return p == NULL ? SIZE_MAX : (size_t)(p - s.ptr);
}

size_t pr_slice_rfind(struct pr_slice s, char c)
{
    for (size_t i = s.len; i > 0; i--)
        if (s.ptr[i - 1] == c)
            return i - 1;
    return SIZE_MAX;
}

size_t pr_slice_find_slice(struct pr_slice s, struct pr_slice needle)
{
    if (needle.len == 0)
        return 0;
    size_t at = 0;
    while (s.len - at >= needle.len) {
        const char *p = memchr(s.ptr + at, needle.ptr[0], s.len - at - needle.len + 1);
        if (p == NULL)
            return SIZE_MAX;
        at = (size_t)(p - s.ptr);
        if (memcmp(p, needle.ptr, needle.len) == 0)
            return at;
        at++;
    }
    return SIZE_MAX;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

struct pr_slice pr_slice_trim(struct pr_slice s)
{
    while (s.len > 0 && is_blank(s.ptr[0]))
        s = pr_slice_from(s, 1);
    while (s.len > 0 && is_blank(s.ptr[s.len - 1]))
        s.len--;
    return s;
}

struct pr_slice pr_slice_cut(struct pr_slice s, char sep, struct pr_slice *rest)
{
    size_t at = pr_slice_find(s, sep);
    if (at == SIZE_MAX) {
        *rest = (struct pr_slice){NULL, 0};
        return s;
    }
    *rest = pr_slice_from(s, at + 1);
    return pr_slice_head(s, at);
}

int pr_parse_u64(struct pr_slice s, uint64_t max, uint64_t *ret_value)
{
    uint64_t v = 0;
    if (s.len == 0)
        return PR_EPARSE;
    for (size_t i = 0; i < s.len; i++)
        if (!pr_is_digit(s.ptr[i]))
            return PR_EPARSE;
    for (size_t i = 0; i < s.len; i++) {
        uint64_t d = (uint64_t)(s.ptr[i] - '0');
        if (v > (UINT64_MAX - d) / 10)
            return PR_ERANGE;
        v = v * 10 + d;
    }
    if (v > max)
        return PR_ERANGE;
    *ret_value = v;
    return 0;
}

int pr_parse_u32(struct pr_slice s, uint32_t max, uint32_t *ret_value)
{
    uint64_t v;
    int rc = pr_parse_u64(s, max, &v);
    if (rc == 0)
        *ret_value = (uint32_t)v;
    return rc;
}

static int hex_digit(char c)
{
    if (pr_is_digit(c))
        return c - '0';
    c = pr_lower(c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int pr_parse_hex64(struct pr_slice s, uint64_t *ret_value)
{
    uint64_t v = 0;
    if (s.len == 0)
        return PR_EPARSE;
    if (s.len > 16)
        return PR_ERANGE;
    for (size_t i = 0; i < s.len; i++) {
        int d = hex_digit(s.ptr[i]);
        if (d < 0)
            return PR_EPARSE;
        v = v << 4 | (uint64_t)d;
    }
    *ret_value = v;
    return 0;
}

/* Length of the well-formed sequence at p, or 0 (RFC 3629 section 4). */
static size_t utf8_sequence(const unsigned char *p, size_t n)
{
    if (p[0] < 0x80)
        return 1;
    size_t len = p[0] >= 0xf0 ? 4 : p[0] >= 0xe0 ? 3 : 2;
    if (p[0] < 0xc2 || p[0] > 0xf4 || n < len)
        return 0;
    for (size_t i = 1; i < len; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) || (p[0] == 0xf0 && p[1] < 0x90) ||
        (p[0] == 0xf4 && p[1] > 0x8f))
        return 0;
    return len;
}

bool pr_utf8_valid(struct pr_slice s)
{
    const unsigned char *p = (const unsigned char *)s.ptr;
    for (size_t i = 0; i < s.len;) {
        size_t n = utf8_sequence(p + i, s.len - i);
        if (n == 0)
            return false;
        i += n;
    }
    return true;
}

bool pr_is_ascii(struct pr_slice s)
{
    for (size_t i = 0; i < s.len; i++)
        if ((unsigned char)s.ptr[i] >= 0x80)
            return false;
    return true;
}

static uint64_t mix(uint64_t a, uint64_t b)
{
    __uint128_t r = (__uint128_t)a * b;
    return (uint64_t)r ^ (uint64_t)(r >> 64);
}

static uint64_t load(const char *p, size_t n)
{
    uint64_t v = 0;
    memcpy(&v, p, n);
    return v;
}

uint64_t pr_hash(struct pr_slice s, uint64_t seed)
{
    const uint64_t k0 = 0xa0761d6478bd642fULL, k1 = 0xe7037ed1a0b428dbULL;
    uint64_t h = seed ^ k0;
    size_t i = 0;
    for (; s.len - i >= 16; i += 16)
        h = mix(load(s.ptr + i, 8) ^ k1, load(s.ptr + i + 8, 8) ^ h);
    uint64_t a = 0, b = 0;
    size_t left = s.len - i;
    if (left > 8) {
        a = load(s.ptr + i, 8);
        b = load(s.ptr + i + 8, left - 8);
    } else if (left > 0) {
        a = load(s.ptr + i, left);
    }
    return mix(k1 ^ s.len, mix(a ^ k1, b ^ h));
}

uint64_t pr_hash_u64(uint64_t v)
{
    return mix(v ^ 0x9e3779b97f4a7c15ULL, 0xe7037ed1a0b428dbULL);
}

bool pr_slice_eq_secret(struct pr_slice a, struct pr_slice b)
{
    unsigned char diff = 0;
    if (a.len != b.len)
        return false;
    for (size_t i = 0; i < a.len; i++)
        diff = (unsigned char)(diff | (a.ptr[i] ^ b.ptr[i]));
    return diff == 0;
}
