/* api.h - calls of the scheduler's admin API, with errors as exit codes.
 *
 * Owns: its configuration. Thread: main. */
#ifndef DEPLOY_CLI_API_H
#define DEPLOY_CLI_API_H

#include <jansson.h>

#include "deploy/cli/cli.h"
#include "deploy/cli/http_client.h"

struct api {
    struct pr_config *config;
    uint64_t timeout_ms;
};

/* CLI_OK, or an exit code after saying why. */
int api_init(struct api *a, const struct cli *c);
void api_fini(struct api *a);
/* One call; an error status becomes an exit code, its message is printed. body NULL: none (borrowed). ret: new reference. */
int api_call(const struct api *a, const char *method, const char *path, json_t *body, json_t **ret);
/* The same with the body as it comes. */
int api_fetch(const struct api *a, const char *path, struct pr_buf *ret_body);
/* Exit code for an HTTP status that is an error. */
int api_exit_code(unsigned status);
/* Exit code and message for a request that did not get through. */
int api_transport_error(const struct pr_hostport *to, int rc, const char *text);

/* Members with a default when they are missing or of another type. */
const char *api_str(const json_t *o, const char *key);
uint64_t api_num(const json_t *o, const char *key);
bool api_bool(const json_t *o, const char *key);
/* Appends value as indented JSON and a line break. */
void api_dump(const json_t *value, bool one_line, struct pr_buf *out);

#endif
