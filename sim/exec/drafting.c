#include "sim/exec/drafting.h"

#include <assert.h>
#include <stdlib.h>

#include "sim/base/hash.h"

struct instance {
    void *mem;
    int32_t n_tokens; /* appended so far */
};

struct drafting {
    const struct run_setup *setup;
    struct draft_limits limits;
    struct arena arena;
    _Atomic int32_t *request;  /* [max_requests], -1: free; workers look while others open, close */
    struct instance *instance; /* [max_requests * n_drafters] */
};

int drafting_create(const struct run_setup *setup, int32_t max_ctx, int32_t max_nodes,
                    struct drafting **out, struct err *e)
{
    struct drafting *d = calloc(1, sizeof *d);
    if (!d)
        return err_set(e, ERR_NOMEM, "out of memory for drafters");
    arena_init(&d->arena);
    d->setup = setup;
    d->limits = (struct draft_limits){max_ctx, max_nodes, setup->n_vocab};
    int32_t slots = setup->max_requests, drafters = setup->n_drafters;
    d->request = arena_alloc(&d->arena, (size_t)slots, sizeof *d->request);
    d->instance = arena_alloc(&d->arena, (size_t)slots * (size_t)drafters, sizeof *d->instance);
    bool whole = d->request && d->instance;
    for (int32_t s = 0; whole && s < slots; s++) {
        d->request[s] = -1;
        for (int32_t i = 0; whole && i < drafters; i++) {
            const struct run_drafter *r = &setup->drafter[i];
            void *mem = arena_alloc(&d->arena, 1, r->type->mem_bytes(r->param, &d->limits));
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

void drafting_destroy(struct drafting *d)
{
    if (!d)
        return;
    arena_fini(&d->arena);
    free(d);
}

static int32_t slot_of(const struct drafting *d, int32_t request)
{
    int32_t s = 0;
    while (s < d->setup->max_requests && d->request[s] != request)
        s++;
    return s;
}

int drafting_open(struct drafting *d, int32_t request, struct err *e)
{
    int32_t s = slot_of(d, -1);
    if (s == d->setup->max_requests)
        return err_set(e, ERR_LIMIT,
                       "request %d arrived with %d requests open, which is the run's limit: raise "
                       "max_requests or let requests arrive later",
                       request, s);
    d->request[s] = request;
    for (int32_t i = 0; i < d->setup->n_drafters; i++) {
        struct instance *x = &d->instance[s * d->setup->n_drafters + i];
        const struct run_drafter *r = &d->setup->drafter[i];
        r->type->init(x->mem, r->param, &d->limits);
        x->n_tokens = 0;
    }
    return ERR_OK;
}

void drafting_close(struct drafting *d, int32_t request)
{
    int32_t s = slot_of(d, request);
    assert(s < d->setup->max_requests);
    d->request[s] = -1;
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
    if (calibrate) {
        if (!type->calibrate)
            return ERR_UNSUPPORTED;
        const struct job_calibrate *c = &job->calibrate;
        type->calibrate(x->mem, c->pos, c->n, c->k, c->top, c->logit, work);
        return ERR_OK;
    }
    const struct job_draft *j = &job->draft;
    if (j->n > d->limits.max_tokens - x->n_tokens || j->max_nodes > d->limits.max_nodes)
        return ERR_LIMIT;
    x->n_tokens += j->n;
    if (j->n)
        type->append(x->mem, j->token, j->n, work);
    if (j->max_nodes)
        type->propose(x->mem, j->max_nodes, tree, work);
    assert(tree->n <= j->max_nodes);
    return ERR_OK;
}

uint64_t drafting_hash(const struct draft_tree *tree)
{
    uint64_t h = hash_mix((uint64_t)tree->n);
    for (int32_t i = 0; i < tree->n; i++) {
        h = hash_step(h, (uint64_t)tree->token[i]);
        h = hash_step(h, (uint64_t)(int64_t)tree->parent[i]);
    }
    return h;
}
