/* Jobs: what every executor that runs them does with one first. It is checked against the
 * capabilities, so that a bad job is refused in the same words everywhere, and its arrays are
 * copied into storage that was made beforehand. */
#ifndef TANDEM_EXEC_JOBS_H
#define TANDEM_EXEC_JOBS_H

#include "sim/exec/exec.h"

/* "FORWARD"; "?" for a number that is no kind. */
const char *job_kind_name(uint8_t kind);

/* Whether an executor with `caps`, of a policy with n_roles roles and a run with n_drafters
 * drafters, can take the job. ERR_UNSUPPORTED: it lacks the feature. ERR_LIMIT: more rows, tokens
 * or alternatives than it holds. ERR_POLICY: malformed, a job that no executor could run. The
 * message names the job, the field, its value and what was expected. Whether graphs are loaded,
 * caches long enough and widths a graph's own is for the engine to see when the job runs. */
int job_check(const struct exec_caps *caps, int32_t n_roles, int32_t n_drafters,
              const struct job *job, struct err *e);

/* Storage that holds the arrays of any job that passes job_check: int32 words, and floats. */
size_t job_words(const struct exec_caps *caps);
size_t job_floats(const struct exec_caps *caps);

/* Copies a job that passed job_check, its arrays into `words` and `floats`. */
void job_copy(struct job *to, const struct job *from, int32_t *words, float *floats);

#endif
