#include "common/conf/errors.h"

#include <stdlib.h>

#include "common/base/alloc.h"

void conf_report_init(struct conf_report *r, const char *file, struct pr_slice text)
{
    *r = (struct conf_report){pr_new(struct pr_conf_errors), file, text};
    r->errors->items = pr_calloc(PR_CONF_MESSAGES_MAX, sizeof *r->errors->items);
}

static int by_place(const void *a, const void *b)
{
    const struct pr_conf_message *x = a, *y = b;
    if (x->line != y->line)
        return x->line < y->line ? -1 : 1;
    return x->col < y->col ? -1 : x->col > y->col;
}

struct pr_conf_errors *conf_report_finish(struct conf_report *r)
{
    struct pr_conf_errors *e = r->errors;
    qsort(e->items, e->n, sizeof *e->items, by_place);
    r->errors = NULL;
    return e;
}

void pr_conf_errors_free(struct pr_conf_errors *e)
{
    if (e == NULL)
        return;
    for (size_t i = 0; i < e->n; i++) {
        struct pr_conf_message *m = &e->items[i];
        pr_free(m->file);
        pr_free(m->message);
        pr_free(m->hint);
        pr_free(m->source_line);
    }
    pr_free(e->items);
    pr_free(e);
}

/* Length of the line break at the front, 0 for none. libyaml counts all of these as one line break: CR LF, CR, LF, NEL
 * (C2 85), LS and PS (E2 80 A8, E2 80 A9). */
static size_t line_break(struct pr_slice s)
{
    if (s.len >= 2 && memcmp(s.ptr, "\r\n", 2) == 0)
        return 2;
    if (s.len >= 1 && (s.ptr[0] == '\r' || s.ptr[0] == '\n'))
        return 1;
    if (s.len >= 2 && memcmp(s.ptr, "\xc2\x85", 2) == 0)
        return 2;
    if (s.len >= 3 && (memcmp(s.ptr, "\xe2\x80\xa8", 3) == 0 || memcmp(s.ptr, "\xe2\x80\xa9", 3) == 0))
        return 3;
    return 0;
}

/* Longest source line that is shown; a caret beyond it helps nobody. */
enum { SOURCE_LINE_MAX = 400 };

static char *copy_line(struct pr_slice text, unsigned line)
{
    unsigned at = 1;
    while (at < line) {
        size_t n = 0;
        while (text.len > 0 && (n = line_break(text)) == 0)
            text = pr_slice_from(text, 1);
        if (text.len == 0)
            return NULL;
        text = pr_slice_from(text, n);
        at++;
    }
    size_t len = 0;
    while (len < text.len && line_break(pr_slice_from(text, len)) == 0)
        len++;
    return len == 0 || len > SOURCE_LINE_MAX ? NULL : pr_strndup(text.ptr, len);
}

void conf_report(struct conf_report *r, enum pr_conf_severity severity, struct conf_mark mark, const char *hint,
                 const char *fmt, ...)
{
    struct pr_conf_errors *e = r->errors;
    if (severity == PR_CONF_ERROR)
        e->n_errors++;
    else
        e->n_warnings++;
    if (e->n == PR_CONF_MESSAGES_MAX) {
        e->n_dropped++;
        return;
    }
    struct pr_buf b = {0};
    va_list ap;
    va_start(ap, fmt);
    pr_buf_vprintf(&b, fmt, ap);
    va_end(ap);
    /* Messages quote the file: a control byte in it must not reach a terminal. */
    for (size_t i = 0; i < b.len; i++)
        if (pr_is_ctl(b.ptr[i]))
            b.ptr[i] = '?';
    struct pr_conf_message *m = &e->items[e->n++];
    m->severity = severity;
    m->file = r->file == NULL ? NULL : pr_strdup(r->file);
    m->line = mark.line;
    m->col = mark.col;
    m->message = pr_buf_steal(&b, NULL);
    m->hint = hint == NULL ? NULL : pr_strdup(hint);
    m->source_line = mark.line == 0 ? NULL : copy_line(r->text, mark.line);
}

/* The line as it may go to a terminal: tabs stay, other control bytes become '?'. */
static void render_line(const char *line, struct pr_buf *out)
{
    pr_buf_str(out, "    ");
    for (const char *p = line; *p != '\0'; p++)
        pr_buf_char(out, pr_is_ctl(*p) && *p != '\t' ? '?' : *p);
    pr_buf_char(out, '\n');
}

/* One blank per character before the column, a tab where the line has a tab. */
static void render_caret(const char *line, unsigned col, struct pr_buf *out)
{
    pr_buf_str(out, "    ");
    unsigned at = 1;
    for (const char *p = line; *p != '\0' && at < col; p++) {
        if (((unsigned char)*p & 0xc0) == 0x80)
            continue;
        pr_buf_char(out, *p == '\t' ? '\t' : ' ');
        at++;
    }
    pr_buf_str(out, "^\n");
}

void pr_conf_errors_render(const struct pr_conf_errors *e, struct pr_buf *out)
{
    for (size_t i = 0; i < e->n; i++) {
        const struct pr_conf_message *m = &e->items[i];
        pr_buf_str(out, m->file == NULL ? "(defaults)" : m->file);
        if (m->line != 0)
            pr_buf_printf(out, ":%u:%u", m->line, m->col);
        pr_buf_str(out, m->severity == PR_CONF_ERROR ? ": error: " : ": warning: ");
        pr_buf_str(out, m->message);
        pr_buf_char(out, '\n');
        if (m->source_line != NULL) {
            render_line(m->source_line, out);
            render_caret(m->source_line, m->col, out);
        }
        if (m->hint != NULL)
            pr_buf_printf(out, "    hint: %s\n", m->hint);
    }
    if (e->n_dropped > 0)
        pr_buf_printf(out, "... and %zu more\n", e->n_dropped);
}
