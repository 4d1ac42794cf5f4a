#include <math.h>

#include "analysis/interval.h"
#include "tests/unit.h"

static void an_interval_holds_the_median_and_widens_with_dependence(void)
{
    enum { N = 60 };
    double value[N];
    int32_t alone[N], together[N];
    for (int32_t i = 0; i < N; i++) {
        value[i] = (i * 37 % N) / 10.0; /* 0, 0.1, ... 5.9 in a mixed order */
        alone[i] = i;
        together[i] = (int32_t)(value[i] / 2); /* three groups: low, middle and high values */
    }
    struct interval a, b;
    CHECK_EQ(interval_median(value, alone, N, N, 7, &a), ERR_OK);
    CHECK_EQ(interval_median(value, together, N, 3, 7, &b), ERR_OK);
    CHECK(a.low < 2.95 && 2.95 < a.high);
    /* Normal theory: sd of the median is 1.25 sd / sqrt(60) = 0.28, so that 95 % is about 1.1. */
    CHECK(a.high - a.low > 0.7 && a.high - a.low < 2.2);
    CHECK(b.high - b.low > 1.5 * (a.high - a.low));
}

static void an_interval_of_equal_values_is_a_point(void)
{
    double value[5] = {2.385, 2.385, 2.385, 2.385, 2.385};
    int32_t group[5] = {0, 0, 1, 1, 1};
    struct interval a;
    CHECK_EQ(interval_median(value, group, 5, 2, 1, &a), ERR_OK);
    CHECK_NEAR(a.low, 2.385, 0);
    CHECK_NEAR(a.high, 2.385, 0);
}

static const struct unit_test tests[] = {
    {"an_interval_holds_the_median_and_widens_with_dependence",
     an_interval_holds_the_median_and_widens_with_dependence},
    {"an_interval_of_equal_values_is_a_point", an_interval_of_equal_values_is_a_point},
    {NULL, NULL},
};

UNIT_MAIN("analysis", tests)
