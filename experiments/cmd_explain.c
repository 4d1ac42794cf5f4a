/* tandem explain: one step's time, operator by operator. */
#include <dirent.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "experiments/command.h"
#include "experiments/output.h"
#include "hwmodels/explain.h"
#include "hwmodels/layout.h"
#include "hwmodels/status.h"
#include "hwmodels/table.h"

static const char *const columns[] = {
    "operator", "on",        "layers",     "m",         "n",       "k",  "MFLOP", "kB",     "us",
    "limit",    "launch us", "compute us", "memory us", "copy us", "mJ", "marks", "source", NULL};

static const char *const phases[] = {"prefill", "decode", NULL};
static const char *const layouts[] = {"one", "mllm", "mllm-pairs", NULL};

struct asked {
    int64_t width, context, attended, head_rows;
    int32_t b0, b1; /* b1 -1: all */
    int layout, phase;
    bool sleeping;
};

/* The option's file. A name ("redmi-k70-pro") is a file that comes with Tandem; anything else is a
 * path. */
static int find(const struct args *a, const char *option, const char *where, const char **out,
                char *buf, size_t size, struct err *e)
{
    const char *what = *out = arg_text(a, option);
    char relative[512], known[500] = "";
    struct dirent **file;
    size_t n = strlen(what);
    if (strchr(what, '/') || n > 200 ||
        (n > 5 && (!strcmp(what + n - 5, ".yaml") || !strcmp(what + n - 5, ".gguf"))))
        return ERR_OK;
    snprintf(relative, sizeof relative, "%s/%s.yaml", where, what);
    *out = buf;
    if (command_shipped(relative, buf, size))
        return ERR_OK;
    int n_files = command_yaml_files(where, buf, size, &file);
    for (int i = 0; i < n_files; i++) {
        file[i]->d_name[strlen(file[i]->d_name) - strlen(".yaml")] = 0;
        err_list(known, sizeof known, file[i]->d_name);
        free(file[i]);
    }
    free(file);
    return err_set(e, ERR_USAGE,
                   "%s is '%s': expected the path of a file, or the name of one in %s%s%s", option,
                   what, where, known[0] ? ": " : "", known);
}

static int read_blocks(const char *text, struct asked *q, struct err *e)
{
    char *end;
    q->b1 = -1;
    if (!text)
        return ERR_OK;
    long a = strtol(text, &end, 10);
    long b = end > text && !strncmp(end, "..", 2) ? strtol(end + 2, &end, 10) : -1;
    if (*end || a < 0 || b <= a || b > INT32_MAX)
        return err_set(e, ERR_USAGE,
                       "--blocks '%s': expected a..b, layers a up to b without b, as in 0..4",
                       text);
    q->b0 = (int32_t)a;
    q->b1 = (int32_t)b;
    return ERR_OK;
}

static int read_numbers(const struct args *a, struct asked *q, struct err *e)
{
    int rc = arg_int(a, "--width", 1, DEVICE_MAX_WIDTH, &q->width, e);
    if (!rc)
        rc = arg_int(a, "--context", 0, 1 << 24, &q->context, e);
    if (!rc)
        rc = arg_int(a, "--attended", 0, 1 << 24, &q->attended, e);
    q->head_rows = q->width;
    if (!rc)
        rc = arg_int(a, "--head-rows", 0, DEVICE_MAX_WIDTH, &q->head_rows, e);
    if (!rc)
        rc = arg_word(a, "--layout", layouts, &q->layout, e);
    if (!rc)
        rc = arg_word(a, "--phase", phases, &q->phase, e);
    q->sleeping = arg_given(a, "--sleeping");
    return rc ? rc : read_blocks(arg_text(a, "--blocks"), q, e);
}

/* ---- devices with tables -------------------------------------------------------------------- */

/* A row of whole steps; of 0 rows: of any number. `kb` may be NAN. */
static void put_whole(struct output *o, const char *what, const char *processor, int64_t rows,
                      double kb, double ns, const char *limit, const char *marks,
                      const char *source)
{
    output_text(o, what);
    output_text(o, processor);
    output_number(o, "%g", NAN, "all");
    output_number(o, "%.0f", rows ? (double)rows : NAN, "");
    for (int i = 0; i < 3; i++)
        output_number(o, "%g", NAN, "");
    output_number(o, "%.1f", kb, "");
    output_number(o, "%.3f", ns / 1e3, "");
    output_text(o, limit);
    for (int i = 0; i < 5; i++)
        output_number(o, "%g", NAN, "");
    output_text(o, marks);
    output_text(o, source);
    output_end(o);
}

/* What a step takes more after one of another shape: a figure for each kind of steps. */
static void put_changes(struct output *o, const struct table_grid *g, const char *what,
                        const char *processor, const char *source)
{
    static const char *const after[] = {"", "another shape", "the other kind"};
    static const struct {
        const char *limit, *why;
    } rests_on[] = {[TABLE_CHANGE_NONE] = {"assumed", "says nothing of it: none"},
                    [TABLE_CHANGE_STATED] = {"stated", "`change`"},
                    [TABLE_CHANGE_MEASURED] = {"measured", "median of its cells"},
                    [TABLE_CHANGE_OTHER_ROWS] = {"measured", "median of the other kind's cells"},
                    [TABLE_CHANGE_OTHER_CHANGE] = {
                        "measured", "median after the other change, of either kind"}};
    for (int kind = g->few ? 0 : 1; kind < 2; kind++)
        for (int c = DEVICE_OTHER_SHAPE; c < (g->few ? DEVICE_CHANGES : DEVICE_OTHER_KIND); c++) {
            char rows[40] = "", name[120], why[300], cells[20] = "";
            if (g->few)
                snprintf(rows, sizeof rows, " of %s %" PRId32 " rows", kind ? "more than" : "up to",
                         g->few);
            snprintf(name, sizeof name, "%s%s: more after %s", what, rows, after[c]);
            if (g->change_cells[kind][c])
                snprintf(cells, sizeof cells, ", %" PRId32, g->change_cells[kind][c]);
            snprintf(why, sizeof why, "%.200s: %s%s", source, rests_on[g->change_from[kind][c]].why,
                     cells);
            put_whole(o, name, processor, 0, NAN, g->change[kind][c],
                      rests_on[g->change_from[kind][c]].limit, "", why);
        }
}

static int put_table(struct output *o, const struct device *d, const struct device_processor *p,
                     const struct device_table *t, const char *what, const struct asked *q,
                     struct err *e)
{
    struct table_grid grid;
    struct device_options opt = {0};
    bool guess = false;
    if (!t->n_cells)
        return ERR_OK;
    int rc = table_grid_build(t, &opt, !strcmp(what, "step"), what, o->arena, &grid, e);
    if (rc)
        return rc;
    int32_t width = (int32_t)q->width;
    double ns = table_grid_ns(&grid, width, device_bucket((int32_t)q->context, width, grid.pad),
                              false, &guess);
    double kb = t->fixed_bytes < 0
                    ? NAN
                    : (double)(t->fixed_bytes + t->per_token_bytes * (q->context + q->width)) / 1e3;
    const char *source = t->source ? t->source : p->source ? p->source : d->source ? d->source : "";
    double bus_ns = d->dram_bytes_per_s > 0 ? kb * 1e12 / (double)d->dram_bytes_per_s : 0;
    bool bus = bus_ns > ns; /* not so where the bytes are not known */
    put_whole(o, what, p->name, q->width, kb, bus ? bus_ns : ns, bus ? "dram" : "measured",
              guess ? "extrapolated" : "",
              bus ? d->bus_source ? d->bus_source
                    : d->source   ? d->source
                                  : ""
                  : source);
    put_changes(o, &grid, what, p->name, source);
    return ERR_OK;
}

/* ---- devices with operators ----------------------------------------------------------------- */

static void put_sources(struct output *o, const struct device *d, const struct explain_row *row)
{
    char text[2000] = "";
    size_t at = 0;
    for (int32_t i = 0; i < row->time.n_sources && at < sizeof text; i++) {
        const char *source = explain_source(d, row, i);
        if (!strstr(text, source))
            at += (size_t)snprintf(text + at, sizeof text - at, "%s%s", at ? "; " : "", source);
    }
    output_text(o, *text ? text : row->time.known ? "" : "not known");
}

static void put_row(struct output *o, const struct device *d, const struct explain_row *row)
{
    const struct roof_time *t = &row->time;
    bool parts = t->known && t->limit >= ROOF_LAUNCH;
    output_text(o, row->op.name);
    output_text(o, row->unit);
    output_int(o, row->layers);
    output_int(o, row->op.m);
    output_int(o, row->op.n);
    output_int(o, row->op.k);
    output_number(o, "%.3f", (double)row->op.flops / 1e6, "");
    output_number(o, "%.1f", (double)op_bytes(&row->op) / 1e3, "");
    output_number(o, "%.3f", t->known ? (double)t->ns / 1e3 : NAN, "unknown");
    output_text(o, roof_limit_name[t->limit]);
    output_number(o, "%.3f", parts ? t->launch_ns / 1e3 : NAN, "");
    output_number(o, "%.3f", parts ? t->compute_ns / 1e3 : NAN, "");
    output_number(o, "%.3f", parts ? t->memory_ns / 1e3 : NAN, "");
    output_number(o, "%.3f", parts ? t->copy_ns / 1e3 : NAN, "");
    output_number(o, "%g", NAN, "");
    output_text(o, t->extrapolated ? "extrapolated" : "");
    put_sources(o, d, row);
    output_end(o);
}

static void put_total(struct output *o, const struct explain_step *x, const char *name,
                      const char *how, int64_t ns, int64_t pj)
{
    output_text(o, name);
    output_text(o, how);
    output_number(o, "%g", NAN, "");
    output_number(o, "%g", NAN, "");
    output_number(o, "%g", NAN, "");
    output_number(o, "%g", NAN, "");
    output_number(o, "%.3f", (double)x->total.flops / 1e6, "");
    output_number(o, "%.1f", (double)op_bytes(&x->total) / 1e3, "");
    output_number(o, "%.3f", ns < 0 ? NAN : (double)ns / 1e3, "unknown");
    output_text(o, "");
    for (int i = 0; i < 4; i++)
        output_number(o, "%g", NAN, "");
    output_number(o, "%.4f", pj < 0 ? NAN : (double)pj / 1e9, "unknown");
    output_text(o, x->extrapolated ? "extrapolated" : "");
    if (ns < 0)
        output_cell(o, "at least %.3f us: the rest is not known", (double)x->least_ns / 1e3);
    else
        output_text(o, "computed from the rows above");
    output_end(o);
}

/* The layout's time: products on the unit's processor, attention on that of `attention`. */
static void put_layout(struct output *o, const struct device *d, const struct explain_step *x,
                       const struct roof_unit *unit, const struct roof_unit *attention,
                       const struct asked *q, int32_t layers)
{
    struct layout_times t;
    struct layout_result r;
    if (!q->layout)
        return;
    layout_of_step(x, layers, &t);
    char name[16];
    const struct platform_edge *sync =
        device_crossing(d, explain_owner(d, unit)->kind, explain_owner(d, attention)->kind, name);
    t.edge_ns = !sync ? -1 : q->sleeping ? sync->sleeping_ns.value : sync->polling_ns.value;
    layout_run(&t, q->layout == 2 ? LAYOUT_PAIRS : LAYOUT_ALTERNATING, &r);
    char how[120];
    snprintf(how, sizeof how, "%" PRId32 " graphs, %" PRId32 " edges%s", r.graphs, r.edges,
             q->layout == 2 ? ", two chunks" : "");
    put_total(o, x, layouts[q->layout], how, r.ns, -1);
}

/* Attention elsewhere draws its own processor's power. */
static int64_t step_pj(const struct device *d, const struct explain_step *x,
                       const struct roof_unit *unit, enum explain_phase phase)
{
    const struct device_processor *p = explain_owner(d, unit);
    int64_t elsewhere_pj = 0, elsewhere_ns = 0;
    for (int32_t i = 0; i < x->n && x->known; i++) {
        const struct explain_row *row = &x->row[i];
        const struct device_processor *other = explain_owner(d, row->by);
        int64_t ns = row->layers * row->time.ns;
        if (other == p)
            continue;
        int64_t pj = explain_energy_pj(d, other, phase, ns, 0);
        elsewhere_pj = elsewhere_pj < 0 || pj < 0 ? -1 : elsewhere_pj + pj;
        elsewhere_ns += ns;
    }
    int64_t pj = explain_energy_pj(d, p, phase, x->known ? x->ns - elsewhere_ns : -1, x->bytes);
    return pj < 0 || elsewhere_pj < 0 ? -1 : pj + elsewhere_pj;
}

static int choose(const struct device *d, const struct args *a, const char *which,
                  const struct roof_unit **out, struct err *e)
{
    const char *processor = arg_text(a, which);
    char have[800] = "";
    size_t at = 0;
    *out = NULL;
    for (int32_t i = 0; i < d->n_processors; i++) {
        const struct device_processor *p = &d->processor[i];
        if (!*out && (!processor || !strcmp(processor, p->name)))
            *out = device_unit(p, arg_text(a, "--backend"), arg_text(a, "--datatype"));
        for (int32_t u = 0; u < p->n_units && at < sizeof have; u++)
            at += (size_t)snprintf(have + at, sizeof have - at, "%s%s %s %s", at ? ", " : "",
                                   p->name, p->unit[u].backend, p->unit[u].datatype);
    }
    return *out ? ERR_OK
                : err_set(e, ERR_USAGE,
                          "no such processor, backend and datatype: device '%s' has %s", d->name,
                          have);
}

/* What says nothing, or leaves a layout without its processor. */
static int check_options(const struct args *a, const struct asked *q, int32_t layers, struct err *e)
{
    if (!q->layout && q->sleeping)
        return err_set(e, ERR_USAGE,
                       "--sleeping: one graph waits for no other processor: remove it, or name a "
                       "--layout");
    if (q->layout && !arg_text(a, "--attention"))
        return err_set(e, ERR_USAGE, "--layout %s: which processor computes --attention?",
                       layouts[q->layout]);
    if (arg_given(a, "--head-rows") && q->b1 >= 0 && q->b1 < layers)
        return err_set(e, ERR_USAGE, "--head-rows: these --blocks end before the head: remove one");
    return ERR_OK;
}

static int put_operators(struct output *o, const struct device *d, const struct args *a,
                         const struct model_desc *m, const struct asked *q, struct err *e)
{
    const struct roof_unit *unit, *attention = NULL;
    int rc = check_options(a, q, m->layers, e);
    if (!rc)
        rc = choose(d, a, "--processor", &unit, e);
    if (!rc && arg_text(a, "--attention")) {
        int32_t p = device_find(d, arg_text(a, "--attention"));
        attention = p < 0 ? NULL : explain_attention(d, p, unit);
        if (!attention)
            rc = err_set(e, ERR_USAGE, "--attention: device '%s' has no processor '%s'", d->name,
                         arg_text(a, "--attention"));
    }
    if (rc)
        return rc;
    int32_t b1 = q->b1 < 0 ? m->layers : q->b1;
    struct ops_step s = {.b0 = q->b0,
                         .b1 = b1,
                         .rows = (int32_t)q->width,
                         .context = (int32_t)q->context,
                         .attended = (int32_t)q->attended,
                         .head_rows = b1 == m->layers ? (int32_t)q->head_rows : 0,
                         .weights = unit->weights,
                         .head = unit->weights,
                         .activation_bytes = unit->activation_bytes,
                         .kv_bytes = unit->kv_bytes};
    struct explain_step x;
    rc = explain_step(d, unit, attention, m, &s, o->arena, &x, e);
    if (rc)
        return rc;
    for (int32_t i = 0; i < x.n; i++)
        put_row(o, d, &x.row[i]);
    char by[200];
    snprintf(by, sizeof by, "%s %s", unit->backend, unit->datatype);
    put_total(o, &x, "step", by, x.ns, step_pj(d, &x, unit, (enum explain_phase)q->phase));
    put_layout(o, d, &x, unit, attention, q, b1 - q->b0);
    return ERR_OK;
}

/* What a device of whole steps cannot answer. */
static const char *const of_operators[] = {"--model",   "--attended", "--blocks",    "--head-rows",
                                           "--backend", "--datatype", "--attention", "--layout",
                                           "--phase",   "--sleeping", NULL};

static int explain(struct output *o, const struct device *d, const struct args *a,
                   const struct asked *q, struct err *e)
{
    char path[4096];
    const char *file;
    struct model_desc m;
    if (!d->operators) {
        for (int i = 0; of_operators[i]; i++)
            if (arg_given(a, of_operators[i]))
                return err_set(e, ERR_USAGE, "device '%s' has whole steps of %s: remove '%s'",
                               d->name, d->model, of_operators[i]);
        const char *name = arg_text(a, "--processor");
        int32_t p = name ? device_find(d, name) : 0;
        if (p < 0)
            return err_set(e, ERR_USAGE, "device '%s' has no processor '%s'", d->name, name);
        const struct device_processor *with = device_costs_of(d, p);
        int rc = put_table(o, d, with, &with->step, "step", q, e);
        return rc ? rc : put_table(o, d, with, &with->prefill, "prefill", q, e);
    }
    if (!arg_text(a, "--model"))
        return err_set(e, ERR_USAGE,
                       "device '%s' has operators' times, for any model: which --model?", d->name);
    int rc = find(a, "--model", "hwmodels/models", &file, path, sizeof path, e);
    if (!rc)
        rc = model_load(file, &m, e);
    return rc ? rc : put_operators(o, d, a, &m, q, e);
}

static const char *const status_columns[] = {"mechanism", "status", "why", NULL};

static void put_status(struct output *o, const struct device *d)
{
    struct status s[STATUS_MECHANISMS];
    device_status(d, s);
    for (int i = 0; i < STATUS_MECHANISMS; i++) {
        output_text(o, s[i].mechanism);
        output_text(o, s[i].status);
        output_text(o, s[i].why);
        output_end(o);
    }
}

static int check_mechanisms(const struct args *a, struct err *e)
{
    static const char *const of_steps[] = {"--width", "--context", "--processor", NULL};
    const char *extra = NULL;
    for (int i = 0; of_operators[i]; i++)
        extra = arg_given(a, of_operators[i]) ? of_operators[i] : extra;
    for (int i = 0; of_steps[i]; i++)
        extra = arg_given(a, of_steps[i]) ? of_steps[i] : extra;
    if (!arg_given(a, "--mechanisms") || !extra)
        return ERR_OK;
    return err_set(e, ERR_USAGE, "--mechanisms are the device's, whatever the step: remove '%s'",
                   extra);
}

static int run(int argc, char **argv)
{
    static struct args a;
    struct asked q = {0};
    struct output o;
    struct arena arena;
    struct device d;
    struct err e = {0};
    char path[4096];
    const char *file, *set[ARGS_MAX];
    int format = 0, code = args_parse(&command_explain, argc, argv, &a);
    if (code != ARGS_GO_ON)
        return code;
    int rc = arg_word(&a, "--format", output_formats, &format, &e);
    if (!rc)
        rc = read_numbers(&a, &q, &e);
    if (!rc)
        rc = check_mechanisms(&a, &e);
    if (rc)
        return command_fail(&e);
    int n_set = arg_all(&a, "--set", set, ARGS_MAX);
    arena_init(&arena);
    bool status = arg_given(&a, "--mechanisms");
    output_init(&o, &arena, status ? status_columns : columns);
    rc = find(&a, "--device", "hwmodels/devices", &file, path, sizeof path, &e);
    if (!rc)
        rc = device_load(file, set, n_set, &arena, &d, &e);
    if (!rc && status)
        put_status(&o, &d);
    else if (!rc)
        rc = explain(&o, &d, &a, &q, &e);
    if (!rc)
        rc = output_print(&o, (enum output_format)format, stdout);
    code = rc && e.code ? command_fail(&e) : command_printed(rc);
    arena_fini(&arena);
    return code;
}

static const struct option options[] = {
    {"--device", "FILE|NAME", "redmi-k70-pro", "a device file, or one that comes with Tandem", 0},
    {"--model", "FILE|NAME", NULL, "YAML or GGUF, or one that comes with Tandem: qwen2.5-1.5b", 0},
    {"--width", "N", "32", "rows of the step", 0},
    {"--context", "TOKENS", "0", "in the cache before it", 0},
    {"--attended", "CELLS", "0", "that attention computes; 0: context and rows", 0},
    {"--blocks", "A..B", NULL, "layers A up to B; default: all, with embeddings and head", 0},
    {"--head-rows", "N", NULL, "rows through the head; default: all", 0},
    {"--processor", "NAME", NULL, "default: the first that has the backend", 0},
    {"--backend", "NAME", NULL, "default: the processor's first", 0},
    {"--datatype", "NAME", NULL, "as w4a16; default: the first", 0},
    {"--attention", "PROCESSOR", NULL, "where attention runs; default: with the rest", 0},
    {"--layout", "one|mllm|mllm-pairs", "one", "see below", 0},
    {"--phase", "prefill|decode", "decode", "whose power the energy is computed with", 0},
    {"--sleeping", NULL, NULL, "processors wait for one another asleep, and not polling", 0},
    {"--mechanisms", NULL, NULL, "instead: what each mechanism of the device rests on", 0},
    {"--set", "KEY=VALUE", NULL, "a value of the device, as device.bus.dram='80 GB/s'",
     OPTION_REPEATS},
    {"--format", "FORMAT", "table", "table, csv or json", 0},
    {.name = NULL}};

static const char *const examples[] = {
    "explain --device oneplus-13 --model qwen2.5-1.5b --width 32 --context 512",
    "explain --device redmi-k70-pro --model llama-3.2-3b --backend heteroinfer --width 256 "
    "--blocks 0..1 --format csv",
    "explain --device hwmodels/devices/example-2core.yaml --width 8 --context 150",
    "explain --device oneplus-13 --model qwen2.5-1.5b --width 256 --attention cpu "
    "--layout mllm-pairs --sleeping",
    "explain --device oneplus-13 --mechanisms",
    NULL};

const struct command command_explain = {
    .name = "explain",
    .group = "Look",
    .summary = "one step's time by operator: what binds, and each number's source",
    .arguments = "",
    .options = options,
    .details =
        "Equal operators of several layers are one row: us is one layer's time. A device of whole\n"
        "steps has no operators: its tables' times are printed, of its own model, and what steps\n"
        "take more after one of another shape. What has no source is unknown, and so is a sum\n"
        "with such a part. Layouts: one graph; mllm, where attention runs between graphs on the\n"
        "--attention processor, each crossing costing the device's sync time; mllm-pairs, two\n"
        "chunks of that at a time, the second behind the first.",
    .examples = examples,
    .run = run};
