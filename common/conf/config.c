/* config.c - a load, from the file to the snapshot:
 *
 * 1. read the file (bounded), 2. YAML events to a tree with marks, 3. substitution in values, 4. decode by the schema
 * table, 5. what depends on other items, 6. checks across items, 7. the maps for look-ups.
 *
 * Steps 2 to 6 go on after an error where they can, so that one run shows every error. */
#include "common/conf/config.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/conf/impl.h"
#include "common/conf/load.h"
#include "common/conf/schema.h"
#include "common/conf/value.h"

static struct pr_config *config_new(void)
{
    struct pr_config *c = pr_new(struct pr_config);
    struct conf_impl *impl = pr_new(struct conf_impl);
    atomic_init(&impl->refs, 1);
    pr_map_init(&impl->origins, 0);
    pr_map_init(&impl->routes, 0);
    pr_map_init(&impl->limits, 0);
    c->impl = impl;
    return c;
}

struct pr_config *pr_config_ref(struct pr_config *c)
{
    (void)atomic_fetch_add_explicit(&conf_impl(c)->refs, 1, memory_order_relaxed);
    return c;
}

void pr_config_unref(struct pr_config *c)
{
    if (c == NULL)
        return;
    struct conf_impl *impl = conf_impl(c);
    if (atomic_fetch_sub_explicit(&impl->refs, 1, memory_order_acq_rel) != 1)
        return;
    pr_map_fini(&impl->origins);
    pr_map_fini(&impl->routes);
    pr_map_fini(&impl->limits);
    pr_arena_fini(&impl->arena);
    pr_free(impl);
    pr_free(c);
}

static char *arena_printf(struct pr_arena *arena, const char *fmt, ...) PR_PRINTF(2, 3);
static char *arena_printf(struct pr_arena *arena, const char *fmt, ...)
{
    struct pr_buf b = {0};
    va_list ap;
    va_start(ap, fmt);
    pr_buf_vprintf(&b, fmt, ap);
    va_end(ap);
    char *text = pr_arena_cstr(arena, pr_buf_slice(&b));
    pr_buf_fini(&b);
    return text;
}

static void derive_hostport(struct pr_config *c, struct pr_hostport *hp, const char *role)
{
    if (hp->host == NULL && hp->unix_path == NULL)
        hp->unix_path = arena_printf(&conf_impl(c)->arena, "%s/%s.http", c->runtime_dir, role);
}

static void derive_listener(struct pr_config *c)
{
    struct pr_arena *arena = &conf_impl(c)->arena;
    struct pr_conf_listener *l = pr_arena_zalloc(arena, sizeof *l);
    const struct conf_item *list = conf_schema_find(&conf_schema, "ingress.listeners");
    struct conf_decoder d = {.schema = &conf_schema, .arena = arena};
    conf_set_defaults(&d, list, l);
    l->name = pr_arena_cstr(arena, PR_SLICE_LIT("smtp"));
    l->address = (struct pr_hostport){pr_arena_cstr(arena, PR_SLICE_LIT("127.0.0.1")), 2525, NULL};
    c->ingress.listeners = l;
    c->ingress.n_listeners = 1;
}

void conf_derive(struct pr_config *c)
{
    struct pr_arena *arena = &conf_impl(c)->arena;
    if (c->hostname == NULL) {
        struct pr_buf name = {0};
        conf_machine_name(&name);
        c->hostname = pr_arena_cstr(arena, pr_buf_slice(&name));
        pr_buf_fini(&name);
    }
    if (c->runtime_dir == NULL)
        c->runtime_dir = arena_printf(arena, "%s/run", c->data_dir);
    if (c->bus.address == NULL)
        c->bus.address = arena_printf(arena, "ipc://%s/bus", c->runtime_dir);
    if (c->bus.bulk_address == NULL)
        c->bus.bulk_address = arena_printf(arena, "ipc://%s/bus-bulk", c->runtime_dir);
    derive_hostport(c, &c->admin.scheduler, "scheduler");
    derive_hostport(c, &c->admin.ingress, "ingress");
    derive_hostport(c, &c->admin.deliverer, "deliverer");
    if (c->ingress.n_listeners == 0)
        derive_listener(c);
}

/* Folder of the file, for relative names in it; NULL is the working folder. */
static const char *folder_of(const char *file, struct pr_arena *arena)
{
    struct pr_slice name = pr_slice_str(file);
    size_t slash = file == NULL ? SIZE_MAX : pr_slice_rfind(name, '/');
    if (slash == SIZE_MAX)
        return NULL;
    return slash == 0 ? "/" : pr_arena_cstr(arena, pr_slice_head(name, slash));
}

static struct pr_config *load_text(struct pr_slice text, const char *file, struct conf_report *report)
{
    struct pr_config *c = config_new();
    struct conf_impl *impl = conf_impl(c);
    struct pr_arena nodes = {0};
    const char *dir = folder_of(file, &nodes);
    struct conf_node *root = conf_node_parse(text, &nodes, report);
    /* Without a tree the defaults would only add noise to the one error. */
    bool readable = report->errors->n_errors == 0 || root != NULL;
    if (root != NULL)
        conf_node_substitute(root, dir, &nodes, report);
    struct conf_decoder d = {&conf_schema, &impl->arena, report, dir, &impl->origins};
    conf_decode(&d, root, c);
    conf_derive(c);
    if (readable)
        conf_check(c, report);
    conf_index(c);
    pr_arena_fini(&nodes);
    return c;
}

static int finish(struct pr_config *c, struct conf_report *report, int rc, struct pr_config **ret,
                  struct pr_conf_errors **reterr_errors)
{
    if (rc == PR_OK && report->errors->n_errors > 0)
        rc = PR_EPARSE;
    struct pr_conf_errors *errors = conf_report_finish(report);
    if (reterr_errors != NULL)
        *reterr_errors = errors;
    else
        pr_conf_errors_free(errors);
    if (rc == PR_OK)
        *ret = c;
    else
        pr_config_unref(c);
    return rc;
}

int pr_config_parse(struct pr_slice text, const char *name, struct pr_config **ret,
                    struct pr_conf_errors **reterr_errors)
{
    struct conf_report report;
    conf_report_init(&report, name, text);
    struct pr_config *c = load_text(text, name, &report);
    return finish(c, &report, PR_OK, ret, reterr_errors);
}

static int read_config_file(const char *path, struct pr_buf *out)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return errno;
    int err = 0;
    for (;;) {
        ssize_t n = read(fd, pr_buf_reserve(out, 16384), 16384);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            err = errno;
        if (n <= 0)
            break;
        out->len += (size_t)n;
        /* conf_node_parse refuses what is larger, with a message. */
        if (out->len > CONF_FILE_MAX)
            break;
    }
    (void)close(fd);
    return err;
}

int pr_config_load(const char *path, struct pr_config **ret, struct pr_conf_errors **reterr_errors)
{
    if (path == NULL)
        return pr_config_parse((struct pr_slice){NULL, 0}, NULL, ret, reterr_errors);
    struct pr_buf text = {0};
    int err = read_config_file(path, &text);
    int rc;
    if (err == 0) {
        rc = pr_config_parse(pr_buf_slice(&text), path, ret, reterr_errors);
    } else {
        struct conf_report report;
        conf_report_init(&report, path, (struct pr_slice){NULL, 0});
        conf_error(&report, ((struct conf_mark){0, 0}), NULL, "cannot read the file: %s", strerrordesc_np(err));
        rc = finish(NULL, &report, PR_EIO, ret, reterr_errors);
    }
    pr_buf_fini(&text);
    return rc;
}
