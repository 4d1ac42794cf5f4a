#include "sim/core/fluid.h"

#include "sim/base/err.h"
#include "sim/core/clock.h"

#include <assert.h>
#include <math.h>

/* Slowed flows share one counter, served_level: bytes given per unit of weight, in steps of 2^-20
 * bytes. A flow's end is a fixed value of it, whatever the level does meanwhile, so that a change
 * of rates costs work only for flows that reach or leave their cap. What is left of a flow is at
 * most 2^60; past 2^61 the counter starts again from 0. */
enum { UNITS_PER_BYTE = 1 << 20 };
static const int64_t MOST_SERVED = (int64_t)1 << 61;
static const double UNITS_PER_NS = 1048576.0 / 1e9; /* at a level of 1 byte/s */

/* What counts as a whole nanosecond: rounding in 1 / 3 must not cost a nanosecond. */
static const double SLACK_NS = 1.0 / 1024;

static int64_t ceil_ns(double x)
{
    if (x < 1e9) /* the same, and known sooner */
        return (int64_t)(x + (1 - SLACK_NS));
    int64_t whole = (int64_t)x;
    return whole + (x - (double)whole > SLACK_NS);
}

int fluid_init(struct fluid *f, struct arena *a, uint32_t capacity, int64_t total_bytes_per_s)
{
    assert(capacity > 0 && total_bytes_per_s > 0);
    *f = (struct fluid){
        .total = (double)total_bytes_per_s, .capacity = capacity, .next_ns = CLOCK_NEVER};
    f->flow = arena_alloc(a, capacity, sizeof *f->flow);
    return f->flow ? ERR_OK : ERR_NOMEM;
}

static double left_alone_ns(const struct flow *w, int64_t now_ns)
{
    double left_ns = (double)(w->end - now_ns) - w->early_ns;
    return left_ns > 0 ? left_ns : 0;
}

/* The flow reaches its cap: from here its end is a time. */
static void speed_up(const struct fluid *f, struct flow *w)
{
    int64_t units = w->end - f->served_level;
    if (units == w->units) { /* it was slowed for no time at all */
        w->end = f->since_ns + w->alone_ns;
        w->early_ns = 0;
        return;
    }
    double left_ns = units > 0 ? (double)units / (w->ratio * UNITS_PER_NS) : 0;
    int64_t whole = ceil_ns(left_ns);
    w->end = f->since_ns + whole;
    w->early_ns = (double)whole - left_ns;
}

/* The flow falls below its cap: from here its end is a level. */
static void slow_down(const struct fluid *f, struct flow *w)
{
    int64_t units = w->units;
    if (w->end - f->since_ns < w->alone_ns || w->early_ns != 0)
        units = (int64_t)(left_alone_ns(w, f->since_ns) * (w->ratio * UNITS_PER_NS) + 0.5);
    w->end = f->served_level + units;
}

/* Of the flows of one kind: the first end, its place, and the end after it. Which flow is first is
 * as good as random, so that a jump on it would be foretold wrongly: all that is chosen here is
 * values. */
struct ends {
    int64_t first, second;
    size_t place;
};

static inline void look_at(struct ends *e, int64_t end, size_t place)
{
    bool sooner = end < e->first;
    int64_t later = sooner ? e->first : end;
    e->place = sooner ? place : e->place;
    e->first = sooner ? end : e->first;
    e->second = later < e->second ? later : e->second;
}

/* Moves the slowed flow with the least ratio, which is given, to the end of those at their cap. */
static const struct flow *raise_one(struct fluid *f, double ratio)
{
    uint32_t place = f->count;
    for (uint32_t i = f->at_cap; i < f->count; i++) {
        const struct flow *w = &f->flow[i];
        if (w->ratio <= ratio && (place == f->count || w->id < f->flow[place].id))
            place = i;
    }
    struct flow *w = &f->flow[f->at_cap++], other = *w;
    *w = f->flow[place];
    f->flow[place] = other;
    speed_up(f, w);
    return w;
}

/* Finds the level, and with it who is at its cap: a flow is when its ratio is not above the level
 * that the flows from it on, by (ratio, id), would share. So what is left for the others is at
 * least the last such ratio times their weights: far from 0, whatever the rounding. */
static inline void fill(struct fluid *f, struct ends *timed, struct ends *slowed)
{
    double left = f->total, weights = f->weights;
    uint32_t n = 0;
    for (; n < f->at_cap; n++) {
        const struct flow *w = &f->flow[n];
        if (w->ratio * weights > left)
            break;
        left -= w->cap;
        weights -= w->weight;
        look_at(timed, w->end, n);
    }
    for (uint32_t i = n; i < f->at_cap; i++)
        slow_down(f, &f->flow[i]);
    f->at_cap = n;
    for (;;) {
        *slowed = (struct ends){INT64_MAX, INT64_MAX, 0};
        double ratio = HUGE_VAL;
        for (size_t i = f->at_cap; i < f->count; i++) {
            const struct flow *w = &f->flow[i];
            ratio = ratio < w->ratio ? ratio : w->ratio;
            look_at(slowed, w->end, i);
        }
        if (f->at_cap == f->count || ratio * weights > left)
            break;
        const struct flow *w = raise_one(f, ratio);
        left -= w->cap;
        weights -= w->weight;
        look_at(timed, w->end, f->at_cap - 1);
    }
    f->level = f->at_cap < f->count ? left / weights : 0;
}

/* What slowed flows are given in that time. */
static int64_t given(const struct fluid *f, int64_t ns)
{
    return (int64_t)(f->level * UNITS_PER_NS * (double)ns);
}

void fluid_refresh(struct fluid *f)
{
    struct ends timed = {CLOCK_NEVER, CLOCK_NEVER, 0}, slowed;
    if (f->served_level > MOST_SERVED) {
        for (uint32_t i = f->at_cap; i < f->count; i++)
            f->flow[i].end -= f->served_level;
        f->served_level = 0;
    }
    fill(f, &timed, &slowed);
    int64_t end_ns = CLOCK_NEVER, units = slowed.first - f->served_level;
    if (f->at_cap < f->count) {
        double wait_ns = units > 0 ? (double)units / (f->level * UNITS_PER_NS) : 0;
        if (wait_ns < (double)CLOCK_MAX_NS)
            end_ns = f->since_ns + ceil_ns(wait_ns);
        if (end_ns > CLOCK_MAX_NS)
            end_ns = CLOCK_NEVER;
    }
    bool by_level = end_ns <= timed.first;
    f->next = (uint32_t)(by_level ? slowed.place : timed.place);
    f->next_ns = by_level ? end_ns : timed.first;
    f->other_ns = by_level ? timed.first : timed.second;
    f->other_level = by_level ? slowed.second : slowed.first;
    f->stale = false;
    if (f->next_ns == CLOCK_NEVER)
        return;
    int64_t level = f->served_level + given(f, f->next_ns - f->since_ns);
    f->next_level = by_level && slowed.first > level ? slowed.first : level;
}

/* served_level at now. */
static inline int64_t level_at(struct fluid *f, int64_t now_ns)
{
    assert(now_ns >= f->since_ns && now_ns <= CLOCK_MAX_NS && "time goes forward, within a run");
    if (now_ns == f->since_ns)
        return f->served_level;
    int64_t next_ns = fluid_next_ns(f);
    assert(now_ns <= next_ns && "a finish was missed");
    if (now_ns == next_ns)
        return f->next_level;
    return f->served_level + given(f, now_ns - f->since_ns);
}

static inline void settle(struct fluid *f, int64_t now_ns)
{
    if (now_ns == f->since_ns)
        return;
    f->served_level = level_at(f, now_ns);
    f->since_ns = now_ns;
}

/* Its place; count when there is none. */
static uint32_t find(const struct fluid *f, uint64_t id)
{
    uint32_t i = 0;
    while (i < f->count && f->flow[i].id != id)
        i++;
    return i;
}

static inline void remove_at(struct fluid *f, uint32_t i)
{
    f->weights -= f->flow[i].weight;
    f->at_cap -= i < f->at_cap;
    for (; i < f->at_cap; i++)
        f->flow[i] = f->flow[i + 1];
    f->flow[i] = f->flow[--f->count];
    f->stale = true;
}

uint64_t fluid_start(struct fluid *f, int64_t now_ns, int64_t bytes, int64_t alone_ns,
                     uint32_t weight, uint64_t tag)
{
    assert(bytes > 0 && bytes <= FLUID_MAX_BYTES && alone_ns > 0 && alone_ns <= CLOCK_MAX_NS);
    assert(weight > 0 && weight <= FLUID_MAX_WEIGHT && now_ns >= 0);
    if (f->count == f->capacity)
        return 0;
    settle(f, now_ns);
    int64_t units = bytes * UNITS_PER_BYTE / weight;
    double cap = (double)bytes * 1e9 / (double)alone_ns, ratio = cap / weight;
    struct flow *w = &f->flow[f->count++];
    int64_t end = f->served_level + units;
    if (f->at_cap && f->flow[f->at_cap - 1].ratio > ratio) {
        uint32_t i = f->at_cap++;
        *w = f->flow[i];
        for (; i > 0 && f->flow[i - 1].ratio > ratio; i--)
            f->flow[i] = f->flow[i - 1];
        w = &f->flow[i];
        end = now_ns + alone_ns;
    }
    /* Field by field: to clear it whole first would be a quarter of the time of this function. */
    w->cap = cap;
    w->ratio = ratio;
    w->weight = weight;
    w->end = end;
    w->early_ns = 0;
    w->units = units;
    w->bytes = bytes;
    w->alone_ns = alone_ns;
    w->id = ++f->last_id;
    w->tag = tag;
    f->weights += weight;
    f->asked_bytes += bytes;
    f->stale = true;
    return w->id;
}

/* The place of the flow with the least id of those that have finished by now. */
static uint32_t least_id(const struct fluid *f, int64_t now_ns, int64_t slack)
{
    uint32_t first = f->next;
    for (uint32_t i = 0; i < f->count; i++) {
        const struct flow *w = &f->flow[i];
        int64_t latest = i < f->at_cap ? now_ns : f->served_level + slack;
        if (w->end <= latest && w->id < f->flow[first].id)
            first = i;
    }
    return first;
}

bool fluid_pop(struct fluid *f, int64_t now_ns, uint64_t *tag)
{
    if (fluid_next_ns(f) > now_ns)
        return false;
    settle(f, now_ns);
    uint32_t i = f->next;
    int64_t slack = (int64_t)(f->level * UNITS_PER_NS * SLACK_NS);
    if (f->other_ns <= now_ns || f->other_level - f->served_level <= slack)
        i = least_id(f, now_ns, slack);
    *tag = f->flow[i].tag;
    f->served_bytes += f->flow[i].bytes;
    remove_at(f, i);
    return true;
}

/* Rounded up. */
static int64_t left_bytes(const struct fluid *f, uint32_t i, int64_t now_ns, int64_t served_level)
{
    const struct flow *w = &f->flow[i];
    double left = i < f->at_cap
                      ? (double)w->bytes * (left_alone_ns(w, now_ns) / (double)w->alone_ns)
                      : (double)(w->end - served_level) * w->weight / UNITS_PER_BYTE;
    if (left <= 0)
        return 0;
    if (left >= (double)w->bytes)
        return w->bytes;
    int64_t whole = (int64_t)left;
    return whole + ((double)whole < left);
}

double fluid_rate(struct fluid *f, uint64_t id)
{
    if (f->stale)
        fluid_refresh(f);
    uint32_t i = find(f, id);
    if (i == f->count)
        return 0;
    return i < f->at_cap ? f->flow[i].cap : f->level * f->flow[i].weight;
}

int64_t fluid_left_bytes(struct fluid *f, int64_t now_ns, uint64_t id)
{
    int64_t level = level_at(f, now_ns);
    uint32_t i = find(f, id);
    return i == f->count ? 0 : left_bytes(f, i, now_ns, level);
}

int64_t fluid_moved_bytes(struct fluid *f, int64_t now_ns)
{
    int64_t level = level_at(f, now_ns);
    int64_t left = 0;
    for (uint32_t i = 0; i < f->count; i++)
        left += left_bytes(f, i, now_ns, level);
    return f->asked_bytes - left;
}
