#include "hwmodels/status.h"

#include <string.h>

static const char sourced[] = "sourced", assumed[] = "assumed", unknown[] = "unknown";

/* What the kernels of all units have. */
struct seen {
    bool product, attention, attention_included, staircase;
};

static struct seen look(const struct device *d)
{
    struct seen s = {false, false, false, false};
    for (int32_t p = 0; p < d->n_processors; p++)
        for (int32_t u = 0; u < d->processor[p].n_units; u++)
            for (int32_t k = 0; k < d->processor[p].unit[u].n_kernels; k++) {
                const struct roof_kernel *kernel = &d->processor[p].unit[u].kernel[k];
                bool known = kernel->included || kernel->n_points || kernel->flops_per_s.value > 0;
                s.product = s.product || (kernel->op == ROOF_MATMUL && known);
                s.staircase = s.staircase || kernel->tile > 1 || kernel->rows_from > 1;
                s.attention = s.attention || (kernel->op == ROOF_ATTENTION && known);
                s.attention_included =
                    s.attention_included || (kernel->op == ROOF_ATTENTION && kernel->included);
            }
    return s;
}

static bool any_changed(const struct device *d)
{
    for (int32_t p = 0; p < d->n_processors; p++) {
        const struct device_table *t = &d->processor[p].step;
        for (int32_t i = 0; i < t->n_cells; i++)
            if (t->cell[i].changed)
                return true;
        if (t->change_ns >= 0)
            return true;
    }
    return false;
}

static bool any_power(const struct device *d)
{
    for (int32_t p = 0; p < d->n_processors; p++)
        if (d->processor[p].active_mw >= 0 || d->processor[p].prefill_mw.value >= 0 ||
            d->processor[p].decode_mw.value >= 0)
            return true;
    return false;
}

static int32_t known_paths(const struct platform_bus *bus)
{
    int32_t n = 0;
    for (int32_t i = 0; i < bus->n_paths; i++)
        n += bus->path[i].bytes_per_s.value > 0;
    return n;
}

static bool known_edge(const struct platform *p)
{
    for (int32_t i = 0; i < p->n_edges; i++)
        if (p->edge[i].polling_ns.value >= 0 || p->edge[i].sleeping_ns.value >= 0)
            return true;
    return false;
}

static bool known_thermal(const struct platform_thermal *t)
{
    return t->mc_per_w.value > 0 && t->mj_per_c.value > 0 && t->hot_mc.value >= 0;
}

static void of_steps(const struct device *d, struct status *out)
{
    bool bus = d->dram_bytes_per_s > 0;
    out[0] = (struct status){"width", sourced, "measured tables"};
    out[1] = (struct status){"context", sourced, "measured tables"};
    out[2] = any_changed(d) ? (struct status){"changed shape", sourced, "measured cells, or change"}
                            : (struct status){"changed shape", unknown, "no cell, no change"};
    out[3] = bus ? (struct status){"bus sharing", assumed, "max-min of bus.dram"}
                 : (struct status){"bus sharing", unknown, "bus.dram is null"};
    out[4] = (struct status){"load beside compute", unknown, "whole steps have no graphs"};
    out[5] = (struct status){"synchronisation", sourced, "host: dispatch and notify"};
    out[6] = (struct status){"storage", unknown, "whole steps load nothing"};
}

static void of_operators(const struct device *d, struct status *out)
{
    const struct platform *p = &d->platform;
    struct seen s = look(d);
    bool several = known_paths(&p->bus) > 1, total = p->bus.dram_bytes_per_s.value > 0;
    bool storage = p->storage.n_blocks > 0;
    out[0] = !s.product    ? (struct status){"width", unknown, "no product is known"}
             : s.staircase ? (struct status){"width", sourced, "tiles, and kernels by rows"}
                           : (struct status){"width", assumed, "rooflines without a staircase"};
    out[1] = !s.attention           ? (struct status){"context", unknown, "no kernel for attention"}
             : s.attention_included ? (struct status){"context", assumed,
                                                      "attention is in the rates, at their context"}
                                    : (struct status){"context", sourced, "kernels for attention"};
    out[2] = (struct status){"changed shape", unknown, "operators have no state"};
    out[3] = !total || !several ? (struct status){"bus sharing", unknown,
                                                  "bus.dram, or all caps but one, are null"}
             : p->bus.shared_bytes_per_s.value > 0
                 ? (struct status){"bus sharing", sourced, "caps and totals alone and together"}
                 : (struct status){"bus sharing", assumed, "caps and one total"};
    out[4] =
        storage && total
            ? (struct status){"load beside compute", assumed, "storage and bus, no pair measured"}
            : (struct status){"load beside compute", unknown, "storage or bus.dram is null"};
    out[5] = known_edge(p) ? (struct status){"synchronisation", sourced, "sync"}
                           : (struct status){"synchronisation", unknown, "sync is null"};
    out[6] = storage ? (struct status){"storage", sourced, "storage.read"}
                     : (struct status){"storage", unknown, "no size of blocks is known"};
}

void device_status(const struct device *d, struct status out[STATUS_MECHANISMS])
{
    if (d->operators)
        of_operators(d, out);
    else
        of_steps(d, out);
    out[7] = any_power(d) ? (struct status){"power", sourced, "power of a processor or phase"}
                          : (struct status){"power", unknown, "every power is null"};
    out[8] = d->platform.bus.pj_per_byte.value >= 0
                 ? (struct status){"energy per byte", sourced, "bus.energy"}
                 : (struct status){"energy per byte", unknown, "bus.energy is null"};
    out[9] = known_thermal(&d->platform.thermal)
                 ? (struct status){"thermal", assumed, "one node, no run measured"}
                 : (struct status){"thermal", unknown, "resistance, capacity or governor is null"};
}

/* A run's own bandwidth of loading stands for the storage's. */
static void give_load(const struct device *d, struct status *s)
{
    bool bus = d->platform.bus.dram_bytes_per_s.value > 0;
    if (!strcmp(s->mechanism, "storage"))
        *s = (struct status){s->mechanism, assumed, "a bandwidth that the experiment gives"};
    else if (!strcmp(s->mechanism, "load beside compute") && bus)
        *s = (struct status){s->mechanism, assumed, "that bandwidth and bus.dram"};
}

int32_t device_exercised(const struct device *d, const struct status_use *use,
                         struct status out[STATUS_MECHANISMS])
{
    struct status all[STATUS_MECHANISMS];
    int32_t n = 0;
    device_status(d, all);
    for (int32_t i = 0; i < STATUS_MECHANISMS; i++) {
        bool crossing = !strcmp(all[i].mechanism, "synchronisation");
        if (use->load_given)
            give_load(d, &all[i]);
        if (all[i].status != unknown && (!crossing || !d->operators || use->layout))
            out[n++] = all[i];
    }
    return n;
}

const char *status_weakest(const struct status *s, int32_t n)
{
    const char *weakest = sourced;
    for (int32_t i = 0; i < n; i++)
        if (s[i].status == assumed)
            weakest = assumed;
    return weakest;
}
