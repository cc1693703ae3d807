#include "deploy/cli/duration.h"

#include "common/base/alloc.h"
#include "common/base/clock.h"

static const struct {
    const char *name;
    uint64_t ms;
} units[] = {{"d", 86400000}, {"h", 3600000}, {"m", 60000}, {"s", 1000}, {"ms", 1}};

bool cli_parse_duration(const char *s, uint64_t *ret_ms)
{
    struct pr_slice rest = pr_slice_str(s);
    uint64_t total = 0;
    size_t next = 0;
    while (rest.len > 0) {
        size_t digits = 0, letters = 0;
        uint64_t n;
        while (digits < rest.len && pr_is_digit(rest.ptr[digits]))
            digits++;
        while (digits + letters < rest.len && pr_is_alpha(rest.ptr[digits + letters]))
            letters++;
        struct pr_slice name = pr_slice(rest.ptr + digits, letters);
        if (pr_parse_u64(pr_slice_head(rest, digits), UINT32_MAX, &n) != PR_OK)
            return false;
        while (next < PR_ARRAY_LEN(units) && !pr_slice_eq_str(name, units[next].name))
            next++;
        if (next == PR_ARRAY_LEN(units))
            return false;
        total += n * units[next++].ms;
        rest = pr_slice_from(rest, digits + letters);
    }
    *ret_ms = total;
    return total > 0;
}

void cli_format_duration(uint64_t ms, struct pr_buf *out)
{
    if (ms == 0) {
        pr_buf_str(out, "0s");
        return;
    }
    unsigned shown = 0;
    for (size_t i = 0; i < PR_ARRAY_LEN(units) && shown < 2; i++) {
        uint64_t n = ms / units[i].ms;
        ms %= units[i].ms;
        /* Milliseconds say something only when there is nothing longer. */
        if (n == 0 || (shown > 0 && units[i].ms == 1)) {
            shown += shown > 0;
            continue;
        }
        pr_buf_u64(out, n);
        pr_buf_str(out, units[i].name);
        shown++;
    }
}

void cli_format_size(uint64_t bytes, struct pr_buf *out)
{
    static const char letters[] = "KMGTPE";
    if (bytes < 1024) {
        pr_buf_u64(out, bytes);
        return;
    }
    size_t unit = 0;
    while (bytes >= 1024 * 1024 && unit + 1 < sizeof letters - 1) {
        bytes /= 1024;
        unit++;
    }
    pr_buf_u64(out, bytes / 1024);
    pr_buf_char(out, '.');
    pr_buf_u64(out, bytes % 1024 * 10 / 1024);
    pr_buf_char(out, letters[unit]);
}

void cli_format_time(uint64_t wall_ms, struct pr_buf *out)
{
    struct pr_civil t = pr_civil_utc((pr_wall){wall_ms});
    pr_buf_printf(out, "%04d-%02d-%02d %02d:%02d:%02d", t.year, t.month, t.day, t.hour, t.minute, t.second);
}
