/* The report of `tandem run --by task`: per policy and task, with 95 % intervals (GSL). */
#ifndef TANDEM_EXPERIMENTS_REPORT_TASKS_H
#define TANDEM_EXPERIMENTS_REPORT_TASKS_H

#include <stdio.h>

#include "sim/base/err.h"

struct run_report;

/* A row per policy and task, and one for all tasks, their geometric mean: tokens per verification,
 * and the speed-up against the first policy (sums of E2E), of the requests whose text does not
 * repeat itself. Intervals resample requests within tasks; with a history, where a request depends
 * on those before it, there are none. `format` is an enum output_format. ERR_NOMEM, ERR_IO. */
int report_tasks(const struct run_report *r, int format, FILE *f, struct err *e);

#endif
