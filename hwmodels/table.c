#include "hwmodels/table.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "sim/base/hash.h"

/* ---- estimators ----------------------------------------------------------------------------- */

double device_expected_minimum(const int64_t *sorted, int32_t n, int32_t draws)
{
    assert(n >= 1 && draws >= 1);
    if (draws >= n)
        return (double)sorted[0];
    /* P(the i-th is the minimum): p_1 = draws / n, p_(i+1) = p_i (n - i - draws + 1) / (n - i) */
    double p = (double)draws / n, sum = 0;
    for (int32_t i = 1; i <= n - draws + 1; i++) {
        sum += p * (double)(sorted[i - 1] - sorted[0]);
        p = p * (double)(n - i - draws + 1) / (double)(n - i);
    }
    return (double)sorted[0] + sum;
}

double device_estimate(const struct device_cell *c, const struct device_options *opt)
{
    switch (opt->estimator) {
    case DEVICE_MEDIAN:
        return (double)c->stats.median_ns;
    case DEVICE_EXPECTED_MINIMUM:
        return device_expected_minimum(c->sorted_ns, c->n, opt->estimator_n);
    default:
        return (double)c->stats.min_ns;
    }
}

static int kind_of(int32_t width, int32_t few)
{
    return width > few;
}

/* ---- cells to a full rectangle -------------------------------------------------------------- */

/* Times of the same shape at measured widths and buckets; index w * nb + b. */
struct raw {
    int32_t nw, nb;
    int32_t *width;
    int32_t bucket[DEVICE_MAX_BUCKETS];
    double *t, *full;
    bool *known;                                     /* t[] is */
    bool *guess;                                     /* full[] is no interpolation either */
    const struct device_cell **cell[DEVICE_CHANGES]; /* NULL: not measured */
};

static bool masked(int32_t v, const int32_t *list, int32_t n)
{
    for (int32_t i = 0; i < n; i++)
        if (list[i] == v)
            return true;
    return false;
}

static bool uses(const struct device_cell *c, const struct device_options *opt)
{
    return !masked(c->width, opt->mask_width, opt->n_mask_widths) &&
           !masked(c->bucket, opt->mask_bucket, opt->n_mask_buckets);
}

static int collect_axes(const struct device_table *t, const struct device_options *opt,
                        const char *what, struct raw *r, struct err *e)
{
    for (int32_t i = 0; i < t->n_cells; i++) {
        const struct device_cell *c = &t->cell[i];
        if (!uses(c, opt))
            continue;
        if (!r->nw || r->width[r->nw - 1] != c->width)
            r->width[r->nw++] = c->width;
        int32_t b = 0;
        while (b < r->nb && r->bucket[b] < c->bucket)
            b++;
        if (b < r->nb && r->bucket[b] == c->bucket)
            continue;
        if (r->nb == DEVICE_MAX_BUCKETS)
            return err_set(e, ERR_LIMIT, "%s: more than %d context buckets", what,
                           DEVICE_MAX_BUCKETS);
        memmove(&r->bucket[b + 1], &r->bucket[b], (size_t)(r->nb - b) * sizeof *r->bucket);
        r->bucket[b] = c->bucket;
        r->nb++;
    }
    if (!r->nw)
        return err_set(e, ERR_SCHEMA, "%s: no cell is left: mask fewer widths or buckets", what);
    return ERR_OK;
}

static int index_of(const int32_t *list, int32_t v)
{
    int i = 0;
    while (list[i] != v)
        i++;
    return i;
}

static int collect(const struct device_table *t, const struct device_options *opt, const char *what,
                   struct arena *arena, struct raw *r, struct err *e)
{
    memset(r, 0, sizeof *r);
    r->width = arena_alloc(arena, (size_t)t->n_cells, sizeof *r->width);
    int code = r->width ? collect_axes(t, opt, what, r, e) : err_set(e, ERR_NOMEM, "out of memory");
    if (code)
        return code;
    size_t n = (size_t)r->nw * (size_t)r->nb;
    r->t = arena_alloc(arena, n, sizeof *r->t);
    r->full = arena_alloc(arena, n, sizeof *r->full);
    r->known = arena_alloc(arena, n, sizeof *r->known);
    r->guess = arena_alloc(arena, n, sizeof *r->guess);
    if (!r->t || !r->full || !r->known || !r->guess)
        return err_set(e, ERR_NOMEM, "out of memory");
    for (int c = 0; c < DEVICE_CHANGES; c++) {
        r->cell[c] = arena_alloc(arena, n, sizeof *r->cell[c]);
        if (!r->cell[c])
            return err_set(e, ERR_NOMEM, "out of memory");
    }
    int32_t w = 0;
    for (int32_t i = 0; i < t->n_cells; i++) {
        const struct device_cell *c = &t->cell[i];
        if (!uses(c, opt))
            continue;
        while (r->width[w] != c->width)
            w++;
        r->cell[c->changed][w * r->nb + index_of(r->bucket, c->bucket)] = c;
    }
    return ERR_OK;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The median of what a change costs more, over the cells of one kind, or of both (-1), by their
 * medians: -1 where none was measured both ways. *out_n is how many were. Scratch: r->full. */
static double change_of(const struct raw *r, int32_t few, int kind, int change, int32_t *out_n)
{
    int32_t n = 0;
    for (int32_t i = 0; i < r->nw * r->nb; i++) {
        const struct device_cell *a = r->cell[DEVICE_SAME_SHAPE][i], *b = r->cell[change][i];
        if (a && b && (kind < 0 || kind_of(a->width, few) == kind))
            r->full[n++] = (double)(b->stats.median_ns - a->stats.median_ns);
    }
    *out_n = n;
    if (!n)
        return -1;
    qsort(r->full, (size_t)n, sizeof *r->full, by_value);
    double median = (r->full[(n - 1) / 2] + r->full[n / 2]) / 2;
    return median > 0 ? median : 0;
}

static void find_change(const struct device_table *t, const struct raw *r, int kind, int change,
                        struct table_grid *g)
{
    int other = DEVICE_OTHER_SHAPE + DEVICE_OTHER_KIND - change;
    const struct {
        int kind, change;
        enum table_change_from from;
    } next[] = {{kind, change, TABLE_CHANGE_MEASURED},
                {-1, change, TABLE_CHANGE_OTHER_ROWS},
                {kind, other, TABLE_CHANGE_OTHER_CHANGE},
                {-1, other, TABLE_CHANGE_OTHER_CHANGE}};
    for (size_t i = 0; i < sizeof next / sizeof *next; i++) {
        double ns =
            change_of(r, t->few, next[i].kind, next[i].change, &g->change_cells[kind][change]);
        g->change[kind][change] = ns;
        g->change_from[kind][change] = next[i].from;
        if (ns >= 0)
            return;
    }
    g->change[kind][change] = t->change_ns > 0 ? (double)t->change_ns : 0;
    g->change_from[kind][change] = t->change_ns >= 0 ? TABLE_CHANGE_STATED : TABLE_CHANGE_NONE;
}

static void find_changes(const struct device_table *t, const struct raw *r, struct table_grid *g)
{
    for (int kind = 0; kind < 2; kind++) {
        g->change[kind][DEVICE_SAME_SHAPE] = 0;
        for (int c = DEVICE_OTHER_SHAPE; c < DEVICE_CHANGES; c++)
            find_change(t, r, kind, c, g);
    }
}

/* Times of the same shape: measured, or what was measured after a change, less that. */
static void estimate(const struct raw *r, const struct device_options *opt,
                     const struct table_grid *g)
{
    for (int c = 0; c < DEVICE_CHANGES; c++)
        for (int32_t i = 0; i < r->nw * r->nb; i++) {
            const struct device_cell *cell = r->cell[c][i];
            if (!cell || r->known[i])
                continue;
            double ns = device_estimate(cell, opt) - g->change[kind_of(cell->width, g->few)][c];
            r->t[i] = ns > 0 ? ns : 0;
            r->known[i] = true;
        }
}

/* Time in bucket b over time in bucket `from`, at width index w; -1 when no width has both. *guess
 * when those that have both do not lie on either side of w. */
static double ratio_at(const struct raw *r, int32_t w, int32_t b, int32_t from, bool *guess)
{
    int32_t low = -1, high = -1;
    double at[2] = {0, 0};
    for (int32_t i = 0; i < r->nw; i++) {
        const bool *k = &r->known[i * r->nb];
        const double *t = &r->t[i * r->nb];
        if (!k[b] || !k[from] || t[from] <= 0)
            continue;
        if (i < w) {
            low = i;
            at[0] = t[b] / t[from];
        } else if (high < 0) {
            high = i;
            at[1] = t[b] / t[from];
        }
    }
    *guess = low < 0 || high < 0;
    if (*guess)
        return low >= 0 ? at[0] : high >= 0 ? at[1] : -1;
    double x = (double)(r->width[w] - r->width[low]) / (r->width[high] - r->width[low]);
    return at[0] + x * (at[1] - at[0]);
}

/* The time of a cell that was not measured. *guess when it is not between measured ones. */
static double fill(const struct raw *r, int32_t w, int32_t b, bool *guess)
{
    const bool *k = &r->known[w * r->nb];
    const double *t = &r->t[w * r->nb];
    int32_t low = b - 1, high = b + 1;
    while (low >= 0 && !k[low])
        low--;
    while (high < r->nb && !k[high])
        high++;
    if (low >= 0 && high < r->nb) {
        double x = (double)(r->bucket[b] - r->bucket[low]) / (r->bucket[high] - r->bucket[low]);
        return t[low] + x * (t[high] - t[low]);
    }
    int32_t from = low >= 0 ? low : high;
    for (int32_t i = from; i >= 0 && i < r->nb; i += low >= 0 ? -1 : 1) {
        double ratio = k[i] ? ratio_at(r, w, b, i, guess) : -1;
        if (ratio >= 0)
            return t[i] * ratio;
    }
    *guess = true;
    return t[from];
}

static void complete(struct raw *r)
{
    for (int32_t w = 0; w < r->nw; w++)
        for (int32_t b = 0; b < r->nb; b++) {
            int32_t i = w * r->nb + b;
            r->full[i] = r->known[i] ? r->t[i] : fill(r, w, b, &r->guess[i]);
        }
}

/* ---- degraded on purpose -------------------------------------------------------------------- */

/* The mean of m values, `stride` apart. */
static double mean_of(const double *t, int32_t m, int32_t stride)
{
    double sum = 0;
    for (int32_t i = 0; i < m; i++)
        sum += t[i * stride];
    return sum / m;
}

/* One random cycle through all widths (Sattolo): no width keeps its place. r->t is scratch. */
static void permute(struct raw *r, uint64_t seed)
{
    size_t row = (size_t)r->nb * sizeof(double);
    for (int32_t i = r->nw - 1; i > 0; i--) {
        int32_t j = (int32_t)(rng_u64(seed, RNG_TEST, 0, (uint64_t)i) % (uint64_t)i);
        double *a = &r->full[i * r->nb], *b = &r->full[j * r->nb];
        memcpy(r->t, a, row);
        memcpy(a, b, row);
        memcpy(b, r->t, row);
    }
}

static void degrade(struct raw *r, const struct device_options *opt, struct table_grid *g)
{
    int32_t n = r->nw * r->nb;
    double all = mean_of(r->full, n, 1);
    if (opt->degrade == DEVICE_PERMUTED_WIDTH)
        permute(r, opt->seed);
    for (int32_t w = 0; opt->degrade == DEVICE_NO_CONTEXT && w < r->nw; w++) {
        double mean = mean_of(&r->full[w * r->nb], r->nb, 1);
        for (int32_t b = 0; b < r->nb; b++)
            r->full[w * r->nb + b] = mean;
    }
    for (int32_t b = 0; opt->degrade == DEVICE_NO_WIDTH && b < r->nb; b++) {
        double mean = mean_of(&r->full[b], r->nw, r->nb);
        for (int32_t w = 0; w < r->nw; w++)
            r->full[w * r->nb + b] = mean;
    }
    for (int32_t i = 0; opt->degrade == DEVICE_CONSTANT_STEP && i < n; i++)
        r->full[i] = all;
    if (opt->degrade == DEVICE_CONSTANT_STEP)
        memset(g->change, 0, sizeof g->change);
    bool blind = opt->degrade == DEVICE_NO_WIDTH || opt->degrade == DEVICE_PERMUTED_WIDTH;
    for (int c = 0; c < DEVICE_CHANGES && blind; c++) /* a kind is a width's, too */
        g->change[0][c] = g->change[1][c] = (g->change[0][c] + g->change[1][c]) / 2;
    for (int32_t i = 0; opt->degrade != DEVICE_AS_MEASURED && i < n; i++)
        r->guess[i] = true; /* another cell's time, or a mean of several */
}

/* ---- every width ---------------------------------------------------------------------------- */

/* Widths in a least-squares fit. */
enum { MIX_LEAST = 5, MIX_MOST = 64 };

/* A width's time as a weighted sum of those at measured widths. */
struct mix {
    int32_t n;
    int32_t *at;
    double *weight;
};

static void mix_line(struct mix *m, const struct raw *r, int32_t w, int32_t low, int32_t high)
{
    double x = (double)(w - r->width[low]) / (r->width[high] - r->width[low]);
    m->n = 2;
    m->at[0] = low;
    m->at[1] = high;
    m->weight[0] = 1 - x;
    m->weight[1] = x;
}

/* Least squares of a + b floor(w / p) + c (w mod p) through the widths listed in m, read off at w:
 * with the axes centred there the value is a, and a's row of the inverse gives the weights. The
 * sums are whole numbers, so the determinant is exact. */
static bool mix_fit(struct mix *m, const struct raw *r, int32_t w, int32_t p)
{
    double n = 0, sq = 0, sr = 0, sqq = 0, sqr = 0, srr = 0;
    for (int32_t i = 0; i < m->n; i++) {
        double q = r->width[m->at[i]] / p - w / p, s = r->width[m->at[i]] % p - w % p;
        n += 1;
        sq += q;
        sr += s;
        sqq += q * q;
        sqr += q * s;
        srr += s * s;
    }
    double za = sqq * srr - sqr * sqr, zb = sqr * sr - sq * srr, zc = sq * sqr - sqq * sr;
    double det = n * za + sq * zb + sr * zc;
    if (det < 0.5)
        return false;
    for (int32_t i = 0; i < m->n; i++) {
        double q = r->width[m->at[i]] / p - w / p, s = r->width[m->at[i]] % p - w % p;
        m->weight[i] = (za + zb * q + zc * s) / det;
    }
    return true;
}

/* The measured widths nearest to w: at first five, then more until they determine the fit. `low` is
 * the last measured width below w. */
static bool mix_nearest(struct mix *m, const struct raw *r, int32_t w, int32_t low, int32_t p)
{
    int32_t below = low, above = low + 1;
    m->n = 0;
    while ((below >= 0 || above < r->nw) && m->n < MIX_MOST) {
        bool down = above >= r->nw || (below >= 0 && w - r->width[below] <= r->width[above] - w);
        m->at[m->n++] = down ? below-- : above++;
        if (m->n >= MIX_LEAST && mix_fit(m, r, w, p))
            return true;
    }
    return mix_fit(m, r, w, p);
}

/* Returns false when the mix is a guess. */
static bool mix_for(struct mix *m, const struct raw *r, int32_t w, int32_t p)
{
    int32_t low = 0;
    while (low + 1 < r->nw && r->width[low + 1] <= w)
        low++;
    if (r->width[low] == w) {
        m->n = 1;
        m->at[0] = low;
        m->weight[0] = 1;
        return true;
    }
    int32_t a = low, b = low + 1;
    while (a >= 0 && r->width[a] % p != w % p)
        a--;
    while (b < r->nw && r->width[b] % p != w % p)
        b++;
    if (a >= 0 && b < r->nw) {
        mix_line(m, r, w, a, b);
        return true;
    }
    if (mix_nearest(m, r, w, low, p))
        return true;
    mix_line(m, r, w, low, low + 1);
    return false;
}

/* Least-squares slope over the buckets, ns per bucket, not below 0. */
static double slope_of(const double *t, const int32_t *bucket, int32_t n)
{
    double x = 0, y = 0, xx = 0, xy = 0;
    for (int32_t i = 0; i < n; i++) {
        x += bucket[i];
        y += t[i];
    }
    x /= n;
    y /= n;
    for (int32_t i = 0; i < n; i++) {
        xx += (bucket[i] - x) * (bucket[i] - x);
        xy += (bucket[i] - x) * (t[i] - y);
    }
    return n > 1 && xy > 0 ? xy / xx : 0;
}

static int densify(const struct raw *r, int32_t period, struct arena *arena, struct table_grid *g,
                   struct err *e)
{
    size_t n = (size_t)(g->w_max - g->w_min + 1);
    struct mix m = {.at = arena_alloc(arena, (size_t)r->nw + 1, sizeof *m.at),
                    .weight = arena_alloc(arena, (size_t)r->nw + 1, sizeof *m.weight)};
    g->unsure = arena_alloc(arena, n * (size_t)r->nb, sizeof *g->unsure);
    g->ns = arena_alloc(arena, n * (size_t)r->nb, sizeof *g->ns);
    g->slope = arena_alloc(arena, n, sizeof *g->slope);
    if (!g->ns || !g->slope || !g->unsure || !m.at || !m.weight)
        return err_set(e, ERR_NOMEM, "out of memory");
    for (int32_t w = g->w_min; w <= g->w_max; w++) {
        bool guess = !mix_for(&m, r, w, period);
        for (int32_t b = 0; b < r->nb; b++) {
            bool *unsure = &g->unsure[(w - g->w_min) * r->nb + b];
            *unsure = guess;
            for (int32_t i = 0; i < m.n; i++)
                *unsure = *unsure || (m.weight[i] != 0 && r->guess[m.at[i] * r->nb + b]);
        }
        double *t = &g->ns[(w - g->w_min) * r->nb];
        for (int32_t b = 0; b < r->nb; b++) {
            for (int32_t i = 0; i < m.n; i++)
                t[b] += m.weight[i] * r->full[m.at[i] * r->nb + b];
            t[b] = t[b] > 0 ? t[b] : 0;
        }
        g->slope[w - g->w_min] = slope_of(t, r->bucket, r->nb);
    }
    return ERR_OK;
}

int table_grid_build(const struct device_table *t, const struct device_options *opt, bool is_step,
                     const char *what, struct arena *arena, struct table_grid *g, struct err *e)
{
    if (opt->estimator == DEVICE_EXPECTED_MINIMUM && opt->estimator_n < 1)
        return err_set(e, ERR_RANGE, "expected minimum of %d samples: expected 1 or more",
                       (int)opt->estimator_n);
    if (opt->n_mask_widths < 0 || opt->n_mask_widths > DEVICE_MAX_MASK || opt->n_mask_buckets < 0 ||
        opt->n_mask_buckets > DEVICE_MAX_MASK)
        return err_set(e, ERR_RANGE, "expected at most %d masked widths and buckets",
                       DEVICE_MAX_MASK);
    struct raw r;
    int code = collect(t, opt, what, arena, &r, e);
    if (code)
        return code;
    memset(g, 0, sizeof *g);
    g->pad = t->pad;
    g->few = t->few;
    find_changes(t, &r, g);
    estimate(&r, opt, g);
    complete(&r);
    if (is_step)
        degrade(&r, opt, g);
    g->w_min = r.width[0];
    g->w_max = r.width[r.nw - 1];
    g->n_buckets = r.nb;
    g->flat_width =
        is_step && (opt->degrade == DEVICE_CONSTANT_STEP || opt->degrade == DEVICE_NO_WIDTH);
    memcpy(g->bucket, r.bucket, sizeof g->bucket);
    return densify(&r, t->period, arena, g, e);
}

/* ---- answering ------------------------------------------------------------------------------ */

/* Of one width: t, slope and unsure are its own. */
static double at_bucket(const struct table_grid *g, const double *t, double slope,
                        const bool *unsure, int32_t bucket, bool *extrapolated)
{
    int32_t last = g->n_buckets - 1;
    if (bucket >= g->bucket[last]) {
        *extrapolated = *extrapolated || unsure[last] || bucket > g->bucket[last];
        return t[last] + slope * (bucket - g->bucket[last]);
    }
    if (bucket < g->bucket[0]) {
        *extrapolated = true;
        double down = t[0] - slope * (g->bucket[0] - bucket);
        double least = t[0] * bucket / g->bucket[0];
        return down > least ? down : least;
    }
    int32_t i = 0;
    while (g->bucket[i + 1] <= bucket)
        i++;
    *extrapolated = *extrapolated || unsure[i];
    if (g->bucket[i] == bucket)
        return t[i];
    *extrapolated = *extrapolated || unsure[i + 1];
    double x = (double)(bucket - g->bucket[i]) / (g->bucket[i + 1] - g->bucket[i]);
    return t[i] + x * (t[i + 1] - t[i]);
}

double table_grid_ns(const struct table_grid *g, int32_t width, int32_t bucket,
                     enum device_change changed, bool *extrapolated)
{
    assert(width >= 1 && bucket >= 1);
    int32_t w = width < g->w_min ? g->w_min : width > g->w_max ? g->w_max : width;
    int32_t row = (w - g->w_min) * g->n_buckets;
    double ns =
        at_bucket(g, &g->ns[row], g->slope[w - g->w_min], &g->unsure[row], bucket, extrapolated);
    *extrapolated = *extrapolated || w != width;
    ns = w == width || g->flat_width ? ns : ns * width / w;
    return ns + g->change[kind_of(width, g->few)][changed];
}
