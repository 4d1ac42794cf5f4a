#include "tests/policies/policies.h"

enum { K };
enum { ROLE_TARGET, ROLE_LOAD };
enum { G1 = 1, G2 = 2 };
enum stage { IDLE, LOADING, PREFILL, DECODE, CLOSING };

static const struct param params[] = {{"k", "blocks per switch", 2, 1, 64, NULL, 0},
                                      {.name = NULL}};

static const char *const roles[] = {"target", "load", NULL};

struct progressive {
    const struct policy_env *env;
    int32_t k;
    enum stage stage;
    int64_t next_id, token_id; /* the job whose DONE brings a token */
    int32_t pending;           /* jobs in flight */
    int32_t request, n_prompt, max_tokens, n_output;
    const int32_t *prompt;
    int32_t pos, n;   /* the chunk that runs */
    int32_t block;    /* that it goes through next */
    int32_t switched; /* blocks [switched, blocks) are on graph 2 */
    int32_t slot;     /* that holds the chunk's rows between blocks */
    int32_t root;
};

static size_t mem_bytes(const int64_t *param, const struct policy_env *env)
{
    (void)param;
    (void)env;
    return sizeof(struct progressive);
}

static int init(void *mem, const int64_t *param, const struct policy_env *env, struct err *e)
{
    (void)e;
    *(struct progressive *)mem =
        (struct progressive){.env = env, .k = (int32_t)param[K], .next_id = 1};
    return ERR_OK;
}

static int32_t min32(int32_t a, int32_t b)
{
    return a < b ? a : b;
}

static int64_t submit(struct progressive *p, struct job *job, uint8_t role, struct actions *out)
{
    job->id = p->next_id++;
    job->request = p->request;
    job->role = role;
    p->pending++;
    act_submit(out, job);
    return job->id;
}

static void graph_job(struct progressive *p, uint8_t kind, int32_t graph, int32_t block,
                      struct actions *out)
{
    struct job job = {.kind = kind, .graph = {graph, block}};
    submit(p, &job, ROLE_LOAD, out);
}

static int32_t width(const struct progressive *p, int32_t graph)
{
    return p->env->caps.graph_width[graph - 1];
}

/* The chunk's rows from `at` on, through blocks [p->block, to) of a graph, to the head after the
 * prompt's last. */
static void prefill(struct progressive *p, int32_t graph, int32_t at, int32_t to,
                    struct actions *out)
{
    int32_t n = min32(width(p, graph), p->n - at);
    bool last = p->pos + at + n == p->n_prompt && to == p->env->caps.blocks;
    struct job job = {.kind = JOB_FORWARD, .phase = PHASE_PREFILL};
    job.forward =
        (struct job_forward){.graph = graph,
                             .b0 = p->block,
                             .b1 = to,
                             .width = width(p, graph),
                             .pos = p->pos + at,
                             .n = n,
                             .token = p->prompt + p->pos + at,
                             .slot_in = p->block ? p->slot : -1,
                             .slot_out = last || to < p->env->caps.blocks ? 1 - p->slot : -1};
    int64_t id = submit(p, &job, ROLE_TARGET, out);
    if (!last)
        return;
    job.kind = JOB_HEAD;
    job.n_wait = 1;
    job.wait[0] = id;
    job.forward.slot_in = 1 - p->slot;
    job.forward.slot_out = -1;
    job.forward.want = WANT_ARGMAX;
    job.forward.want_from = n - 1;
    p->token_id = submit(p, &job, ROLE_TARGET, out);
}

static void switch_block(struct progressive *p, struct actions *out)
{
    p->switched--;
    graph_job(p, JOB_FREE, G1, p->switched, out);
    graph_job(p, JOB_LOAD, G2, p->switched, out);
}

/* One switch, beside the next k blocks of the chunk. */
static void prefill_stage(struct progressive *p, struct actions *out)
{
    int32_t blocks = p->env->caps.blocks;
    if (p->block == blocks) {
        p->pos += p->n;
        p->n = min32(width(p, G1), p->n_prompt - p->pos);
        p->block = 0;
    }
    if (p->n == 0) { /* the prompt is through and was too short to hide every switch */
        switch_block(p, out);
        return;
    }
    int32_t graph = p->block >= p->switched ? G2 : G1;
    int32_t to = min32(p->block + p->k, graph == G1 ? p->switched : blocks);
    int32_t candidate = p->switched - 1;
    if (p->switched > 0 && (candidate < p->block || candidate >= to))
        switch_block(p, out);
    for (int32_t at = 0; at < p->n; at += width(p, graph))
        prefill(p, graph, at, to, out);
    p->block = to;
    p->slot = 1 - p->slot;
}

static void decode(struct progressive *p, struct actions *out)
{
    struct job job = {.kind = JOB_FORWARD, .phase = PHASE_DECODE};
    job.forward = (struct job_forward){.graph = G2,
                                       .b1 = p->env->caps.blocks,
                                       .width = width(p, G2),
                                       .pos = p->pos++,
                                       .n = 1,
                                       .token = &p->root,
                                       .slot_in = -1,
                                       .slot_out = -1,
                                       .want = WANT_ARGMAX};
    p->token_id = submit(p, &job, ROLE_TARGET, out);
}

static void close_request(struct progressive *p, struct actions *out)
{
    p->stage = CLOSING;
    struct job clear = {.kind = JOB_COMMIT};
    submit(p, &clear, ROLE_TARGET, out);
    for (int32_t b = 0; b < p->env->caps.blocks; b++)
        graph_job(p, JOB_FREE, G2, b, out);
}

static void emit_root(struct progressive *p, struct actions *out)
{
    act_emit(out, p->request, &p->root, 1);
    bool end = ++p->n_output == p->max_tokens;
    for (int32_t i = 0; i < p->env->n_eos; i++)
        end = end || p->root == p->env->eos[i];
    if (end)
        close_request(p, out);
    else
        decode(p, out);
}

static void arrive(struct progressive *p, const struct event *ev, struct actions *out)
{
    p->stage = LOADING;
    p->request = ev->request;
    p->prompt = ev->arrive.token;
    p->n_prompt = ev->arrive.n;
    p->max_tokens = ev->arrive.max_tokens;
    p->pos = p->n_output = p->block = p->slot = 0;
    p->n = min32(width(p, G1), p->n_prompt);
    p->switched = p->env->caps.blocks;
    for (int32_t b = 0; b < p->env->caps.blocks; b++)
        graph_job(p, JOB_LOAD, G1, b, out);
}

static int on_event(void *self, const struct event *ev, struct actions *out)
{
    struct progressive *p = self;
    if (ev->kind == EV_ARRIVE) {
        arrive(p, ev, out);
        return ERR_OK;
    }
    if (ev->kind != EV_DONE || ev->done.status != DONE_OK)
        return ERR_DEVICE;
    p->pending--;
    if (ev->done.id == p->token_id)
        p->root = ev->done.choice[0];
    if (p->pending)
        return ERR_OK;
    if (p->stage == CLOSING) {
        act_finish(out, p->request);
        p->stage = IDLE;
        return ERR_OK;
    }
    if (p->stage == LOADING)
        p->stage = PREFILL;
    bool through = p->n == 0 || (p->block == p->env->caps.blocks && p->pos + p->n == p->n_prompt);
    if (p->stage == PREFILL && through && p->switched == 0) {
        p->pos = p->n_prompt;
        p->stage = DECODE;
    }
    if (p->stage == DECODE)
        emit_root(p, out);
    else
        prefill_stage(p, out);
    return ERR_OK;
}

const struct policy_type policy_progressive = {
    .abi = POLICY_ABI,
    .size = sizeof(struct policy_type),
    .name = "progressive",
    .summary = "switches graphs block by block during prefill",
    .role = roles,
    .params = params,
    .needs = {.features = EXEC_BLOCKS | EXEC_GRAPHS,
              .blocks = 2,
              .max_seqs = 1,
              .max_jobs = 16,
              .n_slots = 2,
              .n_graphs = 2},
    .mem_bytes = mem_bytes,
    .init = init,
    .on_event = on_event,
};
