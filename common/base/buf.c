#include "common/base/buf.h"

#include <stdio.h>

#include "common/base/alloc.h"
#include "common/base/assert.h"

void pr_buf_init(struct pr_buf *b)
{
    *b = (struct pr_buf){NULL, 0, 0};
}

void pr_buf_fini(struct pr_buf *b)
{
    pr_free(b->ptr);
    pr_buf_init(b);
}

char *pr_buf_reserve(struct pr_buf *b, size_t n)
{
    pr_assert(n <= SIZE_MAX / 2 - b->len);
    if (b->len + n > b->cap) {
        size_t cap = b->cap < 64 ? 64 : b->cap;
        while (cap < b->len + n)
            cap += cap / 2;
        b->ptr = pr_realloc(b->ptr, cap);
        b->cap = cap;
    }
    return b->ptr == NULL ? NULL : b->ptr + b->len; /* NULL + 0 is undefined */
}

void pr_buf_append(struct pr_buf *b, const void *p, size_t n)
{
    if (n == 0)
        return;
    memcpy(pr_buf_reserve(b, n), p, n);
    b->len += n;
}

void pr_buf_add(struct pr_buf *b, struct pr_slice s)
{
    pr_buf_append(b, s.ptr, s.len);
}

void pr_buf_str(struct pr_buf *b, const char *s)
{
    pr_buf_append(b, s, strlen(s));
}

void pr_buf_char(struct pr_buf *b, char c)
{
    *pr_buf_reserve(b, 1) = c;
    b->len++;
}

void pr_buf_u64(struct pr_buf *b, uint64_t v)
{
    char digits[20];
    size_t n = 0;
    do {
        digits[sizeof digits - ++n] = (char)('0' + v % 10);
        v /= 10;
    } while (v > 0);
    pr_buf_append(b, digits + sizeof digits - n, n);
}

void pr_buf_vprintf(struct pr_buf *b, const char *fmt, va_list ap)
{
    va_list again;
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, fmt, ap);
    pr_assert(n >= 0);
    pr_buf_reserve(b, (size_t)n + 1);
    (void)vsnprintf(b->ptr + b->len, (size_t)n + 1, fmt, again);
    b->len += (size_t)n;
    va_end(again);
}

void pr_buf_printf(struct pr_buf *b, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    pr_buf_vprintf(b, fmt, ap);
    va_end(ap);
}

void pr_buf_consume(struct pr_buf *b, size_t n)
{
    pr_assert(n <= b->len);
    b->len -= n;
    if (b->len > 0 && n > 0)
        memmove(b->ptr, b->ptr + n, b->len);
}

const char *pr_buf_cstr(struct pr_buf *b)
{
    *pr_buf_reserve(b, 1) = '\0';
    return b->ptr;
}

char *pr_buf_steal(struct pr_buf *b, size_t *ret_len)
{
    (void)pr_buf_cstr(b);
    char *p = b->ptr;
    if (ret_len != NULL)
        *ret_len = b->len;
    pr_buf_init(b);
    return p;
}

static void put(struct pr_buf *b, uint64_t v, size_t n, bool big_endian)
{
    unsigned char *p = (unsigned char *)pr_buf_reserve(b, n);
    for (size_t i = 0; i < n; i++)
        p[i] = (unsigned char)(v >> (8 * (big_endian ? n - 1 - i : i)));
    b->len += n;
}

void pr_buf_be16(struct pr_buf *b, uint16_t v) { put(b, v, 2, true); }
void pr_buf_be32(struct pr_buf *b, uint32_t v) { put(b, v, 4, true); }
void pr_buf_be64(struct pr_buf *b, uint64_t v) { put(b, v, 8, true); }
void pr_buf_le16(struct pr_buf *b, uint16_t v) { put(b, v, 2, false); }
void pr_buf_le32(struct pr_buf *b, uint32_t v) { put(b, v, 4, false); }
void pr_buf_le64(struct pr_buf *b, uint64_t v) { put(b, v, 8, false); }

static int get(struct pr_slice *s, size_t n, bool big_endian, uint64_t *ret_v)
{
    if (s->len < n)
        return PR_EPARSE;
    uint64_t v = 0;
    for (size_t i = 0; i < n; i++)
        v |= (uint64_t)(unsigned char)s->ptr[i] << (8 * (big_endian ? n - 1 - i : i));
    *s = pr_slice_from(*s, n);
    *ret_v = v;
    return 0;
}

#define DEFINE_GET(name, type, n, big)                 \
    int name(struct pr_slice *s, type *ret_v)          \
    {                                                  \
        uint64_t v;                                    \
        int rc = get(s, n, big, &v);                   \
        if (rc == 0)                                   \
            *ret_v = (type)v;                          \
        return rc;                                     \
    }

DEFINE_GET(pr_get_be16, uint16_t, 2, true)
DEFINE_GET(pr_get_be32, uint32_t, 4, true)
DEFINE_GET(pr_get_be64, uint64_t, 8, true)
DEFINE_GET(pr_get_le16, uint16_t, 2, false)
DEFINE_GET(pr_get_le32, uint32_t, 4, false)
DEFINE_GET(pr_get_le64, uint64_t, 8, false)
DEFINE_GET(pr_get_u8, uint8_t, 1, true)

int pr_get_bytes(struct pr_slice *s, size_t n, struct pr_slice *ret_bytes)
{
    if (s->len < n)
        return PR_EPARSE;
    *ret_bytes = pr_slice_head(*s, n);
    *s = pr_slice_from(*s, n);
    return 0;
}

/* Length of the valid UTF-8 sequence at the front, or 0. */
static size_t valid_sequence(struct pr_slice s)
{
    for (size_t n = 1; n <= 4 && n <= s.len; n++)
        if (pr_utf8_valid(pr_slice_head(s, n)))
            return n;
    return 0;
}

void pr_buf_json(struct pr_buf *b, struct pr_slice s)
{
    static const char hex[] = "0123456789abcdef";
    pr_buf_char(b, '"');
    while (s.len > 0) {
        char c = s.ptr[0];
        size_t n = valid_sequence(s);
        if (n == 0) {
            pr_buf_str(b, "\\ufffd");
            n = 1;
        } else if (c == '"' || c == '\\') {
            pr_buf_char(b, '\\');
            pr_buf_char(b, c);
        } else if (pr_is_ctl(c)) {
            pr_buf_str(b, "\\u00");
            pr_buf_char(b, hex[(unsigned char)c >> 4]);
            pr_buf_char(b, hex[c & 15]);
        } else {
            pr_buf_append(b, s.ptr, n);
        }
        s = pr_slice_from(s, n);
    }
    pr_buf_char(b, '"');
}
