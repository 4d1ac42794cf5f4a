#include "sim/exec/sim_text.h"

#include <string.h>

static bool make_rows(struct sim_rows *r, struct arena *arena, int32_t max_rows)
{
    r->token = arena_room(arena, (size_t)max_rows, sizeof *r->token);
    r->above = arena_room(arena, (size_t)max_rows, sizeof *r->above);
    return r->token && r->above;
}

int sim_text_init(struct sim_text *t, struct arena *arena, struct truth *truth,
                  const struct exec_caps *caps, int32_t max_requests)
{
    *t = (struct sim_text){.truth = truth,
                           .max_ctx = caps->max_ctx,
                           .max_rows = caps->max_rows,
                           .max_requests = max_requests,
                           .n_seqs = caps->max_seqs};
    t->prompt = arena_alloc(arena, (size_t)max_requests, sizeof *t->prompt);
    t->seq = arena_alloc(arena, (size_t)t->n_seqs, sizeof *t->seq);
    size_t rows = (size_t)t->max_rows;
    t->wrong = arena_room(arena, (size_t)t->max_ctx + rows, sizeof *t->wrong);
    t->chain = arena_room(arena, rows, sizeof *t->chain);
    t->stand = arena_room(arena, 1 + rows, sizeof *t->stand);
    t->path = arena_room(arena, rows, sizeof *t->path);
    bool whole = t->prompt && t->seq && t->wrong && t->chain && t->stand && t->path &&
                 make_rows(&t->step, arena, t->max_rows);
    for (int32_t i = 0; whole && i < t->max_rows; i++)
        t->chain[i] = i - 1;
    for (int32_t i = 0; whole && i < max_requests; i++)
        t->prompt[i].request = -1;
    for (int32_t i = 0; whole && i < t->n_seqs; i++) {
        t->seq[i].request = -1;
        t->seq[i].token = arena_room(arena, (size_t)t->max_ctx, sizeof *t->seq[i].token);
        whole = t->seq[i].token && make_rows(&t->seq[i].last, arena, t->max_rows);
    }
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
    struct sim_prompt *p = prompt_of(t, -1);
    *p = (struct sim_prompt){request, n, prompt, 0, NULL};
    if (t->truth->ops->text)
        p->own = t->truth->ops->text(t->truth, request, &p->n_own);
}

void sim_text_close(struct sim_text *t, int32_t request)
{
    prompt_of(t, request)->request = -1;
}

/* ---- caches --------------------------------------------------------------------------------- */

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

static void keep_rows(const struct sim_text *t, struct sim_rows *r, const struct job_forward *f)
{
    size_t bytes = (size_t)f->n * sizeof *r->token;
    r->pos = f->pos;
    r->n = f->n;
    memcpy(r->token, f->token, bytes);
    r->chain = !f->parent || !memcmp(f->parent, t->chain, bytes);
    r->parent = r->chain ? t->chain : memcpy(r->above, f->parent, bytes);
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
        s->same = s->same < s->n ? s->same : s->n;
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
    to->request = from->request;
    to->same = from->same < c->n ? from->same : c->n;
    to->last.n = 0;
    return true;
}

/* ---- what the target says ------------------------------------------------------------------- */

/* The target's own token at position `at`. */
static inline int32_t own_at(struct sim_text *t, const struct sim_prompt *p, int32_t at)
{
    if (at - p->n < p->n_own)
        return p->own[at - p->n];
    return t->truth->ops->choice(t->truth, p->request, at - p->n, NULL, 0);
}

static bool says(struct sim_text *t, const struct sim_prompt *p, int32_t at, int32_t token)
{
    int32_t own = own_at(t, p, at);
    return own >= 0 && own == token;
}

/* The token at position `at`, which is cached: sure, or of the last step. */
static int32_t cached(const struct sim_seq *s, int32_t at)
{
    return at < s->n ? s->token[at] : s->last.token[at - s->n];
}

/* How far the text before position pos is the request's prompt and the target's own continuation.
 * What was compared once and is sure is not compared again. */
static int32_t own_before(struct sim_text *t, const struct sim_prompt *p, struct sim_seq *s,
                          int32_t pos)
{
    if (s->request != p->request || s->same < p->n) {
        s->request = p->request;
        s->same = p->n;
    }
    int32_t sure = s->n < pos ? s->n : pos;
    while (s->same < sure && says(t, p, s->same, s->token[s->same]))
        s->same++;
    int32_t own = s->same;
    while (own < pos && says(t, p, own, cached(s, own)))
        own++;
    return own < pos ? own : pos;
}

/* The target's choice after row i, at position `end` - 1; the text is its own up to `own`, which is
 * before that. */
static int32_t choice_after(struct sim_text *t, const struct sim_prompt *p, const struct sim_seq *s,
                            const struct sim_rows *r, int32_t i, int32_t end, int32_t own)
{
    int32_t at = end;
    for (int32_t a = i; a >= 0 && at > own; a = r->parent[a])
        t->wrong[--at - own] = r->token[a];
    while (at > own) {
        at--;
        t->wrong[at - own] = cached(s, at);
    }
    return t->truth->ops->choice(t->truth, p->request, own - p->n, t->wrong, end - own);
}

/* The same where all that is wrong are rows of this step, each of which was asked about: the truth
 * is followed from the parent on. */
static int32_t choice_on(struct sim_text *t, const struct sim_prompt *p, const struct sim_rows *r,
                         int32_t i, int32_t end, int32_t own)
{
    int32_t n_wrong = end - own;
    if (n_wrong > 1) {
        t->path[i] = t->path[r->parent[i]];
        if (t->path[i].at < 0)
            return -1;
    }
    return t->truth->ops->follow(t->truth, p->request, own - p->n, n_wrong, r->token[i],
                                 &t->path[i]);
}

static void top_after(struct sim_text *t, const struct sim_prompt *p, int32_t end, int32_t k,
                      int32_t *choice, int32_t *top, float *logit)
{
    const struct truth_ops *ops = t->truth->ops;
    int32_t got =
        ops->top && end <= p->n ? ops->top(t->truth, p->request, end - 1, k, top, logit) : 0;
    if (got && *choice < 0)
        *choice = top[0];
    for (int32_t i = got; i < k; i++) {
        top[i] = -1;
        logit[i] = 0;
    }
}

/* The first row that outputs has to look at: those before it are inside the prompt, one after
 * another, and not wanted. */
static int32_t skip_prompt(struct sim_text *t, const struct sim_prompt *p, const struct sim_rows *r,
                           int32_t own, int32_t want_from)
{
    int32_t n = p->n - 1 - r->pos;
    n = n < want_from ? n : want_from;
    if (!r->chain || own < r->pos || n <= 0)
        return 0;
    t->stand[n] = (struct sim_stand){r->pos + n, r->pos + n, -1};
    return n;
}

/* Row by row: where a row stands comes from where its parent does. */
static void outputs(struct sim_text *t, const struct job *job, const struct sim_rows *r,
                    struct done *done, int32_t *choice, int32_t *top, float *logit)
{
    const struct job_forward *f = &job->forward;
    const struct sim_prompt *p = prompt_of(t, job->request);
    if (f->want == WANT_NONE || !p)
        return;
    struct sim_seq *s = &t->seq[f->seq];
    int32_t before = own_before(t, p, s, r->pos);
    int32_t first = before == r->pos && before >= p->n ? own_at(t, p, before) : -1;
    bool follows = t->truth->ops->follow && first >= 0 && !f->want_from;
    done->n_choice = r->n - f->want_from;
    done->k = f->want == WANT_TOPK ? f->want_k : 0;
    const int32_t *parent = r->parent, *token = r->token;
    const int32_t n_prompt = p->n, n = r->n, from = f->want_from, k = done->k;
    struct sim_stand *stand = t->stand;
    stand[0] = (struct sim_stand){r->pos, before, first};
    for (int32_t i = skip_prompt(t, p, r, before, from); i < n; i++) {
        struct sim_stand was = stand[parent[i] + 1];
        bool same =
            was.own == was.end && (was.end < n_prompt || (was.says >= 0 && was.says == token[i]));
        int32_t end = was.end + 1, says = same && end >= n_prompt ? own_at(t, p, end) : -1;
        stand[i + 1] = (struct sim_stand){end, same ? end : was.own, says};
        if (i < from)
            continue;
        int32_t *c = choice + (i - from);
        if (same || end < n_prompt) /* inside the prompt: see top */
            *c = says;
        else
            *c = follows
                     ? choice_on(t, p, r, i, end, was.own)
                     : choice_after(t, p, s, r, i, end, was.own > n_prompt ? was.own : n_prompt);
        if (k)
            top_after(t, p, end, k, c, top + (i - from) * k, logit + (i - from) * k);
    }
}

/* ---- jobs ----------------------------------------------------------------------------------- */

/* The rows of a job that reads a slot: what the slot held before its blocks is of no matter here,
 * but the first block must have seen the text before them. */
static const struct sim_rows *rows_of_slot(struct sim_text *t, const struct job_forward *f)
{
    const struct sim_seq *s = &t->seq[f->seq];
    if (f->pos > s->n + (s->last.chain ? s->last.n : 0))
        return NULL;
    keep_rows(t, &t->step, f);
    return &t->step;
}

static const char *forward(struct sim_text *t, const struct job *job, bool ends, struct done *done,
                           int32_t *choice, int32_t *top, float *logit)
{
    const struct job_forward *f = &job->forward;
    struct sim_seq *s = &t->seq[f->seq];
    const struct sim_rows *rows = &s->last;
    if (job->kind == JOB_FORWARD && f->b0 == 0) {
        if (!settle(t, s, f->pos))
            return "the step is not at the cache's end";
        keep_rows(t, &s->last, f);
    } else if (!(rows = rows_of_slot(t, f))) {
        return "the rows' blocks before this one have not run";
    }
    if (ends)
        outputs(t, job, rows, done, choice, top, logit);
    return NULL;
}

const char *sim_text_run(struct sim_text *t, const struct job *job, bool last_block,
                         struct done *done, int32_t *choice, int32_t *top, float *logit)
{
    switch (job->kind) {
    case JOB_FORWARD:
        return forward(t, job, last_block && job->forward.slot_out < 0, done, choice, top, logit);
    case JOB_HEAD:
        return forward(t, job, true, done, choice, top, logit);
    case JOB_COMMIT:
        return commit(t, &job->commit)
                   ? NULL
                   : "the rows to keep are no path of the step that was made there, or more tokens "
                     "are to be kept than are cached";
    case JOB_COPY:
        return copy(t, &job->copy) ? NULL : "more tokens are to be copied than are cached";
    default:
        return NULL;
    }
}
