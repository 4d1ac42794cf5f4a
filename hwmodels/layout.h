/* Execution layouts: how a step's parts are spread over an NPU and a CPU.
 *
 * ONE runs a step's operators one after another. ALTERNATING is mllm's: for L layers L + 1 graphs
 * on the NPU (the first layer's norm and q, k, v; then what follows one layer's attention with what
 * comes before the next one's; at last the rest and the head) with L attention stages on the CPU
 * between them, and an edge at each of the 2 L crossings. PAIRS runs two chunks of that at once:
 * each processor takes the stage that can start first, of the two chunks' the first one's where
 * both can; the second chunk's stage i is given out once LAYOUT_LAG more of the first's are, or all
 * of them. */
#ifndef TANDEM_HWMODELS_LAYOUT_H
#define TANDEM_HWMODELS_LAYOUT_H

#include "hwmodels/explain.h"

enum layout { LAYOUT_ONE, LAYOUT_ALTERNATING, LAYOUT_PAIRS };

enum { LAYOUT_LAG = 4 };

/* Of one chunk; -1: not known. */
struct layout_times {
    int32_t layers;
    int64_t first_ns;     /* before the first attention, embeddings included */
    int64_t between_ns;   /* from one attention to the next */
    int64_t last_ns;      /* after the last */
    int64_t attention_ns; /* one stage */
    int64_t edge_ns;      /* one crossing */
};

struct layout_result {
    int32_t graphs, edges;
    int64_t ns; /* of one chunk, or of both; -1: not known */
};

/* The parts of a step as explained, its first layer to its last. */
void layout_of_step(const struct explain_step *x, int32_t layers, struct layout_times *out);

void layout_run(const struct layout_times *t, enum layout how, struct layout_result *out);

#endif
