#include "hwmodels/real/probe.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "hwmodels/real/direct.h"
#include "hwmodels/real/llama_engine.h"

enum { CHAIN = 32, LATER = 4, STRIDE = 5 };

struct bench {
    struct direct to;
    const int32_t *prompt;
    int32_t n, n_vocab;
    float *want; /* [CHAIN * n_vocab], logits after each token of the chain, one at a time */
    int32_t chain[CHAIN + 1];
};

/* Clears the cache and runs the prompt again. */
static bool restart(struct bench *b)
{
    return direct_commit(&b->to, 0, 0, NULL) &&
           (!b->n || direct_forward(&b->to, 0, b->n, b->prompt, NULL, b->n));
}

static bool differs(const struct bench *b, int32_t row, int32_t at, double *max_diff)
{
    const float *got = llama_engine_logits(b->to.engine, row);
    const float *want = b->want + (size_t)at * (size_t)b->n_vocab;
    if (!memcmp(got, want, (size_t)b->n_vocab * sizeof *got))
        return false;
    for (int32_t t = 0; max_diff && t < b->n_vocab; t++)
        *max_diff = fmax(*max_diff, fabs((double)got[t] - (double)want[t]));
    return true;
}

static bool record(struct bench *b, double *min_margin)
{
    if (!restart(b))
        return false;
    b->chain[0] = b->to.choice[b->n - 1];
    for (int32_t i = 0; i < CHAIN; i++) {
        if (!direct_forward(&b->to, b->n + i, 1, &b->chain[i], NULL, 1))
            return false;
        const float *x = llama_engine_logits(b->to.engine, 0);
        float *to = b->want + (size_t)i * (size_t)b->n_vocab;
        memcpy(to, x, (size_t)b->n_vocab * sizeof *to);
        b->chain[i + 1] = b->to.choice[0];
        double next = -INFINITY;
        for (int32_t t = 0; t < b->n_vocab; t++)
            if (t != b->to.choice[0])
                next = fmax(next, (double)x[t]);
        *min_margin = fmin(*min_margin, (double)x[b->to.choice[0]] - next);
    }
    return true;
}

static bool probe_width(struct bench *b, int32_t width, bool *equal)
{
    *equal = true;
    if (!restart(b))
        return false;
    for (int32_t at = 0; at < CHAIN; at += width) {
        int32_t rows = at + width < CHAIN ? width : CHAIN - at;
        if (!direct_forward(&b->to, b->n + at, rows, b->chain + at, NULL, width))
            return false;
        for (int32_t i = 0; i < rows; i++)
            *equal = *equal && !differs(b, i, at + i, NULL);
    }
    return true;
}

/* Whether row `row` of the last step, which holds the text's token `at`, has its logits. */
static void compare(struct bench *b, int32_t row, int32_t at, bool true_first, struct probe *out)
{
    if (true_first) {
        out->first_rows_differ += differs(b, row, at, NULL);
        return;
    }
    out->tree_rows++;
    out->other_rows_differ += differs(b, row, at, &out->other_max_diff);
    out->other_choices_differ += b->to.choice[row] != b->chain[at + 1];
}

/* A tree at the text's token `at`, its true branch kept, and the steps after it. */
static bool probe_tree(struct bench *b, int32_t at, bool true_first, struct probe *out)
{
    int32_t token[1 + 2 * PROBE_DEPTH], parent[1 + 2 * PROBE_DEPTH], row[1 + PROBE_DEPTH] = {0};
    token[0] = b->chain[at];
    parent[0] = -1;
    for (int32_t i = 0; i < PROBE_DEPTH; i++) {
        int32_t good = 1 + i + (true_first ? 0 : PROBE_DEPTH);
        int32_t bad = 1 + i + (true_first ? PROBE_DEPTH : 0);
        token[good] = b->chain[at + i + 1];
        token[bad] = (b->chain[at + i + 1] + 1 + i) % b->n_vocab;
        parent[good] = i ? good - 1 : 0;
        parent[bad] = i ? bad - 1 : 0;
        row[1 + i] = good;
    }
    bool good = restart(b);
    for (int32_t i = 0; i < at && good; i++)
        good = direct_forward(&b->to, b->n + i, 1, &b->chain[i], NULL, 1);
    good = good && direct_forward(&b->to, b->n + at, 1 + 2 * PROBE_DEPTH, token, parent,
                                  1 + 2 * PROBE_DEPTH);
    for (int32_t i = 0; i < PROBE_DEPTH && good; i++)
        compare(b, row[1 + i], at + i + 1, true_first, out);
    good = good && direct_commit(&b->to, b->n + at, 1 + PROBE_DEPTH, row);
    for (int32_t i = at + 1 + PROBE_DEPTH; i < at + 1 + PROBE_DEPTH + LATER && good; i++) {
        good = direct_forward(&b->to, b->n + i, 1, &b->chain[i], NULL, 1);
        if (good)
            compare(b, 0, i, true_first, out);
    }
    return good;
}

static bool probe_trees(struct bench *b, struct probe *out)
{
    bool good = true;
    for (int32_t at = 0; at + 1 + PROBE_DEPTH + LATER <= CHAIN && good; at += STRIDE)
        good = probe_tree(b, at, true, out) && probe_tree(b, at, false, out);
    return good;
}

int probe_exactness(struct engine *g, const int32_t *prompt, int32_t n, int32_t max_width,
                    struct probe *out, struct err *e)
{
    struct llama_facts facts;
    llama_engine_facts(g, &facts);
    *out = (struct probe){.max_width = max_width < PROBE_MAX_WIDTH ? max_width : PROBE_MAX_WIDTH,
                          .min_margin = INFINITY};
    struct bench *b = calloc(1, sizeof *b);
    float *want = calloc((size_t)CHAIN * (size_t)facts.n_vocab, sizeof *want);
    bool good = b && want;
    if (good) {
        *b = (struct bench){
            .to.engine = g, .prompt = prompt, .n = n, .n_vocab = facts.n_vocab, .want = want};
        good = record(b, &out->min_margin);
        for (int32_t w = 1; good && w <= out->max_width; w++)
            good = probe_width(b, w, &out->chain_equal[w]);
        good = good && probe_trees(b, out);
        direct_commit(&b->to, 0, 0, NULL);
    }
    int rc = good ? ERR_OK
                  : err_set(e, ERR_DEVICE, "the probe of exactness failed: %s",
                            b && b->to.out.message[0] ? b->to.out.message : "out of memory");
    free(want);
    free(b);
    return rc;
}
