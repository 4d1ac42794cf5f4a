#include "sim/core/fluid.h"

#include "sim/base/err.h"
#include "sim/core/clock.h"

#include <assert.h>

/* Slowed flows share one counter, served_level: bytes given per unit of weight since the start, in
 * steps of 2^-20 bytes. A flow's end is a fixed value of it, whatever the level does meanwhile, so
 * that a change of rates costs work only for flows that reach or leave their cap. The counter
 * wraps; FLUID_MAX_BYTES keeps all differences below 2^60. */
enum { UNITS_PER_BYTE = 1 << 20 };
static const double UNITS_PER_NS = 1048576.0 / 1e9; /* at a level of 1 byte/s */

/* What counts as a whole nanosecond: rounding in 1 / 3 must not cost a nanosecond. */
static const double SLACK_NS = 1.0 / 1024;

static int64_t ceil_ns(double x)
{
    int64_t whole = (int64_t)x;
    return whole + (x - (double)whole > SLACK_NS);
}

int fluid_init(struct fluid *f, struct arena *a, uint32_t capacity, int64_t total_bytes_per_s)
{
    assert(capacity > 0 && total_bytes_per_s > 0);
    *f = (struct fluid){
        .total = (double)total_bytes_per_s, .capacity = capacity, .next_ns = CLOCK_NEVER};
    struct flow *flows = arena_alloc(a, capacity, sizeof *flows);
    f->order = arena_alloc(a, capacity, sizeof *f->order);
    if (!flows || !f->order)
        return ERR_NOMEM;
    for (uint32_t i = 0; i < capacity; i++)
        f->order[i] = &flows[i];
    return ERR_OK;
}

static int64_t units_left(const struct flow *w, uint64_t served_level)
{
    return (int64_t)(w->end_level - served_level);
}

static double left_alone_ns(const struct flow *w, int64_t now_ns)
{
    double left_ns = (double)(w->end_ns - now_ns) - w->early_ns;
    return left_ns > 0 ? left_ns : 0;
}

/* The flow reaches its cap: from here its end is a time. */
static void speed_up(const struct fluid *f, struct flow *w)
{
    int64_t units = units_left(w, f->served_level);
    if (units == w->units) { /* it was slowed for no time at all */
        w->end_ns = f->since_ns + w->alone_ns;
        w->early_ns = 0;
        return;
    }
    double left_ns = units > 0 ? (double)units / (w->ratio * UNITS_PER_NS) : 0;
    int64_t whole = ceil_ns(left_ns);
    w->end_ns = f->since_ns + whole;
    w->early_ns = (double)whole - left_ns;
}

/* The flow falls below its cap: from here its end is a level. */
static void slow_down(const struct fluid *f, struct flow *w)
{
    int64_t units = w->units;
    if (w->end_ns - f->since_ns < w->alone_ns || w->early_ns != 0)
        units = (int64_t)(left_alone_ns(w, f->since_ns) * (w->ratio * UNITS_PER_NS) + 0.5);
    w->end_level = f->served_level + (uint64_t)units;
}

/* Finds the level, and with it who is at its cap: a flow is when its ratio is not above the level
 * that the flows from it on would share. So what is left for the others is at least the last such
 * ratio times their weights: far from 0, whatever the rounding. */
static void fill(struct fluid *f)
{
    double left = f->total, weights = f->weights;
    uint32_t n = 0;
    for (; n < f->count; n++) {
        const struct flow *w = f->order[n];
        if (w->ratio * weights > left)
            break;
        left -= w->cap;
        weights -= w->weight;
    }
    f->level = n < f->count ? left / weights : 0;
    for (uint32_t i = f->at_cap; i < n; i++)
        speed_up(f, f->order[i]);
    for (uint32_t i = n; i < f->at_cap; i++)
        slow_down(f, f->order[i]);
    f->at_cap = n;
}

static void refresh(struct fluid *f)
{
    fill(f);
    f->stale = false;
    f->next_slowed = false;
    f->next_ns = CLOCK_NEVER;
    for (uint32_t i = 0; i < f->at_cap; i++)
        f->next_ns = clock_min(f->next_ns, f->order[i]->end_ns);
    if (f->at_cap == f->count)
        return;
    int64_t least = INT64_MAX;
    for (uint32_t i = f->at_cap; i < f->count; i++)
        least = clock_min(least, units_left(f->order[i], f->served_level));
    double wait_ns = least > 0 ? (double)least / (f->level * UNITS_PER_NS) : 0;
    int64_t end_ns = CLOCK_NEVER;
    if (wait_ns < (double)CLOCK_MAX_NS)
        end_ns = clock_after(f->since_ns, ceil_ns(wait_ns));
    if (end_ns <= f->next_ns) {
        f->next_ns = end_ns;
        f->next_slowed = true;
        f->next_level = f->served_level + (uint64_t)least;
    }
}

int64_t fluid_next_ns(struct fluid *f)
{
    if (f->stale)
        refresh(f);
    return f->next_ns;
}

/* served_level at now. */
static uint64_t level_at(struct fluid *f, int64_t now_ns)
{
    assert(now_ns >= f->since_ns && now_ns <= CLOCK_MAX_NS && "time goes forward, within a run");
    if (now_ns == f->since_ns)
        return f->served_level;
    int64_t next_ns = fluid_next_ns(f);
    assert(now_ns <= next_ns && "a finish was missed");
    double given = f->level * UNITS_PER_NS * (double)(now_ns - f->since_ns);
    uint64_t level = f->served_level + (uint64_t)(int64_t)given;
    if (now_ns == next_ns && f->next_slowed && (int64_t)(f->next_level - level) > 0)
        level = f->next_level;
    return level;
}

static void settle(struct fluid *f, int64_t now_ns)
{
    f->served_level = level_at(f, now_ns);
    f->since_ns = now_ns;
}

/* Its place in the order; count when there is none. */
static uint32_t find(const struct fluid *f, uint64_t id)
{
    uint32_t i = 0;
    while (i < f->count && f->order[i]->id != id)
        i++;
    return i;
}

static void remove_at(struct fluid *f, uint32_t i)
{
    struct flow *w = f->order[i];
    f->weights -= w->weight;
    f->at_cap -= i < f->at_cap;
    f->count--;
    for (; i < f->count; i++)
        f->order[i] = f->order[i + 1];
    f->order[i] = w;
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
    uint32_t i = f->count;
    struct flow *w = f->order[i];
    double cap = (double)bytes * 1e9 / (double)alone_ns, ratio = cap / weight;
    for (; i > 0 && f->order[i - 1]->ratio > ratio; i--)
        f->order[i] = f->order[i - 1];
    f->order[i] = w;
    /* Field by field: to clear it whole first would be a quarter of the time of this function. */
    w->cap = cap;
    w->ratio = ratio;
    w->weight = weight;
    w->end_ns = now_ns + alone_ns;
    w->early_ns = 0;
    w->units = bytes * UNITS_PER_BYTE / weight;
    w->bytes = bytes;
    w->alone_ns = alone_ns;
    w->id = ++f->last_id;
    w->tag = tag;
    w->end_level = f->served_level + (uint64_t)w->units;
    f->at_cap += i < f->at_cap;
    f->count++;
    f->weights += weight;
    f->asked_bytes += bytes;
    f->stale = true;
    return w->id;
}

bool fluid_pop(struct fluid *f, int64_t now_ns, uint64_t *tag)
{
    if (fluid_next_ns(f) > now_ns)
        return false;
    settle(f, now_ns);
    uint32_t first = f->count;
    uint64_t id = UINT64_MAX;
    for (uint32_t i = 0; i < f->at_cap; i++) {
        const struct flow *w = f->order[i];
        if (w->end_ns <= now_ns && w->id < id) {
            first = i;
            id = w->id;
        }
    }
    int64_t slack = (int64_t)(f->level * UNITS_PER_NS * SLACK_NS);
    for (uint32_t i = f->at_cap; i < f->count; i++) {
        const struct flow *w = f->order[i];
        if (units_left(w, f->served_level) <= slack && w->id < id) {
            first = i;
            id = w->id;
        }
    }
    assert(first < f->count);
    *tag = f->order[first]->tag;
    f->served_bytes += f->order[first]->bytes;
    remove_at(f, first);
    return true;
}

/* Rounded up. */
static int64_t left_bytes(const struct fluid *f, uint32_t i, int64_t now_ns, uint64_t served_level)
{
    const struct flow *w = f->order[i];
    double left = i < f->at_cap
                      ? (double)w->bytes * (left_alone_ns(w, now_ns) / (double)w->alone_ns)
                      : (double)units_left(w, served_level) * w->weight / UNITS_PER_BYTE;
    if (left <= 0)
        return 0;
    if (left >= (double)w->bytes)
        return w->bytes;
    int64_t whole = (int64_t)left;
    return whole + ((double)whole < left);
}

bool fluid_cancel(struct fluid *f, int64_t now_ns, uint64_t id)
{
    uint32_t i = find(f, id);
    if (i == f->count)
        return false;
    settle(f, now_ns);
    int64_t left = left_bytes(f, i, now_ns, f->served_level);
    f->dropped_bytes += left;
    f->served_bytes += f->order[i]->bytes - left;
    remove_at(f, i);
    return true;
}

double fluid_rate(struct fluid *f, uint64_t id)
{
    if (f->stale)
        refresh(f);
    uint32_t i = find(f, id);
    if (i == f->count)
        return 0;
    return i < f->at_cap ? f->order[i]->cap : f->level * f->order[i]->weight;
}

int64_t fluid_left_bytes(struct fluid *f, int64_t now_ns, uint64_t id)
{
    uint64_t level = level_at(f, now_ns);
    uint32_t i = find(f, id);
    return i == f->count ? 0 : left_bytes(f, i, now_ns, level);
}

int64_t fluid_moved_bytes(struct fluid *f, int64_t now_ns)
{
    uint64_t level = level_at(f, now_ns);
    int64_t left = 0;
    for (uint32_t i = 0; i < f->count; i++)
        left += left_bytes(f, i, now_ns, level);
    return f->asked_bytes - f->dropped_bytes - left;
}
