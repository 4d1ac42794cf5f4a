/* Which of a table's answers are measured or between measurements, and which are marked. */
#include "hwmodels/steps.h"
#include "hwmodels/table.h"
#include "tests/unit.h"

/* Cells that are missing: between measured ones they are interpolated, elsewhere taken from other
 * widths, and that is marked. */
static void a_cell_of_another_width_is_marked(void)
{
    static const struct {
        int32_t width, bucket;
        bool guess;
    } t[] = {
        {1, 1, false}, {1, 2, false}, {1, 3, false}, /* measured, 2 linear in between */
        {2, 1, false}, {2, 3, false},                /* ratio between widths 1 and 4 */
        {4, 3, false}, {5, 1, false}, {5, 3, true},  /* ratio of width 4 alone */
        {5, 2, true},                                /* and half way to it */
        {3, 3, false}, {3, 1, false},                /* a width between 2 and 4 */
    };
    struct arena a;
    struct device d;
    struct err e = {0};
    arena_init(&a);
    CHECK_EQ(device_init(&d, &a), ERR_OK);
    struct device_table *step = &device_add_processor(&d, "cpu:0")->step;
    for (int32_t w = 1; w <= 5; w++)
        for (int32_t b = 1; b <= 3; b += 2)
            if (w != 3 && (b == 1 || w == 1 || w == 4))
                device_table_put(&a, step, w, b, false, &(int64_t){100 * w + b}, 1);
    CHECK_EQ(device_finish(&d), ERR_OK);
    struct table_grid g;
    struct device_options opt = {0};
    CHECK_EQ(table_grid_build(step, &opt, true, "x", &a, &g, &e), ERR_OK);
    for (size_t i = 0; i < sizeof t / sizeof *t; i++) {
        bool guess = false;
        table_grid_ns(&g, t[i].width, t[i].bucket, false, &guess);
        CHECK_EQ(guess, t[i].guess);
    }
    /* tables that were made wrong answer with other cells' times everywhere */
    for (int k = DEVICE_CONSTANT_STEP; k <= DEVICE_PERMUTED_WIDTH; k++) {
        bool guess = false;
        opt.degrade = (enum device_degrade)k;
        CHECK_EQ(table_grid_build(step, &opt, true, "x", &a, &g, &e), ERR_OK);
        table_grid_ns(&g, 1, 1, false, &guess);
        CHECK(guess);
    }
    arena_fini(&a);
}

/* A prompt whose every row has outputs is wider than a step, and costs its head and its choosing.
 */
static void outputs_of_every_prompt_row_are_measured(void)
{
    static const struct {
        int32_t n, wanted;
        uint8_t want;
        int64_t ns, sample_ns;
        bool guess;
    } t[] = {
        {4, 4, WANT_ARGMAX, 400, 7 + 4 * 11, false}, /* a step */
        {64, 64, WANT_TOPK, 9000, 7 + 64 * 13, false},
        {96, 96, WANT_TOPK, 14000, 7 + 96 * 13, false},
        {96, 96, WANT_ARGMAX, 14000, 7 + 96 * 11, false},
        {64, 1, WANT_ARGMAX, 6000, 7 + 11, false},
        {64, 22, WANT_TOPK, 7000, 7 + 22 * 13, true}, /* a third of what is in between */
    };
    struct arena a;
    struct device d;
    struct err e = {0};
    struct device_options opt = {0};
    const struct cost_model *m;
    int32_t role = 0;
    arena_init(&a);
    CHECK_EQ(device_init(&d, &a), ERR_OK);
    struct device_processor *p = device_add_processor(&d, "cpu:0");
    p->sample_fixed_ns = 7;
    p->sample_row_ns = 11;
    p->sample_top_ns = 13;
    device_table_put(&a, &p->step, 1, 1, false, &(int64_t){100}, 1);
    device_table_put(&a, &p->step, 4, 1, false, &(int64_t){400}, 1);
    device_table_put(&a, &p->prefill, 64, 1, false, &(int64_t){6000}, 1);
    device_table_put(&a, &p->prefill_all, 64, 1, false, &(int64_t){9000}, 1);
    device_table_put(&a, &p->prefill_all, 128, 1, false, &(int64_t){19000}, 1);
    CHECK_EQ(device_finish(&d), ERR_OK);
    CHECK_EQ(device_cost_create(&d, &role, 1, &opt, &a, &m, &e), ERR_OK);
    for (size_t i = 0; i < sizeof t / sizeof *t; i++) {
        struct job j = {.id = 1, .kind = JOB_FORWARD};
        struct engine_state before = {.width = t[i].n};
        struct cost c;
        j.forward = (struct job_forward){.b1 = 1,
                                         .width = t[i].n,
                                         .n = t[i].n,
                                         .slot_in = -1,
                                         .slot_out = -1,
                                         .want = t[i].want,
                                         .want_from = t[i].n - t[i].wanted,
                                         .want_k = t[i].want == WANT_TOPK ? 4 : 0};
        CHECK_EQ(m->ops->job(m, &j, &before, NULL, &c, &e), ERR_OK);
        CHECK_EQ(c.alone_ns - c.sample_ns, t[i].ns);
        CHECK_EQ(c.sample_ns, t[i].sample_ns);
        CHECK_EQ(c.extrapolated, t[i].guess);
    }
    arena_fini(&a);
}

static const struct unit_test tests[] = {
    {"a_cell_of_another_width_is_marked", a_cell_of_another_width_is_marked},
    {"outputs_of_every_prompt_row_are_measured", outputs_of_every_prompt_row_are_measured},
    {NULL, NULL},
};

UNIT_MAIN("table", tests)
