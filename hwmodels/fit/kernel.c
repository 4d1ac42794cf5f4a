#include "hwmodels/fit/kernel.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { MAX_COLUMNS = 9, ROUNDS = 8, ROUNDS_AGAIN = 4 };

/* What sources differ by on one quantity, in the median (experiments/published/points.yaml). */
static const double near = 0.1;

static const double orders[] = {1.5, 2, 3, 4, 6};

/* ---- forms ---------------------------------------------------------------------------------- */

/* Of a number, how many there are. */
static int32_t classes(const struct fit_problem *p, const struct fit_form *f, int number)
{
    if (!(f->numbers >> number & 1))
        return 0;
    return f->kernels == FIT_SPLIT                                ? 2
           : f->kernels == FIT_BY_ROWS && 1 << number == FIT_PEAK ? p->n_rows
                                                                  : 1;
}

int32_t fit_parameters(const struct fit_problem *p, const struct fit_form *f)
{
    int32_t n = f->order;
    for (int i = 0; i < FIT_NUMBERS; i++)
        n += classes(p, f, i);
    return n;
}

static bool makes_sense(const struct fit_form *f)
{
    bool peak = f->numbers & FIT_PEAK, bandwidth = f->numbers & FIT_BANDWIDTH;
    bool joined = f->join == FIT_SUM || (f->join == FIT_OVERLAP && peak && bandwidth) ||
                  (f->join == FIT_FLOOR && f->numbers & FIT_LAUNCH && (peak || bandwidth));
    return f->numbers && joined && (f->kernels != FIT_BY_ROWS || peak) &&
           (!f->order || ((peak || bandwidth) && f->join != FIT_FLOOR));
}

static bool is_allowed(const struct fit_problem *p, const struct fit_form *f)
{
    bool thin = false, wide = false, several = false;
    for (int32_t i = 0; i < p->n; i++) {
        several |= p->point[i].n > 1;
        for (int32_t k = 0; k < p->point[i].n; k++) {
            thin |= p->point[i].work[k].thin;
            wide |= !p->point[i].work[k].thin;
        }
    }
    return makes_sense(f) && (!f->order || (thin && wide)) &&
           (!(f->numbers & FIT_START) || several) && (f->kernels != FIT_SPLIT || p->kernel_from) &&
           (f->kernels != FIT_BY_ROWS || p->n_rows);
}

int32_t fit_forms(const struct fit_problem *p, int32_t most, struct fit_form *out)
{
    int32_t n = 0;
    for (int32_t parameters = 1; parameters <= most && parameters <= MAX_COLUMNS; parameters++)
        for (int32_t mask = 1; mask < 1 << FIT_NUMBERS; mask++)
            for (int32_t kind = 0; kind < 18; kind++) {
                struct fit_form f = {(uint8_t)mask, kind % 2, (uint8_t)(kind / 2 % 3),
                                     (uint8_t)(kind / 6)};
                if (!is_allowed(p, &f) || fit_parameters(p, &f) != parameters)
                    continue;
                assert(n < FIT_MAX_FORMS);
                out[n++] = f;
            }
    return n;
}

const char *fit_form_name(const struct fit_form *f, char *buf, size_t size)
{
    static const char *const name[FIT_NUMBERS] = {"launch", "peak", "bandwidth", "copy", "start"};
    const char *const by_rows = f->kernels == FIT_BY_ROWS ? " by rows" : "";
    size_t at = 0;
    for (int i = 0; i < FIT_NUMBERS; i++) {
        bool bar = (f->join == FIT_OVERLAP && i == 2) || (f->join == FIT_FLOOR && i < 3);
        if (f->numbers & 1 << i && at < size)
            at += (size_t)snprintf(buf + at, size - at, "%s%s%s",
                                   !at   ? ""
                                   : bar ? "|"
                                         : "+",
                                   name[i], i == 1 ? by_rows : "");
    }
    if (at < size)
        snprintf(buf + at, size - at, "%s%s", f->order ? "*order" : "",
                 f->kernels == FIT_SPLIT ? "/2 kernels" : "");
    return buf;
}

/* ---- work ----------------------------------------------------------------------------------- */

int32_t fit_work_of(const struct op *op, int32_t n, int32_t tile, struct fit_work *out)
{
    const struct roof_kernel k = {.tile = tile};
    int32_t found = 0;
    for (int32_t i = 0; i < n; i++) {
        int32_t same = 0;
        while (same < i &&
               (op[same].kind != op[i].kind || op[same].m != op[i].m || op[same].n != op[i].n ||
                op[same].k != op[i].k || op_bytes(&op[same]) != op_bytes(&op[i])))
            same++;
        if (same < i)
            continue;
        struct roof_work w;
        double count = 1;
        for (int32_t j = i + 1; j < n; j++)
            count += op[j].kind == op[i].kind && op[j].m == op[i].m && op[j].n == op[i].n &&
                     op[j].k == op[i].k && op_bytes(&op[j]) == op_bytes(&op[i]);
        roof_work_of(&k, &op[i], &w);
        out[found++] = (struct fit_work){.amount = {w.launches * count, w.flops * count,
                                                    w.bytes * count, w.copy_bytes * count, !i},
                                         .thin = w.thin,
                                         .rows = op[i].m};
    }
    return found;
}

void fit_find_rows(struct fit_problem *p)
{
    p->n_rows = 0;
    for (int32_t i = 0; i < p->n; i++)
        for (int32_t k = 0; k < p->point[i].n; k++) {
            int64_t rows = p->point[i].work[k].rows;
            int32_t at = 0;
            while (at < p->n_rows && p->rows[at] < rows)
                at++;
            if (at < p->n_rows && p->rows[at] == rows)
                continue;
            if (p->n_rows == FIT_CLASSES) {
                p->n_rows = 0;
                return;
            }
            memmove(p->rows + at + 1, p->rows + at, (size_t)(p->n_rows - at) * sizeof *p->rows);
            p->rows[at] = rows;
            p->n_rows++;
        }
    if (p->n_rows < 2)
        p->n_rows = 0;
}

static int32_t class_of(const struct fit_problem *p, const struct fit_form *f, int number,
                        const struct fit_work *w)
{
    int32_t c = 0;
    if (f->kernels == FIT_SPLIT)
        return w->rows >= p->kernel_from;
    if (f->kernels == FIT_BY_ROWS && 1 << number == FIT_PEAK)
        while (c < p->n_rows - 1 && p->rows[c] < w->rows)
            c++;
    return c;
}

/* Of each number what it adds, were nothing hidden by anything else. */
static void parts_of(const struct fit_problem *p, const struct fit_kernel *k,
                     const struct fit_work *w, double *part)
{
    double order = w->thin ? k->order : 1;
    for (int i = 0; i < FIT_NUMBERS; i++)
        part[i] =
            k->cost[class_of(p, &k->form, i, w)][i] * w->amount[i] * (i == 1 || i == 2 ? order : 1);
}

static double work_ns(const struct fit_problem *p, const struct fit_kernel *k,
                      const struct fit_work *w)
{
    double part[FIT_NUMBERS];
    parts_of(p, k, w, part);
    double larger = part[1] > part[2] ? part[1] : part[2];
    if (k->form.join == FIT_FLOOR)
        return (part[0] > larger ? part[0] : larger) + part[3] + part[4];
    return part[0] + (k->form.join == FIT_OVERLAP ? larger : part[1] + part[2]) + part[3] + part[4];
}

double fit_time(const struct fit_problem *p, const struct fit_kernel *k,
                const struct fit_point *point)
{
    double ns = 0;
    for (int32_t i = 0; i < point->n; i++)
        ns += work_ns(p, k, &point->work[i]);
    return ns;
}

/* ---- least squares -------------------------------------------------------------------------- */

struct squares {
    int32_t n;                             /* columns */
    double gram[MAX_COLUMNS][MAX_COLUMNS]; /* columns scaled to length 1 */
    double right[MAX_COLUMNS], length[MAX_COLUMNS];
};

/* Solves for the columns in `mask` by Cholesky; false when they are not independent. */
static bool solve(const struct squares *s, uint32_t mask, double *x)
{
    int32_t col[MAX_COLUMNS], n = 0;
    double low[MAX_COLUMNS][MAX_COLUMNS], y[MAX_COLUMNS];
    for (int32_t i = 0; i < s->n; i++) {
        x[i] = 0;
        if (mask >> i & 1)
            col[n++] = i;
    }
    for (int32_t i = 0; i < n; i++)
        for (int32_t j = 0; j <= i; j++) {
            double v = s->gram[col[i]][col[j]];
            for (int32_t k = 0; k < j; k++)
                v -= low[i][k] * low[j][k];
            if (i == j && v < 1e-9)
                return false;
            low[i][j] = i == j ? sqrt(v) : v / low[j][j];
        }
    for (int32_t i = 0; i < n; i++) {
        y[i] = s->right[col[i]];
        for (int32_t k = 0; k < i; k++)
            y[i] -= low[i][k] * y[k];
        y[i] /= low[i][i];
    }
    for (int32_t i = n - 1; i >= 0; i--) {
        double v = y[i];
        for (int32_t k = i + 1; k < n; k++)
            v -= low[k][i] * x[col[k]];
        x[col[i]] = v / low[i][i];
    }
    return true;
}

/* What of the sum of squares a solution takes away. */
static double gain(const struct squares *s, const double *x)
{
    double g = 0;
    for (int32_t i = 0; i < s->n; i++) {
        g += 2 * x[i] * s->right[i];
        for (int32_t j = 0; j < s->n; j++)
            g -= x[i] * x[j] * s->gram[i][j];
    }
    return g;
}

static bool no_negative(const struct squares *s, const double *x)
{
    for (int32_t i = 0; i < s->n; i++)
        if (x[i] < 0)
            return false;
    return true;
}

static bool least_squares(const struct squares *s, double *best)
{
    uint32_t all = (1u << s->n) - 1;
    double x[MAX_COLUMNS], most = 0;
    bool found = false;
    if (solve(s, all, best) && no_negative(s, best))
        return true;
    for (uint32_t mask = 1; mask < all; mask++) {
        if (!solve(s, mask, x) || !no_negative(s, x) || (found && gain(s, x) <= most))
            continue;
        found = true;
        most = gain(s, x);
        memcpy(best, x, sizeof x);
    }
    return found;
}

/* The first column of each number. */
static void columns(const struct fit_problem *p, const struct fit_form *f, int32_t *first)
{
    int32_t n = 0;
    for (int i = 0; i < FIT_NUMBERS; i++) {
        first[i] = n;
        n += classes(p, f, i);
    }
}

/* Of the parts that hide one another all but the largest are nothing. */
static void hide(const struct fit_problem *p, const struct fit_kernel *now,
                 const struct fit_work *w, double *amount)
{
    double part[FIT_NUMBERS];
    int from = now->form.join == FIT_FLOOR ? 0 : 1, largest = 2;
    parts_of(p, now, w, part);
    for (int i = 1; i >= from; i--)
        if (part[i] >= part[largest] * (1 - 1e-9)) /* whatever rounding says of equals */
            largest = i;
    for (int i = from; i < 3; i++)
        if (i != largest)
            amount[i] = 0;
}

/* One point's row: its work per column. */
static void add_row(const struct fit_problem *p, const struct fit_kernel *now, const int32_t *first,
                    bool binds, const struct fit_point *point, double *row)
{
    for (int32_t i = 0; i < point->n; i++) {
        const struct fit_work *w = &point->work[i];
        double order = w->thin ? now->order : 1, per_ns = 1 / point->ns;
        double amount[FIT_NUMBERS] = {w->amount[0], order * w->amount[1], order * w->amount[2],
                                      w->amount[3], w->amount[4]};
        if (binds && now->form.join != FIT_SUM)
            hide(p, now, w, amount);
        for (int number = 0; number < FIT_NUMBERS; number++)
            if (now->form.numbers >> number & 1)
                row[first[number] + class_of(p, &now->form, number, w)] += amount[number] * per_ns;
    }
}

/* The costs that minimise the sum of weight * (fitted / measured - 1)^2. */
static bool fit_once(const struct fit_problem *p, int32_t without, bool binds, const double *weight,
                     struct fit_kernel *now)
{
    struct squares s = {.n = fit_parameters(p, &now->form) - now->form.order};
    double row[FIT_MAX_POINTS][MAX_COLUMNS], x[MAX_COLUMNS];
    int32_t first[FIT_NUMBERS];
    columns(p, &now->form, first);
    memset(row, 0, (size_t)p->n * sizeof *row);
    for (int32_t i = 0; i < p->n; i++) {
        if (i != without)
            add_row(p, now, first, binds, &p->point[i], row[i]);
        for (int32_t c = 0; c < s.n; c++)
            s.length[c] += weight[i] * row[i][c] * row[i][c];
    }
    for (int32_t c = 0; c < s.n; c++)
        s.length[c] = sqrt(s.length[c]);
    for (int32_t i = 0; i < p->n; i++) {
        for (int32_t c = 0; c < s.n; c++)
            row[i][c] *= s.length[c] > 0 ? 1 / s.length[c] : 0;
        for (int32_t c = 0; c < s.n; c++) {
            double a = weight[i] * row[i][c];
            s.right[c] += a;
            for (int32_t b = 0; b <= c; b++)
                s.gram[c][b] += a * row[i][b];
        }
    }
    for (int32_t c = 0; c < s.n; c++)
        for (int32_t b = c + 1; b < s.n; b++)
            s.gram[c][b] = s.gram[b][c];
    if (!least_squares(&s, x))
        return false;
    for (int number = 0; number < FIT_NUMBERS; number++)
        for (int32_t c = 0; c < classes(p, &now->form, number); c++) {
            int32_t at = first[number] + c;
            now->cost[c][number] = s.length[at] > 0 ? x[at] / s.length[at] : 0;
        }
    return true;
}

/* |ln(fitted / measured)|; 10 where nothing determines what a point needs. */
static double far(const struct fit_problem *p, const struct fit_kernel *k,
                  const struct fit_point *point)
{
    double ns = fit_time(p, k, point);
    return ns > 0 ? fabs(log(ns / point->ns)) : 10;
}

/* As squares up to `near`, as it is beyond (Huber). */
static double loss(double off)
{
    return off < near ? off * off / (2 * near) : off - near / 2;
}

static double distance(const struct fit_problem *p, const struct fit_kernel *k, int32_t without)
{
    double sum = 0;
    for (int32_t i = 0; i < p->n; i++)
        sum += i == without ? 0 : loss(far(p, k, &p->point[i]));
    return sum;
}

/* Rounds from k's costs on; k becomes the best that was met, itself included. */
static void refine(const struct fit_problem *p, int32_t without, int rounds, struct fit_kernel *k)
{
    struct fit_kernel now = *k;
    double weight[FIT_MAX_POINTS], least = distance(p, k, without);
    for (int r = 0; r < rounds; r++) {
        struct fit_kernel next = now;
        for (int32_t i = 0; i < p->n; i++) {
            double u = fit_time(p, &now, &p->point[i]) / p->point[i].ns, off = fabs(u - 1);
            weight[i] = u > 0 ? 1 / (u * (off > near ? off : near)) : 1;
        }
        if (!fit_once(p, without, true, weight, &next) ||
            !memcmp(&next.cost, &now.cost, sizeof now.cost))
            return;
        now = next;
        double d = distance(p, &now, without);
        if (d < least) {
            least = d;
            *k = now;
        }
    }
}

/* From where these costs bind on; keeps the better of the two in `best`. */
static void from_start(const struct fit_problem *p, int32_t without, struct fit_kernel k,
                       struct fit_kernel *best)
{
    double equal[FIT_MAX_POINTS];
    for (int32_t i = 0; i < p->n; i++)
        equal[i] = 1;
    if (!fit_once(p, without, true, equal, &k))
        return;
    refine(p, without, ROUNDS, &k);
    if (distance(p, &k, without) < distance(p, best, without))
        *best = k;
}

/* Every number at the best that any point shows it at, were it alone; the ridge, FLOPs per byte at
 * which compute and memory take equally long, as asked (0: as it comes). */
static struct fit_kernel envelope(const struct fit_problem *p, int32_t without,
                                  const struct fit_kernel *k, double ridge)
{
    struct fit_kernel out = *k;
    double least[FIT_NUMBERS] = {0};
    for (int32_t i = 0; i < p->n; i++) {
        double amount[FIT_NUMBERS] = {0};
        for (int32_t j = 0; j < p->point[i].n; j++)
            for (int c = 0; c < FIT_NUMBERS; c++)
                amount[c] += p->point[i].work[j].amount[c];
        for (int c = 0; c < FIT_NUMBERS && i != without; c++)
            if (amount[c] > 0 && (least[c] <= 0 || p->point[i].ns / amount[c] < least[c]))
                least[c] = p->point[i].ns / amount[c];
    }
    if (ridge > 0)
        least[2] = ridge * least[1];
    for (int i = 0; i < FIT_CLASSES; i++)
        for (int c = 0; c < FIT_NUMBERS; c++)
            out.cost[i][c] = k->form.numbers >> c & 1 ? least[c] : 0;
    return out;
}

static bool fit_with_order(const struct fit_problem *p, const struct fit_form *f, double order,
                           int32_t without, struct fit_kernel *out)
{
    double equal[FIT_MAX_POINTS];
    struct fit_kernel k = {.form = *f, .order = order};
    for (int32_t i = 0; i < p->n; i++)
        equal[i] = 1;
    if (!fit_once(p, without, false, equal, &k))
        return false;
    refine(p, without, ROUNDS, &k);
    *out = k;
    if (f->join == FIT_FLOOR)
        from_start(p, without, envelope(p, without, &k, 0), out);
    for (int i = 2; f->join == FIT_OVERLAP && i <= 10; i += 4)
        from_start(p, without, envelope(p, without, &k, 1 << i), out);
    return true;
}

bool fit_kernel(const struct fit_problem *p, const struct fit_form *f, int32_t without,
                struct fit_kernel *out)
{
    assert(p->n <= FIT_MAX_POINTS && makes_sense(f) && fit_parameters(p, f) <= MAX_COLUMNS);
    int32_t points = p->n - (without >= 0);
    if (points < fit_parameters(p, f) || !fit_with_order(p, f, 1, without, out))
        return false;
    for (size_t i = 0; f->order && i < sizeof orders / sizeof *orders; i++) {
        struct fit_kernel k;
        if (fit_with_order(p, f, orders[i], without, &k) &&
            distance(p, &k, without) < distance(p, out, without))
            *out = k;
    }
    return true;
}

/* ---- leave one out -------------------------------------------------------------------------- */

/* The points but one, as a problem of their own. */
static void drop(const struct fit_problem *p, int32_t without, struct fit_point *room,
                 struct fit_problem *out)
{
    int32_t n = 0;
    for (int32_t i = 0; i < p->n; i++)
        if (i != without)
            room[n++] = p->point[i];
    *out = *p;
    out->point = room;
    out->n = n;
}

/* Whether other points have operators of each class that this one needs. */
static bool is_covered(const struct fit_problem *p, const struct fit_form *f, int32_t without,
                       const struct fit_point *point)
{
    for (int32_t i = 0; i < point->n; i++)
        for (int number = 0; number < FIT_NUMBERS; number++) {
            int32_t c = class_of(p, f, number, &point->work[i]);
            bool found = classes(p, f, number) < 2;
            for (int32_t j = 0; j < p->n && !found; j++)
                for (int32_t k = 0; k < p->point[j].n && j != without && !found; k++)
                    found = class_of(p, f, number, &p->point[j].work[k]) == c;
            if (!found)
                return false;
        }
    return true;
}

/* How well a form foretells each point from the others; fits it to all in `all`. What is left out
 * starts from there, with the order found there. INFINITY where it cannot become less than `most`.
 */
static double mean_error(const struct fit_problem *p, const struct fit_form *f, double most,
                         struct fit_kernel *all)
{
    double sum = 0;
    if (!fit_kernel(p, f, -1, all) || p->n - 1 < fit_parameters(p, f))
        return INFINITY;
    for (int32_t i = 0; i < p->n; i++) {
        struct fit_kernel k = *all;
        if (sum >= most * p->n)
            return INFINITY;
        double equal[FIT_MAX_POINTS];
        if (!is_covered(p, f, i, &p->point[i])) {
            sum += 1;
            continue;
        }
        for (int32_t j = 0; j < p->n; j++)
            equal[j] = 1;
        if (!fit_once(p, i, true, equal, &k))
            return INFINITY;
        refine(p, i, ROUNDS_AGAIN, &k);
        sum += fmin(far(p, &k, &p->point[i]), 1);
    }
    return sum / p->n;
}

void fit_leave_one_out(const struct fit_problem *p, const struct fit_form *form, int32_t n_forms,
                       double *predicted, struct fit_form *chosen)
{
    struct fit_point room[FIT_MAX_POINTS];
    assert(p->n <= FIT_MAX_POINTS);
    for (int32_t i = 0; i < p->n; i++) {
        struct fit_problem others;
        struct fit_kernel k, with = {0};
        double best = INFINITY;
        drop(p, i, room, &others);
        for (int32_t f = 0; f < n_forms; f++) {
            if (!is_covered(&others, &form[f], -1, &p->point[i]))
                continue;
            double error = mean_error(&others, &form[f], best, &k);
            if (error < best * (1 - 1e-9) - 1e-9) {
                best = error;
                with = k;
            }
        }
        double ns = isfinite(best) ? fit_time(p, &with, &p->point[i]) : 0;
        predicted[i] = ns > 0 ? ns : -1;
        if (chosen)
            chosen[i] = with.form;
    }
}
