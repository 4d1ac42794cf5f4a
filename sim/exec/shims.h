/* Executors that are not hardware: record and fault wrap another executor, replay reads a log. */
#ifndef TANDEM_EXEC_SHIMS_H
#define TANDEM_EXEC_SHIMS_H

#include "sim/exec/driver.h"

/* Logs all that passes to `path` and forwards it to `inner`, which it owns from then on (also when
 * it fails). The log is finished by destroy; it is kept when every request that arrived finished.
 */
int record_create(struct exec *inner, const struct run_setup *setup, const char *path,
                  struct exec **out, struct err *e);

/* Plays a log back: delivers the logged events at the logged times and demands the logged actions.
 * The first difference is ERR_REPLAY with both sides and the record's offset. DRAFT jobs are run
 * again and their results compared. */
int replay_create(const char *path, struct exec **out, struct err *e);

/* The requests that the log holds, for driver_run; arrays live in `arena`. */
int replay_requests(const char *path, struct arena *arena, struct request **out, int32_t *n,
                    struct err *e);

/* What the world may do to jobs. Each number is a probability in parts per thousand, drawn per job
 * from (seed, RNG_FAULT, request, job id). */
struct fault_plan {
    uint64_t seed;
    int32_t fail;    /* DONE with status failed */
    int32_t drop;    /* its DONE never comes: the run must end with ERR_STALLED, not hang */
    int32_t delay;   /* its DONE is delivered delay_ns later */
    int32_t reorder; /* its DONE is delivered after the next one */
    int64_t delay_ns;
};

/* Wraps `inner` and owns it, also when it fails. */
int fault_create(struct exec *inner, const struct fault_plan *plan, struct exec **out,
                 struct err *e);

#endif
