/* Quasi-random points (Sobol's sequence, GSL): they fill a cube more evenly than random ones. */
#ifndef TANDEM_ANALYSIS_QUASI_H
#define TANDEM_ANALYSIS_QUASI_H

#include <stdint.h>

#include "sim/base/err.h"

enum { QUASI_MAX_DIMENSIONS = 40 };

struct quasi;

/* Points of `dimensions` coordinates in [0, 1), shifted as a whole by an amount that the seed gives
 * (modulo 1, each coordinate its own). 1 <= dimensions <= QUASI_MAX_DIMENSIONS. ERR_NOMEM. */
int quasi_create(int32_t dimensions, uint64_t seed, struct quasi **out);

/* The next point of the sequence. */
void quasi_next(struct quasi *q, double *x);

void quasi_destroy(struct quasi *q);

#endif
