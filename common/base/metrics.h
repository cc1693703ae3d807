/* metrics.h - counters, gauges and histograms with bounded labels, and their Prometheus text (format 0.0.4).
 *
 * A daemon has one const table of pr_metric_def; label values are enumerated there, so cardinality is bounded by
 * construction and every combination exists as 0 from the start. No label value is ever chosen by a remote party.
 *
 * Owns: the values. Thread: updates any (relaxed atomics); render any.
 * Names follow https://prometheus.io/docs/practices/naming/: base units, counters end in _total. */
#ifndef PR_BASE_METRICS_H
#define PR_BASE_METRICS_H

#include <stddef.h>
#include <stdint.h>

#include "common/base/buf.h"

enum pr_metric_type { PR_METRIC_COUNTER, PR_METRIC_GAUGE, PR_METRIC_HISTOGRAM };

struct pr_label_def {
    const char *name;
    const char *const *values; /* NULL-terminated */
};

enum { PR_METRIC_LABELS_MAX = 3 };

struct pr_metric_def {
    const char *name;
    const char *help;
    enum pr_metric_type type;
    struct pr_label_def labels[PR_METRIC_LABELS_MAX]; /* first with name NULL ends */
    const double *buckets;                            /* histogram upper bounds, ascending, without +Inf */
    size_t n_buckets;
    double scale; /* exported = stored * scale; 0 means 1 (durations are stored in microseconds: 1e-6) */
};

struct pr_metrics;
/* defs must outlive the result. Metric ids are indexes into defs. */
struct pr_metrics *pr_metrics_new(const struct pr_metric_def *defs, size_t n);
void pr_metrics_free(struct pr_metrics *m);

/* l0..l2: label value indexes, 0 where there is no such label. Counter or gauge. */
void pr_metric_add(struct pr_metrics *m, size_t id, unsigned l0, unsigned l1, unsigned l2, int64_t delta);
void pr_metric_set(struct pr_metrics *m, size_t id, unsigned l0, unsigned l1, unsigned l2, int64_t value);
int64_t pr_metric_get(const struct pr_metrics *m, size_t id, unsigned l0, unsigned l1, unsigned l2);
/* Histogram; value in stored units. */
void pr_metric_observe(struct pr_metrics *m, size_t id, unsigned l0, unsigned l1, unsigned l2, uint64_t value);
#define pr_metric_inc(m, id) pr_metric_add(m, id, 0, 0, 0, 1)
#define pr_metric_inc1(m, id, l0) pr_metric_add(m, id, l0, 0, 0, 1)
#define pr_metric_inc2(m, id, l0, l1) pr_metric_add(m, id, l0, l1, 0, 1)

/* Appends the whole exposition, HELP and TYPE lines included. */
void pr_metrics_render(const struct pr_metrics *m, struct pr_buf *out);

#endif
