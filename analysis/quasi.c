#include "analysis/quasi.h"

#include <assert.h>
#include <gsl/gsl_qrng.h>
#include <stdlib.h>

#include "sim/base/hash.h"

struct quasi {
    gsl_qrng *sequence;
    int32_t dimensions;
    double shift[QUASI_MAX_DIMENSIONS];
};

int quasi_create(int32_t dimensions, uint64_t seed, struct quasi **out)
{
    assert(dimensions >= 1 && dimensions <= QUASI_MAX_DIMENSIONS);
    struct quasi *q = malloc(sizeof *q);
    if (!q)
        return ERR_NOMEM;
    q->dimensions = dimensions;
    q->sequence = gsl_qrng_alloc(gsl_qrng_sobol, (unsigned)dimensions);
    if (!q->sequence) {
        free(q);
        return ERR_NOMEM;
    }
    for (int32_t d = 0; d < dimensions; d++)
        q->shift[d] = rng_unit(hash_step(hash_mix(seed), (uint64_t)d));
    *out = q;
    return ERR_OK;
}

void quasi_next(struct quasi *q, double *x)
{
    gsl_qrng_get(q->sequence, x);
    for (int32_t d = 0; d < q->dimensions; d++) {
        x[d] += q->shift[d];
        x[d] -= x[d] >= 1;
    }
}

void quasi_destroy(struct quasi *q)
{
    if (!q)
        return;
    gsl_qrng_free(q->sequence);
    free(q);
}
