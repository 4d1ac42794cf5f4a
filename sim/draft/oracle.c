/* The upper bound of drafting: proposes what the target will say. It asks the truth, so that it
 * exists in simulation only, and every table marks it.
 *
 * Work: a probe is a question to the truth. A node is a node written. */
#include "sim/draft/internal.h"
#include "sim/exec/truth.h"

struct oracle {
    struct truth *truth; /* NULL: has nothing to say */
    int32_t request, n_prompt, n;
};

static size_t mem_bytes(const int64_t *param, const struct draft_limits *limits)
{
    (void)param;
    (void)limits;
    return sizeof(struct oracle);
}

static void init(void *mem, const int64_t *param, const struct draft_limits *limits)
{
    (void)param;
    *(struct oracle *)mem = (struct oracle){limits->truth, limits->request, limits->n_prompt, 0};
}

static void append(void *self, const int32_t *token, int32_t n, struct draft_work *work)
{
    (void)token;
    ((struct oracle *)self)->n += n;
    work->tokens += n;
}

static void propose(void *self, int32_t max_nodes, struct draft_tree *out, struct draft_work *work)
{
    const struct oracle *d = self;
    struct truth *t = d->truth;
    out->n = 0;
    if (!t || d->n < d->n_prompt)
        return;
    int32_t said = d->n - d->n_prompt, length = t->ops->length(t, d->request);
    for (; out->n < max_nodes && said + out->n < length; out->n++) {
        int32_t token = t->ops->choice(t, d->request, said + out->n, NULL, 0);
        work->probes++;
        if (token < 0)
            break;
        out->token[out->n] = token;
        out->parent[out->n] = out->n - 1;
        out->chance[out->n] = DRAFT_SURE;
    }
    work->nodes += out->n;
}

const struct drafter_type oracle_drafter = {
    .abi = DRAFT_ABI,
    .size = sizeof(struct drafter_type),
    .name = "oracle",
    .summary = "the upper bound: what the target will say; in simulation only",
    .flags = DRAFTER_NEEDS_TRUTH | DRAFTER_ESTIMATES,
    .params = NULL,
    .mem_bytes = mem_bytes,
    .init = init,
    .append = append,
    .propose = propose,
};
