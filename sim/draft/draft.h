/* Drafters: they propose, cheaply, the tokens that the target may say next.
 *
 * The same drafter code runs in every executor. A drafter is a pure data structure: it has no
 * clock, no randomness, allocates nothing and does no I/O (tests/check_purity.sh), and it sees only
 * what a real system would know: earlier responses, the tokens that were appended to it, what the
 * target found likely in the prompt and chose in verified steps. What a call cost is returned as
 * deterministic counters; the simulator turns them into time, the real executor times the call.
 *
 * Adding one: a file here with its `struct drafter_type`, a line in draft_registry (registry.c), a
 * line in CMakeLists.txt. tests/test_draft.c runs its suite over every entry. */
#ifndef TANDEM_DRAFT_DRAFT_H
#define TANDEM_DRAFT_DRAFT_H

#include <stddef.h>
#include <stdint.h>

#include "sim/base/param.h"

enum { DRAFT_ABI = 2 };

/* What one call did. Each counter is a sum over the call; a drafter says in its own file what a
 * probe and a node are. */
struct draft_work {
    int64_t tokens; /* tokens appended to the drafter's text */
    int64_t probes; /* look-ups: hash slots, automaton transitions, positions compared */
    int64_t nodes;  /* tree nodes written */
};

struct truth;

/* The unit of chances. */
enum { DRAFT_SURE = 1 << 16 };

/* A proposal: node i follows node parent[i] < i, or the last appended token where it is -1. Nodes
 * of one parent have different tokens. A chain has parent[i] == i - 1; in a tree, the nodes of the
 * drafter's best guess come first. The arrays are the caller's.
 *
 * chance[i] is how likely the drafter holds it that node i is accepted, in [1, DRAFT_SURE], never
 * above its parent's: the sum over a tree is the expected number of accepted tokens. All are 0 from
 * a drafter without DRAFTER_ESTIMATES. */
struct draft_tree {
    int32_t n;
    int32_t *token;
    int32_t *parent;
    int32_t *chance;
};

struct draft_limits {
    int32_t max_tokens; /* tokens that may ever be appended: the context's capacity */
    int32_t max_nodes;  /* the largest tree that will be asked for */
    int32_t n_vocab;    /* tokens are in [0, n_vocab) */
    int32_t max_old;    /* tokens of earlier responses that may be remembered, all together */
    /* For DRAFTER_NEEDS_TRUTH alone, in init; NULL otherwise: */
    struct truth *truth;
    int32_t request, n_prompt; /* whose drafter it is, and the length of its prompt */
    uint64_t seed;             /* the run's, for DRAFTER_PARAMETRIC */
};

enum drafter_flags {
    DRAFTER_NEEDS_TRUTH = 1, /* simulation only; every table marks it */
    DRAFTER_BRANCHES = 2,    /* may propose trees that are no chains */
    DRAFTER_ESTIMATES = 4,   /* fills chance[] */
    DRAFTER_PARAMETRIC = 8   /* its acceptance is a parameter: every table says so */
};

/* A parameter of this name says how many earlier responses a drafter is given to remember; without
 * it there are none. */
#define DRAFT_HISTORY "history"

/* And one of this name how many paths its trees have at most; every drafter with DRAFTER_BRANCHES
 * has it. */
#define DRAFT_BRANCHES "branches"

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
     * top[i * k + j] with its logit, -1 where none is known. Before or after the prompt is appended
     * and in any order of positions: it changes nothing. NULL: this drafter is not calibrated. Adds
     * to *work. */
    void (*calibrate)(void *self, int32_t pos, int32_t n, int32_t k, const int32_t *top,
                      const float *logit, struct draft_work *work);

    /* Optional: takes an earlier request's response, oldest first, before anything is appended. At
     * most as many as the parameter DRAFT_HISTORY says, limits.max_old tokens all together. NULL:
     * this drafter has no history. Adds to *work. */
    void (*remember)(void *self, const int32_t *token, int32_t n, struct draft_work *work);

    /* Optional: takes the verified step that the next append comes from: n rows as in a FORWARD,
     * row 0 the last token appended so far, parent NULL a chain, choice[i] the target's token after
     * row i or -1 where it is not known. n <= limits.max_nodes + 1. Adds to *work. */
    void (*rejected)(void *self, int32_t n, const int32_t *token, const int32_t *parent,
                     const int32_t *choice, struct draft_work *work);
};

/* NULL-terminated. */
extern const struct drafter_type *const draft_registry[];

/* NULL when there is none of that name. */
const struct drafter_type *draft_find(const char *name);

#endif
