/* daemon.c - a daemon's life:
 *   1. command line; `--check` ends after the configuration was read;
 *   2. surroundings: umask, SIGPIPE, descriptors, size of libuv's pool;
 *   3. configuration: every error at once on stderr; then the log; then the runtime directory;
 *   4. ops->start; READY=1; the loop runs: SIGHUP reloads, SIGTERM and SIGINT stop;
 *   5. pr_daemon_stopped ends the loop; what the program left open gets CLOSE_WAIT_MS to close.
 * A reload that fails leaves everything as it was and logs each error. A second signal to stop exits at once. */
#include "common/net/daemon.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/base/assert.h"
#include "common/conf/load.h"
#include "common/net/clock.h"
#include "common/net/logfd.h"
#include "common/net/notify.h"

#ifndef POSTRIDER_VERSION
#error "POSTRIDER_VERSION is set by the build"
#endif

enum { CLOSE_WAIT_MS = 5000, EXIT_USAGE = 2 };

struct options {
    const char *config;
    bool check, allow_root;
};

struct pr_daemon {
    const struct pr_daemon_ops *ops;
    void *data;
    struct options options;
    struct pr_config *config;
    struct pr_log *log;
    uv_loop_t loop;
    uv_signal_t sighup, sigterm, sigint;
    uv_timer_t close_wait;
    bool running, stopping, stopped, gave_up;
    int exit_code;
    uint64_t reload_failures; /* atomic */
};

static void usage(FILE *f, const char *program)
{
    (void)fprintf(f,
                  "usage: %s [-c FILE] [--check]\n"
                  "  -c, --config FILE  configuration (YAML); without it the defaults\n"
                  "      --check        read the configuration, report every error, exit\n"
                  "      --allow-root   run although started as root\n"
                  "      --version      print the version\n"
                  "  -h, --help         print this text\n"
                  "SIGHUP reads the configuration again; SIGTERM stops in order, a second one at once.\n",
                  program);
}

/* Returns -1 to go on, else the exit code. */
static int parse_options(int argc, char **argv, const char *program, struct options *o)
{
    enum { OPT_CHECK = 256, OPT_ALLOW_ROOT, OPT_VERSION };
    static const struct option longs[] = {
        {"config", required_argument, NULL, 'c'},       {"check", no_argument, NULL, OPT_CHECK},
        {"allow-root", no_argument, NULL, OPT_ALLOW_ROOT}, {"version", no_argument, NULL, OPT_VERSION},
        {"help", no_argument, NULL, 'h'},               {NULL, 0, NULL, 0},
    };
    for (int c; (c = getopt_long(argc, argv, "c:h", longs, NULL)) != -1;) {
        switch (c) {
        case 'c':
            o->config = optarg;
            break;
        case OPT_CHECK:
            o->check = true;
            break;
        case OPT_ALLOW_ROOT:
            o->allow_root = true;
            break;
        case OPT_VERSION:
            (void)printf("%s %s\n", program, POSTRIDER_VERSION);
            return EXIT_SUCCESS;
        case 'h':
            usage(stdout, program);
            return EXIT_SUCCESS;
        default:
            usage(stderr, program);
            return EXIT_USAGE;
        }
    }
    if (optind < argc) {
        (void)fprintf(stderr, "%s: unexpected argument '%s'\n", program, argv[optind]);
        usage(stderr, program);
        return EXIT_USAGE;
    }
    return -1;
}

static void prepare_process(void)
{
    umask(027);
    (void)signal(SIGPIPE, SIG_IGN);
    struct rlimit r;
    if (getrlimit(RLIMIT_NOFILE, &r) == 0 && r.rlim_cur < r.rlim_max) {
        r.rlim_cur = r.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &r);
    }
    /* Read by libuv at its first use of the pool: a few slow files must not hold up the others. */
    (void)setenv("UV_THREADPOOL_SIZE", "8", 0);
}

static void print_messages(const struct pr_conf_errors *e)
{
    if (e == NULL || e->n == 0)
        return;
    struct pr_buf b;
    pr_buf_init(&b);
    pr_conf_errors_render(e, &b);
    (void)fwrite(b.ptr, 1, b.len, stderr);
    pr_buf_fini(&b);
}

static int load_first(struct pr_daemon *d)
{
    struct pr_conf_errors *errors = NULL;
    int rc = pr_config_load(d->options.config, &d->config, &errors);
    print_messages(errors);
    pr_conf_errors_free(errors);
    return rc;
}

static enum pr_log_level level_of(const struct pr_config *c)
{
    for (size_t i = 0; i < PR_LOG_LEVEL_NR; i++)
        if (c->log.level != NULL && strcmp(c->log.level, pr_log_level_names[i]) == 0)
            return (enum pr_log_level)i;
    return PR_LOG_INFO;
}

static bool is_json(const struct pr_config *c)
{
    return c->log.format != NULL && strcmp(c->log.format, "json") == 0;
}

/* mkdir -p, mode 0750. */
static int make_directory(const char *path)
{
    char *p = pr_strdup(path);
    int rc = 0;
    for (char *slash = p; rc == 0 && slash != NULL;) {
        slash = strchr(slash + 1, '/');
        if (slash != NULL)
            *slash = '\0';
        if (mkdir(p, 0750) != 0 && errno != EEXIST)
            rc = PR_EIO;
        if (slash != NULL)
            *slash = '/';
    }
    struct stat st;
    if (rc == 0 && (stat(path, &st) != 0 || !S_ISDIR(st.st_mode)))
        rc = PR_EIO;
    pr_free(p);
    return rc;
}

static void log_messages(struct pr_daemon *d, const struct pr_conf_errors *e)
{
    for (size_t i = 0; e != NULL && i < e->n; i++) {
        const struct pr_conf_message *m = &e->items[i];
        pr_log_at(d->log, m->severity == PR_CONF_ERROR ? PR_LOG_ERROR : PR_LOG_WARN, "config_message",
                  PR_S("file", m->file == NULL ? "" : m->file), PR_U("line", m->line), PR_U("col", m->col),
                  PR_S("message", m->message), PR_S("hint", m->hint == NULL ? "" : m->hint));
    }
}

static void log_changes(struct pr_daemon *d, const struct pr_config *now)
{
    struct pr_conf_diff *diff = pr_config_diff(d->config, now);
    for (size_t i = 0; i < diff->n; i++) {
        const struct pr_conf_change *c = &diff->items[i];
        bool restart = c->reload == PR_CONF_RESTART;
        pr_log_at(d->log, restart ? PR_LOG_WARN : PR_LOG_INFO, restart ? "config_needs_restart" : "config_changed",
                  PR_S("path", c->path), PR_S("old", c->old_value == NULL ? "" : c->old_value),
                  PR_S("new", c->new_value == NULL ? "" : c->new_value));
    }
    pr_conf_diff_free(diff);
}

static void reload(struct pr_daemon *d)
{
    struct pr_config *now = NULL;
    struct pr_conf_errors *errors = NULL;
    pr_notify_reloading();
    int rc = pr_config_load(d->options.config, &now, &errors);
    log_messages(d, errors);
    pr_conf_errors_free(errors);
    if (rc != 0) {
        __atomic_add_fetch(&d->reload_failures, 1, __ATOMIC_RELAXED);
        pr_error(d->log, "config_reload_failed", PR_S("error", pr_strerror(rc)));
    } else {
        log_changes(d, now);
        pr_logfd_configure(d->log, level_of(now), is_json(now));
        pr_config_unref(d->config);
        d->config = now;
        d->ops->reload(d, now, d->data);
        pr_info(d->log, "config_reloaded");
    }
    pr_notify_ready();
}

static void on_sighup(uv_signal_t *s, int signum)
{
    (void)signum;
    struct pr_daemon *d = s->data;
    if (!d->stopping)
        reload(d);
}

static void on_stop_signal(uv_signal_t *s, int signum)
{
    struct pr_daemon *d = s->data;
    if (d->stopping) {
        /* error: written before we are gone */
        pr_error(d->log, "stop_forced", PR_I("signal", signum));
        _exit(128 + signum);
    }
    d->stopping = true;
    pr_info(d->log, "stopping", PR_I("signal", signum));
    pr_notify_stopping();
    d->ops->stop(d, d->data);
}

static void start_signal(struct pr_daemon *d, uv_signal_t *s, uv_signal_cb cb, int signum)
{
    int rc = uv_signal_init(&d->loop, s);
    pr_assert(rc == 0);
    s->data = d;
    rc = uv_signal_start(s, cb, signum);
    pr_assert(rc == 0);
}

static void on_close_wait(uv_timer_t *t)
{
    struct pr_daemon *d = t->data;
    d->gave_up = true;
    uv_stop(&d->loop);
}

static void run_loop(struct pr_daemon *d)
{
    d->running = true;
    if (!d->stopped)
        uv_run(&d->loop, UV_RUN_DEFAULT);
    d->running = false;
    uv_close((uv_handle_t *)&d->sighup, NULL);
    uv_close((uv_handle_t *)&d->sigterm, NULL);
    uv_close((uv_handle_t *)&d->sigint, NULL);
    uv_timer_start(&d->close_wait, on_close_wait, CLOSE_WAIT_MS, 0);
    uv_unref((uv_handle_t *)&d->close_wait);
    uv_run(&d->loop, UV_RUN_DEFAULT);
    if (d->gave_up)
        pr_warn(d->log, "stopped_with_open_handles");
    uv_close((uv_handle_t *)&d->close_wait, NULL);
    uv_run(&d->loop, UV_RUN_NOWAIT);
    (void)uv_loop_close(&d->loop);
}

static int run(struct pr_daemon *d)
{
    if (make_directory(d->config->runtime_dir) != 0) {
        pr_error(d->log, "runtime_dir_failed", PR_S("path", d->config->runtime_dir), PR_S("error", strerror(errno)));
        return EXIT_FAILURE;
    }
    int rc = uv_loop_init(&d->loop);
    pr_assert(rc == 0);
    start_signal(d, &d->sighup, on_sighup, SIGHUP);
    start_signal(d, &d->sigterm, on_stop_signal, SIGTERM);
    start_signal(d, &d->sigint, on_stop_signal, SIGINT);
    uv_timer_init(&d->loop, &d->close_wait);
    d->close_wait.data = d;
    pr_info(d->log, "starting", PR_S("version", POSTRIDER_VERSION), PR_I("pid", getpid()),
            PR_S("config", d->options.config == NULL ? "" : d->options.config));
    if (d->ops->start(d, d->data) != 0) {
        d->stopped = true;
        d->exit_code = EXIT_FAILURE;
    } else {
        pr_info(d->log, "started");
        pr_notify_ready();
    }
    run_loop(d);
    pr_info(d->log, "stopped", PR_I("exit_code", d->exit_code));
    return d->exit_code;
}

int pr_daemon_main(int argc, char **argv, const char *program, const struct pr_daemon_ops *ops, void *data)
{
    struct pr_daemon d = {.ops = ops, .data = data};
    int code = parse_options(argc, argv, program, &d.options);
    if (code >= 0)
        return code;
    if (geteuid() == 0 && !d.options.allow_root && !d.options.check) {
        (void)fprintf(stderr, "%s: refusing to run as root; use an account of its own (or --allow-root)\n", program);
        return EXIT_FAILURE;
    }
    prepare_process();
    if (load_first(&d) != 0)
        return EXIT_FAILURE;
    if (d.options.check) {
        (void)printf("configuration OK\n");
        pr_config_unref(d.config);
        return EXIT_SUCCESS;
    }
    d.log = pr_logfd_new(&(struct pr_logfd_options){
        .fd = STDERR_FILENO, .program = program, .level = level_of(d.config), .json = is_json(d.config)});
    code = run(&d);
    pr_logfd_free(d.log);
    pr_config_unref(d.config);
    return code;
}

uv_loop_t *pr_daemon_loop(struct pr_daemon *d)
{
    return &d->loop;
}

struct pr_config *pr_daemon_config(struct pr_daemon *d)
{
    return d->config;
}

uint64_t pr_daemon_reload_failures(const struct pr_daemon *d)
{
    return __atomic_load_n(&d->reload_failures, __ATOMIC_RELAXED);
}

struct pr_log *pr_daemon_log(struct pr_daemon *d)
{
    return d->log;
}

void pr_daemon_stopped(struct pr_daemon *d, int exit_code)
{
    d->stopped = true;
    d->exit_code = exit_code;
    if (d->running)
        uv_stop(&d->loop);
}
