/* Blind acceptance: what is foretold of a held-out prompt when nothing is known of its text.
 *
 * Requests of the calibration split are run once by a policy that sees likely tokens and rejected
 * rows. A held-out prompt P is then foretold as often as its task has such requests: the time to
 * its first token, which needs no text, and the decoding of the calibration request C, drafted,
 * verified and accepted on C's own tokens, with steps that cost what they cost at P's length (C's
 * context moved by the difference of the prompts' lengths). Where C's text ends for its limit of
 * tokens and P may go on, C's time per token does too. */
#ifndef TANDEM_EXPERIMENTS_VALIDATE_BLIND_H
#define TANDEM_EXPERIMENTS_VALIDATE_BLIND_H

#include "experiments/validate_time.h"

/* Chooses the calibration requests: evenly over tasks, by the workload's fixed rule. */
int val_blind_plan(struct validation *v, struct err *e);

/* Runs them. */
int val_blind_measure(struct validation *v, struct err *e);

/* Fills r->blind's errors from `measured`, and predicted[].e2e with each pair's mean over its
 * task's requests, for the order of policies; both are [n_done][n_policies]. Where there is nothing
 * to foretell from, r->blind.why_not says so, the errors are NAN and `predicted` is left alone. */
int val_blind_compare(struct validation *v, const struct device *d,
                      const struct device_options *opt, const struct val_timing *measured,
                      struct val_timing *predicted, struct val_report *r, struct err *e);

#endif
