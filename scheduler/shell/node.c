/* Start: data directory and its lock, number of shards (fixed at the first start), bus, shards, HTTP. Any shard that fails
 * stops the process: nothing more is acknowledged. Stop: shards first (their last answers leave through the bus), then the
 * bus, then HTTP. */
#include "scheduler/shell/node.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/net/clock.h"
#include "common/net/logfd.h"
#include "scheduler/shell/metrics.h"

enum { SECOND_MS = 1000, MEMBERS_MAX = 4096 };

static char *path_in(const char *dir, const char *name)
{
    struct pr_buf b = {0};
    pr_buf_printf(&b, "%s/%s", dir, name);
    return pr_buf_steal(&b, NULL);
}

static char *shard_path(const char *dir, uint32_t shard)
{
    struct pr_buf b = {0};
    pr_buf_printf(&b, "%s/shard-%02u", dir, shard);
    return pr_buf_steal(&b, NULL);
}

static int take_lock(struct node *n, const char *dir)
{
    char holder[32] = "";
    char *path = path_in(dir, "scheduler.lock");
    n->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0640);
    if (n->lock_fd < 0) {
        pr_error(n->log, "lock_failed", PR_S("path", path), PR_S("error", strerror(errno)));
        pr_free(path);
        return PR_EIO;
    }
    if (flock(n->lock_fd, LOCK_EX | LOCK_NB) != 0) {
        (void)!read(n->lock_fd, holder, sizeof holder - 1);
        pr_error(n->log, "data_directory_in_use", PR_S("path", path), PR_S("held_by_pid", holder),
                 PR_S("hint", "another scheduler runs on this data directory"));
        pr_free(path);
        return PR_ECONFLICT;
    }
    pr_free(path);
    int len = snprintf(holder, sizeof holder, "%ld\n", (long)getpid());
    if (ftruncate(n->lock_fd, 0) != 0 || pwrite(n->lock_fd, holder, (size_t)len, 0) != len)
        pr_warn(n->log, "lock_note_failed", PR_S("error", strerror(errno)));
    return 0;
}

/* Shards that exist on disk. */
static uint32_t shards_on_disk(const char *dir)
{
    uint32_t count = 0;
    struct stat st;
    for (;; count++) {
        char *path = shard_path(dir, count);
        int rc = stat(path, &st);
        pr_free(path);
        if (rc != 0 || count == NODE_SHARDS_MAX)
            return count;
    }
}

static int count_shards(struct node *n, const char *dir)
{
    uint32_t found = shards_on_disk(dir);
    n->n_shards = found > 0 ? found : n->config->queue.shards;
    if (found > 0 && found != n->config->queue.shards)
        pr_warn(n->log, "shards_fixed", PR_U("configured", n->config->queue.shards), PR_U("used", found),
                PR_S("hint", "the number of shards is fixed when the data directory is made"));
    return n->n_shards <= NODE_SHARDS_MAX ? 0 : PR_ERANGE;
}

static void to_bus(void *data, struct bus_post *post)
{
    struct node *n = data;
    struct bus_server *bus = atomic_load(&n->bus);
    /* Before the bus is up there is nobody to tell; the shards are asked again once it is. */
    if (bus == NULL)
        bus_post_free(post);
    else
        bus_server_post(bus, post);
}

static int to_shard(void *data, uint32_t shard, struct shard_post *item)
{
    struct node *n = data;
    pthread_mutex_lock(&n->lock);
    int rc = n->shards[shard] == NULL ? PR_ECLOSED : shard_post(n->shards[shard], item);
    pthread_mutex_unlock(&n->lock);
    return rc;
}

static void on_fatal(void *data, const char *text)
{
    struct node *n = data;
    pr_error(n->log, "fatal", PR_S("error", text), PR_S("hint", "the process stops; nothing more is acknowledged"));
    atomic_store(&n->failed, true);
    (void)uv_async_send(&n->fatal);
}

static void on_fatal_async(uv_async_t *a)
{
    struct node *n = a->data;
    /* No orderly stop: memory and disk may differ. The log has everything that was acknowledged. */
    pr_logfd_free(n->log);
    _exit(1);
}

static int start_shards(struct node *n, const char *dir)
{
    for (uint32_t i = 0; i < n->n_shards; i++) {
        struct pr_buf text = {0};
        char *shard_dir = shard_path(dir, i);
        struct shard_options o = {
            .id = i,
            .n_shards = n->n_shards,
            .config = n->config,
            .log = n->log,
            .metrics = n->metrics,
            .recent = n->recent,
            .node_id = pr_slice_str(n->node_id),
            .dir = shard_dir,
            .to_bus = to_bus,
            .on_fatal = on_fatal,
            .data = n,
        };
        int rc = shard_start(&o, &n->shards[i], &text);
        if (rc != 0)
            pr_error(n->log, "shard_failed", PR_U("shard", i), PR_S("error", text.len > 0 ? pr_buf_cstr(&text) : pr_strerror(rc)));
        pr_buf_fini(&text);
        pr_free(shard_dir);
        if (rc != 0)
            return rc;
    }
    return 0;
}

static int start_http(struct node *n)
{
    const struct pr_hostport *at = &n->config->admin.scheduler;
    struct pr_http_options o = {.unix_path = at->unix_path, .host = at->host, .port = at->port, .threads = 2};
    char *text = NULL;
    int rc = pr_http_start(&o, node_routes, node_n_routes, n, &n->http, &text);
    if (rc != 0)
        pr_error(n->log, "http_failed", PR_S("error", text == NULL ? pr_strerror(rc) : text));
    pr_free(text);
    return rc;
}

static void on_second(uv_timer_t *t)
{
    struct node *n = t->data;
    node_watch_disk(n);
    if (n->free_bytes < n->config->queue.free_space_floor && !n->stopping) {
        pr_error(n->log, "disk_floor", PR_U("free_bytes", n->free_bytes),
                 PR_S("hint", "stopping before the volume is full; free space and start again"));
        (void)raise(SIGTERM);
    }
}

static int start_bus(struct node *n)
{
    uint64_t *members = pr_calloc(MEMBERS_MAX, sizeof *members);
    struct bus_server_options o = {
        .ctx = n->bus_ctx,
        .config = n->config,
        .log = n->log,
        .metrics = n->metrics,
        .node_id = pr_slice_str(n->node_id),
        .boot_id = n->boot_id,
        .n_shards = n->n_shards,
        .members = members,
        .n_members = shard_members_read(shard_stage(n->shards[0]), members, MEMBERS_MAX),
        .to_shard = to_shard,
        .data = n,
    };
    int rc = bus_server_start(&o, &n->bus);
    pr_free(members);
    return rc;
}

static void configure_shards(struct node *n)
{
    for (uint32_t i = 0; i < n->n_shards; i++) {
        struct shard_post *item = pr_new(struct shard_post);
        item->kind = SHARD_POST_CONFIG;
        item->config = pr_config_ref(n->config);
        if (shard_post(n->shards[i], item) != 0)
            shard_post_free(item);
    }
}

static char *make_directory(struct node *n)
{
    char *dir = path_in(n->config->data_dir, "queue");
    if (mkdir(dir, 0750) == 0 || errno == EEXIST)
        return dir;
    pr_error(n->log, "mkdir_failed", PR_S("path", dir), PR_S("error", strerror(errno)));
    pr_free(dir);
    return NULL;
}

static int start_parts(struct node *n, const char *dir)
{
    int rc = take_lock(n, dir);
    if (rc == 0)
        rc = count_shards(n, dir);
    if (rc != 0)
        return rc;
    n->metrics = sm_metrics_new();
    n->recent = recent_new();
    n->bus_ctx = pr_bus_ctx_new(1);
    rc = start_shards(n, dir);
    if (rc == 0)
        rc = start_bus(n);
    if (rc == 0)
        rc = start_http(n);
    return rc;
}

/* Everything that was started, in the order in which it may end; also after half a start. */
static void release(struct node *n)
{
    struct bus_server *bus = atomic_load(&n->bus);
    struct shard *shards[NODE_SHARDS_MAX];
    pr_http_stop(n->http);
    /* From here on the bus finds nobody; what the shards still have to say leaves through it. */
    pthread_mutex_lock(&n->lock);
    memcpy(shards, n->shards, sizeof shards);
    memset(n->shards, 0, sizeof n->shards);
    pthread_mutex_unlock(&n->lock);
    for (uint32_t i = 0; i < n->n_shards; i++)
        if (shards[i] != NULL)
            shard_stop(shards[i]);
    for (uint32_t i = 0; i < n->n_shards; i++)
        if (shards[i] != NULL)
            shard_join(shards[i]);
    if (bus != NULL) {
        bus_server_stop(bus);
        bus_server_join(bus);
    }
    pr_bus_ctx_free(n->bus_ctx);
    uv_close((uv_handle_t *)&n->fatal, NULL);
    pr_metrics_free(n->metrics);
    recent_free(n->recent);
    pr_config_unref(n->config);
    pr_free(n->node_id);
    if (n->lock_fd >= 0)
        (void)close(n->lock_fd);
}

static int start(struct pr_daemon *d, void *data)
{
    struct node *n = data;
    n->daemon = d;
    n->log = pr_daemon_log(d);
    n->config = pr_config_ref(pr_daemon_config(d));
    n->boot_id = pr_random_seed() | 1;
    n->node_id = pr_strdup(n->config->hostname);
    (void)uv_async_init(pr_daemon_loop(d), &n->fatal, on_fatal_async);
    n->fatal.data = n;
    char *dir = make_directory(n);
    int rc = dir == NULL ? PR_EIO : start_parts(n, dir);
    pr_free(dir);
    if (rc != 0) {
        release(n);
        return rc;
    }
    pr_metric_set(n->metrics, SM_CONFIG_TIME, 0, 0, 0, (int64_t)(pr_clock_now().wall.ms / 1000));
    configure_shards(n);
    (void)uv_timer_init(pr_daemon_loop(d), &n->timer);
    n->timer.data = n;
    (void)uv_timer_start(&n->timer, on_second, 0, SECOND_MS);
    pr_info(n->log, "serving", PR_U("shards", n->n_shards), PR_S("bus", n->config->bus.address));
    return 0;
}

static void reload(struct pr_daemon *d, struct pr_config *config, void *data)
{
    struct node *n = data;
    (void)d;
    pr_config_unref(n->config);
    n->config = pr_config_ref(config);
    struct bus_post *post = bus_post_new(BUS_POST_CONFIG);
    post->config = pr_config_ref(config);
    bus_server_post(n->bus, post);
    configure_shards(n);
    pr_metric_inc1(n->metrics, SM_CONFIG_RELOADS, 0);
    pr_metric_set(n->metrics, SM_CONFIG_TIME, 0, 0, 0, (int64_t)(pr_clock_now().wall.ms / 1000));
}

static void stop(struct pr_daemon *d, void *data)
{
    struct node *n = data;
    n->stopping = true;
    uv_close((uv_handle_t *)&n->timer, NULL);
    release(n);
    pr_info(pr_daemon_log(d), "stopped");
    pr_daemon_stopped(d, 0);
}

int node_run(int argc, char **argv)
{
    static const struct pr_daemon_ops ops = {start, reload, stop};
    struct node node = {.lock_fd = -1, .lock = PTHREAD_MUTEX_INITIALIZER};
    return pr_daemon_main(argc, argv, "postrider-scheduler", &ops, &node);
}
