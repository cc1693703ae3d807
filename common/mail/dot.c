/* The inbound stream of DATA.
 *
 *              '.'            CR              LF
 *   LINE_START ----> DOT ------------> DOT_CR ----> end of data
 *      | ^            | other: dot       | other: the CR was bare
 *      | | LF         | dropped          |
 *      v |            v                  v
 *     TEXT --CR--> CR (other: the CR was bare, back to TEXT)
 *
 * LINE_START is entered by the two octets CR LF and nothing else, so a dot after anything that merely looks like a line
 * end (a bare LF or CR, a NUL) is text and can neither end the data nor be removed. What is normalised is normalised on
 * the way out; the state follows the octets as they came. */
#include "common/mail/dot.h"

#include "common/mail/dot_scan.h"

enum { LINE_START, TEXT, CR, DOT, DOT_CR };
enum { FATAL_DEFECTS = MAIL_DOT_BARE_LF | MAIL_DOT_BARE_CR | MAIL_DOT_NUL };

void mail_dot_decoder_init(struct mail_dot_decoder *d, enum mail_dot_policy policy)
{
    *d = (struct mail_dot_decoder){.policy = policy, .state = LINE_START};
}

static void emit(const struct mail_dot_decoder *d, const char *p, size_t n, struct pr_buf *out)
{
    if (d->policy == MAIL_DOT_NORMALIZE || (d->defects & FATAL_DEFECTS) == 0)
        pr_buf_append(out, p, n);
}

static void count_octets(struct mail_dot_decoder *d, size_t n)
{
    d->line_len += n;
    if (d->line_len > d->longest_line)
        d->longest_line = d->line_len;
    if (d->line_len > MAIL_LINE_MAX)
        d->defects |= MAIL_DOT_LONG_LINE;
}

static void end_line(struct mail_dot_decoder *d, struct pr_buf *out)
{
    emit(d, "\r\n", 2, out);
    d->line_len = 0;
}

/* A line end that is none: noted, and made one for those who asked for that. */
static void stray(struct mail_dot_decoder *d, enum mail_dot_defect defect, struct pr_buf *out)
{
    d->defects |= defect;
    end_line(d, out);
}

/* One octet where no special state is pending. */
static void take_text(struct mail_dot_decoder *d, char c, struct pr_buf *out)
{
    d->state = TEXT;
    if (c == '\r') {
        d->state = CR;
    } else if (c == '\n') {
        stray(d, MAIL_DOT_BARE_LF, out);
    } else if (c == '\0') {
        d->defects |= MAIL_DOT_NUL;
    } else {
        if ((unsigned char)c >= 0x80)
            d->eight_bit = true;
        count_octets(d, 1);
        emit(d, &c, 1, out);
    }
}

static void take_octet(struct mail_dot_decoder *d, char c, struct pr_buf *out)
{
    if (d->state == LINE_START && c == '.') {
        d->state = DOT;
    } else if (d->state == DOT && c == '\r') {
        d->state = DOT_CR;
    } else if (d->state == DOT_CR && c == '\n') {
        d->done = true;
    } else if (d->state == CR && c == '\n') {
        end_line(d, out);
        d->state = LINE_START;
    } else {
        if (d->state == CR || d->state == DOT_CR)
            stray(d, MAIL_DOT_BARE_CR, out);
        take_text(d, c, out);
    }
}

/* Whole lines of ordinary text in one copy. Begins in LINE_START (not at a dot) or TEXT and returns how many octets it
 * took: up to the end of the input, a dot at a line start, or an octet that take_octet must judge. */
static size_t take_run(struct mail_dot_decoder *d, struct pr_slice in, struct pr_buf *out)
{
    size_t at = 0;
    bool stop = false;
    while (!stop) {
        size_t n = dot_scan(in.ptr + at, in.len - at, &d->eight_bit);
        at += n;
        if (n > 0) {
            count_octets(d, n);
            d->state = TEXT;
        }
        if (in.len - at >= 2 && in.ptr[at] == '\r' && in.ptr[at + 1] == '\n') {
            at += 2;
            d->line_len = 0;
            d->state = LINE_START;
            stop = at == in.len || in.ptr[at] == '.';
        } else {
            stop = true;
        }
    }
    emit(d, in.ptr, at, out);
    return at;
}

size_t mail_dot_decode(struct mail_dot_decoder *d, struct pr_slice in, struct pr_buf *out)
{
    size_t at = 0;
    while (at < in.len && !d->done) {
        if (d->state == TEXT || (d->state == LINE_START && in.ptr[at] != '.'))
            at += take_run(d, pr_slice_from(in, at), out);
        if (at < in.len)
            take_octet(d, in.ptr[at++], out);
    }
    return at;
}
