#include "experiments/validate_own.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Words: VERIFIED, n_true, n, token[n], parent[n], choice[n]; LIKELY, pos, n, k, top[n * k],
 * logit[n * k] as bits. */
enum { VERIFIED = 1, LIKELY = 2, HEAD = 4, MAX_ROWS = 512 };

/* ---- an executor that writes down what it is told ------------------------------------------- */

struct watch {
    struct exec exec; /* must be first */
    struct exec *inner;
    int32_t n_prompt, n_likely; /* prompt positions that were told of */
    int64_t step;               /* the verification in flight */
    int32_t n_true, n, token[MAX_ROWS], parent[MAX_ROWS];
    bool full;
    int32_t n_words, cap;
    int32_t word[];
};

static int32_t *room(struct watch *w, int32_t n)
{
    if (n > w->cap - w->n_words) {
        w->full = true;
        return NULL;
    }
    int32_t *to = w->word + w->n_words;
    w->n_words += n;
    return to;
}

static void put(int32_t **to, const void *from, int32_t n)
{
    memcpy(*to, from, (size_t)n * sizeof **to);
    *to += n;
}

static void note_verified(struct watch *w, const struct done *done)
{
    int32_t *to = room(w, HEAD - 1 + 3 * w->n);
    if (!to)
        return;
    put(&to, (int32_t[]){VERIFIED, w->n_true, w->n}, HEAD - 1);
    put(&to, w->token, w->n);
    put(&to, w->parent, w->n);
    put(&to, done->choice, w->n);
}

static void note_likely(struct watch *w, const struct done *done)
{
    int32_t n = done->n_choice * done->k, *to = room(w, HEAD + 2 * n);
    if (to) {
        put(&to, (int32_t[]){LIKELY, w->n_likely, done->n_choice, done->k}, HEAD);
        put(&to, done->top, n);
        put(&to, done->logit, n);
    }
    w->n_likely += done->n_choice;
}

static void watch_caps(const struct exec *x, struct exec_caps *out)
{
    const struct watch *w = (const struct watch *)x;
    w->inner->ops->caps(w->inner, out);
}

static int watch_next(struct exec *x, const struct event *due, struct event *out, struct err *e)
{
    struct watch *w = (struct watch *)x;
    int rc = w->inner->ops->next(w->inner, due, out, e);
    if (rc || out->kind != EV_DONE || out->done.status != DONE_OK)
        return rc;
    if (out->done.id == w->step && out->done.n_choice == w->n)
        note_verified(w, &out->done);
    else if (out->done.k > 0)
        note_likely(w, &out->done);
    return ERR_OK;
}

static int watch_act(struct exec *x, const struct action *a, struct err *e)
{
    struct watch *w = (struct watch *)x;
    const struct job_forward *f = &a->job.forward;
    if (a->kind == ACT_SUBMIT && a->job.kind == JOB_FORWARD && a->job.phase == PHASE_VERIFY &&
        f->n <= MAX_ROWS) {
        w->step = a->job.id;
        w->n_true = f->pos + 1 - w->n_prompt;
        w->n = f->n;
        for (int32_t i = 0; i < f->n; i++) {
            w->token[i] = f->token[i];
            w->parent[i] = f->parent ? f->parent[i] : i - 1;
        }
    }
    return w->inner->ops->act(w->inner, a, e);
}

static int64_t watch_host(struct exec *x, const struct host_work *work)
{
    struct watch *w = (struct watch *)x;
    return w->inner->ops->host(w->inner, work);
}

static void watch_destroy(struct exec *x)
{
    struct watch *w = (struct watch *)x;
    w->inner->ops->destroy(w->inner);
    free(w);
}

static const struct exec_ops watch_ops = {"watch",   watch_caps, watch_next,
                                          watch_act, watch_host, watch_destroy};

static int64_t param_of(const struct val_policy *p, const char *name)
{
    int32_t i = param_find(p->setup.policy->params, name);
    return i < 0 ? 0 : p->setup.policy_param[i];
}

int32_t val_top_k(const struct val_policy *p)
{
    return param_of(p, "calibrate") ? (int32_t)param_of(p, "topk") : 0;
}

int val_watch(struct exec **x, const struct run_setup *setup, const struct val_prompt *prompt,
              struct err *e)
{
    struct exec_caps caps;
    struct val_policy p = {.setup = *setup};
    (*x)->ops->caps(*x, &caps);
    /* Each round verifies at most twice, once as a tree and once as a chain, and yields a token. */
    int64_t rows = 1 + param_of(&p, "max_draft"), rounds = 2 * (int64_t)prompt->max_tokens;
    int64_t cap =
        rounds * (HEAD + 3 * rows) + (int64_t)prompt->n * (HEAD + 2 * (int64_t)val_top_k(&p));
    struct watch *w = cap < INT32_MAX ? malloc(sizeof *w + (size_t)cap * sizeof *w->word) : NULL;
    if (!w)
        return err_set(e, ERR_NOMEM, "out of memory for what the target says");
    *w = (struct watch){
        .exec = {&watch_ops}, .inner = *x, .n_prompt = prompt->n, .cap = (int32_t)cap};
    *x = &w->exec;
    return ERR_OK;
}

int val_watched(const struct exec *x, const int32_t **word, int32_t *n, struct err *e)
{
    const struct watch *w = (const struct watch *)x;
    *word = w->word;
    *n = w->n_words;
    return w->full ? err_set(e, ERR_LIMIT, "a run saw more than its room of %d words", w->cap)
                   : ERR_OK;
}

/* ---- into a trace --------------------------------------------------------------------------- */

/* One record of `left` words; its length, or -1 when it is none. */
static int32_t add_record(struct trace_builder *b, int32_t index, const int32_t *at, int32_t left,
                          int *rc, struct err *e)
{
    if (left >= HEAD - 1 && at[0] == VERIFIED && at[2] >= 0 && at[2] <= (left - 3) / 3) {
        int32_t n = at[2];
        const int32_t *token = at + HEAD - 1;
        *rc = trace_add_step(b, index, at[1], n, token, token + n, token + 2 * n, e);
        return HEAD - 1 + 3 * n;
    }
    if (left < HEAD || at[0] != LIKELY || at[2] < 0 || at[3] < 1 ||
        (int64_t)at[2] * at[3] > (left - HEAD) / 2)
        return -1;
    int32_t n = at[2] * at[3];
    float *logit = malloc((size_t)n * sizeof *logit + 1);
    if (!logit) {
        *rc = err_set(e, ERR_NOMEM, "out of memory for likely tokens");
        return HEAD + 2 * n;
    }
    memcpy(logit, at + HEAD + n, (size_t)n * sizeof *logit);
    *rc = trace_add_top(b, index, at[1], at[2], at + HEAD, logit, e);
    free(logit);
    return HEAD + 2 * n;
}

int val_own_add(struct trace_builder *b, const char *id, const struct val_prompt *prompt,
                enum split split, const struct val_run *run, int32_t *index, struct err *e)
{
    int rc = trace_add_request(b, id, prompt->task, (int32_t)split, prompt->max_tokens,
                               prompt->token, prompt->n, index, e);
    if (!rc)
        rc = trace_add_output(b, *index, run->output, run->n_output, e);
    for (int32_t at = 0; at < run->n_seen && !rc;) {
        int32_t n = add_record(b, *index, run->seen + at, run->n_seen - at, &rc, e);
        if (n < 0)
            return err_set(e, ERR_CORRUPT, "what prompt %s saw was altered: name another --store",
                           prompt->id);
        at += n;
    }
    return rc;
}

int val_trace_open(const struct trace_builder *b, const char *path, struct trace **out,
                   struct err *e)
{
    int rc = trace_write(b, path, e);
    if (!rc)
        rc = trace_open(path, out, e);
    unlink(path); /* what is open is mapped */
    return rc;
}

static int add_all(struct validation *v, struct trace_builder *b, struct err *e)
{
    char id[64];
    int rc = ERR_OK;
    for (int32_t p = 0; p < VAL_PLACES && !rc; p++) {
        bool whole = p < v->n_done || p >= VAL_MAX_PROMPTS;
        for (int32_t i = 0; i < v->n_policies && whole && !rc; i++) {
            const struct val_run *run = val_run_at(v, p, i, 0);
            snprintf(id, sizeof id, "%d %d", p, i);
            if (run->done)
                rc = val_own_add(b, id, &v->prompt[p],
                                 p < VAL_BLIND ? SPLIT_HELD_OUT : SPLIT_CALIBRATION, run,
                                 &v->own_index[p * v->n_policies + i], e);
        }
    }
    return rc;
}

int val_own_open(struct validation *v, struct err *e)
{
    struct trace_builder *b;
    const struct session *s = &v->session;
    char path[4096];
    int32_t k = 0;
    size_t n = (size_t)VAL_PLACES * (size_t)v->n_policies;
    for (int32_t i = 0; i < v->n_policies; i++)
        k = val_top_k(&v->policy[i]) > k ? val_top_k(&v->policy[i]) : k;
    v->own_index = arena_alloc(&v->arena, n, sizeof *v->own_index);
    if (!v->own_index)
        return err_set(e, ERR_NOMEM, "out of memory for traces");
    int rc = trace_builder_create(s->model, s->numerics, s->n_vocab, s->eos, s->n_eos, k, &b, e);
    if (rc)
        return rc;
    snprintf(path, sizeof path, "%s.trace", v->o->store);
    rc = add_all(v, b, e);
    if (!rc)
        rc = val_trace_open(b, path, &v->own, e);
    trace_builder_destroy(b);
    return rc;
}
