#include "sim/exec/metrics.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>

double metrics_distinct_4grams(const int32_t *token, int32_t n)
{
    if (n < 4)
        return 1;
    int32_t grams = n - 3, different = 0;
    for (int32_t i = 0; i < grams; i++) {
        bool seen = false;
        for (int32_t k = 0; k < i && !seen; k++)
            seen = token[i] == token[k] && token[i + 1] == token[k + 1] &&
                   token[i + 2] == token[k + 2] && token[i + 3] == token[k + 3];
        different += !seen;
    }
    return (double)different / grams;
}

void metrics_of(const struct request_result *r, struct metrics *out)
{
    bool any = r->n_output > 0;
    double tokens = r->n_output;
    *out = (struct metrics){.ttft_ns = any ? r->first_ns - r->arrive_ns : -1,
                            .e2e_ns = any ? r->last_ns - r->arrive_ns : -1,
                            .tpot_ns = NAN,
                            .tpotp_ns = NAN,
                            .tokens_per_verify = NAN,
                            .draft_efficiency = NAN};
    if (r->n_output > 1)
        out->tpot_ns = (double)(r->last_ns - r->first_ns) / (tokens - 1);
    if (any)
        out->tpotp_ns = (double)(r->last_ns - r->arrive_ns) / tokens;
    if (r->n_verify > 0)
        out->tokens_per_verify = (tokens - 1) / (double)r->n_verify;
    if (r->n_drafted > 0)
        out->draft_efficiency = (double)r->n_accepted / (double)r->n_drafted;
    out->distinct_4grams = metrics_distinct_4grams(r->output, r->n_output);
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double metrics_quantile(double *x, int32_t n, double q)
{
    assert(n >= 1 && q >= 0 && q <= 1);
    qsort(x, (size_t)n, sizeof *x, by_value);
    double at = q * (n - 1);
    int32_t i = (int32_t)at;
    return i + 1 < n ? x[i] + (at - i) * (x[i + 1] - x[i]) : x[n - 1];
}

void metrics_tau_add(struct tau *t, const double *x, const double *y, int32_t n, double resolve)
{
    for (int32_t i = 0; i < n; i++) {
        for (int32_t k = 0; k < i; k++) {
            double dx = x[i] - x[k], dy = y[i] - y[k];
            t->pairs++;
            if (fabs(dx) <= resolve * fmin(x[i], x[k]))
                continue;
            t->used++;
            t->concordant += dx * dy > 0;
            t->discordant += dx * dy < 0;
            t->tied_x += dx == 0;
            t->tied_y += dy == 0;
        }
    }
}

double metrics_tau_b(const struct tau *t)
{
    /* the root of the product: of equal factors it is exactly the factor */
    double left = sqrt((double)(t->used - t->tied_x) * (double)(t->used - t->tied_y));
    return left > 0 ? (double)(t->concordant - t->discordant) / left : NAN;
}

struct error_pct metrics_error_pct(const double *predicted, const double *measured, int32_t n)
{
    struct error_pct r = {0, 0, 0, 0};
    double *size = malloc((size_t)n * sizeof *size);
    if (!size)
        return (struct error_pct){NAN, NAN, NAN, NAN};
    for (int32_t i = 0; i < n; i++) {
        double e = 100 * (predicted[i] / measured[i] - 1);
        size[i] = fabs(e);
        r.bias += e / n;
    }
    r.median = metrics_quantile(size, n, 0.5);
    r.p90 = metrics_quantile(size, n, 0.9);
    r.max = size[n - 1];
    free(size);
    return r;
}

enum { MAX_REPETITIONS = 64 };

static double median_of(const double *x, int32_t n, int32_t from, int32_t step, int32_t without)
{
    double buf[MAX_REPETITIONS];
    int32_t m = 0;
    for (int32_t i = from; i < n && m < MAX_REPETITIONS; i += step)
        if (i != without)
            buf[m++] = x[i];
    return metrics_quantile(buf, m, 0.5);
}

void metrics_repetition_floor(const double *x, int32_t n, double *out)
{
    for (int32_t i = 0; i < n; i++)
        out[i] = fabs(x[i] / median_of(x, n, 0, 1, i) - 1);
}

double metrics_regret(const double *x, int32_t n, int32_t n_rep, int32_t choice)
{
    double sum = 0;
    for (int32_t parity = 0; parity < 2; parity++) {
        int32_t best = 0;
        for (int32_t i = 1; i < n; i++)
            if (median_of(x + i * n_rep, n_rep, parity, 2, -1) <
                median_of(x + best * n_rep, n_rep, parity, 2, -1))
                best = i;
        double chosen = median_of(x + choice * n_rep, n_rep, 1 - parity, 2, -1);
        sum += chosen / median_of(x + best * n_rep, n_rep, 1 - parity, 2, -1) - 1;
    }
    return sum / 2;
}
