#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "experiments/progress.h"
#include "experiments/spec.h"
#include "experiments/validate_blind.h"
#include "experiments/validate_change.h"
#include "experiments/validate_db.h"
#include "experiments/validate_own.h"
#include "hwmodels/belief.h"

/* Widths on and off the device's steps of four, up to the widest graph; chains; trees that are run
 * again and kept as they are; calibration, reuse and filling. None remembers earlier responses:
 * requests stay independent, so that prompts may be dropped and resampled one by one. */
static const struct {
    const char *label, *spec;
} shipped[] = {
    {"autoregressive", "autoregressive"},
    {"lookup-3", "speculative:max_draft=3+lookup"},
    {"suffix-5", "speculative:max_draft=5+suffix"},
    {"suffix-11-of-12", "speculative:max_draft=11,width=12+suffix"},
    {"suffix-auto", "speculative:max_draft=15,width=auto+suffix"},
    {"aligned-9", "speculative:max_draft=9,calibrate=1,reuse=1+aligned"},
    {"aligned-plain-32", "speculative:max_draft=31,width=32,tree=plain,calibrate=1+aligned"},
    {"aligned-fill", "speculative:max_draft=31,width=auto,fill=1,calibrate=1,reuse=1+aligned"},
};

enum {
    MAX_WIDTH = 32,
    FROZEN_ROUNDS = 3, /* over all contexts */
    QUICK_FROZEN_ROUNDS = 2,
    QUICK_EVERY = 3, /* sets of runs to a round of one context; otherwise each set has one */
    QUICK_TOKENS = 12,
    QUICK_PROMPTS = 4,
    BUCKET = 256
};

struct val_run *val_run_at(const struct validation *v, int32_t prompt, int32_t policy,
                           int32_t repetition)
{
    return &v->run[(prompt * v->n_policies + policy) * v->o->repetitions + repetition];
}

static double seconds(const struct validation *v)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return ((double)t.tv_sec * 1e9 + (double)t.tv_nsec - (double)v->started_ns) / 1e9;
}

void val_progress(const struct validation *v, const char *what)
{
    double at_s = seconds(v), left_s = v->o->budget_s - at_s;
    progress_show("%5.0f s  %-44s about %4.0f s left", at_s, what, left_s > 0 ? left_s : 0);
}

/* ---- workload ------------------------------------------------------------------------------- */

static int merge(struct validation *v, struct err *e)
{
    enum split_rule rule = v->o->all_held_out ? SPLIT_ALL_HELD_OUT : SPLIT_ALTERNATE;
    workload_init(&v->workload);
    for (int32_t i = 0; i < v->o->n_workloads; i++) {
        struct workload w;
        int rc = workload_load(v->o->workload[i], rule, &w, e);
        for (int32_t k = 0; k < (rc ? 0 : w.n) && !rc; k++)
            rc = workload_add(&v->workload, &w.item[k], w.task[w.item[k].task], e);
        workload_fini(&w);
        if (rc)
            return rc;
    }
    return workload_finish(&v->workload, rule, v->o->workload[0], e);
}

int val_prompt_read(struct validation *v, const struct workload_item *item, struct val_prompt *out,
                    struct err *e)
{
    int32_t cap = v->o->max_ctx;
    int32_t *token = arena_alloc(&v->arena, (size_t)cap, sizeof *token);
    if (!token)
        return err_set(e, ERR_NOMEM, "out of memory for prompts");
    int32_t n = session_tokenize(&v->session, item->prompt, strlen(item->prompt), token, cap);
    if (n < 1 || n + item->max_tokens + MAX_WIDTH > cap)
        return err_at(e, ERR_LIMIT, item->file, item->line, item->col,
                      "prompt %s and its %d output tokens do not fit a context of %d tokens: raise "
                      "--ctx or leave the prompt out",
                      item->id, item->max_tokens, cap);
    *out = (struct val_prompt){.id = item->id,
                               .task = v->workload.task[item->task],
                               .n = n,
                               .max_tokens = item->max_tokens,
                               .token = token};
    if (v->o->quick && out->max_tokens > QUICK_TOKENS)
        out->max_tokens = QUICK_TOKENS;
    return ERR_OK;
}

/* How badly a prompt suits place i of a quick validation's few: by turns the shortest one, and the
 * one whose output lies most evenly on both sides of a context bucket's end, because prompts of one
 * bucket cannot tell whether the context's part in the step time is right. Longer prompts want
 * micro-benchmarks that there is no time for. */
static int32_t unfit(const struct val_prompt *p, int32_t i)
{
    int32_t want = i % 2 ? BUCKET - QUICK_TOKENS / 2 : 0;
    return p->n < BUCKET ? abs(p->n - want) : p->n;
}

static void quick_order(struct validation *v)
{
    for (int32_t i = 0; i < v->n_prompts; i++) {
        int32_t best = i;
        for (int32_t k = i + 1; k < v->n_prompts; k++)
            if (unfit(&v->prompt[k], i) < unfit(&v->prompt[best], i))
                best = k;
        struct val_prompt p = v->prompt[i];
        v->prompt[i] = v->prompt[best];
        v->prompt[best] = p;
    }
}

static int load_prompts(struct validation *v, struct err *e)
{
    int rc = merge(v, e);
    if (rc)
        return rc;
    int32_t *index = arena_alloc(&v->arena, (size_t)v->workload.n + 1, sizeof *index);
    /* A quick validation chooses by length, among all. */
    int32_t max =
        v->o->max_prompts < VAL_MAX_PROMPTS && !v->o->quick ? v->o->max_prompts : VAL_MAX_PROMPTS;
    int32_t n = index ? workload_choose(&v->workload, SPLIT_HELD_OUT, max, index) : 0;
    if (!n)
        return err_set(e, ERR_USAGE, "the workload has no held-out prompt");
    for (int32_t i = 0; i < n && !rc; i++)
        rc = val_prompt_read(v, &v->workload.item[index[i]], &v->prompt[v->n_prompts++], e);
    if (!rc && v->o->quick) {
        quick_order(v);
        int32_t most = v->o->max_prompts < QUICK_PROMPTS ? v->o->max_prompts : QUICK_PROMPTS;
        v->n_prompts = v->n_prompts < most ? v->n_prompts : most;
    }
    return rc;
}

static int load_policies(struct validation *v, struct err *e)
{
    int rc = ERR_OK;
    for (size_t i = 0; i < sizeof shipped / sizeof *shipped && !rc; i++) {
        struct val_policy *p = &v->policy[v->n_policies++];
        snprintf(p->label, sizeof p->label, "%s", shipped[i].label);
        p->setup.max_requests = 1;
        session_setup(&v->session, &p->setup);
        rc = spec_parse(shipped[i].spec, &p->setup, e);
        p->lossless = !rc && spec_lossless(&p->setup);
    }
    return rc;
}

/* ---- calibration ---------------------------------------------------------------------------- */

int val_calibrate(struct validation *v, enum val_setting setting, struct err *e)
{
    bool changed = setting == VAL_THREADS;
    struct val_change *c = &v->change;
    struct samples *samples = changed ? &c->samples : &v->samples;
    int32_t first = samples->n, round = changed ? c->n_rounds : v->n_rounds;
    val_progress(v, changed ? "calibrating other threads" : "calibrating");
    double from_s = seconds(v);
    int rc = profile_round(changed ? &c->session : &v->session, changed ? &c->plan : &v->plan,
                           round, samples, e);
    if (rc)
        return rc;
    if (changed) {
        c->beside[c->n_rounds++] = v->n_rounds - 1;
    } else {
        v->round[v->n_rounds++].after = v->n_sets;
        double took_s = seconds(v) - from_s; /* rounds of a resumed store have no time here */
        v->round_s = v->round_s > 0 ? (v->round_s + took_s) / 2 : took_s;
    }
    return val_db_put_round(v, setting, round, first, e);
}

/* The device that a user has: its file, or the first rounds; then every policy's belief from it. */
static int freeze(struct validation *v, struct err *e)
{
    int rc = ERR_OK;
    if (v->o->device_in) {
        rc = device_load(v->o->device_in, NULL, 0, &v->arena, &v->frozen, e);
        if (!rc && strcmp(v->frozen.numerics_id, v->session.numerics))
            rc = err_at(e, ERR_MISMATCH, v->o->device_in, 0, 0,
                        "was measured with numerics '%s', the engine has '%s': profile it again",
                        v->frozen.numerics_id, v->session.numerics);
    } else {
        int32_t most = v->o->quick ? QUICK_FROZEN_ROUNDS : FROZEN_ROUNDS;
        most = v->o->rounds < most ? v->o->rounds : most;
        v->n_frozen_rounds = most * v->plan.n_contexts;
        while (v->n_rounds < v->n_frozen_rounds && !rc)
            rc = val_calibrate(v, VAL_UNCHANGED, e);
        if (!rc)
            rc = profile_device(&v->session, &v->plan, &v->samples, v->n_frozen_rounds,
                                "tandem validate, first rounds", &v->arena, &v->frozen, e);
        if (!rc && v->o->device_out)
            rc = device_save(&v->frozen, v->o->device_out, e);
    }
    struct device_options opt = {.estimator = DEVICE_MEDIAN};
    struct belief_options how = {0};
    struct belief belief;
    if (!rc)
        rc = device_belief(&v->frozen, 0, &opt, &how, &v->arena, &belief, e);
    for (int32_t p = 0; p < v->n_policies && !rc; p++)
        v->policy[p].setup.belief = belief;
    return rc;
}

/* ---- runs ----------------------------------------------------------------------------------- */

static int keep_run(struct validation *v, const struct request_result *q, uint64_t actions_hash,
                    const int32_t *seen, int32_t n_seen, struct val_run *r, struct err *e)
{
    r->step = arena_alloc(&v->arena, (size_t)q->n_steps, sizeof *r->step);
    r->output = arena_alloc(&v->arena, (size_t)q->n_output, sizeof *r->output);
    r->seen = arena_alloc(&v->arena, (size_t)n_seen + 1, sizeof *r->seen);
    if (!r->step || !r->output || !r->seen)
        return err_set(e, ERR_NOMEM, "out of memory for runs");
    if (n_seen)
        memcpy(r->seen, seen, (size_t)n_seen * sizeof *seen);
    r->n_seen = n_seen;
    memcpy(r->step, q->step, (size_t)q->n_steps * sizeof *r->step);
    memcpy(r->output, q->output, (size_t)q->n_output * sizeof *r->output);
    r->n_steps = q->n_steps;
    r->n_output = q->n_output;
    r->arrive_ns = q->arrive_ns;
    r->first_ns = q->first_ns;
    r->last_ns = q->last_ns;
    r->n_verify = q->n_verify;
    memcpy(r->part_ns, q->part_ns, sizeof r->part_ns);
    r->actions_hash = actions_hash;
    r->done = true;
    return ERR_OK;
}

int val_run_once(struct validation *v, int32_t prompt, int32_t policy, int32_t rep, struct err *e)
{
    bool changed = prompt == VAL_MAX_PROMPTS + VAL_THREADS;
    struct val_run *r = val_run_at(v, prompt, policy, rep);
    if (r->done)
        return ERR_OK;
    const struct val_prompt *p = &v->prompt[prompt];
    struct request request = {.n = p->n,
                              .token = p->token,
                              .max_tokens = p->max_tokens,
                              .arrival_ns = REQUEST_AFTER_PREVIOUS,
                              .cancel_ns = EXEC_NEVER};
    struct exec *x;
    const struct run_setup *setup = &v->policy[policy].setup;
    int rc = session_exec(changed ? &v->change.session : &v->session, setup, &x, e);
    if (rc)
        return rc;
    struct arena arena;
    struct run_result result;
    const int32_t *seen = NULL;
    int32_t n_seen = 0;
    arena_init(&arena);
    rc = val_watch(&x, setup, p, e);
    if (!rc)
        rc = driver_run(setup, x, &request, 1, &arena, &result, e);
    if (!rc)
        rc = val_watched(x, &seen, &n_seen, e);
    if (!rc)
        rc = keep_run(v, &result.request[0], result.actions_hash, seen, rep ? 0 : n_seen, r, e);
    x->ops->destroy(x);
    if (!rc)
        rc = val_db_put_run(v, prompt, policy, rep, e);
    arena_fini(&arena);
    return rc;
}

/* How many rounds stand between that many sets. */
static int32_t rounds_beside(const struct validation *v, int32_t sets)
{
    return sets / (v->o->quick ? QUICK_EVERY : 1);
}

/* One repetition of a prompt by every policy; policies rotate, so that none is always first. */
static int run_set(struct validation *v, int32_t prompt, int32_t rep, struct err *e)
{
    char what[80];
    int rc = ERR_OK;
    for (int32_t i = 0; i < v->n_policies && !rc; i++) {
        int32_t policy = (i + rep + prompt) % v->n_policies;
        snprintf(what, sizeof what, "prompt %d %s %s %d", prompt + 1, v->prompt[prompt].id,
                 v->policy[policy].label, rep + 1);
        val_progress(v, what);
        rc = val_run_once(v, prompt, policy, rep, e);
    }
    v->n_sets += !rc;
    bool due = v->n_rounds < v->n_frozen_rounds + rounds_beside(v, v->n_sets);
    return !rc && due ? val_calibrate(v, VAL_UNCHANGED, e) : rc;
}

/* Seconds of a prompt's first repetition, as far as it is there. */
static double set_s(const struct validation *v, int32_t prompt)
{
    double sum = 0;
    for (int32_t i = 0; i < v->n_policies; i++) {
        const struct val_run *r = val_run_at(v, prompt, i, 0);
        sum += r->done ? (double)(r->last_ns - r->arrive_ns) / 1e9 : 0;
    }
    return sum;
}

/* Seconds of what is still to be run of the prompts that are run and of one more, which takes as
 * long as the longest of them: their repetitions, the calibration rounds between, the interventions
 * and the logs that are played back. What runs leave out is a twentieth. */
static double left_s(const struct validation *v)
{
    double runs = 0, first = 0, longest = 0;
    int32_t sets = (v->n_done + 1) * v->o->repetitions;
    for (int32_t p = 0; p < v->n_done; p++) {
        double s = set_s(v, p);
        longest = s > longest ? s : longest;
        first += s;
        for (int32_t r = 1; r < v->o->repetitions; r++)
            runs += val_run_at(v, p, v->n_policies - 1, r)->done ? 0 : s;
    }
    double mean = v->n_done ? first / v->n_done : 0;
    int32_t rounds = rounds_beside(v, sets - v->n_sets);
    return 1.05 * (runs + v->o->repetitions * longest + mean) + rounds * v->round_s +
           val_change_s(v, mean / v->n_policies);
}

/* The first repetition of as many prompts, in their order, as the budget holds with all their
 * repetitions; then the others, one after another over all prompts, each with one of the
 * interventions: a slow spell of the machine meets one repetition of everything and not all of
 * one. */
static int run_all(struct validation *v, struct err *e)
{
    int rc = val_blind_measure(v, e);
    int32_t least = v->o->quick ? 2 : v->workload.n_tasks;
    while (v->n_done < v->n_prompts && !rc) {
        if (v->n_done >= least && seconds(v) + left_s(v) > v->o->budget_s)
            break;
        rc = run_set(v, v->n_done, 0, e);
        v->n_done += !rc;
    }
    for (int32_t rep = 0; rep < v->o->repetitions && !rc; rep++) {
        for (int32_t p = 0; p < v->n_done && !rc; p++)
            rc = rep ? run_set(v, p, rep, e) : ERR_OK;
        if (!rc)
            rc = val_change_measure(v, rep, e);
    }
    while (!rc && v->n_rounds < v->o->rounds * v->plan.n_contexts)
        rc = val_calibrate(v, VAL_UNCHANGED, e);
    progress_end();
    return rc;
}

int validate_measure(const struct val_options *o, struct validation *v, struct err *e)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    v->o = o;
    v->started_ns = (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
    arena_init(&v->arena);
    int rc = o->model ? session_open_model(o->model, &o->roles, o->max_ctx, &v->session, e)
                      : session_open_toy(o->seed, &v->session, e);
    v->session.roles = o->roles;
    if (!rc)
        rc = load_prompts(v, e);
    if (!rc)
        rc = load_policies(v, e);
    if (rc)
        return rc;
    int32_t longest = 0, prompt = 0;
    for (int32_t i = 0; i < v->n_prompts; i++) {
        int32_t end = v->prompt[i].n + v->prompt[i].max_tokens + MAX_WIDTH;
        longest = end > longest ? end : longest;
        prompt = v->prompt[i].n > prompt ? v->prompt[i].n : prompt;
    }
    /* Whole buckets, as far as the engine's context goes. */
    int32_t ctx = (longest + BUCKET - 1) / BUCKET * BUCKET;
    profile_plan(MAX_WIDTH, ctx < o->max_ctx ? ctx : o->max_ctx, o->seed, &v->plan);
    v->plan.prefill_to = prompt;
    v->plan.by_context = true;
    v->run =
        arena_alloc(&v->arena, (size_t)VAL_PLACES * (size_t)v->n_policies * (size_t)o->repetitions,
                    sizeof *v->run);
    rc = v->run ? val_change_plan(v, e) : err_set(e, ERR_NOMEM, "out of memory for runs");
    if (!rc)
        rc = val_blind_plan(v, e);
    if (!rc)
        rc = val_db_open(v, e);
    if (!rc)
        rc = freeze(v, e);
    return rc ? rc : run_all(v, e);
}

void validate_close(struct validation *v)
{
    val_db_close(v);
    if (v->own)
        trace_close(v->own);
    session_close(&v->session);
    session_close(&v->change.session);
    samples_free(&v->samples);
    samples_free(&v->change.samples);
    workload_fini(&v->workload);
    arena_fini(&v->arena);
}
