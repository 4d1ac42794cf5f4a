#include "experiments/table3_own.h"

#include <math.h>

#include "sim/base/hash.h"

/* ---- what must hold ------------------------------------------------------------------------- */

static void add(struct t3_own_lines *l, double o, double z, double y, double b, double e)
{
    l->line[l->n++] = (struct t3_line){o, z, y, b, e};
}

/* at0 + o * O + z * Z + y * Y is within the error of a cell. */
static void add_cell(struct t3_own_lines *l, int32_t cell, double at0, double o, double z, double y)
{
    double p = l->t->cell[l->model][cell];
    add(l, o, z, y, p - at0, p);
    add(l, -o, -z, -y, at0 - p, p);
}

static void ranges_of(struct t3_own_lines *l, struct t3_hypothesis h, const struct t3_aim *aim,
                      const double *x)
{
    for (int32_t u = 0; u < T3_OWN; u++) {
        int32_t d = T3_SHARED + l->model * T3_OWN + u;
        const struct t3_unknown *k = &l->t->own[u];
        double room = aim->beyond[d] ? 0.5 : 0;
        bool given = u == T3_ACCEPTED && h.overflow == T3_MATCHES;
        l->low[u] = t3_value(k, given ? x[d] : -room);
        l->high[u] = t3_value(k, given ? x[d] : 1 - 1e-9 + room);
    }
    l->low[T3_ACCEPTED] = fmax(l->low[T3_ACCEPTED], 1); /* beyond the range, too */
    if (l->model == T3_Q15) {
        l->low[T3_ACCEPTED] = l->high[T3_ACCEPTED] = l->t->accepted;
        l->low[T3_GAIN] = l->high[T3_GAIN] = l->t->gain;
    }
}

/* A cell with drafts: fixed * y + (passes * step + draft) * z, passes = 1 + o / z where free. */
static void add_drafted(struct t3_own_lines *l, struct t3_hypothesis h, const double *shared,
                        int32_t cell, double fixed, double step, double width)
{
    double own[T3_OWN] = {[T3_ACCEPTED] = l->low[T3_ACCEPTED], [T3_OVERFLOW] = 0};
    double least = t3_passes(h, shared, own, width);
    own[T3_OVERFLOW] = 1;
    double more = t3_passes(h, shared, own, width) - least;
    add_cell(l, cell, 0, more * step, least * step + shared[T3_DRAFT], fixed);
}

static double alone_ms(struct t3_hypothesis h, const struct t3_times *t)
{
    if (h.decode == T3_DECODE_G1)
        return t->step_g1;
    return h.decode == T3_DECODE_ONE ? t->step_one : t->step_g2;
}

/* NPU is between that without prefill and that at the shortest output; as if that were a token. */
bool t3_own_may_fit(const struct table3 *t, struct t3_hypothesis h, int32_t m,
                    const struct t3_times *times, double error)
{
    double alone = alone_ms(h, times), base = times->prefill + times->exposed[h.replaces];
    double p = t->cell[m][T3_NPU];
    return fmin(alone, base) <= p * (1 + error) && fmax(alone, base) >= p * (1 - error);
}

void t3_own_of(const struct table3 *t, struct t3_hypothesis h, const struct t3_aim *aim, int32_t m,
               const double *x, const double *shared, const struct t3_times *times,
               struct t3_own_lines *out)
{
    bool wide = h.decode == T3_DECODE_G1;
    double base = times->prefill + times->exposed[h.replaces];
    double g = times->prefill + (h.ideal ? 0 : times->progressive);
    double alone = alone_ms(h, times);
    double alone_g = wide ? times->step_g2 : alone;
    double calibration = h.calibration == T3_SERIAL ? shared[T3_CALIBRATE] * shared[T3_PROMPT] : 0;
    out->t = t;
    out->model = m;
    out->n = 0;
    out->ours = aim->cell[m][T3_OURS];
    out->fixed_ms = g + calibration;
    out->step_ms = times->step_g2 + shared[T3_DRAFT];
    ranges_of(out, h, aim, x);
    add(out, 0, 0, 1, 1 / out->low[T3_OUTPUT], 0);
    add(out, 0, 0, -1, -1 / out->high[T3_OUTPUT], 0);
    if (aim->cell[m][T3_NPU])
        add_cell(out, T3_NPU, alone, 0, 0, base - alone);
    if (aim->cell[m][T3_G])
        add_cell(out, T3_G, alone_g, 0, 0, g - alone_g);
    if (aim->cell[m][T3_SD])
        add_drafted(out, h, shared, T3_SD, base, wide ? times->step_g1 : times->step_g2,
                    wide ? times->g1 : times->g2);
    if (aim->cell[m][T3_G_SD])
        add_drafted(out, h, shared, T3_G_SD, g, times->step_g2, times->g2);
    if (out->ours) {
        double p = t->cell[m][T3_OURS];
        add(out, 0, out->step_ms / out->high[T3_GAIN], out->fixed_ms, p, p);
        add(out, 0, -out->step_ms / out->low[T3_GAIN], -out->fixed_ms, -p, p);
    }
    add(out, 0, 1, 1 / out->low[T3_ACCEPTED], 1 / out->low[T3_ACCEPTED], 0);
    add(out, 0, -1, -1 / out->high[T3_ACCEPTED], -1 / out->high[T3_ACCEPTED], 0);
    add(out, 1, -out->high[T3_OVERFLOW], 0, 0, 0);
    add(out, -1, out->low[T3_OVERFLOW], 0, 0, 0);
}

/* ---- elimination ---------------------------------------------------------------------------- */

/* y <= b / a, or >= for a negative a; false: none is left. */
static bool narrow(struct t3_own_room *r, double a, double b)
{
    if (a > 0) {
        if (b < r->y_high * a)
            r->y_high = b / a;
    } else if (a < 0) {
        if (b < r->y_low * a)
            r->y_low = b / a;
    } else if (b < 0) {
        return false;
    }
    return r->y_low <= r->y_high;
}

/* Lines of o, each divided by |o|, make one of z for each pair. */
static void without_o(struct t3_own_room *r)
{
    for (int32_t i = 0; i < r->n_o; i++)
        for (int32_t k = 0; k < r->n_o; k++) {
            const struct t3_line *up = &r->of_o[i], *down = &r->of_o[k];
            if (up->o > 0 && down->o < 0)
                r->of_z[r->n_z++] = (struct t3_line){
                    .z = up->z + down->z, .y = up->y + down->y, .b = up->b + down->b};
        }
}

static bool without_z(struct t3_own_room *r)
{
    for (int32_t i = 0; i < r->n_z; i++) {
        struct t3_line *k = &r->of_z[i];
        double size = fabs(k->z);
        if (size < 1e-12) {
            if (!narrow(r, k->y, k->b))
                return false;
            *k-- = r->of_z[--r->n_z];
            i--;
            continue;
        }
        *k = (struct t3_line){.z = k->z / size, .y = k->y / size, .b = k->b / size};
    }
    for (int32_t i = 0; i < r->n_z; i++)
        for (int32_t k = 0; k < r->n_z && r->of_z[i].z > 0; k++)
            if (r->of_z[k].z < 0 &&
                !narrow(r, r->of_z[i].y + r->of_z[k].y, r->of_z[i].b + r->of_z[k].b))
                return false;
    return true;
}

bool t3_own_fits(const struct t3_own_lines *l, double error, struct t3_own_room *r)
{
    r->error = error;
    r->y_low = 0;
    r->y_high = 1;
    r->n_o = r->n_z = 0;
    for (int32_t i = 0; i < l->n; i++) {
        const struct t3_line *k = &l->line[i];
        double b = k->b + k->e * error, size = fabs(k->o);
        if (size > 0)
            r->of_o[r->n_o++] = (struct t3_line){
                .o = k->o / size, .z = k->z / size, .y = k->y / size, .b = b / size};
        else if (fabs(k->z) > 0)
            r->of_z[r->n_z++] = (struct t3_line){.z = k->z, .y = k->y, .b = b};
        else if (!narrow(r, k->y, b))
            return false;
    }
    without_o(r);
    return without_z(r);
}

double t3_own_least(const struct t3_own_lines *l, double from, struct t3_own_room *room)
{
    enum { HALVINGS = 12 };
    double none = fmax(from, 1e-4), some = 2 * none;
    if (t3_own_fits(l, none, room))
        return none;
    while (!t3_own_fits(l, some, room)) {
        none = some;
        some *= 2;
        if (some > 1e6)
            return INFINITY;
    }
    for (int32_t i = 0; i < HALVINGS; i++) {
        double at = sqrt(none * some);
        if (t3_own_fits(l, at, room))
            some = at;
        else
            none = at;
    }
    t3_own_fits(l, some, room);
    return some;
}

/* ---- points --------------------------------------------------------------------------------- */

struct interval {
    double low, high;
};

static struct interval of_z(const struct t3_own_room *r, double y)
{
    struct interval v = {0, INFINITY};
    for (int32_t i = 0; i < r->n_z; i++) {
        const struct t3_line *k = &r->of_z[i];
        if (k->z > 0)
            v.high = fmin(v.high, k->b - k->y * y);
        else
            v.low = fmax(v.low, k->y * y - k->b);
    }
    return v;
}

static struct interval of_o(const struct t3_own_room *r, double y, double z)
{
    struct interval v = {-INFINITY, INFINITY};
    for (int32_t i = 0; i < r->n_o; i++) {
        const struct t3_line *k = &r->of_o[i];
        double at = k->b - k->y * y - k->z * z;
        if (k->o > 0)
            v.high = fmin(v.high, at);
        else
            v.low = fmax(v.low, -at);
    }
    return v;
}

static struct interval of_gain(const struct t3_own_lines *l, double error, double y, double z)
{
    struct interval v = {l->low[T3_GAIN], l->high[T3_GAIN]};
    double p = l->t->cell[l->model][T3_OURS], fixed = l->fixed_ms * y;
    if (!l->ours || !(v.low < v.high))
        return v;
    v.low = fmax(v.low, l->step_ms * z / (p * (1 + error) - fixed));
    if (p * (1 - error) > fixed)
        v.high = fmin(v.high, l->step_ms * z / (p * (1 - error) - fixed));
    return v;
}

static double coordinate(const struct t3_unknown *k, double value)
{
    if (value == k->low)
        return 0;
    return k->log ? log(value / k->low) / k->span : (value - k->low) / (k->high - k->low);
}

/* Coordinates of y, z, o and the gain. What is given, or published, stays. */
static void place(const struct t3_own_lines *l, double y, double z, double o, double gain,
                  double *x)
{
    const struct t3_unknown *k = l->t->own;
    double value[T3_OWN] = {
        [T3_OUTPUT] = 1 / y, [T3_ACCEPTED] = (1 - y) / z, [T3_GAIN] = gain, [T3_OVERFLOW] = o / z};
    for (int32_t u = 0; u < T3_OWN; u++)
        if (l->low[u] < l->high[u]) /* against rounding: */
            x[T3_SHARED + l->model * T3_OWN + u] =
                coordinate(&k[u], fmin(fmax(value[u], l->low[u]), l->high[u]));
}

static double middle_of(struct interval v)
{
    return (v.low + v.high) / 2;
}

void t3_own_middle(const struct t3_own_lines *l, const struct t3_own_room *room, double *x)
{
    double y = (room->y_low + room->y_high) / 2, z = middle_of(of_z(room, y));
    place(l, y, z, middle_of(of_o(room, y, z)), middle_of(of_gain(l, room->error, y, z)), x);
}

static double within(struct interval v, double u)
{
    return v.low + u * (v.high - v.low);
}

static double width_of(struct interval v)
{
    return v.high > v.low ? v.high - v.low : 0;
}

static double range_of(const struct t3_own_lines *l, int32_t u)
{
    return l->low[u] < l->high[u] ? l->high[u] - l->low[u] : 0;
}

/* The density of the prior at (y, z), times the lengths that o and the gain may have. */
static double density_at(const struct t3_own_lines *l, double y, double z, struct interval zs,
                         struct interval os, struct interval gains)
{
    double accepted = range_of(l, T3_ACCEPTED), gain = range_of(l, T3_GAIN);
    double v = width_of(os) / z / range_of(l, T3_OVERFLOW);
    if (accepted > 0)
        v *= width_of(zs) * (1 - y) / (z * z) / accepted;
    return gain > 0 ? v * width_of(gains) / gain : v;
}

static void widen(const double *x, const struct t3_own_lines *l, double *low, double *high)
{
    for (int32_t u = 0, d = T3_SHARED + l->model * T3_OWN; u < T3_OWN; u++, d++) {
        low[d] = fmin(low[d], x[d]);
        high[d] = fmax(high[d], x[d]);
    }
}

double t3_own_draw(const struct t3_own_lines *l, const struct t3_own_room *room, uint64_t *draws,
                   double *x, double *low, double *high)
{
    enum { STRATA = 12 };
    double sum = 0, kept[T3_DIMENSIONS], to[T3_DIMENSIONS];
    int32_t m = T3_SHARED + l->model * T3_OWN;
    for (int32_t i = 0; i < STRATA; i++) {
        double u[5];
        for (int32_t k = 0; k < 5; k++)
            u[k] = rng_unit(hash_mix((*draws)++));
        double y = room->y_low * pow(room->y_high / room->y_low, (i + u[0]) / STRATA);
        struct interval zs = of_z(room, y);
        double z = within(zs, fmod(u[1] + 5.0 * i / STRATA, 1));
        struct interval os = of_o(room, y, z), gains = of_gain(l, room->error, y, z);
        double v = density_at(l, y, z, zs, os, gains);
        if (!(v > 0))
            continue;
        for (int32_t k = 0; k < T3_OWN; k++)
            to[m + k] = x[m + k];
        place(l, y, z, within(os, u[2]), within(gains, u[3]), to);
        widen(to, l, low, high);
        sum += v;
        if (u[4] * sum < v)
            for (int32_t k = 0; k < T3_OWN; k++)
                kept[m + k] = to[m + k];
    }
    for (int32_t k = 0; k < T3_OWN && sum > 0; k++)
        x[m + k] = kept[m + k];
    return sum / STRATA * log(room->y_high / room->y_low) / l->t->own[T3_OUTPUT].span;
}
