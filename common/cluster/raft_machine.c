/* raft_machine.c - libraft's view of our state machine.
 *
 * Snapshots given to libraft are manifests of some forty bytes: the state is in RocksDB, which is brought up to date
 * before (raft_flush.c). A manifest may speak of a later index than RocksDB has on disk, because the entries in between
 * stay in the log (trailing); load applies them when the process starts. */
#include <string.h>

#include "common/base/alloc.h"
#include "common/base/assert.h"
#include "common/cluster/raft_internal.h"
#include "common/store/kv.h"

/* magic, version, index, durable index, hash of what stands before */
enum { MANIFEST_MAGIC = 0x50524d46, MANIFEST_VERSION = 1, MANIFEST_LEN = 4 + 4 + 8 + 8 + 8 };
#define NEVER_SNAPSHOT (1U << 30)

static struct raft_host *of(struct raft_fsm *machine)
{
    return machine->data;
}

/* -------------------------------------------------------------------------------------------------------- manifest */

static void manifest_encode(uint64_t index, uint64_t durable, struct pr_buf *out)
{
    pr_buf_le32(out, MANIFEST_MAGIC);
    pr_buf_le32(out, MANIFEST_VERSION);
    pr_buf_le64(out, index);
    pr_buf_le64(out, durable);
    pr_buf_le64(out, pr_hash(pr_buf_slice(out), MANIFEST_MAGIC));
}

static int manifest_decode(struct pr_slice in, uint64_t *ret_index)
{
    uint32_t magic, version;
    uint64_t durable, hash;
    if (in.len != MANIFEST_LEN)
        return PR_ECORRUPT;
    uint64_t want = pr_hash(pr_slice_head(in, MANIFEST_LEN - 8), MANIFEST_MAGIC);
    if (pr_get_le32(&in, &magic) != 0 || pr_get_le32(&in, &version) != 0 || pr_get_le64(&in, ret_index) != 0 ||
        pr_get_le64(&in, &durable) != 0 || pr_get_le64(&in, &hash) != 0)
        return PR_ECORRUPT;
    return magic == MANIFEST_MAGIC && version == MANIFEST_VERSION && hash == want ? 0 : PR_ECORRUPT;
}

/* ----------------------------------------------------------------------------------------------------------- apply */

/* The proposal at this index, if it is one of ours. Those below were overwritten by another leader; libraft answers
 * them. */
static struct proposal *proposal_at(struct raft_host *h, uint64_t index)
{
    struct pr_list *link, *tmp;
    pr_list_foreach(link, tmp, &h->proposals)
    {
        struct proposal *p = pr_list_entry(link, struct proposal, link);
        if (p->req.index >= index)
            return p->req.index == index && !p->answered ? p : NULL;
    }
    return NULL;
}

static int on_apply(struct raft_fsm *machine, const struct raft_buffer *buf, void **result)
{
    struct raft_host *h = of(machine);
    *result = NULL;
    uint64_t index = raft_last_applied(&h->raft) + 1;
    if (h->dead)
        return RAFT_SHUTDOWN;
    uint64_t term = log_ring_term(&h->log, index);
    struct proposal *p = proposal_at(h, index);
    int err = fsm_apply(h->fsm, index, term, pr_slice(buf->base, buf->len), p != NULL ? &h->effects : NULL);
    if (err != 0) {
        raft_host_fatal(h, "%s", fsm_error(h->fsm));
        return RAFT_SHUTDOWN;
    }
    h->applied_bytes += buf->len;
    h->stats.applied_entries++;
    if (p != NULL) {
        h->calls++;
        raft_host_answer(p, 0, index, &h->effects);
        h->calls--;
    }
    return 0;
}

/* -------------------------------------------------------------------------------------------------------- snapshot */

/* Asked by libraft at every event from the threshold on; only meant when a flush has just ended. */
static int on_snapshot(struct raft_fsm *machine, struct raft_buffer *bufs[], unsigned *n_bufs)
{
    struct raft_host *h = of(machine);
    if (!h->snapshot_wanted || h->dead)
        return RAFT_BUSY;
    h->snapshot_wanted = false;
    raft_set_snapshot_threshold(&h->raft, NEVER_SNAPSHOT);
    uint64_t index = raft_last_applied(&h->raft);
    pr_assert(h->durable <= index);
    /* What RocksDB lacks must stay in the log, and never 0: that would mean an installed snapshot. */
    uint64_t behind = index - h->durable;
    uint64_t worth = log_ring_worth(&h->log, h->settings.trailing_bytes);
    uint64_t trailing = PR_MAX(behind, worth);
    raft_set_snapshot_trailing(&h->raft, (unsigned)PR_MIN(trailing, (uint64_t)NEVER_SNAPSHOT));

    struct pr_buf text = {0};
    manifest_encode(index, h->durable, &text);
    *bufs = raft_malloc(sizeof **bufs);
    void *base = raft_malloc(text.len);
    if (*bufs == NULL || base == NULL) {
        raft_free(*bufs);
        raft_free(base);
        pr_buf_fini(&text);
        return RAFT_NOMEM;
    }
    memcpy(base, text.ptr, text.len);
    (*bufs)[0] = (struct raft_buffer){.base = base, .len = text.len};
    *n_bufs = 1;
    pr_buf_fini(&text);
    return 0;
}

/* At start, after load has applied what RocksDB lacked. (An installed snapshot, once there are members, switches the
 * database before it comes here.) */
static int on_restore(struct raft_fsm *machine, struct raft_buffer *buf)
{
    struct raft_host *h = of(machine);
    uint64_t index = 0;
    int err = manifest_decode(pr_slice(buf->base, buf->len), &index);
    if (err != 0) {
        raft_host_fatal(h, "the snapshot manifest in %s is damaged", h->dir);
        return RAFT_CORRUPT;
    }
    if (fsm_applied(h->fsm) < index) {
        raft_host_fatal(
            h,
            "the queue database stands at log index %llu, but the log in %s begins after %llu: the database is "
            "older than the log; restore both from the same backup",
            (unsigned long long)fsm_applied(h->fsm), h->dir, (unsigned long long)index);
        return RAFT_CORRUPT;
    }
    raft_free(buf->base);
    return 0;
}

void raft_machine_init(struct raft_host *h)
{
    h->machine = (struct raft_fsm){
        .version = 1,
        .data = h,
        .apply = on_apply,
        .snapshot = on_snapshot,
        .restore = on_restore,
    };
}

/* ------------------------------------------------------------------------------------------------------------ load */

static void remember_entries(struct raft_host *h, raft_index start_index, const struct raft_entry *entries, size_t n)
{
    log_ring_reset(&h->log, start_index);
    for (size_t i = 0; i < n; i++)
        log_ring_push(&h->log, (uint32_t)entries[i].buf.len, entries[i].term);
}

/* Entries the snapshot stands for, which libraft will not apply again. */
static int catch_up(struct raft_host *h, uint64_t to, raft_index start_index, const struct raft_entry *entries,
                    size_t n)
{
    uint64_t from = fsm_applied(h->fsm) + 1;
    if (from > to)
        return 0;
    if (from < start_index || to >= start_index + n) {
        raft_host_fatal(
            h,
            "the queue database stands at log index %llu, but the log in %s holds %llu to %llu: the database is "
            "older than the log; restore both from the same backup",
            (unsigned long long)from - 1, h->dir, start_index, start_index + n - 1);
        return RAFT_CORRUPT;
    }
    for (uint64_t index = from; index <= to; index++) {
        const struct raft_entry *e = &entries[index - start_index];
        int err = 0;
        if (e->type == RAFT_COMMAND)
            err = fsm_apply(h->fsm, index, e->term, pr_slice(e->buf.base, e->buf.len), NULL);
        else
            fsm_skip(h->fsm, index, e->term);
        if (err != 0) {
            raft_host_fatal(h, "%s", fsm_error(h->fsm));
            return RAFT_CORRUPT;
        }
        h->applied_bytes += e->buf.len;
    }
    return 0;
}

/* With one voter nobody else has what our log lacks: new entries would be skipped as applied already. */
static int refuse_short_log(struct raft_host *h, uint64_t last)
{
    uint64_t applied = fsm_applied(h->fsm);
    if (applied <= last)
        return 0;
    raft_host_fatal(
        h,
        "the log in %s ends at index %llu, but the queue database already contains %llu: the end of the log is "
        "lost; restore both from the same backup",
        h->dir, (unsigned long long)last, (unsigned long long)applied);
    return RAFT_CORRUPT;
}

static unsigned count_voters(const struct raft_configuration *c)
{
    unsigned n = 0;
    for (unsigned i = 0; i < c->n; i++)
        n += c->servers[i].role == RAFT_VOTER;
    return n;
}

/* By the last membership in the log, else that of the snapshot. */
static unsigned voters(const struct raft_snapshot *snapshot, const struct raft_entry *entries, size_t n)
{
    for (size_t i = n; i > 0; i--) {
        if (entries[i - 1].type != RAFT_CHANGE)
            continue;
        struct raft_configuration c;
        if (raft_configuration_decode(&entries[i - 1].buf, &c) != 0)
            return 0;
        unsigned count = count_voters(&c);
        raft_configuration_close(&c);
        return count;
    }
    return snapshot == NULL ? 0 : count_voters(&snapshot->configuration);
}

/* libraft lets a lone voter lead again under the term it led before. But a term must name one leadership: attempt ids
 * are made of it, and deliverers fence by it. So it starts with a new one, stored before anything is done under it. */
static int begin_term(struct raft_host *h, raft_term *term, raft_id *voted_for)
{
    int rv = h->disk.set_term(&h->io, *term + 1);
    if (rv != 0) {
        raft_host_fatal(h, "cannot store the Raft term in %s: %s", h->dir, h->io.errmsg);
        return rv;
    }
    *term += 1;
    *voted_for = 0;
    return 0;
}

/* libraft does not free what a failed load gave it. */
static void drop_loaded(struct raft_snapshot *snapshot, struct raft_entry *entries, size_t n)
{
    void *batch = NULL;
    for (size_t i = 0; i < n; i++) {
        if (entries[i].batch == batch)
            continue; /* entries of one file share their memory */
        batch = entries[i].batch;
        raft_free(batch);
    }
    raft_free(entries);
    if (snapshot == NULL)
        return;
    raft_configuration_close(&snapshot->configuration);
    for (unsigned i = 0; i < snapshot->n_bufs; i++)
        raft_free(snapshot->bufs[i].base);
    raft_free(snapshot->bufs);
    raft_free(snapshot);
}

int raft_machine_load(struct raft_io *io, raft_term *term, raft_id *voted_for, struct raft_snapshot **snapshot,
                      raft_index *start_index, struct raft_entry *entries[], size_t *n_entries)
{
    struct raft_host *h = pr_container_of(io, struct raft_host, io);
    int rv = h->disk.load(io, term, voted_for, snapshot, start_index, entries, n_entries);
    if (rv != 0) {
        raft_host_fatal(h, "cannot load the log in %s: %s", h->dir, io->errmsg);
        return rv;
    }
    remember_entries(h, *start_index, *entries, *n_entries);
    bool alone = voters(*snapshot, *entries, *n_entries) == 1;
    rv = alone ? refuse_short_log(h, *start_index + *n_entries - 1) : 0;
    if (rv == 0 && *snapshot != NULL)
        rv = catch_up(h, (*snapshot)->index, *start_index, *entries, *n_entries);
    if (rv == 0 && alone)
        rv = begin_term(h, term, voted_for);
    if (rv != 0)
        drop_loaded(*snapshot, *entries, *n_entries);
    return rv;
}
