/* log.h - structured log lines: `event key=value ...`, one line per fact. This is only the formatter; where lines go is
 * a sink given by the shell (common/net/logfd.h). Library folders and cores do not log; shells do.
 *
 * Values are quoted when they hold anything but graphic ASCII; control bytes and non-UTF-8 are escaped, so that no peer's
 * text can forge a line. Secrets are never passed here.
 * Thread: as the sink (logfd: any). */
#ifndef PR_BASE_LOG_H
#define PR_BASE_LOG_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/buf.h"
#include "common/base/slice.h"

enum pr_log_level { PR_LOG_ERROR, PR_LOG_WARN, PR_LOG_INFO, PR_LOG_DEBUG, PR_LOG_LEVEL_NR };
extern const char *const pr_log_level_names[PR_LOG_LEVEL_NR];

struct pr_log_field;
struct pr_log {
    enum pr_log_level level; /* lines above it are dropped before formatting; changed atomically by running sinks */
    /* fields: " key=value" pairs, first one preceded by a space too */
    void (*emit)(struct pr_log *log, enum pr_log_level level, const char *event, struct pr_slice fields);
    /* Instead of emit, if set: a sink that formats by itself (JSON, or straight into its own buffer) */
    void (*emit_fields)(struct pr_log *log, enum pr_log_level level, const char *event,
                        const struct pr_log_field *fields);
};

enum pr_log_type { PR_LOG_STR, PR_LOG_SLICE, PR_LOG_U64, PR_LOG_I64, PR_LOG_END };
struct pr_log_field {
    const char *key;
    enum pr_log_type type;
    union {
        const char *str;
        struct pr_slice slice;
        uint64_t u64;
        int64_t i64;
    };
};

#define PR_S(k, v) ((struct pr_log_field){.key = (k), .type = PR_LOG_STR, .str = (v)})
#define PR_SL(k, v) ((struct pr_log_field){.key = (k), .type = PR_LOG_SLICE, .slice = (v)})
#define PR_U(k, v) ((struct pr_log_field){.key = (k), .type = PR_LOG_U64, .u64 = (uint64_t)(v)})
#define PR_I(k, v) ((struct pr_log_field){.key = (k), .type = PR_LOG_I64, .i64 = (int64_t)(v)})

/* log may be NULL (nothing happens). fields end with type PR_LOG_END. */
void pr_log_fields(struct pr_log *log, enum pr_log_level level, const char *event, const struct pr_log_field *fields);
#define pr_log_at(log, level, event, ...)                                                                    \
    pr_log_fields((log), (level), (event),                                                                   \
                  (const struct pr_log_field[]){__VA_ARGS__ __VA_OPT__(, ) {.key = NULL, .type = PR_LOG_END}})
#define pr_error(log, event, ...) pr_log_at(log, PR_LOG_ERROR, event, __VA_ARGS__)
#define pr_warn(log, event, ...) pr_log_at(log, PR_LOG_WARN, event, __VA_ARGS__)
#define pr_info(log, event, ...) pr_log_at(log, PR_LOG_INFO, event, __VA_ARGS__)
#define pr_debug(log, event, ...) pr_log_at(log, PR_LOG_DEBUG, event, __VA_ARGS__)

/* Appends " key=value" of each field, as emit gets them. */
void pr_log_text(struct pr_buf *b, const struct pr_log_field *fields);
/* Appends one value in log syntax. */
void pr_log_value(struct pr_buf *b, struct pr_slice v);

#endif
