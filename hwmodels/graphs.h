/* Static graphs: a model cut into blocks of layers, compiled at one or more widths.
 *
 * A graph runs a block only when it is resident. Its weights are copied per graph or shared between
 * the graphs of a block; what a graph needs besides (`own_bytes`) is never shared. Loading reads
 * the bytes from storage and puts them on the bus. */
#ifndef TANDEM_HWMODELS_GRAPHS_H
#define TANDEM_HWMODELS_GRAPHS_H

#include "hwmodels/blocks.h"
#include "hwmodels/device.h"
#include "hwmodels/layout.h"

enum { GRAPHS_MAX = 8, GRAPHS_MAX_BLOCKS = 64 };

struct graphs {
    int32_t n_graphs, n_blocks;
    int32_t width[GRAPHS_MAX];
    int32_t first_layer[GRAPHS_MAX_BLOCKS + 1]; /* block b is layers [first[b], first[b + 1]) */
    int64_t weight_bytes[GRAPHS_MAX_BLOCKS];    /* embeddings in the first, head in the last */
    int64_t own_bytes[GRAPHS_MAX];              /* of a graph's every block, besides weights */
    bool shared_weights;
    enum layout layout; /* of a pass; PAIRS: of the widest graphs' alone, half a pair's time each */
    int64_t edge_ns;    /* a crossing between processors, in the layouts that have them; -1 */
    int64_t compute_ns[GRAPHS_MAX][GRAPHS_MAX_BLOCKS]; /* a pass, no head; -1: not known */
    int64_t compute_bytes[GRAPHS_MAX][GRAPHS_MAX_BLOCKS];
    int64_t head_ns, head_row_ns, head_bytes;         /* the head: per job, per row; -1 */
    int64_t load_ns[GRAPHS_MAX][GRAPHS_MAX_BLOCKS];   /* weights and own bytes, alone; -1 */
    int64_t attach_ns[GRAPHS_MAX][GRAPHS_MAX_BLOCKS]; /* own bytes alone; -1 */
    bool extrapolated;
};

/* The layers in n_blocks parts as equal as can be, the first ones larger; every size from the
 * model and the type of weights. With tied embeddings the table is counted once, in the last block.
 * ERR_RANGE for counts outside 1 .. GRAPHS_MAX (_BLOCKS), more blocks than layers, widths
 * below 1. */
int graphs_init(const struct model_desc *m, const struct model_type *weights, int32_t n_blocks,
                const int32_t *width, int32_t n_graphs, bool shared_weights, struct graphs *out,
                struct err *e);

/* Fills compute_ns and _bytes with a pass of each graph, laid out as `layout` says, at `context`
 * cached tokens by the unit's rooflines (attention by `attention` where that is not NULL), and the
 * head's times with the line through one row and the widest graph's rows. ERR_NOMEM. */
int graphs_compute(const struct device *d, const struct roof_unit *u,
                   const struct roof_unit *attention, const struct model_desc *m, int32_t context,
                   struct arena *arena, struct graphs *g, struct err *e);

/* The same from pass_ns[graph], what others measured of all layers and the head at once: every
 * layer takes as long, weights are what moves, and the head costs nothing more. */
void graphs_given(const int64_t *pass_ns, struct graphs *g);

/* Fills load_ns and attach_ns at the storage's rate for reads of read_bytes, at bytes_per_s where
 * that is above 0, or at the bus's where it is less; -1 where none is known. */
void graphs_load(const struct platform *p, int64_t read_bytes, int64_t bytes_per_s,
                 struct graphs *g);

/* The same as the cost model of static graphs takes it (blocks.h): widths, times, bytes, weights,
 * limits and bus of the device. Nothing else of *out is touched: it comes with name, roles,
 * processors, host, commit and drafting times, own times of freeing and base_bytes.
 * ERR_UNSUPPORTED names what is not known. */
int graphs_spec(const struct device *d, const struct graphs *g, struct blocks_spec *out,
                struct err *e);

#endif
