/* The acceptance rule against brute force over all paths of all small trees, and the number of
 * tokens that it yields against closed forms.
 *
 * Expected tokens of a chain of k drafted tokens, each right with chance a whatever came before:
 * (1 - a^(k+1)) / (1 - a) (Leviathan et al., ICML 2023, eq. 1). Of a tree: 1 plus, over its
 * drafted nodes, the product of the chances along the path, since a node is kept when its whole
 * path is. The means are sums over all answers of the target: they agree but for rounding. */
#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "sim/exec/exec.h"
#include "tests/unit.h"

enum { MAX_ROWS = 10 };

struct tree {
    int32_t n, token[MAX_ROWS], parent[MAX_ROWS], choice[MAX_ROWS];
};

/* ---- all paths ------------------------------------------------------------------------------ */

/* The rows from the root to row i, the root first; returns their number. */
static int32_t path_to(const struct tree *t, int32_t i, int32_t *path)
{
    int32_t depth = 0;
    for (int32_t r = i; r >= 0; r = t->parent[r])
        depth++;
    for (int32_t r = i, at = depth; r >= 0; r = t->parent[r])
        path[--at] = r;
    return depth;
}

/* Whether the target says every token of the path; `first`: and each of its rows is the first of
 * its parent's children that hold that token. */
static bool says(const struct tree *t, const int32_t *path, int32_t n, bool first)
{
    for (int32_t i = 1; i < n; i++) {
        if (t->token[path[i]] != t->choice[path[i - 1]])
            return false;
        for (int32_t r = 1; first && r < path[i]; r++)
            if (t->parent[r] == path[i - 1] && t->token[r] == t->token[path[i]])
                return false;
    }
    return true;
}

static int32_t longest(const struct tree *t, bool first, int32_t *best)
{
    int32_t n_best = 0, path[MAX_ROWS];
    for (int32_t i = 0; i < t->n; i++) {
        int32_t n = path_to(t, i, path);
        if (n <= n_best || !says(t, path, n, first))
            continue;
        memcpy(best, path, (size_t)n * sizeof *path);
        n_best = n;
    }
    return n_best;
}

static bool has_twins(const struct tree *t)
{
    for (int32_t i = 1; i < t->n; i++)
        for (int32_t k = 1; k < i; k++)
            if (t->parent[i] == t->parent[k] && t->token[i] == t->token[k])
                return true;
    return false;
}

/* How many trees there were, with which the comparison could have gone wrong. */
static struct {
    int64_t trees, branched, twins, partial;
} seen;

static bool agrees(const struct tree *t)
{
    int32_t row[MAX_ROWS], best[MAX_ROWS], any[MAX_ROWS], depth = 0;
    int32_t n = exec_accept(t->n, t->token, t->parent, t->choice, row);
    int32_t n_best = longest(t, true, best);
    bool twins = has_twins(t);
    for (int32_t i = 0; i < t->n; i++) {
        int32_t to = path_to(t, i, any);
        depth = to > depth ? to : depth;
    }
    seen.trees++;
    seen.branched += depth < t->n;
    seen.twins += twins;
    seen.partial += n > 1 && n < depth;
    return n == n_best && !memcmp(row, best, (size_t)n * sizeof *row) &&
           (twins || longest(t, false, any) == n);
}

/* Counts `digit` up in the given bases, the last digit fastest; false after the last number. */
static bool count_up(int32_t *digit, const int32_t *base, int32_t n)
{
    for (int32_t i = n - 1; i >= 0; digit[i--] = 0)
        if (++digit[i] < base[i])
            return true;
    return false;
}

/* Every tree of n rows, every labelling with v tokens, every answer of the target. */
static int64_t disagreements(int32_t n, int32_t v)
{
    int32_t digit[3 * MAX_ROWS] = {0}, base[3 * MAX_ROWS];
    int64_t wrong = 0;
    for (int32_t i = 0; i < n; i++) {
        base[i] = i ? i : 1; /* a parent before the row */
        base[n + i] = i ? v : 1;
        base[2 * n + i] = v;
    }
    do {
        struct tree t = {.n = n};
        for (int32_t i = 0; i < n; i++) {
            t.parent[i] = i ? digit[i] : -1;
            t.token[i] = digit[n + i];
            t.choice[i] = digit[2 * n + i];
        }
        wrong += !agrees(&t);
    } while (count_up(digit, base, 3 * n));
    return wrong;
}

static void brute_force_over_all_paths_agrees(void)
{
    memset(&seen, 0, sizeof seen);
    for (int32_t n = 1; n <= 6; n++)
        CHECK_EQ(disagreements(n, 2), 0);
    for (int32_t n = 1; n <= 5; n++)
        CHECK_EQ(disagreements(n, 3), 0);
    CHECK(seen.trees > 700000);
    CHECK(seen.branched > seen.trees / 2);
    CHECK(seen.twins > 100000 && seen.twins < seen.trees);
    CHECK(seen.partial > 50000);
}

/* NULL for the parents is a chain. */
static void a_chain_needs_no_parents(void)
{
    int32_t digit[2 * MAX_ROWS] = {0}, base[2 * MAX_ROWS], row[2][MAX_ROWS];
    static const int32_t chain[] = {-1, 0, 1, 2, 3, 4, 5};
    enum { N = 7 };
    for (int32_t i = 0; i < 2 * N; i++)
        base[i] = 2;
    do {
        int32_t n = exec_accept(N, digit, NULL, digit + N, row[0]);
        CHECK_EQ(exec_accept(N, digit, chain, digit + N, row[1]), n);
        CHECK(!memcmp(row[0], row[1], (size_t)n * sizeof **row));
    } while (count_up(digit, base, 2 * N));
}

/* ---- expected tokens ------------------------------------------------------------------------ */

/* The mean number of new tokens when the target's choice after every row is drawn on its own: token
 * c with chance p[c]. Exact: a sum over all answers. */
static double expected(const struct tree *tree, const double *p, int32_t v)
{
    struct tree t = *tree;
    int32_t base[MAX_ROWS], row[MAX_ROWS];
    double sum = 0;
    memset(t.choice, 0, sizeof t.choice);
    for (int32_t i = 0; i < t.n; i++)
        base[i] = v;
    do {
        double chance = 1;
        for (int32_t i = 0; i < t.n; i++)
            chance *= p[t.choice[i]];
        sum += chance * exec_accept(t.n, t.token, t.parent, t.choice, row);
    } while (count_up(t.choice, base, t.n));
    return sum;
}

static void a_chain_yields_the_geometric_sum(void)
{
    static const double a[] = {0.05, 0.5, 0.8, 0.93};
    for (size_t i = 0; i < sizeof a / sizeof *a; i++)
        for (int32_t k = 0; k < MAX_ROWS; k++) {
            struct tree t = {.n = k + 1};
            const double p[] = {a[i], 1 - a[i]};
            for (int32_t r = 0; r <= k; r++)
                t.parent[r] = r - 1; /* every token is 0 */
            CHECK_NEAR(expected(&t, p, 2), (1 - pow(a[i], k + 1)) / (1 - a[i]), 1e-12);
        }
}

static void a_tree_yields_the_sum_of_its_paths(void)
{
    static const double p[] = {0.6, 0.25, 0.1, 0.05};
    static const struct tree trees[] = {
        {4, {9, 0, 1, 2}, {-1, 0, 0, 0}, {0}},                   /* three branches */
        {7, {9, 0, 1, 0, 1, 0, 1}, {-1, 0, 0, 1, 1, 2, 2}, {0}}, /* two levels of two */
        {7, {9, 1, 0, 2, 0, 0, 3}, {-1, 0, 0, 0, 2, 4, 4}, {0}}, /* the best branch is second */
    };
    for (size_t i = 0; i < sizeof trees / sizeof *trees; i++) {
        const struct tree *t = &trees[i];
        double sum = 1;
        for (int32_t r = 1; r < t->n; r++) {
            double product = 1;
            for (int32_t at = r; at > 0; at = t->parent[at])
                product *= p[t->token[at]];
            sum += product;
        }
        CHECK_NEAR(expected(t, p, 4), sum, 1e-12);
    }
}

static const struct unit_test tests[] = {
    {"brute_force_over_all_paths_agrees", brute_force_over_all_paths_agrees},
    {"a_chain_needs_no_parents", a_chain_needs_no_parents},
    {"a_chain_yields_the_geometric_sum", a_chain_yields_the_geometric_sum},
    {"a_tree_yields_the_sum_of_its_paths", a_tree_yields_the_sum_of_its_paths},
    {NULL, NULL},
};

UNIT_MAIN("accept", tests)
