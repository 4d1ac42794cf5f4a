#include "experiments/bench_sim.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "experiments/command.h"
#include "experiments/spec.h"
#include "experiments/world.h"
#include "hwmodels/steps.h"
#include "sim/exec/metrics.h"

enum { MAX_REPETITIONS = 1000, MEMO_ANSWERS = 1 << 16, NODES = 32 };

/* What a step costs there is a drafter's of the device file: parametric has none of its own. */
static const struct {
    const char *what, *spec, *cost;
    bool memo, executed;
} kind[] = {
    {"parametric, 5.5 tokens a step", "speculative:max_draft=7+parametric", "lookup", false, false},
    {"parametric, each right by 0.8", "speculative:max_draft=7+parametric:law=geometric,chance=800",
     "lookup", false, false},
    {"suffix from a memo", "speculative:max_draft=7,tree=plain+suffix", "suffix", true, false},
    {"suffix executed", "speculative:max_draft=7,tree=plain+suffix", "suffix", false, true},
    {"aligned from a memo", "speculative:max_draft=7,tree=plain+aligned", "aligned", true, false},
    {"aligned executed", "speculative:max_draft=7,tree=plain+aligned", "aligned", false, true},
    {"aligned from a memo, 32 rows", "speculative:max_draft=31,tree=plain+aligned", "aligned", true,
     false},
    {"aligned executed, 32 rows", "speculative:max_draft=31,tree=plain+aligned", "aligned", false,
     true},
};

_Static_assert(sizeof kind / sizeof *kind == SIM_BENCH_ROWS, "a row each");

static int64_t wall_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* ---- a drafter whose time is taken ---------------------------------------------------------- */

static const struct drafter_type *timed;
static int64_t timed_ns;

static void timed_init(void *mem, const int64_t *param, const struct draft_limits *limits)
{
    int64_t from = wall_ns();
    timed->init(mem, param, limits);
    timed_ns += wall_ns() - from;
}

static void timed_append(void *self, const int32_t *token, int32_t n, struct draft_work *work)
{
    int64_t from = wall_ns();
    timed->append(self, token, n, work);
    timed_ns += wall_ns() - from;
}

static void timed_propose(void *self, int32_t max_nodes, struct draft_tree *out,
                          struct draft_work *work)
{
    int64_t from = wall_ns();
    timed->propose(self, max_nodes, out, work);
    timed_ns += wall_ns() - from;
}

static struct drafter_type with_time(const struct drafter_type *type)
{
    struct drafter_type t = *type;
    timed = type;
    t.init = timed_init;
    t.append = timed_append;
    t.propose = timed_propose;
    return t;
}

/* ---- one run -------------------------------------------------------------------------------- */

struct bench {
    struct trace *trace;
    struct device device;
    struct arena arena;
    int32_t n, *map;
    struct request *request;
    struct trace_truth truth;
};

struct once {
    int64_t ns, drafter_ns, events, tokens, steps, end_ns;
    uint64_t actions_hash;
};

static int open_files(struct bench *b, struct err *e)
{
    char trace[4096], device[4096];
    if (!command_shipped("traces/smollm2-135m.trace", trace, sizeof trace) ||
        !command_shipped("hwmodels/devices/example-2core.yaml", device, sizeof device))
        return err_set(e, ERR_IO,
                       "the files that come with Tandem are not here nor beside the program: run "
                       "from the repository's root");
    int rc = trace_open(trace, &b->trace, e);
    if (!rc)
        rc = device_load(device, NULL, 0, &b->arena, &b->device, e);
    if (rc)
        return rc;
    b->n = trace_info(b->trace)->n_requests;
    b->map = arena_alloc(&b->arena, (size_t)b->n, sizeof *b->map);
    b->request = arena_alloc(&b->arena, (size_t)b->n, sizeof *b->request);
    if (!b->map || !b->request)
        return err_set(e, ERR_NOMEM, "out of memory");
    for (int32_t i = 0; i < b->n; i++)
        b->map[i] = i;
    trace_requests(b->trace, b->map, b->n, b->request);
    trace_truth_init(&b->truth, b->trace, b->map, b->n);
    return ERR_OK;
}

static void count(const struct run_result *r, struct once *out)
{
    out->events = r->n_events;
    out->end_ns = r->end_ns;
    out->actions_hash = r->actions_hash;
    for (int32_t i = 0; i < r->n_requests; i++) {
        out->tokens += r->request[i].n_output;
        out->steps += r->request[i].n_verify;
    }
}

static int run_once(struct bench *b, int32_t k, struct draft_memo *memo, struct once *out,
                    struct err *e)
{
    const struct trace_info *info = trace_info(b->trace);
    struct run_setup setup = {
        .n_vocab = info->n_vocab, .n_eos = info->n_eos, .max_requests = 1, .seed = 1};
    struct device_options opt = {.drafter = {kind[k].cost}};
    struct run_result result;
    struct drafter_type shim;
    const struct cost_model *cost;
    struct arena arena;
    struct exec *x = NULL;
    int32_t processor[EXEC_MAX_ROLES], n_roles = 0;
    *out = (struct once){0};
    memcpy(setup.eos, info->eos, (size_t)info->n_eos * sizeof *setup.eos);
    arena_init(&arena);
    int rc = spec_parse(kind[k].spec, &setup, e);
    if (!rc && kind[k].executed) {
        shim = with_time(setup.drafter[0].type);
        setup.drafter[0].type = &shim;
    }
    while (!rc && setup.policy->role[n_roles])
        n_roles++;
    if (!rc)
        rc = device_roles(&b->device, setup.policy->role, NULL, processor, e);
    if (!rc)
        rc = device_cost_create(&b->device, processor, n_roles, &opt, &arena, &cost, e);
    if (!rc)
        rc = sim_create(cost, &b->truth.truth, &setup, &x, e);
    if (!rc && memo)
        rc = sim_use_memo(x, memo, e);
    timed_ns = 0;
    int64_t from = wall_ns();
    if (!rc)
        rc = driver_run(&setup, x, b->request, b->n, &arena, &result, e);
    out->ns = wall_ns() - from;
    out->drafter_ns = timed_ns;
    if (!rc)
        count(&result, out);
    if (x)
        x->ops->destroy(x);
    arena_fini(&arena);
    return rc;
}

/* ---- all ------------------------------------------------------------------------------------ */

static int bench_one(struct bench *b, int32_t k, int32_t repetitions, const struct once *plain,
                     struct sim_bench_row *row, struct once *last, struct err *e)
{
    double rate[MAX_REPETITIONS], share = 0;
    struct draft_memo *memo = NULL;
    struct once o;
    int rc = kind[k].memo ? draft_memo_create(MEMO_ANSWERS, NODES, &memo, e) : ERR_OK;
    if (!rc)
        rc = run_once(b, k, memo, &o, e); /* warms caches and fills the memo */
    for (int32_t i = 0; i < repetitions && !rc; i++) {
        rc = run_once(b, k, memo, &o, e);
        rate[i] = (double)o.tokens * 1e9 / (double)o.ns;
        share += (double)o.drafter_ns / (double)o.ns / repetitions;
    }
    draft_memo_destroy(memo);
    if (rc)
        return rc;
    double median = metrics_quantile(rate, repetitions, 0.5); /* sorts */
    *row = (struct sim_bench_row){
        .what = kind[k].what,
        .drafter = kind[k].spec,
        .tokens_per_s = {median, rate[0], rate[repetitions - 1]},
        .tokens_per_step = (double)o.tokens / (double)o.steps,
        .events_per_s = median * (double)o.events / (double)o.tokens,
        .drafter_share = kind[k].executed ? share : NAN,
        .same = !plain || (plain->actions_hash == o.actions_hash && plain->end_ns == o.end_ns)};
    *last = o;
    return ERR_OK;
}

int sim_bench_run(struct sim_bench_row row[SIM_BENCH_ROWS], int32_t *n, int32_t repetitions,
                  struct err *e)
{
    struct bench b = {0};
    struct once last[SIM_BENCH_ROWS];
    arena_init(&b.arena);
    repetitions = repetitions < MAX_REPETITIONS ? repetitions : MAX_REPETITIONS;
    int rc = open_files(&b, e);
    for (*n = 0; *n < SIM_BENCH_ROWS && !rc; ++*n) {
        const struct once *plain = kind[*n].executed ? &last[*n - 1] : NULL;
        rc = bench_one(&b, *n, repetitions, plain, &row[*n], &last[*n], e);
    }
    trace_close(b.trace);
    arena_fini(&b.arena);
    return rc;
}
