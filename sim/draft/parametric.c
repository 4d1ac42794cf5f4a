/* A drafter whose acceptance is a parameter: for papers that publish only how many tokens a
 * verification yields (sd.npu simulates EAGLE so, arXiv 2510.15312, section 4.1). It asks the truth
 * for the right tokens and says wrong ones on purpose, so that it exists in simulation only.
 *
 * Whether a draft is right is drawn from (seed, request, place in the output) and nothing else: two
 * policies meet the same luck. By `law`:
 *   fixed      a proposal is right for `tokens` - 1 tokens: for the whole part of it, and for one
 *              more with the probability of the rest. The mean is exact, the number of tokens of a
 *              verification as steady as it can be
 *   geometric  each token is right by itself, with probability `chance`: k drafted tokens yield
 *              (1 - a^(k+1)) / (1 - a) tokens on average, a the chance (Leviathan et al., arXiv
 *              2211.17192, Eq. 1)
 * After the first wrong token a proposal goes on, as a drafter that does not know would, with
 * tokens that are right at their place.
 *
 * Work: a probe is a question to the truth. A node is a node written. */
#include "sim/base/hash.h"
#include "sim/draft/internal.h"
#include "sim/exec/truth.h"

enum { LAW, TOKENS, CHANCE };
enum { LAW_FIXED, LAW_GEOMETRIC };

static const char *const laws[] = {"fixed", "geometric", NULL};

static const struct param params[] = {
    {"law", "how the number of right tokens is distributed", LAW_FIXED, 0, 0, laws, 0},
    {"tokens",
     "law=fixed: tokens of a verification on average, the target's own included, in 1/1000", 5500,
     1000, 1000000, NULL, 0},
    {"chance", "law=geometric: probability that a drafted token is right, in 1/1000", 800, 0, 1000,
     NULL, 0},
    {.name = NULL}};

struct parametric {
    const int64_t *param;
    struct truth *truth; /* NULL: has nothing to say */
    uint64_t seed;
    int32_t request, n_prompt, n_vocab, n;
};

static size_t mem_bytes(const int64_t *param, const struct draft_limits *limits)
{
    (void)param;
    (void)limits;
    return sizeof(struct parametric);
}

static void init(void *mem, const int64_t *param, const struct draft_limits *limits)
{
    *(struct parametric *)mem = (struct parametric){.param = param,
                                                    .truth = limits->truth,
                                                    .seed = limits->seed,
                                                    .request = limits->request,
                                                    .n_prompt = limits->n_prompt,
                                                    .n_vocab = limits->n_vocab};
}

static void append(void *self, const int32_t *token, int32_t n, struct draft_work *work)
{
    (void)token;
    ((struct parametric *)self)->n += n;
    work->tokens += n;
}

/* True with a probability of permille / 1000, for one place of the output. */
static int lucky(const struct parametric *d, int32_t place, int64_t permille)
{
    uint64_t u = rng_u64(d->seed, RNG_ACCEPTANCE, (uint64_t)d->request, (uint64_t)place);
    return (int64_t)(u % 1000) < permille;
}

/* Whether node `node` of the proposal after `said` tokens of output is right. */
static int is_right(const struct parametric *d, int32_t said, int32_t node)
{
    if (d->param[LAW] == LAW_GEOMETRIC)
        return lucky(d, said + node, d->param[CHANCE]);
    int64_t drafted = d->param[TOKENS] - 1000;
    return node < drafted / 1000 || (node == drafted / 1000 && lucky(d, said, drafted % 1000));
}

static void propose(void *self, int32_t max_nodes, struct draft_tree *out, struct draft_work *work)
{
    const struct parametric *d = self;
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
        out->token[out->n] = is_right(d, said, out->n) ? token : (token + 1) % d->n_vocab;
        out->parent[out->n] = out->n - 1;
    }
    work->nodes += out->n;
}

const struct drafter_type parametric_drafter = {
    .abi = DRAFT_ABI,
    .size = sizeof(struct drafter_type),
    .name = "parametric",
    .summary = "acceptance as a paper states it, by a draw; in simulation only",
    .flags = DRAFTER_NEEDS_TRUTH | DRAFTER_PARAMETRIC,
    .params = params,
    .mem_bytes = mem_bytes,
    .init = init,
    .append = append,
    .propose = propose,
};
