#include "experiments/bench_real.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "experiments/command.h"
#include "experiments/progress.h"
#include "experiments/spec.h"
#include "experiments/world.h"
#include "hwmodels/belief.h"
#include "sim/exec/metrics.h"
#include "sim/exec/pin.h"

/* Prompts are one step, as the comparators have them. Speculative was chosen on the calibration
 * split (README.md): chains, because a path that is not first costs another step; no calibration,
 * because the head's logits of a whole prompt cost more than what they add at the widths that pay
 * on a CPU. */
const char *const bench_specs[] = {
    "autoregressive:chunk=512",
    "speculative:max_draft=15,width=auto,fill=1,reuse=1,chunk=512+aligned:branches=1"};

enum {
    CTX = 2048,
    PAD = 256,
    ROUNDS = 2,
    LEAST_OUTPUT = 8,   /* tokens of a text that is decoded at all */
    CHOICE_PROMPTS = 12 /* of the calibration split, to choose comparators on */
};

/* Of a model's time, until when comparators are chosen. */
#define CHOICE_SHARE 0.25

/* A model's share of all time goes by its bytes to this: a round of TinyLlama takes seven times one
 * of SmolLM2 at eight times the bytes; the profile and the choice have to fit too. */
#define MODEL_POWER 0.75

static const char *const workloads[] = {"traces/workloads/summary.jsonl",
                                        "traces/workloads/rag.jsonl", "traces/workloads/ui.jsonl",
                                        "traces/workloads/reply.jsonl"};

static const int32_t widths[] = {1, 2, 3, 4, 5, 6, 7, 8, 12, 16};

double bench_seconds(const struct bench_real *b)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return ((double)t.tv_sec * 1e9 + (double)t.tv_nsec - (double)b->started_ns) / 1e9;
}

void bench_progress(const struct bench_real *b, const struct bench_model *m, const char *what)
{
    progress_show("%5.0f s  %.24s: %.48s", bench_seconds(b), m->name, what);
}

/* ---- one run -------------------------------------------------------------------------------- */

int bench_set_up(const struct bench_model *m, const char *spec, struct run_setup *setup,
                 struct err *e)
{
    *setup = (struct run_setup){.max_requests = 1, .belief = m->belief};
    session_setup(&m->session, setup);
    return spec_parse(spec, setup, e);
}

struct request bench_request(const struct bench_prompt *p, int32_t max_tokens)
{
    return (struct request){.n = p->n,
                            .token = p->token,
                            .max_tokens = max_tokens,
                            .arrival_ns = REQUEST_AFTER_PREVIOUS,
                            .cancel_ns = EXEC_NEVER};
}

/* The first token after the prompt's step is followed by steps that verify n - 1 drafted tokens
 * and make emitted ones visible, the last of them the target's own. */
static void count_positions(const struct request_result *q, struct bench_positions *c)
{
    for (int32_t i = 0; i < q->n_steps; i++) {
        const struct step *s = &q->step[i];
        if (s->phase == PHASE_PREFILL)
            continue;
        c->steps++;
        c->tokens += s->emitted;
        for (int32_t k = 1; k < s->n && k <= BENCH_MAX_DRAFT; k++) {
            c->drafted[k]++;
            c->accepted[k] += s->emitted > k;
        }
    }
}

/* The prompt's text, or a comparison with it. */
static int keep_text(struct bench_real *b, struct bench_prompt *p, const struct request_result *q,
                     int32_t contender, struct err *e)
{
    size_t bytes = (size_t)q->n_output * sizeof *q->output;
    if (p->output && (q->n_output != p->n_output || memcmp(q->output, p->output, bytes)))
        return err_set(e, ERR_MISMATCH, "prompt %s: %s gave another text than the target alone",
                       p->id, bench_specs[contender]);
    if (p->output)
        return ERR_OK;
    int32_t *kept = arena_alloc(&b->arena, (size_t)q->n_output + 1, sizeof *kept);
    if (!kept)
        return err_set(e, ERR_NOMEM, "out of memory for texts");
    memcpy(kept, q->output, bytes);
    p->output = kept;
    p->n_output = q->n_output;
    p->distinct_4grams = metrics_distinct_4grams(q->output, q->n_output);
    return ERR_OK;
}

int bench_run_own(struct bench_real *b, struct bench_model *m, struct bench_prompt *p,
                  int32_t contender, struct bench_run *run, struct err *e)
{
    struct request request = bench_request(p, b->o->max_tokens);
    struct run_setup setup;
    struct run_result result;
    struct arena arena;
    struct exec *x = NULL;
    int rc = bench_set_up(m, bench_specs[contender], &setup, e);
    if (!rc)
        rc = session_exec(&m->session, &setup, &x, e);
    if (rc)
        return rc;
    arena_init(&arena);
    rc = driver_run(&setup, x, &request, 1, &arena, &result, e);
    x->ops->destroy(x);
    const struct request_result *q = &result.request[0];
    if (!rc && run) {
        *run = (struct bench_run){(double)(q->first_ns - q->arrive_ns),
                                  (double)(q->last_ns - q->arrive_ns),
                                  {q->n_output, q->n_drafted, q->n_accepted}};
        if (contender == BENCH_SPECULATIVE)
            count_positions(q, &m->positions[p->task]);
    }
    if (!rc)
        rc = keep_text(b, p, q, contender, e);
    arena_fini(&arena);
    return rc;
}

int bench_run_comparator(struct bench_real *b, struct bench_model *m, const struct comparator *c,
                         const struct bench_prompt *p, struct bench_run *run, struct err *e)
{
    char scratch[64]; /* out/ is there since the comparators were set up */
    snprintf(scratch, sizeof scratch, "out/bench-real-%ld", (long)getpid());
    struct comparator_task task = {.dir = b->comparators,
                                   .model = m->path,
                                   .draft = m->draft,
                                   .prompt = p->text,
                                   .scratch = scratch,
                                   .max_tokens = p->n_output,
                                   .max_ctx = CTX,
                                   .threads = 1,
                                   .core =
                                       role_map_core(role_map_find(&m->session.roles, "target"))};
    struct comparator_times t;
    int rc = comparator_run(c, &task, &t, e);
    if (!rc && t.n_prompt != p->n)
        rc = err_set(e, ERR_MISMATCH, "prompt %s has %d tokens for Tandem and %d for %s", p->id,
                     p->n, t.n_prompt, comparator_tools[c->tool]);
    if (!rc)
        *run = (struct bench_run){t.prompt_ns,
                                  comparator_ns(&t, c->tool, p->n_output),
                                  {t.n_output, t.n_drafted, t.n_accepted}};
    return rc;
}

/* ---- prompts -------------------------------------------------------------------------------- */

static int read_prompt(struct bench_real *b, struct bench_model *m, const struct workload *w,
                       const struct workload_item *item, struct bench_prompt *p, struct err *e)
{
    int32_t *token = arena_alloc(&b->arena, CTX, sizeof *token);
    *p = (struct bench_prompt){.id = arena_strdup(&b->arena, item->id),
                               .text = arena_strdup(&b->arena, item->prompt),
                               .token = token};
    if (!token || !p->id || !p->text)
        return err_set(e, ERR_NOMEM, "out of memory for prompts");
    p->n = session_tokenize(&m->session, item->prompt, strlen(item->prompt), token, CTX);
    if (p->n < 1 || p->n + b->o->max_tokens + BENCH_MAX_DRAFT + 1 > CTX)
        return err_at(e, ERR_LIMIT, item->file, item->line, item->col,
                      "prompt %s and %d output tokens do not fit a context of %d", item->id,
                      b->o->max_tokens, CTX);
    while (p->task < m->n_tasks && strcmp(m->task[p->task], w->task[item->task]))
        p->task++;
    if (p->task == BENCH_MAX_TASKS)
        return err_set(e, ERR_LIMIT, "more than %d tasks", BENCH_MAX_TASKS);
    if (p->task == m->n_tasks)
        m->task[m->n_tasks++] = arena_strdup(&b->arena, w->task[item->task]);
    return ERR_OK;
}

/* Prompts of a split, tasks by turns; at most `most`. */
static int read_prompts(struct bench_real *b, struct bench_model *m, const struct workload *w,
                        enum split split, int32_t most, struct bench_prompt **out, int32_t *n,
                        struct err *e)
{
    int32_t *index = arena_alloc(&b->arena, (size_t)w->n + 1, sizeof *index);
    *out = arena_alloc(&b->arena, (size_t)w->n + 1, sizeof **out);
    if (!index || !*out)
        return err_set(e, ERR_NOMEM, "out of memory for prompts");
    *n = workload_choose(w, split, most, index);
    int rc = *n ? ERR_OK : err_set(e, ERR_USAGE, "the workload lacks prompts of a split");
    for (int32_t i = 0; i < *n && !rc; i++)
        rc = read_prompt(b, m, w, &w->item[index[i]], &(*out)[i], e);
    return rc;
}

bool bench_fits(const struct bench_prompt *p)
{
    return p->n_output >= LEAST_OUTPUT && p->distinct_4grams >= METRICS_DEGENERATE;
}

static void keep_run(struct bench_model *m, struct bench_prompt *p, int32_t k, int32_t rep,
                     const struct bench_run *run)
{
    struct bench_counts *sum = &m->contender[k].counts[p->task];
    p->first_ns[k][rep] = run->first_ns;
    p->ns[k][rep] = run->ns;
    sum->output += run->counts.output;
    sum->drafted += run->counts.drafted;
    sum->accepted += run->counts.accepted;
}

/* Of every task its next held-out prompt that does not repeat itself. The target's text of each
 * comes with it, and its first time alone. */
static int add_prompts(struct bench_real *b, struct bench_model *m, struct err *e)
{
    bool had[BENCH_MAX_TASKS] = {false};
    int rc = ERR_OK;
    for (int32_t i = 0; i < m->n_candidates && !rc && m->n_prompts < BENCH_MAX_PROMPTS; i++) {
        struct bench_prompt *p = &m->candidate[i];
        if (p->output || had[p->task])
            continue;
        struct bench_run run;
        bench_progress(b, m, p->id);
        rc = bench_run_own(b, m, p, BENCH_AUTOREGRESSIVE, &run, e);
        had[p->task] = !rc && bench_fits(p);
        m->n_left_out += !rc && !had[p->task];
        if (had[p->task]) {
            keep_run(m, p, BENCH_AUTOREGRESSIVE, 0, &run);
            m->prompt[m->n_prompts++] = *p;
        }
    }
    return rc;
}

static int load_workload(struct workload *w, struct err *e)
{
    char path[4096];
    workload_init(w);
    int rc = ERR_OK;
    for (size_t i = 0; i < sizeof workloads / sizeof *workloads && !rc; i++) {
        struct workload one;
        if (!command_shipped(workloads[i], path, sizeof path))
            return err_at(e, ERR_IO, workloads[i], 0, 0,
                          "is not here nor beside the program: run from the repository's root");
        rc = workload_load(path, SPLIT_ALTERNATE, &one, e);
        for (int32_t k = 0; k < (rc ? 0 : one.n) && !rc; k++)
            rc = workload_add(w, &one.item[k], one.task[one.item[k].task], e);
        workload_fini(&one);
    }
    return rc ? rc : workload_finish(w, SPLIT_ALTERNATE, workloads[0], e);
}

/* ---- the device ----------------------------------------------------------------------------- */

static void plan(struct bench_real *b, struct bench_model *m)
{
    int32_t longest = 0;
    for (int32_t i = 0; i < m->n_candidates; i++)
        longest = m->candidate[i].n > longest ? m->candidate[i].n : longest;
    int32_t ctx = longest + b->o->max_tokens + BENCH_MAX_DRAFT + 1;
    profile_plan(BENCH_MAX_DRAFT + 1, (ctx + PAD - 1) / PAD * PAD, b->o->seed, &m->plan);
    m->plan.prefill_to = 0; /* a prompt's time is measured, never simulated */
    m->plan.n_widths = sizeof widths / sizeof *widths;
    memcpy(m->plan.width, widths, sizeof widths);
}

static int profile(struct bench_real *b, struct bench_model *m, struct err *e)
{
    struct device_options opt = {.estimator = DEVICE_MINIMUM};
    struct belief_options how = {0};
    bench_progress(b, m, "profiling");
    int rc = profile_round(&m->session, &m->plan, m->n_rounds++, &m->samples, e);
    if (!rc)
        rc = profile_device(&m->session, &m->plan, &m->samples, -1, "tandem bench real", &b->arena,
                            &m->device, e);
    if (!rc)
        rc = profile_add_oracle(&m->device, &b->arena, e);
    return rc ? rc : device_belief(&m->device, 0, &opt, &how, &b->arena, &m->belief, e);
}

struct side {
    struct session session;
    struct samples samples;
    struct device device;
    struct belief belief;
    double ns;
};

/* The model as it is opened now: profiled, and the time of an answer, whose text is its own. */
static int try_side(struct bench_real *b, struct bench_model *m, const struct bench_prompt *trial,
                    struct side *out, struct err *e)
{
    struct bench_prompt p = *trial;
    struct bench_run run;
    int rc = profile(b, m, e);
    if (!rc)
        rc = bench_run_own(b, m, &p, BENCH_AUTOREGRESSIVE, NULL, e);
    if (!rc)
        rc = bench_run_own(b, m, &p, BENCH_SPECULATIVE, &run, e);
    memset(m->positions, 0, sizeof m->positions);
    *out = (struct side){m->session, m->samples, m->device, m->belief, rc ? INFINITY : run.ns};
    return rc;
}

/* Plain attention or flash: the one whose answer to a calibration prompt is there sooner. Products
 * of attention, which plain attention alone has, decide it on CPUs with AVX-512. */
static int choose_attention(struct bench_real *b, struct bench_model *m,
                            const struct bench_prompt *trial, struct err *e)
{
    struct side side[2]; /* plain, flash */
    int rc = try_side(b, m, trial, &side[0], e);
    if (rc)
        return rc;
    m->session = (struct session){0};
    m->samples = (struct samples){0};
    m->n_rounds = 0;
    rc = session_open_flash(m->path, &side[0].session.roles, CTX, &m->session, e);
    if (!rc)
        rc = try_side(b, m, trial, &side[1], e);
    m->attention_ns[0] = side[0].ns;
    m->attention_ns[1] = rc ? INFINITY : side[1].ns;
    m->flash = m->attention_ns[1] < m->attention_ns[0];
    if (m->flash) {
        session_close(&side[0].session);
        samples_free(&side[0].samples);
    } else {
        session_close(&m->session);
        samples_free(&m->samples);
        m->session = side[0].session;
        m->samples = side[0].samples;
        m->device = side[0].device;
        m->belief = side[0].belief;
    }
    return rc;
}

/* ---- by turns ------------------------------------------------------------------------------- */

static int run_contender(struct bench_real *b, struct bench_model *m, struct bench_prompt *p,
                         int32_t k, int32_t rep, struct err *e)
{
    const struct bench_contender *c = &m->contender[k];
    struct bench_run run;
    char what[100];
    if (k == BENCH_AUTOREGRESSIVE && rep == 0)
        return ERR_OK; /* its time is there, with the text */
    snprintf(what, sizeof what, "%s, %s", p->id, c->label);
    bench_progress(b, m, what);
    int rc = c->own ? bench_run_own(b, m, p, k, &run, e)
                    : bench_run_comparator(b, m, &c->comparator, p, &run, e);
    if (!rc)
        keep_run(m, p, k, rep, &run);
    return rc;
}

/* The prompts from `from` on, all contenders of one before the next; within a prompt they rotate.
 */
static int run_pass(struct bench_real *b, struct bench_model *m, int32_t from, int32_t rep,
                    struct err *e)
{
    int rc = ERR_OK;
    for (int32_t i = from; i < m->n_prompts && !rc; i++) {
        for (int32_t k = 0; k < m->n_contenders && !rc; k++)
            rc = run_contender(b, m, &m->prompt[i], (k + i + rep) % m->n_contenders, rep, e);
        m->prompt[i].n_reps += !rc;
    }
    return rc;
}

/* Only whole rounds and passes count, and none begins that the last one's time would not let end;
 * but for the first. */
static int run_all(struct bench_real *b, struct bench_model *m, double until_s, struct err *e)
{
    double start_s = bench_seconds(b), took_s = 0;
    int rc = ERR_OK;
    for (int32_t k = 0; k < b->o->prompts && !rc; k++) {
        int32_t before = m->n_prompts;
        double from_s = bench_seconds(b);
        if (k && from_s + took_s > until_s)
            return ERR_OK;
        rc = add_prompts(b, m, e);
        if (!rc)
            rc = run_pass(b, m, before, 0, e);
        took_s = bench_seconds(b) - from_s;
    }
    took_s = bench_seconds(b) - start_s;
    for (int32_t rep = 1; rep < b->o->repetitions && !rc; rep++) {
        double from_s = bench_seconds(b);
        if (from_s + took_s > until_s)
            break;
        rc = run_pass(b, m, 0, rep, e);
        took_s = bench_seconds(b) - from_s;
    }
    return rc;
}

/* ---- all of it ------------------------------------------------------------------------------ */

static int open_model(struct bench_real *b, struct bench_model *m, struct err *e)
{
    struct role_map roles;
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    char text[64];
    /* Tandem's drafter and driver get no core of their own: the comparators have one core. Nor does
     * a job then wait for another core to wake up. */
    snprintf(text, sizeof text, "target=cpu:%ld draft=cpu:%ld", cores - 1, cores - 1);
    int rc = role_map_parse(text, &roles, e);
    pin_thread((int32_t)(cores - 1)); /* as well as the machine can */
    if (!rc)
        rc = session_open_model(m->path, &roles, CTX, &m->session, e);
    /* The file's: what a GGUF calls itself may say little. */
    const char *name = strrchr(m->path, '/');
    snprintf(m->name, sizeof m->name, "%s", name ? name + 1 : m->path);
    if (strlen(m->name) > 5 && !strcmp(m->name + strlen(m->name) - 5, ".gguf"))
        m->name[strlen(m->name) - 5] = 0;
    for (int32_t k = 0; k < COMPARATOR_BUILDS && !rc; k++) {
        char path[4200];
        snprintf(path, sizeof path, "%s/%s", b->comparators, comparator_builds[k]);
        m->has_build[k] = access(path, X_OK) == 0;
    }
    return rc;
}

static int run_model(struct bench_real *b, struct bench_model *m, const struct workload *w,
                     double until_s, struct err *e)
{
    double from_s = bench_seconds(b);
    struct bench_prompt *trial = NULL;
    int32_t n_trials = 0;
    m->n_contenders = 2;
    m->contender[BENCH_AUTOREGRESSIVE] =
        (struct bench_contender){"autoregressive", true, {0}, {{0}}};
    m->contender[BENCH_SPECULATIVE] = (struct bench_contender){"speculative", true, {0}, {{0}}};
    int rc = open_model(b, m, e);
    if (!rc)
        rc = read_prompts(b, m, w, SPLIT_HELD_OUT, w->n, &m->candidate, &m->n_candidates, e);
    if (!rc)
        rc = read_prompts(b, m, w, SPLIT_CALIBRATION, CHOICE_PROMPTS, &trial, &n_trials, e);
    plan(b, m);
    if (!rc)
        rc = choose_attention(b, m, &trial[0], e);
    while (m->n_rounds < ROUNDS && !rc)
        rc = profile(b, m, e);
    if (!rc)
        rc = bench_choose(b, m, trial, n_trials, from_s + CHOICE_SHARE * (until_s - from_s), e);
    if (!rc)
        rc = run_all(b, m, until_s, e);
    if (!rc)
        rc = bench_bound(m, e);
    session_close(&m->session);
    progress_end();
    return rc;
}

/* What there is to compare with, and on: built and fetched by the first call. */
static int prepare(struct bench_real *b, struct err *e)
{
    char path[4096], device[4096];
    const struct bench_options *o = b->o;
    snprintf(device, sizeof device, "%s", program_path());
    char *name = strrchr(device, '/');
    snprintf(name ? name + 1 : device, 32, "tandem-device");
    int rc = comparator_setup("comparators", NULL, b->comparators, sizeof b->comparators, e);
    if (rc)
        return rc;
    b->n_models = o->n_models ? o->n_models : 2;
    b->model = calloc((size_t)b->n_models, sizeof *b->model);
    if (!b->model)
        return err_set(e, ERR_NOMEM, "out of memory");
    for (int32_t i = 0; i < b->n_models && !rc; i++) {
        bool tiny = o->n_models ? strstr(o->model[i], "TinyLlama") != NULL : i == 1;
        if (!o->n_models)
            rc = comparator_setup(tiny ? "tinyllama" : "quantise", device, path, sizeof path, e);
        b->model[i].path = arena_strdup(&b->arena, o->n_models ? o->model[i] : path);
        /* stories15M shares the ids of TinyLlama's vocabulary; SmolLM2 has no smaller model. */
        if (!rc && tiny)
            rc = comparator_setup("draft", device, path, sizeof path, e);
        b->model[i].draft = tiny ? arena_strdup(&b->arena, path) : NULL;
    }
    return rc;
}

int bench_real_measure(const struct bench_options *o, struct bench_real *b, struct err *e)
{
    struct timespec t;
    struct workload w = {0};
    *b = (struct bench_real){.o = o};
    arena_init(&b->arena);
    int rc = prepare(b, e);
    if (!rc)
        rc = load_workload(&w, e);
    clock_gettime(CLOCK_MONOTONIC, &t);
    b->started_ns = (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
    /* A large model's run takes many times as long as a small one's. */
    double bytes = 0, until_s = 0, share[BENCH_MAX_MODELS];
    for (int32_t i = 0; i < b->n_models && !rc; i++) {
        FILE *f = fopen(b->model[i].path, "rb");
        share[i] = 1;
        if (f && !fseek(f, 0, SEEK_END))
            share[i] = pow((double)ftell(f), MODEL_POWER);
        if (f)
            fclose(f);
        bytes += share[i];
    }
    for (int32_t i = 0; i < b->n_models && !rc; i++) {
        until_s += o->budget_s * share[i] / bytes;
        rc = run_model(b, &b->model[i], &w, until_s, e);
    }
    workload_fini(&w);
    return rc;
}

void bench_real_close(struct bench_real *b)
{
    for (int32_t i = 0; i < b->n_models && b->model; i++) {
        session_close(&b->model[i].session);
        samples_free(&b->model[i].samples);
    }
    free(b->model);
    arena_fini(&b->arena);
}
