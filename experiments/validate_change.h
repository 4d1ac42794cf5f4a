/* Interventions: what another number of threads and a fourfold context do to a policy's time,
 * predicted before they are measured. The threads' prediction comes from micro-benchmarks of the
 * changed device, the context's from the unchanged device's tables, extrapolated. */
#ifndef TANDEM_EXPERIMENTS_VALIDATE_CHANGE_H
#define TANDEM_EXPERIMENTS_VALIDATE_CHANGE_H

#include "experiments/validate_time.h"

/* Chooses prompt and policies, once v has its own; says in why_not what cannot be made. */
int val_change_plan(struct validation *v, struct err *e);

/* About how many seconds val_change_measure takes, if a run unchanged takes run_s. */
double val_change_s(const struct validation *v, double run_s);

/* Calibrates the changed and the unchanged device by turns, then runs what is not there yet. */
int val_change_measure(struct validation *v, struct err *e);

/* `beside` is the unchanged device, `opt` its estimator but for the number of samples. */
int val_change_compare(struct validation *v, const struct device *beside,
                       const struct device_options *opt, struct val_report *r, struct err *e);

#endif
