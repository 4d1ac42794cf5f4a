#include "hwmodels/steps.h"
#include "sim/base/io.h"
#include "tests/replaced.h"
#include "tests/staircase.h"
#include "tests/unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define EXAMPLE "hwmodels/devices/example-2core.yaml"

/* ---- helpers -------------------------------------------------------------------------------- */

static const char small[] = "schema: tandem-device-1\n"           /* 1 */
                            "name: \"small\"\n"                   /* 2 */
                            "model: m.gguf\n"                     /* 3 */
                            "numerics_id: n1\n"                   /* 4 */
                            "source: made up\n"                   /* 5 */
                            "limits: {rows: 64, context: 1000}\n" /* 6 */
                            "host: {event: 7 ns, action: 5 ns, dispatch: 3 ns, notify: 2 ns}\n"
                            "bus: {dram: 8.5 GB/s}\n"  /* 8 */
                            "roles: {target: cpu:0}\n" /* 9 */
                            "exactness: {widths: [1, 2], trees: null, note: 'a b'}\n"
                            "processors:\n"                                /* 11 */
                            "  - name: cpu:0\n"                            /* 12 */
                            "    kind: cpu\n"                              /* 13 */
                            "    threads: 2\n"                             /* 14 */
                            "    power: {active: 3 W, idle: null}\n"       /* 15 */
                            "    sample: {fixed: 11 ns, per_row: 13 ns}\n" /* 16 */
                            "    commit: {chain: 17 ns, tree: 19 ns}\n"    /* 17 */
                            "    draft: {lookup: {fixed: 23 ns, per_1000_probes: 1500 ns,\n"
                            "      per_1000_nodes: 7 us, per_1000_tokens: 0 ns}}\n"
                            "    step:\n"                                  /* 20 */
                            "      axes: {pad: 100, period: 4}\n"          /* 21 */
                            "      bytes: {fixed: 1 kB, per_token: 3 B}\n" /* 22 */
                            "      unit: ns\n"                             /* 23 */
                            "      cells:\n"                               /* 24 */
                            "        - {width: 1, bucket: 1, samples: [1003, 1001, 1009]}\n"
                            "        - {width: 8, bucket: 1, samples: [4000]}\n"
                            "        - {width: 8, bucket: 3, samples: [6000]}\n"
                            "        - {width: 8, bucket: 3, changed: 1, samples: [6500]}\n"
                            "    prefill:\n"                                   /* 29 */
                            "      axes: {pad: 100, period: 1}\n"              /* 30 */
                            "      unit: us\n"                                 /* 31 */
                            "      cells:\n"                                   /* 32 */
                            "        - {width: 10, bucket: 1, samples: [2]}\n" /* 33 */
                            "        - {width: 20, bucket: 1, samples: [4]}\n" /* 34 */
                            "  - {name: gpu:0, kind: gpu, threads: 1, same_as: cpu:0}\n";

static bool parse_small(struct arena *a, struct device *d, const char *const *set, int32_t n_set)
{
    struct err e = {0};
    arena_init(a);
    bool ok = CHECK_EQ(device_parse("d.yaml", small, sizeof small - 1, set, n_set, a, d, &e), 0);
    CHECK_STR(e.msg, "");
    return ok;
}

static const struct cost_model *cost_of(const struct device *d, const struct device_options *opt,
                                        struct arena *a)
{
    const int32_t role[] = {0, d->n_processors - 1};
    const struct cost_model *m = NULL;
    struct err e = {0};
    CHECK_EQ(device_cost_create(d, role, 2, opt, a, &m, &e), ERR_OK);
    CHECK_STR(e.msg, "");
    return m;
}

static struct job forward(int32_t pos, int32_t n, int32_t width, int32_t wanted)
{
    struct job j = {.id = 1, .kind = JOB_FORWARD};
    j.forward = (struct job_forward){.b1 = 1,
                                     .width = width,
                                     .pos = pos,
                                     .n = n,
                                     .slot_in = -1,
                                     .slot_out = -1,
                                     .want = wanted ? WANT_ARGMAX : WANT_NONE,
                                     .want_from = n - wanted};
    return j;
}

/* A step after another of its own shape. */
static struct cost same(const struct cost_model *m, int32_t pos, int32_t n, int32_t wanted)
{
    struct job j = forward(pos, n, n, wanted);
    struct engine_state before = {.width = n, .pos = pos};
    struct cost c;
    CHECK_EQ(m->ops->job(m, &j, &before, NULL, &c, NULL), ERR_OK);
    return c;
}

static int64_t step_ns(const struct cost_model *m, int32_t pos, int32_t n)
{
    struct cost c = same(m, pos, n, n);
    return c.alone_ns - c.sample_ns;
}

/* ---- estimators and statistics -------------------------------------------------------------- */

/* Mean minimum over all subsets of `draws`, by enumeration. */
static double brute_minimum(const int64_t *x, int n, int draws)
{
    double sum = 0, count = 0;
    for (unsigned set = 0; set < 1u << n; set++) {
        int size = 0;
        int64_t least = INT64_MAX;
        for (int i = 0; i < n; i++)
            if (set >> i & 1) {
                size++;
                least = x[i] < least ? x[i] : least;
            }
        if (size != draws)
            continue;
        sum += (double)least;
        count++;
    }
    return sum / count;
}

static void expected_minimum_is_the_mean_over_all_draws(void)
{
    static const int64_t x[] = {1001, 1001, 1009, 1037, 1300, 2385, 2385, 9999, 12345};
    for (int n = 1; n <= 9; n++)
        for (int draws = 1; draws <= n; draws++)
            CHECK_NEAR(device_expected_minimum(x, n, draws), brute_minimum(x, n, draws), 1e-8);
    CHECK_NEAR(device_expected_minimum(x, 3, 100), 1001, 0);
}

static void statistics_of_a_cell(void)
{
    struct arena a;
    struct device d;
    arena_init(&a);
    CHECK_EQ(device_init(&d, &a), ERR_OK);
    struct device_table *t = &device_add_processor(&d, "c")->step;
    static const int64_t x[] = {10, 50, 20, 40, 30, 60, 31, 1000, 5, 33};
    CHECK_EQ(device_table_put(&a, t, 3, 2, true, x, 4), ERR_OK);
    CHECK_EQ(device_table_put(&a, t, 3, 2, true, x, 10), ERR_OK); /* replaces */
    CHECK_EQ(device_table_put(&a, t, 3, 2, false, x, 2), ERR_OK);
    CHECK_EQ(device_finish(&d), ERR_OK);
    CHECK_EQ(t->n_cells, 2);
    CHECK_EQ(t->cell[0].changed, DEVICE_SAME_SHAPE);
    const struct device_stats *s = &device_cell(t, 3, 2, true)->stats;
    /* sorted 5 10 20 30 31 33 40 50 60 1000 */
    CHECK_EQ(s->n, 10);
    CHECK_EQ(s->min_ns, 5);
    CHECK_EQ(s->median_ns, 32);
    CHECK_EQ(s->p90_ns, 60);
    CHECK_EQ(device_cell(t, 3, 2, true)->sample_ns[1], 50);
    CHECK_EQ(device_cell(t, 3, 2, false)->stats.p90_ns, 50);
    CHECK_NEAR(device_cell(t, 3, 2, false)->stats.serial, 0, 0);
    CHECK(device_cell(t, 4, 2, true) == NULL);
    /* 1 2 3 4 5: deviations -2 -1 0 1 2: (2 + 0 + 0 + 2) / 10 */
    static const int64_t line[] = {1, 2, 3, 4, 5};
    device_table_put(&a, t, 9, 1, false, line, 5);
    CHECK_EQ(device_finish(&d), ERR_OK);
    CHECK_NEAR(device_cell(t, 9, 1, false)->stats.serial, 0.4, 1e-12);
    arena_fini(&a);
}

static void the_estimator_is_chosen_in_use(void)
{
    struct arena a;
    struct device d;
    struct device_options opt = {0};
    struct err e = {0};
    const struct cost_model *m;
    if (!parse_small(&a, &d, NULL, 0))
        return;
    CHECK_EQ(step_ns(cost_of(&d, &opt, &a), 0, 1), 1001);
    opt.estimator = DEVICE_MEDIAN;
    CHECK_EQ(step_ns(cost_of(&d, &opt, &a), 0, 1), 1003);
    opt.estimator = DEVICE_EXPECTED_MINIMUM;
    opt.estimator_n = 2; /* (1001 + 1001 + 1003) / 3 = 1001.67 */
    CHECK_EQ(step_ns(cost_of(&d, &opt, &a), 0, 1), 1002);
    opt.estimator_n = 0;
    CHECK_EQ(device_cost_create(&d, &(int32_t){0}, 1, &opt, &a, &m, &e), ERR_RANGE);
    CHECK_HAS(e.msg, "expected minimum of 0 samples");
    arena_fini(&a);
}

/* ---- tables --------------------------------------------------------------------------------- */

static void measured_points_are_exact(void)
{
    static const struct {
        int32_t width, pos;
        int64_t us;
    } t[] = {{1, 150, 5400},   {2, 150, 9100},   {3, 150, 12700},  {4, 150, 9500},
             {5, 150, 13400},  {8, 150, 17000},  {12, 150, 24800}, {16, 150, 25500},
             {32, 150, 48100}, {1, 640, 7500},   {4, 640, 13700},  {8, 640, 21100},
             {16, 640, 33900}, {32, 640, 64300}, {1, 0, 5400},     {1, 255, 5400}};
    struct arena a;
    arena_init(&a);
    struct device d;
    struct err e = {0};
    if (!CHECK_EQ(device_load(EXAMPLE, NULL, 0, &a, &d, &e), ERR_OK)) {
        printf("%s:%d:%d: %s\n", e.file, e.line, e.col, e.msg);
        return;
    }
    const struct cost_model *m = cost_of(&d, &(struct device_options){0}, &a);
    for (size_t i = 0; i < sizeof t / sizeof *t; i++) {
        struct cost c = same(m, t[i].pos, t[i].width, t[i].width);
        CHECK_EQ(c.alone_ns, t[i].us * 1000 + 3000 * t[i].width);
        CHECK_EQ(c.sample_ns, 3000 * t[i].width);
        CHECK(!c.extrapolated);
    }
    CHECK_EQ(same(m, 0, 256, 1).alone_ns, 383808000 + 3000);
    CHECK_EQ(same(m, 0, 256, 0).alone_ns, 383808000);
    /* width 2 in bucket 3: its time in bucket 1, by the ratio between widths 1 and 4 */
    double low = 7500.0 / 5400, high = 13700.0 / 9500;
    CHECK_NEAR((double)step_ns(m, 640, 2), 9100e3 * (low + (high - low) / 3), 1);
    /* bucket 2 lies between: linear; a prefill tail is interpolated, not extrapolated */
    CHECK_EQ(step_ns(m, 300, 32), (48100000 + 64300000) / 2);
    CHECK(!same(m, 256, 76, 1).extrapolated);
    arena_fini(&a);
}

static void left_out_widths_reproduce_the_staircase(void)
{
    static const int32_t width[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 14, 16, 24, 32, 33};
    enum { N = sizeof width / sizeof *width };
    struct arena a;
    struct device d;
    make_staircase(&d, &a, width, N, 4);
    for (int32_t left = 1; left < N - 1; left++) {
        struct device_options opt = {.n_mask_widths = 1, .mask_width = {width[left]}};
        const struct cost_model *m = cost_of(&d, &opt, &a);
        for (int32_t b = 1; b <= 4; b++)
            CHECK_EQ(step_ns(m, 256 * (b - 1) + 10, width[left]), staircase(width[left], b));
    }
    const struct cost_model *m = cost_of(&d, &(struct device_options){0}, &a);
    for (int32_t w = 1; w <= 33; w++) {
        CHECK_EQ(step_ns(m, 30, w), staircase(w, 1));
        CHECK(!same(m, 30, w, w).extrapolated);
    }
    struct device_options many = {.n_mask_widths = 6, .mask_width = {2, 6, 14, 5, 9, 33}};
    m = cost_of(&d, &many, &a); /* residues 1 and 2 are left with width 1 alone */
    for (int32_t w = 1; w <= 32; w++)
        CHECK_EQ(step_ns(m, 30, w), staircase(w, 1));
    arena_fini(&a);
}

static void left_out_buckets_are_interpolated(void)
{
    static const int32_t width[] = {1, 4, 8};
    struct arena a;
    struct device d;
    make_staircase(&d, &a, width, 3, 4);
    for (int32_t left = 1; left <= 4; left++) {
        struct device_options opt = {.n_mask_buckets = 1, .mask_bucket = {left}};
        const struct cost_model *m = cost_of(&d, &opt, &a);
        for (int32_t b = 1; b <= 4; b++) {
            struct cost c = same(m, 256 * (b - 1) + 10, 8, 8);
            CHECK_EQ(c.alone_ns, staircase(8, b)); /* linear in the bucket, inside and beyond */
            CHECK_EQ(c.extrapolated, b == left && (left == 1 || left == 4));
        }
    }
    arena_fini(&a);
}

static void beyond_the_table_is_marked(void)
{
    static const int32_t width[] = {4, 8, 32};
    struct arena a;
    struct device d;
    make_staircase(&d, &a, width, 3, 1);
    const struct cost_model *m = cost_of(&d, &(struct device_options){0}, &a);
    CHECK_EQ(step_ns(m, 0, 64), 2 * staircase(32, 1)); /* time per row is held */
    CHECK(same(m, 0, 64, 64).extrapolated);
    CHECK_EQ(step_ns(m, 0, 2), staircase(4, 1) / 2);
    CHECK(same(m, 0, 2, 2).extrapolated);
    CHECK_EQ(step_ns(m, 900, 8), staircase(8, 1)); /* one bucket says nothing about context */
    CHECK(same(m, 900, 8, 8).extrapolated);
    CHECK_EQ(step_ns(m, 0, 16), staircase(16, 1));
    CHECK(!same(m, 0, 16, 16).extrapolated);
    /* only multiples of 4 are known: what 6 costs is a guess, and says so */
    CHECK_EQ(step_ns(m, 0, 6), (staircase(4, 1) + staircase(8, 1)) / 2);
    CHECK(same(m, 0, 6, 6).extrapolated);
    arena_fini(&a);
}

static void a_changed_shape_costs_more(void)
{
    struct arena a;
    struct device d;
    if (!parse_small(&a, &d, NULL, 0))
        return;
    const struct cost_model *m = cost_of(&d, &(struct device_options){0}, &a);
    struct job j = forward(210, 8, 8, 8);
    struct cost c;
    static const struct {
        struct engine_state before;
        int64_t ns;
    } t[] = {
        {{.width = 8, .pos = 210}, 6000}, {{.width = 8, .pos = 292}, 6000},
        {{.width = 8, .pos = 293}, 6500}, {{.width = 8, .pos = 192}, 6500},
        {{.width = 8, .pos = 193}, 6000}, {{.width = 7, .pos = 210}, 6500},
        {{.width = 0, .pos = 0}, 6500},
    };
    for (size_t i = 0; i < sizeof t / sizeof *t; i++) {
        CHECK_EQ(m->ops->job(m, &j, &t[i].before, NULL, &c, NULL), ERR_OK);
        CHECK_EQ(c.alone_ns - c.sample_ns, t[i].ns);
    }
    /* elsewhere the mean difference holds */
    j = forward(0, 1, 1, 1);
    CHECK_EQ(m->ops->job(m, &j, &(struct engine_state){0}, NULL, &c, NULL), ERR_OK);
    CHECK_EQ(c.alone_ns - c.sample_ns, 1501);
    arena_fini(&a);

    /* with no changed cell, the file's own figure; with no same-shape one, that less */
    static const int32_t width[] = {4};
    make_staircase(&d, &a, width, 1, 1);
    d.processor[0].step.change_ns = 650;
    m = cost_of(&d, &(struct device_options){0}, &a);
    j = forward(0, 4, 4, 4);
    m->ops->job(m, &j, &(struct engine_state){0}, NULL, &c, NULL);
    CHECK_EQ(c.alone_ns, staircase(4, 1) + 650);
    d.processor[0].step.cell[0].changed = DEVICE_OTHER_SHAPE;
    m = cost_of(&d, &(struct device_options){0}, &a);
    CHECK_EQ(step_ns(m, 0, 4), staircase(4, 1) - 650);
    arena_fini(&a);
}

/* Same shape, another of its kind, the other kind: a figure of each kind of steps, or of all. */
static void steps_of_few_rows_are_a_kind_of_their_own(void)
{
    static const struct {
        int32_t width;
        enum device_change changed;
        int64_t ns;
    } cell[] = {{1, DEVICE_SAME_SHAPE, 1000},  {1, DEVICE_OTHER_SHAPE, 1030},
                {1, DEVICE_OTHER_KIND, 1050},  {2, DEVICE_SAME_SHAPE, 2000},
                {2, DEVICE_OTHER_SHAPE, 2010}, {8, DEVICE_SAME_SHAPE, 8000},
                {8, DEVICE_OTHER_KIND, 8070}};
    static const struct {
        int32_t before, width;
        int64_t ns;
    } t[] = {{1, 1, 1000}, {2, 1, 1020}, {8, 1, 1050}, {0, 1, 1020}, {1, 2, 2020},
             {8, 2, 2050}, {2, 8, 8070}, {9, 8, 8020}, {8, 8, 8000}};
    struct arena a;
    struct device d;
    static const int32_t width[] = {1};
    make_staircase(&d, &a, width, 1, 1);
    struct device_table *s = &d.processor[0].step;
    s->n_cells = 0;
    s->few = 4;
    for (size_t i = 0; i < sizeof cell / sizeof *cell; i++)
        CHECK_EQ(device_table_put(&a, s, cell[i].width, 1, cell[i].changed, &cell[i].ns, 1),
                 ERR_OK);
    CHECK_EQ(device_finish(&d), ERR_OK);
    const struct cost_model *m = cost_of(&d, &(struct device_options){0}, &a);
    for (size_t i = 0; i < sizeof t / sizeof *t; i++) {
        struct cost c;
        struct job j = forward(0, t[i].width, t[i].width, t[i].width);
        struct engine_state before = {.width = t[i].before};
        CHECK_EQ(m->ops->job(m, &j, &before, NULL, &c, NULL), ERR_OK);
        CHECK_EQ(c.alone_ns - c.sample_ns, t[i].ns);
    }
    /* a kind is a width's: without widths there is none */
    m = cost_of(&d, &(struct device_options){.degrade = DEVICE_NO_WIDTH}, &a);
    for (int32_t w = 1; w <= 8; w += 7) {
        struct cost c;
        struct job j = forward(0, w, w, w);
        CHECK_EQ(m->ops->job(m, &j, &(struct engine_state){.width = 9 - w}, NULL, &c, NULL),
                 ERR_OK);
        CHECK_EQ(c.alone_ns - c.sample_ns, (1000 + 2000 + 8000) / 3 + 1 + 60);
    }
    arena_fini(&a);
}

static void degraded_tables_are_wrong_as_asked(void)
{
    static const int32_t width[] = {1, 2, 4, 8, 16};
    struct arena a;
    struct device d;
    make_staircase(&d, &a, width, 5, 3);
    double all = 0, of8 = 0, bucket2 = 0;
    for (int32_t i = 0; i < 5; i++)
        for (int32_t b = 1; b <= 3; b++)
            all += (double)staircase(width[i], b) / 15;
    for (int32_t b = 1; b <= 3; b++)
        of8 += (double)staircase(8, b) / 3;
    for (int32_t i = 0; i < 5; i++)
        bucket2 += (double)staircase(width[i], 2) / 5;

    struct device_options opt = {.degrade = DEVICE_CONSTANT_STEP};
    const struct cost_model *m = cost_of(&d, &opt, &a);
    CHECK_NEAR((double)step_ns(m, 0, 1), all, 1);
    CHECK_NEAR((double)step_ns(m, 2000, 64), all, 1);
    opt.degrade = DEVICE_NO_CONTEXT;
    m = cost_of(&d, &opt, &a);
    CHECK_NEAR((double)step_ns(m, 0, 8), of8, 1);
    CHECK_NEAR((double)step_ns(m, 700, 8), of8, 1);
    CHECK_NEAR((double)step_ns(m, 5000, 8), of8, 1);
    opt.degrade = DEVICE_NO_WIDTH;
    m = cost_of(&d, &opt, &a);
    CHECK_NEAR((double)step_ns(m, 260, 1), bucket2, 1);
    CHECK_NEAR((double)step_ns(m, 260, 64), bucket2, 1);

    opt.degrade = DEVICE_PERMUTED_WIDTH;
    int64_t first[3] = {0, 0, 0};
    for (opt.seed = 1; opt.seed <= 3; opt.seed++) {
        m = cost_of(&d, &opt, &a);
        double sum = 0, want = 0;
        for (int32_t i = 0; i < 5; i++) {
            CHECK(step_ns(m, 0, width[i]) != staircase(width[i], 1));
            sum += (double)step_ns(m, 0, width[i]);
            want += (double)staircase(width[i], 1);
            first[opt.seed - 1] = first[opt.seed - 1] * 31 + step_ns(m, 0, width[i]);
        }
        CHECK_NEAR(sum, want, 0);
        CHECK_EQ(step_ns(cost_of(&d, &opt, &a), 0, 8), step_ns(m, 0, 8));
    }
    CHECK(first[0] != first[1] || first[1] != first[2]);
    arena_fini(&a);
}

static void masks_that_leave_nothing_are_refused(void)
{
    struct arena a;
    struct device d;
    if (!parse_small(&a, &d, NULL, 0))
        return;
    struct device_options opt = {.n_mask_buckets = 2, .mask_bucket = {1, 3}};
    const struct cost_model *m;
    struct err e = {0};
    CHECK_EQ(device_cost_create(&d, &(int32_t){0}, 1, &opt, &a, &m, &e), ERR_SCHEMA);
    CHECK_STR(e.msg, "step table of 'cpu:0': no cell is left: mask fewer widths or buckets");
    opt.n_mask_widths = DEVICE_MAX_MASK + 1;
    CHECK_EQ(device_cost_create(&d, &(int32_t){0}, 1, &opt, &a, &m, &e), ERR_RANGE);
    d.processor[0].step.n_cells = 0;
    memset(&e, 0, sizeof e);
    CHECK_EQ(device_cost_create(&d, &(int32_t){0}, 1, &(struct device_options){0}, &a, &m, &e),
             ERR_SCHEMA);
    CHECK_STR(e.msg, "step table of 'cpu:0': it is empty: profile the device");
    /* too many buckets */
    struct device_table *t = &d.processor[0].step;
    for (int32_t b = 1; b <= DEVICE_MAX_BUCKETS + 1; b++)
        CHECK_EQ(device_table_put(&a, t, 1, b, false, &(int64_t){9}, 1), ERR_OK);
    CHECK_EQ(device_finish(&d), ERR_OK);
    memset(&e, 0, sizeof e);
    CHECK_EQ(device_cost_create(&d, &(int32_t){0}, 1, &(struct device_options){0}, &a, &m, &e),
             ERR_LIMIT);
    CHECK_STR(e.msg, "step table of 'cpu:0': more than 64 context buckets");
    arena_fini(&a);
}

/* ---- jobs ----------------------------------------------------------------------------------- */

static void every_job_has_its_cost(void)
{
    struct arena a;
    struct device d;
    if (!parse_small(&a, &d, NULL, 0))
        return;
    struct device_options opt = {.drafter = {"suffix", "lookup"}};
    const struct cost_model *m = cost_of(&d, &opt, &a);
    struct cost c;

    c = same(m, 50, 8, 8);
    CHECK_EQ(c.alone_ns, 4000 + 11 + 8 * 13);
    CHECK_EQ(c.sample_ns, 11 + 8 * 13);
    CHECK_EQ(c.bytes, 1000 + 3 * 58);
    c = same(m, 0, 10, 1);
    CHECK_EQ(c.alone_ns, 2000 + 11 + 13);
    CHECK_EQ(c.bytes, 0);
    CHECK(!c.extrapolated);
    c = same(m, 0, 15, 0);
    CHECK_EQ(c.alone_ns, 3000);
    CHECK_EQ(c.sample_ns, 0);
    c = same(m, 0, 1, 0); /* one row without output is a step */
    CHECK_EQ(c.alone_ns, 1001);
    /* 4 of 10 outputs: a third of the way from 2000 to the step of 10 rows, 4000 / 8 * 10 */
    c = same(m, 0, 10, 4);
    CHECK_EQ(c.alone_ns - c.sample_ns, 3000);
    CHECK(c.extrapolated);

    struct job j = {.kind = JOB_DRAFT, .draft = {.drafter = 1}};
    struct draft_work work = {.tokens = 9, .probes = 3, .nodes = 2};
    CHECK_EQ(m->ops->job(m, &j, NULL, &work, &c, NULL), ERR_OK);
    CHECK_EQ(c.alone_ns, 23 + 19); /* 4.5 + 14 = 18.5 */
    struct err e = {0};
    j.draft.drafter = 0;
    CHECK_EQ(m->ops->job(m, &j, NULL, &work, &c, &e), ERR_UNSUPPORTED);
    CHECK_STR(e.msg, "device 'small' has no drafting cost for 'suffix' on 'cpu:0': profile it, or "
                     "add it under processors.cpu:0.draft");
    j = (struct job){.kind = JOB_CALIBRATE, .calibrate = {.drafter = 1}};
    CHECK_EQ(m->ops->job(m, &j, NULL, &work, &c, NULL), ERR_OK);
    CHECK_EQ(c.alone_ns, 42);

    static const int32_t chain[] = {0, 1, 2}, tree[] = {0, 2};
    j = (struct job){.kind = JOB_COMMIT, .commit = {.n = 3, .row = chain}};
    CHECK_EQ(m->ops->job(m, &j, NULL, NULL, &c, NULL), ERR_OK);
    CHECK_EQ(c.alone_ns, 17);
    j.commit = (struct job_commit){.n = 2, .row = tree};
    CHECK_EQ(m->ops->job(m, &j, NULL, NULL, &c, NULL), ERR_OK);
    CHECK_EQ(c.alone_ns, 19);
    j = (struct job){.kind = JOB_COPY, .role = 1};
    memset(&e, 0, sizeof e);
    CHECK_EQ(m->ops->job(m, &j, NULL, NULL, &c, &e), ERR_UNSUPPORTED);
    CHECK_STR(e.msg, "device 'small' does not know the time of a copy on 'cpu:0': set "
                     "processors.cpu:0.commit.copy");
    static const uint8_t others[] = {JOB_HEAD, JOB_LOAD, JOB_FREE};
    for (int i = 0; i < 3; i++) {
        j = (struct job){.kind = others[i]};
        CHECK_EQ(m->ops->job(m, &j, NULL, NULL, &c, NULL), ERR_UNSUPPORTED);
    }
    j = forward(0, 1, 1, 1);
    j.forward.b1 = 2;
    CHECK_EQ(m->ops->job(m, &j, &(struct engine_state){0}, NULL, &c, NULL), ERR_UNSUPPORTED);
    arena_fini(&a);
}

static void the_model_says_what_the_device_is(void)
{
    struct arena a;
    struct device d;
    if (!parse_small(&a, &d, NULL, 0))
        return;
    const struct cost_model *m = cost_of(&d, &(struct device_options){0}, &a);
    struct exec_caps caps;
    struct cost_host host;
    const struct cost_processor *p;
    m->ops->caps(m, &caps);
    m->ops->host(m, &host);
    CHECK_EQ(caps.blocks, 1);
    CHECK_EQ(caps.max_rows, 64);
    CHECK_EQ(caps.max_ctx, 1000);
    CHECK_EQ(caps.max_seqs, 1);
    CHECK_EQ(caps.features, 0);
    CHECK_EQ(host.event_ns * 1000 + host.action_ns * 100 + host.dispatch_ns * 10 + host.notify_ns,
             7532);
    CHECK_EQ(m->ops->processors(m, &p), 2);
    CHECK_STR(p[0].name, "cpu:0");
    CHECK_EQ(p[0].active_mw, 3000);
    CHECK_EQ(p[0].idle_mw, -1);
    CHECK_EQ(p[1].active_mw, -1);
    CHECK_EQ(m->ops->processor_of(m, 1), 1);
    CHECK_EQ(m->ops->bus_bytes_per_s(m), 8500000000);
    d.dram_bytes_per_s = -1;
    CHECK_EQ(m->ops->bus_bytes_per_s(m), 0);
    CHECK_EQ(m->ops->abi, COST_ABI);
    CHECK_EQ(m->ops->size, sizeof(struct cost_ops));
    arena_fini(&a);
}

static void roles_find_their_processors(void)
{
    struct arena a;
    struct device d;
    struct err e = {0};
    int32_t p[3];
    if (!parse_small(&a, &d, NULL, 0))
        return;
    static const char *const one[] = {"target", NULL}, *const two[] = {"target", "draft", NULL};
    CHECK_EQ(device_roles(&d, one, NULL, p, &e), ERR_OK);
    CHECK_EQ(p[0], 0);
    CHECK_EQ(device_roles(&d, two, " draft=gpu:0, other=cpu:0", p, &e), ERR_OK);
    CHECK_EQ(p[0], 0);
    CHECK_EQ(p[1], 1);
    CHECK_EQ(device_roles(&d, two, "draft=cpu:0 target=gpu:0", p, &e), ERR_OK);
    CHECK_EQ(p[0], 1);
    CHECK_EQ(device_roles(&d, two, NULL, p, &e), ERR_SCHEMA);
    CHECK_STR(e.msg, "role 'draft' has no processor on device 'small': map it, as in 'draft=cpu:0' "
                     "(has: cpu:0, gpu:0)");
    static const char *const bad[] = {"draft", "=cpu:0", "draft=cpu", "draft=cpu:00"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char want[200];
        memset(&e, 0, sizeof e);
        CHECK_EQ(device_roles(&d, two, bad[i], p, &e), ERR_SCHEMA);
        snprintf(want, sizeof want,
                 "'%s' in the role map: expected ROLE=PROCESSOR, one of cpu:0, gpu:0", bad[i]);
        CHECK_STR(e.msg, want);
    }
    arena_fini(&a);
}

/* ---- files ---------------------------------------------------------------------------------- */

static const struct {
    const char *from, *to, *want;
} wrong_files[] = {
    {"device-1", "device-2",
     "d.yaml:1:9: schema is 'tandem-device-2': expected 'tandem-device-1': this program reads "
     "no other version"},
    {"name: \"small\"\n", "", "d.yaml:1:1: 'name' is missing: add it, a text"},
    {"source: made up\n", "",
     "d.yaml:13:14: processors.0.threads is '2': it has no source: add 'source: where it is "
     "from' here or in a mapping above"},
    {"dram: 8.5 GB/s", "dram: 8.5",
     "d.yaml:8:13: bus.dram is '8.5': the unit is missing: expected a bandwidth, as in '8.5 "
     "GB/s' (B/s, kB/s, MB/s, GB/s, MiB/s, GiB/s)"},
    {"dram: 8.5 GB/s", "dram: 0 B/s",
     "d.yaml:8:13: bus.dram is '0 B/s': expected more than 0, or null"},
    {"dram: 8.5 GB/s", "dram: null, dramm: 1",
     "d.yaml:8:19: unknown key 'dramm' ('1') in bus: expected one of dram, source, correct or "
     "remove it; did you mean 'dram'?"},
    {"{target: cpu:0}", "{target: cpu:1}",
     "d.yaml:9:17: roles.target is 'cpu:1': expected the name of a processor of this file"},
    {"trees: null", "trees: {a: 1}",
     "d.yaml:10:36: exactness.trees is a mapping of 1 key: expected a text, a number or a "
     "list of these"},
    {"name: cpu:0", "name: cpu 0",
     "d.yaml:12:11: processors.0.name is 'cpu 0': expected a name without space, comma, '=' or "
     "'.', as in 'cpu:0'"},
    {"name: gpu:0", "name: cpu:0",
     "d.yaml:35:12: processors.1.name is 'cpu:0': two processors have this name"},
    {"same_as: cpu:0", "same_as: gpu:0",
     "d.yaml:35:51: processors.1.same_as is 'gpu:0': expected the name of a processor above "
     "this one that has costs of its own"},
    {"kind: cpu", "kind: tpu",
     "d.yaml:13:11: processors.0.kind is 'tpu': expected one of cpu, gpu, npu"},
    {"threads: 2", "threads: 0",
     "d.yaml:14:14: processors.0.threads is '0': expected a whole number from 1 to 4096"},
    {"    commit: {chain: 17 ns, tree: 19 ns}\n", "",
     "d.yaml:12:5: processors.0: 'commit' is missing: add it, a mapping, 'key: value' lines"},
    {"fixed: 23 ns, ", "",
     "d.yaml:18:21: processors.0.draft.lookup: 'fixed' is missing: add it, a time, as in '1.2 "
     "ms' (ns, us, ms, s, min, \xc2\xb5s)"},
    {"period: 4", "period: 0",
     "d.yaml:21:32: processors.0.step.axes.period is '0': expected a whole number from 1 to "
     "256"},
    {"unit: ns", "unit: ms",
     "d.yaml:23:13: processors.0.step.unit is 'ms': expected one of ns, us"},
    {"per_token: 3 B", "per_token: 3 GB",
     "d.yaml:22:14: processors.0.step.bytes is a mapping of 2 keys: expected sizes below 1 GB "
     "per token"},
    {"width: 1, bucket: 1", "width: 4097, bucket: 1",
     "d.yaml:25:19: processors.0.step.cells.0.width is '4097': expected a whole number from 1 "
     "to 4096"},
    {"changed: 1", "changed: 3",
     "d.yaml:28:42: processors.0.step.cells.3.changed is '3': expected a whole number from 0 "
     "to 2"},
    {"changed: 1", "changed: 2",
     "d.yaml:28:42: processors.0.step.cells.3.changed is '2': after a step of the other kind, but "
     "there is one kind only: add axes.few, the most rows of the first kind, or put 1"},
    {"changed: 1, ", "",
     "d.yaml:28:11: processors.0.step.cells.3 is a mapping of 3 keys: the same width, bucket "
     "and changed as cell 2: put the samples together"},
    {"[4000]", "[]",
     "d.yaml:26:42: processors.0.step.cells.1.samples is a list of 0: expected at least one "
     "sample; leave the cell out where there is none"},
    {"[4000]", "[4000, -1]",
     "d.yaml:26:49: processors.0.step.cells.1.samples.1 is '-1': expected a whole number from "
     "1 to 1000000000000"},
    {"[4000]", "[0]",
     "d.yaml:26:43: processors.0.step.cells.1.samples.0 is '0': expected a whole number from "
     "1 to 1000000000000"},
    {"bytes: {fixed: 1 kB, per_token: 3 B}", "change: null",
     "d.yaml:8:13: bus.dram is '8.5 GB/s': no table says what a step moves, so nothing would "
     "share it: add 'bytes: {fixed: 76 MB, per_token: 23 kB}' to a processor's step, or make it "
     "null"},
    {"[4000]", "[nan]",
     "d.yaml:26:43: processors.0.step.cells.1.samples.0 is 'nan': expected a whole number from "
     "1 to 1000000000000"},
};

static void errors_name_the_place(void)
{
    for (size_t i = 0; i < sizeof wrong_files / sizeof *wrong_files; i++) {
        struct arena a;
        arena_init(&a);
        struct device d;
        struct err e = {0};
        char *text = replaced(small, wrong_files[i].from, wrong_files[i].to), buf[1200];
        CHECK(device_parse("d.yaml", text, strlen(text), NULL, 0, &a, &d, &e) != ERR_OK);
        CHECK_STR(err_format(&e, buf, sizeof buf), wrong_files[i].want);
        free(text);
        arena_fini(&a);
    }
}

static void any_value_can_be_set(void)
{
    static const char *const set[] = {"device.bus.dram=80 GB/s",
                                      "device.processors.cpu:0.step.cells.0.samples=[77]",
                                      "device.processors.gpu:0.threads=5", "device.limits.topk=4"};
    struct arena a;
    struct device d;
    struct err e = {0};
    char buf[1200];
    if (!parse_small(&a, &d, set, 4))
        return;
    CHECK_EQ(d.dram_bytes_per_s, 80000000000);
    CHECK_EQ(step_ns(cost_of(&d, &(struct device_options){0}, &a), 0, 1), 77);
    CHECK_EQ(d.processor[1].threads, 5);
    CHECK_EQ(d.max_topk, 4);
    CHECK_STR(d.altered, "device.bus.dram=80 GB/s; "
                         "device.processors.cpu:0.step.cells.0.samples=[77]; "
                         "device.processors.gpu:0.threads=5; device.limits.topk=4");
    CHECK_EQ(device_save(&d, "no-such-folder/x.yaml", &e), ERR_UNSUPPORTED);
    CHECK_HAS(e.msg, "device 'small' was altered by --set (device.bus.dram=80 GB/s; ");
    arena_fini(&a);

    static const struct {
        const char *set, *want;
    } bad[] = {
        {"device.bus.dram=80", "--set device.bus.dram=80: bus.dram is '80': the unit is missing: "
                               "expected a bandwidth, as in '8.5 GB/s' (B/s, kB/s, MB/s, GB/s, "
                               "MiB/s, GiB/s)"},
        {"device.bus.dram=80 ms",
         "--set device.bus.dram=80 ms: bus.dram is '80 ms': 'ms' is no unit here: expected a "
         "bandwidth, as in '8.5 GB/s' (B/s, kB/s, MB/s, GB/s, MiB/s, GiB/s)"},
        {"device.host.evnt=1 us",
         "--set device.host.evnt=1 us: unknown key 'evnt' ('1 us') in host: expected one of event, "
         "action, dispatch, notify, source, correct or remove it; did you mean 'event'?"},
        {"device.processors.npu:0.threads=1",
         "--set device.processors.npu:0.threads=1: there is no 'npu:0' in processors: expected an "
         "index from 0 to 1, or an item's name"},
        {"bus.dram=80 GB/s", "--set bus.dram=80 GB/s: expected a path that begins with 'device.'"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        arena_init(&a);
        memset(&e, 0, sizeof e);
        CHECK_EQ(device_parse("d.yaml", small, sizeof small - 1, &bad[i].set, 1, &a, &d, &e),
                 ERR_SCHEMA);
        CHECK_STR(err_format(&e, buf, sizeof buf), bad[i].want);
        arena_fini(&a);
    }
}

static bool str_equal(const char *x, const char *y)
{
    return x && y ? !strcmp(x, y) : x == y;
}

static void check_same_table(const struct device_table *x, const struct device_table *y)
{
    CHECK_EQ(x->pad, y->pad);
    CHECK_EQ(x->period, y->period);
    CHECK_EQ(x->few, y->few);
    CHECK_EQ(x->change_ns, y->change_ns);
    CHECK_EQ(x->fixed_bytes, y->fixed_bytes);
    CHECK_EQ(x->per_token_bytes, y->per_token_bytes);
    CHECK(str_equal(x->source, y->source) && str_equal(x->bytes_source, y->bytes_source));
    if (!CHECK_EQ(x->n_cells, y->n_cells))
        return;
    for (int32_t i = 0; i < x->n_cells; i++) {
        const struct device_cell *c = &x->cell[i], *k = &y->cell[i];
        CHECK(c->width == k->width && c->bucket == k->bucket && c->changed == k->changed);
        CHECK(str_equal(c->source, k->source));
        if (CHECK_EQ(c->n, k->n))
            CHECK(!memcmp(c->sample_ns, k->sample_ns, (size_t)c->n * sizeof *c->sample_ns));
    }
}

static void check_same_processor(const struct device_processor *x, const struct device_processor *y)
{
    CHECK(str_equal(x->name, y->name) && str_equal(x->source, y->source));
    CHECK(x->kind == y->kind && x->threads == y->threads && x->same_as == y->same_as);
    CHECK(x->active_mw == y->active_mw && x->idle_mw == y->idle_mw);
    CHECK(x->sample_fixed_ns == y->sample_fixed_ns && x->sample_row_ns == y->sample_row_ns);
    CHECK(x->commit_chain_ns == y->commit_chain_ns && x->commit_tree_ns == y->commit_tree_ns);
    CHECK(x->copy_ns == y->copy_ns);
    CHECK(str_equal(x->sample_source, y->sample_source));
    CHECK(str_equal(x->commit_source, y->commit_source));
    check_same_table(&x->step, &y->step);
    check_same_table(&x->prefill, &y->prefill);
    check_same_table(&x->prefill_all, &y->prefill_all);
    CHECK_EQ(x->sample_top_ns, y->sample_top_ns);
    if (!CHECK_EQ(x->n_drafts, y->n_drafts))
        return;
    for (int32_t i = 0; i < x->n_drafts; i++) {
        const struct device_draft *a = &x->draft[i], *b = &y->draft[i];
        CHECK(str_equal(a->name, b->name) && str_equal(a->source, b->source));
        CHECK(a->fixed_ns == b->fixed_ns && a->kprobe_ns == b->kprobe_ns);
        CHECK(a->knode_ns == b->knode_ns && a->ktoken_ns == b->ktoken_ns);
    }
}

static void check_same_facts(const struct device_fact *x, int32_t nx, const struct device_fact *y,
                             int32_t ny)
{
    if (!CHECK_EQ(nx, ny))
        return;
    for (int32_t i = 0; i < nx; i++) {
        CHECK(str_equal(x[i].key, y[i].key) && x[i].list == y[i].list);
        if (CHECK_EQ(x[i].n, y[i].n))
            for (int32_t t = 0; t < x[i].n; t++)
                CHECK_STR(x[i].text[t], y[i].text[t]);
    }
}

static void check_same_device(const struct device *x, const struct device *y)
{
    CHECK_STR(x->name, y->name);
    CHECK_STR(x->model, y->model);
    CHECK_STR(x->numerics_id, y->numerics_id);
    CHECK(str_equal(x->source, y->source) && str_equal(x->bus_source, y->bus_source));
    CHECK(str_equal(x->host_source, y->host_source));
    CHECK(str_equal(x->limits_source, y->limits_source));
    CHECK_EQ(x->dram_bytes_per_s, y->dram_bytes_per_s);
    CHECK(!memcmp(&x->host, &y->host, sizeof x->host));
    CHECK(x->features == y->features && x->max_rows == y->max_rows && x->max_ctx == y->max_ctx);
    CHECK(x->max_seqs == y->max_seqs && x->max_topk == y->max_topk);
    check_same_facts(x->exactness, x->n_exactness, y->exactness, y->n_exactness);
    check_same_facts(x->measured, x->n_measured, y->measured, y->n_measured);
    if (CHECK_EQ(x->n_roles, y->n_roles))
        for (int32_t i = 0; i < x->n_roles; i++)
            CHECK(str_equal(x->role[i].name, y->role[i].name) &&
                  x->role[i].processor == y->role[i].processor);
    if (CHECK_EQ(x->n_processors, y->n_processors))
        for (int32_t i = 0; i < x->n_processors; i++)
            check_same_processor(&x->processor[i], &y->processor[i]);
}

static void saved_devices_read_back_equal(void)
{
    char path[64];
    snprintf(path, sizeof path, "test_device.%ld.yaml", (long)getpid());
    char *odd =
        replaced(small, "samples: [4000]", "samples: [4000, 3], source: \"a: {b}\\n\\u00e9\"");
    char *odder =
        replaced(odd, "roles: {target: cpu:0}", "roles: {'a: b': 'cpu:0', target: cpu:0}");
    char *kinds = replaced(small, "period: 4", "period: 4, few: 4");
    char *file[] = {NULL, odder, replaced(odder, "note: 'a b'", "note: [], null: 'null', x: true"),
                    replaced(kinds, "changed: 1", "changed: 2")};
    for (int i = 0; i < 4; i++) {
        struct arena a;
        arena_init(&a);
        struct device d, back;
        struct err e = {0};
        int code = file[i] ? device_parse("odd", file[i], strlen(file[i]), NULL, 0, &a, &d, &e)
                           : device_load(EXAMPLE, NULL, 0, &a, &d, &e);
        CHECK_EQ(code, ERR_OK);
        CHECK_EQ(device_save(&d, path, &e), ERR_OK);
        CHECK_EQ(device_load(path, NULL, 0, &a, &back, &e), ERR_OK);
        CHECK_STR(e.msg, "");
        if (!e.code)
            check_same_device(&d, &back);
        arena_fini(&a);
        free(file[i]);
    }
    free(kinds);
    free(odd);
    remove(path);
}

static void saving_reports_what_failed(void)
{
    struct arena a;
    struct device d;
    struct err e = {0};
    if (!parse_small(&a, &d, NULL, 0))
        return;
    CHECK_EQ(device_save(&d, "no-such-folder/x.yaml", &e), ERR_IO);
    CHECK_HAS(e.file, "no-such-folder");
    CHECK_EQ(device_load("no-such.yaml", NULL, 0, &a, &d, NULL), ERR_IO);
    const struct device_fact *f;
    CHECK((f = device_fact(d.exactness, d.n_exactness, "widths")) && f->list && f->n == 2);
    CHECK((f = device_fact(d.exactness, d.n_exactness, "trees")) && !f->list && f->n == 0);
    CHECK(device_fact(d.exactness, d.n_exactness, "width") == NULL);
    arena_fini(&a);
}

static const struct unit_test tests[] = {
    {"expected_minimum_is_the_mean_over_all_draws", expected_minimum_is_the_mean_over_all_draws},
    {"statistics_of_a_cell", statistics_of_a_cell},
    {"the_estimator_is_chosen_in_use", the_estimator_is_chosen_in_use},
    {"measured_points_are_exact", measured_points_are_exact},
    {"left_out_widths_reproduce_the_staircase", left_out_widths_reproduce_the_staircase},
    {"left_out_buckets_are_interpolated", left_out_buckets_are_interpolated},
    {"beyond_the_table_is_marked", beyond_the_table_is_marked},
    {"a_changed_shape_costs_more", a_changed_shape_costs_more},
    {"steps_of_few_rows_are_a_kind_of_their_own", steps_of_few_rows_are_a_kind_of_their_own},
    {"degraded_tables_are_wrong_as_asked", degraded_tables_are_wrong_as_asked},
    {"masks_that_leave_nothing_are_refused", masks_that_leave_nothing_are_refused},
    {"every_job_has_its_cost", every_job_has_its_cost},
    {"the_model_says_what_the_device_is", the_model_says_what_the_device_is},
    {"roles_find_their_processors", roles_find_their_processors},
    {"errors_name_the_place", errors_name_the_place},
    {"any_value_can_be_set", any_value_can_be_set},
    {"saved_devices_read_back_equal", saved_devices_read_back_equal},
    {"saving_reports_what_failed", saving_reports_what_failed},
    {NULL, NULL},
};

UNIT_MAIN("device", tests)
