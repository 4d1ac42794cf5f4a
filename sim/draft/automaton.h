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
 * Laid out for memory that is not near, as a step finds it: a state keeps the first of its
 * transitions itself, since most have no other, and what finding it costs, so that following it
 * reads the state alone; the others of a state lie in blocks.
 *
 * Memory for T tokens: at most 2 T states and 3 T transitions (2 T - 1 and 3 T - 4 from T = 3 on,
 * both reached). At most T of these are not the first of their state, for there are at most T - 2
 * more transitions than states (Blumer et al.) and only the state of the whole text has none;
 * blocks have less than twice the places that are used. So 32 bytes per state, 2 T times 16 for
 * transitions, 4 per token, 4 per table slot, the slots being the power of two in [4 T, 8 T): three
 * quarters full at most; and 60 to begin at a cache line. */
#ifndef TANDEM_DRAFT_AUTOMATON_H
#define TANDEM_DRAFT_AUTOMATON_H

#include "sim/draft/internal.h"

/* Half a cache line. */
struct automaton_state {
    int32_t len;  /* of its longest string */
    int32_t link; /* the state of its longest suffix that ends at more positions; -1: the root's */
    int32_t first, recent, count;
    int32_t token, to; /* its first transition; to -1: it has none */
    int32_t edge;      /* its other transitions, the one made last first; none: minus the probes
                        * that look up its first, which stay the same; without any -1 */
};

/* A transition that is not the first of its state. */
struct automaton_edge {
    int32_t from, token, to;
    int32_t next; /* of the same state, or negative */
};

struct automaton {
    int32_t n, capacity; /* tokens */
    int32_t n_states, n_edges;
    int32_t last; /* the state of the whole text */
    size_t slots; /* a power of two */
    struct automaton_state *state;
    struct automaton_edge *edge;
    int32_t *text;
    int32_t *slot; /* keyed by (from, token): an edge; -2 - from for the first of `from`; or -1 */
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

/* Begins to bring near what looking into a state will read. */
void automaton_fetch(const struct automaton *a, int32_t state);

#endif
