/* The header as it streams by, and the trace field and date that we write.
 *
 * Scanning goes line by line: what matters is the first octet of a line (a continuation, the empty line, or a new
 * field), then the name up to its colon; the rest of a line is skipped with memchr. A line ends at LF, so that a header
 * in BINARYMIME content cannot hide its Received fields behind bare LF. Each octet is looked at once. */
#include "common/mail/header.h"

#include "common/mail/text.h"

enum { LINE_START, LINE_CR /* CR as first octet of a line */, NAME, REST, DONE };

void mail_header_scan_init(struct mail_header_scan *s) { *s = (struct mail_header_scan){.state = LINE_START}; }

static void end_field_name(struct mail_header_scan *s)
{
    static const struct {
        const char *name;
        unsigned seen;
    } known[] = {
        {"date", MAIL_HEADER_DATE},
        {"message-id", MAIL_HEADER_MESSAGE_ID},
        {"from", MAIL_HEADER_FROM},
        {"subject", MAIL_HEADER_SUBJECT},
    };
    struct pr_slice name = pr_slice_trim(pr_slice(s->name, s->name_len < sizeof s->name ? s->name_len : 0));
    if (pr_slice_eq_str(name, "received"))
        s->received++;
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (pr_slice_eq_str(name, known[i].name))
            s->seen |= known[i].seen;
}

static void count_field(struct mail_header_scan *s, size_t n)
{
    s->field_len += n;
    if (s->field_len > s->longest_field)
        s->longest_field = s->field_len;
}

static void start_field(struct mail_header_scan *s)
{
    s->field_len = 0;
    s->name_len = 0;
    s->state = NAME;
}

/* The first octet of a line. */
static void start_line(struct mail_header_scan *s, char c)
{
    if (c == '\n')
        s->state = DONE;
    else if (c == '\r')
        s->state = LINE_CR;
    else if (c == ' ' || c == '\t')
        s->state = REST;
    else
        start_field(s);
}

/* CR LF is the empty line, which belongs to no field; CR and anything else is a line of junk. */
static void after_cr(struct mail_header_scan *s, char c)
{
    s->state = c == '\n' ? DONE : REST;
    if (s->state == REST)
        count_field(s, 1);
}

static void take_name(struct mail_header_scan *s, char c)
{
    if (c == ':') {
        end_field_name(s);
        s->state = REST;
    } else if (c == '\n') {
        s->state = LINE_START;
    } else if (s->name_len < sizeof s->name) {
        s->name[s->name_len++] = pr_lower(c);
    }
}

static void take_octet(struct mail_header_scan *s, char c)
{
    if (s->state == LINE_START)
        start_line(s, c);
    else if (s->state == LINE_CR)
        after_cr(s, c);
    if (s->state == NAME)
        take_name(s, c);
    s->header_bytes++;
    s->done = s->state == DONE;
    if (!s->done && s->state != LINE_CR)
        count_field(s, 1);
}

void mail_header_scan(struct mail_header_scan *s, struct pr_slice in)
{
    size_t at = 0;
    while (at < in.len && !s->done) {
        if (s->state != REST) {
            take_octet(s, in.ptr[at++]);
            continue;
        }
        size_t n = pr_slice_find(pr_slice_from(in, at), '\n');
        bool ended = n != SIZE_MAX;
        n = ended ? n + 1 : in.len - at;
        s->header_bytes += n;
        count_field(s, n);
        at += n;
        if (ended)
            s->state = LINE_START;
    }
}

/* A value for the field: printable, without what would open a comment, a literal or the next clause. */
static void add_token(struct pr_buf *out, struct pr_slice value, size_t max)
{
    value = pr_slice_head(value, max);
    for (size_t i = 0; i < value.len; i++) {
        char c = value.ptr[i];
        bool plain = pr_is_alnum(c) || c == '.' || c == '-' || c == '_' || c == ':' || c == '/' || c == '+';
        pr_buf_char(out, plain ? c : '?');
    }
}

static void add_name(struct pr_buf *out, struct pr_slice name)
{
    enum { NAME_MAX_OCTETS = 255 };
    if (name.len == 0) {
        pr_buf_str(out, "unknown");
    } else if (name.len >= 2 && name.ptr[0] == '[' && name.ptr[name.len - 1] == ']') {
        pr_buf_char(out, '[');
        add_token(out, pr_slice(name.ptr + 1, name.len - 2), NAME_MAX_OCTETS);
        pr_buf_char(out, ']');
    } else {
        add_token(out, name, NAME_MAX_OCTETS);
    }
}

static void add_address_literal(struct pr_buf *out, struct pr_slice address)
{
    enum { ADDRESS_MAX_OCTETS = 64 };
    pr_buf_char(out, '[');
    if (pr_slice_find(address, ':') != SIZE_MAX && !pr_slice_istarts(address, PR_SLICE_LIT("IPv6:")))
        pr_buf_str(out, "IPv6:");
    add_token(out, address, ADDRESS_MAX_OCTETS);
    pr_buf_char(out, ']');
}

/* Text inside a comment: parentheses and backslashes would end it or change its nesting. */
static void add_comment(struct pr_buf *out, struct pr_slice text)
{
    enum { COMMENT_MAX_OCTETS = 200 };
    size_t start = out->len;
    mail_text_clean(pr_slice_head(text, COMMENT_MAX_OCTETS), false, out);
    for (size_t i = start; i < out->len; i++)
        if (out->ptr[i] == '(' || out->ptr[i] == ')' || out->ptr[i] == '\\')
            out->ptr[i] = '?';
}

void mail_received_format(const struct mail_received *r, struct pr_buf *out)
{
    enum { TOKEN_MAX_OCTETS = 100, PATH_MAX_OCTETS = 256 };
    pr_buf_str(out, "Received: from ");
    add_name(out, r->helo);
    pr_buf_str(out, "\r\n\t(");
    add_name(out, r->client_name);
    pr_buf_char(out, ' ');
    add_address_literal(out, r->client_address);
    pr_buf_str(out, ")\r\n\tby ");
    add_name(out, r->by);
    pr_buf_str(out, " with ");
    add_token(out, r->with, TOKEN_MAX_OCTETS);
    if (r->tls.len > 0) {
        pr_buf_str(out, "\r\n\t(");
        add_comment(out, r->tls);
        pr_buf_char(out, ')');
    }
    pr_buf_str(out, "\r\n\tid ");
    add_token(out, r->id, TOKEN_MAX_OCTETS);
    if (r->for_.len > 0) {
        pr_buf_str(out, "\r\n\tfor <");
        mail_text_clean(pr_slice_head(r->for_, PATH_MAX_OCTETS), true, out);
        pr_buf_char(out, '>');
    }
    pr_buf_str(out, ";\r\n\t");
    mail_date_format(r->date, out);
    pr_buf_append(out, "\r\n", 2);
}

static void add_two(struct pr_buf *out, int n)
{
    pr_buf_char(out, (char)('0' + n / 10));
    pr_buf_char(out, (char)('0' + n % 10));
}

void mail_date_format(pr_wall t, struct pr_buf *out)
{
    static const char days[7][4] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
    static const char months[12][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                       "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    struct pr_civil c = pr_civil_utc(t);
    pr_buf_str(out, days[c.weekday]);
    pr_buf_str(out, ", ");
    add_two(out, c.day);
    pr_buf_char(out, ' ');
    pr_buf_str(out, months[c.month - 1]);
    pr_buf_char(out, ' ');
    pr_buf_u64(out, (uint64_t)c.year);
    pr_buf_char(out, ' ');
    add_two(out, c.hour);
    pr_buf_char(out, ':');
    add_two(out, c.minute);
    pr_buf_char(out, ':');
    add_two(out, c.second);
    pr_buf_str(out, " +0000");
}
