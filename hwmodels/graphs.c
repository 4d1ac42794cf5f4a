#include "hwmodels/graphs.h"

#include <inttypes.h>
#include <string.h>

#include "hwmodels/explain.h"

int graphs_init(const struct model_desc *m, const struct model_type *weights, int32_t n_blocks,
                const int32_t *width, int32_t n_graphs, bool shared_weights, struct graphs *out,
                struct err *e)
{
    memset(out, 0, sizeof *out);
    if (n_graphs < 1 || n_graphs > GRAPHS_MAX)
        return err_set(e, ERR_RANGE, "%" PRId32 " graphs: expected 1 to %d", n_graphs, GRAPHS_MAX);
    if (n_blocks < 1 || n_blocks > GRAPHS_MAX_BLOCKS || n_blocks > m->layers)
        return err_set(e, ERR_RANGE,
                       "%" PRId32 " blocks: expected 1 to %d, and at most %" PRId32 " layers",
                       n_blocks, GRAPHS_MAX_BLOCKS, m->layers);
    for (int32_t i = 0; i < n_graphs; i++)
        if (width[i] < 1)
            return err_set(e, ERR_RANGE, "a graph of width %" PRId32 ": expected 1 or more",
                           width[i]);
    out->n_graphs = n_graphs;
    out->n_blocks = n_blocks;
    out->shared_weights = shared_weights;
    memcpy(out->width, width, (size_t)n_graphs * sizeof *width);
    int32_t each = m->layers / n_blocks, more = m->layers % n_blocks;
    for (int32_t b = 0; b < n_blocks; b++) {
        int32_t layers = each + (b < more);
        out->first_layer[b + 1] = out->first_layer[b] + layers;
        out->weight_bytes[b] = layers * model_layer_bytes(m, weights);
    }
    int64_t outer = model_outer_bytes(m, weights);
    int64_t table = m->tied_embeddings ? 0 : m->vocabulary * model_type_bytes(weights, m->d_model);
    out->weight_bytes[0] += table;
    out->weight_bytes[n_blocks - 1] += outer - table;
    out->head_ns = out->head_row_ns = -1;
    for (int32_t g = 0; g < n_graphs; g++)
        for (int32_t b = 0; b < n_blocks; b++)
            out->compute_ns[g][b] = out->load_ns[g][b] = out->attach_ns[g][b] = -1;
    return ERR_OK;
}

static struct ops_step step_of(const struct roof_unit *u, int32_t rows, int32_t context)
{
    return (struct ops_step){.rows = rows,
                             .context = context,
                             .weights = u->weights,
                             .head = u->weights,
                             .activation_bytes = u->activation_bytes,
                             .kv_bytes = u->kv_bytes};
}

/* The last norm and the head at so many rows: the last layer's step less the same without them. */
static int head_at(const struct device *d, const struct roof_unit *u, const struct model_desc *m,
                   int32_t rows, struct arena *arena, struct graphs *g, int64_t *ns, struct err *e)
{
    struct ops_step s = step_of(u, rows, 0);
    struct explain_step x;
    s.b0 = m->layers - 1;
    s.b1 = m->layers;
    s.head_rows = rows;
    int code = explain_step(d, u, NULL, m, &s, arena, &x, e);
    *ns = 0;
    for (int32_t i = 0; i < x.n && !code; i++) {
        const struct explain_row *row = &x.row[i];
        if (row->op.layer >= 0 || row->op.kind == OP_EMBED)
            continue;
        *ns = *ns < 0 || !row->time.known ? -1 : *ns + row->time.ns;
        g->extrapolated = g->extrapolated || row->time.extrapolated;
        if (row->op.kind == OP_MATMUL)
            g->head_bytes = row->time.bytes;
    }
    return code;
}

static int head_line(const struct device *d, const struct roof_unit *u, const struct model_desc *m,
                     struct arena *arena, struct graphs *g, struct err *e)
{
    int32_t widest = 1;
    int64_t one, all;
    for (int32_t i = 0; i < g->n_graphs; i++)
        widest = g->width[i] > widest ? g->width[i] : widest;
    int code = head_at(d, u, m, 1, arena, g, &one, e);
    if (!code)
        code = head_at(d, u, m, widest, arena, g, &all, e);
    if (code)
        return code;
    bool known = one >= 0 && all >= 0;
    g->head_row_ns = !known ? -1 : widest > 1 && all > one ? (all - one) / (widest - 1) : 0;
    g->head_ns = !known ? -1 : one - g->head_row_ns;
    if (known && g->head_ns < 0) { /* the first row costs no more than others */
        g->head_ns = 0;
        g->head_row_ns = all / widest;
    }
    return ERR_OK;
}

static int64_t pass_ns(const struct graphs *g, const struct explain_step *x, int32_t graph,
                       int32_t layers)
{
    struct layout_times t;
    struct layout_result r;
    int32_t widest = 1;
    if (g->layout == LAYOUT_ONE)
        return x->ns;
    for (int32_t i = 0; i < g->n_graphs; i++)
        widest = g->width[i] > widest ? g->width[i] : widest;
    layout_of_step(x, layers, &t);
    t.edge_ns = g->edge_ns;
    if (g->layout == LAYOUT_PAIRS && g->width[graph] == widest) {
        layout_run(&t, LAYOUT_PAIRS, &r);
        return r.ns < 0 ? -1 : (r.ns + 1) / 2;
    }
    layout_run(&t, LAYOUT_ALTERNATING, &r);
    return r.ns;
}

int graphs_compute(const struct device *d, const struct roof_unit *u,
                   const struct roof_unit *attention, const struct model_desc *m, int32_t context,
                   struct arena *arena, struct graphs *g, struct err *e)
{
    for (int32_t i = 0; i < g->n_graphs; i++)
        for (int32_t b = 0; b < g->n_blocks; b++) {
            struct ops_step s = step_of(u, g->width[i], context);
            struct explain_step x;
            s.b0 = g->first_layer[b];
            s.b1 = g->first_layer[b + 1];
            int code = explain_step(d, u, attention, m, &s, arena, &x, e);
            if (code)
                return code;
            g->compute_ns[i][b] = pass_ns(g, &x, i, s.b1 - s.b0);
            g->compute_bytes[i][b] = x.bytes;
            g->extrapolated = g->extrapolated || x.extrapolated;
        }
    return head_line(d, u, m, arena, g, e);
}

void graphs_given(const int64_t *pass_ns, struct graphs *g)
{
    int32_t layers = g->first_layer[g->n_blocks];
    for (int32_t i = 0; i < g->n_graphs; i++)
        for (int32_t b = 0; b < g->n_blocks; b++) {
            g->compute_ns[i][b] = pass_ns[i] * g->first_layer[b + 1] / layers -
                                  pass_ns[i] * g->first_layer[b] / layers;
            g->compute_bytes[i][b] = g->weight_bytes[b];
        }
    g->head_ns = g->head_row_ns = g->head_bytes = 0;
}

static int64_t read_ns(int64_t bytes, int64_t rate)
{
    return rate > 0 ? (int64_t)((double)bytes * 1e9 / (double)rate + 0.5) : -1;
}

void graphs_load(const struct platform *p, int64_t read_bytes, int64_t bytes_per_s,
                 struct graphs *g)
{
    int64_t rate = bytes_per_s > 0
                       ? bytes_per_s
                       : platform_storage_rate(&p->storage, read_bytes, &g->extrapolated);
    int64_t bus = p->bus.dram_bytes_per_s.value;
    if (bus > 0 && rate > bus)
        rate = bus;
    for (int32_t i = 0; i < g->n_graphs; i++)
        for (int32_t b = 0; b < g->n_blocks; b++) {
            g->load_ns[i][b] = read_ns(g->weight_bytes[b] + g->own_bytes[i], rate);
            g->attach_ns[i][b] = read_ns(g->own_bytes[i], rate);
        }
}

static int64_t or_none(int64_t v)
{
    return v > 0 ? v : 0;
}

int graphs_spec(const struct device *d, const struct graphs *g, struct blocks_spec *out,
                struct err *e)
{
    if (g->head_ns < 0)
        return err_set(e, ERR_UNSUPPORTED, "device '%s' does not know the time of the head",
                       d->name);
    out->n = g->n_blocks;
    out->n_graphs = g->n_graphs;
    out->extrapolated = g->extrapolated;
    for (int32_t i = 0; i < g->n_graphs; i++) {
        struct blocks_graph *to = &out->graph[i];
        to->width = g->width[i];
        to->weights = g->shared_weights ? 1 : 0;
        for (int32_t b = 0; b < g->n_blocks; b++) {
            if (g->compute_ns[i][b] < 0 || g->load_ns[i][b] < 0)
                return err_set(e, ERR_UNSUPPORTED,
                               "device '%s' does not know the time of a %s of block %" PRId32
                               " at width %" PRId32 ": set what is null",
                               d->name, g->compute_ns[i][b] < 0 ? "pass" : "load", b, g->width[i]);
            to->compute_ns[b] = g->compute_ns[i][b];
            to->compute_bytes[b] = g->compute_bytes[i][b];
            to->load_ns[b] = g->load_ns[i][b];
            to->load_bytes[b] = g->weight_bytes[b] + g->own_bytes[i];
            to->attach_ns[b] = g->attach_ns[i][b];
            to->attach_bytes[b] = to->own_bytes[b] = g->own_bytes[i];
            out->weight_bytes[b] = g->weight_bytes[b];
        }
    }
    out->head_ns = g->head_ns;
    out->head_row_ns = g->head_row_ns;
    out->head_bytes = g->head_bytes;
    out->memory_bytes = or_none(d->platform.memory.dram_bytes.value);
    out->address_bytes = or_none(d->platform.memory.npu_space_bytes.value);
    out->dram_bytes_per_s = or_none(d->platform.bus.dram_bytes_per_s.value);
    out->pj_per_byte = or_none(d->platform.bus.pj_per_byte.value);
    out->thermal = d->platform.thermal;
    out->max_ctx = d->max_ctx;
    return ERR_OK;
}
