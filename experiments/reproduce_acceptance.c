/* Acceptance: how many tokens a verification yields, by model, task, width and drafter.
 *
 * Every drafter runs through the policy `speculative` on the simulated executor, on the tokens of
 * committed traces: its acceptance is exact, whatever a step may cost. Trees are kept as they are
 * (tree=plain). All drafters may fill the same width: equal verified tokens. */
#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "analysis/interval.h"
#include "experiments/replayed.h"
#include "experiments/reproduce.h"
#include "sim/base/hash.h"
#include "sim/exec/metrics.h"
#include "traces/trace.h"
#include "traces/workload.h"

enum {
    MAX_MODELS = 8,
    MAX_GROUPS = 64,
    MAX_UNITS = 4096,
    WIDTHS = 3,
    DRAFTERS = 11,
    SUFFIX = 1,
    ALIGNED = 3
};

static const int32_t width_of[WIDTHS] = {8, 16, 32};

/* `tells`: parameters of the policy. The last but the oracle are aligned with one component each:
 * `base` is the automaton's chain by chances, with nothing else. */
#define BASE "aligned:calibration=0,reuse=none,branches=1,common=0"
static const struct {
    const char *name, *tells, *drafter;
} drafter[DRAFTERS] = {
    {"lookup", "", "lookup"},
    {"suffix", "", "suffix"},
    {"sam-author", "", "sam-author"},
    {"aligned", ",calibrate=1,reuse=1", "aligned"},
    {"aligned-base", "", BASE},
    {"aligned-calibration", ",calibrate=1", BASE ",calibration=4"},
    {"aligned-reuse", ",reuse=1", BASE ",reuse=offset"},
    {"aligned-branches", "", BASE ",branches=8"},
    {"aligned-fill", "", BASE ",branches=8,common=8"},
    {"aligned-no-reuse", ",calibrate=1", "aligned:reuse=none"},
    {"oracle", "", "oracle"},
};

/* History none and n, each against none. */
enum { ORDERS = 8, PASTS = 8, NONE_OF = 4 };
static const struct {
    const char *tells, *drafter;
    int32_t history;
} past[PASTS] = {
    {"", "suffix:min_match=1", 0},
    {"", "suffix:min_match=1", 1},
    {"", "suffix:min_match=1", 4},
    {"", "suffix:min_match=1", 16},
    {",calibrate=1,reuse=1", "aligned:chain=4", 0},
    {",calibrate=1,reuse=1", "aligned:chain=4", 1},
    {",calibrate=1,reuse=1", "aligned:chain=4", 4},
    {",calibrate=1,reuse=1", "aligned:chain=4", 16},
};

/* One request of one model, all widths and drafters. */
struct unit {
    struct replayed of[WIDTHS][DRAFTERS];
};

/* Choices under rejected tokens that a trace holds; of aligned on it, tokens verified and such
 * choices that it does not hold. */
struct shown {
    const char *model;
    int64_t recorded, drafted, unknown;
};

/* A model's task. */
struct group {
    const char *model, *task;
    int32_t n, left_out;
};

struct acceptance {
    int32_t n_models, n_groups, n_units;
    struct shown shown[MAX_MODELS];
    struct group group[MAX_GROUPS];
    struct unit *unit; /* [MAX_UNITS] */
    int32_t *stratum;  /* [MAX_UNITS] */
    bool sequences;    /* units are sequences, drafters those of past[] */
    uint64_t seed;
};

/* What is asked of a resample. */
struct question {
    const struct acceptance *a;
    int32_t width, drafter, against; /* against -1: tokens per verification; else the ratio */
    int32_t group;                   /* -1: the geometric mean over all */
};

static double of_group(const struct question *q, int32_t group, const int32_t *count)
{
    double tokens[2] = {0, 0}, steps[2] = {0, 0};
    for (int32_t i = 0; i < q->a->n_units; i++) {
        const struct unit *u = &q->a->unit[i];
        for (int k = 0; q->a->stratum[i] == group && k < (q->against < 0 ? 1 : 2); k++) {
            const struct replayed *r = &u->of[q->width][k ? q->against : q->drafter];
            tokens[k] += (double)count[i] * (double)r->tokens;
            steps[k] += (double)count[i] * (double)r->steps;
        }
    }
    double own = tokens[0] / steps[0];
    return q->against < 0 ? own : own / (tokens[1] / steps[1]);
}

static double answer(const void *self, const int32_t *count)
{
    const struct question *q = self;
    if (q->group >= 0)
        return of_group(q, q->group, count);
    double product = 1;
    for (int32_t g = 0; g < q->a->n_groups; g++)
        product *= of_group(q, g, count);
    return pow(product, 1.0 / q->a->n_groups);
}

struct answer {
    double value;
    struct interval interval;
};

/* Of the group's units alone, or of all. */
static int ask(const struct question *q, uint64_t seed, struct answer *out, struct err *e)
{
    const struct acceptance *a = q->a;
    int32_t *once = malloc((size_t)a->n_units * sizeof *once);
    if (!once)
        return err_set(e, ERR_NOMEM, "out of memory");
    for (int32_t i = 0; i < a->n_units; i++)
        once[i] = 1;
    out->value = answer(q, once);
    free(once);
    int rc =
        interval_statistic(a->stratum, a->n_units, a->n_groups, answer, q, seed, &out->interval);
    return rc ? err_set(e, rc, "out of memory") : ERR_OK;
}

/* ---- running -------------------------------------------------------------------------------- */

static int run_one(struct acceptance *a, const struct trace *t, int32_t width, int32_t which,
                   const int32_t *map, int32_t n, struct replayed *out, struct err *e)
{
    char spec[300];
    int32_t rows = width_of[width];
    snprintf(spec, sizeof spec, "speculative:width=%d,max_draft=%d,tree=plain%s+%s", (int)rows,
             (int)rows - 1, drafter[which].tells, drafter[which].drafter);
    int rc = replay_trace(t, spec, map, n, out, e);
    for (int32_t i = 0; i < n && !rc && which == ALIGNED; i++) {
        a->shown[a->n_models - 1].drafted += out[i].drafted;
        a->shown[a->n_models - 1].unknown += out[i].unknown;
    }
    return rc;
}

/* The requests of one task, a sequence; those that degenerate are run and left out of what is
 * counted. */
static int run_group(struct acceptance *a, const struct trace *t, const int32_t *map, int32_t n,
                     struct replayed *out, struct err *e)
{
    struct group *g = &a->group[a->n_groups];
    int32_t first = a->n_units, kept = 0;
    if (first + n > MAX_UNITS)
        return err_set(e, ERR_LIMIT, "the traces have more than %d requests", MAX_UNITS);
    for (int32_t w = 0; w < WIDTHS; w++)
        for (int32_t k = 0; k < DRAFTERS; k++) {
            int rc = run_one(a, t, w, k, map, n, out, e);
            if (rc)
                return rc;
            kept = 0;
            for (int32_t i = 0; i < n; i++)
                if (replayed_counts(&out[i]))
                    a->unit[first + kept++].of[w][k] = out[i];
        }
    for (int32_t i = first; i < first + kept; i++)
        a->stratum[i] = a->n_groups;
    g->n = kept;
    g->left_out = n - kept;
    a->n_units += kept;
    a->n_groups += kept > 0;
    return ERR_OK;
}

/* ---- history -------------------------------------------------------------------------------- */

/* With a history a request depends on those before it: whole sequences are the units, each all of
 * the task's requests in a seeded order. At the widest width. */
static int run_sequence(const struct trace *t, int32_t which, const int32_t *order, int32_t n,
                        struct replayed *out, struct replayed *unit, struct err *e)
{
    char spec[300];
    struct replayed_sum sum;
    int32_t rows = width_of[WIDTHS - 1];
    snprintf(spec, sizeof spec, "speculative:width=%d,max_draft=%d,tree=plain%s+%s,history=%d",
             (int)rows, (int)rows - 1, past[which].tells, past[which].drafter,
             (int)past[which].history);
    int rc = replay_sum(t, spec, order, n, out, &sum, e);
    *unit = (struct replayed){.tokens = sum.tokens, .steps = sum.steps};
    return rc;
}

static void shuffle(uint64_t seed, int32_t sequence, int32_t *order, int32_t n)
{
    for (int32_t i = n - 1; i > 0; i--) {
        uint64_t u = rng_u64(seed, RNG_WORKLOAD, (uint64_t)sequence, (uint64_t)i);
        int32_t k = (int32_t)(u % (uint64_t)(i + 1)), kept = order[i];
        order[i] = order[k];
        order[k] = kept;
    }
}

static int run_history(struct acceptance *a, const struct trace *t, const int32_t *map, int32_t n,
                       struct replayed *out, struct arena *arena, struct err *e)
{
    int32_t *order = arena_alloc(arena, (size_t)n, sizeof *order);
    if (!order || a->n_units + ORDERS > MAX_UNITS)
        return err_set(e, ERR_LIMIT, "the traces have more than %d sequences", MAX_UNITS);
    for (int32_t s = 0; s < ORDERS; s++) {
        memcpy(order, map, (size_t)n * sizeof *order);
        shuffle(a->seed, s, order, n);
        for (int32_t k = 0; k < PASTS; k++) {
            int rc = run_sequence(t, k, order, n, out, &a->unit[a->n_units].of[0][k], e);
            if (rc)
                return rc;
        }
        a->stratum[a->n_units++] = a->n_groups;
    }
    a->n_groups++;
    return ERR_OK;
}

static int run_trace(struct acceptance *a, const struct trace *t, const char *model,
                     struct arena *arena, struct err *e)
{
    struct replayed_tasks tasks;
    int rc = replayed_tasks(t, SPLIT_HELD_OUT, arena, &tasks, e);
    for (int32_t i = 0; i < tasks.n && !rc; i++) {
        const int32_t *map = tasks.of[i].map, n = tasks.of[i].n;
        if (a->n_groups == MAX_GROUPS)
            return err_set(e, ERR_LIMIT, "the traces have more than %d tasks", MAX_GROUPS);
        a->group[a->n_groups] = (struct group){.model = model, .task = tasks.of[i].task};
        rc = a->sequences ? run_history(a, t, map, n, tasks.out, arena, e)
                          : run_group(a, t, map, n, tasks.out, e);
    }
    return rc;
}

static int run_traces(struct acceptance *a, struct arena *arena, struct err *e)
{
    int rc = ERR_OK;
    for (const struct shipped_trace *s = shipped_traces; s->file && !rc; s++) {
        struct trace *t;
        rc = shipped_trace_open(s, &t, e);
        if (rc)
            break;
        assert(a->n_models < MAX_MODELS);
        a->shown[a->n_models++] = (struct shown){s->model, trace_info(t)->n_counterfactuals, 0, 0};
        rc = run_trace(a, t, s->model, arena, e);
        trace_close(t);
    }
    return rc;
}

static struct acceptance *create(struct reproduce_context *c, bool sequences)
{
    struct acceptance *a = arena_alloc(c->arena, 1, sizeof *a);
    if (!a)
        return NULL;
    *a = (struct acceptance){.sequences = sequences, .seed = c->seed};
    a->unit = arena_alloc(c->arena, MAX_UNITS, sizeof *a->unit);
    a->stratum = arena_alloc(c->arena, MAX_UNITS, sizeof *a->stratum);
    return a->unit && a->stratum ? a : NULL;
}

/* ---- rows ----------------------------------------------------------------------------------- */

static int put_row(struct reproduce_context *c, const struct acceptance *a, int32_t group,
                   int32_t width, int32_t which, struct err *e)
{
    struct question q = {a, width, which, -1, group};
    struct answer own, ratio;
    int rc = ask(&q, c->seed, &own, e);
    q.against = SUFFIX;
    if (!rc)
        rc = ask(&q, c->seed, &ratio, e);
    if (rc)
        return rc;
    output_text(c->rows, "acceptance");
    output_text(c->rows, a->group[group].model);
    output_text(c->rows, a->group[group].task);
    output_int(c->rows, width_of[width]);
    output_text(c->rows, drafter[which].name);
    output_number(c->rows, "%.4f", own.value, "");
    output_number(c->rows, "%.4f", own.interval.low, "");
    output_number(c->rows, "%.4f", own.interval.high, "");
    output_number(c->rows, "%.4f", ratio.value, "");
    output_number(c->rows, "%.4f", ratio.interval.low, "");
    output_number(c->rows, "%.4f", ratio.interval.high, "");
    output_int(c->rows, a->group[group].n);
    output_end(c->rows);
    return ERR_OK;
}

static int put_means(struct reproduce_context *c, const struct acceptance *a, struct err *e)
{
    reproduce_note(c,
                   "\nratio to suffix, geometric mean over task and model (95 %% interval)\n"
                   "  %-22s",
                   "drafter");
    for (int32_t w = 0; w < WIDTHS; w++)
        reproduce_note(c, "  width %-16d", (int)width_of[w]);
    for (int32_t k = 0; k < DRAFTERS; k++) {
        reproduce_note(c, "\n  %-22s", drafter[k].name);
        for (int32_t w = 0; w < WIDTHS; w++) {
            struct question q = {a, w, k, SUFFIX, -1};
            struct answer mean;
            int rc = ask(&q, c->seed, &mean, e);
            if (rc)
                return rc;
            reproduce_note(c, "  %.3f (%.3f .. %.3f)", mean.value, mean.interval.low,
                           mean.interval.high);
        }
    }
    reproduce_note(c, "\n\nHeld-out requests, each drafter filling the width; open choices were "
                      "made on the calibration split.\nLeft out because their text repeats "
                      "itself:");
    for (int32_t g = 0; g < a->n_groups; g++)
        reproduce_note(c, " %s %s %d", a->group[g].model, a->group[g].task,
                       (int)a->group[g].left_out);
    reproduce_note(c,
                   ".\nOf the choices under rejected tokens a trace holds those that agreed with "
                   "a recorded draft: the\nothers count as no agreement for reuse. Of "
                   "what aligned drafts they are:");
    for (int32_t m = 0; m < a->n_models; m++) {
        const struct shown *s = &a->shown[m];
        reproduce_note(c, "%s %s %.1f %%%s", m ? "," : "", s->model,
                       100 * (double)s->unknown / (double)s->drafted,
                       s->recorded ? "" : " (its trace holds none: reuse changes nothing)");
    }
    reproduce_note(c, ".\n");
    return ERR_OK;
}

static int put_history(struct reproduce_context *c, struct err *e)
{
    struct acceptance *a = create(c, true);
    int rc = a ? run_traces(a, c->arena, e) : err_set(e, ERR_NOMEM, "out of memory");
    if (rc)
        return rc;
    reproduce_note(c,
                   "\nhistory of n responses against none, width %d, %d seeded orders of each "
                   "task's requests\n",
                   (int)width_of[WIDTHS - 1], ORDERS);
    for (int32_t k = 0; k < PASTS; k++) {
        struct question q = {a, 0, k, k - k % NONE_OF, -1};
        struct answer mean;
        if (k % NONE_OF == 0)
            continue;
        rc = ask(&q, c->seed, &mean, e);
        if (rc)
            return rc;
        reproduce_note(c, "  %-8.*s history %-3d %.3f (%.3f .. %.3f)\n",
                       (int)strcspn(past[k].drafter, ":"), past[k].drafter, (int)past[k].history,
                       mean.value, mean.interval.low, mean.interval.high);
    }
    return ERR_OK;
}

static int run(struct reproduce_context *c, struct err *e)
{
    struct acceptance *a = create(c, false);
    int rc = a ? run_traces(a, c->arena, e) : err_set(e, ERR_NOMEM, "out of memory");
    if (rc)
        return rc;
    for (int32_t g = 0; g < a->n_groups && !rc; g++)
        for (int32_t w = 0; w < WIDTHS && !rc; w++)
            for (int32_t k = 0; k < DRAFTERS && !rc; k++)
                rc = put_row(c, a, g, w, k, e);
    if (!rc && c->notes)
        rc = put_means(c, a, e);
    return rc || !c->notes ? rc : put_history(c, e);
}

static const char *const columns[] = {
    "target", "model", "task",  "width",     "drafter",    "tokens_per_verification",
    "low",    "high",  "ratio", "ratio_low", "ratio_high", "requests",
    NULL};

const struct reproduction reproduce_acceptance = {
    .name = "acceptance",
    .source = "sd.npu (arXiv 2510.15312), Table 4, on models at hand",
    .summary = "tokens per verification of every drafter at widths 8, 16 and 32",
    .files_only = true,
    .columns = columns,
    .run = run,
};
