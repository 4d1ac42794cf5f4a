/* Context-aligned drafting: a tree of what the text's own past, the target's likely tokens in the
 * prompt and what was cut off by a rejection say together.
 *
 * Retrieval database. One suffix automaton (automaton.h) holds earlier responses (`history`), the
 * prompt and the output. Beside it lie, for every calibrated prompt position, the target's likely
 * next tokens with their probabilities; and runs of drafted tokens that a rejection cut off
 * although the target agreed with them.
 *
 * Chance of a token after a path. The longest suffix of text and path that the database holds, and
 * the next shorter ones along the suffix links (`chain` of them), each say what followed them: what
 * followed most often, the last time (`occurrence`) counted more, mixed with the target's likely
 * tokens at that occurrence, and of `ends` at the farthest one too, where they are in a calibrated
 * prompt. A suffix is trusted more the longer
 * it is and the fewer continuations it has; what it is not trusted with goes to the shorter ones.
 * A drafted token moves the match on: a copy is trusted more the longer it goes, and a likely token
 * that never followed is looked up where it does occur, where the likely tokens of that place come
 * in: the calibrated tree, depth first, found as far as a draft asks for it and never stored.
 *
 * Tree. The candidate with the largest product of chances along its path is taken, again and again,
 * until max_nodes are; at most `branches` paths. So a long match gives a long chain and a short one
 * gives alternatives. The best child of a node comes first.
 *
 * Reuse. Of the rows that a verified step rejected, the longest path segment in which every token
 * is what the target chose after the one before it, under rejected tokens (Eq. 3 of sd.npu, along
 * the paths of a tree that `agreed` says), is kept for the next `keep` steps, at most `flights`
 * runs at once, and on until more than `reuse_max` tokens were drafted since. `reuse` says where it
 * is attached: `root`, after the last token; `offset`, at the depth that it had, after the rejected
 * tokens before it; `end`, after the end of the best path; and wherever the last token is a token
 * of the run, after that.
 *
 * Arithmetic is in integers: the same tree on every machine.
 *
 * Work: a probe is one of the automaton's, a continuation or likely token or run token considered,
 * or a row looked at (rejected). A node is a node written. With k nodes asked for, propose takes at
 * most PROBES probes per node and chain link.
 *
 * Memory for T = limits.max_tokens (and with a history limits.max_old + `history` tokens more), N =
 * limits.max_nodes: the automaton; 8 `calibration` T bytes of likely tokens, with a smaller
 * `capacity` C (8 `calibration` + 4) C; 72 + 16 PICKS bytes for each of N + 1 nodes; 4 (N + 1) for
 * each of `flights` + 1 runs. */
#include <assert.h>
#include <stdbool.h>
#include <string.h>

#include "sim/draft/automaton.h"

enum {
    PICKS = 16,  /* tokens considered after a path */
    EDGES = 12,  /* continuations considered of a suffix, the newest first */
    LINKS = 16,  /* links followed to find where a token continues */
    BUCKETS = 8, /* of match lengths */
    MAX_FLIGHTS = 8,
    COMMON = 16
};

/* Chances along a path are in 2^-32, those of one token in 1 / DRAFT_SURE. */
#define PATH_SURE (UINT64_C(1) << 32)

enum {
    P_CALIBRATION,
    P_THRESHOLD,
    P_HISTORY,
    P_BRANCHES,
    P_CHAIN,
    P_MIN_MATCH,
    P_OCCURRENCE,
    P_RECENT,
    P_ENDS,
    P_COMMON,
    P_REUSE,
    P_REUSE_MAX,
    P_FLIGHTS,
    P_KEEP,
    P_AGREED,
    P_MERGE,
    P_DUPLICATES,
    P_SKIP,
    P_CAPACITY,
    N_PARAMS
};

enum { OCCURRENCE_RECENT, OCCURRENCE_FIRST };
enum { ENDS_BOTH, ENDS_ONE };
enum { REUSE_NONE, REUSE_ROOT, REUSE_OFFSET, REUSE_END };
enum { AGREED_EVERY, AGREED_UNDER, AGREED_BEST };
enum { MERGE_MIXED, MERGE_CONTEXT, MERGE_LIKELY, MERGE_HALF };
enum { DUPLICATES_ADD, DUPLICATES_LARGER };

static const char *const occurrences[] = {"recent", "first", NULL};
static const char *const ends[] = {"both", "one", NULL};
static const char *const reuses[] = {"none", "root", "offset", "end", NULL};
static const char *const agreements[] = {"every", "under", "best", NULL};
static const char *const merges[] = {"mixed", "context", "likely", "half", NULL};
static const char *const sums[] = {"add", "larger", NULL};

static const struct param params[] = {
    {"calibration", "likely tokens kept of each prompt position; 0: not calibrated", 4, 0, 16, NULL,
     0},
    {"threshold", "likely tokens are kept from this probability on, percent", 5, 0, 100, NULL, 0},
    {DRAFT_HISTORY, "earlier responses that are searched too", 0, 0, 1 << 16, NULL,
     PARAM_TAKES_NONE},
    {DRAFT_BRANCHES, "paths of the tree at most; 1 proposes a chain", 8, 1, 512, NULL, 0},
    {"chain", "suffixes of the text that are asked, the longest first", 4, 1, 16, NULL, 0},
    {"min_match", "shortest suffix that is asked, tokens", 1, 1, 1 << 20, NULL, 0},
    {"occurrence", "which end of a suffix counts more", OCCURRENCE_RECENT, 0, 0, occurrences, 0},
    {"recent", "how much more it counts, in occurrences", 1, 0, 64, NULL, 0},
    {"ends",
     "whose likely tokens a suffix brings: of its last and its first end, or the occurrence's",
     ENDS_BOTH, 0, 0, ends, 0},
    {"common", "tokens that come most often, proposed where suffixes leave room", 8, 0, COMMON,
     NULL, 0},
    {"reuse", "where a run that a rejection cut off is attached", REUSE_OFFSET, 0, 0, reuses, 0},
    {"reuse_max", "a run is dropped when more tokens than this were drafted since", 32, 0, 1 << 20,
     NULL, 0},
    {"flights", "runs kept at once", 1, 1, MAX_FLIGHTS, NULL, 0},
    {"keep", "steps that a run is kept at least, whatever was drafted", 1, 1, 1 << 20, NULL, 0},
    {"agreed", "where a run is looked for: every path, under the accepted one's end, the best path",
     AGREED_EVERY, 0, 0, agreements, 0},
    {"merge", "what comes first: the likelier, what followed in the context, the likely tokens",
     MERGE_MIXED, 0, 0, merges, 0},
    {"duplicates", "chances of one token from two sources", DUPLICATES_ADD, 0, 0, sums, 0},
    {"skip", "first prompt tokens, as a template's, whose likely tokens are not kept", 0, 0,
     1 << 20, NULL, 0},
    {"capacity", "prompt positions whose likely tokens are kept, the last ones; 0: all", 0, 0,
     1 << 20, NULL, 0},
    {NULL, NULL, 0, 0, 0, NULL, 0},
};

/* Measured on the calibration split (README.md), per DRAFT_SURE. By the length of the match: */
static const struct {
    int32_t trust[BUCKETS][2]; /* that the next token is among the continuations; of one, of more */
    int32_t likely[BUCKETS];   /* the share of the target's likely tokens in what a suffix says */
    int32_t other;             /* of these, the share of the end that counts less */
    int32_t run[2];            /* that a run's first token comes, and that it goes on */
    int32_t common;            /* how much its share of the text counts for a common token */
} model = {
    .trust = {{25000, 25000},
              {26000, 27000},
              {28000, 28000},
              {34000, 29000},
              {38000, 47000},
              {48000, 50000},
              {50000, 54000},
              {51000, 58000}},
    .likely = {21000, 20000, 16000, 10000, 7000, 6500, 5000, 4000},
    .other = 22000,
    .run = {1500, 50000},
    .common = 25000,
};

struct likely {
    int32_t token, chance; /* token -1: none from here on */
};

struct node {
    uint64_t chance; /* of the path to it */
    int32_t token, parent;
    int32_t state, len;  /* the longest suffix of text and path that the automaton holds */
    int32_t run, at;     /* the run that it is on, and the place of its next token; run -1 */
    int32_t child, next; /* the first child, the next of the same parent; -1 */
    int32_t written;     /* its place in the proposal */
    int32_t pick, picks; /* where what may come after it begins, and how many there are */
};

/* The best of what may come after a node and was not taken yet. */
struct candidate {
    uint64_t chance;
    int32_t parent, pick;
};

struct pick {
    int32_t token, weight, run, at;
};

struct picks {
    int32_t n;
    bool larger;       /* of two weights of one token the larger counts; else their sum */
    uint64_t seen;     /* a bit for each token, which it may share with others */
    struct pick *pick; /* [PICKS] */
};

/* A run with the rejected tokens before it: `lead` of n tokens. */
struct run {
    int32_t n, lead;
    int32_t skip;              /* tokens at depths that were accepted meanwhile */
    int32_t appended, drafted; /* since the new root */
    int32_t steps;             /* that it was offered to */
    int32_t *token;            /* [max_nodes + 1] */
};

struct aligned {
    struct automaton text;
    int64_t param[N_PARAMS];
    int32_t n_old, base; /* responses remembered, tokens that they take */
    int32_t max_tokens, n_vocab, n_slots;
    struct likely *likely; /* [n_slots][calibration], of position p at p modulo n_slots */
    int32_t *held;         /* [n_slots] the position there; NULL: every one has its own */
    int32_t n_common;
    struct {
        int32_t token, count;
    } common[COMMON];             /* the commonest first */
    int32_t common_share[COMMON]; /* of the text, in 1 / DRAFT_SURE; scratch */
    int32_t n_runs;
    struct run run[MAX_FLIGHTS + 1];
    /* scratch */
    int32_t n_nodes, n_leaves, n_candidates, n_picks;
    struct node *node;           /* [max_nodes + 1], 0: the root */
    struct candidate *candidate; /* [max_nodes + 1], a heap */
    struct pick *pick;           /* [(max_nodes + 1) * PICKS] */
};

/* ---- life ----------------------------------------------------------------------------------- */

static int32_t capacity(const int64_t *param, const struct draft_limits *limits)
{
    int64_t old = param[P_HISTORY] ? limits->max_old + param[P_HISTORY] : 0;
    return (int32_t)(limits->max_tokens + old);
}

/* Whether likely tokens of some positions give way to later ones'. */
static bool evicts(const int64_t *param, const struct draft_limits *limits)
{
    return param[P_CALIBRATION] && param[P_CAPACITY] && param[P_CAPACITY] < limits->max_tokens;
}

static size_t n_slots(const int64_t *param, const struct draft_limits *limits)
{
    return (size_t)(evicts(param, limits) ? param[P_CAPACITY] : limits->max_tokens);
}

static size_t mem_bytes(const int64_t *param, const struct draft_limits *limits)
{
    size_t rows = (size_t)limits->max_nodes + 1;
    return sizeof(struct aligned) +
           rows * (sizeof(struct node) + sizeof(struct candidate) + PICKS * sizeof(struct pick)) +
           (size_t)param[P_CALIBRATION] * n_slots(param, limits) * sizeof(struct likely) +
           (evicts(param, limits) ? n_slots(param, limits) * sizeof(int32_t) : 0) +
           rows * (size_t)(param[P_FLIGHTS] + 1) * sizeof(int32_t) +
           automaton_bytes(capacity(param, limits));
}

static void init(void *mem, const int64_t *param, const struct draft_limits *limits)
{
    struct aligned *d = mem;
    size_t rows = (size_t)limits->max_nodes + 1, slots = n_slots(param, limits);
    size_t n = (size_t)param[P_CALIBRATION] * slots;
    memset(d, 0, sizeof *d);
    memcpy(d->param, param, sizeof d->param);
    d->max_tokens = limits->max_tokens;
    d->n_vocab = limits->n_vocab;
    d->node = (struct node *)(void *)(d + 1);
    d->candidate = (struct candidate *)(void *)(d->node + rows);
    d->pick = (struct pick *)(void *)(d->candidate + rows);
    d->likely = (struct likely *)(void *)(d->pick + rows * PICKS);
    for (size_t i = 0; i < n; i++)
        d->likely[i].token = -1;
    int32_t *words = (int32_t *)(void *)(d->likely + n);
    d->n_slots = (int32_t)slots;
    d->held = evicts(param, limits) ? words : NULL;
    for (size_t i = 0; d->held && i < slots; i++)
        *words++ = -1;
    for (int32_t i = 0; i <= param[P_FLIGHTS]; i++, words += rows)
        d->run[i].token = words;
    automaton_init(&d->text, words, capacity(param, limits));
}

/* Keeps the list of the commonest tokens, as far as they were told. */
static void count_common(struct aligned *d, int32_t token, struct draft_work *work)
{
    int32_t state = automaton_next(&d->text, 0, token, work), at = 0;
    if (token < 0 || state < 0)
        return;
    int32_t count = d->text.state[state].count;
    while (at < d->n_common && d->common[at].token != token)
        at++;
    work->probes += at;
    if (at == d->n_common && at < COMMON)
        d->common[d->n_common++].token = token;
    else if (at == d->n_common && count <= d->common[--at].count)
        return;
    for (; at > 0 && d->common[at - 1].count < count; at--)
        d->common[at] = d->common[at - 1];
    d->common[at].token = token;
    d->common[at].count = count;
}

/* The text's own end is told when it has been continued: until then it has nothing to say. */
static void extend(struct aligned *d, int32_t token, struct draft_work *work)
{
    if (d->text.n) {
        automaton_tell(&d->text, work);
        if (d->param[P_COMMON])
            count_common(d, d->text.text[d->text.n - 1], work);
    }
    automaton_append(&d->text, token, work);
}

static void remember(void *self, const int32_t *token, int32_t n, struct draft_work *work)
{
    struct aligned *d = self;
    for (int32_t i = 0; i < n; i++)
        extend(d, token[i], work);
    extend(d, draft_mark(d->n_old++), work);
    d->base = d->text.n;
    work->tokens += n;
}

static void append(void *self, const int32_t *token, int32_t n, struct draft_work *work)
{
    struct aligned *d = self;
    assert(n >= 0 && n <= d->text.capacity - d->text.n);
    for (int32_t i = 0; i < n; i++)
        extend(d, token[i], work);
    for (int32_t i = 0; i < d->n_runs; i++)
        d->run[i].appended += n;
    work->tokens += n;
}

/* ---- calibration ---------------------------------------------------------------------------- */

/* e^x for x <= 0, by (1 + x / 256)^256: within 4 % of it where it is above 0.01. */
static double exp_below(double x)
{
    double y = x > -256 ? 1 + x / 256 : 0;
    for (int i = 0; i < 8; i++)
        y *= y;
    return y;
}

/* Where a position's likely tokens go; NULL: they are not kept. The latest position stays, whatever
 * the order in which they come. */
static struct likely *slot_for(struct aligned *d, int32_t pos)
{
    int32_t slot = pos % d->n_slots;
    if (pos < d->param[P_SKIP] || (d->held && d->held[slot] > pos))
        return NULL;
    if (d->held)
        d->held[slot] = pos;
    return d->likely + (size_t)slot * (size_t)d->param[P_CALIBRATION];
}

/* Probabilities are among the tokens given: what the target thinks of all others is not known. */
static void calibrate(void *self, int32_t pos, int32_t n, int32_t k, const int32_t *top,
                      const float *logit, struct draft_work *work)
{
    struct aligned *d = self;
    int32_t most = (int32_t)d->param[P_CALIBRATION];
    double least = (double)d->param[P_THRESHOLD] / 100;
    assert(pos >= 0 && n <= d->max_tokens - pos);
    for (int32_t i = 0; i < n && most; i++, top += k, logit += k) {
        struct likely *to = slot_for(d, pos + i);
        double sum = 0;
        if (!to)
            continue;
        for (int32_t j = 0; j < k && top[j] >= 0; j++)
            sum += exp_below((double)logit[j] - (double)logit[0]);
        for (int32_t j = 0; j < most; j++) {
            bool there = j < k && top[j] >= 0 && top[j] < d->n_vocab;
            double p = there ? exp_below((double)logit[j] - (double)logit[0]) / sum : 0;
            if (!there || p < least) {
                to[j].token = -1;
                break;
            }
            to[j] = (struct likely){top[j], (int32_t)(p * DRAFT_SURE)};
            work->probes++;
        }
    }
}

/* ---- reuse ---------------------------------------------------------------------------------- */

/* The end of the accepted path. */
static int32_t accepted_end(int32_t n, const int32_t *token, const int32_t *parent,
                            const int32_t *choice)
{
    int32_t at = 0;
    for (int32_t i = 1; i < n; i++)
        if ((parent ? parent[i] : i - 1) == at && choice[at] == token[i])
            at = i;
    return at;
}

/* A row of a verified step, in the nodes' scratch: `child` says whether it is on the accepted path,
 * `len` how many rows up to it the target agreed with, `at` its depth, `next` whether a run may
 * have it. */
static int32_t longest_run(struct aligned *d, int32_t n, const int32_t *token,
                           const int32_t *parent, const int32_t *choice, int32_t *accepted)
{
    struct node *row = d->node;
    int64_t where = d->param[P_AGREED];
    int32_t at = 0, best = 0, end = accepted_end(n, token, parent, choice);
    row[0] = (struct node){.child = 1, .parent = -1};
    for (int32_t i = 1; i < n; i++) {
        int32_t p = parent ? parent[i] : i - 1;
        bool agreed = p >= 0 && choice[p] == token[i];
        row[i] = (struct node){.token = token[i], .parent = p, .at = p < 0 ? 0 : row[p].at + 1};
        row[i].next = where == AGREED_EVERY  ? 1
                      : where == AGREED_BEST ? p == i - 1 && (p == 0 || row[p].next)
                                             : p == end || (p >= 0 && row[p].next);
        if (p == at && agreed) {
            row[i].child = 1;
            at = i;
        } else if (agreed && !row[p].child && row[i].next) {
            row[i].len = row[p].len + 1;
        }
        if (row[i].len > row[best].len)
            best = i;
    }
    *accepted = row[at].at;
    return best;
}

/* Keeps the run that ends at row `best`, with what lies between the new root's depth, which is one
 * more than that of the last accepted row, and it. */
static void keep_run(struct aligned *d, int32_t best, int32_t accepted, struct draft_work *work)
{
    int32_t flights = (int32_t)d->param[P_FLIGHTS];
    struct run fresh = d->run[flights];
    int32_t first = d->node[best].at - d->node[best].len + 1, next = accepted + 2;
    fresh.lead = first > next ? first - next : 0;
    fresh.skip = first < next ? next - first : 0;
    fresh.n = fresh.lead + d->node[best].len;
    fresh.appended = -accepted - 1; /* the step's own tokens come next */
    fresh.drafted = fresh.steps = 0;
    for (int32_t i = fresh.n - 1, row = best; i >= 0; i--, row = d->node[row].parent)
        fresh.token[i] = d->node[row].token;
    work->probes += fresh.n;
    memmove(d->run + 1, d->run, (size_t)flights * sizeof *d->run);
    d->run[0] = fresh;
    d->n_runs += d->n_runs < flights;
}

static void rejected(void *self, int32_t n, const int32_t *token, const int32_t *parent,
                     const int32_t *choice, struct draft_work *work)
{
    struct aligned *d = self;
    int32_t kept = 0, accepted;
    if (d->param[P_REUSE] == REUSE_NONE)
        return;
    for (int32_t i = 0; i < d->n_runs; i++) {
        d->run[i].drafted += n - 1;
        d->run[i].steps++;
        if (d->run[i].drafted > d->param[P_REUSE_MAX] && d->run[i].steps >= d->param[P_KEEP])
            continue;
        struct run r = d->run[i];
        d->run[i] = d->run[kept];
        d->run[kept++] = r;
    }
    d->n_runs = kept;
    int32_t best = longest_run(d, n, token, parent, choice, &accepted);
    work->probes += n;
    if (best)
        keep_run(d, best, accepted, work);
}

/* ---- what may come next --------------------------------------------------------------------- */

static int32_t bucket(int32_t len)
{
    static const int32_t above[BUCKETS - 1] = {1, 2, 3, 4, 6, 9, 14};
    int32_t b = 0;
    while (b < BUCKETS - 1 && len > above[b])
        b++;
    return b;
}

/* Of what is not negative. */
static int32_t part(int32_t of, int64_t share)
{
    return (int32_t)((uint64_t)of * (uint64_t)share / DRAFT_SURE);
}

static struct pick *add_pick(struct picks *p, int32_t token, int32_t weight,
                             struct draft_work *work)
{
    uint64_t bit = UINT64_C(1) << ((uint32_t)token % 64);
    work->probes++;
    for (int32_t i = p->seen & bit ? 0 : p->n; i < p->n; i++)
        if (p->pick[i].token == token) {
            if (!p->larger)
                p->pick[i].weight += weight;
            else if (p->pick[i].weight < weight)
                p->pick[i].weight = weight;
            return &p->pick[i];
        }
    if (p->n == PICKS || weight <= 0 || token < 0)
        return NULL;
    p->seen |= bit;
    p->pick[p->n] = (struct pick){token, weight, -1, 0};
    return &p->pick[p->n++];
}

/* The likely tokens after a position of the text, or NULL. */
static const struct likely *likely_after(const struct aligned *d, int32_t end)
{
    int32_t k = (int32_t)d->param[P_CALIBRATION], pos = end - d->base;
    if (!k || pos < 0 || pos >= d->max_tokens)
        return NULL;
    int32_t slot = d->held ? pos % d->n_slots : pos;
    const struct likely *at = d->likely + (size_t)slot * (size_t)k;
    return (!d->held || d->held[slot] == pos) && at->token >= 0 ? at : NULL;
}

/* Those where a suffix ended: of the end that counts more, and of the other one, or NULL. */
static void likely_at(const struct aligned *d, const struct automaton_state *s,
                      const struct likely *at[2])
{
    bool first = d->param[P_OCCURRENCE] == OCCURRENCE_FIRST;
    at[0] = likely_after(d, first ? s->first : s->recent);
    at[1] = likely_after(d, first ? s->recent : s->first);
    if (!at[0])
        at[0] = at[1];
    if (at[1] == at[0] || d->param[P_ENDS] == ENDS_ONE)
        at[1] = NULL;
}

static void fetch_likely(const struct aligned *d, int32_t end)
{
    int32_t k = (int32_t)d->param[P_CALIBRATION], pos = end - d->base;
    if (!d->held && pos >= 0 && pos < d->max_tokens)
        __builtin_prefetch(d->likely + (size_t)pos * (size_t)k);
}

/* Begins to bring near what asking a suffix will read. */
static void fetch_suffix(const struct aligned *d, int32_t state)
{
    const struct automaton_state *s = &d->text.state[state];
    automaton_fetch(&d->text, state);
    fetch_likely(d, s->recent);
    fetch_likely(d, s->first);
}

/* The continuations of a suffix, with how often they came: the occurrence's, the others. */
struct continuations {
    int32_t n;
    int64_t sum;
    int32_t token[EDGES], count[EDGES];
};

static void add_continuation(const struct aligned *d, int32_t token, int32_t to, int32_t again,
                             struct continuations *c, struct draft_work *work)
{
    work->probes++;
    if (token < 0 || token == again)
        return;
    c->token[c->n] = token;
    c->count[c->n] = d->text.state[to].count;
    c->sum += c->count[c->n++];
}

static void find_continuations(const struct aligned *d, const struct automaton_state *s,
                               struct continuations *c, struct draft_work *work)
{
    const struct automaton *a = &d->text;
    int32_t end = d->param[P_OCCURRENCE] == OCCURRENCE_FIRST ? s->first : s->recent;
    int32_t again = end < 0 || end + 1 >= a->n ? -1 : s->edge < 0 ? s->token : a->text[end + 1];
    c->n = 0;
    c->sum = 0;
    if (again >= 0) {
        int32_t to = automaton_next(a, (int32_t)(s - a->state), again, work);
        c->token[c->n] = again;
        fetch_suffix(d, to); /* where the path is likely to go */
        c->count[c->n++] = a->state[to].count + (int32_t)d->param[P_RECENT];
        c->sum += c->count[0];
    }
    for (int32_t e = s->edge; e >= 0 && c->n < EDGES; e = a->edge[e].next)
        add_continuation(d, a->edge[e].token, a->edge[e].to, again, c, work);
    if (s->to >= 0 && c->n < EDGES)
        add_continuation(d, s->token, s->to, again, c, work);
}

/* The share of the target's likely tokens in what a suffix of bucket b says. Whoever comes first
 * has all but a little. */
static int32_t likely_share(const struct aligned *d, int32_t b)
{
    static const int32_t little = DRAFT_SURE / 64;
    switch (d->param[P_MERGE]) {
    case MERGE_CONTEXT:
        return little;
    case MERGE_LIKELY:
        return DRAFT_SURE - little;
    case MERGE_HALF:
        return DRAFT_SURE / 2;
    default:
        return model.likely[b];
    }
}

static void add_likely(const struct aligned *d, const struct likely *at, int32_t share,
                       struct picks *p, struct draft_work *work)
{
    for (int64_t i = 0; i < d->param[P_CALIBRATION] && at[i].token >= 0; i++)
        add_pick(p, at[i].token, part(share, at[i].chance), work);
}

/* Adds what one suffix of length len says; returns what is left for the shorter ones. */
static int32_t ask_suffix(const struct aligned *d, int32_t state, int32_t len, int32_t left,
                          struct picks *p, struct draft_work *work)
{
    const struct automaton_state *s = &d->text.state[state];
    const struct likely *likely[2];
    struct continuations c;
    likely_at(d, s, likely);
    find_continuations(d, s, &c, work);
    if (!c.n && !likely[0])
        return left;
    int32_t b = bucket(len), share = part(left, model.trust[b][c.n > 1]);
    int32_t target = !likely[0] ? 0 : c.n ? part(share, likely_share(d, b)) : share;
    for (int32_t i = 0; i < c.n; i++)
        add_pick(p, c.token[i], (int32_t)((share - target) * (int64_t)c.count[i] / c.sum), work);
    int32_t other = likely[1] ? part(target, model.other) : 0;
    if (likely[0])
        add_likely(d, likely[0], target - other, p, work);
    if (likely[1])
        add_likely(d, likely[1], other, p, work);
    return left - share;
}

/* What a run says of its token `at`; returns what is left. */
static int32_t ask_run(const struct aligned *d, int32_t run, int32_t at, int32_t trust,
                       int32_t left, struct picks *p, struct draft_work *work)
{
    const struct run *r = &d->run[run];
    if (at >= r->n)
        return left;
    int32_t share = part(left, trust);
    struct pick *pick = add_pick(p, r->token[at], share, work);
    if (pick && pick->run < 0) {
        pick->run = run;
        pick->at = at + 1;
    }
    return left - share;
}

/* Where runs go on after the text's last token. */
static int32_t ask_runs(const struct aligned *d, int32_t left, struct picks *p,
                        struct draft_work *work)
{
    int32_t last = d->text.n ? d->text.text[d->text.n - 1] : -1;
    for (int32_t i = 0; i < d->n_runs; i++) {
        const struct run *r = &d->run[i];
        int32_t found = r->lead;
        while (found < r->n && r->token[found] != last)
            found++;
        work->probes++;
        if (found + 1 < r->n)
            left = ask_run(d, i, found + 1, model.run[1], left, p, work);
        else if (d->param[P_REUSE] == REUSE_ROOT)
            left = ask_run(d, i, r->lead, model.run[0], left, p, work);
        else if (d->param[P_REUSE] == REUSE_OFFSET)
            left = ask_run(d, i, r->appended + r->skip, model.run[0], left, p, work);
    }
    return left;
}

static void find_picks(const struct aligned *d, int32_t node, struct picks *p,
                       struct draft_work *work)
{
    const struct node *x = &d->node[node];
    int32_t left = DRAFT_SURE, s = x->state, len = x->len;
    if (x->run >= 0)
        left = ask_run(d, x->run, x->at, model.run[1], left, p, work);
    else if (node == 0)
        left = ask_runs(d, left, p, work);
    if (s == d->text.last) { /* it ends nowhere else */
        s = d->text.state[s].link;
        len = s < 0 ? 0 : d->text.state[s].len;
    }
    int32_t next = s;
    for (int64_t i = 0; i < d->param[P_CHAIN] && next > 0; i++, next = d->text.state[next].link)
        fetch_suffix(d, next);
    for (int64_t i = 0; i < d->param[P_CHAIN] && s > 0 && len >= d->param[P_MIN_MATCH]; i++) {
        left = ask_suffix(d, s, len, left, p, work);
        s = d->text.state[s].link;
        len = d->text.state[s].len;
    }
    left = part(left, model.common);
    for (int32_t i = 0; i < d->param[P_COMMON] && i < d->n_common; i++)
        add_pick(p, d->common[i].token, part(left, d->common_share[i]), work);
}

/* ---- the tree ------------------------------------------------------------------------------- */

/* Of two equal ones the one that was found first is taken. */
static bool above(const struct candidate *a, const struct candidate *b)
{
    return a->chance != b->chance ? a->chance > b->chance : a->parent < b->parent;
}

static void push(struct aligned *d, const struct candidate *c)
{
    int32_t i = d->n_candidates++;
    for (; i > 0 && above(c, &d->candidate[(i - 1) / 2]); i = (i - 1) / 2)
        d->candidate[i] = d->candidate[(i - 1) / 2];
    d->candidate[i] = *c;
}

static struct candidate pop(struct aligned *d)
{
    struct candidate top = d->candidate[0], *last = &d->candidate[--d->n_candidates];
    int32_t i = 0;
    for (int32_t child; (child = 2 * i + 1) < d->n_candidates; i = child) {
        if (child + 1 < d->n_candidates && above(&d->candidate[child + 1], &d->candidate[child]))
            child++;
        if (!above(&d->candidate[child], last))
            break;
        d->candidate[i] = d->candidate[child];
    }
    d->candidate[i] = *last;
    return top;
}

/* The best of what may come after a node and was not taken; chance 0: there is none. */
static struct candidate best_after(const struct aligned *d, int32_t node)
{
    const struct node *x = &d->node[node];
    struct candidate best = {0, node, x->pick};
    for (int32_t i = x->pick; i < x->pick + x->picks; i++) {
        uint64_t chance = x->chance * (uint64_t)d->pick[i].weight / DRAFT_SURE;
        if (chance > best.chance) {
            best.chance = chance;
            best.pick = i;
        }
    }
    return best;
}

/* Offers the best of what may come after a node, and keeps the rest where there is room for another
 * path. */
static void offer(struct aligned *d, int32_t node, struct draft_work *work)
{
    struct node *x = &d->node[node];
    struct picks p = {.larger = d->param[P_DUPLICATES] == DUPLICATES_LARGER,
                      .pick = d->pick + d->n_picks};
    find_picks(d, node, &p, work);
    x->pick = d->n_picks;
    x->picks = p.n;
    struct candidate best = best_after(d, node);
    if (!best.chance)
        return;
    if (d->n_leaves >= d->param[P_BRANCHES]) {
        d->pick[x->pick] = d->pick[best.pick];
        best.pick = x->pick;
        x->picks = 1;
    }
    d->n_picks += x->picks;
    push(d, &best);
}

/* Offers the best that is left. */
static void offer_again(struct aligned *d, int32_t node)
{
    struct candidate best = best_after(d, node);
    if (best.chance)
        push(d, &best);
}

/* Moves the match on by a token: to the longest suffix of the old one that goes on so, as far as
 * LINKS links lead, else to the token alone. */
static void follow(const struct aligned *d, struct node *x, int32_t token, struct draft_work *work)
{
    const struct automaton_state *state = d->text.state;
    for (int32_t i = 0; i < LINKS; i++) {
        int32_t to = automaton_next(&d->text, x->state, token, work);
        if (to >= 0) {
            x->state = to;
            x->len++;
            return;
        }
        if (x->state == 0)
            return;
        x->state = state[x->state].link;
        x->len = state[x->state].len;
    }
    int32_t to = automaton_next(&d->text, 0, token, work);
    x->state = to > 0 ? to : 0;
    x->len = to > 0;
}

/* Takes a token into the tree; its parent's children stay ordered, the best first. */
static int32_t take(struct aligned *d, int32_t parent, const struct pick *p, uint64_t chance,
                    struct draft_work *work)
{
    int32_t i = d->n_nodes++;
    d->node[i] = (struct node){.chance = chance,
                               .token = p->token,
                               .parent = parent,
                               .state = d->node[parent].state,
                               .len = d->node[parent].len,
                               .run = p->run,
                               .at = p->at,
                               .child = -1,
                               .next = -1};
    follow(d, &d->node[i], p->token, work);
    int32_t *link = &d->node[parent].child;
    d->n_leaves += *link >= 0 || d->n_nodes == 2;
    while (*link >= 0 && d->node[*link].chance >= chance)
        link = &d->node[*link].next;
    d->node[i].next = *link;
    *link = i;
    return i;
}

/* When there are as many paths as there may be only what has no child yet goes on. */
static void grow(struct aligned *d, int32_t max_nodes, struct draft_work *work)
{
    while (d->n_candidates && d->n_nodes <= max_nodes) {
        struct candidate c = pop(d);
        if (d->node[c.parent].child >= 0 && d->n_leaves >= d->param[P_BRANCHES])
            continue;
        int32_t node = take(d, c.parent, &d->pick[c.pick], c.chance, work);
        d->pick[c.pick].weight = 0;
        if (d->n_leaves < d->param[P_BRANCHES])
            offer_again(d, c.parent);
        if (d->n_nodes <= max_nodes)
            offer(d, node, work);
    }
}

/* Puts the newest run after the end of the best path, as far as there is room. */
static void append_run(struct aligned *d, int32_t max_nodes, struct draft_work *work)
{
    int32_t end = 0;
    while (d->node[end].child >= 0)
        end = d->node[end].child;
    for (int32_t at = d->run[0].lead; at < d->run[0].n && d->n_nodes <= max_nodes; at++) {
        int32_t trust = model.run[at > d->run[0].lead];
        uint64_t chance = d->node[end].chance * (uint64_t)trust / DRAFT_SURE;
        struct pick p = {d->run[0].token[at], 0, -1, 0};
        end = take(d, end, &p, chance ? chance : 1, work);
        work->probes++;
    }
}

/* Writes the tree, every node before its children and the best child next. */
static void write(struct aligned *d, struct draft_tree *out)
{
    for (int32_t i = d->node[0].child; i > 0;) {
        struct node *x = &d->node[i];
        uint64_t chance = x->chance / (PATH_SURE / DRAFT_SURE);
        x->written = out->n++;
        out->token[x->written] = x->token;
        out->parent[x->written] = x->parent ? d->node[x->parent].written : -1;
        out->chance[x->written] = chance ? (int32_t)chance : 1;
        if (x->child >= 0) {
            i = x->child;
            continue;
        }
        while (i > 0 && d->node[i].next < 0)
            i = d->node[i].parent;
        i = i > 0 ? d->node[i].next : 0;
    }
}

static void propose(void *self, int32_t max_nodes, struct draft_tree *out, struct draft_work *work)
{
    struct aligned *d = self;
    int32_t room = max_nodes;
    out->n = 0;
    if (!d->text.n || !max_nodes)
        return;
    d->node[0] = (struct node){.chance = PATH_SURE,
                               .parent = -1,
                               .state = d->text.last,
                               .len = d->text.n,
                               .run = -1,
                               .child = -1,
                               .next = -1};
    d->n_nodes = 1;
    d->n_leaves = d->n_candidates = d->n_picks = 0;
    for (int32_t i = 0; i < d->n_common; i++)
        d->common_share[i] = (int32_t)((int64_t)d->common[i].count * DRAFT_SURE / d->text.n);
    bool at_end = d->param[P_REUSE] == REUSE_END && d->n_runs;
    if (at_end)
        room =
            max_nodes > d->run[0].n - d->run[0].lead ? max_nodes - d->run[0].n + d->run[0].lead : 0;
    offer(d, 0, work);
    grow(d, room, work);
    if (at_end)
        append_run(d, max_nodes, work);
    write(d, out);
    work->nodes += out->n;
}

const struct drafter_type aligned_drafter = {
    .abi = DRAFT_ABI,
    .size = sizeof(struct drafter_type),
    .name = "aligned",
    .summary = "context-aligned: matches, the target's likely tokens and reused runs in one tree",
    .flags = DRAFTER_BRANCHES | DRAFTER_ESTIMATES,
    .params = params,
    .mem_bytes = mem_bytes,
    .init = init,
    .append = append,
    .propose = propose,
    .calibrate = calibrate,
    .remember = remember,
    .rejected = rejected,
};
