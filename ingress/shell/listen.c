/* Listening sockets of a loop thread. Every thread listens on every TCP address (SO_REUSEPORT); a unix socket and a port
 * that the kernel picks have one owner, thread 0. A reload keeps what stays the same, so no connection is refused meanwhile. */
#include "common/base/alloc.h"
#include "ingress/shell/worker_internal.h"

static char *address_text(const struct pr_hostport *a)
{
    struct pr_buf b = {NULL, 0, 0};
    if (a->unix_path != NULL)
        pr_buf_printf(&b, "unix:%s", a->unix_path);
    else
        pr_buf_printf(&b, "%s:%u", a->host == NULL ? "" : a->host, a->port);
    return pr_buf_steal(&b, NULL);
}

static void on_accept(void *data, uv_stream_t *server)
{
    connection_accept(data, server);
}

static void on_door_closed(void *data)
{
    struct door *d = data;
    struct worker *w = d->worker;
    pr_free(d->name);
    pr_free(d->address);
    pr_free(d);
    w->n_doors--;
    worker_maybe_stopped(w);
}

static void close_door(struct door *d)
{
    pr_list_remove(&d->link);
    pr_listener_close(d->listener, on_door_closed, d);
}

static void open_door(struct worker *w, const struct pr_conf_listener *l, char *address)
{
    struct door *d = pr_new(struct door);
    char *text = NULL;
    d->worker = w;
    d->name = pr_strdup(l->name);
    d->address = address;
    pr_list_init(&d->link);
    if (pr_listener_open(w->loop, &l->address, on_accept, d, &d->listener, &text) != 0) {
        pr_error(w->shared->log, "listen_failed", PR_S("listener", l->name), PR_S("error", text == NULL ? "" : text));
        pr_free(text);
        pr_free(d->name);
        pr_free(d->address);
        pr_free(d);
        w->shared->on_failed(w->shared->data);
        return;
    }
    pr_list_push_back(&w->listeners, &d->link);
    w->n_doors++;
    if (w->index == 0)
        pr_info(w->shared->log, "listening", PR_S("listener", l->name), PR_S("address", d->address),
                PR_U("port", pr_listener_port(d->listener)));
}

static struct door *find_door(struct worker *w, const char *name, const char *address)
{
    struct pr_list *it, *tmp;
    pr_list_foreach(it, tmp, &w->listeners) {
        struct door *d = pr_list_entry(it, struct door, link);
        if (strcmp(d->name, name) == 0 && strcmp(d->address, address) == 0)
            return d;
    }
    return NULL;
}

static bool is_mine(const struct worker *w, const struct pr_hostport *a)
{
    return w->index == 0 || (a->unix_path == NULL && a->port != 0);
}

static bool in_policy(const struct policy *p, const struct door *d)
{
    const struct policy_listener *l = policy_find(p, d->name);
    if (l == NULL)
        return false;
    char *address = address_text(&l->conf->address);
    bool same = strcmp(address, d->address) == 0;
    pr_free(address);
    return same;
}

void doors_update(struct worker *w)
{
    struct pr_list *it, *tmp;
    /* Closed first: a listener that was renamed has the same address. */
    pr_list_foreach(it, tmp, &w->listeners) {
        struct door *d = pr_list_entry(it, struct door, link);
        if (!in_policy(w->policy, d))
            close_door(d);
    }
    for (size_t i = 0; i < w->policy->n_listeners; i++) {
        const struct pr_conf_listener *l = w->policy->listeners[i].conf;
        char *address = address_text(&l->address);
        if (is_mine(w, &l->address) && find_door(w, l->name, address) == NULL)
            open_door(w, l, address);
        else
            pr_free(address);
    }
    atomic_store(&w->state.listening, true);
}

void doors_close(struct worker *w)
{
    for (struct pr_list *n; (n = pr_list_first(&w->listeners)) != NULL;)
        close_door(pr_list_entry(n, struct door, link));
    atomic_store(&w->state.listening, false);
}
