#include "deploy/cli/http_client.h"

#include "common/base/alloc.h"
#include "deploy/cli/net.h"

void http_escape(struct pr_slice s, struct pr_buf *out)
{
    static const char hex[] = "0123456789ABCDEF";
    for (size_t i = 0; i < s.len; i++) {
        unsigned char c = (unsigned char)s.ptr[i];
        if (pr_is_alnum(s.ptr[i]) || c == '-' || c == '.' || c == '_' || c == '~') {
            pr_buf_char(out, s.ptr[i]);
        } else {
            pr_buf_char(out, '%');
            pr_buf_char(out, hex[c >> 4]);
            pr_buf_char(out, hex[c & 15]);
        }
    }
}

/* "HTTP/1.1 200 OK" */
static int parse_status(struct pr_slice line, unsigned *ret)
{
    uint32_t status;
    if (line.len < 12 || !pr_slice_starts(line, PR_SLICE_LIT("HTTP/1.")) || line.ptr[8] != ' ' ||
        (line.len > 12 && line.ptr[12] != ' ') || pr_parse_u32(pr_slice(line.ptr + 9, 3), 999, &status) != PR_OK)
        return PR_EPARSE;
    *ret = status;
    return PR_OK;
}

static int parse_head(struct http_parser *p, struct pr_slice head)
{
    struct pr_slice line = pr_slice_trim(pr_slice_cut(head, '\n', &head));
    if (line.len > 0 && line.ptr[line.len - 1] == '\r')
        line.len--;
    int rc = parse_status(line, &p->response.status);
    while (rc == PR_OK && head.len > 0) {
        line = pr_slice_cut(head, '\n', &head);
        if (line.len > 0 && line.ptr[line.len - 1] == '\r')
            line.len--;
        struct pr_slice value, name = pr_slice_cut(line, ':', &value);
        if (pr_slice_ieq_str(name, "transfer-encoding"))
            rc = PR_EVERSION; /* our server never sends one */
        if (pr_slice_ieq_str(name, "content-length")) {
            if (p->has_length || pr_parse_u64(pr_slice_trim(value), UINT64_MAX, &p->length) != PR_OK)
                rc = PR_EPARSE;
            else if (p->length > HTTP_BODY_MAX)
                rc = PR_ETOOBIG;
            p->has_length = true;
        }
    }
    if (p->response.status == 204 || p->response.status == 304) {
        p->has_length = true;
        p->length = 0;
    }
    return rc;
}

/* Gathers the head; *in is what follows it. */
static int take_head(struct http_parser *p, struct pr_slice *in)
{
    size_t before = p->head.len;
    pr_buf_add(&p->head, *in);
    size_t from = before < 3 ? 0 : before - 3;
    size_t at = pr_slice_find_slice(pr_slice_from(pr_buf_slice(&p->head), from), PR_SLICE_LIT("\r\n\r\n"));
    if (at == SIZE_MAX) {
        *in = pr_slice_from(*in, in->len);
        return p->head.len > HTTP_HEAD_MAX ? PR_ETOOBIG : PR_OK;
    }
    size_t end = from + at + 4;
    *in = pr_slice_from(*in, end - before);
    p->head_done = true;
    return end > HTTP_HEAD_MAX ? PR_ETOOBIG : parse_head(p, pr_slice(p->head.ptr, end - 2));
}

int http_parse(struct http_parser *p, struct pr_slice in)
{
    if (!p->head_done) {
        int rc = take_head(p, &in);
        if (rc != PR_OK || !p->head_done)
            return rc;
    }
    struct pr_buf *body = &p->response.body;
    if (p->has_length)
        in = pr_slice_head(in, (size_t)(p->length - body->len));
    pr_buf_add(body, in);
    p->done = p->has_length && body->len == p->length;
    return body->len > HTTP_BODY_MAX ? PR_ETOOBIG : PR_OK;
}

int http_parse_end(struct http_parser *p)
{
    if (!p->head_done || (p->has_length && !p->done))
        return PR_ECLOSED;
    p->done = true;
    return PR_OK;
}

static int exchange(struct cli_conn *c, struct pr_slice request, struct http_parser *p)
{
    int rc = cli_send(c, request);
    struct pr_buf piece = {0};
    while (rc == PR_OK && !p->done) {
        pr_buf_clear(&piece);
        rc = cli_receive(c, &piece);
        if (rc == PR_OK)
            rc = http_parse(p, pr_buf_slice(&piece));
        else if (rc == PR_ECLOSED)
            rc = http_parse_end(p);
    }
    pr_buf_fini(&piece);
    return rc;
}

int http_request(const struct pr_hostport *to, const char *method, const char *path, struct pr_slice body,
                 uint64_t deadline_ms, struct http_response *ret, const char **reterr_text)
{
    struct cli_conn c;
    *reterr_text = "";
    int rc = cli_connect(to, deadline_ms, &c, reterr_text);
    if (rc != PR_OK)
        return rc;
    struct pr_buf request = {0};
    pr_buf_printf(&request, "%s %s HTTP/1.1\r\nHost: postrider\r\nConnection: close\r\n", method, path);
    if (body.len > 0)
        pr_buf_printf(&request, "Content-Type: application/json\r\nContent-Length: %zu\r\n", body.len);
    pr_buf_str(&request, "\r\n");
    pr_buf_add(&request, body);
    struct http_parser p = {0};
    rc = exchange(&c, pr_buf_slice(&request), &p);
    cli_close(&c);
    pr_buf_fini(&request);
    pr_buf_fini(&p.head);
    if (rc == PR_OK)
        *ret = p.response;
    else
        pr_buf_fini(&p.response.body);
    return rc;
}
