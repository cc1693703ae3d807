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

static bool is_space(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }

/* The next word of *s; empty at the end. */
static struct pr_slice take_word(struct pr_slice *s)
{
    size_t start = 0;
    while (start < s->len && is_space(s->ptr[start]))
        start++;
    size_t end = start;
    while (end < s->len && !is_space(s->ptr[end]))
        end++;
    struct pr_slice word = start == end ? pr_slice("", 0) : pr_slice(s->ptr + start, end - start);
    *s = pr_slice(end == 0 ? s->ptr : s->ptr + end, s->len - end);
    return word;
}

/* Longest front of at most max octets that ends between characters. */
static size_t whole_characters(struct pr_slice s, size_t max)
{
    if (s.len <= max)
        return s.len;
    while (max > 1 && ((unsigned char)s.ptr[max] & 0xc0) == 0x80)
        max--;
    return max;
}

void mail_text_fold(struct pr_slice s, bool utf8, size_t column, const char *indent, struct pr_buf *out)
{
    size_t indent_len = strlen(indent), room = MAIL_TEXT_COLUMNS - indent_len;
    struct pr_buf cleaned = {NULL, 0, 0};
    bool first = true;
    for (struct pr_slice word = take_word(&s); word.len > 0; word = take_word(&s)) {
        pr_buf_clear(&cleaned);
        mail_text_clean(word, utf8, &cleaned);
        struct pr_slice left = pr_buf_slice(&cleaned);
        while (left.len > 0) {
            size_t n = whole_characters(left, room);
            if (column + !first + n > MAIL_TEXT_COLUMNS && column > indent_len) {
                pr_buf_append(out, "\r\n", 2);
                pr_buf_str(out, indent);
                column = indent_len;
            } else if (!first) {
                pr_buf_char(out, ' ');
                column++;
            }
            pr_buf_append(out, left.ptr, n);
            column += n;
            first = false;
            left = pr_slice_from(left, n);
        }
    }
    pr_buf_fini(&cleaned);
}
