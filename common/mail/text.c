#include "common/mail/text.h"

size_t mail_text_sequence(struct pr_slice s)
{
    const unsigned char *p = (const unsigned char *)s.ptr;
    if (s.len == 0)
        return 0;
    if (p[0] < 0x80)
        return pr_is_ctl(s.ptr[0]) ? 0 : 1;
    size_t n = p[0] >= 0xf0 ? 4 : p[0] >= 0xe0 ? 3 : 2;
    if (s.len < n || !pr_utf8_valid(pr_slice_head(s, n)))
        return 0;
    if (p[0] == 0xc2 && p[1] < 0xa0)
        return 0;
    if (p[0] == 0xe2 && p[1] == 0x80 && (p[2] == 0xa8 || p[2] == 0xa9))
        return 0;
    return n;
}

bool mail_text_valid(struct pr_slice s)
{
    for (size_t i = 0; i < s.len;) {
        size_t n = mail_text_sequence(pr_slice_from(s, i));
        if (n == 0)
            return false;
        i += n;
    }
    return true;
}

/* Printable ASCII at the front of s: the common case, copied in one piece. */
static size_t plain_run(struct pr_slice s)
{
    size_t n = 0;
    while (n < s.len && s.ptr[n] >= ' ' && s.ptr[n] < 0x7f)
        n++;
    return n;
}

void mail_text_clean(struct pr_slice s, bool utf8, struct pr_buf *out)
{
    size_t i = 0;
    while (i < s.len) {
        size_t n = plain_run(pr_slice_from(s, i));
        pr_buf_append(out, s.ptr + i, n);
        i += n;
        if (i == s.len)
            break;
        n = mail_text_sequence(pr_slice_from(s, i));
        if (n > 0 && utf8)
            pr_buf_append(out, s.ptr + i, n);
        else
            pr_buf_char(out, s.ptr[i] == '\t' ? ' ' : '?');
        i += n > 0 && utf8 ? n : 1;
    }
}
