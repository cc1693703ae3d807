/* Mailboxes of the envelope. One pass from left to right, no backtracking:
 *
 *   1. `<`, unless bare
 *   2. a source route, checked and dropped
 *   3. local-part (dot-string or quoted string), `@`, domain or literal
 *   4. `>`
 *
 * Because the local-part is read by its grammar, the `@` behind it is the last unquoted one: a quoted `@` cannot choose
 * where the mail is routed. Non-ASCII is accepted by the grammar (RFC 6531 3.3) and refused at the end when SMTPUTF8 is
 * missing, so that the error tells the two cases apart. */
#include "common/mail/address.h"

#include "common/mail/text.h"

struct cursor {
    struct pr_slice in;
    size_t at;
};

static bool more(const struct cursor *c) { return c->at < c->in.len; }

static char peek(const struct cursor *c) { return more(c) ? c->in.ptr[c->at] : '\0'; }

static bool take(struct cursor *c, char wanted)
{
    if (!more(c) || c->in.ptr[c->at] != wanted)
        return false;
    c->at++;
    return true;
}

static bool is_non_ascii(char c) { return (unsigned char)c >= 0x80; }

/* RFC 5322 atext, and UTF8-non-ascii (RFC 6531). */
static bool is_atext(char c)
{
    static const struct pr_slice specials = {"!#$%&'*+-/=?^_`{|}~", 19};
    return pr_is_alnum(c) || is_non_ascii(c) || pr_slice_find(specials, c) != SIZE_MAX;
}

/* RFC 5321 qtextSMTP: %d32-33 / %d35-91 / %d93-126, and UTF8-non-ascii. */
static bool is_qtext(char c) { return !pr_is_ctl(c) && c != '"' && c != '\\'; }

/* Dot-string = Atom *("." Atom) */
static int take_dot_string(struct cursor *c)
{
    do {
        size_t start = c->at;
        while (more(c) && is_atext(peek(c)))
            c->at++;
        if (c->at == start)
            return PR_EPARSE;
    } while (take(c, '.'));
    return 0;
}

/* Quoted-string = DQUOTE *(qtextSMTP / "\" %d32-126) DQUOTE */
static int take_quoted_string(struct cursor *c)
{
    c->at++;
    while (more(c) && peek(c) != '"') {
        if (take(c, '\\')) {
            if (!more(c) || pr_is_ctl(peek(c)) || is_non_ascii(peek(c)))
                return PR_EPARSE;
        } else if (!is_qtext(peek(c))) {
            return PR_EPARSE;
        }
        c->at++;
    }
    return take(c, '"') ? 0 : PR_EPARSE;
}

static int take_local(struct cursor *c, struct pr_slice *ret_local)
{
    size_t start = c->at;
    int rc = peek(c) == '"' ? take_quoted_string(c) : take_dot_string(c);
    if (rc != 0)
        return rc;
    *ret_local = pr_slice(c->in.ptr + start, c->at - start);
    /* Ill-formed UTF-8 and C1 controls are more than one byte, so the byte classes above do not see them. */
    if (!mail_text_valid(*ret_local))
        return PR_EPARSE;
    return ret_local->len > MAIL_LOCAL_MAX ? PR_ETOOBIG : 0;
}

static bool is_domain_byte(char c) { return pr_is_alnum(c) || is_non_ascii(c) || c == '-' || c == '.'; }

/* Too long is told from ill-formed: every label fine, only too many octets. */
static int check_domain(struct pr_slice domain)
{
    size_t label = 0;
    if (mail_domain_valid(domain, true))
        return 0;
    if (domain.len > MAIL_DOMAIN_MAX)
        return PR_ETOOBIG;
    for (size_t i = 0; i < domain.len; i++) {
        label = domain.ptr[i] == '.' ? 0 : label + 1;
        if (label > MAIL_LABEL_MAX)
            return PR_ETOOBIG;
    }
    return PR_EPARSE;
}

static struct pr_slice take_domain(struct cursor *c)
{
    size_t start = c->at;
    while (more(c) && is_domain_byte(peek(c)))
        c->at++;
    return pr_slice(c->in.ptr + start, c->at - start);
}

static int take_literal(struct cursor *c, struct pr_slice *ret_literal)
{
    size_t start = c->at;
    while (more(c) && peek(c) != ']')
        c->at++;
    if (!take(c, ']'))
        return PR_EPARSE;
    *ret_literal = pr_slice(c->in.ptr + start, c->at - start);
    return mail_literal_valid(*ret_literal) ? 0 : PR_EPARSE;
}

/* A-d-l ":" = "@" Domain *("," "@" Domain) ":" (RFC 5321 4.1.2: SHOULD be ignored). */
static int take_source_route(struct cursor *c, unsigned flags)
{
    if (peek(c) != '@')
        return 0;
    do {
        if (!take(c, '@'))
            return PR_EPARSE;
        struct pr_slice domain = take_domain(c);
        int rc = check_domain(domain);
        if (rc == 0 && !pr_is_ascii(domain) && (flags & MAIL_ADDRESS_ALLOW_UTF8) == 0)
            rc = PR_EVERSION;
        if (rc != 0)
            return rc;
    } while (take(c, ','));
    return take(c, ':') ? 0 : PR_EPARSE;
}

/* The domain of a mailbox. One trailing dot is accepted (it means the same name) and not kept. */
static int take_mailbox_domain(struct cursor *c, struct mail_address *a)
{
    if (peek(c) == '[') {
        a->kind = MAIL_ADDRESS_LITERAL;
        return take_literal(c, &a->domain);
    }
    a->kind = MAIL_ADDRESS_DOMAIN;
    a->domain = take_domain(c);
    if (a->domain.len > 0 && a->domain.ptr[a->domain.len - 1] == '.')
        a->domain.len--;
    return check_domain(a->domain);
}

static int take_mailbox(struct cursor *c, unsigned flags, struct mail_address *a)
{
    size_t start = c->at;
    int rc = take_local(c, &a->local);
    if (rc != 0)
        return rc;
    if (take(c, '@')) {
        rc = take_mailbox_domain(c, a);
        if (rc != 0)
            return rc;
        a->text = pr_slice(c->in.ptr + start, (size_t)(a->domain.ptr - (c->in.ptr + start)) + a->domain.len);
    } else {
        /* RFC 5321 4.1.1.3: <postmaster> is the one forward-path without a domain. */
        if ((flags & MAIL_ADDRESS_ALLOW_NULL) != 0 || !pr_slice_ieq_str(a->local, "postmaster"))
            return PR_EPARSE;
        a->kind = MAIL_ADDRESS_LOCAL;
        a->text = a->local;
    }
    a->utf8 = !pr_is_ascii(a->text);
    return 0;
}

static int take_path(struct cursor *c, unsigned flags, struct mail_address *a)
{
    if (!take(c, '<'))
        return PR_EPARSE;
    if ((flags & MAIL_ADDRESS_ALLOW_NULL) != 0 && take(c, '>')) {
        a->kind = MAIL_ADDRESS_NULL;
        return 0;
    }
    int rc = take_source_route(c, flags);
    if (rc == 0)
        rc = take_mailbox(c, flags, a);
    if (rc != 0)
        return rc;
    return take(c, '>') ? 0 : PR_EPARSE;
}

static int take_bare(struct cursor *c, unsigned flags, struct mail_address *a)
{
    if (c->in.len == 0 && (flags & MAIL_ADDRESS_ALLOW_NULL) != 0) {
        a->kind = MAIL_ADDRESS_NULL;
        return 0;
    }
    int rc = take_mailbox(c, flags, a);
    if (rc != 0)
        return rc;
    return more(c) ? PR_EPARSE : 0;
}

int mail_address_parse(struct pr_slice in, unsigned flags, struct mail_address *ret, struct pr_slice *ret_rest)
{
    static const struct pr_slice nothing = {"", 0};
    struct mail_address a = {.text = nothing, .local = nothing, .domain = nothing};
    struct cursor c = {in.ptr == NULL ? nothing : in, 0};
    bool bare = (flags & MAIL_ADDRESS_BARE) != 0;
    int rc = bare ? take_bare(&c, flags, &a) : take_path(&c, flags, &a);
    if (rc != 0)
        return rc;
    /* The path limit counts the angle brackets and the route (RFC 5321 4.5.3.1.3). */
    if (c.at + (bare ? 2 : 0) > MAIL_PATH_MAX)
        return PR_ETOOBIG;
    if (a.utf8 && (flags & MAIL_ADDRESS_ALLOW_UTF8) == 0)
        return PR_EVERSION;
    *ret = a;
    *ret_rest = pr_slice_from(c.in, c.at);
    return 0;
}
