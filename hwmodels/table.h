/* A measured table made ready to answer: any width, any context.
 *
 * What was measured of the same shape is returned exactly. Inside the table:
 * - a cell that is missing between measured widths and buckets: linear in the bucket between those
 *   measured at its width; else its width's time in the nearest bucket times the ratio of the two
 *   buckets, interpolated between the widths measured in both; marked extrapolated where such
 *   widths are not on either side, or none is measured in both (then the nearest bucket's time);
 * - after a change of shape: what that change costs more is one figure for each kind of steps, the
 *   median over the kind's cells of the difference between medians, because a cell's own is a small
 *   difference of few samples; where the kind has none, that of all cells, of the other change, or
 *   the file's `change`. No cell for the same shape: a changed one's, less that;
 * - a width between: linear between the nearest measured widths of the same residue (width modulo
 *   the table's period); where one side has none, a + b floor(w / p) + c (w mod p) by least squares
 *   through the nearest measured widths (five, up to 64 until they determine it); where not even
 *   those tell residues apart, linear between neighbours, marked extrapolated;
 * - a bucket between: linear.
 * Beyond the table utilisation is held, marked extrapolated: time per row outside the widths; in
 * the bucket the least-squares slope of that width continues, not below 0, and not below
 * bucket / first bucket of the time in the first one. */
#ifndef TANDEM_HWMODELS_TABLE_H
#define TANDEM_HWMODELS_TABLE_H

#include "hwmodels/device.h"

enum device_estimator {
    DEVICE_MINIMUM,
    DEVICE_MEDIAN,
    DEVICE_EXPECTED_MINIMUM /* of estimator_n samples */
};

/* Tables made wrong on purpose: what a validation must be able to tell from the right one. They
 * change step tables, not prefill, and all that a wrong table answers is marked extrapolated. */
enum device_degrade {
    DEVICE_AS_MEASURED,
    DEVICE_CONSTANT_STEP, /* one time for all: the mean of the cells */
    DEVICE_NO_CONTEXT,    /* each width's mean over the buckets */
    DEVICE_NO_WIDTH,      /* each bucket's mean over the widths */
    DEVICE_PERMUTED_WIDTH /* widths exchanged along one random cycle: none keeps its own times */
};

enum { DEVICE_MAX_MASK = 64 };

/* How a device is used. All zero: minimum, as measured. */
struct device_options {
    enum device_estimator estimator;
    int32_t estimator_n; /* >= 1 for DEVICE_EXPECTED_MINIMUM */
    enum device_degrade degrade;
    uint64_t seed; /* DEVICE_PERMUTED_WIDTH */
    /* Left out of step and prefill tables, to be predicted. */
    int32_t n_mask_widths, mask_width[DEVICE_MAX_MASK];
    int32_t n_mask_buckets, mask_bucket[DEVICE_MAX_MASK];
    /* Names of the run's drafters, by index; NULL: no such. */
    const char *drafter[EXEC_MAX_DRAFTERS];
};

/* The expected minimum of `draws` of the n sorted values, drawn without replacement:
 * sum over i = 1 .. n - draws + 1 of x_(i) C(n - i, draws - 1) / C(n, draws). With draws >= n it is
 * the minimum. */
double device_expected_minimum(const int64_t *sorted, int32_t n, int32_t draws);

double device_estimate(const struct device_cell *c, const struct device_options *opt);

/* What a figure for a change of shape rests on. */
enum table_change_from {
    TABLE_CHANGE_NONE,        /* nothing says so: it is 0 */
    TABLE_CHANGE_STATED,      /* the file's `change` */
    TABLE_CHANGE_MEASURED,    /* cells of its kind, measured both ways */
    TABLE_CHANGE_OTHER_ROWS,  /* its kind has none: those of the other kind */
    TABLE_CHANGE_OTHER_CHANGE /* neither has: those measured after the other change, of either */
};

/* Knots at every width from w_min to w_max and every measured bucket. */
struct table_grid {
    int32_t pad, few, w_min, w_max, n_buckets;
    bool flat_width;                    /* degraded: width has no say */
    int32_t bucket[DEVICE_MAX_BUCKETS]; /* rising */
    double *ns;                         /* [(w - w_min) * n_buckets + bucket's index], same shape */
    double *slope;                      /* [w - w_min], ns per bucket */
    double change[2][DEVICE_CHANGES];   /* ns more: steps of few rows, wider ones */
    /* What it rests on, before a degrade, and of how many cells it is the median; from
     * DEVICE_OTHER_SHAPE on. */
    enum table_change_from change_from[2][DEVICE_CHANGES];
    int32_t change_cells[2][DEVICE_CHANGES];
    bool *unsure; /* [as ns]: counts as extrapolated */
};

/* Memory is the arena's. ERR_SCHEMA when the masks leave nothing, ERR_LIMIT beyond
 * DEVICE_MAX_BUCKETS, ERR_RANGE for options out of range; ERR_NOMEM. `what` names the table in
 * messages. */
int table_grid_build(const struct device_table *t, const struct device_options *opt, bool is_step,
                     const char *what, struct arena *arena, struct table_grid *out, struct err *e);

/* width, bucket >= 1. Sets *extrapolated when it is (never clears it). */
double table_grid_ns(const struct table_grid *g, int32_t width, int32_t bucket,
                     enum device_change changed, bool *extrapolated);

#endif
