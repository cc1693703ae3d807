/* buf.h - the one growable byte buffer.
 *
 * Owns: its bytes. Thread: one at a time. Errors: none; callers bound what a peer can make it hold.
 * A zeroed struct is a valid empty buffer. */
#ifndef PR_BASE_BUF_H
#define PR_BASE_BUF_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"
#include "common/base/slice.h"

struct pr_buf {
    char *ptr;
    size_t len;
    size_t cap;
};

void pr_buf_init(struct pr_buf *b);
/* Frees the bytes; the buffer is empty and usable afterwards. */
void pr_buf_fini(struct pr_buf *b);
/* Forgets the content, keeps the memory. */
static inline void pr_buf_clear(struct pr_buf *b) { b->len = 0; }
static inline struct pr_slice pr_buf_slice(const struct pr_buf *b) { return pr_slice(b->ptr, b->len); }

/* Makes room for n more bytes and returns where they go; b->len is unchanged. */
char *pr_buf_reserve(struct pr_buf *b, size_t n);
void pr_buf_append(struct pr_buf *b, const void *p, size_t n);
void pr_buf_add(struct pr_buf *b, struct pr_slice s);
void pr_buf_str(struct pr_buf *b, const char *s);
void pr_buf_char(struct pr_buf *b, char c);
void pr_buf_u64(struct pr_buf *b, uint64_t v);
void pr_buf_printf(struct pr_buf *b, const char *fmt, ...) PR_PRINTF(2, 3);
void pr_buf_vprintf(struct pr_buf *b, const char *fmt, va_list ap) PR_PRINTF(2, 0);
/* Removes n bytes from the front (n <= len); linear in what remains. */
void pr_buf_consume(struct pr_buf *b, size_t n);
/* NUL-terminates without counting the NUL; for library edges. */
const char *pr_buf_cstr(struct pr_buf *b);
/* Gives the bytes (NUL-terminated) to the caller, who frees them with pr_free; the buffer is empty afterwards. */
char *pr_buf_steal(struct pr_buf *b, size_t *ret_len);

/* Big-endian integers, for keys whose byte order is their order. */
void pr_buf_be16(struct pr_buf *b, uint16_t v);
void pr_buf_be32(struct pr_buf *b, uint32_t v);
void pr_buf_be64(struct pr_buf *b, uint64_t v);
/* Little-endian integers, for records. */
void pr_buf_le16(struct pr_buf *b, uint16_t v);
void pr_buf_le32(struct pr_buf *b, uint32_t v);
void pr_buf_le64(struct pr_buf *b, uint64_t v);

/* Reads from the front of *s and moves it on; PR_EPARSE when too short (then *s is unchanged). */
PR_MUST_USE int pr_get_be16(struct pr_slice *s, uint16_t *ret_v);
PR_MUST_USE int pr_get_be32(struct pr_slice *s, uint32_t *ret_v);
PR_MUST_USE int pr_get_be64(struct pr_slice *s, uint64_t *ret_v);
PR_MUST_USE int pr_get_le16(struct pr_slice *s, uint16_t *ret_v);
PR_MUST_USE int pr_get_le32(struct pr_slice *s, uint32_t *ret_v);
PR_MUST_USE int pr_get_le64(struct pr_slice *s, uint64_t *ret_v);
PR_MUST_USE int pr_get_u8(struct pr_slice *s, uint8_t *ret_v);
/* The next n bytes as a slice of *s. */
PR_MUST_USE int pr_get_bytes(struct pr_slice *s, size_t n, struct pr_slice *ret_bytes);

/* Appends s as a JSON string with quotes; bytes that are not UTF-8 become U+FFFD. */
void pr_buf_json(struct pr_buf *b, struct pr_slice s);

#endif
