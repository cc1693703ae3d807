/* sm.h - explicit state machines: a const table of states and their legal successors. sm_move is the only writer. */
#ifndef PR_BASE_SM_H
#define PR_BASE_SM_H

#include <stdbool.h>
#include <stdint.h>

enum pr_sm_flags { PR_SM_INITIAL = 1, PR_SM_FINAL = 2, PR_SM_FAILED = 4 };

struct pr_sm_state {
    const char *name;
    uint64_t next; /* bit per state that may follow */
    unsigned flags;
};

#define PR_SM_TO(state) (1ULL << (state))

/* Receives each move as text-free facts; for traces and tests. */
typedef void (*pr_sm_trace_fn)(void *data, uint64_t object_id, const char *from, const char *to, const char *reason);

struct pr_sm {
    const struct pr_sm_state *states;
    unsigned n;
    unsigned state;
    uint64_t object_id;
    pr_sm_trace_fn trace; /* may be NULL */
    void *trace_data;
};

/* Starts in `initial`, which must carry PR_SM_INITIAL. */
void pr_sm_init(struct pr_sm *m, const struct pr_sm_state *states, unsigned n, unsigned initial, uint64_t object_id);
/* An illegal move is an assertion failure. `reason` is static text. */
void pr_sm_move(struct pr_sm *m, unsigned to, const char *reason);
static inline unsigned pr_sm_state(const struct pr_sm *m) { return m->state; }
const char *pr_sm_name(const struct pr_sm *m);
bool pr_sm_is_final(const struct pr_sm *m);

#endif
