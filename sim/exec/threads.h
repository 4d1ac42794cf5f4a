/* The executor for real engines: one worker thread per role, one queue of completions, no polling.
 * `real` and `toy` are this with different engines. */
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

/* Does not own `engine`, which must outlive it and must serve one executor at a time. */
int threads_create(struct engine *engine, const struct run_setup *setup,
                   const struct threads_options *options, struct exec **out, struct err *e);

#endif
