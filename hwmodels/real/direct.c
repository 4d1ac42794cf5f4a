#include "hwmodels/real/direct.h"

bool direct_run(struct direct *d, const struct job *job)
{
    d->out = (struct engine_out){.choice = d->choice, .top = d->top, .logit = d->logit};
    d->engine->ops->run(d->engine, job, &d->out);
    return d->out.status == DONE_OK;
}

bool direct_forward(struct direct *d, int32_t pos, int32_t n, const int32_t *token,
                    const int32_t *parent, int32_t width)
{
    struct job job = {.id = 1, .kind = JOB_FORWARD};
    job.forward = (struct job_forward){.b1 = 1,
                                       .width = width,
                                       .pos = pos,
                                       .n = n,
                                       .token = token,
                                       .parent = parent,
                                       .slot_in = -1,
                                       .slot_out = -1,
                                       .want = WANT_ARGMAX};
    return direct_run(d, &job);
}

bool direct_commit(struct direct *d, int32_t pos, int32_t n, const int32_t *row)
{
    struct job job = {.id = 1, .kind = JOB_COMMIT};
    job.commit = (struct job_commit){.pos = pos, .n = n, .row = row};
    return direct_run(d, &job);
}
