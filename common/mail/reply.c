/* SMTP replies, written and read.
 *
 * Writing: each line of the text becomes "NNN-x.y.z text" (the last one with a space), cut into more lines where it
 * would pass 512 octets. Reading: bytes are gathered to whole lines, and everything is judged at a line's end, so the
 * result does not depend on how the bytes were split. */
#include "common/mail/reply.h"

#include <stdio.h>

#include "common/base/assert.h"
#include "common/mail/text.h"

enum { LINE_MAX_OCTETS = 512 }; /* RFC 5321 4.5.3.1.5, CRLF included */

static void add_line(struct pr_buf *out, uint16_t code, const char *enhanced, struct pr_slice text, bool last)
{
    pr_buf_u64(out, code);
    pr_buf_char(out, last ? ' ' : '-');
    if (enhanced[0] != '\0') {
        pr_buf_str(out, enhanced);
        pr_buf_char(out, ' ');
    }
    mail_text_clean(text, false, out);
    pr_buf_append(out, "\r\n", 2);
}

static void add_reply(struct pr_buf *out, uint16_t code, const char *enhanced, struct pr_slice text)
{
    /* "NNN-", enhanced code and space, CRLF */
    size_t room = LINE_MAX_OCTETS - 4 - (strlen(enhanced) + 1) - 2;
    bool more = true;
    while (more) {
        struct pr_slice rest;
        struct pr_slice line = pr_slice_cut(text, '\n', &rest);
        bool newline = line.len < text.len;
        if (line.len > room) {
            line.len = room;
            rest = pr_slice_from(text, room);
            newline = true;
        }
        more = newline;
        add_line(out, code, enhanced, line, !more);
        text = rest;
    }
}

void mail_reply_format(const struct mail_reply *r, struct pr_buf *out)
{
    pr_assert(r->code >= 200 && r->code <= 599);
    add_reply(out, r->code, r->enhanced == NULL ? "" : r->enhanced, pr_slice_str(r->text));
}

void mail_reply_printf(struct pr_buf *out, uint16_t code, const char *enhanced, const char *fmt, ...)
{
    struct pr_buf text = {NULL, 0, 0};
    char small[256]; /* most replies, without the heap */
    va_list ap;
    pr_assert(code >= 200 && code <= 599);
    va_start(ap, fmt);
    int n = vsnprintf(small, sizeof small, fmt, ap);
    va_end(ap);
    pr_assert(n >= 0);
    if ((size_t)n >= sizeof small) {
        va_start(ap, fmt);
        pr_buf_vprintf(&text, fmt, ap);
        va_end(ap);
    }
    add_reply(out, code, enhanced == NULL ? "" : enhanced,
              text.len > 0 ? pr_buf_slice(&text) : pr_slice(small, (size_t)n));
    pr_buf_fini(&text);
}

void mail_reply_parser_init(struct mail_reply_parser *p) { *p = (struct mail_reply_parser){.code = 0}; }

void mail_reply_parser_fini(struct mail_reply_parser *p)
{
    pr_buf_fini(&p->text);
    pr_buf_fini(&p->line);
    mail_reply_parser_init(p);
}

void mail_reply_parser_clear(struct mail_reply_parser *p)
{
    pr_buf_clear(&p->text);
    pr_buf_clear(&p->line);
    p->code = 0;
    p->lines = 0;
    p->done = false;
    p->truncated = false;
}

/* RFC 5321 4.2 has %x30-35 as second digit; others are in the wild (571) and do no harm. */
static uint16_t reply_code(struct pr_slice line)
{
    if (line.len < 3 || line.ptr[0] < '2' || line.ptr[0] > '5' || !pr_is_digit(line.ptr[1]) ||
        !pr_is_digit(line.ptr[2]))
        return 0;
    return (uint16_t)((line.ptr[0] - '0') * 100 + (line.ptr[1] - '0') * 10 + (line.ptr[2] - '0'));
}

static void keep_text(struct mail_reply_parser *p, struct pr_slice text)
{
    if (p->truncated)
        return;
    if (p->text.len == MAIL_REPLY_TEXT_MAX) {
        p->truncated = true;
        return;
    }
    if (p->lines > 1)
        pr_buf_char(&p->text, '\n');
    if (p->text.len + text.len > MAIL_REPLY_TEXT_MAX) {
        p->truncated = true;
        text.len = MAIL_REPLY_TEXT_MAX - p->text.len;
        /* Cut between characters. */
        while (text.len > 0 && ((unsigned char)text.ptr[text.len] & 0xc0) == 0x80)
            text.len--;
    }
    mail_text_clean(text, true, &p->text);
}

/* line: without its LF. */
static int take_line(struct mail_reply_parser *p, struct pr_slice line)
{
    if (line.len > 0 && line.ptr[line.len - 1] == '\r')
        line.len--;
    if (pr_slice_find(line, '\r') != SIZE_MAX)
        return PR_EPARSE;
    uint16_t code = reply_code(line);
    if (code == 0 || (p->lines > 0 && code != p->code))
        return PR_EPARSE;
    bool more = line.len > 3 && line.ptr[3] == '-';
    if (line.len > 3 && !more && line.ptr[3] != ' ')
        return PR_EPARSE;
    if (p->lines == MAIL_REPLY_LINES_MAX)
        return PR_ETOOBIG;
    p->lines++;
    p->code = code;
    keep_text(p, pr_slice_from(line, line.len > 3 ? 4 : 3));
    p->done = !more;
    return 0;
}

int mail_reply_parse(struct mail_reply_parser *p, struct pr_slice in, size_t *ret_used)
{
    size_t used = 0;
    int rc = 0;
    while (rc == 0 && !p->done && used < in.len) {
        struct pr_slice left = pr_slice_from(in, used);
        size_t at = pr_slice_find(left, '\n');
        struct pr_slice piece = pr_slice_head(left, at);
        used += piece.len + (at != SIZE_MAX);
        if (p->line.len + piece.len > MAIL_REPLY_LINE_MAX) {
            rc = PR_ETOOBIG;
        } else if (at == SIZE_MAX) {
            pr_buf_add(&p->line, piece);
        } else if (p->line.len == 0) {
            rc = take_line(p, piece);
        } else {
            pr_buf_add(&p->line, piece);
            rc = take_line(p, pr_buf_slice(&p->line));
            pr_buf_clear(&p->line);
        }
    }
    *ret_used = used;
    return rc;
}

/* 1*3DIGIT without a leading zero; returns its length or 0. */
static size_t status_number(struct pr_slice s)
{
    size_t n = 0;
    while (n < s.len && n < 3 && pr_is_digit(s.ptr[n]))
        n++;
    return n > 1 && s.ptr[0] == '0' ? 0 : n;
}

size_t mail_enhanced_status(uint16_t code, struct pr_slice text)
{
    size_t at = 2;
    if (text.len < 5 || text.ptr[0] != (char)('0' + code / 100) || text.ptr[1] != '.')
        return 0;
    size_t subject = status_number(pr_slice_from(text, at));
    at += subject;
    if (subject == 0 || at >= text.len || text.ptr[at] != '.')
        return 0;
    size_t detail = status_number(pr_slice_from(text, ++at));
    at += detail;
    if (detail == 0 || (at < text.len && text.ptr[at] != ' ' && text.ptr[at] != '\n'))
        return 0;
    return at;
}
