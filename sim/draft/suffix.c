/* Online suffix automaton: the longest suffix of the text that also ends at an earlier position is
 * looked up, and what followed it there is proposed.
 *
 * The automaton is that of Blumer et al. (Theoretical Computer Science 40, 1985), extended by one
 * token at a time in amortised O(1). The state of the whole text ends nowhere else, so its suffix
 * link leads to the longest suffix that ends at two positions or more (overlaps included): the
 * match is read off when a token has been appended, and needs no search of its own.
 *
 * Where it was read: `first` is the earliest end of the match, which the automaton knows exactly.
 * `recent` is its latest end: every state on the chain of suffix links ends at the new position,
 * and only the RECENT longest of them are told, so that a token stays O(1) (an exact answer is the
 * rightmost-occurrence problem of LZ77, which costs more). Beyond them an older end is used, which
 * is still an end of the match.
 *
 * Length rule: at most max(least, base + alpha * match) tokens are proposed; all three 0, the
 * default, is no rule.
 *
 * Work: a probe is a table slot inspected, a suffix link followed or a transition copied (append);
 * the match consulted (propose). A node is a node written.
 *
 * Memory for T tokens: an automaton of T tokens has at most 2 T states and 3 T transitions
 * (2 T - 1 and 3 T - 4 from T = 3 on, both reached); 20 bytes per state, 16 per transition, 4 per
 * token, 4 per table slot, the slots being the power of two in [4 T, 8 T): three quarters full at
 * most. */
#include <assert.h>
#include <string.h>

#include "sim/base/hash.h"
#include "sim/draft/internal.h"

enum { RECENT = 16 };

enum { P_MIN_MATCH, P_OCCURRENCE, P_BASE, P_ALPHA, P_LEAST };

enum { OCCURRENCE_RECENT, OCCURRENCE_FIRST };

static const char *const occurrences[] = {"recent", "first", NULL};

static const struct param params[] = {
    {"min_match", "shortest match that is used, tokens", 1, 1, 1 << 20, NULL, 0},
    {"occurrence", "which end of the match is continued", OCCURRENCE_RECENT, 0, 0, occurrences, 0},
    {"base", "propose at most base + alpha * match tokens; with alpha and least 0: no rule", 0, 0,
     1 << 20, NULL, 0},
    {"alpha", "tokens proposed per token of the match, see base", 0, 0, 1 << 10, NULL, 0},
    {"least", "tokens proposed however short the match, see base", 0, 0, 1 << 20, NULL, 0},
    {NULL, NULL, 0, 0, 0, NULL, 0},
};

struct state {
    int32_t len;  /* of its longest string */
    int32_t link; /* the state of its longest suffix that ends at more positions; -1: the root's */
    int32_t edge; /* the first of its transitions, or -1 */
    int32_t first, recent; /* ends of its strings */
};

struct edge {
    int32_t from, token, to;
    int32_t next; /* of the same state, or -1 */
};

struct suffix {
    int32_t n, capacity; /* tokens */
    int32_t n_states, n_edges;
    int32_t last;                 /* the state of the whole text */
    int32_t match_len, match_end; /* the longest suffix seen before; where it ended */
    int32_t min_match, occurrence;
    int64_t base, alpha, least;
    size_t slots; /* a power of two */
    struct state *state;
    struct edge *edge;
    int32_t *text;
    int32_t *slot; /* an edge, or -1; keyed by (from, token) */
};

static size_t max_states(const struct draft_limits *limits)
{
    return limits->max_tokens > 0 ? 2 * (size_t)limits->max_tokens : 1;
}

static size_t max_edges(const struct draft_limits *limits)
{
    return 3 * (size_t)limits->max_tokens;
}

static size_t slots_of(const struct draft_limits *limits)
{
    return draft_slots(4 * (size_t)limits->max_tokens);
}

static size_t mem_bytes(const int64_t *param, const struct draft_limits *limits)
{
    (void)param;
    return sizeof(struct suffix) + max_states(limits) * sizeof(struct state) +
           max_edges(limits) * sizeof(struct edge) +
           ((size_t)limits->max_tokens + slots_of(limits)) * sizeof(int32_t);
}

static int32_t state_new(struct suffix *d, int32_t len, int32_t end)
{
    assert(d->n_states < (d->capacity > 0 ? 2 * d->capacity : 1));
    int32_t s = d->n_states++;
    d->state[s] = (struct state){len, -1, -1, end, end};
    return s;
}

static void init(void *mem, const int64_t *param, const struct draft_limits *limits)
{
    struct suffix *d = mem;
    memset(d, 0, sizeof *d);
    d->capacity = limits->max_tokens;
    d->match_end = -1;
    d->min_match = (int32_t)param[P_MIN_MATCH];
    d->occurrence = (int32_t)param[P_OCCURRENCE];
    d->base = param[P_BASE];
    d->alpha = param[P_ALPHA];
    d->least = param[P_LEAST];
    d->slots = slots_of(limits);
    d->state = (struct state *)(d + 1);
    d->edge = (struct edge *)(d->state + max_states(limits));
    d->text = (int32_t *)(d->edge + max_edges(limits));
    d->slot = d->text + limits->max_tokens;
    memset(d->slot, 0xff, d->slots * sizeof *d->slot);
    d->last = state_new(d, 0, -1);
}

/* The slot of the transition from `from` by `token`: it holds the edge, or -1 and may be filled. */
static int32_t *slot_of(struct suffix *d, int32_t from, int32_t token, struct draft_work *work)
{
    size_t i = hash_mix((uint64_t)from << 32 | (uint32_t)token) & (d->slots - 1);
    for (;; i = (i + 1) & (d->slots - 1)) {
        work->probes++;
        int32_t e = d->slot[i];
        if (e < 0 || (d->edge[e].token == token && d->edge[e].from == from))
            return &d->slot[i];
    }
}

/* Fills an empty slot. */
static void edge_new(struct suffix *d, int32_t *slot, int32_t from, int32_t token, int32_t to)
{
    assert(d->n_edges < 3 * d->capacity);
    *slot = d->n_edges++;
    d->edge[*slot] = (struct edge){from, token, to, d->state[from].edge};
    d->state[from].edge = *slot;
}

/* Splits from q, which p reaches by `token`, a state for its strings up to the length of p's plus
 * one, and leads p and its suffixes there. */
static int32_t split(struct suffix *d, int32_t p, int32_t q, int32_t token, struct draft_work *work)
{
    int32_t clone = state_new(d, d->state[p].len + 1, d->state[q].first);
    d->state[clone].recent = d->state[q].recent;
    d->state[clone].link = d->state[q].link;
    d->state[q].link = clone;
    for (int32_t e = d->state[q].edge; e >= 0; e = d->edge[e].next) {
        const struct edge copy = d->edge[e];
        work->probes++;
        edge_new(d, slot_of(d, clone, copy.token, work), clone, copy.token, copy.to);
    }
    for (; p >= 0; p = d->state[p].link) {
        struct edge *e = &d->edge[*slot_of(d, p, token, work)];
        work->probes++;
        if (e->to != q)
            break;
        e->to = clone;
    }
    return clone;
}

static void extend(struct suffix *d, int32_t token, struct draft_work *work)
{
    int32_t whole = state_new(d, d->n + 1, d->n), p = d->last, *slot = NULL;
    d->last = whole;
    for (; p >= 0; p = d->state[p].link) {
        slot = slot_of(d, p, token, work);
        work->probes++;
        if (*slot >= 0)
            break;
        edge_new(d, slot, p, token, whole);
    }
    int32_t link = 0;
    if (p >= 0) {
        link = d->edge[*slot].to;
        if (d->state[link].len != d->state[p].len + 1)
            link = split(d, p, link, token, work);
    }
    d->state[whole].link = link;
}

/* Reads off the match after a token was appended. */
static void match(struct suffix *d, struct draft_work *work)
{
    int32_t s = d->state[d->last].link;
    d->match_len = d->state[s].len;
    if (d->occurrence == OCCURRENCE_FIRST) {
        d->match_end = d->state[s].first;
        return;
    }
    d->match_end = d->state[s].recent;
    for (int32_t i = 0; i < RECENT && s > 0; i++, s = d->state[s].link) {
        d->state[s].recent = d->n;
        work->probes++;
    }
}

static void append(void *self, const int32_t *token, int32_t n, struct draft_work *work)
{
    struct suffix *d = self;
    assert(n >= 0 && n <= d->capacity - d->n);
    for (int32_t i = 0; i < n; i++) {
        extend(d, token[i], work);
        match(d, work);
        d->text[d->n++] = token[i];
    }
    work->tokens += n;
}

static int32_t length_rule(const struct suffix *d, int32_t max_nodes)
{
    if (d->base == 0 && d->alpha == 0 && d->least == 0)
        return max_nodes;
    int64_t most = d->base + d->alpha * d->match_len;
    if (most < d->least)
        most = d->least;
    return most < max_nodes ? (int32_t)most : max_nodes;
}

static void propose(void *self, int32_t max_nodes, struct draft_tree *out, struct draft_work *work)
{
    const struct suffix *d = self;
    out->n = 0;
    work->probes++;
    if (d->match_len < d->min_match)
        return;
    struct draft_source source = draft_source_at(d->text, d->n, d->match_end);
    for (int32_t most = length_rule(d, max_nodes); out->n < most; out->n++) {
        out->token[out->n] = draft_source_next(&source);
        out->parent[out->n] = out->n - 1;
    }
    work->nodes += out->n;
}

const struct drafter_type suffix_drafter = {
    .abi = DRAFT_ABI,
    .size = sizeof(struct drafter_type),
    .name = "suffix",
    .summary = "suffix automaton: what followed the longest suffix of the text seen before",
    .flags = 0,
    .params = params,
    .mem_bytes = mem_bytes,
    .init = init,
    .append = append,
    .propose = propose,
};
