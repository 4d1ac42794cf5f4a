/* Which of a table's answers are measured or between measurements, and which are marked. */
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

static const struct unit_test tests[] = {
    {"a_cell_of_another_width_is_marked", a_cell_of_another_width_is_marked},
    {NULL, NULL},
};

UNIT_MAIN("table", tests)
