/* What the drafters of this folder share, and the registry's entries. */
#ifndef TANDEM_DRAFT_INTERNAL_H
#define TANDEM_DRAFT_INTERNAL_H

#include "sim/draft/draft.h"

extern const struct drafter_type lookup_drafter;
extern const struct drafter_type suffix_drafter;
extern const struct drafter_type aligned_drafter;
extern const struct drafter_type sam_author_drafter;
extern const struct drafter_type oracle_drafter;
extern const struct drafter_type parametric_drafter;

/* Ends the i-th remembered response in a text: no token of the vocabulary, and none that comes
 * twice, so that no match reaches across it. */
static inline int32_t draft_mark(int32_t i)
{
    return -2 - i;
}

/* Slots of an open-addressing table: the smallest power of two that is at least n, at least 1. */
static inline size_t draft_slots(size_t n)
{
    size_t slots = 1;
    while (slots < n)
        slots *= 2;
    return slots;
}

/* A source of tokens to copy: what followed position `end` in a text of n tokens, end < n - 1.
 * Where the copy reaches the end of the text it goes on with what it has copied itself, as LZ77
 * does, which is again the text from end + 1: a text that loops is continued for as long as asked,
 * however near the source is. */
struct draft_source {
    const int32_t *token; /* text + end + 1 */
    int32_t period;       /* n - 1 - end, at least 1 */
    int32_t at;           /* in [0, period) */
};

static inline struct draft_source draft_source_at(const int32_t *text, int32_t n, int32_t end)
{
    return (struct draft_source){text + end + 1, n - 1 - end, 0};
}

static inline int32_t draft_source_next(struct draft_source *s)
{
    int32_t token = s->token[s->at];
    s->at = s->at + 1 < s->period ? s->at + 1 : 0;
    return token;
}

#endif
