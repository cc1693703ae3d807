#include "common/conf/value.h"

#include <stdlib.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "common/base/alloc.h"
#include "common/base/assert.h"
#include "common/base/suggest.h"
#include "common/conf/node.h"
#include "common/mail/address.h"

void conf_fault_fini(struct conf_fault *f)
{
    pr_buf_fini(&f->message);
    pr_buf_fini(&f->hint);
}

int conf_fail(struct conf_fault *f, const char *hint, const char *fmt, ...)
{
    pr_buf_clear(&f->message);
    pr_buf_clear(&f->hint);
    va_list ap;
    va_start(ap, fmt);
    pr_buf_vprintf(&f->message, fmt, ap);
    va_end(ap);
    if (hint != NULL)
        pr_buf_str(&f->hint, hint);
    return PR_EPARSE;
}

/* Integers of the sizes that items have. */
static void store_uint(void *field, size_t size, uint64_t v)
{
    switch (size) {
    case sizeof(uint8_t): *(uint8_t *)field = (uint8_t)v; break;
    case sizeof(uint16_t): *(uint16_t *)field = (uint16_t)v; break;
    case sizeof(uint32_t): *(uint32_t *)field = (uint32_t)v; break;
    case sizeof(uint64_t): *(uint64_t *)field = v; break;
    default: pr_unreachable();
    }
}

static uint64_t load_uint(const void *field, size_t size)
{
    switch (size) {
    case sizeof(uint8_t): return *(const uint8_t *)field;
    case sizeof(uint16_t): return *(const uint16_t *)field;
    case sizeof(uint32_t): return *(const uint32_t *)field;
    case sizeof(uint64_t): return *(const uint64_t *)field;
    default: pr_unreachable();
    }
}

/* The limit as the item would be written. */
static void limit_text(const struct conf_item *item, uint64_t v, struct pr_buf *out)
{
    if (item->type == CONF_DURATION) {
        conf_duration_text(v * item->scale, out);
    } else if (item->type == CONF_SIZE || item->type == CONF_BYTE_RATE) {
        conf_size_text(v, out);
    } else {
        pr_buf_u64(out, v);
    }
}

static int check_range(const struct conf_item *item, uint64_t v, struct pr_slice text, struct conf_fault *f)
{
    bool low = v < item->min, high = item->max != 0 && v > item->max;
    if (!low && !high)
        return PR_OK;
    struct pr_buf hint = {0};
    pr_buf_str(&hint, "from ");
    limit_text(item, item->min, &hint);
    if (item->max != 0) {
        pr_buf_str(&hint, " to ");
        limit_text(item, item->max, &hint);
    } else {
        pr_buf_str(&hint, " on");
    }
    int rc = conf_fail(f, pr_buf_cstr(&hint), "%.*s is too %s for %s", PR_SLICE_ARG(text), low ? "small" : "large",
                       conf_item_key(item));
    pr_buf_fini(&hint);
    return rc;
}

/* Plain scalars that YAML 1.1 readers take for something else than text. */
static bool yaml_word(struct pr_slice s)
{
    static const char *const words[] = {"yes", "no", "on", "off", "true", "false", "null", "~", "y", "n"};
    for (size_t i = 0; i < PR_ARRAY_LEN(words); i++)
        if (pr_slice_ieq_str(s, words[i]))
            return true;
    return false;
}

static int parse_bool(const struct conf_input *in, bool *ret, struct conf_fault *f)
{
    static const char *const yes[] = {"true", "yes", "on"}, *const no[] = {"false", "no", "off"};
    if (!in->plain && !in->substituted)
        return conf_fail(f, "true or false, without quotes", "text where true or false is expected");
    for (size_t i = 0; i < PR_ARRAY_LEN(yes); i++) {
        bool is_yes = pr_slice_ieq_str(in->text, yes[i]);
        if (is_yes || pr_slice_ieq_str(in->text, no[i])) {
            *ret = is_yes;
            return PR_OK;
        }
    }
    return conf_fail(f, "true or false", "\"%.*s\" is neither true nor false", PR_SLICE_ARG(in->text));
}

static int parse_number(const struct conf_item *item, const struct conf_input *in, void *field, struct conf_fault *f)
{
    struct pr_slice s = in->text;
    uint64_t max = item->size >= sizeof(uint64_t) ? UINT64_MAX : (1ULL << (8 * item->size)) - 1, v;
    if (item->type == CONF_PERCENT && s.len > 0 && s.ptr[s.len - 1] == '%')
        s = pr_slice_head(s, s.len - 1);
    else if (item->type == CONF_PERCENT)
        return conf_fail(f, "like 25%", "\"%.*s\" is not a percentage", PR_SLICE_ARG(s));
    else if (!in->plain && !in->substituted)
        return conf_fail(f, "remove the quotes", "text where a number is expected");
    if (s.len > 1 && s.ptr[0] == '0')
        return conf_fail(f, "decimal digits only, no leading zero: YAML 1.1 would read it as octal",
                         "\"%.*s\" is not a plain number", PR_SLICE_ARG(in->text));
    int rc = pr_parse_u64(s, UINT64_MAX, &v);
    if (rc == PR_EPARSE)
        return conf_fail(f, "decimal digits only", "\"%.*s\" is not a whole number", PR_SLICE_ARG(in->text));
    if (rc != PR_OK || v > max)
        return conf_fail(f, NULL, "%.*s is too large for %s", PR_SLICE_ARG(in->text), conf_item_key(item));
    rc = check_range(item, v, in->text, f);
    if (rc == PR_OK)
        store_uint(field, item->size, v);
    return rc;
}

static int parse_quantity(const struct conf_item *item, struct pr_slice s, void *field, struct conf_fault *f)
{
    uint64_t v = 0;
    int rc;
    if (item->type == CONF_DURATION) {
        rc = conf_parse_duration(s, &v, f);
        if (rc == PR_OK && v % item->scale != 0)
            rc = conf_fail(f, item->scale == 1000 ? "whole milliseconds" : NULL, "\"%.*s\" is too fine", PR_SLICE_ARG(s));
        v /= item->scale;
    } else if (item->type == CONF_BYTE_RATE && !pr_slice_eq_str(s, "0")) {
        bool suffix = s.len > 2 && pr_slice_eq_str(pr_slice_from(s, s.len - 2), "/s");
        rc = suffix ? conf_parse_size(pr_slice_head(s, s.len - 2), &v, f) : PR_EPARSE;
        if (rc != PR_OK)
            rc = conf_fail(f, "like 500B/s or 1KiB/s", "\"%.*s\" is not a byte rate", PR_SLICE_ARG(s));
    } else {
        rc = conf_parse_size(s, &v, f);
    }
    if (rc == PR_OK)
        rc = check_range(item, v, s, f);
    if (rc == PR_OK)
        store_uint(field, item->size, v);
    return rc;
}

static int parse_choice(const struct conf_item *item, struct pr_slice s, struct pr_arena *arena, void *field,
                        struct conf_fault *f)
{
    size_t at = conf_choice_find(item->choices, s);
    if (at == SIZE_MAX) {
        struct pr_buf hint = {0};
        struct pr_suggest suggest;
        pr_suggest_init(&suggest, s);
        for (size_t i = 0; conf_choice_at(item->choices, i).len > 0; i++) {
            struct pr_slice c = conf_choice_at(item->choices, i);
            pr_buf_printf(&hint, "%s%.*s", i == 0 ? "one of " : ", ", PR_SLICE_ARG(c));
            pr_suggest_try(&suggest, pr_arena_cstr(arena, c));
        }
        if (suggest.best != NULL)
            pr_buf_printf(&hint, "; did you mean %s?", suggest.best);
        int rc = conf_fail(f, pr_buf_cstr(&hint), "\"%.*s\" is not a value of %s", PR_SLICE_ARG(s), conf_item_key(item));
        pr_buf_fini(&hint);
        return rc;
    }
    if (item->type == CONF_CHOICE)
        *(char **)field = pr_arena_cstr(arena, s);
    else
        store_uint(field, item->size, at);
    return PR_OK;
}

static int check_regex(struct pr_slice s, struct conf_fault *f)
{
    int code;
    PCRE2_SIZE offset;
    pcre2_code *re = pcre2_compile((PCRE2_SPTR)s.ptr, s.len, PCRE2_UTF, &code, &offset, NULL);
    if (re != NULL) {
        pcre2_code_free(re);
        return PR_OK;
    }
    char text[160] = "";
    (void)pcre2_get_error_message(code, (PCRE2_UCHAR *)text, sizeof text);
    return conf_fail(f, NULL, "bad regular expression at character %zu: %s", (size_t)offset + 1, text);
}

static int parse_server(struct pr_slice s, struct pr_arena *arena, char **ret, struct conf_fault *f)
{
    struct in6_addr a;
    struct pr_hostport hp = {.port = 53};
    int rc = PR_OK;
    if (conf_parse_address(s, &a))
        hp.host = pr_arena_cstr(arena, s);
    else
        rc = conf_parse_hostport(s, arena, &hp, f);
    if (rc != PR_OK || hp.unix_path != NULL || !conf_parse_address(pr_slice_str(hp.host), &a))
        return conf_fail(f, "an address, with :port if it is not 53: 127.0.0.1, 127.0.0.1:5353, [::1]:5353",
                         "\"%.*s\" is not a DNS server", PR_SLICE_ARG(s));
    struct pr_buf b = {0};
    conf_hostport_text(&hp, &b);
    *ret = pr_arena_cstr(arena, pr_buf_slice(&b));
    pr_buf_fini(&b);
    return PR_OK;
}

static int check_endpoint(struct pr_slice s, struct pr_arena *arena, struct conf_fault *f)
{
    struct pr_hostport hp;
    if (pr_slice_starts(s, PR_SLICE_LIT("ipc:///")) && s.len > 7)
        return PR_OK;
    if (pr_slice_starts(s, PR_SLICE_LIT("tcp://")) && conf_parse_hostport(pr_slice_from(s, 6), arena, &hp, f) == PR_OK &&
        hp.unix_path == NULL)
        return PR_OK;
    return conf_fail(f, "like ipc:///run/postrider/bus or tcp://127.0.0.1:7070", "\"%.*s\" is not an endpoint",
                     PR_SLICE_ARG(s));
}

/* Domain, .domain; with pattern also "*". */
static int parse_domain(struct pr_slice s, bool pattern, struct pr_arena *arena, char **ret, struct conf_fault *f)
{
    struct pr_slice name = s;
    if (pattern && pr_slice_eq_str(s, "*")) {
        *ret = pr_arena_cstr(arena, s);
        return PR_OK;
    }
    if (pr_slice_starts(s, PR_SLICE_LIT("*.")))
        return conf_fail(f, "write .example.com for everything below example.com", "\"%.*s\" is not a domain",
                         PR_SLICE_ARG(s));
    if (name.len > 0 && name.ptr[0] == '.')
        name = pr_slice_from(name, 1);
    if (!mail_domain_valid(name, true))
        return conf_fail(f, pattern ? "like example.com, .example.com (all below), or \"*\" (all others)"
                                    : "like example.com, or .example.com for all below it",
                         "\"%.*s\" is not a domain", PR_SLICE_ARG(s));
    struct pr_buf b = {0};
    if (name.len != s.len)
        pr_buf_char(&b, '.');
    mail_domain_normalize(name, &b);
    *ret = pr_arena_cstr(arena, pr_buf_slice(&b));
    pr_buf_fini(&b);
    return PR_OK;
}

/* A destination of limits: a routing domain, or a next hop as in routes. */
static int parse_dest(struct pr_slice s, struct pr_arena *arena, char **ret, struct conf_fault *f)
{
    struct pr_conf_route route = {0};
    if (parse_domain(s, true, arena, ret, f) == PR_OK)
        return PR_OK;
    if (pr_slice_starts(s, PR_SLICE_LIT("*.")))
        return PR_EPARSE;
    if (pr_slice_eq_str(s, "mx") || conf_parse_route(s, arena, &route, f) != PR_OK)
        return conf_fail(f, "a domain, .domain, \"*\", or a next hop as written in routes",
                         "\"%.*s\" is not a destination", PR_SLICE_ARG(s));
    *ret = route.text;
    return PR_OK;
}

static int parse_secret(const struct conf_input *in, struct pr_arena *arena, char **ret, struct conf_fault *f)
{
    if (!pr_slice_starts(in->text, PR_SLICE_LIT("file:"))) {
        *ret = pr_arena_cstr(arena, in->text);
        return PR_OK;
    }
    struct pr_buf b = {0};
    struct pr_slice path = pr_slice_from(in->text, 5);
    int rc = conf_read_value_file(in->dir, path, &b);
    if (rc == PR_OK)
        *ret = pr_arena_cstr(arena, pr_buf_slice(&b));
    else
        rc = conf_fail(f, "a readable text file of at most 64 KiB", "cannot read \"%.*s\": %s", PR_SLICE_ARG(path),
                       pr_strerror(rc));
    pr_buf_fini(&b);
    return rc;
}

/* One line of text, never with control bytes: it may go into a reply or a log. */
static int check_text(const struct conf_item *item, const struct conf_input *in, struct conf_fault *f)
{
    if (in->text.len == 0 && !(item->flags & CONF_F_EMPTY))
        return conf_fail(f, "remove the key to get the default", "%s has no value", conf_item_key(item));
    if (in->plain && !in->substituted && yaml_word(in->text))
        return conf_fail(f, "put it in quotes if you mean the word", "\"%.*s\" is a YAML keyword, not text",
                         PR_SLICE_ARG(in->text));
    for (size_t i = 0; i < in->text.len; i++)
        if (pr_is_ctl(in->text.ptr[i]))
            return conf_fail(f, "one line of text", "%s holds a line break or control byte", conf_item_key(item));
    if (item->max != 0 && in->text.len > item->max)
        return conf_fail(f, NULL, "%s is longer than %llu bytes", conf_item_key(item), (unsigned long long)item->max);
    return PR_OK;
}

static int parse_text(const struct conf_item *item, const struct conf_input *in, struct pr_arena *arena, char **field,
                      struct conf_fault *f)
{
    struct pr_slice s = in->text;
    int rc = PR_OK;
    if (item->type == CONF_SECRET)
        return parse_secret(in, arena, field, f);
    if (item->type == CONF_PATH && (s.len == 0 || s.ptr[0] != '/'))
        rc = conf_fail(f, "begin it with /", "\"%.*s\" is not an absolute path", PR_SLICE_ARG(s));
    else if (item->type == CONF_FQDN && !conf_host_valid(s))
        rc = conf_fail(f, "letters, digits, hyphens and dots: mail.example.com", "\"%.*s\" is not a host name",
                       PR_SLICE_ARG(s));
    else if (item->type == CONF_REGEX)
        rc = check_regex(s, f);
    else if (item->type == CONF_ENDPOINT)
        rc = check_endpoint(s, arena, f);
    if (rc == PR_OK)
        *field = pr_arena_cstr(arena, s);
    return rc;
}

int conf_value_parse(const struct conf_item *item, const struct conf_input *in, struct pr_arena *arena, void *field,
                     struct conf_fault *reterr_fault)
{
    struct conf_fault *f = reterr_fault;
    if (item->type == CONF_BOOL)
        return parse_bool(in, field, f);
    if (item->type == CONF_UINT || item->type == CONF_PERCENT)
        return parse_number(item, in, field, f);
    int rc = check_text(item, in, f);
    /* `tls: none` is a choice, `line_endings: no` is not: a keyword can be a choice only where it is listed. */
    if (rc != PR_OK && !((item->type == CONF_ENUM || item->type == CONF_CHOICE) && in->text.len > 0))
        return rc;
    switch (item->type) {
    case CONF_DURATION:
    case CONF_SIZE:
    case CONF_BYTE_RATE: return parse_quantity(item, in->text, field, f);
    case CONF_RATE: return conf_parse_rate(in->text, field, f);
    case CONF_CIDR: return conf_parse_cidr(in->text, field, f);
    case CONF_HOSTPORT: return conf_parse_hostport(in->text, arena, field, f);
    case CONF_SERVER: return parse_server(in->text, arena, field, f);
    case CONF_DOMAIN: return parse_domain(in->text, false, arena, field, f);
    case CONF_PATTERN: return parse_domain(in->text, true, arena, field, f);
    case CONF_DEST: return parse_dest(in->text, arena, field, f);
    case CONF_ROUTE: return conf_parse_route(in->text, arena, field, f);
    case CONF_ENUM:
    case CONF_CHOICE: return parse_choice(item, in->text, arena, field, f);
    case CONF_ENDPOINT:
    case CONF_FQDN:
    case CONF_STRING:
    case CONF_PATH:
    case CONF_REGEX:
    case CONF_SECRET: return parse_text(item, in, arena, field, f);
    case CONF_BOOL:
    case CONF_UINT:
    case CONF_PERCENT:
    case CONF_SECTION:
    case CONF_ENTRIES:
    case CONF_TYPE_NR: break;
    }
    pr_unreachable();
}

static bool text_or_null(const char *s, struct pr_buf *out)
{
    if (s != NULL)
        pr_buf_str(out, s);
    return s != NULL;
}

bool conf_value_text(const struct conf_item *item, const void *field, struct pr_buf *out)
{
    switch (item->type) {
    case CONF_BOOL: pr_buf_str(out, *(const bool *)field ? "true" : "false"); return true;
    case CONF_UINT: pr_buf_u64(out, load_uint(field, item->size)); return true;
    case CONF_PERCENT: pr_buf_printf(out, "%u%%", *(const unsigned *)field); return true;
    case CONF_DURATION: conf_duration_text(load_uint(field, item->size) * item->scale, out); return true;
    case CONF_SIZE: conf_size_text(load_uint(field, item->size), out); return true;
    case CONF_BYTE_RATE:
        conf_size_text(load_uint(field, item->size), out);
        if (load_uint(field, item->size) != 0)
            pr_buf_str(out, "/s");
        return true;
    case CONF_RATE: conf_rate_text(field, out); return true;
    case CONF_CIDR: conf_cidr_text(field, out); return true;
    case CONF_HOSTPORT: {
        const struct pr_hostport *hp = field;
        if (hp->host == NULL && hp->unix_path == NULL)
            return false;
        conf_hostport_text(hp, out);
        return true;
    }
    case CONF_ENUM: pr_buf_add(out, conf_choice_at(item->choices, (size_t)load_uint(field, item->size))); return true;
    case CONF_ROUTE: return text_or_null(((const struct pr_conf_route *)field)->text, out);
    case CONF_SECRET: return text_or_null(*(char *const *)field == NULL ? NULL : "(redacted)", out);
    case CONF_SERVER:
    case CONF_ENDPOINT:
    case CONF_FQDN:
    case CONF_DOMAIN:
    case CONF_PATTERN:
    case CONF_DEST:
    case CONF_STRING:
    case CONF_PATH:
    case CONF_REGEX:
    case CONF_CHOICE: return text_or_null(*(char *const *)field, out);
    case CONF_SECTION:
    case CONF_ENTRIES:
    case CONF_TYPE_NR: break;
    }
    pr_unreachable();
}
