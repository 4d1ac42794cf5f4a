/* What the aligned drafter, the history and the oracle add; test_draft.c has what every drafter
 * keeps. */
#include "sim/base/hash.h"
#include "sim/draft/draft.h"
#include "sim/exec/drafting.h"
#include "tests/unit.h"
#include "tests/world.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NODES = 40, VOCAB = 1000 };

struct subject {
    const struct drafter_type *type;
    int64_t param[PARAM_MAX];
    void *mem;
    int32_t token[NODES], parent[NODES], chance[NODES];
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
        *value++ = 0;
        CHECK_EQ(param_set(type->params, word, value, param, NULL), ERR_OK);
    }
}

static struct subject *begin(const char *name, const char *params)
{
    struct subject *s = calloc(1, sizeof *s);
    struct draft_limits limits = {
        .max_tokens = 400, .max_nodes = NODES, .n_vocab = VOCAB, .max_old = 300};
    s->type = draft_find(name);
    set_params(s->type, params, s->param);
    int32_t common = param_find(s->type->params, "common"); /* would fill every tree */
    if (common >= 0 && !strstr(params, "common"))
        s->param[common] = 0;
    s->mem = malloc(s->type->mem_bytes(s->param, &limits));
    s->tree = (struct draft_tree){0, s->token, s->parent, s->chance};
    s->type->init(s->mem, s->param, &limits);
    return s;
}

static void end(struct subject *s)
{
    free(s->mem);
    free(s);
}

static void append(struct subject *s, const int32_t *token, int32_t n)
{
    s->type->append(s->mem, token, n, &s->work);
}

static const struct draft_tree *ask(struct subject *s, int32_t max_nodes)
{
    s->type->propose(s->mem, max_nodes, &s->tree, &s->work);
    return &s->tree;
}

/* Whether the path is in the tree, from the root on. */
static bool has(const struct draft_tree *t, const int32_t *path, int32_t n)
{
    int32_t at = -1, k = 0;
    for (int32_t i = 0; i < t->n && k < n; i++)
        if (t->parent[i] == at && t->token[i] == path[k]) {
            at = i;
            k++;
        }
    return k == n;
}

static int32_t leaves(const struct draft_tree *t)
{
    int32_t n = 0;
    for (int32_t i = 0; i < t->n; i++) {
        bool leaf = true;
        for (int32_t j = i + 1; j < t->n; j++)
            leaf = leaf && t->parent[j] != i;
        n += leaf;
    }
    return n;
}

/* ---- calibration ---------------------------------------------------------------------------- */

/* 1 2 3 . 5 6 . 1: after 1 the target finds 5 likely, which never followed it, and after 5 it finds
 * 7 likely, which never followed that. */
static const int32_t clinton[] = {1, 2, 3, 900, 5, 6, 901, 1};
static const int32_t top[8 * 2] = {5, 2, 3, 80, 81, 82, 83, 84, 7, 6, 85, 86, 87, 88, 2, 9};
static const float logit[8 * 2] = {3, 2.9F, 5, -9, 5, -9, 5, -9, 3, 2.9F, 5, -9, 5, -9, 4, 3};

static void likely_tokens_are_found_where_they_occur(void)
{
    const int32_t two[] = {1 + 4, 7}, raw[] = {2, 3}, mixed[] = {5, 6};
    for (int order = 0; order < 3; order++) {
        struct subject *s = begin("aligned", "");
        if (order)
            append(s, clinton, 8);
        for (int32_t i = 8; order == 2 && i-- > 0;)
            s->type->calibrate(s->mem, i, 1, 2, top + 2 * i, logit + 2 * i, &s->work);
        if (order < 2)
            s->type->calibrate(s->mem, 0, 8, 2, top, logit, &s->work);
        if (!order)
            append(s, clinton, 8);
        const struct draft_tree *t = ask(s, 16);
        CHECK(has(t, two, 2) && has(t, raw, 2) && has(t, mixed, 2));
        end(s);
    }
}

static void without_calibration_they_are_not(void)
{
    static const char *const off[] = {"calibration=0", "threshold=60",
                                      "calibration=1 threshold=60"};
    for (size_t i = 0; i < 3; i++) {
        struct subject *s = begin("aligned", off[i]);
        s->type->calibrate(s->mem, 0, 8, 2, top, logit, &s->work);
        append(s, clinton, 8);
        const int32_t five = 5, two = 2;
        CHECK(!has(ask(s, 16), &five, 1) && has(ask(s, 16), &two, 1));
        end(s);
    }
    /* a token that is not known ends the list, and one outside the vocabulary is none */
    const int32_t holes[4] = {-1, 5, VOCAB, 5};
    const float flat[4] = {0, 0, 0, 0};
    struct subject *s = begin("aligned", "");
    s->type->calibrate(s->mem, 0, 2, 2, holes, flat, &s->work);
    append(s, clinton, 8);
    const int32_t five = 5;
    CHECK(!has(ask(s, 16), &five, 1));
    end(s);
}

static void skipped_and_evicted_positions_say_nothing(void)
{
    static const struct {
        const char *params;
        bool known;
    } each[] = {{"skip=1", false},           {"skip=0", true},        {"capacity=8", true},
                {"capacity=7", false},       {"capacity=1000", true}, {"skip=5 capacity=3", false},
                {"capacity=7 skip=8", false}};
    for (size_t i = 0; i < 2 * sizeof each / sizeof *each; i++) {
        struct subject *s = begin("aligned", each[i / 2].params);
        append(s, clinton, 8);
        for (int32_t k = 0; k < 8; k++) { /* whatever the order, the last positions stay */
            int32_t pos = i % 2 ? k : 7 - k;
            s->type->calibrate(s->mem, pos, 1, 2, top + 2 * pos, logit + 2 * pos, &s->work);
        }
        const int32_t five = 5; /* what position 0 knows; 1 at the end has only 2, 9 to say */
        CHECK_EQ(has(ask(s, 16), &five, 1), each[i / 2].known);
        end(s);
    }
}

/* 1 2 . 1 3 . 1: where 1 ended last the target finds 6 likely, where it ended first 5. */
static void both_ends_bring_their_likely_tokens(void)
{
    static const int32_t text[] = {1, 2, 900, 1, 3, 901, 1};
    static const struct {
        const char *params;
        bool first, last;
    } each[] = {{"ends=both", true, true},
                {"ends=one", false, true},
                {"occurrence=first", true, true},
                {"ends=one occurrence=first", true, false}};
    const int32_t five = 5, six = 6;
    const float sure = 1;
    for (size_t i = 0; i < sizeof each / sizeof *each; i++) {
        struct subject *s = begin("aligned", each[i].params);
        append(s, text, 7);
        s->type->calibrate(s->mem, 0, 1, 1, &five, &sure, &s->work);
        s->type->calibrate(s->mem, 3, 1, 1, &six, &sure, &s->work);
        const struct draft_tree *t = ask(s, 16);
        CHECK_EQ(has(t, &five, 1), each[i].first);
        CHECK_EQ(has(t, &six, 1), each[i].last);
        /* the one that counts more is the likelier */
        int32_t rank[2] = {-1, -1};
        for (int32_t k = 0; k < t->n; k++)
            if (t->parent[k] < 0 && (t->token[k] == 5 || t->token[k] == 6))
                rank[t->token[k] == 6] = t->chance[k];
        CHECK((rank[1] > rank[0]) == !strstr(each[i].params, "first"));
        end(s);
    }
}

static void more_tokens_than_are_kept_change_nothing(void)
{
    uint64_t hash[2] = {0, 0};
    for (int i = 0; i < 2; i++) {
        struct subject *s = begin("aligned", i ? "calibration=1" : "calibration=16");
        int32_t kept[8];
        float least[8];
        for (int32_t k = 0; k < 8; k++) {
            kept[k] = top[2 * k];
            least[k] = logit[2 * k];
        }
        s->type->calibrate(s->mem, 0, 8, 1, kept, least, &s->work);
        append(s, clinton, 8);
        const struct draft_tree *t = ask(s, 16);
        hash[i] =
            hash_bytes(t->token, (size_t)t->n * 4, hash_bytes(t->chance, (size_t)t->n * 4, 1));
        end(s);
    }
    CHECK_EQ(hash[0], hash[1]);
}

static void extreme_logits_do_no_harm(void)
{
    const float far[4] = {3e38F, -3e38F, -3e38F, -3e38F},
                same[4] = {-3e38F, -3e38F, -3e38F, -3e38F};
    const int32_t some[4] = {5, 6, 7, 8};
    for (int i = 0; i < 2; i++) {
        struct subject *s = begin("aligned", "threshold=0");
        s->type->calibrate(s->mem, 0, 1, 4, some, i ? same : far, &s->work);
        append(s, clinton, 8);
        const struct draft_tree *t = ask(s, 16);
        CHECK(has(t, some, 1));
        CHECK_EQ(has(t, some + 1, 1), i);
        end(s);
    }
}

/* ---- the tree ------------------------------------------------------------------------------- */

static void a_long_match_gives_depth_and_a_short_one_branches(void)
{
    int32_t text[120], n = 0;
    for (int32_t i = 0; i < 30; i++)
        text[n++] = 100 + i;
    for (int32_t i = 0; i < 3; i++) {
        text[n++] = 7;
        text[n++] = 10 + i;
        text[n++] = 20 + i;
    }
    struct subject *s = begin("aligned", "");
    append(s, text, n);
    append(s, text, 16);
    const struct draft_tree *t = ask(s, 12);
    CHECK_EQ(leaves(t), 1);
    for (int32_t i = 0; i < t->n; i++)
        CHECK_EQ(t->token[i], 116 + i);
    const int32_t seven = 7;
    append(s, &seven, 1);
    t = ask(s, 12);
    CHECK_EQ(leaves(t), 3);
    CHECK_EQ(t->token[0], 12); /* the most recent first */
    end(s);
}

static void branches_are_a_limit(void)
{
    int32_t text[61];
    for (int32_t i = 0; i < 61; i++)
        text[i] = i % 2 ? 100 + i : 7;
    for (int32_t most = 1; most < 9; most++) {
        char params[40];
        snprintf(params, sizeof params, "branches=%d", (int)most);
        struct subject *s = begin("aligned", params);
        append(s, text, 61);
        const struct draft_tree *t = ask(s, NODES);
        CHECK_EQ(leaves(t), most);
        end(s);
    }
}

static void common_tokens_fill_a_tree(void)
{
    /* 3 comes five times, 4 four times, 5 twice; 9 came never before */
    const int32_t text[] = {3, 4, 5, 3, 4, 6, 3, 4, 7, 5, 3, 8, 3, 4, 9};
    for (int32_t common = 0; common < 5; common++) {
        char params[40];
        snprintf(params, sizeof params, "common=%d", (int)common);
        struct subject *s = begin("aligned", params);
        append(s, text, 15);
        const struct draft_tree *t = ask(s, NODES);
        int32_t first = 0;
        for (int32_t i = 0; i < t->n; i++)
            first += t->parent[i] < 0;
        CHECK_EQ(first, common);
        for (int32_t token = 3; token < 6; token++)
            CHECK_EQ(has(t, &token, 1), token < 3 + common);
        CHECK(!common || t->token[0] == 3);
        end(s);
    }
    /* as told at the moment, whatever came first */
    struct subject *s = begin("aligned", "common=1");
    int32_t many[40];
    for (int32_t i = 0; i < 40; i++)
        many[i] = i < 20 ? 100 + i : i % 2 ? 7 : 200 + i;
    append(s, many, 40);
    append(s, many, 1);
    append(s, &(int32_t){999}, 1);
    CHECK(ask(s, 1)->n == 1 && s->token[0] == 7);
    end(s);
}

static void every_parameter_changes_a_proposal(void)
{
    static const char *const each[] = {
        "calibration=0", "threshold=40",     "history=1",         "branches=2", "chain=1",
        "min_match=2",   "occurrence=first", "recent=0",          "common=3",   "reuse=none",
        "reuse=offset",  "reuse=end",        "reuse_max=3",       "flights=2",  "merge=context",
        "merge=likely",  "merge=half",       "duplicates=larger", "skip=120",   "capacity=60",
        "ends=one"};
    uint64_t plain = 0;
    for (int i = -1; i < (int)(sizeof each / sizeof *each); i++) {
        char params[60];
        snprintf(params, sizeof params, "reuse=root %s", i < 0 ? "" : each[i]);
        struct subject *s = begin("aligned", params);
        int32_t old[9], text[300], tops[600], row[6] = {300, 301, 302, 303, 304, 305};
        float logits[600];
        uint64_t hash = 1;
        for (int32_t k = 0; k < 300; k++) {
            text[k] = (int32_t)(rng_u64(5, RNG_TEST, 0, (uint64_t)k) % 9);
            tops[2 * k] = (text[k] * 5 + 3) % 11;
            tops[2 * k + 1] = (text[k] + 6) % 11;
            logits[2 * k] = 2;
            logits[2 * k + 1] = 1.5F;
        }
        for (int32_t k = 0; k < 9; k++)
            old[k] = 20 + k;
        if (s->param[param_find(s->type->params, DRAFT_HISTORY)])
            s->type->remember(s->mem, old, 9, &s->work);
        s->type->calibrate(s->mem, 0, 200, 2, tops, logits, &s->work);
        append(s, text, 200);
        for (int32_t k = 0; k < 60; k++) {
            int32_t choice[6] = {text[200 + k], 400, row[3] + k, row[4] + k, 401, 402}, shown[6];
            for (int32_t r = 0; r < 6; r++)
                shown[r] = r ? row[r] + k : text[199 + k];
            s->type->rejected(s->mem, k % 3 ? 3 : 6, shown, NULL, choice, &s->work);
            append(s, k == 30 ? old : &text[200 + k], 1);
            const struct draft_tree *t = ask(s, 8);
            hash = hash_bytes(t->token, (size_t)t->n * 4, hash);
            hash = hash_bytes(t->chance, (size_t)t->n * 4, hash);
        }
        if (i < 0)
            plain = hash;
        else
            unit_true(hash != plain, each[i], __FILE__, __LINE__);
        end(s);
    }
}

/* ---- reuse ---------------------------------------------------------------------------------- */

/* A random verified step: rows as a tree, the target agreeing now and then. */
struct verified {
    int32_t n, token[24], parent[24], choice[24];
};

static void make_step(uint64_t seed, struct verified *x)
{
    x->n = 2 + (int32_t)(rng_u64(seed, RNG_TEST, 0, 0) % 22);
    for (int32_t i = 0; i < x->n; i++) {
        uint64_t u = rng_u64(seed, RNG_TEST, 1, (uint64_t)i);
        x->token[i] = 500 + i;
        x->parent[i] = i ? (u % 3 ? i - 1 : (int32_t)((u >> 8) % (uint64_t)i)) : -1;
        x->choice[i] = -1;
    }
    for (int32_t i = 0; i < x->n; i++) {
        uint64_t u = rng_u64(seed, RNG_TEST, 2, (uint64_t)i);
        x->choice[i] = (int32_t)(u % 7) - 1; /* no row's token */
        for (int32_t c = x->n - 1; c > i && u >> 8 & 3; c--)
            if (x->parent[c] == i)
                x->choice[i] = x->token[c];
    }
}

/* The longest segment off the accepted path in which the target agreed, of all root-to-leaf paths;
 * of equal ones the one whose end comes first. */
static int32_t naive_run(const struct verified *x, int32_t *run, int32_t *first_depth,
                         int32_t *accepted)
{
    int32_t kept[24], n_kept = exec_accept(x->n, x->token, x->parent, x->choice, kept), best = 0;
    *accepted = n_kept - 1;
    for (int32_t end_row = 1; end_row < x->n; end_row++) {
        int32_t path[24], n = 0, segment = 0, depth = 0;
        for (int32_t r = end_row; r >= 0; r = x->parent[r])
            path[n++] = r;
        for (int32_t i = 0; i + 1 < n; i++, depth++) {
            bool on = false;
            for (int32_t k = 0; k < n_kept; k++)
                on = on || kept[k] == path[i + 1];
            if (on || x->choice[path[i + 1]] != x->token[path[i]])
                break;
            segment++;
        }
        if (segment <= best)
            continue;
        best = segment;
        *first_depth = n - segment;
        for (int32_t i = 0; i < segment; i++)
            run[i] = x->token[path[segment - 1 - i]];
    }
    return best;
}

static void a_run_is_the_longest_segment_of_agreement(void)
{
    int64_t differ = 0, found = 0;
    for (uint64_t seed = 0; seed < 3000; seed++) {
        struct verified x;
        int32_t run[24], depth = 0, accepted, fresh[26] = {700};
        make_step(seed, &x);
        struct subject *s = begin("aligned", "reuse=root");
        int32_t n = naive_run(&x, run, &depth, &accepted);
        append(s, x.token, 1);
        s->type->rejected(s->mem, x.n, x.token, x.parent, x.choice, &s->work);
        for (int32_t i = 0; i <= accepted; i++)
            fresh[i] = 700 + i;
        append(s, fresh, accepted + 1);
        const struct draft_tree *t = ask(s, NODES);
        differ += t->n != n || (n && memcmp(t->token, run, (size_t)n * sizeof *run));
        found += n > 0;
        end(s);
    }
    CHECK_EQ(differ, 0);
    CHECK(found > 500);
}

/* Drafted 10 11 12 13 14 after 1; the target says 10, then 99 and not 11, and agrees with 13 14. */
static const int32_t cut_token[] = {1, 10, 11, 12, 13, 14}, cut_choice[] = {10, 99, 50, 13, 14, 60};

static struct subject *cut_off(const char *params)
{
    const int32_t fresh[] = {10, 99}, one = 1;
    struct subject *s = begin("aligned", params);
    append(s, &one, 1);
    s->type->rejected(s->mem, 6, cut_token, NULL, cut_choice, &s->work);
    append(s, fresh, 2);
    return s;
}

static bool is_chain(const struct draft_tree *t, const int32_t *token, int32_t n)
{
    return t->n == n && has(t, token, n) && leaves(t) == (n > 0);
}

static void a_run_is_attached_where_it_is_said(void)
{
    const int32_t run[] = {13, 14}, old[] = {12, 13, 14}, more[] = {70, 71, 13, 14};
    struct subject *s = cut_off("reuse=root");
    CHECK(is_chain(ask(s, 8), run, 2));
    CHECK(is_chain(ask(s, 1), run, 1));
    end(s);
    s = cut_off("reuse=offset"); /* 12 was next when 11 was cut off */
    CHECK(is_chain(ask(s, 8), old, 3));
    const int32_t filler = 55;
    append(s, &filler, 1);
    CHECK(is_chain(ask(s, 8), run, 2));
    const int32_t others[] = {56, 57};
    append(s, others, 1);
    CHECK(is_chain(ask(s, 8), run + 1, 1));
    append(s, others + 1, 1);
    CHECK_EQ(ask(s, 8)->n, 0);
    end(s);
    s = cut_off("reuse=end");
    CHECK(is_chain(ask(s, 8), run, 2));
    const int32_t known[] = {80, 70, 71, 81, 80};
    append(s, known, 5);
    CHECK(has(ask(s, 4), more, 4));
    CHECK_EQ(ask(s, 4)->n, 4);
    CHECK_EQ(ask(s, 2)->n, 2);
    end(s);
    s = cut_off("reuse=none");
    CHECK_EQ(ask(s, 8)->n, 0);
    end(s);
    /* the target jumps into the run: it goes on from there, wherever else it would be attached */
    const int32_t in = 13;
    static const char *const any[] = {"reuse=root", "reuse=offset"};
    for (int i = 0; i < 2; i++) {
        s = cut_off(any[i]);
        append(s, &in, 1);
        CHECK(is_chain(ask(s, 8), run + 1, 1));
        end(s);
    }
}

static void a_run_is_dropped_when_enough_was_drafted(void)
{
    const int32_t row[] = {99, 200, 201}, never[] = {55, 56, 57}, run[] = {13, 14}, next = 55;
    for (int32_t most = 1; most < 6; most++) {
        char params[40];
        snprintf(params, sizeof params, "reuse=root reuse_max=%d", (int)most);
        struct subject *s = cut_off(params);
        for (int32_t drafted = 2; drafted < 10; drafted += 2) {
            s->type->rejected(s->mem, 3, row, NULL, never, &s->work);
            append(s, &next, 1);
            CHECK_EQ(has(ask(s, 8), run, 2), drafted <= most);
        }
        end(s);
    }
}

static void a_run_is_kept_for_some_steps_whatever_was_drafted(void)
{
    const int32_t row[] = {99, 200, 201}, never[] = {55, 56, 57}, run[] = {13, 14};
    for (int32_t keep = 1; keep < 5; keep++) {
        char params[60];
        snprintf(params, sizeof params, "reuse=root reuse_max=0 keep=%d", (int)keep);
        struct subject *s = cut_off(params);
        for (int32_t step = 1; step < 7; step++) {
            CHECK_EQ(has(ask(s, 8), run, 2), step <= keep);
            s->type->rejected(s->mem, 3, row, NULL, never, &s->work);
            append(s, &(int32_t){300 + step}, 1);
        }
        end(s);
    }
}

/* The best path 10 11 12 is cut off after the root and has one agreement, 12; the accepted path is
 * 20, and after it 21 22 23 holds two, 22 and 23; a third path from the root, 30 .. 33, three. */
static void a_run_is_looked_for_where_it_is_said(void)
{
    static const int32_t token[] = {1, 10, 11, 12, 20, 21, 22, 23, 30, 31, 32, 33},
                         parent[] = {-1, 0, 1, 2, 0, 4, 5, 6, 0, 8, 9, 10},
                         choice[] = {20, 90, 12, 91, 99, 22, 23, 92, 31, 32, 33, 93};
    static const int32_t run[3][3] = {{31, 32, 33}, {22, 23}, {12}};
    static const char *const where[] = {"every", "under", "best"};
    for (int i = 0; i < 3; i++) {
        const int32_t one = 1, fresh[] = {20, 99};
        char params[60];
        snprintf(params, sizeof params, "reuse=root agreed=%s", where[i]);
        struct subject *s = begin("aligned", params);
        append(s, &one, 1);
        s->type->rejected(s->mem, 12, token, parent, choice, &s->work);
        append(s, fresh, 2);
        CHECK(is_chain(ask(s, 8), run[i], 3 - i));
        end(s);
    }
}

static void several_runs_are_kept(void)
{
    for (int32_t flights = 1; flights < 4; flights++) {
        char params[60];
        snprintf(params, sizeof params, "reuse=root flights=%d reuse_max=1000", (int)flights);
        struct subject *s = cut_off(params);
        for (int32_t i = 1; i < 3; i++) { /* runs 301 302, then 401 402 */
            int32_t b = 200 + 100 * i, row[] = {99, b, b + 1, b + 2},
                    choice[] = {55, b + 1, b + 2, 0};
            const int32_t next = 55;
            s->type->rejected(s->mem, 4, row, NULL, choice, &s->work);
            append(s, &next, 1);
        }
        const struct draft_tree *t = ask(s, 20);
        const int32_t runs[3][2] = {{401, 402}, {301, 302}, {13, 14}};
        for (int32_t i = 0; i < 3; i++)
            CHECK_EQ(has(t, runs[i], 2), i < flights);
        end(s);
    }
}

/* ---- sam-author ----------------------------------------------------------------------------- */

/* A span of min(40, 1 + 4 match) tokens, at least 10, of which the first is known. */
static void the_authors_rule_of_length(void)
{
    int32_t text[120];
    for (int32_t i = 0; i < 120; i++)
        text[i] = 100 + i;
    for (int32_t match = 0; match < 14; match++) {
        struct subject *s = begin("sam-author", "");
        append(s, text, 120);
        append(s, match ? text : &(int32_t){7}, match ? match : 1);
        int32_t span = 1 + 4 * match < 40 ? 1 + 4 * match : 40;
        span = !match ? 1 : span > 10 ? span : 10;
        CHECK(is_chain(ask(s, NODES), text + match, span - 1));
        end(s);
    }
}

/* ---- history -------------------------------------------------------------------------------- */

static void responses_are_remembered(void)
{
    static const char *const names[] = {"suffix", "sam-author", "aligned"};
    const int32_t old[2][4] = {{5, 6, 7, 8}, {6, 9, 11, 12}}, now[] = {900, 6, 7};
    for (size_t i = 0; i < 3; i++) {
        struct subject *s = begin(names[i], "history=2");
        CHECK(s->type->remember != NULL);
        for (int k = 0; k < 2; k++)
            s->type->remember(s->mem, old[k], 4, &s->work);
        CHECK_EQ(s->work.tokens, 8);
        append(s, now, 2);
        const struct draft_tree *t = ask(s, 8);
        const int32_t recent[] = {9, 11, 12}, first[] = {7, 8};
        CHECK(i == 1 ? has(t, first, 2) : has(t, recent, 3));
        append(s, now + 2, 1);
        t = ask(s, 30); /* no copy goes on beyond a response's end */
        const int32_t eight = 8;
        CHECK(is_chain(t, &eight, 1));
        for (int32_t k = 0; k < t->n; k++)
            CHECK(t->token[k] >= 0);
        end(s);
    }
    struct subject *s = begin("suffix", "history=none");
    CHECK_EQ(s->param[param_find(s->type->params, DRAFT_HISTORY)], 0);
    end(s);
    /* calibrated positions are the prompt's, whatever came before */
    s = begin("aligned", "history=2");
    s->type->remember(s->mem, old[0], 4, &s->work);
    s->type->calibrate(s->mem, 0, 8, 2, top, logit, &s->work);
    append(s, clinton, 8);
    const int32_t two[] = {5, 7};
    CHECK(has(ask(s, 16), two, 2));
    end(s);
}

/* ---- the executors' side -------------------------------------------------------------------- */

/* Writes down what it was told. */
struct spy {
    char told[200];
};

static char heard[200]; /* of the spy that was asked last */

static size_t spy_bytes(const int64_t *param, const struct draft_limits *limits)
{
    (void)param;
    (void)limits;
    return sizeof(struct spy);
}

static void spy_init(void *mem, const int64_t *param, const struct draft_limits *limits)
{
    (void)param;
    snprintf(((struct spy *)mem)->told, 200, "%d:", (int)limits->max_old);
}

static void spy_note(void *self, const char *what, const int32_t *token, int32_t n)
{
    char *at = ((struct spy *)self)->told;
    for (int32_t i = 0; i < n; i++)
        snprintf(at + strlen(at), 200 - strlen(at), "%s%d", i ? "," : what, (int)token[i]);
}

static void spy_append(void *self, const int32_t *token, int32_t n, struct draft_work *work)
{
    spy_note(self, " a", token, n);
    work->tokens += n;
}

static void spy_remember(void *self, const int32_t *token, int32_t n, struct draft_work *work)
{
    spy_note(self, " r", token, n);
    work->tokens += n;
}

static void spy_rejected(void *self, int32_t n, const int32_t *token, const int32_t *parent,
                         const int32_t *choice, struct draft_work *work)
{
    spy_note(self, parent ? " t" : " c", token, n);
    spy_note(self, "/", choice, n);
    work->probes++;
}

static void spy_propose(void *self, int32_t max_nodes, struct draft_tree *out,
                        struct draft_work *work)
{
    (void)max_nodes;
    (void)work;
    out->n = 1;
    out->token[0] = 1;
    out->parent[0] = -1;
    snprintf(heard, sizeof heard, "%s", ((struct spy *)self)->told);
}

static const struct param spy_params[] = {{DRAFT_HISTORY, "", 0, 0, 100, NULL, 0}, {.name = NULL}};

static const struct drafter_type spy = {.abi = DRAFT_ABI,
                                        .size = sizeof(struct drafter_type),
                                        .name = "spy",
                                        .summary = "writes down",
                                        .params = spy_params,
                                        .mem_bytes = spy_bytes,
                                        .init = spy_init,
                                        .append = spy_append,
                                        .propose = spy_propose,
                                        .remember = spy_remember,
                                        .rejected = spy_rejected};

static struct drafting *drafting_with(struct run_setup *setup, int64_t history, int32_t max_ctx)
{
    struct drafting *d = NULL;
    *setup = (struct run_setup){.n_vocab = 9, .max_requests = 2, .n_drafters = 2};
    setup->drafter[0] = (struct run_drafter){.type = &spy, .param = {history}};
    setup->drafter[1] = (struct run_drafter){.type = &spy, .param = {1}};
    CHECK_EQ(drafting_create(setup, max_ctx, 8, &d, NULL), ERR_OK);
    return d;
}

/* What the drafter has heard when it has answered a job that appends `token`. */
static const char *hear(struct drafting *d, int32_t request, int32_t drafter, int32_t token)
{
    int32_t tree_token[8], parent[8], chance[8] = {77};
    struct draft_tree tree = {0, tree_token, parent, chance};
    struct draft_work work;
    struct job job = {.kind = JOB_DRAFT, .request = request};
    job.draft = (struct job_draft){.drafter = drafter, .n = 1, .token = &token, .max_nodes = 8};
    CHECK_EQ(drafting_run(d, &job, &tree, &work), ERR_OK);
    CHECK_EQ(tree.n, 1);
    CHECK_EQ(chance[0], 0);
    return heard;
}

static void serve(struct drafting *d, int32_t request, int32_t from, int32_t n)
{
    CHECK_EQ(drafting_open(d, request, 1, NULL), ERR_OK);
    for (int32_t i = 0; i < n; i++, from++)
        drafting_emit(d, request, &from, 1);
    drafting_close(d, request);
}

static void the_last_responses_are_told_first(void)
{
    struct run_setup setup;
    struct drafting *d = drafting_with(&setup, 2, 10);
    serve(d, 0, 1, 2);
    serve(d, 1, 3, 0); /* said nothing */
    CHECK_EQ(drafting_open(d, 2, 1, NULL), ERR_OK);
    serve(d, 3, 5, 1);
    /* a request knows what was finished when it was opened */
    CHECK_STR(hear(d, 2, 0, 8), "10: r1,2 a8");
    CHECK_STR(hear(d, 2, 0, 7), "10: r1,2 a8 a7");
    drafting_close(d, 2);
    CHECK_EQ(drafting_open(d, 4, 1, NULL), ERR_OK);
    CHECK_STR(hear(d, 4, 0, 8), "10: r1,2 r5 a8");
    CHECK_STR(hear(d, 4, 1, 8), "10: r5 a8"); /* as many as the drafter asks for */
    drafting_close(d, 4);
    serve(d, 5, 1, 8); /* 8 + 1 fit into 10, the two before it do not */
    CHECK_EQ(drafting_open(d, 6, 1, NULL), ERR_OK);
    CHECK_STR(hear(d, 6, 0, 8), "10: r5 r1,2,3,4,5,6,7,8 a8");
    drafting_close(d, 6);
    serve(d, 7, 1, 13); /* cut at 10 */
    CHECK_EQ(drafting_open(d, 8, 1, NULL), ERR_OK);
    CHECK_STR(hear(d, 8, 0, 8), "10: r1,2,3,4,5,6,7,8,9,10 a8");
    drafting_destroy(d);
}

static void without_history_nothing_is_kept(void)
{
    struct run_setup setup;
    struct drafting *d = drafting_with(&setup, 0, 10);
    serve(d, 0, 1, 2);
    CHECK_EQ(drafting_open(d, 1, 1, NULL), ERR_OK);
    CHECK_STR(hear(d, 1, 0, 8), "0: a8");
    CHECK_STR(hear(d, 1, 1, 8), "10: r1,2 a8");
    drafting_destroy(d);
    d = drafting_with(&setup, 0, 10);
    drafting_destroy(d);
}

static void a_verified_step_is_shown_before_the_append(void)
{
    struct run_setup setup;
    struct drafting *d = drafting_with(&setup, 1, 10);
    const int32_t token[] = {1, 2, 3}, parent[] = {-1, 0, 0}, choice[] = {4, -1, 6}, fresh = 4;
    int32_t out[8];
    struct draft_tree tree = {0, out, out, out};
    struct draft_work work;
    struct job job = {.kind = JOB_DRAFT, .request = 3};
    CHECK_EQ(drafting_open(d, 3, 1, NULL), ERR_OK);
    job.draft = (struct job_draft){.n = 1,
                                   .token = &fresh,
                                   .n_rows = 3,
                                   .row_token = token,
                                   .row_parent = parent,
                                   .row_choice = choice};
    CHECK_EQ(drafting_run(d, &job, &tree, &work), ERR_OK);
    CHECK_EQ(work.probes, 1);
    job.draft.row_parent = NULL;
    CHECK_EQ(drafting_run(d, &job, &tree, &work), ERR_OK);
    CHECK_STR(hear(d, 3, 0, 5), "10: t1,2,3/4,-1,6 a4 c1,2,3/4,-1,6 a4 a5");
    job.draft.n_rows = 9;
    CHECK_EQ(drafting_run(d, &job, &tree, &work), ERR_LIMIT);
    struct job calibrate = {.kind = JOB_CALIBRATE, .request = 3};
    const float zero = 0;
    calibrate.calibrate = (struct job_calibrate){0, 0, 1, 1, token, &zero};
    CHECK_EQ(drafting_run(d, &calibrate, &tree, &work), ERR_UNSUPPORTED);
    setup.drafter[0].type = draft_find("aligned");
    drafting_destroy(d);
    param_defaults(setup.drafter[0].type->params, setup.drafter[0].param);
    CHECK_EQ(drafting_create(&setup, 10, 8, &d, NULL), ERR_OK);
    CHECK_EQ(drafting_open(d, 3, 1, NULL), ERR_OK);
    CHECK_EQ(drafting_run(d, &calibrate, &tree, &work), ERR_OK);
    calibrate.calibrate.pos = 10;
    CHECK_EQ(drafting_run(d, &calibrate, &tree, &work), ERR_LIMIT);
    drafting_destroy(d);
}

/* ---- oracle --------------------------------------------------------------------------------- */

static void the_oracle_says_what_the_target_will(void)
{
    static struct world_truth truth;
    const struct request *q = world_requests(2, 20);
    world_truth_init(&truth, world_language, NULL, q, 2, NULL, 0);
    struct run_setup setup = {.n_vocab = 48, .max_requests = 1, .n_drafters = 1};
    setup.drafter[0].type = draft_find("oracle");
    struct drafting *d;
    CHECK_EQ(drafting_create(&setup, 600, 8, &d, NULL), ERR_OK);
    drafting_tell_truth(d, &truth.truth);
    CHECK_EQ(drafting_open(d, 1, q[1].n, NULL), ERR_OK);
    int32_t token[8], parent[8], chance[8];
    struct draft_tree tree = {0, token, parent, chance};
    struct draft_work work;
    struct job job = {.kind = JOB_DRAFT, .request = 1};
    const int32_t *text = truth.request[1].text;
    for (int32_t n = 0; n <= 20; n++) {
        int32_t from = n ? q[1].n + n - 1 : 0, left = 20 - n < 8 ? 20 - n : 8;
        job.draft = (struct job_draft){.n = n ? 1 : q[1].n, .token = text + from, .max_nodes = 8};
        CHECK_EQ(drafting_run(d, &job, &tree, &work), ERR_OK);
        CHECK_EQ(tree.n, left);
        for (int32_t i = 0; i < tree.n; i++) {
            CHECK_EQ(token[i], text[q[1].n + n + i]);
            CHECK_EQ(parent[i], i - 1);
            CHECK_EQ(chance[i], DRAFT_SURE);
        }
    }
    drafting_destroy(d);
}

static const struct unit_test tests[] = {
    {"likely_tokens_are_found_where_they_occur", likely_tokens_are_found_where_they_occur},
    {"without_calibration_they_are_not", without_calibration_they_are_not},
    {"skipped_and_evicted_positions_say_nothing", skipped_and_evicted_positions_say_nothing},
    {"both_ends_bring_their_likely_tokens", both_ends_bring_their_likely_tokens},
    {"more_tokens_than_are_kept_change_nothing", more_tokens_than_are_kept_change_nothing},
    {"extreme_logits_do_no_harm", extreme_logits_do_no_harm},
    {"a_long_match_gives_depth_and_a_short_one_branches",
     a_long_match_gives_depth_and_a_short_one_branches},
    {"branches_are_a_limit", branches_are_a_limit},
    {"common_tokens_fill_a_tree", common_tokens_fill_a_tree},
    {"every_parameter_changes_a_proposal", every_parameter_changes_a_proposal},
    {"a_run_is_the_longest_segment_of_agreement", a_run_is_the_longest_segment_of_agreement},
    {"a_run_is_attached_where_it_is_said", a_run_is_attached_where_it_is_said},
    {"a_run_is_dropped_when_enough_was_drafted", a_run_is_dropped_when_enough_was_drafted},
    {"a_run_is_kept_for_some_steps_whatever_was_drafted",
     a_run_is_kept_for_some_steps_whatever_was_drafted},
    {"a_run_is_looked_for_where_it_is_said", a_run_is_looked_for_where_it_is_said},
    {"several_runs_are_kept", several_runs_are_kept},
    {"the_authors_rule_of_length", the_authors_rule_of_length},
    {"responses_are_remembered", responses_are_remembered},
    {"the_last_responses_are_told_first", the_last_responses_are_told_first},
    {"without_history_nothing_is_kept", without_history_nothing_is_kept},
    {"a_verified_step_is_shown_before_the_append", a_verified_step_is_shown_before_the_append},
    {"the_oracle_says_what_the_target_will", the_oracle_says_what_the_target_will},
    {NULL, NULL},
};

UNIT_MAIN("aligned", tests)
