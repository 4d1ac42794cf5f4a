/* A model's own unknowns, solved for instead of searched.
 *
 * With what all models share fixed, a model's five cells are linear in
 *   y = 1 / output,   z = (1 - y) / accepted,   o = overflow * z
 * and the gain of Ours is an interval for each (y, z): a cell within an error of what is published
 * is two linear inequalities, and so is each range. Eliminating o, then z, then y (Fourier and
 * Motzkin) says whether any values of the model's own unknowns fit, and which. */
#ifndef TANDEM_EXPERIMENTS_TABLE3_OWN_H
#define TANDEM_EXPERIMENTS_TABLE3_OWN_H

#include "experiments/table3_search.h"

/* o * O + z * Z + y * Y <= b + e * error */
struct t3_line {
    double o, z, y, b, e;
};

/* What one model's own unknowns must satisfy. */
struct t3_own_lines {
    const struct table3 *t;
    int32_t model, n;
    struct t3_line line[16];
    double low[T3_OWN], high[T3_OWN]; /* values; equal where it is no unknown, or taken as given */
    bool ours;                        /* the cell must fit */
    double fixed_ms, step_ms;         /* Ours = fixed_ms * y + step_ms * z / gain */
};

/* The values that are possible within an error: y from y_low to y_high, and given y (given y and z)
 * an interval of z (of o) by the lines left. */
struct t3_own_room {
    double error, y_low, y_high;
    int32_t n_o, n_z;
    struct t3_line of_o[16], of_z[32];
};

/* `x` gives the acceptance where overflow goes by matches: passes are not linear in it. */
void t3_own_of(const struct table3 *t, struct t3_hypothesis h, const struct t3_aim *aim, int32_t m,
               const double *x, const double *shared, const struct t3_times *times,
               struct t3_own_lines *out);

/* Whether NPU alone may be within an error; asked before the rest of `times` is computed. */
bool t3_own_may_fit(const struct table3 *t, struct t3_hypothesis h, int32_t m,
                    const struct t3_times *times, double error);

/* Whether anything is within the error; then `room` is what. */
bool t3_own_fits(const struct t3_own_lines *l, double error, struct t3_own_room *room);

/* The least error found above `from`, which nothing or little is below; room is that of it. */
double t3_own_least(const struct t3_own_lines *l, double from, struct t3_own_room *room);

/* The coordinates (t3_value) of a point in the midst of the room. */
void t3_own_middle(const struct t3_own_lines *l, const struct t3_own_room *room, double *x);

/* The share of the own unknowns' prior volume that the room is, estimated by drawing from it, and
 * one of the points drawn with the volume's density; `low` and `high` are widened to all that was
 * met. Uses up random numbers. */
double t3_own_draw(const struct t3_own_lines *l, const struct t3_own_room *room, uint64_t *draws,
                   double *x, double *low, double *high);

#endif
