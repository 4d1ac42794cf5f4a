/* Every metric, defined once, for simulated and real runs alike.
 *
 *   TTFT   time to first token            first EMIT - arrival
 *   E2E    end to end                     last EMIT - arrival
 *   TPOT   time per output token, prefill left out
 *                                         (last EMIT - first EMIT) / (tokens - 1)
 *   TPOTP  the same, prefill included (what sd.npu's tables seem to print)
 *                                         (last EMIT - arrival) / tokens
 *   TPV    tokens per verification        tokens after the first / decode and verify steps
 *   DE     draft efficiency               drafted tokens that became output / drafted tokens
 *   4G     distinct 4-grams               different 4-grams / 4-grams of the output
 *
 * A metric that a run does not have (TPOT of one token, DE without drafts) is NAN. Times of results
 * are int64_t nanoseconds; metrics are doubles for reports. */
#ifndef TANDEM_EXEC_METRICS_H
#define TANDEM_EXEC_METRICS_H

#include "sim/exec/driver.h"

struct metrics {
    int64_t ttft_ns, e2e_ns; /* -1: nothing was emitted */
    double tpot_ns, tpotp_ns, tokens_per_verify, draft_efficiency, distinct_4grams;
};

void metrics_of(const struct request_result *r, struct metrics *out);

/* Below this share of distinct 4-grams a text degenerates: it repeats itself without sense. */
#define METRICS_DEGENERATE 0.5

/* Different runs of four tokens over all runs of four; 1 when there are fewer than four tokens. */
double metrics_distinct_4grams(const int32_t *token, int32_t n);

/* ---- of samples ----------------------------------------------------------------------------- */

/* The q-quantile, 0 <= q <= 1, of n >= 1 values: linear between order statistics (Hyndman and Fan's
 * type 7). Sorts x. */
double metrics_quantile(double *x, int32_t n, double q);

/* Kendall's tau-b, pooled over groups (prompts): within each group the order of its items' measured
 * values x against that of the predicted y. A pair counts only where the measured values differ by
 * more than `resolve` times the smaller one. */
struct tau {
    int64_t pairs, used, concordant, discordant, tied_x, tied_y;
};

void metrics_tau_add(struct tau *t, const double *x, const double *y, int32_t n, double resolve);

/* NAN when no pair counts. */
double metrics_tau_b(const struct tau *t);

/* Sizes of signed relative errors, in percent: of |e| the median, the 90 % quantile and the
 * largest; of e the mean. n >= 1. */
struct error_pct {
    double median, p90, max, bias;
};

struct error_pct metrics_error_pct(const double *predicted, const double *measured, int32_t n);

/* Repetition floor: how well one repetition foretells the median of the others. Appends the n
 * relative errors (as fractions, unsigned) of n >= 2 repetitions to out. */
void metrics_repetition_floor(const double *x, int32_t n, double *out);

/* Regret of choosing item `choice`, n_rep >= 2 repetitions of n items, x[item * n_rep + rep]: the
 * best item is found on the repetitions of one parity, both are timed (median) on the other, both
 * ways, and averaged: time(choice) / time(best) - 1. Never biased by picking the luckiest. */
double metrics_regret(const double *x, int32_t n, int32_t n_rep, int32_t choice);

#endif
