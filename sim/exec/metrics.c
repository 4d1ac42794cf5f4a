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

double metrics_expected_min(double *x, int32_t n, int32_t draws)
{
    assert(n >= 1 && draws >= 1);
    if (draws > n)
        draws = n;
    qsort(x, (size_t)n, sizeof *x, by_value);
    /* weight(i) = C(n-1-i, draws-1) / C(n, draws): draws / n at i = 0, then by ratios. */
    double weight = (double)draws / n, sum = 0;
    for (int32_t i = 0; i <= n - draws; i++) {
        sum += weight * x[i];
        weight *= (double)(n - draws - i) / (n - 1 - i > 0 ? n - 1 - i : 1);
    }
    return sum;
}

double metrics_tau_b(const double *x, const double *y, const double *resolve, int32_t n,
                     double *resolved)
{
    int64_t pairs = 0, used = 0, concordant = 0, discordant = 0, tied_x = 0, tied_y = 0;
    for (int32_t i = 0; i < n; i++) {
        for (int32_t k = 0; k < i; k++) {
            double dx = x[i] - x[k], dy = y[i] - y[k];
            pairs++;
            if (resolve && fabs(dx) <= resolve[i] + resolve[k])
                continue;
            used++;
            double s = dx * dy;
            concordant += s > 0;
            discordant += s < 0;
            tied_x += dx == 0;
            tied_y += dy == 0;
        }
    }
    *resolved = pairs ? (double)used / (double)pairs : NAN;
    double left = sqrt((double)(used - tied_x)) * sqrt((double)(used - tied_y));
    return left > 0 ? (double)(concordant - discordant) / left : NAN;
}
