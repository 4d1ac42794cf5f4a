#include "experiments/table3_search.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "analysis/quasi.h"
#include "sim/base/hash.h"

/* A population, the points of it that are kept at each level, moves of a point at each level, and
 * sweeps over the last population that its ranges and medians are taken from. */
enum { POPULATION = 2048, KEPT = POPULATION / 4, MOVES = 3, SWEEPS = 3, LEVELS = 60 };

/* ---- points --------------------------------------------------------------------------------- */

struct point {
    double x[T3_DIMENSIONS], error;
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

/* The same at a point; of one that is beyond `most` only that it is. What is quick to compute comes
 * first: the cells without progressive switching of all models. */
static double error_within(const struct table3 *t, struct t3_hypothesis h, const struct t3_aim *aim,
                           const double *x, double most)
{
    double shared[T3_SHARED], own[T3_MODELS][T3_OWN], cell[T3_CELLS], worst = 0;
    struct t3_times times[T3_MODELS];
    struct t3_aim quick = {.cell = {{false}}};
    shared_at(t, x, shared);
    for (int32_t m = 0; m < T3_MODELS && worst <= most; m++) {
        quick.cell[m][T3_NPU] = aim->cell[m][T3_NPU];
        quick.cell[m][T3_SD] = aim->cell[m][T3_SD];
        t3_times_before(&t->model[m], &t->model[T3_Q15], shared, &times[m]);
        own_at(t, m, x, own[m]);
        t3_cells(h, shared, own[m], &times[m], cell);
        worst = model_error(t, &quick, m, cell, worst);
    }
    for (int32_t m = 0; m < T3_MODELS && worst <= most; m++) {
        t3_times_progressive(&t->model[m], &t->model[T3_Q15], shared, &times[m]);
        t3_cells(h, shared, own[m], &times[m], cell);
        worst = model_error(t, aim, m, cell, worst);
    }
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

/* ---- chains --------------------------------------------------------------------------------- */

struct chains {
    const struct t3_search *s;
    struct t3_hypothesis h;
    const struct t3_aim *aim;
    uint64_t draws;           /* random numbers are a function of their count */
    double worst;             /* within which the chains move */
    struct point *now, *kept; /* [POPULATION] */
    int32_t n_kept;
    struct t3_found *out;
};

static double draw(struct chains *c)
{
    return rng_unit(hash_mix(c->draws++));
}

/* A point nearby: false when it leaves the ranges. */
static bool propose(struct chains *c, const double *from, double *to)
{
    static const double share[] = {0.1, 0.3, 1}, small[] = {0.003, 0.03, 0.3};
    bool differ = draw(c) < 0.7;
    double chance = differ ? share[(int32_t)(3 * draw(c))] : 0.08;
    double size = differ ? 2.38 / sqrt(2 * chance * T3_DIMENSIONS) : small[(int32_t)(3 * draw(c))];
    const double *a = c->kept[(int32_t)(draw(c) * c->n_kept)].x;
    const double *b = c->kept[(int32_t)(draw(c) * c->n_kept)].x;
    for (int32_t d = 0; d < T3_DIMENSIONS; d++) {
        double room = c->aim->beyond[d] ? 0.5 : 0;
        to[d] = from[d];
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
    if (!propose(c, p->x, to))
        return;
    double error = error_within(c->s->t, c->h, c->aim, to, c->worst);
    if (!(error <= c->worst))
        return;
    memcpy(p->x, to, sizeof p->x);
    p->error = error;
    if (error < c->out->best) {
        c->out->best = error;
        memcpy(c->out->best_x, to, sizeof c->out->best_x);
    }
}

static int by_error(const void *a, const void *b)
{
    const struct point *x = a, *y = b;
    return (x->error > y->error) - (x->error < y->error);
}

/* Keeps the best of the population, those within `tolerance` where they are more, and returns their
 * share; then fills the population from them. */
static double next_level(struct chains *c, double tolerance)
{
    qsort(c->now, POPULATION, sizeof *c->now, by_error);
    int32_t n = KEPT;
    c->worst = c->now[n - 1].error;
    if (c->worst <= tolerance) {
        c->worst = tolerance;
        while (n < POPULATION && c->now[n].error <= tolerance)
            n++;
    }
    memcpy(c->kept, c->now, (size_t)n * sizeof *c->kept);
    c->n_kept = n;
    for (int32_t i = 0; i < POPULATION; i++) {
        c->now[i] = c->kept[i % n];
        for (int32_t k = 0; k < MOVES; k++)
            move(c, &c->now[i]);
    }
    return (double)n / POPULATION;
}

/* ---- what is in a set ----------------------------------------------------------------------- */

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static struct t3_spread spread_of(double *value, int32_t n)
{
    qsort(value, (size_t)n, sizeof *value, by_size);
    return (struct t3_spread){value[0], (value[(n - 1) / 2] + value[n / 2]) / 2, value[n - 1]};
}

/* Cells and what follows from them, of one point; returns the numbers written. */
enum { NUMBERS = T3_MODELS * (T3_CELLS + T3_DERIVED) };

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
        out += T3_CELLS + T3_DERIVED;
    }
}

/* Sweeps over the population, which is within the tolerance, and describes where it has been. */
static int describe(struct chains *c, struct t3_set *set)
{
    enum { N = SWEEPS * POPULATION };
    double *value = malloc(NUMBERS * N * sizeof *value), number[NUMBERS];
    if (!value)
        return ERR_NOMEM;
    for (int32_t d = 0; d < T3_DIMENSIONS; d++) {
        set->low[d] = INFINITY;
        set->high[d] = -INFINITY;
    }
    for (int32_t i = 0; i < N; i++) {
        struct point *p = &c->now[i % POPULATION];
        move(c, p);
        for (int32_t d = 0; d < T3_DIMENSIONS; d++) {
            set->low[d] = fmin(set->low[d], p->x[d]);
            set->high[d] = fmax(set->high[d], p->x[d]);
        }
        numbers_of(c, p->x, number);
        for (int32_t k = 0; k < NUMBERS; k++)
            value[k * N + i] = number[k];
    }
    for (int32_t m = 0, k = 0; m < T3_MODELS; m++) {
        for (int32_t i = 0; i < T3_CELLS; i++, k++)
            set->cell[m][i] = spread_of(value + k * N, N);
        for (int32_t i = 0; i < T3_DERIVED; i++, k++)
            set->derived[m][i] = spread_of(value + k * N, N);
    }
    free(value);
    return ERR_OK;
}

/* ---- one aim -------------------------------------------------------------------------------- */

/* The POPULATION smallest of the points' errors, sorted, and others after them. A sample tells what
 * need not be sorted. */
static void sort_smallest(const double *error, double *sorted)
{
    enum { SAMPLE = 4096, LIKELY = 2 * SAMPLE / (T3_POINTS / POPULATION) };
    memcpy(sorted, error, SAMPLE * sizeof *sorted);
    qsort(sorted, SAMPLE, sizeof *sorted, by_size);
    double most = sorted[LIKELY];
    int32_t n = 0;
    for (int32_t i = 0; i < T3_POINTS; i++)
        if (error[i] <= most)
            sorted[n++] = error[i];
    if (n < POPULATION) {
        n = T3_POINTS;
        memcpy(sorted, error, T3_POINTS * sizeof *sorted);
    }
    qsort(sorted, (size_t)n, sizeof *sorted, by_size);
}

/* The best of the quasi-random points become the population; returns their share. */
static int first_population(struct chains *c, double *error, double *share)
{
    const struct t3_search *s = c->s;
    double *sorted = malloc(T3_POINTS * sizeof *sorted);
    if (!sorted)
        return ERR_NOMEM;
    sort_smallest(error, sorted);
    c->worst = sorted[POPULATION - 1];
    c->out->best = sorted[0];
    free(sorted);
    int32_t n = 0;
    for (int32_t i = 0; i < T3_POINTS && n < POPULATION; i++)
        if (error[i] <= c->worst) {
            memcpy(c->now[n].x, s->x[i], sizeof c->now[n].x);
            c->now[n].error = error[i];
            if (error[i] <= c->out->best)
                memcpy(c->out->best_x, s->x[i], sizeof c->out->best_x);
            n++;
        }
    *share = (double)POPULATION / T3_POINTS;
    return ERR_OK;
}

/* `error` has the worst error at each of the quasi-random points. */
static int reach(const struct t3_search *s, struct t3_hypothesis h, const struct t3_aim *aim,
                 uint64_t seed, double *error, struct t3_found *out)
{
    enum { PATIENCE = 5 };
    struct chains c = {.s = s, .h = h, .aim = aim, .draws = hash_mix(seed), .out = out};
    double share;
    int32_t idle = 0, b = T3_LOOSE;
    memset(out, 0, sizeof *out);
    c.now = malloc(POPULATION * sizeof *c.now);
    c.kept = malloc(POPULATION * sizeof *c.kept);
    int rc = c.now && c.kept ? first_population(&c, error, &share) : ERR_NOMEM;
    for (int32_t i = 0; i < LEVELS && b >= T3_STRICT && idle < PATIENCE && !rc; i++) {
        double before = c.worst, tolerance = s->t->tolerance_pct[b] / 100.0;
        share *= next_level(&c, tolerance);
        idle = c.worst > 0.98 * before ? idle + 1 : 0;
        if (c.worst > tolerance)
            continue;
        out->set[b].share = share;
        rc = describe(&c, &out->set[b]);
        b--;
        idle = 0;
    }
    out->reached = share;
    free(c.now);
    free(c.kept);
    return rc;
}

/* The set around the best point, within the loose tolerance or its own error where that is more,
 * where chains from outside did not find it: `share`, that of the last level they reached, is an
 * upper bound. */
static int around(const struct t3_search *s, struct t3_hypothesis h, const struct t3_aim *aim,
                  uint64_t seed, double share, struct t3_found *f)
{
    enum { ROUNDS = 40 };
    struct chains c = {.s = s, .h = h, .aim = aim, .draws = hash_mix(~seed), .out = f};
    c.worst = fmax(s->t->tolerance_pct[T3_LOOSE] / 100.0, f->best);
    c.n_kept = POPULATION;
    c.now = malloc(POPULATION * sizeof *c.now);
    c.kept = malloc(POPULATION * sizeof *c.kept);
    int rc = c.now && c.kept ? ERR_OK : ERR_NOMEM;
    for (int32_t i = 0; i < POPULATION && !rc; i++) {
        memcpy(c.now[i].x, f->best_x, sizeof c.now[i].x);
        c.now[i].error = f->best;
    }
    for (int32_t round = 0; round < ROUNDS && !rc; round++) {
        memcpy(c.kept, c.now, POPULATION * sizeof *c.kept);
        for (int32_t i = 0; i < POPULATION; i++)
            for (int32_t k = 0; k < MOVES; k++)
                move(&c, &c.now[i]);
    }
    f->set[T3_LOOSE].share = share;
    f->set[T3_LOOSE].bound = true;
    if (!rc)
        rc = describe(&c, &f->set[T3_LOOSE]);
    free(c.now);
    free(c.kept);
    return rc;
}

/* Errors of the quasi-random points: error[a][i] of aim a at point i. */
static void errors_at_points(const struct t3_search *s, struct t3_hypothesis h,
                             const struct t3_aim *aim, int32_t n_aims, double *const *error)
{
    for (int32_t i = 0; i < T3_POINTS; i++) {
        double shared[T3_SHARED], cell[T3_MODELS][T3_CELLS];
        shared_at(s->t, s->x[i], shared);
        cells_of(s->t, h, s->x[i], shared, s->times[i], cell);
        for (int32_t a = 0; a < n_aims; a++)
            error[a][i] = t3_error(s->t, &aim[a], cell);
    }
}

int t3_search_aim(const struct t3_search *s, struct t3_hypothesis h, const struct t3_aim *aim,
                  uint64_t seed, struct t3_found *out)
{
    double *error = malloc(T3_POINTS * sizeof *error);
    if (!error)
        return ERR_NOMEM;
    errors_at_points(s, h, aim, 1, &error);
    int rc = reach(s, h, aim, seed, error, out);
    free(error);
    return rc;
}

int t3_search_hypothesis(const struct t3_search *s, struct t3_hypothesis h, uint64_t seed,
                         struct t3_found found[T3_AIMS])
{
    struct t3_aim aim[T3_AIMS];
    double *error[T3_AIMS], *block = malloc(T3_AIMS * T3_POINTS * sizeof *block);
    int rc = block ? ERR_OK : ERR_NOMEM;
    for (int32_t a = 0; a < T3_AIMS && !rc; a++) {
        aim[a] = t3_aim_at(a);
        error[a] = block + a * T3_POINTS;
    }
    if (!rc)
        errors_at_points(s, h, aim, T3_AIMS, error);
    for (int32_t a = 0; a < T3_AIMS && !rc; a++)
        rc = reach(s, h, &aim[a], hash_step(hash_mix(seed), (uint64_t)a), error[a], &found[a]);
    if (!rc)
        found[T3_AIM_ALL].best =
            fmin(found[T3_AIM_ALL].best, t3_polish(s->t, h, aim, seed, found[T3_AIM_ALL].best_x));
    free(block);
    return rc;
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

/* Hypotheses are independent: two threads take every other one, and the bytes are the same. */
enum { THREADS = 2 };

struct worker {
    struct t3_search *s;
    int32_t first;
    int code;
};

static void *work(void *arg)
{
    struct worker *w = arg;
    for (int32_t h = w->first; h < T3_HYPOTHESES && !w->code; h += THREADS)
        w->code =
            t3_search_hypothesis(w->s, t3_hypothesis_at(h),
                                 hash_step(hash_mix(w->s->seed), (uint64_t)h), w->s->found[h]);
    return NULL;
}

static int search_all(struct t3_search *s)
{
    struct worker w[THREADS];
    pthread_t thread[THREADS];
    bool started[THREADS] = {false};
    int rc = ERR_OK;
    for (int32_t i = 0; i < THREADS; i++) {
        w[i] = (struct worker){.s = s, .first = i};
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

/* An aim that no chain reached within the loose tolerance: the set around the best point of all
 * hypotheses, polished. */
static int search_nearest(struct t3_search *s, int32_t a)
{
    struct t3_aim aim = t3_aim_at(a);
    for (int32_t h = 0; h < T3_HYPOTHESES; h++) {
        struct t3_found *f = &s->found[h][a];
        f->best = fmin(f->best, t3_polish(s->t, t3_hypothesis_at(h), &aim, s->seed, f->best_x));
    }
    int32_t near = t3_nearest(s, a);
    struct t3_found *f = &s->found[near][a];
    return around(s, t3_hypothesis_at(near), &aim, s->seed, f->reached, f);
}

int t3_search_run(const struct table3 *t, uint64_t seed, struct arena *arena,
                  struct t3_search **out)
{
    struct t3_search *s;
    int32_t tolerance;
    int rc = t3_search_points(t, seed, arena, &s);
    if (!rc)
        rc = foretell_from_nothing(s);
    if (!rc)
        rc = search_all(s);
    for (int32_t a = 0; a < T3_AIMS && !rc; a++)
        if (t3_largest(s, a, &tolerance) < 0)
            rc = search_nearest(s, a);
    *out = s;
    return rc;
}

int32_t t3_largest(const struct t3_search *s, int32_t aim, int32_t *tolerance)
{
    for (int32_t b = 0; b < T3_TOLERANCES; b++) {
        int32_t at = -1;
        double most = 0;
        for (int32_t h = 0; h < T3_HYPOTHESES; h++)
            if (s->found[h][aim].set[b].share > most) {
                most = s->found[h][aim].set[b].share;
                at = h;
            }
        *tolerance = b;
        if (at >= 0)
            return at;
    }
    return -1;
}

int32_t t3_nearest(const struct t3_search *s, int32_t aim)
{
    int32_t at = 0;
    for (int32_t h = 1; h < T3_HYPOTHESES; h++)
        if (s->found[h][aim].best < s->found[at][aim].best)
            at = h;
    return at;
}
