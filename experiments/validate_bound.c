#include <math.h>
#include <stdio.h>

#include "experiments/spec.h"
#include "experiments/validate_time.h"

int val_bound(struct validation *v, const struct device *d, const struct device_options *opt,
              const struct val_timing *alone, struct val_bound *out, struct err *e)
{
    int rc = ERR_OK;
    *out = (struct val_bound){0};
    double verifications = 0, tokens = 0;
    for (int32_t p = 0; p < v->n_done && !rc; p++) {
        const struct val_run *text = val_run_at(v, p, 0, 0);
        double ns = alone[p * v->n_policies].e2e, steps = (double)text->n_verify;
        for (int32_t w = 0; w < v->plan.n_widths && !rc; w++) {
            struct run_setup setup = v->policy[0].setup;
            struct request request = val_request(&v->prompt[p]);
            const struct cost_model *cost;
            struct val_tally tally = {0};
            struct val_timing t;
            struct arena arena;
            char spec[80];
            if (v->plan.width[w] < 2)
                continue;
            snprintf(spec, sizeof spec, "speculative:max_draft=%d+oracle",
                     (int)v->plan.width[w] - 1);
            arena_init(&arena);
            rc = spec_parse(spec, &setup, e);
            if (!rc)
                rc = val_cost(d, opt, &setup, &arena, &cost, e);
            if (!rc)
                rc = val_simulate(cost, &setup, &request, v->own, v->own_index[p * v->n_policies],
                                  &t, &tally, e);
            arena_fini(&arena);
            if (!rc && t.e2e < ns) {
                ns = t.e2e;
                steps = (double)tally.n_verify;
            }
        }
        out->alone_ns += alone[p * v->n_policies].e2e;
        out->ns += ns;
        tokens += text->n_output - 1;
        verifications += steps;
    }
    out->tokens_per_verify = verifications > 0 ? tokens / verifications : NAN;
    return rc;
}
