#include "tests/policies/policies.h"

#include <string.h>

struct count {
    int32_t last, n_vocab;
};

static size_t mem_bytes(const int64_t *param, const struct draft_limits *limits)
{
    (void)param;
    (void)limits;
    return sizeof(struct count);
}

static void init(void *mem, const int64_t *param, const struct draft_limits *limits)
{
    (void)param;
    *(struct count *)mem = (struct count){.n_vocab = limits->n_vocab};
}

static void append(void *self, const int32_t *token, int32_t n, struct draft_work *work)
{
    ((struct count *)self)->last = token[n - 1];
    work->tokens += n;
}

static void propose(void *self, int32_t max_nodes, struct draft_tree *out, struct draft_work *work)
{
    const struct count *c = self;
    for (int32_t i = 0; i < max_nodes; i++) {
        out->token[i] = (c->last + 1 + i) % c->n_vocab;
        out->parent[i] = i - 1;
    }
    out->n = max_nodes;
    work->nodes += max_nodes;
    work->probes++;
}

const struct drafter_type drafter_count = {.abi = DRAFT_ABI,
                                           .size = sizeof(struct drafter_type),
                                           .name = "count",
                                           .summary = "counts on from the last token",
                                           .mem_bytes = mem_bytes,
                                           .init = init,
                                           .append = append,
                                           .propose = propose};
