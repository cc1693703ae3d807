/* Domains and address literals (RFC 5321 4.1.2, 4.1.3), as text: nothing here looks anything up. */
#include "common/mail/address.h"

#include "common/mail/text.h"

/* Dots of other scripts become '.' by IDNA's mapping (UTS 46), after we have looked for dots: U+3002, U+FF0E, U+FF61.
 */
static bool maps_to_dot(struct pr_slice s)
{
    const unsigned char *p = (const unsigned char *)s.ptr;
    if (s.len < 3)
        return false;
    return (p[0] == 0xe3 && p[1] == 0x80 && p[2] == 0x82) || (p[0] == 0xef && p[1] == 0xbc && p[2] == 0x8e) ||
           (p[0] == 0xef && p[1] == 0xbd && p[2] == 0xa1);
}

static bool label_byte(char c, bool underscore)
{
    return pr_is_alnum(c) || c == '-' || (unsigned char)c >= 0x80 || (underscore && c == '_');
}

/* Let-dig [Ldh-str], or a U-label. The limit counts characters, which is octets for ASCII. */
static bool label_valid(struct pr_slice label, bool underscore)
{
    size_t characters = 0;
    if (label.len == 0 || label.ptr[0] == '-' || label.ptr[label.len - 1] == '-')
        return false;
    for (size_t i = 0; i < label.len; i++) {
        unsigned char c = (unsigned char)label.ptr[i];
        if (!label_byte(label.ptr[i], underscore))
            return false;
        if (c >= 0xe0 && maps_to_dot(pr_slice_from(label, i)))
            return false;
        characters += (c & 0xc0) != 0x80;
    }
    return characters <= MAIL_LABEL_MAX;
}

static bool labels_valid(struct pr_slice domain, bool underscore)
{
    bool more = true;
    while (more) {
        struct pr_slice rest;
        struct pr_slice label = pr_slice_cut(domain, '.', &rest);
        if (!label_valid(label, underscore))
            return false;
        more = label.len < domain.len;
        domain = rest;
    }
    return true;
}

/* 192.0.2.1 without brackets is an address pretending to be a name: a resolver would take it as one. */
static bool all_numeric(struct pr_slice domain)
{
    for (size_t i = 0; i < domain.len; i++)
        if (!pr_is_digit(domain.ptr[i]) && domain.ptr[i] != '.')
            return false;
    return true;
}

bool mail_domain_valid(struct pr_slice domain, bool utf8)
{
    if (domain.len == 0 || domain.len > MAIL_DOMAIN_MAX)
        return false;
    if (!pr_is_ascii(domain) && (!utf8 || !mail_text_valid(domain)))
        return false;
    return labels_valid(domain, false) && !all_numeric(domain);
}

/* Four decimal numbers without leading zeros, which some libraries read as octal. */
static bool ipv4_valid(struct pr_slice s)
{
    unsigned parts = 0;
    bool more = true;
    while (more) {
        struct pr_slice rest;
        struct pr_slice part = pr_slice_cut(s, '.', &rest);
        uint32_t value;
        if (part.len > 3 || (part.len > 1 && part.ptr[0] == '0') || pr_parse_u32(part, 255, &value) != 0)
            return false;
        more = part.len < s.len;
        s = rest;
        parts++;
    }
    return parts == 4;
}

static bool ipv6_group_valid(struct pr_slice s)
{
    uint64_t value;
    return s.len <= 4 && pr_parse_hex64(s, &value) == 0;
}

/* Groups of one side of "::" (or of the whole), an IPv4 tail counting as two. False when ill-formed. */
static bool ipv6_groups(struct pr_slice s, bool v4_tail, unsigned *ret_groups)
{
    unsigned groups = 0;
    bool more = s.len > 0;
    while (more) {
        struct pr_slice rest;
        struct pr_slice group = pr_slice_cut(s, ':', &rest);
        more = group.len < s.len;
        if (ipv6_group_valid(group))
            groups++;
        else if (v4_tail && !more && ipv4_valid(group))
            groups += 2;
        else
            return false;
        s = rest;
    }
    *ret_groups = groups;
    return true;
}

static bool ipv6_valid(struct pr_slice s)
{
    unsigned before, after;
    size_t gap = pr_slice_find_slice(s, PR_SLICE_LIT("::"));
    if (gap == SIZE_MAX)
        return ipv6_groups(s, true, &before) && before == 8;
    /* A second "::" shows as an empty group on the right side. */
    return ipv6_groups(pr_slice_head(s, gap), false, &before) && ipv6_groups(pr_slice_from(s, gap + 2), true, &after) &&
           before + after <= 7;
}

bool mail_literal_valid(struct pr_slice literal)
{
    static const struct pr_slice tag = {"IPv6:", 5};
    if (literal.len < 3 || literal.len > MAIL_DOMAIN_MAX || literal.ptr[0] != '[' ||
        literal.ptr[literal.len - 1] != ']')
        return false;
    struct pr_slice inner = pr_slice(literal.ptr + 1, literal.len - 2);
    if (pr_slice_istarts(inner, tag))
        return ipv6_valid(pr_slice_from(inner, tag.len));
    return ipv4_valid(inner);
}

bool mail_helo_valid(struct pr_slice name)
{
    if (name.len == 0 || name.len > MAIL_DOMAIN_MAX || !pr_is_ascii(name))
        return false;
    if (name.ptr[0] == '[')
        return mail_literal_valid(name);
    if (name.ptr[name.len - 1] == '.')
        name.len--;
    return labels_valid(name, true);
}

static struct pr_slice without_dot(struct pr_slice domain)
{
    if (domain.len > 0 && domain.ptr[domain.len - 1] == '.')
        domain.len--;
    return domain;
}

void mail_domain_normalize(struct pr_slice domain, struct pr_buf *out)
{
    domain = without_dot(domain);
    if (domain.len == 0)
        return;
    char *p = pr_buf_reserve(out, domain.len);
    for (size_t i = 0; i < domain.len; i++)
        p[i] = pr_lower(domain.ptr[i]);
    out->len += domain.len;
}

bool mail_domain_eq(struct pr_slice a, struct pr_slice b) { return pr_slice_ieq(without_dot(a), without_dot(b)); }

bool mail_domain_match(struct pr_slice domain, struct pr_slice pattern)
{
    domain = without_dot(domain);
    pattern = without_dot(pattern);
    if (pattern.len >= 2 && pattern.ptr[0] == '*' && pattern.ptr[1] == '.')
        pattern = pr_slice_from(pattern, 1);
    if (pattern.len >= 1 && pattern.ptr[0] == '.')
        return domain.len > pattern.len && pr_slice_iends(domain, pattern);
    return pr_slice_ieq(domain, pattern);
}
