/* Speculative decoding: draft up to max_draft tokens, verify them in one step of the target, accept
 * the longest correct path plus the target's own token, repeat (rounds.h). The prompt is appended
 * to the drafter while prefill runs; with calibrate=1 prefill wants the topk likely tokens at every
 * prompt position. */
#include "sim/policy/rounds.h"

enum { WIDTH, MAX_DRAFT, CHUNK, ROUNDS };
enum { ROLE_TARGET, ROLE_DRAFT };

static const struct param params[] = {
    {"width",
     "rows of a verify step; 0: as many as are used; auto: the belief's step curve decides", 0, 0,
     ROUNDS_MAX_ROWS, NULL, 1},
    {"max_draft", "drafted tokens per step at most", 7, 1, ROUNDS_MAX_ROWS - 1, NULL, 0},
    SERVE_PARAM_CHUNK,
    ROUNDS_PARAMS,
    {.name = NULL}};

static const char *const roles[] = {"target", "draft", NULL};

struct speculative {
    struct serve serve;
    struct rounds rounds;
};

static bool lossless(const int64_t *param)
{
    return rounds_lossless(param + ROUNDS);
}

static size_t mem_bytes(const int64_t *param, const struct policy_env *env)
{
    (void)param;
    return sizeof(struct speculative) + serve_mem_bytes(env);
}

static int init(void *mem, const int64_t *param, const struct policy_env *env, struct err *e)
{
    struct speculative *p = mem;
    serve_init(&p->serve, p + 1, env, (int32_t)param[CHUNK], ROLE_TARGET);
    struct rounds_options opt = {.target_role = ROLE_TARGET,
                                 .draft_role = ROLE_DRAFT,
                                 .width = param[WIDTH],
                                 .max_draft = param[MAX_DRAFT]};
    rounds_read(param + ROUNDS, &opt);
    p->serve.top_k = opt.top_k;
    p->serve.stepwise = opt.top_k && opt.overlap == ROUNDS_SERIAL;
    return rounds_init(&p->rounds, &p->serve, &opt, e);
}

/* A chunk of the prompt is done; the last one brings the first token. */
static int prefilled(struct speculative *p, const struct done *done, struct actions *out)
{
    bool last = done->id == p->serve.prefill_id && p->serve.pos == p->serve.n_prompt;
    int rc = last || p->serve.top_k ? rounds_prompt(&p->rounds, done, last, out) : ERR_OK;
    if (rc || rounds_waits(&p->rounds))
        return rc;
    if (last)
        rounds_start(&p->rounds, out);
    rounds_prompted(&p->rounds, done, out);
    return ERR_OK;
}

static int on_event(void *self, const struct event *ev, struct actions *out)
{
    struct speculative *p = self;
    bool mine, started;
    int rc = serve_event(&p->serve, ev, out, &mine, &started);
    if (started)
        rounds_open(&p->rounds, out);
    if (rc || !mine)
        return rc;
    rc = rounds_done(&p->rounds, &ev->done, out, &mine);
    if (rc || mine)
        return rc;
    if (ev->done.job_kind == JOB_FORWARD)
        return prefilled(p, &ev->done, out);
    if (ev->done.job_kind == JOB_CALIBRATE && p->serve.stepwise) {
        if (p->serve.n_output)
            rounds_start(&p->rounds, out);
        else
            serve_prefill(&p->serve, out);
    }
    return ERR_OK;
}

const struct policy_type policy_speculative = {
    .abi = POLICY_ABI,
    .size = sizeof(struct policy_type),
    .name = "speculative",
    .summary = "draft, verify in one step, accept the longest correct path",
    .flags = POLICY_NEEDS_DRAFTER,
    .role = roles,
    .params = params,
    .needs = {.max_rows = 2, .max_seqs = 1, .max_jobs = 8},
    .lossless = lossless,
    .mem_bytes = mem_bytes,
    .init = init,
    .on_event = on_event,
};
