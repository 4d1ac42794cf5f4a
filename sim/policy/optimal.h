/* The best schedule of graph switches with chunks in turn, for comparison: it knows every time
 * exactly, so it exists in simulation only (experiments/reproduce_switching.c), and is no policy.
 *
 * The problem. A prompt of C chunks goes through N blocks; cell (c, b) is chunk c on block b. Cells
 * run one after another in the order (1,1), (1,2), .. (1,N), (2,1), .. (C,N), each without a break.
 * Block b is switched once, for load[b] without a break, one block at a time. A cell on a block
 * whose switch has ended takes sub[c] * narrow[b], on one whose switch has not begun wide[b]; none
 * runs on a block during its switch. Minimise max(end of cells + tail, end of switches). With tail
 * = 0 that is the paper's objective; with the LM head's time it is when decoding can begin.
 *
 * Chunk after chunk is the problem's and no decision, as in the paper and in every scheme here.
 * What a chunk needs would allow more: cell (c, b) waits for (c, b-1) and (c-1, b) alone, so that
 * the next chunk's first blocks could run while this one's last are switched. On 60 drawn problems
 * of 2 to 3 blocks and chunks brute force over those orders, too, is better in 34, by 7 % on
 * average and 52 % at most; the price is that a chunk's state is kept between its blocks.
 *
 * The decisions, all of them: the order of the switches; between which of its own block's cells
 * each switch lies; how long cells and switches idle beforehand. Given order and places, what must
 * precede what is fixed, and starting everything as early as that allows is best, so N! (C+1)^N
 * schedules hold an optimum. How a chunk is split is no decision: a pass of the wide graph takes
 * wide[b] however few rows it has, so rows taken from it, or run on both graphs, save nothing, and
 * ceil(rows / width) passes of the narrow one are the fewest; nor is the order of sub-chunks within
 * cells, since the processor has the same work available.
 *
 * The method: branch and bound over time. A node is a set of switched blocks, the number of cells
 * begun, and when processor and loader are free; it branches on what the one that is free first
 * does next, idling until the other's next event included. Of two nodes with the same set, cells
 * and switch in progress, one that is later in both times is dropped: whatever follows it can
 * follow the other, idle until then. Nodes whose lower bound, max(time + rest of the cells at their
 * cheapest + tail, time + rest of the loads), is no better than the incumbent are dropped too.
 * Nodes are visited by the number of decisions made; where there are more than `width` on one
 * level, those with the highest bounds are given up, and the least of these bounds remains the
 * proven one. */
#ifndef TANDEM_POLICY_OPTIMAL_H
#define TANDEM_POLICY_OPTIMAL_H

#include <stdbool.h>

#include "sim/base/arena.h"
#include "sim/base/err.h"

#include <stdint.h>

enum { OPTIMAL_MAX_BLOCKS = 14, OPTIMAL_MAX_CHUNKS = 64 };

struct optimal_problem {
    int32_t n, chunks;                   /* at least 1 */
    int64_t wide_ns[OPTIMAL_MAX_BLOCKS]; /* >= 0, as all times */
    int64_t narrow_ns[OPTIMAL_MAX_BLOCKS];
    int64_t load_ns[OPTIMAL_MAX_BLOCKS];
    int32_t sub[OPTIMAL_MAX_CHUNKS]; /* sub-chunks of each chunk, >= 1 */
    int64_t tail_ns;
};

struct optimal_result {
    int64_t best_ns;  /* of the incumbent */
    int64_t bound_ns; /* no schedule is better */
    bool proved;      /* best_ns == bound_ns */
    int64_t nodes;    /* visited */
    /* The incumbent: its k-th switch is of block order[k], after `after[k]` cells of that block,
     * from start_ns[k] on. */
    int32_t order[OPTIMAL_MAX_BLOCKS], after[OPTIMAL_MAX_BLOCKS];
    int64_t start_ns[OPTIMAL_MAX_BLOCKS];
};

/* Keeps at most `width` >= 1 nodes on each of the n + chunks * n levels; memory comes from `arena`
 * and may be given back afterwards. The result depends on the arguments alone. ERR_RANGE,
 * ERR_NOMEM. */
int optimal_solve(const struct optimal_problem *p, int32_t width, struct arena *arena,
                  struct optimal_result *out, struct err *e);

#endif
