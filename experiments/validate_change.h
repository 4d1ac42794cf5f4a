/* Interventions: what another number of threads and a fourfold context do to a policy's time,
 * predicted before they are measured. The threads' prediction comes from micro-benchmarks of the
 * changed device, the context's from the unchanged device's tables, extrapolated. */
#ifndef TANDEM_EXPERIMENTS_VALIDATE_CHANGE_H
#define TANDEM_EXPERIMENTS_VALIDATE_CHANGE_H

#include "experiments/validate_time.h"

/* Chooses prompt and policies, once v has its own; says in why_not what cannot be made. */
int val_change_plan(struct validation *v, struct err *e);

/* About how many seconds the interventions take, if a run unchanged takes run_s. */
double val_change_s(const struct validation *v, double run_s);

/* Calibrates the unchanged and the changed device, then runs repetition `rep` of what is not there
 * yet. To be called for every repetition of the validation, in their order. */
int val_change_measure(struct validation *v, int32_t rep, struct err *e);

/* `beside` is the unchanged device, `opt` its estimator but for the number of samples. */
int val_change_compare(struct validation *v, const struct device *beside,
                       const struct device_options *opt, struct val_report *r, struct err *e);

#endif
