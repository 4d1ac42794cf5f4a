/* `tandem validate --published`: leave-one-out errors of hardware models on published measurements.
 */
#ifndef TANDEM_EXPERIMENTS_VALIDATE_PUBLISHED_H
#define TANDEM_EXPERIMENTS_VALIDATE_PUBLISHED_H

#include <stdio.h>

#include "experiments/points.h"
#include "experiments/output.h"

/* What a group came to. Errors are |predicted / measured - 1| in percent; -1: there is none. */
struct published_group {
    const struct points_group *group;
    int32_t allowed;    /* free parameters: a third of the points */
    int32_t parameters; /* of the form chosen most often */
    bool predictable;   /* one parameter at least, and predictions for all points */
    double *predicted;  /* [group->n], ns; -1: none */
    double median_pct, p90_pct, worst_pct;
    double
        fitted_pct; /* median of that form fitted to all points: what no choice of numbers mends */
    double twins_pct; /* see published_twins_pct */
    double floor_pct; /* median disagreement of sources on such a quantity */
    char form[64];    /* the one chosen most often */
};

struct published_result {
    int32_t n_groups, n_points, n_predicted;
    struct published_group *group;
    double median_pct, p90_pct;         /* of all predicted points */
    double groups_median_pct;           /* median of the groups' medians */
    double floor_pct, floor_p90_pct;    /* disagreement of two sources: median, P90 */
    double error_pct[3], p90_of_pct[3]; /* by enum points_operator; -1: none predicted */
    const char *verdict;                /* "goal", "floor" (median and P90 within it) or "missed" */
};

/* Two products of as many rows, one with n and k of the other changed over, have the same FLOPs and
 * bytes: a roofline can tell them apart by one factor, the order's. How far their times differ from
 * the group's median factor, median over such pairs, percent; half of it is left to any roofline.
 * -1: fewer than four pairs. */
double published_twins_pct(const struct points_group *g);

/* Memory is the arena's. ERR_NOMEM. */
int published_validate(const struct points *p, struct arena *arena, struct published_result *out,
                       struct err *e);

/* Reads the committed points, validates and prints. Returns an exit code. */
int published_command(enum output_format format);

#endif
