#include "hwmodels/steps.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

enum { MAX_JOBS = 64 };

struct costs {
    bool ready, has_prefill, has_all;
    struct table_grid step, prefill, all;
};

struct steps {
    struct cost_model base;
    const struct device *d;
    const char *drafter[EXEC_MAX_DRAFTERS];
    const struct device_draft *draft[DEVICE_MAX_PROCESSORS][EXEC_MAX_DRAFTERS]; /* NULL: unknown */
    int32_t n_roles;
    int32_t role[EXEC_MAX_ROLES];
    int32_t with[EXEC_MAX_ROLES]; /* the processor whose costs are the role's */
    struct costs costs[DEVICE_MAX_PROCESSORS];
    struct cost_processor list[DEVICE_MAX_PROCESSORS];
};

static const struct steps *steps_of(const struct cost_model *m)
{
    return (const struct steps *)m;
}

static void steps_caps(const struct cost_model *m, struct exec_caps *out)
{
    const struct device *d = steps_of(m)->d;
    *out = (struct exec_caps){
        .features = d->features,
        .blocks = 1,
        .max_rows = d->max_rows,
        .max_ctx = d->max_ctx,
        .max_seqs = d->max_seqs,
        .max_jobs = MAX_JOBS,
        .max_topk = d->max_topk,
    };
}

static int64_t round_ns(double ns)
{
    return ns < 4e18 ? (int64_t)(ns + 0.5) : INT64_MAX / 2;
}

/* INT64_MAX / 2 instead of an overflow: costs come from files. */
static int64_t add_product(int64_t sum, int64_t a, int64_t b)
{
    const int64_t most = INT64_MAX / 2;
    if (a >= 0 && a <= INT32_MAX && b >= 0 && b <= INT32_MAX) /* no division needed to see it */
        return a * b > most - sum ? most : sum + a * b;
    return a && b > (most - sum) / a ? most : sum + a * b;
}

static int32_t wanted_rows(const struct job_forward *f)
{
    return f->want == WANT_NONE ? 0 : f->n - f->want_from;
}

static double look_up(const struct table_grid *g, const struct job_forward *f,
                      const struct engine_state *state, bool *extrapolated)
{
    return table_grid_ns(g, f->width, device_bucket(f->pos, f->width, g->pad),
                         device_change(state, f->width, f->pos, g->pad, g->few), extrapolated);
}

static double forward_ns(const struct costs *c, const struct job_forward *f,
                         const struct engine_state *state, bool *extrapolated)
{
    const struct table_grid *step = c->has_all && f->width > c->step.w_max ? &c->all : &c->step;
    int32_t wanted = wanted_rows(f);
    bool all = f->n == 1 || wanted == f->n;
    double one = !all && c->has_prefill ? look_up(&c->prefill, f, state, extrapolated) : 0;
    if (wanted <= 1 && !all && c->has_prefill)
        return one;
    double every = look_up(step, f, state, extrapolated);
    if (all)
        return every;
    *extrapolated = true;
    return c->has_prefill ? one + (every - one) * (wanted - 1) / (f->n - 1) : every;
}

static int cost_forward(const struct steps *s, const struct device_processor *p,
                        const struct costs *c, const struct job *job,
                        const struct engine_state *state, struct cost *out, struct err *e)
{
    const struct job_forward *f = &job->forward;
    if (f->graph != 0 || f->b0 != 0 || f->b1 != 1 || f->slot_in >= 0 || f->slot_out >= 0)
        return err_set(e, ERR_UNSUPPORTED,
                       "device '%s' has whole-step tables only: job %lld is no whole dynamic step",
                       s->d->name, (long long)job->id);
    assert(f->n >= 1 && f->width >= f->n && f->pos >= 0);
    int32_t wanted = wanted_rows(f);
    if (wanted > 0)
        out->sample_ns = add_product(
            p->sample_fixed_ns,
            f->want == WANT_TOPK && p->sample_top_ns >= 0 ? p->sample_top_ns : p->sample_row_ns,
            wanted);
    double ns = forward_ns(c, f, state, &out->extrapolated);
    out->alone_ns = add_product(round_ns(ns), 1, out->sample_ns);
    const struct device_table *t =
        wanted <= 1 && f->n > 1 && c->has_prefill ? &p->prefill : &p->step;
    if (t->fixed_bytes >= 0 && t->per_token_bytes >= 0)
        out->bytes = add_product(t->fixed_bytes, t->per_token_bytes, (int64_t)f->pos + f->width);
    return ERR_OK;
}

static const struct device_draft *find_draft(const struct device_processor *p, const char *name)
{
    for (int32_t i = 0; name && i < p->n_drafts; i++)
        if (!strcmp(p->draft[i].name, name))
            return &p->draft[i];
    return NULL;
}

static int cost_draft(const struct steps *s, int32_t processor, int32_t drafter,
                      const struct draft_work *work, struct cost *out, struct err *e)
{
    const struct device_processor *p = &s->d->processor[processor];
    bool known = drafter >= 0 && drafter < EXEC_MAX_DRAFTERS;
    const struct device_draft *d = known ? s->draft[processor][drafter] : NULL;
    const char *name = known ? s->drafter[drafter] : NULL;
    assert(work);
    if (d) {
        int64_t k = add_product(0, d->kprobe_ns, work->probes);
        k = add_product(k, d->knode_ns, work->nodes);
        k = add_product(k, d->ktoken_ns, work->tokens);
        out->alone_ns = add_product(d->fixed_ns, 1, (k + 500) / 1000);
        return ERR_OK;
    }
    return err_set(e, ERR_UNSUPPORTED,
                   "device '%s' has no drafting cost for '%s' on '%s': profile it, or add it under "
                   "processors.%s.draft",
                   s->d->name, name ? name : "?", p->name, p->name);
}

static int fixed_cost(const struct steps *s, const struct device_processor *p, int64_t ns,
                      const char *what, struct cost *out, struct err *e)
{
    out->alone_ns = ns;
    if (ns >= 0)
        return ERR_OK;
    return err_set(e, ERR_UNSUPPORTED,
                   "device '%s' does not know the time of a %s on '%s': set "
                   "processors.%s.commit.%s",
                   s->d->name, what, p->name, p->name, what);
}

static bool keeps_chain(const struct job_commit *c)
{
    for (int32_t i = 0; c->row && i < c->n; i++)
        if (c->row[i] != i)
            return false;
    return true;
}

static int steps_job(const struct cost_model *m, const struct job *job,
                     const struct engine_state *state, const struct draft_work *work,
                     struct cost *out, struct err *e)
{
    const struct steps *s = steps_of(m);
    assert(job->role < s->n_roles);
    int32_t with = s->with[job->role];
    const struct device_processor *p = &s->d->processor[with];
    memset(out, 0, sizeof *out);
    switch (job->kind) {
    case JOB_FORWARD:
        return cost_forward(s, p, &s->costs[with], job, state, out, e);
    case JOB_DRAFT:
        return cost_draft(s, with, job->draft.drafter, work, out, e);
    case JOB_CALIBRATE:
        return cost_draft(s, with, job->calibrate.drafter, work, out, e);
    case JOB_COMMIT:
        return keeps_chain(&job->commit) ? fixed_cost(s, p, p->commit_chain_ns, "chain", out, e)
                                         : fixed_cost(s, p, p->commit_tree_ns, "tree", out, e);
    case JOB_COPY:
        return fixed_cost(s, p, p->copy_ns, "copy", out, e);
    default:
        return err_set(e, ERR_UNSUPPORTED,
                       "device '%s' has whole-step tables only: no head, load or free jobs",
                       s->d->name);
    }
}

static void steps_host(const struct cost_model *m, struct cost_host *out)
{
    *out = steps_of(m)->d->host;
}

static int32_t steps_processors(const struct cost_model *m, const struct cost_processor **out)
{
    *out = steps_of(m)->list;
    return steps_of(m)->d->n_processors;
}

static int32_t steps_processor_of(const struct cost_model *m, int32_t role)
{
    assert(role >= 0 && role < steps_of(m)->n_roles);
    return steps_of(m)->role[role];
}

static int64_t steps_bus(const struct cost_model *m)
{
    int64_t v = steps_of(m)->d->dram_bytes_per_s;
    return v > 0 ? v : 0;
}

static const struct cost_ops ops = {
    .abi = COST_ABI,
    .size = sizeof(struct cost_ops),
    .name = "steps",
    .caps = steps_caps,
    .job = steps_job,
    .host = steps_host,
    .processors = steps_processors,
    .processor_of = steps_processor_of,
    .bus_bytes_per_s = steps_bus,
};

static int prepare(struct costs *c, const struct device_processor *p,
                   const struct device_options *opt, struct arena *arena, struct err *e)
{
    char what[200];
    if (c->ready)
        return ERR_OK;
    snprintf(what, sizeof what, "step table of '%s'", p->name);
    if (!p->step.n_cells)
        return err_set(e, ERR_SCHEMA, "%s: it is empty: profile the device", what);
    int code = table_grid_build(&p->step, opt, true, what, arena, &c->step, e);
    c->has_prefill = p->prefill.n_cells > 0;
    snprintf(what, sizeof what, "prefill table of '%s'", p->name);
    if (!code && c->has_prefill)
        code = table_grid_build(&p->prefill, opt, false, what, arena, &c->prefill, e);
    c->has_all = p->prefill_all.n_cells > 0;
    snprintf(what, sizeof what, "prefill_all table of '%s'", p->name);
    if (!code && c->has_all)
        code = table_grid_build(&p->prefill_all, opt, false, what, arena, &c->all, e);
    c->ready = true;
    return code;
}

int device_cost_create(const struct device *d, const int32_t *role_processor, int32_t n_roles,
                       const struct device_options *opt, struct arena *arena,
                       const struct cost_model **out, struct err *e)
{
    assert(n_roles >= 0 && n_roles <= EXEC_MAX_ROLES);
    if (d->operators)
        return err_set(e, ERR_UNSUPPORTED,
                       "device '%s' has operators' times and no tables of whole steps: take a "
                       "profiled device, or look at its steps with tandem explain",
                       d->name);
    struct steps *s = arena_alloc(arena, 1, sizeof *s);
    if (!s)
        return err_set(e, ERR_NOMEM, "out of memory");
    s->base.ops = &ops;
    s->d = d;
    s->n_roles = n_roles;
    memcpy(s->drafter, opt->drafter, sizeof s->drafter);
    for (int32_t i = 0; i < d->n_processors; i++)
        s->list[i] = (struct cost_processor){d->processor[i].name, d->processor[i].active_mw,
                                             d->processor[i].idle_mw};
    for (int32_t r = 0; r < n_roles; r++) {
        int32_t p = role_processor[r];
        assert(p >= 0 && p < d->n_processors);
        s->role[r] = p;
        int32_t with = d->processor[p].same_as >= 0 ? d->processor[p].same_as : p;
        s->with[r] = with;
        for (int32_t i = 0; i < EXEC_MAX_DRAFTERS; i++)
            s->draft[with][i] = find_draft(&d->processor[with], opt->drafter[i]);
        int code = prepare(&s->costs[with], &d->processor[with], opt, arena, e);
        if (code)
            return code;
    }
    *out = &s->base;
    return ERR_OK;
}
