/* logfd.h - the log sink of a daemon: lines are collected in memory and written to a descriptor by one background thread.
 *
 * Text: `2026-11-21T07:30:00.123Z info postrider-ingress event key=value ...`; JSON: one object a line with time, level,
 * program, event and the fields. The ring is bounded (4 MiB): when it is full lines below warn are dropped and counted;
 * the count is logged when there is room again. error lines are written through at once.
 * Owns: its thread and ring, not the descriptor. Thread: any. */
#ifndef PR_NET_LOGFD_H
#define PR_NET_LOGFD_H

#include "common/base/log.h"

struct pr_logfd_options {
    int fd;              /* 2 */
    const char *program; /* "postrider-ingress" */
    enum pr_log_level level;
    bool json;
};

struct pr_log *pr_logfd_new(const struct pr_logfd_options *o);
/* Changes level and format while running (reload). */
void pr_logfd_configure(struct pr_log *log, enum pr_log_level level, bool json);
/* Writes out what is left, then frees. NULL is a no-op. */
void pr_logfd_free(struct pr_log *log);
/* Lines so far by level, and dropped ones: for metrics. */
void pr_logfd_counts(struct pr_log *log, uint64_t ret_by_level[PR_LOG_LEVEL_NR], uint64_t *ret_dropped);

#endif
