/* Responses of the admin API: whole, byte by byte, cut off, and not HTTP at all. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "common/base/alloc.h"
#include "deploy/cli/http_client.h"

struct row {
    const char *in;
    int rc;  /* of the parse, or of the end */
    unsigned status;
    const char *body;
};

static const struct row rows[] = {
    {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", PR_OK, 200, "ok"},
    {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok and more", PR_OK, 200, "ok"},
    {"HTTP/1.0 404 Not Found\r\nContent-Type: x\r\ncontent-length:0\r\n\r\n", PR_OK, 404, ""},
    {"HTTP/1.1 200\r\n\r\nuntil the end", PR_OK, 200, "until the end"},
    {"HTTP/1.1 204 No Content\r\n\r\n", PR_OK, 204, ""},
    {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nok", PR_ECLOSED, 0, NULL},
    {"HTTP/1.1 200 OK\r\nContent-Le", PR_ECLOSED, 0, NULL},
    {"", PR_ECLOSED, 0, NULL},
    {"220 mail.example ESMTP\r\n\r\n", PR_EPARSE, 0, NULL},
    {"HTTP/1.1 20 OK\r\n\r\n", PR_EPARSE, 0, NULL},
    {"HTTP/1.1 2000 OK\r\n\r\n", PR_EPARSE, 0, NULL},
    {"HTTP/2.0 200 OK\r\n\r\n", PR_EPARSE, 0, NULL},
    {"HTTP/1.1 200 OK\r\nContent-Length: 1x\r\n\r\no", PR_EPARSE, 0, NULL},
    {"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\no", PR_EPARSE, 0, NULL},
    {"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nok", PR_EPARSE, 0, NULL},
    {"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n", PR_ETOOBIG, 0, NULL},
    {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", PR_EVERSION, 0, NULL},
};

static void parse(const struct row *r, size_t piece)
{
    struct http_parser p = {0};
    struct pr_slice rest = pr_slice_str(r->in);
    int rc = PR_OK;
    while (rc == PR_OK && rest.len > 0 && !p.done) {
        struct pr_slice part = pr_slice_head(rest, piece);
        rc = http_parse(&p, part);
        rest = pr_slice_from(rest, part.len);
    }
    if (rc == PR_OK && !p.done)
        rc = http_parse_end(&p);
    if (rc != r->rc)
        fail_msg("%s in pieces of %zu gives %s", r->in, piece, pr_errname(rc));
    if (rc == PR_OK) {
        assert_int_equal(p.response.status, r->status);
        assert_true(pr_slice_eq_str(pr_buf_slice(&p.response.body), r->body));
    }
    pr_buf_fini(&p.head);
    pr_buf_fini(&p.response.body);
}

static void test_rows(void **state)
{
    (void)state;
    for (size_t i = 0; i < PR_ARRAY_LEN(rows); i++)
        for (size_t piece = 1; piece < 200; piece = piece * 2 + 1)
            parse(&rows[i], piece);
}

static void test_endless_head(void **state)
{
    (void)state;
    struct http_parser p = {0};
    int rc = http_parse(&p, PR_SLICE_LIT("HTTP/1.1 200 OK\r\n"));
    while (rc == PR_OK && p.head.len < 10 * HTTP_HEAD_MAX)
        rc = http_parse(&p, PR_SLICE_LIT("X-Header: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n"));
    assert_int_equal(rc, PR_ETOOBIG);
    pr_buf_fini(&p.head);
}

static void test_escape(void **state)
{
    (void)state;
    struct pr_buf b = {0};
    http_escape(PR_SLICE_LIT("a-Z_0.~ /?&=%\xc3\xa9"), &b);
    assert_string_equal(pr_buf_cstr(&b), "a-Z_0.~%20%2F%3F%26%3D%25%C3%A9");
    pr_buf_fini(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_endless_head),
        cmocka_unit_test(test_escape),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
