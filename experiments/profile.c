#include "experiments/profile.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim/exec/metrics.h"

void profile_plan(int32_t max_width, int32_t max_ctx, uint64_t seed, struct measure_plan *out)
{
    /* Whole blocks of four over a chunk, and each remainder of four; that of three all along. */
    static const int32_t tail[] = {4, 7, 65, 66, 67, 128, 131, 255};
    /* A step of up to four rows takes 0.3 ms more after one of another width, and 0.5 ms after one
     * of more than four rows (SmolLM2-135M, EPYC; both in micro-benchmarks and in runs). Such steps
     * come one after another when a policy decodes, and go on becoming faster for some. */
    enum { FEW = 4 };
    /* The head is the same for every row: fewer lengths tell what its outputs add. */
    static const int32_t all[] = {4, 67, 256};
    *out = (struct measure_plan){.chunk = 256,
                                 .pad = 256,
                                 .few = FEW,
                                 .steady = {5, 2},
                                 .prefill_to = max_ctx,
                                 .seed = seed};
    for (int32_t w = 1; w <= max_width; w += w < PROFILE_EVERY_WIDTH ? 1 : PROFILE_STRIDE)
        out->width[out->n_widths++] = w;
    for (int32_t c = 150; c + max_width <= max_ctx && out->n_contexts < 16; c += 256)
        out->context[out->n_contexts++] = c;
    out->n_tails = sizeof tail / sizeof *tail;
    memcpy(out->tail, tail, sizeof tail);
    out->n_all = sizeof all / sizeof *all;
    memcpy(out->all, all, sizeof all);
    out->top_k = 4; /* what policies ask for unless they are told otherwise */
}

/* The set-up that micro-benchmarks run under: a policy's roles and every drafter. */
static int bench_setup(const struct session *s, struct run_setup *setup)
{
    *setup = (struct run_setup){.policy = policy_find("speculative"), .max_requests = 1};
    for (const struct drafter_type *const *t = draft_registry;
         *t && setup->n_drafters < EXEC_MAX_DRAFTERS; t++) {
        struct run_drafter *d = &setup->drafter[setup->n_drafters++];
        d->type = *t;
        param_defaults((*t)->params, d->param);
    }
    session_setup(s, setup);
    return ERR_OK;
}

int profile_round(const struct session *s, const struct measure_plan *plan, int32_t round,
                  struct samples *out, struct err *e)
{
    struct run_setup setup;
    struct exec *x;
    struct measure_plan own = *plan;
    struct exec_caps caps;
    bench_setup(s, &setup);
    int rc = session_exec(s, &setup, &x, e);
    if (rc)
        return rc;
    x->ops->caps(x, &caps);
    if (caps.max_topk < plan->top_k)
        own.n_all = 0; /* no drafter can be calibrated there */
    rc = measure_round(x, &setup, &own, round, out, e);
    x->ops->destroy(x);
    return rc;
}

/* ---- from samples to tables ----------------------------------------------------------------- */

struct gather {
    const struct samples *samples;
    int32_t n_rounds;
    int64_t *ns;   /* [samples->n] of the cell being gathered */
    double *value; /* [samples->n] */
};

static bool in_rounds(const struct gather *g, const struct sample *x)
{
    return g->n_rounds < 0 || x->round < g->n_rounds;
}

/* Puts every (width, bucket, changed) of a kind into a table. */
static int fill_table(struct gather *g, enum sample_kind kind, const struct measure_plan *plan,
                      struct arena *arena, struct device_table *t)
{
    t->pad = plan->pad;
    t->period = 4; /* supplies of the CPU back end: GEMM blocks of four rows */
    t->few = plan->few;
    const struct samples *s = g->samples;
    for (int32_t i = 0; i < s->n; i++) {
        const struct sample *first = &s->item[i];
        if (first->kind != kind || !in_rounds(g, first))
            continue;
        int32_t bucket = device_bucket(first->pos, first->width, plan->pad), n = 0;
        bool seen = false;
        for (int32_t k = 0; k < t->n_cells && !seen; k++)
            seen = t->cell[k].width == first->width && t->cell[k].bucket == bucket &&
                   (int)t->cell[k].changed == first->changed;
        for (int32_t k = i; k < s->n && !seen; k++) {
            const struct sample *x = &s->item[k];
            if (x->kind == kind && in_rounds(g, x) && x->width == first->width &&
                x->changed == first->changed &&
                device_bucket(x->pos, x->width, plan->pad) == bucket)
                g->ns[n++] = x->ns;
        }
        int rc = seen ? ERR_OK
                      : device_table_put(arena, t, first->width, bucket,
                                         (enum device_change)first->changed, g->ns, n);
        if (rc)
            return rc;
    }
    return ERR_OK;
}

/* The median of a kind's values, over those that `pick` takes; `otherwise` when there are none. */
static int64_t median_where(struct gather *g, enum sample_kind kind, int32_t width, int32_t changed,
                            int32_t outputs, int64_t otherwise)
{
    int32_t n = 0;
    for (int32_t i = 0; i < g->samples->n; i++) {
        const struct sample *x = &g->samples->item[i];
        if (x->kind == kind && in_rounds(g, x) && (width < 0 || x->width == width) &&
            (changed < 0 || x->changed == changed) && (outputs < 0 || x->outputs == outputs))
            g->value[n++] = (double)x->ns;
    }
    return n ? (int64_t)metrics_quantile(g->value, n, 0.5) : otherwise;
}

/* The median of a drafter's samples, as `of` sees them, of calls that asked for `nodes` nodes. */
static double draft_median(struct gather *g, int32_t drafter, int32_t nodes,
                           double (*of)(const struct sample *x))
{
    int32_t n = 0;
    for (int32_t i = 0; i < g->samples->n; i++) {
        const struct sample *x = &g->samples->item[i];
        if (x->kind == SAMPLE_DRAFT && in_rounds(g, x) && x->width == drafter && x->pos == nodes)
            g->value[n++] = of(x);
    }
    return n ? metrics_quantile(g->value, n, 0.5) : 0;
}

static double time_of(const struct sample *x)
{
    return (double)x->ns;
}

static double probes_of(const struct sample *x)
{
    return (double)x->work.probes;
}

static double tokens_of(const struct sample *x)
{
    return (double)x->work.tokens;
}

/* A probe is what wide proposals take longer than narrow ones, where they look further; a token
 * what a long append takes beyond its probes; the rest is fixed. */
static struct device_draft fit_draft(struct gather *g, int32_t drafter, const char *name)
{
    enum { NONE = 0, LEAST_PROBES = 20 };
    struct device_draft d = {.name = name};
    int32_t narrow = MEASURE_NARROW, wide = MEASURE_WIDE;
    double probes = draft_median(g, drafter, narrow, probes_of);
    double more = draft_median(g, drafter, wide, probes_of) - probes;
    double ns = draft_median(g, drafter, narrow, time_of);
    double longer = draft_median(g, drafter, wide, time_of) - ns;
    double probe = more >= LEAST_PROBES && longer > 0 ? longer / more : 0;
    probe = probe * probes > ns ? ns / probes : probe;
    d.kprobe_ns = (int64_t)(1000 * probe);
    d.fixed_ns = (int64_t)(ns - probe * probes);
    double tokens = draft_median(g, drafter, NONE, tokens_of);
    double rest = draft_median(g, drafter, NONE, time_of) - (double)d.fixed_ns -
                  probe * draft_median(g, drafter, NONE, probes_of);
    d.ktoken_ns = tokens > 0 && rest > 0 ? (int64_t)(1000 * rest / tokens) : 0;
    return d;
}

/* Choosing tokens: per row from the widest steps, the rest is fixed. */
static void fill_sampling(struct gather *g, const struct measure_plan *plan,
                          struct device_processor *p)
{
    int32_t wide = plan->width[plan->n_widths - 1], rows = 0;
    int64_t one = median_where(g, SAMPLE_SAMPLING, 0, -1, 1, 0);
    int64_t many = median_where(g, SAMPLE_SAMPLING, 0, -1, wide, one);
    p->sample_row_ns = wide > 1 && many > one ? (many - one) / (wide - 1) : one;
    p->sample_fixed_ns = one > p->sample_row_ns ? one - p->sample_row_ns : 0;
    for (int32_t i = 0; i < plan->n_all; i++)
        rows = plan->all[i] > rows ? plan->all[i] : rows;
    int64_t tops = median_where(g, SAMPLE_SAMPLING, plan->top_k, -1, rows, -1);
    p->sample_top_ns = tops > p->sample_fixed_ns ? (tops - p->sample_fixed_ns) / rows : -1;
}

static int fill_drafts(struct gather *g, const struct run_setup *setup, struct arena *arena,
                       struct device_processor *p)
{
    p->draft = arena_alloc(arena, (size_t)setup->n_drafters + 1, sizeof *p->draft);
    if (!p->draft)
        return ERR_NOMEM;
    for (int32_t i = 0; i < setup->n_drafters; i++)
        p->draft[p->n_drafts++] = fit_draft(g, i, setup->drafter[i].type->name);
    return ERR_OK;
}

static void fill_host(struct gather *g, struct device *d)
{
    d->host = (struct cost_host){.event_ns = median_where(g, SAMPLE_HOST, -1, -1, -1, 0),
                                 .dispatch_ns = median_where(g, SAMPLE_DISPATCH, -1, -1, -1, 0),
                                 .notify_ns = median_where(g, SAMPLE_NOTIFY, -1, -1, -1, 0)};
}

static int fill_processors(struct gather *g, const struct session *s, const struct run_setup *setup,
                           const struct measure_plan *plan, struct arena *arena, struct device *d)
{
    const char *target = role_map_find(&s->roles, "target");
    const char *draft = role_map_find(&s->roles, "draft");
    struct device_processor *t = device_add_processor(d, arena_strdup(arena, target));
    if (!t)
        return ERR_NOMEM;
    t->threads = role_map_threads(target);
    int rc = fill_table(g, SAMPLE_STEP, plan, arena, &t->step);
    if (!rc)
        rc = fill_table(g, SAMPLE_PREFILL, plan, arena, &t->prefill);
    if (!rc)
        rc = fill_table(g, SAMPLE_ALL, plan, arena, &t->prefill_all);
    if (rc)
        return rc;
    fill_sampling(g, plan, t);
    t->commit_chain_ns = median_where(g, SAMPLE_COMMIT, -1, 0, -1, 0);
    t->commit_tree_ns = median_where(g, SAMPLE_COMMIT, -1, 1, -1, -1);
    rc = fill_drafts(g, setup, arena, t);
    if (!rc && strcmp(target, draft)) {
        /* Drafting was measured on this core, steps on the other: one core's costs are both's. */
        struct device_processor *w = device_add_processor(d, arena_strdup(arena, draft));
        if (!w)
            return ERR_NOMEM;
        w->threads = 1;
        w->same_as = 0;
    }
    d->role[0] = (struct device_role){"target", 0};
    d->role[1] = (struct device_role){"draft", d->n_processors - 1};
    d->n_roles = 2;
    return rc;
}

int profile_device(const struct session *s, const struct measure_plan *plan,
                   const struct samples *samples, int32_t n_rounds, const char *source,
                   struct arena *arena, struct device *out, struct err *e)
{
    struct exec_caps caps;
    struct run_setup setup;
    struct gather g = {samples, n_rounds, NULL, NULL};
    s->engine->ops->caps(s->engine, &caps);
    bench_setup(s, &setup);
    g.ns = arena_alloc(arena, (size_t)samples->n + 1, sizeof *g.ns);
    g.value = arena_alloc(arena, (size_t)samples->n + 1, sizeof *g.value);
    int rc = g.ns && g.value ? device_init(out, arena) : ERR_NOMEM;
    if (rc)
        return err_set(e, rc, "out of memory for a device");
    out->name = "profiled";
    out->model = arena_strdup(arena, s->model);
    out->numerics_id = arena_strdup(arena, s->numerics);
    out->source = arena_strdup(arena, source);
    out->features = caps.features & (EXEC_TREES | EXEC_COPIES | EXEC_CALIBRATES);
    out->max_rows = caps.max_rows;
    out->max_ctx = caps.max_ctx;
    out->max_seqs = caps.max_seqs;
    out->max_topk = caps.max_topk;
    rc = fill_processors(&g, s, &setup, plan, arena, out);
    fill_host(&g, out);
    if (!rc)
        rc = device_finish(out);
    return rc ? err_set(e, rc, "the samples make no device: %s", err_text(rc)) : ERR_OK;
}

int profile_add_oracle(struct device *d, struct arena *arena, struct err *e)
{
    for (int32_t i = 0; i < d->n_processors; i++) {
        struct device_processor *p = &d->processor[i];
        struct device_draft *draft = arena_alloc(arena, (size_t)p->n_drafts + 1, sizeof *draft);
        if (!draft)
            return err_set(e, ERR_NOMEM, "out of memory");
        if (p->n_drafts) /* else there may be no array */
            memcpy(draft, p->draft, (size_t)p->n_drafts * sizeof *draft);
        draft[p->n_drafts++] = (struct device_draft){.name = "oracle"};
        p->draft = draft;
    }
    return ERR_OK;
}

/* ---- noise ---------------------------------------------------------------------------------- */

double profile_level(const struct samples *samples, const struct measure_plan *plan, int32_t round)
{
    double *all = malloc((size_t)samples->n * sizeof *all + 1);
    double *own = malloc((size_t)samples->n * sizeof *own + 1);
    double ratio[64 * 16];
    int32_t n = 0;
    for (int32_t w = 0; all && own && w < plan->n_widths; w++)
        for (int32_t c = 0; c < plan->n_contexts && n < (int32_t)(sizeof ratio / sizeof *ratio);
             c++) {
            int32_t n_all = 0, n_own = 0;
            for (int32_t i = 0; i < samples->n; i++) {
                const struct sample *x = &samples->item[i];
                if (x->kind != SAMPLE_STEP || x->width != plan->width[w] ||
                    x->pos != plan->context[c] || x->changed)
                    continue;
                all[n_all++] = (double)x->ns;
                if (x->round == round)
                    own[n_own++] = (double)x->ns;
            }
            if (n_own)
                ratio[n++] = metrics_quantile(own, n_own, 0.5) / metrics_quantile(all, n_all, 0.5);
        }
    free(all);
    free(own);
    return n ? metrics_quantile(ratio, n, 0.5) : 1;
}

void profile_noise(const struct samples *samples, const struct measure_plan *plan,
                   const struct device *d, int32_t n_rounds, struct profile_noise *out)
{
    const struct device_table *t = &d->processor[0].step;
    double spread[1024], serial[1024];
    int32_t n = 0;
    for (int32_t i = 0; i < t->n_cells && n < 1024; i++) {
        const struct device_stats *s = &t->cell[i].stats;
        if (t->cell[i].changed || !s->min_ns)
            continue;
        spread[n] = 100 * ((double)s->p90_ns / (double)s->min_ns - 1);
        serial[n++] = s->serial;
    }
    *out = (struct profile_noise){.spread_pct = n ? metrics_quantile(spread, n, 0.5) : NAN,
                                  .serial = n ? metrics_quantile(serial, n, 0.5) : NAN};
    for (int32_t r = 0; r < n_rounds; r++)
        out->drift_pct = fmax(out->drift_pct, 100 * fabs(profile_level(samples, plan, r) - 1));
}
