/* Prompt lookup: the last n tokens of the text are searched in the text before them, and what
 * followed them there is proposed. The longest n first (`ngram` down to `min_ngram`), and of the
 * occurrences of one n the most recent first.
 *
 * The index is kept while tokens are appended: for every n, a hash table holds the end of the
 * latest occurrence of each n-gram, and prev[] chains every occurrence to the one before it. The
 * latest earlier occurrence of the text's own last n-gram is then prev[] at the last position: a
 * proposal needs no search. Table entries are compared token by token: there are no false matches.
 *
 * With branches > 1 the proposal is a tree. The nodes are spent so:
 *   - the first occurrence gets depth: all nodes but a reserve, which is an eighth of them when
 *     the match is `ngram` long (it is probably right) and a half when it is shorter;
 *   - each further occurrence, up to branches - 1 that add anything, adds up to its equal share of
 *     the reserve in new nodes (at least one), no deeper than the first; prefixes are shared;
 *   - what is left over deepens the first.
 * At most SCAN occurrences are looked at, so that a proposal costs O(nodes) whatever the text.
 *
 * Work: a probe is a table slot inspected (append); an occurrence looked at, or a tree node
 * compared to share a prefix (propose). A node is a node written.
 *
 * Memory for T tokens and m = ngram - min_ngram + 1 lengths: T words of text, m T of chains and
 * m S of tables, S the power of two in [2 T, 4 T): half full at most. */
#include <assert.h>
#include <stdbool.h>
#include <string.h>

#include "sim/base/hash.h"
#include "sim/draft/internal.h"

enum { SCAN = 32 };

enum { P_NGRAM, P_MIN_NGRAM, P_BRANCHES };

static const struct param params[] = {
    {"ngram", "longest match searched for, tokens", 3, 1, 8, NULL, 0},
    {"min_ngram", "shortest match that is used, tokens; above ngram it means ngram", 1, 1, 8, NULL,
     0},
    {DRAFT_BRANCHES, "alternative continuations; 1 proposes a chain, more a tree", 1, 1, 8, NULL,
     0},
    {NULL, NULL, 0, 0, 0, NULL, 0},
};

struct lookup {
    int32_t n, capacity; /* tokens */
    int32_t shortest, longest, branches;
    size_t slots;  /* of one table, a power of two */
    int32_t *text; /* [capacity] */
    int32_t *prev; /* [capacity][lengths]: an earlier end of the same n-gram, or -1 */
    int32_t *slot; /* [lengths][slots]: the latest end of an n-gram, or -1 */
};

static int32_t shortest_of(const int64_t *param)
{
    return (int32_t)(param[P_MIN_NGRAM] < param[P_NGRAM] ? param[P_MIN_NGRAM] : param[P_NGRAM]);
}

static size_t lengths_of(const int64_t *param)
{
    return (size_t)(param[P_NGRAM] - shortest_of(param) + 1);
}

static size_t mem_bytes(const int64_t *param, const struct draft_limits *limits)
{
    size_t n = (size_t)limits->max_tokens;
    size_t words = n + lengths_of(param) * (n + draft_slots(2 * n));
    return sizeof(struct lookup) + words * sizeof(int32_t);
}

static void init(void *mem, const int64_t *param, const struct draft_limits *limits)
{
    struct lookup *d = mem;
    size_t n = (size_t)limits->max_tokens;
    d->n = 0;
    d->capacity = limits->max_tokens;
    d->shortest = shortest_of(param);
    d->longest = (int32_t)param[P_NGRAM];
    d->branches = (int32_t)param[P_BRANCHES];
    d->slots = draft_slots(2 * n);
    d->text = (int32_t *)(d + 1);
    d->prev = d->text + n;
    d->slot = d->prev + n * lengths_of(param);
    memset(d->slot, 0xff, lengths_of(param) * d->slots * sizeof *d->slot);
}

static int32_t *prev_at(const struct lookup *d, int32_t pos, int32_t len)
{
    int32_t lengths = d->longest - d->shortest + 1;
    return &d->prev[(size_t)pos * (size_t)lengths + (size_t)(len - d->shortest)];
}

/* Enters the n-gram of `len` tokens that ends at `pos`; returns the end of the latest one before
 * it, or -1. */
static int32_t enter(struct lookup *d, int32_t pos, int32_t len, uint64_t hash,
                     struct draft_work *work)
{
    int32_t *table = d->slot + (size_t)(len - d->shortest) * d->slots;
    const int32_t *gram = &d->text[pos - len + 1];
    size_t i = hash & (d->slots - 1);
    for (;; i = (i + 1) & (d->slots - 1)) {
        work->probes++;
        int32_t end = table[i];
        if (end < 0 || !memcmp(&d->text[end - len + 1], gram, (size_t)len * sizeof *gram)) {
            table[i] = pos;
            return end;
        }
    }
}

static void append(void *self, const int32_t *token, int32_t n, struct draft_work *work)
{
    struct lookup *d = self;
    assert(n >= 0 && n <= d->capacity - d->n);
    for (int32_t i = 0; i < n; i++) {
        int32_t pos = d->n++;
        uint64_t hash = 0;
        d->text[pos] = token[i];
        for (int32_t len = 1; len <= d->longest; len++) {
            bool whole = len <= pos + 1;
            if (whole)
                hash = hash_step(hash, (uint64_t)d->text[pos - len + 1]);
            if (len >= d->shortest)
                *prev_at(d, pos, len) = whole ? enter(d, pos, len, hash, work) : -1;
        }
    }
    work->tokens += n;
}

static int32_t child_of(const struct draft_tree *tree, int32_t node, int32_t token,
                        struct draft_work *work)
{
    for (int32_t i = node + 1; i < tree->n; i++) {
        work->probes++;
        if (tree->parent[i] == node && tree->token[i] == token)
            return i;
    }
    return -1;
}

/* Merges what followed `end` into the tree: `depth` tokens, of which at most `budget` become new
 * nodes. Returns the number of new nodes. */
static int32_t merge(const struct lookup *d, int32_t end, int32_t depth, int32_t budget,
                     struct draft_tree *tree, struct draft_work *work)
{
    struct draft_source source = draft_source_at(d->text, d->n, end);
    int32_t node = -1, start = tree->n;
    for (int32_t i = 0; i < depth; i++) {
        int32_t token = draft_source_next(&source);
        /* a node of this call's has no children yet */
        int32_t child = tree->n == start ? child_of(tree, node, token, work) : -1;
        if (child < 0) {
            if (tree->n - start == budget)
                break;
            child = tree->n++;
            tree->token[child] = token;
            tree->parent[child] = node;
            work->nodes++;
        }
        node = child;
    }
    return tree->n - start;
}

/* An occurrence of the text's last `len` tokens, len from the longest down; end < 0: no more. */
struct occurrence {
    int32_t len, end, scanned;
};

static void next_occurrence(const struct lookup *d, struct occurrence *o, struct draft_work *work)
{
    int32_t last = d->n - 1;
    while (o->scanned < SCAN) {
        o->end = *prev_at(d, o->end < 0 ? last : o->end, o->len);
        if (o->end < 0) {
            if (--o->len < d->shortest)
                return;
            continue;
        }
        o->scanned++;
        work->probes++;
        /* the longer match was visited already */
        int32_t before = o->end - o->len;
        if (o->len == d->longest || before < 0 || d->text[before] != d->text[last - o->len])
            return;
    }
    o->end = -1;
}

static void propose(void *self, int32_t max_nodes, struct draft_tree *out, struct draft_work *work)
{
    const struct lookup *d = self;
    out->n = 0;
    if (d->n == 0 || max_nodes == 0)
        return;
    struct occurrence o = {d->longest, -1, 0};
    next_occurrence(d, &o, work);
    if (o.end < 0)
        return;
    int32_t first = o.end, others = d->branches - 1;
    int32_t reserve = others == 0 ? 0 : max_nodes / (o.len == d->longest ? 8 : 2);
    int32_t depth = max_nodes - reserve;
    merge(d, first, depth, depth, out, work);
    if (reserve == 0)
        return;
    /* no more in all than the reserve, or one node each while there is room */
    int32_t share = reserve / others > 0 ? reserve / others : 1;
    for (int32_t added = 0; added < others && out->n < max_nodes;) {
        next_occurrence(d, &o, work);
        if (o.end < 0)
            break;
        added += merge(d, o.end, depth, share, out, work) > 0;
    }
    if (out->n < max_nodes)
        merge(d, first, max_nodes, max_nodes - out->n, out, work);
}

const struct drafter_type lookup_drafter = {
    .abi = DRAFT_ABI,
    .size = sizeof(struct drafter_type),
    .name = "lookup",
    .summary = "prompt lookup: what followed the last n tokens when they last occurred",
    .flags = DRAFTER_BRANCHES,
    .params = params,
    .mem_bytes = mem_bytes,
    .init = init,
    .append = append,
    .propose = propose,
};
