/* The executor for real engines: one worker thread per role, one queue of completions, no polling.
 * `real` and `toy` are this with different engines.
 *
 * What it does where exec.h leaves a choice; every executor does the same:
 * - A job that is cancelled before it starts ends at once, with start_ns == end_ns. CANCEL of a job
 *   that runs or has ended changes nothing; of an id that was never submitted it is ERR_POLICY.
 * - A job that waits for one that did not end DONE_OK is DONE_CANCELLED, at the moment when that
 *   one ended (several: by increasing id), because its input is not there. Only waits for jobs
 *   whose DONE was not yet delivered when it was submitted count: what the policy was told before
 *   is its own business.
 * - SUBMIT refuses a bad job with job_check's codes (jobs.h), ids that do not increase with
 *   ERR_POLICY, and with ERR_LIMIT a job when caps.max_jobs are submitted and not delivered.
 * - DRAFT and CALIBRATE jobs of one drafter and request that run at the same time: the later one is
 *   DONE_FAILED.
 * - FINISH with a job of the request in flight is ERR_POLICY.
 *
 * Time starts with the first call of next, act or host. DONEs are delivered by their end on the
 * worker; an event's time_ns is that of its delivery. */
#ifndef TANDEM_EXEC_THREADS_H
#define TANDEM_EXEC_THREADS_H

#include "sim/exec/driver.h"
#include "sim/exec/engine.h"

struct threads_options {
    const char *name;            /* of the executor: "real", "toy" */
    int32_t cpu[EXEC_MAX_ROLES]; /* core that the role's worker is pinned to; -1: none */
    int64_t stall_ns; /* no completion for so long with jobs in flight: ERR_STALLED, and the
                         message names who waits for whom; EXEC_NEVER: wait for ever */
};

/* Does not own `engine`, which must outlive it and must serve one executor at a time; `setup` must
 * outlive it, too. ERR_LIMIT for more roles than EXEC_MAX_ROLES, ERR_DEVICE when a worker cannot be
 * started or pinned, ERR_NOMEM. */
int threads_create(struct engine *engine, const struct run_setup *setup,
                   const struct threads_options *options, struct exec **out, struct err *e);

#endif
