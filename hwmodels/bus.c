#include "hwmodels/bus.h"

#include <assert.h>
#include <math.h>

int64_t bus_total(const struct platform_bus *bus, int32_t paths)
{
    return paths > 1 && bus->shared_bytes_per_s.value > 0 ? bus->shared_bytes_per_s.value
                                                          : bus->dram_bytes_per_s.value;
}

static int64_t cap_of(const struct platform_bus *bus, int32_t path)
{
    return path < 0 ? -1 : bus->path[path].bytes_per_s.value;
}

static int32_t priority_of(const struct platform_bus *bus, int32_t path)
{
    return path < 0 ? 0 : bus->path[path].priority;
}

static int32_t different(const struct bus_flow *flow, int32_t n)
{
    int32_t count = 0;
    for (int32_t i = 0; i < n; i++) {
        bool seen = false;
        for (int32_t k = 0; k < i; k++)
            seen = seen || flow[k].path == flow[i].path;
        count += !seen;
    }
    return count;
}

/* How much all open flows of a priority can rise together before one of them, a path or the total
 * is full. INFINITY: no limit. */
static double room(const struct platform_bus *bus, const struct bus_flow *flow, int32_t n,
                   const bool *open, double left)
{
    double most = INFINITY;
    int32_t all = 0;
    for (int32_t i = 0; i < n; i++) {
        if (!open[i])
            continue;
        all++;
        if (flow[i].demand_bytes_per_s >= 0)
            most = fmin(most, flow[i].demand_bytes_per_s - flow[i].bytes_per_s);
        double used = 0;
        int32_t mine = 0;
        for (int32_t k = 0; k < n; k++)
            if (flow[k].path == flow[i].path) {
                used += flow[k].bytes_per_s;
                mine += open[k];
            }
        int64_t cap = cap_of(bus, flow[i].path);
        if (cap > 0)
            most = fmin(most, ((double)cap - used) / mine);
    }
    return fmin(most, left / all);
}

/* Whether a flow has reached its demand or its path's cap. */
static bool full(const struct platform_bus *bus, const struct bus_flow *flow, int32_t n, int32_t i)
{
    double used = 0;
    int64_t cap = cap_of(bus, flow[i].path);
    for (int32_t k = 0; k < n; k++)
        if (flow[k].path == flow[i].path)
            used += flow[k].bytes_per_s;
    return (flow[i].demand_bytes_per_s >= 0 &&
            flow[i].bytes_per_s >= flow[i].demand_bytes_per_s * (1 - 1e-12)) ||
           (cap > 0 && used >= (double)cap * (1 - 1e-12));
}

/* Raises the flows of one priority; returns what is left of the total. */
static double fill(const struct platform_bus *bus, struct bus_flow *flow, int32_t n,
                   int32_t priority, double left)
{
    bool open[PLATFORM_MAX_PATHS], any = false;
    double total = left;
    for (int32_t i = 0; i < n; i++) {
        open[i] = priority_of(bus, flow[i].path) == priority && !full(bus, flow, n, i);
        any = any || open[i];
    }
    while (any && left > total * 1e-12) {
        double by = room(bus, flow, n, open, left);
        for (int32_t i = 0; i < n; i++)
            if (open[i]) {
                flow[i].bytes_per_s += by;
                left -= by;
            }
        any = false;
        for (int32_t i = 0; i < n; i++) {
            open[i] = open[i] && !full(bus, flow, n, i);
            any = any || open[i];
        }
    }
    return left;
}

void bus_rates(const struct platform_bus *bus, struct bus_flow *flow, int32_t n)
{
    assert(n >= 0 && n <= PLATFORM_MAX_PATHS);
    int64_t total = bus_total(bus, different(flow, n));
    for (int32_t i = 0; i < n; i++)
        flow[i].bytes_per_s = 0;
    if (total <= 0) {
        double cap = n == 1 ? (double)cap_of(bus, flow[0].path) : -1;
        for (int32_t i = 0; i < n; i++)
            flow[i].bytes_per_s = cap > 0 && flow[i].demand_bytes_per_s >= 0
                                      ? fmin(cap, flow[i].demand_bytes_per_s)
                                      : cap;
        return;
    }
    double left = (double)total;
    for (int32_t priority = 7; priority >= 0; priority--)
        left = fill(bus, flow, n, priority, left);
}
