/* raft_hooks.c - the functions of struct raft_io that we wrap or replace.
 *
 * libraft ignores errors of its tick and receive paths (they are asserted, and asserts are compiled out), so every
 * failure that matters is caught here and ends in raft_host_fatal. The network is replaced: messages go to the
 * raft_link, and each is completed exactly once, from the loop, whatever became of it; Raft resends by itself. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/base/assert.h"
#include "common/cluster/raft_internal.h"

static struct raft_host *of(struct raft_io *io)
{
    return pr_container_of(io, struct raft_host, io);
}

/* ---------------------------------------------------------------------------------------- a transport that is none */

static int transport_init(struct raft_uv_transport *t, raft_id id, const char *address)
{
    (void)t;
    (void)id;
    (void)address;
    return 0;
}

static int transport_listen(struct raft_uv_transport *t, raft_uv_accept_cb cb)
{
    (void)t;
    (void)cb;
    return 0;
}

/* Unreachable once send is replaced. */
static int transport_connect(struct raft_uv_transport *t, struct raft_uv_connect *req, raft_id id, const char *address,
                             raft_uv_connect_cb cb)
{
    (void)t;
    (void)req;
    (void)id;
    (void)address;
    (void)cb;
    return RAFT_NOCONNECTION;
}

static void transport_close(struct raft_uv_transport *t, raft_uv_transport_close_cb cb)
{
    cb(t);
}

void raft_hooks_transport(struct raft_host *h)
{
    h->transport = (struct raft_uv_transport){
        .version = 1,
        .impl = h,
        .init = transport_init,
        .listen = transport_listen,
        .connect = transport_connect,
        .close = transport_close,
    };
}

/* ------------------------------------------------------------------------------------------------------------ disk */

static int on_set_term(struct raft_io *io, raft_term term)
{
    struct raft_host *h = of(io);
    int rv = h->disk.set_term(io, term);
    if (rv != 0)
        raft_host_fatal(h, "cannot store the Raft term in %s: %s", h->dir, io->errmsg);
    return rv;
}

static int on_set_vote(struct raft_io *io, raft_id id)
{
    struct raft_host *h = of(io);
    int rv = h->disk.set_vote(io, id);
    if (rv != 0)
        raft_host_fatal(h, "cannot store the Raft vote in %s: %s", h->dir, io->errmsg);
    return rv;
}

struct append {
    struct raft_io_append req; /* ours, given to the disk backend */
    struct raft_io_append *outer;
    struct raft_host *host;
};

static void on_appended(struct raft_io_append *req, int status)
{
    struct append *a = req->data;
    struct raft_host *h = a->host;
    struct raft_io_append *outer = a->outer;
    h->appends--;
    h->append_progress_ms = uv_now(h->loop);
    pr_free(a);
    if (status != 0 && status != RAFT_CANCELED)
        raft_host_fatal(h, "cannot write the log in %s: %s", h->dir, raft_strerror(status));
    h->calls++;
    outer->cb(outer, status);
    h->calls--;
}

static int on_append(struct raft_io *io, struct raft_io_append *req, const struct raft_entry entries[], unsigned n,
                     raft_io_append_cb cb)
{
    struct raft_host *h = of(io);
    for (unsigned i = 0; i < n; i++) {
        size_t len = entries[i].buf.len;
        /* Anything else would be half accepted by the backend. */
        pr_assert(len > 0 && len % 8 == 0 && len <= CMD_ENTRY_HARD_MAX);
    }
    struct append *a = pr_new(struct append);
    a->outer = req;
    a->host = h;
    a->req.data = a;
    req->cb = cb;
    int rv = h->disk.append(io, &a->req, entries, n, on_appended);
    if (rv != 0) {
        pr_free(a);
        raft_host_fatal(h, "cannot append to the log in %s: %s", h->dir, io->errmsg);
        return rv;
    }
    if (h->appends++ == 0)
        h->append_progress_ms = uv_now(h->loop);
    for (unsigned i = 0; i < n; i++) {
        log_ring_push(&h->log, (uint32_t)entries[i].buf.len, entries[i].term);
        h->stats.appended_bytes += entries[i].buf.len;
    }
    return 0;
}

static int on_truncate(struct raft_io *io, raft_index index)
{
    struct raft_host *h = of(io);
    int rv = h->disk.truncate(io, index);
    if (rv != 0)
        raft_host_fatal(h, "cannot truncate the log in %s at %llu: %s", h->dir, index, io->errmsg);
    else
        log_ring_truncate(&h->log, index);
    return rv;
}

struct put {
    struct raft_io_snapshot_put req;
    struct raft_io_snapshot_put *outer;
    struct raft_host *host;
    uint64_t keep_from; /* first index that stays in the log */
};

static void on_snapshot_stored(struct raft_io_snapshot_put *req, int status)
{
    struct put *p = req->data;
    struct raft_host *h = p->host;
    if (status == 0)
        log_ring_trim(&h->log, p->keep_from);
    h->calls++;
    p->outer->cb(p->outer, status);
    h->calls--;
    h->snapshot_running = false;
    h->stats.snapshots += status == 0;
    pr_free(p);
}

static int on_snapshot_put(struct raft_io *io, unsigned trailing, struct raft_io_snapshot_put *req,
                           const struct raft_snapshot *snapshot, raft_io_snapshot_put_cb cb)
{
    struct raft_host *h = of(io);
    struct put *p = pr_new(struct put);
    p->outer = req;
    p->host = h;
    p->req.data = p;
    /* trailing 0 is an installed snapshot: the whole log goes. */
    p->keep_from = trailing == 0                ? snapshot->index + 1
                   : snapshot->index > trailing ? snapshot->index - trailing + 1
                                                : 1;
    req->cb = cb;
    int rv = h->disk.snapshot_put(io, trailing, &p->req, snapshot, on_snapshot_stored);
    if (rv != 0) {
        pr_free(p);
        raft_host_fatal(h, "cannot store a snapshot manifest in %s: %s", h->dir, io->errmsg);
        return rv;
    }
    h->snapshot_running = true;
    return 0;
}

void raft_hooks_watch_disk(struct raft_host *h)
{
    enum { GRACE_MS = 2000 };
    const char *text = h->io.errmsg;
    if (text[0] == '\0' || h->dead)
        return;
    /* "write failed: -5" (negated errno), "short write: ..." */
    if (strstr(text, "write failed") == NULL && strstr(text, "short write") == NULL)
        return;
    raft_host_fatal(h, "the disk does not take writes of the log in %s: %s", h->dir, text);
    /* Back in the loop, libraft's retry (uv_append.c: the timer of another kind of retry, with that one's data) would
     * write through a pointer to something else. So this thread never goes back: the owner has a moment to write its
     * last log line and end the process, else it ends here. What was acknowledged is on disk. */
    uv_sleep(GRACE_MS);
    _exit(EXIT_FAILURE);
}

/* --------------------------------------------------------------------------------------------------------- network */

static int on_send(struct raft_io *io, struct raft_io_send *req, const struct raft_message *message, raft_io_send_cb cb)
{
    struct raft_host *h = of(io);
    (void)message; /* one voter: there is nobody; with members, the encoded message goes to h->link here */
    req->cb = cb;
    struct unsent *u = pr_new(struct unsent);
    u->req = req;
    pr_list_push_back(&h->unsent, &u->link);
    return 0; /* an error would leave the step half done */
}

void raft_hooks_complete_sends(struct raft_host *h, int status)
{
    struct pr_list *link;
    while ((link = pr_list_pop_front(&h->unsent)) != NULL) {
        struct unsent *u = pr_list_entry(link, struct unsent, link);
        struct raft_io_send *req = u->req;
        pr_free(u);
        h->calls++;
        req->cb(req, status);
        h->calls--;
    }
}

/* ------------------------------------------------------------------------------------------------- start and close */

static void on_close(struct raft_io *io, raft_io_close_cb cb)
{
    struct raft_host *h = of(io);
    /* Send callbacks release entries of the log, which dies in the close callback. */
    raft_hooks_complete_sends(h, RAFT_CANCELED);
    h->disk.close(io, cb);
}

void raft_hooks_install(struct raft_host *h)
{
    h->disk = h->io;
    h->io.load = raft_machine_load;
    h->io.set_term = on_set_term;
    h->io.set_vote = on_set_vote;
    h->io.append = on_append;
    h->io.truncate = on_truncate;
    h->io.snapshot_put = on_snapshot_put;
    h->io.send = on_send;
    h->io.close = on_close;
}
