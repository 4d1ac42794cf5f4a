/* Exactness, probed: whether logits are bit-equal at every width, and in which branches of a tree.
 * A property of a build, a processor and a model; it is stored in the device file, never assumed.
 */
#ifndef TANDEM_REAL_PROBE_H
#define TANDEM_REAL_PROBE_H

#include "sim/exec/engine.h"

enum { PROBE_MAX_WIDTH = 64, PROBE_DEPTH = 6 };

struct probe {
    int32_t max_width;
    bool chain_equal[PROBE_MAX_WIDTH + 1]; /* by width, against width 1, over 32 positions */
    /* Trees of a true branch of PROBE_DEPTH tokens beside a wrong one as long, at several places of
     * the text: the true branch's rows, and those of the steps that follow once it was kept. */
    int32_t tree_rows;         /* of each of the two kinds */
    int32_t first_rows_differ; /* the true branch first in the batch */
    int32_t other_rows_differ; /* the wrong one first */
    double other_max_diff;     /* largest difference of a logit there */
    int32_t other_choices_differ;
    double min_margin; /* smallest lead of the target's choice over the next token, on the text */
};

/* `g` is a llama.cpp engine with nothing in sequence 0; left so. `prompt` is any text of n tokens.
 * ERR_DEVICE when a step fails. */
int probe_exactness(struct engine *g, const int32_t *prompt, int32_t n, int32_t max_width,
                    struct probe *out, struct err *e);

#endif
