#include "sim/policy/serve.h"

#include <assert.h>

size_t serve_mem_bytes(const struct policy_env *env)
{
    return (size_t)env->max_requests * sizeof(struct serve_waiting);
}

void serve_init(struct serve *s, void *mem, const struct policy_env *env, int32_t chunk,
                uint8_t target_role)
{
    *s = (struct serve){.env = env,
                        .chunk = chunk < env->caps.max_rows ? chunk : env->caps.max_rows,
                        .target_role = target_role,
                        .next_id = 1,
                        .request = -1,
                        .waiting = mem};
}

int64_t serve_submit(struct serve *s, struct job *job, struct actions *out)
{
    if (s->n_flight == SERVE_MAX_FLIGHT) {
        out->code = ERR_LIMIT;
        return 0;
    }
    job->id = s->next_id++;
    job->request = s->request;
    s->flight[s->n_flight++] = job->id;
    act_submit(out, job);
    return job->id;
}

/* Keeps a few chunks in flight, so that the target never waits for the host between them. */
void serve_prefill(struct serve *s, struct actions *out)
{
    int32_t most = s->env->caps.max_jobs - 2; /* two more for what a policy runs beside */
    most = most < 1 ? 1 : most < SERVE_PREFILL_FLIGHT ? most : SERVE_PREFILL_FLIGHT;
    while (s->chunk && s->pos < s->n_prompt && s->n_flight < most) {
        int32_t left = s->n_prompt - s->pos;
        int32_t n = left < s->chunk ? left : s->chunk;
        struct job job = {.kind = JOB_FORWARD, .phase = PHASE_PREFILL, .role = s->target_role};
        job.forward = (struct job_forward){.b1 = s->env->caps.blocks,
                                           .width = n,
                                           .pos = s->pos,
                                           .n = n,
                                           .token = s->prompt + s->pos,
                                           .slot_in = -1,
                                           .slot_out = -1,
                                           .want = n == left ? WANT_ARGMAX : WANT_NONE,
                                           .want_from = n == left ? n - 1 : n};
        if (s->top_k) {
            job.forward.want = WANT_TOPK;
            job.forward.want_from = 0;
            job.forward.want_k = s->top_k;
        }
        s->prefill_id = serve_submit(s, &job, out);
        s->pos += n;
        if (s->stepwise)
            break;
    }
}

static void open_next(struct serve *s, struct actions *out, bool *started)
{
    if (s->request >= 0 || !s->n_waiting)
        return;
    struct serve_waiting w = s->waiting[s->head];
    s->head = (s->head + 1) % s->env->max_requests;
    s->n_waiting--;
    s->request = w.request;
    s->prompt = w.prompt;
    s->n_prompt = w.n;
    s->max_tokens = w.max_tokens;
    s->n_output = s->pos = s->root = 0;
    s->closing = s->clearing = false;
    *started = true;
    serve_prefill(s, out);
}

/* Once nothing is in flight any more: clears the cache, then finishes. */
static void close_step(struct serve *s, struct actions *out, bool *started)
{
    if (!s->closing || s->n_flight)
        return;
    if (!s->clearing) {
        s->clearing = true;
        struct job job = {.kind = JOB_COMMIT, .role = s->target_role};
        serve_submit(s, &job, out);
        return;
    }
    act_finish(out, s->request);
    s->request = -1;
    s->closing = s->clearing = false;
    open_next(s, out, started);
}

static int arrive(struct serve *s, const struct event *ev, struct actions *out, bool *started)
{
    if (s->n_waiting == s->env->max_requests)
        return ERR_POLICY;
    int32_t tail = (s->head + s->n_waiting) % s->env->max_requests;
    s->waiting[tail] =
        (struct serve_waiting){ev->request, ev->arrive.n, ev->arrive.max_tokens, ev->arrive.token};
    s->n_waiting++;
    open_next(s, out, started);
    return ERR_OK;
}

static int cancel(struct serve *s, const struct event *ev, struct actions *out, bool *started)
{
    if (ev->request == s->request) {
        for (int32_t i = 0; i < s->n_flight && !s->clearing; i++)
            act_cancel(out, s->flight[i]);
        s->closing = true;
        close_step(s, out, started);
        return ERR_OK;
    }
    for (int32_t i = 0; i < s->n_waiting; i++) {
        int32_t at = (s->head + i) % s->env->max_requests;
        if (s->waiting[at].request != ev->request)
            continue;
        for (int32_t k = i; k + 1 < s->n_waiting; k++) {
            int32_t to = (s->head + k) % s->env->max_requests;
            s->waiting[to] = s->waiting[(to + 1) % s->env->max_requests];
        }
        s->n_waiting--;
        act_finish(out, ev->request);
        return ERR_OK;
    }
    return ERR_POLICY;
}

int serve_event(struct serve *s, const struct event *ev, struct actions *out, bool *mine,
                bool *started)
{
    *mine = *started = false;
    if (ev->kind == EV_ARRIVE)
        return arrive(s, ev, out, started);
    if (ev->kind == EV_CANCEL_REQUEST)
        return cancel(s, ev, out, started);
    if (ev->kind != EV_DONE)
        return ERR_POLICY;
    int32_t i = 0;
    while (i < s->n_flight && s->flight[i] != ev->done.id)
        i++;
    if (i == s->n_flight)
        return ERR_POLICY;
    s->flight[i] = s->flight[--s->n_flight];
    if (ev->done.status != DONE_OK && !(s->closing && ev->done.status == DONE_CANCELLED))
        return ERR_DEVICE;
    if (s->closing) {
        close_step(s, out, started);
        return ERR_OK;
    }
    if (!s->stepwise && s->pos < s->n_prompt)
        serve_prefill(s, out);
    *mine = true;
    return ERR_OK;
}

static bool is_eos(const struct serve *s, int32_t token)
{
    for (int32_t i = 0; i < s->env->n_eos; i++)
        if (s->env->eos[i] == token)
            return true;
    return false;
}

int32_t serve_emit(struct serve *s, const int32_t *token, int32_t n, struct actions *out)
{
    int32_t left = serve_left(s), k = 0;
    assert(left > 0 && n > 0);
    bool ended = false;
    while (k < n && k < left && !ended)
        ended = is_eos(s, token[k++]);
    act_emit(out, s->request, token, k);
    s->n_output += k;
    s->root = token[k - 1];
    if (ended || serve_left(s) == 0 || serve_room(s) == 0) {
        bool started = false;
        s->closing = true;
        close_step(s, out, &started);
        assert(!started);
    }
    return k;
}

int32_t serve_left(const struct serve *s)
{
    return s->max_tokens - s->n_output;
}

int32_t serve_room(const struct serve *s)
{
    return s->env->caps.max_ctx - s->pos;
}
