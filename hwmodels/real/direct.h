/* Jobs straight to an engine, on this thread and without an executor: for probes and tests. */
#ifndef TANDEM_REAL_DIRECT_H
#define TANDEM_REAL_DIRECT_H

#include "sim/exec/engine.h"

enum { DIRECT_ROWS = 512, DIRECT_TOPK = 16 };

struct direct {
    struct engine *engine;
    struct engine_out out; /* of the last job; its arrays are those below */
    int32_t choice[DIRECT_ROWS], top[DIRECT_ROWS * DIRECT_TOPK];
    float logit[DIRECT_ROWS * DIRECT_TOPK];
};

/* Whether the job ended DONE_OK. At most DIRECT_ROWS rows. */
bool direct_run(struct direct *d, const struct job *job);

/* A whole step of sequence 0, every row's choice wanted; parent as in struct job_forward. */
bool direct_forward(struct direct *d, int32_t pos, int32_t n, const int32_t *token,
                    const int32_t *parent, int32_t width);

/* n == 0: the cache is cut at pos. */
bool direct_commit(struct direct *d, int32_t pos, int32_t n, const int32_t *row);

#endif
