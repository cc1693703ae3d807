/* Any order of requests against the gate core, four bytes each; lanes may state anything. What is counted as held never
 * grows above the limit, and nothing that is granted and acknowledged exceeds it. */
#include <stdlib.h>

#include "common/base/alloc.h"
#include "scheduler/core/gate.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { HOLDERS = 4, PATHS = 3, EVENTS_MAX = 2000 };

struct fuzz {
    struct gate *gate;
    struct pr_now now;
    uint32_t limits[PATHS];
    uint64_t rate, t_seq;
    uint64_t seqs[HOLDERS][PATHS];
};

static void on_limit(void *data, struct pr_slice destination, struct pr_slice pool, struct gate_limit *ret)
{
    const struct fuzz *f = data;
    (void)pool;
    *ret = (struct gate_limit){f->limits[(unsigned)(destination.ptr[0] - 'a') % PATHS], 10, 10, f->rate, 1000};
}

static void on_grant(void *data, uint64_t holder, uint64_t t_seq, const struct gate_slot *items, size_t n)
{
    struct fuzz *f = data;
    if (t_seq > f->t_seq || holder == 0 || holder > HOLDERS)
        abort();
    for (size_t i = 0; i < n; i++) {
        unsigned p = (unsigned)(items[i].destination.ptr[0] - 'a');
        if (items[i].slots > f->limits[p] || items[i].seq < f->seqs[holder - 1][p])
            abort();
        f->seqs[holder - 1][p] = items[i].seq;
    }
}

static void request(struct fuzz *f, const uint8_t *e)
{
    static const char names[PATHS][2] = {"a", "b", "c"};
    uint64_t holder = e[1] % HOLDERS + 1u;
    unsigned p = e[1] / 4 % PATHS;
    struct gate_want w = {.destination = pr_slice(names[p], 1), .pool = PR_SLICE_LIT("p"), .open = e[2] % 16,
                          .wants = e[2] == 255 ? UINT32_MAX : e[2], .acked_seq = e[3] & 1 ? f->seqs[holder - 1][p] : e[3],
                          .ok = e[3] & 2 ? e[2] : 0, .site_failures = e[3] & 4 ? e[2] : 0,
                          .last_error = PR_SLICE_LIT("refused")};
    if (e[3] == 254)
        w.ok = w.site_failures = UINT32_MAX;
    gate_request(f->gate, f->now, holder, e[3] & 8 ? 2 : 1, e[3] & 16 ? 4 : gate_epoch(f->gate), ++f->t_seq, e[3] & 32, &w,
                 e[3] & 64 ? 0 : 1);
}

static void step(struct fuzz *f, const uint8_t *e)
{
    static const char names[PATHS + 1][2] = {"a", "b", "c", ""};
    struct pr_slice name = pr_slice_str(names[e[1] % (PATHS + 1)]);
    switch (e[0] % 8) {
    case 0: gate_lane_up(f->gate, f->now, e[1] % HOLDERS + 1u, e[2] % 2 + 1u); break;
    case 1:
        f->now.mono.ms += (uint64_t)e[1] * e[2] * (e[3] % 16);
        for (int i = 0; i < 20 && gate_deadline(f->gate).ms <= f->now.mono.ms; i++)
            gate_tick(f->gate, f->now);
        break;
    case 2:
        /* Grants already made may be higher: only raised here, so that on_grant can tell. */
        f->limits[e[1] % PATHS] += e[2] % 3;
        gate_limits_changed(f->gate, f->now);
        break;
    case 3: (void)gate_flush(f->gate, f->now, name); break;
    case 4:
        if (name.len > 0 && e[2] % 4 == 0)
            gate_suspend(f->gate, f->now, name, PR_SLICE_LIT("p"), e[3] * 1000u);
        else
            gate_lane_gone(f->gate, f->now, e[2] % HOLDERS + 1u);
        break;
    default: request(f, e); break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct gate_actions actions = {on_limit, on_grant, NULL};
    static const uint64_t members[] = {1, 2};
    struct fuzz *f = pr_new(struct fuzz);
    struct gate_config c;
    gate_config_default(&c);
    f->now = (struct pr_now){{1000}, {1700000000000}};
    for (unsigned i = 0; i < PATHS; i++)
        f->limits[i] = 1 + (size > 0 ? (data[0] >> (2 * i)) % 4u : 0) * 3;
    f->rate = size > 1 && data[1] & 1 ? 5 : 0;
    c.holder_slots = 1 + (size > 2 ? data[2] % 4u : 0);
    f->gate = gate_new(&c, &actions, f, f->now, 5, members, size > 3 ? data[3] % 3u : 0, size > 3 && data[3] & 128);
    for (size_t i = 4; i + 4 <= size && i / 4 < EVENTS_MAX; i += 4) {
        step(f, data + i);
        gate_check_invariants(f->gate);
    }
    gate_free(f->gate);
    pr_free(f);
    return 0;
}
