/* slice.h - borrowed bytes (pointer, length) and the strict ASCII helpers that all parsers use.
 *
 * Owns: nothing. A slice borrows; the comment at each use says until when.
 * Thread: any, no state. Locale never matters here. */
#ifndef PR_BASE_SLICE_H
#define PR_BASE_SLICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "common/base/err.h"

struct pr_slice {
    const char *ptr; /* may be NULL when len is 0; not NUL-terminated */
    size_t len;
};

#define PR_SLICE_LIT(s) ((struct pr_slice){(s), sizeof(s) - 1})
/* For printf's %.*s */
#define PR_SLICE_ARG(s) (int)(s).len, (s).ptr == NULL ? "" : (s).ptr

static inline struct pr_slice pr_slice(const void *p, size_t n)
{
    return (struct pr_slice){(const char *)p, n};
}
static inline struct pr_slice pr_slice_str(const char *s)
{
    return (struct pr_slice){s, s == NULL ? 0 : strlen(s)};
}
static inline bool pr_slice_eq(struct pr_slice a, struct pr_slice b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}
static inline bool pr_slice_eq_str(struct pr_slice a, const char *s)
{
    return pr_slice_eq(a, pr_slice_str(s));
}
/* s without its first n bytes (n <= len). */
static inline struct pr_slice pr_slice_from(struct pr_slice s, size_t n)
{
    return (struct pr_slice){n == 0 ? s.ptr : s.ptr + n, s.len - n}; /* NULL + 0 is undefined */
}
static inline struct pr_slice pr_slice_head(struct pr_slice s, size_t n)
{
    return (struct pr_slice){s.ptr, n < s.len ? n : s.len};
}

static inline bool pr_is_digit(char c) { return c >= '0' && c <= '9'; }
static inline bool pr_is_alpha(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
static inline bool pr_is_alnum(char c) { return pr_is_alpha(c) || pr_is_digit(c); }
static inline bool pr_is_ctl(char c) { return (unsigned char)c < 0x20 || c == 0x7f; }
static inline char pr_lower(char c) { return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c; }
static inline char pr_upper(char c) { return c >= 'a' && c <= 'z' ? (char)(c - 32) : c; }

/* ASCII case-insensitive. */
bool pr_slice_ieq(struct pr_slice a, struct pr_slice b);
bool pr_slice_ieq_str(struct pr_slice a, const char *s);
bool pr_slice_starts(struct pr_slice s, struct pr_slice prefix);
bool pr_slice_istarts(struct pr_slice s, struct pr_slice prefix);
bool pr_slice_iends(struct pr_slice s, struct pr_slice suffix);
int pr_slice_cmp(struct pr_slice a, struct pr_slice b);
/* Position of c, or SIZE_MAX. */
size_t pr_slice_find(struct pr_slice s, char c);
size_t pr_slice_rfind(struct pr_slice s, char c);
/* Position of the byte string needle, or SIZE_MAX. */
size_t pr_slice_find_slice(struct pr_slice s, struct pr_slice needle);
/* Without spaces and tabs at both ends. */
struct pr_slice pr_slice_trim(struct pr_slice s);
/* Cuts s at the first sep: returns the part before, *rest the part after (empty with ptr NULL if there was no sep). */
struct pr_slice pr_slice_cut(struct pr_slice s, char sep, struct pr_slice *rest);

/* Strict unsigned decimal: 1*DIGIT, no sign, no space. PR_EPARSE or PR_ERANGE. */
PR_MUST_USE int pr_parse_u64(struct pr_slice s, uint64_t max, uint64_t *ret_value);
PR_MUST_USE int pr_parse_u32(struct pr_slice s, uint32_t max, uint32_t *ret_value);
/* Strict hexadecimal, 1*16 HEXDIG. */
PR_MUST_USE int pr_parse_hex64(struct pr_slice s, uint64_t *ret_value);
/* True for well-formed UTF-8 (RFC 3629): no overlong forms, no surrogates. */
bool pr_utf8_valid(struct pr_slice s);
bool pr_is_ascii(struct pr_slice s);
/* 64-bit hash (wyhash-like, seeded). Not cryptographic: seed it per process where peers choose the keys. */
uint64_t pr_hash(struct pr_slice s, uint64_t seed);
uint64_t pr_hash_u64(uint64_t v);
/* Constant-time comparison of equal-length secrets. */
bool pr_slice_eq_secret(struct pr_slice a, struct pr_slice b);

#endif
