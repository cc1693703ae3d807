/* Acts of operators. Messages are changed by commands, a few hundred open at a time so that a request over a million of
 * them keeps memory and the log's other users unharmed; the waiting thread is told when all are committed. */
#include "common/base/alloc.h"
#include "scheduler/shell/shard_internal.h"

enum { OPEN_MAX = 512, DESTINATION_PAGE = 256 };

struct admin_request *admin_request_new(enum admin_action action)
{
    struct admin_request *r = pr_new(struct admin_request);
    pthread_condattr_t attr;
    r->action = action;
    r->refs = 1;
    pthread_mutex_init(&r->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&r->cond, &attr);
    pthread_condattr_destroy(&attr);
    return r;
}

static struct admin_request *admin_ref(struct admin_request *r)
{
    pthread_mutex_lock(&r->lock);
    r->refs++;
    pthread_mutex_unlock(&r->lock);
    return r;
}

void admin_request_unref(struct admin_request *r)
{
    if (r == NULL)
        return;
    pthread_mutex_lock(&r->lock);
    bool last = --r->refs == 0;
    pthread_mutex_unlock(&r->lock);
    if (!last)
        return;
    for (size_t i = 0; i < r->n_destinations; i++)
        pr_free(r->destinations[i].destination);
    pr_free(r->destinations);
    pr_free(r->where);
    pr_free(r->ids);
    pr_free(r->destination);
    pthread_cond_destroy(&r->cond);
    pthread_mutex_destroy(&r->lock);
    pr_free(r);
}

int admin_request_run(struct shard *s, struct admin_request *r, uint64_t timeout_ms)
{
    struct timespec until;
    struct shard_post *item = pr_new(struct shard_post);
    item->kind = SHARD_POST_ADMIN;
    item->admin = admin_ref(r);
    (void)clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += (time_t)(timeout_ms / 1000);
    int rc = shard_post(s, item);
    if (rc != 0) {
        admin_request_unref(r);
        shard_post_free(item);
        return rc;
    }
    pthread_mutex_lock(&r->lock);
    while (!r->done && rc == 0)
        if (pthread_cond_timedwait(&r->cond, &r->lock, &until) != 0)
            rc = PR_ETIMEOUT;
    if (r->done)
        rc = r->status;
    pthread_mutex_unlock(&r->lock);
    return rc;
}

void shard_admin_finish(struct admin_request *r, int status)
{
    pthread_mutex_lock(&r->lock);
    if (!r->done) {
        r->status = status;
        r->done = true;
        pthread_cond_broadcast(&r->cond);
    }
    pthread_mutex_unlock(&r->lock);
}

static const enum cmd_type commands[] = {
    [ADMIN_RETRY] = CMD_RETRY,
    [ADMIN_HOLD] = CMD_HOLD,
    [ADMIN_RELEASE] = CMD_UNHOLD,
    [ADMIN_DELETE] = CMD_DELETE,
};

static void go_on(struct shard *s, struct admin_request *r)
{
    while (r->next < r->n_ids && r->open < OPEN_MAX) {
        struct waiter w = {.kind = WAIT_ADMIN, .admin = admin_ref(r)};
        struct cmd c = {.type = commands[r->action],
                        .admin = {.msg_id = r->ids[r->next++], .due_ms = pr_clock_now().wall.ms}};
        r->open++;
        if (shard_propose(s, &c, &w) != 0) {
            admin_request_unref(r);
            shard_admin_finish(r, PR_EUNAVAIL);
            return;
        }
    }
    if (r->open == 0)
        shard_admin_finish(r, 0);
}

void shard_admin_done(struct shard *s, const struct waiter *w, bool changed)
{
    struct admin_request *r = w->admin;
    r->open--;
    r->changed += changed;
    if (!r->done)
        go_on(s, r);
}

static void list_destinations(struct shard *s, struct admin_request *r)
{
    struct sched_dest_info page[DESTINATION_PAGE];
    uint32_t cursor = 0;
    do {
        size_t n = sched_dest_list(s->sched, &cursor, page, DESTINATION_PAGE);
        r->destinations = pr_realloc(r->destinations, (r->n_destinations + n) * sizeof *r->destinations);
        for (size_t i = 0; i < n; i++)
            r->destinations[r->n_destinations++] = (struct admin_destination){
                .destination = pr_strndup(page[i].ref.destination.ptr, page[i].ref.destination.len),
                .rows = page[i].rows,
                .backlog = page[i].backlog,
                .inflight = page[i].inflight,
                .held = page[i].held,
                .next_due_ms = page[i].next_due_ms,
                .credit = page[i].credit,
            };
    } while (cursor != 0);
}

void shard_on_admin(struct shard *s, struct admin_request *r)
{
    if (!s->leading) {
        shard_admin_finish(r, PR_ENOTLEADER);
        return;
    }
    switch (r->action) {
    case ADMIN_RETRY:
    case ADMIN_HOLD:
    case ADMIN_RELEASE:
    case ADMIN_DELETE:
        go_on(s, r);
        return;
    case ADMIN_FLUSH:
        r->changed = sched_flush(s->sched, pr_clock_now(), pr_slice_str(r->destination));
        break;
    case ADMIN_DESTINATIONS:
        list_destinations(s, r);
        break;
    case ADMIN_WHERE:
        r->where = pr_calloc(r->n_ids, sizeof *r->where);
        for (size_t i = 0; i < r->n_ids; i++)
            r->where[i] = sched_where(s->sched, r->ids[i], 0);
        break;
    }
    shard_admin_finish(r, 0);
}
