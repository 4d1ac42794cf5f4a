#include "sim/exec/sim_text.h"

#include <string.h>

static bool make_rows(struct sim_rows *r, struct arena *arena, int32_t max_rows)
{
    r->token = arena_alloc(arena, (size_t)max_rows, sizeof *r->token);
    r->parent = arena_alloc(arena, (size_t)max_rows, sizeof *r->parent);
    return r->token && r->parent;
}

int sim_text_init(struct sim_text *t, struct arena *arena, struct truth *truth,
                  const struct exec_caps *caps, int32_t max_requests)
{
    *t = (struct sim_text){.truth = truth,
                           .max_ctx = caps->max_ctx,
                           .max_rows = caps->max_rows,
                           .max_requests = max_requests,
                           .n_seqs = caps->max_seqs,
                           .n_slots = caps->n_slots};
    t->prompt = arena_alloc(arena, (size_t)max_requests, sizeof *t->prompt);
    t->seq = arena_alloc(arena, (size_t)t->n_seqs, sizeof *t->seq);
    t->slot = arena_alloc(arena, (size_t)t->n_slots + 1, sizeof *t->slot);
    t->path = arena_alloc(arena, (size_t)t->max_ctx + (size_t)t->max_rows, sizeof *t->path);
    bool whole = t->prompt && t->seq && t->slot && t->path;
    for (int32_t i = 0; whole && i < max_requests; i++)
        t->prompt[i].request = -1;
    for (int32_t i = 0; whole && i < t->n_seqs; i++) {
        t->seq[i].token = arena_alloc(arena, (size_t)t->max_ctx, sizeof *t->seq[i].token);
        whole = t->seq[i].token && make_rows(&t->seq[i].last, arena, t->max_rows);
    }
    for (int32_t i = 0; whole && i < t->n_slots; i++)
        whole = make_rows(&t->slot[i], arena, t->max_rows);
    return whole ? ERR_OK : ERR_NOMEM;
}

static struct sim_prompt *prompt_of(struct sim_text *t, int32_t request)
{
    for (int32_t i = 0; i < t->max_requests; i++)
        if (t->prompt[i].request == request)
            return &t->prompt[i];
    return NULL;
}

void sim_text_open(struct sim_text *t, int32_t request, int32_t n, const int32_t *prompt)
{
    *prompt_of(t, -1) = (struct sim_prompt){request, n, prompt};
}

void sim_text_close(struct sim_text *t, int32_t request)
{
    prompt_of(t, request)->request = -1;
}

/* ---- caches -----------------------------------------------------------------------------------
 */

/* The last step's rows become sure: the step after it starts behind them. */
static bool settle(struct sim_text *t, struct sim_seq *s, int32_t pos)
{
    if (s->last.n && pos == s->n + s->last.n && s->last.chain && pos <= t->max_ctx) {
        memcpy(s->token + s->n, s->last.token, (size_t)s->last.n * sizeof *s->token);
        s->n = pos;
        s->last.n = 0;
    }
    return s->n == pos && !s->last.n;
}

static void keep_rows(struct sim_rows *r, const struct job_forward *f)
{
    r->pos = f->pos;
    r->n = f->n;
    r->chain = true;
    memcpy(r->token, f->token, (size_t)f->n * sizeof *r->token);
    for (int32_t i = 0; i < f->n; i++) {
        r->parent[i] = f->parent ? f->parent[i] : i - 1;
        r->chain = r->chain && r->parent[i] == i - 1;
    }
}

static bool commit(struct sim_text *t, const struct job_commit *c)
{
    struct sim_seq *s = &t->seq[c->seq];
    if (c->n == 0) {
        if (c->pos > s->n)
            settle(t, s, s->n + s->last.n);
        if (c->pos > s->n)
            return false;
        s->n = c->pos;
        s->last.n = 0;
        return true;
    }
    if (c->pos != s->n || c->n > s->last.n || c->pos + c->n > t->max_ctx)
        return false;
    int32_t before = -1;
    for (int32_t i = 0; i < c->n; i++) {
        int32_t row = c->row ? c->row[i] : i;
        if (row >= s->last.n || s->last.parent[row] != before)
            return false;
        s->token[s->n + i] = s->last.token[row];
        before = row;
    }
    s->n += c->n;
    s->last.n = 0;
    return true;
}

static bool copy(struct sim_text *t, const struct job_copy *c)
{
    struct sim_seq *from = &t->seq[c->seq_from], *to = &t->seq[c->seq_to];
    settle(t, from, from->n + from->last.n);
    if (c->n > from->n)
        return false;
    memcpy(to->token, from->token, (size_t)c->n * sizeof *to->token);
    to->n = c->n;
    to->last.n = 0;
    return true;
}

/* ---- what the target says ---------------------------------------------------------------------
 */

/* The target's choice after the text path[0 .. n), which starts with the prompt. */
static int32_t choice_after(struct sim_text *t, const struct sim_prompt *p, const int32_t *path,
                            int32_t n)
{
    int32_t n_out = n - p->n, n_true = 0;
    if (n_out < 0)
        return -1; /* inside the prompt: see top_at */
    while (n_true < n_out) {
        int32_t own = t->truth->ops->choice(t->truth, p->request, n_true, NULL, 0);
        if (own < 0 || own != path[p->n + n_true])
            break;
        n_true++;
    }
    return t->truth->ops->choice(t->truth, p->request, n_true, path + p->n + n_true,
                                 n_out - n_true);
}

static void outputs(struct sim_text *t, const struct job *job, const struct sim_rows *r,
                    struct done *done, int32_t *choice, int32_t *top, float *logit)
{
    const struct job_forward *f = &job->forward;
    const struct sim_prompt *p = prompt_of(t, job->request);
    if (f->want == WANT_NONE || !p)
        return;
    const struct sim_seq *s = &t->seq[f->seq];
    memcpy(t->path, s->token, (size_t)r->pos * sizeof *t->path);
    done->n_choice = r->n - f->want_from;
    done->k = f->want == WANT_TOPK ? f->want_k : 0;
    for (int32_t i = f->want_from; i < r->n; i++) {
        int32_t depth = 0, at = i - f->want_from;
        for (int32_t a = i; a >= 0; a = r->parent[a])
            depth++;
        int32_t end = r->pos + depth;
        for (int32_t a = i, d = end; a >= 0; a = r->parent[a])
            t->path[--d] = r->token[a];
        choice[at] = choice_after(t, p, t->path, end);
        if (!done->k)
            continue;
        int32_t *to = top + at * done->k;
        float *l = logit + at * done->k;
        int32_t got =
            end <= p->n ? t->truth->ops->top(t->truth, p->request, end - 1, done->k, to, l) : 0;
        if (got && choice[at] < 0)
            choice[at] = to[0];
        for (int32_t k = got; k < done->k; k++) {
            to[k] = -1;
            l[k] = 0;
        }
    }
}

void sim_text_run(struct sim_text *t, const struct job *job, bool last_block, struct done *done,
                  int32_t *choice, int32_t *top, float *logit)
{
    bool good = true;
    const struct job_forward *f = &job->forward;
    switch (job->kind) {
    case JOB_FORWARD: {
        struct sim_seq *s = &t->seq[f->seq];
        if (f->b0 == 0) {
            good = settle(t, s, f->pos);
            if (good)
                keep_rows(&s->last, f);
        }
        if (good && f->slot_out >= 0)
            keep_rows(&t->slot[f->slot_out], f);
        else if (good && last_block) {
            if (f->b0 == 0) {
                outputs(t, job, &s->last, done, choice, top, logit);
            } else {
                keep_rows(&t->slot[f->slot_in], f);
                outputs(t, job, &t->slot[f->slot_in], done, choice, top, logit);
            }
        }
        break;
    }
    case JOB_HEAD:
        outputs(t, job, &t->slot[f->slot_in], done, choice, top, logit);
        break;
    case JOB_COMMIT:
        good = commit(t, &job->commit);
        break;
    case JOB_COPY:
        good = copy(t, &job->copy);
        break;
    default:
        break;
    }
    if (!good)
        done->status = DONE_FAILED;
}
