#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "experiments/validate_blind.h"
#include "experiments/validate_change.h"
#include "experiments/validate_own.h"
#include "hwmodels/table.h"
#include "sim/exec/shims.h"

struct compare {
    struct validation *v;
    struct val_report *r;
    struct err *e;
    struct arena arena;
    int32_t n;                                                    /* pairs */
    struct val_timing *measured_floor, *measured_raw, *predicted; /* [n] */
    double *x, *y;                                                /* [n] scratch */
    double *level;                                                /* [prompts]: drift beside each */
    struct val_tally tally;
};

/* Fills c->predicted for every pair. */
static int predict(struct compare *c, const struct device *d, const struct device_options *opt)
{
    struct validation *v = c->v;
    int rc = ERR_OK;
    for (int32_t policy = 0; policy < v->n_policies && !rc; policy++) {
        struct arena arena;
        const struct cost_model *cost;
        arena_init(&arena);
        rc = val_cost(d, opt, &v->policy[policy].setup, &arena, &cost, c->e);
        for (int32_t prompt = 0; prompt < v->n_done && !rc; prompt++)
            rc = val_simulate_own(v, cost, prompt, policy,
                                  &c->predicted[prompt * v->n_policies + policy], &c->tally, c->e);
        arena_fini(&arena);
    }
    return rc;
}

/* ---- readings ------------------------------------------------------------------------------- */

static struct error_pct error_of(struct compare *c, const struct val_timing *measured, size_t field,
                                 bool drift)
{
    int32_t n = 0;
    for (int32_t i = 0; i < c->n; i++) {
        double x = *(const double *)(const void *)((const char *)&c->predicted[i] + field);
        double y = *(const double *)(const void *)((const char *)&measured[i] + field);
        if (isnan(x) || isnan(y) || y <= 0)
            continue;
        c->x[n] = x * (drift ? c->level[i / c->v->n_policies] : 1);
        c->y[n++] = y;
    }
    return n ? metrics_error_pct(c->x, c->y, n) : (struct error_pct){NAN, NAN, NAN, NAN};
}

static void read_errors(struct compare *c, const struct val_timing *measured, bool drift,
                        struct val_reading *out)
{
    out->e2e = error_of(c, measured, offsetof(struct val_timing, e2e), drift);
    out->ttft = error_of(c, measured, offsetof(struct val_timing, ttft), drift);
    out->tpot = error_of(c, measured, offsetof(struct val_timing, tpot), drift);
}

/* Order of policies, and what following the prediction costs. */
static void read_decisions(struct compare *c, double *tau, double *resolved, double *regret)
{
    struct validation *v = c->v;
    struct tau t = {0};
    int32_t n = v->n_policies, reps = v->o->repetitions;
    double x[VAL_MAX_POLICIES], y[VAL_MAX_POLICIES], time[VAL_MAX_POLICIES * VAL_MAX_REPS];
    *regret = 0;
    for (int32_t p = 0; p < v->n_done; p++) {
        int32_t choice = 0;
        for (int32_t i = 0; i < n; i++) {
            x[i] = c->measured_floor[p * n + i].e2e;
            y[i] = c->predicted[p * n + i].e2e;
            choice = y[i] < y[choice] ? i : choice;
            for (int32_t r = 0; r < reps; r++) {
                const struct val_run *run = val_run_at(v, p, i, r);
                time[i * reps + r] = (double)(run->last_ns - run->arrive_ns);
            }
        }
        metrics_tau_add(&t, x, y, n, c->r->floor_p90_pct / 100);
        *regret += 100 * metrics_regret(time, n, reps, choice) / v->n_done;
    }
    *tau = metrics_tau_b(&t);
    *resolved = t.pairs ? (double)t.used / (double)t.pairs : NAN;
}

static void read_sources(struct compare *c)
{
    for (int32_t part = 0; part <= PARTS; part++) {
        for (int32_t i = 0; i < c->n; i++) {
            double sum = 0;
            for (int32_t k = 0; k < PARTS; k++)
                if (part == PARTS || k == part)
                    sum += fabs(c->predicted[i].part[k] - c->measured_floor[i].part[k]);
            c->x[i] = 100 * sum / c->measured_floor[i].e2e;
        }
        double median = metrics_quantile(c->x, c->n, 0.5), p90 = metrics_quantile(c->x, c->n, 0.9);
        if (part < PARTS) {
            c->r->source[part].median = median;
            c->r->source[part].p90 = p90;
        } else {
            c->r->source_sum.median = median;
            c->r->source_sum.p90 = p90;
        }
    }
}

static void read_policies(struct compare *c)
{
    struct validation *v = c->v;
    int32_t n = v->n_policies;
    for (int32_t i = 0; i < n; i++) {
        double predicted = 0, measured = 0, tokens = 0, verifies = 0;
        for (int32_t p = 0; p < v->n_done; p++) {
            const struct val_run *r = val_run_at(v, p, i, 0);
            double a = c->predicted[p * n + i].e2e, b = c->measured_floor[p * n + i].e2e;
            predicted += a;
            measured += b;
            tokens += r->n_output - 1;
            verifies += (double)r->n_verify;
            c->x[p] = fabs(a / b - 1) * 100;
            c->r->pair[p * n + i] = (struct val_pair){p, i, a, b};
        }
        c->r->by_policy[i].predicted_ns = predicted;
        c->r->by_policy[i].measured_ns = measured;
        c->r->by_policy[i].tokens_per_verify = verifies > 0 ? tokens / verifies : NAN;
        c->r->by_policy[i].error_median_pct = metrics_quantile(c->x, v->n_done, 0.5);
    }
    c->r->n_pairs = c->n;
}

/* How sure the median error is, given the prompts that there were. */
static int read_interval(struct compare *c)
{
    int32_t *prompt = arena_alloc(&c->arena, (size_t)c->n, sizeof *prompt);
    for (int32_t i = 0; prompt && i < c->n; i++) {
        prompt[i] = c->r->pair[i].prompt;
        c->x[i] = 100 * fabs(c->r->pair[i].predicted_ns / c->r->pair[i].measured_ns - 1);
    }
    int rc = prompt ? interval_median(c->x, prompt, c->n, c->v->n_done, c->v->o->seed,
                                      &c->r->noise_median)
                    : ERR_NOMEM;
    return rc ? err_set(c->e, rc, "out of memory") : ERR_OK;
}

/* ---- what the real runs say alone ----------------------------------------------------------- */

static int time_measured(struct compare *c)
{
    struct validation *v = c->v;
    int32_t reps = v->o->repetitions, n_floor = 0;
    double *floor = arena_alloc(&c->arena, (size_t)(c->n * reps), sizeof *floor);
    if (!floor)
        return err_set(c->e, ERR_NOMEM, "out of memory");
    for (int32_t i = 0; i < c->n; i++) {
        const struct val_run *run[VAL_MAX_REPS];
        double e2e[VAL_MAX_REPS];
        for (int32_t r = 0; r < reps; r++) {
            run[r] = val_run_at(v, i / v->n_policies, i % v->n_policies, r);
            e2e[r] = (double)(run[r]->last_ns - run[r]->arrive_ns);
            if (run[r]->actions_hash != run[0]->actions_hash)
                return err_set(c->e, ERR_MISMATCH,
                               "two repetitions of prompt %s by %s took different actions: the "
                               "engine is not deterministic, so that runs cannot be compared",
                               v->prompt[i / v->n_policies].id, v->policy[i % v->n_policies].label);
        }
        val_noise_floor(run, reps, &c->measured_floor[i]);
        val_medians(run, reps, &c->measured_raw[i]);
        metrics_repetition_floor(e2e, reps, floor + n_floor);
        n_floor += reps;
    }
    c->r->floor_median_pct = 100 * metrics_quantile(floor, n_floor, 0.5);
    c->r->floor_p90_pct = 100 * metrics_quantile(floor, n_floor, 0.9);
    return ERR_OK;
}

static bool same_text(const struct val_run *a, const struct val_run *b)
{
    return a->n_output == b->n_output &&
           !memcmp(a->output, b->output, (size_t)a->n_output * sizeof *a->output);
}

/* The target's margin where b's text splits off from a's; NAN where it does not. */
static double margin_at_split(struct compare *c, int32_t prompt, const struct val_run *a,
                              const struct val_run *b)
{
    int32_t n = 0;
    while (n < a->n_output && n < b->n_output && a->output[n] == b->output[n])
        n++;
    return same_text(a, b) ? NAN : val_margin(&c->v->session, &c->v->prompt[prompt], a, n);
}

static void compare_texts(struct compare *c)
{
    struct validation *v = c->v;
    int32_t equal = 0, others = 0, divergent = 0, n_margins = 0;
    double largest = NAN;
    for (int32_t p = 0; p < v->n_done; p++) {
        const struct val_run *a = val_run_at(v, p, 0, 0);
        bool same = true;
        for (int32_t i = 0; i < v->n_policies; i++) {
            for (int32_t r = 0; r < v->o->repetitions && v->policy[i].lossless; r++)
                same = same && same_text(a, val_run_at(v, p, i, r));
            if (v->policy[i].lossless)
                continue;
            const struct val_run *b = val_run_at(v, p, i, 0);
            double margin = margin_at_split(c, p, a, b);
            others++;
            divergent += !same_text(a, b);
            if (!isnan(margin)) {
                c->x[n_margins++] = margin;
                largest = fmax(largest, margin);
            }
        }
        equal += same;
        v->prompt[p].degenerate =
            metrics_distinct_4grams(a->output, a->n_output) < METRICS_DEGENERATE;
        c->r->degenerate += v->prompt[p].degenerate;
    }
    c->r->tokens_equal = (double)equal / v->n_done;
    c->r->divergence = others ? (double)divergent / others : NAN;
    c->r->margin_median = n_margins ? metrics_quantile(c->x, n_margins, 0.5) : NAN;
    c->r->margin_max = largest;
}

/* How fast the machine was beside a set of runs: the mean of the calibration rounds before and
 * after it. */
static double level_at(const struct validation *v, int32_t set)
{
    int32_t before = 0, after = v->n_rounds - 1;
    for (int32_t r = 0; r < v->n_rounds; r++)
        before = v->round[r].after <= set ? r : before;
    for (int32_t r = v->n_rounds - 1; r >= 0; r--)
        after = v->round[r].after > set ? r : after;
    return (profile_level(&v->samples, &v->plan, before) +
            profile_level(&v->samples, &v->plan, after)) /
           2;
}

/* Each prompt's level of the machine: the mean over its repetitions, each a set of its own. */
static void find_levels(struct compare *c)
{
    struct validation *v = c->v;
    int32_t reps = v->o->repetitions;
    for (int32_t p = 0; p < v->n_done; p++) {
        c->level[p] = 0;
        for (int32_t r = 0; r < reps; r++)
            c->level[p] += level_at(v, r * v->n_done + p) / reps;
    }
}

/* ---- the table without a part of itself ----------------------------------------------------- */

/* Predicts the cells of `t` that a mask takes away; appends (predicted, measured) pairs. */
static int predict_cells(struct compare *c, const struct device_table *t,
                         const struct device_options *opt, int32_t width, int32_t bucket,
                         double *predicted, double *measured, int32_t *n)
{
    struct arena arena;
    struct table_grid grid;
    arena_init(&arena);
    int rc = table_grid_build(t, opt, true, "step", &arena, &grid, c->e);
    for (int32_t i = 0; i < t->n_cells && !rc; i++) {
        const struct device_cell *cell = &t->cell[i];
        bool unsure = false;
        if (cell->changed || (cell->width != width && cell->bucket != bucket))
            continue;
        predicted[*n] = table_grid_ns(&grid, cell->width, cell->bucket, false, &unsure);
        measured[(*n)++] = device_estimate(cell, opt);
    }
    arena_fini(&arena);
    return rc;
}

static int leave_out(struct compare *c, const struct device *d, const struct device_options *base)
{
    const struct device_table *t = &d->processor[0].step;
    double *a = arena_alloc(&c->arena, (size_t)t->n_cells + 1, sizeof *a);
    double *b = arena_alloc(&c->arena, (size_t)t->n_cells + 1, sizeof *b);
    int rc = a && b ? ERR_OK : err_set(c->e, ERR_NOMEM, "out of memory");
    int32_t n = 0;
    for (int32_t w = 1; w + 1 < c->v->plan.n_widths && !rc; w++) {
        struct device_options opt = *base;
        opt.n_mask_widths = 1;
        opt.mask_width[0] = c->v->plan.width[w];
        rc = predict_cells(c, t, &opt, opt.mask_width[0], -1, a, b, &n);
    }
    c->r->left_out_width = n ? metrics_error_pct(a, b, n) : (struct error_pct){NAN, NAN, NAN, NAN};
    n = 0;
    for (int32_t k = 2; k < c->v->plan.n_contexts && !rc; k++) {
        struct device_options opt = *base;
        opt.n_mask_buckets = 1;
        opt.mask_bucket[0] = k;
        rc = predict_cells(c, t, &opt, -1, k, a, b, &n);
    }
    c->r->left_out_bucket = n ? metrics_error_pct(a, b, n) : (struct error_pct){NAN, NAN, NAN, NAN};
    return rc;
}

/* ---- controls, replay, verdict -------------------------------------------------------------- */

static bool meets(const struct val_reading *x, double tau, double regret_pct)
{
    return x->e2e.median <= 2 && x->e2e.p90 <= 5 && x->ttft.p90 <= 5 && x->tpot.p90 <= 5 &&
           tau >= 0.95 && regret_pct <= 1;
}

static int run_controls(struct compare *c, const struct device *d, const struct device_options *opt)
{
    static const struct {
        const char *name;
        enum device_degrade degrade;
    } control[VAL_CONTROLS] = {{"constant_step", DEVICE_CONSTANT_STEP},
                               {"width_without_context", DEVICE_NO_CONTEXT},
                               {"context_without_width", DEVICE_NO_WIDTH},
                               {"permuted_width", DEVICE_PERMUTED_WIDTH}};
    int rc = ERR_OK;
    for (int32_t i = 0; i < VAL_CONTROLS && !rc; i++) {
        struct device_options bad = *opt;
        double resolved;
        bad.degrade = control[i].degrade;
        bad.seed = c->v->o->seed;
        rc = predict(c, d, &bad);
        if (rc)
            break;
        c->r->control[i].name = control[i].name;
        read_errors(c, c->measured_floor, false, &c->r->control[i].reading);
        read_decisions(c, &c->r->control[i].tau, &resolved, &c->r->control[i].regret_pct);
        c->r->control[i].missed =
            !meets(&c->r->control[i].reading, c->r->control[i].tau, c->r->control[i].regret_pct);
    }
    return rc;
}

/* Runs a policy once more with a log, and plays the log back; *equal says whether both did the
 * same.
 */
static int replay_one(struct compare *c, const struct run_setup *setup,
                      const struct request *request, const char *path, bool *equal)
{
    struct arena arena;
    struct run_result result;
    struct exec *x;
    struct err why = {0};
    int rc = session_exec(&c->v->session, setup, &x, c->e);
    if (!rc)
        rc = record_create(x, setup, path, &x, c->e);
    if (rc)
        return rc;
    arena_init(&arena);
    rc = driver_run(setup, x, request, 1, &arena, &result, c->e);
    if (!rc)
        rc = record_finish(x, c->e);
    x->ops->destroy(x);
    uint64_t hash = rc ? 0 : result.actions_hash;
    if (!rc)
        rc = replay_create(path, setup, &x, c->e);
    if (!rc) {
        *equal = !driver_run(setup, x, request, 1, &arena, &result, &why) &&
                 !replay_finish(x, &why) && result.actions_hash == hash;
        x->ops->destroy(x);
    }
    arena_fini(&arena);
    return rc;
}

/* Replays each policy on the first prompt. */
static int replay_all(struct compare *c)
{
    struct validation *v = c->v;
    const struct val_prompt *p = &v->prompt[0];
    struct request request = val_request(p);
    char path[4096];
    int rc = ERR_OK;
    c->r->replay_equal = true;
    snprintf(path, sizeof path, "%s.replay", v->o->store);
    for (int32_t i = 0; i < v->n_policies && !rc; i++) {
        bool equal = false;
        rc = replay_one(c, &v->policy[i].setup, &request, path, &equal);
        c->r->replay_equal = c->r->replay_equal && equal;
        remove(path);
    }
    return rc;
}

static void add_why(struct val_report *r, bool bad, const char *what)
{
    if (!bad)
        return;
    size_t at = strlen(r->why);
    snprintf(r->why + at, sizeof r->why - at, "%s%s", at ? "; " : "", what);
}

static void judge(struct val_report *r)
{
    bool passes = false;
    for (int32_t i = 0; i < VAL_CONTROLS; i++)
        passes = passes || !r->control[i].missed;
    bool high = r->floor_median_pct > 3 || r->floor_p90_pct > 10;
    bool no_tpot = isnan(r->noise.tpot.p90); /* then every control misses, untried */
    bool open = passes || high || no_tpot;
    add_why(r, passes, "a negative control passes");
    add_why(r, high, "the repetition floor is above 3 / 10 %");
    add_why(r, no_tpot, "no prompt has a second token, so no time per token");
    /* An error that is no number is met by no bar. */
    add_why(r, !(r->noise.e2e.median <= 2 && r->noise.e2e.p90 <= 5),
            "end-to-end error above 2 / 5 %");
    add_why(r, !(r->noise.ttft.p90 <= 5), "TTFT error P90 above 5 %");
    add_why(r, r->noise.tpot.p90 > 5, "TPOT error P90 above 5 %");
    add_why(r, !(r->source_sum.median <= 4 && r->source_sum.p90 <= 10),
            "errors by source add up to more than twice the bar");
    add_why(r, !high && !(r->raw.e2e.median <= 1.5 * r->floor_median_pct),
            "raw median above 1.5 times the repetition floor");
    add_why(r, !(r->tau >= 0.95), "tau below 0.95");
    add_why(r, !(r->regret_pct <= 1), "regret above 1 %");
    add_why(r, !(r->tokens_equal >= 1), "a lossless policy changed a text");
    add_why(r, !r->replay_equal, "a replay differs");
    r->verdict = open ? "inconclusive" : r->why[0] ? "failed" : "passed";
}

/* ---- all of it ------------------------------------------------------------------------------ */

static int read_all(struct compare *c)
{
    struct validation *v = c->v;
    struct val_report *r = c->r;
    struct device beside;
    struct device_options floor = {.estimator = DEVICE_EXPECTED_MINIMUM,
                                   .estimator_n = v->o->repetitions};
    struct device_options raw = {.estimator = DEVICE_MEDIAN};
    int rc = profile_device(&v->session, &v->plan, &v->samples, -1, "calibration rounds", &c->arena,
                            &beside, c->e);
    if (!rc)
        rc = profile_add_oracle(&beside, &c->arena, c->e);
    if (!rc)
        rc = predict(c, &v->frozen, &raw);
    if (!rc) {
        read_errors(c, c->measured_raw, false, &r->raw_frozen);
        rc = predict(c, &beside, &raw);
    }
    if (!rc) {
        read_errors(c, c->measured_raw, true, &r->raw);
        rc = predict(c, &v->frozen, &floor);
    }
    if (!rc) {
        read_errors(c, c->measured_floor, false, &r->noise_frozen);
        rc = run_controls(c, &beside, &floor);
    }
    if (!rc)
        rc = leave_out(c, &beside, &floor);
    if (!rc)
        rc = val_change_compare(v, &beside, &floor, r, c->e);
    if (!rc)
        rc = val_blind_compare(v, &beside, &floor, c->measured_floor, c->predicted, r, c->e);
    r->blind.tau = r->blind.resolved_pairs = r->blind.regret_pct = NAN;
    if (!rc && !r->blind.why_not)
        read_decisions(c, &r->blind.tau, &r->blind.resolved_pairs, &r->blind.regret_pct);
    c->tally = (struct val_tally){0};
    if (!rc)
        rc = predict(c, &beside, &floor);
    if (!rc)
        rc = val_bound(v, &beside, &floor, c->predicted, &r->oracle, c->e);
    if (rc)
        return rc;
    read_errors(c, c->measured_floor, false, &r->noise);
    read_decisions(c, &r->tau, &r->resolved_pairs, &r->regret_pct);
    read_sources(c);
    read_policies(c);
    rc = read_interval(c);
    r->actions_equal = (double)c->tally.actions_same / c->n;
    r->extrapolated = c->tally.extrapolated;
    r->jobs = c->tally.jobs;
    profile_noise(&v->samples, &v->plan, &beside, v->n_rounds, &r->noise_of_machine);
    return rc;
}

int validate_compare(struct validation *v, struct val_report *r, struct err *e)
{
    struct compare c = {.v = v, .r = r, .e = e};
    *r = (struct val_report){
        .prompts = v->n_done, .policies = v->n_policies, .repetitions = v->o->repetitions};
    c.n = v->n_done * v->n_policies;
    size_t n = (size_t)c.n + (size_t)v->n_done;
    arena_init(&c.arena);
    c.measured_floor = arena_alloc(&c.arena, n, sizeof *c.measured_floor);
    c.measured_raw = arena_alloc(&c.arena, n, sizeof *c.measured_raw);
    c.predicted = arena_alloc(&c.arena, n, sizeof *c.predicted);
    c.x = arena_alloc(&c.arena, n, sizeof *c.x);
    c.y = arena_alloc(&c.arena, n, sizeof *c.y);
    c.level = arena_alloc(&c.arena, n, sizeof *c.level);
    r->pair = arena_alloc(&v->arena, n, sizeof *r->pair);
    int rc = r->pair && c.level ? ERR_OK : err_set(e, ERR_NOMEM, "out of memory");
    if (!rc)
        rc = time_measured(&c);
    if (!rc) {
        compare_texts(&c);
        find_levels(&c);
        rc = val_own_open(v, e);
    }
    if (!rc)
        rc = read_all(&c);
    if (!rc)
        rc = replay_all(&c);
    if (!rc)
        judge(r);
    arena_fini(&c.arena);
    return rc;
}
