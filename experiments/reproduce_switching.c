/* `tandem reproduce switching`: what each way of switching graphs costs, how far from the best
 * possible schedule, with beliefs that are wrong, back again for the next request, and where
 * progressive switching pays against keeping both graphs with shared weights. */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "analysis/figure.h"
#include "experiments/command.h"
#include "experiments/reproduce.h"
#include "experiments/switching_run.h"
#include "sim/base/yaml.h"
#include "sim/exec/metrics.h"

enum { MAX_LIST = 16, SCHEMES = 11, MAX_CASES = 1024 };

/* Of the map: devices, use, sharing. */
enum { USES = 2, MAX_PANELS = SWITCHING_MAX_DEVICES * USES * 2 };

/* Nodes kept per level by the search for the optimum: about a second for the largest case. */
enum { WIDTH = 50000, BRIEF_WIDTH = 1000 };

#define NS_PER_MS 1e6
#define PAYS_PCT  0.05 /* a gain from here on is called one */

static const char *const columns[] = {
    "target",          "part",    "device",        "scheme",   "blocks",       "prompt",
    "load_s",          "belief",  "use",           "sharing",  "budget_mb",    "delay_ms",
    "first_decode_ms", "peak_mb", "best_delay_ms", "gap_pct",  "incumbent_ms", "bound_ms",
    "proved",          "e2e_ms",  "other",         "other_ms", "gain_pct",     NULL};

/* In the order of the paper, and of the rows. `free`: of the wide graph's switches. */
static const struct scheme {
    const char *name, *policy;
    bool moves; /* blocks pass from one graph to the other: the optimum is one of these */
    bool shares;
} schemes[SCHEMES] = {
    {"no-switch", "switching:scheme=no-switch", false, false},
    {"narrow-only", "switching:scheme=narrow-only", false, false},
    {"sync-switch", "switching:scheme=sync-switch,back=reload-in-idle", true, false},
    {"async-last-chunk", "switching:scheme=async-last-chunk,back=reload-in-idle", true, false},
    {"progressive", "switching:back=reload-in-idle", true, false},
    {"progressive, free after", "switching:free=after,back=reload-in-idle", true, false},
    {"progressive, late", "switching:begin=late,back=reload-in-idle", true, false},
    {"progressive, late, wait", "switching:begin=late,unhidden=wait,back=reload-in-idle", true,
     false},
    {"progressive, keep", "switching:back=keep-resident", false, false},
    {"both-resident-copied", "switching:scheme=both-resident-copied", false, false},
    {"both-resident-shared", "switching:scheme=both-resident-shared", false, true},
};

struct list {
    int32_t n;
    int64_t v[MAX_LIST];
};

struct sweep {
    struct reproduce_context *c;
    struct arena arena; /* of one run at a time */
    struct switching_model m;
    struct list loads, blocks, prompts, errors, budgets;
    int32_t belief_blocks, seeds, map_prompt, map_output, map_blocks;
    int32_t width;
    double gap[SCHEMES][MAX_CASES];
    double delay[SCHEMES][MAX_CASES], peak[SCHEMES][MAX_CASES]; /* ms, MB */
    int64_t load_of[MAX_CASES];                                 /* ms */
    int32_t n_cases, n_proved, n_small, n_small_proved;
    double open_pct;                               /* largest gap between incumbent and bound */
    double gain[MAX_PANELS * MAX_LIST * MAX_LIST]; /* of the map: panel, load, budget */
    char panel[MAX_PANELS][64];
    int32_t n_map[2], n_pays[2]; /* its cells; [1]: the rival has both graphs, weights shared */
};

/* ---- the file ------------------------------------------------------------------------------- */

static void read_list(struct yaml *y, struct yaml_node *at, const char *key, int64_t max,
                      struct list *out)
{
    struct yaml_node *node = yaml_list(y, at, key);
    const int64_t *v = yaml_ints(y, node, NULL, 1, max, &out->n);
    if (!y->code && (out->n < 1 || out->n > MAX_LIST))
        yaml_fail(y, node, ERR_LIMIT, "expected 1 to %d values", MAX_LIST);
    for (int32_t i = 0; i < out->n && !y->code; i++)
        out->v[i] = v[i];
}

static int32_t read_int(struct yaml *y, struct yaml_node *at, const char *key, int64_t max)
{
    return (int32_t)yaml_int(y, at, key, 1, max);
}

static void read_description(struct yaml *y, struct yaml_node *at, struct switching_model *m)
{
    char relative[160], path[512];
    struct err why = {0};
    const char *name = yaml_str(y, at, "description"), *weights = yaml_str(y, at, "weights");
    if (y->code)
        return;
    snprintf(relative, sizeof relative, "hwmodels/models/%.100s.yaml", name);
    if (!command_shipped(relative, path, sizeof path))
        yaml_fail(y, yaml_get(y, at, "description"), ERR_IO, "expected a model of hwmodels/models");
    else
        y->code = model_load(path, &m->desc, y->e);
    if (!y->code && model_type_find(weights, &m->weights, &why))
        yaml_fail(y, yaml_get(y, at, "weights"), ERR_SCHEMA, "%s", why.msg);
}

static void read_model(struct yaml *y, struct switching_model *m)
{
    struct yaml_node *at = yaml_map(y, y->root, "graphs");
    m->wide = read_int(y, at, "wide", 4096);
    m->narrow = read_int(y, at, "narrow", m->wide);
    at = yaml_map(y, y->root, "model");
    read_description(y, at, m);
    at = yaml_map(y, y->root, "memory");
    m->base_bytes = yaml_quantity(y, at, "base", UNIT_BYTES);
    m->address_bytes = yaml_quantity(y, at, "address", UNIT_BYTES);
    yaml_str(y, at, "address_note");
    at = yaml_map(y, at, "own");
    m->wide_own_bytes = yaml_quantity(y, at, "wide", UNIT_BYTES);
    m->narrow_own_bytes = yaml_quantity(y, at, "narrow", UNIT_BYTES);
    at = yaml_map(y, y->root, "bus");
    m->dram_bytes_per_s = yaml_quantity(y, at, "dram", UNIT_BYTES_PER_S);
    struct yaml_node *list = yaml_list(y, y->root, "devices");
    if (!y->code && (list->n < 1 || list->n > SWITCHING_MAX_DEVICES))
        yaml_fail(y, list, ERR_LIMIT, "expected 1 to %d devices", SWITCHING_MAX_DEVICES);
    for (struct yaml_node *d = list->first; d && !y->code; d = d->next)
        m->device[m->n_devices++] =
            (struct switching_device){yaml_str(y, d, "name"), yaml_quantity(y, d, "wide", UNIT_NS),
                                      yaml_quantity(y, d, "narrow", UNIT_NS)};
}

static void read_grid(struct yaml *y, const char *key, struct sweep *w, bool use)
{
    struct list loads = {0}, blocks = {0}, prompts = {0};
    struct yaml_node *at = yaml_map(y, y->root, key);
    read_list(y, at, "loads", 100000, &loads);
    read_list(y, at, "blocks", OPTIMAL_MAX_BLOCKS, &blocks);
    read_list(y, at, "prompts", SWITCHING_MAX_PROMPT, &prompts);
    if (!use)
        return;
    w->loads = loads;
    w->blocks = blocks;
    w->prompts = prompts;
}

static int read_file(struct sweep *w, struct err *e)
{
    struct yaml y;
    char path[1024];
    int rc = reproduce_file("switching", path, sizeof path, e);
    if (rc)
        return rc;
    yaml_load(&y, path, w->c->arena, e);
    y.need_source = true;
    if (strcmp(yaml_str(&y, y.root, "schema"), "tandem-published-switching-1") && !y.code)
        yaml_fail(&y, yaml_get(&y, y.root, "schema"), ERR_SCHEMA,
                  "expected 'tandem-published-switching-1'");
    yaml_str(&y, y.root, "about");
    read_model(&y, &w->m);
    read_grid(&y, "grid", w, !w->c->brief);
    read_grid(&y, "brief", w, w->c->brief);
    struct yaml_node *at = yaml_map(&y, y.root, "beliefs");
    read_list(&y, at, "errors", 99, &w->errors);
    w->belief_blocks = read_int(&y, at, "blocks", OPTIMAL_MAX_BLOCKS);
    w->seeds = read_int(&y, at, "seeds", 1000);
    at = yaml_map(&y, y.root, "map");
    w->map_prompt = read_int(&y, at, "prompt", SWITCHING_MAX_PROMPT);
    w->map_output = read_int(&y, at, "output", SWITCHING_MAX_OUTPUT - 1);
    w->map_blocks = read_int(&y, at, "blocks", OPTIMAL_MAX_BLOCKS);
    read_list(&y, at, "budgets", 1000000, &w->budgets);
    return yaml_done(&y);
}

/* ---- rows ----------------------------------------------------------------------------------- */

/* Text NULL, number NAN: there is none. */
struct row {
    const char *part, *scheme, *belief, *use, *sharing, *proved, *other;
    double budget_mb, delay_ms, decode_ms, peak_mb, best_ms, gap_pct;
    double incumbent_ms, bound_ms, e2e_ms, other_ms, gain_pct;
};

static struct row no_row(const char *part, const char *scheme)
{
    return (struct row){.part = part,
                        .scheme = scheme,
                        .budget_mb = NAN,
                        .delay_ms = NAN,
                        .decode_ms = NAN,
                        .peak_mb = NAN,
                        .best_ms = NAN,
                        .gap_pct = NAN,
                        .incumbent_ms = NAN,
                        .bound_ms = NAN,
                        .e2e_ms = NAN,
                        .other_ms = NAN,
                        .gain_pct = NAN};
}

static void put_text(struct output *o, const char *text)
{
    output_text(o, text ? text : "");
}

static void put_row(struct sweep *w, const struct switching_case *c, const struct row *r)
{
    struct output *o = w->c->rows;
    output_text(o, "switching");
    output_text(o, r->part);
    output_text(o, c->device->name);
    output_text(o, r->scheme);
    output_int(o, c->blocks);
    output_int(o, c->prompt);
    output_number(o, "%.1f", (double)c->load_ns / 1e9, "");
    put_text(o, r->belief);
    put_text(o, r->use);
    put_text(o, r->sharing);
    output_number(o, "%.0f", r->budget_mb, "");
    output_number(o, "%.1f", r->delay_ms, "");
    output_number(o, "%.1f", r->decode_ms, "");
    output_number(o, "%.0f", r->peak_mb, "");
    output_number(o, "%.1f", r->best_ms, "");
    output_number(o, "%.3f", r->gap_pct, "");
    output_number(o, "%.3f", r->incumbent_ms, "");
    output_number(o, "%.3f", r->bound_ms, "");
    put_text(o, r->proved);
    output_number(o, "%.0f", r->e2e_ms, "");
    put_text(o, r->other);
    output_number(o, "%.0f", r->other_ms, "");
    output_number(o, "%.2f", r->gain_pct, "");
    output_end(o);
}

static double ms(int64_t ns)
{
    return (double)ns / NS_PER_MS;
}

static double pct_above(int64_t a, int64_t b)
{
    return 100 * ((double)a / (double)b - 1);
}

static struct switching_case case_of(const struct sweep *w, int32_t device, int32_t blocks,
                                     int64_t prompt, int64_t load_ms)
{
    return (struct switching_case){.device = &w->m.device[device],
                                   .blocks = blocks,
                                   .prompt = (int32_t)prompt,
                                   .output = 2,
                                   .load_ns = load_ms * 1000000,
                                   .idle_ns = -1};
}

/* ---- the grid ------------------------------------------------------------------------------- */

static int best_of(struct sweep *w, const struct switching_case *c, struct optimal_result *out,
                   struct err *e)
{
    struct optimal_problem p;
    int rc = switching_problem(&w->m, c, &w->arena, &p, e);
    return rc ? rc : optimal_solve(&p, w->width, &w->arena, out, e);
}

static void count_best(struct sweep *w, const struct switching_case *c,
                       const struct optimal_result *best)
{
    bool small = c->blocks <= 6 && c->prompt <= 4 * w->m.wide;
    double open = pct_above(best->best_ns, best->bound_ns);
    w->n_proved += best->proved;
    w->n_small += small;
    w->n_small_proved += small && best->proved;
    w->open_pct = open > w->open_pct ? open : w->open_pct;
}

static int grid_case(struct sweep *w, struct switching_case *c, struct err *e)
{
    struct optimal_result best;
    int64_t wide_ns = switching_wide_ns(&w->m, c);
    int rc = best_of(w, c, &best, e);
    for (int32_t s = 0; s < SCHEMES && !rc; s++) {
        struct switching_outcome o;
        struct row r = no_row("grid", schemes[s].name);
        c->policy = schemes[s].policy;
        rc = switching_run(&w->m, c, &w->arena, &o, e);
        r.delay_ms = ms(o.objective_ns - wide_ns);
        r.decode_ms = ms(o.decode_ns);
        r.peak_mb = (double)o.peak_bytes / 1e6;
        r.best_ms = ms(best.best_ns - wide_ns);
        if (schemes[s].moves)
            r.gap_pct = pct_above(o.objective_ns, best.best_ns);
        w->gap[s][w->n_cases] = r.gap_pct;
        w->delay[s][w->n_cases] = r.delay_ms;
        w->peak[s][w->n_cases] = r.peak_mb;
        if (!rc)
            put_row(w, c, &r);
    }
    if (rc)
        return rc;
    struct row r = no_row("grid", "optimal (simulation only)");
    r.delay_ms = r.best_ms = ms(best.best_ns - wide_ns);
    r.decode_ms = r.incumbent_ms = ms(best.best_ns);
    r.bound_ms = ms(best.bound_ns);
    r.gap_pct = 0;
    r.proved = best.proved ? "yes" : "no";
    put_row(w, c, &r);
    count_best(w, c, &best);
    w->load_of[w->n_cases++] = c->load_ns / 1000000;
    return ERR_OK;
}

static void note_grid(struct sweep *w)
{
    reproduce_note(
        w->c,
        "grid: %" PRId32 " cases (%s). Gap: time to max(prefill end, switch end) above the "
        "best schedule's.\n",
        w->n_cases, w->c->brief ? "a coarser grid; `reproduce switching` has all" : "whole");
    for (int32_t s = 0; s < SCHEMES; s++) {
        double zero = 0;
        if (!schemes[s].moves)
            continue;
        for (int32_t i = 0; i < w->n_cases; i++)
            zero += w->gap[s][i] < 1e-9;
        reproduce_note(
            w->c, "  %-24s median %6.2f %%, P90 %6.2f %%, largest %6.2f %%, optimal in %.0f %%\n",
            schemes[s].name, metrics_quantile(w->gap[s], w->n_cases, 0.5),
            metrics_quantile(w->gap[s], w->n_cases, 0.9),
            metrics_quantile(w->gap[s], w->n_cases, 1), 100 * zero / w->n_cases);
    }
    reproduce_note(w->c,
                   "  optimum proved in %" PRId32 " of %" PRId32
                   " cases (with up to 6 blocks and 4 "
                   "chunks: %" PRId32 " of %" PRId32 "); largest gap left to the bound %.3f %%\n",
                   w->n_proved, w->n_cases, w->n_small_proved, w->n_small, w->open_pct);
}

/* By load time the median over devices, blocks and prompts; below 0: the narrow graph had its part
 * of a short prompt sooner than the wide one, which computes all its rows, would have. */
static void note_delays(struct sweep *w)
{
    reproduce_note(w->c,
                   "  delay beyond the prompt's time on the wide graph, median ms, by load of");
    for (int32_t l = 0; l < w->loads.n; l++)
        reproduce_note(w->c, " %.1f", (double)w->loads.v[l] / 1e3);
    reproduce_note(w->c, " s; peak memory\n");
    for (int32_t s = 0; s < SCHEMES; s++) {
        reproduce_note(w->c, "    %-24s", schemes[s].name);
        for (int32_t l = 0; l < w->loads.n; l++) {
            double v[MAX_CASES];
            int32_t n = 0;
            for (int32_t i = 0; i < w->n_cases; i++)
                if (w->load_of[i] == w->loads.v[l])
                    v[n++] = w->delay[s][i];
            reproduce_note(w->c, " %7.0f", metrics_quantile(v, n, 0.5));
        }
        reproduce_note(w->c, "   %.0f MB\n", metrics_quantile(w->peak[s], w->n_cases, 1));
    }
}

static int grid(struct sweep *w, struct err *e)
{
    int rc = ERR_OK;
    for (int32_t d = 0; d < w->m.n_devices; d++)
        for (int32_t b = 0; b < w->blocks.n; b++)
            for (int32_t p = 0; p < w->prompts.n; p++)
                for (int32_t l = 0; l < w->loads.n && !rc; l++) {
                    struct switching_case c =
                        case_of(w, d, (int32_t)w->blocks.v[b], w->prompts.v[p], w->loads.v[l]);
                    if (w->n_cases == MAX_CASES)
                        return err_set(e, ERR_LIMIT, "more than %d cases", MAX_CASES);
                    rc = grid_case(w, &c, e);
                }
    if (!rc) {
        note_grid(w);
        note_delays(w);
    }
    return rc;
}

/* ---- beliefs that are wrong ----------------------------------------------------------------- */

enum { BELIEF_LESS, BELIEF_MORE, BELIEF_NOISE, BELIEF_KINDS };

static const struct {
    const char *scheme, *policy;
} believers[] = {{"progressive", "switching"},
                 {"progressive, stall=window", "switching:stall=window"},
                 {"progressive, late", "switching:begin=late"},
                 {"progressive, late, window", "switching:begin=late,stall=window"}};

/* Means over seeds; only noise has more than one. */
static int belief_case(struct sweep *w, struct switching_case *c, int kind, int64_t pct,
                       struct row *r, struct err *e)
{
    struct blocks_error how = {.load_scale = 1};
    struct optimal_result best;
    int64_t wide_ns = switching_wide_ns(&w->m, c);
    int32_t n = kind == BELIEF_NOISE ? w->seeds : 1;
    int rc = best_of(w, c, &best, e);
    if (kind == BELIEF_NOISE)
        how.noise_pct = (double)pct;
    else
        how.load_scale += (kind == BELIEF_LESS ? -1 : 1) * (double)pct / 100;
    r->delay_ms = r->gap_pct = 0;
    c->wrong = &how;
    for (int32_t i = 0; i < n && !rc; i++) {
        struct switching_outcome o;
        how.seed = w->c->seed + (uint64_t)i;
        rc = switching_run(&w->m, c, &w->arena, &o, e);
        r->delay_ms += ms(o.objective_ns - wide_ns) / n;
        r->gap_pct += pct_above(o.objective_ns, best.best_ns) / n;
    }
    c->wrong = NULL;
    r->best_ms = ms(best.best_ns - wide_ns);
    return rc;
}

static int belief_row(struct sweep *w, int who, int kind, int64_t pct, double *gaps, int32_t *n,
                      struct err *e)
{
    static const char *const word[] = {"loads -%d %%", "loads +%d %%", "all within %d %%"};
    char text[40];
    int rc = ERR_OK;
    snprintf(text, sizeof text, pct ? word[kind] : "true", (int)pct);
    for (int32_t p = 0; p < w->prompts.n; p++)
        for (int32_t l = 0; l < w->loads.n && !rc; l++) {
            struct switching_case c =
                case_of(w, 0, w->belief_blocks, w->prompts.v[p], w->loads.v[l]);
            struct row r = no_row("belief", believers[who].scheme);
            c.policy = believers[who].policy;
            r.belief = text;
            rc = belief_case(w, &c, kind, pct, &r, e);
            gaps[(*n)++] = r.gap_pct;
            if (!rc)
                put_row(w, &c, &r);
        }
    return rc;
}

static int beliefs(struct sweep *w, struct err *e)
{
    int rc = ERR_OK;
    reproduce_note(w->c,
                   "beliefs (%s, %" PRId32 " blocks), gap to the best schedule, mean over "
                   "loads and prompts:\n",
                   w->m.device[0].name, w->belief_blocks);
    for (int who = 0; who < 4; who++)
        for (int32_t i = -1; i < w->errors.n; i++)
            for (int kind = 0; kind < (i < 0 ? 1 : BELIEF_KINDS) && !rc; kind++) {
                double gaps[MAX_LIST * MAX_LIST], sum = 0;
                int32_t n = 0;
                int64_t pct = i < 0 ? 0 : w->errors.v[i];
                rc = belief_row(w, who, kind, pct, gaps, &n, e);
                for (int32_t k = 0; k < n; k++)
                    sum += gaps[k];
                reproduce_note(w->c, "  %-26s %s %3" PRId64 " %%: %6.2f %%, largest %6.2f %%\n",
                               believers[who].scheme,
                               i < 0                 ? "nothing wrong:           "
                               : kind == BELIEF_LESS ? "loads believed shorter by"
                               : kind == BELIEF_MORE ? "loads believed longer by "
                                                     : "every time wrong within  ",
                               pct, sum / n, metrics_quantile(gaps, n, 1));
            }
    return rc;
}

/* ---- the way back --------------------------------------------------------------------------- */

static int way_back(struct sweep *w, struct err *e)
{
    static const char *const policy[] = {"switching:back=reload-sync",
                                         "switching:back=reload-in-idle",
                                         "switching:back=keep-resident"};
    static const char *const use[] = {"no pause", "pause of half a load", "pause of two loads"};
    int rc = ERR_OK;
    reproduce_note(w->c,
                   "way back (%s, %" PRId32 " tokens): the next request's wait before its "
                   "first computation, ms:\n",
                   w->m.device[0].name, w->map_prompt);
    for (int32_t l = 0; l < w->loads.n; l++)
        for (int b = 0; b < 3; b++)
            for (int u = 0; u < 3 && !rc; u++) {
                struct switching_case c =
                    case_of(w, 0, w->map_blocks, w->map_prompt, w->loads.v[l]);
                struct switching_outcome o;
                struct row r = no_row("back", strchr(policy[b], '=') + 1);
                c.policy = policy[b];
                c.idle_ns = u * u * c.load_ns / 2;
                r.use = use[u];
                rc = switching_run(&w->m, &c, &w->arena, &o, e);
                r.delay_ms = ms(o.wait_ns[1]);
                r.peak_mb = (double)o.peak_bytes / 1e6;
                if (rc)
                    continue;
                put_row(w, &c, &r);
                reproduce_note(w->c, "  load %.1f s, %-14s %-20s %7.0f, peak %5.0f MB\n",
                               (double)c.load_ns / 1e9, r.scheme, use[u], r.delay_ms, r.peak_mb);
            }
    return rc;
}

/* ---- the map -------------------------------------------------------------------------------- */

/* The time of a second request like the first, and the memory for both. */
struct point {
    double e2e_ms, peak_mb;
};

static int32_t fastest(const struct point *p, double budget_mb, bool sharing, bool progressive)
{
    int32_t best = -1;
    for (int32_t s = 0; s < SCHEMES; s++) {
        bool is = !strncmp(schemes[s].name, "progressive", 11);
        if (is != progressive || p[s].peak_mb > budget_mb || (schemes[s].shares && !sharing))
            continue;
        if (best < 0 || p[s].e2e_ms < p[best].e2e_ms)
            best = s;
    }
    return best;
}

/* One load of a panel, over the budgets. */
static void map_budgets(struct sweep *w, const struct switching_case *c, const struct point *p,
                        const char *use, bool sharing, double *gain)
{
    for (int32_t i = 0; i < w->budgets.n; i++) {
        double budget = (double)w->budgets.v[i];
        int32_t own = fastest(p, budget, sharing, true);
        int32_t other = fastest(p, budget, sharing, false);
        struct row r = no_row("map", own < 0 ? "none fits" : schemes[own].name);
        r.use = use;
        r.sharing = sharing ? "yes" : "no";
        r.budget_mb = budget;
        if (own >= 0) {
            r.e2e_ms = p[own].e2e_ms;
            r.peak_mb = p[own].peak_mb;
        }
        if (other >= 0) {
            r.other = schemes[other].name;
            r.other_ms = p[other].e2e_ms;
        }
        if (own >= 0 && other >= 0)
            r.gain_pct = 100 * (r.other_ms / r.e2e_ms - 1);
        put_row(w, c, &r);
        gain[i] = r.gain_pct;
        bool shared = other >= 0 && schemes[other].shares;
        w->n_map[shared] += !isnan(r.gain_pct);
        w->n_pays[shared] += r.gain_pct > PAYS_PCT;
    }
}

static int map_load(struct sweep *w, int32_t device, int32_t load, struct err *e)
{
    static const char *const use[USES] = {"back to back", "with pauses"};
    struct switching_case c = case_of(w, device, w->map_blocks, w->map_prompt, w->loads.v[load]);
    int rc = ERR_OK;
    c.output = w->map_output;
    for (int u = 0; u < USES && !rc; u++) {
        struct point p[SCHEMES];
        c.idle_ns = u * 3 * c.load_ns;
        for (int32_t s = 0; s < SCHEMES && !rc; s++) {
            struct switching_outcome o;
            c.policy = schemes[s].policy;
            rc = switching_run(&w->m, &c, &w->arena, &o, e);
            p[s] = (struct point){ms(o.last_ns[1]), (double)o.peak_bytes / 1e6};
        }
        for (int sharing = 0; sharing < 2 && !rc; sharing++) {
            int32_t panel = (device * USES + u) * 2 + sharing;
            snprintf(w->panel[panel], sizeof w->panel[panel], "%s, %s, weights %s", c.device->name,
                     use[u], sharing ? "may be shared" : "not shared");
            map_budgets(w, &c, p, use[u], sharing,
                        w->gain + (panel * w->loads.n + load) * w->budgets.n);
        }
    }
    return rc;
}

static int draw_map(const struct sweep *w, struct err *e)
{
    double x[MAX_LIST], y[MAX_LIST];
    const char *panel[MAX_PANELS];
    struct figure_map m = {.title = "Progressive switching over the fastest other scheme that "
                                    "fits, percent of a request's time",
                           .x_label = "memory, MB",
                           .y_label = "load of the narrow graph, s",
                           .n_x = w->budgets.n,
                           .n_y = w->loads.n,
                           .n_panels = w->m.n_devices * USES * 2,
                           .columns = 2,
                           .x = x,
                           .y = y,
                           .panel = panel,
                           .value = w->gain};
    for (int32_t i = 0; i < w->budgets.n; i++)
        x[i] = (double)w->budgets.v[i];
    for (int32_t i = 0; i < w->loads.n; i++)
        y[i] = (double)w->loads.v[i] / 1e3;
    for (int32_t i = 0; i < m.n_panels; i++)
        panel[i] = w->panel[i];
    return figure_map(&m, w->c->picture, e);
}

static void note_map(const struct sweep *w)
{
    const double *gain = w->gain;
    reproduce_note(w->c,
                   "map: a request of %" PRId32 " + %" PRId32
                   " tokens after another; the fastest progressive scheme that fits a memory\n"
                   "against the fastest other one, percent of time gained; '.': none fits\n",
                   w->map_prompt, w->map_output);
    for (int32_t p = 0; p < w->m.n_devices * USES * 2; p++) {
        reproduce_note(w->c, "  %s\n    %-12s", w->panel[p], "memory, MB");
        for (int32_t i = 0; i < w->budgets.n; i++)
            reproduce_note(w->c, " %6" PRId64, w->budgets.v[i]);
        for (int32_t l = 0; l < w->loads.n; l++) {
            reproduce_note(w->c, "\n    load %.1f s  ", (double)w->loads.v[l] / 1e3);
            for (int32_t i = 0; i < w->budgets.n; i++, gain++)
                reproduce_note(w->c, isnan(*gain) ? "      ." : " %+6.1f", *gain);
        }
        reproduce_note(w->c, "\n");
    }
    reproduce_note(w->c,
                   "  it pays (over %.2f %%) in %" PRId32 " of %" PRId32
                   " cells where the other is not both graphs with shared weights, in %" PRId32
                   " of %" PRId32 " where it is\n",
                   PAYS_PCT, w->n_pays[0], w->n_map[0], w->n_pays[1], w->n_map[1]);
}

static int map(struct sweep *w, struct err *e)
{
    int rc = ERR_OK;
    for (int32_t d = 0; d < w->m.n_devices; d++)
        for (int32_t l = 0; l < w->loads.n && !rc; l++)
            rc = map_load(w, d, l, e);
    if (!rc)
        note_map(w);
    return rc || !w->c->picture ? rc : draw_map(w, e);
}

static int run(struct reproduce_context *c, struct err *e)
{
    struct sweep *w = arena_alloc(c->arena, 1, sizeof *w);
    if (!w)
        return err_set(e, ERR_NOMEM, "out of memory");
    w->c = c;
    w->width = c->brief ? BRIEF_WIDTH : WIDTH;
    arena_init(&w->arena);
    int rc = read_file(w, e);
    if (!rc)
        rc = grid(w, e);
    if (!rc)
        rc = beliefs(w, e);
    if (!rc)
        rc = way_back(w, e);
    if (!rc)
        rc = map(w, e);
    arena_fini(&w->arena);
    return rc;
}

const struct reproduction reproduce_switching = {
    .name = "switching",
    .source = "arXiv 2510.15312v3, section 3.2 and appendix A",
    .summary = "switching graphs: delay, memory, gap to the best schedule, wrong beliefs, a map",
    .files_only = true,
    .columns = columns,
    .picture = "the map",
    .run = run,
};
