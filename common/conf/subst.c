/* subst.c - ${env:...} and ${file:...} in values. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/conf/node.h"

struct subst {
    const char *dir;
    struct pr_arena *arena;
    struct conf_report *report;
};

static int read_fd(int fd, struct pr_buf *out)
{
    struct stat st;
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))
        return PR_EIO;
    size_t start = out->len;
    for (;;) {
        ssize_t n = read(fd, pr_buf_reserve(out, 4096), 4096);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return PR_EIO;
        if (n == 0)
            break;
        out->len += (size_t)n;
        if (out->len - start > CONF_VALUE_FILE_MAX)
            return PR_ETOOBIG;
    }
    if (out->len > start && out->ptr[out->len - 1] == '\n')
        out->len--;
    if (out->len > start && out->ptr[out->len - 1] == '\r')
        out->len--;
    return pr_slice_find(pr_slice(out->ptr + start, out->len - start), '\0') == SIZE_MAX ? PR_OK : PR_EPARSE;
}

int conf_read_value_file(const char *dir, struct pr_slice path, struct pr_buf *out)
{
    struct pr_buf name = {0};
    if (dir != NULL && path.len > 0 && path.ptr[0] != '/')
        pr_buf_printf(&name, "%s/", dir);
    pr_buf_add(&name, path);
    /* O_NONBLOCK: a fifo must not stop the load; it is refused below. */
    int fd = open(pr_buf_cstr(&name), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    pr_buf_fini(&name);
    if (fd < 0)
        return errno == ENOENT || errno == ENOTDIR ? PR_ENOTFOUND : errno == EACCES ? PR_EDENIED : PR_EIO;
    int rc = read_fd(fd, out);
    (void)close(fd);
    return rc;
}

static bool env_name_valid(struct pr_slice name)
{
    for (size_t i = 0; i < name.len; i++)
        if (!pr_is_alnum(name.ptr[i]) && name.ptr[i] != '_')
            return false;
    return name.len > 0 && !pr_is_digit(name.ptr[0]);
}

static bool subst_env(struct subst *s, const struct conf_node *n, struct pr_slice body, struct pr_buf *out)
{
    size_t at = pr_slice_find_slice(body, PR_SLICE_LIT(":-"));
    struct pr_slice name = at == SIZE_MAX ? body : pr_slice_head(body, at);
    if (!env_name_valid(name)) {
        conf_error(s->report, n->mark, "${env:NAME} or ${env:NAME:-default}", "\"%.*s\" is no name of a variable",
                   PR_SLICE_ARG(name));
        return false;
    }
    const char *value = getenv(pr_arena_cstr(s->arena, name));
    if (at != SIZE_MAX && (value == NULL || *value == '\0')) {
        pr_buf_add(out, pr_slice_from(body, at + 2));
        return true;
    }
    if (value == NULL) {
        conf_error(s->report, n->mark, "set it, or give a default: ${env:NAME:-default}",
                   "the environment variable %.*s is not set", PR_SLICE_ARG(name));
        return false;
    }
    if (strlen(value) > CONF_VALUE_FILE_MAX || !pr_utf8_valid(pr_slice_str(value))) {
        conf_error(s->report, n->mark, NULL, "the environment variable %.*s is too long or not UTF-8",
                   PR_SLICE_ARG(name));
        return false;
    }
    pr_buf_str(out, value);
    return true;
}

static bool subst_file(struct subst *s, const struct conf_node *n, struct pr_slice path, struct pr_buf *out)
{
    size_t start = out->len;
    int rc = conf_read_value_file(s->dir, path, out);
    if (rc == PR_OK && !pr_utf8_valid(pr_slice(out->ptr + start, out->len - start)))
        rc = PR_EPARSE;
    if (rc == PR_OK)
        return true;
    conf_error(s->report, n->mark, "a readable text file of at most 64 KiB", "cannot read \"%.*s\": %s",
               PR_SLICE_ARG(path), pr_strerror(rc));
    return false;
}

/* One ${...}; rest stands behind the "${". False when it was reported. */
static bool subst_one(struct subst *s, const struct conf_node *n, struct pr_slice *rest, struct pr_buf *out)
{
    size_t end = pr_slice_find(*rest, '}');
    if (end == SIZE_MAX) {
        conf_error(s->report, n->mark, "close it with }, or write $${ for a literal ${", "\"${\" is not closed");
        return false;
    }
    struct pr_slice body = pr_slice_head(*rest, end);
    *rest = pr_slice_from(*rest, end + 1);
    if (pr_slice_starts(body, PR_SLICE_LIT("env:")))
        return subst_env(s, n, pr_slice_from(body, 4), out);
    if (pr_slice_starts(body, PR_SLICE_LIT("file:")))
        return subst_file(s, n, pr_slice_from(body, 5), out);
    conf_error(s->report, n->mark, "${env:NAME}, ${env:NAME:-default}, ${file:PATH}; $${ for a literal ${",
               "\"${%.*s}\" is not known", PR_SLICE_ARG(body));
    return false;
}

static void subst_scalar(struct subst *s, struct conf_node *n)
{
    if (pr_slice_find_slice(n->text, PR_SLICE_LIT("${")) == SIZE_MAX)
        return;
    struct pr_buf out = {0};
    struct pr_slice rest = n->text;
    for (size_t at; (at = pr_slice_find_slice(rest, PR_SLICE_LIT("${"))) != SIZE_MAX;) {
        if (at > 0 && rest.ptr[at - 1] == '$') {
            pr_buf_add(&out, pr_slice_head(rest, at - 1));
            pr_buf_str(&out, "${");
            rest = pr_slice_from(rest, at + 2);
            continue;
        }
        pr_buf_add(&out, pr_slice_head(rest, at));
        rest = pr_slice_from(rest, at + 2);
        /* On error the value stays empty but counts as given: one message is enough. */
        if (!subst_one(s, n, &rest, &out) || out.len > CONF_VALUE_FILE_MAX) {
            n->failed = true;
            break;
        }
        n->substituted = true;
    }
    pr_buf_add(&out, rest);
    n->text = pr_slice(pr_arena_cstr(s->arena, pr_buf_slice(&out)), out.len);
    pr_buf_fini(&out);
}

static void subst_tree(struct subst *s, struct conf_node *n)
{
    if (n->kind == CONF_NODE_SCALAR)
        subst_scalar(s, n);
    for (struct conf_node *child = n->first; child != NULL; child = child->next)
        subst_tree(s, child);
}

void conf_node_substitute(struct conf_node *root, const char *dir, struct pr_arena *arena, struct conf_report *report)
{
    subst_tree(&(struct subst){dir, arena, report}, root);
}
