/* A fault plan as text: of --faults, and of the key `faults` of an experiment. */
#ifndef TANDEM_EXPERIMENTS_FAULTS_H
#define TANDEM_EXPERIMENTS_FAULTS_H

#include "sim/base/param.h"
#include "sim/base/yaml.h"
#include "sim/exec/shims.h"

/* What --faults names. */
extern const struct param faults_spec[];

/* The plan's values in the specification's order, [PARAM_MAX]. */
void faults_values(const struct fault_plan *plan, int64_t *value);

/* Reads "fail=10 drop=0 delay=5 delay_ns=1000000 reorder=2 seed=1"; what is not named is 0, the
 * seed 1. ERR_USAGE, also for a text without a pair and for a delay without delay_ns. */
int faults_parse(const char *text, struct fault_plan *out, struct err *e);

/* Reads the mapping `faults` of `root`; false where there is none. */
bool faults_read(struct yaml *y, struct yaml_node *root, struct fault_plan *out);

/* Writes all of the plan as faults_parse reads it; returns buf. */
const char *faults_format(const struct fault_plan *plan, char *buf, size_t size);

#endif
