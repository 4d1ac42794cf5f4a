#include "experiments/validate_blind.h"

#include <math.h>
#include <string.h>

#include "experiments/validate_own.h"
#include "sim/base/hash.h"

enum { PER_TASK = 4, QUICK_PER_TASK = 1, DRAWS = 500 };

/* ---- the calibration requests --------------------------------------------------------------- */

/* The first lossless policy that sees likely tokens shows the most of the target. */
static int32_t choose_policy(const struct validation *v)
{
    int32_t best = 0;
    for (int32_t i = v->n_policies - 1; i > 0; i--)
        if (v->policy[i].lossless && val_top_k(&v->policy[i]))
            best = i;
    return best;
}

int val_blind_plan(struct validation *v, struct err *e)
{
    int32_t index[VAL_MAX_BLIND];
    int32_t most = v->workload.n_tasks * (v->o->quick ? QUICK_PER_TASK : PER_TASK);
    int32_t n = workload_choose(&v->workload, SPLIT_CALIBRATION,
                                most < VAL_MAX_BLIND ? most : VAL_MAX_BLIND, index);
    v->blind_policy = choose_policy(v);
    for (int32_t i = 0; i < n; i++) {
        struct err why = {0};
        struct val_prompt *to = &v->prompt[VAL_BLIND + v->n_blind];
        int rc = val_prompt_read(v, &v->workload.item[index[i]], to, &why);
        if (rc == ERR_LIMIT)
            continue; /* longer than the context: another one will do */
        if (rc)
            return err_set(e, rc, "%s", why.msg);
        v->n_blind++;
    }
    return ERR_OK;
}

int val_blind_measure(struct validation *v, struct err *e)
{
    char what[80];
    int rc = ERR_OK;
    for (int32_t k = 0; k < v->n_blind && !rc; k++) {
        snprintf(what, sizeof what, "calibration split %.60s", v->prompt[VAL_BLIND + k].id);
        val_progress(v, what);
        rc = val_run_once(v, VAL_BLIND + k, v->blind_policy, 0, e);
    }
    return rc;
}

/* ---- a cost model at another context -------------------------------------------------------- */

struct moved {
    struct cost_model model; /* must be first */
    const struct cost_model *inner;
    int32_t by;
};

static const struct moved *moved_of(const struct cost_model *m)
{
    return (const struct moved *)m;
}

static int32_t move(int32_t pos, int32_t by)
{
    return pos + by > 0 ? pos + by : 0;
}

static int moved_job(const struct cost_model *m, const struct job *job,
                     const struct engine_state *state, const struct draft_work *work,
                     struct cost *out, struct err *e)
{
    const struct moved *x = moved_of(m);
    struct job there = *job;
    struct engine_state before = *state;
    if (job->kind == JOB_FORWARD)
        there.forward.pos = move(job->forward.pos, x->by);
    before.pos = move(state->pos, x->by);
    return x->inner->ops->job(x->inner, &there, &before, work, out, e);
}

static void moved_caps(const struct cost_model *m, struct exec_caps *out)
{
    moved_of(m)->inner->ops->caps(moved_of(m)->inner, out);
}

static void moved_host(const struct cost_model *m, struct cost_host *out)
{
    moved_of(m)->inner->ops->host(moved_of(m)->inner, out);
}

static int32_t moved_processors(const struct cost_model *m, const struct cost_processor **out)
{
    return moved_of(m)->inner->ops->processors(moved_of(m)->inner, out);
}

static int32_t moved_processor_of(const struct cost_model *m, int32_t role)
{
    return moved_of(m)->inner->ops->processor_of(moved_of(m)->inner, role);
}

static int64_t moved_bus(const struct cost_model *m)
{
    return moved_of(m)->inner->ops->bus_bytes_per_s(moved_of(m)->inner);
}

static const struct cost_ops moved_ops = {.abi = COST_ABI,
                                          .size = sizeof(struct cost_ops),
                                          .name = "moved",
                                          .caps = moved_caps,
                                          .job = moved_job,
                                          .host = moved_host,
                                          .processors = moved_processors,
                                          .processor_of = moved_processor_of,
                                          .bus_bytes_per_s = moved_bus};

/* ---- foretelling ---------------------------------------------------------------------------- */

struct blind {
    struct validation *v;
    struct arena arena;
    double *ns; /* [n_done][n_policies][n_blind]; NAN: another task's request */
    double *x, *y, *one;
};

static double *at(const struct blind *b, int32_t prompt, int32_t policy)
{
    return b->ns + (prompt * b->v->n_policies + policy) * b->v->n_blind;
}

static bool same_task(const struct validation *v, int32_t prompt, int32_t k)
{
    return !strcmp(v->prompt[prompt].task, v->prompt[VAL_BLIND + k].task);
}

/* The time from the first token to the last of a held-out prompt, were its text like request k. */
static int decode(const struct blind *b, const struct cost_model *cost, int32_t prompt,
                  int32_t policy, int32_t k, double *ns, struct err *e)
{
    struct validation *v = b->v;
    const struct val_prompt *p = &v->prompt[prompt], *q = &v->prompt[VAL_BLIND + k];
    struct moved moved = {{&moved_ops}, cost, p->n - q->n};
    struct request request = val_request(q);
    struct val_timing t;
    struct val_tally tally = {0};
    if (request.max_tokens > p->max_tokens)
        request.max_tokens = p->max_tokens;
    int32_t text = v->own_index[(VAL_BLIND + k) * v->n_policies + v->blind_policy];
    int rc =
        val_simulate(&moved.model, &v->policy[policy].setup, &request, v->own, text, &t, &tally, e);
    *ns = t.e2e - t.ttft;
    if (!rc && tally.n_output == request.max_tokens && tally.n_output > 1)
        *ns *= (double)(p->max_tokens - 1) / (tally.n_output - 1);
    return rc;
}

static int foretell(const struct blind *b, const struct cost_model *cost, int32_t prompt,
                    int32_t policy, struct err *e)
{
    struct validation *v = b->v;
    struct request request = val_request(&v->prompt[prompt]);
    struct val_timing first;
    struct val_tally tally = {0};
    double *ns = at(b, prompt, policy);
    request.max_tokens = 1;
    int rc = val_simulate(cost, &v->policy[policy].setup, &request, v->own,
                          v->own_index[prompt * v->n_policies + policy], &first, &tally, e);
    for (int32_t k = 0; k < v->n_blind && !rc; k++) {
        ns[k] = NAN;
        if (same_task(v, prompt, k))
            rc = decode(b, cost, prompt, policy, k, &ns[k], e);
        ns[k] += first.ttft;
    }
    return rc;
}

static int foretell_all(const struct blind *b, const struct device *d,
                        const struct device_options *opt, struct err *e)
{
    struct validation *v = b->v;
    int rc = ERR_OK;
    for (int32_t i = 0; i < v->n_policies && !rc; i++) {
        const struct cost_model *cost;
        struct arena arena;
        arena_init(&arena);
        rc = val_cost(d, opt, &v->policy[i].setup, &arena, &cost, e);
        for (int32_t p = 0; p < v->n_done && !rc; p++)
            rc = foretell(b, cost, p, i, e);
        arena_fini(&arena);
    }
    return rc;
}

/* ---- each task's mean and 90 % quantile ----------------------------------------------------- */

/* One of the prompt's foretold times, by chance: the draw's own request for every policy. */
static double draw(const struct blind *b, int32_t prompt, int32_t policy, int32_t number)
{
    const struct validation *v = b->v;
    int32_t n = 0, want;
    for (int32_t k = 0; k < v->n_blind; k++)
        n += same_task(v, prompt, k);
    uint64_t key = (uint64_t)prompt << 32 | (uint32_t)number;
    want = (int32_t)(rng_u64(v->o->seed, RNG_ACCEPTANCE, (uint64_t)prompt, key) % (uint64_t)n);
    for (int32_t k = 0; k < v->n_blind; k++)
        if (same_task(v, prompt, k) && !want--)
            return at(b, prompt, policy)[k];
    return NAN;
}

/* The 90 % quantile that as many requests as were run are expected to have: of few, it is not that
 * of all there could be. */
static double expected_p90(const struct blind *b, const int32_t *prompt, int32_t n, int32_t policy)
{
    double sum = 0;
    for (int32_t i = 0; i < DRAWS; i++) {
        for (int32_t k = 0; k < n; k++)
            b->one[k] = draw(b, prompt[k], policy, i);
        sum += metrics_quantile(b->one, n, 0.9);
    }
    return sum / DRAWS;
}

static void read_task(struct blind *b, const int32_t *prompt, int32_t n,
                      const struct val_timing *measured, const struct val_timing *predicted,
                      struct val_blind_report *out)
{
    const struct validation *v = b->v;
    for (int32_t i = 0; i < v->n_policies; i++) {
        struct val_blind_row row = {v->prompt[prompt[0]].task, i, 0, 0, 0, 0};
        for (int32_t k = 0; k < n; k++) {
            row.predicted_mean_ns += predicted[prompt[k] * v->n_policies + i].e2e / n;
            row.measured_mean_ns += measured[prompt[k] * v->n_policies + i].e2e / n;
            b->one[k] = measured[prompt[k] * v->n_policies + i].e2e;
        }
        row.measured_p90_ns = metrics_quantile(b->one, n, 0.9);
        row.predicted_p90_ns = expected_p90(b, prompt, n, i);
        out->row[out->n_rows++] = row;
    }
}

static void read_tasks(struct blind *b, const struct val_timing *measured,
                       const struct val_timing *predicted, struct val_blind_report *out)
{
    const struct validation *v = b->v;
    int32_t prompt[VAL_MAX_PROMPTS];
    for (int32_t p = 0; p < v->n_done; p++) {
        int32_t n = 0;
        bool first = true;
        for (int32_t q = 0; q < v->n_done; q++) {
            if (strcmp(v->prompt[q].task, v->prompt[p].task))
                continue;
            first = first && q >= p;
            prompt[n++] = q;
        }
        if (first)
            read_task(b, prompt, n, measured, predicted, out);
    }
    int32_t n = out->n_rows;
    for (int32_t i = 0; i < n; i++) {
        b->x[i] = out->row[i].predicted_mean_ns;
        b->y[i] = out->row[i].measured_mean_ns;
        b->x[n + i] = out->row[i].predicted_p90_ns;
        b->y[n + i] = out->row[i].measured_p90_ns;
    }
    out->mean = metrics_error_pct(b->x, b->y, n);
    out->p90 = metrics_error_pct(b->x + n, b->y + n, n);
    out->error = metrics_error_pct(b->x, b->y, 2 * n);
}

static const char *why_not(const struct validation *v)
{
    if (!v->n_blind)
        return "the workload has no calibration split: all of it is held out, or no request of it "
               "fits the context";
    for (int32_t p = 0; p < v->n_done; p++) {
        bool has = false;
        for (int32_t k = 0; k < v->n_blind; k++)
            has = has || same_task(v, p, k);
        if (!has)
            return "a task has no request in the calibration split";
    }
    return NULL;
}

int val_blind_compare(struct validation *v, const struct device *d,
                      const struct device_options *opt, const struct val_timing *measured,
                      struct val_timing *predicted, struct val_report *r, struct err *e)
{
    static const struct error_pct none = {NAN, NAN, NAN, NAN};
    struct blind b = {.v = v};
    int32_t pairs = v->n_done * v->n_policies;
    r->blind = (struct val_blind_report){
        .why_not = why_not(v), .requests = v->n_blind, .error = none, .mean = none, .p90 = none};
    if (r->blind.why_not)
        return ERR_OK;
    arena_init(&b.arena);
    b.ns = arena_alloc(&b.arena, (size_t)pairs * (size_t)v->n_blind, sizeof *b.ns);
    b.x = arena_alloc(&b.arena, 2 * (size_t)pairs, sizeof *b.x);
    b.y = arena_alloc(&b.arena, 2 * (size_t)pairs, sizeof *b.y);
    b.one = arena_alloc(&b.arena, (size_t)pairs, sizeof *b.one);
    r->blind.row = arena_alloc(&v->arena, (size_t)pairs, sizeof *r->blind.row);
    int rc = b.ns && b.x && b.y && b.one && r->blind.row ? foretell_all(&b, d, opt, e)
                                                         : err_set(e, ERR_NOMEM, "out of memory");
    for (int32_t i = 0; i < pairs && !rc; i++) {
        double sum = 0;
        int32_t n = 0;
        for (int32_t k = 0; k < v->n_blind; k++) {
            double ns = b.ns[i * v->n_blind + k];
            sum += isnan(ns) ? 0 : ns;
            n += !isnan(ns);
        }
        predicted[i].e2e = sum / n;
    }
    if (!rc)
        read_tasks(&b, measured, predicted, &r->blind);
    arena_fini(&b.arena);
    return rc;
}
