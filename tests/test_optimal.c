/* The best schedule of switches, against brute force over everything that may be decided. */
#include "sim/policy/optimal.h"

#include <stdio.h>
#include <string.h>

#include "sim/base/hash.h"
#include "tests/unit.h"

enum { WIDTH = 4000, MAX_CELLS = 64 };

static int64_t draw(uint64_t round, uint64_t what, int64_t from, int64_t to)
{
    return from + (int64_t)(rng_u64(5, RNG_TEST, round, what) % (uint64_t)(to - from + 1));
}

/* Uneven blocks; loads from far below a cell's time to several chunks'. */
static struct optimal_problem problem(uint64_t round, int32_t n, int32_t chunks)
{
    struct optimal_problem p = {.n = n, .chunks = chunks};
    int64_t most_ns = draw(round, 0, 1, 4) * draw(round, 1, 5, 60);
    for (int32_t b = 0; b < n; b++) {
        p.wide_ns[b] = draw(round, 100 + (uint64_t)b, 5, 40);
        p.narrow_ns[b] = draw(round, 200 + (uint64_t)b, 1, 15);
        p.load_ns[b] = draw(round, 300 + (uint64_t)b, 0, most_ns);
    }
    for (int32_t c = 0; c < chunks; c++)
        p.sub[c] = (int32_t)draw(round, 400, 1, 8);
    p.sub[chunks - 1] = (int32_t)draw(round, 500, 1, p.sub[0]);
    p.tail_ns = draw(round, 600, 0, 2) * 7;
    return p;
}

/* Everything as early as order[] and after[] let it: the k-th switch is of block order[k], behind
 * after[k] of its cells. -1: the two wait for each other. */
static int64_t evaluate(const struct optimal_problem *p, const int32_t *order, const int32_t *after)
{
    int64_t cell_ns = 0, loader_ns = 0, ready_ns[OPTIMAL_MAX_BLOCKS];
    int32_t cut[OPTIMAL_MAX_BLOCKS], k = 0, cells = p->n * p->chunks;
    int64_t end_ns[MAX_CELLS + 1];
    for (int32_t i = 0; i < p->n; i++) {
        cut[order[i]] = after[i];
        ready_ns[i] = -1;
    }
    for (int32_t i = 0; i <= cells; i++) {
        /* switches whose cells have all been passed */
        while (k < p->n && (after[k] == 0 || (after[k] - 1) * p->n + order[k] < i)) {
            int64_t from = after[k] ? end_ns[(after[k] - 1) * p->n + order[k]] : 0;
            from = from > loader_ns ? from : loader_ns;
            loader_ns = ready_ns[order[k]] = from + p->load_ns[order[k]];
            k++;
        }
        if (i == cells)
            break;
        int32_t b = i % p->n, c = i / p->n;
        bool switched = cut[b] <= c;
        if (switched && ready_ns[b] < 0)
            return -1;
        if (switched && cell_ns < ready_ns[b])
            cell_ns = ready_ns[b];
        cell_ns += switched ? p->sub[c] * p->narrow_ns[b] : p->wide_ns[b];
        end_ns[i] = cell_ns;
    }
    cell_ns += p->tail_ns;
    return cell_ns > loader_ns ? cell_ns : loader_ns;
}

static bool next_order(int32_t *order, int32_t n)
{
    int32_t i = n - 2, k = n - 1;
    while (i >= 0 && order[i] > order[i + 1])
        i--;
    if (i < 0)
        return false;
    while (order[k] < order[i])
        k--;
    int32_t t = order[i];
    order[i] = order[k];
    order[k] = t;
    for (int32_t a = i + 1, b = n - 1; a < b; a++, b--) {
        t = order[a];
        order[a] = order[b];
        order[b] = t;
    }
    return true;
}

static int64_t brute_force(const struct optimal_problem *p)
{
    int32_t order[OPTIMAL_MAX_BLOCKS], after[OPTIMAL_MAX_BLOCKS] = {0};
    int64_t best = INT64_MAX;
    for (int32_t i = 0; i < p->n; i++)
        order[i] = i;
    do {
        int32_t at;
        do {
            int64_t ns = evaluate(p, order, after);
            if (ns >= 0 && ns < best)
                best = ns;
            for (at = 0; at < p->n && after[at] == p->chunks; at++)
                after[at] = 0;
            if (at < p->n)
                after[at]++;
        } while (at < p->n);
    } while (next_order(order, p->n));
    return best;
}

static struct optimal_result solve(const struct optimal_problem *p, int32_t width)
{
    struct optimal_result r = {0};
    struct arena arena;
    struct err e = {0};
    arena_init(&arena);
    CHECK_EQ(optimal_solve(p, width, &arena, &r, &e), ERR_OK);
    arena_fini(&arena);
    return r;
}

static void brute_force_agrees(void)
{
    static const int32_t size[][2] = {{1, 1}, {1, 4}, {2, 1}, {2, 3}, {3, 2},
                                      {3, 4}, {4, 1}, {4, 2}, {4, 3}, {4, 4}};
    int32_t late = 0;
    for (uint64_t round = 0; round < 150; round++) {
        const int32_t *s = size[round % 10];
        struct optimal_problem p = problem(round, s[0], s[1]);
        struct optimal_result r = solve(&p, WIDTH);
        int64_t best = brute_force(&p), sync = p.tail_ns;
        CHECK_EQ(r.best_ns, best);
        CHECK(r.proved);
        CHECK_EQ(r.bound_ns, best);
        CHECK_EQ(evaluate(&p, r.order, r.after), best);
        for (int32_t b = 0; b < p.n; b++)
            sync += p.chunks * p.wide_ns[b] + p.load_ns[b];
        late += best < sync;
    }
    CHECK(late > 75);
}

/* The schedule of the paper's example is optimal: no part of a load is seen. */
static void the_worked_example_is_optimal(void)
{
    struct optimal_problem p = {.n = 6, .chunks = 2, .sub = {8, 8}};
    for (int32_t b = 0; b < 6; b++) {
        p.wide_ns[b] = 8;
        p.narrow_ns[b] = 1;
        p.load_ns[b] = 16;
    }
    CHECK_EQ(solve(&p, WIDTH).best_ns, 96);
    for (int32_t b = 0; b < 6; b++) /* a switch can neither be hidden nor be split */
        p.load_ns[b] = 17;
    CHECK_EQ(solve(&p, WIDTH).best_ns, 6 * 17);
    p.tail_ns = 7;
    CHECK_EQ(solve(&p, WIDTH).best_ns, brute_force(&p));
}

/* Cells of 4, loads of 8. Out of turn all loads would be hidden: (1,1) and (2,1) run while block 2
 * is switched, (1,2) and (2,2) while block 1 is, 16 in all. In turn (1,2) waits. */
static void chunks_come_in_turn(void)
{
    struct optimal_problem p = {.n = 2,
                                .chunks = 2,
                                .wide_ns = {4, 4},
                                .narrow_ns = {1, 1},
                                .load_ns = {8, 8},
                                .sub = {4, 4}};
    CHECK_EQ(solve(&p, WIDTH).best_ns, 24);
    CHECK_EQ(brute_force(&p), 24);
}

static void it_is_proved_for_six_blocks_and_four_chunks(void)
{
    for (uint64_t round = 1000; round < 1150; round++) {
        struct optimal_problem p = problem(round, 5 + (int32_t)(round % 2), 4);
        struct optimal_result r = solve(&p, WIDTH);
        CHECK(r.proved);
        CHECK_EQ(evaluate(&p, r.order, r.after), r.best_ns);
    }
}

/* With too few nodes the bound stays true and the incumbent a schedule. */
static void a_narrow_search_keeps_a_true_bound(void)
{
    int32_t open = 0, worse = 0;
    for (uint64_t round = 2000; round < 2150; round++) {
        struct optimal_problem p = problem(round, 6, 3);
        struct optimal_result whole = solve(&p, WIDTH), r;
        for (int32_t width = 1; width <= 8; width *= 2) {
            r = solve(&p, width);
            CHECK(r.bound_ns <= whole.best_ns && whole.best_ns <= r.best_ns);
            CHECK_EQ(evaluate(&p, r.order, r.after), r.best_ns);
            CHECK_EQ(r.proved, r.bound_ns == r.best_ns);
            open += !r.proved;
            worse += r.best_ns > whole.best_ns;
            CHECK(r.nodes <= 2 * width * (6 * 3 + 6 + 1));
        }
    }
    CHECK(open > 20 && worse > 5);
}

static void starts_are_those_of_the_schedule(void)
{
    for (uint64_t round = 3000; round < 3050; round++) {
        struct optimal_problem p = problem(round, 4, 3);
        struct optimal_result r = solve(&p, WIDTH);
        int64_t free_ns = 0;
        uint32_t seen = 0;
        for (int32_t k = 0; k < 4; k++) {
            CHECK(r.start_ns[k] >= free_ns);
            free_ns = r.start_ns[k] + p.load_ns[r.order[k]];
            seen |= 1u << r.order[k];
        }
        CHECK_EQ(seen, 15);
        CHECK(free_ns <= r.best_ns);
    }
}

static void what_is_no_problem_is_refused(void)
{
    struct optimal_problem good = problem(1, 3, 3), p;
    struct optimal_result r;
    struct arena arena;
    arena_init(&arena);
    const struct {
        int32_t *field;
        int32_t value;
        const char *says;
    } bad[] = {{&p.n, 0, "0 blocks and 3 chunks"},
               {&p.n, OPTIMAL_MAX_BLOCKS + 1, "15 blocks"},
               {&p.chunks, 0, "3 blocks and 0 chunks"},
               {&p.chunks, OPTIMAL_MAX_CHUNKS + 1, "65 chunks"},
               {&p.sub[2], 0, "a chunk of no sub-chunks"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct err e = {0};
        p = good;
        *bad[i].field = bad[i].value;
        CHECK_EQ(optimal_solve(&p, WIDTH, &arena, &r, &e), ERR_RANGE);
        CHECK_HAS(e.msg, bad[i].says);
    }
    int64_t *time[] = {&p.wide_ns[1], &p.narrow_ns[2], &p.load_ns[0], &p.tail_ns};
    for (int i = 0; i < 4; i++) {
        p = good;
        *time[i] = -1;
        CHECK_EQ(optimal_solve(&p, WIDTH, &arena, &r, NULL), ERR_RANGE);
    }
    p = good;
    for (int i = 0; i < 2; i++) {
        struct err e = {0};
        CHECK_EQ(optimal_solve(&p, i ? (1 << 20) + 1 : 0, &arena, &r, &e), ERR_RANGE);
        CHECK_HAS(e.msg, "a width of");
    }
    arena_fini(&arena);
}

static const struct unit_test tests[] = {
    {"brute_force_agrees", brute_force_agrees},
    {"the_worked_example_is_optimal", the_worked_example_is_optimal},
    {"chunks_come_in_turn", chunks_come_in_turn},
    {"it_is_proved_for_six_blocks_and_four_chunks", it_is_proved_for_six_blocks_and_four_chunks},
    {"a_narrow_search_keeps_a_true_bound", a_narrow_search_keeps_a_true_bound},
    {"starts_are_those_of_the_schedule", starts_are_those_of_the_schedule},
    {"what_is_no_problem_is_refused", what_is_no_problem_is_refused},
    {NULL, NULL},
};

UNIT_MAIN("optimal", tests)
