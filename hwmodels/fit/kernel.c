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
    const double *cost = k->cost[class_of(p, &k->form, 0, w)];
    for (int i = 0; i < FIT_NUMBERS; i++)
        part[i] = cost[i] * w->amount[i];
    if (k->form.kernels == FIT_BY_ROWS) /* the peak alone has other classes: class_of */
        part[1] = k->cost[class_of(p, &k->form, 1, w)][1] * w->amount[1];
    part[1] *= order;
    part[2] *= order;
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

struct rows {
    double row[FIT_MAX_POINTS][MAX_COLUMNS];
};

/* Some columns, ascending, and their Cholesky factor, a row for each. */
struct subset {
    int32_t n, col[MAX_COLUMNS];
    double low[MAX_COLUMNS][MAX_COLUMNS], y[MAX_COLUMNS];
};

/* Another column, the last one; false when it depends on the others. */
static bool add_column(const struct squares *s, int32_t c, struct subset *t)
{
    int32_t i = t->n;
    double *row = t->low[i];
    t->col[i] = c;
    for (int32_t j = 0; j <= i; j++) {
        double v = s->gram[c][t->col[j]];
        for (int32_t k = 0; k < j; k++)
            v -= row[k] * t->low[j][k];
        if (i == j && v < 1e-9)
            return false;
        row[j] = i == j ? sqrt(v) : v / t->low[j][j];
    }
    t->y[i] = s->right[c];
    for (int32_t k = 0; k < i; k++)
        t->y[i] -= row[k] * t->y[k];
    t->y[i] /= row[i];
    t->n++;
    return true;
}

/* What minimises the squares with these columns alone; false when some of it is negative. */
static bool solve(const struct subset *t, double *x)
{
    for (int32_t i = t->n - 1; i >= 0; i--) {
        double v = t->y[i];
        for (int32_t k = i + 1; k < t->n; k++)
            v -= t->low[k][i] * x[k];
        x[i] = v / t->low[i][i];
        if (x[i] < 0)
            return false;
    }
    return true;
}

/* What of the sum of squares a solution takes away. */
static double gain(const struct squares *s, const struct subset *t, const double *x)
{
    double g = 0;
    for (int32_t i = 0; i < t->n; i++) {
        g += 2 * x[i] * s->right[t->col[i]];
        for (int32_t j = 0; j < t->n; j++)
            g -= x[i] * x[j] * s->gram[t->col[i]][t->col[j]];
    }
    return g;
}

struct best {
    uint32_t mask; /* 0: none yet */
    double gain, x[MAX_COLUMNS];
};

/* Tries the columns of t, `mask`, with each subset of those from `from` on. Of equals the smallest
 * mask counts. */
static void search(const struct squares *s, struct subset *t, int32_t from, uint32_t mask,
                   struct best *best)
{
    for (int32_t c = from; c < s->n; c++) {
        uint32_t with = mask | 1u << c;
        double x[MAX_COLUMNS];
        if (!add_column(s, c, t))
            continue;
        double g = solve(t, x) ? gain(s, t, x) : -INFINITY;
        if (g > -INFINITY &&
            (!best->mask || g > best->gain || (g == best->gain && with < best->mask))) {
            *best = (struct best){.mask = with, .gain = g};
            for (int32_t i = 0; i < t->n; i++)
                best->x[t->col[i]] = x[i];
        }
        search(s, t, c + 1, with, best);
        t->n--;
    }
}

static bool least_squares(const struct squares *s, double *x)
{
    struct subset t = {0};
    struct best best = {0};
    while (t.n < s->n && add_column(s, t.n, &t))
        continue;
    if (t.n == s->n && solve(&t, x))
        return true;
    t.n = 0;
    search(s, &t, 0, 0, &best);
    memcpy(x, best.x, sizeof best.x);
    return best.mask;
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

/* Of the parts that hide one another all but the largest are nothing; in a sum none does. */
static void hide(const struct fit_problem *p, const struct fit_kernel *now,
                 const struct fit_work *w, double *amount)
{
    double part[FIT_NUMBERS];
    int from = now->form.join == FIT_FLOOR ? 0 : 1, largest = 2;
    if (now->form.join == FIT_SUM)
        return;
    parts_of(p, now, w, part);
    for (int i = 1; i >= from; i--)
        if (part[i] >= part[largest] * (1 - 1e-9)) /* whatever rounding says of equals */
            largest = i;
    for (int i = from; i < 3; i++)
        if (i != largest)
            amount[i] = 0;
}

/* Each point's row: its work per column; with `binds`, of what binds at the costs of `now`. */
static void rows_of(const struct fit_problem *p, const struct fit_kernel *now, bool binds,
                    struct rows *out)
{
    int32_t first[FIT_NUMBERS];
    columns(p, &now->form, first);
    memset(out, 0, (size_t)p->n * sizeof *out->row);
    for (int32_t i = 0; i < p->n; i++)
        for (int32_t k = 0; k < p->point[i].n; k++) {
            const struct fit_work *w = &p->point[i].work[k];
            double order = w->thin ? now->order : 1, per_ns = 1 / p->point[i].ns;
            double amount[FIT_NUMBERS] = {w->amount[0], order * w->amount[1], order * w->amount[2],
                                          w->amount[3], w->amount[4]};
            if (binds)
                hide(p, now, w, amount);
            for (int number = 0; number < FIT_NUMBERS; number++)
                if (now->form.numbers >> number & 1)
                    out->row[i][first[number] + class_of(p, &now->form, number, w)] +=
                        amount[number] * per_ns;
        }
}

/* The costs that minimise the sum of weight * (fitted / measured - 1)^2. */
static bool fit_once(const struct fit_problem *p, int32_t without, const struct rows *rows,
                     const double *weight, struct fit_kernel *now)
{
    struct squares s = {.n = fit_parameters(p, &now->form) - now->form.order};
    double per[MAX_COLUMNS], x[MAX_COLUMNS];
    int32_t first[FIT_NUMBERS];
    columns(p, &now->form, first);
    for (int32_t i = 0; i < p->n; i++)
        for (int32_t c = 0; c < s.n && i != without; c++)
            s.length[c] += weight[i] * rows->row[i][c] * rows->row[i][c];
    for (int32_t c = 0; c < s.n; c++) {
        s.length[c] = sqrt(s.length[c]);
        per[c] = s.length[c] > 0 ? 1 / s.length[c] : 0;
    }
    for (int32_t i = 0; i < p->n; i++) {
        double row[MAX_COLUMNS];
        for (int32_t c = 0; c < s.n && i != without; c++) {
            row[c] = rows->row[i][c] * per[c];
            double a = weight[i] * row[c];
            s.right[c] += a;
            for (int32_t b = 0; b <= c; b++)
                s.gram[c][b] += a * row[b];
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
static double far(double ratio)
{
    return ratio > 0 ? fabs(log(ratio)) : 10;
}

/* As squares up to `near`, as it is beyond (Huber). */
static double loss(double off)
{
    return off < near ? off * off / (2 * near) : off - near / 2;
}

/* Fitted over measured, of each point. */
static void ratios_of(const struct fit_problem *p, const struct fit_kernel *k, double *ratio)
{
    for (int32_t i = 0; i < p->n; i++)
        ratio[i] = fit_time(p, k, &p->point[i]) / p->point[i].ns;
}

/* The sum of losses; not the whole of it where that is not below `most`. */
static double distance(const struct fit_problem *p, const double *ratio, int32_t without,
                       double most)
{
    double sum = 0;
    for (int32_t i = 0; i < p->n && sum < most; i++)
        sum += i == without ? 0 : loss(far(ratio[i]));
    return sum;
}

/* Costs that are fitted to points of equal weight, where those bind that do with k's, and rounds
 * from there on. k becomes the best that was met; returns its distance, INFINITY where the numbers
 * are not determined. `rows` are k's. */
static double refine(const struct fit_problem *p, int32_t without, int rounds, struct rows *rows,
                     struct fit_kernel *k)
{
    struct fit_kernel now = *k;
    double weight[FIT_MAX_POINTS], ratio[FIT_MAX_POINTS];
    for (int32_t i = 0; i < FIT_MAX_POINTS; i++)
        weight[i] = 1;
    if (!fit_once(p, without, rows, weight, &now))
        return INFINITY;
    ratios_of(p, &now, ratio);
    double least = distance(p, ratio, without, INFINITY);
    *k = now;
    for (int r = 0; r < rounds; r++) {
        struct fit_kernel next = now;
        for (int32_t i = 0; i < p->n; i++) {
            double u = ratio[i], off = fabs(u - 1);
            weight[i] = u > 0 ? 1 / (u * (off > near ? off : near)) : 1;
        }
        if (now.form.join != FIT_SUM) /* else they stay */
            rows_of(p, &now, true, rows);
        if (!fit_once(p, without, rows, weight, &next) ||
            !memcmp(&next.cost, &now.cost, sizeof now.cost))
            return least;
        now = next;
        ratios_of(p, &now, ratio);
        double d = distance(p, ratio, without, least);
        if (d < least) {
            least = d;
            *k = now;
        }
    }
    return least;
}

/* From where these costs bind on; keeps the better of the two in `best`, and its distance. */
static void from_start(const struct fit_problem *p, int32_t without, struct fit_kernel k,
                       struct fit_kernel *best, double *least)
{
    struct rows rows;
    rows_of(p, &k, true, &rows);
    double d = refine(p, without, ROUNDS, &rows, &k);
    if (d < *least) {
        *least = d;
        *best = k;
    }
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

/* Returns the distance; INFINITY where the numbers are not determined. */
static double fit_with_order(const struct fit_problem *p, const struct fit_form *f, double order,
                             int32_t without, struct fit_kernel *out)
{
    struct fit_kernel k = {.form = *f, .order = order};
    struct rows rows;
    rows_of(p, &k, false, &rows);
    double least = refine(p, without, ROUNDS, &rows, &k);
    *out = k;
    if (least == INFINITY)
        return least;
    if (f->join == FIT_FLOOR)
        from_start(p, without, envelope(p, without, &k, 0), out, &least);
    for (int i = 2; f->join == FIT_OVERLAP && i <= 10; i += 4)
        from_start(p, without, envelope(p, without, &k, 1 << i), out, &least);
    return least;
}

bool fit_kernel(const struct fit_problem *p, const struct fit_form *f, int32_t without,
                struct fit_kernel *out)
{
    assert(p->n <= FIT_MAX_POINTS && makes_sense(f) && fit_parameters(p, f) <= MAX_COLUMNS);
    if (p->n - (without >= 0) < fit_parameters(p, f))
        return false;
    double least = fit_with_order(p, f, 1, without, out);
    for (size_t i = 0; least < INFINITY && f->order && i < sizeof orders / sizeof *orders; i++) {
        struct fit_kernel k;
        double d = fit_with_order(p, f, orders[i], without, &k);
        if (d < least) {
            least = d;
            *out = k;
        }
    }
    return least < INFINITY;
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

/* The points, those first that the kernel is furthest from. */
static void furthest_first(const struct fit_problem *p, const struct fit_kernel *k, int32_t *order)
{
    double off[FIT_MAX_POINTS];
    for (int32_t i = 0; i < p->n; i++) {
        int32_t at = i;
        off[i] = far(fit_time(p, k, &p->point[i]) / p->point[i].ns);
        for (; at > 0 && off[order[at - 1]] < off[i]; at--)
            order[at] = order[at - 1];
        order[at] = i;
    }
}

/* How well a form foretells each point from the others; fits it to all in `all`. What is left out
 * starts from there, with the order found there. INFINITY where it cannot become less than `most`:
 * seen soonest from the points that are fitted worst. */
static double mean_error(const struct fit_problem *p, const struct fit_form *f, double most,
                         struct fit_kernel *all)
{
    double sum = 0;
    struct rows rows, changed;
    int32_t order[FIT_MAX_POINTS];
    if (!fit_kernel(p, f, -1, all) || p->n - 1 < fit_parameters(p, f))
        return INFINITY;
    rows_of(p, all, true, &rows);
    furthest_first(p, all, order);
    for (int32_t i = 0; i < p->n; i++) {
        const struct fit_point *point = &p->point[order[i]];
        struct fit_kernel k = *all;
        if (sum >= most * p->n)
            return INFINITY;
        if (!is_covered(p, f, order[i], point)) {
            sum += 1;
            continue;
        }
        memcpy(changed.row, rows.row, (size_t)p->n * sizeof *rows.row);
        if (refine(p, order[i], ROUNDS_AGAIN, &changed, &k) == INFINITY)
            return INFINITY;
        sum += fmin(far(fit_time(p, &k, point) / point->ns), 1);
    }
    return sum / p->n;
}

void fit_leave_one_out(const struct fit_problem *p, const struct fit_form *form, int32_t n_forms,
                       double *predicted, struct fit_form *chosen)
{
    struct fit_point room[FIT_MAX_POINTS];
    int32_t last = -1; /* what was chosen without the point before is likely to be chosen again */
    assert(p->n <= FIT_MAX_POINTS);
    for (int32_t i = 0; i < p->n; i++) {
        struct fit_problem others;
        struct fit_kernel k, with = {0};
        double best = INFINITY, most = INFINITY;
        drop(p, i, room, &others);
        if (last >= 0 && is_covered(&others, &form[last], -1, &p->point[i]))
            most = mean_error(&others, &form[last], INFINITY, &k) * (1 + 1e-6) + 1e-6;
        for (int32_t f = 0; f < n_forms; f++) {
            if (!is_covered(&others, &form[f], -1, &p->point[i]))
                continue;
            double error = mean_error(&others, &form[f], fmin(best, most), &k);
            if (error < best * (1 - 1e-9) - 1e-9) {
                best = error;
                with = k;
                last = f;
            }
        }
        double ns = isfinite(best) ? fit_time(p, &with, &p->point[i]) : 0;
        predicted[i] = ns > 0 ? ns : -1;
        if (chosen)
            chosen[i] = with.form;
    }
}
