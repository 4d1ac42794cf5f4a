#include "analysis/interval.h"

#include <gsl/gsl_rng.h>
#include <gsl/gsl_sort.h>
#include <gsl/gsl_statistics_double.h>
#include <stdlib.h>
#include <string.h>

enum { RESAMPLES = 2000 };

/* The median of one resample; `pool` has room for n_groups * n values. */
static double resample(const double *value, const int32_t *group, int32_t n, int32_t n_groups,
                       gsl_rng *rng, double *pool)
{
    size_t m = 0;
    for (int32_t g = 0; g < n_groups; g++) {
        int32_t drawn = (int32_t)gsl_rng_uniform_int(rng, (unsigned long)n_groups);
        for (int32_t i = 0; i < n; i++)
            if (group[i] == drawn)
                pool[m++] = value[i];
    }
    gsl_sort(pool, 1, m);
    return gsl_stats_median_from_sorted_data(pool, 1, m);
}

int interval_median(const double *value, const int32_t *group, int32_t n, int32_t n_groups,
                    uint64_t seed, struct interval *out)
{
    double *pool = malloc((size_t)n_groups * (size_t)n * sizeof *pool);
    double *median = malloc(RESAMPLES * sizeof *median);
    gsl_rng *rng = gsl_rng_alloc(gsl_rng_taus2);
    int rc = pool && median && rng ? ERR_OK : ERR_NOMEM;
    if (!rc) {
        gsl_rng_set(rng, (unsigned long)seed);
        for (int32_t r = 0; r < RESAMPLES; r++)
            median[r] = resample(value, group, n, n_groups, rng, pool);
        gsl_sort(median, 1, RESAMPLES);
        out->low = gsl_stats_quantile_from_sorted_data(median, 1, RESAMPLES, 0.025);
        out->high = gsl_stats_quantile_from_sorted_data(median, 1, RESAMPLES, 0.975);
    }
    if (rng)
        gsl_rng_free(rng);
    free(median);
    free(pool);
    return rc;
}

/* Draws from every stratum: unit[] lists the units by stratum, first[s] .. first[s + 1] those of
 * s. */
static void draw_strata(const int32_t *unit, const int32_t *first, int32_t n_strata, gsl_rng *rng,
                        int32_t *count)
{
    for (int32_t s = 0; s < n_strata; s++) {
        int32_t size = first[s + 1] - first[s];
        for (int32_t i = 0; i < size; i++) {
            int32_t drawn = (int32_t)gsl_rng_uniform_int(rng, (unsigned long)size);
            count[unit[first[s] + drawn]]++;
        }
    }
}

int interval_statistic(const int32_t *stratum, int32_t n, int32_t n_strata,
                       double (*statistic)(const void *self, const int32_t *count),
                       const void *self, uint64_t seed, struct interval *out)
{
    int32_t *count = malloc((size_t)n * sizeof *count), *unit = malloc((size_t)n * sizeof *unit);
    int32_t *first = calloc((size_t)n_strata + 1, sizeof *first), at = 0;
    double *value = malloc(RESAMPLES * sizeof *value);
    gsl_rng *rng = gsl_rng_alloc(gsl_rng_taus2);
    int rc = count && unit && first && value && rng ? ERR_OK : ERR_NOMEM;
    for (int32_t s = 0; !rc && s < n_strata; s++) {
        for (int32_t i = 0; i < n; i++)
            if (stratum[i] == s)
                unit[at++] = i;
        first[s + 1] = at;
    }
    if (!rc)
        gsl_rng_set(rng, (unsigned long)seed);
    for (int32_t r = 0; !rc && r < RESAMPLES; r++) {
        memset(count, 0, (size_t)n * sizeof *count);
        draw_strata(unit, first, n_strata, rng, count);
        value[r] = statistic(self, count);
    }
    if (!rc) {
        gsl_sort(value, 1, RESAMPLES);
        out->low = gsl_stats_quantile_from_sorted_data(value, 1, RESAMPLES, 0.025);
        out->high = gsl_stats_quantile_from_sorted_data(value, 1, RESAMPLES, 0.975);
    }
    if (rng)
        gsl_rng_free(rng);
    free(value);
    free(first);
    free(unit);
    free(count);
    return rc;
}
