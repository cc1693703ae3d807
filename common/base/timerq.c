/* Level l has 64 slots of 64^l ms. A timer sits at the level of the highest 6-bit group in which its due time differs
 * from now; when time enters its slot it is moved down ("cascaded") until it reaches level 0 or is due. Eight levels
 * reach 2^48 ms; later times are clamped and come round again. */
#include "common/base/timerq.h"

#include "common/base/assert.h"

enum { BITS = 6, MASK = PR_TIMERQ_SLOTS - 1 };
static const uint64_t MAX_SPAN = (1ULL << (BITS * PR_TIMERQ_LEVELS)) - 1;

void pr_timerq_init(struct pr_timerq *q, uint64_t now_ms)
{
    q->now_ms = now_ms;
    q->count = 0;
    pr_list_init(&q->expired);
    for (int l = 0; l < PR_TIMERQ_LEVELS; l++) {
        q->occupied[l] = 0;
        for (int s = 0; s < PR_TIMERQ_SLOTS; s++)
            pr_list_init(&q->slots[l][s]);
    }
}

void pr_timer_init(struct pr_timer *t)
{
    pr_list_init(&t->link);
    t->due_ms = 0;
}

bool pr_timer_armed(const struct pr_timer *t)
{
    return pr_list_linked(&t->link);
}

static void place(struct pr_timerq *q, struct pr_timer *t)
{
    if (t->due_ms <= q->now_ms) {
        pr_list_push_back(&q->expired, &t->link);
        return;
    }
    uint64_t due = t->due_ms - q->now_ms > MAX_SPAN ? q->now_ms + MAX_SPAN : t->due_ms;
    uint64_t diff = due ^ q->now_ms;
    int level = (63 - __builtin_clzll(diff)) / BITS;
    if (level >= PR_TIMERQ_LEVELS)
        level = PR_TIMERQ_LEVELS - 1;
    unsigned slot = (unsigned)(due >> (BITS * level)) & MASK;
    pr_list_push_back(&q->slots[level][slot], &t->link);
    q->occupied[level] |= 1ULL << slot;
}

void pr_timerq_set(struct pr_timerq *q, struct pr_timer *t, uint64_t due_ms)
{
    pr_timerq_cancel(q, t);
    t->due_ms = due_ms;
    q->count++;
    place(q, t);
}

void pr_timerq_cancel(struct pr_timerq *q, struct pr_timer *t)
{
    if (!pr_timer_armed(t))
        return;
    pr_list_remove(&t->link);
    q->count--;
}

/* Start time of the first occupied slot after now, and which one it is. */
static uint64_t first_slot(const struct pr_timerq *q, int *ret_level, unsigned *ret_slot)
{
    uint64_t best = UINT64_MAX;
    for (int l = 0; l < PR_TIMERQ_LEVELS; l++) {
        if (q->occupied[l] == 0)
            continue;
        unsigned cur = (unsigned)(q->now_ms >> (BITS * l)) & MASK;
        uint64_t rotated = cur == 0 ? q->occupied[l] : q->occupied[l] >> cur | q->occupied[l] << (64 - cur);
        /* Bit 0 is the current slot: above level 0 it can only mean one full turn ahead. */
        uint64_t ahead = rotated & ~1ULL;
        unsigned dist = ahead != 0 ? (unsigned)__builtin_ctzll(ahead) : PR_TIMERQ_SLOTS;
        uint64_t start = ((q->now_ms >> (BITS * l)) + dist) << (BITS * l);
        if (start < best) {
            best = start;
            *ret_level = l;
            *ret_slot = (cur + dist) & MASK;
        }
    }
    return best;
}

static void cascade(struct pr_timerq *q, int level, unsigned slot)
{
    struct pr_list moved, *n;
    q->occupied[level] &= ~(1ULL << slot);
    pr_list_init(&moved);
    while ((n = pr_list_pop_front(&q->slots[level][slot])) != NULL)
        pr_list_push_back(&moved, n);
    while ((n = pr_list_pop_front(&moved)) != NULL)
        place(q, pr_list_entry(n, struct pr_timer, link));
}

struct pr_timer *pr_timerq_pop(struct pr_timerq *q, uint64_t now_ms)
{
    for (;;) {
        struct pr_list *n = pr_list_pop_front(&q->expired);
        if (n != NULL) {
            q->count--;
            return pr_list_entry(n, struct pr_timer, link);
        }
        int level = 0;
        unsigned slot = 0;
        uint64_t start = first_slot(q, &level, &slot);
        if (start > now_ms) {
            /* Only empty slots lie between: nothing is skipped by moving on. */
            if (now_ms > q->now_ms)
                q->now_ms = now_ms;
            return NULL;
        }
        q->now_ms = start;
        cascade(q, level, slot);
    }
}

uint64_t pr_timerq_next(const struct pr_timerq *q)
{
    int level = 0;
    unsigned slot = 0;
    if (q->count == 0)
        return UINT64_MAX;
    return pr_list_empty(&q->expired) ? first_slot(q, &level, &slot) : q->now_ms;
}
