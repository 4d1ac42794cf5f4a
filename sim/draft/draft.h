/* Drafters: they propose, cheaply, the tokens that the target may say next.
 *
 * The same drafter code runs in every executor. A drafter is a pure data structure: it has no
 * clock, no randomness, allocates nothing and does no I/O (tests/check_purity.sh), and it sees only
 * what a real system would know: the tokens that were appended to it. What a call cost is returned
 * as deterministic counters; the simulator turns them into time, the real executor times the call.
 *
 * Adding one: a file here with its `struct drafter_type`, a line in draft_registry (registry.c), a
 * line in CMakeLists.txt. tests/test_draft.c runs its suite over every entry. */
#ifndef TANDEM_DRAFT_DRAFT_H
#define TANDEM_DRAFT_DRAFT_H

#include <stddef.h>
#include <stdint.h>

#include "sim/base/param.h"

enum { DRAFT_ABI = 1 };

/* What one call did. Each counter is a sum over the call; a drafter says in its own file what a
 * probe and a node are. */
struct draft_work {
    int64_t tokens; /* tokens appended to the drafter's text */
    int64_t probes; /* look-ups: hash slots, automaton transitions, positions compared */
    int64_t nodes;  /* tree nodes written */
};

/* A proposal: node i follows node parent[i] < i, or the last appended token where it is -1. Nodes
 * of one parent have different tokens. A chain has parent[i] == i - 1; in a tree, the nodes of the
 * drafter's best guess come first. The arrays are the caller's. */
struct draft_tree {
    int32_t n;
    int32_t *token;
    int32_t *parent;
};

struct draft_limits {
    int32_t max_tokens; /* tokens that may ever be appended: the context's capacity */
    int32_t max_nodes;  /* the largest tree that will be asked for */
    int32_t n_vocab;    /* tokens are in [0, n_vocab) */
};

enum drafter_flags {
    DRAFTER_NEEDS_TRUTH = 1, /* simulation only; every table marks it */
    DRAFTER_BRANCHES = 2     /* may propose trees that are no chains */
};

struct drafter_type {
    uint32_t abi;  /* DRAFT_ABI */
    uint32_t size; /* sizeof(struct drafter_type) */
    const char *name;
    const char *summary;        /* one line */
    uint32_t flags;             /* enum drafter_flags */
    const struct param *params; /* ends with a NULL name; NULL: none */

    /* Bytes that an instance needs, whatever it is fed within `limits`: its memory bound. */
    size_t (*mem_bytes)(const int64_t *param, const struct draft_limits *limits);

    /* Makes an empty drafter in `mem`: mem_bytes() of any content, aligned for any type; also of a
     * drafter that was used. Nothing needs to be undone afterwards. */
    void (*init)(void *mem, const int64_t *param, const struct draft_limits *limits);

    /* Appends n >= 0 tokens to the text: the prompt, then accepted output. How a text is cut into
     * calls changes nothing. The caller keeps the sum within limits.max_tokens. Adds to *work. */
    void (*append)(void *self, const int32_t *token, int32_t n, struct draft_work *work);

    /* Writes at most max_nodes <= limits.max_nodes nodes to *out (whose arrays hold that many); n
     * is 0 when it has nothing to say, as for an empty text. Deterministic; may not change what a
     * later call returns. Adds to *work. */
    void (*propose)(void *self, int32_t max_nodes, struct draft_tree *out, struct draft_work *work);

    /* Optional: takes the target's k most likely next tokens at prompt positions pos .. pos + n,
     * top[i * k + j] with its logit. NULL: this drafter is not calibrated. Adds to *work. */
    void (*calibrate)(void *self, int32_t pos, int32_t n, int32_t k, const int32_t *top,
                      const float *logit, struct draft_work *work);
};

/* NULL-terminated. */
extern const struct drafter_type *const draft_registry[];

/* NULL when there is none of that name. */
const struct drafter_type *draft_find(const char *name);

#endif
