/* Measures what drafters cost: behind `tandem bench draft`. The only code of this folder that reads
 * a clock, hence a library of its own (tandem_draft_bench).
 *
 * A step is what a decode step asks of a drafter: append the tokens that were accepted, propose a
 * tree. The text is synthetic: runs copied from a uniformly chosen earlier place (half of the time,
 * 4 to 64 tokens), else fresh tokens whose probability is about 1 / rank (a Zipf law of exponent
 * 1). That is what texts that are worth drafting for look like, and it makes an automaton branch.
 * Before every step a buffer larger than the caches is walked, as the forward pass between two
 * steps evicts them; the same steps with warm caches are reported beside. */
#ifndef TANDEM_DRAFT_BENCH_H
#define TANDEM_DRAFT_BENCH_H

#include "sim/base/err.h"
#include "sim/draft/draft.h"

enum { DRAFT_BENCH_NODES = 2 };

struct draft_bench_config {
    int32_t context;                  /* tokens appended before the first measured step */
    int32_t accepted;                 /* tokens appended by a step */
    int32_t nodes[DRAFT_BENCH_NODES]; /* asked of a step; the first is the bar's */
    int32_t steps;                    /* measured steps of a round: the context grows meanwhile */
    int32_t rounds;                   /* texts, one seed each; one more is run to warm up */
    int32_t n_vocab;
    int64_t evict_bytes; /* walked before every cold step; 0: all steps are warm */
    uint64_t seed;
};

/* One drafter. Times of one step in microseconds: the median over all steps of all rounds, and
 * its spread, the 90th less the 10th percentile. */
struct draft_bench_row {
    const char *drafter;
    double us_per_step, spread_us;               /* nodes[0], cold */
    double us_per_step_warm;                     /* nodes[0] */
    double us_per_step_nodes[DRAFT_BENCH_NODES]; /* cold */
    double us_per_token_prompt;                  /* appending the context at once */
    double us_per_token_calibration; /* 4 likely tokens of a prompt position; NAN: it takes none */
    double probes_per_step, nodes_per_step; /* nodes[0]; nodes that were proposed */
    int64_t mem_bytes;                      /* for texts of the context's length */
};

/* 4,096 tokens of context, 3 accepted, 32 and 8 nodes, 64 steps, 5 rounds, 49,152 tokens of
 * vocabulary, 64 MB evicted. */
struct draft_bench_config draft_bench_default(void);

/* Every entry of draft_registry that needs no truth, with default parameters; the first `max` of
 * them. Returns their number in *n. ERR_NOMEM. */
int draft_bench_all(const struct draft_bench_config *config, int32_t max,
                    struct draft_bench_row *row, int32_t *n, struct err *e);

/* The text that is measured on: n tokens in [0, n_vocab), a function of its arguments. */
void draft_bench_text(uint64_t seed, int32_t n_vocab, int32_t n, int32_t *token);

#endif
