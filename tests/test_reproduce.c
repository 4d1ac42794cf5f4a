/* What `tandem reproduce` computes with: published values, lines, quasi-random points. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "analysis/quasi.h"
#include "experiments/fig6.h"
#include "experiments/published.h"
#include "experiments/reproduce.h"
#include "tests/scratch.h"
#include "tests/unit.h"

/* ---- published values ----------------------------------------------------------------------- */

struct two {
    double a;
    struct published_range b;
};

static const struct published_field two_fields[] = {{"g.a", "ms", offsetof(struct two, a), false},
                                                    {"g.h.b", "x", offsetof(struct two, b), true},
                                                    {.path = NULL}};

#define HEAD "schema: tandem-published-1\ntarget: t\nabout: nothing\n"

static int read_two(const char *text, struct two *out, struct err *e)
{
    struct arena arena;
    char path[512];
    FILE *f = fopen(scratch_path(path, sizeof path, "t.yaml"), "w");
    if (f) {
        fputs(text, f);
        fclose(f);
    }
    *e = (struct err){.code = ERR_OK};
    arena_init(&arena);
    int rc = published_read(path, "t", two_fields, out, &arena, e);
    arena_fini(&arena);
    remove(path);
    return rc;
}

static void published_values_are_read_with_unit_and_source(void)
{
    struct two v;
    struct err e;
    CHECK_EQ(read_two(HEAD "g:\n  source: s\n  a: {value: 2.385, unit: ms, note: n}\n"
                           "  h:\n    b: {low: 1.5, high: 2.75, unit: x, source: own}\n",
                      &v, &e),
             ERR_OK);
    CHECK_NEAR(v.a, 2.385, 0);
    CHECK_NEAR(v.b.low, 1.5, 0);
    CHECK_NEAR(v.b.high, 2.75, 0);
}

static void published_files_are_refused_by_place(void)
{
    static const struct {
        const char *text, *says;
        int code, line, col;
    } bad[] = {
        {HEAD "g:\n  source: s\n  a: {value: soon, unit: ms}\n", "expected a number", ERR_SCHEMA, 6,
         14},
        {HEAD "g:\n  source: s\n  a: {value: 2, unit: s}\n", "expected the unit 'ms'", ERR_SCHEMA,
         6, 23},
        {HEAD "g:\n  a: {value: 2, unit: ms}\n", "it has no source", ERR_SCHEMA, 5, 14},
        {HEAD "g:\n  source: s\n  a: {value: 0, unit: ms}\n", "expected a number", ERR_RANGE, 6,
         14},
        {HEAD "g:\n  source: s\n  a: {value: 2, unit: ms}\n", "'h' is missing", ERR_SCHEMA, 5, 3},
        {HEAD "g:\n  source: s\n  a: {value: 2, unit: ms}\n"
              "  h: {b: {low: 3, high: 2, unit: x}}\n",
         "expected at most its `high`, 2", ERR_RANGE, 7, 16},
        {HEAD "g:\n  source: s\n  a: {value: 2, unit: ms}\n"
              "  h: {b: {low: 1, high: 2, unit: x}}\n  c: {value: 1, unit: ms}\n",
         "unknown key 'c'", ERR_SCHEMA, 8, 3},
        {"schema: tandem-published-2\ntarget: t\nabout: n\n", "expected tandem-published-1",
         ERR_SCHEMA, 1, 9},
        {"schema: tandem-published-1\ntarget: u\nabout: n\n", "expected 't'", ERR_SCHEMA, 2, 9},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct two v;
        struct err e;
        CHECK_EQ(read_two(bad[i].text, &v, &e), bad[i].code);
        if (!CHECK_HAS(e.msg, bad[i].says) || !CHECK_EQ(e.line, bad[i].line) ||
            !CHECK_EQ(e.col, bad[i].col))
            printf("case %zu: %d:%d: %s\n", i, e.line, e.col, e.msg);
    }
}

static void fig6_is_a_line_through_its_points(void)
{
    struct arena arena;
    struct fig6 f;
    struct err e = {0};
    arena_init(&arena);
    CHECK_EQ(fig6_read(&f, &arena, &e), ERR_OK);
    CHECK_NEAR(line_at(fig6_line(&f), 1), 51.1, 1e-9);
    CHECK_NEAR(line_at(fig6_line(&f), 32), 182.4, 1e-9);
    arena_fini(&arena);
}

/* ---- searching ------------------------------------------------------------------------------ */

static void quasi_random_points_fill_the_cube(void)
{
    enum { N = 4096 };
    struct quasi *q, *r;
    double x[3], y[3], sum[3] = {0};
    int32_t corner = 0, equal = 0;
    CHECK_EQ(quasi_create(3, 1, &q), ERR_OK);
    CHECK_EQ(quasi_create(3, 2, &r), ERR_OK);
    for (int32_t i = 0; i < N; i++) {
        quasi_next(q, x);
        quasi_next(r, y);
        equal += x[0] == y[0];
        corner += x[0] < 0.3 && x[1] < 0.7 && x[2] < 0.5;
        for (int32_t d = 0; d < 3; d++) {
            sum[d] += x[d];
            CHECK(x[d] >= 0 && x[d] < 1);
        }
    }
    quasi_destroy(q);
    quasi_destroy(r);
    CHECK(!equal);
    for (int32_t d = 0; d < 3; d++)
        CHECK_NEAR(sum[d] / N, 0.5, 0.002);
    CHECK_NEAR((double)corner / N, 0.105, 0.004); /* random points: 0.105 +- 0.005 */
}

static const struct unit_test tests[] = {
    {"published_values_are_read_with_unit_and_source",
     published_values_are_read_with_unit_and_source},
    {"published_files_are_refused_by_place", published_files_are_refused_by_place},
    {"fig6_is_a_line_through_its_points", fig6_is_a_line_through_its_points},
    {"quasi_random_points_fill_the_cube", quasi_random_points_fill_the_cube},
    {NULL, NULL},
};

UNIT_MAIN("reproduce", tests)
