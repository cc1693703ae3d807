/* The trial sink over a real connection, its mailbox, and the SMTP client that talks to it. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "deploy/cli/cli.h"
#include "deploy/cli/net.h"
#include "deploy/cli/sink.h"
#include "deploy/cli/smtp_client.h"

struct server {
    struct mailbox *mailbox;
    struct sink *sink;
    struct pr_hostport at;
    char host[16];
    int stop[2];
    pthread_t thread;
};

static void *serve(void *data)
{
    struct server *s = data;
    sink_serve(s->sink, s->stop[0]);
    return NULL;
}

static int setup(void **state)
{
    struct server *s = pr_new(struct server);
    (void)snprintf(s->host, sizeof s->host, "127.0.0.1");
    s->at = (struct pr_hostport){s->host, cli_free_port(0), NULL};
    int fd = cli_listen(&s->at);
    if (fd < 0 || pipe(s->stop) != 0)
        return -1;
    s->mailbox = mailbox_new();
    s->sink = sink_new(fd, s->mailbox);
    *state = s;
    return pthread_create(&s->thread, NULL, serve, s);
}

static int teardown(void **state)
{
    struct server *s = *state;
    if (write(s->stop[1], "x", 1) != 1)
        return -1;
    (void)pthread_join(s->thread, NULL);
    (void)close(s->stop[0]);
    (void)close(s->stop[1]);
    sink_free(s->sink);
    mailbox_free(s->mailbox);
    pr_free(s);
    return 0;
}

static void on_line(void *data, bool ours, struct pr_slice text)
{
    pr_buf_printf(data, "%c:%.*s\n", ours ? 'C' : 'S', PR_SLICE_ARG(text));
}

static void test_message_arrives(void **state)
{
    struct server *s = *state;
    struct pr_buf lines = {0};
    struct smtp_result r;
    struct smtp_job job = {.to = &s->at,
                           .helo = "client.example",
                           .sender = "a@a.example",
                           .recipient = "b@b.example",
                           .content = PR_SLICE_LIT("Message-ID: <1@x>\nSubject: A\n folded one\n\n.dot\nlast"),
                           .deadline_ms = cli_now_ms() + 10000,
                           .line = on_line,
                           .data = &lines};
    assert_int_equal(smtp_send(&job, &r), PR_OK);
    assert_true(r.accepted);
    assert_int_equal(r.code, 250);
    assert_true(pr_slice_eq_str(smtp_queue_id(pr_buf_slice(&r.reply)), "sink-1"));
    assert_true(pr_slice_find_slice(pr_buf_slice(&lines), PR_SLICE_LIT("C:RCPT TO:<b@b.example>\nS:250 ")) != SIZE_MAX);
    json_t *list = mailbox_list(s->mailbox, 0, "<1@x>");
    const json_t *m = json_array_get(json_object_get(list, "messages"), 0);
    assert_non_null(m);
    assert_string_equal(json_string_value(json_object_get(m, "sender")), "a@a.example");
    assert_string_equal(json_string_value(json_array_get(json_object_get(m, "recipients"), 0)), "b@b.example");
    assert_string_equal(json_string_value(json_object_get(m, "subject")), "A folded one");
    assert_string_equal(json_string_value(json_object_get(m, "helo")), "client.example");
    assert_true(pr_slice_eq_str(pr_buf_slice(&r.reply), json_string_value(json_object_get(m, "reply"))));
    json_decref(list);
    struct pr_buf content = {0};
    assert_true(mailbox_content(s->mailbox, 1, &content));
    assert_true(pr_slice_iends(pr_buf_slice(&content), PR_SLICE_LIT("\r\n\r\n.dot\r\nlast\r\n")));
    pr_buf_fini(&content);
    pr_buf_fini(&r.reply);
    pr_buf_fini(&lines);
}

static void test_refusal_is_no_error(void **state)
{
    struct server *s = *state;
    struct smtp_result r;
    struct smtp_job job = {.to = &s->at,
                           .helo = "client.example",
                           .sender = "a@a.example",
                           .recipient = "not an address",
                           .content = PR_SLICE_LIT("x"),
                           .deadline_ms = cli_now_ms() + 10000};
    assert_int_equal(smtp_send(&job, &r), PR_OK);
    assert_false(r.accepted);
    assert_int_equal(r.code / 100, 5);
    assert_string_equal(r.stage, "RCPT");
    pr_buf_fini(&r.reply);
}

static void test_nobody_there(void **state)
{
    (void)state;
    char host[] = "127.0.0.1";
    struct pr_hostport nobody = {host, cli_free_port(0), NULL};
    struct smtp_result r;
    struct smtp_job job = {.to = &nobody, .helo = "c", .sender = "", .recipient = "a@b", .deadline_ms = cli_now_ms() + 10000};
    assert_int_equal(smtp_send(&job, &r), PR_EUNAVAIL);
    assert_string_equal(r.stage, "connect");
    assert_false(r.accepted);
    pr_buf_fini(&r.reply);
}

static struct caught *message(const char *content)
{
    struct caught *m = pr_new(struct caught);
    m->client = pr_strdup("");
    m->helo = pr_strdup("");
    m->protocol = pr_strdup("");
    m->sender = pr_strdup("");
    m->reply = pr_strdup("");
    m->recipients = json_array();
    pr_buf_str(&m->content, content);
    return m;
}

static void test_mailbox_keeps_the_latest(void **state)
{
    (void)state;
    struct mailbox *b = mailbox_new();
    struct pr_buf out = {0};
    for (unsigned i = 1; i <= MAILBOX_MESSAGES_MAX + 5; i++)
        assert_int_equal(mailbox_add(b, message("Subject: x\r\n\r\n")), i);
    assert_false(mailbox_content(b, 0, &out));
    assert_false(mailbox_content(b, 5, &out));
    assert_true(mailbox_content(b, 6, &out));
    assert_false(mailbox_content(b, MAILBOX_MESSAGES_MAX + 6, &out));
    json_t *list = mailbox_list(b, 3, NULL);
    const json_t *messages = json_object_get(list, "messages");
    assert_int_equal(json_array_size(messages), 3);
    assert_int_equal(json_integer_value(json_object_get(json_array_get(messages, 0), "n")), MAILBOX_MESSAGES_MAX + 5);
    assert_int_equal(json_integer_value(json_object_get(list, "kept")), MAILBOX_MESSAGES_MAX);
    json_decref(list);
    /* A large one drives out as many as its bytes need. */
    struct caught *big = message("");
    memset(pr_buf_reserve(&big->content, MAILBOX_BYTES_MAX), 'x', MAILBOX_BYTES_MAX);
    big->content.len = MAILBOX_BYTES_MAX;
    (void)mailbox_add(b, big);
    list = mailbox_list(b, 0, NULL);
    assert_int_equal(json_integer_value(json_object_get(list, "kept")), 1);
    json_decref(list);
    mailbox_free(b);
    pr_buf_fini(&out);
}

static void test_fields(void **state)
{
    (void)state;
    static const struct {
        const char *content, *name, *value;
    } rows[] = {
        {"Subject: a\r\n\r\n", "subject", "a"},
        {"SUBJECT:a\n\n", "subject", "a"},
        {"X: 1\r\nSubject: a\r\n\tb\r\nY: 2\r\n\r\n", "subject", "a b"},
        {"X: 1\r\n\r\nSubject: in the body\r\n", "subject", ""},
        {"Subject: first\r\nSubject: second\r\n\r\n", "subject", "first"},
        {"Subject", "subject", ""},
        {"", "subject", ""},
    };
    for (size_t i = 0; i < PR_ARRAY_LEN(rows); i++) {
        struct pr_buf b = {0};
        mailbox_field(pr_slice_str(rows[i].content), rows[i].name, &b);
        assert_string_equal(pr_buf_cstr(&b), rows[i].value);
        pr_buf_fini(&b);
    }
}

static void test_queue_ids(void **state)
{
    (void)state;
    assert_true(pr_slice_eq_str(smtp_queue_id(PR_SLICE_LIT("250 2.0.0 Ok: queued as 1a-2B\x1b[")), "1a-2B"));
    assert_int_equal(smtp_queue_id(PR_SLICE_LIT("250 2.0.0 Ok")).len, 0);
    assert_int_equal(smtp_queue_id(PR_SLICE_LIT("250 queued as ")).len, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_message_arrives, setup, teardown),
        cmocka_unit_test_setup_teardown(test_refusal_is_no_error, setup, teardown),
        cmocka_unit_test(test_nobody_there),
        cmocka_unit_test(test_mailbox_keeps_the_latest),
        cmocka_unit_test(test_fields),
        cmocka_unit_test(test_queue_ids),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
