#include "deploy/cli/table.h"

#include <string.h>

#include "common/base/alloc.h"
#include "common/base/assert.h"

void cli_table_init(struct cli_table *t, const char *const *headers, bool with_headers)
{
    *t = (struct cli_table){.headers = headers, .with_headers = with_headers};
    while (headers[t->n_columns] != NULL)
        t->n_columns++;
    pr_assert(t->n_columns <= CLI_COLUMNS_MAX);
}

void cli_table_fini(struct cli_table *t)
{
    for (size_t i = 0; i < t->n_cells; i++)
        pr_free(t->cells[i]);
    pr_free(t->cells);
    *t = (struct cli_table){0};
}

void cli_clean(struct pr_slice s, struct pr_buf *out)
{
    for (size_t i = 0; i < s.len; i++) {
        unsigned char c = (unsigned char)s.ptr[i];
        /* C1 control characters are C2 80 to C2 9F in UTF-8; terminals may act on them. */
        bool c1 = c == 0xc2 && i + 1 < s.len && (unsigned char)s.ptr[i + 1] < 0xa0;
        pr_buf_char(out, pr_is_ctl(s.ptr[i]) || c1 ? '?' : s.ptr[i]);
        i += c1;
    }
}

static void add(struct cli_table *t, char *cell)
{
    if (t->n_cells == t->cap) {
        t->cap = t->cap == 0 ? 256 : t->cap * 2;
        t->cells = pr_realloc(t->cells, t->cap * sizeof *t->cells);
    }
    t->cells[t->n_cells++] = cell;
}

void cli_table_row(struct cli_table *t)
{
    while (t->n_cells % t->n_columns != 0)
        add(t, pr_strdup(""));
}

void cli_table_cell(struct cli_table *t, const char *fmt, ...)
{
    struct pr_buf raw = {0}, clean = {0};
    va_list ap;
    va_start(ap, fmt);
    pr_buf_vprintf(&raw, fmt, ap);
    va_end(ap);
    cli_clean(pr_buf_slice(&raw), &clean);
    add(t, pr_buf_steal(&clean, NULL));
    pr_buf_fini(&raw);
}

/* Characters, as far as a terminal without wide ones shows them. */
static size_t width_of(const char *s)
{
    size_t n = 0;
    for (; *s != '\0'; s++)
        n += ((unsigned char)*s & 0xc0) != 0x80;
    return n;
}

static void print_row(const struct cli_table *t, const char *const *cells, const size_t *widths, struct pr_buf *out)
{
    for (size_t i = 0; i < t->n_columns; i++) {
        size_t pad = widths[i] - width_of(cells[i]);
        bool right = t->headers[i][0] == '>', last = i + 1 == t->n_columns;
        for (size_t j = 0; right && j < pad; j++)
            pr_buf_char(out, ' ');
        pr_buf_str(out, cells[i]);
        for (size_t j = 0; !right && !last && j < pad; j++)
            pr_buf_char(out, ' ');
        pr_buf_str(out, last ? "\n" : "  ");
    }
}

void cli_table_print(const struct cli_table *t, struct pr_buf *out)
{
    size_t widths[CLI_COLUMNS_MAX] = {0};
    const char *head[CLI_COLUMNS_MAX];
    for (size_t i = 0; i < t->n_columns; i++) {
        head[i] = t->headers[i] + (t->headers[i][0] == '>');
        widths[i] = t->with_headers ? width_of(head[i]) : 0;
    }
    for (size_t i = 0; i < t->n_cells; i++)
        widths[i % t->n_columns] = PR_MAX(widths[i % t->n_columns], width_of(t->cells[i]));
    if (t->with_headers)
        print_row(t, head, widths, out);
    for (size_t i = 0; i + t->n_columns <= t->n_cells; i += t->n_columns)
        print_row(t, (const char *const *)t->cells + i, widths, out);
}
