/* Executors that are not hardware: record and fault wrap another executor, replay reads a log. */
#ifndef TANDEM_EXEC_SHIMS_H
#define TANDEM_EXEC_SHIMS_H

#include "sim/exec/driver.h"

/* ---- record --------------------------------------------------------------------------------- */

/* Logs all that passes to `path` and forwards it to `inner`, which it owns from then on (also when
 * it fails). The log is finished by record_finish or destroy; it is kept when the run was whole:
 * something arrived, every request that arrived finished, every job was done, and the policy
 * answered the last event. A log that cannot be written ends the run with ERR_IO. */
int record_create(struct exec *inner, const struct run_setup *setup, const char *path,
                  struct exec **out, struct err *e);

/* Finishes the log of `x`, which record_create made, and says why it was not kept: ERR_IO, or
 * ERR_CANCELLED when the run was not whole. Nothing but destroy may follow. destroy does the same
 * when this was not called, but cannot report. */
int record_finish(struct exec *x, struct err *e);

/* ---- replay --------------------------------------------------------------------------------- */

/* Plays a log back: delivers the logged events at the logged times and demands the logged actions,
 * arrays included. The first difference is ERR_REPLAY with both sides, the record's number and its
 * offset. DRAFT and CALIBRATE jobs are run again by the drafters of `setup` (the log's own set-up,
 * log_setup, or one that is to be tested against the log; it must outlive x) and what they give is
 * compared, but for those that need the truth, which a log does not hold. ERR_MISMATCH when
 * the set-up has other limits or another vocabulary than the log; the errors of log_open. */
int replay_create(const char *path, const struct run_setup *setup, struct exec **out,
                  struct err *e);

/* ERR_REPLAY unless the log of `x`, which replay_create made, was played to its end. To be called
 * after a driver_run that ended well: only then every action was compared. */
int replay_finish(struct exec *x, struct err *e);

/* The requests that the log holds, for driver_run; arrays live in `arena`. The errors of log_open
 * and log_next; ERR_CORRUPT for requests that no run could have. */
int replay_requests(const char *path, struct arena *arena, struct request **out, int32_t *n,
                    struct err *e);

/* ---- fault ---------------------------------------------------------------------------------- */

/* What the world may do to jobs. Each number is a probability in parts per thousand, at most 1,000
 * together; a job suffers at most one, drawn from (seed, RNG_FAULT, request, job id). DONEs of one
 * role, and those of jobs that wait for one another, keep their order, as every executor's do:
 * behind a DONE that is held back the others wait. */
struct fault_plan {
    uint64_t seed;
    int32_t fail;    /* DONE with status failed and without outputs */
    int32_t drop;    /* its DONE never comes: the run ends with ERR_STALLED, which names the job */
    int32_t delay;   /* its DONE is delivered delay_ns later */
    int32_t reorder; /* if another job is in flight when its DONE comes, that is delivered right
                        after the next one that need not come after it */
    int64_t delay_ns;
};

/* Wraps `inner` and owns it, also when it fails: ERR_RANGE for a plan that is none. */
int fault_create(struct exec *inner, const struct fault_plan *plan, struct exec **out,
                 struct err *e);

#endif
