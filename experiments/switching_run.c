#include "experiments/switching_run.h"

#include <assert.h>
#include <string.h>

#include "experiments/spec.h"
#include "sim/exec/sim.h"
#include "sim/exec/spans.h"

enum { MAX_SPANS = 1 << 14 };

/* ---- the device ----------------------------------------------------------------------------- */

/* A phone of which passes, memory and bus are known; phone.h makes graphs of it. */
static int make_device(const struct switching_model *m, const struct switching_case *c,
                       struct roof_unit *unit, struct arena *arena, struct device *d)
{
    *unit = (struct roof_unit){.backend = "", .datatype = "", .weights = m->weights};
    int rc = device_init(d, arena);
    struct device_processor *npu = rc ? NULL : device_add_processor(d, "npu");
    if (!npu)
        return ERR_NOMEM;
    npu->kind = DEVICE_NPU;
    npu->n_units = 1;
    npu->unit = unit;
    d->name = c->device->name;
    d->operators = true;
    d->max_rows = m->wide;
    d->max_ctx = SWITCHING_MAX_PROMPT + SWITCHING_MAX_OUTPUT;
    d->platform.memory.npu_space_bytes.value = m->address_bytes;
    d->platform.bus.dram_bytes_per_s.value = m->dram_bytes_per_s;
    return ERR_OK;
}

static int make_spec(const struct switching_model *m, const struct switching_case *c,
                     struct arena *arena, struct blocks_spec *out, struct err *e)
{
    static const char *const role[] = {"target", "load", "draft", "decode", NULL};
    const struct phone_run run = {.role = role, .map = "target=npu draft=npu"};
    const struct phone_graphs g = {.wide = m->wide,
                                   .narrow = m->narrow,
                                   .blocks = c->blocks,
                                   .context = SWITCHING_MAX_PROMPT + SWITCHING_MAX_OUTPUT,
                                   .wide_ns = c->device->wide_ns,
                                   .narrow_ns = c->device->narrow_ns,
                                   .load_ns = c->load_ns,
                                   .load_mw = -1,
                                   .base_bytes = m->base_bytes,
                                   .wide_bytes = m->wide_own_bytes,
                                   .narrow_bytes = m->narrow_own_bytes};
    struct roof_unit *unit = arena_alloc(arena, 1, sizeof *unit);
    struct device d;
    if (!unit || make_device(m, c, unit, arena, &d))
        return err_set(e, ERR_NOMEM, "out of memory");
    return phone_spec(&d, NULL, &m->desc, &g, &run, arena, out, e);
}

int switching_problem(const struct switching_model *m, const struct switching_case *c,
                      struct arena *arena, struct optimal_problem *out, struct err *e)
{
    struct blocks_spec s;
    arena_reset(arena);
    int rc = make_spec(m, c, arena, &s, e);
    if (rc)
        return rc;
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
    return ERR_OK;
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

static const struct truth_ops truth_ops = {.choice = choice, .length = length};

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
static int run(const struct switching_model *m, const struct switching_case *c, int32_t n,
               int64_t second_ns, struct arena *arena, int64_t *end_ns,
               struct switching_outcome *out, struct err *e)
{
    static struct truth truth = {&truth_ops};
    struct run_setup setup = {.n_vocab = 2, .max_requests = 1, .model = "switching"};
    struct run_result result;
    struct sim_stats stats;
    struct spans spans;
    struct blocks_spec spec;
    const struct cost_model *model;
    struct exec *x;
    arena_reset(arena);
    int rc = make_spec(m, c, arena, &spec, e);
    if (!rc)
        rc = spec_parse(c->policy, &setup, e);
    if (!rc)
        rc = blocks_cost_create(&spec, arena, &model, e);
    if (!rc)
        blocks_belief(&spec, 1, 2, c->wrong, &setup.belief);
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
    int64_t end_ns = 0;
    assert(c->prompt <= SWITCHING_MAX_PROMPT && c->output < SWITCHING_MAX_OUTPUT);
    *out = (struct switching_outcome){0};
    int rc = run(m, c, 1, 0, arena, &end_ns, out, e);
    if (!rc && c->idle_ns >= 0)
        rc = run(m, c, 2, end_ns + c->idle_ns, arena, &end_ns, out, e);
    return rc;
}
