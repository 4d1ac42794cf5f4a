#include "tests/policies/policies.h"

enum { ROLE_TARGET, ROLE_DRAFT };
enum { MAX_OPEN = 8 };

static const char *const roles[] = {"target", "draft", NULL};

/* Stream s is sequence s. */
struct stream {
    int32_t request; /* -1: free */
    int32_t pos, max_tokens, n_output, root, pending;
    bool closing;
};

struct interleave {
    const struct policy_env *env;
    int64_t next_id;
    struct stream stream[MAX_OPEN];
};

static size_t mem_bytes(const int64_t *param, const struct policy_env *env)
{
    (void)param;
    (void)env;
    return sizeof(struct interleave);
}

static int init(void *mem, const int64_t *param, const struct policy_env *env, struct err *e)
{
    struct interleave *p = mem;
    (void)param;
    if (env->max_requests > env->caps.max_seqs || env->max_requests > MAX_OPEN)
        return err_set(e, ERR_UNSUPPORTED, "more requests at once than sequences");
    *p = (struct interleave){.env = env, .next_id = 1};
    for (int i = 0; i < MAX_OPEN; i++)
        p->stream[i].request = -1;
    return ERR_OK;
}

static void submit(struct interleave *p, struct stream *s, struct job *job, struct actions *out)
{
    job->id = p->next_id++;
    job->request = s->request;
    s->pending++;
    act_submit(out, job);
}

static void forward(struct interleave *p, struct stream *s, const int32_t *token, int32_t n,
                    uint8_t phase, struct actions *out)
{
    struct job job = {.kind = JOB_FORWARD, .phase = phase, .role = ROLE_TARGET};
    job.forward = (struct job_forward){.b1 = p->env->caps.blocks,
                                       .width = n,
                                       .seq = (int32_t)(s - p->stream),
                                       .pos = s->pos,
                                       .n = n,
                                       .token = token,
                                       .slot_in = -1,
                                       .slot_out = -1,
                                       .want = WANT_ARGMAX,
                                       .want_from = n - 1};
    s->pos += n;
    submit(p, s, &job, out);
}

static void learn(struct interleave *p, struct stream *s, const int32_t *token, int32_t n,
                  struct actions *out)
{
    if (!p->env->n_drafters)
        return;
    struct job job = {.kind = JOB_DRAFT, .phase = PHASE_DRAFT, .role = ROLE_DRAFT};
    job.draft = (struct job_draft){.n = n, .token = token, .max_nodes = 2};
    submit(p, s, &job, out);
}

static void token_came(struct interleave *p, struct stream *s, int32_t token, struct actions *out)
{
    s->root = token;
    act_emit(out, s->request, &s->root, 1);
    s->closing = ++s->n_output == s->max_tokens;
    for (int32_t i = 0; i < p->env->n_eos; i++)
        s->closing = s->closing || token == p->env->eos[i];
    if (s->closing) {
        struct job clear = {.kind = JOB_COMMIT, .commit = {.seq = (int32_t)(s - p->stream)}};
        submit(p, s, &clear, out);
        return;
    }
    forward(p, s, &s->root, 1, PHASE_DECODE, out);
    learn(p, s, &s->root, 1, out);
}

static struct stream *find(struct interleave *p, int32_t request)
{
    for (int i = 0; i < p->env->max_requests; i++)
        if (p->stream[i].request == request)
            return &p->stream[i];
    return NULL;
}

static int on_event(void *self, const struct event *ev, struct actions *out)
{
    struct interleave *p = self;
    struct stream *s = find(p, ev->kind == EV_ARRIVE ? -1 : ev->request);
    if (!s)
        return ERR_POLICY;
    if (ev->kind == EV_ARRIVE) {
        *s = (struct stream){.request = ev->request, .max_tokens = ev->arrive.max_tokens};
        forward(p, s, ev->arrive.token, ev->arrive.n, PHASE_PREFILL, out);
        learn(p, s, ev->arrive.token, ev->arrive.n, out);
        return ERR_OK;
    }
    if (ev->kind != EV_DONE || ev->done.status != DONE_OK)
        return ERR_DEVICE;
    s->pending--;
    if (ev->done.job_kind == JOB_FORWARD)
        token_came(p, s, ev->done.choice[0], out);
    if (s->closing && !s->pending) {
        act_finish(out, s->request);
        s->request = -1;
    }
    return ERR_OK;
}

const struct policy_type policy_interleave = {
    .abi = POLICY_ABI,
    .size = sizeof(struct policy_type),
    .name = "interleave",
    .summary = "several requests at once, one step of each in turn",
    .role = roles,
    .needs = {.max_seqs = 2, .max_jobs = 8},
    .mem_bytes = mem_bytes,
    .init = init,
    .on_event = on_event,
};
