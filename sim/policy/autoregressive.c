/* One token per step: the baseline of every comparison. */
#include "sim/policy/serve.h"

enum { CHUNK };

static const struct param params[] = {SERVE_PARAM_CHUNK, {.name = NULL}};

static const char *const roles[] = {"target", NULL};

static bool lossless(const int64_t *param)
{
    (void)param;
    return true;
}

static size_t mem_bytes(const int64_t *param, const struct policy_env *env)
{
    (void)param;
    return sizeof(struct serve) + serve_mem_bytes(env);
}

static int init(void *mem, const int64_t *param, const struct policy_env *env, struct err *e)
{
    (void)e;
    struct serve *s = mem;
    serve_init(s, s + 1, env, (int32_t)param[CHUNK], 0);
    return ERR_OK;
}

static int on_event(void *self, const struct event *ev, struct actions *out)
{
    struct serve *s = self;
    bool mine, started;
    int rc = serve_event(s, ev, out, &mine, &started);
    if (rc || !mine || !ev->done.n_choice)
        return rc;
    if (ev->done.id != s->prefill_id)
        s->pos++;
    serve_emit(s, ev->done.choice, 1, out);
    if (s->closing)
        return ERR_OK;
    struct job job = {.kind = JOB_FORWARD, .phase = PHASE_DECODE};
    job.forward = (struct job_forward){.b1 = s->env->caps.blocks,
                                       .width = 1,
                                       .pos = s->pos,
                                       .n = 1,
                                       .token = &s->root,
                                       .slot_in = -1,
                                       .slot_out = -1,
                                       .want = WANT_ARGMAX};
    serve_submit(s, &job, out);
    return ERR_OK;
}

const struct policy_type policy_autoregressive = {
    .abi = POLICY_ABI,
    .size = sizeof(struct policy_type),
    .name = "autoregressive",
    .summary = "one token per step, no drafts: the baseline",
    .role = roles,
    .params = params,
    .needs = {.max_rows = 1, .max_seqs = 1, .max_jobs = 2},
    .lossless = lossless,
    .mem_bytes = mem_bytes,
    .init = init,
    .on_event = on_event,
};
