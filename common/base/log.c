#include "common/base/log.h"

const char *const pr_log_level_names[PR_LOG_LEVEL_NR] = {"error", "warn", "info", "debug"};

static bool is_plain(struct pr_slice v)
{
    if (v.len == 0)
        return false;
    for (size_t i = 0; i < v.len; i++)
        if (v.ptr[i] <= ' ' || v.ptr[i] > '~' || v.ptr[i] == '"' || v.ptr[i] == '=' || v.ptr[i] == '\\')
            return false;
    return true;
}

void pr_log_value(struct pr_buf *b, struct pr_slice v)
{
    if (is_plain(v))
        pr_buf_add(b, v);
    else
        pr_buf_json(b, v);
}

static void add_field(struct pr_buf *b, const struct pr_log_field *f)
{
    pr_buf_char(b, ' ');
    pr_buf_str(b, f->key);
    pr_buf_char(b, '=');
    switch (f->type) {
    case PR_LOG_STR:
        pr_log_value(b, pr_slice_str(f->str));
        break;
    case PR_LOG_SLICE:
        pr_log_value(b, f->slice);
        break;
    case PR_LOG_U64:
        pr_buf_u64(b, f->u64);
        break;
    case PR_LOG_I64:
        pr_buf_printf(b, "%lld", (long long)f->i64);
        break;
    case PR_LOG_END:
        break;
    }
}

void pr_log_text(struct pr_buf *b, const struct pr_log_field *fields)
{
    for (; fields->type != PR_LOG_END; fields++)
        add_field(b, fields);
}

void pr_log_fields(struct pr_log *log, enum pr_log_level level, const char *event, const struct pr_log_field *fields)
{
    if (log == NULL || level > __atomic_load_n(&log->level, __ATOMIC_RELAXED))
        return;
    if (log->emit_fields != NULL) {
        log->emit_fields(log, level, event, fields);
        return;
    }
    struct pr_buf b;
    pr_buf_init(&b);
    pr_log_text(&b, fields);
    log->emit(log, level, event, pr_buf_slice(&b));
    pr_buf_fini(&b);
}
