#include <math.h>
#include <stdio.h>

#include "experiments/bench_real.h"
#include "experiments/world.h"
#include "sim/exec/truth.h"

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

static const struct truth_ops text_ops = {.choice = text_choice, .length = text_length};

/* Time from the first token to the last. */
static int simulate(const struct bench_model *m, const struct bench_prompt *p, const char *spec,
                    double *ns, struct err *e)
{
    struct device_options opt = {.estimator = DEVICE_MINIMUM};
    struct request request = bench_request(p, p->n_output);
    struct own_text text = {{&text_ops}, p};
    struct run_setup setup;
    struct run_result result;
    struct arena arena;
    struct exec *x = NULL;
    arena_init(&arena);
    int rc = bench_set_up(m, spec, &setup, e);
    if (!rc)
        rc = device_exec(&m->device, NULL, &opt, &text.truth, &setup, &arena, &x, e);
    if (!rc)
        rc = driver_run(&setup, x, &request, 1, &arena, &result, e);
    if (!rc)
        *ns = (double)(result.request[0].last_ns - result.request[0].first_ns);
    if (x)
        x->ops->destroy(x);
    arena_fini(&arena);
    return rc;
}

int bench_bound(struct bench_model *m, struct err *e)
{
    int rc = ERR_OK;
    for (int32_t i = 0; i < m->n_prompts && !rc; i++) {
        struct bench_prompt *p = &m->prompt[i];
        rc = simulate(m, p, bench_specs[BENCH_AUTOREGRESSIVE], &p->simulated_ns, e);
        p->oracle_ns = p->simulated_ns;
        for (int32_t k = 0; k < m->plan.n_widths && !rc; k++) {
            char spec[100];
            double ns = INFINITY;
            int width = (int)m->plan.width[k];
            if (width == 1)
                continue;
            snprintf(spec, sizeof spec, "speculative:width=0,max_draft=%d,chunk=512+oracle",
                     width - 1);
            rc = simulate(m, p, spec, &ns, e);
            p->oracle_ns = fmin(p->oracle_ns, ns);
        }
    }
    return rc;
}
