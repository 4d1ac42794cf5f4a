/* A real engine: it runs jobs on a device, now. The threaded executor (threads.h) drives it.
 *
 * `toy` (sim/exec/toy.c) and llama.cpp (hwmodels/real) implement this and nothing else: threads,
 * queues, waiting, cancelling, drafting and time are the executor's, and are tested once. */
#ifndef TANDEM_EXEC_ENGINE_H
#define TANDEM_EXEC_ENGINE_H

#include "sim/exec/exec.h"

/* Outputs of one job. The executor gives the arrays: choice[max_rows], top and logit
 * [max_rows * max_topk]. The engine sets the rest. */
struct engine_out {
    uint8_t status; /* enum done_status; preset to DONE_OK */
    int64_t sample_ns, bytes, resident_bytes;
    int32_t n_choice, k;
    int32_t *choice;
    int32_t *top;
    float *logit;
    char message[EXEC_MAX_WHY]; /* why, when status is not DONE_OK */
};

struct engine {
    const struct engine_ops *ops; /* must be first in an implementation's struct */
};

struct engine_ops {
    const char *name;

    void (*caps)(const struct engine *g, struct exec_caps *out);

    /* Runs one job (never DRAFT or CALIBRATE) to its end on the calling thread, the worker of
     * job->role. Jobs of different roles come from different threads at the same time: an engine
     * locks what its roles share. */
    void (*run)(struct engine *g, const struct job *job, struct engine_out *out);

    void (*destroy)(struct engine *g);
};

#endif
