#include "hwmodels/phone.h"

#include <inttypes.h>
#include <string.h>

#include "hwmodels/explain.h"

enum { WIDE, NARROW, KINDS };

struct phone {
    const struct device *d;
    const struct model_desc *m;
    const struct phone_graphs *g;
    const struct phone_run *run;
    struct arena *arena;
    struct blocks_spec *out;
    int32_t role[EXEC_MAX_ROLES]; /* to the device's processor; -1: the storage */
    int32_t target, decode, draft;
    const struct roof_unit *unit; /* of the target */
};

static int32_t find_role(const struct phone_run *run, const char *name)
{
    for (int32_t r = 0; run->role[r]; r++)
        if (!strcmp(run->role[r], name))
            return r;
    return -1;
}

/* ---- roles ---------------------------------------------------------------------------------- */

static int one_role(const struct phone *p, const char *name, int32_t *processor, struct err *e)
{
    const char *const role[] = {name, NULL};
    return device_roles(p->d, role, p->run->map, processor, e);
}

static bool maps(const char *map, const char *role)
{
    size_t n = strlen(role);
    for (const char *at = map; at && (at = strstr(at, role)); at += n)
        if (at[n] == '=' && (at == map || strchr(" ,", at[-1])))
            return true;
    return false;
}

static int give_roles(struct phone *p, struct err *e)
{
    int rc = one_role(p, "target", &p->target, e);
    p->decode = p->target;
    p->draft = -1;
    if (!rc && maps(p->run->map, "decode"))
        rc = one_role(p, "decode", &p->decode, e);
    for (int32_t r = 0; !rc && p->run->role[r]; r++) {
        const char *name = p->run->role[r];
        if (!strcmp(name, "load"))
            p->role[r] = -1;
        else if (!strcmp(name, "decode"))
            p->role[r] = p->decode;
        else
            rc = one_role(p, name, &p->role[r], e);
        if (!strcmp(name, "draft"))
            p->draft = p->role[r];
    }
    if (!rc && find_role(p->run, "decode") < 0)
        p->decode = p->target;
    return rc;
}

static int64_t phase_mw(const struct device_processor *p, const struct ranged *of_phase)
{
    return of_phase->value >= 0 ? of_phase->value : p->active_mw;
}

/* The place of a processor in the list that the executor sees; -1 is the storage. */
static int32_t place(struct phone *p, int32_t processor)
{
    struct blocks_spec *s = p->out;
    int64_t load_mw = p->g->load_mw;
    struct cost_processor info = {"storage", load_mw, load_mw < 0 ? -1 : 0};
    if (processor >= 0) {
        const struct device_processor *of = &p->d->processor[processor];
        info = (struct cost_processor){of->name, phase_mw(of, &of->decode_mw), of->idle_mw};
    }
    for (int32_t i = 0; i < s->n_processors; i++)
        if (!strcmp(s->processor[i].name, info.name))
            return i;
    s->processor[s->n_processors] = info;
    return s->n_processors++;
}

static void list_processors(struct phone *p)
{
    p->out->n_processors = 0;
    for (int32_t r = 0; p->run->role[r]; r++)
        p->out->role[r] = place(p, p->role[r]);
}

/* ---- the target's graphs -------------------------------------------------------------------- */

static int find_unit(struct phone *p, struct err *e)
{
    const struct device_processor *of = &p->d->processor[p->target];
    const struct phone_graphs *g = p->g;
    p->unit = device_unit(of, g->backend, g->datatype);
    return p->unit ? ERR_OK
                   : err_set(e, ERR_SCHEMA,
                             "processor '%s' of device '%s' has no operators of backend '%s' and "
                             "datatype '%s': tandem explain lists what there is",
                             of->name, p->d->name, g->backend ? g->backend : "any",
                             g->datatype ? g->datatype : "any");
}

/* The unit of attention and the time of a crossing, where the layout has them. */
static int find_layout(const struct phone *p, struct graphs *to, const struct roof_unit **attention,
                       struct err *e)
{
    const struct phone_graphs *g = p->g;
    *attention = NULL;
    to->layout = g->layout;
    if (g->layout == LAYOUT_ONE)
        return ERR_OK;
    int32_t other = g->attention ? device_find(p->d, g->attention) : -1;
    *attention = other < 0 ? NULL : explain_attention(p->d, other, p->unit);
    if (!*attention)
        return err_set(e, ERR_SCHEMA,
                       "graphs.attention is '%s': with this layout, expected a processor of device "
                       "'%s' that has operators",
                       g->attention ? g->attention : "", p->d->name);
    char name[16];
    const struct platform_edge *sync =
        device_crossing(p->d, p->d->processor[p->target].kind, p->d->processor[other].kind, name);
    to->edge_ns = !sync ? -1 : g->sleeping ? sync->sleeping_ns.value : sync->polling_ns.value;
    return to->edge_ns >= 0
               ? ERR_OK
               : err_set(e, ERR_UNSUPPORTED,
                         "device '%s' does not know the time of a crossing between '%s' and '%s' "
                         "(%s of sync %s): set it, or take layout: one",
                         p->d->name, p->d->processor[other].name, p->d->processor[p->target].name,
                         g->sleeping ? "sleeping" : "polling", name);
}

static int64_t load_rate(const struct phone_graphs *from, const struct graphs *g)
{
    double bytes = 0;
    if (from->load_ns <= 0)
        return from->load_bytes_per_s;
    for (int32_t b = 0; b < g->n_blocks; b++)
        bytes += (double)(g->weight_bytes[b] + g->own_bytes[NARROW]);
    return (int64_t)(bytes * 1e9 / (double)from->load_ns + 0.5);
}

static int fill_graphs(struct phone *p, struct graphs *g, struct err *e)
{
    const struct phone_graphs *from = p->g;
    const int32_t width[] = {from->wide, from->narrow, from->wide, from->narrow};
    const int64_t pass_ns[] = {from->wide_ns, from->narrow_ns, from->wide_ns, from->narrow_ns};
    const struct roof_unit *attention;
    int rc = graphs_init(p->m, &p->unit->weights, from->blocks, width, 2 * KINDS, false, g, e);
    if (!rc)
        rc = find_layout(p, g, &attention, e);
    if (rc)
        return rc;
    for (int32_t i = 0; i < g->n_graphs; i++)
        g->own_bytes[i] =
            (i % KINDS == WIDE ? from->wide_bytes : from->narrow_bytes) / from->blocks;
    if (from->wide_ns > 0)
        graphs_given(pass_ns, g);
    else
        rc = graphs_compute(p->d, p->unit, attention, p->m, from->context, p->arena, g, e);
    if (!rc)
        graphs_load(&p->d->platform, from->read_bytes, load_rate(from, g), g);
    return rc ? rc : graphs_spec(p->d, g, p->out, e);
}

static int put_graphs(struct phone *p, struct err *e)
{
    const struct device_processor *of = &p->d->processor[p->target];
    struct graphs *g = arena_alloc(p->arena, 1, sizeof *g);
    if (!g)
        return err_set(e, ERR_NOMEM, "out of memory");
    int rc = fill_graphs(p, g, e);
    for (int32_t i = 0; !rc && i < g->n_graphs; i++) {
        p->out->graph[i].weights = i >= KINDS;
        p->out->graph[i].active_mw =
            phase_mw(of, i % KINDS == WIDE ? &of->prefill_mw : &of->decode_mw);
        blocks_spread(p->out->graph[i].free_ns, g->n_blocks, p->g->unload_ns);
    }
    return rc;
}

/* ---- steps without graphs ------------------------------------------------------------------- */

/* A step of all layers without the head, or the head alone (`rows` of it): the last layer with it
 * less the last layer. */
static int step_ns(const struct phone *p, const struct roof_unit *u, int32_t b0, int32_t rows,
                   int32_t context, int32_t head_rows, int64_t *ns, int64_t *bytes, struct err *e)
{
    struct explain_step x;
    struct ops_step s = {.b0 = b0,
                         .b1 = p->m->layers,
                         .rows = rows,
                         .context = context,
                         .head_rows = head_rows,
                         .weights = u->weights,
                         .head = u->weights,
                         .activation_bytes = u->activation_bytes,
                         .kv_bytes = u->kv_bytes};
    int rc = explain_step(p->d, u, NULL, p->m, &s, p->arena, &x, e);
    if (rc)
        return rc;
    *ns = x.ns;
    *bytes = x.bytes;
    p->out->extrapolated = p->out->extrapolated || x.extrapolated;
    if (x.known)
        return ERR_OK;
    const struct device_processor *of = explain_owner(p->d, u);
    return err_set(e, ERR_UNSUPPORTED,
                   "device '%s' does not know the time of a step of %" PRId32 " rows on '%s': set "
                   "what is null",
                   p->d->name, rows, of ? of->name : "?");
}

/* What `rows` rows of the head add. */
static int head_ns(const struct phone *p, const struct roof_unit *u, int32_t rows, int64_t *ns,
                   int64_t *bytes, struct err *e)
{
    int64_t without_ns, without_bytes;
    int32_t last = p->m->layers - 1;
    int rc = step_ns(p, u, last, rows, 0, rows, ns, bytes, e);
    if (!rc)
        rc = step_ns(p, u, last, rows, 0, 0, &without_ns, &without_bytes, e);
    if (!rc) {
        *ns -= without_ns;
        *bytes -= without_bytes;
    }
    return rc;
}

/* The first unit that has a whole step: some were measured at a few shapes. Where none has, the
 * first, whose error says what is missing. */
static const struct roof_unit *step_unit(const struct phone *p, const struct device_processor *of)
{
    for (int32_t i = 0; i < of->n_units; i++) {
        struct explain_step x;
        const struct roof_unit *u = &of->unit[i];
        struct ops_step s = {.b1 = p->m->layers,
                             .rows = 1,
                             .head_rows = 1,
                             .weights = u->weights,
                             .head = u->weights,
                             .activation_bytes = u->activation_bytes,
                             .kv_bytes = u->kv_bytes};
        if (!explain_step(p->d, u, NULL, p->m, &s, p->arena, &x, NULL) && x.known)
            return u;
    }
    return device_unit(of, NULL, NULL);
}

static int put_dynamic(struct phone *p, struct err *e)
{
    static const int32_t widths[] = {1,  2,  3,  4,  5,  6,  7,  8,   10,  12,  14,  16,
                                     20, 24, 28, 32, 40, 48, 64, 128, 256, 512, 1024};
    const struct device_processor *of = &p->d->processor[p->decode];
    struct blocks_dynamic *to = &p->out->dynamic;
    int rc = ERR_OK;
    if (of->kind == DEVICE_NPU)
        return ERR_OK;
    const struct roof_unit *u = p->decode == p->target ? p->unit : step_unit(p, of);
    if (!u)
        return err_set(e, ERR_SCHEMA, "processor '%s' of device '%s' has no operators", of->name,
                       p->d->name);
    to->context = p->g->context > 0 ? p->g->context : 1;
    to->active_mw = phase_mw(of, &of->decode_mw);
    for (size_t i = 0; i < sizeof widths / sizeof *widths && !rc; i++) {
        int32_t at = to->n_widths;
        if (widths[i] > p->d->max_rows)
            break;
        to->width[at] = widths[i];
        for (int k = 0; k < 2 && !rc; k++)
            rc = step_ns(p, u, 0, widths[i], k ? to->context : 0, 0, &to->ns[at][k],
                         &to->bytes[at][k], e);
        if (!rc)
            rc = head_ns(p, u, widths[i], &to->head_ns[at][0], &to->head_bytes, e);
        to->head_ns[at][1] = to->head_ns[at][0];
        to->n_widths += !rc;
    }
    /* weights in the form that this processor takes, beside the graphs' */
    if (p->decode != p->target)
        p->out->base_bytes += p->m->layers * model_layer_bytes(p->m, &u->weights) +
                              model_outer_bytes(p->m, &u->weights);
    return rc;
}

/* ---- drafting and the host ------------------------------------------------------------------ */

static const struct device_draft *known_draft(const struct device_processor *p, const char *name)
{
    for (int32_t i = 0; i < p->n_drafts; i++)
        if (!strcmp(p->draft[i].name, name))
            return &p->draft[i];
    return NULL;
}

/* One layer and the head for each node, as EAGLE drafts. */
static int put_model_draft(struct phone *p, struct blocks_draft *to, struct err *e)
{
    int64_t ns, bytes;
    const struct device_processor *of = &p->d->processor[p->draft];
    const struct roof_unit *u = p->draft == p->target ? p->unit : step_unit(p, of);
    if (!u)
        return err_set(e, ERR_SCHEMA, "processor '%s' of device '%s' has no operators", of->name,
                       p->d->name);
    int rc = step_ns(p, u, p->m->layers - 1, 1, p->g->context, 1, &ns, &bytes, e);
    *to = (struct blocks_draft){.knode_ns = 1000 * ns};
    p->out->base_bytes +=
        model_layer_bytes(p->m, &u->weights) + model_outer_bytes(p->m, &u->weights);
    return rc;
}

static int put_drafting(struct phone *p, const struct device *host, struct err *e)
{
    const struct device_processor *on = host && !host->operators ? device_costs_of(host, 0) : NULL;
    for (int32_t i = 0; i < p->run->n_drafters; i++) {
        const struct drafter_type *type = p->run->drafter[i];
        const struct device_draft *of = on ? known_draft(on, type->name) : NULL;
        struct blocks_draft *to = &p->out->draft[i];
        *to = (struct blocks_draft){.fixed_ns = -1};
        if (of)
            *to = (struct blocks_draft){of->fixed_ns, of->kprobe_ns, of->knode_ns, of->ktoken_ns};
        else if ((type->flags & DRAFTER_PARAMETRIC) && p->draft >= 0) {
            int rc = put_model_draft(p, to, e);
            if (rc)
                return rc;
        }
    }
    if (!on)
        return ERR_OK;
    p->out->host = host->host;
    p->out->commit_chain_ns = on->commit_chain_ns > 0 ? on->commit_chain_ns : 0;
    p->out->commit_tree_ns = on->commit_tree_ns > 0 ? on->commit_tree_ns : 0;
    return ERR_OK;
}

int phone_spec(const struct device *d, const struct device *host, const struct model_desc *m,
               const struct phone_graphs *g, const struct phone_run *run, struct arena *arena,
               struct blocks_spec *out, struct err *e)
{
    struct phone p = {.d = d, .m = m, .g = g, .run = run, .arena = arena, .out = out};
    *out = (struct blocks_spec){.name = d->name, .trees = true, .max_topk = run->max_topk};
    if (g->narrow > g->wide)
        return err_set(e, ERR_RANGE,
                       "graphs.narrow is %" PRId32 ", wider than graphs.wide, %" PRId32, g->narrow,
                       g->wide);
    int rc = give_roles(&p, e);
    if (rc)
        return rc;
    list_processors(&p);
    rc = find_unit(&p, e);
    out->base_bytes = g->base_bytes;
    if (!rc)
        out->base_bytes += m->kv_f16_bytes / 2 * p.unit->kv_bytes * g->context;
    if (!rc)
        rc = put_graphs(&p, e);
    if (!rc)
        rc = put_dynamic(&p, e);
    return rc ? rc : put_drafting(&p, host, e);
}
