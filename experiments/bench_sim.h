/* tandem bench sim: how fast one stream of requests is simulated, step by step.
 *
 * The example device and the committed trace of SmolLM2-135M (all its requests, closed loop):
 * driver, policy `speculative` with 7 drafted tokens or 31, simulated executor, cost model of whole
 * steps; no log. Timed: driver_run alone, by the wall clock, so that reading files is left out.
 * Tokens are those of the outputs; the prompts, 4.8 times as long there, cost time as well. */
#ifndef TANDEM_EXPERIMENTS_BENCH_SIM_H
#define TANDEM_EXPERIMENTS_BENCH_SIM_H

#include <stdbool.h>
#include <stdint.h>

#include "sim/base/err.h"
#include "sim/core/bench.h"

enum { SIM_BENCH_ROWS = 8 };

struct sim_bench_row {
    const char *what;               /* where drafts come from */
    const char *drafter;            /* its specification */
    struct bench_stat tokens_per_s; /* output tokens over the wall's seconds */
    double tokens_per_step, events_per_s;
    double drafter_share; /* of the time; NAN where no drafter is run */
    bool same;            /* actions and times are those without a memo */
};

/* Rows for parametric acceptance, then of drafters: from a memo, executed; *n of them. Each is
 * measured `repetitions` >= 1 times. ERR_IO where the device or the trace is not there. */
int sim_bench_run(struct sim_bench_row row[SIM_BENCH_ROWS], int32_t *n, int32_t repetitions,
                  struct err *e);

#endif
