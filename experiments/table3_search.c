#include "experiments/table3_search.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "analysis/quasi.h"
#include "experiments/table3_own.h"
#include "sim/base/hash.h"

/* A population; the points of it that choose a level, and those within it; moves of a point at each
 * level; sweeps over the last population that its ranges and medians are taken from. */
enum { POPULATION = 1024, SAMPLE = 128, WITHIN = SAMPLE / 4, MOVES = 3, SWEEPS = 2, LEVELS = 60 };
enum { FIRST = T3_POINTS / T3_POPULATIONS }; /* quasi-random points of each population */

/* ---- points --------------------------------------------------------------------------------- */

struct point {
    double x[T3_DIMENSIONS];
};

static void shared_at(const struct table3 *t, const double *x, double *shared)
{
    for (int32_t i = 0; i < T3_SHARED; i++)
        shared[i] = t3_value(&t->shared[i], x[i]);
}

static void times_of(const struct table3 *t, const double *shared, struct t3_times *times)
{
    for (int32_t m = 0; m < T3_MODELS; m++)
        t3_times_of(&t->model[m], &t->model[T3_Q15], shared, &times[m]);
}

static void times_at(const struct table3 *t, const double *x, double *shared,
                     struct t3_times *times)
{
    shared_at(t, x, shared);
    times_of(t, shared, times);
}

/* What is published of a model's own unknowns takes the place of its coordinates. */
static void own_at(const struct table3 *t, int32_t m, const double *x, double *own)
{
    for (int32_t i = 0; i < T3_OWN; i++)
        own[i] = t3_value(&t->own[i], x[T3_SHARED + m * T3_OWN + i]);
    if (m == T3_Q15) {
        own[T3_ACCEPTED] = t->accepted;
        own[T3_GAIN] = t->gain;
    }
}

static void cells_of(const struct table3 *t, struct t3_hypothesis h, const double *x,
                     const double *shared, const struct t3_times *times,
                     double cell[T3_MODELS][T3_CELLS])
{
    for (int32_t m = 0; m < T3_MODELS; m++) {
        double own[T3_OWN];
        own_at(t, m, x, own);
        t3_cells(h, shared, own, &times[m], cell[m]);
    }
}

void t3_point_cells(const struct table3 *t, struct t3_hypothesis h, const double *x,
                    double cell[T3_MODELS][T3_CELLS])
{
    double shared[T3_SHARED];
    struct t3_times times[T3_MODELS];
    times_at(t, x, shared, times);
    cells_of(t, h, x, shared, times, cell);
}

/* The worst of a model's cells, and of `worst`. */
static double model_error(const struct table3 *t, const struct t3_aim *aim, int32_t m,
                          const double *cell, double worst)
{
    for (int32_t c = 0; c < T3_CELLS; c++)
        if (aim->cell[m][c])
            worst = fmax(worst, fabs(cell[c] / t->cell[m][c] - 1));
    return worst;
}

double t3_error(const struct table3 *t, const struct t3_aim *aim, double cell[T3_MODELS][T3_CELLS])
{
    double worst = 0;
    for (int32_t m = 0; m < T3_MODELS; m++)
        worst = model_error(t, aim, m, cell[m], worst);
    return worst;
}

struct t3_aim t3_aim_at(int32_t i)
{
    struct t3_aim a = {.cell = {{false}}};
    for (int32_t m = 0; m < T3_MODELS; m++)
        for (int32_t c = 0; c < T3_CELLS; c++)
            a.cell[m][c] = m != i - T3_AIM_WITHOUT || c == T3_SD;
    return a;
}

/* ---- within an error ------------------------------------------------------------------------ */

struct chains {
    const struct t3_search *s;
    struct t3_hypothesis h;
    const struct t3_aim *aim;
    uint64_t draws;                        /* random numbers are a function of their count */
    double worst;                          /* within which the chains move */
    int32_t n_moved, moved[T3_DIMENSIONS]; /* coordinates that are searched: the rest is solved */
    struct point *now, *kept;              /* [POPULATION], [2 * POPULATION] */
    int32_t n_kept;
    double best, best_x[T3_DIMENSIONS];
};

/* What the models' own unknowns must satisfy, and may be. */
struct solved {
    struct t3_own_lines lines[T3_MODELS];
    struct t3_own_room room[T3_MODELS];
};

static void lines_of(const struct chains *c, const double *x, int32_t m, const double *shared,
                     const struct t3_times *times, struct solved *out)
{
    t3_own_of(c->s->t, c->h, c->aim, m, x, shared, times, &out->lines[m]);
}

/* Whether some values of the models' own unknowns bring the point within an error. What is quick
 * to compute comes first: NPU of every model. */
static bool fits(const struct chains *c, const double *x, double error, struct solved *out)
{
    double shared[T3_SHARED];
    struct t3_times times[T3_MODELS];
    const struct table3 *t = c->s->t;
    shared_at(t, x, shared);
    for (int32_t m = 0; m < T3_MODELS; m++) {
        t3_times_before(&t->model[m], &t->model[T3_Q15], shared, &times[m]);
        if (c->aim->cell[m][T3_NPU] && !t3_own_may_fit(t, c->h, m, &times[m], error))
            return false;
    }
    for (int32_t m = 0; m < T3_MODELS; m++) {
        t3_times_progressive(&t->model[m], &t->model[T3_Q15], shared, &times[m]);
        lines_of(c, x, m, shared, &times[m], out);
        if (!t3_own_fits(&out->lines[m], error, &out->room[m]))
            return false;
    }
    return true;
}

/* The least error of a point over the models' own unknowns; its own coordinates become those. */
static double least_error(struct chains *c, double *x, const double *shared,
                          const struct t3_times *times)
{
    double error = 0, cell[T3_MODELS][T3_CELLS];
    struct solved v;
    for (int32_t m = 0; m < T3_MODELS && error < INFINITY; m++) {
        lines_of(c, x, m, shared, &times[m], &v);
        error = t3_own_least(&v.lines[m], error, &v.room[m]);
    }
    if (!(error < c->best))
        return error;
    for (int32_t m = 0; m < T3_MODELS; m++)
        t3_own_middle(&v.lines[m], &v.room[m], x);
    cells_of(c->s->t, c->h, x, shared, times, cell);
    double met = t3_error(c->s->t, c->aim, cell);
    if (met < c->best) {
        c->best = met;
        memcpy(c->best_x, x, sizeof c->best_x);
    }
    return error;
}

static double least_error_at(struct chains *c, double *x)
{
    double shared[T3_SHARED];
    struct t3_times times[T3_MODELS];
    times_at(c->s->t, x, shared, times);
    return least_error(c, x, shared, times);
}

/* ---- chains --------------------------------------------------------------------------------- */

static double draw(struct chains *c)
{
    return rng_unit(hash_mix(c->draws++));
}

static int32_t draw_below(struct chains *c, int32_t n)
{
    return (int32_t)(draw(c) * n);
}

/* The other number of bytes, and weights read as much faster: all times stay, which steps of one
 * coordinate do not find. The rate is uniform in its logarithm (table3.yaml), so volume stays, too.
 */
static bool swap_bytes(const struct chains *c, double *to)
{
    const struct t3_unknown *bytes = &c->s->t->shared[T3_BYTES];
    const struct t3_unknown *rate = &c->s->t->shared[T3_WEIGHTS];
    double before = t3_value(bytes, to[T3_BYTES]), room = c->aim->beyond[T3_WEIGHTS] ? 0.5 : 0;
    if (bytes->n_choices != 2 || !rate->log)
        return false;
    to[T3_BYTES] += to[T3_BYTES] < 0.5 ? 0.5 : -0.5;
    to[T3_WEIGHTS] += log(t3_value(bytes, to[T3_BYTES]) / before) / rate->span;
    return to[T3_WEIGHTS] >= -room && to[T3_WEIGHTS] < 1 + room;
}

/* A point nearby: false when it leaves the ranges. */
static bool propose(struct chains *c, const double *from, double *to)
{
    static const double share[] = {0.15, 0.4, 1}, small[] = {0.003, 0.03, 0.3};
    bool differ = draw(c) < 0.7;
    double chance = differ ? share[draw_below(c, 3)] : 1.5 / c->n_moved;
    double size = differ ? 2.38 / sqrt(2 * chance * c->n_moved) : small[draw_below(c, 3)];
    const double *a = c->kept[draw_below(c, c->n_kept)].x;
    const double *b = c->kept[draw_below(c, c->n_kept)].x;
    memcpy(to, from, T3_DIMENSIONS * sizeof *to);
    if (draw(c) < 0.05)
        return swap_bytes(c, to);
    for (int32_t i = 0; i < c->n_moved; i++) {
        int32_t d = c->moved[i];
        double room = c->aim->beyond[d] ? 0.5 : 0;
        if (draw(c) >= chance)
            continue;
        to[d] +=
            (differ ? size * (a[d] - b[d]) + 1e-4 * (draw(c) - 0.5) : size * (2 * draw(c) - 1));
        if (to[d] < -room || to[d] >= 1 + room)
            return false;
    }
    return true;
}

static void move(struct chains *c, struct point *p)
{
    double to[T3_DIMENSIONS];
    struct solved v;
    if (propose(c, p->x, to) && fits(c, to, c->worst, &v))
        memcpy(p->x, to, sizeof p->x);
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void fill(struct chains *c)
{
    for (int32_t i = 0; i < POPULATION; i++) {
        c->now[i] = c->kept[i % c->n_kept];
        for (int32_t k = 0; k < MOVES; k++)
            move(c, &c->now[i]);
    }
}

/* The quasi-random points of a population within the least errors of a part of them; from those it
 * is filled. Returns their share. */
static double first_level(struct chains *c, int32_t population)
{
    enum { TRIED = 512, FEW = TRIED / 24 };
    const struct t3_search *s = c->s;
    double error[TRIED], shared[T3_SHARED];
    int32_t n = 0;
    for (int32_t i = 0; i < TRIED; i++) {
        int32_t at = population + T3_POPULATIONS * (i * (FIRST / TRIED));
        double x[T3_DIMENSIONS];
        memcpy(x, s->x[at], sizeof x);
        shared_at(s->t, x, shared);
        error[i] = least_error(c, x, shared, s->times[at]);
    }
    qsort(error, TRIED, sizeof *error, by_size);
    c->worst = fmax(error[FEW], s->t->tolerance_pct[T3_LOOSE] / 100.0);
    for (int32_t at = population; at < T3_POINTS; at += T3_POPULATIONS) {
        struct solved v;
        bool fit = true;
        shared_at(s->t, s->x[at], shared);
        for (int32_t m = 0; m < T3_MODELS && fit; m++) {
            lines_of(c, s->x[at], m, shared, &s->times[at][m], &v);
            fit = t3_own_fits(&v.lines[m], c->worst, &v.room[m]);
        }
        if (fit && c->n_kept < 2 * POPULATION)
            memcpy(c->kept[c->n_kept++].x, s->x[at], sizeof c->kept->x);
        n += fit;
    }
    fill(c);
    return (double)n / FIRST;
}

/* Keeps what is within the error of the best quarter, or within `tolerance` where that is more, and
 * fills the population from it. Returns its share. */
static double next_level(struct chains *c, double tolerance)
{
    double error[SAMPLE];
    struct solved v;
    for (int32_t i = 0; i < SAMPLE; i++)
        error[i] = least_error_at(c, c->now[i * (POPULATION / SAMPLE)].x);
    qsort(error, SAMPLE, sizeof *error, by_size);
    c->worst = fmin(c->worst, fmax(tolerance, error[WITHIN - 1]));
    c->n_kept = 0;
    for (int32_t i = 0; i < POPULATION; i++)
        if (fits(c, c->now[i].x, c->worst, &v))
            c->kept[c->n_kept++] = c->now[i];
    double share = (double)c->n_kept / POPULATION;
    fill(c);
    return share;
}

/* ---- what is in a set ----------------------------------------------------------------------- */

/* Cells and what follows from them, of one point. */
enum {
    OF_MODEL = T3_CELLS + T3_DERIVED,
    NUMBERS = T3_MODELS * OF_MODEL,
    SAMPLES = SWEEPS * POPULATION
};

/* What is drawn from a set: by population, weights and numbers. */
struct sample {
    double weight[T3_POPULATIONS * SAMPLES], value[NUMBERS][T3_POPULATIONS * SAMPLES];
};

/* What is seen at a point of what all models share: coordinates that the models' own unknowns may
 * have there, and the numbers of one choice of them. */
struct view {
    double low[T3_DIMENSIONS], high[T3_DIMENSIONS], number[NUMBERS];
    double weight; /* the volume that the models' own unknowns may have; 0: nothing is filled */
};

static void numbers_of(const struct chains *c, const double *x, double *out)
{
    double shared[T3_SHARED], cell[T3_MODELS][T3_CELLS];
    struct t3_times times[T3_MODELS];
    times_at(c->s->t, x, shared, times);
    cells_of(c->s->t, c->h, x, shared, times, cell);
    for (int32_t m = 0; m < T3_MODELS; m++) {
        double own[T3_OWN];
        own_at(c->s->t, m, x, own);
        memcpy(out, cell[m], sizeof cell[m]);
        t3_derive(c->h, shared, own, &times[m], cell[m], c->s->t->eagle_accepted, out + T3_CELLS);
        out += OF_MODEL;
    }
}

static void look(struct chains *c, const struct point *p, const struct solved *v, struct view *out)
{
    double x[T3_DIMENSIONS];
    memcpy(x, p->x, sizeof x);
    for (int32_t d = 0; d < T3_DIMENSIONS; d++) {
        out->low[d] = d < T3_SHARED ? x[d] : INFINITY;
        out->high[d] = d < T3_SHARED ? x[d] : -INFINITY;
    }
    out->weight = 1;
    for (int32_t m = 0; m < T3_MODELS && out->weight > 0; m++)
        out->weight *= t3_own_draw(&v->lines[m], &v->room[m], &c->draws, x, out->low, out->high);
    if (out->weight > 0)
        numbers_of(c, x, out->number);
}

static void widen(double *low, double *high, const struct view *v)
{
    for (int32_t d = 0; d < T3_DIMENSIONS; d++) {
        low[d] = fmin(low[d], v->low[d]);
        high[d] = fmax(high[d], v->high[d]);
    }
}

static void record(struct t3_population *out, const struct view *v)
{
    widen(out->low, out->high, v);
    for (int32_t k = 0; k < NUMBERS; k++) {
        struct t3_spread *s = &out->number[k / OF_MODEL][k % OF_MODEL];
        s->min = fmin(s->min, v->number[k]);
        s->max = fmax(s->max, v->number[k]);
    }
}

/* Sweeps over a population, which is within the tolerance, and draws from where it has been.
 * `share` is of what all models share; what fits of the whole prior is less by the mean weight. */
static void describe(struct chains *c, double share, int32_t population, struct sample *sample,
                     struct t3_population *out)
{
    double sum = 0;
    for (int32_t d = 0; d < T3_DIMENSIONS; d++) {
        out->low[d] = INFINITY;
        out->high[d] = -INFINITY;
    }
    for (int32_t k = 0; k < NUMBERS; k++)
        out->number[k / OF_MODEL][k % OF_MODEL] = (struct t3_spread){INFINITY, NAN, -INFINITY};
    for (int32_t i = 0; i < SAMPLES; i++) {
        struct point *p = &c->now[i % POPULATION];
        int32_t at = population * SAMPLES + i;
        struct solved v;
        struct view seen = {.weight = 0};
        move(c, p);
        if (fits(c, p->x, c->worst, &v))
            look(c, p, &v, &seen);
        sample->weight[at] = seen.weight * share;
        if (!(seen.weight > 0))
            continue;
        record(out, &seen);
        sum += seen.weight;
        for (int32_t k = 0; k < NUMBERS; k++)
            sample->value[k][at] = seen.number[k];
    }
    out->share = share * sum / SAMPLES;
}

/* Ends that are looked for: of each coordinate and number the lower and the upper. */
enum { ENDS = 2 * (T3_DIMENSIONS + NUMBERS) };

static double end_of(const struct view *v, int32_t end)
{
    int32_t i = end / 2;
    if (i >= T3_DIMENSIONS)
        return end % 2 ? v->number[i - T3_DIMENSIONS] : -v->number[i - T3_DIMENSIONS];
    return end % 2 ? v->high[i] : -v->low[i];
}

/* One climb to an end, from the best of every n-th point. */
static void climb(struct chains *c, int32_t end, int32_t first, int32_t n, int32_t tries,
                  const struct view *at, struct t3_population *out)
{
    int32_t best = -1;
    struct point p, to;
    struct solved v;
    struct view seen;
    for (int32_t i = first; i < POPULATION; i += n)
        if (at[i].weight > 0 && (best < 0 || end_of(&at[i], end) > end_of(&at[best], end)))
            best = i;
    if (best < 0)
        return;
    p = c->now[best];
    double most = end_of(&at[best], end);
    for (int32_t i = 0; i < tries; i++) {
        if (!propose(c, p.x, to.x) || !fits(c, to.x, c->worst, &v))
            continue;
        look(c, &to, &v, &seen);
        if (!(seen.weight > 0))
            continue;
        record(out, &seen);
        if (end_of(&seen, end) <= most)
            continue;
        most = end_of(&seen, end);
        p = to;
    }
}

/* A sample seldom meets a set's ends. Climbs to each from the points of the population that are
 * next to it, and records what it meets. The chains go on as if it had not been. */
static int climb_to_ends(struct chains *c, struct t3_population *out)
{
    enum { ROUNDS = 4, TRIES = 600, TRIES_NUMBER = 25 };
    struct view *at = malloc(POPULATION * sizeof *at);
    struct solved v;
    uint64_t draws = c->draws;
    if (!at)
        return ERR_NOMEM;
    for (int32_t i = 0; i < POPULATION; i++) {
        at[i].weight = 0;
        if (fits(c, c->now[i].x, c->worst, &v))
            look(c, &c->now[i], &v, &at[i]);
    }
    /* the ranges of unknowns are told of all cells alone */
    bool whole = true;
    for (int32_t k = 0; k < T3_MODELS * T3_CELLS; k++)
        whole = whole && c->aim->cell[k / T3_CELLS][k % T3_CELLS];
    for (int32_t end = whole ? 0 : 2 * T3_DIMENSIONS; end < ENDS; end++) {
        int32_t tries = end < 2 * T3_DIMENSIONS ? TRIES : TRIES_NUMBER;
        for (int32_t round = 0; round < ROUNDS; round++)
            climb(c, end, round, ROUNDS, tries, at, out);
    }
    c->draws = draws;
    free(at);
    return ERR_OK;
}

struct weighted {
    double value, weight;
};

static double median_of(const double *value, const double *weight, int32_t n, struct weighted *room)
{
    double total = 0, below = 0;
    int32_t k = 0, i = 0;
    for (int32_t j = 0; j < n; j++)
        if (weight[j] > 0) {
            room[k++] = (struct weighted){value[j], weight[j]};
            total += weight[j];
        }
    if (!k)
        return NAN;
    qsort(room, (size_t)k, sizeof *room, by_size); /* `value` is first */
    while (i < k - 1 && (below += room[i].weight) < total / 2)
        i++;
    return room[i].value;
}

/* The set that the populations have found, each by itself and together. */
static void merge(const struct sample *sample, struct weighted *room, struct t3_set *set)
{
    struct t3_spread all[NUMBERS];
    for (int32_t d = 0; d < T3_DIMENSIONS; d++) {
        set->low[d] = INFINITY;
        set->high[d] = -INFINITY;
    }
    for (int32_t k = 0; k < NUMBERS; k++)
        all[k] = (struct t3_spread){
            INFINITY, median_of(sample->value[k], sample->weight, T3_POPULATIONS * SAMPLES, room),
            -INFINITY};
    for (int32_t p = 0; p < T3_POPULATIONS; p++) {
        struct t3_population *of = &set->population[p];
        if (!(of->share > 0))
            continue;
        set->share += of->share / T3_POPULATIONS;
        set->reached++;
        for (int32_t d = 0; d < T3_DIMENSIONS; d++) {
            set->low[d] = fmin(set->low[d], of->low[d]);
            set->high[d] = fmax(set->high[d], of->high[d]);
        }
        for (int32_t k = 0; k < NUMBERS; k++) {
            struct t3_spread *v = &of->number[k / OF_MODEL][k % OF_MODEL];
            v->median = median_of(sample->value[k] + p * SAMPLES, sample->weight + p * SAMPLES,
                                  SAMPLES, room);
            all[k].min = fmin(all[k].min, v->min);
            all[k].max = fmax(all[k].max, v->max);
        }
    }
    for (int32_t k = 0; k < NUMBERS; k++)
        *(k % OF_MODEL < T3_CELLS ? &set->cell[k / OF_MODEL][k % OF_MODEL]
                                  : &set->derived[k / OF_MODEL][k % OF_MODEL - T3_CELLS]) = all[k];
}

/* ---- one aim -------------------------------------------------------------------------------- */

static void choose_coordinates(struct chains *c)
{
    for (int32_t d = 0; d < T3_DIMENSIONS; d++) {
        int32_t u = (d - T3_SHARED) % T3_OWN, m = (d - T3_SHARED) / T3_OWN;
        bool moved = d < T3_SHARED ? t3_uses_shared(c->h, (enum t3_shared)d)
                                   : u == T3_ACCEPTED && m != T3_Q15 && c->h.overflow == T3_MATCHES;
        if (moved)
            c->moved[c->n_moved++] = d;
    }
}

/* One population's way to the tolerances. A thorough one climbs to the ends of what it describes,
 * and where it ends above the loose tolerance describes that last level: a set within a larger
 * error, of which the share is a bound. */
static int reach(struct chains *c, int32_t population, bool thorough, struct sample *sample[],
                 struct t3_found *out)
{
    enum { PATIENCE = 5 };
    int32_t idle = 0, b = T3_LOOSE;
    double share = first_level(c, population);
    int rc = ERR_OK;
    for (int32_t i = 0; i < LEVELS && b >= T3_STRICT && !rc; i++) {
        double before = c->worst, tolerance = c->s->t->tolerance_pct[b] / 100.0;
        share *= next_level(c, tolerance);
        idle = c->worst > 0.98 * before ? idle + 1 : 0;
        bool stuck = idle >= PATIENCE || i == LEVELS - 1;
        if (c->worst <= tolerance || (stuck && thorough && b == T3_LOOSE)) {
            struct t3_population *of = &out->set[b].population[population];
            describe(c, share, population, sample[b], of);
            rc = thorough ? climb_to_ends(c, of) : ERR_OK;
        }
        if (c->worst <= tolerance) {
            b--;
            idle = 0;
        } else if (stuck) {
            break;
        }
    }
    if (b == T3_LOOSE)
        out->within = fmax(out->within, c->worst);
    for (int32_t i = 0; i < SAMPLE; i++)
        least_error_at(c, c->now[i].x);
    if (c->best < out->best) {
        out->best = c->best;
        memcpy(out->best_x, c->best_x, sizeof out->best_x);
    }
    return rc;
}

static int search_populations(const struct t3_search *s, struct t3_hypothesis h,
                              const struct t3_aim *aim, uint64_t seed, bool thorough,
                              struct t3_found *out)
{
    struct sample *block = calloc(T3_TOLERANCES, sizeof *block), *sample[] = {block, block + 1};
    struct point *point = malloc(3 * POPULATION * sizeof *point);
    struct weighted *room = malloc(T3_POPULATIONS * SAMPLES * sizeof *room);
    int rc = block && point && room ? ERR_OK : ERR_NOMEM;
    memset(out, 0, sizeof *out);
    out->best = INFINITY;
    for (int32_t p = 0; p < T3_POPULATIONS && !rc; p++) {
        struct chains c = {.s = s,
                           .h = h,
                           .aim = aim,
                           .draws = hash_step(hash_mix(seed), (uint64_t)p),
                           .now = point,
                           .kept = point + POPULATION,
                           .best = INFINITY};
        choose_coordinates(&c);
        rc = reach(&c, p, thorough, sample, out);
    }
    for (int32_t b = 0; b < T3_TOLERANCES && !rc; b++)
        merge(sample[b], room, &out->set[b]);
    free(block);
    free(point);
    free(room);
    return rc;
}

int t3_search_aim(const struct t3_search *s, struct t3_hypothesis h, const struct t3_aim *aim,
                  uint64_t seed, struct t3_found *out)
{
    return search_populations(s, h, aim, seed, false, out);
}

int t3_search_hypothesis(const struct t3_search *s, struct t3_hypothesis h, uint64_t seed,
                         struct t3_found found[T3_AIMS])
{
    int rc = ERR_OK;
    for (int32_t a = 0; a < T3_AIMS && !rc; a++) {
        struct t3_aim aim = t3_aim_at(a);
        rc = t3_search_aim(s, h, &aim, hash_step(hash_mix(seed), (uint64_t)a), &found[a]);
    }
    return rc;
}

static uint64_t seed_of(const struct t3_search *s, int32_t h)
{
    return hash_step(hash_mix(s->seed), (uint64_t)h);
}

/* ---- all ------------------------------------------------------------------------------------ */

static int draw_points(struct t3_search *s, struct arena *arena)
{
    struct quasi *q;
    s->x = arena_alloc(arena, T3_POINTS, sizeof *s->x);
    s->times = arena_alloc(arena, T3_POINTS, sizeof *s->times);
    if (!s->x || !s->times || quasi_create(T3_DIMENSIONS, s->seed, &q))
        return ERR_NOMEM;
    for (int32_t i = 0; i < T3_POINTS; i++) {
        double shared[T3_SHARED];
        quasi_next(q, s->x[i]);
        times_at(s->t, s->x[i], shared, s->times[i]);
    }
    quasi_destroy(q);
    return ERR_OK;
}

static struct t3_spread spread_of(double *value, int32_t n)
{
    qsort(value, (size_t)n, sizeof *value, by_size);
    return (struct t3_spread){value[0], (value[(n - 1) / 2] + value[n / 2]) / 2, value[n - 1]};
}

static int foretell_from_nothing(struct t3_search *s)
{
    double *value = malloc(T3_MODELS * T3_CELLS * T3_POINTS * sizeof *value);
    if (!value)
        return ERR_NOMEM;
    for (int32_t i = 0; i < T3_POINTS; i++) {
        double shared[T3_SHARED], cell[T3_MODELS][T3_CELLS];
        struct t3_times times[T3_MODELS];
        shared_at(s->t, s->x[i], shared);
        shared[T3_G1] = s->t->written_g1;
        shared[T3_RATIO] = s->t->written_ratio;
        shared[T3_BLOCKS] = s->t->written_blocks;
        times_of(s->t, shared, times);
        cells_of(s->t, s->t->as_written, s->x[i], shared, times, cell);
        for (int32_t k = 0; k < T3_MODELS * T3_CELLS; k++)
            value[k * T3_POINTS + i] = cell[k / T3_CELLS][k % T3_CELLS];
    }
    for (int32_t k = 0; k < T3_MODELS * T3_CELLS; k++)
        s->prior[k / T3_CELLS][k % T3_CELLS] = spread_of(value + k * T3_POINTS, T3_POINTS);
    free(value);
    return ERR_OK;
}

int t3_search_points(const struct table3 *t, uint64_t seed, struct arena *arena,
                     struct t3_search **out)
{
    struct t3_search *s = arena_alloc(arena, 1, sizeof *s);
    if (!s)
        return ERR_NOMEM;
    s->t = t;
    s->seed = seed;
    *out = s;
    return draw_points(s, arena);
}

/* The set of an aim that is spoken of, once more and to its ends: the largest, or, where no
 * population reached the loose tolerance, where those of the nearest hypothesis ended. */
static int search_thoroughly(struct t3_search *s, int32_t a)
{
    int32_t tolerance, h = t3_largest(s, a, &tolerance);
    struct t3_aim aim = t3_aim_at(a);
    bool bound = h < 0;
    h = bound ? t3_nearest(s, a) : h;
    int rc =
        search_populations(s, t3_hypothesis_at(h), &aim,
                           hash_step(hash_mix(seed_of(s, h)), (uint64_t)a), true, &s->found[h][a]);
    s->found[h][a].set[T3_LOOSE].bound = bound;
    return rc;
}

static int search_one(struct t3_search *s, int32_t h)
{
    return t3_search_hypothesis(s, t3_hypothesis_at(h), seed_of(s, h), s->found[h]);
}

/* Hypotheses are independent, and so are aims: two threads take every other one, and the bytes are
 * the same. */
enum { THREADS = 2 };

struct worker {
    struct t3_search *s;
    int (*search)(struct t3_search *s, int32_t i);
    int32_t first, n;
    int code;
};

static void *work(void *arg)
{
    struct worker *w = arg;
    for (int32_t i = w->first; i < w->n && !w->code; i += THREADS)
        w->code = w->search(w->s, i);
    return NULL;
}

static int search_each(struct t3_search *s, int32_t n, int (*search)(struct t3_search *, int32_t))
{
    struct worker w[THREADS];
    pthread_t thread[THREADS];
    bool started[THREADS] = {false};
    int rc = ERR_OK;
    for (int32_t i = 0; i < THREADS; i++) {
        w[i] = (struct worker){.s = s, .search = search, .first = i, .n = n};
        started[i] = i > 0 && !pthread_create(&thread[i], NULL, work, &w[i]);
        if (i > 0 && !started[i])
            work(&w[i]);
    }
    work(&w[0]);
    for (int32_t i = 0; i < THREADS; i++) {
        if (started[i])
            pthread_join(thread[i], NULL);
        rc = rc ? rc : w[i].code;
    }
    return rc;
}

int t3_search_run(const struct table3 *t, uint64_t seed, struct arena *arena,
                  struct t3_search **out)
{
    struct t3_search *s;
    int rc = t3_search_points(t, seed, arena, &s);
    if (!rc)
        rc = foretell_from_nothing(s);
    if (!rc)
        rc = search_each(s, T3_HYPOTHESES, search_one);
    if (!rc)
        rc = search_each(s, T3_AIMS, search_thoroughly);
    *out = s;
    return rc;
}

int32_t t3_largest_of(const struct t3_search *s, int32_t aim, int32_t population,
                      int32_t *tolerance)
{
    for (int32_t b = 0; b < T3_TOLERANCES; b++) {
        int32_t at = -1;
        double most = 0;
        for (int32_t h = 0; h < T3_HYPOTHESES; h++) {
            const struct t3_set *set = &s->found[h][aim].set[b];
            double share = population < 0 ? set->share : set->population[population].share;
            if (share > most) {
                most = share;
                at = h;
            }
        }
        *tolerance = b;
        if (at >= 0)
            return at;
    }
    return -1;
}

int32_t t3_largest(const struct t3_search *s, int32_t aim, int32_t *tolerance)
{
    return t3_largest_of(s, aim, -1, tolerance);
}

int32_t t3_nearest(const struct t3_search *s, int32_t aim)
{
    int32_t at = 0;
    for (int32_t h = 1; h < T3_HYPOTHESES; h++)
        if (s->found[h][aim].best < s->found[at][aim].best)
            at = h;
    return at;
}
