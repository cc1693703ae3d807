#include "common/net/stream_internal.h"

static void on_idle(uv_idle_t *h)
{
    struct stream_loop *l = h->data;
    /* Streams that become dirty now have their turn in the next round: the idle handle keeps the loop from sleeping. */
    struct pr_list due;
    pr_list_init(&due);
    for (struct pr_list *n; (n = pr_list_pop_front(&l->dirty)) != NULL;)
        pr_list_push_back(&due, n);
    for (struct pr_list *n; (n = pr_list_pop_front(&due)) != NULL;)
        stream_settle(pr_list_entry(n, struct pr_stream, dirty));
    if (pr_list_empty(&l->dirty))
        uv_idle_stop(&l->idle);
}

struct stream_loop *stream_loop_ref(uv_loop_t *loop)
{
    struct stream_loop *l = loop->data;
    if (l == NULL) {
        l = pr_new(struct stream_loop);
        l->in = pr_malloc(STREAM_READ_MAX);
        pr_list_init(&l->dirty);
        uv_idle_init(loop, &l->idle);
        l->idle.data = l;
        loop->data = l;
    }
    l->refs++;
    return l;
}

static void on_idle_closed(uv_handle_t *h)
{
    struct stream_loop *l = h->data;
    pr_free(l->in);
    pr_free(l->clear);
    pr_buf_fini(&l->spare);
    pr_free(l);
}

void stream_loop_unref(struct stream_loop *l)
{
    if (--l->refs > 0)
        return;
    l->idle.loop->data = NULL;
    uv_close((uv_handle_t *)&l->idle, on_idle_closed);
}

void stream_mark_dirty(struct pr_stream *s)
{
    if (pr_list_linked(&s->dirty))
        return;
    pr_list_push_back(&s->loop->dirty, &s->dirty);
    uv_idle_start(&s->loop->idle, on_idle);
}
