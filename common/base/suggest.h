/* suggest.h - "did you mean": the closest of some names to what somebody typed.
 *
 * Borrows: wanted and the candidates. Thread: one at a time. Errors: none. */
#ifndef PR_BASE_SUGGEST_H
#define PR_BASE_SUGGEST_H

#include "common/base/slice.h"

/* Damerau-Levenshtein distance of at most a third of the length, or one word inside the other; else best stays NULL. */
struct pr_suggest {
    struct pr_slice wanted;
    const char *best;
    size_t best_distance;
};
void pr_suggest_init(struct pr_suggest *s, struct pr_slice wanted);
void pr_suggest_try(struct pr_suggest *s, const char *candidate);

#endif
