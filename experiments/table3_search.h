/* Which values of the unknowns fit Table 3, and what they foretell.
 *
 * A set is all of the prior volume (table3.yaml: each unknown uniform in its range, or in its
 * logarithm) where every cell that must fit is within a tolerance. Its share of the volume may be
 * far below one in the number of points that can be drawn, so it is found by subset simulation (Au
 * and Beck, Probabilistic Engineering Mechanics 16, 2001): of T3_POINTS quasi-random points the
 * best are kept; from them, Markov chains within the worst error kept fill a population again, of
 * which the best quarter are kept, and so on until the tolerance is reached. The share is the
 * product of the shares kept. Moves are differences of two kept points (differential evolution) or
 * small steps of a few coordinates.
 *
 * Only what all models share is searched so: a point's error is the least over the models' own
 * unknowns, which are solved for (table3_own.h), and the volume that they may have in a set weighs
 * its points. Chains in all coordinates collapse: in a set of 1e-15 of the volume, the models' own
 * unknowns leave a move of the shared ones next to no room, so that each run ended in one of
 * several modes, with a share anywhere from 1e-24 to 2e-16.
 *
 * What still depends on chance is shown by T3_POPULATIONS that know nothing of each other, each
 * from quasi-random points of its own. A set's ranges are their union, its medians those of all
 * points by volume. Where the error stops falling above the tolerance, the set was not reached,
 * which does not prove that it is empty; the least error met is an upper bound of what can be had.
 */
#ifndef TANDEM_EXPERIMENTS_TABLE3_SEARCH_H
#define TANDEM_EXPERIMENTS_TABLE3_SEARCH_H

#include "experiments/table3.h"

enum { T3_POINTS = 1 << 17, T3_POPULATIONS = 4 };
enum { T3_STRICT, T3_LOOSE, T3_TOLERANCES };
enum { T3_DIMENSIONS = T3_SHARED + T3_MODELS * T3_OWN };

/* What must hold. */
struct t3_aim {
    bool cell[T3_MODELS][T3_CELLS]; /* must fit */
    bool beyond[T3_DIMENSIONS];     /* may leave its range, by half of it on either side */
};

struct t3_spread {
    double min, median, max;
};

/* What one population of chains found by itself. */
struct t3_population {
    double share; /* of the prior volume; 0: not reached, and the rest is not filled */
    double low[T3_DIMENSIONS], high[T3_DIMENSIONS]; /* coordinates (t3_value) that occur */
    struct t3_spread number[T3_MODELS][T3_CELLS + T3_DERIVED];
};

struct t3_set {
    int32_t reached; /* populations that reached it; 0: none did, and the rest is not filled */
    double share; /* of the prior volume: the populations' mean, 0 of one that did not reach it */
    bool bound;   /* share is an upper bound, and the set within t3_found.within */
    double low[T3_DIMENSIONS], high[T3_DIMENSIONS]; /* the populations' union */
    struct t3_spread cell[T3_MODELS][T3_CELLS], derived[T3_MODELS][T3_DERIVED]; /* of all */
    struct t3_population population[T3_POPULATIONS];
};

/* What came of one aim. */
struct t3_found {
    struct t3_set set[T3_TOLERANCES];
    double best; /* worst error of the best point met, as a fraction */
    double best_x[T3_DIMENSIONS];
    double within; /* the largest error at which a population ended above the loose tolerance */
};

/* Aims: all cells; each model left out, both others in all cells and of it +SD. */
enum { T3_AIM_ALL, T3_AIM_WITHOUT, T3_AIMS = T3_AIM_WITHOUT + T3_MODELS };

struct t3_aim t3_aim_at(int32_t i);

struct t3_search {
    const struct table3 *t;
    uint64_t seed;
    double (*x)[T3_DIMENSIONS];          /* [T3_POINTS] */
    struct t3_times (*times)[T3_MODELS]; /* [T3_POINTS] */
    struct t3_found found[T3_HYPOTHESES][T3_AIMS];
    struct t3_spread prior[T3_MODELS][T3_CELLS]; /* under table3.as_written, nothing fitted */
};

/* Searches for every hypothesis and aim; everything lives in the arena. ERR_NOMEM. */
int t3_search_run(const struct table3 *t, uint64_t seed, struct arena *arena,
                  struct t3_search **out);

/* Its parts: the points; one hypothesis, every aim; one more aim. The seed is of the chains.
 * ERR_NOMEM. */
int t3_search_points(const struct table3 *t, uint64_t seed, struct arena *arena,
                     struct t3_search **out);
int t3_search_hypothesis(const struct t3_search *s, struct t3_hypothesis h, uint64_t seed,
                         struct t3_found found[T3_AIMS]);
int t3_search_aim(const struct t3_search *s, struct t3_hypothesis h, const struct t3_aim *aim,
                  uint64_t seed, struct t3_found *out);

/* Moves x to a point near it with a smaller worst error, and returns that: an upper bound of the
 * least. */
double t3_polish(const struct table3 *t, struct t3_hypothesis h, const struct t3_aim *aim,
                 uint64_t seed, double *x);

/* The worst error, as a fraction, of the cells that must fit. */
double t3_error(const struct table3 *t, const struct t3_aim *aim, double cell[T3_MODELS][T3_CELLS]);

/* The hypothesis under which the largest share of the prior volume fits an aim, at the strict
 * tolerance if anything does, else at the loose one; -1 when nothing fits under any. */
int32_t t3_largest(const struct t3_search *s, int32_t aim, int32_t *tolerance);

/* The same as one population alone has it. */
int32_t t3_largest_of(const struct t3_search *s, int32_t aim, int32_t population,
                      int32_t *tolerance);

/* The hypothesis with the least worst error. */
int32_t t3_nearest(const struct t3_search *s, int32_t aim);

/* A point's cells. */
void t3_point_cells(const struct table3 *t, struct t3_hypothesis h, const double *x,
                    double cell[T3_MODELS][T3_CELLS]);

/* ---- what must be given up ------------------------------------------------------------------ */

enum { T3_MAX_RELAXED = 1 + T3_MODELS * T3_CELLS + T3_DIMENSIONS };

/* One constraint left aside: that a load is hidden only behind what takes as long, a cell, or a
 * range (t3_aim.beyond). */
struct t3_relaxed {
    char what[96];
    struct t3_hypothesis h;
    struct t3_aim aim;       /* what still must hold */
    double worst;            /* the least worst error met: an upper bound of what can be had */
    double x[T3_DIMENSIONS]; /* where */
};

struct t3_given_up {
    int32_t n;
    struct t3_relaxed relaxed[T3_MAX_RELAXED];
};

/* Every single constraint that a hypothesis has, not yet searched. */
void t3_given_up_list(const struct table3 *t, struct t3_hypothesis h, struct t3_given_up *out);

/* Fills `worst` and `x`, by chains and from `all`, the best point when all must hold. ERR_NOMEM. */
int t3_give_up(const struct t3_search *s, const double *all, uint64_t seed, struct t3_relaxed *x);

/* ---- for other entries ---------------------------------------------------------------------- */

struct reproduce_context;

/* table3.yaml and its search, made once for all entries of a command. */
struct t3_fit {
    struct table3 table;
    struct t3_search *search;
    const struct t3_set *set; /* the largest of all cells; NULL: nothing fits */
    char what[160];           /* its hypothesis and tolerance */
};

int t3_fit_run(struct reproduce_context *c, const struct t3_fit **out, struct err *e);

#endif
