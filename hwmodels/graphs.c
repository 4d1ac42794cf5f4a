#include "hwmodels/graphs.h"

#include <inttypes.h>
#include <stdio.h>
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
        out->load_ns[b] = -1;
    }
    int64_t outer = model_outer_bytes(m, weights), table = m->tied_embeddings ? 0 : outer / 2;
    out->weight_bytes[0] += table;
    out->weight_bytes[n_blocks - 1] += outer - table;
    for (int32_t g = 0; g < n_graphs; g++)
        for (int32_t b = 0; b < n_blocks; b++)
            out->compute_ns[g][b] = -1;
    return ERR_OK;
}

int graphs_compute(const struct device *d, const struct roof_unit *u,
                   const struct roof_unit *attention, const struct model_desc *m, int32_t context,
                   struct arena *arena, struct graphs *g, struct err *e)
{
    for (int32_t i = 0; i < g->n_graphs; i++)
        for (int32_t b = 0; b < g->n_blocks; b++) {
            bool last = b == g->n_blocks - 1;
            struct ops_step s = {.b0 = g->first_layer[b],
                                 .b1 = g->first_layer[b + 1],
                                 .rows = g->width[i],
                                 .context = context,
                                 .head_rows = last ? g->width[i] : 0,
                                 .weights = u->weights,
                                 .head = u->weights,
                                 .activation_bytes = u->activation_bytes,
                                 .kv_bytes = u->kv_bytes};
            struct explain_step x;
            int code = explain_step(d, u, attention, m, &s, arena, &x, e);
            if (code)
                return code;
            g->compute_ns[i][b] = x.ns;
            g->extrapolated = g->extrapolated || x.extrapolated;
        }
    return ERR_OK;
}

void graphs_load(const struct platform *p, int32_t graph, int64_t read_bytes, struct graphs *g)
{
    int64_t rate = platform_storage_rate(&p->storage, read_bytes, &g->extrapolated);
    int64_t bus = p->bus.dram_bytes_per_s.value;
    if (bus > 0 && (rate < 0 || rate > bus))
        rate = rate < 0 ? -1 : bus;
    for (int32_t b = 0; b < g->n_blocks; b++) {
        double bytes = (double)(g->weight_bytes[b] + g->own_bytes[graph]);
        g->load_ns[b] = rate > 0 ? (int64_t)(bytes * 1e9 / (double)rate + 0.5) : -1;
    }
}

int64_t graphs_resident(const struct graphs *g, bool resident[GRAPHS_MAX][GRAPHS_MAX_BLOCKS])
{
    int64_t sum = 0;
    for (int32_t b = 0; b < g->n_blocks; b++) {
        int32_t copies = 0;
        for (int32_t i = 0; i < g->n_graphs; i++)
            if (resident[i][b]) {
                copies++;
                sum += g->own_bytes[i];
            }
        sum += g->weight_bytes[b] * (g->shared_weights ? copies > 0 : copies);
    }
    return sum;
}

/* "width 256: blocks 0 1 2; width 32: block 3" */
static void list(const struct graphs *g, bool resident[GRAPHS_MAX][GRAPHS_MAX_BLOCKS], char *buf,
                 size_t size)
{
    size_t at = 0;
    *buf = 0;
    for (int32_t i = 0; i < g->n_graphs && at < size; i++) {
        int32_t n = 0;
        for (int32_t b = 0; b < g->n_blocks && at < size; b++)
            if (resident[i][b]) {
                if (!n++)
                    at += (size_t)snprintf(buf + at, size - at, "%swidth %" PRId32 ": blocks",
                                           at ? "; " : "", g->width[i]);
                if (at < size)
                    at += (size_t)snprintf(buf + at, size - at, " %" PRId32, b);
            }
    }
}

int graphs_fit(const struct platform *p, const struct graphs *g,
               bool resident[GRAPHS_MAX][GRAPHS_MAX_BLOCKS], int64_t other_bytes, struct err *e)
{
    char what[400];
    int64_t bytes = graphs_resident(g, resident);
    int64_t space = p->memory.npu_space_bytes.value, dram = p->memory.dram_bytes.value;
    list(g, resident, what, sizeof what);
    if (space >= 0 && bytes > space)
        return err_set(e, ERR_LIMIT,
                       "graphs of %.2f GB do not fit the NPU's address space of %.2f GB; resident: "
                       "%s: share weights, free blocks or take a smaller model",
                       (double)bytes / 1e9, (double)space / 1e9, what);
    if (dram >= 0 && (other_bytes > dram || bytes > dram - other_bytes))
        return err_set(
            e, ERR_LIMIT,
            "graphs of %.2f GB and %.2f GB besides do not fit %.2f GB of memory; resident: "
            "%s: share weights, free blocks or take a smaller model",
            (double)bytes / 1e9, (double)other_bytes / 1e9, (double)dram / 1e9, what);
    return ERR_OK;
}
