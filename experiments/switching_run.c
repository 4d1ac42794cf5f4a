#include "experiments/switching_run.h"

#include <assert.h>
#include <string.h>

#include "experiments/spec.h"
#include "sim/exec/sim.h"
#include "sim/exec/spans.h"

enum { MAX_SPANS = 1 << 14 };

/* ---- the device ----------------------------------------------------------------------------- */

/* A whole model's amount, by block: each has a share of the layers. */
static void share(int64_t *array, const struct switching_model *m, int32_t blocks, int64_t total)
{
    int64_t layers[BELIEF_MAX_BLOCKS], before = 0;
    blocks_spread(layers, blocks, m->layers);
    for (int32_t b = 0; b < blocks; b++) {
        array[b] = total * (before + layers[b]) / m->layers - total * before / m->layers;
        before += layers[b];
    }
}

/* Graphs 1 and 2 with weights of their own, 3 and 4 with shared ones. */
static void make_spec(const struct switching_model *m, const struct switching_case *c,
                      struct blocks_spec *s)
{
    *s = (struct blocks_spec){.name = c->device->name,
                              .n = c->blocks,
                              .n_graphs = 4,
                              .base_bytes = m->base_bytes,
                              .address_bytes = m->address_bytes,
                              .dram_bytes_per_s = m->dram_bytes_per_s,
                              .max_ctx = SWITCHING_MAX_PROMPT + SWITCHING_MAX_OUTPUT,
                              .n_processors = 2,
                              .processor = {{"npu", -1, -1}, {"storage", -1, -1}},
                              .role = {0, 1, 1}};
    share(s->weight_bytes, m, c->blocks, m->weight_bytes);
    for (int32_t g = 0; g < 4; g++) {
        struct blocks_graph *graph = &s->graph[g];
        bool narrow = g % 2;
        int64_t own_bytes = narrow ? m->narrow_own_bytes : m->wide_own_bytes;
        graph->width = narrow ? m->narrow : m->wide;
        graph->weights = g / 2;
        share(graph->compute_ns, m, c->blocks, narrow ? c->device->narrow_ns : c->device->wide_ns);
        share(graph->compute_bytes, m, c->blocks, m->weight_bytes);
        share(graph->own_bytes, m, c->blocks, own_bytes);
        share(graph->load_ns, m, c->blocks, c->load_ns);
        share(graph->load_bytes, m, c->blocks, m->weight_bytes + own_bytes);
        /* with the weights there, the rest at the same speed */
        double part = (double)own_bytes / (double)(m->weight_bytes + own_bytes);
        share(graph->attach_ns, m, c->blocks, (int64_t)((double)c->load_ns * part));
        share(graph->attach_bytes, m, c->blocks, own_bytes);
    }
}

void switching_problem(const struct switching_model *m, const struct switching_case *c,
                       struct optimal_problem *out)
{
    struct blocks_spec s;
    make_spec(m, c, &s);
    *out = (struct optimal_problem){.n = c->blocks, .chunks = (c->prompt + m->wide - 1) / m->wide};
    assert(out->n <= OPTIMAL_MAX_BLOCKS && out->chunks <= OPTIMAL_MAX_CHUNKS);
    for (int32_t b = 0; b < c->blocks; b++) {
        out->wide_ns[b] = s.graph[0].compute_ns[b];
        out->narrow_ns[b] = s.graph[1].compute_ns[b];
        out->load_ns[b] = s.graph[0].free_ns[b] + s.graph[1].load_ns[b];
    }
    for (int32_t i = 0; i < out->chunks; i++) {
        int32_t left = c->prompt - i * m->wide, n = left < m->wide ? left : m->wide;
        out->sub[i] = (n + m->narrow - 1) / m->narrow;
    }
}

int64_t switching_wide_ns(const struct switching_model *m, const struct switching_case *c)
{
    return c->device->wide_ns * ((c->prompt + m->wide - 1) / m->wide);
}

/* ---- the target ----------------------------------------------------------------------------- */

/* Schedules do not depend on what is said: it always says 1. */
static int32_t choice(struct truth *t, int32_t request, int32_t n_true, const int32_t *wrong,
                      int32_t n_wrong)
{
    (void)t;
    (void)request;
    (void)wrong;
    return n_true + n_wrong < SWITCHING_MAX_OUTPUT ? 1 : -1;
}

static int32_t length(struct truth *t, int32_t request)
{
    (void)t;
    (void)request;
    return SWITCHING_MAX_OUTPUT;
}

static int32_t top(struct truth *t, int32_t request, int32_t pos, int32_t k, int32_t *token,
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

static const struct truth_ops truth_ops = {choice, length, top};

/* ---- the run -------------------------------------------------------------------------------- */

static int64_t max64(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static void take(const struct spans *s, const struct run_result *r, struct switching_outcome *out)
{
    for (int32_t i = 0; i < r->n_requests; i++) {
        struct spans_times t;
        const struct request_result *q = &r->request[i];
        spans_times(s, i, &t);
        out->wait_ns[i] = t.begin_ns - q->arrive_ns;
        out->first_ns[i] = q->first_ns - q->arrive_ns;
        out->last_ns[i] = q->last_ns - q->arrive_ns;
        if (i)
            continue;
        out->objective_ns = max64(t.prefill_ns, t.switch_ns) - t.begin_ns;
        out->decode_ns = t.decode_ns - t.begin_ns;
    }
}

/* Runs n requests, the second arriving at second_ns; *end_ns is when the first is over. */
static int run(const struct switching_case *c, const struct blocks_spec *spec, int32_t n,
               int64_t second_ns, struct arena *arena, int64_t *end_ns,
               struct switching_outcome *out, struct err *e)
{
    static struct truth truth = {&truth_ops};
    struct run_setup setup = {.n_vocab = 2, .max_requests = 1, .model = "switching"};
    struct run_result result;
    struct sim_stats stats;
    struct spans spans;
    const struct cost_model *model;
    struct exec *x;
    arena_reset(arena);
    int rc = spec_parse(c->policy, &setup, e);
    blocks_belief(spec, 1, 2, c->wrong, &setup.belief);
    if (!rc)
        rc = blocks_cost_create(spec, arena, &model, e);
    struct span *span = arena_alloc(arena, MAX_SPANS, sizeof *span);
    int32_t *token = arena_alloc(arena, SWITCHING_MAX_PROMPT, sizeof *token);
    if (!rc && (!span || !token))
        rc = err_set(e, ERR_NOMEM, "out of memory");
    if (!rc)
        rc = sim_create(model, &truth, &setup, &x, e);
    if (rc)
        return rc;
    const struct request request[2] = {
        {.n = c->prompt, .token = token, .max_tokens = c->output, .cancel_ns = EXEC_NEVER},
        {c->prompt, token, c->output, second_ns, EXEC_NEVER}};
    spans_init(&spans, x, span, MAX_SPANS);
    rc = driver_run(&setup, &spans.exec, request, n, arena, &result, e);
    sim_stats(x, &stats);
    x->ops->destroy(x);
    if (!rc)
        rc = spans_check(&spans, e);
    if (rc)
        return rc;
    take(&spans, &result, out);
    out->peak_bytes = stats.peak_resident_bytes;
    *end_ns = result.request[0].finish_ns;
    return ERR_OK;
}

int switching_run(const struct switching_model *m, const struct switching_case *c,
                  struct arena *arena, struct switching_outcome *out, struct err *e)
{
    struct blocks_spec spec;
    int64_t end_ns = 0;
    assert(c->prompt <= SWITCHING_MAX_PROMPT && c->output < SWITCHING_MAX_OUTPUT);
    *out = (struct switching_outcome){0};
    make_spec(m, c, &spec);
    int rc = run(c, &spec, 1, 0, arena, &end_ns, out, e);
    if (!rc && c->idle_ns >= 0)
        rc = run(c, &spec, 2, end_ns + c->idle_ns, arena, &end_ns, out, e);
    return rc;
}
