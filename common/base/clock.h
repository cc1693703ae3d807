/* clock.h - the two kinds of time. They have different types and never mix. Nothing in common/base or a core reads a
 * clock: time arrives as a field of the event. (Reading them: common/net/clock.h.) */
#ifndef PR_BASE_CLOCK_H
#define PR_BASE_CLOCK_H

#include <stdint.h>

/* Milliseconds of a monotonic clock with an arbitrary start: deadlines, leases, rates. */
typedef struct {
    uint64_t ms;
} pr_mono;

/* Milliseconds since 1970-01-01T00:00:00Z: due times, expiry, dates that people see. */
typedef struct {
    uint64_t ms;
} pr_wall;

/* What every event of a core carries. */
struct pr_now {
    pr_mono mono;
    pr_wall wall;
};

#define PR_MONO_NEVER ((pr_mono){UINT64_MAX})

static inline pr_mono pr_mono_add(pr_mono t, uint64_t ms) { return (pr_mono){t.ms + ms}; }
static inline uint64_t pr_mono_since(pr_mono now, pr_mono then) { return now.ms > then.ms ? now.ms - then.ms : 0; }
static inline pr_wall pr_wall_add(pr_wall t, uint64_t ms) { return (pr_wall){t.ms + ms}; }

/* Civil time in UTC of a wall time; proleptic Gregorian, no library, no locale. */
struct pr_civil {
    int year, month /* 1-12 */, day, hour, minute, second, ms, weekday /* 0 = Sunday */;
};
struct pr_civil pr_civil_utc(pr_wall t);

#endif
