#include "common/base/suggest.h"

#include "common/base/alloc.h"

enum { SUGGEST_LEN_MAX = 48 };

/* Optimal string alignment: insertions, deletions, substitutions, swaps of neighbours cost 1 each. */
static size_t edit_distance(struct pr_slice a, struct pr_slice b)
{
    size_t rows[3][SUGGEST_LEN_MAX + 1];
    size_t *before = rows[0], *last = rows[1], *now = rows[2];
    for (size_t j = 0; j <= b.len; j++)
        last[j] = j;
    for (size_t i = 1; i <= a.len; i++) {
        now[0] = i;
        for (size_t j = 1; j <= b.len; j++) {
            size_t cost = pr_lower(a.ptr[i - 1]) != pr_lower(b.ptr[j - 1]);
            size_t d = PR_MIN(PR_MIN(last[j] + 1, now[j - 1] + 1), last[j - 1] + cost);
            if (i > 1 && j > 1 && a.ptr[i - 1] == b.ptr[j - 2] && a.ptr[i - 2] == b.ptr[j - 1])
                d = PR_MIN(d, before[j - 2] + 1);
            now[j] = d;
        }
        size_t *t = before;
        before = last;
        last = now;
        now = t;
    }
    return last[b.len];
}

void pr_suggest_init(struct pr_suggest *s, struct pr_slice wanted)
{
    *s = (struct pr_suggest){wanted, NULL, SIZE_MAX};
}

void pr_suggest_try(struct pr_suggest *s, const char *candidate)
{
    struct pr_slice c = pr_slice_str(candidate);
    if (s->wanted.len > SUGGEST_LEN_MAX || c.len > SUGGEST_LEN_MAX)
        return;
    size_t d = edit_distance(s->wanted, c);
    /* A whole word in common is meant too: `lifetime` for `bounce_lifetime`, `log_level` for `level`. */
    bool part = s->wanted.len >= 4 && c.len >= 4 &&
                (pr_slice_find_slice(c, s->wanted) != SIZE_MAX || pr_slice_find_slice(s->wanted, c) != SIZE_MAX);
    size_t most = PR_MAX(s->wanted.len, c.len) / 3;
    if (d > most && !part)
        return;
    if (d < s->best_distance) {
        s->best = candidate;
        s->best_distance = d;
    }
}
