#include "tests/policies/policies.h"

#include <string.h>

enum { ROWS = 7, TAIL = 8 };

static const char *const roles[] = {"target", NULL};

const struct toy_options *policy_tree_toy;

struct tree {
    const struct policy_env *env;
    int64_t next_id, step_id, clear_id;
    int32_t request, max_tokens, n_output, pos, n;
    int32_t n_text, *text; /* [max_ctx], prompt and output: what is sure */
    int32_t token[ROWS], parent[ROWS];
};

static size_t mem_bytes(const int64_t *param, const struct policy_env *env)
{
    (void)param;
    return sizeof(struct tree) + (size_t)env->caps.max_ctx * sizeof(int32_t);
}

static int init(void *mem, const int64_t *param, const struct policy_env *env, struct err *e)
{
    struct tree *p = mem;
    (void)param;
    if (!policy_tree_toy)
        return err_set(e, ERR_USAGE, "policy_tree_toy is not set");
    *p = (struct tree){.env = env, .next_id = 1, .text = (int32_t *)(void *)(p + 1)};
    return ERR_OK;
}

static int64_t submit(struct tree *p, struct job *job, struct actions *out)
{
    job->id = p->next_id++;
    job->request = p->request;
    act_submit(out, job);
    return job->id;
}

static void forward(struct tree *p, const int32_t *token, const int32_t *parent, int32_t n,
                    int32_t want_from, uint8_t phase, struct actions *out)
{
    struct job job = {.kind = JOB_FORWARD, .phase = phase};
    job.forward = (struct job_forward){.b1 = p->env->caps.blocks,
                                       .width = n,
                                       .pos = p->pos,
                                       .n = n,
                                       .token = token,
                                       .parent = parent,
                                       .slot_in = -1,
                                       .slot_out = -1,
                                       .want = WANT_ARGMAX,
                                       .want_from = want_from};
    p->step_id = submit(p, &job, out);
}

/* The token that follows text + extra[0, n). */
static int32_t truth(const struct tree *p, const int32_t *extra, int32_t n)
{
    int32_t tail[2 * TAIL], k = 0;
    for (int32_t i = p->n_text > TAIL ? p->n_text - TAIL : 0; i < p->n_text; i++)
        tail[k++] = p->text[i];
    for (int32_t i = 0; i < n; i++)
        tail[k++] = extra[i];
    return toy_next(policy_tree_toy, tail, k);
}

/*  0 root
 *  +- 1 wrong -- 2 wrong
 *  +- 3 right
 *     +- 4 wrong
 *     +- 5 right -- 6 wrong */
static void verify(struct tree *p, struct actions *out)
{
    static const int32_t parent[ROWS] = {-1, 0, 1, 0, 3, 3, 5};
    int32_t v = p->env->n_vocab, right[3];
    for (int32_t i = 0; i < 3; i++)
        right[i] = truth(p, right, i);
    const int32_t token[ROWS] = {
        p->text[p->n_text - 1], (right[0] + 1) % v, right[1],          right[0],
        (right[1] + 1) % v,     right[1],           (right[2] + 1) % v};
    p->n = ROWS;
    memcpy(p->token, token, sizeof token);
    memcpy(p->parent, parent, sizeof parent);
    forward(p, p->token, p->parent, p->n, 0, PHASE_VERIFY, out);
}

/* Emits; then the next step, or the end. */
static void emit(struct tree *p, const int32_t *token, int32_t n, struct actions *out)
{
    bool end = false;
    int32_t k = 0;
    while (k < n && !end) {
        int32_t t = token[k++];
        p->text[p->n_text++] = t;
        end = ++p->n_output == p->max_tokens;
        for (int32_t i = 0; i < p->env->n_eos; i++)
            end = end || t == p->env->eos[i];
    }
    act_emit(out, p->request, token, k);
    if (!end) {
        verify(p, out);
        return;
    }
    struct job clear = {.kind = JOB_COMMIT};
    p->clear_id = submit(p, &clear, out);
}

static void verified(struct tree *p, const struct done *done, struct actions *out)
{
    int32_t row[ROWS], fresh[ROWS];
    int32_t kept = exec_accept(p->n, p->token, p->parent, done->choice, row);
    struct job job = {.kind = JOB_COMMIT, .commit = {.pos = p->pos, .n = kept, .row = row}};
    submit(p, &job, out);
    p->pos += kept;
    for (int32_t i = 0; i < kept; i++)
        fresh[i] = done->choice[row[i]];
    emit(p, fresh, kept, out);
}

static int on_event(void *self, const struct event *ev, struct actions *out)
{
    struct tree *p = self;
    if (ev->kind == EV_ARRIVE) {
        p->request = ev->request;
        p->max_tokens = ev->arrive.max_tokens;
        p->n_output = p->pos = 0;
        p->n_text = ev->arrive.n;
        memcpy(p->text, ev->arrive.token, (size_t)ev->arrive.n * sizeof *p->text);
        p->n = ev->arrive.n;
        forward(p, p->text, NULL, p->n, p->n - 1, PHASE_PREFILL, out);
        return ERR_OK;
    }
    if (ev->kind != EV_DONE || ev->done.status != DONE_OK)
        return ERR_DEVICE;
    if (ev->done.id == p->clear_id) {
        act_finish(out, p->request);
    } else if (ev->done.id == p->step_id && p->pos == 0) {
        p->pos = p->n;
        emit(p, ev->done.choice, 1, out);
    } else if (ev->done.id == p->step_id) {
        verified(p, &ev->done, out);
    }
    return ERR_OK;
}

static bool lossless(const int64_t *param)
{
    (void)param;
    return true;
}

const struct policy_type policy_tree = {
    .abi = POLICY_ABI,
    .size = sizeof(struct policy_type),
    .name = "tree",
    .summary = "verifies trees whose true branch comes second",
    .role = roles,
    .needs = {.features = EXEC_TREES, .max_rows = ROWS, .max_seqs = 1, .max_jobs = 2},
    .lossless = lossless,
    .mem_bytes = mem_bytes,
    .init = init,
    .on_event = on_event,
};
