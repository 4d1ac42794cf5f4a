#include "hwmodels/blocks.h"

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "hwmodels/thermal.h"
#include "sim/base/hash.h"
#include "sim/core/power.h"

enum { MAX_JOBS = 64, N_SLOTS = 2, CONTEXTS = 8 };

#define MOST (INT64_MAX / 1024)

struct blocks {
    struct cost_model base;
    struct blocks_spec s;
};

static const struct blocks_spec *spec_of(const struct cost_model *m)
{
    return &((const struct blocks *)m)->s;
}

static void blocks_caps(const struct cost_model *m, struct exec_caps *out)
{
    const struct blocks_spec *s = spec_of(m);
    *out = (struct exec_caps){.features = EXEC_BLOCKS | EXEC_GRAPHS | (s->trees ? EXEC_TREES : 0u) |
                                          (s->max_topk ? EXEC_CALIBRATES : 0u),
                              .blocks = s->n,
                              .max_ctx = s->max_ctx,
                              .max_seqs = 1,
                              .max_jobs = MAX_JOBS,
                              .max_topk = s->max_topk,
                              .n_slots = N_SLOTS,
                              .n_graphs = s->n_graphs};
    for (int32_t g = 0; g < s->n_graphs; g++) {
        out->graph_width[g] = s->graph[g].width;
        out->graph_weights[g] = s->graph[g].weights;
        if (s->graph[g].width > out->max_rows)
            out->max_rows = s->graph[g].width;
    }
    const struct blocks_dynamic *d = &s->dynamic;
    if (d->n_widths && d->width[d->n_widths - 1] > out->max_rows)
        out->max_rows = d->width[d->n_widths - 1];
}

/* ---- jobs ----------------------------------------------------------------------------------- */

static void add_head(const struct blocks_spec *s, const struct job_forward *f, struct cost *out)
{
    if (f->want == WANT_NONE)
        return;
    out->alone_ns += s->head_ns + (f->n - f->want_from) * s->head_row_ns;
    out->bytes += s->head_bytes;
}

/* The value at a width and a context, between the four around them. */
static int64_t between(const struct blocks_dynamic *d, const int64_t v[][2], int32_t width,
                       int32_t pos)
{
    int32_t i = 0;
    while (i + 1 < d->n_widths && d->width[i + 1] < width)
        i++;
    int32_t k = i + 1 < d->n_widths ? i + 1 : i, gap = d->width[k] - d->width[i];
    double x = gap ? (double)(width - d->width[i]) / gap : 0, y = (double)pos / d->context;
    double a = (double)v[i][0] + x * (double)(v[k][0] - v[i][0]);
    double b = (double)v[i][1] + x * (double)(v[k][1] - v[i][1]);
    return (int64_t)(a + y * (b - a) + 0.5);
}

static int cost_dynamic(const struct blocks_spec *s, const struct job *job, struct cost *out,
                        struct err *e)
{
    const struct job_forward *f = &job->forward;
    const struct blocks_dynamic *d = &s->dynamic;
    if (!d->n_widths || f->b0 || f->b1 != s->n || f->slot_out >= 0)
        return err_set(e, ERR_UNSUPPORTED,
                       d->n_widths ? "device '%s' runs whole steps on the dynamic graph: job "
                                     "%" PRId64 " is for a part of one"
                                   : "device '%s' runs static graphs only: job %" PRId64
                                     " is for graph 0",
                       s->name, job->id);
    out->alone_ns = between(d, d->ns, f->width, f->pos);
    out->bytes = between(d, d->bytes, f->width, f->pos);
    out->active_mw = d->active_mw;
    if (f->want != WANT_NONE) {
        out->alone_ns += between(d, d->head_ns, f->n - f->want_from, 0);
        out->bytes += d->head_bytes;
    }
    return ERR_OK;
}

static int cost_forward(const struct blocks_spec *s, const struct job *job, struct cost *out,
                        struct err *e)
{
    const struct job_forward *f = &job->forward;
    out->extrapolated = s->extrapolated;
    if (f->graph == 0)
        return cost_dynamic(s, job, out, e);
    if (f->graph < 1 || f->graph > s->n_graphs)
        return err_set(e, ERR_UNSUPPORTED,
                       "device '%s' has %" PRId32 " graphs: job %" PRId64 " is for graph %" PRId32,
                       s->name, s->n_graphs, job->id, f->graph);
    const struct blocks_graph *g = &s->graph[f->graph - 1];
    out->active_mw = g->active_mw;
    for (int32_t b = f->b0; b < f->b1; b++) {
        out->alone_ns += g->compute_ns[b];
        out->bytes += g->compute_bytes[b];
    }
    if (f->b1 == s->n && f->slot_out < 0)
        add_head(s, f, out);
    return ERR_OK;
}

/* Whether another graph has the block's weights resident. */
static bool attaches(const struct blocks_spec *s, const struct job_graph *g,
                     const struct cost_resident *r)
{
    int32_t weights = s->graph[g->graph - 1].weights;
    for (int32_t i = 0; r && weights && i < s->n_graphs; i++)
        if (i != g->graph - 1 && s->graph[i].weights == weights && r->block[i][g->block])
            return true;
    return false;
}

static bool keeps_chain(const struct job_commit *c)
{
    for (int32_t i = 0; c->row && i < c->n; i++)
        if (c->row[i] != i)
            return false;
    return true;
}

static int cost_draft(const struct blocks_spec *s, int32_t drafter, const struct draft_work *work,
                      struct cost *out, struct err *e)
{
    assert(work && drafter >= 0 && drafter < EXEC_MAX_DRAFTERS);
    const struct blocks_draft *d = &s->draft[drafter];
    if (d->fixed_ns < 0)
        return err_set(e, ERR_UNSUPPORTED,
                       "device '%s' does not know what drafter %" PRId32
                       " costs: name a device file that does as graphs.host",
                       s->name, drafter);
    out->alone_ns = d->fixed_ns + (d->kprobe_ns * work->probes + d->knode_ns * work->nodes +
                                   d->ktoken_ns * work->tokens + 500) /
                                      1000;
    return ERR_OK;
}

static int cost_job(const struct blocks_spec *s, const struct job *job,
                    const struct engine_state *state, const struct draft_work *work,
                    struct cost *out, struct err *e)
{
    const struct blocks_graph *g = NULL;
    *out = (struct cost){0};
    if (job->kind == JOB_LOAD || job->kind == JOB_FREE)
        g = &s->graph[job->graph.graph - 1];
    switch (job->kind) {
    case JOB_FORWARD:
        return cost_forward(s, job, out, e);
    case JOB_HEAD:
        add_head(s, &job->forward, out);
        return ERR_OK;
    case JOB_LOAD: {
        int32_t b = job->graph.block;
        bool there = attaches(s, &job->graph, state->resident);
        out->alone_ns = there ? g->attach_ns[b] : g->load_ns[b];
        out->bytes = there ? g->attach_bytes[b] : g->load_bytes[b];
        return ERR_OK;
    }
    case JOB_FREE:
        out->alone_ns = g->free_ns[job->graph.block];
        return ERR_OK;
    case JOB_COMMIT:
        out->alone_ns = keeps_chain(&job->commit) ? s->commit_chain_ns : s->commit_tree_ns;
        return ERR_OK;
    case JOB_DRAFT:
        return cost_draft(s, job->draft.drafter, work, out, e);
    case JOB_CALIBRATE:
        return cost_draft(s, job->calibrate.drafter, work, out, e);
    default:
        return err_set(e, ERR_UNSUPPORTED, "device '%s' copies no sequences", s->name);
    }
}

static int blocks_job(const struct cost_model *m, const struct job *job,
                      const struct engine_state *state, const struct draft_work *work,
                      struct cost *out, struct err *e)
{
    bool stored = job->kind == JOB_LOAD || job->kind == JOB_FREE;
    int rc = cost_job(spec_of(m), job, state, work, out, e);
    if (!rc && !stored && state->clock_permille > 0 && state->clock_permille < 1000) {
        out->alone_ns = out->alone_ns * 1000 / state->clock_permille;
        if (out->active_mw > 0)
            out->active_mw = out->active_mw * state->clock_permille / 1000;
    }
    return rc;
}

static void blocks_host(const struct cost_model *m, struct cost_host *out)
{
    *out = spec_of(m)->host;
}

static int32_t blocks_processors(const struct cost_model *m, const struct cost_processor **out)
{
    *out = spec_of(m)->processor;
    return spec_of(m)->n_processors;
}

static int32_t blocks_processor_of(const struct cost_model *m, int32_t role)
{
    assert(role >= 0 && role < EXEC_MAX_ROLES);
    return spec_of(m)->role[role];
}

static int64_t blocks_bus(const struct cost_model *m)
{
    return spec_of(m)->dram_bytes_per_s;
}

static int64_t blocks_bus_energy(const struct cost_model *m)
{
    return spec_of(m)->pj_per_byte;
}

static int32_t blocks_heat(const struct cost_model *m, struct cost_heat *h, int64_t mw, int64_t ns)
{
    const struct platform_thermal *t = &spec_of(m)->thermal;
    if (!thermal_known(t))
        return 1000;
    if (!h->known)
        thermal_init(t, h);
    thermal_advance(t, h, mw, ns, NULL);
    return (int32_t)thermal_speed(t, h);
}

/* ---- memory --------------------------------------------------------------------------------- */

/* Whether the weights of block b count with graph g: the first resident graph that shares them. */
static bool counts(const struct blocks_spec *s, const struct cost_resident *r, int32_t g, int32_t b)
{
    for (int32_t i = 0; s->graph[g].weights && i < g; i++)
        if (s->graph[i].weights == s->graph[g].weights && r->block[i][b])
            return false;
    return true;
}

static int64_t graph_bytes(const struct blocks_spec *s, const struct cost_resident *r, int32_t g)
{
    int64_t bytes = 0;
    for (int32_t b = 0; b < s->n; b++)
        if (r->block[g][b])
            bytes += s->graph[g].own_bytes[b] + (counts(s, r, g, b) ? s->weight_bytes[b] : 0);
    return bytes;
}

static void blocks_memory(const struct cost_model *m, const struct cost_resident *r,
                          struct cost_memory *out)
{
    const struct blocks_spec *s = spec_of(m);
    *out = (struct cost_memory){.limit_bytes = s->memory_bytes, .address_bytes = s->address_bytes};
    for (int32_t g = 0; g < s->n_graphs; g++)
        out->mapped_bytes += graph_bytes(s, r, g);
    out->used_bytes = s->base_bytes + out->mapped_bytes;
}

/* Appends to buf; what does not fit is cut. */
static void append(char *buf, size_t size, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

static void append(char *buf, size_t size, const char *fmt, ...)
{
    size_t at = strlen(buf);
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(buf + at, size - at, fmt, ap);
    va_end(ap);
}

static const char *blocks_memory_text(const struct cost_model *m, const struct cost_resident *r,
                                      char *buf, size_t size)
{
    const struct blocks_spec *s = spec_of(m);
    buf[0] = 0;
    append(buf, size, "base %" PRId64 " MB", s->base_bytes / 1000000);
    for (int32_t g = 0; g < s->n_graphs; g++) {
        bool first = true;
        for (int32_t b = 0, to; b < s->n; b = to + 1) {
            for (to = b; to < s->n && r->block[g][to]; to++)
                ;
            if (to == b)
                continue;
            if (first)
                append(buf, size, ", graph %" PRId32 " blocks", g + 1);
            append(buf, size, first ? " %" PRId32 : ",%" PRId32, b);
            if (to > b + 1)
                append(buf, size, "-%" PRId32, to - 1);
            first = false;
        }
        if (!first)
            append(buf, size, " %" PRId64 " MB", graph_bytes(s, r, g) / 1000000);
    }
    return buf;
}

static const struct cost_ops ops = {
    .abi = COST_ABI,
    .size = sizeof(struct cost_ops),
    .name = "blocks",
    .caps = blocks_caps,
    .job = blocks_job,
    .host = blocks_host,
    .processors = blocks_processors,
    .processor_of = blocks_processor_of,
    .bus_bytes_per_s = blocks_bus,
    .bus_pj_per_byte = blocks_bus_energy,
    .heat = blocks_heat,
    .memory = blocks_memory,
    .memory_text = blocks_memory_text,
};

/* ---- making one ----------------------------------------------------------------------------- */

static int check(const struct blocks_spec *s, const char *field, int64_t v, int64_t min,
                 int64_t max, struct err *e)
{
    if (v >= min && v <= max)
        return ERR_OK;
    return err_set(e, ERR_RANGE, "device '%s': %s is %" PRId64 ", expected %" PRId64 " to %" PRId64,
                   s->name, field, v, min, max);
}

static int check_array(const struct blocks_spec *s, const char *field, const int64_t *v,
                       struct err *e)
{
    int rc = ERR_OK;
    for (int32_t b = 0; !rc && b < s->n; b++)
        rc = check(s, field, v[b], 0, MOST, e);
    return rc;
}

static int check_graph(const struct blocks_spec *s, const struct blocks_graph *g, struct err *e)
{
    const struct {
        const char *field;
        const int64_t *v;
    } array[] = {{"compute_ns", g->compute_ns}, {"compute_bytes", g->compute_bytes},
                 {"load_ns", g->load_ns},       {"load_bytes", g->load_bytes},
                 {"attach_ns", g->attach_ns},   {"attach_bytes", g->attach_bytes},
                 {"free_ns", g->free_ns},       {"own_bytes", g->own_bytes}};
    int rc = check(s, "a graph's width", g->width, 1, 4096, e);
    if (!rc)
        rc = check(s, "a graph's weights", g->weights, 0, EXEC_MAX_GRAPHS, e);
    for (size_t i = 0; !rc && i < sizeof array / sizeof *array; i++)
        rc = check_array(s, array[i].field, array[i].v, e);
    return rc;
}

static int check_drafting(const struct blocks_spec *s, struct err *e)
{
    int rc = ERR_OK;
    for (int32_t i = 0; !rc && i < EXEC_MAX_DRAFTERS; i++) {
        const struct blocks_draft *d = &s->draft[i];
        rc = check(s, "a draft's fixed_ns", d->fixed_ns, -1, MOST, e);
        if (!rc)
            rc = check(s, "a draft's kprobe_ns", d->kprobe_ns, 0, INT32_MAX, e);
        if (!rc)
            rc = check(s, "a draft's knode_ns", d->knode_ns, 0, MOST / 4096, e);
        if (!rc)
            rc = check(s, "a draft's ktoken_ns", d->ktoken_ns, 0, INT32_MAX, e);
    }
    return rc;
}

static int check_dynamic(const struct blocks_spec *s, struct err *e)
{
    const struct blocks_dynamic *d = &s->dynamic;
    int rc = check(s, "dynamic.n_widths", d->n_widths, 0, BLOCKS_MAX_WIDTHS, e);
    if (rc || !d->n_widths)
        return rc;
    rc = check(s, "dynamic.context", d->context, 1, INT32_MAX, e);
    for (int32_t i = 0; !rc && i < d->n_widths; i++) {
        rc = check(s, "a dynamic width", d->width[i], i ? d->width[i - 1] + 1 : 1, i ? 4096 : 1, e);
        for (int k = 0; !rc && k < 2; k++) {
            rc = check(s, "dynamic.ns", d->ns[i][k], 0, MOST, e);
            if (!rc)
                rc = check(s, "dynamic.head_ns", d->head_ns[i][k], 0, MOST, e);
            if (!rc)
                rc = check(s, "dynamic.bytes", d->bytes[i][k], 0, MOST, e);
        }
    }
    return rc;
}

static int check_spec(const struct blocks_spec *s, struct err *e)
{
    const struct {
        const char *field;
        int64_t v, min, max;
    } one[] = {{"n", s->n, 1, BELIEF_MAX_BLOCKS},
               {"n_graphs", s->n_graphs, 1, EXEC_MAX_GRAPHS},
               {"base_bytes", s->base_bytes, 0, MOST},
               {"memory_bytes", s->memory_bytes, 0, MOST},
               {"address_bytes", s->address_bytes, 0, MOST},
               {"head_ns", s->head_ns, 0, MOST},
               {"head_row_ns", s->head_row_ns, 0, MOST / 4096},
               {"head_bytes", s->head_bytes, 0, MOST},
               {"commit_chain_ns", s->commit_chain_ns, 0, MOST},
               {"commit_tree_ns", s->commit_tree_ns, 0, MOST},
               {"pj_per_byte", s->pj_per_byte, 0, POWER_MAX_MW},
               {"dram_bytes_per_s", s->dram_bytes_per_s, 0, MOST},
               {"max_ctx", s->max_ctx, 1, INT32_MAX},
               {"max_topk", s->max_topk, 0, 4096},
               {"n_processors", s->n_processors, 1, EXEC_MAX_ROLES}};
    int rc = ERR_OK;
    for (size_t i = 0; !rc && i < sizeof one / sizeof *one; i++)
        rc = check(s, one[i].field, one[i].v, one[i].min, one[i].max, e);
    for (int32_t r = 0; !rc && r < EXEC_MAX_ROLES; r++)
        rc = check(s, "a role's processor", s->role[r], 0, s->n_processors - 1, e);
    if (!rc)
        rc = check_array(s, "weight_bytes", s->weight_bytes, e);
    if (!rc)
        rc = check_drafting(s, e);
    if (!rc)
        rc = check_dynamic(s, e);
    for (int32_t g = 0; !rc && g < s->n_graphs; g++)
        rc = check_graph(s, &s->graph[g], e);
    return rc;
}

int blocks_cost_create(const struct blocks_spec *spec, struct arena *arena,
                       const struct cost_model **out, struct err *e)
{
    int rc = check_spec(spec, e);
    if (rc)
        return rc;
    struct blocks *b = arena_alloc(arena, 1, sizeof *b);
    if (!b)
        return err_set(e, ERR_NOMEM, "out of memory");
    b->base.ops = &ops;
    b->s = *spec;
    *out = &b->base;
    return ERR_OK;
}

/* ---- belief --------------------------------------------------------------------------------- */

static int64_t believed(int64_t ns, double scale, const struct blocks_error *how, uint64_t key)
{
    if (!how)
        return ns;
    double u = 2 * rng_unit(rng_u64(how->seed, RNG_BELIEF, 1, key)) - 1;
    double v = (double)ns * scale * (1 + how->noise_pct / 100 * u);
    v *= how->scale > 0 ? how->scale : 1;
    return v < 4e18 ? (int64_t)(v + 0.5) : INT64_MAX / 2;
}

/* The dynamic graph's steps, an output of every row, at contexts up to its own. */
static void believe_dynamic(const struct blocks_spec *s, const struct blocks_error *how,
                            struct belief *out)
{
    const struct blocks_dynamic *d = &s->dynamic;
    out->n_widths = d->n_widths;
    out->n_contexts = d->context < CONTEXTS ? d->context : CONTEXTS;
    for (int32_t c = 0; c < out->n_contexts; c++)
        out->context[c] = (int32_t)((int64_t)d->context * (c + 1) / out->n_contexts);
    for (int32_t i = 0; i < d->n_widths; i++) {
        int32_t width = out->width[i] = d->width[i];
        for (int32_t c = 0; c < out->n_contexts; c++) {
            int64_t ns =
                between(d, d->ns, width, out->context[c]) + between(d, d->head_ns, width, 0);
            out->step_ns[i][c] = believed(ns, 1, how, (uint64_t)width << 32 | (uint32_t)c);
        }
    }
}

/* A step of the graph g, its head with one row. */
static void believe_graph(const struct blocks_spec *s, int32_t g, struct belief *out)
{
    int64_t step_ns = s->head_ns + s->head_row_ns;
    int32_t width = s->graph[g].width, at = 0;
    for (int32_t b = 0; b < s->n; b++)
        step_ns += out->block_ns[g][b];
    while (at < out->n_widths && out->width[at] < width)
        at++;
    bool there = at < out->n_widths && out->width[at] == width;
    for (int32_t i = out->n_widths; !there && i > at; i--) {
        out->width[i] = out->width[i - 1];
        out->step_ns[i][0] = out->step_ns[i - 1][0];
    }
    out->n_widths += !there;
    out->width[at] = width;
    if (!there || step_ns < out->step_ns[at][0])
        out->step_ns[at][0] = step_ns;
}

void blocks_belief(const struct blocks_spec *s, int32_t wide, int32_t narrow,
                   const struct blocks_error *how, struct belief *out)
{
    memset(out, 0, sizeof *out);
    out->n_blocks = s->n;
    out->n_contexts = 1;
    for (int32_t b = 0; b < s->n; b++) {
        int64_t ns = s->graph[wide - 1].free_ns[b] + s->graph[narrow - 1].load_ns[b];
        out->load_ns[b] = believed(ns, how ? how->load_scale : 1, how, (uint64_t)b);
    }
    for (int32_t g = 0; g < s->n_graphs; g++) {
        for (int32_t b = 0; b < s->n; b++) {
            uint64_t key = (uint64_t)(g + 1) << 32 | (uint32_t)b;
            out->block_ns[g][b] = believed(s->graph[g].compute_ns[b], 1, how, key);
        }
        if (!s->dynamic.n_widths)
            believe_graph(s, g, out);
    }
    if (s->dynamic.n_widths)
        believe_dynamic(s, how, out);
}

void blocks_spread(int64_t *array, int32_t n, int64_t total)
{
    for (int32_t i = 0; i < n; i++)
        array[i] = total / n + (i < total % n);
}
