#include "tests/world.h"

#include <stdio.h>
#include <string.h>

#include "sim/base/hash.h"

/* ---- cost ----------------------------------------------------------------------------------- */

static void caps(const struct cost_model *m, struct exec_caps *out)
{
    *out = ((const struct world_cost *)m)->caps;
}

static int job_cost(const struct cost_model *m, const struct job *job,
                    const struct engine_state *state, const struct draft_work *work,
                    struct cost *out, struct err *e)
{
    const struct world_cost *c = (const struct world_cost *)m;
    (void)state;
    (void)work;
    (void)e;
    *out = (struct cost){.alone_ns = c->other_ns};
    if (job->kind == JOB_FORWARD) {
        out->alone_ns = c->step_ns + job->forward.width * c->row_ns;
        out->bytes = c->step_bytes;
    } else if (job->kind == JOB_LOAD) {
        out->bytes = c->load_bytes;
    }
    return ERR_OK;
}

static void host(const struct cost_model *m, struct cost_host *out)
{
    *out = ((const struct world_cost *)m)->host;
}

static int32_t processors(const struct cost_model *m, const struct cost_processor **out)
{
    const struct world_cost *c = (const struct world_cost *)m;
    *out = c->info;
    return c->n_processors;
}

static int32_t processor_of(const struct cost_model *m, int32_t role)
{
    return ((const struct world_cost *)m)->processor[role];
}

static int64_t bus(const struct cost_model *m)
{
    return ((const struct world_cost *)m)->bus_bytes_per_s;
}

static const struct cost_ops cost_ops = {.abi = COST_ABI,
                                         .size = sizeof(struct cost_ops),
                                         .name = "world",
                                         .caps = caps,
                                         .job = job_cost,
                                         .host = host,
                                         .processors = processors,
                                         .processor_of = processor_of,
                                         .bus_bytes_per_s = bus};

void world_cost_init(struct world_cost *c)
{
    *c = (struct world_cost){
        .model = {&cost_ops},
        .caps = {.features = EXEC_TREES | EXEC_BLOCKS | EXEC_GRAPHS | EXEC_COPIES | EXEC_CALIBRATES,
                 .blocks = 6,
                 .max_rows = 256,
                 .max_ctx = 1024,
                 .max_seqs = 4,
                 .max_jobs = 64,
                 .max_topk = 4,
                 .n_slots = 4,
                 .n_graphs = 2,
                 .graph_width = {64, 8}},
        .step_ns = 1000000,
        .row_ns = 10000,
        .other_ns = 50000,
        .n_processors = 4,
        .processor = {0, 1, 2, 3, 3, 3, 3, 3},
        .info = {{"a", 3000, 100}, {"b", 1000, 50}, {"c", -1, 10}, {"d", 5, 5}}};
}

/* ---- truth ---------------------------------------------------------------------------------- */

static int32_t choice(struct truth *base, int32_t request, int32_t n_true, const int32_t *wrong,
                      int32_t n_wrong)
{
    const struct world_truth *t = (const struct world_truth *)base;
    int32_t n = t->request[request].n, text[WORLD_MAX_TEXT];
    if (!n_wrong)
        return n_true < t->request[request].n_out ? t->request[request].text[n + n_true] : -1;
    memcpy(text, t->request[request].text, (size_t)(n + n_true) * sizeof *text);
    memcpy(text + n + n_true, wrong, (size_t)n_wrong * sizeof *text);
    return t->next(t->context, text, n + n_true + n_wrong);
}

static int32_t length(struct truth *base, int32_t request)
{
    return ((const struct world_truth *)base)->request[request].n_out;
}

static int32_t top(struct truth *base, int32_t request, int32_t pos, int32_t k, int32_t *token,
                   float *logit)
{
    const struct world_truth *t = (const struct world_truth *)base;
    for (int32_t i = 0; i < k; i++) {
        token[i] = (t->next(t->context, t->request[request].text, pos + 1) + i) % 48;
        logit[i] = (float)(10 - i);
    }
    return k;
}

static const struct truth_ops truth_ops = {.choice = choice, .length = length, .top = top};

void world_truth_init(struct world_truth *t, world_next next, const void *context,
                      const struct request *request, int32_t n, const int32_t *eos, int32_t n_eos)
{
    *t = (struct world_truth){
        .truth = {&truth_ops}, .next = next, .context = context, .n_requests = n};
    for (int32_t r = 0; r < n; r++) {
        int32_t *text = t->request[r].text, at = request[r].n;
        memcpy(text, request[r].token, (size_t)at * sizeof *text);
        t->request[r].n = at;
        bool ended = false;
        for (int32_t i = 0; i < request[r].max_tokens && !ended; i++) {
            text[at] = next(context, text, at);
            for (int32_t k = 0; k < n_eos; k++)
                ended = ended || text[at] == eos[k];
            at++;
        }
        t->request[r].n_out = at - request[r].n;
    }
}

int32_t world_language(const void *context, const int32_t *text, int32_t n)
{
    (void)context;
    uint64_t h = 17;
    for (int32_t i = n > 2 ? n - 2 : 0; i < n; i++)
        h = hash_step(h, (uint64_t)text[i]);
    return (int32_t)(h % 12);
}

const struct request *world_requests(int32_t n, int32_t max_tokens)
{
    static struct request request[WORLD_MAX_REQUESTS];
    static int32_t token[WORLD_MAX_REQUESTS][600];
    for (int32_t r = 0; r < n; r++) {
        int32_t length = 37 + 113 * (r % 5);
        for (int32_t i = 0; i < length; i++)
            token[r][i] = (int32_t)(rng_u64(3, RNG_TEST, (uint64_t)r, (uint64_t)i) % 48);
        request[r] = (struct request){.n = length,
                                      .token = token[r],
                                      .max_tokens = max_tokens,
                                      .arrival_ns = REQUEST_AFTER_PREVIOUS,
                                      .cancel_ns = EXEC_NEVER};
    }
    return request;
}

/* ---- set-up --------------------------------------------------------------------------------- */

/* Splits "name:a=1 b=2" and sets the parameters; returns the name's length, or 0. */
static size_t set_params(const struct param *spec, const char *text, int64_t *value)
{
    size_t n = strcspn(text, ":");
    const char *at = text[n] ? text + n + 1 : text + n;
    char name[32], number[32];
    int used;
    param_defaults(spec, value);
    while (sscanf(at, " %31[^=]=%31s%n", name, number, &used) == 2) {
        if (param_set(spec, name, number, value, NULL))
            return 0;
        at += used;
    }
    return n;
}

bool world_setup(struct run_setup *s, const char *policy, const char *drafter)
{
    char name[32];
    *s = (struct run_setup){.n_vocab = 48, .max_requests = 4, .model = "toy", .device = "world"};
    snprintf(name, sizeof name, "%.*s", (int)strcspn(policy, ":"), policy);
    s->policy = policy_find(name);
    if (!s->policy || !set_params(s->policy->params, policy, s->policy_param))
        return false;
    if (!drafter || !*drafter)
        return true;
    snprintf(name, sizeof name, "%.*s", (int)strcspn(drafter, ":"), drafter);
    s->drafter[0].type = draft_find(name);
    s->n_drafters = 1;
    return s->drafter[0].type &&
           set_params(s->drafter[0].type->params, drafter, s->drafter[0].param);
}
