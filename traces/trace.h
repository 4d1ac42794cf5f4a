/* Token traces: what a target model said, so that a simulator can run real drafters on real tokens.
 *
 * Per request: the prompt's tokens, the target's greedy continuation, optionally the most likely
 * tokens at every prompt position, and counterfactuals: the target's choice after rejected tokens,
 * as real runs saw it. Files are versioned, guarded by CRC-32 and read in place from a memory map;
 * trace_format.h has the layout. */
#ifndef TANDEM_TRACES_TRACE_H
#define TANDEM_TRACES_TRACE_H

#include <stddef.h>
#include <stdint.h>

#include "sim/base/err.h"
#include "sim/base/hash.h"
#include "sim/exec/exec.h"

enum { TRACE_VERSION = 1, TRACE_MAX_TOPK = 64 };

/* ---- the key of a counterfactual ------------------------------------------------------------ */

/* A path leaves the continuation after n_true tokens of it and goes on with n_wrong others. Past
 * the continuation's end every token counts as wrong. The key is (request, n_true, n_wrong, chain),
 * the chain being hash_step over the wrong tokens from TRACE_CHAIN on. For a given chain hash_step
 * maps different tokens to different chains, so that paths of one wrong token never collide; longer
 * ones do with a probability of 2^-64 per pair of paths with the same request, n_true and n_wrong:
 * below 3e-8 for a million of them. */
#define TRACE_CHAIN UINT64_C(0x74616e64656d3031)

static inline uint64_t trace_chain(uint64_t chain, int32_t token)
{
    return hash_step(chain, (uint32_t)token);
}

/* ---- reading -------------------------------------------------------------------------------- */

struct trace;

struct trace_info {
    const char *model;    /* the model's name */
    const char *numerics; /* numerics_id; "" when unknown */
    int32_t n_vocab, n_eos;
    const int32_t *eos; /* [n_eos] */
    int32_t n_requests;
    int32_t top_k; /* tokens per prompt position; 0: none were recorded */
    int64_t n_tokens;
    int64_t n_counterfactuals;
};

/* Arrays and texts are the trace's. */
struct trace_request {
    const char *id, *task;
    int32_t n_prompt;
    const int32_t *prompt; /* [n_prompt] */
    int32_t n_output;
    const int32_t *output; /* [n_output], the end-of-text token included */
    int32_t max_tokens;    /* that were asked for; >= n_output */
    int32_t split;         /* enum split of workload.h */
    int32_t n_counterfactuals;
};

/* Opens a file and checks all of it: afterwards every function below is a pure lookup that cannot
 * fail. ERR_CORRUPT with the offset for a file that is truncated, damaged or contradicts itself;
 * ERR_UNSUPPORTED for another version, or on a big-endian machine. */
int trace_open(const char *path, struct trace **out, struct err *e);

/* The same from n bytes, which are copied; `name` stands for the file in messages. */
int trace_open_bytes(const char *name, const void *bytes, size_t n, struct trace **out,
                     struct err *e);
void trace_close(struct trace *t);

const struct trace_info *trace_info(const struct trace *t);

/* `request` is in [0, n_requests). */
struct trace_request trace_request(const struct trace *t, int32_t request);

/* As struct truth_path. */
struct trace_path {
    uint64_t chain;
    int64_t at;
};

/* These are what truth.h asks for, for a request that the trace holds; -1 or 0 for one that it does
 * not. trace_choice also answers past the continuation's end when that was recorded. */
int32_t trace_choice(const struct trace *t, int32_t request, int32_t n_true, const int32_t *wrong,
                     int32_t n_wrong);
int32_t trace_follow(const struct trace *t, int32_t request, int32_t n_true, int32_t n_wrong,
                     int32_t token, struct trace_path *path);
int32_t trace_length(const struct trace *t, int32_t request);
int32_t trace_top(const struct trace *t, int32_t request, int32_t pos, int32_t k, int32_t *token,
                  float *logit);

/* Counterfactual `index` of a request, for models that are fitted on them. The wrong tokens
 * themselves are not kept. */
struct trace_counterfactual {
    int32_t n_true, n_wrong, choice;
    uint64_t chain;
};

struct trace_counterfactual trace_counterfactual(const struct trace *t, int32_t request,
                                                 int32_t index);

/* ---- writing -------------------------------------------------------------------------------- */

struct trace_builder;

struct trace_counts {
    int64_t counterfactuals; /* different ones */
    int64_t repeated;        /* seen before with the same choice */
    int64_t conflicting;     /* seen before with another choice: the first one was kept */
    int64_t divergent;       /* rows on the true path whose choice is not the continuation's */
};

/* top_k is 0 or the number of tokens per prompt position. ERR_RANGE for numbers out of range. */
int trace_builder_create(const char *model, const char *numerics, int32_t n_vocab,
                         const int32_t *eos, int32_t n_eos, int32_t top_k,
                         struct trace_builder **out, struct err *e);
void trace_builder_destroy(struct trace_builder *b);

/* Adds a request; *index becomes its number. Texts and tokens are copied. ERR_RANGE for a token
 * outside the vocabulary, no prompt, or a text that is empty or not UTF-8; ERR_SCHEMA for an id
 * that is there. */
int trace_add_request(struct trace_builder *b, const char *id, const char *task, int32_t split,
                      int32_t max_tokens, const int32_t *prompt, int32_t n_prompt, int32_t *index,
                      struct err *e);

/* The whole greedy continuation, once per request, before the request's steps. ERR_MISMATCH when
 * another one was given before (the same again is fine); ERR_RANGE. */
int trace_add_output(struct trace_builder *b, int32_t request, const int32_t *token, int32_t n,
                     struct err *e);

/* The top_k most likely tokens at prompt positions [pos, pos + n), most likely first: token[i *
 * top_k] and logit[i * top_k] start position pos + i. Positions never given answer 0. ERR_RANGE for
 * positions, tokens and logits that are out of range, not finite or not in descending order. */
int trace_add_top(struct trace_builder *b, int32_t request, int32_t pos, int32_t n,
                  const int32_t *token, const float *logit, struct err *e);

/* All that a verified step shows: rows as in a FORWARD (parent NULL: a chain), choice[i] the
 * target's token after row i, -1 where it is not known. Row 0 is the last of n_true tokens of the
 * continuation, or the prompt's last token with n_true 0. Adds a counterfactual for each row that
 * is off the continuation or past its end, and counts the rows on it that differ. ERR_MISMATCH when
 * row 0 is not the token that it must be; ERR_RANGE for tokens and parents. */
int trace_add_step(struct trace_builder *b, int32_t request, int32_t n_true, int32_t n,
                   const int32_t *token, const int32_t *parent, const int32_t *choice,
                   struct err *e);

struct trace_counts trace_counts(const struct trace_builder *b);

/* Writes the file, whole or not at all; the builder stays usable. The bytes depend on what was
 * added alone: counterfactuals that do not conflict may come in any order. ERR_SCHEMA when there is
 * no request; ERR_IO; ERR_NOMEM. */
int trace_write(const struct trace_builder *b, const char *path, struct err *e);

#endif
