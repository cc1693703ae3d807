#include "deploy/cli/select.h"

#include <string.h>

#include "common/base/alloc.h"
#include "deploy/cli/duration.h"
#include "deploy/cli/http_client.h"

int select_filter(const struct cli *c, json_t **ret)
{
    static const struct {
        enum cli_option option;
        const char *key;
    } texts[] = {{CLI_STATE, "state"}, {CLI_DOMAIN, "domain"}, {CLI_SENDER, "sender"}, {CLI_RECIPIENT, "recipient"}};
    static const char *const states[] = {"ready", "scheduled", "inflight", "held"};
    json_t *o = json_object();
    int code = CLI_OK;
    for (size_t i = 0; i < PR_ARRAY_LEN(texts); i++) {
        const char *value = c->values[texts[i].option];
        /* The null sender has a name of its own in the API: an empty text there means any. */
        if (value != NULL && texts[i].option == CLI_SENDER && value[0] == '\0')
            value = "<>";
        if (value != NULL && json_object_set_new(o, texts[i].key, json_string(value)) != 0)
            code = cli_fail(CLI_USAGE, "--%s is not UTF-8", cli_options[texts[i].option].name);
    }
    bool known = !cli_has(c, CLI_STATE);
    for (size_t i = 0; !known && i < PR_ARRAY_LEN(states); i++)
        known = strcmp(c->values[CLI_STATE], states[i]) == 0;
    if (!known)
        code = cli_fail(CLI_USAGE, "--state is ready, scheduled, inflight or held, not \"%s\"", c->values[CLI_STATE]);
    uint64_t age_ms = 0;
    if (cli_has(c, CLI_OLDER_THAN) && !cli_parse_duration(c->values[CLI_OLDER_THAN], &age_ms))
        code = cli_fail(CLI_USAGE, "--older-than is a time like 30m, 2h, 1d, not \"%s\"", c->values[CLI_OLDER_THAN]);
    if (age_ms > 0)
        (void)json_object_set_new(o, "older_than_s", json_integer((json_int_t)(age_ms / 1000)));
    if (code == CLI_OK)
        *ret = o;
    else
        json_decref(o);
    return code;
}

int select_query(const struct cli *c, struct pr_buf *out)
{
    json_t *o = NULL, *value;
    const char *key;
    int code = select_filter(c, &o);
    if (code != CLI_OK)
        return code;
    json_object_foreach(o, key, value) {
        pr_buf_printf(out, "&%s=", key);
        if (json_is_integer(value))
            pr_buf_u64(out, (uint64_t)json_integer_value(value));
        else
            http_escape(pr_slice(json_string_value(value), json_string_length(value)), out);
    }
    json_decref(o);
    return CLI_OK;
}
