#include "hwmodels/thermal.h"

#include <assert.h>

bool thermal_known(const struct platform_thermal *t)
{
    return t->mc_per_w.value > 0 && t->mj_per_c.value > 0 && t->ambient_mc.value >= 0 &&
           t->hot_mc.value >= 0 && t->cool_mc.value >= 0 && t->slow_permille.value > 0;
}

void thermal_init(const struct platform_thermal *t, struct cost_heat *s)
{
    assert(thermal_known(t));
    *s = (struct cost_heat){.known = true, .mc = (double)t->ambient_mc.value};
}

/* e^-x for x >= 0 by + - * / alone: the rational approximation of a small part, squared. */
static double decay(double x)
{
    enum { DOUBLINGS = 10 };
    double part = x / (1 << DOUBLINGS), r = (12 - 6 * part + part * part);
    r /= 12 + 6 * part + part * part;
    for (int i = 0; i < DOUBLINGS; i++)
        r *= r;
    return r;
}

static void govern(const struct platform_thermal *t, struct cost_heat *s)
{
    if (s->mc > (double)t->hot_mc.value)
        s->slow = true;
    else if (s->mc < (double)t->cool_mc.value)
        s->slow = false;
}

void thermal_advance(const struct platform_thermal *t, struct cost_heat *s, int64_t mw, int64_t ns,
                     int64_t *slow_ns)
{
    assert(thermal_known(t) && mw >= 0 && ns >= 0);
    /* R in C/W times C in J/C are seconds */
    double rc_ns = (double)t->mc_per_w.value / 1000 * (double)t->mj_per_c.value * 1e6;
    double end = (double)t->ambient_mc.value + (double)mw * (double)t->mc_per_w.value / 1000;
    int64_t longest = (int64_t)(rc_ns / THERMAL_STEPS);
    longest = longest > 0 ? longest : 1;
    /* beyond 64 RC nothing changes but the governor's time */
    while (ns > 0) {
        int64_t step = ns < longest ? ns : longest;
        double far = s->mc > end ? s->mc - end : end - s->mc;
        if (far < 1e-9 && (!s->slow || end > (double)t->cool_mc.value))
            step = ns;
        if (s->slow && slow_ns)
            *slow_ns += step;
        s->mc = end + (s->mc - end) * decay((double)step / rc_ns);
        govern(t, s);
        ns -= step;
    }
}

int64_t thermal_speed(const struct platform_thermal *t, const struct cost_heat *s)
{
    return s->slow ? t->slow_permille.value : 1000;
}
