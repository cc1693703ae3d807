#include "deploy/cli/mailbox.h"

#include <pthread.h>
#include <string.h>

#include "common/base/alloc.h"

struct mailbox {
    pthread_mutex_t lock;
    struct caught *ring[MAILBOX_MESSAGES_MAX]; /* message n at n % MAX */
    uint64_t first, next;                      /* numbers kept: first <= n < next */
    size_t bytes;
};

void caught_free(struct caught *m)
{
    if (m == NULL)
        return;
    pr_free(m->client);
    pr_free(m->helo);
    pr_free(m->protocol);
    pr_free(m->sender);
    pr_free(m->reply);
    json_decref(m->recipients);
    pr_buf_fini(&m->content);
    pr_free(m);
}

struct mailbox *mailbox_new(void)
{
    struct mailbox *b = pr_new(struct mailbox);
    (void)pthread_mutex_init(&b->lock, NULL);
    b->first = b->next = 1;
    return b;
}

static void drop_oldest(struct mailbox *b)
{
    struct caught **m = &b->ring[b->first++ % MAILBOX_MESSAGES_MAX];
    b->bytes -= (*m)->content.len;
    caught_free(*m);
    *m = NULL;
}

void mailbox_free(struct mailbox *b)
{
    if (b == NULL)
        return;
    while (b->first < b->next)
        drop_oldest(b);
    (void)pthread_mutex_destroy(&b->lock);
    pr_free(b);
}

uint64_t mailbox_add(struct mailbox *b, struct caught *m)
{
    (void)pthread_mutex_lock(&b->lock);
    while (b->first < b->next &&
           (b->next - b->first == MAILBOX_MESSAGES_MAX || b->bytes + m->content.len > MAILBOX_BYTES_MAX))
        drop_oldest(b);
    uint64_t n = b->next++;
    m->n = n;
    b->bytes += m->content.len;
    b->ring[n % MAILBOX_MESSAGES_MAX] = m;
    (void)pthread_mutex_unlock(&b->lock);
    return n;
}

void mailbox_field(struct pr_slice content, const char *name, struct pr_buf *out)
{
    enum { VALUE_MAX = 998 };
    bool ours = false;
    while (content.len > 0) {
        struct pr_slice line = pr_slice_cut(content, '\n', &content), value;
        if (line.len > 0 && line.ptr[line.len - 1] == '\r')
            line.len--;
        if (line.len == 0)
            return;
        bool folded = line.ptr[0] == ' ' || line.ptr[0] == '\t';
        if (ours && !folded)
            return;
        if (!folded) {
            struct pr_slice field = pr_slice_cut(line, ':', &value);
            ours = pr_slice_ieq_str(field, name);
            line = value;
        }
        if (ours && out->len + line.len < VALUE_MAX) {
            if (folded)
                pr_buf_char(out, ' ');
            pr_buf_add(out, pr_slice_trim(line));
        }
    }
}

static json_t *text_json(struct pr_slice s)
{
    json_t *t = json_stringn(s.ptr == NULL ? "" : s.ptr, s.len);
    return t != NULL ? t : json_string("(not UTF-8)");
}

static json_t *message_json(const struct caught *m, struct pr_slice message_id)
{
    struct pr_buf subject = {0};
    mailbox_field(pr_buf_slice(&m->content), "subject", &subject);
    json_t *o = json_object();
    (void)json_object_set_new(o, "n", json_integer((json_int_t)m->n));
    (void)json_object_set_new(o, "connected_ms", json_integer((json_int_t)m->connected_ms));
    (void)json_object_set_new(o, "mail_ms", json_integer((json_int_t)m->mail_ms));
    (void)json_object_set_new(o, "received_ms", json_integer((json_int_t)m->received_ms));
    (void)json_object_set_new(o, "client", text_json(pr_slice_str(m->client)));
    (void)json_object_set_new(o, "helo", text_json(pr_slice_str(m->helo)));
    (void)json_object_set_new(o, "protocol", text_json(pr_slice_str(m->protocol)));
    (void)json_object_set_new(o, "sender", text_json(pr_slice_str(m->sender)));
    (void)json_object_set(o, "recipients", m->recipients);
    (void)json_object_set_new(o, "size", json_integer((json_int_t)m->content.len));
    (void)json_object_set_new(o, "message_id", text_json(message_id));
    (void)json_object_set_new(o, "subject", text_json(pr_buf_slice(&subject)));
    (void)json_object_set_new(o, "reply", text_json(pr_slice_str(m->reply)));
    pr_buf_fini(&subject);
    return o;
}

json_t *mailbox_list(struct mailbox *b, uint64_t limit, const char *message_id)
{
    json_t *o = json_object(), *list = json_array();
    (void)pthread_mutex_lock(&b->lock);
    for (uint64_t n = b->next; n > b->first && (limit == 0 || json_array_size(list) < limit); n--) {
        const struct caught *m = b->ring[(n - 1) % MAILBOX_MESSAGES_MAX];
        struct pr_buf id = {0};
        mailbox_field(pr_buf_slice(&m->content), "message-id", &id);
        if (message_id == NULL || pr_slice_eq_str(pr_buf_slice(&id), message_id))
            (void)json_array_append_new(list, message_json(m, pr_buf_slice(&id)));
        pr_buf_fini(&id);
    }
    (void)json_object_set_new(o, "total", json_integer((json_int_t)(b->next - 1)));
    (void)json_object_set_new(o, "kept", json_integer((json_int_t)(b->next - b->first)));
    (void)pthread_mutex_unlock(&b->lock);
    (void)json_object_set_new(o, "messages", list);
    return o;
}

bool mailbox_content(struct mailbox *b, uint64_t n, struct pr_buf *out)
{
    (void)pthread_mutex_lock(&b->lock);
    bool there = n >= b->first && n < b->next;
    if (there)
        pr_buf_add(out, pr_buf_slice(&b->ring[n % MAILBOX_MESSAGES_MAX]->content));
    (void)pthread_mutex_unlock(&b->lock);
    return there;
}
