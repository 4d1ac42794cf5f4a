#ifndef TANDEM_TESTS_STAIRCASE_H
#define TANDEM_TESTS_STAIRCASE_H

#include "hwmodels/device.h"
#include "tests/unit.h"

/* A device whose step is a + b floor(w / 4) + c (w mod 4), times 1 + bucket / 2. */
static inline int64_t staircase(int32_t w, int32_t bucket)
{
    return (2000 + 7600 * (w / 4) + 3700 * (w % 4)) * (2 + bucket) / 2;
}

/* With these widths, in so many buckets, on a processor "cpu:0"; *a is made for it. */
static inline void make_staircase(struct device *d, struct arena *a, const int32_t *width,
                                  int32_t n, int32_t buckets)
{
    arena_init(a);
    CHECK_EQ(device_init(d, a), ERR_OK);
    struct device_processor *p = device_add_processor(d, "cpu:0");
    p->step.period = 4;
    for (int32_t i = n; i-- > 0;) /* falling: finish must sort */
        for (int32_t b = 1; b <= buckets; b++) {
            int64_t t = staircase(width[i], b);
            CHECK_EQ(device_table_put(a, &p->step, width[i], b, false, &t, 1), ERR_OK);
        }
    CHECK_EQ(device_finish(d), ERR_OK);
}

#endif
