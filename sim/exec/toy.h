/* The toy engine: a hash language model that takes wall-clock time on real threads and implements
 * the whole vocabulary of exec.h: blocks, graphs, trees, load and free, copies, top-k. It keeps
 * concurrency honest beside the engines that need weights.
 *
 * The token after a text is a function of its last few tokens, with a small vocabulary, so that
 * texts repeat themselves and drafters find something. A row's activation is a hash that every
 * block changes: a block left out, done twice, run on the wrong rows or on a cache that a COMMIT
 * should have cleaned gives other tokens, so a scheduling error shows as a wrong text. What no
 * engine could compute (a block that is not loaded, a width that is not the graph's, a position
 * that is not what a block has cached, a slot without the rows, two jobs on one cache at once) is
 * DONE_FAILED with the reason; a sequence that outgrows max_ctx is DONE_NO_MEMORY.
 *
 * Slots. A FORWARD or HEAD reads the rows [pos, pos + n), which may be a part of what the slot
 * holds. Rows written where the slot's end, for the same block, are added to it; others replace
 * what it held. */
#ifndef TANDEM_EXEC_TOY_H
#define TANDEM_EXEC_TOY_H

#include "sim/exec/engine.h"

struct toy_options {
    int32_t blocks;  /* >= 1 */
    int32_t n_vocab; /* >= 2; token 0 ends the text with probability about eos_per_mille / 1000 */
    int32_t eos_per_mille;
    int32_t order; /* the next token depends on so many last tokens, 1 .. 8: on the last one whole,
                      on those before it modulo 3 */
    int32_t max_ctx, max_seqs, max_rows, max_topk;
    int32_t n_graphs;
    int32_t graph_width[EXEC_MAX_GRAPHS];
    int32_t graph_weights[EXEC_MAX_GRAPHS]; /* as in struct exec_caps */
    int64_t block_ns, row_ns, load_ns;      /* time spent per block, per row and block, per LOAD */
    uint64_t seed;
};

/* Reasonable values: 6 blocks, 64 tokens, order 3, graphs 256 and 32 wide, tens of microseconds. */
void toy_defaults(struct toy_options *o);

/* ERR_RANGE names the option; ERR_NOMEM. */
int toy_create(const struct toy_options *o, struct engine **out, struct err *e);

/* The token that the toy says after `text`: for tests, and for a truth that matches it. */
int32_t toy_next(const struct toy_options *o, const int32_t *text, int32_t n);

#endif
