/* Intervals by resampling (GSL). */
#ifndef TANDEM_ANALYSIS_INTERVAL_H
#define TANDEM_ANALYSIS_INTERVAL_H

#include <stdint.h>

#include "sim/base/err.h"

struct interval {
    double low, high;
};

/* 95 % bootstrap interval of the median of n values in groups: whole groups are drawn with
 * replacement, because the values of one prompt are not independent. group[i] is in [0, n_groups).
 * ERR_NOMEM. */
int interval_median(const double *value, const int32_t *group, int32_t n, int32_t n_groups,
                    uint64_t seed, struct interval *out);

/* 95 % bootstrap interval of any statistic of n units (requests, or whole sequences of requests
 * where one depends on those before it). stratum[i] is in [0, n_strata), none of which is empty: of
 * each stratum as many units are drawn, with replacement, as it has. statistic() is told how often
 * each unit was drawn; it must be finite. ERR_NOMEM. */
int interval_statistic(const int32_t *stratum, int32_t n, int32_t n_strata,
                       double (*statistic)(const void *self, const int32_t *count),
                       const void *self, uint64_t seed, struct interval *out);

#endif
