/* tandem reproduce ranges: the gains that the prose states, in the set that fits Table 3. */
#include <math.h>
#include <stddef.h>

#include "experiments/published.h"
#include "experiments/reproduce.h"
#include "experiments/table3_search.h"

struct ranges {
    struct published_range vs_npu, vs_npu_summary, vs_npu_k70, vs_cpu, vs_cpu_summary, vs_cpu_k70,
        vs_sam, vs_eagle, sam_on_cpu, eagle_on_cpu;
    struct published_range energy_npu, energy_cpu, energy_sam, energy_eagle, energy_request,
        energy_q05, energy_sam_q05, energy_l3;
    struct published_range cpu_rate;
};

#define RANGE(path, unit, member)                                                                  \
    {                                                                                              \
        (path), (unit), offsetof(struct ranges, member), true                                      \
    }

static const struct published_field fields[] = {
    RANGE("latency.vs_npu", "x", vs_npu),
    RANGE("latency.vs_npu_summary", "x", vs_npu_summary),
    RANGE("latency.vs_npu_k70", "x", vs_npu_k70),
    RANGE("latency.vs_cpu", "x", vs_cpu),
    RANGE("latency.vs_cpu_summary", "x", vs_cpu_summary),
    RANGE("latency.vs_cpu_k70", "x", vs_cpu_k70),
    RANGE("latency.vs_sam", "x", vs_sam),
    RANGE("latency.vs_eagle", "x", vs_eagle),
    RANGE("latency.sam_on_cpu", "x", sam_on_cpu),
    RANGE("latency.eagle_on_cpu", "x", eagle_on_cpu),
    RANGE("energy.vs_npu", "x", energy_npu),
    RANGE("energy.vs_cpu", "x", energy_cpu),
    RANGE("energy.vs_sam", "x", energy_sam),
    RANGE("energy.vs_eagle", "x", energy_eagle),
    RANGE("energy.request", "J", energy_request),
    RANGE("energy.vs_npu_q05", "x", energy_q05),
    RANGE("energy.sam_vs_npu_q05", "x", energy_sam_q05),
    RANGE("energy.vs_l3", "x", energy_l3),
    RANGE("cpu.decode", "tokens/s", cpu_rate),
    {.path = NULL}};

/* The least and the largest of the models' medians, against the range's ends. */
static void put(struct reproduce_context *c, const struct t3_fit *fit, const char *what,
                struct published_range published, enum t3_derived which)
{
    int32_t least = 0, most = 0;
    double median[T3_MODELS];
    char cell[128];
    for (int32_t m = 0; m < T3_MODELS; m++) {
        median[m] = fit->set->derived[m][which].median;
        least = median[m] < median[least] ? m : least;
        most = median[m] > median[most] ? m : most;
    }
    snprintf(cell, sizeof cell, "%s, least, %s", what, fit->table.model[least].name);
    reproduce_cell(c, "ranges", cell, published.low, median[least], "shown", "all",
                   fit->set->derived[least][which].min, fit->set->derived[least][which].max);
    snprintf(cell, sizeof cell, "%s, most, %s", what, fit->table.model[most].name);
    reproduce_cell(c, "ranges", cell, published.high, median[most], "shown", "all",
                   fit->set->derived[most][which].min, fit->set->derived[most][which].max);
}

static int run(struct reproduce_context *c, struct err *e)
{
    char path[512];
    struct ranges r;
    const struct t3_fit *fit = NULL;
    int rc = reproduce_file("ranges", path, sizeof path, e);
    if (!rc)
        rc = published_read(path, "ranges", fields, &r, c->arena, e);
    if (!rc)
        rc = t3_fit_run(c, &fit, e);
    if (rc || !fit->set)
        return rc;
    reproduce_note(c,
                   "three models on the K60 Pro with summary, in the set that fits Table 3: %s.\n"
                   "The published ranges are over phones and, but for summary's, tasks. Not\n"
                   "computed: the K70 Pro's (no number of it fits), SAM and EAGLE on the CPU, and\n"
                   "energy (%.2f and %.2f J a request): no power of the phone's NPU is published\n",
                   fit->what, r.energy_request.low, r.energy_request.high);
    put(c, fit, "latency, NPU vanilla over Ours, summary", r.vs_npu_summary, T3_VS_NPU);
    put(c, fit, "latency, NPU-SAM over Ours", r.vs_sam, T3_VS_SAM);
    put(c, fit, "latency, NPU-EAGLE over Ours", r.vs_eagle, T3_VS_EAGLE);
    const struct t3_spread *prefill = &fit->set->derived[T3_Q15][T3_PREFILL];
    double ours = fit->set->cell[T3_Q15][T3_OURS].median;
    double base = prefill->median;
    double fast = (base + 1000 / r.cpu_rate.high) / ours;
    double slow = (base + 1000 / r.cpu_rate.low) / ours;
    reproduce_note(c,
                   "CPU vanilla of %s: prefill %.2f ms/token and %.1f..%.1f tokens/s of decoding, "
                   "as\nmeasured on another phone with that chip\n",
                   fit->table.model[T3_Q15].name, base, r.cpu_rate.low, r.cpu_rate.high);
    reproduce_cell(c, "ranges", "latency, CPU vanilla over Ours, summary, most, Qwen2.5-1.5B",
                   r.vs_cpu_summary.high, fast, "shown", "all", fast, slow);
    return ERR_OK;
}

const struct reproduction reproduce_ranges = {
    .name = "ranges",
    .source = "arXiv 2510.15312v3, sections 4.2 to 4.4: ranges in prose",
    .summary = "gains over the baselines in the set that fits Table 3",
    .files_only = true,
    .run = run};
