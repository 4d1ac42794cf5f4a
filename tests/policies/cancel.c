#include "tests/policies/policies.h"

enum { ROLE_TARGET, ROLE_OTHER };
enum { MAX_QUEUED = 32, CHUNK = 4 };

static const char *const roles[] = {"target", "other", NULL};

struct cancel {
    const struct policy_env *env;
    int64_t next_id, token_id, clear_id;
    int32_t request, pending, n_queued;
    int64_t queued[MAX_QUEUED]; /* not known to have ended; 0: ended */
    bool cancelled, woken;
};

static size_t mem_bytes(const int64_t *param, const struct policy_env *env)
{
    (void)param;
    (void)env;
    return sizeof(struct cancel);
}

static int init(void *mem, const int64_t *param, const struct policy_env *env, struct err *e)
{
    (void)param;
    (void)e;
    *(struct cancel *)mem = (struct cancel){.env = env, .next_id = 1};
    return ERR_OK;
}

static int64_t submit(struct cancel *p, struct job *job, struct actions *out)
{
    job->id = p->next_id++;
    job->request = p->request;
    p->pending++;
    act_submit(out, job);
    return job->id;
}

/* Every second chunk goes to the other role; each waits for the one before. */
static void arrive(struct cancel *p, const struct event *ev, struct actions *out)
{
    p->request = ev->request;
    p->n_queued = 0;
    p->clear_id = 0;
    p->cancelled = p->woken = false;
    for (int32_t pos = 0; pos < ev->arrive.n && p->n_queued < MAX_QUEUED; pos += CHUNK) {
        int32_t n = ev->arrive.n - pos < CHUNK ? ev->arrive.n - pos : CHUNK;
        bool last = pos + n == ev->arrive.n;
        struct job job = {.kind = JOB_FORWARD, .phase = PHASE_PREFILL};
        job.role = p->n_queued % 2 ? ROLE_OTHER : ROLE_TARGET;
        job.n_wait = pos > 0;
        job.wait[0] = p->next_id - 1;
        job.forward = (struct job_forward){.b1 = p->env->caps.blocks,
                                           .width = n,
                                           .pos = pos,
                                           .n = n,
                                           .token = ev->arrive.token + pos,
                                           .slot_in = -1,
                                           .slot_out = -1,
                                           .want = last ? WANT_ARGMAX : WANT_NONE,
                                           .want_from = last ? n - 1 : 0};
        p->token_id = submit(p, &job, out);
        p->queued[p->n_queued++] = p->token_id;
    }
}

static void done(struct cancel *p, const struct done *d, struct actions *out)
{
    p->pending--;
    for (int32_t i = 0; i < p->n_queued; i++)
        if (p->queued[i] == d->id)
            p->queued[i] = 0;
    if (d->id == p->token_id && d->status == DONE_OK && !p->cancelled) {
        act_emit(out, p->request, d->choice, 1);
        p->woken = true;
    }
}

static int on_event(void *self, const struct event *ev, struct actions *out)
{
    struct cancel *p = self;
    switch (ev->kind) {
    case EV_ARRIVE:
        arrive(p, ev, out);
        return ERR_OK;
    case EV_DONE:
        if (ev->done.status != DONE_OK && ev->done.status != DONE_CANCELLED)
            return ERR_DEVICE;
        done(p, &ev->done, out);
        break;
    case EV_CANCEL_REQUEST:
        p->cancelled = true;
        for (int32_t i = p->n_queued - 1; i >= 0; i--)
            if (p->queued[i])
                act_cancel(out, p->queued[i]);
        act_wake(out, ev->time_ns + 1000);
        return ERR_OK;
    default:
        p->woken = true;
        break;
    }
    if (p->pending || !p->woken)
        return ERR_OK;
    if (p->clear_id) {
        act_finish(out, p->request);
        return ERR_OK;
    }
    struct job clear = {.kind = JOB_COMMIT};
    p->clear_id = submit(p, &clear, out);
    return ERR_OK;
}

const struct policy_type policy_cancel = {
    .abi = POLICY_ABI,
    .size = sizeof(struct policy_type),
    .name = "cancel",
    .summary = "queues everything, and takes it back when asked to",
    .role = roles,
    .needs = {.max_seqs = 1, .max_jobs = MAX_QUEUED},
    .mem_bytes = mem_bytes,
    .init = init,
    .on_event = on_event,
};
