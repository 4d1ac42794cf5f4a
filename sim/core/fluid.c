#include "sim/core/fluid.h"

#include "sim/base/err.h"
#include "sim/core/clock.h"

#include <assert.h>

/* Slowed flows share one counter, served_level: bytes given per unit of weight since the start, in
 * steps of 2^-20 bytes. A flow's end is a fixed value of it, whatever the level does meanwhile, so
 * that a change of rates costs work only for flows that reach or leave their cap. The counter wraps;
 * FLUID_MAX_BYTES keeps all differences below 2^60. */
static const double UNITS = 1048576.0;
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
    f->flows = arena_alloc(a, capacity, sizeof *f->flows);
    f->order = arena_alloc(a, capacity, sizeof *f->order);
    if (!f->flows || !f->order)
        return ERR_NOMEM;
    for (uint32_t i = 0; i < capacity; i++)
        f->order[i] = i;
    return ERR_OK;
}

static int64_t level_left(const struct fluid *f, const struct flow *w, uint64_t served_level)
{
    (void)f;
    return (int64_t)(w->end_level - served_level);
}

/* The flow reaches its cap: from here its end is a time. */
static void speed_up(const struct fluid *f, struct flow *w)
{
    double left = (double)level_left(f, w, f->served_level) * (double)w->weight / UNITS;
    double left_ns = left > 0 ? left / (double)w->bytes * (double)w->alone_ns : 0;
    int64_t whole = ceil_ns(left_ns);
    w->end_ns = f->since_ns + whole;
    w->early_ns = (double)whole - left_ns;
    w->slowed = false;
}

static double left_alone_ns(const struct flow *w, int64_t now_ns)
{
    double left_ns = (double)(w->end_ns - now_ns) - w->early_ns;
    return left_ns > 0 ? left_ns : 0;
}

/* The flow falls below its cap: from here its end is a level. */
static void slow_down(const struct fluid *f, struct flow *w)
{
    double left = (double)w->bytes * (left_alone_ns(w, f->since_ns) / (double)w->alone_ns);
    w->end_level = f->served_level + (uint64_t)(left * UNITS / (double)w->weight + 0.5);
    w->slowed = true;
}

/* Flows at their cap are the first `n` by ratio; returns n and sets the level of the others. */
static uint32_t fill(struct fluid *f)
{
    double left = f->total, reached = 0;
    uint64_t weights = f->weights;
    uint32_t n = 0;
    for (; n < f->count; n++) {
        const struct flow *w = &f->flows[f->order[n]];
        if (w->ratio * (double)weights > left)
            break;
        left -= w->cap;
        weights -= w->weight;
        reached = w->ratio;
    }
    if (n < f->count) {
        double level = left / (double)weights;
        f->level = level > reached ? level : reached; /* rounding in `left` must not stop them */
    }
    return n;
}

static void refresh(struct fluid *f)
{
    uint32_t n = fill(f);
    int64_t end_ns = CLOCK_NEVER;
    for (uint32_t i = 0; i < n; i++) {
        struct flow *w = &f->flows[f->order[i]];
        if (w->slowed)
            speed_up(f, w);
        end_ns = clock_min(end_ns, w->end_ns);
    }
    f->next_slowed = false;
    if (n < f->count) {
        int64_t least = INT64_MAX;
        for (uint32_t i = n; i < f->count; i++) {
            struct flow *w = &f->flows[f->order[i]];
            if (!w->slowed)
                slow_down(f, w);
            least = clock_min(least, level_left(f, w, f->served_level));
        }
        double wait_ns = least > 0 ? (double)least / (f->level * UNITS_PER_NS) : 0;
        int64_t slowed_ns = wait_ns < (double)CLOCK_MAX_NS
                                ? clock_after(f->since_ns, ceil_ns(wait_ns))
                                : CLOCK_NEVER;
        if (slowed_ns <= end_ns) {
            end_ns = slowed_ns;
            f->next_slowed = true;
            f->next_level = f->served_level + (uint64_t)least;
        }
    }
    f->next_ns = end_ns;
    f->stale = false;
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
    if (!f->count)
        return f->served_level;
    double given = f->level * UNITS_PER_NS * (double)(now_ns - f->since_ns);
    uint64_t level = f->served_level + (uint64_t)given;
    if (now_ns == next_ns && f->next_slowed && (int64_t)(f->next_level - level) > 0)
        level = f->next_level;
    return level;
}

static void settle(struct fluid *f, int64_t now_ns)
{
    f->served_level = level_at(f, now_ns);
    f->since_ns = now_ns;
}
