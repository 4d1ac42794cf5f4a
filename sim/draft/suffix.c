/* Online suffix automaton (automaton.h): the longest suffix of the text that also ends at an
 * earlier position is looked up, and what followed it there is proposed. The automaton gives the
 * match when a token has been appended; it needs no search of its own.
 *
 * Where it was read: `first` is the earliest end of the match, `recent` its latest, which beyond
 * the longest states of the chain of links is an older end, still an end of the match.
 *
 * Length rule: at most max(least, base + alpha * match) tokens are proposed; all three 0, the
 * default, is no rule.
 *
 * With `history` earlier responses come before the prompt in the same text, each ended by a token
 * of its own that matches nothing; a copy stops there.
 *
 * Work: probes are the automaton's (append), and one for the match (propose). A node is a node
 * written.
 *
 * Memory: an automaton of limits.max_tokens, and with a history of limits.max_old and `history`
 * tokens more. */
#include <assert.h>
#include <string.h>

#include "sim/draft/automaton.h"

enum { P_MIN_MATCH, P_OCCURRENCE, P_BASE, P_ALPHA, P_LEAST, P_HISTORY };

enum { OCCURRENCE_RECENT, OCCURRENCE_FIRST };

static const char *const occurrences[] = {"recent", "first", NULL};

static const struct param params[] = {
    {"min_match", "shortest match that is used, tokens", 1, 1, 1 << 20, NULL, 0},
    {"occurrence", "which end of the match is continued", OCCURRENCE_RECENT, 0, 0, occurrences, 0},
    {"base", "propose at most base + alpha * match tokens; with alpha and least 0: no rule", 0, 0,
     1 << 20, NULL, 0},
    {"alpha", "tokens proposed per token of the match, see base", 0, 0, 1 << 10, NULL, 0},
    {"least", "tokens proposed however short the match, see base", 0, 0, 1 << 20, NULL, 0},
    {DRAFT_HISTORY, "earlier responses that are searched too", 0, 0, 1 << 16, NULL,
     PARAM_TAKES_NONE},
    {NULL, NULL, 0, 0, 0, NULL, 0},
};

struct suffix {
    struct automaton text;
    int32_t match_len, match_end; /* the longest suffix seen before; where it ended */
    int32_t min_match, occurrence, n_old;
    int64_t base, alpha, least, most; /* most 0: as many as are asked for */
};

static int32_t capacity(int64_t history, const struct draft_limits *limits)
{
    return (int32_t)(limits->max_tokens + (history ? limits->max_old + history : 0));
}

static size_t mem_bytes(const int64_t *param, const struct draft_limits *limits)
{
    return sizeof(struct suffix) + automaton_bytes(capacity(param[P_HISTORY], limits));
}

static void init(void *mem, const int64_t *param, const struct draft_limits *limits)
{
    struct suffix *d = mem;
    memset(d, 0, sizeof *d);
    d->match_end = -1;
    d->min_match = (int32_t)param[P_MIN_MATCH];
    d->occurrence = (int32_t)param[P_OCCURRENCE];
    d->base = param[P_BASE];
    d->alpha = param[P_ALPHA];
    d->least = param[P_LEAST];
    automaton_init(&d->text, d + 1, capacity(param[P_HISTORY], limits));
}

/* Appends one token and reads off the match. */
static void extend(struct suffix *d, int32_t token, struct draft_work *work)
{
    automaton_append(&d->text, token, work);
    const struct automaton_state *match = &d->text.state[d->text.state[d->text.last].link];
    d->match_len = match->len;
    d->match_end = d->occurrence == OCCURRENCE_FIRST ? match->first : match->recent;
    if (d->occurrence == OCCURRENCE_RECENT)
        automaton_tell(&d->text, work);
}

static void remember(void *self, const int32_t *token, int32_t n, struct draft_work *work)
{
    struct suffix *d = self;
    for (int32_t i = 0; i < n; i++)
        extend(d, token[i], work);
    extend(d, draft_mark(d->n_old++), work);
    work->tokens += n;
}

static void append(void *self, const int32_t *token, int32_t n, struct draft_work *work)
{
    struct suffix *d = self;
    assert(n >= 0 && n <= d->text.capacity - d->text.n);
    for (int32_t i = 0; i < n; i++)
        extend(d, token[i], work);
    work->tokens += n;
}

static int32_t length_rule(const struct suffix *d, int32_t max_nodes)
{
    if (d->base == 0 && d->alpha == 0 && d->least == 0)
        return max_nodes;
    int64_t most = d->base + d->alpha * d->match_len;
    if (most < d->least)
        most = d->least;
    if (d->most && most > d->most)
        most = d->most;
    return most < max_nodes ? (int32_t)most : max_nodes;
}

static void propose(void *self, int32_t max_nodes, struct draft_tree *out, struct draft_work *work)
{
    const struct suffix *d = self;
    out->n = 0;
    work->probes++;
    if (d->match_len < d->min_match)
        return;
    struct draft_source source = draft_source_at(d->text.text, d->text.n, d->match_end);
    for (int32_t most = length_rule(d, max_nodes); out->n < most; out->n++) {
        int32_t token = draft_source_next(&source);
        if (token < 0)
            break;
        out->token[out->n] = token;
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
    .remember = remember,
};

/* ---- the paper's author's rule -------------------------------------------------------------- */

/* In the author's public prototype (mllm, branch v1) a span of n tokens is the last token and n - 1
 * drafted ones: n is alpha times the match and one, at most max_predicts, and at least `least`
 * where there is a match. It is read where the match ended first. */
enum { A_MAX_PREDICTS, A_ALPHA, A_LEAST, A_HISTORY };

static const struct param author_params[] = {
    {"max_predicts", "longest span, tokens, the last one of the text included", 40, 2, 1 << 20,
     NULL, 0},
    {"alpha", "tokens of a span per token of the match", 4, 0, 1 << 10, NULL, 0},
    {"least", "shortest span, tokens, the last one of the text included", 10, 2, 1 << 20, NULL, 0},
    {DRAFT_HISTORY, "earlier responses that are searched too", 0, 0, 1 << 16, NULL,
     PARAM_TAKES_NONE},
    {NULL, NULL, 0, 0, 0, NULL, 0},
};

static size_t author_mem_bytes(const int64_t *param, const struct draft_limits *limits)
{
    return sizeof(struct suffix) + automaton_bytes(capacity(param[A_HISTORY], limits));
}

static void author_init(void *mem, const int64_t *param, const struct draft_limits *limits)
{
    struct suffix *d = mem;
    memset(d, 0, sizeof *d);
    d->match_end = -1;
    d->min_match = 1;
    d->occurrence = OCCURRENCE_FIRST;
    d->alpha = param[A_ALPHA];
    d->least = param[A_LEAST] - 1;
    d->most = param[A_MAX_PREDICTS] - 1;
    automaton_init(&d->text, d + 1, capacity(param[A_HISTORY], limits));
}

const struct drafter_type sam_author_drafter = {
    .abi = DRAFT_ABI,
    .size = sizeof(struct drafter_type),
    .name = "sam-author",
    .summary = "suffix automaton with the length rule of the paper's author's prototype",
    .flags = 0,
    .params = author_params,
    .mem_bytes = author_mem_bytes,
    .init = author_init,
    .append = append,
    .propose = propose,
    .remember = remember,
};
