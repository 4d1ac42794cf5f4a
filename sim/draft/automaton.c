/* The automaton is that of Blumer et al. (Theoretical Computer Science 40, 1985), extended by one
 * token at a time in amortised O(1). */
#include "sim/draft/automaton.h"

#include <assert.h>
#include <stdbool.h>
#include <string.h>

#include "sim/base/hash.h"

enum { TOLD = 16, LINE = 64, BLOCK = 8 };

static size_t max_states(int32_t max_tokens)
{
    return max_tokens > 0 ? 2 * (size_t)max_tokens : 1;
}

size_t automaton_bytes(int32_t max_tokens)
{
    return max_states(max_tokens) * sizeof(struct automaton_state) +
           2 * (size_t)max_tokens * sizeof(struct automaton_edge) +
           ((size_t)max_tokens + draft_slots(4 * (size_t)max_tokens)) * sizeof(int32_t) + LINE -
           sizeof(int32_t);
}

static int32_t state_new(struct automaton *a, int32_t len, int32_t end)
{
    assert(a->n_states < (a->capacity > 0 ? 2 * a->capacity : 1));
    int32_t s = a->n_states++;
    a->state[s] = (struct automaton_state){
        .len = len, .link = -1, .first = end, .recent = end, .count = 1, .to = -1, .edge = -1};
    return s;
}

void automaton_init(struct automaton *a, void *mem, int32_t max_tokens)
{
    *a = (struct automaton){.capacity = max_tokens};
    a->slots = draft_slots(4 * (size_t)max_tokens);
    a->state = (void *)((char *)mem + (LINE - (uintptr_t)mem % LINE) % LINE);
    a->edge = (struct automaton_edge *)(a->state + max_states(max_tokens));
    a->text = (int32_t *)(a->edge + 2 * (size_t)max_tokens);
    a->slot = a->text + max_tokens;
    memset(a->slot, 0xff, a->slots * sizeof *a->slot);
    a->last = state_new(a, 0, -1);
}

/* What a slot holds for the first transition of a state; and the state. */
static int32_t first_of(int32_t state)
{
    return -2 - state;
}

/* Whether what a slot holds is the transition from `from` by `token`. */
static bool is_edge(const struct automaton *a, int32_t e, int32_t from, int32_t token)
{
    if (e < 0)
        return e == first_of(from) && a->state[from].token == token;
    return a->edge[e].token == token && a->edge[e].from == from;
}

/* The slot of the transition from `from` by `token`: it holds it, or -1 and may be filled. */
static int32_t *slot_of(const struct automaton *a, int32_t from, int32_t token,
                        struct draft_work *work)
{
    size_t i = hash_mix((uint64_t)from << 32 | (uint32_t)token) & (a->slots - 1);
    for (;; i = (i + 1) & (a->slots - 1)) {
        work->probes++;
        if (a->slot[i] == -1 || is_edge(a, a->slot[i], from, token))
            return &a->slot[i];
    }
}

/* Where the transition that a slot holds leads. */
static int32_t *target_of(const struct automaton *a, int32_t e)
{
    return e < 0 ? &a->state[first_of(e)].to : &a->edge[e].to;
}

/* A place for one more transition of a state that has its first: after the last one made where that
 * is free, else at the begin of a block for one more than the state has, BLOCK at most: together,
 * so that they can be read at once, and in less than twice the places that are used. */
static int32_t place_new(struct automaton *a, int32_t from)
{
    int32_t last = a->state[from].edge, next = a->n_edges, n = 1;
    if (last >= 0 && last + 1 < next && a->edge[last + 1].from == from && a->edge[last + 1].to < 0)
        return last + 1;
    for (int32_t e = last; e >= 0 && n < BLOCK; e = a->edge[e].next)
        n++;
    assert(n <= 2 * a->capacity - next);
    a->n_edges += n;
    for (int32_t i = next; i < a->n_edges; i++)
        a->edge[i] = (struct automaton_edge){.from = from, .to = -1};
    return next;
}

/* Fills an empty slot, which so many probes found. */
static void edge_new(struct automaton *a, int32_t *slot, int64_t probes, int32_t from,
                     int32_t token, int32_t to)
{
    struct automaton_state *s = &a->state[from];
    if (s->to < 0) {
        *slot = first_of(from);
        s->token = token;
        s->to = to;
        s->edge = -(int32_t)probes;
        return;
    }
    *slot = place_new(a, from);
    a->edge[*slot] = (struct automaton_edge){from, token, to, s->edge};
    s->edge = *slot;
}

static void edge_copy(struct automaton *a, int32_t from, int32_t token, int32_t to,
                      struct draft_work *work)
{
    int64_t before = work->probes;
    int32_t *slot = slot_of(a, from, token, work);
    edge_new(a, slot, work->probes - before, from, token, to);
    work->probes++;
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
    for (int32_t e = a->state[q].edge; e >= 0; e = a->edge[e].next)
        edge_copy(a, clone, a->edge[e].token, a->edge[e].to, work);
    edge_copy(a, clone, a->state[q].token, a->state[q].to, work);
    for (; p >= 0; p = a->state[p].link) {
        int32_t *to = target_of(a, *slot_of(a, p, token, work));
        work->probes++;
        if (*to != q)
            break;
        *to = clone;
    }
    return clone;
}

void automaton_append(struct automaton *a, int32_t token, struct draft_work *work)
{
    assert(a->n < a->capacity);
    int32_t whole = state_new(a, a->n + 1, a->n), p = a->last, *slot = NULL;
    a->last = whole;
    for (; p >= 0; p = a->state[p].link) {
        int64_t before = work->probes;
        slot = slot_of(a, p, token, work);
        int64_t probes = work->probes++ - before;
        if (*slot != -1)
            break;
        edge_new(a, slot, probes, p, token, whole);
    }
    int32_t link = 0;
    if (p >= 0) {
        link = *target_of(a, *slot);
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
    const struct automaton_state *s = &a->state[state];
    if (s->edge < 0 && s->token == token && s->to >= 0) {
        work->probes -= s->edge;
        return s->to;
    }
    int32_t e = *slot_of(a, state, token, work);
    return e == -1 ? -1 : *target_of(a, e);
}

void automaton_fetch(const struct automaton *a, int32_t state)
{
    const struct automaton_state *s = &a->state[state];
    if (s->to >= 0)
        __builtin_prefetch(&a->state[s->to]);
    if (s->edge >= 0) {
        __builtin_prefetch(&a->edge[s->edge]);
        __builtin_prefetch(&a->edge[s->edge > BLOCK / 2 ? s->edge - BLOCK / 2 : 0]);
        __builtin_prefetch(&a->text[s->recent + 1]);
    }
    if (s->link >= 0)
        __builtin_prefetch(&a->state[s->link]);
}
