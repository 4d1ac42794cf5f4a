/* A suffix automaton over a text that grows: every substring of the text leads to a state, and the
 * strings of a state end at the same positions. Private to sim/draft.
 *
 * The state of the whole text ends nowhere else, so its suffix link leads to the longest suffix
 * that ends at two positions or more (overlaps included); the links from there lead through all of
 * its shorter suffixes that end at more, down to state 0, the empty string.
 *
 * Where the strings of a state end: `first` is the earliest end, exactly. `recent` and `count`, the
 * latest end and the number of ends, are kept by automaton_tell for the longest states of the chain
 * of links alone, so that a token stays O(1) (exact answers for all are the rightmost-occurrence
 * problem of LZ77, which costs more): where it falls short, `recent` is an older end and `count` is
 * too small.
 *
 * Probes are table slots inspected, suffix links followed, transitions copied and states told.
 *
 * Memory for T tokens: at most 2 T states and 3 T transitions (2 T - 1 and 3 T - 4 from T = 3 on,
 * both reached); 24 bytes per state, 16 per transition, 4 per token, 4 per table slot, the slots
 * being the power of two in [4 T, 8 T): three quarters full at most. */
#ifndef TANDEM_DRAFT_AUTOMATON_H
#define TANDEM_DRAFT_AUTOMATON_H

#include "sim/draft/internal.h"

struct automaton_state {
    int32_t len;  /* of its longest string */
    int32_t link; /* the state of its longest suffix that ends at more positions; -1: the root's */
    int32_t edge; /* the first of its transitions, the one made last; or -1 */
    int32_t first, recent, count;
};

struct automaton_edge {
    int32_t from, token, to;
    int32_t next; /* of the same state, or -1 */
};

struct automaton {
    int32_t n, capacity; /* tokens */
    int32_t n_states, n_edges;
    int32_t last; /* the state of the whole text */
    size_t slots; /* a power of two */
    struct automaton_state *state;
    struct automaton_edge *edge;
    int32_t *text;
    int32_t *slot; /* an edge, or -1; keyed by (from, token) */
};

/* A multiple of 4. */
size_t automaton_bytes(int32_t max_tokens);

/* `mem` holds automaton_bytes(), aligned for int32_t, of any content. */
void automaton_init(struct automaton *a, void *mem, int32_t max_tokens);

/* Appends any int32_t as a token. */
void automaton_append(struct automaton *a, int32_t token, struct draft_work *work);

/* Tells the text's end, between one append and the next, where `recent` and `count` are wanted. */
void automaton_tell(struct automaton *a, struct draft_work *work);

/* The state that `token` leads to, or -1. */
int32_t automaton_next(const struct automaton *a, int32_t state, int32_t token,
                       struct draft_work *work);

#endif
