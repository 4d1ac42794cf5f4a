#include "experiments/replayed.h"

#include <math.h>
#include <string.h>

#include "experiments/command.h"
#include "experiments/spec.h"
#include "experiments/world.h"
#include "sim/exec/cost.h"
#include "sim/exec/metrics.h"

enum { MAX_ROWS = 512 };

const struct shipped_trace shipped_traces[] = {
    {"traces/smollm2-135m.trace", "SmolLM2-135M"},
    {"traces/tinyllama-1.1b.trace", "TinyLlama-1.1B"},
    {NULL, NULL},
};

int shipped_trace_open(const struct shipped_trace *s, struct trace **out, struct err *e)
{
    char path[4096];
    if (!command_shipped(s->file, path, sizeof path))
        return err_at(e, ERR_IO, s->file, 0, 0,
                      "is not here nor beside the program: run from the repository's root");
    return trace_open(path, out, e);
}

struct no_device {
    struct cost_model model; /* must be first */
    struct exec_caps caps;
};

static void caps(const struct cost_model *m, struct exec_caps *out)
{
    *out = ((const struct no_device *)m)->caps;
}

static int job_cost(const struct cost_model *m, const struct job *job,
                    const struct engine_state *state, const struct draft_work *work,
                    struct cost *out, struct err *e)
{
    (void)m;
    (void)job;
    (void)state;
    (void)work;
    (void)e;
    *out = (struct cost){.alone_ns = 1000};
    return ERR_OK;
}

static void host(const struct cost_model *m, struct cost_host *out)
{
    (void)m;
    *out = (struct cost_host){0};
}

static int32_t processors(const struct cost_model *m, const struct cost_processor **out)
{
    static const struct cost_processor each[EXEC_MAX_ROLES] = {
        {"a", -1, -1}, {"b", -1, -1}, {"c", -1, -1}, {"d", -1, -1},
        {"e", -1, -1}, {"f", -1, -1}, {"g", -1, -1}, {"h", -1, -1}};
    (void)m;
    *out = each;
    return EXEC_MAX_ROLES;
}

static int32_t processor_of(const struct cost_model *m, int32_t role)
{
    (void)m;
    return role;
}

static int64_t bus(const struct cost_model *m)
{
    (void)m;
    return 0;
}

static const struct cost_ops ops = {.abi = COST_ABI,
                                    .size = sizeof(struct cost_ops),
                                    .name = "none",
                                    .caps = caps,
                                    .job = job_cost,
                                    .host = host,
                                    .processors = processors,
                                    .processor_of = processor_of,
                                    .bus_bytes_per_s = bus};

/* Room for the longest of the requests and a step beyond it. */
static void make_device(struct no_device *d, const struct trace *t, const int32_t *map, int32_t n)
{
    *d = (struct no_device){{&ops},
                            {.features = EXEC_TREES | EXEC_CALIBRATES,
                             .blocks = 1,
                             .max_rows = MAX_ROWS,
                             .max_seqs = 1,
                             .max_jobs = 16,
                             .max_topk = trace_info(t)->top_k}};
    for (int32_t i = 0; i < n; i++) {
        struct trace_request r = trace_request(t, map[i]);
        int32_t tokens = r.n_prompt + r.max_tokens + MAX_ROWS;
        d->caps.max_ctx = tokens > d->caps.max_ctx ? tokens : d->caps.max_ctx;
    }
}

int replay_trace(const struct trace *t, const char *spec, const int32_t *map, int32_t n,
                 struct replayed *out, struct err *e)
{
    return replay_on_device(t, NULL, spec, map, n, out, e);
}

int replay_on_device(const struct trace *t, const struct device *d, const char *spec,
                     const int32_t *map, int32_t n, struct replayed *out, struct err *e)
{
    const struct device_options opt = {.estimator = DEVICE_MINIMUM, .estimator_n = 1};
    const struct trace_info *info = trace_info(t);
    struct run_setup setup = {.n_vocab = info->n_vocab, .n_eos = info->n_eos, .max_requests = 1};
    struct trace_truth truth;
    struct no_device device;
    struct run_result result;
    struct arena arena;
    struct exec *x = NULL;
    memcpy(setup.eos, info->eos, (size_t)info->n_eos * sizeof *setup.eos);
    arena_init(&arena);
    struct request *request = arena_alloc(&arena, (size_t)n + 1, sizeof *request);
    int rc = request ? spec_parse(spec, &setup, e) : err_set(e, ERR_NOMEM, "out of memory");
    if (!rc) {
        trace_requests(t, map, n, request);
        trace_truth_init(&truth, t, map, n);
        make_device(&device, t, map, n);
        rc = d ? device_exec(d, NULL, &opt, &truth.truth, &setup, &arena, &x, e)
               : sim_create(&device.model, &truth.truth, &setup, &x, e);
    }
    if (!rc)
        rc = driver_run(&setup, x, request, n, &arena, &result, e);
    for (int32_t i = 0; i < n && !rc; i++) {
        const struct request_result *q = &result.request[i];
        out[i] = (struct replayed){q->n_output - 1,
                                   q->n_verify,
                                   q->n_drafted,
                                   q->n_unknown,
                                   q->first_ns - q->arrive_ns,
                                   metrics_distinct_4grams(q->output, q->n_output)};
    }
    if (x)
        x->ops->destroy(x);
    arena_fini(&arena);
    return rc;
}

int replayed_tasks(const struct trace *t, int32_t split, struct arena *arena,
                   struct replayed_tasks *out, struct err *e)
{
    int32_t n = trace_info(t)->n_requests;
    *out = (struct replayed_tasks){.out = arena_alloc(arena, (size_t)n + 1, sizeof *out->out)};
    bool room = out->out != NULL;
    for (int32_t i = 0; i < n && room; i++) {
        struct trace_request r = trace_request(t, i);
        int32_t k = 0;
        if (r.split != split)
            continue;
        while (k < out->n && strcmp(out->of[k].task, r.task))
            k++;
        if (k == REPLAYED_MAX_TASKS)
            return err_set(e, ERR_LIMIT, "the trace has more than %d tasks", REPLAYED_MAX_TASKS);
        if (k == out->n) {
            out->of[k].task = arena_strdup(arena, r.task);
            out->of[k].map = arena_alloc(arena, (size_t)n, sizeof *out->of[k].map);
            room = out->of[k].task && out->of[k].map;
            out->n++;
        }
        if (room)
            out->of[k].map[out->of[k].n++] = i;
    }
    return room ? ERR_OK : err_set(e, ERR_NOMEM, "out of memory");
}

bool replayed_counts(const struct replayed *r)
{
    return r->distinct_4grams >= METRICS_DEGENERATE && r->steps > 0;
}

int replay_sum(const struct trace *t, const char *spec, const int32_t *map, int32_t n,
               struct replayed *out, struct replayed_sum *sum, struct err *e)
{
    int rc = replay_trace(t, spec, map, n, out, e);
    *sum = (struct replayed_sum){0};
    for (int32_t i = 0; i < n && !rc; i++)
        if (replayed_counts(&out[i])) {
            sum->tokens += out[i].tokens;
            sum->steps += out[i].steps;
            sum->n++;
        }
    return rc;
}

double replayed_rate(const struct replayed_sum *sum)
{
    return sum->steps ? (double)sum->tokens / (double)sum->steps : NAN;
}
