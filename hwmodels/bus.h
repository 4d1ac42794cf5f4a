/* Who gets how much of the DRAM: paths with caps, under one total.
 *
 * Flows of higher priority are served first; those of one priority share what is left max-min
 * fairly, as sim/core/fluid.h does with equal weights. Flows of one path share its cap. The total
 * is the bus's `shared` where flows of two or more paths run, else its `dram`. */
#ifndef TANDEM_HWMODELS_BUS_H
#define TANDEM_HWMODELS_BUS_H

#include "hwmodels/platform.h"

struct bus_flow {
    int32_t path;              /* index; -1: no path, no cap of its own */
    double demand_bytes_per_s; /* at most this much; < 0: whatever it gets */
    double bytes_per_s;        /* out; -1: not known */
};

/* Fills the rates of n <= PLATFORM_MAX_PATHS flows. Where the total is not known, a flow that is
 * alone gets its cap, and those of several are unknown. A flow with neither cap nor demand under an
 * unknown total is unknown. */
void bus_rates(const struct platform_bus *bus, struct bus_flow *flow, int32_t n);

/* The total for flows of `paths` different paths; -1: not known. */
int64_t bus_total(const struct platform_bus *bus, int32_t paths);

#endif
