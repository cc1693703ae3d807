#include "deploy/cli/api.h"

#include "common/base/alloc.h"
#include "common/conf/load.h"

enum { DEFAULT_TIMEOUT_MS = 30000 };

int api_init(struct api *a, const struct cli *c)
{
    *a = (struct api){.timeout_ms = c->timeout_ms != 0 ? c->timeout_ms : DEFAULT_TIMEOUT_MS};
    return cli_load_config(c, true, &a->config);
}

void api_fini(struct api *a)
{
    pr_config_unref(a->config);
}

int api_exit_code(unsigned status)
{
    switch (status) {
    case 400: return CLI_USAGE;
    case 401:
    case 403: return CLI_AUTH;
    case 404: return CLI_NOTHING;
    case 409: return CLI_REFUSED;
    case 503: return CLI_UNAVAILABLE;
    case 504: return CLI_TIMEOUT;
    default: return CLI_FAILED;
    }
}

static void address_text(const struct pr_hostport *to, struct pr_buf *out)
{
    if (to->unix_path != NULL)
        pr_buf_str(out, to->unix_path);
    else
        pr_buf_printf(out, "%s:%u", to->host, (unsigned)to->port);
}

int api_transport_error(const struct pr_hostport *to, int rc, const char *text)
{
    struct pr_buf where = {0};
    int code = CLI_FAILED;
    address_text(to, &where);
    if (rc == PR_EDENIED)
        code = cli_fail(CLI_AUTH, "not permitted to connect to %s: run this as the daemons' user, or as root",
                        pr_buf_cstr(&where));
    else if (rc == PR_EUNAVAIL || rc == PR_ECLOSED)
        code = cli_fail(CLI_UNAVAILABLE, "no scheduler at %s (%s): is postrider running, with this configuration?",
                        pr_buf_cstr(&where), rc == PR_ECLOSED ? "it hung up" : text);
    else if (rc == PR_ETIMEOUT)
        code = cli_fail(CLI_TIMEOUT, "no answer from %s in time", pr_buf_cstr(&where));
    else
        code = cli_fail(CLI_FAILED, "no proper answer from %s: %s", pr_buf_cstr(&where), pr_strerror(rc));
    pr_buf_fini(&where);
    return code;
}

/* {"error":{"code":..,"message":..}} */
static int report_error(const struct http_response *r)
{
    json_t *o = json_loadb(r->body.ptr == NULL ? "" : r->body.ptr, r->body.len, 0, NULL);
    const char *message = api_str(json_object_get(o, "error"), "message");
    int code = message[0] != '\0' ? cli_fail(api_exit_code(r->status), "%s", message)
                                  : cli_fail(api_exit_code(r->status), "the scheduler answers HTTP %u", r->status);
    json_decref(o);
    return code;
}

static int request(const struct api *a, const char *method, const char *path, struct pr_slice body,
                   struct http_response *ret)
{
    const char *text = "";
    const struct pr_hostport *to = &a->config->admin.scheduler;
    int rc = http_request(to, method, path, body, cli_now_ms() + a->timeout_ms, ret, &text);
    if (rc != PR_OK)
        return api_transport_error(to, rc, text);
    if (ret->status / 100 == 2)
        return CLI_OK;
    int code = report_error(ret);
    pr_buf_fini(&ret->body);
    return code;
}

int api_call(const struct api *a, const char *method, const char *path, json_t *body, json_t **ret)
{
    char *text = body == NULL ? NULL : json_dumps(body, JSON_COMPACT);
    struct http_response r = {0};
    int code = request(a, method, path, pr_slice_str(text), &r);
    if (code == CLI_OK) {
        json_error_t error;
        *ret = json_loadb(r.body.ptr == NULL ? "" : r.body.ptr, r.body.len, JSON_REJECT_DUPLICATES, &error);
        if (!json_is_object(*ret) && !json_is_array(*ret)) {
            json_decref(*ret);
            *ret = NULL;
            code = cli_fail(CLI_FAILED, "the scheduler's answer is not JSON: %s", error.text);
        }
        pr_buf_fini(&r.body);
    }
    pr_free(text);
    return code;
}

int api_fetch(const struct api *a, const char *path, struct pr_buf *ret_body)
{
    struct http_response r = {0};
    int code = request(a, "GET", path, (struct pr_slice){NULL, 0}, &r);
    if (code == CLI_OK)
        *ret_body = r.body;
    return code;
}

const char *api_str(const json_t *o, const char *key)
{
    const char *s = json_string_value(json_object_get(o, key));
    return s == NULL ? "" : s;
}

uint64_t api_num(const json_t *o, const char *key)
{
    json_int_t n = json_integer_value(json_object_get(o, key));
    return n < 0 ? 0 : (uint64_t)n;
}

bool api_bool(const json_t *o, const char *key)
{
    return json_is_true(json_object_get(o, key));
}

void api_dump(const json_t *value, bool one_line, struct pr_buf *out)
{
    char *text = json_dumps(value, one_line ? JSON_COMPACT : JSON_INDENT(2));
    pr_buf_str(out, text == NULL ? "null" : text);
    pr_buf_char(out, '\n');
    pr_free(text);
}
