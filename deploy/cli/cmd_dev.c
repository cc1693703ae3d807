/* cmd_dev.c - dev: everything on loopback with nothing to prepare:
 *   1. a temporary folder with a configuration that routes all mail to our sink;
 *   2. scheduler, ingress, deliverer and sink under the supervisor of `run`;
 *   3. a message goes through, each step with its time;
 *   4. --once: stop; else stay until a signal;
 *   5. the folder goes, unless --keep. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "deploy/cli/api.h"
#include "deploy/cli/commands.h"
#include "deploy/cli/net.h"
#include "deploy/cli/node.h"
#include "deploy/cli/trial.h"

enum { READY_MS = 60000, TRIAL_MS = 30000, LOG_TAIL = 6000 };

struct dev {
    struct pr_buf dir, config_path, log_path, sink_http, link;
    uint16_t smtp_port, sink_port;
    struct node_user user;
    struct supervisor *supervisor;
    struct pr_config *config;
    int log_fd;
    bool keep;
};

static bool make_folder(struct dev *d)
{
    const char *tmp = getenv("TMPDIR");
    pr_buf_printf(&d->dir, "%s/postrider-dev-XXXXXX", tmp == NULL || tmp[0] != '/' ? "/tmp" : tmp);
    (void)pr_buf_cstr(&d->dir);
    if (mkdtemp(d->dir.ptr) == NULL) {
        (void)cli_fail(CLI_FAILED, "cannot make a folder like %s: %s", d->dir.ptr, strerrordesc_np(errno));
        pr_buf_clear(&d->dir);
        return false;
    }
    pr_buf_printf(&d->config_path, "%s/postrider.yaml", d->dir.ptr);
    pr_buf_printf(&d->log_path, "%s/postrider.log", d->dir.ptr);
    pr_buf_printf(&d->sink_http, "%s/run/sink.http", d->dir.ptr);
    (void)pr_buf_cstr(&d->config_path);
    (void)pr_buf_cstr(&d->log_path);
    (void)pr_buf_cstr(&d->sink_http);
    return d->user.uid == 0 || chown(d->dir.ptr, d->user.uid, d->user.gid) == 0;
}

static bool write_config(const struct dev *d)
{
    FILE *f = fopen(d->config_path.ptr, "we");
    if (f == NULL)
        return false;
    (void)fprintf(f,
                  "# Made by postrider dev: loopback only, all mail goes to the sink.\n"
                  "hostname: dev.localhost\n"
                  "data_dir: %s/data\n"
                  "runtime_dir: %s/run\n"
                  "ingress:\n"
                  "  listeners:\n"
                  "    - name: smtp\n"
                  "      address: 127.0.0.1:%u\n"
                  "  trusted_networks: [127.0.0.1/32]\n"
                  "queue:\n"
                  "  shards: 2\n"
                  "  retry: [5s, 10s, 30s, 1m, 5m, 15m, 1h]\n"
                  "  free_space: {low: 128MiB, floor: 64MiB}\n"
                  "routes:\n"
                  "  - domain: \"*\"\n"
                  "    via: \"[127.0.0.1]:%u\"\n",
                  d->dir.ptr, d->dir.ptr, (unsigned)d->smtp_port, (unsigned)d->sink_port);
    bool ok = ferror(f) == 0;
    ok = fclose(f) == 0 && ok;
    /* The user of the daemons reads it. */
    return ok && chmod(d->config_path.ptr, 0644) == 0;
}

static int add_sink(struct dev *d)
{
    struct pr_buf program = {0}, listen_at = {0};
    if (!node_program_dir(&program))
        return cli_fail(CLI_FAILED, "cannot tell where this program is");
    pr_buf_str(&program, "/postrider");
    pr_buf_printf(&listen_at, "127.0.0.1:%u", (unsigned)d->sink_port);
    const char *const argv[] = {pr_buf_cstr(&program), "sink",   "run",           "--listen",
                                pr_buf_cstr(&listen_at), "--http", d->sink_http.ptr, NULL};
    supervisor_add(d->supervisor, "sink", argv, 5000);
    pr_buf_fini(&program);
    pr_buf_fini(&listen_at);
    return CLI_OK;
}

/* So that the other commands find us without --config. */
static void set_link(struct dev *d)
{
    struct stat st;
    cli_dev_link(&d->link);
    (void)pr_buf_cstr(&d->link);
    if (lstat(d->link.ptr, &st) == 0 && S_ISLNK(st.st_mode) && st.st_uid == geteuid())
        (void)unlink(d->link.ptr);
    if (symlink(d->dir.ptr, d->link.ptr) != 0)
        pr_buf_clear(&d->link); /* somebody else's file: the others need --config then */
}

static void remove_link(const struct dev *d)
{
    struct pr_buf target = {0};
    if (d->link.len == 0)
        return;
    ssize_t n = readlink(d->link.ptr, pr_buf_reserve(&target, 4096), 4096);
    target.len = n > 0 ? (size_t)n : 0;
    /* A later dev may have taken it over. */
    if (pr_slice_eq_str(pr_buf_slice(&target), d->dir.ptr))
        (void)unlink(d->link.ptr);
    pr_buf_fini(&target);
}

static int prepare(struct dev *d)
{
    d->smtp_port = cli_free_port(2525);
    d->sink_port = cli_free_port(2500);
    if (d->smtp_port == 0 || d->sink_port == 0)
        return cli_fail(CLI_FAILED, "no free port on 127.0.0.1");
    if (!make_folder(d))
        return CLI_FAILED;
    if (!write_config(d))
        return cli_fail(CLI_FAILED, "cannot write %s: %s", d->config_path.ptr, strerrordesc_np(errno));
    if (pr_config_load(d->config_path.ptr, &d->config, NULL) != PR_OK)
        return cli_fail(CLI_FAILED, "%s is too long a path: set TMPDIR to a shorter one", d->dir.ptr);
    d->log_fd = open(d->log_path.ptr, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (d->log_fd < 0)
        return cli_fail(CLI_FAILED, "cannot write %s: %s", d->log_path.ptr, strerrordesc_np(errno));
    return node_prepare(d->config, d->config_path.ptr, &d->user);
}

static int start(struct dev *d)
{
    struct supervisor_options o = {
        .uid = d->user.uid, .gid = d->user.gid, .user = d->user.name, .log_fd = d->log_fd, .quiet = true};
    if (supervisor_new(&o, &d->supervisor) != PR_OK)
        return cli_fail(CLI_FAILED, "cannot take over signals");
    int code = node_add_daemons(d->supervisor, d->config_path.ptr, false);
    if (code == CLI_OK)
        code = add_sink(d);
    if (code == CLI_OK)
        set_link(d);
    return code;
}

/* What the daemons said last: the reason is in there. */
static void print_log_tail(const struct dev *d)
{
    struct pr_buf tail = {0};
    struct stat st;
    int fd = open(d->log_path.ptr, O_RDONLY | O_CLOEXEC);
    if (fd >= 0 && fstat(fd, &st) == 0) {
        ssize_t n = pread(fd, pr_buf_reserve(&tail, LOG_TAIL), LOG_TAIL, st.st_size > LOG_TAIL ? st.st_size - LOG_TAIL : 0);
        tail.len = n > 0 ? (size_t)n : 0;
        (void)fprintf(stderr, "The end of %s:\n%.*s", d->log_path.ptr, PR_SLICE_ARG(pr_buf_slice(&tail)));
    }
    if (fd >= 0)
        (void)close(fd);
    pr_buf_fini(&tail);
}

/* Supervises while something waits; false when somebody wants us to stop, or a daemon keeps failing. */
static bool dev_idle(void *data, uint64_t ms)
{
    enum { FAILURES_MAX = 3 };
    struct dev *d = data;
    uint64_t until = cli_now_ms() + ms;
    do {
        uint64_t now = cli_now_ms();
        supervisor_step(d->supervisor, until > now ? until - now : 0);
    } while (cli_now_ms() < until && !supervisor_stopping(d->supervisor));
    return !supervisor_stopping(d->supervisor) && supervisor_failures(d->supervisor) < FAILURES_MAX;
}

static bool scheduler_ready(const struct dev *d)
{
    struct http_response r = {0};
    const char *why;
    if (http_request(&d->config->admin.scheduler, "GET", "/api/v1/status", (struct pr_slice){NULL, 0}, cli_now_ms() + 2000, &r,
                     &why) != PR_OK)
        return false;
    json_t *o = r.status == 200 ? json_loadb(r.body.ptr == NULL ? "" : r.body.ptr, r.body.len, 0, NULL) : NULL;
    bool ingress = false, deliverer = false, ready = api_bool(o, "ready");
    size_t i;
    json_t *peer;
    json_array_foreach(json_object_get(o, "peers"), i, peer) {
        ingress = ingress || strcmp(api_str(peer, "role"), "ingress") == 0;
        deliverer = deliverer || strcmp(api_str(peer, "role"), "deliverer") == 0;
    }
    json_decref(o);
    pr_buf_fini(&r.body);
    return ready && ingress && deliverer;
}

static bool accepts(const struct pr_hostport *at)
{
    struct cli_conn conn;
    const char *why;
    if (cli_connect(at, cli_now_ms() + 1000, &conn, &why) != PR_OK)
        return false;
    cli_close(&conn);
    return true;
}

static int wait_ready(struct dev *d, uint64_t deadline_ms)
{
    struct pr_hostport sink = {NULL, 0, d->sink_http.ptr};
    while (!scheduler_ready(d) || !accepts(&d->config->ingress.listeners[0].address) || !accepts(&sink)) {
        if (!dev_idle(d, 20))
            return supervisor_stopping(d->supervisor) ? CLI_FAILED : cli_fail(CLI_FAILED, "a daemon does not stay up");
        if (cli_now_ms() >= deadline_ms)
            return cli_fail(CLI_TIMEOUT, "the daemons are not ready in time");
    }
    return CLI_OK;
}

static void print_table(const struct dev *d, uint64_t ready_ms)
{
    (void)printf("Postrider " POSTRIDER_VERSION "  dev, ready after %llu ms, data in %s (%s)\n", (unsigned long long)ready_ms,
                 d->dir.ptr, d->keep ? "kept" : "deleted on exit; --keep to stay");
    (void)printf("  scheduler   %u shards, admin API  %s\n", d->config->queue.shards, d->config->admin.scheduler.unix_path);
    (void)printf("  ingress     smtp                127.0.0.1:%u\n", (unsigned)d->smtp_port);
    (void)printf("  deliverer   %u connections     all domains via [127.0.0.1]:%u\n", d->config->delivery.connections_max,
                 (unsigned)d->sink_port);
    (void)printf("  sink        smtp                127.0.0.1:%u  (catches ALL outgoing mail)\n", (unsigned)d->sink_port);
    (void)printf("  log         %s\n\n", d->log_path.ptr);
    (void)fflush(stdout);
}

static void print_next(const struct dev *d)
{
    struct pr_buf dir = {0};
    const char *path = node_program_dir(&dir) ? pr_buf_cstr(&dir) : "";
    if (d->link.len == 0)
        (void)printf("\nexport POSTRIDER_CONFIG=%s\n", d->config_path.ptr);
    (void)printf("\nTry, in another terminal:\n"
                 "  %s/postrider send test --to you@example.com\n"
                 "  %s/postrider status\n"
                 "  %s/postrider queue list\n"
                 "  %s/postrider sink list\n"
                 "Nothing leaves this machine in dev mode. Ctrl-C ends it.\n",
                 path, path, path, path);
    (void)fflush(stdout);
    pr_buf_fini(&dir);
}

/* A message through everything. CLI_OK only when it lies in the sink. */
static int try_message(struct dev *d, uint64_t timeout_ms)
{
    struct pr_hostport sink = {NULL, 0, d->sink_http.ptr};
    struct trial t = {
        .smtp = &d->config->ingress.listeners[0].address,
        .scheduler = &d->config->admin.scheduler,
        .sink = &sink,
        .helo = "client.localhost",
        .sender = "you@example.org",
        .recipient = "friend@example.com",
        .subject = "Hello from Postrider",
        .deadline_ms = cli_now_ms() + timeout_ms,
        .idle = dev_idle,
        .data = d,
    };
    (void)printf("A message from <%s> to <%s>:\n", t.sender, t.recipient);
    int code = trial_send(&t, true);
    if (code == CLI_OK)
        code = trial_follow(&t);
    if (code == CLI_TIMEOUT)
        code = cli_fail(CLI_TIMEOUT, t.in_sink ? "the message is in the sink, but has not left the queue"
                                               : "the message has not reached the sink in time");
    trial_fini(&t);
    return code;
}

static int run_trial(struct dev *d, const struct cli *c)
{
    uint64_t began = cli_now_ms();
    int code = wait_ready(d, began + (c->timeout_ms != 0 ? c->timeout_ms : READY_MS));
    if (code == CLI_OK) {
        print_table(d, cli_now_ms() - began);
        code = try_message(d, c->timeout_ms != 0 ? c->timeout_ms : TRIAL_MS);
    }
    if (code != CLI_OK && !supervisor_stopping(d->supervisor))
        print_log_tail(d);
    if (code == CLI_OK && !cli_has(c, CLI_ONCE)) {
        print_next(d);
        while (!supervisor_stopping(d->supervisor))
            supervisor_step(d->supervisor, 60000);
    }
    return code;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

static void stop(struct dev *d)
{
    if (d->supervisor != NULL && !supervisor_stopping(d->supervisor))
        supervisor_stop(d->supervisor);
    while (d->supervisor != NULL && !supervisor_stopped(d->supervisor))
        supervisor_step(d->supervisor, 1000);
    supervisor_free(d->supervisor);
    if (d->log_fd >= 0)
        (void)close(d->log_fd);
    remove_link(d);
    if (d->dir.len > 0 && d->keep)
        (void)printf("Kept: %s\n", d->dir.ptr);
    else if (d->dir.len > 0)
        (void)nftw(d->dir.ptr, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    pr_config_unref(d->config);
    node_user_fini(&d->user);
    pr_buf_fini(&d->dir);
    pr_buf_fini(&d->config_path);
    pr_buf_fini(&d->log_path);
    pr_buf_fini(&d->sink_http);
    pr_buf_fini(&d->link);
}

int cmd_dev(struct cli *c)
{
    struct dev d = {.log_fd = -1, .keep = cli_has(c, CLI_KEEP)};
    int code = node_user(NULL, &d.user);
    if (code == CLI_OK)
        code = prepare(&d);
    if (code == CLI_OK)
        code = start(&d);
    if (code == CLI_OK)
        code = run_trial(&d, c);
    stop(&d);
    return code;
}
