/* From samples of the micro-benchmarks to a device, and how trustworthy they are. */
#ifndef TANDEM_EXPERIMENTS_PROFILE_H
#define TANDEM_EXPERIMENTS_PROFILE_H

#include "experiments/measure.h"
#include "experiments/session.h"
#include "hwmodels/device.h"

enum { PROFILE_EVERY_WIDTH = 16, PROFILE_STRIDE = 8 };

/* Widths 1-16 and every eighth beyond, up to max_width (at most 64), contexts in the middle of the
 * buckets that max_ctx reaches, tails spread over a chunk. */
void profile_plan(int32_t max_width, int32_t max_ctx, uint64_t seed, struct measure_plan *out);

/* One round on a session, with every drafter in the registry. */
int profile_round(const struct session *s, const struct measure_plan *plan, int32_t round,
                  struct samples *out, struct err *e);

/* Builds a device from the samples of rounds [0, n_rounds) (all when n_rounds < 0). */
int profile_device(const struct session *s, const struct measure_plan *plan,
                   const struct samples *samples, int32_t n_rounds, const char *source,
                   struct arena *arena, struct device *out, struct err *e);

/* Makes the oracle's drafts cost nothing on a device in `arena`, as a bound's may: no device runs
 * it. ERR_NOMEM. */
int profile_add_oracle(struct device *d, struct arena *arena, struct err *e);

/* What the machine did meanwhile. */
struct profile_noise {
    double spread_pct; /* median over cells of (90 % quantile / minimum - 1) */
    double drift_pct;  /* largest change of a round's level against the median of all rounds */
    double serial;     /* median over cells of the lag-1 correlation */
};

void profile_noise(const struct samples *samples, const struct measure_plan *plan,
                   const struct device *d, int32_t n_rounds, struct profile_noise *out);

/* The level of one round: the median over step cells of the round's median there over the median of
 * all rounds. 1 when nothing drifts. */
double profile_level(const struct samples *samples, const struct measure_plan *plan, int32_t round);

#endif
