/* A better point near a given one: coordinate search for the least worst error. */
#include <math.h>
#include <string.h>

#include "experiments/table3_search.h"
#include "sim/base/hash.h"

struct climb {
    const struct table3 *t;
    struct t3_hypothesis h;
    const struct t3_aim *aim;
    double power; /* of the norm that is made small: a large power is nearly the worst error */
    double best;  /* least norm so far */
    double *x;    /* [T3_DIMENSIONS], the point that has it */
};

/* The norm of the errors' logarithms, which is smooth where the worst error is not. */
static double norm_at(const struct climb *c, const double *x)
{
    double cell[T3_MODELS][T3_CELLS], sum = 0;
    t3_point_cells(c->t, c->h, x, cell);
    for (int32_t m = 0; m < T3_MODELS; m++)
        for (int32_t i = 0; i < T3_CELLS; i++)
            if (c->aim->cell[m][i]) {
                double ratio = cell[m][i] / c->t->cell[m][i];
                /* beyond a range a cell may be no time at all: as bad as can be */
                sum += pow(ratio > 0 ? fabs(log(ratio)) : 10, c->power);
            }
    return pow(sum, 1 / c->power);
}

static bool try_point(struct climb *c, const double *to)
{
    double norm = norm_at(c, to);
    if (!(norm < c->best))
        return false;
    memcpy(c->x, to, T3_DIMENSIONS * sizeof *to);
    c->best = norm;
    return true;
}

static const struct t3_unknown *unknown_at(const struct climb *c, int32_t d)
{
    return d < T3_SHARED ? &c->t->shared[d] : &c->t->own[(d - T3_SHARED) % T3_OWN];
}

static double within(const struct climb *c, int32_t d, double u)
{
    double room = c->aim->beyond[d] ? 0.5 : 0, most = 1 - 1e-9 + room;
    return u < -room ? -room : u > most ? most : u;
}

/* Every choice, a step either way of every other coordinate, and a few oblique steps. */
static bool sweep(struct climb *c, double step, uint64_t draws)
{
    enum { OBLIQUE = 12 };
    double to[T3_DIMENSIONS];
    bool better = false;
    for (int32_t d = 0; d < T3_DIMENSIONS; d++) {
        const struct t3_unknown *k = unknown_at(c, d);
        for (int32_t i = 0; i < (k->n_choices ? k->n_choices : 2); i++) {
            memcpy(to, c->x, sizeof to);
            to[d] = k->n_choices ? (i + 0.5) / k->n_choices
                                 : within(c, d, c->x[d] + (i ? step : -step));
            better = try_point(c, to) || better;
        }
    }
    for (int32_t i = 0; i < OBLIQUE; i++) {
        for (int32_t d = 0; d < T3_DIMENSIONS; d++) {
            double u = rng_unit(hash_step(hash_step(draws, (uint64_t)i), (uint64_t)d));
            to[d] =
                unknown_at(c, d)->n_choices ? c->x[d] : within(c, d, c->x[d] + step * (2 * u - 1));
        }
        better = try_point(c, to) || better;
    }
    return better;
}

double t3_polish(const struct table3 *t, struct t3_hypothesis h, const struct t3_aim *aim,
                 uint64_t seed, double *x)
{
    enum { SWEEPS = 150 };
    static const double powers[] = {2, 8, 32, 128};
    double cell[T3_MODELS][T3_CELLS], from[T3_DIMENSIONS];
    memcpy(from, x, sizeof from);
    t3_point_cells(t, h, x, cell);
    double before = t3_error(t, aim, cell);
    for (size_t p = 0; p < sizeof powers / sizeof *powers; p++) {
        struct climb c = {.t = t, .h = h, .aim = aim, .power = powers[p], .x = x};
        double step = 0.25;
        c.best = norm_at(&c, x);
        for (int32_t i = 0; i < SWEEPS && step > 1e-5; i++)
            if (!sweep(&c, step, hash_step(hash_mix(seed), (uint64_t)i)))
                step /= 2;
    }
    t3_point_cells(t, h, x, cell);
    double after = t3_error(t, aim, cell);
    if (after < before)
        return after;
    memcpy(x, from, sizeof from); /* a smaller norm, but no smaller worst error */
    return before;
}
