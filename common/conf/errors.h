/* errors.h - adding to the error list of a load; inside common/conf only.
 *
 * Owns: copies of everything added. Borrows: the source text until conf_report_fini. */
#ifndef PR_CONF_ERRORS_H
#define PR_CONF_ERRORS_H

#include "common/base/err.h"
#include "common/base/slice.h"
#include "common/conf/load.h"

/* A place in the source: line and column from 1, or 0 for none. */
struct conf_mark {
    unsigned line, col;
};

struct conf_report {
    struct pr_conf_errors *errors;
    const char *file;
    struct pr_slice text; /* the whole file */
};

void conf_report_init(struct conf_report *r, const char *file, struct pr_slice text);
/* Gives the list, sorted by place, to the caller. */
struct pr_conf_errors *conf_report_finish(struct conf_report *r);
/* hint may be NULL. */
void conf_report(struct conf_report *r, enum pr_conf_severity severity, struct conf_mark mark, const char *hint,
                 const char *fmt, ...) PR_PRINTF(5, 6);
#define conf_error(r, mark, hint, ...) conf_report(r, PR_CONF_ERROR, mark, hint, __VA_ARGS__)
#define conf_warning(r, mark, hint, ...) conf_report(r, PR_CONF_WARNING, mark, hint, __VA_ARGS__)

#endif
