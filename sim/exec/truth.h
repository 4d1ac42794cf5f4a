/* What the target would say: the simulated executor's language model.
 *
 * Only the simulated executor and types flagged NEEDS_TRUTH may see one: a policy or drafter that
 * could read it would know what a real system does not know yet. */
#ifndef TANDEM_EXEC_TRUTH_H
#define TANDEM_EXEC_TRUTH_H

#include <stdint.h>

struct truth {
    const struct truth_ops *ops; /* must be first in an implementation's struct */
};

/* How far wrong tokens were followed. at < 0: nothing is known of any text that goes on from there,
 * and none need be asked about. */
struct truth_path {
    uint64_t chain;
    int64_t at;
};

struct truth_ops {
    /* The target's choice after the prompt, the first n_true tokens of its own greedy
     * continuation, and then n_wrong tokens of which the first differs from that continuation. -1
     * when the trace does not hold it: past the continuation's end, or a counterfactual that was
     * never recorded. */
    int32_t (*choice)(struct truth *t, int32_t request, int32_t n_true, const int32_t *wrong,
                      int32_t n_wrong);

    /* Tokens of the recorded continuation, the end-of-text token included. */
    int32_t (*length)(struct truth *t, int32_t request);

    /* Optional: the k most likely tokens after prompt position pos, with logits; 0 when not
     * recorded, else the number written (<= k). */
    int32_t (*top)(struct truth *t, int32_t request, int32_t pos, int32_t k, int32_t *token,
                   float *logit);

    /* Optional: the first *n tokens of the continuation, kept as long as the truth: what choice
     * answers without wrong tokens. */
    const int32_t *(*text)(struct truth *t, int32_t request, int32_t *n);

    /* Optional: what choice answers, one wrong token at a time: `token` is the n_wrong-th, from 1.
     * *path is, at the first, not read, later (a copy of) what the token before left, with at >= 0;
     * each leaves its own there. */
    int32_t (*follow)(struct truth *t, int32_t request, int32_t n_true, int32_t n_wrong,
                      int32_t token, struct truth_path *path);
};

#endif
