/* run_scheduler FILE.scn...: replays text files against the scheduler core and the gate core.
 *
 *   # comment
 *   > event key=value ...     feeds an event
 *   < action key=value ...    the next action must read exactly so
 *   ? question = answer       looks in
 *   T+30s  T+150ms  T+5m      time passes; the cores are ticked at their deadlines
 *
 * Actions that no line expects fail the run. Times in lines are milliseconds from the start of the file. The runner keeps
 * a little store of rows for scans: `put` only stores, `file` stores and tells the core, `gone` takes away and tells.
 * Attempts are named by their order: attempt=2 is the second that was issued in the file. */
#include "scheduler/script.h"

/* ---- actions of the cores ---- */

static int by_key(const void *a, const void *b)
{
    const struct sched_row *x = a, *y = b;
    if (x->flow != y->flow)
        return x->flow < y->flow ? -1 : 1;
    if (x->key.due_ms != y->key.due_ms)
        return x->key.due_ms < y->key.due_ms ? -1 : 1;
    if (x->key.msg_id != y->key.msg_id)
        return x->key.msg_id < y->key.msg_id ? -1 : 1;
    return x->key.group < y->key.group ? -1 : x->key.group > y->key.group;
}

static void on_scan(void *data, const struct sched_scan *scan, struct sched_row *rows, struct sched_scan_end *ret)
{
    struct run *r = data;
    struct sched_row from = {.flow = scan->flow, .key = scan->from};
    qsort(r->rows, r->n_rows, sizeof *r->rows, by_key);
    *ret = (struct sched_scan_end){0, UINT64_MAX};
    for (size_t i = 0; i < r->n_rows; i++) {
        if (r->rows[i].flow != scan->flow || by_key(&r->rows[i], &from) < 0)
            continue;
        if (ret->n == scan->limit || r->rows[i].key.due_ms > scan->until_due_ms) {
            ret->next_due_ms = r->rows[i].key.due_ms;
            break;
        }
        rows[ret->n++] = r->rows[i];
    }
    if (r->show_scans)
        say(r, "scan flow=%u from=%" PRIu64 " rows=%zu", scan->flow, since(scan->from.due_ms), ret->n);
}

static void remember(struct run *r, const struct sched_issue *i)
{
    if (r->n_attempts == ATTEMPTS_MAX)
        fail(r, "too many attempts", (struct pr_slice){NULL, 0});
    r->attempts[r->n_attempts++] = i->ref;
}

static void on_issue(void *data, const struct sched_issue *i)
{
    remember(data, i);
    say(data, "issue msg=%" PRIu64 " lane=%u", i->ref.msg_id, i->lane);
}

static void on_send(void *data, const struct sched_issue *i)
{
    say(data, "send msg=%" PRIu64 " lane=%u", i->ref.msg_id, i->lane);
}

static void on_cancel(void *data, uint32_t lane, const struct sched_ref *ref)
{
    say(data, "cancel lane=%u attempt=%lu", lane, number_of(data, ref));
}

static void on_free(void *data, const struct sched_ref *ref)
{
    say(data, "free attempt=%lu", number_of(data, ref));
}

static void on_demand(void *data, const struct sched_dest_ref *d, uint32_t backlog, uint32_t weight)
{
    say(data, "demand dest=%.*s backlog=%u weight=%u", PR_SLICE_ARG(d->destination), backlog, weight);
}

static void on_check(void *data, pr_wall until)
{
    struct run *r = data;
    (void)until;
    r->check_pending = true;
}

static void on_quarantine(void *data, const struct sched_row *row, uint32_t losses)
{
    say(data, "quarantine msg=%" PRIu64 " losses=%u", row->key.msg_id, losses);
}

static size_t seq_slot(uint64_t holder, struct pr_slice destination)
{
    return (size_t)(holder * 8 + (destination.len > 0 ? (unsigned char)destination.ptr[0] % 8 : 0)) % PATHS_MAX;
}

static void on_grant(void *data, uint64_t holder, uint64_t t_seq, const struct gate_slot *items, size_t n)
{
    struct run *r = data;
    (void)t_seq;
    if (n == 0)
        say(r, "grant holder=%" PRIu64, holder);
    for (size_t i = 0; i < n; i++) {
        struct pr_buf rate = {0};
        if (items[i].rate_count != 0)
            pr_buf_printf(&rate, " rate=%" PRIu64 "/%" PRIu64, items[i].rate_count, items[i].rate_per_ms);
        say(r, "grant holder=%" PRIu64 " dest=%.*s slots=%u%s", holder, PR_SLICE_ARG(items[i].destination), items[i].slots,
            pr_buf_cstr(&rate));
        pr_buf_fini(&rate);
        r->seqs[seq_slot(holder, items[i].destination)] = items[i].seq;
    }
}

static void on_moved(void *data, struct pr_slice destination, struct pr_slice pool, enum gate_state from,
                     enum gate_state to, const char *reason, uint64_t for_ms)
{
    (void)pool;
    (void)for_ms;
    say(data, "moved dest=%.*s from=%s to=%s # %s", PR_SLICE_ARG(destination), gate_state_names[from],
        gate_state_names[to], reason);
}

static void on_limit(void *data, struct pr_slice destination, struct pr_slice pool, struct gate_limit *ret)
{
    const struct run *r = data;
    (void)pool;
    *ret = (struct gate_limit){.connections = 20, .messages_per_connection = 100, .recipients_per_message = 100};
    for (size_t i = 0; i < r->n_limits; i++)
        if (pr_slice_eq_str(destination, r->limits[i].destination))
            *ret = r->limits[i].limit;
}

/* ---- events ---- */

static struct sched_row row_of(const struct run *r)
{
    return (struct sched_row){.flow = (uint32_t)num_or(r, "flow", 1),
                              .key = {at(num_or(r, "due", since(r->now.wall.ms))), num(r, "msg"),
                                      (uint32_t)num_or(r, "group", 0)},
                              .attempt = (uint32_t)num_or(r, "tries", 0),
                              .n_rcpts = 1,
                              .size_bytes = num_or(r, "size", 1000)};
}

static void store_row(struct run *r, const struct sched_row *row)
{
    if (r->n_rows == ROWS_MAX)
        fail(r, "too many rows", (struct pr_slice){NULL, 0});
    r->rows[r->n_rows++] = *row;
}

static struct sched_row *stored(struct run *r)
{
    for (size_t i = 0; i < r->n_rows; i++)
        if (r->rows[i].key.msg_id == num(r, "msg") && r->rows[i].key.group == num_or(r, "group", 0))
            return &r->rows[i];
    fail(r, "no such row", word(r, "msg"));
    return NULL;
}

static void ev_start(struct run *r)
{
    static const struct sched_actions actions = {.scan = on_scan, .issue = on_issue, .send_job = on_send,
                                                 .cancel = on_cancel, .free_lease = on_free, .demand = on_demand,
                                                 .check = on_check, .quarantine = on_quarantine};
    if (r->sched == NULL)
        r->sched = sched_new(&r->cfg, &actions, r);
    else
        sched_stop(r->sched);
    sched_start(r->sched, r->now, num(r, "term"));
}

static void ev_flow(struct run *r)
{
    struct sched_flow_spec spec = {.flow = (uint32_t)num_or(r, "id", 1),
                                   .tenant = text_or(r, "tenant", "default"),
                                   .class_ = MAIL_CLASS_NORMAL,
                                   .pool = PR_SLICE_LIT("default"),
                                   .destination = text_or(r, "dest", "a.example"),
                                   .cold = flag(r, "cold")};
    struct pr_slice class_ = text_or(r, "class", "normal");
    if (pr_slice_eq_str(class_, "transactional"))
        spec.class_ = MAIL_CLASS_TRANSACTIONAL;
    else if (pr_slice_eq_str(class_, "bulk"))
        spec.class_ = MAIL_CLASS_BULK;
    sched_flow_added(r->sched, r->now, &spec);
}

static void ev_leases_done(struct run *r) { sched_leases_done(r->sched, r->now); }
static void ev_stop(struct run *r) { sched_stop(r->sched); }

static void ev_put(struct run *r)
{
    struct sched_row row = row_of(r);
    for (uint64_t i = 0; i < num_or(r, "count", 1); i++, row.key.msg_id++)
        store_row(r, &row);
}

static void ev_file(struct run *r)
{
    struct sched_row row = row_of(r);
    for (uint64_t i = 0; i < num_or(r, "count", 1); i++, row.key.msg_id++) {
        store_row(r, &row);
        sched_row_filed(r->sched, r->now, &row);
    }
}

static void ev_gone(struct run *r)
{
    struct sched_row *row = stored(r), copy = *row;
    *row = r->rows[--r->n_rows];
    sched_row_gone(r->sched, r->now, copy.flow, &copy.key);
}

static void ev_retry(struct run *r) { sched_retry_row(r->sched, r->now, stored(r)); }

static void ev_propose(struct run *r)
{
    struct sched_row row = row_of(r);
    struct sched_issue issue;
    if (sched_propose(r->sched, r->now, &row, (uint32_t)num_or(r, "lane", 0), &issue) != 0) {
        say(r, "no");
        return;
    }
    remember(r, &issue);
    say(r, "proposed msg=%" PRIu64 " lane=%u", issue.ref.msg_id, issue.lane);
}

static void ev_abort(struct run *r)
{
    struct sched_ref ref = attempt(r);
    sched_propose_abort(r->sched, r->now, &ref);
}

static void ev_issued(struct run *r)
{
    struct sched_ref ref = attempt(r);
    sched_issue_done(r->sched, r->now, &ref, !flag(r, "refused"));
}

static void ev_lane(struct run *r)
{
    sched_lane_up(r->sched, r->now, (uint32_t)num(r, "lane"), num_or(r, "holder", num(r, "lane")), num_or(r, "boot", 1),
                  (uint32_t)num_or(r, "max", 1000));
}

static void ev_lane_down(struct run *r) { sched_lane_down(r->sched, r->now, (uint32_t)num(r, "lane")); }

static void ev_credit(struct run *r)
{
    sched_credit(r->sched, r->now, (uint32_t)num_or(r, "lane", 1), text_or(r, "dest", "a.example"), PR_SLICE_LIT("default"),
                 num(r, "jobs"));
}

static void ev_returned(struct run *r)
{
    struct sched_ref ref = attempt(r);
    sched_returned(r->sched, r->now, (uint32_t)num_or(r, "lane", 1), &ref, 1,
                   flag(r, "draining") ? SCHED_RETURN_DRAINING : SCHED_RETURN_NO_SLOT);
}

static void ev_lease(struct run *r)
{
    struct sched_lease lease = {.row = *stored(r), .attempt_id = num(r, "attempt"), .holder = num(r, "holder"),
                                .boot_id = num_or(r, "boot", 1)};
    if (r->n_attempts == ATTEMPTS_MAX)
        fail(r, "too many attempts", (struct pr_slice){NULL, 0});
    r->attempts[r->n_attempts++] = (struct sched_ref){lease.row.key.msg_id, lease.row.key.group, lease.attempt_id};
    sched_lease_found(r->sched, r->now, &lease);
}

static void ev_inventory(struct run *r)
{
    struct sched_inventory_item item = {.done = flag(r, "done")};
    size_t n = word(r, "attempt").ptr != NULL;
    if (n > 0)
        item.ref = attempt(r);
    sched_inventory(r->sched, r->now, (uint32_t)num_or(r, "lane", 1), &item, n, flag(r, "last"));
}

static void ev_result(struct run *r)
{
    struct sched_result result = {.ref = attempt(r), .lane = (uint32_t)num_or(r, "lane", 1),
                                  .pending_left = flag(r, "pending"), .aborted = flag(r, "aborted"),
                                  .site_failure = flag(r, "site"),
                                  .expiry = {word(r, "expiry").ptr == NULL ? 0 : at(num(r, "expiry"))}};
    struct sched_decision d;
    int rc = sched_result(r->sched, r->now, &result, &d);
    if (rc != 0)
        say(r, rc == PR_EEXIST ? "drop" : "acknowledge");
    else if (!result.pending_left)
        say(r, "commit current=%d", d.current);
    else if (d.expire)
        say(r, "commit current=%d expire", d.current);
    else
        say(r, "commit current=%d due=%" PRIu64, d.current, since(d.next_due_ms));
}

static void ev_result_done(struct run *r)
{
    struct sched_ref ref = attempt(r);
    sched_result_done(r->sched, r->now, &ref, !flag(r, "failed"));
}

static void ev_flush(struct run *r)
{
    say(r, "flushed flows=%zu", sched_flush(r->sched, r->now, text_or(r, "dest", "")));
}

static void ev_move(struct run *r)
{
    sched_flow_moved(r->sched, r->now, (uint32_t)num_or(r, "flow", 1), PR_SLICE_LIT("default"), text_or(r, "dest", ""));
}

static void ev_flow_gone(struct run *r) { sched_flow_gone(r->sched, r->now, (uint32_t)num_or(r, "flow", 1)); }
static void ev_show_scans(struct run *r) { r->show_scans = true; }

static void ev_set(struct run *r)
{
    r->cfg.jobs_max = num_or(r, "jobs_max", r->cfg.jobs_max);
    r->cfg.inflight_max = num_or(r, "inflight_max", r->cfg.inflight_max);
    r->cfg.window_min = (unsigned)num_or(r, "window_min", r->cfg.window_min);
    r->cfg.retry_jitter_percent = (unsigned)num_or(r, "jitter", r->cfg.retry_jitter_percent);
    r->gate_cfg.holder_slots = (unsigned)num_or(r, "holder_slots", r->gate_cfg.holder_slots);
    if (r->sched != NULL)
        sched_configure(r->sched, &r->cfg);
}

static void ev_gate(struct run *r)
{
    static const struct gate_actions actions = {.limit = on_limit, .grant = on_grant, .moved = on_moved};
    uint64_t members[2] = {num_or(r, "member", 0), num_or(r, "member2", 0)};
    gate_free(r->gate);
    r->gate = gate_new(&r->gate_cfg, &actions, r, r->now, (uint32_t)num(r, "epoch"), members,
                       (size_t)(members[0] != 0) + (members[1] != 0), !flag(r, "unknown"));
}

static void ev_limit(struct run *r)
{
    struct pr_slice d = word(r, "dest");
    size_t i = 0;
    while (i < r->n_limits && !pr_slice_eq_str(d, r->limits[i].destination))
        i++;
    if (i == PATHS_MAX || d.len >= sizeof r->limits[i].destination)
        fail(r, "too many limits", d);
    r->n_limits = i == r->n_limits ? i + 1 : r->n_limits;
    memcpy(r->limits[i].destination, d.ptr, d.len);
    r->limits[i].destination[d.len] = '\0';
    r->limits[i].limit = (struct gate_limit){(uint32_t)num(r, "connections"), 100, 100, num_or(r, "rate", 0), 1000};
    if (r->gate != NULL)
        gate_limits_changed(r->gate, r->now);
}

static void ev_gate_up(struct run *r) { gate_lane_up(r->gate, r->now, num(r, "holder"), num_or(r, "boot", 1)); }

static void ev_want(struct run *r)
{
    uint64_t holder = num(r, "holder");
    struct pr_slice dest = text_or(r, "dest", "a.example");
    struct gate_want w = {.destination = dest, .pool = PR_SLICE_LIT("default"), .open = (uint32_t)num_or(r, "open", 0),
                          .wants = (uint32_t)num_or(r, "wants", 0),
                          .acked_seq = flag(r, "ack") ? r->seqs[seq_slot(holder, dest)] : flag(r, "old"),
                          .ok = (uint32_t)num_or(r, "ok", 0), .site_failures = (uint32_t)num_or(r, "failures", 0)};
    gate_request(r->gate, r->now, holder, num_or(r, "boot", 1), (uint32_t)num_or(r, "epoch", gate_epoch(r->gate)),
                 ++r->t_seq, flag(r, "full"), &w, flag(r, "nothing") ? 0 : 1);
}

static void ev_gate_flush(struct run *r)
{
    say(r, "flushed paths=%zu", gate_flush(r->gate, r->now, text_or(r, "dest", "")));
}

static void ev_suspend(struct run *r)
{
    gate_suspend(r->gate, r->now, text_or(r, "dest", "a.example"), PR_SLICE_LIT("default"), num_or(r, "for", 0));
}

static const struct {
    const char *name;
    void (*run)(struct run *r);
} events[] = {
    {"start", ev_start}, {"flow", ev_flow}, {"leases-done", ev_leases_done}, {"put", ev_put}, {"file", ev_file},
    {"gone", ev_gone}, {"retry", ev_retry}, {"propose", ev_propose}, {"abort", ev_abort}, {"issued", ev_issued},
    {"lane", ev_lane}, {"lane-down", ev_lane_down}, {"credit", ev_credit}, {"returned", ev_returned},
    {"lease", ev_lease}, {"inventory", ev_inventory}, {"result", ev_result}, {"result-done", ev_result_done},
    {"flush", ev_flush}, {"move", ev_move}, {"flow-gone", ev_flow_gone}, {"show-scans", ev_show_scans}, {"set", ev_set},
    {"stop", ev_stop}, {"gate", ev_gate}, {"limit", ev_limit}, {"gate-up", ev_gate_up}, {"want", ev_want},
    {"gate-flush", ev_gate_flush}, {"suspend", ev_suspend},
};

static void settle(struct run *r)
{
    while (r->check_pending) {
        r->check_pending = false;
        sched_checks_done(r->sched, r->now, false);
    }
    if (r->sched != NULL)
        sched_check_invariants(r->sched);
    if (r->gate != NULL)
        gate_check_invariants(r->gate);
}

static void event(struct run *r)
{
    for (size_t i = 0; i < PR_ARRAY_LEN(events); i++) {
        if (pr_slice_eq_str(r->words[0], events[i].name)) {
            events[i].run(r);
            settle(r);
            return;
        }
    }
    fail(r, "no such event", r->words[0]);
}

static uint64_t next_deadline(const struct run *r)
{
    uint64_t t = UINT64_MAX;
    if (r->sched != NULL)
        t = sched_deadline(r->sched).ms;
    if (r->gate != NULL && gate_deadline(r->gate).ms < t)
        t = gate_deadline(r->gate).ms;
    return t;
}

static void pass(struct run *r, uint64_t ms)
{
    uint64_t end = r->now.mono.ms + ms, t;
    while ((t = next_deadline(r)) <= end) {
        uint64_t step = t > r->now.mono.ms ? t - r->now.mono.ms : 0;
        r->now.mono.ms += step;
        r->now.wall.ms += step;
        if (r->sched != NULL && sched_deadline(r->sched).ms <= r->now.mono.ms)
            sched_tick(r->sched, r->now);
        if (r->gate != NULL && gate_deadline(r->gate).ms <= r->now.mono.ms)
            gate_tick(r->gate, r->now);
        settle(r);
    }
    r->now.wall.ms += end - r->now.mono.ms;
    r->now.mono.ms = end;
}

static void answer(struct run *r, struct pr_buf *out)
{
    struct sched_dest_info d;
    struct gate_path_info p;
    struct sched_stats s;
    if (pr_slice_eq_str(r->words[0], "where")) {
        pr_buf_str(out, sched_where_names[sched_where(r->sched, num(r, "msg"), (uint32_t)num_or(r, "group", 0))]);
    } else if (pr_slice_eq_str(r->words[0], "stats")) {
        sched_stats(r->sched, &s);
        pr_buf_printf(out, "rows=%" PRIu64 " ready=%zu held=%zu cold=%zu evicted=%" PRIu64, s.rows, s.ready, s.held, s.cold,
                      s.evicted);
    } else if (pr_slice_eq_str(r->words[0], "dest")) {
        if (sched_dest_get(r->sched, text_or(r, "dest", "a.example"), PR_SLICE_LIT("default"), &d) != 0)
            pr_buf_str(out, "unknown");
        else
            pr_buf_printf(out, "rows=%" PRIu64 " backlog=%" PRIu64 " inflight=%zu held=%zu%s", d.rows, d.backlog, d.inflight,
                          d.held, d.braked ? " braked" : "");
    } else if (pr_slice_eq_str(r->words[0], "path")) {
        if (gate_path_get(r->gate, r->now, text_or(r, "dest", "a.example"), PR_SLICE_LIT("default"), &p) != 0)
            pr_buf_str(out, "unknown");
        else
            pr_buf_printf(out, "%s window=%u granted=%u", gate_state_names[p.state], p.window, p.granted);
    } else if (pr_slice_eq_str(r->words[0], "learning")) {
        pr_buf_str(out, gate_learning(r->gate) ? "yes" : "no");
    } else {
        fail(r, "no such question", r->words[0]);
    }
}

static void question(struct run *r, struct pr_slice line)
{
    struct pr_buf got = {0};
    struct pr_slice want, ask = line;
    size_t eq = pr_slice_find_slice(line, PR_SLICE_LIT(" = "));
    if (eq == SIZE_MAX)
        fail(r, "no answer", line);
    ask = pr_slice_head(line, eq);
    want = pr_slice_trim(pr_slice_from(line, eq + 3));
    split(r, ask);
    answer(r, &got);
    if (!pr_slice_eq(pr_buf_slice(&got), want))
        fail(r, "answer is", pr_buf_slice(&got));
    pr_buf_fini(&got);
}

static void run_line(struct run *r, struct pr_slice line)
{
    struct pr_slice rest;
    line = pr_slice_trim(pr_slice_cut(line, '#', &rest));
    if (line.len == 0)
        return;
    char kind = line.ptr[0];
    if (kind == '<') {
        expect(r, pr_slice_trim(pr_slice_from(line, 1)));
        return;
    }
    no_leftovers(r);
    if (kind == '>') {
        split(r, pr_slice_from(line, 1));
        event(r);
    } else if (kind == '?') {
        question(r, pr_slice_from(line, 1));
    } else if (pr_slice_starts(line, PR_SLICE_LIT("T+"))) {
        pass(r, span_of(r, pr_slice_from(line, 2)));
    } else {
        fail(r, "no such line", line);
    }
}

static void run_file(const char *path)
{
    struct run *r = pr_new(struct run);
    char *text = NULL;
    size_t cap = 0;
    ssize_t n;
    FILE *f = fopen(path, "r");
    r->file = path;
    if (f == NULL)
        fail(r, "cannot be read", pr_slice_str(path));
    r->now = (struct pr_now){{1000000}, {EPOCH_MS}};
    sched_config_default(&r->cfg);
    r->cfg.retry_jitter_percent = 0;
    gate_config_default(&r->gate_cfg);
    while ((n = getline(&text, &cap, f)) >= 0) {
        r->line++;
        run_line(r, pr_slice_trim(pr_slice(text, (size_t)n - (n > 0 && text[n - 1] == '\n'))));
    }
    no_leftovers(r);
    free(text);
    fclose(f);
    sched_free(r->sched);
    gate_free(r->gate);
    pr_free(r);
}

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        run_file(argv[i]);
    return argc > 1 ? 0 : 2;
}
