/* Fluid sharing of one bandwidth: flows, each with a cap of its own, under one total.
 *
 * A flow asks for `bytes` that take `alone_ns` when nothing slows it: its cap is bytes / alone_ns.
 * Rates are weighted max-min fair (Bertsekas and Gallager, Data Networks, 6.5.2):
 *
 *     rate_i = min(cap_i, level * weight_i),  sum of rates <= total,
 *
 * with the highest level that keeps the sum; the level is unbounded when all caps fit. They change
 * only when a flow starts or finishes, and depend only on the set of flows.
 *
 * The module keeps no clock: the time is an argument, never earlier than that of the call before,
 * and never later than fluid_next_ns, or a finish would be missed. Queries do not alter what
 * follows, however often they are made. Driving it:
 *
 *     t = clock_min(evq_next_ns(&timers), clock_min(fluid_next_ns(&bus), deadline));
 *     vclock_advance(&clock, t);
 *     while (fluid_pop(&bus, t, &job)) ...
 *
 * Exactness. A flow that is never slowed finishes alone_ns after its start, exactly. One that is
 * slowed finishes on the first whole nanosecond that is not before the ideal time, within 2^-10 ns
 * or what 2^-20 bytes times its weight take at its rate (on a bus of 1 GB/s or more and weights
 * below 10: less than 10^-4 ns). Since bandwidth passes on only at whole nanoseconds, each flow
 * that finishes beside it can delay it by less than 1 ns more. Doubles carry rates, and what is
 * left when a flow reaches or leaves its cap: relative errors of 2^-50. The sum of rates exceeds
 * the total by no more than that. Bytes are counted exactly: asked = moved + left.
 *
 * Cost: time linear in the number of flows, once more for each that reaches its cap; memory taken
 * once, at init. */
#ifndef TANDEM_CORE_FLUID_H
#define TANDEM_CORE_FLUID_H

#include "sim/base/arena.h"

#include <stdbool.h>
#include <stdint.h>

#define FLUID_MAX_BYTES  ((int64_t)1 << 40)
#define FLUID_MAX_WEIGHT 4096

struct flow {
    double cap;      /* bytes/s */
    double ratio;    /* cap / weight: the level at which the flow reaches its cap */
    double weight;   /* an integer */
    int64_t end;     /* at its cap: when it finishes; slowed: at which value of served_level */
    double early_ns; /* at its cap: the ideal finish is this much before `end` */
    int64_t units;   /* bytes * 2^20 / weight, which served_level counts */
    int64_t bytes;
    int64_t alone_ns;
    uint64_t id;
    uint64_t tag;
};

struct fluid {
    double total; /* bytes/s */
    double level; /* bytes/s per weight; of slowed flows, 0 when there are none */
    double weights;
    /* `count` flows. The first `at_cap` are at their cap and lie by (ratio, id); the others are
     * slowed, come after these by (ratio, id) and lie anyhow. */
    struct flow *flow;
    uint32_t count, capacity, at_cap;
    bool stale;           /* the set has changed since the rates were found */
    int64_t served_level; /* units that each slowed flow was given up to since_ns */
    int64_t since_ns;     /* of the last change */
    uint32_t next;        /* the place of the first to finish, */
    int64_t next_ns;      /* when it does, */
    int64_t next_level;   /* and served_level then */
    int64_t other_ns;     /* the first end of the others that are at their cap, */
    int64_t other_level;  /* and of the others that are slowed */
    uint64_t last_id;
    int64_t asked_bytes, served_bytes; /* in all; by ended flows */
};

/* Room for `capacity` flows (at least 1), owned by the arena; total_bytes_per_s > 0. ERR_OK or
 * ERR_NOMEM. */
int fluid_init(struct fluid *f, struct arena *a, uint32_t capacity, int64_t total_bytes_per_s);

/* bytes in [1, FLUID_MAX_BYTES], alone_ns in [1, CLOCK_MAX_NS], weight in [1, FLUID_MAX_WEIGHT]; a
 * job without bytes is a timer, not a flow. The flow's id, increasing and never 0; 0 when the
 * capacity is used up. fluid_pop gives the tag back. */
uint64_t fluid_start(struct fluid *f, int64_t now_ns, int64_t bytes, int64_t alone_ns,
                     uint32_t weight, uint64_t tag);

/* Private: finds the rates and the first to finish. */
void fluid_refresh(struct fluid *f);

/* When the first flow finishes, if no other starts; CLOCK_NEVER when there is none or when that
 * lies beyond a run. */
static inline int64_t fluid_next_ns(struct fluid *f)
{
    if (f->stale)
        fluid_refresh(f);
    return f->next_ns;
}

/* Removes a flow that has finished by now_ns and gives its tag; false when there is none. Flows
 * that finish in the same nanosecond leave in the order of their ids. */
bool fluid_pop(struct fluid *f, int64_t now_ns, uint64_t *tag);

/* Bytes/s; 0 when no such flow is running. */
double fluid_rate(struct fluid *f, uint64_t id);

/* Bytes still to move, rounded up; 0 when no such flow is running. */
int64_t fluid_left_bytes(struct fluid *f, int64_t now_ns, uint64_t id);

/* Bytes moved since init, by all flows, those that are running included. */
int64_t fluid_moved_bytes(struct fluid *f, int64_t now_ns);

#endif
