/* Rooflines fitted to measured times, and how well they foretell what they were not fitted to.
 *
 * A form says which of a roofline's numbers (hwmodels/roofline.h) are free: launch, peak,
 * bandwidth, copies, order; and start, what a point takes once, however many operators it has. They
 * join as
 *
 *     sum       launch + order * (compute + memory) + copies
 *     overlap   launch + order * max(compute, memory) + copies
 *     floor     max(launch, compute, memory) + copies: the launch is a kernel's shortest time
 *
 * and how many kernels there are: one; two, below and from a number of rows, with nothing in
 * common; or one whose peak is another at each number of rows (a backend's tiles fill by rows).
 *
 * Given a form, the numbers minimise the sum of |ln(fitted / measured)| over the points, by its
 * square below 0.1 (Huber's loss), none negative: published tables have points that were taken in
 * another state of the machine, and squares alone would follow these. By least squares with weights
 * that make each square's slope that of the loss, round after round, over every subset of the
 * numbers where the whole gives a negative one; with overlap or floor over what binds each
 * operator, too, until that stays as it is; the order's factor is searched on a grid.
 * Deterministic; no number is drawn. */
#ifndef TANDEM_HWMODELS_FIT_KERNEL_H
#define TANDEM_HWMODELS_FIT_KERNEL_H

#include <stdbool.h>

#include "hwmodels/roofline.h"

enum fit_number { FIT_LAUNCH = 1, FIT_PEAK = 2, FIT_BANDWIDTH = 4, FIT_COPY = 8, FIT_START = 16 };

enum fit_join { FIT_SUM, FIT_OVERLAP, FIT_FLOOR };
enum fit_kernels { FIT_ONE, FIT_SPLIT, FIT_BY_ROWS };

enum { FIT_NUMBERS = 5, FIT_CLASSES = 6, FIT_MAX_POINTS = 64, FIT_MAX_FORMS = 320 };

struct fit_form {
    uint8_t numbers; /* enum fit_number, or-ed; at least one */
    bool order;      /* its factor is free; needs FIT_PEAK or FIT_BANDWIDTH, and no floor */
    uint8_t join; /* OVERLAP needs FIT_PEAK and FIT_BANDWIDTH, FLOOR FIT_LAUNCH and one of them */
    uint8_t kernels; /* BY_ROWS needs FIT_PEAK */
};

/* What equal operators need of a kernel's numbers, added up. */
struct fit_work {
    double
        amount[FIT_NUMBERS]; /* launches, FLOPs, bytes, copied bytes; start: of the first one 1 */
    bool thin;               /* the order's factor applies */
    int64_t rows;
};

/* A measurement: the time of some operators, one after another. */
struct fit_point {
    int32_t n;
    const struct fit_work *work;
    double ns;
};

/* The work of n operators whose dimensions are rounded up to the tile, equal ones as one; `out` has
 * room for n. Returns how many there are. */
int32_t fit_work_of(const struct op *op, int32_t n, int32_t tile, struct fit_work *out);

struct fit_problem {
    int32_t n; /* <= FIT_MAX_POINTS */
    const struct fit_point *point;
    int32_t kernel_from; /* of SPLIT; 0: not known */
    int32_t n_rows;      /* of BY_ROWS: the numbers of rows, ascending; 0: one, or too many */
    int64_t rows[FIT_CLASSES];
};

/* Finds n_rows and rows; 2 .. FIT_CLASSES, else 0. */
void fit_find_rows(struct fit_problem *p);

/* Costs per unit of work: ns per launch, FLOP, byte, copied byte, start. */
struct fit_kernel {
    struct fit_form form;
    /* Of SPLIT [0] below kernel_from, [1] from there on. Of BY_ROWS a peak by index of the number
     * of rows, the others in [0]. Else [0]. */
    double cost[FIT_CLASSES][FIT_NUMBERS];
    double order;
};

/* Free parameters of a form in this problem. */
int32_t fit_parameters(const struct fit_problem *p, const struct fit_form *f);

/* All forms that the problem allows with at most `most` parameters, simpler ones first; returns
 * their number. Two kernels need `kernel_from`, an order operators of both kinds,
 * a start points of several operators. */
int32_t fit_forms(const struct fit_problem *p, int32_t most, struct fit_form *out);

/* "launch+peak|bandwidth*order/2 kernels", "launch|peak by rows+copy": | for what overlaps. Returns
 * buf. */
const char *fit_form_name(const struct fit_form *f, char *buf, size_t size);

/* Fits all points but `without` (-1: all). False where none are left or the numbers are not
 * determined. */
bool fit_kernel(const struct fit_problem *p, const struct fit_form *f, int32_t without,
                struct fit_kernel *out);

double fit_time(const struct fit_problem *p, const struct fit_kernel *k,
                const struct fit_point *point);

/* Leave one out, twice: each point is foretold by the form that best foretells the others, one by
 * one, from the rest of them, fitted to those others. Best: least mean |ln(foretold / measured)|,
 * at most 1 for a point (a miss is a miss); of equals the simplest. A form has a say where the
 * others hold what its numbers for that point are fitted to. predicted[i] is -1 where no form could
 * be; chosen[i] is the form (may be NULL). */
void fit_leave_one_out(const struct fit_problem *p, const struct fit_form *form, int32_t n_forms,
                       double *predicted, struct fit_form *chosen);

#endif
