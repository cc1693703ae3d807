#include "common/base/metrics.h"

#include <stdatomic.h>

#include "common/base/alloc.h"
#include "common/base/assert.h"

/* A histogram cell is n_buckets + 1 counts and a sum. */
struct metric {
    const struct pr_metric_def *def;
    size_t dims[PR_METRIC_LABELS_MAX];
    size_t cells;
    size_t width;
    _Atomic int64_t *values;
};

struct pr_metrics {
    size_t n;
    struct metric metrics[];
};

static size_t label_count(const struct pr_label_def *l)
{
    size_t n = 0;
    if (l->name == NULL)
        return 1;
    while (l->values[n] != NULL)
        n++;
    return n;
}

static void metric_init(struct metric *m, const struct pr_metric_def *def)
{
    m->def = def;
    m->cells = 1;
    for (int i = 0; i < PR_METRIC_LABELS_MAX; i++) {
        m->dims[i] = label_count(&def->labels[i]);
        m->cells *= m->dims[i];
    }
    m->width = def->type == PR_METRIC_HISTOGRAM ? def->n_buckets + 2 : 1;
    m->values = pr_calloc(m->cells * m->width, sizeof *m->values);
}

struct pr_metrics *pr_metrics_new(const struct pr_metric_def *defs, size_t n)
{
    struct pr_metrics *m = pr_calloc(1, sizeof *m + n * sizeof m->metrics[0]);
    m->n = n;
    for (size_t i = 0; i < n; i++)
        metric_init(&m->metrics[i], &defs[i]);
    return m;
}

void pr_metrics_free(struct pr_metrics *m)
{
    if (m == NULL)
        return;
    for (size_t i = 0; i < m->n; i++)
        pr_free((void *)m->metrics[i].values);
    pr_free(m);
}

static _Atomic int64_t *cell(const struct pr_metrics *m, size_t id, unsigned l0, unsigned l1, unsigned l2)
{
    pr_assert(id < m->n);
    const struct metric *x = &m->metrics[id];
    pr_assert(l0 < x->dims[0] && l1 < x->dims[1] && l2 < x->dims[2]);
    return &x->values[((l0 * x->dims[1] + l1) * x->dims[2] + l2) * x->width];
}

void pr_metric_add(struct pr_metrics *m, size_t id, unsigned l0, unsigned l1, unsigned l2, int64_t delta)
{
    atomic_fetch_add_explicit(cell(m, id, l0, l1, l2), delta, memory_order_relaxed);
}

void pr_metric_set(struct pr_metrics *m, size_t id, unsigned l0, unsigned l1, unsigned l2, int64_t value)
{
    atomic_store_explicit(cell(m, id, l0, l1, l2), value, memory_order_relaxed);
}

int64_t pr_metric_get(const struct pr_metrics *m, size_t id, unsigned l0, unsigned l1, unsigned l2)
{
    return atomic_load_explicit(cell(m, id, l0, l1, l2), memory_order_relaxed);
}

static double scale_of(const struct pr_metric_def *d)
{
    return d->scale > 0 ? d->scale : 1;
}

void pr_metric_observe(struct pr_metrics *m, size_t id, unsigned l0, unsigned l1, unsigned l2, uint64_t value)
{
    _Atomic int64_t *v = cell(m, id, l0, l1, l2);
    const struct pr_metric_def *d = m->metrics[id].def;
    size_t i = 0;
    while (i < d->n_buckets && (double)value * scale_of(d) > d->buckets[i])
        i++;
    atomic_fetch_add_explicit(&v[i], 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&v[d->n_buckets + 1], (int64_t)value, memory_order_relaxed);
}

/* Labels of a cell as {a="x",b="y"}; le is the bucket bound or NULL. */
static void render_labels(struct pr_buf *out, const struct metric *x, size_t index, const char *le)
{
    size_t at[PR_METRIC_LABELS_MAX];
    bool open = false;
    for (int i = PR_METRIC_LABELS_MAX - 1; i >= 0; i--) {
        at[i] = index % x->dims[i];
        index /= x->dims[i];
    }
    for (int i = 0; i < PR_METRIC_LABELS_MAX && x->def->labels[i].name != NULL; i++) {
        pr_buf_printf(out, "%s%s=", open ? "," : "{", x->def->labels[i].name);
        pr_buf_json(out, pr_slice_str(x->def->labels[i].values[at[i]]));
        open = true;
    }
    if (le != NULL) {
        pr_buf_printf(out, "%sle=\"%s\"", open ? "," : "{", le);
        open = true;
    }
    if (open)
        pr_buf_char(out, '}');
}

static void render_histogram(struct pr_buf *out, const struct metric *x, size_t index)
{
    const _Atomic int64_t *v = &x->values[index * x->width];
    const struct pr_metric_def *d = x->def;
    int64_t total = 0;
    struct pr_buf le;
    pr_buf_init(&le);
    for (size_t i = 0; i <= d->n_buckets; i++) {
        total += atomic_load_explicit(&v[i], memory_order_relaxed);
        pr_buf_clear(&le);
        if (i < d->n_buckets)
            pr_buf_printf(&le, "%.15g", d->buckets[i]);
        else
            pr_buf_str(&le, "+Inf");
        pr_buf_printf(out, "%s_bucket", d->name);
        render_labels(out, x, index, pr_buf_cstr(&le));
        pr_buf_printf(out, " %lld\n", (long long)total);
    }
    pr_buf_fini(&le);
    pr_buf_printf(out, "%s_sum", d->name);
    render_labels(out, x, index, NULL);
    double sum = (double)atomic_load_explicit(&v[d->n_buckets + 1], memory_order_relaxed) * scale_of(d);
    pr_buf_printf(out, " %.15g\n%s_count", sum, d->name);
    render_labels(out, x, index, NULL);
    pr_buf_printf(out, " %lld\n", (long long)total);
}

static void render_value(struct pr_buf *out, const struct metric *x, size_t index)
{
    pr_buf_str(out, x->def->name);
    render_labels(out, x, index, NULL);
    int64_t v = atomic_load_explicit(&x->values[index], memory_order_relaxed);
    if (x->def->scale > 0)
        pr_buf_printf(out, " %.15g\n", (double)v * x->def->scale);
    else
        pr_buf_printf(out, " %lld\n", (long long)v);
}

void pr_metrics_render(const struct pr_metrics *m, struct pr_buf *out)
{
    static const char *const types[] = {"counter", "gauge", "histogram"};
    for (size_t i = 0; i < m->n; i++) {
        const struct metric *x = &m->metrics[i];
        pr_buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", x->def->name, x->def->help, x->def->name,
                      types[x->def->type]);
        for (size_t c = 0; c < x->cells; c++) {
            if (x->def->type == PR_METRIC_HISTOGRAM)
                render_histogram(out, x, c);
            else
                render_value(out, x, c);
        }
    }
}
