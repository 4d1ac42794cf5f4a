/* The virtual clock: int64_t nanoseconds since the start of a run.
 *
 * A run lies in [0, CLOCK_MAX_NS], 146 years, so that the sum of two times of a run never
 * overflows. CLOCK_NEVER is later than every time of a run. */
#ifndef TANDEM_CORE_CLOCK_H
#define TANDEM_CORE_CLOCK_H

#include <assert.h>
#include <stdint.h>

#define CLOCK_NEVER  INT64_MAX
#define CLOCK_MAX_NS ((int64_t)1 << 62)

struct vclock {
    int64_t now_ns;
};

/* Time only goes forward; standing still is allowed, CLOCK_NEVER is not a time to go to. */
static inline void vclock_advance(struct vclock *c, int64_t to_ns)
{
    assert(to_ns >= c->now_ns && to_ns <= CLOCK_MAX_NS && "time goes forward, within a run");
    c->now_ns = to_ns;
}

/* now + delay; CLOCK_NEVER when that lies beyond a run. Neither may be negative. */
static inline int64_t clock_after(int64_t now_ns, int64_t delay_ns)
{
    assert(now_ns >= 0 && delay_ns >= 0);
    return now_ns > CLOCK_MAX_NS || delay_ns > CLOCK_MAX_NS - now_ns ? CLOCK_NEVER
                                                                     : now_ns + delay_ns;
}

static inline int64_t clock_min(int64_t a_ns, int64_t b_ns)
{
    return a_ns < b_ns ? a_ns : b_ns;
}

#endif
