/* What goes between DATA and its end, and whether it can go to this peer at all.
 *
 * Whatever was accepted is made fit to travel: no bare CR, no bare LF, no NUL, dots doubled. What cannot be made fit
 * without changing it is refused for good: 8-bit content to a peer without 8BITMIME (5.6.3, RFC 6152), binary content to
 * one without BINARYMIME (5.6.1, RFC 3030), UTF-8 addresses or headers to one without SMTPUTF8 (5.6.7, RFC 6531), lines
 * beyond 998 octets (RFC 5321 4.5.3.1.6). Content that only claims to be one of these goes as what it is. */
#include <stdio.h>

#include "deliverer/core/client_internal.h"

enum { LINE_MAX_OCTETS = 998 };

struct facts {
    bool known; /* the whole content was seen */
    bool eight_bit, long_line, binary;
};

/* Binary: needs more than line ends to be CRLF. */
static bool is_binary(struct pr_slice s)
{
    if (s.len == 0)
        return false;
    if (memchr(s.ptr, '\0', s.len) != NULL)
        return true;
    for (size_t at = 0; at < s.len; at++) {
        if (s.ptr[at] == '\n')
            return true;
        if (s.ptr[at] != '\r')
            continue;
        if (at + 1 == s.len || s.ptr[at + 1] != '\n')
            return true;
        at++;
    }
    return false;
}

static struct facts look(const struct dlv_mail *m)
{
    struct facts f = {.known = m->complete};
    if (!f.known)
        return f;
    struct mail_line_check check;
    mail_line_check_init(&check);
    mail_line_check(&check, m->content);
    f.eight_bit = check.eight_bit;
    f.long_line = check.longest_line > LINE_MAX_OCTETS;
    if (m->envelope->body == MAIL_BODY_BINARYMIME)
        f.binary = is_binary(m->content);
    return f;
}

static bool refuse(const char *enhanced, const char *text, struct dlv_verdict *ret)
{
    *ret = dlv_verdict_own(MAIL_OUTCOME_PERM, MAIL_SCOPE_MESSAGE, MAIL_STAGE_MAIL, enhanced, text);
    return false;
}

static bool plan_body(const struct dlv_client *c, const struct dlv_mail *m, struct content_plan *plan, struct dlv_verdict *v)
{
    struct facts f = look(m);
    enum mail_body_type body = m->envelope->body;
    if (body == MAIL_BODY_BINARYMIME) {
        if (cap(c, DLV_CAP_BINARYMIME)) {
            plan->raw = plan->bdat = true;
            plan->body = MAIL_BODY_BINARYMIME;
            return true;
        }
        if (!f.known || f.binary)
            return refuse("5.6.1", "binary content, and the remote host does not offer BINARYMIME", v);
    }
    if (f.long_line)
        return refuse("5.6.0", "a line of the message is longer than 998 octets", v);
    bool eight_bit = f.known ? f.eight_bit : body != MAIL_BODY_7BIT;
    if (eight_bit && !cap(c, DLV_CAP_8BITMIME))
        return refuse("5.6.3", "8-bit content, and the remote host does not offer 8BITMIME", v);
    plan->body = eight_bit ? MAIL_BODY_8BITMIME : MAIL_BODY_7BIT;
    return true;
}

static bool header_is_ascii(const struct dlv_mail *m)
{
    size_t end = pr_slice_find_slice(m->content, PR_SLICE_LIT("\r\n\r\n"));
    return m->complete && pr_is_ascii(pr_slice_head(m->content, end));
}

bool content_plan(const struct dlv_client *c, const struct dlv_mail *m, struct content_plan *ret, struct dlv_verdict *ret_verdict)
{
    const struct mail_envelope *e = m->envelope;
    *ret = (struct content_plan){.bdat = cap(c, DLV_CAP_CHUNKING) && !c->o.lmtp};
    if (c->caps.size_max > 0 && m->size_bytes > c->caps.size_max)
        return refuse("5.3.4", "the message is larger than the remote host takes", ret_verdict);
    if (e->smtputf8 || !pr_is_ascii(e->sender)) {
        ret->smtputf8 = cap(c, DLV_CAP_SMTPUTF8);
        if (!ret->smtputf8 && (!pr_is_ascii(e->sender) || !header_is_ascii(m)))
            return refuse("5.6.7", "internationalized mail, and the remote host does not offer SMTPUTF8", ret_verdict);
    }
    return plan_body(c, m, ret, ret_verdict);
}

void content_init(struct txn *t)
{
    mail_dot_encoder_init(&t->dot);
    mail_crlf_encoder_init(&t->crlf);
    mail_line_check_init(&t->lines);
}

static void append_text(struct txn *t, struct pr_slice bytes, bool last, struct pr_buf *out)
{
    if (t->plan.raw) {
        pr_buf_add(out, bytes);
        return;
    }
    mail_crlf_encode(&t->crlf, bytes, out);
    if (last)
        mail_crlf_finish(&t->crlf, out);
}

/* The size stands before the bytes and is known after them: it is guessed to be unchanged, which it nearly always is, and
 * set right otherwise. */
static void append_bdat(struct txn *t, struct pr_slice bytes, bool last, struct pr_buf *out)
{
    const char *end = last ? " LAST\r\n" : "\r\n";
    size_t start = out->len;
    pr_buf_printf(out, "BDAT %zu%s", bytes.len, end);
    size_t head = out->len - start;
    append_text(t, bytes, last, out);
    size_t n = out->len - start - head;
    if (n == bytes.len)
        return;
    char line[48];
    size_t right = (size_t)snprintf(line, sizeof line, "BDAT %zu%s", n, end);
    (void)pr_buf_reserve(out, right);
    memmove(out->ptr + start + right, out->ptr + start + head, n);
    memcpy(out->ptr + start, line, right);
    out->len = start + right + n;
}

void content_append(struct txn *t, struct pr_slice bytes, bool last, struct pr_buf *out)
{
    (void)pr_buf_reserve(out, bytes.len + bytes.len / 64 + 64);
    if (t->plan.bdat) {
        append_bdat(t, bytes, last, out);
        return;
    }
    mail_dot_encode(&t->dot, bytes, out);
    if (last)
        mail_dot_finish(&t->dot, out);
}
