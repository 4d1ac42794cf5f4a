/* A cost model (sim/exec/cost.h) of a model that runs as static graphs made of blocks: what an NPU
 * with ahead-of-time compiled graphs looks like to a scheduler.
 *
 * FORWARD: the sum of compute_ns over its blocks, however many of its rows hold tokens, and the
 * head's time when it ends the step with outputs. On the dynamic graph 0, where there is one: the
 * whole step by its width and context. HEAD: the head alone. LOAD: load_ns, or attach_ns where
 * another graph that shares the block's weights has it resident. FREE: free_ns. COMMIT: chain or
 * tree. DRAFT, CALIBRATE: fixed + probes, nodes and tokens per 1000, by drafter. COPY is not there.
 * All but LOAD and FREE take longer where the clock is slowed, and draw that much less.
 *
 * Bus: FORWARD and LOAD move their bytes evenly during their time alone, so that a load and a
 * computation slow each other where both together want more than the DRAM gives.
 *
 * Memory: base + own bytes of every resident block + its weights, once for all graphs of one
 * `weights` number > 0 and once more for each graph whose number is 0. Address space: the same
 * without base. A LOAD that would exceed a limit ends DONE_NO_MEMORY and names what is resident. */
#ifndef TANDEM_HWMODELS_BLOCKS_H
#define TANDEM_HWMODELS_BLOCKS_H

#include "hwmodels/platform.h"
#include "sim/base/arena.h"
#include "sim/exec/cost.h"

enum { BLOCKS_MAX_WIDTHS = 32 };

/* One graph. Arrays are by block; times of a whole pass of the block at the graph's width. */
struct blocks_graph {
    int32_t width;
    int32_t weights; /* struct exec_caps.graph_weights */
    int64_t compute_ns[BELIEF_MAX_BLOCKS], compute_bytes[BELIEF_MAX_BLOCKS];
    int64_t load_ns[BELIEF_MAX_BLOCKS], load_bytes[BELIEF_MAX_BLOCKS];
    int64_t attach_ns[BELIEF_MAX_BLOCKS], attach_bytes[BELIEF_MAX_BLOCKS];
    int64_t free_ns[BELIEF_MAX_BLOCKS];
    int64_t own_bytes[BELIEF_MAX_BLOCKS]; /* resident beside weights: activations, code */
    int64_t active_mw;                    /* while it computes; as struct cost has it */
};

/* Whole steps on the dynamic graph: of what needs no graphs of fixed shapes. Without the head;
 * linear between two widths, and between no context and `context` cached tokens. */
struct blocks_dynamic {
    int32_t n_widths;                 /* 0: there is no dynamic graph */
    int32_t width[BLOCKS_MAX_WIDTHS]; /* rising from 1 */
    int32_t context;                  /* >= 1 */
    int64_t ns[BLOCKS_MAX_WIDTHS][2]; /* [..][0]: with nothing cached */
    int64_t bytes[BLOCKS_MAX_WIDTHS][2];
    int64_t head_ns[BLOCKS_MAX_WIDTHS][2]; /* of so many rows, at either context */
    int64_t head_bytes;
    int64_t active_mw;
};

/* A drafter's call. */
struct blocks_draft {
    int64_t fixed_ns; /* -1: not known */
    int64_t kprobe_ns, knode_ns, ktoken_ns;
};

/* All of it >= 0. Bytes of 0 that move are not known, limits of 0 are none. */
struct blocks_spec {
    const char *name; /* for messages */
    int32_t n;        /* blocks, 1 .. BELIEF_MAX_BLOCKS */
    int32_t n_graphs; /* 1 .. EXEC_MAX_GRAPHS */
    struct blocks_graph graph[EXEC_MAX_GRAPHS];
    int64_t weight_bytes[BELIEF_MAX_BLOCKS];
    int64_t base_bytes;                  /* resident all along: cache, embedding, runtime */
    int64_t memory_bytes, address_bytes; /* limits */
    int64_t head_ns, head_row_ns;        /* LM head: per job, and more per row wanted */
    int64_t head_bytes;
    int64_t commit_chain_ns, commit_tree_ns;
    struct blocks_draft draft[EXEC_MAX_DRAFTERS];
    struct blocks_dynamic dynamic;
    bool extrapolated; /* times of steps lie outside what was measured */
    struct cost_host host;
    struct platform_thermal thermal;
    int64_t pj_per_byte;      /* 0: the powers hold it */
    int64_t dram_bytes_per_s; /* 0: contention is not modelled */
    int32_t max_ctx, max_topk;
    bool trees;
    int32_t n_processors; /* >= 1 */
    struct cost_processor processor[EXEC_MAX_ROLES];
    int32_t role[EXEC_MAX_ROLES]; /* role to processor */
};

/* Everything lives in `arena`, the spec's copy too; its names are kept. ERR_RANGE names the value
 * that is wrong; ERR_NOMEM. */
int blocks_cost_create(const struct blocks_spec *spec, struct arena *arena,
                       const struct cost_model **out, struct err *e);

/* How a belief is wrong: every time is multiplied by 1 + noise_pct / 100 * u, u uniform in [-1, 1)
 * per graph and block, and by scale, times of loads by load_scale besides. */
struct blocks_error {
    double load_scale; /* > 0 */
    double noise_pct;  /* 0 .. 100 */
    uint64_t seed;
    double scale; /* of all times; 0: 1 */
};

/* What a policy is told that switches from graph `wide` to `narrow`: block_ns of every graph;
 * load_ns, the time that a block's switch takes its role: free_ns of `wide` and load_ns of
 * `narrow`; step_ns of every width, the head with one row included, at any context, or where there
 * is a dynamic graph of its widths, the head with every row included. `how` NULL: the truth. */
void blocks_belief(const struct blocks_spec *spec, int32_t wide, int32_t narrow,
                   const struct blocks_error *how, struct belief *out);

/* Sets array[0 .. n) to parts of `total` that differ by one at most and add up to it. */
void blocks_spread(int64_t *array, int32_t n, int64_t total);

#endif
