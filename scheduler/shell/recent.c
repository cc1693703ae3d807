#include "scheduler/shell/recent.h"

#include <pthread.h>

#include "common/base/alloc.h"

const char *const recent_names[RECENT_HOW_NR] = {"delivered", "bounced", "expired"};

struct ended {
    uint64_t msg_id;
    uint32_t shard;
    enum recent_how how;
    uint16_t code, text_len, remote_len;
    char text[RECENT_TEXT_MAX], remote[RECENT_REMOTE_MAX];
};

struct recent {
    pthread_mutex_t lock;
    struct ended ring[RECENT_MAX];
    uint64_t next; /* entries ever added; the last RECENT_MAX are kept */
};

struct recent *recent_new(void)
{
    struct recent *r = pr_new(struct recent);
    (void)pthread_mutex_init(&r->lock, NULL);
    return r;
}

void recent_free(struct recent *r)
{
    if (r == NULL)
        return;
    (void)pthread_mutex_destroy(&r->lock);
    pr_free(r);
}

static uint16_t copy(char *to, size_t max, struct pr_slice s)
{
    s = pr_slice_head(s, max);
    if (s.len > 0)
        memcpy(to, s.ptr, s.len);
    return (uint16_t)s.len;
}

void recent_add(struct recent *r, uint32_t shard, uint64_t msg_id, enum recent_how how, uint16_t code,
                struct pr_slice diagnostic, struct pr_slice remote)
{
    if (r == NULL)
        return;
    (void)pthread_mutex_lock(&r->lock);
    struct ended *e = &r->ring[r->next++ % RECENT_MAX];
    *e = (struct ended){.msg_id = msg_id, .shard = shard, .how = how, .code = code};
    e->text_len = copy(e->text, sizeof e->text, diagnostic);
    e->remote_len = copy(e->remote, sizeof e->remote, remote);
    (void)pthread_mutex_unlock(&r->lock);
}

static const struct ended *worst(const struct recent *r, uint32_t shard, uint64_t msg_id)
{
    const struct ended *found = NULL;
    uint64_t n = PR_MIN(r->next, (uint64_t)RECENT_MAX);
    for (uint64_t i = 1; i <= n; i++) {
        const struct ended *e = &r->ring[(r->next - i) % RECENT_MAX];
        if (e->msg_id == msg_id && e->shard == shard && (found == NULL || e->how > found->how))
            found = e;
    }
    return found;
}

/* "550 5.1.1 ...", but not the enhanced status alone. */
static bool starts_with_code(const struct ended *e)
{
    return e->text_len >= 3 && pr_is_digit(e->text[0]) && pr_is_digit(e->text[1]) && pr_is_digit(e->text[2]);
}

bool recent_find(struct recent *r, uint32_t shard, uint64_t msg_id, enum recent_how *ret_how, struct pr_buf *out)
{
    if (r == NULL)
        return false;
    (void)pthread_mutex_lock(&r->lock);
    const struct ended *e = worst(r, shard, msg_id);
    if (e != NULL) {
        *ret_how = e->how;
        size_t start = out->len;
        /* A remote's reply begins with its code already. */
        if (e->code != 0 && !starts_with_code(e))
            pr_buf_printf(out, "%u", (unsigned)e->code);
        if (out->len > start && e->text_len > 0)
            pr_buf_char(out, ' ');
        pr_buf_append(out, e->text, e->text_len);
        if (e->remote_len > 0)
            pr_buf_printf(out, " (%.*s)", (int)e->remote_len, e->remote);
    }
    (void)pthread_mutex_unlock(&r->lock);
    return e != NULL;
}
