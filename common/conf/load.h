/* load.h - what people see of the configuration: the list of errors of a load, the effective values as YAML or JSON, the
 * difference of two loads, the JSON Schema and the reference page. All but the errors are made from the schema table.
 *
 * Owns: as each function says. Thread: one at a time per object; a pr_config may be read by any. */
#ifndef PR_CONF_LOAD_H
#define PR_CONF_LOAD_H

#include <stdbool.h>
#include <stddef.h>

#include "common/base/buf.h"
#include "common/base/slice.h"
#include "common/conf/config.h"

enum pr_conf_severity { PR_CONF_ERROR, PR_CONF_WARNING };

struct pr_conf_message {
    enum pr_conf_severity severity;
    char *file;        /* as given to the load; NULL: the built-in defaults */
    unsigned line;     /* from 1; 0: the whole file */
    unsigned col;      /* from 1, in characters */
    char *message;     /* one line, no final dot */
    char *hint;        /* what to write instead; NULL */
    char *source_line; /* the line of the file, for the caret; NULL */
};

/* At most PR_CONF_MESSAGES_MAX are kept, in file order; n_dropped counts the rest. */
enum { PR_CONF_MESSAGES_MAX = 200 };

struct pr_conf_errors {
    struct pr_conf_message *items;
    size_t n;
    size_t n_errors, n_warnings; /* dropped ones included */
    size_t n_dropped;
};

void pr_conf_errors_free(struct pr_conf_errors *e);
/* `file:line:col: error: message`, the line, a caret under the column, `hint: ...`; for each message. */
void pr_conf_errors_render(const struct pr_conf_errors *e, struct pr_buf *out);

/* As pr_config_load, from memory; name stands for the file in messages, and relative ${file:...} start in its folder. */
PR_MUST_USE int pr_config_parse(struct pr_slice text, const char *name, struct pr_config **ret,
                                struct pr_conf_errors **reterr_errors);

enum pr_conf_show {
    PR_CONF_SHOW_NON_DEFAULT = 1, /* only what the file sets to something else than the default */
    PR_CONF_SHOW_JSON = 2,        /* else YAML */
};
/* The effective configuration. Secrets are redacted. The YAML loads again to the same values (but for secrets). */
void pr_config_show(const struct pr_config *c, unsigned flags, struct pr_buf *out);

enum pr_conf_reload { PR_CONF_LIVE, PR_CONF_RESTART };

struct pr_conf_change {
    char *path;                 /* "queue.lifetime", "routes[example.com].via" */
    char *old_value, *new_value; /* NULL: not there */
    enum pr_conf_reload reload;
};
struct pr_conf_diff {
    struct pr_conf_change *items;
    size_t n;
    size_t n_restart; /* how many take effect only after a restart */
};
/* What changed from a to b, in the order of the schema; gives the result to the caller. */
struct pr_conf_diff *pr_config_diff(const struct pr_config *a, const struct pr_config *b);
void pr_conf_diff_free(struct pr_conf_diff *d);

/* JSON Schema, draft 2020-12. */
void pr_conf_json_schema(struct pr_buf *out);
/* The reference page, Markdown. */
void pr_conf_reference(struct pr_buf *out);

#endif
