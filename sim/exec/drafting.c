#include "sim/exec/drafting.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "sim/base/hash.h"
#include "sim/exec/jobs.h"

/* Jobs that a memo answered: the drafter has not seen them yet. */
struct journal {
    int32_t n, max_jobs, n_words, n_floats;
    struct job *job;
    int32_t *word;
    float *number;
};

/* Room for that many jobs per token of context, words and floats, with the likely tokens of a
 * calibrated prompt among them. What does not fit is run. */
enum { JOURNAL_WORDS = 16, JOURNAL_FLOATS = 8, JOURNAL_JOBS = 1 };

struct instance {
    void *mem;
    int32_t n_tokens; /* appended so far */
    bool told;        /* the history was given */
    /* with a memo */
    bool made;    /* false: to be made of `limits` before it is run */
    uint64_t key; /* of all that it was told */
    struct draft_limits limits;
    struct journal behind;
};

/* Texts one after another, the oldest first. */
struct texts {
    int32_t n, n_tokens;
    int32_t *length; /* [most] */
    int32_t *token;  /* [max_ctx] */
};

/* What belongs to an open request, beside its instances. */
struct slot {
    _Atomic int32_t request; /* -1: free; workers look while others open, close */
    struct texts before;     /* the history at its opening */
    int32_t n_output;
    int32_t *output; /* [max_ctx] */
};

struct drafting {
    const struct run_setup *setup;
    struct draft_limits limits; /* of a drafter without history */
    int32_t most;               /* responses kept; 0: no history */
    struct truth *truth;        /* NULL: not known */
    struct draft_memo *memo;    /* NULL: every job is run */
    struct arena arena;
    struct slot *slot;         /* [max_requests] */
    struct instance *instance; /* [max_requests * n_drafters] */
    struct texts history;
    int32_t history_of[EXEC_MAX_DRAFTERS]; /* responses that each is given */
};

static int32_t asked_history(const struct run_drafter *r)
{
    int32_t i = r->type->remember ? param_find(r->type->params, DRAFT_HISTORY) : -1;
    return i < 0 ? 0 : (int32_t)r->param[i];
}

static struct draft_limits limits_of(const struct drafting *d, int32_t drafter)
{
    struct draft_limits limits = d->limits;
    limits.max_old = d->history_of[drafter] ? limits.max_tokens : 0;
    return limits;
}

/* ---- life ----------------------------------------------------------------------------------- */

static bool make_texts(struct drafting *d, struct texts *t)
{
    if (!d->most)
        return true;
    t->length = arena_room(&d->arena, (size_t)d->most, sizeof *t->length);
    t->token = arena_room(&d->arena, (size_t)d->limits.max_tokens, sizeof *t->token);
    return t->length && t->token;
}

static bool make_slot(struct drafting *d, struct slot *s)
{
    s->request = -1;
    if (!d->most)
        return true;
    s->output = arena_room(&d->arena, (size_t)d->limits.max_tokens, sizeof *s->output);
    return s->output && make_texts(d, &s->before);
}

int drafting_create(const struct run_setup *setup, int32_t max_ctx, int32_t max_nodes,
                    struct drafting **out, struct err *e)
{
    struct drafting *d = calloc(1, sizeof *d);
    if (!d)
        return err_set(e, ERR_NOMEM, "out of memory for drafters");
    arena_init(&d->arena);
    d->setup = setup;
    d->limits = (struct draft_limits){
        .max_tokens = max_ctx, .max_nodes = max_nodes, .n_vocab = setup->n_vocab};
    int32_t slots = setup->max_requests, drafters = setup->n_drafters;
    for (int32_t i = 0; i < drafters; i++) {
        d->history_of[i] = asked_history(&setup->drafter[i]);
        d->most = d->history_of[i] > d->most ? d->history_of[i] : d->most;
    }
    d->slot = arena_alloc(&d->arena, (size_t)slots, sizeof *d->slot);
    d->instance = arena_alloc(&d->arena, (size_t)slots * (size_t)drafters, sizeof *d->instance);
    bool whole = d->slot && d->instance && make_texts(d, &d->history);
    for (int32_t s = 0; whole && s < slots; s++) {
        whole = make_slot(d, &d->slot[s]);
        for (int32_t i = 0; whole && i < drafters; i++) {
            const struct run_drafter *r = &setup->drafter[i];
            struct draft_limits limits = limits_of(d, i);
            void *mem = arena_room(&d->arena, 1, r->type->mem_bytes(r->param, &limits));
            d->instance[s * drafters + i].mem = mem;
            whole = mem != NULL;
        }
    }
    if (!whole) {
        drafting_destroy(d);
        return err_set(e, ERR_NOMEM, "out of memory for %d drafters of %d requests with %d tokens",
                       drafters, slots, max_ctx);
    }
    *out = d;
    return ERR_OK;
}

void drafting_tell_truth(struct drafting *d, struct truth *truth)
{
    d->truth = truth;
}

int drafting_use_memo(struct drafting *d, struct draft_memo *memo)
{
    int32_t n = d->setup->max_requests * d->setup->n_drafters;
    size_t ctx = (size_t)d->limits.max_tokens;
    for (int32_t i = 0; i < n; i++) {
        struct journal *b = &d->instance[i].behind;
        *b = (struct journal){.max_jobs = (int32_t)ctx * JOURNAL_JOBS};
        b->job = arena_room(&d->arena, (size_t)b->max_jobs, sizeof *b->job);
        b->word = arena_room(&d->arena, JOURNAL_WORDS * ctx, sizeof *b->word);
        b->number = arena_room(&d->arena, JOURNAL_FLOATS * ctx, sizeof *b->number);
        if (!b->job || !b->word || !b->number)
            return ERR_NOMEM;
    }
    d->memo = memo;
    return ERR_OK;
}

void drafting_destroy(struct drafting *d)
{
    if (!d)
        return;
    arena_fini(&d->arena);
    free(d);
}

/* ---- requests ------------------------------------------------------------------------------- */

static int32_t slot_of(const struct drafting *d, int32_t request)
{
    int32_t s = 0;
    while (s < d->setup->max_requests && d->slot[s].request != request)
        s++;
    return s;
}

static void copy_texts(struct texts *to, const struct texts *from)
{
    to->n = from->n;
    to->n_tokens = from->n_tokens;
    if (!from->n)
        return;
    memcpy(to->length, from->length, (size_t)from->n * sizeof *to->length);
    memcpy(to->token, from->token, (size_t)from->n_tokens * sizeof *to->token);
}

static uint64_t hash_array(uint64_t h, const void *words, int32_t n)
{
    h = hash_step(h, (uint64_t)n);
    return words && n > 0 ? hash_bytes(words, (size_t)n * sizeof(int32_t), h) : h;
}

/* Of a drafter that was told nothing but the last `most` texts of its history. */
static uint64_t first_key(const struct run_drafter *r, const struct draft_limits *l,
                          const struct texts *before, int32_t most)
{
    uint64_t h = hash_bytes(r->type->name, strlen(r->type->name), 1);
    for (int32_t i = 0, n = param_count(r->type->params); i < n; i++)
        h = hash_step(h, (uint64_t)r->param[i]);
    h = hash_step(hash_step(h, (uint64_t)l->max_tokens), (uint64_t)l->max_nodes);
    h = hash_step(hash_step(h, (uint64_t)l->n_vocab), (uint64_t)l->max_old);
    for (int32_t i = 0, at = 0; i < before->n; at += before->length[i++])
        if (i >= before->n - most)
            h = hash_array(h, before->token + at, before->length[i]);
    return h;
}

int drafting_open(struct drafting *d, int32_t request, int32_t n_prompt, struct err *e)
{
    int32_t s = slot_of(d, -1);
    if (s == d->setup->max_requests)
        return err_set(e, ERR_LIMIT,
                       "request %d arrived with %d requests open, which is the run's limit: raise "
                       "max_requests or let requests arrive later",
                       request, s);
    d->slot[s].n_output = 0;
    copy_texts(&d->slot[s].before, &d->history);
    for (int32_t i = 0; i < d->setup->n_drafters; i++) {
        struct instance *x = &d->instance[s * d->setup->n_drafters + i];
        const struct run_drafter *r = &d->setup->drafter[i];
        struct draft_limits limits = limits_of(d, i);
        if (r->type->flags & DRAFTER_NEEDS_TRUTH) {
            limits.truth = d->truth;
            limits.request = request;
            limits.n_prompt = n_prompt;
            limits.seed = d->setup->seed;
        }
        x->made = !d->memo;
        if (x->made)
            r->type->init(x->mem, r->param, &limits);
        x->n_tokens = 0;
        x->told = false;
        if (d->memo) {
            x->limits = limits;
            x->behind.n = x->behind.n_words = x->behind.n_floats = 0;
            x->key = first_key(r, &limits, &d->slot[s].before, d->history_of[i]);
        }
    }
    d->slot[s].request = request;
    return ERR_OK;
}

void drafting_emit(struct drafting *d, int32_t request, const int32_t *token, int32_t n)
{
    int32_t s = slot_of(d, request);
    if (!d->most || s == d->setup->max_requests)
        return;
    struct slot *slot = &d->slot[s];
    for (int32_t i = 0; i < n && slot->n_output < d->limits.max_tokens; i++)
        slot->output[slot->n_output++] = token[i];
}

static void drop_oldest(struct texts *t)
{
    int32_t gone = t->length[0];
    t->n--;
    t->n_tokens -= gone;
    memmove(t->length, t->length + 1, (size_t)t->n * sizeof *t->length);
    memmove(t->token, t->token + gone, (size_t)t->n_tokens * sizeof *t->token);
}

void drafting_close(struct drafting *d, int32_t request)
{
    int32_t s = slot_of(d, request);
    assert(s < d->setup->max_requests);
    struct slot *slot = &d->slot[s];
    struct texts *h = &d->history;
    slot->request = -1;
    if (!d->most || !slot->n_output)
        return;
    while (h->n && (h->n == d->most || h->n_tokens + slot->n_output > d->limits.max_tokens))
        drop_oldest(h);
    memcpy(h->token + h->n_tokens, slot->output, (size_t)slot->n_output * sizeof *h->token);
    h->length[h->n++] = slot->n_output;
    h->n_tokens += slot->n_output;
}

/* ---- jobs ----------------------------------------------------------------------------------- */

static void tell(const struct drafting *d, struct instance *x, const struct slot *slot,
                 int32_t drafter, struct draft_work *work)
{
    const struct run_drafter *r = &d->setup->drafter[drafter];
    const struct texts *t = &slot->before;
    int32_t from = t->n - d->history_of[drafter], at = 0;
    for (int32_t i = 0; i < t->n && !x->told; at += t->length[i++])
        if (i >= from)
            r->type->remember(x->mem, t->token + at, t->length[i], work);
    x->told = true;
}

static int check_draft(const struct drafting *d, const struct instance *x,
                       const struct job_draft *j)
{
    bool fits = j->n <= d->limits.max_tokens - x->n_tokens && j->max_nodes <= d->limits.max_nodes &&
                j->n_rows <= d->limits.max_nodes;
    return fits ? ERR_OK : ERR_LIMIT;
}

static int check_calibrate(const struct drafting *d, const struct drafter_type *type,
                           const struct job_calibrate *c)
{
    if (!type->calibrate)
        return ERR_UNSUPPORTED;
    return c->n <= d->limits.max_tokens - c->pos ? ERR_OK : ERR_LIMIT;
}

static void run(const struct drafter_type *type, void *mem, const struct job *job,
                struct draft_tree *tree, struct draft_work *work)
{
    const struct job_draft *j = &job->draft;
    const struct job_calibrate *c = &job->calibrate;
    if (job->kind == JOB_CALIBRATE) {
        type->calibrate(mem, c->pos, c->n, c->k, c->top, c->logit, work);
        return;
    }
    if (j->n_rows && type->rejected)
        type->rejected(mem, j->n_rows, j->row_token, j->row_parent, j->row_choice, work);
    if (j->n)
        type->append(mem, j->token, j->n, work);
    if (!tree || !j->max_nodes)
        return;
    type->propose(mem, j->max_nodes, tree, work);
    assert(tree->n <= j->max_nodes);
    if (!(type->flags & DRAFTER_ESTIMATES))
        memset(tree->chance, 0, (size_t)tree->n * sizeof *tree->chance);
}

/* ---- jobs that a memo may answer ------------------------------------------------------------ */

static uint64_t next_key(uint64_t h, const struct job *job)
{
    const struct job_draft *j = &job->draft;
    const struct job_calibrate *c = &job->calibrate;
    h = hash_step(h, job->kind);
    if (job->kind == JOB_CALIBRATE) {
        h = hash_step(hash_step(h, (uint64_t)c->pos), (uint64_t)c->k);
        return hash_array(hash_array(h, c->top, c->n * c->k), c->logit, c->n * c->k);
    }
    h = hash_step(hash_step(h, (uint64_t)j->max_nodes), j->row_parent != NULL);
    h = hash_array(hash_array(h, j->token, j->n), j->row_token, j->n_rows);
    return hash_array(hash_array(h, j->row_parent, j->n_rows), j->row_choice, j->n_rows);
}

static bool keep_job(const struct drafting *d, struct journal *b, const struct job *job)
{
    const struct job_draft *j = &job->draft;
    bool calibrate = job->kind == JOB_CALIBRATE;
    int64_t likely = calibrate ? (int64_t)job->calibrate.n * job->calibrate.k : 0;
    int64_t words = calibrate ? likely : (int64_t)j->n + 3 * (int64_t)j->n_rows;
    int64_t ctx = d->limits.max_tokens;
    if (b->n == b->max_jobs || b->n_words + words > JOURNAL_WORDS * ctx ||
        b->n_floats + likely > JOURNAL_FLOATS * ctx)
        return false;
    job_copy(&b->job[b->n++], job, b->word + b->n_words, b->number + b->n_floats);
    b->n_words += (int32_t)words;
    b->n_floats += (int32_t)likely;
    return true;
}

/* Tells the drafter all that it missed. A proposal changes nothing and is left out. */
static void catch_up(const struct drafting *d, struct instance *x, const struct slot *slot,
                     int32_t drafter)
{
    const struct run_drafter *r = &d->setup->drafter[drafter];
    struct draft_work gone = {0};
    struct journal *b = &x->behind;
    if (!x->made)
        r->type->init(x->mem, r->param, &x->limits);
    x->made = true;
    if (b->n && d->history_of[drafter])
        tell(d, x, slot, drafter, &gone);
    for (int32_t i = 0; i < b->n; i++)
        run(r->type, x->mem, &b->job[i], NULL, &gone);
    b->n = b->n_words = b->n_floats = 0;
}

int drafting_run(struct drafting *d, const struct job *job, struct draft_tree *tree,
                 struct draft_work *work)
{
    bool calibrate = job->kind == JOB_CALIBRATE;
    int32_t index = calibrate ? job->calibrate.drafter : job->draft.drafter;
    int32_t s = slot_of(d, job->request);
    if (s == d->setup->max_requests || index < 0 || index >= d->setup->n_drafters)
        return ERR_POLICY;
    struct instance *x = &d->instance[s * d->setup->n_drafters + index];
    const struct drafter_type *type = d->setup->drafter[index].type;
    *work = (struct draft_work){0};
    tree->n = 0;
    int rc = calibrate ? check_calibrate(d, type, &job->calibrate) : check_draft(d, x, &job->draft);
    if (rc)
        return rc;
    x->n_tokens += calibrate ? 0 : job->draft.n;
    bool memo = d->memo && !(type->flags & DRAFTER_NEEDS_TRUTH);
    if (!x->made && !memo)
        catch_up(d, x, &d->slot[s], index);
    if (memo) {
        x->key = next_key(x->key, job);
        if (draft_memo_get(d->memo, x->key, tree, work)) {
            if (!keep_job(d, &x->behind, job)) {
                struct draft_work gone = {0};
                catch_up(d, x, &d->slot[s], index);
                if (d->history_of[index])
                    tell(d, x, &d->slot[s], index, &gone);
                run(type, x->mem, job, NULL, &gone);
            }
            return ERR_OK;
        }
        catch_up(d, x, &d->slot[s], index);
    }
    if (d->history_of[index])
        tell(d, x, &d->slot[s], index, work);
    run(type, x->mem, job, tree, work);
    if (memo)
        draft_memo_put(d->memo, x->key, tree, work);
    return ERR_OK;
}

uint64_t drafting_hash(const struct draft_tree *tree)
{
    uint64_t h = hash_mix((uint64_t)tree->n);
    for (int32_t i = 0; i < tree->n; i++) {
        h = hash_step(h, (uint64_t)tree->token[i]);
        h = hash_step(h, (uint64_t)(int64_t)tree->parent[i]);
        h = hash_step(h, (uint64_t)(tree->chance ? tree->chance[i] : 0));
    }
    return h;
}
