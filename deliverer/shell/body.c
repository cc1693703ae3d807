/* Large contents: chunks are asked for on the bulk socket, two ahead, and given to the client when it wants the next one
 * and the output has room. A chunk that does not come is asked for again; a content that is gone ends the attempt. */
#include "common/base/alloc.h"
#include "deliverer/shell/worker_internal.h"

enum { RETRY_MS = 5000, TRIES_MAX = 12 };

static void ask(struct conn *c, uint32_t seq)
{
    const struct job *job = c->fetch.job;
    struct wire_msg m = {.type = WIRE_BODY_GET,
                         .body_get = {job->core.shard, job->core.ref.msg_id, job->body_id, seq}};
    link_send(c->w, true, &m);
}

static void ask_ahead(struct conn *c)
{
    struct fetch *f = &c->fetch;
    while (f->asked < f->job->n_chunks && f->asked < f->next + FETCH_AHEAD) {
        f->asked_at = pr_clock_now().mono;
        f->tries = 0;
        ask(c, f->asked++);
    }
}

void fetch_stop(struct conn *c)
{
    struct fetch *f = &c->fetch;
    for (size_t i = 0; i < FETCH_AHEAD; i++)
        if (f->ready[i].msg != NULL)
            pr_bus_msg_free(f->ready[i].msg);
    if (f->job != NULL)
        pr_list_remove(&f->link);
    *f = (struct fetch){.feeding = f->feeding};
    pr_list_init(&f->link);
}

void fetch_want(struct conn *c, struct job *job, uint32_t seq)
{
    struct fetch *f = &c->fetch;
    if (f->job != job || f->next != seq) {
        /* Another mail, or another round of the same. */
        fetch_stop(c);
        f->job = job;
        f->next = f->asked = seq;
        pr_list_push_back(&c->w->fetches, &f->link);
    }
    f->wanted = true;
    ask_ahead(c);
}

void fetch_feed(struct conn *c)
{
    struct fetch *f = &c->fetch;
    if (f->feeding)
        return;
    while (f->job != NULL && f->wanted && c->client != NULL && pr_stream_queued(c->stream) < OUTPUT_MAX) {
        size_t at = f->next % FETCH_AHEAD;
        struct pr_bus_msg *msg = f->ready[at].msg;
        struct dlv_client_event ev = {.type = DLV_EV_CHUNK, .bytes = f->ready[at].bytes, .mail = &f->job->mail};
        if (msg == NULL)
            return;
        f->ready[at].msg = NULL;
        f->wanted = false;
        ev.last = ++f->next == f->job->n_chunks;
        if (!ev.last)
            ask_ahead(c);
        /* The client takes the bytes in the step; what it does then may end this fetch. */
        f->feeding = true;
        conn_event(c, &ev);
        f->feeding = false;
        pr_bus_msg_free(msg);
    }
}

static void gone(struct conn *c)
{
    struct dlv_client_event ev = {.type = DLV_EV_CHUNK_GONE, .mail = &c->fetch.job->mail};
    pr_metric_inc1(c->w->node->metrics, DM_BODY_CHUNKS, 1);
    fetch_stop(c);
    conn_event(c, &ev);
}

static bool waits_for(const struct fetch *f, const struct wire_body_chunk *k)
{
    return f->job->core.shard == k->shard && f->job->core.ref.msg_id == k->msg_id && f->job->body_id == k->body_id &&
           k->seq >= f->next && k->seq < f->asked && f->ready[k->seq % FETCH_AHEAD].msg == NULL;
}

void fetch_arrived(struct dlv_worker *w, struct pr_bus_msg *msg, const struct wire_body_chunk *chunk)
{
    struct pr_list *it, *tmp;
    pr_list_foreach(it, tmp, &w->fetches)
    {
        struct fetch *f = pr_list_entry(it, struct fetch, link);
        struct conn *c = pr_container_of(f, struct conn, fetch);
        if (!waits_for(f, chunk))
            continue;
        if (!chunk->found) {
            pr_bus_msg_free(msg);
            gone(c);
            return;
        }
        pr_metric_inc1(w->node->metrics, DM_BODY_CHUNKS, 0);
        f->ready[chunk->seq % FETCH_AHEAD].msg = msg;
        f->ready[chunk->seq % FETCH_AHEAD].bytes = chunk->bytes;
        fetch_feed(c);
        return;
    }
    pr_bus_msg_free(msg);
}

static void retry(struct conn *c, pr_mono now)
{
    struct fetch *f = &c->fetch;
    f->asked_at = now;
    if (++f->tries > TRIES_MAX) {
        gone(c);
        return;
    }
    for (uint32_t seq = f->next; seq < f->asked; seq++)
        if (f->ready[seq % FETCH_AHEAD].msg == NULL)
            ask(c, seq);
}

void fetch_tick(struct dlv_worker *w, pr_mono now)
{
    struct pr_list *it, *tmp;
    pr_list_foreach(it, tmp, &w->fetches)
    {
        struct fetch *f = pr_list_entry(it, struct fetch, link);
        bool missing = f->wanted && f->ready[f->next % FETCH_AHEAD].msg == NULL;
        if (missing && pr_mono_since(now, f->asked_at) >= RETRY_MS)
            retry(pr_container_of(f, struct conn, fetch), now);
    }
}
