/* Delivery status notifications.
 *
 *   1. the three parts are written to one buffer each: words for people, fields for software (RFC 3464), and the
 *      original or its header
 *   2. a boundary is made from our header and the parts themselves, and tried again until it occurs in none
 *   3. header and parts are put together
 *
 * Nothing from outside is trusted with a line end: texts are cleaned and folded, the original goes through the CRLF
 * encoder, and addresses are cleaned once more although a parser has seen them. */
#include "common/mail/dsn.h"

#include "common/mail/dot.h"
#include "common/mail/header.h"
#include "common/mail/reply.h"
#include "common/mail/text.h"

/* Together on one line: below MAIL_LINE_MAX. */
enum { ADDRESS_MAX = 900, TYPE_MAX = 64, NAME_MAX_OCTETS = 255 };
enum { DIAGNOSTIC_MAX = 1000 };

struct part {
    const char *description;
    const char *type;
    bool eight_bit;
    struct pr_buf body;
};

bool mail_dsn_wanted(const struct mail_rcpt *r, enum mail_dsn_kind kind)
{
    if (r->notify == 0)
        return true;
    if ((r->notify & MAIL_NOTIFY_NEVER) != 0)
        return false;
    return (r->notify & (kind == MAIL_DSN_FAILURE ? MAIL_NOTIFY_FAILURE : MAIL_NOTIFY_DELAY)) != 0;
}

bool mail_dsn_needs_utf8(const struct mail_dsn *d) { return !pr_is_ascii(d->original->sender); }

/* RFC 6533: the report uses its UTF-8 form when an address needs it. */
static bool reports_utf8(const struct mail_dsn *d)
{
    for (size_t i = 0; i < d->n_rcpts; i++)
        if (!pr_is_ascii(d->rcpts[i]->address) || !pr_is_ascii(d->rcpts[i]->orcpt))
            return true;
    return false;
}

/* A host name or token: what is neither letter, digit nor one of a few signs becomes '?'. */
static void add_token(struct pr_buf *out, struct pr_slice s)
{
    s = pr_slice_head(s, NAME_MAX_OCTETS);
    for (size_t i = 0; i < s.len; i++) {
        char c = s.ptr[i];
        bool plain = pr_is_alnum(c) || pr_slice_find(PR_SLICE_LIT(".-_:[]+/"), c) != SIZE_MAX;
        pr_buf_char(out, plain ? c : '?');
    }
}

static void add_host(struct pr_buf *out, const struct mail_dsn *d)
{
    if (d->reporting_mta.len == 0)
        pr_buf_str(out, "localhost");
    else
        add_token(out, d->reporting_mta);
}

/* An address is not folded: white space inside it, in quotes, means itself. */
static void add_address(struct pr_buf *out, struct pr_slice address, bool utf8)
{
    mail_text_clean(pr_slice_head(address, ADDRESS_MAX), utf8, out);
}

static void add_crlf(struct pr_buf *out) { pr_buf_append(out, "\r\n", 2); }

static void add_date_field(struct pr_buf *out, const char *name, pr_wall t)
{
    pr_buf_str(out, name);
    pr_buf_str(out, ": ");
    mail_date_format(t, out);
    add_crlf(out);
}

/* --- the part for people --- */

static void add_fixed(struct pr_buf *out, const char *text)
{
    pr_buf_str(out, text);
    add_crlf(out);
}

static void add_intro(struct pr_buf *out, const struct mail_dsn *d)
{
    pr_buf_str(out, "This is the mail system at host ");
    add_host(out, d);
    pr_buf_str(out, ".\r\n\r\n");
    if (d->kind == MAIL_DSN_FAILURE) {
        add_fixed(out, "Your message could not be delivered to the recipients listed below.");
        add_fixed(out, "No further attempt will be made for them.");
    } else {
        add_fixed(out, "Your message has not yet been delivered to the recipients listed below.");
        add_fixed(out, "You need not send it again: it stays in the queue and is tried again.");
        if (d->will_retry_until.ms != 0) {
            pr_buf_str(out, "Attempts end on ");
            mail_date_format(d->will_retry_until, out);
            pr_buf_str(out, ".\r\n");
        }
    }
    add_crlf(out);
    pr_buf_str(out, "Queue id: ");
    add_token(out, d->queue_id);
    add_crlf(out);
    if (d->original->arrival.ms != 0)
        add_date_field(out, "Received", d->original->arrival);
}

/* "550 " in front of the remote's words, unless they begin with it. */
static bool code_is_missing(const struct mail_rcpt *r)
{
    struct pr_slice t = r->diagnostic;
    uint32_t code;
    if (r->code == 0)
        return false;
    return t.len < 3 || pr_parse_u32(pr_slice_head(t, 3), 999, &code) != 0 || code != r->code;
}

/* Code and words of the last reply in one piece, bounded. */
static void add_diagnostic(struct pr_buf *out, const struct mail_rcpt *r)
{
    if (code_is_missing(r)) {
        pr_buf_u64(out, r->code);
        pr_buf_char(out, ' ');
    }
    pr_buf_add(out, pr_slice_head(r->diagnostic, DIAGNOSTIC_MAX));
}

static void add_story(struct pr_buf *out, const struct mail_rcpt *r, bool utf8)
{
    struct pr_buf words = {NULL, 0, 0};
    add_crlf(out);
    pr_buf_char(out, '<');
    add_address(out, r->address, utf8);
    pr_buf_str(out, ">:\r\n    ");
    bool told = r->code != 0 || r->diagnostic.len > 0;
    if (r->status == MAIL_RCPT_EXPIRED)
        pr_buf_str(&words, "it could not be delivered in time");
    else if (!told)
        pr_buf_str(&words, "no further information");
    if (r->status == MAIL_RCPT_EXPIRED && told)
        pr_buf_str(&words, "; the last attempt ended with: ");
    if (r->remote.len > 0 && told) {
        pr_buf_str(&words, "host ");
        pr_buf_add(&words, pr_slice_head(r->remote, NAME_MAX_OCTETS));
        pr_buf_str(&words, r->code != 0 ? " said: " : ": ");
    }
    add_diagnostic(&words, r);
    mail_text_fold(pr_buf_slice(&words), utf8, 4, "    ", out);
    add_crlf(out);
    pr_buf_fini(&words);
}

static void make_text(const struct mail_dsn *d, bool utf8, struct part *p)
{
    add_intro(&p->body, d);
    for (size_t i = 0; i < d->n_rcpts; i++)
        add_story(&p->body, d->rcpts[i], utf8);
    p->eight_bit = !pr_is_ascii(pr_buf_slice(&p->body));
    p->description = "Notification";
    p->type = p->eight_bit ? "text/plain; charset=utf-8" : "text/plain; charset=us-ascii";
}

/* --- the part for software --- */

/* RFC 3464 2.2 */
static void add_message_fields(struct pr_buf *out, const struct mail_dsn *d, bool utf8)
{
    pr_buf_str(out, "Reporting-MTA: dns; ");
    add_host(out, d);
    add_crlf(out);
    if (d->original->envid.len > 0) {
        pr_buf_str(out, "Original-Envelope-Id: ");
        add_address(out, d->original->envid, utf8);
        add_crlf(out);
    }
    if (d->original->arrival.ms != 0)
        add_date_field(out, "Arrival-Date", d->original->arrival);
    pr_buf_str(out, "X-Postrider-Queue-Id: ");
    add_token(out, d->queue_id);
    add_crlf(out);
}

/* The recorded status if it is one and of the right class; an expired recipient is told so (RFC 3463 X.4.7). */
static void add_status(struct pr_buf *out, const struct mail_rcpt *r, enum mail_dsn_kind kind)
{
    uint16_t class_code = kind == MAIL_DSN_FAILURE ? 500 : 400;
    pr_buf_str(out, "Status: ");
    if (kind == MAIL_DSN_FAILURE && r->status == MAIL_RCPT_EXPIRED)
        pr_buf_str(out, "5.4.7");
    else if (r->enhanced.len > 0 && mail_enhanced_status(class_code, r->enhanced) == r->enhanced.len)
        pr_buf_add(out, r->enhanced);
    else
        pr_buf_str(out, kind == MAIL_DSN_FAILURE ? "5.0.0" : "4.0.0");
    add_crlf(out);
}

static void add_original_recipient(struct pr_buf *out, struct pr_slice orcpt, bool utf8)
{
    struct pr_slice address;
    struct pr_slice type = pr_slice_cut(orcpt, ';', &address);
    if (type.len == 0 || address.len == 0)
        return;
    pr_buf_str(out, "Original-Recipient: ");
    add_token(out, pr_slice_head(type, TYPE_MAX));
    pr_buf_char(out, ';');
    add_address(out, address, utf8);
    add_crlf(out);
}

static void add_diagnostic_field(struct pr_buf *out, const struct mail_rcpt *r, bool utf8)
{
    struct pr_buf words = {NULL, 0, 0};
    size_t start = out->len;
    if (r->code == 0 && r->diagnostic.len == 0)
        return;
    pr_buf_str(out, "Diagnostic-Code: ");
    pr_buf_str(out, r->code != 0 ? "smtp;" : "X-Postrider;");
    add_diagnostic(&words, r);
    pr_buf_char(out, ' ');
    mail_text_fold(pr_buf_slice(&words), utf8, out->len - start, "    ", out);
    add_crlf(out);
    pr_buf_fini(&words);
}

/* RFC 3464 2.3 */
static void add_recipient_fields(struct pr_buf *out, const struct mail_dsn *d, const struct mail_rcpt *r, bool utf8)
{
    struct pr_slice unused;
    add_crlf(out);
    add_original_recipient(out, r->orcpt, utf8);
    pr_buf_str(out, pr_is_ascii(r->address) ? "Final-Recipient: rfc822; " : "Final-Recipient: utf-8; ");
    add_address(out, r->address, utf8);
    add_crlf(out);
    pr_buf_str(out, d->kind == MAIL_DSN_FAILURE ? "Action: failed\r\n" : "Action: delayed\r\n");
    add_status(out, r, d->kind);
    if (r->remote.len > 0) {
        pr_buf_str(out, "Remote-MTA: dns; ");
        add_token(out, pr_slice_cut(r->remote, ' ', &unused));
        add_crlf(out);
    }
    add_diagnostic_field(out, r, utf8);
    if (d->last_attempt.ms != 0)
        add_date_field(out, "Last-Attempt-Date", d->last_attempt);
    if (d->kind == MAIL_DSN_DELAY && d->will_retry_until.ms != 0)
        add_date_field(out, "Will-Retry-Until", d->will_retry_until);
}

static void make_status(const struct mail_dsn *d, bool utf8, struct part *p)
{
    add_message_fields(&p->body, d, utf8);
    for (size_t i = 0; i < d->n_rcpts; i++)
        add_recipient_fields(&p->body, d, d->rcpts[i], utf8);
    p->eight_bit = !pr_is_ascii(pr_buf_slice(&p->body));
    p->description = "Delivery report";
    p->type = utf8 ? "message/global-delivery-status" : "message/delivery-status";
}

/* --- the original --- */

/* RFC 3461 4.3: RET=FULL speaks about failures only; without RET we return small mail whole, as people expect. What does not fit a line of SMTP or is binary is not returned
 * whole, because nothing may be encoded inside message/rfc822. */
static bool returns_content(const struct mail_dsn *d)
{
    struct mail_line_check check;
    if (d->kind != MAIL_DSN_FAILURE || d->original->ret == MAIL_RET_HDRS || !d->content_complete ||
        d->content.len == 0 || d->content.len > MAIL_DSN_CONTENT_MAX || d->original->body == MAIL_BODY_BINARYMIME)
        return false;
    mail_line_check_init(&check);
    mail_line_check(&check, d->content);
    return check.longest_line <= MAIL_LINE_MAX;
}

/* One line and its CRLF, folded where it is too long for SMTP, never inside a character. */
static void add_header_line(struct pr_buf *out, struct pr_slice line)
{
    while (line.len > MAIL_LINE_MAX - 1) {
        size_t n = MAIL_LINE_MAX - 1;
        while (n > MAIL_LINE_MAX - 4 && ((unsigned char)line.ptr[n] & 0xc0) == 0x80)
            n--;
        pr_buf_append(out, line.ptr, n);
        pr_buf_str(out, "\r\n ");
        line = pr_slice_from(line, n);
    }
    pr_buf_add(out, line);
    add_crlf(out);
}

/* Header lines up to the empty one, bounded. */
static void add_header_lines(struct pr_buf *out, struct pr_slice header)
{
    struct pr_buf text = {NULL, 0, 0};
    struct mail_crlf_encoder encoder;
    mail_crlf_encoder_init(&encoder);
    mail_crlf_encode(&encoder, pr_slice_head(header, MAIL_DSN_CONTENT_MAX), &text);
    mail_crlf_finish(&encoder, &text);
    struct pr_slice left = pr_buf_slice(&text);
    while (left.len > 0 && left.ptr[0] != '\r') {
        struct pr_slice line = pr_slice_head(left, pr_slice_find(left, '\r'));
        add_header_line(out, line);
        left = pr_slice_from(left, line.len + 2);
    }
    pr_buf_fini(&text);
}

static void make_original(const struct mail_dsn *d, struct part *p)
{
    bool full = returns_content(d);
    bool global = d->original->smtputf8 && !pr_is_ascii(d->header);
    if (full) {
        struct mail_crlf_encoder encoder;
        mail_crlf_encoder_init(&encoder);
        mail_crlf_encode(&encoder, d->content, &p->body);
        mail_crlf_finish(&encoder, &p->body);
        p->type = global ? "message/global" : "message/rfc822";
    } else {
        add_header_lines(&p->body, d->header);
        p->type = global ? "message/global-headers" : "text/rfc822-headers";
    }
    p->description = full ? "Undelivered message" : "Header of the message";
    p->eight_bit = !pr_is_ascii(pr_buf_slice(&p->body));
}

/* --- together --- */

enum { N_PARTS = 3 };

/* Our own header, up to the boundary's quote. */
static void make_header(const struct mail_dsn *d, struct pr_buf *out)
{
    pr_buf_str(out, "From: Mail Delivery System <MAILER-DAEMON@");
    add_host(out, d);
    pr_buf_str(out, ">\r\nTo: ");
    if (d->original->sender.len == 0) {
        pr_buf_str(out, "undisclosed-recipients:;");
    } else {
        pr_buf_char(out, '<');
        add_address(out, d->original->sender, true);
        pr_buf_char(out, '>');
    }
    pr_buf_str(out, d->kind == MAIL_DSN_FAILURE ? "\r\nSubject: Undelivered mail returned to sender\r\n"
                                                : "\r\nSubject: Delayed mail, still being retried\r\n");
    add_date_field(out, "Date", d->now);
    pr_buf_str(out, "Message-ID: <");
    add_token(out, d->message_id);
    pr_buf_char(out, '@');
    add_host(out, d);
    pr_buf_str(out, ">\r\nAuto-Submitted: auto-replied\r\nMIME-Version: 1.0\r\n");
    pr_buf_str(out, "Content-Type: multipart/report; report-type=delivery-status;\r\n\tboundary=\"");
}

static bool occurs(struct pr_slice boundary, const struct pr_buf *header, const struct part *parts)
{
    bool found = pr_slice_find_slice(pr_buf_slice(header), boundary) != SIZE_MAX;
    for (size_t i = 0; i < N_PARTS; i++)
        found |= pr_slice_find_slice(pr_buf_slice(&parts[i].body), boundary) != SIZE_MAX;
    return found;
}

/* The hash takes in all the text (the header holds the Message-ID), so nobody can write a message that holds its own
 * boundary; the search makes it certain. */
static void make_boundary(const struct pr_buf *header, const struct part *parts, struct pr_buf *out)
{
    uint64_t seed = 0;
    do {
        uint64_t h = pr_hash(pr_buf_slice(header), seed++);
        for (size_t i = 0; i < N_PARTS; i++)
            h = pr_hash(pr_buf_slice(&parts[i].body), h);
        pr_buf_clear(out);
        pr_buf_printf(out, "=_postrider_%016llx%016llx", (unsigned long long)h,
                      (unsigned long long)pr_hash_u64(h ^ seed));
    } while (occurs(pr_buf_slice(out), header, parts));
}

static void add_part(struct pr_buf *out, const struct part *p, struct pr_slice boundary)
{
    pr_buf_str(out, "\r\n--");
    pr_buf_add(out, boundary);
    pr_buf_str(out, "\r\nContent-Description: ");
    pr_buf_str(out, p->description);
    pr_buf_str(out, "\r\nContent-Type: ");
    pr_buf_str(out, p->type);
    if (p->eight_bit)
        pr_buf_str(out, "\r\nContent-Transfer-Encoding: 8bit");
    pr_buf_str(out, "\r\n\r\n");
    pr_buf_add(out, pr_buf_slice(&p->body));
}

void mail_dsn_format(const struct mail_dsn *d, struct pr_buf *out)
{
    struct part parts[N_PARTS] = {{.description = NULL}};
    struct pr_buf header = {NULL, 0, 0}, boundary = {NULL, 0, 0};
    bool utf8 = reports_utf8(d), eight_bit = false;
    make_header(d, &header);
    make_text(d, utf8, &parts[0]);
    make_status(d, utf8, &parts[1]);
    make_original(d, &parts[2]);
    make_boundary(&header, parts, &boundary);
    for (size_t i = 0; i < N_PARTS; i++)
        eight_bit |= parts[i].eight_bit;
    pr_buf_add(out, pr_buf_slice(&header));
    pr_buf_add(out, pr_buf_slice(&boundary));
    pr_buf_str(out, eight_bit ? "\"\r\nContent-Transfer-Encoding: 8bit\r\n\r\n" : "\"\r\n\r\n");
    pr_buf_str(out, "This is a MIME-encapsulated message.\r\n");
    for (size_t i = 0; i < N_PARTS; i++) {
        /* The third part is optional (RFC 6522 section 3), and empty when nothing of the original is left. */
        if (parts[i].body.len > 0)
            add_part(out, &parts[i], pr_buf_slice(&boundary));
        pr_buf_fini(&parts[i].body);
    }
    pr_buf_str(out, "\r\n--");
    pr_buf_add(out, pr_buf_slice(&boundary));
    pr_buf_str(out, "--\r\n");
    pr_buf_fini(&boundary);
    pr_buf_fini(&header);
}
