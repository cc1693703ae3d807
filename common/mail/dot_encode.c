/* The outbound streams: DATA (with dots doubled) and BDAT (without), and the check that comes before either.
 *
 * Both make every line end CRLF, whatever it was spelled like: a stray CR or LF is a line end. So nothing that came in
 * can look like the end of data to a receiver that is lax about line ends. */
#include "common/mail/dot.h"

#include "common/base/assert.h"
#include "common/mail/dot_scan.h"

enum { LINE_START, TEXT, CR /* seen, not yet written */, FINISHED };

/* Where the next octets go: in[run, at) is to be written as it is. */
struct writer {
    struct pr_slice in;
    size_t run, at;
    unsigned state;
    unsigned defects; /* found */
    struct pr_buf *out;
};

static void flush_run(struct writer *w)
{
    if (w->at > w->run)
        pr_buf_append(w->out, w->in.ptr + w->run, w->at - w->run);
    w->run = w->at;
}

/* At CR, LF or NUL. */
static void take_special(struct writer *w)
{
    char c = w->in.ptr[w->at];
    bool last = w->at + 1 == w->in.len;
    if (c == '\r' && !last && w->in.ptr[w->at + 1] == '\n') {
        w->at += 2; /* stays in the run */
        w->state = LINE_START;
        return;
    }
    flush_run(w);
    w->run = ++w->at;
    if (c == '\r' && last) {
        w->state = CR;
    } else if (c != '\0') {
        w->defects |= c == '\r' ? MAIL_DOT_BARE_CR : MAIL_DOT_BARE_LF;
        pr_buf_append(w->out, "\r\n", 2);
        w->state = LINE_START;
    } else {
        w->defects |= MAIL_DOT_NUL;
    }
}

/* Returns the defects found. */
static unsigned encode(unsigned *state, struct pr_slice in, bool stuff, struct pr_buf *out)
{
    struct writer w = {.in = in, .state = *state, .out = out};
    bool high = false;
    pr_assert(*state != FINISHED);
    if (in.len == 0)
        return 0;
    if (w.state == CR) {
        /* With its LF or without: it becomes a line end. */
        pr_buf_append(out, "\r\n", 2);
        w.at = w.run = in.ptr[0] == '\n';
        w.defects = in.ptr[0] == '\n' ? 0 : MAIL_DOT_BARE_CR;
        w.state = LINE_START;
    }
    while (w.at < in.len) {
        if (w.state == LINE_START && stuff && in.ptr[w.at] == '.') {
            flush_run(&w);
            pr_buf_char(out, '.');
        }
        size_t n = dot_scan(in.ptr + w.at, in.len - w.at, &high);
        w.at += n;
        if (n > 0)
            w.state = TEXT;
        if (w.at < in.len)
            take_special(&w);
    }
    flush_run(&w);
    *state = w.state;
    return w.defects;
}

static void finish(unsigned *state, struct pr_buf *out)
{
    pr_assert(*state != FINISHED);
    if (*state != LINE_START)
        pr_buf_append(out, "\r\n", 2);
    *state = FINISHED;
}

void mail_dot_encoder_init(struct mail_dot_encoder *e) { e->state = LINE_START; }

void mail_dot_encode(struct mail_dot_encoder *e, struct pr_slice in, struct pr_buf *out)
{
    (void)encode(&e->state, in, true, out);
}

void mail_dot_finish(struct mail_dot_encoder *e, struct pr_buf *out)
{
    finish(&e->state, out);
    pr_buf_append(out, ".\r\n", 3);
}

void mail_crlf_encoder_init(struct mail_crlf_encoder *e)
{
    e->state = LINE_START;
    e->defects = 0;
}

void mail_crlf_encode(struct mail_crlf_encoder *e, struct pr_slice in, struct pr_buf *out)
{
    e->defects |= encode(&e->state, in, false, out);
}

void mail_crlf_finish(struct mail_crlf_encoder *e, struct pr_buf *out)
{
    if (e->state == CR)
        e->defects |= MAIL_DOT_BARE_CR;
    finish(&e->state, out);
}

void mail_line_check_init(struct mail_line_check *c) { *c = (struct mail_line_check){.line_len = 0}; }

void mail_line_check(struct mail_line_check *c, struct pr_slice in)
{
    for (size_t at = 0; at < in.len;) {
        size_t n = dot_scan(in.ptr + at, in.len - at, &c->eight_bit);
        c->line_len += n;
        if (c->line_len > c->longest_line)
            c->longest_line = c->line_len;
        at += n;
        /* NUL is dropped on the way out; CR and LF both end a line there. */
        for (; at < in.len && dot_is_special(in.ptr[at]); at++)
            if (in.ptr[at] != '\0')
                c->line_len = 0;
    }
}
