#include "analysis/interval.h"

#include <gsl/gsl_rng.h>
#include <gsl/gsl_sort.h>
#include <gsl/gsl_statistics_double.h>
#include <stdlib.h>

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
