#include "sim/core/power.h"

#include "sim/core/clock.h"

#include <assert.h>

enum { NS_PER_S = 1000000000, PJ_PER_MJ = 1000000000 };

static bool valid(int64_t mw)
{
    return mw == POWER_UNKNOWN || (mw >= 0 && mw <= POWER_MAX_MW);
}

void power_init(struct power *p, int64_t active_mw, int64_t idle_mw, int64_t now_ns)
{
    assert(valid(active_mw) && valid(idle_mw) && now_ns >= 0 && now_ns <= CLOCK_MAX_NS);
    *p = (struct power){.active_mw = active_mw,
                        .idle_mw = idle_mw,
                        .start_ns = now_ns,
                        .active = {.known = true},
                        .since_ns = now_ns};
}

/* One mW for one second is one mJ: whole seconds count in mJ, the rest in pJ, below 10^18. */
struct energy energy_product(int64_t mw, int64_t ns)
{
    int64_t rest_pj = mw * (ns % NS_PER_S);
    return (struct energy){
        .mj = mw * (ns / NS_PER_S) + rest_pj / PJ_PER_MJ, .pj = rest_pj % PJ_PER_MJ, .known = true};
}

struct energy energy_add(struct energy a, struct energy b)
{
    if (!a.known || !b.known)
        return (struct energy){0};
    int64_t pj = a.pj + b.pj;
    assert(a.mj < INT64_MAX - b.mj);
    return (struct energy){.mj = a.mj + b.mj + pj / PJ_PER_MJ, .pj = pj % PJ_PER_MJ, .known = true};
}

/* The open spell counts until now_ns. */
struct energy power_work(const struct power *p, int64_t now_ns)
{
    if (!p->running || now_ns == p->since_ns)
        return p->active;
    if (p->now_mw == POWER_UNKNOWN)
        return (struct energy){0};
    return energy_add(p->active, energy_product(p->now_mw, now_ns - p->since_ns));
}

static void change(struct power *p, int64_t now_ns)
{
    assert(now_ns >= p->since_ns && now_ns <= CLOCK_MAX_NS);
    if (p->running) {
        if (p->active.known) /* what is unknown stays so */
            p->active = power_work(p, now_ns);
        p->active_ns += now_ns - p->since_ns;
    }
    p->since_ns = now_ns;
}

void power_begin(struct power *p, int64_t now_ns)
{
    power_begin_at(p, p->active_mw, now_ns);
}

void power_begin_at(struct power *p, int64_t mw, int64_t now_ns)
{
    assert(valid(mw));
    change(p, now_ns);
    if (!p->running++)
        p->now_mw = mw;
}

void power_end(struct power *p, int64_t now_ns)
{
    assert(p->running > 0);
    change(p, now_ns);
    p->running--;
}

int64_t power_active_ns(const struct power *p, int64_t now_ns)
{
    assert(now_ns >= p->since_ns && now_ns <= CLOCK_MAX_NS);
    return p->active_ns + (p->running ? now_ns - p->since_ns : 0);
}

struct energy power_energy(const struct power *p, int64_t now_ns)
{
    int64_t active_ns = power_active_ns(p, now_ns);
    int64_t idle_ns = now_ns - p->start_ns - active_ns;
    bool never = p->active_mw == POWER_UNKNOWN && !active_ns;
    if (never || p->idle_mw == POWER_UNKNOWN)
        return (struct energy){0};
    return energy_add(power_work(p, now_ns), energy_product(p->idle_mw, idle_ns));
}

int64_t power_now_mw(const struct power *p)
{
    return p->running ? p->now_mw : p->idle_mw;
}

bool energy_pj(struct energy e, int64_t *pj)
{
    if (!e.known || e.mj > INT64_MAX / PJ_PER_MJ || e.mj * PJ_PER_MJ > INT64_MAX - e.pj)
        return false;
    *pj = e.mj * PJ_PER_MJ + e.pj;
    return true;
}
