/* A small world for tests of executors and policies: a cost model with round numbers, and a truth
 * that follows a next-token function. */
#ifndef TANDEM_TESTS_WORLD_H
#define TANDEM_TESTS_WORLD_H

#include "sim/exec/cost.h"
#include "sim/exec/driver.h"
#include "sim/exec/truth.h"

enum { WORLD_MAX_REQUESTS = 16, WORLD_MAX_TEXT = 2048 };

struct world_cost {
    struct cost_model model; /* must be first */
    struct exec_caps caps;
    struct cost_host host;
    int64_t step_ns, row_ns, other_ns; /* a FORWARD is step + width * row; LOAD, COMMIT ... other */
    int64_t step_bytes, load_bytes, bus_bytes_per_s;
    int32_t n_processors, processor[EXEC_MAX_ROLES];
    struct cost_processor info[4];
};

/* 1 ms a step, 10 us a row, 50 us anything else, no host time, no bus, one processor per role. */
void world_cost_init(struct world_cost *c);

typedef int32_t (*world_next)(const void *context, const int32_t *text, int32_t n);

struct world_truth {
    struct truth truth; /* must be first */
    world_next next;
    const void *context;
    int32_t n_requests;
    struct {
        int32_t n, n_out;
        int32_t text[WORLD_MAX_TEXT]; /* prompt, then the continuation */
    } request[WORLD_MAX_REQUESTS];
};

/* The continuations of `request` under next(), max_tokens each, an end token included. */
void world_truth_init(struct world_truth *t, world_next next, const void *context,
                      const struct request *request, int32_t n, const int32_t *eos, int32_t n_eos);

/* A deterministic toy language: the next token is a hash of the last two and one of twelve, so that
 * texts soon repeat themselves. */
int32_t world_language(const void *context, const int32_t *text, int32_t n);

/* `n` prompts of differing lengths in that language's tokens, closed loop; static memory. */
const struct request *world_requests(int32_t n, int32_t max_tokens);

/* A set-up for `policy` ("speculative:width=4 max_draft=3"), with the drafter ("lookup:ngram=2"; ""
 * for none), 48 tokens of vocabulary and no end token. False when a name is not registered. */
bool world_setup(struct run_setup *s, const char *policy, const char *drafter);

#endif
