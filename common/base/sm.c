#include "common/base/sm.h"

#include <stddef.h>

#include "common/base/assert.h"

void pr_sm_init(struct pr_sm *m, const struct pr_sm_state *states, unsigned n, unsigned initial, uint64_t object_id)
{
    pr_assert(n <= 64 && initial < n && (states[initial].flags & PR_SM_INITIAL) != 0);
    *m = (struct pr_sm){.states = states, .n = n, .state = initial, .object_id = object_id};
}

void pr_sm_move(struct pr_sm *m, unsigned to, const char *reason)
{
    pr_assert(to < m->n);
    pr_assert((m->states[m->state].next & PR_SM_TO(to)) != 0);
    if (m->trace != NULL)
        m->trace(m->trace_data, m->object_id, m->states[m->state].name, m->states[to].name, reason);
    m->state = to;
}

const char *pr_sm_name(const struct pr_sm *m)
{
    return m->states[m->state].name;
}

bool pr_sm_is_final(const struct pr_sm *m)
{
    return (m->states[m->state].flags & PR_SM_FINAL) != 0;
}
