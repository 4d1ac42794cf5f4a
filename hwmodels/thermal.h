/* Heat: one node behind a resistance, and a governor with hysteresis.
 *
 *     C dT/dt = P - (T - T_ambient) / R,    T(t) = T_end + (T0 - T_end) e^(-t / RC),
 *     T_end = T_ambient + P R
 *
 * The governor slows a device above `hot` and lets it go below `cool`; in between it stays as it
 * is. It looks at the temperature every THERMAL_STEPS-th part of RC at the least, and power is
 * constant between calls. No clock: time passes by argument. With any number unknown there is no
 * model. */
#ifndef TANDEM_HWMODELS_THERMAL_H
#define TANDEM_HWMODELS_THERMAL_H

#include "hwmodels/platform.h"
#include "sim/exec/cost.h"

enum { THERMAL_STEPS = 256 };

/* Whether all six numbers are known, R and C above 0. */
bool thermal_known(const struct platform_thermal *t);

/* At the ambient temperature, not slowed. */
void thermal_init(const struct platform_thermal *t, struct cost_heat *s);

/* Lets `ns` >= 0 pass with `mw` >= 0 of power. The time that it was slowed for is added to *slow_ns
 * (NULL: not wanted). thermal_known must hold. */
void thermal_advance(const struct platform_thermal *t, struct cost_heat *s, int64_t mw, int64_t ns,
                     int64_t *slow_ns);

/* Speed in thousandths: 1000, or slow_permille while slowed. */
int64_t thermal_speed(const struct platform_thermal *t, const struct cost_heat *s);

#endif
