#include "experiments/bench_real.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "experiments/command.h"
#include "experiments/spec.h"
#include "experiments/world.h"
#include "hwmodels/belief.h"
#include "sim/exec/metrics.h"
#include "sim/exec/truth.h"

/* Chosen on the calibration split (README.md): chains, because a path that is not first costs
 * another step; no calibration, because the head's logits of a whole prompt cost more than what
 * they add at the widths that pay on a CPU. */
#define SPECULATIVE                                                                                \
    "speculative:max_draft=15,width=auto,fill=1,reuse=1,chunk=512+aligned:branches=1"
#define AUTOREGRESSIVE "autoregressive:chunk=512" /* as the comparators: a prompt is one step */

enum {
    CTX = 2048,
    PAD = 256,
    ROUNDS = 3,
    LEAST_OUTPUT = 8,  /* tokens of a text that is decoded at all */
    CHOICE_PROMPTS = 4 /* calibration prompts that comparators are chosen on, at most */
};

/* Of a model's time, until when comparators are chosen. */
#define CHOICE_SHARE 0.35

static const char *const workloads[] = {
    "traces/workloads/summary.jsonl", "traces/workloads/rag.jsonl", "traces/workloads/ui.jsonl",
    "traces/workloads/reply.jsonl"};

static const int32_t widths[] = {1, 2, 3, 4, 8, 12, 16};
static const int32_t draft_lengths[] = {1, 2, 3, 7};

enum { FIRST_DRAFT = 3 };

static double seconds(const struct bench_real *b)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return ((double)t.tv_sec * 1e9 + (double)t.tv_nsec - (double)b->started_ns) / 1e9;
}

static void progress(const struct bench_real *b, const struct bench_model *m, const char *what)
{
    if (b->o->progress)
        fprintf(stderr, "\r%5.0f s  %.24s: %-48.48s ", seconds(b), m->name, what);
}

/* ---- one run -------------------------------------------------------------------------------- */

static int set_up(const struct bench_model *m, const char *spec, struct run_setup *setup,
                  struct err *e)
{
    *setup = (struct run_setup){.max_requests = 1, .belief = m->belief};
    session_setup(&m->session, setup);
    return spec_parse(spec, setup, e);
}

static struct request request_of(const struct bench_prompt *p, int32_t max_tokens)
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

/* Time from the prompt to the last token; keeps the text in the arena when the prompt has none. */
static int run_own(struct bench_real *b, struct bench_model *m, struct bench_prompt *p,
                   const char *spec, double *ns, struct bench_positions *positions, struct err *e)
{
    struct request request = request_of(p, b->o->max_tokens);
    struct run_setup setup;
    struct run_result result;
    struct arena arena;
    struct exec *x = NULL;
    int rc = set_up(m, spec, &setup, e);
    if (!rc)
        rc = session_exec(&m->session, &setup, &x, e);
    if (rc)
        return rc;
    arena_init(&arena);
    rc = driver_run(&setup, x, &request, 1, &arena, &result, e);
    x->ops->destroy(x);
    const struct request_result *q = &result.request[0];
    if (!rc) {
        *ns = (double)(q->last_ns - q->arrive_ns);
        if (positions)
            count_positions(q, positions);
    }
    if (!rc && !p->output) {
        int32_t *kept = arena_alloc(&b->arena, (size_t)q->n_output + 1, sizeof *kept);
        if (kept)
            memcpy(kept, q->output, (size_t)q->n_output * sizeof *kept);
        p->output = kept;
        p->n_output = q->n_output;
        p->distinct_4grams = metrics_distinct_4grams(q->output, q->n_output);
        rc = kept ? ERR_OK : err_set(e, ERR_NOMEM, "out of memory for texts");
    } else if (!rc && (q->n_output != p->n_output ||
                       memcmp(q->output, p->output, (size_t)p->n_output * sizeof *p->output))) {
        rc = err_set(e, ERR_MISMATCH, "prompt %s: %s gave another text than the target alone",
                     p->id, spec);
    }
    arena_fini(&arena);
    return rc;
}

static int run_comparator(struct bench_real *b, struct bench_model *m, const struct comparator *c,
                          const struct bench_prompt *p, double *ns, struct err *e)
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
                                   .core = role_map_core(role_map_find(&m->session.roles,
                                                                       "target"))};
    struct comparator_times t;
    int rc = comparator_run(c, &task, &t, e);
    if (!rc && t.n_prompt != p->n)
        rc = err_set(e, ERR_MISMATCH, "prompt %s has %d tokens for Tandem and %d for %s", p->id,
                     p->n, t.n_prompt, comparator_tools[c->tool]);
    if (!rc)
        *ns = comparator_ns(&t, c->tool, p->n_output);
    return rc;
}

/* ---- prompts -------------------------------------------------------------------------------- */

static int add_prompt(struct bench_real *b, struct bench_model *m, const struct workload *w,
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
    double ns;
    progress(b, m, p->id);
    return run_own(b, m, p, AUTOREGRESSIVE, &ns, NULL, e);
}

static bool fit_to_time(const struct bench_prompt *p)
{
    return p->n_output >= LEAST_OUTPUT && p->distinct_4grams >= METRICS_DEGENERATE;
}

/* Held-out prompts, of every task as many as are asked for: the first that do not repeat
 * themselves. The target's text of each comes with it. */
static int choose_prompts(struct bench_real *b, struct bench_model *m, const struct workload *w,
                          struct err *e)
{
    int32_t *index = arena_alloc(&b->arena, (size_t)w->n + 1, sizeof *index);
    int32_t had[WORKLOAD_MAX_TASKS] = {0};
    int32_t n = index ? workload_choose(w, SPLIT_HELD_OUT, w->n, index) : 0;
    int rc = n ? ERR_OK : err_set(e, ERR_USAGE, "the workload has no held-out prompt");
    for (int32_t i = 0; i < n && !rc && m->n_prompts < BENCH_MAX_PROMPTS; i++) {
        const struct workload_item *item = &w->item[index[i]];
        struct bench_prompt *p = &m->prompt[m->n_prompts];
        if (had[item->task] >= b->o->prompts)
            continue;
        rc = add_prompt(b, m, w, item, p, e);
        bool fits = !rc && fit_to_time(p);
        m->n_prompts += fits;
        had[item->task] += fits;
        m->n_left_out += !rc && !fits;
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
    static const int32_t tail[] = {4, 67, 131, 255};
    int32_t longest = 0;
    for (int32_t i = 0; i < m->n_prompts; i++)
        longest = m->prompt[i].n > longest ? m->prompt[i].n : longest;
    int32_t ctx = longest + b->o->max_tokens + BENCH_MAX_DRAFT + 1;
    profile_plan(BENCH_MAX_DRAFT + 1, (ctx + PAD - 1) / PAD * PAD, b->o->seed, &m->plan);
    m->plan.prefill_to = longest;
    m->plan.n_widths = sizeof widths / sizeof *widths;
    memcpy(m->plan.width, widths, sizeof widths);
    m->plan.n_tails = sizeof tail / sizeof *tail;
    memcpy(m->plan.tail, tail, sizeof tail);
}

/* The bound's drafter costs nothing: no device can run it. */
static int add_oracle(struct bench_real *b, struct device *d, struct err *e)
{
    for (int32_t i = 0; i < d->n_processors; i++) {
        struct device_processor *p = &d->processor[i];
        struct device_draft *draft = arena_alloc(&b->arena, (size_t)p->n_drafts + 1, sizeof *draft);
        if (!draft)
            return err_set(e, ERR_NOMEM, "out of memory");
        memcpy(draft, p->draft, (size_t)p->n_drafts * sizeof *draft);
        draft[p->n_drafts++] = (struct device_draft){.name = "oracle"};
        p->draft = draft;
    }
    return ERR_OK;
}

static int profile(struct bench_real *b, struct bench_model *m, struct err *e)
{
    struct device_options opt = {.estimator = DEVICE_MINIMUM};
    struct belief_options how = {0};
    progress(b, m, "profiling");
    int rc = profile_round(&m->session, &m->plan, m->n_rounds++, &m->samples, e);
    if (!rc)
        rc = profile_device(&m->session, &m->plan, &m->samples, -1, "tandem bench real", &b->arena,
                            &m->device, e);
    if (!rc)
        rc = add_oracle(b, &m->device, e);
    return rc ? rc : device_belief(&m->device, 0, &opt, &how, &b->arena, &m->belief, e);
}

/* ---- which comparators ---------------------------------------------------------------------- */

enum { MAX_CHOICES = 64 };

struct choice {
    struct comparator c;
    double ns; /* summed over the prompts it answered */
    int32_t n;
};

static struct choice *find_choice(struct choice *all, int32_t *n, const struct comparator *c)
{
    for (int32_t i = 0; i < *n; i++)
        if (all[i].c.tool == c->tool && all[i].c.build == c->build && all[i].c.flash == c->flash &&
            all[i].c.max_draft == c->max_draft)
            return &all[i];
    all[*n] = (struct choice){.c = *c};
    return &all[(*n)++];
}

static int try_choice(struct bench_real *b, struct bench_model *m, struct choice *all, int32_t *n,
                      const struct comparator *c, const struct bench_prompt *p, struct err *e)
{
    struct choice *x = find_choice(all, n, c);
    char what[100];
    double ns = 0;
    snprintf(what, sizeof what, "choosing: %s %s, draft %d", comparator_builds[c->build],
             comparator_tools[c->tool], c->max_draft);
    progress(b, m, what);
    int rc = run_comparator(b, m, c, p, &ns, e);
    x->ns += ns;
    x->n++;
    return rc;
}

/* The fastest so far of a tool and a class of builds: with our products or without. */
static const struct choice *fastest(const struct choice *all, int32_t n, int32_t tool,
                                    bool products, const struct choice *but)
{
    const struct choice *best = NULL;
    for (int32_t i = 0; i < n; i++)
        if ((int32_t)all[i].c.tool == tool && (all[i].c.build == BUILD_PRODUCTS) == products &&
            &all[i] != but && all[i].n && (!best || all[i].ns * best->n < best->ns * all[i].n))
            best = &all[i];
    return best;
}

/* On one prompt: every build with and without flash attention at one draft length, then the
 * fastest of each class at the others. A second tool takes its builds from the first: what they and
 * the attention cost is the model's doing, not the drafts'. */
static int try_tool(struct bench_real *b, struct bench_model *m, struct choice *all, int32_t *n,
                    int32_t tool, const struct bench_prompt *p, struct err *e)
{
    int rc = ERR_OK;
    for (int32_t build = 0; build < COMPARATOR_BUILDS && tool == COMPARATOR_LOOKUP; build++)
        for (int32_t flash = 0; flash < 2 && !rc; flash++) {
            struct comparator c = {COMPARATOR_LOOKUP, (enum comparator_build)build, flash != 0,
                                   FIRST_DRAFT};
            if (m->has_build[build])
                rc = try_choice(b, m, all, n, &c, p, e);
        }
    for (int32_t products = 0; products < 2; products++)
        for (size_t k = 0; k < sizeof draft_lengths / sizeof *draft_lengths && !rc; k++) {
            const struct choice *best = fastest(all, *n, COMPARATOR_LOOKUP, products != 0, NULL);
            if (!best || (tool == COMPARATOR_LOOKUP && draft_lengths[k] == FIRST_DRAFT))
                continue;
            struct comparator c = best->c;
            c.tool = (enum comparator_tool)tool;
            c.max_draft = draft_lengths[k];
            rc = try_choice(b, m, all, n, &c, p, e);
        }
    return rc;
}

static void add_contender(struct bench_model *m, const struct choice *x)
{
    if (!x || m->n_contenders == BENCH_MAX_CONTENDERS)
        return;
    struct bench_contender *c = &m->contender[m->n_contenders++];
    c->comparator = x->c;
    snprintf(c->label, sizeof c->label, "%s %s, attention %s, draft %d",
             comparator_tools[x->c.tool], comparator_builds[x->c.build],
             x->c.flash ? "flash" : "plain", x->c.max_draft);
}

/* Comparators are chosen on the calibration split: of every tool the two fastest without our
 * products and the two fastest with them. */
static int choose_comparators(struct bench_real *b, struct bench_model *m,
                              const struct workload *w, double until_s, struct err *e)
{
    struct choice all[MAX_CHOICES];
    int32_t index[CHOICE_PROMPTS], n = 0;
    int32_t prompts = workload_choose(w, SPLIT_CALIBRATION, CHOICE_PROMPTS, index);
    int32_t tools = m->draft ? COMPARATOR_TOOLS : 1;
    int rc = ERR_OK;
    for (int32_t i = 0; i < prompts && !rc && (i == 0 || seconds(b) < until_s); i++) {
        struct bench_prompt p;
        rc = add_prompt(b, m, w, &w->item[index[i]], &p, e);
        for (int32_t tool = 0; tool < tools && !rc; tool++)
            rc = try_tool(b, m, all, &n, tool, &p, e);
    }
    for (int32_t tool = 0; tool < tools && !rc; tool++)
        for (int32_t products = 0; products < 2; products++) {
            const struct choice *best = fastest(all, n, tool, products != 0, NULL);
            add_contender(m, best);
            if (best)
                add_contender(m, fastest(all, n, tool, products != 0, best));
        }
    return rc;
}

/* ---- by turns ------------------------------------------------------------------------------- */

static int run_contender(struct bench_real *b, struct bench_model *m, struct bench_prompt *p,
                         int32_t k, int32_t rep, struct err *e)
{
    double *ns = &p->ns[k][rep];
    if (k == BENCH_AUTOREGRESSIVE)
        return run_own(b, m, p, AUTOREGRESSIVE, ns, NULL, e);
    if (k == BENCH_SPECULATIVE)
        return run_own(b, m, p, SPECULATIVE, ns, &m->positions[p->task], e);
    return run_comparator(b, m, &m->contender[k].comparator, p, ns, e);
}

/* Whole passes over the prompts are what counts: the first is made whatever it takes, others while
 * the time holds another. Within a prompt contenders rotate. */
static int run_all(struct bench_real *b, struct bench_model *m, double until_s, struct err *e)
{
    int rc = ERR_OK;
    double pass_s = 0;
    for (int32_t rep = 0; rep < b->o->repetitions && !rc; rep++) {
        double from_s = seconds(b);
        if (rep && from_s + pass_s > until_s)
            break;
        for (int32_t i = 0; i < m->n_prompts && !rc; i++) {
            struct bench_prompt *p = &m->prompt[i];
            for (int32_t k = 0; k < m->n_contenders && !rc; k++) {
                int32_t turn = (k + i + rep) % m->n_contenders;
                char what[100];
                snprintf(what, sizeof what, "pass %d: %s, %s", rep + 1, p->id,
                         m->contender[turn].label);
                progress(b, m, what);
                rc = run_contender(b, m, p, turn, rep, e);
            }
            p->n_reps = rc ? p->n_reps : rep + 1;
        }
        pass_s = seconds(b) - from_s;
    }
    return rc;
}

/* ---- the upper bound ------------------------------------------------------------------------ */

/* The target's own text as the truth. */
struct own_text {
    struct truth truth; /* must be first */
    const struct bench_prompt *prompt;
};

static int32_t text_choice(struct truth *t, int32_t request, int32_t n_true, const int32_t *wrong,
                           int32_t n_wrong)
{
    const struct bench_prompt *p = ((const struct own_text *)t)->prompt;
    (void)request;
    (void)wrong;
    return !n_wrong && n_true < p->n_output ? p->output[n_true] : -1;
}

static int32_t text_length(struct truth *t, int32_t request)
{
    (void)request;
    return ((const struct own_text *)t)->prompt->n_output;
}

static int32_t text_top(struct truth *t, int32_t request, int32_t pos, int32_t k, int32_t *token,
                        float *logit)
{
    (void)t;
    (void)request;
    (void)pos;
    (void)k;
    (void)token;
    (void)logit;
    return 0;
}

static const struct truth_ops text_ops = {text_choice, text_length, text_top};

static int simulate(const struct bench_model *m, const struct bench_prompt *p, const char *spec,
                    double *ns, struct err *e)
{
    struct device_options opt = {.estimator = DEVICE_MINIMUM};
    struct request request = request_of(p, p->n_output);
    struct own_text text = {{&text_ops}, p};
    struct run_setup setup;
    struct run_result result;
    struct arena arena;
    struct exec *x = NULL;
    arena_init(&arena);
    int rc = set_up(m, spec, &setup, e);
    if (!rc)
        rc = device_exec(&m->device, NULL, &opt, &text.truth, &setup, &arena, &x, e);
    if (!rc)
        rc = driver_run(&setup, x, &request, 1, &arena, &result, e);
    if (!rc)
        *ns = (double)(result.request[0].last_ns - result.request[0].arrive_ns);
    if (x)
        x->ops->destroy(x);
    arena_fini(&arena);
    return rc;
}

/* Of the oracle at every measured width the fastest. */
static int simulate_all(struct bench_model *m, struct err *e)
{
    int rc = ERR_OK;
    for (int32_t i = 0; i < m->n_prompts && !rc; i++) {
        struct bench_prompt *p = &m->prompt[i];
        rc = simulate(m, p, AUTOREGRESSIVE, &p->simulated_ns, e);
        p->oracle_ns = p->simulated_ns;
        for (size_t k = 0; k < sizeof widths / sizeof *widths && !rc; k++) {
            char spec[100];
            double ns = INFINITY;
            if (widths[k] == 1)
                continue;
            snprintf(spec, sizeof spec, "speculative:width=%d,max_draft=%d,chunk=512+oracle",
                     (int)widths[k], (int)widths[k] - 1);
            rc = simulate(m, p, spec, &ns, e);
            p->oracle_ns = fmin(p->oracle_ns, ns);
        }
    }
    return rc;
}

/* ---- all of it ------------------------------------------------------------------------------ */

static int open_model(struct bench_real *b, struct bench_model *m, struct err *e)
{
    struct role_map roles;
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    char text[64];
    /* Tandem's drafter gets no core of its own: the comparators have one core. */
    snprintf(text, sizeof text, "target=cpu:%ld draft=cpu:%ld", cores - 1, cores - 1);
    int rc = role_map_parse(text, &roles, e);
    if (!rc)
        rc = session_open_flash(m->path, &roles, CTX, &m->session, e);
    if (!rc)
        snprintf(m->name, sizeof m->name, "%s", m->session.model);
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
    double from_s = seconds(b);
    m->n_contenders = 2;
    m->contender[BENCH_AUTOREGRESSIVE] = (struct bench_contender){"autoregressive", true, {0}};
    m->contender[BENCH_SPECULATIVE] = (struct bench_contender){"speculative", true, {0}};
    int rc = open_model(b, m, e);
    if (!rc)
        rc = choose_prompts(b, m, w, e);
    plan(b, m);
    for (int32_t i = 0; i < ROUNDS && !rc; i++)
        rc = profile(b, m, e);
    if (!rc)
        rc = choose_comparators(b, m, w, from_s + CHOICE_SHARE * (until_s - from_s), e);
    if (!rc)
        rc = run_all(b, m, until_s, e);
    if (!rc)
        rc = simulate_all(m, e);
    session_close(&m->session);
    if (b->o->progress)
        fprintf(stderr, "\r%90s\r", "");
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
            share[i] = sqrt((double)ftell(f));
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
