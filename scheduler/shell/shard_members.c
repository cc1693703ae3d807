/* The deliverers' lanes that may hold connection slots, by holder id: a record of shard 0, so that a gate that has lost its
 * memory knows whom to wait for. A lane is told to the gate only once its record is committed; one that was recorded but
 * has not come back by the time its slots must have run out is left out at the next change. */
#include "common/base/alloc.h"
#include "scheduler/core/gate.h"
#include "scheduler/shell/shard_internal.h"

enum { MEMBERS_MAX = 4096 };
static const char members_key[] = "members";

size_t shard_members_read(struct stage *stage, uint64_t *out, size_t max)
{
    struct pr_buf value = {0};
    size_t n = 0;
    if (qread_gate(stage, PR_SLICE_LIT("members"), &value) == 0) {
        struct pr_slice rest = pr_buf_slice(&value);
        while (n < max && pr_get_le64(&rest, &out[n]) == 0)
            n++;
    }
    pr_buf_fini(&value);
    return n;
}

static void tell_bus(struct shard *s, uint32_t lane_id)
{
    struct bus_post *p = bus_post_new(BUS_POST_MEMBER);
    p->lane_id = lane_id;
    s->o.to_bus(s->o.data, p);
}

static bool is_connected(struct shard *s, uint64_t holder)
{
    size_t it = 0;
    for (struct lane_facts *l; (l = pr_map_next(&s->lanes, &it, NULL)) != NULL;)
        if (l->role == WIRE_ROLE_DELIVERER && shard_holder(pr_slice(l->node, l->node_len), l->lane) == holder)
            return true;
    return false;
}

/* Those that were recorded and still count, then the new one. */
static void next_members(struct shard *s, const uint64_t *known, size_t n, uint64_t holder, struct pr_buf *out)
{
    struct gate_config c;
    gate_config_default(&c);
    bool all_spoke = pr_mono_since(pr_clock_now().mono, s->started) > c.lease_ms + c.hold_ms + 1000;
    for (size_t i = 0; i < n; i++)
        if (!all_spoke || is_connected(s, known[i]))
            pr_buf_le64(out, known[i]);
    pr_buf_le64(out, holder);
}

void shard_member_up(struct shard *s, const struct lane_facts *lane)
{
    uint64_t *known = pr_calloc(MEMBERS_MAX, sizeof *known);
    uint64_t holder = shard_holder(pr_slice(lane->node, lane->node_len), lane->lane);
    size_t n = shard_members_read(s->stage, known, MEMBERS_MAX - 1);
    struct pr_buf value = {0};
    bool found = false;
    for (size_t i = 0; i < n; i++)
        found = found || known[i] == holder;
    if (found) {
        tell_bus(s, lane->lane_id);
    } else {
        struct waiter w = {.kind = WAIT_MEMBER, .lane_id = lane->lane_id};
        next_members(s, known, n, holder, &value);
        struct cmd c = {.type = CMD_GATE_PUT, .gate = {pr_slice_str(members_key), pr_buf_slice(&value)}};
        if (shard_propose(s, &c, &w) != 0)
            pr_error(s->o.log, "member_not_recorded", PR_SL("node", pr_slice(lane->node, lane->node_len)));
    }
    pr_buf_fini(&value);
    pr_free(known);
}

void shard_member_done(struct shard *s, const struct waiter *w, bool committed)
{
    const struct lane_facts *lane = pr_map_get(&s->lanes, w->lane_id);
    if (committed)
        tell_bus(s, w->lane_id);
    else if (lane != NULL && s->leading)
        shard_member_up(s, lane);
}
