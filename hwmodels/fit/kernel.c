#include "hwmodels/fit/kernel.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { MAX_COLUMNS = 2 * FIT_NUMBERS, MAX_ROUNDS = 3 };

static const double orders[] = {1.5, 2, 3, 4, 6};

/* ---- forms ---------------------------------------------------------------------------------- */

static int32_t bits(uint8_t v)
{
    int32_t n = 0;
    for (; v; v = (uint8_t)(v & (v - 1)))
        n++;
    return n;
}

int32_t fit_parameters(const struct fit_form *f)
{
    return bits(f->numbers) * (f->split ? 2 : 1) + f->order;
}

static bool makes_sense(const struct fit_form *f)
{
    bool both = (f->numbers & FIT_PEAK) && (f->numbers & FIT_BANDWIDTH);
    return f->numbers && (!f->overlap || both) &&
           (!f->order || (f->numbers & (FIT_PEAK | FIT_BANDWIDTH)));
}

int32_t fit_forms(int32_t most, bool split, struct fit_form *out)
{
    int32_t n = 0;
    for (int32_t parameters = 1; parameters <= most; parameters++)
        for (int32_t mask = 1; mask < 1 << FIT_NUMBERS; mask++)
            for (int32_t kind = 0; kind < 8; kind++) {
                struct fit_form f = {(uint8_t)mask, (kind & 1) != 0, (kind & 2) != 0,
                                     (kind & 4) != 0};
                if (makes_sense(&f) && (split || !f.split) && fit_parameters(&f) == parameters &&
                    n < FIT_MAX_FORMS)
                    out[n++] = f;
            }
    return n;
}

const char *fit_form_name(const struct fit_form *f, char *buf, size_t size)
{
    static const char *const name[FIT_NUMBERS] = {"launch", "peak", "bandwidth", "copy"};
    size_t at = 0;
    for (int i = 0; i < FIT_NUMBERS; i++)
        if (f->numbers & 1 << i && at < size)
            at += (size_t)snprintf(buf + at, size - at, "%s%s",
                                   !at                    ? ""
                                   : i == 2 && f->overlap ? "|"
                                                          : "+",
                                   name[i]);
    if (at < size)
        snprintf(buf + at, size - at, "%s%s", f->order ? "*order" : "",
                 f->split ? "/2 kernels" : "");
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
        out[found++] = (struct fit_work){
            .amount = {w.launches * count, w.flops * count, w.bytes * count, w.copy_bytes * count},
            .thin = w.thin,
            .rows = op[i].m};
    }
    return found;
}

static int regime(const struct fit_problem *p, const struct fit_form *f, const struct fit_work *w)
{
    return f->split && w->rows >= p->kernel_from ? 1 : 0;
}

static double work_ns(const struct fit_problem *p, const struct fit_kernel *k,
                      const struct fit_work *w)
{
    const double *cost = k->cost[regime(p, &k->form, w)], *amount = w->amount;
    double order = w->thin ? k->order : 1;
    double compute = order * cost[1] * amount[1], memory = order * cost[2] * amount[2];
    double larger = compute > memory ? compute : memory;
    return cost[0] * amount[0] + (k->form.overlap ? larger : compute + memory) +
           cost[3] * amount[3];
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

/* Column of a number in a regime; -1: not in the form. */
static int32_t column(const struct fit_form *f, int number, int r)
{
    if (!(f->numbers >> number & 1))
        return -1;
    int32_t before = 0;
    for (int i = 0; i < number; i++)
        before += f->numbers >> i & 1;
    return before + (r ? bits(f->numbers) : 0);
}

/* One point's row: its work per column. With overlap, of the two only the one that binds. */
static void add_row(const struct fit_problem *p, const struct fit_kernel *now, bool binds,
                    const struct fit_point *point, double *row)
{
    for (int32_t i = 0; i < point->n; i++) {
        const struct fit_work *w = &point->work[i];
        int r = regime(p, &now->form, w);
        const double *cost = now->cost[r];
        double order = w->thin ? now->order : 1;
        double amount[FIT_NUMBERS] = {w->amount[0], order * w->amount[1], order * w->amount[2],
                                      w->amount[3]};
        if (binds && now->form.overlap)
            amount[cost[1] * amount[1] >= cost[2] * amount[2] ? 2 : 1] = 0;
        for (int number = 0; number < FIT_NUMBERS; number++) {
            int32_t c = column(&now->form, number, r);
            if (c >= 0)
                row[c] += amount[number] / point->ns;
        }
    }
}

static bool fit_once(const struct fit_problem *p, int32_t without, bool binds,
                     struct fit_kernel *now)
{
    struct squares s = {.n = bits(now->form.numbers) * (now->form.split ? 2 : 1)};
    double row[FIT_MAX_POINTS][MAX_COLUMNS] = {{0}}, x[MAX_COLUMNS];
    for (int32_t i = 0; i < p->n; i++)
        if (i != without)
            add_row(p, now, binds, &p->point[i], row[i]);
    for (int32_t c = 0; c < s.n; c++) {
        for (int32_t i = 0; i < p->n; i++)
            s.length[c] += row[i][c] * row[i][c];
        s.length[c] = sqrt(s.length[c]);
    }
    for (int32_t i = 0; i < p->n; i++)
        for (int32_t c = 0; c < s.n && i != without; c++) {
            double a = s.length[c] > 0 ? row[i][c] / s.length[c] : 0;
            s.right[c] += a;
            for (int32_t b = 0; b < s.n; b++)
                s.gram[c][b] += s.length[b] > 0 ? a * row[i][b] / s.length[b] : 0;
        }
    if (!least_squares(&s, x))
        return false;
    for (int r = 0; r < (now->form.split ? 2 : 1); r++)
        for (int number = 0; number < FIT_NUMBERS; number++) {
            int32_t c = column(&now->form, number, r);
            now->cost[r][number] = c >= 0 && s.length[c] > 0 ? x[c] / s.length[c] : 0;
        }
    return true;
}

static double sum_of_squares(const struct fit_problem *p, const struct fit_kernel *k,
                             int32_t without)
{
    double sum = 0;
    for (int32_t i = 0; i < p->n; i++) {
        double off = fit_time(p, k, &p->point[i]) / p->point[i].ns - 1;
        if (i != without)
            sum += off * off;
    }
    return sum;
}

/* From the kernel's ratio of bandwidth to peak on, until what binds each operator stays as it is.
 */
static void settle(const struct fit_problem *p, int32_t without, struct fit_kernel *k,
                   struct fit_kernel *best, double *squares)
{
    for (int i = 0; i < MAX_ROUNDS; i++) {
        struct fit_kernel next = *k;
        if (!fit_once(p, without, true, &next) || !memcmp(&next.cost, &k->cost, sizeof k->cost))
            return;
        *k = next;
        double now = sum_of_squares(p, k, without);
        if (now < *squares) {
            *squares = now;
            *best = *k;
        }
    }
}

static bool fit_with_order(const struct fit_problem *p, const struct fit_form *f, double order,
                           int32_t without, struct fit_kernel *out, double *squares)
{
    struct fit_kernel k = {.form = *f, .order = order};
    bool found = fit_once(p, without, false, &k);
    *out = k;
    *squares = found ? sum_of_squares(p, &k, without) : INFINITY;
    if (found && f->overlap)
        settle(p, without, &k, out, squares);
    /* and from ridge points of 4 to 1024 FLOPs per byte */
    for (int i = 2; found && f->overlap && i <= 10; i += 2) {
        for (int r = 0; r < 2; r++) {
            k.cost[r][1] = 1;
            k.cost[r][2] = 1 << i;
        }
        settle(p, without, &k, out, squares);
    }
    return found;
}

bool fit_kernel(const struct fit_problem *p, const struct fit_form *f, int32_t without,
                struct fit_kernel *out)
{
    assert(p->n <= FIT_MAX_POINTS && makes_sense(f));
    double best, squares;
    int32_t points = p->n - (without >= 0);
    if (points < fit_parameters(f) || !fit_with_order(p, f, 1, without, out, &best))
        return false;
    for (size_t i = 0; f->order && i < sizeof orders / sizeof *orders; i++) {
        struct fit_kernel k;
        if (fit_with_order(p, f, orders[i], without, &k, &squares) && squares < best) {
            best = squares;
            *out = k;
        }
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

static double mean_error(const struct fit_problem *p, const struct fit_form *f)
{
    double sum = 0;
    for (int32_t i = 0; i < p->n; i++) {
        struct fit_kernel k;
        if (!fit_kernel(p, f, i, &k))
            return INFINITY;
        double ns = fit_time(p, &k, &p->point[i]);
        sum += ns > 0 ? fabs(log(ns / p->point[i].ns)) : 10;
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
        struct fit_kernel k;
        double best = INFINITY;
        const struct fit_form *with = NULL;
        drop(p, i, room, &others);
        for (int32_t f = 0; f < n_forms; f++) {
            double error = mean_error(&others, &form[f]);
            if (error < best * (1 - 1e-9) - 1e-9 || (!with && isfinite(error))) {
                best = error;
                with = &form[f];
            }
        }
        bool ok = with && fit_kernel(&others, with, -1, &k);
        predicted[i] = ok ? fit_time(p, &k, &p->point[i]) : -1;
        if (chosen)
            chosen[i] = with ? *with : (struct fit_form){0};
    }
}
