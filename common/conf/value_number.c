/* value_number.c - durations, sizes, rates: numbers that carry their unit. */
#include "common/base/alloc.h"
#include "common/conf/value.h"

struct unit {
    const char *name;
    uint64_t factor;
};

static const struct unit duration_units[] = {
    {"d", 86400000000ULL}, {"h", 3600000000ULL}, {"m", 60000000ULL}, {"s", 1000000ULL}, {"ms", 1000ULL}, {"us", 1ULL},
};

static const struct unit size_units[] = {
    {"B", 1ULL},
    {"KB", 1000ULL},
    {"KiB", 1ULL << 10},
    {"MB", 1000000ULL},
    {"MiB", 1ULL << 20},
    {"GB", 1000000000ULL},
    {"GiB", 1ULL << 30},
    {"TB", 1000000000000ULL},
    {"TiB", 1ULL << 40},
};

static const struct unit rate_units[] = {{"s", 1000ULL}, {"min", 60000ULL}, {"h", 3600000ULL}, {"d", 86400000ULL}};

static const struct unit *find_unit(const struct unit *units, size_t n, struct pr_slice name)
{
    for (size_t i = 0; i < n; i++)
        if (pr_slice_eq_str(name, units[i].name))
            return &units[i];
    return NULL;
}

/* Splits leading digits off. PR_EPARSE: none; PR_ERANGE: too many. */
static int take_number(struct pr_slice *s, uint64_t *ret)
{
    size_t n = 0;
    while (n < s->len && pr_is_digit(s->ptr[n]))
        n++;
    int rc = pr_parse_u64(pr_slice_head(*s, n), UINT64_MAX, ret);
    if (rc == PR_OK)
        *s = pr_slice_from(*s, n);
    return rc;
}

static struct pr_slice take_word(struct pr_slice *s)
{
    size_t n = 0;
    while (n < s->len && pr_is_alpha(s->ptr[n]))
        n++;
    struct pr_slice word = pr_slice_head(*s, n);
    *s = pr_slice_from(*s, n);
    return word;
}

static bool all_digits(struct pr_slice s)
{
    size_t n = 0;
    while (n < s.len && pr_is_digit(s.ptr[n]))
        n++;
    return n == s.len && n > 0;
}

static int bad_duration(struct pr_slice s, struct conf_fault *f)
{
    struct pr_buf hint = {0};
    if (all_digits(s))
        pr_buf_printf(&hint, "say which unit: %.*ss for seconds, %.*sm for minutes, %.*sms for milliseconds",
                      PR_SLICE_ARG(s), PR_SLICE_ARG(s), PR_SLICE_ARG(s));
    else if (pr_slice_find(s, ':') != SIZE_MAX)
        pr_buf_str(&hint, "write 1h30m, not 1:30");
    else if (pr_slice_find(s, '.') != SIZE_MAX)
        pr_buf_str(&hint, "whole numbers only: 1h30m or 90m, not 1.5h");
    else
        pr_buf_str(&hint, "like 90s, 5m, 1h30m, 2d, 250ms");
    int rc = conf_fail(f, pr_buf_cstr(&hint), "\"%.*s\" is not a duration", PR_SLICE_ARG(s));
    pr_buf_fini(&hint);
    return rc;
}

/* Units descend and appear once: 1h30m, not 30m1h. */
int conf_parse_duration(struct pr_slice s, uint64_t *ret_us, struct conf_fault *f)
{
    if (pr_slice_eq_str(s, "0")) {
        *ret_us = 0;
        return PR_OK;
    }
    uint64_t total = 0, last = UINT64_MAX;
    struct pr_slice rest = s;
    if (rest.len == 0)
        return bad_duration(s, f);
    while (rest.len > 0) {
        uint64_t n, part;
        if (take_number(&rest, &n) != PR_OK)
            return bad_duration(s, f);
        const struct unit *u = find_unit(duration_units, PR_ARRAY_LEN(duration_units), take_word(&rest));
        if (u == NULL || u->factor >= last)
            return bad_duration(s, f);
        if (__builtin_mul_overflow(n, u->factor, &part) || __builtin_add_overflow(total, part, &total))
            return conf_fail(f, NULL, "\"%.*s\" is too long a duration", PR_SLICE_ARG(s));
        last = u->factor;
    }
    *ret_us = total;
    return PR_OK;
}

void conf_duration_text(uint64_t us, struct pr_buf *out)
{
    if (us == 0) {
        pr_buf_char(out, '0');
        return;
    }
    for (size_t i = 0; i < PR_ARRAY_LEN(duration_units); i++) {
        uint64_t n = us / duration_units[i].factor;
        us %= duration_units[i].factor;
        if (n == 0)
            continue;
        pr_buf_u64(out, n);
        pr_buf_str(out, duration_units[i].name);
    }
}

int conf_parse_size(struct pr_slice s, uint64_t *ret_bytes, struct conf_fault *f)
{
    struct pr_slice rest = s;
    uint64_t n = 0;
    if (take_number(&rest, &n) == PR_OK) {
        if (rest.len == 0 && n == 0) {
            *ret_bytes = 0;
            return PR_OK;
        }
        const struct unit *u = find_unit(size_units, PR_ARRAY_LEN(size_units), rest);
        if (u != NULL && __builtin_mul_overflow(n, u->factor, ret_bytes))
            return conf_fail(f, NULL, "\"%.*s\" is too large a size", PR_SLICE_ARG(s));
        if (u != NULL)
            return PR_OK;
    }
    if (!all_digits(s))
        return conf_fail(f, "like 25MiB, 10MB, 64KiB, 512B", "\"%.*s\" is not a size", PR_SLICE_ARG(s));
    struct pr_buf hint = {0};
    pr_buf_printf(&hint, "say which unit: %.*sB for bytes, or ", PR_SLICE_ARG(s));
    uint64_t mib = n >> 20;
    if (mib == 0)
        pr_buf_str(&hint, "KiB, MiB, GiB");
    else
        pr_buf_printf(&hint, "about %lluMiB", (unsigned long long)mib);
    int rc = conf_fail(f, pr_buf_cstr(&hint), "\"%.*s\" is a size without a unit", PR_SLICE_ARG(s));
    pr_buf_fini(&hint);
    return rc;
}

void conf_size_text(uint64_t bytes, struct pr_buf *out)
{
    static const char *const names[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    static const char *const decimal[] = {"B", "KB", "MB", "GB", "TB"};
    if (bytes == 0) {
        pr_buf_char(out, '0');
        return;
    }
    uint64_t b = bytes, d = bytes;
    size_t i = 0, j = 0;
    while (b % 1024 == 0 && i + 1 < PR_ARRAY_LEN(names)) {
        b /= 1024;
        i++;
    }
    while (d % 1000 == 0 && j + 1 < PR_ARRAY_LEN(decimal)) {
        d /= 1000;
        j++;
    }
    /* The family that leaves the smaller number; binary when they tie. */
    pr_buf_u64(out, j > i ? d : b);
    pr_buf_str(out, j > i ? decimal[j] : names[i]);
}

int conf_parse_rate(struct pr_slice s, struct pr_rate *ret, struct conf_fault *f)
{
    if (pr_slice_eq_str(s, "0") || pr_slice_eq_str(s, "unlimited")) {
        *ret = (struct pr_rate){0, 1000};
        return PR_OK;
    }
    struct pr_slice rest = s;
    uint64_t n;
    if (take_number(&rest, &n) == PR_OK && n > 0 && n <= 1000000000 && rest.len > 1 && rest.ptr[0] == '/') {
        const struct unit *u = find_unit(rate_units, PR_ARRAY_LEN(rate_units), pr_slice_from(rest, 1));
        if (u != NULL) {
            *ret = (struct pr_rate){n, u->factor};
            return PR_OK;
        }
    }
    return conf_fail(f, "like 100/s, 20/min, 500/h, 10000/d, or unlimited", "\"%.*s\" is not a rate", PR_SLICE_ARG(s));
}

void conf_rate_text(const struct pr_rate *r, struct pr_buf *out)
{
    if (r->count == 0) {
        pr_buf_str(out, "unlimited");
        return;
    }
    const char *unit = "s";
    for (size_t i = 0; i < PR_ARRAY_LEN(rate_units); i++)
        if (rate_units[i].factor == r->per_ms)
            unit = rate_units[i].name;
    pr_buf_u64(out, r->count);
    pr_buf_char(out, '/');
    pr_buf_str(out, unit);
}
