/* The automaton is that of Blumer et al. (Theoretical Computer Science 40, 1985), extended by one
 * token at a time in amortised O(1). */
#include "sim/draft/automaton.h"

#include <assert.h>
#include <string.h>

#include "sim/base/hash.h"

enum { TOLD = 16 };

static size_t max_states(int32_t max_tokens)
{
    return max_tokens > 0 ? 2 * (size_t)max_tokens : 1;
}

static size_t max_edges(int32_t max_tokens)
{
    return 3 * (size_t)max_tokens;
}

size_t automaton_bytes(int32_t max_tokens)
{
    return max_states(max_tokens) * sizeof(struct automaton_state) +
           max_edges(max_tokens) * sizeof(struct automaton_edge) +
           ((size_t)max_tokens + draft_slots(4 * (size_t)max_tokens)) * sizeof(int32_t);
}

static int32_t state_new(struct automaton *a, int32_t len, int32_t end)
{
    assert(a->n_states < (a->capacity > 0 ? 2 * a->capacity : 1));
    int32_t s = a->n_states++;
    a->state[s] = (struct automaton_state){len, -1, -1, end, end, 1};
    return s;
}

void automaton_init(struct automaton *a, void *mem, int32_t max_tokens)
{
    *a = (struct automaton){.capacity = max_tokens};
    a->slots = draft_slots(4 * (size_t)max_tokens);
    a->state = mem;
    a->edge = (struct automaton_edge *)(a->state + max_states(max_tokens));
    a->text = (int32_t *)(a->edge + max_edges(max_tokens));
    a->slot = a->text + max_tokens;
    memset(a->slot, 0xff, a->slots * sizeof *a->slot);
    a->last = state_new(a, 0, -1);
}

/* The slot of the transition from `from` by `token`: it holds the edge, or -1 and may be filled. */
static int32_t *slot_of(const struct automaton *a, int32_t from, int32_t token,
                        struct draft_work *work)
{
    size_t i = hash_mix((uint64_t)from << 32 | (uint32_t)token) & (a->slots - 1);
    for (;; i = (i + 1) & (a->slots - 1)) {
        work->probes++;
        int32_t e = a->slot[i];
        if (e < 0 || (a->edge[e].token == token && a->edge[e].from == from))
            return &a->slot[i];
    }
}

/* Fills an empty slot. */
static void edge_new(struct automaton *a, int32_t *slot, int32_t from, int32_t token, int32_t to)
{
    assert(a->n_edges < 3 * a->capacity);
    *slot = a->n_edges++;
    a->edge[*slot] = (struct automaton_edge){from, token, to, a->state[from].edge};
    a->state[from].edge = *slot;
}

/* Splits from q, which p reaches by `token`, a state for its strings up to the length of p's plus
 * one, and leads p and its suffixes there. */
static int32_t split(struct automaton *a, int32_t p, int32_t q, int32_t token,
                     struct draft_work *work)
{
    int32_t clone = state_new(a, a->state[p].len + 1, a->state[q].first);
    a->state[clone].recent = a->state[q].recent;
    a->state[clone].count = a->state[q].count;
    a->state[clone].link = a->state[q].link;
    a->state[q].link = clone;
    for (int32_t e = a->state[q].edge; e >= 0; e = a->edge[e].next) {
        const struct automaton_edge copy = a->edge[e];
        work->probes++;
        edge_new(a, slot_of(a, clone, copy.token, work), clone, copy.token, copy.to);
    }
    for (; p >= 0; p = a->state[p].link) {
        struct automaton_edge *e = &a->edge[*slot_of(a, p, token, work)];
        work->probes++;
        if (e->to != q)
            break;
        e->to = clone;
    }
    return clone;
}

void automaton_append(struct automaton *a, int32_t token, struct draft_work *work)
{
    assert(a->n < a->capacity);
    int32_t whole = state_new(a, a->n + 1, a->n), p = a->last, *slot = NULL;
    a->last = whole;
    for (; p >= 0; p = a->state[p].link) {
        slot = slot_of(a, p, token, work);
        work->probes++;
        if (*slot >= 0)
            break;
        edge_new(a, slot, p, token, whole);
    }
    int32_t link = 0;
    if (p >= 0) {
        link = a->edge[*slot].to;
        if (a->state[link].len != a->state[p].len + 1)
            link = split(a, p, link, token, work);
    }
    a->state[whole].link = link;
    a->text[a->n++] = token;
}

void automaton_tell(struct automaton *a, struct draft_work *work)
{
    int32_t s = a->state[a->last].link;
    for (int32_t i = 0; i < TOLD && s > 0; i++, s = a->state[s].link) {
        a->state[s].recent = a->n - 1;
        a->state[s].count++;
        work->probes++;
    }
}

int32_t automaton_next(const struct automaton *a, int32_t state, int32_t token,
                       struct draft_work *work)
{
    int32_t e = *slot_of(a, state, token, work);
    return e < 0 ? -1 : a->edge[e].to;
}
