/* What a run's graph switches did: a shim around an executor that keeps when each computation,
 * LOAD and FREE ran, and what can be said about that: the invariants of a schedule, and how long
 * the prompt and its switches took. */
#ifndef TANDEM_EXEC_SPANS_H
#define TANDEM_EXEC_SPANS_H

#include "sim/exec/exec.h"

/* A FORWARD, HEAD, LOAD or FREE. */
struct span {
    int64_t id, start_ns, end_ns; /* end -1: not over */
    int32_t request;
    int32_t graph, b0, b1; /* HEAD: no blocks */
    uint8_t kind, phase, status;
};

struct spans {
    struct exec exec; /* must be first */
    struct exec *inner;
    int32_t n, cap, n_over;
    struct span *span; /* [cap], in order of submission */
};

/* `inner` and the memory are the caller's and outlive the shim. A run with more than `cap` such
 * jobs ends with ERR_LIMIT. Destroying the shim destroys nothing. */
void spans_init(struct spans *s, struct exec *inner, struct span *span, int32_t cap);

/* What holds of every schedule of a single accelerator, over the jobs that ended well:
 *   - no two LOADs or FREEs overlap, no two FORWARDs or HEADs do;
 *   - no LOAD of a block overlaps a FORWARD through that block on any graph, no FREE one on its own
 *     graph;
 *   - a request loads each block of each graph once at most.
 * ERR_POLICY, and *e names the two jobs. */
int spans_check(const struct spans *s, struct err *e);

/* The times of one request, -1 where there is none. Its switches are LOADs and FREEs of
 * PHASE_PREFILL. */
struct spans_times {
    int64_t begin_ns;   /* the prompt's first computation or switch begins */
    int64_t prefill_ns; /* its last FORWARD ends */
    int64_t switch_ns;  /* its last switch ends; prefill_ns where there is none */
    int64_t decode_ns;  /* the first step behind the prompt begins */
    int64_t stall_ns;   /* between begin_ns and prefill_ns, in no FORWARD */
};

void spans_times(const struct spans *s, int32_t request, struct spans_times *out);

#endif
