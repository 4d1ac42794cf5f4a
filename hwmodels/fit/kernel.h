/* Rooflines fitted to measured times, and how well they foretell what they were not fitted to.
 *
 * A form says which of a roofline's numbers (hwmodels/roofline.h) are free: launch, peak,
 * bandwidth, copies, order; whether compute and memory overlap; whether there is one kernel or two,
 * below and from a number of rows. Given a form, the numbers minimise sum ((fitted / measured -
 * 1)^2), none negative: least squares over every subset of them where the whole gives a negative
 * one; with overlap, over which of the two binds for each operator, until that stays as it is; the
 * order's factor is searched on a grid. Deterministic; no number is drawn. */
#ifndef TANDEM_HWMODELS_FIT_KERNEL_H
#define TANDEM_HWMODELS_FIT_KERNEL_H

#include <stdbool.h>

#include "hwmodels/roofline.h"

enum fit_number { FIT_LAUNCH = 1, FIT_PEAK = 2, FIT_BANDWIDTH = 4, FIT_COPY = 8 };

enum { FIT_NUMBERS = 4, FIT_MAX_POINTS = 64, FIT_MAX_FORMS = 128 };

struct fit_form {
    uint8_t numbers; /* enum fit_number, or-ed; at least one */
    bool order;      /* its factor is free; needs FIT_PEAK or FIT_BANDWIDTH */
    bool overlap;    /* needs FIT_PEAK and FIT_BANDWIDTH */
    bool split;      /* numbers of their own for operators below `kernel_from` rows */
};

/* What equal operators need of a kernel's numbers, added up. */
struct fit_work {
    double amount[FIT_NUMBERS]; /* launches, FLOPs, bytes, copied bytes */
    bool thin;                  /* the order's factor applies */
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
    int32_t kernel_from; /* 0: one kernel whatever the rows */
};

/* Costs per unit of work: ns per launch, FLOP, byte, copied byte. */
struct fit_kernel {
    struct fit_form form;
    double cost[2][FIT_NUMBERS]; /* [0]: the only kernel, or that below kernel_from */
    double order;
};

/* Free parameters of a form. */
int32_t fit_parameters(const struct fit_form *f);

/* All forms with at most `most` parameters, simpler ones first; returns their number. `split` ones
 * only if asked. */
int32_t fit_forms(int32_t most, bool split, struct fit_form *out);

/* "launch+peak|bandwidth*order/2 kernels": | for overlap. Returns buf. */
const char *fit_form_name(const struct fit_form *f, char *buf, size_t size);

/* Fits all points but `without` (-1: all). False where none are left or the numbers are not
 * determined. */
bool fit_kernel(const struct fit_problem *p, const struct fit_form *f, int32_t without,
                struct fit_kernel *out);

double fit_time(const struct fit_problem *p, const struct fit_kernel *k,
                const struct fit_point *point);

/* Leave one out, twice: each point is foretold by the form that best foretells the others, one by
 * one, from the rest of them (least mean |ln(foretold / measured)|; of equals the simplest), fitted
 * to those others. predicted[i] is -1 where no form could be fitted; chosen[i] is the form (may be
 * NULL). */
void fit_leave_one_out(const struct fit_problem *p, const struct fit_form *form, int32_t n_forms,
                       double *predicted, struct fit_form *chosen);

#endif
