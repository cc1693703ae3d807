/* Command lines of a client: the verb, then the arguments of MAIL, RCPT and BDAT.
 *
 * MAIL and RCPT share their shape: keyword, path, then parameters. Each parameter is one row of a table: its name, the
 * extension that makes it known, and a handler that checks the value and stores it. What is no row is refused with 555,
 * what is a row twice or has a bad value with 501 (RFC 5321 4.1.1.11, 3461 4, 1870 6, 4954 5). */
#include "common/mail/command.h"

#include "common/mail/text.h"

const char *const mail_verb_names[MAIL_VERB_NR] = {
    [MAIL_VERB_UNKNOWN] = "UNKNOWN", [MAIL_VERB_EHLO] = "EHLO", [MAIL_VERB_HELO] = "HELO",
    [MAIL_VERB_LHLO] = "LHLO",       [MAIL_VERB_MAIL] = "MAIL", [MAIL_VERB_RCPT] = "RCPT",
    [MAIL_VERB_DATA] = "DATA",       [MAIL_VERB_BDAT] = "BDAT", [MAIL_VERB_RSET] = "RSET",
    [MAIL_VERB_NOOP] = "NOOP",       [MAIL_VERB_QUIT] = "QUIT", [MAIL_VERB_VRFY] = "VRFY",
    [MAIL_VERB_EXPN] = "EXPN",       [MAIL_VERB_HELP] = "HELP", [MAIL_VERB_STARTTLS] = "STARTTLS",
    [MAIL_VERB_AUTH] = "AUTH",
};

/* First words of HTTP, RTSP and SIP requests, of header lines sent by a form, and of other protocols' greetings. */
static const char *const foreign_words[] = {
    "GET",     "POST",          "PUT",      "HEAD",    "DELETE",      "OPTIONS",         "TRACE", "CONNECT",
    "PATCH",   "PRI",           "PROPFIND", "INVITE",  "REGISTER",    "DESCRIBE",        "Host:", "User-Agent:",
    "Accept:", "Content-Type:", "Referer:", "Cookie:", "Connection:", "Content-Length:",
};

enum {
    SEEN_SIZE = 1,
    SEEN_BODY = 2,
    SEEN_SMTPUTF8 = 4,
    SEEN_RET = 8,
    SEEN_ENVID = 16,
    SEEN_AUTH = 32,
    SEEN_NOTIFY = 64,
    SEEN_ORCPT = 128
};
enum { ENVID_MAX = 100, ORCPT_MAX = 500, SIZE_DIGITS_MAX = 20 };

/* One command being read. */
struct parse {
    unsigned ext;
    unsigned seen;   /* SEEN_ bits: each parameter at most once */
    bool utf8_value; /* some value holds non-ASCII */
    struct mail_from *from;
    struct mail_to *to;
    struct mail_reply *reply;
};

/* A handler returns true, or sets the reply and returns false. has_value is false for a bare keyword. */
struct param {
    const char *name;
    unsigned ext;
    unsigned seen;
    bool (*set)(struct parse *p, struct pr_slice value, bool has_value);
};

static bool refuse(struct parse *p, uint16_t code, const char *enhanced, const char *text)
{
    *p->reply = (struct mail_reply){code, enhanced, text};
    return false;
}

static bool set_size(struct parse *p, struct pr_slice value, bool has_value)
{
    uint64_t size;
    if (!has_value || value.len > SIZE_DIGITS_MAX)
        return refuse(p, 501, "5.5.4", "SIZE needs a number");
    int rc = pr_parse_u64(value, UINT64_MAX, &size);
    if (rc == PR_ERANGE)
        return refuse(p, 552, "5.3.4", "Message size exceeds any limit");
    if (rc != 0)
        return refuse(p, 501, "5.5.4", "SIZE needs a number");
    p->from->has_size = true;
    p->from->size_bytes = size;
    return true;
}

static bool set_body(struct parse *p, struct pr_slice value, bool has_value)
{
    if (has_value && pr_slice_ieq_str(value, "7BIT"))
        p->from->body = MAIL_BODY_7BIT;
    else if (has_value && pr_slice_ieq_str(value, "8BITMIME"))
        p->from->body = MAIL_BODY_8BITMIME;
    else if (has_value && pr_slice_ieq_str(value, "BINARYMIME") && (p->ext & MAIL_EXT_BINARYMIME) != 0)
        p->from->body = MAIL_BODY_BINARYMIME;
    else
        return refuse(p, 501, "5.5.4", "Unknown BODY type");
    return true;
}

static bool set_smtputf8(struct parse *p, struct pr_slice value, bool has_value)
{
    (void)value;
    if (has_value)
        return refuse(p, 501, "5.5.4", "SMTPUTF8 takes no value");
    p->from->smtputf8 = true;
    return true;
}

static bool set_ret(struct parse *p, struct pr_slice value, bool has_value)
{
    if (has_value && pr_slice_ieq_str(value, "FULL"))
        p->from->ret = MAIL_RET_FULL;
    else if (has_value && pr_slice_ieq_str(value, "HDRS"))
        p->from->ret = MAIL_RET_HDRS;
    else
        return refuse(p, 501, "5.5.4", "RET is FULL or HDRS");
    return true;
}

static bool xtext_valid(struct pr_slice value)
{
    struct pr_buf decoded = {NULL, 0, 0};
    int rc = mail_xtext_decode(value, &decoded);
    pr_buf_fini(&decoded);
    return rc == 0;
}

/* RFC 3461 4.4: what ENVID encodes is printable ASCII, even where addresses may be more. */
static bool envid_valid(struct pr_slice value)
{
    struct pr_buf decoded = {NULL, 0, 0};
    bool ok = mail_xtext_decode(value, &decoded) == 0 && pr_is_ascii(pr_buf_slice(&decoded));
    pr_buf_fini(&decoded);
    return ok;
}

static bool set_envid(struct parse *p, struct pr_slice value, bool has_value)
{
    if (!has_value || value.len == 0 || value.len > ENVID_MAX || !envid_valid(value))
        return refuse(p, 501, "5.5.4", "ENVID needs 1 to 100 characters of xtext");
    p->from->envid_xtext = value;
    return true;
}

/* RFC 4954 section 5: the identity is "<>" or a mailbox in xtext. It is checked and not believed, which is what a
 * server does for a client that is not trusted to name others. */
static bool set_auth(struct parse *p, struct pr_slice value, bool has_value)
{
    if (!has_value || value.len == 0 || !(pr_slice_eq_str(value, "<>") || xtext_valid(value)))
        return refuse(p, 501, "5.5.4", "AUTH needs a mailbox in xtext or <>");
    return true;
}

static unsigned notify_bit(struct pr_slice word)
{
    if (pr_slice_ieq_str(word, "NEVER"))
        return MAIL_NOTIFY_NEVER;
    if (pr_slice_ieq_str(word, "SUCCESS"))
        return MAIL_NOTIFY_SUCCESS;
    if (pr_slice_ieq_str(word, "FAILURE"))
        return MAIL_NOTIFY_FAILURE;
    return pr_slice_ieq_str(word, "DELAY") ? MAIL_NOTIFY_DELAY : 0;
}

static bool set_notify(struct parse *p, struct pr_slice value, bool has_value)
{
    unsigned notify = 0;
    bool more = has_value;
    while (more) {
        struct pr_slice rest;
        struct pr_slice word = pr_slice_cut(value, ',', &rest);
        unsigned bit = notify_bit(word);
        if (bit == 0 || (notify & bit) != 0)
            return refuse(p, 501, "5.5.4", "NOTIFY is NEVER, or some of SUCCESS, FAILURE, DELAY");
        notify |= bit;
        more = word.len < value.len;
        value = rest;
    }
    if (notify == 0 || ((notify & MAIL_NOTIFY_NEVER) != 0 && notify != MAIL_NOTIFY_NEVER))
        return refuse(p, 501, "5.5.4", "NOTIFY is NEVER, or some of SUCCESS, FAILURE, DELAY");
    p->to->notify = notify;
    return true;
}

static bool atom_valid(struct pr_slice s)
{
    for (size_t i = 0; i < s.len; i++)
        if (!pr_is_alnum(s.ptr[i]) && s.ptr[i] != '-')
            return false;
    return s.len > 0;
}

static bool set_orcpt(struct parse *p, struct pr_slice value, bool has_value)
{
    struct pr_slice address;
    struct pr_slice type = pr_slice_cut(value, ';', &address);
    if (!has_value || value.len > ORCPT_MAX || !atom_valid(type) || address.len == 0 || !xtext_valid(address))
        return refuse(p, 501, "5.5.4", "ORCPT needs type;address in xtext, at most 500 characters");
    p->to->orcpt_xtext = value;
    return true;
}

static const struct param from_params[] = {
    {"SIZE", MAIL_EXT_SIZE, SEEN_SIZE, set_size},
    {"BODY", MAIL_EXT_8BITMIME | MAIL_EXT_BINARYMIME, SEEN_BODY, set_body},
    {"SMTPUTF8", MAIL_EXT_SMTPUTF8, SEEN_SMTPUTF8, set_smtputf8},
    {"RET", MAIL_EXT_DSN, SEEN_RET, set_ret},
    {"ENVID", MAIL_EXT_DSN, SEEN_ENVID, set_envid},
    {"AUTH", MAIL_EXT_AUTH, SEEN_AUTH, set_auth},
    {NULL, 0, 0, NULL},
};

static const struct param to_params[] = {
    {"NOTIFY", MAIL_EXT_DSN, SEEN_NOTIFY, set_notify},
    {"ORCPT", MAIL_EXT_DSN, SEEN_ORCPT, set_orcpt},
    {NULL, 0, 0, NULL},
};

/* esmtp-keyword = (ALPHA / DIGIT) *(ALPHA / DIGIT / "-") */
static bool keyword_valid(struct pr_slice s) { return atom_valid(s) && s.ptr[0] != '-'; }

/* esmtp-value = 1*(%d33-60 / %d62-126), and UTF-8 with SMTPUTF8 (RFC 6531 3.3). */
static bool value_valid(struct pr_slice s)
{
    for (size_t i = 0; i < s.len; i++)
        if (s.ptr[i] == ' ' || s.ptr[i] == '=')
            return false;
    return s.len > 0 && mail_text_valid(s);
}

static bool read_param(struct parse *p, const struct param *table, struct pr_slice word)
{
    struct pr_slice value;
    struct pr_slice name = pr_slice_cut(word, '=', &value);
    bool has_value = name.len < word.len;
    if (!keyword_valid(name) || (has_value && !value_valid(value)))
        return refuse(p, 501, "5.5.4", "Malformed parameter");
    while (table->name != NULL && !pr_slice_ieq_str(name, table->name))
        table++;
    if (table->name == NULL || (p->ext & table->ext) == 0)
        return refuse(p, 555, "5.5.4", "Unknown or unsupported parameter");
    if ((p->seen & table->seen) != 0)
        return refuse(p, 501, "5.5.4", "Duplicate parameter");
    p->seen |= table->seen;
    p->utf8_value |= !pr_is_ascii(value);
    return table->set(p, value, has_value);
}

/* rest: what follows the path, "" or " PARAM PARAM=VALUE". More than one space between two is harmless. */
static bool read_params(struct parse *p, const struct param *table, struct pr_slice rest)
{
    if (rest.len > 0 && rest.ptr[0] != ' ')
        return refuse(p, 501, "5.5.4", "Malformed text after the address");
    while (rest.len > 0) {
        struct pr_slice next;
        struct pr_slice word = pr_slice_cut(rest, ' ', &next);
        if (word.len > 0 && !read_param(p, table, word))
            return false;
        rest = next;
    }
    return true;
}

static bool refuse_path(struct parse *p, int rc, bool sender)
{
    const char *enhanced = sender ? "5.1.7" : "5.1.3";
    if (rc == PR_ETOOBIG)
        return refuse(p, 553, enhanced, sender ? "Sender address is too long" : "Recipient address is too long");
    return refuse(p, 553, enhanced, sender ? "Malformed sender address" : "Malformed recipient address");
}

static bool read_path(struct parse *p, struct pr_slice args, const char *keyword, struct mail_address *path,
                      struct pr_slice *ret_rest)
{
    bool sender = p->from != NULL;
    struct pr_slice prefix = pr_slice_str(keyword);
    if (!pr_slice_istarts(args, prefix) || args.len == prefix.len || args.ptr[prefix.len] != '<')
        return refuse(p, 501, "5.5.4", sender ? "Syntax: MAIL FROM:<address>" : "Syntax: RCPT TO:<address>");
    /* Whether UTF-8 is allowed is known only after the parameters of MAIL. */
    unsigned flags = MAIL_ADDRESS_ALLOW_UTF8 | (sender ? MAIL_ADDRESS_ALLOW_NULL : 0);
    int rc = mail_address_parse(pr_slice_from(args, prefix.len), flags, path, ret_rest);
    return rc == 0 ? true : refuse_path(p, rc, sender);
}

static bool check_utf8(struct parse *p, const struct mail_address *path, bool smtputf8)
{
    if (smtputf8)
        return true;
    if (path->utf8)
        return refuse(p, 553, "5.6.7", "This address needs SMTPUTF8");
    return p->utf8_value ? refuse(p, 501, "5.5.4", "Malformed parameter") : true;
}

int mail_command_from(struct pr_slice args, unsigned ext, struct mail_from *ret, struct mail_reply *reterr_reply)
{
    struct mail_from from = {.has_size = false};
    struct parse p = {.ext = ext, .from = &from, .reply = reterr_reply};
    struct pr_slice rest;
    if (!read_path(&p, args, "FROM:", &from.path, &rest) || !read_params(&p, from_params, rest) ||
        !check_utf8(&p, &from.path, from.smtputf8))
        return PR_EPARSE;
    *ret = from;
    return 0;
}

int mail_command_to(struct pr_slice args, unsigned ext, bool smtputf8, struct mail_to *ret,
                    struct mail_reply *reterr_reply)
{
    struct mail_to to = {.notify = 0};
    struct parse p = {.ext = ext, .to = &to, .reply = reterr_reply};
    struct pr_slice rest;
    if (!read_path(&p, args, "TO:", &to.path, &rest) || !read_params(&p, to_params, rest) ||
        !check_utf8(&p, &to.path, smtputf8))
        return PR_EPARSE;
    *ret = to;
    return 0;
}

int mail_command_bdat(struct pr_slice args, uint64_t *ret_size, bool *ret_last)
{
    struct pr_slice word;
    uint64_t size;
    struct pr_slice digits = pr_slice_cut(args, ' ', &word);
    int rc = pr_parse_u64(digits, UINT64_MAX, &size);
    if (rc != 0)
        return rc;
    *ret_size = size;
    bool bare = digits.len == args.len;
    if (!bare && !pr_slice_ieq_str(word, "LAST"))
        return PR_EINVAL;
    *ret_last = !bare;
    return 0;
}

enum mail_verb mail_command_verb(struct pr_slice line, struct pr_slice *ret_args)
{
    struct pr_slice args;
    struct pr_slice word = pr_slice_cut(line, ' ', &args);
    /* RFC 5321 4.1.1: trailing white space is tolerated. */
    while (args.len > 0 && (args.ptr[args.len - 1] == ' ' || args.ptr[args.len - 1] == '\t'))
        args.len--;
    while (word.len > 0 && word.ptr[word.len - 1] == '\t')
        word.len--;
    *ret_args = args.ptr == NULL ? pr_slice("", 0) : args;
    for (size_t v = MAIL_VERB_UNKNOWN + 1; v < MAIL_VERB_NR; v++)
        if (pr_slice_ieq_str(word, mail_verb_names[v]))
            return (enum mail_verb)v;
    return MAIL_VERB_UNKNOWN;
}

/* TLS record header of a handshake (0x16, version 3.x), or an SSLv2 ClientHello (length, 0x01, version 3.x). */
static bool client_hello(struct pr_slice s)
{
    const unsigned char *p = (const unsigned char *)s.ptr;
    if (s.len >= 2 && p[0] == 0x16 && p[1] == 0x03)
        return true;
    return s.len >= 4 && (p[0] & 0x80) != 0 && p[2] == 0x01 && (p[3] == 0x03 || p[3] == 0x00);
}

bool mail_command_foreign(struct pr_slice line)
{
    struct pr_slice rest;
    struct pr_slice word = pr_slice_cut(line, ' ', &rest);
    if (client_hello(line) || pr_slice_starts(line, PR_SLICE_LIT("SSH-")))
        return true;
    for (size_t i = 0; i < sizeof foreign_words / sizeof foreign_words[0]; i++)
        if (pr_slice_ieq_str(word, foreign_words[i]))
            return true;
    return false;
}

bool mail_command_clean(struct pr_slice line, bool utf8)
{
    return utf8 ? mail_text_valid(line) : pr_is_ascii(line) && mail_text_valid(line);
}
