/* table.h - aligned columns for people. Owns: copies of all cells. Thread: one at a time. */
#ifndef DEPLOY_CLI_TABLE_H
#define DEPLOY_CLI_TABLE_H

#include <stdbool.h>
#include <stddef.h>

#include "common/base/buf.h"

enum { CLI_COLUMNS_MAX = 24 };

struct cli_table {
    const char *const *headers; /* ends with NULL; one that begins with > is right-aligned */
    size_t n_columns;
    bool with_headers;
    char **cells; /* row after row */
    size_t n_cells, cap;
};

void cli_table_init(struct cli_table *t, const char *const *headers, bool with_headers);
void cli_table_fini(struct cli_table *t);
/* Begins a row; an unfinished one is filled up. */
void cli_table_row(struct cli_table *t);
/* The next cell. Control bytes become '?': a peer's text must not reach the terminal as it is. */
void cli_table_cell(struct cli_table *t, const char *fmt, ...) PR_PRINTF(2, 3);
void cli_table_print(const struct cli_table *t, struct pr_buf *out);

/* Appends s with control bytes replaced. */
void cli_clean(struct pr_slice s, struct pr_buf *out);

#endif
