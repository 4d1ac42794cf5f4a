#include "experiments/validate_time.h"

#include <math.h>
#include <string.h>

#include "experiments/world.h"
#include "hwmodels/steps.h"
#include "sim/exec/shims.h"
#include "sim/exec/sim.h"

/* ---- times of a run, split where it can be compared ----------------------------------------- */

static int32_t n_prefill(const struct step *s, int32_t n)
{
    int32_t k = 0;
    while (k < n && s[k].phase == PHASE_PREFILL)
        k++;
    return k;
}

/* End of piece k of a run; pieces 0 .. n_steps - 1 end with a step, the last with the last EMIT,
 * and the one that holds the first EMIT is split there. */
static int64_t piece_end(const struct val_run *r, int32_t k)
{
    int32_t first = n_prefill(r->step, r->n_steps);
    if (k < first)
        return r->step[k].end_ns;
    if (k == first)
        return r->first_ns;
    return k <= r->n_steps ? r->step[k - 1].end_ns : r->last_ns;
}

static double smallest(const struct val_run *const *run, int32_t n, int32_t k)
{
    double best = INFINITY;
    for (int32_t i = 0; i < n; i++) {
        int64_t from = k ? piece_end(run[i], k - 1) : run[i]->arrive_ns;
        best = fmin(best, (double)(piece_end(run[i], k) - from));
    }
    return best;
}

static void smallest_parts(const struct val_run *const *run, int32_t n, struct val_timing *t)
{
    memset(t->part, 0, sizeof t->part);
    for (int32_t k = 0; k < run[0]->n_steps; k++) {
        double step = INFINITY, sample = INFINITY;
        for (int32_t i = 0; i < n; i++) {
            const struct step *s = &run[i]->step[k];
            step = fmin(step, (double)(s->end_ns - s->start_ns - s->sample_ns));
            sample = fmin(sample, (double)s->sample_ns);
        }
        t->part[run[0]->step[k].phase == PHASE_PREFILL ? PART_PREFILL : PART_STEP] += step;
        t->part[PART_SAMPLE] += sample;
    }
    double draft = INFINITY;
    for (int32_t i = 0; i < n; i++)
        draft = fmin(draft, (double)run[i]->part_ns[PART_DRAFT]);
    t->part[PART_DRAFT] = draft;
    double known = t->part[PART_PREFILL] + t->part[PART_STEP] + t->part[PART_SAMPLE] + draft;
    t->part[PART_HOST] = t->e2e - known; /* hand-overs, policy, driver, commits */
}

void val_noise_floor(const struct val_run *const *run, int32_t n, struct val_timing *t)
{
    int32_t first = n_prefill(run[0]->step, run[0]->n_steps), last = run[0]->n_steps + 1;
    *t = (struct val_timing){0};
    for (int32_t k = 0; k <= last; k++) {
        double ns = smallest(run, n, k);
        t->e2e += ns;
        t->ttft += k <= first ? ns : 0;
    }
    int32_t tokens = run[0]->n_output;
    t->tpot = tokens > 1 ? (t->e2e - t->ttft) / (tokens - 1) : NAN;
    smallest_parts(run, n, t);
}

void val_medians(const struct val_run *const *run, int32_t n, struct val_timing *t)
{
    double e2e[VAL_MAX_REPS], ttft[VAL_MAX_REPS], tpot[VAL_MAX_REPS];
    for (int32_t i = 0; i < n; i++) {
        const struct val_run *r = run[i];
        e2e[i] = (double)(r->last_ns - r->arrive_ns);
        ttft[i] = (double)(r->first_ns - r->arrive_ns);
        tpot[i] = (double)(r->last_ns - r->first_ns) / (r->n_output > 1 ? r->n_output - 1 : 1);
    }
    *t = (struct val_timing){metrics_quantile(e2e, n, 0.5),
                             metrics_quantile(ttft, n, 0.5),
                             metrics_quantile(tpot, n, 0.5),
                             {0}};
}

/* ---- simulating ----------------------------------------------------------------------------- */

int val_cost(const struct device *d, const struct device_options *opt,
             const struct run_setup *setup, struct arena *arena, const struct cost_model **out,
             struct err *e)
{
    int32_t processor[EXEC_MAX_ROLES], roles = 0;
    struct device_options own = *opt;
    for (int32_t i = 0; i < setup->n_drafters; i++)
        own.drafter[i] = setup->drafter[i].type->name;
    while (setup->policy->role[roles])
        roles++;
    int rc = device_roles(d, setup->policy->role, NULL, processor, e);
    return rc ? rc : device_cost_create(d, processor, roles, &own, arena, out, e);
}

struct request val_request(const struct val_prompt *p)
{
    return (struct request){.n = p->n,
                            .token = p->token,
                            .max_tokens = p->max_tokens,
                            .arrival_ns = REQUEST_AFTER_PREVIOUS,
                            .cancel_ns = EXEC_NEVER};
}

int val_simulate(const struct cost_model *cost, const struct run_setup *setup,
                 const struct request *request, const struct trace *trace, int32_t index,
                 struct val_timing *out, struct val_tally *tally, struct err *e)
{
    struct trace_truth truth;
    struct arena arena;
    struct run_result result;
    struct exec *x;
    struct sim_stats stats;
    trace_truth_init(&truth, trace, &index, 1);
    int rc = sim_create(cost, &truth.truth, setup, &x, e);
    if (rc)
        return rc;
    arena_init(&arena);
    rc = driver_run(setup, x, request, 1, &arena, &result, e);
    if (!rc) {
        const struct request_result *q = &result.request[0];
        struct val_run run = {.n_steps = q->n_steps,
                              .step = q->step,
                              .n_output = q->n_output,
                              .arrive_ns = q->arrive_ns,
                              .first_ns = q->first_ns,
                              .last_ns = q->last_ns};
        memcpy(run.part_ns, q->part_ns, sizeof run.part_ns);
        const struct val_run *one = &run;
        val_noise_floor(&one, 1, out);
        sim_stats(x, &stats);
        tally->extrapolated += stats.n_extrapolated;
        tally->jobs += stats.n_jobs;
        tally->actions_hash = result.actions_hash;
        tally->n_output = q->n_output;
        tally->n_verify = q->n_verify;
    }
    x->ops->destroy(x);
    arena_fini(&arena);
    return rc;
}

int val_simulate_own(struct validation *v, const struct cost_model *cost, int32_t prompt,
                     int32_t policy, struct val_timing *out, struct val_tally *tally, struct err *e)
{
    struct request request = val_request(&v->prompt[prompt]);
    int rc = val_simulate(cost, &v->policy[policy].setup, &request, v->own,
                          v->own_index[prompt * v->n_policies + policy], out, tally, e);
    tally->actions_same +=
        !rc && tally->actions_hash == val_run_at(v, prompt, policy, 0)->actions_hash;
    return rc;
}
