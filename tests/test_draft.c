#include "sim/base/hash.h"
#include "sim/draft/bench.h"
#include "sim/draft/draft.h"
#include "tests/unit.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NODES = 64, CANARY = 256, TEXT = 4096 };

/* Every entry of the registry is tested with its defaults, and with these. */
static const struct {
    const char *drafter, *params;
} variants[] = {
    {"lookup", "ngram=1"},
    {"lookup", "ngram=8 min_ngram=2"},
    {"lookup", "ngram=2 min_ngram=7"},
    {"lookup", "branches=2"},
    {"lookup", "ngram=4 branches=8"},
    {"suffix", "occurrence=first"},
    {"suffix", "min_match=3 base=2 alpha=1"},
    {"suffix", "alpha=4 least=9"},
    {"suffix", "history=3"},
    {"sam-author", "max_predicts=8 alpha=1 least=3"},
    {"aligned", "branches=1"},
    {"aligned", "branches=1 common=0"},
    {"aligned", "branches=512 chain=8 occurrence=first recent=0"},
    {"aligned", "calibration=0 reuse=none history=2"},
    {"aligned", "calibration=16 reuse=offset flights=8"},
    {"aligned", "reuse=end min_match=2 chain=1"},
    {"aligned", "capacity=7 skip=3 merge=context keep=3 agreed=under"},
    {"aligned", "merge=likely duplicates=larger agreed=best"},
    {NULL, NULL},
};

/* A drafter in memory that is watched at both ends, with a tree of its own. */
struct subject {
    const struct drafter_type *type;
    int64_t param[PARAM_MAX];
    struct draft_limits limits;
    size_t bytes;
    unsigned char *block, *mem;
    int32_t token[NODES + 1], parent[NODES + 1], chance[NODES + 1];
    struct draft_tree tree;
    struct draft_work work;
};

static void set_params(const struct drafter_type *type, const char *text, int64_t *param)
{
    char copy[200], *rest = copy;
    param_defaults(type->params, param);
    snprintf(copy, sizeof copy, "%s", text);
    for (char *word; (word = strtok_r(rest, " ", &rest));) {
        char *value = strchr(word, '=');
        struct err e = {0};
        *value++ = 0;
        CHECK_EQ(param_set(type->params, word, value, param, &e), ERR_OK);
    }
}

/* `fill` is what the memory holds beforehand: nothing may depend on it. */
static void subject_init(struct subject *s, const char *name, const char *params,
                         int32_t max_tokens, int32_t n_vocab, int fill)
{
    memset(s, 0, sizeof *s);
    s->type = draft_find(name);
    s->limits =
        (struct draft_limits){.max_tokens = max_tokens, .max_nodes = NODES, .n_vocab = n_vocab};
    set_params(s->type, params, s->param);
    s->bytes = s->type->mem_bytes(s->param, &s->limits);
    s->block = malloc(s->bytes + 2 * CANARY);
    if (!s->block)
        abort();
    memset(s->block, fill, s->bytes + 2 * CANARY);
    s->mem = s->block + CANARY;
    s->tree.token = s->token;
    s->tree.parent = s->parent;
    s->tree.chance = s->chance;
    s->type->init(s->mem, s->param, &s->limits);
}

static void subject_fini(struct subject *s)
{
    int64_t changed = 0;
    for (size_t i = 0; i < CANARY; i++)
        changed += (s->block[i] != s->block[0]) + (s->mem[s->bytes + i] != s->block[0]);
    CHECK_EQ(changed, 0);
    free(s->block);
}

static void feed(struct subject *s, const int32_t *token, int32_t n)
{
    s->type->append(s->mem, token, n, &s->work);
}

static void ask(struct subject *s, int32_t max_nodes)
{
    memset(s->token, 0x77, sizeof s->token);
    memset(s->parent, 0x77, sizeof s->parent);
    memset(s->chance, 0x77, sizeof s->chance);
    s->tree.n = -7;
    s->type->propose(s->mem, max_nodes, &s->tree, &s->work);
}

static bool same_tree(const struct draft_tree *a, const struct draft_tree *b)
{
    size_t bytes = a->n > 0 ? (size_t)a->n * sizeof *a->token : 0;
    return a->n == b->n && !memcmp(a->token, b->token, bytes) &&
           !memcmp(a->parent, b->parent, bytes);
}

static uint64_t tree_hash(const struct subject *s)
{
    uint64_t h = hash_bytes(s->token, sizeof s->token, (uint64_t)s->tree.n);
    return hash_bytes(s->parent, sizeof s->parent, h);
}

static bool same_work(const struct draft_work *a, const struct draft_work *b)
{
    return a->tokens == b->tokens && a->probes == b->probes && a->nodes == b->nodes;
}

static bool may_branch(const struct subject *s)
{
    int32_t i = param_find(s->type->params, DRAFT_BRANCHES);
    if (!(s->type->flags & DRAFTER_BRANCHES))
        return false;
    return !CHECK(i >= 0) || s->param[i] > 1;
}

static bool is_chain(const struct draft_tree *t)
{
    for (int32_t i = 0; i < t->n; i++)
        if (t->parent[i] != i - 1)
            return false;
    return true;
}

/* Chances are there where they are promised, never above the parent's; a best child comes next. */
static bool has_sound_chances(const struct subject *s, int32_t max_nodes)
{
    const struct draft_tree *t = &s->tree;
    bool estimates = s->type->flags & DRAFTER_ESTIMATES;
    for (int32_t i = 0; i < t->n; i++) {
        int32_t above = t->parent[i] < 0 ? DRAFT_SURE : t->chance[t->parent[i]];
        if (estimates ? t->chance[i] < 1 || t->chance[i] > above : t->chance[i] != 0x77777777)
            return false;
        for (int32_t j = 0; estimates && j < i; j++)
            if (t->parent[j] == t->parent[i] && t->chance[j] < t->chance[i])
                return false;
    }
    return t->chance[max_nodes] == 0x77777777;
}

/* Parents come first, siblings differ, tokens are words, nothing is written beyond max_nodes. */
static bool is_sound(const struct subject *s, int32_t max_nodes)
{
    const struct draft_tree *t = &s->tree;
    if (t->n < 0 || t->n > max_nodes || (!may_branch(s) && !is_chain(t)))
        return false;
    for (int32_t i = 0; i < t->n; i++) {
        if (t->parent[i] < -1 || t->parent[i] >= i || t->token[i] < 0 ||
            t->token[i] >= s->limits.n_vocab)
            return false;
        for (int32_t j = 0; j < i; j++)
            if (t->parent[j] == t->parent[i] && t->token[j] == t->token[i])
                return false;
    }
    return t->token[max_nodes] == 0x77777777 && t->parent[max_nodes] == 0x77777777 &&
           has_sound_chances(s, max_nodes);
}

/* ---- texts ---------------------------------------------------------------------------------- */

enum text_kind {
    EQUAL,  /* aaaa */
    PAIRS,  /* abab */
    A_BB,   /* abbb: reaches 2n - 1 states */
    A_BB_C, /* abbbc: reaches 3n - 4 transitions */
    CUBE,   /* a^n b^n c^n and again */
    BRUIJN, /* every 11-bit word once */
    FIBONACCI,
    DISTINCT,
    RANDOM2,
    RANDOM5,
    NATURAL, /* of the bench */
    TEXT_KINDS
};

/* Substitution a -> ab, b -> a, read and written in one array. */
static void fibonacci(int32_t *text, int32_t n)
{
    int32_t out = 0;
    for (int32_t i = 0; out < n; i++) {
        int32_t letter = i > 0 ? text[i] : 0;
        text[out++] = 0;
        if (letter == 0 && out < n)
            text[out++] = 1;
    }
}

static void make_text(int kind, uint64_t seed, int32_t n_vocab, int32_t n, int32_t *text)
{
    if (kind == NATURAL) {
        draft_bench_text(seed, n_vocab, n, text);
        return;
    }
    uint32_t bits = 1;
    for (int32_t i = 0; i < n; i++) {
        uint64_t u = rng_u64(seed, RNG_TEST, 1, (uint64_t)i);
        int32_t t[TEXT_KINDS] = {
            [PAIRS] = i % 2,
            [A_BB] = i > 0,
            [A_BB_C] = i == 0       ? 0
                       : i == n - 1 ? 2
                                    : 1,
            [CUBE] = i * 6 / n % 3,
            [BRUIJN] = (int32_t)(bits & 1),
            [DISTINCT] = i,
            [RANDOM2] = (int32_t)(u % 2),
            [RANDOM5] = (int32_t)(u % 5),
        };
        /* x^11 + x^2 + 1 is primitive: the register runs through all words but 0 */
        bits = bits >> 1 | ((bits ^ bits >> 2) & 1) << 10;
        text[i] = t[kind];
    }
    if (kind == FIBONACCI)
        fibonacci(text, n);
    /* the vocabulary's upper end: tokens of all sizes must do */
    for (int32_t i = 0; i < n; i++)
        text[i] = n_vocab - 1 - text[i];
}

/* Calls `test` for every entry of the registry, with its defaults and every variant of its. */
static void for_each(void (*test)(const char *name, const char *params))
{
    for (size_t i = 0; draft_registry[i]; i++) {
        test(draft_registry[i]->name, "");
        for (size_t v = 0; variants[v].drafter; v++)
            if (!strcmp(variants[v].drafter, draft_registry[i]->name))
                test(variants[v].drafter, variants[v].params);
    }
}

/* ---- every drafter -------------------------------------------------------------------------- */

static void the_registry_is_sound(void)
{
    size_t n = 0;
    for (; draft_registry[n]; n++) {
        const struct drafter_type *t = draft_registry[n];
        CHECK_EQ(t->abi, DRAFT_ABI);
        CHECK_EQ(t->size, sizeof *t);
        CHECK(t->name && t->name[0] && t->summary && t->summary[0]);
        CHECK(!strchr(t->summary, '\n'));
        CHECK(t->mem_bytes && t->init && t->append && t->propose);
        CHECK(draft_find(t->name) == t);
        CHECK(param_count(t->params) <= PARAM_MAX);
        for (int32_t i = 0; i < param_count(t->params); i++) {
            const struct param *p = &t->params[i];
            CHECK(p->help && p->help[0] && !strchr(p->help, '\n'));
            CHECK_EQ(param_find(t->params, p->name), i);
            if (!p->choice && p->def != PARAM_AUTO)
                CHECK(p->min <= p->def && p->def <= p->max);
        }
    }
    CHECK(n >= 5);
    CHECK(draft_find("") == NULL);
    CHECK(draft_find("look") == NULL);
    CHECK(draft_find("lookup2") == NULL);
    for (size_t v = 0; variants[v].drafter; v++)
        CHECK(draft_find(variants[v].drafter) != NULL);
}

static const int32_t asked[] = {0, 1, 2, 3, 8, 31, 32, NODES};
enum { ASKED = sizeof asked / sizeof asked[0] };

/* `a` is fed token by token and asked all the time, twice; `b` is fed in pieces into other memory
 * and asked once in a while: they agree, also in what they count. */
static void keeps_its_contract(const char *name, const char *params)
{
    static int32_t text[TEXT];
    for (int kind = 0; kind < TEXT_KINDS; kind++) {
        int32_t n = 700, n_vocab = kind % 2 ? INT32_MAX : 49152, at = 0;
        struct subject a, b;
        int64_t unsound = 0, changed = 0, miscounted = 0;
        make_text(kind, 3, n_vocab, n, text);
        subject_init(&a, name, params, n, n_vocab, 0xa5);
        subject_init(&b, name, params, n, n_vocab, 0);
        struct draft_work fed = {0};
        for (int32_t i = 0; i < n; i++) {
            a.work = fed;
            feed(&a, &text[i], 1);
            fed = a.work;
            int32_t most = asked[i % ASKED];
            a.work = (struct draft_work){0};
            ask(&a, most);
            struct draft_work once = a.work;
            unsound += !is_sound(&a, most);
            miscounted += once.nodes != a.tree.n || once.tokens != 0 || once.probes < 0;
            uint64_t before = tree_hash(&a);
            a.work = (struct draft_work){0};
            ask(&a, most);
            changed += before != tree_hash(&a);
            miscounted += !same_work(&once, &a.work);
            if (i % 37 == 36 || i == n - 1) {
                feed(&b, &text[at], i + 1 - at);
                feed(&b, &text[at], 0);
                at = i + 1;
                miscounted += !same_work(&fed, &b.work);
                struct draft_work kept = b.work;
                ask(&b, most);
                changed += !same_tree(&a.tree, &b.tree);
                b.work = kept;
            }
        }
        CHECK_EQ(unsound, 0);
        CHECK_EQ(changed, 0);
        CHECK_EQ(miscounted, 0);
        CHECK_EQ(fed.tokens, n);
        subject_fini(&a);
        subject_fini(&b);
    }
}

static void every_drafter_keeps_its_contract(void)
{
    for_each(keeps_its_contract);
}

static void says_nothing_about_nothing(const char *name, const char *params)
{
    for (int32_t max_tokens = 0; max_tokens < 3; max_tokens++) {
        struct subject s;
        const int32_t text[] = {5, 5};
        subject_init(&s, name, params, max_tokens, 6, 0x5a);
        ask(&s, NODES);
        CHECK_EQ(s.tree.n, 0);
        feed(&s, text, 0);
        ask(&s, NODES);
        CHECK_EQ(s.tree.n, 0);
        for (int32_t i = 0; i < max_tokens; i++) {
            feed(&s, &text[i], 1);
            ask(&s, NODES);
            if (i == 0)
                CHECK_EQ(s.tree.n, 0);
        }
        CHECK_EQ(s.work.tokens, max_tokens);
        subject_fini(&s);
    }
}

static void an_empty_text_gives_no_proposal(void)
{
    for_each(says_nothing_about_nothing);
}

static void goes_on(const char *name, const char *params)
{
    enum { X = 40 };
    int32_t text[3 * X];
    for (int32_t i = 0; i < 3 * X; i++)
        text[i] = 1000 - i % X * 7;
    struct subject s;
    subject_init(&s, name, params, 3 * X, 1001, 0);
    feed(&s, text, X + 8);
    for (int32_t k = X + 8; k < 2 * X; k++) {
        ask(&s, 32);
        if (s.type->flags & DRAFTER_NEEDS_TRUTH)
            CHECK_EQ(s.tree.n, 0); /* none was given */
        else
            CHECK(s.tree.n >= 1 && (may_branch(&s) || is_chain(&s.tree)));
        for (int32_t i = 0; i < s.tree.n && s.parent[i] == i - 1; i++)
            CHECK_EQ(s.token[i], text[k + i]);
        feed(&s, &text[k], 1);
    }
    subject_fini(&s);
}

static void a_repeated_text_is_continued(void)
{
    for_each(goes_on);
}

static int64_t probes_per_node(const struct subject *s)
{
    int32_t chain = param_find(s->type->params, "chain");
    /* of each suffix asked: 12 continuations, 16 likely tokens, a few slots */
    return chain < 0 ? 34 : 40 + 60 * s->param[chain];
}

/* Time is linear whatever the text: what a drafter counts is what it does. */
static void stays_linear(const char *name, const char *params)
{
    static int32_t text[TEXT];
    for (int kind = 0; kind < TEXT_KINDS; kind++) {
        struct subject s;
        make_text(kind, 9, 49152, TEXT, text);
        subject_init(&s, name, params, TEXT, 49152, 0);
        feed(&s, text, TEXT);
        CHECK(s.work.probes <= 48 * TEXT);
        s.work = (struct draft_work){0};
        ask(&s, 32);
        CHECK(s.work.probes <= probes_per_node(&s) * 33);
        subject_fini(&s);
    }
}

static void work_is_linear_on_every_text(void)
{
    for_each(stays_linear);
}

/* The counters are results: the same on every compiler and machine. */
static void counters_have_known_values(void)
{
    static const struct {
        const char *name, *params;
        int64_t appending, proposing, nodes;
    } want[] = {
        {"lookup", "", 13243, 376, 6016},
        {"lookup", "ngram=4 branches=8", 17873, 20235, 6016},
        {"suffix", "", 46813, 512, 6016},
        {"suffix", "occurrence=first", 39175, 512, 6016},
        {"sam-author", "", 39175, 512, 5042},
        {"aligned", "", 102309, 195806, 8192},
        {"aligned", "branches=1 chain=1 common=0", 46813, 31421, 5995},
    };
    static int32_t text[TEXT];
    draft_bench_text(4, 49152, TEXT, text);
    for (size_t i = 0; i < sizeof want / sizeof want[0]; i++) {
        struct subject s;
        struct draft_work proposing = {0};
        subject_init(&s, want[i].name, want[i].params, TEXT, 49152, 0);
        for (int32_t at = 0; at < TEXT; at += 8) {
            feed(&s, &text[at], 8);
            struct draft_work fed = s.work;
            s.work = proposing;
            ask(&s, 16);
            proposing = s.work;
            s.work = fed;
        }
        CHECK_EQ(s.work.probes, want[i].appending);
        CHECK_EQ(proposing.probes, want[i].proposing);
        CHECK_EQ(proposing.nodes, want[i].nodes);
        subject_fini(&s);
    }
}

static size_t bytes_with(const char *name, const char *params, int32_t max_tokens, int32_t n_old)
{
    int64_t param[PARAM_MAX];
    const struct drafter_type *type = draft_find(name);
    set_params(type, params, param);
    return type->mem_bytes(param, &(struct draft_limits){.max_tokens = max_tokens,
                                                         .max_nodes = NODES,
                                                         .n_vocab = 49152,
                                                         .max_old = n_old});
}

static size_t bytes_of(const char *name, const char *params, int32_t max_tokens)
{
    return bytes_with(name, params, max_tokens, 0);
}

/* As the heads of lookup.c, automaton.h and aligned.c state it. */
static void memory_is_what_is_stated(void)
{
    static const struct {
        int32_t n, slots2, slots4; /* powers of two that hold 2 n and 4 n */
    } at[] = {{1, 2, 4}, {2, 4, 8}, {3, 8, 16}, {1000, 2048, 4096}, {4096, 8192, 16384}};
    for (size_t i = 0; i < sizeof at / sizeof at[0]; i++) {
        int32_t n = at[i].n;
        CHECK_EQ(bytes_of("lookup", "", n) - bytes_of("lookup", "", 0),
                 4 * (n + 3 * (n + at[i].slots2 - 1)));
        CHECK_EQ(bytes_of("lookup", "ngram=8 min_ngram=7", n) -
                     bytes_of("lookup", "ngram=8 min_ngram=7", 0),
                 4 * (n + 2 * (n + at[i].slots2 - 1)));
        CHECK_EQ(bytes_of("suffix", "", n) - bytes_of("suffix", "", 0),
                 32 * (2 * n - 1) + 16 * 2 * n + 4 * n + 4 * (at[i].slots4 - 1));
        CHECK_EQ(bytes_of("sam-author", "", n), bytes_of("suffix", "", n));
        CHECK_EQ(bytes_of("aligned", "calibration=0", n) - bytes_of("aligned", "calibration=0", 0),
                 bytes_of("suffix", "", n) - bytes_of("suffix", "", 0));
        CHECK_EQ(bytes_of("aligned", "calibration=7", n),
                 bytes_of("aligned", "calibration=0", n) + 56 * (size_t)n);
        CHECK_EQ(bytes_of("aligned", "calibration=7 capacity=9", n),
                 bytes_of("aligned", "calibration=0", n) + (n > 9 ? 60 * 9 : 56 * (size_t)n));
        CHECK_EQ(bytes_with("aligned", "history=5 calibration=0", n, 2 * n),
                 bytes_of("aligned", "calibration=0", 3 * n + 5));
        CHECK_EQ(bytes_with("suffix", "history=5", n, 2 * n), bytes_of("suffix", "", 3 * n + 5));
        CHECK_EQ(bytes_with("suffix", "", n, 2 * n), bytes_of("suffix", "", n));
    }
    CHECK_EQ(bytes_of("aligned", "flights=8", 9) - bytes_of("aligned", "flights=1", 9),
             7 * 4 * (NODES + 1));
    CHECK(bytes_of("aligned", "calibration=0", 0) < (72 + 256 + 8) * (NODES + 1) + 900);
    CHECK(bytes_of("lookup", "", 0) < 256 && bytes_of("suffix", "", 0) < 256);
    /* no overflow where sizes pass 32 bits */
    CHECK(bytes_of("suffix", "", 100000000) > (size_t)10000 * 1000 * 1000);
}

/* Every capacity from 1 on, filled to the last token: the automaton's pools are no larger than the
 * bound, and assert it. */
static void memory_suffices_for_every_text(void)
{
    static int32_t text[300];
    for (int kind = 0; kind < TEXT_KINDS; kind++)
        for (int32_t n = 1; n < 300; n += n < 40 ? 1 : 43)
            for (size_t i = 0; draft_registry[i]; i++) {
                struct subject s;
                make_text(kind, (uint64_t)n, 49152, n, text);
                subject_init(&s, draft_registry[i]->name, "", n, 49152, 0x33);
                feed(&s, text, n);
                ask(&s, NODES);
                CHECK(is_sound(&s, NODES));
                subject_fini(&s);
            }
}

/* ---- oracles -------------------------------------------------------------------------------- */

/* Length of the longest common suffix of text[0 .. n) and text[0 .. end]. */
static int32_t common(const int32_t *text, int32_t n, int32_t end)
{
    int32_t len = 0;
    while (len <= end && text[end - len] == text[n - 1 - len])
        len++;
    return len;
}

static bool continues(const struct draft_tree *t, const int32_t *text, int32_t n, int32_t end,
                      int32_t want_n)
{
    bool ok = t->n == want_n && is_chain(t);
    for (int32_t i = 0; ok && i < want_n; i++)
        ok = t->token[i] == text[end + 1 + i % (n - 1 - end)];
    return ok;
}

/* The text's own tree, by the rule in the head of lookup.c, without an index: every position is
 * compared, every node is searched. */
struct naive {
    const int32_t *text;
    int32_t n;
    int32_t token[NODES], parent[NODES];
    struct draft_tree tree;
};

static int32_t naive_merge(struct naive *x, int32_t end, int32_t depth, int32_t budget)
{
    int32_t node = -1, added = 0;
    for (int32_t i = 0; i < depth; i++) {
        int32_t token = x->text[end + 1 + i % (x->n - 1 - end)], child = -1;
        for (int32_t j = 0; j < x->tree.n; j++)
            if (x->parent[j] == node && x->token[j] == token)
                child = j;
        if (child < 0) {
            if (added++ == budget)
                return budget;
            child = x->tree.n++;
            x->token[child] = token;
            x->parent[child] = node;
        }
        node = child;
    }
    return added;
}

static void naive_lookup(struct naive *x, int32_t longest, int32_t shortest, int32_t branches,
                         int32_t max_nodes)
{
    int32_t end[32], len[32], found = 0;
    for (int32_t m = longest; m >= shortest; m--)
        for (int32_t e = x->n - 2; e >= 0 && found < 32; e--) {
            int32_t c = common(x->text, x->n, e);
            if ((c < longest ? c : longest) == m) {
                len[found] = m;
                end[found++] = e;
            }
        }
    x->tree = (struct draft_tree){.token = x->token, .parent = x->parent};
    if (found == 0)
        return;
    int32_t reserve = branches == 1 ? 0 : max_nodes / (len[0] == longest ? 8 : 2);
    int32_t depth = max_nodes - reserve, added = 0;
    naive_merge(x, end[0], depth, depth);
    if (reserve == 0)
        return;
    int32_t share = reserve / (branches - 1) > 1 ? reserve / (branches - 1) : 1;
    for (int32_t i = 1; i < found && added < branches - 1; i++) {
        int32_t left = max_nodes - x->tree.n;
        added += naive_merge(x, end[i], depth, share < left ? share : left) > 0;
    }
    naive_merge(x, end[0], max_nodes, max_nodes - x->tree.n);
}

static void lookup_agrees_with_a_search_of_the_text(void)
{
    static const struct {
        const char *params;
        int32_t longest, shortest, branches;
    } cases[] = {{"", 3, 1, 1},
                 {"ngram=2", 2, 1, 1},
                 {"ngram=8 min_ngram=3", 8, 3, 1},
                 {"ngram=2 min_ngram=7", 2, 2, 1},
                 {"branches=2", 3, 1, 2},
                 {"ngram=4 branches=4", 4, 1, 4},
                 {"ngram=2 min_ngram=2 branches=8", 2, 2, 8}};
    struct naive x;
    int32_t text[120];
    int64_t differ = 0, branching = 0;
    for (size_t c = 0; c < sizeof cases / sizeof cases[0]; c++)
        for (uint64_t seed = 0; seed < 300; seed++) {
            struct subject s;
            for (int32_t i = 0; i < 120; i++)
                text[i] = (int32_t)(rng_u64(seed, RNG_TEST, 5, (uint64_t)i) % (1 + seed % 7));
            subject_init(&s, "lookup", cases[c].params, 120, 8, 0xff);
            for (int32_t n = 1; n <= 120; n++) {
                int32_t most = asked[(n + (int32_t)seed) % ASKED];
                feed(&s, &text[n - 1], 1);
                ask(&s, most);
                x.text = text;
                x.n = n;
                naive_lookup(&x, cases[c].longest, cases[c].shortest, cases[c].branches, most);
                differ += !same_tree(&s.tree, &x.tree);
                branching += !is_chain(&s.tree);
            }
            subject_fini(&s);
        }
    CHECK_EQ(differ, 0);
    CHECK(branching > 1000);
}

/* The longest suffix that ends earlier, and its first and last earlier end. */
static int32_t longest_repeat(const int32_t *text, int32_t n, int32_t *first, int32_t *recent)
{
    int32_t best = 0;
    *first = *recent = -1;
    for (int32_t e = 0; e < n - 1; e++) {
        int32_t len = common(text, n, e);
        if (len > best)
            *first = e;
        if (len > 0 && len >= best)
            *recent = e;
        best = len > best ? len : best;
    }
    return best;
}

static bool continues_a_repeat(const struct draft_tree *t, const int32_t *text, int32_t n,
                               int32_t len, int32_t want_n)
{
    for (int32_t e = 0; e < n - 1; e++)
        if (common(text, n, e) >= len && continues(t, text, n, e, want_n))
            return true;
    return false;
}

static void check_suffix(uint64_t seed, int32_t n_text, int64_t *differ, int64_t *exact)
{
    int32_t text[256], first, recent;
    struct subject f, r, short_rule;
    for (int32_t i = 0; i < n_text; i++)
        text[i] = (int32_t)(rng_u64(seed, RNG_TEST, 6, (uint64_t)i) % (1 + seed % 5));
    subject_init(&f, "suffix", "occurrence=first", n_text, 5, 0xff);
    subject_init(&r, "suffix", "", n_text, 5, 0);
    subject_init(&short_rule, "suffix", "occurrence=first min_match=3 base=2 alpha=3 least=12",
                 n_text, 5, 1);
    for (int32_t n = 1; n <= n_text; n++) {
        int32_t len = longest_repeat(text, n, &first, &recent), most = len > 0 ? NODES : 0;
        feed(&f, &text[n - 1], 1);
        feed(&r, &text[n - 1], 1);
        feed(&short_rule, &text[n - 1], 1);
        ask(&f, NODES);
        ask(&r, NODES);
        ask(&short_rule, 32);
        *differ += !continues(&f.tree, text, n, first, most);
        bool is_recent = continues(&r.tree, text, n, recent, most);
        *exact += is_recent;
        if (n <= 17) /* no chain of suffix links is longer than is followed */
            *differ += !is_recent;
        else
            *differ += !continues_a_repeat(&r.tree, text, n, len, most);
        int32_t rule = 2 + 3 * len > 12 ? 2 + 3 * len : 12;
        rule = len < 3 ? 0 : rule < 32 ? rule : 32;
        *differ += !continues(&short_rule.tree, text, n, first, rule);
    }
    subject_fini(&f);
    subject_fini(&r);
    subject_fini(&short_rule);
}

static void suffix_agrees_with_a_search_of_the_text(void)
{
    int64_t differ = 0, exact = 0;
    for (uint64_t seed = 0; seed < 4000; seed++)
        check_suffix(seed, 24, &differ, &exact);
    CHECK_EQ(differ, 0);
    exact = 0;
    for (uint64_t seed = 0; seed < 50; seed++)
        check_suffix(seed, 240, &differ, &exact);
    CHECK_EQ(differ, 0);
    /* seeds with one letter have chains as long as the text: there every end continues alike */
    CHECK(exact >= 50 * 240 * 99 / 100);
}

/* ---- parameters and bench ------------------------------------------------------------------- */

static void the_first_occurrence_may_be_old_the_recent_one_is_not(void)
{
    const int32_t text[] = {1, 2, 3, 9, 1, 2, 4, 9, 1, 2};
    static const struct {
        const char *name, *params;
        int32_t next;
    } want[] = {{"lookup", "", 4}, {"suffix", "", 4}, {"suffix", "occurrence=first", 3}};
    for (size_t i = 0; i < 3; i++) {
        struct subject s;
        subject_init(&s, want[i].name, want[i].params, 10, 10, 0);
        /* "9 1 2" is longer and recent: cut it for the plain case */
        feed(&s, text, 3);
        feed(&s, text + 4, 3);
        feed(&s, text + 8, 2);
        ask(&s, 1);
        CHECK_EQ(s.tree.n, 1);
        CHECK_EQ(s.token[0], want[i].next);
        subject_fini(&s);
    }
}

static void branches_share_their_prefix(void)
{
    /* 7 8 was followed by 1 2 3 .., by 1 2 5 .. and by 6: the most recent first */
    const int32_t text[] = {7, 8, 6, 0, 7, 8, 1, 2, 5, 5, 0, 7, 8, 1, 2, 3, 3, 0, 7, 8};
    struct subject s;
    subject_init(&s, "lookup", "ngram=2 branches=3", 20, 9, 0);
    feed(&s, text, 20);
    ask(&s, 16);
    const int32_t token[] = {1, 2, 3, 3, 0, 7, 8, 1, 2, 3, 3, 0, 7, 8, 5, 6};
    const int32_t parent[] = {-1, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 1, -1};
    CHECK_EQ(s.tree.n, 16);
    for (int32_t i = 0; i < 16; i++) {
        CHECK_EQ(s.token[i], token[i]);
        CHECK_EQ(s.parent[i], parent[i]);
    }
    /* what alternatives leave over goes to the first */
    ask(&s, 32);
    CHECK_EQ(s.tree.n, 32);
    subject_fini(&s);
}

static void the_bench_fills_its_rows(void)
{
    struct draft_bench_config c = draft_bench_default();
    struct draft_bench_row row[16];
    int64_t param[PARAM_MAX];
    struct err e = {0};
    int32_t n, entries = 0;
    CHECK_EQ(c.context, 4096);
    CHECK(c.nodes[0] >= c.nodes[1]);
    c.context = 300;
    c.rounds = 2;
    c.steps = 5;
    c.evict_bytes = 100000;
    CHECK_EQ(draft_bench_all(&c, 16, row, &n, &e), ERR_OK);
    for (; draft_registry[entries] && !(draft_registry[entries]->flags & DRAFTER_NEEDS_TRUTH);
         entries++) {
        CHECK_STR(row[entries].drafter, draft_registry[entries]->name);
        CHECK_EQ(isfinite(row[entries].us_per_token_calibration) != 0,
                 draft_registry[entries]->calibrate != NULL);
    }
    CHECK_EQ(n, entries);
    for (int32_t i = 0; i < n; i++) {
        CHECK(row[i].us_per_step >= 0 && row[i].spread_us >= 0);
        CHECK(row[i].us_per_step_nodes[0] == row[i].us_per_step);
        CHECK(row[i].nodes_per_step > 0 && row[i].nodes_per_step <= c.nodes[0]);
        CHECK(row[i].probes_per_step > 0 && row[i].mem_bytes > 300 * 4);
        /* without the room for the tokens that the steps append */
        param_defaults(draft_find(row[i].drafter)->params, param);
        struct draft_limits limits = {.max_tokens = c.context,
                                      .max_nodes =
                                          c.nodes[0] > c.nodes[1] ? c.nodes[0] : c.nodes[1],
                                      .n_vocab = c.n_vocab};
        CHECK_EQ(row[i].mem_bytes, draft_find(row[i].drafter)->mem_bytes(param, &limits));
    }
    CHECK_EQ(draft_bench_all(&c, 1, row, &n, &e), ERR_OK);
    CHECK_EQ(n, 1);
    c.accepted = 0;
    c.rounds = c.steps = INT32_MAX;
    CHECK_EQ(draft_bench_all(&c, 16, row, &n, &e), ERR_NOMEM);
    CHECK_EQ(n, 0);
    CHECK_HAS(e.msg, "lookup");
}

static void the_bench_text_copies_itself(void)
{
    static int32_t a[TEXT], b[TEXT];
    int32_t repeated = 0, most = 0;
    draft_bench_text(1, 100, TEXT, a);
    draft_bench_text(1, 100, TEXT, b);
    CHECK(!memcmp(a, b, sizeof a));
    draft_bench_text(2, 100, TEXT, b);
    CHECK(memcmp(a, b, sizeof a));
    for (int32_t i = 0; i < TEXT; i++) {
        CHECK(a[i] >= 0 && a[i] < 100);
        most += a[i] == 0;
    }
    for (int32_t i = 200; i < TEXT; i += 20) {
        int32_t len = 0;
        for (int32_t e = 0; e < i; e++)
            len = common(a, i + 1, e) > len ? common(a, i + 1, e) : len;
        repeated += len >= 8;
    }
    CHECK(repeated > 40 && repeated < 190);
    CHECK(most > TEXT / 12 && most < TEXT / 3);
}

static const struct unit_test tests[] = {
    {"the_registry_is_sound", the_registry_is_sound},
    {"every_drafter_keeps_its_contract", every_drafter_keeps_its_contract},
    {"an_empty_text_gives_no_proposal", an_empty_text_gives_no_proposal},
    {"a_repeated_text_is_continued", a_repeated_text_is_continued},
    {"work_is_linear_on_every_text", work_is_linear_on_every_text},
    {"counters_have_known_values", counters_have_known_values},
    {"memory_is_what_is_stated", memory_is_what_is_stated},
    {"memory_suffices_for_every_text", memory_suffices_for_every_text},
    {"lookup_agrees_with_a_search_of_the_text", lookup_agrees_with_a_search_of_the_text},
    {"suffix_agrees_with_a_search_of_the_text", suffix_agrees_with_a_search_of_the_text},
    {"the_first_occurrence_may_be_old_the_recent_one_is_not",
     the_first_occurrence_may_be_old_the_recent_one_is_not},
    {"branches_share_their_prefix", branches_share_their_prefix},
    {"the_bench_fills_its_rows", the_bench_fills_its_rows},
    {"the_bench_text_copies_itself", the_bench_text_copies_itself},
    {NULL, NULL},
};

UNIT_MAIN("draft", tests)
