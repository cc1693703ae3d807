/* Reports to senders (RFC 3461, 3464). Three ways lead here: a result that ends a message (the DSN rides in the same
 * entry), a message that has ended with failures not yet reported (FSM_NEEDS_REPORT), and the check index: delay warnings,
 * expiry, uploads nobody took. Each proposal names exactly what it reports; if the state has moved on meanwhile the state
 * machine refuses it and the next check looks again. */
#include "common/base/alloc.h"
#include "common/mail/address.h"
#include "common/mail/dsn.h"
#include "scheduler/shell/shard_internal.h"

enum { CHECK_ROWS = 256, REPORT_ITEMS_MAX = 1000 };
static const uint64_t CHECK_AGAIN_MS = 60000, GATHER_MS = 30000;

/* Failures of a message whose other groups go on: reported after a while, if nothing else does it before. */
struct late_report {
    struct pr_list link;
    uint64_t msg_id;
    pr_mono due;
};

/* End of the header block within the first chunk, the empty line included; the whole chunk if there is none. */
static struct pr_slice header_of(struct pr_slice content)
{
    size_t end = pr_slice_find_slice(content, PR_SLICE_LIT("\r\n\r\n"));
    return end == SIZE_MAX ? content : pr_slice_head(content, end + 4);
}

static struct pr_slice read_content(struct shard *s, const struct qread_msg *msg)
{
    struct pr_buf body = {0};
    struct pr_slice out = {NULL, 0};
    if (qread_body(s->stage, msg->body_id, 0, &body) == 0)
        out = pr_arena_dup(&s->turn, pr_buf_slice(&body));
    pr_buf_fini(&body);
    return out;
}

static struct cmd_enqueue *dsn_command(struct shard *s, const struct mail_envelope *original, struct pr_slice content,
                                       bool smtputf8)
{
    struct pr_now now = pr_clock_now();
    struct pr_buf domain = {0}, envelope = {0}, group = {0};
    size_t at = pr_slice_rfind(original->sender, '@');
    mail_domain_normalize(at == SIZE_MAX ? pr_slice_str(s->config->hostname) : pr_slice_from(original->sender, at + 1),
                          &domain);
    struct mail_rcpt rcpt = {.address = original->sender, .notify = MAIL_NOTIFY_NEVER};
    struct mail_group g = {pr_buf_slice(&domain), &rcpt, 1};
    struct mail_envelope e = {.tenant = original->tenant,
                              .class_ = original->class_,
                              .pool = original->pool,
                              .smtputf8 = smtputf8,
                              .body = pr_is_ascii(content) ? MAIL_BODY_7BIT : MAIL_BODY_8BITMIME,
                              .protocol = PR_SLICE_LIT("local"),
                              .arrival = now.wall,
                              .size_bytes = content.len};
    wire_envelope_encode(&e, &envelope);
    wire_group_encode(&g, &group);
    struct cmd_group *cg = pr_arena_zalloc(&s->turn, sizeof *cg);
    *cg = (struct cmd_group){.domain = pr_arena_dup(&s->turn, pr_buf_slice(&domain)),
                             .encoded = pr_arena_dup(&s->turn, pr_buf_slice(&group)),
                             .n_rcpts = 1,
                             .due_ms = now.wall.ms};
    struct cmd_enqueue *c = pr_arena_zalloc(&s->turn, sizeof *c);
    *c = (struct cmd_enqueue){.msg_id = shard_next_id(s, now.wall),
                              .received_ms = now.wall.ms,
                              .expiry_ms = now.wall.ms + s->config->queue.bounce_lifetime_ms,
                              .check_ms = now.wall.ms + s->config->queue.bounce_lifetime_ms,
                              .class_ = original->class_,
                              .tenant = original->tenant,
                              .pool = original->pool,
                              .envelope = pr_arena_dup(&s->turn, pr_buf_slice(&envelope)),
                              .size_bytes = content.len,
                              .body = content,
                              .groups = cg,
                              .n_groups = 1};
    pr_buf_fini(&domain);
    pr_buf_fini(&envelope);
    pr_buf_fini(&group);
    return c;
}

const struct cmd_enqueue *shard_make_dsn(struct shard *s, const struct qread_msg *msg, const struct mail_rcpt *const *rcpts,
                                         size_t n, bool delay)
{
    struct mail_envelope *original = pr_arena_alloc(&s->turn, sizeof *original);
    char id[WIRE_QUEUE_ID_LEN + 1], message_id[2 * WIRE_QUEUE_ID_LEN];
    struct pr_now now = pr_clock_now();
    struct pr_buf out = {0};
    if (n == 0 || wire_envelope_decode(msg->envelope, &s->turn, original) != 0 || original->sender.len == 0)
        return NULL;
    struct pr_slice content = read_content(s, msg);
    wire_queue_id_format(s->o.id, msg->msg_id, id);
    (void)snprintf(message_id, sizeof message_id, "%s.%llx", id, (unsigned long long)pr_rng_below(&s->rng, 1ULL << 32));
    struct mail_dsn d = {
        .kind = delay ? MAIL_DSN_DELAY : MAIL_DSN_FAILURE,
        .reporting_mta = pr_slice_str(s->config->hostname),
        .queue_id = pr_slice_str(id),
        .message_id = pr_slice_str(message_id),
        .original = original,
        .rcpts = rcpts,
        .n_rcpts = n,
        .now = now.wall,
        .last_attempt = now.wall,
        .will_retry_until = {delay ? msg->expiry_ms : 0},
        .header = header_of(content),
        .content = content,
        .content_complete = msg->n_chunks <= 1 && content.len == msg->size_bytes,
    };
    mail_dsn_format(&d, &out);
    struct pr_slice text = pr_arena_dup(&s->turn, pr_buf_slice(&out));
    pr_buf_fini(&out);
    return dsn_command(s, original, text, mail_dsn_needs_utf8(&d));
}

/* What a report is about, gathered over the groups of a message. */
struct gather {
    struct shard *s;
    enum cmd_report_kind kind;
    struct cmd_report_item *items;
    const struct mail_rcpt **wanted;
    size_t n_items, n_wanted;
    bool leased;
};

static bool concerns(const struct gather *g, const struct mail_rcpt *r)
{
    bool failed = (r->status == MAIL_RCPT_FAILED || r->status == MAIL_RCPT_EXPIRED) && !r->reported;
    switch (g->kind) {
    case CMD_REPORT_FAILURE:
        return failed;
    case CMD_REPORT_DELAY:
        return r->status == MAIL_RCPT_PENDING;
    case CMD_REPORT_EXPIRE:
        return failed || r->status == MAIL_RCPT_PENDING;
    case CMD_REPORT_NONE:
    case CMD_REPORT_KIND_NR:
        break;
    }
    return false;
}

/* Words for one whose time has come. */
static void expire_words(struct gather *g, struct mail_rcpt *r)
{
    struct pr_buf text = {0};
    if (r->status != MAIL_RCPT_PENDING || g->kind != CMD_REPORT_EXPIRE)
        return;
    pr_buf_str(&text, r->diagnostic.len == 0 ? "delivery time expired, no attempt was possible"
                                             : "delivery time expired; last reply: ");
    pr_buf_add(&text, r->diagnostic);
    r->enhanced = PR_SLICE_LIT("4.4.7");
    r->diagnostic = pr_arena_dup(&g->s->turn, pr_buf_slice(&text));
    pr_buf_fini(&text);
}

static bool on_group(void *data, const struct qread_group *group)
{
    struct gather *g = data;
    struct mail_group m;
    if (qread_group_decode(group, &g->s->turn, &m) != 0)
        return true;
    g->leased = g->leased || group->leased;
    for (size_t i = 0; i < m.n_rcpts && g->n_items < REPORT_ITEMS_MAX; i++) {
        if (!concerns(g, &m.rcpts[i]))
            continue;
        g->items[g->n_items++] = (struct cmd_report_item){group->group, (uint32_t)i};
        if (!mail_dsn_wanted(&m.rcpts[i], g->kind == CMD_REPORT_DELAY ? MAIL_DSN_DELAY : MAIL_DSN_FAILURE))
            continue;
        struct mail_rcpt *copy = pr_arena_alloc(&g->s->turn, sizeof *copy);
        *copy = m.rcpts[i];
        copy->address = pr_arena_dup(&g->s->turn, copy->address);
        copy->orcpt = pr_arena_dup(&g->s->turn, copy->orcpt);
        copy->enhanced = pr_arena_dup(&g->s->turn, copy->enhanced);
        copy->diagnostic = pr_arena_dup(&g->s->turn, copy->diagnostic);
        copy->remote = pr_arena_dup(&g->s->turn, copy->remote);
        expire_words(g, copy);
        g->wanted[g->n_wanted++] = copy;
    }
    return true;
}

static void propose_report(struct shard *s, struct cmd_report *report, bool expired, bool counted)
{
    struct waiter w = {.kind = WAIT_CHECK,
                       .msg_id = report->msg_id,
                       .bounce = report->dsn != NULL,
                       .failed = report->kind == CMD_REPORT_FAILURE,
                       .expired = expired,
                       .counted = counted};
    struct cmd c = {.type = CMD_REPORT, .report = *report};
    if (shard_propose(s, &c, &w) != 0) {
        pr_error(s->o.log, "report_too_big", PR_U("shard", s->o.id), PR_U("items", report->n_items));
        return;
    }
    if (counted)
        s->checks_open++;
    if (report->dsn != NULL)
        pr_metric_inc1(s->o.metrics, SM_DSN, report->kind == CMD_REPORT_DELAY ? 1 : 0);
}

static void report(struct shard *s, const struct qread_msg *msg, enum cmd_report_kind kind, uint64_t next_check_ms,
                   bool counted)
{
    struct gather g = {.s = s, .kind = kind};
    g.items = pr_arena_alloc(&s->turn, REPORT_ITEMS_MAX * sizeof *g.items);
    g.wanted = pr_arena_alloc(&s->turn, REPORT_ITEMS_MAX * sizeof *g.wanted);
    if (qread_groups(s->stage, msg->msg_id, on_group, &g) != 0)
        shard_fatal(s, kv_error(s->kv));
    struct cmd_report r = {.msg_id = msg->msg_id, .kind = kind, .next_check_ms = next_check_ms};
    if (kind == CMD_REPORT_EXPIRE && g.leased) {
        /* An attempt is running: its result decides. Look again soon. */
        r.kind = CMD_REPORT_NONE;
        r.next_check_ms = pr_clock_now().wall.ms + CHECK_AGAIN_MS;
    } else if (kind != CMD_REPORT_NONE) {
        r.items = g.items;
        r.n_items = (uint32_t)g.n_items;
        r.dsn = shard_make_dsn(s, msg, g.wanted, g.n_wanted, kind == CMD_REPORT_DELAY);
        if (g.n_items == 0)
            r.kind = CMD_REPORT_NONE;
    }
    propose_report(s, &r, kind == CMD_REPORT_EXPIRE, counted);
}

void shard_needs_report(struct shard *s, uint64_t msg_id)
{
    struct qread_msg msg;
    if (qread_message(s->stage, msg_id, &s->turn, &msg) == 0)
        report(s, &msg, CMD_REPORT_FAILURE, 0, false);
}

static void report_unreported(struct shard *s, uint64_t msg_id)
{
    struct qread_msg msg;
    if (qread_message(s->stage, msg_id, &s->turn, &msg) == 0 && msg.groups_unreported > 0)
        report(s, &msg, CMD_REPORT_FAILURE, 0, false);
}

static void check_message(struct shard *s, uint64_t msg_id, bool counted)
{
    struct qread_msg msg;
    uint64_t now = pr_clock_now().wall.ms;
    if (qread_message(s->stage, msg_id, &s->turn, &msg) != 0)
        return;
    if (now >= msg.expiry_ms)
        report(s, &msg, CMD_REPORT_EXPIRE, 0, counted);
    else if (msg.groups_left == 0)
        report(s, &msg, CMD_REPORT_FAILURE, 0, counted);
    else if (!msg.delay_warned && s->config->queue.delay_warning_ms > 0)
        report(s, &msg, CMD_REPORT_DELAY, msg.expiry_ms, counted);
    else
        report(s, &msg, CMD_REPORT_NONE, msg.expiry_ms, counted);
    if (now < msg.expiry_ms && msg.groups_left > 0)
        report_unreported(s, msg_id); /* what a restart made us forget */
}

/* A deferral that finds the check time passed need not wait for the index, which goes by the minute. */
void shard_check_now(struct shard *s, uint64_t msg_id)
{
    check_message(s, msg_id, false);
}

void shard_report_later(struct shard *s, uint64_t msg_id)
{
    struct late_report *r = pr_new(struct late_report);
    r->msg_id = msg_id;
    r->due = pr_mono_add(pr_clock_now().mono, GATHER_MS);
    pr_list_push_back(&s->late, &r->link);
}

void shard_report_late(struct shard *s)
{
    pr_mono now = pr_clock_now().mono;
    for (struct pr_list *n; (n = pr_list_first(&s->late)) != NULL;) {
        struct late_report *r = pr_list_entry(n, struct late_report, link);
        if (r->due.ms > now.ms)
            return;
        pr_list_remove(n);
        report_unreported(s, r->msg_id);
        pr_free(r);
    }
}

void shard_forget_late(struct shard *s)
{
    for (struct pr_list *n; (n = pr_list_pop_front(&s->late)) != NULL;)
        pr_free(pr_list_entry(n, struct late_report, link));
}

static void reap_upload(struct shard *s, uint64_t body_id)
{
    struct waiter w = {.kind = WAIT_CHECK, .counted = true};
    struct cmd c = {.type = CMD_BODY_REAP, .body_id = body_id};
    if (shard_propose(s, &c, &w) == 0)
        s->checks_open++;
}

struct check_rows {
    struct key_expq rows[CHECK_ROWS];
    size_t n;
};

static bool on_expq(void *data, const struct key_expq *row)
{
    struct check_rows *out = data;
    out->rows[out->n++] = *row;
    return true;
}

void shard_run_checks(struct shard *s)
{
    struct check_rows *found = pr_arena_zalloc(&s->turn, sizeof *found);
    uint32_t next = 0;
    if (!s->check_wanted || s->checks_open > 0)
        return;
    s->check_wanted = false;
    /* Rows of the minute that is running may still lie ahead: only whole minutes that have passed. */
    uint32_t minute = key_minute(s->check_until.ms);
    if (qread_expq(s->stage, minute == 0 ? 0 : minute - 1, CHECK_ROWS, on_expq, found, &next) != 0)
        shard_fatal(s, kv_error(s->kv));
    s->checks_more = found->n == CHECK_ROWS;
    for (size_t i = 0; i < found->n; i++) {
        if (found->rows[i].kind == EXPQ_BODY)
            reap_upload(s, found->rows[i].id);
        else
            check_message(s, found->rows[i].id, true);
    }
    if (s->checks_open == 0)
        sched_checks_done(s->sched, pr_clock_now(), s->checks_more);
}

void shard_check_done(struct shard *s, const struct waiter *w, enum fsm_status status)
{
    if (status != FSM_OK && status != FSM_GONE)
        pr_debug(s->o.log, "report_refused", PR_U("shard", s->o.id), PR_S("status", fsm_status_names[status]));
    if (!w->counted || s->checks_open == 0)
        return;
    if (--s->checks_open == 0 && s->leading)
        sched_checks_done(s->sched, pr_clock_now(), s->checks_more);
}
