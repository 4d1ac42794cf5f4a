/* Speculative decoding: draft up to max_draft tokens, verify them in one step of the target, accept
 * the longest correct path plus the target's own token, repeat (rounds.h). The prompt is appended
 * to the drafter while prefill runs.
 *
 * Calibration. With calibrate=1 prefill wants the topk likely tokens at every prompt position, and
 * a CALIBRATE job takes each chunk's to the drafter. `overlap`: `serial`, prefill waits for it
 * after every chunk, the last included: it is a part of prefill; `chunks`, it runs beside the next
 * chunk, and the first draft waits for all of it; `draft`, nor does the first draft wait for the
 * last chunk's. */
#include "sim/policy/rounds.h"

enum { WIDTH, MAX_DRAFT, TREE, CHUNK, CALIBRATE, TOPK, OVERLAP, REUSE, FILL, OVERFLOW };
enum { OVERLAP_SERIAL, OVERLAP_CHUNKS, OVERLAP_DRAFT };
enum { ROLE_TARGET, ROLE_DRAFT };

static const char *const overlaps[] = {"serial", "chunks", "draft", NULL};

static const struct param params[] = {
    {"width",
     "rows of a verify step; 0: as many as are used; auto: the belief's step curve decides", 0, 0,
     ROUNDS_MAX_ROWS, NULL, 1},
    {"max_draft", "drafted tokens per step at most", 7, 1, ROUNDS_MAX_ROWS - 1, NULL, 0},
    ROUNDS_PARAM_TREE,
    SERVE_PARAM_CHUNK,
    ROUNDS_PARAM_CALIBRATE,
    ROUNDS_PARAM_TOPK,
    {"overlap", "what calibration runs beside", OVERLAP_CHUNKS, 0, 0, overlaps, 0},
    ROUNDS_PARAM_REUSE,
    ROUNDS_PARAM_FILL,
    ROUNDS_PARAM_OVERFLOW,
    {.name = NULL}};

static const char *const roles[] = {"target", "draft", NULL};

struct speculative {
    struct serve serve;
    struct rounds rounds;
    const int64_t *param;
    /* calibration: the last chunk's, and the token that waits for it */
    int64_t calibrate_id;
    int32_t first_token;
};

static bool lossless(const int64_t *param)
{
    return param[TREE] == ROUNDS_RECOMPUTE;
}

static size_t mem_bytes(const int64_t *param, const struct policy_env *env)
{
    (void)param;
    return sizeof(struct speculative) + serve_mem_bytes(env);
}

static int init(void *mem, const int64_t *param, const struct policy_env *env, struct err *e)
{
    struct speculative *p = mem;
    p->param = param;
    serve_init(&p->serve, p + 1, env, (int32_t)param[CHUNK], ROLE_TARGET);
    struct rounds_options opt = {.target_role = ROLE_TARGET,
                                 .draft_role = ROLE_DRAFT,
                                 .width = param[WIDTH],
                                 .max_draft = param[MAX_DRAFT],
                                 .top_k = param[CALIBRATE] ? (int32_t)param[TOPK] : 0,
                                 .recompute = param[TREE] == ROUNDS_RECOMPUTE,
                                 .passes = param[OVERFLOW] == ROUNDS_PASSES,
                                 .reuse = param[REUSE] != 0,
                                 .fill = param[FILL] != 0};
    p->serve.top_k = opt.top_k;
    p->serve.stepwise = opt.top_k && param[OVERLAP] == OVERLAP_SERIAL;
    return rounds_init(&p->rounds, &p->serve, &opt, e);
}

static void first(struct speculative *p, int32_t token, struct actions *out)
{
    rounds_emit(&p->rounds, &token, 1, out);
    rounds_start(&p->rounds, out);
}

/* A chunk of the prompt is done; the last one brings the first token. */
static int prefilled(struct speculative *p, const struct done *done, struct actions *out)
{
    bool last = done->id == p->serve.prefill_id && p->serve.pos == p->serve.n_prompt;
    bool tops = p->serve.top_k > 0;
    if ((last || tops) && done->n_choice < 1)
        return ERR_POLICY;
    if (tops && done->k < 1)
        return ERR_POLICY;
    int32_t token = last ? done->choice[done->n_choice - 1] : -1;
    if (tops && p->param[OVERLAP] != OVERLAP_DRAFT)
        p->calibrate_id = rounds_calibrate(&p->rounds, done, out);
    p->first_token = token;
    if (last && !p->serve.stepwise)
        first(p, token, out);
    if (tops && p->param[OVERLAP] == OVERLAP_DRAFT && !p->serve.closing)
        p->calibrate_id = rounds_calibrate(&p->rounds, done, out);
    return ERR_OK;
}

/* overlap=serial: the next chunk, or the first token, comes after calibration. */
static void calibrated(struct speculative *p, struct actions *out)
{
    if (p->serve.pos == p->serve.n_prompt)
        first(p, p->first_token, out);
    else
        serve_prefill(&p->serve, out);
}

static int on_event(void *self, const struct event *ev, struct actions *out)
{
    struct speculative *p = self;
    bool mine, started;
    int rc = serve_event(&p->serve, ev, out, &mine, &started);
    if (started) {
        p->calibrate_id = 0;
        rounds_open(&p->rounds, out);
    }
    if (rc || !mine)
        return rc;
    rc = rounds_done(&p->rounds, &ev->done, out, &mine);
    if (rc || mine)
        return rc;
    if (ev->done.job_kind == JOB_FORWARD)
        return prefilled(p, &ev->done, out);
    if (ev->done.id == p->calibrate_id && p->serve.stepwise)
        calibrated(p, out);
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
