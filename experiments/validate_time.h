/* Times of a run under one reading, measured or simulated. Pieces end where steps end, so that
 * repetitions of a run that took the same actions can be compared piece by piece. */
#ifndef TANDEM_EXPERIMENTS_VALIDATE_TIME_H
#define TANDEM_EXPERIMENTS_VALIDATE_TIME_H

#include "experiments/validate.h"
#include "hwmodels/steps.h"

struct val_timing {
    double e2e, ttft, tpot; /* ns; tpot NAN for one token */
    double part[PARTS];
};

/* Piece by piece the smallest of n >= 1 runs with the same actions: the noise floor's time. */
void val_noise_floor(const struct val_run *const *run, int32_t n, struct val_timing *t);

/* Medians of n whole runs; no parts. */
void val_medians(const struct val_run *const *run, int32_t n, struct val_timing *t);

/* What was simulated so far. */
struct val_tally {
    int64_t extrapolated, jobs; /* outside what was measured, and all */
    int64_t actions_same;       /* runs whose actions are the real run's */
    uint64_t actions_hash;      /* of the last run */
    int32_t n_output;           /* its tokens */
    int64_t n_verify;           /* and its verifications */
};

/* A device's costs for a policy, in `arena`. */
int val_cost(const struct device *d, const struct device_options *opt,
             const struct run_setup *setup, struct arena *arena, const struct cost_model **out,
             struct err *e);

struct request val_request(const struct val_prompt *p);

/* Simulates a request whose target says what request `index` of the trace says, timed as a real run
 * is. Adds to *tally. */
int val_simulate(const struct cost_model *cost, const struct run_setup *setup,
                 const struct request *request, const struct trace *trace, int32_t index,
                 struct val_timing *out, struct val_tally *tally, struct err *e);

/* Simulates a run that was made, from its own trace (v->own). */
int val_simulate_own(struct validation *v, const struct cost_model *cost, int32_t prompt,
                     int32_t policy, struct val_timing *out, struct val_tally *tally,
                     struct err *e);

/* What drafting could bring at most: policy 0's text of every prompt, drafted by an oracle that
 * costs nothing (profile_add_oracle), at the fastest of the plan's widths, 1 included. `alone` is
 * what was simulated, [n_done][n_policies]. Simulated alone: no engine has an oracle. */
int val_bound(struct validation *v, const struct device *d, const struct device_options *opt,
              const struct val_timing *alone, struct val_bound *out, struct err *e);

/* How much more likely, in logits, the target's choice was than the next token, after the prompt
 * and the first n_output tokens of a run: where another text splits off, its margin. Runs them on
 * the session's engine. NAN where that gives no likely tokens. */
double val_margin(const struct session *s, const struct val_prompt *prompt,
                  const struct val_run *own, int32_t n_output);

#endif
