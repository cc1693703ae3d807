/* Any order of events against the scheduler core, four bytes each: what lanes say may name any message, attempt or lane;
 * what the shell says keeps its contract. The invariants must hold after each. */
#include <stdlib.h>
#include <string.h>

#include "common/base/alloc.h"
#include "scheduler/core/sched.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MSGS = 24, FLOWS = 4, LANES = 3, PENDING = 64, EVENTS_MAX = 2000 };

struct fuzz {
    struct sched *sched;
    struct pr_now now;
    uint64_t term;
    struct sched_row rows[MSGS];
    bool there[MSGS];
    struct sched_ref leases[MSGS]; /* committed; attempt_id 0: none */
    struct sched_issue pending[PENDING]; /* asked for, not committed */
    size_t n_pending;
    bool proposed[MSGS];
    bool reserved[PENDING];
    uint32_t connection[LANES], next_connection;
    bool check;
};

static int by_key(const void *a, const void *b)
{
    const struct sched_row *x = a, *y = b;
    if (x->key.due_ms != y->key.due_ms)
        return x->key.due_ms < y->key.due_ms ? -1 : 1;
    return x->key.msg_id < y->key.msg_id ? -1 : x->key.msg_id > y->key.msg_id;
}

static void on_scan(void *data, const struct sched_scan *scan, struct sched_row *rows, struct sched_scan_end *ret)
{
    struct fuzz *f = data;
    struct sched_row all[MSGS];
    size_t n = 0;
    for (size_t i = 0; i < MSGS; i++) {
        const struct sched_key *k = &f->rows[i].key;
        bool before = k->due_ms < scan->from.due_ms ||
                      (k->due_ms == scan->from.due_ms &&
                       (k->msg_id < scan->from.msg_id || (k->msg_id == scan->from.msg_id && k->group < scan->from.group)));
        if (f->there[i] && f->rows[i].flow == scan->flow && !before)
            all[n++] = f->rows[i];
    }
    qsort(all, n, sizeof all[0], by_key);
    *ret = (struct sched_scan_end){0, UINT64_MAX};
    for (size_t i = 0; i < n; i++) {
        if (ret->n == scan->limit || all[i].key.due_ms > scan->until_due_ms) {
            ret->next_due_ms = all[i].key.due_ms;
            return;
        }
        rows[ret->n++] = all[i];
    }
}

static void on_issue(void *data, const struct sched_issue *issue)
{
    struct fuzz *f = data;
    if (f->n_pending == PENDING)
        abort(); /* see step */
    f->reserved[f->n_pending] = false;
    f->pending[f->n_pending++] = *issue;
}

static void on_send(void *data, const struct sched_issue *issue)
{
    const struct fuzz *f = data;
    if (f->leases[issue->ref.msg_id - 1].attempt_id != issue->ref.attempt_id)
        abort(); /* never without a committed lease */
}

static void on_cancel(void *data, uint32_t lane, const struct sched_ref *ref)
{
    (void)data;
    (void)lane;
    (void)ref;
}

static void on_free(void *data, const struct sched_ref *ref)
{
    struct fuzz *f = data;
    if (f->leases[ref->msg_id - 1].attempt_id == ref->attempt_id)
        f->leases[ref->msg_id - 1].attempt_id = 0;
}

static void on_demand(void *data, const struct sched_dest_ref *dest, uint32_t backlog, uint32_t weight)
{
    (void)data;
    (void)dest;
    (void)backlog;
    (void)weight;
}

static void on_check(void *data, pr_wall until)
{
    struct fuzz *f = data;
    (void)until;
    f->check = true;
}

static void on_quarantine(void *data, const struct sched_row *row, uint32_t losses)
{
    (void)data;
    (void)row;
    (void)losses;
}

static void lead(struct fuzz *f)
{
    static const char *const names[FLOWS] = {"a", "b", "a", "c"};
    sched_start(f->sched, f->now, ++f->term);
    for (uint32_t i = 1; i <= FLOWS; i++) {
        struct sched_flow_spec spec = {.flow = i, .tenant = PR_SLICE_LIT("t"), .class_ = (enum mail_class)(i % 3),
                                       .pool = PR_SLICE_LIT("p"), .destination = pr_slice_str(names[i - 1]),
                                       .cold = f->term > 1};
        sched_flow_added(f->sched, f->now, &spec);
    }
    for (size_t i = 0; i < MSGS; i++) {
        struct sched_lease l = {.row = f->rows[i], .attempt_id = f->leases[i].attempt_id, .holder = i % LANES + 1,
                                .boot_id = 1};
        if (f->there[i] && f->leases[i].attempt_id != 0)
            sched_lease_found(f->sched, f->now, &l);
    }
    sched_leases_done(f->sched, f->now);
}

static void depose(struct fuzz *f)
{
    sched_stop(f->sched);
    f->n_pending = 0;
    memset(f->proposed, 0, sizeof f->proposed);
    memset(f->connection, 0, sizeof f->connection);
    lead(f);
}

static struct sched_row new_row(struct fuzz *f, uint8_t msg, uint8_t b)
{
    uint64_t due = f->now.wall.ms + (b & 0x80 ? (b & 0x7fu) * 100u : 0);
    return (struct sched_row){.flow = b % FLOWS + 1u, .key = {due, msg + 1u, 0}, .attempt = b % 5u, .n_rcpts = 1,
                              .size_bytes = b * 3000u};
}

static void take_away(struct fuzz *f, uint8_t msg)
{
    if (!f->there[msg])
        return;
    f->there[msg] = false;
    f->leases[msg].attempt_id = 0;
    sched_row_gone(f->sched, f->now, f->rows[msg].flow, &f->rows[msg].key);
}

static void file(struct fuzz *f, uint8_t msg, uint8_t b)
{
    if (f->proposed[msg])
        return;
    take_away(f, msg);
    f->rows[msg] = new_row(f, msg, b);
    f->there[msg] = true;
    sched_row_filed(f->sched, f->now, &f->rows[msg]);
}

static void propose(struct fuzz *f, uint8_t msg, uint8_t b)
{
    struct sched_issue issue;
    struct sched_row row = new_row(f, msg, b);
    if (f->there[msg] || f->proposed[msg] || f->n_pending == PENDING ||
        sched_propose(f->sched, f->now, &row, b % 7 == 0 ? f->connection[b % LANES] : 0, &issue) != 0)
        return;
    f->proposed[msg] = true;
    f->reserved[f->n_pending] = true;
    f->pending[f->n_pending++] = issue;
}

/* The first of the log is committed, or not. */
static void commit(struct fuzz *f, bool ok)
{
    if (f->n_pending == 0)
        return;
    struct sched_issue i = f->pending[0];
    size_t m = i.ref.msg_id - 1;
    bool reserved = f->reserved[0];
    f->n_pending--;
    memmove(&f->pending[0], &f->pending[1], f->n_pending * sizeof f->pending[0]);
    memmove(&f->reserved[0], &f->reserved[1], f->n_pending * sizeof f->reserved[0]);
    if (reserved) {
        f->proposed[m] = false;
        if (!ok) {
            sched_propose_abort(f->sched, f->now, &i.ref);
            return;
        }
        f->rows[m] = i.row;
        f->there[m] = true;
        f->leases[m] = i.ref;
        sched_row_filed(f->sched, f->now, &i.row);
        sched_issue_done(f->sched, f->now, &i.ref, true);
        return;
    }
    ok = ok && f->there[m] && f->leases[m].attempt_id == 0 && by_key(&f->rows[m], &i.row) == 0;
    if (ok)
        f->leases[m] = i.ref;
    sched_issue_done(f->sched, f->now, &i.ref, ok);
}

static struct sched_ref some_ref(const struct fuzz *f, uint8_t msg, uint8_t b)
{
    struct sched_ref ref = {msg + 1u, 0, f->leases[msg].attempt_id};
    if (b % 8 == 0)
        ref.attempt_id = f->term << 40 | b / 8u;
    if (b % 16 == 1)
        ref.group = 3;
    return ref;
}

static void result(struct fuzz *f, uint8_t msg, uint8_t b, uint8_t c)
{
    struct sched_result r = {.ref = some_ref(f, msg, b), .lane = f->connection[c % LANES], .pending_left = c & 4,
                             .aborted = (c & 12) == 12, .site_failure = (c & 20) == 20, .expiry = {c & 32 ? 1 : 0}};
    struct sched_decision d;
    bool current = f->there[msg] && f->leases[msg].attempt_id == r.ref.attempt_id && r.ref.group == 0 &&
                   r.ref.attempt_id != 0;
    if (sched_result(f->sched, f->now, &r, &d) != 0)
        return;
    if (c & 64) {
        sched_result_done(f->sched, f->now, &r.ref, false);
        return;
    }
    if (current) {
        struct sched_row row = f->rows[msg];
        take_away(f, msg);
        if (r.pending_left && !d.expire) {
            row.key.due_ms = d.next_due_ms;
            row.attempt++;
            f->rows[msg] = row;
            f->there[msg] = true;
            sched_row_filed(f->sched, f->now, &row);
        }
    }
    sched_result_done(f->sched, f->now, &r.ref, true);
}

static void lane(struct fuzz *f, uint8_t a, uint8_t b)
{
    uint32_t *c = &f->connection[a % LANES];
    if (b & 1) {
        *c = ++f->next_connection;
        sched_lane_up(f->sched, f->now, *c, a % LANES + 1u, b & 2 ? 1 : b, 1u + (b >> 3));
    } else {
        sched_lane_down(f->sched, f->now, *c);
        *c = 0;
    }
}

static void pass(struct fuzz *f, uint64_t ms)
{
    f->now.mono.ms += ms;
    f->now.wall.ms += ms;
    for (int i = 0; i < 50 && sched_deadline(f->sched).ms <= f->now.mono.ms; i++)
        sched_tick(f->sched, f->now);
    if (f->check)
        sched_checks_done(f->sched, f->now, false);
    f->check = false;
}

static void step(struct fuzz *f, const uint8_t *e)
{
    static const char *const names[] = {"a", "b", "c", "nowhere", ""};
    uint8_t msg = e[1] % MSGS;
    struct sched_ref ref = some_ref(f, msg, e[2]);
    struct sched_inventory_item items[2] = {{ref, e[3] & 2}, {some_ref(f, e[2] % MSGS, e[1]), false}};
    struct pr_slice name = pr_slice_str(names[e[1] % 5]);
    while (f->n_pending > PENDING / 2) /* one event issues each message once at most */
        commit(f, true);
    switch (e[0] % 16) {
    case 0: case 1: file(f, msg, e[2]); break;
    case 2: if (!f->proposed[msg]) take_away(f, msg); break;
    case 3: propose(f, msg, (uint8_t)(e[2] & 0x7f)); break;
    case 4: case 5: commit(f, e[1] % 5 != 0); break;
    case 6: lane(f, e[1], e[2]); break;
    case 7: case 8: sched_credit(f->sched, f->now, f->connection[e[2] % LANES], name, PR_SLICE_LIT("p"), e[3]); break;
    case 9: sched_returned(f->sched, f->now, f->connection[e[3] % LANES], &ref, 1,
                           (enum sched_return)(e[3] / 4 % SCHED_RETURN_NR)); break;
    case 10: sched_inventory(f->sched, f->now, f->connection[e[3] % LANES], items, e[3] % 3, e[3] & 4); break;
    case 11: case 12: result(f, msg, e[2], e[3]); break;
    case 13: pass(f, (uint64_t)e[1] * e[2]); break;
    case 14: (void)sched_flush(f->sched, f->now, name); break;
    default:
        if (e[1] == 7)
            depose(f);
        else if (f->there[msg])
            sched_retry_row(f->sched, f->now, &f->rows[msg]);
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct sched_actions actions = {on_scan, on_issue, on_send, on_cancel, on_free, on_demand, on_check,
                                                 on_quarantine};
    struct fuzz *f = pr_new(struct fuzz);
    struct sched_config c;
    sched_config_default(&c);
    c.window_min = 2;
    c.window_max = 5;
    c.jobs_max = 12;
    c.inflight_max = 8;
    c.reserve_from = 3;
    c.hold_time_ms = 20000;
    f->now = (struct pr_now){{1000}, {1700000000000}};
    f->sched = sched_new(&c, &actions, f);
    lead(f);
    for (size_t i = 0; i + 4 <= size && i / 4 < EVENTS_MAX; i += 4) {
        step(f, data + i);
        sched_check_invariants(f->sched);
    }
    sched_free(f->sched);
    pr_free(f);
    return 0;
}
