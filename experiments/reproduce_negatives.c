/* tandem reproduce negatives: what others found not to pay, as far as the hardware models express
 * it. Each is a ratio whose side of 1 is the finding; no number of a model was chosen for it. */
#include <math.h>
#include <string.h>

#include "experiments/command.h"
#include "experiments/points.h"
#include "experiments/published.h"
#include "experiments/reproduce.h"
#include "hwmodels/bus.h"
#include "hwmodels/explain.h"
#include "hwmodels/fit/kernel.h"

#define TARGET "negatives"

enum { MAX_CELLS = 32 };

struct cell {
    const char *name, *text;
    double published, low, high;
};

struct inputs {
    double per_group_low, per_group_high, build_ms, optimize_ms;
    double prepare_135_ms, prepare_1000_ms, order, ablation_prepare, ablation_order;
    double large_model_gib;
};

struct negatives {
    struct reproduce_context *c;
    struct device k60, k70, oneplus;
    struct points points;
    int32_t n_cells;
    struct cell cell[MAX_CELLS];
    struct inputs in;
};

static double input(struct yaml *y, struct yaml_node *map, const char *key)
{
    return yaml_double(y, yaml_map(y, map, key), "value", 0, 1e9);
}

static void read_cells(struct yaml *y, struct negatives *x)
{
    struct yaml_node *list = yaml_list(y, y->root, "cells");
    if (list->n > MAX_CELLS)
        yaml_fail(y, list, ERR_LIMIT, "expected at most %d cells", MAX_CELLS);
    for (struct yaml_node *at = list->first; at && !y->code; at = at->next) {
        struct cell *cell = &x->cell[x->n_cells++];
        cell->name = yaml_str(y, at, "name");
        cell->text = yaml_str(y, at, "cell");
        cell->published = yaml_double(y, at, "published", 1e-6, 1e6);
        cell->low = yaml_double_or(y, at, "low", 1e-6, 1e6, NAN);
        cell->high = yaml_double_or(y, at, "high", 1e-6, 1e6, NAN);
    }
}

static int read_published(struct negatives *x, struct err *e)
{
    struct yaml y;
    char path[4096];
    int rc = reproduce_file("negatives", path, sizeof path, e);
    if (rc || published_open(&y, path, TARGET, x->c->arena, e))
        return rc ? rc : y.code;
    read_cells(&y, x);
    struct yaml_node *in = yaml_map(&y, y.root, "inputs");
    x->in.per_group_low = input(&y, in, "per_group_low");
    x->in.per_group_high = input(&y, in, "per_group_high");
    x->in.build_ms = input(&y, in, "build_ms");
    x->in.optimize_ms = input(&y, in, "optimize_ms");
    x->in.prepare_135_ms = input(&y, in, "prepare_135_ms");
    x->in.prepare_1000_ms = input(&y, in, "prepare_1000_ms");
    x->in.order = input(&y, in, "order");
    x->in.ablation_prepare = input(&y, in, "ablation_prepare");
    x->in.ablation_order = input(&y, in, "ablation_order");
    x->in.large_model_gib = input(&y, in, "large_model_gib");
    return yaml_done(&y);
}

/* The row and, for people, whether the side of 1 is the published one. A cell that the file lacks
 * has no row. */
static void put(struct negatives *x, const char *name, const char *role, double simulated)
{
    for (int32_t i = 0; i < x->n_cells; i++) {
        const struct cell *c = &x->cell[i];
        if (strcmp(c->name, name) || !isfinite(simulated))
            continue;
        bool same = (c->published < 1) == (simulated < 1) || fabs(simulated - c->published) < 0.02;
        const char *reading = strcmp(role, "calibrated") ? "zero-fit" : "all";
        reproduce_cell(x->c, TARGET, c->text, c->published, simulated, role, reading, c->low,
                       c->high);
        reproduce_note(x->c, "%s: published %.3g, simulated %.3g: %s\n", c->text, c->published,
                       simulated, same ? "the sign comes out" : "the sign does NOT come out");
    }
}

static int load_device(struct negatives *x, const char *name, struct device *out, struct err *e)
{
    char relative[256], path[4096];
    snprintf(relative, sizeof relative, "hwmodels/devices/%s.yaml", name);
    command_shipped(relative, path, sizeof path);
    return device_load(path, NULL, 0, x->c->arena, out, e);
}

static int load_model(const char *name, struct model_desc *out, struct err *e)
{
    char relative[256], path[4096];
    snprintf(relative, sizeof relative, "hwmodels/models/%s.yaml", name);
    command_shipped(relative, path, sizeof path);
    return model_load(path, out, e);
}

static const struct roof_unit *unit(const struct device *d, const char *processor,
                                    const char *backend)
{
    int32_t p = device_find(d, processor);
    return p < 0 ? NULL : device_unit(&d->processor[p], backend, NULL);
}

static int explain(struct negatives *x, const struct device *d, const char *processor,
                   const char *backend, const char *model, int32_t rows, struct explain_step *out,
                   struct err *e)
{
    const struct roof_unit *u = unit(d, processor, backend);
    struct model_desc m;
    struct ops_step s;
    if (!u)
        return err_set(e, ERR_SCHEMA, "device '%s' has no backend '%s' on '%s'", d->name, backend,
                       processor);
    int rc = load_model(model, &m, e);
    if (!rc)
        rc = ops_whole(&m, rows, 0, &s, e);
    if (rc)
        return rc;
    s.weights = s.head = u->weights;
    s.head_rows = 1;
    s.activation_bytes = u->activation_bytes;
    return explain_step(d, u, NULL, &m, &s, x->c->arena, out, e);
}

/* ns of a whole step by the unit; of its products alone where the rest is not known. */
static int step_ns(struct negatives *x, const struct device *d, const char *processor,
                   const char *backend, const char *model, int32_t rows, double *ns, struct err *e)
{
    struct explain_step step = {0};
    int rc = explain(x, d, processor, backend, model, rows, &step, e);
    *ns = (double)step.least_ns;
    return rc;
}

/* ---- 1: a product split between GPU and NPU ------------------------------------------------- */

/* The roofline without its points: a part of a product was not measured. */
static double part_ns(const struct device *d, const struct roof_unit *u, int64_t n, int64_t k)
{
    struct op op = {.kind = OP_MATMUL, .m = 1, .n = n, .k = k, .flops = 2 * n * k};
    struct roof_time t;
    op.weight_bytes = n * model_type_bytes(&u->weights, k);
    const struct roof_kernel *kernel = roof_kernel_of(u, &op);
    if (!n)
        return 0;
    struct roof_kernel bare = *kernel;
    bare.n_points = 0;
    roof_kernel_time(&bare, &op, &d->platform.bus.path[kernel->path].bytes_per_s, &t);
    return (double)t.ns;
}

/* GPU alone over the best split by outputs, both waited for `sync_ns`. */
static double split_gain(const struct device *d, int64_t n, int64_t k, double sync_ns)
{
    const struct roof_unit *gpu = unit(d, "gpu", "heteroinfer"),
                           *npu = unit(d, "npu", "heteroinfer");
    double alone = part_ns(d, gpu, n, k), best = INFINITY;
    for (int64_t part = 1; part < 64; part++) {
        int64_t mine = n * part / 64;
        best = fmin(best, fmax(part_ns(d, gpu, n - mine, k), part_ns(d, npu, mine, k)) + sync_ns);
    }
    return alone / best;
}

static int split(struct negatives *x, struct err *e)
{
    char name[16];
    const struct platform_edge *sync = device_crossing(&x->k70, DEVICE_CPU, DEVICE_GPU, name);
    const int64_t n = 15360, k = 3840; /* s3's product */
    if (!sync || sync->sleeping_ns.value < 0)
        return err_set(e, ERR_SCHEMA,
                       "device '%s' does not say how long %s takes asleep: set sleeping of sync %s",
                       x->k70.name, name, name);
    if (!unit(&x->k70, "gpu", "heteroinfer") || !unit(&x->k70, "npu", "heteroinfer"))
        return err_set(e, ERR_SCHEMA, "device '%s' has no backend 'heteroinfer' on 'gpu' or 'npu'",
                       x->k70.name);
    double wait = (double)sync->sleeping_ns.value;
    put(x, "split-fast", "predicted", split_gain(&x->k70, n, k, 0));
    put(x, "split-ordinary", "predicted", split_gain(&x->k70, n, k, wait));
    reproduce_note(
        x->c,
        "  gain by synchronisation, outputs x inputs 15360 x 3840, 4096 x 4096, 28672 x 4096:");
    for (int us = 0; us <= 1000; us += 200)
        reproduce_note(x->c, " %d us %.2f %.2f %.2f;", us, split_gain(&x->k70, n, k, us * 1e3),
                       split_gain(&x->k70, 4096, 4096, us * 1e3),
                       split_gain(&x->k70, 28672, 4096, us * 1e3));
    reproduce_note(x->c, "\n");
    return ERR_OK;
}

/* ---- 3: the address space ------------------------------------------------------------------- */

static void address_space(struct negatives *x)
{
    double space = (double)x->oneplus.platform.memory.npu_space_bytes.value;
    double model = x->in.large_model_gib * 1073741824;
    reproduce_note(
        x->c,
        "FastRPC against dspqueue: a model of %.1f GiB %s %.1f GiB at once: where the order "
        "flips; the time of the fallback is not modelled\n",
        x->in.large_model_gib, model > space ? "does not fit" : "fits", space / 1073741824);
}

/* ---- 4: where CPU decode wins --------------------------------------------------------------- */

static int cpu_decode(struct negatives *x, struct err *e)
{
    double cpu, gpu, npu, mobile_cpu, mobile_npu, command_cpu, other_cpu, other_npu;
    int rc = step_ns(x, &x->oneplus, "cpu", "mnn", "qwen3-0.6b", 1, &cpu, e);
    if (!rc)
        rc = step_ns(x, &x->oneplus, "gpu", "mnn", "qwen3-0.6b", 1, &gpu, e);
    if (!rc)
        rc = step_ns(x, &x->oneplus, "npu", "mnn", "qwen3-0.6b", 1, &npu, e);
    if (!rc)
        rc = step_ns(x, &x->oneplus, "cpu", "mnn", "qwen2.5-0.5b", 1, &other_cpu, e);
    if (!rc)
        rc = step_ns(x, &x->oneplus, "npu", "mnn", "qwen2.5-0.5b", 1, &other_npu, e);
    if (!rc)
        rc = step_ns(x, &x->k60, "cpu", "llama.rn", "qwen3-1.7b", 1, &mobile_cpu, e);
    if (!rc)
        rc = step_ns(x, &x->k60, "npu", "llama.rn", "qwen3-1.7b", 1, &mobile_npu, e);
    if (!rc)
        rc = step_ns(x, &x->k60, "cpu", "llama.cpp", "qwen3-1.7b", 1, &command_cpu, e);
    if (rc)
        return rc;
    put(x, "elite-cpu-npu", "calibrated", npu / cpu);
    put(x, "elite-cpu-gpu", "calibrated", gpu / cpu);
    reproduce_note(x->c, "  Qwen2.5-0.5B, which no rate was derived from: CPU over NPU %.3g\n",
                   other_npu / other_cpu);
    put(x, "gen2-npu-cpu", "predicted", mobile_cpu / mobile_npu);
    reproduce_note(x->c,
                   "  both processors driven by one program, its release before the published one; "
                   "over the CPU that llama.cpp's own program drives %.3g: the program decides the "
                   "sign\n",
                   command_cpu / mobile_npu);
    return ERR_OK;
}

/* ---- 5: verifying two tokens ---------------------------------------------------------------- */

/* Time of 2 rows over that of 1, by kernels fitted to all rows but 2. */
static double two_over_one(const struct points_group *g)
{
    struct fit_point point[FIT_MAX_POINTS];
    struct fit_work work[FIT_MAX_POINTS];
    struct fit_problem p = {.n = g->n, .point = point, .kernel_from = g->kernel_from};
    struct fit_form form = {.numbers = FIT_LAUNCH, .kernels = FIT_SPLIT};
    struct fit_kernel k;
    int32_t two = -1;
    double one = NAN;
    for (int32_t i = 0; i < g->n; i++) {
        fit_work_of(g->point[i].op, 1, g->tile, &work[i]);
        point[i] = (struct fit_point){1, &work[i], g->point[i].ns};
        two = g->point[i].rows == 2 ? i : two;
        one = g->point[i].rows == 1 ? g->point[i].ns : one;
    }
    return two >= 0 && fit_kernel(&p, &form, two, &k) ? fit_time(&p, &k, &point[two]) / one : NAN;
}

/* Why nothing here foretells less than 1: no kernel's time falls with rows, so two rows take what
 * is between one and the next that was measured. Points are in the order of their rows. */
static void never_below_one(struct negatives *x, const struct points_group *g)
{
    const struct point *one = NULL, *two = NULL, *next = NULL;
    int32_t falls = 0;
    for (int32_t i = 0; i < g->n; i++) {
        const struct point *p = &g->point[i];
        one = p->rows == 1 ? p : one;
        two = p->rows == 2 ? p : two;
        next = !next && p->rows > 2 ? p : next;
        falls += i > 0 && p->ns < p[-1].ns;
    }
    if (!one || !two || !next)
        return;
    reproduce_note(
        x->c,
        "  no kernel's time falls with rows: two take as long as one, or up to %.3g times (%d "
        "rows). This backend has code of its own for one row and computes more two at a time, so "
        "two may beat one, but only the pair itself says by how much. The source's times fall at "
        "%d of their %d steps, each a single mean, and it calls 5 %% noise. To tell, one and two "
        "rows must be measured again, with their spread; with one row's time %.2g %% less there "
        "is no fall\n",
        next->ns / one->ns, next->rows, falls, g->n - 1, 100 * (1 - two->ns / one->ns));
}

static void verification(struct negatives *x)
{
    static const char *const group[] = {"s3-op12-gpu", "s3-op12-htp", "s3-op15-gpu", "s3-op15-htp"};
    for (size_t i = 0; i < sizeof group / sizeof *group; i++)
        for (int32_t g = 0; g < x->points.n_groups; g++)
            if (!strcmp(x->points.group[g].name, group[i]))
                put(x, group[i], "predicted", two_over_one(&x->points.group[g]));
    for (int32_t g = 0; g < x->points.n_groups; g++)
        if (!strcmp(x->points.group[g].name, "s3-op15-htp"))
            never_below_one(x, &x->points.group[g]);
}

/* ---- 6: the naive NPU ----------------------------------------------------------------------- */

/* The NPU's step as a framework writes a product, tokens x weights: with the operands the other way
 * round a product of the shape that the factor was measured at, more outputs than inputs, takes
 * in->order times as long. `all_ns`: were it so of every shape. */
static int unordered(struct negatives *x, double *wide_ns, double *all_ns, struct err *e)
{
    struct explain_step step = {0};
    int rc = explain(x, &x->k70, "npu", "heteroinfer", "llama-3-8b", 320, &step, e);
    *wide_ns = *all_ns = 0;
    for (int32_t i = 0; i < step.n && !rc; i++) {
        const struct explain_row *row = &step.row[i];
        double ns = row->time.known ? (double)row->time.ns * row->layers : 0;
        bool product = row->op.kind == OP_MATMUL;
        *wide_ns += ns * (product && row->op.n > row->op.k ? x->in.order : 1);
        *all_ns += ns * (product ? x->in.order : 1);
    }
    return rc;
}

static int naive(struct negatives *x, struct err *e)
{
    const struct inputs *in = &x->in;
    double prepare_ns = 1e6 * (in->prepare_135_ms + (in->prepare_1000_ms - in->prepare_135_ms) *
                                                        (320 - 135) / (1000 - 135));
    double cpu, npu, gpu, right, wide, all;
    int rc = step_ns(x, &x->k70, "cpu", "mllm", "qwen1.5-1.8b", 512, &cpu, e);
    if (!rc)
        rc = step_ns(x, &x->k70, "npu", "mllm", "qwen1.5-1.8b", 512, &npu, e);
    if (!rc)
        rc = step_ns(x, &x->k70, "gpu", "heteroinfer", "llama-3-8b", 320, &gpu, e);
    if (!rc)
        rc = step_ns(x, &x->k70, "npu", "heteroinfer", "llama-3-8b", 320, &right, e);
    if (!rc)
        rc = unordered(x, &wide, &all, e);
    if (rc)
        return rc;
    double per_group = (in->per_group_low + in->per_group_high) / 2;
    double build_ns = 1e6 * (in->build_ms + in->optimize_ms), naive_ns = wide + prepare_ns;
    put(x, "llmnpu-naive", "predicted", cpu / (npu * per_group + build_ns));
    reproduce_note(x->c,
                   "  naive: quantised by groups (%.3g times as long), its graph built and "
                   "optimised for the prompt (%.0f ms); with a graph that is ready %.3g\n",
                   per_group, build_ns / 1e6, cpu / npu / per_group);
    put(x, "heteroinfer-naive", "predicted", gpu / naive_ns);
    reproduce_note(
        x->c,
        "  naive: graphs prepared on line (%.0f ms), operands not ordered (%.3g times as long) in "
        "products of the shape that this was measured at; with every order right %.3g. Were every "
        "product so slow, %.3g: it was measured of one shape\n",
        prepare_ns / 1e6, in->order, gpu / (right + prepare_ns), gpu / (all + prepare_ns));
    const struct ranged *peak = &unit(&x->k70, "gpu", "heteroinfer")->kernel[0].flops_per_s;
    reproduce_note(
        x->c,
        "  preparation is what is missing: it makes the naive NPU's time %.3g times as long here, "
        "%.3g times in the paper's ablation; order %.3g and %.3g times. With the ablation's two "
        "factors, which hold what is foretold, %.3g. For the sign preparation must take %.0f ms, "
        "%.3g times what Fig. 14 has for 320 tokens (another paper has %.0f ms for a model of "
        "1.8B), or the GPU be %.3g times as fast as in Table 3: at the rate of section 1, %.3g "
        "instead of %.3g TFLOPS, %.3g. The paper's own figures differ by more than the sign is "
        "away\n",
        naive_ns / wide, in->ablation_prepare, wide / right, in->ablation_order,
        gpu / (right * in->ablation_order * in->ablation_prepare), (gpu - wide) / 1e6,
        (gpu - wide) / prepare_ns, build_ns / 1e6, gpu / naive_ns, (double)peak->high / 1e12,
        (double)peak->value / 1e12, gpu / naive_ns * (double)peak->value / (double)peak->high);
    return ERR_OK;
}

/* ---- 7: who suffers ------------------------------------------------------------------------- */

static int foreground(struct negatives *x, struct err *e)
{
    struct platform_bus *bus = &x->k70.platform.bus;
    struct bus_flow f[2] = {{platform_path(&x->k70.platform, "cpu"), -1, 0},
                            {platform_path(&x->k70.platform, "npu-qnn"), -1, 0}};
    if (f[0].path < 0 || f[1].path < 0)
        return err_set(e, ERR_SCHEMA, "device '%s' has no path %s", x->k70.name,
                       f[0].path < 0 ? "cpu" : "npu-qnn");
    double app = (double)bus->path[f[0].path].bytes_per_s.value;
    double model = (double)bus->path[f[1].path].bytes_per_s.value;
    bus_rates(bus, f, 2);
    double app_fair = f[0].bytes_per_s / app, model_fair = f[1].bytes_per_s / model;
    int32_t was = bus->path[f[1].path].priority;
    bus->path[f[1].path].priority = 1;
    bus_rates(bus, f, 2);
    bus->path[f[1].path].priority = was;
    put(x, "application", "predicted", f[0].bytes_per_s / app);
    put(x, "model", "predicted", f[1].bytes_per_s / model);
    reproduce_note(
        x->c,
        "  the model keeps %.3g with priority (published 0.987) and %.3g without, the application "
        "%.3g without: only priority has the published asymmetry\n",
        f[1].bytes_per_s / model, model_fair, app_fair);
    return ERR_OK;
}

static int run(struct reproduce_context *c, struct err *e)
{
    struct negatives x = {.c = c};
    char path[4096];
    int rc = load_device(&x, "redmi-k60-pro", &x.k60, e);
    if (!rc)
        rc = load_device(&x, "redmi-k70-pro", &x.k70, e);
    if (!rc)
        rc = load_device(&x, "oneplus-13", &x.oneplus, e);
    if (!rc)
        rc = read_published(&x, e);
    if (!rc)
        rc = reproduce_file("points", path, sizeof path, e);
    if (!rc)
        rc = points_load(path, c->arena, &x.points, e);
    if (!rc)
        rc = split(&x, e);
    if (rc)
        return rc;
    address_space(&x);
    rc = cpu_decode(&x, e);
    if (rc)
        return rc;
    verification(&x);
    rc = naive(&x, e);
    if (rc)
        return rc;
    rc = foreground(&x, e);
    if (rc)
        return rc;
    reproduce_note(
        c, "Open: an NPU draft model slower than a CPU one on Lunar Lake, and a split product on a "
           "OnePlus 15, 0.39 to 0.88 (no device files); what a model costs beyond 4 GiB (the "
           "fallback is not modelled)\n");
    return ERR_OK;
}

const struct reproduction reproduce_negatives = {
    .name = "negatives",
    .source = "negative results of llm.npu, HeteroInfer, Sereno, MNN, PocketPal and s3",
    .summary = "what others found not to pay: does its sign come out",
    .files_only = true,
    .run = run};
