#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "experiments/validate_time.h"
#include "sim/exec/engine.h"

struct outputs {
    struct engine_out out;
    struct exec_caps caps;
};

static bool run(struct engine *g, const struct job *job, struct outputs *o)
{
    o->out.status = DONE_OK;
    g->ops->run(g, job, &o->out);
    return o->out.status == DONE_OK;
}

/* The n tokens in steps as wide as they may be; the two most likely tokens after the last. */
static bool run_text(struct engine *g, const int32_t *token, int32_t n, struct outputs *o)
{
    bool good = true;
    for (int32_t at = 0; at < n && good;) {
        int32_t rows = n - at < o->caps.max_rows ? n - at : o->caps.max_rows;
        bool last = at + rows == n;
        struct job job = {.id = 1, .kind = JOB_FORWARD};
        job.forward = (struct job_forward){.b1 = o->caps.blocks,
                                           .width = rows,
                                           .pos = at,
                                           .n = rows,
                                           .token = token + at,
                                           .slot_in = -1,
                                           .slot_out = -1,
                                           .want = last ? WANT_TOPK : WANT_NONE,
                                           .want_from = last ? rows - 1 : rows,
                                           .want_k = last ? 2 : 0};
        good = run(g, &job, o);
        at += rows;
    }
    return good;
}

double val_margin(const struct session *s, const struct val_prompt *prompt,
                  const struct val_run *own, int32_t n_output)
{
    struct outputs o = {.out.status = DONE_OK};
    struct engine *g = s->engine;
    g->ops->caps(g, &o.caps);
    int32_t n = prompt->n + n_output;
    size_t k = (size_t)o.caps.max_rows * (size_t)o.caps.max_topk;
    if (o.caps.max_topk < 2 || n > o.caps.max_ctx)
        return NAN;
    int32_t *token = malloc((size_t)n * sizeof *token);
    o.out.choice = malloc((size_t)o.caps.max_rows * sizeof *o.out.choice);
    o.out.top = malloc(k * sizeof *o.out.top);
    o.out.logit = malloc(k * sizeof *o.out.logit);
    double margin = NAN;
    if (token && o.out.choice && o.out.top && o.out.logit) {
        struct job clear = {.id = 1, .kind = JOB_COMMIT};
        memcpy(token, prompt->token, (size_t)prompt->n * sizeof *token);
        memcpy(token + prompt->n, own->output, (size_t)n_output * sizeof *token);
        if (run(g, &clear, &o) && run_text(g, token, n, &o))
            margin = (double)o.out.logit[0] - (double)o.out.logit[1];
        run(g, &clear, &o);
    }
    free(token);
    free(o.out.choice);
    free(o.out.top);
    free(o.out.logit);
    return margin;
}
