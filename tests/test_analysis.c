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

/* Values of two strata; the statistic is the sum of their means. */
struct strata {
    int32_t n;
    const double *value;
    const int32_t *stratum;
    int64_t unbalanced; /* resamples in which a stratum has another size */
};

static double sum_of_means(const void *self, const int32_t *count)
{
    struct strata *s = (struct strata *)(uintptr_t)self;
    double sum[2] = {0, 0};
    int32_t n[2] = {0, 0}, all[2] = {0, 0};
    for (int32_t i = 0; i < s->n; i++) {
        sum[s->stratum[i]] += count[i] * s->value[i];
        n[s->stratum[i]] += count[i];
        all[s->stratum[i]]++;
    }
    s->unbalanced += n[0] != all[0] || n[1] != all[1];
    return sum[0] / n[0] + sum[1] / n[1];
}

static void an_interval_of_a_statistic_keeps_strata_apart(void)
{
    enum { N = 100 };
    double value[N];
    int32_t stratum[N];
    for (int32_t i = 0; i < N; i++) {
        stratum[i] = i % 4 == 3; /* 75 and 25 */
        value[i] = (stratum[i] ? 1000 : 0) + (i * 37 % N) / 10.0;
    }
    struct strata s = {N, value, stratum, 0};
    struct interval a, b;
    CHECK_EQ(interval_statistic(stratum, N, 2, sum_of_means, &s, 7, &a), ERR_OK);
    CHECK_EQ(s.unbalanced, 0);
    CHECK(a.low < 1009.9 && 1009.9 < a.high);
    /* sd of a uniform of width 10 is 2.89; of the sum of means 2.89 sqrt(1/75 + 1/25) = 0.67 */
    CHECK(a.high - a.low > 1.8 && a.high - a.low < 3.4);
    CHECK_EQ(interval_statistic(stratum, N, 2, sum_of_means, &s, 7, &b), ERR_OK);
    CHECK(a.low == b.low && a.high == b.high);
    CHECK_EQ(interval_statistic(stratum, N, 2, sum_of_means, &s, 8, &b), ERR_OK);
    CHECK(a.low != b.low);
}

static const struct unit_test tests[] = {
    {"an_interval_of_a_statistic_keeps_strata_apart",
     an_interval_of_a_statistic_keeps_strata_apart},
    {"an_interval_holds_the_median_and_widens_with_dependence",
     an_interval_holds_the_median_and_widens_with_dependence},
    {"an_interval_of_equal_values_is_a_point", an_interval_of_equal_values_is_a_point},
    {NULL, NULL},
};

UNIT_MAIN("analysis", tests)
