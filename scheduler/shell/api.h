/* api.h - private to the admin API: handlers and what they share. All run on HTTP threads. */
#ifndef PR_SCHEDULER_SHELL_API_H
#define PR_SCHEDULER_SHELL_API_H

#include "common/http/http.h"
#include "scheduler/shell/node.h"

enum { API_TIMEOUT_MS = 30000 };

void api_status(void *data, const struct pr_http_request *req, struct pr_http_response *out);
void api_messages(void *data, const struct pr_http_request *req, struct pr_http_response *out);
void api_message(void *data, const struct pr_http_request *req, struct pr_http_response *out);
void api_content(void *data, const struct pr_http_request *req, struct pr_http_response *out);
void api_shape(void *data, const struct pr_http_request *req, struct pr_http_response *out);
void api_destinations(void *data, const struct pr_http_request *req, struct pr_http_response *out);
void api_actions(void *data, const struct pr_http_request *req, struct pr_http_response *out);
void api_flush(void *data, const struct pr_http_request *req, struct pr_http_response *out);

/* One message as listings see it; strings and groups live in `arena`. */
enum api_state { API_READY, API_SCHEDULED, API_INFLIGHT, API_HELD, API_STATE_NR };
extern const char *const api_state_names[API_STATE_NR];
struct api_row {
    uint32_t shard;
    struct qread_msg msg;
    struct mail_envelope envelope;
    struct mail_group *groups;
    size_t n_groups;
    enum api_state state;
    uint64_t due_ms;
    uint32_t attempts;
};
/* PR_ENOTFOUND, PR_ECORRUPT, ... */
PR_MUST_USE int api_read_row(struct node *n, uint32_t shard, const struct qread_msg *msg, struct pr_arena *arena,
                             struct api_row *ret);

/* Which messages are meant: query parameters, or the "filter" object of an action. Empty fields match everything. */
struct api_filter {
    struct pr_slice domain, sender, recipient;
    bool by_state;
    enum api_state state;
    uint64_t older_than_ms;
};
bool api_filter_matches(const struct api_filter *f, const struct api_row *row, uint64_t now_ms);
PR_MUST_USE int api_state_parse(const char *text, enum api_state *ret);

/* Hands out matching rows in order, shard by shard, from *cursor ("" to start) until fn returns false, `scan_max` messages
 * were looked at, or the end. *cursor: where to go on, "" at the end. */
struct api_cursor {
    uint32_t shard;
    uint64_t msg_id;
    bool end;
};
typedef bool (*api_row_fn)(void *data, const struct api_row *row);
PR_MUST_USE int api_scan(struct node *n, struct api_cursor *cursor, const struct api_filter *f, uint32_t scan_max,
                         api_row_fn fn, void *data);
/* 0, or an error reply has been made. */
PR_MUST_USE int api_parse_id(struct node *n, struct pr_slice text, uint32_t *ret_shard, uint64_t *ret_msg_id,
                             struct pr_http_response *out);
void api_error_reply(struct pr_http_response *out, int rc);

#endif
