/* POST /api/v1/actions and /api/v1/flush, GET /api/v1/destinations: what has to pass through the shards' threads. */
#include <jansson.h>

#include "common/base/alloc.h"
#include "common/base/map.h"
#include "common/net/clock.h"
#include "scheduler/shell/api.h"

enum { SAMPLE = 5, DOMAINS = 32, GATE_VIEW = 10000, SCAN_ALL = UINT32_MAX };

static const struct {
    const char *name;
    enum admin_action action;
} actions[] = {
    {"retry", ADMIN_RETRY},
    {"hold", ADMIN_HOLD},
    {"release", ADMIN_RELEASE},
    {"delete", ADMIN_DELETE},
};

/* What an action is about: ids by shard. */
struct selection {
    uint64_t *ids[NODE_SHARDS_MAX];
    size_t n[NODE_SHARDS_MAX], cap[NODE_SHARDS_MAX];
    size_t total;
    char sample[SAMPLE][WIRE_QUEUE_ID_LEN + 1];
    char *domains[DOMAINS]; /* of their recipients */
    size_t n_domains;
    bool more_domains; /* than fit */
};

static void selection_fini(struct selection *x)
{
    for (size_t i = 0; i < NODE_SHARDS_MAX; i++)
        pr_free(x->ids[i]);
    for (size_t i = 0; i < x->n_domains; i++)
        pr_free(x->domains[i]);
}

static void note_domain(struct selection *x, struct pr_slice domain)
{
    for (size_t i = 0; i < x->n_domains; i++)
        if (pr_slice_eq_str(domain, x->domains[i]))
            return;
    if (x->n_domains < DOMAINS)
        x->domains[x->n_domains++] = pr_strndup(domain.ptr, domain.len);
    else
        x->more_domains = true;
}

static void select_id(struct selection *x, uint32_t shard, uint64_t msg_id)
{
    if (x->n[shard] == x->cap[shard]) {
        x->cap[shard] = x->cap[shard] == 0 ? 64 : x->cap[shard] * 2;
        x->ids[shard] = pr_realloc(x->ids[shard], x->cap[shard] * sizeof(uint64_t));
    }
    x->ids[shard][x->n[shard]++] = msg_id;
    if (x->total < SAMPLE)
        wire_queue_id_format(shard, msg_id, x->sample[x->total]);
    x->total++;
}

static bool on_row(void *data, const struct api_row *row)
{
    select_id(data, row->shard, row->msg.msg_id);
    for (size_t g = 0; g < row->n_groups; g++)
        note_domain(data, row->groups[g].domain);
    return true;
}

static struct pr_slice text_of(json_t *object, const char *key)
{
    return pr_slice_str(json_string_value(json_object_get(object, key)));
}

static int read_filter(json_t *object, struct api_filter *f)
{
    static const char *const known[] = {"domain", "sender", "recipient", "state", "older_than_s"};
    const char *key;
    json_t *value;
    json_object_foreach(object, key, value) {
        bool found = false;
        for (size_t i = 0; i < PR_ARRAY_LEN(known); i++)
            found = found || strcmp(key, known[i]) == 0;
        if (!found)
            return PR_EPARSE;
    }
    json_t *older = json_object_get(object, "older_than_s");
    const char *state = json_string_value(json_object_get(object, "state"));
    *f = (struct api_filter){
        .domain = text_of(object, "domain"),
        .sender = text_of(object, "sender"),
        .recipient = text_of(object, "recipient"),
        .by_state = state != NULL,
    };
    if (older != NULL && (!json_is_integer(older) || json_integer_value(older) < 0))
        return PR_EPARSE;
    f->older_than_ms = (uint64_t)json_integer_value(older) * 1000;
    return state == NULL ? 0 : api_state_parse(state, &f->state);
}

/* Ids given one by one: those that exist. */
static int select_listed(struct node *n, json_t *ids, struct selection *x, struct pr_http_response *out)
{
    size_t i;
    json_t *item;
    json_array_foreach(ids, i, item) {
        struct pr_arena arena = {0};
        struct qread_msg msg;
        uint32_t shard;
        uint64_t id;
        int rc = api_parse_id(n, pr_slice_str(json_string_value(item)), &shard, &id, out);
        if (rc != 0)
            return rc;
        struct api_row row;
        if (qread_message(shard_stage(n->shards[shard]), id, &arena, &msg) == 0 &&
            api_read_row(n, shard, &msg, &arena, &row) == 0)
            (void)on_row(x, &row);
        pr_arena_fini(&arena);
    }
    return 0;
}

static int select_messages(struct node *n, json_t *body, struct selection *x, struct pr_http_response *out)
{
    json_t *ids = json_object_get(body, "ids"), *filter = json_object_get(body, "filter");
    struct api_filter f = {.by_state = false};
    struct api_cursor at = {0};
    if (json_is_array(ids))
        return select_listed(n, ids, x, out);
    if (filter != NULL ? !json_is_object(filter) || read_filter(filter, &f) != 0
                       : !json_is_true(json_object_get(body, "all"))) {
        pr_http_error(out, 400, "bad_selection",
                      "give \"ids\": [...], \"filter\": {domain, sender, recipient, state, older_than_s} or \"all\": true");
        return PR_EPARSE;
    }
    int rc = api_scan(n, &at, &f, SCAN_ALL, on_row, x);
    if (rc != 0)
        api_error_reply(out, rc);
    return rc;
}

static int act(struct node *n, enum admin_action action, struct selection *x, size_t *ret_changed)
{
    for (uint32_t s = 0; s < n->n_shards; s++) {
        if (x->n[s] == 0)
            continue;
        struct admin_request *r = admin_request_new(action);
        r->ids = x->ids[s];
        r->n_ids = x->n[s];
        x->ids[s] = NULL;
        int rc = admin_request_run(n->shards[s], r, API_TIMEOUT_MS + r->n_ids / 100);
        if (rc == 0)
            *ret_changed += r->changed;
        admin_request_unref(r);
        if (rc != 0)
            return rc;
    }
    return 0;
}

static void write_outcome(struct pr_buf *b, const struct selection *x, size_t changed)
{
    pr_buf_printf(b, "{\"matched\":%zu,\"changed\":%zu,\"sample\":[", x->total, changed);
    for (size_t i = 0; i < PR_MIN(x->total, (size_t)SAMPLE); i++)
        pr_buf_printf(b, "%s\"%s\"", i == 0 ? "" : ",", x->sample[i]);
    pr_buf_str(b, "]}\n");
}

static void probe(struct node *n, const char *domain)
{
    struct bus_post *post = bus_post_new(BUS_POST_FLUSH);
    post->destination = domain == NULL ? NULL : pr_strdup(domain);
    bus_server_post(n->bus, post);
}

/* Who asks for another try wants it now: destinations that are suspended are probed. */
static void probe_domains(struct node *n, const struct selection *x)
{
    if (x->more_domains)
        probe(n, NULL);
    for (size_t i = 0; i < x->n_domains && !x->more_domains; i++)
        probe(n, x->domains[i]);
}

static void run_action(struct node *n, json_t *body, enum admin_action action, struct pr_http_response *out)
{
    struct selection x = {.total = 0};
    size_t changed = 0;
    int rc = select_messages(n, body, &x, out);
    if (rc == 0 && !json_is_true(json_object_get(body, "dry_run"))) {
        rc = act(n, action, &x, &changed);
        if (rc != 0)
            api_error_reply(out, rc);
        else if (action == ADMIN_RETRY)
            probe_domains(n, &x);
        pr_info(n->log, "admin_action", PR_SL("action", text_of(body, "action")), PR_U("matched", x.total),
                PR_U("changed", changed), PR_SL("reason", text_of(body, "reason")));
    }
    if (rc == 0)
        write_outcome(&out->body, &x, changed);
    selection_fini(&x);
}

static json_t *read_body(const struct pr_http_request *req, struct pr_http_response *out)
{
    struct pr_slice text = pr_http_body(req);
    json_error_t error;
    json_t *body = json_loadb(text.len == 0 ? "{}" : text.ptr, text.len == 0 ? 2 : text.len, JSON_REJECT_DUPLICATES, &error);
    if (json_is_object(body))
        return body;
    json_decref(body);
    pr_http_error(out, 400, "bad_json", "line %d, column %d: %s", error.line, error.column, error.text);
    return NULL;
}

void api_actions(void *data, const struct pr_http_request *req, struct pr_http_response *out)
{
    json_t *body = read_body(req, out);
    if (body == NULL)
        return;
    struct pr_slice name = text_of(body, "action");
    size_t i = 0;
    while (i < PR_ARRAY_LEN(actions) && !pr_slice_eq_str(name, actions[i].name))
        i++;
    if (i < PR_ARRAY_LEN(actions))
        run_action(data, body, actions[i].action, out);
    else
        pr_http_error(out, 400, "bad_action", "action is retry, hold, release or delete");
    json_decref(body);
}

void api_flush(void *data, const struct pr_http_request *req, struct pr_http_response *out)
{
    struct node *n = data;
    json_t *body = read_body(req, out);
    if (body == NULL)
        return;
    const char *destination = json_string_value(json_object_get(body, "destination"));
    size_t flows = 0;
    int rc = 0;
    for (uint32_t s = 0; s < n->n_shards && rc == 0; s++) {
        struct admin_request *r = admin_request_new(ADMIN_FLUSH);
        r->destination = destination == NULL ? NULL : pr_strdup(destination);
        rc = admin_request_run(n->shards[s], r, API_TIMEOUT_MS);
        flows += rc == 0 ? r->changed : 0;
        admin_request_unref(r);
    }
    probe(n, destination);
    if (rc == 0)
        pr_buf_printf(&out->body, "{\"destinations\":%zu}\n", flows);
    else
        api_error_reply(out, rc);
    json_decref(body);
}

/* ---- destinations ---- */

struct destination {
    char *name;
    uint64_t rows, ready, inflight, held;
    const struct bus_gate_view *gate;
};

static struct destination *destination_of(struct pr_map *map, const char *name)
{
    struct destination *d = pr_map_get_str(map, pr_slice_str(name));
    if (d == NULL) {
        d = pr_new(struct destination);
        d->name = pr_strdup(name);
        pr_map_put_str(map, pr_slice_str(name), d);
    }
    return d;
}

static int collect(struct node *n, struct pr_map *map)
{
    for (uint32_t s = 0; s < n->n_shards; s++) {
        struct admin_request *r = admin_request_new(ADMIN_DESTINATIONS);
        int rc = admin_request_run(n->shards[s], r, API_TIMEOUT_MS);
        for (size_t i = 0; rc == 0 && i < r->n_destinations; i++) {
            struct destination *d = destination_of(map, r->destinations[i].destination);
            d->rows += r->destinations[i].rows;
            d->ready += r->destinations[i].backlog;
            d->inflight += r->destinations[i].inflight;
            d->held += r->destinations[i].held;
        }
        admin_request_unref(r);
        if (rc != 0)
            return rc;
    }
    return 0;
}

static void write_destination(struct pr_buf *b, const struct destination *d, bool first)
{
    uint64_t busy = d->ready + d->inflight, now = pr_clock_now().wall.ms;
    pr_buf_str(b, first ? "{\"destination\":" : ",{\"destination\":");
    pr_buf_json(b, pr_slice_str(d->name));
    pr_buf_printf(b, ",\"ready\":%llu,\"scheduled\":%llu,\"inflight\":%llu", (unsigned long long)d->ready,
                  (unsigned long long)(d->rows > busy ? d->rows - busy : 0), (unsigned long long)d->inflight);
    pr_buf_printf(b, ",\"connections\":%u,\"limit\":%u,\"state\":", d->gate == NULL ? 0 : d->gate->connections,
                  d->gate == NULL ? 0 : d->gate->limit);
    pr_buf_json(b, pr_slice_str(d->gate == NULL ? "normal" : d->gate->state));
    if (d->gate != NULL && d->gate->suspended_ms > 0)
        pr_buf_printf(b, ",\"suspended_until_ms\":%llu", (unsigned long long)(now + d->gate->suspended_ms));
    else
        pr_buf_str(b, ",\"suspended_until_ms\":null");
    pr_buf_str(b, ",\"last_error\":");
    pr_buf_json(b, pr_slice_str(d->gate == NULL ? "" : d->gate->last_error));
    pr_buf_char(b, '}');
}

void api_destinations(void *data, const struct pr_http_request *req, struct pr_http_response *out)
{
    struct node *n = data;
    struct pr_map map;
    struct bus_gate_view *gate = pr_calloc(GATE_VIEW, sizeof *gate);
    size_t it = 0, n_gate = bus_server_gate(n->bus, gate, GATE_VIEW);
    bool first = true;
    (void)req;
    pr_map_init(&map, 0);
    int rc = collect(n, &map);
    for (size_t i = 0; i < n_gate; i++)
        destination_of(&map, gate[i].destination)->gate = &gate[i];
    pr_buf_char(&out->body, '[');
    for (struct destination *d; (d = pr_map_next(&map, &it, NULL)) != NULL; first = false)
        write_destination(&out->body, d, first);
    pr_buf_str(&out->body, "]\n");
    it = 0;
    for (struct destination *d; (d = pr_map_next(&map, &it, NULL)) != NULL;) {
        pr_free(d->name);
        pr_free(d);
    }
    pr_map_fini(&map);
    pr_free(gate);
    if (rc != 0) {
        pr_buf_clear(&out->body);
        api_error_reply(out, rc);
    }
}
